//! Label for the version of HTTP.

use http::Version;

use crate::label::Label;
use crate::side::Side;

/// Name of the label. The OpenTelemetry recorder writes it with dots.
pub(crate) const NAME: &str = "network_protocol_version";

crate::label_enum! {
    /// Version of HTTP, as the OpenTelemetry semantic conventions write it.
    enum ProtocolVersion {
        Http10 = "1.0",
        Http11 = "1.1",
        Http2 = "2",
        Http3 = "3",
    }
}

impl ProtocolVersion {
    fn of(version: Version) -> Option<Self> {
        Some(match version {
            Version::HTTP_10 => Self::Http10,
            Version::HTTP_11 => Self::Http11,
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_3 => Self::Http3,
            _ => return None,
        })
    }
}

/// Creates the label for a layer on this side.
///
/// A client's request has the version that the program asked for, which is not the one
/// that the connection negotiated.
pub(crate) fn label(side: Side) -> Label {
    match side {
        Side::Server => Label::enum_from_request(NAME, |head| ProtocolVersion::of(head.version)),
        Side::Client => Label::enum_from_response(NAME, |head| ProtocolVersion::of(head.version)),
    }
}
