//! How a request ended.

/// How a request ended. Every request has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was sent completely.
    Complete,
    /// The response future was dropped before the response head, because the client
    /// disconnected or an outer layer such as a timeout gave up.
    Cancelled,
    /// The inner service returned an error.
    ServiceError,
    /// The inner service or its response body panicked.
    Panic,
    /// The response body returned an error after the head had been sent.
    BodyError,
    /// The response body was dropped before its end, because the client
    /// disconnected in the middle of the response.
    BodyCancelled,
}
