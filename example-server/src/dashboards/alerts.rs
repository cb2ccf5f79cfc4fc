//! Alerts of the platform, in addition to those of its objectives.

use std::time::Duration;

use tower_metrics_dashboard::{Alert, Red, Selector, Severity};

use super::POOL;

pub(super) fn pool_exhausted() -> Alert {
    let wait = Selector::new("db_client_connection_wait_time_seconds").quantile_by(0.95, [POOL]);
    Alert::new(
        "DatabasePoolExhausted",
        wait,
        0.5,
        "Requests are waiting for a database connection.",
    )
    .pending(Duration::from_secs(600))
    .description(
        "For ten minutes, 5% of requests have waited more than half a second for a connection of \
         the pool {{ $labels.db_client_connection_pool_name }}. The 95th percentile is \
         {{ $value | humanizeDuration }}.",
    )
    .runbook(
        "**Meaning.** Every connection of the pool is in use, and requests queue for one before \
         they reach the database.\n\n\
         **Diagnosis.** Open the dashboard *Platform*, row *Database*. If operations have become \
         slow, the cause is the database or the `slow-database` faults. If they are still \
         fast, there are too many of them.\n\n\
         **Mitigation.** Stop the faults, set `commit` to `group`, or increase the size of the \
         pool.",
    )
}

/// Purchases that fail because of the platform.
///
/// The response status distinguishes them from failures that the buyer causes, and includes
/// requests that were shed, which are not in `ticket_purchases_total`.
pub(super) fn purchases_fail(red: &Red) -> Alert {
    let responses = || {
        red.requests()
            .with("http_request_method", ["POST"])
            .with("http_route", ["/concerts/{concert_id}/purchases"])
    };
    let failed = responses().with_prefix("http_response_status_code", "5");
    Alert::new(
        "PurchasesFail",
        failed.rate().sum().ratio(responses().rate().sum()),
        0.05,
        "Purchases are failing for reasons other than the buyer.",
    )
    .pending(Duration::from_secs(300))
    .severity(Severity::Page)
    .description(
        "For five minutes, {{ $value | humanizePercentage }} of purchase attempts have failed with \
         a 5xx status. Declined payments, sold-out concerts and purchase limits do not count.",
    )
    .runbook(
        "**Meaning.** Buyers cannot buy tickets that are available: the payment provider or the \
         database does not respond, or the server sheds load.\n\n\
         **Diagnosis.** The dashboard *Platform*, row *Faults and commit mode*, shows injected \
         faults such as `payment-outage`. Otherwise the server's log has the cause of each failure \
         with its request ID.\n\n\
         **Mitigation.** Stop injected faults with `PUT /faults` and `{\"preset\": \"calm\"}`. \
         Otherwise restore the payment provider or the database.",
    )
}
