//! ticket-core
pub mod policy;
