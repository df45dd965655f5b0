//! Expiry: keeping the wheel's invariant, and letting keys go on time in bounded slices.

use crate::effects::Cause;
use crate::fields::{is_unfiled, next_field_expiry};
use crate::space::Keyspace;
use crate::wheel::Due;
use table::Position;
use types::Entry;

impl Keyspace {
    /// Adds an entry whose key is not there. Files the expiry of fields, but not its own: see
    /// [`Keyspace::expiry_changed`].
    pub(crate) fn insert(&mut self, db: usize, hash: u64, mut entry: Entry) -> Position {
        entry.set_epoch(self.epoch);
        entry.set_access(self.fresh_access());
        let position = self.dbs[db].table.insert_new(hash, entry);
        self.field_expiry_changed(db, position, None);
        position
    }

    /// Adds an entry as a loader read it; false (and the entry dropped) when the key is there already.
    pub fn load(&mut self, db: usize, entry: Entry) -> bool {
        let hash = self.dbs[db].table.hash_of(entry.key());
        if self.dbs[db].table.locate(hash, entry.key()).is_some() {
            return false;
        }
        let expiry = entry.expiry();
        self.insert(db, hash, entry);
        self.expiry_changed(db, hash, None, expiry);
        true
    }

    /// Books that the expiry of a key went from `before` to `after`, and files it.
    pub(crate) fn expiry_changed(&mut self, db: usize, hash: u64, before: Option<i64>, after: Option<i64>) {
        let database = &mut self.dbs[db];
        match (before, after) {
            (None, Some(_)) => database.expiring += 1,
            (Some(_), None) => database.expiring -= 1,
            _ => {}
        }
        let Some(at) = after else { return };
        let ttl = at.saturating_sub(self.now.unix_ms).max(0);
        database.ttl_mean_ms += (ttl - database.ttl_mean_ms) / 64;
        // A later time needs no new item: the one on file comes first and is filed again then.
        if before.is_none_or(|earlier| at < earlier) {
            database.wheel.file(hash, at, self.now.unix_ms);
        }
    }

    /// Removes the entry at `position` because its time is over.
    pub(crate) fn expire_at(&mut self, db: usize, position: Position) {
        let entry = self.take_at(db, position);
        self.stats.expired += 1;
        self.effects.touch(db, entry.key(), Cause::Expired);
        self.discard(entry);
    }

    /// Takes the entry at `position` out: pre-image, counters, table. Books no touch.
    pub(crate) fn take_at(&mut self, db: usize, position: Position) -> Entry {
        self.preimage(db, position);
        let entry = self.dbs[db].table.remove_at(position);
        if entry.expiry().is_some() {
            self.dbs[db].expiring -= 1;
        }
        if next_field_expiry(&entry).is_some() {
            self.dbs[db].field_expiring -= 1;
        }
        entry
    }

    /// Removes and frees the entry at `position`. Books no touch.
    pub(crate) fn remove_at(&mut self, db: usize, position: Position) {
        let entry = self.take_at(db, position);
        self.discard(entry);
    }

    /// Lets keys go whose time is over, looking at no more than `budget` items over all databases. True when some may still be due.
    /// The effects hold the keys; the caller settles them.
    pub fn expire_due(&mut self, budget: usize) -> bool {
        if self.keep_expired || self.no_active_expire {
            return false;
        }
        let mut left = budget;
        for db in 0..self.dbs.len() {
            while let Some(Due(hash)) = self.next_due(db, &mut left) {
                self.expire_hash(db, hash, &mut left);
            }
            if left == 0 {
                self.stats.expire_budget_ends += 1;
                return true;
            }
        }
        false
    }

    fn next_due(&mut self, db: usize, budget: &mut usize) -> Option<Due> {
        let database = &mut self.dbs[db];
        let table = &database.table;
        database.wheel.next_due(self.now.unix_ms, budget, &mut |hash| {
            let mut earliest = None;
            table.find_hash(hash, &mut |entry| {
                earliest = sooner(earliest, next_expiry(entry));
                false
            });
            earliest
        })
    }

    /// Deals with a due item: entries of this hash that are due leave, and due fields of hashes as far as `budget` allows; what
    /// is not due yet, or has to wait, is filed again.
    fn expire_hash(&mut self, db: usize, hash: u64, budget: &mut usize) {
        let now = self.now.unix_ms;
        while let Some(position) =
            self.dbs[db].table.find_hash(hash, &mut |e| e.expiry().is_some_and(|at| at <= now))
        {
            self.expire_at(db, position);
        }
        while *budget > 0
            && let Some(position) =
                self.dbs[db].table.find_hash(hash, &mut |e| next_field_expiry(e).is_some_and(|at| at <= now))
        {
            *budget -= self.expire_some_fields(db, position, *budget);
        }
        let later = self.dbs[db].table.find_hash(hash, &mut |e| e.expiry().is_some());
        if let Some(position) = later
            && let Some(at) = self.dbs[db].table.at(position).expiry()
        {
            self.dbs[db].wheel.file(hash, at, now);
        }
        if let Some(position) = self.dbs[db].table.find_hash(hash, &mut |e| is_unfiled(e, now)) {
            self.file_fields(db, position);
        }
    }

    /// Drops stale items when they outnumber the living by far (keys set and deleted long before their time): one bounded step,
    /// to be called now and then. Rebuilds the wheel of one database from its table.
    pub fn trim_wheels(&mut self) {
        const STALE_FLOOR: usize = 100_000;
        for database in &mut self.dbs {
            if database.wheel.items() > STALE_FLOOR + 3 * (database.expiring + database.field_expiring) {
                let mut fresh = crate::wheel::Wheel::new();
                for entry in database.table.iter() {
                    if let Some(at) = next_expiry(entry) {
                        fresh.file(database.table.hash_of(entry.key()), at, self.now.unix_ms);
                    }
                }
                database.wheel = fresh;
            }
        }
    }
}

/// The earlier of two times, where there are two.
fn sooner(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// When something of the entry expires next: the key, or a field.
fn next_expiry(entry: &Entry) -> Option<i64> {
    sooner(entry.expiry(), next_field_expiry(entry))
}
