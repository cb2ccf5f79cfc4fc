//! What recent operations say about the state of the database.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{Failure, failure::Class};

/// The interval in which each class of failures is logged at most once.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// State of the database as seen by recent operations.
#[derive(Debug)]
pub(super) struct Health {
    /// Origin of the times below, which are in microseconds; 0 is never.
    base: Instant,
    /// When a connection broke last.
    lost: AtomicU64,
    /// When an operation succeeded last.
    answered: AtomicU64,
    /// Whether the last write failed in a way that suggests that the next one will too.
    writes_fail: AtomicBool,
    log: [LogLimit; Class::COUNT],
}

/// Rate limit of the log lines of one class.
#[derive(Debug, Default)]
struct LogLimit {
    /// Until when lines are suppressed.
    until: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            lost: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            writes_fail: AtomicBool::new(false),
            log: Default::default(),
        }
    }
}

impl Health {
    /// Records the result of an operation.
    pub(super) fn record<T>(&self, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.answered.store(self.now(), Relaxed),
            Err(failure) if failure.breaks_connection() => self.lost.store(self.now(), Relaxed),
            Err(_) => {}
        }
    }

    /// Records the result of a write.
    pub(super) fn record_write<T>(&self, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.writes_fail.store(false, Relaxed),
            Err(failure) if failure.stops_writes() => self.writes_fail.store(true, Relaxed),
            Err(_) => {}
        }
    }

    /// Returns whether writes have failed and none has succeeded since.
    pub(super) fn writes_fail(&self) -> bool {
        self.writes_fail.load(Relaxed)
    }

    /// Returns whether a connection that has been idle for `idle` was already open when a
    /// connection broke last: a server that goes away breaks all of them.
    pub(super) fn is_suspect(&self, idle: Duration) -> bool {
        let lost = self.lost.load(Relaxed);
        let idle = u64::try_from(idle.as_micros()).unwrap_or(u64::MAX);
        lost > 0 && self.now().saturating_sub(idle) <= lost
    }

    /// Returns whether a connection broke and no operation has succeeded since.
    pub(super) fn is_down(&self) -> bool {
        self.lost.load(Relaxed) > self.answered.load(Relaxed)
    }

    /// Logs a failure of `operation`, at most one line per class every [`LOG_INTERVAL`].
    pub(super) fn log(&self, system: &'static str, operation: &'static str, failure: &Failure) {
        let class = match failure.class() {
            // Injected failures and a closed pool are intended, conflicts are part of normal work.
            None | Some(Class::Closed) => return,
            Some(Class::Conflict) => {
                tracing::debug!(system, operation, error = %failure, "database transaction rolled back");
                return;
            }
            Some(class) => class,
        };
        let Some(suppressed) = self.log[class as usize].admit(self.now()) else {
            return;
        };
        tracing::error!(system, operation, error = %failure, suppressed, "database operation failed");
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl LogLimit {
    /// Returns how many lines were suppressed since the last one, if a line may be written now.
    fn admit(&self, now: u64) -> Option<u64> {
        let until = self.until.load(Relaxed);
        let next = now.saturating_add(LOG_INTERVAL.as_micros() as u64);
        let admitted = now >= until
            && self
                .until
                .compare_exchange(until, next, Relaxed, Relaxed)
                .is_ok();
        if admitted {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_were_open_during_the_last_loss_are_suspect() {
        let health = Health::default();
        assert!(!health.is_suspect(Duration::ZERO));
        health.record::<()>(&Err(sqlx::Error::WorkerCrashed.into()));
        assert!(health.is_down());
        assert!(health.is_suspect(Duration::from_secs(1)));
        while health.now() == health.lost.load(Relaxed) {}
        assert!(!health.is_suspect(Duration::ZERO));
        health.record(&Ok(()));
        assert!(!health.is_down());
    }

    #[test]
    fn a_class_of_failures_is_logged_once_per_interval_with_the_number_of_suppressed_lines() {
        let limit = LogLimit::default();
        let interval = LOG_INTERVAL.as_micros() as u64;
        assert_eq!(limit.admit(1), Some(0));
        assert_eq!(limit.admit(2), None);
        assert_eq!(limit.admit(interval), None);
        assert_eq!(limit.admit(interval + 1), Some(2));
        assert_eq!(limit.admit(interval + 2), None);
    }

    #[test]
    fn writes_fail_until_one_succeeds() {
        let health = Health::default();
        health.record_write::<()>(&Err(Failure::Injected));
        assert!(!health.writes_fail());
        health.record_write::<()>(&Err(sqlx::Error::PoolTimedOut.into()));
        assert!(health.writes_fail());
        health.record_write(&Ok(()));
        assert!(!health.writes_fail());
    }
}
