//! Ops port: metrics, probes, faults and the live page, on a dedicated thread and runtime, so that
//! they respond while the API is busy.

mod commit;
mod consistency;
mod docs;
pub(crate) mod faults;
mod page;
mod probes;
pub(crate) mod scenario;
mod scrape;
mod shared;
mod streams;
mod unread;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use prometheus::Registry;
use ticket_core::policy::Playback;
use ticket_core::{Commit, Tickets};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_metrics::{Prometheus, TokioCollector};
use tower_metrics_dashboard::live::LivePageBuilder;

use crate::body::MAX_DOCUMENT;
use crate::guard::Guard;
use crate::metrics::PlatformMetrics;
use crate::net::{self, Admission};
use crate::problem;
use crate::security::no_sniff;
pub(crate) use consistency::ConsistencyCheck;
pub(crate) use page::page;
pub(crate) use probes::Readiness;
use scrape::Scrapes;
use streams::EventStreams;
use unread::Unread;

/// Maximum number of threads for renderings and file access.
const MAX_BLOCKING_THREADS: usize = 4;

/// State of the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Ops {
    pub(crate) tickets: Tickets,
    pub(crate) metrics: Arc<PlatformMetrics>,
    pub(crate) guard: Guard,
    pub(crate) playback: Playback,
    pub(crate) readiness: Readiness,
}

impl Ops {
    /// Sets the commit mode of purchases.
    fn switch_commit(&self, commit: Commit) {
        self.tickets.set_commit(commit);
        self.metrics.set_commit_mode(commit);
        tracing::info!(%commit, "commit mode changed");
    }
}

impl FromRef<Ops> for Guard {
    fn from_ref(ops: &Ops) -> Self {
        ops.guard.clone()
    }
}

impl FromRef<Ops> for Readiness {
    fn from_ref(ops: &Ops) -> Self {
        ops.readiness.clone()
    }
}

/// Returns the routes of the ops port, except the live page.
pub(crate) fn router(ops: Ops, prometheus: Prometheus) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(scrape::metrics).with_state(Scrapes::new(prometheus)),
        )
        .route("/docs", get(docs::page))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/faults", get(faults::read).put(faults::replace))
        .route("/faults/presets", get(faults::presets))
        .route("/scenario", get(scenario::read).put(scenario::replace))
        .route("/commit", get(commit::read).put(commit::switch))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .layer(ServiceBuilder::new().map_response(no_sniff))
        .with_state(ops)
}

/// The ops port's socket and its limits.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) settings: net::Settings,
    /// Time for a request body to arrive.
    pub(crate) body_timeout: Duration,
}

impl Port {
    /// Reads request bodies before the handlers run. Unlike the API, the ops port does not limit
    /// concurrency: probes always get through.
    fn admission(&self) -> Admission {
        Admission::new(net::Limits {
            concurrency: Semaphore::MAX_PERMITS,
            queue_timeout: Duration::ZERO,
            body_timeout: self.body_timeout,
            max_body: MAX_DOCUMENT,
        })
    }
}

/// Serves `router` and the live page until `stop` is cancelled, on a dedicated thread and runtime.
///
/// # Errors
/// Returns an error when the runtime or the thread cannot be started, or when the registry already
/// has the runtime's metrics.
pub(crate) fn serve(
    registry: &Registry,
    port: Port,
    router: Router,
    page: LivePageBuilder,
    guard: Guard,
    background: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    // Not part of the API's metrics.
    let connections = net::connections(None, &port.settings).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()?;
    registry
        .register(Box::new(TokioCollector::new("ops", runtime.handle())))
        .map_err(io::Error::other)?;
    let built = {
        let _context = runtime.enter();
        let page = page.graceful_shutdown(stop.clone().cancelled_owned());
        page.build()
            .map_err(io::Error::other)
            .map(|page| router.merge(page::guarded(page.into_router(), guard)))
            .map(|router| {
                let streams = EventStreams::new(port.settings.max_connections);
                router
                    .layer(from_fn_with_state(streams, streams::limit))
                    .layer(from_fn_with_state(Unread::new(), unread::limit))
                    .layer(from_fn_with_state(port.admission(), net::admit))
            })
    };
    let router = match built {
        Ok(built) => built,
        Err(error) => {
            // Dropping a runtime inside another one panics.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    thread::Builder::new().name("ops".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(background);
            // Without waiting for connections: event streams do not end.
            tokio::select! {
                Err(error) = net::serve(port.listener, router, port.settings, connections, stop.clone()) => {
                    tracing::error!(%error, "cannot serve the ops port");
                }
                () = stop.cancelled() => {}
            }
        });
    })
}
