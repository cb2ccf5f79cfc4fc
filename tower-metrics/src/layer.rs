//! Layer.

use std::fmt;
use std::marker::PhantomData;

use tower_layer::Layer;

use crate::classify::ServiceError;
use crate::recorder::Recorder;
use crate::request_body::{CountRequestBytes, RequestBodyService};
use crate::service::MetricsService;
use crate::shared::Shared;

/// Layer that records the requests of a service in a [`Recorder`].
///
/// Create it with [`MetricsLayer::new`] or [`MetricsLayer::builder`]. Copies share
/// their routes and labels.
///
/// `C` classifies the errors of the service, see
/// [`classify_error`](crate::MetricsLayerBuilder::classify_error). `Q` is
/// [`CountRequestBytes`] if request bodies are wrapped, see
/// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes) and
/// [`duration_from`](crate::MetricsLayerBuilder::duration_from).
///
/// # Memory
///
/// A layer and its series are never freed, which saves a reference count per
/// request. Build a layer per service, not per request.
///
/// A new layer takes less than 8 kB. Its tables grow with the routes and label
/// values that it records, by about 1 kB per route, and are bounded by
/// [`max_routes`](crate::MetricsLayerBuilder::max_routes), the limits of
/// [labels](crate::Label), and their length of at most 128 bytes. Each thread keeps
/// the state of up to 128 requests for reuse, about 400 bytes each.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "prometheus")] {
/// use http::{Request, Response};
/// use tower::{Layer, service_fn};
/// use tower_metrics::{MetricsLayer, Prometheus};
///
/// let service = service_fn(|_: Request<String>| async {
///     Ok::<_, std::io::Error>(Response::new(String::from("hello")))
/// });
/// let service = MetricsLayer::new(Prometheus::new()).layer(service);
/// # }
/// ```
pub struct MetricsLayer<R: Recorder, C: 'static = ServiceError, Q = ()> {
    pub(crate) shared: &'static Shared<R>,
    pub(crate) classify: &'static C,
    pub(crate) request_bodies: PhantomData<fn() -> Q>,
}

impl<S, R: Recorder, C> Layer<S> for MetricsLayer<R, C> {
    type Service = MetricsService<S, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        MetricsService::new(inner, self.shared, self.classify)
    }
}

impl<S, R: Recorder, C> Layer<S> for MetricsLayer<R, C, CountRequestBytes> {
    type Service = MetricsService<RequestBodyService<S>, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = RequestBodyService::new(inner);
        MetricsService::new(inner, self.shared, self.classify)
    }
}

impl<R: Recorder, C, Q> Clone for MetricsLayer<R, C, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Recorder, C, Q> Copy for MetricsLayer<R, C, Q> {}

impl<R: Recorder, C, Q> fmt::Debug for MetricsLayer<R, C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer")
            .field("route", &self.shared.route)
            .field("labels", &self.shared.labels)
            .field("counts_request_bytes", &self.shared.counts_request_bytes)
            .finish_non_exhaustive()
    }
}
