//! Judges the files of a log before anything is loaded from them, and cuts what a crash left torn.
//!
//! What may be cut: the end of the log, from the first record that is not whole or whose batch has a wrong checksum,
//! provided no annotation promises those bytes to have been durable. That end lies in the last file that holds
//! anything, or begins in the one before: a rewrite moves on to a new file while the old one is not synced, and then
//! both may have lost something. What is cut is copied beside the file first. What is refused: damage with durable
//! bytes behind it, damage with whole commands behind it in files without annotations, a file that is missing or
//! cannot be read, a file of the log that no manifest names (see `inventory`), a base that is not whole, damage in what
//! the mark beside the log says to be durable (see `notes`). Nothing is changed before all is judged.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::inventory::{self, manifest_to_replace};
use super::{BadRecord, FileKind, Manifest, ManifestFile, Notes, Place, Record, Scanner, SyncedMark};
use crate::disk::{Disk, write_all};
use crate::rdb;

/// A transaction that does not end is a torn end like any other.
const TORN_MULTI: &str = "Unexpected end of file reading the append only file: a MULTI without its EXEC";
/// What precedes a line of ours within a file.
const MARK: &[u8] = b"#TDM";
/// A whole run of zeros this long is what an unwritten disk block looks like, bytes.
const ZERO_RUN_BYTES: usize = 512;
/// The longest tail that is examined and cut, bytes; more than that is not the trace of a crash.
const TAIL_BYTES_MAX: u64 = 4 << 30;

/// A file to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Snapshot or commands.
    pub kind: FileKind,
    /// It begins with an RDB; commands may follow (files of Redis 4 to 6).
    pub is_rdb: bool,
    /// Where its commands begin; equals `bytes` when a base has none.
    pub commands_offset: u64,
    /// Its size, all of it good as far as can be told without loading a base.
    pub bytes: u64,
    /// Commands in it, MULTI and EXEC included.
    pub commands: u64,
}

/// What was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The file that was cut.
    pub path: PathBuf,
    /// Where the tail was copied to.
    pub kept_as: PathBuf,
    /// Where it was cut: the new size of the file.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The first byte that is wrong: its offset, and what it is unless the file ended there.
    pub bad_offset: u64,
    /// See `bad_offset`.
    pub bad_byte: Option<u8>,
    /// Everything from the first wrong byte on is zero.
    pub zero_filled: bool,
    /// Whole commands in the tail: in a batch whose checksum is wrong, in a MULTI without EXEC, or behind damage.
    pub whole_commands: u64,
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, kept_as) = (self.path.display(), self.kept_as.display());
        write!(f, "{} bytes of {path} behind offset {}, kept as {kept_as}: ", self.bytes, self.offset)?;
        match self.bad_byte {
            _ if self.zero_filled => write!(f, "zeros from offset {} on", self.bad_offset)?,
            Some(byte) => write!(f, "the byte {byte:#04x} at offset {} is wrong", self.bad_offset)?,
            None => write!(f, "the file ends too early, at offset {}", self.bad_offset)?,
        }
        write!(f, "; whole commands among them: {}", self.whole_commands)
    }
}

/// A tail and its bytes.
type Cut = (Tail, Vec<u8>);

/// A log that may be loaded: files in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The manifest, possibly of an upgraded old file.
    pub manifest: Manifest,
    /// What to load, in order.
    pub files: Vec<LogFile>,
    /// What had to be cut, first the file where the damage begins.
    pub tails: Vec<Tail>,
    /// Number of the last batch; 0 when there is none.
    pub last_seq: u64,
    /// Checksum of what follows the last annotation in the last incremental file.
    pub open_crc: u64,
    /// Files that a crash of ours has left, to be removed when the log is opened.
    pub leftovers: Vec<PathBuf>,
    /// What is strange and no reason to refuse, as sentences.
    pub remarks: Vec<String>,
    /// There was no log at all.
    pub fresh: bool,
}

/// Why the log is not loaded. The files are as they were.
#[derive(Debug)]
pub struct RefuseError {
    /// The file or directory.
    pub path: PathBuf,
    /// Where in it, when that is known.
    pub offset: Option<u64>,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for RefuseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not loaded", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for RefuseError {}

pub(super) fn refuse<T>(path: &Path, offset: Option<u64>, what: impl Into<String>) -> Result<T, RefuseError> {
    Err(RefuseError { path: path.to_owned(), offset, what: what.into() })
}

pub(super) fn io_refuse(path: &Path) -> impl FnOnce(io::Error) -> RefuseError {
    move |error| RefuseError { path: path.to_owned(), offset: None, what: format!("cannot be read: {error}") }
}

/// Judges the log at `place`. `load_truncated` is `aof-load-truncated`; `unix_ms` names the copy of a tail.
pub fn recover(
    disk: &dyn Disk,
    place: &Place,
    load_truncated: bool,
    unix_ms: i64,
) -> Result<Recovered, RefuseError> {
    let (manifest, leftovers) = inventory::read(disk, place)?;
    let Some(manifest) = manifest else {
        return Ok(Recovered { fresh: true, leftovers, ..Recovered::default() });
    };
    let (mut recovered, cuts) = Judge::new(disk, place, manifest, load_truncated, unix_ms)?.all()?;
    let dir = place.log_dir();
    set_aside(disk, &dir, &cuts).map_err(io_refuse(&dir))?;
    recovered.tails = cuts.into_iter().map(|(tail, _)| tail).collect();
    recovered.leftovers = leftovers;
    Ok(recovered)
}

/// Judges a log that may be open for writing. Nothing is changed, so any damage is refused; the log must be at rest.
pub fn examine(disk: &dyn Disk, place: &Place) -> Result<Recovered, RefuseError> {
    let manifest = manifest_to_replace(disk, place).map_err(io_refuse(&place.log_dir()))?;
    if manifest == Manifest::default() {
        return Ok(Recovered { fresh: true, ..Recovered::default() });
    }
    Judge::new(disk, place, manifest, false, 0)?.all().map(|(recovered, _)| recovered)
}

/// All files that a manifest names, and what is known of them from elsewhere.
struct Judge<'a> {
    disk: &'a dyn Disk,
    place: &'a Place,
    manifest: Manifest,
    members: Vec<ManifestFile>,
    sizes: Vec<u64>,
    notes: Notes,
    mark: Option<SyncedMark>,
    load_truncated: bool,
    unix_ms: i64,
}

impl<'a> Judge<'a> {
    fn new(
        disk: &'a dyn Disk,
        place: &'a Place,
        manifest: Manifest,
        load_truncated: bool,
        unix_ms: i64,
    ) -> Result<Judge<'a>, RefuseError> {
        let dir = place.log_dir();
        let members: Vec<ManifestFile> =
            manifest.base.iter().chain(&manifest.incrementals).cloned().collect();
        let mut sizes = Vec::new();
        for file in &members {
            let path = dir.join(&file.name);
            sizes.push(disk.len(&path).map_err(io_refuse(&path))?);
        }
        let notes = Notes::read(disk, place).map_err(io_refuse(&dir))?.unwrap_or_default();
        let mark = SyncedMark::read(disk, place);
        Ok(Judge { disk, place, manifest, members, sizes, notes, mark, load_truncated, unix_ms })
    }

    fn path(&self, at: usize) -> PathBuf {
        self.place.log_dir().join(&self.members[at].name)
    }

    /// What may be loaded, and what is to be cut, with the bytes. Nothing is, unless `load_truncated`.
    fn all(self) -> Result<(Recovered, Vec<Cut>), RefuseError> {
        let mut recovered = Recovered { remarks: self.remarks(), ..Recovered::default() };
        let mut cuts: Vec<Cut> = Vec::new();
        let mut damaged_at = 0;
        for (at, file) in self.members.iter().enumerate() {
            let path = self.path(at);
            if let Some((first, _)) = cuts.first() {
                // The log ends before it.
                let cut = self.follower(at, damaged_at, first.offset)?;
                cuts.extend(cut);
                recovered.open_crc = 0;
                recovered.files.push(Scan::default().into_file(path, file.kind));
                continue;
            }
            let scan = self.scan(at, recovered.last_seq)?;
            if let Some(damage) = &scan.damage {
                cuts.push(self.cut(at, &scan, damage)?);
                damaged_at = at;
            }
            recovered.last_seq = scan.last_seq;
            recovered.open_crc = scan.good_crc;
            recovered.files.push(scan.into_file(path, file.kind));
        }
        recovered.manifest = self.manifest;
        Ok((recovered, cuts))
    }

    fn scan(&self, at: usize, last_seq: u64) -> Result<Scan, RefuseError> {
        let (file, path, bytes) = (&self.members[at], self.path(at), self.sizes[at]);
        if let Some(was) = self.notes.base_bytes(&file.name).filter(|&was| was != bytes) {
            let what = format!(
                "it has {bytes} bytes and had {was} when it was written: it was cut or replaced. Restore it from a backup, \
                 or remove {} if it is right as it is",
                self.place.log_dir().join(self.place.notes_name()).display()
            );
            return refuse(&path, None, what);
        }
        let mut scan = Scan { last_seq, ..Scan::default() };
        // A base is whole or refused, so only an incremental file can have lost its end before this one was begun.
        let follows = at > 0 && self.members[at - 1].kind == FileKind::Incremental;
        scan.before_bytes = follows.then(|| self.sizes[at - 1]);
        scan.whole(self.disk, &path, file, bytes)?;
        scan.distrust_zeros(self.disk, &path)?;
        Ok(scan)
    }

    /// What is to be cut off a damaged file.
    fn cut(&self, at: usize, scan: &Scan, damage: &Damage) -> Result<Cut, RefuseError> {
        let (file, path) = (&self.members[at], self.path(at));
        // The single file of Redis before 7 was written to until it became a base.
        if file.kind == FileKind::Base && file.name != self.place.file_name {
            let what = format!(
                "{}. A base is whole when it gets its name, so no crash has torn it: it was cut or damaged since. Restore \
                 it from a backup",
                damage.what
            );
            return refuse(&path, Some(damage.bad_offset), what);
        }
        let last = self.sizes.iter().rposition(|&bytes| bytes > 0).unwrap_or(0);
        if !self.load_truncated || (at < last && file.kind == FileKind::Base) {
            let what = format!(
                "{}. Only the end of the log may be torn, and only with aof-load-truncated yes. {}",
                damage.what,
                self.remedy(at, scan.good_end)
            );
            return refuse(&path, Some(damage.bad_offset), what);
        }
        let seen = Seen { scan, damage, promised: self.promised(at), remedy: self.remedy(at, scan.good_end) };
        judge(self.disk, &path, self.sizes[at], &seen, self.unix_ms)
    }

    /// Judges a file behind a damaged one; what it holds is cut as a whole. It must be one that a rewrite had just moved
    /// to: ours, and nothing in it durable, because its bytes are synced after those of the file before it.
    fn follower(&self, at: usize, damaged_at: usize, good_end: u64) -> Result<Option<Cut>, RefuseError> {
        let (path, file_bytes) = (self.path(at), self.sizes[at]);
        if file_bytes == 0 {
            return Ok(None);
        }
        if file_bytes > TAIL_BYTES_MAX {
            return refuse(&path, None, "it follows a damaged file, and is too long to be set aside");
        }
        let bytes = read_from(self.disk, &path, 0, TAIL_BYTES_MAX)?;
        let (commands, marked) = (whole_commands(&bytes), find(&bytes, MARK).is_some());
        if self.promised(at).max(promised_behind(&bytes)) > 0 || (commands > 0 && !marked) {
            let what = format!(
                "it follows a damaged file, and what it holds was durable: the disk lost or changed data that was written. \
                 {}",
                self.remedy(damaged_at, good_end)
            );
            return refuse(&path, None, what);
        }
        let tail = Tail {
            kept_as: kept_as(&path, self.unix_ms),
            path,
            offset: 0,
            bytes: bytes.len() as u64,
            bad_offset: 0,
            bad_byte: bytes.first().copied(),
            zero_filled: bytes.iter().all(|&byte| byte == 0),
            whole_commands: commands,
        };
        Ok(Some((tail, bytes)))
    }

    /// How much of a file the mark beside the log says to be durable: files are synced in their order. Of a file that is
    /// shorter than that it says nothing: it may be of a copy that was made while the server ran.
    fn promised(&self, at: usize) -> u64 {
        let Some((marked, mark)) = self.marked() else { return 0 };
        match marked.cmp(&at) {
            std::cmp::Ordering::Equal if mark.synced <= self.sizes[at] => mark.synced,
            std::cmp::Ordering::Greater if mark.synced > 0 => self.sizes[at],
            _ => 0,
        }
    }

    fn marked(&self) -> Option<(usize, &SyncedMark)> {
        let mark = self.mark.as_ref()?;
        Some((self.members.iter().position(|file| file.name == mark.file)?, mark))
    }

    fn remarks(&self) -> Vec<String> {
        let short = self.marked().filter(|(at, mark)| mark.synced > self.sizes[*at]);
        let told = short.map(|(at, mark)| {
            format!(
                "{} has {} bytes, but {} had been made durable. Its end is missing, unless this is a copy of files that a \
                 server was writing to.",
                self.path(at).display(),
                self.sizes[at],
                mark.synced
            )
        });
        told.into_iter().collect()
    }

    /// What a person can do about damage that is not cut by itself, and what that costs.
    fn remedy(&self, at: usize, good_end: u64) -> String {
        let mut text = format!(
            "Make a copy of the directory, then restore this file from a backup; or go on without what follows: `truncate -s \
             {good_end} {}`",
            self.path(at).display()
        );
        let mut lost = self.sizes[at].saturating_sub(good_end);
        for later in at + 1..self.members.len() {
            if self.sizes[later] > 0 {
                text += &format!(", `truncate -s 0 {}`", self.path(later).display());
                lost += self.sizes[later];
            }
        }
        let mark = self.place.log_dir().join(self.place.synced_name());
        text + &format!(", `rm -f {}` ({lost} bytes of log are lost then)", mark.display())
    }
}

fn kept_as(path: &Path, unix_ms: i64) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!("{name}.tail-{unix_ms}"))
}

fn read_from(disk: &dyn Disk, path: &Path, offset: u64, bytes_max: u64) -> Result<Vec<u8>, RefuseError> {
    let mut bytes = Vec::new();
    let source = disk.read(path, offset).map_err(io_refuse(path))?;
    source.take(bytes_max).read_to_end(&mut bytes).map_err(io_refuse(path))?;
    Ok(bytes)
}

/// What reading a file from front to back found.
#[derive(Default)]
struct Scan {
    is_rdb: bool,
    commands_offset: u64,
    /// End of the last record that may stay, and the state there.
    good_end: u64,
    good_commands: u64,
    good_crc: u64,
    /// End of the last annotation, and the commands up to there.
    batch_start: u64,
    batch_commands: u64,
    annotated: bool,
    synced: u64,
    last_seq: u64,
    /// Size of the incremental file before this one.
    before_bytes: Option<u64>,
    damage: Option<Damage>,
    /// Where a record begins that reaches beyond the end of the file; 0 when there is none.
    torn_from: u64,
}

/// A damaged file as it is judged.
struct Seen<'a> {
    scan: &'a Scan,
    damage: &'a Damage,
    /// Bytes of it that are known from elsewhere to have been durable.
    promised: u64,
    remedy: String,
}

struct Damage {
    what: String,
    bad_offset: u64,
    bad_byte: Option<u8>,
    in_batch: bool,
}

impl Scan {
    /// Reads the whole file.
    fn whole(
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
        self.run(Scanner::new(commands.map_err(io_refuse(path))?, offset).until(bytes), path, bytes)
    }

    /// Finds where the snapshot ends. One named .rdb is nothing else and is judged by its loader.
    fn skip_snapshot(&mut self, disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), RefuseError> {
        let mut magic = Vec::new();
        let source = disk.read(path, 0).map_err(io_refuse(path))?;
        source.take(5).read_to_end(&mut magic).map_err(io_refuse(path))?;
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
                    self.damaged(TORN_MULTI, start, None, false);
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Err(BadRecord::Io(error)) => return Err(io_refuse(path)(error)),
                Err(BadRecord::Torn) => {
                    self.damaged("Unexpected end of file reading the append only file", bytes, None, false);
                    self.torn_from = start;
                    return Ok(());
                }
                Err(BadRecord::Format { offset, byte }) => {
                    self.damaged("Bad file format reading the append only file", offset, Some(byte), false);
                    return Ok(());
                }
            };
            match record {
                Record::Command(args) => {
                    commands += 1;
                    in_multi = match &args[0] {
                        name if name.eq_ignore_ascii_case(b"MULTI") => true,
                        name if name.eq_ignore_ascii_case(b"EXEC") => false,
                        _ => in_multi,
                    };
                }
                Record::Annotation(line, right) => {
                    let in_order = self.last_seq == 0 || line.seq == self.last_seq + 1;
                    if !right || !in_order {
                        let what =
                            if right { "a batch is missing" } else { "the checksum of a batch is wrong" };
                        self.damaged(what, self.batch_start, None, true);
                        return Ok(());
                    }
                    (self.annotated, self.last_seq) = (true, line.seq);
                    self.synced = self.synced.max(line.synced);
                    (self.batch_start, self.batch_commands) = (scanner.offset(), commands);
                }
                Record::Follows(bytes) if self.before_bytes.is_some_and(|before| before != bytes) => {
                    self.damaged("the end of the file before it is missing", start, None, true);
                    return Ok(());
                }
                Record::Follows(_) | Record::Timestamp(_) | Record::Comment => {}
            }
            if !in_multi {
                (self.good_end, self.good_commands) = (scanner.offset(), commands);
                self.good_crc = scanner.batch_crc();
            }
        }
    }

    fn damaged(&mut self, what: &str, bad_offset: u64, bad_byte: Option<u8>, in_batch: bool) {
        self.damage = Some(Damage { what: what.to_owned(), bad_offset, bad_byte, in_batch });
        if in_batch {
            self.cut_to_batch();
        }
    }

    /// A torn batch with a zero block in it lost that block: none of its commands can be trusted.
    fn distrust_zeros(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), RefuseError> {
        if self.damage.is_none() || !self.annotated || self.good_end == self.batch_start {
            return Ok(());
        }
        let batch = read_from(disk, path, self.batch_start, self.good_end - self.batch_start)?;
        let mut run = 0;
        for byte in batch {
            run = if byte == 0 { run + 1 } else { 0 };
            if run == ZERO_RUN_BYTES {
                self.cut_to_batch();
                break;
            }
        }
        Ok(())
    }

    fn cut_to_batch(&mut self) {
        (self.good_end, self.good_commands, self.good_crc) = (self.batch_start, self.batch_commands, 0);
    }

    fn into_file(self, path: PathBuf, kind: FileKind) -> LogFile {
        let Scan { is_rdb, commands_offset, good_end, good_commands, .. } = self;
        LogFile { path, kind, is_rdb, commands_offset, bytes: good_end, commands: good_commands }
    }
}

fn snapshot_end(source: Box<dyn Read + Send>, bytes: u64) -> Result<u64, rdb::Error> {
    let mut reader = rdb::Reader::new(source, Some(bytes), true)?;
    while reader.next()?.is_some() {}
    Ok(reader.offset())
}

/// Decides whether the damage is the trace of a crash; gives the tail to be cut with its bytes.
fn judge(
    disk: &dyn Disk,
    path: &Path,
    file_bytes: u64,
    seen: &Seen<'_>,
    unix_ms: i64,
) -> Result<Cut, RefuseError> {
    let Seen { scan, damage, promised, remedy } = seen;
    let offset = scan.good_end;
    if file_bytes - offset > TAIL_BYTES_MAX {
        return refuse(path, Some(damage.bad_offset), "the damaged part is too long to be a torn tail");
    }
    let tail = read_from(disk, path, offset, TAIL_BYTES_MAX)?;
    let bad_at = (damage.bad_offset.saturating_sub(offset) as usize).min(tail.len());
    let zero_filled = bad_at < tail.len() && tail[bad_at..].iter().all(|&b| b == 0);
    // Another server may have put a file of that name there since, but none that is zeros, and none with our lines.
    let is_marked = scan.annotated || zero_filled || offset == 0;
    let promised = scan.synced.max(promised_behind(&tail)).max(if is_marked { *promised } else { 0 });
    if offset < promised {
        let what = format!(
            "{}, below offset {promised}, which had been made durable: the disk lost or changed data that was written. \
             {remedy}. Whole commands among that: {}",
            damage.what,
            whole_commands(&tail)
        );
        return refuse(path, Some(damage.bad_offset), what);
    }
    // What a length claims that reaches beyond the end of the file may be all the rest of a log, with one digit wrong.
    let behind = match scan.torn_from.checked_sub(offset) {
        Some(torn_at) => whole_commands(&tail[tail.len().min(torn_at as usize)..]),
        None => whole_commands(&tail[bad_at..]),
    };
    let marked = scan.annotated || damage.in_batch || tail.windows(6).any(|w| w == b"\n#TDM:");
    if !marked && !zero_filled && (damage.bad_byte.is_some() || behind > 0) {
        let what = format!("{}, and {behind} whole commands follow. {remedy}", damage.what);
        return refuse(path, Some(damage.bad_offset), what);
    }
    let tail_report = Tail {
        path: path.to_owned(),
        kept_as: kept_as(path, unix_ms),
        offset,
        bytes: tail.len() as u64,
        bad_offset: damage.bad_offset,
        bad_byte: damage.bad_byte.or_else(|| tail.get(bad_at).copied()),
        zero_filled,
        whole_commands: whole_commands(&tail),
    };
    Ok((tail_report, tail))
}

/// The greatest durable offset that lines behind the damage promise. Only a line whose own batch, from the line
/// before it, has the right checksum is believed.
fn promised_behind(tail: &[u8]) -> u64 {
    let mut promised = 0;
    let mut last_end = None;
    let mut at = 0;
    while let Some(found) = find(&tail[at..], b"#TDM:") {
        let start = at + found;
        let Some(length) = find(&tail[start..], b"\r\n").filter(|&n| n < 128) else {
            at = start + 1;
            continue;
        };
        if let Some(line) = super::Annotation::parse(&tail[start..start + length]) {
            if let Some(batch) = last_end
                && base::crc64::update(0, &tail[batch..start]) == line.crc
            {
                promised = promised.max(line.synced);
            }
            last_end = Some(start + length + 2);
        }
        at = start + length;
    }
    promised
}

/// Counts commands that are whole, taking up again behind each damage.
fn whole_commands(tail: &[u8]) -> u64 {
    let (mut count, mut at) = (0, 0);
    while at < tail.len() {
        let mut scanner = Scanner::new(&tail[at..], 0).until((tail.len() - at) as u64);
        loop {
            match scanner.next() {
                Ok(Some(Record::Command(_))) => count += 1,
                Ok(Some(_)) => {}
                Ok(None) => return count,
                Err(_) => break,
            }
        }
        let reached = at + scanner.offset() as usize;
        match find(&tail[reached.max(at + 1).min(tail.len())..], b"\n*") {
            Some(next) => at = reached.max(at + 1) + next + 1,
            None => return count,
        }
    }
    count
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// Copies the tails beside their files, makes that durable, then cuts, from the last file back: a crash between two
/// cuts leaves the first damage where it is, to be found again.
fn set_aside(disk: &dyn Disk, dir: &Path, cuts: &[Cut]) -> io::Result<()> {
    for (tail, bytes) in cuts {
        let mut copy = disk.create(&tail.kept_as)?;
        write_all(&mut *copy, bytes).map_err(|(_, error)| error)?;
        copy.sync()?;
    }
    if !cuts.is_empty() {
        disk.sync_dir(dir)?;
    }
    for (tail, _) in cuts.iter().rev() {
        let mut file = disk.append(&tail.path)?;
        file.truncate(tail.offset)?;
        file.sync()?;
    }
    Ok(())
}
