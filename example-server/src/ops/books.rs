//! Whether the books balance: figures kept in several places that must agree, for the live page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::Registry;
use prometheus::proto::MetricFamily;
use ticket_core::{Audit, Error, Tickets};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower_metrics::prometheus::gauge_value;
use tower_metrics::{Names, Prometheus};
use tower_metrics_dashboard::live::{Check, Equation, Side};

use crate::api::RequestMonitor;
use crate::metrics::PlatformMetrics;

/// Concerts whose books are off that are named one by one.
const NAMED: u32 = 3;
/// To read every purchase may take this share of the time at most.
const SHARE: u32 = 400;

/// What is done is counted a moment later. Figures that differ are read again after these pauses,
/// in milliseconds, before it is said that they do.
const SETTLING: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 320];

/// How often the database is asked again that does not answer, be it an injected fault.
const TRIES: usize = 3;
/// Why the counters are not compared with the database.
const SHARED: &str = "not compared: other servers sell from it too";
const UNREAD: &str = "not compared: it could not be read when the server started";

/// What is compared.
#[derive(Debug)]
pub(crate) struct Books {
    tickets: Tickets,
    metrics: Arc<PlatformMetrics>,
    monitor: RequestMonitor,
    registry: Registry,
    names: &'static Names,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many more tickets the database had sold than we had counted, while we were its only
    /// server: the difference that must stay. Or why that is not known.
    ahead: Result<i64, &'static str>,
    /// What we had counted when we last looked.
    counted: Option<i64>,
    /// The purchases' rows as they were read last, and when they may be read again.
    rows: Option<(Vec<Equation>, Instant)>,
}

impl Books {
    /// To be called before the first request is let in: what the database has sold by then is
    /// where the counters begin.
    pub(crate) async fn open(
        tickets: Tickets,
        metrics: Arc<PlatformMetrics>,
        prometheus: Prometheus,
        monitor: RequestMonitor,
    ) -> Self {
        let books = Self {
            tickets,
            metrics,
            monitor,
            registry: prometheus.registry().clone(),
            names: prometheus.names(),
            state: Mutex::new(State {
                ahead: Err(UNREAD),
                counted: None,
                rows: None,
            }),
        };
        let ahead = match books.is_alone().await {
            Ok(true) => books.booked().await.map_err(|_| UNREAD),
            Ok(false) => Err(SHARED),
            Err(_) => Err(UNREAD),
        };
        books.state().ahead = ahead;
        books
    }

    /// The badge. The database is asked on the runtime that serves the API.
    pub(crate) fn check(self) -> Check {
        let (books, runtime) = (Arc::new(self), Handle::current());
        let help = "Every request that came in has ended or is in flight. The tickets that concerts \
                    have sold are those of the purchases in the database, and since the start as \
                    many as were counted.";
        Check::new("The books balance", help, move || {
            let books = books.clone();
            // Aborted where nobody waits for it any more.
            let mut reading = JoinSet::new();
            reading.spawn_on(async move { books.read().await }, &runtime);
            async move {
                match reading.join_next().await {
                    Some(Ok(Ok(equations))) => Ok(equations),
                    Some(Ok(Err(error))) => Err(format!("the database cannot be read: {error}")),
                    Some(Err(_)) | None => Err("the server is shutting down".to_owned()),
                }
            }
        })
    }

    async fn read(&self) -> Result<Vec<Equation>, Error> {
        for _ in 1..TRIES {
            if let Ok(equations) = self.equations().await {
                return Ok(equations);
            }
        }
        self.equations().await
    }

    async fn equations(&self) -> Result<Vec<Equation>, Error> {
        let rows = self.rows().await?;
        let counted = self.metrics.tickets();
        let still = self.state().counted.replace(counted) == Some(counted);
        let mut pauses = SETTLING.into_iter();
        loop {
            let (requests, sold) = (self.requests(), self.sold(still).await?);
            let agree = requests.difference() == 0.0 && sold.difference() == 0.0;
            match pauses.next() {
                Some(pause) if !agree => tokio::time::sleep(Duration::from_millis(pause)).await,
                _ => {
                    let first = std::iter::once(requests).chain(rows);
                    return Ok(first.chain([sold]).collect());
                }
            }
        }
    }

    fn requests(&self) -> Equation {
        let before = self.monitor.started();
        let (ended, in_flight) = middleware(&self.registry.gather(), self.names);
        let after = self.monitor.started();
        Equation::new("requests")
            .side(Side::between("begun", before as f64, after as f64))
            .side(Side::exact("ended + in flight", ended + in_flight))
    }

    /// The concerts' rows beside the purchases' rows, of one moment.
    async fn rows(&self) -> Result<Vec<Equation>, Error> {
        if let Some((equations, next)) = &self.state().rows
            && Instant::now() < *next
        {
            return Ok(equations.clone());
        }
        let begun = Instant::now();
        let equations = on_the_books(&self.tickets.audit(NAMED).await?);
        let next = Instant::now() + SHARE * begun.elapsed();
        self.state().rows = Some((equations.clone(), next));
        Ok(equations)
    }

    /// What was counted since the start beside what the database has sold since then. Where the
    /// counters stand `still`, nothing is under way.
    async fn sold(&self, still: bool) -> Result<Equation, Error> {
        let alone = self.is_alone().await?;
        let before = self.metrics.tickets();
        let booked = self.booked().await?;
        let after = self.metrics.tickets();
        let mut state = self.state();
        if !alone {
            state.ahead = Err(SHARED);
        } else if state.ahead.is_err() && still && before == after {
            state.ahead = Ok(booked - after);
        }
        let equation = Equation::new("tickets sold, as counted");
        Ok(match state.ahead {
            Ok(ahead) => equation
                .side(Side::between(
                    "at the start + counted",
                    (before.min(after) + ahead) as f64,
                    (before.max(after) + ahead) as f64,
                ))
                .side(Side::exact("database", booked as f64)),
            Err(why) => equation.side(Side::exact(format!("database, {why}"), booked as f64)),
        })
    }

    async fn is_alone(&self) -> Result<bool, Error> {
        Ok(self.tickets.servers().await? == Some(1))
    }

    /// Tickets that the database has sold.
    async fn booked(&self) -> Result<i64, Error> {
        let sold = self.tickets.stock_sums().await?.sold;
        Ok(i64::try_from(sold).unwrap_or(i64::MAX))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests that have ended, and those in flight, of one reading of the middleware's figures.
fn middleware(families: &[MetricFamily], names: &Names) -> (f64, f64) {
    let metrics = |name: &str| {
        let family = families.iter().find(|family| family.name() == name);
        family.map_or(&[][..], |family| family.get_metric())
    };
    let ended = metrics(&names.duration).iter();
    let ended = ended.map(|metric| metric.get_histogram().get_sample_count() as f64);
    let in_flight = metrics(&names.in_flight).iter().map(gauge_value);
    (ended.sum(), in_flight.sum())
}

fn on_the_books(audit: &Audit) -> Vec<Equation> {
    let compare = |title: String, concerts: u64, purchases: u64| {
        Equation::new(title)
            .side(Side::exact("concerts", concerts as f64))
            .side(Side::exact("purchases", purchases as f64))
    };
    let off = audit.differing.iter().map(|line| {
        let title = format!("tickets of {}", line.stock.slug);
        compare(title, line.stock.sold.into(), line.tickets)
    });
    let all = compare("tickets in the database".to_owned(), audit.sold, audit.paid);
    std::iter::once(all).chain(off).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use ticket_core::{ConcertId, Currency, Money, NewConcert, NewPurchase, Options};

    use super::*;

    struct Scene {
        tickets: Tickets,
        url: String,
        concert: ConcertId,
        books: Books,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("tickets.db").display());
            let prometheus = Prometheus::new();
            let metrics = Arc::new(PlatformMetrics::register(prometheus.registry()).unwrap());
            let options = Options {
                observer: metrics.clone(),
                ..Options::default()
            };
            let tickets = Tickets::open(&url, options).await.unwrap();
            let begins = "2199-01-01T20:00:00Z".parse().unwrap();
            let price = Money::new(6_500, Currency::EUR);
            let new = NewConcert::new("Nina Simone", "Tempodrom", begins, 100_000, price).unwrap();
            let concert = tickets.create_concert(new).await.unwrap().id;
            // Sold before this process began to count.
            buy(&tickets, concert, 7).await;
            let prometheus = Prometheus::new();
            let metrics = Arc::new(PlatformMetrics::register(prometheus.registry()).unwrap());
            tickets.close().await;
            let options = Options {
                observer: metrics.clone(),
                ..Options::default()
            };
            let tickets = Tickets::open(&url, options).await.unwrap();
            let monitor = RequestMonitor::default();
            let books = Books::open(tickets.clone(), metrics, prometheus, monitor).await;
            Self {
                books,
                tickets,
                url,
                concert,
                _folder: folder,
            }
        }

        async fn differences(&self) -> Vec<f64> {
            let equations = self.books.equations().await.unwrap();
            equations.iter().map(Equation::difference).collect()
        }
    }

    async fn buy(tickets: &Tickets, concert: ConcertId, quantity: u32) -> ticket_core::PurchaseId {
        let new = NewPurchase::new("Ada", quantity).unwrap();
        let bought = tickets.purchase(concert, new, None).await.unwrap();
        bought.purchase.id
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_books_balance_while_tickets_are_sold_given_back_and_struck_off() {
        let scene = Scene::new().await;
        let bought = Arc::new(AtomicU32::new(0));
        let mut buyers = JoinSet::new();
        for buyer in 0..8 {
            let (tickets, concert) = (scene.tickets.clone(), scene.concert);
            let bought = bought.clone();
            buyers.spawn(async move {
                while bought.load(Relaxed) < 1_000 {
                    bought.fetch_add(1, Relaxed);
                    let purchase = buy(&tickets, concert, 2).await;
                    match buyer {
                        0 => drop(tickets.reset_sales(concert).await.unwrap()),
                        // Another may have struck it off.
                        1..4 => drop(tickets.refund(purchase).await),
                        _ => {}
                    }
                }
            });
        }
        while bought.load(Relaxed) < 1_000 {
            assert_eq!(scene.differences().await, [0.0; 3]);
        }
        buyers.join_all().await;
        assert_eq!(scene.differences().await, [0.0; 3]);
    }

    #[tokio::test]
    async fn what_was_sold_behind_our_back_is_the_difference() {
        let scene = Scene::new().await;
        let other = Tickets::open(&scene.url, Options::default()).await.unwrap();
        buy(&scene.tickets, scene.concert, 1).await;
        buy(&other, scene.concert, 3).await;
        assert_eq!(scene.differences().await, [0.0, 0.0, 3.0]);
        other.close().await;
    }
}
