use http::Version;

use super::*;

async fn send_versions(prometheus: Prometheus, is_client: bool) -> Samples {
    let layer = MetricsLayer::builder(prometheus).client(is_client);
    let layer = layer.network_protocol_version(true).build().unwrap();
    for (of_request, of_response) in [
        (Version::HTTP_10, Version::HTTP_11),
        (Version::HTTP_11, Version::HTTP_2),
        (Version::HTTP_2, Version::HTTP_2),
        (Version::HTTP_3, Version::HTTP_3),
        (Version::HTTP_09, Version::HTTP_09),
    ] {
        let mut request = request("GET", "/");
        *request.version_mut() = of_request;
        let mut response = response(200);
        *response.version_mut() = of_response;
        send(&layer, request, response).await;
    }
    Samples::of(&prometheus)
}

fn requests_by_version(samples: &Samples, name: &str) -> [f64; 5] {
    let count = format!("{name}_request_duration_seconds_count");
    ["1.0", "1.1", "2", "3", ""]
        .map(|version| samples.sum(&count, &[("network_protocol_version", version)]))
}

#[tokio::test]
async fn of_a_server_is_that_of_the_request() {
    let samples = send_versions(Prometheus::new(), false).await;
    let versions = requests_by_version(&samples, "http_server");
    assert_eq!(versions, [1.0, 1.0, 1.0, 1.0, 1.0]);
}

/// The version of a client's request is what the program asked for.
#[tokio::test]
async fn of_a_client_is_that_of_the_response() {
    let names = Names::open_telemetry_client();
    let prometheus = Prometheus::builder().names(names).build().unwrap();
    let samples = send_versions(prometheus, true).await;
    let versions = requests_by_version(&samples, "http_client");
    assert_eq!(versions, [0.0, 1.0, 2.0, 1.0, 1.0]);
}

#[test]
fn counts_as_a_custom_label() {
    let label = |name| Label::from_request(name, 1, |_| None);
    let builder = MetricsLayer::builder(Prometheus::new())
        .network_protocol_version(true)
        .label(label("a"))
        .label(label("b"))
        .label(label("c"));
    let error = builder.label(label("d")).build().unwrap_err();
    assert!(matches!(error, BuildError::TooManyLabels { count: 5, .. }));
}
