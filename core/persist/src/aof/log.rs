//! Writes the log: one write to the kernel a batch, fsync by another thread, and change of files for a rewrite.
//!
//! ```text
//!            append fails, cut back fails, or any sync fails
//!   Ready ------------------------------------------------------> Failed
//!     ^                                                             |
//!     |        replace_with_new_incr (fresh base, new file)         |
//!     +-------------------------------------------------------------+
//! ```
//! *Ready*: the file ends with whole batches. A write that fails for want of room is cut back, so the same batch
//! can be tried again. *Failed*: the kernel may have dropped what it could not write and would not say so twice, so
//! the file is not trusted again, whatever later calls return: every append is refused until a base written from
//! memory replaces it. A rewrite is no state of its own: `begin_rewrite` moves the log to a new file that follows
//! the old ones, so that at each moment base and files in the manifest's order are the whole log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Annotation, FileKind, Manifest, ManifestFile, Place, Recovered};
use crate::disk::{self, Disk, File, Syncer, write_all};

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
                write!(f, "writing the append only file failed, nothing is lost: {error}")
            }
            AppendError::Failed(why) => write!(f, "the append only file must be replaced: {why}"),
        }
    }
}

impl std::error::Error for AppendError {}

/// A file to sync from another thread, and what that would make durable.
pub struct SyncHandle {
    syncer: Arc<dyn Syncer>,
    generation: u64,
    position: u64,
}

/// What became of a sync; to be handed to [`Log::apply`].
#[derive(Debug)]
pub struct SyncDone {
    generation: u64,
    position: u64,
    result: io::Result<()>,
}

impl SyncHandle {
    /// Waits until the disk has everything appended before the handle was made.
    pub fn run(self) -> SyncDone {
        SyncDone { generation: self.generation, position: self.position, result: self.syncer.sync() }
    }
}

/// The log, open for writing.
pub struct Log {
    disk: Arc<dyn Disk>,
    place: Place,
    manifest: Manifest,
    file: Box<dyn File>,
    syncer: Arc<dyn Syncer>,
    /// Size of the file: the end of the last whole batch.
    file_bytes: u64,
    /// What of it is known to be durable.
    file_synced: u64,
    /// Position of the file's first byte.
    file_position: u64,
    position_synced: u64,
    last_seq: u64,
    batch_crc: u64,
    generation: u64,
    /// Sequence number of the first file that a running rewrite's base does not cover.
    rewrite_from: Option<u64>,
    state: State,
    scratch: Vec<u8>,
}

impl Log {
    /// Opens what [`super::recover`] gave, after it was loaded. Goes on in the last incremental file, or makes the
    /// first; deletes history.
    pub fn open(disk: Arc<dyn Disk>, place: Place, recovered: &Recovered) -> io::Result<Log> {
        let dir = place.log_dir();
        disk.create_dir(&dir)?;
        disk.sync_dir(&place.dir)?;
        let mut manifest = recovered.manifest.clone();
        let (mut file, bytes, crc) = match manifest.incrementals.last_mut() {
            Some(last) => {
                last.extra.clear(); // Others' offsets are wrong once we append.
                let path = dir.join(&last.name);
                (disk.append(&path)?, disk.len(&path)?, recovered.open_crc)
            }
            None => (add_incremental(&*disk, &place, &mut manifest)?, 0, 0),
        };
        file.sync()?;
        let syncer = file.syncer()?.into();
        let mut log = Log {
            disk,
            place,
            manifest,
            file,
            syncer,
            file_bytes: bytes,
            file_synced: bytes,
            file_position: 0,
            position_synced: bytes,
            last_seq: recovered.last_seq,
            batch_crc: crc,
            generation: 0,
            rewrite_from: None,
            state: State::Ready,
            scratch: Vec::new(),
        };
        log.drop_history();
        Ok(log)
    }

    /// Appends a batch of whole commands (transactions complete) and the line that closes it, in one write.
    /// Returns the position behind it; a reply may leave when [`Log::position_synced`] has reached it.
    pub fn append(&mut self, bytes: &[u8], unix_ms: i64) -> Result<u64, AppendError> {
        if let State::Failed(why) = &self.state {
            return Err(AppendError::Failed(why.clone()));
        }
        let crc = base::crc64::update(self.batch_crc, bytes);
        let line = Annotation { seq: self.last_seq + 1, crc, unix_ms, synced: self.file_synced };
        let mut batch = std::mem::take(&mut self.scratch);
        batch.clear();
        batch.extend_from_slice(bytes);
        line.push(&mut batch);
        let written = write_all(&mut *self.file, &batch);
        let length = batch.len() as u64;
        self.scratch = batch;
        if let Err((_, error)) = written {
            return Err(self.cut_back(error));
        }
        self.file_bytes += length;
        (self.last_seq, self.batch_crc) = (line.seq, 0);
        Ok(self.position())
    }

    /// After a failed write: the file must not hold half a batch followed by others.
    fn cut_back(&mut self, error: io::Error) -> AppendError {
        match self.file.truncate(self.file_bytes) {
            Ok(()) if error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) => {
                AppendError::Retry(error)
            }
            Ok(()) => self.fail(format!("write: {error}")),
            Err(second) => self.fail(format!("write: {error}; cutting back: {second}")),
        }
    }

    fn fail(&mut self, why: String) -> AppendError {
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

    /// Whether it can be written.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a rewrite has begun and neither finished nor been given up.
    pub fn is_rewriting(&self) -> bool {
        self.rewrite_from.is_some()
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
        SyncHandle {
            syncer: Arc::clone(&self.syncer),
            generation: self.generation,
            position: self.position(),
        }
    }

    /// Takes note of a sync. An error makes the log fail for good, unless its file has been replaced since.
    pub fn apply(&mut self, done: SyncDone) -> Result<(), AppendError> {
        if let State::Failed(why) = &self.state {
            return Err(AppendError::Failed(why.clone()));
        }
        if done.generation != self.generation {
            return Ok(()); // The change of files synced what this sync was for, or made it needless.
        }
        match done.result {
            Ok(()) => {
                self.position_synced = self.position_synced.max(done.position);
                self.file_synced = self.file_synced.max(done.position - self.file_position);
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

    /// Moves the log to a new file; a base that holds the state of this moment may then be written and
    /// handed to `finish_rewrite`. Syncs the old file first (have most of it synced by the thread before), so
    /// that nothing in the new one can be durable without all of the old. After an error the old file goes on.
    pub fn begin_rewrite(&mut self) -> Result<(), AppendError> {
        self.sync()?;
        let mut manifest = self.manifest.clone();
        let file = add_incremental(&*self.disk, &self.place, &mut manifest).map_err(AppendError::Retry)?;
        self.rewrite_from = manifest.incrementals.last().map(|f| f.seq);
        self.switch(manifest, file).map_err(AppendError::Retry)
    }

    fn switch(&mut self, manifest: Manifest, file: Box<dyn File>) -> io::Result<()> {
        let syncer = file.syncer()?.into();
        self.file_position = self.position();
        self.position_synced = self.file_position;
        (self.file_bytes, self.file_synced, self.batch_crc) = (0, 0, 0);
        (self.manifest, self.file, self.syncer) = (manifest, file, syncer);
        self.generation += 1;
        Ok(())
    }

    /// Publishes the base of the rewrite: `temp` is a synced file on the same file system that holds the state at
    /// `begin_rewrite`. Then deletes what it replaces. After an error the log is what it was before, and whole.
    pub fn finish_rewrite(&mut self, temp: &Path) -> io::Result<()> {
        let from = self.rewrite_from.ok_or_else(|| io::Error::other("no rewrite has begun"))?;
        let mut manifest = self.manifest.clone();
        let (kept, replaced): (Vec<_>, Vec<_>) = manifest.incrementals.drain(..).partition(|f| f.seq >= from);
        manifest.incrementals = kept;
        self.place_base(&mut manifest, replaced, temp)?;
        self.manifest = manifest;
        self.rewrite_from = None;
        self.drop_history();
        Ok(())
    }

    /// Gives up the rewrite. The files stay as they are, one more in number.
    pub fn abort_rewrite(&mut self) {
        self.rewrite_from = None;
    }

    /// Replaces the whole log by a base and a new file, which is the only way out of `Failed`: `temp` is a synced
    /// file on the same file system that holds the state in memory now, everything ever appended included.
    pub fn replace_with_new_incr(&mut self, temp: &Path) -> io::Result<()> {
        let mut manifest = self.manifest.clone();
        let replaced = std::mem::take(&mut manifest.incrementals);
        let seq = self.manifest.next_incremental_seq();
        let new = ManifestFile::new(self.place.incremental_name(seq), seq, FileKind::Incremental);
        let file = self.disk.create(&self.place.log_dir().join(&new.name))?;
        manifest.incrementals.push(new);
        self.place_base(&mut manifest, replaced, temp)?;
        self.switch(manifest, file)?;
        (self.state, self.rewrite_from) = (State::Ready, None);
        self.drop_history();
        Ok(())
    }

    /// Moves the base to its name and writes the manifest; old base and `replaced` become history.
    fn place_base(
        &self,
        manifest: &mut Manifest,
        replaced: Vec<ManifestFile>,
        temp: &Path,
    ) -> io::Result<()> {
        let seq = manifest.next_base_seq();
        let base = ManifestFile::new(self.place.base_name(seq), seq, FileKind::Base);
        self.disk.rename(temp, &self.place.log_dir().join(&base.name))?;
        let old = manifest.base.replace(base);
        let history = old.into_iter().chain(replaced);
        manifest.history.extend(history.map(|file| ManifestFile { kind: FileKind::History, ..file }));
        write_manifest(&*self.disk, &self.place, manifest)
    }

    /// Deletes what is replaced. What cannot be deleted stays in the manifest and is tried again next time.
    fn drop_history(&mut self) {
        if self.manifest.history.is_empty() {
            return;
        }
        let dir = self.place.log_dir();
        let gone = |file: &ManifestFile| match self.disk.remove(&dir.join(&file.name)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let mut manifest = self.manifest.clone();
        manifest.history.retain(|file| !gone(file));
        if write_manifest(&*self.disk, &self.place, &manifest).is_ok() {
            self.manifest = manifest;
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Log");
        f.field("state", &self.state).field("position", &self.position()).field("manifest", &self.manifest);
        f.finish_non_exhaustive()
    }
}

/// Makes the next incremental file and writes the manifest that names it. After an error the manifest on disk may
/// name it or not; it is empty, and an empty file at the end is no harm.
fn add_incremental(disk: &dyn Disk, place: &Place, manifest: &mut Manifest) -> io::Result<Box<dyn File>> {
    let seq = manifest.next_incremental_seq();
    let new = ManifestFile::new(place.incremental_name(seq), seq, FileKind::Incremental);
    let file = disk.create(&place.log_dir().join(&new.name))?;
    manifest.incrementals.push(new);
    write_manifest(disk, place, manifest)?;
    Ok(file)
}

fn write_manifest(disk: &dyn Disk, place: &Place, manifest: &Manifest) -> io::Result<()> {
    let (dir, name) = (place.log_dir(), place.manifest_name());
    disk::prepare(disk, &dir, &name, manifest.to_text().as_bytes())?;
    disk::put_in_place(disk, &dir, &name)
}
