//! Registries of the crate `prometheus-client`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

use super::open_metrics;
use crate::prometheus::Prometheus;
use crate::prometheus::other::{OtherFamily, Source};

/// Registry of the crate `prometheus-client` 0.26 that an exposition can include:
/// [`Registry`], `Arc<Registry>`, or, to register metrics later, `Arc<Mutex<Registry>>`
/// or `Arc<RwLock<Registry>>` of the standard library.
pub trait ClientRegistry: private::Read + Send + Sync + 'static {}

mod private {
    use super::Registry;

    pub trait Read {
        fn read<T>(&self, read: impl FnOnce(&Registry) -> T) -> T;
    }
}

impl ClientRegistry for Registry {}
impl ClientRegistry for Arc<Registry> {}
impl ClientRegistry for Arc<Mutex<Registry>> {}
impl ClientRegistry for Arc<RwLock<Registry>> {}

impl private::Read for Registry {
    fn read<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        read(self)
    }
}

impl private::Read for Arc<Registry> {
    fn read<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        read(self)
    }
}

impl private::Read for Arc<Mutex<Registry>> {
    fn read<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        read(&self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl private::Read for Arc<RwLock<Registry>> {
    fn read<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        // Named, because `Read::read` takes precedence on the `Arc`.
        let registry: &RwLock<Registry> = self;
        read(&registry.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Prometheus {
    /// Adds a registry of the crate `prometheus-client` 0.26 to the exposition.
    ///
    /// Its names, types, units, info metrics and exemplars are kept in every format that
    /// has them. The prefix and the labels of the recorder's own registry do not apply.
    /// If series of both have the same name and labels, the exposition contains those of
    /// the recorder's registry, then of the registry that was added first.
    ///
    /// The registry is encoded in OpenMetrics text for each rendering, which has no native
    /// histograms: one that has classic buckets as well is exposed with these. A registry
    /// with a histogram that has native buckets only cannot be encoded; it is omitted and
    /// a warning is logged once.
    ///
    /// ```
    /// use prometheus_client::metrics::counter::Counter;
    /// use prometheus_client::registry::Registry;
    /// use tower_metrics::Prometheus;
    /// use tower_metrics::prometheus::Format;
    ///
    /// let mut registry = Registry::default();
    /// let sold: Counter = Counter::default();
    /// registry.register("tickets_sold", "Tickets sold", sold.clone());
    ///
    /// let prometheus = Prometheus::new();
    /// prometheus.add_client_registry(registry);
    /// sold.inc();
    /// let exposition = prometheus.exposition().render(Format::Text);
    /// assert!(exposition.contains("tickets_sold_total 1\n"));
    /// ```
    pub fn add_client_registry(&self, registry: impl ClientRegistry) {
        self.add_source(Box::new(Client {
            registry,
            warned: AtomicBool::new(false),
        }));
    }
}

struct Client<R> {
    registry: R,
    /// Set once the failure to encode it has been logged.
    warned: AtomicBool,
}

impl<R: ClientRegistry> Source for Client<R> {
    fn families(&self) -> Vec<OtherFamily<'static>> {
        let mut text = String::new();
        let encoded = self
            .registry
            .read(|registry| encode_registry(&mut text, registry));
        if encoded.is_ok() {
            return open_metrics::parse(&text);
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a registry of prometheus-client cannot be encoded as text and is not exposed; \
                 does it have a histogram with native buckets only?"
            );
        }
        Vec::new()
    }
}
