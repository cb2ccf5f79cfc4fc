//! Native histograms: exponential buckets of the duration.
//!
//! Bucket `i` of schema 3 counts durations in (2^((i-1)/8), 2^(i/8)] seconds:
//! eight buckets per octave, each at most 9.1 % wide. Durations are integers of
//! nanoseconds and are compared with the bounds exactly. Durations of zero have a
//! separate bucket.
//!
//! # One increment per request
//!
//! A request increments one cell, as it does without native buckets: classic and
//! native buckets are both sums of the same cells, so that their counts agree in
//! every scrape. A classic bound divides the native bucket that contains it into
//! segments. The segment below the bound has the cell of the classic bucket that
//! ends there; what remains of the native bucket has a cell in the line of its
//! octave.
//!
//! # Memory
//!
//! Each thread that records a series has one cache line per octave, allocated
//! when the thread first records a duration in it: 144 bytes for the table,
//! 128 bytes per group of eight octaves, and 64 bytes per octave. All 65 octaves,
//! from one nanosecond to 584 years, are at most 5,456 bytes.

use std::sync::OnceLock;

use super::cells::{Bounds, Cells, Line};
use crate::cell::Cell;

/// Schema in which durations are recorded: 2^3 buckets per octave.
pub(crate) const SCHEMA: i8 = 3;

/// Durations up to this bound in seconds count as zero: none but zero itself.
/// The default of other client libraries, so that histograms can be added
/// without widening the bucket of either.
pub(crate) const ZERO_THRESHOLD: f64 = 2.938735877055719e-39;

/// Highest number of buckets of a series in an exposition. A series with more
/// populated buckets is exposed at a lower resolution.
pub(crate) const MAX_BUCKETS: usize = 160;

/// Number of octaves of an integer of nanoseconds, and the bucket above them.
const OCTAVES: usize = 65;
/// Number of buckets that an integer of nanoseconds can be in.
const INDICES: usize = 8 * (OCTAVES - 1) + 1;
/// Index of the bucket that ends at one second, which is bucket 0.
const ONE_SECOND: i32 = 239;

/// The bounds 2^(i/8) seconds in nanoseconds, for eight consecutive `i`, divided
/// by the power of two that brings them into [1, 2), times 2^63 and rounded down.
/// The last one is one second.
const BOUNDS: [u64; 9] = [
    0x81ff_a7a9_549c_a6e3,
    0x8dc3_b896_0164_a7d9,
    0x9a98_6705_4d51_2391,
    0xa896_5f74_bf06_5071,
    0xb7d8_8a12_d0dd_9ea0,
    0xc87c_3e7d_03cd_bec3,
    0xdaa1_7c2c_d195_55db,
    0xee6b_2800_0000_0000,
    u64::MAX,
];

/// Number of bounds below each sixteenth of [1, 2), which contain at most one
/// bound each.
const BOUNDS_BELOW: [u8; 16] = [0, 1, 2, 2, 3, 3, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8];

/// Returns the index of the bucket that contains a number of nanoseconds other
/// than zero.
#[inline]
fn index(nanoseconds: u64) -> usize {
    let zeros = nanoseconds.leading_zeros();
    let mantissa = nanoseconds << zeros;
    let below = usize::from(BOUNDS_BELOW[(mantissa >> 59) as usize & 15]);
    let below = below + usize::from(mantissa > BOUNDS[below]);
    8 * (63 - zeros as usize) + below
}

/// Returns the highest number of nanoseconds in a bucket.
fn upper_bound(index: usize) -> u64 {
    match index / 8 {
        octave @ 0..64 => BOUNDS[index % 8] >> (63 - octave),
        _ => u64::MAX,
    }
}

/// Classic bounds that divide each native bucket.
#[derive(Debug)]
pub(crate) struct NativeLayout {
    /// For each native bucket the classic bounds inside it, as the first and the
    /// one after the last. The latter is also the classic bucket of what is above
    /// them.
    bounds: Box<[(u16, u16)]>,
    /// Native bucket of each classic bound.
    of_bounds: Box<[u16]>,
    /// Index of the cell for durations of zero.
    pub(crate) zero: usize,
}

impl NativeLayout {
    pub(crate) fn new(classic: &Bounds, zero: usize) -> Self {
        let count = |below: &dyn Fn(u64) -> bool| {
            let bounds = classic.upper.iter().take_while(|upper| below(**upper));
            u16::try_from(bounds.count()).expect("the number of bounds is limited")
        };
        let bounds = (0..INDICES).map(|index| {
            let lower = index.checked_sub(1).map_or(0, upper_bound);
            let upper = upper_bound(index);
            (
                count(&|bound| bound <= lower),
                count(&|bound| bound < upper),
            )
        });
        let of_bounds = classic.upper.iter().map(|upper| index(*upper) as u16);
        Self {
            bounds: bounds.collect(),
            of_bounds: of_bounds.collect(),
            zero,
        }
    }
}

/// Cells of the native buckets, by octave. Written by one thread at a time, as
/// all [`Cells`].
#[derive(Debug, Default)]
pub(crate) struct NativeCells {
    groups: [OnceLock<Box<Group>>; OCTAVES.div_ceil(8)],
}

#[derive(Debug, Default)]
struct Group {
    octaves: [OnceLock<Box<Line>>; 8],
}

impl NativeCells {
    #[inline]
    fn octave(&self, octave: usize) -> &Line {
        let group = self.groups[octave / 8].get_or_init(Box::default);
        group.octaves[octave % 8].get_or_init(Box::default)
    }

    fn for_each_octave(&self, mut each: impl FnMut(usize, &Line)) {
        for (i, group) in self.groups.iter().enumerate() {
            for (j, line) in group
                .get()
                .iter()
                .flat_map(|group| group.octaves.iter().enumerate())
            {
                if let Some(line) = line.get() {
                    each(8 * i + j, line);
                }
            }
        }
    }
}

/// Returns the cell that counts a duration.
#[inline]
pub(crate) fn cell<'a>(
    cells: &'a Cells,
    native: &'a NativeCells,
    layout: &NativeLayout,
    classic: &Bounds,
    nanoseconds: u64,
) -> &'a Cell {
    if nanoseconds == 0 {
        return cells.cell(layout.zero);
    }
    let index = index(nanoseconds);
    let (first, end) = layout.bounds[index];
    for bound in usize::from(first)..usize::from(end) {
        if nanoseconds <= classic.upper[bound] {
            return cells.cell(classic.at + bound);
        }
    }
    native.octave(index / 8).cell(index % 8)
}

/// Buckets of one series, added up over its threads. Reuses its memory.
#[derive(Debug)]
pub(crate) struct Sums {
    /// By index, of the octaves' cells.
    counts: Box<[u64]>,
    /// Set for each octave with a line.
    touched: [bool; OCTAVES],
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            counts: vec![0; 8 * OCTAVES].into(),
            touched: [false; OCTAVES],
        }
    }
}

impl Sums {
    /// Adds the cells of a thread.
    pub(crate) fn add(&mut self, native: &NativeCells) {
        native.for_each_octave(|octave, line| {
            self.touched[octave] = true;
            let counts = &mut self.counts[8 * octave..8 * octave + 8];
            for (i, count) in counts.iter_mut().enumerate() {
                *count = count.wrapping_add(line.cell(i).get_acquire());
            }
        });
    }

    /// Turns the sums of the classic cells, which count segments, into the classic
    /// buckets, and appends the populated native buckets in ascending order.
    /// Resets the sums.
    pub(crate) fn finish(
        &mut self,
        layout: &NativeLayout,
        classic: &mut [u64],
        zero: u64,
        native: &mut Vec<(u16, u64)>,
    ) {
        let begin = native.len();
        let segments = layout.of_bounds.iter().zip(&*classic);
        native.extend(
            segments
                .filter(|(_, count)| **count > 0)
                .map(|(index, count)| (*index, *count)),
        );
        classic[0] += zero;
        for octave in 0..OCTAVES {
            if !std::mem::take(&mut self.touched[octave]) {
                continue;
            }
            for index in 8 * octave..8 * octave + 8 {
                let count = std::mem::take(&mut self.counts[index]);
                if count > 0 {
                    classic[usize::from(layout.bounds[index].1)] += count;
                    native.push((index as u16, count));
                }
            }
        }
        native[begin..].sort_unstable();
        // Add up the parts of each bucket.
        let mut last = begin;
        for i in begin + 1..native.len() {
            if native[i].0 == native[last].0 {
                native[last].1 += native[i].1;
            } else {
                last += 1;
                native[last] = native[i];
            }
        }
        native.truncate((last + 1).min(native.len()));
    }
}

/// Native buckets of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeBuckets<'a> {
    pub(crate) zero_count: u64,
    /// Index and count of each populated bucket, ascending.
    pub(crate) populated: &'a [(u16, u64)],
}

impl NativeBuckets<'_> {
    /// Writes the buckets, as their number in the schema and their count, at the
    /// highest resolution at which there are at most [`MAX_BUCKETS`]. Returns the
    /// schema.
    ///
    /// Lowering the resolution by one halves the number of buckets per octave.
    /// Counts only increase, so the resolution of a series never increases, which
    /// would look like a counter reset.
    pub(crate) fn reduced(&self, into: &mut Vec<(i32, u64)>) -> i8 {
        into.clear();
        let populated = self.populated.iter();
        into.extend(populated.map(|(index, count)| (i32::from(*index) - ONE_SECOND, *count)));
        let mut schema = SCHEMA;
        while into.len() > MAX_BUCKETS {
            schema -= 1;
            for (bucket, _) in &mut *into {
                // The bucket that contains it has half its number, rounded up.
                *bucket = (*bucket + 1) >> 1;
            }
            into.dedup_by(|next, bucket| {
                let same = next.0 == bucket.0;
                if same {
                    bucket.1 += next.1;
                }
                same
            });
        }
        schema
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_consecutive_and_end_at_their_upper_bound() {
        assert_eq!(index(1), 0);
        assert_eq!(index(u64::MAX), INDICES - 1);
        assert_eq!(index(1_000_000_000), ONE_SECOND as usize);
        for octave in 0..64 {
            for index in 8 * octave..8 * octave + 8 {
                let upper = upper_bound(index);
                // Octaves of few nanoseconds contain empty buckets.
                if upper > 64 {
                    assert_eq!(super::index(upper), index);
                    assert_eq!(super::index(upper + 1), index + 1);
                }
            }
        }
    }

    #[test]
    fn powers_of_two_seconds_are_exact_bounds() {
        for exponent in -9..=33 {
            let bound = match exponent {
                0.. => 1_000_000_000u64 << exponent,
                _ => 1_000_000_000 >> -exponent,
            };
            let bucket = |nanoseconds| index(nanoseconds) as i32 - ONE_SECOND;
            assert_eq!(bucket(bound), 8 * exponent);
            assert_eq!(bucket(bound + 1), 8 * exponent + 1);
        }
    }

    #[test]
    fn every_octave_of_nanoseconds_fits_at_a_lower_resolution() {
        let populated: Vec<_> = (0..INDICES as u16).map(|index| (index, 1)).collect();
        let mut buckets = Vec::new();
        let native = NativeBuckets {
            zero_count: 0,
            populated: &populated,
        };
        assert_eq!(native.reduced(&mut buckets), 1);
        assert!(buckets.len() <= MAX_BUCKETS);
        let total: u64 = buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(total, INDICES as u64);
    }

    #[test]
    fn the_memory_of_native_cells_is_as_documented() {
        assert_eq!(size_of::<NativeCells>(), 144);
        assert_eq!(size_of::<Group>(), 128);
        assert_eq!(size_of::<Line>(), 64);
        assert_eq!(144 + OCTAVES.div_ceil(8) * 128 + OCTAVES * 64, 5_456);
    }
}
