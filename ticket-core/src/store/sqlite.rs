//! SQLite: one connection writes, a pool reads beside it.

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{
    ConnectOptions, Connection, Row, Sqlite as Db, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{
    Answer, Failure, Order, PoolState, Probe, Reads, Store, Timeouts, Verdict,
    connections::Connections,
    deadline::Deadline,
    migrate,
    order::{self, Facts},
    rows::{self, concert_columns, purchase_columns},
};
use crate::{Concert, ConcertId, Error, Purchase, PurchaseId, concert::MAX_CAPACITY};

const SELECT_REFUNDED: &str = concat!(
    "SELECT ",
    purchase_columns!(),
    ", refunded_at FROM purchases WHERE id = $1"
);

const WRITER: &str = "sqlite_writer";

/// A database in a file.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    /// The one connection that writes; none once it broke and until someone writes again. SQLite
    /// lets one write at a time anyway: whoever waits, waits here in a fair queue and not in
    /// SQLite's, which polls.
    writer: Mutex<Option<SqliteConnection>>,
    /// Until when the writer may work on what it does now.
    deadline: Arc<Deadline>,
    readers: Connections<Db>,
    timeouts: Timeouts,
    probe: Probe,
}

impl Sqlite {
    pub(crate) async fn open(
        url: &str,
        readers: u32,
        timeouts: Timeouts,
        probe: Probe,
    ) -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| setup(format!("{url:?} is no address of a SQLite file: {error}")))?;
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(setup(format!(
                "{url:?} is kept in memory: a purchase has to be on disk, give the path of a file"
            )));
        }
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(timeouts.lock)
            .disable_statement_logging();
        let mut writer = options.connect().await.map_err(cannot_open(url))?;
        Self::prepare(&mut writer).await?;
        let deadline = Arc::new(Deadline::default());
        deadline.watch(&mut writer).await.map_err(refused)?;
        let pool = SqlitePoolOptions::new()
            .max_connections(readers)
            .acquire_timeout(timeouts.connection)
            .test_before_acquire(false)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await
            .map_err(cannot_open(url))?;
        Ok(Self {
            options,
            writer: Mutex::new(Some(writer)),
            deadline,
            readers: Connections {
                name: "sqlite_readers",
                pool,
                probe: probe.clone(),
            },
            timeouts,
            probe,
        })
    }

    /// Migrates, and makes sure of what durability rests on.
    async fn prepare(writer: &mut SqliteConnection) -> Result<(), Error> {
        // One transaction around all of the migrations: of many processes that start at once,
        // one migrates and the others find it done.
        let mut migrating = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(refused)?;
        migrate::sqlite()
            .run_direct(None, &mut *migrating, false)
            .await?;
        migrating.commit().await.map_err(refused)?;
        // SQLite opens a file that it may not write for reading alone, and without a word: nothing
        // above has to write where the database is there already.
        sqlx::query("DELETE FROM purchases WHERE FALSE")
            .execute(&mut *writer)
            .await
            .map_err(|error| setup(format!("the database cannot be written: {error}")))?;

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
        for (setting, value, needed) in [
            ("journal_mode", mode, "wal"),
            ("synchronous", synchronous.to_string(), "2"),
            ("foreign_keys", foreign_keys.to_string(), "1"),
        ] {
            if value != needed {
                return Err(setup(format!(
                    "PRAGMA {setting} is {value}, it has to be {needed}"
                )));
            }
        }
        Ok(())
    }

    /// The writer, once those before us are done.
    async fn writer(&self) -> Result<Locked<'_>, Failure> {
        let begun = Instant::now();
        let locked = tokio::time::timeout(self.timeouts.connection, self.writer.lock()).await;
        self.probe.observer.connection_wait(WRITER, begun.elapsed());
        let mut slot = locked.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if self.readers.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        if slot.is_none() {
            let mut writer = self.options.connect().await?;
            self.deadline.watch(&mut writer).await?;
            *slot = Some(writer);
        }
        self.deadline.set(self.timeouts.statement);
        Ok(Locked(slot))
    }
}

/// The writer, ours alone until dropped.
struct Locked<'a>(MutexGuard<'a, Option<SqliteConnection>>);

impl Locked<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        self.0
            .as_mut()
            .expect("the writer is open while it is locked")
    }

    /// Gives the writer back, and closes it where SQLite failed: some failures end the transaction
    /// by themselves, and sqlx would take it to be open still.
    fn done<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if matches!(result, Err(Failure::Sql { .. })) {
            *self.0 = None;
        }
        result
    }
}

impl Store for Sqlite {
    fn reads(&self) -> &dyn Reads {
        &self.readers
    }

    fn lanes(&self) -> usize {
        1
    }

    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Answer<'a, bool> {
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
            let created = self.probe.timed("create_concert", async {
                self.probe.fault().await?;
                Ok(query.execute(writer.connection()).await?.rows_affected() == 1)
            });
            let created = created.await;
            writer.done(created)
        })
    }

    fn sell<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let sold = self
                .probe
                .timed("sell", sell(writer.connection(), orders, &self.probe))
                .await;
            writer.done(sold)
        })
    }

    fn decide<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let verdicts = self
                .probe
                .timed("decide", decide(writer.connection(), orders, &self.probe))
                .await;
            writer.done(verdicts)
        })
    }

    fn standing<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<bool>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let standing = self
                .probe
                .timed("standing", async {
                    Ok(standing(writer.connection(), orders).await?)
                })
                .await;
            let standing = writer.done(standing)?;
            Ok(orders
                .iter()
                .map(|order| standing.contains(&order.purchase.id))
                .collect())
        })
    }

    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        again: bool,
    ) -> Answer<'_, Option<(Purchase, bool)>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let refunded = self
                .probe
                .timed(
                    "refund",
                    refund(writer.connection(), id, at, again, &self.probe),
                )
                .await;
            writer.done(refunded)
        })
    }

    fn restock(&self, id: ConcertId, tickets: u32) -> Answer<'_, Option<Concert>> {
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
                .timed("restock", async {
                    self.probe.fault().await?;
                    let row = query.fetch_optional(writer.connection()).await?;
                    Ok(row.as_ref().map(rows::concert).transpose()?)
                })
                .await;
            writer.done(concert)
        })
    }

    fn next_night(&self, id: ConcertId) -> Answer<'_, Option<(Concert, u32)>> {
        Box::pin(async move {
            let mut writer = self.writer().await?;
            let concert = self
                .probe
                .timed(
                    "next_night",
                    next_night(writer.connection(), id, &self.probe),
                )
                .await;
            writer.done(concert)
        })
    }

    fn servers(&self) -> Answer<'_, Option<u32>> {
        // A file is for one server.
        Box::pin(async { Ok(Some(1)) })
    }

    fn pools(&self) -> Vec<PoolState> {
        let writing = u32::from(self.writer.try_lock().is_err());
        vec![
            PoolState {
                name: WRITER,
                used: writing,
                idle: 1 - writing,
                max: 1,
            },
            self.readers.state(),
        ]
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.readers.pool.close().await;
            if let Some(writer) = self.writer.lock().await.take()
                && let Err(error) = writer.close().await
            {
                tracing::warn!(%error, "the SQLite writer did not close cleanly");
            }
        })
    }
}

/// Takes the tickets and writes the purchases, or changes nothing.
async fn sell(
    writer: &mut SqliteConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<bool, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let quantities = order::quantities(orders);
    let all = take(&mut transaction, &quantities).await? == quantities.len() as u64
        && insert(&mut transaction, orders).await? == orders.len() as u64;
    if all {
        probe.fault().await?;
        transaction.commit().await.map_err(Failure::committing)?;
    } else {
        transaction.rollback().await?;
    }
    Ok(all)
}

async fn decide(
    writer: &mut SqliteConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<Vec<Verdict>, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let facts = facts(&mut transaction, orders).await?;
    let stood = facts.standing.clone();
    let verdicts = order::decide(orders, facts);
    let sold = order::to_insert(orders, &verdicts, &stood);
    if !sold.is_empty() {
        let (quantities, count) = (order::quantities(sold.iter().copied()), sold.len());
        let all = take(&mut transaction, &quantities).await? == quantities.len() as u64
            && insert(&mut transaction, sold).await? == count as u64;
        if !all {
            transaction.rollback().await?;
            return Err(Failure::Unlike);
        }
        probe.fault().await?;
    }
    transaction.commit().await.map_err(Failure::committing)?;
    Ok(verdicts)
}

async fn refund(
    writer: &mut SqliteConnection,
    id: PurchaseId,
    at: Timestamp,
    again: bool,
    probe: &Probe,
) -> Result<Option<(Purchase, bool)>, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(concat!(
        "UPDATE purchases SET status = 'refunded', refunded_at = $2 \
         WHERE id = $1 AND status = 'paid' RETURNING ",
        purchase_columns!()
    ))
    .bind(id.as_uuid())
    .bind(at.as_microsecond())
    .fetch_optional(&mut *transaction)
    .await?;
    let refunded = if let Some(row) = row {
        let purchase = rows::purchase(&row)?;
        sqlx::query("UPDATE concerts SET sold = sold - $2 WHERE id = $1")
            .bind(purchase.concert_id.as_uuid())
            .bind(i64::from(purchase.quantity))
            .execute(&mut *transaction)
            .await?;
        probe.fault().await?;
        Some((purchase, true))
    } else {
        let row = sqlx::query(SELECT_REFUNDED)
            .bind(id.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?;
        // Another's refund may be of the same microsecond: a first try is never it.
        row.map(|row| rows::refunded(&row, again.then_some(at)))
            .transpose()?
    };
    transaction.commit().await.map_err(Failure::committing)?;
    Ok(refunded)
}

/// Empties the books of a concert.
async fn next_night(
    writer: &mut SqliteConnection,
    id: ConcertId,
    probe: &Probe,
) -> Result<Option<(Concert, u32)>, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(concat!(
        "SELECT ",
        concert_columns!(),
        " FROM concerts WHERE id = $1"
    ))
    .bind(id.as_uuid())
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let before = rows::concert(&row)?;
    sqlx::query("UPDATE concerts SET sold = 0 WHERE id = $1")
        .bind(id.as_uuid())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM purchases WHERE concert_id = $1")
        .bind(id.as_uuid())
        .execute(&mut *transaction)
        .await?;
    probe.fault().await?;
    transaction.commit().await.map_err(Failure::committing)?;
    let sold = before.sold;
    Ok(Some((Concert { sold: 0, ..before }, sold)))
}

/// Takes the tickets from each concert that has enough; says from how many it took.
async fn take(
    writer: &mut SqliteConnection,
    quantities: &BTreeMap<ConcertId, i64>,
) -> Result<u64, sqlx::Error> {
    let quantities: Vec<_> = quantities
        .iter()
        .map(|(id, quantity)| json!([hex(id.as_uuid().as_bytes()), quantity]))
        .collect();
    let taken = sqlx::query(
        "UPDATE concerts SET sold = sold + d.quantity FROM ( \
             SELECT unhex(value ->> 0) AS id, value ->> 1 AS quantity FROM json_each($1) \
         ) AS d WHERE concerts.id = d.id AND sold + d.quantity <= capacity",
    )
    .bind(json(&quantities))
    .execute(writer)
    .await?;
    Ok(taken.rows_affected())
}

/// Writes the purchases that no other one stands in the way of; says how many.
async fn insert(
    writer: &mut SqliteConnection,
    orders: impl IntoIterator<Item = &Order>,
) -> Result<u64, sqlx::Error> {
    let purchases: Vec<_> = orders
        .into_iter()
        .map(|Order { purchase, key, .. }| {
            json!([
                hex(purchase.id.as_uuid().as_bytes()),
                hex(purchase.concert_id.as_uuid().as_bytes()),
                purchase.buyer,
                purchase.quantity,
                purchase.total.amount,
                purchase.total.currency,
                purchase.created_at.as_microsecond(),
                key.as_ref().map(|key| key.key.as_str()),
                key.as_ref().map(|key| hex(&key.digest)),
            ])
        })
        .collect();
    let inserted = sqlx::query(
        "INSERT INTO purchases (id, concert_id, buyer, quantity, total, currency, status, \
             created_at, idempotency_key, request_digest) \
         SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, \
             value ->> 5, 'paid', value ->> 6, value ->> 7, unhex(value ->> 8) \
         FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json(&purchases))
    .execute(writer)
    .await?;
    Ok(inserted.rows_affected())
}

/// What has to be known to decide the orders, read under the lock of the transaction.
async fn facts(writer: &mut SqliteConnection, orders: &[Order]) -> Result<Facts, sqlx::Error> {
    let mut facts = Facts {
        standing: standing(writer, orders).await?,
        ..Facts::default()
    };
    let concerts: Vec<_> = order::quantities(orders)
        .keys()
        .map(|id| hex(id.as_uuid().as_bytes()))
        .collect();
    let rows = sqlx::query(
        "SELECT id, slug, capacity, sold, currency FROM concerts \
         WHERE id IN (SELECT unhex(value) FROM json_each($1))",
    )
    .bind(json(&concerts))
    .fetch_all(&mut *writer)
    .await?;
    for row in &rows {
        let stock = rows::stock(row)?;
        facts.available.insert(stock.concert_id, stock.available());
    }
    let keys: Vec<_> = orders
        .iter()
        .filter_map(|Order { purchase, key, .. }| {
            let id = hex(purchase.concert_id.as_uuid().as_bytes());
            Some(json!([id, key.as_ref()?.key.as_str()]))
        })
        .collect();
    if !keys.is_empty() {
        let rows = sqlx::query(concat!(
            "SELECT ",
            purchase_columns!(),
            ", request_digest, idempotency_key FROM purchases \
             WHERE (concert_id, idempotency_key) IN ( \
                 SELECT unhex(value ->> 0), value ->> 1 FROM json_each($1))"
        ))
        .bind(json(&keys))
        .fetch_all(&mut *writer)
        .await?;
        for row in &rows {
            let (purchase, digest) = rows::keyed(row)?;
            let at = (purchase.concert_id, row.try_get(9)?);
            facts.by_key.insert(at, (purchase, digest));
        }
    }
    let buyers: Vec<_> = orders
        .iter()
        .filter(|order| order.max_per_buyer.is_some())
        .map(|Order { purchase, .. }| {
            let id = hex(purchase.concert_id.as_uuid().as_bytes());
            json!([id, purchase.buyer])
        })
        .collect();
    if !buyers.is_empty() {
        let rows = sqlx::query(
            "SELECT concert_id, buyer, SUM(quantity) FROM purchases \
             WHERE status = 'paid' AND (concert_id, buyer) IN ( \
                 SELECT unhex(value ->> 0), value ->> 1 FROM json_each($1)) \
             GROUP BY concert_id, buyer",
        )
        .bind(json(&buyers))
        .fetch_all(&mut *writer)
        .await?;
        for row in &rows {
            facts.held.insert(rows::holder(row)?, rows::held(row)?);
        }
    }
    Ok(facts)
}

async fn standing(
    writer: &mut SqliteConnection,
    orders: &[Order],
) -> Result<HashSet<PurchaseId>, sqlx::Error> {
    let ids: Vec<_> = orders
        .iter()
        .map(|order| hex(order.purchase.id.as_uuid().as_bytes()))
        .collect();
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM purchases WHERE id IN (SELECT unhex(value) FROM json_each($1))",
    )
    .bind(json(&ids))
    .fetch_all(writer)
    .await?;
    Ok(ids.into_iter().map(PurchaseId::from_uuid).collect())
}

/// A list as the one parameter of a statement, whose text so does not change with its length.
fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("text and numbers can be written as JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).expect("half a byte is one hex digit"));
        }
        text
    })
}

fn setup(problem: String) -> Error {
    Error::Setup { problem }
}

fn refused(error: sqlx::Error) -> Error {
    Failure::from(error).into_error()
}

fn cannot_open(url: &str) -> impl Fn(sqlx::Error) -> Error {
    let url = url.to_owned();
    move |error| setup(format!("{url:?} cannot be opened: {error}"))
}
