//! A sorted set of integers in one buffer, each as wide as the widest needs: 2, 4 or 8 bytes.
//!
//! ```text
//! | integer | integer | ..      little endian, ascending, no two alike
//! ```

use super::thin::{self, ThinBytes};

/// How many integers fit, whatever their width.
pub(crate) const INTS_MAX: usize = thin::BYTES_MAX / size_of::<i64>();

/// The integers.
#[derive(Clone)]
pub(crate) struct Ints {
    /// Its word: bytes of an integer, as a power of two above the first: 0, 1 or 2 for 2, 4 or 8 bytes.
    bytes: ThinBytes,
}

impl Ints {
    pub(crate) fn new() -> Ints {
        Ints { bytes: ThinBytes::new() }
    }

    /// Bytes of an integer, as a power of two.
    fn shift(&self) -> u32 {
        self.bytes.word() + 1
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() >> self.shift()
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    /// The integer at an index below [`Ints::len`].
    pub(crate) fn at(&self, index: usize) -> i64 {
        let width = 1 << self.shift();
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
        let shift = self.shift().max(shift_for(value));
        self.widen(shift);
        let width = 1usize << shift;
        self.bytes.open(index * width, width).copy_from_slice(&value.to_le_bytes()[..width]);
        self.bytes.set_word(shift - 1);
        true
    }

    /// Removes a value; says whether it was there.
    pub(crate) fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else { return false };
        let width = 1usize << self.shift();
        self.bytes.close(index * width..(index + 1) * width);
        true
    }

    /// Makes every integer that is there so wide.
    fn widen(&mut self, shift: u32) {
        if shift == self.shift() {
            return;
        }
        let width = 1usize << shift;
        let mut wide = ThinBytes::new();
        let places = wide.open(0, self.len() * width).chunks_exact_mut(width);
        for (index, place) in places.enumerate() {
            place.copy_from_slice(&self.at(index).to_le_bytes()[..width]);
        }
        self.bytes = wide;
    }
}

fn shift_for(value: i64) -> u32 {
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
