//! What the domain tells, as Prometheus metrics.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use ticket_core::policy::{Change, Document, Operation, Source};
use ticket_core::{Commit, Currency, FaultKind, Observer, Outcome, PurchaseEvent, Stock};
use tower_metrics::prometheus::counter_value;

/// The concerts that have labels of their own; those that come later share [`OTHER`].
const MOST_CONCERTS: usize = 100;
/// The label of all the rest.
pub(crate) const OTHER: &str = "_OTHER";

/// Bounds for the database, in seconds: a write to a local disk takes a fraction of a
/// millisecond, a lock held by others may take seconds.
const DATABASE_BOUNDS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];

/// The platform's own metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    sold: IntCounterVec,
    refunded: IntCounterVec,
    struck_off: IntCounterVec,
    sales: CounterVec,
    refunds: CounterVec,
    purchases: IntCounterVec,
    available: IntGaugeVec,
    faults: IntCounterVec,
    fault_changes: IntCounterVec,
    faults_active: IntGauge,
    fault_preset: IntGaugeVec,
    commit: IntGaugeVec,
    database: HistogramVec,
    wait: HistogramVec,
    batch: Histogram,
    concerts: RwLock<HashSet<String>>,
}

impl Metrics {
    /// Registers the metrics, with every series that is known in advance at zero.
    ///
    /// # Errors
    /// When the registry has a metric of the same name.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels)
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(DATABASE_BOUNDS.to_vec());
            HistogramVec::new(opts, labels)
        };
        let metrics = Self {
            sold: counter("tickets_sold_total", "Tickets sold.", &["concert"])?,
            refunded: counter(
                "tickets_refunded_total",
                "Tickets given back and on sale again.",
                &["concert"],
            )?,
            struck_off: counter(
                "tickets_struck_off_total",
                "Tickets of past nights, struck off the books when the next one went on sale.",
                &["concert"],
            )?,
            sales: CounterVec::new(
                Opts::new(
                    "ticket_sales_amount_total",
                    "What was paid for tickets, in the currency's main unit.",
                ),
                &["concert", "currency"],
            )?,
            refunds: CounterVec::new(
                Opts::new(
                    "ticket_refunds_amount_total",
                    "What was paid back for tickets, in the currency's main unit.",
                ),
                &["concert", "currency"],
            )?,
            purchases: counter(
                "ticket_purchases_total",
                "Purchases and refunds, by how they ended.",
                &["outcome"],
            )?,
            available: gauge(
                "tickets_available",
                "Tickets left in the database; every server tells the same: take the max.",
                &["concert"],
            )?,
            faults: counter(
                "ticket_faults_injected_total",
                "Faults injected on purpose, by operation and kind.",
                &["operation", "kind"],
            )?,
            fault_changes: counter(
                "ticket_faults_changes_total",
                "Faults documents that came in force since the start, by where they came from.",
                &["source"],
            )?,
            faults_active: IntGauge::new(
                "ticket_faults_active",
                "Faults in the document that is in force; 0 is calm.",
            )?,
            fault_preset: gauge(
                "ticket_faults_preset",
                "1 for the preset whose faults are in force, `custom` for any other document.",
                &["preset"],
            )?,
            commit: gauge(
                "ticket_commit_mode",
                "1 for the way in which purchases are committed.",
                &["mode"],
            )?,
            database: seconds(
                "db_client_operation_duration_seconds",
                "Database operations: for writes the whole transaction, without the wait for a connection.",
                &["db_system_name", "db_operation_name"],
            )?,
            wait: seconds(
                "db_client_connection_wait_time_seconds",
                "The wait for a connection of a pool.",
                &["db_client_connection_pool_name"],
            )?,
            batch: Histogram::with_opts(
                HistogramOpts::new(
                    "ticket_purchase_batch_size",
                    "Purchases that were committed together.",
                )
                .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            )?,
            concerts: RwLock::default(),
        };
        registry.register(Box::new(metrics.sold.clone()))?;
        registry.register(Box::new(metrics.refunded.clone()))?;
        registry.register(Box::new(metrics.struck_off.clone()))?;
        registry.register(Box::new(metrics.sales.clone()))?;
        registry.register(Box::new(metrics.refunds.clone()))?;
        registry.register(Box::new(metrics.purchases.clone()))?;
        registry.register(Box::new(metrics.available.clone()))?;
        registry.register(Box::new(metrics.faults.clone()))?;
        registry.register(Box::new(metrics.fault_changes.clone()))?;
        registry.register(Box::new(metrics.faults_active.clone()))?;
        registry.register(Box::new(metrics.fault_preset.clone()))?;
        registry.register(Box::new(metrics.commit.clone()))?;
        registry.register(Box::new(metrics.database.clone()))?;
        registry.register(Box::new(metrics.wait.clone()))?;
        registry.register(Box::new(metrics.batch.clone()))?;
        for outcome in Outcome::ALL {
            metrics.purchases.with_label_values(&[outcome.as_str()]);
        }
        for operation in Operation::ALL {
            for kind in FaultKind::ALL {
                metrics
                    .faults
                    .with_label_values(&[operation.as_str(), kind.as_str()]);
            }
        }
        for source in [Source::File, Source::Http, Source::Expiry] {
            metrics.fault_changes.with_label_values(&[source.as_str()]);
        }
        Ok(metrics)
    }

    /// The label of the concert with this slug. Its counters appear at zero, because `increase`
    /// never sees the first sale of a series that did not exist.
    fn concert<'a>(&self, slug: &'a str, currency: Currency) -> &'a str {
        let known = self.concerts.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(slug) {
            return slug;
        }
        let is_full = known.len() == MOST_CONCERTS;
        drop(known);
        let label = if is_full || !self.admit(slug) {
            OTHER
        } else {
            slug
        };
        self.sold.with_label_values(&[label]);
        self.refunded.with_label_values(&[label]);
        self.sales.with_label_values(&[label, currency.as_str()]);
        self.refunds.with_label_values(&[label, currency.as_str()]);
        label
    }

    /// Gives the concert a label of its own, where there is still one to give.
    fn admit(&self, slug: &str) -> bool {
        let mut known = self
            .concerts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_CONCERTS {
            known.insert(slug.to_owned());
        }
        known.contains(slug)
    }

    /// Tickets that were sold since the start and are neither given back nor struck off.
    pub(crate) fn tickets(&self) -> i64 {
        let sum = |counter: &IntCounterVec| {
            let families = counter.collect();
            let metrics = families.iter().flat_map(|family| family.get_metric());
            metrics.map(counter_value).sum::<f64>() as i64
        };
        sum(&self.sold) - sum(&self.refunded) - sum(&self.struck_off)
    }

    /// Shows what is left of each concert; those without a label of their own are added up.
    pub(crate) fn in_stock(&self, stock: &[Stock]) {
        let mut others = None;
        for stock in stock {
            let left = i64::from(stock.available());
            match self.concert(&stock.slug, stock.currency) {
                OTHER => *others.get_or_insert(0) += left,
                label => self.available.with_label_values(&[label]).set(left),
            }
        }
        if let Some(left) = others {
            self.available.with_label_values(&[OTHER]).set(left);
        }
    }

    /// Shows which faults are in force.
    pub(crate) fn faults_in_force(&self, document: &Document) {
        self.faults_active.set(document.faults().len() as i64);
        let in_force = document.name().unwrap_or("custom");
        let presets = Document::PRESETS.iter().map(|(name, _)| *name);
        for name in presets.chain(["custom"]) {
            self.fault_preset
                .with_label_values(&[name])
                .set((name == in_force).into());
        }
    }

    /// Counts a swap of the faults.
    pub(crate) fn faults_changed(&self, change: &Change) {
        self.fault_changes
            .with_label_values(&[change.source.as_str()])
            .inc();
        self.faults_in_force(&change.document);
    }

    /// Shows how purchases are committed.
    pub(crate) fn commit_in_force(&self, commit: Commit) {
        for mode in [Commit::Each, Commit::Group] {
            self.commit
                .with_label_values(&[&mode.to_string()])
                .set((mode == commit).into());
        }
    }
}

impl Observer for Metrics {
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        self.purchases
            .with_label_values(&[event.outcome.as_str()])
            .inc();
        let Some(total) = event.total else {
            return;
        };
        let (tickets, amount) = match event.outcome {
            Outcome::Sold => (&self.sold, &self.sales),
            Outcome::Refunded => (&self.refunded, &self.refunds),
            _ => return,
        };
        let currency = total.currency.as_str();
        let concert = self.concert(event.concert, total.currency);
        tickets
            .with_label_values(&[concert])
            .inc_by(event.quantity.into());
        amount
            .with_label_values(&[concert, currency])
            .inc_by(total.to_major());
    }

    fn sales_reset(&self, concert: &str, tickets: u32) {
        // A concert without a label of its own here has not sold anything here either.
        let known = self.concerts.read().unwrap_or_else(PoisonError::into_inner);
        let label = if known.contains(concert) {
            concert
        } else {
            OTHER
        };
        self.struck_off
            .with_label_values(&[label])
            .inc_by(tickets.into());
    }

    fn fault_injected(&self, operation: Operation, kind: FaultKind) {
        self.faults
            .with_label_values(&[operation.as_str(), kind.as_str()])
            .inc();
    }

    fn database_operation(
        &self,
        system: &'static str,
        operation: &'static str,
        duration: Duration,
        _ok: bool,
    ) {
        self.database
            .with_label_values(&[system, operation])
            .observe(duration.as_secs_f64());
    }

    fn connection_wait(&self, pool: &'static str, wait: Duration) {
        self.wait
            .with_label_values(&[pool])
            .observe(wait.as_secs_f64());
    }

    fn batch(&self, size: usize) {
        self.batch.observe(size as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_concert_shares_a_label_with_all_that_follow() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for number in 0..150 {
            let slug = format!("concert-{number}");
            let label = metrics.concert(&slug, Currency::EUR);
            assert_eq!(label, if number < 100 { &slug } else { OTHER });
            assert_eq!(metrics.concert(&slug, Currency::EUR), label);
        }
        let sold = registry
            .gather()
            .into_iter()
            .find(|family| family.name() == "tickets_sold_total")
            .unwrap();
        assert_eq!(sold.get_metric().len(), 101);
    }

    #[test]
    fn exactly_one_preset_and_one_way_of_committing_are_in_force() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        for (name, _) in Document::PRESETS {
            metrics.faults_in_force(&Document::preset(name).unwrap());
            let in_force = |preset: &str| metrics.fault_preset.with_label_values(&[preset]).get();
            assert_eq!(in_force(name), 1);
            assert_eq!(
                Document::PRESETS
                    .iter()
                    .map(|(name, _)| in_force(name))
                    .sum::<i64>(),
                1
            );
            assert_eq!(in_force("custom"), 0);
        }
        metrics.commit_in_force(Commit::Each);
        assert_eq!(metrics.commit.with_label_values(&["each"]).get(), 1);
        assert_eq!(metrics.commit.with_label_values(&["group"]).get(), 0);
    }
}
