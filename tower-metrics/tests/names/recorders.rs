use super::*;

fn in_registry(registry: &Registry) -> PrometheusBuilder {
    Prometheus::builder().registry(registry.clone())
}

#[tokio::test]
async fn recorders_can_share_a_registry() {
    let registry = Registry::new();
    let first = in_registry(&registry).build().unwrap();
    let second = in_registry(&registry).prefix("admin").build().unwrap();
    let third = in_registry(&registry)
        .names(Names::classic())
        .build()
        .unwrap();
    for prometheus in [first, second, third] {
        samples_of(prometheus).await;
    }
    for prometheus in [first, second, third] {
        let samples = Samples::of(&prometheus);
        for name in [
            "http_server_request_duration_seconds_count",
            "admin_http_server_request_duration_seconds_count",
            "http_request_duration_seconds_count",
        ] {
            assert_eq!(samples.sum(name, &[]), 2.0);
        }
    }
}

#[test]
fn a_second_registration_fails_and_leaves_the_registry_unchanged() {
    let registry = Registry::new();
    let first = in_registry(&registry).build().unwrap();
    build_layer_and_scrape(first);
    let before = registry.gather().len();
    for builder in [
        in_registry(&registry),
        in_registry(&registry).constant_label("zone", "eu"),
        in_registry(&registry).scheme("https"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(
            matches!(&error, BuildError::Registration { name, .. }
            if name == "http_server_request_duration_seconds"),
            "{error}"
        );
    }
    assert_eq!(registry.gather().len(), before);
}

#[test]
fn a_registration_that_clashes_with_another_metric_leaves_the_registry_unchanged() {
    let registry = Registry::new();
    let foreign = Counter::new("http_server_active_requests", "Somebody else's.").unwrap();
    registry.register(Box::new(foreign)).unwrap();
    in_registry(&registry).build().unwrap_err();
    assert_eq!(registry.gather().len(), 1);
    // The recorder can be built under another name.
    in_registry(&registry).prefix("shop").build().unwrap();
}

fn build_layer_and_scrape(prometheus: Prometheus) {
    let layer = MetricsLayer::builder(prometheus);
    layer
        .initialize(Method::GET, "/", [StatusCode::OK])
        .build()
        .unwrap();
}

#[tokio::test]
async fn layers_can_share_a_recorder() {
    let prometheus = Prometheus::new();
    for _ in 0..2 {
        let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/a"));
        send(&layer.build().unwrap(), request("GET", "/"), response(200)).await;
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("http_route", "/a")]), 2.0);
    assert_eq!(
        samples.series("http_server_request_duration_seconds_count"),
        1
    );
}

#[tokio::test]
async fn a_pair_of_recorders_is_a_recorder() {
    let (first, second) = (Prometheus::new(), Prometheus::builder());
    let second = second.names(Names::classic()).build().unwrap();
    let layer = MetricsLayer::new((first, second));
    send(&layer, request("GET", "/"), response(200)).await;
    assert_eq!(Samples::of(&first).requests(&[]), 1.0);
    assert_eq!(Samples::of(&second).sum("http_requests_total", &[]), 1.0);
}
