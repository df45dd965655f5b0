//! The memory of all clients together, and who goes when it is too much (`maxmemory-clients`).
//!
//! Each client is counted with what it took when it was last looked at; the server tells the sizes of buffers after each batch of a
//! client's requests as long as there is a limit. Who takes the most goes first; CLIENT NO-EVICT protects. What it
//! took is there until its thread has closed it, so others' requests wait for that when it is much. Those who have not logged in are not
//! counted: the server bounds what they hold, and no user goes for it. Nor do they keep a user from coming in when all places are taken.

use crate::engine::Engine;
use crate::outside::{Delivery, Outside};
use crate::session::{Session, SessionId};
use commands::Args;
use std::collections::HashMap;

/// Bytes of the least limit.
const CLIENTS_LIMIT_MIN: usize = 128 << 10;

/// The part of the limit that may be held by clients on their way out before others wait for them.
const LEAVING_PART: usize = 4;

impl Engine {
    /// Counts a client anew.
    pub(crate) fn recount(&mut self, id: SessionId) {
        let is_let_in = self.is_let_in(self.sessions.at(id));
        let session = self.sessions.at_mut(id);
        let bytes = if is_let_in { session.memory_bytes() } else { 0 };
        self.clients_bytes = self.clients_bytes - session.counted_bytes + bytes;
        session.counted_bytes = bytes;
    }

    /// Counts all clients anew: while there was no limit, nobody told what they take.
    pub(crate) fn recount_all(&mut self, running: SessionId, args: Args<'_>, outside: &dyn Outside) {
        self.look_at_buffers(running, args, outside);
        let all: Vec<SessionId> = self.sessions.iter().filter(|(_, s)| !s.kill).map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.recount(id));
    }

    /// Whether the memory of clients has a limit, so that the server must tell their buffers at once.
    #[inline]
    pub fn limits_clients(&self) -> bool {
        self.config.maxmemory_clients > 0
    }

    /// Whether those that were closed for what they hold have not given it back yet, and it is much: the other clients' requests had
    /// better wait for the threads that have them.
    #[inline]
    pub fn waits_for_evicted(&self) -> bool {
        self.limits_clients() && self.leaving_bytes > self.clients_limit() / LEAVING_PART
    }

    /// What all clients may hold where that has a limit, bytes. A limit below what a few ordinary clients take would close each that comes.
    fn clients_limit(&self) -> usize {
        (self.config.maxmemory_clients as usize).max(CLIENTS_LIMIT_MIN)
    }

    /// Whether this client is to be closed: none of its requests may run.
    pub fn is_ended(&self, id: SessionId) -> bool {
        self.sessions.find(id).is_none_or(|s| s.kill)
    }

    /// Closes some of those who have not logged in, so that a newcomer, who may be a user, finds a place. They are of the machine
    /// that has the most of them: first those who ask for nothing, the oldest first. False: there are none.
    #[cold]
    pub(crate) fn displace_strangers(&mut self) -> bool {
        /// The part of a machine's strangers that goes at once, so that a crowd that comes on and on is not counted for each of it.
        const PART: usize = 16;
        let strangers = || self.sessions.iter().filter(|(_, s)| !self.is_let_in(s));
        let mut counts: HashMap<u64, usize> = HashMap::new();
        strangers().for_each(|(_, s)| *counts.entry(s.info.source).or_default() += 1);
        let Some((source, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return false };
        let mut theirs: Vec<_> = strangers()
            .filter(|(_, s)| s.info.source == source)
            .map(|(id, s)| (s.is_asking, s.created_us, s.id, id))
            .collect();
        theirs.sort_unstable();
        for (.., id) in theirs.into_iter().take(count.div_ceil(PART)) {
            let info = &self.sessions.at(id).info;
            let (thread, token) = (info.thread, info.token);
            self.deliveries.push(Delivery { thread, token, drop: true, ..Delivery::default() });
            self.disconnect(id);
        }
        true
    }

    /// Closes the largest clients until all together are below the limit; not beside a script, whose client may be one of them.
    #[inline]
    pub fn evict_clients(&mut self) {
        if self.limits_clients() && self.clients_bytes > self.clients_limit() && self.busy.is_none() {
            self.evict_clients_to(self.clients_limit());
        }
    }

    #[cold]
    fn evict_clients_to(&mut self, limit: usize) {
        let may_go =
            |s: &Session| !s.no_evict && !s.is_replica && !s.kill && self.is_let_in(s) && !s.is_internal();
        let mut largest: Vec<(usize, SessionId)> =
            self.sessions.iter().filter(|(_, s)| may_go(s)).map(|(id, s)| (s.counted_bytes, id)).collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, id) in largest {
            if self.clients_bytes <= limit {
                break;
            }
            self.counters.evicted_clients += 1;
            let line = crate::client::client_line(self, self.sessions.at(id));
            let line = String::from_utf8_lossy(&line).into_owned();
            let text =
                format!("Evicting client, all together are over maxmemory-clients ({limit} bytes): {line}");
            self.jobs.push(crate::outside::Job::Log { level: 2, text });
            self.clients_bytes -= bytes;
            self.leaving_bytes += bytes;
            let session = self.sessions.at_mut(id);
            (session.counted_bytes, session.leaving_bytes) = (0, session.leaving_bytes + bytes);
            self.close_client(id);
        }
    }
}
