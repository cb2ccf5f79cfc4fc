//! Instruments for connections.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundUpDownCounter, Counter, Histogram, Meter};

use super::series::ERROR_TYPE;
use super::{OpenTelemetry, seconds};
use crate::bounds::DURATION_BOUNDS;
use crate::connections::{
    CONNECTION_BOUNDS, ClosedConnection, CompletedHandshake, ConnectionRecorder,
    ConnectionsBuilder, Rejection,
};
use crate::error::BuildError;
use crate::error_type::ErrorType;

/// Instruments for connections, which are created when they are first needed.
pub(super) struct ConnectionInstruments {
    meter: Meter,
    instruments: OnceLock<Instruments>,
}

struct Instruments {
    open: BoundUpDownCounter<i64>,
    duration: Histogram<f64>,
    rejected: Counter<u64>,
    received: BoundCounter<u64>,
    transmitted: BoundCounter<u64>,
    tls_handshake: Histogram<f64>,
}

impl ConnectionInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            instruments: OnceLock::new(),
        }
    }

    #[inline]
    fn get(&self) -> &Instruments {
        self.instruments
            .get_or_init(|| Instruments::new(&self.meter))
    }
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let histogram = |name, description, bounds: &[f64]| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(bounds.to_vec())
                .build()
        };
        let network_io = meter
            .u64_counter("http.server.network.io")
            .with_unit("By")
            .with_description("Bytes received and transmitted on connections.")
            .build();
        let direction =
            |direction| network_io.bind(&[KeyValue::new("network.io.direction", direction)]);
        Self {
            open: meter
                .i64_up_down_counter("http.server.open_connections")
                .with_unit("{connection}")
                .with_description("Number of open connections.")
                .build()
                .bind(&[]),
            duration: histogram(
                "http.server.connection.duration",
                "Duration of connections.",
                &CONNECTION_BOUNDS,
            ),
            rejected: meter
                .u64_counter("http.server.rejected_connections")
                .with_unit("{connection}")
                .with_description("Number of connections that were not accepted.")
                .build(),
            tls_handshake: histogram(
                "http.server.tls_handshake.duration",
                "Duration of TLS handshakes.",
                &DURATION_BOUNDS,
            ),
            received: direction("receive"),
            transmitted: direction("transmit"),
        }
    }
}

impl OpenTelemetry {
    /// Returns a builder of [`Connections`](crate::Connections), which measure the
    /// connections of a server. See the module [`connections`](crate::connections).
    pub fn connections(&self) -> ConnectionsBuilder<Self> {
        crate::Connections::builder(*self)
    }

    #[inline]
    fn instruments(&self) -> &'static Instruments {
        self.0.connections.get()
    }
}

impl ConnectionRecorder for OpenTelemetry {
    fn prepare(&self) -> Result<(), BuildError> {
        let instruments = self.instruments();
        instruments.open.add(0);
        instruments.received.add(0);
        instruments.transmitted.add(0);
        for reason in Rejection::ALL {
            let attributes = [KeyValue::new("reason", reason.as_str())];
            instruments.rejected.add(0, &attributes);
        }
        Ok(())
    }

    fn opened(&self) {
        self.instruments().open.add(1);
    }

    fn closed(&self, connection: &ClosedConnection) {
        let instruments = self.instruments();
        record(
            &instruments.duration,
            connection.duration,
            connection.error_type,
        );
        instruments.open.add(-1);
    }

    fn received(&self, bytes: u64) {
        self.instruments().received.add(bytes);
    }

    fn transmitted(&self, bytes: u64) {
        self.instruments().transmitted.add(bytes);
    }

    fn rejected(&self, reason: Rejection) {
        let attributes = [KeyValue::new("reason", reason.as_str())];
        self.instruments().rejected.add(1, &attributes);
    }

    fn handshake(&self, handshake: &CompletedHandshake) {
        let histogram = &self.instruments().tls_handshake;
        record(histogram, handshake.duration, handshake.error_type);
    }
}

fn record(histogram: &Histogram<f64>, duration: std::time::Duration, error_type: ErrorType) {
    let value = seconds(duration);
    match error_type.as_str() {
        "" => histogram.record(value, &[]),
        error_type => histogram.record(value, &[KeyValue::new(ERROR_TYPE, error_type)]),
    }
}

impl fmt::Debug for ConnectionInstruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInstruments")
            .finish_non_exhaustive()
    }
}
