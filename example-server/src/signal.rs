//! Signals that shut the server down.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signal handlers that cannot be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install signal handlers")]
pub(crate) struct Error(#[source] io::Error);

/// Stream of SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal closed). All of them shut the server
/// down gracefully.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    hang_up: Signal,
    #[cfg(unix)]
    ignores_hang_up: bool,
}

impl Signals {
    /// Registers the signal handlers. Signals that arrive between two calls of [`next`](Self::next)
    /// are delivered by the next one.
    ///
    /// Called before anything else, because the kernel ignores signals without a handler that are
    /// sent to process 1 of a container.
    ///
    /// # Errors
    /// Returns an error when a handler cannot be installed.
    pub(crate) fn listen() -> Result<Self, Error> {
        Self::install().map_err(Error)
    }

    fn install() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
            #[cfg(unix)]
            hang_up: signal(SignalKind::hangup())?,
            #[cfg(unix)]
            ignores_hang_up: false,
        })
    }

    /// Ignores SIGHUP from now on.
    pub(crate) fn ignore_hang_up(&mut self) {
        #[cfg(unix)]
        {
            self.ignores_hang_up = true;
        }
    }

    /// Waits for the next signal and returns its name.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv(), if !self.ignores_hang_up => "SIGHUP",
        }
    }

    /// Waits for the next signal and returns its name.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
