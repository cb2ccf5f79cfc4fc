//! Bar gauge panels.

use super::{Base, Panel, PanelKind, Series, Unit};
use super::{panel_settings, value_settings};
use crate::expr::Expr;

/// Builder for a panel with the latest values of one query as horizontal bars.
///
/// ```
/// use tower_metrics_dashboard::{BarGauge, Selector, Unit};
///
/// let waiting = Selector::new("jobs_waiting").value().sum_by(["queue"]);
/// let panel = BarGauge::new("Waiting jobs", Unit::Count, "{queue}", waiting)
///     .description("Jobs that wait for a worker, by queue.");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a panel has no effect until it is added to a row"]
pub struct BarGauge {
    base: Base,
    series: Series,
}

impl BarGauge {
    /// Creates a panel 12 columns wide and 8 units high. `{label}` in the legend is replaced by
    /// the value of the label.
    pub fn new(
        title: impl Into<String>,
        unit: Unit,
        legend: impl Into<String>,
        expr: Expr,
    ) -> Self {
        Self {
            base: Base::new(title, unit, (12, 8)),
            series: Series::new(legend, expr, None),
        }
    }

    panel_settings!();
    value_settings!();
}

impl From<BarGauge> for Panel {
    fn from(BarGauge { base, series }: BarGauge) -> Self {
        base.into_panel(PanelKind::BarGauge(series))
    }
}
