//! Registries with a prefix and labels, and what a recorder reports about itself.

use super::*;

fn custom_registry(prefix: &str, labels: &[(&str, &str)]) -> Registry {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Registry::new_custom(Some(prefix.to_owned()), Some(labels.collect())).unwrap()
}

#[tokio::test]
async fn reported_names_and_labels_are_those_of_the_exposition() {
    let registry = custom_registry("shop", &[("zone", "eu"), ("pod", "a")]);
    let orders = Counter::new("orders_total", "Orders.").unwrap();
    registry.register(Box::new(orders)).unwrap();
    let prometheus = Prometheus::builder()
        .registry(registry)
        .prefix("web")
        .constant_label("version", "1")
        .time_to_head(true)
        .build()
        .unwrap();

    let names = prometheus.names();
    assert_eq!(
        names.duration,
        "shop_web_http_server_request_duration_seconds"
    );
    let constant: BTreeMap<_, _> = prometheus.constant_labels().collect();
    let expected = [
        ("pod", "a"),
        ("url_scheme", "http"),
        ("version", "1"),
        ("zone", "eu"),
    ];
    assert_eq!(constant, expected.into());

    let samples = samples_of(prometheus).await;
    let exposed: BTreeSet<_> = samples.0.keys().map(|(name, _)| name.as_str()).collect();
    for name in [
        names.in_flight.clone(),
        format!("{}_bucket", names.duration),
        format!("{}_bucket", names.time_to_head),
        format!("{}_sum", names.request_size.as_ref().unwrap()),
        prometheus.exposed_name("orders_total"),
        prometheus.exposed_name("tower_metrics_series"),
    ] {
        assert!(exposed.contains(&*name), "{name} is not among {exposed:?}");
    }
    assert!(exposed.iter().all(|name| name.starts_with("shop_")));
    for (name, labels) in samples.0.keys() {
        assert_eq!((&*labels["zone"], &*labels["pod"]), ("eu", "a"), "{name}");
    }
}

#[test]
fn a_registry_without_a_prefix_adds_nothing() {
    for registry in [Registry::new(), Registry::new_custom(None, None).unwrap()] {
        let prometheus = Prometheus::builder().registry(registry).build().unwrap();
        assert_eq!(*prometheus.names(), Names::open_telemetry());
        assert_eq!(prometheus.exposed_name("up"), "up");
    }
}

#[test]
fn building_leaves_nothing_else_in_the_registry() {
    let registry = custom_registry("shop", &[]);
    let before = Prometheus::builder().build().unwrap().registry().gather();
    Prometheus::builder()
        .registry(registry.clone())
        .build()
        .unwrap();
    let names = |families: Vec<prometheus::proto::MetricFamily>| -> Vec<String> {
        let names = families.iter().map(|family| family.name().to_owned());
        names.collect()
    };
    let expected: Vec<_> = names(before)
        .iter()
        .map(|name| format!("shop_{name}"))
        .collect();
    assert_eq!(names(registry.gather()), expected);
}

#[test]
fn labels_of_the_registry_that_the_recorder_uses_are_rejected() {
    for label in ["http_route", "error_type", "metric", "limit"] {
        let registry = custom_registry("shop", &[(label, "x")]);
        let error = Prometheus::builder().registry(registry).build();
        let BuildError::Label(error) = error.unwrap_err() else {
            panic!("{label}")
        };
        assert_eq!(error.name, label);
    }
    let prometheus = Prometheus::builder()
        .registry(custom_registry("shop", &[("zone", "eu")]))
        .build()
        .unwrap();
    let layer = MetricsLayer::builder(prometheus)
        .label(Label::from_request("zone", 3, |_| None))
        .build();
    assert_eq!(
        layer.unwrap_err().to_string(),
        "label \"zone\": the metrics already have a label of this name"
    );
}

#[test]
fn a_registry_prefix_that_is_invalid_in_prometheus_is_rejected() {
    let registry = custom_registry("my-shop", &[]);
    let error = Prometheus::builder().registry(registry).build();
    assert_eq!(
        error.unwrap_err().to_string(),
        "metric name \"my-shop_http_server_request_duration_seconds\": must match \
         [a-zA-Z_:][a-zA-Z0-9_:]*"
    );
}

#[test]
fn a_recorder_reports_its_bounds() {
    let prometheus = Prometheus::builder()
        .duration_bounds([0.00005, 0.5, 1.0])
        .route_duration_bounds("/slow", [10.0])
        .objective(Duration::from_millis(300))
        .response_size_bounds([1_048_576])
        .build()
        .unwrap();
    assert_eq!(prometheus.duration_bounds(), [0.00005, 0.3, 0.5, 1.0]);
    let of_routes: Vec<_> = prometheus.route_duration_bounds().collect();
    assert_eq!(of_routes, [("/slow", &[0.3, 10.0][..])]);
    assert!(prometheus.has_duration_bound(0.3));
    assert!(
        !prometheus.has_duration_bound(0.5),
        "/slow does not have it"
    );
    assert!(!prometheus.has_duration_bound(2.0));
    assert_eq!(prometheus.response_size_bounds(), [1_048_576.0]);
    assert!(prometheus.request_size_bounds().is_empty());
    assert!(!prometheus.records_time_to_head());
}

#[test]
fn a_recorder_reports_the_labels_of_its_layers() {
    let prometheus = Prometheus::new();
    assert!(prometheus.custom_labels().is_empty());
    for labels in [&["tenant", "plan"][..], &["plan"]] {
        let labels = labels
            .iter()
            .map(|name| Label::from_request(name, 3, |_| None));
        let builder = labels.fold(MetricsLayer::builder(prometheus), |builder, label| {
            builder.label(label)
        });
        builder.build().unwrap();
    }
    assert_eq!(prometheus.custom_labels(), ["plan", "tenant"]);
}

#[test]
fn labels_that_prometheus_sets_itself_are_rejected() {
    for label in ["job", "instance"] {
        let message =
            format!("label {label:?}: Prometheus sets this label itself on everything it scrapes");
        let constant = Prometheus::builder().constant_label(label, "x").build();
        assert_eq!(constant.unwrap_err().to_string(), message);
        let mut names = Names::open_telemetry();
        names.route = label.to_owned();
        let named = Prometheus::builder().names(names).build();
        assert_eq!(named.unwrap_err().to_string(), message);
        let custom = MetricsLayer::builder(Prometheus::new())
            .label(Label::from_request(label, 3, |_| None))
            .build();
        assert_eq!(custom.unwrap_err().to_string(), message);
    }
}

/// One function formats bounds for both, in the form in which Prometheus stores them.
#[tokio::test]
async fn buckets_are_written_as_queries_select_them() {
    let prometheus = Prometheus::builder()
        .duration_bounds([0.00005, 1.0])
        .response_size_bounds([1_048_576])
        .build()
        .unwrap();
    samples_of(prometheus).await;
    let text = prometheus
        .exposition()
        .render(tower_metrics::prometheus::Format::Text);
    for bound in [0.00005, 1.0, 1_048_576.0, f64::INFINITY] {
        let le = format!("le=\"{}\"", tower_metrics::prometheus::format_bound(bound));
        assert!(text.contains(&le), "no {le} in {text}");
    }
}
