//! Series that exist before their first request.

use http::StatusCode;

use crate::error_type::ErrorType;
use crate::grpc::GrpcStatus;
use crate::side::Side;

/// Result of a request whose series is exported before the first such request.
///
/// Convert it from
///
/// - a [`StatusCode`], for a response with this status and no [`ErrorType`] in its
///   extensions;
/// - a [`StatusCode`] and an [`ErrorType`], for a response that carries it (for a
///   client, `404` with [`ErrorType::NONE`] is an expected 404);
/// - an [`ErrorType`], for a request without a response;
/// - a [`GrpcStatus`], for a call with this status in a response with status 200.
///
/// See [`MetricsLayerBuilder::initialize`](crate::MetricsLayerBuilder::initialize).
///
/// # Examples
///
/// ```
/// # use http::StatusCode;
/// # use tower_metrics::{ErrorType, GrpcStatus, InitialSeries};
/// let series: [InitialSeries; 4] = [
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
    /// `true` if the error type follows from the statuses and the side of the layer.
    is_error_type_derived: bool,
}

impl InitialSeries {
    /// Returns the status of the response, or `None` if there is no response.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the error type, or [`ErrorType::NONE`] if the request succeeds.
    pub fn error_type(&self) -> ErrorType {
        self.error_type
    }

    /// Returns the gRPC status, or `None` if the request is not a gRPC call.
    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        self.grpc_status
    }

    /// Derives the error type for a layer on this side, unless it is explicit.
    pub(crate) fn on(mut self, side: Side) -> Self {
        if let Some(status) = self.status
            && std::mem::take(&mut self.is_error_type_derived)
        {
            self.error_type = match self.grpc_status {
                Some(grpc_status) => side.grpc_error_type(grpc_status),
                None => side.error_type(status),
            };
        }
        self
    }
}

impl From<StatusCode> for InitialSeries {
    fn from(status: StatusCode) -> Self {
        Self {
            status: Some(status),
            error_type: Side::Server.error_type(status),
            grpc_status: None,
            is_error_type_derived: true,
        }
    }
}

impl From<(StatusCode, ErrorType)> for InitialSeries {
    fn from((status, error_type): (StatusCode, ErrorType)) -> Self {
        Self {
            status: Some(status),
            error_type,
            grpc_status: None,
            is_error_type_derived: false,
        }
    }
}

impl From<ErrorType> for InitialSeries {
    fn from(error_type: ErrorType) -> Self {
        Self {
            status: None,
            error_type,
            grpc_status: None,
            is_error_type_derived: false,
        }
    }
}

impl From<GrpcStatus> for InitialSeries {
    fn from(grpc_status: GrpcStatus) -> Self {
        Self {
            status: Some(StatusCode::OK),
            error_type: Side::Server.grpc_error_type(grpc_status),
            grpc_status: Some(grpc_status),
            is_error_type_derived: true,
        }
    }
}
