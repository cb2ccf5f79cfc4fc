//! Marks on every chart: changes of controls, and starts of annotated events.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::clock::WallClock;
use super::control::Reading;
use super::eval::Eval;
use super::sample::Labels;
use crate::dashboard::{Annotation, Event};
use crate::expr::Aggregation;

/// Maximum number of marks. The oldest are dropped.
const MAX_MARKS: usize = 40;
/// Maximum number of label sets of annotations. Further ones are not marked.
const MAX_TRACKED: usize = 1_000;
/// Seconds without an increase after which a counter counts as idle.
const IDLE: f64 = 20.0;
/// Seconds after a change of a control in which it explains a counter that starts
/// to increase.
const EXPLAINED: f64 = 15.0;

/// A mark as the page receives it. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct MarkStatus {
    at: f64,
    end: Option<f64>,
    title: String,
    /// True for a period, false for a moment.
    lasts: bool,
}

/// A mark in monotonic time.
#[derive(Debug)]
struct Mark {
    at: f64,
    end: Option<f64>,
    title: String,
    lasts: bool,
    key: String,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    /// Latest state of each control.
    controls: BTreeMap<String, Reading>,
    /// Time of the latest increase of each annotation and label set.
    increased: BTreeMap<(usize, Labels), f64>,
    control_changed: Option<f64>,
    first: Option<f64>,
}

impl Marks {
    /// Returns the marks that are visible in charts that begin at `from`.
    pub(super) fn since(&self, from: f64, clock: &WallClock) -> Vec<MarkStatus> {
        let marks = self.marks.iter();
        let visible = marks.filter(|mark| mark.end.unwrap_or(f64::INFINITY).max(mark.at) >= from);
        let status = visible.map(|mark| MarkStatus {
            at: clock.wall(mark.at),
            end: mark.end.map(|end| clock.wall(end)),
            title: mark.title.clone(),
            lasts: mark.lasts,
        });
        status.collect()
    }

    /// Observes the state of a control, and marks a change to it. A change to a
    /// value other than `default` is a period that lasts until the next change.
    pub(super) fn control(&mut self, now: f64, id: &str, state: &Reading, default: Option<&str>) {
        let before = self.controls.insert(id.to_owned(), state.clone());
        if before.is_some_and(|before| before != *state) {
            self.end(now, id);
            self.control_changed = Some(now);
            let is_period = default.is_some_and(|default| default != state.value);
            self.begin(now, id, &state.to_string(), is_period);
        }
    }

    /// Evaluates an annotation at `now` of the monotonic clock, and marks where
    /// its event begins after a period without it.
    pub(super) fn annotation(
        &mut self,
        now: f64,
        eval: &Eval<'_>,
        index: usize,
        annotation: &Annotation,
    ) {
        let first = *self.first.get_or_insert(now);
        let event = match annotation.event.clone() {
            Event::CounterStarts(counter) => counter.rate(),
            Event::GaugeBecomesPositive(gauge) => gauge.value(),
        };
        let event = event.aggregate(Aggregation::Sum, annotation.by.clone());
        for (labels, value) in eval.samples(&event) {
            let values = labels.iter().map(|(_, value)| &**value);
            let title: Vec<&str> = std::iter::once(annotation.title.as_str())
                .chain(values)
                .collect();
            let title = title.join(" ");
            let full = self.increased.len() >= MAX_TRACKED;
            let key = (index, labels);
            if full && !self.increased.contains_key(&key) {
                continue;
            }
            let increased = self.increased.entry(key).or_insert(f64::NEG_INFINITY);
            if value > 0.0 {
                let was_idle = now - *increased > IDLE;
                *increased = now;
                let changed = self.control_changed;
                let explained = changed.is_some_and(|changed| now - changed < EXPLAINED);
                // An event that is present from the start did not begin while
                // the page was recording.
                if was_idle && !explained && now - first > IDLE {
                    self.begin(now, &title, &title, true);
                }
            } else if now - *increased > IDLE {
                let ended = *increased;
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
        while self.marks.len() > MAX_MARKS {
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
    use super::super::clock::Timestamp;
    use super::*;

    #[test]
    fn a_change_of_a_control_is_marked_until_the_next_one() {
        let mut clock = WallClock::default();
        clock.observe(Timestamp {
            steady: 0.0,
            wall: 100.0,
        });
        let mut marks = Marks::default();
        for (now, value, detail) in [
            (1.0, "calm", None),
            (2.0, "calm", None),
            (3.0, "outage", None),
            (6.0, "outage", Some("2/2")),
            (9.0, "calm", None),
        ] {
            let state = Reading {
                value: value.to_owned(),
                detail: detail.map(str::to_owned),
            };
            marks.control(now, "faults", &state, Some("calm"));
        }
        let mark = |at, end, title: &str, lasts| MarkStatus {
            at,
            end,
            title: title.to_owned(),
            lasts,
        };
        let expected = [
            mark(103.0, Some(106.0), "outage", true),
            mark(106.0, Some(109.0), "outage 2/2", true),
            mark(109.0, None, "calm", false),
        ];
        assert_eq!(marks.since(0.0, &clock), expected);
    }
}
