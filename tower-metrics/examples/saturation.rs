//! Server whose saturation is visible: a runtime for the API, which a request can block,
//! and one for operations, which still responds. It prints the addresses of both:
//!
//! ```sh
//! cargo run -p tower-metrics --features process,tokio --example saturation
//! curl http://127.0.0.1:PORT/block &
//! curl http://127.0.0.1:OTHER/metrics | grep -e tokio_ -e process_
//! ```
//!
//! During the block, which takes 3 s, `tokio_blocked_seconds{runtime="api"}` rises. After
//! it, `tokio_scheduling_delay_seconds` has the delays.

use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tower_metrics::{MetricsLayer, ProcessCollector, Prometheus, TokioCollector};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let registry = prometheus.registry();
    registry.register(Box::new(ProcessCollector::new()))?;

    let ops = runtime()?;
    registry.register(Box::new(TokioCollector::new("ops", ops.handle())))?;
    let listener = ops.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let ops_address = listener.local_addr()?;
    let app = Router::new().route_service("/metrics", prometheus.exposition());
    thread::spawn(move || ops.block_on(async { axum::serve(listener, app).await }));

    runtime()?.block_on(async {
        registry.register(Box::new(TokioCollector::new("api", &Handle::current())))?;
        let app = Router::new()
            .route("/", get(|| async { "hello\n" }))
            .route("/block", get(block))
            .layer(MetricsLayer::new(prometheus));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        println!("http://{ops_address}/metrics");
        axum::serve(listener, app)
            .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
            .await?;
        Ok(())
    })
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Blocks the thread, as a slow computation or a synchronous database driver does.
async fn block() -> &'static str {
    thread::sleep(Duration::from_secs(3));
    "blocked for 3 s\n"
}
