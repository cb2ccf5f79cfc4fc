//! Tests for layers around clients.

mod scrape;
mod script;

use std::convert::Infallible;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_metrics::prometheus::Format;
use tower_metrics::{
    ErrorType, GrpcStatus, InitialSeries, MetricsLayer, MetricsLayerBuilder, Names, Prometheus,
    Recorder, Route,
};

use self::scrape::Samples;
use self::script::{Script, Step, data};

#[derive(Clone, Copy)]
struct UrlTemplate(&'static str);

fn template() -> Route {
    Route::template(|head| head.extensions.get().map(|UrlTemplate(url)| *url))
}

fn setup() -> Prometheus {
    let names = Names::open_telemetry_client();
    Prometheus::builder().names(names).build().unwrap()
}

/// Sends a request with a URL template to a server that returns this response.
async fn ask<R: Recorder>(
    layer: MetricsLayer<R>,
    template: &'static str,
    response: Response<Script>,
) where
    R::Series: Unpin,
    R::InFlight: Unpin,
{
    let client = layer.layer(service_fn(|_: Request<Script>| {
        std::future::ready(Ok::<_, Infallible>(response.clone()))
    }));
    let request = Request::get("http://shop/users/1").extension(UrlTemplate(template));
    let response = client
        .oneshot(request.body(Script::default()).unwrap())
        .await;
    response.unwrap().into_body().collect().await.unwrap();
}

fn answer(status: u16) -> Response<Script> {
    let response = Response::builder().status(status);
    response.body(Script::new([data("hello")])).unwrap()
}

fn count(prometheus: &Prometheus, labels: &[(&str, &str)]) -> f64 {
    let name = "http_client_request_duration_seconds_count";
    Samples::of(prometheus).sum(name, labels)
}

#[tokio::test]
async fn a_template_gets_a_slot_whatever_the_response_is() {
    let prometheus = setup();
    let layer = MetricsLayer::builder(prometheus)
        .route(template())
        .max_routes(1)
        .build()
        .unwrap();
    for url in ["/users/{id}", "/one/too/many"] {
        ask(layer, url, answer(404)).await;
    }
    assert_eq!(count(&prometheus, &[("url_template", "/users/{id}")]), 1.0);
    assert_eq!(count(&prometheus, &[("url_template", "_OTHER")]), 1.0);
}

fn client(prometheus: Prometheus) -> MetricsLayerBuilder<Prometheus> {
    MetricsLayer::builder(prometheus)
        .client(true)
        .route(template())
}

#[tokio::test]
async fn a_4xx_is_an_error_for_a_client_but_not_for_a_server() {
    let prometheus = setup();
    for status in [200, 302, 404, 429, 503] {
        let layer = client(prometheus).build().unwrap();
        ask(layer, "/users/{id}", answer(status)).await;
    }
    for (status, error_type) in [
        ("200", ""),
        ("302", ""),
        ("404", "404"),
        ("429", "429"),
        ("503", "503"),
    ] {
        let labels = [
            ("http_response_status_code", status),
            ("error_type", error_type),
        ];
        assert_eq!(count(&prometheus, &labels), 1.0, "{status}");
    }

    let prometheus = setup();
    let server = MetricsLayer::builder(prometheus).build().unwrap();
    ask(server, "/users/{id}", answer(404)).await;
    let labels = [("http_response_status_code", "404"), ("error_type", "")];
    assert_eq!(count(&prometheus, &labels), 1.0);
}

#[tokio::test]
async fn a_4xx_has_the_error_type_of_its_extension() {
    let prometheus = setup();
    for told in [ErrorType::NONE, ErrorType::new("quota")] {
        let mut response = answer(429);
        response.extensions_mut().insert(told);
        let layer = client(prometheus).build().unwrap();
        ask(layer, "/users/{id}", response).await;
    }
    for error_type in ["", "quota"] {
        assert_eq!(count(&prometheus, &[("error_type", error_type)]), 1.0);
    }
    assert_eq!(count(&prometheus, &[]), 2.0);
}

#[tokio::test]
async fn every_grpc_status_except_ok_is_an_error_for_a_client() {
    let prometheus = setup();
    let layer = client(prometheus).grpc(true).build().unwrap();
    for code in 0..17 {
        let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.into())]);
        let mut in_head = Response::new(Script::default());
        in_head.headers_mut().extend(status.clone());
        let in_trailers = Response::new(Script::new([Step::Trailers(status)]));
        for response in [in_head, in_trailers] {
            let server = layer.layer(service_fn(|_: Request<Script>| {
                std::future::ready(Ok::<_, Infallible>(response.clone()))
            }));
            let request = Request::post("http://shop/shop.Tickets/Buy")
                .header("content-type", "application/grpc")
                .body(Script::default());
            let response = server.oneshot(request.unwrap()).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
        let name = GrpcStatus::from_code(code as u8).as_str();
        let labels = [
            ("rpc_status_code", name),
            ("error_type", if code == 0 { "" } else { name }),
        ];
        assert_eq!(count(&prometheus, &labels), 2.0, "{name}");
    }
}

#[test]
fn initial_series_of_a_client_include_its_errors() {
    let prometheus = setup();
    let endings: [InitialSeries; 3] = [
        StatusCode::OK.into(),
        StatusCode::NOT_FOUND.into(),
        GrpcStatus::NOT_FOUND.into(),
    ];
    client(prometheus)
        .initialize(http::Method::GET, "/users/{id}", endings)
        .build()
        .unwrap();
    let text = prometheus.exposition().render(Format::Text);
    for answer in [
        r#"http_response_status_code="200",error_type="""#,
        r#"http_response_status_code="404",error_type="404""#,
        r#"http_response_status_code="200",error_type="NOT_FOUND",rpc_status_code="NOT_FOUND""#,
    ] {
        assert!(text.contains(answer), "{text}");
    }
}

#[tokio::test]
async fn an_initial_series_has_the_labels_of_the_recorded_response() {
    let prometheus = setup();
    let expected = (StatusCode::NOT_FOUND, ErrorType::NONE);
    let layer = client(prometheus)
        .initialize(http::Method::GET, "/users/{id}", [expected])
        .build()
        .unwrap();
    let series = || Samples::of(&prometheus).series("http_client_request_duration_seconds_count");
    assert_eq!(series(), 1);
    let mut response = answer(404);
    response.extensions_mut().insert(ErrorType::NONE);
    ask(layer, "/users/{id}", response).await;
    assert_eq!(count(&prometheus, &[("error_type", "")]), 1.0);
    assert_eq!(series(), 1);
}
