//! Rate, errors and duration of a service, for whatever names its layer uses.

mod overview;
mod route;

use std::time::Duration;

use crate::expr::{Expr, Selector};
use crate::panel::Dashboard;
use crate::slo::{Floor, Indicator, Slo};
use tower_metrics::Names;

/// The overview of a service: rate, errors, duration, in-flight and traffic, by route. Add rows of
/// your own; for titles, labels and objectives of your own, see [`Red`].
#[must_use]
pub fn red(names: &Names) -> Dashboard {
    Red::new(names).overview()
}

/// The layer's metrics as selectors, and what is made of them: an overview with a drill-down by
/// route, and objectives.
#[derive(Clone, Debug)]
pub struct Red {
    names: Names,
    uid: String,
    title: String,
    labels: Vec<(String, String)>,
    time_to_head: bool,
}

/// The kinds of `error_type` that are the client's doing.
const HUNG_UP: [&str; 2] = ["cancelled", "body_cancelled"];

impl Red {
    /// The dashboards for a layer with these names.
    #[must_use]
    pub fn new(names: &Names) -> Self {
        Self {
            names: names.clone(),
            uid: "http".to_owned(),
            title: "HTTP".to_owned(),
            labels: Vec::new(),
            time_to_head: false,
        }
    }

    /// With another title, and another [`uid`](Dashboard::uid): the overview's is `uid`, the
    /// drill-down's `uid-route`.
    #[must_use]
    pub fn titled(mut self, uid: impl Into<String>, title: impl Into<String>) -> Self {
        self.uid = uid.into();
        self.title = title.into();
        self
    }

    /// With a choice of one of the layer's own labels.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>, title: impl Into<String>) -> Self {
        self.labels.push((label.into(), title.into()));
        self
    }

    /// With the time to the head of the answer, where the layer's recorder measures it.
    #[must_use]
    pub fn time_to_head(mut self) -> Self {
        self.time_to_head = true;
        self
    }

    /// All requests that ended.
    #[must_use]
    pub fn requests(&self) -> Selector {
        match &self.names.requests {
            Some(counter) => Selector::new(counter),
            None => self.duration().count(),
        }
    }

    /// The histogram of durations.
    #[must_use]
    pub fn duration(&self) -> Selector {
        Selector::new(&self.names.duration)
    }

    /// The requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> Selector {
        Selector::new(&self.names.in_flight)
    }

    /// Of the requests `of`, those that failed: the service's doing, not the client's.
    #[must_use]
    pub fn errors(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(kind) => of.without(kind, ["", HUNG_UP[0], HUNG_UP[1]]),
            None => of.starting(&self.names.status, "5"),
        }
    }

    /// Of the requests `of`, those that got an answer or failed: all but the ones whose client hung
    /// up. An error ratio is a share of these.
    #[must_use]
    pub fn answered(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(kind) => of.without(kind, HUNG_UP),
            None => of.without(&self.names.status, [""]),
        }
    }

    /// Of the requests `of`, those whose client hung up.
    #[must_use]
    pub fn hung_up(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(kind) => of.with(kind, HUNG_UP),
            None => of.with(&self.names.status, [""]),
        }
    }

    /// Of the requests `of`, those that succeeded.
    #[must_use]
    pub fn succeeded(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(kind) => of.with(kind, [""]),
            None => of
                .not_starting(&self.names.status, "5")
                .without(&self.names.status, [""]),
        }
    }

    /// The share of the answered requests that failed, in groups that share the labels `by`.
    #[must_use]
    pub fn error_ratio(&self, of: &Selector, by: &[&str]) -> Expr {
        let by = || by.iter().copied();
        let failed = self.errors(of.clone()).rate().sum_by(by());
        failed.ratio(self.answered(of.clone()).rate().sum_by(by()))
    }

    /// The objective that this share of the answered requests does not fail: 0.999.
    #[must_use]
    pub fn availability(&self, objective: f64) -> Slo {
        Slo {
            name: "availability".to_owned(),
            promise: "do not fail".to_owned(),
            objective,
            indicator: Indicator::Bad {
                bad: self.errors(self.requests()),
                total: self.answered(self.requests()),
            },
            floor: Floor::default(),
        }
    }

    /// The objective that this share of the successful requests takes at most `threshold`, which
    /// must be one of the layer's bucket bounds (its `objective` is).
    #[must_use]
    pub fn latency(&self, threshold: Duration, objective: f64) -> Slo {
        let succeeded = self.succeeded(self.duration());
        Slo {
            name: "latency".to_owned(),
            promise: format!("take at most {}", time(threshold)),
            objective,
            indicator: Indicator::Good {
                good: succeeded.clone().up_to(threshold.as_secs_f64()),
                total: succeeded.count(),
            },
            floor: Floor::default(),
        }
    }

    /// The overview, with a link to the [drill-down](Self::by_route) on each route.
    #[must_use]
    pub fn overview(&self) -> Dashboard {
        overview::dashboard(self)
    }

    /// The drill-down: a route, or a few, in detail.
    #[must_use]
    pub fn by_route(&self) -> Dashboard {
        route::dashboard(self)
    }

    fn route_uid(&self) -> String {
        format!("{}-route", self.uid)
    }

    /// What the viewer has picked, of a selection.
    fn picked(&self, of: Selector) -> Selector {
        let of = of.picked(&self.names.route, "route");
        (self.labels.iter()).fold(of, |of, (label, _)| of.picked(label, label))
    }

    /// A dashboard with the variables that [`picked`](Self::picked) uses.
    fn blank(&self, uid: &str, title: &str, description: &str) -> Dashboard {
        let blank = Dashboard::new(uid, title, description)
            .tag("http")
            .variable("route", "Route", &self.names.route, self.requests());
        (self.labels.iter()).fold(blank, |dashboard, (label, title)| {
            dashboard.variable(label, title, label, self.requests())
        })
    }
}

/// A duration in the largest unit of which it is at least one: `50 µs`, `1.5 s`.
fn time(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (size, unit) = match nanos {
        0..1_000 => (1.0, "ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", nanos as f64 / size)
}
