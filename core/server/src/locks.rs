//! Who may write which files of a directory.
//!
//! ```text
//! tandem.lock                                  exclusive: a queue, whose directory is its own
//!                                              shared: everybody else who writes a log or a snapshot there
//! tandem-appendonlydir-appendonly.aof.lock     exclusive: whoever writes that log
//! tandem-dump.rdb.lock                         exclusive: whoever writes that snapshot
//! ```
//! As in Redis, several servers may share a directory if their files have different names. Two that write the same ones
//! would each lose what the other has, so the second can neither save nor begin a log; when it ends, its last snapshot gets a name of
//! its own. A lock is taken before the first file is written, or cut at a start, and held until
//! the process ends, however it ends: the kernel gives it back. The files stay; they hold the number of the process that has
//! them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use persist::aof::Place;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The lock of the whole directory.
const DIRECTORY: &str = "tandem.lock";

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody writes files of these names.
    Taken(String),
    /// Somebody has the whole directory.
    Used(String),
    /// The file of the lock cannot be used.
    Unusable(String),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Taken(why) | LockError::Used(why) | LockError::Unusable(why) => f.write_str(why),
        }
    }
}

struct Held {
    path: PathBuf,
    is_shared: bool,
    file: File,
}

impl Held {
    /// Whether the lock is still the one that others would find: its file may have been removed.
    fn is_there(&self) -> bool {
        let here = self.file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let there = std::fs::metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        matches!((here, there), (Ok(here), Ok(there)) if here == there)
    }
}

/// The locks that this process has.
#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<Vec<Held>>,
}

impl Locks {
    /// Takes a directory for this process alone.
    pub(crate) fn take_directory(&self, dir: &Path) -> Result<(), LockError> {
        let path = dir.join(DIRECTORY);
        let used = || format!("another server uses the directory '{}'{}", dir.display(), holder(&path));
        self.take(&path, false, || LockError::Used(used()))
    }

    /// Takes a log, to be written or mended.
    pub(crate) fn take_log(&self, place: &Place) -> Result<(), LockError> {
        let name = format!("{}-{}", place.dir_name, place.file_name);
        self.take_name(&place.dir, &name, &format!("the log '{}/{}'", place.dir_name, place.file_name))
    }

    /// Takes a snapshot, to be replaced.
    pub(crate) fn take_snapshot(&self, dir: &Path, name: &str) -> Result<(), LockError> {
        self.take_name(dir, name, &format!("the snapshot '{name}'"))
    }

    /// Takes those anew whose files were removed.
    ///
    /// # Errors
    /// Somebody else has one of them by now.
    pub(crate) fn renew(&self) -> Result<(), LockError> {
        let lost: Vec<(PathBuf, bool)> = (self.held.lock().iter())
            .filter(|held| !held.is_there())
            .map(|held| (held.path.clone(), held.is_shared))
            .collect();
        lost.iter().try_for_each(|(path, is_shared)| {
            let used =
                || LockError::Used(format!("another server has taken '{}'{}", path.display(), holder(path)));
            self.take(path, *is_shared, used)
        })
    }

    /// Gives all of them back.
    pub(crate) fn release(&self) {
        self.held.lock().clear();
    }

    fn take_name(&self, dir: &Path, name: &str, what: &str) -> Result<(), LockError> {
        let whole = dir.join(DIRECTORY);
        let is_owner = self.held.lock().iter().any(|held| held.path == whole && !held.is_shared);
        if is_owner {
            return self.take_directory(dir);
        }
        let used =
            || format!("a queue uses the directory '{}' for itself alone{}", dir.display(), holder(&whole));
        self.take(&whole, true, || LockError::Used(used()))?;
        let path = dir.join(format!("tandem-{name}.lock"));
        let taken = || {
            format!(
                "another server writes {what} in the directory '{}'{}: give this one another directory, or other names \
                 (dbfilename, appendfilename)",
                dir.display(),
                holder(&path)
            )
        };
        self.take(&path, false, || LockError::Taken(taken()))
    }

    /// Takes one lock, or finds that it is held. One whose file was removed meanwhile is taken anew.
    fn take(&self, path: &Path, is_shared: bool, taken: impl FnOnce() -> LockError) -> Result<(), LockError> {
        let mut held = self.held.lock();
        if held.iter().any(|held| held.path == path && held.is_shared <= is_shared && held.is_there()) {
            return Ok(());
        }
        let unusable = |error: &dyn std::fmt::Display| {
            LockError::Unusable(format!("Can't lock '{}': {error}", path.display()))
        };
        let file = open(path).map_err(|error| unusable(&error))?;
        let how = match is_shared {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(taken()),
            Err(error) => return Err(unusable(&error)),
        }
        if !is_shared {
            note_holder(&file);
        }
        held.retain(|held| held.path != path);
        held.push(Held { path: path.to_owned(), is_shared, file });
        Ok(())
    }
}

/// Opens the file of a lock; one of another user can be locked as well if it can be read.
fn open(path: &Path) -> std::io::Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.or_else(|error| File::open(path).map_err(|_| error))
}

/// Writes the number of this process into the file. It only helps people, so what fails is passed over.
fn note_holder(file: &File) {
    use std::io::Write;
    let number = format!("{}\n", std::process::id());
    let _told = file.set_len(0).and_then(|()| { file }.write_all(number.as_bytes()));
}

/// Who has a lock, as the end of a sentence; nothing when the file does not tell.
fn holder(path: &Path) -> String {
    const NUMBER_BYTES_MAX: u64 = 20;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(NUMBER_BYTES_MAX).read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!(" (process {pid})"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(result: Result<(), LockError>) -> bool {
        match result {
            Ok(()) => false,
            Err(LockError::Taken(_) | LockError::Used(_)) => true,
            Err(LockError::Unusable(why)) => panic!("{why}"),
        }
    }

    #[test]
    fn a_queue_is_alone_and_others_share_a_directory_but_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, one, two) = (Locks::default(), Locks::default(), Locks::default());
        let place = |file: &str| Place { file_name: file.to_owned(), ..Place::new(dir.path()) };
        queue.take_directory(dir.path()).unwrap();
        queue.take_snapshot(dir.path(), "dump.rdb").unwrap();
        queue.take_log(&place("appendonly.aof")).unwrap();
        assert!(taken(one.take_directory(dir.path())));
        assert!(
            taken(one.take_log(&place("other.aof"))) && taken(one.take_snapshot(dir.path(), "other.rdb"))
        );
        queue.release();
        one.take_log(&place("appendonly.aof")).unwrap();
        one.take_log(&place("appendonly.aof")).unwrap();
        assert!(taken(queue.take_directory(dir.path())));
        two.take_log(&place("appendonly.aof2")).unwrap();
        two.take_snapshot(dir.path(), "dump.rdb").unwrap();
        assert!(
            taken(two.take_log(&place("appendonly.aof"))) && taken(one.take_snapshot(dir.path(), "dump.rdb"))
        );
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew_or_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Locks::default(), Locks::default());
        one.take_directory(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(DIRECTORY)).unwrap();
        one.renew().unwrap();
        assert!(taken(two.take_directory(dir.path())));
        std::fs::remove_file(dir.path().join(DIRECTORY)).unwrap();
        two.take_directory(dir.path()).unwrap();
        assert!(taken(one.renew()) && taken(one.take_snapshot(dir.path(), "dump.rdb")));
    }
}
