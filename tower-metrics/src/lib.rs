//! tower-metrics
