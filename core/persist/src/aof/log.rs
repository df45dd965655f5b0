//! Writes the log: one write to the kernel a batch, fsync by another thread, and change of files for a rewrite.
//!
//! ```text
//!            append fails, cut back fails, or any sync fails
//!   Ready ------------------------------------------------------> Failed
//!     ^                                                             |
//!     |        install of a replacement (fresh base, new file)      |
//!     +-------------------------------------------------------------+
//! ```
//! *Ready*: the file ends with whole batches. A write that fails for want of room is cut back, so the same batch
//! can be tried again. *Failed*: the kernel may have dropped what it could not write and would not say so twice, so
//! the file is not trusted again, whatever later calls return: every append is refused until a base written from
//! memory replaces it. A rewrite is no state of its own: `begin_rewrite` moves the log to a new file that follows
//! the old ones, so that at each moment base and files in the manifest's order are the whole log.
//!
//! No call but `open`, `append` and `sync` waits for a disk. What is unsynced in the old file at the move is synced by
//! the next sync before the new file is, so nothing in the new one is called durable without all of the old; and the
//! new file's first line tells how long the old one was, so that recovery sees when a crash took its end. It also tells of
//! which log the file is and with which batch it begins; which base belongs to them is told by the manifest, because a file
//! is begun before the base that comes before it is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{Annotation, Head, HistoryId, LogIdentity, push_timestamp};
use super::recover::{Resume, Verified};
use super::rewrite::{
    self, Base, Cleaning, Next, Open, Prepared, Publication, Published, Retired, RewritePlan, Target, Turn,
};
use super::{FileKind, KnownSnapshot, Manifest, ManifestFile, Notes, Place, Source, SyncedMark};
use crate::disk::{self, Disk, Syncer, write_all};
use crate::rdb::{Identity, identify};

/// Whether the log can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Ready,
    /// It must be replaced; why.
    Failed(String),
}

/// Why a batch was not appended. No part of it is in a file that will be loaded.
#[derive(Debug)]
pub enum AppendError {
    /// There is no room now, or the write was refused; nothing of the batch stayed, and it can be tried again.
    Retry(io::Error),
    /// The log has failed and must be replaced.
    Failed(String),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Retry(error) => {
                let error = base::fault::text(error);
                write!(f, "writing the append only file failed, nothing is lost: {error}")
            }
            AppendError::Failed(why) => write!(f, "the append only file must be replaced: {why}"),
        }
    }
}

impl std::error::Error for AppendError {}

/// What to sync from another thread, and what that would make durable.
pub struct SyncHandle {
    /// The file before the last change of files, while not all of it is known to be durable.
    before: Option<Arc<dyn Syncer>>,
    syncer: Arc<dyn Syncer>,
    era: Arc<()>,
    position: u64,
}

/// What became of a sync; to be handed to [`Log::apply`].
#[derive(Debug)]
pub struct SyncDone {
    era: Arc<()>,
    position: u64,
    result: io::Result<()>,
}

impl SyncHandle {
    /// Waits until the disk has everything appended before the handle was made.
    pub fn run(self) -> SyncDone {
        let before = self.before.map_or(Ok(()), |before| before.sync());
        let result = before.and_then(|()| self.syncer.sync());
        SyncDone { era: self.era, position: self.position, result }
    }
}

/// The file that was appended to before the present one.
struct Before {
    syncer: Arc<dyn Syncer>,
    is_synced: bool,
}

/// What the base of a rewrite that has begun will hold.
#[derive(Clone, Copy, Debug)]
struct Rewrite {
    /// Sequence number of the first incremental file that it does not hold.
    from: u64,
    /// Number of the last batch that it does.
    covers: u64,
}

/// The log, open for writing.
pub struct Log {
    disk: Arc<dyn Disk>,
    place: Place,
    manifest: Manifest,
    open: Open,
    before: Option<Before>,
    /// Size of the file: the end of the last whole batch.
    file_bytes: u64,
    /// What of it is known to be durable.
    file_synced: u64,
    /// The end of the last batch that holds commands and was appended here; 0 for none.
    data_end: u64,
    /// What its lines say to be durable.
    told_synced: u64,
    /// Position of the file's first byte.
    file_position: u64,
    position_synced: u64,
    last_seq: u64,
    batch_crc: u64,
    /// Commands follow its last line, and `batch_crc` is their checksum.
    is_open: bool,
    /// Which log it is.
    history: HistoryId,
    /// The base of the manifest holds the batches up to this one.
    covers: u64,
    /// The file begins, or will begin, with a head; one of an earlier version does not.
    has_head: bool,
    /// Size of the incremental file before this one, for the head; 0 when there is none.
    before_bytes: u64,
    /// Another one when the log is replaced as a whole, and in every other log: syncs of it say nothing here.
    era: Arc<()>,
    /// The rewrite that has begun.
    rewrite: Option<Rewrite>,
    /// No manifest names the file yet: it becomes the first one of the log when a base is published.
    is_starting: bool,
    /// Write the time before a batch of a new second.
    timestamps: bool,
    /// The second that was written last.
    timestamp_s: i64,
    /// Leave replaced files where they are.
    keeps_history: bool,
    state: State,
    turn: Turn,
}

impl Log {
    /// Opens what [`super::recover`] gave and was loaded. Goes on in the last incremental file, or makes the first; makes the
    /// others durable; deletes history and what a crash in a change of files left. `id`: which log it is from the next
    /// rewrite on, if it does not know it yet.
    pub fn open(disk: Arc<dyn Disk>, place: Place, log: Verified, id: HistoryId) -> io::Result<Log> {
        let Resume { mut manifest, last_seq, covers, open_crc, judged_ms, history, has_head, leftovers } =
            log.resume;
        let history = history.unwrap_or(id);
        let dir = place.log_dir();
        disk.create_dir(&dir)?;
        disk.sync_dir(&place.dir)?;
        // Whoever put the manifest in place may have died before it was durable, and what follows would be appended to files that it
        // alone names.
        disk.sync_dir(&dir)?;
        // First, since a new file may get the name of one of them.
        remove_all(&*disk, &place, &leftovers);
        for file in &manifest.incrementals {
            disk.append(&dir.join(&file.name))?.sync()?;
        }
        let before_bytes = match manifest.incrementals.as_slice() {
            [.., before, _] => disk.len(&dir.join(&before.name))?,
            _ => 0,
        };
        let (file, bytes) = match manifest.incrementals.last_mut() {
            Some(last) => {
                last.extra.clear(); // Others' offsets are wrong once we append.
                let path = dir.join(&last.name);
                (disk.append(&path)?, disk.len(&path)?)
            }
            None => {
                let (name, file) = rewrite::create_incremental(&*disk, &place, &manifest, 1)?;
                disk.sync_dir(&dir)?;
                rewrite::identify_log(&*disk, &place, &mut manifest, history, covers, name.seq)?;
                manifest.incrementals.push(name);
                rewrite::write_manifest(&*disk, &place, &manifest)?;
                (file, 0)
            }
        };
        rewrite::drop_history(&*disk, &place, &mut manifest);
        let log = Log::on(disk, place, manifest, Open::new(file)?, history);
        let mut log = Log {
            file_bytes: bytes,
            file_synced: bytes,
            position_synced: bytes,
            last_seq,
            batch_crc: open_crc.unwrap_or(0),
            is_open: open_crc.is_some(),
            covers,
            has_head,
            before_bytes,
            ..log
        };
        log.mark_synced()?;
        log.close_durably(judged_ms)?;
        Ok(log)
    }

    /// What a crash has left of a batch, or another server has written, is durable by now and becomes a batch of its own: the next one may
    /// lose a block, and would take it along. Where there is no room now, the next append does it.
    fn close_durably(&mut self, unix_ms: i64) -> io::Result<()> {
        if !self.is_open {
            return Ok(());
        }
        match self.append(&mut Vec::new(), unix_ms) {
            Err(AppendError::Retry(_)) => Ok(()),
            Err(error @ AppendError::Failed(_)) => Err(io::Error::other(error)),
            Ok(_) => self.sync().map_err(io::Error::other),
        }
    }

    /// Makes the log of an empty data set where there was none: an empty base, given as its bytes, and a first file.
    pub fn create(
        disk: Arc<dyn Disk>,
        place: Place,
        base: &[u8],
        form: Base,
        id: HistoryId,
    ) -> io::Result<Log> {
        let identity = LogIdentity { history: id, base: Identity::of(base), covers: 0, heads_from: 1 };
        Log::create_with(disk, place, form, identity, &Notes::default(), |disk, path| {
            let mut file = disk.create_new(path)?;
            write_all(&mut *file, base).map_err(|(_, error)| error)?;
            file.sync()
        })
    }

    /// Makes the log of a data set that was loaded from a snapshot, where there was none: the file itself gets a second name and is the
    /// base, so what is appended from now on is kept, and no base need be written first. Nobody may write into the file from then on; to
    /// put another one in its place does no harm. `snapshot` lies in the server's directory; `loaded`: which one it was when it was read.
    ///
    /// # Errors
    /// It is another one by now, or the file system has no second names for it; nothing has changed then but for what the next start
    /// removes.
    pub fn create_over(
        disk: Arc<dyn Disk>,
        place: Place,
        snapshot: &Path,
        loaded: Identity,
        id: HistoryId,
    ) -> io::Result<Log> {
        let name = snapshot.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut notes = Notes::default();
        notes.remember(KnownSnapshot { name, identity: loaded, source: Source::Here });
        let identity = LogIdentity { history: id, base: loaded, covers: 0, heads_from: 1 };
        Log::create_with(disk, place, Base::Snapshot, identity, &notes, |disk, path| {
            disk.link(snapshot, path)?;
            if identify(disk, path)? == Some(loaded) {
                return Ok(());
            }
            disk.remove(path)?;
            Err(io::Error::other("the snapshot is not the one that was loaded"))
        })
    }

    /// Makes the log of a data set that was restored, where there was none: `temp`, a synced file on the same file system, becomes the
    /// base, which holds the batches up to `covers`; what is appended is numbered behind it.
    ///
    /// # Errors
    /// The disk has failed, or there is a log.
    pub fn create_behind(
        disk: Arc<dyn Disk>,
        place: Place,
        temp: &Path,
        form: Base,
        id: HistoryId,
        covers: u64,
    ) -> io::Result<Log> {
        let base = identify(&*disk, temp)?.ok_or(io::ErrorKind::NotFound)?;
        let identity = LogIdentity { history: id, base, covers, heads_from: 1 };
        let log = Log::create_with(disk, place, form, identity, &Notes::default(), |disk, path| {
            disk.rename(temp, path)
        })?;
        Ok(Log { last_seq: covers, covers, ..log })
    }

    fn create_with(
        disk: Arc<dyn Disk>,
        place: Place,
        form: Base,
        identity: LogIdentity,
        notes: &Notes,
        make_base: impl FnOnce(&dyn Disk, &Path) -> io::Result<()>,
    ) -> io::Result<Log> {
        let dir = place.log_dir();
        disk.create_dir(&dir)?;
        disk.sync_dir(&place.dir)?;
        let unnamed = super::inventory::unnamed(&*disk, &place, None).map_err(io::Error::other)?;
        remove_all(&*disk, &place, &unnamed.leftovers);
        let base = ManifestFile::new(place.base_name(1, form), 1, FileKind::Base);
        let incremental = ManifestFile::new(place.incremental_name(1), 1, FileKind::Incremental);
        let manifest = Manifest {
            base: Some(base.clone()),
            incrementals: vec![incremental.clone()],
            id: Some(identity),
            ..Manifest::default()
        };
        rewrite::prepare_manifest(&*disk, &place, &manifest)?;
        disk.sync_dir(&dir)?;
        make_base(&*disk, &dir.join(&base.name))?;
        notes.write(&*disk, &place)?;
        let open = Open::new(disk.create_new(&dir.join(&incremental.name))?)?;
        disk.sync_dir(&dir)?;
        disk::put_in_place(&*disk, &dir, &place.manifest_name())?;
        let log = Log::on(disk, place, manifest, open, identity.history);
        log.mark_synced()?;
        Ok(log)
    }

    /// Starts a log from what is in memory, beside the files of an old one if there is one. Appends go to a file that
    /// no manifest names, as behind `begin_rewrite`; the base of this moment is published with `plan_finish`. Until
    /// then the old log is what would be loaded. Dropping the log instead leaves that as it is; see
    /// [`Log::discard_start`].
    ///
    /// # Errors
    /// The directory cannot be written, or what is there is not a log that may be replaced.
    pub fn start(disk: Arc<dyn Disk>, place: Place, id: HistoryId) -> io::Result<Log> {
        let manifest = super::inventory::manifest_to_replace(&*disk, &place)?;
        let dir = place.log_dir();
        disk.create_dir(&dir)?;
        disk.sync_dir(&place.dir)?;
        let open = Open::new(disk.create(&dir.join(place.starting_name()))?)?;
        let rewrite = Rewrite { from: manifest.next_incremental_seq(), covers: 0 };
        Ok(Log { is_starting: true, rewrite: Some(rewrite), ..Log::on(disk, place, manifest, open, id) })
    }

    /// Gives up a start whose base was not published: removes the file that was appended to.
    pub fn discard_start(self) {
        if self.is_starting {
            // One that cannot be removed is overwritten by the next start.
            self.disk.remove(&self.place.log_dir().join(self.place.starting_name())).unwrap_or_default();
        }
    }

    /// Whether the log waits for its first base and is not what would be loaded.
    pub fn is_starting(&self) -> bool {
        self.is_starting
    }

    /// A log that goes on with an empty file.
    fn on(disk: Arc<dyn Disk>, place: Place, manifest: Manifest, open: Open, history: HistoryId) -> Log {
        Log {
            disk,
            place,
            manifest,
            open,
            before: None,
            file_bytes: 0,
            file_synced: 0,
            data_end: 0,
            told_synced: 0,
            file_position: 0,
            position_synced: 0,
            last_seq: 0,
            batch_crc: 0,
            is_open: false,
            history,
            covers: 0,
            has_head: true,
            before_bytes: 0,
            era: Arc::default(),
            rewrite: None,
            is_starting: false,
            timestamps: false,
            timestamp_s: 0,
            keeps_history: false,
            state: State::Ready,
            turn: Turn::default(),
        }
    }

    /// Whether the first batch of each second is preceded by the time (`aof-timestamp-enabled`).
    pub fn set_timestamps(&mut self, on: bool) {
        self.timestamps = on;
    }

    /// Whether files that a rewrite replaced stay (`aof-disable-auto-gc`), named as history in the manifest.
    pub fn set_keeps_history(&mut self, on: bool) {
        self.keeps_history = on;
    }

    /// Appends a batch of whole commands (transactions complete) and the line that closes it, in one write; `batch`
    /// grows by that line, and is as it was after an error. Returns the position behind it; a reply may leave when
    /// [`Log::position_synced`] has reached it.
    pub fn append(&mut self, batch: &mut Vec<u8>, unix_ms: i64) -> Result<u64, AppendError> {
        if let State::Failed(why) = &self.state {
            return Err(AppendError::Failed(why.clone()));
        }
        let given = batch.len();
        let holds_commands = given > 0;
        if self.is_open && holds_commands {
            self.append(&mut Vec::new(), unix_ms)?;
        }
        let mut head = Vec::new();
        if self.file_bytes == 0 {
            let (first_batch, before_bytes) = (self.last_seq + 1, self.before_bytes);
            Head { history: self.history, first_batch, before_bytes }.push(&mut head);
        }
        let unix_s = unix_ms.div_euclid(1000);
        if self.timestamps && self.timestamp_s != unix_s {
            push_timestamp(unix_s, &mut head);
        }
        if !head.is_empty() {
            batch.splice(0..0, head.iter().copied());
        }
        let crc = base::crc64::update(self.batch_crc, batch);
        let line = Annotation { seq: self.last_seq + 1, crc, unix_ms, synced: self.file_synced };
        line.push(self.has_head.then_some(self.history), batch);
        if let Err((_, error)) = write_all(&mut *self.open.file, batch) {
            batch.drain(..head.len());
            batch.truncate(given);
            return Err(self.cut_back(error));
        }
        self.file_bytes += batch.len() as u64;
        self.told_synced = line.synced;
        if holds_commands {
            self.data_end = self.file_bytes;
        }
        (self.last_seq, self.batch_crc, self.is_open) = (line.seq, 0, false);
        if self.timestamps {
            self.timestamp_s = unix_s;
        }
        Ok(self.position())
    }

    /// Tells in the file that all it holds is durable, if that is so and no line tells it yet: a batch without commands. The
    /// next batch would tell; where none follows, recovery could not know that damage lies where nothing was torn.
    pub fn tell_synced(&mut self, unix_ms: i64) -> Result<(), AppendError> {
        if self.told_synced >= self.data_end || self.file_synced < self.data_end {
            return Ok(());
        }
        self.append(&mut Vec::new(), unix_ms).map(drop)
    }

    /// After a failed write: the file must not hold half a batch followed by others.
    fn cut_back(&mut self, error: io::Error) -> AppendError {
        use rustix::io::Errno;
        let text = base::fault::text(&error);
        // A file that has got as large as a file may be takes no more, however often it is tried; a new one does.
        let is_final =
            [Errno::IO, Errno::FBIG].map(|no| Some(no.raw_os_error())).contains(&error.raw_os_error());
        match self.open.file.truncate(self.file_bytes) {
            Ok(()) if !is_final => AppendError::Retry(error),
            Ok(()) => self.fail(format!("write: {text}")),
            Err(second) => self.fail(format!("write: {text}; cutting back: {}", base::fault::text(&second))),
        }
    }

    pub(super) fn fail(&mut self, why: String) -> AppendError {
        self.state = State::Failed(why.clone());
        AppendError::Failed(why)
    }

    /// How many bytes the log got so far, through all its files since it was opened.
    pub fn position(&self) -> u64 {
        self.file_position + self.file_bytes
    }

    /// Up to which position everything is durable.
    pub fn position_synced(&self) -> u64 {
        self.position_synced
    }

    /// Size of the file now written, bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The file that is written to, how much is in it, and how much of that is durable, bytes; nothing while no manifest names it.
    pub fn end(&self) -> Option<(String, u64, u64)> {
        let file = self.manifest.incrementals.last().filter(|_| !self.is_starting)?;
        Some((file.name.clone(), self.file_bytes, self.file_synced))
    }

    /// Whether it can be written.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a rewrite has begun and neither finished nor been given up.
    pub fn is_rewriting(&self) -> bool {
        self.rewrite.is_some()
    }

    /// The files that make up the log.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the log is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A handle with which another thread makes durable what has been appended. Costs no system call.
    pub fn sync_handle(&self) -> SyncHandle {
        let before = self.before.as_ref().filter(|before| !before.is_synced);
        SyncHandle {
            before: before.map(|before| Arc::clone(&before.syncer)),
            syncer: Arc::clone(&self.open.syncer),
            era: Arc::clone(&self.era),
            position: self.position(),
        }
    }

    /// Takes note of a sync. An error makes the log fail for good, unless it has been replaced since.
    pub fn apply(&mut self, done: SyncDone) -> Result<(), AppendError> {
        if let State::Failed(why) = &self.state {
            return Err(AppendError::Failed(why.clone()));
        }
        if !Arc::ptr_eq(&done.era, &self.era) {
            return Ok(()); // The base that replaced the log holds what this sync was for.
        }
        match done.result {
            Ok(()) => {
                self.position_synced = self.position_synced.max(done.position);
                // A sync begun before the last change of files may say nothing about the present one.
                if let Some(in_file) = done.position.checked_sub(self.file_position) {
                    self.file_synced = self.file_synced.max(in_file);
                    if let Some(before) = &mut self.before {
                        before.is_synced = true;
                    }
                }
                Ok(())
            }
            Err(error) => Err(self.fail(format!("fsync: {error}"))),
        }
    }

    /// Syncs here and now.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        let done = self.sync_handle().run();
        self.apply(done)
    }

    /// Makes all durable, and tells so in the file: nothing more will be appended.
    pub fn finish(&mut self, unix_ms: i64) -> Result<(), AppendError> {
        self.sync()?;
        self.tell_synced(unix_ms)?;
        self.sync()
    }

    /// Whether a change of files is under way.
    pub(super) fn is_changing(&self) -> bool {
        Arc::strong_count(&self.turn) > 1
    }

    /// Another one when the log has been replaced as a whole.
    pub(super) fn era(&self) -> Arc<()> {
        Arc::clone(&self.era)
    }

    /// Which file is appended to, whatever its name.
    pub(super) fn open_stat(&self) -> io::Result<disk::Stat> {
        self.open.file.stat()
    }

    /// What is known to be durable of the file, for the mark beside the log; none while no manifest names the file.
    pub fn synced_mark(&self) -> Option<SyncedMark> {
        let file = self.manifest.incrementals.last()?.name.clone();
        let is_sound = !self.is_starting && self.state == State::Ready;
        let inode = self.open_stat().ok()?.id.1;
        is_sound.then_some(SyncedMark { file, synced: self.file_synced, inode })
    }

    /// Writes the mark here and now, so that none of another log stands there.
    fn mark_synced(&self) -> io::Result<()> {
        self.synced_mark().map_or(Ok(()), |mark| mark.write(&*self.disk, &self.place))
    }

    /// What must be done before the log can move to a new file. `Retry` while another change of files is under way.
    pub fn plan_rewrite(&self) -> Result<RewritePlan, AppendError> {
        if let State::Failed(why) = &self.state {
            return Err(AppendError::Failed(why.clone()));
        }
        let target = self.target().map_err(AppendError::Retry)?;
        Ok(RewritePlan { sync: self.sync_handle(), target })
    }

    /// Moves the log to the new file; a base that holds the state of this moment may then be written and published.
    /// After an error the old file goes on, unless the sync of the plan has failed: then the log has.
    pub fn begin_rewrite(&mut self, prepared: Prepared) -> Result<(), AppendError> {
        let Prepared { synced, made, _turn } = prepared;
        self.apply(synced)?;
        let (manifest, open) = made.map_err(AppendError::Retry)?;
        self.manifest = manifest;
        let from = self.manifest.incrementals.last().map(|file| file.seq);
        self.rewrite = from.map(|from| Rewrite { from, covers: self.last_seq });
        (self.before_bytes, self.has_head) = (self.file_bytes, true);
        self.file_position = self.position();
        (self.file_bytes, self.file_synced, self.batch_crc, self.timestamp_s) = (0, 0, 0, 0);
        (self.data_end, self.told_synced, self.is_open) = (0, 0, false);
        let old = std::mem::replace(&mut self.open, open);
        let is_synced = self.position_synced == self.file_position;
        self.before = Some(Before { syncer: old.syncer, is_synced });
        Ok(())
    }

    /// How to publish the base of the rewrite, a file that holds the state at `begin_rewrite`, or at `start`.
    pub fn plan_finish(&self, form: Base) -> io::Result<Publication> {
        let Rewrite { from, covers } =
            self.rewrite.ok_or_else(|| io::Error::other("no rewrite has begun"))?;
        let mut target = self.target()?;
        let files = std::mem::take(&mut target.manifest.incrementals);
        let (kept, replaced) = files.into_iter().partition(|file| file.seq >= from);
        target.manifest.incrementals = kept;
        let next = if self.is_starting { Next::Adopted(from) } else { Next::Same };
        Ok(target.publication(replaced, form, next, covers))
    }

    /// How to replace the whole log by a base and a new file, which is the only way out of `Failed`: the base must
    /// hold everything ever appended. Appends that succeed before `install` are lost, so the log must have failed, or
    /// get none.
    pub fn plan_replacement(&self, form: Base) -> io::Result<Publication> {
        let mut target = self.target()?;
        let replaced = std::mem::take(&mut target.manifest.incrementals);
        Ok(target.publication(replaced, form, Next::New, self.last_seq))
    }

    /// How to delete what has been kept as history.
    pub fn plan_cleaning(&self) -> io::Result<Cleaning> {
        Ok(Cleaning { target: self.target()? })
    }

    fn target(&self) -> io::Result<Target> {
        if self.is_changing() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the log's files are being changed"));
        }
        Ok(Target {
            disk: Arc::clone(&self.disk),
            place: self.place.clone(),
            manifest: self.manifest.clone(),
            history: self.history,
            covers: self.covers,
            keeps_history: self.keeps_history,
            turn: Arc::clone(&self.turn),
        })
    }

    /// Takes note of what has been published. The handles of files that are gone come back, to be dropped where no
    /// lock is held.
    pub fn install(&mut self, published: Published) -> Retired {
        let Published { manifest, open, _turn } = published;
        (self.manifest, self.rewrite, self.is_starting) = (manifest, None, false);
        self.covers = self.manifest.id.map_or(self.covers, |id| id.covers);
        // The base holds what was in the file before, so nothing waits for that any more.
        let before = self.before.take().map(|before| before.syncer);
        let Some(open) = open else { return Retired { _file: None, _syncers: [before, None] } };
        self.file_position = self.position();
        self.position_synced = self.file_position;
        (self.file_bytes, self.file_synced, self.batch_crc, self.before_bytes) = (0, 0, 0, 0);
        (self.data_end, self.told_synced, self.is_open, self.has_head) = (0, 0, false, true);
        self.timestamp_s = 0;
        self.era = Arc::default();
        self.state = State::Ready;
        let old = std::mem::replace(&mut self.open, open);
        Retired { _file: Some(old.file), _syncers: [before, Some(old.syncer)] }
    }

    /// Takes note of a cleaning.
    pub fn install_cleaned(&mut self, cleaned: Published) {
        self.manifest = cleaned.manifest;
    }

    /// Gives up the rewrite. The files stay as they are, one more in number.
    pub fn abort_rewrite(&mut self) {
        self.rewrite = None;
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Log");
        f.field("state", &self.state).field("position", &self.position()).field("manifest", &self.manifest);
        f.finish_non_exhaustive()
    }
}

/// Removes what a crash has left, and last the manifest that explains it. What cannot be removed is in nobody's way, and found again
/// next time.
fn remove_all(disk: &dyn Disk, place: &Place, paths: &[PathBuf]) {
    let dir = place.log_dir();
    let prepared = dir.join(disk::temp_name(&place.manifest_name()));
    let (last, first): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| **path == prepared);
    first.into_iter().for_each(|path| disk.remove(path).unwrap_or_default());
    if disk.sync_dir(&dir).is_ok() {
        last.into_iter().for_each(|path| disk.remove(path).unwrap_or_default());
    }
}
