//! A server whose requests meet every fate.

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

use crate::contestants::Contestant;

/// How long the slow body takes.
pub(crate) const SLOW: Duration = Duration::from_millis(200);
/// How many bytes the chunked body has.
pub(crate) const CHUNKED: u64 = 3000;
/// Well beyond any request that is not to run into it.
const TIMEOUT: Duration = Duration::from_millis(50);

/// What stands beside the metrics layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stack {
    Alone,
    CatchPanicInside,
    CatchPanicOutside,
    TimeoutInside,
    TimeoutOutside,
    /// A layer inside fails, one outside makes a response of it.
    Error,
}

/// The routes. A request that is not answered says so to `entered` when it is
/// there.
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

/// Puts a metrics layer around the routes, and what stands beside it.
pub(crate) fn stack(stack: Stack, routes: Router, metrics: &Contestant) -> Router {
    let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT);
    let catch_panic = CatchPanicLayer::custom(panicked);
    match stack {
        Stack::Alone => metrics.around(routes),
        Stack::CatchPanicInside => metrics.around(routes.layer(catch_panic)),
        Stack::CatchPanicOutside => metrics.around(routes).layer(catch_panic),
        Stack::TimeoutInside => metrics.around(routes.layer(timeout)),
        Stack::TimeoutOutside => metrics.around(routes).layer(timeout),
        Stack::Error => metrics.around_failing(routes),
    }
}

/// The layer that fails, inside of the metrics layer.
pub(crate) fn failing() -> tower::timeout::TimeoutLayer {
    tower::timeout::TimeoutLayer::new(TIMEOUT)
}

/// What becomes of the error outside of it.
pub(crate) async fn handle(_: BoxError) -> StatusCode {
    StatusCode::GATEWAY_TIMEOUT
}

/// tower-metrics is told what the 500 is about; the others do not look.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(ErrorType::PANIC);
    response
}

async fn panics() -> StatusCode {
    panic!("on purpose")
}

async fn never(State(entered): State<UnboundedSender<()>>) {
    // Nobody waits for it where a timeout ends the request.
    let _ = entered.send(());
    std::future::pending().await
}

type Chunk = Result<Bytes, BoxError>;

/// So many frames, and no length in the head.
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

/// Begins and does not go on.
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
