//! Expected values of panels over the lifetime of the server, computed from the load's counts.

use std::collections::BTreeMap;

use crate::load::{Counts, Kind};

/// Values by the values of the labels in `by`.
pub(crate) type Values = BTreeMap<Vec<String>, f64>;

/// Expected result of one query.
pub(crate) struct Expected {
    pub(crate) dashboard: &'static str,
    pub(crate) title: &'static str,
    pub(crate) letter: &'static str,
    pub(crate) by: Vec<&'static str>,
    pub(crate) values: Values,
    /// Whether the panel may show further series, which the load does not count.
    pub(crate) partial: bool,
}

const METHOD: &str = "http_request_method";
const ROUTE: &str = "http_route";
const STATUS: &str = "http_response_status_code";
const ERROR: &str = "error_type";

fn is_disconnect((_, _, _, error): &Kind) -> bool {
    matches!(&**error, "cancelled" | "body_cancelled")
}

fn is_error(kind: &Kind) -> bool {
    !kind.3.is_empty() && !is_disconnect(kind)
}

/// Ratio of valid requests that failed.
fn error_ratio(counts: &Counts) -> f64 {
    counts.count(is_error) as f64 / counts.count(|kind| !is_disconnect(kind)) as f64
}

/// Expected value of a recording rule over the lifetime of the server, or `None` if it depends on
/// durations, which only the server knows.
pub(crate) fn objective(counts: &Counts, slo: &str, record: &str) -> Option<f64> {
    let count = if record.starts_with("job_slo:bad_requests:") && slo == "availability" {
        counts.count(is_error)
    } else if record.starts_with("job_slo:requests:") && slo == "availability" {
        counts.count(|kind| !is_disconnect(kind))
    } else if record.starts_with("job_slo:requests:") && slo == "latency" {
        counts.count(|kind| kind.3.is_empty())
    } else {
        return None;
    };
    Some(count as f64)
}

pub(crate) fn all(counts: &Counts) -> Vec<Expected> {
    let mut all = http(counts, "HTTP overview");
    all.extend(http(counts, "HTTP by route"));
    all.extend(overview(counts));
    all.extend(by_route(counts));
    all.extend(sales(counts));
    all.push(faults(counts));
    all
}

/// Expects one value without labels.
fn one(dashboard: &'static str, title: &'static str, letter: &'static str, value: f64) -> Expected {
    by(dashboard, title, letter, &[], [(Vec::new(), value)])
}

fn by(
    dashboard: &'static str,
    title: &'static str,
    letter: &'static str,
    by: &[&'static str],
    values: impl IntoIterator<Item = (Vec<String>, f64)>,
) -> Expected {
    let by = by.to_vec();
    let values = values.into_iter().collect();
    Expected {
        dashboard,
        title,
        letter,
        by,
        values,
        partial: false,
    }
}

/// Counts the requests that `wanted` accepts, by the labels that `key` returns.
fn group(
    counts: &Counts,
    wanted: impl Fn(&Kind) -> bool,
    key: impl Fn(&Kind) -> Vec<String>,
) -> Values {
    let mut values = Values::new();
    for (kind, count) in counts.requests.iter().filter(|(kind, _)| wanted(kind)) {
        *values.entry(key(kind)).or_default() += *count as f64;
    }
    values
}

fn route(kind: &Kind) -> Vec<String> {
    vec![kind.0.clone(), kind.1.clone()]
}

/// Panels of both HTTP dashboards.
fn http(counts: &Counts, dashboard: &'static str) -> Vec<Expected> {
    let total = counts.count(|_| true) as f64;
    let of = |error: &str| counts.count(|kind| kind.3 == error) as f64;
    let overload = "Client disconnects and overload";
    vec![
        one(dashboard, "Requests", "A", total),
        one(dashboard, "Errors", "A", error_ratio(counts)),
        one(
            dashboard,
            "Client disconnects",
            "A",
            counts.count(is_disconnect) as f64 / total,
        ),
        one(
            dashboard,
            "Errors by type",
            "A",
            counts.count(is_error) as f64,
        ),
        by(
            dashboard,
            "Errors by type",
            "B",
            &[ERROR],
            group(counts, is_error, |kind| vec![kind.3.clone()]),
        ),
        by(
            dashboard,
            "Requests by status",
            "A",
            &[STATUS],
            group(
                counts,
                |kind| !kind.2.is_empty(),
                |kind| vec![kind.2.clone()],
            ),
        ),
        one(dashboard, overload, "A", of("cancelled")),
        one(dashboard, overload, "C", of("shed")),
        one(dashboard, overload, "D", of("timeout")),
        one(dashboard, "Body traffic", "A", counts.bytes.0 as f64),
        one(dashboard, "Body traffic", "B", counts.bytes.1 as f64),
    ]
}

fn overview(counts: &Counts) -> Vec<Expected> {
    const TITLE: &str = "HTTP overview";
    let labels = [METHOD, ROUTE];
    let total = group(counts, |_| true, route);
    let errors = group(counts, is_error, route);
    let served = group(counts, |kind| !is_disconnect(kind), route);
    let ratio: Values = errors
        .iter()
        .map(|(key, errors)| (key.clone(), errors / served[key]))
        .collect();
    vec![
        one(TITLE, "SLO compliance", "A", 1.0 - error_ratio(counts)),
        one(TITLE, "Burn rate", "A", error_ratio(counts) * 1_000.0),
        by(TITLE, "Requests by route", "A", &labels, total.clone()),
        by(TITLE, "Error ratio by route", "A", &labels, ratio.clone()),
        by(TITLE, "Routes", "A", &labels, total),
        by(TITLE, "Routes", "B", &labels, ratio),
    ]
}

fn by_route(counts: &Counts) -> Vec<Expected> {
    const TITLE: &str = "HTTP by route";
    let labels = [METHOD, ROUTE, STATUS, ERROR];
    let responses = group(
        counts,
        |_| true,
        |(method, route, status, error)| [method, route, status, error].map(String::clone).into(),
    );
    let methods = group(counts, |_| true, |kind| vec![kind.0.clone()]);
    vec![
        by(TITLE, "Requests by method", "A", &[METHOD], methods),
        by(TITLE, "Responses", "A", &labels, responses.clone()),
        by(TITLE, "Responses", "B", &labels, responses),
    ]
}

fn sales(counts: &Counts) -> Vec<Expected> {
    const TITLE: &str = "Ticket sales";
    const BY_CONCERT: &str = "Revenue by concert";
    let outcome = |name: &str| counts.outcome(name) as f64;
    let outcomes = ["sold", "declined", "sold_out", "rejected", "failed"];
    let attempts: f64 = outcomes.map(outcome).iter().sum();
    let (mut tickets, mut paid, mut refunds, mut money) =
        <(Values, Values, Values, Values)>::default();
    for (slug, sales) in &counts.concerts {
        let (slug, currency) = (slug.clone(), sales.currency.clone());
        let amount = sales.cents as f64 / 100.0;
        tickets.insert(vec![slug.clone()], sales.sold as f64);
        let refunded = sales.refunded_cents as f64 / 100.0;
        paid.insert(vec![slug.clone(), currency.clone()], amount);
        refunds.insert(vec![slug, currency.clone()], refunded);
        *money.entry(vec![currency]).or_default() += amount;
    }
    let sold: f64 = tickets.values().sum();
    let refunded: u64 = counts.concerts.values().map(|sales| sales.refunded).sum();
    let minute = tickets.iter().map(|(key, sold)| (key.clone(), sold * 60.0));
    let minute: Values = minute.collect();
    let revenue = paid.iter().map(|(key, paid)| (key.clone(), paid * 60.0));
    let revenue: Values = revenue.collect();
    let mut all = vec![
        by(TITLE, "Revenue in range", "A", &["currency"], money),
        one(TITLE, "Tickets in range", "A", sold),
        one(TITLE, "Tickets per minute", "A", sold * 60.0),
        one(
            TITLE,
            "Payments declined",
            "A",
            outcome("declined") / attempts,
        ),
        one(TITLE, "Sold out", "A", outcome("sold_out") / attempts),
        by(
            TITLE,
            "Tickets per minute by concert",
            "A",
            &["concert"],
            minute.clone(),
        ),
        by(
            TITLE,
            "Revenue per minute by concert",
            "A",
            &["concert", "currency"],
            revenue.clone(),
        ),
        one(TITLE, "Refunds and replays", "A", refunded as f64 * 60.0),
        one(
            TITLE,
            "Refunds and replays",
            "B",
            outcome("replayed") * 60.0,
        ),
        by(TITLE, "Top concerts", "A", &["concert"], tickets),
        by(TITLE, "Top concerts", "B", &["concert"], minute),
        by(TITLE, BY_CONCERT, "A", &["concert", "currency"], paid),
        by(TITLE, BY_CONCERT, "B", &["concert", "currency"], revenue),
        by(TITLE, BY_CONCERT, "C", &["concert", "currency"], refunds),
    ];
    for (letter, name) in ["A", "B", "C", "D", "E"].into_iter().zip(outcomes) {
        all.push(one(
            TITLE,
            "Outcome ratios",
            letter,
            outcome(name) / attempts,
        ));
        all.push(one(
            TITLE,
            "Purchase attempts per minute",
            letter,
            outcome(name) * 60.0,
        ));
    }
    all
}

fn faults(counts: &Counts) -> Expected {
    let values = [
        ("payment", "declined", counts.outcome("declined")),
        ("payment", "unavailable", counts.errors("POST", "injected")),
        (
            "read_purchase",
            "unavailable",
            counts.errors("GET", "injected"),
        ),
    ];
    let values =
        values.map(|(operation, kind, count)| (vec![operation.into(), kind.into()], count as f64));
    Expected {
        partial: true,
        ..by(
            "Platform",
            "Injected faults",
            "A",
            &["operation", "kind"],
            values,
        )
    }
}

/// Available tickets of each concert.
pub(crate) fn stock(counts: &Counts) -> Values {
    let left = |(slug, sales): (&String, &crate::load::Sales)| {
        let left = sales.capacity - sales.sold + sales.refunded;
        (vec![slug.clone()], left as f64)
    };
    counts.concerts.iter().map(left).collect()
}
