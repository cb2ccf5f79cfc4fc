//! What is marked on every chart: where a control was changed, where a counter began to move.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::eval::Eval;
use super::series::Labels;
use crate::dashboard::{Annotation, Event};
use crate::expr::Aggregation;

const MOST: usize = 40;
/// A counter has stood still, or has stopped, after so many seconds without a rise.
const STILL: f64 = 20.0;
/// A counter that begins to move so soon after a control was changed is explained by it.
const EXPLAINED: f64 = 15.0;

/// A mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mark {
    /// When it began, in Unix seconds.
    pub(super) at: f64,
    /// When it ended.
    pub(super) end: Option<f64>,
    pub(super) title: String,
    /// Whether what it names goes on until its end, or was a moment.
    pub(super) lasts: bool,
    #[serde(skip)]
    key: String,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    controls: BTreeMap<String, String>,
    moved: BTreeMap<(usize, Labels), f64>,
    changed: Option<f64>,
    first: Option<f64>,
}

impl Marks {
    /// The marks that are still of use to a page that shows from `since` on.
    pub(super) fn since(&self, since: f64) -> Vec<Mark> {
        let of_use = |mark: &&Mark| mark.end.unwrap_or(f64::INFINITY) >= since || mark.at >= since;
        self.marks.iter().filter(of_use).cloned().collect()
    }

    /// Looks at a control: `value` is in force, and its rest where that is another.
    pub(super) fn control(&mut self, now: f64, id: &str, value: &str, rest: Option<&str>) {
        let before = self.controls.insert(id.to_owned(), value.to_owned());
        if before.as_deref().is_some_and(|before| before != value) {
            self.end(now, id);
            self.changed = Some(now);
            self.begin(now, id, value, rest.is_some_and(|rest| rest != value));
        }
    }

    /// Looks at what an annotation watches: marks where it begins after it was still.
    pub(super) fn annotation(&mut self, eval: &Eval<'_>, index: usize, annotation: &Annotation) {
        let first = *self.first.get_or_insert(eval.now);
        let watched = match annotation.event.clone() {
            Event::CounterStarts(counter) => counter.rate(),
            Event::GaugeBecomesPositive(gauge) => gauge.value(),
        };
        let watched = watched.aggregate(Aggregation::Sum, annotation.by.clone());
        for (labels, value) in eval.samples(&watched) {
            let names: Vec<&str> = labels.iter().map(|(_, value)| value.as_str()).collect();
            let title = [&[annotation.title.as_str()], names.as_slice()]
                .concat()
                .join(" ");
            let moved = self
                .moved
                .entry((index, labels))
                .or_insert(f64::NEG_INFINITY);
            if value > 0.0 {
                let stood = eval.now - *moved > STILL;
                *moved = eval.now;
                let explained = self.changed.is_some_and(|at| eval.now - at < EXPLAINED);
                // What moves from the first seconds on has not begun while we looked.
                if stood && !explained && eval.now - first > STILL {
                    self.begin(eval.now, &title, &title, true);
                }
            } else if eval.now - *moved > STILL {
                let ended = *moved;
                self.end(ended, &title);
            }
        }
    }

    fn begin(&mut self, at: f64, key: &str, title: &str, lasts: bool) {
        self.marks.push_back(Mark {
            at,
            end: None,
            title: title.to_owned(),
            lasts,
            key: key.to_owned(),
        });
        while self.marks.len() > MOST {
            self.marks.pop_front();
        }
    }

    fn end(&mut self, at: f64, key: &str) {
        let open = |mark: &&mut Mark| mark.key == key && mark.end.is_none();
        if let Some(mark) = self.marks.iter_mut().find(open) {
            mark.end = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_marked_until_the_next() {
        let mut marks = Marks::default();
        for (now, value) in [(1.0, "calm"), (2.0, "calm"), (3.0, "outage"), (9.0, "calm")] {
            marks.control(now, "faults", value, Some("calm"));
        }
        let seen: Vec<_> = marks
            .since(0.0)
            .into_iter()
            .map(|mark| (mark.at, mark.end, mark.title, mark.lasts))
            .collect();
        let outage = (3.0, Some(9.0), "outage".to_owned(), true);
        assert_eq!(seen, [outage, (9.0, None, "calm".to_owned(), false)]);
    }
}
