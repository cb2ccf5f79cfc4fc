//! Alerts.

use std::time::Duration;

use super::{Alert, Firing, Kind, Rule, Rules, span};
use crate::promql::quoted;
use crate::slo::{Burn, PERIOD, Severity, Slo};

/// An alert for each urgency: the windows of one are alternatives.
pub(super) fn burning(rules: &Rules, slo: &Slo) -> Vec<Rule> {
    [Severity::Page, Severity::Ticket]
        .into_iter()
        .filter_map(|severity| {
            let burns: Vec<&Burn> = (rules.burns.iter())
                .filter(|burn| burn.severity == severity)
                .collect();
            (!burns.is_empty()).then(|| burn_alert(rules, slo, severity, &burns))
        })
        .collect()
}

fn burn_alert(rules: &Rules, slo: &Slo, severity: Severity, burns: &[&Burn]) -> Rule {
    let conditions: Vec<String> = burns.iter().map(|b| condition(rules, slo, b)).collect();
    let windows: Vec<String> = burns.iter().map(|b| span(b.long)).collect();
    let slowest = burns.iter().map(|b| b.rate).fold(f64::INFINITY, f64::min);
    let lasts = span(PERIOD.div_f64(slowest));
    let (speed, adverb) = match severity {
        Severity::Page => ("Fast", "fast"),
        Severity::Ticket => ("Slow", "steadily"),
    };
    let (objective, promise) = (percent(slo.objective), &slo.promise);
    let name = format!("{}{}Burn{speed}", rules.prefix, capital(&slo.name));
    Rule {
        expr: conditions.join("\nor\n"),
        labels: vec![
            ("severity", level(severity).to_owned()),
            ("slo", slo.name.clone()),
        ],
        kind: Kind::Alert(Firing {
            name,
            // The windows do the work of `for`.
            lasting: None,
            summary: format!(
                "The {} objective of {} burns its error budget {adverb}.",
                slo.name, rules.job,
            ),
            description: format!(
                "Promised is that {objective} of the requests to {{{{ $labels.job }}}} {promise}; \
                 over {} {{{{ $value | humanizePercentage }}}} did otherwise. At this rate the \
                 budget of 30 days lasts less than {lasts}.",
                windows.join(" or "),
            ),
            runbook: format!(
                "**What it means.** {objective} of the requests shall {promise}, over 30 days. \
                 The share that does otherwise exceeds {} in both a long window and a short one, \
                 so it matters and it goes on. The alert ends soon after the failures end.\n\n\
                 **What to do.** Open the overview dashboard. *Errors by type* tells a panic, a \
                 timeout, shedding and an injected fault apart; *Error ratio by route* and the \
                 table of routes say where; the heatmap's points lead to single requests. If it \
                 began with a release, take it back; if with a fault that someone injected, end \
                 it; if with the load, look at what is shed and at the database's waits.\n\n\
                 **Below the floor** of {} requests, {} of them bad, within the long window, it \
                 does not fire.",
                limits(slo, burns),
                slo.floor.requests,
                slo.floor.bad,
            ),
        }),
    }
}

/// Both windows burn, and the long one has seen enough.
fn condition(rules: &Rules, slo: &Slo, burn: &Burn) -> String {
    let (long, short) = (span(burn.long), span(burn.short));
    let ratio = |window: &str| {
        rules.recorded(
            slo,
            "bad_requests_per_requests",
            &format!("ratio_rate{window}"),
        )
    };
    let seconds = burn.long.as_secs_f64();
    let limit = format!("{} * {}", burn.rate, slo.budget());
    // A number of requests out of a rate is not quite whole: it is compared half a request below.
    let at_least = |metric: &str, floor: u32| {
        let rate = rules.recorded(slo, metric, &format!("rate{long}"));
        format!("and {rate} * {seconds} > {}", f64::from(floor) - 0.5)
    };
    format!(
        "(\n  {} > {limit}\n  and {} > {limit}\n  {}\n  {}\n)",
        ratio(&long),
        ratio(&short),
        at_least("requests", slo.floor.requests),
        at_least("bad_requests", slo.floor.bad),
    )
}

fn limits(slo: &Slo, burns: &[&Burn]) -> String {
    let limits: Vec<String> = (burns.iter())
        .map(|burn| {
            let share = percent(burn.rate * slo.budget());
            format!(
                "{share} (over {} and {})",
                span(burn.long),
                span(burn.short)
            )
        })
        .collect();
    limits.join(" or ")
}

/// Alerts for what the others cannot see: that there is nothing to see.
pub(super) fn missing(rules: &Rules) -> Vec<Rule> {
    let job = format!("job={}", quoted(&rules.job));
    let mut out = vec![
        Rule {
            expr: format!("absent(up{{{job}}} == 1)"),
            labels: vec![
                ("severity", level(Severity::Page).to_owned()),
                ("job", rules.job.clone()),
            ],
            kind: Kind::Alert(Firing {
                name: format!("{}Absent", rules.prefix),
                lasting: Some(Duration::from_secs(300)),
                summary: format!("No instance of {} can be scraped.", rules.job),
                description: "For five minutes no target of the job {{ $labels.job }} has \
                              answered a scrape: the service is down, or Prometheus has lost it. \
                              No other alert of it can fire meanwhile."
                    .to_owned(),
                runbook: "**What it means.** Prometheus has no target of the job, or none that \
                          answers. Nobody knows how the service does, and its burn-rate alerts \
                          have nothing to go by.\n\n\
                          **What to do.** Ask the service itself: `/readyz` and `/livez` on its \
                          ops port. If it answers, look at Prometheus' page of targets for the \
                          reason; if not, at the service's log for why it stopped."
                    .to_owned(),
            }),
        },
        Rule {
            expr: format!(
                "up{{{job}}} == 1\nunless on (job, instance)\ntower_metrics_series{{{job}}}"
            ),
            labels: vec![("severity", level(Severity::Ticket).to_owned())],
            kind: Kind::Alert(Firing {
                name: format!("{}MetricsAbsent", rules.prefix),
                lasting: Some(Duration::from_secs(300)),
                summary: format!("An instance of {} answers without its metrics.", rules.job),
                description: "{{ $labels.instance }} answers scrapes, but shows nothing of its \
                              HTTP layer: its requests are not counted."
                    .to_owned(),
                runbook: "**What it means.** The instance is scraped, but the layer's recorder \
                          is not registered in the registry that it shows, or another program \
                          answers on its port.\n\n\
                          **What to do.** Compare `/metrics` of the instance with another's. If \
                          the layer was renamed or moved, write dashboards and rules anew."
                    .to_owned(),
            }),
        },
    ];
    out.extend(rules.slos.iter().map(|slo| not_recorded(rules, slo)));
    out
}

/// Requests are served, and yet no ratio is recorded: the burn-rate alerts would be silent.
fn not_recorded(rules: &Rules, slo: &Slo) -> Rule {
    let keep = rules.keep().join(", ");
    let recorded = rules.recorded(slo, "requests", "rate5m");
    Rule {
        expr: format!(
            "{} > 0\nunless on ({keep})\n{recorded}",
            rules.query(&slo.total(), "5m"),
        ),
        labels: vec![
            ("severity", level(Severity::Ticket).to_owned()),
            ("slo", slo.name.clone()),
        ],
        kind: Kind::Alert(Firing {
            name: format!("{}{}Absent", rules.prefix, capital(&slo.name)),
            lasting: Some(Duration::from_secs(900)),
            summary: format!(
                "The {} objective of {} is not being computed.",
                slo.name, rules.job
            ),
            description: "{{ $labels.job }} serves {{ $value | humanize }} requests per second, \
                          but the recording rules of its {{ $labels.slo }} objective have no \
                          result: its alerts are silent."
                .to_owned(),
            runbook: "**What it means.** A recording rule fails, or is not loaded where the \
                      alerts are.\n\n\
                      **What to do.** Prometheus' page of rules shows each rule's last error and \
                      evaluation; `promtool check rules` reads the file."
                .to_owned(),
        }),
    }
}

/// A user's own.
pub(super) fn own(rules: &Rules, alert: &Alert) -> Rule {
    Rule {
        expr: format!("({}) > {}", rules.query(&alert.when, "5m"), alert.above),
        labels: vec![("severity", level(alert.severity).to_owned())],
        kind: Kind::Alert(Firing {
            name: format!("{}{}", rules.prefix, alert.name),
            lasting: (!alert.lasting.is_zero()).then_some(alert.lasting),
            summary: alert.summary.clone(),
            description: alert.description.clone(),
            runbook: alert.runbook.clone(),
        }),
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Page => "critical",
        Severity::Ticket => "warning",
    }
}

/// A share as people write it: 0.999 is 99.9 %.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e8).round() / 1e6)
}

fn capital(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect()
}
