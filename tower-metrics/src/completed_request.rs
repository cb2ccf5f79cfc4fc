//! Record of a completed request.

use std::time::Duration;

use http::StatusCode;

use crate::clock::Instant;
use crate::error_type::ErrorType;
use crate::grpc::GrpcStatus;
use crate::label::LabelValues;
use crate::outcome::Outcome;
use crate::trace_id::TraceId;

/// Record of a completed request, which a [`Recorder`](crate::Recorder) receives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletedRequest<'a> {
    /// How the request ended.
    pub outcome: Outcome,
    /// Status of the response, or `None` if there was no response.
    pub status: Option<StatusCode>,
    /// Why the request failed, or [`ErrorType::NONE`] if it succeeded.
    pub error_type: ErrorType,
    /// Time from the call into the service to the end of the response, or to its
    /// head for event streams, for upgrades, and if
    /// [`DurationTo::Head`](crate::DurationTo::Head) is set.
    pub duration: Duration,
    /// Time from the call into the service to the response head. `None` if there
    /// was no response, or if the recorder does not
    /// [want it](crate::Recorder::wants_time_to_head).
    pub time_to_head: Option<Duration>,
    /// Size of the request body in bytes.
    ///
    /// The exact size of the body or its `Content-Length`, at most 1 TiB, or 0 if
    /// neither is known. With
    /// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes), the
    /// number of bytes that the service has read.
    pub request_size: u64,
    /// Number of bytes of the response body that were passed on.
    pub response_size: u64,
    /// gRPC status, if gRPC is enabled and the response had one.
    pub grpc_status: Option<GrpcStatus>,
    /// Values of the layer's custom labels.
    pub labels: LabelValues<'a>,
    /// Trace of the request, if exemplars are enabled.
    pub trace_id: Option<TraceId>,
    /// When the request ended. An exemplar has this time.
    pub(crate) ended: Option<Instant>,
}

impl CompletedRequest<'_> {
    /// Record of no request.
    pub(crate) const EMPTY: Self = Self {
        outcome: Outcome::Complete,
        status: None,
        error_type: ErrorType::NONE,
        duration: Duration::ZERO,
        time_to_head: None,
        request_size: 0,
        response_size: 0,
        grpc_status: None,
        labels: LabelValues::NONE,
        trace_id: None,
        ended: None,
    };
}
