//! The tasks that sample metrics and run checks, and the events they send.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use super::check::{Check, CheckStatus};
use super::clock::Timestamp;
use super::control::Control;
use super::sampler::Sampler;

/// Updates that a slow client may lag behind before its stream ends. The page
/// then reconnects and starts from the history.
const MAX_LAG: usize = 8;

/// Parts of a page that belong to its feed.
pub(super) struct FeedParts {
    pub(super) sampler: Sampler,
    pub(super) checks: Vec<Check>,
    pub(super) shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// State that the tasks write and the handlers read.
pub(super) struct Feed {
    sampler: Mutex<Sampler>,
    controls: Arc<[Control]>,
    checks: Mutex<Vec<CheckStatus>>,
    /// The first event of new streams, serialized at most once per sample.
    history_event: Mutex<Option<Bytes>>,
    /// `None` after shutdown.
    updates: Mutex<Option<broadcast::Sender<Bytes>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Takes the first sample and starts the tasks, which end when the set is
    /// dropped.
    pub(super) fn start(parts: FeedParts, runtime: &Handle) -> (Arc<Self>, JoinSet<()>) {
        let statuses = parts.checks.iter();
        let statuses = statuses.map(|check| check.unknown("not run yet")).collect();
        let feed = Arc::new(Self {
            controls: parts.sampler.controls(),
            sampler: Mutex::new(parts.sampler),
            checks: Mutex::new(statuses),
            history_event: Mutex::new(None),
            updates: Mutex::new(Some(broadcast::channel(MAX_LAG).0)),
        });
        let started = Instant::now();
        feed.sample(started);
        let mut checks = JoinSet::new();
        for (index, check) in parts.checks.into_iter().enumerate() {
            checks.spawn_on(run_check(feed.clone(), index, check), runtime);
        }
        let mut tasks = JoinSet::new();
        let streams = EndStreams(feed.clone());
        tasks.spawn_on(sample(streams, started, parts.shutdown, checks), runtime);
        (feed, tasks)
    }

    pub(super) fn sampler(&self) -> MutexGuard<'_, Sampler> {
        lock(&self.sampler)
    }

    fn sample(&self, started: Instant) {
        let checks = lock(&self.checks).clone();
        // Before the lock: a control that blocks must not block the handlers, too.
        let values = self.controls.iter().map(Control::current).collect();
        let mut sampler = self.sampler();
        let stepped = sampler.sample(Timestamp::now(started), checks, values);
        let mut history_event = lock(&self.history_event);
        history_event.take();
        if let Some(updates) = &*lock(&self.updates)
            && updates.receiver_count() > 0
        {
            let event = if stepped {
                history_event.insert(history(&sampler)).clone()
            } else {
                event("update", &sampler.now_json())
            };
            // The only error is that the last receiver has just been dropped.
            let _ = updates.send(event);
        }
    }

    /// Returns the history event and a receiver of all later events, or `None`
    /// after shutdown.
    pub(super) fn subscribe(&self) -> Option<(Bytes, broadcast::Receiver<Bytes>)> {
        // Held so that no sample falls between the history and the first update.
        let sampler = self.sampler();
        let updates = lock(&self.updates).as_ref()?.subscribe();
        let mut history_event = lock(&self.history_event);
        let history = history_event.get_or_insert_with(|| history(&sampler));
        Some((history.clone(), updates))
    }
}

/// Ends all event streams when the sampling task ends for any reason: a
/// graceful shutdown of the server waits for them.
struct EndStreams(Arc<Feed>);

impl Drop for EndStreams {
    fn drop(&mut self) {
        lock(&self.0.updates).take();
    }
}

async fn sample(
    streams: EndStreams,
    started: Instant,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    checks: JoinSet<()>,
) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at((started + second).into(), second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let sampling = async {
        loop {
            ticks.tick().await;
            streams.0.sample(started);
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = sampling => {}
    }
    drop(checks);
}

async fn run_check(feed: Arc<Feed>, index: usize, check: Check) {
    let mut ticks = interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = check.run().await;
        lock(&feed.checks)[index] = status;
    }
}

fn history(sampler: &Sampler) -> Bytes {
    event("history", &sampler.history_json(None).unwrap_or_default())
}

fn event(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}
