//! Dashboards, rules and the runbook of the platform, from one definition: the command `dashboards`
//! writes them under `k8s/`.

mod platform;
mod sales;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tower_metrics::Names;
use tower_metrics_dashboard::{
    Alert, Annotation, Dashboard, Error, Event, Expr, Flavour, Red, Rules, Selector, Severity, Slo,
    Tone, objectives,
};

/// The job as which Prometheus scrapes the platform, wherever it runs.
const JOB: &str = "example-server";
/// The file that the runbook is written to.
const RUNBOOK: &str = "k8s/prometheus/runbook.md";

pub(crate) const OVERVIEW: &str = "tickets-http";
pub(crate) const SALES: &str = "tickets-sales";
pub(crate) const PLATFORM: &str = "tickets-platform";

/// The latency objective's threshold; the layer has a bucket bound there.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(300);

/// Availability and latency, as the platform promises them.
pub(crate) fn slos() -> [Slo; 2] {
    let red = red();
    [red.availability(0.999), red.latency(THRESHOLD, 0.99)]
}

/// Every dashboard of the platform.
pub(crate) fn all() -> Vec<Dashboard> {
    let red = red();
    let mut overview = red.overview();
    overview.rows.insert(1, objectives(&slos()));
    let http = [overview, red.by_route()].map(|dashboard| {
        let dashboard = dashboard.tag("tickets");
        dashboard
            .link("Ticket sales", SALES)
            .link("Platform", PLATFORM)
    });
    let mut all = Vec::from(http);
    all.extend([sales::dashboard(), platform::dashboard()]);
    all.into_iter().map(faults).collect()
}

/// Recording rules and alerts.
pub(crate) fn rules() -> Rules {
    let rules = Rules::new("Tickets", JOB)
        .runbook(RUNBOOK)
        .dashboard(format!("/d/{OVERVIEW}"))
        .alert(pool_exhausted())
        .alert(purchases_fail());
    slos().into_iter().fold(rules, Rules::slo)
}

fn red() -> Red {
    Red::new(&Names::open_telemetry()).titled(OVERVIEW, "HTTP")
}

/// Marks where faults change, so that a bend in a line has its reason beside it.
fn faults(dashboard: Dashboard) -> Dashboard {
    dashboard
        .annotate(
            Annotation::new(
                "Faults in force",
                Event::Rises(Selector::new("ticket_faults_preset")),
            )
            .by(["preset"])
            .tone(Tone::Bad),
        )
        .annotate(
            Annotation::new(
                "Injection began",
                Event::Moves(Selector::new("ticket_faults_injected_total")),
            )
            .by(["operation", "kind"])
            .tone(Tone::Warn),
        )
}

/// The rate of purchases that ended so, over all servers.
pub(crate) fn purchases(outcomes: &[&str]) -> Selector {
    Selector::new("ticket_purchases_total").with("outcome", outcomes.iter().copied())
}

/// Of the pools' connections, those in use.
fn connections_used() -> Expr {
    let used = Selector::new("db_client_connection_count")
        .with("db_client_connection_state", ["used"])
        .value()
        .sum_by([POOL]);
    used.ratio(
        Selector::new("db_client_connection_max")
            .value()
            .sum_by([POOL]),
    )
}

const POOL: &str = "db_client_connection_pool_name";

fn pool_exhausted() -> Alert {
    let wait = Selector::new("db_client_connection_wait_time_seconds").quantile(0.95, [POOL]);
    Alert::new(
        "DatabasePoolExhausted",
        wait,
        0.5,
        "Requests wait for a database connection.",
    )
    .lasting(Duration::from_secs(600))
    .description(
        "For ten minutes one request in twenty has waited more than half a second for a \
         connection of the pool {{ $labels.db_client_connection_pool_name }}: \
         {{ $value | humanizeDuration }}.",
    )
    .runbook(
        "**What it means.** Every connection of the pool is in use, and requests queue for one \
         before they reach the database.\n\n\
         **What to do.** *Platform*, row *Database*: if operations have become slow, the cause \
         is in the database (or the `slow-database` faults); if they are quick and many, switch \
         `commit` to `group`, or give the pool more connections.",
    )
}

fn purchases_fail() -> Alert {
    // Of what the counter of purchases calls failed a part is the buyer's: a limit, a key of
    // another request. The answers tell them apart, and know of purchases that were shed.
    let answers = || {
        Selector::new(Names::open_telemetry().duration)
            .count()
            .with("http_request_method", ["POST"])
            .with("http_route", ["/concerts/{concert_id}/purchases"])
    };
    let failed = answers().starting("http_response_status_code", "5");
    Alert::new(
        "PurchasesFail",
        failed.rate().sum().ratio(answers().rate().sum()),
        0.05,
        "Purchases fail for another reason than the buyer's.",
    )
    .lasting(Duration::from_secs(300))
    .severity(Severity::Page)
    .description(
        "{{ $value | humanizePercentage }} of the tries to buy have been answered with a 5xx for \
         five minutes; declined payments, sold-out concerts and a buyer's limit are not among them.",
    )
    .runbook(
        "**What it means.** Buyers who could pay, for tickets that are there, get an error: the \
         payment provider or the database does not answer, or the server turns them away.\n\n\
         **What to do.** *Platform*, row *Faults and switches*, tells whether it is injected \
         (`payment-outage`): then end it with `PUT /faults` and `{\"preset\": \"calm\"}`. Else \
         the server's log has the reason of each failure with its request id.",
    )
}

/// Every file, with its path under `k8s/`.
///
/// # Errors
/// When a dashboard or a rule is not valid.
pub(crate) fn files() -> Result<Vec<(PathBuf, String)>, Error> {
    let mut files = Vec::new();
    for dashboard in all() {
        let name = format!("{}.json", dashboard.uid);
        for (folder, flavour) in [
            ("grafana/dashboards", Flavour::Provision),
            ("grafana/import", Flavour::Import),
        ] {
            files.push((Path::new(folder).join(&name), dashboard.grafana(flavour)?));
        }
    }
    let rules = rules();
    let prometheus = Path::new("prometheus");
    files.extend([
        (prometheus.join("rules.yaml"), rules.prometheus()?),
        (
            prometheus.join("operator/prometheusrule.yaml"),
            rules.prometheus_rule()?,
        ),
        (prometheus.join("gmp/rules.yaml"), rules.google()?),
        (prometheus.join("runbook.md"), rules.runbook_page()?),
    ]);
    Ok(files)
}

/// Writes every file under `directory`.
///
/// # Errors
/// When a file cannot be written; says which.
pub(crate) fn write(directory: &Path) -> Result<(), WriteError> {
    for (path, text) in files()? {
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

/// Why the files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// A dashboard or a rule is not valid.
    #[error(transparent)]
    Invalid(#[from] Error),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}
