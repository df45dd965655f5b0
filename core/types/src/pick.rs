//! Choosing several different indexes at random.

use base::Random;
use std::collections::BTreeSet;

/// Up to `count` different indexes below `len`, ascending; every subset is as likely (Floyd's method: one
/// draw for each index chosen).
pub(crate) fn pick(random: &mut Random, count: usize, len: usize) -> Vec<usize> {
    /// Where one of so many or more is chosen, marking them among all takes less than a tree of them.
    const MARKED_SHARE: usize = 256;
    let count = count.min(len);
    if count == len {
        return (0..len).collect();
    }
    if len / MARKED_SHARE < count {
        return pick_marked(random, count, len);
    }
    pick_few(random, count, len)
}

/// The choice with a tree of what is chosen.
fn pick_few(random: &mut Random, count: usize, len: usize) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    for top in len - count..len {
        let drawn = random.below(top as u64 + 1) as usize;
        if !chosen.insert(drawn) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

/// The same choice, with a bit for each index.
fn pick_marked(random: &mut Random, count: usize, len: usize) -> Vec<usize> {
    const BITS: usize = u64::BITS as usize;
    let mut marks = vec![0u64; len.div_ceil(BITS)];
    let mut mark = |index: usize| {
        let (word, bit) = (&mut marks[index / BITS], 1 << (index % BITS));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    };
    for top in len - count..len {
        let drawn = random.below(top as u64 + 1) as usize;
        if !mark(drawn) {
            mark(top);
        }
    }
    let mut chosen = Vec::with_capacity(count);
    for (number, mut word) in marks.into_iter().enumerate() {
        while word != 0 {
            chosen.push(number * BITS + word.trailing_zeros() as usize);
            word &= word - 1;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::{pick, pick_few, pick_marked};
    use base::Random;

    #[test]
    fn every_index_is_reached_and_none_twice() {
        let mut random = Random::new(1);
        let mut hits = [0; 10];
        for _ in 0..1_000 {
            let chosen = pick(&mut random, 3, 10);
            assert!(chosen.len() == 3 && chosen.windows(2).all(|pair| pair[0] < pair[1]));
            chosen.iter().for_each(|&index| hits[index] += 1);
        }
        assert!(hits.iter().all(|&hit| (200..400).contains(&hit)), "{hits:?}");
        assert_eq!(pick(&mut random, 9, 3), [0, 1, 2]);
        assert!(pick(&mut random, 9, 0).is_empty());
    }

    #[test]
    fn both_ways_choose_the_same() {
        for (count, len) in [(1, 1_000), (5, 1_000), (999, 1_000), (63, 64), (64, 65), (1, 2)] {
            for seed in 0..50 {
                let few = pick_few(&mut Random::new(seed), count, len);
                assert!(few.len() == count && few.windows(2).all(|pair| pair[0] < pair[1]));
                assert_eq!(pick_marked(&mut Random::new(seed), count, len), few, "{count} of {len}");
            }
        }
    }
}
