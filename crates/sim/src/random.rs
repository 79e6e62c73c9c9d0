//! Every choice of a run comes from one seed.

use rand_core::Rng;
use rand_pcg::Pcg64;

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random {
    source: Pcg64,
}

impl Random {
    /// The stream number `stream` of `seed`. Streams are independent, so that a new choice in one place does not shift all others.
    pub fn new(seed: u64, stream: u64) -> Random {
        Random { source: Pcg64::new(u128::from(seed) << 64 | u128::from(stream), 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96 + u128::from(stream)) }
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((u128::from(self.source.next_u64()) * u128::from(bound)) >> 64) as u64 }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.source.fill_bytes(bytes);
    }
}
