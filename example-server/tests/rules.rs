//! Checks and unit-tests the checked-in rules with every installed promtool: the one in `PATH`, and
//! the one in `PROMETHEUS3_DIR` if that is set. Skipped without promtool, except in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/prometheus")
}

/// Returns every installed promtool.
fn promtools() -> Vec<PathBuf> {
    let mut found = Vec::new();
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => found.push(PathBuf::from("promtool")),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}");
            eprintln!("skipped: promtool is not installed ({error})");
        }
    }
    if let Some(folder) = std::env::var_os("PROMETHEUS3_DIR") {
        found.push(Path::new(&folder).join("promtool"));
    }
    found
}

/// Asserts that every promtool accepts `file`.
fn passes(arguments: &[&str], file: &Path) {
    for promtool in promtools() {
        let output = Command::new(&promtool).args(arguments).arg(file).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", promtool.display()));
        assert!(
            output.status.success(),
            "{}: {}{}",
            promtool.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn promtool_accepts_the_rules() {
    let check = ["check", "rules", "--lint=all", "--lint-fatal"];
    passes(&check, &folder().join("rules.yaml"));
}

#[test]
fn alerts_pass_their_unit_tests() {
    passes(&["test", "rules"], &folder().join("tests/rules.test.yaml"));
}

/// Leaves out the recording rules, as if they failed or were not loaded.
#[test]
fn an_objective_without_recordings_alerts() {
    let rules = fs::read_to_string(folder().join("rules.yaml")).unwrap();
    let (_, alerts) = rules.split_once("  - name: tickets\n").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write(
        "rules.yaml",
        &format!("groups:\n  - name: tickets\n{alerts}"),
    );
    write(
        "test.yaml",
        r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: up{job="example-server",instance="a"}
        values: 1x40
      - series: tower_metrics_series{job="example-server",metric="http_server_request_duration_seconds",instance="a"}
        values: 8x40
      - series: http_server_request_duration_seconds_count{job="example-server",instance="a",error_type=""}
        values: 0+60x40
    promql_expr_test:
      - expr: count by (alertname, slo) (ALERTS{alertstate="firing"})
        eval_time: 10m
        exp_samples: []
      - expr: count by (alertname, slo) (ALERTS{alertstate="firing"})
        eval_time: 20m
        exp_samples:
          - labels: '{alertname="TicketsAvailabilityAbsent",slo="availability"}'
            value: 1
          - labels: '{alertname="TicketsLatencyAbsent",slo="latency"}'
            value: 1
"#,
    );
    passes(&["test", "rules"], &directory.path().join("test.yaml"));
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let rules = fs::read_to_string(folder().join("rules.yaml")).unwrap();
    let runbook = fs::read_to_string(folder().join("runbook.md")).unwrap();
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        assert!(
            runbook.lines().any(|line| line == format!("## {alert}")),
            "{alert}"
        );
        let url = format!("runbook.md#{}\"", alert.to_lowercase());
        assert!(rules.contains(&url), "{url}");
    }
}
