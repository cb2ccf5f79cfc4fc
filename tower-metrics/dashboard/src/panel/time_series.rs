//! Time series panels.

use super::{Base, Panel, PanelKind, Series, Unit};
use super::{panel_settings, series_settings, value_settings};

/// Builder for a panel with lines over time.
///
/// ```
/// use tower_metrics_dashboard::{Selector, TimeSeries, Unit};
///
/// let requests = Selector::new("http_requests_total").rate().sum_by(["route"]);
/// let panel = TimeSeries::new("Requests by route", Unit::RequestsPerSecond)
///     .description("Requests per second, by route.")
///     .stacked(true)
///     .series("{route}", requests);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a panel has no effect until it is added to a row"]
pub struct TimeSeries {
    base: Base,
    series: Vec<Series>,
    stacked: bool,
    exemplars: bool,
}

impl TimeSeries {
    /// Creates a panel without queries, 12 columns wide and 8 units high.
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self {
            base: Base::new(title, unit, (12, 8)),
            series: Vec::new(),
            stacked: false,
            exemplars: false,
        }
    }

    panel_settings!();
    value_settings!();
    series_settings!();

    /// Sets whether the series are stacked. Defaults to `false`.
    pub fn stacked(mut self, stacked: bool) -> Self {
        self.stacked = stacked;
        self
    }

    /// Sets whether exemplars are shown as points. Defaults to `false`.
    pub fn exemplars(mut self, exemplars: bool) -> Self {
        self.exemplars = exemplars;
        self
    }
}

impl From<TimeSeries> for Panel {
    fn from(builder: TimeSeries) -> Self {
        let TimeSeries {
            base,
            series,
            stacked,
            exemplars,
        } = builder;
        base.into_panel(PanelKind::TimeSeries {
            series,
            stacked,
            exemplars,
        })
    }
}
