//! Content negotiation.

use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::Format;

/// Iterates over the elements of a list header as value, quality and parameters.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, f32, &str)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|element| {
            let (value, parameters) = element.split_once(';').unwrap_or((element, ""));
            let q = parameter(parameters, "q").map_or(Some(1.0), |q| q.parse().ok())?;
            Some((value.trim(), q, parameters))
        })
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

/// Returns the format that `Accept` prefers, or the text format, which every
/// scraper can read.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut text = 0.0f32;
    let mut open_metrics = 0.0f32;
    for (range, q, parameters) in elements(headers, ACCEPT) {
        let version = parameter(parameters, "version");
        match &*range.to_ascii_lowercase() {
            "application/openmetrics-text" if matches!(version, None | Some("1.0.0" | "0.0.1")) => {
                open_metrics = open_metrics.max(q);
            }
            "text/plain" if matches!(version, None | Some("0.0.4")) => text = text.max(q),
            "text/*" | "*/*" => text = text.max(q),
            _ => {}
        }
    }
    if open_metrics > text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Content encoding of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    #[cfg(feature = "gzip")]
    Gzip,
}

impl Encoding {
    pub(super) fn header_value(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            #[cfg(feature = "gzip")]
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
        }
    }
}

#[cfg(not(feature = "gzip"))]
pub(super) fn encoding(_: &HeaderMap) -> Encoding {
    Encoding::Identity
}

/// Returns gzip if `Accept-Encoding` names it and does not prefer `identity`.
#[cfg(feature = "gzip")]
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let mut gzip = 0.0f32;
    let mut identity = 0.0f32;
    for (coding, q, _) in elements(headers, http::header::ACCEPT_ENCODING) {
        match &*coding.to_ascii_lowercase() {
            "gzip" | "x-gzip" => gzip = q,
            "identity" => identity = q,
            _ => {}
        }
    }
    if gzip > 0.0 && gzip >= identity {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().unwrap());
        format(&headers)
    }

    #[test]
    fn the_text_format_is_the_default() {
        assert_eq!(format(&HeaderMap::new()), Format::Text);
        assert_eq!(accept("*/*"), Format::Text);
        assert_eq!(
            accept("text/html,application/xhtml+xml,*/*;q=0.8"),
            Format::Text
        );
        assert_eq!(
            accept("application/openmetrics-text;version=2.0.0"),
            Format::Text
        );
        assert_eq!(accept("application/openmetrics-text;q=0"), Format::Text);
        assert_eq!(
            accept("application/openmetrics-text;q=nonsense"),
            Format::Text
        );
    }

    #[test]
    fn prometheus_prefers_openmetrics() {
        for value in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
        ] {
            assert_eq!(accept(value), Format::OpenMetrics, "{value}");
        }
    }

    #[test]
    fn the_format_of_higher_quality_wins() {
        assert_eq!(
            accept("application/openmetrics-text;q=0.2,text/plain;q=0.3"),
            Format::Text
        );
    }

    #[test]
    fn malformed_elements_are_ignored() {
        for value in [
            r#"application/openmetrics-text; version="1.0.0" ; q="0.9""#,
            "APPLICATION/OPENMETRICS-TEXT;Q=1",
            "text/plain; q=0.1 , application/openmetrics-text",
        ] {
            assert_eq!(accept(value), Format::OpenMetrics, "{value}");
        }
        for value in [
            ";;;,,,=q;q",
            "",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=-1",
            "application/json",
        ] {
            assert_eq!(accept(value), Format::Text, "{value}");
        }
        let mut several = HeaderMap::new();
        several.append(ACCEPT, "text/plain;q=0.1".parse().unwrap());
        several.append(ACCEPT, HeaderValue::from_bytes(b"\xff").unwrap());
        several.append(ACCEPT, "application/openmetrics-text".parse().unwrap());
        assert_eq!(format(&several), Format::OpenMetrics);
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn gzip_is_used_if_it_is_accepted_by_name() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT_ENCODING, value.parse().unwrap());
            encoding(&headers)
        };
        for value in ["gzip", "deflate, gzip;q=0.5, br"] {
            assert_eq!(with(value), Encoding::Gzip, "{value}");
        }
        for value in ["gzip;q=0", "identity", "gzip;q=0.5, identity"] {
            assert_eq!(with(value), Encoding::Identity, "{value}");
        }
        assert_eq!(encoding(&HeaderMap::new()), Encoding::Identity);
    }
}
