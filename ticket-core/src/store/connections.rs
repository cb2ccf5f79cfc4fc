//! Pools of connections with metrics, and the rules for returning a connection to its pool.

use std::{io, sync::Arc, time::Instant};

use sqlx::{ConnectOptions, Connection, Database, Pool, pool::PoolConnection};

use super::{Failure, PoolState, Probe, database_file::DatabaseFile};

/// Pool of connections.
pub(super) struct Connections<DB: Database> {
    pub(super) name: &'static str,
    pub(super) pool: Pool<DB>,
    pub(super) probe: Probe,
    /// The statement that begins a transaction around every read, behind a transaction pooler.
    pub(super) begin: Option<Arc<str>>,
    /// The SQLite file, to detect its deletion, replacement or damage.
    pub(super) file: Option<Arc<DatabaseFile>>,
}

impl<DB: Database> Connections<DB> {
    /// Takes a connection from the pool, or opens one.
    pub(super) async fn acquire(&self) -> Result<Lease<DB>, Failure> {
        if let Some(file) = &self.file {
            file.check()
                .inspect_err(|failure| self.probe.log("acquire", failure))?;
        }
        let begun = Instant::now();
        let connection = self.pool.acquire().await;
        self.probe
            .observer
            .connection_wait(self.name, begun.elapsed());
        if matches!(connection, Err(sqlx::Error::PoolTimedOut)) {
            self.diagnose();
        }
        let connection = connection.map_err(|error| match error {
            // The pool retries refused connections until its timeout and then reports the timeout.
            sqlx::Error::PoolTimedOut if self.probe.health.is_down() => {
                let problem = "no connection could be opened before the timeout";
                Failure::from(sqlx::Error::from(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    problem,
                )))
            }
            error => Failure::from(error),
        });
        self.record_damage(&connection);
        let connection = connection.inspect_err(|failure| self.probe.log("acquire", failure))?;
        Ok(Lease(Some(connection)))
    }

    /// Keeps damage of a SQLite file that an operation has found.
    pub(super) fn record_damage<T>(&self, result: &Result<T, Failure>) {
        if let Some(file) = &self.file {
            file.record(result);
        }
    }

    /// Finds out in the background why no connection could be opened, and logs it. The pool retries
    /// some refusals, such as the connection limit of a role, and reports only its timeout.
    fn diagnose(&self) {
        if !self.probe.health.may_diagnose() {
            return;
        }
        let (probe, options) = (self.probe.clone(), self.pool.connect_options());
        tokio::spawn(async move {
            match probe.with_timeout(options.connect()).await {
                // The pool is exhausted by its own users.
                Ok(connection) => drop(connection.close().await),
                Err(error) => probe.log_diagnosis(&error),
            }
        });
    }

    pub(super) fn state(&self) -> PoolState {
        let open = self.pool.size();
        let idle = u32::try_from(self.pool.num_idle()).map_or(open, |idle| idle.min(open));
        PoolState {
            name: self.name,
            used: open - idle,
            idle,
            max: self.pool.options().get_max_connections(),
        }
    }
}

/// Exclusive use of a pooled connection.
///
/// Only [`release`](Self::release) returns the connection to the pool. A lease that is dropped, such
/// as by a cancelled caller, closes the connection: the pool would wait for the outstanding response
/// without a timeout.
pub(super) struct Lease<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Lease<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        self.0
            .as_mut()
            .expect("the connection is present until `release`, which consumes the lease")
    }

    /// Returns the connection to the pool, or closes it if the result says that it is broken.
    pub(super) fn release<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        let broken = matches!(&result, Err(failure) if failure.breaks_connection());
        if !broken {
            drop(self.0.take());
        }
        result
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
