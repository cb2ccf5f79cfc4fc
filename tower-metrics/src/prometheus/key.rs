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
