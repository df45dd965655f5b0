//! How queues are found: by those who wait, by keys that are created, by the names that libraries keep.

use super::{Followed, KEY_BYTES_MAX, Queues};
use crate::id::{Id, QueueKind};
use crate::libraries::{self, Context, Found, Name, Role, Seen};
use crate::queue::Queue;
use std::collections::{HashMap, HashSet};
use types::Kind;

/// Names looked at in one go, in all keys that name queues together, for each queue that may be followed.
const NAMES_PER_QUEUE: usize = 4;

impl Queues {
    /// Somebody waits on a key for a value of this type; who waits already is known to `at`.
    pub fn awaited(&mut self, db: usize, key: &[u8], kind: Kind, at: &Context<'_>) {
        if self.max == 0 {
            return;
        }
        if let Some(followed) = self.keys.get(db).and_then(|keys| keys.get(key)) {
            followed.slot.into_iter().for_each(|slot| self.awaited_again(slot, key, at));
            return;
        }
        if key.len() > KEY_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.examine_key(db, key, Some(kind), at);
    }

    /// Examines the keys that may tell of queues, each once.
    pub fn examine(&mut self, at: &Context<'_>) {
        let suspects = core::mem::take(&mut self.suspects);
        let mut examined = HashSet::with_hasher(base::hash::keyed(self.seed));
        for place in &suspects {
            if examined.insert(place) {
                self.examine_key(place.0, &place.1, None, at);
            }
        }
    }

    fn examine_key(&mut self, db: usize, key: &[u8], awaited: Option<Kind>, at: &Context<'_>) {
        let keys = at.keys(db, self.max);
        let found = libraries::find(&Seen { keys, key, view: keys.view(key), awaited });
        self.follow_found(db, key, found, at);
    }

    fn follow_found(&mut self, db: usize, key: &[u8], found: Found, at: &Context<'_>) {
        if found.names {
            self.note_names(db, key);
        }
        self.dropped += found.too_long;
        for (id, named) in found.queues {
            self.dropped += u64::from(!self.follow(id, named, at));
        }
    }

    /// Remembers a key that names queues, as many of them as there may be queues. A set is marked, to hear of it when it changes; a
    /// stream, so that it is not examined with each entry.
    fn note_names(&mut self, db: usize, key: &[u8]) {
        self.marks.push((db, key.into()));
        let is_known = self.names.iter().any(|(known_db, known)| *known_db == db && **known == *key);
        if is_known || self.names.len() >= self.max {
            return;
        }
        self.names.push((db, key.into()));
        self.add_key(db, key, Followed { slot: None, role: Role::State, len: 0 });
    }

    /// Follows a queue, if there is room for it; false where a queue is left out that should be told. Nobody has counted the jobs that
    /// are there, but they came: what was loaded is left out at the end of that.
    pub(super) fn follow(&mut self, id: Id, named: Option<Name>, at: &Context<'_>) -> bool {
        let now_ms = at.mono_ms();
        let of_name = named.iter().flat_map(|(set, member)| [set, member]);
        if [&id.base, &id.part].into_iter().chain(of_name).any(|text| text.len() > KEY_BYTES_MAX) {
            return false;
        }
        if let Some(slot) = self.ids.get(&id).copied() {
            self.found_again(slot, named, at);
            return true;
        }
        let keys = (id.kind.library().keys)(&id);
        if keys.iter().any(|(_, key)| key.len() > KEY_BYTES_MAX) {
            return false;
        }
        let there = at.keys(id.db, self.max);
        let depths = (id.kind.library().depths)(&id, &there);
        let is_proven = named.is_some() || depths.exists;
        if !self.make_room(is_proven, at) {
            return !is_proven;
        }
        let mut queue = Queue { named, is_proven, ..Queue::new(id.clone(), now_ms) };
        let slot = self.free_slot();
        for (role, key) in keys.iter().filter(|(role, _)| *role != Role::State) {
            self.displace(id.db, key, &mut queue);
            let len = if *role == Role::Jobs { there.len(key) } else { 0 };
            queue.count(0, len, now_ms);
            self.add_key(id.db, key, Followed { slot: Some(slot), role: *role, len });
            if *role == Role::Jobs {
                self.marks.push((id.db, key.as_slice().into()));
            }
        }
        if id.kind == QueueKind::Stream {
            queue.begin(&depths);
        }
        self.unproven += usize::from(!is_proven);
        self.slots[slot as usize] = Some(queue);
        self.ids.insert(id, slot);
        true
    }

    fn found_again(&mut self, slot: u32, named: Option<Name>, at: &Context<'_>) {
        let Some(queue) = &mut self.slots[slot as usize] else { return };
        let depths = || (queue.id.kind.library().depths)(&queue.id, &at.keys(queue.id.db, 0));
        let is_proof = !queue.is_proven && (named.is_some() || depths().exists);
        (queue.named, queue.seen_ms) = (named, at.mono_ms());
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
        let slot = self.keys.get(db).and_then(|keys| keys.get(key)).and_then(|followed| followed.slot);
        if let Some(slot) = slot
            && self.slots[slot as usize].as_ref().is_some_and(|queue| queue.id.gives_way())
            && let Some(old) = self.forget(slot)
        {
            by.succeed(&old);
        }
    }

    fn add_key(&mut self, db: usize, key: &[u8], followed: Followed) {
        let seed = self.seed;
        self.keys.resize_with(self.keys.len().max(db + 1), || HashMap::with_hasher(base::hash::keyed(seed)));
        self.keys[db].insert(key.into(), followed);
        self.filter.add(base::hash::hash(seed, key));
    }

    /// The keys whose entries are to be marked.
    pub fn take_marks(&mut self) -> Vec<(usize, Box<[u8]>)> {
        core::mem::take(&mut self.marks)
    }

    pub(super) fn examine_names(&mut self, at: &Context<'_>) {
        let mut names = core::mem::take(&mut self.names);
        let mut members_left = NAMES_PER_QUEUE * self.max;
        names.retain(|(db, key)| {
            let names_max = members_left.min(self.max);
            let keys = at.keys(*db, names_max);
            let Some(view) = keys.view(key) else {
                self.keys[*db].remove(key);
                return false;
            };
            let found = libraries::find(&Seen { keys, key, view: Some(view), awaited: None });
            members_left -= libraries::names(view).min(names_max as u64) as usize;
            for (id, named) in found.queues {
                self.follow(id, named, at);
            }
            true
        });
        self.names = names;
    }
}
