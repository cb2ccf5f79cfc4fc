//! Time limit for the statements of a SQLite connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::SqliteConnection;

/// Time at which SQLite interrupts the running statement. SQLite has no statement timeout; it calls
/// a progress handler instead.
#[derive(Debug)]
pub(super) struct Deadline {
    base: Instant,
    /// Microseconds since `base`.
    at: AtomicU64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            at: AtomicU64::new(u64::MAX),
        }
    }
}

impl Deadline {
    /// Virtual machine instructions between two calls of the handler, a fraction of a millisecond.
    const INSTRUCTIONS: i32 = 10_000;

    /// Installs the progress handler on a connection.
    pub(super) async fn install(
        self: &Arc<Self>,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let deadline = self.clone();
        connection
            .lock_handle()
            .await?
            .set_progress_handler(Self::INSTRUCTIONS, move || {
                micros(deadline.base.elapsed()) < deadline.at.load(Relaxed)
            });
        Ok(())
    }

    /// Sets the deadline to `timeout` from now.
    pub(super) fn set(&self, timeout: Duration) {
        let at = micros(self.base.elapsed().saturating_add(timeout));
        self.at.store(at, Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
