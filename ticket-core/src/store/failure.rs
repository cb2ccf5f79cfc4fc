//! Failures of a store, classified by what they mean for the operation.

use std::{fmt, io, sync::Arc, time::Duration};

use sqlx::migrate::MigrateError;

use crate::{
    Error,
    error::{describe, is_sqlstate},
    policy::Operation,
};

/// The delay suggested to callers after a transient failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a store operation failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A fault on `database` was injected. Nothing was changed.
    Injected,
    /// The number of written rows differs from the number of decided orders. Rolled back.
    RowCountMismatch,
    /// The store panicked, possibly after COMMIT.
    Panicked,
    /// The SQLite file was deleted, replaced or damaged. It must not be used until the server is
    /// restarted on a file that is intact.
    FileUnusable(Arc<sqlx::Error>),
    /// The database or the connection to it failed.
    Sql {
        error: Arc<sqlx::Error>,
        /// The statement that failed was COMMIT.
        committing: bool,
    },
}

/// Classification of failures by their consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Rolled back by concurrency control, such as a serialization failure or a deadlock.
    Conflict,
    /// The connection broke while it was in use. Whether a COMMIT took effect is unknown.
    Lost,
    /// The session must not be used again, such as a read-only session on the former primary after
    /// a failover. Nothing was changed.
    StaleSession,
    /// Connections, memory, disk or the database lock are exhausted. Nothing was changed.
    Exhausted,
    /// A row lock or a statement exceeded its timeout. Nothing was changed.
    TimedOut,
    /// No connection could be opened. Nothing was changed.
    Down,
    /// The stored data is corrupt. Nothing was changed.
    Damaged,
    /// The pool is closed.
    Closed,
    /// The statement, its data or the schema are at fault.
    Refused,
}

impl Class {
    /// How many classes there are.
    pub(crate) const COUNT: usize = Self::Refused as usize + 1;
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
    /// A failure of COMMIT.
    pub(crate) fn committing(error: sqlx::Error) -> Self {
        Self::Sql {
            error: Arc::new(error),
            committing: true,
        }
    }

    /// A failure of a SQLite file that must not be used any more.
    pub(crate) fn file_unusable(problem: String) -> Self {
        Self::FileUnusable(Arc::new(io::Error::other(problem).into()))
    }

    /// A session that only reads, as on a standby or on the former primary after a failover.
    pub(crate) fn read_only() -> Self {
        let problem = "the database accepts no writes: its transactions are read-only";
        sqlx::Error::from(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, problem)).into()
    }

    /// Returns the class, or `None` for an injected failure.
    pub(crate) fn class(&self) -> Option<Class> {
        match self {
            Self::Injected => None,
            Self::RowCountMismatch | Self::Panicked => Some(Class::Refused),
            Self::FileUnusable(_) => Some(Class::Down),
            Self::Sql { error, .. } => Some(classify(error)),
        }
    }

    /// Returns whether a retry of the same transaction may succeed soon.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, Self::FileUnusable(_))
            && matches!(
                self.class(),
                Some(Class::Conflict | Class::Lost | Class::StaleSession | Class::Down)
            )
    }

    /// Returns whether the transaction may have been committed although it was reported as failed.
    pub(crate) fn may_have_committed(&self) -> bool {
        match self {
            Self::Panicked => true,
            Self::Sql { committing, .. } => *committing && self.class() == Some(Class::Lost),
            _ => false,
        }
    }

    /// Returns whether the transaction was rolled back for certain and a retry may succeed soon, so
    /// that even an operation that is not idempotent can be retried.
    pub(crate) fn was_rolled_back(&self) -> bool {
        matches!(self.class(), Some(Class::Conflict | Class::StaleSession))
    }

    /// Returns whether the connection must be closed.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self.class(), Some(Class::Lost | Class::StaleSession))
    }

    /// Returns whether writes are expected to fail until the database recovers.
    pub(crate) fn stops_writes(&self) -> bool {
        matches!(
            self.class(),
            Some(
                Class::Lost | Class::StaleSession | Class::Exhausted | Class::Down | Class::Damaged
            )
        )
    }

    /// Returns whether the stored data is corrupt.
    pub(crate) fn is_damage(&self) -> bool {
        self.class() == Some(Class::Damaged)
    }

    /// Returns whether the platform has closed its database.
    pub(crate) fn is_closed(&self) -> bool {
        self.class() == Some(Class::Closed)
    }

    /// Returns whether a single order may have failed the whole batch. An injected failure applies
    /// to the transaction: retrying each order would lower the rate that the document declares.
    pub(crate) fn may_be_caused_by_one_order(&self) -> bool {
        !matches!(self, Self::Panicked) && self.class() == Some(Class::Refused)
    }

    /// Returns whether a single concert may have failed the whole batch.
    pub(crate) fn may_be_caused_by_one_concert(&self) -> bool {
        self.class() == Some(Class::TimedOut)
    }

    /// Returns the database's error.
    pub(crate) fn source(&self) -> Option<Arc<sqlx::Error>> {
        match self {
            Self::FileUnusable(error) | Self::Sql { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        let (error, class) = match self {
            Self::Injected => {
                return Error::Injected {
                    operation: Operation::Database,
                };
            }
            Self::RowCountMismatch => {
                return Error::Setup {
                    problem:
                        "it wrote other rows than it was given; drop the trigger or rule that \
                              changes them"
                            .into(),
                };
            }
            Self::Panicked => {
                return Error::Database(Arc::new(sqlx::Error::WorkerCrashed));
            }
            Self::FileUnusable(error) => (error, Class::Down),
            Self::Sql { error, .. } => {
                let class = classify(&error);
                (error, class)
            }
        };
        match class {
            Class::Conflict | Class::Exhausted | Class::TimedOut => Error::Busy {
                retry_after: RETRY_AFTER,
                source: error,
            },
            Class::Lost | Class::StaleSession | Class::Down | Class::Damaged => {
                Error::Unavailable {
                    retry_after: RETRY_AFTER,
                    source: error,
                }
            }
            Class::Closed => Error::Closed,
            Class::Refused => Error::Database(error),
        }
    }
}

/// Returns the error of a failed migration. Failures of the connection or of the server are not
/// failures of the migration.
pub(crate) fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if classify(&error) != Class::Refused =>
        {
            Failure::from(error).into_error()
        }
        error => error.into(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("injected fault"),
            Self::RowCountMismatch => {
                f.write_str("the number of written rows differs from the number of decided orders")
            }
            Self::Panicked => f.write_str("the store panicked"),
            Self::FileUnusable(error) | Self::Sql { error, .. } => f.write_str(&describe(error)),
        }
    }
}

/// Returns whether the error says that the stored data is corrupt.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    classify(error) == Class::Damaged
}

fn classify(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            // A migration of another server changed the result type of a prepared statement.
            Some(code) if code == "0A000" && error.message().contains("cached plan") => {
                Class::StaleSession
            }
            Some(code) if is_sqlstate(&code) => classify_sqlstate(&code),
            Some(code) => classify_sqlite(&code),
            None => Class::Refused,
        },
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Class::Down,
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Class::StaleSession
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Class::Lost,
        // Errors of the handshake, before any statement.
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Class::Down,
        sqlx::Error::BeginFailed => Class::Lost,
        sqlx::Error::PoolTimedOut => Class::Exhausted,
        sqlx::Error::PoolClosed => Class::Closed,
        _ => Class::Refused,
    }
}

/// Classifies an error of PostgreSQL or of a pooler in front of it.
fn classify_sqlstate(code: &str) -> Class {
    match code {
        // statement_completion_unknown, also of CockroachDB
        "40003" => Class::Lost,
        // read_only_sql_transaction
        "25006" => Class::StaleSession,
        // lock_not_available, query_canceled
        "55P03" | "57014" => Class::TimedOut,
        // cannot_connect_now, database_dropped, invalid_catalog_name
        "57P03" | "57P04" | "3D000" => Class::Down,
        // admin_shutdown, crash_shutdown, idle_session_timeout,
        // idle_in_transaction_session_timeout, transaction_timeout
        "57P01" | "57P02" | "57P05" | "25P03" | "25P04" => Class::Lost,
        // invalid_sql_statement_name, duplicate_prepared_statement: a pooler assigned another
        // session, which a new connection detects.
        "26000" | "42P05" => Class::StaleSession,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => Class::Damaged,
        _ => match &code[..2] {
            // Connection exception, system error (such as a failed disk)
            "08" | "58" => Class::Lost,
            // Invalid authorization: opening a session failed
            "28" => Class::Down,
            // Transaction rollback: serialization_failure, deadlock_detected
            "40" => Class::Conflict,
            // Insufficient resources: disk_full, out_of_memory, too_many_connections
            "53" => Class::Exhausted,
            _ => Class::Refused,
        },
    }
}

/// Classifies a SQLite result code. The low byte of an extended code is the primary code.
fn classify_sqlite(code: &str) -> Class {
    let Ok(code) = code.parse::<u32>() else {
        return Class::Refused;
    };
    match code {
        // SQLITE_IOERR_DATA, SQLITE_IOERR_CORRUPTFS
        8202 | 8458 => return Class::Damaged,
        _ => {}
    }
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_NOMEM, SQLITE_INTERRUPT, SQLITE_FULL, SQLITE_PROTOCOL
        // (locks of the write-ahead log). A COMMIT that fails with SQLITE_FULL is rolled back: its
        // last frame was not written.
        5 | 6 | 7 | 9 | 13 | 15 => Class::Exhausted,
        // SQLITE_READONLY
        8 => Class::StaleSession,
        // SQLITE_IOERR
        10 => Class::Lost,
        // SQLITE_PERM, SQLITE_CANTOPEN
        3 | 14 => Class::Down,
        // SQLITE_CORRUPT, SQLITE_NOTADB
        11 | 26 => Class::Damaged,
        _ => Class::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_of_a_failover_and_of_a_failed_disk_are_outages() {
        for (code, class) in [
            ("08006", Class::Lost),
            ("08P01", Class::Lost),
            ("25006", Class::StaleSession),
            ("25P03", Class::Lost),
            ("28P01", Class::Down),
            ("3D000", Class::Down),
            ("40001", Class::Conflict),
            ("40003", Class::Lost),
            ("40P01", Class::Conflict),
            ("53100", Class::Exhausted),
            ("53200", Class::Exhausted),
            ("53300", Class::Exhausted),
            ("53400", Class::Exhausted),
            ("55P03", Class::TimedOut),
            ("57014", Class::TimedOut),
            ("57P01", Class::Lost),
            ("57P02", Class::Lost),
            ("57P03", Class::Down),
            ("57P05", Class::Lost),
            ("58030", Class::Lost),
            ("58P01", Class::Lost),
            ("XX001", Class::Damaged),
            ("XX002", Class::Damaged),
        ] {
            assert_eq!(classify_sqlstate(code), class, "{code}");
        }
        // Errors of this crate or of the data.
        for code in ["22003", "23505", "25P02", "42601", "42P01", "XX000"] {
            assert_eq!(classify_sqlstate(code), Class::Refused, "{code}");
        }
    }

    #[test]
    fn sqlite_codes_are_classified_by_their_low_byte_except_for_damage_found_by_the_file_system() {
        for (code, class) in [
            ("5", Class::Exhausted),
            ("261", Class::Exhausted),
            ("8", Class::StaleSession),
            ("1032", Class::StaleSession),
            ("778", Class::Lost),
            ("8458", Class::Damaged),
            ("11", Class::Damaged),
            ("779", Class::Damaged),
            ("26", Class::Damaged),
            ("13", Class::Exhausted),
            ("3", Class::Down),
            ("14", Class::Down),
            ("1550", Class::Down),
            ("19", Class::Refused),
        ] {
            assert_eq!(classify_sqlite(code), class, "{code}");
        }
    }
}
