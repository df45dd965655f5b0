//! The small form of a sorted set: entries in order, in one allocation.
//!
//! ```text
//! entry:  score: f64 little-endian | length (7 bits a byte, low first) | member
//! ```
//!
//! Everything is a walk from the left: with at most 128 entries of 64 bytes (the usual limits) a walk stays
//! below what a dictionary's cache misses cost.

use super::bounds::Cut;
use crate::pack::thin::{self, ThinBytes};
use std::ops::Range;

const SCORE_BYTES: usize = 8;

/// Entries ordered by score, then member.
#[derive(Clone)]
pub(super) struct PackedSet {
    /// Its word: how many entries there are.
    bytes: ThinBytes,
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
    pub(super) fn new() -> PackedSet {
        PackedSet { bytes: ThinBytes::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.word() as usize
    }

    /// Bytes allocated.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    /// Whether one more member finds room, however many are there.
    pub(super) fn has_room(&self, member: &[u8]) -> bool {
        self.bytes.len() + size(member) <= thin::BYTES_MAX
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
        let count = self.bytes.word() + 1;
        write(self.bytes.open(at, size(member)), score, member);
        self.bytes.set_word(count);
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
            self.bytes.close(at..end);
            self.bytes.set_word(self.bytes.word() - 1);
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
        self.bytes.close(from..to);
        self.bytes.set_word(self.bytes.word() - ranks.len() as u32);
    }

    fn offset(&self, rank: usize) -> usize {
        (0..rank).fold(0, |at, rank| self.entry(at, rank).end)
    }

    fn entry(&self, at: usize, rank: usize) -> Packed<'_> {
        let score = f64::from_le_bytes(self.bytes[at..at + SCORE_BYTES].try_into().expect("eight bytes"));
        let mut data = at + SCORE_BYTES;
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[data];
            data += 1;
            len |= ((byte & 127) as usize) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        Packed { score, member: &self.bytes[data..data + len], rank, at, end: data + len }
    }
}

/// Bytes that an entry takes.
fn size(member: &[u8]) -> usize {
    SCORE_BYTES + width(member.len()) + member.len()
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
