//! The primitives of the slot protocol, so that loom can take their place.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic};

pub(crate) use std::sync::PoisonError;
