//! Shared code of the benchmarks that compare tower-metrics with other middleware.
//!
//! | command | measures |
//! |---|---|
//! | `cargo run --release -p benches --example fates` | how each middleware records the possible outcomes of a request |
//! | `cargo bench -p benches --bench middleware` | time, instructions (with valgrind) and allocations that a layer adds to a request; `--features quanta` selects the other clock |
//! | `cargo run --release -p benches --example end_to_end` | what a layer costs of a real request: an axum server under wrk |
//! | `benches/fastapi/compare.py` | the ticket server beside its original in FastAPI, under wrk |
//! | `cargo run --release -p benches --example instructions` | instructions that a layer adds to a request; requires valgrind |
//! | `cargo bench -p benches --bench threads` | contention of two threads on one route |
//! | `cargo bench -p benches --bench memory` | memory after ten million requests, and after a million distinct client-chosen values |
//! | `cargo bench -p benches --bench scrape` | a scrape of 15,000 series, and its effect on concurrent requests |
//!
//! `cargo bench` runs all benchmarks in a few minutes once they are built. They
//! interleave their candidates and print medians, which are comparable within one run.
//! The time that the no-op layers appear to add is the noise of the measurement.

pub mod alloc;
pub mod callgrind;
pub mod candidates;
pub mod comparison;
pub mod drive;
pub mod layers;
pub mod peers;
pub mod services;
pub mod stores;
pub mod table;
