//! Expiry: keeping the wheel's invariant, and letting keys go on time in bounded slices.

use crate::effects::Cause;
use crate::fields::{is_filed_behind, is_unfiled, next_field_expiry, note_brought_forward};
use crate::space::{Database, Keyspace};
use crate::wheel::{Due, Wheel};
use table::Position;
use types::Entry;
use types::hash::Hash;

impl Keyspace {
    /// Adds an entry whose key is not there. Files the expiry of fields, but not its own: see
    /// [`Keyspace::expiry_changed`].
    pub(crate) fn insert(&mut self, db: usize, hash: u64, mut entry: Entry) -> Position {
        entry.set_access(self.fresh_access());
        self.insert_used(db, hash, entry)
    }

    /// Like [`Keyspace::insert`], for an entry of which it is known when it was used.
    pub(crate) fn insert_used(&mut self, db: usize, hash: u64, mut entry: Entry) -> Position {
        entry.set_epoch(self.epoch);
        let position = self.dbs[db].table.insert_new(hash, entry);
        self.field_expiry_changed(db, position, None);
        position
    }

    /// Adds an entry as a loader read it, with its access field.
    ///
    /// # Errors
    /// The entry, when the key is there already.
    pub fn load(&mut self, db: usize, mut entry: Entry) -> Result<(), Entry> {
        let hash = self.dbs[db].table.hash_of(entry.key());
        if self.dbs[db].table.locate(hash, entry.key()).is_some() {
            return Err(entry);
        }
        let expiry = entry.expiry();
        self.note_placed(db, hash, &mut entry);
        self.insert_used(db, hash, entry);
        self.expiry_changed(db, hash, None, expiry);
        if self.queues.is_full_of_suspects() {
            self.examine_queues(&queues::NoClients);
        }
        Ok(())
    }

    /// Books that the expiry of a key went from `before` to `after`, and files it.
    pub(crate) fn expiry_changed(&mut self, db: usize, hash: u64, before: Option<i64>, after: Option<i64>) {
        let database = &mut self.dbs[db];
        match (before, after) {
            (None, Some(_)) => database.expiring += 1,
            (Some(_), None) => database.expiring -= 1,
            _ => {}
        }
        database.expiry_sum_ms += i128::from(after.unwrap_or(0)) - i128::from(before.unwrap_or(0));
        let Some(at) = after else { return };
        // A later time needs no new item: the one on file comes first and is filed again then.
        if before.is_none_or(|earlier| at < earlier) {
            database.wheel.file(hash, at, self.now.unix_ms);
            self.expiring_end = self.expiring_end.max(db + 1);
        }
    }

    /// Removes the entry at `position` because its time is over, or that of all its fields.
    pub(crate) fn expire_at(&mut self, db: usize, position: Position) {
        let entry = self.take_at(db, position);
        match entry.get::<Hash>().filter(|_| entry.expiry().is_none_or(|at| at > self.now.unix_ms)) {
            // Its fields have outlived their time, not the key.
            Some(hash) => {
                self.stats.expired_fields += hash.stored_len() as u64;
                self.effects.hash_spent(db, entry.key());
            }
            None => {
                self.stats.expired += 1;
                self.effects.touch(db, entry.key(), Cause::Expired);
            }
        }
        self.discard(entry);
    }

    /// When the time of a key will be, or was, over, if it has one. Nobody's look.
    pub fn expiry_of(&self, db: usize, key: &[u8]) -> Option<i64> {
        let table = &self.dbs.get(db)?.table;
        table.at(table.locate(table.hash_of(key), key)?).expiry()
    }

    /// Removes a key if its time is over, whatever else holds such keys; else when that will be, if it has one.
    pub fn expire_key(&mut self, db: usize, key: &[u8]) -> Option<i64> {
        let table = &self.dbs.get(db)?.table;
        let position = table.locate(table.hash_of(key), key)?;
        let at_ms = table.at(position).expiry()?;
        if at_ms > self.now.unix_ms {
            return Some(at_ms);
        }
        self.expire_at(db, position);
        None
    }

    /// Takes the entry at `position` out: pre-image, counters, table. Books no touch.
    pub(crate) fn take_at(&mut self, db: usize, position: Position) -> Entry {
        self.preimage(db, position);
        let entry = self.dbs[db].table.remove_at(position);
        if let Some(at) = entry.expiry() {
            self.dbs[db].expiring -= 1;
            self.dbs[db].expiry_sum_ms -= i128::from(at);
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
        if self.keep_expired || self.hold_expired || self.no_active_expire {
            return false;
        }
        let mut left = budget;
        // This runs once a tick: databases in which nothing ever expired must cost next to nothing.
        for db in 0..self.expiring_end {
            if self.dbs[db].wheel.is_unused() && self.dbs[db].old_wheel.is_none() {
                continue;
            }
            while let Some(Due(hash)) = self.dbs[db].next_due(self.now.unix_ms, &mut left) {
                self.expire_hash(db, hash, &mut left);
            }
            if left == 0 {
                self.stats.expire_budget_ends += 1;
                return true;
            }
        }
        false
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

    /// Replaces a wheel when its stale items outnumber the living by far (keys set and deleted long before their time), or when the
    /// clock has gone back, to be called now and then. One call looks at about [`TRIM_ENTRIES`] entries of one database: a new wheel takes over at once, the table is
    /// walked to file in it what is there already, and until that is through the old wheel goes on telling what is due.
    pub fn trim_wheels(&mut self) {
        const STALE_FLOOR: usize = 100_000;
        for database in &mut self.dbs {
            let living = database.expiring + database.field_expiring;
            let is_stale = database.wheel.items() > STALE_FLOOR + 3 * living;
            if database.old_wheel.is_none() && (is_stale || database.wheel.is_ahead(self.now.unix_ms)) {
                let old = core::mem::replace(&mut database.wheel, Wheel::new());
                database.old_wheel = Some(Box::new(OldWheel { wheel: old, cursor: 0 }));
            }
            if database.refile_some(self.now.unix_ms, TRIM_ENTRIES) {
                return;
            }
        }
    }
}

/// Entries that one call of [`Keyspace::trim_wheels`] looks at: half a millisecond's work.
const TRIM_ENTRIES: usize = 4096;

/// A wheel that is on its way out, and how far the table has been walked to file anew what it holds.
#[derive(Debug)]
pub(crate) struct OldWheel {
    wheel: Wheel,
    cursor: u64,
}

impl Database {
    /// A key with an expiry, picked by chance among what is filed. Each item looked at is taken off `looks`. What proves stale
    /// is dropped, so that those who look again find less of it.
    pub(crate) fn pick_expiring(&mut self, random: &mut base::Random, looks: &mut usize) -> Option<Position> {
        while *looks > 0 && self.expiring > 0 {
            *looks -= 1;
            let old = self.old_wheel.as_mut().map(|old| &mut old.wheel);
            let wheel = old.filter(|old| old.items() > self.wheel.items()).unwrap_or(&mut self.wheel);
            let picked = wheel.pick(random)?;
            let mut is_stale = true;
            let found = self.table.find_hash(picked.hash, &mut |entry| {
                is_stale &= next_expiry(entry).is_none();
                entry.expiry().is_some()
            });
            if found.is_some() {
                return found;
            }
            if is_stale {
                wheel.forget(picked);
            }
        }
        None
    }

    /// Walks on until about `entries` were looked at; whether there was anything to do.
    fn refile_some(&mut self, now_ms: i64, entries: usize) -> bool {
        let Some(old) = &mut self.old_wheel else { return false };
        let (table, wheel, mut seen, mut sooner) = (&mut self.table, &mut self.wheel, 0, Vec::new());
        while seen < entries {
            old.cursor = table.walk(old.cursor, &mut |entry| {
                seen += 1;
                if let Some(at) = next_expiry(entry) {
                    let hash = table.hash_of(entry.key());
                    wheel.file(hash, at, now_ms);
                    sooner.extend(is_filed_behind(entry, at).then_some((hash, at)));
                }
            });
            sooner.drain(..).for_each(|(hash, at)| note_brought_forward(table, hash, at));
            seen += 1;
            if old.cursor == 0 {
                self.old_wheel = None;
                break;
            }
        }
        true
    }

    /// The next item that is due in either wheel. Lowers `budget` by the items looked at.
    fn next_due(&mut self, now_ms: i64, budget: &mut usize) -> Option<Due> {
        let table = &mut self.table;
        let mut expiry_of = |hash| {
            let (mut earliest, mut has_fields) = (None, false);
            table.find_hash(hash, &mut |entry| {
                earliest = sooner(earliest, next_expiry(entry));
                has_fields |= next_field_expiry(entry).is_some();
                false
            });
            if let Some(at) = earliest.filter(|_| has_fields) {
                note_brought_forward(table, hash, at);
            }
            earliest
        };
        let old = self.old_wheel.as_mut();
        let due = old.and_then(|old| old.wheel.next_due(now_ms, budget, &mut expiry_of));
        due.or_else(|| self.wheel.next_due(now_ms, budget, &mut expiry_of))
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
