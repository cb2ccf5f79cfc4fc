//! Rendering of objectives as OpenSLO v1.

use super::Rules;
use super::rule::{Target, dns_name, objective_names, prometheus_duration};
use super::yaml::HEADER;
use crate::error::Error;
use crate::expr::Expr;
use crate::format::percent;
use crate::selector::Selector;
use crate::slo::{Indicator, Slo};
use crate::yaml::Yaml;

pub(super) fn render(rules: &Rules) -> Result<String, Error> {
    let service = dns_name(&rules.target.job);
    let mut documents = vec![document(
        "Service",
        &service,
        &rules.target.job,
        vec![(
            "description",
            Yaml::text(format!("Scrape job {} of Prometheus.", rules.target.job)),
        )],
    )];
    for (slo, name) in objective_names(rules, &service)? {
        documents.push(objective(&rules.target, slo, &service, &name));
    }
    Ok(HEADER.to_owned() + &documents.join("---\n"))
}

fn document(
    kind: &'static str,
    name: &str,
    display: &str,
    spec: Vec<(&'static str, Yaml)>,
) -> String {
    let metadata = Yaml::Map(vec![
        ("name", Yaml::text(name)),
        ("displayName", Yaml::text(display)),
    ]);
    Yaml::Map(vec![
        ("apiVersion", Yaml::plain("openslo/v1")),
        ("kind", Yaml::plain(kind)),
        ("metadata", metadata),
        ("spec", Yaml::Map(spec)),
    ])
    .document()
}

fn objective(target: &Target, slo: &Slo, service: &str, name: &str) -> String {
    let description = format!("{} of requests {}.", percent(slo.objective), slo.condition);
    let source = |query: String| {
        let spec = Yaml::Map(vec![("query", Yaml::query(query))]);
        let source = Yaml::Map(vec![("type", Yaml::plain("Prometheus")), ("spec", spec)]);
        Yaml::Map(vec![("metricSource", source)])
    };
    // Cumulative counters have no window.
    let query = |expr: &Expr| target.query(expr, "");
    let total = || slo.indicator.total().clone().value().sum();
    let part = |of: &Selector| query(&of.clone().value().sum().or_zero(total()));
    let (key, part) = match &slo.indicator {
        Indicator::Bad { bad, .. } => ("bad", part(bad)),
        Indicator::Good { good, .. } => ("good", part(good)),
    };
    let ratio = Yaml::Map(vec![
        ("counter", Yaml::Bool(true)),
        (key, source(part)),
        ("total", source(query(&total()))),
    ]);
    let indicator = Yaml::Map(vec![
        (
            "metadata",
            Yaml::Map(vec![("name", Yaml::text(format!("{name}-ratio")))]),
        ),
        ("spec", Yaml::Map(vec![("ratioMetric", ratio)])),
    ]);
    let window = Yaml::Map(vec![
        (
            "duration",
            Yaml::plain(prometheus_duration(slo.period.duration())),
        ),
        ("isRolling", Yaml::Bool(true)),
    ]);
    let goal = Yaml::Map(vec![
        ("displayName", Yaml::text(&*description)),
        ("target", Yaml::Number(slo.objective)),
    ]);
    let spec = vec![
        ("description", Yaml::text(description)),
        ("service", Yaml::text(service)),
        ("indicator", indicator),
        ("timeWindow", Yaml::List(vec![window])),
        ("budgetingMethod", Yaml::plain("Occurrences")),
        ("objectives", Yaml::List(vec![goal])),
    ];
    document("SLO", name, &slo.name, spec)
}
