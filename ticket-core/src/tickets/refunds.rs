//! Refunds.

use jiff::Timestamp;

use super::{Tickets, TicketsFuture, purchases::purchase_not_found, run_to_completion};
use crate::{
    Error, Outcome, Purchase, PurchaseId, committer::RESOLVE_TIMEOUT, observer::PurchaseEvent,
    policy::Operation, retry::Backoff, time::truncate_to_micros,
};

impl Tickets {
    /// Refunds a purchase: its tickets are available again. Refunding it again changes nothing and
    /// returns the refunded purchase.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Overloaded`], errors of the database and [`Error::Injected`].
    pub fn refund(&self, id: PurchaseId) -> TicketsFuture<'_, Result<Purchase, Error>> {
        Box::pin(async move {
            self.inject(Operation::Refund).await?;
            let permit = self.permit()?;
            let tickets = self.clone();
            run_to_completion(async move {
                let at = truncate_to_micros(Timestamp::now());
                let mut backoff = Backoff::new(tickets.0.retry_timeout);
                let mut may_have_committed = false;
                loop {
                    let refund = tickets.0.store.refund(id, at, may_have_committed);
                    let failure = match refund.await {
                        Ok(refunded) => return tickets.complete_refund(id, refunded).await,
                        Err(failure) => failure,
                    };
                    may_have_committed |= failure.may_have_committed();
                    if failure.is_transient() && backoff.wait().await {
                        continue;
                    }
                    if !may_have_committed {
                        return Err(failure.into_error());
                    }
                    let source = failure.source();
                    tokio::spawn(async move {
                        tickets.resolve_refund(id, at).await;
                        drop(permit);
                    });
                    return Err(Error::OutcomeUnknown {
                        purchase: id,
                        source,
                    });
                }
            })
            .await
        })
    }

    /// Pays back a purchase that this call refunded, and reports it.
    async fn complete_refund(
        &self,
        id: PurchaseId,
        refunded: Option<(Purchase, bool)>,
    ) -> Result<Purchase, Error> {
        let (purchase, by_this_call) = refunded.ok_or_else(|| purchase_not_found(id))?;
        if by_this_call {
            self.0.gateway.pay_back(purchase.total);
            let concert = self.terms(purchase.concert_id).await;
            self.0.observer.purchase(&PurchaseEvent {
                outcome: Outcome::Refunded,
                concert_id: purchase.concert_id,
                concert: concert.as_ref().map_or("", |concert| &concert.slug),
                quantity: purchase.quantity,
                total: Some(purchase.total),
            });
        }
        Ok(purchase)
    }

    /// Completes a refund that may have been committed, so that it is paid back exactly once.
    async fn resolve_refund(&self, id: PurchaseId, at: Timestamp) {
        let mut backoff = Backoff::new(RESOLVE_TIMEOUT);
        loop {
            match self.0.store.refund(id, at, true).await {
                Ok(refunded) => {
                    // The caller has already received a response.
                    let _ = self.complete_refund(id, refunded).await;
                    return;
                }
                Err(failure) if !failure.is_closed() && backoff.wait().await => {}
                Err(failure) => {
                    tracing::error!(
                        purchase = %id,
                        error = %failure,
                        "cannot determine whether the refund was committed; the payment is not returned"
                    );
                    return;
                }
            }
        }
    }
}
