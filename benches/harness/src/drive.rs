//! Sends requests by polling futures directly, without a runtime or a socket, so that
//! the layer accounts for most of the measured time.

use std::convert::Infallible;
use std::fmt::Debug;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// Service that responds immediately.
pub trait Driven<Q>:
    Service<Request<Q>, Response = Response<Self::Body>, Error = Infallible>
{
    /// Response body.
    type Body: Body<Error: Debug>;
}

impl<S, Q, B> Driven<Q> for S
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: Debug>,
{
    type Body = B;
}

/// Sends a request and reads the response like hyper, which stops polling the body
/// once `is_end_stream` holds. Returns the size of the body.
#[inline]
pub fn drive<Q>(service: &mut impl Driven<Q>, request: Request<Q>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let ready = service.poll_ready(&mut cx);
    assert!(ready.is_ready(), "the service is always ready");
    let response = {
        let mut future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
            panic!("the service responds immediately");
        };
        response
    };
    let mut body = pin!(black_box(response).into_body());
    let mut bytes = 0;
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => {
                let frame = frame.expect("the body does not fail");
                bytes += frame.data_ref().map_or(0, Buf::remaining);
            }
            Poll::Ready(None) => break,
            Poll::Pending => panic!("the body is immediately available"),
        }
    }
    black_box(bytes)
}
