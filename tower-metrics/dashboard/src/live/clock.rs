//! Wall-clock timestamps for samples that are ordered by the monotonic clock.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Difference between the two clocks, in seconds, that counts as a step. Slewing
/// stays below it between two readings, and so does the time between reading
/// one clock and the other.
const STEP: f64 = 0.5;
const MAX_SEGMENTS: usize = 16;

/// Both clocks, read at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timestamp {
    /// Seconds of the monotonic clock since an arbitrary start.
    pub(super) steady: f64,
    /// Unix seconds.
    pub(super) wall: f64,
}

/// Maps monotonic time to Unix time across steps of the wall clock.
///
/// If the wall clock steps forward, earlier samples keep their timestamps. If it
/// steps back, earlier samples that would now lie in the future move back with
/// it, so that timestamps always increase.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Start in monotonic time, and wall time minus monotonic time from there
    /// on. Both increase.
    segments: VecDeque<(f64, f64)>,
    steps: u64,
}

impl Timestamp {
    /// Reads both clocks.
    pub(super) fn now(start: Instant) -> Self {
        let wall = SystemTime::now();
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            steady: start.elapsed().as_secs_f64(),
            wall: wall.as_secs_f64(),
        }
    }
}

impl WallClock {
    /// Compares the clocks. Returns whether the wall clock has stepped since
    /// the previous call.
    pub(super) fn observe(&mut self, now: Timestamp) -> bool {
        let offset = now.wall - now.steady;
        let Some(&(_, known)) = self.segments.back() else {
            self.segments.push_back((f64::NEG_INFINITY, offset));
            return false;
        };
        if (offset - known).abs() < STEP {
            return false;
        }
        self.steps += 1;
        if offset > known {
            self.segments.push_back((now.steady, offset));
            if self.segments.len() > MAX_SEGMENTS {
                self.segments.pop_front();
            }
        } else {
            for (_, earlier) in &mut self.segments {
                *earlier = earlier.min(offset);
            }
        }
        true
    }

    /// Number of steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the Unix time of a moment in monotonic time, in milliseconds'
    /// precision.
    pub(super) fn wall(&self, steady: f64) -> f64 {
        let after = self.segments.partition_point(|(start, _)| *start <= steady);
        let segment = self.segments.get(after.saturating_sub(1));
        let offset = segment.map_or(0.0, |(_, offset)| *offset);
        ((steady + offset) * 1e3).round() / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(clock: &mut WallClock, steady: f64, wall: f64) -> bool {
        clock.observe(Timestamp { steady, wall })
    }

    #[test]
    fn timestamps_keep_their_order_across_steps_in_both_directions() {
        let mut clock = WallClock::default();
        assert!(!observe(&mut clock, 0.0, 1000.0));
        assert!(!observe(&mut clock, 10.0, 1010.1));
        assert!(observe(&mut clock, 20.0, 1620.0));
        assert_eq!([10.0, 20.0].map(|at| clock.wall(at)), [1010.0, 1620.0]);
        // The same distance back: the samples before the first step were right.
        assert!(observe(&mut clock, 30.0, 1030.0));
        let wall = [10.0, 20.0, 30.0].map(|at| clock.wall(at));
        assert_eq!(wall, [1010.0, 1020.0, 1030.0]);
        assert!(observe(&mut clock, 40.0, 440.0));
        let wall = [10.0, 20.0, 30.0, 40.0].map(|at| clock.wall(at));
        assert_eq!(wall, [410.0, 420.0, 430.0, 440.0]);
        assert_eq!(clock.steps(), 3);
    }

    #[test]
    fn a_clock_that_steps_repeatedly_uses_bounded_memory() {
        let mut clock = WallClock::default();
        for second in 0..1_000 {
            observe(&mut clock, f64::from(second), f64::from(second) * 100.0);
        }
        assert_eq!(clock.segments.len(), MAX_SEGMENTS);
    }
}
