//! Judges the files of a log before anything is loaded from them, and cuts what a crash left torn.
//!
//! What may be cut: the end of the log, from the first record that is not whole or whose batch lost a block, provided a crash
//! leaves such damage (see `verdict`) and no annotation promises those bytes to have been durable. That end lies in the last
//! file that holds anything, or begins in the one before: a rewrite moves on to a new file while the old one is not synced,
//! and then both may have lost something. What is cut is copied beside the file first. What is refused: any other damage,
//! damage with durable bytes behind it, damage with whole commands behind it in files without annotations, a file of another
//! log or a base that is not the one which the manifest tells of, a file that is missing or cannot be read, a file of the
//! log that no manifest names (see `inventory`), a base that is not whole, damage in what the mark beside the log says to be
//! durable (see `notes`). Nothing is changed before all is judged.
//!
//! What a log may be trusted with is its type:
//! ```text
//! examine ──> Examined                        may be read; nothing else can be done with it
//! recover ──> Recovered ──load──> Verified    may be read, and opened for writing when all of it was taken in
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::inventory::{self, Unnamed, manifest_to_replace};
use super::line::{HistoryId, MARK, find};
use super::notes::short_text;
use super::scan::{Damage, Scan, foreign, read_from};
use super::verdict::{Seen, TAIL_BYTES_MAX, judge, promised_in, whole_commands};
use super::{FileKind, Manifest, ManifestFile, Notes, Place, Record, Scanner, SyncedMark};
use crate::disk::{Disk, write_all};
use crate::rdb::identify;

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
    /// The manifest or a file up to this one gives the log an identity: this server has written all of it.
    pub is_own: bool,
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
pub(super) type Cut = (Tail, Vec<u8>);

/// A log that was judged and not touched: it may be open for writing.
#[derive(Debug)]
pub struct Examined {
    files: Vec<LogFile>,
    remarks: Vec<String>,
    is_fresh: bool,
}

/// A log that was judged and is whole: a torn end was cut. To be loaded.
#[derive(Debug)]
pub struct Recovered {
    judged: Examined,
    tails: Vec<Tail>,
    resume: Resume,
}

/// A log all of which was loaded without an error: it may be opened for writing.
#[derive(Debug)]
pub struct Verified {
    pub(super) resume: Resume,
}

/// Where a log goes on.
#[derive(Debug, Default)]
pub(super) struct Resume {
    /// The manifest, possibly of an upgraded old file.
    pub(super) manifest: Manifest,
    /// Number of the last batch; 0 when there is none.
    pub(super) last_seq: u64,
    /// What the base holds: the batches up to this one.
    pub(super) covers: u64,
    /// Checksum of what follows the last annotation in the last incremental file; none when nothing does.
    pub(super) open_crc: Option<u64>,
    /// When it was judged, Unix milliseconds.
    pub(super) judged_ms: i64,
    /// Which log it is, if it knows.
    pub(super) history: Option<HistoryId>,
    /// The last incremental file begins with a head, or is empty.
    pub(super) has_head: bool,
    /// Files that a crash of ours has left, to be removed when the log is opened.
    pub(super) leftovers: Vec<PathBuf>,
}

impl Examined {
    /// Nothing is there.
    fn fresh() -> Examined {
        Examined { files: Vec::new(), remarks: Vec::new(), is_fresh: true }
    }

    /// What to load, in order.
    pub fn files(&self) -> &[LogFile] {
        &self.files
    }

    /// What is strange and no reason to refuse, as sentences.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// There is no log at all.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }
}

impl std::ops::Deref for Recovered {
    type Target = Examined;

    /// What may be read of it.
    fn deref(&self) -> &Examined {
        &self.judged
    }
}

impl Recovered {
    /// What had to be cut, first the file where the damage begins.
    pub fn tails(&self) -> &[Tail] {
        &self.tails
    }

    /// Files that a crash of ours has left; they go when the log is opened.
    pub fn leftovers(&self) -> &[PathBuf] {
        &self.resume.leftovers
    }

    /// Loads it, file by file: whatever a file that is judged good may still hide (a base is checked by reading it), whoever
    /// has taken all of it in has seen.
    ///
    /// # Errors
    /// The first of `take_in`: the log must not be written then.
    pub fn load<E>(self, mut take_in: impl FnMut(&LogFile) -> Result<(), E>) -> Result<Verified, E> {
        self.judged.files.iter().try_for_each(&mut take_in)?;
        Ok(Verified { resume: self.resume })
    }
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
    let (manifest, Unnamed { leftovers, passed_over }) = inventory::read(disk, place)?;
    let Some(manifest) = manifest else {
        let resume = Resume { leftovers, has_head: true, ..Resume::default() };
        return Ok(Recovered { judged: Examined::fresh(), tails: Vec::new(), resume });
    };
    let (mut judged, resume, cuts) = Judge::new(disk, place, manifest, load_truncated, unix_ms)?.all()?;
    judged.remarks.extend(passed_over.iter().map(|path| told_of_unnamed(place, path)));
    let dir = place.log_dir();
    set_aside(disk, &dir, &cuts).map_err(io_refuse(&dir))?;
    let tails = cuts.into_iter().map(|(tail, _)| tail).collect();
    Ok(Recovered { judged, tails, resume: Resume { leftovers, ..resume } })
}

fn told_of_unnamed(place: &Place, path: &Path) -> String {
    format!(
        "{} is a file of the log that {} does not name. It is not loaded: what it can hold, the named files hold as well.",
        path.display(),
        place.manifest_name()
    )
}

/// Judges a log that may be open for writing. Nothing is changed, so any damage is refused; the log must be at rest.
pub fn examine(disk: &dyn Disk, place: &Place) -> Result<Examined, RefuseError> {
    let manifest = manifest_to_replace(disk, place).map_err(io_refuse(&place.log_dir()))?;
    if manifest == Manifest::default() {
        return Ok(Examined::fresh());
    }
    Judge::new(disk, place, manifest, false, 0)?.all().map(|(judged, ..)| judged)
}

/// What [`recover`] would cut, or why it would refuse; nothing is changed. A single file of Redis before 7 is not looked at.
///
/// # Errors
/// The log would be refused.
pub fn preview(disk: &dyn Disk, place: &Place, load_truncated: bool) -> Result<Vec<Tail>, RefuseError> {
    let Some(manifest) = inventory::look(disk, place)? else { return Ok(Vec::new()) };
    let (_, _, cuts) = Judge::new(disk, place, manifest, load_truncated, 0)?.all()?;
    Ok(cuts.into_iter().map(|(tail, _)| tail).collect())
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
            sizes.push(size_of_member(disk, &path, file.kind)?);
        }
        let notes = Notes::read(disk, place).map_err(io_refuse(&dir))?.unwrap_or_default();
        let mark = SyncedMark::read(disk, place);
        Ok(Judge { disk, place, manifest, members, sizes, notes, mark, load_truncated, unix_ms })
    }

    fn path(&self, at: usize) -> PathBuf {
        self.place.log_dir().join(&self.members[at].name)
    }

    /// What may be loaded, and what is to be cut, with the bytes. Nothing is, unless `load_truncated`.
    fn all(self) -> Result<(Examined, Resume, Vec<Cut>), RefuseError> {
        self.judge_base()?;
        let id = self.manifest.id;
        let mut judged = Examined { files: Vec::new(), remarks: self.remarks(), is_fresh: false };
        let (mut last_seq, mut first_seq) = (id.map(|id| id.covers), None);
        let mut resume = Resume { history: id.map(|id| id.history), has_head: true, ..Resume::default() };
        let mut cuts: Vec<Cut> = Vec::new();
        let mut damaged_at = 0;
        for (at, file) in self.members.iter().enumerate() {
            let path = self.path(at);
            if let Some((first, _)) = cuts.first() {
                // The log ends before it.
                let cut = self.follower(at, damaged_at, first.offset)?;
                cuts.extend(cut);
                (resume.open_crc, resume.has_head) = (None, true);
                judged.files.push(Scan::default().into_file(path, file.kind, resume.history.is_some()));
                continue;
            }
            let scan = self.scan(at, last_seq, resume.history)?;
            if let Some(damage) = &scan.damage {
                cuts.push(self.cut(at, &scan, damage)?);
                damaged_at = at;
            }
            (last_seq, first_seq) = (scan.last_seq, first_seq.or(scan.first_seq));
            resume.history = scan.history;
            if file.kind == FileKind::Incremental {
                resume.open_crc = scan.open_crc();
                resume.has_head = scan.has_head || scan.good_end == 0;
            }
            judged.files.push(scan.into_file(path, file.kind, resume.history.is_some()));
        }
        resume.last_seq = last_seq.unwrap_or(0);
        resume.covers =
            id.map_or_else(|| first_seq.map_or(0, |first| first.saturating_sub(1)), |id| id.covers);
        (resume.manifest, resume.judged_ms) = (self.manifest, self.unix_ms);
        Ok((judged, resume, cuts))
    }

    /// The base must be the very one that the manifest tells of.
    fn judge_base(&self) -> Result<(), RefuseError> {
        let (Some(id), Some(base)) = (self.manifest.id, &self.manifest.base) else { return Ok(()) };
        let path = self.place.log_dir().join(&base.name);
        let there = identify(self.disk, &path).map_err(io_refuse(&path))?;
        match there {
            Some(there) if there.bytes != id.base.bytes => {
                let (has, had) = (there.bytes, id.base.bytes);
                let what = format!(
                    "it has {has} bytes and had {had} when it was written: it was cut or replaced. Restore it from a backup, or \
                     remove the first line of {} if it is right as it is",
                    self.place.log_dir().join(self.place.manifest_name()).display()
                );
                refuse(&path, None, what)
            }
            Some(there) if there != id.base => {
                foreign(&path, "it is not the base that the manifest tells of")
            }
            _ => Ok(()),
        }
    }

    fn scan(
        &self,
        at: usize,
        last_seq: Option<u64>,
        history: Option<HistoryId>,
    ) -> Result<Scan, RefuseError> {
        let (file, path, bytes) = (&self.members[at], self.path(at), self.sizes[at]);
        self.judge_noted_size(at)?;
        // A base is whole or refused, so only an incremental file can have lost its end before this one was begun.
        let follows = at > 0 && self.members[at - 1].kind == FileKind::Incremental;
        let before_bytes = follows.then(|| self.sizes[at - 1]);
        let mut scan = Scan::behind(last_seq, history, before_bytes, self.needs_head(file));
        scan.whole(self.disk, &path, file, bytes)?;
        Ok(scan)
    }

    /// Whether a file begins with a head, by what the manifest says.
    fn needs_head(&self, file: &ManifestFile) -> bool {
        file.kind == FileKind::Incremental && self.manifest.id.is_some_and(|id| file.seq >= id.heads_from)
    }

    /// A base of an earlier version: only its size is known.
    fn judge_noted_size(&self, at: usize) -> Result<(), RefuseError> {
        let (name, bytes) = (&self.members[at].name, self.sizes[at]);
        let Some(was) = self.notes.base_bytes(name).filter(|&was| was != bytes) else { return Ok(()) };
        let what = format!(
            "it has {bytes} bytes and had {was} when it was written: it was cut or replaced. Restore it from a backup, \
             or remove {} if it is right as it is",
            self.place.log_dir().join(self.place.notes_name()).display()
        );
        refuse(&self.path(at), None, what)
    }

    /// Whether the file behind this one tells that it is as long as it was when that one was begun.
    fn is_full_length(&self, at: usize) -> Result<bool, RefuseError> {
        if at + 1 >= self.members.len() {
            return Ok(false);
        }
        let path = self.path(at + 1);
        let source = self.disk.read(&path, 0).map_err(io_refuse(&path))?;
        let bytes = match Scanner::new(source, 0).until(self.sizes[at + 1]).next() {
            Ok(Some(Record::Head(head))) => Some(head.before_bytes),
            Ok(Some(Record::Follows(bytes))) => Some(bytes),
            _ => None,
        };
        Ok(bytes == Some(self.sizes[at]))
    }

    /// What is to be cut off a damaged file.
    fn cut(&self, at: usize, scan: &Scan, damage: &Damage) -> Result<Cut, RefuseError> {
        let (file, path) = (&self.members[at], self.path(at));
        // The single file of Redis before 7 was written to until it became a base.
        if file.kind == FileKind::Base && file.name != self.place.file_name {
            let what = format!(
                "{damage}. A base is whole when it gets its name, so no crash has torn it: it was cut or damaged since. Restore \
                 it from a backup"
            );
            return refuse(&path, Some(damage.bad_offset), what);
        }
        let last = self.sizes.iter().rposition(|&bytes| bytes > 0).unwrap_or(0);
        if !self.load_truncated || (at < last && file.kind == FileKind::Base) {
            let what = format!(
                "{damage}. Only the end of the log may be torn, and only with aof-load-truncated yes. {}",
                self.remedy(at, scan.good_end)
            );
            return refuse(&path, Some(damage.bad_offset), what);
        }
        let is_full_length = self.is_full_length(at)?;
        let (promised, remedy) = (self.promised(at), self.remedy(at, scan.good_end));
        let seen = Seen { scan, damage, promised, is_full_length, remedy };
        judge(self.disk, &path, self.sizes[at], &seen, self.unix_ms)
    }

    /// Judges a file behind a damaged one; what it holds is cut as a whole. It must be one that a rewrite had just moved
    /// to: ours, and nothing in it durable, because its bytes are synced after those of the file before it. One that has lost the block with
    /// its head, and those with other lines of ours, is ours by what the manifest says.
    fn follower(&self, at: usize, damaged_at: usize, good_end: u64) -> Result<Option<Cut>, RefuseError> {
        let (path, file_bytes) = (self.path(at), self.sizes[at]);
        if file_bytes == 0 {
            return Ok(None);
        }
        if file_bytes > TAIL_BYTES_MAX {
            return refuse(&path, None, "it follows a damaged file, and is too long to be set aside");
        }
        let bytes = read_from(self.disk, &path, 0, TAIL_BYTES_MAX)?;
        let is_ours = self.needs_head(&self.members[at]) && bytes[0] == 0;
        let (commands, marked) = (whole_commands(&bytes), is_ours || find(&bytes, MARK).is_some());
        let promised = self.promised(at).max(promised_in(&bytes, history_of(&bytes)));
        if promised > 0 || (commands > 0 && !marked) {
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
        short.map(|(at, mark)| short_text(&self.path(at), self.sizes[at], mark.synced)).into_iter().collect()
    }

    /// What a person can do about damage that is not cut by itself, and what that costs.
    fn remedy(&self, at: usize, good_end: u64) -> String {
        let mut text = format!(
            "Make a copy of the directory, then restore this file from a backup, or have `tandem check {} --repair-to DIR` write what is \
             good to another directory. Last of all, what follows can be given up by hand: `truncate -s {good_end} {}`",
            self.place.dir.display(),
            self.path(at).display()
        );
        let (mut lost, mut files) = (self.sizes[at].saturating_sub(good_end), 1);
        for later in at + 1..self.members.len() {
            if self.sizes[later] > 0 {
                text += &format!(", `truncate -s 0 {}`", self.path(later).display());
                lost += self.sizes[later];
                files += 1;
            }
        }
        let mark = self.place.log_dir().join(self.place.synced_name());
        text + &format!(", `rm -f {}` ({lost} bytes of log in {files} files are lost then)", mark.display())
    }
}

fn size_of_member(disk: &dyn Disk, path: &Path, kind: FileKind) -> Result<u64, RefuseError> {
    match disk.len(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let holds = match kind {
                FileKind::Base => "all that was written before the files that follow it",
                _ => "a part of the log",
            };
            refuse(
                path,
                None,
                format!(
                    "it is missing, and the manifest names it: it holds {holds}. Restore it from a backup"
                ),
            )
        }
        result => result.map_err(io_refuse(path)),
    }
}

pub(super) fn kept_as(path: &Path, unix_ms: i64) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!("{name}.tail-{unix_ms}"))
}

/// Of which log a file is by its head.
fn history_of(bytes: &[u8]) -> Option<HistoryId> {
    match Scanner::new(bytes, 0).until(bytes.len() as u64).next() {
        Ok(Some(Record::Head(head))) => Some(head.history),
        _ => None,
    }
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
