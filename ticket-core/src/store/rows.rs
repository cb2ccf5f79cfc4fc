//! Conversion of rows, the same for both databases.

use jiff::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::{Line, Stock, StockSums};
use crate::{Concert, ConcertId, Currency, Money, Purchase, PurchaseId, Status};

/// Columns of [`concert`].
macro_rules! concert_columns {
    () => {
        "id, slug, title, venue, starts_at, on_sale_from, on_sale_until, capacity, price, \
         currency, max_per_buyer, sold"
    };
}

/// Columns of [`purchase`].
macro_rules! purchase_columns {
    () => {
        "id, concert_id, buyer, quantity, total, currency, status, created_at"
    };
}

/// Columns of [`stock`].
macro_rules! stock_columns {
    () => {
        "id, slug, capacity, sold, currency"
    };
}

/// Query of [`line`]. The arguments are a condition on the concerts, by default none, and a clause after
/// `GROUP BY`.
macro_rules! totals {
    ($clause:literal) => {
        totals!("TRUE", $clause)
    };
    ($condition:literal, $clause:literal) => {
        concat!(
            "SELECT c.id, c.slug, c.capacity, c.sold, c.currency, \
         CAST(COALESCE(SUM(CASE WHEN p.status = 'paid' THEN 1 END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN p.status = 'refunded' THEN 1 END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN p.status = 'paid' THEN p.quantity END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN p.status = 'paid' THEN p.total END), 0) AS BIGINT) \
         FROM concerts c LEFT JOIN purchases p ON p.concert_id = c.id \
         WHERE ",
            $condition,
            " \
         GROUP BY c.id, c.slug, c.capacity, c.sold, c.currency ",
            $clause
        )
    };
}
pub(super) use {concert_columns, purchase_columns, stock_columns, totals};

/// Row of either database, which abbreviates their trait bounds.
pub(super) trait Cells {
    fn id(&self, column: usize) -> Result<Uuid, sqlx::Error>;
    fn text(&self, column: usize) -> Result<String, sqlx::Error>;
    fn number(&self, column: usize) -> Result<Option<i64>, sqlx::Error>;
    fn bytes(&self, column: usize) -> Result<Vec<u8>, sqlx::Error>;
}

impl<R: Row> Cells for R
where
    usize: ColumnIndex<R>,
    Uuid: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    fn id(&self, column: usize) -> Result<Uuid, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: usize) -> Result<String, sqlx::Error> {
        self.try_get(column)
    }

    fn number(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, sqlx::Error> {
        self.try_get(column)
    }
}

pub(super) fn concert(row: &impl Cells) -> Result<Concert, sqlx::Error> {
    Ok(Concert {
        id: ConcertId::from_uuid(row.id(0)?),
        slug: row.text(1)?,
        title: row.text(2)?,
        venue: row.text(3)?,
        starts_at: time(integer(row, 4)?)?,
        on_sale_from: row.number(5)?.map(time).transpose()?,
        on_sale_until: row.number(6)?.map(time).transpose()?,
        capacity: count(integer(row, 7)?)?,
        price: Money::new(integer(row, 8)?, currency(&row.text(9)?)?),
        max_per_buyer: row.number(10)?.map(count).transpose()?,
        sold: count(integer(row, 11)?)?,
    })
}

pub(super) fn purchase(row: &impl Cells) -> Result<Purchase, sqlx::Error> {
    Ok(Purchase {
        id: PurchaseId::from_uuid(row.id(0)?),
        concert_id: ConcertId::from_uuid(row.id(1)?),
        buyer: row.text(2)?,
        quantity: count(integer(row, 3)?)?,
        total: Money::new(integer(row, 4)?, currency(&row.text(5)?)?),
        status: match &*row.text(6)? {
            "paid" => Status::Paid,
            "refunded" => Status::Refunded,
            other => {
                return Err(unexpected(format!(
                    "{other:?} is not a status of a purchase"
                )));
            }
        },
        created_at: time(integer(row, 7)?)?,
    })
}

/// Converts a purchase with the digest of its request in the column after those of [`purchase`].
pub(super) fn keyed(row: &impl Cells) -> Result<(Purchase, Vec<u8>), sqlx::Error> {
    Ok((purchase(row)?, row.bytes(8)?))
}

/// Converts a purchase with the time of its refund in the column after those of [`purchase`]. Returns
/// whether that time is `at`.
pub(super) fn refunded(
    row: &impl Cells,
    at: Option<Timestamp>,
) -> Result<(Purchase, bool), sqlx::Error> {
    let then = row.number(8)?;
    let at_time = at.is_some_and(|at| then == Some(at.as_microsecond()));
    Ok((purchase(row)?, at_time))
}

pub(super) fn stock(row: &impl Cells) -> Result<Stock, sqlx::Error> {
    Ok(Stock {
        concert_id: ConcertId::from_uuid(row.id(0)?),
        slug: row.text(1)?,
        capacity: count(integer(row, 2)?)?,
        sold: count(integer(row, 3)?)?,
        currency: currency(&row.text(4)?)?,
    })
}

pub(super) fn stock_sums(row: &impl Cells) -> Result<StockSums, sqlx::Error> {
    Ok(StockSums {
        concerts: count(integer(row, 0)?)?,
        capacity: count(integer(row, 1)?)?,
        sold: count(integer(row, 2)?)?,
    })
}

pub(super) fn line(row: &impl Cells) -> Result<Line, sqlx::Error> {
    let stock = stock(row)?;
    Ok(Line {
        amount: Money::new(integer(row, 8)?, stock.currency),
        stock,
        purchases: count(integer(row, 5)?)?,
        refunds: count(integer(row, 6)?)?,
        tickets: count(integer(row, 7)?)?,
    })
}

/// Converts the id of a concert and a buyer.
pub(super) fn holder(row: &impl Cells) -> Result<(ConcertId, String), sqlx::Error> {
    Ok((ConcertId::from_uuid(row.id(0)?), row.text(1)?))
}

/// Converts the number of tickets of a [`holder`].
pub(super) fn held(row: &impl Cells) -> Result<u32, sqlx::Error> {
    count(integer(row, 2)?)
}

fn integer(row: &impl Cells, column: usize) -> Result<i64, sqlx::Error> {
    row.number(column)?
        .ok_or_else(|| unexpected(format!("column {column} is null")))
}

fn count<T: TryFrom<i64>>(value: i64) -> Result<T, sqlx::Error> {
    T::try_from(value).map_err(|_| unexpected(format!("{value} is not a valid count")))
}

fn time(micros: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(micros).map_err(unexpected)
}

fn currency(code: &str) -> Result<Currency, sqlx::Error> {
    code.parse().map_err(unexpected)
}

/// Returns the error of a value that this crate does not write.
fn unexpected(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
