//! Looks through one file of a log for what is good in it, and goes on behind damage: for `tandem check`, never for a start.
//!
//! ```text
//! batch │ batch │ batch with a wrong checksum │ batch │ bytes that are no record … #TDM: │ batch │ open end
//! └───Part::Good──┘ └─Part::Mended or Part::Lost─┘ good   └──────────Part::Lost───────────┘  good    good
//! ```
//! Behind damage reading goes on with the next line that closes a batch and has a right checksum of itself. What lies between is put right
//! where one changed byte explains it: the batch's own checksum says which one. A line that is damaged is done without where the checksum
//! that it tells can still be read in it, and else what it closes is lost. In a file without such lines (of another server) reading goes on
//! with the next whole command, and a transaction that lost a part is lost as a whole.
//!
//! What is good was written so, but it may rest on what is lost: whoever loads it must be ready for commands that are refused, and
//! does not know which database was selected behind something that is lost.

mod found;
mod mend;

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use super::line::{Annotation, FoundBatch, Head, HistoryId, batches_in, find};
use super::scan::has_zero_run;
use super::verdict::whole_commands;
use super::{BadRecord, Record, Scanner};
use crate::disk::Disk;

pub use found::{Damaged, Part, Survey, SurveyStart, Wrong};

/// So much of a file is put right or counted; a longer stretch of damage is only passed over, bytes.
const REGION_BYTES_MAX: u64 = 256 << 20;
/// Damage that is told of; behind more of it a file is given up.
const PARTS_MAX: usize = 10_000;
/// Bytes that are searched at a time, and what no line of ours is longer than.
const WINDOW_BYTES: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 256;

/// Looks through a file. `hears` is told how many bytes of it are done.
///
/// # Errors
/// It cannot be read.
pub fn survey(
    disk: &dyn Disk,
    path: &Path,
    start: SurveyStart,
    hears: &mut dyn FnMut(u64),
) -> io::Result<Survey> {
    let bytes = disk.len(path)?;
    let found = Survey { history: start.history, ..Survey::default() };
    let mut walk = Walk {
        disk,
        path,
        bytes,
        at: start.offset,
        next: start.first_batch,
        is_ours: start.needs_head,
        has_no_line: false,
        start,
        found,
    };
    while walk.at < walk.bytes && walk.found.parts.len() < PARTS_MAX {
        let stop = walk.read_on(hears)?;
        if let Some(stop) = stop {
            walk.pass(stop)?;
        }
    }
    if walk.at < walk.bytes {
        walk.lose(walk.bytes, Wrong::TooMuch, None, None, 0);
    }
    Ok(walk.found)
}

/// A file that is being looked through.
struct Walk<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    bytes: u64,
    start: SurveyStart,
    /// End of what has a place in `found`.
    at: u64,
    /// The number of the next batch, if that is known.
    next: Option<u64>,
    /// Lines of ours were met, or should be there.
    is_ours: bool,
    /// It was looked for a line up to the end, and there is none.
    has_no_line: bool,
    found: Survey,
}

/// Why reading did not go on.
struct Stop {
    what: Wrong,
    /// Where whole records end that no line closes, outside of a transaction.
    good_end: u64,
    /// Where the record that is wrong begins.
    bad: u64,
    /// The number of the batch, where one could be read.
    seq: Option<u64>,
}

impl Walk<'_> {
    /// Reads batches, or records where there are none, up to the first thing that is wrong.
    fn read_on(&mut self, hears: &mut dyn FnMut(u64)) -> io::Result<Option<Stop>> {
        let source = self.disk.read(self.path, self.at)?;
        let mut scanner = Scanner::new(source, self.at).until(self.bytes);
        if let Some(history) = self.line_history() {
            scanner = scanner.of(history);
        }
        let (mut good_end, mut multi) = (self.at, None);
        loop {
            let began = scanner.offset();
            let stop = |what| Ok(Some(Stop { what, good_end, bad: began, seq: None }));
            match scanner.next() {
                Ok(None) if multi.is_some() => return stop(Wrong::TornEnd),
                Ok(None) => {
                    self.found.open_bytes = good_end - self.at;
                    self.keep(good_end);
                    return Ok(None);
                }
                Ok(Some(Record::Command(args))) => {
                    self.look_at_database(&args);
                    multi = in_multi(&args, multi, began);
                }
                Ok(Some(Record::Annotation(line, crc))) => {
                    if let Some(what) = self.wrong_batch(&line, crc) {
                        return Ok(Some(Stop { what, good_end, bad: began, seq: Some(line.seq) }));
                    }
                    self.close(&line, scanner.offset());
                    good_end = self.at;
                    hears(self.at);
                }
                Ok(Some(Record::Head(head))) if began == 0 => {
                    if let Some(what) = self.begin(head) {
                        return stop(what);
                    }
                }
                Ok(Some(Record::Head(_))) => return stop(Wrong::Format { offset: began }),
                Ok(Some(Record::Follows(had))) => self.look_before(had),
                Ok(Some(Record::BaseEnd(false))) => return stop(Wrong::BaseChecksum),
                Ok(Some(Record::BaseEnd(true) | Record::Timestamp(_) | Record::Comment(_))) => {}
                Err(BadRecord::Io(error)) => return Err(error),
                Err(BadRecord::Torn) => return stop(Wrong::TornEnd),
                Err(BadRecord::Format { offset, .. }) => return stop(Wrong::Format { offset }),
                Err(BadRecord::Line { offset }) => return stop(Wrong::Line { offset }),
            }
            if multi.is_none() {
                good_end = scanner.offset();
            }
            // Where no line will come, nothing need be waited for.
            if !self.is_ours && good_end > self.at + REGION_BYTES_MAX / 4 {
                self.keep(good_end);
                hears(self.at);
            }
        }
    }

    /// By which history lines are checked, if they are.
    fn line_history(&self) -> Option<HistoryId> {
        self.found.history.filter(|_| self.found.has_head || self.start.needs_head)
    }

    fn look_at_database(&mut self, args: &[Vec<u8>]) {
        if let [name, number] = args
            && name.eq_ignore_ascii_case(b"SELECT")
            && let Some(number) = base::number::parse_u64(number)
            && number < base::limits::DATABASES_MAX as u64
        {
            self.found.databases.insert(number);
        }
    }

    fn wrong_batch(&self, line: &Annotation, crc: u64) -> Option<Wrong> {
        if line.crc != crc {
            return Some(Wrong::Checksum);
        }
        match self.next {
            Some(next) if line.seq > next => Some(Wrong::Missing),
            Some(next) if line.seq < next => Some(Wrong::Repeated),
            _ => None,
        }
    }

    fn begin(&mut self, head: Head) -> Option<Wrong> {
        (self.is_ours, self.found.has_head) = (true, true);
        if self.found.history.is_some_and(|history| history != head.history) {
            return Some(Wrong::Foreign);
        }
        (self.found.history, self.found.first_batch) = (Some(head.history), Some(head.first_batch));
        self.look_before(head.before_bytes);
        if let Some(next) = self.next.filter(|&next| next < head.first_batch) {
            self.note(Wrong::Missing, Some(next..=head.first_batch - 1));
        }
        self.next = Some(self.next.map_or(head.first_batch, |next| next.max(head.first_batch)));
        None
    }

    /// The end of the file before is missing: nothing of this one is.
    fn look_before(&mut self, had: u64) {
        if let Some(has) = self.start.before_bytes.filter(|&has| has != had) {
            self.note(Wrong::Before { had, has }, None);
        }
    }

    /// Damage that takes no bytes of this file.
    fn note(&mut self, what: Wrong, batches: Option<RangeInclusive<u64>>) {
        let (after_ms, at) = (self.found.last_ms, self.at);
        let damage = Damaged { from: at, to: at, what, batches, after_ms, before_ms: None, commands: 0 };
        self.found.parts.push(Part::Lost(damage));
    }

    /// A batch that ends at `end` is good.
    fn close(&mut self, line: &Annotation, end: u64) {
        self.keep(end);
        self.count(line);
    }

    fn keep(&mut self, end: u64) {
        if end == self.at {
            return;
        }
        match self.found.parts.last_mut() {
            Some(Part::Good { to, .. }) if *to == self.at => *to = end,
            _ => self.found.parts.push(Part::Good { from: self.at, to: end }),
        }
        self.at = end;
    }

    fn lose(
        &mut self,
        to: u64,
        what: Wrong,
        batches: Option<RangeInclusive<u64>>,
        before_ms: Option<i64>,
        commands: u64,
    ) {
        let (from, after_ms) = (self.at, self.found.last_ms);
        let damage = Damaged { from, to, what, batches, after_ms, before_ms, commands };
        self.found.parts.push(Part::Lost(damage));
        self.at = to;
    }

    /// Decides what becomes of what is wrong, and goes behind it.
    fn pass(&mut self, stop: Stop) -> io::Result<()> {
        match stop.what {
            Wrong::Foreign => {
                self.lose(self.bytes, Wrong::Foreign, None, None, 0);
                return Ok(());
            }
            Wrong::BaseChecksum if !self.mend_base()? => {
                // The commands before can be read, and any of them may be the one that was changed.
                self.keep(stop.good_end);
                self.note(Wrong::BaseChecksum, None);
                self.at = self.bytes;
                return Ok(());
            }
            Wrong::BaseChecksum => return Ok(()),
            Wrong::Missing => {
                let (next, found) = (self.next.unwrap_or_default(), stop.seq.unwrap_or_default());
                self.note(Wrong::Missing, Some(next..=found.saturating_sub(1)));
                self.next = Some(found);
                return Ok(());
            }
            _ => {}
        }
        match self.next_line()? {
            Some(line) => self.pass_to(&line, stop),
            None if self.mend_base()? => Ok(()),
            None => self.pass_foreign(stop),
        }
    }

    /// The next line that closes a batch and can be believed.
    fn next_line(&mut self) -> io::Result<Option<FoundBatch>> {
        if self.has_no_line {
            return Ok(None);
        }
        let history = self.line_history();
        let mut source = self.disk.read(self.path, self.at)?;
        let (mut window, mut offset) = (Vec::new(), self.at);
        loop {
            let had = window.len();
            (&mut source).take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
            let is_end = window.len() == had;
            let believed = |found: &FoundBatch| found.is_checked || history.is_none();
            if let Some(found) = batches_in(&window, history).into_iter().find(believed) {
                let shift = offset as usize;
                return Ok(Some(FoundBatch { start: found.start + shift, end: found.end + shift, ..found }));
            }
            if is_end {
                self.has_no_line = true;
                return Ok(None);
            }
            let kept = window.len().min(LINE_BYTES_MAX);
            offset += (window.len() - kept) as u64;
            window.drain(..window.len() - kept);
        }
    }

    fn region(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.disk.read(self.path, from)?.take((to - from).min(REGION_BYTES_MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A line follows: what it closes is put right, or lost.
    fn pass_to(&mut self, line: &FoundBatch, stop: Stop) -> io::Result<()> {
        let (from, line_at, end) = (self.at, line.start as u64, line.end as u64);
        let seq = line.line.seq;
        let before = self.next.map_or(0, |next| seq.saturating_sub(next));
        if self.next.is_some_and(|next| seq < next) {
            self.lose(end, Wrong::Repeated, Some(seq..=seq), Some(line.line.unix_ms), 0);
            return Ok(());
        }
        let region = self.region(from, end)?;
        let is_whole = region.len() as u64 == end - from;
        let body = (line_at - from) as usize;
        if is_whole && before == 0 && self.mend_byte(&region, body, line) {
            return Ok(());
        }
        if is_whole && before == 1 && self.mend_line(&region, body, line) {
            return Ok(());
        }
        let commands = whole_commands(&region);
        let batches = self.next.map_or(seq..=seq, |next| next..=seq);
        let what =
            if before > 0 && matches!(stop.what, Wrong::Checksum) { Wrong::Missing } else { stop.what };
        self.lose(end, what, Some(batches), Some(line.line.unix_ms), commands);
        (self.found.last_batch, self.found.last_ms) = (Some(seq), Some(line.line.unix_ms));
        self.next = Some(seq.saturating_add(1));
        self.is_ours = true;
        Ok(())
    }

    /// The batch that a line closes is good.
    fn count(&mut self, line: &Annotation) {
        self.is_ours = true;
        self.found.batches += 1;
        self.found.first_batch = self.found.first_batch.or(Some(line.seq));
        (self.found.last_batch, self.found.last_ms) = (Some(line.seq), Some(line.unix_ms));
        self.next = Some(line.seq.saturating_add(1));
    }

    /// No line follows: in a file of ours that is its end, in another one reading goes on with the next whole command.
    fn pass_foreign(&mut self, stop: Stop) -> io::Result<()> {
        let is_end_of_ours = self.is_ours && stop.what == Wrong::TornEnd;
        if self.is_ours && has_zero_run(&self.region(self.at, stop.good_end)?) {
            // A batch that lost a block: none of its commands can be trusted.
            let rest = self.region(self.at, self.bytes)?;
            self.lose(self.bytes, stop.what, None, None, whole_commands(&rest));
            return Ok(());
        }
        self.keep(stop.good_end);
        let behind = stop.bad.saturating_sub(self.at) + 1;
        let Some((tail, at)) = self.resume(behind)?.filter(|_| !is_end_of_ours) else {
            let tail = self.region(self.at, self.bytes)?;
            self.lose(self.bytes, stop.what, None, None, whole_commands(&tail));
            return Ok(());
        };
        let (to, what) = match closes_transaction(&tail[at..]) {
            Some(end) => (at + end, Wrong::Transaction),
            None => (at, stop.what),
        };
        self.lose(self.at + to as u64, what, None, None, whole_commands(&tail[..to]));
        Ok(())
    }

    /// The next whole command, so many bytes or more behind what has a place, in the bytes from there on; as few as are needed.
    fn resume(&self, behind: u64) -> io::Result<Option<(Vec<u8>, usize)>> {
        let mut length = behind + WINDOW_BYTES as u64;
        loop {
            let end = self.bytes.min(self.at + length);
            let tail = self.region(self.at, end)?;
            if let Some(at) = next_command(&tail, behind as usize) {
                return Ok(Some((tail, at)));
            }
            if end == self.bytes || length >= REGION_BYTES_MAX {
                return Ok(None);
            }
            length *= 4;
        }
    }
}

/// Where the transaction began that a command stands in, if it stands in one.
fn in_multi(args: &[Vec<u8>], multi: Option<u64>, began: u64) -> Option<u64> {
    match &args[0] {
        name if name.eq_ignore_ascii_case(b"MULTI") => multi.or(Some(began)),
        name if name.eq_ignore_ascii_case(b"EXEC") => None,
        _ => multi,
    }
}

/// Where the next whole command begins, from `from` on, that is followed by another record or the end.
fn next_command(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let line_end = at.saturating_sub(1);
        at = line_end + find(bytes.get(line_end..)?, b"\n*")? + 1;
        let mut scanner = Scanner::new(&bytes[at..], 0).until((bytes.len() - at) as u64);
        let is_command = matches!(scanner.next(), Ok(Some(Record::Command(_))));
        let is_followed = matches!(bytes.get(at + scanner.offset() as usize), None | Some(b'*' | b'#'));
        if is_command && is_followed {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether what follows is the rest of a transaction whose beginning is lost; where it ends.
fn closes_transaction(bytes: &[u8]) -> Option<usize> {
    let mut scanner = Scanner::new(bytes, 0).until(bytes.len() as u64);
    while let Ok(Some(record)) = scanner.next() {
        let Record::Command(args) = record else { continue };
        if args[0].eq_ignore_ascii_case(b"EXEC") {
            return Some(scanner.offset() as usize);
        }
        if args[0].eq_ignore_ascii_case(b"MULTI") {
            return None;
        }
    }
    None
}
