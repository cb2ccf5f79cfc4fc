//! Metrics of the ticket platform: sales, faults and the database.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use ticket_core::policy::{Change, Document, Operation, Playing, Source};
use ticket_core::{
    Commit, ConcertId, Currency, FaultKind, Observer, Outcome, PurchaseEvent, Stock, StockSums,
};
use tower_metrics::prometheus::counter_value;

use super::concert_labels::{ConcertLabels, OTHER};

/// Bucket bounds of database operations, in seconds: from a write to a local disk, which takes a
/// fraction of a millisecond, to a contended lock.
const DATABASE_BOUNDS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];

/// Metrics of the ticket platform, recorded through [`Observer`].
#[derive(Debug)]
pub(crate) struct PlatformMetrics {
    sold: IntCounterVec,
    refunded: IntCounterVec,
    reset: IntCounterVec,
    sales: CounterVec,
    refunds: CounterVec,
    purchases: IntCounterVec,
    available: IntGaugeVec,
    faults: IntCounterVec,
    fault_changes: IntCounterVec,
    faults_active: IntGauge,
    fault_preset: IntGaugeVec,
    scenario: IntGaugeVec,
    commit: IntGaugeVec,
    limits: IntGaugeVec,
    database: HistogramVec,
    wait: HistogramVec,
    batch: Histogram,
    concerts: ConcertLabels,
}

impl PlatformMetrics {
    /// Registers the metrics and initializes all series that are known in advance.
    ///
    /// # Errors
    ///
    /// Returns an error if the registry already has a metric of the same name.
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
            refunded: counter("tickets_refunded_total", "Tickets refunded.", &["concert"])?,
            reset: counter(
                "tickets_reset_total",
                "Tickets sold before the sales of a concert were reset.",
                &["concert"],
            )?,
            sales: CounterVec::new(
                Opts::new(
                    "ticket_sales_amount_total",
                    "Amount of sales, in the currency's major unit.",
                ),
                &["concert", "currency"],
            )?,
            refunds: CounterVec::new(
                Opts::new(
                    "ticket_refunds_amount_total",
                    "Amount of refunds, in the currency's major unit.",
                ),
                &["concert", "currency"],
            )?,
            purchases: counter(
                "ticket_purchases_total",
                "Purchases and refunds, by outcome.",
                &["outcome"],
            )?,
            available: gauge(
                "tickets_available",
                "Available tickets in the database. All servers report the same value; aggregate with max.",
                &["concert"],
            )?,
            faults: counter(
                "ticket_faults_injected_total",
                "Injected faults, by operation and kind.",
                &["operation", "kind"],
            )?,
            fault_changes: counter(
                "ticket_faults_changes_total",
                "Changes of the active faults document, by source.",
                &["source"],
            )?,
            faults_active: IntGauge::new("ticket_faults_active", "Faults in the active document.")?,
            fault_preset: gauge(
                "ticket_faults_preset",
                "1 for the active preset; `scenario` is a step of a scenario with other faults, `custom` any other document.",
                &["preset"],
            )?,
            scenario: gauge(
                "ticket_scenario_step",
                "1 for the step in force of the scenario that plays, 0 for its other steps.",
                &["scenario", "step", "note"],
            )?,
            commit: gauge(
                "ticket_commit_mode",
                "1 for the active commit mode.",
                &["mode"],
            )?,
            limits: gauge(
                "example_server_limit",
                "Limits of the API: `connections`, after adjustment to the open file limit, and `concurrency`, the requests in progress.",
                &["limit"],
            )?,
            database: seconds(
                "db_client_operation_duration_seconds",
                "Duration of database operations; for writes, of the transaction. Excludes the wait for a connection.",
                &["db_system_name", "db_operation_name"],
            )?,
            wait: seconds(
                "db_client_connection_wait_time_seconds",
                "Time to acquire a connection from the pool.",
                &["db_client_connection_pool_name"],
            )?,
            batch: Histogram::with_opts(
                HistogramOpts::new("ticket_purchase_batch_size", "Purchases per transaction.")
                    .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            )?,
            concerts: ConcertLabels::default(),
        };
        registry.register(Box::new(metrics.sold.clone()))?;
        registry.register(Box::new(metrics.refunded.clone()))?;
        registry.register(Box::new(metrics.reset.clone()))?;
        registry.register(Box::new(metrics.sales.clone()))?;
        registry.register(Box::new(metrics.refunds.clone()))?;
        registry.register(Box::new(metrics.purchases.clone()))?;
        registry.register(Box::new(metrics.available.clone()))?;
        registry.register(Box::new(metrics.faults.clone()))?;
        registry.register(Box::new(metrics.fault_changes.clone()))?;
        registry.register(Box::new(metrics.faults_active.clone()))?;
        registry.register(Box::new(metrics.fault_preset.clone()))?;
        registry.register(Box::new(metrics.scenario.clone()))?;
        registry.register(Box::new(metrics.commit.clone()))?;
        registry.register(Box::new(metrics.limits.clone()))?;
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
        for source in [Source::File, Source::Http, Source::Scenario, Source::Expiry] {
            metrics.fault_changes.with_label_values(&[source.as_str()]);
        }
        Ok(metrics)
    }

    /// Returns the label value of a concert. The counters of a new value start at zero, because
    /// `increase` does not see the first sale of a series that did not exist before.
    fn label<'a>(&self, slug: &'a str, id: ConcertId, currency: Currency) -> &'a str {
        let (label, is_new) = self.concerts.admit(slug, id);
        if is_new || label == OTHER {
            self.sold.with_label_values(&[label]);
            self.refunded.with_label_values(&[label]);
            self.sales.with_label_values(&[label, currency.as_str()]);
            self.refunds.with_label_values(&[label, currency.as_str()]);
        }
        label
    }

    /// Returns the tickets sold since the start, minus those that were refunded or reset.
    pub(crate) fn tickets(&self) -> i64 {
        let sum = |counter: &IntCounterVec| {
            let families = counter.collect();
            let metrics = families.iter().flat_map(|family| family.get_metric());
            metrics.map(counter_value).sum::<f64>() as i64
        };
        sum(&self.sold) - sum(&self.refunded) - sum(&self.reset)
    }

    /// Returns whether the maximum number of concerts is labeled.
    pub(super) fn has_all_labels(&self) -> bool {
        self.concerts.is_full()
    }

    /// Returns the labeled concerts.
    pub(super) fn labeled_concerts(&self) -> Vec<ConcertId> {
        self.concerts.ids()
    }

    /// Labels the concerts, in this order, up to the maximum number.
    pub(super) fn admit(&self, concerts: &[Stock]) {
        for stock in concerts {
            self.label(&stock.slug, stock.concert_id, stock.currency);
        }
    }

    /// Sets the available tickets of the labeled concerts, and of all others together.
    pub(super) fn set_available(&self, labeled: &[Stock], all: StockSums) {
        let mut others = all.available();
        for stock in labeled {
            let available = stock.available();
            self.available
                .with_label_values(&[&stock.slug])
                .set(available.into());
            // The sum was read later, when more may have been sold.
            others = others.saturating_sub(available.into());
        }
        if all.concerts > labeled.len() as u64 {
            let others = i64::try_from(others).unwrap_or(i64::MAX);
            self.available.with_label_values(&[OTHER]).set(others);
        }
    }

    /// Sets the metrics of the active faults document, which a step of a scenario has set or not.
    pub(crate) fn set_faults(&self, document: &Document, by_scenario: bool) {
        self.faults_active.set(document.faults().len() as i64);
        let other = if by_scenario { "scenario" } else { "custom" };
        let active = document.name().unwrap_or(other);
        let presets = Document::PRESETS.iter().map(|(name, _)| *name);
        for name in presets.chain(["scenario", "custom"]) {
            self.fault_preset
                .with_label_values(&[name])
                .set((name == active).into());
        }
    }

    /// Counts a change of the faults document, and sets its metrics.
    pub(crate) fn faults_changed(&self, change: &Change, by_scenario: bool) {
        self.fault_changes
            .with_label_values(&[change.source.as_str()])
            .inc();
        self.set_faults(&change.document, by_scenario);
    }

    /// Sets the metrics of the scenario that plays. They have at most 100 series.
    pub(crate) fn set_scenario(&self, playing: Option<&Playing>) {
        self.scenario.reset();
        let Some(playing) = playing else {
            return;
        };
        for (index, step) in playing.scenario.steps().iter().enumerate() {
            let number = (index + 1).to_string();
            self.scenario
                .with_label_values(&[playing.scenario.name(), &number, &step.note])
                .set((index == playing.step).into());
        }
    }

    /// Sets the metrics of the API's limits.
    pub(crate) fn set_limits(&self, connections: usize, concurrency: usize) {
        for (limit, value) in [("connections", connections), ("concurrency", concurrency)] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.limits.with_label_values(&[limit]).set(value);
        }
    }

    /// Sets the metrics of the active commit mode.
    pub(crate) fn set_commit_mode(&self, commit: Commit) {
        for mode in [Commit::Each, Commit::Group] {
            self.commit
                .with_label_values(&[&mode.to_string()])
                .set((mode == commit).into());
        }
    }
}

impl Observer for PlatformMetrics {
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
        let concert = self.label(event.concert, event.concert_id, total.currency);
        tickets
            .with_label_values(&[concert])
            .inc_by(event.quantity.into());
        amount
            .with_label_values(&[concert, currency])
            .inc_by(total.to_major());
    }

    fn sales_reset(&self, concert: &str, tickets: u32) {
        let label = self.concerts.get(concert);
        self.reset
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
    fn concerts_beyond_the_hundredth_share_a_label() {
        let registry = Registry::new();
        let metrics = PlatformMetrics::register(&registry).unwrap();
        let id = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901".parse().unwrap();
        for number in 0..150 {
            let slug = format!("concert-{number}");
            let label = metrics.label(&slug, id, Currency::EUR);
            assert_eq!(label, if number < 100 { &slug } else { OTHER });
            assert_eq!(metrics.label(&slug, id, Currency::EUR), label);
        }
        let sold = registry
            .gather()
            .into_iter()
            .find(|family| family.name() == "tickets_sold_total")
            .unwrap();
        assert_eq!(sold.get_metric().len(), 101);
    }

    #[test]
    fn exactly_one_preset_and_one_commit_mode_are_active() {
        let metrics = PlatformMetrics::register(&Registry::new()).unwrap();
        for (name, _) in Document::PRESETS {
            metrics.set_faults(&Document::preset(name).unwrap(), true);
            let active = |preset: &str| metrics.fault_preset.with_label_values(&[preset]).get();
            assert_eq!(active(name), 1);
            assert_eq!(
                Document::PRESETS
                    .iter()
                    .map(|(name, _)| active(name))
                    .sum::<i64>(),
                1
            );
            assert_eq!(active("custom"), 0);
        }
        metrics.set_commit_mode(Commit::Each);
        assert_eq!(metrics.commit.with_label_values(&["each"]).get(), 1);
        assert_eq!(metrics.commit.with_label_values(&["group"]).get(), 0);
    }
}
