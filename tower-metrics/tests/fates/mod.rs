//! Random fates of requests, and a service that enacts them.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::io;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use http::{Request, Response};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tower::Service;
use tower_metrics::{ErrorType, Skip};

use crate::script::{Script, Step, failure, trailers};

/// Fate of a request.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) request_bytes: u64,
    pub(crate) skipped: bool,
    pub(crate) panics_in_call: bool,
    /// Number of times that the future is pending before it is ready.
    pub(crate) pending: usize,
    pub(crate) end: FutureEnd,
    /// Number of polls of the future and the body before the request is dropped.
    pub(crate) dropped_after: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum FutureEnd {
    Panic,
    Error,
    Response(Answer),
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) error_type: Option<ErrorType>,
    pub(crate) skipped: bool,
    pub(crate) event_stream: bool,
    pub(crate) length_in_header: bool,
    pub(crate) body: Script,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2000).prop_map(|bytes| Step::Data(vec![b'x'; bytes])),
        2 => Just(Step::Pending),
        1 => Just(trailers("x-checksum", "1")),
        1 => Just(Step::Error),
        1 => Just(Step::Panic),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    (vec(step(), 0..5), any::<bool>(), any::<bool>()).prop_map(|(steps, sized, tells_end)| {
        let mut script = Script::new(steps);
        if sized {
            script = script.sized();
        }
        script.tells_end = tells_end;
        script
    })
}

fn answer() -> impl Strategy<Value = FutureEnd> {
    let status = prop_oneof![
        4 => Just(200),
        1 => prop::sample::select(vec![101u16, 204, 304, 404, 429, 500, 503, 599]),
    ];
    let error_type = prop::sample::select(vec![ErrorType::SHED, ErrorType::TIMEOUT]);
    let rarely = || prop::bool::weighted(0.15);
    (
        status,
        option::of(error_type),
        rarely(),
        rarely(),
        rarely(),
        script(),
    )
        .prop_map(
            |(status, error_type, skipped, event_stream, length_in_header, body)| {
                FutureEnd::Response(Answer {
                    status,
                    error_type,
                    skipped,
                    event_stream,
                    length_in_header,
                    body,
                })
            },
        )
}

pub(crate) fn fate() -> impl Strategy<Value = Fate> {
    let method = vec!["GET", "GET", "GET", "POST", "HEAD", "CONNECT", "BREW"];
    let route = vec!["", "/a", "/b", "/c/{id}", "/d", "/skipped"];
    (
        prop::sample::select(method),
        prop::sample::select(route),
        0u64..1000,
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.05),
        0usize..3,
        prop_oneof![8 => answer(), 1 => Just(FutureEnd::Error), 1 => Just(FutureEnd::Panic)],
        option::weighted(0.3, 0usize..8),
    )
        .prop_map(
            |(
                method,
                route,
                request_bytes,
                skipped,
                panics_in_call,
                pending,
                end,
                dropped_after,
            )| {
                Fate {
                    method,
                    route,
                    request_bytes,
                    skipped,
                    panics_in_call,
                    pending,
                    end,
                    dropped_after,
                }
            },
        )
}

/// Service that enacts the fate in the request's extensions.
#[derive(Clone)]
pub(crate) struct Inner;

impl Service<Request<Script>> for Inner {
    type Response = Response<Script>;
    type Error = io::Error;
    type Future = InnerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Script>) -> InnerFuture {
        let fate = request.extensions().get::<Fate>().unwrap().clone();
        assert!(!fate.panics_in_call, "a service panics on purpose");
        InnerFuture(fate)
    }
}

pub(crate) struct InnerFuture(Fate);

impl Future for InnerFuture {
    type Output = io::Result<Response<Script>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0.pending > 0 {
            self.0.pending -= 1;
            return Poll::Pending;
        }
        Poll::Ready(match &self.0.end {
            FutureEnd::Panic => panic!("a future panics on purpose"),
            FutureEnd::Error => Err(failure()),
            FutureEnd::Response(answer) => Ok(answer.response()),
        })
    }
}

impl Answer {
    pub(crate) fn response(&self) -> Response<Script> {
        let mut response = Response::builder().status(self.status);
        if self.event_stream {
            response = response.header("content-type", "text/event-stream");
        }
        if self.length_in_header {
            let length = self.body.clone().sized().exact.unwrap();
            response = response.header("content-length", length);
        }
        let mut response = response.body(self.body.clone()).unwrap();
        if let Some(error_type) = self.error_type {
            response.extensions_mut().insert(error_type);
        }
        if self.skipped {
            response.extensions_mut().insert(Skip);
        }
        response
    }
}

impl Fate {
    pub(crate) fn request(&self) -> Request<Script> {
        let body = Script {
            exact: Some(self.request_bytes),
            ..Script::default()
        };
        let mut request = Request::builder()
            .method(self.method)
            .uri(if self.route.is_empty() { "/" } else { "/x" })
            .body(body)
            .unwrap();
        if self.skipped {
            request.extensions_mut().insert(Skip);
        }
        request.extensions_mut().insert(self.clone());
        request
    }
}

/// Silences the output of intentional panics.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.contains("on purpose")) {
                usual(info);
            }
        }));
    });
}
