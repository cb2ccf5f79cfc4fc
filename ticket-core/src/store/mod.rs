//! Stores of concerts and purchases.
//!
//! The decision about a purchase is written once, in [`order`], for both databases. They differ in
//! their locks and in their SQL.

mod connections;
mod database_file;
mod failure;
mod health;
#[cfg(test)]
mod lossy;
mod migrate;
mod order;
mod postgres;
mod probe;
mod reads;
mod rows;
mod sqlite;
mod stock;

use std::{pin::Pin, time::Duration};

use jiff::Timestamp;

pub use self::stock::{Audit, Line, PoolState, Stock, StockSums, Totals};
pub(crate) use self::{
    failure::Failure,
    order::{Key, Order, OrderResult},
    postgres::Postgres,
    probe::{Probe, inject},
    reads::Reads,
    sqlite::Sqlite,
};
use crate::{Concert, ConcertId, Purchase, PurchaseId};

/// Future of a store operation.
pub(crate) type Response<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Database with concerts and purchases.
///
/// Futures of writes must be polled to completion: callers run them on a task that outlives a
/// cancelled request.
pub(crate) trait Store: Send + Sync + 'static {
    fn reads(&self) -> &dyn Reads;

    /// Returns how many batches the database can usefully commit concurrently.
    fn lanes(&self) -> usize;

    /// Adds a concert and returns `true`, or returns `false` if its slug is taken. Idempotent.
    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Response<'a, bool>;

    /// Sells all orders in one transaction without reading first. Returns `false` and changes
    /// nothing if one of them cannot be sold or was sold before.
    fn sell<'a>(&'a self, orders: &'a [Order]) -> Response<'a, bool>;

    /// Locks the concerts, decides the orders one after the other, and sells those that can be
    /// sold. Idempotent: an order that was committed by an earlier attempt is decided as sold.
    fn decide<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<OrderResult>>;

    /// Returns which orders are committed, after every transaction that could still commit one of
    /// them has ended.
    fn committed<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<bool>>;

    /// Refunds a purchase. Returns it and whether this call refunded it.
    ///
    /// `at` identifies the call. With `may_have_committed`, a purchase that was refunded at the
    /// same time counts as refunded by this call, whose earlier attempt may have been committed.
    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        may_have_committed: bool,
    ) -> Response<'_, Option<(Purchase, bool)>>;

    /// Adds tickets, up to the maximum capacity. Returns `None` if the concert does not exist.
    fn restock(&self, id: ConcertId, tickets: u32) -> Response<'_, Option<Concert>>;

    /// Deletes the concert's purchases and makes all of its tickets available. Returns how many
    /// were sold, or `None` if the concert does not exist.
    fn reset_sales(&self, id: ConcertId) -> Response<'_, Option<(Concert, u32)>>;

    /// Returns the stock of the given concerts, in any order.
    fn stock_of<'a>(&'a self, ids: &'a [ConcertId]) -> Response<'a, Vec<Stock>>;

    /// Checks that the database responds and accepts writes. Injected faults do not apply.
    fn ping(&self) -> Response<'_, ()>;

    /// Returns how many servers use the database, this one included, or `None` if unknown.
    fn servers(&self) -> Response<'_, Option<u32>>;

    fn pools(&self) -> Vec<PoolState>;

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Timeouts of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connection: Duration,
    pub(crate) lock: Duration,
    pub(crate) statement: Duration,
}
