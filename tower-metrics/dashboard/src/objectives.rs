//! The dashboard row for service level objectives.

use crate::burn_rate::BurnRateAlert;
use crate::dashboard::Row;
use crate::format::percent;
use crate::panel::{Color, Stat, TimeSeries, Unit};
use crate::slo::Slo;

/// Creates a row that shows the compliance with each objective over the displayed time range, and
/// how fast each error budget burns.
#[must_use]
pub fn objectives_row(slos: &[Slo]) -> Row {
    let burn_rate = TimeSeries::new("Burn rate", Unit::Count)
        .description(
            "How fast each error budget burns. At 1 it lasts exactly 30 days; at 14.4 it loses 2% \
             per hour, which pages.",
        )
        .size(18, 8)
        .decimals(1)
        .threshold(1.0, Color::Yellow)
        .threshold(BurnRateAlert::DEFAULTS[0].rate, Color::Red);
    let burn_rate = (slos.iter()).fold(burn_rate, |panel, slo| {
        panel.series(&slo.name, slo.burn_rate())
    });
    let compliance = Stat::new("SLO compliance", Unit::Ratio)
        .description("Ratio of requests that met each objective over the displayed time range.")
        .size(6, 8)
        .decimals(3);
    let compliance = (slos.iter()).fold(compliance, |panel, slo| {
        let legend = format!("{}, target {}", slo.name, percent(slo.objective));
        panel.series(legend, slo.compliance())
    });
    Row::new("Objectives").panel(compliance).panel(burn_rate)
}
