//! Server with a handler that never ends, which is visible while it hangs. It prints its
//! address:
//!
//! ```sh
//! cargo run -p tower-metrics --example hung_request
//! curl --max-time 30 http://127.0.0.1:PORT/hang &
//! curl http://127.0.0.1:PORT/metrics | grep -e oldest -e duration_seconds_count
//! ```
//!
//! `http_server_oldest_request_seconds{http_route="/hang"}` rises until the client disconnects.
//! The histogram of durations has the request only after that, as `cancelled`.

use std::future::pending;

use axum::Router;
use axum::routing::get;
use tower_metrics::{MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The age of the oldest request needs no feature, and is on by default.
    let prometheus = Prometheus::new();
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        // Hangs, as a handler may that calls another service without a timeout.
        .route("/hang", get(pending::<()>))
        .layer(MetricsLayer::new(prometheus))
        .route_service("/metrics", prometheus.exposition());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    Ok(())
}
