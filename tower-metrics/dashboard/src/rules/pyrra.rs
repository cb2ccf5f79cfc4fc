//! Rendering of objectives as resources of Pyrra.

use std::time::Duration;

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
    let total = slo.indicator.total();
    let (kind, mut indicator) = match &slo.indicator {
        Indicator::Bad { bad, .. } => {
            let valid = !bad.native && !total.native;
            let allowed = "counters, because Pyrra has no ratio of native histograms";
            check(
                &context(rules, slo),
                "requests",
                &total.metric,
                valid,
                allowed,
            )?;
            (
                "ratio",
                vec![("errors", metric(bad)), ("total", metric(total))],
            )
        }
        Indicator::Good { good, .. } if good.native => {
            let mut histogram = total.clone();
            histogram.part = Part::Value;
            let threshold = threshold(rules, slo, good)?;
            let indicator = vec![
                ("latency", Yaml::plain(threshold)),
                ("total", metric(&histogram)),
            ];
            ("latencyNative", indicator)
        }
        Indicator::Good { good, .. } => {
            let good = bucket(rules, slo, good)?;
            (
                "latency",
                vec![("success", metric(&good)), ("total", metric(total))],
            )
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
    let bound = bucket_bound(rules, slo, good)?;
    let mut series = good.clone().with("le", [format_bound(bound)]);
    series.metric = good.series_name();
    series.part = Part::Value;
    Ok(series)
}

/// The threshold of a native histogram, as a duration.
fn threshold(rules: &Rules, slo: &Slo, good: &Selector) -> Result<String, Error> {
    let bound = bucket_bound(rules, slo, good)?;
    let threshold = Duration::try_from_secs_f64(bound);
    let threshold = threshold.map_err(|_| Error::Invalid {
        context: context(rules, slo),
        what: "threshold",
        value: bound.to_string(),
        allowed: "a number of seconds from 0".into(),
    })?;
    Ok(prometheus_duration(threshold))
}

fn bucket_bound(rules: &Rules, slo: &Slo, good: &Selector) -> Result<f64, Error> {
    match good.part {
        Part::Bucket(bound) => Ok(bound),
        Part::Value | Part::Count | Part::Sum => Err(Error::Invalid {
            context: context(rules, slo),
            what: "good requests",
            value: good.series_name(),
            allowed: "a bucket of a histogram, because Pyrra selects bad requests otherwise".into(),
        }),
    }
}

fn context(rules: &Rules, slo: &Slo) -> String {
    format!("{}, objective {:?}", rules.context(), slo.name)
}
