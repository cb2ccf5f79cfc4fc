//! Shared pieces of the benchmarks.

pub mod alloc;
pub mod contenders;
pub mod contest;
pub mod drive;
pub mod layers;
pub mod peers;
pub mod services;
pub mod stores;
pub mod table;
