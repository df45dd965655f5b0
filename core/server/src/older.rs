//! What a replica lacks and the backlog has no more, from the log's files.
//!
//! A thread for each such replica reads the files as they are when it begins: once to know whether all of it is there, and once to send it,
//! a part at a time, the next one when little of the last is left to send. So a replica that was away for long, or whose master was started
//! again, goes on where it was for as long as the log has not been rewritten. What is executed meanwhile is kept for it in the engine.
//! No lock is held while a file is read; files that a rewrite removes meanwhile are open.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use engine::SessionId;
use persist::aof::{BadRecord, Record, Scanner};
use replication::stretch::{Part, Search, Stretch};

use crate::copy::{NAP, PART_BYTES, PENDING_BYTES_MAX, fill};
use crate::shared::Shared;

/// How long what was executed until now may take to be written to the log.
const WRITTEN_WAIT: Duration = Duration::from_secs(10);

/// Files of a log that are read; one that failed rewrites have cut into more is not.
const FILES_MAX: usize = 256;

/// A file, open, and how long it is.
type LogFile = (Box<dyn Read + Send>, u64);

/// Looks for what a replica lacks, and sends it, or says that it is not there.
pub(crate) fn start(shared: &'static Shared, session: SessionId, wanted: Search) {
    let work = move || {
        serve(shared, session, wanted);
        crate::allocator::publish();
    };
    if let Err(error) = thread::Builder::new().name("older".to_owned()).spawn(work) {
        shared.logger.warning(&format!("The log cannot be read for a replica: {error}"));
        shared.with_engine(|engine, _| engine.replica_searched(session, false));
    }
}

fn serve(shared: &Shared, session: SessionId, mut wanted: Search) {
    let found = find(shared, session, &mut wanted);
    if let Err(why) = &found {
        shared.logger.warning(&format!("The log cannot be read for a replica: {why}"));
    }
    let found = found.ok().flatten();
    shared.with_engine(|engine, _| engine.replica_searched(session, found.is_some()));
    let Some((number, files)) = found else { return };
    shared.logger.notice("A replica is sent from the log what the backlog has no more");
    let mut reader = Reader { shared, session, wanted, number, part: Vec::new(), is_gone: false };
    match read(files, |part, number| reader.take(part, number)).and_then(|_| reader.finish()) {
        Ok(()) => {}
        Err(why) => {
            shared.logger.warning(&format!("A replica could not be sent what it lacks: {why}"));
            shared.with_engine(|engine, _| engine.give_up_replica(session));
        }
    }
}

/// Whether the log has it: in which stretch, and the files that are to be read for it.
fn find(shared: &Shared, session: SessionId, wanted: &mut Search) -> io::Result<Option<(u64, Vec<LogFile>)>> {
    wait_until_written(shared)?;
    let Some(paths) = paths(shared) else { return Ok(None) };
    let all = || paths.iter().map(|path| open(shared, path)).collect::<io::Result<Vec<LogFile>>>();
    let (first, second) = (all()?, all()?);
    let (mut looked, mut is_there) = (0, true);
    let last = read(first, |part, number| {
        wanted.look(&part, number);
        looked += part.bytes.len();
        if looked > PART_BYTES {
            looked = 0;
            is_there = shared.engine.lock().copy_pending(session).is_some();
        }
        Ok(is_there)
    })?;
    Ok(wanted.found(last).filter(|_| is_there).map(|number| (number, second)))
}

fn wait_until_written(shared: &Shared) -> io::Result<()> {
    let (end, until) = (shared.durable.journal().end(), Instant::now() + WRITTEN_WAIT);
    while shared.durable.journal().written() < end {
        if Instant::now() >= until || shared.life.has_ended() {
            return Err(io::Error::other("it is not written in time"));
        }
        thread::sleep(NAP);
    }
    Ok(())
}

/// The incremental files of the log, the oldest first; none where there is no log, or it has too many.
fn paths(shared: &Shared) -> Option<Vec<PathBuf>> {
    let log = shared.durable.log();
    let log = log.as_ref()?;
    let (dir, files) = (log.place().log_dir(), &log.manifest().incrementals);
    (files.len() <= FILES_MAX).then(|| files.iter().map(|file| dir.join(&file.name)).collect())
}

fn open(shared: &Shared, path: &Path) -> io::Result<LogFile> {
    let disk = &*shared.durable.disk;
    let bytes = disk.len(path)?;
    Ok((disk.read(path, 0)?, bytes))
}

/// Reads files until `take` wants no more, which gets each part of the stream and the number of its stretch. The stretch that was read
/// last.
fn read(files: Vec<LogFile>, mut take: impl FnMut(Part, u64) -> io::Result<bool>) -> io::Result<u64> {
    let mut stretch = Stretch::default();
    for (file, bytes) in files {
        let mut scanner = Scanner::new(file.take(bytes), 0).until(bytes);
        loop {
            let part = match scanner.next() {
                Ok(Some(Record::Command(args))) => {
                    let argv: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    stretch.record(|into| resp::push_command(into, &argv));
                    None
                }
                Ok(Some(Record::Comment(line))) => stretch.line(&line),
                Ok(Some(_)) => None,
                // What is being written is behind all that is looked for.
                Ok(None) | Err(BadRecord::Torn) => break,
                Err(BadRecord::Io(error)) => return Err(error),
                Err(bad) => return Err(io::Error::other(format!("{bad:?}"))),
            };
            if let Some(part) = part
                && !take(part, stretch.number())?
            {
                return Ok(stretch.number());
            }
        }
        stretch.file_ends();
    }
    Ok(stretch.number())
}

/// Sends a replica what was found.
struct Reader<'a> {
    shared: &'a Shared,
    session: SessionId,
    wanted: Search,
    /// The stretch that has it.
    number: u64,
    /// What is to be fed next.
    part: Vec<u8>,
    is_gone: bool,
}

impl Reader<'_> {
    /// Takes the next part of the log. Whether more is wanted.
    fn take(&mut self, part: Part, number: u64) -> io::Result<bool> {
        if number != self.number {
            return Ok(true);
        }
        let mut left = self.wanted.cut(&part);
        while !left.is_empty() {
            if fill(&mut self.part, &mut left) {
                self.room()?;
                let bytes = std::mem::take(&mut self.part);
                self.shared.with_engine(|engine, _| engine.feed_copy(self.session, bytes));
            }
        }
        Ok(!self.is_gone && !self.wanted.ends_with(&part))
    }

    /// Sends the rest, and what was executed since.
    fn finish(&mut self) -> io::Result<()> {
        self.room()?;
        let bytes = std::mem::take(&mut self.part);
        self.shared.with_engine(|engine, _| {
            engine.feed_copy(self.session, bytes);
            engine.replica_fetched(self.session);
        });
        Ok(())
    }

    /// Waits until most of what it was fed has been taken.
    fn room(&mut self) -> io::Result<()> {
        let stall_max = Duration::from_secs(self.shared.engine.lock().config.repl_timeout_seconds);
        let (mut least, mut since) = (usize::MAX, Instant::now());
        while !self.is_gone {
            let pending = self.shared.engine.lock().copy_pending(self.session);
            let Some(pending) = pending.filter(|_| !self.shared.life.has_ended()) else {
                self.is_gone = true;
                return Ok(());
            };
            if pending <= PENDING_BYTES_MAX {
                return Ok(());
            }
            if pending < least {
                (least, since) = (pending, Instant::now());
            }
            if since.elapsed() >= stall_max {
                return Err(io::Error::other("it takes nothing"));
            }
            thread::sleep(NAP);
        }
        Ok(())
    }
}
