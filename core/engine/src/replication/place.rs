//! Where in a history the data set is, as it is kept with the data: a line in the log, facts in a snapshot.
//!
//! A server that starts again goes on there: as a replica it asks its master for what follows, and as a master it lets replicas go on that
//! are as far. That is right only where the data is that of the place, so the line stands behind the records of its batch, and one that
//! anything follows counts for nothing (`persist::aof`). In front of what changes no data the place may be behind: it comes again.

use crate::engine::Engine;
use replication::Place;

/// How often the log is told of a place that moves while the data does not, microseconds.
const PERIOD_US: u64 = 10_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct NotedPlace {
    /// What the log says, if it says anything.
    last: Option<Place>,
    looked_us: u64,
    /// It is to be said with the next batch, even if there is no record.
    pub(crate) is_due: bool,
}

impl Engine {
    /// The place in a history at which the data set is, if it is known. What was executed must have been taken.
    pub fn place(&self) -> Option<Place> {
        let is_known = self.link.as_ref().is_none_or(|master| master.is_in_step());
        let point = self.master.place().filter(|_| is_known && self.log.stream().is_empty())?;
        let db = self.stream_database() as u64;
        Some(Place { point, db })
    }

    /// The database in which whoever has read the stream until now is.
    fn stream_database(&self) -> usize {
        let master = self.link.as_ref().and_then(|link| self.sessions.find(link.session()?));
        master.map_or_else(|| self.log.stream_database(), |session| session.db)
    }

    /// Feeds replicas what was executed; where this is one itself, that is for the log alone.
    pub(crate) fn feed_replicas(&mut self) {
        if self.link.is_none() && self.master.is_fed() {
            self.master.feed(&self.log.stream());
            self.carry_out();
        }
        self.log.stream_taken();
    }

    /// Tells the log of the place, behind records or where it is due.
    pub(crate) fn push_place(&mut self, has_records: bool, log: &mut Vec<u8>) {
        if !has_records && !self.noted_place.is_due {
            return;
        }
        let place = self.place();
        if let Some(place) = place.filter(|_| has_records || self.noted_place.last != place) {
            place.push(log);
        }
        (self.noted_place.last, self.noted_place.is_due) = (place, false);
    }

    /// Has the log told of the place if it has moved without records.
    pub(crate) fn tick_place(&mut self) {
        let now_us = self.keyspace.now.mono_us;
        if now_us >= self.noted_place.looked_us + PERIOD_US {
            self.noted_place.looked_us = now_us;
            self.note_place();
        }
    }

    /// Has the log told of the place with what is taken next, if it has moved.
    pub fn note_place(&mut self) {
        self.noted_place.is_due = self.log.has_file && self.place() != self.noted_place.last;
    }

    /// The data set was read from a disk, and this was its place. False: it is none that could be.
    pub fn restore_place(&mut self, place: &Place) -> bool {
        let Some(db) = self.database_of_stream(place.db) else { return false };
        let fresh = self.draw_history();
        if self.is_replica() {
            self.master.stop_leading();
        }
        self.master.restore(place.point, fresh, self.keyspace.now.mono_us);
        self.log.go_on_in(db);
        self.begin_in_step(db);
        self.record();
        true
    }

    /// The database that a stream is said to be in, if it is one of those here.
    pub(crate) fn database_of_stream(&self, db: u64) -> Option<usize> {
        usize::try_from(db).ok().filter(|db| *db < self.keyspace.database_count())
    }
}
