//! What panels must show over the whole life of the server, from the load's own count.

use std::collections::BTreeMap;

use crate::load::{Kind, Tally};

/// Figures by the values of the labels in `by`.
pub(crate) type Figures = BTreeMap<Vec<String>, f64>;

/// The figures of one query.
pub(crate) struct Expected {
    pub(crate) dashboard: &'static str,
    pub(crate) title: &'static str,
    pub(crate) letter: &'static str,
    pub(crate) by: Vec<&'static str>,
    pub(crate) figures: Figures,
    /// What more the panel shows is not for the load to know.
    pub(crate) more: bool,
}

const METHOD: &str = "http_request_method";
const ROUTE: &str = "http_route";
const STATUS: &str = "http_response_status_code";
const ERROR: &str = "error_type";

fn is_hung_up((_, _, _, error): &Kind) -> bool {
    matches!(&**error, "cancelled" | "body_cancelled")
}

fn is_error(kind: &Kind) -> bool {
    !kind.3.is_empty() && !is_hung_up(kind)
}

/// The share of requests that failed, of those that were served.
pub(crate) fn error_ratio(tally: &Tally) -> f64 {
    tally.count(is_error) as f64 / tally.count(|kind| !is_hung_up(kind)) as f64
}

/// What a recording rule of an objective counts, where the load can: how long its own requests
/// took is for the server to say.
pub(crate) fn objective(tally: &Tally, slo: &str, record: &str) -> Option<f64> {
    let count = if record.starts_with("job_slo:bad_requests:") && slo == "availability" {
        tally.count(is_error)
    } else if record.starts_with("job_slo:requests:") && slo == "availability" {
        tally.count(|kind| !is_hung_up(kind))
    } else if record.starts_with("job_slo:requests:") && slo == "latency" {
        tally.count(|kind| kind.3.is_empty())
    } else {
        return None;
    };
    Some(count as f64)
}

pub(crate) fn all(tally: &Tally) -> Vec<Expected> {
    let mut all = http(tally, "HTTP overview");
    all.extend(http(tally, "HTTP by route"));
    all.extend(overview(tally));
    all.extend(by_route(tally));
    all.extend(sales(tally));
    all.push(faults(tally));
    all
}

/// One figure without labels.
fn one(
    dashboard: &'static str,
    title: &'static str,
    letter: &'static str,
    figure: f64,
) -> Expected {
    by(dashboard, title, letter, &[], [(Vec::new(), figure)])
}

fn by(
    dashboard: &'static str,
    title: &'static str,
    letter: &'static str,
    by: &[&'static str],
    figures: impl IntoIterator<Item = (Vec<String>, f64)>,
) -> Expected {
    let by = by.to_vec();
    let figures = figures.into_iter().collect();
    Expected {
        dashboard,
        title,
        letter,
        by,
        figures,
        more: false,
    }
}

/// The counts of the kinds that `wanted` accepts, by some of their labels.
fn counts(
    tally: &Tally,
    wanted: impl Fn(&Kind) -> bool,
    key: impl Fn(&Kind) -> Vec<String>,
) -> Figures {
    let mut figures = Figures::new();
    for (kind, count) in tally.requests.iter().filter(|(kind, _)| wanted(kind)) {
        *figures.entry(key(kind)).or_default() += *count as f64;
    }
    figures
}

fn route(kind: &Kind) -> Vec<String> {
    vec![kind.0.clone(), kind.1.clone()]
}

/// What both HTTP dashboards show.
fn http(tally: &Tally, dashboard: &'static str) -> Vec<Expected> {
    let total = tally.count(|_| true) as f64;
    let of = |error: &str| tally.count(|kind| kind.3 == error) as f64;
    let hung = "Client disconnects and overload";
    vec![
        one(dashboard, "Requests", "A", total),
        one(dashboard, "Errors", "A", error_ratio(tally)),
        one(
            dashboard,
            "Client disconnects",
            "A",
            tally.count(is_hung_up) as f64 / total,
        ),
        one(
            dashboard,
            "Errors by type",
            "A",
            tally.count(is_error) as f64,
        ),
        by(
            dashboard,
            "Errors by type",
            "B",
            &[ERROR],
            counts(tally, is_error, |kind| vec![kind.3.clone()]),
        ),
        by(
            dashboard,
            "Requests by status",
            "A",
            &[STATUS],
            counts(
                tally,
                |kind| !kind.2.is_empty(),
                |kind| vec![kind.2.clone()],
            ),
        ),
        one(dashboard, hung, "A", of("cancelled")),
        one(dashboard, hung, "C", of("shed")),
        one(dashboard, hung, "D", of("timeout")),
        one(dashboard, "Network traffic", "A", tally.bytes.0 as f64),
        one(dashboard, "Network traffic", "B", tally.bytes.1 as f64),
    ]
}

fn overview(tally: &Tally) -> Vec<Expected> {
    const TITLE: &str = "HTTP overview";
    let labels = [METHOD, ROUTE];
    let total = counts(tally, |_| true, route);
    let errors = counts(tally, is_error, route);
    let served = counts(tally, |kind| !is_hung_up(kind), route);
    let ratio: Figures = errors
        .iter()
        .map(|(key, errors)| (key.clone(), errors / served[key]))
        .collect();
    vec![
        one(TITLE, "SLO compliance", "A", 1.0 - error_ratio(tally)),
        one(TITLE, "Burn rate", "A", error_ratio(tally) * 1_000.0),
        by(TITLE, "Requests by route", "A", &labels, total.clone()),
        by(TITLE, "Error ratio by route", "A", &labels, ratio.clone()),
        by(TITLE, "Routes", "A", &labels, total),
        by(TITLE, "Routes", "B", &labels, ratio),
    ]
}

fn by_route(tally: &Tally) -> Vec<Expected> {
    const TITLE: &str = "HTTP by route";
    let labels = [METHOD, ROUTE, STATUS, ERROR];
    let answers = counts(
        tally,
        |_| true,
        |(method, route, status, error)| [method, route, status, error].map(String::clone).into(),
    );
    let methods = counts(tally, |_| true, |kind| vec![kind.0.clone()]);
    vec![
        by(TITLE, "Requests by method", "A", &[METHOD], methods),
        by(TITLE, "Responses", "A", &labels, answers.clone()),
        by(TITLE, "Responses", "B", &labels, answers),
    ]
}

fn sales(tally: &Tally) -> Vec<Expected> {
    const TITLE: &str = "Ticket sales";
    const BY_CONCERT: &str = "Revenue by concert";
    let outcome = |name: &str| tally.outcomes.get(name).copied().unwrap_or(0) as f64;
    let outcomes = ["sold", "declined", "sold_out", "rejected", "failed"];
    let tries: f64 = outcomes.map(outcome).iter().sum();
    let (mut tickets, mut paid, mut refunds, mut money) =
        <(Figures, Figures, Figures, Figures)>::default();
    for (slug, sales) in &tally.concerts {
        let (slug, currency) = (slug.clone(), sales.currency.clone());
        let amount = sales.cents as f64 / 100.0;
        tickets.insert(vec![slug.clone()], sales.sold as f64);
        let refunded = sales.refunded_cents as f64 / 100.0;
        paid.insert(vec![slug.clone(), currency.clone()], amount);
        refunds.insert(vec![slug, currency.clone()], refunded);
        *money.entry(vec![currency]).or_default() += amount;
    }
    let sold: f64 = tickets.values().sum();
    let refunded: u64 = tally.concerts.values().map(|sales| sales.refunded).sum();
    let minute = tickets.iter().map(|(key, sold)| (key.clone(), sold * 60.0));
    let minute: Figures = minute.collect();
    let revenue = paid.iter().map(|(key, paid)| (key.clone(), paid * 60.0));
    let revenue: Figures = revenue.collect();
    let mut all = vec![
        by(TITLE, "Revenue in range", "A", &["currency"], money),
        one(TITLE, "Tickets in range", "A", sold),
        one(TITLE, "Tickets per minute", "A", sold * 60.0),
        one(TITLE, "Payments declined", "A", outcome("declined") / tries),
        one(TITLE, "Sold out", "A", outcome("sold_out") / tries),
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
        all.push(one(TITLE, "Outcome ratios", letter, outcome(name) / tries));
        all.push(one(
            TITLE,
            "Purchase attempts per minute",
            letter,
            outcome(name) * 60.0,
        ));
    }
    all
}

fn faults(tally: &Tally) -> Expected {
    let outcome = |name: &str| tally.outcomes.get(name).copied().unwrap_or(0) as f64;
    let injected = tally.count(|kind| kind.0 == "GET" && kind.3 == "injected");
    let figures = [
        ("payment", "declined", outcome("declined")),
        ("payment", "unavailable", outcome("failed")),
        ("read_purchase", "unavailable", injected as f64),
    ];
    let figures =
        figures.map(|(operation, kind, count)| (vec![operation.into(), kind.into()], count));
    Expected {
        more: true,
        ..by(
            "Platform",
            "Injected faults",
            "A",
            &["operation", "kind"],
            figures,
        )
    }
}

/// The tickets that are left of each concert.
pub(crate) fn stock(tally: &Tally) -> Figures {
    let left = |(slug, sales): (&String, &crate::load::Sales)| {
        let left = sales.capacity - sales.sold + sales.refunded;
        (vec![slug.clone()], left as f64)
    };
    tally.concerts.iter().map(left).collect()
}
