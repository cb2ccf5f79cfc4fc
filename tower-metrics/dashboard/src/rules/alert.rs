//! Alerts on any expression.

use std::time::Duration;

use super::rule::{AlertText, Rule, RuleKind, Target, severity_label};
use crate::burn_rate::Severity;
use crate::error::Error;
use crate::expr::Expr;
use crate::validate::{check, check_expr, check_filled};

/// Alert that fires when an expression, over five minutes, exceeds a threshold.
///
/// ```
/// use std::time::Duration;
/// use tower_metrics_dashboard::{Alert, Selector, Severity};
///
/// let waiting = Selector::new("jobs_waiting").value().max();
/// let alert = Alert::new("QueueFull", waiting, 1000.0, "Jobs wait for a worker.")
///     .pending(Duration::from_secs(600))
///     .severity(Severity::Page)
///     .description("{{ $value | humanize }} jobs have waited for ten minutes.")
///     .runbook("**Mitigation.** Add workers.");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// Name in CamelCase, to which the prefix of the rules is added: `QueueFull` becomes
    /// `TicketsQueueFull`.
    pub name: String,
    /// Expression.
    pub expr: Expr,
    /// Threshold to exceed.
    pub threshold: f64,
    /// How long the threshold must be exceeded before the alert fires (`for` in Prometheus).
    pub pending: Duration,
    /// Urgency.
    pub severity: Severity,
    /// Summary: one sentence.
    pub summary: String,
    /// Description, in which Prometheus expands templates such as `{{ $value | humanize }}`.
    pub description: String,
    /// Section of the runbook, in Markdown.
    pub runbook: String,
}

impl Alert {
    /// Creates an alert that fires as soon as `expr` exceeds `threshold`, with
    /// [`Severity::Ticket`]. `summary` is one sentence.
    ///
    /// Set a [description](Self::description) and a [runbook](Self::runbook) section as well;
    /// rendering fails without them.
    pub fn new(
        name: impl Into<String>,
        expr: Expr,
        threshold: f64,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            expr,
            threshold,
            pending: Duration::ZERO,
            severity: Severity::Ticket,
            summary: summary.into(),
            description: String::new(),
            runbook: String::new(),
        }
    }

    /// Sets how long the threshold must be exceeded before the alert fires (`for` in Prometheus).
    /// Defaults to zero.
    #[must_use]
    pub fn pending(mut self, duration: Duration) -> Self {
        self.pending = duration;
        self
    }

    /// Sets the urgency. Defaults to [`Severity::Ticket`].
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets the description, in which Prometheus expands templates such as
    /// `{{ $value | humanize }}`. Required.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the section of the runbook, in Markdown: what the alert means and how to mitigate it.
    /// Required.
    #[must_use]
    pub fn runbook(mut self, runbook: impl Into<String>) -> Self {
        self.runbook = runbook.into();
        self
    }

    pub(super) fn validate(&self, context: &str) -> Result<(), Error> {
        check_camel_case(context, "name of an alert", &self.name)?;
        let context = format!("{context}, alert {:?}", self.name);
        check_filled(&context, "summary", &self.summary)?;
        check_filled(&context, "description", &self.description)?;
        check_filled(&context, "runbook", &self.runbook)?;
        let threshold = self.threshold.to_string();
        let valid = self.threshold.is_finite();
        check(&context, "threshold", &threshold, valid, "finite")?;
        check_expr(&context, &self.expr)
    }
}

pub(super) fn rule(target: &Target, prefix: &str, alert: &Alert) -> Rule {
    Rule {
        expr: format!(
            "({}) > {}",
            target.query(&alert.expr, "5m"),
            alert.threshold
        ),
        labels: vec![severity_label(alert.severity)],
        kind: RuleKind::Alert(AlertText {
            name: format!("{prefix}{}", alert.name),
            pending: (!alert.pending.is_zero()).then_some(alert.pending),
            summary: alert.summary.clone(),
            description: alert.description.clone(),
            runbook: alert.runbook.clone(),
        }),
    }
}

pub(super) fn check_camel_case(context: &str, what: &'static str, name: &str) -> Result<(), Error> {
    let valid = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let allowed = "an uppercase letter followed by letters and digits";
    check(context, what, name, valid, allowed)
}
