//! Values that a middleware has recorded.

use std::collections::BTreeMap;

/// Labels of a series. Absent labels are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: String,
    pub(crate) error: String,
}

/// Values of a series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Values {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
}

/// All values at one time, or the difference between two times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) series: BTreeMap<Labels, Values>,
    /// Sum over all responses, because some middleware uses other labels for it.
    pub(crate) bytes: f64,
    pub(crate) in_flight: f64,
}

impl Counts {
    pub(crate) fn at(&mut self, labels: Labels) -> &mut Values {
        self.series.entry(labels).or_default()
    }

    /// Returns the difference to an earlier time.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (labels, values) in &mut self.series {
            let old = before.series.get(labels).copied().unwrap_or_default();
            values.requests -= old.requests;
            values.seconds -= old.seconds;
        }
        self.series.retain(|_, values| values.requests > 0.0);
        self.bytes -= before.bytes;
        self.in_flight -= before.in_flight;
        self
    }

    pub(crate) fn sum(&self, value: impl Fn(&Values) -> f64) -> f64 {
        self.series.values().map(value).sum()
    }
}

/// Names of metrics and labels in a text exposition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) requests: &'static str,
    pub(crate) seconds: &'static str,
    pub(crate) bytes: &'static str,
    pub(crate) in_flight: &'static str,
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) status: &'static str,
    pub(crate) error: &'static str,
}

/// Parses the text format.
pub(crate) fn of_text(text: &str, names: Names) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let value: f64 = value.parse().unwrap_or(f64::NAN);
        let label = |name: &str| {
            let pairs = rest.trim_end_matches('}').split(',');
            let mut found = pairs.filter_map(|pair| pair.split_once('='));
            let found = found.find(|(label, _)| *label == name);
            found
                .map_or("", |(_, text)| text.trim_matches('"'))
                .to_owned()
        };
        let labels = || Labels {
            method: label(names.method),
            route: label(names.route),
            status: label(names.status),
            error: label(names.error),
        };
        match name {
            _ if name == names.requests => counts.at(labels()).requests += value,
            _ if name == names.seconds => counts.at(labels()).seconds += value,
            _ if name == names.bytes => counts.bytes += value,
            _ if name == names.in_flight => counts.in_flight += value,
            _ => {}
        }
    }
    counts
}

/// Reads the latest export of an OpenTelemetry SDK of either version.
macro_rules! of_otel {
    ($sdk:ident, $otel:expr) => {{
        use $sdk::metrics::data::{AggregatedMetrics, MetricData};
        let mut counts = $crate::counts::Counts::default();
        $otel.exporter.reset();
        $otel
            .provider
            .force_flush()
            .expect("the exporter takes all");
        let exported = $otel.exporter.get_finished_metrics();
        let exported = exported.expect("the exporter is not shut down");
        let labels = |attributes: &mut dyn Iterator<Item = (String, String)>| {
            let mut labels = $crate::counts::Labels::default();
            for (name, value) in attributes {
                match &*name {
                    "http.request.method" => labels.method = value,
                    "http.route" => labels.route = value,
                    "http.response.status_code" => labels.status = value,
                    "error.type" => labels.error = value,
                    _ => {}
                }
            }
            labels
        };
        macro_rules! labels {
            ($point:expr) => {
                labels(
                    &mut $point
                        .attributes()
                        .map(|pair| (pair.key.to_string(), pair.value.to_string())),
                )
            };
        }
        let metrics = exported.iter().flat_map(|all| all.scope_metrics());
        for metric in metrics.flat_map(|scope| scope.metrics()) {
            match (metric.name(), metric.data()) {
                (
                    "http.server.request.duration",
                    AggregatedMetrics::F64(MetricData::Histogram(histogram)),
                ) => {
                    for point in histogram.data_points() {
                        let values = counts.at(labels!(point));
                        values.requests += point.count() as f64;
                        values.seconds += point.sum();
                    }
                }
                (
                    "http.server.response.body.size",
                    AggregatedMetrics::U64(MetricData::Histogram(histogram)),
                ) => {
                    for point in histogram.data_points() {
                        counts.bytes += point.sum() as f64;
                    }
                }
                ("http.server.active_requests", AggregatedMetrics::I64(MetricData::Sum(sum))) => {
                    for point in sum.data_points() {
                        counts.in_flight += point.value() as f64;
                    }
                }
                _ => {}
            }
        }
        counts
    }};
}
pub(crate) use of_otel;
