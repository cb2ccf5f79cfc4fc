//! Clock of the hot path.
//!
//! The two clock reads are about half of the cost of a request. `std::time::Instant`
//! hides its reading, so that a subtraction is the only way to get a number, and
//! its functions are not inlined. On Linux, rustix returns the reading of the same clock.
//! With the feature `quanta`, it comes from the processor's time stamp counter.

use std::time::Duration;
#[cfg(feature = "prometheus")]
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use self::reading::nanoseconds;

#[cfg(all(target_os = "linux", not(feature = "quanta")))]
mod reading {
    use rustix::time::{ClockId, clock_gettime};

    #[inline(always)]
    pub(super) fn nanoseconds() -> u64 {
        let time = clock_gettime(ClockId::Monotonic);
        // Neither is negative, and the sum overflows 584 years after the boot.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(feature = "quanta")]
mod reading {
    use std::sync::OnceLock;

    /// `quanta::Instant::now` looks up an override in thread-local storage, which is
    /// already destroyed when a request ends during thread shutdown.
    #[inline]
    pub(super) fn nanoseconds() -> u64 {
        static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
        let clock = CLOCK.get_or_init(quanta::Clock::new);
        clock.delta_as_nanos(0, clock.raw())
    }
}

#[cfg(not(any(target_os = "linux", feature = "quanta")))]
mod reading {
    use std::sync::OnceLock;
    use std::time::Instant;

    #[inline]
    pub(super) fn nanoseconds() -> u64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let now = Instant::now();
        let first = FIRST.get_or_init(|| now);
        now.saturating_duration_since(*first).as_nanos() as u64
    }
}

/// Reading of a process-wide monotonic clock. One number, so that a duration is one
/// subtraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    /// Nanoseconds since an arbitrary time.
    nanoseconds: u64,
}

impl Instant {
    #[inline(always)]
    pub(crate) fn now() -> Self {
        let nanoseconds = nanoseconds();
        Self { nanoseconds }
    }

    /// Returns the duration from an earlier instant to this one.
    #[inline(always)]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        match self.nanoseconds.saturating_sub(earlier.nanoseconds) {
            // This arm avoids a division, for which everything that follows would wait.
            nanoseconds @ 0..1_000_000_000 => Duration::new(0, nanoseconds as u32),
            nanoseconds => Duration::from_nanos(nanoseconds),
        }
    }

    /// Returns the duration from this instant until now.
    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Returns the time in units of 2^20 ns: a shift is cheaper than a division.
    #[inline(always)]
    pub(crate) fn ticks(self) -> u64 {
        self.nanoseconds >> TICK_BITS
    }
}

/// Bits of a reading that are less than a tick.
const TICK_BITS: u32 = 20;

/// Returns the duration of [`ticks`](Instant::ticks).
pub(crate) fn ticks_duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks << TICK_BITS)
}

/// System time minus the reading of the clock, in nanoseconds.
#[cfg(feature = "prometheus")]
static SYSTEM_OFFSET: AtomicU64 = AtomicU64::new(0);

/// Updates the offset from which [`Instant::unix_nanoseconds`] derives the system time,
/// which spares each request the reading of a second clock. Every scrape calls it, so that
/// it follows adjustments of the system time.
#[cfg(feature = "prometheus")]
pub(crate) fn synchronize() {
    for _ in 0..3 {
        let before = Instant::now();
        let system = SystemTime::now();
        let after = Instant::now();
        let system = system.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Of the two, `after` is the one that yields no time in the future.
        let offset = (system.as_nanos() as u64).wrapping_sub(after.nanoseconds);
        SYSTEM_OFFSET.store(offset, Ordering::Relaxed);
        // A thread that is preempted in between tries again.
        if after.since(before) < Duration::from_micros(50) {
            return;
        }
    }
}

#[cfg(feature = "prometheus")]
impl Instant {
    /// Returns the nanoseconds since the Unix epoch, as of the last [`synchronize`].
    #[inline]
    pub(crate) fn unix_nanoseconds(self) -> u64 {
        let offset = SYSTEM_OFFSET.load(Ordering::Relaxed);
        self.nanoseconds.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_about_a_millisecond() {
        let first = Instant::now();
        let start = first.ticks();
        for milliseconds in [0, 1, 2, 999, 1000, 1001, 86_400_000] {
            let duration = Duration::from_millis(milliseconds);
            let later = Instant {
                nanoseconds: first.nanoseconds + milliseconds * 1_000_000,
            };
            assert_eq!(later.since(first), duration);
            let measured = ticks_duration(later.ticks()) - ticks_duration(start);
            let error = measured.abs_diff(duration);
            assert!(
                error < Duration::from_micros(1_100),
                "{duration:?}: {error:?}"
            );
        }
    }
}
