//! Purchases.

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Tickets, TicketsFuture};
use crate::{
    Commit, Concert, ConcertId, Error, IdempotencyKey, NewPurchase, Outcome, Purchase, PurchaseId,
    Purchased,
    attempt::Attempt,
    committer::{Completion, Pending},
    policy::Operation,
    store::{Key, Order},
};

impl Tickets {
    /// Buys tickets. The purchase is on disk when this returns.
    ///
    /// With an idempotency key, a repeated request returns the first purchase. If the future is
    /// dropped after the payment was authorized, the purchase is still made. Each attempt is
    /// reported to the observer with exactly one outcome.
    ///
    /// # Errors
    ///
    /// Every variant of [`Error`] but `Malformed`, `Invalid`, `Setup` and `Migrate`.
    pub fn purchase(
        &self,
        concert: ConcertId,
        new: NewPurchase,
        key: Option<IdempotencyKey>,
    ) -> TicketsFuture<'_, Result<Purchased, Error>> {
        Box::pin(async move {
            let mut attempt = Attempt::new(self.0.observer.clone(), concert, new.quantity());
            let terms = match self.terms(concert).await {
                Ok(terms) => terms,
                Err(error) => {
                    attempt.fail(&error);
                    return Err(error);
                }
            };
            attempt.set_concert(terms.clone());
            match self.check(&terms, &new, key).await {
                Ok(Checked::Replayed(purchase)) => {
                    attempt.finish(Outcome::Replayed);
                    Ok(Purchased {
                        purchase,
                        replayed: true,
                    })
                }
                Ok(Checked::Payable { key, permit }) => {
                    let purchase = Purchase::create(&terms, &new);
                    let id = purchase.id;
                    let (response, received) = oneshot::channel();
                    self.submit(Pending {
                        completion: Completion {
                            attempt,
                            payment: self.0.gateway.authorize(purchase.total),
                            response,
                            permit,
                        },
                        order: Order {
                            purchase,
                            max_per_buyer: terms.max_per_buyer,
                            key,
                        },
                    });
                    // The committer responds unless it panics or the runtime shuts down.
                    received.await.unwrap_or(Err(Error::OutcomeUnknown {
                        purchase: id,
                        source: None,
                    }))
                }
                Err(error) => {
                    attempt.fail(&error);
                    Err(error)
                }
            }
        })
    }

    /// Runs the checks that precede the payment and need no lock.
    async fn check(
        &self,
        concert: &Concert,
        new: &NewPurchase,
        key: Option<IdempotencyKey>,
    ) -> Result<Checked, Error> {
        let permit = self.permit()?;
        self.inject(Operation::Purchase).await?;
        let key = key.map(|key| Key {
            key,
            digest: new.digest(),
        });
        if let Some(Key { key, digest }) = &key {
            let reads = self.0.store.reads();
            let found = self
                .retry(|| reads.purchase_by_key(concert.id, key.as_str()))
                .await?;
            match found {
                Some((purchase, earlier)) if earlier == digest => {
                    return Ok(Checked::Replayed(purchase));
                }
                Some(_) => return Err(Error::KeyReused),
                None => {}
            }
        }
        concert.check_on_sale(Timestamp::now())?;
        self.inject(Operation::Payment).await?;
        Ok(Checked::Payable { key, permit })
    }

    /// Submits an order to the committer.
    fn submit(&self, pending: Pending) {
        match self.commit() {
            Commit::Each => {
                let committer = self.0.committer.clone();
                tokio::spawn(async move { committer.commit(vec![pending]).await });
            }
            Commit::Group => {
                let lanes = &self.0.lanes;
                let lane = pending.order.concert().as_uuid().as_u128() % lanes.len() as u128;
                // A lane ends only with the runtime; a rejected order reports its failure on drop.
                let _ = lanes[lane as usize].send(pending);
            }
        }
    }

    /// Returns a purchase.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], errors of the database and [`Error::Injected`].
    pub fn read_purchase(&self, id: PurchaseId) -> TicketsFuture<'_, Result<Purchase, Error>> {
        Box::pin(async move {
            self.inject(Operation::ReadPurchase).await?;
            self.retry(|| self.0.store.reads().purchase(id))
                .await?
                .ok_or_else(|| purchase_not_found(id))
        })
    }
}

/// Result of the checks before the payment.
enum Checked {
    /// The idempotency key was already used for this purchase.
    Replayed(Purchase),
    /// The payment can be authorized.
    Payable {
        key: Option<Key>,
        permit: tokio::sync::OwnedSemaphorePermit,
    },
}

pub(super) fn purchase_not_found(id: PurchaseId) -> Error {
    Error::NotFound {
        what: "purchase",
        id: id.to_string(),
    }
}
