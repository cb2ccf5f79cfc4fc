//! hyper server and clients, and a recorder that reports when a request has ended,
//! so that tests do not sleep.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::Service;
use tower_metrics::{CompletedRequest, Outcome, Prometheus, Recorder};

use crate::scrape::Samples;

/// Event of the middleware.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Ended(Outcome),
    Abandoned,
}

/// Recorder that sends events to a channel. It is the second of a pair, so that
/// the first has recorded the request when the event is sent.
#[derive(Clone, Debug)]
pub(crate) struct EventSender(mpsc::UnboundedSender<Event>);

impl EventSender {
    fn tell(&self, told: Event) {
        // Fails if the test has finished.
        let _ = self.0.send(told);
    }
}

impl Recorder for EventSender {
    type Series = ();
    type InFlight = ();

    fn series(&self, _: &'static str, _: &'static str) {}
    fn begin(&self, (): ()) {}
    fn end(&self, (): (), (): (), end: &CompletedRequest<'_>) {
        self.tell(Event::Ended(end.outcome));
    }
    fn abandon(&self, (): (), (): ()) {
        self.tell(Event::Abandoned);
    }
}

/// Recorder with a channel of events to wait for.
pub(crate) struct Watch {
    pub(crate) prometheus: Prometheus,
    teller: EventSender,
    told: mpsc::UnboundedReceiver<Event>,
}

/// Timeout of operations that take milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn with_timeout<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(TIMEOUT, future)
        .await
        .expect("it never happened")
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self::with(Prometheus::new())
    }

    pub(crate) fn with(prometheus: Prometheus) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        Self {
            prometheus,
            teller: EventSender(sender),
            told,
        }
    }

    pub(crate) fn recorder(&self) -> (Prometheus, EventSender) {
        (self.prometheus, self.teller.clone())
    }

    pub(crate) fn samples(&self) -> Samples {
        Samples::of(&self.prometheus)
    }

    pub(crate) async fn told(&mut self) -> Event {
        with_timeout(self.told.recv())
            .await
            .expect("we hold a sender")
    }

    /// Waits for one request to end, and checks that it is the only one, with
    /// this status and error type, and that none is in flight.
    #[track_caller]
    pub(crate) fn ended(
        &mut self,
        status: &str,
        error_type: &str,
    ) -> impl Future<Output = Samples> {
        let caller = std::panic::Location::caller();
        let (status, error_type) = (status.to_owned(), error_type.to_owned());
        async move {
            let told = self.told().await;
            assert!(matches!(told, Event::Ended(_)), "{told:?} at {caller}");
            self.counted_once(&status, &error_type, caller)
        }
    }

    fn counted_once(
        &mut self,
        status: &str,
        error_type: &str,
        caller: &std::panic::Location<'_>,
    ) -> Samples {
        let samples = self.samples();
        let labels = [
            ("http_response_status_code", status),
            ("error_type", error_type),
        ];
        assert_eq!(samples.requests(&[]), 1.0, "at {caller}\n{samples:#?}");
        assert_eq!(samples.requests(&labels), 1.0, "at {caller}\n{samples:#?}");
        assert_eq!(samples.in_flight(), 0.0, "at {caller}\n{samples:#?}");
        assert_eq!(
            samples.sum("http_server_response_body_size_bytes_count", &[]),
            1.0,
            "at {caller}"
        );
        assert!(self.told.try_recv().is_err(), "ended twice, at {caller}");
        samples
    }
}

/// Serves on a free port until the test's runtime shuts down.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                // Errors of connections are expected by the tests.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    with_timeout(TcpStream::connect(address)).await.unwrap()
}

pub(crate) async fn http1<B>(address: SocketAddr) -> http1::SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let io = TokioIo::new(connect(address).await);
    let (sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) async fn http2<B>(address: SocketAddr) -> http2::SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let io = TokioIo::new(connect(address).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request(method: &str, target: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "test")
        .body(Empty::new())
        .unwrap()
}

/// Sends a request over a new connection and returns the complete response, or an
/// error if the connection breaks.
pub(crate) async fn fetch(
    address: SocketAddr,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<(StatusCode, Bytes)> {
    let mut sender = http1(address).await;
    let response = with_timeout(sender.send_request(request)).await?;
    let status = response.status();
    let body = with_timeout(response.into_body().collect()).await?;
    Ok((status, body.to_bytes()))
}

pub(crate) async fn get(address: SocketAddr) -> hyper::Result<(StatusCode, Bytes)> {
    fetch(address, request("GET", "/")).await
}
