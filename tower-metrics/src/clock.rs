//! The clock of the hot path.
//!
//! Two readings are about half of what a request costs. With the feature
//! `quanta` they come from the processor's time stamp counter.

#[cfg(feature = "quanta")]
pub(crate) use quanta::Instant;
#[cfg(not(feature = "quanta"))]
pub(crate) use std::time::Instant;
