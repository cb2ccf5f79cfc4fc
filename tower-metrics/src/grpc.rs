//! gRPC status codes, by the OpenTelemetry RPC convention.

use std::fmt;

use http::{HeaderMap, HeaderName, header};

use crate::head::only_value;

/// A gRPC status code.
///
/// ```
/// # use tower_metrics::GrpcStatus;
/// assert_eq!(GrpcStatus::NOT_FOUND.to_string(), "NOT_FOUND");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrpcStatus(u8);

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl GrpcStatus {
    /// No error.
    pub const OK: Self = Self(0);
    /// The operation was cancelled, mostly by the caller.
    pub const CANCELLED: Self = Self(1);
    /// An error of which no more is known.
    pub const UNKNOWN: Self = Self(2);
    /// The caller's argument is wrong whatever the state.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// The deadline passed before the operation ended.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// What was asked for is not there.
    pub const NOT_FOUND: Self = Self(5);
    /// What was to be made is there already.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// The caller may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota or a resource is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The system is not in a state for this.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// The operation was aborted, as by a conflict.
    pub const ABORTED: Self = Self(10);
    /// The operation went past what is valid.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// The answer to a method that the server does not have.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// An invariant of the server is broken.
    pub const INTERNAL: Self = Self(13);
    /// The service cannot be reached now.
    pub const UNAVAILABLE: Self = Self(14);
    /// Data is lost or damaged for good.
    pub const DATA_LOSS: Self = Self(15);
    /// The caller is not known.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// From the number on the wire; a number outside 0 to 16 is `UNKNOWN`, as
    /// gRPC itself reads it.
    pub const fn from_code(code: u8) -> Self {
        Self(if code < 17 { code } else { 2 })
    }

    /// The number on the wire.
    #[inline]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The code's name, such as `NOT_FOUND`.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// Whether the OpenTelemetry RPC convention counts it as a server's error:
    /// `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`,
    /// `UNAVAILABLE` and `DATA_LOSS`.
    pub const fn is_server_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }

    /// `grpc-status` out of a head or out of trailers.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(&GRPC_STATUS) {
            return None;
        }
        // Several are as malformed as one that is not a number.
        let code = only_value(headers, &GRPC_STATUS)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok());
        Some(code.map_or(Self::UNKNOWN, Self::from_code))
    }
}

/// The code's name.
impl fmt::Display for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Returns whether these are the headers of a gRPC message (gRPC-Web included).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    only_value(headers, &header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Returns whether gRPC data that begins with this byte is a message, and not
/// the trailers that gRPC-Web sends as data.
///
/// The byte is the flag of a length-prefixed frame, whose highest bit marks
/// trailers. In gRPC-Web's text form it is Base64, in which such a frame begins
/// with `g`; the flag of a message is 0 or 1.
pub(crate) fn is_message(first: u8) -> bool {
    first < 0x80 && first != b'g'
}
