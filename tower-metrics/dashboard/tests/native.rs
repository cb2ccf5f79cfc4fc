//! Dashboards, rules and objectives that read the native histogram of the duration.

mod grafana_linter;
mod schema;
mod yaml;

use std::time::Duration;

use serde_json::Value;
use tower_metrics::{Names, Prometheus};
use tower_metrics_dashboard::{Dashboard, Error, GrafanaTarget, Red, RedBuilder};

use crate::yaml::documents;

const THRESHOLD: Duration = Duration::from_millis(300);

fn red(names: &Names, native: bool) -> Red {
    Red::from_names(names)
        .time_to_head(true)
        .availability(0.999)
        .latency(THRESHOLD, 0.99)
        .native_histograms(native)
        .build()
        .unwrap()
}

fn presets() -> [Names; 3] {
    [
        Names::open_telemetry(),
        Names::classic(),
        Names::axum_prometheus(),
    ]
}

fn grafana(dashboard: &Dashboard) -> Value {
    let json = dashboard.grafana_json(GrafanaTarget::Import).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Asserts that no query selects the classic series of the duration.
fn assert_native(text: &str, names: &Names) {
    for suffix in ["_bucket", "_count", "_sum"] {
        let series = format!("{}{suffix}", names.duration);
        assert!(!text.contains(&series), "{series} in {text}");
    }
    assert!(text.contains(&format!("{}{{", names.duration)));
}

#[test]
fn queries_select_no_classic_series_of_the_duration() {
    for names in presets() {
        let red = red(&names, true);
        for dashboard in [red.overview(), red.route_details()] {
            let json = grafana(&dashboard);
            let problems = grafana_linter::lint(&json);
            assert!(problems.is_empty(), "{problems:#?}");
            assert_native(&json.to_string(), &names);
        }
        assert_native(&red.rules("Shop", "shop").rule_file().unwrap(), &names);
    }
}

#[test]
fn quantiles_objectives_and_heatmaps_have_their_native_form() {
    let red = red(&Names::open_telemetry(), true);
    let json = grafana(&red.overview());
    let query = |title: &str, letter: &str| {
        let panel = grafana_linter::panels(&json).find(|panel| panel["title"] == title);
        let targets = panel.unwrap()["targets"].as_array().unwrap().clone();
        let target = targets.into_iter().find(|t| t["refId"] == letter).unwrap();
        target["expr"].as_str().unwrap().to_owned()
    };
    let selected = r#"{job=~"$job",instance=~"$instance",http_route=~"$route"}"#;
    let rate = format!("rate(http_server_request_duration_seconds{selected}[$__rate_interval])");
    assert_eq!(
        query("Duration", "A"),
        format!("histogram_quantile(0.5, sum({rate})) >= 0")
    );
    assert_eq!(query("Duration heatmap", "A"), format!("sum({rate})"));
    assert_eq!(
        query("Requests", "A"),
        format!("histogram_count(sum({rate}))")
    );
    assert_eq!(
        query("p95 duration by route", "A"),
        format!(
            "topk(20, histogram_quantile(0.95, sum by (http_request_method, http_route) ({rate})) >= 0)"
        )
    );

    let rules = red.rules("Shop", "shop").rule_file().unwrap();
    let sum = r#"sum by (job) (rate(http_server_request_duration_seconds{job="shop",error_type=""}[1h]))"#;
    let good = format!("(histogram_fraction(0, 0.3, {sum}) * histogram_count({sum}) >= 0)");
    let total = format!("histogram_count({sum})");
    assert!(
        rules.contains(&format!("{total} - ({good} or 0 * {total})")),
        "{rules}"
    );
}

#[test]
fn google_has_the_classic_form_only() {
    for names in presets() {
        let (native, classic) = (red(&names, true), red(&names, false));
        assert_eq!(
            native.overview().cloud_monitoring_json(),
            classic.overview().cloud_monitoring_json()
        );
        let rules = |red: &Red| red.rules("Shop", "shop").google_rules();
        assert_eq!(rules(&native), rules(&classic));
        assert_ne!(
            native.rules("Shop", "shop").prometheus_rule(),
            classic.rules("Shop", "shop").prometheus_rule()
        );
    }
}

#[test]
fn the_recorder_must_have_native_histograms() {
    let build = |native: bool| {
        let recorder = Prometheus::builder().native_histogram(native).build();
        Red::of(&recorder.unwrap()).native_histograms(true).build()
    };
    assert_eq!(
        build(false).unwrap_err().to_string(),
        "dashboard \"http\": invalid native_histograms \"true\": must be false unless \
         PrometheusBuilder::native_histogram is set"
    );
    assert!(build(true).is_ok());
    let with = |red: RedBuilder| red.build().unwrap().overview();
    let recorder = Prometheus::builder()
        .native_histogram(true)
        .build()
        .unwrap();
    assert_ne!(
        with(Red::of(&recorder).native_histograms(true)),
        with(Red::of(&recorder))
    );
}

#[test]
fn other_tools_get_the_native_form_that_they_have() {
    // Counters of requests beside the histogram.
    let rules = red(&Names::classic(), true).rules("Shop", "shop");
    let pyrra = documents(&rules.pyrra().unwrap());
    let valid = schema::Schema::load("pyrra-v1alpha1.json");
    for document in &pyrra {
        assert_eq!(valid.problems(document), Vec::<String>::new());
    }
    let indicator = &pyrra[1]["spec"]["indicator"]["latencyNative"];
    assert_eq!(indicator["latency"], "300ms");
    assert_eq!(
        indicator["total"]["metric"],
        r#"http_request_duration_seconds{job="shop",error=""}"#
    );
    let open_slo = rules.open_slo().unwrap();
    assert!(open_slo.contains("histogram_count(sum by (job) (http_request_duration_seconds{"));

    let rules = red(&Names::open_telemetry(), true).rules("Shop", "shop");
    let error = rules.pyrra().unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Invalid {
                what: "requests",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        rules
            .sloth()
            .unwrap()
            .contains("histogram_fraction(0, 0.3, ")
    );
}
