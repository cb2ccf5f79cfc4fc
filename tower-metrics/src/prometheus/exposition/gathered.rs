//! Converts families from `gather()`.

use std::borrow::Cow;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::prometheus::other::{OtherBucket, OtherFamily, OtherMetric, OtherValue};
use crate::prometheus::{counter_value, gauge_value};

/// Returns the family with its metrics, or `None` if it has a type that the
/// crate `prometheus` cannot create.
pub(super) fn convert(family: &MetricFamily) -> Option<OtherFamily<'_>> {
    let kind = family.get_field_type();
    let metrics = family.get_metric().iter();
    Some(OtherFamily {
        name: family.name().into(),
        help: family.help().into(),
        unit: None,
        kind,
        info: false,
        metrics: metrics
            .map(|metric| convert_metric(metric, kind))
            .collect::<Option<_>>()?,
    })
}

fn convert_metric(metric: &Metric, kind: MetricType) -> Option<OtherMetric<'_>> {
    let number = |value| OtherValue::Number {
        value,
        exemplar: None,
    };
    let value = match kind {
        MetricType::COUNTER => number(counter_value(metric)),
        MetricType::GAUGE => number(gauge_value(metric)),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let buckets = histogram.get_bucket().iter();
            OtherValue::Histogram {
                buckets: buckets
                    .map(|bucket| OtherBucket {
                        upper_bound: bucket.upper_bound(),
                        cumulative_count: bucket.cumulative_count(),
                        exemplar: None,
                    })
                    .collect(),
                count: histogram.get_sample_count(),
                sum: histogram.get_sample_sum(),
            }
        }
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            let quantiles = summary.get_quantile().iter();
            OtherValue::Summary {
                quantiles: quantiles
                    .map(|quantile| (quantile.quantile(), quantile.value()))
                    .collect(),
                count: summary.sample_count(),
                sum: summary.sample_sum(),
            }
        }
        _ => return None,
    };
    let labels = metric.get_label().iter();
    Some(OtherMetric {
        labels: labels
            .map(|label| (Cow::from(label.name()), Cow::from(label.value())))
            .collect(),
        value,
        timestamp_ms: Some(metric.timestamp_ms()).filter(|ms| *ms != 0),
        created: None,
    })
}
