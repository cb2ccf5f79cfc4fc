//! The `overload` command: how many purchases a server completes under overload.
//!
//! It starts `serve` as a child process, measures the most purchases per second that it completes
//! with few clients (the peak), and then the purchases with many clients that repeat a request as
//! soon as the previous one ended, refused or not, as in a retry storm. Both are measured in turns,
//! so that other load on the machine affects them alike.

mod clients;
mod probes;
mod report;
mod server;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::net::Descriptors;
use crate::output;
use crate::signal::{self, Signals};
use clients::Clients;
use probes::Probes;
use report::{Purchases, Report, Round};
use server::Server;

/// Numbers of clients with which the peak is measured.
const PEAK_CLIENTS: [u32; 3] = [16, 64, 256];
/// Time between the first response to every client and the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest time to wait for the first response to every client before the measurement begins.
const MAX_WARM_UP: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "--clients {clients} is more than the open file limit allows, at most {max}: raise the limit with \
         `ulimit -n`, or use fewer clients"
    )]
    OpenFiles { clients: u32, max: usize },
    #[error("cannot start the server")]
    Start(#[source] io::Error),
    #[error("the server has ended")]
    Ended,
    #[error("{address} does not respond as expected: {problem}")]
    Unexpected {
        address: SocketAddr,
        problem: String,
    },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    #[error(transparent)]
    Signals(#[from] signal::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Runs the measurement and prints its report.
///
/// # Errors
///
/// Returns an error if the open file limit is too low for the clients, or the server cannot be started
/// or does not respond.
pub(crate) async fn run(options: config::Overload) -> Result<(), Error> {
    let (clients, max) = (
        options.clients,
        Descriptors::divide(options.clients as usize).api,
    );
    if max < clients as usize {
        return Err(Error::OpenFiles { clients, max });
    }
    let mut signals = Signals::listen()?;
    let json = options.json;
    // A separate thread: the server and the clients get one core each.
    let (report, mut reported) = oneshot::channel();
    let interrupted = CancellationToken::new();
    let measuring = std::thread::Builder::new().name("clients".into());
    let measuring = measuring.spawn({
        let interrupted = interrupted.clone();
        move || _ = report.send(measure(&options, &interrupted))
    });
    measuring.map_err(Error::Thread)?;
    let report = tokio::select! {
        report = &mut reported => report,
        signal = signals.next() => {
            interrupted.cancel();
            // Ends the server, too.
            let _ = reported.await;
            return Err(Error::Interrupted(signal));
        }
    };
    let report = report.map_err(|_| Error::Ended)??;
    if json {
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        return Ok(output::write(&format!("{json}\n"))?);
    }
    Ok(output::write(&report.to_string())?)
}

fn measure(options: &config::Overload, interrupted: &CancellationToken) -> Result<Report, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let measuring = async {
        let cores = server::cores();
        server::pin(cores.first());
        let server = Server::start(options)?;
        server::pin(cores.last());
        let mut report = Report::new(options, cores.len() > 1);
        for _ in 0..options.rounds {
            report.rounds.push(round(&server, options).await?);
        }
        Ok(report)
    };
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            report = measuring => report,
            () = interrupted.cancelled() => Err(Error::Ended),
        }
    })
}

/// Measures the peak and the storm.
async fn round(server: &Server, options: &config::Overload) -> Result<Round, Error> {
    let request = server.new_purchase().await?;
    let mut peak = Purchases::default();
    for clients in PEAK_CLIENTS {
        let clients = clients.min(options.clients);
        let (rates, purchases, running) = load(server, &request, clients, options.duration).await;
        drop((rates, running));
        if purchases.per_s > peak.per_s {
            peak = purchases;
        }
    }
    let probes = Probes::start(server.ops).map_err(Error::Thread)?;
    let (rates, storm, running) = load(server, &request, options.clients, options.duration).await;
    let memory = server.memory();
    let probes = probes.stop();
    drop(running);
    let recovery = server.recovered(&request).await?;
    Ok(Round {
        peak,
        storm,
        refused_per_s: rates.refused(),
        failed_per_s: rates.failed(),
        probes,
        rss_mb: memory.map(|bytes| bytes as f64 / 1e6),
        recovery_s: recovery.as_secs_f64(),
    })
}

async fn load(
    server: &Server,
    request: &[u8],
    clients: u32,
    duration: Duration,
) -> (clients::Rates, Purchases, Clients) {
    let running = Clients::start(server.api, request, clients);
    let _ = tokio::time::timeout(MAX_WARM_UP, running.connected()).await;
    tokio::time::sleep(WARM_UP).await;
    let (measuring, cpu) = (running.measure(), server.cpu_time());
    tokio::time::sleep(duration).await;
    let rates = measuring.rates();
    let cpu = server.cpu_time().zip(cpu).map(|(now, before)| now - before);
    let purchases = Purchases {
        clients,
        per_s: rates.purchases(),
        per_cpu_s: cpu.map(|cpu| rates.created() as f64 / cpu.as_secs_f64()),
    };
    (rates, purchases, running)
}
