//! Client-side caching: which clients have read which keys, and telling them when these change.
//!
//! A reader of a key is told at once; the client whose own command changed it is told behind the reply. Clients in broadcast mode are told
//! once a batch, with all the keys under each of their prefixes in one message. The table of readers is bounded by
//! `tracking-table-max-keys`, the keys that wait for a broadcast by a number of their own.

use crate::engine::Engine;
use crate::session::SessionId;
use commands::{Args, Flags, Spec};
use resp::{Protocol, Reply};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// Keys that wait to be broadcast; beyond it they are told in the middle of a batch.
const PENDING_KEYS_MAX: usize = 65_536;

/// Keys that clients may hold copies of.
#[derive(Debug, Default)]
pub(crate) struct TrackingTable {
    readers: HashMap<Vec<u8>, BTreeSet<SessionId>>,
    /// Pairs of key and reader.
    items: usize,
    broadcast: Vec<SessionId>,
    /// Keys to broadcast at the end of the batch, and who changed them last.
    pending: BTreeMap<Vec<u8>, Option<SessionId>>,
    clients: usize,
}

impl TrackingTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// Clients with tracking on, keys remembered.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.clients, self.readers.len())
    }

    /// Pairs of key and reader.
    pub(crate) fn item_count(&self) -> usize {
        self.items
    }

    fn add_reader(&mut self, key: &[u8], id: SessionId) {
        let new = match self.readers.get_mut(key) {
            Some(readers) => readers.insert(id),
            None => self.readers.entry(key.to_vec()).or_default().insert(id),
        };
        self.items += usize::from(new);
    }

    fn take_readers(&mut self, key: &[u8]) -> BTreeSet<SessionId> {
        let readers = self.readers.remove(key).unwrap_or_default();
        self.items -= readers.len();
        readers
    }

    fn clear(&mut self) {
        self.readers.clear();
        self.items = 0;
    }
}

impl Engine {
    /// Prefixes that clients in broadcast mode ask for, each counted once.
    pub(crate) fn tracked_prefix_count(&self) -> usize {
        let of = |id: &SessionId| self.sessions.find(*id).and_then(|s| s.tracking.as_ref());
        let prefixes: BTreeSet<&Vec<u8>> =
            self.tracking.broadcast.iter().filter_map(of).flat_map(|t| &t.prefixes).collect();
        prefixes.len()
    }

    /// Switches tracking on for a client; its options are in the session.
    pub(crate) fn start_tracking(&mut self, id: SessionId, broadcast: bool) {
        self.tracking.clients += 1;
        if broadcast {
            self.tracking.broadcast.push(id);
        }
        self.observe();
    }

    /// Switches tracking off for a client. What it has read stays in the table, as in Redis: should it track again, it
    /// is told of that too.
    pub(crate) fn stop_tracking(&mut self, id: SessionId) {
        let Some(tracking) = self.sessions.find_mut(id).and_then(|s| s.tracking.take()) else { return };
        self.forget_tracking(id, tracking.broadcast);
        self.observe();
    }

    /// Switches tracking off for a client that goes, and empties the table with the last one.
    pub(crate) fn end_tracking(&mut self, id: SessionId) {
        self.stop_tracking(id);
        if self.tracking.clients == 0 {
            self.tracking.clear();
            self.tracking.pending.clear();
        }
    }

    /// Undoes [`Engine::start_tracking`].
    pub(crate) fn forget_tracking(&mut self, id: SessionId, broadcast: bool) {
        self.tracking.clients -= 1;
        if broadcast {
            self.tracking.broadcast.retain(|b| *b != id);
        }
    }

    /// Remembers that a client has read the keys of a command.
    #[inline]
    pub(crate) fn track_reads(&mut self, id: SessionId, spec: &'static Spec, args: Args<'_>) {
        if self.tracking.is_empty() {
            return;
        }
        let Some(tracking) = &self.sessions.at(id).tracking else { return };
        let wanted = !tracking.broadcast
            && (!tracking.opt_in || tracking.caching == Some(true))
            && (!tracking.opt_out || tracking.caching != Some(false));
        if !wanted || spec.flags.has(Flags::PUBSUB) {
            return;
        }
        for (at, _) in commands::found_keys(spec, args.all()).unwrap_or_default() {
            self.tracking.add_reader(args.at(at), id);
        }
    }

    /// CLIENT CACHING holds for one request; for a whole transaction, if that is it. CLIENT itself does not use it up.
    #[cold]
    pub(crate) fn spend_caching(&mut self, id: SessionId, spec: &'static Spec) {
        let session = self.sessions.at_mut(id);
        if session.multi.is_none()
            && !spec.name.starts_with("client|")
            && let Some(tracking) = &mut session.tracking
        {
            tracking.caching = None;
        }
    }

    /// Keeps the table within `tracking-table-max-keys` by declaring keys changed.
    pub(crate) fn bound_tracking(&mut self) {
        let max = self.config.tracking_table_max_keys;
        while max > 0 && self.tracking.readers.len() > max {
            let Some(key) = self.tracking.readers.keys().next().cloned() else { return };
            self.tell_readers(&key, None);
        }
    }

    /// Tells everybody who may hold a copy of `key` that it has changed.
    pub(crate) fn invalidate(&mut self, key: &[u8], by: Option<SessionId>) {
        if !self.tracking.broadcast.is_empty() {
            self.tracking.pending.insert(key.to_vec(), by);
            if self.tracking.pending.len() >= PENDING_KEYS_MAX {
                self.broadcast_changes();
            }
        }
        self.tell_readers(key, by);
    }

    fn tell_readers(&mut self, key: &[u8], by: Option<SessionId>) {
        for id in self.tracking.take_readers(key) {
            let told = (self.sessions.find(id).and_then(|s| s.tracking.as_ref()))
                .is_some_and(|t| !(t.broadcast || t.no_loop && by == Some(id)));
            if told {
                self.push_invalidation(id, &[key]);
            }
        }
    }

    /// Tells the clients in broadcast mode what has changed since the last time: the end of a batch.
    pub(crate) fn broadcast_changes(&mut self) {
        let changed = core::mem::take(&mut self.tracking.pending);
        for id in self.tracking.broadcast.clone() {
            let Some(tracking) = self.sessions.find(id).and_then(|s| s.tracking.as_ref()) else { continue };
            let no_loop = tracking.no_loop;
            for prefix in tracking.prefixes.clone() {
                let under = changed
                    .range::<[u8], _>((Bound::Included(prefix.as_slice()), Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(&prefix))
                    .filter(|(_, by)| !(no_loop && **by == Some(id)));
                let keys: Vec<&[u8]> = under.map(|(key, _)| key.as_slice()).collect();
                if !keys.is_empty() {
                    self.push_invalidation(id, &keys);
                }
            }
        }
    }

    /// Whether keys wait to be broadcast.
    pub(crate) fn has_broadcast(&self) -> bool {
        !self.tracking.pending.is_empty()
    }

    /// Tells every client with tracking on that nothing it holds is good any more.
    pub(crate) fn invalidate_all(&mut self) {
        self.tracking.clear();
        let clients: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.tracking.is_some()).map(|(id, _)| id).collect();
        clients.into_iter().for_each(|id| self.push_invalidation(id, &[]));
    }

    /// Sends keys, or null for all of them (none given).
    fn push_invalidation(&mut self, id: SessionId, keys: &[&[u8]]) {
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
        let mut bytes = Vec::new();
        let mut reply = Reply::wire(&mut bytes, session.protocol);
        if session.protocol == Protocol::Resp3 {
            reply.push(2);
            reply.bulk(b"invalidate");
        } else if target != id && session.is_subscriber() {
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        } else {
            return;
        }
        if keys.is_empty() {
            // Redis writes this null in the protocol of the client that tracks, not of the one that is told.
            reply.set_protocol(own_protocol);
            reply.null();
        } else {
            reply.bulks(keys);
        }
        self.deliver(target, bytes, false, false);
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
