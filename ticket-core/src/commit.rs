//! How paid orders become purchases: each in a transaction of its own, or those that are waiting
//! anyway together.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    str::FromStr,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    Concert, ConcertId, Error, Observer, Outcome, Purchased,
    observer::PurchaseEvent,
    payment::Authorisation,
    retry::Backoff,
    store::{Failure, Order, Store, Verdict},
};

/// The most purchases that are committed together.
const MAX_BATCH: usize = 512;

/// How long it is asked what became of a write whose answer was lost.
pub(crate) const FIND_OUT: Duration = Duration::from_secs(600);

/// How purchases are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// A transaction for each purchase, the usual way.
    Each,
    /// One transaction for the purchases that are waiting anyway.
    #[default]
    Group,
}

impl Commit {
    /// Its name, as [`FromStr`] reads it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Group => "group",
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Commit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "each" => Ok(Self::Each),
            "group" => Ok(Self::Group),
            other => Err(Error::invalid(
                "commit",
                format!("{other:?} is not allowed: \"each\" and \"group\" are"),
            )),
        }
    }
}

/// An order whose buyer is waiting, or has left: it is decided either way.
pub(crate) struct Waiting {
    pub(crate) order: Order,
    pub(crate) buyer: Buyer,
}

/// What is needed to answer for an order.
pub(crate) struct Buyer {
    pub(crate) concert: Arc<Concert>,
    pub(crate) payment: Authorisation,
    pub(crate) answer: oneshot::Sender<Result<Purchased, Error>>,
    /// Its place among all that is waiting.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Commits orders and answers their buyers.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) observer: Arc<dyn Observer>,
    /// How long a transaction that failed in passing is tried again.
    pub(crate) patience: Duration,
}

/// Why orders could not be decided.
#[derive(Clone)]
struct Trouble {
    failure: Failure,
    /// One of the tries may have been committed all the same.
    may_stand: bool,
}

impl Committer {
    /// Starts a lane: a task that commits together what is waiting, as long as someone can send.
    pub(crate) fn lane(&self) -> mpsc::UnboundedSender<Waiting> {
        let committer = self.clone();
        let (sender, mut waiting) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
                committer.observer.batch(batch.len());
                let batch = std::mem::take(&mut batch);
                if unless_it_panics(committer.commit(batch)).await.is_none() {
                    tracing::error!("a batch panicked: what became of its purchases is not known");
                }
                // Those just answered may buy again before the next batch begins.
                tokio::task::yield_now().await;
            }
        });
        sender
    }

    /// Decides the orders together and answers them all.
    pub(crate) async fn commit(&self, waiting: Vec<Waiting>) {
        let (orders, buyers): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|waiting| (waiting.order, waiting.buyer))
            .unzip();
        match self.decide(&orders, false).await {
            Err(trouble)
                if trouble.failure.may_be_of_one_concert()
                    && orders
                        .iter()
                        .any(|order| order.concert() != orders[0].concert()) =>
            {
                // Someone may hold one concert's row. Those who buy for it wait once more, and
                // neither the others nor the next batch wait with them.
                for (orders, buyers) in by_concert(orders, buyers) {
                    let committer = self.clone();
                    let may_stand = trouble.may_stand;
                    tokio::spawn(async move {
                        let decided = committer.decide(&orders, may_stand).await;
                        committer.settle(orders, buyers, decided).await;
                    });
                }
            }
            decided => self.settle(orders, buyers, decided).await,
        }
    }

    /// Answers for the orders what was decided; where one of them may have spoilt it for all, they
    /// are decided one by one.
    async fn settle(
        &self,
        orders: Vec<Order>,
        buyers: Vec<Buyer>,
        decided: Result<Vec<Verdict>, Trouble>,
    ) {
        match decided {
            Ok(verdicts) => {
                for ((order, buyer), verdict) in orders.into_iter().zip(buyers).zip(verdicts) {
                    self.answer(order, buyer, Ok(verdict));
                }
            }
            Err(trouble) if orders.len() > 1 && trouble.failure.may_be_of_one() => {
                for (order, buyer) in orders.into_iter().zip(buyers) {
                    let verdicts = self
                        .decide(std::slice::from_ref(&order), trouble.may_stand)
                        .await;
                    let verdict = verdicts.map(|mut verdicts| verdicts.remove(0));
                    self.answer(order, buyer, verdict);
                }
            }
            Err(trouble) => {
                for (order, buyer) in orders.into_iter().zip(buyers) {
                    self.answer(order, buyer, Err(trouble.clone()));
                }
            }
        }
    }

    /// A verdict for each order, of a transaction that was committed. An earlier one with them in
    /// it `may_stand`.
    async fn decide(&self, orders: &[Order], mut may_stand: bool) -> Result<Vec<Verdict>, Trouble> {
        // A limit for each buyer has to be looked up under the lock. So do orders that may stand:
        // there they are found and not sold twice.
        let mut locked = may_stand || orders.iter().any(|order| order.max_per_buyer.is_some());
        let mut backoff = Backoff::new(self.patience);
        loop {
            let result = if locked {
                self.store.decide(orders).await
            } else {
                match self.store.sell(orders).await {
                    Ok(true) => Ok(vec![Verdict::Sold; orders.len()]),
                    Ok(false) => {
                        locked = true;
                        continue;
                    }
                    Err(failure) => Err(failure),
                }
            };
            let failure = match result {
                Ok(verdicts) => return Ok(verdicts),
                Err(failure) => failure,
            };
            may_stand |= failure.may_have_committed();
            locked |= may_stand;
            if !failure.is_passing() || !backoff.pause().await {
                return Err(Trouble { failure, may_stand });
            }
        }
    }

    fn answer(&self, order: Order, buyer: Buyer, verdict: Result<Verdict, Trouble>) {
        let purchase = order.purchase.clone();
        let result = match verdict {
            Ok(Verdict::Sold) => {
                self.sold(&order, buyer.payment, &buyer.concert);
                Ok(Purchased {
                    purchase,
                    replayed: false,
                })
            }
            Ok(Verdict::Replayed(earlier)) => {
                self.observe(Outcome::Replayed, &order, &buyer.concert);
                Ok(Purchased {
                    purchase: earlier,
                    replayed: true,
                })
            }
            Ok(Verdict::SoldOut { available }) => {
                self.observe(Outcome::SoldOut, &order, &buyer.concert);
                Err(Error::SoldOut { available })
            }
            Err(Trouble {
                may_stand: true, ..
            }) => {
                let Buyer {
                    concert,
                    payment,
                    answer,
                    place,
                } = buyer;
                let committer = self.clone();
                tokio::spawn(async move {
                    committer.find_out(order, payment, &concert).await;
                    drop(place);
                });
                // Whoever has left need not be told.
                let _ = answer.send(Err(Error::OutcomeUnknown {
                    purchase: purchase.id,
                }));
                return;
            }
            refused => {
                self.observe(Outcome::Failed, &order, &buyer.concert);
                Err(match refused {
                    Ok(Verdict::PerBuyerLimit { limit, held }) => {
                        Error::PerBuyerLimit { limit, held }
                    }
                    Ok(Verdict::KeyReused) => Error::KeyReused,
                    Ok(_) => Error::NotFound {
                        what: "concert",
                        id: purchase.concert_id.to_string(),
                    },
                    Err(trouble) => trouble.failure.into_error(),
                })
            }
        };
        // Whoever has left need not be told.
        let _ = buyer.answer.send(result);
    }

    /// Asks the database whether the order stands until it can tell, so that the payment ends as
    /// the purchase did.
    async fn find_out(&self, order: Order, payment: Authorisation, concert: &Concert) {
        let mut backoff = Backoff::new(FIND_OUT);
        loop {
            match self.store.standing(std::slice::from_ref(&order)).await {
                Ok(standing) if standing == [true] => {
                    return self.sold(&order, payment, concert);
                }
                Ok(_) => return self.observe(Outcome::Failed, &order, concert),
                Err(failure) => {
                    // Whatever is in the way, a lock say, may be gone in time.
                    if failure.is_closed() || !backoff.pause().await {
                        let purchase = order.purchase.id;
                        tracing::error!(%purchase, "its outcome could not be found out");
                        return;
                    }
                }
            }
        }
    }

    fn sold(&self, order: &Order, payment: Authorisation, concert: &Concert) {
        payment.capture();
        self.observe(Outcome::Sold, order, concert);
    }

    fn observe(&self, outcome: Outcome, order: &Order, concert: &Concert) {
        self.observer.purchase(&PurchaseEvent {
            outcome,
            concert: &concert.slug,
            quantity: order.purchase.quantity,
            total: Some(order.purchase.total),
        });
    }
}

/// The orders and their buyers, apart by concert.
fn by_concert(
    orders: Vec<Order>,
    buyers: Vec<Buyer>,
) -> impl Iterator<Item = (Vec<Order>, Vec<Buyer>)> {
    let mut parts = BTreeMap::<ConcertId, (Vec<_>, Vec<_>)>::new();
    for (order, buyer) in orders.into_iter().zip(buyers) {
        let part = parts.entry(order.concert()).or_default();
        part.0.push(order);
        part.1.push(buyer);
    }
    parts.into_values()
}

/// What comes of `work`; none where it panics.
async fn unless_it_panics<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
