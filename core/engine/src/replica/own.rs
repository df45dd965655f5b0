//! What clients write on a replica that lets them (`replica-read-only no`) and give a time: the master does not know of it, so it is the
//! replica that lets it go.
//!
//! Known are keys, by the time that they had when a client wrote them; what has become of them is looked at when that is over. So a key
//! that the master has written since goes by its own time, too, as in Redis. They are bounded: beyond that a key stays, unseen, until the
//! master removes it or this server is a master.

use crate::engine::Engine;
use crate::session::SessionId;
use std::collections::BTreeSet;

/// Keys that are known.
const KEYS_MAX: usize = 1 << 16;

/// Longest key that is known, bytes.
const KEY_BYTES_MAX: usize = 1 << 10;

/// Keys that are looked at in one go.
const LOOKS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OwnExpiries(BTreeSet<(i64, usize, Box<[u8]>)>);

impl OwnExpiries {
    fn note(&mut self, at_ms: i64, db: usize, key: &[u8]) {
        if self.0.len() < KEYS_MAX && key.len() <= KEY_BYTES_MAX {
            self.0.insert((at_ms, db, key.into()));
        }
    }

    /// The first of which the time is over.
    fn next_due(&mut self, now_ms: i64) -> Option<(usize, Box<[u8]>)> {
        let (_, db, key) = self.0.first().filter(|(at_ms, ..)| *at_ms <= now_ms).cloned()?;
        self.0.pop_first();
        Some((db, key))
    }
}

impl Engine {
    /// Whether clients may write on this replica, so that it has to know what they touch.
    pub(crate) fn keeps_own_expiries(&self) -> bool {
        self.link.is_some() && !self.config.replica_read_only
    }

    /// A command of this client has touched keys here; those that a client of a replica has given a time are remembered.
    pub(crate) fn note_own_expiries(&mut self, id: SessionId) {
        if !self.keeps_own_expiries() || self.is_master(id) {
            return;
        }
        let Some(link) = &mut self.link else { return };
        for (touch, key) in self.keyspace.effects.touches() {
            if let Some(at_ms) = self.keyspace.expiry_of(touch.db as usize, key) {
                link.own.note(at_ms, touch.db as usize, key);
            }
        }
    }

    /// The data set is another one, which holds nothing of that.
    pub(crate) fn forget_own_expiries(&mut self) {
        if let Some(link) = &mut self.link {
            link.own = OwnExpiries::default();
        }
    }

    /// Lets go what clients have written here, of which the time is over.
    pub(crate) fn expire_own(&mut self) {
        let now_ms = self.keyspace.now.unix_ms;
        for _ in 0..LOOKS_MAX {
            let Some(link) = self.link.as_mut().filter(|_| !self.pause.stands_still()) else { return };
            let Some((db, key)) = link.own.next_due(now_ms) else { break };
            if let Some(at_ms) = self.keyspace.expire_key(db, &key) {
                link.own.note(at_ms, db, &key);
            }
        }
        if self.keyspace.effects.has_touches() {
            self.settle_background();
        }
    }
}
