//! Error responses as `application/problem+json` (RFC 9457).

mod examples;
pub(crate) mod table;
pub(crate) mod types;

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::BoxError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use ticket_core::Error;
use tower_metrics::ErrorType;
use utoipa::ToSchema;

pub(crate) use examples::examples;
use types::ProblemType;

/// The database did not complete the work in time, for example because no connection was available.
pub(crate) const DATABASE_BUSY: ErrorType = ErrorType::new("database_busy");
/// The database cannot be reached or does not accept writes.
pub(crate) const DATABASE_UNAVAILABLE: ErrorType = ErrorType::new("database_unavailable");
/// The database failed during COMMIT.
pub(crate) const OUTCOME_UNKNOWN: ErrorType = ErrorType::new("outcome_unknown");
/// The server is shutting down.
pub(crate) const SHUTTING_DOWN: ErrorType = ErrorType::new("shutting_down");

/// An error response.
///
/// `type` is stable and links to the description on the documentation page; `detail` is for humans.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(description = "Problem details as defined by RFC 9457.")]
pub(crate) struct Problem {
    /// Stable identifier of the problem, which links to its description.
    #[serde(rename = "type", serialize_with = "as_uri")]
    #[schema(value_type = String, format = "uri-reference")]
    problem_type: &'static ProblemType,
    title: &'static str,
    #[serde(serialize_with = "as_u16")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// Explanation of this occurrence, for humans.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// The fields that are malformed or invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(inline)]
    errors: Vec<Field>,
    /// Available tickets, if there are fewer than requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32)]
    available: Option<u32>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    error_type: Option<ErrorType>,
    #[serde(skip)]
    cause: Option<Cause>,
}

/// A field of the request with the reason why it is rejected.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Field {
    field: String,
    detail: String,
}

/// Internal cause of a problem. An extension of the response for the log, not sent to the client.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

/// Serializes the type as a relative URI reference.
fn as_uri<S: serde::Serializer>(of: &&ProblemType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("/docs#{}", of.id))
}

fn as_u16<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(problem_type: &'static ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            problem_type,
            title: problem_type.title,
            status: problem_type.status,
            detail: detail.into(),
            errors: Vec::new(),
            available: None,
            retry_after: None,
            error_type: None,
            cause: None,
        }
    }

    pub(crate) fn problem_type(&self) -> &'static ProblemType {
        self.problem_type
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

    /// The request cannot be parsed.
    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(&types::MALFORMED, detail)
    }

    /// A parameter of the path, the query or the headers cannot be parsed.
    pub(crate) fn malformed_field(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::malformed(format!("{field}: {detail}")).field(field, detail)
    }

    /// A value is well-formed but not allowed.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(&types::INVALID, format!("{field}: {detail}")).field(field, detail)
    }

    /// The token is missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            &types::UNAUTHORIZED,
            "this request changes the server and requires the admin token: `Authorization: Bearer TOKEN`",
        )
    }

    /// The server has no token and is reachable from other machines, so that it accepts no changes.
    pub(crate) fn changes_disabled() -> Self {
        Self::new(
            &types::CHANGES_DISABLED,
            "without --admin-token, changes require that both --listen and --ops-listen are loopback addresses",
        )
    }

    /// The request's host name may have been rebound to this machine by an attacker.
    pub(crate) fn host_not_allowed() -> Self {
        Self::new(
            &types::HOST_NOT_ALLOWED,
            "without --admin-token, changes require a Host header with `localhost` or an IP address",
        )
    }

    /// The server is not ready to serve.
    pub(crate) fn not_ready(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(&types::NOT_READY, detail).retry_after(Duration::from_secs(1))
    }

    /// The server is at its concurrency limit.
    pub(crate) fn overloaded() -> Self {
        Self::new(
            &types::OVERLOADED,
            "the server is at its limit of concurrent requests",
        )
        .retry_after(Duration::from_secs(1))
        .error_type(ErrorType::SHED)
    }

    /// The ops port serves as many event streams as it can.
    pub(crate) fn too_many_streams() -> Self {
        Self::new(
            &types::TOO_MANY_STREAMS,
            "close other tabs that show the live page",
        )
        .retry_after(Duration::from_secs(10))
    }

    /// Clients have left too much of the ops port's responses unread.
    pub(crate) fn too_many_unread() -> Self {
        Self::new(
            &types::TOO_MANY_UNREAD,
            "the response does not fit in the memory for unread responses",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// Too many different renderings of the metrics are requested concurrently.
    pub(crate) fn too_many_scrapes() -> Self {
        Self::new(&types::TOO_MANY_SCRAPES, "too many scrapes with different queries, Accept or Accept-Encoding headers are waiting",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// The request body did not arrive in time.
    pub(crate) fn body_timeout() -> Self {
        Self::new(
            &types::BODY_TIMEOUT,
            "the request body did not arrive in time and the connection is closed; send the request again",
        )
    }

    /// The request body is larger than the limit.
    pub(crate) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(&types::TOO_LARGE, detail)
    }

    /// The request body has a content coding.
    pub(crate) fn encoded() -> Self {
        Self::new(
            &types::UNSUPPORTED_ENCODING,
            "a compressed body is not supported: send it without `Content-Encoding`",
        )
    }

    /// The `Content-Type` of the request is not JSON.
    pub(crate) fn not_json() -> Self {
        Self::new(
            &types::UNSUPPORTED_MEDIA_TYPE,
            "expected a JSON body with `Content-Type: application/json`",
        )
    }
}

/// Responds to a path that no route matches.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        &types::NOT_FOUND,
        format!("no route matches {}", uri.path()),
    )
}

/// Responds to a method that the route does not support.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    unsupported(&method, &uri)
}

fn unsupported(method: &Method, uri: &Uri) -> Problem {
    Problem::new(
        &types::METHOD_NOT_ALLOWED,
        format!(
            "{method} is not allowed for {}, see the Allow header",
            uri.path()
        ),
    )
}

/// Converts the error of a layer into a response.
pub(crate) async fn from_layer_error(error: BoxError) -> Problem {
    if error.is::<tower::timeout::error::Elapsed>() {
        timeout()
    } else {
        internal().cause(error.to_string())
    }
}

/// Converts a panic in a handler into a response. The panic hook logs the panic itself.
pub(crate) fn from_panic(panic: Box<dyn Any + Send>) -> Response {
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

fn timeout() -> Problem {
    Problem::new(
        &types::TIMEOUT,
        "the request timed out; a purchase may have been made, so repeat it with the same Idempotency-Key",
    )
    .error_type(ErrorType::TIMEOUT)
}

fn internal() -> Problem {
    Problem::new(
        &types::INTERNAL,
        "the server's log contains the cause; search it for the x-request-id of this response",
    )
}

fn overloaded(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Problem {
    Problem::new(&types::OVERLOADED, detail)
        .retry_after(retry_after)
        .error_type(ErrorType::SHED)
}

fn unavailable(detail: String, retry_after: Duration) -> Problem {
    Problem::new(&types::UNAVAILABLE, detail).retry_after(retry_after)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let retry_after = error.retry_after().unwrap_or(Duration::from_secs(1));
        match error {
            Error::Malformed { problem } => Self::malformed(problem),
            Error::Invalid { field, problem } => Self::invalid(&field, problem),
            Error::NotFound { .. } => Self::new(&types::NOT_FOUND, detail),
            Error::Declined => Self::new(
                &types::PAYMENT_DECLINED,
                "no tickets were bought; a retry may use the same Idempotency-Key",
            ),
            Error::SoldOut { available } => Self {
                available: Some(available),
                ..Self::new(&types::SOLD_OUT, detail)
            },
            Error::NotOnSale { .. } => Self::new(&types::NOT_ON_SALE, detail),
            Error::PerBuyerLimit { .. } => Self::new(&types::BUYER_LIMIT, detail),
            Error::KeyReused => Self::new(&types::KEY_REUSED, detail).field(
                "idempotency-key",
                "already used for a request with a different body",
            ),
            Error::Injected { .. } => {
                unavailable(detail, retry_after).error_type(ErrorType::INJECTED)
            }
            Error::Overloaded { .. } => overloaded(detail, retry_after),
            Error::Busy { .. } => Self::new(&types::DATABASE_BUSY, detail)
                .retry_after(retry_after)
                .error_type(DATABASE_BUSY)
                .cause(error.report()),
            Error::Unavailable { .. } => unavailable(detail, retry_after)
                .error_type(DATABASE_UNAVAILABLE)
                .cause(error.report()),
            Error::OutcomeUnknown { .. } => Self::new(&types::OUTCOME_UNKNOWN, detail)
                .retry_after(retry_after)
                .error_type(OUTCOME_UNKNOWN)
                .cause(error.report()),
            Error::Closed => unavailable(detail, retry_after).error_type(SHUTTING_DOWN),
            error => internal().cause(error.report()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body =
            serde_json::to_vec(&self).expect("a problem has no maps and no floating-point numbers");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            // Rounded up, because `Retry-After: 0` makes clients retry immediately.
            let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // RFC 7694: a 415 has this header only if it is due to the content coding.
        if std::ptr::eq(self.problem_type, &types::UNSUPPORTED_ENCODING) {
            let identity = HeaderValue::from_static("identity");
            headers.insert(header::ACCEPT_ENCODING, identity);
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
