//! The small form of a sorted set: entries in order, in one allocation.
//!
//! ```text
//! entry:  score: f64 little-endian | length (7 bits a byte, low first) | member
//! ```
//!
//! Everything is a walk from the left: with at most 128 entries of 64 bytes (the usual limits) a walk stays
//! below what a dictionary's cache misses cost.

use super::bounds::Cut;
use std::ops::Range;

const SCORE_BYTES: usize = 8;

/// Entries ordered by score, then member.
#[derive(Clone, Default)]
pub(super) struct PackedSet {
    buf: Vec<u8>,
    count: u32,
}

/// An entry and where it lies.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) score: f64,
    pub(super) member: &'a [u8],
    pub(super) rank: usize,
    at: usize,
    end: usize,
}

impl PackedSet {
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Packed<'_>> {
        let mut at = 0;
        (0..self.len()).map(move |rank| {
            let entry = self.entry(at, rank);
            at = entry.end;
            entry
        })
    }

    pub(super) fn find(&self, member: &[u8]) -> Option<Packed<'_>> {
        // Members often begin alike and are equally long: their last bytes tell most apart without a call.
        let last = member.last();
        self.iter().find(|entry| entry.member.last() == last && entry.member == member)
    }

    /// Number of entries before the cut.
    pub(super) fn rank_of(&self, cut: Cut<'_>) -> usize {
        self.iter().take_while(|entry| cut.is_behind(entry.score, || entry.member)).count()
    }

    /// Put in an entry whose member is not there yet. -0 becomes 0, as in Redis' small form.
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) {
        let score = score + 0.0;
        let cut = Cut::Entry(score, member);
        let behind = self.iter().take_while(|entry| cut.is_behind(entry.score, || entry.member));
        let at = behind.last().map_or(0, |entry| entry.end);
        let size = SCORE_BYTES + width(member.len()) + member.len();
        let old_end = self.buf.len();
        if self.buf.capacity() - old_end < size {
            self.buf.reserve_exact((size + old_end / 4).next_multiple_of(16));
        }
        self.buf.resize(old_end + size, 0);
        self.buf.copy_within(at..old_end, at + size);
        write(&mut self.buf[at..at + size], score, member);
        self.count += 1;
    }

    /// Give `member` another score if it is there under the conditions that `decide` tells from the old one;
    /// `None` when it is not there. One walk finds it, another its new place.
    pub(super) fn change<R>(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(f64) -> (R, Option<f64>),
    ) -> Option<R> {
        let entry = self.find(member)?;
        let (result, score) = decide(entry.score);
        if let Some(score) = score {
            let (at, end) = (entry.at, entry.end);
            self.buf.drain(at..end);
            self.count -= 1;
            self.insert(score, member);
        }
        Some(result)
    }

    /// Remove the entries of these ranks, which must exist.
    pub(super) fn remove(&mut self, ranks: Range<usize>) {
        if ranks.is_empty() {
            return;
        }
        let from = self.offset(ranks.start);
        let to = self.offset(ranks.end);
        self.buf.drain(from..to);
        self.count -= ranks.len() as u32;
        if self.buf.capacity() > 4 * self.buf.len() + 64 {
            self.buf.shrink_to(2 * self.buf.len());
        }
    }

    fn offset(&self, rank: usize) -> usize {
        (0..rank).fold(0, |at, rank| self.entry(at, rank).end)
    }

    fn entry(&self, at: usize, rank: usize) -> Packed<'_> {
        let score = f64::from_le_bytes(self.buf[at..at + SCORE_BYTES].try_into().expect("eight bytes"));
        let mut data = at + SCORE_BYTES;
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = self.buf[data];
            data += 1;
            len |= ((byte & 127) as usize) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        Packed { score, member: &self.buf[data..data + len], rank, at, end: data + len }
    }
}

fn width(len: usize) -> usize {
    if len < 128 { 1 } else { (usize::BITS - len.leading_zeros()).div_ceil(7) as usize }
}

fn write(place: &mut [u8], score: f64, member: &[u8]) {
    place[..SCORE_BYTES].copy_from_slice(&score.to_le_bytes());
    let (mut at, mut len) = (SCORE_BYTES, member.len());
    while len >= 128 {
        place[at] = len as u8 | 128;
        len >>= 7;
        at += 1;
    }
    place[at] = len as u8;
    place[at + 1..].copy_from_slice(member);
}
