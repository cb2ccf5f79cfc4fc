//! Admission control: reads the request body, then waits for a permit.
//!
//! A request holds no permit while its body arrives, so that slow clients do not occupy the
//! server. Under overload a request waits in FIFO order before it is shed, and shedding skips parsing
//! and logging.
//!
//! Shedding is paced as well: receiving a request and sending a response costs a large part of what
//! a purchase in a group costs. Clients that retry immediately would take the processor from the
//! requests that are served: the more are shed, the more come back. A request that has waited for the
//! queue timeout is therefore shed in turn, [`SHED_TURNS`] per [`SHED_PACE`] in all, and may still be
//! admitted until its turn. Thousands of clients wait a few seconds instead of spinning.
//!
//! # Bounds
//! Heads of requests without a permit, and bodies: [`MAX_BUFFERED`] bytes in all. Requests whose body
//! is arriving: [`MAX_RECEIVING`]; requests that wait for a permit: [`MAX_WAITING`].

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Version, header};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_metrics::{AdmissionWait, Prometheus};

use super::RateLimit;
use crate::problem::Problem;

/// Maximum number of bytes of heads and bodies buffered at once, over all connections.
const MAX_BUFFERED: usize = 32 * 1024 * 1024;
/// How many times the maximum size of a body is received before the connection is closed.
const DISCARD: usize = 4;
/// Maximum number of requests whose body is arriving. Only HTTP/2 connections, with many streams
/// each, can reach it.
const MAX_RECEIVING: usize = 32_768;
/// Maximum number of requests that wait for a permit.
const MAX_WAITING: usize = 16_384;
/// Number of requests that are shed per [`SHED_PACE`], which is the resolution of the runtime's
/// timers: at most 1,000 per second.
const SHED_TURNS: usize = 1;
const SHED_PACE: Duration = Duration::from_millis(1);

/// Admission control shared by all requests of a server.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: Semaphore,
    /// Paces shedding: a request holds a permit for [`SHED_PACE`] before it is shed.
    shed_turns: Semaphore,
    buffered: Semaphore,
    receiving: AtomicUsize,
    waiting: AtomicUsize,
    refused: RateLimit,
    /// Set before the first request, if waits are recorded.
    recorder: OnceLock<Prometheus>,
    limits: Limits,
}

/// Limits of [`Admission`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum number of requests in progress.
    pub(crate) concurrency: usize,
    /// How long a request waits for a permit before it may be shed.
    pub(crate) queue_timeout: Duration,
    /// Time for a request body to arrive.
    pub(crate) body_timeout: Duration,
    /// Maximum size of a request body in bytes.
    pub(crate) max_body: usize,
}

/// Buffered request body and its share of [`MAX_BUFFERED`].
struct Buffered<'a> {
    bytes: Bytes,
    _share: Option<SemaphorePermit<'a>>,
}

/// Member of a bounded group of requests, which it leaves on drop.
struct Member<'a>(&'a AtomicUsize);

impl<'a> Member<'a> {
    fn join(members: &'a AtomicUsize, max: usize) -> Option<Self> {
        // Created first, so that a failed attempt is undone as well.
        let before = members.fetch_add(1, Relaxed);
        let member = Self(members);
        (before < max).then_some(member)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            permits: Semaphore::new(limits.concurrency),
            shed_turns: Semaphore::new(SHED_TURNS),
            buffered: Semaphore::new(MAX_BUFFERED),
            receiving: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            refused: RateLimit::default(),
            recorder: OnceLock::new(),
            limits,
        }))
    }
}

impl Admission {
    /// Records how long requests wait for a permit.
    pub(crate) fn measured(self, recorder: Prometheus) -> Self {
        // The first recorder remains.
        let _ = self.0.recorder.set(recorder);
        self
    }
}

impl Inner {
    /// Begins to measure a wait for a permit. The arrival of the body is not part of it.
    fn wait(&self) -> AdmissionWait<Option<Prometheus>> {
        AdmissionWait::new(self.recorder.get().copied())
    }

    /// Refuses a request that has not waited for a permit.
    fn refuse_at_once(&self) -> Problem {
        self.wait().reject();
        self.refuse()
    }

    fn refuse(&self) -> Problem {
        if let Some(count) = self.refused.check() {
            tracing::warn!(count, "requests shed, the server is overloaded");
        }
        Problem::overloaded()
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        let _waiting = Member::join(&self.waiting, MAX_WAITING)?;
        let permit = async {
            let permit = self.permits.acquire().await;
            permit.expect("the semaphore is never closed")
        };
        tokio::select! {
            biased;
            permit = permit => Some(permit),
            () = self.turn_to_be_shed() => None,
        }
    }

    /// Waits for the queue timeout and then until a request may be shed.
    async fn turn_to_be_shed(&self) {
        let timeout = self.limits.queue_timeout;
        if !timeout.is_zero() {
            tokio::time::sleep(timeout).await;
        }
        let _turn = self.shed_turns.acquire().await;
        tokio::time::sleep(SHED_PACE).await;
    }

    async fn buffer(&self, body: Body, version: Version) -> Result<Buffered<'_>, Response> {
        if body.is_end_stream() {
            return Ok(Buffered {
                bytes: Bytes::new(),
                _share: None,
            });
        }
        let Some(_receiving) = Member::join(&self.receiving, MAX_RECEIVING) else {
            return Err(self.refuse_at_once().into_response());
        };
        match tokio::time::timeout(self.limits.body_timeout, self.read(body)).await {
            Ok(read) => read.map_err(IntoResponse::into_response),
            Err(_) => {
                let mut response = Problem::body_timeout().into_response();
                // The rest of the body may still arrive and must not be parsed as a request. HTTP/2
                // resets the stream instead and forbids the header.
                if version < Version::HTTP_2 {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Err(response)
            }
        }
    }

    async fn read(&self, mut body: Body) -> Result<Buffered<'_>, Problem> {
        let max = self.limits.max_body;
        // Discarded rather than left unread: closing a socket with unread bytes resets the
        // connection, and the client may never see the response.
        let discard = DISCARD * max;
        if HttpBody::size_hint(&body).lower() > discard as u64 {
            return Err(Problem::too_large(format!("the limit is {max} bytes")));
        }
        let mut share: Option<SemaphorePermit<'_>> = None;
        let mut received = 0;
        let mut first = Bytes::new();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::malformed(error.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            received += data.len();
            if received > discard {
                break;
            }
            if received > max {
                share = None;
                continue;
            }
            let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = self.buffered.try_acquire_many(bytes);
            let more = more.map_err(|_| self.refuse_at_once())?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            if first.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        if received > max {
            return Err(Problem::too_large(format!("the limit is {max} bytes")));
        }
        Ok(Buffered {
            bytes: if rest.is_empty() { first } else { rest.into() },
            _share: share,
        })
    }
}

/// Middleware that admits requests.
pub(crate) async fn admit(
    State(Admission(inner)): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    if inner.waiting.load(Relaxed) >= MAX_WAITING {
        return inner.refuse_at_once().into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(share) = inner.buffered.try_acquire_many(size(&head)) else {
        return inner.refuse_at_once().into_response();
    };
    let mut body = match inner.buffer(body, head.version).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let mut wait = inner.wait();
    let permit = match inner.permits.try_acquire() {
        Ok(permit) => Some(permit),
        Err(_) => {
            wait.queue();
            inner.permit().await
        }
    };
    let Some(_permit) = permit else {
        wait.reject();
        return inner.refuse().into_response();
    };
    wait.admit();
    drop(share);
    let bytes = std::mem::take(&mut body.bytes);
    next.run(Request::from_parts(head, bytes.into())).await
}

/// Returns the number of bytes of the target and the header fields.
fn size(head: &Parts) -> u32 {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len());
    u32::try_from(target + fields.sum::<usize>()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use futures_util::FutureExt;
    use futures_util::stream::pending;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn heads_of_requests_whose_body_is_arriving_are_bounded_in_bytes() {
        const HEAD: usize = 16_000;
        let admission = Admission::new(Limits {
            concurrency: 1_000_000,
            queue_timeout: Duration::ZERO,
            body_timeout: Duration::from_secs(3_600),
            max_body: 100,
        });
        let router = Router::new()
            .route("/", post(async || ()))
            .layer(from_fn_with_state(admission, admit));
        let request = || {
            let body = Body::from_stream(pending::<Result<Bytes, axum::Error>>());
            let request = Request::post("/").header("x-large", "a".repeat(HEAD));
            Box::pin(router.clone().oneshot(request.body(body).unwrap()))
        };
        let mut waiting = Vec::new();
        let refused = loop {
            let mut request = request();
            match (&mut request).now_or_never() {
                None => waiting.push(request),
                Some(response) => break response.unwrap(),
            }
            assert!(waiting.len() * HEAD <= MAX_BUFFERED, "no bound");
        };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(waiting.len() * HEAD > MAX_BUFFERED / 2);
        // A request that leaves makes room.
        waiting.pop();
        assert!(request().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_shed_in_turn_so_that_clients_that_retry_take_little_of_the_processor() {
        let timeout = Duration::from_millis(100);
        let admission = Admission::new(Limits {
            concurrency: 1,
            queue_timeout: timeout,
            body_timeout: Duration::from_secs(1),
            max_body: 100,
        });
        let _served = admission.0.permits.acquire().await.unwrap();
        let router = Router::new()
            .route("/", post(async || ()))
            .layer(from_fn_with_state(admission.clone(), admit));
        let start = tokio::time::Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let router = router.clone();
            clients.spawn(async move {
                let request = Request::post("/").body(Body::empty()).unwrap();
                let response = router.oneshot(request).await.unwrap();
                (response.status(), start.elapsed())
            });
        }
        let mut shed = clients.join_all().await;
        shed.sort_by_key(|(_, at)| *at);
        assert!(
            shed.iter()
                .all(|(status, _)| *status == StatusCode::SERVICE_UNAVAILABLE)
        );
        let (first, last) = (shed[0].1, shed[499].1);
        assert!(first >= timeout && first < 2 * timeout, "{first:?}");
        let pace = (last - first) / 499;
        assert!(pace >= SHED_PACE && pace <= 3 * SHED_PACE, "{pace:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_to_be_shed_is_still_admitted() {
        let admission = Admission::new(Limits {
            concurrency: 1,
            queue_timeout: Duration::ZERO,
            body_timeout: Duration::from_secs(1),
            max_body: 100,
        });
        let served = admission.0.permits.acquire().await.unwrap();
        let turn = admission.0.shed_turns.acquire().await.unwrap();
        let mut waiting = Box::pin(admission.0.permit());
        assert!((&mut waiting).now_or_never().is_none());
        drop(served);
        assert!(waiting.await.is_some());
        drop(turn);
        assert_eq!(admission.0.waiting.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_is_measured_as_admitted_rejected_or_cancelled() {
        let prometheus = Prometheus::new();
        tower_metrics::AdmissionRecorder::prepare(&prometheus).unwrap();
        let admission = Admission::new(Limits {
            concurrency: 1,
            queue_timeout: Duration::from_millis(100),
            body_timeout: Duration::from_secs(1),
            max_body: 100,
        });
        let admission = admission.measured(prometheus);
        let router = Router::new()
            .route("/", post(async || ()))
            .layer(from_fn_with_state(admission.clone(), admit));
        let request = || {
            let request = Request::post("/").body(Body::empty()).unwrap();
            Box::pin(router.clone().oneshot(request))
        };
        let exposes = |line: &str| {
            let text = prometheus.exposition();
            let text = text.render(tower_metrics::prometheus::Format::Text);
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        };
        assert_eq!(request().await.unwrap().status(), StatusCode::OK);
        let served = admission.0.permits.acquire().await.unwrap();
        let mut left = request();
        assert!((&mut left).now_or_never().is_none());
        exposes("http_server_admission_queued 1");
        drop(left);
        assert_eq!(
            request().await.unwrap().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        // No memory for the head.
        let all = admission.0.buffered.acquire_many(MAX_BUFFERED as u32).await;
        assert_eq!(
            request().await.unwrap().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop((all, served));
        exposes("http_server_admission_queued 0");
        for (outcome, count) in [("admitted", 1), ("rejected", 2), ("cancelled", 1)] {
            let name = "http_server_admission_wait_seconds_count";
            exposes(&format!("{name}{{outcome=\"{outcome}\"}} {count}"));
        }
    }
}
