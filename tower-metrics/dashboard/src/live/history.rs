//! Bounded ring of the values that every panel has shown.

use std::collections::{BTreeMap, VecDeque};

/// Maximum number of lines of a panel. Of new lines beyond it, the smallest are dropped.
pub(super) const MAX_LINES: usize = 40;

/// Times of the ring in seconds of the monotonic clock, and for each panel the
/// values at these times.
#[derive(Debug)]
pub(super) struct History {
    capacity: usize,
    pub(super) times: VecDeque<f64>,
    pub(super) panels: Vec<Tracks>,
}

/// Values of one panel. Every queue is as long as the times.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    pub(super) lines: BTreeMap<String, VecDeque<f64>>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: VecDeque<Option<Vec<f64>>>,
}

/// Current values of one panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Current {
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

    /// Adds the values of all panels at `time`. Removes lines from `current` that
    /// exceed [`MAX_LINES`].
    pub(super) fn push(&mut self, time: f64, current: &mut [Current]) {
        self.drop_oldest();
        let before = self.times.len();
        for (tracks, current) in self.panels.iter_mut().zip(current) {
            tracks.push(before, self.capacity, current);
        }
        self.times.push_back(time);
    }

    /// Adds a moment without values, which interrupts every line.
    pub(super) fn push_gap(&mut self, time: f64) {
        self.drop_oldest();
        for tracks in &mut self.panels {
            let lines = tracks.lines.values_mut();
            lines.for_each(|values| values.push_back(f64::NAN));
            tracks.counts.push_back(None);
        }
        self.times.push_back(time);
    }

    fn drop_oldest(&mut self) {
        if self.times.len() == self.capacity {
            self.times.pop_front();
            self.panels.iter_mut().for_each(Tracks::drop_oldest);
        }
    }
}

impl Tracks {
    fn drop_oldest(&mut self) {
        self.counts.pop_front();
        self.lines.retain(|_, values| {
            values.pop_front();
            values.iter().any(|value| value.is_finite())
        });
    }

    fn push(&mut self, before: usize, capacity: usize, current: &mut Current) {
        self.admit(before, capacity, current);
        for (name, values) in &mut self.lines {
            values.push_back(current.lines.get(name).copied().unwrap_or(f64::NAN));
        }
        if current.counts.is_some() && current.bounds != self.bounds {
            // Rows with different bounds are not comparable.
            self.counts.iter_mut().for_each(|counts| *counts = None);
            self.bounds.clone_from(&current.bounds);
        }
        self.counts.push_back(current.counts.clone());
    }

    fn admit(&mut self, before: usize, capacity: usize, current: &mut Current) {
        let new = current
            .lines
            .iter()
            .filter(|(name, _)| !self.lines.contains_key(*name));
        let mut new: Vec<(String, f64)> = new.map(|(name, value)| (name.clone(), *value)).collect();
        new.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        for (name, _) in new {
            if self.lines.len() < MAX_LINES {
                let mut values = VecDeque::with_capacity(capacity);
                values.resize(before, f64::NAN);
                self.lines.insert(name, values);
            } else {
                current.lines.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn current(names: &[u8]) -> Current {
        Current {
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
        fn the_ring_is_bounded_and_all_queues_have_the_same_length(
            capacity in 1_usize..40,
            moments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..120),
        ) {
            let mut history = History::new(capacity, 1);
            for (time, names) in moments.iter().enumerate() {
                let mut now = [current(names)];
                if names.len() % 7 == 6 {
                    history.push_gap(time as f64);
                    now = [Current::default()];
                } else {
                    history.push(time as f64, &mut now);
                }
                let tracks = &history.panels[0];
                prop_assert!(history.times.len() == capacity.min(time + 1));
                prop_assert!(tracks.lines.len() <= MAX_LINES);
                prop_assert!(tracks.counts.len() == history.times.len());
                for (name, values) in &tracks.lines {
                    prop_assert_eq!(values.len(), history.times.len());
                    let last = values.back().copied().filter(|value| value.is_finite());
                    prop_assert_eq!(last, now[0].lines.get(name).copied());
                }
            }
        }
    }
}
