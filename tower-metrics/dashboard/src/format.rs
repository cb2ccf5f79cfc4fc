//! Formatting of numbers for texts that people read.

use std::time::Duration;

/// Formats a ratio as a percentage: `99.9%` for 0.999.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{}%", (ratio * 1e8).round() / 1e6)
}

/// Formats a duration in the largest unit of which it is at least one: `50 µs`, `1.5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (size, unit) = match nanos {
        0..1_000 => (1.0, "ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", nanos as f64 / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_in_which_they_are_not_zero() {
        let formatted = |nanos| duration(Duration::from_nanos(nanos));
        assert_eq!(formatted(1), "1 ns");
        assert_eq!(formatted(50_000), "50 µs");
        assert_eq!(formatted(1_500_000), "1.5 ms");
        assert_eq!(formatted(300_000_000), "300 ms");
        assert_eq!(formatted(2_000_000_000), "2 s");
    }

    #[test]
    fn percentages_have_no_rounding_error() {
        assert_eq!(percent(0.999), "99.9%");
        assert_eq!(percent(14.4 * 0.001), "1.44%");
    }
}
