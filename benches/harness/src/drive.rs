//! Sends requests by polling by hand: no runtime, no socket, so that the layer
//! is most of what is measured.

use std::convert::Infallible;
use std::fmt::Debug;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// A service that can be driven: it answers at once.
pub trait Driven<Q>:
    Service<Request<Q>, Response = Response<Self::Body>, Error = Infallible>
{
    /// The response's body.
    type Body: Body<Error: Debug>;
}

impl<S, Q, B> Driven<Q> for S
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: Debug>,
{
    type Body = B;
}

/// Sends a request and reads the response to its end as hyper does: it does
/// not ask for more once the body says that it has ended. Returns the body's
/// bytes.
#[inline]
pub fn drive<Q>(service: &mut impl Driven<Q>, request: Request<Q>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let ready = service.poll_ready(&mut cx);
    assert!(ready.is_ready(), "the service is always ready");
    let response = {
        let mut future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
            panic!("the service answers at once");
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
            Poll::Pending => panic!("the body is there at once"),
        }
    }
    black_box(bytes)
}
