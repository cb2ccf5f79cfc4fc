//! Rendering of rules as YAML.

use std::fmt::Write as _;

use super::rule::{AlertText, Group, Rule, RuleKind, prometheus_duration};
use crate::promql::must_be_escaped;

/// Links in the annotations of alerts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links<'a> {
    pub(super) runbook: &'a str,
    pub(super) dashboard: Option<&'a str>,
}

/// Kubernetes resource that contains rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource<'a> {
    pub(super) api_version: &'a str,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
}

const HEADER: &str = "# Generated from the service's objectives; do not edit.\n";

/// A Prometheus rule file.
pub(super) fn rule_file(groups: &[Group], links: &Links<'_>) -> String {
    let mut out = HEADER.to_owned();
    write_groups(&mut out, groups, links, "");
    out
}

/// The rules in a Kubernetes resource.
pub(super) fn resource(resource: &Resource<'_>, groups: &[Group], links: &Links<'_>) -> String {
    let Resource {
        api_version,
        kind,
        name,
    } = resource;
    let mut out = format!(
        "{HEADER}apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}\n  labels:\n    \
         app.kubernetes.io/part-of: {name}\nspec:\n"
    );
    write_groups(&mut out, groups, links, "  ");
    out
}

fn write_groups(out: &mut String, groups: &[Group], links: &Links<'_>, indent: &str) {
    let mut line = |depth: usize, text: &str| {
        for text in text.lines() {
            out.push_str(indent);
            out.extend(std::iter::repeat_n(' ', depth));
            out.push_str(text);
            out.push('\n');
        }
    };
    line(0, "groups:");
    for group in groups {
        line(2, &format!("- name: {}", group.name));
        line(4, &format!("interval: {}", group.interval));
        line(4, "rules:");
        for Rule { kind, expr, labels } in &group.rules {
            match kind {
                RuleKind::Record(name) => line(6, &format!("- record: {name}")),
                RuleKind::Alert(alert) => line(6, &format!("- alert: {}", alert.name)),
            }
            line(8, "expr: |-");
            line(10, expr);
            if let RuleKind::Alert(AlertText {
                pending: Some(pending),
                ..
            }) = kind
            {
                line(8, &format!("for: {}", prometheus_duration(*pending)));
            }
            line(8, "labels:");
            for (name, value) in labels {
                line(10, &format!("{name}: {}", quoted(value)));
            }
            if let RuleKind::Alert(alert) = kind {
                line(8, "annotations:");
                line(10, &format!("summary: {}", quoted(&alert.summary)));
                line(10, &format!("description: {}", quoted(&alert.description)));
                let runbook = format!("{}#{}", links.runbook, alert.name.to_lowercase());
                line(10, &format!("runbook_url: {}", quoted(&runbook)));
                if let Some(dashboard) = links.dashboard {
                    line(10, &format!("dashboard_url: {}", quoted(dashboard)));
                }
            }
        }
    }
}

/// Formats text as a double-quoted YAML string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if must_be_escaped(c) => {
                let _ = write!(out, r"\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
