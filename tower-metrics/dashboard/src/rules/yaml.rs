//! Rules as YAML: a rule file, or the resource of an operator.

use std::fmt::Write as _;

use super::{Firing, Group, Kind, Rule, Rules, span};

/// A Prometheus rule file.
pub(super) fn rule_file(rules: &Rules, groups: &[Group]) -> String {
    let mut out = HEAD.to_owned();
    write_groups(&mut out, rules, groups, "");
    out
}

/// The same groups within a Kubernetes resource.
pub(super) fn resource(rules: &Rules, api: &str, kind: &str, groups: &[Group]) -> String {
    let name = rules.prefix.to_lowercase();
    let mut out = format!(
        "{HEAD}apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n  labels:\n    \
         app.kubernetes.io/part-of: {name}\nspec:\n"
    );
    write_groups(&mut out, rules, groups, "  ");
    out
}

const HEAD: &str =
    "# Written by a program from the service's objectives. Change those, not this.\n";

fn write_groups(out: &mut String, rules: &Rules, groups: &[Group], indent: &str) {
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
                Kind::Record(name) => line(6, &format!("- record: {name}")),
                Kind::Alert(firing) => line(6, &format!("- alert: {}", firing.name)),
            }
            line(8, "expr: |-");
            line(10, expr);
            if let Kind::Alert(Firing {
                lasting: Some(lasting),
                ..
            }) = kind
            {
                line(8, &format!("for: {}", span(*lasting)));
            }
            line(8, "labels:");
            for (name, value) in labels {
                line(10, &format!("{name}: {}", quoted(value)));
            }
            if let Kind::Alert(firing) = kind {
                line(8, "annotations:");
                line(10, &format!("summary: {}", quoted(&firing.summary)));
                line(10, &format!("description: {}", quoted(&firing.description)));
                let runbook = format!("{}#{}", rules.runbook, firing.name.to_lowercase());
                line(10, &format!("runbook_url: {}", quoted(&runbook)));
                if let Some(dashboard) = &rules.dashboard {
                    line(10, &format!("dashboard_url: {}", quoted(dashboard)));
                }
            }
        }
    }
}

/// A text as a double-quoted YAML string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
