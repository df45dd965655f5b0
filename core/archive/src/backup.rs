//! Brings a repository up to what a log holds now. See the crate's page for what is taken and what is refused.

use std::io::Read;

use persist::aof::{Base, Batches, HistoryId, Place, WholeBatch};

use crate::Progress;
use crate::describe::{Begin, Description, Kind};
use crate::error::ArchiveError;
use crate::lineage::Lineage;
use crate::moment::Moment;
use crate::object::ObjectWriter;
use crate::seal::Recipient;
use crate::source::{OpenFile, Source};
use crate::store::Store;

/// A segment ends with the batch that brings it to this size, bytes: the most that is lost when archiving is stopped.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a base that are read at a time.
const PART_BYTES: usize = 256 << 10;

/// What was added to a repository.
#[derive(Debug)]
pub struct BackedUp {
    /// The log.
    pub lineage: HistoryId,
    /// The base, if one was needed.
    pub base: Option<Description>,
    /// The segments, the oldest first.
    pub segments: Vec<Description>,
    /// The last batch in the repository.
    pub last_batch: u64,
    /// When that was written, as far as it is known.
    pub last_moment: Option<Moment>,
    /// Whom the newest object before these is encrypted to, nobody if it is not, where that is not whom these are encrypted to.
    pub recipients_before: Option<Vec<String>>,
}

impl BackedUp {
    /// Bytes that were added to the repository.
    pub fn bytes(&self) -> u64 {
        self.base.iter().chain(&self.segments).map(|told| told.bytes).sum()
    }

    /// Bytes that were read from the log.
    pub fn plain_bytes(&self) -> u64 {
        self.base.iter().chain(&self.segments).map(|told| told.plain_bytes).sum()
    }
}

/// Archives what the repository does not have of a log. `recipients`: who can read it; if there are none, everybody.
///
/// # Errors
/// See [`ArchiveError`]; what has been added by then is whole, and the next call goes on behind it.
pub fn back_up(
    store: &dyn Store,
    place: &Place,
    recipients: &[Recipient],
    progress: Progress<'_>,
) -> Result<BackedUp, ArchiveError> {
    let source = Source::open(place)?;
    let id = source.identity.history;
    let mut lineage = Lineage::of(store, id)?;
    if let Some(error) = lineage.broken.pop() {
        return Err(error);
    }
    let start = find_start(&source, &lineage)?;
    let has_base = lineage.bases().iter().any(|base| is_base(base, &source));
    let wants_base = !has_base && (start.needs_base || outweighs(&lineage, &source));
    let unread = source.incrementals[start.file..].iter().map(|file| file.bytes).sum::<u64>() - start.offset;
    let total = unread + if wants_base { source.base.bytes } else { 0 };
    let mut work = Work { store, recipients, id, done: 0, total, progress };
    let base = if wants_base { Some(work.base(&source)?) } else { None };
    let segments = work.segments(&source, start)?;
    let newest = segments.last().or(base.as_ref());
    Ok(BackedUp {
        lineage: id,
        last_batch: newest.map(Description::last_batch).max(lineage.last_batch()).unwrap_or_default(),
        last_moment: segments
            .last()
            .map(Description::at)
            .or(lineage.last_moment())
            .or(base.as_ref().map(Description::at)),
        recipients_before: other_recipients(&lineage, recipients),
        base,
        segments,
    })
}

/// Whom the newest object is encrypted to, if not to these. Before that was told, objects did not know.
fn other_recipients(lineage: &Lineage, now: &[Recipient]) -> Option<Vec<String>> {
    let newest = lineage.objects().max_by_key(|told| told.last_batch())?;
    let is_known = newest.encrypted != newest.recipients.is_empty();
    let mut now: Vec<String> = now.iter().map(Recipient::to_string).collect();
    let mut before = newest.recipients.clone();
    now.sort();
    before.sort();
    (is_known && now != before).then_some(before)
}

/// Whether the archived base is the one that the log has now.
fn is_base(base: &Description, source: &Source) -> bool {
    matches!(&base.kind, Kind::Base { covers, crc, .. }
        if *covers == source.identity.covers && *crc == format!("{:016x}", source.identity.base.crc))
}

/// Whether the segments since the last base are longer than the log's base, which is newer: then to restore takes less with it.
fn outweighs(lineage: &Lineage, source: &Source) -> bool {
    let newest = lineage.bases().last().map_or(0, Description::last_batch);
    let since = lineage.segments().iter().filter(|segment| segment.last_batch() > newest);
    source.identity.covers > newest
        && since.map(|segment| segment.plain_bytes).sum::<u64>() > source.base.bytes
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

fn find_start(source: &Source, lineage: &Lineage) -> Result<Start, ArchiveError> {
    let covers = source.identity.covers;
    let anew = Start { file: 0, offset: 0, last: covers, line: None, needs_base: true };
    let Some(last) = lineage.last_batch() else { return Ok(anew) };
    let line = lineage.last_segment();
    if let Some(start) = line.map(|segment| resume(source, segment)).transpose()?.flatten() {
        return Ok(start);
    }
    // The line of a batch that is in the base cannot be seen any more, so nothing tells whether it is the same.
    if covers >= last { Ok(anew) } else { seek(source, last, line) }
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
    let is_there = *log_end <= file.bytes && file.has_line_before(last_line, *log_end)?;
    let (last, line) = (*last_batch, Some(last_line.clone()));
    Ok(is_there.then_some(Start { file: at, offset: *log_end, last, line, needs_base: false }))
}

/// Reads the log up to the last batch that is archived.
fn seek(source: &Source, last: u64, segment: Option<&Description>) -> Result<Start, ArchiveError> {
    let (history, mut log) = (source.identity.history, source.identity.covers);
    for (at, file) in source.incrementals.iter().enumerate() {
        let mut batches = Batches::new(file.read_from(0)?, 0, history, Some(log));
        while let Some(batch) = next(&mut batches, file)? {
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

fn next<R: Read>(batches: &mut Batches<R>, file: &OpenFile) -> Result<Option<WholeBatch>, ArchiveError> {
    batches.next().map_err(|bad| ArchiveError::BadLog(file.path.clone(), bad))
}

/// What is needed to add objects.
struct Work<'a> {
    store: &'a dyn Store,
    recipients: &'a [Recipient],
    id: HistoryId,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Work<'a> {
    fn hear(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.total.max(self.done));
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
        writer.finish(self.store, kind)
    }

    fn segments(&mut self, source: &Source, start: Start) -> Result<Vec<Description>, ArchiveError> {
        let Start { file: first, mut offset, mut last, mut line, .. } = start;
        let mut segments = Vec::new();
        for (at, file) in source.incrementals.iter().enumerate().skip(first) {
            file.sync()?;
            let mut batches = Batches::new(file.read_from(offset)?, offset, self.id, Some(last));
            while let Some(segment) = self.segment(&mut batches, file, line.clone())? {
                if let Kind::Segment { last_batch, last_line, .. } = &segment.kind {
                    (last, line) = (*last_batch, Some(last_line.clone()));
                }
                segments.push(segment);
            }
            let is_followed = source.incrementals[at + 1..].iter().any(|file| file.bytes > 0);
            if is_followed && batches.unclosed_bytes() > 0 {
                return Err(ArchiveError::Unnumbered(file.path.clone()));
            }
            offset = 0;
        }
        Ok(segments)
    }

    /// The next batches of a file, as many as make a segment; `None` where it ends.
    fn segment<R: Read>(
        &mut self,
        batches: &mut Batches<R>,
        file: &OpenFile,
        follows: Option<String>,
    ) -> Result<Option<Description>, ArchiveError> {
        let Some(first) = next(batches, file)? else { return Ok(None) };
        let (first_batch, from) = (first.line.seq, Moment(first.line.unix_ms));
        let (mut writer, mut last) = (self.begin(Begin::Segment { first_batch })?, first);
        loop {
            writer.write(&last.bytes).map_err(|error| self.failed(error))?;
            self.hear(last.bytes.len() as u64);
            if writer.plain_bytes() >= SEGMENT_BYTES_MAX {
                break;
            }
            let Some(batch) = next(batches, file)? else { break };
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
        };
        writer.finish(self.store, kind).map(Some)
    }
}
