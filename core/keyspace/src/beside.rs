//! A data set that is filled beside the one that serves, and takes its place in one step.

use crate::follow::Search;
use crate::space::Keyspace;

impl Keyspace {
    /// An empty keyspace that is to be filled and to take this one's place: with as many databases, hashed and packed alike. It leaves
    /// expired keys alone and follows no queues.
    pub fn beside(&self) -> Keyspace {
        let mut beside = Keyspace::new(self.database_count(), self.seed());
        beside.set_queues_max(0);
        beside.limits = self.limits.clone();
        beside.set_ranking(self.ranking);
        beside.set_now(self.now);
        beside.keep_expired = true;
        beside
    }

    /// Exchanges all data with a keyspace that was made [`Keyspace::beside`] this one; the effects tell that every key may be another
    /// one. False, and nothing is done, while a snapshot runs.
    #[must_use]
    pub fn exchange(&mut self, other: &mut Keyspace) -> bool {
        if self.snapshot.is_some() || other.snapshot.is_some() {
            return false;
        }
        let keys = self.key_count() + other.key_count();
        core::mem::swap(&mut self.dbs, &mut other.dbs);
        core::mem::swap(&mut self.expiring_end, &mut other.expiring_end);
        // Entries carry it, so it goes with them.
        core::mem::swap(&mut self.epoch, &mut other.epoch);
        self.effects.dirty += keys as u64;
        (self.effects.emptied, self.effects.exchanged) = (true, true);
        for db in 0..self.dbs.len() {
            self.effects.touch_database(db);
            self.queues.flushed(db);
        }
        self.queue_search = self.queues.is_on().then(Search::default);
        true
    }
}
