//! The drill-down: a route in detail.

use super::{Red, overview};
use crate::expr::Selector;
use crate::panel::{Column, Dashboard, Panel, Row, Unit};

pub(super) fn dashboard(red: &Red) -> Dashboard {
    let description = "One route, or a few, in detail: who answers what, how fast, how much.";
    red.blank(
        &red.route_uid(),
        &format!("{} by route", red.title),
        description,
    )
    .link(format!("{} overview", red.title), &red.uid)
    .row(overview::now(red))
    .row(requests(red))
    .row(duration(red))
    .rows(sizes(red))
    .row(answers(red))
}

fn requests(red: &Red) -> Row {
    let names = &red.names;
    let requests = red.picked(red.requests());
    let legend = format!("{{{}}}", names.method);
    Row::new("Requests and errors")
        .panel(
            Panel::lines("Requests by method", Unit::RequestsPerSecond)
                .help("Requests that ended, by method.")
                .size(12, 9)
                .series(&legend, requests.clone().rate().sum_by([&names.method])),
        )
        .panel(
            Panel::lines("Error ratio by method", Unit::Ratio)
                .help("Share of each method's requests that failed.")
                .size(12, 9)
                .decimals(2)
                .series(&legend, red.error_ratio(&requests, &[&names.method])),
        )
        .panel(overview::by_status(red, &requests).size(8, 9))
        .panel(overview::by_error(red, &requests).size(8, 9))
        .panel(overview::not_errors(red, &requests).size(8, 9))
}

fn duration(red: &Red) -> Row {
    let names = &red.names;
    let duration = red.picked(red.duration());
    let instance = "instance";
    Row::new("Duration")
        .panel(overview::quantiles(&duration).size(12, 9))
        .panel(overview::heatmap(&duration).size(12, 9))
        .panel(
            Panel::lines("95th percentile by status", Unit::Seconds)
                .help("Failures that are quicker or slower than successes are told by this.")
                .size(12, 9)
                .series(
                    format!("{{{}}}", names.status),
                    duration
                        .clone()
                        .without(&names.status, [""])
                        .quantile(0.95, [&names.status]),
                ),
        )
        .panel(
            Panel::lines("95th percentile by instance", Unit::Seconds)
                .help("One instance that is slower than the others is told by this.")
                .size(12, 9)
                .series(
                    format!("{{{instance}}}"),
                    duration.quantile(0.95, [instance]),
                ),
        )
}

/// The traffic and the sizes, where the layer measures them.
fn sizes(red: &Red) -> Option<Row> {
    let network = overview::network(red)?;
    let mean = |size: &String| red.picked(Selector::new(size)).mean([""; 0]);
    let mut sizes = Panel::lines("Mean body size", Unit::Bytes)
        .help("Mean size of the bodies: of requests where it is known, and of answers.")
        .size(12, 9);
    if let Some(size) = &red.names.request_size {
        sizes = sizes.series("request", mean(size));
    }
    if let Some(size) = &red.names.response_size {
        sizes = sizes.series("answer", mean(size));
    }
    Some(Row::new("Network").panel(network.size(12, 9)).panel(sizes))
}

fn answers(red: &Red) -> Row {
    let names = &red.names;
    let mut by = vec![
        names.method.as_str(),
        names.route.as_str(),
        names.status.as_str(),
    ];
    by.extend(names.error_type.as_deref());
    let requests = red.picked(red.requests());
    let rate = requests.clone().rate().sum_by(by.clone());
    let number = requests.increase().sum_by(by.clone());
    let p95 = red.picked(red.duration()).quantile(0.95, by.clone());
    Row::new("Answers").panel(
        Panel::table("Answers", by)
            .help("What became of the requests, most frequent first. No status: none was sent.")
            .size(24, 10)
            .column(Column::new("Requests", Unit::RequestsPerSecond, rate))
            .column(Column::new("In this range", Unit::Count, number))
            .column(Column::new("p95", Unit::Seconds, p95)),
    )
}
