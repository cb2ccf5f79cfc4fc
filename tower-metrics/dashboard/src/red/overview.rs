//! The overview of a service.

use super::Red;
use crate::expr::{Expr, Selector};
use crate::panel::{Column, Dashboard, Panel, Row, Tone, Unit};

/// Charts by route show this many; the table below them has all.
const ROUTES: usize = 20;

pub(super) fn dashboard(red: &Red) -> Dashboard {
    let description = "Rate, errors and duration of every route. Pick a route in the table for \
                       its details.";
    red.blank(&red.uid, &format!("{} overview", red.title), description)
        .link(format!("{} by route", red.title), red.route_uid())
        .row(now(red))
        .row(requests(red))
        .row(duration(red))
        .rows(traffic(red))
        .row(routes(red))
        .row(measurement(red))
}

/// The six figures that both dashboards begin with.
pub(super) fn now(red: &Red) -> Row {
    let requests = red.picked(red.requests());
    let duration = red.picked(red.duration());
    let all = || requests.clone().rate().sum();
    Row::new("At a glance")
        .panel(
            Panel::stat("Requests", Unit::RequestsPerSecond)
                .help("Requests that ended, per second, whatever became of them.")
                .series("requests", all()),
        )
        .panel(
            Panel::stat("Errors", Unit::Ratio)
                .help(
                    "Share of the requests that failed by the service's doing: status 5xx, \
                     panics, broken bodies. Clients that hang up are not among them.",
                )
                .decimals(2)
                .threshold(0.01, Tone::Warn)
                .threshold(0.05, Tone::Bad)
                .series("errors", red.error_ratio(&requests, &[])),
        )
        .panel(
            Panel::stat("Median", Unit::Seconds)
                .help(
                    "Half of the requests take at most this long, from the call to the last byte.",
                )
                .decimals(1)
                .series("p50", duration.clone().quantile(0.5, [""; 0])),
        )
        .panel(
            Panel::stat("99th percentile", Unit::Seconds)
                .help("One request in a hundred takes longer than this.")
                .decimals(1)
                .series("p99", duration.quantile(0.99, [""; 0])),
        )
        .panel(
            Panel::stat("In flight", Unit::Count)
                .help("Requests that have begun and not ended.")
                .decimals(0)
                .series("in flight", red.picked(red.in_flight()).value().sum()),
        )
        .panel(
            Panel::stat("Hung up", Unit::Ratio)
                .help(
                    "Share of the requests whose client went away before the end of the answer. \
                     Often the first sign that answers take too long.",
                )
                .decimals(2)
                .series(
                    "hung up",
                    red.hung_up(requests.clone()).rate().sum().ratio(all()),
                ),
        )
}

fn requests(red: &Red) -> Row {
    let names = &red.names;
    let requests = red.picked(red.requests());
    let by = [names.method.as_str(), names.route.as_str()];
    let legend = format!("{{{}}} {{{}}}", names.method, names.route);
    Row::new("Requests and errors")
        .panel(
            Panel::lines("Requests by route", Unit::RequestsPerSecond)
                .help("The busiest routes. A method without a route stands for requests that matched none.")
                .size(12, 9)
                .series(&legend, requests.clone().rate().sum_by(by).top(ROUTES)),
        )
        .panel(
            Panel::lines("Error ratio by route", Unit::Ratio)
                .help("Share of each route's requests that failed; the worst routes.")
                .size(12, 9)
                .decimals(2)
                .series(&legend, red.error_ratio(&requests, &by).top(ROUTES)),
        )
        .panel(by_status(red, &requests).size(8, 9))
        .panel(by_error(red, &requests).size(8, 9))
        .panel(not_errors(red, &requests).size(8, 9))
}

/// Requests by status.
pub(super) fn by_status(red: &Red, requests: &Selector) -> Panel {
    let status = &red.names.status;
    let answered = requests.clone().without(status, [""]);
    Panel::lines("Requests by status", Unit::RequestsPerSecond)
        .help("Every request that got a status, by it.")
        .stacked()
        .series(format!("{{{status}}}"), answered.rate().sum_by([status]))
}

/// Failed requests by what failed.
pub(super) fn by_error(red: &Red, requests: &Selector) -> Panel {
    let all = requests.clone().rate().sum();
    let errors = red.errors(requests.clone());
    let label = red.names.error_type.as_ref().unwrap_or(&red.names.status);
    Panel::lines("Errors by type", Unit::RequestsPerSecond)
        .help(
            "Failed requests by what failed: a 5xx status, or a panic, a timeout, shedding, an \
             injected fault, a broken body.",
        )
        .series_in(
            Tone::Bad,
            "all errors",
            errors.clone().rate().sum().or_zero(all),
        )
        .series(format!("{{{label}}}"), errors.rate().sum_by([label]))
}

/// What must be told apart from errors of the service's own.
pub(super) fn not_errors(red: &Red, requests: &Selector) -> Panel {
    let all = || requests.clone().rate().sum();
    let panel = Panel::lines("Hung up, shed, timed out", Unit::RequestsPerSecond);
    let Some(kind) = &red.names.error_type else {
        let hung_up = red.hung_up(requests.clone()).rate().sum().or_zero(all());
        return panel
            .help("Requests whose client hung up before the head of the answer. No errors.")
            .series_in(Tone::Muted, "client hung up", hung_up);
    };
    let only = |value: &str| -> Expr {
        requests
            .clone()
            .with(kind, [value])
            .rate()
            .sum()
            .or_zero(all())
    };
    panel
        .help(
            "Clients that hung up are no errors; requests that were shed or timed out are, and \
             stand here to be told apart from failures.",
        )
        .series_in(Tone::Muted, "hung up before the head", only("cancelled"))
        .series_in(Tone::Neutral, "hung up in the body", only("body_cancelled"))
        .series_in(Tone::Warn, "shed", only("shed"))
        .series_in(Tone::Bad, "timed out", only("timeout"))
}

fn duration(red: &Red) -> Row {
    let names = &red.names;
    let duration = red.picked(red.duration());
    let by = [names.method.as_str(), names.route.as_str()];
    let legend = format!("{{{}}} {{{}}}", names.method, names.route);
    let row = Row::new("Duration")
        .panel(quantiles(&duration).size(12, 9))
        .panel(heatmap(&duration).size(12, 9))
        .panel(
            Panel::lines("95th percentile by route", Unit::Seconds)
                .help("One request in twenty to the route takes longer; the slowest routes.")
                .size(12, 9)
                .series(&legend, duration.clone().quantile(0.95, by).top(ROUTES)),
        )
        .panel(
            Panel::lines("In flight by route", Unit::Count)
                .help("Requests that have begun and not ended, by route.")
                .size(12, 9)
                .series(
                    &legend,
                    red.picked(red.in_flight()).value().sum_by(by).top(ROUTES),
                ),
        );
    if !red.time_to_head {
        return row;
    }
    let head = red.picked(Selector::new(&names.time_to_head));
    row.panel(
        Panel::lines("Time to the head", Unit::Seconds)
            .help("From the call to the head of the answer: the service's own part.")
            .size(24, 8)
            .series_in(Tone::Good, "p50", head.clone().quantile(0.5, [""; 0]))
            .series_in(Tone::Neutral, "p95", head.clone().quantile(0.95, [""; 0]))
            .series_in(Tone::Warn, "p99", head.quantile(0.99, [""; 0])),
    )
}

/// The usual quantiles and the mean.
pub(super) fn quantiles(duration: &Selector) -> Panel {
    let q = |q| duration.clone().quantile(q, [""; 0]);
    Panel::lines("Duration", Unit::Seconds)
        .help(
            "From the call to the last byte of the answer. Quantiles are interpolated within \
             their bucket; the points are single requests with their trace.",
        )
        .with_exemplars()
        .series_in(Tone::Good, "p50", q(0.5))
        .series_in(Tone::Neutral, "p95", q(0.95))
        .series_in(Tone::Warn, "p99", q(0.99))
        .series_in(Tone::Muted, "mean", duration.clone().mean([""; 0]))
}

/// Where the requests lie between quick and slow.
pub(super) fn heatmap(duration: &Selector) -> Panel {
    Panel::heatmap("Duration heatmap", Unit::Seconds, duration.clone()).help(
        "Requests per second in each bucket of duration. Two bands mean two kinds of requests. \
         The points are single requests with their trace.",
    )
}

/// The traffic, where the layer measures it.
fn traffic(red: &Red) -> Option<Row> {
    let by = [red.names.method.as_str(), red.names.route.as_str()];
    let legend = format!("{{{}}} {{{}}}", red.names.method, red.names.route);
    let row = Row::new("Network").panel(network(red)?.size(12, 9));
    Some(match &red.names.response_size {
        None => row,
        Some(out) => row.panel(
            Panel::lines("Sent by route", Unit::BytesPerSecond)
                .help("Bytes of answers' bodies; the routes that send most.")
                .size(12, 9)
                .series(
                    legend,
                    red.picked(Selector::new(out))
                        .total()
                        .rate()
                        .sum_by(by)
                        .top(ROUTES),
                ),
        ),
    })
}

/// Bytes in and out.
pub(super) fn network(red: &Red) -> Option<Panel> {
    let bytes = |size: &String| red.picked(Selector::new(size)).total().rate().sum();
    let mut panel = Panel::lines("Network traffic", Unit::BytesPerSecond)
        .help("Bytes of bodies per second: requests in, answers out.");
    if let Some(size) = &red.names.request_size {
        panel = panel.series_in(Tone::Good, "in", bytes(size));
    }
    if let Some(size) = &red.names.response_size {
        panel = panel.series_in(Tone::Neutral, "out", bytes(size));
    }
    let measured = red.names.request_size.is_some() || red.names.response_size.is_some();
    measured.then_some(panel)
}

fn routes(red: &Red) -> Row {
    let names = &red.names;
    let requests = red.picked(red.requests());
    let duration = red.picked(red.duration());
    let by = [names.method.as_str(), names.route.as_str()];
    let rate = |of: Selector| of.rate().sum_by(by);
    let quantile = |q| duration.clone().quantile(q, by);
    let mut table = Panel::table("Routes", by)
        .help("All routes, busiest first. A click on a route shows it alone.")
        .size(24, 12)
        .drill(&names.route, red.route_uid(), "route")
        .column(Column::new(
            "Requests",
            Unit::RequestsPerSecond,
            rate(requests.clone()),
        ))
        .column(
            Column::new("Errors", Unit::Ratio, red.error_ratio(&requests, &by))
                .threshold(0.01, Tone::Warn)
                .threshold(0.05, Tone::Bad),
        )
        .column(Column::new("p50", Unit::Seconds, quantile(0.5)))
        .column(Column::new("p95", Unit::Seconds, quantile(0.95)))
        .column(Column::new("p99", Unit::Seconds, quantile(0.99)));
    if let Some(size) = &names.response_size {
        let sent = rate(red.picked(Selector::new(size)).total());
        table = table.column(Column::new("Sent", Unit::BytesPerSecond, sent));
    }
    Row::new("Routes").panel(table)
}

fn measurement(red: &Red) -> Row {
    let series = || Selector::new("tower_metrics_series").value().sum();
    let overflow = Selector::new("tower_metrics_overflow_total").rate().sum();
    Row::new("Measurement")
        .collapsed()
        .panel(
            Panel::lines("Series", Unit::Count)
                .help("Pairs of method and route that the layer has seen. It grows with the routes, never with the paths.")
                .decimals(0)
                .series("series", series()),
        )
        .panel(
            Panel::lines("Over the caps", Unit::RequestsPerSecond)
                .help(format!(
                    "Requests whose route or label value was over the cap, and counted as _OTHER. \
                     Anything but zero means that {:?} has too many values.",
                    red.names.route
                ))
                .series_in(Tone::Warn, "over the caps", overflow.or_zero(series())),
        )
}
