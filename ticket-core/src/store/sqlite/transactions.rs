//! Transactions of the SQLite writer.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};
use uuid::Uuid;

use crate::{
    Concert, ConcertId, Purchase, PurchaseId,
    store::{
        Failure, Order, OrderResult, Probe,
        order::{self, Snapshot},
        rows::{self, concert_columns, purchase_columns, stock_columns},
    },
};

const SELECT_REFUNDED: &str = concat!(
    "SELECT ",
    purchase_columns!(),
    ", refunded_at FROM purchases WHERE id = $1"
);

/// Selects purchases by concert and key. SQLite does not derive from the `IN` that the key is not
/// null, which is the condition of the partial index: without the explicit condition, it reads every
/// purchase of the concert.
const SELECT_BY_KEY: &str = concat!(
    "SELECT ",
    purchase_columns!(),
    ", request_digest, idempotency_key FROM purchases \
     WHERE idempotency_key IS NOT NULL AND (concert_id, idempotency_key) IN ( \
         SELECT unhex(value ->> 0), value ->> 1 FROM json_each($1))"
);

/// Sums the tickets that buyers hold of concerts.
const SELECT_HELD: &str = "SELECT concert_id, buyer, SUM(quantity) FROM purchases \
     WHERE status = 'paid' AND (concert_id, buyer) IN ( \
         SELECT unhex(value ->> 0), value ->> 1 FROM json_each($1)) \
     GROUP BY concert_id, buyer";

const SELECT_COMMITTED: &str =
    "SELECT id FROM purchases WHERE id IN (SELECT unhex(value) FROM json_each($1))";

/// Reserves the tickets and inserts the purchases, or changes nothing.
pub(super) async fn sell(
    writer: &mut SqliteConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<bool, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let quantities = order::quantities(orders);
    let all = reserve(&mut transaction, &quantities).await? == quantities.len() as u64
        && insert(&mut transaction, orders).await? == orders.len() as u64;
    if all {
        probe.inject().await?;
        transaction.commit().await.map_err(Failure::committing)?;
    } else {
        transaction.rollback().await?;
    }
    Ok(all)
}

pub(super) async fn decide(
    writer: &mut SqliteConnection,
    orders: &[Order],
    probe: &Probe,
) -> Result<Vec<OrderResult>, Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let snapshot = snapshot(&mut transaction, orders).await?;
    let committed = snapshot.committed.clone();
    let results = order::decide(orders, snapshot);
    let sold = order::to_insert(orders, &results, &committed);
    if !sold.is_empty() {
        let (quantities, count) = (order::quantities(sold.iter().copied()), sold.len());
        let all = reserve(&mut transaction, &quantities).await? == quantities.len() as u64
            && insert(&mut transaction, sold).await? == count as u64;
        if !all {
            transaction.rollback().await?;
            return Err(Failure::RowCountMismatch);
        }
        probe.inject().await?;
    }
    transaction.commit().await.map_err(Failure::committing)?;
    Ok(results)
}

pub(super) async fn refund(
    writer: &mut SqliteConnection,
    id: PurchaseId,
    at: Timestamp,
    may_have_committed: bool,
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
        probe.inject().await?;
        Some((purchase, true))
    } else {
        let row = sqlx::query(SELECT_REFUNDED)
            .bind(id.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?;
        // A concurrent refund may have the same timestamp, which identifies this call only after an
        // attempt that may have been committed.
        row.map(|row| rows::refunded(&row, may_have_committed.then_some(at)))
            .transpose()?
    };
    transaction.commit().await.map_err(Failure::committing)?;
    Ok(refunded)
}

/// Deletes the purchases of a concert and makes all of its tickets available.
pub(super) async fn reset_sales(
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
    probe.inject().await?;
    transaction.commit().await.map_err(Failure::committing)?;
    let sold = before.sold;
    Ok(Some((Concert { sold: 0, ..before }, sold)))
}

/// Reserves tickets of each concert that has enough. Returns the number of concerts updated.
async fn reserve(
    writer: &mut SqliteConnection,
    quantities: &BTreeMap<ConcertId, i64>,
) -> Result<u64, sqlx::Error> {
    let quantities: Vec<_> = quantities
        .iter()
        .map(|(id, quantity)| json!([hex(id.as_uuid().as_bytes()), quantity]))
        .collect();
    let reserved = sqlx::query(
        "UPDATE concerts SET sold = sold + d.quantity FROM ( \
             SELECT unhex(value ->> 0) AS id, value ->> 1 AS quantity FROM json_each($1) \
         ) AS d WHERE concerts.id = d.id AND sold + d.quantity <= capacity",
    )
    .bind(json(&quantities))
    .execute(writer)
    .await?;
    Ok(reserved.rows_affected())
}

/// Inserts the purchases that do not conflict with another one. Returns their number.
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

/// Reads the state that decides the orders, while the transaction holds the write lock.
async fn snapshot(
    writer: &mut SqliteConnection,
    orders: &[Order],
) -> Result<Snapshot, sqlx::Error> {
    let mut snapshot = Snapshot {
        committed: committed(writer, orders).await?,
        ..Snapshot::default()
    };
    let concerts: Vec<_> = order::quantities(orders)
        .keys()
        .map(|id| hex(id.as_uuid().as_bytes()))
        .collect();
    let rows = sqlx::query(concat!(
        "SELECT ",
        stock_columns!(),
        " FROM concerts WHERE id IN (SELECT unhex(value) FROM json_each($1))"
    ))
    .bind(json(&concerts))
    .fetch_all(&mut *writer)
    .await?;
    for row in &rows {
        let stock = rows::stock(row)?;
        snapshot
            .available
            .insert(stock.concert_id, stock.available());
    }
    let keys: Vec<_> = orders
        .iter()
        .filter_map(|Order { purchase, key, .. }| {
            let id = hex(purchase.concert_id.as_uuid().as_bytes());
            Some(json!([id, key.as_ref()?.key.as_str()]))
        })
        .collect();
    if !keys.is_empty() {
        let rows = sqlx::query(SELECT_BY_KEY)
            .bind(json(&keys))
            .fetch_all(&mut *writer)
            .await?;
        for row in &rows {
            let (purchase, digest) = rows::keyed(row)?;
            let at = (purchase.concert_id, row.try_get(9)?);
            snapshot.by_key.insert(at, (purchase, digest));
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
        let rows = sqlx::query(SELECT_HELD)
            .bind(json(&buyers))
            .fetch_all(&mut *writer)
            .await?;
        for row in &rows {
            snapshot.held.insert(rows::holder(row)?, rows::held(row)?);
        }
    }
    Ok(snapshot)
}

/// Writes as many pages as a batch of purchases does, to find out whether writes succeed, and frees
/// them for the next purchases. The checkpoint lets the next write reuse the write-ahead log, and it
/// fails if the database itself cannot grow: on a disk that is almost full, a small write can succeed
/// where a purchase fails.
pub(super) async fn test_writes(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for statement in [
        // Left by a process that was killed during the test.
        "DROP TABLE IF EXISTS write_test",
        "CREATE TABLE write_test AS SELECT zeroblob(262144) AS padding",
        "DROP TABLE write_test",
        "PRAGMA wal_checkpoint(PASSIVE)",
    ] {
        sqlx::query(statement).execute(&mut *writer).await?;
    }
    Ok(())
}

/// Moves the write-ahead log into the database and truncates it. Returns `false` if reads did not
/// end in time.
pub(super) async fn truncate_wal(writer: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(writer)
        .await?;
    Ok(busy == 0)
}

pub(super) async fn committed(
    writer: &mut SqliteConnection,
    orders: &[Order],
) -> Result<HashSet<PurchaseId>, sqlx::Error> {
    let ids: Vec<_> = orders
        .iter()
        .map(|order| hex(order.purchase.id.as_uuid().as_bytes()))
        .collect();
    let ids: Vec<Uuid> = sqlx::query_scalar(SELECT_COMMITTED)
        .bind(json(&ids))
        .fetch_all(writer)
        .await?;
    Ok(ids.into_iter().map(PurchaseId::from_uuid).collect())
}

/// Encodes a list as a single parameter, so that one prepared statement serves every length.
pub(super) fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("strings and numbers serialize to JSON")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

    use super::{SELECT_BY_KEY, SELECT_COMMITTED, SELECT_HELD, SELECT_REFUNDED};
    use crate::store::{migrate, reads::AUDIT};

    /// Creates an empty database.
    async fn database() -> SqliteConnection {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let migrations = migrate::sqlite();
        migrations
            .run_direct(None, &mut database, false)
            .await
            .unwrap();
        database
    }

    async fn plan(database: &mut SqliteConnection, statement: &str) -> Vec<String> {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let steps = sqlx::query(explain).fetch_all(database).await.unwrap();
        steps.iter().map(|step| step.get("detail")).collect()
    }

    #[tokio::test]
    async fn an_audit_does_not_sort_the_purchases() {
        let steps = plan(&mut database().await, AUDIT).await;
        let joined = "SEARCH p USING INDEX purchases_by_buyer (concert_id=?) LEFT-JOIN";
        assert!(steps.contains(&joined.to_owned()), "{steps:?}");
        // A line per concert is sorted, by its id.
        let sorted = "USE TEMP B-TREE FOR GROUP BY";
        assert!(!steps.contains(&sorted.to_owned()), "{steps:?}");
    }

    #[tokio::test]
    async fn statements_of_a_purchase_find_their_rows_by_the_whole_key_of_an_index() {
        let mut database = database().await;
        for (statement, index) in [
            (
                SELECT_BY_KEY,
                "USING INDEX purchases_by_key (concert_id=? AND idempotency_key=?)",
            ),
            (
                SELECT_HELD,
                "USING INDEX purchases_by_buyer (concert_id=? AND buyer=?)",
            ),
            (SELECT_COMMITTED, "USING PRIMARY KEY (id=?)"),
            (SELECT_REFUNDED, "USING PRIMARY KEY (id=?)"),
        ] {
            let steps = plan(&mut database, statement).await;
            let expected = format!("SEARCH purchases {index}");
            assert!(steps.contains(&expected), "{statement}: {steps:?}");
        }
    }
}
