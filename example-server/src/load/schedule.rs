//! Schedule of a run: the time at which each request is due, and the requests that have been sent.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How long a request that is due may wait for a free user after the last one became due.
const GRACE: Duration = Duration::from_secs(10);

/// Requests that become due at a fixed rate and are sent by a fixed number of users.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    period: Duration,
    total: u64,
    users: u32,
    /// One permit for each request that is due and not yet sent, plus one per user once the
    /// schedule has ended. Never closed: closing would discard permits that are already assigned.
    due: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that became due.
    due: u64,
    sent: u64,
    /// Number of the first request that is not sent, once the schedule has ended.
    end: Option<u64>,
    interrupted: bool,
}

/// Numbers of requests that were sent and not sent, after the end of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) sent: u64,
    /// Requests that were due, but found no free user within the grace period.
    pub(super) unsent: u64,
    /// Requests that were not sent because the run was interrupted.
    pub(super) skipped: u64,
}

impl Schedule {
    pub(super) fn new(rate: f64, duration: Duration, users: u32) -> Self {
        Self {
            start: Instant::now() + Duration::from_millis(10),
            period: Duration::from_secs_f64(1.0 / rate),
            total: (rate * duration.as_secs_f64()).round().max(1.0) as u64,
            users,
            due: Semaphore::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Returns the time at which a request is due.
    pub(super) fn due_at(&self, request: u64) -> Instant {
        self.start + Duration::from_nanos((self.period.as_nanos() * u128::from(request)) as u64)
    }

    /// Waits for the next request that is due and returns its number, or `None` after the end.
    pub(super) async fn next(&self) -> Option<u64> {
        let permit = self.due.acquire().await;
        permit.expect("the semaphore is never closed").forget();
        let mut state = self.state();
        let request = state.sent;
        if state.end == Some(request) {
            return None;
        }
        state.sent += 1;
        Some(request)
    }

    /// Makes requests due on time, until the last one or until `stop` has a message or no sender.
    ///
    /// Blocks the thread: the timers of the runtime are rounded up to whole milliseconds, which
    /// would count as latency.
    pub(super) fn run(&self, stop: &Receiver<()>) {
        let is_stopped = |wait| stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        let mut interrupted = false;
        for request in 0..self.total {
            let wait = self
                .due_at(request)
                .saturating_duration_since(Instant::now());
            if is_stopped(wait) {
                interrupted = true;
                break;
            }
            self.state().due += 1;
            self.due.add_permits(1);
        }
        let deadline = Instant::now() + GRACE;
        while !interrupted && self.due.available_permits() > 0 && Instant::now() < deadline {
            interrupted = is_stopped(Duration::from_millis(1));
        }
        let mut state = self.state();
        // A permit that is no longer available is assigned to a user, which is about to send.
        let waiting = self.due.available_permits() as u64;
        state.end = Some(state.due.saturating_sub(waiting).max(state.sent));
        state.interrupted = interrupted;
        drop(state);
        self.due.add_permits(self.users as usize);
    }

    /// Returns the summary. It is final once [`next`](Self::next) has returned `None` to all users.
    pub(super) fn summary(&self) -> Summary {
        let state = self.state();
        let (unsent, skipped) = match state.interrupted {
            true => (0, self.total - state.sent),
            false => (state.due - state.sent, 0),
        };
        Summary {
            sent: state.sent,
            unsent,
            skipped,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    async fn send_all(schedule: &Arc<Schedule>) -> u64 {
        let mut sent = 0;
        while schedule.next().await.is_some() {
            sent += 1;
        }
        sent
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_request_that_is_due_is_sent() {
        for _ in 0..100 {
            let schedule = Arc::new(Schedule::new(1e6, Duration::from_micros(50), 4));
            let users: Vec<_> = (0..4)
                .map(|_| {
                    let schedule = schedule.clone();
                    tokio::spawn(async move { send_all(&schedule).await })
                })
                .collect();
            let (_stop, stopped) = mpsc::channel();
            let pacer = schedule.clone();
            std::thread::spawn(move || pacer.run(&stopped))
                .join()
                .unwrap();
            let mut sent = 0;
            for user in users {
                sent += user.await.unwrap();
            }
            assert_eq!(sent, 50);
            let expected = Summary {
                sent,
                unsent: 0,
                skipped: 0,
            };
            assert_eq!(schedule.summary(), expected);
        }
    }

    #[tokio::test]
    async fn an_interrupted_schedule_leaves_no_request_unsent() {
        let schedule = Arc::new(Schedule::new(1e6, Duration::from_secs(60), 1));
        let (stop, stopped) = mpsc::channel();
        drop(stop);
        schedule.run(&stopped);
        assert_eq!(send_all(&schedule).await, 0);
        let expected = Summary {
            sent: 0,
            unsent: 0,
            skipped: 60_000_000,
        };
        assert_eq!(schedule.summary(), expected);
    }
}
