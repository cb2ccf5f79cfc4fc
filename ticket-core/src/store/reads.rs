//! Reads, written once for both databases.

use sqlx::{
    AssertSqlSafe, Connection, Database, Encode, Executor, IntoArguments, Type,
    database::HasStatementCache, query::Query,
};
use uuid::Uuid;

use super::{
    Audit, Failure, Response, Stock, StockSums, Totals,
    connections::Connections,
    rows::{self, Cells, concert_columns, purchase_columns, stock_columns, totals},
};
use crate::{Concert, ConcertId, Purchase, PurchaseId};

pub(super) const READ_CONCERT: &str = concat!(
    "SELECT ",
    concert_columns!(),
    " FROM concerts WHERE id = $1"
);
pub(super) const LIST_CONCERTS: &str = concat!(
    "SELECT ",
    concert_columns!(),
    " FROM concerts WHERE id > $1 ORDER BY id LIMIT $2"
);
pub(super) const READ_PURCHASE: &str = concat!(
    "SELECT ",
    purchase_columns!(),
    " FROM purchases WHERE id = $1"
);
pub(super) const FIND_KEY: &str = concat!(
    "SELECT ",
    purchase_columns!(),
    ", request_digest, idempotency_key FROM purchases \
     WHERE concert_id = $1 AND idempotency_key = $2"
);

/// Compares the concerts that follow an id.
pub(super) const AUDIT: &str = totals!(
    "c.id IN (SELECT id FROM concerts WHERE id > $1 ORDER BY id LIMIT $2)",
    "ORDER BY c.id"
);

/// Number of concerts that a statement of an audit compares.
const AUDIT_BATCH: usize = 100;

/// Reads. All of them are idempotent.
pub(crate) trait Reads: Send + Sync {
    fn concert(&self, id: ConcertId) -> Response<'_, Option<Concert>>;

    /// Returns up to `limit` concerts after `after`, ordered by id.
    fn concerts(&self, limit: u32, after: Option<ConcertId>) -> Response<'_, Vec<Concert>>;

    fn purchase(&self, id: PurchaseId) -> Response<'_, Option<Purchase>>;

    /// Returns the purchase that was made with `key`, and the digest of its request.
    fn purchase_by_key<'a>(
        &'a self,
        concert: ConcertId,
        key: &'a str,
    ) -> Response<'a, Option<(Purchase, Vec<u8>)>>;

    /// Returns the stock of every concert, ordered by id.
    fn stock(&self) -> Response<'_, Vec<Stock>>;

    /// Returns the stock of up to `limit` concerts, those with the most sold tickets first.
    fn best_sellers(&self, limit: u32) -> Response<'_, Vec<Stock>>;

    /// Returns the number of concerts and the sums of their `capacity` and `sold`.
    fn stock_sums(&self) -> Response<'_, StockSums>;

    fn totals(&self) -> Response<'_, Totals>;

    /// Compares the concerts' rows with the purchases' rows; names up to `limit` concerts that
    /// differ. Each statement, a snapshot, reads the purchases of up to 100 concerts: SQLite cannot
    /// reuse the write-ahead log during a long read, and PostgreSQL cannot vacuum.
    fn audit(&self, limit: u32) -> Response<'_, Audit>;
}

impl<DB> Connections<DB>
where
    DB: Database + HasStatementCache,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    pub(super) async fn rows(
        &self,
        operation: &'static str,
        query: Query<'_, DB, DB::Arguments>,
    ) -> Result<Vec<DB::Row>, Failure> {
        let mut lease = self.acquire().await?;
        let rows = self
            .probe
            .read(operation, async {
                self.probe.inject().await?;
                let rows = self.fetch(lease.connection(), query);
                Ok(self.probe.with_timeout(rows).await?)
            })
            .await;
        self.record_damage(&rows);
        lease.release(rows)
    }

    pub(super) async fn fetch(
        &self,
        connection: &mut DB::Connection,
        query: Query<'_, DB, DB::Arguments>,
    ) -> Result<Vec<DB::Row>, sqlx::Error> {
        let Some(begin) = &self.begin else {
            return query.fetch_all(connection).await;
        };
        let mut transaction = connection.begin_with(AssertSqlSafe(begin.clone())).await?;
        let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}

impl<DB> Reads for Connections<DB>
where
    DB: Database + HasStatementCache,
    DB::Row: Cells,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Uuid: for<'q> Encode<'q, DB> + Type<DB>,
    for<'s> &'s str: Encode<'s, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    fn concert(&self, id: ConcertId) -> Response<'_, Option<Concert>> {
        Box::pin(async move {
            let query = sqlx::query(READ_CONCERT);
            let rows = self.rows("read_concert", query.bind(id.as_uuid())).await?;
            Ok(rows.first().map(rows::concert).transpose()?)
        })
    }

    fn concerts(&self, limit: u32, after: Option<ConcertId>) -> Response<'_, Vec<Concert>> {
        Box::pin(async move {
            let query = sqlx::query(LIST_CONCERTS)
                .bind(after.map_or(Uuid::nil(), ConcertId::as_uuid))
                .bind(i64::from(limit));
            let rows = self.rows("list_concerts", query).await?;
            Ok(rows.iter().map(rows::concert).collect::<Result<_, _>>()?)
        })
    }

    fn purchase(&self, id: PurchaseId) -> Response<'_, Option<Purchase>> {
        Box::pin(async move {
            let query = sqlx::query(READ_PURCHASE);
            let rows = self.rows("read_purchase", query.bind(id.as_uuid())).await?;
            Ok(rows.first().map(rows::purchase).transpose()?)
        })
    }

    fn purchase_by_key<'a>(
        &'a self,
        concert: ConcertId,
        key: &'a str,
    ) -> Response<'a, Option<(Purchase, Vec<u8>)>> {
        Box::pin(async move {
            let query = sqlx::query(FIND_KEY);
            let query = query.bind(concert.as_uuid()).bind(key);
            let rows = self.rows("find_key", query).await?;
            Ok(rows.first().map(rows::keyed).transpose()?)
        })
    }

    fn stock(&self) -> Response<'_, Vec<Stock>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                stock_columns!(),
                " FROM concerts ORDER BY id"
            ));
            let rows = self.rows("read_stock", query).await?;
            Ok(rows.iter().map(rows::stock).collect::<Result<_, _>>()?)
        })
    }

    fn best_sellers(&self, limit: u32) -> Response<'_, Vec<Stock>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                stock_columns!(),
                " FROM concerts ORDER BY sold DESC, id LIMIT $1"
            ));
            let rows = self
                .rows("read_best_sellers", query.bind(i64::from(limit)))
                .await?;
            Ok(rows.iter().map(rows::stock).collect::<Result<_, _>>()?)
        })
    }

    fn stock_sums(&self) -> Response<'_, StockSums> {
        Box::pin(async move {
            let query = sqlx::query(
                "SELECT COUNT(*), CAST(COALESCE(SUM(capacity), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(sold), 0) AS BIGINT) FROM concerts",
            );
            let rows = self.rows("read_stock_sums", query).await?;
            let sums = rows.first().map(rows::stock_sums).transpose()?;
            Ok(sums.unwrap_or_default())
        })
    }

    fn totals(&self) -> Response<'_, Totals> {
        Box::pin(async move {
            let rows = self
                .rows("read_totals", sqlx::query(totals!("ORDER BY c.id")))
                .await?;
            let concerts = rows.iter().map(rows::line).collect::<Result<_, _>>()?;
            Ok(Totals { concerts })
        })
    }

    fn audit(&self, limit: u32) -> Response<'_, Audit> {
        Box::pin(async move {
            let mut audit = Audit::default();
            let mut after = Uuid::nil();
            loop {
                let batch = sqlx::query(AUDIT).bind(after).bind(AUDIT_BATCH as i64);
                let rows = self.rows("read_totals", batch).await?;
                for row in &rows {
                    let line = rows::line(row)?;
                    after = line.stock.concert_id.as_uuid();
                    audit.add(line, limit);
                }
                if rows.len() < AUDIT_BATCH {
                    return Ok(audit);
                }
            }
        })
    }
}
