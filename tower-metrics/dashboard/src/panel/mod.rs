//! Panels: one builder per visualization, and the [`Panel`] that they all become.

mod bar_gauge;
mod heatmap;
mod stat;
mod table;
mod time_series;

pub use self::bar_gauge::BarGauge;
pub use self::heatmap::Heatmap;
pub use self::stat::Stat;
pub use self::table::{Column, DataLink, Table};
pub use self::time_series::TimeSeries;

use crate::expr::Expr;
use crate::selector::Selector;

/// Panel of a dashboard.
///
/// Build one with [`TimeSeries`], [`Stat`], [`BarGauge`], [`Heatmap`] or [`Table`]. Each builder has
/// only the settings that its visualization uses:
///
/// ```compile_fail
/// # use tower_metrics_dashboard::{Heatmap, Selector, Unit};
/// let latency = Selector::new("http_server_request_duration_seconds");
/// let mean = latency.clone().mean();
/// // A heatmap shows one histogram and has no further series.
/// Heatmap::new("Latency", Unit::Seconds, latency).series("mean", mean);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Panel {
    /// Title.
    pub title: String,
    /// Description, shown as a tooltip. Required.
    pub description: String,
    /// Unit of the values; of a heatmap, unit of the vertical axis.
    pub unit: Unit,
    /// Number of decimals, or `None` to leave it to the viewer.
    pub decimals: Option<u8>,
    /// Thresholds in ascending order.
    pub thresholds: Vec<Threshold>,
    /// Width in columns, 1 to 24.
    pub width: u8,
    /// Height in Grafana's grid units of 30 pixels, 1 to 40.
    pub height: u8,
    /// Visualization and its queries.
    pub kind: PanelKind,
}

/// Visualization of a [`Panel`], with its queries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PanelKind {
    /// Lines over time.
    TimeSeries {
        /// Queries.
        series: Vec<Series>,
        /// If `true`, the series are stacked.
        stacked: bool,
        /// If `true`, exemplars are shown as points.
        exemplars: bool,
    },
    /// Latest values as large numbers.
    Stat(Vec<Series>),
    /// Latest values as horizontal bars.
    BarGauge(Series),
    /// Buckets of a histogram over time, colored by the observations per second.
    Heatmap(Selector),
    /// Table with a row per label set and a column per query.
    Table {
        /// Labels that identify a row.
        by: Vec<String>,
        /// Queries. Their results have exactly the labels `by`.
        columns: Vec<Column>,
        /// Link to another dashboard from each row.
        data_link: Option<DataLink>,
    },
}

/// Query of a panel, with its legend.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// Legend. `{label}` is replaced by the value of the label.
    pub legend: String,
    /// Query.
    pub expr: Expr,
    /// Fixed color, or `None` for one from the palette.
    pub color: Option<Color>,
}

/// Value at and above which a color applies.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Threshold {
    /// Value in the panel's unit.
    pub from: f64,
    /// Color.
    pub color: Color,
}

/// Color of a series, a threshold or an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Color {
    /// Healthy.
    Green,
    /// Degraded.
    Yellow,
    /// Failing.
    Red,
    /// Neutral.
    Blue,
    /// Less important than the other series.
    Gray,
}

/// Unit of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Plain number.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Requests per second.
    RequestsPerSecond,
    /// Events per second.
    PerSecond,
    /// Events per minute.
    PerMinute,
    /// Ratio from 0 to 1, displayed as a percentage.
    Ratio,
    /// Amount of money in the major unit of a currency, given by its ISO 4217 code.
    Currency(String),
}

/// Settings that all builders share.
#[derive(Clone, Debug, PartialEq)]
struct Base {
    title: String,
    description: String,
    unit: Unit,
    decimals: Option<u8>,
    thresholds: Vec<Threshold>,
    size: (u8, u8),
}

impl Base {
    fn new(title: impl Into<String>, unit: Unit, size: (u8, u8)) -> Self {
        Self {
            title: title.into(),
            description: String::new(),
            unit,
            decimals: None,
            thresholds: Vec::new(),
            size,
        }
    }

    fn into_panel(self, kind: PanelKind) -> Panel {
        Panel {
            title: self.title,
            description: self.description,
            unit: self.unit,
            decimals: self.decimals,
            thresholds: self.thresholds,
            width: self.size.0,
            height: self.size.1,
            kind,
        }
    }
}

impl Panel {
    /// Returns every query of the panel. A heatmap's is the rate of its buckets.
    #[must_use]
    pub fn expressions(&self) -> Vec<Expr> {
        match &self.kind {
            PanelKind::TimeSeries { series, .. } | PanelKind::Stat(series) => {
                series.iter().map(|s| s.expr.clone()).collect()
            }
            PanelKind::BarGauge(series) => vec![series.expr.clone()],
            PanelKind::Heatmap(histogram) => vec![histogram.clone().rate()],
            PanelKind::Table { columns, .. } => columns.iter().map(|c| c.expr.clone()).collect(),
        }
    }
}

impl Series {
    fn new(legend: impl Into<String>, expr: Expr, color: Option<Color>) -> Self {
        Self {
            legend: legend.into(),
            expr,
            color,
        }
    }
}

/// Settings that every panel has.
macro_rules! panel_settings {
    () => {
        /// Sets the description, which explains how to read the panel. Required.
        pub fn description(mut self, description: impl Into<String>) -> Self {
            self.base.description = description.into();
            self
        }

        /// Sets the width in columns (1 to 24) and the height in grid units of 30 pixels (1 to 40).
        pub fn size(mut self, width: u8, height: u8) -> Self {
            self.base.size = (width, height);
            self
        }
    };
}

/// Settings of panels whose values share one unit.
macro_rules! value_settings {
    () => {
        /// Sets the number of decimals. By default the viewer chooses.
        pub fn decimals(mut self, decimals: u8) -> Self {
            self.base.decimals = Some(decimals);
            self
        }

        /// Adds a threshold: values of at least `from` have this color. Add thresholds in ascending
        /// order.
        pub fn threshold(mut self, from: f64, color: crate::Color) -> Self {
            self.base
                .thresholds
                .push(crate::panel::Threshold { from, color });
            self
        }
    };
}

/// Queries of panels that have several.
macro_rules! series_settings {
    () => {
        /// Adds a query. `{label}` in the legend is replaced by the value of the label.
        pub fn series(mut self, legend: impl Into<String>, expr: crate::Expr) -> Self {
            self.series
                .push(crate::panel::Series::new(legend, expr, None));
            self
        }

        /// Adds a query with a fixed color.
        pub fn colored_series(
            mut self,
            color: crate::Color,
            legend: impl Into<String>,
            expr: crate::Expr,
        ) -> Self {
            self.series
                .push(crate::panel::Series::new(legend, expr, Some(color)));
            self
        }
    };
}

use {panel_settings, series_settings, value_settings};
