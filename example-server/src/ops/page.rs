//! The live page at `/`.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::Method;
use ticket_core::Commit;
use ticket_core::policy::Document;
use tower_metrics::Prometheus;
use tower_metrics_dashboard::live::{self, Control, Page};
use tower_metrics_dashboard::{BurnRateAlert, Dashboard, Stat, Unit};

use super::{Books, Ops};
use crate::api::RequestMonitor;
use crate::dashboards::{self, Dashboards};
use crate::guard::Guard;

/// An hour of a burn rate's window is a minute here: who presses a switch sees the alert.
const SCALE: f64 = 1.0 / 60.0;

const PURCHASES: &str = "Purchases";

/// The page, with a switch for faults and one for the way of committing, the books' badge, and the
/// requests behind its figures.
///
/// # Errors
///
/// Returns an error if the recorder lacks what the page shows.
pub(crate) fn page(
    ops: &Ops,
    prometheus: &Prometheus,
    books: Books,
    monitor: &RequestMonitor,
) -> Result<Page, tower_metrics_dashboard::Error> {
    let dashboards = Dashboards::of(prometheus)?;
    let page = live::page(dashboard(&dashboards), *prometheus)
        .burns(BurnRateAlert::DEFAULTS.map(|burn| burn.scaled(SCALE)))
        .check(books.check())
        .requests(monitor.recent(), prometheus.names().duration.clone())
        .control(faults(ops))
        .control(commit(ops));
    Ok(dashboards.slos().iter().cloned().fold(page, Page::slo))
}

/// Requests, sales and the database of the dashboards, in one.
fn dashboard(dashboards: &Dashboards) -> Dashboard {
    // The objectives have cards of their own here; how the process fares is for Grafana.
    const LEFT_OUT: [&str; 4] = ["Objectives", "Measurement", "Tokio runtime", "Process"];
    let mut page = Dashboard::new("tickets", "Tickets", "What the ticket platform does, now.");
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
            .filter(|row| !LEFT_OUT.contains(&&*row.title));
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
    // Traffic and sales together, so that both are visible without scrolling.
    let sales = page
        .rows
        .iter()
        .position(|row| row.title == "Sales at a glance");
    if let Some(sales) = sales {
        let sales = page.rows.remove(sales);
        page.rows.insert(1, sales);
    }
    page
}

/// What the switch of the commit changes, beside it and among the figures.
fn purchases() -> Stat {
    Stat::new(PURCHASES, Unit::PerSecond)
        .description("Purchases that were committed.")
        .decimals(1)
        .series("purchases", dashboards::purchases(&["sold"]).rate().sum())
}

fn faults(ops: &Ops) -> Control {
    let (seen, swapped) = (ops.tickets.faults().clone(), ops.tickets.faults().clone());
    // What the server started with is no news.
    let rest = seen.document().name().unwrap_or("calm").to_owned();
    let control = Control::new(
        "Faults",
        move || seen.document().name().unwrap_or("custom").to_owned(),
        move |name| {
            let document = Document::preset(name).ok_or("there is no such preset")?;
            swapped.replace(document);
            Ok(())
        },
    )
    .help("What goes wrong on purpose.");
    Document::PRESETS
        .iter()
        .fold(control, |control, (name, help)| {
            control.choice(*name, *help)
        })
        .rest(rest)
        .marked()
}

fn commit(ops: &Ops) -> Control {
    let (seen, switched) = (ops.tickets.clone(), ops.clone());
    Control::new(
        "Commit",
        move || seen.commit().to_string(),
        move |way| {
            let way: Commit = way
                .parse()
                .map_err(|_| "group and each are allowed".to_owned())?;
            switched.switch_commit(way);
            Ok(())
        },
    )
    .help("How purchases are committed.")
    .beside(PURCHASES)
    .choice(
        "group",
        "Purchases that wait anyway are committed together.",
    )
    .choice("each", "Every purchase has its own transaction.")
}

/// The page's routes; what changes something needs what the rest of the ops port asks for.
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
