//! tower-metrics

#[cfg(feature = "dashboard")]
pub mod dashboard;
