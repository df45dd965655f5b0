//! Sizes of large values, told by some of their parts: who asks may have all clients waiting.

/// Parts that are looked at, at most.
pub(crate) const PARTS_MAX: usize = 64;

/// The sum of `size` over the parts `0..count`, of which no more than `looked_at_max` (at least 1) are looked at, evenly apart.
pub(crate) fn sum(count: usize, looked_at_max: usize, size: impl Fn(usize) -> usize) -> usize {
    let looks = count.min(looked_at_max);
    scaled((0..looks).map(|i| size(i * count / looks)).sum(), looks, count)
}

/// The same of parts that can only be gone through from the first on.
pub(crate) fn sum_of_first(count: usize, sizes: impl Iterator<Item = usize>) -> usize {
    let looks = count.min(PARTS_MAX);
    scaled(sizes.take(looks).sum(), looks, count)
}

/// What `count` parts make up when so many of them make up `seen`.
fn scaled(seen: usize, looks: usize, count: usize) -> usize {
    (seen as u128 * count as u128 / looks.max(1) as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn few_parts_are_summed_and_of_many_some_tell_of_all() {
        assert_eq!((sum(0, 4, |_| 1), sum(4, 4, |i| i), sum_of_first(3, 1..)), (0, 6, 6));
        let looks = Cell::new(0);
        let look = |i: usize| {
            looks.set(looks.get() + 1);
            // One half is twice as large as the other.
            if i < 500_000 { 10 } else { 20 }
        };
        assert_eq!((sum(1_000_000, 64, look), looks.get()), (15_000_000, 64));
        let sizes = std::iter::repeat_with(|| {
            looks.set(looks.get() + 1);
            3
        });
        assert_eq!((sum_of_first(1_000_000, sizes), looks.get()), (3_000_000, 128));
    }
}
