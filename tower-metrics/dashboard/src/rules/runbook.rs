//! The runbook: a page with an anchor for each alert.

use std::fmt::Write as _;

use super::{Group, Kind, Rules};

pub(super) fn page(rules: &Rules, groups: &[Group]) -> String {
    let mut out = format!(
        "# Runbook of {}\n\nWhat each alert means, and what to do. Written by a program from the \
         same definition as the alerts.\n",
        rules.job
    );
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let Kind::Alert(firing) = &rule.kind else {
            continue;
        };
        let severity = (rule.labels.iter())
            .find(|(name, _)| *name == "severity")
            .map_or("", |(_, severity)| severity);
        let _ = write!(
            out,
            "\n## {}\n\n*{severity}.* {}\n\n{}\n",
            firing.name, firing.summary, firing.runbook
        );
    }
    out
}
