//! How queues are found: by those who wait, by keys that are created, by the names that libraries keep.

use super::keys::Followed;
use super::names::NAMES_STEP;
use super::{KEY_BYTES_MAX, Mark, Queues, number_in_entry};
use crate::id::{Id, QueueKind};
use crate::libraries::{self, Context, Name, Role, Seen};
use crate::queue::Queue;
use std::collections::HashSet;
use types::{Kind, View};

impl Queues {
    /// Somebody waits on a key for a value of this type; who waits already is known to `at`.
    pub fn awaited(&mut self, db: usize, key: &[u8], kind: Kind, at: &Context<'_>) {
        if self.max == 0 {
            return;
        }
        let followed = self.keys.find(db, key);
        if let Some(slot) = followed.and_then(|followed| followed.slot) {
            self.awaited_again(slot, key, at);
            return;
        }
        if key.len() > KEY_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        // What a known stream names was counted when it came.
        let (is_known, dropped) = (followed.is_some(), self.dropped);
        self.examine_key(db, key, Some(kind), at);
        if is_known {
            self.dropped = dropped;
        }
    }

    /// The same of a key of this hash where nothing is to be found out: a queue that is told already is only used once more. False where
    /// there is more to it.
    #[inline]
    pub fn is_awaited_as_ever(&mut self, db: usize, hash: u64, key: &[u8], now_us: u64) -> bool {
        let followed = self.keys.number_of_hashed(db, hash, key).and_then(|number| self.keys.at(number));
        let Some(slot) = followed.and_then(|followed| followed.slot) else { return false };
        match &mut self.slots[slot as usize] {
            Some(queue) if queue.is_proven => {
                queue.seen_us = now_us;
                true
            }
            _ => false,
        }
    }

    /// Examines the keys that may tell of queues, each once.
    pub fn examine(&mut self, at: &Context<'_>) {
        let suspects = core::mem::take(&mut self.suspects);
        self.suspect_bytes = 0;
        let mut examined = HashSet::with_hasher(base::hash::keyed(self.seed));
        for place in &suspects {
            if examined.insert(place) {
                self.examine_key(place.0, &place.1, None, at);
            }
        }
    }

    fn examine_key(&mut self, db: usize, key: &[u8], awaited: Option<Kind>, at: &Context<'_>) {
        let keys = at.keys(db, self.max.min(NAMES_STEP));
        let view = keys.view(key);
        if view.is_none() && self.keys.find(db, key).is_none_or(|followed| followed.slot.is_none()) {
            // It went before it was seen, and may come again.
            self.recent.clear();
        }
        let found = libraries::find(&Seen { keys, key, view, awaited });
        if found.names {
            self.note_names(db, key, view.map_or(0, libraries::names), !found.queues.is_empty());
            if let Some(View::Stream(_)) = view {
                // Also one that is not noted, so that it is not examined with each entry.
                self.mark(db, key);
            }
        }
        self.follow_found(found, at);
    }

    /// Follows a queue, if there is room for it; false where a queue is left out that should be told. Nobody has counted the jobs that
    /// are there, but they came: what was loaded is left out at the end of that.
    pub(super) fn follow(&mut self, id: Id, named: Option<Name>, at: &Context<'_>) -> bool {
        let now_us = at.mono_us();
        if is_too_long(&id, named.as_ref()) {
            return false;
        }
        if let Some(slot) = self.ids.get(&id).copied() {
            self.found_again(slot, named, at);
            return true;
        }
        // Of two that are one for those who are told, as where a queue is bound with two separators, the first stays.
        let title = (id.name().into(), id.kind);
        if let Some(slot) = self.titles.get(&title).copied() {
            self.found_again(slot, named, at);
            return true;
        }
        let keys = (id.kind.library().keys)(&id);
        let there = at.keys(id.db, self.max);
        let depths = (id.kind.library().depths)(&id, &there);
        let is_proven = named.is_some() || depths.exists;
        if !self.make_room(is_proven, at) {
            return !is_proven;
        }
        let mut queue = Queue { named, is_proven, ..Queue::new(id.clone(), now_us) };
        let slot = self.free_slot();
        for (role, key) in keys.iter().filter(|(role, _)| *role != Role::State) {
            self.displace(id.db, key, &mut queue);
            let len = if *role == Role::Jobs { there.len(key) } else { 0 };
            if len > 0 {
                queue.come(len, now_us);
            }
            let names = self.keys.find(id.db, key).and_then(|followed| followed.names);
            let number = self.keys.set(id.db, key, Followed { slot: Some(slot), names, role: *role });
            if *role == Role::Jobs {
                queue.numbers.push(number);
                self.mark(id.db, key);
            }
        }
        if id.kind == QueueKind::Stream {
            queue.begin(&depths);
        }
        self.recent.clear();
        self.unproven += usize::from(!is_proven);
        self.slots[slot as usize] = Some(queue);
        self.titles.insert(title, slot);
        self.ids.insert(id, slot);
        true
    }

    fn found_again(&mut self, slot: u32, named: Option<Name>, at: &Context<'_>) {
        let Some(queue) = &mut self.slots[slot as usize] else { return };
        let depths = || (queue.id.kind.library().depths)(&queue.id, &at.keys(queue.id.db, 0));
        let is_proof = !queue.is_proven && (named.is_some() || depths().exists);
        (queue.named, queue.seen_us) = (named, at.mono_us());
        if is_proof {
            self.prove(slot);
        }
    }

    fn free_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        })
    }

    /// A queue that is known by nothing but this key gives way to the one that the key really belongs to, with what was counted.
    fn displace(&mut self, db: usize, key: &[u8], by: &mut Queue) {
        let slot = self.keys.find(db, key).and_then(|followed| followed.slot);
        if let Some(slot) = slot
            && self.slots[slot as usize].as_ref().is_some_and(|queue| queue.id.gives_way())
            && let Some(old) = self.forget(slot)
        {
            by.succeed(&old);
        }
    }

    /// A collection that was there before is seen by a search, with the number of its groups if it is a stream: the key is examined if
    /// it may tell of queues, and marked if it is followed.
    pub fn notes_old(&mut self, kind: Kind, db: usize, hash: u64, key: &[u8], groups: usize) {
        if self.notes_new(kind, db, hash, key).is_some() {
            self.mark(db, key);
        }
        if groups > 0 {
            self.suspect(db, key);
        }
    }

    /// The entry of the key is to be marked, with its number if it has one.
    pub(super) fn mark(&mut self, db: usize, key: &[u8]) {
        let number = self.keys.number_of(db, key);
        let is_job = |number: &u32| self.keys.at(*number).is_some_and(|followed| followed.names.is_none());
        let number = Some(number.filter(is_job).map_or(0, number_in_entry));
        self.marks.push(Mark { db, key: key.into(), number });
    }

    /// The keys whose entries are to be marked, in this order.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        core::mem::take(&mut self.marks)
    }
}

/// Whether a text of the queue is longer than those that are kept.
fn is_too_long(id: &Id, named: Option<&Name>) -> bool {
    let is_long = |text: &[u8]| text.len() > KEY_BYTES_MAX;
    let names = named.iter().any(|(set, member)| is_long(set) || is_long(member));
    // In front of a group stands a slash.
    is_long(&id.base)
        || is_long(id.part.strip_prefix(b"/").unwrap_or(&id.part))
        || names
        || (id.kind.library().keys)(id).iter().any(|(_, key)| is_long(key))
}
