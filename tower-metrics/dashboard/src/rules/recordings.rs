//! Recording rules, named `level:metric:operations`.

use std::time::Duration;

use super::{Kind, Rule, Rules, span};
use crate::promql::quoted;
use crate::slo::{PERIOD, Slo};

/// The window of the rates that the budget is summed from.
const SHORTEST: Duration = Duration::from_secs(300);

/// For each window: bad requests and requests per second, and the share of the bad.
pub(super) fn windows(rules: &Rules, slo: &Slo) -> Vec<Rule> {
    let mut windows: Vec<Duration> = (rules.burns.iter())
        .flat_map(|burn| [burn.short, burn.long])
        .chain([SHORTEST])
        .collect();
    windows.sort_unstable();
    windows.dedup();
    let mut out = Vec::new();
    for window in windows {
        let window = span(window);
        out.push(
            rules.record(slo, "bad_requests", &format!("rate{window}"), |_| {
                rules.query(&slo.bad(), &window)
            }),
        );
        out.push(
            rules.record(slo, "requests", &format!("rate{window}"), |_| {
                rules.query(&slo.total(), &window)
            }),
        );
        out.push(rules.record(
            slo,
            "bad_requests_per_requests",
            &format!("ratio_rate{window}"),
            |rules| {
                // Divided sums, not averaged ratios; and no value rather than NaN without traffic.
                format!(
                    "{}\n/\n({} > 0)",
                    rules.recorded(slo, "bad_requests", &format!("rate{window}")),
                    rules.recorded(slo, "requests", &format!("rate{window}")),
                )
            },
        ));
    }
    out
}

/// The share of the bad over the whole period, and what is left of the budget: 1 is untouched, 0
/// is spent, below 0 overspent.
pub(super) fn budget(rules: &Rules, slo: &Slo) -> Vec<Rule> {
    let period = span(PERIOD);
    let rate = format!("rate{}", span(SHORTEST));
    let ratio = format!("ratio_rate{period}");
    vec![
        rules.record(slo, "bad_requests_per_requests", &ratio, |rules| {
            format!(
                "sum_over_time({}[{period}])\n/\n(sum_over_time({}[{period}]) > 0)",
                rules.recorded(slo, "bad_requests", &rate),
                rules.recorded(slo, "requests", &rate),
            )
        }),
        rules.record(
            slo,
            "error_budget",
            &format!("remaining{period}"),
            |rules| {
                format!(
                    "1 - {} / {}",
                    rules.recorded(slo, "bad_requests_per_requests", &ratio),
                    slo.budget(),
                )
            },
        ),
    ]
}

impl Rules {
    /// The name of a recorded metric.
    fn metric(&self, metric: &str, operations: &str) -> String {
        let mut level = self.keep();
        level.push("slo".to_owned());
        format!("{}:{metric}:{operations}", level.join("_"))
    }

    /// A selector of a recorded metric.
    pub(super) fn recorded(&self, slo: &Slo, metric: &str, operations: &str) -> String {
        let metric = self.metric(metric, operations);
        format!(
            "{metric}{{job={},slo={}}}",
            quoted(&self.job),
            quoted(&slo.name)
        )
    }

    fn record(
        &self,
        slo: &Slo,
        metric: &str,
        operations: &str,
        expr: impl FnOnce(&Self) -> String,
    ) -> Rule {
        Rule {
            kind: Kind::Record(self.metric(metric, operations)),
            expr: expr(self),
            labels: vec![("slo", slo.name.clone())],
        }
    }
}
