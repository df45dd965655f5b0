//! Follows a log into a repository, an object at a time.
//!
//! What a step costs depends on what is new, and not on how long the log is or how much has been archived: where archiving goes on is told by the
//! last segment, which is remembered. After an error nothing is: the next step asks the repository, so what an interrupted one has added
//! counts, and what somebody else has added is seen.
//!
//! The files go from one to the next by the numbers of batches, first those that rewrites have replaced ([`Backlog`]), then the log's own. A
//! file that is missing or damaged among the former is a [`Step::Gap`]: the moments in it are lost to the archive, and it goes on with the base
//! that replaced it.

use std::io::Read;

use persist::aof::{BadBatch, Base, Batches, HistoryId, Place, WholeBatch};

use crate::Progress;
use crate::backlog::Backlog;
use crate::describe::{Begin, Description, Kind, Said};
use crate::error::ArchiveError;
use crate::mark::Mark;
use crate::moment::Moment;
use crate::object::ObjectWriter;
use crate::roll::{self, Roller};
use crate::seal::Recipient;
use crate::source::{OpenFile, Source};
use crate::store::Store;
use crate::tail::Tail;

/// A segment ends with the batch that brings it to this size, bytes: the most that is lost when archiving is stopped.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a base that are read at a time.
const PART_BYTES: usize = 256 << 10;

/// What came of a step.
#[derive(Debug)]
pub enum Step {
    /// A base was archived.
    Base(Description),
    /// A segment was archived.
    Segment(Description),
    /// What was kept does not lead on, and why; the next step begins with the base of the log.
    Gap(ArchiveError),
    /// There was nothing to do.
    Nothing,
}

/// How a step is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Who can read what is archived; if there are none, everybody.
    pub recipients: &'a [Recipient],
    /// A base is wanted if the log has one that is newer than those archived.
    pub wants_base: bool,
    /// Where the log ends for this step; where it ends by itself if there is none.
    pub end: Option<End<'a>>,
    /// Whoever archives does it all the time: what is missing behind this was lost to the archive.
    pub continuous: bool,
}

/// An end of a log.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The name of its last file.
    pub file: &'a str,
    /// Bytes of that.
    pub bytes: u64,
    /// They are known to be durable. Else files are made durable before they are read.
    pub is_durable: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Follower {
    place: Place,
    backlog: Backlog,
    tail: Option<Tail>,
    roller: Option<Roller>,
    /// The log that was followed last.
    log: Option<HistoryId>,
    /// Where that is kept beyond the end of the server, if it is.
    mark: Option<Mark>,
    recipients_before: Option<Vec<String>>,
}

impl Follower {
    /// Of the log at `place`; nothing is read yet.
    pub fn new(place: Place) -> Follower {
        let backlog = Backlog::of(&place);
        Follower { backlog, place, tail: None, roller: None, log: None, mark: None, recipients_before: None }
    }

    /// The same, for whoever follows this log all the time: which log it was is kept beside it, so that also after a start it is known which
    /// one another has replaced.
    pub fn remembering(place: Place) -> Follower {
        Follower { mark: Some(Mark::of(&place)), ..Follower::new(place) }
    }

    /// What of the log that was followed last is not known, and what follows from it, in words: whoever moves a directory by copying it hears
    /// nothing of it else. What cannot be read, a step tells.
    pub fn doubt(&self) -> Option<String> {
        let mark = self.mark.as_ref()?;
        let log = mark.read_copy().ok()??;
        Some(format!(
            "{} is a copy, as its directory may be (cp -a, rsync, tar). If the log here has begun anew since, or does before the repository \
             has been reached once, it does not tell that it has taken the place of the log {log}, and what is archived of that one stays \
             there whatever backup-keep says",
            mark.path().display()
        ))
    }

    /// What rewrites have replaced.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// What the repository ends with, after a step without an error.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// Whom the newest object that was found is encrypted to, nobody if it is not, where that is not whom it is done for now.
    pub fn recipients_before(&self) -> Option<&[String]> {
        self.recipients_before.as_deref()
    }

    /// Archives the next object.
    ///
    /// # Errors
    /// See [`ArchiveError`]; what has been added by then is whole, and the next step goes on behind it.
    pub fn step(
        &mut self,
        store: &dyn Store,
        terms: &Terms<'_>,
        progress: Progress<'_>,
    ) -> Result<Step, ArchiveError> {
        let (known, roller) = (self.tail.take(), self.roller.take());
        let source = Source::open(&self.place, &self.backlog, terms.end)?;
        let id = source.identity.history;
        let (mut tail, mut roller) = match known.filter(|tail| tail.id() == id) {
            Some(tail) => (tail, roller),
            None => {
                let tail = Tail::of(store, id)?;
                self.recipients_before = tail.other_recipients(terms.recipients);
                (tail, None)
            }
        };
        if let (None, Some(mark)) = (self.log, &self.mark) {
            self.log = mark.read()?;
        }
        let replaces = self.log.filter(|log| *log != id);
        let step = advance(&mut tail, store, &source, terms, replaces, progress)?;
        if let (Step::Segment(segment), Some(roller)) = (&step, &mut roller) {
            roller.take(segment);
        }
        if self.log != Some(id) {
            self.mark.as_ref().map_or(Ok(()), |mark| mark.write(id))?;
        }
        (self.tail, self.roller, self.log) = (Some(tail), roller, Some(id));
        Ok(step)
    }

    /// Makes one segment of many, where there are many: the next one that is due. `None` where none is, or nothing is known of the repository.
    ///
    /// # Errors
    /// As [`Follower::step`].
    pub fn roll(
        &mut self,
        store: &dyn Store,
        terms: &Terms<'_>,
    ) -> Result<Option<Description>, ArchiveError> {
        let Some(tail) = &self.tail else { return Ok(None) };
        let mut roller = match self.roller.take() {
            Some(roller) => roller,
            None => Roller::of(store, tail.id())?,
        };
        let said = Said { continuous: terms.continuous, ..Said::default() };
        let work = roll::Work { store, recipients: terms.recipients, said, id: tail.id() };
        let open = || Source::open(&self.place, &self.backlog, None);
        let rolled = work.roll(&mut roller, tail, open)?;
        self.roller = Some(roller);
        if let (Some(rolled), Some(tail)) = (&rolled, &mut self.tail) {
            tail.roll_into(rolled);
        }
        Ok(rolled)
    }

    /// Asks the repository for the newest object, which is one journey, and nothing where none is known yet.
    ///
    /// # Errors
    /// It is away, or the object is gone; the next step begins by asking for all that is there.
    pub fn probe(&mut self, store: &dyn Store) -> Result<(), ArchiveError> {
        let Some(name) = self.tail.as_ref().and_then(Tail::newest_name) else { return Ok(()) };
        store.age_s(&name).map(drop).map_err(|error| {
            (self.tail, self.roller) = (None, None);
            ArchiveError::Store(name, error)
        })
    }

    /// Removes files of the backlog that are archived. The one that archiving goes on in stays: what follows it is told by its end.
    ///
    /// # Errors
    /// The directory failed.
    pub fn tidy(&self) -> std::io::Result<()> {
        let Some(at) = self.tail.as_ref().and_then(Tail::log_file) else { return Ok(()) };
        self.backlog.drop_files(&self.backlog.names_before(at)?)
    }
}

fn advance(
    tail: &mut Tail,
    store: &dyn Store,
    source: &Source,
    terms: &Terms<'_>,
    replaces: Option<HistoryId>,
    progress: Progress<'_>,
) -> Result<Step, ArchiveError> {
    let start = find_start(source, tail)?;
    let (id, left) = (source.identity.history, unread(source, &start));
    let recipients = terms.recipients;
    let said = Said { replaces, continuous: terms.continuous };
    let mut work = Work { store, recipients, id, said, leans_on: None, done: 0, left, progress };
    if wants_base(source, tail, &start, terms) {
        work.left += source.base.bytes;
        let base = work.base(source)?;
        tail.take_base(&base, start.needs_base);
        return Ok(Step::Base(base));
    }
    if let Some(base) = tail.base() {
        work.leans_on = Some(base.json_name(id));
    }
    match work.next_segment(source, start) {
        Ok(None) => Ok(Step::Nothing),
        Ok(Some(segment)) => {
            tail.take_segment(&segment);
            Ok(Step::Segment(segment))
        }
        Err(Stop::Gap(error)) => {
            tail.begin_gap();
            Ok(Step::Gap(error))
        }
        Err(Stop::Error(error)) => Err(error),
    }
}

fn unread(source: &Source, start: &Start) -> u64 {
    source.incrementals[start.file..].iter().map(|file| file.bytes).sum::<u64>().saturating_sub(start.offset)
}

/// Whether the log's base comes next. If the segments since the last base are longer than a newer base, to restore takes less with it.
fn wants_base(source: &Source, tail: &Tail, start: &Start, terms: &Terms<'_>) -> bool {
    let Some(last) = tail.base() else { return true };
    if is_base(last, source) {
        return false;
    }
    let is_newer = source.identity.covers > last.last_batch();
    let outweighs = tail.since_base_bytes() > source.base.bytes;
    // Where nothing was archived behind the last one, only that tells where to go on.
    let is_found_again = tail.segment().is_some() || start.file >= source.own_from;
    start.needs_base || is_found_again && is_newer && (terms.wants_base || outweighs)
}

/// Whether the archived base is the one that the log has now.
fn is_base(base: &Description, source: &Source) -> bool {
    matches!(&base.kind, Kind::Base { covers, crc, .. }
        if *covers == source.identity.covers && *crc == format!("{:016x}", source.identity.base.crc))
}

/// Where in the log archiving goes on.
#[derive(Debug)]
struct Start {
    /// Index of the file, and offset in it.
    file: usize,
    offset: u64,
    /// The batch before.
    last: u64,
    /// The closing line of that, if it was seen.
    line: Option<String>,
    /// What is archived does not lead here.
    needs_base: bool,
}

fn find_start(source: &Source, tail: &Tail) -> Result<Start, ArchiveError> {
    let covers = source.identity.covers;
    let anew = Start { file: source.own_from, offset: 0, last: covers, line: None, needs_base: true };
    let Some(last) = tail.last_batch() else { return Ok(anew) };
    let segment = tail.segment();
    if let Some(start) = segment.map(|segment| resume(source, segment)).transpose()?.flatten() {
        return Ok(start);
    }
    if covers > last && segment.is_none() && !tail.is_behind_gap() {
        return Ok(behind_base(source, last)?.unwrap_or(anew));
    }
    // The line of a batch that is in the base cannot be seen any more, so nothing tells whether it is the same.
    if covers >= last { Ok(anew) } else { seek(source, last, segment) }
}

/// Right behind a base that nothing was archived behind, in what rewrites have replaced since. `None` where that does not lead on from there.
fn behind_base(source: &Source, last: u64) -> Result<Option<Start>, ArchiveError> {
    for (at, file) in source.incrementals[..source.own_from].iter().enumerate() {
        let mut batches = Batches::new(file.read_from(0)?, 0, source.identity.history, None);
        let mut start = Start { file: at, offset: 0, last, line: None, needs_base: false };
        while let Ok(Some(batch)) = batches.next() {
            if batch.line.seq > last {
                return Ok((batch.line.seq == last + 1).then_some(start));
            }
            (start.offset, start.line) = (batch.end, Some(batch.closing_line()));
        }
    }
    Ok(None)
}

/// Right behind the last segment, where its file is still there and ends its batch as it did.
fn resume(source: &Source, segment: &Description) -> Result<Option<Start>, ArchiveError> {
    let Kind::Segment { last_batch, last_line, log_file, log_end, .. } = &segment.kind else {
        return Ok(None);
    };
    let Some(at) = source.incrementals.iter().position(|file| file.name == *log_file) else {
        return Ok(None);
    };
    let file = &source.incrementals[at];
    if *log_end > file.bytes || !file.has_line_before(last_line, *log_end)? {
        return Ok(None);
    }
    let (last, line) = (*last_batch, Some(last_line.clone()));
    Ok(Some(Start { file: at, offset: *log_end, last, line, needs_base: false }))
}

/// Reads the log up to the last batch that is archived.
fn seek(source: &Source, last: u64, segment: Option<&Description>) -> Result<Start, ArchiveError> {
    let (history, mut log) = (source.identity.history, source.identity.covers);
    for (at, file) in source.incrementals.iter().enumerate().skip(source.own_from) {
        let mut batches = Batches::new(file.read_from(0)?, 0, history, Some(log));
        while let Some(batch) = batches.next().map_err(|bad| file.bad(bad))? {
            log = batch.line.seq;
            if log == last {
                let line = batch.closing_line();
                return match segment.map(|segment| &segment.kind) {
                    Some(Kind::Segment { last_line, .. }) if *last_line != line => {
                        Err(ArchiveError::Forked(last))
                    }
                    _ => Ok(Start { file: at, offset: batch.end, last, line: Some(line), needs_base: false }),
                };
            }
        }
    }
    Err(ArchiveError::Behind { log, archived: last })
}

/// Why there is no next segment.
enum Stop {
    /// The files do not lead on; the log's base does.
    Gap(ArchiveError),
    Error(ArchiveError),
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Stop {
        Stop::Error(error)
    }
}

/// What is needed to add an object.
struct Work<'a> {
    store: &'a dyn Store,
    recipients: &'a [Recipient],
    id: HistoryId,
    /// Of a segment never that it has taken the place of another log.
    said: Said,
    /// What a segment is worth nothing without.
    leans_on: Option<String>,
    done: u64,
    /// Bytes to be read in this step and those to come.
    left: u64,
    progress: Progress<'a>,
}

impl<'a> Work<'a> {
    fn hear(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.left.max(self.done));
    }

    fn begin(&self, begin: Begin) -> Result<ObjectWriter<'a>, ArchiveError> {
        ObjectWriter::begin(self.store, self.id, begin, self.recipients).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> ArchiveError {
        ArchiveError::Store(self.id.to_string(), error)
    }

    fn base(&mut self, source: &Source) -> Result<Description, ArchiveError> {
        let file = &source.base;
        let mut reader = file.read_from(0)?;
        let (covers, commands) = (source.identity.covers, source.form == Base::Commands);
        let (mut writer, mut part) = (self.begin(Begin::Base { covers, commands })?, vec![0; PART_BYTES]);
        loop {
            let count = reader.read(&mut part).map_err(|error| file.failed(error))?;
            if count == 0 {
                break;
            }
            writer.write(&part[..count]).map_err(|error| self.failed(error))?;
            self.hear(count as u64);
        }
        if writer.plain_bytes() != file.bytes {
            return Err(file.failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let kind = Kind::Base {
            covers,
            at: Moment(file.changed_ms),
            commands,
            crc: format!("{:016x}", source.identity.base.crc),
        };
        writer.finish(self.store, kind, self.said)
    }

    fn next_segment(&mut self, source: &Source, start: Start) -> Result<Option<Description>, Stop> {
        let Start { file: first, mut offset, last, line, .. } = start;
        for (at, file) in source.incrementals.iter().enumerate().skip(first) {
            file.make_durable()?;
            let is_kept = at < source.own_from;
            let mut batches = Batches::new(file.read_from(offset)?, offset, self.id, Some(last));
            let begun = match batches.next() {
                // The one before it is missing.
                Err(bad @ BadBatch::Order { expected, found }) if offset == 0 && found > expected => {
                    return Err(Stop::Gap(file.bad(bad)));
                }
                Err(bad) if is_kept => return Err(Stop::Gap(file.bad(bad))),
                begun => begun.map_err(|bad| file.bad(bad))?,
            };
            if let Some(first) = begun {
                return match self.segment(first, &mut batches, file, line) {
                    Err(error @ ArchiveError::BadLog(..)) if is_kept => Err(Stop::Gap(error)),
                    segment => Ok(Some(segment?)),
                };
            }
            let is_followed = source.incrementals[at + 1..].iter().any(|file| file.bytes > 0);
            if is_followed && batches.unclosed_bytes() > 0 {
                let error = ArchiveError::Unnumbered(file.path.clone());
                return Err(if is_kept { Stop::Gap(error) } else { Stop::Error(error) });
            }
            offset = 0;
        }
        Ok(None)
    }

    /// Somebody may have emptied the repository since it was read.
    fn look_at_base(&self) -> Result<(), ArchiveError> {
        let Some(name) = &self.leans_on else { return Ok(()) };
        let seen = self.store.age_s(name).map(drop);
        seen.map_err(|error| ArchiveError::Store(name.clone(), error))
    }

    /// A segment of the next batches of a file, of which `last` is the first.
    fn segment<R: Read>(
        &mut self,
        mut last: WholeBatch,
        batches: &mut Batches<R>,
        file: &OpenFile,
        follows: Option<String>,
    ) -> Result<Description, ArchiveError> {
        self.look_at_base()?;
        let (first_batch, from) = (last.line.seq, Moment(last.line.unix_ms));
        let mut writer = self.begin(Begin::Segment { first_batch })?;
        loop {
            writer.write(&last.bytes).map_err(|error| self.failed(error))?;
            self.hear(last.bytes.len() as u64);
            if writer.plain_bytes() >= SEGMENT_BYTES_MAX {
                break;
            }
            let Some(batch) = batches.next().map_err(|bad| file.bad(bad))? else { break };
            last = batch;
        }
        let kind = Kind::Segment {
            first_batch,
            last_batch: last.line.seq,
            from,
            to: Moment(last.line.unix_ms),
            follows,
            last_line: last.closing_line(),
            log_file: file.name.clone(),
            log_end: last.end,
            rolled: 0,
        };
        writer.finish(self.store, kind, Said { replaces: None, ..self.said })
    }
}
