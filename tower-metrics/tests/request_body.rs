//! Tests for counting the bytes that the service reads of request bodies.

mod fates;
mod scrape;
mod script;
mod server;

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_metrics::{
    CompletedRequest, CountRequestBytes, ErrorType, MetricsLayer, MetricsLayerBuilder, Names,
    Prometheus, Recorder, RequestBody, Route, ServiceError, Skip,
};

use self::fates::{quiet, step};
use self::scrape::Samples;
use self::script::{Script, Step, data, failure, trailers};
use self::server::{Event, Watch, connect, http1, http2, serve, with_timeout};

fn counting<R: Recorder>(recorder: R) -> MetricsLayerBuilder<R, ServiceError, CountRequestBytes> {
    MetricsLayer::builder(recorder).count_request_bytes(true)
}

fn empty() -> Full<Bytes> {
    Full::default()
}

/// Recorder that sends the size of each request.
#[derive(Clone)]
struct Sizes(mpsc::UnboundedSender<u64>);

impl Recorder for Sizes {
    type Series = ();
    type InFlight = ();

    fn series(&self, _: &'static str, _: &'static str) {}
    fn begin(&self, (): ()) {}
    fn end(&self, (): (), (): (), end: &CompletedRequest<'_>) {
        self.0.send(end.request_size).unwrap();
    }
    fn abandon(&self, (): (), (): ()) {}
}

/// Starts a server that reads requests to their end.
async fn reads_all(watch: &Watch) -> SocketAddr {
    let service = service_fn(|request: Request<RequestBody<Incoming>>| async {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(empty()))
    });
    serve(counting(watch.recorder()).build().unwrap().layer(service)).await
}

/// Reads until this many bytes have arrived.
async fn read<B: Body<Data = Bytes> + Unpin>(body: &mut B, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let Some(Ok(frame)) = body.frame().await else {
            panic!("{left} of {bytes} bytes never came");
        };
        left -= frame.into_data().map_or(0, |data| data.len());
    }
}

fn post(address: SocketAddr, body: Script) -> Request<Script> {
    let request = Request::post(format!("http://{address}/")).header("host", "test");
    request.body(body).unwrap()
}

/// Head and first chunk of a request that continues.
const BEGINNING: &[u8] =
    b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[tokio::test]
async fn a_body_of_unknown_size_is_counted_as_sent() {
    let body = || Script::new([data("hello"), Step::Pending, Step::Data(vec![0; 100_000])]);

    let mut watch = Watch::new();
    let address = reads_all(&watch).await;
    let sent = http1(address).await.send_request(post(address, body()));
    assert_eq!(with_timeout(sent).await.unwrap().status(), 200);
    assert_eq!(watch.ended("200", "").await.request_bytes(), 100_005.0);

    let mut watch = Watch::new();
    let address = reads_all(&watch).await;
    let sent = http2(address).await.send_request(post(address, body()));
    assert_eq!(with_timeout(sent).await.unwrap().status(), 200);
    assert_eq!(watch.ended("200", "").await.request_bytes(), 100_005.0);
}

#[tokio::test]
async fn around_a_client_it_is_the_number_of_bytes_sent() {
    let prometheus = Prometheus::builder()
        .names(Names::open_telemetry_client())
        .build()
        .unwrap();
    let mut watch = Watch::new();
    let address = reads_all(&watch).await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let client = counting(prometheus)
        .client(true)
        .build()
        .unwrap()
        .layer(client);
    let body = Script::chunks(&["hello", "!"]);
    let response = with_timeout(client.oneshot(post(address, body))).await;
    with_timeout(response.unwrap().into_body().collect())
        .await
        .unwrap();
    let sent = "http_client_request_body_size_bytes_sum";
    assert_eq!(Samples::of(&prometheus).sum(sent, &[]), 6.0);
    assert_eq!(watch.ended("200", "").await.request_bytes(), 6.0);
}

#[tokio::test]
async fn trailers_pass_through_and_are_not_counted_as_bytes() {
    let mut watch = Watch::new();
    let service = service_fn(|request: Request<RequestBody<Incoming>>| async {
        let body = request.into_body().collect().await?;
        let mut response = Response::new(empty());
        *response.headers_mut() = body.trailers().cloned().unwrap_or_default();
        Ok::<_, hyper::Error>(response)
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let body = Script::new([data("hello"), trailers("x-checksum", "1")]);
    let sent = http2(address).await.send_request(post(address, body));
    let response = with_timeout(sent).await.unwrap();
    assert_eq!(response.headers()["x-checksum"], "1");
    assert_eq!(watch.ended("200", "").await.request_bytes(), 5.0);
}

#[tokio::test]
async fn a_body_that_is_not_read_counts_as_zero_bytes_regardless_of_its_length() {
    let mut watch = Watch::new();
    let service = service_fn(|_: Request<RequestBody<Incoming>>| async {
        Ok::<_, io::Error>(Response::new(empty()))
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let mut stream = connect(address).await;
    let text = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 7\r\n\r\n1234567";
    stream.write_all(text).await.unwrap();
    assert_eq!(watch.ended("200", "").await.request_bytes(), 0.0);
}

#[tokio::test]
async fn a_partially_read_body_counts_as_the_bytes_read() {
    let mut watch = Watch::new();
    let service = service_fn(|request: Request<RequestBody<Incoming>>| async {
        read(&mut request.into_body(), 5).await;
        Ok::<_, io::Error>(Response::new(empty()))
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let mut stream = connect(address).await;
    stream.write_all(BEGINNING).await.unwrap();
    assert_eq!(watch.ended("200", "").await.request_bytes(), 5.0);
}

#[tokio::test]
async fn a_body_that_fails_counts_as_the_bytes_received() {
    let mut watch = Watch::new();
    let service = service_fn(|request: Request<RequestBody<Incoming>>| async {
        let failed = request.into_body().collect().await.is_err();
        let mut response = Response::new(empty());
        if failed {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        Ok::<_, io::Error>(response)
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let mut stream = connect(address).await;
    stream.write_all(BEGINNING).await.unwrap();
    stream.write_all(b"no size\r\n").await.unwrap();
    assert_eq!(watch.ended("400", "").await.request_bytes(), 5.0);
}

#[tokio::test]
async fn a_disconnect_before_the_head_counts_the_bytes_read() {
    let mut watch = Watch::new();
    let has_read = Arc::new(Notify::new());
    let notify = Arc::clone(&has_read);
    let service = service_fn(move |request: Request<RequestBody<Incoming>>| {
        let notify = Arc::clone(&notify);
        async move {
            let mut body = request.into_body();
            read(&mut body, 5).await;
            notify.notify_one();
            pending::<io::Result<Response<Script>>>().await
        }
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let body = Script::new([data("hello"), Step::Stuck]);
    let mut client = http2(address).await;
    let sent = tokio::spawn(client.send_request(post(address, body)));
    with_timeout(has_read.notified()).await;
    sent.abort();
    assert_eq!(watch.ended("", "cancelled").await.request_bytes(), 5.0);
}

/// Echoes the request body while it is still being sent.
async fn echo(content_type: &'static str) -> Samples {
    let mut watch = Watch::new();
    let service = service_fn(move |request: Request<RequestBody<Incoming>>| async move {
        let response = Response::builder().header("content-type", content_type);
        Ok::<_, io::Error>(response.body(request.into_body()).unwrap())
    });
    let layer = counting(watch.recorder()).build().unwrap();
    let address = serve(layer.layer(service)).await;
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = Request::post(format!("http://{address}/")).body(body);
    let sent = http2(address).await.send_request(request.unwrap());
    let mut answer = with_timeout(sent).await.unwrap().into_body();
    for text in ["one", "four", "nineteen"] {
        sender.send_data(text.into()).await.unwrap();
        with_timeout(read(&mut answer, text.len())).await;
    }
    drop(sender);
    let rest = with_timeout(answer.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
    watch.ended("200", "").await
}

#[tokio::test]
async fn bytes_read_after_the_head_count_until_the_response_ends() {
    for content_type in ["text/plain", "text/event-stream"] {
        let samples = echo(content_type).await;
        assert_eq!(samples.request_bytes(), 15.0, "{content_type}");
        assert_eq!(samples.response_bytes(), 15.0, "{content_type}");
    }
}

#[tokio::test]
async fn a_custom_recorder_receives_the_bytes() {
    let (sender, mut sizes) = mpsc::unbounded_channel();
    let mut watch = Watch::new();
    let recorder = (Sizes(sender), watch.recorder());
    let service = service_fn(|request: Request<RequestBody<Incoming>>| async {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(empty()))
    });
    let address = serve(counting(recorder).build().unwrap().layer(service)).await;
    let body = Script::chunks(&["hello", "!"]);
    let sent = http1(address).await.send_request(post(address, body));
    with_timeout(sent).await.unwrap();
    watch.ended("200", "").await;
    assert_eq!(sizes.recv().await, Some(6));
}

#[tokio::test]
async fn without_the_option_a_size_is_the_declared_size() {
    let mut watch = Watch::new();
    let service = service_fn(|request: Request<Incoming>| async {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(empty()))
    });
    let address = serve(MetricsLayer::new(watch.recorder()).layer(service)).await;
    let mut sender = http1(address).await;
    for body in [Script::chunks(&["hello"]), Script::chunks(&["hi"]).sized()] {
        let sent = sender.send_request(post(address, body));
        with_timeout(sent).await.unwrap();
        assert!(matches!(watch.told().await, Event::Ended(_)));
    }
    assert_eq!(watch.samples().request_bytes(), 2.0);
}

#[tokio::test]
async fn it_combines_with_a_classifier_and_other_options() {
    let prometheus = Prometheus::new();
    let layer = counting(prometheus)
        .route(Route::fixed("/a"))
        .classify_error(|_: &io::Error| ErrorType::new("upload"))
        .skip(["/b"])
        .build()
        .unwrap();
    let service = layer.layer(service_fn(|request: Request<RequestBody<Script>>| async {
        request.into_body().collect().await?;
        Ok::<_, io::Error>(Response::new(empty()))
    }));
    let request = Request::new(Script::new([data("hello"), Step::Error]));
    assert!(service.oneshot(request).await.is_err());
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("error_type", "upload")]), 1.0);
    assert_eq!(samples.request_bytes(), 5.0);
}

/// The inner service receives requests unchanged.
#[tokio::test]
async fn a_request_passes_through_unchanged() {
    let prometheus = Prometheus::new();
    let service = service_fn(|request: Request<RequestBody<Script>>| async {
        let (head, body) = request.into_parts();
        assert_eq!(head.extensions.len(), head.headers.len());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await?.to_bytes(), "hello");
        Ok::<_, io::Error>(Response::new(empty()))
    });
    let layer = counting(prometheus).build().unwrap();
    let body = || Script::chunks(&["hello"]).sized().telling_its_end();
    let left_out = Request::builder().extension(Skip).header("skip", "");
    for request in [Request::builder(), left_out] {
        let request = request.body(body()).unwrap();
        layer.layer(service).oneshot(request).await.unwrap();
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[]), 1.0);
    assert_eq!(samples.request_bytes(), 5.0);
}

#[tokio::test]
async fn reads_of_a_clone_count_and_reads_of_an_unwrapped_body_do_not() {
    let prometheus = Prometheus::new();
    let layer = counting(prometheus).build().unwrap();
    let service = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let body = request.into_body();
        let again = body.clone();
        let whole = body.into_inner();
        assert_eq!(whole.collect().await?.to_bytes(), "hello");
        assert_eq!(again.get_ref().size_hint().exact(), Some(5));
        assert_eq!(again.clone().collect().await?.to_bytes(), "hello");
        assert_eq!(again.collect().await?.to_bytes(), "hello");
        Ok::<_, std::convert::Infallible>(Response::new(empty()))
    });
    let request = Request::new(Full::from("hello"));
    layer.layer(service).oneshot(request).await.unwrap();
    assert_eq!(Samples::of(&prometheus).request_bytes(), 10.0);
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Answer,
    Error,
    Dropped,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_read_are_counted_for_every_outcome(
        steps in vec(step(), 0..8),
        polls in 0usize..10,
        ending in prop::sample::select(vec![Ending::Answer, Ending::Error, Ending::Dropped]),
    ) {
        quiet();
        let mut read = 0;
        for step in steps.iter().take(polls) {
            match step {
                Step::Data(data) => read += data.len(),
                Step::Panic => break,
                _ => {}
            }
        }
        let prometheus = Prometheus::new();
        let layer = counting(prometheus).build().unwrap();
        let mut service = layer.layer(service_fn(|request: Request<RequestBody<Script>>| async move {
            let mut body = pin!(request.into_body());
            poll_fn(|cx| {
                for _ in 0..polls {
                    let _ = body.as_mut().poll_frame(cx);
                }
                Poll::Ready(())
            })
            .await;
            match ending {
                Ending::Answer => Ok(Response::new(empty())),
                Ending::Error => Err(failure()),
                Ending::Dropped => pending().await,
            }
        }));
        let mut future = Box::pin(service.call(Request::new(Script::new(steps))));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx).is_ready()));
        drop(future);
        let samples = Samples::of(&prometheus);
        prop_assert_eq!(samples.requests(&[]), 1.0);
        prop_assert_eq!(samples.in_flight(), 0.0);
        prop_assert_eq!(samples.request_bytes(), read as f64);
    }
}

mod a_duration_from_the_body {
    use std::time::{Duration, Instant};

    use tower_metrics::DurationFrom;

    use super::*;

    /// Recorder that sends the duration and the time to the head of each request.
    struct Durations(mpsc::UnboundedSender<(Duration, Option<Duration>)>);

    impl Recorder for Durations {
        type Series = ();
        type InFlight = ();

        fn series(&self, _: &'static str, _: &'static str) {}
        fn begin(&self, (): ()) {}
        fn end(&self, (): (), (): (), end: &CompletedRequest<'_>) {
            self.0.send((end.duration, end.time_to_head)).unwrap();
        }
        fn abandon(&self, (): (), (): ()) {}
        fn wants_time_to_head(&self) -> bool {
            true
        }
    }

    /// The layer reads the real clock, which must advance.
    fn advance() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    }

    /// Durations of a request as measured by the layer and by the service.
    struct Measured {
        duration: Duration,
        time_to_head: Option<Duration>,
        /// From before the call to before the last read.
        upload: Duration,
        /// From before the call to after the end.
        whole: Duration,
    }

    /// Sends a body in two chunks, each of which takes a while to arrive.
    async fn measure(from: DurationFrom, answers: bool) -> Measured {
        let (sender, mut durations) = mpsc::unbounded_channel();
        let layer = MetricsLayer::builder(Durations(sender)).duration_from(from);
        let (last_read, mut last_reads) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<RequestBody<Script>>| {
            let last_read = last_read.clone();
            async move {
                let mut body = request.into_body();
                for _ in 0..2 {
                    advance();
                    last_read.send(Instant::now()).unwrap();
                    read(&mut body, 5).await;
                }
                if answers {
                    Ok(Response::new(Script::chunks(&["thank you"])))
                } else {
                    Err(failure())
                }
            }
        });
        let request = Request::new(Script::chunks(&["hello", "world"]));
        let start = Instant::now();
        let response = layer.build().unwrap().layer(service).oneshot(request).await;
        if answers {
            response.unwrap().into_body().collect().await.unwrap();
        }
        let whole = start.elapsed();
        let _first = last_reads.recv().await.unwrap();
        let upload = last_reads.recv().await.unwrap() - start;
        let (duration, time_to_head) = durations.recv().await.unwrap();
        Measured {
            duration,
            time_to_head,
            upload,
            whole,
        }
    }

    #[tokio::test]
    async fn does_not_contain_the_upload() {
        let request = measure(DurationFrom::Body, true).await;
        assert!(request.duration <= request.whole - request.upload);
        assert!(request.time_to_head.unwrap() <= request.duration);
        // The default contains it.
        let request = measure(DurationFrom::Head, true).await;
        assert!(request.duration >= Duration::from_millis(4));
        assert!(request.time_to_head.unwrap() >= Duration::from_millis(4));
    }

    #[tokio::test]
    async fn does_not_contain_the_upload_of_a_request_that_fails() {
        let request = measure(DurationFrom::Body, false).await;
        assert!(request.duration <= request.whole - request.upload);
        assert_eq!(request.time_to_head, None);
    }

    /// A service may ask for the body of any request, and does so when it likes.
    #[tokio::test]
    async fn starts_at_the_call_if_there_is_no_body() {
        let (sender, mut durations) = mpsc::unbounded_channel();
        let layer = MetricsLayer::builder(Durations(sender)).duration_from(DurationFrom::Body);
        let service = service_fn(|request: Request<RequestBody<Script>>| async {
            advance();
            assert!(request.into_body().frame().await.is_none());
            Ok::<_, io::Error>(Response::new(empty()))
        });
        let request = Request::new(Script::default().telling_its_end());
        layer
            .build()
            .unwrap()
            .layer(service)
            .oneshot(request)
            .await
            .unwrap();
        assert!(durations.recv().await.unwrap().0 >= Duration::from_millis(2));
    }

    #[tokio::test]
    async fn leaves_the_declared_size_unless_bytes_are_counted() {
        for counts in [false, true] {
            let prometheus = Prometheus::new();
            let layer = MetricsLayer::builder(prometheus)
                .duration_from(DurationFrom::Body)
                .count_request_bytes(counts)
                .build()
                .unwrap();
            let service = service_fn(|request: Request<RequestBody<Script>>| async {
                read(&mut request.into_body(), 5).await;
                Ok::<_, io::Error>(Response::new(empty()))
            });
            let request = Request::new(Script::chunks(&["hello", "world"]).sized());
            layer.layer(service).oneshot(request).await.unwrap();
            let expected = if counts { 5.0 } else { 10.0 };
            assert_eq!(Samples::of(&prometheus).request_bytes(), expected);
        }
    }
}
