//! Activity of a connection, which its timeouts depend on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Settings;

/// Idle time after which a connection may be closed to make room: longer than the pause between two
/// requests of a busy client.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// State of a connection that its timeouts depend on. `Relaxed` suffices for the atomics: they
/// publish no other memory.
#[derive(Debug)]
pub(super) struct Activity {
    started: Instant,
    /// Requests being received or served: over HTTP/2 there can be several.
    active: AtomicUsize,
    /// Requests whose body has not arrived completely.
    receiving: AtomicUsize,
    /// Requests whose response waits for the client: over HTTP/2 each stream has a window that
    /// the client may leave closed while the socket accepts bytes.
    sending: AtomicUsize,
    /// When a response last made progress.
    progressed_at: AtomicU64,
    /// True once a request head has arrived.
    served: AtomicBool,
    /// True if the first request came over HTTP/2.
    http2: AtomicBool,
    /// When the last request began or ended.
    waiting_since: AtomicU64,
    /// When the first byte of the next request head arrived; 0 if none has.
    head_since: AtomicU64,
    /// When the socket last stopped accepting bytes; 0 if it accepts them.
    stalled_since: AtomicU64,
}

/// Result of checking the timeouts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Nothing is due before this time.
    Later(Instant),
    /// The connection was idle for too long.
    Idle,
    /// A request head did not arrive in time.
    Head,
    /// The client did not read its response in time.
    Write,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            active: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            progressed_at: AtomicU64::new(0),
            served: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            waiting_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the connection started, never 0.
    fn now(&self) -> u64 {
        let elapsed = self.started.elapsed().as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Relaxed) > 0
    }

    /// Returns true if the connection can be closed to make room: it has been waiting for the client
    /// to send a request or to read a response for [`MIN_IDLE`].
    pub(super) fn is_recyclable(&self) -> bool {
        let waiting_since = match self.stalled_since.load(Relaxed) {
            0 if !self.waits_for_client() => return false,
            0 => self
                .waiting_since
                .load(Relaxed)
                .max(self.progressed_at.load(Relaxed)),
            stalled_since => stalled_since,
        };
        let waiting = self.now().saturating_sub(waiting_since);
        Duration::from_millis(waiting) >= MIN_IDLE
    }

    /// Returns true if no request is being handled: each of them waits for the client to send its
    /// body or to read its response.
    fn waits_for_client(&self) -> bool {
        let waiting = self.receiving.load(Relaxed) + self.sending.load(Relaxed);
        self.active.load(Relaxed) <= waiting
    }

    /// Marks the beginning of a request, which ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Active {
        self.active.fetch_add(1, Relaxed);
        self.waiting_since.store(self.now(), Relaxed);
        self.served.store(true, Relaxed);
        self.http2.store(version == Version::HTTP_2, Relaxed);
        Active(self.clone())
    }

    /// Checks the timeouts. [`Expiry::Later`] carries the time of the next check, which is early enough
    /// for every timeout that can start before it.
    pub(super) fn check(&self, settings: &Settings) -> Expiry {
        let now = Instant::now();
        let next = now + settings.shortest();
        let due = |since: u64, timeout: Duration, expiry: Expiry| {
            let at = self.started + Duration::from_millis(since) + timeout;
            if at <= now {
                expiry
            } else {
                Expiry::Later(at.min(next))
            }
        };
        let stalled = self.stalled_since.load(Relaxed);
        if stalled > 0 {
            return due(stalled, settings.write_timeout, Expiry::Write);
        }
        if self.is_active() {
            if self.sending.load(Relaxed) > 0 && self.waits_for_client() {
                let progressed = self.progressed_at.load(Relaxed);
                return due(progressed, settings.write_timeout, Expiry::Write);
            }
            return Expiry::Later(next);
        }
        if !self.served.load(Relaxed) {
            return due(0, settings.header_timeout, Expiry::Head);
        }
        let head = self.head_since.load(Relaxed);
        // Over HTTP/2, bytes can also belong to a PING or a window update.
        if head > 0 && !self.http2.load(Relaxed) {
            return due(head, settings.header_timeout, Expiry::Head);
        }
        let idle = self.waiting_since.load(Relaxed);
        due(idle, settings.keep_alive, Expiry::Idle)
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Active(Arc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.head_since.store(0, Relaxed);
        self.0.waiting_since.store(self.0.now(), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// Request body that reports its end.
#[derive(Debug)]
pub(super) struct Receiving<B> {
    body: B,
    activity: Option<Arc<Activity>>,
}

impl<B: http_body::Body> Receiving<B> {
    pub(super) fn new(body: B, activity: &Arc<Activity>) -> Self {
        let activity = (!body.is_end_stream()).then(|| {
            activity.receiving.fetch_add(1, Relaxed);
            activity.clone()
        });
        Self { body, activity }
    }
}

impl<B> Receiving<B> {
    fn end(&mut self) {
        if let Some(activity) = self.activity.take() {
            activity.receiving.fetch_sub(1, Relaxed);
        }
    }
}

impl<B: http_body::Body + Unpin> http_body::Body for Receiving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Receiving<B> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Response body that holds its request's [`Active`] guard and reports whether it waits for the
/// client. hyper polls it when the client can receive more.
#[derive(Debug)]
pub(super) struct ActiveBody {
    body: Body,
    active: Active,
    /// True from the response's head or a frame until hyper asks for the next frame.
    sending: bool,
}

impl ActiveBody {
    pub(super) fn new(body: Body, active: Active) -> Self {
        let mut body = Self {
            body,
            active,
            sending: false,
        };
        body.set_sending(true);
        body
    }

    fn set_sending(&mut self, sending: bool) {
        if self.sending == sending {
            return;
        }
        self.sending = sending;
        let activity = &self.active.0;
        if sending {
            activity.progressed_at.store(activity.now(), Relaxed);
            activity.sending.fetch_add(1, Relaxed);
        } else {
            activity.sending.fetch_sub(1, Relaxed);
        }
    }
}

impl http_body::Body for ActiveBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.set_sending(false);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // A pending body, such as an event stream, waits for the server.
        self.set_sending(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ActiveBody {
    fn drop(&mut self) {
        self.set_sending(false);
    }
}

/// I/O that reports to an [`Activity`].
#[derive(Debug)]
pub(super) struct Monitored<T> {
    pub(super) inner: T,
    pub(super) activity: Arc<Activity>,
}

impl<T> Monitored<T> {
    fn wrote<R>(&self, result: Poll<R>) -> Poll<R> {
        let stalled = &self.activity.stalled_since;
        match &result {
            Poll::Ready(_) => stalled.store(0, Relaxed),
            Poll::Pending if stalled.load(Relaxed) == 0 => {
                stalled.store(self.activity.now(), Relaxed);
            }
            Poll::Pending => {}
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Monitored<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let activity = &self.activity;
        if buffer.filled().len() > before
            && !activity.is_active()
            && activity.head_since.load(Relaxed) == 0
        {
            activity.head_since.store(activity.now(), Relaxed);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Monitored<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
