//! What a contestant has counted.

use std::collections::BTreeMap;

/// The labels that requests are told apart by; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: String,
    pub(crate) error: String,
}

/// The figures of a series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
}

/// Everything at one time, or the difference of two times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) series: BTreeMap<Labels, Figures>,
    /// Of all responses: some have other labels for it.
    pub(crate) bytes: f64,
    pub(crate) in_flight: f64,
}

impl Counts {
    pub(crate) fn at(&mut self, labels: Labels) -> &mut Figures {
        self.series.entry(labels).or_default()
    }

    /// What has come since then.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (labels, figures) in &mut self.series {
            let old = before.series.get(labels).copied().unwrap_or_default();
            figures.requests -= old.requests;
            figures.seconds -= old.seconds;
        }
        self.series.retain(|_, figures| figures.requests > 0.0);
        self.bytes -= before.bytes;
        self.in_flight -= before.in_flight;
        self
    }

    pub(crate) fn sum(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        self.series.values().map(figure).sum()
    }
}

/// What the metrics and labels of a text exposition are called.
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

/// Reads the text format.
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

/// Reads what an OpenTelemetry SDK has exported last, of either version.
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
                        let figures = counts.at(labels!(point));
                        figures.requests += point.count() as f64;
                        figures.seconds += point.sum();
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
