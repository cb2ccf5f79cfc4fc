//! Values of one series as recorded by one thread.

use std::sync::OnceLock;
use std::time::Duration;

use super::bound::format_bound;
use super::exemplars::{Exemplar, Exemplars};
use super::native::{self, NativeCells, NativeLayout};
use crate::cell::Cell;
use crate::clock::Instant;
use crate::completed_request::CompletedRequest;
use crate::trace_id::TraceId;

/// Cache line of cells. The alignment prevents false sharing between threads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Line([Cell; 8]);

impl Line {
    #[inline]
    pub(crate) fn cell(&self, index: usize) -> &Cell {
        &self.0[index]
    }
}

/// Index of each value within a series' cells.
///
/// The sums come first and the duration's buckets next, so that recording a
/// fast request touches one cache line.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) duration: Bounds,
    /// Nanoseconds below which a request is counted in the first bucket of the duration
    /// and in no other histogram. 0 if there are others.
    first_bucket_end: u64,
    pub(crate) request_size: Bounds,
    pub(crate) response_size: Bounds,
    /// `None` unless the time to head is recorded.
    pub(crate) time_to_head: Option<Bounds>,
    pub(crate) time_to_head_sum: usize,
    /// `None` unless the duration has native buckets.
    pub(crate) native: Option<NativeLayout>,
    pub(crate) cells: usize,
}

pub(crate) const DURATION_SUM: usize = 0;
pub(crate) const REQUEST_SUM: usize = 1;
pub(crate) const RESPONSE_SUM: usize = 2;
const DURATION_BUCKETS: usize = 3;

/// Bucket bounds of a histogram.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// Inclusive upper bounds in nanoseconds or bytes, ascending.
    pub(crate) upper: Box<[u64]>,
    /// The same bounds in seconds or bytes.
    pub(crate) bounds: Box<[f64]>,
    /// The same bounds as values of the `le` label, followed by `+Inf`.
    pub(crate) le: Box<[Box<str>]>,
    /// Index of the first bucket among the cells.
    pub(crate) at: usize,
}

impl Bounds {
    fn new(bounds: &[(u64, f64)], at: usize) -> Self {
        let le = bounds.iter().map(|(_, bound)| format_bound(*bound).into());
        Self {
            upper: bounds.iter().map(|(upper, _)| *upper).collect(),
            bounds: bounds.iter().map(|(_, bound)| *bound).collect(),
            le: le.chain(["+Inf".into()]).collect(),
            at,
        }
    }

    #[inline]
    fn bucket(&self, value: u64) -> usize {
        self.at
            + self
                .upper
                .iter()
                .position(|upper| value <= *upper)
                .unwrap_or(self.upper.len())
    }

    /// Returns the number of buckets, including `+Inf`.
    pub(crate) fn buckets(&self) -> usize {
        self.upper.len() + 1
    }
}

impl Layout {
    /// Creates a layout from bounds as pairs: the value in nanoseconds or bytes,
    /// and the value in seconds or bytes.
    pub(crate) fn new(
        duration: &[(u64, f64)],
        request_size: &[(u64, f64)],
        response_size: &[(u64, f64)],
        time_to_head: bool,
        native_histogram: bool,
    ) -> Self {
        let duration_bounds = Bounds::new(duration, DURATION_BUCKETS);
        let mut cells = DURATION_BUCKETS + duration_bounds.buckets();
        // Directly after the buckets, as which it is read.
        let native = native_histogram.then(|| NativeLayout::new(&duration_bounds, cells));
        cells += usize::from(native_histogram);
        let mut place = |bounds: &[(u64, f64)], wanted: bool| {
            let bounds = Bounds::new(bounds, cells);
            if wanted {
                cells += bounds.buckets();
            }
            bounds
        };
        // Without finite bounds every request falls into `+Inf`, whose count is
        // that of the duration histogram.
        let request_size = place(request_size, !request_size.is_empty());
        let response_size = place(response_size, !response_size.is_empty());
        let time_to_head = time_to_head.then(|| place(duration, true));
        let time_to_head_sum = cells;
        cells += usize::from(time_to_head.is_some());
        let has_others = !request_size.upper.is_empty()
            || !response_size.upper.is_empty()
            || time_to_head.is_some()
            || native.is_some();
        let first_bucket = duration_bounds.upper.first().filter(|_| !has_others);
        Self {
            // Bounds are inclusive.
            first_bucket_end: first_bucket.map_or(0, |upper| upper + 1),
            duration: duration_bounds,
            request_size,
            response_size,
            time_to_head,
            time_to_head_sum,
            native,
            cells,
        }
    }
}

/// Values of one series as recorded by one thread.
///
/// The first line is part of the structure: recording a fast request follows no other
/// pointer and checks no bounds.
#[derive(Debug)]
pub(crate) struct Cells {
    first: Line,
    rest: Box<[Line]>,
    /// Latest exemplar of each duration bucket. Allocated with the first one.
    exemplars: OnceLock<Exemplars>,
    /// `None` unless the duration has native buckets.
    pub(crate) native: Option<Box<NativeCells>>,
}

impl Cells {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            first: Line::default(),
            rest: (1..layout.cells.div_ceil(8))
                .map(|_| Line::default())
                .collect(),
            exemplars: OnceLock::new(),
            native: layout.native.is_some().then(Box::default),
        }
    }

    #[inline]
    pub(crate) fn cell(&self, index: usize) -> &Cell {
        match index.checked_sub(8) {
            None => &self.first.0[index],
            Some(index) => &self.rest[index / 8].0[index % 8],
        }
    }

    /// Loads a value of each cache line.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let rest = self.rest.iter().map(|line| line.0[0].get());
        rest.fold(self.first.0[0].get(), u64::wrapping_add)
    }

    /// Records a request that has ended.
    #[inline(always)]
    pub(crate) fn record(&self, layout: &Layout, end: &CompletedRequest<'_>) {
        let nanoseconds = nanoseconds(end.duration);
        self.cell(REQUEST_SUM).add_to_sum(end.request_size);
        self.cell(RESPONSE_SUM).add_to_sum(end.response_size);
        self.cell(DURATION_SUM).add_to_sum(nanoseconds);
        let bucket = if nanoseconds < layout.first_bucket_end {
            // Most requests are fast, and most layouts have no other histogram.
            self.cell(DURATION_BUCKETS)
        } else {
            let sizes = [end.request_size, end.response_size];
            self.record_histograms(layout, sizes, end.time_to_head, nanoseconds)
        };
        bucket.add_release(1);
        if let (Some(trace_id), Some(ended)) = (end.trace_id, end.ended) {
            self.record_exemplar(layout, trace_id, nanoseconds, ended);
        }
    }

    /// Records all histograms but that of the duration, and returns the cell that counts
    /// the duration.
    #[inline(never)]
    fn record_histograms(
        &self,
        layout: &Layout,
        [request_size, response_size]: [u64; 2],
        time_to_head: Option<Duration>,
        nanoseconds: u64,
    ) -> &Cell {
        for (bounds, size) in [
            (&layout.request_size, request_size),
            (&layout.response_size, response_size),
        ] {
            if !bounds.upper.is_empty() {
                self.cell(bounds.bucket(size)).add(1);
            }
        }
        if let (Some(bounds), Some(time)) = (&layout.time_to_head, time_to_head) {
            let time = self::nanoseconds(time);
            self.cell(layout.time_to_head_sum).add_to_sum(time);
            self.cell(bounds.bucket(time)).add(1);
        }
        let classic = &layout.duration;
        match (&layout.native, &self.native) {
            (Some(layout), Some(cells)) => native::cell(self, cells, layout, classic, nanoseconds),
            _ => self.cell(classic.bucket(nanoseconds)),
        }
    }

    #[inline(never)]
    fn record_exemplar(
        &self,
        layout: &Layout,
        trace_id: TraceId,
        nanoseconds: u64,
        ended: Instant,
    ) {
        let bucket = layout.duration.bucket(nanoseconds) - layout.duration.at;
        let new = || Exemplars::new(layout.duration.buckets());
        let exemplars = self.exemplars.get_or_init(new);
        exemplars.record(bucket, trace_id, nanoseconds, ended);
    }

    /// Returns whether a duration bucket has an exemplar.
    pub(crate) fn has_exemplars(&self) -> bool {
        self.exemplars.get().is_some()
    }

    /// Returns the latest exemplar of a duration bucket.
    pub(crate) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.get()?.get(bucket)
    }
}

#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    // Wraps after 584 years.
    duration
        .as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(duration.subsec_nanos()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::error_type::ErrorType;
    use crate::label::{LabelNumbers, LabelValues};
    use crate::outcome::Outcome;

    #[test]
    fn bucket_bounds_are_inclusive() {
        let bounds = Bounds::new(&[(10, 10.0), (20, 20.0)], 4);
        let buckets = [0, 10, 11, 20, 21, u64::MAX].map(|value| bounds.bucket(value) - 4);
        assert_eq!(buckets, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_request_that_takes_no_time_is_counted_in_every_histogram() {
        let bounds = [(10, 10.0)];
        for has_sizes in [false, true] {
            let sizes = if has_sizes { &bounds[..] } else { &[] };
            let layout = Layout::new(&bounds, sizes, sizes, has_sizes, false);
            let cells = Cells::new(&layout);
            for nanoseconds in [0, 10, 11] {
                cells.record(&layout, &request(nanoseconds));
            }
            let count = |of: &Bounds| [of.at, of.at + 1].map(|at| cells.cell(at).get());
            assert_eq!(count(&layout.duration), [2, 1]);
            if let Some(time_to_head) = &layout.time_to_head {
                assert_eq!(count(time_to_head), [3, 0]);
                assert_eq!(count(&layout.request_size), [3, 0]);
                assert_eq!(count(&layout.response_size), [0, 3]);
            }
        }
    }

    fn request(nanoseconds: u64) -> CompletedRequest<'static> {
        CompletedRequest {
            outcome: Outcome::Complete,
            status: Some(StatusCode::OK),
            error_type: ErrorType::NONE,
            duration: Duration::from_nanos(nanoseconds),
            time_to_head: Some(Duration::ZERO),
            request_size: 0,
            response_size: 11,
            grpc_status: None,
            labels: LabelValues {
                labels: &[],
                numbers: LabelNumbers::EMPTY,
            },
            trace_id: None,
            ended: None,
        }
    }

    #[test]
    fn the_cells_of_a_fast_request_share_a_cache_line() {
        let layout = Layout::new(&[(1, 1.0)], &[], &[], false, false);
        assert!(layout.duration.bucket(0) < 8);
        assert_eq!(size_of::<Line>(), 64);
    }
}
