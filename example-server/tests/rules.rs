//! The checked-in rules, checked and unit-tested by every promtool there is: the one in `PATH` and,
//! where `PROMETHEUS3_DIR` names a folder with Prometheus 3, the one in there. Without any promtool
//! the tests are skipped, except in CI, where they fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/prometheus")
}

/// Every promtool there is.
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
fn promtool_finds_nothing_wrong_with_the_rules() {
    passes(&["check", "rules"], &folder().join("rules.yaml"));
}

#[test]
fn alerts_fire_when_they_must_and_only_then() {
    passes(&["test", "rules"], &folder().join("tests/rules.test.yaml"));
}

/// With the recording rules left out, as where they fail or are not loaded.
#[test]
fn an_objective_that_is_not_computed_is_told() {
    let rules = fs::read_to_string(folder().join("rules.yaml")).unwrap();
    let (_, watching) = rules.split_once("  - name: tickets\n").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write(
        "rules.yaml",
        &format!("groups:\n  - name: tickets\n{watching}"),
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
fn every_alert_has_its_place_in_the_runbook() {
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
