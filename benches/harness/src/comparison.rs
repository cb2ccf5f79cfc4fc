//! Interleaved measurement of several candidates.
//!
//! Each round sends a small batch of requests through every candidate in random
//! order, so that disturbances of the machine affect all of them equally. The time
//! that a layer adds is the median of the differences to the first candidate in the
//! same round.

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use bytes::Bytes;
use http_body_util::Empty;

use crate::alloc::allocated;
use crate::drive::{Driven, drive};
use crate::services::{Bare, request};

/// Stack of layers to send requests through.
pub struct Candidate {
    /// Name in the table.
    pub name: &'static str,
    /// The router with the layer, for candidates that have one.
    pub router: Option<Router>,
    send: Box<dyn FnMut(u64)>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Creates a candidate that calls `operation` for every request.
    pub fn new(name: &'static str, mut operation: impl FnMut() + 'static) -> Self {
        Self {
            name,
            router: None,
            send: Box::new(move |requests| {
                for _ in 0..requests {
                    operation();
                }
            }),
        }
    }

    /// Creates a candidate around the bare service.
    pub fn bare(name: &'static str, service: impl Driven<Empty<Bytes>> + 'static) -> Self {
        let mut service = service;
        Self {
            name,
            router: None,
            send: Box::new(move |requests| {
                for _ in 0..requests {
                    black_box(drive(&mut service, Bare::request()));
                }
            }),
        }
    }

    /// Creates a candidate from a router that already has the layer.
    pub fn routed(name: &'static str, app: Router) -> Self {
        let mut app = app.with_state(());
        Self {
            name,
            router: Some(app.clone()),
            send: Box::new(move |requests| {
                for _ in 0..requests {
                    black_box(drive(&mut app, request("/concerts/7")));
                }
            }),
        }
    }

    /// Sends requests sequentially.
    pub fn send(&mut self, requests: u64) {
        (self.send)(requests);
    }
}

/// Measurements of one candidate.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Name of the candidate.
    pub name: &'static str,
    /// Nanoseconds per request in each round.
    pub nanoseconds: Vec<f64>,
    /// Allocations per request.
    pub allocations: f64,
    /// Bytes allocated per request.
    pub bytes: f64,
}

impl Measurement {
    /// Returns the median time of a request in nanoseconds.
    pub fn median(&self) -> f64 {
        median(self.nanoseconds.clone())
    }

    /// Returns the median of the additional time compared with `other`.
    pub fn added_to(&self, other: &Self) -> f64 {
        let pairs = self.nanoseconds.iter().zip(&other.nanoseconds);
        median(pairs.map(|(ours, theirs)| ours - theirs).collect())
    }
}

/// Returns the median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends `rounds` batches of `requests` through each candidate, interleaved.
pub fn compare(candidates: &mut [Candidate], rounds: usize, requests: u64) -> Vec<Measurement> {
    let mut measured: Vec<_> = candidates
        .iter_mut()
        .map(|candidate| {
            // Warm up: create the series and fill caches.
            candidate.send(requests);
            let before = allocated();
            candidate.send(requests);
            let allocated = allocated() - before;
            Measurement {
                name: candidate.name,
                nanoseconds: Vec::with_capacity(rounds),
                allocations: allocated.times as f64 / requests as f64,
                bytes: allocated.bytes as f64 / requests as f64,
            }
        })
        .collect();
    let mut order: Vec<_> = (0..candidates.len()).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..rounds {
        shuffle(&mut order, &mut random);
        for &index in &order {
            // Restore the caches after the previous candidate.
            candidates[index].send(requests / 20);
            let start = Instant::now();
            candidates[index].send(requests);
            let took = start.elapsed().as_nanos() as f64;
            measured[index].nanoseconds.push(took / requests as f64);
        }
    }
    measured
}

/// Fisher–Yates shuffle with a fixed xorshift seed, so that runs are repeatable.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for i in (1..order.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        order.swap(i, (*random % (i as u64 + 1)) as usize);
    }
}
