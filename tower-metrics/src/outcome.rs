//! How a request ended.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::grpc::GrpcStatus;
use crate::label::LabelValues;
use crate::trace_id::TraceId;

/// How a request ended. Every request ends exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was sent whole.
    Complete,
    /// The response future was dropped before the head: the client hung up,
    /// or a layer outside (a timeout, say) gave up.
    Cancelled,
    /// The inner service returned `Err`.
    ServiceError,
    /// The inner service, or its response body, panicked and unwound through us.
    Panic,
    /// The response body failed after the head had been sent.
    BodyError,
    /// The response body was dropped before its end: the client hung up in
    /// the middle of a download.
    BodyCancelled,
}

/// Why a request failed, as the value of the `error_type` label.
///
/// In a response's extensions it names the error, whatever the status is:
///
/// ```
/// # use tower_metrics::ErrorType;
/// let mut response = http::Response::new(());
/// *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
/// response.extensions_mut().insert(ErrorType::SHED);
/// ```
///
/// Without one a 5xx has its status code as error type, and a 4xx has none,
/// because it is the client's error; around a
/// [client](crate::MetricsLayerBuilder::client) a 4xx has its code, too.
/// [`ErrorType::NONE`] makes a response a success.
/// Values are `'static`, so that their number is bounded by the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorType(&'static str);

impl ErrorType {
    /// The empty value: no error.
    pub const NONE: Self = Self("");
    /// A panic.
    pub const PANIC: Self = Self("panic");
    /// The server's own timeout.
    pub const TIMEOUT: Self = Self("timeout");
    /// The server refused the request because it had too much to do.
    pub const SHED: Self = Self("shed");
    /// A failure injected on purpose.
    pub const INJECTED: Self = Self("injected");
    /// The inner service returned `Err` and no classifier said more.
    pub const SERVICE_ERROR: Self = Self("service_error");
    /// The response body failed after the head.
    pub const BODY_ERROR: Self = Self("body_error");
    /// The client left before the head. Not an error of the service.
    pub const CANCELLED: Self = Self("cancelled");
    /// The client left in the middle of the body. Not an error of the service.
    pub const BODY_CANCELLED: Self = Self("body_cancelled");

    /// An error type of your own, `lower_snake_case` by convention.
    pub const fn new(value: &'static str) -> Self {
        Self(value)
    }

    /// The label's value.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether this counts as an error of the service: everything but the
    /// empty value and the client's own doing.
    pub fn is_error(self) -> bool {
        !matches!(self.0, "" | "cancelled" | "body_cancelled")
    }

    /// The code itself, of a 4xx or a 5xx.
    pub(crate) fn of_code(status: StatusCode) -> Self {
        const CODES: &str = "400401402403404405406407408409\
            410411412413414415416417418419420421422423424425426427428429\
            430431432433434435436437438439440441442443444445446447448449\
            450451452453454455456457458459460461462463464465466467468469\
            470471472473474475476477478479480481482483484485486487488489\
            490491492493494495496497498499\
            500501502503504505506507508509\
            510511512513514515516517518519520521522523524525526527528529\
            530531532533534535536537538539540541542543544545546547548549\
            550551552553554555556557558559560561562563564565566567568569\
            570571572573574575576577578579580581582583584585586587588589\
            590591592593594595596597598599";
        let at = usize::from(status.as_u16().wrapping_sub(400)) * 3;
        Self(CODES.get(at..at + 3).unwrap_or_default())
    }
}

impl fmt::Debug for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorType").field(&self.0).finish()
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A way in which requests may end, known before any did.
///
/// A status stands for a response with that status and no
/// [`ErrorType`]; both together for one that carries it (around a client,
/// `404` with [`ErrorType::NONE`] is one that is expected); an error type alone
/// for a request that has no response; a gRPC status for a call that is
/// answered with it, over HTTP's 200.
///
/// ```
/// # use http::StatusCode;
/// # use tower_metrics::{InitialSeries, ErrorType, GrpcStatus};
/// let endings: [InitialSeries; 4] = [
///     StatusCode::OK.into(),
///     (StatusCode::SERVICE_UNAVAILABLE, ErrorType::SHED).into(),
///     ErrorType::CANCELLED.into(),
///     GrpcStatus::UNAVAILABLE.into(),
/// ];
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InitialSeries {
    pub(crate) status: Option<StatusCode>,
    pub(crate) error_type: ErrorType,
    pub(crate) grpc_status: Option<GrpcStatus>,
    /// The error type was not said: it follows from the statuses, and from
    /// whose requests they are.
    untold: bool,
}

impl InitialSeries {
    /// The response's status; `None` where there is no response.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Why it fails; [`ErrorType::NONE`] where it does not.
    pub fn error_type(&self) -> ErrorType {
        self.error_type
    }

    /// The gRPC status; `None` where it is not a call's.
    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        self.grpc_status
    }
}

impl From<StatusCode> for InitialSeries {
    fn from(status: StatusCode) -> Self {
        Self {
            status: Some(status),
            error_type: Side::Server.error_type_of(status),
            grpc_status: None,
            untold: true,
        }
    }
}

impl From<(StatusCode, ErrorType)> for InitialSeries {
    fn from((status, error_type): (StatusCode, ErrorType)) -> Self {
        Self {
            status: Some(status),
            error_type,
            grpc_status: None,
            untold: false,
        }
    }
}

impl From<ErrorType> for InitialSeries {
    fn from(error_type: ErrorType) -> Self {
        Self {
            status: None,
            error_type,
            grpc_status: None,
            untold: false,
        }
    }
}

impl From<GrpcStatus> for InitialSeries {
    fn from(grpc_status: GrpcStatus) -> Self {
        Self {
            status: Some(StatusCode::OK),
            error_type: Side::Server.grpc_error_type_of(grpc_status),
            grpc_status: Some(grpc_status),
            untold: true,
        }
    }
}

/// Whose requests a layer sees. It decides which answers are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those that a server answers.
    Server,
    /// Those that a client sends.
    Client,
}

impl Side {
    /// By the OpenTelemetry HTTP convention.
    #[inline]
    pub(crate) fn is_error(self, status: StatusCode) -> bool {
        status.is_server_error() || (self == Self::Client && status.is_client_error())
    }

    /// The error type of a response that tells no other.
    #[inline]
    pub(crate) fn error_type_of(self, status: StatusCode) -> ErrorType {
        if self.is_error(status) {
            ErrorType::of_code(status)
        } else {
            ErrorType::NONE
        }
    }

    /// The error type of a call that is answered with this, by the
    /// OpenTelemetry RPC convention.
    pub(crate) fn grpc_error_type_of(self, status: GrpcStatus) -> ErrorType {
        let is_error = match self {
            Self::Server => status.is_server_error(),
            Self::Client => status != GrpcStatus::OK,
        };
        if is_error {
            ErrorType::new(status.as_str())
        } else {
            ErrorType::NONE
        }
    }

    /// The way in which requests end here whose error type was not said.
    pub(crate) fn ending(self, mut ending: InitialSeries) -> InitialSeries {
        if let Some(status) = ending.status
            && std::mem::take(&mut ending.untold)
        {
            ending.error_type = match ending.grpc_status {
                Some(grpc_status) => self.grpc_error_type_of(grpc_status),
                None => self.error_type_of(status),
            };
        }
        ending
    }
}

/// All that is known of a request when it has ended; what a
/// [`Recorder`](crate::Recorder) records.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletedRequest<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// The response's status; `None` where there was no response.
    pub status: Option<StatusCode>,
    /// Why it failed; [`ErrorType::NONE`] where it did not.
    pub error_type: ErrorType,
    /// From the call into the service to the end of the response, or to its
    /// head where [`DurationTo::Head`](crate::DurationTo) says so.
    pub duration: Duration,
    /// From the call into the service to the response's head; `None` where
    /// there was no response.
    pub time_to_head: Option<Duration>,
    /// The request body's bytes: its `Content-Length` or exact size, 0 where
    /// neither is known; with
    /// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes) those that
    /// the service had read.
    pub request_size: u64,
    /// The response body's bytes, as far as they were handed on.
    pub response_size: u64,
    /// The gRPC status, where gRPC is switched on and one was sent.
    pub grpc_status: Option<GrpcStatus>,
    /// The values of the layer's custom labels.
    pub labels: LabelValues<'a>,
    /// The trace that this request belongs to, where exemplars are switched on.
    pub trace_id: Option<TraceId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_5xx_has_its_code_as_error_type_and_a_clients_4xx_too() {
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = if (500..600).contains(&code) {
                code.to_string()
            } else {
                String::new()
            };
            assert_eq!(Side::Server.error_type_of(status).as_str(), expected);
            let expected = if (400..600).contains(&code) {
                code.to_string()
            } else {
                String::new()
            };
            assert_eq!(ErrorType::of_code(status).as_str(), expected);
        }
    }

    #[test]
    fn the_clients_own_doing_is_no_error() {
        assert!(!ErrorType::NONE.is_error());
        assert!(!ErrorType::CANCELLED.is_error());
        assert!(!ErrorType::BODY_CANCELLED.is_error());
        assert!(ErrorType::PANIC.is_error());
        assert!(ErrorType::new("anything else").is_error());
    }
}
