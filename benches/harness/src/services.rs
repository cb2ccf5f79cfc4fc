//! Services that the layers wrap.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::MatchedPath;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{Empty, Full};
use tower_service::Service;

use crate::drive::drive;

/// Header for the custom label.
pub const TENANT: HeaderName = HeaderName::from_static("x-tenant");

const RESPONSE: &[u8] = b"{\"id\": 7, \"title\": \"a concert\"}";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

thread_local! {
    static SPARE: Cell<Option<Request<Empty<Bytes>>>> = const { Cell::new(None) };
}

/// Service that responds immediately with a body of one frame. It keeps the request
/// for [`Bare::request`] to reuse, so that creating requests is not measured.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Bare {
    /// Returns a request like those that axum passes to a layer, with a
    /// `MatchedPath` and the headers for exemplars and the custom label. Each
    /// thread gets its path from a separate router, so that threads do not share
    /// its reference count.
    #[inline]
    pub fn request() -> Request<Empty<Bytes>> {
        SPARE.take().unwrap_or_else(first_request)
    }
}

#[cold]
fn first_request() -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static("/concerts/7");
    add_headers(&mut request);
    request.extensions_mut().insert(matched_path());
    request
}

/// Returns the path that a router has matched.
fn matched_path() -> MatchedPath {
    let (sender, receiver) = std::sync::mpsc::channel();
    let handler = move |path: MatchedPath| {
        let sent = sender.send(path);
        async move { sent.expect("the receiver is in this function") }
    };
    let mut app = Router::new()
        .route("/concerts/{id}", get(handler))
        .with_state(());
    drive(&mut app, request("/concerts/7"));
    receiver.recv().expect("the handler has been called")
}

fn add_headers<B>(request: &mut Request<B>) {
    let headers = request.headers_mut();
    headers.insert(TENANT, HeaderValue::from_static("acme"));
    headers.insert("traceparent", HeaderValue::from_static(TRACEPARENT));
}

impl Service<Request<Empty<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        SPARE.set(Some(request));
        ready(Ok(Response::new(Full::from(Bytes::from_static(RESPONSE)))))
    }
}

/// Returns a request for the router, with the same headers.
pub fn request(path: &'static str) -> Request<axum::body::Body> {
    let mut request = Request::new(axum::body::Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    add_headers(&mut request);
    request
}

/// Returns a router with 20 routes. Call `with_state(())` after adding the layer, as
/// `axum::serve` does. Otherwise axum applies the layer again for each request.
pub fn router() -> Router {
    const RESOURCES: [&str; 10] = [
        "concerts",
        "purchases",
        "venues",
        "artists",
        "buyers",
        "orders",
        "refunds",
        "seats",
        "prices",
        "tours",
    ];
    let respond = || async { Bytes::from_static(RESPONSE) };
    RESOURCES.iter().fold(Router::new(), |app, resource| {
        app.route(&format!("/{resource}"), get(respond))
            .route(&format!("/{resource}/{{id}}"), get(respond))
    })
}
