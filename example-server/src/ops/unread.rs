//! Limit of the memory of responses that clients do not read. Over HTTP/2, a client can leave many
//! responses unread on one connection, and each scrape and each history of the live page has its own
//! rendering.
//!
//! # Bounds
//! [`MAX_UNREAD`] bytes in frames of at least [`COUNTED`] bytes. Smaller ones, such as those of probes,
//! are not limited.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Maximum size of all unread responses in bytes.
const MAX_UNREAD: usize = 32 << 20;
/// Size of the smallest counted frame in bytes, and of a permit.
const COUNTED: usize = 1 << 10;

/// Budget of unread responses.
#[derive(Clone, Debug)]
pub(super) struct Unread(Arc<Semaphore>);

impl Unread {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNREAD / COUNTED)))
    }

    /// Reserves memory for `bytes`, or returns `None` if too much is unread.
    fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let permits = u32::try_from(bytes.div_ceil(COUNTED as u64)).ok()?;
        let permit = self.0.clone().try_acquire_many_owned(permits).ok()?;
        Some(Reserved(Arc::new(permit)))
    }
}

/// Reserved memory, until the last clone is dropped.
#[derive(Clone, Debug)]
struct Reserved(#[expect(dead_code, reason = "held until dropped")] Arc<OwnedSemaphorePermit>);

/// Data of a frame with its reservation. hyper drops a body once it has taken its last frame, but keeps
/// the data until the client has read it.
struct Held {
    data: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Body whose frames hold their reservation. The body of a known size has one for the whole.
struct Limited {
    body: Body,
    reserved: Option<Reserved>,
    unread: Unread,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let data = match frame?.into_data() {
            Ok(data) if data.len() >= COUNTED => data,
            Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        let reserved = self.reserved.clone();
        let reserved = reserved.or_else(|| self.unread.reserve(data.len() as u64));
        let Some(_reserved) = reserved else {
            return Poll::Ready(Some(Err("too many responses are unread".into())));
        };
        let held = Bytes::from_owner(Held { data, _reserved });
        Poll::Ready(Some(Ok(Frame::data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Middleware that responds with 503, or ends a stream, instead of keeping more unread data in memory.
pub(super) async fn limit(State(unread): State<Unread>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let reserved = match response.body().size_hint().exact() {
        Some(size) if size < COUNTED as u64 => return response,
        Some(size) => match unread.reserve(size) {
            None => return Problem::too_many_unread().into_response(),
            reserved => reserved,
        },
        None => None,
    };
    response.map(|body| {
        Body::new(Limited {
            body,
            reserved,
            unread,
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use futures_util::stream;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn router() -> Router {
        let unread = Unread::new();
        let chunks = || stream::iter([Ok::<_, BoxError>(vec![0; MIB]), Ok(vec![1; MIB])]);
        Router::new()
            .route("/whole", get(|| async { vec![0; 2 * MIB] }))
            .route("/small", get(|| async { "ok" }))
            .route(
                "/stream",
                get(move || async move { Body::from_stream(chunks()) }),
            )
            .layer(from_fn_with_state(unread, limit))
    }

    async fn get_from(router: &Router, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_response_is_refused_while_too_much_is_unread() {
        let router = router();
        let mut unread = Vec::new();
        for _ in 0..MAX_UNREAD / (2 * MIB) {
            let response = get_from(&router, "/whole").await;
            assert_eq!(response.status(), StatusCode::OK);
            // The data outlives the body, as in hyper's buffers.
            unread.push(response.into_body().frame().await.unwrap().unwrap());
        }
        let refused = get_from(&router, "/whole").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get_from(&router, "/small").await.status(), StatusCode::OK);
        unread.pop();
        let response = get_from(&router, "/whole").await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, vec![0; 2 * MIB]);
    }

    #[tokio::test]
    async fn a_stream_ends_while_too_much_is_unread() {
        let router = router();
        let mut unread = Vec::new();
        for _ in 0..MAX_UNREAD / (2 * MIB) - 1 {
            unread.push(get_from(&router, "/whole").await);
        }
        let mut read = get_from(&router, "/stream").await.into_body();
        for byte in [0, 1] {
            let data = read.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, vec![byte; MIB]);
        }
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = get_from(&router, "/stream").await.into_body();
            let first = stream.frame().await.unwrap().unwrap();
            streams.push((stream, first));
        }
        let (stream, _) = &mut streams[0];
        assert!(stream.frame().await.unwrap().is_err());
    }
}
