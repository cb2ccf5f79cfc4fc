//! Server startup and graceful shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::Registry;
use ticket_core::policy::{Document, Faults, Playback, Scenario};
use ticket_core::{Options, Tickets};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, Limits, RequestMonitor};
use crate::body::MAX_BODY;
use crate::guard::Guard;
use crate::metrics::{self, PlatformMetrics, register_process};
use crate::net::{self, Descriptors};
use crate::ops::{self, ConsistencyCheck, Ops, Readiness};
use crate::signal::Signals;
use crate::{config, dashboards, faults_file, logging, scenarios, task};

/// Time beyond the queue timeout and the request timeout that requests in progress have to finish at
/// shutdown.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

const LISTEN: &str = "--listen (LISTEN)";
const OPS_LISTEN: &str = "--ops-listen (OPS_LISTEN)";

/// Error that prevents the server from starting or stops it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot listen on {address}: {cause}; choose another address with {setting}")]
    Listen {
        address: SocketAddr,
        setting: &'static str,
        cause: io::Error,
    },
    #[error("the API and the ops port cannot both listen on {0}: change {LISTEN} or {OPS_LISTEN}")]
    SameAddress(SocketAddr),
    #[error(transparent)]
    Faults(#[from] faults_file::Error),
    #[error("cannot play the scenario")]
    Scenario(#[from] scenarios::Error),
    #[error("cannot open the database")]
    Database(#[source] ticket_core::Error),
    #[error("{0}; choose another file with --database-url (DATABASE_URL)")]
    DatabaseInUse(ticket_core::Error),
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot build the metrics layer")]
    Layer(#[from] tower_metrics::BuildError),
    #[error("cannot build the dashboards")]
    Dashboards(#[from] tower_metrics_dashboard::Error),
    #[error("cannot start the ops port")]
    Ops(#[source] io::Error),
    #[error("stopped by {0} before the server had started")]
    Interrupted(&'static str),
    #[error("cannot serve the API")]
    Api(#[source] io::Error),
}

/// Server whose sockets are bound, whose database is open, and whose ops port serves.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) tickets: Tickets,
    pub(crate) registry: Registry,
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
    /// Cancelled by the first signal; `/readyz` fails from then on.
    pub(crate) stopping: CancellationToken,
    pub(crate) playback: Playback,
    /// Starts when the API serves.
    scenario: Option<Scenario>,
    listener: TcpListener,
    router: axum::Router,
    limits: Limits,
    settings: net::Settings,
    connections: net::Connections,
    drain: Duration,
    ops_thread: JoinHandle<()>,
    /// Cancelled after the API has stopped, which stops the ops port.
    done: CancellationToken,
}

impl Server {
    /// Starts the ops port and prepares the API. `base` is the faults document that applies without
    /// a `--faults` file.
    ///
    /// # Errors
    ///
    /// Returns an error if an address cannot be bound, the faults file is invalid, the database
    /// cannot be opened, a metric cannot be registered, or a signal arrives.
    pub(crate) async fn start(
        options: &config::Serve,
        base: Document,
        signals: &mut Signals,
    ) -> Result<Self, Error> {
        tokio::select! {
            prepared = Self::prepare(options, base) => prepared,
            signal = signals.next() => Err(Error::Interrupted(signal)),
        }
    }

    async fn prepare(options: &config::Serve, base: Document) -> Result<Self, Error> {
        // Port 0 selects a different free port for each.
        if options.listen == options.ops_listen && options.listen.port() != 0 {
            return Err(Error::SameAddress(options.listen));
        }
        let (listener, api_address) = bind(options.listen, LISTEN)?;
        let (ops_listener, ops_address) = bind(options.ops_listen, OPS_LISTEN)?;
        let file = match &options.faults {
            Some(path) => Some(faults_file::File::open(path).await?),
            None => None,
        };
        let scenario = options.scenario.as_deref().map(scenarios::load);
        let scenario = scenario.transpose()?;
        let faults = Faults::new(file.as_ref().map_or(base, faults_file::File::document));

        let prometheus = dashboards::recorder()?;
        let registry = prometheus.registry().clone();
        let metrics = Arc::new(PlatformMetrics::register(&registry)?);
        metrics.set_faults(&faults.document(), false);
        metrics.set_commit_mode(options.commit);
        let tickets = Tickets::open(
            options.database_url.as_str(),
            Options {
                commit: options.commit,
                faults: faults.clone(),
                observer: metrics.clone(),
                exclusive: true,
                ..Options::default()
            },
        )
        .await
        .map_err(|error| match error {
            ticket_core::Error::InUse { .. } => Error::DatabaseInUse(error),
            _ => Error::Database(error),
        })?;
        register_process(&registry, tickets.clone(), &Handle::current())?;

        let guard = Guard::new(options.admin_token.as_ref(), [api_address, ops_address]);
        let limits = Limits {
            admission: net::Limits {
                concurrency: options.max_concurrency as usize,
                queue_timeout: options.connections.queue_timeout,
                body_timeout: options.connections.body_timeout,
                max_body: MAX_BODY,
            },
            timeout: options.request_timeout,
        };
        let descriptors = Descriptors::divide(options.connections.max_connections as usize);
        let settings = net::Settings {
            max_connections: descriptors.api,
            header_timeout: options.connections.header_timeout,
            keep_alive: options.connections.keep_alive,
            write_timeout: options.connections.write_timeout,
        };
        metrics.set_limits(settings.max_connections, limits.admission.concurrency);
        let connections = net::connections(Some(prometheus), &settings)?;
        let monitor = RequestMonitor::default();
        let consistency = ConsistencyCheck::new(
            tickets.clone(),
            metrics.clone(),
            prometheus,
            monitor.clone(),
        )
        .await;
        let router = api::router(
            Api {
                tickets: tickets.clone(),
                guard: guard.clone(),
            },
            api::metrics(prometheus)?,
            prometheus,
            limits,
            monitor.clone(),
        );
        let (stopping, done) = (CancellationToken::new(), CancellationToken::new());
        task::spawn(logging::report_dropped());
        task::spawn(metrics::stock::refresh(tickets.clone(), metrics.clone()));
        let playback = Playback::new(faults.clone());
        let background = {
            let play = playback.clone().run();
            let steps = ops::scenario::watch(playback.clone(), metrics.clone());
            let watch = ops::faults::watch(faults.subscribe(), playback.clone(), metrics.clone());
            let watch = async move { _ = tokio::join!(watch, play, steps) };
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
            playback: playback.clone(),
            readiness: Readiness::new(tickets.clone(), Handle::current(), stopping.clone()),
        };
        let page = ops::page(&ops, &prometheus, consistency, &monitor)?;
        let guard = ops.guard.clone();
        let ops_router = ops::router(ops, prometheus);
        let ops_thread = ops::serve(
            &registry,
            ops::Port {
                listener: ops_listener,
                settings: net::Settings {
                    max_connections: descriptors.ops,
                    ..settings
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
            playback,
            scenario,
            listener,
            router,
            limits,
            settings,
            connections,
            drain: options.drain,
            ops_thread,
            done,
        })
    }

    /// Serves the API until one of `signals` arrives, drains it, and closes the database.
    ///
    /// Requests that have not ended by the queue timeout, the request timeout and a margin of two
    /// seconds are cancelled.
    ///
    /// # Errors
    ///
    /// Returns an error if the listener cannot be registered with the runtime.
    pub(crate) async fn run(self, signals: Signals) -> Result<(), Error> {
        let closing = CancellationToken::new();
        task::spawn(shut_down(
            signals,
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
        if let Some(scenario) = self.scenario {
            self.playback.start(scenario);
        }
        let serving = net::serve(
            self.listener,
            self.router,
            self.settings,
            self.connections,
            closing.clone(),
        );
        let deadline = async {
            closing.cancelled().await;
            let limits = self.limits;
            let longest = limits.admission.queue_timeout + limits.timeout;
            tokio::time::sleep(longest + SHUTDOWN_MARGIN).await;
        };
        tokio::select! {
            served = serving => served.map_err(Error::Api)?,
            () = deadline => tracing::warn!("requests did not finish in time and were cancelled"),
        }
        self.tickets.close().await;
        self.done.cancel();
        if self.ops_thread.join().is_err() {
            tracing::error!("ops thread panicked");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Waits for signals.
///
/// The first one fails readiness and, after the drain period, which gives load balancers time to
/// notice, closes the API's listener. The second one ends the drain period, and the third one exits
/// without waiting for requests.
async fn shut_down(
    mut signals: Signals,
    stopping: CancellationToken,
    closing: CancellationToken,
    drain: Duration,
) {
    let signal = signals.next().await;
    tracing::info!(signal, ?drain, "shutting down");
    // systemd and shells send SIGHUP along with SIGTERM: that is not a second request to stop.
    signals.ignore_hang_up();
    stopping.cancel();
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        signal = signals.next() => tracing::info!(signal, "drain period interrupted"),
    }
    closing.cancel();
    let signal = signals.next().await;
    tracing::warn!(signal, "exiting without waiting for requests");
    logging::shut_down();
    std::process::exit(1);
}

/// Binds `address`. `setting` names the flag that it comes from.
fn bind(address: SocketAddr, setting: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = || {
        let listener = net::bind(address)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|cause| Error::Listen {
        address,
        setting,
        cause,
    })
}
