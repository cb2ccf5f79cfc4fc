//! Rendering of objectives as resources of Pyrra.

use tower_metrics::prometheus::format_bound;

use super::Rules;
use super::rule::{camel_case, dns_name, objective_names, prometheus_duration};
use super::yaml::HEADER;
use crate::error::Error;
use crate::format::percent;
use crate::selector::{Part, Selector};
use crate::slo::{Indicator, Slo};
use crate::validate::check;
use crate::yaml::Yaml;

pub(super) fn render(rules: &Rules) -> Result<String, Error> {
    let mut documents = Vec::new();
    for (slo, name) in objective_names(rules, &dns_name(&rules.target.job))? {
        documents.push(objective(rules, slo, &name)?);
    }
    Ok(HEADER.to_owned() + &documents.join("---\n"))
}

fn objective(rules: &Rules, slo: &Slo, name: &str) -> Result<String, Error> {
    let metric = |selector: &Selector| {
        let query = rules.target.query(&selector.clone().value(), "");
        Yaml::Map(vec![("metric", Yaml::query(query))])
    };
    let total = ("total", metric(slo.indicator.total()));
    let (kind, mut indicator) = match &slo.indicator {
        Indicator::Bad { bad, .. } => ("ratio", vec![("errors", metric(bad)), total]),
        Indicator::Good { good, .. } => {
            let good = bucket(rules, slo, good)?;
            ("latency", vec![("success", metric(&good)), total])
        }
    };
    if !rules.target.by.is_empty() {
        let labels = rules.target.by.iter().map(Yaml::text).collect();
        indicator.push(("grouping", Yaml::List(labels)));
    }
    let description = format!("{} of requests {}.", percent(slo.objective), slo.condition);
    let target = percent(slo.objective);
    let alert = format!("{}{}ErrorBudgetBurn", rules.prefix, camel_case(&slo.name));
    let spec = Yaml::Map(vec![
        ("target", Yaml::text(target.trim_end_matches('%'))),
        (
            "window",
            Yaml::plain(prometheus_duration(slo.period.duration())),
        ),
        ("description", Yaml::text(description)),
        ("indicator", Yaml::Map(vec![(kind, Yaml::Map(indicator))])),
        ("alerting", Yaml::Map(vec![("name", Yaml::plain(alert))])),
    ]);
    let document = Yaml::Map(vec![
        ("apiVersion", Yaml::plain("pyrra.dev/v1alpha1")),
        ("kind", Yaml::plain("ServiceLevelObjective")),
        ("metadata", Yaml::Map(vec![("name", Yaml::text(name))])),
        ("spec", spec),
    ]);
    Ok(document.document())
}

/// Selects a bucket by one value of `le`, which Pyrra reads as the threshold.
fn bucket(rules: &Rules, slo: &Slo, good: &Selector) -> Result<Selector, Error> {
    let Part::Bucket(bound) = good.part else {
        let context = format!("{}, objective {:?}", rules.context(), slo.name);
        let allowed = "a bucket of a histogram, because Pyrra selects bad requests otherwise";
        let name = good.series_name();
        return check(&context, "good requests", &name, false, allowed).map(|()| good.clone());
    };
    let mut series = good.clone().with("le", [format_bound(bound)]);
    series.metric = good.series_name();
    series.part = Part::Value;
    Ok(series)
}
