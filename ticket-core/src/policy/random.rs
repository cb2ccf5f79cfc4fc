//! Deterministic random sources.

use std::convert::Infallible;

use rand::TryRng;

use super::Operation;

/// 2^64 divided by the golden ratio: the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random source of one decision, derived from a seed, an operation and the sequence number of the
/// decision.
///
/// Decisions share no state: the n-th decision of an operation is the same regardless of the number
/// of tasks and threads. The source is `Copy`, so that a policy that is evaluated twice draws the same
/// values twice.
///
/// The generator is SplitMix64 (Steele, Lea and Flood, 2014). It is not cryptographically secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
    number: u64,
}

impl Random {
    /// Returns the source of the decision `number`, counted from 0, of `operation`.
    pub fn new(seed: u64, operation: Operation, number: u64) -> Self {
        let operation = derive(seed, operation.index() as u64);
        Self {
            state: derive(operation, number),
            number,
        }
    }

    /// Returns an independent source for part `index` of the same decision. Draws from other parts do
    /// not affect it.
    #[must_use]
    pub fn fork(self, index: u64) -> Self {
        Self {
            state: derive(self.state, index),
            number: self.number,
        }
    }

    /// Returns the sequence number of the decision within its operation, counted from 0.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Draws a number from the interval [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }
}

/// Supports the distributions of `rand` and `rand_distr`.
impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Derives the initial state of stream `index` from `key`. Mixes twice, so that streams with adjacent
/// indices do not overlap at an offset of one step.
fn derive(key: u64, index: u64) -> u64 {
    mix(mix(key ^ 0x6a09_e667_f3bc_c909).wrapping_add(mix(index.wrapping_add(STEP))))
}

/// The finalizer of SplitMix64: David Stafford's variant 13.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
