//! Bits of a byte string: counting, searching, combining, and integers of any width at any bit.
//!
//! Bit 0 is the highest bit of the first byte, as in Redis. Whole words are used where the bits of interest are many.

use std::ops::Range;

/// Bytes that are looked at in one step.
const WORD: usize = 8;

/// How two strings are combined, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits that all have.
    And,
    /// Bits that any has.
    Or,
    /// Bits that an odd number of them has.
    Xor,
    /// Bits of the first that none of the others has.
    Diff,
    /// Bits that some of the others have, but not the first.
    Diff1,
    /// Bits of the first that some of the others have.
    AndOr,
    /// Bits that exactly one of them has.
    One,
}

/// Bit `offset`; zero behind the end.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at)).copied().unwrap_or(0);
    byte >> (7 - offset % 8) & 1 == 1
}

/// Sets bit `offset`.
///
/// # Panics
/// When it lies behind the end.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) {
    let (byte, mask) = (&mut bytes[(offset / 8) as usize], 0x80 >> (offset % 8));
    *byte = if on { *byte | mask } else { *byte & !mask };
}

/// How many bits of the range are set; the range is cut to what exists.
pub fn count(bytes: &[u8], bits: Range<u64>) -> u64 {
    let Some((first, inner, last)) = split(bytes, bits) else { return 0 };
    u64::from(first.count_ones() + last.count_ones()) + count_bytes(inner)
}

fn count_bytes(bytes: &[u8]) -> u64 {
    // Independent sums, so that the additions need not wait for each other.
    let mut sums = [0u64; 4];
    let mut blocks = bytes.chunks_exact(4 * WORD);
    for block in &mut blocks {
        for (sum, word) in sums.iter_mut().zip(block.chunks_exact(WORD)) {
            *sum += u64::from(word_of(word).count_ones());
        }
    }
    let rest: u32 = blocks.remainder().iter().map(|byte| byte.count_ones()).sum();
    sums.iter().sum::<u64>() + u64::from(rest)
}

/// The first bit of the range that is `on`, if any; the range is cut to what exists.
pub fn first(bytes: &[u8], on: bool, bits: Range<u64>) -> Option<u64> {
    let end = bits.end.min(8 * bytes.len() as u64);
    let mut at = bits.start;
    while at < end {
        let rest = &bytes[(at / 8) as usize..];
        if at.is_multiple_of(8) {
            let skipped = 8 * same_bytes(rest, if on { 0 } else { 0xff }) as u64;
            if skipped > 0 {
                at += skipped;
                continue;
            }
        }
        if get(bytes, at) == on {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// How many of the first bytes are `filler`, rounded down to words where a word differs.
fn same_bytes(bytes: &[u8], filler: u8) -> usize {
    let full = u64::from_ne_bytes([filler; WORD]);
    let words = bytes.chunks_exact(WORD).take_while(|word| word_of(word) == full).count();
    let tail = &bytes[words * WORD..];
    words * WORD + tail.iter().take(WORD).take_while(|byte| **byte == filler).count()
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// The range cut to the string, as its first byte's bits, whole bytes between, and its last byte's bits.
fn split(bytes: &[u8], bits: Range<u64>) -> Option<(u8, &[u8], u8)> {
    let end = bits.end.min(8 * bytes.len() as u64);
    if bits.start >= end {
        return None;
    }
    let (from, to) = ((bits.start / 8) as usize, ((end - 1) / 8) as usize);
    let from_mask = 0xffu8 >> (bits.start % 8);
    let to_mask = 0xffu8 << (7 - (end - 1) % 8);
    if from == to {
        return Some((bytes[from] & from_mask & to_mask, &[], 0));
    }
    Some((bytes[from] & from_mask, &bytes[from + 1..to], bytes[to] & to_mask))
}

/// Combines `sources`, each as if it had zero bytes up to the longest one's length.
pub fn combine(operation: Operation, sources: &[Vec<u8>]) -> Vec<u8> {
    let len = sources.iter().map(Vec::len).max().unwrap_or(0);
    let Some((head, tail)) = sources.split_first() else { return Vec::new() };
    let mut out = head.clone();
    out.resize(len, 0);
    match operation {
        Operation::And | Operation::Or | Operation::Xor => {}
        Operation::One => return in_exactly_one(out, tail),
        Operation::Diff | Operation::Diff1 | Operation::AndOr => {
            let mut others = combine(Operation::Or, tail);
            others.resize(len, 0);
            let pairs = out.iter_mut().zip(others);
            match operation {
                Operation::Diff => pairs.for_each(|(a, b)| *a &= !b),
                Operation::Diff1 => pairs.for_each(|(a, b)| *a = b & !*a),
                _ => pairs.for_each(|(a, b)| *a &= b),
            }
            return out;
        }
    }
    for source in tail {
        let pairs = out.iter_mut().zip(source);
        match operation {
            Operation::And => {
                pairs.for_each(|(a, b)| *a &= b);
                out[source.len()..].fill(0);
            }
            Operation::Xor => pairs.for_each(|(a, b)| *a ^= b),
            _ => pairs.for_each(|(a, b)| *a |= b),
        }
    }
    out
}

/// The bits that exactly one has of `once` (as long as the longest) and the others.
fn in_exactly_one(mut once: Vec<u8>, others: &[Vec<u8>]) -> Vec<u8> {
    let mut more = vec![0; once.len()];
    for source in others {
        for ((once, more), byte) in once.iter_mut().zip(&mut more).zip(source) {
            *more |= *once & byte;
            *once |= byte;
        }
    }
    once.iter_mut().zip(more).for_each(|(once, more)| *once &= !more);
    once
}

/// An integer type of a bit field: sign and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Whether it has a sign.
    pub signed: bool,
    /// Bits, 1 to 64 (63 without a sign).
    pub width: u32,
}

/// What happens when a value does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The low bits are kept.
    Wrap,
    /// The nearest value that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Field {
    /// The value at bit `offset`; what lies behind the end is zero.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let raw =
            (offset..offset + u64::from(self.width)).fold(0u64, |n, at| n << 1 | u64::from(get(bytes, at)));
        self.extend(raw)
    }

    /// Writes the low bits of `value` at bit `offset`.
    ///
    /// # Panics
    /// When the field reaches behind the end.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        for i in 0..self.width {
            set(bytes, offset + u64::from(i), value >> (self.width - 1 - i) & 1 == 1);
        }
    }

    /// `value + by` in this field; `None` when it does not fit and the policy is to fail.
    pub fn sum(self, value: i64, by: i64, policy: Overflow) -> Option<i64> {
        self.fit(i128::from(value) + i128::from(by), policy)
    }

    /// `value` in this field; without a sign a negative value counts as its 64 bits.
    ///
    /// Saturating takes a negative value that lies more than 2^63 - 1 below the field's greatest one for one that is too
    /// great: Redis' difference of the two runs over, and clients see it.
    pub fn fitted(self, value: i64, policy: Overflow) -> Option<i64> {
        let wide = if self.signed { i128::from(value) } else { i128::from(value as u64) };
        let (_, high) = self.limits();
        let runs_over = self.width < 64 && high - wide > i128::from(i64::MAX);
        if runs_over && policy == Overflow::Saturate { Some(high as i64) } else { self.fit(wide, policy) }
    }

    /// The least and the greatest value.
    fn limits(self) -> (i128, i128) {
        let half = 1i128 << (self.width - 1);
        if self.signed { (-half, half - 1) } else { (0, 2 * half - 1) }
    }

    fn fit(self, value: i128, policy: Overflow) -> Option<i64> {
        let (low, high) = self.limits();
        if (low..=high).contains(&value) {
            return Some(value as i64);
        }
        match policy {
            Overflow::Wrap => Some(self.extend(value as u64)),
            Overflow::Saturate => Some(value.clamp(low, high) as i64),
            Overflow::Fail => None,
        }
    }

    /// The low bits of `raw` as a value of this field.
    fn extend(self, raw: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed { (raw << unused) as i64 >> unused } else { (raw << unused >> unused) as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..77u32).map(|i| (i * i * 31 + 5) as u8).collect()
    }

    #[test]
    fn counting_and_searching_agree_with_single_bits() {
        let bytes = sample();
        let all = 8 * bytes.len() as u64;
        for start in (0..all + 9).step_by(5) {
            for end in (start..all + 9).step_by(7) {
                let ones = (start..end).filter(|at| get(&bytes, *at)).count() as u64;
                assert_eq!(count(&bytes, start..end), ones, "{start}..{end}");
                for on in [false, true] {
                    let plain = (start..end.min(all)).find(|at| get(&bytes, *at) == on);
                    assert_eq!(first(&bytes, on, start..end), plain, "{start}..{end} {on}");
                }
            }
        }
    }

    #[test]
    fn long_runs_are_searched_to_their_end() {
        for len in [1, 7, 8, 9, 64, 1000] {
            let mut bytes = vec![0xff; len];
            assert_eq!(first(&bytes, false, 0..u64::MAX), None);
            set(&mut bytes, 8 * len as u64 - 3, false);
            assert_eq!(first(&bytes, false, 0..u64::MAX), Some(8 * len as u64 - 3));
            assert_eq!(count(&bytes, 0..u64::MAX), 8 * len as u64 - 1);
        }
    }

    #[test]
    fn strings_of_different_lengths_are_combined() {
        let sources = [b"abc".to_vec(), b"\x0f".to_vec(), b"\xff\xf0\x01\x02".to_vec()];
        assert_eq!(combine(Operation::And, &sources), b"\x01\0\0\0");
        assert_eq!(combine(Operation::Or, &sources), b"\xff\xf2\x63\x02");
        assert_eq!(combine(Operation::Xor, &sources), [b'a' ^ 0x0f ^ 0xff, b'b' ^ 0xf0, b'c' ^ 1, 2]);
        assert_eq!(combine(Operation::Diff, &sources), [0, b'b' & !0xf0, b'c' & !1, 0]);
        assert_eq!(combine(Operation::Diff1, &sources), [!b'a', 0xf0 & !b'b', 0, 2]);
        assert_eq!(combine(Operation::AndOr, &sources), [b'a', b'b' & 0xf0, 1, 0]);
        assert_eq!(combine(Operation::One, &sources), [!b'a' & !0x0f, b'b' ^ 0xf0, b'c' ^ 1, 2]);
    }

    #[test]
    fn fields_hold_their_ranges() {
        let mut bytes = vec![0; 20];
        let wide = Field { signed: true, width: 64 };
        wide.set(&mut bytes, 13, i64::MIN + 5);
        assert_eq!(wide.get(&bytes, 13), i64::MIN + 5);
        assert_eq!(Field { signed: false, width: 63 }.get(&bytes, 14), 5);
        let (i4, u4) = (Field { signed: true, width: 4 }, Field { signed: false, width: 4 });
        assert_eq!(i4.sum(7, 1, Overflow::Wrap), Some(-8));
        assert_eq!(i4.sum(-8, -1, Overflow::Saturate), Some(-8));
        assert_eq!(i4.sum(7, 1, Overflow::Fail), None);
        assert_eq!(u4.sum(0, -1, Overflow::Wrap), Some(15));
        assert_eq!(u4.sum(3, -4, Overflow::Saturate), Some(0));
        assert_eq!(u4.fitted(-1, Overflow::Saturate), Some(15));
        assert_eq!(wide.sum(i64::MAX, 1, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(i4.fitted(-9, Overflow::Saturate), Some(-8));
        assert_eq!(i4.fitted(i64::MIN, Overflow::Saturate), Some(7));
    }
}
