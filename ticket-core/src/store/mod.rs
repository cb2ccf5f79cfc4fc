//! Where concerts and purchases are kept. What is decided about a purchase is decided here once
//! ([`order`]), for both databases; they only differ in how they are asked.

mod connections;
mod deadline;
mod failure;
#[cfg(test)]
mod lossy;
mod migrate;
mod order;
mod postgres;
mod probe;
mod reads;
mod rows;
mod sqlite;

use std::{pin::Pin, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::{
    failure::Failure,
    order::{Key, Order, Verdict},
    postgres::Postgres,
    probe::{Probe, inject},
    reads::Reads,
    sqlite::Sqlite,
};
use crate::{Concert, ConcertId, Currency, Money, Purchase, PurchaseId};

/// What a store answers with.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A database. Writes must run to their end: whoever calls them does so in a task of its own.
pub(crate) trait Store: Send + Sync + 'static {
    fn reads(&self) -> &dyn Reads;

    /// How many batches it can usefully commit at the same time.
    fn lanes(&self) -> usize;

    /// Adds a concert unless its slug is taken; says whether it did. To repeat it is safe.
    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Answer<'a, bool>;

    /// Sells all of the orders together, on the assumption that nothing stands in their way. Where
    /// that is wrong for any, nothing is changed and the answer is `false`.
    fn sell<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, bool>;

    /// Locks the concerts, decides each order in its turn, and sells those that can be sold. To
    /// repeat it is safe, whatever became of an earlier try: an order that stands already counts
    /// as sold.
    fn decide<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<Verdict>>;

    /// Which of the orders stand, once every transaction that could still change that has ended.
    fn standing<'a>(&'a self, orders: &'a [Order]) -> Answer<'a, Vec<bool>>;

    /// Gives the tickets of a purchase back; says whether this call was the one that did. To
    /// repeat it is safe: a call that is `again` knows by `at` whether an earlier try of it did.
    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        again: bool,
    ) -> Answer<'_, Option<(Purchase, bool)>>;

    /// Adds tickets, up to the most that a concert can have; none where there is no such concert.
    fn restock(&self, id: ConcertId, tickets: u32) -> Answer<'_, Option<Concert>>;

    /// Strikes off the concert's purchases and puts all of its tickets on sale; says how many were
    /// sold. None where there is no such concert.
    fn next_night(&self, id: ConcertId) -> Answer<'_, Option<(Concert, u32)>>;

    /// How many processes like this one use the database, this one included; none where that
    /// cannot be told.
    fn servers(&self) -> Answer<'_, Option<u32>>;

    fn pools(&self) -> Vec<PoolState>;

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// How long the database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connection: Duration,
    pub(crate) lock: Duration,
    pub(crate) statement: Duration,
}

/// The tickets of a concert: what is left and what is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stock {
    /// Which concert.
    pub concert_id: ConcertId,
    /// Its slug.
    pub slug: String,
    /// How many tickets there are.
    pub capacity: u32,
    /// How many are sold and not refunded.
    pub sold: u32,
    /// The currency of the price.
    pub currency: Currency,
}

impl Stock {
    /// How many can still be bought.
    pub fn available(&self) -> u32 {
        self.capacity.saturating_sub(self.sold)
    }
}

/// The books: what the concerts say beside what the purchases' rows add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// A line for each concert, in the order of their ids.
    pub concerts: Vec<Line>,
}

impl Totals {
    /// Whether each concert has sold just the tickets of its purchases, and no more than it has.
    pub fn balance(&self) -> bool {
        self.concerts.iter().all(|line| {
            u64::from(line.stock.sold) == line.tickets && line.stock.sold <= line.stock.capacity
        })
    }
}

/// The books of one concert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// What the concert's row says.
    #[serde(flatten)]
    pub stock: Stock,
    /// Purchases that were paid and not refunded, counted from their rows.
    pub purchases: u64,
    /// Purchases that were refunded, counted from their rows.
    pub refunds: u64,
    /// Tickets of the paid purchases, added up from their rows.
    pub tickets: u64,
    /// What the paid purchases cost, added up from their rows.
    pub amount: Money,
}

/// The connections of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// The pool's name.
    pub name: &'static str,
    /// Connections in use.
    pub used: u32,
    /// Connections open and not in use.
    pub idle: u32,
    /// The most connections that there can be.
    pub max: u32,
}
