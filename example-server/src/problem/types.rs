//! Catalog of the problem types.

use http::StatusCode;

/// Type of a problem.
#[derive(Debug)]
pub(crate) struct ProblemType {
    /// Stable identifier: the fragment of the documentation page that describes the type.
    pub(crate) id: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// Meaning and advice to the client, in Markdown with code spans.
    pub(crate) help: &'static str,
}

macro_rules! catalog {
    ($(#[$doc:meta] $list:ident { $($name:ident = $id:literal, $status:ident, $title:literal, $help:literal;)* })*) => {
        $(
            $(
                pub(super) static $name: ProblemType = ProblemType {
                    id: $id,
                    status: StatusCode::$status,
                    title: $title,
                    help: $help,
                };
            )*

            #[$doc]
            pub(crate) static $list: &[&ProblemType] = &[$(&$name),*];
        )*
    };
}

catalog! {
    /// Types of the API, by status.
    API {
        MALFORMED = "malformed", BAD_REQUEST, "Malformed request",
            "A part of the request cannot be parsed: `errors` names the parameter or the header, and `detail` contains the position of a syntax error in the body.";
        UNAUTHORIZED = "unauthorized", UNAUTHORIZED, "Authentication required",
            "Send `Authorization: Bearer TOKEN`.";
        PAYMENT_DECLINED = "payment-declined", PAYMENT_REQUIRED, "Payment declined",
            "No tickets were bought; a retry may use the same `Idempotency-Key`.";
        CHANGES_DISABLED = "changes-disabled", FORBIDDEN, "Changes disabled",
            "The server has no admin token and is reachable from other machines.";
        HOST_NOT_ALLOWED = "host-not-allowed", FORBIDDEN, "Host not allowed",
            "The server has no admin token, and the `Host` header is neither `localhost` nor an IP address.";
        NOT_FOUND = "not-found", NOT_FOUND, "Not found",
            "The concert, the purchase or the path does not exist.";
        METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
            "The `Allow` header lists the supported methods.";
        BODY_TIMEOUT = "body-timeout", REQUEST_TIMEOUT, "Request body timeout",
            "The server closes the connection; send the request again.";
        SOLD_OUT = "sold-out", CONFLICT, "Sold out",
            "Fewer tickets are available than requested; `available` is their number.";
        NOT_ON_SALE = "not-on-sale", CONFLICT, "Not on sale",
            "The sale has not started or has ended.";
        BUYER_LIMIT = "buyer-limit", CONFLICT, "Per-buyer limit exceeded",
            "The purchase would exceed `max_per_buyer` of the concert.";
        TOO_LARGE = "too-large", PAYLOAD_TOO_LARGE, "Request body too large",
            "The limit is 65,536 bytes, and 1 MiB on the ops port.";
        UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
            "Send `Content-Type: application/json`.";
        UNSUPPORTED_ENCODING = "unsupported-encoding", UNSUPPORTED_MEDIA_TYPE, "Unsupported content coding",
            "Send the body without `Content-Encoding`: only `identity` is accepted.";
        INVALID = "invalid", UNPROCESSABLE_ENTITY, "Invalid value",
            "`errors` contains the path of the field and what is allowed.";
        KEY_REUSED = "key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
            "The `Idempotency-Key` was used for a request with a different body.";
        INTERNAL = "internal", INTERNAL_SERVER_ERROR, "Internal error",
            "The server's log contains the cause; search it for the `x-request-id` of the response.";
        UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, "Service unavailable",
            "The database is unavailable, a fault was injected, or the server is shutting down. Nothing was changed.";
        OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
            "The server is at its limit of concurrent requests or of pending purchases. Nothing was changed.";
        DATABASE_BUSY = "database-busy", SERVICE_UNAVAILABLE, "Database busy",
            "The database did not complete the work in time. Nothing was changed.";
        OUTCOME_UNKNOWN = "outcome-unknown", SERVICE_UNAVAILABLE, "Outcome unknown",
            "The database failed during COMMIT: the purchase may have been made. Repeat it with the same `Idempotency-Key`.";
        TIMEOUT = "timeout", GATEWAY_TIMEOUT, "Request timeout",
            "A purchase may have been made: repeat it with the same `Idempotency-Key`.";
    }
    /// Types that only the ops port has.
    OPS {
        NOT_READY = "not-ready", SERVICE_UNAVAILABLE, "Not ready",
            "`/readyz`: the database does not respond, its disk is full or its file is damaged, or the server is shutting down.";
        TOO_MANY_STREAMS = "too-many-streams", SERVICE_UNAVAILABLE, "Too many event streams",
            "The live page: close other tabs that show it.";
        TOO_MANY_UNREAD = "too-many-unread", SERVICE_UNAVAILABLE, "Too many unread responses",
            "Clients have left too much of earlier responses unread: read them, or close the connections.";
        TOO_MANY_SCRAPES = "too-many-scrapes", SERVICE_UNAVAILABLE, "Too many scrapes",
            "`/metrics`: too many scrapes with different queries or headers are waiting.";
    }
}
