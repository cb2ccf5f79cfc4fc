//! The error type of this crate.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{PurchaseId, policy::Operation};

/// Error of an operation on [`Tickets`](crate::Tickets), by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is not a JSON document of the expected shape.
    #[error("malformed: {problem}")]
    Malformed {
        /// The parser's message and the position.
        problem: String,
    },
    /// A value is not allowed.
    #[error("{field}: {problem}")]
    Invalid {
        /// The path of the field, such as `price.amount`.
        field: String,
        /// The value, why it is rejected, and what is allowed.
        problem: String,
    },
    /// The concert or purchase does not exist.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// `concert` or `purchase`.
        what: &'static str,
        /// The requested id.
        id: String,
    },
    /// The payment was declined. Nothing was bought; a retry may use the same idempotency key.
    #[error("the payment was declined")]
    Declined,
    /// Fewer tickets are left than were requested.
    #[error("sold out: {} left, fewer than requested", tickets(*.available, " is", " are"))]
    SoldOut {
        /// Tickets left when the purchase was decided.
        available: u32,
    },
    /// The concert's sale has not begun or has ended.
    #[error("not on sale: {}", SaleWindow(*.from, *.until))]
    NotOnSale {
        /// The start of the sale, if it is limited.
        from: Option<Timestamp>,
        /// The end of the sale.
        until: Timestamp,
    },
    /// The purchase would exceed the concert's `max_per_buyer`.
    #[error("a buyer may hold at most {} for this concert and already holds {held}", tickets(*.limit, "", ""))]
    PerBuyerLimit {
        /// The concert's `max_per_buyer`.
        limit: u32,
        /// Tickets that the buyer holds, without refunded ones.
        held: u32,
    },
    /// The idempotency key was used for a different request for this concert.
    #[error("the idempotency key was already used for another request")]
    KeyReused,
    /// A fault from the faults document failed the operation. Nothing was changed.
    #[error("injected fault: {} is unavailable", operation.as_str())]
    Injected {
        /// The operation that the fault was declared for.
        operation: Operation,
    },
    /// The queue of writes is full. Nothing was changed.
    #[error("overloaded: the queue is full, try again in {retry_after:?}")]
    Overloaded {
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// The database responds but could not do the work in time: its connections, locks, memory or
    /// disk are exhausted, or a statement exceeded its timeout. Nothing was changed.
    #[error("the database is busy, try again in {retry_after:?}")]
    Busy {
        /// How long to wait before retrying.
        retry_after: Duration,
        /// The database's error.
        source: Arc<sqlx::Error>,
    },
    /// The database cannot be reached, does not respond or does not accept writes. Purchases and
    /// refunds were not made. Other writes ([`Tickets::create_concert`], [`Tickets::restock`],
    /// [`Tickets::reset_sales`]) may have been committed before the connection was lost: read the
    /// concert before repeating them.
    ///
    /// [`Tickets::create_concert`]: crate::Tickets::create_concert
    /// [`Tickets::restock`]: crate::Tickets::restock
    /// [`Tickets::reset_sales`]: crate::Tickets::reset_sales
    #[error("the database is unavailable, try again in {retry_after:?}")]
    Unavailable {
        /// How long to wait before retrying.
        retry_after: Duration,
        /// The database's error.
        source: Arc<sqlx::Error>,
    },
    /// The connection was lost during COMMIT and the database did not report in time whether
    /// the transaction was committed. Read the purchase by its id, or repeat the request with the
    /// same idempotency key: it cannot buy twice. A refund can be repeated safely and is completed
    /// in the background.
    #[error("the outcome of purchase {purchase} is not known: the database failed during COMMIT")]
    OutcomeUnknown {
        /// The id of the purchase, if it was committed, or of the purchase to refund.
        purchase: PurchaseId,
        /// The database's error; none after a panic.
        source: Option<Arc<sqlx::Error>>,
    },
    /// The platform is shutting down.
    #[error("shutting down")]
    Closed,
    /// The database's address, credentials, settings or files are unusable. An operator has to
    /// change them.
    #[error("the database cannot be used: {problem}")]
    Setup {
        /// The setting, its value, and what is required.
        problem: String,
    },
    /// The SQLite file is locked by another process with [`Options::exclusive`](crate::Options).
    #[error("{} is used by another server", path.display())]
    InUse {
        /// The path of the file as in the URL.
        path: PathBuf,
    },
    /// A schema migration failed.
    #[error("the migration of the database failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database rejected a statement because of an error in this crate or in the stored data.
    #[error("the database rejected a statement")]
    Database(#[source] Arc<sqlx::Error>),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// Returns how long to wait before retrying, for transient errors.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::Busy { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Injected { .. } | Self::OutcomeUnknown { .. } | Self::Closed => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// Returns this error with its cause, for logs. Errors of the database include the SQLSTATE or
    /// the code of SQLite.
    pub fn report(&self) -> String {
        let source = match self {
            Self::Busy { source, .. } | Self::Unavailable { source, .. } => source,
            Self::OutcomeUnknown {
                source: Some(source),
                ..
            } => source,
            Self::Database(source) => source,
            Self::Migrate(source) => return format!("{self}: {source}"),
            _ => return self.to_string(),
        };
        format!("{self}: {}", describe(source))
    }
}

/// Describes an error of the database. Unlike its `Display`, this names the SQLSTATE and not the
/// line of PostgreSQL's source code.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) if is_sqlstate(&code) => format!("{} (SQLSTATE {code})", error.message()),
            Some(code) => format!("{} (SQLite code {code})", error.message()),
            None => error.message().to_owned(),
        },
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Returns whether the code is PostgreSQL's and not SQLite's, whose codes have fewer digits.
pub(crate) fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
}

/// Formats a number of tickets, followed by the verb that agrees with it.
fn tickets(count: u32, singular_verb: &str, plural_verb: &str) -> String {
    match count {
        1 => format!("1 ticket{singular_verb}"),
        _ => format!("{count} tickets{plural_verb}"),
    }
}

struct SaleWindow(Option<Timestamp>, Timestamp);

impl fmt::Display for SaleWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(from), until) => write!(f, "the sale runs from {from} until {until}"),
            Self(None, until) => write!(f, "the sale ended at {until}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ticket_is_singular() {
        for (available, message) in [
            (0, "sold out: 0 tickets are left, fewer than requested"),
            (1, "sold out: 1 ticket is left, fewer than requested"),
            (2, "sold out: 2 tickets are left, fewer than requested"),
        ] {
            assert_eq!(Error::SoldOut { available }.to_string(), message);
        }
        for (limit, message) in [
            (
                1,
                "a buyer may hold at most 1 ticket for this concert and already holds 1",
            ),
            (
                4,
                "a buyer may hold at most 4 tickets for this concert and already holds 4",
            ),
        ] {
            let error = Error::PerBuyerLimit { limit, held: limit };
            assert_eq!(error.to_string(), message);
        }
    }
}
