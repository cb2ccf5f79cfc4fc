//! Breaks off what SQLite works on for too long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::SqliteConnection;

/// When a statement is broken off. SQLite asks, because it has no time limit of its own.
#[derive(Debug)]
pub(super) struct Deadline {
    begun: Instant,
    /// Microseconds since then.
    at: AtomicU64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            at: AtomicU64::new(u64::MAX),
        }
    }
}

impl Deadline {
    /// Steps of SQLite's machine between two questions, a fraction of a millisecond.
    const STEPS: i32 = 10_000;

    /// From now on SQLite asks, as it works for this connection.
    pub(super) async fn watch(
        self: &Arc<Self>,
        writer: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let deadline = self.clone();
        writer
            .lock_handle()
            .await?
            .set_progress_handler(Self::STEPS, move || {
                micros(deadline.begun.elapsed()) < deadline.at.load(Relaxed)
            });
        Ok(())
    }

    /// What begins now has so much time.
    pub(super) fn set(&self, time: Duration) {
        let at = micros(self.begun.elapsed().saturating_add(time));
        self.at.store(at, Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
