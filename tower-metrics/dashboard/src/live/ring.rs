//! Earlier values of a series within a window of time.

use std::collections::VecDeque;

/// Monotonic times of the snapshots within a window.
#[derive(Debug)]
pub(super) struct Times {
    times: VecDeque<f64>,
    window: f64,
    step: f64,
}

/// Earlier totals, aligned with the end of the [`Times`] of its window.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) values: VecDeque<f64>,
    entries: usize,
    /// True if the series was zero before the first entry, because it appeared
    /// after the first snapshot.
    from_zero: bool,
}

impl Times {
    pub(super) fn new(window: f64, step: f64) -> Self {
        Self {
            times: VecDeque::new(),
            window,
            step,
        }
    }

    /// Returns the maximum number of snapshots, of which the first one precedes
    /// the window.
    fn max_entries(&self) -> usize {
        (self.window / self.step.max(1.0)) as usize + 3
    }

    /// Adds a snapshot if one is due.
    pub(super) fn push(&mut self, now: f64) -> bool {
        // Timers may fire slightly early.
        let last = self.times.back();
        let due = last.is_none_or(|last| now - last >= self.step - 0.5);
        if due {
            self.times.push_back(now);
            while self.times.len() > 2 && now - self.times[1] >= self.window {
                self.times.pop_front();
            }
        }
        due
    }
}

impl Ring {
    pub(super) fn new(from_zero: bool) -> Self {
        Self {
            values: VecDeque::new(),
            entries: 0,
            from_zero,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(false);
    }

    pub(super) fn push(&mut self, columns: &[usize], totals: &[f64], times: &Times) {
        if self.values.capacity() == 0 {
            self.values
                .reserve_exact(times.max_entries() * columns.len());
        }
        self.values
            .extend(columns.iter().map(|column| totals[*column]));
        self.entries += 1;
        while self.entries > times.times.len() {
            self.values.drain(..columns.len());
            self.entries -= 1;
        }
        self.from_zero &= self.entries < times.times.len();
    }

    /// Returns the seconds between the start of the window and the latest
    /// snapshot. `None` before the second one.
    pub(super) fn elapsed(&self, times: &Times) -> Option<f64> {
        let times = &times.times;
        let first = if self.from_zero {
            0
        } else {
            times.len().saturating_sub(self.entries)
        };
        let (first, last) = (times.get(first)?, times.back()?);
        (last > first).then_some(last - first)
    }

    /// Returns the value of a column in the snapshot before the latest one.
    pub(super) fn previous(&self, column: usize, columns: usize) -> Option<f64> {
        let entry = self.entries.checked_sub(2)?;
        self.values.get(entry * columns + column).copied()
    }

    /// Returns the value at the start of the window.
    pub(super) fn first(&self, column: usize) -> f64 {
        if self.from_zero {
            0.0
        } else {
            self.values.get(column).copied().unwrap_or(f64::NAN)
        }
    }
}
