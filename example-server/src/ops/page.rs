//! The live page at `/`.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::Method;
use prometheus::Registry;
use ticket_core::Commit;
use ticket_core::policy::Document;
use tower_metrics::Names;
use tower_metrics_dashboard::live::{self, Control, Page};
use tower_metrics_dashboard::{BURNS, Dashboard, Panel, Unit};

use super::{Books, Ops};
use crate::api::Seen;
use crate::dashboards;
use crate::guard::Guard;

/// An hour of a burn rate's window is a minute here: who presses a switch sees the alert.
const SCALE: f64 = 1.0 / 60.0;

const PURCHASES: &str = "Purchases";

/// The page, with a switch for faults and one for the way of committing, the books' badge, and the
/// requests behind its figures.
pub(crate) fn page(ops: &Ops, registry: Registry, books: Books, seen: &Seen) -> Page {
    let page = live::page(dashboard(), registry)
        .burns(BURNS.map(|burn| burn.scaled(SCALE)))
        .check(books.check())
        .requests(seen.recent(), Names::open_telemetry().duration)
        .control(faults(ops))
        .control(commit(ops));
    dashboards::slos().into_iter().fold(page, Page::slo)
}

/// Requests, sales and the database of the dashboards, in one.
fn dashboard() -> Dashboard {
    // The objectives have cards of their own here; how the process fares is for Grafana.
    const LEFT_OUT: [&str; 4] = ["Objectives", "Measurement", "Tokio runtime", "Process"];
    let mut page = Dashboard::new("tickets", "Tickets", "What the ticket platform does, now.");
    for dashboard in dashboards::all() {
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
                    *panel = purchases();
                }
            }
            row
        }));
    }
    page
}

/// What the switch of the commit changes, beside it and among the figures.
fn purchases() -> Panel {
    Panel::stat(PURCHASES, Unit::PerSecond)
        .help("Purchases that were committed.")
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
