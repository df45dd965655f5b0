//! Expiry of single fields of hashes: hidden when a hash is looked up, gone when it is their turn.
//!
//! A hash may have a million fields that are due at once, so nobody who looks one up may have to take them all
//! out. A look-up only tells the hash the time, after which due fields do not show. They leave in slices when
//! the wheel says so, and one by one when a command asks for them by name. In the log each is an HDEL. A hash of
//! which all fields are due is not there any more for whoever looks it up: it leaves as a whole, a DEL in the log.
//!
//! A hash notes when the wheel has it last. A due item whose hash is noted for later is one too many, left behind
//! by a field that was to expire sooner, and is dropped. So that note is never later than the item: one that the wheel brings forward,
//! to where the key itself expires, is noted there ([`note_brought_forward`]).

use crate::space::Keyspace;
use table::{Position, Table};
use types::hash::Hash;
use types::{Entry, Kind, View};

/// When the next field of the entry expires, if it is a hash with such fields.
#[inline]
pub(crate) fn next_field_expiry(entry: &Entry) -> Option<i64> {
    match entry.view() {
        View::Hash(hash) => hash.next_expiry(),
        _ => None,
    }
}

/// Whether the entry's time is over: its own, or that of all its fields.
#[inline]
pub(crate) fn is_over(entry: &Entry, now_ms: i64) -> bool {
    // Known from the header for all but hashes, since every look-up asks.
    entry.expiry().is_some_and(|at| at <= now_ms)
        || entry.kind() == Kind::Hash
            && next_field_expiry(entry).is_some_and(|at| at <= now_ms)
            && is_spent(entry, now_ms)
}

/// Whether no field of the hash is left whose time is not over.
#[cold]
fn is_spent(entry: &Entry, now_ms: i64) -> bool {
    entry.get::<Hash>().is_some_and(|hash| hash.is_spent(now_ms))
}

/// Whether the entry has fields that expire, and the last item that the wheel was given for them has come.
pub(crate) fn is_unfiled(entry: &Entry, now_ms: i64) -> bool {
    next_field_expiry(entry).is_some() && entry.get::<Hash>().is_some_and(|hash| hash.filed() <= now_ms)
}

/// Whether the entry has fields that expire, and the last item that the wheel was given for them is to come after `at_ms`.
#[inline]
pub(crate) fn is_filed_behind(entry: &Entry, at_ms: i64) -> bool {
    entry.kind() == Kind::Hash && entry.get::<Hash>().is_some_and(|hash| hash.filed() > at_ms)
}

/// Notes that the item of `hash` that the wheel was given for fields may now come at `at_ms` already: what it files anew goes to
/// where the key or a field expires next, whatever it was filed for. Else it would come too soon to be theirs, and be the last.
pub(crate) fn note_brought_forward(table: &mut Table<Entry>, hash: u64, at_ms: i64) {
    while let Some(position) = table.find_hash(hash, &mut |entry| is_filed_behind(entry, at_ms))
        && let Some(fields) = table.at_mut(position).hash_mut()
    {
        fields.note_filed(at_ms);
    }
}

impl Keyspace {
    /// Whether fields of the entry at `position` are due.
    #[inline]
    pub(crate) fn has_due_fields(&self, db: usize, position: Position) -> bool {
        next_field_expiry(self.dbs[db].table.at(position)).is_some_and(|at| at <= self.now.unix_ms)
            && !self.keep_expired
    }

    /// Makes the due fields of the entry at `position` invisible.
    #[inline]
    pub(crate) fn hide_due_fields(&mut self, db: usize, position: Position) {
        if self.has_due_fields(db, position)
            && let Some(hash) = self.dbs[db].table.at_mut(position).hash_mut()
        {
            hash.hide_due(self.now.unix_ms);
        }
    }

    /// Takes those of the fields `named` out that are due; false when the hash has gone with them.
    #[inline]
    pub(crate) fn expire_named_fields(&mut self, db: usize, position: Position, named: &[&[u8]]) -> bool {
        !self.has_due_fields(db, position)
            || self.expire_fields(db, position, &mut |hash, now_ms| hash.take_due_among(now_ms, named)).1
    }

    /// Takes up to `count` due fields out; how many, at least 1.
    pub(crate) fn expire_some_fields(&mut self, db: usize, position: Position, count: usize) -> usize {
        self.expire_fields(db, position, &mut |hash, now_ms| hash.take_due(now_ms, count)).0.max(1)
    }

    /// Takes out what `take` does, with all that belongs to it: how many fields, and whether the hash is still there.
    #[cold]
    fn expire_fields(
        &mut self,
        db: usize,
        position: Position,
        take: &mut dyn FnMut(&mut Hash, i64) -> Vec<Vec<u8>>,
    ) -> (usize, bool) {
        self.preimage(db, position);
        let Some(hash) = self.dbs[db].table.at_mut(position).hash_mut() else { return (0, true) };
        let before = hash.next_expiry();
        let taken = take(hash, self.now.unix_ms);
        let (emptied, count) = (hash.stored_len() == 0, taken.len());
        if count == 0 {
            return (0, true);
        }
        self.stats.expired_fields += count as u64;
        self.effects.fields_expired(db, self.dbs[db].table.at(position).key(), taken, emptied);
        self.field_expiry_changed(db, position, before);
        if emptied {
            self.remove_at(db, position);
        }
        (count, !emptied)
    }

    /// Books that the next field of the entry at `position` expired at `before` until now, and files what it is now where
    /// that is sooner.
    #[inline]
    pub(crate) fn field_expiry_changed(&mut self, db: usize, position: Position, before: Option<i64>) {
        let after = next_field_expiry(self.dbs[db].table.at(position));
        if before == after {
            return;
        }
        let database = &mut self.dbs[db];
        database.field_expiring += usize::from(before.is_none());
        database.field_expiring -= usize::from(after.is_none());
        if after.is_some_and(|at| before.is_none_or(|earlier| at < earlier)) {
            self.file_fields(db, position);
        }
    }

    /// Files the next expiry of a field of the entry at `position`.
    pub(crate) fn file_fields(&mut self, db: usize, position: Position) {
        let database = &mut self.dbs[db];
        let item = database.table.hash_of(database.table.at(position).key());
        if let Some(hash) = database.table.at_mut(position).hash_mut()
            && let Some(at) = hash.next_expiry()
        {
            hash.note_filed(at);
            database.wheel.file(item, at, self.now.unix_ms);
            self.expiring_end = self.expiring_end.max(db + 1);
        }
    }
}
