//! The dashboard with the details of one or a few routes.

use super::{Red, overview};
use crate::dashboard::{Dashboard, Row};
use crate::panel::{Column, Table, TimeSeries, Unit};
use crate::selector::Selector;

pub(super) fn dashboard(red: &Red) -> Dashboard {
    let description = "Requests, errors, duration and traffic of one or a few routes.";
    let title = format!("{} by route", red.title);
    red.empty_dashboard(&red.route_uid(), &title, description)
        .link(format!("{} overview", red.title), &red.uid)
        .row(overview::at_a_glance(red))
        .row(requests(red))
        .row(duration(red))
        .rows(bodies(red))
        .row(responses(red))
}

fn requests(red: &Red) -> Row {
    let requests = red.selected(red.requests());
    let (what, label) = match &red.names.method {
        Some(method) => ("method", method),
        None => ("route", &red.names.route),
    };
    let legend = format!("{{{label}}}");
    Row::new("Requests and errors")
        .panel(
            TimeSeries::new(format!("Requests by {what}"), Unit::RequestsPerSecond)
                .description(format!("Completed requests per second by {what}."))
                .size(12, 9)
                .series(&legend, requests.clone().rate().sum_by([label])),
        )
        .panel(
            TimeSeries::new(format!("Error ratio by {what}"), Unit::Ratio)
                .description(format!("Ratio of requests that failed, by {what}."))
                .size(12, 9)
                .decimals(2)
                .series(&legend, red.error_ratio(&requests, &[label])),
        )
        .panel(overview::requests_by_status(red, &requests).size(8, 9))
        .panel(overview::errors_by_type(red, &requests).size(8, 9))
        .panel(overview::disconnects(red, &requests).size(8, 9))
}

fn duration(red: &Red) -> Row {
    let status = red.status_label();
    let duration = red.selected(red.duration());
    let answered = duration.clone().without(status, [""]);
    Row::new("Duration")
        .panel(overview::duration_quantiles(&duration).size(12, 9))
        .panel(overview::duration_heatmap(&duration).size(12, 9))
        .panel(
            TimeSeries::new("p95 duration by status", Unit::Seconds)
                .description(
                    "95th percentile of the duration by response status. Shows whether failures \
                     are faster or slower than successes.",
                )
                .size(12, 9)
                .series(
                    format!("{{{status}}}"),
                    answered.quantile_by(0.95, [status]),
                ),
        )
        .panel(
            TimeSeries::new("p95 duration by instance", Unit::Seconds)
                .description(
                    "95th percentile of the duration by instance. Shows whether one instance is \
                     slower than the others.",
                )
                .size(12, 9)
                .series("{instance}", duration.quantile_by(0.95, ["instance"])),
        )
}

/// Traffic and sizes, if the layer records body sizes.
fn bodies(red: &Red) -> Option<Row> {
    let traffic = overview::body_traffic(red)?;
    let mean = |size: &String| red.selected(Selector::new(size)).mean();
    let mut sizes = TimeSeries::new("Mean body size", Unit::Bytes)
        .description("Mean size of request and response bodies.")
        .size(12, 9);
    if let Some(size) = &red.names.request_size {
        sizes = sizes.series("request", mean(size));
    }
    if let Some(size) = &red.names.response_size {
        sizes = sizes.series("response", mean(size));
    }
    Some(Row::new("Bodies").panel(traffic.size(12, 9)).panel(sizes))
}

fn responses(red: &Red) -> Row {
    let mut by = red.route_labels();
    by.push(red.status_label());
    by.extend(red.names.error_type.as_deref());
    let requests = red.selected(red.requests());
    let rate = requests.clone().rate().sum_by(by.clone());
    let count = requests.increase().sum_by(by.clone());
    let p95 = red.selected(red.duration()).quantile_by(0.95, by.clone());
    Row::new("Responses").panel(
        Table::new("Responses", by)
            .description(
                "Requests by status and error type, most frequent first. Requests without a status \
                 had no response.",
            )
            .size(24, 10)
            .column(Column::new("Requests", Unit::RequestsPerSecond, rate))
            .column(Column::new("In range", Unit::Count, count))
            .column(Column::new("p95", Unit::Seconds, p95)),
    )
}
