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
    use super::pick;
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
    fn few_of_many_and_most_of_all_are_chosen_alike() {
        for (count, len) in [(1, 1_000), (3, 1_000), (5, 1_000), (999, 1_000), (64, 65), (128, 129)] {
            let mut random = Random::new(5);
            let mut hits = vec![0; len];
            for _ in 0..200 {
                let chosen = pick(&mut random, count, len);
                assert!(chosen.len() == count && chosen.windows(2).all(|pair| pair[0] < pair[1]));
                chosen.iter().for_each(|&index| hits[index] += 1);
            }
            let halves: [i32; 2] = [hits[..len / 2].iter().sum(), hits[len / 2..].iter().sum()];
            assert!((halves[0] - halves[1]).abs() < 200, "{halves:?} of {count} among {len}");
        }
    }
}
