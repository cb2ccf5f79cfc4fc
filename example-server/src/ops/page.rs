//! The live page at `/`.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::Method;
use ticket_core::Commit;
use ticket_core::policy::{Document, Scenario};
use tower_metrics::Prometheus;
use tower_metrics_dashboard::live::{Control, LivePage, LivePageBuilder};
use tower_metrics_dashboard::{BurnRateAlert, Dashboard, Row, Stat, Unit};

use super::scenario::{describe, position, step_of};
use super::{ConsistencyCheck, Ops};
use crate::api::RequestMonitor;
use crate::dashboards::{self, Dashboards};
use crate::guard::Guard;

/// Scales the windows of burn rate alerts from hours to minutes, so that an injected fault fires an
/// alert within a demonstration.
const ALERT_WINDOW_SCALE: f64 = 1.0 / 60.0;

const PURCHASES: &str = "Purchases";

/// Returns the page, with controls of faults and the commit mode, the consistency check, and recent
/// requests.
///
/// # Errors
///
/// Returns an error if the recorder lacks what the page shows.
pub(crate) fn page(
    ops: &Ops,
    prometheus: &Prometheus,
    consistency: ConsistencyCheck,
    monitor: &RequestMonitor,
) -> Result<LivePageBuilder, tower_metrics_dashboard::Error> {
    let dashboards = Dashboards::of(prometheus, false)?;
    let alerts = BurnRateAlert::DEFAULTS.map(|alert| alert.scaled(ALERT_WINDOW_SCALE));
    Ok(LivePage::builder(dashboard(&dashboards), *prometheus)
        .slos(dashboards.slos())
        .burn_rate_alerts(alerts)
        .check(consistency.into_check())
        .requests(monitor.recent(), prometheus.names().duration.clone())
        .control(faults(ops))
        .control(scenario(ops))
        .control(commit(ops)))
}

/// Combines the rows of the overview, sales and platform dashboards that concern users.
fn dashboard(dashboards: &Dashboards) -> Dashboard {
    // For operators, in Grafana.
    const EXCLUDED: [&str; 3] = ["Instrumentation", "Tokio runtime", "Process"];
    let mut page = Dashboard::new(
        "tickets",
        "Tickets",
        "Current traffic and sales of the ticket platform.",
    );
    for dashboard in dashboards.all() {
        let subject = match &*dashboard.uid {
            dashboards::OVERVIEW => "Requests",
            dashboards::SALES => "Sales",
            dashboards::PLATFORM => "Platform",
            _ => continue,
        };
        for variable in dashboard.variables {
            if page
                .variables
                .iter()
                .all(|known| known.name != variable.name)
            {
                page.variables.push(variable);
            }
        }
        let rows = dashboard
            .rows
            .into_iter()
            .filter(|row| !EXCLUDED.contains(&&*row.title));
        page.rows.extend(rows.map(|mut row| {
            if row.title == "At a glance" {
                row.title = format!("{subject} at a glance");
            }
            for panel in &mut row.panels {
                if panel.title == "Tickets per minute" {
                    *panel = purchases().into();
                }
            }
            row
        }));
    }
    highlight(&mut page.rows);
    page
}

/// Charts that the page shows at the top: rate, errors, duration and sales.
const HIGHLIGHTS: [&str; 4] = [
    "Requests by status",
    "Errors by type",
    "Duration",
    "Purchase attempts per minute",
];

/// Moves the current values of sales and the highlights to the top, where they are visible without
/// scrolling on a screen of 1440 by 900 pixels, and widens the panels that remain in their rows.
fn highlight(rows: &mut Vec<Row>) {
    if let Some(sales) = rows.iter().position(|row| row.title == "Sales at a glance") {
        let sales = rows.remove(sales);
        rows.insert(1, sales);
    }
    let mut highlights = Row::new("Rate, errors, duration and sales");
    for title in HIGHLIGHTS {
        for row in rows.iter_mut() {
            let Some(at) = row.panels.iter().position(|panel| panel.title == title) else {
                continue;
            };
            let mut panel = row.panels.remove(at);
            (panel.width, panel.height) = (6, 6);
            highlights = highlights.panel(panel);
            if let Some(width) = [6, 8, 12, 24]
                .into_iter()
                .find(|width| row.panels.len() * width == 24)
            {
                row.panels
                    .iter_mut()
                    .for_each(|panel| panel.width = width as u8);
            }
            break;
        }
    }
    rows.insert(2, highlights);
}

/// Returns the panel whose value shows the effect of the commit mode.
fn purchases() -> Stat {
    Stat::new(PURCHASES, Unit::PerSecond)
        .description("Purchases per second.")
        .decimals(1)
        .series("purchases", dashboards::purchases(&["sold"]).rate().sum())
}

fn faults(ops: &Ops) -> Control {
    let (current, playback) = (ops.tickets.faults().clone(), ops.playback.clone());
    let faults = current.clone();
    // The preset that the server started with is the normal state.
    let default = current.document().name().unwrap_or("calm").to_owned();
    let control = Control::new(
        "Faults",
        move || {
            let change = current.current();
            match (change.document.name(), step_of(&change, &playback)) {
                (Some(preset), _) => preset.to_owned(),
                (None, Some(playing)) => position(&playing),
                (None, None) => "custom".to_owned(),
            }
        },
        move |name| {
            let document = Document::preset(name).ok_or("unknown preset")?;
            faults.replace(document);
            Ok(())
        },
    )
    .description("Preset of injected faults.");
    let presets = Document::PRESETS.iter();
    presets
        .fold(control, |control, (name, description)| {
            control.choice(*name, *description)
        })
        .default_value(default)
        .annotated(true)
}

/// Value of the scenario control while no scenario plays.
const NO_SCENARIO: &str = "none";

fn scenario(ops: &Ops) -> Control {
    let (current, playback) = (ops.playback.clone(), ops.playback.clone());
    let step = ops.playback.clone();
    let control = Control::new(
        "Scenario",
        move || match current.current() {
            Some(playing) => playing.scenario.name().to_owned(),
            None => NO_SCENARIO.to_owned(),
        },
        move |name| {
            match Scenario::named(name) {
                Some(scenario) => playback.start(scenario),
                None => playback.stop(),
            }
            Ok(())
        },
    )
    .description("Timeline of faults and traffic.")
    .detail(move |name| {
        let playing = step.current()?;
        // Another scenario may have started since.
        (playing.scenario.name() == name).then(|| describe(&playing))
    })
    .choice(NO_SCENARIO, "Restores the faults from before the scenario.");
    Scenario::all()
        .iter()
        .fold(control, |control, it| control.choice(it.name(), it.note()))
        .default_value(NO_SCENARIO)
        .annotated(true)
}

fn commit(ops: &Ops) -> Control {
    let (tickets, ops) = (ops.tickets.clone(), ops.clone());
    Control::new(
        "Commit",
        move || tickets.commit().to_string(),
        move |mode| {
            let mode: Commit = mode
                .parse()
                .map_err(|_| "must be group or each".to_owned())?;
            ops.switch_commit(mode);
            Ok(())
        },
    )
    .description("How the server commits purchases to the database.")
    .panel(PURCHASES)
    .choice("group", "Commits concurrent purchases together.")
    .choice("each", "Commits every purchase in its own transaction.")
}

/// Requires the admin token, where one is set, for requests that change something.
pub(super) fn guarded(page: Router, guard: Guard) -> Router {
    page.layer(from_fn_with_state(guard, check))
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if request.method() != Method::PUT {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match guard.check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}
