//! Selection of the values that are kept of a series.

use super::sample::Sample;
use crate::selector::Part;

/// Parts of a family's series that expressions use.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) current: Vec<Part>,
    pub(super) window: Vec<Part>,
    pub(super) history: Vec<Part>,
}

/// Selection of the values that are kept of a series. The values of a histogram are its
/// cumulative buckets, its count and its sum; other series have one.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) bounds: Vec<f64>,
    /// Indices of the kept values, ascending.
    pub(super) kept: Vec<usize>,
    /// Positions in `kept`, ascending.
    pub(super) window: Vec<usize>,
    pub(super) history: Vec<usize>,
}

impl Layout {
    pub(super) fn new(wanted: &Wanted, sample: &Sample<'_>) -> Self {
        let mut layout = Self {
            bounds: sample.bounds().to_vec(),
            ..Self::default()
        };
        let indices = |parts: &[Part]| -> Vec<usize> {
            let mut indices = Vec::new();
            for part in parts {
                match part {
                    Part::Value if sample.is_histogram() => {
                        indices.extend(0..=layout.bounds.len());
                    }
                    part => indices.extend(layout.index(*part)),
                }
            }
            indices.sort_unstable();
            indices.dedup();
            indices
        };
        let (window, history) = (indices(&wanted.window), indices(&wanted.history));
        let mut kept = [indices(&wanted.current), window.clone(), history.clone()].concat();
        // The count of a histogram reveals its resets.
        kept.push(layout.bounds.len());
        kept.sort_unstable();
        kept.dedup();
        let positions = |indices: Vec<usize>| {
            let position = |index| kept.binary_search(&index).ok();
            indices.into_iter().filter_map(position).collect()
        };
        layout.window = positions(window);
        layout.history = positions(history);
        layout.kept = kept;
        layout
    }

    /// Returns the index of a part among all values of a series.
    fn index(&self, part: Part) -> Option<usize> {
        match part {
            Part::Value => Some(0),
            Part::Count => Some(self.bounds.len()),
            Part::Sum => Some(self.bounds.len() + 1),
            Part::Bucket(bound) => self.bounds.iter().position(|known| *known == bound),
        }
    }

    pub(super) fn position(&self, part: Part) -> Option<usize> {
        self.kept.binary_search(&self.index(part)?).ok()
    }
}
