//! Guides. They are part of the documentation only and cannot be imported.

#[cfg(feature = "axum")]
#[doc = include_str!("../docs/axum.md")]
pub mod axum {}

#[doc = include_str!("../docs/clients.md")]
pub mod clients {}

#[doc = include_str!("../docs/custom_recorders.md")]
pub mod custom_recorders {}

#[cfg(feature = "axum")]
#[doc = include_str!("../docs/from_axum_prometheus.md")]
pub mod from_axum_prometheus {}

#[doc = include_str!("../docs/labels.md")]
pub mod labels {}

#[doc = include_str!("../docs/tonic.md")]
pub mod tonic {}

#[cfg(all(
    feature = "admission",
    feature = "axum",
    feature = "connections",
    feature = "process",
    feature = "tokio"
))]
#[doc = include_str!("../docs/what_a_layer_cannot_see.md")]
pub mod what_a_layer_cannot_see {}

/// Compiles the README's examples.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
