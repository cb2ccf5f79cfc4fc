//! Once a second: read the registry, evaluate every panel, remember it, tell every viewer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prometheus::Registry;

use super::burn::{Budget, Standing};
use super::control::Control;
use super::eval::Eval;
use super::history::{History, Shown};
use super::marks::{Mark, Marks};
use super::series::{Labels, Store, label};
use super::wire::{Checked, Figure, Now, PanelHistory, PanelNow, TableRow, absent};
use crate::dashboard::Annotation;
use crate::expr::Expr;
use crate::panel::{Panel, PanelKind, Series};

/// Lines that a table has at most; the largest in its first column stay.
const MOST_ROWS: usize = 500;
/// Seconds that the small line beside a table's row shows.
pub(super) const SPARK: usize = 120;

/// What the page shows, and where it comes from.
#[derive(Debug)]
pub(super) struct Sampler {
    registry: Registry,
    panels: Vec<Planned>,
    annotations: Vec<Annotation>,
    controls: Arc<[Control]>,
    store: Store,
    history: History,
    budgets: Vec<Budget>,
    marks: Marks,
    latest: Latest,
}

/// A panel with its id.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) id: String,
    pub(super) panel: Panel,
    /// Whether it shows the burn rates of the objectives instead of expressions.
    pub(super) burns: bool,
}

#[derive(Debug, Default)]
struct Latest {
    wall: f64,
    shown: Vec<Shown>,
    tables: Vec<Table>,
    standings: Vec<Standing>,
    checks: Vec<Checked>,
    controls: BTreeMap<String, String>,
    marks: Vec<Mark>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Option<Vec<TableRow>>,
    sparks: BTreeMap<Vec<String>, VecDeque<f64>>,
}

/// How much is remembered, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// What a rate and a quantile are over.
    pub(super) window: f64,
    /// What the ring holds.
    pub(super) history: f64,
}

impl Sampler {
    pub(super) fn new(
        registry: Registry,
        panels: Vec<Planned>,
        annotations: Vec<Annotation>,
        budgets: Vec<Budget>,
        controls: Arc<[Control]>,
        spans: Spans,
    ) -> Self {
        let mut expressions: Vec<Expr> = panels
            .iter()
            .flat_map(|planned| planned.panel.expressions())
            .collect();
        expressions.extend(
            annotations
                .iter()
                .map(|a| a.event.selector().clone().rate()),
        );
        expressions.extend(budgets.iter().map(|budget| budget.slo.bad_ratio()));
        Self {
            registry,
            annotations,
            controls,
            store: Store::new(&expressions, spans.window, spans.history),
            history: History::new(spans.history as usize, panels.len()),
            budgets,
            marks: Marks::default(),
            latest: Latest {
                shown: vec![Shown::default(); panels.len()],
                tables: panels.iter().map(|_| Table::default()).collect(),
                ..Latest::default()
            },
            panels,
        }
    }

    /// Reads everything at `wall` (Unix seconds), which is `steady` on a clock that never jumps.
    pub(super) fn tick(&mut self, wall: f64, steady: f64, checks: Vec<Checked>) {
        self.store.take(steady, &self.registry.gather());
        for budget in &mut self.budgets {
            budget.take(&self.store, steady);
        }
        self.latest.standings = self.budgets.iter_mut().map(|b| b.standing(wall)).collect();
        self.latest.controls.clear();
        for control in &*self.controls {
            let value = control.current();
            if control.marked {
                self.marks
                    .control(wall, &control.id, &value, control.rest.as_deref());
            }
            self.latest.controls.insert(control.id.clone(), value);
        }
        let eval = Eval {
            store: &self.store,
            now: wall,
        };
        for (index, annotation) in self.annotations.iter().enumerate() {
            self.marks.annotation(&eval, index, annotation);
        }
        for (index, planned) in self.panels.iter().enumerate() {
            self.latest.shown[index] = if planned.burns {
                burn_rates(&self.budgets)
            } else {
                shown(&eval, &planned.panel)
            };
            if let PanelKind::Table { by, columns, .. } = &planned.panel.kind {
                let columns = columns.iter().map(|column| &column.expr);
                self.latest.tables[index].update(by, columns, &eval);
            }
        }
        self.history.push(wall, &mut self.latest.shown);
        self.latest.wall = wall;
        self.latest.checks = checks;
        let oldest = self.history.times.front().copied().unwrap_or(wall);
        self.latest.marks = self.marks.since(oldest);
    }

    fn now(&self) -> Now<'_> {
        let panels = self
            .panels
            .iter()
            .zip(&self.latest.shown)
            .zip(&self.latest.tables);
        let panels = panels.map(|((planned, shown), table)| {
            let rows = table.rows.as_deref();
            (planned.id.as_str(), PanelNow { shown, rows })
        });
        Now {
            t: self.latest.wall,
            panels: panels.collect(),
            objectives: &self.latest.standings,
            checks: &self.latest.checks,
            controls: &self.latest.controls,
            marks: &self.latest.marks,
        }
    }

    /// The latest figures, as JSON.
    pub(super) fn now_json(&self) -> Bytes {
        json(&self.now())
    }

    /// Everything remembered, or of one panel, as JSON. `None` where no panel has that id.
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
            t: &'a VecDeque<f64>,
            panels: BTreeMap<&'a str, PanelHistory<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            now: Option<Now<'a>>,
        }
        if only.is_some() && panels.is_empty() {
            return None;
        }
        Some(json(&Whole {
            t: &self.history.times,
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

fn shown(eval: &Eval<'_>, panel: &Panel) -> Shown {
    let series: &[Series] = match &panel.kind {
        PanelKind::TimeSeries { series, .. } | PanelKind::Stat(series) => series,
        PanelKind::BarGauge(series) => std::slice::from_ref(series),
        PanelKind::Heatmap(histogram) => {
            let steps = eval.steps(histogram);
            return Shown {
                bounds: steps.as_ref().map(|s| s.bounds.clone()).unwrap_or_default(),
                counts: steps.map(|s| s.each()),
                ..Shown::default()
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
    Shown {
        lines,
        ..Shown::default()
    }
}

fn burn_rates(budgets: &[Budget]) -> Shown {
    let rate = |budget: &Budget| {
        Some((
            budget.slo.name.clone(),
            budget.rate(budget.burns.first()?.long),
        ))
    };
    Shown {
        lines: budgets.iter().filter_map(rate).collect(),
        ..Shown::default()
    }
}

/// The name of a line: each `{label}` is its value.
fn legend(template: &str, labels: &Labels) -> String {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((wanted, after)) = after.split_once('}') else {
            break;
        };
        name.push_str(before);
        match label(labels, wanted) {
            "" => name.push_str(absent(wanted)),
            value => name.push_str(value),
        }
        rest = after;
    }
    name.push_str(rest);
    name
}

impl Table {
    fn update<'a>(
        &mut self,
        by: &[String],
        columns: impl ExactSizeIterator<Item = &'a Expr>,
        eval: &Eval<'_>,
    ) {
        let width = columns.len();
        let mut rows: BTreeMap<Vec<String>, Vec<Figure>> = BTreeMap::new();
        for (index, expr) in columns.enumerate() {
            for (labels, value) in eval.samples(expr) {
                let key = by
                    .iter()
                    .map(|name| label(&labels, name).to_owned())
                    .collect();
                let empty = || vec![Figure(f64::NAN); width];
                rows.entry(key).or_insert_with(empty)[index] = Figure(value);
            }
        }
        let mut rows: Vec<TableRow> = rows
            .into_iter()
            .map(|(key, cells)| TableRow { key, cells })
            .collect();
        let first = |row: &TableRow| row.cells.first().map_or(f64::NAN, |figure| figure.0);
        if rows.len() > MOST_ROWS {
            rows.sort_by(|a, b| first(b).total_cmp(&first(a)));
            rows.truncate(MOST_ROWS);
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
