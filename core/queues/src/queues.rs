//! The queues that are followed, and the keys by which the keyspace tells of them.
//!
//! The hot path asks two questions. When a collection is created: is its name that of a followed key, or may it tell of a
//! queue ([`Queues::notes_new`])? A filter and a look at the end of the name say no to most. When a followed key has changed,
//! which a mark in its entry tells: how long is it now ([`Queues::changed`])? All else is done when somebody asks, or a few
//! queues at a time.
//!
//! Invariants: each slot in use has its `Id` in `ids`, and its keys that are not only read in `keys`; the filter holds each of
//! these keys; a plain queue and a library's never share a key.

use crate::figures::Figures;
use crate::filter::Filter;
use crate::id::{Id, KEY_BYTES_MAX, QueueKind};
use crate::libraries::{self, Clients, Depths, Found, Keys, Look, MayRead, Name, Role, Seen, bullmq};
use crate::queue::Queue;
use base::Now;
use base::hash::Keyed;
use std::collections::{HashMap, HashSet};
use types::Kind;

/// Keys that wait to be examined. Each command's are examined behind it, and a loader's when there are so many.
const SUSPECTS_MAX: usize = 1024;

/// An empty queue of which nothing is left stays for so long after it was used.
const LINGER_MS: u64 = 10 * 60 * 1000;

/// The same where more than half of the queues are used up: whoever waits on a key of its own for each reply makes many.
const CROWDED_LINGER_MS: u64 = 10 * 1000;

/// Rates are those of the last whole minute.
const MINUTE_MS: u64 = 60_000;

/// Queues looked at in one step of [`Queues::tick`].
const SWEEP_STEP: usize = 4;

/// Names looked at in one go, in all keys that name queues together, for each queue that may be followed.
const NAMES_PER_QUEUE: usize = 4;

/// A key of a database.
type Place = (usize, Box<[u8]>);

/// A key that is not only read.
#[derive(Clone, Copy, Debug)]
struct Followed {
    /// The queue, or none where the key names queues.
    slot: Option<u32>,
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
    slots: Vec<Option<Queue>>,
    /// Keys that name queues: sets of a library, and streams.
    names: Vec<Place>,
    suspects: Vec<Place>,
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
            slots: Vec::new(),
            names: Vec::new(),
            suspects: Vec::new(),
            marks: Vec::new(),
            dropped: 0,
            minute_ends_ms: 0,
            swept: 0,
        }
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

    /// Queues that are followed.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
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
    fn is_marked(&self, db: usize, key: &[u8]) -> bool {
        let followed = self.keys.get(db).and_then(|keys| keys.get(key));
        followed.is_some_and(|followed| followed.slot.is_none() || followed.role == Role::Jobs)
    }

    /// The key may tell of queues: it is to be examined.
    #[cold]
    pub fn suspect(&mut self, db: usize, key: &[u8]) {
        let is_last = self.suspects.last().is_some_and(|(last_db, last)| *last_db == db && **last == *key);
        if is_last || key.len() > KEY_BYTES_MAX {
            return;
        }
        if self.is_full_of_suspects() {
            self.dropped += 1;
            return;
        }
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
        let Some(slot) = followed.slot else {
            self.suspect(db, key);
            return true;
        };
        let before = if is_new { 0 } else { followed.len };
        followed.len = len;
        if let Some(queue) = &mut self.slots[slot as usize] {
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
        self.names.iter_mut().chain(&mut self.suspects).for_each(|(db, _)| *db = other(*db));
        self.ids.clear();
        for (slot, queue) in self.slots.iter_mut().enumerate() {
            if let Some(queue) = queue {
                queue.id.db = other(queue.id.db);
                self.ids.insert(queue.id.clone(), slot as u32);
            }
        }
    }

    /// The data was loaded: nothing of it came or was taken since the start.
    pub fn restart(&mut self, look: &dyn Look, now: Now) {
        for queue in self.slots.iter_mut().flatten() {
            queue.restart();
            if queue.id.kind == QueueKind::Stream {
                let keys = Keys { look, db: queue.id.db, now_ms: now.unix_ms, names_max: 0 };
                queue.told = (queue.id.kind.library().depths)(&queue.id, &keys).told;
            }
        }
    }

    // Finding queues.

    /// Somebody waits on a key for a value of this type.
    pub fn awaited(&mut self, db: usize, key: &[u8], kind: Kind, look: &dyn Look, now: Now) {
        if self.max == 0 {
            return;
        }
        if let Some(followed) = self.keys.get(db).and_then(|keys| keys.get(key)) {
            let queue = followed.slot.and_then(|slot| self.slots[slot as usize].as_mut());
            queue.into_iter().for_each(|queue| queue.seen_ms = now.mono_us / 1000);
            return;
        }
        if key.len() > KEY_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.examine_key(db, key, Some(kind), look, now);
    }

    /// Examines the keys that may tell of queues, each once.
    pub fn examine(&mut self, look: &dyn Look, now: Now) {
        let suspects = core::mem::take(&mut self.suspects);
        let mut examined = HashSet::with_hasher(base::hash::keyed(self.seed));
        for place in &suspects {
            if examined.insert(place) {
                self.examine_key(place.0, &place.1, None, look, now);
            }
        }
    }

    fn examine_key(&mut self, db: usize, key: &[u8], awaited: Option<Kind>, look: &dyn Look, now: Now) {
        let keys = self.keys_of(db, look, now);
        let found = libraries::find(&Seen { keys, key, view: keys.view(key), awaited });
        self.follow_found(db, key, found, look, now);
    }

    fn keys_of<'a>(&self, db: usize, look: &'a dyn Look, now: Now) -> Keys<'a> {
        Keys { look, db, now_ms: now.unix_ms, names_max: self.max }
    }

    fn follow_found(&mut self, db: usize, key: &[u8], found: Found, look: &dyn Look, now: Now) {
        if found.names {
            self.note_names(db, key);
        }
        self.dropped += found.too_long;
        for (id, named) in found.queues {
            self.dropped += u64::from(!self.follow(id, named, look, now));
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

    /// Follows a queue, if there is room for it. Nobody has counted the jobs that are there, but they came: what was loaded is left
    /// out at the end of that.
    fn follow(&mut self, id: Id, named: Option<Name>, look: &dyn Look, now: Now) -> bool {
        let now_ms = now.mono_us / 1000;
        let of_name = named.iter().flat_map(|(set, member)| [set, member]);
        if [&id.base, &id.part].into_iter().chain(of_name).any(|text| text.len() > KEY_BYTES_MAX) {
            return false;
        }
        if let Some(slot) = self.ids.get(&id) {
            let queue = self.slots[*slot as usize].as_mut();
            queue.into_iter().for_each(|queue| (queue.named, queue.seen_ms) = (named.clone(), now_ms));
            return true;
        }
        let keys = (id.kind.library().keys)(&id);
        if self.ids.len() >= self.max || keys.iter().any(|(_, key)| key.len() > KEY_BYTES_MAX) {
            return false;
        }
        let mut queue = Queue { named, ..Queue::new(id.clone(), now_ms) };
        let there = self.keys_of(id.db, look, now);
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
            queue.begin(&(id.kind.library().depths)(&id, &there));
        }
        self.slots[slot as usize] = Some(queue);
        self.ids.insert(id, slot);
        true
    }

    fn free_slot(&mut self) -> u32 {
        let has_free = self.slots.len() > self.ids.len();
        let free = if has_free { self.slots.iter().position(Option::is_none) } else { None };
        free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        }) as u32
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

    // Forgetting them.

    fn forget(&mut self, slot: u32) -> Option<Queue> {
        let queue = self.slots[slot as usize].take()?;
        self.ids.remove(&queue.id);
        for (_, key) in (queue.id.kind.library().keys)(&queue.id) {
            let Some(keys) = self.keys.get_mut(queue.id.db) else { continue };
            if keys.get(&*key).is_some_and(|followed| followed.slot == Some(slot)) {
                keys.remove(&*key);
            }
        }
        Some(queue)
    }

    /// What the filter still holds of keys that are forgotten costs a look-up each time; so it is made anew now and then.
    fn renew_filter(&mut self) {
        self.filter.clear();
        for key in self.keys.iter().flat_map(HashMap::keys) {
            self.filter.add(base::hash::hash(self.seed, key));
        }
    }

    /// Whether there is a reason to go on with the queue.
    fn is_alive(
        queue: &mut Queue,
        depths: &Depths,
        workers: u64,
        keys: &Keys<'_>,
        linger_ms: u64,
        now_ms: u64,
    ) -> bool {
        let id = &queue.id;
        let lingers = id.kind.library().lingers || id.is_of_all();
        let is_named = || queue.named.as_ref().is_some_and(|(set, member)| keys.has_member(set, member));
        if depths.exists || workers > 0 {
            queue.seen_ms = now_ms;
            return true;
        }
        is_named() || lingers && queue.seen_ms > 0 && now_ms.saturating_sub(queue.seen_ms) < linger_ms
    }

    // Looking at them.

    /// All queues by name, or those of which `may_read` allows every key. Those of which nothing is left are forgotten.
    pub fn tell(
        &mut self,
        look: &dyn Look,
        clients: &dyn Clients,
        may_read: Option<MayRead<'_>>,
        now: Now,
    ) -> Vec<Figures> {
        self.examine(look, now);
        self.examine_names(look, now);
        let mut all: Vec<Figures> = Vec::with_capacity(self.ids.len());
        for slot in 0..self.slots.len() {
            let Some(figures) = self.look_at(slot, look, clients, now) else { continue };
            let id = self.slots[slot].as_ref().map(|queue| &queue.id);
            let reads_all = |id: &Id| {
                may_read.is_none_or(|may| (id.kind.library().keys)(id).iter().all(|(_, key)| may(key)))
            };
            all.extend(id.is_some_and(reads_all).then_some(figures));
        }
        all.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        all
    }

    fn examine_names(&mut self, look: &dyn Look, now: Now) {
        let mut names = core::mem::take(&mut self.names);
        let mut members_left = NAMES_PER_QUEUE * self.max;
        names.retain(|(db, key)| {
            let names_max = members_left.min(self.max);
            let keys = Keys { names_max, ..self.keys_of(*db, look, now) };
            let Some(view) = keys.view(key) else {
                self.keys[*db].remove(key);
                return false;
            };
            let found = libraries::find(&Seen { keys, key, view: Some(view), awaited: None });
            members_left -= libraries::names(view).min(names_max as u64) as usize;
            for (id, named) in found.queues {
                self.follow(id, named, look, now);
            }
            true
        });
        self.names = names;
    }

    /// One queue's figures; none where there is none, or where it is forgotten.
    fn look_at(&mut self, slot: usize, look: &dyn Look, clients: &dyn Clients, now: Now) -> Option<Figures> {
        let there = self.keys_of(self.slots[slot].as_ref()?.id.db, look, now);
        let linger_ms = if self.ids.len() > self.max / 2 { CROWDED_LINGER_MS } else { LINGER_MS };
        let queue = self.slots[slot].as_mut()?;
        let library = queue.id.kind.library();
        let (keys, depths) = ((library.keys)(&queue.id), (library.depths)(&queue.id, &there));
        let waits = keys.iter().filter(|(role, _)| matches!(role, Role::Jobs | Role::Awaited));
        // Whoever waits on several keys of a queue is one worker. Those at work are known where the library keeps a list of its workers,
        // or names their connections.
        let waiting = waits.map(|(_, key)| clients.waiting(queue.id.db, key)).max().unwrap_or(0);
        let named = bullmq::client_name(&queue.id).map_or(0, |name| clients.named(&name));
        let workers = depths.workers.max(waiting.max(named) as u64);
        if !Queues::is_alive(queue, &depths, workers, &there, linger_ms, now.mono_us / 1000) {
            self.forget(slot as u32);
            return None;
        }
        queue.waiting = depths.waiting;
        if let Some((added, taken)) = depths.told {
            queue.hear(added, taken);
        }
        let key = keys.into_iter().next().map(|(_, key)| key).unwrap_or_default();
        Some(figures(queue, key, depths, workers, now))
    }

    /// What is done with time: the end of a minute, and a look at a few queues.
    pub fn tick(&mut self, look: &dyn Look, clients: &dyn Clients, now: Now) {
        let now_ms = now.mono_us / 1000;
        if self.is_empty() || self.max == 0 {
            self.minute_ends_ms = now_ms + MINUTE_MS;
            return;
        }
        if now_ms >= self.minute_ends_ms {
            self.end_minute(look, now);
        }
        for _ in 0..SWEEP_STEP.min(self.slots.len()) {
            let slot = self.swept % self.slots.len();
            self.swept = slot + 1;
            self.look_at(slot, look, clients, now);
        }
    }

    fn end_minute(&mut self, look: &dyn Look, now: Now) {
        let now_ms = now.mono_us / 1000;
        let took_ms = MINUTE_MS + now_ms.saturating_sub(self.minute_ends_ms);
        self.minute_ends_ms = now_ms + MINUTE_MS;
        self.examine_names(look, now);
        for queue in self.slots.iter_mut().flatten() {
            if queue.id.kind == QueueKind::Stream {
                let keys = Keys { look, db: queue.id.db, now_ms: now.unix_ms, names_max: 0 };
                let told = (queue.id.kind.library().depths)(&queue.id, &keys).told;
                told.into_iter().for_each(|(added, taken)| queue.hear(added, taken));
            }
            queue.added.end_minute(took_ms);
            queue.taken.end_minute(took_ms);
        }
        self.renew_filter();
    }

    /// Heap bytes that all this takes, estimated.
    pub fn bytes(&self) -> usize {
        let of_key = |key: &[u8]| key.len() + size_of::<(Box<[u8]>, Followed)>() + 1;
        let keys: usize = self.keys.iter().flat_map(HashMap::keys).map(|key| of_key(key)).sum();
        let queues: usize = self.slots.iter().flatten().map(Queue::bytes).sum();
        let names: usize = self.names.iter().map(|(_, key)| size_of::<Place>() + key.len()).sum();
        keys + queues + names
    }
}

fn figures(queue: &Queue, key: Vec<u8>, depths: Depths, workers: u64, now: Now) -> Figures {
    let age = |at_ms: i64| now.unix_ms.saturating_sub(at_ms).max(0) as u64;
    let remembered = queue.history.as_ref().and_then(|history| history.oldest_ms(depths.waiting));
    let remembered_age = remembered.map(|at_ms| (now.mono_us / 1000).saturating_sub(at_ms));
    Figures {
        name: queue.id.name(),
        kind: queue.id.kind,
        db: queue.id.db,
        key,
        states: depths.states,
        workers,
        added: queue.added.total,
        taken: queue.taken.total,
        added_per_second: queue.added.per_second,
        taken_per_second: queue.taken.per_second,
        oldest_age_ms: depths.oldest_ms.map(age).or(remembered_age),
        oldest_failed_age_ms: depths.oldest_failed_ms.map(age),
    }
}

#[cfg(test)]
mod tests;
