//! Rendering of the runbook.

use std::fmt::Write as _;

use super::rule::{Group, RuleKind};

/// A page with a section for each alert.
pub(super) fn page(job: &str, groups: &[Group]) -> String {
    let mut out = format!(
        "# Runbook for {job}\n\nMeaning, diagnosis and mitigation of each alert. Generated from the \
         same source as the alerts; do not edit.\n"
    );
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let RuleKind::Alert(alert) = &rule.kind else {
            continue;
        };
        let severity = (rule.labels.iter())
            .find(|(name, _)| *name == "severity")
            .map_or("", |(_, severity)| severity);
        let _ = write!(
            out,
            "\n## {}\n\n*{severity}.* {}\n\n{}\n",
            alert.name, alert.summary, alert.runbook
        );
    }
    out
}
