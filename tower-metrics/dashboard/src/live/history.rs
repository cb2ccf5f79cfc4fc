//! The bounded ring of what every panel has shown.

use std::collections::{BTreeMap, VecDeque};

/// Lines that a panel keeps; more are left out, the largest first in.
pub(super) const MOST_LINES: usize = 40;

/// The times of the ring and, for each panel, its tracks: every track is as long as the times.
#[derive(Debug)]
pub(super) struct History {
    capacity: usize,
    pub(super) times: VecDeque<f64>,
    pub(super) panels: Vec<Tracks>,
}

/// What one panel has shown.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    pub(super) lines: BTreeMap<String, VecDeque<f64>>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: VecDeque<Option<Vec<f64>>>,
}

/// What one panel shows now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown {
    pub(super) lines: BTreeMap<String, f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Option<Vec<f64>>,
}

impl History {
    pub(super) fn new(capacity: usize, panels: usize) -> Self {
        Self {
            capacity,
            times: VecDeque::with_capacity(capacity),
            panels: std::iter::repeat_with(Tracks::default)
                .take(panels)
                .collect(),
        }
    }

    /// Adds a moment. `shown` is by panel; lines that a full panel has no room for are taken out
    /// of it. A moment before the last one (the system's clock was set back) begins anew.
    pub(super) fn push(&mut self, time: f64, shown: &mut [Shown]) {
        if self.times.back().is_some_and(|last| time <= *last) {
            *self = Self::new(self.capacity, self.panels.len());
        }
        if self.times.len() == self.capacity {
            self.times.pop_front();
            self.panels.iter_mut().for_each(Tracks::forget);
        }
        let before = self.times.len();
        for (tracks, shown) in self.panels.iter_mut().zip(shown) {
            tracks.push(before, self.capacity, shown);
        }
        self.times.push_back(time);
    }
}

impl Tracks {
    fn forget(&mut self) {
        self.counts.pop_front();
        self.lines.retain(|_, values| {
            values.pop_front();
            values.iter().any(|value| value.is_finite())
        });
    }

    fn push(&mut self, before: usize, capacity: usize, shown: &mut Shown) {
        self.admit(before, capacity, shown);
        for (name, values) in &mut self.lines {
            values.push_back(shown.lines.get(name).copied().unwrap_or(f64::NAN));
        }
        if shown.counts.is_some() && shown.bounds != self.bounds {
            // Rows of other bounds cannot stand beside these.
            self.counts.iter_mut().for_each(|counts| *counts = None);
            self.bounds.clone_from(&shown.bounds);
        }
        self.counts.push_back(shown.counts.clone());
    }

    fn admit(&mut self, before: usize, capacity: usize, shown: &mut Shown) {
        let new = shown
            .lines
            .iter()
            .filter(|(name, _)| !self.lines.contains_key(*name));
        let mut new: Vec<(String, f64)> = new.map(|(name, value)| (name.clone(), *value)).collect();
        new.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        for (name, _) in new {
            if self.lines.len() < MOST_LINES {
                let mut values = VecDeque::with_capacity(capacity);
                values.resize(before, f64::NAN);
                self.lines.insert(name, values);
            } else {
                shown.lines.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(names: &[u8]) -> Shown {
        Shown {
            lines: names
                .iter()
                .map(|name| (format!("line {name}"), f64::from(*name)))
                .collect(),
            bounds: vec![0.1],
            counts: (!names.is_empty()).then(|| vec![1.0, 2.0]),
        }
    }

    proptest! {
        #[test]
        fn the_ring_is_bounded_and_every_track_as_long_as_the_times(
            capacity in 1_usize..40,
            moments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..120),
        ) {
            let mut history = History::new(capacity, 1);
            for (time, names) in moments.iter().enumerate() {
                let mut now = [shown(names)];
                history.push(time as f64, &mut now);
                let tracks = &history.panels[0];
                prop_assert!(history.times.len() == capacity.min(time + 1));
                prop_assert!(tracks.lines.len() <= MOST_LINES);
                prop_assert!(tracks.counts.len() == history.times.len());
                for (name, values) in &tracks.lines {
                    prop_assert_eq!(values.len(), history.times.len());
                    let last = values.back().copied().filter(|value| value.is_finite());
                    prop_assert_eq!(last, now[0].lines.get(name).copied());
                }
            }
        }
    }

    #[test]
    fn a_clock_set_back_begins_anew() {
        let mut history = History::new(10, 1);
        for time in [5.0, 6.0, 2.0] {
            history.push(time, &mut [shown(&[1])]);
        }
        assert_eq!(history.times, [2.0]);
    }
}
