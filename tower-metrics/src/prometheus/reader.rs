//! Values of a recorder's series without protobuf messages, for code that
//! evaluates metrics inside the process.

use prometheus::proto::MetricFamily;

use super::Prometheus;
use super::collector::gather_others;
use super::family::{Labels, Metric, Value, families};
use super::snapshot::Snapshot;

/// Reads the series of a [`Prometheus`] recorder directly from its counters.
///
/// [`Registry::gather`](prometheus::Registry::gather) allocates a message for
/// every series, label and bucket. A reader allocates nothing once its buffers
/// have grown to the number of series, so that a process can evaluate its
/// request metrics every second. Returned by [`Prometheus::reader`].
///
/// ```
/// use tower_metrics::Prometheus;
/// use tower_metrics::prometheus::ReadValue;
///
/// let prometheus = Prometheus::new();
/// let mut in_flight = 0.0;
/// prometheus.reader().read(|series| {
///     if let ReadValue::Gauge(value) = series.value() {
///         in_flight += value;
///     }
/// });
/// assert_eq!(in_flight, 0.0);
/// ```
#[derive(Debug)]
pub struct Reader {
    prometheus: Prometheus,
    /// Exposed names of the families, in the order of [`families`].
    names: Vec<String>,
    snapshot: Snapshot,
}

/// One series of one family, as [`Reader::read`] passes it.
#[derive(Debug)]
pub struct ReadSeries<'a> {
    family: &'a str,
    metric: Metric<'a>,
    additions: &'static [(String, String)],
}

/// Value of a [`ReadSeries`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReadValue<'a> {
    /// Current value of a gauge.
    Gauge(f64),
    /// Value of a counter.
    Counter(f64),
    /// Observations of a histogram.
    Histogram {
        /// Finite bucket bounds, ascending.
        bounds: &'a [f64],
        /// Observations in each bucket, not cumulative. The last bucket has no
        /// upper bound. Empty if the histogram has no finite bounds.
        buckets: &'a [u64],
        /// Number of observations.
        count: u64,
        /// Sum of the observations, in seconds or bytes.
        sum: f64,
    },
}

impl Reader {
    pub(super) fn new(prometheus: Prometheus) -> Self {
        let families = families(prometheus.0, prometheus.0.names);
        let names = families.map(|family| prometheus.exposed_name(family.name));
        Self {
            names: names.collect(),
            prometheus,
            snapshot: Snapshot::default(),
        }
    }

    /// Takes a snapshot of all series and calls `each` with every one of them,
    /// family by family.
    pub fn read(&mut self, mut each: impl FnMut(&ReadSeries<'_>)) {
        let inner = self.prometheus.0;
        inner.read(&mut self.snapshot);
        let families = families(inner, inner.names);
        for (family, name) in families.zip(&self.names) {
            family.kind.for_each_metric(&self.snapshot, |metric| {
                each(&ReadSeries {
                    family: name,
                    metric: *metric,
                    additions: &inner.additions.labels,
                });
            });
        }
    }

    /// Gathers the other families of the recorder's registry, and those of the registries of
    /// other crates in its exposition.
    pub fn gather_others(&self) -> Vec<MetricFamily> {
        let inner = self.prometheus.0;
        let mut families = gather_others(inner);
        families.extend(inner.other_families().into_iter().map(MetricFamily::from));
        families
    }
}

impl ReadSeries<'_> {
    /// Returns the exposed name of the family.
    pub fn family(&self) -> &str {
        self.family
    }

    /// Returns a number that identifies the series among those of its family
    /// for the life of the process.
    pub fn id(&self) -> u64 {
        let address = match &self.metric.labels {
            Labels::Endpoint(endpoint) => std::ptr::from_ref(*endpoint).addr(),
            Labels::Route(route) => std::ptr::from_ref(*route).addr(),
            Labels::Series(view) => std::ptr::from_ref(view.series).addr(),
        };
        address as u64
    }

    /// Calls `each` with the name and value of every label, including those
    /// that the registry adds, in no particular order.
    pub fn for_each_label(&self, mut each: impl FnMut(&str, &str)) {
        self.metric.labels.for_each(&mut each);
        for (name, value) in self.additions {
            each(name, value);
        }
    }

    /// Returns the value of the series.
    pub fn value(&self) -> ReadValue<'_> {
        match &self.metric.value {
            Value::Gauge(value) => ReadValue::Gauge(value.as_f64()),
            Value::Counter(value) => ReadValue::Counter(*value as f64),
            Value::Histogram(histogram) => ReadValue::Histogram {
                bounds: histogram.bounds,
                buckets: histogram.buckets,
                count: histogram.count,
                sum: histogram.sum.as_f64(),
            },
        }
    }
}
