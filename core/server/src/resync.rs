//! A snapshot on its way to replicas: the view of one moment, sent to all that were waiting for one.
//!
//! The saver thread feeds it a part at a time, the next one when little of the last is left to send to anybody, so that networks slow the
//! snapshot and nothing else. A replica that takes nothing for `repl-timeout` is given up, the others go on. All are when a task waits that
//! cannot; they come again. What is executed meanwhile is kept for them in the engine. Replicas that must be told the length of a snapshot
//! get it from a file, which is written beside what others are sent.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{SessionId, SnapshotTakers};
use persist::rdb::SnapshotFile;

use crate::copy::{NAP, PART_BYTES, PENDING_BYTES_MAX, fill, waiting_bytes_max};
use crate::saver::SaveError;
use crate::shared::Shared;
use crate::view::View;

/// Sends a snapshot of this moment to the replicas that wait for one.
pub(crate) fn send(shared: &Shared) {
    let mut to = SnapshotTakers::default();
    let begun = View::begin(shared, |engine| {
        to = engine.begin_replica_snapshot();
        if to.live.is_empty() && to.spooled.is_empty() { Err(SaveError::Cancelled) } else { Ok(()) }
    });
    let count = to.live.len() + to.spooled.len();
    let (mut live, mut spooled) = (Takers::new(shared, &to.live), Takers::new(shared, &to.spooled));
    let sent = match begun {
        Ok(view) => {
            shared.logger.notice(&format!("A snapshot is sent to {count} replicas"));
            feed(shared, &view, &mut live, &mut spooled, &to.mark)
        }
        // Nobody waits any more, or those who do were refused.
        Err(_) if count == 0 => return shared.with_engine(|_, _| ()),
        Err(why) => Err(why),
    };
    match sent {
        Ok(()) => shared.logger.notice("The snapshot for replicas is complete"),
        Err(why) => {
            shared.logger.warning(&format!("The snapshot for replicas was given up: {why}"));
            live.give_up(|_| true);
            spooled.give_up(|_| true);
        }
    }
}

/// Sends a snapshot as it is made to those who read its mark, and then from a file to the others.
fn feed(
    shared: &Shared,
    view: &View,
    live: &mut Takers<'_>,
    spooled: &mut Takers<'_>,
    mark: &[u8],
) -> Result<(), SaveError> {
    // Told at once where in the stream the snapshot is.
    shared.with_engine(|_, _| ());
    let mut spool = Spool::create(shared, spooled);
    view.send(shared, &mut |bytes| {
        spool = spool.take().and_then(|spool| spool.write(bytes, spooled));
        if live.is_empty() && spool.is_none() {
            return Err(io::Error::other("no replica takes it"));
        }
        live.take(bytes)
    })?;
    live.take(mark)?;
    live.finish()?;
    let Some(spool) = spool else { return Ok(()) };
    let path = spool.file.finish_in_place()?;
    let sent = send_file(shared, &path, spooled);
    crate::view::discard(shared, &path);
    sent
}

fn send_file(shared: &Shared, path: &Path, takers: &mut Takers<'_>) -> Result<(), SaveError> {
    let disk = &*shared.durable.disk;
    let bytes = disk.len(path)?;
    shared.with_engine(|engine, _| {
        takers.takers.iter().for_each(|taker| engine.replica_snapshot_spooled(taker.session, bytes));
    });
    let (mut file, mut part) = (disk.read(path, 0)?, vec![0; PART_BYTES]);
    loop {
        let count = file.read(&mut part)?;
        if count == 0 {
            return Ok(takers.finish()?);
        }
        takers.take(&part[..count])?;
        if takers.is_empty() {
            return Err(io::Error::other("no replica takes it").into());
        }
    }
}

/// The file of those who must be told a snapshot's length.
struct Spool<'a> {
    file: SnapshotFile<'a>,
}

impl<'a> Spool<'a> {
    /// None where nobody needs it, or it cannot be made: those who need it are given up.
    fn create(shared: &'a Shared, takers: &mut Takers<'_>) -> Option<Spool<'a>> {
        if takers.is_empty() {
            return None;
        }
        let (disk, process) = (&*shared.durable.disk, std::process::id());
        let created = crate::beside::chance()
            .and_then(|chance| SnapshotFile::create(disk, &shared.files.place(), process, chance));
        created.map(|file| Spool { file }).map_err(|why| takers.lose(&why)).ok()
    }

    /// The same for what cannot be written.
    fn write(mut self, bytes: &[u8], takers: &mut Takers<'_>) -> Option<Spool<'a>> {
        self.file.write(bytes).map_err(|why| takers.lose(&why)).ok().map(|()| self)
    }
}

/// One who takes a snapshot.
struct Taker {
    session: SessionId,
    /// The fewest bytes that it had still to be sent since the last part, and since when.
    least: usize,
    since: Instant,
    /// It has too much left for the next part.
    is_slow: bool,
}

struct Takers<'a> {
    shared: &'a Shared,
    takers: Vec<Taker>,
    /// How long one may take nothing.
    stall_max: Duration,
    /// What is to be fed next.
    part: Vec<u8>,
}

impl<'a> Takers<'a> {
    fn new(shared: &'a Shared, replicas: &[SessionId]) -> Takers<'a> {
        let taker = |&session| Taker { session, least: usize::MAX, since: Instant::now(), is_slow: false };
        let stall_max = Duration::from_secs(shared.engine.lock().config.repl_timeout_seconds);
        Takers { shared, takers: replicas.iter().map(taker).collect(), stall_max, part: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.takers.is_empty()
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !self.is_empty() && !bytes.is_empty() {
            if fill(&mut self.part, &mut bytes) {
                self.feed()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.room()?;
        let part = std::mem::take(&mut self.part);
        // In one go: whoever has the last byte may acknowledge at once.
        self.shared.with_engine(|engine, _| {
            for taker in &self.takers {
                engine.feed_copy(taker.session, part.clone());
                engine.replica_snapshot_sent(taker.session);
            }
        });
        Ok(())
    }

    fn feed(&mut self) -> io::Result<()> {
        self.room()?;
        let part = std::mem::take(&mut self.part);
        let Some((last, others)) = self.takers.split_last() else { return Ok(()) };
        self.shared.with_engine(|engine, _| {
            others.iter().for_each(|taker| engine.feed_copy(taker.session, part.clone()));
            engine.feed_copy(last.session, part);
        });
        Ok(())
    }

    /// Waits until all have taken most of what they were fed, but for those who are given up for that.
    fn room(&mut self) -> io::Result<()> {
        for taker in &mut self.takers {
            (taker.least, taker.since) = (usize::MAX, Instant::now());
        }
        loop {
            if self.shared.saver.is_cancelled(self.shared) || self.shared.saver.has_urgent() {
                return Err(SaveError::Cancelled.into_io());
            }
            let is_crowded = self.look();
            if is_crowded {
                self.give_up(|taker| taker.is_slow);
            }
            let stall_max = self.stall_max;
            self.give_up(|taker| taker.is_slow && taker.since.elapsed() >= stall_max);
            if !self.takers.iter().any(|taker| taker.is_slow) {
                return Ok(());
            }
            std::thread::sleep(NAP);
        }
    }

    /// Looks at what is left to send to whom; those who have gone are forgotten. Whether too much waits in the engine with what it was
    /// before it changed.
    fn look(&mut self) -> bool {
        let engine = self.shared.engine.lock();
        self.takers.retain_mut(|taker| {
            let Some(pending) = engine.copy_pending(taker.session) else { return false };
            if pending < taker.least {
                (taker.least, taker.since) = (pending, Instant::now());
            }
            taker.is_slow = pending > PENDING_BYTES_MAX;
            true
        });
        engine.keyspace.snapshot_waiting_bytes() > waiting_bytes_max(&engine.config)
    }

    /// The file for them is lost.
    fn lose(&mut self, why: &io::Error) {
        self.shared.logger.warning(&format!("A snapshot for replicas cannot be spooled: {why}"));
        self.give_up(|_| true);
    }

    /// Closes those who are not to be waited for.
    fn give_up(&mut self, is_lost: impl Fn(&Taker) -> bool) {
        let lost: Vec<SessionId> = self.takers.iter().filter(|t| is_lost(t)).map(|t| t.session).collect();
        if lost.is_empty() {
            return;
        }
        self.shared.logger.warning(&format!("{} replicas are closed that took no snapshot", lost.len()));
        self.shared.with_engine(|engine, _| lost.iter().for_each(|&id| engine.give_up_replica(id)));
        self.takers.retain(|taker| !lost.contains(&taker.session));
    }
}
