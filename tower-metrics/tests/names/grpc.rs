use super::*;

const METHOD: &str = "/shop.Concerts/Buy";

fn call() -> Request<Script> {
    let mut request = request("POST", METHOD);
    let grpc = "application/grpc+proto".parse().unwrap();
    request.headers_mut().insert("content-type", grpc);
    request
}

fn layer(prometheus: Prometheus) -> MetricsLayer<Prometheus> {
    MetricsLayer::builder(prometheus)
        .grpc(true)
        .build()
        .unwrap()
}

/// A unary response with its status in the trailers.
fn in_trailers(code: &'static str) -> Response<Script> {
    let steps = [data("reply"), trailers("grpc-status", code)];
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Script::new(steps).sized()).unwrap()
}

/// Sends a call that succeeds and one that fails.
pub(super) async fn send_each_status(prometheus: Prometheus, is_client: bool) {
    let layer = MetricsLayer::builder(prometheus)
        .grpc(true)
        .client(is_client);
    let layer = layer.build().unwrap();
    for code in ["0", "14"] {
        send(&layer, call(), in_trailers(code)).await;
    }
}

fn in_head(code: &str) -> Response<Script> {
    let response = Response::builder().header("grpc-status", code);
    response
        .body(Script::default().sized().telling_its_end())
        .unwrap()
}

#[tokio::test]
async fn statuses_are_read_from_trailers_and_from_the_head() {
    let cases = [
        ("0", "OK", ""),
        ("1", "CANCELLED", ""),
        ("5", "NOT_FOUND", ""),
        ("13", "INTERNAL", "INTERNAL"),
        ("14", "UNAVAILABLE", "UNAVAILABLE"),
        ("99", "UNKNOWN", "UNKNOWN"),
        ("nonsense", "UNKNOWN", "UNKNOWN"),
    ];
    for (code, name, error_type) in cases {
        // A rejection in the head does not prove that the method exists.
        let refused_route = if code == "0" { METHOD } else { "" };
        for (answer, route) in [(in_trailers(code), METHOD), (in_head(code), refused_route)] {
            let prometheus = Prometheus::new();
            send(&layer(prometheus), call(), answer).await;
            let samples = Samples::of(&prometheus);
            let labels = [
                ("http_route", route),
                ("http_response_status_code", "200"),
                ("rpc_status_code", name),
                ("error_type", error_type),
            ];
            assert_eq!(samples.requests(&labels), 1.0, "{code}: {samples:#?}");
            assert_eq!(samples.requests(&[]), 1.0);
            assert_eq!(samples.in_flight(), 0.0);
        }
    }
}

#[tokio::test]
async fn error_types_follow_the_convention() {
    let errors = ["2", "4", "12", "13", "14", "15"];
    for code in (0..17).map(|code: u8| code.to_string()) {
        let prometheus = Prometheus::new();
        // Trailers prove that the method exists, whatever the status is.
        let code: &'static str = code.leak();
        send(&layer(prometheus), call(), in_trailers(code)).await;
        let failed = Samples::of(&prometheus).requests(&[("error_type", "")]) == 0.0;
        assert_eq!(failed, errors.contains(&code), "{code}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_before_the_trailers_is_not_an_error() {
    let prometheus = Prometheus::new();
    let service = layer(prometheus).layer(service_fn(|_: Request<Script>| async {
        Ok::<_, io::Error>(Response::new(Script::new([data("one"), Step::Stuck])))
    }));
    let mut body = Box::pin(service.oneshot(call()).await.unwrap().into_body());
    body.frame().await.unwrap().unwrap();
    drop(body);
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("error_type", "body_cancelled")]), 1.0);
}

#[tokio::test]
async fn requests_other_than_grpc_are_unaffected() {
    let prometheus = Prometheus::new();
    send(
        &layer(prometheus),
        request("POST", METHOD),
        in_trailers("13"),
    )
    .await;
    let samples = Samples::of(&prometheus);
    let labels = [
        ("http_route", ""),
        ("rpc_status_code", ""),
        ("error_type", ""),
    ];
    assert_eq!(samples.requests(&labels), 1.0);
}

#[tokio::test]
async fn unknown_methods_do_not_become_routes() {
    let prometheus = Prometheus::new();
    let builder = MetricsLayer::builder(prometheus).grpc(true).max_routes(1);
    let layer = builder.build().unwrap();
    for i in 0..10 {
        let mut scan = call();
        *scan.uri_mut() = format!("/scan.Service/{i}").parse().unwrap();
        send(&layer, scan, in_head("12")).await;
    }
    send(&layer, call(), in_trailers("0")).await;
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("http_route", "")]), 10.0);
    assert_eq!(samples.requests(&[("http_route", METHOD)]), 1.0);
    assert_eq!(samples.sum("tower_metrics_overflow_total", &[]), 0.0);
}

/// A page that is served for any path, or a rejection by an outer layer, does
/// not prove that the method exists.
#[tokio::test]
async fn responses_other_than_grpc_do_not_make_a_method_known() {
    for status in [200, 401, 503] {
        for method in ["POST", "HEAD", "CONNECT"] {
            let prometheus = Prometheus::new();
            let layer = layer(prometheus);
            let mut scan = call();
            *scan.method_mut() = method.parse().unwrap();
            send(&layer, scan, response(status)).await;
            let samples = Samples::of(&prometheus);
            let labels = [("http_route", ""), ("http_request_method", method)];
            assert_eq!(samples.requests(&labels), 1.0, "{samples:#?}");
            // Such responses have the route of a known method.
            send(&layer, call(), in_trailers("0")).await;
            send(&layer, call(), response(status)).await;
            let samples = Samples::of(&prometheus);
            assert_eq!(samples.requests(&[("http_route", METHOD)]), 2.0);
            assert_eq!(samples.in_flight(), 0.0);
        }
    }
}

#[tokio::test]
async fn a_method_can_be_skipped() {
    let prometheus = Prometheus::new();
    let builder = MetricsLayer::builder(prometheus).grpc(true).skip([METHOD]);
    send(&builder.build().unwrap(), call(), in_trailers("0")).await;
    assert_eq!(Samples::of(&prometheus).requests(&[]), 0.0);
}

/// The first call must not add a series, so that `increase()` sees it.
#[tokio::test]
async fn statuses_of_a_method_can_be_initialized_at_zero() {
    let prometheus = Prometheus::new();
    let layer = MetricsLayer::builder(prometheus)
        .grpc(true)
        .initialize(
            Method::POST,
            METHOD,
            [GrpcStatus::OK, GrpcStatus::NOT_FOUND, GrpcStatus::INTERNAL],
        )
        .build()
        .unwrap();
    let before = Samples::of(&prometheus);
    let codes = [
        ("0", "OK", ""),
        ("5", "NOT_FOUND", ""),
        ("13", "INTERNAL", "INTERNAL"),
    ];
    for (code, ..) in codes {
        send(&layer, call(), in_trailers(code)).await;
    }
    let after = Samples::of(&prometheus);
    assert!(before.0.keys().eq(after.0.keys()), "{before:#?} {after:#?}");
    for (_, name, error_type) in codes {
        let labels = [("rpc_status_code", name), ("error_type", error_type)];
        assert_eq!(before.requests(&labels), 0.0);
        assert_eq!(after.requests(&labels), 1.0);
    }
}

#[tokio::test]
async fn classic_names_have_their_own_status_label() {
    let prometheus = Prometheus::builder()
        .names(Names::classic())
        .build()
        .unwrap();
    send(&layer(prometheus), call(), in_trailers("5")).await;
    let samples = Samples::of(&prometheus);
    assert_eq!(
        samples.sum("http_requests_total", &[("grpc_code", "NOT_FOUND")]),
        1.0
    );
}
