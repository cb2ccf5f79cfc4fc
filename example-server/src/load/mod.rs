//! The `load` command: open-loop traffic against a server, and a report.
//!
//! Requests are due at a fixed rate, whatever the server makes of them, and each latency counts
//! from when its request was due. A server that stalls is therefore charged for all who would
//! have waited (no coordinated omission).

mod report;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Semaphore;

use crate::config;
use crate::traffic::client::Failure;
use crate::traffic::{Action, Traffic};
use report::Tally;

/// How long requests that were due in time may still wait for a free user.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{url} does not answer as the ticket platform's API")]
    Unreachable { url: http::Uri, source: Failure },
    #[error(
        "{url} has no concerts to sell: start `example-server demo`, or create one with POST /concerts"
    )]
    NoConcerts { url: http::Uri },
    #[error("the thread that paces the requests cannot start")]
    Thread(#[from] std::io::Error),
}

/// The requests of one run: when each is due, and who has taken it.
#[derive(Debug)]
struct Schedule {
    start: Instant,
    period: Duration,
    total: u64,
    /// One permit for each request that is due and not taken.
    due: Semaphore,
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Schedule {
    fn at(&self, request: u64) -> Instant {
        self.start + Duration::from_nanos((self.period.as_nanos() * u128::from(request)) as u64)
    }

    /// The next due request's number, or `None` when there are no more.
    async fn next(&self) -> Option<u64> {
        self.due.acquire().await.ok()?.forget();
        Some(self.taken.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets requests become due. On a thread of its own, because the runtime's timers round up
    /// to whole milliseconds, which would count as latency.
    fn pace(&self) {
        for request in 0..self.total {
            let wait = self.at(request).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            self.due.add_permits(1);
        }
        let deadline = Instant::now() + GRACE;
        while self.due.available_permits() > 0
            && Instant::now() < deadline
            && !self.stopped.load(Ordering::Relaxed)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.due.close();
    }
}

/// Runs the load and prints its report.
///
/// # Errors
/// When the server does not answer at all, or has nothing to sell.
pub(crate) async fn run(options: config::Load) -> Result<(), Error> {
    let traffic = Arc::new(Traffic::new(options.url.clone()));
    let discovered = traffic
        .discover()
        .await
        .map_err(|source| Error::Unreachable {
            url: options.url.clone(),
            source,
        })?;
    if discovered.concerts == 0 {
        return Err(Error::NoConcerts { url: options.url });
    }
    let seed = options.seed.unwrap_or_else(rand::random);
    let schedule = Arc::new(Schedule {
        start: Instant::now() + Duration::from_millis(10),
        period: Duration::from_secs_f64(1.0 / options.rate),
        total: (options.rate * options.duration.as_secs_f64())
            .round()
            .max(1.0) as u64,
        due: Semaphore::new(0),
        taken: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    });
    let tally = Arc::new(Mutex::new(Tally::new(discovered.pages)));

    let users: Vec<_> = (0..options.users)
        .map(|_| {
            let (schedule, traffic, tally) = (schedule.clone(), traffic.clone(), tally.clone());
            tokio::spawn(async move {
                while let Some(request) = schedule.next().await {
                    let mut random = StdRng::seed_from_u64(seed.wrapping_add(request));
                    let action = Action::pick(&mut random, false);
                    let (action, end) = traffic.perform(action, &mut random).await;
                    let latency = schedule.at(request).elapsed();
                    tally
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .count(action, end, latency);
                }
            })
        })
        .collect();
    let pacer = std::thread::Builder::new().name("pacer".into()).spawn({
        let schedule = schedule.clone();
        move || schedule.pace()
    })?;
    let bar = tokio::spawn(show_progress(schedule.clone(), tally.clone(), options.json));
    let stop = tokio::spawn({
        let schedule = schedule.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                schedule.stopped.store(true, Ordering::Relaxed);
            }
        }
    });

    for user in users {
        if let Err(error) = user.await {
            tracing::error!(%error, "a user of the load stopped");
        }
    }
    let took = schedule.start.elapsed();
    let sent = schedule.taken.load(Ordering::Relaxed);
    schedule.stopped.store(true, Ordering::Relaxed);
    stop.abort();
    bar.abort();
    if pacer.join().is_err() {
        tracing::error!("the thread that paces the requests stopped");
    }

    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let report = tally.report(
        &options,
        seed,
        schedule.total - sent.min(schedule.total),
        took,
    );
    if options.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).expect("a report is plain data")
        );
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn show_progress(schedule: Arc<Schedule>, tally: Arc<Mutex<Tally>>, json: bool) {
    if json || !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(schedule.total).with_style(
        ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} requests, {msg}")
            .expect("the template is valid"),
    );
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let (mut before, mut at) = (0, Instant::now());
    loop {
        tick.tick().await;
        let (ended, failed) = {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            (tally.ended(), tally.failed())
        };
        let rate = (ended - before) as f64 / at.elapsed().as_secs_f64().max(1e-3);
        (before, at) = (ended, Instant::now());
        bar.set_position(ended.min(schedule.total));
        bar.set_message(format!("{rate:.0}/s, {failed} failed"));
    }
}
