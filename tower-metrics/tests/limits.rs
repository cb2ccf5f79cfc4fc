//! Input that a client controls stays bounded: sizes, label values, routes and
//! headers, through the public API.

mod fates;
mod scrape;
mod script;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_metrics::{
    CompletedRequest, ErrorType, Label, MetricsLayer, MetricsLayerBuilder, Prometheus, Recorder,
    Route, Skip,
};

use self::fates::quiet;
use self::scrape::Samples;
use self::script::{Script, Step, data, trailers};

const OVERFLOW: &str = "tower_metrics_overflow_total";

/// Polls a body to its end and drops it.
fn read<B: Body>(body: B) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
}

/// Sends a request to a service that returns this response, and reads it.
fn send<R: Recorder>(layer: &MetricsLayer<R>, request: Request<Script>, response: Response<Script>)
where
    R::Series: Unpin,
    R::InFlight: Unpin,
{
    let mut response = Some(response);
    let mut service = layer.layer(service_fn(move |_: Request<Script>| {
        ready(Ok::<_, Infallible>(response.take().unwrap()))
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let future = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = future.poll(&mut cx) else {
        panic!("the service responds immediately");
    };
    read(response.into_body());
}

fn request(path: &str) -> Request<Script> {
    Request::builder()
        .uri(path)
        .body(Script::default())
        .unwrap()
}

fn grpc_request(path: &str) -> Request<Script> {
    let request = Request::builder().method("POST").uri(path);
    request
        .header("content-type", "application/grpc")
        .body(Script::default())
        .unwrap()
}

fn response(status: u16) -> Response<Script> {
    let response = Response::builder().status(status);
    response.body(Script::new([data("hello")])).unwrap()
}

fn grpc_response(steps: impl IntoIterator<Item = Step>) -> Response<Script> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Script::new(steps)).unwrap()
}

/// A response without a body, as an interceptor rejects a call.
fn grpc_rejection(code: &str) -> Response<Script> {
    let mut response = grpc_response([]);
    let headers = response.headers_mut();
    headers.insert("grpc-status", code.parse().unwrap());
    response.body_mut().tells_end = true;
    response
}

/// One length-prefixed message.
fn message() -> Step {
    Step::Data(vec![0, 0, 0, 0, 1, b'x'])
}

mod a_size {
    use super::*;

    fn declared(length: &str) -> Request<Script> {
        let mut request = request("/");
        let length = length.parse().unwrap();
        request.headers_mut().insert("content-length", length);
        request
    }

    #[test]
    fn that_is_only_declared_is_clamped_to_one_tebibyte() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::new(prometheus);
        let mut before = 0.0;
        for length in [i64::MAX as u64, u64::MAX, 1 << 41] {
            send(&layer, declared(&length.to_string()), response(200));
            let sum = Samples::of(&prometheus).request_bytes();
            assert_eq!(sum - before, (1_u64 << 40) as f64, "{length}");
            before = sum;
        }
        let mut sized = request("/");
        sized.body_mut().exact = Some(u64::MAX);
        send(&layer, sized, response(200));
        let sum = Samples::of(&prometheus).request_bytes();
        assert_eq!(sum - before, (1_u64 << 40) as f64);
    }

    #[test]
    fn that_is_declared_by_an_invalid_header_is_not_recorded() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::new(prometheus);
        for length in ["+7", "-7", "7.0", "", "18446744073709551616"] {
            send(&layer, declared(length), response(200));
        }
        let mut twice = declared("7");
        twice
            .headers_mut()
            .append("content-length", "8".parse().unwrap());
        send(&layer, twice, response(200));
        assert_eq!(Samples::of(&prometheus).request_bytes(), 0.0);
    }

    /// Data that claims more bytes than any machine has.
    struct Claims(u64);

    impl Buf for Claims {
        fn remaining(&self) -> usize {
            self.0 as usize
        }
        fn chunk(&self) -> &[u8] {
            b"x"
        }
        fn advance(&mut self, _: usize) {}
    }

    struct Claiming(u64, usize);

    impl Body for Claiming {
        type Data = Claims;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Claims>, Infallible>>> {
            if self.1 == 0 {
                return Poll::Ready(None);
            }
            self.1 -= 1;
            Poll::Ready(Some(Ok(Frame::data(Claims(self.0)))))
        }
    }

    fn send_claims<R: Recorder>(layer: &MetricsLayer<R>, bytes: u64, frames: usize) {
        let mut service = layer.layer(service_fn(move |_: Request<Script>| {
            ready(Ok::<_, Infallible>(Response::new(Claiming(bytes, frames))))
        }));
        let mut cx = Context::from_waker(Waker::noop());
        let future = pin!(service.call(request("/")));
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else {
            panic!("the service responds immediately");
        };
        read(response.into_body());
    }

    #[test]
    fn never_decreases_a_sum() {
        let prometheus = Prometheus::builder()
            .response_size_bounds([10, 1000])
            .build()
            .unwrap();
        let layer = MetricsLayer::new(prometheus);
        let mut before = 0.0;
        for (bytes, frames) in [(1 << 62, 1), (1 << 62, 3), (u64::MAX, 3), (1, 1)] {
            send_claims(&layer, bytes, frames);
            let samples = Samples::of(&prometheus);
            assert!(samples.response_bytes() >= before, "{bytes} {frames}");
            before = samples.response_bytes();
        }
        assert_eq!(before, u64::MAX as f64);
        assert_eq!(Samples::of(&prometheus).requests(&[]), 4.0);
    }

    /// The cells of two threads hold the maximum.
    #[test]
    fn never_decreases_a_sum_over_threads() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::new(prometheus);
        send_claims(&layer, 1 << 63, 1);
        std::thread::spawn(move || send_claims(&layer, 1 << 63, 1))
            .join()
            .unwrap();
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.response_bytes(), u64::MAX as f64);
    }

    #[cfg(feature = "opentelemetry")]
    #[test]
    fn does_not_panic_in_the_opentelemetry_sdk() {
        use opentelemetry::metrics::MeterProvider as _;
        use opentelemetry_sdk::metrics::{
            InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
        };

        let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let recorder = tower_metrics::OpenTelemetry::new(&provider.meter("tests"));
        let layer = MetricsLayer::new(recorder);
        for _ in 0..3 {
            send(&layer, declared(&i64::MAX.to_string()), response(200));
            send_claims(&layer, u64::MAX, 1);
        }
    }
}

mod a_label_value {
    use super::*;

    fn tenant() -> Label {
        Label::from_request("tenant", 1000, |head| {
            Some(head.headers.get("tenant")?.to_str().ok()?.into())
        })
    }

    #[test]
    fn longer_than_128_bytes_is_recorded_as_other_and_counted_as_an_overflow() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).label(tenant());
        let layer = layer.build().unwrap();
        let longest = "t".repeat(128);
        for (tenant, times) in [(longest.clone(), 1), ("t".repeat(129), 2)] {
            for _ in 0..times {
                let mut request = request("/");
                let tenant = tenant.parse().unwrap();
                request.headers_mut().insert("tenant", tenant);
                send(&layer, request, response(200));
            }
        }
        for number in 0..50 {
            let mut request = request("/");
            let tenant = format!("{number}{}", "t".repeat(16_000));
            let tenant = tenant.parse().unwrap();
            request.headers_mut().insert("tenant", tenant);
            send(&layer, request, response(200));
        }
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[("tenant", &longest)]), 1.0);
        assert_eq!(samples.requests(&[("tenant", "_OTHER")]), 52.0);
        assert_eq!(samples.sum(OVERFLOW, &[("limit", "tenant")]), 52.0);
        let text = prometheus
            .exposition()
            .render(tower_metrics::prometheus::Format::Text);
        assert!(text.len() < 20_000, "{} bytes", text.len());
    }
}

mod a_route {
    use super::*;

    fn path(length: usize) -> String {
        format!("/{}", "p".repeat(length - 1))
    }

    #[test]
    fn longer_than_128_bytes_is_recorded_as_other_and_counted_as_an_overflow() {
        let sources: [fn() -> Route; 3] = [
            Route::path,
            || Route::from_fn(|head| Some(head.uri.path().to_owned().into())),
            || Route::template(|head| Some(&*String::from(head.uri.path()).leak())),
        ];
        for source in sources {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::builder(prometheus).route(source()).build();
            let layer = layer.unwrap();
            for length in [128, 129, 16_000] {
                send(&layer, request(&path(length)), response(200));
            }
            let samples = Samples::of(&prometheus);
            assert_eq!(samples.requests(&[("http_route", &path(128))]), 1.0);
            assert_eq!(samples.requests(&[("http_route", "_OTHER")]), 2.0);
            assert_eq!(samples.sum(OVERFLOW, &[("limit", "routes")]), 2.0);
        }
    }

    #[test]
    fn that_is_too_long_and_does_not_exist_is_not_an_overflow() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).route(Route::path());
        let layer = layer.grpc(true).build().unwrap();
        send(&layer, request(&path(5000)), response(404));
        send(&layer, grpc_request(&path(5000)), grpc_rejection("12"));
        send(
            &layer,
            grpc_request(&path(5000)),
            grpc_response([message(), trailers("grpc-status", "0")]),
        );
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[("http_route", "")]), 2.0);
        assert_eq!(samples.sum(OVERFLOW, &[("limit", "routes")]), 1.0);
    }

    fn one_slot(route: Route) -> MetricsLayerBuilder<Prometheus> {
        MetricsLayer::builder(Prometheus::new())
            .route(route)
            .max_routes(1)
    }

    fn scan(
        build: impl Fn(Prometheus) -> MetricsLayer<Prometheus>,
        scan: impl Fn(&MetricsLayer<Prometheus>, usize),
        real: impl Fn(&MetricsLayer<Prometheus>),
        route: &str,
    ) {
        let prometheus = Prometheus::new();
        let layer = build(prometheus);
        for number in 0..10 {
            scan(&layer, number);
        }
        real(&layer);
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[("http_route", "")]), 10.0);
        assert_eq!(samples.requests(&[("http_route", route)]), 1.0);
        assert_eq!(samples.sum(OVERFLOW, &[]), 0.0);
        assert_eq!(samples.in_flight(), 0.0);
    }

    #[test]
    fn from_a_path_requires_a_successful_response() {
        for status in [301, 304, 307, 400, 401, 403, 404, 405, 429, 500, 503] {
            scan(
                |prometheus| {
                    let layer = MetricsLayer::builder(prometheus).route(Route::path());
                    layer.max_routes(1).build().unwrap()
                },
                |layer, number| send(layer, request(&format!("/{number}")), response(status)),
                |layer| send(layer, request("/real"), response(204)),
                "/real",
            );
        }
    }

    fn grpc(prometheus: Prometheus) -> MetricsLayer<Prometheus> {
        let layer = MetricsLayer::builder(prometheus).grpc(true);
        layer.max_routes(1).build().unwrap()
    }

    #[test]
    fn of_a_grpc_method_is_not_proved_by_a_rejection() {
        for code in (1..17).map(|code: u8| code.to_string()) {
            let code: &'static str = code.leak();
            let refusals: [fn(&'static str) -> Response<Script>; 4] = [
                grpc_rejection,
                |code| grpc_response([trailers("grpc-status", code)]),
                |code| grpc_response([data(""), trailers("grpc-status", code)]),
                // gRPC-Web sends its trailers as a frame.
                |_| grpc_response([Step::Data(vec![0x80, 0, 0, 0, 0])]),
            ];
            for rejection in refusals {
                scan(
                    grpc,
                    |layer, number| {
                        let call = grpc_request(&format!("/pkg.Service/aaaa{number}"));
                        send(layer, call, rejection(code));
                    },
                    |layer| {
                        send(
                            layer,
                            grpc_request("/pkg.Service/Real"),
                            grpc_rejection("0"),
                        )
                    },
                    "/pkg.Service/Real",
                );
            }
        }
    }

    #[test]
    fn of_a_grpc_method_is_proved_by_a_message_or_by_ok() {
        let proofs: [fn() -> Response<Script>; 5] = [
            || grpc_rejection("0"),
            || grpc_response([trailers("grpc-status", "0")]),
            || grpc_response([message(), trailers("grpc-status", "13")]),
            || grpc_response([data(""), message(), Step::Error]),
            || grpc_response([Step::Data(vec![1, 0, 0, 0, 0])]),
        ];
        for proof in proofs {
            let prometheus = Prometheus::new();
            send(
                &grpc(prometheus),
                grpc_request("/pkg.Service/Real"),
                proof(),
            );
            let samples = Samples::of(&prometheus);
            assert_eq!(
                samples.requests(&[("http_route", "/pkg.Service/Real")]),
                1.0
            );
            assert_eq!(samples.requests(&[]), 1.0);
            assert_eq!(samples.in_flight(), 0.0);
        }
    }

    #[test]
    fn of_a_grpc_client_gets_a_slot_without_proof() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).grpc(true).client(true);
        let call = grpc_request("/pkg.Service/Real");
        send(&layer.build().unwrap(), call, grpc_rejection("14"));
        let samples = Samples::of(&prometheus);
        assert_eq!(
            samples.requests(&[("http_route", "/pkg.Service/Real")]),
            1.0
        );
    }

    #[test]
    fn whose_function_panics_is_recorded_as_a_panic() {
        quiet();
        let sources: [fn() -> Route; 2] = [
            || Route::template(|_| panic!("a route panics on purpose")),
            || Route::from_fn(|_| panic!("a route panics on purpose")),
        ];
        for source in sources {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::builder(prometheus).route(source()).build();
            let layer = layer.unwrap();
            let sent = || send(&layer, request("/"), response(200));
            catch_unwind(AssertUnwindSafe(sent)).unwrap_err();
            let samples = Samples::of(&prometheus);
            let labels = [
                ("http_route", ""),
                ("error_type", "panic"),
                ("http_request_method", "GET"),
            ];
            assert_eq!(samples.requests(&labels), 1.0);
            assert_eq!(samples.in_flight(), 0.0);
            // Labels of a request that an outer layer excluded are not evaluated.
            let mut skipped = request("/");
            skipped.extensions_mut().insert(Skip);
            send(&layer, skipped, response(200));
            assert_eq!(Samples::of(&prometheus).requests(&[]), 1.0);
        }
    }

    #[test]
    fn of_an_excluded_request_is_not_an_overflow() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).max_routes(0);
        let layer = layer
            .route(Route::template(|_| Some("/a")))
            .build()
            .unwrap();
        let mut skipped = request("/");
        skipped.extensions_mut().insert(Skip);
        send(&layer, skipped, response(200));
        assert_eq!(Samples::of(&prometheus).sum(OVERFLOW, &[]), 0.0);
        send(&layer, request("/"), response(200));
        assert_eq!(Samples::of(&prometheus).sum(OVERFLOW, &[]), 1.0);
    }

    #[test]
    fn of_a_request_excluded_by_its_response_is_not_an_overflow() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).max_routes(0);
        let layer = layer
            .route(Route::template(|_| Some("/a")))
            .label(Label::from_request("tenant", 0, |_| Some("a".into())))
            .build()
            .unwrap();
        let mut excluded = response(200);
        excluded.extensions_mut().insert(Skip);
        send(&layer, request("/"), excluded);
        assert_eq!(Samples::of(&prometheus).sum(OVERFLOW, &[]), 0.0);
        send(&layer, request("/"), response(200));
        let samples = Samples::of(&prometheus);
        for limit in ["routes", "tenant"] {
            assert_eq!(samples.sum(OVERFLOW, &[("limit", limit)]), 1.0, "{limit}");
        }
    }

    #[test]
    fn of_an_options_request_is_not_proved_by_a_success() {
        let build = |prometheus| {
            let layer = MetricsLayer::builder(prometheus).max_routes(1);
            layer.route(Route::path()).build().unwrap()
        };
        let preflight = |layer: &MetricsLayer<Prometheus>, number| {
            let mut preflight = request(&format!("/secret{number}"));
            *preflight.method_mut() = Method::OPTIONS;
            send(layer, preflight, response(200));
        };
        let real = |layer: &MetricsLayer<Prometheus>| send(layer, request("/a"), response(200));
        scan(build, preflight, real, "/a");
    }

    #[test]
    fn that_can_never_be_recorded_is_rejected() {
        let builder = || one_slot(Route::path());
        let long = path(129);
        let refused = [
            (
                builder().skip(["healthz"]),
                r#"skip: route "healthz": must start with `/`, as all routes of this layer do"#,
            ),
            (
                builder().initialize(Method::GET, "users", [StatusCode::OK]),
                r#"initialize: route "users": must start with `/`, as all routes of this layer do"#,
            ),
            (
                builder().route_duration_to("users", tower_metrics::DurationTo::Head),
                r#"route_duration_to: route "users": must start with `/`, as all routes of this layer do"#,
            ),
            (
                builder().skip(["_OTHER"]),
                r#"skip: route "_OTHER": routes beyond the limit cannot be excluded"#,
            ),
            (
                builder().skip([long.clone()]),
                &format!("skip: route {long:?}: at most 128 bytes are allowed"),
            ),
            (
                one_slot(Route::fixed(String::from(&*long).leak())),
                &format!("route: route {long:?}: at most 128 bytes are allowed"),
            ),
        ];
        for (builder, message) in refused {
            assert_eq!(builder.build().unwrap_err().to_string(), message);
        }
        // User-supplied functions may return anything.
        let named = Route::template(|_| Some("healthz"));
        one_slot(named).skip(["healthz"]).build().unwrap();
        let fixed = one_slot(Route::fixed("healthz"));
        fixed.skip(["healthz"]).build().unwrap();
        builder().skip(["", "*"]).build().unwrap();
    }
}

mod an_enum_of_label_values {
    use tower_metrics::{LabelValue, label_enum};

    use super::*;

    label_enum! {
        /// Plan of a customer.
        pub(super) enum Plan {
            /// Without a contract.
            Free = "free",
            Paid = "paid",
        }
    }

    #[test]
    fn can_be_declared_by_a_macro() {
        assert_eq!(Plan::ALL, [Plan::Free, Plan::Paid]);
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .label(Label::enum_from_request("plan", |head| {
                head.headers.get("paid").map(|_| Plan::Paid)
            }))
            .initialize(Method::GET, "", [StatusCode::OK])
            .build()
            .unwrap();
        let mut paid = request("/");
        paid.headers_mut().insert("paid", "1".parse().unwrap());
        send(&layer, paid, response(200));
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[("plan", "paid")]), 1.0);
        // Both values and the empty one exist from the start.
        assert_eq!(
            samples.series("http_server_request_duration_seconds_count"),
            3
        );
    }
}

mod a_label_name {
    use super::*;

    #[test]
    fn reserved_by_prometheus_or_the_overflow_counter_is_rejected() {
        let refused = [
            (
                "job",
                "Prometheus sets this label itself on everything it scrapes",
            ),
            (
                "instance",
                "Prometheus sets this label itself on everything it scrapes",
            ),
            (
                "routes",
                "tower_metrics_overflow_total reserves this name for the route limit",
            ),
        ];
        for (name, why) in refused {
            let label = Label::from_request(name, 1, |_| None);
            let layer = MetricsLayer::builder(Prometheus::new()).label(label);
            let message = format!("label {name:?}: {why}");
            assert_eq!(layer.build().unwrap_err().to_string(), message);
        }
        for name in ["job", "instance"] {
            let prometheus = Prometheus::builder().constant_label(name, "shop");
            let message = format!(
                "label {name:?}: Prometheus sets this label itself on everything it scrapes"
            );
            assert_eq!(prometheus.build().unwrap_err().to_string(), message);
        }
    }
}

mod an_error_type {
    use super::*;

    #[test]
    fn in_a_response_takes_precedence_over_any_status() {
        for status in [200, 204, 302, 404, 408, 429, 500, 504] {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::new(prometheus);
            let mut timed_out = response(status);
            timed_out.extensions_mut().insert(ErrorType::TIMEOUT);
            send(&layer, request("/"), timed_out);
            let status = status.to_string();
            let labels = [
                ("http_response_status_code", &*status),
                ("error_type", "timeout"),
            ];
            assert_eq!(Samples::of(&prometheus).requests(&labels), 1.0, "{status}");
        }
    }

    #[test]
    fn in_a_grpc_response_takes_precedence_over_its_status() {
        for in_head in [true, false] {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::builder(prometheus)
                .grpc(true)
                .build()
                .unwrap();
            let mut shed = if in_head {
                grpc_rejection("14")
            } else {
                grpc_response([message(), trailers("grpc-status", "14")])
            };
            shed.extensions_mut().insert(ErrorType::SHED);
            send(&layer, grpc_request("/pkg.Service/Method"), shed);
            let labels = [("rpc_status_code", "UNAVAILABLE"), ("error_type", "shed")];
            assert_eq!(Samples::of(&prometheus).requests(&labels), 1.0);
        }
    }
}

mod an_event_stream {
    use super::*;

    fn count(steps: impl IntoIterator<Item = Step>, status: u16) -> Samples {
        quiet();
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::new(prometheus);
        let events = Response::builder().header("content-type", "text/event-stream");
        let events = events.status(status).body(Script::new(steps)).unwrap();
        let sent = || send(&layer, request("/"), events);
        let _ = catch_unwind(AssertUnwindSafe(sent));
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[]), 1.0);
        assert_eq!(samples.in_flight(), 0.0);
        samples
    }

    #[test]
    fn that_fails_is_a_body_error_and_one_that_panics_is_a_panic() {
        for status in [200, 101] {
            let fates = [
                (Step::Error, "body_error"),
                (Step::Panic, "panic"),
                (Step::Stuck, ""),
            ];
            for (last, error_type) in fates {
                let samples = count([data("data: 1\n\n"), last], status);
                assert_eq!(samples.requests(&[("error_type", error_type)]), 1.0);
                assert_eq!(samples.response_bytes(), 9.0);
            }
        }
    }
}

mod a_header {
    use super::*;

    #[test]
    fn that_must_be_unique_is_ignored_if_it_is_repeated() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .exemplars(|head| tower_metrics::TraceId::from_traceparent(head.headers))
            .build()
            .unwrap();
        let ids = [
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4bf92f3577b34da6a3ce929d0e0e4737",
        ];
        let mut twice = request("/");
        for id in ids {
            let parent = format!("00-{id}-00f067aa0ba902b7-01");
            let headers = twice.headers_mut();
            headers.append("traceparent", parent.parse().unwrap());
        }
        send(&layer, twice, response(200));
        let openmetrics = tower_metrics::prometheus::Format::OpenMetrics;
        let text = prometheus.exposition().render(openmetrics);
        assert!(!text.contains("trace_id"), "{text}");
    }

    #[test]
    fn with_a_repeated_grpc_status_is_an_unknown_status() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .grpc(true)
            .build()
            .unwrap();
        let mut twice = grpc_rejection("0");
        let headers = twice.headers_mut();
        headers.append("grpc-status", "13".parse().unwrap());
        send(&layer, grpc_request("/pkg.Service/Method"), twice);
        let labels = [("rpc_status_code", "UNKNOWN"), ("http_route", "")];
        assert_eq!(Samples::of(&prometheus).requests(&labels), 1.0);
    }

    #[test]
    fn with_a_signed_grpc_status_is_an_unknown_status() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).grpc(true);
        let layer = layer.build().unwrap();
        let malformed = ["+0", "-0", "0x0", "%30", "256", "18446744073709551616", ""];
        for code in malformed {
            let rejection = grpc_rejection(code);
            send(&layer, grpc_request("/pkg.Service/Method"), rejection);
        }
        let labels = [("rpc_status_code", "UNKNOWN"), ("http_route", "")];
        let count = malformed.len() as f64;
        assert_eq!(Samples::of(&prometheus).requests(&labels), count);
    }

    #[test]
    fn with_a_content_type_is_not_case_sensitive() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).grpc(true);
        let layer = layer.build().unwrap();
        let mut call = grpc_request("/pkg.Service/Method");
        let content_type = "Application/gRPC+proto".parse().unwrap();
        call.headers_mut().insert("content-type", content_type);
        send(&layer, call, grpc_rejection("5"));
        let labels = [("rpc_status_code", "NOT_FOUND")];
        assert_eq!(Samples::of(&prometheus).requests(&labels), 1.0);
    }

    #[test]
    fn with_a_repeated_content_type_is_not_a_grpc_call() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .grpc(true)
            .build()
            .unwrap();
        let mut twice = grpc_request("/pkg.Service/Method");
        let headers = twice.headers_mut();
        headers.append("content-type", "text/plain".parse().unwrap());
        send(&layer, twice, grpc_rejection("0"));
        let labels = [("rpc_status_code", ""), ("http_route", "")];
        assert_eq!(Samples::of(&prometheus).requests(&labels), 1.0);
    }
}

mod a_body {
    use super::*;

    /// A body that panics in `size_hint` or `is_end_stream`.
    struct Panicking {
        on_size: bool,
        frames: usize,
    }

    impl Body for Panicking {
        type Data = &'static [u8];
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<&'static [u8]>>>> {
            self.frames += 1;
            Poll::Ready(Some(Ok(Frame::data(b"some"))))
        }

        fn is_end_stream(&self) -> bool {
            assert_eq!(self.frames, 0, "a body panics on purpose");
            false
        }

        fn size_hint(&self) -> http_body::SizeHint {
            assert!(!self.on_size, "a body panics on purpose");
            http_body::SizeHint::default()
        }
    }

    fn panics(request_panics: bool) -> Samples {
        quiet();
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::new(prometheus);
        let mut service = layer.layer(service_fn(|_: Request<Panicking>| {
            let frames = 0;
            let body = Panicking {
                on_size: false,
                frames,
            };
            ready(Ok::<_, Infallible>(Response::new(body)))
        }));
        let sent = || {
            let mut cx = Context::from_waker(Waker::noop());
            let body = Panicking {
                on_size: request_panics,
                frames: 0,
            };
            let future = pin!(service.call(Request::new(body)));
            let Poll::Ready(Ok(response)) = future.poll(&mut cx) else {
                panic!("the service responds immediately");
            };
            read(response.into_body());
        };
        catch_unwind(AssertUnwindSafe(sent)).unwrap_err();
        Samples::of(&prometheus)
    }

    #[test]
    fn that_panics_outside_of_a_poll_is_recorded_as_a_panic() {
        for request_panics in [true, false] {
            let samples = panics(request_panics);
            let count = samples.requests(&[("error_type", "panic")]);
            assert_eq!(count, 1.0, "{samples:#?}");
            assert_eq!(samples.in_flight(), 0.0);
        }
    }
}

mod a_recorder {
    use super::*;

    /// A recorder of another type, whose requests have a state of another type.
    #[derive(Clone)]
    struct Nothing;

    impl Recorder for Nothing {
        type Series = ();
        type InFlight = u64;

        fn series(&self, _: &'static str, _: &'static str) {}
        fn begin(&self, (): ()) -> u64 {
            7
        }
        fn end(&self, (): (), in_flight: u64, _: &CompletedRequest<'_>) {
            assert_eq!(in_flight, 7);
        }
        fn abandon(&self, (): (), _: u64) {}
    }

    #[test]
    fn that_is_optional_records_only_if_it_is_some() {
        let prometheus = Prometheus::new();
        for recorder in [Some(prometheus), None] {
            let layer = MetricsLayer::builder(recorder)
                .route(Route::path())
                .label(Label::from_request("tenant", 0, |_| Some("a".into())))
                .initialize(Method::GET, "/a", [StatusCode::OK])
                .build()
                .unwrap();
            send(&layer, request("/b"), response(200));
            let mut skipped = response(200);
            skipped.extensions_mut().insert(Skip);
            send(&layer, request("/b"), skipped);
        }
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.requests(&[("http_route", "/b")]), 1.0);
        assert_eq!(samples.sum(OVERFLOW, &[("limit", "tenant")]), 1.0);
        assert_eq!(samples.in_flight(), 0.0);
        assert_eq!(samples.series("http_server_active_requests"), 3);
    }

    #[test]
    fn that_is_optional_rejects_the_labels_that_the_recorder_rejects() {
        let build = |recorder| {
            let label = Label::from_request("url_scheme", 1, |_| None);
            MetricsLayer::builder(recorder).label(label).build()
        };
        assert!(build(Some(Prometheus::new())).is_err());
        assert!(build(None).is_ok());
    }

    #[test]
    fn paired_with_another_type_records_every_request() {
        let prometheus = Prometheus::new();
        let (first, second) = (MetricsLayer::new(prometheus), MetricsLayer::new(Nothing));
        for _ in 0..10 {
            send(&first, request("/"), response(200));
            send(&second, request("/"), response(500));
        }
        assert_eq!(Samples::of(&prometheus).requests(&[]), 10.0);
    }
}
