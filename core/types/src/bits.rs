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

/// Words that are summed side by side, so that the compiler takes whole vectors of them.
const LANES: usize = 8;
/// Words of so many rows become one before their bits are counted.
const ROWS: usize = 8;

type Row = [u64; LANES];

/// Counting the bits of a word takes a dozen steps, adding three words bit by bit takes five. So words are added up in columns of bits
/// (`ones`, `twos`, `fours`: what a set bit in them stands for), and only what is carried beyond four is counted: one word of eight.
fn count_bytes(bytes: &[u8]) -> u64 {
    let mut blocks = bytes.chunks_exact(ROWS * LANES * WORD);
    let (mut ones, mut twos, mut fours, mut eights) = ([0; LANES], [0; LANES], [0; LANES], [0; LANES]);
    for block in &mut blocks {
        let row = |number| row_of(&block[number * LANES * WORD..]);
        let pair = add(&mut ones, row(0), row(1));
        let pairs = add(&mut twos, pair, add(&mut ones, row(2), row(3)));
        let pair = add(&mut ones, row(4), row(5));
        let carried = add(&mut twos, pair, add(&mut ones, row(6), row(7)));
        let carried = add(&mut fours, pairs, carried);
        (0..LANES).for_each(|lane| eights[lane] += ones_of(carried[lane]));
    }
    let counted = |row: Row| row.into_iter().map(ones_of).sum::<u64>();
    let whole = 8 * eights.iter().sum::<u64>() + 4 * counted(fours) + 2 * counted(twos) + counted(ones);
    whole + count_few(blocks.remainder())
}

fn count_few(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(WORD);
    let rest: u32 = words.remainder().iter().map(|byte| byte.count_ones()).sum();
    words.map(|word| ones_of(word_of(word))).sum::<u64>() + u64::from(rest)
}

/// Adds the bits of `a` and `b` to those of `sum`, column by column; what is carried.
#[inline(always)]
fn add(sum: &mut Row, a: Row, b: Row) -> Row {
    let mut carried = [0; LANES];
    for lane in 0..LANES {
        let either = sum[lane] ^ a[lane];
        carried[lane] = sum[lane] & a[lane] | either & b[lane];
        sum[lane] = either ^ b[lane];
    }
    carried
}

#[inline(always)]
fn row_of(bytes: &[u8]) -> Row {
    std::array::from_fn(|lane| word_of(&bytes[lane * WORD..][..WORD]))
}

fn ones_of(word: u64) -> u64 {
    u64::from(word.count_ones())
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

/// Bytes of each source that are combined at a time: what is in hand of a few of them stays in the nearest cache.
const BLOCK_BYTES: usize = 1024;

type Block = [u8; BLOCK_BYTES];

/// Combines `sources`, each as if it had zero bytes up to the longest one's length.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut out = Vec::with_capacity(len);
    for at in (0..len).step_by(BLOCK_BYTES) {
        let block = combined(operation, sources, at);
        out.extend_from_slice(&block[..BLOCK_BYTES.min(len - at)]);
    }
    out
}

/// All bits of `source` the other way round.
pub fn invert(source: &[u8]) -> Vec<u8> {
    source.iter().map(|byte| !byte).collect()
}

/// The combination of what the sources have from byte `at` on.
fn combined(operation: Operation, sources: &[&[u8]], at: usize) -> Block {
    let Some((first, others)) = sources.split_first() else { return [0; BLOCK_BYTES] };
    let mut out = block_of(first, at);
    match operation {
        Operation::And => join_all(&mut out, others, at, |a, b| a & b),
        Operation::Or => join_all(&mut out, others, at, |a, b| a | b),
        Operation::Xor => join_all(&mut out, others, at, |a, b| a ^ b),
        Operation::Diff => join(&mut out, &combined(Operation::Or, others, at), |a, b| a & !b),
        Operation::Diff1 => join(&mut out, &combined(Operation::Or, others, at), |a, b| b & !a),
        Operation::AndOr => join(&mut out, &combined(Operation::Or, others, at), |a, b| a & b),
        Operation::One => keep_single(&mut out, others, at),
    }
    out
}

/// What `source` has from byte `at` on, with zeros behind its end.
fn block_of(source: &[u8], at: usize) -> Block {
    let mut block = [0; BLOCK_BYTES];
    let part = source.get(at..).unwrap_or_default();
    let part = &part[..part.len().min(BLOCK_BYTES)];
    block[..part.len()].copy_from_slice(part);
    block
}

fn join_all(out: &mut Block, others: &[&[u8]], at: usize, with: impl Fn(u8, u8) -> u8) {
    others.iter().for_each(|other| join(out, &block_of(other, at), &with));
}

fn join(out: &mut Block, other: &Block, with: impl Fn(u8, u8) -> u8) {
    out.iter_mut().zip(other).for_each(|(a, b)| *a = with(*a, *b));
}

/// Leaves in `once` the bits that exactly one has of it and the others.
fn keep_single(once: &mut Block, others: &[&[u8]], at: usize) {
    let mut more = [0; BLOCK_BYTES];
    for other in others {
        for ((once, more), byte) in once.iter_mut().zip(&mut more).zip(block_of(other, at)) {
            *more |= *once & byte;
            *once |= byte;
        }
    }
    join(once, &more, |once, more| once & !more);
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
        let sources: [&[u8]; 3] = [b"abc", b"\x0f", b"\xff\xf0\x01\x02"];
        assert_eq!(combine(Operation::And, &sources), b"\x01\0\0\0");
        assert_eq!(combine(Operation::Or, &sources), b"\xff\xf2\x63\x02");
        assert_eq!(combine(Operation::Xor, &sources), [b'a' ^ 0x0f ^ 0xff, b'b' ^ 0xf0, b'c' ^ 1, 2]);
        assert_eq!(combine(Operation::Diff, &sources), [0, b'b' & !0xf0, b'c' & !1, 0]);
        assert_eq!(combine(Operation::Diff1, &sources), [!b'a', 0xf0 & !b'b', 0, 2]);
        assert_eq!(combine(Operation::AndOr, &sources), [b'a', b'b' & 0xf0, 1, 0]);
        assert_eq!(combine(Operation::One, &sources), [!b'a' & !0x0f, b'b' ^ 0xf0, b'c' ^ 1, 2]);
    }

    #[test]
    fn strings_of_many_blocks_are_combined_byte_by_byte() {
        let byte = |seed: usize, at: usize| (at * at * 31 + at / 7 * seed + seed) as u8;
        let strings: Vec<Vec<u8>> =
            [(3, 2 * BLOCK_BYTES + 5), (50, BLOCK_BYTES), (7, 0), (9, 3 * BLOCK_BYTES - 1)]
                .map(|(seed, len)| (0..len).map(|at| byte(seed, at)).collect())
                .into();
        let sources: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        for operation in [
            Operation::And,
            Operation::Or,
            Operation::Xor,
            Operation::Diff,
            Operation::Diff1,
            Operation::AndOr,
            Operation::One,
        ] {
            let whole = combine(operation, &sources);
            assert_eq!(whole.len(), 3 * BLOCK_BYTES - 1);
            for (at, found) in whole.iter().enumerate() {
                let bytes: Vec<u8> = sources.iter().map(|s| s.get(at).copied().unwrap_or(0)).collect();
                assert_eq!(*found, of_bytes(operation, &bytes), "{operation:?} at {at}");
            }
        }
        assert_eq!(invert(b"\0\x0f"), b"\xff\xf0");
    }

    /// The combination as the operations tell it, bit by bit.
    fn of_bytes(operation: Operation, bytes: &[u8]) -> u8 {
        let bit = |bit: u32| {
            let first = bytes[0] >> bit & 1 == 1;
            let others = bytes[1..].iter().filter(|byte| *byte >> bit & 1 == 1).count();
            let all = others + usize::from(first);
            u8::from(match operation {
                Operation::And => all == bytes.len(),
                Operation::Or => all > 0,
                Operation::Xor => all % 2 == 1,
                Operation::Diff => first && others == 0,
                Operation::Diff1 => !first && others > 0,
                Operation::AndOr => first && others > 0,
                Operation::One => all == 1,
            }) << bit
        };
        (0..8).map(bit).sum()
    }

    #[test]
    fn counting_many_bytes_agrees_with_counting_each() {
        let mut random = base::Random::new(11);
        let bytes: Vec<u8> =
            (0..9000).map(|at| if at % 900 < 300 { 0xff } else { random.next_u64() as u8 }).collect();
        for range in [0..9000, 1..8000, 7..5000, 100..613, 100..612, 100..1200, 8000..9000] {
            let plain: u32 = bytes[range.clone()].iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(count_bytes(&bytes[range.clone()]), u64::from(plain), "{range:?}");
        }
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
