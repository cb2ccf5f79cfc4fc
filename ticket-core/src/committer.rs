//! Commits orders and reports their results.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    ConcertId, Error, Observer, Outcome, Purchased,
    attempt::Attempt,
    payment::Authorization,
    retry::Backoff,
    store::{Failure, Order, OrderResult, Store},
};

/// The maximum number of purchases in a batch.
const MAX_BATCH: usize = 512;

/// How long the outcome of a write is looked up after its response was lost. The order and its
/// permit are held for this time.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(600);

/// An order and how to report its result.
pub(crate) struct Pending {
    pub(crate) order: Order,
    pub(crate) completion: Completion,
}

/// How to report the result of an order.
pub(crate) struct Completion {
    pub(crate) attempt: Attempt,
    pub(crate) payment: Authorization,
    pub(crate) response: oneshot::Sender<Result<Purchased, Error>>,
    /// Bounds the number of pending orders.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Completion {
    fn sold(self, purchased: Purchased) {
        self.payment.capture();
        self.attempt.finish(Outcome::Sold);
        // The receiver has been dropped if the caller was cancelled.
        let _ = self.response.send(Ok(purchased));
    }

    fn replayed(self, purchased: Purchased) {
        self.attempt.finish(Outcome::Replayed);
        let _ = self.response.send(Ok(purchased));
    }

    fn failed(self, error: Error) {
        self.attempt.fail(&error);
        let _ = self.response.send(Err(error));
    }
}

/// Commits orders and reports their results.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) observer: Arc<dyn Observer>,
    /// How long transient failures are retried.
    pub(crate) retry_timeout: Duration,
}

/// Failure of a transaction with one or more orders.
#[derive(Clone)]
struct Undecided {
    failure: Failure,
    /// Set if one of the attempts may have been committed.
    may_have_committed: bool,
}

impl Committer {
    /// Spawns a lane: a task that commits waiting orders together, until all senders are dropped.
    pub(crate) fn spawn_lane(&self) -> mpsc::UnboundedSender<Pending> {
        let committer = self.clone();
        // Bounded by the permits of the orders.
        let (sender, mut receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, MAX_BATCH).await > 0 {
                committer.observer.batch(batch.len());
                let batch = std::mem::take(&mut batch);
                if catch_unwind_async(committer.commit(batch)).await.is_none() {
                    tracing::error!("committing a batch panicked");
                }
                // Lets callers that just received a response join the next batch.
                tokio::task::yield_now().await;
            }
        });
        sender
    }

    /// Decides the orders in one transaction and reports their results.
    pub(crate) async fn commit(&self, pending: Vec<Pending>) {
        let (orders, completions): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .map(|pending| (pending.order, pending.completion))
            .unzip();
        match self.decide(&orders, false).await {
            Err(undecided)
                if undecided.failure.may_be_caused_by_one_concert()
                    && orders
                        .iter()
                        .any(|order| order.concert() != orders[0].concert()) =>
            {
                // Another session may hold one concert's row. Its orders are retried separately, so
                // that other concerts and the next batch do not wait for that row.
                for (orders, completions) in group_by_concert(orders, completions) {
                    let committer = self.clone();
                    let may_have_committed = undecided.may_have_committed;
                    tokio::spawn(async move {
                        let results = committer.decide(&orders, may_have_committed).await;
                        committer.report(orders, completions, results).await;
                    });
                }
            }
            results => self.report(orders, completions, results).await,
        }
    }

    /// Reports the results. If one of the orders may have failed the whole batch, decides them one
    /// by one first.
    async fn report(
        &self,
        orders: Vec<Order>,
        completions: Vec<Completion>,
        results: Result<Vec<OrderResult>, Undecided>,
    ) {
        match results {
            Ok(results) => {
                for ((order, completion), result) in
                    orders.into_iter().zip(completions).zip(results)
                {
                    self.complete(order, completion, Ok(result));
                }
            }
            Err(undecided)
                if orders.len() > 1 && undecided.failure.may_be_caused_by_one_order() =>
            {
                for (order, completion) in orders.into_iter().zip(completions) {
                    let results = self
                        .decide(std::slice::from_ref(&order), undecided.may_have_committed)
                        .await;
                    let result = results.map(|mut results| results.remove(0));
                    self.complete(order, completion, result);
                }
            }
            Err(undecided) => {
                for (order, completion) in orders.into_iter().zip(completions) {
                    self.complete(order, completion, Err(undecided.clone()));
                }
            }
        }
    }

    /// Decides the orders in one transaction, which is retried after transient failures.
    /// `may_have_committed` says whether an earlier transaction with these orders may have been
    /// committed.
    async fn decide(
        &self,
        orders: &[Order],
        mut may_have_committed: bool,
    ) -> Result<Vec<OrderResult>, Undecided> {
        // `sell` does not read first. Limits per buyer and orders that may be committed already
        // have to be looked up under the lock.
        let mut look_up =
            may_have_committed || orders.iter().any(|order| order.max_per_buyer.is_some());
        let mut backoff = Backoff::new(self.retry_timeout);
        loop {
            let attempt = async {
                if look_up {
                    return self.store.decide(orders).await.map(Some);
                }
                let sold = self.store.sell(orders).await?;
                Ok(sold.then(|| vec![OrderResult::Sold; orders.len()]))
            };
            let failure = match catch_unwind_async(attempt).await {
                Some(Ok(Some(results))) => return Ok(results),
                Some(Ok(None)) => {
                    look_up = true;
                    continue;
                }
                Some(Err(failure)) => failure,
                None => {
                    tracing::error!("a transaction panicked; looking up its outcome");
                    Failure::Panicked
                }
            };
            may_have_committed |= failure.may_have_committed();
            look_up |= may_have_committed;
            if !failure.is_transient() || !backoff.wait().await {
                return Err(Undecided {
                    failure,
                    may_have_committed,
                });
            }
        }
    }

    fn complete(
        &self,
        order: Order,
        completion: Completion,
        result: Result<OrderResult, Undecided>,
    ) {
        match result {
            Ok(OrderResult::Sold) => completion.sold(Purchased {
                purchase: order.purchase,
                replayed: false,
            }),
            Ok(OrderResult::Replayed(earlier)) => completion.replayed(Purchased {
                purchase: earlier,
                replayed: true,
            }),
            Ok(OrderResult::SoldOut { available }) => {
                completion.failed(Error::SoldOut { available });
            }
            Ok(OrderResult::PerBuyerLimit { limit, held }) => {
                completion.failed(Error::PerBuyerLimit { limit, held });
            }
            Ok(OrderResult::KeyReused) => completion.failed(Error::KeyReused),
            Ok(OrderResult::NoConcert) => completion.failed(Error::NotFound {
                what: "concert",
                id: order.purchase.concert_id.to_string(),
            }),
            Err(undecided) if undecided.may_have_committed => {
                let Completion {
                    attempt,
                    payment,
                    response,
                    permit,
                } = completion;
                let _ = response.send(Err(Error::OutcomeUnknown {
                    purchase: order.purchase.id,
                    source: undecided.failure.source(),
                }));
                let committer = self.clone();
                tokio::spawn(async move {
                    committer.resolve(order, payment, attempt).await;
                    drop(permit);
                });
            }
            Err(undecided) => completion.failed(undecided.failure.into_error()),
        }
    }

    /// Looks up whether the order was committed, and captures or voids the payment accordingly.
    async fn resolve(&self, order: Order, payment: Authorization, attempt: Attempt) {
        let mut backoff = Backoff::new(RESOLVE_TIMEOUT);
        loop {
            let committed = self.store.committed(std::slice::from_ref(&order));
            let committed = catch_unwind_async(committed).await;
            match committed.unwrap_or(Err(Failure::Panicked)) {
                Ok(committed) if committed == [true] => {
                    payment.capture();
                    return attempt.finish(Outcome::Sold);
                }
                Ok(_) => return attempt.finish(Outcome::Failed),
                // Every failure is retried: a lock, for example, may be released in time.
                Err(failure) if !failure.is_closed() && backoff.wait().await => {}
                Err(failure) => {
                    let purchase = order.purchase.id;
                    tracing::error!(
                        %purchase,
                        error = %failure,
                        "whether the purchase was committed could not be looked up: its payment is \
                         voided"
                    );
                    return attempt.finish(Outcome::Failed);
                }
            }
        }
    }
}

/// Groups the orders and their completions by concert.
fn group_by_concert(
    orders: Vec<Order>,
    completions: Vec<Completion>,
) -> impl Iterator<Item = (Vec<Order>, Vec<Completion>)> {
    let mut groups = BTreeMap::<ConcertId, (Vec<_>, Vec<_>)>::new();
    for (order, completion) in orders.into_iter().zip(completions) {
        let group = groups.entry(order.concert()).or_default();
        group.0.push(order);
        group.1.push(completion);
    }
    groups.into_values()
}

/// Resolves to the output of `future`, or to `None` if polling it panics.
async fn catch_unwind_async<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
