//! Dashboards for every preset of names: accepted by Grafana's linter, complete, and laid out
//! without gaps.

mod grafana_linter;

use std::time::Duration;

use grafana_linter::{lint, panels};
use serde_json::Value;
use tower_metrics::Names;
use tower_metrics_dashboard::{
    Annotation, BarGauge, Column, Dashboard, Error, Event, GrafanaTarget, Heatmap, Panel, Red, Row,
    Selector, Stat, Table, TimeSeries, Unit,
};

fn presets() -> Vec<Names> {
    vec![
        Names::open_telemetry(),
        Names::classic(),
        Names::axum_prometheus(),
        Names::open_telemetry_rpc(),
    ]
}

/// Every dashboard of the library, for every preset.
fn all() -> Vec<Dashboard> {
    let mut all = Vec::new();
    for names in presets() {
        let red = Red::from_names(&names).build().unwrap();
        all.extend([red.overview(), red.route_details()]);
        let red = Red::from_names(&names)
            .uid("shop")
            .title("Shop")
            .label("tenant", "Tenant")
            .time_to_head(true)
            .availability(0.999)
            .latency(Duration::from_secs(1), 0.9)
            .build()
            .unwrap();
        all.extend([red.overview(), red.route_details()]);
    }
    all
}

fn overview(names: &Names) -> Dashboard {
    Red::from_names(names).build().unwrap().overview()
}

fn json(dashboard: &Dashboard, target: GrafanaTarget) -> Value {
    serde_json::from_str(&dashboard.grafana_json(target).unwrap()).unwrap()
}

#[test]
fn the_linter_accepts_every_dashboard() {
    for dashboard in all() {
        for target in [GrafanaTarget::Import, GrafanaTarget::Provision] {
            let problems = lint(&json(&dashboard, target));
            assert!(problems.is_empty(), "{}: {problems:#?}", dashboard.uid);
        }
    }
}

#[test]
fn every_panel_is_rendered_once_and_panels_do_not_overlap() {
    for dashboard in all() {
        let json = json(&dashboard, GrafanaTarget::Provision);
        assert_eq!(panels(&json).count(), dashboard.panels().count());
        let mut occupied = std::collections::HashSet::new();
        // The panels of a collapsed row are not part of the layout until it is opened.
        let open = json["panels"].as_array().unwrap();
        for panel in open {
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(occupied.insert((x, y)), "{} overlaps", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn every_row_fills_the_width_of_the_grid() {
    for dashboard in all() {
        for row in &dashboard.rows {
            let columns: u32 = row.panels.iter().map(|p| u32::from(p.width)).sum();
            assert_eq!(columns % 24, 0, "{}, row {}", dashboard.uid, row.title);
        }
    }
}

#[test]
fn an_imported_dashboard_prompts_for_the_data_source_and_lists_every_plugin() {
    for dashboard in all() {
        let json = json(&dashboard, GrafanaTarget::Import);
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
fn a_provisioned_dashboard_has_no_inputs() {
    for dashboard in all() {
        let json = json(&dashboard, GrafanaTarget::Provision);
        assert_eq!(json["__inputs"], Value::Null);
        assert!(!json.to_string().contains("DS_PROMETHEUS"));
    }
}

#[test]
fn every_builder_becomes_a_panel_of_its_visualization() {
    let jobs = || Selector::new("jobs").value().sum_by(["queue"]);
    let row = Row::new("Jobs")
        .panel(
            TimeSeries::new("Time series", Unit::Count)
                .description("Jobs.")
                .stacked(true)
                .exemplars(true)
                .decimals(1)
                .series("{queue}", jobs()),
        )
        .panel(
            Stat::new("Stat", Unit::Count)
                .description("Jobs.")
                .series("{queue}", jobs()),
        )
        .panel(BarGauge::new("Bar gauge", Unit::Count, "{queue}", jobs()).description("Jobs."))
        .panel(
            Heatmap::new("Heatmap", Unit::Seconds, Selector::new("job_seconds"))
                .description("Jobs."),
        )
        .panel(
            Table::new("Table", ["queue"])
                .description("Jobs.")
                .decimals(0)
                .column(Column::new("Jobs", Unit::Count, jobs()))
                .data_link("queue", "other", "queue"),
        );
    let json = json(
        &Dashboard::new("jobs", "Jobs", "Jobs.").row(row),
        GrafanaTarget::Provision,
    );
    let kinds: Vec<_> = panels(&json)
        .map(|panel| panel["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["timeseries", "stat", "bargauge", "heatmap", "table"]
    );
    let first = panels(&json).next().unwrap();
    assert_eq!(first["targets"][0]["exemplar"], true);
    let custom = &first["fieldConfig"]["defaults"]["custom"];
    assert_eq!(custom["stacking"]["mode"], "normal");
}

#[test]
fn labels_with_the_same_last_word_have_different_headings() {
    let by = ["pool_name", "operation_name", "system"];
    let waiting = Selector::new("waiting").value().sum_by(by);
    let table = Table::new("Waiting", by)
        .description("Waiting requests.")
        .data_link("pool_name", "other", "pool")
        .column(Column::new("Waiting", Unit::Count, waiting));
    let dashboard = Dashboard::new("db", "Database", "").row(Row::new("Pools").panel(table));
    let json = json(&dashboard, GrafanaTarget::Provision);
    let table = panels(&json).next().unwrap();
    let names = &table["transformations"][1]["options"]["renameByName"];
    assert_eq!(names["pool_name"], "pool_name");
    assert_eq!(names["operation_name"], "operation_name");
    assert_eq!(names["system"], "System");
    let link = table["fieldConfig"]["overrides"][0]["properties"][1]["value"][0]["url"].to_string();
    assert!(link.contains("${__data.fields.pool_name:percentencode}"));
}

#[test]
fn queries_use_the_names_of_the_layer() {
    let mut names = Names::open_telemetry();
    names.duration = "shop_latency_seconds".to_owned();
    names.route = "path".to_owned();
    let text = overview(&names)
        .grafana_json(GrafanaTarget::Provision)
        .unwrap();
    assert!(text.contains("shop_latency_seconds_bucket{"));
    assert!(text.contains(r#"path=~\"$route\""#));
    assert!(!text.contains("http_server_request_duration"));
    assert!(!text.contains("http_route"));
}

#[test]
fn without_an_error_type_errors_are_5xx_responses() {
    let mut names = Names::open_telemetry();
    names.error_type = None;
    let text = overview(&names)
        .grafana_json(GrafanaTarget::Provision)
        .unwrap();
    assert!(!text.contains("error_type"));
    assert!(text.contains(r#"http_response_status_code=~\"5.*\""#));
}

#[test]
fn rows_and_annotations_can_be_added() {
    let row = Row::new("Queue").panel(
        TimeSeries::new("Jobs", Unit::Count)
            .description("Waiting jobs.")
            .size(24, 8)
            .series("{queue}", Selector::new("jobs").value().sum_by(["queue"])),
    );
    let deployments = Event::CounterStarts(Selector::new("deployments_total"));
    let dashboard = overview(&Names::open_telemetry())
        .row(row)
        .annotation(Annotation::new("Deployed", deployments).by(["version"]));
    let json = json(&dashboard, GrafanaTarget::Provision);
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
fn an_error_names_the_panel_the_value_and_what_is_allowed() {
    fn with(panel: impl Into<Panel>) -> Error {
        let dashboard = Dashboard::new("mine", "Mine", "").row(Row::new("Row").panel(panel));
        dashboard
            .grafana_json(GrafanaTarget::Provision)
            .unwrap_err()
    }
    let jobs = || Selector::new("jobs").value().sum_by(["queue"]);
    let time_series = || TimeSeries::new("Jobs", Unit::Count).description("Jobs.");
    let context = "dashboard \"mine\", panel \"Jobs\"".to_owned();

    assert_eq!(
        with(time_series().series("{name}", jobs())),
        Error::MissingLabel {
            context: context.clone(),
            label: "name".to_owned(),
            available: vec!["queue".to_owned()],
        }
    );
    let by_variable = Selector::new("jobs").with_variable("queue", "queue");
    assert_eq!(
        with(time_series().series("jobs", by_variable.value())),
        Error::Unknown {
            context: context.clone(),
            what: "variable",
            name: "queue".to_owned(),
            known: ["datasource", "instance", "job"].map(str::to_owned).into(),
        }
    );
    assert_eq!(
        with(TimeSeries::new("Jobs", Unit::Count).series("jobs", jobs())),
        Error::Empty {
            context: context.clone(),
            what: "description",
        }
    );
    assert_eq!(
        with(time_series()).to_string(),
        format!("{context}: the list of series must not be empty")
    );
    assert_eq!(
        with(time_series().size(25, 8).series("jobs", jobs())).to_string(),
        format!("{context}: invalid width \"25\": must be 1 to 24 columns")
    );
    assert_eq!(
        with(time_series().series("p", Selector::new("jobs").quantile(1.5))).to_string(),
        format!("{context}: invalid quantile \"1.5\": must be above 0 and below 1")
    );
    assert_eq!(
        with(time_series().series("jobs", Selector::new("2jobs").value())).to_string(),
        format!(
            "{context}: invalid metric name \"2jobs\": must be a letter, '_' or ':', followed by \
             letters, digits, '_' or ':'"
        )
    );
    let table = Table::new("Jobs", ["queue"]).description("Jobs.");
    let column = Column::new(
        "Jobs",
        Unit::Count,
        Selector::new("jobs").value().sum_by(["name"]),
    );
    assert!(matches!(
        with(table.column(column)),
        Error::MissingLabel { .. }
    ));
}
