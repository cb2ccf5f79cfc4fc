//! The bounds of histograms, as users give them.

use std::time::Duration;

use crate::error::BuildError;

/// The advice of the OpenTelemetry convention for request durations, in seconds.
pub(crate) const DURATION_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Bounds in nanoseconds, each with the seconds that it is written as; the
/// objectives' thresholds are among them.
pub(crate) fn duration_bounds(
    histogram: &str,
    seconds: &[f64],
    objectives: &[Duration],
) -> Result<Vec<(u64, f64)>, BuildError> {
    let nanoseconds = |bound: f64| (bound * 1e9).round() as u64;
    // A bound of over 30 years is a mistake in the unit.
    let possible = |bound: f64| (1e-9..=1e9).contains(&bound);
    let mut bounds = check_bounds(histogram, seconds, possible, "0.000000001 to 1000000000 s")?
        .into_iter()
        .map(|bound| (nanoseconds(bound), bound))
        .collect::<Vec<_>>();
    for objective in objectives {
        let bound = objective.as_secs_f64();
        if !possible(bound) {
            return Err(BuildError::Bound {
                bound,
                histogram: histogram.to_owned(),
                allowed: "0.000000001 to 1000000000 s",
            });
        }
        bounds.push((nanoseconds(bound), bound));
    }
    bounds.sort_unstable_by_key(|(nanoseconds, _)| *nanoseconds);
    bounds.dedup_by_key(|(nanoseconds, _)| *nanoseconds);
    Ok(bounds)
}

/// Bounds in bytes.
pub(crate) fn size_bounds(histogram: &str, bytes: &[f64]) -> Result<Vec<(u64, f64)>, BuildError> {
    // Beyond 2^53 a bound is not written as the number that it is.
    let possible = |bound: f64| (0.0..=9_007_199_254_740_992.0).contains(&bound);
    let bounds = check_bounds(histogram, bytes, possible, "0 to 9007199254740992 bytes")?;
    Ok(bounds
        .into_iter()
        .map(|bound| (bound as u64, bound))
        .collect())
}

fn check_bounds(
    histogram: &str,
    bounds: &[f64],
    possible: impl Fn(f64) -> bool,
    allowed: &'static str,
) -> Result<Vec<f64>, BuildError> {
    for (i, bound) in bounds.iter().enumerate() {
        if !possible(*bound) {
            let histogram = histogram.to_owned();
            return Err(BuildError::Bound {
                bound: *bound,
                histogram,
                allowed,
            });
        }
        if i > 0 && *bound <= bounds[i - 1] {
            return Err(BuildError::FallingBounds {
                histogram: histogram.to_owned(),
                bound: bounds[i - 1],
                next: *bound,
            });
        }
    }
    Ok(bounds.to_vec())
}
