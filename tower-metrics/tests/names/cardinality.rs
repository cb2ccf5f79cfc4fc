use super::*;

/// Requests per test: a million in release builds.
const MANY: u32 = if cfg!(debug_assertions) {
    20_000
} else {
    1_000_000
};

async fn probe(layer: &MetricsLayer<Prometheus>, status: u16) {
    let service = layer.layer(service_fn(|_: Request<Script>| async {
        let response = Response::builder().status(status);
        Ok::<_, io::Error>(response.body(Script::default().sized()).unwrap())
    }));
    for i in 0..MANY {
        let mut request = request("GET", &format!("/{i}"));
        *request.method_mut() = Method::from_bytes(format!("M{i}").as_bytes()).unwrap();
        request.headers_mut().insert("tenant", i.into());
        let grpc = "application/grpc".parse().unwrap();
        request.headers_mut().insert("content-type", grpc);
        service.clone().oneshot(request).await.unwrap();
    }
}

fn layer(prometheus: Prometheus, grpc: bool) -> MetricsLayer<Prometheus> {
    MetricsLayer::builder(prometheus)
        .route(Route::path())
        .grpc(grpc)
        .max_routes(10)
        .label(Label::from_request("tenant", 3, |head| {
            Some(head.headers["tenant"].to_str().ok()?.into())
        }))
        .build()
        .unwrap()
}

#[tokio::test]
async fn paths_that_match_no_route_create_no_series() {
    for grpc in [false, true] {
        let prometheus = Prometheus::new();
        probe(&layer(prometheus, grpc), 404).await;
        let samples = Samples::of(&prometheus);
        // Three tenants and `_OTHER`, all without a route.
        assert_eq!(samples.sum("tower_metrics_series", &[]), 4.0);
        assert_eq!(samples.requests(&[("http_route", "")]), f64::from(MANY));
        let labels = [("tenant", "_OTHER"), ("http_request_method", "_OTHER")];
        assert_eq!(samples.requests(&labels), f64::from(MANY - 3));
        let overflow = "tower_metrics_overflow_total";
        assert_eq!(samples.sum(overflow, &[("limit", "routes")]), 0.0);
        assert_eq!(
            samples.sum(overflow, &[("limit", "tenant")]),
            f64::from(MANY - 3)
        );
    }
}

#[tokio::test]
async fn routes_beyond_the_limit_are_recorded_and_cannot_be_skipped() {
    let prometheus = Prometheus::new();
    let builder = || {
        MetricsLayer::builder(prometheus)
            .route(Route::path())
            .max_routes(1)
    };
    assert!(builder().skip(["_OTHER"]).build().is_err());
    let layer = builder().build().unwrap();
    for path in ["/first", "/second"] {
        send(&layer, request("GET", path), response(200)).await;
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("http_route", "_OTHER")]), 1.0);
}

#[tokio::test]
async fn routes_from_paths_are_limited_and_still_counted() {
    let prometheus = Prometheus::new();
    probe(&layer(prometheus, false), 200).await;
    let samples = Samples::of(&prometheus);
    let series = "http_server_request_duration_seconds_count";
    // The first ten paths, three of them with a tenant, and `_OTHER`.
    assert_eq!(samples.series(series), 11);
    assert_eq!(samples.requests(&[]), f64::from(MANY));
    assert_eq!(
        samples.requests(&[("http_route", "_OTHER")]),
        f64::from(MANY - 10)
    );
    let overflow = "tower_metrics_overflow_total";
    assert_eq!(
        samples.sum(overflow, &[("limit", "routes")]),
        f64::from(MANY - 10)
    );
    assert_eq!(samples.in_flight(), 0.0);
}
