//! The numbers of one series, as one thread counts them.

use std::sync::OnceLock;
use std::time::SystemTime;

use super::bound::format_bound;
use super::sync::atomic::{AtomicU64, Ordering};
use super::sync::{Mutex, PoisonError};
use crate::outcome::CompletedRequest;
use crate::trace_id::TraceId;

/// A cell that only one thread writes at a time. Any thread may read it.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds; wraps around, so that adding the two's complement subtracts.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds to a sum, which stays at the largest value once it is reached: a sum
    /// that wraps around would be a counter that falls.
    #[inline]
    pub(crate) fn add_to_sum(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds, and makes everything that this thread (and those that handed the
    /// request on to it) wrote before visible to who reads the sum with
    /// [`get_acquire`](Self::get_acquire): a request that is seen to have ended is seen
    /// to have begun.
    #[inline]
    pub(crate) fn add_release(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Release,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Pairs with [`add_release`](Self::add_release).
    pub(crate) fn get_acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A cache line of cells, so that no two threads write to the same one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Line([Cell; 8]);

/// Where in a series' cells which number stands.
///
/// The sums come first and the duration's buckets next, so that a fast request
/// touches one cache line.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) duration: Bounds,
    pub(crate) request_size: Bounds,
    pub(crate) response_size: Bounds,
    /// Without bounds where the time to the head is not recorded.
    pub(crate) time_to_head: Option<Bounds>,
    pub(crate) time_to_head_sum: usize,
    pub(crate) cells: usize,
}

pub(crate) const DURATION_SUM: usize = 0;
pub(crate) const REQUEST_SUM: usize = 1;
pub(crate) const RESPONSE_SUM: usize = 2;
const DURATION_BUCKETS: usize = 3;

/// A histogram's bounds, in nanoseconds or bytes.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// The upper bounds, inclusive, rising.
    pub(crate) upper: Box<[u64]>,
    /// The same in seconds or bytes.
    pub(crate) bounds: Box<[f64]>,
    /// The same as the `le` label writes them, with `+Inf` at the end.
    pub(crate) le: Box<[Box<str>]>,
    /// Where the buckets start among the cells.
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

    /// How many buckets there are, `+Inf` included.
    pub(crate) fn buckets(&self) -> usize {
        self.upper.len() + 1
    }
}

impl Layout {
    /// From bounds as (value in nanoseconds or bytes, value as it is written).
    pub(crate) fn new(
        duration: &[(u64, f64)],
        request_size: &[(u64, f64)],
        response_size: &[(u64, f64)],
        time_to_head: bool,
    ) -> Self {
        let mut cells = DURATION_BUCKETS;
        let mut place = |bounds: &[(u64, f64)], wanted: bool| {
            let bounds = Bounds::new(bounds, cells);
            if wanted {
                cells += bounds.buckets();
            }
            bounds
        };
        let duration_bounds = place(duration, true);
        // Without finite bounds every request is in `+Inf`: the number of
        // requests, which the duration counts.
        let request_size = place(request_size, !request_size.is_empty());
        let response_size = place(response_size, !response_size.is_empty());
        let time_to_head = time_to_head.then(|| place(duration, true));
        let time_to_head_sum = cells;
        cells += usize::from(time_to_head.is_some());
        Self {
            duration: duration_bounds,
            request_size,
            response_size,
            time_to_head,
            time_to_head_sum,
            cells,
        }
    }
}

/// One thread's numbers of one series.
#[derive(Debug)]
pub(crate) struct Cells {
    lines: Box<[Line]>,
    /// The last exemplar of each bucket of the duration; made with the first.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

/// A request to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: TraceId,
    pub(crate) nanoseconds: u64,
    pub(crate) at: SystemTime,
}

impl Cells {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            lines: (0..layout.cells.div_ceil(8))
                .map(|_| Line::default())
                .collect(),
            exemplars: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn cell(&self, index: usize) -> &Cell {
        &self.lines[index / 8].0[index % 8]
    }

    /// A request ended.
    #[inline(always)]
    pub(crate) fn record(&self, layout: &Layout, end: &CompletedRequest<'_>) {
        self.record_sizes(layout, end);
        self.record_duration(layout, end);
    }

    #[inline(always)]
    fn record_sizes(&self, layout: &Layout, end: &CompletedRequest<'_>) {
        self.cell(REQUEST_SUM).add_to_sum(end.request_size);
        self.cell(RESPONSE_SUM).add_to_sum(end.response_size);
        if !layout.request_size.upper.is_empty() {
            self.cell(layout.request_size.bucket(end.request_size))
                .add(1);
        }
        if !layout.response_size.upper.is_empty() {
            self.cell(layout.response_size.bucket(end.response_size))
                .add(1);
        }
    }

    #[inline(always)]
    fn record_duration(&self, layout: &Layout, end: &CompletedRequest<'_>) {
        let nanoseconds = nanoseconds(end.duration);
        self.cell(DURATION_SUM).add_to_sum(nanoseconds);
        if let (Some(bounds), Some(time)) = (&layout.time_to_head, end.time_to_head) {
            let time = self::nanoseconds(time);
            self.cell(layout.time_to_head_sum).add_to_sum(time);
            self.cell(bounds.bucket(time)).add(1);
        }
        let bucket = layout.duration.bucket(nanoseconds);
        self.cell(bucket).add_release(1);
        if let Some(trace_id) = end.trace_id {
            self.record_exemplar(layout, bucket, trace_id, nanoseconds);
        }
    }

    #[cold]
    fn record_exemplar(&self, layout: &Layout, bucket: usize, trace_id: TraceId, nanoseconds: u64) {
        let exemplars = self.exemplars.get_or_init(|| {
            (0..layout.duration.buckets())
                .map(|_| Mutex::new(None))
                .collect()
        });
        // Where a scrape is reading this very one, this request's is not kept:
        // any request of the bucket is as good an example, waiting is not.
        if let Ok(mut exemplar) = exemplars[bucket - layout.duration.at].try_lock() {
            *exemplar = Some(Exemplar {
                trace_id,
                nanoseconds,
                at: SystemTime::now(),
            });
        }
    }

    /// The newest exemplar of a bucket of the duration.
    pub(crate) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        *self.exemplars.get()?[bucket]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[inline]
fn nanoseconds(duration: std::time::Duration) -> u64 {
    // 584 years fit.
    duration
        .as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(duration.subsec_nanos()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let bounds = Bounds::new(&[(10, 10.0), (20, 20.0)], 4);
        let buckets = [0, 10, 11, 20, 21, u64::MAX].map(|value| bounds.bucket(value) - 4);
        assert_eq!(buckets, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_cells_of_a_fast_request_share_a_cache_line() {
        let layout = Layout::new(&[(1, 1.0)], &[], &[], false);
        assert!(layout.duration.bucket(0) < 8);
        assert_eq!(size_of::<Line>(), 64);
    }
}
