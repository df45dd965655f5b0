//! What the queues are told of the keyspace, and what they see of it.
//!
//! An entry whose key belongs to a queue is marked, so that a write to any other costs one look at a bit. The mark has the number by which
//! the queues know the key, so that a write to one of theirs costs no look-up either; it is 0 where there are too many keys for that,
//! and where the key names queues.
//! *Invariant:* a number is that of the entry's own key; when the key is followed no more, the mark goes before the number is another's.

use crate::fields::is_over;
use crate::space::{Database, Keyspace};
use queues::{Clients, Context, Cursor, Figures, Look, MayRead, NoClients, QueueKind, Queues};
use table::Position;
use types::{Entry, Kind, View};

/// Keys that one step of a search looks at, and those of one more bucket: fewer than may wait to be examined.
const SEARCH_STEP: usize = 256;

/// Steps of a search in one tick.
const SEARCH_STEPS: usize = 8;

/// How far the search for queues has come, where more are followed than before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    db: usize,
    /// Of the table of that database.
    cursor: u64,
}

/// The values of all databases at one moment.
struct Values<'a> {
    dbs: &'a [Database],
    now_ms: i64,
}

impl Look for Values<'_> {
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>> {
        let table = &self.dbs.get(db)?.table;
        let entry = table.find(table.hash_of(key), key)?;
        (!is_over(entry, self.now_ms)).then(|| entry.view())
    }
}

impl Keyspace {
    /// A whole value is put under its key.
    pub(crate) fn note_placed(&mut self, db: usize, hash: u64, entry: &mut Entry) {
        let kind = entry.kind();
        let number =
            if kind != Kind::String { self.queues.notes_new(kind, db, hash, entry.key()) } else { None };
        entry.set_follower(number);
        if let View::Stream(stream) = entry.view()
            && stream.groups().len() > 0
            && self.queues.is_on()
        {
            self.queues.suspect(db, entry.key());
        }
    }

    /// The collection at `position`, of this follower, went from `before` to `after` elements.
    #[inline]
    pub(crate) fn note_change(
        &mut self,
        (db, position): (usize, Position),
        follower: u16,
        before: usize,
        after: usize,
    ) {
        if follower == 0 {
            return self.note_change_by_name(db, position, before, after);
        }
        debug_assert!(
            self.queues.is_number_of(follower.into(), db, self.dbs[db].table.at(position).key()),
            "a number is that of the entry's key"
        );
        self.queues.changed(follower.into(), before as u64, after as u64, self.now.mono_us);
    }

    #[cold]
    fn note_change_by_name(&mut self, db: usize, position: Position, before: usize, after: usize) {
        let key = self.dbs[db].table.at(position).key();
        self.queues.changed_by_name(db, key, before as u64, after as u64, self.now.mono_us);
    }

    /// A followed value was removed.
    #[cold]
    pub(crate) fn note_removed(&mut self, db: usize, entry: &Entry) {
        self.queues.changed_by_name(db, entry.key(), queues::len(entry.view()), 0, self.now.mono_us);
    }

    /// The stream at `position`, which is not followed, has changed.
    pub(crate) fn note_groups(&mut self, db: usize, position: Position) {
        let entry = self.dbs[db].table.at(position);
        if let View::Stream(stream) = entry.view()
            && stream.groups().len() > 0
            && self.queues.is_on()
        {
            self.queues.suspect(db, entry.key());
        }
    }

    /// Looks at the keys that may tell of queues.
    #[cold]
    pub fn examine_queues(&mut self, clients: &dyn Clients) {
        self.with_queues(clients, |queues, at| queues.examine(at));
    }

    /// Somebody waits on a key for a value of this type; `clients` are those who wait already.
    pub fn note_awaited(&mut self, db: usize, key: &[u8], kind: Kind, clients: &dyn Clients) {
        let hash = self.dbs[db].table.hash_of(key);
        if self.queues.is_awaited_as_ever(db, hash, key, self.now.mono_us) {
            return;
        }
        self.with_queues(clients, |queues, at| queues.awaited(db, key, kind, at));
    }

    /// All queues by name, or those of which `may_read` allows every key.
    pub fn tell_queues(&mut self, clients: &dyn Clients, may_read: Option<MayRead<'_>>) -> Vec<Figures> {
        self.with_queues(clients, |queues, at| queues.tell(at, may_read))
    }

    /// The queue of this name, and of this kind if one is named, if `may_read` allows its keys.
    pub fn tell_queue(
        &mut self,
        clients: &dyn Clients,
        (name, kind): (&str, Option<QueueKind>),
        may_read: Option<MayRead<'_>>,
    ) -> Option<Figures> {
        self.with_queues(clients, |queues, at| queues.tell_one(at, name, kind, may_read))
    }

    /// The first queues behind `after`, of which no more than `count` are looked at; and behind which to go on, if there may be more.
    pub fn tell_some_queues(
        &mut self,
        clients: &dyn Clients,
        after: Option<Cursor>,
        count: usize,
    ) -> (Vec<Figures>, Option<Cursor>) {
        self.with_queues(clients, |queues, at| queues.tell_some(at, after, count))
    }

    /// What is done for queues with time.
    pub fn tick_queues(&mut self, clients: &dyn Clients) {
        for _ in 0..SEARCH_STEPS {
            if self.queue_search.is_some() {
                self.search_queues();
                self.examine_queues(clients);
            }
        }
        self.with_queues(clients, Queues::tick);
    }

    /// At most `max` queues are followed; whether that are more than before. Then those that are there are searched for, some keys at a
    /// time: nobody has told of them.
    pub fn set_queues_max(&mut self, max: usize) -> bool {
        let is_more = max > self.queues.max();
        self.queues.set_max(max);
        self.mark_followed();
        self.queue_search = match self.queue_search {
            _ if is_more => Some(Search::default()),
            // Another directive may have been set meanwhile.
            search => search.filter(|_| max > 0),
        };
        is_more
    }

    /// One step of the search. It leaves keys that are to be examined.
    fn search_queues(&mut self) {
        let Some(mut search) = self.queue_search.take() else { return };
        let mut seen = 0;
        while let Some(database) = self.dbs.get(search.db).filter(|_| seen < SEARCH_STEP) {
            let (table, queues) = (&database.table, &mut self.queues);
            search.cursor = table.scan(search.cursor, &mut |entry| {
                seen += 1;
                let groups = if let View::Stream(stream) = entry.view() { stream.groups().len() } else { 0 };
                if entry.kind() != Kind::String {
                    queues.notes_old(
                        entry.kind(),
                        search.db,
                        table.hash_of(entry.key()),
                        entry.key(),
                        groups,
                    );
                }
            });
            search.db += usize::from(search.cursor == 0);
        }
        self.queue_search = (search.db < self.dbs.len()).then_some(search);
    }

    /// The data is loaded: what of it belongs to queues is found, and counts as nothing that came.
    pub fn begin_queues(&mut self) {
        self.with_queues(&NoClients, |queues, at| {
            queues.examine(at);
            queues.restart(at);
        });
    }

    /// Lets the queues look at the keyspace, and marks the entries of the keys that they follow from then on.
    fn with_queues<T>(
        &mut self,
        clients: &dyn Clients,
        look: impl FnOnce(&mut Queues, &Context<'_>) -> T,
    ) -> T {
        let values = Values { dbs: &self.dbs, now_ms: self.now.unix_ms };
        let done = look(&mut self.queues, &Context { look: &values, clients, now: self.now });
        self.mark_followed();
        done
    }

    pub(crate) fn mark_followed(&mut self) {
        for mark in self.queues.take_marks() {
            let table = &mut self.dbs[mark.db].table;
            if let Some(position) = table.locate(table.hash_of(&mark.key), &mark.key)
                && table.at(position).kind() != Kind::String
            {
                table.at_mut(position).set_follower(mark.number);
            }
        }
    }
}
