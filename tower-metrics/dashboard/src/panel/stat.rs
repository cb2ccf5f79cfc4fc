//! Stat panels.

use super::{Base, Panel, PanelKind, Series, Unit};
use super::{panel_settings, series_settings, value_settings};

/// Builder for a panel with the latest values as large numbers.
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
