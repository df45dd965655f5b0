//! The queues that are followed, and the keys by which the keyspace tells of them.
//!
//! The hot path asks two questions. When a collection is created: is its name that of a followed key, or may it tell of a
//! queue ([`Queues::notes_new`])? A filter and a look at the end of the name say no to most. When a followed key has changed,
//! which a number in its entry tells: how many elements came or went ([`Queues::changed`])? The number leads to the key's tally without a
//! look-up, and what is left to do is an addition. The queue takes note of its tallies when somebody looks at it, and when a moment is to be
//! remembered. All else is done when somebody asks, or a few queues at a time; a key that is created again and again is
//! examined when it first is in a tick, and at that tick's end.
//!
//! A queue is *proven* when there is more of it than one client that waits: see `room`. Others are counted, but not told, and
//! the first to give way when there is no room.
//!
//! Invariants: each slot in use has its `Id` in `ids`, and its keys that are not only read in `keys`; all others are in `free`; an entry
//! that has a number, but 0, has that of its own key; a plain queue and a library's never share a key.

mod find;
mod keys;
mod names;
mod room;
mod tell;

pub use tell::Cursor;

use crate::id::{Id, KEY_BYTES_MAX, QueueKind};
use crate::libraries::{self, Context, Role};
use crate::queue::{Queue, Tally};
use crate::recent::{Recent, Trace};
use base::hash::Keyed;
use keys::FollowedKeys;
use names::{Naming, Pass};
use std::collections::{BTreeMap, HashMap};
use types::Kind;

/// Keys that wait to be examined. Each command's are examined behind it, and a loader's when there are so many.
const SUSPECTS_MAX: usize = 1024;

/// Bytes of these keys.
const SUSPECT_BYTES_MAX: usize = 1 << 20;

/// A number as an entry keeps it.
fn number_in_entry(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

/// A key of a database.
type Place = (usize, Box<[u8]>);

/// The name of a queue, and its kind: no other one has both.
type Title = (Box<str>, QueueKind);

/// A key whose entry, if there is one and it is a collection, is to be marked, or to lose its mark.
#[derive(Debug)]
pub struct Mark {
    /// The number of its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// The number by which [`Queues::changed`] knows the key, 0 where only the name tells ([`Queues::changed_by_name`]); `None` where the
    /// key is followed no more.
    pub number: Option<u16>,
}

/// The queues.
#[derive(Debug)]
pub struct Queues {
    max: usize,
    seed: u64,
    keys: FollowedKeys,
    ids: HashMap<Id, u32, Keyed>,
    /// In the order in which they are told.
    titles: BTreeMap<Title, u32>,
    slots: Vec<Option<Queue>>,
    /// Slots of which none is in use.
    free: Vec<u32>,
    /// Queues that are not proven.
    unproven: usize,
    /// Where the next search for one that gives way begins.
    hand: usize,
    /// Keys that name queues, by place.
    names: Vec<Option<Naming>>,
    /// Places of which none is in use.
    free_names: Vec<u32>,
    pass: Pass,
    /// Collections that were created since the last tick and would tell nothing new; emptied when the followed keys are others.
    recent: Recent,
    /// Those that were created again and may tell of queues, to be examined by the tick.
    renewed: Vec<Place>,
    suspects: Vec<Place>,
    /// Bytes of their keys.
    suspect_bytes: usize,
    /// Keys whose entries are to be marked.
    marks: Vec<Mark>,
    dropped: u64,
    minute_ends_ms: u64,
    swept: usize,
}

impl Queues {
    /// None; what keys are looked up by is hashed under `seed`, which is that of the keyspace.
    pub fn new(seed: u64) -> Queues {
        Queues {
            max: 0,
            seed,
            keys: FollowedKeys::new(seed),
            ids: HashMap::with_hasher(base::hash::keyed(seed)),
            titles: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            unproven: 0,
            hand: 0,
            names: Vec::new(),
            free_names: Vec::new(),
            pass: Pass::default(),
            recent: Recent::default(),
            renewed: Vec::new(),
            suspects: Vec::new(),
            suspect_bytes: 0,
            marks: Vec::new(),
            dropped: 0,
            minute_ends_ms: 0,
            swept: 0,
        }
    }

    /// The most queues that are followed.
    pub fn max(&self) -> usize {
        self.max
    }

    /// At most `max` queues are followed; 0 forgets all of them. Those beyond a lower bound stay.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
        if max == 0 {
            let unmark = |(db, key): (usize, &[u8])| Mark { db, key: key.into(), number: None };
            let marks = self.keys.names().map(unmark).collect();
            *self = Queues { dropped: self.dropped, marks, ..Queues::new(self.seed) };
        }
    }

    /// Whether queues are followed at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.max > 0
    }

    /// Queues that are told.
    pub fn len(&self) -> usize {
        self.ids.len() - self.unproven
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a queue was not followed because there were too many, or its key was too long.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    // What the keyspace tells.

    /// A collection is created under `key`, whose hash is this; the number with which its entry is to be marked, if it is.
    #[inline]
    pub fn notes_new(&mut self, kind: Kind, db: usize, hash: u64, key: &[u8]) -> Option<u16> {
        if self.max == 0 {
            return None;
        }
        if !self.keys.filter.may_hold(hash) && !libraries::may_tell(kind, key) {
            return None;
        }
        match self.recent.find(Trace::of(db, kind, hash)) {
            Some(noted) => {
                let number = noted.number;
                if !core::mem::replace(&mut noted.is_renewed, true) {
                    self.note_renewed(kind, db, key);
                }
                let tally = number.and_then(|number| self.keys.tally_mut(number.into()));
                tally.into_iter().for_each(Tally::begin_anew);
                number
            }
            None => self.examine_new(kind, db, hash, key),
        }
    }

    /// A key was created again since it was examined: what is there at the end of the tick may tell what the first did not.
    #[cold]
    fn note_renewed(&mut self, kind: Kind, db: usize, key: &[u8]) {
        if libraries::may_tell(kind, key) && self.renewed.len() < SUSPECTS_MAX && key.len() <= KEY_BYTES_MAX {
            self.renewed.push((db, key.into()));
        }
    }

    /// Looks a key up that was not created since the last tick, and has it examined if it may tell of a queue.
    #[cold]
    fn examine_new(&mut self, kind: Kind, db: usize, hash: u64, key: &[u8]) -> Option<u16> {
        if libraries::may_tell(kind, key) {
            self.suspect(db, key);
        }
        let number = self.keys.number_of_hashed(db, hash, key);
        let followed = number.and_then(|number| self.keys.at(number));
        if let Some(place) = followed.and_then(|followed| followed.names) {
            self.names_changed(place);
            return Some(0);
        }
        if let Some(tally) = number.and_then(|number| self.keys.tally_mut(number)) {
            tally.begin_anew();
        }
        let is_jobs = followed.is_some_and(|followed| followed.role == Role::Jobs);
        let number = number.filter(|_| is_jobs).map(number_in_entry);
        if number != Some(0) {
            self.recent.note(Trace::of(db, kind, hash), number);
        }
        number
    }

    /// The key may tell of queues: it is to be examined.
    #[cold]
    pub fn suspect(&mut self, db: usize, key: &[u8]) {
        let is_last = self.suspects.last().is_some_and(|(last_db, last)| *last_db == db && **last == *key);
        if is_last {
            return;
        }
        // One whose key is too long for a queue is examined as well: what nobody is told of is counted.
        if self.is_full_of_suspects() || self.suspect_bytes + key.len() > SUSPECT_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.suspect_bytes += key.len();
        self.suspects.push((db, key.into()));
    }

    /// Whether there are keys to examine.
    #[inline]
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether no more of them can be noted.
    pub fn is_full_of_suspects(&self) -> bool {
        self.suspects.len() == SUSPECTS_MAX
    }

    /// A followed collection, the key of this number, went from `before` to `after` elements. It does not allocate and looks for nothing.
    #[inline]
    pub fn changed(&mut self, number: u32, before: u64, after: u64, now_us: u64) {
        let Some(tally) = self.keys.tally_mut(number) else { return };
        if !tally.count(before, after, now_us) {
            self.came(number, after - before, now_us);
        }
    }

    /// The same for a key that has no number, or names queues.
    #[cold]
    pub fn changed_by_name(&mut self, db: usize, key: &[u8], before: u64, after: u64, now_us: u64) {
        let Some(number) = self.keys.number_of(db, key) else { return };
        if let Some(place) = self.keys.at(number).and_then(|followed| followed.names) {
            self.names_changed(place);
        }
        self.changed(number, before, after, now_us);
    }

    /// Whether this is the number of the key.
    pub fn is_number_of(&self, number: u32, db: usize, key: &[u8]) -> bool {
        self.keys.number_of(db, key) == Some(number)
    }

    /// So many jobs came to a key of a queue that may want to remember when.
    #[inline(never)]
    fn came(&mut self, number: u32, count: u64, now_us: u64) {
        let Some(slot) = self.keys.at(number).and_then(|followed| followed.slot) else { return };
        self.settle(slot);
        let Some(queue) = &mut self.slots[slot as usize] else { return };
        queue.come(count, now_us);
        for number in &queue.numbers {
            if let Some(tally) = self.keys.tally_of(*number, slot) {
                queue.hush(tally);
            }
        }
    }

    /// A queue takes note of what was tallied at its keys.
    fn settle(&mut self, slot: u32) {
        let Some(queue) = &mut self.slots[slot as usize] else { return };
        for at in 0..queue.numbers.len() {
            if let Some(tally) = self.keys.tally_of(queue.numbers[at], slot) {
                queue.take(tally);
            }
        }
    }

    fn settle_all(&mut self) {
        (0..self.slots.len() as u32).for_each(|slot| self.settle(slot));
    }

    /// A database was emptied.
    pub fn flushed(&mut self, db: usize) {
        self.settle_all();
        for queue in self.slots.iter_mut().flatten().filter(|queue| queue.id.db == db) {
            queue.seen_us = 0;
            queue.waiting = 0;
            queue.told = queue.told.and(Some((0, 0)));
        }
        self.recent.clear();
    }

    /// Two databases were exchanged. Those who wait stay where they are, so what is only a queue because of them is no more.
    pub fn swapped(&mut self, a: usize, b: usize) {
        self.settle_all();
        let stays =
            |queue: &Queue| queue.id.gives_way() && queue.waiting == 0 && [a, b].contains(&queue.id.db);
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(stays) {
                self.forget(slot as u32);
            }
        }
        let other = |db: usize| match db {
            db if db == a => b,
            db if db == b => a,
            db => db,
        };
        self.keys.swap(a, b);
        self.recent.clear();
        self.names.iter_mut().flatten().for_each(|naming| naming.db = other(naming.db));
        self.suspects.iter_mut().chain(&mut self.renewed).for_each(|(db, _)| *db = other(*db));
        self.marks.iter_mut().for_each(|mark| mark.db = other(mark.db));
        self.ids.clear();
        self.titles.clear();
        for (slot, queue) in self.slots.iter_mut().enumerate() {
            if let Some(queue) = queue {
                queue.id.db = other(queue.id.db);
                self.ids.insert(queue.id.clone(), slot as u32);
                self.titles.insert((queue.id.name().into(), queue.id.kind), slot as u32);
            }
        }
    }

    /// The data was loaded: nothing of it came or was taken since the start.
    pub fn restart(&mut self, at: &Context<'_>) {
        self.settle_all();
        for queue in self.slots.iter_mut().flatten() {
            queue.restart();
            if queue.id.kind == QueueKind::Stream {
                let keys = at.keys(queue.id.db, 0);
                queue.told = (queue.id.kind.library().depths)(&queue.id, &keys).told;
            }
        }
    }

    /// Heap bytes that all this takes, estimated.
    pub fn bytes(&self) -> usize {
        let queues: usize = self.slots.iter().flatten().map(Queue::bytes).sum();
        let names: usize =
            self.names.iter().flatten().map(|naming| size_of::<Naming>() + naming.key.len()).sum();
        let titles: usize = self.titles.keys().map(|(name, _)| size_of::<Title>() + name.len()).sum();
        self.keys.bytes() + self.recent.bytes() + queues + names + titles
    }
}

#[cfg(test)]
mod tests;
