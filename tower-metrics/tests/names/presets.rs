use super::*;

#[tokio::test]
async fn open_telemetry_names_follow_the_convention() {
    let samples = samples_of(Prometheus::new()).await;
    let labels = [
        "http_request_method",
        "http_route",
        "http_response_status_code",
        "error_type",
        "url_scheme",
    ];
    let expected = [
        histogram("http_server_request_duration_seconds", &labels),
        histogram("http_server_request_body_size_bytes", &labels),
        histogram("http_server_response_body_size_bytes", &labels),
        one(
            "http_server_active_requests",
            &["http_request_method", "http_route", "url_scheme"],
        ),
        one(
            "http_server_oldest_request_seconds",
            &["http_route", "url_scheme"],
        ),
    ];
    assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
    let labels = [
        ("http_request_method", "GET"),
        ("http_route", "/users/{id}"),
        ("http_response_status_code", "500"),
        ("error_type", "500"),
        ("url_scheme", "http"),
    ];
    assert_eq!(samples.requests(&labels), 1.0);
}

#[tokio::test]
async fn open_telemetry_names_for_clients_have_no_scheme() {
    let names = Names::open_telemetry_client();
    let samples = samples_of(Prometheus::builder().names(names).build().unwrap()).await;
    let labels = [
        "http_request_method",
        "url_template",
        "http_response_status_code",
        "error_type",
    ];
    let expected = [
        histogram("http_client_request_duration_seconds", &labels),
        histogram("http_client_request_body_size_bytes", &labels),
        histogram("http_client_response_body_size_bytes", &labels),
        one(
            "http_client_active_requests",
            &["http_request_method", "url_template"],
        ),
        one("http_client_oldest_request_seconds", &["url_template"]),
    ];
    assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
}

#[tokio::test]
async fn classic_names_are_those_of_promhttp() {
    let samples = samples_of(
        Prometheus::builder()
            .names(Names::classic())
            .build()
            .unwrap(),
    )
    .await;
    let labels = ["method", "route", "code", "error"];
    let expected = [
        one("http_requests_total", &labels),
        histogram("http_request_duration_seconds", &labels),
        histogram("http_request_size_bytes", &labels),
        histogram("http_response_size_bytes", &labels),
        one("http_requests_in_flight", &["method", "route"]),
        one("http_oldest_request_seconds", &["route"]),
    ];
    assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
    assert_eq!(
        samples.sum("http_requests_total", &[("code", "200"), ("error", "")]),
        1.0
    );
}

/// Names and labels from that crate's README.
#[tokio::test]
async fn axum_prometheus_names_work_with_its_queries() {
    let names = Names::axum_prometheus();
    let samples = samples_of(Prometheus::builder().names(names).build().unwrap()).await;
    let labels = ["method", "endpoint", "status"];
    let expected = [
        one("axum_http_requests_total", &labels),
        histogram("axum_http_requests_duration_seconds", &labels),
        histogram("axum_http_response_body_size", &labels),
        one("axum_http_requests_pending", &["method", "endpoint"]),
        one("axum_http_oldest_request_seconds", &["endpoint"]),
    ];
    assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
    let labels = [
        ("method", "GET"),
        ("endpoint", "/users/{id}"),
        ("status", "200"),
    ];
    assert_eq!(samples.sum("axum_http_requests_total", &labels), 1.0);
    assert_eq!(
        samples.sum("axum_http_requests_duration_seconds_count", &labels),
        1.0
    );
}

#[tokio::test]
async fn axum_prometheus_names_can_have_an_error_type() {
    let mut names = Names::axum_prometheus();
    names.error_type = Some("error_type".into());
    let samples = samples_of(Prometheus::builder().names(names).build().unwrap()).await;
    let labels = [("status", "500"), ("error_type", "500")];
    assert_eq!(samples.sum("axum_http_requests_total", &labels), 1.0);
}

/// Without a label for the error type, cancelled and panicked requests share a
/// series, which must not be duplicated.
#[tokio::test]
async fn names_without_an_error_type_combine_failures_in_one_series() {
    let names = Names::axum_prometheus();
    let prometheus = Prometheus::builder().names(names).build().unwrap();
    let layer = MetricsLayer::new(prometheus);
    let failing = layer.layer(service_fn(|_: Request<Script>| async {
        Err::<Response<Script>, _>(script::failure())
    }));
    failing.oneshot(request("GET", "/")).await.unwrap_err();
    let never = layer.layer(service_fn(|_: Request<Script>| {
        std::future::pending::<io::Result<Response<Script>>>()
    }));
    drop(tower::Service::call(
        &mut never.clone(),
        request("GET", "/"),
    ));
    // Parsing fails if a sample is duplicated.
    let samples = Samples::of(&prometheus);
    assert_eq!(
        samples.sum("axum_http_requests_total", &[("status", "")]),
        2.0
    );
    assert_eq!(samples.series("axum_http_requests_total"), 1);
}

fn of_gateway(names: Names) -> Prometheus {
    Prometheus::builder().names(names).build().unwrap()
}

#[tokio::test]
async fn rpc_names_have_no_labels_of_http() {
    for (names, side) in [
        (Names::open_telemetry_rpc(), "server"),
        (Names::open_telemetry_rpc_client(), "client"),
    ] {
        let prometheus = of_gateway(names);
        grpc::send_each_status(prometheus, side == "client").await;
        let samples = Samples::of(&prometheus);
        let labels = [
            "rpc_system_name",
            "rpc_method",
            "rpc_status_code",
            "error_type",
        ];
        let histogram = |name: &str| histogram(&format!("rpc_{side}_{name}"), &labels);
        let expected = [
            histogram("call_duration_seconds"),
            histogram("request_body_size_bytes"),
            histogram("response_body_size_bytes"),
            one(
                &format!("rpc_{side}_active_requests"),
                &["rpc_system_name", "rpc_method"],
            ),
            one(
                &format!("rpc_{side}_oldest_request_seconds"),
                &["rpc_system_name", "rpc_method"],
            ),
        ];
        assert_eq!(shape(&samples), expected.into_iter().flatten().collect());
        let labels = [
            ("rpc_system_name", "grpc"),
            ("rpc_method", "shop.Concerts/Buy"),
            ("rpc_status_code", "UNAVAILABLE"),
            ("error_type", "UNAVAILABLE"),
        ];
        let calls = format!("rpc_{side}_call_duration_seconds_count");
        assert_eq!(samples.sum(&calls, &labels), 1.0, "{samples:#?}");
    }
}

/// Without a label for the method of HTTP, its values share a series, which must not
/// be duplicated.
#[tokio::test]
async fn rpc_names_combine_the_methods_of_http_in_one_series() {
    let prometheus = of_gateway(Names::open_telemetry_rpc());
    let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/shop.Concerts/Buy"));
    let layer = layer.build().unwrap();
    for method in ["GET", "POST"] {
        send(&layer, request(method, "/"), response(200)).await;
    }
    // Parsing fails if a sample is duplicated.
    let samples = Samples::of(&prometheus);
    let calls = "rpc_server_call_duration_seconds_count";
    assert_eq!(
        samples.sum(calls, &[("rpc_method", "shop.Concerts/Buy")]),
        2.0
    );
    assert_eq!(samples.series(calls), 1);
    assert_eq!(samples.series("rpc_server_active_requests"), 1);
}

#[tokio::test]
async fn rpc_names_share_a_registry_with_those_of_http() {
    let http = Prometheus::new();
    let rpc = Prometheus::builder().registry(http.registry().clone());
    let rpc = rpc.names(Names::open_telemetry_rpc());
    let rpc = rpc
        .route_duration_bounds("/shop.Concerts/Buy", [0.5])
        .build()
        .unwrap();
    grpc::send_each_status(rpc, false).await;
    let samples = samples_of(http).await;
    assert_eq!(samples.requests(&[]), 2.0);
    let buckets = "rpc_server_call_duration_seconds_bucket";
    let labels = [
        ("rpc_method", "shop.Concerts/Buy"),
        ("rpc_status_code", "OK"),
    ];
    assert_eq!(
        samples.sum(buckets, &[labels[0], labels[1], ("le", "0.5")]),
        1.0
    );
    assert_eq!(
        samples.sum(buckets, &[labels[0], labels[1], ("le", "0.1")]),
        0.0
    );
}
