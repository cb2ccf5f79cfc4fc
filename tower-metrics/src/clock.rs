//! Clock of the hot path.
//!
//! The two clock reads are about half of the cost of a request. With the feature
//! `quanta` they come from the processor's time stamp counter.

use std::sync::OnceLock;
use std::time::Duration;

/// Reading of a process-wide monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(Reading);

#[cfg(not(feature = "quanta"))]
type Reading = std::time::Instant;
#[cfg(feature = "quanta")]
type Reading = quanta::Instant;

#[cfg(not(feature = "quanta"))]
#[inline]
fn read() -> Reading {
    Reading::now()
}

/// `quanta::Instant::now` looks up an override in thread-local storage, which is
/// already destroyed when a request ends during thread shutdown.
#[cfg(feature = "quanta")]
#[inline]
fn read() -> Reading {
    static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
    CLOCK.get_or_init(quanta::Clock::new).now()
}

impl Instant {
    #[inline]
    pub(crate) fn now() -> Self {
        Self(read())
    }

    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        read().saturating_duration_since(self.0)
    }

    /// Returns the time since the first call in units of 2^-10 s, the last of which are
    /// shorter: a shift is cheaper than a division.
    #[inline(always)]
    pub(crate) fn ticks(self) -> u64 {
        static FIRST: OnceLock<Reading> = OnceLock::new();
        let first = FIRST.get_or_init(|| self.0);
        let since = self.0.saturating_duration_since(*first);
        since.as_secs() << 10 | u64::from(since.subsec_nanos() >> 20)
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
            let later = Instant(first.0 + duration).ticks();
            let measured = ticks_duration(later) - ticks_duration(start);
            let error = measured.abs_diff(duration);
            assert!(
                error < Duration::from_micros(1_100),
                "{duration:?}: {error:?}"
            );
        }
    }
}
