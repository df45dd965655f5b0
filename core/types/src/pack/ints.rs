//! A sorted set of integers in one buffer, each as wide as the widest needs: 2, 4 or 8 bytes.
//!
//! ```text
//! | integer | integer | ..      little endian, ascending, no two alike
//! ```

use table::size_class;

/// The integers.
#[derive(Clone, Default)]
pub(crate) struct Ints {
    bytes: Vec<u8>,
    /// Bytes of an integer, as a power of two: 1, 2 or 3.
    shift: u8,
}

impl Ints {
    pub(crate) fn new() -> Ints {
        Ints { bytes: Vec::new(), shift: 1 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() >> self.shift
    }

    /// Bytes allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The integer at an index below [`Ints::len`].
    pub(crate) fn at(&self, index: usize) -> i64 {
        let width = 1 << self.shift;
        let bytes = &self.bytes[index * width..(index + 1) * width];
        let mut wide = if bytes[width - 1] & 0x80 == 0 { [0; 8] } else { [0xff; 8] };
        wide[..width].copy_from_slice(bytes);
        i64::from_le_bytes(wide)
    }

    /// The index of a value, or where it would be.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether the value is there.
    pub(crate) fn contains(&self, value: i64) -> bool {
        self.search(value).is_ok()
    }

    /// Adds a value; says whether it was new.
    pub(crate) fn add(&mut self, value: i64) -> bool {
        let Err(index) = self.search(value) else { return false };
        self.widen(shift_for(value));
        let width = 1usize << self.shift;
        let at = index * width;
        let needed = self.bytes.len() + width;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(needed) - self.bytes.len());
        }
        self.bytes.resize(needed, 0);
        self.bytes.copy_within(at..needed - width, at + width);
        self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        true
    }

    /// Removes a value; says whether it was there.
    pub(crate) fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else { return false };
        let width = 1usize << self.shift;
        self.bytes.drain(index * width..(index + 1) * width);
        if self.bytes.capacity() > 64 && self.bytes.len() * 2 < self.bytes.capacity() {
            self.bytes.shrink_to(size_class(self.bytes.len()));
        }
        true
    }

    fn widen(&mut self, shift: u8) {
        if shift <= self.shift {
            return;
        }
        let values: Vec<i64> = (0..self.len()).map(|index| self.at(index)).collect();
        let width = 1usize << shift;
        let mut bytes = Vec::with_capacity(size_class((values.len() + 1) * width));
        values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()[..width]));
        self.bytes = bytes;
        self.shift = shift;
    }
}

fn shift_for(value: i64) -> u8 {
    if i16::try_from(value).is_ok() {
        1
    } else if i32::try_from(value).is_ok() {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::Ints;
    use std::collections::BTreeSet;

    #[test]
    fn it_agrees_with_a_naive_twin_at_every_width() {
        let mut random = base::Random::new(4);
        for bits in [8, 15, 16, 31, 32, 63] {
            let (mut ints, mut twin) = (Ints::new(), BTreeSet::new());
            for _ in 0..2_000 {
                let value = (random.next_u64() as i64) >> (63 - bits);
                let value = if random.below(2) == 0 { value % 50 } else { value };
                if random.below(3) > 0 && twin.len() < 300 {
                    assert_eq!(ints.add(value), twin.insert(value));
                } else {
                    assert_eq!(ints.remove(value), twin.remove(&value));
                }
                assert_eq!(ints.contains(value), twin.contains(&value));
            }
            let all: Vec<i64> = (0..ints.len()).map(|index| ints.at(index)).collect();
            assert_eq!(all, twin.into_iter().collect::<Vec<_>>());
        }
    }
}
