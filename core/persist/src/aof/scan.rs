//! Reads one file of a log from front to back: what of it is good, and the first thing that is not.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::line::{Annotation, Head, HistoryId, Line};
use super::recover::{LogFile, RefuseError, io_refuse, refuse};
use super::{BadRecord, FileKind, ManifestFile, Record, Scanner};
use crate::disk::Disk;
use crate::rdb;

/// A whole run of zeros this long is what an unwritten disk block looks like, bytes.
const ZERO_RUN_BYTES: usize = 512;
/// More than what is left of a line that is whole but for its end, bytes.
const LINE_BYTES_MAX: u64 = 256;

/// What is wrong, and where that shows.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) kind: Kind,
    /// The first byte that is wrong, as far as can be told, and what it is unless the file ends there.
    pub(super) bad_offset: u64,
    pub(super) bad_byte: Option<u8>,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Kind {
    /// The record that begins at `from` reaches beyond the end of the file.
    Torn { from: u64 },
    /// The file ends in a transaction.
    OpenTransaction,
    /// A byte that cannot stand there.
    Byte,
    /// A line of ours whose own checksum is wrong.
    Line,
    /// The bytes from `start` to `end` do not have the checksum that the line behind them tells.
    Batch { seq: u64, commands: u64, start: u64, end: u64, difference: u64 },
    /// A batch does not follow the one before it.
    Order { expected: u64, found: u64 },
    /// The file before this one had `had` bytes when this one was begun, and has `has`.
    Before { had: u64, has: u64 },
    /// A base of commands does not have the checksum that its end tells.
    Base,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Torn { .. } => f.write_str("Unexpected end of file reading the append only file"),
            Kind::OpenTransaction => {
                f.write_str("Unexpected end of file reading the append only file: a MULTI without its EXEC")
            }
            Kind::Byte => f.write_str("Bad file format reading the append only file"),
            Kind::Line => f.write_str("the line that closes a batch is damaged: its own checksum is wrong"),
            Kind::Batch { seq, commands, start, end, .. } => {
                write!(
                    f,
                    "the checksum of batch {seq} is wrong, which is bytes {start} to {end}, commands: {commands}"
                )?;
                match self.flipped_bit() {
                    Some((offset, bit)) => {
                        write!(f, "; one bit was changed: bit {bit} of the byte at offset {offset}")
                    }
                    None => Ok(()),
                }
            }
            Kind::Order { expected, found } => {
                write!(f, "a batch is missing: number {expected} should be here, {found} is")
            }
            Kind::Before { had, has } if has < had => {
                write!(f, "the end of the file before it is missing: it had {had} bytes, and has {has}")
            }
            Kind::Before { had, has } => write!(f, "the file before it had {had} bytes, and has {has}"),
            Kind::Base => f.write_str("the checksum of the base is wrong"),
        }
    }
}

impl Damage {
    /// The bit whose change alone explains a wrong checksum: its byte's offset in the file, and which of the byte's it is.
    pub(super) fn flipped_bit(&self) -> Option<(u64, u8)> {
        let Kind::Batch { start, end, difference, .. } = self.kind else { return None };
        let (at, bit) = base::crc64::flipped_bit((end - start) as usize, difference)?;
        Some((start + at as u64, bit))
    }

    fn is_of_a_batch(&self) -> bool {
        matches!(self.kind, Kind::Batch { .. } | Kind::Order { .. } | Kind::Before { .. })
    }
}

/// What reading a file from front to back found. It begins with what is known before.
#[derive(Default)]
pub(super) struct Scan {
    is_rdb: bool,
    commands_offset: u64,
    /// End of the last record that may stay, and the state there.
    pub(super) good_end: u64,
    good_commands: u64,
    pub(super) good_crc: u64,
    /// End of the last annotation, and the commands up to there.
    batch_start: u64,
    batch_commands: u64,
    pub(super) annotated: bool,
    pub(super) synced: u64,
    /// Number of the last batch, and of the first that was met; none while no number is known.
    pub(super) last_seq: Option<u64>,
    pub(super) first_seq: Option<u64>,
    /// Which log it must be of, if that is known, and is by its head.
    pub(super) history: Option<HistoryId>,
    /// The head of the file was read.
    pub(super) has_head: bool,
    /// The file is to begin with a head.
    needs_head: bool,
    /// Size of the incremental file before this one.
    before_bytes: Option<u64>,
    pub(super) damage: Option<Damage>,
    /// The commands behind the last annotation are those of a batch whose line is whole but for its end.
    is_closed: bool,
}

impl Scan {
    /// Of a file behind others, or behind a base: see the fields.
    pub(super) fn behind(
        last_seq: Option<u64>,
        history: Option<HistoryId>,
        before_bytes: Option<u64>,
        needs_head: bool,
    ) -> Scan {
        Scan { last_seq, history, before_bytes, needs_head, ..Scan::default() }
    }

    /// Reads the whole file.
    pub(super) fn whole(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        file: &ManifestFile,
        bytes: u64,
    ) -> Result<(), RefuseError> {
        if file.kind == FileKind::Base {
            self.skip_snapshot(disk, path, bytes)?;
        }
        let (offset, commands) = (self.commands_offset, disk.read(path, self.commands_offset));
        (self.good_end, self.batch_start) = (offset, offset);
        self.run(Scanner::new(commands.map_err(io_refuse(path))?, offset).until(bytes), path, bytes)?;
        self.judge_beginning(disk, path)?;
        self.look_for_close(disk, path, bytes)?;
        self.distrust_zeros(disk, path)
    }

    /// Finds where the snapshot ends. One named .rdb is nothing else and is judged by its loader.
    fn skip_snapshot(&mut self, disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), RefuseError> {
        let magic = read_from(disk, path, 0, 5)?;
        self.is_rdb = magic == b"REDIS" || magic == b"VALKE";
        if path.extension().is_some_and(|e| e == "rdb") {
            self.is_rdb = true;
            self.commands_offset = bytes;
        } else if self.is_rdb {
            let source = disk.read(path, 0).map_err(io_refuse(path))?;
            let end = snapshot_end(source, bytes);
            self.commands_offset = end.or_else(|error| refuse(path, None, error.to_string()))?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        mut scanner: Scanner<Box<dyn Read + Send>>,
        path: &Path,
        bytes: u64,
    ) -> Result<(), RefuseError> {
        let (mut commands, mut in_multi) = (0, false);
        loop {
            let start = scanner.offset();
            let record = match scanner.next() {
                Ok(Some(record)) => record,
                Ok(None) if in_multi => {
                    self.damaged(Kind::OpenTransaction, start, None);
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(error) => return self.unreadable(error, path, start, bytes),
            };
            if start == 0 {
                self.is_expected_first(&record, path)?;
            }
            match record {
                Record::Command(args) => {
                    commands += 1;
                    in_multi = match &args[0] {
                        name if name.eq_ignore_ascii_case(b"MULTI") => true,
                        name if name.eq_ignore_ascii_case(b"EXEC") => false,
                        _ => in_multi,
                    };
                }
                Record::Annotation(line, crc) => {
                    if !self.close_batch(line, crc, start, commands) {
                        return Ok(());
                    }
                    (self.batch_start, self.batch_commands) = (scanner.offset(), commands);
                }
                Record::Head(head) => {
                    if !self.begin(head, path, start)? {
                        return Ok(());
                    }
                }
                Record::Follows(had) => {
                    if !self.follows(had, start) {
                        return Ok(());
                    }
                }
                Record::BaseEnd(true) | Record::Timestamp(_) | Record::Comment(_) => {}
                Record::BaseEnd(false) => {
                    self.damaged(Kind::Base, start, None);
                    return Ok(());
                }
            }
            if !in_multi {
                (self.good_end, self.good_commands) = (scanner.offset(), commands);
                self.good_crc = scanner.batch_crc();
            }
        }
    }

    fn unreadable(
        &mut self,
        error: BadRecord,
        path: &Path,
        start: u64,
        bytes: u64,
    ) -> Result<(), RefuseError> {
        match error {
            BadRecord::Io(error) => return Err(io_refuse(path)(error)),
            BadRecord::Torn => self.damaged(Kind::Torn { from: start }, bytes, None),
            BadRecord::Format { offset, byte } => self.damaged(Kind::Byte, offset, Some(byte)),
            BadRecord::Line { offset } => self.damaged(Kind::Line, offset, Some(b'#')),
        }
        Ok(())
    }

    /// A file that must have a head begins with it.
    fn is_expected_first(&self, record: &Record, path: &Path) -> Result<(), RefuseError> {
        match record {
            Record::Head(_) => Ok(()),
            _ if self.needs_head => {
                foreign(path, "it does not begin with the line that tells of which log it is")
            }
            _ => Ok(()),
        }
    }

    /// What is left of a torn first record must be the beginning of a head.
    fn judge_beginning(&self, disk: &dyn Disk, path: &Path) -> Result<(), RefuseError> {
        let (Some(Damage { kind: Kind::Torn { from: 0 }, .. }), Some(history), true) =
            (&self.damage, self.history, self.needs_head)
        else {
            return Ok(());
        };
        let wanted = Head::beginning(history);
        let there = read_from(disk, path, 0, wanted.len() as u64)?;
        if wanted.starts_with(&there) {
            return Ok(());
        }
        foreign(path, "it does not begin with the line that tells of which log it is")
    }

    /// Takes note of the file's head; false when it tells of damage.
    fn begin(&mut self, head: Head, path: &Path, start: u64) -> Result<bool, RefuseError> {
        if start != 0 {
            self.damaged(Kind::Line, start, Some(b'#'));
            return Ok(false);
        }
        if let Some(history) = self.history.filter(|&history| history != head.history) {
            return foreign(
                path,
                &format!("it is of the history {}, and the log is {history}", head.history),
            );
        }
        (self.history, self.has_head) = (Some(head.history), true);
        if !self.follows(head.before_bytes, start) {
            return Ok(false);
        }
        match self.last_seq {
            Some(last) if last + 1 != head.first_batch => {
                let (found, expected) = (head.first_batch, last + 1);
                foreign(path, &format!("it begins with batch {found}, and {expected} should follow"))
            }
            _ => {
                self.last_seq = head.first_batch.checked_sub(1);
                Ok(true)
            }
        }
    }

    /// The file before had so many bytes; false when it has not now.
    fn follows(&mut self, had: u64, start: u64) -> bool {
        let Some(has) = self.before_bytes.filter(|&has| has != had) else { return true };
        self.damaged(Kind::Before { had, has }, start, None);
        false
    }

    /// A batch ends at `end`; false when it is not whole, or not the one that should follow.
    fn close_batch(&mut self, line: Annotation, crc: u64, end: u64, commands: u64) -> bool {
        let (seq, start) = (line.seq, self.batch_start);
        if let Some(expected) = self.last_seq.map(|last| last + 1).filter(|&expected| expected != seq) {
            self.damaged(Kind::Order { expected, found: seq }, start, None);
            return false;
        }
        if line.crc != crc {
            let (commands, difference) = (commands - self.batch_commands, line.crc ^ crc);
            self.damaged(Kind::Batch { seq, commands, start, end, difference }, start, None);
            return false;
        }
        (self.annotated, self.last_seq) = (true, Some(seq));
        self.first_seq = self.first_seq.or(Some(seq));
        self.synced = self.synced.max(line.synced);
        true
    }

    fn damaged(&mut self, kind: Kind, bad_offset: u64, bad_byte: Option<u8>) {
        let damage = Damage { kind, bad_offset, bad_byte };
        if damage.is_of_a_batch() {
            self.cut_to_batch();
        }
        self.damage = Some(damage);
    }

    /// Whether a torn line is whole but for its end: then what it closes is known to be right, and only the line is torn.
    fn look_for_close(&mut self, disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), RefuseError> {
        let Some(Damage { kind: Kind::Torn { from }, .. }) = self.damage else { return Ok(()) };
        if from != self.good_end || bytes - from > LINE_BYTES_MAX {
            return Ok(());
        }
        let rest = read_from(disk, path, from, LINE_BYTES_MAX)?;
        let history = self.history.filter(|_| self.has_head);
        self.is_closed = (0..=rest.len().min(2)).any(|end| {
            let line = Line::parse(&rest[..rest.len() - end], history);
            matches!(line, Some(Line::Batch(line)) if line.crc == self.good_crc)
        });
        Ok(())
    }

    /// A torn batch with a zero block in it lost that block: none of its commands can be trusted.
    fn distrust_zeros(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), RefuseError> {
        if self.damage.is_none()
            || !(self.annotated || self.is_ours())
            || self.is_closed
            || self.good_end == self.batch_start
        {
            return Ok(());
        }
        if has_zero_run(&read_from(disk, path, self.batch_start, self.good_end - self.batch_start)?) {
            self.cut_to_batch();
        }
        Ok(())
    }

    /// The file is one of this version, by its head or by what the manifest says.
    pub(super) fn is_ours(&self) -> bool {
        self.has_head || self.needs_head
    }

    /// Checksum of what may stay behind the last annotation; none when nothing does.
    pub(super) fn open_crc(&self) -> Option<u64> {
        (self.good_end > self.batch_start).then_some(self.good_crc)
    }

    fn cut_to_batch(&mut self) {
        (self.good_end, self.good_commands, self.good_crc) = (self.batch_start, self.batch_commands, 0);
    }

    pub(super) fn into_file(self, path: PathBuf, kind: FileKind, is_own: bool) -> LogFile {
        let Scan { is_rdb, commands_offset, good_end, good_commands, .. } = self;
        LogFile { path, kind, is_rdb, commands_offset, bytes: good_end, commands: good_commands, is_own }
    }
}

/// A file of another log stands where one of this should be.
pub(super) fn foreign<T>(path: &Path, why: &str) -> Result<T, RefuseError> {
    let what = format!(
        "{why}: it was damaged, or belongs to another log or to another time of this one. Restore what was here from a backup"
    );
    refuse(path, None, what)
}

pub(super) fn has_zero_run(bytes: &[u8]) -> bool {
    let mut run = 0;
    bytes.iter().any(|&byte| {
        run = if byte == 0 { run + 1 } else { 0 };
        run == ZERO_RUN_BYTES
    })
}

pub(super) fn read_from(
    disk: &dyn Disk,
    path: &Path,
    offset: u64,
    bytes_max: u64,
) -> Result<Vec<u8>, RefuseError> {
    let mut bytes = Vec::new();
    let source = disk.read(path, offset).map_err(io_refuse(path))?;
    source.take(bytes_max).read_to_end(&mut bytes).map_err(io_refuse(path))?;
    Ok(bytes)
}

fn snapshot_end(source: Box<dyn io::Read + Send>, bytes: u64) -> Result<u64, rdb::Error> {
    let mut reader = rdb::Reader::new(source, Some(bytes), true)?;
    while reader.next()?.is_some() {}
    Ok(reader.offset())
}

#[cfg(test)]
mod tests {
    use super::{ZERO_RUN_BYTES, has_zero_run};

    #[test]
    fn a_run_of_zeros_is_a_block_and_nothing_shorter() {
        for (zeros, is_run) in
            [(ZERO_RUN_BYTES - 1, false), (ZERO_RUN_BYTES, true), (ZERO_RUN_BYTES + 1, true)]
        {
            let bytes = [&b"x"[..], &vec![0; zeros], b"y"].concat();
            assert_eq!(has_zero_run(&bytes), is_run, "{zeros}");
        }
        let broken = [vec![0; ZERO_RUN_BYTES - 1], vec![1], vec![0; ZERO_RUN_BYTES - 1]].concat();
        assert!(!has_zero_run(&broken), "what is between counts");
    }
}
