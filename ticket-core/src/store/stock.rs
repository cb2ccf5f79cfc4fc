//! Stock, totals and pool states, as stores report them.

use serde::Serialize;

use crate::{ConcertId, Currency, Money};

/// Tickets of a concert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stock {
    /// The concert.
    pub concert_id: ConcertId,
    /// The concert's slug.
    pub slug: String,
    /// Number of tickets.
    pub capacity: u32,
    /// Tickets that are sold and not refunded.
    pub sold: u32,
    /// Currency of the price.
    pub currency: Currency,
}

impl Stock {
    /// Returns the number of tickets that can still be bought.
    pub fn available(&self) -> u32 {
        self.capacity.saturating_sub(self.sold)
    }
}

/// Tickets of all concerts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StockSums {
    /// Number of concerts.
    pub concerts: u64,
    /// Number of tickets.
    pub capacity: u64,
    /// Tickets that are sold and not refunded.
    pub sold: u64,
}

impl StockSums {
    /// Returns the number of tickets that can still be bought.
    pub fn available(&self) -> u64 {
        self.capacity.saturating_sub(self.sold)
    }
}

/// The concerts' counters next to the sums of their purchases' rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// One line per concert, ordered by id.
    pub concerts: Vec<Line>,
}

impl Totals {
    /// Returns whether every concert has sold exactly the tickets of its purchases, and no more
    /// than its capacity.
    pub fn balance(&self) -> bool {
        self.concerts.iter().all(Line::balances)
    }
}

/// Totals of one concert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// The concert's row.
    #[serde(flatten)]
    pub stock: Stock,
    /// Number of paid purchases.
    pub purchases: u64,
    /// Number of refunded purchases.
    pub refunds: u64,
    /// Tickets of the paid purchases.
    pub tickets: u64,
    /// Total price of the paid purchases.
    pub amount: Money,
}

impl Line {
    fn balances(&self) -> bool {
        u64::from(self.stock.sold) == self.tickets && self.stock.sold <= self.stock.capacity
    }
}

/// Comparison of the concerts' counters with the purchases' rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Audit {
    /// Sold tickets, by the concerts' rows.
    pub sold: u64,
    /// Tickets of the paid purchases, by their rows.
    pub paid: u64,
    /// Concerts whose counter differs from the tickets of their paid purchases or exceeds the
    /// capacity, ordered by id, up to the requested number.
    pub differing: Vec<Line>,
}

impl Audit {
    /// Adds a concert, and names it if it differs and fewer than `limit` are named.
    pub(super) fn add(&mut self, line: Line, limit: u32) {
        self.sold += u64::from(line.stock.sold);
        self.paid += line.tickets;
        if !line.balances() && self.differing.len() < limit as usize {
            self.differing.push(line);
        }
    }
}

/// Connections of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// Name of the pool.
    pub name: &'static str,
    /// Connections in use.
    pub used: u32,
    /// Open connections that are not in use.
    pub idle: u32,
    /// Maximum number of connections.
    pub max: u32,
}
