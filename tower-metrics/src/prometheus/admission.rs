//! Metrics of admission in a Prometheus registry.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::builder::check_own_labels;
use super::{Inner, Prometheus};
use crate::admission::{AdmissionOutcome, AdmissionRecorder, BOUNDS, CompletedWait};
use crate::error::BuildError;
use crate::sampled::{self, Family};

/// Waits of a recorder, once it is prepared.
pub(super) type PreparedWaits = OnceLock<&'static Waits>;

/// Names of the metrics of admission, as the exposition writes them.
///
/// Returned by [`Prometheus::admission_names`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionNames {
    /// Histogram of waits in seconds, with the label `outcome`:
    /// `http_server_admission_wait_seconds`.
    pub wait: String,
    /// Gauge of requests that wait: `http_server_admission_queued`.
    pub queued: String,
}

impl AdmissionNames {
    /// Returns the names under which a recorder registers its metrics.
    fn registered(inner: &Inner) -> Self {
        let name = |name: &str| match &inner.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        };
        Self {
            wait: name("http_server_admission_wait_seconds"),
            queued: name("http_server_admission_queued"),
        }
    }
}

const OUTCOME: &str = "outcome";
const OUTCOMES: usize = AdmissionOutcome::ALL.len();
const BUCKETS: usize = BOUNDS.len() + 1;

/// Number of shards. Threads beyond it share one.
const SHARDS: usize = 16;

/// Values of a recorder. Lives as long as the process.
#[derive(Debug, Default)]
pub(super) struct Waits([Shard; SHARDS]);

/// Values that a few threads write.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    /// Requests that were queued less those that were dequeued. Wraps, because a request
    /// may do so on different threads.
    queued: AtomicU64,
    /// Nanoseconds.
    sums: [AtomicU64; OUTCOMES],
    buckets: [[AtomicU64; BUCKETS]; OUTCOMES],
}

impl Waits {
    #[inline]
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut shard = SHARD.get();
        if shard == usize::MAX {
            shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            SHARD.set(shard);
        }
        &self.0[shard]
    }

    fn record(&self, wait: &CompletedWait) {
        let shard = self.shard();
        let outcome = wait.outcome as usize;
        let bucket = if wait.duration.is_zero() {
            0
        } else {
            let seconds = wait.duration.as_secs_f64();
            let nanoseconds = u64::try_from(wait.duration.as_nanos()).unwrap_or(u64::MAX);
            shard.sums[outcome].fetch_add(nanoseconds, Ordering::Relaxed);
            BOUNDS.partition_point(|bound| *bound < seconds)
        };
        shard.buckets[outcome][bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn queued(&self) -> f64 {
        let queued = |shard: &Shard| shard.queued.load(Ordering::Relaxed);
        let sum = self.0.iter().map(queued).fold(0, u64::wrapping_add);
        // A torn read must not surface as a negative gauge.
        sum.cast_signed().max(0) as f64
    }

    /// Returns the count of each bucket, and the sum in seconds.
    fn histogram(&self, outcome: AdmissionOutcome) -> ([u64; BUCKETS], f64) {
        let outcome = outcome as usize;
        let mut buckets = [0; BUCKETS];
        let mut sum = 0u64;
        for shard in &self.0 {
            for (total, bucket) in buckets.iter_mut().zip(&shard.buckets[outcome]) {
                *total += bucket.load(Ordering::Relaxed);
            }
            sum = sum.saturating_add(shard.sums[outcome].load(Ordering::Relaxed));
        }
        (buckets, sum as f64 / 1e9)
    }
}

/// Collector of the waits of a recorder.
struct Admissions {
    waits: &'static Waits,
    constant: Vec<(&'static str, &'static str)>,
    wait: Family,
    queued: Family,
    descs: [Desc; 2],
}

impl Admissions {
    fn new(names: AdmissionNames, inner: &'static Inner, waits: &'static Waits) -> Self {
        // The scheme is an attribute of requests.
        let scheme = inner.names.scheme.as_ref();
        let constant = inner.constant.iter();
        let constant: Vec<_> = constant
            .filter(|(name, _)| Some(name) != scheme)
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let wait = Family::histogram(
            names.wait.leak(),
            "Time that requests waited for admission.",
        );
        let queued = Family::gauge(
            names.queued.leak(),
            "Number of requests that wait for admission.",
        );
        Self {
            waits,
            descs: [
                wait.desc(&constant, &[OUTCOME]),
                queued.desc(&constant, &[]),
            ],
            constant,
            wait,
            queued,
        }
    }
}

impl Collector for Admissions {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let histogram = |outcome: AdmissionOutcome| {
            let (buckets, sum) = self.waits.histogram(outcome);
            let mut labels = self.constant.clone();
            labels.push((OUTCOME, outcome.as_str()));
            sampled::histogram(&labels, &BOUNDS, &buckets, sum)
        };
        let queued = self.queued.metric(&self.constant, self.waits.queued());
        vec![
            self.wait.with(AdmissionOutcome::ALL.map(histogram).into()),
            self.queued.with(vec![queued]),
        ]
    }
}

impl Prometheus {
    /// Returns the names of the metrics of [admission](crate::admission) as the exposition
    /// writes them, with the prefixes of the builder and of the registry.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder().prefix("shop").build()?;
    /// let names = prometheus.admission_names();
    /// assert_eq!(names.queued, "shop_http_server_admission_queued");
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn admission_names(&self) -> AdmissionNames {
        let registered = AdmissionNames::registered(self.0);
        AdmissionNames {
            wait: self.exposed_name(&registered.wait),
            queued: self.exposed_name(&registered.queued),
        }
    }

    #[inline]
    fn waits(&self) -> Option<&'static Waits> {
        self.0.waits.get().copied()
    }
}

impl AdmissionRecorder for Prometheus {
    fn prepare(&self) -> Result<(), BuildError> {
        static PREPARING: Mutex<()> = Mutex::new(());
        let _preparing = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = self.0;
        if inner.waits.get().is_some() {
            return Ok(());
        }
        check_own_labels(inner, &[OUTCOME])?;
        let names = AdmissionNames::registered(inner);
        let name = names.wait.clone();
        let waits: &'static Waits = Box::leak(Box::default());
        let collector = Box::new(Admissions::new(names, inner, waits));
        inner
            .registry
            .register(collector)
            .map_err(|error| BuildError::Registration {
                name,
                why: error.to_string(),
            })?;
        inner.waits.get_or_init(|| waits);
        Ok(())
    }

    fn queued(&self) {
        if let Some(waits) = self.waits() {
            waits.shard().queued.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dequeued(&self) {
        if let Some(waits) = self.waits() {
            waits.shard().queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[inline]
    fn ended(&self, wait: &CompletedWait) {
        if let Some(waits) = self.waits() {
            waits.record(wait);
        }
    }
}
