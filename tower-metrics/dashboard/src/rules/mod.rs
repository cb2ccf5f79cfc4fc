//! Prometheus recording and alerting rules for objectives.

mod alert;
mod budget;
mod burn_rate;
mod open_slo;
mod presence;
mod pyrra;
mod recording;
mod rule;
mod runbook;
mod sloth;
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

/// Evaluation interval of the rules, and its length in seconds.
const INTERVAL: &str = "30s";
const INTERVAL_SECONDS: u32 = 30;
/// Evaluation interval of the error budget, which covers days and changes slowly.
const BUDGET_INTERVAL: &str = "5m";

/// Recording and alerting rules of one service.
///
/// [`Red::rules`](crate::Red::rules) creates them with the objectives of the service. They contain
///
/// - recording rules for the ratio of bad requests in each window and for the remaining error
///   budget, named `level:metric:operations`,
/// - a `…BurnFast` and a `…BurnSlow` alert per objective (multiwindow, multi-burn-rate),
/// - a `…BudgetExhausted` alert per objective, once its error budget is spent,
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
    /// By default the alerts follow from the period of each objective.
    burn_rate_alerts: Option<Vec<BurnRateAlert>>,
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
                native: true,
            },
            prefix: prefix.into(),
            slos: Vec::new(),
            burn_rate_alerts: None,
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

    /// Sets the windows and burn rates of the alerts. Defaults to [`BurnRateAlert::for_period`] of
    /// each objective's period.
    #[must_use]
    pub fn burn_rate_alerts(mut self, alerts: impl IntoIterator<Item = BurnRateAlert>) -> Self {
        self.burn_rate_alerts = Some(alerts.into_iter().collect());
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

    /// Renders a `Rules` resource for Google Cloud Managed Service for Prometheus, which has the
    /// classic series of native histograms only.
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does.
    pub fn google_rules(&self) -> Result<String, Error> {
        let mut classic = self.clone();
        classic.target.native = false;
        let groups = classic.groups()?;
        let resource = yaml::Resource {
            api_version: "monitoring.googleapis.com/v1",
            kind: "Rules",
            name: &self.prefix.to_lowercase(),
        };
        Ok(yaml::resource(&resource, &groups, &self.links()))
    }

    /// Renders the objectives as [OpenSLO](https://openslo.com) v1: a `Service`, and an `SLO` for each
    /// objective. Names are those of the job and the objectives, in lower case with `-` for other
    /// characters.
    ///
    /// The queries select cumulative counters (`counter: true`), so that a tool chooses the windows.
    /// Alert policies are left out: OpenSLO requires notification targets, which this crate does not
    /// know.
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does, or if two names are equal.
    pub fn open_slo(&self) -> Result<String, Error> {
        self.validate()?;
        open_slo::render(self)
    }

    /// Renders the objectives as a [Sloth](https://sloth.dev) specification, `prometheus/v1`.
    ///
    /// Sloth takes the period from its command line: `sloth generate --default-slo-period=28d`. It
    /// has windows for 28 and 30 days and requires a file of windows for others. A comment in the
    /// first lines has the command. The alerts that Sloth generates lack the
    /// [`MinimumEvents`](crate::MinimumEvents).
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does, if objectives have different
    /// periods, or if the job is not a name that Sloth accepts.
    pub fn sloth(&self) -> Result<String, Error> {
        self.validate()?;
        sloth::render(self)
    }

    /// Renders the objectives as [Pyrra](https://github.com/pyrra-dev/pyrra) resources, a
    /// `ServiceLevelObjective` each.
    ///
    /// Pyrra derives windows and alerts from the period, and groups by the labels of
    /// [`by`](Self::by).
    ///
    /// # Errors
    ///
    /// Returns an error where [`rule_file`](Self::rule_file) does, if two names are equal, or if an
    /// objective is one that Pyrra cannot express: good requests that are not a bucket of a
    /// histogram.
    pub fn pyrra(&self) -> Result<String, Error> {
        self.validate()?;
        pyrra::render(self)
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
            let default = BurnRateAlert::for_period(slo.period);
            let alerts = self.burn_rate_alerts.as_deref().unwrap_or(&default);
            let mut rules = recording::windows(target, slo, alerts);
            rules.extend(burn_rate::alerts(target, prefix, slo, alerts));
            groups.push(Group {
                name: format!("{name}-{}", slo.name),
                interval: INTERVAL,
                rules,
            });
            let mut rules = recording::budget(target, slo);
            rules.push(budget::exhausted(target, prefix, slo));
            groups.push(Group {
                name: format!("{name}-{}-budget", slo.name),
                interval: BUDGET_INTERVAL,
                rules,
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
        for alert in self.burn_rate_alerts.iter().flatten() {
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
