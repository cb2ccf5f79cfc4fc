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

pub use self::{
    changes::{Change, Changes, Source},
    document::Document,
    failure::{Fail, FailurePolicy},
    fault::Fault,
    faults::{Decision, Faults},
    invalid::Invalid,
    latency::{Delay, LatencyPolicy, MAX_DELAY},
    operation::Operation,
    random::Random,
    schedule::When,
};
