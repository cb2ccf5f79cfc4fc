#![doc = include_str!("guide.md")]

mod changes;
mod document;
mod failure;
mod fault;
mod faults;
mod invalid;
mod latency;
mod number;
mod operation;
mod preset;
mod random;
mod read;
mod schedule;
#[cfg(test)]
mod tests;

pub use self::changes::{Change, Changes, Source};
pub use self::document::Document;
pub use self::failure::{Fail, FailurePolicy};
pub use self::fault::Fault;
pub use self::faults::{Decision, Faults};
pub use self::invalid::Invalid;
pub use self::latency::{Delay, LatencyPolicy, MAX_DELAY};
pub use self::operation::Operation;
pub use self::random::Random;
pub use self::schedule::When;
