//! Label values and keys that distinguish the series of an endpoint.

use http::StatusCode;

use crate::completed_request::CompletedRequest;
use crate::error_type::ErrorType;
use crate::grpc::GrpcStatus;
use crate::label::LabelKey;

/// Values of the labels that distinguish the series of an endpoint, except for
/// custom labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLabels {
    pub(crate) status: Option<StatusCode>,
    pub(crate) error_type: ErrorType,
    pub(crate) grpc: Option<GrpcStatus>,
}

impl StatusLabels {
    #[inline]
    pub(crate) fn of(end: &CompletedRequest<'_>) -> Self {
        Self {
            status: end.status,
            error_type: end.error_type,
            grpc: end.grpc_status,
        }
    }

    /// Returns the values of the labels for the status and the error type. If
    /// statuses are grouped, both are the class of the status where they would be
    /// its code.
    pub(crate) fn text(&self, grouped: bool) -> (&str, &str) {
        let error_type = self.error_type.as_str();
        let Some(status) = &self.status else {
            return ("", error_type);
        };
        if !grouped {
            return (status.as_str(), error_type);
        }
        let class = status_class(*status);
        if error_type == status.as_str() {
            (class, class)
        } else {
            (class, error_type)
        }
    }
}

/// Returns the class of a status as `1xx` to `9xx`.
fn status_class(status: StatusCode) -> &'static str {
    const CLASSES: [&str; 10] = [
        "0xx", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx",
    ];
    // Codes have three digits.
    CLASSES[usize::from(status.as_u16() / 100)]
}

/// Key that identifies the labels of a completed request and is cheap to
/// compare. Different keys may have equal labels, but equal keys always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Status, gRPC status, and length of the error type.
    statuses: u64,
    /// Address of the error type, a `&'static str`.
    error_type: usize,
    labels: LabelKey,
}

impl Key {
    #[inline(always)]
    pub(crate) fn of(end: &CompletedRequest<'_>) -> Self {
        let status = end.status.map_or(0, |status| status.as_u16());
        let grpc = end.grpc_status.map_or(u8::MAX, GrpcStatus::code);
        let error_type = end.error_type.as_str();
        Self {
            statuses: u64::from(status) | u64::from(grpc) << 16 | (error_type.len() as u64) << 24,
            error_type: error_type.as_ptr().addr(),
            labels: end.labels.key(),
        }
    }
}
