//! Dashboards, rules and the runbook of the ticket platform.
//!
//! The command `dashboards` writes them to `k8s/`. The live page shows the same dashboards.

mod alerts;
mod platform;
mod sales;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tower_metrics::Prometheus;
use tower_metrics_dashboard::{
    Annotation, Color, Dashboard, Error, Event, GrafanaTarget, Red, Rules, Selector, Slo,
};

/// Name of the scrape job in every deployment.
const JOB: &str = "example-server";
/// Path of the runbook in the repository.
const RUNBOOK: &str = "k8s/prometheus/runbook.md";

pub(crate) const OVERVIEW: &str = "tickets-http";
pub(crate) const SALES: &str = "tickets-sales";
pub(crate) const PLATFORM: &str = "tickets-platform";

/// Threshold of the latency objective.
const LATENCY_THRESHOLD: Duration = Duration::from_millis(300);

/// Bucket bounds of the request duration in seconds: the defaults and three smaller ones, because
/// most requests take less than 5 ms, within which a quantile would be an interpolation.
const DURATION_BOUNDS: [f64; 17] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

/// Label of a connection pool's name.
const POOL: &str = "db_client_connection_pool_name";

/// Creates the recorder of the API, with the bucket bounds that the dashboards and the objectives
/// need.
///
/// # Errors
///
/// Returns an error if a metric cannot be registered.
pub(crate) fn recorder() -> Result<Prometheus, tower_metrics::BuildError> {
    Prometheus::builder()
        .duration_bounds(DURATION_BOUNDS)
        .objective(LATENCY_THRESHOLD)
        .native_histogram(true)
        .build()
}

/// The dashboards, objectives and rules of the platform.
#[derive(Clone, Debug)]
pub(crate) struct Dashboards {
    red: Red,
    /// The same, with queries that read the classic histogram.
    classic: Red,
}

impl Dashboards {
    /// Creates the dashboards for the metrics of the API's recorder. With `native`, queries read the
    /// native histogram of the duration.
    ///
    /// # Errors
    ///
    /// Returns an error if the recorder lacks what the dashboards show.
    pub(crate) fn of(recorder: &Prometheus, native: bool) -> Result<Self, Error> {
        let red = |native| {
            Red::of(recorder)
                .uid(OVERVIEW)
                .title("HTTP")
                .availability(0.999)
                .latency(LATENCY_THRESHOLD, 0.99)
                .connection_limit(connection_limit())
                .admission(true)
                .runtime(true)
                .native_histograms(native)
                .build()
        };
        Ok(Self {
            red: red(native)?,
            classic: red(false)?,
        })
    }

    /// Returns the availability and the latency objective.
    pub(crate) fn slos(&self) -> &[Slo] {
        self.red.slos()
    }

    /// Returns every dashboard.
    pub(crate) fn all(&self) -> Vec<Dashboard> {
        let http = [self.red.overview(), self.red.route_details()].map(|dashboard| {
            let dashboard = dashboard.tag("tickets");
            dashboard
                .link("Ticket sales", SALES)
                .link("Platform", PLATFORM)
        });
        let mut all = Vec::from(http);
        all.extend([sales::dashboard(), platform::dashboard()]);
        all.into_iter().map(with_fault_annotations).collect()
    }

    /// Returns the recording and alerting rules.
    pub(crate) fn rules(&self) -> Rules {
        rules_of(&self.red)
    }

    /// Renders every file, with its path relative to `k8s/`.
    ///
    /// # Errors
    ///
    /// Returns an error if a dashboard or a rule is invalid.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, String)>, Error> {
        let mut files = Vec::new();
        for dashboard in self.all() {
            let name = format!("{}.json", dashboard.uid);
            for (folder, target) in [
                ("grafana/dashboards", GrafanaTarget::Provision),
                ("grafana/import", GrafanaTarget::Import),
            ] {
                let path = Path::new(folder).join(&name);
                files.push((path, dashboard.grafana_json(target)?));
            }
            let path = Path::new("google").join(&name);
            files.push((path, dashboard.cloud_monitoring_json()?));
        }
        let rules = self.rules();
        for (path, text) in [
            ("prometheus/rules.yaml", rules.rule_file()?),
            (
                "prometheus/operator/prometheusrule.yaml",
                rules.prometheus_rule()?,
            ),
            ("prometheus/gmp/rules.yaml", rules.google_rules()?),
            ("prometheus/runbook.md", rules.runbook()?),
            ("prometheus/slo/openslo.yaml", rules.open_slo()?),
            ("prometheus/slo/sloth.yaml", rules.sloth()?),
            // Pyrra has no ratio of native histograms.
            (
                "prometheus/slo/pyrra.yaml",
                rules_of(&self.classic).pyrra()?,
            ),
        ] {
            files.push((PathBuf::from(path), text));
        }
        Ok(files)
    }
}

fn connection_limit() -> Selector {
    Selector::new("example_server_limit").with("limit", ["connections"])
}

fn rules_of(red: &Red) -> Rules {
    (red.rules("Tickets", JOB))
        .runbook_url(RUNBOOK)
        .dashboard_url(format!("/d/{OVERVIEW}"))
        .alert(alerts::pool_exhausted())
        .alert(alerts::purchases_fail(red))
}

/// Marks on every chart where faults change, next to their effects.
fn with_fault_annotations(dashboard: Dashboard) -> Dashboard {
    let preset = Selector::new("ticket_faults_preset");
    let injected = Selector::new("ticket_faults_injected_total");
    let scenario = Selector::new("ticket_scenario_step");
    dashboard
        .annotation(
            Annotation::new("Scenario", Event::GaugeBecomesPositive(scenario))
                .by(["scenario", "step", "note"])
                .color(Color::Blue),
        )
        .annotation(
            Annotation::new("Active faults", Event::GaugeBecomesPositive(preset))
                .by(["preset"])
                .color(Color::Red),
        )
        .annotation(
            Annotation::new("Fault injection started", Event::CounterStarts(injected))
                .by(["operation", "kind"])
                .color(Color::Yellow),
        )
}

/// Selects the purchase attempts with one of these outcomes.
pub(crate) fn purchases(outcomes: &[&str]) -> Selector {
    Selector::new("ticket_purchases_total").with("outcome", outcomes.iter().copied())
}

/// Writes every file to `directory`. With `native`, queries read the native histogram of the duration.
///
/// # Errors
///
/// Returns an error that names the file that cannot be written.
pub(crate) fn write(directory: &Path, native: bool) -> Result<(), WriteError> {
    let dashboards = Dashboards::of(&recorder()?, native)?;
    for (path, text) in dashboards.files()? {
        let path = directory.join(path);
        let written = match path.parent() {
            Some(parent) => std::fs::create_dir_all(parent),
            None => Ok(()),
        };
        written
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| WriteError::File { path, source })?;
    }
    Ok(())
}

/// Error returned when the files cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The recorder cannot be created.
    #[error(transparent)]
    Recorder(#[from] tower_metrics::BuildError),
    /// A dashboard or a rule is invalid.
    #[error(transparent)]
    Invalid(#[from] Error),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}
