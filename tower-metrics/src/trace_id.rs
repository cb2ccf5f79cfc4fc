//! Trace ids, for exemplars.

use std::fmt;
use std::num::NonZeroU128;

use http::{HeaderMap, HeaderName};

use crate::head::only_value;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A W3C trace id: 16 bytes, not all zero, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// From the id as a big-endian number; `None` where it is 0, which the
    /// W3C calls invalid.
    pub const fn new(id: u128) -> Option<Self> {
        match NonZeroU128::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the trace ID of the W3C `traceparent` header.
    ///
    /// Returns `None` if there is no such header, more than one, or a malformed
    /// one, and if its flags say that the trace is not sampled: an exemplar
    /// would lead to a trace that no backend has.
    pub fn from_traceparent(headers: &HeaderMap) -> Option<Self> {
        let value = only_value(headers, &TRACEPARENT)?.as_bytes();
        // version "-" trace-id "-" parent-id "-" flags; later versions may
        // append, and version ff is forbidden.
        let (known, more) = value.split_at_checked(55)?;
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let version = hexadecimal(&known[..2])?;
        let fits = more.is_empty() || (version != 0 && more[0] == b'-');
        let parent = hexadecimal(&known[36..52])?;
        let sampled = hexadecimal(&known[53..])? & 1 == 1;
        if version == 0xff || !fits || parent == 0 || !sampled {
            return None;
        }
        Self::new(hexadecimal(&known[3..35])?)
    }

    /// The trace id of the current `tracing` span, as tracing-opentelemetry
    /// knows it. `None` outside of any span, without tracing-opentelemetry's
    /// layer, and where the trace is not sampled: nobody could look it up.
    ///
    /// Exemplars are asked for in the call into the service, so a span must be
    /// current there: the layer that makes the spans stands outside the
    /// metrics layer. tower-http's `TraceLayer` enters its span for that call;
    /// its default span has the level `DEBUG`, which a filter may leave out.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::Router;
    /// use tower_http::trace::TraceLayer;
    /// use tower_metrics::{MetricsLayer, Prometheus, TraceId};
    ///
    /// let metrics = MetricsLayer::builder(Prometheus::new())
    ///     .exemplars(|_| TraceId::from_current_span())
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     // Routes, then:
    ///     .layer(metrics)
    ///     // Outside: axum's last layer is the first that a request meets.
    ///     .layer(TraceLayer::new_for_http());
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    ///
    /// Asking starts the span as OpenTelemetry sees it: a parent from the
    /// request's headers must be set before, where the span is made.
    #[cfg(feature = "tracing-opentelemetry")]
    pub fn from_current_span() -> Option<Self> {
        use opentelemetry::trace::TraceContextExt as _;
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;

        let context = tracing::Span::current().context();
        let span = context.span();
        let span = span.span_context();
        if !span.is_sampled() {
            return None;
        }
        Self::new(u128::from_be_bytes(span.trace_id().to_bytes()))
    }
}

/// The number that these digits are; the W3C has them in lower case.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().unwrap());
        TraceId::from_traceparent(&headers).map(|id| id.to_string())
    }

    #[test]
    fn a_well_formed_traceparent_gives_its_trace_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            parse(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(),
            Some(id)
        );
        assert_eq!(
            parse(&format!("01-{id}-00f067aa0ba902b7-01-more")).as_deref(),
            Some(id)
        );
    }

    #[test]
    fn a_trace_that_is_not_sampled_gives_none_whatever_its_other_flags_are() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parse = |flags| parse(&format!("00-{id}-00f067aa0ba902b7-{flags}"));
        for flags in ["01", "03", "ff"] {
            assert_eq!(parse(flags).as_deref(), Some(id), "{flags}");
        }
        for flags in ["00", "02", "fe"] {
            assert_eq!(parse(flags), None, "{flags}");
        }
    }

    #[test]
    fn a_malformed_traceparent_gives_none() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for bad in [
            "",
            "00",
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            &format!("00-{id}-00f067aa0ba902b7-011"),
            &format!("00-+{}-00f067aa0ba902b7-01", &id[1..]),
            &format!("00-{id}-00f067aa0ba902b7-01-more"),
            &format!("00-{id}-{}-01", "0".repeat(16)),
            &format!("00-{id}-00f067aa0ba902bZ-01"),
            &format!("0x-{id}-00f067aa0ba902b7-01"),
            &format!("00-{id}-00f067aa0ba902b7-x1"),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
