//! What a command did to the keyspace, for settle to apply in one fixed order.
//!
//! Keys are copied into one reused arena, and only while somebody observes them (watchers, tracking, waiters,
//! notifications) or the log needs them; with no observer a write costs one counter.

/// A class of keyspace notifications, one bit each, as the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventClass(pub u32);

impl EventClass {
    /// `g`: commands on any type.
    pub const GENERIC: EventClass = EventClass(1 << 2);
    /// `$`: strings.
    pub const STRING: EventClass = EventClass(1 << 3);
    /// `l`: lists.
    pub const LIST: EventClass = EventClass(1 << 4);
    /// `s`: sets.
    pub const SET: EventClass = EventClass(1 << 5);
    /// `h`: hashes.
    pub const HASH: EventClass = EventClass(1 << 6);
    /// `z`: sorted sets.
    pub const ZSET: EventClass = EventClass(1 << 7);
    /// `x`: expired keys.
    pub const EXPIRED: EventClass = EventClass(1 << 8);
    /// `e`: evicted keys.
    pub const EVICTED: EventClass = EventClass(1 << 9);
    /// `t`: streams.
    pub const STREAM: EventClass = EventClass(1 << 10);
    /// `m`: keys that were looked for and are not there.
    pub const KEY_MISS: EventClass = EventClass(1 << 11);
    /// `n`: new keys.
    pub const NEW: EventClass = EventClass(1 << 14);
    /// `o`: keys whose whole value was replaced.
    pub const OVERWRITTEN: EventClass = EventClass(1 << 15);
    /// `c`: keys that were replaced by a value of another type.
    pub const TYPE_CHANGED: EventClass = EventClass(1 << 16);
}

/// A named event of a class, as clients receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which letter switches it on.
    pub class: EventClass,
    /// The name, lower case.
    pub name: &'static str,
}

impl Event {
    /// An event `name` of `class`.
    pub const fn new(class: EventClass, name: &'static str) -> Event {
        Event { class, name }
    }

    /// A key was removed.
    pub const DEL: Event = Event::new(EventClass::GENERIC, "del");
    /// A key outlived its time.
    pub const EXPIRED: Event = Event::new(EventClass::EXPIRED, "expired");
    /// A key had to go because memory was full.
    pub const EVICTED: Event = Event::new(EventClass::EVICTED, "evicted");
    /// Fields of a hash outlived their time.
    pub const HEXPIRED: Event = Event::new(EventClass::HASH, "hexpired");
    /// A key was looked for in vain.
    pub const KEY_MISS: Event = Event::new(EventClass::KEY_MISS, "keymiss");
    /// A key was created.
    pub const NEW: Event = Event::new(EventClass::NEW, "new");
    /// The whole value of a key was replaced.
    pub const OVERWRITTEN: Event = Event::new(EventClass::OVERWRITTEN, "overwritten");
    /// What has replaced it is of another type.
    pub const TYPE_CHANGED: Event = Event::new(EventClass::TYPE_CHANGED, "type_changed");
}

/// Why a key was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command changed it; the outcome's event applies.
    Changed,
    /// The command changed what is kept beside the contents, such as the groups of a stream: the outcome's event applies, but whoever
    /// watches the key or holds a copy of it need not know.
    Beside,
    /// It changed under an event of its own (the two sides of RENAME, say).
    Named(Event),
    /// Nothing changed by this alone: a further event of a change that is booked already.
    Also(Event),
    /// The command emptied it, so it was removed: event `del`.
    Emptied,
    /// Its time was over. The log gets a DEL.
    Expired,
    /// It was evicted. The log gets a DEL.
    Evicted,
    /// Fields of the hash outlived their time. The log gets an HDEL, or a DEL if they were all of them at once.
    FieldsExpired {
        /// None is left, so the key was removed.
        emptied: bool,
    },
}

/// What a change leaves for clients that wait for the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offer {
    /// It only takes: nobody finds what was not there before.
    #[default]
    Nothing,
    /// Entries of a stream that consumers hold, for who may claim them when their time has come.
    Pending,
    /// Anything.
    All,
}

/// One touched key.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// Database number.
    pub db: u32,
    /// Why.
    pub cause: Cause,
    /// For those who wait for it.
    pub offer: Offer,
    start: u32,
    len: u32,
}

/// The effects of one command (or of a tick's expiry and eviction), in order.
#[derive(Debug, Default)]
pub struct Effects {
    touched: Vec<Touch>,
    arena: Vec<u8>,
    /// Whether somebody wants to know the keys: watchers, tracking, waiters, notifications.
    pub observed: bool,
    /// Whether somebody wants to be told of each key that is created.
    pub tells_new: bool,
    /// Whether somebody wants to be told of each key that is looked for in vain.
    pub tells_misses: bool,
    /// Whether somebody wants to be told of each key whose whole value is replaced.
    pub tells_replaced: bool,
    /// Whether there is a log that needs DEL records for expired and evicted keys, and rewritten commands.
    pub logging: bool,
    /// Changes since the last reset, for `rdb_changes_since_last_save`: a key is one, and of a collection each element.
    pub dirty: u64,
    /// Changes that the running command made itself; zero means that the log need not have it.
    pub changes: u32,
    /// The commands that the log gets in place of the one received, already encoded; empty: as received.
    pub rewritten: Vec<u8>,
    /// Whole databases were emptied: caches of clients are void altogether.
    pub emptied: bool,
    /// Whole databases were exchanged: caches of clients are void too, but what they have read is still there to change.
    pub exchanged: bool,
    /// It has been told of the key that is created next.
    is_announced: bool,
    /// How many commands `rewritten` holds.
    pub rewritten_count: u32,
    /// Databases that were emptied or exchanged while somebody observed.
    whole: Vec<usize>,
    /// Fields that expired, as the commands that the log gets for them: database number and arguments.
    lost_fields: Vec<(u32, Vec<Vec<u8>>)>,
}

impl Effects {
    /// Records that `key` of `db` was touched.
    #[inline]
    pub fn touch(&mut self, db: usize, key: &[u8], cause: Cause) {
        self.touch_offering(db, key, cause, Offer::All);
    }

    /// Records that `key` of `db` was touched by a change that leaves only this for those who wait for it.
    #[inline]
    pub(crate) fn touch_offering(&mut self, db: usize, key: &[u8], cause: Cause, offer: Offer) {
        let by_itself = matches!(cause, Cause::Expired | Cause::Evicted | Cause::FieldsExpired { .. });
        let is_change = !matches!(cause, Cause::Also(_));
        self.changes += u32::from(is_change && !by_itself);
        // Nothing is lost with what went by itself, and of the two sides of a RENAME one counts.
        self.dirty += u64::from(is_change && !by_itself && !matches!(cause, Cause::Named(_)));
        let for_log = self.logging && by_itself;
        if self.observed || for_log {
            self.record(db, key, cause, offer);
        }
    }

    /// Declares how many changes the last touch is: it was counted as one.
    #[inline]
    pub fn recount(&mut self, changes: usize) {
        self.dirty = self.dirty.saturating_sub(1).saturating_add(changes as u64);
    }

    /// Records that `key` is created, ahead of the change that does it.
    #[inline]
    pub(crate) fn creates(&mut self, db: usize, key: &[u8]) {
        if self.tells_new && !core::mem::take(&mut self.is_announced) {
            self.touch(db, key, Cause::Also(Event::NEW));
        }
    }

    /// The same, ahead of what else is told of the command that creates it.
    pub(crate) fn announce(&mut self, db: usize, key: &[u8]) {
        self.creates(db, key);
        self.is_announced = self.tells_new;
    }

    /// Records that the whole value of `key` is replaced, perhaps by one of another type.
    #[inline]
    pub(crate) fn replaces(&mut self, db: usize, key: &[u8], by_other_type: bool) {
        if self.tells_replaced {
            self.touch(db, key, Cause::Also(Event::OVERWRITTEN));
            if by_other_type {
                self.touch(db, key, Cause::Also(Event::TYPE_CHANGED));
            }
        }
    }

    /// Records that `key` was looked for in vain.
    #[inline]
    pub(crate) fn misses(&mut self, db: usize, key: &[u8]) {
        if self.tells_misses {
            self.touch(db, key, Cause::Also(Event::KEY_MISS));
        }
    }

    /// Records that `fields` of the hash `key` expired.
    pub(crate) fn fields_expired(&mut self, db: usize, key: &[u8], fields: Vec<Vec<u8>>, emptied: bool) {
        self.touch(db, key, Cause::FieldsExpired { emptied });
        if self.logging {
            let command = [b"HDEL".to_vec(), key.to_vec()].into_iter().chain(fields).collect();
            self.lost_fields.push((db as u32, command));
        }
    }

    /// Records that all fields of the hash `key` expired and it was removed as a whole.
    pub(crate) fn hash_spent(&mut self, db: usize, key: &[u8]) {
        self.touch(db, key, Cause::FieldsExpired { emptied: true });
        if self.logging {
            self.lost_fields.push((db as u32, vec![b"DEL".to_vec(), key.to_vec()]));
        }
    }

    /// The commands that take the expired fields out again where the log is replayed, each with its database.
    pub fn lost_fields(&self) -> impl Iterator<Item = (usize, Vec<&[u8]>)> {
        self.lost_fields
            .iter()
            .map(|(db, command)| (*db as usize, command.iter().map(Vec::as_slice).collect()))
    }

    fn record(&mut self, db: usize, key: &[u8], cause: Cause, offer: Offer) {
        let start = self.arena.len() as u32;
        let end = self.arena.len() + key.len();
        if end > self.arena.capacity() {
            // A size that the allocator has, so that what it gives out for this is known to the byte.
            self.arena.reserve_exact(end.next_power_of_two().max(64) - self.arena.len());
        }
        self.arena.extend_from_slice(key);
        self.touched.push(Touch { db: db as u32, cause, offer, start, len: key.len() as u32 });
    }

    /// The touched keys in order. Empty when nobody observes, whatever `changes` says.
    pub fn touches(&self) -> impl Iterator<Item = (Touch, &[u8])> {
        self.touched.iter().map(|t| (*t, &self.arena[t.start as usize..(t.start + t.len) as usize]))
    }

    /// What the records take until they are applied, bytes.
    pub fn held_bytes(&self) -> usize {
        self.arena.capacity() + self.touched.capacity() * size_of::<Touch>()
    }

    /// Whether any key or whole database was recorded.
    pub fn has_touches(&self) -> bool {
        !self.touched.is_empty() || !self.whole.is_empty()
    }

    /// Whether whole databases were emptied or exchanged.
    pub fn is_upheaval(&self) -> bool {
        self.emptied || self.exchanged
    }

    /// Records that database `db` was emptied or exchanged as a whole; its keys are not recorded one by one, for there may be
    /// millions.
    pub(crate) fn touch_database(&mut self, db: usize) {
        if self.observed {
            self.whole.push(db);
        }
    }

    /// The databases that were emptied or exchanged, if anybody observes.
    pub fn whole_databases(&self) -> &[usize] {
        &self.whole
    }

    /// Adds a command that the log gets in place of the one received.
    pub fn rewrite(&mut self, argv: &[&[u8]]) {
        if self.logging {
            let out = &mut self.rewritten;
            out.push(b'*');
            base::number::push_u64(out, argv.len() as u64);
            out.extend_from_slice(b"\r\n");
            for argument in argv {
                out.push(b'$');
                base::number::push_u64(out, argument.len() as u64);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(argument);
                out.extend_from_slice(b"\r\n");
            }
        }
        self.rewritten_count += 1;
    }

    /// Forgets everything but the totals, keeping the memory (bounded: a large arena is given back).
    #[inline]
    pub fn clear(&mut self) {
        self.changes = 0;
        self.rewritten_count = 0;
        // Each entry of the arena belongs to a touch.
        let (touches, lost) = (self.touched.len(), self.lost_fields.len());
        if touches + lost + self.whole.len() + self.rewritten.len() > 0 || self.is_upheaval() {
            self.clear_records();
        }
    }

    fn clear_records(&mut self) {
        const KEEP_BYTES_MAX: usize = 8 << 10;
        self.is_announced = false;
        self.emptied = false;
        self.exchanged = false;
        self.touched.clear();
        self.lost_fields.clear();
        self.whole.clear();
        self.arena.clear();
        self.rewritten.clear();
        if self.arena.capacity() > KEEP_BYTES_MAX {
            self.arena = Vec::new();
        }
        if self.rewritten.capacity() > KEEP_BYTES_MAX {
            self.rewritten = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_only_for_observers_and_the_log() {
        let mut effects = Effects::default();
        effects.touch(0, b"a", Cause::Changed);
        assert_eq!((effects.changes, effects.has_touches()), (1, false));
        effects.logging = true;
        effects.touch(3, b"b", Cause::Expired);
        effects.observed = true;
        effects.touch(1, b"cc", Cause::Changed);
        let got: Vec<_> = effects.touches().map(|(t, k)| (t.db, t.cause, k.to_vec())).collect();
        assert_eq!(got, [(3, Cause::Expired, b"b".to_vec()), (1, Cause::Changed, b"cc".to_vec())]);
        effects.clear();
        assert_eq!((effects.changes, effects.dirty, effects.has_touches()), (0, 2, false));
    }
}
