//! What a route, a label or a trace id may be made from.

use http::response::Parts;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version,
};

/// A request without its body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The extensions that layers outside have put in.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// A response without its body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The extensions that the handler and the layers inside have put in.
    pub extensions: &'a Extensions,
}

impl<'a> From<&'a Parts> for ResponseHead<'a> {
    fn from(head: &'a Parts) -> Self {
        Self {
            status: head.status,
            headers: &head.headers,
            extensions: &head.extensions,
        }
    }
}

/// Returns the value of a header that may be present at most once.
///
/// Which of several a peer would believe is unknown, so that none counts.
pub(crate) fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}
