//! Options of a platform.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Commit, Observer, policy::Faults};

/// Options for [`Tickets::open`](crate::Tickets::open).
#[derive(Clone)]
pub struct Options {
    /// How purchases are committed at first. Defaults to [`Commit::Group`].
    pub commit: Commit,
    /// The faults to inject. Defaults to none.
    pub faults: Faults,
    /// Receiver of events. Defaults to none.
    pub observer: Arc<dyn Observer>,
    /// Maximum number of connections to PostgreSQL, or of reading connections to SQLite. Defaults
    /// to 16. Each of the latter caches up to 256 KiB of pages.
    pub connections: u32,
    /// Locks a SQLite file: no other process can open it with this option until this one has closed it
    /// or has ended, even if killed. The lock is on an empty file next to the database, with the suffix
    /// `-lock`, which is not deleted. Has no effect on PostgreSQL. Defaults to `false`.
    pub exclusive: bool,
    /// Maximum number of pending writes; more are rejected with [`Error::Overloaded`]. Each takes up
    /// to about 4 kB. Defaults to 4096.
    ///
    /// [`Error::Overloaded`]: crate::Error::Overloaded
    pub queue: u32,
    /// How long to wait for a connection. Defaults to 3 s.
    pub connection_timeout: Duration,
    /// How long to wait for a lock in the database. Defaults to 5 s.
    pub lock_timeout: Duration,
    /// How long a statement may run; with SQLite, the statements of a transaction together.
    /// Defaults to 10 s.
    pub statement_timeout: Duration,
    /// How long transient failures, such as a serialization failure, a deadlock or a lost
    /// connection, are retried where that is safe. Defaults to 3 s.
    pub retry_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit: Commit::default(),
            faults: Faults::calm(),
            observer: Arc::new(()),
            connections: 16,
            exclusive: false,
            queue: 4096,
            connection_timeout: Duration::from_secs(3),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(3),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("commit", &self.commit)
            .field("connections", &self.connections)
            .field("exclusive", &self.exclusive)
            .field("queue", &self.queue)
            .field("connection_timeout", &self.connection_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("retry_timeout", &self.retry_timeout)
            .finish_non_exhaustive()
    }
}
