//! A layer around a client: what the callers of other servers see.

mod figures;

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_metrics::{MetricsLayer, Names, Prometheus, Recorder, Route};

use self::figures::Figures;

type Body = Full<&'static [u8]>;

#[derive(Clone, Copy)]
struct UrlTemplate(&'static str);

fn template() -> Route {
    Route::template(|head| head.extensions.get().map(|UrlTemplate(url)| *url))
}

fn setup() -> Prometheus {
    let names = Names::open_telemetry_client();
    Prometheus::builder().names(names).build().unwrap()
}

/// Sends a request made from a template to a server that answers so.
async fn ask<R: Recorder>(layer: MetricsLayer<R>, template: &'static str, response: Response<Body>)
where
    R::Series: Unpin,
    R::InFlight: Unpin,
{
    let client = layer.layer(service_fn(|_: Request<Empty<&'static [u8]>>| {
        std::future::ready(Ok::<_, Infallible>(response.clone()))
    }));
    let request = Request::get("http://shop/users/1").extension(UrlTemplate(template));
    let response = client.oneshot(request.body(Empty::new()).unwrap()).await;
    response.unwrap().into_body().collect().await.unwrap();
}

fn answer(status: u16) -> Response<Body> {
    let response = Response::builder().status(status);
    response.body(Full::from(&b"hello"[..])).unwrap()
}

fn count(prometheus: &Prometheus, labels: &[(&str, &str)]) -> f64 {
    let name = "http_client_request_duration_seconds_count";
    Figures::of(prometheus).sum(name, labels)
}

#[tokio::test]
async fn a_template_has_its_place_whatever_the_answer_is() {
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
