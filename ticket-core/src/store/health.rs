//! State of the database, derived from recent operations.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Failure, failure::Class};

/// The interval in which each class of failures is logged at most once.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a failed write counts before a ping tests writes, which is expensive on a full disk.
const WRITE_FAILURE_HOLD: Duration = Duration::from_secs(2);

/// State of the database as seen by recent operations.
#[derive(Debug)]
pub(super) struct Health {
    /// Origin of the times below, which are in microseconds; 0 is never.
    base: Instant,
    /// When a connection broke last.
    lost: AtomicU64,
    /// When an operation succeeded last.
    answered: AtomicU64,
    /// The failure of the last write and its time, if it suggests that the next write fails too.
    write_failure: Mutex<Option<(Failure, Instant)>>,
    log: [LogLimit; Class::COUNT],
    diagnoses: LogLimit,
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
            write_failure: Mutex::new(None),
            log: Default::default(),
            diagnoses: LogLimit::default(),
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
            Ok(_) => *self.write_failure() = None,
            Err(failure) if failure.stops_writes() => {
                *self.write_failure() = Some((failure.clone(), Instant::now()));
            }
            Err(_) => {}
        }
    }

    /// Returns whether a ping has to test writes, because they have failed and none has succeeded
    /// since.
    ///
    /// # Errors
    /// The failure of the last write, if it is less than [`WRITE_FAILURE_HOLD`] ago.
    pub(super) fn must_test_writes(&self) -> Result<bool, Failure> {
        match &*self.write_failure() {
            None => Ok(false),
            Some((failure, at)) if at.elapsed() < WRITE_FAILURE_HOLD => Err(failure.clone()),
            Some(_) => Ok(true),
        }
    }

    fn write_failure(&self) -> MutexGuard<'_, Option<(Failure, Instant)>> {
        self.write_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    /// Returns whether a diagnostic connection may be opened, at most one every [`LOG_INTERVAL`].
    pub(super) fn may_diagnose(&self) -> bool {
        self.diagnoses.admit(self.now()).is_some()
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

    /// Returns the current time, at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).map_or(u64::MAX, |now| now.saturating_add(1))
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
    fn a_failed_write_counts_until_one_succeeds() {
        let health = Health::default();
        health.record_write::<()>(&Err(Failure::Injected));
        assert!(matches!(health.must_test_writes(), Ok(false)));
        health.record_write::<()>(&Err(sqlx::Error::PoolTimedOut.into()));
        assert!(health.must_test_writes().is_err());
        health.record_write(&Ok(()));
        assert!(matches!(health.must_test_writes(), Ok(false)));
    }
}
