//! Task that measures how late a runtime runs it.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::Sleep;

/// Time between two deadlines.
const INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of missed deadlines that are recorded at once: those of an hour.
const MAX_MISSED: u32 = 36_000;

/// Bucket bounds of the delay in seconds.
pub(super) const BOUNDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Value of [`Delay::due`] if there is no task.
const NEVER: u64 = u64::MAX;

/// Delays of a runtime. The task is the only writer.
#[derive(Debug)]
pub(super) struct Delay {
    /// Time that [`due`](Self::due) refers to.
    base: Instant,
    /// Next deadline of the task, in nanoseconds since the base.
    due: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
    /// Sum in nanoseconds.
    sum: AtomicU64,
}

impl Delay {
    /// Spawns the task, which ends when the returned value is dropped.
    #[track_caller]
    pub(super) fn measure(runtime: &Handle) -> Arc<Self> {
        let (base, first) = {
            let _context = runtime.enter();
            let base = now();
            (base, tokio::time::sleep_until((base + INTERVAL).into()))
        };
        let delay = Arc::new(Self {
            base,
            due: AtomicU64::new(nanos(INTERVAL)),
            buckets: Default::default(),
            sum: AtomicU64::new(0),
        });
        let task = Task {
            delay: Arc::downgrade(&delay),
        };
        runtime.spawn(task.run(base + INTERVAL, first));
        delay
    }

    /// Records a delay for each deadline that has passed, and returns the next one.
    fn record(&self, mut due: Instant, now: Instant) -> Instant {
        let mut missed = 0;
        while due <= now && missed < MAX_MISSED {
            self.observe(now - due);
            due += INTERVAL;
            missed += 1;
        }
        if due <= now {
            due = now + INTERVAL;
        }
        self.due.store(nanos(due - self.base), Ordering::Relaxed);
        due
    }

    fn observe(&self, delay: Duration) {
        let seconds = delay.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos(delay), Ordering::Relaxed);
    }

    /// Returns the count of each bucket, and the sum in seconds.
    pub(super) fn histogram(&self) -> ([u64; BUCKETS], f64) {
        let buckets = self.buckets.each_ref();
        let buckets = buckets.map(|bucket| bucket.load(Ordering::Relaxed));
        (buckets, self.sum.load(Ordering::Relaxed) as f64 / 1e9)
    }

    /// Returns for how long the task has been due, or `None` if it has ended.
    pub(super) fn blocked(&self) -> Option<Duration> {
        // The clock first: otherwise, a scrape that is preempted in between reports a block.
        let now = self.base.elapsed();
        let due = self.due.load(Ordering::Relaxed);
        (due != NEVER).then(|| now.saturating_sub(Duration::from_nanos(due)))
    }
}

/// Returns the time of the runtime's timer, whose clock tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

struct Task {
    delay: Weak<Delay>,
}

impl Task {
    async fn run(self, mut due: Instant, sleep: Sleep) {
        let mut sleep: Pin<&mut Sleep> = pin!(sleep);
        loop {
            sleep.as_mut().await;
            let Some(delay) = self.delay.upgrade() else {
                return;
            };
            due = delay.record(due, now());
            sleep.as_mut().reset(due.into());
        }
    }
}

/// The runtime drops the task when it shuts down.
impl Drop for Task {
    fn drop(&mut self) {
        if let Some(delay) = self.delay.upgrade() {
            delay.due.store(NEVER, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay() -> Delay {
        Delay {
            base: Instant::now(),
            due: AtomicU64::new(NEVER),
            buckets: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    #[test]
    fn each_missed_deadline_has_a_delay() {
        let delay = delay();
        let due = delay.base + INTERVAL;
        let next = delay.record(due, due + Duration::from_millis(250));
        assert_eq!(next, due + 3 * INTERVAL);
        // 250, 150 and 50 ms.
        let (buckets, sum) = delay.histogram();
        let of = |bound: f64| buckets[BOUNDS.iter().position(|b| *b == bound).unwrap()];
        assert_eq!([of(0.05), of(0.1), of(0.25)], [1, 0, 2]);
        assert_eq!(buckets.iter().sum::<u64>(), 3);
        assert_eq!(sum, 0.45);
    }

    #[test]
    fn deadlines_of_more_than_an_hour_are_not_made_up_for() {
        let delay = delay();
        let due = delay.base + INTERVAL;
        let now = due + Duration::from_secs(24 * 3600);
        assert_eq!(delay.record(due, now), now + INTERVAL);
        let (buckets, _) = delay.histogram();
        assert_eq!(buckets.iter().sum::<u64>(), u64::from(MAX_MISSED));
    }
}
