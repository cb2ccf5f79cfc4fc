//! The dashboard row for service level objectives.

use crate::burn_rate::BurnRateAlert;
use crate::dashboard::Row;
use crate::format::percent;
use crate::panel::{Color, Stat, TimeSeries, Unit};
use crate::slo::Slo;

/// Title of the row. The live page shows its cards of objectives in place of this row.
pub(crate) const OBJECTIVES: &str = "Objectives";

/// Creates a row that shows the compliance with each objective over the displayed time range, and
/// how fast each error budget burns.
///
/// ```
/// # use tower_metrics::Prometheus;
/// use tower_metrics_dashboard::{Indicator, Red, Selector, Slo, objectives_row};
///
/// # let prometheus = Prometheus::new();
/// let red = Red::of(&prometheus).availability(0.999).build()?;
/// let jobs = Selector::new("jobs_total");
/// let indicator = Indicator::Bad {
///     bad: jobs.clone().with("result", ["failed"]),
///     total: jobs,
/// };
/// let jobs = Slo::new("jobs", "complete", 0.99, indicator);
/// let row = objectives_row(red.slos().iter().chain([&jobs]));
/// # Ok::<_, tower_metrics_dashboard::Error>(())
/// ```
#[must_use]
pub fn objectives_row<'a>(slos: impl IntoIterator<Item = &'a Slo>) -> Row {
    let slos: Vec<&Slo> = slos.into_iter().collect();
    // The lowest rate that pages within an hour. Objectives may have different periods.
    let fast = (slos.iter())
        .map(|slo| BurnRateAlert::for_period(slo.period)[0].rate)
        .reduce(f64::min)
        .unwrap_or(BurnRateAlert::DEFAULTS[0].rate);
    let mut burn_rate = TimeSeries::new("Burn rate", Unit::Count)
        .description(format!(
            "How fast each error budget burns. At 1 it lasts exactly the period of the objective; \
             an hour at {fast} pages.",
        ))
        .size(18, 8)
        .decimals(1)
        .threshold(1.0, Color::Yellow)
        .threshold(fast, Color::Red);
    let mut compliance = Stat::new("SLO compliance", Unit::Ratio)
        .description("Ratio of requests that met each objective over the displayed time range.")
        .size(6, 8)
        .decimals(3);
    for slo in slos {
        burn_rate = burn_rate.series(&slo.name, slo.burn_rate());
        let legend = format!("{}, target {}", slo.name, percent(slo.objective));
        compliance = compliance.series(legend, slo.compliance());
    }
    Row::new(OBJECTIVES).panel(compliance).panel(burn_rate)
}
