//! gRPC server with metrics by method and gRPC status, whose names follow the conventions for
//! RPC. It prints the address of the server and of its metrics, which it serves over HTTP/1.1:
//!
//! ```sh
//! cargo run -p tower-metrics --example tonic
//! grpcurl -plaintext 127.0.0.1:PORT grpc.health.v1.Health/Check
//! curl http://127.0.0.1:OTHER/metrics | grep rpc_server_call_duration_seconds_count
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
use tower_metrics::{MetricsLayer, Names, Prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::builder()
        .names(Names::open_telemetry_rpc())
        .build()?;
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

/// Service with a unary and a streaming method. It implements gRPC's health.proto in
/// place of a generated service.
struct Shop;

#[tonic::async_trait]
impl Health for Shop {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match &*request.get_ref().service {
            "" | "tickets" => Ok(Response::new(serving())),
            // Server error with `error_type="UNAVAILABLE"`, in a response without a body.
            "payments" => Err(Status::unavailable("no payments today")),
            // Client error: recorded with its status, but without an error type.
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
        // Error in the trailers, after two messages.
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
