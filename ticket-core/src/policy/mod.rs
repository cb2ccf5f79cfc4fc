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
mod playback;
mod position;
mod preset;
mod random;
mod read;
mod scenario;
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
    playback::{Playback, Playing},
    random::Random,
    scenario::{Scenario, Step},
    schedule::When,
};
