//! Formats bucket bounds and quantiles.

/// Formats a bucket bound as the `le` label writes it in every text format.
///
/// The result is OpenMetrics' canonical form, in which Prometheus 3 stores the
/// `le` and `quantile` labels regardless of how the exposition writes them: the shortest
/// decimal that reads back as the same number, always with a decimal point or
/// an exponent. Use this function wherever a query selects a bucket, so that
/// the query and the exposition agree.
///
/// ```
/// use tower_metrics::prometheus::format_bound;
///
/// assert_eq!(format_bound(0.25), "0.25");
/// assert_eq!(format_bound(1.0), "1.0");
/// assert_eq!(format_bound(0.00005), "5e-05");
/// assert_eq!(format_bound(1_048_576.0), "1.048576e+06");
/// assert_eq!(format_bound(f64::INFINITY), "+Inf");
/// ```
pub fn format_bound(bound: f64) -> String {
    if bound.is_nan() {
        return "NaN".to_owned();
    }
    if bound.is_infinite() {
        let infinity = if bound > 0.0 { "+Inf" } else { "-Inf" };
        return infinity.to_owned();
    }
    // The thresholds and the exponent's two digits are those of C's and Go's `%g`.
    let scientific = format!("{bound:e}");
    let (digits, exponent) = scientific
        .split_once('e')
        .expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is an integer");
    if (-4..6).contains(&exponent) {
        // `{:?}` appends `.0` to integers.
        return format!("{bound:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected strings are what Prometheus 3.16 stores for these bounds.
    #[test]
    fn bounds_are_written_as_prometheus_stores_them() {
        for (bound, le) in [
            (1e-9, "1e-09"),
            (0.00005, "5e-05"),
            (0.000125, "0.000125"),
            (0.0001, "0.0001"),
            (0.005, "0.005"),
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (1.0, "1.0"),
            (10.0, "10.0"),
            (100_000.0, "100000.0"),
            (123_456.0, "123456.0"),
            (1_000_000.0, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_bound(bound), le);
        }
    }

    #[test]
    fn every_formatted_bound_reads_back_as_the_same_number() {
        for exponent in -9..=16 {
            for digits in [1.0, 2.5, 1.2345678901234567, 9.999999999999999] {
                let bound = digits * 10f64.powi(exponent);
                assert_eq!(format_bound(bound).parse(), Ok(bound));
            }
        }
    }
}
