//! Purchases per second and their latency when all buyers want the same concert, with a
//! transaction for each purchase (`each`) and with group commits (`group`).
//!
//! ```text
//! cargo run --release -p benches --example hot_concert [-- SECONDS [ROUNDS]]
//! ```
//!
//! Buyers run in this process, without HTTP, and purchase again as soon as they get a response.
//! Commits are durable: SQLite runs with `synchronous=FULL`, and PostgreSQL, if it is installed,
//! with the default settings of a temporary cluster. Both commit modes alternate in each cell,
//! `ROUNDS` times (default 3) for `SECONDS` (default 1.0). The rate is the median of the rounds.

#[path = "../../ticket-core/tests/platform/cluster.rs"]
mod cluster;

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use ticket_core::{
    Commit, ConcertId, Currency, Money, NewConcert, NewPurchase, Observer, Options, Tickets,
};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

const MODES: [Commit; 2] = [Commit::Each, Commit::Group];
const CONCERTS: [usize; 2] = [1, 1000];
const BUYERS: [usize; 4] = [1, 8, 64, 256];

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measurements of one commit mode in one cell of the table.
struct Measured {
    rates: Vec<f64>,
    latencies: Histogram<u64>,
}

/// Counts batches and their purchases.
#[derive(Default)]
struct Batches {
    batches: AtomicU64,
    purchases: AtomicU64,
}

impl Observer for Batches {
    fn batch(&self, size: usize) {
        self.batches.fetch_add(1, Relaxed);
        self.purchases.fetch_add(size as u64, Relaxed);
    }
}

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let seconds: f64 = args.next().map_or(Ok(1.0), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let round = Duration::from_secs_f64(seconds);

    let folder = tempfile::tempdir()?;
    let mut stores = vec![(
        "SQLite",
        format!("sqlite://{}/tickets.db", folder.path().display()),
    )];
    let cluster = Cluster::start("");
    if let Some(cluster) = &cluster {
        stores.push(("PostgreSQL", cluster.create_database("tickets")));
    }

    let cells = stores.len() * CONCERTS.len() * BUYERS.len();
    let progress = ProgressBar::new((cells * MODES.len() * rounds) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} [{elapsed}, {eta} left]")?,
    );
    let runtime = Runtime::new()?;
    let mut table = String::from(
        "store       concerts buyers |    each/s  p50 ms  p99 ms |   group/s  p50 ms  p99 ms  batch | group/each     p99\n",
    );
    for (store, url) in &stores {
        let batches = Arc::new(Batches::default());
        let options = Options {
            observer: batches.clone(),
            ..Options::default()
        };
        let tickets = runtime.block_on(Tickets::open(url, options))?;
        for concerts in CONCERTS {
            let ids = runtime.block_on(create(&tickets, concerts))?;
            for buyers in BUYERS {
                let mut measured = [const { None }; 2];
                batches.batches.store(0, Relaxed);
                batches.purchases.store(0, Relaxed);
                for _ in 0..rounds {
                    for (mode, measured) in MODES.into_iter().zip(&mut measured) {
                        progress.set_message(format!(
                            "{store}, {concerts} concerts, {buyers} buyers, {mode}"
                        ));
                        tickets.set_commit(mode);
                        let (rate, latencies) =
                            runtime.block_on(load(&tickets, &ids, buyers, round))?;
                        let measured = measured.get_or_insert_with(|| Measured {
                            rates: Vec::new(),
                            latencies: Histogram::new(3).expect("3 digits are allowed"),
                        });
                        measured.rates.push(rate);
                        measured.latencies.add(&latencies)?;
                        progress.inc(1);
                    }
                }
                if let [Some(each), Some(group)] = measured {
                    let batch = batches.purchases.load(Relaxed) as f64
                        / batches.batches.load(Relaxed).max(1) as f64;
                    let row = row(store, concerts, buyers, each, group, batch);
                    progress.println(row.trim_end());
                    table.push_str(&row);
                }
            }
        }
        let totals = runtime.block_on(tickets.totals())?;
        assert!(totals.balance(), "sold tickets do not match the purchases");
        runtime.block_on(tickets.close());
    }
    progress.finish_and_clear();
    println!("{table}");
    Ok(())
}

async fn create(tickets: &Tickets, concerts: usize) -> Result<Vec<ConcertId>> {
    let mut ids = Vec::new();
    for n in 0..concerts {
        let new = NewConcert::new(
            &format!("Concert {n}"),
            "Arena",
            "2100-01-01T20:00:00Z".parse()?,
            10_000_000,
            Money::new(6500, Currency::EUR),
        )?;
        ids.push(tickets.create_concert(new).await?.id);
    }
    Ok(ids)
}

/// Returns the purchases per second and their latencies in microseconds.
async fn load(
    tickets: &Tickets,
    concerts: &[ConcertId],
    buyers: usize,
    time: Duration,
) -> Result<(f64, Histogram<u64>)> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..buyers)
        .map(|buyer| {
            let tickets = tickets.clone();
            let concerts = concerts.to_vec();
            tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3)?;
                let new = NewPurchase::new(&format!("buyer {buyer}"), 1)?;
                let mut next = buyer * 7919;
                while begun.elapsed() < time {
                    let start = Instant::now();
                    next = (next + 7919) % concerts.len();
                    tickets.purchase(concerts[next], new.clone(), None).await?;
                    latencies.record(start.elapsed().as_micros() as u64)?;
                }
                Ok::<_, Box<dyn Error + Send + Sync>>(latencies)
            })
        })
        .collect();
    let mut all = Histogram::new(3)?;
    for task in tasks {
        all.add(task.await??)?;
    }
    Ok((all.len() as f64 / begun.elapsed().as_secs_f64(), all))
}

fn row(
    store: &str,
    concerts: usize,
    buyers: usize,
    each: Measured,
    group: Measured,
    batch: f64,
) -> String {
    let ms = |measured: &Measured, quantile| {
        measured.latencies.value_at_quantile(quantile) as f64 / 1000.0
    };
    let (each_rate, group_rate) = (median(&each.rates), median(&group.rates));
    format!(
        "{store:<11} {concerts:>8} {buyers:>6} | {each_rate:>9.0} {:>7.2} {:>7.2} | {group_rate:>9.0} {:>7.2} {:>7.2} {batch:>6.1} | {:>9.2}x {:>6.2}x\n",
        ms(&each, 0.5),
        ms(&each, 0.99),
        ms(&group, 0.5),
        ms(&group, 0.99),
        group_rate / each_rate,
        ms(&group, 0.99) / ms(&each, 0.99),
    )
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
