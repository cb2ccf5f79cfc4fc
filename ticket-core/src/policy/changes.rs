use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};

use super::{Document, Faults};

/// Where the faults in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// They were there from the start.
    Start,
    /// A file that was read again: [`Faults::reload`].
    File,
    /// An override over HTTP or from a program: [`Faults::replace`].
    Http,
    /// What was in force expired, and what lay below it came back.
    Expiry,
}

impl Source {
    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Http => "http",
            Self::Expiry => "expiry",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A document came in force.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Its place among the changes of this handle; the document of the start is 0.
    pub number: u64,
    /// What is in force from now on.
    pub document: Arc<Document>,
    /// Where it came from.
    pub source: Source,
    /// When it came in force, by the wall clock.
    pub at: Timestamp,
    /// When it will expire, by the wall clock; `None`: it stays until it is replaced.
    pub expires_at: Option<Timestamp>,
}

/// The changes of a [`Faults`] from now on, in order.
///
/// Whoever waits here makes the expiry happen on time, even where no decision is taken.
pub struct Changes {
    faults: Faults,
    receiver: broadcast::Receiver<Change>,
}

impl Changes {
    pub(super) fn new(faults: Faults, receiver: broadcast::Receiver<Change>) -> Self {
        Self { faults, receiver }
    }

    /// Waits for the next change.
    ///
    /// Whoever lies more than 64 changes behind misses the oldest, and can tell by
    /// [`Change::number`]. Cancel safe: a change is not lost when the future is dropped.
    pub async fn next(&mut self) -> Change {
        loop {
            let expires = self.faults.expires();
            tokio::select! {
                received = self.receiver.recv() => match received {
                    Ok(change) => return change,
                    Err(RecvError::Lagged(_)) => {}
                    // Never so: `faults` holds the sender.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                () = until(expires) => self.faults.settle(),
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
