//! Panels of what a layer does not see: connections, admission, the Tokio runtime, and requests
//! that do not end.

use std::time::Duration;

use super::Red;
use crate::burn_rate::Severity;
use crate::dashboard::Row;
use crate::expr::Expr;
use crate::format;
use crate::panel::{Color, Panel, TimeSeries, Unit};
use crate::rules::Alert;
use crate::selector::Selector;

const INSTANCE: &str = "instance";
const RUNTIME: &str = "runtime";

/// Names of the metrics that dashboards and rules show beside those of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Saturation {
    pub(super) connections: Option<ConnectionMetrics>,
    /// Histogram of the waits for admission.
    pub(super) admission_wait: Option<String>,
    pub(super) runtime: bool,
    /// Gauge of the age of the oldest request, and the age at which it counts as hung.
    pub(super) oldest_request: Option<(String, Duration)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ConnectionMetrics {
    pub(super) open: String,
    pub(super) rejected: String,
    pub(super) network_io: String,
    /// Gauge of the limit of open connections.
    pub(super) limit: Option<Selector>,
}

/// The row, if the service has any of the metrics.
pub(super) fn row(red: &Red) -> Option<Row> {
    let saturation = &red.saturation;
    let mut panels: Vec<TimeSeries> = Vec::new();
    if let Some(connections) = &saturation.connections {
        panels.extend(of_connections(connections));
    }
    panels.extend(saturation.admission_wait.as_deref().map(admission_wait));
    panels.extend(saturation.runtime.then(scheduling_delay));
    panels.extend(saturation.oldest_request.as_ref().map(|(name, hung)| {
        let route = red.names.route.as_str();
        let oldest = Selector::new(name).with_variable(route, "route");
        TimeSeries::new("Oldest request", Unit::Seconds)
            .description(format!(
                "Age of the oldest request in flight, by route. Rises for as long as a request hangs, \
                 before it ends; {} count as hung.",
                format::duration(*hung)
            ))
            .threshold(hung.as_secs_f64(), Color::Red)
            .series(format!("{{{route}}}"), oldest.value().max_by([route]))
    }));
    if panels.is_empty() {
        return None;
    }
    // Lines of at most three panels.
    let (count, rest) = (panels.len(), panels.len() % 3);
    let row = Row::new("Connections and saturation");
    Some(
        panels
            .into_iter()
            .enumerate()
            .fold(row, |row, (at, panel)| {
                let width = match rest {
                    0 => 8,
                    // Two lines of two rather than one of three and one of one.
                    1 if count == 4 => 12,
                    1 if at + 1 == count => 24,
                    2 if at + 2 >= count => 12,
                    _ => 8,
                };
                row.panel(Panel::from(panel.size(width, 8)))
            }),
    )
}

fn of_connections(names: &ConnectionMetrics) -> [TimeSeries; 3] {
    let bytes = |direction: &str| {
        let bytes = Selector::new(&names.network_io).with("network_io_direction", [direction]);
        bytes.rate().sum()
    };
    let traffic = TimeSeries::new("Network traffic", Unit::BytesPerSecond)
        .description(
            "Bytes per second that crossed the network: heads, bodies, frames, TLS and upgraded \
             connections.",
        )
        .colored_series(Color::Green, "received", bytes("receive"))
        .colored_series(Color::Blue, "sent", bytes("transmit"));
    let mut open = TimeSeries::new("Open connections", Unit::Count)
        .description("Open connections by instance, and their limit.")
        .decimals(0)
        .series("{instance}", by_instance(Selector::new(&names.open)));
    if let Some(limit) = &names.limit {
        let limit = by_instance(limit.clone());
        open = open.colored_series(Color::Gray, "{instance} limit", limit);
    }
    let rejected = TimeSeries::new("Rejected connections", Unit::PerSecond)
        .description(
            "Connections per second that were closed at once because of the limit, and failures to \
             accept one, such as a lack of file descriptors.",
        )
        .series(
            "{reason}",
            Selector::new(&names.rejected).rate().sum_by(["reason"]),
        );
    [traffic, open, rejected]
}

fn by_instance(gauge: Selector) -> Expr {
    gauge.value().sum_by([INSTANCE])
}

fn admission_wait(histogram: &str) -> TimeSeries {
    let wait = |q| Selector::new(histogram).quantile(q);
    TimeSeries::new("Admission wait", Unit::Seconds)
        .description(
            "How long requests wait for admission. Those that do not wait count with zero. Not \
             filtered by route.",
        )
        .colored_series(Color::Green, "p50", wait(0.5))
        .colored_series(Color::Yellow, "p99", wait(0.99))
}

fn delay_p99() -> Expr {
    let delay = Selector::new("tokio_scheduling_delay_seconds");
    delay.quantile_by(0.99, [INSTANCE, RUNTIME])
}

fn scheduling_delay() -> TimeSeries {
    TimeSeries::new("Scheduling delay p99", Unit::Seconds)
        .description(
            "99th percentile of how late a task runs that is due, by Tokio runtime. Far above a few \
             milliseconds, the runtime is saturated, or tasks block its threads.",
        )
        .series("{instance} {runtime}", delay_p99())
}

/// The alerts for the metrics that the service has.
pub(super) fn alerts(red: &Red) -> Vec<Alert> {
    let saturation = &red.saturation;
    let mut alerts = Vec::new();
    if saturation.runtime {
        alerts.extend([runtime_blocked(), scheduling_delayed()]);
    }
    if let Some(ConnectionMetrics {
        open,
        limit: Some(limit),
        ..
    }) = &saturation.connections
    {
        alerts.push(connections_near_limit(open, limit));
    }
    if let Some((oldest, hung)) = &saturation.oldest_request {
        alerts.push(requests_hung(red, oldest, *hung));
    }
    alerts
}

fn runtime_blocked() -> Alert {
    let blocked = Selector::new("tokio_blocked_seconds");
    Alert::new(
        "RuntimeBlocked",
        blocked.value().max_by([INSTANCE, RUNTIME]),
        5.0,
        "A Tokio runtime runs no tasks.",
    )
    .severity(Severity::Page)
    .description(
        "The runtime {{ $labels.runtime }} of {{ $labels.instance }} has run no task that was due for \
         {{ $value | humanizeDuration }}. It serves no requests.",
    )
    .runbook(
        "**Meaning.** Every worker thread of the runtime is blocked, or has got no processor time. \
         Another runtime serves the metrics.\n\n\
         **Diagnosis.** A stack dump of the process shows where its workers are: usually in a blocking \
         call, a lock that is held across an `.await`, or a long computation. If the whole machine is \
         overloaded, the processor usage of other processes shows it.\n\n\
         **Mitigation.** Restart the instance. Move blocking calls to `spawn_blocking`, and split long \
         computations with `yield_now`.",
    )
}

fn scheduling_delayed() -> Alert {
    Alert::new(
        "SchedulingDelayed",
        delay_p99(),
        0.25,
        "Tasks of a Tokio runtime run late.",
    )
    .pending(Duration::from_secs(600))
    .description(
        "For ten minutes, 1% of the tasks of the runtime {{ $labels.runtime }} of \
         {{ $labels.instance }} have started {{ $value | humanizeDuration }} late or later.",
    )
    .runbook(
        "**Meaning.** Tasks wait for a worker thread. The delay adds to the duration of requests, also \
         of those that do nothing slow themselves.\n\n\
         **Diagnosis.** Compare with *Worker utilization* and the processor usage. With busy workers, \
         the load exceeds the capacity. With idle ones, single tasks block a thread for a while.\n\n\
         **Mitigation.** Add processors or instances, or reduce the load. Move blocking calls to \
         `spawn_blocking`.",
    )
}

fn connections_near_limit(open: &str, limit: &Selector) -> Alert {
    Alert::new(
        "ConnectionsNearLimit",
        by_instance(Selector::new(open)).ratio(by_instance(limit.clone())),
        0.8,
        "An instance is about to reject connections.",
    )
    .pending(Duration::from_secs(300))
    .description(
        "For five minutes, {{ $labels.instance }} has used more than 80% of its limit of open \
         connections, now {{ $value | humanizePercentage }}.",
    )
    .runbook(
        "**Meaning.** At the limit, the instance rejects connections, which clients see as a \
         reset.\n\n\
         **Diagnosis.** *Open connections* shows whether they grow with the requests. If they do not, \
         clients do not reuse or do not close them. Idle connections that stay open point to a long \
         keep-alive of a proxy.\n\n\
         **Mitigation.** Add instances, raise the limit together with that of file descriptors, or \
         shorten the keep-alive.",
    )
}

fn requests_hung(red: &Red, oldest: &str, hung: Duration) -> Alert {
    let route = red.names.route.as_str();
    let after = format::duration(hung);
    Alert::new(
        "RequestsHung",
        Selector::new(oldest).value().max_by([route]),
        hung.as_secs_f64(),
        "A request does not end.",
    )
    .description(format!(
        "The oldest request to the route {{{{ $labels.{route} }}}} has been in progress for \
         {{{{ $value | humanizeDuration }}}}, more than {after}."
    ))
    .runbook(format!(
        "**Meaning.** A handler waits for something that does not come, or a client reads its response \
         very slowly. The request is not in the histogram of durations before it ends. Routes whose \
         requests take more than {after} on purpose need a higher threshold.\n\n\
         **Diagnosis.** *Oldest request* shows the route and since when. *In flight by route* shows \
         whether it is one request or all. A stack or task dump shows where it waits: usually a \
         dependency without a timeout, or a deadlock.\n\n\
         **Mitigation.** Restart the instance. Set a timeout on the route and on calls to \
         dependencies.",
    ))
}
