//! Heatmap panels.

use super::{Base, Panel, PanelKind, Unit, panel_settings};
use crate::selector::Selector;

/// Builder for a panel with the buckets of a histogram over time.
///
/// ```
/// use tower_metrics_dashboard::{Heatmap, Selector, Unit};
///
/// let duration = Selector::new("http_server_request_duration_seconds");
/// let panel = Heatmap::new("Duration", Unit::Seconds, duration)
///     .description("Requests per second in each duration bucket.")
///     .size(24, 10);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a panel has no effect until it is added to a row"]
pub struct Heatmap {
    base: Base,
    histogram: Selector,
}

impl Heatmap {
    /// Creates a panel 12 columns wide and 8 units high. `unit` is the unit of the observations.
    pub fn new(title: impl Into<String>, unit: Unit, histogram: Selector) -> Self {
        Self {
            base: Base::new(title, unit, (12, 8)),
            histogram,
        }
    }

    panel_settings!();
}

impl From<Heatmap> for Panel {
    fn from(Heatmap { base, histogram }: Heatmap) -> Self {
        base.into_panel(PanelKind::Heatmap(histogram))
    }
}
