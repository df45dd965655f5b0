//! A look at the files of a log that is in use: whether they are still what was written.
//!
//! A file that is open goes on taking what is written when its name is removed, and one that is cut takes it behind a hole in
//! the log: nobody would notice before the next start. Names and sizes cost a few system calls, so they are looked at every
//! second, without the lock of the log; what has changed meanwhile is not judged.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::manifest::MANIFEST_BYTES_MAX;
use super::{AppendError, Log, Manifest, State};
use crate::disk::{self, Disk, Stat};

/// The files that do not change any more, as they were seen last.
pub type Sights = HashMap<PathBuf, Stat>;

/// What the files of a log should be at a moment.
pub struct Watch {
    /// The file that is appended to, which one it is, and the end of its last whole batch.
    current: PathBuf,
    open: Stat,
    bytes: u64,
    manifest_path: Option<PathBuf>,
    /// Base and earlier files.
    settled: Vec<PathBuf>,
    manifest: Manifest,
    era: Arc<()>,
}

impl Log {
    /// What there is to look at; nothing while the log has failed, or its files are being changed.
    pub fn watch(&self) -> Option<Watch> {
        if !self.is_at_rest() {
            return None;
        }
        let dir = self.place().log_dir();
        let starts = self.is_starting();
        let name = match self.manifest().incrementals.last() {
            Some(last) if !starts => last.name.clone(),
            _ => self.place().starting_name(),
        };
        let members = self.manifest().base.iter().chain(&self.manifest().incrementals);
        let others = members.filter(|file| !starts && file.name != name).map(|file| dir.join(&file.name));
        Some(Watch {
            current: dir.join(&name),
            open: self.open_stat().ok()?,
            bytes: self.file_bytes(),
            manifest_path: (!starts).then(|| dir.join(self.place().manifest_name())),
            settled: others.collect(),
            manifest: self.manifest().clone(),
            era: self.era(),
        })
    }

    /// Takes note of a look. If the log is still the one that was looked at and something was wrong, it has failed now.
    pub fn judge_watch(&mut self, watch: &Watch, found: Result<u64, String>) -> Option<AppendError> {
        let is_same =
            self.is_at_rest() && Arc::ptr_eq(&self.era(), &watch.era) && *self.manifest() == watch.manifest;
        if !is_same {
            return None;
        }
        match found {
            Ok(bytes) if bytes <= self.file_bytes() => None,
            Ok(_) => Some(self.fail(format!("{} is written to by somebody else", watch.current.display()))),
            Err(why) => Some(self.fail(why)),
        }
    }

    fn is_at_rest(&self) -> bool {
        *self.state() == State::Ready && !self.is_changing()
    }
}

/// The files that make up the log.
fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.base.iter().chain(&manifest.incrementals).map(|file| file.name.as_str()).collect()
}

impl Watch {
    /// Looks. The size of the file that is appended to, or what is wrong. A file that cannot be looked at is not judged.
    pub fn look(&self, disk: &dyn Disk, seen: &mut Sights) -> Result<u64, String> {
        let stat = |path: &PathBuf| match disk.stat(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("{} was removed", path.display()))
            }
            stat => Ok(stat.ok()),
        };
        let mut bytes = self.bytes;
        if let Some(there) = stat(&self.current)? {
            if there.id != self.open.id {
                return Err(format!("{} was replaced by another file", self.current.display()));
            }
            if there.bytes < self.bytes {
                let (path, had) = (self.current.display(), self.bytes);
                return Err(format!("{path} was cut to {} bytes of {had}", there.bytes));
            }
            bytes = there.bytes;
        }
        if let Some(path) = &self.manifest_path {
            stat(path)?;
            let text = disk::read_whole(disk, path, MANIFEST_BYTES_MAX).ok();
            let there = text.map(|text| Manifest::parse(&text).unwrap_or_default());
            if there.is_some_and(|there| names(&there) != names(&self.manifest)) {
                return Err(format!("{} was changed", path.display()));
            }
        }
        seen.retain(|path, _| self.settled.contains(path));
        for path in &self.settled {
            let Some(there) = stat(path)? else { continue };
            if seen.insert(path.clone(), there).is_some_and(|was| was != there) {
                return Err(format!("{} was changed or replaced", path.display()));
            }
        }
        Ok(bytes)
    }
}
