//! Tests that one layer records the same values in Prometheus and in an
//! OpenTelemetry meter.

mod fates;
mod scrape;
mod script;
mod timed;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use opentelemetry::Value;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, HistogramDataPoint, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use proptest::collection::vec;
use proptest::prelude::*;
use tower::{Layer, Service};
use tower_metrics::opentelemetry::OpenTelemetryBuilder;
use tower_metrics::{
    BuildError, Label, LabelValue, MetricsLayer, MetricsService, OpenTelemetry, Prometheus,
    Recorder, ResponseBody, ResponseFuture, Route, ServiceError,
};

use self::fates::{Fate, FutureEnd, Inner, InnerFuture, fate, quiet};
use self::scrape::Samples;
use self::script::{Script, Step, trailers};
use self::timed::Timed;

/// SDK with an in-memory exporter.
struct Sdk {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// Name and attributes of a metric, including the bound of a bucket.
type Key = (String, BTreeMap<String, String>);

impl Sdk {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        Self { provider, exporter }
    }

    fn builder(&self) -> OpenTelemetryBuilder {
        OpenTelemetry::builder(&self.provider.meter("tests"))
    }

    /// Returns all values, with OpenTelemetry's names and the structure of
    /// Prometheus' samples.
    fn samples(&self) -> BTreeMap<Key, f64> {
        self.provider.force_flush().unwrap();
        let mut all = BTreeMap::new();
        let exported = self.exporter.get_finished_metrics().unwrap();
        self.exporter.reset();
        let newest = exported.last();
        let scopes = newest.iter().flat_map(|resource| resource.scope_metrics());
        for metric in scopes.flat_map(|scope| scope.metrics()) {
            let name = metric.name();
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        add_histogram(&mut all, name, point, point.sum());
                    }
                }
                AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        add_histogram(&mut all, name, point, point.sum() as f64);
                    }
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        let attributes = texts(point.attributes());
                        all.insert((name.to_owned(), attributes), point.value() as f64);
                    }
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        let attributes = texts(point.attributes());
                        all.insert((name.to_owned(), attributes), point.value() as f64);
                    }
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        all
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.provider.shutdown();
    }
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for attribute in attributes {
        let (name, value) = (attribute.key.as_str(), &attribute.value);
        assert_ne!(value.as_str(), "", "{name} is empty, not absent");
        let is_number = matches!(value, Value::I64(_));
        assert_eq!(is_number, name == "http.response.status_code", "{name}");
        let twice = all.insert(name.to_owned(), value.as_str().into_owned());
        assert!(twice.is_none(), "{name} stands twice");
    }
    all
}

fn add_histogram<T>(
    all: &mut BTreeMap<Key, f64>,
    name: &str,
    point: &HistogramDataPoint<T>,
    sum: f64,
) {
    let attributes = texts(point.attributes());
    let mut add = |suffix: &str, attributes, value| {
        all.insert((format!("{name}{suffix}"), attributes), value);
    };
    add("_count", attributes.clone(), point.count() as f64);
    add("_sum", attributes.clone(), sum);
    let mut so_far = 0;
    let bounds = point.bounds().chain([f64::INFINITY]);
    for (count, bound) in point.bucket_counts().zip(bounds) {
        so_far += count;
        let mut attributes = attributes.clone();
        let le = Samples::parse(&format!("x{{le=\"{bound}\"}} 1")).0;
        let le = le.into_keys().next().unwrap().1.remove("le").unwrap();
        attributes.insert("le".into(), le);
        add("_bucket", attributes, so_far as f64);
    }
}

/// Returns Prometheus' samples with OpenTelemetry's names.
fn translated(prometheus: &Prometheus) -> BTreeMap<Key, f64> {
    let names = [
        ("_seconds", ""),
        ("_body_size_bytes", "_body_size"),
        ("tower_metrics_overflow_total", "tower_metrics.overflow"),
        (
            "http_server_request_body_size",
            "http.server.request.body.size",
        ),
        (
            "http_server_response_body_size",
            "http.server.response.body.size",
        ),
        (
            "http_server_request_duration",
            "http.server.request.duration",
        ),
        ("http_server_active_requests", "http.server.active_requests"),
        ("http_server_time_to_head", "http.server.time_to_head"),
    ];
    let labels = [
        ("http_request_method", "http.request.method"),
        ("http_response_status_code", "http.response.status_code"),
        ("rpc_status_code", "rpc.status_code"),
        ("http_route", "http.route"),
        ("error_type", "error.type"),
        ("url_scheme", "url.scheme"),
    ];
    let mut all = BTreeMap::new();
    for ((mut name, attributes), value) in Samples::of(prometheus).0 {
        for (from, to) in names {
            name = name.replace(from, to);
        }
        let attribute = |(name, value): (String, String)| {
            let dotted = labels.iter().find(|(label, _)| *label == name);
            let value = match &*value {
                "http_server_request_duration_seconds" => "http.server.request.duration".into(),
                _ => value,
            };
            (dotted.map_or(name, |(_, dotted)| (*dotted).into()), value)
        };
        let attributes: BTreeMap<_, _> = attributes.into_iter().map(attribute).collect();
        if name != "tower_metrics_series" {
            all.insert((name, attributes), value);
        }
    }
    all
}

type Both = Timed<(Prometheus, OpenTelemetry)>;

/// Bounds for sizes in both recorders, so that both count them at the end.
fn both(sdk: &Sdk, time_to_head: bool) -> (Prometheus, OpenTelemetry) {
    let threshold = Duration::from_millis(330);
    let prometheus = Prometheus::builder()
        .request_size_bounds([0, 100])
        .response_size_bounds([0, 1000])
        .objective(threshold)
        .time_to_head(time_to_head);
    let open_telemetry = sdk
        .builder()
        .request_size_bounds([0, 100])
        .response_size_bounds([0, 1000])
        .objective(threshold)
        .time_to_head(time_to_head);
    (prometheus.build().unwrap(), open_telemetry.build().unwrap())
}

fn compare(prometheus: &Prometheus, sdk: &Sdk) -> Result<(), TestCaseError> {
    let ours = translated(prometheus);
    let theirs = sdk.samples();
    for (key, ours) in &ours {
        // Prometheus exports all histograms of a series from its first request,
        // the SDK exports each from its first value.
        let theirs = theirs.get(key).copied().unwrap_or(0.0);
        // Prometheus sums integers, the SDK sums floating-point numbers.
        let close = (ours - theirs).abs() <= 1e-12 * ours.max(1.0);
        prop_assert!(close, "{key:?}: {ours} and {theirs}");
    }
    let missing: Vec<_> = theirs
        .keys()
        .filter(|key| !ours.contains_key(key))
        .collect();
    prop_assert!(missing.is_empty(), "Prometheus has no {missing:?}");
    Ok(())
}

/// Attributes of a request in addition to its fate.
#[derive(Clone, Debug)]
struct Call {
    fate: Fate,
    tenant: &'static str,
    /// gRPC call with this status in its trailers.
    grpc: Option<&'static str>,
}

fn call() -> impl Strategy<Value = Call> {
    let tenant = prop::sample::select(vec!["", "a", "b", "c"]);
    let code = prop::sample::select(vec!["0", "5", "12", "13", "99", "?"]);
    (fate(), tenant, proptest::option::weighted(0.3, code)).prop_map(|(mut fate, tenant, grpc)| {
        if let (Some(code), FutureEnd::Response(answer)) = (grpc, &mut fate.end) {
            for step in &mut answer.body.steps {
                if matches!(step, Step::Trailers(_)) {
                    *step = trailers("grpc-status", code);
                }
            }
        }
        Call { fate, tenant, grpc }
    })
}

impl Call {
    fn request(&self) -> Request<Script> {
        let mut request = self.fate.request();
        if self.grpc.is_some() {
            let value = "application/grpc+proto".parse().unwrap();
            request.headers_mut().insert("content-type", value);
        }
        let tenant = self.tenant.parse().unwrap();
        request.headers_mut().insert("tenant", tenant);
        request
    }
}

#[derive(Clone, Copy)]
enum Class {
    Good,
    Bad,
}

impl LabelValue for Class {
    const ALL: &'static [Self] = &[Self::Good, Self::Bad];
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

fn service(recorder: Both) -> MetricsService<Inner, Both> {
    let layer = MetricsLayer::builder(recorder)
        .route(Route::from_fn(|head| {
            Some(head.extensions.get::<Fate>()?.route.into())
        }))
        .max_routes(3)
        .skip(["/skipped"])
        .grpc(true)
        .label(Label::from_request("tenant", 2, |head| {
            let tenant = head.headers.get("tenant")?.to_str().ok()?;
            Some(Cow::Borrowed(tenant))
        }))
        .label(Label::enum_from_response("class", |head| {
            match head.status.as_u16() {
                200..300 => Some(Class::Good),
                400.. => Some(Class::Bad),
                _ => None,
            }
        }));
    layer.build().unwrap().layer(Inner)
}

enum Running {
    Future(Pin<Box<ResponseFuture<InnerFuture, Both, ServiceError>>>),
    Body(Pin<Box<ResponseBody<Script, Both>>>),
    Done,
}

impl Running {
    fn begin(service: &mut MetricsService<Inner, Both>, call: &Call) -> Self {
        catch_unwind(AssertUnwindSafe(|| service.call(call.request())))
            .map_or(Self::Done, |future| Self::Future(Box::pin(future)))
    }

    /// Polls once.
    fn step(self) -> Self {
        let cx = &mut Context::from_waker(Waker::noop());
        let stepped = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Future(mut future) => match future.as_mut().poll(cx) {
                Poll::Pending => Self::Future(future),
                Poll::Ready(Ok(response)) => Self::Body(Box::pin(response.into_body())),
                Poll::Ready(Err(_)) => Self::Done,
            },
            Self::Body(mut body) => match body.as_mut().poll_frame(cx) {
                Poll::Ready(None | Some(Err(_))) => Self::Done,
                _ => Self::Body(body),
            },
            Self::Done => Self::Done,
        }));
        stepped.unwrap_or(Self::Done)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_recorders_have_the_same_values_at_each_step(
        calls in vec(call(), 1..12),
        order in vec(any::<prop::sample::Index>(), 0..40),
        time_to_head in any::<bool>(),
    ) {
        quiet();
        let sdk = Sdk::new();
        let recorders = both(&sdk, time_to_head);
        let prometheus = recorders.0;
        let mut service = service(Timed::new(recorders));

        let mut running: Vec<_> = calls
            .iter()
            .map(|call| (Running::begin(&mut service, call), 0))
            .collect();
        compare(&prometheus, &sdk)?;
        for index in &order {
            let i = index.index(running.len());
            let (request, polls) = &mut running[i];
            let dropped = calls[i].fate.dropped_after == Some(*polls);
            *polls += 1;
            let taken = std::mem::replace(request, Running::Done);
            *request = if dropped { Running::Done } else { taken.step() };
            compare(&prometheus, &sdk)?;
        }
        drop(running);
        compare(&prometheus, &sdk)?;

        let in_flight = |((name, _), value): (Key, f64)| match &*name {
            "http.server.active_requests" => value,
            _ => 0.0,
        };
        prop_assert_eq!(sdk.samples().into_iter().map(in_flight).sum::<f64>(), 0.0);
    }
}

/// Sends one request with this response.
fn answered(recorder: impl Recorder, route: &'static str, status: u16) {
    let layer = MetricsLayer::builder(recorder).route(Route::fixed(route));
    let service = tower::service_fn(move |_: Request<Script>| async move {
        let response = Response::builder().status(status).body(Script::default());
        Ok::<_, Infallible>(response.unwrap())
    });
    let mut service = layer.build().unwrap().layer(service);
    let mut future = Box::pin(service.call(Request::new(Script::default())));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else {
        panic!("it answers at once");
    };
    drop(Box::pin(response.into_body()).as_mut().poll_frame(cx));
}

/// Returns the attributes of the only metric of this name.
fn attributes(sdk: &Sdk, name: &str) -> Vec<(String, String)> {
    let samples = sdk.samples();
    let mut found = samples.into_keys().filter(|(found, _)| found == name);
    let attributes = found.next().expect("it is there").1;
    assert_eq!(found.next(), None);
    attributes.into_iter().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
    pairs.iter().map(owned).collect()
}

#[test]
fn an_attribute_without_a_value_is_absent() {
    let sdk = Sdk::new();
    answered(sdk.builder().build().unwrap(), "", 200);
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
    ];
    let found = attributes(&sdk, "http.server.request.duration_count");
    assert_eq!(found, pairs(&expected));
}

#[test]
fn an_error_has_its_type() {
    let sdk = Sdk::new();
    answered(sdk.builder().scheme("https").build().unwrap(), "/a", 503);
    let expected = [
        ("error.type", "503"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "503"),
        ("http.route", "/a"),
        ("url.scheme", "https"),
    ];
    let found = attributes(&sdk, "http.server.response.body.size_count");
    assert_eq!(found, pairs(&expected));
}

#[test]
fn a_client_has_client_names() {
    let sdk = Sdk::new();
    answered(sdk.builder().client(true).build().unwrap(), "/a", 200);
    let expected = [("http.request.method", "GET"), ("url.template", "/a")];
    let found = attributes(&sdk, "http.client.active_requests");
    assert_eq!(found, pairs(&expected));
}

#[test]
fn two_layers_share_their_series() {
    let sdk = Sdk::new();
    let recorder = sdk.builder().build().unwrap();
    answered(recorder, "/a", 200);
    answered(recorder, "/a", 200);
    let samples = sdk.samples();
    let count = |((name, _), value): (&Key, &f64)| {
        (name == "http.server.request.duration_count").then_some(*value)
    };
    assert_eq!(samples.iter().filter_map(count).collect::<Vec<_>>(), [2.0]);
}

#[test]
fn both_recorders_count_the_requests_of_an_exiting_thread() {
    type Both = (Prometheus, OpenTelemetry);
    struct OnExit(Both);
    impl Drop for OnExit {
        fn drop(&mut self) {
            answered(self.0, "/a", 200);
            answered(self.0.1, "/a", 200);
            answered(self.0, "/a", 404);
        }
    }
    thread_local! {
        // Initialized before and after the crate's thread-locals, because the order of
        // destruction depends on the platform.
        static EARLY: RefCell<Option<OnExit>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<OnExit>> = const { RefCell::new(None) };
    }
    let sdk = Sdk::new();
    let prometheus = Prometheus::new();
    let both: Both = (prometheus, sdk.builder().build().unwrap());
    std::thread::spawn(move || {
        EARLY.set(Some(OnExit(both)));
        answered(both.1, "/a", 200);
        LATE.set(Some(OnExit(both)));
    })
    .join()
    .unwrap();
    let samples = Samples::of(&prometheus);
    assert_eq!((samples.requests(&[]), samples.in_flight()), (4.0, 0.0));
    let samples = sdk.samples();
    let sum = |name| {
        let of_name = samples.iter().filter(|((of, _), _)| of == name);
        of_name.map(|(_, value)| value).sum::<f64>()
    };
    assert_eq!(sum("http.server.request.duration_count"), 7.0);
    assert_eq!(sum("http.server.active_requests"), 0.0);
}

#[test]
fn an_initialized_route_shows_that_nothing_is_in_flight() {
    let sdk = Sdk::new();
    let layer = MetricsLayer::builder(sdk.builder().build().unwrap());
    let layer = layer.initialize(Method::GET, "/a", [StatusCode::OK]);
    layer.build().unwrap();
    let samples: Vec<_> = sdk.samples().into_iter().collect();
    assert_eq!(samples.len(), 1, "{samples:?}");
    assert_eq!(samples[0].0.0, "http.server.active_requests");
    assert_eq!(samples[0].1, 0.0);
}

#[test]
fn instruments_follow_the_semantic_conventions() {
    let sdk = Sdk::new();
    answered(sdk.builder().build().unwrap(), "/a", 200);
    sdk.provider.force_flush().unwrap();
    let exported = sdk.exporter.get_finished_metrics().unwrap();
    let scopes = exported
        .iter()
        .flat_map(|resource| resource.scope_metrics());
    let mut found: Vec<_> = scopes
        .flat_map(|scope| scope.metrics())
        .map(|metric| (metric.name(), metric.unit(), metric.description()))
        .collect();
    found.sort_unstable();
    let expected = [
        (
            "http.server.active_requests",
            "{request}",
            "Number of active HTTP server requests.",
        ),
        (
            "http.server.request.body.size",
            "By",
            "Size of HTTP server request bodies.",
        ),
        (
            "http.server.request.duration",
            "s",
            "Duration of HTTP server requests.",
        ),
        (
            "http.server.response.body.size",
            "By",
            "Size of HTTP server response bodies.",
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn invalid_bounds_are_rejected() {
    let sdk = Sdk::new();
    let falling = sdk.builder().duration_bounds([1.0, 0.5]).build();
    assert!(matches!(
        falling,
        Err(BuildError::FallingBounds { next: 0.5, .. })
    ));
    let infinite = sdk.builder().duration_bounds([f64::INFINITY]).build();
    assert!(matches!(infinite, Err(BuildError::Bound { .. })));
    let twice = sdk.builder().response_size_bounds([7, 7]).build();
    let told = twice.unwrap_err().to_string();
    assert!(told.contains("http.server.response.body.size"), "{told}");
}

#[test]
fn a_label_must_not_be_an_attribute_of_the_conventions() {
    let sdk = Sdk::new();
    for (names, culprit) in [
        (["tenant", "http.route"], "http.route"),
        (["url.scheme", "tenant"], "url.scheme"),
        (["tenant", "tenant"], "tenant"),
        (["tenant", ""], ""),
    ] {
        let mut layer = MetricsLayer::builder(sdk.builder().build().unwrap());
        for name in names {
            layer = layer.label(Label::from_request(name, 1, |_| None));
        }
        match layer.build().unwrap_err() {
            BuildError::Label(error) => assert_eq!(error.name, culprit),
            other => panic!("{other}"),
        }
    }
}
