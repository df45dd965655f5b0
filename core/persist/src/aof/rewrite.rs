//! A change of the log's files in three parts, so that no append waits for the disk work of it.
//!
//! ```text
//!   under the lock        without it                              under the lock
//!   plan_rewrite      ->  RewritePlan::run: new file, manifest    ->  begin_rewrite: appends go to it
//!   plan_finish       ->  Publication::run: base, manifest, unlink  ->  install: what is kept in memory
//!   plan_replacement  ->  the same, with a new file too             ->  install: the same, and appends go to it
//! ```
//! A log that is being started beside an old one (`Log::start`) is published the same way, with the file it has been
//! appending to; until then the old manifest stands.
//!
//! At each moment base and files in the manifest's order are the whole log: the new file is named durably before
//! the first byte goes to it, and what is replaced is deleted when a manifest without it is durable. No file system need keep names in
//! order: each is durable before another that depends on it is given. Only one change
//! is under way at a time, which a token tells that every part hands on ([`Turn`]): two could write each other's
//! manifest away.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::{HistoryId, LogIdentity};
use super::log::{SyncDone, SyncHandle};
use super::manifest::MANIFEST_BYTES_MAX;
use super::{FileKind, Manifest, ManifestFile, Notes, Place};
use crate::disk::{self, Disk, File, Syncer};
use crate::rdb::{Identity, identify};

/// Held by the parts of a change; the log has one too, so a count of one means that none is under way.
pub(super) type Turn = Arc<Mutex<Attempts>>;

/// The files of changes that have failed half-way. What has come of them is not clear: a manifest on the disk may name them or
/// not, now or after a crash. So their numbers are not used again as long as the log is open, and the next change names those that are
/// there as history.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    files: Vec<ManifestFile>,
    base_seq: u64,
    incremental_seq: u64,
}

impl Attempts {
    fn note(&mut self, file: &ManifestFile) {
        let seq = match file.kind {
            FileKind::Base => &mut self.base_seq,
            FileKind::Incremental | FileKind::History => &mut self.incremental_seq,
        };
        *seq = file.seq.max(*seq);
        self.files.push(file.clone());
    }
}

/// A file open for appending and for syncing by another thread.
pub(super) struct Open {
    pub(super) file: Box<dyn File>,
    pub(super) syncer: Arc<dyn Syncer>,
}

impl Open {
    pub(super) fn new(file: Box<dyn File>) -> io::Result<Open> {
        let syncer = Arc::new(FinalSyncer { syncer: file.syncer()?, has_failed: Mutex::new(false) });
        Ok(Open { file, syncer })
    }
}

/// Syncs a file for several threads, one at a time. The kernel tells only once that it could not write something, so a failure is final
/// for all of them: whoever syncs next would be told that all is well.
struct FinalSyncer {
    syncer: Box<dyn Syncer>,
    has_failed: Mutex<bool>,
}

impl Syncer for FinalSyncer {
    fn sync(&self) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(io::Error::other("a sync has failed before"));
        }
        self.syncer.sync().inspect_err(|_| *has_failed = true)
    }
}

/// The files of the log as they will be named, and the means to do it.
pub(super) struct Target {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) place: Place,
    pub(super) manifest: Manifest,
    pub(super) history: HistoryId,
    /// The base of the manifest holds the batches up to this one.
    pub(super) covers: u64,
    pub(super) keeps_history: bool,
    pub(super) turn: Turn,
}

/// What a base is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// An RDB.
    Snapshot,
    /// Commands (`aof-use-rdb-preamble no`).
    Commands,
}

/// Where appends go when a base has been published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the file that the log has moved to already.
    Same,
    /// To a new file.
    New,
    /// To the file of a log that was being started, which gets its name with this number.
    Adopted(u64),
    /// Nowhere: there is no log, only its files.
    Nowhere,
}

impl Target {
    /// The next base, which holds the batches up to `covers`, in place of the old one; that and `replaced` become history,
    /// the newest first.
    pub(super) fn publication(
        mut self,
        replaced: Vec<ManifestFile>,
        form: Base,
        next: Next,
        covers: u64,
    ) -> Publication {
        let history = replaced.into_iter().rev().chain(self.manifest.base.take());
        let history = history.map(|file| ManifestFile { kind: FileKind::History, ..file });
        self.manifest.history.splice(0..0, history);
        self.covers = covers;
        Publication { target: self, form, next }
    }

    /// Sees to what attempts before this one have left: the manifest on the disk may name it, or the one that was about to take
    /// its place. What a start would load is history from now on, so it is deleted when a manifest says so. The rest is removed at
    /// once, since the next manifest to be prepared is written over the one that explains it.
    fn settle_strays(&mut self) -> io::Result<()> {
        let dir = self.place.log_dir();
        let strays = self.strays();
        // One that was removed may come back until a sync of the directory has succeeded.
        if strays.is_empty() && self.attempts().files.is_empty() {
            return Ok(());
        }
        // From here on the manifest that stands is the one that a crash finds, too.
        self.disk.sync_dir(&dir)?;
        let standing = self.standing();
        for file in strays {
            let is_gone = !standing.names(&file.name) && self.disk.remove(&dir.join(&file.name)).is_ok();
            if !is_gone {
                self.manifest.history.push(ManifestFile { kind: FileKind::History, ..file });
            }
        }
        self.disk.sync_dir(&dir)
    }

    fn standing(&self) -> Manifest {
        let path = self.place.log_dir().join(self.place.manifest_name());
        let text = disk::read_whole(&*self.disk, &path, MANIFEST_BYTES_MAX).ok();
        text.and_then(|text| Manifest::parse(&text).ok()).unwrap_or_default()
    }

    fn strays(&self) -> Vec<ManifestFile> {
        let dir = self.place.log_dir();
        let (standing, prepared) = (self.standing(), super::inventory::prepared(&*self.disk, &self.place));
        let named = [&standing, &prepared].map(Manifest::files);
        let attempts = self.attempts().files.clone();
        let mut strays: Vec<ManifestFile> = Vec::new();
        for file in named.into_iter().flatten().chain(&attempts) {
            let is_known =
                self.manifest.names(&file.name) || strays.iter().any(|stray| stray.name == file.name);
            if !is_known && self.disk.len(&dir.join(&file.name)).is_ok() {
                strays.push(file.clone());
            }
        }
        strays
    }

    /// The name of the base to be. One that is there already, by whomever, is left alone.
    fn name_base(&mut self, form: Base) -> ManifestFile {
        let dir = self.place.log_dir();
        let mut seq = self.manifest.next_base_seq().max(self.attempts().base_seq + 1);
        while self.disk.len(&dir.join(self.place.base_name(seq, form))).is_ok() {
            seq += 1;
        }
        let base = ManifestFile::new(self.place.base_name(seq, form), seq, FileKind::Base);
        self.manifest.base = Some(base.clone());
        self.attempts().note(&base);
        base
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest is in place, and what it does not name is gone or history.
    fn is_clear(&self) {
        self.attempts().files.clear();
    }

    /// Makes the next incremental file; a manifest must name it before anything is appended.
    fn create_incremental(&mut self) -> io::Result<Open> {
        let least = self.attempts().incremental_seq + 1;
        let (name, file) = create_incremental(&*self.disk, &self.place, &self.manifest, least)?;
        self.attempts().note(&name);
        self.manifest.incrementals.push(name);
        self.disk.sync_dir(&self.place.log_dir())?;
        Open::new(file)
    }

    /// Makes the next incremental file and names it durably. A log of an earlier version gets its identity by that.
    fn name_next(&mut self) -> io::Result<Open> {
        let open = self.create_incremental()?;
        let seq = self.manifest.incrementals.last().map_or(1, |file| file.seq);
        identify_log(&*self.disk, &self.place, &mut self.manifest, self.history, self.covers, seq)?;
        write_manifest(&*self.disk, &self.place, &self.manifest)?;
        self.is_clear();
        Ok(open)
    }
}

/// What must be done before the log can move to a new file; see [`super::Log::plan_rewrite`].
pub struct RewritePlan {
    pub(super) sync: SyncHandle,
    pub(super) target: Target,
}

/// A new file, ready to be moved to; for [`super::Log::begin_rewrite`].
pub struct Prepared {
    pub(super) synced: SyncDone,
    pub(super) made: io::Result<(Manifest, Open)>,
    pub(super) _turn: Turn,
}

impl RewritePlan {
    /// Makes the next file, names it durably behind the others, and syncs what was appended before the plan. What
    /// went wrong is told by `begin_rewrite`. Dropping the result leaves an empty file in the manifest, which is no
    /// harm.
    pub fn run(self) -> Prepared {
        let RewritePlan { sync, mut target } = self;
        let made = target.settle_strays().and_then(|()| target.name_next());
        // Last, so that as little as possible is unsynced at the moment of the switch.
        let synced = sync.run();
        Prepared { synced, made: made.map(|open| (target.manifest, open)), _turn: target.turn }
    }
}

/// A base to be published; see [`super::Log::plan_finish`] and [`super::Log::plan_replacement`].
pub struct Publication {
    /// Names what the base replaces as history.
    pub(super) target: Target,
    pub(super) form: Base,
    pub(super) next: Next,
}

/// The log's files after a publication; for [`super::Log::install`].
pub struct Published {
    pub(super) manifest: Manifest,
    pub(super) open: Option<Open>,
    pub(super) _turn: Turn,
}

impl Publication {
    /// Moves `temp`, a synced file on the same file system, to its name, writes the manifest, then deletes what is
    /// replaced. After an error either manifest may be on the disk; the log is whole with both.
    pub fn run(self, temp: &Path) -> io::Result<Published> {
        let Publication { mut target, form, next } = self;
        let dir = target.place.log_dir();
        // It may have been removed while the server ran.
        target.disk.create_dir(&dir)?;
        target.settle_strays()?;
        let base = target.name_base(form);
        if Notes::read(&*target.disk, &target.place)?.is_none() {
            Notes::default().write(&*target.disk, &target.place)?;
        }
        let open = if next == Next::New { Some(target.create_incremental()?) } else { None };
        if let Next::Adopted(seq) = next {
            let name = target.place.incremental_name(seq);
            target.manifest.incrementals.push(ManifestFile::new(name, seq, FileKind::Incremental));
        }
        target.manifest.id = Some(LogIdentity {
            history: target.history,
            base: identify(&*target.disk, temp)?.ok_or(io::ErrorKind::NotFound)?,
            covers: target.covers,
            // All files behind the base are of this version.
            heads_from: target.manifest.incrementals.first().map_or(1, |file| file.seq),
        });
        // Before any file gets its name: recovery tells by it that they are of a log which is not there yet.
        prepare_manifest(&*target.disk, &target.place, &target.manifest)?;
        target.disk.sync_dir(&dir)?;
        target.disk.rename(temp, &dir.join(&base.name))?;
        if let (Next::Adopted(_), Some(file)) = (next, target.manifest.incrementals.last()) {
            target.disk.rename(&dir.join(target.place.starting_name()), &dir.join(&file.name))?;
        }
        target.disk.sync_dir(&dir)?;
        disk::put_in_place(&*target.disk, &dir, &target.place.manifest_name())?;
        target.is_clear();
        if !target.keeps_history {
            drop_history(&*target.disk, &target.place, &mut target.manifest);
        }
        Ok(Published { manifest: target.manifest, open, _turn: target.turn })
    }
}

/// Replaces the files of a log that is not in use by a base, a synced file on the same file system. It is another log then: `id`.
///
/// # Errors
/// What is there is not a log that may be replaced, or the disk has failed; the old files are as they were, or the
/// new base is in place.
pub fn replace_files(
    disk: &Arc<dyn Disk>,
    place: &Place,
    temp: &Path,
    form: Base,
    keeps_history: bool,
    id: HistoryId,
) -> io::Result<()> {
    let mut manifest = super::inventory::manifest_to_replace(&**disk, place)?;
    disk.create_dir(&place.log_dir())?;
    disk.sync_dir(&place.dir)?;
    let replaced = std::mem::take(&mut manifest.incrementals);
    let target = Target {
        disk: Arc::clone(disk),
        place: place.clone(),
        manifest,
        history: id,
        covers: 0,
        keeps_history,
        turn: Turn::default(),
    };
    target.publication(replaced, form, Next::Nowhere, 0).run(temp).map(drop)
}

/// Files of the history to be deleted; see [`super::Log::plan_cleaning`].
pub struct Cleaning {
    pub(super) target: Target,
}

impl Cleaning {
    /// Deletes them; for [`super::Log::install_cleaned`].
    pub fn run(self) -> Published {
        let Cleaning { mut target } = self;
        // What cannot be settled now is before the next change.
        if target.settle_strays().is_ok() {
            drop_history(&*target.disk, &target.place, &mut target.manifest);
        }
        Published { manifest: target.manifest, open: None, _turn: target.turn }
    }
}

/// Handles that the log needs no longer. To be dropped without any lock: the last handle of a deleted file gives back
/// its blocks, which takes a while for a long file.
#[must_use = "hold it until no lock is held"]
pub struct Retired {
    pub(super) _file: Option<Box<dyn File>>,
    pub(super) _syncers: [Option<Arc<dyn Syncer>>; 2],
}

/// Makes the file that follows those of the manifest, empty, with at `least` this number. A file that is there and holds something keeps its name.
pub(super) fn create_incremental(
    disk: &dyn Disk,
    place: &Place,
    manifest: &Manifest,
    least: u64,
) -> io::Result<(ManifestFile, Box<dyn File>)> {
    let mut seq = manifest.next_incremental_seq().max(least);
    loop {
        let new = ManifestFile::new(place.incremental_name(seq), seq, FileKind::Incremental);
        let path = place.log_dir().join(&new.name);
        match disk.create_new(&path) {
            Ok(file) => return Ok((new, file)),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if disk.len(&path)? == 0 => return Ok((new, disk.append(&path)?)),
            // It is somebody's, and no name is used twice.
            Err(_) => seq += 1,
        }
    }
}

/// Deletes what is replaced. What cannot be deleted stays in the manifest and is tried again next time.
pub(super) fn drop_history(disk: &dyn Disk, place: &Place, manifest: &mut Manifest) {
    if manifest.history.is_empty() {
        return;
    }
    let dir = place.log_dir();
    let gone = |file: &ManifestFile| match disk.remove(&dir.join(&file.name)) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let mut without = manifest.clone();
    without.history.retain(|file| !gone(file));
    // A name that comes back when power is lost must be in the manifest.
    if disk.sync_dir(&dir).is_ok() && write_manifest(disk, place, &without).is_ok() {
        *manifest = without;
    }
}

/// Has a manifest that does not tell which log it is do so, once there is a file with a head: the one with number `seq`.
pub(super) fn identify_log(
    disk: &dyn Disk,
    place: &Place,
    manifest: &mut Manifest,
    history: HistoryId,
    covers: u64,
    seq: u64,
) -> io::Result<()> {
    if manifest.id.is_some() {
        return Ok(());
    }
    let base = match &manifest.base {
        Some(base) => identify(disk, &place.log_dir().join(&base.name))?.ok_or(io::ErrorKind::NotFound)?,
        None => Identity::of(b""),
    };
    manifest.id = Some(LogIdentity { history, base, covers, heads_from: seq });
    Ok(())
}

pub(super) fn write_manifest(disk: &dyn Disk, place: &Place, manifest: &Manifest) -> io::Result<()> {
    prepare_manifest(disk, place, manifest)?;
    disk::put_in_place(disk, &place.log_dir(), &place.manifest_name())
}

/// Writes a manifest that is not in place yet.
pub(super) fn prepare_manifest(disk: &dyn Disk, place: &Place, manifest: &Manifest) -> io::Result<()> {
    disk::prepare(disk, &place.log_dir(), &place.manifest_name(), manifest.to_text().as_bytes())
}
