//! The overview dashboard, and panels that it shares with the route details.

use super::{Red, saturation};
use crate::dashboard::{Dashboard, Row};
use crate::expr::Expr;
use crate::objectives::objectives_row;
use crate::panel::{Color, Column, Heatmap, Stat, Table, TimeSeries, Unit};
use crate::selector::Selector;

/// Number of routes in a chart. The table of routes has all.
const TOP_ROUTES: usize = 20;

pub(super) fn dashboard(red: &Red) -> Dashboard {
    let description = "Rate, errors and duration of every route. Click a route in the table for \
                       details.";
    let objectives = (!red.slos.is_empty()).then(|| objectives_row(&red.slos));
    red.empty_dashboard(&red.uid, &format!("{} overview", red.title), description)
        .link(format!("{} by route", red.title), red.route_uid())
        .row(at_a_glance(red))
        .rows(objectives)
        .row(requests(red))
        .row(duration(red))
        .rows(bodies(red))
        .rows(saturation::row(red))
        .row(routes(red))
        .row(instrumentation(red))
}

/// The first row of both dashboards, with the key metrics.
pub(super) fn at_a_glance(red: &Red) -> Row {
    let requests = red.selected(red.requests());
    let duration = red.selected(red.duration());
    let rate = || requests.clone().rate().sum();
    let disconnects = red.client_disconnects(requests.clone()).rate().sum();
    Row::new("At a glance")
        .panel(
            Stat::new("Requests", Unit::RequestsPerSecond)
                .description("Completed requests per second, including errors.")
                .series("requests", rate()),
        )
        .panel(
            Stat::new("Errors", Unit::Ratio)
                .description(
                    "Ratio of requests that failed: 5xx responses, timeouts, panics and response \
                     bodies that failed. Client disconnects do not count.",
                )
                .decimals(2)
                .threshold(0.01, Color::Yellow)
                .threshold(0.05, Color::Red)
                .series("errors", red.error_ratio(&requests, &[])),
        )
        .panel(
            Stat::new("Median duration", Unit::Seconds)
                .description("Median time from the request to the end of the response body.")
                .decimals(1)
                .series("p50", duration.clone().quantile(0.5)),
        )
        .panel(
            Stat::new("p99 duration", Unit::Seconds)
                .description("99th percentile of the request duration: 1% of requests take longer.")
                .decimals(1)
                .series("p99", duration.quantile(0.99)),
        )
        .panel(
            Stat::new("In flight", Unit::Count)
                .description("Requests in progress. Not filtered by custom labels.")
                .decimals(0)
                .series("in flight", red.selected_in_flight().value().sum()),
        )
        .panel(
            Stat::new("Client disconnects", Unit::Ratio)
                .description(
                    "Ratio of requests whose client disconnected before the end of the response. \
                     Often the first symptom of high latency.",
                )
                .decimals(2)
                .series("client disconnects", disconnects.ratio(rate())),
        )
}

fn requests(red: &Red) -> Row {
    let requests = red.selected(red.requests());
    let by = red.route_labels();
    let legend = red.route_legend();
    Row::new("Requests and errors")
        .panel(
            TimeSeries::new("Requests by route", Unit::RequestsPerSecond)
                .description(
                    "Requests per second to the busiest routes. Series without a route are \
                     requests that matched none.",
                )
                .size(12, 9)
                .series(
                    &legend,
                    requests.clone().rate().sum_by(by.clone()).top(TOP_ROUTES),
                ),
        )
        .panel(
            TimeSeries::new("Error ratio by route", Unit::Ratio)
                .description("Ratio of requests that failed, for the routes with the most errors.")
                .size(12, 9)
                .decimals(2)
                .series(&legend, red.error_ratio(&requests, &by).top(TOP_ROUTES)),
        )
        .panel(requests_by_status(red, &requests).size(8, 9))
        .panel(errors_by_type(red, &requests).size(8, 9))
        .panel(disconnects(red, &requests).size(8, 9))
}

pub(super) fn requests_by_status(red: &Red, requests: &Selector) -> TimeSeries {
    let status = red.status_label();
    let answered = requests.clone().without(status, [""]);
    TimeSeries::new("Requests by status", Unit::RequestsPerSecond)
        .description("Requests per second by response status. Excludes requests without one.")
        .stacked(true)
        .series(format!("{{{status}}}"), answered.rate().sum_by([status]))
}

pub(super) fn errors_by_type(red: &Red, requests: &Selector) -> TimeSeries {
    let all = requests.clone().rate().sum();
    let errors = red.errors(requests.clone());
    let error_type = red.names.error_type.as_deref();
    let label = error_type.unwrap_or(red.status_label());
    TimeSeries::new("Errors by type", Unit::RequestsPerSecond)
        .description(
            "Failed requests per second by cause: a 5xx status, a panic, a timeout, load shedding, \
             an injected fault or a failed response body.",
        )
        .colored_series(
            Color::Red,
            "all errors",
            errors.clone().rate().sum().or_zero(all),
        )
        .series(format!("{{{label}}}"), errors.rate().sum_by([label]))
}

/// Client disconnects, which are not errors, and two kinds of errors that overload causes.
pub(super) fn disconnects(red: &Red, requests: &Selector) -> TimeSeries {
    let all = || requests.clone().rate().sum();
    let Some(error_type) = &red.names.error_type else {
        let disconnects = red.client_disconnects(requests.clone()).rate().sum();
        return TimeSeries::new("Client disconnects", Unit::RequestsPerSecond)
            .description(
                "Requests per second whose client disconnected before the response head. They are \
                 not errors.",
            )
            .colored_series(Color::Gray, "disconnected", disconnects.or_zero(all()));
    };
    let of_type = |value: &str| -> Expr {
        let of_type = requests.clone().with(error_type, [value]);
        of_type.rate().sum().or_zero(all())
    };
    TimeSeries::new("Client disconnects and overload", Unit::RequestsPerSecond)
        .description(
            "Requests per second whose client disconnected, which are not errors, and requests \
             that were shed or timed out, which are.",
        )
        .colored_series(
            Color::Gray,
            "disconnected before head",
            of_type("cancelled"),
        )
        .colored_series(
            Color::Blue,
            "disconnected during body",
            of_type("body_cancelled"),
        )
        .colored_series(Color::Yellow, "shed", of_type("shed"))
        .colored_series(Color::Red, "timed out", of_type("timeout"))
}

fn duration(red: &Red) -> Row {
    let names = &red.names;
    let duration = red.selected(red.duration());
    let by = red.route_labels();
    let legend = red.route_legend();
    let in_flight = red.selected_in_flight().value().sum_by(by.clone());
    let row = Row::new("Duration")
        .panel(duration_quantiles(&duration).size(12, 9))
        .panel(duration_heatmap(&duration).size(12, 9))
        .panel(
            TimeSeries::new("p95 duration by route", Unit::Seconds)
                .description("95th percentile of the duration, for the slowest routes.")
                .size(12, 9)
                .series(&legend, duration.quantile_by(0.95, by).top(TOP_ROUTES)),
        )
        .panel(
            TimeSeries::new("In flight by route", Unit::Count)
                .description(
                    "Requests in progress, for the routes with the most. Not filtered by custom \
                     labels.",
                )
                .size(12, 9)
                .series(&legend, in_flight.top(TOP_ROUTES)),
        );
    if !red.time_to_head {
        return row;
    }
    let time_to_head = red.selected(Selector::new(&names.time_to_head));
    let quantile = |q| time_to_head.clone().quantile(q);
    row.panel(
        TimeSeries::new("Time to response head", Unit::Seconds)
            .description("Time from the request to the head of the response.")
            .size(24, 8)
            .colored_series(Color::Green, "p50", quantile(0.5))
            .colored_series(Color::Blue, "p95", quantile(0.95))
            .colored_series(Color::Yellow, "p99", quantile(0.99)),
    )
}

pub(super) fn duration_quantiles(duration: &Selector) -> TimeSeries {
    let quantile = |q| duration.clone().quantile(q);
    TimeSeries::new("Duration", Unit::Seconds)
        .description(
            "Time from the request to the end of the response body. Quantiles are interpolated \
             within a bucket. Points are exemplars, which link to traces.",
        )
        .exemplars(true)
        .colored_series(Color::Green, "p50", quantile(0.5))
        .colored_series(Color::Blue, "p95", quantile(0.95))
        .colored_series(Color::Yellow, "p99", quantile(0.99))
        .colored_series(Color::Gray, "mean", duration.clone().mean())
}

pub(super) fn duration_heatmap(duration: &Selector) -> Heatmap {
    Heatmap::new("Duration heatmap", Unit::Seconds, duration.clone()).description(
        "Requests per second in each duration bucket. Points are exemplars, which link to traces.",
    )
}

/// Traffic, if the layer records body sizes.
fn bodies(red: &Red) -> Option<Row> {
    let by = red.route_labels();
    let legend = red.route_legend();
    let row = Row::new("Bodies").panel(body_traffic(red)?.size(12, 9));
    let Some(size) = &red.names.response_size else {
        return Some(row);
    };
    let sent = red.selected(Selector::new(size)).sum().rate().sum_by(by);
    Some(
        row.panel(
            TimeSeries::new("Response traffic by route", Unit::BytesPerSecond)
                .description(
                    "Bytes of response bodies per second, for the routes with the most traffic.",
                )
                .size(12, 9)
                .series(legend, sent.top(TOP_ROUTES)),
        ),
    )
}

pub(super) fn body_traffic(red: &Red) -> Option<TimeSeries> {
    let bytes = |size: &String| red.selected(Selector::new(size)).sum().rate().sum();
    let (request, response) = (&red.names.request_size, &red.names.response_size);
    let mut panel = TimeSeries::new("Body traffic", Unit::BytesPerSecond)
        .description("Bytes of request and response bodies per second.");
    if let Some(size) = request {
        panel = panel.colored_series(Color::Green, "request bodies", bytes(size));
    }
    if let Some(size) = response {
        panel = panel.colored_series(Color::Blue, "response bodies", bytes(size));
    }
    (request.is_some() || response.is_some()).then_some(panel)
}

fn routes(red: &Red) -> Row {
    let names = &red.names;
    let requests = red.selected(red.requests());
    let duration = red.selected(red.duration());
    let by = red.route_labels();
    let rate = |of: Selector| of.rate().sum_by(by.clone());
    let quantile = |q| duration.clone().quantile_by(q, by.clone());
    let mut table = Table::new("Routes", by.clone())
        .description("All routes, busiest first. Click a route for details.")
        .size(24, 12)
        .data_link(&names.route, red.route_uid(), "route")
        .column(Column::new(
            "Requests",
            Unit::RequestsPerSecond,
            rate(requests.clone()),
        ))
        .column(
            Column::new("Errors", Unit::Ratio, red.error_ratio(&requests, &by))
                .threshold(0.01, Color::Yellow)
                .threshold(0.05, Color::Red),
        )
        .column(Column::new("p50", Unit::Seconds, quantile(0.5)))
        .column(Column::new("p95", Unit::Seconds, quantile(0.95)))
        .column(Column::new("p99", Unit::Seconds, quantile(0.99)));
    if let Some(size) = &names.response_size {
        let sent = rate(red.selected(Selector::new(size)).sum());
        table = table.column(Column::new("Traffic", Unit::BytesPerSecond, sent));
    }
    Row::new("Routes").panel(table)
}

/// Metrics about the recorder itself.
fn instrumentation(red: &Red) -> Row {
    let series = || red.recorder_series.clone().value().sum();
    let overflow = red.recorder_overflow.clone().rate().sum();
    Row::new("Instrumentation")
        .collapsed(true)
        .panel(
            TimeSeries::new("Series", Unit::Count)
                .description(
                    "Combinations of label values that the recorder tracks. Bounded by its \
                     cardinality limits.",
                )
                .decimals(0)
                .series("series", series()),
        )
        .panel(
            TimeSeries::new("Cardinality overflow", Unit::RequestsPerSecond)
                .description(format!(
                    "Requests per second that were recorded as _OTHER because a cardinality limit \
                     was reached. Above zero, {} or a custom label has too many values.",
                    red.names.route
                ))
                .colored_series(Color::Yellow, "overflow", overflow.or_zero(series())),
        )
}
