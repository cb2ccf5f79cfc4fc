//! axum service whose `/metrics` also shows what the crate `metrics` records. It prints its
//! address:
//!
//! ```sh
//! cargo run -p tower-metrics --features metrics --example metrics_facade
//! curl -X POST http://127.0.0.1:PORT/concerts/7/purchases
//! curl http://127.0.0.1:PORT/metrics
//! ```

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tower_metrics::{MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    // Before the first macro: what is recorded without a recorder is lost.
    prometheus
        .metrics_facade()
        .bounds_for("ticket_price_euros", [10.0, 50.0, 100.0])
        .install()?;
    describe_counter!("tickets_sold_total", "Number of tickets sold.");
    describe_histogram!("payment_seconds", Unit::Seconds, "Duration of payments.");

    let app = Router::new()
        .route("/concerts/{id}/purchases", post(buy))
        .layer(MetricsLayer::new(prometheus))
        // After the layer, so that scrapes are not recorded.
        .route_service("/metrics", prometheus.exposition());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

async fn buy(Path(id): Path<String>) -> String {
    let start = std::time::Instant::now();
    histogram!("ticket_price_euros").record(65.0);
    histogram!("payment_seconds").record(start.elapsed());
    // The values of a label may come from requests: their number is limited.
    counter!("tickets_sold_total", "concert" => id.clone()).increment(1);
    format!("a ticket for concert {id}\n")
}
