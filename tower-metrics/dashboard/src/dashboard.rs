//! Dashboards, rows, variables and annotations.

use crate::panel::{Color, Panel};
use crate::selector::Selector;

/// Dashboard: rows of panels, with variables, links and annotations.
///
/// Rendering validates the dashboard first; see [`validate`](Self::validate).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dashboard {
    /// Stable identifier and part of the dashboard's URL: 1 to 40 of `a-z A-Z 0-9 - _`.
    pub uid: String,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// Tags, by which Grafana groups dashboards.
    pub tags: Vec<String>,
    /// Variables, in addition to the data source, the job and the instance, which every dashboard
    /// has.
    pub variables: Vec<Variable>,
    /// Links to other dashboards.
    pub links: Vec<Link>,
    /// Events to mark on every time series panel.
    pub annotations: Vec<Annotation>,
    /// Rows, from top to bottom.
    pub rows: Vec<Row>,
}

/// Group of panels under a heading.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Heading.
    pub title: String,
    /// If `true`, the row is collapsed when the dashboard is opened.
    pub collapsed: bool,
    /// Panels. They fill a grid of 24 columns from left to right.
    pub panels: Vec<Panel>,
}

/// Variable that filters a dashboard by the values of a label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Variable {
    /// Name, to which [`Pattern::Variable`](crate::Pattern::Variable) refers.
    pub name: String,
    /// Name to display.
    pub title: String,
    /// Label.
    pub label: String,
    /// Series whose values of the label are offered.
    pub series: Selector,
}

/// Link to another dashboard, which keeps the time range and the variables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Text of the link.
    pub title: String,
    /// [`uid`](Dashboard::uid) of the other dashboard.
    pub dashboard: String,
}

/// Event to mark on every time series panel.
///
/// ```
/// use tower_metrics_dashboard::{Annotation, Color, Event, Selector};
///
/// let deployments = Selector::new("deployments_total");
/// let annotation = Annotation::new("Deployed", Event::CounterStarts(deployments))
///     .by(["version"])
///     .color(Color::Green);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Annotation {
    /// Title of the marks.
    pub title: String,
    /// Event.
    pub event: Event,
    /// Labels that distinguish simultaneous events.
    pub by: Vec<String>,
    /// Color of the marks.
    pub color: Color,
}

/// Event in the data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A counter starts to increase after a pause.
    CounterStarts(Selector),
    /// A gauge becomes positive.
    GaugeBecomesPositive(Selector),
}

impl Event {
    /// Returns the series in which the event occurs.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        match self {
            Self::CounterStarts(selector) | Self::GaugeBecomesPositive(selector) => selector,
        }
    }
}

impl Annotation {
    /// Creates an annotation with blue marks, which does not distinguish simultaneous events.
    pub fn new(title: impl Into<String>, event: Event) -> Self {
        Self {
            title: title.into(),
            event,
            by: Vec::new(),
            color: Color::Blue,
        }
    }

    /// Sets the labels that distinguish simultaneous events.
    #[must_use]
    pub fn by<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.by = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the color of the marks. Defaults to [`Color::Blue`].
    #[must_use]
    pub fn color(mut self, color: Color) -> Self {
        self.color = color;
        self
    }
}

impl Dashboard {
    /// Creates an empty dashboard.
    pub fn new(
        uid: impl Into<String>,
        title: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        Self {
            uid: uid.into(),
            title: title.into(),
            description: description.into(),
            tags: Vec::new(),
            variables: Vec::new(),
            links: Vec::new(),
            annotations: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds a row at the bottom.
    #[must_use]
    pub fn row(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }

    /// Adds rows at the bottom.
    #[must_use]
    pub fn rows(mut self, rows: impl IntoIterator<Item = Row>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a link to another dashboard, given by its [`uid`](Self::uid).
    #[must_use]
    pub fn link(mut self, title: impl Into<String>, dashboard: impl Into<String>) -> Self {
        self.links.push(Link {
            title: title.into(),
            dashboard: dashboard.into(),
        });
        self
    }

    /// Adds a variable, which offers the values of `label` in `series`.
    #[must_use]
    pub fn variable(
        mut self,
        name: impl Into<String>,
        title: impl Into<String>,
        label: impl Into<String>,
        series: Selector,
    ) -> Self {
        self.variables.push(Variable {
            name: name.into(),
            title: title.into(),
            label: label.into(),
            series,
        });
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, annotation: Annotation) -> Self {
        self.annotations.push(annotation);
        self
    }

    /// Returns every panel, from top to bottom.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }
}

impl Row {
    /// Creates an empty row, which is open.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            collapsed: false,
            panels: Vec::new(),
        }
    }

    /// Adds a panel.
    #[must_use]
    pub fn panel(mut self, panel: impl Into<Panel>) -> Self {
        self.panels.push(panel.into());
        self
    }

    /// Sets whether the row is collapsed when the dashboard is opened. Defaults to `false`.
    #[must_use]
    pub fn collapsed(mut self, collapsed: bool) -> Self {
        self.collapsed = collapsed;
        self
    }
}
