use std::{sync::Arc, time::Duration};

use crate::{Error, policy::Operation};

/// Why a store did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A fault on `database`: nothing was changed.
    Injected,
    /// Other rows were written than were decided on: rolled back.
    Unlike,
    /// The database or the way to it failed.
    Sql {
        error: Arc<sqlx::Error>,
        /// It failed while it committed.
        committing: bool,
    },
}

/// What a failure of the database means for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Rolled back because of others at work: to be repeated.
    Conflict,
    /// The connection is gone, and with it the answer.
    Lost,
    /// A connection, or the lock of the whole database, was waited for in vain: nothing was changed.
    Busy,
    /// A row was waited for in vain, or a statement took too long: nothing was changed.
    Held,
    /// No server, or none that takes us: nothing was changed.
    Down,
    /// The pool is closed.
    Closed,
    /// The statement or its data are at fault.
    Refused,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql {
            error: Arc::new(error),
            committing: false,
        }
    }
}

impl Failure {
    pub(crate) fn committing(error: sqlx::Error) -> Self {
        Self::Sql {
            error: Arc::new(error),
            committing: true,
        }
    }

    /// Whether the same transaction may succeed if it is run again soon.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.kind(), Some(Kind::Conflict | Kind::Lost | Kind::Down))
    }

    /// Whether the transaction may have been committed all the same.
    pub(crate) fn may_have_committed(&self) -> bool {
        matches!(
            self,
            Self::Sql {
                committing: true,
                ..
            }
        ) && self.kind() == Some(Kind::Lost)
    }

    /// Whether the connection cannot be used again.
    pub(crate) fn lost_the_connection(&self) -> bool {
        self.kind() == Some(Kind::Lost)
    }

    /// Whether the platform has closed its database.
    pub(crate) fn is_closed(&self) -> bool {
        self.kind() == Some(Kind::Closed)
    }

    /// Whether one order may be at fault for all that were tried with it. An injected failure is of
    /// the transaction: tried again, it would strike more seldom than its document says.
    pub(crate) fn may_be_of_one(&self) -> bool {
        self.kind() == Some(Kind::Refused)
    }

    /// Whether one concert may be at fault for all that were tried with it.
    pub(crate) fn may_be_of_one_concert(&self) -> bool {
        self.kind() == Some(Kind::Held)
    }

    /// Whether it is certain that nothing was changed and that the same may succeed if it is run
    /// again soon: what must not be done twice can be tried again.
    pub(crate) fn was_rolled_back(&self) -> bool {
        self.kind() == Some(Kind::Conflict)
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Injected => None,
            Self::Unlike => Some(Kind::Refused),
            Self::Sql { error, .. } => Some(kind(error)),
        }
    }

    pub(crate) fn into_error(self) -> Error {
        let overloaded = Error::Overloaded {
            retry_after: Duration::from_secs(1),
        };
        let error = match self {
            Self::Injected => {
                return Error::Injected {
                    operation: Operation::Database,
                };
            }
            Self::Unlike => {
                return Error::Setup {
                    problem: "it writes other rows than it is given: a trigger or a rule of its \
                              own stands in the way"
                        .into(),
                };
            }
            Self::Sql { error, .. } => error,
        };
        match kind(&error) {
            Kind::Conflict | Kind::Busy | Kind::Held => overloaded,
            Kind::Lost | Kind::Down => Error::Unavailable {
                retry_after: Duration::from_secs(1),
                source: error,
            },
            Kind::Closed => Error::Closed,
            Kind::Refused => Error::Database(error),
        }
    }
}

fn kind(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => code_kind(&code),
            None => Kind::Refused,
        },
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Kind::Down
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => Kind::Lost,
        sqlx::Error::PoolTimedOut => Kind::Busy,
        sqlx::Error::PoolClosed => Kind::Closed,
        _ => Kind::Refused,
    }
}

/// PostgreSQL's codes have five characters; SQLite's are numbers, the low byte being the primary
/// one.
fn code_kind(code: &str) -> Kind {
    if code.len() == 5 {
        return match code {
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Kind::Conflict,
            // lock_not_available, query_canceled
            "55P03" | "57014" => Kind::Held,
            // too_many_connections, out_of_memory
            "53300" | "53200" => Kind::Busy,
            // cannot_connect_now
            "57P03" => Kind::Down,
            // admin_shutdown, crash_shutdown, idle_session_timeout,
            // idle_in_transaction_session_timeout, transaction_timeout, and CockroachDB's
            // statement_completion_unknown
            "57P01" | "57P02" | "57P05" | "25P03" | "25P04" | "40003" => Kind::Lost,
            class if class.starts_with("08") => Kind::Lost,
            _ => Kind::Refused,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_INTERRUPT
        Ok(5 | 6 | 9) => Kind::Busy,
        // SQLITE_IOERR, SQLITE_FULL
        Ok(10 | 13) => Kind::Lost,
        _ => Kind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_thrown_out_by_postgresql_may_try_again() {
        // Of a session, of a session in a transaction, of a transaction that took too long.
        for code in ["57P01", "57P05", "25P03", "25P04", "08006"] {
            assert_eq!(code_kind(code), Kind::Lost, "{code}");
        }
        // Of the same class, and our own mistake.
        for code in ["25P02", "25006"] {
            assert_eq!(code_kind(code), Kind::Refused, "{code}");
        }
    }
}
