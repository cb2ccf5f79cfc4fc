//! Metrics of the process, the API's runtime, the build and the database pools.

use std::collections::HashMap;
use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntGaugeVec, Opts, Registry};
use ticket_core::Tickets;
use tokio::runtime::Handle;
use tower_metrics::{ProcessCollector, TokioCollector};

use crate::logging;

/// Registers the metrics. `runtime` is the one that serves the API.
///
/// # Errors
///
/// Returns an error if the registry already has a metric of the same name.
pub(crate) fn register_process(
    registry: &Registry,
    tickets: Tickets,
    runtime: &Handle,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(FamilyCollector::new(&POOLS, move || {
        pools(&tickets)
    })?))?;
    registry.register(Box::new(TokioCollector::new("api", runtime)))?;
    registry.register(Box::new(FamilyCollector::new(&LOG, || {
        [vec![(Vec::new(), logging::dropped() as f64)]]
    })?))?;
    registry.register(Box::new(build()?))?;
    registry.register(Box::new(ProcessCollector::new()))?;
    Ok(())
}

const LOG: [Family; 1] = [Family {
    name: "example_server_log_lines_dropped_total",
    help: "Log lines dropped because standard output could not keep up.",
    kind: MetricType::COUNTER,
    labels: &[],
}];

fn build() -> Result<IntGaugeVec, prometheus::Error> {
    let build = IntGaugeVec::new(
        Opts::new(
            "example_server_build_info",
            "Constant 1, labeled with the build.",
        ),
        &["version", "revision", "profile"],
    )?;
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    build
        .with_label_values(&[
            env!("CARGO_PKG_VERSION"),
            option_env!("REVISION").unwrap_or("unknown"),
            profile,
        ])
        .set(1);
    Ok(build)
}

/// A metric family whose values are read at each scrape.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
}

/// Samples of one family: label values and the sample's value.
type Samples = Vec<(Vec<String>, f64)>;

const POOLS: [Family; 2] = [
    Family {
        name: "db_client_connection_count",
        help: "Open connections of a pool, by state.",
        kind: MetricType::GAUGE,
        labels: &[
            "db_client_connection_pool_name",
            "db_client_connection_state",
        ],
    },
    Family {
        name: "db_client_connection_max",
        help: "Maximum number of connections of a pool.",
        kind: MetricType::GAUGE,
        labels: &["db_client_connection_pool_name"],
    },
];

fn pools(tickets: &Tickets) -> [Samples; 2] {
    let (mut count, mut max) = (Vec::new(), Vec::new());
    for pool in tickets.pools() {
        for (state, connections) in [("used", pool.used), ("idle", pool.idle)] {
            let labels = vec![pool.name.to_owned(), state.to_owned()];
            count.push((labels, f64::from(connections)));
        }
        max.push((vec![pool.name.to_owned()], f64::from(pool.max)));
    }
    [count, max]
}

/// Collector of families that a function reads.
struct FamilyCollector<const N: usize, F> {
    families: &'static [Family; N],
    descriptions: Vec<Desc>,
    read: F,
}

impl<const N: usize, F: Fn() -> [Samples; N]> FamilyCollector<N, F> {
    fn new(families: &'static [Family; N], read: F) -> Result<Self, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family
                .labels
                .iter()
                .map(|&label| label.to_owned())
                .collect();
            Desc::new(
                family.name.into(),
                family.help.into(),
                labels,
                HashMap::new(),
            )
        };
        Ok(Self {
            families,
            descriptions: families.iter().map(describe).collect::<Result<_, _>>()?,
            read,
        })
    }
}

impl<const N: usize, F> fmt::Debug for FamilyCollector<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FamilyCollector")
            .field("families", &self.families)
            .finish_non_exhaustive()
    }
}

impl<const N: usize, F: Fn() -> [Samples; N] + Send + Sync> Collector for FamilyCollector<N, F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let samples = (self.read)();
        let families = self.families.iter().zip(samples);
        families
            .map(|(family, samples)| family.with(samples))
            .collect()
    }
}

impl Family {
    fn with(&self, samples: Samples) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(
            samples
                .into_iter()
                .map(|(labels, value)| self.metric(labels, value))
                .collect(),
        );
        family
    }

    fn metric(&self, labels: Vec<String>, value: f64) -> Metric {
        let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}
