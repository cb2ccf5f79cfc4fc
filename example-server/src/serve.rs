//! The server: what it is built from, and its life from the first socket to the last answer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::Registry;
use ticket_core::policy::{Document, Faults};
use ticket_core::{Options, Tickets};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, LARGEST_BODY, Limits, Seen};
use crate::guard::Guard;
use crate::metrics::{self, PlatformMetrics, register_process};
use crate::net::{self, Descriptors};
use crate::ops::{self, Books, Ops, Readiness};
use crate::{config, dashboards, faults_file, logging, signal};

/// What requests that are under way at shutdown get beyond their own time limit.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Faults(#[from] faults_file::Error),
    #[error("cannot open the database")]
    Database(#[from] ticket_core::Error),
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot build the metrics layer")]
    Layer(#[from] tower_metrics::BuildError),
    #[error("cannot build the dashboards")]
    Dashboards(#[from] tower_metrics_dashboard::Error),
    #[error("cannot start the ops port")]
    Ops(#[source] io::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("the API stopped")]
    Api(#[source] io::Error),
}

/// A server that is ready to run: its sockets are bound, its database is open, its ops port serves.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) tickets: Tickets,
    pub(crate) registry: Registry,
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
    /// Cancelled by the first signal: readiness is false from then on.
    pub(crate) stopping: CancellationToken,
    listener: TcpListener,
    router: axum::Router,
    limits: Limits,
    connections: net::Settings,
    drain: Duration,
    ops_thread: JoinHandle<()>,
    /// Cancelled when nothing needs the ops port any more.
    done: CancellationToken,
}

impl Server {
    /// Builds the server. `ground` are the faults where no file says others.
    ///
    /// # Errors
    /// When a socket, the faults file, the database or the metrics are not to be had.
    pub(crate) async fn start(options: &config::Serve, ground: Document) -> Result<Self, Error> {
        let (listener, api_address) = bind(options.listen)?;
        let (ops_listener, ops_address) = bind(options.ops_listen)?;
        let file = match &options.faults {
            Some(path) => Some(faults_file::File::open(path).await?),
            None => None,
        };
        let faults = Faults::new(file.as_ref().map_or(ground, faults_file::File::document));

        let prometheus = dashboards::recorder()?;
        let registry = prometheus.registry().clone();
        let metrics = Arc::new(PlatformMetrics::register(&registry)?);
        metrics.set_faults(&faults.document());
        metrics.set_commit_mode(options.commit);
        let tickets = Tickets::open(
            options.database_url.as_str(),
            Options {
                commit: options.commit,
                faults: faults.clone(),
                observer: metrics.clone(),
                ..Options::default()
            },
        )
        .await?;
        register_process(&registry, tickets.clone(), Handle::current())?;

        let guard = Guard::new(options.admin_token.as_ref(), [api_address, ops_address]);
        let limits = Limits {
            admission: net::Limits {
                concurrency: options.max_concurrency as usize,
                queue_timeout: options.connections.queue_timeout,
                body_timeout: options.connections.body_timeout,
                max_body: LARGEST_BODY,
            },
            timeout: options.request_timeout,
        };
        let descriptors = Descriptors::divide(options.connections.max_connections as usize);
        let connections = net::Settings {
            max_connections: descriptors.api,
            header_timeout: options.connections.header_timeout,
            keep_alive: options.connections.keep_alive,
            write_timeout: options.connections.write_timeout,
        };
        let seen = Seen::default();
        let books = Books::open(tickets.clone(), metrics.clone(), prometheus, seen.clone()).await;
        let router = api::router(
            Api {
                tickets: tickets.clone(),
                guard: guard.clone(),
            },
            api::metrics(prometheus)?,
            limits,
            seen.clone(),
        );
        let (stopping, done) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(logging::report_dropped());
        tokio::spawn(metrics::stock::refresh(tickets.clone(), metrics.clone()));
        let background = {
            let watch = ops::faults::watch(faults.subscribe(), metrics.clone());
            async move {
                match file {
                    Some(file) => _ = tokio::join!(watch, file.follow(faults)),
                    None => watch.await,
                }
            }
        };
        let ops = Ops {
            tickets: tickets.clone(),
            metrics,
            guard,
            readiness: Readiness::new(tickets.clone(), Handle::current(), stopping.clone()),
        };
        let page = ops::page(&ops, &prometheus, books, &seen)?;
        let guard = ops.guard.clone();
        let ops_router = ops::router(ops, prometheus);
        let ops_thread = ops::serve(
            ops::Port {
                listener: ops_listener,
                settings: net::Settings {
                    max_connections: descriptors.ops,
                    ..connections
                },
                body_timeout: options.connections.body_timeout,
            },
            ops_router,
            page,
            guard,
            background,
            done.clone(),
        )
        .map_err(Error::Ops)?;
        Ok(Self {
            tickets,
            registry,
            api: api_address,
            ops: ops_address,
            stopping,
            listener,
            router,
            limits,
            connections,
            drain: options.drain,
            ops_thread,
            done,
        })
    }

    /// Serves until a signal, lets what is under way end, and closes the database.
    ///
    /// # Errors
    /// When the socket fails or signals cannot be waited for.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let signal = signal::Signals::listen().map_err(Error::Signals)?;
        let closing = CancellationToken::new();
        tokio::spawn(shut_down(
            signal,
            self.stopping.clone(),
            closing.clone(),
            self.drain,
        ));

        tracing::info!(
            api = %format_args!("http://{}", self.api),
            ops = %format_args!("http://{}", self.ops),
            commit = %self.tickets.commit(),
            "serving"
        );
        let serving = net::serve(
            self.listener,
            self.router,
            self.connections,
            closing.clone(),
        );
        let too_late = async {
            closing.cancelled().await;
            tokio::time::sleep(self.limits.timeout + MARGIN).await;
        };
        tokio::select! {
            served = serving => served.map_err(Error::Api)?,
            () = too_late => tracing::warn!("connections are still open after their time: they are cut"),
        }
        self.tickets.close().await;
        self.done.cancel();
        if self.ops_thread.join().is_err() {
            tracing::error!("the ops thread panicked");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// After a signal: not ready, then, once load balancers had time to see it, no new connections.
async fn shut_down(
    mut signals: signal::Signals,
    stopping: CancellationToken,
    closing: CancellationToken,
    drain: Duration,
) {
    let signal = signals.next().await;
    tracing::info!(signal, ?drain, "shutting down");
    stopping.cancel();
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        signal = signals.next() => tracing::info!(signal, "not waiting any longer"),
    }
    closing.cancel();
    let signal = signals.next().await;
    tracing::warn!(signal, "stopped at once");
    logging::shut_down();
    std::process::exit(1);
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = || {
        let listener = net::bind(address)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|source| Error::Listen { address, source })
}
