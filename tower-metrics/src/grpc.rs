//! gRPC status codes, by the OpenTelemetry RPC convention.

use std::fmt;

use http::{HeaderMap, header};

/// A gRPC status code.
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
    /// The answer to a method that the server does not have.
    pub const UNIMPLEMENTED: Self = Self(12);

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
        let value = headers.get("grpc-status")?;
        let code = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Some(Self::from_code(code.unwrap_or(2)))
    }
}

impl fmt::Debug for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether these are the headers of a gRPC message (gRPC-Web included).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
