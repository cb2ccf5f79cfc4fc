//! gRPC status codes, following the OpenTelemetry semantic conventions for RPC.

use std::fmt;

use http::{HeaderMap, HeaderName};

use crate::head::{has_media_type, single_value};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// gRPC status code.
///
/// # Examples
///
/// ```
/// # use tower_metrics::GrpcStatus;
/// assert_eq!(GrpcStatus::from_code(5), GrpcStatus::NOT_FOUND);
/// assert_eq!(GrpcStatus::NOT_FOUND.to_string(), "NOT_FOUND");
/// assert!(GrpcStatus::UNAVAILABLE.is_server_error());
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
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The call was cancelled, usually by the caller.
    pub const CANCELLED: Self = Self(1);
    /// Unknown error.
    pub const UNKNOWN: Self = Self(2);
    /// The caller specified an invalid argument.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// The deadline expired before the call completed.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// The requested entity was not found.
    pub const NOT_FOUND: Self = Self(5);
    /// The entity to create already exists.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// The caller has no permission for the operation.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota or another resource is exhausted.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The system is not in the state that the operation requires.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// The operation was aborted, for example because of a conflict.
    pub const ABORTED: Self = Self(10);
    /// The operation was attempted past the valid range.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// The server does not implement the method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Internal error of the server.
    pub const INTERNAL: Self = Self(13);
    /// The service is currently unavailable.
    pub const UNAVAILABLE: Self = Self(14);
    /// Unrecoverable data loss or corruption.
    pub const DATA_LOSS: Self = Self(15);
    /// The caller has no valid credentials.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// Returns the status with this code.
    ///
    /// Codes above 16 are [`UNKNOWN`](Self::UNKNOWN), as the gRPC specification
    /// defines it.
    pub const fn from_code(code: u8) -> Self {
        Self(if code < 17 { code } else { 2 })
    }

    /// Returns the numeric code, from 0 to 16.
    #[inline]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the name of the code, such as `NOT_FOUND`.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// Returns whether the OpenTelemetry semantic conventions treat the status as
    /// an error of the server.
    ///
    /// These are `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`,
    /// `UNAVAILABLE` and `DATA_LOSS`.
    pub const fn is_server_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }

    /// Reads the `grpc-status` header or trailer.
    ///
    /// A value that is not a number is `UNKNOWN`, and so is a repeated header.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(&GRPC_STATUS) {
            return None;
        }
        let code = single_value(headers, &GRPC_STATUS)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
            // `parse` accepts a sign, gRPC does not.
            .filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        Some(code.map_or(Self::UNKNOWN, Self::from_code))
    }
}

/// Formats the name of the code.
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

/// Returns whether the content type is gRPC or gRPC-Web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    has_media_type(headers, "application/grpc")
}

/// Returns whether gRPC data with this first byte is a message, as opposed to the
/// trailers that gRPC-Web sends as data.
///
/// The byte is the flag of a length-prefixed frame. Its most significant bit marks
/// trailers, which are encoded as `g` in the Base64 variant of gRPC-Web.
pub(crate) fn is_message(first: u8) -> bool {
    first < 0x80 && first != b'g'
}
