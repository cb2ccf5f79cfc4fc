//! The crate `fastmetrics`: families and its text encoder.

use std::sync::Arc;

use fastmetrics::derive::LabelSet;
use fastmetrics::format::text::{TextProfile, encode};
use fastmetrics::metrics::family::Family;
use fastmetrics::metrics::gauge::Gauge;
use fastmetrics::metrics::histogram::Histogram;
use fastmetrics::registry::Registry;

use super::{Observation, Store, error_type, method};
use crate::layers::BOUNDS;

/// The crate `fastmetrics`: families and its text encoder.
#[derive(Clone)]
pub struct FastMetrics {
    registry: Arc<Registry>,
    duration: Family<Labels, Histogram>,
    request_size: Family<Labels, Histogram>,
    response_size: Family<Labels, Histogram>,
    in_flight: Family<InFlight, Gauge>,
}

impl std::fmt::Debug for FastMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastMetrics").finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Hash, LabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
    error_type: &'static str,
    url_scheme: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, LabelSet)]
struct InFlight {
    http_request_method: &'static str,
    http_route: &'static str,
    url_scheme: &'static str,
}

impl FastMetrics {
    /// Creates the families in a new registry.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let help = "Same as in tower-metrics";
        let mut histogram = |name: &'static str, bounds: &'static [f64]| {
            let family = Family::new(move || Histogram::new(bounds.iter().copied()));
            let registered = registry.register(name, help, family.clone());
            registered.expect("the registry is new");
            family
        };
        let duration = histogram("http_server_request_duration_seconds", &BOUNDS);
        let request_size = histogram("http_server_request_body_size_bytes", &[]);
        let response_size = histogram("http_server_response_body_size_bytes", &[]);
        let in_flight = Family::<InFlight, Gauge>::default();
        let registered = registry.register("http_server_active_requests", help, in_flight.clone());
        registered.expect("the registry is new");
        Self {
            registry: registry.into(),
            duration,
            request_size,
            response_size,
            in_flight,
        }
    }
}

impl Default for FastMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for FastMetrics {
    const NAME: &'static str = "fastmetrics";

    fn observe(&mut self, observed: &Observation) {
        let in_flight = InFlight {
            http_request_method: method(&observed.method),
            http_route: observed.route,
            url_scheme: "http",
        };
        self.in_flight.with_or_new(&in_flight, |gauge| gauge.inc());
        let is_error = !error_type(&observed.status).is_empty();
        let labels = Labels {
            http_request_method: method(&observed.method),
            http_route: observed.route,
            http_response_status_code: observed.status.as_u16(),
            error_type: if is_error { "500" } else { "" },
            url_scheme: "http",
        };
        self.duration.with_or_new(&labels, |it| it.observe(1e-6));
        self.request_size.with_or_new(&labels, |it| it.observe(0.0));
        self.response_size
            .with_or_new(&labels, |it| it.observe(9.0));
        self.in_flight.with_or_new(&in_flight, |gauge| gauge.dec());
    }

    fn scrape(&self) -> usize {
        let mut text = String::new();
        let encoded = encode(&mut text, &self.registry, TextProfile::default());
        encoded.expect("writing to a string does not fail");
        text.len()
    }
}
