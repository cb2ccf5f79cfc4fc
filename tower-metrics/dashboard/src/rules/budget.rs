//! The alert for an error budget that is spent.

use super::rule::{
    AlertText, Rule, RuleKind, Target, camel_case, prometheus_duration, severity_label,
    template_text,
};
use super::{INTERVAL_SECONDS, recording};
use crate::burn_rate::Severity;
use crate::format::percent;
use crate::slo::Slo;

/// Fires while the period of the objective has more bad requests than the error budget allows.
pub(super) fn exhausted(target: &Target, prefix: &str, slo: &Slo) -> Rule {
    let period = prometheus_duration(slo.period.duration());
    let remaining = target.recorded(slo, "error_budget", &format!("remaining{period}"));
    // The recorded rates, times the interval at which they are recorded, add up to requests. Half a
    // request less, because a rate times its window is not quite an integer.
    let at_least = |metric: &str, minimum: u32| {
        let rate = target.recorded(slo, metric, &recording::shortest_rate());
        let minimum = f64::from(minimum) - 0.5;
        format!("and sum_over_time({rate}[{period}]) * {INTERVAL_SECONDS} > {minimum}")
    };
    let objective = percent(slo.objective);
    Rule {
        expr: format!(
            "{remaining} <= 0\n{}\n{}",
            at_least("requests", slo.minimum_events.requests),
            at_least("bad_requests", slo.minimum_events.bad_requests),
        ),
        labels: vec![severity_label(Severity::Ticket), ("slo", slo.name.clone())],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}{}BudgetExhausted", camel_case(&slo.name)),
            pending: None,
            summary: format!(
                "{} has exhausted the error budget of its {} objective.",
                template_text(&target.job),
                slo.name,
            ),
            description: format!(
                "The objective is that {objective} of requests to {{{{ $labels.job }}}} {} over {}. \
                 Of the error budget, {{{{ $value | humanizePercentage }}}} remains.",
                template_text(&slo.condition),
                slo.period,
            ),
            runbook: format!(
                "**Meaning.** The objective is that {objective} of requests {}, over {}. In the last \
                 {}, fewer did: the error budget is spent. The alert resolves when enough bad requests are older \
                 than that. It does not say that failures are ongoing: burn-rate alerts do. A service \
                 that is younger than the period has a smaller budget, in proportion to its \
                 requests.\n\n\
                 **Diagnosis.** The recorded metric `{}` shows when the budget was lost. Compare \
                 it with releases and incidents.\n\n\
                 **Mitigation.** Follow the error budget policy of the service: usually, postpone \
                 risky releases and work on reliability. If the budget is exhausted in most \
                 periods, the objective is too strict.",
                slo.condition,
                slo.period,
                slo.period,
                target.record_name("error_budget", &format!("remaining{period}")),
            ),
        }),
    }
}
