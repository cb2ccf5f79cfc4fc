//! Metrics of connections.

#![cfg(all(feature = "axum", feature = "connections", feature = "prometheus"))]

mod bytes;
mod endings;
mod limits;
mod many;
mod measured;
#[cfg(feature = "opentelemetry")]
mod open_telemetry;
mod registration;
#[path = "../scrape/mod.rs"]
mod scrape;
mod scripted;
mod shutdown;
#[cfg(feature = "rustls")]
mod tls;
mod wrapping;
