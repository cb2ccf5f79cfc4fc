//! Numbers of the JSON API.

use serde::{Serialize, Serializer};

/// A number that serializes exactly if it is an integer, with five significant
/// digits otherwise, and as `null` if it is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if !value.is_finite() {
            serializer.serialize_none()
        } else if value.fract() == 0.0 && value.abs() < 9e15 {
            serializer.serialize_i64(value as i64)
        } else {
            let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
            // The scale overflows for subnormal and very large values.
            let rounded = if scale.is_normal() {
                (value * scale).round() / scale
            } else {
                value
            };
            serializer.serialize_f64(rounded)
        }
    }
}

/// Serializes an `f64` field as a [`Number`].
pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

/// Wraps every value in a [`Number`].
pub(super) fn numbers<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<Number> {
    values.into_iter().copied().map(Number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_and_other_numbers_have_five_digits() {
        let json = |value| serde_json::to_string(&Number(value)).unwrap();
        assert_eq!(json(0.0), "0");
        assert_eq!(json(123_456_789.0), "123456789");
        assert_eq!(json(0.012_345_678), "0.012346");
        assert_eq!(json(-1234.5678), "-1234.6");
        assert_eq!(json(1e-320), "1e-320");
        assert_eq!(json(f64::NAN), "null");
        assert_eq!(json(f64::INFINITY), "null");
    }
}
