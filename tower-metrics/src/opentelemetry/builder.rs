//! Sets up the recorder.

use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter};

use super::{Inner, Names, OpenTelemetry};
use crate::bounds::{DURATION_BOUNDS, duration_bounds, size_bounds};
use crate::error::BuildError;
use crate::table::Table;

/// Sets up an [`OpenTelemetry`] recorder.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
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

    /// Sets whether to follow the convention for HTTP clients: instruments named
    /// `http.client.…`, the route as `url.template`, and no `url.scheme`.
    ///
    /// Defaults to `false`.
    pub fn client(mut self, enabled: bool) -> Self {
        self.names = if enabled {
            &Names::CLIENT
        } else {
            &Names::SERVER
        };
        self
    }

    /// The value of `url.scheme`. Default: `http`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// The bounds of the duration histogram, in seconds, from a nanosecond to
    /// 1,000,000,000 s, rising.
    /// Default: the convention's, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
    /// 0.5, 0.75, 1, 2.5, 5, 7.5, 10. They are advice to the SDK: a view goes
    /// before them.
    pub fn duration_bounds(mut self, seconds: impl IntoIterator<Item = f64>) -> Self {
        self.duration_bounds = seconds.into_iter().collect();
        self
    }

    /// A latency objective: its threshold is among the bounds of the duration
    /// histogram, so that the share of requests within it is exact. From a
    /// nanosecond to 1,000,000,000 s.
    pub fn objective(mut self, threshold: Duration) -> Self {
        self.objectives.push(threshold);
        self
    }

    /// The bounds of the request size histogram, in whole bytes up to 2^53,
    /// rising. Default: none, only the sum and the count.
    pub fn request_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.request_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// The bounds of the response size histogram, in whole bytes up to 2^53,
    /// rising. Default: none, only the sum and the count.
    pub fn response_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.response_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Records the time to the response's head as a second histogram,
    /// `http.server.time_to_head`, which the convention does not have.
    /// Default: off. Costs a reading of the clock for each request.
    pub fn time_to_head(mut self, on: bool) -> Self {
        self.time_to_head = on;
        self
    }

    /// Makes the recorder and its instruments.
    ///
    /// # Errors
    ///
    /// Where a bound cannot be.
    pub fn build(self) -> Result<OpenTelemetry, BuildError> {
        let Self { meter, names, .. } = &self;
        let written = |bounds: Vec<(u64, f64)>| bounds.into_iter().map(|(_, bound)| bound);
        let duration: Vec<f64> = written(duration_bounds(
            names.duration,
            &self.duration_bounds,
            &self.objectives,
        )?)
        .collect();

        let side = names.side;
        let time = |name, description: String| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(duration.clone())
                .build()
        };
        // Of floating-point numbers: the SDK adds integers up without a check, so
        // that sums of them wrap around, and panic in a debug build.
        let size = |name, of: &str, bounds| -> Result<Histogram<f64>, BuildError> {
            Ok(meter
                .f64_histogram(name)
                .with_unit("By")
                .with_description(format!("Size of HTTP {side} {of} bodies."))
                .with_boundaries(written(size_bounds(name, bounds)?).collect())
                .build())
        };
        let inner = Inner {
            names,
            request_size: size(names.request_size, "request", &self.request_size_bounds)?,
            response_size: size(names.response_size, "response", &self.response_size_bounds)?,
            duration: time(names.duration, format!("Duration of HTTP {side} requests.")),
            time_to_head: self.time_to_head.then(|| {
                time(
                    names.time_to_head,
                    format!("Time to the head of HTTP {side} responses."),
                )
            }),
            active: meter
                .i64_up_down_counter(names.active)
                .with_unit("{request}")
                .with_description(format!("Number of active HTTP {side} requests."))
                .build(),
            overflow: meter
                .u64_counter("tower_metrics.overflow")
                .with_unit("{request}")
                .with_description("Requests whose route or label value found no place.")
                .build(),
            warned: Table::new(64),
            scheme: self.scheme.leak(),
        };
        Ok(OpenTelemetry(Box::leak(Box::new(inner))))
    }
}
