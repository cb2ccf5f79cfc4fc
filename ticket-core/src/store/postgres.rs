//! PostgreSQL, and what speaks its protocol: for more than one server.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::Pin,
    str::FromStr,
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{
    ConnectOptions, Connection, PgConnection, Postgres as Db, Row, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use super::{
    Answer, Failure, Order, PoolState, Probe, Reads, Store, Timeouts, Verdict,
    connections::Connections,
    migrate,
    order::{self, Facts},
    rows::{self, concert_columns, purchase_columns},
};
use crate::{Concert, ConcertId, Error, Purchase, PurchaseId, concert::MAX_CAPACITY};

/// Batches committed at the same time. Each concert has its lane, so that batches do not wait for
/// each other's locks.
const LANES: usize = 4;

/// A database on a server, shared with other processes like this one.
pub(crate) struct Postgres {
    connections: Connections<Db>,
    probe: Probe,
}

impl Postgres {
    pub(crate) async fn open(
        url: &str,
        connections: u32,
        timeouts: Timeouts,
        probe: Probe,
    ) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| setup(format!("the address of PostgreSQL cannot be read: {error}")))?
            .disable_statement_logging();
        Self::prepare(&options).await?;
        // Each process has a name of its own, so that they can be counted.
        let random = Uuid::now_v7().simple().to_string();
        let name = format!("tickets-{}", &random[20..]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeouts.connection)
            .test_before_acquire(false)
            .before_acquire({
                let health = probe.health.clone();
                move |_, idle| {
                    // Not asked whether it still serves: a machine that is gone says nothing.
                    let doubtful = health.doubts(idle.idle_for);
                    Box::pin(async move { Ok(!doubtful) })
                }
            })
            .connect_with(options.application_name(&name).options([
                ("statement_timeout", millis(timeouts.statement)),
                ("lock_timeout", millis(timeouts.lock)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(timeouts.statement),
                ),
            ]))
            .await
            .map_err(refused)?;
        Ok(Self {
            connections: Connections {
                name: "postgresql",
                pool,
                probe: probe.clone(),
            },
            probe,
        })
    }

    /// Migrates, and makes sure of what durability rests on.
    async fn prepare(options: &PgConnectOptions) -> Result<(), Error> {
        // Without time limits: of many processes that start at once, one migrates and the others
        // wait for it, on an advisory lock.
        let mut connection = options.connect().await.map_err(refused)?;
        migrate::postgres()
            .run_direct(None, &mut connection, false)
            .await?;
        for (setting, forbidden) in [("synchronous_commit", "off"), ("fsync", "off")] {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(setting)
                .fetch_one(&mut connection)
                .await
                .map_err(refused)?;
            if value != forbidden {
                continue;
            }
            if setting == "synchronous_commit" {
                return Err(setup(
                    "synchronous_commit is off: a purchase would be answered before it is on \
                     disk; set it to on"
                        .to_owned(),
                ));
            }
            tracing::warn!("fsync is off: purchases will not outlive a crash of the machine");
        }
        connection.close().await.map_err(refused)
    }
}

impl Store for Postgres {
    fn reads(&self) -> &dyn Reads {
        &self.connections
    }

    fn lanes(&self) -> usize {
        LANES
    }

    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
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
                .timed("create_concert", async {
                    self.probe.fault().await?;
                    let asked = query.execute(held.connection());
                    Ok(self.probe.answer(asked).await?.rows_affected() == 1)
                })
                .await;
            held.done(created)
        })
    }

    fn sell<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let sold = self
                .probe
                .timed("sell", sell(held.connection(), orders, &self.probe))
                .await;
            held.done(sold)
        })
    }

    fn decide<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let verdicts = self
                .probe
                .timed("decide", decide(held.connection(), orders, &self.probe))
                .await;
            held.done(verdicts)
        })
    }

    fn standing<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<bool>> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let standing = self
                .probe
                .timed("standing", async {
                    let asked = async {
                        let mut transaction = held.connection().begin().await?;
                        lock(&mut transaction, orders).await?;
                        let standing = standing(&mut transaction, orders).await?;
                        transaction.rollback().await?;
                        Ok(standing)
                    };
                    Ok(self.probe.answer(asked).await?)
                })
                .await;
            let standing = held.done(standing)?;
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
            let mut held = self.connections.acquire().await?;
            let refunded = self
                .probe
                .timed(
                    "refund",
                    refund(held.connection(), id, at, again, &self.probe),
                )
                .await;
            held.done(refunded)
        })
    }

    fn restock(&self, id: ConcertId, tickets: u32) -> Answer<'_, Option<Concert>> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let query = sqlx::query(concat!(
                "UPDATE concerts SET capacity = LEAST(capacity + $2, $3) WHERE id = $1 RETURNING ",
                concert_columns!()
            ))
            .bind(id.as_uuid())
            .bind(i64::from(tickets))
            .bind(i64::from(MAX_CAPACITY));
            let concert = self
                .probe
                .timed("restock", async {
                    self.probe.fault().await?;
                    let asked = query.fetch_optional(held.connection());
                    let row = self.probe.answer(asked).await?;
                    Ok(row.as_ref().map(rows::concert).transpose()?)
                })
                .await;
            held.done(concert)
        })
    }

    fn next_night(&self, id: ConcertId) -> Answer<'_, Option<(Concert, u32)>> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let concert = self
                .probe
                .timed("next_night", next_night(held.connection(), id, &self.probe))
                .await;
            held.done(concert)
        })
    }

    fn servers(&self) -> Answer<'_, Option<u32>> {
        Box::pin(async move {
            let mut held = self.connections.acquire().await?;
            let asked = sqlx::query_scalar(
                "SELECT count(DISTINCT application_name) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'tickets-%'",
            )
            .fetch_one(held.connection());
            let count: Result<i64, _> = self.probe.answer(asked).await;
            let count = held.done(count.map_err(Failure::from))?;
            // A database that does not even show us shows nobody.
            Ok(u32::try_from(count).ok().filter(|count| *count > 0))
        })
    }

    fn pools(&self) -> Vec<PoolState> {
        vec![self.connections.state()]
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.connections.pool.close())
    }
}

/// Takes the tickets and writes the purchases, or changes nothing.
async fn sell(
    connection: &mut PgConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<bool, Failure> {
    let quantities = order::quantities(orders);
    let mut transaction = probe.answer(connection.begin()).await?;
    if quantities.len() > 1 {
        // An UPDATE locks its rows in an order of its own: two of them could deadlock.
        probe.answer(lock(&mut transaction, orders)).await?;
    }
    let taken = probe.answer(take(&mut transaction, &quantities)).await?;
    let all = taken == quantities.len() as u64
        && probe.answer(insert(&mut transaction, orders)).await? == orders.len() as u64;
    if all {
        probe.fault().await?;
        commit(transaction, probe).await?;
    } else {
        probe.answer(transaction.rollback()).await?;
    }
    Ok(all)
}

async fn decide(
    connection: &mut PgConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<Vec<Verdict>, Failure> {
    let mut transaction = probe.answer(connection.begin()).await?;
    let facts = probe.answer(facts(&mut transaction, orders)).await?;
    let stood = facts.standing.clone();
    let verdicts = order::decide(orders, facts);
    let sold = order::to_insert(orders, &verdicts, &stood);
    if !sold.is_empty() {
        let (quantities, count) = (order::quantities(sold.iter().copied()), sold.len());
        let taken = probe.answer(take(&mut transaction, &quantities)).await?;
        let all = taken == quantities.len() as u64
            && probe.answer(insert(&mut transaction, sold)).await? == count as u64;
        if !all {
            probe.answer(transaction.rollback()).await?;
            return Err(Failure::Unlike);
        }
        probe.fault().await?;
    }
    commit(transaction, probe).await?;
    Ok(verdicts)
}

async fn refund(
    connection: &mut PgConnection,
    id: PurchaseId,
    at: Timestamp,
    again: bool,
    probe: &Probe,
) -> Result<Option<(Purchase, bool)>, Failure> {
    let mut transaction = probe.answer(connection.begin()).await?;
    let asked = sqlx::query(concat!(
        "UPDATE purchases SET status = 'refunded', refunded_at = $2 \
         WHERE id = $1 AND status = 'paid' RETURNING ",
        purchase_columns!()
    ))
    .bind(id.as_uuid())
    .bind(at.as_microsecond())
    .fetch_optional(&mut *transaction);
    let row = probe.answer(asked).await?;
    let refunded = if let Some(row) = row {
        let purchase = rows::purchase(&row)?;
        let asked = sqlx::query("UPDATE concerts SET sold = sold - $2 WHERE id = $1")
            .bind(purchase.concert_id.as_uuid())
            .bind(i64::from(purchase.quantity))
            .execute(&mut *transaction);
        probe.answer(asked).await?;
        probe.fault().await?;
        Some((purchase, true))
    } else {
        let asked = sqlx::query(concat!(
            "SELECT ",
            purchase_columns!(),
            ", refunded_at FROM purchases WHERE id = $1"
        ))
        .bind(id.as_uuid())
        .fetch_optional(&mut *transaction);
        let row = probe.answer(asked).await?;
        // Another's refund may be of the same microsecond: a first try is never it.
        row.map(|row| rows::refunded(&row, again.then_some(at)))
            .transpose()?
    };
    commit(transaction, probe).await?;
    Ok(refunded)
}

/// Empties the books of a concert. Its row is locked first: whoever buys meanwhile waits, and buys
/// for the next night.
async fn next_night(
    connection: &mut PgConnection,
    id: ConcertId,
    probe: &Probe,
) -> Result<Option<(Concert, u32)>, Failure> {
    let mut transaction = probe.answer(connection.begin()).await?;
    let asked = sqlx::query(concat!(
        "SELECT ",
        concert_columns!(),
        " FROM concerts WHERE id = $1 FOR UPDATE"
    ))
    .bind(id.as_uuid())
    .fetch_optional(&mut *transaction);
    let row = probe.answer(asked).await?;
    let Some(row) = row else { return Ok(None) };
    let before = rows::concert(&row)?;
    let asked = sqlx::query("UPDATE concerts SET sold = 0 WHERE id = $1")
        .bind(id.as_uuid())
        .execute(&mut *transaction);
    probe.answer(asked).await?;
    let asked = sqlx::query("DELETE FROM purchases WHERE concert_id = $1")
        .bind(id.as_uuid())
        .execute(&mut *transaction);
    probe.answer(asked).await?;
    probe.fault().await?;
    commit(transaction, probe).await?;
    let sold = before.sold;
    Ok(Some((Concert { sold: 0, ..before }, sold)))
}

async fn commit(transaction: Transaction<'_, Db>, probe: &Probe) -> Result<(), Failure> {
    let committed = probe.answer(transaction.commit()).await;
    committed.map_err(Failure::committing)
}

/// Locks the concerts in the order in which everyone does, and reads what they have left.
async fn lock(
    connection: &mut PgConnection,
    orders: &[Order],
) -> Result<HashMap<ConcertId, u32>, sqlx::Error> {
    let ids: Vec<Uuid> = order::quantities(orders)
        .into_keys()
        .map(ConcertId::as_uuid)
        .collect();
    let rows = sqlx::query(
        "SELECT id, slug, capacity, sold, currency FROM concerts WHERE id = ANY($1) \
         ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let stock = rows::stock(row)?;
            Ok((stock.concert_id, stock.available()))
        })
        .collect()
}

/// Takes the tickets from each concert that has enough; says from how many it took.
async fn take(
    connection: &mut PgConnection,
    quantities: &BTreeMap<ConcertId, i64>,
) -> Result<u64, sqlx::Error> {
    let (ids, quantities): (Vec<Uuid>, Vec<i64>) = quantities
        .iter()
        .map(|(id, quantity)| (id.as_uuid(), quantity))
        .unzip();
    let taken = sqlx::query(
        "UPDATE concerts SET sold = sold + d.quantity \
         FROM UNNEST($1::UUID[], $2::BIGINT[]) AS d (id, quantity) \
         WHERE concerts.id = d.id AND sold + d.quantity <= capacity",
    )
    .bind(ids)
    .bind(quantities)
    .execute(connection)
    .await?;
    Ok(taken.rows_affected())
}

/// Writes the purchases that no other one stands in the way of; says how many.
async fn insert(
    connection: &mut PgConnection,
    orders: impl IntoIterator<Item = &Order>,
) -> Result<u64, sqlx::Error> {
    let mut ids = Vec::new();
    let mut concerts = Vec::new();
    let mut buyers = Vec::new();
    let mut quantities = Vec::new();
    let mut totals = Vec::new();
    let mut currencies = Vec::new();
    let mut times = Vec::new();
    let mut keys = Vec::new();
    let mut digests = Vec::new();
    for Order { purchase, key, .. } in orders {
        ids.push(purchase.id.as_uuid());
        concerts.push(purchase.concert_id.as_uuid());
        buyers.push(&*purchase.buyer);
        quantities.push(i64::from(purchase.quantity));
        totals.push(purchase.total.amount);
        currencies.push(purchase.total.currency.as_str());
        times.push(purchase.created_at.as_microsecond());
        keys.push(key.as_ref().map(|key| key.key.as_str()));
        digests.push(key.as_ref().map(|key| &key.digest[..]));
    }
    let inserted = sqlx::query(
        "INSERT INTO purchases (id, concert_id, buyer, quantity, total, currency, created_at, \
             idempotency_key, request_digest, status) \
         SELECT *, 'paid' FROM UNNEST($1::UUID[], $2::UUID[], $3::TEXT[], $4::BIGINT[], \
             $5::BIGINT[], $6::TEXT[], $7::BIGINT[], $8::TEXT[], $9::BYTEA[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .bind(concerts)
    .bind(buyers)
    .bind(quantities)
    .bind(totals)
    .bind(currencies)
    .bind(times)
    .bind(keys)
    .bind(digests)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}

/// What has to be known to decide the orders, read under the concerts' locks.
async fn facts(connection: &mut PgConnection, orders: &[Order]) -> Result<Facts, sqlx::Error> {
    let mut facts = Facts {
        available: lock(connection, orders).await?,
        standing: standing(connection, orders).await?,
        ..Facts::default()
    };
    let (concerts, keys): (Vec<Uuid>, Vec<&str>) = orders
        .iter()
        .filter_map(|Order { purchase, key, .. }| {
            Some((purchase.concert_id.as_uuid(), key.as_ref()?.key.as_str()))
        })
        .unzip();
    if !keys.is_empty() {
        let rows = sqlx::query(concat!(
            "SELECT ",
            purchase_columns!(),
            ", request_digest, idempotency_key FROM purchases \
             WHERE (concert_id, idempotency_key) IN ( \
                 SELECT * FROM UNNEST($1::UUID[], $2::TEXT[]))"
        ))
        .bind(concerts)
        .bind(keys)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let (purchase, digest) = rows::keyed(row)?;
            let at = (purchase.concert_id, row.try_get(9)?);
            facts.by_key.insert(at, (purchase, digest));
        }
    }
    let (concerts, buyers): (Vec<Uuid>, Vec<&str>) = orders
        .iter()
        .filter(|order| order.max_per_buyer.is_some())
        .map(|order| {
            let purchase = &order.purchase;
            (purchase.concert_id.as_uuid(), &*purchase.buyer)
        })
        .unzip();
    if !buyers.is_empty() {
        let rows = sqlx::query(
            "SELECT concert_id, buyer, SUM(quantity)::BIGINT FROM purchases \
             WHERE status = 'paid' AND (concert_id, buyer) IN ( \
                 SELECT * FROM UNNEST($1::UUID[], $2::TEXT[])) \
             GROUP BY concert_id, buyer",
        )
        .bind(concerts)
        .bind(buyers)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            facts.held.insert(rows::holder(row)?, rows::held(row)?);
        }
    }
    Ok(facts)
}

async fn standing(
    connection: &mut PgConnection,
    orders: &[Order],
) -> Result<HashSet<PurchaseId>, sqlx::Error> {
    let ids: Vec<Uuid> = orders.iter().map(|o| o.purchase.id.as_uuid()).collect();
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM purchases WHERE id = ANY($1)")
        .bind(ids)
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().map(PurchaseId::from_uuid).collect())
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn setup(problem: String) -> Error {
    Error::Setup { problem }
}

fn refused(error: sqlx::Error) -> Error {
    Failure::from(error).into_error()
}
