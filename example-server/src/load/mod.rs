//! The `load` command: open-loop traffic and a report.
//!
//! Requests are due at a fixed rate, no matter how fast the server responds, and each latency is
//! measured from the time at which its request was due. A stalled server is therefore charged for
//! every request that would have waited (no coordinated omission).

mod report;
mod schedule;

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config;
use crate::output::{self, write_diagnostic};
use crate::signal::{self, Signals};
use crate::task;
use crate::traffic::client::RequestError;
use crate::traffic::{Action, Traffic};
use report::Results;
use schedule::Schedule;

/// How long the command waits for a response before it prints that it waits.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{url} does not respond like the ticket platform's API")]
    Unreachable {
        url: http::Uri,
        source: RequestError,
    },
    #[error(
        "{url} has no concerts to sell: run `example-server demo`, or create one with POST /concerts"
    )]
    NoConcerts { url: http::Uri },
    #[error("{failed} of {requests} requests failed, which is more than --max-failures {allowed}")]
    Failures {
        failed: u64,
        requests: u64,
        allowed: f64,
    },
    #[error("interrupted by {0} before the first request")]
    Interrupted(&'static str),
    #[error(transparent)]
    Signals(#[from] signal::Error),
    #[error("cannot start the pacer thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Runs the load and prints its report.
///
/// # Errors
///
/// Returns an error if the server does not respond or has no concerts, or if more requests failed
/// than allowed.
pub(crate) async fn run(options: config::Load) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let traffic = Arc::new(Traffic::new(options.url.clone(), options.timeout));
    let read = tokio::select! {
        read = discover(&traffic, &options) => read?,
        signal = signals.next() => return Err(Error::Interrupted(signal)),
    };
    let seed = options.seed.unwrap_or_else(rand::random);
    let schedule = Arc::new(Schedule::new(options.rate, options.duration, options.users));
    let results = Arc::new(Mutex::new(Results::new(read)));
    let mut users = JoinSet::new();
    for _ in 0..options.users {
        let (schedule, traffic, results) = (schedule.clone(), traffic.clone(), results.clone());
        users.spawn(async move {
            while let Some(request) = schedule.next().await {
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(request));
                let action = Action::pick(&mut random, false);
                let (action, outcome) = traffic.perform(action, &mut random).await;
                let latency = schedule.due_at(request).elapsed();
                results
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .record(action, outcome, latency);
            }
        });
    }
    let (stop, stopped) = mpsc::channel();
    let (ended, end) = oneshot::channel();
    let pacer = std::thread::Builder::new().name("pacer".into());
    let pacer = pacer.spawn({
        let schedule = schedule.clone();
        move || {
            schedule.run(&stopped);
            let _ = ended.send(());
        }
    });
    let pacer = pacer.map_err(Error::Thread)?;
    let bar = task::spawn(show_progress(
        schedule.clone(),
        results.clone(),
        options.json,
    ));

    wait(&mut users, &mut signals, stop, end, options.timeout).await;
    let took = schedule.start().elapsed();
    bar.abort();
    if pacer.join().is_err() {
        write_diagnostic("the pacer thread panicked");
    }

    let results = results.lock().unwrap_or_else(PoisonError::into_inner);
    let report = results.report(&options, seed, schedule.summary(), took);
    if options.json {
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        output::write(&format!("{json}\n"))?;
    } else {
        output::write(&report.to_string())?;
    }
    let (failed, requests) = report.failures();
    if failed as f64 > requests as f64 * options.max_failures / 100.0 {
        return Err(Error::Failures {
            failed,
            requests,
            allowed: options.max_failures,
        });
    }
    Ok(())
}

/// Reads the list of concerts and returns the number of requests that were sent.
async fn discover(traffic: &Traffic, options: &config::Load) -> Result<u64, Error> {
    let discovering = traffic.discover();
    tokio::pin!(discovering);
    let discovered = tokio::select! {
        discovered = &mut discovering => discovered,
        () = tokio::time::sleep(QUIET) => {
            write_diagnostic(&format!(
                "waiting up to {:?} for a response from {}",
                options.timeout, options.url
            ));
            discovering.await
        }
    };
    let discovered = discovered.map_err(|source| Error::Unreachable {
        url: options.url.clone(),
        source,
    })?;
    if discovered.concerts == 0 {
        return Err(Error::NoConcerts {
            url: options.url.clone(),
        });
    }
    Ok(discovered.requests)
}

/// Waits until all users have ended. The first signal ends the schedule, the second one also
/// abandons the requests in flight.
async fn wait(
    users: &mut JoinSet<()>,
    signals: &mut Signals,
    stop: mpsc::Sender<()>,
    end: oneshot::Receiver<()>,
    timeout: Duration,
) {
    // Dropped by the first signal, which ends the schedule.
    let mut stop = Some(stop);
    let outstanding = async {
        let _ = end.await;
        tokio::time::sleep(QUIET).await;
    };
    tokio::pin!(outstanding);
    let mut is_quiet = true;
    loop {
        tokio::select! {
            joined = users.join_next() => match joined {
                None => break,
                Some(Err(error)) if error.is_panic() => {
                    write_diagnostic(&format!("a load task panicked: {error}"));
                }
                Some(_) => {}
            },
            signal = signals.next() => {
                if stop.take().is_none() {
                    users.abort_all();
                } else {
                    write_diagnostic(&format!("{signal}: waiting for responses; a second signal does not wait"));
                }
            }
            () = &mut outstanding, if is_quiet => {
                is_quiet = false;
                write_diagnostic(&format!("waiting up to {timeout:?} for outstanding responses"));
            }
        }
    }
}

async fn show_progress(schedule: Arc<Schedule>, results: Arc<Mutex<Results>>, json: bool) {
    if json || !io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(schedule.total()).with_style(
        ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} requests, {msg}")
            .expect("the template is valid"),
    );
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let (mut before, mut at) = (0, Instant::now());
    loop {
        tick.tick().await;
        let (completed, failed) = {
            let results = results.lock().unwrap_or_else(PoisonError::into_inner);
            (results.completed(), results.failed())
        };
        let rate = (completed - before) as f64 / at.elapsed().as_secs_f64().max(1e-3);
        (before, at) = (completed, Instant::now());
        bar.set_position(completed.min(schedule.total()));
        bar.set_message(format!("{rate:.0}/s, {failed} failed"));
    }
}
