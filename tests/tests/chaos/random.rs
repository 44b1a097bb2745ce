//! Choices that a seed repeats.

use std::hash::{BuildHasher, RandomState};

/// A sequence of choices: `SplitMix64` of <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody has chosen.
    pub(crate) fn seed() -> u64 {
        // Short, for whoever has to type it.
        RandomState::new().hash_one("oneshift") % 1_000_000
    }

    /// A number from 0 to `limit - 1`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `all`; nothing if there is none.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = self.next().checked_rem(u64::try_from(all.len()).ok()?)?;
        all.get(usize::try_from(index).ok()?)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
