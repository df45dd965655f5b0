//! The keys that name queues: sets of a library, and streams with groups.
//!
//! A set may have many members, and a script may add a thousand of them one by one. So a set that changes is only noted as changed,
//! and gone through some members at a time: by the tick, or as a whole when somebody asks for all queues. Unchanged ones are gone
//! through as well, for what they name may come later than the name, or there was no room for it.

use super::Queues;
use super::keys::Followed;
use crate::id::KEY_BYTES_MAX;
use crate::libraries::{self, Context, Found, Seen};

/// Names looked at in one step.
pub(super) const NAMES_STEP: usize = 64;

/// Names looked at when all queues are told, for each queue that may be followed.
const NAMES_PER_QUEUE: usize = 4;

/// All names are gone through no more often than this.
const PASS_MS: u64 = 1000;

/// Places looked at to find a key that gives way to another one.
const SEARCH_STEP: usize = 64;

/// A key that names queues.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) db: usize,
    pub(super) key: Box<[u8]>,
    /// The number of the name that is looked at next.
    next: usize,
    /// It has changed since its first name was looked at.
    has_changed: bool,
    /// What there is no room for is counted: these names were not looked at before.
    counts: bool,
    /// One of its names stood for a queue.
    names_any: bool,
}

impl Naming {
    fn is_due(&self) -> bool {
        self.has_changed || self.next > 0
    }
}

/// How far the keys that name queues are gone through.
#[derive(Debug, Default)]
pub(super) struct Pass {
    at: usize,
    began_ms: u64,
    /// Where the next search for a key that gives way begins.
    hand: usize,
}

impl Queues {
    /// What a key told is followed, as far as there is room for it.
    pub(super) fn follow_found(&mut self, found: Found, at: &Context<'_>) {
        self.dropped += found.too_long;
        for (id, named) in found.queues {
            self.dropped += u64::from(!self.follow(id, named, at));
        }
    }

    /// Remembers a key that names queues, as many of them as there may be queues. It is marked, to hear of it when it changes.
    pub(super) fn note_names(&mut self, db: usize, key: &[u8], count: u64, names_any: bool) {
        let followed = self.keys.find(db, key).unwrap_or(Followed::NONE);
        if followed.names.is_some() || key.len() > KEY_BYTES_MAX {
            return;
        }
        let Some(place) = self.free_naming(names_any) else { return };
        // The first ones are looked at by whoever has found the key.
        let next = if count > NAMES_STEP as u64 { NAMES_STEP } else { 0 };
        let naming = Naming { db, key: key.into(), next, has_changed: false, counts: true, names_any };
        self.names[place] = Some(naming);
        self.keys.set(db, key, Followed { names: Some(place as u32), ..followed });
        self.recent.clear();
        self.mark(db, key);
    }

    /// A place for one more; one that names no queue gives way to one that does.
    fn free_naming(&mut self, names_any: bool) -> Option<usize> {
        if let Some(place) = self.free_names.pop() {
            return Some(place as usize);
        }
        if self.names.len() < self.max {
            self.names.push(None);
            return Some(self.names.len() - 1);
        }
        for _ in 0..SEARCH_STEP.min(self.names.len()) {
            let place = self.pass.hand % self.names.len();
            self.pass.hand = place + 1;
            if names_any && self.names[place].as_ref().is_some_and(|naming| !naming.names_any) {
                self.forget_names(place);
                return self.free_names.pop().map(|place| place as usize);
            }
        }
        None
    }

    fn forget_names(&mut self, place: usize) {
        let Some(naming) = self.names[place].take() else { return };
        self.free_names.push(place as u32);
        let Some(followed) = self.keys.find(naming.db, &naming.key) else { return };
        self.leave_key(naming.db, &naming.key, Followed { names: None, ..followed });
    }

    /// A key that names queues has changed.
    pub(super) fn names_changed(&mut self, place: u32) {
        if let Some(naming) = self.names.get_mut(place as usize).and_then(Option::as_mut) {
            naming.has_changed = true;
        }
    }

    /// Looks at names of one key, from where the last look ended; how many of `count` are left.
    fn look_at_names(&mut self, place: usize, count: usize, at: &Context<'_>) -> usize {
        let Some(naming) = &mut self.names[place] else { return count };
        let from = core::mem::take(&mut naming.next);
        if from == 0 {
            naming.counts = core::mem::take(&mut naming.has_changed);
        }
        let (db, key, counts) = (naming.db, naming.key.clone(), naming.counts);
        let keys = at.keys(db, count.min(self.max.saturating_sub(from))).from(from);
        let Some(view) = keys.view(&key) else {
            self.forget_names(place);
            return count - 1;
        };
        let found = libraries::find(&Seen { keys, key: &key, view: Some(view), awaited: None });
        let there = (libraries::names(view) as usize).min(self.max);
        let end = there.min(from + keys.names_max);
        if let Some(naming) = &mut self.names[place] {
            naming.names_any = !found.queues.is_empty() || from > 0 && naming.names_any;
            naming.next = if end < there { end } else { 0 };
        }
        self.mark(db, &key);
        let dropped = self.dropped;
        self.follow_found(found, at);
        if !counts {
            // Told when they came.
            self.dropped = dropped;
        }
        count - (end - from.min(end)).max(1)
    }

    /// Goes on through the names; those that have changed are looked at first.
    pub(super) fn look_at_some_names(&mut self, at: &Context<'_>) {
        let mut left = self.look_at_changed_names(NAMES_STEP, at);
        let now_ms = at.mono_ms();
        if self.pass.at >= self.names.len() && now_ms.saturating_sub(self.pass.began_ms) >= PASS_MS {
            (self.pass.at, self.pass.began_ms) = (0, now_ms);
        }
        while left > 0 && self.pass.at < self.names.len() {
            left = self.look_at_names(self.pass.at, left, at);
            let is_through = self.names[self.pass.at].as_ref().is_none_or(|naming| naming.next == 0);
            self.pass.at += usize::from(is_through);
        }
    }

    fn look_at_changed_names(&mut self, count: usize, at: &Context<'_>) -> usize {
        let mut left = count;
        for place in 0..self.names.len() {
            while left > 0 && self.names[place].as_ref().is_some_and(Naming::is_due) {
                left = self.look_at_names(place, left, at);
            }
        }
        left
    }

    /// Goes through all names.
    pub(super) fn look_at_all_names(&mut self, at: &Context<'_>) {
        let mut left = NAMES_PER_QUEUE * self.max;
        for place in 0..self.names.len() {
            if let Some(naming) = &mut self.names[place] {
                naming.has_changed |= naming.counts && naming.next > 0;
                naming.next = 0;
            }
            if left > 0 {
                left = self.look_at_names(place, left, at);
            }
        }
    }
}
