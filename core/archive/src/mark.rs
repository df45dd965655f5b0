//! Which log a server has archived last.
//!
//! ```text
//! DIR/backup-log     the identity of a log, 32 hex digits and an end of line
//! ```
//! Where a server's log begins anew, the first base that is archived of it tells which one it has replaced. Between the two the server may end,
//! so it is not enough that the thread which archives knows it. It is written when something of a log is archived, and read at the start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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

    /// The log; `None` where none was archived, and where a crash has left nothing that can be understood.
    pub(crate) fn read(&self) -> Result<Option<HistoryId>, ArchiveError> {
        let (path, mut text) = (self.dir.join(NAME), String::new());
        match File::open(&path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => Ok(parse_id(text.trim_end())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(ArchiveError::File(path, error)),
        }
    }

    pub(crate) fn write(&self, log: HistoryId) -> Result<(), ArchiveError> {
        let (path, temp) = (self.dir.join(NAME), self.dir.join(format!("temp-{NAME}")));
        let written = put(&temp, &format!("{log}\n"))
            .and_then(|()| fs::rename(&temp, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(|error| ArchiveError::File(path, error))
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
