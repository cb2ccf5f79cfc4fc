//! Prometheus recording and alerting rules for objectives.

mod alert;
mod burn_rate;
mod presence;
mod recording;
mod rule;
mod runbook;
mod yaml;

use std::collections::HashSet;
use std::time::Duration;

pub use self::alert::Alert;

use self::rule::{Group, RuleKind, Target};
use crate::burn_rate::BurnRateAlert;
use crate::error::Error;
use crate::selector::Selector;
use crate::slo::Slo;
use crate::validate::{check, check_filled, check_label, check_selector, duplicate};

/// Evaluation interval of the rules.
const INTERVAL: &str = "30s";
/// Evaluation interval of the error budget, which covers 30 days and changes slowly.
const BUDGET_INTERVAL: &str = "5m";

/// Recording and alerting rules of one service.
///
/// [`Red::rules`](crate::Red::rules) creates them with the objectives of the service. They contain
///
/// - recording rules for the ratio of bad requests in each window and for the remaining error
///   budget, named `level:metric:operations`,
/// - a `…BurnFast` and a `…BurnSlow` alert per objective (multiwindow, multi-burn-rate),
/// - alerts for a service that is not scraped, does not expose its metrics, or whose recording
///   rules have no result,
/// - further [alerts](Self::alert).
///
/// Without traffic, ratios have no value and no alert fires. With little traffic,
/// [`MinimumEvents`](crate::MinimumEvents) prevents alerts. A restart does not resolve an alert, and
/// a series that appears with the first failure counts from zero.
///
/// ```
/// use tower_metrics_dashboard::{Indicator, Rules, Selector, Slo};
///
/// let jobs = Selector::new("jobs_total");
/// let indicator = Indicator::Bad {
///     bad: jobs.clone().with("result", ["failed"]),
///     total: jobs,
/// };
/// let rules = Rules::new("Worker", "worker")
///     .slo(Slo::new("jobs", "complete", 0.99, indicator))
///     .rule_file()?;
/// assert!(rules.contains("- alert: WorkerJobsBurnFast"));
/// # Ok::<_, tower_metrics_dashboard::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    target: Target,
    prefix: String,
    slos: Vec<Slo>,
    burn_rate_alerts: Vec<BurnRateAlert>,
    alerts: Vec<Alert>,
    presence: Option<Selector>,
    runbook_url: String,
    dashboard_url: Option<String>,
}

impl Rules {
    /// Creates rules for the scrape job `job`. `prefix` starts the name of every alert and is in
    /// CamelCase, such as `Tickets`.
    pub fn new(prefix: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            target: Target {
                job: job.into(),
                by: Vec::new(),
            },
            prefix: prefix.into(),
            slos: Vec::new(),
            burn_rate_alerts: BurnRateAlert::DEFAULTS.to_vec(),
            alerts: Vec::new(),
            presence: None,
            runbook_url: "runbook.md".to_owned(),
            dashboard_url: None,
        }
    }

    /// Adds an objective.
    #[must_use]
    pub fn slo(mut self, slo: Slo) -> Self {
        self.slos.push(slo);
        self
    }

    /// Adds an alert.
    #[must_use]
    pub fn alert(mut self, alert: Alert) -> Self {
        self.alerts.push(alert);
        self
    }

    /// Evaluates each objective separately for each value of `label`, such as `namespace`.
    #[must_use]
    pub fn by(mut self, label: impl Into<String>) -> Self {
        self.target.by.push(label.into());
        self
    }

    /// Sets the windows and burn rates of the alerts. Defaults to [`BurnRateAlert::DEFAULTS`].
    #[must_use]
    pub fn burn_rate_alerts(mut self, alerts: impl IntoIterator<Item = BurnRateAlert>) -> Self {
        self.burn_rate_alerts = alerts.into_iter().collect();
        self
    }

    /// Adds the alert `…MetricsAbsent`, which fires for instances that are scraped but do not
    /// expose `metric`. [`Red::rules`](crate::Red::rules) sets it to the recorder's own metric.
    #[must_use]
    pub fn presence_metric(mut self, metric: Selector) -> Self {
        self.presence = Some(metric);
        self
    }

    /// Sets the URL of the [runbook](Self::runbook). An alert links to the anchor that is its name
    /// in lower case. Prometheus expands templates in the URL. Defaults to `runbook.md`.
    #[must_use]
    pub fn runbook_url(mut self, url: impl Into<String>) -> Self {
        self.runbook_url = url.into();
        self
    }

    /// Sets the URL of the dashboard to which alerts link, in which Prometheus expands templates such
    /// as `{{ $labels.job }}`. By default they link to none.
    #[must_use]
    pub fn dashboard_url(mut self, url: impl Into<String>) -> Self {
        self.dashboard_url = Some(url.into());
        self
    }

    /// Renders a Prometheus rule file.
    ///
    /// # Errors
    ///
    /// Returns an error if a name, an objective, a window or an expression is invalid.
    pub fn rule_file(&self) -> Result<String, Error> {
        let groups = self.groups()?;
        Ok(yaml::rule_file(&groups, &self.links()))
    }

    /// Renders a `PrometheusRule` resource for the Prometheus operator.
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does.
    pub fn prometheus_rule(&self) -> Result<String, Error> {
        let groups = self.groups()?;
        let resource = yaml::Resource {
            api_version: "monitoring.coreos.com/v1",
            kind: "PrometheusRule",
            name: &self.prefix.to_lowercase(),
        };
        Ok(yaml::resource(&resource, &groups, &self.links()))
    }

    /// Renders a `Rules` resource for Google Cloud Managed Service for Prometheus.
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does.
    pub fn google_rules(&self) -> Result<String, Error> {
        let groups = self.groups()?;
        let resource = yaml::Resource {
            api_version: "monitoring.googleapis.com/v1",
            kind: "Rules",
            name: &self.prefix.to_lowercase(),
        };
        Ok(yaml::resource(&resource, &groups, &self.links()))
    }

    /// Renders the runbook in Markdown: a section for each alert with its meaning and mitigation.
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does.
    pub fn runbook(&self) -> Result<String, Error> {
        Ok(runbook::page(&self.target.job, &self.groups()?))
    }

    fn links(&self) -> yaml::Links<'_> {
        yaml::Links {
            runbook: &self.runbook_url,
            dashboard: self.dashboard_url.as_deref(),
        }
    }

    fn groups(&self) -> Result<Vec<Group>, Error> {
        self.validate()?;
        let (target, prefix) = (&self.target, &self.prefix);
        let name = prefix.to_lowercase();
        let mut groups = Vec::new();
        for slo in &self.slos {
            let mut rules = recording::windows(target, slo, &self.burn_rate_alerts);
            let alerts = &self.burn_rate_alerts;
            rules.extend(burn_rate::alerts(target, prefix, slo, alerts));
            groups.push(Group {
                name: format!("{name}-{}", slo.name),
                interval: INTERVAL,
                rules,
            });
            groups.push(Group {
                name: format!("{name}-{}-budget", slo.name),
                interval: BUDGET_INTERVAL,
                rules: recording::budget(target, slo),
            });
        }
        let mut rules = presence::alerts(target, prefix, self.presence.as_ref(), &self.slos);
        rules.extend(
            self.alerts
                .iter()
                .map(|one| alert::rule(target, prefix, one)),
        );
        groups.push(Group {
            name,
            interval: INTERVAL,
            rules,
        });
        self.check_alert_names(&groups)?;
        Ok(groups)
    }

    /// Names must differ in lower case as well, which is the anchor of the runbook.
    fn check_alert_names(&self, groups: &[Group]) -> Result<(), Error> {
        let mut names = HashSet::new();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            if let RuleKind::Alert(alert) = &rule.kind
                && !names.insert(alert.name.to_lowercase())
            {
                return Err(duplicate(&self.context(), "alert", &alert.name));
            }
        }
        Ok(())
    }

    fn context(&self) -> String {
        format!("rules {:?}", self.prefix)
    }

    fn validate(&self) -> Result<(), Error> {
        let context = self.context();
        alert::check_camel_case(&context, "prefix", &self.prefix)?;
        check_filled(&context, "job", &self.target.job)?;
        for label in &self.target.by {
            check_label(&context, label)?;
        }
        if let Some(metric) = &self.presence {
            check_selector(&context, metric)?;
        }
        let mut names = HashSet::new();
        for slo in &self.slos {
            slo.validate()?;
            if !names.insert(slo.name.to_lowercase()) {
                return Err(duplicate(&context, "objective", &slo.name));
            }
        }
        for alert in &self.burn_rate_alerts {
            let rate = alert.rate;
            let valid = rate.is_finite() && rate > 0.0;
            check(&context, "burn rate", &rate.to_string(), valid, "above 0")?;
            let valid = alert.short >= Duration::from_secs(1) && alert.short < alert.long;
            let windows = format!("{:?} of {:?}", alert.short, alert.long);
            let allowed = "at least 1 s and shorter than the long window";
            check(&context, "short window", &windows, valid, allowed)?;
        }
        self.alerts
            .iter()
            .try_for_each(|alert| alert.validate(&context))
    }
}
