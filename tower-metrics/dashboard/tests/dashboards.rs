//! Dashboards for every preset: clean by Grafana's linter, whole in both flavours, and aligned.

mod grafana_linter;

use std::time::Duration;

use grafana_linter::{lint, panels};
use serde_json::Value;
use tower_metrics::Names;
use tower_metrics_dashboard::{
    Annotation, Column, Dashboard, Error, Event, Flavour, Panel, Red, Row, Selector, Unit,
    objectives, red,
};

fn presets() -> Vec<Names> {
    vec![
        Names::open_telemetry(),
        Names::classic(),
        Names::axum_prometheus(),
    ]
}

/// Every dashboard that the library makes, for every preset.
fn all() -> Vec<Dashboard> {
    let mut all = Vec::new();
    for names in presets() {
        let red = Red::new(&names);
        all.extend([red.overview(), red.by_route()]);
        let red = red
            .label("tenant", "Tenant")
            .time_to_head()
            .titled("shop", "Shop");
        let slos = [
            red.availability(0.999),
            red.latency(Duration::from_secs(1), 0.9),
        ];
        all.extend([red.overview().row(objectives(&slos)), red.by_route()]);
    }
    all
}

fn json(dashboard: &Dashboard, flavour: Flavour) -> Value {
    serde_json::from_str(&dashboard.grafana(flavour).unwrap()).unwrap()
}

#[test]
fn the_linter_has_nothing_to_say() {
    for dashboard in all() {
        for flavour in [Flavour::Import, Flavour::Provision] {
            let problems = lint(&json(&dashboard, flavour));
            assert!(problems.is_empty(), "{}: {problems:#?}", dashboard.uid);
        }
    }
}

#[test]
fn every_panel_of_the_model_is_drawn_once_and_no_two_overlap() {
    for dashboard in all() {
        let json = json(&dashboard, Flavour::Provision);
        assert_eq!(panels(&json).count(), dashboard.panels().count());
        let mut taken = std::collections::HashSet::new();
        // A collapsed row's panels take their place when it is opened.
        let open = json["panels"].as_array().unwrap();
        for panel in open {
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn every_line_of_panels_is_filled_from_edge_to_edge() {
    for dashboard in all() {
        for row in &dashboard.rows {
            let columns: u32 = row.panels.iter().map(|p| u32::from(p.width)).sum();
            assert_eq!(columns % 24, 0, "{}, row {}", dashboard.uid, row.title);
        }
    }
}

#[test]
fn an_import_asks_for_the_data_source_and_names_every_plugin() {
    for dashboard in all() {
        let json = json(&dashboard, Flavour::Import);
        assert_eq!(json["__inputs"][0]["pluginId"], "prometheus");
        let source = &json["templating"]["list"][0]["current"]["value"];
        assert_eq!(source, "${DS_PROMETHEUS}");
        let required: Vec<&Value> = json["__requires"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| &r["id"])
            .collect();
        for panel in panels(&json) {
            assert!(required.contains(&&panel["type"]), "{}", panel["type"]);
        }
    }
}

#[test]
fn a_provisioned_dashboard_asks_for_nothing() {
    for dashboard in all() {
        let json = json(&dashboard, Flavour::Provision);
        assert_eq!(json["__inputs"], Value::Null);
        assert!(!json.to_string().contains("DS_PROMETHEUS"));
    }
}

#[test]
fn queries_use_the_names_of_the_layer() {
    let mut names = Names::open_telemetry();
    names.duration = "shop_latency_seconds".to_owned();
    names.route = "path".to_owned();
    let text = red(&names).grafana(Flavour::Provision).unwrap();
    assert!(text.contains("shop_latency_seconds_bucket{"));
    assert!(text.contains(r#"path=~\"$route\""#));
    assert!(!text.contains("http_server_request_duration"));
    assert!(!text.contains("http_route"));
}

#[test]
fn names_without_an_error_type_take_errors_from_the_status() {
    let mut names = Names::open_telemetry();
    names.error_type = None;
    let red = Red::new(&names);
    let text = red.overview().grafana(Flavour::Provision).unwrap();
    assert!(!text.contains("error_type"));
    assert!(text.contains(r#"http_response_status_code=~\"5.*\""#));
}

#[test]
fn rows_of_ones_own_are_drawn_after_the_others() {
    let row = Row::new("Queue").panel(
        Panel::lines("Jobs", Unit::Count)
            .help("Jobs that wait.")
            .size(24, 8)
            .series("{queue}", Selector::new("jobs").value().sum_by(["queue"])),
    );
    let dashboard = red(&Names::open_telemetry()).row(row).annotate(
        Annotation::new("Deployed", Event::Moves(Selector::new("deployments_total")))
            .by(["version"]),
    );
    let json = json(&dashboard, Flavour::Provision);
    assert!(lint(&json).is_empty());
    let last = panels(&json).last().unwrap();
    assert_eq!(last["title"], "Jobs");
    assert_eq!(last["targets"][0]["legendFormat"], "{{queue}}");
    assert_eq!(
        json["annotations"]["list"][1]["expr"],
        "sum by (version) (increase(deployments_total{job=~\"$job\",instance=~\"$instance\"}[2m])) > 0 \
         unless sum by (version) (increase(deployments_total{job=~\"$job\",instance=~\"$instance\"}[2m] offset 2m)) > 0"
    );
}

#[test]
fn what_is_wrong_with_a_dashboard_is_said_with_its_place() {
    let with = |panel: Panel| {
        let dashboard = Dashboard::new("mine", "Mine", "").row(Row::new("Row").panel(panel));
        dashboard.grafana(Flavour::Provision).unwrap_err()
    };
    let jobs = || Selector::new("jobs").value().sum_by(["queue"]);
    let lines = || Panel::lines("Jobs", Unit::Count).help("Jobs.");
    let place = "dashboard \"mine\", panel \"Jobs\"".to_owned();

    assert_eq!(
        with(lines().series("{name}", jobs())),
        Error::LabelLost {
            place: place.clone(),
            label: "name".to_owned(),
            kept: vec!["queue".to_owned()],
        }
    );
    assert_eq!(
        with(lines().series(
            "jobs",
            Selector::new("jobs").picked("queue", "queue").value()
        )),
        Error::Unknown {
            place: place.clone(),
            what: "variable",
            name: "queue".to_owned(),
        }
    );
    assert_eq!(
        with(Panel::lines("Jobs", Unit::Count).series("jobs", jobs())),
        Error::Empty {
            place: place.clone(),
            what: "help",
        }
    );
    assert_eq!(
        with(lines()).to_string(),
        format!("{place}: the list of series is empty")
    );
    assert_eq!(
        with(lines().size(25, 8).series("jobs", jobs())).to_string(),
        format!("{place}: width \"25\" is not valid: 1 to 24 columns")
    );
    assert_eq!(
        with(lines().series("p", Selector::new("jobs").quantile(1.5, [""; 0]))).to_string(),
        format!("{place}: quantile \"1.5\" is not valid: above 0 and below 1")
    );
    assert_eq!(
        with(lines().series("jobs", Selector::new("2jobs").value())).to_string(),
        format!(
            "{place}: metric name \"2jobs\" is not valid: a letter, '_' or ':', then letters, \
             digits, '_' or ':'"
        )
    );
    let table = Panel::table("Jobs", ["queue"]).help("Jobs.");
    let column = Column::new(
        "Jobs",
        Unit::Count,
        Selector::new("jobs").value().sum_by(["name"]),
    );
    assert!(matches!(
        with(table.column(column)),
        Error::LabelLost { .. }
    ));
}
