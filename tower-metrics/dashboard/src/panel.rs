//! Dashboards, rows and panels.

use crate::expr::{Expr, Selector};

/// A dashboard. Rendering checks it first, and says what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dashboard {
    /// Its stable id, 1 to 40 of `a-z A-Z 0-9 - _`: part of its address.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What it shows, in a sentence or two.
    pub description: String,
    /// Tags, by which Grafana groups dashboards.
    pub tags: Vec<String>,
    /// What a viewer can narrow it by, beside the data source, job and instance that every
    /// dashboard has.
    pub variables: Vec<Variable>,
    /// Other dashboards, linked in its head.
    pub links: Vec<Link>,
    /// Events marked on every chart.
    pub annotations: Vec<Annotation>,
    /// Its rows, from the top.
    pub rows: Vec<Row>,
}

/// Panels under a heading.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The heading.
    pub title: String,
    /// Whether it is shown closed at first.
    pub collapsed: bool,
    /// Its panels. They fill lines of 24 columns from left to right.
    pub panels: Vec<Panel>,
}

/// One picture of the data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// A sentence that says how to read it.
    pub help: String,
    /// The unit of its values (of a heatmap: of its vertical axis).
    pub unit: Unit,
    /// Decimals shown; `None` leaves it to the viewer.
    pub decimals: Option<u8>,
    /// Where values turn from good to bad, rising.
    pub thresholds: Vec<Threshold>,
    /// Columns it takes, 1 to 24.
    pub width: u8,
    /// Height in Grafana's grid units of 30 px, 1 to 40.
    pub height: u8,
    /// What it shows.
    pub show: Show,
}

/// What a panel shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Show {
    /// Lines over time.
    Lines {
        /// What is drawn.
        series: Vec<Series>,
        /// Whether the lines are stacked as areas.
        stacked: bool,
        /// Whether exemplars are shown as points.
        exemplars: bool,
    },
    /// The latest values, written large.
    Stat(Vec<Series>),
    /// The latest values as horizontal bars, the largest first.
    Bars(Series),
    /// A histogram's buckets over time, coloured by observations per second.
    Heatmap(Selector),
    /// A line for each label set, a column for each figure.
    Table {
        /// The labels that name a line.
        by: Vec<String>,
        /// The figures; their expressions keep exactly the labels `by`.
        columns: Vec<Column>,
        /// Where a click on a line leads.
        drill: Option<Drill>,
    },
}

/// One expression of a panel, with the name of its lines.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// What its lines are called; `{label}` stands for the label's value.
    pub legend: String,
    /// What is computed.
    pub expr: Expr,
    /// A fixed colour; `None` takes one from the palette.
    pub tone: Option<Tone>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Column {
    /// Its heading.
    pub title: String,
    /// What is computed.
    pub expr: Expr,
    /// The unit of its values.
    pub unit: Unit,
    /// Where values turn from good to bad, rising.
    pub thresholds: Vec<Threshold>,
}

/// A link from a table's line to another dashboard.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Drill {
    /// The label whose value is handed over.
    pub label: String,
    /// The other dashboard's [`uid`](Dashboard::uid).
    pub dashboard: String,
    /// The variable there that takes it.
    pub variable: String,
}

/// From this value on, the tone.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Threshold {
    /// The value, in the panel's unit.
    pub from: f64,
    /// What it means.
    pub tone: Tone,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Neither: a figure among others.
    Neutral,
    /// Of less interest than the others.
    Muted,
}

/// The unit of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Requests per second.
    RequestsPerSecond,
    /// Other things per second.
    PerSecond,
    /// Things per minute.
    PerMinute,
    /// A share, 0 to 1, shown as a percentage.
    Ratio,
    /// Money, in main units; an ISO 4217 code.
    Currency(String),
}

/// A choice at the dashboard's head: the values of a label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Variable {
    /// The name that [`Pattern::Variable`](crate::Pattern::Variable) uses.
    pub name: String,
    /// What a viewer reads.
    pub title: String,
    /// The label.
    pub label: String,
    /// The series whose label values are offered.
    pub of: Selector,
}

/// A link to another dashboard; time range and variables go along.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// What a viewer reads.
    pub title: String,
    /// The other dashboard's [`uid`](Dashboard::uid).
    pub dashboard: String,
}

/// Marks on every chart.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Annotation {
    /// What the marks are called.
    pub title: String,
    /// What is marked.
    pub event: Event,
    /// The labels that tell one beginning from another.
    pub by: Vec<String>,
    /// The colour of the marks.
    pub tone: Tone,
}

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A counter moves after it stood still.
    Moves(Selector),
    /// A gauge is above zero after it was not.
    Rises(Selector),
}

impl Annotation {
    /// Marks of a colour that says neither good nor bad, one for each moment.
    pub fn new(title: impl Into<String>, event: Event) -> Self {
        Self {
            title: title.into(),
            event,
            by: Vec::new(),
            tone: Tone::Neutral,
        }
    }

    /// With the labels that tell one beginning from another.
    #[must_use]
    pub fn by<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.by = labels.into_iter().map(Into::into).collect();
        self
    }

    /// In another colour.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl Event {
    /// The series that are watched.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        match self {
            Self::Moves(selector) | Self::Rises(selector) => selector,
        }
    }
}

impl Dashboard {
    /// An empty dashboard.
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

    /// With a row more, at the bottom.
    #[must_use]
    pub fn row(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }

    /// With more rows, at the bottom.
    #[must_use]
    pub fn rows(mut self, rows: impl IntoIterator<Item = Row>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// With a tag more.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With a link to another dashboard.
    #[must_use]
    pub fn link(mut self, title: impl Into<String>, dashboard: impl Into<String>) -> Self {
        self.links.push(Link {
            title: title.into(),
            dashboard: dashboard.into(),
        });
        self
    }

    /// With a variable more: the values of `label` among the series `of`.
    #[must_use]
    pub fn variable(
        mut self,
        name: impl Into<String>,
        title: impl Into<String>,
        label: impl Into<String>,
        of: Selector,
    ) -> Self {
        self.variables.push(Variable {
            name: name.into(),
            title: title.into(),
            label: label.into(),
            of,
        });
        self
    }

    /// With marks on every chart.
    #[must_use]
    pub fn annotate(mut self, annotation: Annotation) -> Self {
        self.annotations.push(annotation);
        self
    }

    /// Every panel, from the top.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }
}

impl Row {
    /// An empty row.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            collapsed: false,
            panels: Vec::new(),
        }
    }

    /// With a panel more.
    #[must_use]
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// Shown closed at first.
    #[must_use]
    pub fn collapsed(mut self) -> Self {
        self.collapsed = true;
        self
    }
}

impl Panel {
    fn new(title: impl Into<String>, unit: Unit, size: (u8, u8), show: Show) -> Self {
        Self {
            title: title.into(),
            help: String::new(),
            unit,
            decimals: None,
            thresholds: Vec::new(),
            width: size.0,
            height: size.1,
            show,
        }
    }

    /// Lines over time, 12 columns wide. Add them with [`series`](Self::series).
    pub fn lines(title: impl Into<String>, unit: Unit) -> Self {
        let show = Show::Lines {
            series: Vec::new(),
            stacked: false,
            exemplars: false,
        };
        Self::new(title, unit, (12, 8), show)
    }

    /// The latest values, written large, 4 columns wide. Add them with [`series`](Self::series).
    pub fn stat(title: impl Into<String>, unit: Unit) -> Self {
        Self::new(title, unit, (4, 4), Show::Stat(Vec::new()))
    }

    /// The latest values as bars, 12 columns wide.
    pub fn bars(
        title: impl Into<String>,
        unit: Unit,
        legend: impl Into<String>,
        expr: Expr,
    ) -> Self {
        let series = Series {
            legend: legend.into(),
            expr,
            tone: None,
        };
        Self::new(title, unit, (12, 8), Show::Bars(series))
    }

    /// The heatmap of a histogram, 12 columns wide.
    pub fn heatmap(title: impl Into<String>, unit: Unit, histogram: Selector) -> Self {
        Self::new(title, unit, (12, 8), Show::Heatmap(histogram))
    }

    /// A table with a line for each set of the labels `by`, 24 columns wide. Add figures with
    /// [`column`](Self::column).
    pub fn table<L: Into<String>>(
        title: impl Into<String>,
        by: impl IntoIterator<Item = L>,
    ) -> Self {
        let show = Show::Table {
            by: by.into_iter().map(Into::into).collect(),
            columns: Vec::new(),
            drill: None,
        };
        Self::new(title, Unit::Count, (24, 9), show)
    }

    /// With the sentence that says how to read it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With so many columns and so high.
    #[must_use]
    pub fn size(mut self, width: u8, height: u8) -> Self {
        self.width = width;
        self.height = height;
        self
    }

    /// With so many decimals.
    #[must_use]
    pub fn decimals(mut self, decimals: u8) -> Self {
        self.decimals = Some(decimals);
        self
    }

    /// From this value on, the tone.
    #[must_use]
    pub fn threshold(mut self, from: f64, tone: Tone) -> Self {
        self.thresholds.push(Threshold { from, tone });
        self
    }

    /// With lines, or a large value, more. Only lines and stats have series to add to.
    #[must_use]
    pub fn series(self, legend: impl Into<String>, expr: Expr) -> Self {
        self.toned(legend, expr, None)
    }

    /// The same, in a fixed colour.
    #[must_use]
    pub fn series_in(self, tone: Tone, legend: impl Into<String>, expr: Expr) -> Self {
        self.toned(legend, expr, Some(tone))
    }

    fn toned(mut self, legend: impl Into<String>, expr: Expr, tone: Option<Tone>) -> Self {
        if let Show::Lines { series, .. } | Show::Stat(series) = &mut self.show {
            series.push(Series {
                legend: legend.into(),
                expr,
                tone,
            });
        }
        self
    }

    /// Lines as stacked areas.
    #[must_use]
    pub fn stacked(mut self) -> Self {
        if let Show::Lines { stacked, .. } = &mut self.show {
            *stacked = true;
        }
        self
    }

    /// Lines with exemplars as points. Heatmaps show them always.
    #[must_use]
    pub fn with_exemplars(mut self) -> Self {
        if let Show::Lines { exemplars, .. } = &mut self.show {
            *exemplars = true;
        }
        self
    }

    /// A table with a column more.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        if let Show::Table { columns, .. } = &mut self.show {
            columns.push(column);
        }
        self
    }

    /// A table whose lines lead to another dashboard.
    #[must_use]
    pub fn drill(
        mut self,
        to_label: impl Into<String>,
        to_dashboard: impl Into<String>,
        to_variable: impl Into<String>,
    ) -> Self {
        if let Show::Table { drill, .. } = &mut self.show {
            *drill = Some(Drill {
                label: to_label.into(),
                dashboard: to_dashboard.into(),
                variable: to_variable.into(),
            });
        }
        self
    }

    /// Every expression in it. A heatmap's is the rate of its buckets.
    #[must_use]
    pub fn expressions(&self) -> Vec<Expr> {
        match &self.show {
            Show::Lines { series, .. } | Show::Stat(series) => {
                series.iter().map(|s| s.expr.clone()).collect()
            }
            Show::Bars(series) => vec![series.expr.clone()],
            Show::Heatmap(histogram) => vec![histogram.clone().rate()],
            Show::Table { columns, .. } => columns.iter().map(|c| c.expr.clone()).collect(),
        }
    }
}

impl Column {
    /// A column.
    pub fn new(title: impl Into<String>, unit: Unit, expr: Expr) -> Self {
        Self {
            title: title.into(),
            expr,
            unit,
            thresholds: Vec::new(),
        }
    }

    /// From this value on, the tone.
    #[must_use]
    pub fn threshold(mut self, from: f64, tone: Tone) -> Self {
        self.thresholds.push(Threshold { from, tone });
        self
    }
}
