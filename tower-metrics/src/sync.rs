//! Synchronization primitives of the slot protocol, which loom replaces in its models.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic};

pub(crate) use std::sync::PoisonError;
