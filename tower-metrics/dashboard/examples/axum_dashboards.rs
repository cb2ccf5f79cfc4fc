//! An axum service that generates its own dashboards and rules.
//!
//! ```sh
//! cargo run -p tower-metrics-dashboard --example axum_dashboards -- dashboards monitoring
//! cargo run -p tower-metrics-dashboard --example axum_dashboards -- serve
//! ```

use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use tower_metrics::{Label, LabelValue, MetricsLayer, Prometheus};
use tower_metrics_dashboard::{
    Alert, Color, GrafanaTarget, Red, Row, Rules, Selector, Severity, TimeSeries, Unit,
};

type Error = Box<dyn std::error::Error>;

/// Threshold of the latency objective.
const LATENCY_THRESHOLD: Duration = Duration::from_millis(200);

/// Name of the scrape job.
const JOB: &str = "orders";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (app, prometheus) = service()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["dashboards", directory] => write_dashboards(&prometheus, Path::new(directory)),
        ["serve"] => serve(app).await,
        _ => Err("expected `serve` or `dashboards DIRECTORY`".into()),
    }
}

/// A label with one value per variant.
#[derive(Clone, Copy)]
enum App {
    Mobile,
    Web,
}

impl LabelValue for App {
    const ALL: &'static [Self] = &[Self::Mobile, Self::Web];

    fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Web => "web",
        }
    }
}

/// Builds the service, which both commands share, so that the dashboards match its metrics.
fn service() -> Result<(Router, Prometheus), Error> {
    let prometheus = Prometheus::builder()
        .objective(LATENCY_THRESHOLD)
        .time_to_head(true)
        .build()?;
    let metrics = MetricsLayer::builder(prometheus)
        .label(Label::enum_from_request("app", |head| {
            let value = head.headers.get("x-app")?.to_str().ok()?;
            App::ALL.iter().copied().find(|app| app.as_str() == value)
        }))
        .initialize(
            Method::POST,
            "/orders",
            [StatusCode::CREATED, StatusCode::INTERNAL_SERVER_ERROR],
        )
        .build()?;
    let app = Router::new()
        .route("/orders", post(|| async { StatusCode::CREATED }))
        .route("/orders/{id}", get(|| async { "an order" }))
        .layer(metrics)
        .route_service("/metrics", prometheus.exposition());
    Ok((app, prometheus))
}

async fn serve(app: Router) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

fn write_dashboards(prometheus: &Prometheus, directory: &Path) -> Result<(), Error> {
    let red = Red::of(prometheus)
        .uid("orders-http")
        .title("Orders")
        .label("app", "App")
        .availability(0.999)
        .latency(LATENCY_THRESHOLD, 0.99)
        .build()?;
    fs::create_dir_all(directory)?;
    for dashboard in [red.overview().row(orders()), red.route_details()] {
        let path = directory.join(format!("{}.json", dashboard.uid));
        fs::write(path, dashboard.grafana_json(GrafanaTarget::Provision)?)?;
    }
    let rules = rules(&red);
    fs::write(directory.join("rules.yaml"), rules.rule_file()?)?;
    fs::write(directory.join("runbook.md"), rules.runbook()?)?;
    println!("wrote dashboards and rules to {}", directory.display());
    Ok(())
}

/// A row with a metric of the application.
fn orders() -> Row {
    let pending = Selector::new("orders_pending").value().max();
    Row::new("Orders").panel(
        TimeSeries::new("Pending orders", Unit::Count)
            .description("Orders that wait for payment.")
            .size(24, 8)
            .threshold(500.0, Color::Red)
            .series("pending", pending),
    )
}

/// Rules for the objectives, and an alert of the application.
fn rules(red: &Red) -> Rules {
    let pending = Selector::new("orders_pending").value().max();
    red.rules("Orders", JOB)
        .runbook_url("https://example.com/runbook.md")
        .dashboard_url("https://grafana.example.com/d/orders-http")
        .alert(
            Alert::new("PendingOrders", pending, 500.0, "Orders wait for payment.")
                .pending(Duration::from_secs(600))
                .severity(Severity::Page)
                .description("{{ $value }} orders have waited for payment for ten minutes.")
                .runbook("**Mitigation.** Check the payment provider."),
        )
}
