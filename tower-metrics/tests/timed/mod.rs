//! Recorder with fixed durations.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower_metrics::{CompletedRequest, InitialSeries, LabelError, LabelValues, Limit, Recorder};

/// Recorder that replaces durations by those of a list, which are on, next to and
/// far from bucket bounds.
pub(crate) struct Timed<R> {
    recorder: R,
    next: AtomicUsize,
}

const NANOSECONDS: [u64; 12] = [
    5_000_000,
    5_000_001,
    4_999_999,
    2_500_000_000,
    2_500_000_001,
    750_000_000,
    7_500_000_000,
    10_000_000_000,
    10_000_000_001,
    3_600_000_000_000,
    1,
    330_000_000,
];

impl<R> Timed<R> {
    pub(crate) fn new(recorder: R) -> Self {
        let next = AtomicUsize::new(0);
        Self { recorder, next }
    }

    fn next(&self) -> Duration {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Duration::from_nanos(NANOSECONDS[next % NANOSECONDS.len()])
    }

    fn timed<'a>(&self, end: &CompletedRequest<'a>) -> CompletedRequest<'a> {
        let mut end = end.clone();
        end.duration = self.next();
        end.time_to_head = end.time_to_head.map(|_| self.next());
        end
    }
}

impl<R: Recorder> Recorder for Timed<R> {
    type Series = R::Series;
    type InFlight = R::InFlight;

    fn series(&self, method: &'static str, route: &'static str) -> R::Series {
        self.recorder.series(method, route)
    }
    fn begin(&self, series: R::Series) -> R::InFlight {
        self.recorder.begin(series)
    }
    fn end(&self, series: R::Series, in_flight: R::InFlight, end: &CompletedRequest<'_>) {
        self.recorder.end(series, in_flight, &self.timed(end));
    }
    fn abandon(&self, series: R::Series, in_flight: R::InFlight) {
        self.recorder.abandon(series, in_flight);
    }
    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        self.recorder.declare_labels(names)
    }
    fn initialize(&self, series: R::Series, ending: InitialSeries, labels: LabelValues<'_>) {
        self.recorder.initialize(series, ending, labels);
    }
    fn overflowed(&self, limit: Limit) {
        self.recorder.overflowed(limit);
    }
    fn wants_time_to_head(&self) -> bool {
        self.recorder.wants_time_to_head()
    }
}
