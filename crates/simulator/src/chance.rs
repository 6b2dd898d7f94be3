//! Chance that can be had again.

/// A small generator (splitmix64): no secret, but evenly spread.
pub(crate) struct Chance(u64);

impl Chance {
    /// Begins at a point that the seed and all of the words decide.
    pub(crate) fn of(seed: u64, words: impl IntoIterator<Item = u64>) -> Self {
        let words = words.into_iter();
        words.fold(Self(seed), |mut chance, word| Self(chance.next() ^ word))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the numbers from 0 to before `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
