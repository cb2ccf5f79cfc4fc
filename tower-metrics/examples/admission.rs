//! Server with a limit, whose wait is measured. It serves two requests at once, and others
//! wait. A request that takes more than 100 ms, including the wait, fails:
//!
//! ```sh
//! cargo run -p tower-metrics --features admission --example admission
//! for i in $(seq 20); do curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:PORT/ & done
//! curl http://127.0.0.1:PORT/metrics | grep admission
//! ```
//!
//! A request that fails while it waits is `cancelled`.

use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{BoxError, Router};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower_metrics::{AdmissionLayer, MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let limit = ServiceBuilder::new()
        .layer(AdmissionLayer::new(prometheus)?)
        .layer(GlobalConcurrencyLimitLayer::new(2));
    let timeout = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(unavailable))
        .layer(TimeoutLayer::new(Duration::from_millis(100)));
    let app = Router::new()
        .route("/", get(hello))
        // A layer that is added later is outside, and its timeout includes the wait.
        .layer(limit)
        .layer(timeout)
        .layer(MetricsLayer::new(prometheus))
        .route_service("/metrics", prometheus.exposition());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    Ok(())
}

async fn hello() -> &'static str {
    tokio::time::sleep(Duration::from_millis(50)).await;
    "hello\n"
}

async fn unavailable(_: BoxError) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}
