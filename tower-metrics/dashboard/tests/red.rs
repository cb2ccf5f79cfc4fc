//! Dashboards and rules that are built from a recorder agree with what the recorder exposes.

use std::time::Duration;

use tower_metrics::prometheus::{Format, Registry};
use tower_metrics::{Label, MetricsLayer, Names, Prometheus};
use tower_metrics_dashboard::{Error, GrafanaTarget, Pattern, Red, Selector};

const MILLIS: Duration = Duration::from_millis(1);

/// The texts of the bucket bound that the rules of the latency objective match.
fn bounds_in_rules(red: &Red) -> Vec<String> {
    let rules = red.rules("Shop", "shop").rule_file().unwrap();
    let (_, rest) = rules.split_once(",le=").expect("a bucket is selected");
    let matcher = rest.trim_start_matches(['~', '"']);
    let matcher = matcher[..matcher.find('"').unwrap()].replace(r"\\", "");
    matcher.split('|').map(str::to_owned).collect()
}

#[test]
fn a_latency_objective_selects_the_bucket_that_the_recorder_exposes() {
    for (threshold, le) in [
        (Duration::from_micros(50), "5e-05"),
        (Duration::from_nanos(1), "1e-09"),
        (300 * MILLIS, "0.3"),
        (1000 * MILLIS, "1.0"),
        (2_000_000_000 * MILLIS, "2e+06"),
    ] {
        let recorder = Prometheus::builder().objective(threshold).build().unwrap();
        let layer = MetricsLayer::builder(recorder).initialize(
            axum::http::Method::GET,
            "/",
            [axum::http::StatusCode::OK],
        );
        layer.build().unwrap();
        let exposed = recorder.exposition().render(Format::Text);
        assert!(exposed.contains(&format!("le=\"{le}\"")), "{exposed}");
        let red = Red::of(&recorder).latency(threshold, 0.99).build().unwrap();
        let selected = bounds_in_rules(&red);
        assert!(selected.contains(&le.to_owned()), "{selected:?}, not {le}");
    }
}

#[test]
fn a_latency_threshold_below_a_millisecond_is_written_in_microseconds() {
    let threshold = Duration::from_micros(50);
    let recorder = Prometheus::builder().objective(threshold).build().unwrap();
    let red = Red::of(&recorder).latency(threshold, 0.99).build().unwrap();
    assert_eq!(red.slos()[0].condition, "complete within 50 µs");
}

#[test]
fn a_latency_threshold_that_is_not_a_bound_is_an_error() {
    let recorder = Prometheus::builder()
        .duration_bounds([0.1, 1.0])
        .build()
        .unwrap();
    let error = Red::of(&recorder)
        .latency(300 * MILLIS, 0.99)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "objective \"latency\": invalid threshold \"300 ms\": must be a bucket bound of every \
         duration histogram (by default [0.1, 1.0] s); PrometheusBuilder::objective adds one"
    );
}

#[test]
fn a_threshold_that_is_missing_from_the_bounds_of_one_route_is_an_error() {
    let recorder = Prometheus::builder()
        .duration_bounds([0.1, 0.3])
        .route_duration_bounds("/slow", [1.0, 10.0])
        .build()
        .unwrap();
    let red = Red::of(&recorder).latency(300 * MILLIS, 0.99);
    assert!(matches!(red.build(), Err(Error::Invalid { .. })));
}

#[test]
fn a_label_that_no_layer_has_is_an_error() {
    let recorder = Prometheus::new();
    let error = Red::of(&recorder)
        .label("tenant", "Tenant")
        .build()
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unknown { what: "label", name, .. } if name == "tenant"),
        "{error}"
    );

    let label = Label::from_request("tenant", 10, |_| Some("a".into()));
    let layer = MetricsLayer::builder(recorder).label(label);
    layer.build().unwrap();
    let red = Red::of(&recorder)
        .label("tenant", "Tenant")
        .label("http_request_method", "Method")
        .label("url_scheme", "Scheme")
        .build()
        .unwrap();
    let json = red.overview().grafana_json(GrafanaTarget::Import).unwrap();
    assert!(json.contains(r#"tenant=~\"$tenant\""#));
}

#[test]
fn requests_in_flight_are_filtered_only_by_labels_that_they_have() {
    let recorder = Prometheus::builder()
        .constant_label("region", "eu")
        .build()
        .unwrap();
    let label = Label::from_request("tenant", 10, |_| Some("a".into()));
    let layer = MetricsLayer::builder(recorder).label(label);
    layer.build().unwrap();
    let red = Red::of(&recorder)
        .label("tenant", "Tenant")
        .label("region", "Region")
        .label("http_response_status_code", "Status")
        .build()
        .unwrap();
    let json = red.overview().grafana_json(GrafanaTarget::Import).unwrap();
    let selector = r#"http_server_active_requests{job=~\"$job\",instance=~\"$instance\",http_route=~\"$route\",region=~\"$region\"}"#;
    assert!(json.contains(&format!("sum({selector})")), "{json}");
}

#[test]
fn the_time_to_head_follows_the_recorder() {
    let without = Prometheus::new();
    let error = Red::of(&without).time_to_head(true).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "dashboard \"http\": invalid time_to_head \"true\": must be false unless \
         PrometheusBuilder::time_to_head is set"
    );
    let with = Prometheus::builder().time_to_head(true).build().unwrap();
    let shows = |red: &Red| {
        let panels: Vec<_> = red.overview().panels().map(|p| p.title.clone()).collect();
        panels.iter().any(|title| title == "Time to response head")
    };
    assert!(shows(&Red::of(&with).build().unwrap()));
    assert!(!shows(&Red::of(&with).time_to_head(false).build().unwrap()));
    assert!(!shows(&Red::of(&without).build().unwrap()));
}

#[test]
fn prefixes_of_the_recorder_and_the_registry_are_part_of_every_query() {
    let registry = Registry::new_custom(Some("eu".into()), None).unwrap();
    let recorder = Prometheus::builder()
        .registry(registry)
        .prefix("shop")
        .names(Names::classic())
        .build()
        .unwrap();
    let exposed = recorder.exposition().render(Format::Text);
    let series = r#"eu_tower_metrics_series{metric="shop_http_request_duration_seconds"}"#;
    assert!(exposed.contains(series), "{exposed}");

    let red = Red::of(&recorder).availability(0.999).build().unwrap();
    let rules = red.rules("Shop", "shop").rule_file().unwrap();
    let presence =
        r#"eu_tower_metrics_series{job="shop",metric="shop_http_request_duration_seconds"}"#;
    assert!(rules.contains(presence), "{rules}");
    assert!(rules.contains("(rate(eu_shop_http_requests_total{"));
    let json = red.overview().grafana_json(GrafanaTarget::Import).unwrap();
    assert!(json.contains("eu_shop_http_request_duration_seconds_bucket{"));
    assert!(json.contains("rate(eu_tower_metrics_overflow_total{"));
}

#[test]
fn an_objective_out_of_range_or_added_twice_is_an_error() {
    let recorder = Prometheus::new();
    let red = || Red::of(&recorder);
    let error = red().availability(99.9).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "objective \"availability\": invalid objective \"99.9\": must be a ratio above 0 and below \
         1 with at most 12 decimals, such as 0.999"
    );
    let error = red().availability(0.9).availability(0.99).build();
    assert!(matches!(error, Err(Error::Duplicate { .. })));
}

#[test]
fn connections_and_saturation_follow_the_settings_and_the_recorder() {
    let panels = |red: &Red| {
        let overview = red.overview();
        let row = overview.rows.into_iter();
        let mut row = row.filter(|row| row.title == "Connections and saturation");
        let panels = row.next().map(|row| row.panels).unwrap_or_default();
        let panels = panels.into_iter().map(|panel| (panel.title, panel.width));
        panels.collect::<Vec<_>>()
    };
    let titles = |red: &Red| panels(red).into_iter().map(|(title, _)| title);
    let recorder = Prometheus::builder().prefix("shop").build().unwrap();
    let all = Red::of(&recorder)
        .connection_limit(Selector::new("shop_connection_limit"))
        .admission(true)
        .runtime(true)
        .build()
        .unwrap();
    let expected = [
        "Network traffic",
        "Open connections",
        "Rejected connections",
        "Admission wait",
        "Scheduling delay p99",
        "Oldest request",
    ];
    assert!(titles(&all).eq(expected));
    let text = all.overview().grafana_json(GrafanaTarget::Import).unwrap();
    for name in [
        "shop_http_server_network_io_bytes_total{",
        "shop_http_server_open_connections{",
        "shop_connection_limit{",
        "shop_http_server_admission_wait_seconds_bucket{",
        "tokio_scheduling_delay_seconds_bucket{",
        "shop_http_server_oldest_request_seconds{",
    ] {
        assert!(text.contains(name), "{name}");
    }
    let alerts = |red: &Red| {
        let rules = red.rules("Shop", "shop").rule_file().unwrap();
        let names = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: Shop"));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    for alert in [
        "RuntimeBlocked",
        "SchedulingDelayed",
        "ConnectionsNearLimit",
        "RequestsHung",
    ] {
        assert!(alerts(&all).iter().any(|name| name == alert), "{alert}");
    }

    // Every number of panels fills the lines.
    let red = |connections, admission, runtime, oldest| {
        let red = Red::from_names(&Names::classic())
            .connections(connections)
            .admission(admission)
            .runtime(runtime)
            .oldest_request(oldest);
        red.build().unwrap()
    };
    for bits in 0..16 {
        let on = |bit: u8| bits & (1 << bit) != 0;
        let red = red(on(0), on(1), on(2), on(3));
        let width: u32 = panels(&red)
            .iter()
            .map(|(_, width)| u32::from(*width))
            .sum();
        assert_eq!(width % 24, 0, "{:?}", panels(&red));
    }

    let without = Prometheus::builder().oldest_request(false).build().unwrap();
    let none = Red::of(&without).build().unwrap();
    assert_eq!(panels(&none), []);
    assert!(!alerts(&none).iter().any(|name| name == "RequestsHung"));
    let error = Red::of(&without).oldest_request(true).build().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("PrometheusBuilder::oldest_request"),
        "{error}"
    );
}

/// Grouped statuses are classes such as `5xx`, and so are the error types of statuses.
#[test]
fn no_query_depends_on_a_single_status() {
    let recorder = Prometheus::builder().group_statuses(true).build().unwrap();
    let red = Red::of(&recorder)
        .availability(0.999)
        .latency(Duration::from_secs(1), 0.99)
        .build()
        .unwrap();
    let is_status = |label: &str| label == recorder.names().status.as_deref().unwrap();
    let mut matchers = 0;
    let mut check = |selector: &Selector| {
        for matcher in &selector.matchers {
            let values = match &matcher.pattern {
                Pattern::AnyOf(values) => values.clone(),
                _ => continue,
            };
            matchers += 1;
            let single = |value: &String| value.bytes().any(|byte| byte.is_ascii_digit());
            let depends = is_status(&matcher.label) || matcher.label == "error_type";
            assert!(!depends || !values.iter().any(single), "{selector:?}");
        }
    };
    for dashboard in [red.overview(), red.route_details()] {
        for expr in dashboard.panels().flat_map(|panel| panel.expressions()) {
            expr.selectors(&mut |selector| check(selector));
        }
    }
    for slo in red.slos() {
        slo.bad_ratio().selectors(&mut |selector| check(selector));
    }
    assert!(matchers > 10);
}
