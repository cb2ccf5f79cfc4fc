//! Evaluates every panel once a second and keeps the results.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::burn::{Budget, ObjectiveStatus};
use super::check::CheckStatus;
use super::clock::{Timestamp, WallClock};
use super::control::{Control, Reading};
use super::eval::Eval;
use super::history::{Current, History};
use super::marks::{MarkStatus, Marks};
use super::number::Number;
use super::sample::{Labels, label};
use super::source::MetricsSource;
use super::store::Store;
use super::wire::{Now, PanelHistory, PanelNow, Problem, TableRow, absent};
use crate::dashboard::{Annotation, Event};
use crate::expr::Expr;
use crate::panel::{Panel, PanelKind, Series};

/// Maximum number of rows of a table. Rows with the smallest first column are dropped.
const MAX_ROWS: usize = 500;
/// Number of points of the sparkline of a table row, one per second.
pub(super) const SPARK: usize = 120;

/// Everything that the page shows.
#[derive(Debug)]
pub(super) struct Sampler {
    source: MetricsSource,
    panels: Vec<PlannedPanel>,
    annotations: Vec<Annotation>,
    controls: Arc<[Control]>,
    store: Store,
    history: History,
    budgets: Vec<Budget>,
    marks: Marks,
    clock: WallClock,
    latest: Latest,
}

/// A panel and its id.
#[derive(Debug)]
pub(super) struct PlannedPanel {
    pub(super) id: String,
    pub(super) panel: Panel,
    /// Shows burn rates of the objectives instead of expressions.
    pub(super) burn_rates: bool,
}

#[derive(Debug, Default)]
struct Latest {
    /// Time of the latest sample, in seconds of the monotonic clock.
    time: f64,
    panels: Vec<Current>,
    tables: Vec<Table>,
    objectives: Vec<ObjectiveStatus>,
    checks: Vec<CheckStatus>,
    controls: BTreeMap<String, Option<String>>,
    control_details: BTreeMap<String, String>,
    marks: Vec<MarkStatus>,
    problems: Vec<Problem>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Option<Vec<TableRow>>,
    sparks: BTreeMap<Vec<String>, VecDeque<f64>>,
}

/// Time ranges in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// Range of rates and quantiles.
    pub(super) window: f64,
    /// Range of the charts.
    pub(super) history: f64,
}

impl Sampler {
    pub(super) fn new(
        source: MetricsSource,
        panels: Vec<PlannedPanel>,
        annotations: Vec<Annotation>,
        budgets: Vec<Budget>,
        controls: Arc<[Control]>,
        spans: Spans,
    ) -> Self {
        let mut expressions: Vec<Expr> = panels
            .iter()
            .flat_map(|planned| planned.panel.expressions())
            .collect();
        expressions.extend(annotations.iter().map(|a| match &a.event {
            Event::CounterStarts(counter) => counter.clone().rate(),
            Event::GaugeBecomesPositive(gauge) => gauge.clone().value(),
        }));
        expressions.extend(budgets.iter().map(|budget| budget.slo.bad_ratio()));
        Self {
            source,
            annotations,
            controls,
            store: Store::new(&expressions, spans.window, spans.history),
            history: History::new(spans.history as usize, panels.len()),
            budgets,
            marks: Marks::default(),
            clock: WallClock::default(),
            latest: Latest {
                panels: vec![Current::default(); panels.len()],
                tables: panels.iter().map(|_| Table::default()).collect(),
                ..Latest::default()
            },
            panels,
        }
    }

    /// Takes a sample. Returns whether the wall clock has stepped since the
    /// previous sample, which changes the timestamps of earlier ones.
    ///
    /// `controls` are the current states of the controls, or why they are unknown.
    pub(super) fn sample(
        &mut self,
        time: Timestamp,
        checks: Vec<CheckStatus>,
        controls: Vec<Result<Reading, String>>,
    ) -> bool {
        let now = time.steady;
        let stepped = self.clock.observe(time);
        if stepped && let Some(last) = self.history.times.back() {
            self.history.push_gap(f64::midpoint(*last, now));
        }
        self.latest.problems.clear();
        if let Err(detail) = self.source.read(&mut self.store, now) {
            self.report("metrics", format!("a collector {detail}"));
        }
        for budget in &mut self.budgets {
            budget.update(&self.store, now);
        }
        self.record_controls(now, controls);
        let eval = Eval {
            store: &self.store,
            now: self.clock.wall(now),
        };
        for (index, annotation) in self.annotations.iter().enumerate() {
            self.marks.annotation(now, &eval, index, annotation);
        }
        for (index, planned) in self.panels.iter().enumerate() {
            self.latest.panels[index] = if planned.burn_rates {
                burn_rates(&self.budgets)
            } else {
                evaluate(&eval, &planned.panel)
            };
            if let PanelKind::Table { by, columns, .. } = &planned.panel.kind {
                let columns = columns.iter().map(|column| &column.expr);
                self.latest.tables[index].update(by, columns, &eval);
            }
        }
        self.history.push(now, &mut self.latest.panels);
        self.latest.time = now;
        self.latest.checks = checks;
        let budgets = self.budgets.iter();
        self.latest.objectives = budgets.map(|b| b.status(&self.clock)).collect();
        let oldest = self.history.times.front().copied().unwrap_or(now);
        self.latest.marks = self.marks.since(oldest, &self.clock);
        stepped
    }

    /// Returns the controls, whose states [`sample`](Self::sample) expects.
    pub(super) fn controls(&self) -> Arc<[Control]> {
        self.controls.clone()
    }

    fn record_controls(&mut self, now: f64, states: Vec<Result<Reading, String>>) {
        self.latest.control_details.clear();
        for (control, state) in self.controls.clone().iter().zip(states) {
            let value = match state {
                Ok(state) => {
                    if control.annotated {
                        let default = control.default.as_deref();
                        self.marks.control(now, &control.id, &state, default);
                    }
                    let details = &mut self.latest.control_details;
                    details.extend(state.detail.map(|detail| (control.id.clone(), detail)));
                    Some(state.value)
                }
                Err(panic) => {
                    self.report(&control.title, panic);
                    None
                }
            };
            self.latest.controls.insert(control.id.clone(), value);
        }
    }

    fn report(&mut self, source: &str, detail: String) {
        self.latest.problems.push(Problem {
            source: source.to_owned(),
            detail,
        });
    }

    fn now(&self) -> Now<'_> {
        let panels = self
            .panels
            .iter()
            .zip(&self.latest.panels)
            .zip(&self.latest.tables);
        let panels = panels.map(|((planned, current), table)| {
            let rows = table.rows.as_deref();
            (planned.id.as_str(), PanelNow { current, rows })
        });
        Now {
            t: self.clock.wall(self.latest.time),
            clock: self.clock.steps(),
            panels: panels.collect(),
            objectives: &self.latest.objectives,
            checks: &self.latest.checks,
            controls: &self.latest.controls,
            control_details: &self.latest.control_details,
            marks: &self.latest.marks,
            problems: &self.latest.problems,
        }
    }

    /// Returns the current state as JSON.
    pub(super) fn now_json(&self) -> Bytes {
        json(&self.now())
    }

    /// Returns the history of all panels, or of the panel with the id `only`, as
    /// JSON. `None` if there is no such panel.
    pub(super) fn history_json(&self, only: Option<&str>) -> Option<Bytes> {
        let panels = self.panels.iter().enumerate();
        let panels = panels.filter(|(_, planned)| only.is_none_or(|id| id == planned.id));
        let panels: BTreeMap<&str, PanelHistory<'_>> = panels
            .map(|(index, planned)| {
                let history = PanelHistory {
                    tracks: &self.history.panels[index],
                    rows: self.latest.tables[index].rows.as_deref(),
                    sparks: &self.latest.tables[index].sparks,
                };
                (planned.id.as_str(), history)
            })
            .collect();
        #[derive(serde::Serialize)]
        struct Whole<'a> {
            t: Vec<f64>,
            panels: BTreeMap<&'a str, PanelHistory<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            now: Option<Now<'a>>,
        }
        if only.is_some() && panels.is_empty() {
            return None;
        }
        let times = self.history.times.iter();
        Some(json(&Whole {
            t: times.map(|time| self.clock.wall(*time)).collect(),
            panels,
            now: only.is_none().then(|| self.now()),
        }))
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("maps with string keys and finite numbers are JSON")
        .into()
}

fn evaluate(eval: &Eval<'_>, panel: &Panel) -> Current {
    let series: &[Series] = match &panel.kind {
        PanelKind::TimeSeries { series, .. } | PanelKind::Stat(series) => series,
        PanelKind::BarGauge(series) => std::slice::from_ref(series),
        PanelKind::Heatmap(histogram) => {
            let steps = eval.steps(histogram);
            return Current {
                bounds: steps.as_ref().map(|s| s.bounds.clone()).unwrap_or_default(),
                counts: steps.map(|s| s.each()),
                ..Current::default()
            };
        }
        PanelKind::Table { .. } => &[],
    };
    let mut lines = BTreeMap::new();
    for one in series {
        for (labels, value) in eval.samples(&one.expr) {
            lines.insert(legend(&one.legend, &labels), value);
        }
    }
    Current {
        lines,
        ..Current::default()
    }
}

fn burn_rates(budgets: &[Budget]) -> Current {
    let rate = |budget: &Budget| {
        Some((
            budget.slo.name.clone(),
            budget.rate(budget.alerts.first()?.long),
        ))
    };
    Current {
        lines: budgets.iter().filter_map(rate).collect(),
        ..Current::default()
    }
}

/// Returns the name of a line: the template with the value of each `{label}`.
fn legend(template: &str, labels: &Labels) -> String {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((wanted, after)) = after.split_once('}') else {
            break;
        };
        name.push_str(before);
        match label(labels, wanted) {
            // A process does not know the labels that Prometheus gives to its target.
            "" if ["instance", "job"].contains(&wanted) => {}
            "" => name.push_str(absent(wanted)),
            value => name.push_str(value),
        }
        rest = after;
    }
    name.push_str(rest);
    match name.trim() {
        "" => "this instance".to_owned(),
        name => name.to_owned(),
    }
}

impl Table {
    fn update<'a>(
        &mut self,
        by: &[String],
        columns: impl ExactSizeIterator<Item = &'a Expr>,
        eval: &Eval<'_>,
    ) {
        let width = columns.len();
        let mut rows: BTreeMap<Vec<String>, Vec<Number>> = BTreeMap::new();
        for (index, expr) in columns.enumerate() {
            for (labels, value) in eval.samples(expr) {
                let key = by
                    .iter()
                    .map(|name| label(&labels, name).to_owned())
                    .collect();
                let empty = || vec![Number(f64::NAN); width];
                rows.entry(key).or_insert_with(empty)[index] = Number(value);
            }
        }
        let mut rows: Vec<TableRow> = rows
            .into_iter()
            .map(|(key, cells)| TableRow { key, cells })
            .collect();
        let first = |row: &TableRow| row.cells.first().map_or(f64::NAN, |figure| figure.0);
        if rows.len() > MAX_ROWS {
            rows.sort_by(|a, b| first(b).total_cmp(&first(a)));
            rows.truncate(MAX_ROWS);
        }
        let mut before = std::mem::take(&mut self.sparks);
        for row in &rows {
            let mut spark = before.remove(&row.key).unwrap_or_default();
            spark.push_back(first(row));
            while spark.len() > SPARK {
                spark.pop_front();
            }
            self.sparks.insert(row.key.clone(), spark);
        }
        self.rows = Some(rows);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use prometheus::core::{Collector, Desc};
    use prometheus::{IntCounter, Registry, proto};
    use serde_json::{Value, json};

    use super::*;
    use crate::panel::{TimeSeries, Unit};
    use crate::selector::Selector;

    struct Scene {
        sampler: Sampler,
        counter: IntCounter,
        registry: Registry,
    }

    impl Scene {
        fn new(controls: Vec<Control>) -> Self {
            let registry = Registry::new();
            let counter = IntCounter::new("hits_total", "Hits.").unwrap();
            registry.register(Box::new(counter.clone())).unwrap();
            let rate = Selector::new("hits_total").rate().sum();
            let panel = TimeSeries::new("Hits", Unit::PerSecond).series("hits", rate);
            let planned = PlannedPanel {
                id: "hits".into(),
                panel: panel.into(),
                burn_rates: false,
            };
            let spans = Spans {
                window: 5.0,
                history: 60.0,
            };
            let source = registry.clone().into();
            let controls = controls.into();
            Self {
                sampler: Sampler::new(source, vec![planned], vec![], vec![], controls, spans),
                counter,
                registry,
            }
        }

        /// Counts 10 hits and takes a sample. The monotonic clock is at `steady`.
        fn second(&mut self, steady: f64, wall: f64) -> (bool, Value) {
            self.counter.inc_by(10);
            let controls = self.sampler.controls();
            let values = controls.iter().map(Control::current).collect();
            let time = Timestamp { steady, wall };
            let stepped = self.sampler.sample(time, vec![], values);
            let history = self.sampler.history_json(None).unwrap();
            (stepped, serde_json::from_slice(&history).unwrap())
        }
    }

    #[test]
    fn a_wall_clock_that_steps_back_interrupts_the_lines_and_keeps_the_history() {
        let mut scene = Scene::new(vec![]);
        for second in 0..10 {
            scene.second(f64::from(second), 5_000.0 + f64::from(second));
        }
        let (stepped, history) = scene.second(10.0, 4_410.0);
        assert!(stepped);
        let hits = history["panels"]["hits"]["series"]["hits"]
            .as_array()
            .unwrap();
        let times = history["t"].as_array().unwrap();
        assert_eq!((hits.len(), times.len()), (12, 12));
        assert_eq!(hits[9..], [json!(10), Value::Null, json!(10)]);
        assert_eq!(
            times[8..],
            [json!(4408.0), json!(4409.0), json!(4409.5), json!(4410.0)]
        );
        assert_eq!(
            (&history["now"]["t"], &history["now"]["clock"]),
            (&json!(4410.0), &json!(1))
        );
        assert!(!scene.second(11.0, 4_411.0).0);
    }

    #[test]
    fn a_wall_clock_that_steps_forward_leaves_a_gap() {
        let mut scene = Scene::new(vec![]);
        scene.second(0.0, 5_000.0);
        scene.second(1.0, 5_001.0);
        let (stepped, history) = scene.second(2.0, 5_602.0);
        assert!(stepped);
        assert_eq!(history["t"], json!([5000.0, 5001.0, 5001.5, 5602.0]));
        let hits = &history["panels"]["hits"]["series"]["hits"];
        assert_eq!(*hits, json!([null, 10, null, 10]));
    }

    struct Panicking(Desc, Arc<AtomicBool>);

    impl Collector for Panicking {
        fn desc(&self) -> Vec<&Desc> {
            vec![&self.0]
        }

        fn collect(&self) -> Vec<proto::MetricFamily> {
            assert!(!self.1.load(Relaxed), "out of order");
            vec![]
        }
    }

    #[test]
    fn a_panic_in_a_collector_is_a_gap_and_does_not_distort_later_rates() {
        let mut scene = Scene::new(vec![]);
        let panics = Arc::new(AtomicBool::new(false));
        let desc = Desc::new("broken".into(), "Broken.".into(), vec![], [].into()).unwrap();
        let collector = Panicking(desc, panics.clone());
        scene.registry.register(Box::new(collector)).unwrap();
        for second in 0..10 {
            scene.second(f64::from(second), f64::from(second));
        }
        panics.store(true, Relaxed);
        for second in 10..100 {
            let (_, history) = scene.second(f64::from(second), f64::from(second));
            assert_eq!(
                history["now"]["problems"],
                json!([{"source": "metrics", "detail": "a collector panicked: out of order"}])
            );
            assert_eq!(history["now"]["panels"]["hits"]["series"], json!({}));
        }
        panics.store(false, Relaxed);
        for second in 100..110 {
            let (_, history) = scene.second(f64::from(second), f64::from(second));
            assert_eq!(history["now"]["problems"], json!([]));
            let rate = &history["now"]["panels"]["hits"]["series"]["hits"];
            assert_eq!(
                *rate,
                if second == 100 {
                    Value::Null
                } else {
                    json!(10)
                }
            );
        }
    }

    #[test]
    fn a_panic_in_a_control_is_reported_and_its_value_is_unknown() {
        let control = Control::new("Cache", || panic!("no {}", "cache"), |_| Ok(()));
        let mut scene = Scene::new(vec![control]);
        let (_, history) = scene.second(0.0, 0.0);
        let now = &history["now"];
        assert_eq!(now["controls"], json!({"cache": null}));
        assert_eq!(
            now["problems"],
            json!([{"source": "Cache", "detail": "panicked: no cache"}])
        );
        assert_eq!(scene.second(1.0, 1.0).1["t"], json!([0.0, 1.0]));
    }
}
