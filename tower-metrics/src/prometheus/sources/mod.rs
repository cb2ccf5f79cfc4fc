//! Registries of other crates, which the exposition shows beside the recorder's.

#[cfg(feature = "prometheus-client")]
mod client;
#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "prometheus-client")]
mod open_metrics;

#[cfg(feature = "prometheus-client")]
pub use self::client::ClientRegistry;
#[cfg(feature = "metrics")]
pub use self::facade::{MetricsFacade, MetricsFacadeBuilder};
