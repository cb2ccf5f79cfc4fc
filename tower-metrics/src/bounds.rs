//! Validation of bucket bounds.

use std::time::Duration;

use crate::error::BuildError;

/// Bounds that the OpenTelemetry semantic conventions recommend for request
/// durations, in seconds.
pub(crate) const DURATION_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Returns the bounds of a duration histogram, including the thresholds of latency
/// objectives, in nanoseconds and in seconds.
pub(crate) fn duration_bounds(
    histogram: &str,
    seconds: &[f64],
    objectives: &[Duration],
) -> Result<Vec<(u64, f64)>, BuildError> {
    const ALLOWED: &str = "0.000000001 to 1000000000 s";
    let nanoseconds = |bound: f64| (bound * 1e9).round() as u64;
    // A bound of more than 30 years is in the wrong unit.
    let is_valid = |bound: f64| (1e-9..=1e9).contains(&bound);
    check_bounds(histogram, seconds, is_valid, ALLOWED)?;
    let objectives = objectives.iter().map(Duration::as_secs_f64);
    let objectives: Vec<_> = objectives.collect();
    for objective in &objectives {
        check_bounds(histogram, &[*objective], is_valid, ALLOWED)?;
    }
    let bounds = seconds.iter().copied().chain(objectives);
    let mut bounds: Vec<_> = bounds.map(|bound| (nanoseconds(bound), bound)).collect();
    bounds.sort_by_key(|(nanoseconds, _)| *nanoseconds);
    bounds.dedup_by_key(|(nanoseconds, _)| *nanoseconds);
    Ok(bounds)
}

/// Returns the bounds of a size histogram, as integers and as floating-point numbers.
pub(crate) fn size_bounds(histogram: &str, bytes: &[f64]) -> Result<Vec<(u64, f64)>, BuildError> {
    // Larger integers have no exact floating-point representation.
    let is_valid = |bound: f64| (0.0..=9_007_199_254_740_992.0).contains(&bound);
    check_bounds(histogram, bytes, is_valid, "0 to 9007199254740992 bytes")?;
    Ok(bytes.iter().map(|bound| (*bound as u64, *bound)).collect())
}

/// Checks that bounds are in range and in increasing order.
pub(crate) fn check_bounds(
    histogram: &str,
    bounds: &[f64],
    is_valid: impl Fn(f64) -> bool,
    allowed: &'static str,
) -> Result<(), BuildError> {
    for (i, bound) in bounds.iter().enumerate() {
        if !is_valid(*bound) {
            return Err(BuildError::Bound {
                bound: *bound,
                histogram: histogram.to_owned(),
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
    Ok(())
}
