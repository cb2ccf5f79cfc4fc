//! Times in requests: the accepted range and precision.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, text};

/// The earliest accepted time, 2000-01-01T00:00:00Z.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0);
/// The latest accepted time, 9998-12-31T23:59:59.999999Z. A year below the maximum of
/// [`Timestamp`], so that every time zone can display it and rounding cannot overflow.
const LATEST: Timestamp = Timestamp::constant(253_370_764_799, 999_999_000);

/// Truncates `time` to microseconds, the precision of both databases, so that a value that is read
/// back equals the one that was stored.
pub(crate) fn truncate_to_micros(time: Timestamp) -> Timestamp {
    let excess = time.as_nanosecond().rem_euclid(1_000);
    Timestamp::from_nanosecond(time.as_nanosecond() - excess).unwrap_or(Timestamp::MIN)
}

/// Checks that `time` is within the accepted range and truncates it to microseconds.
pub(crate) fn validate(field: &str, time: Timestamp) -> Result<Timestamp, Error> {
    check_range(time)
        .map(truncate_to_micros)
        .map_err(|problem| Error::invalid(field, problem))
}

fn check_range(time: Timestamp) -> Result<Timestamp, String> {
    if (EARLIEST..=LATEST).contains(&time) {
        Ok(time)
    } else {
        Err(format!(
            "{time} is not allowed: expected a time from {EARLIEST} to {LATEST}"
        ))
    }
}

/// A time in a request body: RFC 3339, within the accepted range, truncated to microseconds.
#[derive(Clone, Copy)]
pub(crate) struct RequestTime(pub(crate) Timestamp);

impl Serialize for RequestTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RequestTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = RequestTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"2030-01-01T20:00:00Z\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RequestTime, E> {
                // The parser's own message describes its grammar and its limits, not the API's.
                // A time zone in brackets is not part of RFC 3339, and its name would be ignored.
                let time = if text.contains('[') {
                    None
                } else {
                    text.parse().ok()
                };
                let time: Timestamp = time.ok_or_else(|| {
                    E::custom(format_args!(
                        "{} is not allowed: expected a time from {EARLIEST} to {LATEST} with an offset \
                         from UTC, such as \"2030-01-01T20:00:00Z\" or \
                         \"2030-01-01T21:00:00+01:00\"",
                        text::quote(text)
                    ))
                })?;
                let time = check_range(time).map_err(E::custom)?;
                Ok(RequestTime(truncate_to_micros(time)))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_accepts_every_timestamp() {
        for time in [
            Timestamp::MIN,
            Timestamp::MAX,
            Timestamp::constant(-1, -1),
            Timestamp::constant(0, 999),
            LATEST,
        ] {
            let truncated = truncate_to_micros(time);
            assert!(truncated <= time);
            assert_eq!(truncated.as_nanosecond() % 1_000, 0, "{time:?}");
        }
    }

    #[test]
    fn the_limits_are_the_documented_ones() {
        assert_eq!(EARLIEST.to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(LATEST.to_string(), "9998-12-31T23:59:59.999999Z");
        assert!(validate("starts_at", EARLIEST).is_ok());
        assert!(validate("starts_at", LATEST).is_ok());
        for time in ["1999-12-31T23:59:59Z", "9999-01-01T00:00:00Z"] {
            let error = validate("starts_at", time.parse().unwrap()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("2000-01-01T00:00:00Z"), "{text}");
        }
    }
}
