//! Metrics of connections in a Prometheus registry.

mod cells;
mod collector;
mod local;

use std::sync::{Mutex, OnceLock, PoisonError};

use self::cells::ConnectionSeries;
use self::collector::ConnectionMetrics;
use super::builder::check_own_labels;
use super::{Inner, Prometheus};
use crate::connections::{
    ClosedConnection, CompletedHandshake, ConnectionRecorder, ConnectionsBuilder, Rejection,
};
use crate::error::BuildError;

/// Series of a recorder, once its [`Connections`](crate::Connections) are built.
pub(super) type PreparedSeries = OnceLock<&'static ConnectionSeries>;

/// Names of the metrics of connections, as the exposition writes them.
///
/// Returned by [`Prometheus::connection_names`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionNames {
    /// Gauge of open connections: `http_server_open_connections`.
    pub open: String,
    /// Histogram of the durations of connections in seconds, with the label
    /// `error_type`: `http_server_connection_duration_seconds`.
    pub duration: String,
    /// Counter of rejected connections, with the label `reason`:
    /// `http_server_rejected_connections_total`.
    pub rejected: String,
    /// Counter of bytes, with the label `network_io_direction`:
    /// `http_server_network_io_bytes_total`.
    pub network_io: String,
    /// Histogram of the durations of TLS handshakes in seconds, with the label
    /// `error_type`: `http_server_tls_handshake_duration_seconds`.
    pub tls_handshake: String,
}

impl ConnectionNames {
    fn new(name: impl Fn(&str) -> String) -> Self {
        Self {
            open: name("http_server_open_connections"),
            duration: name("http_server_connection_duration_seconds"),
            rejected: name("http_server_rejected_connections_total"),
            network_io: name("http_server_network_io_bytes_total"),
            tls_handshake: name("http_server_tls_handshake_duration_seconds"),
        }
    }

    /// Returns the names under which a recorder registers its metrics.
    fn registered(inner: &Inner) -> Self {
        Self::new(|name| match &inner.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        })
    }
}

impl Prometheus {
    /// Returns a builder of [`Connections`](crate::Connections), which measure the
    /// connections of a server.
    ///
    /// All `Connections` of a recorder add up to the same metrics, which are registered when
    /// the first of them is built. See the module [`connections`](crate::connections).
    pub fn connections(&self) -> ConnectionsBuilder<Self> {
        crate::Connections::builder(*self)
    }

    /// Returns the names of the metrics of [connections](Self::connections) as the
    /// exposition writes them, with the prefixes of the builder and of the registry.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder().prefix("shop").build()?;
    /// let names = prometheus.connection_names();
    /// assert_eq!(names.open, "shop_http_server_open_connections");
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn connection_names(&self) -> ConnectionNames {
        let registered = ConnectionNames::registered(self.0);
        ConnectionNames {
            open: self.exposed_name(&registered.open),
            duration: self.exposed_name(&registered.duration),
            rejected: self.exposed_name(&registered.rejected),
            network_io: self.exposed_name(&registered.network_io),
            tls_handshake: self.exposed_name(&registered.tls_handshake),
        }
    }

    #[inline]
    fn series(&self) -> Option<&'static ConnectionSeries> {
        self.0.connections.get().copied()
    }
}

impl ConnectionRecorder for Prometheus {
    fn prepare(&self) -> Result<(), BuildError> {
        static PREPARING: Mutex<()> = Mutex::new(());
        let _preparing = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = self.0;
        if inner.connections.get().is_some() {
            return Ok(());
        }
        check_own_labels(inner, &collector::LABELS)?;
        let names = ConnectionNames::registered(inner);
        let failed = |error: prometheus::Error| BuildError::Registration {
            name: names.open.clone(),
            why: error.to_string(),
        };
        let series: &'static ConnectionSeries = Box::leak(Box::new(ConnectionSeries::new(&names)?));
        let collector = ConnectionMetrics::new(&names, inner, series).map_err(failed)?;
        inner
            .registry
            .register(Box::new(collector))
            .map_err(failed)?;
        inner.connections.get_or_init(|| series);
        Ok(())
    }

    fn opened(&self) {
        if let Some(series) = self.series() {
            local::with_thread(series, |thread| thread.opened.add(1));
        }
    }

    fn closed(&self, connection: &ClosedConnection) {
        if let Some(series) = self.series() {
            let error_type = connection.error_type;
            local::record(&series.durations, error_type, connection.duration);
        }
    }

    #[inline]
    fn received(&self, bytes: u64) {
        if let Some(series) = self.series() {
            local::with_thread(series, |thread| thread.received.add(bytes));
        }
    }

    #[inline]
    fn transmitted(&self, bytes: u64) {
        if let Some(series) = self.series() {
            local::with_thread(series, |thread| thread.transmitted.add(bytes));
        }
    }

    fn rejected(&self, reason: Rejection) {
        if let Some(series) = self.series() {
            series.reject(reason);
        }
    }

    fn handshake(&self, handshake: &CompletedHandshake) {
        if let Some(series) = self.series() {
            let error_type = handshake.error_type;
            local::record(&series.handshakes, error_type, handshake.duration);
        }
    }
}
