//! Request bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::header;

use super::problem::Problem;

/// The bytes of a body that says it is JSON.
///
/// The domain reads them itself, because its errors name the path of a field.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let essence = kind
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::not_json());
        }
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}
