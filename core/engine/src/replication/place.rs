//! Where in a history the data set is, as it is kept with the data: a line in the log, facts in a snapshot.
//!
//! A server that starts again goes on there: as a replica it asks its master for what follows, and as a master it lets replicas go on that
//! are as far. That is right only where the data is that of the place, so the line stands behind the records of its batch, and one that
//! anything follows counts for nothing (`persist::aof`). In front of what changes no data the place may be behind: it comes again.

use crate::engine::Engine;
use replication::{Place, stretch};

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
    stretch: NotedStretch,
}

/// What the log says of its records as the stream; see [`replication::stretch`].
#[derive(Debug, Default)]
struct NotedStretch {
    /// Up to where in the stream the records are it; none where they are not.
    end: Option<u64>,
    /// Whether they were when the server was stopped is not known.
    is_unknown: bool,
    /// The position of the stream in front of what replicas were fed since the log was taken last.
    from: u64,
    /// How often that was.
    feeds: u32,
    /// Among the records since is what only replicas are told.
    has_asides: bool,
    /// There are records since that replicas were not fed.
    has_others: bool,
}

impl NotedStretch {
    /// Replicas are fed what there is, from this position of the stream on.
    fn feed(&mut self, from: u64, has_asides: bool) {
        if self.feeds == 0 {
            self.from = from;
        }
        self.feeds += 1;
        self.has_asides |= has_asides;
    }
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
        let stretch = &mut self.noted_place.stretch;
        if self.link.is_none() && self.master.is_fed() {
            if !self.log.is_empty() || self.master.has_due() {
                stretch.feed(self.master.offset(), self.log.has_asides());
            }
            if self.awaits_tail() && self.log.stream_len() > 0 {
                self.await_no_tail();
            }
            self.master.feed(&self.log.stream());
            self.carry_out();
        } else {
            stretch.has_others |= self.log.has_records();
        }
        self.log.stream_taken();
    }

    /// Tells the log, in front of the records that begin at `at`, whether they are the stream, where that is not so as before.
    pub(crate) fn push_stretch(&mut self, at: usize, log: &mut Vec<u8>) {
        let stretch = core::mem::take(&mut self.noted_place.stretch);
        let (end, is_unknown) = (stretch.end, stretch.is_unknown);
        self.noted_place.stretch = NotedStretch { end, is_unknown, ..NotedStretch::default() };
        if log.len() == at {
            return;
        }
        let (is_stream, is_loose) = (!stretch.has_others, stretch.has_asides || stretch.feeds > 1);
        let end = is_stream.then(|| self.master.offset());
        self.noted_place.stretch = NotedStretch { end, ..NotedStretch::default() };
        let mut line = Vec::new();
        match is_stream {
            true if stretch.end == Some(stretch.from) && !is_loose => return,
            true => stretch::push_from(stretch.from, is_loose, &mut line),
            false if stretch.end.is_some() || is_unknown => stretch::push_end(&mut line),
            false => return,
        }
        drop(log.splice(at..at, line));
    }

    /// The log goes on behind records of which it may say that they are the stream for replicas. What follows is not, unless it says so.
    pub fn log_goes_on(&mut self) {
        self.noted_place.stretch.is_unknown = true;
    }

    /// The log goes on in another file, which tells anew whether its records are the stream.
    pub(crate) fn end_stretch(&mut self) {
        (self.noted_place.stretch.end, self.noted_place.stretch.is_unknown) = (None, false);
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
