//! Recording rules.

use std::time::Duration;

use super::rule::{Rule, RuleKind, Target, prometheus_duration};
use crate::burn_rate::BurnRateAlert;
use crate::slo::Slo;

/// Window of the rates from which the error budget is computed.
const SHORTEST: Duration = Duration::from_secs(300);

/// For each window: the rates of bad and of all requests, and the ratio of bad requests.
pub(super) fn windows(target: &Target, slo: &Slo, alerts: &[BurnRateAlert]) -> Vec<Rule> {
    let mut windows: Vec<Duration> = (alerts.iter())
        .flat_map(|alert| [alert.short, alert.long])
        .chain([SHORTEST])
        .collect();
    windows.sort_unstable();
    // Prometheus has no unit below a millisecond.
    windows.dedup_by_key(|window| window.as_millis());
    let mut rules = Vec::new();
    for window in windows {
        let window = prometheus_duration(window);
        let rate = format!("rate{window}");
        let query = target.query(&slo.bad_rate(), &window);
        rules.push(record(target, slo, "bad_requests", &rate, query));
        let query = target.query(&slo.total_rate(), &window);
        rules.push(record(target, slo, "requests", &rate, query));
        // A ratio of sums, not a mean of ratios. Absent rather than NaN without traffic.
        let query = format!(
            "{}\n/\n({} > 0)",
            target.recorded(slo, "bad_requests", &rate),
            target.recorded(slo, "requests", &rate),
        );
        let ratio = format!("ratio_{rate}");
        let metric = "bad_requests_per_requests";
        rules.push(record(target, slo, metric, &ratio, query));
    }
    rules
}

/// The ratio of bad requests over the period of the objective, and the remaining error budget: 1 is
/// untouched, 0 is exhausted, a negative value is overspent.
pub(super) fn budget(target: &Target, slo: &Slo) -> Vec<Rule> {
    let period = prometheus_duration(slo.period.duration());
    let rate = shortest_rate();
    let ratio = format!("ratio_rate{period}");
    let metric = "bad_requests_per_requests";
    let ratio_query = format!(
        "sum_over_time({}[{period}])\n/\n(sum_over_time({}[{period}]) > 0)",
        target.recorded(slo, "bad_requests", &rate),
        target.recorded(slo, "requests", &rate),
    );
    let budget_query = format!(
        "1 - {} / {}",
        target.recorded(slo, metric, &ratio),
        slo.error_budget(),
    );
    let remaining = format!("remaining{period}");
    vec![
        record(target, slo, metric, &ratio, ratio_query),
        record(target, slo, "error_budget", &remaining, budget_query),
    ]
}

/// Operation of the rates from which the error budget is computed.
pub(super) fn shortest_rate() -> String {
    format!("rate{}", prometheus_duration(SHORTEST))
}

fn record(target: &Target, slo: &Slo, metric: &str, operations: &str, expr: String) -> Rule {
    Rule {
        kind: RuleKind::Record(target.record_name(metric, operations)),
        expr,
        labels: vec![("slo", slo.name.clone())],
    }
}
