//! Client-side caching: which clients have read which keys, and telling them when these change.

use crate::engine::Engine;
use crate::session::SessionId;
use commands::{Args, Spec};
use resp::{Protocol, Reply};
use std::collections::{BTreeSet, HashMap};

/// Keys that clients may hold copies of.
#[derive(Debug, Default)]
pub(crate) struct TrackingTable {
    readers: HashMap<Vec<u8>, BTreeSet<SessionId>>,
    broadcast: Vec<SessionId>,
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
}

impl Engine {
    /// Switches tracking on for a client; its options are in the session.
    pub(crate) fn start_tracking(&mut self, id: SessionId, broadcast: bool) {
        self.tracking.clients += 1;
        if broadcast {
            self.tracking.broadcast.push(id);
        }
        self.observe();
    }

    /// Switches tracking off for a client.
    pub(crate) fn stop_tracking(&mut self, id: SessionId) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        if session.tracking.take().is_none() {
            return;
        }
        self.tracking.clients -= 1;
        self.tracking.broadcast.retain(|b| *b != id);
        if self.tracking.clients == 0 {
            self.tracking.readers.clear();
        }
        self.observe();
    }

    /// Remembers that a client has read the keys of a command.
    #[inline]
    pub(crate) fn track_reads(&mut self, id: SessionId, spec: &'static Spec, args: Args<'_>) {
        if self.tracking.is_empty() {
            return;
        }
        let Some(tracking) = &mut self.sessions.at_mut(id).tracking else { return };
        let caching = tracking.caching.take();
        let wanted = !tracking.broadcast
            && (!tracking.opt_in || caching == Some(true))
            && (!tracking.opt_out || caching != Some(false));
        if !wanted {
            return;
        }
        for (at, _) in commands::found_keys(spec, args.all()).unwrap_or_default() {
            self.tracking.readers.entry(args.at(at).to_vec()).or_default().insert(id);
        }
        self.bound_tracking();
    }

    /// Keeps the table within `tracking-table-max-keys` by declaring some key changed.
    fn bound_tracking(&mut self) {
        let max = self.config.tracking_table_max_keys;
        while max > 0 && self.tracking.readers.len() > max {
            let Some(key) = self.tracking.readers.keys().next().cloned() else { return };
            self.invalidate(&key, None);
        }
    }

    /// Tells everybody who may hold a copy of `key` that it has changed.
    pub(crate) fn invalidate(&mut self, key: &[u8], by: Option<SessionId>) {
        let readers = self.tracking.readers.remove(key).unwrap_or_default();
        for id in readers {
            self.send_invalidation(id, key, by);
        }
        for id in self.tracking.broadcast.clone() {
            let matches = (self.sessions.find(id).and_then(|s| s.tracking.as_ref()))
                .is_some_and(|t| t.prefixes.is_empty() || t.prefixes.iter().any(|p| key.starts_with(p)));
            if matches {
                self.send_invalidation(id, key, by);
            }
        }
    }

    /// Tells every client with tracking on that nothing it holds is good any more.
    pub(crate) fn invalidate_all(&mut self) {
        self.tracking.readers.clear();
        let clients: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.tracking.is_some()).map(|(id, _)| id).collect();
        clients.into_iter().for_each(|id| self.push_invalidation(id, None, None));
    }

    fn send_invalidation(&mut self, id: SessionId, key: &[u8], by: Option<SessionId>) {
        self.push_invalidation(id, Some(key), by);
    }

    /// Sends one key, or null for all.
    fn push_invalidation(&mut self, id: SessionId, key: Option<&[u8]>, by: Option<SessionId>) {
        let Some(tracking) = self.sessions.find(id).and_then(|s| s.tracking.as_ref()) else { return };
        if tracking.no_loop && by == Some(id) {
            return;
        }
        let target = match tracking.redirect {
            None => id,
            Some(client) => match self.sessions.by_client_id(client) {
                Some(target) => target,
                None => return self.tell_redirect_broken(id),
            },
        };
        let Some(session) = self.sessions.find(target) else { return };
        let mut bytes = Vec::new();
        let mut reply = Reply::wire(&mut bytes, session.protocol);
        if session.protocol == Protocol::Resp3 {
            reply.push(2);
            reply.bulk(b"invalidate");
        } else if session.is_subscriber() {
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        } else {
            return;
        }
        match key {
            Some(key) => reply.bulks(&[key]),
            None => reply.null_array(),
        }
        self.deliver(target, bytes, false, false);
    }

    fn tell_redirect_broken(&mut self, id: SessionId) {
        let Some(session) = self.sessions.find(id) else { return };
        let client = session.tracking.as_ref().and_then(|t| t.redirect).unwrap_or_default();
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
