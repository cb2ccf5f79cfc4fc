//! Burn-rate alerts.

use std::time::Duration;

use super::rule::{
    AlertText, Rule, RuleKind, Target, camel_case, prometheus_duration, severity_label,
    template_text,
};
use crate::burn_rate::{BurnRateAlert, Severity};
use crate::format::percent;
use crate::slo::Slo;

/// An alert per severity, which fires if any of its windows exceeds its burn rate.
pub(super) fn alerts(
    target: &Target,
    prefix: &str,
    slo: &Slo,
    alerts: &[BurnRateAlert],
) -> Vec<Rule> {
    [Severity::Page, Severity::Ticket]
        .into_iter()
        .filter_map(|severity| {
            let alerts: Vec<_> = (alerts.iter())
                .filter(|alert| alert.severity == severity)
                .collect();
            (!alerts.is_empty()).then(|| rule(target, prefix, slo, severity, &alerts))
        })
        .collect()
}

fn rule(
    target: &Target,
    prefix: &str,
    slo: &Slo,
    severity: Severity,
    alerts: &[&BurnRateAlert],
) -> Rule {
    let conditions: Vec<String> = alerts.iter().map(|a| condition(target, slo, a)).collect();
    let windows: Vec<String> = alerts.iter().map(|a| prometheus_duration(a.long)).collect();
    let slowest = alerts.iter().map(|a| a.rate).fold(f64::INFINITY, f64::min);
    let exhausted_in = prometheus_duration(whole_hours(slo.period.duration().div_f64(slowest)));
    let (speed, adverb) = match severity {
        Severity::Page => ("Fast", "fast"),
        Severity::Ticket => ("Slow", "slowly"),
    };
    let (objective, condition) = (percent(slo.objective), template_text(&slo.condition));
    Rule {
        expr: conditions.join("\nor\n"),
        labels: vec![severity_label(severity), ("slo", slo.name.clone())],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}{}Burn{speed}", camel_case(&slo.name)),
            // The short window does what `for` would do.
            pending: None,
            summary: format!(
                "{} is burning the error budget of its {} objective {adverb}.",
                template_text(&target.job),
                slo.name,
            ),
            description: format!(
                "The objective is that {objective} of requests to {{{{ $labels.job }}}} \
                 {condition}. Over the last {}, {{{{ $value | humanizePercentage }}}} did not. At \
                 this rate the error budget of {} is exhausted in less than {exhausted_in}.",
                windows.join(" or "),
                slo.period,
            ),
            runbook: format!(
                "**Meaning.** The objective is that {objective} of requests {}, over \
                 {}. The ratio of bad requests exceeds {} in both a long and a short window: the \
                 loss is significant and ongoing. The alert resolves soon after the failures stop. \
                 It does not fire with fewer than {} requests, or fewer than {} bad requests, in \
                 the long window.\n\n{}",
                slo.condition,
                slo.period,
                thresholds(slo, alerts),
                slo.minimum_events.requests,
                slo.minimum_events.bad_requests,
                slo.runbook,
            ),
        }),
    }
}

/// Both windows exceed the burn rate, and the long one has enough traffic.
fn condition(target: &Target, slo: &Slo, alert: &BurnRateAlert) -> String {
    let (long, short) = (
        prometheus_duration(alert.long),
        prometheus_duration(alert.short),
    );
    let ratio = |window: &str| {
        let operations = format!("ratio_rate{window}");
        target.recorded(slo, "bad_requests_per_requests", &operations)
    };
    let seconds = alert.long.as_secs_f64();
    let limit = format!("{} * {}", alert.rate, slo.error_budget());
    // A rate times its window is not quite an integer, so the comparison is half a request lower.
    let at_least = |metric: &str, minimum: u32| {
        let rate = target.recorded(slo, metric, &format!("rate{long}"));
        format!("and {rate} * {seconds} > {}", f64::from(minimum) - 0.5)
    };
    format!(
        "(\n  {} > {limit}\n  and {} > {limit}\n  {}\n  {}\n)",
        ratio(&long),
        ratio(&short),
        at_least("requests", slo.minimum_events.requests),
        at_least("bad_requests", slo.minimum_events.bad_requests),
    )
}

/// Rounds up, so that a text that says "less than" stays true.
fn whole_hours(duration: Duration) -> Duration {
    Duration::from_secs((duration.as_secs_f64() / 3600.0).ceil() as u64 * 3600)
}

fn thresholds(slo: &Slo, alerts: &[&BurnRateAlert]) -> String {
    let thresholds: Vec<String> = (alerts.iter())
        .map(|alert| {
            let ratio = percent(alert.rate * slo.error_budget());
            let (long, short) = (
                prometheus_duration(alert.long),
                prometheus_duration(alert.short),
            );
            format!("{ratio} ({long} and {short})")
        })
        .collect();
    thresholds.join(" or ")
}
