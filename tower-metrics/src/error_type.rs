//! Error types, the values of the label `error_type`.

use std::fmt;

use http::StatusCode;

/// Why a request failed: the value of the label `error_type`.
///
/// An error type in the extensions of a response takes precedence over the status,
/// regardless of the status. Without it, the error type of a 5xx is its status code.
/// A 4xx has none, because it is the client's error; around a
/// [client](crate::MetricsLayerBuilder::client), it is the status code as well.
/// [`ErrorType::NONE`] marks a response as a success.
///
/// Values are `&'static str`, so their number is bounded by the program.
///
/// # Examples
///
/// ```
/// # use tower_metrics::ErrorType;
/// let mut response = http::Response::new(());
/// *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
/// response.extensions_mut().insert(ErrorType::SHED);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorType(&'static str);

impl ErrorType {
    /// Empty value: the request did not fail.
    pub const NONE: Self = Self("");
    /// The service panicked.
    pub const PANIC: Self = Self("panic");
    /// The server's own timeout elapsed.
    pub const TIMEOUT: Self = Self("timeout");
    /// The server rejected the request because it was overloaded.
    pub const SHED: Self = Self("shed");
    /// A failure was injected deliberately.
    pub const INJECTED: Self = Self("injected");
    /// The inner service returned an error that no classifier maps to another type.
    pub const SERVICE_ERROR: Self = Self("service_error");
    /// The response body failed after the head.
    pub const BODY_ERROR: Self = Self("body_error");
    /// The client disconnected before the response head. Not an error of the
    /// service.
    pub const CANCELLED: Self = Self("cancelled");
    /// The client disconnected in the middle of the response body. Not an error of
    /// the service.
    pub const BODY_CANCELLED: Self = Self("body_cancelled");

    /// Creates a custom error type, in `lower_snake_case` by convention.
    pub const fn new(value: &'static str) -> Self {
        Self(value)
    }

    /// Returns the value of the label.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Returns whether the request counts as an error of the service.
    ///
    /// All values do, except the empty one, `cancelled` and `body_cancelled`.
    pub fn is_error(self) -> bool {
        !matches!(self.0, "" | "cancelled" | "body_cancelled")
    }

    /// Returns the code of a 4xx or 5xx status as the error type.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        const CODES: &str = "400401402403404405406407408409\
            410411412413414415416417418419420421422423424425426427428429\
            430431432433434435436437438439440441442443444445446447448449\
            450451452453454455456457458459460461462463464465466467468469\
            470471472473474475476477478479480481482483484485486487488489\
            490491492493494495496497498499\
            500501502503504505506507508509\
            510511512513514515516517518519520521522523524525526527528529\
            530531532533534535536537538539540541542543544545546547548549\
            550551552553554555556557558559560561562563564565566567568569\
            570571572573574575576577578579580581582583584585586587588589\
            590591592593594595596597598599";
        let at = usize::from(status.as_u16().wrapping_sub(400)) * 3;
        Self(CODES.get(at..at + 3).unwrap_or_default())
    }
}

impl fmt::Debug for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorType").field(&self.0).finish()
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_4xx_and_5xx_has_its_code_as_error_type() {
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = match code {
                400..600 => code.to_string(),
                _ => String::new(),
            };
            assert_eq!(ErrorType::from_status(status).as_str(), expected);
        }
    }

    #[test]
    fn a_cancellation_by_the_client_is_not_an_error() {
        assert!(!ErrorType::NONE.is_error());
        assert!(!ErrorType::CANCELLED.is_error());
        assert!(!ErrorType::BODY_CANCELLED.is_error());
        assert!(ErrorType::PANIC.is_error());
        assert!(ErrorType::new("anything else").is_error());
    }
}
