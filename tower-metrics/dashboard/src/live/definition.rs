//! Definition of a page: what the browser needs before the first sample.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::burn::Budget;
use super::check::Check;
use super::control::Control;
use super::error::Error;
use super::sampler::{PlannedPanel, SPARK};
use super::slug::slug;
use super::wire;
use crate::burn_rate::{BurnRateAlert, Severity};
use crate::dashboard::{Dashboard, Row};
use crate::objectives::OBJECTIVES;
use crate::panel::{Color, Panel, PanelKind, TimeSeries, Unit};

/// Contents of a page.
pub(super) struct Contents<'a> {
    pub(super) dashboard: &'a Dashboard,
    pub(super) objectives: &'a [Budget],
    pub(super) controls: &'a [Control],
    pub(super) checks: &'a [Check],
    /// The histogram whose requests can be opened.
    pub(super) histogram: Option<&'a str>,
    pub(super) window: Duration,
    pub(super) history: Duration,
}

/// A row of the page.
struct PlannedRow {
    title: String,
    collapsed: bool,
    /// Shows the cards of the objectives before the panels.
    objectives: bool,
    panels: Vec<Panel>,
}

/// Returns the definition as JSON, and the panels with their ids.
///
/// # Errors
/// Returns an error if a control refers to a panel that does not exist.
pub(super) fn define(contents: &Contents<'_>) -> Result<(Bytes, Vec<PlannedPanel>), Error> {
    let rows = rows(contents);
    let panels = plan(&rows);
    let controls = contents.controls.iter();
    let controls = controls.map(|control| define_control(control, &panels));
    let objectives = contents.objectives.iter().map(define_objective);
    let checks = contents.checks.iter().map(
        |check| json!({"id": check.id, "title": check.title, "description": check.description}),
    );
    let mut definition = json!({
        "title": contents.dashboard.title,
        "description": contents.dashboard.description,
        "step_s": 1,
        "history_s": contents.history.as_secs(),
        "window_s": contents.window.as_secs_f64(),
        "spark": SPARK,
        "requests": contents.histogram.is_some(),
        "rows": define_rows(&rows, &panels, contents.histogram),
        "objectives": objectives.collect::<Vec<_>>(),
        "controls": controls.collect::<Result<Vec<_>, _>>()?,
        "checks": checks.collect::<Vec<_>>(),
    });
    let mut hasher = DefaultHasher::new();
    definition.to_string().hash(&mut hasher);
    definition["version"] = json!(format!("{:016x}", hasher.finish()));
    Ok((definition.to_string().into(), panels))
}

/// Returns the rows of the dashboard, with the objectives in place of its row of objectives, or below
/// the leading rows of single values.
fn rows(contents: &Contents<'_>) -> Vec<PlannedRow> {
    let row = |row: &Row, objectives| PlannedRow {
        title: row.title.clone(),
        collapsed: row.collapsed,
        objectives,
        panels: row.panels.clone(),
    };
    let rows = contents.dashboard.rows.iter();
    let mut rows: Vec<_> = rows.map(|dashboard| row(dashboard, false)).collect();
    if let Some(first) = contents.objectives.first() {
        let objectives = Row::new(OBJECTIVES).panel(burn_rate(&first.alerts));
        let objectives = row(&objectives, true);
        if let Some(own) = rows.iter_mut().find(|row| row.title == OBJECTIVES) {
            *own = objectives;
        } else {
            let is_stat = |panel: &Panel| matches!(panel.kind, PanelKind::Stat(_));
            let mut positions = rows.iter();
            let below = positions.position(|row| !row.panels.iter().all(is_stat));
            rows.insert(below.unwrap_or(rows.len()), objectives);
        }
    }
    rows
}

fn burn_rate(alerts: &[BurnRateAlert]) -> TimeSeries {
    let panel = TimeSeries::new("Burn rate", Unit::Count)
        .description(
            "How fast each error budget is consumed. At 1× it lasts exactly as long as the period \
             of the objective.",
        )
        .size(8, 6);
    alerts.iter().fold(panel, |panel, alert| {
        let color = match alert.severity {
            Severity::Page => Color::Red,
            _ => Color::Yellow,
        };
        panel.threshold(alert.rate, color)
    })
}

/// Gives every panel a unique id.
fn plan(rows: &[PlannedRow]) -> Vec<PlannedPanel> {
    let mut ids = BTreeSet::new();
    let panels = rows
        .iter()
        .flat_map(|row| row.panels.iter().map(|panel| (panel, row.objectives)));
    panels
        .map(|(panel, burn_rates)| {
            let slug = slug(&panel.title);
            let numbered = (2..).map(|number| format!("{slug}-{number}"));
            let mut candidates = std::iter::once(slug.clone()).chain(numbered);
            let id = candidates.find(|id| !ids.contains(id)).unwrap_or_default();
            ids.insert(id.clone());
            PlannedPanel {
                id,
                panel: panel.clone(),
                burn_rates,
            }
        })
        .collect()
}

fn define_rows(
    rows: &[PlannedRow],
    planned: &[PlannedPanel],
    histogram: Option<&str>,
) -> Vec<Value> {
    let mut planned = planned.iter();
    let row = |row: &PlannedRow| {
        let panels = planned.by_ref().take(row.panels.len());
        let panels = panels.map(|planned| {
            let mut panel = wire::panel(&planned.id, &planned.panel, histogram);
            if planned.burn_rates {
                panel["unit"] = json!("times");
            }
            panel
        });
        json!({
            "title": row.title,
            "collapsed": row.collapsed,
            "objectives": row.objectives,
            "panels": panels.collect::<Vec<_>>(),
        })
    };
    rows.iter().map(row).collect()
}

fn define_objective(Budget { slo, alerts, .. }: &Budget) -> Value {
    let alerts = alerts.iter().map(|alert| {
        json!({
            "severity": if alert.severity == Severity::Page { "page" } else { "ticket" },
            "rate": alert.rate,
            "long_s": alert.long.as_secs_f64(),
            "short_s": alert.short.as_secs_f64(),
        })
    });
    json!({
        "id": slug(&slo.name),
        "title": slo.name,
        "condition": slo.condition,
        "objective": slo.objective,
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

fn define_control(control: &Control, panels: &[PlannedPanel]) -> Result<Value, Error> {
    let panel = control.panel.as_ref().map(|title| {
        let panel = panels.iter().find(|planned| planned.panel.title == *title);
        panel
            .map(|planned| &planned.id)
            .ok_or_else(|| Error::UnknownPanel {
                control: control.title.clone(),
                panel: title.clone(),
            })
    });
    Ok(json!({
        "id": control.id,
        "title": control.title,
        "description": control.description,
        "choices": control.choices,
        "default": control.default,
        "panel": panel.transpose()?,
    }))
}
