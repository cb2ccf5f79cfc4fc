//! Heads of requests and responses, as user-supplied functions see them.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header,
};

/// Head of a request: everything but its body.
///
/// Routes, labels and exemplars are derived from it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Target of the request.
    pub uri: &'a Uri,
    /// HTTP version.
    pub version: http::Version,
    /// Headers of the request.
    pub headers: &'a HeaderMap,
    /// Extensions, including those inserted by outer layers.
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

/// Head of a response: everything but its body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ResponseHead<'a> {
    /// Status of the response.
    pub status: StatusCode,
    /// HTTP version.
    pub version: http::Version,
    /// Headers of the response.
    pub headers: &'a HeaderMap,
    /// Extensions, including those inserted by the handler and by inner layers.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Response<B>> for ResponseHead<'a> {
    fn from(response: &'a Response<B>) -> Self {
        Self {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
            extensions: response.extensions(),
        }
    }
}

/// Returns the value of a header that may be present at most once.
///
/// A repeated header is ignored, because peers disagree on which value counts.
pub(crate) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Returns the value of a valid `Content-Length` header.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = single_value(headers, &header::CONTENT_LENGTH)?.as_bytes();
    // `parse` accepts a sign, HTTP does not.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns whether the content type is `text/event-stream`.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    has_media_type(headers, "text/event-stream")
}

/// Returns whether the content type starts with a media type, which is not
/// case-sensitive.
pub(crate) fn has_media_type(headers: &HeaderMap, media_type: &str) -> bool {
    single_value(headers, &header::CONTENT_TYPE).is_some_and(|value| {
        let start = value.as_bytes().get(..media_type.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(media_type.as_bytes()))
    })
}
