//! Errors as `application/problem+json` (RFC 9457).

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::BoxError;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use ticket_core::Error;
use tower_metrics::ErrorType;

use super::{LARGEST_BODY, LARGEST_DOCUMENT};

/// The database could not do the work in time, such as for want of a connection or a lock.
pub(crate) const DATABASE_BUSY: ErrorType = ErrorType::new("database_busy");
/// The database cannot be reached or does not accept writes.
pub(crate) const DATABASE_UNAVAILABLE: ErrorType = ErrorType::new("database_unavailable");
/// The database failed during COMMIT.
pub(crate) const OUTCOME_UNKNOWN: ErrorType = ErrorType::new("outcome_unknown");
/// The server is shutting down.
pub(crate) const SHUTTING_DOWN: ErrorType = ErrorType::new("shutting_down");

/// An error as a client sees it.
///
/// `type` is stable: it names the kind of problem, and is its place on the documentation page.
/// `detail` is for people.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: Kind,
    title: &'static str,
    #[serde(serialize_with = "as_u16")]
    status: StatusCode,
    detail: Cow<'static, str>,
    /// What is wrong where, for malformed and invalid requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Field>,
    /// Tickets that are left, where too few are.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u32>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    error_type: Option<ErrorType>,
    #[serde(skip)]
    cause: Option<Cause>,
}

/// A field of the request, and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
struct Field {
    field: String,
    detail: String,
}

/// What lies behind a problem: for the log, not for the client. An extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

/// The stable kinds of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(&'static str);

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("/docs#{}", self.0))
    }
}

fn as_u16<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind: Kind(kind),
            title,
            status,
            detail: detail.into(),
            errors: Vec::new(),
            available: None,
            retry_after: None,
            error_type: None,
            cause: None,
        }
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    fn error_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = Some(error_type);
        self
    }

    fn cause(mut self, cause: String) -> Self {
        self.cause = Some(Cause(cause));
        self
    }

    fn field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(Field {
            field: field.into(),
            detail: detail.into(),
        });
        self
    }

    /// The request does not have the form that it should.
    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "The request is malformed",
            detail,
        )
    }

    /// A part of the path, the query or the headers cannot be read.
    pub(crate) fn malformed_field(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::malformed(format!("{field}: {detail}")).field(field, detail)
    }

    /// A value can be read and is not allowed.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "A value is not allowed",
            format!("{field}: {detail}"),
        )
        .field(field, detail)
    }

    /// The token is missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A token is needed",
            "this changes the server: send the admin token as `Authorization: Bearer TOKEN`",
        )
    }

    /// The server has no token and is reachable from other machines, so that it accepts no changes.
    pub(crate) fn changes_disabled() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "changes-disabled",
            "Changes are disabled",
            "without --admin-token, changes require that both --listen and --ops-listen are loopback addresses",
        )
    }

    /// The request's host name may have been rebound to this machine by an attacker.
    pub(crate) fn host_not_allowed() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "host-not-allowed",
            "Host not allowed",
            "without --admin-token, changes require a Host header with `localhost` or an IP address",
        )
    }

    /// The server is not ready to serve.
    pub(crate) fn not_ready(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            "Not ready",
            detail,
        )
        .retry_after(Duration::from_secs(1))
    }

    /// The server is at its concurrency limit.
    pub(crate) fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "The server is overloaded",
            "as many requests are in progress as the server serves at once",
        )
        .retry_after(Duration::from_secs(1))
        .error_type(ErrorType::SHED)
    }

    /// The request's body did not arrive in time.
    pub(crate) fn body_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-timeout",
            "The request body did not arrive in time",
            "the server closes this connection; send the whole request again",
        )
    }

    /// The request's body is larger than the limit.
    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!(
                "a body has at most {LARGEST_BODY} bytes, a faults document {LARGEST_DOCUMENT}"
            ),
        )
    }

    /// The request's body is not declared to be JSON.
    pub(crate) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "JSON is expected",
            "send the body as JSON with `Content-Type: application/json`",
        )
    }
}

/// No route has this path.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "There is no such thing",
        format!("nothing is served at {}", uri.path()),
    )
}

/// The path's route does not know the method.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method is not allowed",
        format!(
            "{method} is not allowed at {}: see the Allow header",
            uri.path()
        ),
    )
}

/// What the layers around a handler answer in its place.
pub(crate) async fn given_up(error: BoxError) -> Problem {
    if error.is::<tower::timeout::error::Elapsed>() {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "The request took too long",
            "the request was given up; a purchase may stand: try again with the same Idempotency-Key",
        )
        .error_type(ErrorType::TIMEOUT)
    } else {
        internal().cause(error.to_string())
    }
}

/// What a panic in a handler becomes. The panic itself is logged by the panic hook.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    internal()
        .cause(format!("panic: {message}"))
        .error_type(ErrorType::PANIC)
        .into_response()
}

fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "An error of the server",
        "the server's log has the cause under this answer's x-request-id",
    )
}

fn overloaded(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The server is overloaded",
        detail,
    )
    .retry_after(retry_after)
    .error_type(ErrorType::SHED)
}

fn unavailable(detail: String, retry_after: Duration) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "Unavailable for the moment",
        detail,
    )
    .retry_after(retry_after)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let conflict = |kind, title, detail| Self::new(StatusCode::CONFLICT, kind, title, detail);
        let soon = error.retry_after().unwrap_or(Duration::from_secs(1));
        match error {
            Error::Malformed { problem } => Self::malformed(problem),
            Error::Invalid { field, problem } => Self::invalid(&field, problem),
            Error::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no such thing",
                detail,
            ),
            Error::Declined => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "payment-declined",
                "The payment was declined",
                "nothing was bought; the same Idempotency-Key may try again",
            ),
            Error::SoldOut { available } => Self {
                available: Some(available),
                ..conflict("sold-out", "Sold out", detail)
            },
            Error::NotOnSale { .. } => conflict("not-on-sale", "Not on sale", detail),
            Error::PerBuyerLimit { .. } => {
                conflict("buyer-limit", "Too many tickets for one buyer", detail)
            }
            Error::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The idempotency key belongs to another request",
                detail,
            )
            .field("idempotency-key", "already used with another body"),
            Error::Injected { .. } => unavailable(detail, soon).error_type(ErrorType::INJECTED),
            Error::Overloaded { .. } => overloaded(detail, soon),
            Error::Busy { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "database-busy",
                "The database is busy",
                detail,
            )
            .retry_after(soon)
            .error_type(DATABASE_BUSY)
            .cause(error.report()),
            Error::Unavailable { .. } => unavailable(detail, soon)
                .error_type(DATABASE_UNAVAILABLE)
                .cause(error.report()),
            Error::OutcomeUnknown { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome-unknown",
                "The outcome is not known",
                detail,
            )
            .retry_after(soon)
            .error_type(OUTCOME_UNKNOWN)
            .cause(error.report()),
            Error::Closed => unavailable(detail, soon).error_type(SHUTTING_DOWN),
            error => internal().cause(error.report()),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                Self::too_large()
            }
            rejection => Self::malformed(rejection.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem has string keys and no maps");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: 0 would invite a storm.
            let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(error_type) = self.error_type {
            response.extensions_mut().insert(error_type);
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
