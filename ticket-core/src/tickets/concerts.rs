//! Operations on concerts.

use super::{Tickets, TicketsFuture, concert_not_found, run_to_completion};
use crate::{
    Concert, ConcertId, Cursor, Error, NewConcert, Page, page::MAX_PAGE, policy::Operation,
    store::Failure,
};

impl Tickets {
    /// Creates a concert. Its slug is derived from the title, with a suffix if it is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`], errors of the database and [`Error::Injected`].
    pub fn create_concert(&self, new: NewConcert) -> TicketsFuture<'_, Result<Concert, Error>> {
        Box::pin(async move {
            self.inject(Operation::CreateConcert).await?;
            let permit = self.permit()?;
            let mut concert = Concert::create(new);
            let stem = concert.slug.clone();
            let tickets = self.clone();
            run_to_completion(async move {
                let _permit = permit;
                for number in 2.. {
                    let created = tickets
                        .retry(|| tickets.0.store.create_concert(&concert))
                        .await?;
                    if created {
                        break;
                    }
                    // An earlier attempt may have been committed although its response was lost.
                    let reads = tickets.0.store.reads();
                    if let Some(concert) = tickets.retry(|| reads.concert(concert.id)).await? {
                        return Ok(concert);
                    }
                    // Numbers first, then a random suffix: counting up would be slow for a popular title.
                    let suffix = match number {
                        ..10 => number.to_string(),
                        _ => concert.id.as_uuid().simple().to_string()[20..].to_owned(),
                    };
                    concert.slug = format!("{stem}-{suffix}");
                }
                Ok(concert)
            })
            .await
        })
    }

    /// Returns a page of `limit` concerts (1 to [`MAX_PAGE`]), ordered by creation, from the
    /// beginning or after the cursor of an earlier page.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `limit` is out of range, errors of the database and
    /// [`Error::Injected`].
    pub fn list_concerts(
        &self,
        limit: u32,
        after: Option<Cursor>,
    ) -> TicketsFuture<'_, Result<Page<Concert>, Error>> {
        Box::pin(async move {
            if !(1..=MAX_PAGE).contains(&limit) {
                return Err(Error::invalid(
                    "limit",
                    format!("{limit} is not allowed: expected an integer from 1 to {MAX_PAGE}"),
                ));
            }
            self.inject(Operation::ListConcerts).await?;
            let after = after.map(Cursor::id);
            // One item more than requested shows whether there is another page.
            let mut items = self
                .retry(|| self.0.store.reads().concerts(limit + 1, after))
                .await?;
            let more = items.len() > limit as usize;
            items.truncate(limit as usize);
            let next_cursor = items.last().filter(|_| more).map(|c| Cursor::after(c.id));
            Ok(Page { items, next_cursor })
        })
    }

    /// Returns a concert.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], errors of the database and [`Error::Injected`].
    pub fn concert(&self, id: ConcertId) -> TicketsFuture<'_, Result<Concert, Error>> {
        Box::pin(async move {
            self.inject(Operation::ReadConcert).await?;
            self.find_concert(id).await
        })
    }

    /// Adds `tickets` to a concert, up to [`MAX_CAPACITY`](crate::MAX_CAPACITY).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Overloaded`] and errors of the database.
    pub fn restock(
        &self,
        id: ConcertId,
        tickets: u32,
    ) -> TicketsFuture<'_, Result<Concert, Error>> {
        Box::pin(async move {
            let permit = self.permit()?;
            let platform = self.clone();
            run_to_completion(async move {
                let _permit = permit;
                // Not idempotent.
                let concert = platform
                    .retry_if(Failure::was_rolled_back, || {
                        platform.0.store.restock(id, tickets)
                    })
                    .await?;
                concert.ok_or_else(|| concert_not_found(id))
            })
            .await
        })
    }

    /// Deletes the purchases of a concert and makes all of its tickets available again. A demo
    /// that runs indefinitely keeps its database small this way.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Overloaded`] and errors of the database.
    pub fn reset_sales(&self, id: ConcertId) -> TicketsFuture<'_, Result<Concert, Error>> {
        Box::pin(async move {
            let permit = self.permit()?;
            let tickets = self.clone();
            run_to_completion(async move {
                let _permit = permit;
                // Not idempotent: a second reset would delete purchases that were made since.
                let reset = tickets
                    .retry_if(Failure::was_rolled_back, || tickets.0.store.reset_sales(id))
                    .await?;
                let (concert, sold) = reset.ok_or_else(|| concert_not_found(id))?;
                tickets.0.observer.sales_reset(&concert.slug, sold);
                Ok(concert)
            })
            .await
        })
    }
}
