//! The builder of a page.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::burn::Budget;
use super::check::Check;
use super::control::Control;
use super::definition::{self, Contents};
use super::error::Error;
use super::feed::FeedParts;
use super::page::LivePage;
use super::recent::RequestLog;
use super::router::RouterParts;
use super::sampler::{Sampler, Spans};
use super::source::MetricsSource;
use crate::burn_rate::BurnRateAlert;
use crate::dashboard::Dashboard;
use crate::slo::Slo;

/// Builder for a [`LivePage`].
#[must_use = "a builder has no effect until `build` is called"]
pub struct LivePageBuilder {
    dashboard: Dashboard,
    metrics: MetricsSource,
    slos: Vec<Slo>,
    /// By default the alerts follow from the period of each objective.
    burn_rate_alerts: Option<Vec<BurnRateAlert>>,
    controls: Vec<Control>,
    checks: Vec<Check>,
    requests: Option<Requests>,
    window: Duration,
    history: Duration,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A request log, and the histogram that observes its requests.
struct Requests {
    log: Arc<dyn RequestLog>,
    histogram: String,
}

impl LivePage {
    /// Returns a builder of a page that shows `dashboard`.
    ///
    /// `metrics` is the [`Prometheus`](tower_metrics::Prometheus) recorder of the
    /// service's `MetricsLayer`, or any [`Registry`](prometheus::Registry).
    pub fn builder(dashboard: Dashboard, metrics: impl Into<MetricsSource>) -> LivePageBuilder {
        LivePageBuilder::new(dashboard, metrics.into())
    }
}

impl LivePageBuilder {
    pub(super) fn new(dashboard: Dashboard, metrics: MetricsSource) -> Self {
        Self {
            dashboard,
            metrics,
            slos: Vec::new(),
            burn_rate_alerts: None,
            controls: Vec::new(),
            checks: Vec::new(),
            requests: None,
            window: Duration::from_secs(5),
            history: Duration::from_secs(900),
            shutdown: Box::pin(std::future::pending()),
        }
    }

    /// Adds objectives, which the page shows with their error ratios, their burn
    /// rates and the state of their alerts.
    pub fn slos<'a>(mut self, slos: impl IntoIterator<Item = &'a Slo>) -> Self {
        self.slos.extend(slos.into_iter().cloned());
        self
    }

    /// Sets the burn rate alerts of all objectives. A window longer than the
    /// uptime of the process covers the uptime.
    ///
    /// Defaults to [`BurnRateAlert::for_period`] of each objective's period.
    pub fn burn_rate_alerts(mut self, alerts: impl IntoIterator<Item = BurnRateAlert>) -> Self {
        self.burn_rate_alerts = Some(alerts.into_iter().collect());
        self
    }

    /// Adds a control.
    pub fn control(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }

    /// Adds a consistency check.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Sets the log of recent requests. Cells of heatmaps that show `histogram`,
    /// and rows of tables by route, then open their requests.
    pub fn requests(mut self, log: Arc<dyn RequestLog>, histogram: impl Into<String>) -> Self {
        self.requests = Some(Requests {
            log,
            histogram: histogram.into(),
        });
        self
    }

    /// Sets the range over which rates and quantiles are calculated, between 1
    /// and 60 seconds. Defaults to 5 seconds.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the range of the charts, between 1 minute and 1 hour. Defaults to 15
    /// minutes.
    pub fn history(mut self, history: Duration) -> Self {
        self.history = history;
        self
    }

    /// Stops sampling and ends all event streams once `signal` completes.
    ///
    /// A server with graceful shutdown waits for open responses, and event streams
    /// do not end otherwise. Pass the signal that shuts down the server.
    pub fn graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Box::pin(signal);
        self
    }

    /// Builds the page. Must be called within a Tokio runtime, on which the page
    /// then samples the metrics.
    ///
    /// # Errors
    /// Returns an error if
    /// - the dashboard or an objective is invalid,
    /// - two controls or two checks have the same title,
    /// - the [window](Self::window) or the [history](Self::history) is out of range,
    /// - a control refers to a panel that does not exist,
    /// - no Tokio runtime is running.
    pub fn build(self) -> Result<LivePage, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        self.validate()?;
        let controls: Arc<[Control]> = self.controls.into();
        let objectives = self.slos.into_iter().map(|slo| {
            let alerts = match &self.burn_rate_alerts {
                Some(alerts) => alerts.clone(),
                None => BurnRateAlert::for_period(slo.period).to_vec(),
            };
            Budget::new(slo, alerts)
        });
        let objectives: Vec<Budget> = objectives.collect();
        let contents = Contents {
            dashboard: &self.dashboard,
            objectives: &objectives,
            controls: &controls,
            checks: &self.checks,
            histogram: self.requests.as_ref().map(|r| r.histogram.as_str()),
            window: self.window,
            history: self.history,
        };
        let (definition, panels) = definition::define(&contents)?;
        let spans = Spans {
            window: self.window.as_secs_f64(),
            history: self.history.as_secs_f64(),
        };
        let sampler = Sampler::new(
            self.metrics,
            panels,
            self.dashboard.annotations,
            objectives,
            controls.clone(),
            spans,
        );
        Ok(LivePage {
            runtime,
            feed: FeedParts {
                sampler,
                checks: self.checks,
                shutdown: self.shutdown,
            },
            router: RouterParts {
                title: self.dashboard.title,
                definition,
                controls,
                log: self.requests.map(|requests| requests.log),
            },
        })
    }

    fn validate(&self) -> Result<(), Error> {
        self.dashboard.validate()?;
        self.slos.iter().try_for_each(Slo::validate)?;
        in_range("window", self.window, 1, 60)?;
        in_range("history", self.history, 60, 3600)?;
        unique("control", self.controls.iter().map(|c| (&c.id, &c.title)))?;
        unique("check", self.checks.iter().map(|c| (&c.id, &c.title)))
    }
}

fn in_range(setting: &'static str, value: Duration, min: u64, max: u64) -> Result<(), Error> {
    let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        setting,
        value,
        min,
        max,
    })
}

fn unique<'a>(
    kind: &'static str,
    mut titles: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<(), Error> {
    let mut ids = BTreeSet::new();
    match titles.find(|(id, _)| !ids.insert(*id)) {
        Some((_, title)) => Err(Error::DuplicateTitle {
            kind,
            title: title.clone(),
        }),
        None => Ok(()),
    }
}

impl fmt::Debug for LivePageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePageBuilder")
            .field("dashboard", &self.dashboard.uid)
            .field("window", &self.window)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}
