//! Values of gathered counters and gauges.
//!
//! The crate `prometheus` has two sets of these types, which its feature `protobuf`
//! selects. Any crate in the build may enable the feature. The getter of a gauge is
//! `get_value` without it, and `value` with it.

use prometheus::proto;

/// Replaces the getter that a type does not have in this build. An inherent method
/// takes precedence over one of a trait.
#[allow(
    dead_code,
    reason = "a feature of the crate prometheus decides which method is called"
)]
trait MissingGetter {
    fn get_value(&self) -> f64 {
        f64::NAN
    }
    fn value(&self) -> f64 {
        f64::NAN
    }
}

impl MissingGetter for proto::Gauge {}
impl MissingGetter for proto::Counter {}

/// Returns the value of a gathered gauge, or 0 if the metric is of another type.
///
/// Compiles with and without the feature `protobuf` of the crate `prometheus`, which
/// renames the getter and which any crate in the build may enable.
///
/// ```
/// use tower_metrics::Prometheus;
/// use tower_metrics::prometheus::gauge_value;
///
/// let families = Prometheus::new().registry().gather();
/// let series = families.iter().find(|family| family.name() == "tower_metrics_series");
/// let metric = &series.expect("the recorder exposes it").get_metric()[0];
/// assert_eq!(gauge_value(metric), 0.0);
/// ```
pub fn gauge_value(metric: &proto::Metric) -> f64 {
    let gauge: &proto::Gauge = metric.get_gauge();
    let value = gauge.get_value();
    if value.is_nan() { gauge.value() } else { value }
}

/// Returns the value of a gathered counter, or 0 if the metric is of another type.
///
/// Compiles with and without the feature `protobuf` of the crate `prometheus`, as
/// [`gauge_value`].
pub fn counter_value(metric: &proto::Metric) -> f64 {
    let counter: &proto::Counter = metric.get_counter();
    let value = counter.get_value();
    if value.is_nan() {
        counter.value()
    } else {
        value
    }
}
