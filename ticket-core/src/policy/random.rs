use std::convert::Infallible;

use rand::TryRng;

use super::Operation;

/// 2^64 divided by the golden ratio: the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random source of one decision, a function of a seed, an operation and the decision's number.
///
/// It counts instead of remembering: no state is shared between decisions, so that the n-th
/// decision of an operation is the same whatever number of tasks and threads take them.
/// It is `Copy` for the same reason: a policy that is asked twice draws the same twice.
///
/// Its bits are those of SplitMix64 (Steele, Lea and Flood, 2014), which are good enough to play
/// with and never for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
    number: u64,
}

impl Random {
    /// The source of the decision `number`, counted from 0, of `operation` under `seed`.
    pub fn new(seed: u64, operation: Operation, number: u64) -> Self {
        let operation = derive(seed, operation.index() as u64);
        Self {
            state: derive(operation, number),
            number,
        }
    }

    /// A source of its own for part `index` of the same decision.
    ///
    /// It depends on what this source was made from and on nothing that its other parts draw.
    #[must_use]
    pub fn fork(self, index: u64) -> Self {
        Self {
            state: derive(self.state, index),
            number: self.number,
        }
    }

    /// The decision's number among those of its operation, counted from 0.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The next number of [0, 1), in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }
}

/// For the distributions of `rand` and `rand_distr`.
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

/// The start of the stream `index` under `key`. Mixed twice, so that streams with neighbouring
/// indices do not start a step of one another apart.
fn derive(key: u64, index: u64) -> u64 {
    mix(mix(key ^ 0x6a09_e667_f3bc_c909).wrapping_add(mix(index.wrapping_add(STEP))))
}

/// The finalizer of SplitMix64: David Stafford's variant 13.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
