//! Tests of the age of the oldest request in flight.

mod scrape;
mod script;

use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use http_body::Body;
use tower::util::BoxService;
use tower::{Layer, Service, service_fn};
use tower_metrics::prometheus::Registry;
use tower_metrics::{
    BuildError, CompletedRequest, DurationTo, MetricsLayer, Names, OldestRequest, Prometheus,
    Recorder, ResponseBody, Route, Skip,
};

use self::scrape::Samples;
use self::script::{Script, Step, data};

type Future = Pin<Box<dyn std::future::Future<Output = io::Result<Response<InFlight>>> + Send>>;
type InFlight = ResponseBody<Script, Prometheus>;

const NAME: &str = "http_server_oldest_request_seconds";

fn layer(prometheus: Prometheus, route: &'static str) -> MetricsLayer<Prometheus> {
    let builder = MetricsLayer::builder(prometheus);
    builder.route(Route::fixed(route)).build().unwrap()
}

/// Sends a request to a service that responds as the closure does.
fn send<F>(
    layer: &MetricsLayer<Prometheus>,
    method: Method,
    respond: impl FnOnce() -> F + Send + 'static,
) -> Future
where
    F: std::future::Future<Output = io::Result<Response<Script>>> + Send + 'static,
{
    let mut respond = Some(respond);
    let inner = service_fn(move |_: Request<Script>| respond.take().expect("called once")());
    let mut service = layer.layer(BoxService::new(inner));
    let mut request = Request::new(Script::default());
    *request.method_mut() = method;
    Box::pin(service.call(request))
}

/// Sends a request whose handler never responds, and polls it.
fn hang(layer: &MetricsLayer<Prometheus>) -> Future {
    let mut future = send(layer, Method::GET, pending);
    assert!(poll(&mut future).is_pending());
    future
}

fn poll(future: &mut Future) -> Poll<io::Result<Response<InFlight>>> {
    let cx = &mut Context::from_waker(Waker::noop());
    future.as_mut().poll(cx)
}

/// Sends a request to which the service responds with this, and returns the response.
fn respond(layer: &MetricsLayer<Prometheus>, response: Response<Script>) -> Pin<Box<InFlight>> {
    let mut future = send(layer, Method::GET, || async { Ok(response) });
    match poll(&mut future) {
        Poll::Ready(Ok(response)) => Box::pin(response.into_body()),
        _ => panic!("the service responds immediately"),
    }
}

fn age(prometheus: &Prometheus, route: &str) -> f64 {
    Samples::of(prometheus).sum(NAME, &[("http_route", route)])
}

/// Scrapes until the route has an old request, and returns its age.
fn wait_for_age(prometheus: &Prometheus, route: &str) -> f64 {
    let start = Instant::now();
    loop {
        let age = age(prometheus, route);
        if age > 0.0 {
            return age;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it never shows");
        std::thread::yield_now();
    }
}

#[test]
fn a_request_that_never_ends_is_visible_until_it_is_cancelled() {
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    let start = Instant::now();
    let hung = hang(&layer);
    let first = wait_for_age(&prometheus, "/a");
    assert!(first < start.elapsed().as_secs_f64() + 0.002, "{first}");
    while age(&prometheus, "/a") == first {
        std::thread::yield_now();
    }
    assert!(age(&prometheus, "/a") > first);
    drop(hung);
    assert_eq!(age(&prometheus, "/a"), 0.0);
    assert_eq!(Samples::of(&prometheus).series(NAME), 1);
}

#[test]
fn every_end_of_a_request_hides_it() {
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    let body = |steps: &[Step]| Response::new(Script::new(steps.iter().cloned()));
    for end in 0..7 {
        let mut body = match end {
            0 => respond(&layer, body(&[data("whole")])),
            1 => respond(&layer, body(&[Step::Error])),
            2 => respond(&layer, body(&[Step::Panic])),
            3 => respond(&layer, body(&[Step::Stuck])),
            4 => {
                let mut future = send(&layer, Method::GET, || async { Err(script::failure()) });
                assert!(matches!(poll(&mut future), Poll::Ready(Err(_))));
                assert_eq!(age(&prometheus, "/a"), 0.0, "error");
                continue;
            }
            5 => {
                let mut future = send(&layer, Method::GET, || async { panic!("on purpose") });
                let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut future).is_ready()));
                assert!(polled.is_err());
                drop(future);
                assert_eq!(age(&prometheus, "/a"), 0.0, "panic");
                continue;
            }
            _ => {
                let mut response = body(&[Step::Stuck]);
                response.extensions_mut().insert(Skip);
                let body = respond(&layer, response);
                assert_eq!(age(&prometheus, "/a"), 0.0, "skipped");
                drop(body);
                continue;
            }
        };
        wait_for_age(&prometheus, "/a");
        let cx = &mut Context::from_waker(Waker::noop());
        let _ = catch_unwind(AssertUnwindSafe(|| {
            while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(cx) {}
        }));
        if end == 0 || end == 1 {
            assert_eq!(age(&prometheus, "/a"), 0.0, "{end}");
        }
        drop(body);
        assert_eq!(age(&prometheus, "/a"), 0.0, "{end}");
    }
    assert_eq!(Samples::of(&prometheus).in_flight(), 0.0);
}

#[test]
fn the_oldest_request_of_a_route_counts_whatever_its_method_and_layer() {
    let prometheus = Prometheus::new();
    let (one, other) = (layer(prometheus, "/a"), layer(prometheus, "/a"));
    let oldest = hang(&one);
    wait_for_age(&prometheus, "/a");
    let second_began = Instant::now();
    let mut second = send(&other, Method::POST, pending);
    assert!(poll(&mut second).is_pending());
    wait_for_age(&prometheus, "/a");
    drop(oldest);
    let age = wait_for_age(&prometheus, "/a");
    assert!(age < second_began.elapsed().as_secs_f64() + 0.002, "{age}");
    assert_eq!(Samples::of(&prometheus).series(NAME), 1);
    drop(second);
    assert_eq!(self::age(&prometheus, "/a"), 0.0);
}

#[test]
fn each_route_has_its_own_oldest_request() {
    let (prometheus, unrelated) = (Prometheus::new(), Prometheus::new());
    let (a, b) = (layer(prometheus, "/a"), layer(prometheus, "/b"));
    respond(&layer(unrelated, "/a"), Response::default());
    respond(&b, Response::default());
    let hung = hang(&a);
    wait_for_age(&prometheus, "/a");
    assert_eq!(age(&prometheus, "/b"), 0.0);
    assert_eq!(age(&unrelated, "/a"), 0.0);
    drop(hung);
}

#[test]
fn a_request_that_moves_to_another_thread_is_hidden_when_it_ends_there() {
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    // More than a thread keeps for reuse.
    let hung: Vec<_> = (0..300).map(|_| hang(&layer)).collect();
    wait_for_age(&prometheus, "/a");
    std::thread::spawn(move || drop(hung)).join().unwrap();
    assert_eq!(age(&prometheus, "/a"), 0.0);
    let hung: Vec<_> = (0..300).map(|_| hang(&layer)).collect();
    wait_for_age(&prometheus, "/a");
    drop(hung);
    assert_eq!(age(&prometheus, "/a"), 0.0);
}

#[test]
fn a_request_whose_duration_has_ended_is_not_the_oldest() {
    let prometheus = Prometheus::new();
    let builder = MetricsLayer::builder(prometheus).route(Route::fixed("/a"));
    let to_head = builder.duration_to(DurationTo::Head).build().unwrap();
    let stream = || Response::new(Script::new([Step::Stuck]));
    let mut events = stream();
    let content_type = "text/event-stream".parse().unwrap();
    events.headers_mut().insert("content-type", content_type);
    for (layer, response) in [(layer(prometheus, "/a"), events), (to_head, stream())] {
        let body = respond(&layer, response);
        assert_eq!(Samples::of(&prometheus).in_flight(), 1.0);
        assert_eq!(age(&prometheus, "/a"), 0.0);
        drop(body);
    }
}

#[test]
fn the_metric_can_be_disabled_and_renamed() {
    let disabled = Prometheus::builder().oldest_request(false).build().unwrap();
    assert!(!disabled.exposes_oldest_request());
    respond(&layer(disabled, "/a"), Response::default());
    assert_eq!(Samples::of(&disabled).series(NAME), 0);

    let mut names = Names::classic();
    assert_eq!(names.oldest_request, "http_oldest_request_seconds");
    names.oldest_request = "hung_seconds".into();
    let renamed = Prometheus::builder().names(names).prefix("shop");
    let renamed = renamed.constant_label("zone", "eu").build().unwrap();
    assert!(renamed.exposes_oldest_request());
    respond(&layer(renamed, "/a"), Response::default());
    let samples = Samples::of(&renamed);
    let labels = [("route", "/a"), ("zone", "eu")];
    assert_eq!(samples.series(&renamed.names().oldest_request), 1);
    assert_eq!(samples.sum("shop_hung_seconds", &labels), 0.0);
}

#[test]
fn a_registry_with_a_metric_of_the_same_name_is_an_error_and_keeps_nothing() {
    let registry = Registry::new();
    let own = prometheus::Gauge::new(NAME, "Something else.").unwrap();
    registry.register(Box::new(own)).unwrap();
    let built = Prometheus::builder().registry(registry.clone()).build();
    assert!(matches!(built, Err(BuildError::Registration { .. })));
    let names: Vec<_> = registry
        .gather()
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    assert_eq!(names, [NAME]);
}

/// Recorder that only watches the oldest request.
#[derive(Clone, Copy)]
struct Watcher(&'static Mutex<Vec<OldestRequest>>);

impl Recorder for Watcher {
    type Series = ();
    type InFlight = ();

    fn series(&self, _: &'static str, _: &'static str) {}
    fn begin(&self, (): ()) {}
    fn end(&self, (): (), (): (), _: &CompletedRequest<'_>) {}
    fn abandon(&self, (): (), (): ()) {}

    fn wants_oldest_request(&self) -> bool {
        true
    }

    fn watch_oldest_request(&self, (): (), oldest: OldestRequest) {
        self.0.lock().unwrap().push(oldest);
    }
}

#[test]
fn a_custom_recorder_beside_another_one_reads_the_age() {
    let watcher = Watcher(Box::leak(Box::default()));
    let disabled = Prometheus::builder().oldest_request(false).build().unwrap();
    let layer = MetricsLayer::builder((Some(Arc::new(watcher)), disabled));
    let layer = layer.route(Route::fixed("/a")).build().unwrap();
    let inner = service_fn(|_: Request<Script>| pending::<io::Result<Response<Script>>>());
    let mut service = layer.layer(inner);
    let hung = Box::pin(service.call(Request::new(Script::default())));
    let oldest = watcher.0.lock().unwrap()[0];
    assert!(oldest.age().is_some());
    drop(hung);
    assert_eq!(oldest.age(), None);
}
