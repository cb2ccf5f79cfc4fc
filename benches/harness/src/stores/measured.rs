//! The crate `measured`: vectors and its text encoder.

use std::sync::{Arc, Mutex, PoisonError};

use lasso::ThreadedRodeo;
use measured::metric::histogram::Thresholds;
use measured::text::BufferedTextEncoder;
use measured::{FixedCardinalityLabel, GaugeVec, HistogramVec, LabelGroup, MetricGroup};

use super::{Observation, Store, error_type};
use crate::layers::BOUNDS;

/// The crate `measured`: vectors and its text encoder.
#[derive(Clone)]
pub struct Measured {
    metrics: Arc<Metrics>,
    /// Its buffer is reused by later scrapes.
    encoder: Arc<Mutex<BufferedTextEncoder>>,
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, FixedCardinalityLabel)]
#[label(rename_all = "SHOUTY_SNAKE_CASE")]
enum Method {
    Get,
    Post,
    Delete,
}

#[derive(Clone, Copy, FixedCardinalityLabel)]
enum Scheme {
    Http,
}

#[derive(LabelGroup)]
#[label(set = LabelsSet)]
struct Labels<'a> {
    http_request_method: Method,
    #[label(dynamic_with = ThreadedRodeo, default)]
    http_route: &'a str,
    #[label(dynamic_with = ThreadedRodeo, default)]
    http_response_status_code: &'a str,
    #[label(dynamic_with = ThreadedRodeo, default)]
    error_type: &'a str,
    url_scheme: Scheme,
}

#[derive(LabelGroup)]
#[label(set = InFlightSet)]
struct InFlight<'a> {
    http_request_method: Method,
    #[label(dynamic_with = ThreadedRodeo, default)]
    http_route: &'a str,
    url_scheme: Scheme,
}

#[derive(MetricGroup)]
struct Metrics {
    http_server_request_duration_seconds: HistogramVec<LabelsSet, 14>,
    http_server_request_body_size_bytes: HistogramVec<LabelsSet, 1>,
    http_server_response_body_size_bytes: HistogramVec<LabelsSet, 1>,
    http_server_active_requests: GaugeVec<InFlightSet>,
}

impl Measured {
    /// Creates the vectors.
    pub fn new() -> Self {
        // There is no histogram without bounds.
        let size = || {
            let bounds = Thresholds::with_buckets([1e9]);
            HistogramVec::with_label_set_and_metadata(LabelsSet::default(), bounds)
        };
        let metrics = Metrics {
            http_server_request_duration_seconds: HistogramVec::with_label_set_and_metadata(
                LabelsSet::default(),
                Thresholds::with_buckets(BOUNDS),
            ),
            http_server_request_body_size_bytes: size(),
            http_server_response_body_size_bytes: size(),
            http_server_active_requests: GaugeVec::with_label_set(InFlightSet::default()),
        };
        Self {
            metrics: metrics.into(),
            encoder: Arc::new(Mutex::new(BufferedTextEncoder::new())),
        }
    }
}

impl Default for Measured {
    fn default() -> Self {
        Self::new()
    }
}

fn method(method: &http::Method) -> Method {
    match *method {
        http::Method::POST => Method::Post,
        http::Method::DELETE => Method::Delete,
        _ => Method::Get,
    }
}

impl Store for Measured {
    const NAME: &'static str = "measured";

    fn observe(&mut self, observed: &Observation) {
        let method = method(&observed.method);
        let in_flight = || InFlight {
            http_request_method: method,
            http_route: observed.route,
            url_scheme: Scheme::Http,
        };
        let metrics = &*self.metrics;
        metrics.http_server_active_requests.inc(in_flight());
        let labels = || Labels {
            http_request_method: method,
            http_route: observed.route,
            http_response_status_code: observed.status.as_str(),
            error_type: error_type(&observed.status),
            url_scheme: Scheme::Http,
        };
        metrics
            .http_server_request_duration_seconds
            .observe(labels(), 1e-6);
        metrics
            .http_server_request_body_size_bytes
            .observe(labels(), 0.0);
        metrics
            .http_server_response_body_size_bytes
            .observe(labels(), 9.0);
        metrics.http_server_active_requests.dec(in_flight());
    }

    fn scrape(&self) -> usize {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(()) = self.metrics.collect_group_into(&mut *encoder);
        encoder.finish().len()
    }
}
