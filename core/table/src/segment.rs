//! One segment of the table: a line of state, 1 to 64 home buckets and some shared overflow buckets, in one
//! allocation of cache lines.
//!
//! ```text
//! line 0            Header: owners, items, depth, home bits, overflow used and present
//! line 1..=homes    Bucket: 7 items (8 bytes each) · 7 tags (0 = free) · index of the overflow bucket (0 = none)
//! then              Bucket: overflow, linked from any full bucket; links only go up, so no chain is a ring
//! ```
//!
//! Overflow buckets are shared by several homes, because on average only half an item spills from a home:
//! a bucket for each would be mostly air.
//!
//! A [`Segment`] owns its allocation and what is in it, as a `Box` does. That several directories may have one segment is their
//! affair ([`crate::directory`]); here it is only counted. Invariant: a slot is initialised exactly when its tag is not zero.

use crate::{Item, size_class};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Items in a bucket.
pub(crate) const SLOTS: usize = 7;
/// Home buckets of a segment are `1 << bits`, and `bits` is at most this.
pub(crate) const HOME_BITS_MAX: u8 = 6;
/// Overflow buckets of a segment: a link is one byte and 0 means none.
const OVERFLOW_MAX: usize = 254;
/// Bytes of a cache line, of a bucket and of the header.
const LINE: usize = 64;
/// How many buckets ahead of the one being rehashed the keys are fetched.
const FETCH_AHEAD: usize = 4;

/// Where a hash lives at home among `1 << bits` buckets: the upper bits of its lowest six, so that doubling
/// the buckets cuts each in two neighbours and keeps their order.
#[inline]
pub(crate) fn home(hash: u64, bits: u8) -> usize {
    ((hash & 63) >> (HOME_BITS_MAX - bits)) as usize
}

#[inline]
fn tag(hash: u64) -> u8 {
    ((hash >> 6) as u8).max(1)
}

/// A cache line of items.
#[repr(C, align(64))]
pub(crate) struct Bucket<T> {
    items: [MaybeUninit<T>; SLOTS],
    /// Seven tags, then the link.
    tags: [u8; SLOTS + 1],
}
const _: () = assert!(size_of::<Bucket<Box<u8>>>() == LINE);

#[repr(C, align(64))]
struct Header {
    owners: AtomicU32,
    count: u16,
    depth: u8,
    bits: u8,
    overflow: u8,
    overflow_max: u8,
}
const _: () = assert!(size_of::<Header>() == LINE);

impl<T> Bucket<T> {
    /// A bit set at `8 * slot + 7` for each slot with this tag; 0 finds the free ones.
    #[inline]
    fn matches(&self, tag: u8) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        const TAGS: u64 = 0x0080_8080_8080_8080;
        let x = u64::from_le_bytes(self.tags) ^ (u64::from(tag) * 0x0101_0101_0101_0101);
        !(((x & LOW) + LOW) | x | LOW) & TAGS
    }

    /// The slots that hold an item.
    #[inline]
    pub(crate) fn used(&self) -> impl Iterator<Item = usize> + use<T> {
        slots(self.matches(0) ^ 0x0080_8080_8080_8080)
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&T> {
        // SAFETY: a slot whose tag is not zero is initialised.
        (slot < SLOTS && self.tags[slot] != 0).then(|| unsafe { self.items[slot].assume_init_ref() })
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        // SAFETY: as in `get`, and `&mut self` is exclusive.
        (slot < SLOTS && self.tags[slot] != 0).then(|| unsafe { self.items[slot].assume_init_mut() })
    }

    #[inline]
    fn put(&mut self, tag: u8, item: T) -> Result<usize, T> {
        match slots(self.matches(0)).next() {
            Some(slot) => {
                self.items[slot].write(item);
                self.tags[slot] = tag;
                Ok(slot)
            }
            None => Err(item),
        }
    }

    fn take(&mut self, slot: usize) -> T {
        assert!(slot < SLOTS && self.tags[slot] != 0, "a position is used once, before the next change");
        self.tags[slot] = 0;
        // SAFETY: the tag said it was initialised, and says now that it no longer is.
        unsafe { self.items[slot].assume_init_read() }
    }
}

#[inline]
fn slots(mut hits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (hits != 0).then(|| {
            let slot = (hits.trailing_zeros() / 8) as usize;
            hits &= hits - 1;
            slot
        })
    })
}

/// Where an item lies inside its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u16,
    pub(crate) slot: u8,
}

impl Place {
    fn new(line: usize, slot: usize) -> Place {
        Place { line: line as u16, slot: slot as u8 }
    }
}

/// A segment; see the file's description.
pub(crate) struct Segment<T: Item> {
    header: NonNull<Header>,
    items: PhantomData<T>,
}

impl<T: Item> Segment<T> {
    /// An empty segment with one owner, `1 << bits` home buckets and at least `overflow` overflow buckets.
    pub(crate) fn new(depth: u8, bits: u8, overflow: usize) -> Segment<T> {
        const {
            assert!(size_of::<T>() == 8 && size_of::<Option<T>>() == 8, "items are thin owned pointers");
        }
        let homes = 1usize << bits;
        let bytes = size_class((1 + homes + overflow) * LINE);
        let overflow_max = (bytes / LINE - 1 - homes).min(OVERFLOW_MAX);
        let layout = layout(homes + overflow_max);
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(header) = NonNull::new(memory.cast::<Header>()) else { handle_alloc_error(layout) };
        let first = Header {
            owners: AtomicU32::new(1),
            count: 0,
            depth,
            bits,
            overflow: 0,
            overflow_max: overflow_max as u8,
        };
        // SAFETY: fresh memory, aligned and large enough for a header; zeroed buckets are empty ones.
        unsafe { header.write(first) };
        Segment { header, items: PhantomData }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the allocation lives as long as its owner.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        debug_assert!(!self.is_shared());
        // SAFETY: as in `header`, and `&mut self` is exclusive.
        unsafe { self.header.as_mut() }
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        usize::from(self.header().count)
    }

    #[inline]
    pub(crate) fn depth(&self) -> u8 {
        self.header().depth
    }

    #[inline]
    pub(crate) fn bits(&self) -> u8 {
        self.header().bits
    }

    /// Bytes of the allocation.
    pub(crate) fn bytes(&self) -> usize {
        layout(self.lines_max()).size()
    }

    /// Overflow buckets that could still be added by allocating anew.
    pub(crate) fn overflow_max(&self) -> usize {
        usize::from(self.header().overflow_max)
    }

    /// Home buckets and the overflow buckets in use.
    #[inline]
    pub(crate) fn lines(&self) -> usize {
        (1usize << self.bits()) + usize::from(self.header().overflow)
    }

    fn lines_max(&self) -> usize {
        (1usize << self.bits()) + self.overflow_max()
    }

    #[inline]
    pub(crate) fn bucket(&self, line: usize) -> &Bucket<T> {
        debug_assert!(line < self.lines_max());
        // SAFETY: home lines and linked overflow lines lie inside the allocation, after the header's line.
        unsafe { &*self.header.as_ptr().cast::<Bucket<T>>().add(1 + line) }
    }

    #[inline]
    fn bucket_mut(&mut self, line: usize) -> &mut Bucket<T> {
        debug_assert!(line < self.lines_max() && !self.is_shared());
        // SAFETY: as in `bucket`, and `&mut self` is exclusive.
        unsafe { &mut *self.header.as_ptr().cast::<Bucket<T>>().add(1 + line) }
    }

    /// Whether there is such a line. The header's cache line is read only for an overflow bucket.
    #[inline]
    fn has_line(&self, line: usize, bits: u8) -> bool {
        line < 1usize << bits || line < self.lines_max()
    }

    /// The item there; none where a place is not one of this segment's, or is free. `bits` is the segment's own.
    #[inline]
    pub(crate) fn item(&self, place: Place, bits: u8) -> Option<&T> {
        let line = usize::from(place.line);
        if !self.has_line(line, bits) {
            return None;
        }
        self.bucket(line).get(usize::from(place.slot))
    }

    /// The same, to be changed in place.
    #[inline]
    pub(crate) fn item_mut(&mut self, place: Place, bits: u8) -> Option<&mut T> {
        let line = usize::from(place.line);
        if !self.has_line(line, bits) {
            return None;
        }
        self.bucket_mut(line).get_mut(usize::from(place.slot))
    }

    /// Visits the items of a line.
    pub(crate) fn visit_line(&mut self, line: usize, visit: &mut dyn FnMut(&mut T)) {
        let bucket = self.bucket_mut(line);
        for slot in bucket.used() {
            if let Some(item) = bucket.get_mut(slot) {
                visit(item);
            }
        }
    }

    /// The address of a bucket, for a prefetch.
    #[inline]
    pub(crate) fn address(&self, line: usize) -> *const u8 {
        self.header.as_ptr().cast::<Bucket<T>>().wrapping_add(1 + line).cast()
    }

    /// The bucket that `line` links to, as a line.
    #[inline]
    pub(crate) fn next(&self, line: usize, bits: u8) -> Option<usize> {
        match self.bucket(line).tags[SLOTS] {
            0 => None,
            link => Some((1usize << bits) + usize::from(link) - 1),
        }
    }

    /// The item with this hash that `is` the one wanted. `bits` is the segment's own, which the table knows
    /// without touching the header's line.
    #[inline]
    pub(crate) fn find(&self, hash: u64, bits: u8, mut is: impl FnMut(&T) -> bool) -> Option<Place> {
        let tag = tag(hash);
        let mut line = home(hash, bits);
        loop {
            let bucket = self.bucket(line);
            for slot in slots(bucket.matches(tag)) {
                if bucket.get(slot).is_some_and(&mut is) {
                    return Some(Place::new(line, slot));
                }
            }
            line = self.next(line, bits)?;
        }
    }

    /// Puts an item at home or into the home's chain; gives it back when there is no room.
    pub(crate) fn place(&mut self, hash: u64, item: T) -> Result<Place, T> {
        let bits = self.bits();
        let tag = tag(hash);
        let mut line = home(hash, bits);
        let mut item = item;
        loop {
            match self.bucket_mut(line).put(tag, item) {
                Ok(slot) => {
                    self.header_mut().count += 1;
                    return Ok(Place::new(line, slot));
                }
                Err(back) => item = back,
            }
            line = match self.next(line, bits).or_else(|| self.link(line)) {
                Some(next) => next,
                None => return Err(item),
            };
        }
    }

    /// Links the end of a chain to an overflow bucket with room, opening one if need be.
    fn link(&mut self, line: usize) -> Option<usize> {
        let homes = 1usize << self.bits();
        let mut target = if line < homes { homes } else { line + 1 };
        while target < self.lines() && self.bucket(target).matches(0) == 0 {
            target += 1;
        }
        if target >= self.lines_max() {
            return None;
        }
        if target >= self.lines() {
            self.header_mut().overflow += 1;
        }
        self.bucket_mut(line).tags[SLOTS] = (target - homes + 1) as u8;
        Some(target)
    }

    /// Puts an item in, with a larger allocation if it must.
    pub(crate) fn place_or_extend(&mut self, hash: u64, mut item: T) -> Place {
        loop {
            match self.place(hash, item) {
                Ok(place) => return place,
                Err(back) => item = back,
            }
            self.extend();
        }
    }

    /// Moves to a larger allocation, for more overflow buckets.
    pub(crate) fn extend(&mut self) {
        let more = self.overflow_max() + 1;
        // With a keyed hash, 1700 items of one segment sharing all the bits that a split goes by do not happen.
        assert!(more <= OVERFLOW_MAX, "a bucket's chain is longer than its link can tell");
        let mut larger: Segment<T> = Segment::new(self.depth(), self.bits(), more);
        larger.header_mut().count = self.header().count;
        larger.header_mut().overflow = self.header().overflow;
        let from = self.header.as_ptr().cast::<Bucket<T>>();
        let to = larger.header.as_ptr().cast::<Bucket<T>>();
        // SAFETY: both have the header's line and at least `lines` buckets; the items move, and the old
        // allocation is freed without dropping them.
        unsafe {
            std::ptr::copy_nonoverlapping(from.add(1), to.add(1), self.lines());
            ManuallyDrop::new(std::mem::replace(self, larger)).free();
        }
    }

    /// Takes an item out.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn take(&mut self, place: Place) -> T {
        assert!(usize::from(place.line) < self.lines(), "a position is used once, before the next change");
        let item = self.bucket_mut(usize::from(place.line)).take(usize::from(place.slot));
        self.header_mut().count -= 1;
        item
    }

    /// Hands every item with its hash to `into` and frees the segment. The keys are fetched ahead, since
    /// reading them is what a split costs.
    pub(crate) fn pour(mut self, seed: u64, into: &mut dyn FnMut(u64, T)) {
        let lines = self.lines();
        (0..FETCH_AHEAD.min(lines)).for_each(|line| self.fetch(line));
        for line in 0..lines {
            if line + FETCH_AHEAD < lines {
                self.fetch(line + FETCH_AHEAD);
            }
            for slot in self.bucket(line).used() {
                let item = self.bucket_mut(line).take(slot);
                into(base::hash::hash(seed, item.key()), item);
            }
        }
    }

    /// Starts loading what the items of a bucket point to.
    pub(crate) fn fetch(&self, line: usize) {
        let bucket = self.bucket(line);
        bucket.used().for_each(|slot| crate::prefetch_line(target(&bucket.items[slot])));
    }

    /// Starts loading what the items with this hash's tag point to, home bucket only.
    #[inline]
    pub(crate) fn fetch_matches(&self, hash: u64, bits: u8) {
        let bucket = self.bucket(home(hash, bits));
        slots(bucket.matches(tag(hash))).for_each(|slot| crate::prefetch_line(target(&bucket.items[slot])));
    }

    /// A segment of the same items, cloned.
    pub(crate) fn duplicate(&self) -> Segment<T> {
        let mut copy: Segment<T> = Segment::new(self.depth(), self.bits(), self.overflow_max());
        copy.header_mut().overflow = self.header().overflow;
        for line in 0..self.lines() {
            let from = self.bucket(line);
            for slot in from.used() {
                let Some(item) = from.get(slot) else { continue };
                copy.bucket_mut(line).items[slot].write(item.clone());
                copy.bucket_mut(line).tags[slot] = from.tags[slot];
                copy.header_mut().count += 1;
            }
            copy.bucket_mut(line).tags[SLOTS] = from.tags[SLOTS];
        }
        copy
    }

    /// Whether another directory has this segment too, so that it must not be written. When it says no, what
    /// the other did before it let go is visible here.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.header().owners.load(Ordering::Acquire) != 1
    }

    /// Counts one directory more that has it.
    pub(crate) fn add_owner(&self) {
        let before = self.header().owners.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "owners of a segment are counted in 32 bits");
    }

    /// Counts one directory less; whether none is left, and then all that they did is visible here, and it has one owner: the caller.
    pub(crate) fn remove_owner(&self) -> bool {
        let is_last = self.header().owners.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            fence(Ordering::Acquire);
            self.header().owners.store(1, Ordering::Relaxed);
        }
        is_last
    }

    /// Gives the memory back without dropping items.
    ///
    /// # Safety
    /// No item is left that anybody will use, and neither this value nor a copy of it is used again.
    unsafe fn free(&mut self) {
        let layout = layout(self.lines_max());
        // SAFETY: it was allocated with this layout, which `bits` and `overflow_max` determine.
        unsafe { dealloc(self.header.as_ptr().cast(), layout) };
    }
}

impl<T: Item> Drop for Segment<T> {
    fn drop(&mut self) {
        for line in 0..self.lines() {
            for slot in self.bucket(line).used() {
                drop(self.bucket_mut(line).take(slot));
            }
        }
        // SAFETY: every item has been dropped, and a value is dropped once.
        unsafe { self.free() };
    }
}

fn layout(buckets: usize) -> Layout {
    Layout::from_size_align((1 + buckets) * LINE, LINE).expect("a few hundred lines are a valid layout")
}

/// Where an item points to, for a prefetch only.
#[inline]
fn target<T>(item: &MaybeUninit<T>) -> *const u8 {
    // SAFETY: reads 8 bytes of an 8-byte pointer type (asserted in `new`), initialised as the tag told; the
    // result is never dereferenced.
    unsafe { std::mem::transmute_copy::<MaybeUninit<T>, *const u8>(item) }
}
