//! Error types of TLS handshakes.

use std::io;

use tokio_rustls::rustls;

use crate::error_type::ErrorType;

/// Returns why a handshake failed, as one of a few values.
pub(super) fn error_type(error: &io::Error) -> ErrorType {
    let source = error.get_ref();
    if let Some(error) = source.and_then(|source| source.downcast_ref::<rustls::Error>()) {
        return of_rustls(error);
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ErrorType::new("reset"),
        io::ErrorKind::UnexpectedEof => ErrorType::new("closed"),
        io::ErrorKind::TimedOut => ErrorType::TIMEOUT,
        _ => ErrorType::new("io_error"),
    }
}

fn of_rustls(error: &rustls::Error) -> ErrorType {
    use rustls::Error;
    ErrorType::new(match error {
        // The client rejected the certificate of the server, for example.
        Error::AlertReceived(_) => "alert_received",
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => "client_certificate",
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => "incompatible",
        // Includes plain HTTP.
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => "protocol_error",
        _ => "tls_error",
    })
}
