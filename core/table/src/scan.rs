//! Visiting a table while it changes, sampling it, and plain iteration.
//!
//! A cursor of [`Table::scan`] is a place in a fixed order of all hashes: by the lowest six bits (the home
//! bucket), then by the top bits (the segment). Whatever the table's size at the moment, one bucket's
//! chain holds one interval of that order, so growing and shrinking cut or join intervals but never move
//! an item across a cursor: what was there all the time is seen at least once.
//! A cursor of [`Table::walk`] goes segment by segment instead, which is kinder to the caches; it also
//! notes the segment's depth, and starts the segment again if it has been merged since.

use crate::segment::{HOME_BITS_MAX, Segment, home};
use crate::{Item, Place, Position, SLOTS, Table};
use base::Random;

/// Bits of the hash's top that a cursor keeps: more than the deepest directory, and few enough that every
/// cursor is below 2^53, because some clients keep cursors as doubles.
const PREFIX_BITS: u32 = 40;
const HOMES: u64 = 1 << HOME_BITS_MAX;

/// The place of a hash in the order that [`Table::scan`] follows: the cursor from which on an item with this hash is still to
/// come. It is the same in a table of any size, so who keeps a few items without a table can hand out cursors that
/// stay good when a table is made of them.
pub fn place(hash: u64) -> u64 {
    (hash & (HOMES - 1)) << PREFIX_BITS | hash >> (u64::BITS - PREFIX_BITS)
}
/// Random picks before looking for the next item in order.
const TRIES: usize = 100;

impl<T: Item> Table<T> {
    /// Visits the items of at least one bucket, from `cursor` on, and returns the next cursor. 0 starts, and
    /// 0 comes back at the end. Cursors are below 2^46; another number visits nothing and ends.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&T)) -> u64 {
        let mut low = cursor >> PREFIX_BITS;
        let mut prefix = cursor & ((1 << PREFIX_BITS) - 1);
        if self.is_empty() || low >= HOMES {
            return 0;
        }
        let index = (prefix >> (PREFIX_BITS - u32::from(self.directory.depth()))) as usize;
        let line = home(low, self.bits);
        self.visit_chain(index, line, visit);
        prefix = self.after(index);
        if prefix == 1 << PREFIX_BITS {
            prefix = 0;
            low = (line as u64 + 1) << (HOME_BITS_MAX - self.bits);
        }
        if low == HOMES { 0 } else { low << PREFIX_BITS | prefix }
    }

    /// Like [`Table::scan`], segment by segment: for a walk over everything that may take long. Cursors are
    /// opaque; 0 starts and ends. Each item that is there all the time is visited at least once.
    pub fn walk(&self, cursor: u64, visit: &mut dyn FnMut(&T)) -> u64 {
        match self.walk_step(cursor) {
            Some((index, line, next)) => {
                self.visit_chain(index, line, visit);
                next
            }
            None => 0,
        }
    }

    /// Like [`Table::walk`], for changing the items (never their keys).
    pub fn walk_mut(&mut self, cursor: u64, visit: &mut dyn FnMut(&mut T)) -> u64 {
        let Some((index, line, next)) = self.walk_step(cursor) else { return 0 };
        let (seed, bits) = (self.seed, self.bits);
        let mut segment = self.own(index);
        let mut at = Some(line);
        while let Some(now) = at {
            at = segment.visit_line(now, bits, &mut |item| {
                if now == line || home(base::hash::hash(seed, item.key()), bits) == line {
                    visit(item);
                }
            });
        }
        next
    }

    /// The chain that a walk's cursor names, and the cursor after it.
    fn walk_step(&self, cursor: u64) -> Option<(usize, usize, u64)> {
        let prefix = cursor >> 12;
        if self.is_empty() || prefix >= 1 << PREFIX_BITS {
            return None;
        }
        let index = (prefix >> (PREFIX_BITS - u32::from(self.directory.depth()))) as usize;
        let depth = self.directory.at(index).depth();
        let merged = cursor & 63 > u64::from(depth);
        let low = if merged { 0 } else { (cursor >> 6) & 63 };
        let line = home(low, self.bits);
        let next_low = (line as u64 + 1) << (HOME_BITS_MAX - self.bits);
        let next = if next_low == HOMES {
            (self.after(index) & ((1 << PREFIX_BITS) - 1)) << 12
        } else {
            prefix << 12 | next_low << 6 | u64::from(depth)
        };
        Some((index, line, next))
    }

    /// The first prefix after the segment at `index`; `1 << PREFIX_BITS` after the last.
    fn after(&self, index: usize) -> u64 {
        let span = self.directory.span(index);
        (((index & !(span - 1)) + span) as u64) << (PREFIX_BITS - u32::from(self.directory.depth()))
    }

    /// Visits what belongs to one home bucket. In the overflow buckets, which several homes share, that
    /// takes the key's hash.
    fn visit_chain(&self, index: usize, line: usize, visit: &mut dyn FnMut(&T)) {
        let segment = self.directory.at(index);
        let mut at = Some(line);
        while let Some(now) = at {
            let bucket = segment.bucket(now);
            for item in bucket.used().filter_map(|slot| bucket.get(slot)) {
                if now == line || home(self.hash_of(item.key()), self.bits) == line {
                    visit(item);
                }
            }
            at = segment.next(now, self.bits);
        }
    }

    /// A random item, each about as likely.
    pub fn random(&self, random: &mut Random) -> Option<&T> {
        self.random_position(random).map(|position| self.at(position))
    }

    /// The position of a random item, each about as likely.
    pub fn random_position(&self, random: &mut Random) -> Option<Position> {
        if self.is_empty() {
            return None;
        }
        for _ in 0..TRIES {
            let index = random.below(self.directory.len() as u64) as usize;
            let segment = self.directory.at(index);
            let line = random.below(segment.lines() as u64) as usize;
            let slot = random.below(SLOTS as u64) as usize;
            if segment.bucket(line).get(slot).is_some() {
                let place = Place { line: line as u16, slot: slot as u8 };
                return Some(Position { segment: index as u32, place });
            }
        }
        self.next_from(random.below(self.directory.len() as u64) as usize)
    }

    /// The first item in or after a segment, around the end. A table that was emptied keeps few empty
    /// segments, so this is short.
    fn next_from(&self, start: usize) -> Option<Position> {
        let count = self.directory.len();
        (0..count).map(|step| (start + step) % count).find_map(|index| {
            let segment = self.directory.at(index);
            (0..segment.lines()).find_map(|line| {
                let slot = segment.bucket(line).used().next()?;
                let place = Place { line: line as u16, slot: slot as u8 };
                Some(Position { segment: index as u32, place })
            })
        })
    }

    /// Visits up to `count` items from random places, neighbours where they share a bucket; the same one
    /// may come twice. At least one, unless the table is empty.
    pub fn sample(&self, random: &mut Random, count: usize, visit: &mut dyn FnMut(&T)) {
        if self.is_empty() {
            return;
        }
        let mut left = count;
        for _ in 0..count + 16 {
            let segment = self.directory.at(random.below(self.directory.len() as u64) as usize);
            let bucket = segment.bucket(random.below(segment.lines() as u64) as usize);
            for item in bucket.used().filter_map(|slot| bucket.get(slot)).take(left) {
                visit(item);
                left -= 1;
            }
            if left == 0 {
                return;
            }
        }
        if left == count
            && let Some(position) = self.next_from(0)
        {
            visit(self.at(position));
        }
    }

    /// Every item once, in no useful order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { table: self, index: 0, line: 0, slot: 0 }
    }
}

impl<'a, T: Item> IntoIterator for &'a Table<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The iterator of [`Table::iter`].
#[derive(Debug)]
pub struct Iter<'a, T: Item> {
    table: &'a Table<T>,
    index: usize,
    line: usize,
    slot: usize,
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            let segment: &'a Segment<T> = self.table.directory.get(self.index)?;
            while self.line < segment.lines() {
                while self.slot < SLOTS {
                    self.slot += 1;
                    if let Some(item) = segment.bucket(self.line).get(self.slot - 1) {
                        return Some(item);
                    }
                }
                self.slot = 0;
                self.line += 1;
            }
            self.line = 0;
            self.index += self.table.directory.span(self.index);
        }
    }
}
