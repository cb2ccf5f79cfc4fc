//! Tests on a store that loses responses, fails or panics on demand.

mod outcomes;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot};

use super::{Failure, Order, OrderResult, PoolState, Probe, Reads, Response, Sqlite, Stock, Store};
use crate::{
    Concert, ConcertId, Currency, Error, Money, NewConcert, NewPurchase, Options, Purchase,
    PurchaseId, Status, Tickets,
    attempt::Attempt,
    committer::{Committer, Completion, Pending},
    database_url::DatabaseUrl,
    payment::Gateway,
    policy::Faults,
};

/// Simulated fate of a call.
#[derive(Clone, Debug)]
enum Fate {
    /// The call is executed and its response is lost.
    Lost,
    /// The call is not executed and fails.
    Failed(Failure),
    /// The call panics before it is executed.
    Panics,
    /// The call panics after it was executed.
    PanicsLate,
}

struct Lossy {
    inner: Sqlite,
    /// Fates of the next writes; later ones succeed.
    writes: Mutex<VecDeque<Fate>>,
    /// Fates of the next lookups of committed orders.
    lookups: Mutex<VecDeque<Fate>>,
    /// The `may_have_committed` of every refund.
    refunds: Mutex<Vec<bool>>,
    _folder: TempDir,
}

impl Lossy {
    async fn open(writes: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/tickets.db", folder.path().display());
        let options = Options::default();
        let timeouts = super::Timeouts {
            connection: options.connection_timeout,
            lock: options.lock_timeout,
            statement: options.statement_timeout,
        };
        let probe = Probe::new("sqlite", Faults::calm(), Arc::new(()), timeouts.statement);
        let Ok(DatabaseUrl::Sqlite(url)) = url.parse() else {
            unreachable!("the URL is that of a SQLite file")
        };
        Arc::new(Self {
            inner: Sqlite::open(&url, 2, false, timeouts, probe).await.unwrap(),
            writes: Mutex::new(writes.into_iter().collect()),
            lookups: Mutex::default(),
            refunds: Mutex::default(),
            _folder: folder,
        })
    }

    fn apply<'a, T: 'a>(fates: &Mutex<VecDeque<Fate>>, call: Response<'a, T>) -> Response<'a, T> {
        match fates.lock().unwrap().pop_front() {
            None => call,
            Some(Fate::Failed(failure)) => Box::pin(async { Err(failure) }),
            Some(Fate::Panics) => Box::pin(async { panic!("a bug") }),
            Some(Fate::PanicsLate) => Box::pin(async {
                call.await?;
                panic!("a bug after COMMIT")
            }),
            Some(Fate::Lost) => Box::pin(async {
                call.await?;
                Err(Failure::committing(sqlx::Error::WorkerCrashed))
            }),
        }
    }
}

impl Store for Lossy {
    fn reads(&self) -> &dyn Reads {
        self.inner.reads()
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Response<'a, bool> {
        Self::apply(&self.writes, self.inner.create_concert(concert))
    }

    fn sell<'a>(&'a self, orders: &'a [Order]) -> Response<'a, bool> {
        Self::apply(&self.writes, self.inner.sell(orders))
    }

    fn decide<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<OrderResult>> {
        Self::apply(&self.writes, self.inner.decide(orders))
    }

    fn committed<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<bool>> {
        Self::apply(&self.lookups, self.inner.committed(orders))
    }

    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        may_have_committed: bool,
    ) -> Response<'_, Option<(Purchase, bool)>> {
        self.refunds.lock().unwrap().push(may_have_committed);
        Self::apply(&self.writes, self.inner.refund(id, at, may_have_committed))
    }

    fn restock(&self, id: ConcertId, tickets: u32) -> Response<'_, Option<Concert>> {
        Self::apply(&self.writes, self.inner.restock(id, tickets))
    }

    fn reset_sales(&self, id: ConcertId) -> Response<'_, Option<(Concert, u32)>> {
        Self::apply(&self.writes, self.inner.reset_sales(id))
    }

    fn stock_of<'a>(&'a self, ids: &'a [ConcertId]) -> Response<'a, Vec<Stock>> {
        self.inner.stock_of(ids)
    }

    fn ping(&self) -> Response<'_, ()> {
        self.inner.ping()
    }

    fn servers(&self) -> Response<'_, Option<u32>> {
        self.inner.servers()
    }

    fn pools(&self) -> Vec<PoolState> {
        self.inner.pools()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.inner.close()
    }
}

fn new_concert() -> NewConcert {
    let begins = "2100-01-01T20:00:00Z".parse().unwrap();
    let price = Money::new(6500, Currency::EUR);
    NewConcert::new("Radiohead", "Berlin", begins, 100, price).unwrap()
}

#[tokio::test]
async fn a_concert_whose_first_response_is_lost_is_created_once() {
    let tickets = Tickets::new(Lossy::open([Fate::Lost]).await, Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    let all = tickets.list_concerts(10, None).await.unwrap().items;
    assert_eq!(all, [concert]);
}

#[tokio::test]
async fn a_purchase_whose_response_is_lost_is_found_and_paid_once() {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    store.writes.lock().unwrap().push_back(Fate::Lost);
    let new = NewPurchase::new("ann", 2).unwrap();
    let bought = tickets.purchase(concert.id, new, None).await.unwrap();
    assert!(!bought.replayed);
    assert_eq!(tickets.stock().await.unwrap()[0].sold, 2);
    let payments = tickets.payments();
    assert_eq!(
        (payments.captured, payments.amount(Currency::EUR)),
        (1, 13_000)
    );
}

#[tokio::test]
async fn operations_that_are_not_idempotent_are_not_retried_after_a_lost_response() {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    let lose = || store.writes.lock().unwrap().push_back(Fate::Lost);
    lose();
    let error = tickets.restock(concert.id, 10).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(tickets.stock().await.unwrap()[0].capacity, 110);
    lose();
    let error = tickets.reset_sales(concert.id).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn only_an_attempt_that_may_have_committed_lets_a_refund_claim_an_earlier_one() {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    let rolled_back = || Failure::from(sqlx::Error::WorkerCrashed);
    for (fates, expected) in [
        (vec![], vec![false]),
        (vec![Fate::Failed(rolled_back())], vec![false, false]),
        (vec![Fate::Lost], vec![false, true]),
        (
            vec![Fate::Failed(rolled_back()), Fate::Lost],
            vec![false, false, true],
        ),
    ] {
        let new = NewPurchase::new("ann", 1).unwrap();
        let bought = tickets.purchase(concert.id, new, None).await.unwrap();
        let before = tickets.payments().amount(Currency::EUR);
        store.writes.lock().unwrap().extend(fates.clone());
        tickets.refund(bought.purchase.id).await.unwrap();
        let refunds = std::mem::take(&mut *store.refunds.lock().unwrap());
        assert_eq!(refunds, expected, "{fates:?}");
        assert_eq!(
            before - tickets.payments().amount(Currency::EUR),
            6500,
            "{fates:?}"
        );
    }
}

#[tokio::test]
async fn the_outcome_of_a_purchase_whose_transaction_panics_is_unknown_and_looked_up() {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    let buy = || tickets.purchase(concert.id, NewPurchase::new("ann", 2).unwrap(), None);
    store.writes.lock().unwrap().push_back(Fate::Panics);
    let error = buy().await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    buy().await.unwrap();
    assert_eq!(tickets.stock().await.unwrap()[0].sold, 2);
}

#[tokio::test]
async fn orders_that_may_be_committed_are_not_reported_as_failed_when_they_are_retried_individually()
 {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = Arc::new(tickets.create_concert(new_concert()).await.unwrap());
    let gateway = Gateway::default();
    let permits = Arc::new(Semaphore::new(2));
    let mut responses = Vec::new();
    let mut batch = Vec::new();
    for buyer in ["ann", "bob"] {
        let purchase = Purchase::create(&concert, &NewPurchase::new(buyer, 1).unwrap());
        let (response, received) = oneshot::channel();
        responses.push(received);
        let mut attempt = Attempt::new(Arc::new(()), concert.id, 1);
        attempt.set_concert(concert.clone());
        batch.push(Pending {
            completion: Completion {
                attempt,
                payment: gateway.authorize(purchase.total),
                response,
                permit: permits.clone().try_acquire_owned().unwrap(),
            },
            order: Order {
                purchase,
                max_per_buyer: None,
                key: None,
            },
        });
    }
    // The batch is committed and its response is lost. The retry fails, and so does the first order
    // when it is retried individually. The first lookup fails because the database is busy.
    let refused = || Fate::Failed(Failure::from(sqlx::Error::RowNotFound));
    store
        .writes
        .lock()
        .unwrap()
        .extend([Fate::Lost, refused(), refused()]);
    let busy = Failure::from(sqlx::Error::PoolTimedOut);
    store.lookups.lock().unwrap().push_back(Fate::Failed(busy));
    let committer = Committer {
        store: store.clone(),
        observer: Arc::new(()),
        retry_timeout: Options::default().retry_timeout,
    };
    committer.commit(batch).await;

    let (ann, bob) = (
        responses.remove(0).await.unwrap(),
        responses.remove(0).await.unwrap(),
    );
    assert!(matches!(ann, Err(Error::OutcomeUnknown { .. })), "{ann:?}");
    assert!(bob.is_ok(), "{bob:?}");
    let _all_completed = permits.acquire_many(2).await.unwrap();
    let payments = gateway.payments();
    assert_eq!((payments.captured, payments.voided), (2, 0));
}

#[tokio::test]
async fn a_refund_belongs_to_the_call_that_made_it_even_if_another_has_the_same_timestamp() {
    let store = Lossy::open([]).await;
    let tickets = Tickets::new(store.clone(), Options::default());
    let concert = tickets.create_concert(new_concert()).await.unwrap();
    let new = || NewPurchase::new("ann", 2).unwrap();
    let bought = tickets.purchase(concert.id, new(), None).await.unwrap();

    let at = bought.purchase.created_at;
    let by_this_call = async |may_have_committed| {
        let refunded = store
            .refund(bought.purchase.id, at, may_have_committed)
            .await;
        refunded.unwrap().unwrap().1
    };
    assert!(by_this_call(false).await);
    assert!(!by_this_call(false).await, "another call");
    assert!(
        by_this_call(true).await,
        "the same call, whose response was lost"
    );

    let bought = tickets.purchase(concert.id, new(), None).await.unwrap();
    let before = tickets.payments().amount(Currency::EUR);
    store.writes.lock().unwrap().push_back(Fate::Lost);
    let refunded = tickets.refund(bought.purchase.id).await.unwrap();
    assert_eq!(refunded.status, Status::Refunded);
    assert_eq!(before - tickets.payments().amount(Currency::EUR), 13_000);
}
