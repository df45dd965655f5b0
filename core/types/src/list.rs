//! The list: packed chunks of elements, fast at both ends.
//!
//! A queue pushes at one end and pops at the other, so both ends must cost no more than copying the element.
//! A short list is one packed run in one allocation; a long one is a deque of such runs of about 8 KiB each,
//! which keeps two bytes of overhead per element and lets a look into the middle skip whole chunks by their
//! counts. Chunks are reference-counted: [`Collection::share`] copies the deque of pointers, and a later write
//! copies the chunk that it touches.
//!
//! Invariants: no chunk of a long list is empty; `Chunks::len` is the sum of the counts beside the chunks,
//! which equal the chunks' own; a chunk exceeds the limit only when it holds a single element.

use crate::estimate;
use crate::pack::listpack::Packed;
use crate::{Collection, Kind, Limits};
use chunks::{ChunkLimits, Chunks, Node, remove_equal};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

mod chunks;
mod iter;
#[cfg(test)]
mod tests;

pub use iter::Iter;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The left end, `L` in command names.
    Front,
    /// The right end, `R` in command names.
    Back,
}

/// A sequence of byte strings.
#[derive(Clone, Default)]
pub struct List {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    Short(Packed),
    Long(Box<Chunks>),
}

impl Default for Repr {
    fn default() -> Repr {
        Repr::Short(Packed::default())
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Collection for List {
    const KIND: Kind = Kind::List;

    fn new() -> List {
        List::default()
    }

    fn is_empty(&self) -> bool {
        List::is_empty(self)
    }

    fn elements(&self) -> usize {
        self.len()
    }

    fn share(&self) -> List {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Short(_) => "listpack",
            Repr::Long(_) => "quicklist",
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self.repr, Repr::Short(_))
    }

    fn heap_bytes(&self) -> usize {
        match &self.repr {
            Repr::Short(packed) => packed.capacity(),
            Repr::Long(chunks) => {
                let each = size_of::<Packed>() + 2 * size_of::<usize>();
                let size = |i: usize| chunks.nodes[i].chunk.capacity() + each;
                let data = estimate::sum(chunks.nodes.len(), estimate::PARTS_MAX, size);
                size_of::<Chunks>() + chunks.nodes.capacity() * size_of::<Node>() + data
            }
        }
    }
}

impl List {
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Short(packed) => packed.count(),
            Repr::Long(chunks) => chunks.len,
        }
    }

    /// Add `value` at the given end.
    pub fn push(&mut self, end: End, value: &[u8], limits: &Limits) {
        match end {
            End::Front => self.push_front(value, limits),
            End::Back => self.push_back(value, limits),
        }
    }

    /// Add `value` at the left end.
    pub fn push_front(&mut self, value: &[u8], limits: &Limits) {
        match &mut self.repr {
            Repr::Short(packed) if fits_short(packed, value, limits) => packed.push_front(value),
            _ => self.chunks(limits).push_front(value),
        }
    }

    /// Add `value` at the right end.
    pub fn push_back(&mut self, value: &[u8], limits: &Limits) {
        match &mut self.repr {
            Repr::Short(packed) if fits_short(packed, value, limits) => packed.push_back(value),
            _ => self.chunks(limits).push_back(value),
        }
    }

    /// The leftmost element.
    pub fn front(&self) -> Option<&[u8]> {
        match &self.repr {
            Repr::Short(packed) => packed.front(),
            Repr::Long(chunks) => chunks.nodes.front().and_then(|node| node.chunk.front()),
        }
    }

    /// The rightmost element.
    pub fn back(&self) -> Option<&[u8]> {
        match &self.repr {
            Repr::Short(packed) => packed.back(),
            Repr::Long(chunks) => chunks.nodes.back().and_then(|node| node.chunk.back()),
        }
    }

    /// The element at the given end: with [`remove_end`](Self::remove_end) a pop without a copy.
    pub fn end(&self, end: End) -> Option<&[u8]> {
        match end {
            End::Front => self.front(),
            End::Back => self.back(),
        }
    }

    /// Remove up to `n` elements at the given end; returns how many went.
    pub fn remove_end(&mut self, end: End, n: usize) -> usize {
        let n = n.min(self.len());
        match (&mut self.repr, end) {
            (Repr::Short(packed), End::Front) => packed.drop_front(n),
            (Repr::Short(packed), End::Back) => packed.drop_back(n),
            (Repr::Long(chunks), End::Front) => chunks.drop_front(n),
            (Repr::Long(chunks), End::Back) => chunks.drop_back(n),
        }
        self.shorten();
        n
    }

    /// Take the leftmost element out.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Front)
    }

    /// Take the rightmost element out.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Back)
    }

    /// Take the element at the given end out.
    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let value = self.end(end)?.to_vec();
        self.remove_end(end, 1);
        Some(value)
    }

    /// The element at `index`; negative numbers count from the right, -1 being the last.
    pub fn get(&self, index: i64) -> Option<&[u8]> {
        let index = self.index(index)?;
        match &self.repr {
            Repr::Short(packed) => Some(packed.value(packed.offset_of(index))),
            Repr::Long(chunks) => {
                let (node, within) = chunks.locate(index);
                let chunk = &chunks.nodes[node].chunk;
                Some(chunk.value(chunk.offset_of(within)))
            }
        }
    }

    /// Replace the element at `index` (negative: from the right); false when there is none.
    pub fn set(&mut self, index: i64, value: &[u8], limits: &Limits) -> bool {
        let Some(index) = self.index(index) else { return false };
        match &mut self.repr {
            Repr::Short(packed) if fits_short(packed, value, limits) => {
                packed.replace(packed.offset_of(index), value);
            }
            _ => {
                self.chunks(limits).set(index, value);
                self.shorten();
            }
        }
        true
    }

    /// Put `value` before (or behind) the first element equal to `pivot`; false when there is none.
    pub fn insert(&mut self, place: Side, pivot: &[u8], value: &[u8], limits: &Limits) -> bool {
        // Room is made before the pivot is looked for, as `OBJECT ENCODING` can tell.
        if matches!(&self.repr, Repr::Short(packed) if !fits_short(packed, value, limits)) {
            self.chunks(limits);
        }
        let Some(found) = self.iter().position(|element| element == pivot) else { return false };
        let index = if place == Side::Before { found } else { found + 1 };
        match &mut self.repr {
            Repr::Short(packed) if fits_short(packed, value, limits) => {
                packed.insert(packed.offset_of(index), value);
            }
            _ => self.chunks(limits).insert(index, value),
        }
        true
    }

    /// Remove elements equal to `value`: the first `count` from the left, the last `-count` from the right, or
    /// all of them when `count` is 0. Returns how many went.
    pub fn remove(&mut self, count: i64, value: &[u8]) -> usize {
        let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        let removed = match &mut self.repr {
            Repr::Short(packed) => remove_equal(packed, value, count < 0, most),
            Repr::Long(chunks) => chunks.remove_equal(value, count < 0, most),
        };
        self.shorten();
        removed
    }

    /// Keep the elements `start..=stop` (both may count from the right) and drop the others.
    pub fn trim(&mut self, start: i64, stop: i64) {
        let Range { start, end } = self.bounds(start, stop);
        let len = self.len();
        self.remove_end(End::Back, if start < end { len - end } else { len });
        self.remove_end(End::Front, start);
    }

    /// Indexes of elements equal to `value`. `rank` 1 starts with the first match from the left, 2 skips one;
    /// -1 starts with the first from the right; it is not 0. At most `count` indexes (0: all) after comparing
    /// at most `comparisons_max` elements (0: all).
    pub fn positions(&self, value: &[u8], rank: i64, count: usize, comparisons_max: usize) -> Vec<usize> {
        let len = self.len();
        let unlimited = |n: usize| if n == 0 { usize::MAX } else { n };
        let skip = rank.unsigned_abs().saturating_sub(1) as usize;
        let all = if rank < 0 { self.range_rev(0..len) } else { self.range(0..len) };
        all.enumerate()
            .take(unlimited(comparisons_max))
            .filter(|(_, element)| *element == value)
            .map(|(i, _)| if rank < 0 { len - 1 - i } else { i })
            .skip(skip)
            .take(unlimited(count))
            .collect()
    }

    /// All elements, left to right.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The elements of `range` (indexes from the left, within the list), left to right.
    pub fn range(&self, range: Range<usize>) -> Iter<'_> {
        Iter::new(self, range, End::Front)
    }

    /// The elements of `range` (indexes from the left, within the list), right to left.
    pub fn range_rev(&self, range: Range<usize>) -> Iter<'_> {
        Iter::new(self, range, End::Back)
    }

    /// The range that LRANGE and LTRIM mean by `start` and `stop`: both included, both may count from the
    /// right, both are cut to the list. Empty when nothing is meant.
    pub fn bounds(&self, start: i64, stop: i64) -> Range<usize> {
        let len = self.len() as i64;
        let from_left = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
        let start = from_left(start).max(0);
        let stop = from_left(stop).min(len - 1);
        if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
    }

    fn index(&self, index: i64) -> Option<usize> {
        let len = self.len() as i64;
        let index = if index < 0 { index.checked_add(len)? } else { index };
        (0..len).contains(&index).then_some(index as usize)
    }

    /// The long form, converted to when the list is short.
    fn chunks(&mut self, limits: &Limits) -> &mut Chunks {
        let limits = ChunkLimits::new(limits.list_size);
        if let Repr::Short(packed) = &mut self.repr {
            let packed = std::mem::take(packed);
            let len = packed.count();
            let nodes = if len == 0 { VecDeque::new() } else { VecDeque::from([Node::new(packed)]) };
            self.repr = Repr::Long(Box::new(Chunks { nodes, len, limits }));
        }
        let Repr::Long(chunks) = &mut self.repr else { unreachable!("converted above") };
        chunks.limits = limits;
        chunks
    }

    /// Back to the short form when one chunk of at most half the limit is left: half, so that a list at the
    /// border does not convert at every push and pop.
    fn shorten(&mut self) {
        let Repr::Long(chunks) = &mut self.repr else { return };
        let small = match chunks.nodes.front() {
            None => true,
            Some(node) => chunks.nodes.len() == 1 && chunks.limits.admits_half(&node.chunk),
        };
        if small {
            let packed = chunks.nodes.pop_front().map(|node| Arc::unwrap_or_clone(node.chunk));
            self.repr = Repr::Short(packed.unwrap_or_default());
        }
    }
}

/// Which side of the pivot LINSERT means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To the left of the pivot.
    Before,
    /// To the right of the pivot.
    After,
}

/// Whether a short list stays short with `value` added (or put in the place of another, which counts the same as in
/// Redis): here a single large element counts too.
fn fits_short(packed: &Packed, value: &[u8], limits: &Limits) -> bool {
    let limits = ChunkLimits::new(limits.list_size);
    packed.bytes() + value.len() <= limits.bytes_max as usize && packed.count() < limits.count_max as usize
}
