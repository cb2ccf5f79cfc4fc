use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use sqlx::{Database, Pool, pool::PoolConnection};

use super::{Failure, PoolState, Probe};

/// A pool of connections, watched.
pub(super) struct Connections<DB: Database> {
    pub(super) name: &'static str,
    pub(super) pool: Pool<DB>,
    pub(super) probe: Probe,
}

impl<DB: Database> Connections<DB> {
    pub(super) async fn acquire(&self) -> Result<Held<DB>, Failure> {
        let begun = Instant::now();
        let connection = self.pool.acquire().await;
        self.probe
            .observer
            .connection_wait(self.name, begun.elapsed());
        let connection = connection.map_err(|error| match error {
            // The pool tries to connect until time is up, and does not say so.
            sqlx::Error::PoolTimedOut if self.probe.health.is_down() => {
                io::Error::new(io::ErrorKind::ConnectionRefused, "the database is gone").into()
            }
            error => error,
        })?;
        Ok(Held(Some(connection)))
    }

    pub(super) fn state(&self) -> PoolState {
        let open = self.pool.size();
        let idle = u32::try_from(self.pool.num_idle()).map_or(open, |idle| idle.min(open));
        PoolState {
            name: self.name,
            used: open - idle,
            idle,
            max: self.pool.options().get_max_connections(),
        }
    }
}

/// A connection, ours alone until dropped. It goes back to the pool by [`done`](Self::done) alone:
/// one that broke, or whose user left before the answer, is closed, because the pool would wait for
/// that answer without end.
pub(super) struct Held<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Held<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        self.0
            .as_mut()
            .expect("the connection is here until it is given back")
    }

    /// Gives the connection back, or closes it where it broke.
    pub(super) fn done<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        let broke = matches!(&result, Err(failure) if failure.lost_the_connection());
        if !broke {
            drop(self.0.take());
        }
        result
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// When the database was last heard of.
#[derive(Debug)]
pub(super) struct Health {
    /// What the times below count from.
    begun: Instant,
    /// Microseconds; 0: never.
    lost: AtomicU64,
    answered: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            lost: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }
}

impl Health {
    pub(super) fn note<T>(&self, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.answered.store(self.now(), Relaxed),
            Err(failure) if failure.lost_the_connection() => self.lost.store(self.now(), Relaxed),
            Err(_) => {}
        }
    }

    /// Whether a connection that nobody has used for so long was open when one was last lost: a
    /// server that goes away takes all of them with it.
    pub(super) fn doubts(&self, idle: Duration) -> bool {
        let lost = self.lost.load(Relaxed);
        let idle = u64::try_from(idle.as_micros()).unwrap_or(u64::MAX);
        lost > 0 && self.now().saturating_sub(idle) <= lost
    }

    fn is_down(&self) -> bool {
        self.lost.load(Relaxed) > self.answered.load(Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_open_at_the_last_loss_is_doubted_and_what_was_opened_since_is_not() {
        let health = Health::default();
        assert!(!health.doubts(Duration::ZERO));
        health.note::<()>(&Err(sqlx::Error::WorkerCrashed.into()));
        assert!(health.is_down());
        assert!(health.doubts(Duration::from_secs(1)));
        while health.now() == health.lost.load(Relaxed) {}
        assert!(!health.doubts(Duration::ZERO));
        health.note(&Ok(()));
        assert!(!health.is_down());
    }
}
