//! axum service whose `/metrics` also shows a registry of the crate `prometheus-client`. It
//! prints its address:
//!
//! ```sh
//! cargo run -p tower-metrics --features prometheus-client --example prometheus_client
//! curl -X POST http://127.0.0.1:PORT/concerts/7/purchases
//! curl http://127.0.0.1:PORT/metrics
//! ```

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tower_metrics::{MetricsLayer, Prometheus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Concert {
    concert: u32,
}

type Sold = Family<Concert, Counter>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::default();
    let sold = Sold::default();
    registry.register("tickets_sold", "Number of tickets sold", sold.clone());
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "Version of the program", Info::new(version));

    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry);
    let app = Router::new()
        .route("/concerts/{id}/purchases", post(buy))
        .with_state(sold)
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

async fn buy(State(sold): State<Sold>, Path(id): Path<u32>) -> String {
    sold.get_or_create(&Concert { concert: id }).inc();
    format!("a ticket for concert {id}\n")
}
