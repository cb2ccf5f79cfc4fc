//! Parsers for the values of flags.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use ticket_core::Commit;

/// Log filter that applies without `--log`.
pub(super) const DEFAULT_LOG_FILTER: &str = "info";

/// Longest duration that a flag accepts.
const MAX_DURATION: Duration = Duration::from_secs(168 * 3600);

/// The reason why a flag's value is rejected, and what is allowed instead.
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

/// Removes one trailing line break, with which values that come from files usually end.
pub(super) fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Returns an error that names the position of the first control character, if there is one.
pub(super) fn check_controls(text: &str) -> Result<(), InvalidValue> {
    match text.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(InvalidValue::new(format!(
            "character {} is a control character such as a line break",
            at + 1
        ))),
    }
}

/// Parses a path, which need not be UTF-8.
#[derive(Clone)]
pub(super) struct PathParser;

impl TypedValueParser for PathParser {
    type Value = PathBuf;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<PathBuf, clap::Error> {
        match value.to_str() {
            Some(_) => path.parse_ref(command, argument, value),
            None => Ok(value.into()),
        }
    }
}

fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    let text = without_line_break(text);
    check_controls(text)?;
    if text.is_empty() {
        return Err(InvalidValue::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

/// Parses a log filter. An empty one is the default: Compose files pass variables that are not set as
/// empty ones.
pub(super) fn log_filter(text: &str) -> Result<String, InvalidValue> {
    let text = without_line_break(text);
    check_controls(text)?;
    let filter = match text.trim() {
        "" => DEFAULT_LOG_FILTER,
        filter => filter,
    };
    Ok(filter.to_owned())
}

pub(super) fn commit(text: &str) -> Result<Commit, InvalidValue> {
    let commit = without_line_break(text).parse();
    commit.map_err(|_| InvalidValue::new("expected `group` or `each`"))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, InvalidValue> {
    without_line_break(text).parse().map_err(|_| {
        InvalidValue::new(
            "expected an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or \
             [::1]:8080; port 0 selects a free port",
        )
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let text = without_line_break(text);
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
                "expected a duration from 0 to 168h, such as 500ms, 30s, 2m or 1h 30m; a number \
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
    without_line_break(text)
        .parse()
        .ok()
        .filter(|rate: &f64| (0.1..=1_000_000.0).contains(rate))
        .ok_or_else(|| InvalidValue::new("expected a number from 0.1 to 1000000"))
}

pub(super) fn percent(text: &str) -> Result<f64, InvalidValue> {
    without_line_break(text)
        .parse()
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
    fn durations_are_parsed_with_and_without_units() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("1.5", Duration::from_millis(1500)),
            ("500ms", Duration::from_millis(500)),
            ("2m", Duration::from_secs(120)),
            ("1h 30m", Duration::from_secs(5400)),
            ("168h", MAX_DURATION),
        ] {
            assert_eq!(duration(text).unwrap(), expected, "{text}");
        }
        for text in ["169h", "7d", "8 days", "-1s"] {
            let error = duration(text).unwrap_err().to_string();
            assert!(error.contains("from 0 to 168h"), "{text}: {error}");
        }
    }

    #[test]
    fn one_trailing_line_break_is_removed_and_no_more() {
        for (text, expected) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3cret", " s3cret"),
        ] {
            assert_eq!(without_line_break(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_value_may_end_with_a_line_break_but_not_contain_one() {
        assert!(address("127.0.0.1:80\n").is_ok());
        assert!(duration("30s\n").is_ok());
        assert!(rate("5\n").is_ok());
        assert!(percent("5\n").is_ok());
        assert!(commit("each\n").is_ok());
        assert_eq!(path("faults.toml\n").unwrap(), PathBuf::from("faults.toml"));
        assert_eq!(log_filter("debug\n").unwrap(), "debug");
        for text in ["", "\n", "a\nb", "a\0b", "a\n\n"] {
            assert!(path(text).is_err(), "{text:?}");
        }
        assert!(log_filter("info\ndebug").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStrExt;

        let name = OsStr::from_bytes(b"faults-\xff.toml");
        let path = PathParser.parse_ref(&clap::Command::new("test"), None, name);
        assert_eq!(path.unwrap(), name);
    }

    #[test]
    fn a_url_with_credentials_is_rejected_without_showing_them() {
        let error = url("http://ada:hunter2@127.0.0.1:8080").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("password is not supported") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
