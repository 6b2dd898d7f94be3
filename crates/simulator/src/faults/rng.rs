//! A pseudo-random generator whose numbers repeat with the seed.

/// Splitmix64: not for secrets, but evenly distributed.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator whose numbers depend on the seed and on all words.
    pub(crate) fn new(seed: u64, words: impl IntoIterator<Item = u64>) -> Self {
        let words = words.into_iter();
        words.fold(Self(seed), |mut rng, word| Self(rng.next() ^ word))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
