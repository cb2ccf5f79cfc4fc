//! Server that produces the fates of requests.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::StatusCode;
use tokio::sync::mpsc::UnboundedSender;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tower_metrics::ErrorType;

use crate::middleware::Middleware;

/// Duration of the slow body.
pub(crate) const SLOW: Duration = Duration::from_millis(200);
/// Size of the chunked body.
pub(crate) const CHUNKED: u64 = 3000;
/// Timeout of the timeout layers.
const TIMEOUT: Duration = Duration::from_millis(50);

/// Layers in addition to the metrics layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stack {
    MetricsOnly,
    CatchPanicInside,
    CatchPanicOutside,
    TimeoutInside,
    TimeoutOutside,
    /// An inner layer fails, and an outer one turns the error into a response.
    Error,
}

/// Returns the routes. Handlers that never respond report to `entered` when they are
/// called.
pub(crate) fn routes(entered: UnboundedSender<()>) -> Router {
    Router::new()
        .route("/whole", get(|| async { "hello" }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/fails",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/panics", get(panics))
        .route("/never/{id}", get(never))
        .route("/chunked", get(|| async { Body::from_stream(chunks(3)) }))
        .route("/slow-body", get(slow_body))
        .route("/download", get(download))
        .route("/breaks", get(breaks))
        .route("/events", get(events))
        .with_state(entered)
}

/// Adds the metrics layer and the other layers to the routes.
pub(crate) fn stack(stack: Stack, routes: Router, metrics: &Middleware) -> Router {
    let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT);
    let catch_panic = CatchPanicLayer::custom(panicked);
    match stack {
        Stack::MetricsOnly => metrics.wrap(routes),
        Stack::CatchPanicInside => metrics.wrap(routes.layer(catch_panic)),
        Stack::CatchPanicOutside => metrics.wrap(routes).layer(catch_panic),
        Stack::TimeoutInside => metrics.wrap(routes.layer(timeout)),
        Stack::TimeoutOutside => metrics.wrap(routes).layer(timeout),
        Stack::Error => metrics.wrap_failing(routes),
    }
}

/// Returns the layer that fails, for use inside of the metrics layer.
pub(crate) fn failing() -> tower::timeout::TimeoutLayer {
    tower::timeout::TimeoutLayer::new(TIMEOUT)
}

/// Turns the error into a response outside of the metrics layer.
pub(crate) async fn handle(_: BoxError) -> StatusCode {
    StatusCode::GATEWAY_TIMEOUT
}

/// Sets the error type for tower-metrics, which the other middleware ignores.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(ErrorType::PANIC);
    response
}

async fn panics() -> StatusCode {
    panic!("on purpose")
}

async fn never(State(entered): State<UnboundedSender<()>>) {
    // Fails if the client does not wait for it, because a timeout ends the request.
    let _ = entered.send(());
    std::future::pending().await
}

type Chunk = Result<Bytes, BoxError>;

/// Frames of a body without a `Content-Length`.
fn chunks(n: u64) -> impl Stream<Item = Chunk> + Send {
    let chunk = Bytes::from(vec![b'x'; (CHUNKED / n) as usize]);
    stream::iter((0..n).map(move |_| Ok(chunk.clone())))
}

async fn slow_body() -> Body {
    let late = stream::once(async {
        tokio::time::sleep(SLOW).await;
        Ok(Bytes::from_static(b"at last"))
    });
    Body::from_stream(chunks(1).chain(late))
}

/// Sends a part of the body and then nothing.
async fn download() -> Body {
    Body::from_stream(chunks(3).chain(stream::pending()))
}

async fn breaks() -> Body {
    Body::from_stream(chunks(1).chain(stream::once(async { Err("on purpose".into()) })))
}

async fn events() -> impl IntoResponse {
    let event = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n")) });
    let body = Body::from_stream(event.chain(stream::pending()));
    ([(CONTENT_TYPE, "text/event-stream")], body)
}
