//! Rate limit for log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Allows one log line per ten seconds and counts the events in between.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    events: u64,
}

const INTERVAL: Duration = Duration::from_secs(10);

impl LogLimit {
    /// Counts an event. Returns the number of events since the last line, this one
    /// included, if a line may be written now.
    pub(super) fn check(&self) -> Option<u64> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        if state.last.is_some_and(|last| now < last + INTERVAL) {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_line_counts_the_events_since_the_first() {
        let limit = LogLimit::default();
        let start = Instant::now();
        assert_eq!(limit.check_at(start), Some(1));
        for _ in 0..9 {
            assert_eq!(limit.check_at(start + INTERVAL / 2), None);
        }
        assert_eq!(limit.check_at(start + INTERVAL), Some(10));
    }
}
