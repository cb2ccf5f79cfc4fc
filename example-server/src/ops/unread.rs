//! Limit of the memory of responses that clients do not read. Over HTTP/2, a client can leave many
//! responses unread on one connection, and each scrape and each history of the live page has its own
//! rendering.
//!
//! # Bounds
//! [`MAX_UNREAD`] bytes for scrapes and as much for everything else, or one larger response, in frames
//! of at least [`COUNTED`] bytes. Smaller ones, such as those of probes, are not limited.

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

use crate::net::RateLimit;
use crate::problem::Problem;

/// Maximum size of the unread scrapes, and of the other unread responses, in bytes.
const MAX_UNREAD: usize = 16 << 20;
/// Size of the smallest counted frame in bytes, and of a permit.
const COUNTED: usize = 1 << 10;

/// Budgets of unread responses.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    /// Separate, so that clients of the live page cannot prevent scrapes.
    scrapes: Arc<Budget>,
    others: Arc<Budget>,
}

#[derive(Debug)]
struct Budget {
    free: Arc<Semaphore>,
    exhausted: RateLimit,
}

impl Unread {
    pub(super) fn new() -> Self {
        Self {
            scrapes: Arc::new(Budget::new()),
            others: Arc::new(Budget::new()),
        }
    }
}

impl Budget {
    fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MAX_UNREAD / COUNTED)),
            exhausted: RateLimit::default(),
        }
    }

    /// Reserves memory for `bytes`, or returns `None` if too much is unread. A response that is larger
    /// than the budget takes all of it.
    fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let permits = bytes.div_ceil(COUNTED as u64);
        let permits = permits.min((MAX_UNREAD / COUNTED) as u64) as u32;
        match self.free.clone().try_acquire_many_owned(permits) {
            Ok(permit) => Some(Reserved(Arc::new(permit))),
            Err(_) => {
                if let Some(refused) = self.exhausted.check() {
                    tracing::warn!(
                        refused,
                        bytes,
                        "too many responses of the ops port are unread"
                    );
                }
                None
            }
        }
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

/// Body whose frames hold their reservation. A body of known size reserves its whole size at once.
struct Limited {
    body: Body,
    reserved: Option<Reserved>,
    budget: Arc<Budget>,
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
        let reserved = reserved.or_else(|| self.budget.reserve(data.len() as u64));
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
    let budget = match request.uri().path() {
        "/metrics" => unread.scrapes,
        _ => unread.others,
    };
    let response = next.run(request).await;
    let reserved = match response.body().size_hint().exact() {
        Some(size) if size < COUNTED as u64 => return response,
        Some(size) => match budget.reserve(size) {
            None => return Problem::too_many_unread().into_response(),
            reserved => reserved,
        },
        None => None,
    };
    response.map(|body| {
        Body::new(Limited {
            body,
            reserved,
            budget,
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
            .route("/metrics", get(|| async { vec![0; 2 * MIB] }))
            .route("/huge", get(|| async { vec![0; MAX_UNREAD + 1] }))
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
        assert_eq!(get_from(&router, "/metrics").await.status(), StatusCode::OK);
        unread.pop();
        let response = get_from(&router, "/whole").await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, vec![0; 2 * MIB]);
    }

    #[tokio::test]
    async fn a_response_larger_than_the_memory_is_sent_alone() {
        let router = router();
        let response = get_from(&router, "/huge").await;
        assert_eq!(response.status(), StatusCode::OK);
        let refused = get_from(&router, "/whole").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), MAX_UNREAD + 1);
        drop(body);
        assert_eq!(get_from(&router, "/whole").await.status(), StatusCode::OK);
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
