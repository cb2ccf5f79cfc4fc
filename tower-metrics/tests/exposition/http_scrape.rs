//! Scrapes over HTTP.

use super::*;

pub(crate) async fn scrape(
    exposition: Exposition,
    method: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    scrape_path(exposition, method, "/metrics", headers).await
}

pub(crate) async fn scrape_path(
    exposition: Exposition,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = exposition.oneshot(request.body(()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, body.into())
}

const OPEN_METRICS: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0");

#[tokio::test]
async fn the_text_format_is_the_default() {
    let prometheus = Prometheus::new();
    traffic(prometheus, false).await;
    for headers in [&[][..], &[("accept", "*/*")]] {
        let (status, head, body) = scrape(prometheus.exposition(), "GET", headers).await;
        assert_eq!(status, 200);
        assert_eq!(
            head["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert_eq!(head["content-length"], body.len().to_string());
        assert!(!head.contains_key("content-encoding"));
        assert_eq!(
            body,
            prometheus.exposition().render(Format::Text).as_bytes()
        );
    }
}

#[tokio::test]
async fn openmetrics_is_served_on_request() {
    let prometheus = Prometheus::new();
    traffic(prometheus, true).await;
    let (_, head, body) = scrape(prometheus.exposition(), "GET", &[OPEN_METRICS]).await;
    assert_eq!(
        head["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    );
    assert_eq!(
        body,
        prometheus
            .exposition()
            .render(Format::OpenMetrics)
            .as_bytes()
    );
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn gzip_is_served_on_request() {
    let prometheus = Prometheus::new();
    traffic(prometheus, false).await;
    for accept in [OPEN_METRICS, ("accept", "*/*")] {
        let plain = scrape(prometheus.exposition(), "GET", &[accept]).await.2;
        let headers = [accept, ("accept-encoding", "gzip")];
        let (_, head, body) = scrape(prometheus.exposition(), "GET", &headers).await;
        assert_eq!(head["content-encoding"], "gzip");
        assert_eq!(head["vary"], "accept, accept-encoding");
        assert_eq!(head["content-length"], body.len().to_string());
        assert!(body.len() < plain.len() / 4);
        let mut unpacked = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&*body), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }
}

#[tokio::test]
async fn head_requests_receive_no_body() {
    let prometheus = Prometheus::new();
    let get = scrape(prometheus.exposition(), "GET", &[]).await;
    let head = scrape(prometheus.exposition(), "HEAD", &[]).await;
    assert_eq!((head.0, head.1), (get.0, get.1));
    assert!(head.2.is_empty());
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let (status, head, _) = scrape(Prometheus::new().exposition(), "POST", &[]).await;
    assert_eq!(status, 405);
    assert_eq!(head["allow"], "GET, HEAD");
}

#[tokio::test]
async fn scrapes_work_over_tcp() {
    let prometheus = Prometheus::new();
    traffic(prometheus, false).await;
    let address = serve(prometheus.exposition()).await;
    let (status, body) = fetch(address, request("GET", "/metrics")).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(body, prometheus.exposition().render(Format::Text));
    let (status, body) = fetch(address, request("HEAD", "/metrics")).await.unwrap();
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
}

/// Consecutive scrapes are equal, also while a response is still being read.
#[tokio::test]
async fn large_expositions_span_several_frames() {
    let prometheus = Prometheus::new();
    let layer = (0..1_500).fold(
        MetricsLayer::builder(prometheus).max_routes(2_000),
        |builder, i| builder.initialize(http::Method::GET, format!("/route/{i}"), [StatusCode::OK]),
    );
    layer.build().unwrap();
    let first = scrape(prometheus.exposition(), "GET", &[]).await.2;
    assert!(first.len() > 2 << 20);
    let samples = Samples::parse(std::str::from_utf8(&first).unwrap());
    assert_eq!(
        samples.series("http_server_request_duration_seconds_count"),
        1_500
    );
    // This response is still being read during the next renderings.
    let held = prometheus
        .exposition()
        .oneshot(Request::new(()))
        .await
        .unwrap();
    for _ in 0..3 {
        assert!(scrape(prometheus.exposition(), "GET", &[]).await.2 == first);
    }
    assert!(*held.into_body().collect().await.unwrap().to_bytes() == *first);
}
