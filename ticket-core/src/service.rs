use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::{
    Commit, Concert, ConcertId, Cursor, Error, IdempotencyKey, NewConcert, NewPurchase, Observer,
    Outcome, Page, Payments, PoolState, Purchase, PurchaseId, Purchased, Stock, Totals,
    commit::{Buyer, Committer, FIND_OUT, Waiting},
    concert::micros,
    observer::{Guarded, PurchaseEvent},
    page::MAX_PAGE,
    payment::Gateway,
    policy::{Fail, Faults, Operation},
    retry::Backoff,
    store::{self, Answer, Failure, Key, Order, Postgres, Probe, Sqlite, Store, Timeouts},
};

/// How [`Tickets`] are opened.
#[derive(Clone)]
pub struct Options {
    /// How purchases are committed at first. Default: [`Commit::Group`].
    pub commit: Commit,
    /// The faults to inject. Default: none.
    pub faults: Faults,
    /// Who is told what happens. Default: nobody.
    pub observer: Arc<dyn Observer>,
    /// The most connections to PostgreSQL; for SQLite, the most that read. Default: 16.
    pub connections: u32,
    /// How many purchases may wait to be committed; more are refused as
    /// [`Error::Overloaded`]. Default: 4096.
    pub queue: u32,
    /// How long a connection is waited for. Default: 3 s.
    pub connection_timeout: Duration,
    /// How long a lock in the database is waited for. Default: 5 s.
    pub lock_timeout: Duration,
    /// How long one statement may take; with SQLite, the statements of a transaction together.
    /// Default: 10 s.
    pub statement_timeout: Duration,
    /// How long what failed in passing (a serialization failure, a deadlock, a lost connection) is
    /// tried again, where that is safe. Default: 3 s.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit: Commit::default(),
            faults: Faults::calm(),
            observer: Arc::new(()),
            connections: 16,
            queue: 4096,
            connection_timeout: Duration::from_secs(3),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(3),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("commit", &self.commit)
            .field("connections", &self.connections)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// The ticket platform: what can be done with concerts and purchases.
///
/// A clone is another handle of the same platform. Each use case applies the faults of its
/// operation before it touches the database.
#[derive(Clone)]
pub struct Tickets(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    faults: Faults,
    observer: Arc<dyn Observer>,
    gateway: Gateway,
    committer: Committer,
    lanes: Vec<mpsc::UnboundedSender<Waiting>>,
    each: AtomicBool,
    closing: AtomicBool,
    /// A place for each purchase that may wait.
    places: Arc<Semaphore>,
    queue: u32,
    patience: Duration,
    terms: RwLock<HashMap<ConcertId, Arc<Concert>>>,
}

/// How many concerts' terms are remembered.
const TERMS: usize = 10_000;

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("commit", &self.commit())
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// Opens the database at `url` (`sqlite://PATH`, created if missing, or `postgres://…`),
    /// brings its schema up to date, and makes sure that what is committed is on disk.
    ///
    /// # Errors
    /// [`Error::Setup`] for an address or settings that do not serve, [`Error::Migrate`] where
    /// the schema cannot be brought up to date, [`Error::Unavailable`] where nobody answers.
    pub async fn open(url: &str, mut options: Options) -> Result<Self, Error> {
        options.observer = Arc::new(Guarded(options.observer));
        let timeouts = Timeouts {
            connection: options.connection_timeout,
            lock: options.lock_timeout,
            statement: options.statement_timeout,
        };
        let probe = |system, limit| {
            let (faults, observer) = (options.faults.clone(), options.observer.clone());
            Probe::new(system, faults, observer, limit)
        };
        let store: Arc<dyn Store> = match url.split_once(':') {
            Some(("sqlite", _)) => {
                let probe = probe("sqlite", timeouts.statement);
                let store = Sqlite::open(url, options.connections, timeouts, probe);
                Arc::new(store.await?)
            }
            Some(("postgres" | "postgresql", _)) => {
                // The server itself gives up first; it may take time to hear of it.
                let probe = probe(
                    "postgresql",
                    timeouts.statement.saturating_add(timeouts.connection),
                );
                Arc::new(Postgres::open(url, options.connections, timeouts, probe).await?)
            }
            _ => {
                return Err(Error::Setup {
                    problem: "the address begins neither with sqlite: nor with postgres:".into(),
                });
            }
        };
        Ok(Self::on(store, options))
    }

    pub(crate) fn on(store: Arc<dyn Store>, options: Options) -> Self {
        let committer = Committer {
            store: store.clone(),
            observer: options.observer.clone(),
            patience: options.patience,
        };
        Self(Arc::new(Inner {
            lanes: (0..store.lanes()).map(|_| committer.lane()).collect(),
            store,
            faults: options.faults,
            observer: options.observer,
            gateway: Gateway::default(),
            committer,
            each: AtomicBool::new(options.commit == Commit::Each),
            closing: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(options.queue as usize)),
            queue: options.queue,
            patience: options.patience,
            terms: RwLock::default(),
        }))
    }

    /// Puts a concert on sale. Its slug is made from the title; where that is taken, a number
    /// is added.
    ///
    /// # Errors
    /// Those of the database and of its faults.
    pub async fn create_concert(&self, new: NewConcert) -> Result<Concert, Error> {
        self.inject(Operation::CreateConcert).await?;
        let mut concert = Concert::create(new);
        let stem = concert.slug.clone();
        let platform = self.clone();
        alone(async move {
            for number in 2.. {
                let created = platform
                    .again(|| platform.0.store.create_concert(&concert))
                    .await?;
                if created {
                    break;
                }
                // An earlier try may have been committed whose answer was lost.
                let stands = platform.0.store.reads();
                if let Some(concert) = platform.again(|| stands.concert(concert.id)).await? {
                    return Ok(concert);
                }
                // After some tries in order, leap: a popular title is not counted up.
                let suffix = match number {
                    ..10 => number.to_string(),
                    _ => concert.id.as_uuid().simple().to_string()[20..].to_owned(),
                };
                concert.slug = format!("{stem}-{suffix}");
            }
            Ok(concert)
        })
        .await
    }

    /// The concerts in the order in which they were created, `limit` of them (1 to
    /// [`MAX_PAGE`]), from the beginning or after a cursor of an earlier page.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another `limit`; those of the database and of its faults.
    pub async fn list_concerts(
        &self,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<Concert>, Error> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::invalid(
                "limit",
                format!("{limit} is not allowed: an integer from 1 to {MAX_PAGE} is"),
            ));
        }
        self.inject(Operation::ListConcerts).await?;
        let after = after.map(Cursor::id);
        // One more than asked for tells whether there is a next page.
        let mut items = self
            .again(|| self.0.store.reads().concerts(limit + 1, after))
            .await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|c| Cursor::after(c.id));
        Ok(Page { items, next_cursor })
    }

    /// A concert.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the database and of its faults.
    pub async fn concert(&self, id: ConcertId) -> Result<Concert, Error> {
        self.inject(Operation::ReadConcert).await?;
        self.read_concert(id).await
    }

    /// Buys tickets. The purchase is on disk when this returns it.
    ///
    /// With an idempotency key, the same request made again answers with the first purchase. A
    /// caller that stops waiting may have bought all the same.
    ///
    /// # Errors
    /// Every variant of [`Error`] but `Malformed`, `Setup` and `Migrate`.
    pub async fn purchase(
        &self,
        concert: ConcertId,
        new: NewPurchase,
        key: Option<IdempotencyKey>,
    ) -> Result<Purchased, Error> {
        let event = |outcome, concert: Option<&Concert>| {
            self.0.observer.purchase(&PurchaseEvent {
                outcome,
                concert: concert.map_or("", |concert| &concert.slug),
                quantity: new.quantity(),
                total: concert.map(|concert| concert.price_of(new.quantity())),
            });
        };
        let terms = match self.terms(concert).await {
            Ok(terms) => terms,
            Err(error) => {
                event(Outcome::Failed, None);
                return Err(error);
            }
        };
        match self.prepare(&terms, &new, key).await {
            // From here on the committer tells the observer, whether or not we are there to wait.
            // It says nothing only where it panicked or its runtime ended.
            Ok(Prepared::Ordered(purchase, answer)) => answer
                .await
                .unwrap_or(Err(Error::OutcomeUnknown { purchase })),
            Ok(Prepared::Bought(purchase)) => {
                event(Outcome::Replayed, Some(&terms));
                Ok(Purchased {
                    purchase,
                    replayed: true,
                })
            }
            Err(error) => {
                let outcome = match error {
                    Error::Declined => Outcome::Declined,
                    _ => Outcome::Failed,
                };
                event(outcome, Some(&terms));
                Err(error)
            }
        }
    }

    /// All that comes before the transaction: what needs no lock, and the payment.
    async fn prepare(
        &self,
        concert: &Arc<Concert>,
        new: &NewPurchase,
        key: Option<IdempotencyKey>,
    ) -> Result<Prepared, Error> {
        let place = self.place()?;
        self.inject(Operation::Purchase).await?;
        let key = key.map(|key| Key {
            key,
            digest: new.digest(),
        });
        if let Some(Key { key, digest }) = &key {
            let found = self
                .again(|| {
                    self.0
                        .store
                        .reads()
                        .purchase_by_key(concert.id, key.as_str())
                })
                .await?;
            match found {
                Some((purchase, of)) if of == digest => return Ok(Prepared::Bought(purchase)),
                Some(_) => return Err(Error::KeyReused),
                None => {}
            }
        }
        concert.check_on_sale(Timestamp::now())?;
        self.inject(Operation::Payment).await?;
        let purchase = Purchase::create(concert, new);
        let id = purchase.id;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            buyer: Buyer {
                concert: concert.clone(),
                payment: self.0.gateway.authorise(purchase.total),
                answer,
                place,
            },
            order: Order {
                purchase,
                max_per_buyer: concert.max_per_buyer,
                key,
            },
        };
        match self.commit() {
            Commit::Each => {
                let committer = self.0.committer.clone();
                tokio::spawn(async move { committer.commit(vec![waiting]).await });
            }
            Commit::Group => {
                let lane = concert.id.as_uuid().as_u128() % self.0.lanes.len() as u128;
                // A lane ends only with us.
                let _ = self.0.lanes[lane as usize].send(waiting);
            }
        }
        Ok(Prepared::Ordered(id, answered))
    }

    /// A purchase.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the database and of its faults.
    pub async fn read_purchase(&self, id: PurchaseId) -> Result<Purchase, Error> {
        self.inject(Operation::ReadPurchase).await?;
        self.again(|| self.0.store.reads().purchase(id))
            .await?
            .ok_or_else(|| no_purchase(id))
    }

    /// Gives the tickets of a purchase back: they go on sale again. A second refund changes
    /// nothing and answers with the refunded purchase.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the database and of its faults.
    pub async fn refund(&self, id: PurchaseId) -> Result<Purchase, Error> {
        self.inject(Operation::Refund).await?;
        let place = self.place()?;
        let platform = self.clone();
        alone(async move {
            let at = micros(Timestamp::now());
            let mut backoff = Backoff::new(platform.0.patience);
            let (mut again, mut may_stand) = (false, false);
            loop {
                let failure = match platform.0.store.refund(id, at, again).await {
                    Ok(refunded) => return platform.refunded(id, refunded).await,
                    Err(failure) => failure,
                };
                again = true;
                may_stand |= failure.may_have_committed();
                if failure.is_passing() && backoff.pause().await {
                    continue;
                }
                if !may_stand {
                    return Err(failure.into_error());
                }
                tokio::spawn(async move {
                    platform.refund_at_last(id, at).await;
                    drop(place);
                });
                return Err(Error::OutcomeUnknown { purchase: id });
            }
        })
        .await
    }

    /// Pays back what this call refunded, and tells of it.
    async fn refunded(
        &self,
        id: PurchaseId,
        refunded: Option<(Purchase, bool)>,
    ) -> Result<Purchase, Error> {
        let (purchase, ours) = refunded.ok_or_else(|| no_purchase(id))?;
        if ours {
            self.0.gateway.pay_back(purchase.total);
            let concert = self.terms(purchase.concert_id).await;
            self.0.observer.purchase(&PurchaseEvent {
                outcome: Outcome::Refunded,
                concert: concert.as_ref().map_or("", |concert| &concert.slug),
                quantity: purchase.quantity,
                total: Some(purchase.total),
            });
        }
        Ok(purchase)
    }

    /// Brings a refund that may stand to its end, so that it is paid back once.
    async fn refund_at_last(&self, id: PurchaseId, at: Timestamp) {
        let mut backoff = Backoff::new(FIND_OUT);
        loop {
            match self.0.store.refund(id, at, true).await {
                Ok(refunded) => {
                    // Nobody waits for the answer.
                    let _ = self.refunded(id, refunded).await;
                    return;
                }
                Err(failure) if !failure.is_closed() && backoff.pause().await => {}
                Err(_) => {
                    tracing::error!(purchase = %id, "its refund could not be brought to its end");
                    return;
                }
            }
        }
    }

    /// Adds `tickets` to a concert, up to the most that a concert can have.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the database.
    pub async fn restock(&self, id: ConcertId, tickets: u32) -> Result<Concert, Error> {
        let place = self.place()?;
        let platform = self.clone();
        alone(async move {
            let _place = place;
            // To add tickets twice is not safe.
            let concert = platform
                .again_where(Failure::was_rolled_back, || {
                    platform.0.store.restock(id, tickets)
                })
                .await?;
            concert.ok_or_else(|| no_concert(id))
        })
        .await
    }

    /// The next night of a concert: the purchases for the last one are struck off the books, and
    /// all tickets are on sale again. This keeps the database of a show that goes on for ever as
    /// large as its concerts.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the database.
    pub async fn next_night(&self, id: ConcertId) -> Result<Concert, Error> {
        let place = self.place()?;
        let platform = self.clone();
        alone(async move {
            let _place = place;
            // Twice would strike off what was bought in between.
            let begun = platform
                .again_where(Failure::was_rolled_back, || platform.0.store.next_night(id))
                .await?;
            let (concert, struck_off) = begun.ok_or_else(|| no_concert(id))?;
            platform.0.observer.next_night(&concert.slug, struck_off);
            Ok(concert)
        })
        .await
    }

    /// What each concert has sold and has left, in the order of their ids, read from the
    /// concerts' rows alone.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stock(&self) -> Result<Vec<Stock>, Error> {
        self.again(|| self.0.store.reads().stock()).await
    }

    /// The books. Every purchase is read: not for a hot path.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn totals(&self) -> Result<Totals, Error> {
        self.again(|| self.0.store.reads().totals()).await
    }

    /// How many servers use the database, this one included; `None` where that cannot be told. With
    /// PostgreSQL those are counted that are connected now; SQLite is for one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn servers(&self) -> Result<Option<u32>, Error> {
        self.again(|| self.0.store.servers()).await
    }

    /// Whether the database answers, asked once. Faults on `database` leave it alone: a server
    /// that plays them is ready all the same.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0
            .store
            .reads()
            .ping()
            .await
            .map_err(Failure::into_error)
    }

    /// The database's connections.
    pub fn pool(&self) -> Vec<PoolState> {
        self.0.store.pools()
    }

    /// The payments that this process has made.
    pub fn payments(&self) -> Payments {
        self.0.gateway.books()
    }

    /// How purchases are committed.
    pub fn commit(&self) -> Commit {
        match self.0.each.load(Relaxed) {
            true => Commit::Each,
            false => Commit::Group,
        }
    }

    /// Commits purchases that come from now on in another way.
    pub fn set_commit(&self, commit: Commit) {
        self.0.each.store(commit == Commit::Each, Relaxed);
    }

    /// The faults that are injected.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Refuses what is new, waits for what is under way, and closes the database.
    pub async fn close(&self) {
        self.0.closing.store(true, Relaxed);
        let all = self.0.places.acquire_many(self.0.queue);
        // Whoever still waits by then waits for a database that does not answer.
        if tokio::time::timeout(self.0.patience * 2, all)
            .await
            .is_err()
        {
            tracing::warn!("closed while purchases were still waiting for the database");
        }
        self.0.places.close();
        self.0.store.close().await;
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        if self.0.closing.load(Relaxed) {
            return Err(Error::Closed);
        }
        self.0
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::Closed => Error::Closed,
                TryAcquireError::NoPermits => Error::Overloaded {
                    retry_after: Duration::from_secs(1),
                },
            })
    }

    /// What does not change about a concert: everything but its capacity and what is sold.
    async fn terms(&self, id: ConcertId) -> Result<Arc<Concert>, Error> {
        let known = self
            .0
            .terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(terms) = known {
            return Ok(terms);
        }
        let terms = Arc::new(self.read_concert(id).await?);
        let mut known = self.0.terms.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TERMS {
            known.clear();
        }
        known.insert(id, terms.clone());
        Ok(terms)
    }

    async fn read_concert(&self, id: ConcertId) -> Result<Concert, Error> {
        self.again(|| self.0.store.reads().concert(id))
            .await?
            .ok_or_else(|| no_concert(id))
    }

    async fn inject(&self, operation: Operation) -> Result<(), Error> {
        match store::inject(&self.0.faults, &*self.0.observer, operation).await {
            None => Ok(()),
            Some(Fail::Declined) => Err(Error::Declined),
            Some(_) => Err(Error::Injected { operation }),
        }
    }

    /// Asks until the answer is there, the failure is not one that passes, or patience ends. Only
    /// for what is safe to repeat.
    async fn again<'a, T>(&self, ask: impl Fn() -> Answer<'a, T>) -> Result<T, Error> {
        self.again_where(Failure::is_passing, ask).await
    }

    /// Asks again only after failures that `allow` it.
    async fn again_where<'a, T>(
        &self,
        allow: fn(&Failure) -> bool,
        ask: impl Fn() -> Answer<'a, T>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(self.0.patience);
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(failure) if allow(&failure) && backoff.pause().await => {}
                Err(failure) => return Err(failure.into_error()),
            }
        }
    }
}

/// What comes of a purchase before its transaction.
enum Prepared {
    /// The key has bought already.
    Bought(Purchase),
    /// It is waiting to be committed under this id.
    Ordered(PurchaseId, oneshot::Receiver<Result<Purchased, Error>>),
}

/// Runs a write in a task of its own, so that a caller who leaves does not cut it in the middle.
async fn alone<T: Send + 'static>(
    write: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(write).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Closed),
        },
    }
}

fn no_concert(id: ConcertId) -> Error {
    Error::NotFound {
        what: "concert",
        id: id.to_string(),
    }
}

fn no_purchase(id: PurchaseId) -> Error {
    Error::NotFound {
        what: "purchase",
        id: id.to_string(),
    }
}
