//! Rules before they are rendered, and the queries that they share.

use std::time::Duration;

use super::Rules;
use crate::burn_rate::Severity;
use crate::error::Error;
use crate::expr::Expr;
use crate::promql::{Promql, Variables, quoted};
use crate::slo::Slo;
use crate::validate::{check, duplicate};

/// Group of rules, which Prometheus evaluates in order.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) interval: &'static str,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) kind: RuleKind,
    pub(super) expr: String,
    pub(super) labels: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(super) enum RuleKind {
    /// Records the result under this metric name.
    Record(String),
    Alert(AlertText),
}

#[derive(Debug)]
pub(super) struct AlertText {
    pub(super) name: String,
    /// How long the condition must hold before the alert fires.
    pub(super) pending: Option<Duration>,
    pub(super) summary: String,
    pub(super) description: String,
    /// Section of the runbook, in Markdown.
    pub(super) runbook: String,
}

/// The scrape job, and the labels by which its objectives are evaluated.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) job: String,
    pub(super) by: Vec<String>,
    /// If `false`, native histograms are queried by their classic series.
    pub(super) native: bool,
}

impl Target {
    /// The matcher that selects the job.
    pub(super) fn matcher(&self) -> String {
        format!("job={}", quoted(&self.job))
    }

    /// Labels of every result, in addition to `slo`.
    pub(super) fn labels(&self) -> Vec<String> {
        let mut labels = vec!["job".to_owned()];
        labels.extend(self.by.iter().cloned());
        labels
    }

    /// The query of an expression over a window.
    pub(super) fn query(&self, expr: &Expr, window: &str) -> String {
        let promql = Promql {
            window,
            range: window,
            matchers: &[&self.matcher()],
            variables: Variables::Omitted,
            native: self.native,
            keep: &self.labels(),
        };
        promql.expr(expr)
    }

    /// The name of a recorded metric: `level:metric:operations`.
    pub(super) fn record_name(&self, metric: &str, operations: &str) -> String {
        let mut level = self.labels();
        level.push("slo".to_owned());
        format!("{}:{metric}:{operations}", level.join("_"))
    }

    /// A selector for a recorded metric of an objective.
    pub(super) fn recorded(&self, slo: &Slo, metric: &str, operations: &str) -> String {
        let name = self.record_name(metric, operations);
        format!("{name}{{{},slo={}}}", self.matcher(), quoted(&slo.name))
    }
}

/// Escapes text for a label or an annotation of an alert, in which Prometheus expands templates.
pub(super) fn template_text(text: &str) -> String {
    text.replace("{{", r#"{{ "{{" }}"#)
}

/// The label `severity`.
pub(super) fn severity_label(severity: Severity) -> (&'static str, String) {
    let value = match severity {
        Severity::Page => "critical",
        Severity::Ticket => "warning",
    };
    ("severity", value.to_owned())
}

/// Formats a duration as Prometheus does: `3d`, `90m`, `1500ms`.
pub(super) fn prometheus_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    match units
        .iter()
        .find(|(size, _)| ms >= *size && ms.is_multiple_of(*size))
    {
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => format!("{ms}ms"),
    }
}

/// Converts text to a DNS label: at most 63 lowercase letters, digits and `-`.
pub(super) fn dns_name(text: &str) -> String {
    let allowed = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let name: String = text.chars().map(allowed).collect();
    let name: String = name.trim_start_matches('-').chars().take(63).collect();
    name.trim_end_matches('-').to_owned()
}

/// The objectives with a name for each that is unique among the services of a cluster.
///
/// # Errors
///
/// Returns an error if two names are equal, or if the job has no letter or digit.
pub(super) fn objective_names<'a>(
    rules: &'a Rules,
    service: &str,
) -> Result<Vec<(&'a Slo, String)>, Error> {
    let allowed = "text with at least one ASCII letter or digit";
    let job = &rules.target.job;
    check(&rules.context(), "job", job, !service.is_empty(), allowed)?;
    let mut names: Vec<(&Slo, String)> = Vec::new();
    for slo in &rules.slos {
        let name = dns_name(&format!("{service}-{}", slo.name));
        if names.iter().any(|(_, other)| *other == name) {
            return Err(duplicate(&rules.context(), "name of an objective", &name));
        }
        names.push((slo, name));
    }
    Ok(names)
}

/// Converts a name in snake case to CamelCase.
pub(super) fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect()
}
