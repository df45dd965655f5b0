//! A filter in front of the table of followed keys: most keys that are created are none of them, and two bits tell.

/// Words of 64 bits.
const WORDS: usize = 128;

/// May say yes in vain, never no in vain.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<u64>);

impl Filter {
    /// Whether a key of this hash may have been added.
    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let has = |(word, bit): (usize, u64)| self.0.get(word).is_some_and(|word| word & bit != 0);
        let [first, second] = places(hash);
        has(first) && has(second)
    }

    pub(crate) fn add(&mut self, hash: u64) {
        self.0.resize(WORDS, 0);
        for (word, bit) in places(hash) {
            self.0[word] |= bit;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// Two places, of bits that have nothing to do with each other.
#[inline]
fn places(hash: u64) -> [(usize, u64); 2] {
    [hash, hash >> 32].map(|part| ((part >> 6) as usize % WORDS, 1 << (part & 63)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filter = Filter::default();
        let hash = |n: u64| base::hash::hash(7, &n.to_le_bytes());
        assert!((0..100).all(|n| !filter.may_hold(hash(n))));
        (0..100).for_each(|n| filter.add(hash(n)));
        assert!((0..100).all(|n| filter.may_hold(hash(n))));
        assert!((100..1100).filter(|n| filter.may_hold(hash(*n))).count() < 20);
        filter.clear();
        assert!(!filter.may_hold(hash(1)));
    }
}
