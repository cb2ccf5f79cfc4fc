//! A gRPC server with metrics: statuses are read out of trailers, and routes
//! are the methods that there are. It prints the address of the server and of
//! its metrics, which are plain HTTP:
//!
//! ```sh
//! cargo run -p tower-metrics --example tonic
//! grpcurl -plaintext 127.0.0.1:PORT grpc.health.v1.Health/Check
//! curl http://127.0.0.1:OTHER/metrics
//! ```

use std::pin::Pin;

use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_metrics::{MetricsLayer, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let metrics = MetricsLayer::builder(prometheus).grpc(true).build()?;

    let ops = TcpListener::bind("127.0.0.1:0").await?;
    let ops_address = ops.local_addr()?;
    let ops_app = axum::Router::new().route_service("/metrics", prometheus.exposition());
    tokio::spawn(async move { axum::serve(ops, ops_app).await });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    println!("http://{ops_address}/metrics");
    Server::builder()
        .layer(metrics)
        .add_service(HealthServer::new(Shop))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

/// Implements a service of one unary and one streaming method, generated from
/// the protocol's own health.proto: any generated service goes here.
struct Shop;

#[tonic::async_trait]
impl Health for Shop {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match &*request.get_ref().service {
            "" | "tickets" => Ok(Response::new(serving())),
            // A server's error: `error_type="UNAVAILABLE"`. It comes without a body.
            "payments" => Err(Status::unavailable("no payments today")),
            // The caller's mistake: counted by its code, and no error.
            other => Err(Status::not_found(format!("no service {other:?}"))),
        }
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut messages = vec![Ok(serving()), Ok(serving())];
        // An error after the head and two messages: it comes in the trailers.
        if request.get_ref().service == "payments" {
            messages.push(Err(Status::internal("lost the bank")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving as i32,
    }
}
