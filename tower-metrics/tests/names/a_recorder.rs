use super::*;

fn in_registry(registry: &Registry) -> PrometheusBuilder {
    Prometheus::builder().registry(registry.clone())
}

#[tokio::test]
async fn may_stand_beside_others_in_one_registry() {
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
fn that_is_registered_twice_is_an_error_that_leaves_nothing_behind() {
    let registry = Registry::new();
    let first = in_registry(&registry).build().unwrap();
    figures_and_layer(first);
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
fn that_a_foreign_metric_is_in_the_way_of_leaves_nothing_behind() {
    let registry = Registry::new();
    let foreign = Counter::new("http_server_active_requests", "Somebody else's.").unwrap();
    registry.register(Box::new(foreign)).unwrap();
    in_registry(&registry).build().unwrap_err();
    assert_eq!(registry.gather().len(), 1);
    // And it may be made after all, under another name.
    in_registry(&registry).prefix("shop").build().unwrap();
}

fn figures_and_layer(prometheus: Prometheus) {
    let layer = MetricsLayer::builder(prometheus);
    layer
        .initialize(Method::GET, "/", [StatusCode::OK])
        .build()
        .unwrap();
}

#[tokio::test]
async fn may_be_shared_by_several_layers() {
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
async fn may_be_a_pair_of_recorders() {
    let (first, second) = (Prometheus::new(), Prometheus::builder());
    let second = second.names(Names::classic()).build().unwrap();
    let layer = MetricsLayer::new((first, second));
    send(&layer, request("GET", "/"), response(200)).await;
    assert_eq!(Samples::of(&first).requests(&[]), 1.0);
    assert_eq!(Samples::of(&second).sum("http_requests_total", &[]), 1.0);
}
