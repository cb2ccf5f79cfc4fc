//! Statuses grouped by their class.

use super::*;

const COUNT: &str = "http_server_request_duration_seconds_count";

#[tokio::test]
async fn statuses_of_a_class_share_a_series() {
    let prometheus = Prometheus::builder().group_statuses(true).build().unwrap();
    assert!(prometheus.groups_statuses());
    assert!(!Prometheus::new().groups_statuses());
    let layer = MetricsLayer::builder(prometheus)
        .route(Route::fixed("/"))
        .build()
        .unwrap();
    for status in [200, 201, 404, 409, 422, 500, 503, 999] {
        send(&layer, request("GET", "/"), response(status)).await;
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.series(COUNT), 4);
    for (class, error_type, requests) in [
        ("2xx", "", 2.0),
        ("4xx", "", 3.0),
        ("5xx", "5xx", 2.0),
        ("9xx", "", 1.0),
    ] {
        let labels = [
            ("http_response_status_code", class),
            ("error_type", error_type),
        ];
        assert_eq!(samples.requests(&labels), requests, "{class}");
    }
}

#[tokio::test]
async fn error_types_other_than_statuses_remain() {
    let prometheus = Prometheus::builder().group_statuses(true).build().unwrap();
    let layer = MetricsLayer::builder(prometheus)
        .route(Route::fixed("/"))
        .build()
        .unwrap();
    for error_type in [
        ErrorType::SHED,
        ErrorType::new("503"),
        ErrorType::new("500"),
    ] {
        let mut response = response(503);
        response.extensions_mut().insert(error_type);
        send(&layer, request("GET", "/"), response).await;
    }
    let samples = Samples::of(&prometheus);
    for (error_type, requests) in [("shed", 1.0), ("5xx", 1.0), ("500", 1.0)] {
        let labels = [
            ("http_response_status_code", "5xx"),
            ("error_type", error_type),
        ];
        assert_eq!(samples.requests(&labels), requests, "{error_type}");
    }
}

/// A client's 4xx are errors.
#[tokio::test]
async fn a_client_groups_the_error_types_of_both_classes() {
    let prometheus = Prometheus::builder()
        .names(Names::open_telemetry_client())
        .group_statuses(true)
        .build()
        .unwrap();
    let layer = MetricsLayer::builder(prometheus)
        .client(true)
        .route(Route::fixed("/"))
        .build()
        .unwrap();
    for status in [200, 404, 429, 502] {
        send(&layer, request("GET", "/"), response(status)).await;
    }
    let samples = Samples::of(&prometheus);
    let count = "http_client_request_duration_seconds_count";
    assert_eq!(samples.series(count), 3);
    for (class, error_type, requests) in
        [("2xx", "", 1.0), ("4xx", "4xx", 2.0), ("5xx", "5xx", 1.0)]
    {
        let labels = [
            ("http_response_status_code", class),
            ("error_type", error_type),
        ];
        assert_eq!(samples.sum(count, &labels), requests, "{class}");
    }
}

#[tokio::test]
async fn initial_series_are_those_of_the_class() {
    let prometheus = Prometheus::builder()
        .names(Names::classic())
        .group_statuses(true)
        .build()
        .unwrap();
    let layer = MetricsLayer::builder(prometheus)
        .route(Route::fixed("/"))
        .initialize(Method::GET, "/", [StatusCode::OK, StatusCode::BAD_GATEWAY])
        .build()
        .unwrap();
    send(&layer, request("GET", "/"), response(201)).await;
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.series("http_requests_total"), 2);
    assert_eq!(
        samples.sum("http_requests_total", &[("code", "2xx"), ("error", "")]),
        1.0
    );
    let errors = [("code", "5xx"), ("error", "5xx")];
    assert_eq!(samples.sum("http_requests_total", &errors), 0.0);
    assert_eq!(
        samples.sum("http_request_duration_seconds_count", &errors),
        0.0
    );
}
