//! Server whose requests and connections are recorded with an OpenTelemetry meter. It prints
//! its address, and the metrics every minute and when it ends:
//!
//! ```sh
//! cargo run -p tower-metrics --no-default-features --features axum,connections,opentelemetry --example opentelemetry
//! curl http://127.0.0.1:PORT/concerts/7
//! ```

use axum::Router;
use axum::routing::get;
use opentelemetry::global;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_stdout::MetricExporter;
use tower_metrics::{MetricsLayer, OpenTelemetry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A service in production exports to a collector, with the crate `opentelemetry-otlp`.
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(MetricExporter::default())
        .build();
    // Before the meter: a meter that is obtained earlier records nothing.
    global::set_meter_provider(provider.clone());
    let recorder = OpenTelemetry::new(&global::meter("shop"));

    let app = Router::new()
        .route("/concerts/{id}", get(|| async { "hello\n" }))
        .layer(MetricsLayer::new(recorder));
    let connections = recorder.connections().build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(connections.listener(listener), app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    // Exports what was recorded since the last export.
    provider.shutdown()?;
    Ok(())
}
