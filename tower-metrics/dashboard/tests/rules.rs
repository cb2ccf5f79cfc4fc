//! Rules are accepted by every installed promtool: the one in `PATH`, and the one in
//! `PROMETHEUS3_DIR` if that is set. Skipped without promtool, except in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tower_metrics::{Names, Prometheus};
use tower_metrics_dashboard::{
    Alert, BurnRateAlert, Error, Indicator, MinimumEvents, Red, Rules, Selector, Severity, Slo,
};

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

fn check(rules: &Rules, tests: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let rules = write("rules.yaml", &rules.rule_file().unwrap());
    let tests = write(
        "test.yaml",
        &format!("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n{tests}"),
    );
    for promtool in promtools() {
        let check = ["check", "rules", "--lint=all", "--lint-fatal"];
        for (arguments, file) in [(&check[..], &rules), (&["test", "rules"], &tests)] {
            let output = Command::new(&promtool)
                .args(arguments)
                .arg(file)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {}{}",
                promtool.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// Names with the status of gRPC alone, by which errors are recognized.
fn rpc_without_error_types() -> Names {
    let mut names = Names::open_telemetry_rpc();
    names.error_type = None;
    names
}

#[test]
fn rules_for_every_preset_of_names_are_valid() {
    for names in [
        Names::open_telemetry(),
        Names::open_telemetry_client(),
        Names::classic(),
        Names::axum_prometheus(),
        Names::open_telemetry_rpc(),
        Names::open_telemetry_rpc_client(),
        rpc_without_error_types(),
    ] {
        let red = Red::from_names(&names)
            .availability(0.999)
            .latency(Duration::from_secs(1), 0.9)
            .build()
            .unwrap();
        check(&red.rules("Shop", "shop").by("namespace"), "  []\n");
    }
}

#[test]
fn an_alert_is_evaluated_separately_for_each_value_of_a_label() {
    let recorder = Prometheus::new();
    let red = Red::of(&recorder)
        .availability(0.999)
        .minimum_events(MinimumEvents {
            requests: 1,
            bad_requests: 1,
        })
        .build()
        .unwrap();
    let rules = red.rules("Shop", "shop").by("namespace");
    check(
        &rules,
        r#"
  - interval: 1m
    input_series:
      - series: http_server_request_duration_seconds_count{job="shop",namespace="a",error_type="500"}
        values: 0+60x60
      - series: http_server_request_duration_seconds_count{job="shop",namespace="b",error_type=""}
        values: 0+60x60
    promql_expr_test:
      - expr: count by (alertname, namespace) (ALERTS{severity="critical",alertstate="firing",slo="availability"})
        eval_time: 1h
        exp_samples:
          - labels: '{alertname="ShopAvailabilityBurnFast",namespace="a"}'
            value: 1
"#,
    );
}

/// Text that YAML, PromQL or the templates of annotations could interpret.
const ODD: &str = "a \"job\": {{ $labels.x }} 'b'\\ # c\r\n\u{2028}$d é";

#[test]
fn any_text_can_name_a_job() {
    let total = Selector::new("jobs_total").with("kind", [ODD]);
    let indicator = Indicator::Bad {
        bad: total.clone().with_prefix("result", ODD),
        total,
    };
    let rules = Rules::new("Jobs", ODD)
        .slo(Slo::new("jobs", format!("succeed {ODD}"), 0.9, indicator))
        .alert(
            Alert::new("Odd", Selector::new("x").value(), 1.0, "Odd: '\"#.")
                .severity(Severity::Page)
                .description("It is {{ $value | humanize }}.")
                .runbook("Nothing."),
        )
        .runbook_url("https://example.com/\"#")
        .dashboard_url("https://example.com/?a=b&c=\"d\"");
    check(&rules, "  []\n");
    rules.prometheus_rule().unwrap();
    rules.google_rules().unwrap();
    rules.runbook().unwrap();
}

#[test]
fn windows_that_differ_by_less_than_a_millisecond_are_recorded_once() {
    let micro = Duration::from_micros(100);
    let alerts = BurnRateAlert::DEFAULTS.into_iter().chain([BurnRateAlert {
        long: BurnRateAlert::DEFAULTS[0].long + micro,
        ..BurnRateAlert::DEFAULTS[0]
    }]);
    let red = Red::from_names(&Names::classic())
        .availability(0.99)
        .build()
        .unwrap();
    let rules = red.rules("Shop", "shop").burn_rate_alerts(alerts);
    let text = rules.rule_file().unwrap();
    assert_eq!(text.matches("record: job_slo:requests:rate1h\n").count(), 1);
    check(&rules, "  []\n");
}

#[test]
fn alerts_with_the_same_name_are_an_error() {
    let alert = |name: &str| {
        Alert::new(name, Selector::new("x").value(), 1.0, "Summary.")
            .description("Description.")
            .runbook("Runbook.")
    };
    let red = Red::from_names(&Names::classic())
        .availability(0.99)
        .build()
        .unwrap();
    let rules = || red.rules("Shop", "shop").alert(alert("QueueFull"));
    assert!(rules().rule_file().is_ok());
    for name in ["QueueFull", "Queuefull", "Absent", "AvailabilityBurnFast"] {
        let error = rules().alert(alert(name)).rule_file().unwrap_err();
        assert!(
            matches!(&error, Error::Duplicate { what: "alert", .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn an_objective_without_an_error_budget_is_an_error() {
    let total = Selector::new("jobs_total");
    let indicator = Indicator::Good {
        good: total.clone(),
        total,
    };
    for objective in [0.0, 1.0, 1.0 - 1e-13, f64::NAN, -0.5] {
        let slo = Slo::new("jobs", "succeed", objective, indicator.clone());
        assert!(
            matches!(
                slo.validate(),
                Err(Error::Invalid {
                    what: "objective",
                    ..
                })
            ),
            "{objective}"
        );
    }
}

#[test]
fn failed_calls_are_recognized_by_their_error_type_or_by_their_status() {
    for names in [Names::open_telemetry_rpc(), rpc_without_error_types()] {
        let recorder = Prometheus::builder().names(names).build().unwrap();
        let red = Red::of(&recorder)
            .availability(0.999)
            .minimum_events(MinimumEvents {
                requests: 1,
                bad_requests: 1,
            })
            .build()
            .unwrap();
        check(
            &red.rules("Shop", "shop").by("rpc_method"),
            r#"
  - interval: 1m
    input_series:
      - series: rpc_server_call_duration_seconds_count{job="shop",rpc_method="shop.Shop/Buy",rpc_status_code="UNAVAILABLE",error_type="UNAVAILABLE"}
        values: 0+60x60
      - series: rpc_server_call_duration_seconds_count{job="shop",rpc_method="shop.Shop/Find",rpc_status_code="NOT_FOUND",error_type=""}
        values: 0+60x60
    promql_expr_test:
      - expr: count by (alertname, rpc_method) (ALERTS{severity="critical",alertstate="firing",slo="availability"})
        eval_time: 1h
        exp_samples:
          - labels: '{alertname="ShopAvailabilityBurnFast",rpc_method="shop.Shop/Buy"}'
            value: 1
"#,
        );
    }
}
