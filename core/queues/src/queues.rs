//! The queues that are followed, and the keys by which the keyspace tells of them.
//!
//! The hot path asks two questions. When a collection is created: is its name that of a followed key, or may it tell of a
//! queue ([`Queues::notes_new`])? A filter and a look at the end of the name say no to most. When a followed key has changed,
//! which a mark in its entry tells: how long is it now ([`Queues::changed`])? All else is done when somebody asks, or a few
//! queues at a time.
//!
//! A queue is *proven* when there is more of it than one client that waits: see `room`. Others are counted, but not told, and
//! the first to give way when there is no room.
//!
//! Invariants: each slot in use has its `Id` in `ids`, and its keys that are not only read in `keys`; all others are in `free`; the
//! filter holds each of these keys; a plain queue and a library's never share a key.

mod find;
mod names;
mod room;
mod tell;

pub use tell::Cursor;

use crate::filter::Filter;
use crate::id::{Id, KEY_BYTES_MAX, QueueKind};
use crate::libraries::{self, Context, Role};
use crate::queue::Queue;
use base::hash::Keyed;
use names::{Naming, Pass};
use std::collections::{BTreeMap, HashMap};
use types::Kind;

/// Keys that wait to be examined. Each command's are examined behind it, and a loader's when there are so many.
const SUSPECTS_MAX: usize = 1024;

/// Bytes of these keys.
const SUSPECT_BYTES_MAX: usize = 1 << 20;

/// A key of a database.
type Place = (usize, Box<[u8]>);

/// The name of a queue, and its kind: no other one has both.
type Title = (Box<str>, QueueKind);

/// A key that is not only read.
#[derive(Clone, Copy, Debug)]
struct Followed {
    /// The queue.
    slot: Option<u32>,
    /// Its place among the keys that name queues.
    names: Option<u32>,
    /// What it is to its queue.
    role: Role,
    /// Elements at the last look.
    len: u64,
}

/// The queues.
#[derive(Debug)]
pub struct Queues {
    max: usize,
    seed: u64,
    filter: Filter,
    /// By database.
    keys: Vec<HashMap<Box<[u8]>, Followed, Keyed>>,
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
    /// Keys that the filter holds in vain.
    stale_keys: usize,
    /// Keys that name queues, by place.
    names: Vec<Option<Naming>>,
    /// Places of which none is in use.
    free_names: Vec<u32>,
    pass: Pass,
    suspects: Vec<Place>,
    /// Bytes of their keys.
    suspect_bytes: usize,
    /// Keys whose entries are to be marked.
    marks: Vec<Place>,
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
            filter: Filter::default(),
            keys: Vec::new(),
            ids: HashMap::with_hasher(base::hash::keyed(seed)),
            titles: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            unproven: 0,
            hand: 0,
            stale_keys: 0,
            names: Vec::new(),
            free_names: Vec::new(),
            pass: Pass::default(),
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
            *self = Queues { dropped: self.dropped, ..Queues::new(self.seed) };
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

    /// A collection is created under `key`, whose hash is this; whether its entry is to be marked.
    #[inline]
    pub fn notes_new(&mut self, kind: Kind, db: usize, hash: u64, key: &[u8]) -> bool {
        if self.max == 0 {
            return false;
        }
        if libraries::may_tell(kind, key) {
            self.suspect(db, key);
        }
        self.filter.may_hold(hash) && self.is_marked(db, key)
    }

    #[cold]
    fn is_marked(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(Followed { names, role, .. }) = self.followed(db, key).copied() else { return false };
        names.into_iter().for_each(|place| self.names_changed(place));
        names.is_some() || role == Role::Jobs
    }

    fn followed(&self, db: usize, key: &[u8]) -> Option<&Followed> {
        self.keys.get(db)?.get(key)
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

    /// A marked collection has changed and holds `len` elements now; it was created by this when it `is_new`. Whether the mark is
    /// still right.
    pub fn changed(&mut self, db: usize, key: &[u8], len: u64, is_new: bool, now_ms: u64) -> bool {
        let Some(followed) = self.keys.get_mut(db).and_then(|keys| keys.get_mut(key)) else { return false };
        let before = if is_new { 0 } else { followed.len };
        followed.len = len;
        let Followed { slot, names, .. } = *followed;
        names.into_iter().for_each(|place| self.names_changed(place));
        if let Some(queue) = slot.and_then(|slot| self.slots[slot as usize].as_mut()) {
            queue.count(before, len, now_ms);
        }
        true
    }

    /// A marked collection was put under its key as a whole: nothing of it came or was taken.
    pub fn placed(&mut self, db: usize, key: &[u8], len: u64) {
        if let Some(followed) = self.keys.get_mut(db).and_then(|keys| keys.get_mut(key)) {
            followed.len = len;
        }
    }

    /// A database was emptied.
    pub fn flushed(&mut self, db: usize) {
        for queue in self.slots.iter_mut().flatten().filter(|queue| queue.id.db == db) {
            queue.seen_ms = 0;
            queue.waiting = 0;
            queue.told = queue.told.and(Some((0, 0)));
        }
        self.keys.get_mut(db).into_iter().flatten().for_each(|(_, followed)| followed.len = 0);
    }

    /// Two databases were exchanged. Those who wait stay where they are, so what is only a queue because of them is no more.
    pub fn swapped(&mut self, a: usize, b: usize) {
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
        self.keys.resize_with(self.keys.len().max(a.max(b) + 1), || {
            HashMap::with_hasher(base::hash::keyed(self.seed))
        });
        self.keys.swap(a, b);
        self.names.iter_mut().flatten().for_each(|naming| naming.db = other(naming.db));
        self.suspects.iter_mut().for_each(|(db, _)| *db = other(*db));
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
        let of_key = |key: &[u8]| key.len() + size_of::<(Box<[u8]>, Followed)>() + 1;
        let keys: usize = self.keys.iter().flat_map(HashMap::keys).map(|key| of_key(key)).sum();
        let queues: usize = self.slots.iter().flatten().map(Queue::bytes).sum();
        let names: usize =
            self.names.iter().flatten().map(|naming| size_of::<Naming>() + naming.key.len()).sum();
        let titles: usize = self.titles.keys().map(|(name, _)| size_of::<Title>() + name.len()).sum();
        keys + queues + names + titles
    }
}

#[cfg(test)]
mod tests;
