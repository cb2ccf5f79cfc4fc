use std::time::Duration;

use jiff::Timestamp;

use crate::{PurchaseId, policy::Operation};

/// What went wrong, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is no JSON document, or not one of the right shape at all.
    #[error("malformed: {problem}")]
    Malformed {
        /// What the parser met, and where.
        problem: String,
    },
    /// A value is not allowed. Send another one.
    #[error("{field}: {problem}")]
    Invalid {
        /// The path of the field, as in `price.amount`.
        field: String,
        /// The value, why it is refused, and what is allowed.
        problem: String,
    },
    /// There is no such concert or purchase.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `concert` or `purchase`.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The payment was declined. Nothing was bought; the same key may try again.
    #[error("the payment was declined")]
    Declined,
    /// Fewer tickets are left than were asked for.
    #[error("sold out: {available} tickets are left, fewer than asked for")]
    SoldOut {
        /// Tickets left when the purchase was decided.
        available: u32,
    },
    /// The concert's sale has not begun, or is over.
    #[error("not on sale: the sale runs from {from} until {until}")]
    NotOnSale {
        /// When the sale begins.
        from: Timestamp,
        /// When the sale ends.
        until: Timestamp,
    },
    /// The buyer would hold more tickets than one buyer may.
    #[error("a buyer may hold {limit} tickets of this concert and already holds {held}")]
    PerBuyerLimit {
        /// The concert's `max_per_buyer`.
        limit: u32,
        /// Tickets the buyer holds and has not refunded.
        held: u32,
    },
    /// The idempotency key belongs to another request for this concert. Use a new key.
    #[error("the idempotency key was already used for another request")]
    KeyReused,
    /// A fault from the faults document, not a real failure. Nothing was changed.
    #[error("an injected fault: {} is unavailable", operation.as_str())]
    Injected {
        /// The operation that the fault was declared for.
        operation: Operation,
    },
    /// More work is waiting than can be done in time. Nothing was changed; come back later.
    #[error("overloaded: too much work is waiting, try again in {retry_after:?}")]
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The database cannot be reached or does not answer. Nothing was bought or given back; come
    /// back later. Where the answer to another write was lost (a new concert, more tickets, the
    /// next night), look what became of it before it is made again.
    #[error("the database is unavailable, try again in {retry_after:?}")]
    Unavailable {
        /// When it is worth trying again.
        retry_after: Duration,
        /// What the database said.
        source: std::sync::Arc<sqlx::Error>,
    },
    /// The database went away while it committed, and has not come back in time to be asked.
    /// The purchase may stand: read it by its id later, or try again with the same idempotency
    /// key, which cannot buy twice. Of a refund: it is brought to its end; to try again is safe.
    #[error("the outcome of purchase {purchase} is not known yet: the database went away")]
    OutcomeUnknown {
        /// The id that the purchase has if it stands, or of the purchase to be refunded.
        purchase: PurchaseId,
    },
    /// The platform is shutting down. Another server may serve the request.
    #[error("shutting down")]
    Closed,
    /// The database's settings or its address do not serve. Someone has to change them.
    #[error("the database does not serve: {problem}")]
    Setup {
        /// Which setting, its value, and what is needed.
        problem: String,
    },
    /// The database's schema could not be brought up to date.
    #[error("the migrations failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database refused a statement: an error of this program or of its data.
    #[error("the database refused a statement")]
    Database(#[source] std::sync::Arc<sqlx::Error>),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// When it is worth trying again, for the errors that pass by themselves.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Injected { .. } | Self::OutcomeUnknown { .. } | Self::Closed => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}
