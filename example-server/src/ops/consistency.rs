//! Consistency check of the live page: compares requests and tickets as counted by different
//! sources.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ticket_core::{Audit, Error, Tickets};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower_metrics::Prometheus;
use tower_metrics::prometheus::ReadValue;
use tower_metrics_dashboard::live::{Check, Equation, Side};

use crate::api::RequestMonitor;
use crate::metrics::PlatformMetrics;

/// Maximum number of inconsistent concerts that are listed.
const MAX_LISTED: u32 = 3;
/// Audits read every purchase. The time between two of them is this multiple of their duration.
const AUDIT_INTERVAL: u32 = 400;
/// Delays in milliseconds after which values that differ are read again. Events are counted shortly
/// after they happen, so a difference is reported only if it persists.
const RETRY_DELAYS: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 320];
/// Attempts to read the database, which may fail because of an injected fault.
const ATTEMPTS: usize = 3;

/// Reasons for not comparing counters with the database.
const SHARED: &str = "not compared: other servers use it";
const UNREADABLE: &str = "not compared: unreadable at startup";

/// Compares what the middleware, the business metrics and the database have counted.
#[derive(Debug)]
pub(crate) struct ConsistencyCheck {
    tickets: Tickets,
    metrics: Arc<PlatformMetrics>,
    monitor: RequestMonitor,
    prometheus: Prometheus,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Tickets sold according to the database minus tickets counted by this process. Constant while
    /// this process is the only server of the database. An error says why it is unknown.
    offset: Result<i64, &'static str>,
    /// Tickets that had been counted at the previous check.
    counted: Option<i64>,
    /// Result of the latest audit, and the time of the next one.
    audit: Option<(Vec<Equation>, Instant)>,
}

impl ConsistencyCheck {
    /// Creates the check. Must be called before the server accepts requests, because it compares the
    /// initial values of the counters and the database.
    pub(crate) async fn new(
        tickets: Tickets,
        metrics: Arc<PlatformMetrics>,
        prometheus: Prometheus,
        monitor: RequestMonitor,
    ) -> Self {
        let check = Self {
            tickets,
            metrics,
            monitor,
            prometheus,
            state: Mutex::new(State {
                offset: Err(UNREADABLE),
                counted: None,
                audit: None,
            }),
        };
        let offset = match check.is_only_server().await {
            Ok(true) => check.sold().await.map_err(|_| UNREADABLE),
            Ok(false) => Err(SHARED),
            Err(_) => Err(UNREADABLE),
        };
        check.state().offset = offset;
        check
    }

    /// Returns the check for the live page. It reads the database on the current runtime, which
    /// serves the API.
    pub(crate) fn into_check(self) -> Check {
        let (check, runtime) = (Arc::new(self), Handle::current());
        let description = "Requests started equal requests ended plus requests in flight. Tickets \
                           sold by concert equal the tickets of all purchases in the database, and \
                           the tickets counted since the start.";
        Check::new("Consistency", description, move || {
            let check = check.clone();
            // Aborts the task when the check times out.
            let mut task = JoinSet::new();
            task.spawn_on(async move { check.read().await }, &runtime);
            async move {
                match task.join_next().await {
                    Some(Ok(Ok(equations))) => Ok(equations),
                    Some(Ok(Err(error))) => Err(format!("cannot read the database: {error}")),
                    Some(Err(_)) | None => Err("the server is shutting down".to_owned()),
                }
            }
        })
    }

    async fn read(&self) -> Result<Vec<Equation>, Error> {
        for _ in 1..ATTEMPTS {
            if let Ok(equations) = self.equations().await {
                return Ok(equations);
            }
        }
        self.equations().await
    }

    async fn equations(&self) -> Result<Vec<Equation>, Error> {
        let audit = self.audit().await?;
        let counted = self.metrics.tickets();
        let idle = self.state().counted.replace(counted) == Some(counted);
        let mut delays = RETRY_DELAYS.into_iter();
        loop {
            let requests = self.compare_requests();
            let tickets = self.compare_tickets(idle).await?;
            let agree = requests.difference() == 0.0 && tickets.difference() == 0.0;
            match delays.next() {
                Some(delay) if !agree => tokio::time::sleep(Duration::from_millis(delay)).await,
                _ => {
                    let equations = std::iter::once(requests).chain(audit);
                    return Ok(equations.chain([tickets]).collect());
                }
            }
        }
    }

    fn compare_requests(&self) -> Equation {
        let before = self.monitor.started();
        let (ended, in_flight) = middleware(self.prometheus);
        let after = self.monitor.started();
        Equation::new("requests")
            .side(Side::between("started", before as f64, after as f64))
            .side(Side::exact("ended + in flight", ended + in_flight))
    }

    /// Compares the rows of concerts and purchases, each concert within one snapshot of the database.
    async fn audit(&self) -> Result<Vec<Equation>, Error> {
        if let Some((equations, next)) = &self.state().audit
            && Instant::now() < *next
        {
            return Ok(equations.clone());
        }
        let started = Instant::now();
        let equations = compare_rows(&self.tickets.audit(MAX_LISTED).await?);
        let next = Instant::now() + AUDIT_INTERVAL * started.elapsed();
        self.state().audit = Some((equations.clone(), next));
        Ok(equations)
    }

    /// Compares the tickets counted since the start with the database. `idle` if no ticket has been
    /// counted since the previous check, so that no sale is likely to be in progress.
    async fn compare_tickets(&self, idle: bool) -> Result<Equation, Error> {
        let only_server = self.is_only_server().await?;
        let before = self.metrics.tickets();
        let sold = self.sold().await?;
        let after = self.metrics.tickets();
        let mut state = self.state();
        if !only_server {
            state.offset = Err(SHARED);
        } else if state.offset.is_err() && idle && before == after {
            state.offset = Ok(sold - after);
        }
        let equation = Equation::new("tickets sold since the start");
        Ok(match state.offset {
            Ok(offset) => equation
                .side(Side::between(
                    "initial + counted",
                    (before.min(after) + offset) as f64,
                    (before.max(after) + offset) as f64,
                ))
                .side(Side::exact("database", sold as f64)),
            Err(reason) => equation.side(Side::exact(format!("database, {reason}"), sold as f64)),
        })
    }

    async fn is_only_server(&self) -> Result<bool, Error> {
        Ok(self.tickets.servers().await? == Some(1))
    }

    /// Returns the tickets sold according to the database.
    async fn sold(&self) -> Result<i64, Error> {
        let sold = self.tickets.stock_sums().await?.sold;
        Ok(i64::try_from(sold).unwrap_or(i64::MAX))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the requests that have ended and those in flight, in one snapshot of the middleware.
fn middleware(prometheus: Prometheus) -> (f64, f64) {
    let names = prometheus.names();
    let (mut ended, mut in_flight) = (0.0, 0.0);
    prometheus.reader().read(|series| match series.value() {
        ReadValue::Histogram { count, .. } if series.family() == names.duration => {
            ended += count as f64;
        }
        ReadValue::Gauge(value) if series.family() == names.in_flight => in_flight += value,
        _ => {}
    });
    (ended, in_flight)
}

fn compare_rows(audit: &Audit) -> Vec<Equation> {
    let compare = |title: String, concerts: u64, purchases: u64| {
        Equation::new(title)
            .side(Side::exact("concerts", concerts as f64))
            .side(Side::exact("purchases", purchases as f64))
    };
    let differing = audit.differing.iter().map(|line| {
        let title = format!("tickets of {}", line.stock.slug);
        compare(title, line.stock.sold.into(), line.tickets)
    });
    let all = compare("tickets in the database".to_owned(), audit.sold, audit.paid);
    std::iter::once(all).chain(differing).collect()
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
        check: ConsistencyCheck,
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
            // Sold before the counters of this process start.
            buy(&tickets, concert, 7).await;
            let prometheus = Prometheus::new();
            let metrics = Arc::new(PlatformMetrics::register(prometheus.registry()).unwrap());
            tickets.close().await;
            let options = Options {
                observer: metrics.clone(),
                exclusive: true,
                ..Options::default()
            };
            let tickets = Tickets::open(&url, options).await.unwrap();
            let monitor = RequestMonitor::default();
            let check = ConsistencyCheck::new(tickets.clone(), metrics, prometheus, monitor).await;
            Self {
                check,
                tickets,
                url,
                concert,
                _folder: folder,
            }
        }

        async fn differences(&self) -> Vec<f64> {
            let equations = self.check.equations().await.unwrap();
            equations.iter().map(Equation::difference).collect()
        }
    }

    async fn buy(tickets: &Tickets, concert: ConcertId, quantity: u32) -> ticket_core::PurchaseId {
        let new = NewPurchase::new("Ada", quantity).unwrap();
        let bought = tickets.purchase(concert, new, None).await.unwrap();
        bought.purchase.id
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sources_agree_while_tickets_are_sold_refunded_and_reset() {
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
                        // The purchase may have been deleted by a reset.
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
    async fn tickets_sold_by_another_writer_are_reported_as_the_difference() {
        let scene = Scene::new().await;
        let other = Tickets::open(&scene.url, Options::default()).await.unwrap();
        buy(&scene.tickets, scene.concert, 1).await;
        buy(&other, scene.concert, 3).await;
        assert_eq!(scene.differences().await, [0.0, 0.0, 3.0]);
        other.close().await;
    }
}
