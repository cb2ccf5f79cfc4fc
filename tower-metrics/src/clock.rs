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

pub(crate) use self::reading::Instant;

#[cfg(all(target_os = "linux", not(feature = "quanta")))]
mod reading {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    const NANOS_PER_SECOND: i64 = 1_000_000_000;

    /// Reading of a process-wide monotonic clock.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Instant(Timespec);

    impl Instant {
        #[inline(always)]
        pub(crate) fn now() -> Self {
            Self(clock_gettime(ClockId::Monotonic))
        }

        /// Returns the duration from an earlier instant to this one.
        #[inline(always)]
        pub(crate) fn since(self, earlier: Self) -> Duration {
            let mut seconds = self.0.tv_sec - earlier.0.tv_sec;
            let mut nanos = self.0.tv_nsec - earlier.0.tv_nsec;
            if nanos < 0 {
                nanos += NANOS_PER_SECOND;
                seconds -= 1;
            }
            // The clock is monotonic.
            Duration::new(seconds as u64, nanos as u32)
        }

        /// Returns the time in units of 2^-10 s, the last of which in a second are
        /// missing: a shift is cheaper than a division.
        #[inline(always)]
        pub(crate) fn ticks(self) -> u64 {
            (self.0.tv_sec << 10 | self.0.tv_nsec >> 20) as u64
        }

        /// Returns the nanoseconds since an arbitrary time, for
        /// [`unix_nanoseconds`](Self::unix_nanoseconds).
        #[cfg(feature = "prometheus")]
        #[inline]
        pub(super) fn nanoseconds(self) -> u64 {
            self.0.tv_sec as u64 * NANOS_PER_SECOND as u64 + self.0.tv_nsec as u64
        }

        #[cfg(test)]
        pub(super) fn later(self, by: Duration) -> Self {
            let nanos = self.0.tv_nsec + i64::from(by.subsec_nanos());
            Self(Timespec {
                tv_sec: self.0.tv_sec + by.as_secs() as i64 + nanos / NANOS_PER_SECOND,
                tv_nsec: nanos % NANOS_PER_SECOND,
            })
        }
    }
}

#[cfg(any(feature = "quanta", not(target_os = "linux")))]
mod reading {
    use std::sync::OnceLock;
    use std::time::Duration;

    #[cfg(feature = "quanta")]
    type Reading = quanta::Instant;
    #[cfg(not(feature = "quanta"))]
    type Reading = std::time::Instant;

    /// Reading of a process-wide monotonic clock.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Instant(Reading);

    /// `quanta::Instant::now` looks up an override in thread-local storage, which is
    /// already destroyed when a request ends during thread shutdown.
    #[cfg(feature = "quanta")]
    #[inline]
    fn read() -> Reading {
        static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
        CLOCK.get_or_init(quanta::Clock::new).now()
    }

    #[cfg(not(feature = "quanta"))]
    #[inline]
    fn read() -> Reading {
        Reading::now()
    }

    impl Instant {
        #[inline]
        pub(crate) fn now() -> Self {
            Self(read())
        }

        /// Returns the duration from an earlier instant to this one.
        #[inline]
        pub(crate) fn since(self, earlier: Self) -> Duration {
            self.0.saturating_duration_since(earlier.0)
        }

        /// Returns the time since the first call in units of 2^-10 s, the last of which
        /// in a second are missing: a shift is cheaper than a division.
        #[inline]
        pub(crate) fn ticks(self) -> u64 {
            let since = self.since_first();
            since.as_secs() << 10 | u64::from(since.subsec_nanos() >> 20)
        }

        /// Returns the nanoseconds since an arbitrary time, for
        /// [`unix_nanoseconds`](Self::unix_nanoseconds).
        #[cfg(feature = "prometheus")]
        pub(super) fn nanoseconds(self) -> u64 {
            self.since_first().as_nanos() as u64
        }

        #[inline]
        fn since_first(self) -> Duration {
            static FIRST: OnceLock<Reading> = OnceLock::new();
            let first = FIRST.get_or_init(|| self.0);
            self.0.saturating_duration_since(*first)
        }

        #[cfg(test)]
        pub(super) fn later(self, by: Duration) -> Self {
            Self(self.0 + by)
        }
    }
}

impl Instant {
    /// Returns the duration from this instant until now.
    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

/// System time minus [`Instant::nanoseconds`], in nanoseconds.
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
        let offset = (system.as_nanos() as u64).wrapping_sub(after.nanoseconds());
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
        self.nanoseconds().wrapping_add(offset)
    }
}

/// Returns the duration of [`ticks`](Instant::ticks), rounded down to a tick.
pub(crate) fn ticks_duration(ticks: u64) -> Duration {
    Duration::new(ticks >> 10, ((ticks & 1023) as u32) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_milliseconds_at_most_five_percent_longer() {
        let first = Instant::now();
        let start = first.ticks();
        for milliseconds in [0, 1, 2, 999, 1000, 1001, 86_400_000] {
            let duration = Duration::from_millis(milliseconds);
            let later = first.later(duration).ticks();
            let measured = ticks_duration(later) - ticks_duration(start);
            let error = measured.abs_diff(duration);
            assert!(
                error < Duration::from_micros(1_100),
                "{duration:?}: {error:?}"
            );
        }
    }
}
