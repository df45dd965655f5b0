//! Choosing several different indexes at random.

use base::Random;
use std::collections::BTreeSet;

/// Up to `count` different indexes below `len`, ascending; every subset is as likely (Floyd's method: one
/// draw for each index chosen).
pub(crate) fn pick(random: &mut Random, count: usize, len: usize) -> Vec<usize> {
    let count = count.min(len);
    let mut chosen = BTreeSet::new();
    for top in len - count..len {
        let drawn = random.below(top as u64 + 1) as usize;
        if !chosen.insert(drawn) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
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
}
