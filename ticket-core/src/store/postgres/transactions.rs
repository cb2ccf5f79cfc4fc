//! Statements and transactions of the PostgreSQL store.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use sqlx::{
    Postgres as Db, Row, Transaction,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::{Session, session::SessionMode};
use crate::{
    Concert, ConcertId, Purchase, PurchaseId,
    store::{
        Failure, Order, OrderResult, Probe,
        order::{self, Snapshot},
        rows::{self, concert_columns, purchase_columns, stock_columns},
    },
};

type PgQuery<'q> = Query<'q, Db, PgArguments>;

/// Number of purchases in a test of writes, half of the largest batch. They fill several pages.
const TEST_PURCHASES: usize = 256;

impl Session<'_> {
    pub(super) async fn create_concert(&mut self, concert: &Concert) -> Result<bool, Failure> {
        self.probe.inject().await?;
        let query = self.mode.query(concat!(
            "INSERT INTO concerts (",
            concert_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0) \
             ON CONFLICT DO NOTHING RETURNING id"
        ));
        let query = query
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
        Ok(self.execute_single(query).await?.len() == 1)
    }

    pub(super) async fn restock(
        &mut self,
        id: ConcertId,
        tickets: u32,
        max: u32,
    ) -> Result<Option<Concert>, Failure> {
        self.probe.inject().await?;
        let query = self.mode.query(concat!(
            "UPDATE concerts SET capacity = LEAST(capacity + $2, $3) WHERE id = $1 RETURNING ",
            concert_columns!()
        ));
        let query = query
            .bind(id.as_uuid())
            .bind(i64::from(tickets))
            .bind(i64::from(max));
        let rows = self.execute_single(query).await?;
        Ok(rows.first().map(rows::concert).transpose()?)
    }

    /// Finds out whether purchases can be written: inserts [`TEST_PURCHASES`] and rolls back, then
    /// commits a transaction that has an effect on the log but none on the data. On a disk that is
    /// almost full, the second write can succeed where a purchase fails. Neither waits for the lock
    /// of a concert.
    pub(super) async fn test_writes(&mut self) -> Result<(), Failure> {
        let mut tx = self.begin().await?;
        let query = tx.mode.query(
            "INSERT INTO purchases (id, concert_id, buyer, quantity, total, currency, created_at, \
                 status) \
             SELECT new.id, c.id, 'write test', 1, 0, c.currency, 0, 'paid' \
             FROM (SELECT id, currency FROM concerts ORDER BY id LIMIT 1 \
                     FOR KEY SHARE SKIP LOCKED) AS c, \
                 UNNEST($1::UUID[]) AS new (id)",
        );
        // Like those of purchases, the ids are in the last pages of the index.
        let ids: Vec<_> = (0..TEST_PURCHASES).map(|_| Uuid::now_v7()).collect();
        tx.execute(query.bind(ids)).await?;
        tx.rollback().await?;
        let query = self.mode.query(
            "UPDATE concerts SET sold = sold WHERE id = (SELECT id FROM concerts ORDER BY id \
             LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)",
        );
        self.execute_single(query).await?;
        Ok(())
    }

    /// Reserves the tickets and inserts the purchases, or changes nothing.
    pub(super) async fn sell(&mut self, orders: &[Order]) -> Result<bool, Failure> {
        let quantities = order::quantities(orders);
        let mut tx = self.begin().await?;
        if quantities.len() > 1 {
            // An UPDATE locks rows in the order of its plan: two of them could deadlock.
            tx.lock(orders).await?;
        }
        let sold = tx.reserve(&quantities).await? == quantities.len()
            && tx.insert(orders).await? == orders.len();
        if sold {
            tx.probe.inject().await?;
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
        Ok(sold)
    }

    pub(super) async fn decide(&mut self, orders: &[Order]) -> Result<Vec<OrderResult>, Failure> {
        let mut tx = self.begin().await?;
        let snapshot = tx.snapshot(orders).await?;
        let committed = snapshot.committed.clone();
        let results = order::decide(orders, snapshot);
        let sold = order::to_insert(orders, &results, &committed);
        if !sold.is_empty() {
            let (quantities, count) = (order::quantities(sold.iter().copied()), sold.len());
            let complete = tx.reserve(&quantities).await? == quantities.len()
                && tx.insert(sold).await? == count;
            if !complete {
                tx.rollback().await?;
                return Err(Failure::RowCountMismatch);
            }
            tx.probe.inject().await?;
        }
        tx.commit().await?;
        Ok(results)
    }

    /// Returns which orders are committed. The locks wait for transactions of earlier attempts,
    /// which the server may still be executing.
    pub(super) async fn find_committed(
        &mut self,
        orders: &[Order],
    ) -> Result<HashSet<PurchaseId>, Failure> {
        let mut tx = self.begin().await?;
        tx.lock(orders).await?;
        let committed = tx.committed(orders).await?;
        tx.rollback().await?;
        Ok(committed)
    }

    pub(super) async fn refund(
        &mut self,
        id: PurchaseId,
        at: Timestamp,
        may_have_committed: bool,
    ) -> Result<Option<(Purchase, bool)>, Failure> {
        let mut tx = self.begin().await?;
        let query = tx.mode.query(concat!(
            "UPDATE purchases SET status = 'refunded', refunded_at = $2 \
             WHERE id = $1 AND status = 'paid' RETURNING ",
            purchase_columns!()
        ));
        let query = query.bind(id.as_uuid()).bind(at.as_microsecond());
        let refunded = if let Some(row) = tx.fetch(query).await?.first() {
            let purchase = rows::purchase(row)?;
            let query = tx
                .mode
                .query("UPDATE concerts SET sold = sold - $2 WHERE id = $1")
                .bind(purchase.concert_id.as_uuid())
                .bind(i64::from(purchase.quantity));
            tx.execute(query).await?;
            tx.probe.inject().await?;
            Some((purchase, true))
        } else {
            let query = tx.mode.query(concat!(
                "SELECT ",
                purchase_columns!(),
                ", refunded_at FROM purchases WHERE id = $1"
            ));
            let rows = tx.fetch(query.bind(id.as_uuid())).await?;
            // A concurrent refund may have the same timestamp, which identifies this call only
            // after an attempt that may have been committed.
            rows.first()
                .map(|row| rows::refunded(row, may_have_committed.then_some(at)))
                .transpose()?
        };
        tx.commit().await?;
        Ok(refunded)
    }

    /// Deletes the purchases of a concert and makes all of its tickets available. Concurrent
    /// purchases wait for the lock on the concert's row.
    pub(super) async fn reset_sales(
        &mut self,
        id: ConcertId,
    ) -> Result<Option<(Concert, u32)>, Failure> {
        let mut tx = self.begin().await?;
        let query = tx.mode.query(concat!(
            "SELECT ",
            concert_columns!(),
            " FROM concerts WHERE id = $1 FOR UPDATE"
        ));
        let rows = tx.fetch(query.bind(id.as_uuid())).await?;
        let Some(row) = rows.first() else {
            tx.rollback().await?;
            return Ok(None);
        };
        let before = rows::concert(row)?;
        for statement in [
            "UPDATE concerts SET sold = 0 WHERE id = $1",
            "DELETE FROM purchases WHERE concert_id = $1",
        ] {
            let query = tx.mode.query(statement).bind(id.as_uuid());
            tx.execute(query).await?;
        }
        tx.probe.inject().await?;
        tx.commit().await?;
        let sold = before.sold;
        Ok(Some((Concert { sold: 0, ..before }, sold)))
    }

    async fn begin(&mut self) -> Result<Tx<'_>, Failure> {
        let begin = self.mode.begin(self.lease.connection());
        Ok(Tx {
            transaction: self.probe.with_timeout(begin).await?,
            mode: self.mode,
            probe: self.probe,
        })
    }

    /// Runs a single statement, in an explicit transaction only where the session is shared.
    async fn execute_single(&mut self, query: PgQuery<'_>) -> Result<Vec<PgRow>, Failure> {
        if self.mode.is_shared() {
            let mut tx = self.begin().await?;
            let rows = tx.fetch(query).await?;
            tx.commit().await?;
            return Ok(rows);
        }
        let rows = query.fetch_all(self.lease.connection());
        Ok(self.probe.with_timeout(rows).await?)
    }
}

/// Open transaction. Every statement has a timeout.
struct Tx<'a> {
    transaction: Transaction<'a, Db>,
    mode: &'a SessionMode,
    probe: &'a Probe,
}

impl Tx<'_> {
    async fn commit(self) -> Result<(), Failure> {
        let committed = self.probe.with_timeout(self.transaction.commit()).await;
        committed.map_err(Failure::committing)
    }

    async fn rollback(self) -> Result<(), Failure> {
        Ok(self.probe.with_timeout(self.transaction.rollback()).await?)
    }

    async fn fetch(&mut self, query: PgQuery<'_>) -> Result<Vec<PgRow>, Failure> {
        let rows = query.fetch_all(&mut *self.transaction);
        Ok(self.probe.with_timeout(rows).await?)
    }

    /// Runs a statement and returns the number of affected rows.
    async fn execute(&mut self, query: PgQuery<'_>) -> Result<usize, Failure> {
        let result = query.execute(&mut *self.transaction);
        let result = self.probe.with_timeout(result).await?;
        Ok(usize::try_from(result.rows_affected()).unwrap_or(usize::MAX))
    }

    /// Locks the concerts, in the order that every transaction uses, and returns their available
    /// tickets.
    async fn lock(&mut self, orders: &[Order]) -> Result<HashMap<ConcertId, u32>, Failure> {
        let ids: Vec<Uuid> = order::quantities(orders)
            .into_keys()
            .map(ConcertId::as_uuid)
            .collect();
        let query = self.mode.query(concat!(
            "SELECT ",
            stock_columns!(),
            " FROM concerts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
        ));
        let rows = self.fetch(query.bind(ids)).await?;
        let available = rows.iter().map(|row| {
            let stock = rows::stock(row)?;
            Ok((stock.concert_id, stock.available()))
        });
        available.collect()
    }

    /// Reserves tickets of each concert that has enough. Returns the number of concerts updated.
    async fn reserve(&mut self, quantities: &BTreeMap<ConcertId, i64>) -> Result<usize, Failure> {
        let (ids, quantities): (Vec<Uuid>, Vec<i64>) = quantities
            .iter()
            .map(|(id, quantity)| (id.as_uuid(), quantity))
            .unzip();
        let query = self.mode.query(
            "UPDATE concerts SET sold = sold + d.quantity \
             FROM UNNEST($1::UUID[], $2::BIGINT[]) AS d (id, quantity) \
             WHERE concerts.id = d.id AND sold + d.quantity <= capacity",
        );
        self.execute(query.bind(ids).bind(quantities)).await
    }

    /// Inserts the purchases that do not conflict with another one. Returns their number.
    async fn insert(&mut self, orders: impl IntoIterator<Item = &Order>) -> Result<usize, Failure> {
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
        let query = self.mode.query(
            "INSERT INTO purchases (id, concert_id, buyer, quantity, total, currency, created_at, \
                 idempotency_key, request_digest, status) \
             SELECT *, 'paid' FROM UNNEST($1::UUID[], $2::UUID[], $3::TEXT[], $4::BIGINT[], \
                 $5::BIGINT[], $6::TEXT[], $7::BIGINT[], $8::TEXT[], $9::BYTEA[]) \
             ON CONFLICT DO NOTHING",
        );
        let query = query
            .bind(ids)
            .bind(concerts)
            .bind(buyers)
            .bind(quantities)
            .bind(totals)
            .bind(currencies)
            .bind(times)
            .bind(keys)
            .bind(digests);
        self.execute(query).await
    }

    /// Locks the concerts and reads the state that decides the orders.
    async fn snapshot(&mut self, orders: &[Order]) -> Result<Snapshot, Failure> {
        let mut snapshot = Snapshot {
            available: self.lock(orders).await?,
            committed: self.committed(orders).await?,
            ..Snapshot::default()
        };
        let (concerts, keys): (Vec<Uuid>, Vec<&str>) = orders
            .iter()
            .filter_map(|Order { purchase, key, .. }| {
                Some((purchase.concert_id.as_uuid(), key.as_ref()?.key.as_str()))
            })
            .unzip();
        if !keys.is_empty() {
            let query = self.mode.query(concat!(
                "SELECT ",
                purchase_columns!(),
                ", request_digest, idempotency_key FROM purchases \
                 WHERE (concert_id, idempotency_key) IN ( \
                     SELECT * FROM UNNEST($1::UUID[], $2::TEXT[]))"
            ));
            for row in &self.fetch(query.bind(concerts).bind(keys)).await? {
                let (purchase, digest) = rows::keyed(row)?;
                let at = (purchase.concert_id, row.try_get(9)?);
                snapshot.by_key.insert(at, (purchase, digest));
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
            let query = self.mode.query(
                "SELECT concert_id, buyer, SUM(quantity)::BIGINT FROM purchases \
                 WHERE status = 'paid' AND (concert_id, buyer) IN ( \
                     SELECT * FROM UNNEST($1::UUID[], $2::TEXT[])) \
                 GROUP BY concert_id, buyer",
            );
            for row in &self.fetch(query.bind(concerts).bind(buyers)).await? {
                snapshot.held.insert(rows::holder(row)?, rows::held(row)?);
            }
        }
        Ok(snapshot)
    }

    async fn committed(&mut self, orders: &[Order]) -> Result<HashSet<PurchaseId>, Failure> {
        let ids: Vec<Uuid> = orders.iter().map(|o| o.purchase.id.as_uuid()).collect();
        let query = self
            .mode
            .query("SELECT id FROM purchases WHERE id = ANY($1)")
            .bind(ids);
        let rows = self.fetch(query).await?;
        let ids = rows
            .iter()
            .map(|row| Ok(PurchaseId::from_uuid(row.try_get(0)?)));
        ids.collect()
    }
}
