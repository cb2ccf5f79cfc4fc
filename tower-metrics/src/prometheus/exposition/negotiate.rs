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
            (0.0..=1.0)
                .contains(&q)
                .then_some((value.trim(), q, parameters))
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

/// Exposition format on the wire, with what its `Content-Type` states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Text0_0_4,
    Text1_0_0(Escaping),
    OpenMetrics0_0_1,
    OpenMetrics1_0_0(Escaping),
    Protobuf,
}

/// Scheme by which names that Prometheus 2 does not allow are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    Underscores,
    Values,
    AllowUtf8,
}

impl Escaping {
    /// Returns the scheme that a scraper asks for, if the exposition can use it
    /// for names that need no escaping. The scheme `dots` escapes underscores.
    fn requested(parameters: &str) -> Self {
        match parameter(parameters, "escaping") {
            Some("allow-utf-8") => Self::AllowUtf8,
            Some("values") => Self::Values,
            _ => Self::Underscores,
        }
    }
}

impl Protocol {
    /// Returns the protocol that an element of `Accept` names.
    fn named(range: &str, parameters: &str) -> Option<Self> {
        let version = parameter(parameters, "version");
        let escaping = Escaping::requested(parameters);
        let is = |name: &str| range.eq_ignore_ascii_case(name);
        if is("text/plain") {
            match version {
                None | Some("0.0.4") => Some(Self::Text0_0_4),
                Some("1.0.0") => Some(Self::Text1_0_0(escaping)),
                _ => None,
            }
        } else if is("application/openmetrics-text") {
            match version {
                None | Some("1.0.0") => Some(Self::OpenMetrics1_0_0(escaping)),
                Some("0.0.1") => Some(Self::OpenMetrics0_0_1),
                _ => None,
            }
        } else if is("application/vnd.google.protobuf") {
            let message =
                parameter(parameters, "proto") == Some("io.prometheus.client.MetricFamily");
            let delimited = parameter(parameters, "encoding") == Some("delimited");
            (message && delimited).then_some(Self::Protobuf)
        } else {
            None
        }
    }

    /// Returns the protocol of the highest quality in `Accept`, the first of
    /// equals. Without one it is text 0.0.4, which every scraper can read.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (Self::Text0_0_4, 0.0);
        let mut any = 0.0f32;
        let mut names_text = false;
        for (range, q, parameters) in elements(headers, ACCEPT) {
            if let Some(protocol) = Self::named(range, parameters) {
                names_text |= protocol == Self::Text0_0_4;
                if q > best.1 {
                    best = (protocol, q);
                }
            } else if range == "*/*" || range.eq_ignore_ascii_case("text/*") {
                any = any.max(q);
            }
        }
        // A wildcard means the default, unless that has its own quality.
        if any > best.1 && !names_text {
            return Self::Text0_0_4;
        }
        best.0
    }

    /// Returns the `Content-Type` of a response. `fits` states whether all names
    /// are written as they are.
    pub(super) fn content_type(self, fits: bool) -> &'static str {
        let escaping = |escaping| {
            if fits {
                escaping
            } else {
                Escaping::Underscores
            }
        };
        match self {
            Self::Text0_0_4 => Format::Text.content_type(),
            Self::Text1_0_0(requested) => match escaping(requested) {
                Escaping::Underscores => {
                    "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
                }
                Escaping::Values => "text/plain; version=1.0.0; charset=utf-8; escaping=values",
                Escaping::AllowUtf8 => {
                    "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
                }
            },
            Self::OpenMetrics0_0_1 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Self::OpenMetrics1_0_0(requested) => match escaping(requested) {
                Escaping::Underscores => Format::OpenMetrics.content_type(),
                Escaping::Values => {
                    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values"
                }
                Escaping::AllowUtf8 => {
                    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
                }
            },
            Self::Protobuf => PROTOBUF,
        }
    }
}

/// `Content-Type` of delimited protobuf.
pub(super) const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

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

    use Escaping::{AllowUtf8, Underscores, Values};
    use Protocol::{OpenMetrics0_0_1, OpenMetrics1_0_0, Protobuf, Text0_0_4, Text1_0_0};

    fn accept(value: &str) -> Protocol {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().unwrap());
        Protocol::accepted(&headers)
    }

    #[test]
    fn the_text_format_is_the_default() {
        assert_eq!(Protocol::accepted(&HeaderMap::new()), Text0_0_4);
        for value in [
            "*/*",
            "text/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/json",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=nonsense",
            "text/plain;version=3",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf;proto=other.Message;encoding=delimited",
        ] {
            assert_eq!(accept(value), Text0_0_4, "{value}");
        }
    }

    #[test]
    fn the_protocol_of_the_highest_quality_wins() {
        for (value, protocol) in [
            (
                "application/openmetrics-text;q=0.2,text/plain;q=0.3",
                Text0_0_4,
            ),
            (
                "text/plain;q=0.3,text/plain;version=1.0.0;q=0.4",
                Text1_0_0(Underscores),
            ),
            (
                "application/openmetrics-text;version=0.0.1,application/openmetrics-text;q=0.9",
                OpenMetrics0_0_1,
            ),
            (
                "text/plain;q=0.5,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6",
                Protobuf,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,text/plain;q=0.6",
                Text0_0_4,
            ),
            ("application/openmetrics-text;q=0.5,*/*;q=0.9", Text0_0_4),
            (
                "application/openmetrics-text;q=0.5,text/plain;q=0,*/*;q=0.9",
                OpenMetrics1_0_0(Underscores),
            ),
        ] {
            assert_eq!(accept(value), protocol, "{value}");
        }
    }

    #[test]
    fn the_first_of_equal_quality_wins() {
        assert_eq!(
            accept("application/openmetrics-text,text/plain"),
            OpenMetrics1_0_0(Underscores)
        );
        assert_eq!(accept("text/plain,application/openmetrics-text"), Text0_0_4);
    }

    #[test]
    fn the_escaping_scheme_is_the_requested_one_if_names_fit() {
        for (scheme, escaping) in [
            ("allow-utf-8", AllowUtf8),
            ("values", Values),
            ("underscores", Underscores),
            ("dots", Underscores),
            ("x\"; evil", Underscores),
        ] {
            let value = format!("text/plain;version=1.0.0;escaping={scheme}");
            assert_eq!(accept(&value), Text1_0_0(escaping), "{value}");
            let value = format!("application/openmetrics-text;escaping={scheme};version=1.0.0");
            assert_eq!(accept(&value), OpenMetrics1_0_0(escaping), "{value}");
        }
        for protocol in [Text1_0_0(AllowUtf8), OpenMetrics1_0_0(AllowUtf8)] {
            let named = |fits| protocol.content_type(fits).rsplit_once("; ").unwrap().1;
            assert_eq!(named(true), "escaping=allow-utf-8");
            assert_eq!(named(false), "escaping=underscores");
        }
    }

    #[test]
    fn malformed_elements_are_ignored() {
        for value in [
            r#"application/openmetrics-text; version="1.0.0" ; q="0.9""#,
            "APPLICATION/OPENMETRICS-TEXT;Q=1",
            "text/plain; q=0.1 , application/openmetrics-text",
            "text/plain; q=2, application/openmetrics-text",
        ] {
            assert_eq!(accept(value), OpenMetrics1_0_0(Underscores), "{value}");
        }
        for value in [
            ";;;,,,=q;q",
            "",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;q=-1",
        ] {
            assert_eq!(accept(value), Text0_0_4, "{value}");
        }
        let mut several = HeaderMap::new();
        several.append(ACCEPT, "text/plain;q=0.1".parse().unwrap());
        several.append(ACCEPT, HeaderValue::from_bytes(b"\xff").unwrap());
        several.append(ACCEPT, "application/openmetrics-text".parse().unwrap());
        assert_eq!(Protocol::accepted(&several), OpenMetrics1_0_0(Underscores));
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
