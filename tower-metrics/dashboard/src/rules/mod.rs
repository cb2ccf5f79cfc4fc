//! Recording rules and alerts for objectives.

mod alerts;
mod recordings;
mod runbook;
mod yaml;

use std::time::Duration;

use crate::check::{self, filled, label, rule, twice};
use crate::error::Error;
use crate::expr::Expr;
use crate::promql::{Promql, quoted};
use crate::slo::{BURNS, Burn, Severity, Slo};

/// How often the rules are evaluated.
const INTERVAL: &str = "30s";
/// How often the budget is: it looks back 30 days, and changes slowly.
const BUDGET_INTERVAL: &str = "5m";

/// The rules of one service: recordings and alerts for each of its objectives, alerts for the case
/// that its metrics are missing, and alerts of your own.
///
/// They are right without traffic (a ratio has no value then, and no alert fires), with a request
/// or two (an alert has a [`Floor`](crate::Floor)), and over restarts (counters that fall to zero
/// are no fall, and failures that nobody has seen count as zero, not as unknown).
#[derive(Clone, Debug)]
pub struct Rules {
    prefix: String,
    job: String,
    by: Vec<String>,
    slos: Vec<Slo>,
    burns: Vec<Burn>,
    alerts: Vec<Alert>,
    runbook: String,
    dashboard: Option<String>,
}

/// An alert of your own: it fires where an expression, over five minutes, exceeds a limit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// Its name, after the service's: `QueueFull` of `Tickets` is `TicketsQueueFull`.
    pub name: String,
    /// What is watched.
    pub when: Expr,
    /// The limit that it exceeds.
    pub above: f64,
    /// For how long it must, before anyone is told.
    pub lasting: Duration,
    /// How urgent.
    pub severity: Severity,
    /// One sentence, with a capital and a full stop.
    pub summary: String,
    /// The particulars; Prometheus' templates are allowed: `{{ $value | humanize }}`.
    pub description: String,
    /// What to do, in Markdown.
    pub runbook: String,
}

impl Alert {
    /// A [ticket](Severity::Ticket), as soon as `when` is above the limit. `summary` is one
    /// sentence, with a capital and a full stop.
    pub fn new(
        name: impl Into<String>,
        when: Expr,
        above: f64,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            when,
            above,
            lasting: Duration::ZERO,
            severity: Severity::Ticket,
            summary: summary.into(),
            description: String::new(),
            runbook: String::new(),
        }
    }

    /// For how long the limit must be exceeded before anyone is told.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.lasting = duration;
        self
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The particulars; Prometheus' templates are allowed: `{{ $value | humanize }}`.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// What to do, in Markdown.
    #[must_use]
    pub fn runbook(mut self, runbook: impl Into<String>) -> Self {
        self.runbook = runbook.into();
        self
    }
}

/// A group of rules.
struct Group {
    name: String,
    interval: &'static str,
    rules: Vec<Rule>,
}

/// A recording rule or an alert.
struct Rule {
    kind: Kind,
    expr: String,
    labels: Vec<(&'static str, String)>,
}

enum Kind {
    Record(String),
    Alert(Firing),
}

/// What an alert says.
struct Firing {
    name: String,
    lasting: Option<Duration>,
    summary: String,
    description: String,
    runbook: String,
}

impl Rules {
    /// Rules for the service that Prometheus scrapes as `job`. `prefix` is in CamelCase, and begins
    /// every alert's name: `Tickets`.
    pub fn new(prefix: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            job: job.into(),
            by: Vec::new(),
            slos: Vec::new(),
            burns: BURNS.to_vec(),
            alerts: Vec::new(),
            runbook: "runbook.md".to_owned(),
            dashboard: None,
        }
    }

    /// With an objective more.
    #[must_use]
    pub fn slo(mut self, slo: Slo) -> Self {
        self.slos.push(slo);
        self
    }

    /// With an alert of your own.
    #[must_use]
    pub fn alert(mut self, alert: Alert) -> Self {
        self.alerts.push(alert);
        self
    }

    /// An objective for each value of this label, beside `job`: `namespace`, say.
    #[must_use]
    pub fn by(mut self, label: impl Into<String>) -> Self {
        self.by.push(label.into());
        self
    }

    /// With other windows and burn rates than [`BURNS`].
    #[must_use]
    pub fn burns(mut self, burns: impl IntoIterator<Item = Burn>) -> Self {
        self.burns = burns.into_iter().collect();
        self
    }

    /// The address of the [runbook](Self::runbook_page); an alert's is this with its name in lower
    /// case as the anchor.
    #[must_use]
    pub fn runbook(mut self, url: impl Into<String>) -> Self {
        self.runbook = url.into();
        self
    }

    /// The address of the dashboard that alerts point to.
    #[must_use]
    pub fn dashboard(mut self, url: impl Into<String>) -> Self {
        self.dashboard = Some(url.into());
        self
    }

    /// A Prometheus rule file.
    ///
    /// # Errors
    /// A name, an objective or an expression is not valid.
    pub fn prometheus(&self) -> Result<String, Error> {
        self.groups().map(|groups| yaml::rule_file(self, &groups))
    }

    /// The rules as a `PrometheusRule`, for the Prometheus operator.
    ///
    /// # Errors
    /// As [`prometheus`](Self::prometheus).
    pub fn prometheus_rule(&self) -> Result<String, Error> {
        let groups = self.groups()?;
        let api = "monitoring.coreos.com/v1";
        Ok(yaml::resource(self, api, "PrometheusRule", &groups))
    }

    /// The rules as a `Rules` resource, for Google's managed Prometheus.
    ///
    /// # Errors
    /// As [`prometheus`](Self::prometheus).
    pub fn google(&self) -> Result<String, Error> {
        let groups = self.groups()?;
        let api = "monitoring.googleapis.com/v1";
        Ok(yaml::resource(self, api, "Rules", &groups))
    }

    /// The page that says of every alert what it means and what to do, in Markdown.
    ///
    /// # Errors
    /// As [`prometheus`](Self::prometheus).
    pub fn runbook_page(&self) -> Result<String, Error> {
        self.groups().map(|groups| runbook::page(self, &groups))
    }

    fn groups(&self) -> Result<Vec<Group>, Error> {
        self.check()?;
        let name = self.prefix.to_lowercase();
        let mut groups = Vec::new();
        for slo in &self.slos {
            let mut rules = recordings::windows(self, slo);
            rules.extend(alerts::burning(self, slo));
            groups.push(Group {
                name: format!("{name}-{}", slo.name),
                interval: INTERVAL,
                rules,
            });
            groups.push(Group {
                name: format!("{name}-{}-budget", slo.name),
                interval: BUDGET_INTERVAL,
                rules: recordings::budget(self, slo),
            });
        }
        let mut rules = alerts::missing(self);
        rules.extend(self.alerts.iter().map(|alert| alerts::own(self, alert)));
        groups.push(Group {
            name,
            interval: INTERVAL,
            rules,
        });
        Ok(groups)
    }

    fn check(&self) -> Result<(), Error> {
        let place = format!("rules {:?}", self.prefix);
        camel(&place, "prefix", &self.prefix)?;
        filled(&place, "job", &self.job)?;
        self.by.iter().try_for_each(|l| label(&place, l))?;
        let mut names = std::collections::HashSet::new();
        for slo in &self.slos {
            slo.check()?;
            if !names.insert(slo.name.to_lowercase()) {
                return Err(twice(&place, "objectives", &slo.name));
            }
        }
        for burn in &self.burns {
            let holds = burn.rate.is_finite() && burn.rate > 0.0;
            rule(
                &place,
                "burn rate",
                &burn.rate.to_string(),
                holds,
                "above 0",
            )?;
            let holds = burn.short >= Duration::from_secs(1) && burn.short < burn.long;
            let windows = format!("{:?} of {:?}", burn.short, burn.long);
            let allowed = "at least a second, and shorter than the long one";
            rule(&place, "short window", &windows, holds, allowed)?;
        }
        let mut names = std::collections::HashSet::new();
        for alert in &self.alerts {
            camel(&place, "name of an alert", &alert.name)?;
            if !names.insert(&alert.name) {
                return Err(twice(&place, "alerts", &alert.name));
            }
            let place = format!("{place}, alert {:?}", alert.name);
            filled(&place, "summary", &alert.summary)?;
            filled(&place, "description", &alert.description)?;
            filled(&place, "runbook", &alert.runbook)?;
            let limit = alert.above.is_finite();
            rule(
                &place,
                "limit",
                &alert.above.to_string(),
                limit,
                "a finite number",
            )?;
            check::free_expr(&place, &alert.when)?;
        }
        Ok(())
    }

    /// The labels that remain in each result, beside `slo`.
    fn keep(&self) -> Vec<String> {
        let mut keep = vec!["job".to_owned()];
        keep.extend(self.by.iter().cloned());
        keep
    }

    /// The query of an expression over a window.
    fn query(&self, expr: &Expr, window: &str) -> String {
        let job = format!("job={}", quoted(&self.job));
        let promql = Promql {
            window,
            range: window,
            everywhere: &[&job],
            variables: false,
            keep: &self.keep(),
        };
        promql.expr(expr)
    }
}

fn camel(place: &str, what: &'static str, name: &str) -> Result<(), Error> {
    let holds = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    rule(
        place,
        what,
        name,
        holds,
        "a capital, then letters and digits",
    )
}

/// A duration as Prometheus writes it: `3d`, `90m`, `1500ms`.
fn span(duration: Duration) -> String {
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
