//! The tickets that are left, as a metric.

use std::sync::Arc;
use std::time::Duration;

use ticket_core::Tickets;
use tokio::time::{MissedTickBehavior, interval};

use crate::observer::Metrics;

/// How old the figures may be.
const EVERY: Duration = Duration::from_secs(2);

/// Reads the stock from the database again and again, so that a scrape never waits for it. While
/// the database is away the figures stay what they were.
pub(crate) async fn refresh(tickets: Tickets, metrics: Arc<Metrics>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match tickets.stock().await {
            Ok(stock) => metrics.in_stock(&stock),
            Err(error) => tracing::debug!(%error, "the stock cannot be read"),
        }
    }
}
