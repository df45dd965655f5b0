//! The keys that are followed, by number and by name.
//!
//! ```text
//!   entry of the keyspace ── number ──► tallies[number]     a change of a marked collection: an addition and no look-up
//!   name, and its hash ── filter ──► by_name ── number ──┘   a collection that is created, a client that begins to wait
//! ```
//! The keyspace keeps the number of a key in the key's entry. Numbers that do not fit there are 0 in it, which no key has: then the name
//! tells. *Invariant:* the filter holds each key in `by_name`; each number in it is in use, those in `free` and 0 are not.

use crate::filter::Filter;
use crate::libraries::Role;
use crate::queue::Tally;
use table::{Item, Table};

/// The filter is made anew when it holds so many keys in vain, and as many as it should hold.
const STALE_KEYS_MAX: usize = 1024;

/// A key that is not only read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// The queue.
    pub(super) slot: Option<u32>,
    /// Its place among the keys that name queues.
    pub(super) names: Option<u32>,
    /// What it is to its queue.
    pub(super) role: Role,
}

impl Followed {
    /// Nothing to anybody.
    pub(super) const NONE: Followed = Followed { slot: None, names: None, role: Role::State };
}

/// The name of a key, with its number.
#[derive(Clone, Debug)]
struct Name {
    key: Box<[u8]>,
    number: u32,
}

impl Item for Box<Name> {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The keys.
#[derive(Debug)]
pub(super) struct FollowedKeys {
    seed: u64,
    pub(super) filter: Filter,
    /// Keys that the filter holds in vain.
    stale: usize,
    /// By database.
    by_name: Vec<Table<Box<Name>>>,
    by_number: Vec<Followed>,
    /// By number, too: apart, because they are all that a change needs.
    tallies: Vec<Tally>,
    /// Numbers of which none is in use.
    free: Vec<u32>,
}

impl FollowedKeys {
    /// None; names are hashed under `seed`.
    pub(super) fn new(seed: u64) -> FollowedKeys {
        FollowedKeys {
            seed,
            filter: Filter::default(),
            stale: 0,
            by_name: Vec::new(),
            by_number: Vec::new(),
            tallies: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number of the key, whose hash is this.
    #[inline]
    pub(super) fn number_of_hashed(&self, db: usize, hash: u64, key: &[u8]) -> Option<u32> {
        if !self.filter.may_hold(hash) {
            return None;
        }
        self.look_up(db, hash, key)
    }

    #[inline(never)]
    fn look_up(&self, db: usize, hash: u64, key: &[u8]) -> Option<u32> {
        Some(self.by_name.get(db)?.find(hash, key)?.number)
    }

    /// The number of the key.
    pub(super) fn number_of(&self, db: usize, key: &[u8]) -> Option<u32> {
        self.look_up(db, base::hash::hash(self.seed, key), key)
    }

    /// What the key of this number is.
    #[inline]
    pub(super) fn at(&self, number: u32) -> Option<Followed> {
        self.by_number.get(number as usize).copied()
    }

    /// What the key is, if it is followed.
    pub(super) fn find(&self, db: usize, key: &[u8]) -> Option<Followed> {
        self.at(self.number_of(db, key)?)
    }

    /// Says what the key is from now on; its number.
    pub(super) fn set(&mut self, db: usize, key: &[u8], followed: Followed) -> u32 {
        if let Some(number) = self.number_of(db, key) {
            let before = core::mem::replace(&mut self.by_number[number as usize], followed);
            if before.slot != followed.slot {
                self.tallies[number as usize] = Tally::default();
            }
            return number;
        }
        let number = self.free_number();
        self.by_number[number as usize] = followed;
        self.reach(db);
        let hash = base::hash::hash(self.seed, key);
        self.by_name[db].insert_new(hash, Box::new(Name { key: key.into(), number }));
        self.filter.add(hash);
        number
    }

    fn free_number(&mut self) -> u32 {
        if self.by_number.is_empty() {
            self.add_number();
        }
        self.free.pop().unwrap_or_else(|| {
            self.add_number();
            self.by_number.len() as u32 - 1
        })
    }

    fn add_number(&mut self) {
        self.by_number.push(Followed::NONE);
        self.tallies.push(Tally::default());
    }

    /// What was tallied at the key of this number.
    #[inline]
    pub(super) fn tally_mut(&mut self, number: u32) -> Option<&mut Tally> {
        self.tallies.get_mut(number as usize)
    }

    /// The same for the queue in a slot, if the key is still its.
    pub(super) fn tally_of(&mut self, number: u32, slot: u32) -> Option<&mut Tally> {
        self.at(number).filter(|followed| followed.slot == Some(slot))?;
        self.tally_mut(number)
    }

    /// The key is followed no more.
    pub(super) fn remove(&mut self, db: usize, key: &[u8]) {
        let hash = base::hash::hash(self.seed, key);
        let Some(name) = self.by_name.get_mut(db).and_then(|names| names.remove(hash, key)) else { return };
        self.by_number[name.number as usize] = Followed::NONE;
        self.tallies[name.number as usize] = Tally::default();
        self.free.push(name.number);
        self.stale += 1;
    }

    /// Makes the filter anew if it holds too many keys in vain, each of which costs a look-up whenever it is created.
    pub(super) fn renew_stale_filter(&mut self) {
        if self.stale >= STALE_KEYS_MAX.max(self.len()) {
            self.renew_filter();
        }
    }

    /// Makes the filter anew.
    pub(super) fn renew_filter(&mut self) {
        self.stale = 0;
        self.filter.clear();
        for name in self.by_name.iter().flat_map(Table::iter) {
            self.filter.add(base::hash::hash(self.seed, &name.key));
        }
    }

    /// Two databases were exchanged.
    pub(super) fn swap(&mut self, a: usize, b: usize) {
        self.reach(a.max(b));
        self.by_name.swap(a, b);
    }

    fn reach(&mut self, db: usize) {
        let seed = self.seed;
        self.by_name.resize_with(self.by_name.len().max(db + 1), || Table::new(seed));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.iter().map(Table::len).sum()
    }

    /// The names, each with its database.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let of_database = self.by_name.iter().enumerate();
        of_database.flat_map(|(db, names)| names.iter().map(move |name| (db, name.key())))
    }

    /// Heap bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.names().map(|(_, key)| size_of::<Name>() + key.len()).sum();
        let tables: usize = self.by_name.iter().map(Table::bytes).sum();
        names + tables + self.by_number.capacity() * (size_of::<Followed>() + size_of::<Tally>())
    }
}
