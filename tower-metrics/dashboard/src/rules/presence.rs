//! Alerts for missing data, during which no other alert can fire.

use std::time::Duration;

use super::rule::{AlertText, Rule, RuleKind, Target, camel_case, severity_label, template_text};
use crate::burn_rate::Severity;
use crate::promql::{Promql, Variables};
use crate::selector::Selector;
use crate::slo::Slo;

pub(super) fn alerts(
    target: &Target,
    prefix: &str,
    metric: Option<&Selector>,
    slos: &[Slo],
) -> Vec<Rule> {
    let mut rules = vec![target_absent(target, prefix)];
    rules.extend(metric.map(|metric| metrics_absent(target, prefix, metric)));
    rules.extend(slos.iter().map(|slo| record_absent(target, prefix, slo)));
    rules
}

fn target_absent(target: &Target, prefix: &str) -> Rule {
    Rule {
        expr: format!("absent(up{{{}}} == 1)", target.matcher()),
        labels: vec![
            severity_label(Severity::Page),
            ("job", template_text(&target.job)),
        ],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}Absent"),
            pending: Some(Duration::from_secs(300)),
            summary: format!(
                "No instance of {} is scraped successfully.",
                template_text(&target.job)
            ),
            description: "Every scrape of the job {{ $labels.job }} has failed for five minutes, \
                          or the job has no targets. Its other alerts cannot fire."
                .to_owned(),
            runbook:
                "**Meaning.** Prometheus has no target of the job, or every scrape fails. The \
                      state of the service is unknown, and its burn-rate alerts have no data.\n\n\
                      **Diagnosis.** Query the service directly: `/livez` and `/readyz` on its ops \
                      port. If it responds, the page *Target health* of Prometheus shows why the \
                      scrape fails. Otherwise the log of the service shows why it stopped.\n\n\
                      **Mitigation.** Restart or roll back the service, or fix the scrape \
                      configuration."
                    .to_owned(),
        }),
    }
}

fn metrics_absent(target: &Target, prefix: &str, metric: &Selector) -> Rule {
    let job = target.matcher();
    let promql = Promql {
        window: "5m",
        range: "5m",
        matchers: &[&job],
        variables: Variables::Omitted,
        native: true,
        keep: &[],
    };
    Rule {
        expr: format!(
            "up{{{job}}} == 1\nunless on (job, instance)\n{}",
            promql.selector(metric)
        ),
        labels: vec![severity_label(Severity::Ticket)],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}MetricsAbsent"),
            pending: Some(Duration::from_secs(300)),
            summary: format!(
                "An instance of {} does not expose its metrics.",
                template_text(&target.job)
            ),
            description: format!(
                "{{{{ $labels.instance }}}} is scraped successfully, but does not expose {}. Its \
                 requests are not counted.",
                metric.series_name()
            ),
            runbook: format!(
                "**Meaning.** The instance is scraped, but `{}` is missing: the recorder is not \
                 registered in the registry that is exposed, has another name, or another program \
                 listens on the port.\n\n\
                 **Diagnosis.** Compare `/metrics` of the instance with that of a healthy one.\n\n\
                 **Mitigation.** If metrics were renamed on purpose, generate dashboards and rules \
                 again. Otherwise roll back.",
                metric.series_name()
            ),
        }),
    }
}

/// Requests are served, but the ratio is not recorded, so that burn-rate alerts cannot fire.
fn record_absent(target: &Target, prefix: &str, slo: &Slo) -> Rule {
    let labels = target.labels().join(", ");
    Rule {
        expr: format!(
            "{} > 0\nunless on ({labels})\n{}",
            target.query(&slo.total_rate(), "5m"),
            target.recorded(slo, "requests", "rate5m"),
        ),
        labels: vec![severity_label(Severity::Ticket), ("slo", slo.name.clone())],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}{}Absent", camel_case(&slo.name)),
            pending: Some(Duration::from_secs(900)),
            summary: format!(
                "The {} objective of {} is not evaluated.",
                slo.name,
                template_text(&target.job)
            ),
            description: "{{ $labels.job }} serves {{ $value | humanize }} requests per second, \
                          but the recording rules of its {{ $labels.slo }} objective have no \
                          result. Its burn-rate alerts cannot fire."
                .to_owned(),
            runbook: "**Meaning.** A recording rule fails, or is not loaded by the Prometheus \
                      server that evaluates the alerts.\n\n\
                      **Diagnosis.** The page *Rule health* of Prometheus shows the last error and \
                      evaluation of each rule. `promtool check rules` validates the file.\n\n\
                      **Mitigation.** Fix or reload the rules."
                .to_owned(),
        }),
    }
}
