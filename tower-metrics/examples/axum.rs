//! axum service with metrics. It prints its address:
//!
//! ```sh
//! cargo run -p tower-metrics --example axum
//! curl -H 'x-app: ios' http://127.0.0.1:PORT/api/concerts/7
//! curl http://127.0.0.1:PORT/metrics
//! ```

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use tower_metrics::{Label, LabelValue, MetricsLayer, Prometheus, label_enum};

label_enum! {
    /// Client application, as a label with one value per variant.
    enum App {
        Ios = "ios",
        Android = "android",
        Web = "web",
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let metrics = MetricsLayer::builder(prometheus)
        .label(Label::enum_from_request("app", |head| {
            let value = head.headers.get("x-app")?.to_str().ok()?;
            App::ALL.iter().copied().find(|app| app.as_str() == value)
        }))
        .skip(["/healthz"])
        // Exposed at zero, so that `increase()` sees the first error.
        .initialize(
            Method::GET,
            "/api/concerts/{id}",
            [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR],
        )
        .build()?;

    let api = Router::new().route("/concerts/{id}", get(concert));
    let app = Router::new()
        .nest("/api", api)
        .route("/healthz", get(|| async { "ok" }))
        .layer(metrics)
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

async fn concert(Path(id): Path<u32>) -> Result<String, StatusCode> {
    match id {
        0 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        1..100 => Ok(format!("concert {id}\n")),
        _ => Err(StatusCode::NOT_FOUND),
    }
}
