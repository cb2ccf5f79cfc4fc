//! Builder of the recorder.

use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter};

use super::series::AllSeries;
use super::{Inner, Names, OpenTelemetry};
use crate::bounds::{DURATION_BOUNDS, duration_bounds, size_bounds};
use crate::error::BuildError;
use crate::table::Table;

/// Builder for [`OpenTelemetry`].
///
/// [`OpenTelemetry::builder`] creates it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tower_metrics::OpenTelemetry;
///
/// let meter = opentelemetry::global::meter("my-service");
/// let recorder = OpenTelemetry::builder(&meter)
///     .scheme("https")
///     .objective(Duration::from_millis(300))
///     .build()?;
/// # Ok::<_, tower_metrics::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "builders do nothing unless you call `build`"]
pub struct OpenTelemetryBuilder {
    meter: Meter,
    names: &'static Names,
    scheme: String,
    duration_bounds: Vec<f64>,
    objectives: Vec<Duration>,
    request_size_bounds: Vec<f64>,
    response_size_bounds: Vec<f64>,
    time_to_head: bool,
}

impl OpenTelemetryBuilder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            names: &Names::SERVER,
            scheme: "http".into(),
            duration_bounds: DURATION_BOUNDS.into(),
            objectives: Vec::new(),
            request_size_bounds: Vec::new(),
            response_size_bounds: Vec::new(),
            time_to_head: false,
        }
    }

    /// Sets whether to follow the conventions for HTTP clients: instruments named
    /// `http.client.…`, the route as `url.template`, and no `url.scheme`.
    ///
    /// Also set [`MetricsLayerBuilder::client`](crate::MetricsLayerBuilder::client), so
    /// that the layer treats 4xx responses as errors. Defaults to `false`.
    pub fn client(mut self, enabled: bool) -> Self {
        self.names = if enabled {
            &Names::CLIENT
        } else {
            &Names::SERVER
        };
        self
    }

    /// Sets the value of `url.scheme`.
    ///
    /// Defaults to `http`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// Sets the bucket bounds of the duration histogram, in seconds.
    ///
    /// Bounds must be in increasing order, from 0.000000001 to 1,000,000,000 s. They are
    /// advisory: a view of the SDK takes precedence. Defaults to the bounds that the
    /// semantic conventions recommend: 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5,
    /// 0.75, 1, 2.5, 5, 7.5 and 10 s.
    pub fn duration_bounds(mut self, seconds: impl IntoIterator<Item = f64>) -> Self {
        self.duration_bounds = seconds.into_iter().collect();
        self
    }

    /// Adds the threshold of a latency objective to the bounds of the duration
    /// histogram, so that the ratio of requests within it is exact.
    ///
    /// Must be from 1 ns to 1,000,000,000 s. Defaults to none.
    pub fn objective(mut self, threshold: Duration) -> Self {
        self.objectives.push(threshold);
        self
    }

    /// Sets the bucket bounds of the request size histogram, in bytes.
    ///
    /// Bounds must be in increasing order, up to 2^53. Defaults to none, which records
    /// the count and the sum only.
    pub fn request_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.request_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Sets the bucket bounds of the response size histogram, in bytes.
    ///
    /// Bounds must be in increasing order, up to 2^53. Defaults to none, which records
    /// the count and the sum only.
    pub fn response_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.response_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Sets whether to record the time to the response head in a second histogram,
    /// `http.server.time_to_head`, which is not part of the conventions.
    ///
    /// Costs an additional clock read per request. Defaults to `false`.
    pub fn time_to_head(mut self, enabled: bool) -> Self {
        self.time_to_head = enabled;
        self
    }

    /// Builds the recorder and its instruments.
    ///
    /// # Errors
    ///
    /// Returns an error if bounds or an objective are out of range, or if bounds are not
    /// in increasing order.
    pub fn build(self) -> Result<OpenTelemetry, BuildError> {
        let Self { meter, names, .. } = &self;
        let bounds = |bounds: Vec<(u64, f64)>| bounds.into_iter().map(|(_, bound)| bound).collect();
        let duration: Vec<f64> = bounds(duration_bounds(
            names.duration,
            &self.duration_bounds,
            &self.objectives,
        )?);

        let side = names.side;
        let time_histogram = |name, description: String| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(duration.clone())
                .build()
        };
        // Floating-point histograms, because the SDK does not check the sum of integers
        // for overflow.
        let size_histogram = |name, of: &str, bytes| -> Result<Histogram<f64>, BuildError> {
            Ok(meter
                .f64_histogram(name)
                .with_unit("By")
                .with_description(format!("Size of HTTP {side} {of} bodies."))
                .with_boundaries(bounds(size_bounds(name, bytes)?))
                .build())
        };
        let series: &'static AllSeries = Box::leak(Box::default());
        // The meter keeps the callback.
        let _active = meter
            .i64_observable_up_down_counter(names.active)
            .with_unit("{request}")
            .with_description(format!("Number of active HTTP {side} requests."))
            .with_callback(|observer| series.observe_in_flight(observer))
            .build();
        let inner = Inner {
            names,
            series,
            request_size: size_histogram(names.request_size, "request", &self.request_size_bounds)?,
            response_size: size_histogram(
                names.response_size,
                "response",
                &self.response_size_bounds,
            )?,
            duration: time_histogram(names.duration, format!("Duration of HTTP {side} requests.")),
            time_to_head: self.time_to_head.then(|| {
                time_histogram(
                    names.time_to_head,
                    format!("Time to the head of HTTP {side} responses."),
                )
            }),
            overflow: meter
                .u64_counter("tower_metrics.overflow")
                .with_unit("{request}")
                .with_description("Requests whose route or label value exceeded a limit.")
                .build(),
            #[cfg(feature = "connections")]
            connections: super::connections::ConnectionInstruments::new(meter),
            #[cfg(feature = "admission")]
            admission: super::admission::AdmissionInstruments::new(meter),
            logged_limits: Table::new(64),
            scheme: self.scheme.leak(),
        };
        Ok(OpenTelemetry(Box::leak(Box::new(inner))))
    }
}
