//! Dashboards and objectives for the rate, errors and duration of a service.

mod builder;
mod overview;
mod route;
mod saturation;

use tower_metrics::Names;

use crate::dashboard::Dashboard;
use crate::expr::Expr;
use crate::rules::Rules;
use crate::selector::Selector;
use crate::slo::Slo;

pub use self::builder::RedBuilder;
use self::saturation::Saturation;

/// The metrics of a [`MetricsLayer`](tower_metrics::MetricsLayer): selectors, dashboards, objectives
/// and rules.
///
/// [`Red::of`] takes the names, labels and bucket bounds from the recorder, so that a dashboard
/// cannot disagree with what is measured:
///
/// ```
/// use std::time::Duration;
/// use tower_metrics::Prometheus;
/// use tower_metrics_dashboard::{GrafanaTarget, Red};
///
/// let threshold = Duration::from_millis(300);
/// let prometheus = Prometheus::builder().objective(threshold).build()?;
///
/// let red = Red::of(&prometheus)
///     .uid("shop-http")
///     .title("Shop")
///     .availability(0.999)
///     .latency(threshold, 0.99)
///     .build()?;
/// let json = red.overview().grafana_json(GrafanaTarget::Import)?;
/// let rules = red.rules("Shop", "shop").rule_file()?;
/// # assert!(json.contains("shop-http") && rules.contains("ShopLatencyBurnFast"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A threshold that is not a bucket bound would make a latency alert fire forever. It is an error:
///
/// ```
/// # use std::time::Duration;
/// # use tower_metrics::Prometheus;
/// # use tower_metrics_dashboard::Red;
/// let prometheus = Prometheus::new();
/// let error = Red::of(&prometheus)
///     .latency(Duration::from_millis(300), 0.99)
///     .build()
///     .unwrap_err();
/// assert!(error.to_string().contains(r#"invalid threshold "300 ms""#));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Red {
    names: Names,
    uid: String,
    title: String,
    labels: Vec<LabelVariable>,
    time_to_head: bool,
    /// If `true`, queries read the native histogram of the duration.
    native_histograms: bool,
    slos: Vec<Slo>,
    saturation: Saturation,
    /// The recorder's own gauge of series.
    recorder_series: Selector,
    /// The recorder's own counter of values beyond a cardinality limit.
    recorder_overflow: Selector,
}

/// Variable for a label of the requests.
#[derive(Clone, Debug, PartialEq)]
struct LabelVariable {
    label: String,
    title: String,
    /// If `false`, only completed requests have the label, and the gauge of requests in flight lacks
    /// it.
    of_requests_in_flight: bool,
}

/// Values of `error_type` for requests that the client abandoned.
const DISCONNECTS: [&str; 2] = ["cancelled", "body_cancelled"];

/// Statuses of gRPC that the semantic conventions treat as errors of the server.
const SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

impl Red {
    /// Selects all completed requests.
    #[must_use]
    pub fn requests(&self) -> Selector {
        match &self.names.requests {
            Some(counter) => Selector::new(counter),
            None => self.duration().count(),
        }
    }

    /// Selects the histogram of request durations.
    #[must_use]
    pub fn duration(&self) -> Selector {
        Selector::new(&self.names.duration).native(self.native_histograms)
    }

    /// Selects the gauge of requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> Selector {
        Selector::new(&self.names.in_flight)
    }

    /// Narrows `of` to the requests that failed, which excludes client disconnects.
    #[must_use]
    pub fn errors(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(error_type) => of.without(error_type, ["", DISCONNECTS[0], DISCONNECTS[1]]),
            None => match &self.names.status {
                Some(status) => of.with_prefix(status, "5"),
                None => of.with(&self.names.grpc_status, SERVER_ERRORS),
            },
        }
    }

    /// Narrows `of` to the requests that count toward the error ratio: all but client disconnects.
    #[must_use]
    pub fn valid(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(error_type) => of.without(error_type, DISCONNECTS),
            None => of.without(self.status_label(), [""]),
        }
    }

    /// Narrows `of` to the requests whose client disconnected before the end of the response.
    #[must_use]
    pub fn client_disconnects(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(error_type) => of.with(error_type, DISCONNECTS),
            None => of.with(self.status_label(), [""]),
        }
    }

    /// Narrows `of` to the requests that succeeded.
    #[must_use]
    pub fn successes(&self, of: Selector) -> Selector {
        match &self.names.error_type {
            Some(error_type) => of.with(error_type, [""]),
            None => match &self.names.status {
                Some(status) => of.without_prefix(status, "5").without(status, [""]),
                None => of
                    .without(&self.names.grpc_status, SERVER_ERRORS)
                    .without(&self.names.grpc_status, [""]),
            },
        }
    }

    /// Returns the ratio of [errors](Self::errors) to [valid requests](Self::valid) for each value
    /// of the labels `by`.
    #[must_use]
    pub fn error_ratio(&self, of: &Selector, by: &[&str]) -> Expr {
        let by = || by.iter().copied();
        let errors = self.errors(of.clone()).rate().sum_by(by());
        errors.ratio(self.valid(of.clone()).rate().sum_by(by()))
    }

    /// Returns the objectives.
    #[must_use]
    pub fn slos(&self) -> &[Slo] {
        &self.slos
    }

    /// Creates the overview dashboard, which links to the [details](Self::route_details) of each
    /// route.
    #[must_use]
    pub fn overview(&self) -> Dashboard {
        overview::dashboard(self)
    }

    /// Creates the dashboard with the details of one or a few routes.
    #[must_use]
    pub fn route_details(&self) -> Dashboard {
        route::dashboard(self)
    }

    /// Creates recording and alerting rules for the objectives, alerts for missing metrics, and alerts
    /// for connections, the runtime and hung requests, as far as the builder enables them.
    ///
    /// `prefix` starts the name of every alert, in CamelCase. `job` is the name of the service's
    /// scrape job. For further objectives and alerts, see [`Rules`].
    #[must_use]
    pub fn rules(&self, prefix: impl Into<String>, job: impl Into<String>) -> Rules {
        let rules = Rules::new(prefix, job).presence_metric(self.recorder_series.clone());
        let rules = self.slos.iter().cloned().fold(rules, Rules::slo);
        saturation::alerts(self)
            .into_iter()
            .fold(rules, Rules::alert)
    }

    /// Label of the response status: that of HTTP, or of gRPC if the names have no other.
    fn status_label(&self) -> &str {
        let status = self.names.status.as_ref();
        status.unwrap_or(&self.names.grpc_status)
    }

    /// Labels of the method and the route.
    fn route_labels(&self) -> Vec<&str> {
        let method = self.names.method.as_deref();
        method.into_iter().chain([&*self.names.route]).collect()
    }

    /// Legend of a series by [`route_labels`](Self::route_labels).
    fn route_legend(&self) -> String {
        let labels = self.route_labels();
        let labels: Vec<_> = labels.iter().map(|label| format!("{{{label}}}")).collect();
        labels.join(" ")
    }

    fn route_uid(&self) -> String {
        format!("{}-route", self.uid)
    }

    /// Narrows `of` to the values that are selected in the dashboard's variables.
    fn selected(&self, of: Selector) -> Selector {
        let of = of.with_variable(&self.names.route, "route");
        (self.labels.iter()).fold(of, |of, v| of.with_variable(&v.label, &v.label))
    }

    /// Selects the requests in flight, narrowed to the values that are selected in the variables
    /// whose labels the gauge has.
    fn selected_in_flight(&self) -> Selector {
        let in_flight = self.in_flight().with_variable(&self.names.route, "route");
        (self.labels.iter())
            .filter(|variable| variable.of_requests_in_flight)
            .fold(in_flight, |of, v| of.with_variable(&v.label, &v.label))
    }

    /// An empty dashboard with the variables that [`selected`](Self::selected) uses.
    fn empty_dashboard(&self, uid: &str, title: &str, description: &str) -> Dashboard {
        let dashboard = Dashboard::new(uid, title, description)
            .tag("http")
            .variable("route", "Route", &self.names.route, self.requests());
        (self.labels.iter()).fold(dashboard, |dashboard, v| {
            dashboard.variable(&v.label, &v.title, &v.label, self.requests())
        })
    }
}
