//! Rendering of rules as YAML.

use super::rule::{Group, Rule, RuleKind, prometheus_duration};
use crate::yaml::Yaml;

/// Links in the annotations of alerts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links<'a> {
    pub(super) runbook: &'a str,
    pub(super) dashboard: Option<&'a str>,
}

/// Kubernetes resource that contains rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource<'a> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
}

pub(super) const HEADER: &str = "# Generated from the service's objectives; do not edit.\n";

/// A Prometheus rule file.
pub(super) fn rule_file(groups: &[Group], links: &Links<'_>) -> String {
    HEADER.to_owned() + &Yaml::Map(vec![("groups", rule_groups(groups, links))]).document()
}

/// The rules in a Kubernetes resource.
pub(super) fn resource(resource: &Resource<'_>, groups: &[Group], links: &Links<'_>) -> String {
    let name = || Yaml::plain(resource.name);
    let labels = Yaml::Map(vec![("app.kubernetes.io/part-of", name())]);
    let document = Yaml::Map(vec![
        ("apiVersion", Yaml::plain(resource.api_version)),
        ("kind", Yaml::plain(resource.kind)),
        (
            "metadata",
            Yaml::Map(vec![("name", name()), ("labels", labels)]),
        ),
        (
            "spec",
            Yaml::Map(vec![("groups", rule_groups(groups, links))]),
        ),
    ]);
    HEADER.to_owned() + &document.document()
}

fn rule_groups(groups: &[Group], links: &Links<'_>) -> Yaml {
    let groups = groups.iter().map(|group| {
        let rules = group.rules.iter().map(|one| rule(one, links)).collect();
        Yaml::Map(vec![
            ("name", Yaml::plain(&*group.name)),
            ("interval", Yaml::plain(group.interval)),
            ("rules", Yaml::List(rules)),
        ])
    });
    Yaml::List(groups.collect())
}

fn rule(Rule { kind, expr, labels }: &Rule, links: &Links<'_>) -> Yaml {
    let mut entries = vec![match kind {
        RuleKind::Record(name) => ("record", Yaml::plain(&**name)),
        RuleKind::Alert(alert) => ("alert", Yaml::plain(&*alert.name)),
    }];
    entries.push(("expr", Yaml::query(&**expr)));
    if let RuleKind::Alert(alert) = kind
        && let Some(pending) = alert.pending
    {
        entries.push(("for", Yaml::plain(prometheus_duration(pending))));
    }
    let labels = labels
        .iter()
        .map(|(name, value)| (*name, Yaml::text(value)));
    entries.push(("labels", Yaml::Map(labels.collect())));
    if let RuleKind::Alert(alert) = kind {
        let runbook = format!("{}#{}", links.runbook, alert.name.to_lowercase());
        let mut annotations = vec![
            ("summary", Yaml::text(&*alert.summary)),
            ("description", Yaml::text(&*alert.description)),
            ("runbook_url", Yaml::text(runbook)),
        ];
        annotations.extend(
            links
                .dashboard
                .map(|url| ("dashboard_url", Yaml::text(url))),
        );
        entries.push(("annotations", Yaml::Map(annotations)));
    }
    Yaml::Map(entries)
}
