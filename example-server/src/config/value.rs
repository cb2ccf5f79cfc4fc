//! Parsers for the values of flags.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest duration that a flag accepts.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The reason why a flag's value is refused, with what is allowed instead.
#[derive(Debug)]
pub(crate) struct InvalidValue(String);

impl InvalidValue {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

pub(super) fn address(text: &str) -> Result<SocketAddr, InvalidValue> {
    text.parse().map_err(|_| {
        InvalidValue::new(
            "expected an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or \
             [::1]:8080; port 0 selects a free port",
        )
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    parsed
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| {
            InvalidValue::new(
                "expected a duration from 0 to 7 days, such as 500ms, 30s, 2m or 1h 30m; a number \
                 without a unit is in seconds",
            )
        })
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, InvalidValue> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(InvalidValue::new("the duration must be longer than 0"));
    }
    Ok(duration)
}

pub(super) fn rate(text: &str) -> Result<f64, InvalidValue> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.1..=1_000_000.0).contains(rate))
        .ok_or_else(|| InvalidValue::new("expected a number from 0.1 to 1000000"))
}

pub(super) fn percent(text: &str) -> Result<f64, InvalidValue> {
    text.parse()
        .ok()
        .filter(|percent: &f64| (0.0..=100.0).contains(percent))
        .ok_or_else(|| InvalidValue::new("expected a number from 0 to 100"))
}

pub(super) fn url(text: &str) -> Result<http::Uri, InvalidValue> {
    let invalid = || {
        InvalidValue::new(
            "expected a base URL such as http://127.0.0.1:8080, without a path; only plain HTTP is \
             supported",
        )
    };
    let uri: http::Uri = text.parse().map_err(|_| invalid())?;
    let authority = uri.authority().ok_or_else(invalid)?;
    if authority.as_str().contains('@') {
        return Err(InvalidValue::new(
            "a URL with a user name or a password is not supported",
        ));
    }
    let is_base = uri.path_and_query().is_none_or(|path| path == "/");
    if uri.scheme_str() != Some("http") || authority.host().is_empty() || !is_base {
        return Err(invalid());
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("1.5", Duration::from_millis(1500)),
            ("500ms", Duration::from_millis(500)),
            ("2m", Duration::from_secs(120)),
            ("1h 30m", Duration::from_secs(5400)),
        ] {
            assert_eq!(duration(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused_without_showing_them() {
        let error = url("http://ada:hunter2@127.0.0.1:8080").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("password is not supported") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
