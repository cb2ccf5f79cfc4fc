//! Tests that pooled state does not leak from one request to the next.

mod scrape;
mod script;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service, service_fn};
use tower_metrics::{Label, MetricsLayer, Prometheus, Route};

use self::scrape::Samples;
use self::script::{Script, data};

/// Sends a request, and reads the response to its end or drops it.
fn send(layer: &MetricsLayer<Prometheus>, tenant: usize, status: u16, to_the_end: bool) {
    let mut service = layer.layer(service_fn(move |_: Request<Script>| async move {
        let answer = Response::builder().status(status);
        Ok::<_, io::Error>(answer.body(Script::new([data("hello")])).unwrap())
    }));
    let request = Request::builder().header("tenant", tenant.to_string());
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(service.call(request.body(Script::default()).unwrap()));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
        panic!("the service answers at once");
    };
    let mut body = pin!(response.into_body());
    while to_the_end && matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(_))) {}
}

fn with_tenants(prometheus: Prometheus, route: &'static str) -> MetricsLayer<Prometheus> {
    let tenant = Label::from_request("tenant", 100, |head| {
        Some(head.headers.get("tenant")?.to_str().ok()?.into())
    });
    let layer = MetricsLayer::builder(prometheus).route(Route::fixed(route));
    layer.label(tenant).build().unwrap()
}

#[test]
fn many_outcomes_on_one_thread_are_recorded_separately() {
    let prometheus = Prometheus::new();
    let layer = with_tenants(prometheus, "/a");
    for _ in 0..3 {
        for tenant in 0..40 {
            send(&layer, tenant, 200, true);
            send(&layer, tenant, 404, true);
        }
    }
    let samples = Samples::of(&prometheus);
    for tenant in 0..40 {
        let tenant = tenant.to_string();
        assert_eq!(samples.requests(&[("tenant", &tenant)]), 6.0);
    }
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn a_layer_without_labels_sees_none_of_another_on_the_same_thread() {
    let prometheus = Prometheus::new();
    let labeled = with_tenants(prometheus, "/a");
    let plain = MetricsLayer::builder(prometheus).route(Route::fixed("/b"));
    let plain = plain.build().unwrap();
    for tenant in 0..30 {
        send(&labeled, tenant, 503, true);
        send(&plain, tenant, 200, true);
        send(&labeled, tenant, 200, false);
        send(&plain, tenant, 404, true);
    }
    let samples = Samples::of(&prometheus);
    let of_plain = [("http_route", "/b"), ("tenant", ""), ("error_type", "")];
    assert_eq!(samples.requests(&of_plain), 60.0);
    let dropped = [("http_route", "/a"), ("error_type", "body_cancelled")];
    assert_eq!(samples.requests(&dropped), 30.0);
    assert_eq!(samples.requests(&[]), 120.0);
    assert_eq!(samples.in_flight(), 0.0);
}
