//! Recorder of the crate `metrics`.

mod cells;
mod families;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use prometheus::proto::MetricType;

use self::cells::Cell;
use self::families::{Families, Registered};
use self::settings::Settings;
use crate::prometheus::Prometheus;
use crate::prometheus::other::{OtherFamily, Source};

pub use self::settings::MetricsFacadeBuilder;

/// Recorder of the crate `metrics` 0.24, so that `counter!`, `gauge!` and `histogram!` come
/// out of the same exposition as the request metrics.
///
/// ```
/// use metrics::{Unit, counter, describe_histogram, histogram};
/// use tower_metrics::Prometheus;
/// use tower_metrics::prometheus::Format;
///
/// let prometheus = Prometheus::new();
/// prometheus
///     .metrics_facade()
///     .bounds_for("upload_size_bytes", [1024.0, 1_048_576.0])
///     .install()?;
///
/// describe_histogram!("upload_size_bytes", Unit::Bytes, "Size of uploads.");
/// counter!("tickets_sold_total", "concert" => "radiohead-berlin").increment(2);
/// histogram!("upload_size_bytes").record(2000.0);
///
/// let text = prometheus.exposition().render(Format::Text);
/// assert!(text.contains("tickets_sold_total{concert=\"radiohead-berlin\"} 2\n"));
/// assert!(text.contains("upload_size_bytes_bucket{le=\"1.048576e+06\"} 1\n"));
/// # Ok::<_, tower_metrics::BuildError>(())
/// ```
///
/// # Names
///
/// Names and labels are exposed unchanged, except for an underscore instead of each
/// character that Prometheus does not allow. A counter whose name does not end in `_total`
/// has no type in OpenMetrics. A description becomes the help text, and a unit becomes
/// metadata if the name ends in it, as in `upload_size_bytes`. A name belongs to the first
/// type of metric that uses it: others are ignored and logged once.
///
/// Labels named `le` on a histogram, and those that begin with two underscores, are
/// exposed with the prefix `exported_`.
///
/// # Values
///
/// Histograms have classic buckets. Values that are not finite are ignored.
/// Counters saturate.
///
/// # Memory
///
/// Label values often come from requests. The number of series is limited, in total and for
/// each name; further series of a name are recorded as one series with the value `_OTHER`
/// in all of its labels and counted in `tower_metrics_overflow_total{limit="metrics"}`. Label
/// values longer than 128 bytes are recorded as `_OTHER`. Up to 1,000 names of 256 bytes,
/// descriptions of 1,024 bytes and 16 labels a series are recorded; others are ignored and
/// logged once.
///
/// A series keeps its labels twice, as exposed and for the lookup, and 8 bytes for each
/// bucket. With the default limits and 16 labels of the greatest length on every series, the
/// facade takes at most 180 MB; two labels of 20 bytes and 14 bucket bounds take less than
/// 1 kB a series.
///
/// # Cost
///
/// A handle, such as `let sold = counter!(…)`, updates an atomic number. Each evaluation of
/// a macro looks its series up in a table under a read lock, so keep handles in hot code.
#[derive(Clone)]
pub struct MetricsFacade(Arc<Facade>);

/// Number of tables, so that threads contend less for their locks.
const SHARDS: usize = 16;

struct Facade {
    prometheus: Prometheus,
    settings: Settings,
    families: Mutex<Families>,
    /// Cells by the key of the macros, which can have several keys for one series.
    shards: [RwLock<HashMap<Key, Cell, RandomState>>; SHARDS],
    hasher: RandomState,
    /// Set once a rejection has been logged.
    warned: AtomicBool,
}

impl MetricsFacade {
    fn new(prometheus: Prometheus, settings: Settings) -> Self {
        Self(Arc::new(Facade {
            prometheus,
            settings,
            families: Mutex::default(),
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::default(),
            warned: AtomicBool::new(false),
        }))
    }

    /// Adds the metrics to the exposition.
    fn expose(&self) {
        // From the start, so that `increase()` sees the first overflow.
        self.0.overflows();
        self.0.prometheus.add_source(Box::new(self.clone()));
    }
}

impl Facade {
    fn families(&self) -> MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cell of a key, or `None` if nothing is recorded for it.
    fn cell<T>(&self, key: &Key, kind: MetricType, of: impl Fn(&Cell) -> Option<T>) -> Option<T> {
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        let cells = shard.read().unwrap_or_else(PoisonError::into_inner);
        // A key can be in use for another type of metric, which is rejected below.
        if let Some(cell) = cells.get(key).and_then(&of) {
            return Some(cell);
        }
        drop(cells);
        let registered = self.families().register(key, kind, &self.settings);
        match registered {
            Registered::Series(cell) => {
                let mut cells = shard.write().unwrap_or_else(PoisonError::into_inner);
                // Bounds the aliases of series, which differ in characters that are escaped. The
                // factor leaves room for tables of unequal size.
                if cells.len() < 2 * self.settings.max_series.div_ceil(SHARDS) {
                    cells.insert(key.to_retained(), cell.clone());
                }
                of(&cell)
            }
            Registered::Overflow(cell) => {
                self.overflowed();
                of(&cell)
            }
            Registered::Rejected(why) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        metric = key.name(),
                        "a metric of the crate metrics is not recorded: {why}; \
                         further ones are not logged"
                    );
                }
                None
            }
        }
    }

    /// Returns the number of values beyond a limit.
    fn overflows(&self) -> Option<&AtomicU64> {
        let overflows = &self.prometheus.0.overflows;
        overflows.get_or_insert("metrics", AtomicU64::default)
    }

    fn overflowed(&self) {
        let count = self.overflows();
        if count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0) {
            tracing::warn!(
                limit = "metrics",
                "cardinality limit reached; further values are recorded as _OTHER"
            );
        }
    }
}

impl Recorder for MetricsFacade {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0
            .families()
            .describe(name.as_str(), unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0
            .families()
            .describe(name.as_str(), unit, &description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0
            .families()
            .describe(name.as_str(), unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let counter = |cell: &Cell| match cell {
            Cell::Counter(cell) => Some(Counter::from_arc(cell.clone())),
            _ => None,
        };
        let counter = self.0.cell(key, MetricType::COUNTER, counter);
        counter.unwrap_or(Counter::noop())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let gauge = |cell: &Cell| match cell {
            Cell::Gauge(cell) => Some(Gauge::from_arc(cell.clone())),
            _ => None,
        };
        let gauge = self.0.cell(key, MetricType::GAUGE, gauge);
        gauge.unwrap_or(Gauge::noop())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let histogram = |cell: &Cell| match cell {
            Cell::Histogram(cell) => Some(Histogram::from_arc(cell.clone())),
            _ => None,
        };
        let histogram = self.0.cell(key, MetricType::HISTOGRAM, histogram);
        histogram.unwrap_or(Histogram::noop())
    }
}

impl Source for MetricsFacade {
    fn families(&self) -> Vec<OtherFamily<'static>> {
        self.0.families().read()
    }
}

impl fmt::Debug for MetricsFacade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFacade").finish_non_exhaustive()
    }
}
