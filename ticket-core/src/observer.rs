//! Events of the platform, for metrics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{ConcertId, Error, Money, policy::Operation};

/// Receives the events of a platform.
///
/// The methods do nothing by default. They are called on the hot path and must not block. A panic is
/// logged and does not affect the operation.
pub trait Observer: Send + Sync + 'static {
    /// Called once for each attempt to purchase and for each refund, with its outcome.
    ///
    /// An attempt whose caller is cancelled is reported too, once its outcome is known. An attempt is
    /// lost only if the process ends.
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        let _ = event;
    }

    /// Called after [`Tickets::reset_sales`](crate::Tickets::reset_sales) deleted the purchases of
    /// the concert with the slug `concert`. `tickets` is the number of tickets that were sold.
    fn sales_reset(&self, concert: &str, tickets: u32) {
        let _ = (concert, tickets);
    }

    /// Called when a fault is injected into `operation`.
    fn fault_injected(&self, operation: Operation, kind: FaultKind) {
        let _ = (operation, kind);
    }

    /// Called after a database operation: for writes the whole transaction, for reads the query.
    /// `duration` does not include the wait for a connection. `system` is `sqlite` or `postgresql`.
    fn database_operation(
        &self,
        system: &'static str,
        operation: &'static str,
        duration: Duration,
        ok: bool,
    ) {
        let _ = (system, operation, duration, ok);
    }

    /// Called after a wait for a connection of `pool`, including failed ones.
    fn connection_wait(&self, pool: &'static str, wait: Duration) {
        let _ = (pool, wait);
    }

    /// Called when a batch of `size` purchases is about to be committed.
    fn batch(&self, size: usize) {
        let _ = size;
    }
}

/// Ignores all events.
impl Observer for () {}

/// Observer that catches and logs panics of the inner one, which would otherwise end a commit lane
/// and with it every later purchase.
pub(crate) struct GuardedObserver(pub(crate) Arc<dyn Observer>);

impl GuardedObserver {
    fn call(&self, event: &'static str, call: impl FnOnce(&dyn Observer)) {
        if catch_unwind(AssertUnwindSafe(|| call(&*self.0))).is_err() {
            tracing::error!(event, "the observer panicked");
        }
    }
}

impl Observer for GuardedObserver {
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        self.call("purchase", |observer| observer.purchase(event));
    }

    fn sales_reset(&self, concert: &str, tickets: u32) {
        self.call("sales_reset", |observer| {
            observer.sales_reset(concert, tickets);
        });
    }

    fn fault_injected(&self, operation: Operation, kind: FaultKind) {
        self.call("fault_injected", |observer| {
            observer.fault_injected(operation, kind);
        });
    }

    fn database_operation(
        &self,
        system: &'static str,
        operation: &'static str,
        duration: Duration,
        ok: bool,
    ) {
        self.call("database_operation", |observer| {
            observer.database_operation(system, operation, duration, ok);
        });
    }

    fn connection_wait(&self, pool: &'static str, wait: Duration) {
        self.call("connection_wait", |observer| {
            observer.connection_wait(pool, wait);
        });
    }

    fn batch(&self, size: usize) {
        self.call("batch", |observer| observer.batch(size));
    }
}

/// A purchase attempt or a refund, and its outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PurchaseEvent<'a> {
    /// The outcome.
    pub outcome: Outcome,
    /// The id of the concert.
    pub concert_id: ConcertId,
    /// The slug of the concert; empty if the concert does not exist or could not be read.
    pub concert: &'a str,
    /// Number of tickets.
    pub quantity: u32,
    /// Total price; none if the concert does not exist or could not be read.
    pub total: Option<Money>,
}

/// Outcome of a purchase attempt or a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Tickets were sold.
    Sold,
    /// The payment was declined.
    Declined,
    /// Fewer tickets were left than requested.
    SoldOut,
    /// The idempotency key had already been used for this purchase, which was returned.
    Replayed,
    /// A purchase was refunded.
    Refunded,
    /// The request was rejected: an unknown concert, outside the sale window, above the limit per
    /// buyer, or a reused idempotency key.
    Rejected,
    /// A real or an injected failure, or a request that was cancelled before its payment because it
    /// timed out or the client disconnected.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Sold,
        Self::Declined,
        Self::SoldOut,
        Self::Replayed,
        Self::Refunded,
        Self::Rejected,
        Self::Failed,
    ];

    /// Returns the name as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::Declined => "declined",
            Self::SoldOut => "sold_out",
            Self::Replayed => "replayed",
            Self::Refunded => "refunded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Returns the outcome of a purchase that ends with `error`.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error {
            Error::Declined => Self::Declined,
            Error::SoldOut { .. } => Self::SoldOut,
            Error::Malformed { .. }
            | Error::Invalid { .. }
            | Error::NotFound { .. }
            | Error::NotOnSale { .. }
            | Error::PerBuyerLimit { .. }
            | Error::KeyReused => Self::Rejected,
            Error::Injected { .. }
            | Error::Overloaded { .. }
            | Error::Busy { .. }
            | Error::Unavailable { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Closed
            | Error::Setup { .. }
            | Error::InUse { .. }
            | Error::Migrate(_)
            | Error::Database(_) => Self::Failed,
        }
    }
}

/// Kind of an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The operation was delayed.
    Delay,
    /// The thread of the operation was blocked.
    Block,
    /// The payment was declined.
    Declined,
    /// The operation failed.
    Unavailable,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Delay, Self::Block, Self::Declined, Self::Unavailable];

    /// Returns the name as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Block => "block",
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
        }
    }
}
