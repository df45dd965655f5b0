//! Which log a server has archived last.
//!
//! ```text
//! DIR/backup-log     the identity of a log, 32 hex digits, a blank, the inode of this file, and an end of line
//! ```
//! Where a server's log begins anew, the first base that is archived of it tells which one it has replaced. Between the two the server may end,
//! so it is not enough that the thread which archives knows it. It is written when something of a log is archived, and read at the start.
//! Of a directory that was copied file by file the file is another one: the log that the copy begins anew has replaced none, since the server
//! that was copied may go on with its own. A snapshot of a whole volume keeps the inode and is not told from it: the log that begins anew there
//! says that it has replaced the one before, whatever the server that was copied does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use persist::aof::{HistoryId, Place};

use crate::error::ArchiveError;
use crate::lineage::parse_id;

/// Its name in the directory of the server.
const NAME: &str = "backup-log";
/// More than it ever has, bytes.
const BYTES_MAX: u64 = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    dir: PathBuf,
}

impl Mark {
    pub(crate) fn of(place: &Place) -> Mark {
        Mark { dir: place.dir.clone() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// The log; `None` where none was archived here, and where a crash has left nothing that can be understood.
    pub(crate) fn read(&self) -> Result<Option<HistoryId>, ArchiveError> {
        Ok(self.told()?.filter(|told| told.is_original).map(|told| told.log))
    }

    /// The log that a copy tells of, if that is what lies here.
    pub(crate) fn read_copy(&self) -> Result<Option<HistoryId>, ArchiveError> {
        Ok(self.told()?.filter(|told| !told.is_original).map(|told| told.log))
    }

    fn told(&self) -> Result<Option<Told>, ArchiveError> {
        let path = self.path();
        match File::open(&path).and_then(told) {
            Ok(told) => Ok(told),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(ArchiveError::File(path, error)),
        }
    }

    pub(crate) fn write(&self, log: HistoryId) -> Result<(), ArchiveError> {
        let (path, temp) = (self.path(), self.dir.join(format!("temp-{NAME}")));
        let written = put(&temp, log)
            .and_then(|()| fs::rename(&temp, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(|error| ArchiveError::File(path, error))
    }
}

/// What a file says.
struct Told {
    log: HistoryId,
    /// It is the file that was written, and no copy of it.
    is_original: bool,
}

fn told(file: File) -> io::Result<Option<Told>> {
    let (inode, mut text) = (file.metadata()?.ino().to_string(), String::new());
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    let words = text.trim_end().split_once(' ');
    Ok(words.and_then(|(log, written)| Some(Told { log: parse_id(log)?, is_original: written == inode })))
}

fn put(path: &Path, log: HistoryId) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let inode = file.metadata()?.ino();
    file.write_all(format!("{log} {inode}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_directory_has_archived_nothing() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mark = Mark::of(&Place::new(dir.path()));
        assert_eq!(mark.read().unwrap(), None);
        mark.write(HistoryId(7)).unwrap();
        mark.write(HistoryId(8)).unwrap();
        assert_eq!((mark.read().unwrap(), mark.read_copy().unwrap()), (Some(HistoryId(8)), None));
        fs::copy(dir.path().join(NAME), copy.path().join(NAME)).unwrap();
        let mark = Mark::of(&Place::new(copy.path()));
        assert_eq!((mark.read().unwrap(), mark.read_copy().unwrap()), (None, Some(HistoryId(8))));
    }
}
