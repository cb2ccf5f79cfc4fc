//! Builder for [`Red`].

use std::time::Duration;

use tower_metrics::{Names, Prometheus};

use super::saturation::{ConnectionMetrics, Saturation};
use super::{LabelVariable, Red};
use crate::error::Error;
use crate::format;
use crate::period::Period;
use crate::selector::Selector;
use crate::slo::{Indicator, MinimumEvents, Slo};
use crate::validate::{check, duplicate};

/// Builder for [`Red`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedBuilder {
    /// Absent if the dashboards are built from names alone.
    recorder: Option<Prometheus>,
    names: Names,
    uid: String,
    title: String,
    labels: Vec<(String, String)>,
    time_to_head: Option<bool>,
    native_histograms: bool,
    connections: bool,
    connection_limit: Option<Selector>,
    admission: bool,
    runtime: bool,
    oldest_request: Option<bool>,
    hung_after: Duration,
    availability: Vec<f64>,
    latency: Vec<(Duration, f64)>,
    minimum_events: MinimumEvents,
    period: Period,
}

impl Red {
    /// Starts to build dashboards for the metrics of `recorder`.
    ///
    /// The builder checks every setting against the recorder. Call it after the layers that use the
    /// recorder are built: their labels are known only then.
    pub fn of(recorder: &Prometheus) -> RedBuilder {
        RedBuilder {
            recorder: Some(*recorder),
            ..Self::from_names(recorder.names())
        }
    }

    /// Starts to build dashboards from the names of the metrics alone, for tools that run without
    /// the service.
    ///
    /// Bucket bounds, labels and options of the recorder are unknown, so the builder cannot check
    /// that a latency objective has a bucket, that labels exist or that the time to head is
    /// recorded. Names must include the prefixes of the recorder and the registry.
    pub fn from_names(names: &Names) -> RedBuilder {
        RedBuilder {
            recorder: None,
            names: names.clone(),
            uid: "http".to_owned(),
            title: "HTTP".to_owned(),
            labels: Vec::new(),
            time_to_head: None,
            native_histograms: false,
            connections: false,
            connection_limit: None,
            admission: false,
            runtime: false,
            oldest_request: None,
            hung_after: Duration::from_secs(60),
            availability: Vec::new(),
            latency: Vec::new(),
            minimum_events: MinimumEvents::default(),
            period: Period::default(),
        }
    }
}

impl RedBuilder {
    /// Sets the [`uid`](crate::Dashboard::uid) of the overview. The route details have the same
    /// with the suffix `-route`. Defaults to `http`.
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = uid.into();
        self
    }

    /// Sets the title, to which the dashboards add "overview" and "by route". Defaults to `HTTP`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Adds a variable for a label of the requests, such as a custom label of the layer. `title` is
    /// the name to display.
    ///
    /// Custom labels do not filter requests in flight, because they are known only when a request
    /// completes.
    pub fn label(mut self, label: impl Into<String>, title: impl Into<String>) -> Self {
        self.labels.push((label.into(), title.into()));
        self
    }

    /// Sets whether to show the time to the response head.
    ///
    /// Defaults to what the recorder does, and to `false` without a recorder.
    pub fn time_to_head(mut self, on: bool) -> Self {
        self.time_to_head = Some(on);
        self
    }

    /// Sets whether queries read the native histogram of the duration, if the recorder has
    /// [one](tower_metrics::PrometheusBuilder::native_histogram). Defaults to `false`.
    ///
    /// Quantiles are then exact to 4.5 % at any duration, and a heatmap has eight rows for each power
    /// of two. Requires Prometheus 3.8 or later with `scrape_native_histograms: true`, and Grafana
    /// as the viewer. What the dashboard writes for Cloud Monitoring, and the rules for Google's
    /// managed service, which have no native histograms, keep to the classic one.
    ///
    /// A query in this form has no result in a Prometheus that scrapes classic histograms only, and
    /// one in the classic form has none where `always_scrape_classic_histograms` is not set beside
    /// `scrape_native_histograms`.
    pub fn native_histograms(mut self, on: bool) -> Self {
        self.native_histograms = on;
        self
    }

    /// Sets whether to show [connections](tower_metrics::connections): network traffic, open and
    /// rejected connections. Defaults to `false`.
    pub fn connections(mut self, on: bool) -> Self {
        self.connections = on;
        self
    }

    /// Sets the gauge of the limit of open connections of an instance, which the service exposes with
    /// the value that it passes to `max_connections`. Adds the limit to the panel and the alert
    /// `…ConnectionsNearLimit` (80 % for five minutes). By default there are none.
    ///
    /// Enables [`connections`](Self::connections).
    pub fn connection_limit(mut self, gauge: Selector) -> Self {
        self.connections = true;
        self.connection_limit = Some(gauge);
        self
    }

    /// Sets whether to show the wait for admission, which `AdmissionLayer` or `AdmissionWait` records.
    /// Defaults to `false`.
    pub fn admission(mut self, on: bool) -> Self {
        self.admission = on;
        self
    }

    /// Sets whether to show the scheduling delay of Tokio runtimes, which `TokioCollector` measures,
    /// and to add the alerts `…RuntimeBlocked` (5 s) and `…SchedulingDelayed` (p99 above 250 ms for ten
    /// minutes). Defaults to `false`.
    pub fn runtime(mut self, on: bool) -> Self {
        self.runtime = on;
        self
    }

    /// Sets whether to show the age of the oldest request, and to add the alert `…RequestsHung`.
    ///
    /// Defaults to what the recorder does, and to `false` without a recorder.
    pub fn oldest_request(mut self, on: bool) -> Self {
        self.oldest_request = Some(on);
        self
    }

    /// Sets the age at which a request counts as hung. Defaults to 60 seconds.
    pub fn hung_after(mut self, age: Duration) -> Self {
        self.hung_after = age;
        self
    }

    /// Adds the objective `availability`: this ratio of [valid requests](Red::valid) must not be
    /// [errors](Red::errors). `objective` is above 0 and below 1.
    pub fn availability(mut self, objective: f64) -> Self {
        self.availability.push(objective);
        self
    }

    /// Adds the objective `latency`: this ratio of [successful requests](Red::successes) must take
    /// at most `threshold`. `objective` is above 0 and below 1.
    ///
    /// The threshold must be a bucket bound of the duration histogram; declare it with
    /// [`PrometheusBuilder::objective`](tower_metrics::PrometheusBuilder::objective).
    pub fn latency(mut self, threshold: Duration, objective: f64) -> Self {
        self.latency.push((threshold, objective));
        self
    }

    /// Sets the rolling window over which the objectives must be met. Defaults to 30 days.
    pub fn period(mut self, period: Period) -> Self {
        self.period = period;
        self
    }

    /// Sets the traffic below which the alerts of the objectives do not fire. Defaults to 20
    /// requests, of which 3 are bad.
    pub fn minimum_events(mut self, minimum: MinimumEvents) -> Self {
        self.minimum_events = minimum;
        self
    }

    /// Checks all settings and builds the dashboards.
    ///
    /// # Errors
    ///
    /// Returns an error if
    /// - the threshold of a latency objective is not a bucket bound of the recorder,
    /// - a label is not a label of the recorder or of a layer that uses it,
    /// - the time to head, native histograms or the oldest request are requested, but not recorded,
    /// - an objective is not above 0 and below 1, or is added twice,
    /// - the uid or the title are invalid.
    pub fn build(self) -> Result<Red, Error> {
        self.check_against_recorder()?;
        let saturation = self.saturation();
        // The recorder labels its own metrics with the registered name of the duration, which lacks
        // the prefix of the registry.
        let exposed_name = |name: &str| match &self.recorder {
            Some(recorder) => recorder.exposed_name(name),
            None => name.to_owned(),
        };
        let duration = self.names.duration.as_str();
        let registered = duration
            .strip_prefix(&*exposed_name(""))
            .unwrap_or(duration);
        let own = |name: &str| Selector::new(exposed_name(name)).with("metric", [registered]);
        let labels = (self.labels.into_iter())
            .map(|(label, title)| LabelVariable {
                of_requests_in_flight: self.names.method.as_ref() == Some(&label)
                    || self.names.scheme.as_ref() == Some(&label)
                    || (self.recorder.iter())
                        .flat_map(Prometheus::constant_labels)
                        .any(|(constant, _)| constant == label),
                label,
                title,
            })
            .collect();
        let mut red = Red {
            recorder_series: own("tower_metrics_series"),
            recorder_overflow: own("tower_metrics_overflow_total"),
            time_to_head: (self.time_to_head)
                .unwrap_or_else(|| self.recorder.is_some_and(|r| r.records_time_to_head())),
            native_histograms: self.native_histograms,
            saturation,
            names: self.names,
            uid: self.uid,
            title: self.title,
            labels,
            slos: Vec::new(),
        };
        let availability = self.availability.iter().map(|&o| availability(&red, o));
        let latency = self.latency.iter().map(|&(t, o)| latency(&red, t, o));
        let slos: Vec<Slo> = availability
            .chain(latency)
            .map(|slo| slo.minimum_events(self.minimum_events).period(self.period))
            .collect();
        for (i, slo) in slos.iter().enumerate() {
            slo.validate()?;
            if slos[..i].iter().any(|other| other.name == slo.name) {
                let context = format!("dashboard {:?}", red.uid);
                return Err(duplicate(&context, "objective", &slo.name));
            }
        }
        red.slos = slos;
        red.overview().validate()?;
        red.route_details().validate()?;
        Ok(red)
    }

    fn saturation(&self) -> Saturation {
        let name = |name: &str| match &self.recorder {
            Some(recorder) => recorder.prefixed_name(name),
            None => name.to_owned(),
        };
        let oldest_request = self
            .oldest_request
            .unwrap_or_else(|| self.recorder.is_some_and(|r| r.exposes_oldest_request()));
        Saturation {
            connections: self.connections.then(|| ConnectionMetrics {
                open: name("http_server_open_connections"),
                rejected: name("http_server_rejected_connections_total"),
                network_io: name("http_server_network_io_bytes_total"),
                limit: self.connection_limit.clone(),
            }),
            admission_wait: (self.admission).then(|| name("http_server_admission_wait_seconds")),
            runtime: self.runtime,
            oldest_request: oldest_request
                .then(|| (self.names.oldest_request.clone(), self.hung_after)),
        }
    }

    fn check_against_recorder(&self) -> Result<(), Error> {
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        for (threshold, _) in &self.latency {
            check(
                "objective \"latency\"",
                "threshold",
                &format::duration(*threshold),
                recorder.has_duration_bound(threshold.as_secs_f64()),
                format!(
                    "a bucket bound of every duration histogram (by default {:?} s); \
                     PrometheusBuilder::objective adds one",
                    recorder.duration_bounds(),
                ),
            )?;
        }
        let context = format!("dashboard {:?}", self.uid);
        let known = self.known_labels(recorder);
        for (label, _) in &self.labels {
            if !known.contains(label) {
                return Err(Error::Unknown {
                    context,
                    what: "label",
                    name: label.clone(),
                    known,
                });
            }
        }
        check(
            &context,
            "time_to_head",
            "true",
            self.time_to_head != Some(true) || recorder.records_time_to_head(),
            "false unless PrometheusBuilder::time_to_head is set",
        )?;
        check(
            &context,
            "native_histograms",
            "true",
            !self.native_histograms || recorder.records_native_histogram(),
            "false unless PrometheusBuilder::native_histogram is set",
        )?;
        check(
            &context,
            "oldest_request",
            "true",
            self.oldest_request != Some(true) || recorder.exposes_oldest_request(),
            "false unless PrometheusBuilder::oldest_request is set",
        )
    }

    fn known_labels(&self, recorder: &Prometheus) -> Vec<String> {
        let names = &self.names;
        // Only layers with gRPC have its status. The recorder does not know them.
        let own = [&names.method, &names.status, &names.error_type];
        let own = own.into_iter().flatten();
        let own = own.chain([&names.grpc_status]).map(String::as_str);
        let custom = recorder.custom_labels().into_iter();
        let constant = recorder.constant_labels().map(|(name, _)| name);
        own.chain(custom)
            .chain(constant)
            .map(str::to_owned)
            .collect()
    }
}

fn availability(red: &Red, objective: f64) -> Slo {
    let indicator = Indicator::Bad {
        bad: red.errors(red.requests()),
        total: red.valid(red.requests()),
    };
    Slo::new("availability", "succeed", objective, indicator).runbook(
        "**Diagnosis.** Open the overview dashboard. *Errors by type* distinguishes 5xx responses, \
         panics, timeouts, load shedding and injected faults. *Error ratio by route* and the table \
         of routes show which routes are affected. The exemplars in the heatmap link to single \
         requests.\n\n\
         **Mitigation.** Roll back if the errors started with a release. Stop injected faults. \
         Under overload, reduce the load or add instances. If a dependency fails, restore it.",
    )
}

fn latency(red: &Red, threshold: Duration, objective: f64) -> Slo {
    let successes = red.successes(red.duration());
    let condition = format!("complete within {}", format::duration(threshold));
    let indicator = Indicator::Good {
        good: successes.clone().bucket(threshold.as_secs_f64()),
        total: successes.count(),
    };
    Slo::new("latency", condition, objective, indicator).runbook(
        "**Diagnosis.** Open the overview dashboard. *p95 duration by route* shows whether one \
         route or all of them are slow. *In flight* rises when the service cannot keep up. The \
         exemplars in the heatmap link to slow requests.\n\n\
         **Mitigation.** Roll back if the latency rose with a release. Stop injected faults. Under \
         overload, reduce the load or add instances. If a dependency is slow, restore it.",
    )
}
