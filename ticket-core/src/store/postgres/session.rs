//! How transactions begin and how statements are prepared, with and without a transaction pooler.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Postgres as Db, Transaction, postgres::PgArguments,
    query::Query,
};

use crate::store::Timeouts;

/// Assignment of sessions of the server to connections.
#[derive(Clone, Debug)]
pub(super) enum SessionMode {
    /// One session per connection: settings and prepared statements persist.
    Dedicated,
    /// A transaction pooler such as PgBouncer assigns a session to each transaction: settings apply
    /// to one transaction, statements are not named, and no statement runs outside a transaction.
    Shared {
        /// Begins a transaction and applies the timeouts to it.
        begin: Arc<str>,
    },
}

impl SessionMode {
    pub(super) fn shared(timeouts: Timeouts) -> Self {
        let mut begin = "BEGIN".to_owned();
        for (setting, value) in settings(timeouts) {
            begin.push_str(&format!("; SET LOCAL {setting} = '{value}'"));
        }
        Self::Shared {
            begin: begin.into(),
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Returns the statement that begins every transaction, if it is not a plain `BEGIN`.
    pub(super) fn begin_statement(&self) -> Option<Arc<str>> {
        match self {
            Self::Dedicated => None,
            Self::Shared { begin } => Some(begin.clone()),
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Transaction<'c, Db>, sqlx::Error> {
        match self {
            Self::Dedicated => connection.begin().await,
            Self::Shared { begin } => connection.begin_with(AssertSqlSafe(begin.clone())).await,
        }
    }

    /// Returns a query whose prepared statement is kept only if the session is.
    pub(super) fn query(&self, sql: &'static str) -> Query<'static, Db, PgArguments> {
        sqlx::query(sql).persistent(!self.is_shared())
    }
}

/// The session settings that apply `timeouts`.
pub(super) fn settings(timeouts: Timeouts) -> [(&'static str, String); 3] {
    let millis = |timeout: Duration| format!("{}ms", timeout.as_millis());
    [
        ("statement_timeout", millis(timeouts.statement)),
        ("lock_timeout", millis(timeouts.lock)),
        (
            "idle_in_transaction_session_timeout",
            millis(timeouts.statement),
        ),
    ]
}
