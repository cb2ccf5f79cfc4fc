//! Stock and totals.

use super::{Tickets, TicketsFuture};
use crate::{Audit, ConcertId, Error, Stock, StockSums, Totals};

impl Tickets {
    /// Returns the stock of every concert, ordered by id. Reads every concert's row.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn stock(&self) -> TicketsFuture<'_, Result<Vec<Stock>, Error>> {
        Box::pin(async move { self.retry(|| self.0.store.reads().stock()).await })
    }

    /// Returns the stock of the concerts with these ids, in any order. Unknown ids are ignored.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn stock_of<'a>(
        &'a self,
        ids: &'a [ConcertId],
    ) -> TicketsFuture<'a, Result<Vec<Stock>, Error>> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            self.retry(|| self.0.store.stock_of(ids)).await
        })
    }

    /// Returns the stock of up to `limit` concerts, those with the most sold tickets first.
    ///
    /// The database reads every concert's row but returns only these: about 10 ms per 100,000
    /// concerts.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn best_sellers(&self, limit: u32) -> TicketsFuture<'_, Result<Vec<Stock>, Error>> {
        Box::pin(async move {
            self.retry(|| self.0.store.reads().best_sellers(limit))
                .await
        })
    }

    /// Returns the number of concerts and the sums of their tickets. The database reads every
    /// concert's row but returns only the sums.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn stock_sums(&self) -> TicketsFuture<'_, Result<StockSums, Error>> {
        Box::pin(async move { self.retry(|| self.0.store.reads().stock_sums()).await })
    }

    /// Returns the totals of every concert. Reads every purchase's row: not for a hot path.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn totals(&self) -> TicketsFuture<'_, Result<Totals, Error>> {
        Box::pin(async move { self.retry(|| self.0.store.reads().totals()).await })
    }

    /// Compares the concerts' counters with the purchases' rows, and returns up to `limit` concerts
    /// that differ. The database reads every purchase's row, those of up to 100 concerts at a time,
    /// and returns a row per concert. Each concert is compared within one snapshot.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn audit(&self, limit: u32) -> TicketsFuture<'_, Result<Audit, Error>> {
        Box::pin(async move { self.retry(|| self.0.store.reads().audit(limit)).await })
    }
}
