use super::*;

#[tokio::test]
async fn every_metric_has_the_prefix_and_the_constant_labels() {
    let prometheus = Prometheus::builder()
        .prefix("shop")
        .scheme("https")
        .constant_label("zone", "eu \"1\"")
        .time_to_head(true)
        .build()
        .unwrap();
    let samples = samples_of(prometheus).await;
    for (name, labels) in samples
        .0
        .keys()
        .filter(|(name, _)| !name.starts_with("tower_"))
    {
        assert!(name.starts_with("shop_http_server_"), "{name}");
        assert_eq!(labels["zone"], "eu \"1\"", "{name}");
        assert_eq!(labels["url_scheme"], "https", "{name}");
    }
    assert_eq!(
        prometheus.names().duration,
        "shop_http_server_request_duration_seconds"
    );
}

#[test]
fn an_empty_prefix_adds_nothing() {
    let prometheus = Prometheus::builder().prefix("").build().unwrap();
    assert_eq!(*prometheus.names(), Names::open_telemetry());
}

#[tokio::test]
async fn custom_names_are_used() {
    let mut names = Names::open_telemetry();
    names.duration = "latency_seconds".into();
    names.requests = Some("answers_total".into());
    names.in_flight = "open".into();
    names.oldest_request = "oldest_seconds".into();
    names.request_size = None;
    names.response_size = Some("sent_bytes".into());
    names.method = Some("verb".into());
    names.route = "template".into();
    names.status = Some("answer".into());
    names.error_type = Some("why".into());
    names.scheme = None;
    let samples = samples_of(Prometheus::builder().names(names).build().unwrap()).await;
    let labels = ["verb", "template", "answer", "why"];
    let expected = [
        one("answers_total", &labels),
        histogram("latency_seconds", &labels),
        histogram("sent_bytes", &labels),
        one("open", &["verb", "template"]),
        one("oldest_seconds", &["template"]),
    ];
    assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
}

fn bounds(samples: &Samples, name: &str, route: &str) -> Vec<f64> {
    let of_route = |(found, labels): &&scrape::Key| {
        *found == format!("{name}_bucket") && labels.get("http_route").is_some_and(|r| r == route)
    };
    let mut bounds: Vec<f64> = samples
        .0
        .keys()
        .filter(of_route)
        .map(|(_, labels)| labels["le"].parse().unwrap())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
}

#[tokio::test]
async fn bounds_apply_to_all_routes_or_to_one_and_contain_the_objective() {
    let prometheus = Prometheus::builder()
        .duration_bounds([0.1, 1.0])
        .route_duration_bounds("/slow", [5.0, 20.0])
        .route_duration_bounds("/slow", [10.0])
        .objective(Duration::from_millis(250))
        .objective(Duration::from_secs(1))
        .response_size_bounds([0, 1024])
        .build()
        .unwrap();
    for route in ["/slow", "/fast"] {
        let layer = MetricsLayer::builder(prometheus).route(Route::fixed(route));
        send(&layer.build().unwrap(), request("GET", "/"), response(200)).await;
    }
    let samples = Samples::of(&prometheus);
    let duration = "http_server_request_duration_seconds";
    assert_eq!(
        bounds(&samples, duration, "/fast"),
        [0.1, 0.25, 1.0, f64::INFINITY]
    );
    assert_eq!(
        bounds(&samples, duration, "/slow"),
        [0.25, 1.0, 10.0, f64::INFINITY]
    );
    let size = "http_server_response_body_size_bytes";
    assert_eq!(
        bounds(&samples, size, "/fast"),
        [0.0, 1024.0, f64::INFINITY]
    );
    let size = "http_server_request_body_size_bytes";
    assert_eq!(bounds(&samples, size, "/fast"), [f64::INFINITY]);
}

#[tokio::test]
async fn histograms_without_bounds_have_a_count_and_a_sum() {
    let prometheus = Prometheus::builder().duration_bounds([]).build().unwrap();
    let samples = samples_of(prometheus).await;
    assert_eq!(
        samples.sum("http_server_request_duration_seconds_bucket", &[]),
        2.0
    );
}

#[test]
fn default_bounds_are_the_advice_of_the_convention() {
    let prometheus = Prometheus::new();
    let layer = MetricsLayer::builder(prometheus);
    layer
        .initialize(Method::GET, "/a", [StatusCode::OK])
        .build()
        .unwrap();
    let advice = [
        0.005,
        0.01,
        0.025,
        0.05,
        0.075,
        0.1,
        0.25,
        0.5,
        0.75,
        1.0,
        2.5,
        5.0,
        7.5,
        10.0,
        f64::INFINITY,
    ];
    let samples = Samples::of(&prometheus);
    assert_eq!(
        bounds(&samples, "http_server_request_duration_seconds", "/a"),
        advice
    );
}

#[test]
fn initial_series_are_exposed_at_zero() {
    let prometheus = Prometheus::new();
    let endings: [InitialSeries; 4] = [
        StatusCode::OK.into(),
        StatusCode::INTERNAL_SERVER_ERROR.into(),
        (StatusCode::SERVICE_UNAVAILABLE, ErrorType::SHED).into(),
        ErrorType::CANCELLED.into(),
    ];
    MetricsLayer::builder(prometheus)
        .initialize(Method::GET, "/a", endings)
        .build()
        .unwrap();
    let samples = Samples::of(&prometheus);
    assert_eq!(
        samples.series("http_server_request_duration_seconds_count"),
        4
    );
    assert_eq!(samples.series("http_server_active_requests"), 1);
    for (status, error_type) in [
        ("200", ""),
        ("500", "500"),
        ("503", "shed"),
        ("", "cancelled"),
    ] {
        let series = (
            "http_server_request_duration_seconds_count".to_owned(),
            BTreeMap::from_iter(
                [
                    ("http_request_method", "GET"),
                    ("http_route", "/a"),
                    ("http_response_status_code", status),
                    ("error_type", error_type),
                    ("url_scheme", "http"),
                ]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
        );
        assert_eq!(samples.0[&series], 0.0);
    }
    assert_eq!(samples.sum("tower_metrics_series", &[]), 4.0);
}
