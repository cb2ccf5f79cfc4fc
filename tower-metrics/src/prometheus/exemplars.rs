//! Latest exemplar of each duration bucket, as recorded by one thread.
//!
//! Each is a sequence lock with a single writer, which never waits and runs no locked
//! instruction: it makes the version odd, writes the exemplar, and makes the version even
//! again. A reader that finds the same even version before and after its reading has read
//! one exemplar, and not parts of two.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sync::atomic::{AtomicU64, Ordering, fence};
use crate::clock::{self, Instant};
use crate::trace_id::TraceId;

/// Reference to the trace of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: TraceId,
    pub(crate) nanoseconds: u64,
    pub(crate) at: SystemTime,
}

/// Latest exemplar of each bucket of a histogram.
#[derive(Debug)]
pub(crate) struct Exemplars(Box<[Slot]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    /// 0 if there is no exemplar, and odd while one is written.
    version: AtomicU64,
    /// The trace ID, the duration, and the time since the Unix epoch in nanoseconds.
    words: [AtomicU64; 4],
}

impl Exemplars {
    pub(crate) fn new(buckets: usize) -> Self {
        clock::synchronize();
        Self((0..buckets).map(|_| Slot::default()).collect())
    }

    /// Replaces the exemplar of a bucket.
    #[inline]
    pub(crate) fn record(
        &self,
        bucket: usize,
        trace_id: TraceId,
        nanoseconds: u64,
        ended: Instant,
    ) {
        let id = trace_id.get();
        let words = [
            (id >> 64) as u64,
            id as u64,
            nanoseconds,
            ended.unix_nanoseconds(),
        ];
        self.0[bucket].write(words);
    }

    /// Returns the exemplar of a bucket.
    pub(crate) fn get(&self, bucket: usize) -> Option<Exemplar> {
        let [high, low, nanoseconds, at] = self.0[bucket].read()?;
        Some(Exemplar {
            trace_id: TraceId::new(u128::from(high) << 64 | u128::from(low))?,
            nanoseconds,
            at: UNIX_EPOCH + Duration::from_nanos(at),
        })
    }
}

impl Slot {
    #[inline]
    fn write(&self, words: [u64; 4]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Pairs with the fence in `read`: a reader that sees one of the following words
        // sees the odd version in its second load.
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        // Pairs with the first load in `read`, which sees these words.
        self.version.store(version + 2, Ordering::Release);
    }

    /// Returns the words of one exemplar. Returns `None` if there is none, or if it was
    /// being written in all attempts because the writer was preempted.
    fn read(&self) -> Option<[u64; 4]> {
        const ATTEMPTS: usize = if cfg!(loom) { 2 } else { 100 };
        for _ in 0..ATTEMPTS {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let words = self
                .words
                .each_ref()
                .map(|word| word.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return Some(words);
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features --features prometheus loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn a_reader_never_sees_parts_of_two_exemplars() {
        loom::model(|| {
            let slot: &Slot = Box::leak(Box::default());
            let writer = thread::spawn(move || {
                for number in 1..=2 {
                    slot.write([number; 4]);
                }
            });
            if let Some(words) = slot.read() {
                assert!(words[0] > 0 && words == [words[0]; 4], "{words:?}");
            }
            writer.join().unwrap();
            assert_eq!(slot.read(), Some([2; 4]));
        });
    }
}
