//! Guides. They are part of the documentation only and cannot be imported.

#[doc = include_str!("../docs/dashboards.md")]
pub mod dashboards {}

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
