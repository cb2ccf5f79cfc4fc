//! Dashboards for Google Cloud Monitoring: accepted by the fields of its API, with the queries of
//! Grafana, and laid out without gaps. Google's importer accepts the dashboards for Grafana, too.

mod google_importer;
mod schema;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tower_metrics::Names;
use tower_metrics_dashboard::{
    BarGauge, Color, Column, Dashboard, Error, GrafanaTarget, Heatmap, Red, Row, Selector, Stat,
    Table, TimeSeries, Unit,
};

use crate::schema::Schema;

/// Every dashboard of the library, for every preset.
fn all() -> Vec<Dashboard> {
    let mut all = Vec::new();
    for names in [
        Names::open_telemetry(),
        Names::open_telemetry_client(),
        Names::classic(),
        Names::axum_prometheus(),
    ] {
        let red = Red::from_names(&names)
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

fn google(dashboard: &Dashboard) -> Value {
    serde_json::from_str(&dashboard.cloud_monitoring_json().unwrap()).unwrap()
}

fn grafana(dashboard: &Dashboard) -> Value {
    let json = dashboard.grafana_json(GrafanaTarget::Import).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn tiles(dashboard: &Value) -> &Vec<Value> {
    dashboard["mosaicLayout"]["tiles"].as_array().unwrap()
}

/// Every text under this key, at any depth.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => texts(value, key, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_api_has_every_field() {
    let schema = Schema::load("cloud-monitoring-dashboard.json");
    for dashboard in all() {
        let json = google(&dashboard);
        assert_eq!(schema.problems(&json), Vec::<String>::new());
        let mut misspelt = json.clone();
        misspelt["mosaicLayout"]["tiles"][1]["widget"]["xyCharts"] = json!({});
        assert_eq!(schema.problems(&misspelt).len(), 1);
    }
}

#[test]
fn queries_are_those_of_grafana() {
    for dashboard in all() {
        let (google, grafana) = (google(&dashboard), grafana(&dashboard));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        texts(&google, "prometheusQuery", &mut ours);
        texts(&grafana["panels"], "expr", &mut theirs);
        let variables = grafana["templating"]["list"].as_array().unwrap();
        let translated = theirs.into_iter().map(|query| {
            let query = query.replace("$__rate_interval", "${__interval}");
            variables.iter().fold(query, |query, variable| {
                let name = variable["name"].as_str().unwrap();
                query.replace(&format!("\"${name}\""), &format!("\"${{{name}.value}}\""))
            })
        });
        let translated: BTreeSet<String> = translated.collect();
        assert_eq!(
            ours.iter()
                .map(|query| (*query).to_owned())
                .collect::<BTreeSet<_>>(),
            translated
        );
    }
}

#[test]
fn every_variable_of_a_query_is_a_filter() {
    for dashboard in all() {
        let json = google(&dashboard);
        let filters = json["dashboardFilters"].as_array().unwrap();
        let name = |filter: &Value| filter["templateVariable"].as_str().unwrap().to_owned();
        let declared: BTreeSet<String> = filters.iter().map(name).collect();
        let mut queries = Vec::new();
        texts(&json, "prometheusQuery", &mut queries);
        let used: BTreeSet<String> = (queries.iter())
            .flat_map(|query| query.split("${").skip(1))
            .filter_map(|rest| rest.split_once(".value}"))
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.contains('}'))
            .collect();
        assert_eq!(declared, used);
        let kinds: Vec<_> = filters.iter().map(|f| &f["filterType"]).collect();
        assert_eq!(kinds[..2], ["RESOURCE_LABEL", "RESOURCE_LABEL"]);
        assert!(kinds[2..].iter().all(|kind| **kind == "METRIC_LABEL"));
    }
}

#[test]
fn groups_span_their_widgets_and_widgets_do_not_overlap() {
    for dashboard in all() {
        let json = google(&dashboard);
        let at = |tile: &Value, field: &str| tile[field].as_u64().unwrap();
        let (mut taken, mut group) = (HashSet::new(), (0, 0));
        for tile in tiles(&json) {
            let (top, height) = (at(tile, "yPos"), at(tile, "height"));
            if tile["widget"].get("collapsibleGroup").is_some() {
                assert_eq!((top, at(tile, "width")), (group.1, 48));
                group = (top, top + height);
                continue;
            }
            assert!(group.0 <= top && top + height <= group.1);
            let (left, width) = (at(tile, "xPos"), at(tile, "width"));
            assert!(left + width <= 48);
            for x in left..left + width {
                for y in top..top + height {
                    assert!(taken.insert((x, y)), "{}", tile["widget"]["title"]);
                }
            }
        }
    }
}

#[test]
fn every_visualization_becomes_a_widget() {
    let jobs = || Selector::new("jobs").value().sum_by(["queue"]);
    let row = Row::new("Jobs")
        .collapsed(true)
        .panel(
            TimeSeries::new("Time series", Unit::Ratio)
                .description("Jobs.")
                .stacked(true)
                .threshold(0.5, Color::Green)
                .series("queue {queue}", jobs()),
        )
        .panel(
            Stat::new("Stat", Unit::Seconds)
                .description("Jobs.")
                .threshold(0.5, Color::Blue)
                .threshold(1.0, Color::Red)
                .series("jobs", Selector::new("jobs").value().sum()),
        )
        .panel(
            Stat::new("Stats", Unit::Bytes)
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
                .column(Column::new("Jobs", Unit::Count, jobs())),
        );
    let json = google(&Dashboard::new("jobs", "Jobs", "Jobs.").row(row));
    assert_eq!(
        Schema::load("cloud-monitoring-dashboard.json").problems(&json),
        [""; 0]
    );
    let widgets: Vec<&Value> = tiles(&json).iter().map(|tile| &tile["widget"]).collect();
    assert_eq!(widgets[0]["collapsibleGroup"]["collapsed"], true);
    let chart = &widgets[1]["xyChart"];
    assert_eq!(chart["dataSets"][0]["plotType"], "STACKED_AREA");
    assert_eq!(
        chart["dataSets"][0]["legendTemplate"],
        "queue ${labels.queue}"
    );
    assert_eq!(
        chart["dataSets"][0]["timeSeriesQuery"]["unitOverride"],
        "10^2.%"
    );
    assert_eq!(
        chart["thresholds"],
        json!([{ "value": 0.5, "targetAxis": "Y1" }])
    );
    let score = &widgets[2]["scorecard"];
    assert_eq!(
        score["thresholds"],
        json!([{ "value": 1.0, "color": "RED", "direction": "ABOVE" }])
    );
    assert_eq!(score["sparkChartView"]["sparkChartType"], "SPARK_LINE");
    assert_eq!(
        widgets[3]["timeSeriesTable"]["metricVisualization"],
        "NUMBER"
    );
    assert_eq!(widgets[4]["timeSeriesTable"]["metricVisualization"], "BAR");
    assert_eq!(widgets[5]["xyChart"]["dataSets"][0]["plotType"], "HEATMAP");
    let columns = &widgets[6]["timeSeriesTable"]["columnSettings"];
    assert_eq!(columns, &json!([{ "column": "queue", "visible": true }]));
}

#[test]
fn more_widgets_than_the_api_accepts_are_an_error() {
    let panel = |number: usize| {
        Stat::new(format!("{number}"), Unit::Count)
            .description("Jobs.")
            .series("jobs", Selector::new("jobs").value().sum())
    };
    let dashboard = |panels| {
        let row = (0..panels).map(panel).fold(Row::new("Jobs"), Row::panel);
        Dashboard::new("jobs", "Jobs", "").row(row)
    };
    assert!(dashboard(99).cloud_monitoring_json().is_ok());
    let error = dashboard(100).cloud_monitoring_json().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Invalid {
                what: "number of rows and panels",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn googles_importer_finds_nothing_that_it_cannot_convert() {
    for dashboard in all() {
        let report = google_importer::import(&grafana(&dashboard));
        assert_eq!(report.broken, Vec::<String>::new(), "{}", dashboard.uid);
    }
    // `$__range` without braces, a variable whose name continues another, and a panel of an unknown type.
    let mut json = grafana(&all()[0]);
    json["panels"][1]["targets"][0]["expr"] = json!("increase(x[$__range])");
    json["panels"][2]["type"] = json!("geomap");
    json["templating"]["list"][3]["name"] = json!("jobs");
    assert!(google_importer::import(&json).broken.len() >= 3);
}
