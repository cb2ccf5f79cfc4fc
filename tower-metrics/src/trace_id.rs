//! Trace IDs, for exemplars.

use std::fmt;
use std::num::NonZeroU128;

use http::{HeaderMap, HeaderName};

use crate::head::{RequestHead, single_value};

/// Function that returns the trace ID of a request.
pub(crate) type TraceIdFn = Box<dyn Fn(&RequestHead<'_>) -> Option<TraceId> + Send + Sync>;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// W3C trace ID: 16 bytes, not all zero.
///
/// [`Display`](fmt::Display) formats it as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Creates a trace ID from a big-endian number.
    ///
    /// Returns `None` for 0, which the W3C recommendation defines as invalid.
    pub const fn new(id: u128) -> Option<Self> {
        match NonZeroU128::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    #[cfg(feature = "prometheus")]
    pub(crate) const fn get(self) -> u128 {
        self.0.get()
    }

    /// Returns the trace ID of the W3C `traceparent` header.
    ///
    /// Returns `None` if the header is missing, repeated or malformed, or if its
    /// flags say that the trace is not sampled: its exemplar would refer to a trace
    /// that no backend has.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_metrics::TraceId;
    /// let mut headers = http::HeaderMap::new();
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// headers.insert("traceparent", parent.parse()?);
    /// let id = TraceId::from_traceparent(&headers).unwrap();
    /// assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// # Ok::<_, http::header::InvalidHeaderValue>(())
    /// ```
    pub fn from_traceparent(headers: &HeaderMap) -> Option<Self> {
        let value = single_value(headers, &TRACEPARENT)?.as_bytes();
        // version "-" trace-id "-" parent-id "-" flags. Later versions may append
        // fields, and version ff is forbidden.
        let (fields, rest) = value.split_at_checked(55)?;
        if fields[2] != b'-' || fields[35] != b'-' || fields[52] != b'-' {
            return None;
        }
        let [version, flags] = [&fields[..2], &fields[53..]];
        let ends = [
            b'0', b'0', b'0', b'0', version[0], version[1], flags[0], flags[1],
        ];
        let ends = parse_eight(ends)?;
        let (version, flags) = (ends >> 8, ends & 0xff);
        let is_length_valid = rest.is_empty() || (version != 0 && rest[0] == b'-');
        let parent = parse_hex(&fields[36..52])?;
        let is_sampled = flags & 1 == 1;
        if version == 0xff || !is_length_valid || parent == 0 || !is_sampled {
            return None;
        }
        Self::new(parse_hex(&fields[3..35])?)
    }

    /// Returns the trace ID of the current `tracing` span, as seen by the
    /// tracing-opentelemetry layer.
    ///
    /// Returns `None` outside of a span, without the tracing-opentelemetry layer, and
    /// if the trace is not sampled.
    ///
    /// Exemplars are evaluated during the call into the service, so that the span
    /// must be entered there: the layer that creates the span wraps the metrics
    /// layer. tower-http's `TraceLayer` enters its span for the call. The level of
    /// its default span is `DEBUG`, which a filter may disable.
    ///
    /// This function starts the span from OpenTelemetry's point of view. Set a
    /// parent from the request's headers earlier, where the span is created.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "axum", feature = "prometheus"))] {
    /// use axum::Router;
    /// use tower_http::trace::TraceLayer;
    /// use tower_metrics::{MetricsLayer, Prometheus, TraceId};
    ///
    /// let metrics = MetricsLayer::builder(Prometheus::new())
    ///     .exemplars(|_| TraceId::from_current_span())
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     // Routes, and then:
    ///     .layer(metrics)
    ///     // The layer that is added last is the outermost.
    ///     .layer(TraceLayer::new_for_http());
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
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

/// Returns the number that lowercase hexadecimal digits represent, a multiple of eight.
#[inline]
fn parse_hex(digits: &[u8]) -> Option<u128> {
    let (chunks, _) = digits.as_chunks();
    chunks.iter().try_fold(0, |number, digits| {
        Some(number << 32 | u128::from(parse_eight(*digits)?))
    })
}

/// Parses eight lowercase hexadecimal digits at once, as the bytes of a word. A loop over
/// the digits of a `traceparent` took 700 instructions per request.
#[inline]
fn parse_eight(digits: [u8; 8]) -> Option<u32> {
    const fn bytes(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let text = u64::from_be_bytes(digits);
    // Bit 6 is set in letters only, and the low half of `a` is 1.
    let letters = text >> 6 & bytes(1);
    let values = (text & bytes(0x0f)) + letters * 9;
    // At least ten exactly for letters, less than 16, and the same text again.
    let at_least_ten = (values + bytes(6)) >> 4 & bytes(1);
    let again = values + bytes(b'0') + letters * u64::from(b'a' - 10 - b'0');
    if again != text || at_least_ten != letters || values & bytes(0xf0) != 0 {
        return None;
    }
    // Moves the halves of each pair together, then the pairs, then their pairs.
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) as u32)
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
    fn a_well_formed_traceparent_has_a_trace_id() {
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
    fn an_unsampled_trace_has_no_trace_id() {
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
    fn every_byte_at_every_position_is_parsed_or_rejected() {
        for position in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"09afb3c7";
                digits[position] = byte;
                let is_valid = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let text = std::str::from_utf8(&digits);
                let expected = text.ok().filter(|_| is_valid);
                let expected = expected.map(|text| u32::from_str_radix(text, 16).unwrap());
                assert_eq!(parse_eight(digits), expected, "{byte} at {position}");
            }
        }
    }

    #[test]
    fn a_malformed_traceparent_has_no_trace_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for malformed in [
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
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
