//! What is read is read in the same way from both databases.

use sqlx::{Database, Encode, Executor, IntoArguments, Type, query::Query};
use uuid::Uuid;

use super::{
    Answer, Failure, Stock, Totals,
    connections::Connections,
    rows::{self, Cells, concert_columns, purchase_columns, totals},
};
use crate::{Concert, ConcertId, Purchase, PurchaseId};

/// Reads, safe to repeat.
pub(crate) trait Reads: Send + Sync {
    fn concert(&self, id: ConcertId) -> Answer<'_, Option<Concert>>;

    /// The concerts after `after`, in the order of their ids.
    fn concerts(&self, limit: u32, after: Option<ConcertId>) -> Answer<'_, Vec<Concert>>;

    fn purchase(&self, id: PurchaseId) -> Answer<'_, Option<Purchase>>;

    /// The purchase that was bought with `key`, and the digest of its request.
    fn purchase_by_key<'a>(
        &'a self,
        concert: ConcertId,
        key: &'a str,
    ) -> Answer<'a, Option<(Purchase, Vec<u8>)>>;

    fn stock(&self) -> Answer<'_, Vec<Stock>>;

    fn totals(&self) -> Answer<'_, Totals>;

    fn ping(&self) -> Answer<'_, ()>;
}

impl<DB> Connections<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn rows(
        &self,
        operation: &'static str,
        query: Query<'_, DB, DB::Arguments>,
    ) -> Result<Vec<DB::Row>, Failure> {
        let mut held = self.acquire().await?;
        let rows = self
            .probe
            .timed(operation, async {
                self.probe.fault().await?;
                let asked = query.fetch_all(held.connection());
                Ok(self.probe.answer(asked).await?)
            })
            .await;
        held.done(rows)
    }
}

impl<DB> Reads for Connections<DB>
where
    DB: Database,
    DB::Row: Cells,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Uuid: for<'q> Encode<'q, DB> + Type<DB>,
    for<'s> &'s str: Encode<'s, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    fn concert(&self, id: ConcertId) -> Answer<'_, Option<Concert>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                concert_columns!(),
                " FROM concerts WHERE id = $1"
            ));
            let rows = self.rows("read_concert", query.bind(id.as_uuid())).await?;
            Ok(rows.first().map(rows::concert).transpose()?)
        })
    }

    fn concerts(&self, limit: u32, after: Option<ConcertId>) -> Answer<'_, Vec<Concert>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                concert_columns!(),
                " FROM concerts WHERE id > $1 ORDER BY id LIMIT $2"
            ));
            let query = query
                .bind(after.map_or(Uuid::nil(), ConcertId::as_uuid))
                .bind(i64::from(limit));
            let rows = self.rows("list_concerts", query).await?;
            Ok(rows.iter().map(rows::concert).collect::<Result<_, _>>()?)
        })
    }

    fn purchase(&self, id: PurchaseId) -> Answer<'_, Option<Purchase>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                purchase_columns!(),
                " FROM purchases WHERE id = $1"
            ));
            let rows = self.rows("read_purchase", query.bind(id.as_uuid())).await?;
            Ok(rows.first().map(rows::purchase).transpose()?)
        })
    }

    fn purchase_by_key<'a>(
        &'a self,
        concert: ConcertId,
        key: &'a str,
    ) -> Answer<'a, Option<(Purchase, Vec<u8>)>> {
        Box::pin(async move {
            let query = sqlx::query(concat!(
                "SELECT ",
                purchase_columns!(),
                ", request_digest, idempotency_key FROM purchases \
                 WHERE concert_id = $1 AND idempotency_key = $2"
            ));
            let query = query.bind(concert.as_uuid()).bind(key);
            let rows = self.rows("find_key", query).await?;
            Ok(rows.first().map(rows::keyed).transpose()?)
        })
    }

    fn stock(&self) -> Answer<'_, Vec<Stock>> {
        Box::pin(async move {
            let query =
                sqlx::query("SELECT id, slug, capacity, sold, currency FROM concerts ORDER BY id");
            let rows = self.rows("read_stock", query).await?;
            Ok(rows.iter().map(rows::stock).collect::<Result<_, _>>()?)
        })
    }

    fn totals(&self) -> Answer<'_, Totals> {
        Box::pin(async move {
            let rows = self.rows("read_totals", sqlx::query(totals!())).await?;
            let concerts = rows.iter().map(rows::line).collect::<Result<_, _>>()?;
            Ok(Totals { concerts })
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let query = sqlx::query("SELECT 1 FROM concerts LIMIT 1");
            let mut held = self.acquire().await?;
            // Without faults: it is asked whether the database really answers.
            let answered = self
                .probe
                .timed("ping", async {
                    self.probe
                        .answer(query.fetch_all(held.connection()))
                        .await?;
                    Ok(())
                })
                .await;
            held.done(answered)
        })
    }
}
