//! Shared pieces of the benchmarks of tower-metrics beside its peers.
//!
//! | command | what it shows |
//! |---|---|
//! | `cargo run --release -p benches --example fates` | who counts what of every fate of a request |
//! | `cargo bench -p benches --bench middleware` | time and allocations that a layer adds to a request; `--features quanta` for the other clock |
//! | `cargo run --release -p benches --example one` | instructions that a layer adds to a request, where valgrind is present |
//! | `cargo bench -p benches --bench threads` | what two threads on one route cost each other |
//! | `cargo bench -p benches --bench memory` | what stays in memory after ten million requests, and after a million made-up values |
//! | `cargo bench -p benches --bench scrape` | what a scrape of 15,000 series costs, and the requests beside it |
//!
//! A bare `cargo bench` runs all the benchmarks, in under two minutes once built. Each
//! measures its contenders in turns and prints medians: compare within one run.
//! What the layers that do nothing seem to add is the noise.

pub mod alloc;
pub mod contenders;
pub mod contest;
pub mod drive;
pub mod layers;
pub mod peers;
pub mod services;
pub mod stores;
pub mod table;
