//! Measures contenders side by side.
//!
//! They take turns: each round sends a small batch through each of them, in an
//! order that changes, so that whatever disturbs the machine disturbs all
//! alike. What a layer adds is the median of the differences to the first
//! contender in the same round.

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use bytes::Bytes;
use http_body_util::Empty;

use crate::alloc::allocated;
use crate::drive::{Driven, drive};
use crate::services::{Bare, request};

/// Sends requests through one stack of layers.
pub struct Contender {
    /// What it is called in the table.
    pub name: &'static str,
    send: Box<dyn FnMut(u64)>,
}

impl std::fmt::Debug for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Contender {
    /// Over the bare service.
    pub fn bare(name: &'static str, service: impl Driven<Empty<Bytes>> + 'static) -> Self {
        let mut service = service;
        Self {
            name,
            send: Box::new(move |requests| {
                for _ in 0..requests {
                    black_box(drive(&mut service, Bare::request()));
                }
            }),
        }
    }

    /// Over the router of 20 routes, with the layer it has.
    pub fn routed(name: &'static str, app: Router) -> Self {
        let mut app = app.with_state(());
        Self {
            name,
            send: Box::new(move |requests| {
                for _ in 0..requests {
                    black_box(drive(&mut app, request("/concerts/7")));
                }
            }),
        }
    }

    /// Sends so many requests, one after the other.
    pub fn send(&mut self, requests: u64) {
        (self.send)(requests);
    }
}

/// What was measured of one contender.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What it is called.
    pub name: &'static str,
    /// Nanoseconds a request, by round.
    pub nanoseconds: Vec<f64>,
    /// Allocations a request.
    pub allocations: f64,
    /// Bytes allocated by a request.
    pub bytes: f64,
}

impl Measured {
    /// The median of what a request takes, in nanoseconds.
    pub fn median(&self) -> f64 {
        median(self.nanoseconds.clone())
    }

    /// The median of what a request takes more than with `other`.
    pub fn added_to(&self, other: &Self) -> f64 {
        let pairs = self.nanoseconds.iter().zip(&other.nanoseconds);
        median(pairs.map(|(ours, theirs)| ours - theirs).collect())
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends `rounds` batches of `requests` through each contender, in turns.
pub fn contest(contenders: &mut [Contender], rounds: usize, requests: u64) -> Vec<Measured> {
    let mut measured: Vec<_> = contenders
        .iter_mut()
        .map(|contender| {
            // Whatever is made once is made here.
            contender.send(requests);
            let before = allocated();
            contender.send(requests);
            let allocated = allocated() - before;
            Measured {
                name: contender.name,
                nanoseconds: Vec::with_capacity(rounds),
                allocations: allocated.times as f64 / requests as f64,
                bytes: allocated.bytes as f64 / requests as f64,
            }
        })
        .collect();
    let mut order: Vec<_> = (0..contenders.len()).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..rounds {
        shuffle(&mut order, &mut random);
        for &index in &order {
            // The caches are as after a request of its own, not of another's.
            contenders[index].send(requests / 20);
            let start = Instant::now();
            contenders[index].send(requests);
            let took = start.elapsed().as_nanos() as f64;
            measured[index].nanoseconds.push(took / requests as f64);
        }
    }
    measured
}

/// Fisher and Yates, with a xorshift generator: the same order in every run.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for i in (1..order.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        order.swap(i, (*random % (i as u64 + 1)) as usize);
    }
}
