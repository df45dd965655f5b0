//! The hash table of the keyspace and of every large hash, set and sorted set.
//!
//! It grows by extendible hashing: a directory, indexed by the top bits of the hash, of segments of at most
//! 64 cache-line buckets ([`segment`]). A full segment is split alone, so no request ever pays for more than
//! about 450 items; doubling the directory copies pointers. A small table is one segment of 1, 2, 4 .. 64
//! buckets. Removing shrinks by the same steps backwards. A look-up touches the directory, one bucket and,
//! when one of its seven tags matches, the item.
//!
//! Segments are reference-counted, so that [`Table::share`] costs pointers and a later write copies only
//! the segment it touches.
//!
//! Invariants: a segment of depth `d` is named by `2^(depth - d)` neighbouring directory entries; while
//! `depth` is 0 there is at most one segment, above that all have 64 home buckets; `len` is the sum of the
//! segments' counts. The `unsafe` is in [`segment`] but for the two `impl`s at the end of this file.

mod class;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub use class::size_class;
pub use scan::{Iter, place};
use segment::{HOME_BITS_MAX, Place, SLOTS, Segment};

/// What a table holds: an owned pointer of 8 bytes that is never null, so that a bucket is a cache line.
///
/// `Clone` is needed because a write to a shared segment copies it.
pub trait Item: Clone {
    /// The bytes it is found by; they must not change while it is in a table.
    fn key(&self) -> &[u8];
}

impl Item for Box<Vec<u8>> {
    fn key(&self) -> &[u8] {
        self
    }
}

/// Where an item is. Valid until the next insertion into or removal from its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    segment: u32,
    place: Place,
}

/// The largest depth of a directory. 2^32 segments are more than any memory holds.
const DEPTH_MAX: u8 = 32;
/// A segment of 64 buckets (448 places) splits when it holds this many, about 89 %.
const SPLIT_AT: usize = 400;
/// Two siblings become one when they hold together at most this many: far from a split again.
const MERGE_AT: usize = 160;

/// A hash table of owned thin pointers; see the crate's description.
pub struct Table<T: Item> {
    directory: Vec<Segment<T>>,
    /// How many segments there are of each depth, once there is more than one.
    census: Option<Box<[u32; DEPTH_MAX as usize + 1]>>,
    len: usize,
    seed: u64,
    segment_bytes: usize,
    depth: u8,
    /// Home bits of every segment.
    bits: u8,
}

impl<T: Item> Table<T> {
    /// An empty table, without any allocation, that hashes keys with `seed`.
    pub fn new(seed: u64) -> Table<T> {
        Table { directory: Vec::new(), census: None, len: 0, seed, segment_bytes: 0, depth: 0, bits: 0 }
    }

    /// How many items it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The seed of its hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The hash of a key in this table, for the calls that take one.
    #[inline]
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        base::hash::hash(self.seed, key)
    }

    /// The item with this key; `hash` is [`Table::hash_of`] it.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&T> {
        self.locate(hash, key).map(|position| self.at(position))
    }

    /// The item with this key, to be changed in place (never its key).
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        let position = self.locate(hash, key)?;
        Some(self.at_mut(position))
    }

    /// Where the item with this key is.
    #[inline]
    pub fn locate(&self, hash: u64, key: &[u8]) -> Option<Position> {
        let index = self.index(hash);
        let place = self.directory.get(index)?.find(hash, self.bits, |item| item.key() == key)?;
        Some(Position { segment: index as u32, place })
    }

    /// Where an item is whose whole hash equals `hash` and that `is` the one wanted. For an index that keeps
    /// hashes instead of keys.
    pub fn find_hash(&self, hash: u64, is: &mut dyn FnMut(&T) -> bool) -> Option<Position> {
        let index = self.index(hash);
        let segment = self.directory.get(index)?;
        let place = segment.find(hash, self.bits, |item| self.hash_of(item.key()) == hash && is(item))?;
        Some(Position { segment: index as u32, place })
    }

    /// The item at a position.
    ///
    /// # Panics
    /// When the position is no longer valid and free.
    #[inline]
    pub fn at(&self, position: Position) -> &T {
        let bucket = self.directory[position.segment as usize].bucket(usize::from(position.place.line));
        bucket.get(usize::from(position.place.slot)).expect(STALE)
    }

    /// The item at a position, to be changed in place (never its key).
    ///
    /// # Panics
    /// When the position is no longer valid and free.
    #[inline]
    pub fn at_mut(&mut self, position: Position) -> &mut T {
        let segment = self.own(position.segment as usize);
        segment
            .bucket_mut(usize::from(position.place.line))
            .get_mut(usize::from(position.place.slot))
            .expect(STALE)
    }

    /// Puts another item with the same key in the place of this one, which is returned.
    ///
    /// # Panics
    /// When the position is no longer valid and free.
    pub fn replace_at(&mut self, position: Position, item: T) -> T {
        let place = self.at_mut(position);
        debug_assert!(place.key() == item.key(), "an item is replaced by one with its key");
        std::mem::replace(place, item)
    }

    /// Takes the item at a position out.
    ///
    /// # Panics
    /// When the position is no longer valid and free.
    pub fn remove_at(&mut self, position: Position) -> T {
        let index = position.segment as usize;
        let item = self.own(index).take(position.place);
        self.len -= 1;
        self.shrink(index);
        item
    }

    /// Takes the item with this key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let position = self.locate(hash, key)?;
        Some(self.remove_at(position))
    }

    /// Adds an item whose key the table is known not to hold; `hash` is that of its key.
    pub fn insert_new(&mut self, hash: u64, item: T) -> Position {
        debug_assert!(hash == self.hash_of(item.key()), "the hash is that of the key");
        debug_assert!(self.locate(hash, item.key()).is_none(), "the key is new");
        if self.directory.is_empty() {
            self.start();
        }
        let mut item = item;
        // Each round grows something; a segment splits at most once for each bit of the directory's depth.
        loop {
            let index = self.index(hash);
            let split_at = split_at(self.bits);
            let segment = self.own(index);
            if segment.count() < split_at {
                match segment.place(hash, item) {
                    Ok(place) => {
                        self.len += 1;
                        return Position { segment: index as u32, place };
                    }
                    Err(back) => item = back,
                }
            }
            self.grow(index);
        }
    }

    /// Drops every item.
    pub fn clear(&mut self) {
        self.release_all();
        *self = Table::new(self.seed);
    }

    /// Keeps only the items that `keep` says yes to. Visits the whole table.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut index = 0;
        while index < self.directory.len() {
            for line in 0..self.directory[index].lines() {
                for slot in self.directory[index].bucket(line).used() {
                    let goes = self.directory[index].bucket(line).get(slot).is_some_and(|item| !keep(item));
                    if goes {
                        drop(self.own(index).take(Place { line: line as u16, slot: slot as u8 }));
                        self.len -= 1;
                    }
                }
            }
            index += self.span(index);
        }
        self.shrink_all();
    }

    /// Starts loading the bucket that this hash belongs to.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(segment) = self.directory.get(self.index(hash)) {
            prefetch_line(segment.address(segment::home(hash, self.bits)));
        }
    }

    /// Starts loading the items that this hash may belong to. Worth calling some time after
    /// [`Table::prefetch`], when the bucket has arrived.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        if let Some(segment) = self.directory.get(self.index(hash)) {
            segment.fetch_matches(hash, self.bits);
        }
    }

    /// Heap bytes of the table itself, without its items.
    pub fn bytes(&self) -> usize {
        let census = if self.census.is_some() { size_class(4 * (usize::from(DEPTH_MAX) + 1)) } else { 0 };
        self.segment_bytes + self.directory.capacity() * size_of::<Segment<T>>() + census
    }

    /// A second table of the same items that shares all segments with this one. Costs a step for each
    /// segment; a later write to either side clones the items of the segment it touches.
    pub fn share(&self) -> Table<T> {
        let mut index = 0;
        while index < self.directory.len() {
            self.directory[index].retain();
            index += self.span(index);
        }
        let directory = self.directory.iter().map(Segment::alias).collect();
        Table { directory, census: self.census.clone(), ..*self }
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        ((hash >> 1) >> (63 - self.depth)) as usize
    }

    /// How many directory entries name the segment at `index`.
    fn span(&self, index: usize) -> usize {
        1 << (self.depth - self.directory[index].depth())
    }

    /// The segment at `index`, made this table's own before it is written.
    #[inline]
    fn own(&mut self, index: usize) -> &mut Segment<T> {
        if self.directory[index].is_shared() {
            self.unshare(index);
        }
        &mut self.directory[index]
    }

    #[cold]
    fn unshare(&mut self, index: usize) {
        let copy = self.directory[index].duplicate();
        let old = self.publish(index, copy);
        self.segment_bytes -= old.bytes();
        old.release();
    }

    /// Lets the directory show `segment` in the place of the one at `index`, which is returned.
    fn publish(&mut self, index: usize, segment: Segment<T>) -> Segment<T> {
        let old = self.directory[index].alias();
        let span = 1usize << (self.depth - segment.depth());
        let first = index & !(span - 1);
        self.directory[first..first + span].iter_mut().for_each(|entry| *entry = segment.alias());
        self.segment_bytes += segment.bytes();
        old
    }

    #[cold]
    fn start(&mut self) {
        let segment = Segment::new(0, 0, 0);
        self.segment_bytes = segment.bytes();
        self.directory = Vec::with_capacity(1);
        self.directory.push(segment);
    }

    /// Makes room in the segment at `index`, which is this table's own.
    #[cold]
    fn grow(&mut self, index: usize) {
        let segment = &self.directory[index];
        let homes = 1usize << self.bits;
        let may_extend = segment.count() < split_at(self.bits) && segment.overflow_max() < homes / 2;
        if may_extend || self.depth == DEPTH_MAX {
            self.segment_bytes -= segment.bytes();
            let mut segment = self.directory[index].alias();
            segment.extend();
            self.publish(index, segment);
        } else if self.bits < HOME_BITS_MAX {
            self.resize(self.bits + 1);
        } else {
            self.split(index);
        }
    }

    /// Rebuilds the only segment with `1 << bits` home buckets.
    fn resize(&mut self, bits: u8) {
        let mut fresh = Segment::new(0, bits, 0);
        let old = self.directory[0].alias();
        self.segment_bytes = 0;
        old.pour(self.seed, &mut |hash, item| {
            fresh.place_or_extend(hash, item);
        });
        self.publish(0, fresh);
        self.bits = bits;
    }

    fn split(&mut self, index: usize) {
        let old = self.directory[index].alias();
        let depth = old.depth() + 1;
        let mut index = index;
        if depth > self.depth {
            self.double();
            index *= 2;
        }
        let mut halves = [Segment::new(depth, HOME_BITS_MAX, 0), Segment::new(depth, HOME_BITS_MAX, 0)];
        self.segment_bytes -= old.bytes();
        old.pour(self.seed, &mut |hash, item| {
            halves[(hash >> (64 - depth)) as usize & 1].place_or_extend(hash, item);
        });
        let span = 1usize << (self.depth - depth);
        let first = index & !(2 * span - 1);
        let [low, high] = halves;
        self.publish(first, low);
        self.publish(first + span, high);
        self.count_depths(depth - 1, -1);
        self.count_depths(depth, 2);
    }

    /// Doubles the directory: each entry twice.
    fn double(&mut self) {
        let mut directory = Vec::with_capacity(self.directory.len() * 2);
        for segment in &self.directory {
            directory.push(segment.alias());
            directory.push(segment.alias());
        }
        self.directory = directory;
        self.depth += 1;
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

    /// One step back after a removal from the segment at `index`, if it has become nearly empty.
    fn shrink(&mut self, index: usize) {
        let count = self.directory[index].count();
        if self.depth == 0 {
            if self.bits > 0 && count * 4 < (SLOTS << self.bits) {
                self.resize(self.bits - 1);
            }
        } else if count <= MERGE_AT / 2 && count.is_multiple_of(8) {
            self.merge(index);
        }
    }

    /// Merges the segment at `index` with its sibling, if there is one to merge with; says whether.
    fn merge(&mut self, index: usize) -> bool {
        let one = self.directory[index].alias();
        let depth = one.depth();
        if depth == 0 || one.is_shared() {
            return false;
        }
        let span = self.span(index);
        let other = self.directory[(index & !(span - 1)) ^ span].alias();
        if other.depth() != depth || other.is_shared() || one.count() + other.count() > MERGE_AT {
            return false;
        }
        let mut merged = Segment::new(depth - 1, HOME_BITS_MAX, 0);
        self.segment_bytes -= one.bytes() + other.bytes();
        for old in [one, other] {
            old.pour(self.seed, &mut |hash, item| {
                merged.place_or_extend(hash, item);
            });
        }
        self.publish(index, merged);
        self.count_depths(depth, -2);
        self.count_depths(depth - 1, 1);
        self.halve();
        true
    }

    /// Halves the directory while no segment needs its last bit.
    fn halve(&mut self) {
        while self.depth > 0
            && self.census.as_ref().is_some_and(|census| census[usize::from(self.depth)] == 0)
        {
            self.directory = self.directory.iter().step_by(2).map(Segment::alias).collect();
            self.depth -= 1;
        }
    }

    fn shrink_all(&mut self) {
        let mut index = 0;
        while index < self.directory.len() {
            let prefix = index << (DEPTH_MAX - self.depth);
            let merged = self.merge(index);
            // The directory may have been halved; a merged segment may merge again with the one before it.
            index = prefix >> (DEPTH_MAX - self.depth);
            index = if merged { index & !(self.span(index) - 1) } else { index + self.span(index) };
        }
        while self.depth == 0
            && self.bits > 0
            && self.len * 4 < (SLOTS << self.bits)
            && !self.directory[0].is_shared()
        {
            self.resize(self.bits - 1);
        }
    }

    fn release_all(&mut self) {
        let directory = std::mem::take(&mut self.directory);
        let mut index = 0;
        while index < directory.len() {
            let span = 1usize << (self.depth - directory[index].depth());
            directory[index].alias().release();
            index += span;
        }
    }
}

const STALE: &str = "a position is used before the next insertion or removal";

/// How many items a segment with `1 << bits` home buckets may hold before it grows.
#[inline]
const fn split_at(bits: u8) -> usize {
    if bits == HOME_BITS_MAX {
        return SPLIT_AT;
    }
    let places = SLOTS << bits;
    places - places / 8
}

/// Asks the processor to load a line; harmless for any address.
#[inline]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl<T: Item> Drop for Table<T> {
    fn drop(&mut self) {
        self.release_all();
    }
}

/// Cloning shares; see [`Table::share`].
impl<T: Item> Clone for Table<T> {
    fn clone(&self) -> Table<T> {
        self.share()
    }
}

impl<T: Item> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("depth", &self.depth)
            .field("bits", &self.bits)
            .finish()
    }
}

// SAFETY: a table owns its items, but two that share segments may be on two threads: then both read the
// items (`Sync`), and either may be the one that drops them (`Send`). Counts of owners are atomic.
unsafe impl<T: Item + Send + Sync> Send for Table<T> {}
// SAFETY: as above; `&Table` allows reading, and sharing, only.
unsafe impl<T: Item + Send + Sync> Sync for Table<T> {}
