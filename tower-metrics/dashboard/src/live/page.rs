//! The page's builder.

use std::collections::{BTreeSet, hash_map::DefaultHasher};
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::burn::Budget;
use super::check::Check;
use super::control::Control;
use super::recent::RequestLog;
use super::router;
use super::sampler::{PlannedPanel, SPARK, Sampler, Spans};
use super::slug::slug;
use super::source::MetricsSource;
use super::wire;
use crate::burn_rate::{BurnRateAlert, Severity};
use crate::dashboard::{Dashboard, Row};
use crate::panel::{Color, Panel, PanelKind, TimeSeries, Unit};
use crate::slo::Slo;

/// Why a page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dashboard or an objective has something wrong.
    #[error(transparent)]
    Dashboard(#[from] crate::Error),
    /// Two controls, or two checks, have the same title.
    #[error("two {what} are called {title:?}: their titles, and the ids made of them, must differ")]
    Twice {
        /// Controls or checks.
        what: &'static str,
        /// The title.
        title: String,
    },
    /// A length of time is out of range.
    #[error("the {what} of {} s is not within {allowed}", value.as_secs_f64())]
    Span {
        /// Which.
        what: &'static str,
        /// Its value.
        value: Duration,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A control shows the figure of a panel that does not exist.
    #[error("control {control:?}: no panel is called {panel:?}")]
    NoPanel {
        /// The control's title.
        control: String,
        /// The panel's title.
        panel: String,
    },
    /// There is no Tokio runtime to read the registry on.
    #[error(
        "a live page reads its registry once a second on a Tokio runtime; none is running here"
    )]
    NoRuntime,
}

/// A live page of `dashboard`, fed by `registry`.
pub fn page(dashboard: Dashboard, source: impl Into<MetricsSource>) -> Page {
    Page {
        dashboard,
        source: source.into(),
        slos: Vec::new(),
        burns: BurnRateAlert::DEFAULTS.to_vec(),
        controls: Vec::new(),
        checks: Vec::new(),
        requests: None,
        window: Duration::from_secs(5),
        history: Duration::from_secs(900),
        until: Box::pin(std::future::pending()),
    }
}

/// Builds a live page; made by [`page`].
pub struct Page {
    dashboard: Dashboard,
    source: MetricsSource,
    slos: Vec<Slo>,
    burns: Vec<BurnRateAlert>,
    controls: Vec<Control>,
    checks: Vec<Check>,
    requests: Option<Requests>,
    window: Duration,
    history: Duration,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A log, and the histogram whose observations are its requests.
pub(super) struct Requests {
    pub(super) log: Arc<dyn RequestLog>,
    pub(super) metric: String,
}

impl Page {
    /// With an objective: how fast its budget burns, and a lamp for its alerts.
    #[must_use]
    pub fn slo(mut self, slo: Slo) -> Self {
        self.slos.push(slo);
        self
    }

    /// The windows and rates of the objectives' alerts; [`BurnRateAlert::DEFAULTS`] unless given. Windows longer than
    /// the process has run take what there is.
    #[must_use]
    pub fn burns(mut self, burns: impl IntoIterator<Item = BurnRateAlert>) -> Self {
        self.burns = burns.into_iter().collect();
        self
    }

    /// With a switch.
    #[must_use]
    pub fn control(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }

    /// With a badge that says whether figures agree.
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// With the requests behind the figures: a cell of a heatmap of `histogram`, and a line of a
    /// table by route, open them.
    #[must_use]
    pub fn requests(mut self, log: Arc<dyn RequestLog>, histogram: impl Into<String>) -> Self {
        self.requests = Some(Requests {
            log,
            metric: histogram.into(),
        });
        self
    }

    /// What rates and quantiles are over: 1 to 60 seconds; 5 unless given.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How far back the charts go: 1 minute to 1 hour; 15 minutes unless given. Each line takes
    /// 8 bytes a second.
    #[must_use]
    pub fn history(mut self, history: Duration) -> Self {
        self.history = history;
        self
    }

    /// Stops reading, and ends every open stream, when `stop` is ready: a server that shuts down
    /// gracefully waits for its open responses.
    #[must_use]
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(stop);
        self
    }

    /// The routes, to nest anywhere. Begins to read the registry at once, and stops when the router
    /// is dropped.
    ///
    /// # Errors
    /// Where the dashboard or an objective has something wrong, a title is taken twice, a length of
    /// time is out of range, or no Tokio runtime is running.
    pub fn into_router(self) -> Result<axum::Router, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        self.check_parts()?;
        let rows = self.rows();
        let planned = plan(&rows);
        let controls: Arc<[Control]> = self.controls.into();
        let metric = self
            .requests
            .as_ref()
            .map(|requests| requests.metric.as_str());
        let mut definition = json!({
            "title": self.dashboard.title,
            "description": self.dashboard.description,
            "step_s": 1,
            "history_s": self.history.as_secs(),
            "window_s": self.window.as_secs_f64(),
            "spark": SPARK,
            "requests": metric.is_some(),
            "rows": define_rows(&rows, &planned, metric),
            "objectives": self.slos.iter().map(|slo| objective(slo, &self.burns)).collect::<Vec<_>>(),
            "controls": controls.iter().map(|c| control(c, &planned)).collect::<Result<Vec<_>, _>>()?,
            "checks": self.checks.iter().map(|check| json!({
                "id": check.id, "title": check.title, "help": check.help,
            })).collect::<Vec<_>>(),
        });
        let mut hasher = DefaultHasher::new();
        definition.to_string().hash(&mut hasher);
        definition["version"] = json!(format!("{:016x}", hasher.finish()));
        let budgets = self
            .slos
            .into_iter()
            .map(|slo| Budget::new(slo, self.burns.clone()));
        let spans = Spans {
            window: self.window.as_secs_f64(),
            history: self.history.as_secs_f64(),
        };
        let sampler = Sampler::new(
            self.source,
            planned,
            self.dashboard.annotations,
            budgets.collect(),
            controls.clone(),
            spans,
        );
        let parts = router::Parts {
            title: self.dashboard.title,
            definition: definition.to_string().into(),
            sampler,
            controls,
            checks: self.checks,
            log: self.requests.map(|requests| requests.log),
            shutdown: self.until,
        };
        Ok(router::start(parts, &runtime))
    }

    fn check_parts(&self) -> Result<(), Error> {
        self.dashboard.validate()?;
        self.slos.iter().try_for_each(Slo::validate)?;
        span("window", self.window, 1..=60, "1 s to 60 s")?;
        span("history", self.history, 60..=3600, "1 minute to 1 hour")?;
        once("controls", self.controls.iter().map(|c| (&c.id, &c.title)))?;
        once("checks", self.checks.iter().map(|c| (&c.id, &c.title)))
    }

    /// Returns the dashboard's rows, with the objectives below the leading rows of single values.
    fn rows(&self) -> Vec<(Row, bool)> {
        let mut rows: Vec<_> = self
            .dashboard
            .rows
            .iter()
            .map(|row| (row.clone(), false))
            .collect();
        if !self.slos.is_empty() {
            let mut panel = TimeSeries::new("Burn rate", Unit::Count)
                .description(
                    "How fast each error budget is consumed. At 1× it lasts exactly as long as \
                     the period of the objective.",
                )
                .size(8, 8);
            for burn in &self.burns {
                let color = if burn.severity == Severity::Page {
                    Color::Red
                } else {
                    Color::Yellow
                };
                panel = panel.threshold(burn.rate, color);
            }
            let is_stat = |panel: &Panel| matches!(panel.kind, PanelKind::Stat(_));
            let at = rows
                .iter()
                .position(|(row, _)| !row.panels.iter().all(is_stat));
            let objectives = Row::new("Objectives").panel(panel);
            rows.insert(at.unwrap_or(rows.len()), (objectives, true));
        }
        rows
    }
}

fn span(
    what: &'static str,
    value: Duration,
    seconds: std::ops::RangeInclusive<u64>,
    allowed: &'static str,
) -> Result<(), Error> {
    let (low, high) = (
        Duration::from_secs(*seconds.start()),
        Duration::from_secs(*seconds.end()),
    );
    let within = (low..=high).contains(&value);
    within.then_some(()).ok_or(Error::Span {
        what,
        value,
        allowed,
    })
}

fn once<'a>(
    what: &'static str,
    mut named: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    match named.find(|(id, _)| !seen.insert(*id)) {
        Some((_, title)) => Err(Error::Twice {
            what,
            title: title.clone(),
        }),
        None => Ok(()),
    }
}

/// Every panel with an id of its own.
fn plan(rows: &[(Row, bool)]) -> Vec<PlannedPanel> {
    let mut taken = BTreeSet::new();
    let panels = rows
        .iter()
        .flat_map(|(row, burns)| row.panels.iter().map(|panel| (panel, *burns)));
    panels
        .map(|(panel, burns)| {
            let slug = slug(&panel.title);
            let numbered = (2..).map(|number| format!("{slug}-{number}"));
            let mut free = std::iter::once(slug.clone()).chain(numbered);
            let id = free.find(|id| !taken.contains(id)).unwrap_or_default();
            taken.insert(id.clone());
            PlannedPanel {
                id,
                panel: panel.clone(),
                burns,
            }
        })
        .collect()
}

fn define_rows(rows: &[(Row, bool)], planned: &[PlannedPanel], metric: Option<&str>) -> Vec<Value> {
    let mut planned = planned.iter();
    let row = |(row, burns): &(Row, bool)| {
        let panels = planned.by_ref().take(row.panels.len());
        let panels = panels.map(|one| {
            let mut panel = wire::panel(&one.id, &one.panel, metric);
            if one.burns {
                panel["unit"] = json!("times");
            }
            panel
        });
        json!({
            "title": row.title,
            "collapsed": row.collapsed,
            "objectives": burns,
            "panels": panels.collect::<Vec<_>>(),
        })
    };
    rows.iter().map(row).collect()
}

fn objective(slo: &Slo, burns: &[BurnRateAlert]) -> Value {
    let alerts = burns.iter().map(|burn| {
        json!({
            "severity": if burn.severity == Severity::Page { "page" } else { "ticket" },
            "rate": burn.rate,
            "long_s": burn.long.as_secs_f64(),
            "short_s": burn.short.as_secs_f64(),
        })
    });
    json!({
        "id": slug(&slo.name),
        "title": slo.name,
        "condition": slo.condition,
        "objective": slo.objective,
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

fn control(control: &Control, planned: &[PlannedPanel]) -> Result<Value, Error> {
    let beside = control.beside.as_ref().map(|title| {
        let panel = planned.iter().find(|planned| planned.panel.title == *title);
        panel
            .map(|planned| &planned.id)
            .ok_or_else(|| Error::NoPanel {
                control: control.title.clone(),
                panel: title.clone(),
            })
    });
    Ok(json!({
        "id": control.id,
        "title": control.title,
        "help": control.help,
        "choices": control.choices,
        "rest": control.rest,
        "beside": beside.transpose()?,
    }))
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("dashboard", &self.dashboard.uid)
            .field("window", &self.window)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}
