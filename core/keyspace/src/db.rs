//! One database for the time of a call: what handlers see of the keyspace.
//!
//! Lookups remove a key whose time is over before they answer, so no handler ever sees one. Whole-key writes book the
//! touched key themselves, partial writes do so through the guards.
//!
//! A handler says by the method that it calls what kind of look it is, and so whether it counts, as Redis counts it:
//!
//! | look | hit or miss | `keymiss` | use of the key | methods |
//! |---|---|---|---|---|
//! | to read | yes | yes | yes | `entry`, `text`, `find`, `find_fields`, `find_any_fields` |
//! | to ask about the key | yes | yes | no | `ask` |
//! | to inspect how it is kept | yes | no | no | `inspect` |
//! | to write | no | no | yes | `entry_to_write`, `text_to_write`, `find_mut`, `find_fields_mut`, `upsert` |
//! | again, or for the server itself | no | no | no | `find_again`, `peek`, `contains` |

use crate::effects::{Cause, Event};
use crate::fields::{is_over, next_field_expiry};
use crate::guard::{Before, Guard, Stored, StringGuard, WrongType};
use crate::space::{GIVEN_BYTES_MIN, Keyspace};
use std::sync::Arc;
use table::Position;
use types::hash::Hash;
use types::{Entry, Kind, Value, View};

/// What becomes of the expiry when a value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The key lives for ever.
    Clear,
    /// The expiry stays as it was.
    Keep,
    /// The key lives until this time, Unix milliseconds.
    At(i64),
}

/// A string value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// An integer, to be printed.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Text<'_> {
    /// The bytes, printed where the value is an integer.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Text::Int(value) => {
                let mut out = Vec::with_capacity(20);
                base::number::push_i64(&mut out, *value);
                out
            }
            Text::Bytes(bytes) => bytes.to_vec(),
        }
    }

    /// Length in bytes of the printed form.
    pub fn len(&self) -> usize {
        match self {
            Text::Int(_) => self.to_vec().len(),
            Text::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        matches!(self, Text::Bytes(b""))
    }
}

/// One database, for one call.
#[derive(Debug)]
pub struct Db<'a> {
    space: &'a mut Keyspace,
    index: usize,
}

impl<'a> Db<'a> {
    /// Database `index` of `space`.
    pub fn new(space: &'a mut Keyspace, index: usize) -> Db<'a> {
        Db { space, index }
    }

    /// The keyspace behind it: other databases, limits, chance.
    pub fn space(&mut self) -> &mut Keyspace {
        self.space
    }

    /// This database's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Another database of the same keyspace.
    pub fn other(&mut self, index: usize) -> Db<'_> {
        Db { space: self.space, index }
    }

    /// The present time, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.space.now.unix_ms
    }

    /// Keys, including such whose time is over and that have not left yet.
    pub fn len(&self) -> usize {
        self.space.dbs[self.index].table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // Reads.

    /// The entry of `key`, counted as a hit or miss and recorded as an access.
    #[inline]
    pub fn entry(&mut self, key: &[u8]) -> Option<&Entry> {
        match self.locate(key) {
            Some(position) => {
                self.space.stats.hits += 1;
                Some(self.space.access(self.index, position))
            }
            None => {
                self.miss(key);
                None
            }
        }
    }

    /// The entry of `key`, counted as a hit or miss but not recorded as an access: EXISTS, TTL, TYPE.
    pub fn ask(&mut self, key: &[u8]) -> Option<&Entry> {
        let Some(position) = self.locate(key) else {
            self.miss(key);
            return None;
        };
        self.space.stats.hits += 1;
        Some(self.space.dbs[self.index].table.at(position))
    }

    /// The entry of `key`, counted as a hit or miss of which nobody is told, and not recorded as an access: OBJECT.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        let position = self.locate(key);
        let stats = &mut self.space.stats;
        stats.hits += u64::from(position.is_some());
        stats.misses += u64::from(position.is_none());
        position.map(|position| self.space.dbs[self.index].table.at(position))
    }

    /// The entry of `key` without any trace.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let position = self.locate(key)?;
        Some(self.space.dbs[self.index].table.at(position))
    }

    /// The entry of `key`, recorded as an access but neither as a hit nor as a miss: what commands look at that would change the
    /// key, also when they find that there is nothing to do (EXPIRE, SETNX).
    pub fn entry_to_write(&mut self, key: &[u8]) -> Option<&Entry> {
        let position = self.locate(key)?;
        Some(self.space.access(self.index, position))
    }

    /// Whether `key` exists, without any trace.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.locate(key).is_some()
    }

    /// The string at `key`.
    ///
    /// # Errors
    /// When the key holds another type.
    #[inline(always)]
    pub fn text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        text_of(self.entry(key))
    }

    /// The string at `key`, printed where it is an integer, to be read beside others: a long one is not copied, but shared.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn share_text(&mut self, key: &[u8]) -> Result<Option<Arc<Vec<u8>>>, WrongType> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        entry.share_text().map(Some).ok_or(WrongType)
    }

    /// The string at `key`, to make another one of it: an access, but neither a hit nor a miss.
    ///
    /// # Errors
    /// When the key holds another type.
    #[inline]
    pub fn text_to_write(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        text_of(self.entry_to_write(key))
    }

    /// The collection at `key`, to read.
    ///
    /// # Errors
    /// When the key holds another type.
    #[inline]
    pub fn find<T: Stored>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        let position = self.locate(key);
        self.read::<T>(key, position)
    }

    /// The collection at `key` without any trace, for a command that has looked at it before; `None` also when it is of
    /// another type.
    pub fn find_again<T: Stored>(&mut self, key: &[u8]) -> Option<&T> {
        let position = self.locate(key)?;
        self.hide_due_fields::<T>(position);
        self.space.dbs[self.index].table.at(position).get::<T>()
    }

    /// The hash at `key`, to read these fields of it. Those whose time is over leave it first; others do not show.
    ///
    /// # Errors
    /// When the key holds another type.
    #[inline]
    pub fn find_fields(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<Option<&Hash>, WrongType> {
        let position = self.locate(key);
        let position = position.filter(|at| self.space.expire_named_fields(self.index, *at, fields));
        self.read::<Hash>(key, position)
    }

    /// The hash at `key`, to read fields that chance picks: some of those whose time is over leave it first, others do not
    /// show.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn find_any_fields(&mut self, key: &[u8]) -> Result<Option<&Hash>, WrongType> {
        /// Fields that one look-up may take out.
        const TAKEN_MAX: usize = 128;
        if let Some(position) = self.locate(key)
            && self.space.has_due_fields(self.index, position)
        {
            self.space.expire_some_fields(self.index, position, TAKEN_MAX);
        }
        self.find::<Hash>(key)
    }

    #[inline]
    fn read<T: Stored>(&mut self, key: &[u8], position: Option<Position>) -> Result<Option<&T>, WrongType> {
        let Some(position) = position else {
            self.miss(key);
            return Ok(None);
        };
        self.space.stats.hits += 1;
        self.hide_due_fields::<T>(position);
        self.space.access(self.index, position).get::<T>().map(Some).ok_or(WrongType)
    }

    #[inline]
    fn miss(&mut self, key: &[u8]) {
        self.space.stats.misses += 1;
        self.space.effects.misses(self.index, key);
    }

    #[inline]
    fn hide_due_fields<T: Stored>(&mut self, position: Position) {
        // Known when this is compiled: only hashes pay for it.
        if T::KIND == Kind::Hash {
            self.space.hide_due_fields(self.index, position);
        }
    }

    // Writes.

    /// The collection at `key`, to change.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn find_mut<T: Stored>(&mut self, key: &[u8]) -> Result<Option<Guard<'_, T>>, WrongType> {
        let Some(position) = self.locate(key) else { return Ok(None) };
        self.guard(position).map(Some)
    }

    /// The hash at `key`, to change these fields of it. Those whose time is over leave it first.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn find_fields_mut(
        &mut self,
        key: &[u8],
        fields: &[&[u8]],
    ) -> Result<Option<Guard<'_, Hash>>, WrongType> {
        let position = self.locate(key);
        let Some(position) = position.filter(|at| self.space.expire_named_fields(self.index, *at, fields))
        else {
            return Ok(None);
        };
        self.guard(position).map(Some)
    }

    #[inline]
    fn guard<T: Stored>(&mut self, position: Position) -> Result<Guard<'_, T>, WrongType> {
        let Some(collection) = self.space.access(self.index, position).get::<T>() else {
            return Err(WrongType);
        };
        let before = Before { elements: collection.elements(), next_expiry: collection.next_expiry() };
        if before.next_expiry.is_some() {
            self.space.hide_due_fields(self.index, position);
        }
        Ok(Guard::new(self.space, self.index, position, false, before))
    }

    /// The collection at `key`, to change; created empty when there is none (and removed again if it stays empty).
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn upsert<T: Stored>(&mut self, key: &[u8]) -> Result<Guard<'_, T>, WrongType> {
        let hash = self.space.dbs[self.index].table.hash_of(key);
        match self.locate_hashed(hash, key) {
            Some(position) => self.guard(position),
            None => {
                let value = T::new().into();
                let mut entry = Entry::new(key, value, None);
                if let Some(number) = self.space.queues.notes_new(T::KIND, self.index, hash, key) {
                    entry.set_follower(Some(number));
                }
                let position = self.space.insert(self.index, hash, entry);
                Ok(Guard::new(self.space, self.index, position, true, Before::default()))
            }
        }
    }

    /// Replaces whatever is at `key` by a string.
    #[inline]
    pub fn put_text(&mut self, key: &[u8], bytes: &[u8], ttl: Ttl) {
        if bytes.len() >= GIVEN_BYTES_MIN && self.put_given(key, bytes, ttl) {
            return;
        }
        let hash = self.space.dbs[self.index].table.hash_of(key);
        if let Some(position) = self.locate_hashed(hash, key) {
            self.space.preimage(self.index, position);
            let entry = self.space.dbs[self.index].table.at_mut(position);
            self.space.effects.replaces(self.index, key, entry.kind() != Kind::String);
            if entry.kind() == Kind::String && entry.expiry().is_none() && !matches!(ttl, Ttl::At(_)) {
                entry.set_string(bytes);
                self.space.access(self.index, position);
            } else {
                let expiry = ttl.resolve(entry.expiry());
                let mut fresh = Entry::string(key, bytes, expiry);
                fresh.set_access(self.access_of_new_value(Some(position)));
                self.replace_at(hash, position, fresh);
            }
        } else {
            let expiry = ttl.resolve(None);
            self.space.effects.creates(self.index, key);
            let mut fresh = Entry::string(key, bytes, expiry);
            fresh.set_access(self.space.fresh_access());
            self.insert_entry(hash, fresh);
        }
        self.space.effects.touch(self.index, key, Cause::Changed);
    }

    /// The same with a string that lies in a buffer made for it, which the entry takes over; whether it does.
    #[cold]
    fn put_given(&mut self, key: &[u8], bytes: &[u8], ttl: Ttl) -> bool {
        let given = self.space.given.iter().find(|buffer| core::ptr::eq(buffer.as_slice(), bytes));
        let Some(buffer) = given.map(Arc::clone) else { return false };
        let before = self.locate(key).and_then(|at| self.space.dbs[self.index].table.at(at).expiry());
        self.put_entry(Entry::given(key, buffer, ttl.resolve(before)));
        true
    }

    /// Replaces whatever is at `key` by an integer, keeping the expiry. The caller has read what was there, which was the use.
    pub fn put_int(&mut self, key: &[u8], value: i64) {
        let hash = self.space.dbs[self.index].table.hash_of(key);
        match self.locate_hashed(hash, key) {
            Some(position) => {
                self.space.preimage(self.index, position);
                self.space.dbs[self.index].table.at_mut(position).set_int(value);
            }
            None => {
                self.space.effects.creates(self.index, key);
                self.space.insert(self.index, hash, Entry::new(key, Value::Int(value), None));
            }
        }
        self.space.effects.touch(self.index, key, Cause::Changed);
    }

    /// The string at `key` as a buffer to change; created empty when there is none. The caller has read it, which was the use.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn edit_text(&mut self, key: &[u8]) -> Result<StringGuard<'_>, WrongType> {
        let hash = self.space.dbs[self.index].table.hash_of(key);
        let position = match self.locate_hashed(hash, key) {
            Some(position) if self.space.dbs[self.index].table.at(position).kind() != Kind::String => {
                return Err(WrongType);
            }
            Some(position) => position,
            None => {
                self.space.effects.creates(self.index, key);
                self.space.insert(self.index, hash, Entry::string(key, b"", None))
            }
        };
        Ok(StringGuard::new(self.space, self.index, position))
    }

    /// Keeps the integer at `key` as its text from now on, as Redis does for what works on bytes. Its value is the same, so nobody
    /// is told.
    pub fn spell_out(&mut self, key: &[u8]) {
        if let Some(position) = self.locate(key) {
            let entry = self.space.dbs[self.index].table.at_mut(position);
            if matches!(entry.view(), View::Int(_)) {
                entry.string_mut();
            }
        }
    }

    /// Replaces whatever is at `key` by `value`. An empty collection removes the key.
    pub fn put(&mut self, key: &[u8], value: Value, expiry: Option<i64>) {
        self.put_entry(Entry::new(key, value, expiry));
    }

    /// Replaces whatever is at the entry's key by the entry. What was recorded of the key's uses goes on.
    pub fn put_entry(&mut self, entry: Entry) {
        if let Some(by_other_type) = self.replaced_by(&entry) {
            self.space.effects.replaces(self.index, entry.key(), by_other_type);
        }
        self.put_revised(entry);
    }

    /// Like [`Db::put_entry`], where the entry is what has become of the value that is there: nothing is told of as overwritten.
    pub fn put_revised(&mut self, mut entry: Entry) {
        let hash = self.space.dbs[self.index].table.hash_of(entry.key());
        let position = self.locate_hashed(hash, entry.key());
        entry.set_access(self.access_of_new_value(position));
        self.place(hash, position, entry);
    }

    /// Like [`Db::put_entry`], where the entry's access field tells of its uses: it was renamed, moved or loaded.
    pub fn put_used(&mut self, entry: Entry) {
        let hash = self.space.dbs[self.index].table.hash_of(entry.key());
        let position = self.locate_hashed(hash, entry.key());
        let replaced = self.replaced_by(&entry).map(|by_other_type| (entry.key().to_vec(), by_other_type));
        if position.is_some() {
            // Redis removes what is there first.
            self.space.effects.creates(self.index, entry.key());
        }
        self.place(hash, position, entry);
        // It is told behind the event of the command, as Redis does.
        if let Some((key, by_other_type)) = replaced {
            self.space.effects.replaces(self.index, &key, by_other_type);
        }
    }

    /// Whether the entry replaces a value, where somebody wants to know that: whether that is of another type.
    fn replaced_by(&mut self, entry: &Entry) -> Option<bool> {
        if !self.space.effects.tells_replaced {
            return None;
        }
        let position = self.locate(entry.key())?;
        Some(self.space.dbs[self.index].table.at(position).kind() != entry.kind())
    }

    fn place(&mut self, hash: u64, position: Option<Position>, mut entry: Entry) {
        self.space.note_placed(self.index, hash, &mut entry);
        if position.is_none() {
            self.space.effects.creates(self.index, entry.key());
        }
        self.space.effects.touch(self.index, entry.key(), Cause::Changed);
        match position {
            Some(position) => {
                self.space.preimage(self.index, position);
                self.replace_at(hash, position, entry);
            }
            None => self.insert_entry(hash, entry),
        }
    }

    /// Removes `key`; whether it existed. The outcome's event applies (`del`).
    pub fn remove(&mut self, key: &[u8]) -> bool {
        match self.take(key, Cause::Changed) {
            Some(entry) => {
                if entry.follower().is_some() {
                    self.space.note_removed(self.index, &entry);
                }
                self.space.discard(entry);
                true
            }
            None => false,
        }
    }

    /// Takes the entry of `key` out, booked under `cause`.
    pub fn take(&mut self, key: &[u8], cause: Cause) -> Option<Entry> {
        let position = self.locate(key)?;
        self.space.effects.touch(self.index, key, cause);
        Some(self.space.take_at(self.index, position))
    }

    /// Sets or removes the expiry of `key`; whether the key exists.
    pub fn set_expiry(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        let hash = self.space.dbs[self.index].table.hash_of(key);
        let Some(position) = self.locate_hashed(hash, key) else { return false };
        self.space.preimage(self.index, position);
        let entry = self.space.dbs[self.index].table.at_mut(position);
        let before = entry.expiry();
        entry.set_expiry(at_ms);
        self.space.expiry_changed(self.index, hash, before, at_ms);
        self.space.effects.touch(self.index, key, Cause::Changed);
        true
    }

    /// Tells a further event of a change to `key` that is booked already (SET with an expiry: `set`, then `expire`).
    pub fn also(&mut self, key: &[u8], event: Event) {
        self.space.effects.touch(self.index, key, Cause::Also(event));
    }

    /// Tells that `key` is new, if it is not there yet, ahead of what else is told of the command, which creates no other key before it.
    pub fn announce(&mut self, key: &[u8]) {
        if self.space.effects.tells_new && self.locate(key).is_none() {
            self.space.effects.announce(self.index, key);
        }
    }

    /// The same of a key whose place an entry is about to take (see [`Db::put_used`]), whether or not something is there.
    pub fn announce_anew(&mut self, key: &[u8]) {
        self.space.effects.announce(self.index, key);
    }

    /// A random key, or `None` when there is none that lives.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        const TRIES_MAX: usize = 100;
        for _ in 0..TRIES_MAX {
            let space = &mut *self.space;
            let entry = space.dbs[self.index].table.random(&mut space.random)?;
            let key = entry.key().to_vec();
            if self.locate(&key).is_some() {
                return Some(key);
            }
        }
        // Nearly all that there are wait for their removal.
        self.iter().next().map(|entry| entry.key().to_vec())
    }

    /// One step of SCAN: visits the living entries behind `cursor` and gives the next cursor (0: the end). Entries whose time is
    /// over leave.
    pub fn scan(&mut self, cursor: u64, visit: &mut dyn FnMut(&Entry)) -> u64 {
        let (now, keep) = (self.space.now.unix_ms, self.space.keep_expired);
        let mut over = Vec::new();
        let next = self.space.dbs[self.index].table.scan(cursor, &mut |entry| {
            if keep || !is_over(entry, now) {
                visit(entry);
            } else {
                over.push(entry.key().to_vec());
            }
        });
        for key in over {
            self.locate(&key);
        }
        next
    }

    /// All living entries, in table order. O(n): for KEYS and DEBUG.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let now = self.space.now.unix_ms;
        self.space.dbs[self.index].table.iter().filter(move |entry| !is_over(entry, now))
    }

    // Inner steps.

    /// The access field of a value that takes the place of the one at `position`: a further use of the key, if there is one.
    fn access_of_new_value(&mut self, position: Option<Position>) -> u32 {
        match position {
            Some(position) => {
                let before = self.space.dbs[self.index].table.at(position).access();
                self.space.used_access(before)
            }
            None => self.space.fresh_access(),
        }
    }

    #[inline]
    pub(crate) fn locate(&mut self, key: &[u8]) -> Option<Position> {
        let hash = self.space.dbs[self.index].table.hash_of(key);
        self.locate_hashed(hash, key)
    }

    /// Finds `key`; one whose time is over leaves first.
    #[inline]
    fn locate_hashed(&mut self, hash: u64, key: &[u8]) -> Option<Position> {
        let database = &self.space.dbs[self.index];
        let position = database.table.locate(hash, key)?;
        if database.is_over(position, self.space.now.unix_ms) && !self.space.keep_expired {
            if !self.space.hold_expired {
                self.space.expire_at(self.index, position);
            }
            return None;
        }
        Some(position)
    }

    fn insert_entry(&mut self, hash: u64, entry: Entry) {
        let expiry = entry.expiry();
        if self.space.hold_expired {
            self.make_way(hash, entry.key());
        }
        self.space.insert_used(self.index, hash, entry);
        self.space.expiry_changed(self.index, hash, None, expiry);
    }

    /// Removes a held entry of the same key, which lookups do not show.
    #[cold]
    fn make_way(&mut self, hash: u64, key: &[u8]) {
        if let Some(position) = self.space.dbs[self.index].table.locate(hash, key) {
            self.space.expire_at(self.index, position);
        }
    }

    fn replace_at(&mut self, hash: u64, position: Position, mut fresh: Entry) {
        fresh.set_epoch(self.space.epoch);
        let after = fresh.expiry();
        let old = self.space.dbs[self.index].table.replace_at(position, fresh);
        self.space.dbs[self.index].field_expiring -= usize::from(next_field_expiry(&old).is_some());
        self.space.field_expiry_changed(self.index, position, None);
        self.space.expiry_changed(self.index, hash, old.expiry(), after);
        self.space.discard(old);
    }
}

/// The string that an entry holds.
#[inline(always)]
fn text_of(entry: Option<&Entry>) -> Result<Option<Text<'_>>, WrongType> {
    match entry.map(Entry::view) {
        None => Ok(None),
        Some(View::Int(value)) => Ok(Some(Text::Int(value))),
        Some(View::Str(bytes)) => Ok(Some(Text::Bytes(bytes))),
        Some(_) => Err(WrongType),
    }
}

impl Ttl {
    fn resolve(self, before: Option<i64>) -> Option<i64> {
        match self {
            Ttl::Clear => None,
            Ttl::Keep => before,
            Ttl::At(at) => Some(at),
        }
    }
}
