//! Tests for outcomes over real connections: every row of the table of outcomes,
//! and every rule about the end of a response.

mod scrape;
mod script;
mod server;

use std::future::{Pending, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_metrics::{DurationTo, ErrorType, Label, MetricsLayer, Prometheus, Route, Skip};

use self::script::{Script, Step, data, failure, trailers};
use self::server::{Event, Watch, connect, fetch, get, http1, http2, request, serve, with_timeout};

fn ok(body: Script) -> Response<Script> {
    Response::new(body)
}

fn answer(status: u16, body: Script) -> Response<Script> {
    Response::builder().status(status).body(body).unwrap()
}

fn with_header(name: &str, value: &str, body: Script) -> Response<Script> {
    Response::builder().header(name, value).body(body).unwrap()
}

fn extension(error_type: Option<ErrorType>) -> Extensions {
    let mut extensions = Extensions::new();
    if let Some(error_type) = error_type {
        extensions.insert(error_type);
    }
    extensions
}

/// Starts a server that always returns this response.
async fn always(
    watch: &Watch,
    answer: impl Fn() -> Response<Script> + Send + Sync + 'static,
) -> SocketAddr {
    let answer = Arc::new(answer);
    let service = service_fn(move |_: Request<Incoming>| {
        let response = answer();
        async move { Ok::<_, io::Error>(response) }
    });
    serve(MetricsLayer::new(watch.recorder()).layer(service)).await
}

mod a_complete_response {
    use super::*;

    #[tokio::test]
    async fn a_sized_body_ends_with_its_last_byte() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::chunks(&["hel", "lo"]).sized())).await;
        assert_eq!(get(address).await.unwrap().1, "hello");
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.response_bytes(), 5.0);
    }

    #[tokio::test]
    async fn a_chunked_body_ends_with_its_last_chunk() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            ok(Script::new([
                data("one"),
                Step::Pending,
                data("two"),
                Step::Pending,
            ]))
        })
        .await;
        assert_eq!(get(address).await.unwrap().1, "onetwo");
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.response_bytes(), 6.0);
    }

    #[tokio::test]
    async fn a_body_that_reports_its_end_ends_with_its_last_frame() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::chunks(&["one"]).telling_its_end())).await;
        assert_eq!(get(address).await.unwrap().1, "one");
        watch.ended("200", "").await;
    }

    /// File servers set the header but no size hint, and hyper drops the body
    /// after as many bytes.
    #[tokio::test]
    async fn a_body_whose_size_is_only_in_a_header_ends_with_its_last_byte() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            with_header("content-length", "5", Script::chunks(&["hel", "lo"]))
        })
        .await;
        assert_eq!(get(address).await.unwrap().1, "hello");
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.response_bytes(), 5.0);
    }

    #[tokio::test]
    async fn an_empty_body_that_does_not_report_its_end_ends_with_the_head() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::default().sized())).await;
        assert_eq!(get(address).await.unwrap().1, "");
        watch.ended("200", "").await;
    }

    #[tokio::test]
    async fn a_body_with_a_content_length_of_zero_ends_with_the_head() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            with_header("content-length", "0", Script::default())
        })
        .await;
        assert_eq!(get(address).await.unwrap().1, "");
        watch.ended("200", "").await;
    }

    #[tokio::test]
    async fn trailers_end_a_response() {
        let mut watch = Watch::new();
        // The body does not report its end after the trailers.
        let address = always(&watch, || {
            let steps = [data("one"), trailers("x-checksum", "1"), Step::Stuck];
            with_header("trailer", "x-checksum", Script::new(steps))
        })
        .await;
        let mut wanted = request("GET", "/");
        wanted
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let response = http1(address).await.send_request(wanted).await.unwrap();
        let body = with_timeout(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-checksum"], "1");
        watch.ended("200", "").await;
    }

    #[tokio::test]
    async fn a_response_to_head_ends_with_its_head() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::chunks(&["hello"]).sized())).await;
        let (status, body) = fetch(address, request("HEAD", "/")).await.unwrap();
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.requests(&[("http_request_method", "HEAD")]), 1.0);
        assert_eq!(samples.response_bytes(), 0.0);
    }

    #[tokio::test]
    async fn head_and_connect_end_with_their_head_even_for_grpc() {
        for method in [Method::HEAD, Method::CONNECT] {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::builder(prometheus).grpc(true).build();
            let service = service_fn(|_: Request<Script>| async {
                Ok::<_, io::Error>(ok(Script::chunks(&["never sent"])))
            });
            let request = Request::builder()
                .method(method)
                .uri("/package.Service/Method")
                .header("content-type", "application/grpc")
                .body(Script::default());
            drop(
                layer
                    .unwrap()
                    .layer(service)
                    .oneshot(request.unwrap())
                    .await,
            );
            let samples = scrape::Samples::of(&prometheus);
            assert_eq!(samples.requests(&[("error_type", "")]), 1.0);
            assert_eq!(samples.in_flight(), 0.0);
        }
    }

    #[tokio::test]
    async fn head_ends_with_its_head_if_it_is_not_recorded_individually() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).methods([Method::GET]);
        let layer = layer.build().unwrap();
        // The second request finds what the first one has created.
        for _ in 0..2 {
            let service = service_fn(|_: Request<Script>| async {
                Ok::<_, io::Error>(ok(Script::chunks(&["never sent"]).sized()))
            });
            let request = Request::builder().method(Method::HEAD);
            let request = request.body(Script::default()).unwrap();
            drop(layer.layer(service).oneshot(request).await);
        }
        let samples = scrape::Samples::of(&prometheus);
        let of_head = [("http_request_method", "_OTHER"), ("error_type", "")];
        assert_eq!(samples.requests(&of_head), 2.0);
        assert_eq!(samples.in_flight(), 0.0);
    }

    #[tokio::test]
    async fn statuses_without_a_body_end_with_the_head() {
        let bodies: [fn() -> Script; 2] = [
            || Script::chunks(&[]),
            || Script::chunks(&["never sent"]).sized(),
        ];
        for (status, body) in [204, 304].into_iter().flat_map(|s| bodies.map(|b| (s, b))) {
            let mut watch = Watch::new();
            let address = always(&watch, move || answer(status, body())).await;
            assert_eq!(get(address).await.unwrap().0, status);
            watch.ended(&status.to_string(), "").await;
        }
    }

    #[tokio::test]
    async fn http_2_ends_responses_like_http_1() {
        let bodies: [fn() -> Script; 4] = [
            || Script::chunks(&["hel", "lo"]).sized(),
            || Script::chunks(&["hel", "lo"]),
            || Script::chunks(&["hello"]).telling_its_end(),
            || Script::new([data("hello"), trailers("x-checksum", "1")]),
        ];
        for body in bodies {
            let mut watch = Watch::new();
            let address = always(&watch, move || ok(body())).await;
            let url = format!("http://{address}/");
            let response = http2(address)
                .await
                .send_request(request("GET", &url))
                .await;
            let body = with_timeout(response.unwrap().into_body().collect())
                .await
                .unwrap();
            assert_eq!(body.to_bytes(), "hello");
            let samples = watch.ended("200", "").await;
            assert_eq!(samples.response_bytes(), 5.0);
        }
    }

    #[tokio::test]
    async fn a_connection_that_stays_open_counts_every_request() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::chunks(&["hello"]).sized())).await;
        let mut sender = http1(address).await;
        for _ in 0..10 {
            sender.ready().await.unwrap();
            let response = sender.send_request(request("GET", "/")).await.unwrap();
            response.into_body().collect().await.unwrap();
            watch.told().await;
        }
        let samples = watch.samples();
        assert_eq!(samples.requests(&[("error_type", "")]), 10.0);
        assert_eq!(samples.in_flight(), 0.0);
    }

    #[tokio::test]
    async fn a_4xx_is_an_error_only_with_an_error_type() {
        for (error_type, label) in [(None, ""), (Some(ErrorType::TIMEOUT), "timeout")] {
            let mut watch = Watch::new();
            let address = always(&watch, move || {
                let mut response = answer(408, Script::default());
                response.extensions_mut().extend(extension(error_type));
                response
            })
            .await;
            get(address).await.unwrap();
            watch.ended("408", label).await;
        }
    }

    #[tokio::test]
    async fn a_5xx_is_an_error_named_after_its_code() {
        let mut watch = Watch::new();
        let address = always(&watch, || answer(503, Script::chunks(&["no"]).sized())).await;
        get(address).await.unwrap();
        watch.ended("503", "503").await;
    }

    #[tokio::test]
    async fn a_5xx_has_the_error_type_of_its_extension() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            let mut response = answer(503, Script::default());
            response.extensions_mut().insert(ErrorType::SHED);
            response
        })
        .await;
        get(address).await.unwrap();
        watch.ended("503", "shed").await;
    }

    #[tokio::test]
    async fn the_size_of_a_request_is_its_content_length() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::default().sized())).await;
        let mut stream = connect(address).await;
        let text = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 7\r\n\r\n1234567";
        stream.write_all(text).await.unwrap();
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.request_bytes(), 7.0);
    }
}

mod a_client_that_disconnects {
    use super::*;

    /// Starts a service that notifies of its request and never responds.
    async fn never_answers(watch: &Watch) -> (SocketAddr, Arc<Notify>) {
        let has_request = Arc::new(Notify::new());
        let notify = Arc::clone(&has_request);
        let service = service_fn(move |_: Request<Incoming>| {
            notify.notify_one();
            pending::<Result<Response<Script>, io::Error>>()
        });
        let address = serve(MetricsLayer::new(watch.recorder()).layer(service)).await;
        (address, has_request)
    }

    #[tokio::test]
    async fn before_the_head_is_counted_as_cancelled() {
        let mut watch = Watch::new();
        let (address, has_request) = never_answers(&watch).await;
        let mut stream = connect(address).await;
        let text = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
        stream.write_all(text).await.unwrap();
        with_timeout(has_request.notified()).await;
        assert_eq!(watch.samples().in_flight(), 1.0);
        drop(stream);
        watch.ended("", "cancelled").await;
    }

    #[tokio::test]
    async fn in_the_middle_of_a_body_is_counted_with_the_bytes_so_far() {
        let sizes: [fn(Script) -> Script; 2] = [
            |body| body,
            |mut body| {
                body.exact = Some(100);
                body
            },
        ];
        for size in sizes {
            let mut watch = Watch::new();
            let address = always(&watch, move || {
                ok(size(Script::new([data("some"), Step::Stuck])))
            })
            .await;
            let response = http1(address).await.send_request(request("GET", "/")).await;
            let mut body = response.unwrap().into_body();
            let frame = with_timeout(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "some");
            drop(body);
            let samples = watch.ended("200", "body_cancelled").await;
            assert_eq!(samples.response_bytes(), 4.0);
        }
    }

    #[tokio::test]
    async fn during_an_endless_download_is_counted() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            ok(Script::new(
                (0..10_000).map(|_| Step::Data(vec![b'x'; 1 << 16])),
            ))
        })
        .await;
        let mut stream = connect(address).await;
        let text = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
        stream.write_all(text).await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        drop(stream);
        watch.ended("200", "body_cancelled").await;
    }

    #[tokio::test]
    async fn by_an_http_2_reset_before_the_head_is_counted_as_cancelled() {
        let mut watch = Watch::new();
        let (address, has_request) = never_answers(&watch).await;
        let mut sender = http2(address).await;
        let wanted = request("GET", &format!("http://{address}/"));
        let response = tokio::spawn(async move {
            let response = sender.send_request(wanted);
            // Keeps the connection open while the request is reset.
            (response.await, sender)
        });
        with_timeout(has_request.notified()).await;
        response.abort();
        watch.ended("", "cancelled").await;
    }

    #[tokio::test]
    async fn by_an_http_2_reset_in_the_body_is_counted_as_body_cancelled() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::new([data("some"), Step::Stuck]))).await;
        let mut sender = http2(address).await;
        let wanted = request("GET", &format!("http://{address}/"));
        let mut body = sender.send_request(wanted).await.unwrap().into_body();
        with_timeout(body.frame()).await.unwrap().unwrap();
        drop(body);
        watch.ended("200", "body_cancelled").await;
        drop(sender);
    }

    #[tokio::test]
    async fn an_outer_timeout_is_counted_as_cancelled() {
        let mut watch = Watch::new();
        let service =
            service_fn(|_: Request<Incoming>| pending::<Result<Response<Script>, io::Error>>());
        let service = ServiceBuilder::new()
            .timeout(Duration::ZERO)
            .layer(MetricsLayer::new(watch.recorder()))
            .service(service);
        // hyper closes the connection when the service returns an error.
        assert!(get(serve(service).await).await.is_err());
        watch.ended("", "cancelled").await;
    }
}

mod an_open_ended_response {
    use super::*;

    fn events() -> Response<Script> {
        with_header(
            "content-type",
            "text/event-stream; charset=utf-8",
            Script::new([data("data: 1\n\n"), Step::Stuck]),
        )
    }

    #[tokio::test]
    async fn an_event_stream_is_in_flight_until_its_end_but_its_duration_ends_at_the_head() {
        let mut watch = Watch::new();
        let address = always(&watch, events).await;
        let sent = std::time::Instant::now();
        let response = http1(address).await.send_request(request("GET", "/")).await;
        let mut body = response.unwrap().into_body();
        with_timeout(body.frame()).await.unwrap().unwrap();

        let open = watch.samples();
        assert_eq!(open.requests(&[]), 0.0);
        assert_eq!(open.in_flight(), 1.0);
        let opened = std::time::Instant::now();
        while opened.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }

        // A disconnect is the ordinary end of a stream.
        drop(body);
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.response_bytes(), 9.0);
        let seconds = "http_server_request_duration_seconds_sum";
        assert!(samples.sum(seconds, &[]) < sent.elapsed().as_secs_f64() - 0.02);
    }

    #[tokio::test]
    async fn an_event_stream_that_ends_is_complete() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            with_header(
                "content-type",
                "Text/Event-Stream",
                Script::chunks(&["data: 1\n\n"]),
            )
        })
        .await;
        get(address).await.unwrap();
        watch.ended("200", "").await;
    }

    #[tokio::test]
    async fn an_event_stream_that_fails_is_a_body_error() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            let steps = [data("data: 1\n\n"), Step::Error];
            with_header("content-type", "text/event-stream", Script::new(steps))
        })
        .await;
        assert!(get(address).await.is_err());
        watch.ended("200", "body_error").await;
    }

    #[tokio::test]
    async fn the_head_of_an_event_stream_has_no_stream() {
        let mut watch = Watch::new();
        let address = always(&watch, events).await;
        fetch(address, request("HEAD", "/")).await.unwrap();
        watch.ended("200", "").await;
    }

    #[tokio::test]
    async fn an_upgrade_is_not_a_cancellation() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            let response = Response::builder().status(101);
            let response = response
                .header("connection", "upgrade")
                .header("upgrade", "echo");
            response.body(Script::default()).unwrap()
        })
        .await;
        let mut wanted = request("GET", "/");
        wanted
            .headers_mut()
            .insert("connection", "upgrade".parse().unwrap());
        wanted
            .headers_mut()
            .insert("upgrade", "echo".parse().unwrap());
        let response = http1(address).await.send_request(wanted).await.unwrap();
        assert_eq!(response.status(), 101);
        with_timeout(hyper::upgrade::on(response)).await.unwrap();
        watch.ended("101", "").await;
    }

    #[tokio::test]
    async fn a_tunnel_is_not_a_cancellation() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::default())).await;
        let response = http1(address)
            .await
            .send_request(request("CONNECT", "host:1"))
            .await;
        with_timeout(hyper::upgrade::on(response.unwrap()))
            .await
            .unwrap();
        let samples = watch.ended("200", "").await;
        assert_eq!(samples.requests(&[("http_request_method", "CONNECT")]), 1.0);
    }

    #[tokio::test]
    async fn a_tunnel_that_is_refused_is_an_ordinary_response() {
        let mut watch = Watch::new();
        let address = always(&watch, || answer(403, Script::chunks(&["no"]))).await;
        fetch(address, request("CONNECT", "host:1")).await.unwrap();
        watch.ended("403", "").await;
    }
}

mod a_failure {
    use super::*;

    #[tokio::test]
    async fn of_the_service_is_a_service_error() {
        let mut watch = Watch::new();
        let service =
            service_fn(|_: Request<Incoming>| async { Err::<Response<Script>, _>(failure()) });
        let address = serve(MetricsLayer::new(watch.recorder()).layer(service)).await;
        assert!(get(address).await.is_err());
        watch.ended("", "service_error").await;
    }

    #[tokio::test]
    async fn of_the_service_has_the_type_of_the_classifier() {
        let mut watch = Watch::new();
        let service = service_fn(|_: Request<Incoming>| async {
            Err::<Response<Script>, _>(io::Error::from(io::ErrorKind::TimedOut))
        });
        let layer = MetricsLayer::builder(watch.recorder())
            .classify_error(|error: &io::Error| match error.kind() {
                io::ErrorKind::TimedOut => ErrorType::TIMEOUT,
                _ => ErrorType::SERVICE_ERROR,
            })
            .build()
            .unwrap();
        assert!(get(serve(layer.layer(service)).await).await.is_err());
        watch.ended("", "timeout").await;
    }

    #[tokio::test]
    async fn of_a_body_is_a_body_error() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::new([data("some"), Step::Error]))).await;
        assert!(get(address).await.is_err());
        let samples = watch.ended("200", "body_error").await;
        assert_eq!(samples.response_bytes(), 4.0);
    }

    #[tokio::test]
    async fn to_be_ready_belongs_to_no_request() {
        #[derive(Clone)]
        struct NeverReady;
        impl Service<Request<Incoming>> for NeverReady {
            type Response = Response<Script>;
            type Error = io::Error;
            type Future = Pending<io::Result<Response<Script>>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(failure()))
            }
            fn call(&mut self, _: Request<Incoming>) -> Self::Future {
                pending()
            }
        }
        let watch = Watch::new();
        let address = serve(MetricsLayer::new(watch.recorder()).layer(NeverReady)).await;
        assert!(get(address).await.is_err());
        assert_eq!(watch.samples().requests(&[]), 0.0);
        assert_eq!(watch.samples().in_flight(), 0.0);
    }
}

mod a_panic {
    use super::*;

    fn in_poll()
    -> impl Service<Request<Incoming>, Response = Response<Script>, Error = BoxError, Future: Send>
    + Clone {
        service_fn(|_: Request<Incoming>| async {
            if true {
                panic!("a handler panics on purpose");
            }
            Ok(ok(Script::default()))
        })
    }

    #[tokio::test]
    async fn in_the_future_breaks_the_connection_and_is_counted() {
        let mut watch = Watch::new();
        let address = serve(MetricsLayer::new(watch.recorder()).layer(in_poll())).await;
        assert!(get(address).await.is_err());
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn in_call_is_counted() {
        #[derive(Clone)]
        struct PanicsInCall;
        impl Service<Request<Incoming>> for PanicsInCall {
            type Response = Response<Script>;
            type Error = io::Error;
            type Future = Pending<io::Result<Response<Script>>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, _: Request<Incoming>) -> Self::Future {
                panic!("a service panics on purpose")
            }
        }
        let mut watch = Watch::new();
        let address = serve(MetricsLayer::new(watch.recorder()).layer(PanicsInCall)).await;
        assert!(get(address).await.is_err());
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn in_the_body_is_counted_with_its_status() {
        let mut watch = Watch::new();
        let address = always(&watch, || ok(Script::new([data("some"), Step::Panic]))).await;
        assert!(get(address).await.is_err());
        let samples = watch.ended("200", "panic").await;
        assert_eq!(samples.response_bytes(), 4.0);
    }

    #[tokio::test]
    async fn in_a_classifier_is_counted() {
        let mut watch = Watch::new();
        let service =
            service_fn(|_: Request<Incoming>| async { Err::<Response<Script>, _>(failure()) });
        let layer = MetricsLayer::builder(watch.recorder())
            .classify_error(|_| panic!("a classifier panics on purpose"))
            .build()
            .unwrap();
        assert!(get(serve(layer.layer(service)).await).await.is_err());
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn in_a_label_of_the_response_is_counted() {
        let mut watch = Watch::new();
        let service =
            service_fn(|_: Request<Incoming>| async { Ok::<_, io::Error>(ok(Script::default())) });
        let label = Label::from_response("plan", 1, |_| panic!("a label panics on purpose"));
        let layer = MetricsLayer::builder(watch.recorder()).label(label).build();
        assert!(
            get(serve(layer.unwrap().layer(service)).await)
                .await
                .is_err()
        );
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn in_a_label_of_a_grpc_response_has_no_grpc_status() {
        let mut watch = Watch::new();
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, io::Error>(with_header("grpc-status", "13", Script::default()))
        });
        let label = Label::from_response("plan", 1, |_| panic!("a label panics on purpose"));
        let layer = MetricsLayer::builder(watch.recorder()).grpc(true);
        let address = serve(layer.label(label).build().unwrap().layer(service)).await;
        let mut call = request("POST", "/package.Service/Method");
        let grpc = "application/grpc".parse().unwrap();
        call.headers_mut().insert("content-type", grpc);
        assert!(fetch(address, call).await.is_err());
        let samples = watch.ended("", "panic").await;
        assert_eq!(samples.requests(&[("rpc_status_code", "")]), 1.0);
    }

    #[tokio::test]
    async fn in_a_label_of_the_request_is_counted() {
        let mut watch = Watch::new();
        let service =
            service_fn(|_: Request<Incoming>| async { Ok::<_, io::Error>(ok(Script::default())) });
        let label = Label::from_request("plan", 1, |_| panic!("a label panics on purpose"));
        let layer = MetricsLayer::builder(watch.recorder()).label(label).build();
        assert!(
            get(serve(layer.unwrap().layer(service)).await)
                .await
                .is_err()
        );
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn that_an_outer_layer_catches_is_counted() {
        let mut watch = Watch::new();
        let service = ServiceBuilder::new()
            .layer(CatchPanicLayer::new())
            .layer(MetricsLayer::new(watch.recorder()))
            .service(in_poll());
        let (status, _) = get(serve(service).await).await.unwrap();
        assert_eq!(status, 500);
        watch.ended("", "panic").await;
    }

    #[tokio::test]
    async fn that_an_inner_layer_catches_is_an_ordinary_response() {
        let mut watch = Watch::new();
        let service = ServiceBuilder::new()
            .layer(MetricsLayer::new(watch.recorder()))
            .layer(CatchPanicLayer::new())
            .service(in_poll());
        get(serve(service).await).await.unwrap();
        watch.ended("500", "500").await;
    }

    #[tokio::test]
    async fn that_an_inner_layer_catches_can_set_the_error_type() {
        let mut watch = Watch::new();
        let answer = |_: Box<dyn std::any::Any + Send>| {
            let mut response = answer(500, Script::chunks(&["sorry"]).sized());
            response.extensions_mut().insert(ErrorType::PANIC);
            response
        };
        let service = ServiceBuilder::new()
            .layer(MetricsLayer::new(watch.recorder()))
            .layer(CatchPanicLayer::custom(answer))
            .service(in_poll());
        get(serve(service).await).await.unwrap();
        watch.ended("500", "panic").await;
    }
}

mod an_excluded_request {
    use super::*;

    async fn nothing_is_counted(watch: &Watch) {
        let samples = watch.samples();
        assert_eq!(samples.requests(&[]), 0.0);
        assert_eq!(samples.in_flight(), 0.0);
    }

    #[tokio::test]
    async fn by_a_list() {
        let watch = Watch::new();
        let routes = [Route::fixed("/healthz"), Route::path()];
        for route in routes {
            let layer = MetricsLayer::builder(watch.recorder())
                .route(route)
                .skip(["/healthz"])
                .build()
                .unwrap();
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, io::Error>(ok(Script::chunks(&["ok"])))
            });
            let address = serve(layer.layer(service)).await;
            fetch(address, request("GET", "/healthz")).await.unwrap();
            nothing_is_counted(&watch).await;
            assert_eq!(watch.samples().series("http_server_active_requests"), 0);
        }
    }

    #[tokio::test]
    async fn by_an_extension_of_the_request() {
        let watch = Watch::new();
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, io::Error>(ok(Script::chunks(&["ok"])))
        });
        let service = ServiceBuilder::new()
            .map_request(|mut request: Request<Incoming>| {
                request.extensions_mut().insert(Skip);
                request
            })
            .layer(MetricsLayer::new(watch.recorder()))
            .service(service);
        get(serve(service).await).await.unwrap();
        nothing_is_counted(&watch).await;
    }

    #[tokio::test]
    async fn by_an_extension_of_the_response() {
        let mut watch = Watch::new();
        let address = always(&watch, || {
            let mut response = ok(Script::chunks(&["ok"]));
            response.extensions_mut().insert(Skip);
            response
        })
        .await;
        get(address).await.unwrap();
        assert_eq!(watch.told().await, Event::Abandoned);
        nothing_is_counted(&watch).await;
    }

    #[tokio::test]
    async fn whose_service_fails_is_not_classified() {
        let watch = Watch::new();
        let service =
            service_fn(|_: Request<Script>| async { Err::<Response<Script>, _>(failure()) });
        let layer = MetricsLayer::builder(watch.recorder())
            .classify_error(|_| panic!("an excluded request is not classified"))
            .build()
            .unwrap();
        let mut request = Request::new(Script::default());
        request.extensions_mut().insert(Skip);
        assert!(layer.layer(service).oneshot(request).await.is_err());
        nothing_is_counted(&watch).await;
    }
}

mod a_duration {
    use super::*;

    const SECONDS: &str = "http_server_request_duration_seconds_sum";
    const HEAD_SECONDS: &str = "http_server_time_to_head_seconds_sum";

    /// Returns the duration and the time to head of a response whose body takes
    /// at least 2 ms after the head.
    async fn of_a_slow_body(to: DurationTo, only_route: bool) -> (f64, f64) {
        let prometheus = Prometheus::builder().time_to_head(true).build().unwrap();
        let mut watch = Watch::with(prometheus);
        let builder = MetricsLayer::builder(watch.recorder()).route(Route::fixed("/slow"));
        let layer = if only_route {
            // The route's setting takes precedence, and the last one counts.
            let other = match to {
                DurationTo::Head => DurationTo::Body,
                _ => DurationTo::Head,
            };
            let builder = builder.duration_to(other).route_duration_to("/slow", other);
            builder.route_duration_to("/slow", to).build().unwrap()
        } else {
            builder.duration_to(to).build().unwrap()
        };
        let response = layer
            .layer(service_fn(|_: Request<Script>| async {
                Ok::<_, io::Error>(ok(Script::chunks(&["some"])))
            }))
            .oneshot(Request::new(Script::default()))
            .await
            .unwrap();
        // The layer reads the real clock, which must advance.
        let head = std::time::Instant::now();
        while head.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        response.into_body().collect().await.unwrap();
        let samples = watch.ended("200", "").await;
        assert_eq!(
            samples.sum("http_server_time_to_head_seconds_count", &[]),
            1.0
        );
        (samples.sum(SECONDS, &[]), samples.sum(HEAD_SECONDS, &[]))
    }

    #[tokio::test]
    async fn runs_to_the_end_of_the_body() {
        for only_route in [false, true] {
            let (whole, head) = of_a_slow_body(DurationTo::Body, only_route).await;
            assert!(whole >= head + 0.002, "{whole} {head}");
        }
    }

    #[tokio::test]
    async fn runs_to_the_head_if_configured() {
        for only_route in [false, true] {
            let (whole, head) = of_a_slow_body(DurationTo::Head, only_route).await;
            assert_eq!(whole, head);
        }
    }

    #[tokio::test]
    async fn of_a_request_without_response_has_no_head() {
        let prometheus = Prometheus::builder().time_to_head(true).build().unwrap();
        let mut watch = Watch::with(prometheus);
        let service =
            service_fn(|_: Request<Script>| async { Err::<Response<Script>, _>(failure()) });
        let service = MetricsLayer::new(watch.recorder()).layer(service);
        service
            .oneshot(Request::new(Script::default()))
            .await
            .unwrap_err();
        let samples = watch.ended("", "service_error").await;
        assert_eq!(
            samples.sum("http_server_time_to_head_seconds_count", &[]),
            0.0
        );
    }
}

#[tokio::test]
async fn unknown_methods_are_one_series() {
    let mut watch = Watch::new();
    let address = always(&watch, || ok(Script::default().sized())).await;
    for method in ["BREW", "PROPFIND", "get", "QUERY"] {
        fetch(address, request(method, "/")).await.unwrap();
        watch.told().await;
    }
    let samples = watch.samples();
    assert_eq!(samples.requests(&[("http_request_method", "_OTHER")]), 3.0);
    assert_eq!(samples.requests(&[("http_request_method", "QUERY")]), 1.0);
    assert_eq!(samples.series("http_server_active_requests"), 2);
}
