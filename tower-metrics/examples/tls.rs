//! axum service that terminates TLS and measures the handshakes. It prints the addresses of the
//! service and of its metrics:
//!
//! ```sh
//! cargo run -p tower-metrics --example tls --features rustls
//! curl --insecure https://127.0.0.1:PORT/
//! curl https://127.0.0.1:PORT/                    # does not trust the certificate
//! curl http://127.0.0.1:OTHER/metrics | grep tls_handshake_duration_seconds_count
//! ```
//!
//! The last handshake has `error_type="alert_received"`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tower_metrics::{MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();

    let ops = TcpListener::bind("127.0.0.1:0").await?;
    let ops_address = ops.local_addr()?;
    let ops_app = Router::new().route_service("/metrics", prometheus.exposition());
    tokio::spawn(async move { axum::serve(ops, ops_app).await });

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(MetricsLayer::new(prometheus));
    let connections = prometheus.connections().build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("https://{}", listener.local_addr()?);
    println!("http://{ops_address}/metrics");
    let listener = connections.listener(listener).tls(acceptor()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    Ok(())
}

/// Returns an acceptor with a new certificate. A service reads its own from files.
fn acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
