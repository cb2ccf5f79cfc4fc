//! Accounting of purchase attempts.

use std::sync::Arc;

use crate::{Concert, ConcertId, Error, Observer, Outcome, observer::PurchaseEvent};

/// A purchase attempt, which reports exactly one outcome to the observer.
///
/// The attempt is owned by the code that works on it: first the future of the request, then the
/// committer.
/// Dropping it reports [`Outcome::Failed`], so that a cancelled request, a panic or the end of the
/// runtime is counted too.
pub(crate) struct Attempt {
    observer: Arc<dyn Observer>,
    concert_id: ConcertId,
    /// None until the concert was found.
    concert: Option<Arc<Concert>>,
    quantity: u32,
    outcome: Outcome,
}

impl Attempt {
    pub(crate) fn new(observer: Arc<dyn Observer>, concert_id: ConcertId, quantity: u32) -> Self {
        Self {
            observer,
            concert_id,
            concert: None,
            quantity,
            outcome: Outcome::Failed,
        }
    }

    pub(crate) fn set_concert(&mut self, concert: Arc<Concert>) {
        self.concert = Some(concert);
    }

    /// Reports `outcome`.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Reports the outcome of a purchase that ends with `error`.
    pub(crate) fn fail(self, error: &Error) {
        self.finish(Outcome::of_error(error));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let concert = self.concert.as_deref();
        self.observer.purchase(&PurchaseEvent {
            outcome: self.outcome,
            concert_id: self.concert_id,
            concert: concert.map_or("", |concert| &concert.slug),
            quantity: self.quantity,
            total: concert.map(|concert| concert.price_of(self.quantity)),
        });
    }
}
