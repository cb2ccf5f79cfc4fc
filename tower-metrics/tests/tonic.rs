//! Tests for tonic: how responses and the order of layers affect the samples.
//! `docs/tonic.md` has the same cases as a table.

#![cfg(feature = "axum")]

mod scrape;
mod server;

use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{BoxError, ServiceBuilder};
use tower_metrics::{ErrorType, MetricsLayer, MetricsLayerBuilder, Names, Prometheus, Recorder};

use self::server::{Event, Watch, with_timeout};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Service that responds as the request demands: with a code, without one, or
/// never.
struct Shop;

fn answer(request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    match request.service.parse() {
        Ok(0) => Ok(HealthCheckResponse::default()),
        Ok(code) => Err(Status::new(Code::from_i32(code), "as asked")),
        Err(_) => panic!("asked for {:?}", request.service),
    }
}

#[tonic::async_trait]
impl Health for Shop {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service == "never" {
            std::future::pending::<()>().await;
        }
        answer(request.get_ref()).map(Response::new)
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    /// Sends a message before the response.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = tokio_stream::once(Ok(HealthCheckResponse::default()));
        if request.get_ref().service == "never" {
            let never = tokio_stream::pending();
            return Ok(Response::new(Box::pin(tokio_stream::StreamExt::chain(
                first, never,
            ))));
        }
        let last = tokio_stream::once(answer(request.get_ref()));
        Ok(Response::new(Box::pin(tokio_stream::StreamExt::chain(
            first, last,
        ))))
    }
}

async fn bind() -> (TcpListenerStream, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (
        TcpListenerStream::new(listener),
        Endpoint::from_shared(url).unwrap(),
    )
}

fn grpc<R: Recorder>(recorder: R) -> MetricsLayerBuilder<R> {
    MetricsLayer::builder(recorder).grpc(true)
}

/// Returns a client of a server with only the layer.
async fn serve(watch: &Watch) -> HealthClient<Channel> {
    let layer = grpc(watch.recorder()).build().unwrap();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder()
        .layer(layer)
        .add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    HealthClient::new(endpoint.connect().await.unwrap())
}

fn ask(service: impl ToString) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_string(),
    }
}

/// Waits for a call to end, skipping the move to the series of its method.
async fn ended(watch: &mut Watch) {
    while !matches!(with_timeout(watch.told()).await, Event::Ended(_)) {}
}

/// Returns the number of calls of a method with this result.
fn count(watch: &Watch, route: &str, status: &str, error_type: &str) -> f64 {
    watch.samples().requests(&[
        ("http_route", route),
        ("rpc_status_code", status),
        ("error_type", error_type),
    ])
}

#[tokio::test]
async fn a_unary_call_is_counted_by_its_code() {
    let watch = Watch::new();
    let mut client = serve(&watch).await;
    for code in [Code::Ok, Code::NotFound, Code::Internal] {
        let answer = client.check(ask(code as i32)).await;
        assert_eq!(
            answer.map_or_else(|status| status.code(), |_| Code::Ok),
            code
        );
    }
    assert_eq!(count(&watch, CHECK, "OK", ""), 1.0);
    assert_eq!(count(&watch, CHECK, "NOT_FOUND", ""), 1.0);
    assert_eq!(count(&watch, CHECK, "INTERNAL", "INTERNAL"), 1.0);
    assert_eq!(watch.samples().in_flight(), 0.0);
}

#[tokio::test]
async fn the_size_of_a_call_is_the_number_of_bytes_read() {
    let mut watch = Watch::new();
    let layer = grpc(watch.recorder()).count_request_bytes(true).build();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder()
        .layer(layer.unwrap())
        .add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let at_client = Prometheus::new();
    let layer = grpc(at_client)
        .client(true)
        .count_request_bytes(true)
        .build();
    let channel = ServiceBuilder::new()
        .layer(layer.unwrap())
        .map_request(|request: http::Request<_>| request.map(tonic::body::Body::new))
        .service(endpoint.connect().await.unwrap());
    HealthClient::new(channel).check(ask(0)).await.unwrap();
    ended(&mut watch).await;
    // The frame header of five bytes, two bytes for the field, and the text.
    assert_eq!(watch.samples().request_bytes(), 8.0);
    let sent = scrape::Samples::of(&at_client).request_bytes();
    assert_eq!(sent, 8.0);
}

#[tokio::test]
async fn a_stream_is_counted_by_the_code_in_its_trailers() {
    let watch = Watch::new();
    let mut client = serve(&watch).await;
    for code in [Code::Ok, Code::Aborted, Code::DataLoss] {
        let mut stream = client.watch(ask(code as i32)).await.unwrap().into_inner();
        while let Ok(Some(_)) = stream.message().await {}
    }
    assert_eq!(count(&watch, WATCH, "OK", ""), 1.0);
    assert_eq!(count(&watch, WATCH, "ABORTED", ""), 1.0);
    assert_eq!(count(&watch, WATCH, "DATA_LOSS", "DATA_LOSS"), 1.0);
    assert_eq!(watch.samples().in_flight(), 0.0);
}

#[tokio::test]
async fn a_disconnect_from_a_stream_is_not_an_error() {
    let mut watch = Watch::new();
    let mut client = serve(&watch).await;
    let mut stream = client.watch(ask("never")).await.unwrap().into_inner();
    stream.message().await.unwrap();
    drop(stream);
    ended(&mut watch).await;
    assert_eq!(count(&watch, WATCH, "", "body_cancelled"), 1.0);
}

#[tokio::test]
async fn an_unknown_service_has_no_route() {
    let watch = Watch::new();
    let layer = grpc(watch.recorder()).build().unwrap();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder().layer(layer).add_routes(Routes::default());
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let status = client.check(ask(0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(count(&watch, "", "UNIMPLEMENTED", "UNIMPLEMENTED"), 1.0);
}

#[tokio::test]
async fn a_rejection_by_an_interceptor_does_not_prove_that_a_method_exists() {
    for named in [false, true] {
        let watch = Watch::new();
        let mut layer = grpc(watch.recorder());
        if named {
            layer = layer.initialize(http::Method::POST, CHECK, [http::StatusCode::OK]);
        }
        let layer = layer.build().unwrap();
        let (incoming, endpoint) = bind().await;
        let refusing = InterceptedService::new(HealthServer::new(Shop), |_| {
            Err(Status::unauthenticated("who are you?"))
        });
        let server = Server::builder().layer(layer).add_service(refusing);
        tokio::spawn(server.serve_with_incoming(incoming));
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        client.check(ask(0)).await.unwrap_err();
        let route = if named { CHECK } else { "" };
        assert_eq!(count(&watch, route, "UNAUTHENTICATED", ""), 1.0);
    }
}

#[tokio::test]
async fn a_method_has_its_route_after_its_first_message_or_if_initialized() {
    for named in [false, true] {
        let mut watch = Watch::new();
        let mut layer = grpc(watch.recorder());
        if named {
            layer = layer.initialize(http::Method::POST, CHECK, [http::StatusCode::OK]);
        }
        let (incoming, endpoint) = bind().await;
        let server = Server::builder()
            .layer(layer.build().unwrap())
            .add_service(HealthServer::new(Shop));
        tokio::spawn(server.serve_with_incoming(incoming));
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let mut request = Request::new(ask("never"));
        request.set_timeout(Duration::from_millis(10));
        client.check(request).await.unwrap_err();
        ended(&mut watch).await;
        let route = if named { CHECK } else { "_OTHER" };
        assert_eq!(count(&watch, route, "", "cancelled"), 1.0, "{named}");
    }
}

/// tonic's own timeout, load shedding and limits wrap the layers that a server is
/// given.
#[tokio::test]
async fn the_servers_own_timeout_is_counted_as_cancelled() {
    let mut watch = Watch::new();
    let layer = grpc(watch.recorder()).build().unwrap();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder()
        .timeout(Duration::from_millis(10))
        .layer(layer)
        .add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    client.check(ask("never")).await.unwrap_err();
    ended(&mut watch).await;
    assert_eq!(
        watch.samples().requests(&[("error_type", "cancelled")]),
        1.0
    );
}

#[tokio::test]
async fn calls_that_the_server_itself_sheds_do_not_reach_the_layer() {
    let watch = Watch::new();
    let layer = grpc(watch.recorder()).build().unwrap();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder()
        .concurrency_limit_per_connection(1)
        .load_shed(true)
        .layer(layer)
        .add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.check(ask("never")).await });
    // Succeeds until the other call has arrived.
    let mut answered = 0.0;
    while client.check(ask(0)).await.is_ok() {
        answered += 1.0;
    }
    assert_eq!(watch.samples().requests(&[]), answered);
    assert_eq!(watch.samples().in_flight(), 1.0);
    waiting.abort();
}

#[tokio::test]
async fn a_timeout_inside_the_layer_is_an_error_of_the_service() {
    let mut watch = Watch::new();
    let layer = grpc(watch.recorder())
        .classify_error(|error: &BoxError| match error.is::<Elapsed>() {
            true => ErrorType::TIMEOUT,
            false => ErrorType::SERVICE_ERROR,
        })
        .build()
        .unwrap();
    let (incoming, endpoint) = bind().await;
    let layers = ServiceBuilder::new()
        .layer(layer)
        .layer(TimeoutLayer::new(Duration::from_millis(10)));
    let server = Server::builder()
        .layer(layers)
        .add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    client.check(ask("never")).await.unwrap_err();
    ended(&mut watch).await;
    assert_eq!(watch.samples().requests(&[("error_type", "timeout")]), 1.0);
}

#[tokio::test]
async fn in_an_axum_router_grpc_calls_have_methods_and_pages_have_templates() {
    let watch = Watch::new();
    let layer = grpc(watch.recorder()).build().unwrap();
    let app = Routes::new(HealthServer::new(Shop))
        .into_axum_router()
        .route("/pages/{id}", axum::routing::get(|| async { "a page" }))
        .layer(layer);
    let address = server::serve(app).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    client.check(ask(0)).await.unwrap();
    server::fetch(address, server::request("GET", "/pages/1"))
        .await
        .unwrap();
    assert_eq!(count(&watch, CHECK, "OK", ""), 1.0);
    assert_eq!(count(&watch, "/pages/{id}", "", ""), 1.0);
}

#[tokio::test]
async fn around_a_channel_every_code_except_ok_is_an_error() {
    let prometheus = Prometheus::builder()
        .names(Names::open_telemetry_client())
        .build()
        .unwrap();
    let layer = grpc(prometheus).client(true).build().unwrap();
    let (incoming, endpoint) = bind().await;
    let server = Server::builder().add_service(HealthServer::new(Shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = endpoint.connect().await.unwrap();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(channel));
    for code in [Code::Ok, Code::NotFound] {
        let _ = client.check(ask(code as i32)).await;
    }
    let samples = scrape::Samples::of(&prometheus);
    let count = |status, error_type| {
        let labels = [
            ("url_template", CHECK),
            ("rpc_status_code", status),
            ("error_type", error_type),
        ];
        samples.sum("http_client_request_duration_seconds_count", &labels)
    };
    assert_eq!(count("OK", ""), 1.0);
    assert_eq!(count("NOT_FOUND", "NOT_FOUND"), 1.0);
}
