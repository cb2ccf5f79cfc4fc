//! Stat panels.

use super::{Base, Panel, PanelKind, Series, Unit};
use super::{panel_settings, series_settings, value_settings};

/// Builder for a panel with the latest values as large numbers.
///
/// ```
/// use tower_metrics_dashboard::{Color, Selector, Stat, Unit};
///
/// let waiting = Selector::new("jobs_waiting").value().sum();
/// let panel = Stat::new("Waiting jobs", Unit::Count)
///     .description("Jobs that wait for a worker.")
///     .threshold(100.0, Color::Yellow)
///     .threshold(1000.0, Color::Red)
///     .series("waiting", waiting);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a panel has no effect until it is added to a row"]
pub struct Stat {
    base: Base,
    series: Vec<Series>,
}

impl Stat {
    /// Creates a panel without queries, 4 columns wide and 4 units high.
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self {
            base: Base::new(title, unit, (4, 4)),
            series: Vec::new(),
        }
    }

    panel_settings!();
    value_settings!();
    series_settings!();
}

impl From<Stat> for Panel {
    fn from(Stat { base, series }: Stat) -> Self {
        base.into_panel(PanelKind::Stat(series))
    }
}
