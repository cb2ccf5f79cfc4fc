//! The example service writes dashboards and rules that match the metrics that it exposes.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs the example, which `cargo test` builds next to the tests.
fn example(arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let program = folder.join("axum_dashboards");
    Command::new(&program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program:?} ({error}): run `cargo build --examples`"))
}

#[test]
fn the_example_writes_dashboards_rules_and_a_runbook() {
    let folder = tempfile::tempdir().unwrap();
    let output = example(&["dashboards", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let dashboard = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    let overview = dashboard("orders-http.json");
    let panels = overview["panels"].as_array().unwrap();
    let titles: Vec<_> = panels.iter().map(|panel| &panel["title"]).collect();
    for title in ["SLO compliance", "Time to response head", "Pending orders"] {
        assert!(titles.iter().any(|found| *found == title), "{titles:?}");
    }
    let details = dashboard("orders-http-route.json");
    assert_eq!(details["title"], "Orders by route");
    let rules = read("rules.yaml");
    assert!(rules.contains("OrdersLatencyBurnFast") && rules.contains("le=\"0.2\""));
    assert!(read("runbook.md").contains("## OrdersPendingOrders"));
}

#[test]
fn the_example_explains_its_arguments() {
    let output = example(&[]);
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("expected `serve` or `dashboards DIRECTORY`"));
}
