//! Rate limit for log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Allows a number of log lines per interval and counts the events in between.
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    start: Option<Instant>,
    lines: u32,
    events: u64,
}

impl Default for RateLimit {
    /// One line per ten seconds.
    fn default() -> Self {
        Self::new(1, Duration::from_secs(10))
    }
}

impl RateLimit {
    /// Allows `burst` lines per `interval`.
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            state: Mutex::default(),
        }
    }

    /// Counts an event. Returns the number of events since the last line, this one included, when a
    /// line may be written now.
    pub(crate) fn check(&self) -> Option<u64> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        if state.start.is_none_or(|start| now >= start + self.interval) {
            state.start = Some(now);
            state.lines = 0;
        }
        if state.lines == self.burst {
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_line_counts_the_events_since_the_first() {
        let interval = Duration::from_secs(10);
        let limit = RateLimit::new(1, interval);
        let start = Instant::now();
        assert_eq!(limit.check_at(start), Some(1));
        for _ in 0..999 {
            assert_eq!(limit.check_at(start + interval / 2), None);
        }
        assert_eq!(limit.check_at(start + interval), Some(1_000));
        assert_eq!(limit.check_at(start + interval), None);
    }

    #[test]
    fn a_burst_is_allowed_in_each_interval() {
        let limit = RateLimit::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let allowed = |at| {
            (0..10)
                .filter_map(|_| limit.check_at(at))
                .collect::<Vec<_>>()
        };
        assert_eq!(allowed(start), [1, 1, 1]);
        assert_eq!(allowed(start + Duration::from_secs(1)), [8, 1, 1]);
    }
}
