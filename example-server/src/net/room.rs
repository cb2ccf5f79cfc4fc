//! Room for new connections at the connection limit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tower_metrics::Prometheus;
use tower_metrics::connections::ConnectionListener;

use super::{Connections, Io, RateLimit};

/// Interval at which idle connections are asked to close at the limit.
const RECYCLE_INTERVAL: Duration = Duration::from_millis(10);
/// How long new connections wait for another one to close before they are rejected. Longer than an
/// idle connection takes to be recognized and to close.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Accepts connections, and makes room for them at the limit.
///
/// New connections wait in the listen backlog while idle ones close. If none has closed for
/// [`MAX_WAIT`], those that wait are rejected until one closes: their clients can turn to another
/// server.
#[derive(Debug)]
pub(super) struct Room {
    connections: Connections,
    max: usize,
    /// Asks one connection at a time to close if it is idle.
    recycle: Arc<Notify>,
    /// Since when a connection waits for room.
    full_since: Option<Instant>,
    limit_reached: RateLimit,
}

impl Room {
    pub(super) fn new(connections: Connections, max: usize, recycle: Arc<Notify>) -> Self {
        Self {
            connections,
            max,
            recycle,
            full_since: None,
            limit_reached: RateLimit::default(),
        }
    }

    /// Accepts the next connection. No connection is lost if the future is dropped.
    pub(super) async fn accept(
        &mut self,
        listener: &mut ConnectionListener<TcpListener, Option<Prometheus>>,
    ) -> Io {
        while self.is_full() && !self.is_wait_over() {
            self.recycle_after_interval().await;
        }
        // At the limit, the listener rejects connections.
        let mut accept = pin!(listener.accept());
        loop {
            let is_full = self.is_full();
            tokio::select! {
                biased;
                (io, _) = accept.as_mut() => {
                    self.full_since = None;
                    return io;
                }
                () = self.recycle_after_interval(), if is_full => {}
            }
        }
    }

    fn is_full(&mut self) -> bool {
        let is_full = self.connections.open() >= self.max;
        if !is_full {
            self.full_since = None;
        }
        is_full
    }

    fn is_wait_over(&mut self) -> bool {
        let full_since = self.full_since.get_or_insert_with(Instant::now);
        full_since.elapsed() >= MAX_WAIT
    }

    async fn recycle_after_interval(&self) {
        sleep(RECYCLE_INTERVAL).await;
        if self.limit_reached.check().is_some() {
            tracing::warn!(
                limit = self.max,
                "connection limit reached, new connections wait"
            );
        }
        // Notifies waiting connections in FIFO order, each of them once a second.
        for _ in 0..self.max.div_ceil(100) {
            self.recycle.notify_one();
        }
    }
}
