//! SQLite store: one connection that writes and a pool of connections that read.

mod deadline;
mod direct;
mod lock;
mod transactions;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use jiff::Timestamp;
use sqlx::{
    ConnectOptions, Connection, Sqlite as Db, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use self::{
    deadline::Deadline,
    direct::DirectReads,
    lock::FileLock,
    transactions::{hex, json},
};
use super::{
    Failure, Order, OrderResult, PoolState, Probe, Reads, Response, Stock, Store, Timeouts,
    connections::Connections,
    database_file::DatabaseFile,
    failure::{is_damage, migration_failed},
    migrate,
    rows::{self, concert_columns, stock_columns},
};
use crate::{
    Concert, ConcertId, Error, Purchase, PurchaseId, concert::MAX_CAPACITY,
    database_url::SqliteUrl, error::describe,
};

const WRITER: &str = "sqlite_writer";
/// Page cache of a reading connection, where a negative number is in KiB. SQLite's default is 2 MiB.
/// Every commit invalidates it, so a larger one saves few reads but multiplies by the readers.
const READER_CACHE: &str = "-256";
/// Size of the write-ahead log in bytes from which the next write truncates it. The log can exceed it
/// by what is written during the longest read.
const MAX_WAL: u64 = 16 * 1024 * 1024;

/// Database in a file.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    /// The connection that writes; `None` after it broke, until the next write. SQLite allows one
    /// writer at a time; this mutex queues them fairly, unlike SQLite's busy handler, which polls.
    writer: Mutex<Option<SqliteConnection>>,
    /// The time limit of the writer's current operation.
    deadline: Arc<Deadline>,
    readers: Connections<Db>,
    direct: DirectReads,
    file: Arc<DatabaseFile>,
    /// None if other processes may use the file.
    lock: Option<FileLock>,
    /// Size of the write-ahead log from which it is truncated: [`MAX_WAL`], or more after a failure.
    wal_limit: AtomicU64,
    timeouts: Timeouts,
    probe: Probe,
}

impl Sqlite {
    pub(crate) async fn open(
        url: &SqliteUrl,
        readers: u32,
        exclusive: bool,
        timeouts: Timeouts,
        probe: Probe,
    ) -> Result<Self, Error> {
        let options = url
            .options()?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(timeouts.lock)
            .disable_statement_logging();
        let path = options.get_filename().to_owned();
        let cannot_open_for =
            |cause: String| setup(format!("{} cannot be opened: {cause}", path.display()));
        let cannot_open = |error: sqlx::Error| cannot_open_for(describe(&error));
        let mut writer = options
            .clone()
            .create_if_missing(true)
            .connect()
            .await
            .map_err(cannot_open)?;
        let lock = exclusive.then(|| FileLock::acquire(&path)).transpose()?;
        Self::prepare(&mut writer)
            .await
            .map_err(|error| match &error {
                // Not an outage that passes.
                Error::Unavailable { source, .. } if is_damage(source) => {
                    cannot_open_for(describe(source))
                }
                _ => error,
            })?;
        let deadline = Arc::new(Deadline::default());
        deadline.install(&mut writer).await.map_err(refused)?;
        let file = DatabaseFile::new(&path)
            .map_err(|error| setup(format!("{} cannot be read: {error}", path.display())))?;
        file.writer_opened();
        let file = Arc::new(file);
        // From here on a missing file is an error: opening it must not create an empty one.
        let options = options.create_if_missing(false);
        let pool = SqlitePoolOptions::new()
            .max_connections(readers)
            .acquire_timeout(timeouts.connection)
            .test_before_acquire(false)
            .connect_with(
                options
                    .clone()
                    .pragma("query_only", "ON")
                    .pragma("cache_size", READER_CACHE),
            )
            .await
            .map_err(cannot_open)?;
        Ok(Self {
            direct: DirectReads::new(url, &path, readers),
            options,
            writer: Mutex::new(Some(writer)),
            deadline,
            readers: Connections {
                name: "sqlite_readers",
                pool,
                probe: probe.clone(),
                begin: None,
                file: Some(file.clone()),
            },
            file,
            lock,
            wal_limit: AtomicU64::new(MAX_WAL),
            timeouts,
            probe,
        })
    }

    /// Migrates the schema and checks the settings that durability depends on.
    async fn prepare(writer: &mut SqliteConnection) -> Result<(), Error> {
        // One transaction around all migrations: if several processes start concurrently, one of
        // them migrates and the others wait.
        let mut migration = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(refused)?;
        migrate::sqlite()
            .run_direct(None, &mut *migration, false)
            .await
            .map_err(migration_failed)?;
        migration.commit().await.map_err(refused)?;
        // SQLite silently opens a file without write permission for reading only, and the
        // statements above write nothing if the schema is up to date.
        sqlx::query("DELETE FROM purchases WHERE FALSE")
            .execute(&mut *writer)
            .await
            .map_err(|error| setup(format!("the file cannot be written: {}", describe(&error))))?;

        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut *writer)
            .await
            .map_err(refused)?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut *writer)
            .await
            .map_err(refused)?;
        let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys")
            .fetch_one(&mut *writer)
            .await
            .map_err(refused)?;
        for (setting, value, required) in [
            ("journal_mode", mode, "wal"),
            ("synchronous", synchronous.to_string(), "2"),
            ("foreign_keys", foreign_keys.to_string(), "1"),
        ] {
            if value != required {
                return Err(setup(format!(
                    "PRAGMA {setting} is {value}, {required} is required"
                )));
            }
        }
        Ok(())
    }

    /// Waits for the writer and opens it if it is closed.
    async fn writer(&self) -> Result<Writer<'_>, Failure> {
        self.lock_writer()
            .await
            .inspect_err(|failure| self.probe.log("acquire", failure))
    }

    async fn lock_writer(&self) -> Result<Writer<'_>, Failure> {
        let begun = Instant::now();
        let locked = tokio::time::timeout(self.timeouts.connection, self.writer.lock()).await;
        self.probe.observer.connection_wait(WRITER, begun.elapsed());
        let mut slot = locked.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if self.readers.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        self.file.check()?;
        if slot.is_none() {
            let opened = self.open_writer().await;
            self.file.record(&opened);
            // The operation that waits for the writer does not begin, so that it cannot record the
            // failure.
            self.probe.health.record_write(&opened);
            *slot = Some(opened?);
            self.file.writer_opened();
        }
        self.deadline.set(self.timeouts.statement);
        let mut writer = Writer {
            slot,
            file: &self.file,
        };
        if self.file.wal_size() >= self.wal_limit.load(Relaxed) {
            self.truncate_wal(&mut writer).await;
        }
        Ok(writer)
    }

    /// Tests writes if the last one failed, and otherwise reads.
    async fn test(&self) -> Result<(), Failure> {
        if self.probe.health.must_test_writes()? {
            let mut writer = self.writer().await?;
            let write = async { Ok(transactions::test_writes(writer.connection()).await?) };
            let written = self.probe.write("ping", write).await;
            return writer.release(written);
        }
        let mut lease = self.readers.acquire().await?;
        let read = async {
            let query = sqlx::query("SELECT 1 FROM concerts LIMIT 1");
            self.readers.fetch(lease.connection(), query).await?;
            Ok(())
        };
        let result = self.probe.read("ping", read).await;
        lease.release(result)
    }

    async fn open_writer(&self) -> Result<SqliteConnection, Failure> {
        let mut writer = self.options.connect().await?;
        self.deadline.install(&mut writer).await?;
        Ok(writer)
    }

    /// Truncates the write-ahead log, for which it waits for the reads in progress: as long as any
    /// read uses the log, SQLite's own checkpoints cannot restart it, and it grows without a bound.
    async fn truncate_wal(&self, writer: &mut Writer<'_>) {
        let truncated = transactions::truncate_wal(writer.connection()).await;
        let truncated = truncated.map_err(Failure::from);
        if let Err(failure) = &truncated {
            self.probe.log("checkpoint", failure);
        }
        self.file.record(&truncated);
        // After a failure the next attempt waits for more frames, so that a read that takes long
        // delays few writes.
        let limit = match truncated {
            Ok(true) => MAX_WAL,
            _ => self.file.wal_size() + MAX_WAL,
        };
        self.wal_limit.store(limit, Relaxed);
    }
}

/// Exclusive use of the writer.
struct Writer<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    file: &'a DatabaseFile,
}

impl Writer<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        self.slot
            .as_mut()
            .expect("`lock_writer` opens the writer, and only `release` closes it")
    }

    /// Checks before a success is reported that it was not written to a deleted file. Closes the
    /// writer after an error of SQLite: some errors roll the transaction back without sqlx noticing.
    fn release<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.file.record(&result);
        if matches!(result, Err(Failure::Sql { .. })) {
            self.file.writer_closed();
            *self.slot = None;
        }
        let value = result?;
        self.file.check()?;
        Ok(value)
    }
}

impl Store for Sqlite {
    fn reads(&self) -> &dyn Reads {
        self
    }

    fn lanes(&self) -> usize {
        1
    }

    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Response<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let query = sqlx::query(concat!(
                "INSERT INTO concerts (",
                concert_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0) ON CONFLICT DO NOTHING"
            ))
            .bind(concert.id.as_uuid())
            .bind(&concert.slug)
            .bind(&concert.title)
            .bind(&concert.venue)
            .bind(concert.starts_at.as_microsecond())
            .bind(concert.on_sale_from.map(Timestamp::as_microsecond))
            .bind(concert.on_sale_until.map(Timestamp::as_microsecond))
            .bind(i64::from(concert.capacity))
            .bind(concert.price.amount)
            .bind(concert.price.currency.as_str())
            .bind(concert.max_per_buyer.map(i64::from));
            let created = self
                .probe
                .write("create_concert", async {
                    self.probe.inject().await?;
                    Ok(query.execute(writer.connection()).await?.rows_affected() == 1)
                })
                .await;
            writer.release(created)
        })
    }

    fn sell<'a>(&'a self, orders: &'a [Order]) -> Response<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let sell = transactions::sell(writer.connection(), orders, &self.probe);
            let sold = self.probe.write("sell", sell).await;
            writer.release(sold)
        })
    }

    fn decide<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<OrderResult>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let decide = transactions::decide(writer.connection(), orders, &self.probe);
            let results = self.probe.write("decide", decide).await;
            writer.release(results)
        })
    }

    fn committed<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<bool>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let committed = self
                .probe
                .read("find_committed", async {
                    Ok(transactions::committed(writer.connection(), orders).await?)
                })
                .await;
            let committed = writer.release(committed)?;
            Ok(orders
                .iter()
                .map(|order| committed.contains(&order.purchase.id))
                .collect())
        })
    }

    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        may_have_committed: bool,
    ) -> Response<'_, Option<(Purchase, bool)>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let refund =
                transactions::refund(writer.connection(), id, at, may_have_committed, &self.probe);
            let refunded = self.probe.write("refund", refund).await;
            writer.release(refunded)
        })
    }

    fn restock(&self, id: ConcertId, tickets: u32) -> Response<'_, Option<Concert>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let query = sqlx::query(concat!(
                "UPDATE concerts SET capacity = MIN(capacity + $2, $3) WHERE id = $1 RETURNING ",
                concert_columns!()
            ))
            .bind(id.as_uuid())
            .bind(i64::from(tickets))
            .bind(i64::from(MAX_CAPACITY));
            let concert = self
                .probe
                .write("restock", async {
                    self.probe.inject().await?;
                    let row = query.fetch_optional(writer.connection()).await?;
                    Ok(row.as_ref().map(rows::concert).transpose()?)
                })
                .await;
            writer.release(concert)
        })
    }

    fn reset_sales(&self, id: ConcertId) -> Response<'_, Option<(Concert, u32)>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let reset = transactions::reset_sales(writer.connection(), id, &self.probe);
            let concert = self.probe.write("reset_sales", reset).await;
            writer.release(concert)
        })
    }

    fn stock_of<'a>(&'a self, ids: &'a [ConcertId]) -> Response<'a, Vec<Stock>> {
        Box::pin(async move {
            let ids: Vec<_> = ids.iter().map(|id| hex(id.as_uuid().as_bytes())).collect();
            let query = sqlx::query(concat!(
                "SELECT ",
                stock_columns!(),
                " FROM concerts WHERE id IN (SELECT unhex(value) FROM json_each($1))"
            ));
            let rows = self
                .readers
                .rows("read_stock", query.bind(json(&ids)))
                .await?;
            Ok(rows.iter().map(rows::stock).collect::<Result<_, _>>()?)
        })
    }

    fn ping(&self) -> Response<'_, ()> {
        Box::pin(async move {
            let result = self.test().await;
            self.file.record(&result);
            // Names the file and the remedy if the ping, or the write whose failure it repeats, found
            // damage.
            if result.is_err() {
                self.file.check()?;
            }
            result
        })
    }

    fn servers(&self) -> Response<'_, Option<u32>> {
        Box::pin(async { Ok(self.lock.is_some().then_some(1)) })
    }

    fn pools(&self) -> Vec<PoolState> {
        let writing = u32::from(self.writer.try_lock().is_err());
        let writer = PoolState {
            name: WRITER,
            used: writing,
            idle: 1 - writing,
            max: 1,
        };
        let readers = [writer, self.readers.state()].into_iter();
        readers.chain(self.direct.state()).collect()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.readers.pool.close().await;
            self.direct.close();
            let mut slot = self.writer.lock().await;
            self.file.writer_closed();
            if let Some(writer) = slot.take()
                && let Err(error) = writer.close().await
            {
                tracing::warn!(%error, "the SQLite writer was not closed cleanly");
            }
            if let Some(lock) = &self.lock {
                lock.release();
            }
        })
    }
}

fn setup(problem: String) -> Error {
    Error::Setup { problem }
}

fn refused(error: sqlx::Error) -> Error {
    Failure::from(error).into_error()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{database_url::DatabaseUrl, policy::Faults};

    #[tokio::test]
    async fn readers_have_a_small_page_cache_and_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tickets.db").display());
        let Ok(DatabaseUrl::Sqlite(url)) = url.parse() else {
            panic!("{url} is not a URL of SQLite")
        };
        let timeout = Duration::from_secs(10);
        let timeouts = Timeouts {
            connection: timeout,
            lock: timeout,
            statement: timeout,
        };
        let probe = Probe::new("sqlite", Faults::calm(), Arc::new(()), timeout);
        let store = Sqlite::open(&url, 2, false, timeouts, probe).await.unwrap();
        let mut reader = store.readers.pool.acquire().await.unwrap();
        for (pragma, expected) in [("PRAGMA cache_size", -256), ("PRAGMA query_only", 1)] {
            let value: i64 = sqlx::query_scalar(pragma)
                .fetch_one(&mut *reader)
                .await
                .unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        drop(reader);
        store.close().await;
    }
}
