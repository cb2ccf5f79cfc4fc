//! Limit of event streams. They hold a connection for as long as a browser shows the live page; the
//! others are left to probes and scrapes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Maximum number of concurrent event streams on the ops port.
#[derive(Clone, Debug)]
pub(super) struct EventStreams(Arc<Semaphore>);

impl EventStreams {
    /// Allows half of `connections`.
    pub(super) fn new(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections.div_ceil(2))))
    }
}

/// Body of an event stream, which holds its permit.
#[derive(Debug)]
struct EventStream {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Middleware that responds with 503 instead of starting an event stream beyond the limit.
pub(super) async fn limit(
    State(EventStreams(permits)): State<EventStreams>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_none_or(|content_type| content_type != "text/event-stream") {
        return response;
    }
    match permits.try_acquire_owned() {
        Ok(permit) => response.map(|body| {
            Body::new(EventStream {
                body,
                _permit: permit,
            })
        }),
        Err(_) => Problem::too_many_streams().into_response(),
    }
}
