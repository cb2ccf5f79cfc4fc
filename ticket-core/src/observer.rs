use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{Money, policy::Operation};

/// Is told what happens, so that it can be counted. All methods do nothing unless overridden.
///
/// They are called on the hot path: they must be quick and must not block. A panic in one is
/// logged and goes no further: what was told has happened all the same.
pub trait Observer: Send + Sync + 'static {
    /// A purchase or a refund was answered.
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        let _ = event;
    }

    /// The next night of a concert began: `tickets` that were sold for the last one are struck off
    /// the books.
    fn next_night(&self, concert: &str, tickets: u32) {
        let _ = (concert, tickets);
    }

    /// A fault was injected into `operation`.
    fn fault_injected(&self, operation: Operation, kind: FaultKind) {
        let _ = (operation, kind);
    }

    /// A database operation ended: for writes the whole transaction, for reads the query, without
    /// the wait for a connection. `system` is `sqlite` or `postgresql`.
    fn database_operation(
        &self,
        system: &'static str,
        operation: &'static str,
        duration: Duration,
        ok: bool,
    ) {
        let _ = (system, operation, duration, ok);
    }

    /// A connection of `pool` was waited for.
    fn connection_wait(&self, pool: &'static str, wait: Duration) {
        let _ = (pool, wait);
    }

    /// Purchases were committed together, `size` of them (with `commit = group`).
    fn batch(&self, size: usize) {
        let _ = size;
    }
}

/// Watches nothing.
impl Observer for () {}

/// An observer whose panics end with it. Without, one of them would end a lane of commits, and
/// every purchase after it.
pub(crate) struct Guarded(pub(crate) Arc<dyn Observer>);

impl Guarded {
    fn tell(&self, what: &'static str, tell: impl FnOnce(&dyn Observer)) {
        if catch_unwind(AssertUnwindSafe(|| tell(&*self.0))).is_err() {
            tracing::error!(what, "the observer panicked");
        }
    }
}

impl Observer for Guarded {
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        self.tell("purchase", |observer| observer.purchase(event));
    }

    fn next_night(&self, concert: &str, tickets: u32) {
        self.tell("next night", |observer| {
            observer.next_night(concert, tickets);
        });
    }

    fn fault_injected(&self, operation: Operation, kind: FaultKind) {
        self.tell("fault", |observer| {
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
        self.tell("database operation", |observer| {
            observer.database_operation(system, operation, duration, ok);
        });
    }

    fn connection_wait(&self, pool: &'static str, wait: Duration) {
        self.tell("wait for a connection", |observer| {
            observer.connection_wait(pool, wait);
        });
    }

    fn batch(&self, size: usize) {
        self.tell("batch", |observer| observer.batch(size));
    }
}

/// A purchase or a refund, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PurchaseEvent<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// The slug of the concert; empty where there is no such concert.
    pub concert: &'a str,
    /// How many tickets.
    pub quantity: u32,
    /// What they cost together; none where there is no such concert.
    pub total: Option<Money>,
}

/// How a purchase or a refund ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Tickets were sold.
    Sold,
    /// The payment was declined.
    Declined,
    /// Too few tickets were left.
    SoldOut,
    /// The idempotency key had bought already.
    Replayed,
    /// Tickets were given back and are on sale again.
    Refunded,
    /// Anything else: invalid, not on sale, an injected or a real failure.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Sold,
        Self::Declined,
        Self::SoldOut,
        Self::Replayed,
        Self::Refunded,
        Self::Failed,
    ];

    /// Its name as a label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::Declined => "declined",
            Self::SoldOut => "sold_out",
            Self::Replayed => "replayed",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
        }
    }
}

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// It took time.
    Delay,
    /// The payment was declined.
    Declined,
    /// The operation failed.
    Unavailable,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Delay, Self::Declined, Self::Unavailable];

    /// Its name as a label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
        }
    }
}
