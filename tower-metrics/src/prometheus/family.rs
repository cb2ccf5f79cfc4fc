//! The recorder's metric families and how their values follow from a snapshot.
//!
//! Every consumer of the recorder's metrics (both text formats, protobuf, the
//! registry's collector and the [`Reader`](super::Reader)) iterates over
//! [`families`] and [`Kind::for_each_metric`]. A new family needs a [`Kind`], an
//! entry in [`families`] and an arm that returns its value.

use prometheus::proto;

use super::oldest_request::RouteLabels;
use super::series::Endpoint;
use super::snapshot::{Histogram, Snapshot, View};
use super::{Inner, Names};

/// Metric family of the recorder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
}

/// Measurement of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InFlight,
    Requests,
    Duration,
    TimeToHead,
    RequestSize,
    ResponseSize,
    OldestRequest,
}

/// Metric of a family: one series, or one histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric<'a> {
    pub(crate) labels: Labels<'a>,
    pub(crate) value: Value<'a>,
}

/// Labels of a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labels<'a> {
    /// Those of an endpoint: method, route and constant labels.
    Endpoint(&'static Endpoint),
    /// Those of a route: the route and constant labels.
    Route(&'static RouteLabels),
    /// Those of a series.
    Series(View<'a>),
}

/// Value of a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Gauge(Number),
    Counter(u64),
    Histogram(Histogram<'a>),
}

/// Number with its unit, which the formats write without rounding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Integer(u64),
    /// Written in seconds.
    Nanoseconds(u64),
}

impl Number {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(n) => n as f64,
            Self::Nanoseconds(n) => n as f64 / 1e9,
        }
    }
}

impl<'a> Labels<'a> {
    /// Returns the series whose labels they are.
    pub(crate) fn view(&self) -> Option<&View<'a>> {
        match self {
            Self::Endpoint(_) | Self::Route(_) => None,
            Self::Series(view) => Some(view),
        }
    }

    /// Returns the labels in exposition format, without braces.
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => &endpoint.labels,
            Self::Route(route) => &route.text,
            Self::Series(view) => view.labels,
        }
    }

    /// Calls `each` with the name and value of every label.
    pub(crate) fn for_each(&self, each: impl FnMut(&str, &str)) {
        match self {
            Self::Endpoint(endpoint) => endpoint.for_each_label(each),
            Self::Route(route) => route.for_each(each),
            Self::Series(view) => view.endpoint.for_each_series_label(view.series, each),
        }
    }
}

impl Kind {
    pub(crate) fn metric_type(self) -> proto::MetricType {
        match self {
            Self::InFlight | Self::OldestRequest => proto::MetricType::GAUGE,
            Self::Requests => proto::MetricType::COUNTER,
            _ => proto::MetricType::HISTOGRAM,
        }
    }

    /// Returns whether a snapshot contains no metric of the family.
    pub(crate) fn is_empty(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::InFlight => snapshot.endpoints().next().is_none(),
            Self::OldestRequest => snapshot.oldest_requests().is_empty(),
            _ => snapshot.series().next().is_none(),
        }
    }

    /// Calls `each` with every metric of the family.
    pub(crate) fn for_each_metric<'a>(
        self,
        snapshot: &'a Snapshot,
        mut each: impl FnMut(&Metric<'a>),
    ) {
        match self {
            Self::InFlight => {
                for (endpoint, in_flight) in snapshot.endpoints() {
                    let labels = Labels::Endpoint(endpoint);
                    let value = Value::Gauge(Number::Integer(in_flight));
                    each(&Metric { labels, value });
                }
            }
            Self::OldestRequest => {
                for (route, age) in snapshot.oldest_requests() {
                    let labels = Labels::Route(route);
                    let value = Value::Gauge(Number::Nanoseconds(*age));
                    each(&Metric { labels, value });
                }
            }
            _ => {
                for view in snapshot.series() {
                    if let Some(value) = self.value(&view) {
                        let labels = Labels::Series(view);
                        each(&Metric { labels, value });
                    }
                }
            }
        }
    }

    /// Returns the value of a series, if the family contains it.
    fn value<'a>(self, view: &View<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::InFlight | Self::OldestRequest => return None,
            Self::Requests => Value::Counter(view.count()),
            Self::Duration => Value::Histogram(view.duration()),
            Self::TimeToHead => Value::Histogram(view.time_to_head()?),
            Self::RequestSize => Value::Histogram(view.request_size()),
            Self::ResponseSize => Value::Histogram(view.response_size()),
        })
    }
}

/// Returns the families of a recorder under these names, which are its own ones or the
/// exposed ones, in the order of the exposition.
pub(crate) fn families(
    inner: &Inner,
    names: &'static Names,
) -> impl Iterator<Item = Family> + Clone + use<> {
    let family = |name: &'static str, help, kind| Some(Family { name, help, kind });
    let optional = |name: &'static Option<String>, help, kind| {
        name.as_deref().map(|name| Family { name, help, kind })
    };
    [
        family(
            &names.in_flight,
            "Number of requests in flight.",
            Kind::InFlight,
        ),
        optional(
            &names.requests,
            "Total number of requests that have ended.",
            Kind::Requests,
        ),
        family(
            &names.duration,
            "Duration of requests until the end of the response.",
            Kind::Duration,
        ),
        family(
            &names.time_to_head,
            "Duration of requests until the head of the response.",
            Kind::TimeToHead,
        )
        .filter(|_| inner.time_to_head),
        optional(
            &names.request_size,
            "Size of request bodies.",
            Kind::RequestSize,
        ),
        optional(
            &names.response_size,
            "Size of response bodies.",
            Kind::ResponseSize,
        ),
        family(
            &names.oldest_request,
            "Age of the oldest request in flight, or 0 if there is none.",
            Kind::OldestRequest,
        )
        .filter(|_| inner.oldest_request),
    ]
    .into_iter()
    .flatten()
}
