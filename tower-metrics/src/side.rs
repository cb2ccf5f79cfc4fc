//! Side of a connection that a layer is on. It decides which responses are errors.

use http::StatusCode;

use crate::error_type::ErrorType;
use crate::grpc::GrpcStatus;

/// Side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The layer wraps a server.
    Server,
    /// The layer wraps a client.
    Client,
}

impl Side {
    /// Returns the error type of a response with this status.
    ///
    /// Follows the OpenTelemetry semantic conventions for HTTP: a 4xx is an error for
    /// the client only.
    pub(crate) fn error_type(self, status: StatusCode) -> ErrorType {
        if status.is_server_error() || (self == Self::Client && status.is_client_error()) {
            ErrorType::from_status(status)
        } else {
            ErrorType::NONE
        }
    }

    /// Returns the error type of a gRPC call with this status.
    ///
    /// Follows the OpenTelemetry semantic conventions for RPC: every status but `OK`
    /// is an error for the client.
    pub(crate) fn grpc_error_type(self, status: GrpcStatus) -> ErrorType {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_is_an_error_for_the_client_only() {
        for (code, server, client) in [
            (399, "", ""),
            (404, "", "404"),
            (503, "503", "503"),
            (600, "", ""),
        ] {
            let status = StatusCode::from_u16(code).unwrap();
            assert_eq!(Side::Server.error_type(status).as_str(), server);
            assert_eq!(Side::Client.error_type(status).as_str(), client);
        }
    }
}
