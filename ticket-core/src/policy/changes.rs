//! Notifications of changes to the active faults.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep_until},
};

use super::{Document, Faults};

/// Origin of the active faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The initial document.
    Start,
    /// A file that was reloaded with [`Faults::reload`].
    File,
    /// An override that was set over HTTP or by the program with [`Faults::replace`].
    Http,
    /// A step of a scenario that [`Playback`](super::Playback) plays, or its end.
    Scenario,
    /// The active document expired; the override gave way to the base, or the base to no faults.
    Expiry,
}

impl Source {
    /// Returns the name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Http => "http",
            Self::Scenario => "scenario",
            Self::Expiry => "expiry",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Activation of a document.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Sequence number; the initial document is 0.
    pub number: u64,
    /// The document.
    pub document: Arc<Document>,
    /// Origin of the document.
    pub source: Source,
    /// Time of the activation, by the wall clock.
    pub at: Timestamp,
    /// Time at which it expires, by the wall clock, if it does.
    pub expires_at: Option<Timestamp>,
}

/// Subscription to the changes of a [`Faults`], created by [`Faults::subscribe`].
///
/// Waiting for the next change also applies expirations on time, which otherwise happen at the next
/// decision.
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
    /// A subscriber that falls more than 64 changes behind misses the oldest ones, which shows as a
    /// gap in [`Change::number`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not lose a change.
    pub async fn next(&mut self) -> Change {
        loop {
            let expires = self.faults.expires();
            tokio::select! {
                received = self.receiver.recv() => match received {
                    Ok(change) => return change,
                    Err(RecvError::Lagged(_)) => {}
                    // `faults` keeps the sender alive.
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
