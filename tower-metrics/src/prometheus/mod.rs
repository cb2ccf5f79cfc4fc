//! The recorder into Prometheus.

mod builder;
mod cells;
mod collector;
mod exposition;
mod local;
mod names;
mod series;
mod slots;
mod snapshot;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

pub use self::builder::PrometheusBuilder;
pub use self::exposition::{Exposition, ExpositionBody, Format};
pub use self::local::ThreadEndpoint;
pub use self::names::Names;
pub use self::series::Endpoint;
pub use crate::proto::{counter_value, gauge_value};
/// Out of the crate `prometheus`, in the version that this crate takes.
pub use prometheus::{Registry, proto};

use self::cells::Layout;
use crate::label::LabelValues;
use crate::outcome::{CompletedRequest, InitialSeries};
use crate::recorder::{LabelError, Limit, Recorder};
use crate::table::Table;

/// Records requests into Prometheus metrics, with a registry of its own or
/// any other [`prometheus::Registry`].
///
/// It is a reference: copy it into every layer that is to share its metrics.
/// What it refers to, and every series, lives as long as the process; that is
/// what spares each request a reference count.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_metrics::{MetricsLayer, Prometheus};
///
/// let prometheus = Prometheus::new();
/// let app: Router = Router::new()
///     .route("/concerts/{id}", get(|| async { "hello" }))
///     .layer(MetricsLayer::new(prometheus))
///     .route_service("/metrics", prometheus.exposition());
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Prometheus(&'static Inner);

pub(crate) struct Inner {
    registry: Registry,
    /// With the prefix.
    names: &'static Names,
    constant: &'static [(String, String)],
    layout: &'static Layout,
    route_layouts: HashMap<String, &'static Layout>,
    time_to_head: bool,
    endpoints: RwLock<Endpoints>,
    overflows: Table<AtomicU64>,
    exposition: exposition::Shared,
}

/// The endpoints of a recorder: several layers may ask for the same one.
#[derive(Default)]
struct Endpoints {
    by_name: HashMap<(&'static str, &'static str), &'static Endpoint>,
    in_order: Vec<&'static Endpoint>,
}

impl Prometheus {
    /// A recorder with OpenTelemetry's names and a registry of its own.
    pub fn new() -> Self {
        PrometheusBuilder::default()
            .build()
            .expect("the defaults are valid, and nothing is registered yet")
    }

    /// A recorder to be set up.
    pub fn builder() -> PrometheusBuilder {
        PrometheusBuilder::default()
    }

    /// Where the metrics are registered.
    pub fn registry(&self) -> &'static Registry {
        &self.0.registry
    }

    /// What the metrics are called, prefix included.
    pub fn names(&self) -> &'static Names {
        self.0.names
    }

    /// Serves everything in the registry: a tower service, for
    /// `Router::route_service`.
    pub fn exposition(&self) -> Exposition {
        Exposition::new(self.0)
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// The endpoints there are now.
    fn endpoints(&self) -> Vec<&'static Endpoint> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .in_order
            .clone()
    }

    fn endpoint(&'static self, method: &'static str, route: &'static str) -> &'static Endpoint {
        let mut endpoints = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.by_name.get(&(method, route)) {
            return endpoint;
        }
        let layout = self.route_layouts.get(route).unwrap_or(&self.layout);
        let endpoint: &Endpoint = Box::leak(Box::new(Endpoint::new(
            method,
            route,
            layout,
            self.names,
            self.constant,
        )));
        endpoints.by_name.insert((method, route), endpoint);
        endpoints.in_order.push(endpoint);
        endpoint
    }
}

impl Recorder for Prometheus {
    type Series = &'static Endpoint;
    type InFlight = &'static ThreadEndpoint;

    fn series(&self, method: &'static str, route: &'static str) -> &'static Endpoint {
        self.0.endpoint(method, route)
    }

    #[inline(always)]
    fn begin(&self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        local::with_own(endpoint, |own| {
            own.begun.add(1);
            own
        })
    }

    #[inline(always)]
    fn end(
        &self,
        endpoint: &'static Endpoint,
        own: &'static ThreadEndpoint,
        end: &CompletedRequest<'_>,
    ) {
        local::with_cells(endpoint, own, end, |cells| {
            cells.record(endpoint.layout, end)
        });
    }

    fn abandon(&self, endpoint: &'static Endpoint, _: &'static ThreadEndpoint) {
        local::with_own(endpoint, |own| own.begun.add(1u64.wrapping_neg()));
    }

    fn begin_stream(
        &self,
        endpoint: &'static Endpoint,
        own: &mut &'static ThreadEndpoint,
        head: &CompletedRequest<'_>,
    ) {
        local::with_cells(endpoint, own, head, |cells| {
            cells.record_stream_begin(endpoint.layout, head)
        });
    }

    fn end_stream(
        &self,
        endpoint: &'static Endpoint,
        own: &'static ThreadEndpoint,
        end: &CompletedRequest<'_>,
    ) {
        local::with_cells(endpoint, own, end, |cells| {
            cells.record_stream_end(endpoint.layout, end)
        });
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let inner = self.0;
        for (i, name) in names.iter().enumerate() {
            builder::check_label_name(name)?;
            let mut own = builder::label_names(inner.names, inner.constant);
            if own.any(|own| own == *name) || names[..i].contains(name) {
                return Err(LabelError {
                    name: (*name).to_owned(),
                    why: "the metrics have a label of this name already".to_owned(),
                });
            }
        }
        // Shown from the start, so that the first overflow is an increase.
        for name in names {
            inner.overflows.get_or_add(name, AtomicU64::default);
        }
        Ok(())
    }

    fn initialize(
        &self,
        endpoint: &'static Endpoint,
        ending: InitialSeries,
        labels: LabelValues<'_>,
    ) {
        endpoint.initialize(ending, &labels);
    }

    fn overflowed(&self, limit: Limit) {
        let name = limit.as_str();
        let known = self.0.overflows.get(name);
        let count = known.or_else(|| self.0.overflows.get_or_add(name, AtomicU64::default));
        if count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0) {
            tracing::warn!(
                metric = self.0.names.duration,
                limit = name,
                "no place left for a new value; it and those that follow are counted as _OTHER"
            );
        }
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.time_to_head
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("names", self.0.names)
            .finish_non_exhaustive()
    }
}
