//! The end of a master: replicas that lack something are to get it before it goes.

use crate::engine::Engine;
use crate::session::SessionId;
use replication::master::{Replica, Stage};

/// The replicas of a server that is to stop.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// How many are online.
    pub online: usize,
    /// What the log says of those that have not all.
    pub lagging: Vec<String>,
}

impl Engine {
    /// Holds back what may change data ([`Engine::release_writes`] ends that), and asks the replicas for how far they are. The position
    /// that they should have; `None` where there is nobody to wait for: without replicas that are online, and on a replica, whose
    /// master has what its own replicas lack.
    pub fn hold_for_replicas(&mut self) -> Option<u64> {
        if self.is_replica() || self.online_replicas().next().is_none() {
            return None;
        }
        self.hold_writes();
        self.feed_replicas();
        let position = self.master.offset();
        // What asks for it is behind that position.
        self.master.ask();
        Some(position)
    }

    /// Which replicas have not applied the stream up to a position.
    pub fn lag_behind(&self, position: u64) -> Lag {
        let lagging = self.online_replicas().filter(|replica| replica.acked() < position);
        Lag {
            online: self.online_replicas().count(),
            lagging: lagging.map(|replica| self.told_lag(replica, position)).collect(),
        }
    }

    fn online_replicas(&self) -> impl Iterator<Item = &Replica<SessionId>> {
        self.master.replicas().iter().filter(|replica| replica.stage() == Stage::Online)
    }

    fn told_lag(&self, replica: &Replica<SessionId>, position: u64) -> String {
        let (address, port) = self.replica_place(replica);
        let (behind, lag_s) = (position - replica.acked(), replica.lag_s(self.keyspace.now.mono_us));
        format!(
            "Lagging replica {address}:{port} reported offset {behind} behind master, lag={lag_s}, state=online."
        )
    }
}
