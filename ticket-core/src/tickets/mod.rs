//! The ticket platform: its life cycle and what its operations share.

mod concerts;
mod options;
mod purchases;
mod refunds;
mod stock;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

pub use self::options::Options;
use crate::{
    Commit, Concert, ConcertId, Error, Observer, Payments, PoolState,
    committer::{Committer, Pending},
    database_url::DatabaseUrl,
    observer::GuardedObserver,
    payment::Gateway,
    policy::{Fail, Faults, Operation},
    retry::Backoff,
    store::{self, Failure, Postgres, Probe, Response, Sqlite, Store, Timeouts},
};

/// The maximum number of concerts whose terms are cached, about 10 MB.
const MAX_CACHED_TERMS: usize = 10_000;

/// Future of an operation of [`Tickets`].
///
/// The compiler generates the code of an `async fn` once more in every crate that awaits it, with all
/// that it awaits. Boxed, it is compiled only in this crate.
pub type TicketsFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ticket platform on one database.
///
/// Clones share the platform. Every operation injects the faults that are declared for it before it
/// uses the database. Operations may be cancelled by dropping their futures: writes that have begun
/// run to completion.
#[derive(Clone)]
pub struct Tickets(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    faults: Faults,
    observer: Arc<dyn Observer>,
    gateway: Gateway,
    committer: Committer,
    lanes: Vec<mpsc::UnboundedSender<Pending>>,
    commit_each: AtomicBool,
    closing: AtomicBool,
    /// Permits of pending writes.
    permits: Arc<Semaphore>,
    queue: u32,
    retry_timeout: Duration,
    /// Concerts by id. Their capacities and sold tickets are out of date.
    terms: RwLock<HashMap<ConcertId, Arc<Concert>>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("commit", &self.commit())
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// Opens the database at `url`, migrates its schema, and checks that commits are durable.
    ///
    /// The URL is `sqlite://PATH`, whose file is created if it is missing, or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Special characters of the user and the
    /// password must be percent-encoded. One line break at the end is ignored. Parameters of
    /// PostgreSQL include:
    ///
    /// - `sslmode`: `disable`, `prefer` (default), `require` (encrypted, but not authenticated unless
    ///   `sslrootcert` is given), `verify-ca`, `verify-full` (recommended). All but the first two
    ///   require the feature `postgres-tls`, without which `prefer` does not encrypt.
    /// - `sslrootcert`: a PEM file with certificate authorities that are trusted in addition to
    ///   those of the operating system.
    /// - `host`: a directory with a Unix socket.
    ///
    /// A transaction pooler such as PgBouncer in front of PostgreSQL is detected and supported.
    /// Without one, a purchase takes fewer round trips.
    ///
    /// # Errors
    ///
    /// - [`Error::Setup`] if the URL, the credentials, TLS or a setting is unusable.
    /// - [`Error::InUse`] if another process holds the file that [`Options::exclusive`] locks.
    /// - [`Error::Migrate`] if a migration fails.
    /// - [`Error::Unavailable`] or [`Error::Busy`] if the database does not respond.
    pub fn open(url: &str, mut options: Options) -> TicketsFuture<'_, Result<Self, Error>> {
        Box::pin(async move {
            options.observer = Arc::new(GuardedObserver(options.observer));
            let timeouts = Timeouts {
                connection: options.connection_timeout,
                lock: options.lock_timeout,
                statement: options.statement_timeout,
            };
            let probe = |system, timeout| {
                let (faults, observer) = (options.faults.clone(), options.observer.clone());
                Probe::new(system, faults, observer, timeout)
            };
            let store: Arc<dyn Store> = match url.parse()? {
                DatabaseUrl::Sqlite(url) => {
                    let probe = probe("sqlite", timeouts.statement);
                    let (readers, exclusive) = (options.connections, options.exclusive);
                    Arc::new(Sqlite::open(&url, readers, exclusive, timeouts, probe).await?)
                }
                DatabaseUrl::Postgres(url) => {
                    // The server's own timeout should elapse first; its response takes time to arrive.
                    let timeout = timeouts.statement.saturating_add(timeouts.connection);
                    let probe = probe("postgresql", timeout);
                    Arc::new(Postgres::open(&url, options.connections, timeouts, probe).await?)
                }
            };
            Ok(Self::new(store, options))
        })
    }

    pub(crate) fn new(store: Arc<dyn Store>, options: Options) -> Self {
        let committer = Committer {
            store: store.clone(),
            observer: options.observer.clone(),
            retry_timeout: options.retry_timeout,
        };
        Self(Arc::new(Inner {
            lanes: (0..store.lanes()).map(|_| committer.spawn_lane()).collect(),
            store,
            faults: options.faults,
            observer: options.observer,
            gateway: Gateway::default(),
            committer,
            commit_each: AtomicBool::new(options.commit == Commit::Each),
            closing: AtomicBool::new(false),
            permits: Arc::new(Semaphore::new(options.queue as usize)),
            queue: options.queue,
            retry_timeout: options.retry_timeout,
            terms: RwLock::default(),
        }))
    }

    /// Checks that the database responds and accepts writes. Injected faults do not apply, so that a
    /// server that simulates an outage stays ready.
    ///
    /// Reads, and writes only while the latest write has failed: a read-only session, a full disk
    /// or a deleted SQLite file are detected either way.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Busy`], [`Error::Database`], or [`Error::Closed`] after
    /// [`close`](Self::close).
    pub fn ping(&self) -> TicketsFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.0.store.ping().await.map_err(Failure::into_error) })
    }

    /// Returns how many servers use the database, this one included, or `None` if that is unknown,
    /// as behind a transaction pooler. Counts connected servers of PostgreSQL. A SQLite file has one
    /// if it was opened with [`Options::exclusive`], and an unknown number otherwise.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub fn servers(&self) -> TicketsFuture<'_, Result<Option<u32>, Error>> {
        Box::pin(async move { self.retry(|| self.0.store.servers()).await })
    }

    /// Returns the states of the connection pools.
    pub fn pools(&self) -> Vec<PoolState> {
        self.0.store.pools()
    }

    /// Returns the payments of this process.
    pub fn payments(&self) -> Payments {
        self.0.gateway.payments()
    }

    /// Returns how purchases are committed.
    pub fn commit(&self) -> Commit {
        match self.0.commit_each.load(Relaxed) {
            true => Commit::Each,
            false => Commit::Group,
        }
    }

    /// Sets how purchases are committed from now on.
    pub fn set_commit(&self, commit: Commit) {
        self.0.commit_each.store(commit == Commit::Each, Relaxed);
    }

    /// Returns the faults that are injected.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Rejects new writes, waits for pending ones, and closes the database. Waits for up to twice
    /// [`Options::retry_timeout`].
    pub fn close(&self) -> TicketsFuture<'_, ()> {
        Box::pin(async move {
            self.0.closing.store(true, Relaxed);
            let all = self.0.permits.acquire_many(self.0.queue);
            // Writes that are still pending after this time wait for a database that does not respond.
            if tokio::time::timeout(self.0.retry_timeout * 2, all)
                .await
                .is_err()
            {
                tracing::warn!("closed while purchases were waiting for the database");
            }
            self.0.permits.close();
            self.0.store.close().await;
        })
    }

    /// Takes a permit for a write.
    fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if self.0.closing.load(Relaxed) {
            return Err(Error::Closed);
        }
        self.0
            .permits
            .clone()
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::Closed => Error::Closed,
                TryAcquireError::NoPermits => Error::Overloaded {
                    retry_after: Duration::from_secs(1),
                },
            })
    }

    /// Returns a concert, possibly from the cache with an outdated capacity and number of sold
    /// tickets.
    async fn terms(&self, id: ConcertId) -> Result<Arc<Concert>, Error> {
        let cached = self
            .0
            .terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(terms) = cached {
            return Ok(terms);
        }
        let terms = Arc::new(self.find_concert(id).await?);
        let mut cache = self.0.terms.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED_TERMS {
            cache.clear();
        }
        cache.insert(id, terms.clone());
        Ok(terms)
    }

    async fn find_concert(&self, id: ConcertId) -> Result<Concert, Error> {
        self.retry(|| self.0.store.reads().concert(id))
            .await?
            .ok_or_else(|| concert_not_found(id))
    }

    /// Injects the faults of `operation`.
    async fn inject(&self, operation: Operation) -> Result<(), Error> {
        match store::inject(&self.0.faults, &*self.0.observer, operation).await {
            None => Ok(()),
            Some(Fail::Declined) => Err(Error::Declined),
            Some(_) => Err(Error::Injected { operation }),
        }
    }

    /// Retries transient failures of an idempotent operation until the retry timeout elapses.
    async fn retry<'a, T>(&self, attempt: impl Fn() -> Response<'a, T>) -> Result<T, Error> {
        self.retry_if(Failure::is_transient, attempt).await
    }

    /// Retries failures that satisfy `retryable` until the retry timeout elapses.
    async fn retry_if<'a, T>(
        &self,
        retryable: fn(&Failure) -> bool,
        attempt: impl Fn() -> Response<'a, T>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(self.0.retry_timeout);
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) if retryable(&failure) && backoff.wait().await => {}
                Err(failure) => return Err(failure.into_error()),
            }
        }
    }
}

/// Runs a write to completion even if the caller is cancelled.
async fn run_to_completion<T: Send + 'static>(
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

fn concert_not_found(id: ConcertId) -> Error {
    Error::NotFound {
        what: "concert",
        id: id.to_string(),
    }
}
