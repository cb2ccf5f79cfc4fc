//! Field numbers of the messages.

use crate::prometheus::exposition::wire::Field;

pub(super) const FAMILY_NAME: Field = Field(1);
pub(super) const FAMILY_HELP: Field = Field(2);
pub(super) const FAMILY_TYPE: Field = Field(3);
pub(super) const FAMILY_METRIC: Field = Field(4);
pub(super) const FAMILY_UNIT: Field = Field(5);

pub(super) const METRIC_LABEL: Field = Field(1);
pub(super) const METRIC_GAUGE: Field = Field(2);
pub(super) const METRIC_COUNTER: Field = Field(3);
pub(super) const METRIC_SUMMARY: Field = Field(4);
pub(super) const METRIC_UNTYPED: Field = Field(5);
pub(super) const METRIC_TIMESTAMP_MS: Field = Field(6);
pub(super) const METRIC_HISTOGRAM: Field = Field(7);

pub(super) const LABEL_NAME: Field = Field(1);
pub(super) const LABEL_VALUE: Field = Field(2);

/// Of a gauge, a counter, or an untyped value.
pub(super) const VALUE: Field = Field(1);
pub(super) const COUNTER_EXEMPLAR: Field = Field(2);
pub(super) const COUNTER_CREATED: Field = Field(3);

/// Of a histogram or a summary.
pub(super) const SAMPLE_COUNT: Field = Field(1);
pub(super) const SAMPLE_SUM: Field = Field(2);
pub(super) const HISTOGRAM_BUCKET: Field = Field(3);
pub(super) const SCHEMA: Field = Field(5);
pub(super) const ZERO_THRESHOLD: Field = Field(6);
pub(super) const ZERO_COUNT: Field = Field(7);
pub(super) const POSITIVE_SPAN: Field = Field(12);
pub(super) const POSITIVE_DELTA: Field = Field(13);
pub(super) const HISTOGRAM_CREATED: Field = Field(15);
pub(super) const SUMMARY_QUANTILE: Field = Field(3);
pub(super) const SUMMARY_CREATED: Field = Field(4);

pub(super) const BUCKET_COUNT: Field = Field(1);
pub(super) const BUCKET_BOUND: Field = Field(2);
pub(super) const BUCKET_EXEMPLAR: Field = Field(3);

pub(super) const SPAN_OFFSET: Field = Field(1);
pub(super) const SPAN_LENGTH: Field = Field(2);

pub(super) const QUANTILE: Field = Field(1);
pub(super) const QUANTILE_VALUE: Field = Field(2);

pub(super) const EXEMPLAR_LABEL: Field = Field(1);
pub(super) const EXEMPLAR_VALUE: Field = Field(2);
pub(super) const EXEMPLAR_TIMESTAMP: Field = Field(3);

pub(super) const SECONDS: Field = Field(1);
pub(super) const NANOS: Field = Field(2);
