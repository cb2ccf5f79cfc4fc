//! Request bodies.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::problem::Problem;

/// Maximum size of a request body on the API, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// Maximum size of a faults document, in bytes. The longest list of delays fits.
pub(crate) const MAX_DOCUMENT: usize = 1024 * 1024;

/// Extractor for the bytes of a body whose `Content-Type` is JSON and that has no content coding such
/// as gzip.
///
/// The domain parses them, because its errors name the path of the field.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_identity(request.headers()) {
            return Err(Problem::encoded());
        }
        let essence = single_value(request.headers(), &header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::not_json());
        }
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(rejected)
    }
}

/// Returns the value of a header that occurs once. Which of several values an intermediary read is
/// unknown.
pub(crate) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether the body has no content coding. `identity` is a synonym for none.
fn is_identity(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    })
}

fn rejected(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(rejection.body_text()),
        _ => Problem::malformed(rejection.body_text()),
    }
}
