//! Metrics of a Tokio runtime.

mod delay;

use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto;
use tokio::runtime::{Handle, RuntimeMetrics};

use self::delay::{BOUNDS, Delay};
use crate::sampled::{self, Family};

/// Collector of the metrics of a Tokio runtime, for any [`prometheus::Registry`].
///
/// | metric | type | labels | |
/// |---|---|---|---|
/// | `tokio_workers` | gauge | `runtime` | worker threads |
/// | `tokio_worker_busy_seconds_total` | counter | `runtime`, `worker` | time that a worker was busy |
/// | `tokio_worker_parks_total` | counter | `runtime`, `worker` | times that a worker ran out of work |
/// | `tokio_alive_tasks` | gauge | `runtime` | tasks that have not ended |
/// | `tokio_global_queue_depth` | gauge | `runtime` | tasks in the queue that all workers share |
/// | `tokio_scheduling_delay_seconds` | histogram | `runtime` | how late a timer task runs |
/// | `tokio_blocked_seconds` | gauge | `runtime` | for how long the timer task has been due |
///
/// `runtime` is the name that is passed to [`new`](Self::new), and `worker` a number from
/// 0. With `--cfg tokio_unstable`, there are also `tokio_blocking_threads`,
/// `tokio_idle_blocking_threads`, `tokio_blocking_queue_depth`,
/// `tokio_spawned_tasks_total`, `tokio_remote_schedules_total`,
/// `tokio_budget_forced_yields_total`, `tokio_worker_local_queue_depth`,
/// `tokio_worker_polls_total`, `tokio_worker_steals_total` and
/// `tokio_worker_overflows_total`.
///
/// # Scheduling delay
///
/// A task on the runtime sleeps until a deadline every 100 ms, and records how late it
/// runs after each. A runtime that is idle or lightly loaded runs it within 2 ms, the
/// resolution of Tokio's timers. A delay far above that means that the runtime is
/// saturated, or that a task blocks its threads instead of yielding.
///
/// If the task runs so late that it misses deadlines, it records a delay for each one of
/// them: a block of one second counts as delays of 1 s, 0.9 s, 0.8 s and so on. The
/// histogram therefore tells how long a task that becomes ready at a random time waits.
///
/// A delay is recorded when it is over. Until then, `tokio_blocked_seconds` shows it,
/// provided that another runtime serves the scrape. It is 0 while the task is not due,
/// and absent after the runtime has shut down.
///
/// A block of one worker of several does not delay the task, because the others run it.
///
/// # Cost
///
/// The task wakes up an idle runtime every 100 ms, which takes less than 0.1 ms of CPU time,
/// most of it in the kernel: less than 0.1 % of a core. On a busy runtime, it costs one more
/// poll. It ends when the collector is dropped. A scrape reads a few atomic integers, and
/// two per worker.
///
/// # Examples
///
/// ```
/// use tokio::runtime::Handle;
/// use tower_metrics::{Prometheus, TokioCollector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prometheus = Prometheus::new();
/// let runtime = TokioCollector::new("api", &Handle::current());
/// prometheus.registry().register(Box::new(runtime))?;
/// # Ok(())
/// # }
/// ```
///
/// The example `saturation` has two runtimes, one of which can be blocked.
pub struct TokioCollector {
    name: String,
    runtime: RuntimeMetrics,
    delay: Arc<Delay>,
    descs: Vec<Desc>,
}

const RUNTIME: &str = "runtime";
const WORKER: &str = "worker";

const DELAY: Family = Family::histogram(
    "tokio_scheduling_delay_seconds",
    "How late a timer task of the runtime runs.",
);
const BLOCKED: Family = Family::gauge(
    "tokio_blocked_seconds",
    "For how long a timer task of the runtime has been due.",
);

/// Metric of a runtime.
struct OfRuntime(Family, fn(&RuntimeMetrics) -> f64);

/// Metric of a worker of a runtime.
struct OfWorker(Family, fn(&RuntimeMetrics, usize) -> f64);

const OF_RUNTIME: &[OfRuntime] = &[
    OfRuntime(
        Family::gauge("tokio_workers", "Number of worker threads of the runtime."),
        |runtime| runtime.num_workers() as f64,
    ),
    OfRuntime(
        Family::gauge("tokio_alive_tasks", "Number of tasks that have not ended."),
        |runtime| runtime.num_alive_tasks() as f64,
    ),
    OfRuntime(
        Family::gauge(
            "tokio_global_queue_depth",
            "Number of tasks in the queue that all workers share.",
        ),
        |runtime| runtime.global_queue_depth() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::gauge(
            "tokio_blocking_threads",
            "Number of threads for blocking tasks.",
        ),
        |runtime| runtime.num_blocking_threads() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::gauge(
            "tokio_idle_blocking_threads",
            "Number of threads for blocking tasks that have no task.",
        ),
        |runtime| runtime.num_idle_blocking_threads() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::gauge(
            "tokio_blocking_queue_depth",
            "Number of blocking tasks that wait for a thread.",
        ),
        |runtime| runtime.blocking_queue_depth() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::counter(
            "tokio_spawned_tasks_total",
            "Total number of tasks that were spawned.",
        ),
        |runtime| runtime.spawned_tasks_count() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::counter(
            "tokio_remote_schedules_total",
            "Total number of tasks that were scheduled from outside of the runtime.",
        ),
        |runtime| runtime.remote_schedule_count() as f64,
    ),
    #[cfg(tokio_unstable)]
    OfRuntime(
        Family::counter(
            "tokio_budget_forced_yields_total",
            "Total number of times that a task yielded because its budget was used up.",
        ),
        |runtime| runtime.budget_forced_yield_count() as f64,
    ),
];

const OF_WORKER: &[OfWorker] = &[
    OfWorker(
        Family::counter(
            "tokio_worker_busy_seconds_total",
            "Total time that a worker thread was busy.",
        ),
        |runtime, worker| runtime.worker_total_busy_duration(worker).as_secs_f64(),
    ),
    OfWorker(
        Family::counter(
            "tokio_worker_parks_total",
            "Total number of times that a worker thread parked because it had no work.",
        ),
        |runtime, worker| runtime.worker_park_count(worker) as f64,
    ),
    #[cfg(tokio_unstable)]
    OfWorker(
        Family::gauge(
            "tokio_worker_local_queue_depth",
            "Number of tasks in the queue of a worker.",
        ),
        |runtime, worker| runtime.worker_local_queue_depth(worker) as f64,
    ),
    #[cfg(tokio_unstable)]
    OfWorker(
        Family::counter(
            "tokio_worker_polls_total",
            "Total number of times that a worker polled a task.",
        ),
        |runtime, worker| runtime.worker_poll_count(worker) as f64,
    ),
    #[cfg(tokio_unstable)]
    OfWorker(
        Family::counter(
            "tokio_worker_steals_total",
            "Total number of tasks that a worker took from another one.",
        ),
        |runtime, worker| runtime.worker_steal_count(worker) as f64,
    ),
    #[cfg(tokio_unstable)]
    OfWorker(
        Family::counter(
            "tokio_worker_overflows_total",
            "Total number of times that the queue of a worker was full.",
        ),
        |runtime, worker| runtime.worker_overflow_count(worker) as f64,
    ),
];

impl TokioCollector {
    /// Creates a collector for a runtime, and spawns the task that measures the scheduling
    /// delay.
    ///
    /// `name` becomes the value of the label `runtime`. Collectors in the same registry
    /// need different names.
    ///
    /// # Panics
    ///
    /// Panics if the runtime has no timer, which `enable_time` and `enable_all` of its
    /// builder enable.
    #[track_caller]
    pub fn new(name: impl Into<String>, runtime: &Handle) -> Self {
        let name = name.into();
        let constant = [(RUNTIME, &*name)];
        let of_runtime = OF_RUNTIME.iter().map(|of| of.0).chain([DELAY, BLOCKED]);
        let of_runtime = of_runtime.map(|family| family.desc(&constant, &[]));
        let of_worker = OF_WORKER.iter().map(|of| of.0.desc(&constant, &[WORKER]));
        Self {
            descs: of_runtime.chain(of_worker).collect(),
            runtime: runtime.metrics(),
            delay: Delay::measure(runtime),
            name,
        }
    }
}

impl Collector for TokioCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let runtime = &self.runtime;
        let label = (RUNTIME, &*self.name);
        let of_runtime = OF_RUNTIME.iter().map(|OfRuntime(family, read)| {
            family.with(vec![family.metric(&[label], read(runtime))])
        });
        let workers: Vec<_> = (0..runtime.num_workers())
            .map(|worker| (worker, worker.to_string()))
            .collect();
        let of_worker = OF_WORKER.iter().map(|OfWorker(family, read)| {
            let metrics = workers.iter().map(|(worker, number)| {
                family.metric(&[label, (WORKER, number)], read(runtime, *worker))
            });
            family.with(metrics.collect())
        });
        let (buckets, sum) = self.delay.histogram();
        let delay = sampled::histogram(&[label], &BOUNDS, &buckets, sum);
        let blocked = self
            .delay
            .blocked()
            .map(|blocked| BLOCKED.with(vec![BLOCKED.metric(&[label], blocked.as_secs_f64())]));
        of_runtime
            .chain(of_worker)
            .chain([DELAY.with(vec![delay])])
            .chain(blocked)
            .collect()
    }
}

impl fmt::Debug for TokioCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioCollector")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
