//! Client-side caching: which clients have read which keys, and telling them when these change.
//!
//! A reader of a key is told at once; the client whose own command changed it is told behind the reply. Clients in broadcast mode are told
//! once a batch, with all the keys under each of their prefixes in one message. The table of readers is bounded by
//! `tracking-table-max-keys`, the keys that wait for a broadcast by a number of their own.
//!
//! A changed key costs a few searches among the prefixes, and the end of a batch as much as there is to tell: what clients ask for may be
//! a million prefixes.

use crate::engine::Engine;
use crate::message::Part;
use crate::session::{Session, SessionId, Tracking};
use crate::table::Command;
use commands::{Args, Flags};
use resp::{Protocol, Reply};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Keys that wait to be broadcast; beyond it they are told in the middle of a batch.
const PENDING_KEYS_MAX: usize = 65_536;

/// Keys that one command declares changed, beside twice those that have come, to keep the table within its limit: a limit that
/// is lowered by a million is reached step by step.
const FORGOTTEN_PER_COMMAND_MAX: usize = 128;

/// The same for each run of the cron.
const FORGOTTEN_PER_CRON_MAX: usize = 10_000;

/// Readers looked at in one run of the cron for those that have gone.
const SWEPT_PER_CRON_MAX: usize = 100_000;

/// Keys that clients may hold copies of, and whom to tell of which.
#[derive(Debug, Default)]
pub(crate) struct TrackingTable {
    readers: Readers,
    /// Who is told of the keys under a prefix.
    prefixes: BTreeMap<Vec<u8>, BTreeSet<SessionId>>,
    /// Keys to broadcast at the end of the batch, by prefix, and who changed them last.
    pending: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Option<SessionId>>>,
    pending_keys: usize,
    /// Clients with tracking on.
    clients: usize,
    /// Connections that have tracked at some time: what they have read stays.
    known: usize,
    /// Where the search for readers that have gone goes on, towards the front of the row; none when there is nothing to search for.
    sweep_at: Option<usize>,
    /// Somebody has gone since that search began.
    has_lost: bool,
}

/// The readers of each key. Beside the places of keys there is a row of them, so that any of them can be picked at once.
#[derive(Debug, Default)]
struct Readers {
    places: HashMap<Arc<[u8]>, usize>,
    row: Vec<(Arc<[u8]>, Holders)>,
    /// Pairs of key and reader.
    items: usize,
    /// Keys that have come since the table was last bounded.
    come: usize,
}

/// The readers of one key. Most keys have one, which then takes no memory beside the row.
#[derive(Debug)]
enum Holders {
    One(SessionId),
    #[expect(
        clippy::box_collection,
        reason = "the row has room for one of these per key, which a set in place would double"
    )]
    Many(Box<BTreeSet<SessionId>>),
}

const _: () = assert!(size_of::<Holders>() == 16);

impl Holders {
    fn len(&self) -> usize {
        match self {
            Holders::One(_) => 1,
            Holders::Many(all) => all.len(),
        }
    }

    /// Whether it was not among them yet.
    fn insert(&mut self, id: SessionId) -> bool {
        match self {
            Holders::One(known) if *known == id => false,
            Holders::One(known) => {
                *self = Holders::Many(Box::new(BTreeSet::from([*known, id])));
                true
            }
            Holders::Many(all) => all.insert(id),
        }
    }
}

impl Readers {
    fn add(&mut self, key: &[u8], id: SessionId) {
        if let Some(place) = self.places.get(key) {
            self.items += usize::from(self.row[*place].1.insert(id));
            return;
        }
        let key: Arc<[u8]> = key.into();
        self.places.insert(key.clone(), self.row.len());
        self.row.push((key, Holders::One(id)));
        self.come += 1;
        self.items += 1;
    }

    /// Forgets those readers of a key that are not to be kept; how many were looked at.
    fn keep(&mut self, place: usize, is_kept: impl Fn(SessionId) -> bool) -> usize {
        let Some((key, readers)) = self.row.get_mut(place) else { return 0 };
        let before = readers.len();
        let has_any = match readers {
            Holders::One(id) => is_kept(*id),
            Holders::Many(all) => {
                all.retain(|id| is_kept(*id));
                self.items -= before - all.len();
                !all.is_empty()
            }
        };
        if !has_any {
            let key = key.clone();
            self.take(&key);
        }
        before
    }

    fn take(&mut self, key: &[u8]) -> Option<Holders> {
        let place = self.places.remove(key)?;
        let (_, readers) = self.row.swap_remove(place);
        if let Some((moved, _)) = self.row.get(place) {
            self.places.insert(moved.clone(), place);
        }
        self.items -= readers.len();
        Some(readers)
    }
}

impl TrackingTable {
    /// Whether nobody is to be told of anything. What clients have read that do not track at the moment must be forgotten when
    /// it changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// Clients with tracking on, keys remembered.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.clients, self.readers.row.len())
    }

    /// Pairs of key and reader.
    pub(crate) fn item_count(&self) -> usize {
        self.readers.items
    }

    /// Prefixes that clients in broadcast mode ask for, each counted once.
    pub(crate) fn prefix_count(&self) -> usize {
        self.prefixes.len()
    }

    fn leave_prefix(&mut self, prefix: &[u8], id: SessionId) {
        let Some(clients) = self.prefixes.get_mut(prefix) else { return };
        clients.remove(&id);
        if clients.is_empty() {
            self.prefixes.remove(prefix);
        }
    }

    /// The prefixes of `key` that clients ask for. The greatest one that is not behind the key either is one, or what it has in
    /// common with the key is the most that a shorter one can have: each look-up ends further to the front.
    fn prefixes_of(&self, key: &[u8]) -> Vec<Vec<u8>> {
        let (mut found, mut end) = (Vec::new(), key.len());
        let before = |end: usize| {
            let bounds = (Bound::Unbounded, Bound::Included(&key[..end]));
            self.prefixes.range::<[u8], _>(bounds).next_back().map(|(prefix, _)| prefix)
        };
        while let Some(prefix) = before(end) {
            let common = prefix.iter().zip(&key[..end]).take_while(|(a, b)| a == b).count();
            if common < prefix.len() {
                end = common;
                continue;
            }
            found.push(prefix.clone());
            if common == 0 {
                break;
            }
            end = common - 1;
        }
        found
    }

    fn clear(&mut self) {
        self.readers = Readers::default();
    }
}

impl Engine {
    /// Switches tracking on for a client, or changes how; `fresh` are the prefixes that it asks for besides those it has.
    pub(crate) fn start_tracking(&mut self, id: SessionId, mut wanted: Tracking, fresh: Vec<Vec<u8>>) {
        let session = self.sessions.at_mut(id);
        match session.tracking.take() {
            Some(before) => {
                (wanted.prefixes, wanted.prefix_bytes) = (before.prefixes, before.prefix_bytes);
            }
            None => self.tracking.clients += 1,
        }
        self.tracking.known += usize::from(!core::mem::replace(&mut session.has_tracked, true));
        for prefix in fresh {
            self.tracking.prefixes.entry(prefix.clone()).or_default().insert(id);
            wanted.add_prefix(prefix);
        }
        session.tracking = Some(Box::new(wanted));
        self.observe();
    }

    /// Switches tracking off for a client. What it has read stays in the table, as in Redis: should it track again, it
    /// is told of that too.
    pub(crate) fn stop_tracking(&mut self, id: SessionId) {
        let Some(tracking) = self.sessions.find_mut(id).and_then(|s| s.tracking.take()) else { return };
        self.tracking.clients -= 1;
        tracking.prefixes.iter().for_each(|prefix| self.tracking.leave_prefix(prefix, id));
        self.observe();
    }

    /// Switches tracking off for a client that goes, and empties the table with the last one that has read anything in it.
    pub(crate) fn end_tracking(&mut self, id: SessionId) {
        let is_redirected =
            |session: &Session| session.tracking.as_ref().is_some_and(|t| t.redirect.is_some());
        if self.sessions.find(id).is_some_and(is_redirected) {
            // Nobody will tell the other client any more what this one has read for it.
            self.push_invalidation(id, None);
        }
        self.stop_tracking(id);
        let Some(session) = self.sessions.find_mut(id).filter(|session| session.has_tracked) else { return };
        // It is left out once, however often it is ended.
        session.has_tracked = false;
        self.tracking.known -= 1;
        match self.tracking.sweep_at {
            Some(_) => self.tracking.has_lost = true,
            None => self.tracking.sweep_at = Some(usize::MAX),
        }
        if self.tracking.known == 0 {
            self.tracking.clear();
            (self.tracking.sweep_at, self.tracking.has_lost) = (None, false);
            self.tracking.pending.clear();
            self.tracking.pending_keys = 0;
        }
    }

    /// Remembers that a client has read the keys of a command.
    #[inline]
    pub(crate) fn track_reads(&mut self, id: SessionId, command: usize, args: Args<'_>) {
        if self.tracking.is_empty() {
            return;
        }
        let Some(tracking) = &self.sessions.at(id).tracking else { return };
        let wanted = !tracking.broadcast
            && (!tracking.opt_in || tracking.caching == Some(true))
            && (!tracking.opt_out || tracking.caching != Some(false));
        let Command { spec, keys, .. } = &self.table.commands[command];
        if !wanted || spec.flags.has(Flags::PUBSUB) {
            return;
        }
        for (at, _) in keys.find(args.all()).unwrap_or_default() {
            self.tracking.readers.add(args.at(at), id);
        }
    }

    /// CLIENT CACHING holds for one request, also one that is refused; for a whole transaction, if that is it. CLIENT itself does not
    /// use it up.
    #[cold]
    pub(crate) fn spend_caching(&mut self, id: SessionId, command: Option<usize>) {
        let is_client = command.is_some_and(|at| self.table.commands[at].spec.name.starts_with("client|"));
        let Some(session) = self.sessions.find_mut(id) else { return };
        if session.multi.is_none()
            && !is_client
            && let Some(tracking) = &mut session.tracking
        {
            tracking.caching = None;
        }
    }

    /// Keeps the table within `tracking-table-max-keys` after a command.
    pub(crate) fn bound_tracking(&mut self) {
        let come = core::mem::take(&mut self.tracking.readers.come);
        self.forget_some_readers(FORGOTTEN_PER_COMMAND_MAX.saturating_add(2 * come));
    }

    /// Brings the table towards `tracking-table-max-keys`, whether commands come or not.
    pub(crate) fn bound_tracking_in_time(&mut self) {
        if !self.tracking.is_empty() {
            self.forget_some_readers(FORGOTTEN_PER_CRON_MAX);
        }
    }

    /// Forgets readers that have gone, a part of the table at a time: a key that nobody changes would keep them for ever. The search goes
    /// from the back to the front, since a key that leaves is replaced by the last one, which was looked at.
    pub(crate) fn forget_gone_readers(&mut self) {
        let mut left = SWEPT_PER_CRON_MAX;
        while let Some(at) = self.tracking.sweep_at
            && left > 0
        {
            let at = at.min(self.tracking.readers.row.len());
            if at == 0 {
                let has_lost = core::mem::take(&mut self.tracking.has_lost);
                self.tracking.sweep_at = has_lost.then_some(usize::MAX);
                return;
            }
            let sessions = &self.sessions;
            let looked_at = self.tracking.readers.keep(at - 1, |id| sessions.find(id).is_some());
            left = left.saturating_sub(looked_at.max(1));
            self.tracking.sweep_at = Some(at - 1);
        }
    }

    /// Declares some keys changed, any of them, while there are too many.
    fn forget_some_readers(&mut self, keys_max: usize) {
        let max = self.config.tracking_table_max_keys;
        if max == 0 {
            return;
        }
        let over = self.tracking.readers.row.len().saturating_sub(max);
        for _ in 0..over.min(keys_max) {
            let picked = self.keyspace.random.below(self.tracking.readers.row.len() as u64) as usize;
            let key = self.tracking.readers.row[picked].0.clone();
            self.tell_readers(&key, None);
        }
    }

    /// Tells everybody who may hold a copy of `key` that it has changed.
    pub(crate) fn invalidate(&mut self, key: &[u8], by: Option<SessionId>) {
        for prefix in self.tracking.prefixes_of(key) {
            let known = self.tracking.pending.entry(prefix).or_default().insert(key.to_vec(), by);
            self.tracking.pending_keys += usize::from(known.is_none());
        }
        if self.tracking.pending_keys >= PENDING_KEYS_MAX {
            self.broadcast_changes();
        }
        self.tell_readers(key, by);
    }

    fn tell_readers(&mut self, key: &[u8], by: Option<SessionId>) {
        match self.tracking.readers.take(key) {
            None => {}
            Some(Holders::One(id)) => self.tell_reader(id, &Part::bulks(&[key]), by),
            Some(Holders::Many(all)) => {
                let keys = [key];
                let keys = Part::bulks(&keys);
                all.into_iter().for_each(|id| self.tell_reader(id, &keys, by));
            }
        }
    }

    fn tell_reader(&mut self, id: SessionId, key: &Part<'_>, by: Option<SessionId>) {
        let told = (self.sessions.find(id).and_then(|s| s.tracking.as_ref()))
            .is_some_and(|t| !(t.broadcast || t.no_loop && by == Some(id)));
        if told {
            self.push_invalidation(id, Some(key));
        }
    }

    /// Tells the clients in broadcast mode what has changed since the last time: the end of a batch.
    pub(crate) fn broadcast_changes(&mut self) {
        self.tracking.pending_keys = 0;
        for (prefix, changed) in core::mem::take(&mut self.tracking.pending) {
            let clients = self.tracking.prefixes.get(&prefix).cloned().unwrap_or_default();
            let all: Vec<&[u8]> = changed.keys().map(Vec::as_slice).collect();
            let keys = Part::bulks(&all);
            for id in clients {
                let tracking = self.sessions.find(id).and_then(|s| s.tracking.as_ref());
                let is_own = |by: &Option<SessionId>| *by == Some(id);
                if !tracking.is_some_and(|t| t.no_loop) || !changed.values().any(is_own) {
                    self.push_invalidation(id, Some(&keys));
                    continue;
                }
                let others = changed.iter().filter(|(_, by)| !is_own(by));
                let others: Vec<&[u8]> = others.map(|(key, _)| key.as_slice()).collect();
                if !others.is_empty() {
                    self.push_invalidation(id, Some(&Part::bulks(&others)));
                }
            }
        }
    }

    /// Whether keys wait to be broadcast.
    pub(crate) fn has_broadcast(&self) -> bool {
        !self.tracking.pending.is_empty()
    }

    /// Tells every client with tracking on that nothing it holds is good any more. `gone`: neither is anything left to change.
    pub(crate) fn invalidate_all(&mut self, gone: bool) {
        if gone {
            self.tracking.clear();
        }
        let clients: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.tracking.is_some()).map(|(id, _)| id).collect();
        clients.into_iter().for_each(|id| self.push_invalidation(id, None));
    }

    /// Sends keys, or null for all of them (none given).
    fn push_invalidation(&mut self, id: SessionId, keys: Option<&Part<'_>>) {
        let Some(session) = self.sessions.find(id) else { return };
        let Some(tracking) = session.tracking.as_ref() else { return };
        let own_protocol = session.protocol;
        let target = match tracking.redirect {
            None => id,
            Some(client) => match self.sessions.by_client_id(client) {
                Some(target) => target,
                None => return self.tell_redirect_broken(id, client),
            },
        };
        let Some(session) = self.sessions.find(target) else { return };
        let is_resp3 = session.protocol == Protocol::Resp3;
        if !is_resp3 && (target == id || !session.is_subscriber()) {
            return;
        }
        self.send(target, |message| {
            let mut reply = message.reply();
            if is_resp3 {
                reply.push(2);
                reply.bulk(b"invalidate");
            } else {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(b"__redis__:invalidate");
            }
            match keys {
                Some(keys) => message.part(keys),
                None => {
                    // Redis writes this null in the protocol of the client that tracks, not of the one that is told.
                    reply.set_protocol(own_protocol);
                    reply.null();
                }
            }
        });
    }

    fn tell_redirect_broken(&mut self, id: SessionId, client: u64) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        if let Some(tracking) = &mut session.tracking {
            tracking.redirect_broken = true;
        }
        if session.protocol == Protocol::Resp3 {
            let mut bytes = Vec::new();
            let mut reply = Reply::wire(&mut bytes, Protocol::Resp3);
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.integer(client as i64);
            self.deliver(id, bytes, false, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Sessions;

    fn someone() -> SessionId {
        Sessions::default().insert(Default::default(), 0, true, Default::default())
    }

    fn table(prefixes: &[&str]) -> TrackingTable {
        let mut table = TrackingTable::default();
        for prefix in prefixes {
            table.prefixes.entry(prefix.as_bytes().to_vec()).or_default().insert(someone());
        }
        table
    }

    #[test]
    fn all_prefixes_of_a_key_are_found_and_nothing_else() {
        let all = ["", "a", "ab", "abcd", "abd", "b", "abc\u{1}", "ab\u{7f}"];
        let table = table(&all);
        for key in ["", "a", "aa", "ab", "abc", "abcd", "abcde", "abc\u{1}x", "abz", "b", "c", "\u{1}"] {
            let mut expected: Vec<_> = all.iter().filter(|prefix| key.starts_with(**prefix)).collect();
            expected.sort();
            let mut found = table.prefixes_of(key.as_bytes());
            found.sort();
            assert_eq!(found, expected.iter().map(|p| p.as_bytes()).collect::<Vec<_>>(), "{key}");
        }
    }

    #[test]
    fn keys_leave_the_row_of_readers_without_holes() {
        let (mut readers, id) = (Readers::default(), someone());
        for key in [b"a", b"b", b"c", b"a"] {
            readers.add(key, id);
        }
        assert_eq!((readers.items, readers.row.len(), readers.come), (3, 3, 3));
        let mut taken = |key: &[u8]| readers.take(key).map(|all| all.len());
        assert_eq!([taken(b"a"), taken(b"a"), taken(b"c"), taken(b"b")], [Some(1), None, Some(1), Some(1)]);
        assert_eq!(readers.items, 0);
        assert!(readers.places.is_empty() && readers.row.is_empty());
    }

    #[test]
    fn readers_of_a_key_are_kept_one_by_one_or_together() {
        let mut sessions = Sessions::default();
        let [a, b] = [(); 2].map(|()| sessions.insert(Default::default(), 0, true, Default::default()));
        let mut readers = Readers::default();
        for id in [a, b, a] {
            readers.add(b"both", id);
        }
        readers.add(b"one", a);
        readers.add(b"one", a);
        assert_eq!((readers.items, readers.row.len()), (3, 2));
        assert!(matches!(readers.row[1].1, Holders::One(_)), "a single reader takes no memory of its own");
        assert_eq!((readers.keep(0, |id| id != a), readers.items), (2, 2));
        assert_eq!((readers.keep(1, |id| id != a), readers.items, readers.row.len()), (1, 1, 1));
        assert_eq!((readers.keep(0, |id| id == a), readers.items, readers.row.len()), (1, 0, 0));
    }
}
