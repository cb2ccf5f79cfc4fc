//! axum service whose connections are measured and limited. It prints its address:
//!
//! ```sh
//! cargo run -p tower-metrics --example connections --features connections
//! curl http://127.0.0.1:PORT/
//! curl http://127.0.0.1:PORT/metrics
//! ```

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;
use tower_metrics::{MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let app = Router::new()
        .route("/", get(hello))
        .layer(MetricsLayer::new(prometheus))
        .route_service("/metrics", prometheus.exposition());

    // Further connections are closed at once and counted, so that the program keeps
    // file descriptors for its other work.
    let connections = prometheus.connections().max_connections(100).build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let listener = connections.listener(listener).tap_io(|io| {
        // An error means that the client has already disconnected.
        let _ = io.get_ref().set_nodelay(true);
    });

    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

async fn hello(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    format!("hello {}\n", client.ip())
}
