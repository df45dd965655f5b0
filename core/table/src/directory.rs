//! The directory: which segment holds the hashes that begin with a prefix.
//!
//! ```text
//! depth 2:  entry 00  01  10  11        a segment of depth d is named by 2^(depth - d) neighbours
//!                 │    │    └─┬─┘
//!                 A    B      C          A, B: depth 2; C: depth 1
//! ```
//!
//! Two tables that share segments have a directory each, and every segment counts the directories it is in. The entries are bitwise
//! copies of an owner, one of which counts for all of its segment; that is why they lie in `ManuallyDrop`, and why nobody outside gets
//! a `&mut Segment`: it could be exchanged for another. What is built anew ([`Directory::rebuild`] and its sisters) is taken out as a
//! value, while the directory is empty, so that a panic on the way leaks segments and leaves no entry that names freed memory.
//!
//! Invariants: the drawing above; all entries of a segment are copies of one another; `bytes` is the sum over the segments.

use crate::segment::{Place, Segment};
use crate::{Item, size_class};
use std::mem::ManuallyDrop;

/// The largest depth of a directory. 2^32 segments are more than any memory holds.
pub(crate) const DEPTH_MAX: u8 = 32;

/// See the file's description.
pub(crate) struct Directory<T: Item> {
    entries: Vec<ManuallyDrop<Segment<T>>>,
    /// How many segments there are of each depth, once there is more than one.
    census: Option<Box<[u32; DEPTH_MAX as usize + 1]>>,
    /// Of the segments.
    bytes: usize,
    depth: u8,
}

/// A segment that no other directory has, to be written.
pub(crate) struct Own<'a, T: Item>(&'a mut Segment<T>);

impl<'a, T: Item> Own<'a, T> {
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.0.count()
    }

    /// See [`Segment::place`].
    ///
    /// # Errors
    /// The item, when there is no room.
    #[inline]
    pub(crate) fn place(&mut self, hash: u64, item: T) -> Result<Place, T> {
        self.0.place(hash, item)
    }

    /// See [`Segment::take`].
    pub(crate) fn take(&mut self, place: Place) -> T {
        self.0.take(place)
    }

    /// The item there, to be changed in place.
    #[inline]
    pub(crate) fn item_mut(self, place: Place, bits: u8) -> Option<&'a mut T> {
        self.0.item_mut(place, bits)
    }

    /// Visits the items of a line and gives back the line that it links to.
    pub(crate) fn visit_line(
        &mut self,
        line: usize,
        bits: u8,
        visit: &mut dyn FnMut(&mut T),
    ) -> Option<usize> {
        self.0.visit_line(line, visit);
        self.0.next(line, bits)
    }
}

impl<T: Item> Directory<T> {
    /// One without segments.
    pub(crate) fn new() -> Directory<T> {
        Directory { entries: Vec::new(), census: None, bytes: 0, depth: 0 }
    }

    /// One whose only entry is this segment, of depth 0.
    pub(crate) fn of(segment: Segment<T>) -> Directory<T> {
        assert!(segment.depth() == 0, "one entry tells nothing apart");
        let bytes = segment.bytes();
        Directory { entries: vec![ManuallyDrop::new(segment)], census: None, bytes, depth: 0 }
    }

    /// Entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bits of the hash that tell the entries apart.
    #[inline]
    pub(crate) fn depth(&self) -> u8 {
        self.depth
    }

    /// Heap bytes of the segments and of the directory itself, without the items.
    pub(crate) fn bytes(&self) -> usize {
        let census = if self.census.is_some() { size_class(4 * (usize::from(DEPTH_MAX) + 1)) } else { 0 };
        self.bytes + self.entries.capacity() * size_of::<Segment<T>>() + census
    }

    /// The segment that an entry names.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Segment<T>> {
        self.entries.get(index).map(|entry| &**entry)
    }

    /// The same where the entry is known to be there.
    ///
    /// # Panics
    /// When it is not.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &Segment<T> {
        &self.entries[index]
    }

    /// How many entries name the segment at `index`.
    pub(crate) fn span(&self, index: usize) -> usize {
        1 << (self.depth - self.at(index).depth())
    }

    /// The first of the entries that name the segment at `index`.
    fn first(&self, index: usize) -> usize {
        index & !(self.span(index) - 1)
    }

    /// The segment at `index`, made this directory's own before it is written.
    ///
    /// # Panics
    /// When there is no such entry.
    #[inline]
    pub(crate) fn own(&mut self, index: usize) -> Own<'_, T> {
        if self.at(index).is_shared() {
            return self.own_copy(index);
        }
        Own(&mut self.entries[index])
    }

    #[cold]
    fn own_copy(&mut self, index: usize) -> Own<'_, T> {
        self.unshare(index);
        Own(&mut self.entries[index])
    }

    fn unshare(&mut self, index: usize) {
        let copy = self.at(index).duplicate();
        self.bytes += copy.bytes();
        let old = self.alias(index);
        self.bytes -= old.bytes();
        self.name(index, copy);
        release(old);
    }

    /// A bitwise copy of an entry, for another entry of its segment.
    fn alias(&self, index: usize) -> ManuallyDrop<Segment<T>> {
        alias(&self.entries[index])
    }

    /// Has the entries around `index` name this segment, by its depth. What they named before is the caller's to release.
    fn name(&mut self, index: usize, segment: Segment<T>) {
        let span = 1usize << (self.depth - segment.depth());
        let first = index & !(span - 1);
        let owner = ManuallyDrop::new(segment);
        self.entries[first..first + span].iter_mut().for_each(|entry| *entry = alias(&owner));
    }

    /// Puts what is built of the segment at `index` in its place.
    pub(crate) fn rebuild(&mut self, index: usize, build: impl FnOnce(Segment<T>) -> Segment<T>) {
        let depth = self.at(index).depth();
        self.exchange(index, |old| [(0, build(old))], depth);
    }

    /// Puts two segments, each one bit deeper, in the place of the one at `index`; the directory doubles if it must.
    pub(crate) fn split(&mut self, index: usize, build: impl FnOnce(Segment<T>) -> [Segment<T>; 2]) {
        let depth = self.at(index).depth() + 1;
        let mut index = index;
        if depth > self.depth {
            self.double();
            index *= 2;
        }
        let span = 1usize << (self.depth - depth);
        let halves = |old| {
            let [low, high] = build(old);
            [(0, low), (span, high)]
        };
        self.exchange(index, halves, depth);
        self.count_depths(depth - 1, -1);
        self.count_depths(depth, 2);
    }

    /// Takes the segment at `index` out and has what is built of it named at its first entry and so many behind it.
    fn exchange<const N: usize>(
        &mut self,
        index: usize,
        build: impl FnOnce(Segment<T>) -> [(usize, Segment<T>); N],
        depth: u8,
    ) {
        if self.at(index).is_shared() {
            self.unshare(index);
        }
        let first = self.first(index);
        let mut entries = std::mem::take(&mut self.entries);
        self.bytes -= entries[index].bytes();
        // SAFETY: no other directory has it (`own`), and its entries are not looked at before they name others.
        let old = unsafe { ManuallyDrop::take(&mut entries[index]) };
        let built = build(old);
        self.entries = entries;
        for (behind, segment) in built {
            assert!(segment.depth() == depth, "the entries of the old segment are those of the new");
            self.bytes += segment.bytes();
            self.name(first + behind, segment);
        }
    }

    /// An entry of the segment that differs from the one at `index` in its last bit only, if there is one and neither is shared.
    pub(crate) fn sibling(&self, index: usize) -> Option<usize> {
        let one = self.at(index);
        let sibling = self.first(index) ^ self.span(index);
        let other = self.get(sibling).filter(|_| one.depth() > 0)?;
        (other.depth() == one.depth() && !one.is_shared() && !other.is_shared()).then_some(sibling)
    }

    /// Puts one segment, one bit less deep, in the place of the one at `index` and its sibling; the directory is halved if it can be.
    ///
    /// # Panics
    /// When it has no [`Directory::sibling`].
    pub(crate) fn merge(&mut self, index: usize, build: impl FnOnce([Segment<T>; 2]) -> Segment<T>) {
        let sibling = self.sibling(index).expect("only a segment with a sibling is merged");
        let depth = self.at(index).depth();
        let mut entries = std::mem::take(&mut self.entries);
        self.bytes -= entries[index].bytes() + entries[sibling].bytes();
        // SAFETY: two segments, neither in another directory (`sibling`); their entries are not looked at before they name another.
        let old = [index, sibling].map(|at| unsafe { ManuallyDrop::take(&mut entries[at]) });
        let merged = build(old);
        self.entries = entries;
        assert!(merged.depth() == depth - 1, "the entries of both are those of the merged one");
        self.bytes += merged.bytes();
        self.name(index, merged);
        self.count_depths(depth, -2);
        self.count_depths(depth - 1, 1);
        self.halve();
    }

    /// A directory of the same segments, which both share from now on.
    pub(crate) fn share(&self) -> Directory<T> {
        let mut index = 0;
        while index < self.len() {
            self.at(index).add_owner();
            index += self.span(index);
        }
        let mut entries = Vec::with_capacity(self.len());
        entries.extend(self.entries.iter().map(alias));
        Directory { entries, census: self.census.clone(), ..*self }
    }

    /// Lets go the segment that the last entry names, if there is one. What is left is for freeing only: hashes find nothing in it any more.
    pub(crate) fn release_last(&mut self) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let left = self.first(last);
        let segment = self.alias(last);
        self.bytes -= segment.bytes();
        // Taken out of the directory before its items are dropped: should one of those panic, it is not released again.
        self.entries.truncate(left);
        release(segment);
    }

    /// Doubles the directory: each entry twice.
    fn double(&mut self) {
        let mut entries = Vec::with_capacity(self.len() * 2);
        entries.extend(self.entries.iter().flat_map(|entry| [alias(entry), alias(entry)]));
        self.entries = entries;
        self.depth += 1;
    }

    /// Halves the directory while no segment needs its last bit.
    fn halve(&mut self) {
        while self.depth > 0
            && self.census.as_ref().is_some_and(|census| census[usize::from(self.depth)] == 0)
        {
            self.entries = self.entries.iter().step_by(2).map(alias).collect();
            self.depth -= 1;
        }
    }

    /// Keeps count of the segments of each depth, so that halving the directory needs no search.
    fn count_depths(&mut self, depth: u8, change: i32) {
        let census = self.census.get_or_insert_with(|| {
            let mut first = Box::new([0; DEPTH_MAX as usize + 1]);
            first[0] = 1;
            first
        });
        let count = &mut census[usize::from(depth)];
        *count = count.wrapping_add_signed(change);
    }
}

/// A bitwise copy of an entry. Nothing is dropped through it but by [`release`] or as the value that is taken out, once a segment.
fn alias<T: Item>(entry: &ManuallyDrop<Segment<T>>) -> ManuallyDrop<Segment<T>> {
    // SAFETY: it is never dropped by itself, and this module's entries of one segment are let go together.
    unsafe { std::ptr::read(entry) }
}

/// Lets a segment go for the directory that had it; the last one frees it.
fn release<T: Item>(mut entry: ManuallyDrop<Segment<T>>) {
    if entry.remove_owner() {
        // SAFETY: no directory has it any more, and this copy is used no further.
        unsafe { ManuallyDrop::drop(&mut entry) };
    }
}

impl<T: Item> Drop for Directory<T> {
    fn drop(&mut self) {
        let mut index = 0;
        while index < self.len() {
            let span = self.span(index);
            release(self.alias(index));
            index += span;
        }
    }
}

// SAFETY: a directory owns its items, but two that share segments may be on two threads: then both read the
// items (`Sync`), and either may be the one that drops them (`Send`). Counts of owners are atomic.
unsafe impl<T: Item + Send + Sync> Send for Directory<T> {}
// SAFETY: as above; `&Directory` allows reading, and sharing, only.
unsafe impl<T: Item + Send + Sync> Sync for Directory<T> {}
