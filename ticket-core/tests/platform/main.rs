//! Tests of the public API on both stores and with both commit modes.

mod cluster;
mod commits;
mod concerts;
mod constraints;
mod failover;
mod files;
mod kill;
mod model;
mod outages;
mod pooler;
mod proxy;
mod purchases;
mod timeouts;
mod tls;
mod values;

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use cluster::Cluster;
use jiff::Timestamp;
use tempfile::TempDir;
use ticket_core::{
    Commit, Concert, ConcertId, Currency, Error, IdempotencyKey, Money, NewConcert, NewPurchase,
    Options, Purchased, Tickets,
    policy::{Document, Faults},
};

/// The cluster that most tests share. Its data need not survive a crash.
static SHARED: LazyLock<Option<Cluster>> = LazyLock::new(|| Cluster::start("-c fsync=off"));

/// Creates an empty database in the shared cluster and returns its URL.
fn database() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = SHARED.as_ref()?;
    Some(cluster.create_database(&format!("t{}", NEXT.fetch_add(1, Relaxed))))
}

/// A platform with a new, empty database.
struct Platform {
    /// The store and the commit mode.
    name: String,
    url: String,
    tickets: Tickets,
    _folder: Arc<TempDir>,
}

/// Options whose timeouts a busy machine does not reach.
fn options() -> Options {
    let timeout = Duration::from_secs(120);
    Options {
        connection_timeout: timeout,
        lock_timeout: timeout,
        statement_timeout: timeout,
        ..Options::default()
    }
}

/// Opens platforms on both stores with both commit modes.
async fn platforms() -> Vec<Platform> {
    platforms_with(options()).await
}

async fn platforms_with(options: Options) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for commit in [Commit::Each, Commit::Group] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let sqlite = format!("sqlite://{}/tickets.db", folder.path().display());
        for url in [Some(sqlite), database()].into_iter().flatten() {
            let options = Options {
                commit,
                faults: Faults::new(Document::clone(&options.faults.document())),
                ..options.clone()
            };
            let store = url.split_once(':').unwrap().0;
            platforms.push(Platform {
                name: format!("{store}, commit = {commit}"),
                tickets: Tickets::open(&url, options).await.unwrap(),
                _folder: folder.clone(),
                url,
            });
        }
    }
    platforms
}

impl Platform {
    async fn concert(&self, capacity: u32) -> Concert {
        self.tickets
            .create_concert(new_concert(capacity))
            .await
            .unwrap()
    }

    async fn buy(&self, concert: &Concert, quantity: u32) -> Result<Purchased, Error> {
        self.buy_as("ann", concert, quantity, None).await
    }

    async fn buy_as(
        &self,
        buyer: &str,
        concert: &Concert,
        quantity: u32,
        key: Option<&str>,
    ) -> Result<Purchased, Error> {
        buy(&self.tickets, concert.id, buyer, quantity, key).await
    }

    /// Checks that the totals balance and match the payments, and returns them.
    async fn check_books(&self) -> ticket_core::Totals {
        let totals = self.tickets.totals().await.unwrap();
        assert!(totals.balance(), "{}: {totals:?}", self.name);
        let audit = self.tickets.audit(10).await.unwrap();
        let lines = totals.concerts.iter();
        let tickets: u64 = lines.map(|line| line.tickets).sum();
        assert_eq!((audit.sold, audit.paid), (tickets, tickets));
        assert_eq!(audit.differing, [], "{}", self.name);
        let payments = self.tickets.payments();
        let settled = payments.captured + payments.voided;
        assert_eq!(payments.authorized, settled, "{}: {payments:?}", self.name);
        let sold: i64 = totals.concerts.iter().map(|line| line.amount.amount).sum();
        assert_eq!(
            payments.amount(Currency::EUR),
            sold,
            "{}: {payments:?}",
            self.name
        );
        totals
    }
}

async fn buy(
    tickets: &Tickets,
    concert: ConcertId,
    buyer: &str,
    quantity: u32,
    key: Option<&str>,
) -> Result<Purchased, Error> {
    let key = key.map(|key| key.parse::<IdempotencyKey>().unwrap());
    tickets
        .purchase(concert, NewPurchase::new(buyer, quantity).unwrap(), key)
        .await
}

fn new_concert(capacity: u32) -> NewConcert {
    NewConcert::new(
        "Radiohead",
        "Arena",
        at("2100-01-01T20:00:00Z"),
        capacity,
        euros(65),
    )
    .unwrap()
}

fn euros(amount: i64) -> Money {
    Money::new(amount * 100, Currency::EUR)
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}
