#![doc = include_str!("../../README.md")]

pub mod alloc;
pub mod callgrind;
pub mod candidates;
pub mod comparison;
pub mod drive;
pub mod extent;
pub mod layers;
pub mod peers;
pub mod services;
pub mod stores;
pub mod table;
