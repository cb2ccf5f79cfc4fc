//! Serving one connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower_metrics::ErrorType;

use super::activity::{ActiveBody, Activity, Expiry, Monitored, Receiving};
use super::{Io, MAX_HEAD, MAX_SEND_BUFFER, MAX_STREAMS, PING_INTERVAL, PING_TIMEOUT, Settings};

/// Time that an idle connection has to close after the server has asked it to, which over HTTP/2 takes
/// a round trip.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// Error type of a connection that was closed to make room for others while its client did not send
/// its request or did not read its response.
const EVICTED: ErrorType = ErrorType::new("evicted");

/// HTTP/1 and HTTP/2 (with prior knowledge), by the first bytes of a connection.
pub(super) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(MAX_SEND_BUFFER);
    builder
}

/// Configuration and shared state of a connection.
pub(super) struct Connection {
    pub(super) builder: auto::Builder<TokioExecutor>,
    pub(super) router: Router,
    pub(super) settings: Settings,
    pub(super) closing: CancellationToken,
    /// Asks one connection at a time to close if it is idle.
    pub(super) recycle: Arc<Notify>,
}

impl Connection {
    /// Serves requests until the connection ends or a timeout closes it.
    pub(super) async fn run(self, io: Io) {
        let handle = io.handle();
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(Monitored {
            inner: io,
            activity: activity.clone(),
        });
        let service = {
            let (activity, router) = (activity.clone(), self.router);
            service_fn(move |request: Request<Incoming>| {
                let active = activity.begin(request.version());
                let body = |body| Body::new(Receiving::new(body, &activity));
                let response = router.clone().call(request.map(body));
                async move {
                    let Ok(response) = response.await;
                    let body = |body| ActiveBody::new(body, active);
                    Ok::<Response<ActiveBody>, Infallible>(response.map(body))
                }
            })
        };
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut timer = pin!(sleep_until(Instant::now() + self.settings.shortest()));
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "connection failed");
                    }
                    return;
                }
                () = timer.as_mut() => match activity.check(&self.settings) {
                    expiry @ (Expiry::Head | Expiry::Write) => {
                        tracing::debug!(?expiry, "connection timed out");
                        handle.set_error_type(ErrorType::TIMEOUT);
                        return;
                    }
                    // A request that began before the client noticed is still served.
                    _ if draining && activity.is_active() => {
                        timer.as_mut().reset(Instant::now() + CLOSE_GRACE);
                        continue;
                    }
                    _ if draining => return,
                    Expiry::Later(at) => {
                        timer.as_mut().reset(at);
                        continue;
                    }
                    Expiry::Idle => {}
                },
                () = self.closing.cancelled(), if !draining => {}
                () = self.recycle.notified(), if !draining => {
                    if !activity.is_recyclable() {
                        continue;
                    }
                    // The client has not sent its request or does not read its response.
                    if activity.is_active() {
                        handle.set_error_type(EVICTED);
                        return;
                    }
                }
            }
            connection.as_mut().graceful_shutdown();
            draining = true;
            timer.as_mut().reset(Instant::now() + CLOSE_GRACE);
        }
    }
}
