//! Reads values out of `prometheus::proto`.
//!
//! Its types come in two kinds, and which one it is depends on the feature
//! `protobuf` of the crate `prometheus`, which anybody in the build may switch
//! on: a gauge has `get_value` without it and `value` with it.

use prometheus::proto;

#[allow(
    dead_code,
    reason = "which of them is called depends on a feature of another crate"
)]
/// Stands in for the method that a type does not have in this build. An
/// inherent method wins over a trait's, so the real one is called where it is.
trait Missing {
    fn get_value(&self) -> f64 {
        f64::NAN
    }
    fn value(&self) -> f64 {
        f64::NAN
    }
}

impl Missing for proto::Gauge {}
impl Missing for proto::Counter {}

/// The value of a gauge that [`gather`](prometheus::Registry::gather) gave, with and without the
/// feature `protobuf` of the crate `prometheus`.
pub fn gauge_value(metric: &proto::Metric) -> f64 {
    let gauge: &proto::Gauge = metric.get_gauge();
    let value = gauge.get_value();
    if value.is_nan() { gauge.value() } else { value }
}

/// The value of a counter that [`gather`](prometheus::Registry::gather) gave, with and without the
/// feature `protobuf` of the crate `prometheus`.
pub fn counter_value(metric: &proto::Metric) -> f64 {
    let counter: &proto::Counter = metric.get_counter();
    let value = counter.get_value();
    if value.is_nan() {
        counter.value()
    } else {
        value
    }
}
