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
//! Invariants: while the directory's depth is 0 there is at most one segment, above that all have 64 home buckets; `len` is the sum of
//! the segments' counts. The `unsafe` is in [`segment`] and [`directory`], which say why it holds; but for a prefetch there is none here.

mod class;
mod directory;
mod remains;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub use class::size_class;
use directory::{DEPTH_MAX, Directory, Own};
pub use remains::Remains;
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

/// A segment of 64 buckets (448 places) splits when it holds this many, about 89 %.
const SPLIT_AT: usize = 400;
const _: () = assert!(SPLIT_AT < SLOTS << HOME_BITS_MAX);
/// Two siblings become one when they hold together at most this many: far from a split again.
const MERGE_AT: usize = 160;

/// A hash table of owned thin pointers; see the crate's description.
pub struct Table<T: Item> {
    directory: Directory<T>,
    len: usize,
    seed: u64,
    /// Home bits of every segment.
    bits: u8,
}

impl<T: Item> Table<T> {
    /// An empty table, without any allocation, that hashes keys with `seed`.
    pub fn new(seed: u64) -> Table<T> {
        Table { directory: Directory::new(), len: 0, seed, bits: 0 }
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
        self.directory.at(position.segment as usize).item(position.place, self.bits).expect(STALE)
    }

    /// The item at a position, to be changed in place (never its key).
    ///
    /// # Panics
    /// When the position is no longer valid and free.
    #[inline(always)]
    pub fn at_mut(&mut self, position: Position) -> &mut T {
        let bits = self.bits;
        self.own(position.segment as usize).item_mut(position.place, bits).expect(STALE)
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
            let mut segment = self.own(index);
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
        *self = Table::new(self.seed);
    }

    /// Keeps only the items that `keep` says yes to. Visits the whole table.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut index = 0;
        while index < self.directory.len() {
            for line in 0..self.directory.at(index).lines() {
                for slot in self.directory.at(index).bucket(line).used() {
                    let goes =
                        self.directory.at(index).bucket(line).get(slot).is_some_and(|item| !keep(item));
                    if goes {
                        drop(self.own(index).take(Place { line: line as u16, slot: slot as u8 }));
                        self.len -= 1;
                    }
                }
            }
            index += self.directory.span(index);
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
        self.directory.bytes()
    }

    /// A second table of the same items that shares all segments with this one. Costs a step for each
    /// segment; a later write to either side clones the items of the segment it touches.
    pub fn share(&self) -> Table<T> {
        Table { directory: self.directory.share(), ..*self }
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        ((hash >> 1) >> (63 - self.directory.depth())) as usize
    }

    /// The segment at `index`, made this table's own before it is written.
    #[inline]
    fn own(&mut self, index: usize) -> Own<'_, T> {
        self.directory.own(index)
    }

    #[cold]
    fn start(&mut self) {
        self.bits = 0;
        self.directory = Directory::of(Segment::new(0, 0, 0));
    }

    /// Makes room in the segment at `index`, which is this table's own.
    #[cold]
    fn grow(&mut self, index: usize) {
        let segment = self.directory.at(index);
        let homes = 1usize << self.bits;
        let may_extend = segment.count() < split_at(self.bits) && segment.overflow_max() < homes / 2;
        if may_extend || self.directory.depth() == DEPTH_MAX {
            self.directory.rebuild(index, |mut segment| {
                segment.extend();
                segment
            });
        } else if self.bits < HOME_BITS_MAX {
            self.resize(self.bits + 1);
        } else {
            self.split(index);
        }
    }

    /// Rebuilds the only segment with `1 << bits` home buckets.
    fn resize(&mut self, bits: u8) {
        let seed = self.seed;
        self.directory.rebuild(0, |old| {
            let mut fresh = Segment::new(0, bits, 0);
            old.pour(seed, &mut |hash, item| {
                fresh.place_or_extend(hash, item);
            });
            fresh
        });
        self.bits = bits;
    }

    fn split(&mut self, index: usize) {
        let seed = self.seed;
        self.directory.split(index, |old| {
            let depth = old.depth() + 1;
            let mut halves = [(); 2].map(|()| Segment::new(depth, HOME_BITS_MAX, 0));
            old.pour(seed, &mut |hash, item| {
                halves[(hash >> (64 - depth)) as usize & 1].place_or_extend(hash, item);
            });
            halves
        });
    }

    /// One step back after a removal from the segment at `index`, if it has become nearly empty.
    fn shrink(&mut self, index: usize) {
        let count = self.directory.at(index).count();
        if self.directory.depth() == 0 {
            if self.bits > 0 && count * 4 < (SLOTS << self.bits) {
                self.resize(self.bits - 1);
            }
        } else if count <= MERGE_AT / 2 && count.is_multiple_of(8) {
            self.merge(index);
        }
    }

    /// Merges the segment at `index` with its sibling, if there is one to merge with; says whether.
    fn merge(&mut self, index: usize) -> bool {
        let Some(sibling) = self.directory.sibling(index) else { return false };
        if self.directory.at(index).count() + self.directory.at(sibling).count() > MERGE_AT {
            return false;
        }
        let seed = self.seed;
        self.directory.merge(index, |both| {
            let mut merged = Segment::new(both[0].depth() - 1, HOME_BITS_MAX, 0);
            for old in both {
                old.pour(seed, &mut |hash, item| {
                    merged.place_or_extend(hash, item);
                });
            }
            merged
        });
        true
    }

    fn shrink_all(&mut self) {
        let mut index = 0;
        while index < self.directory.len() {
            let prefix = index << (DEPTH_MAX - self.directory.depth());
            let merged = self.merge(index);
            // The directory may have been halved; a merged segment may merge again with the one before it.
            index = prefix >> (DEPTH_MAX - self.directory.depth());
            let span = self.directory.span(index);
            index = if merged { index & !(span - 1) } else { index + span };
        }
        while self.directory.depth() == 0
            && self.bits > 0
            && self.len * 4 < (SLOTS << self.bits)
            && !self.directory.at(0).is_shared()
        {
            self.resize(self.bits - 1);
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
            .field("depth", &self.directory.depth())
            .field("bits", &self.bits)
            .finish()
    }
}
