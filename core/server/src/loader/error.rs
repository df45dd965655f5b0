//! Why the data set could not be read. The texts are what the log has.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use engine::ReplayError;
use persist::aof::{BadRecord, RefuseError};
use persist::rdb;

use crate::beside::Objection;
use crate::saver::SaveError;

/// Why nothing, or not all, was loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The server is ending.
    Stopped,
    /// What had to be written first was not.
    Unwritten(SaveError),
    /// What lies beside the log.
    Beside(Objection),
    /// There is no log to load again.
    NoLog,
    /// The log is not what was written.
    Refused(RefuseError),
    /// What stands in a file of the log is no record, or the file cannot be read.
    BadLog { path: PathBuf, fault: BadRecord },
    /// The record at that byte of a file of the log cannot be run.
    Record { path: PathBuf, offset: u64, error: ReplayError },
    /// What stands in a snapshot.
    Snapshot { path: PathBuf, fault: SnapshotFault },
    /// The snapshot cannot be looked at.
    Closed { path: PathBuf, error: io::Error },
    /// It cannot be read.
    Unreadable { path: PathBuf, error: io::Error },
    /// The first log of this data cannot be written.
    FirstLog(SaveError),
    /// The log cannot be opened for writing.
    OpenLog(io::Error),
    /// It is the snapshot that a start would have begun with.
    First(Box<LoadError>),
    /// There is a command that tells more of what lies in that directory.
    Advised { why: Box<LoadError>, dir: PathBuf },
}

/// What is wrong with a snapshot.
#[derive(Debug)]
pub(crate) enum SnapshotFault {
    /// Its bytes.
    Format(rdb::Error),
    /// A library in it.
    Library(String),
    /// A value in it breaks a rule of its type.
    Value(keyspace::LoadError),
    /// It needs a database that there is not.
    Database { wanted: usize, there_are: usize },
    /// A key stands in it twice.
    Twice { key: Vec<u8>, db: usize },
    /// Bytes follow it where none may.
    Behind,
}

impl LoadError {
    /// With the command that helps. Who stops the server while it loads needs none.
    pub(crate) fn advised(self, dir: &Path) -> LoadError {
        match self {
            LoadError::Stopped => LoadError::Stopped,
            why => LoadError::Advised { why: Box::new(why), dir: dir.to_owned() },
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Stopped => f.write_str("The server was stopped while it was loading."),
            LoadError::Unwritten(error) => error.fmt(f),
            LoadError::Beside(objection) => objection.fmt(f),
            LoadError::NoLog => f.write_str("There is no AOF to load."),
            LoadError::Refused(error) => write!(f, "The AOF cannot be loaded: {error}"),
            LoadError::BadLog { path, fault } => {
                write!(f, "Bad file format reading the append only file {}: {fault:?}", path.display())
            }
            LoadError::Record { path, offset, error } => write_record(f, path, *offset, error),
            LoadError::Snapshot { path, fault } => {
                write!(f, "Bad data format in {}: {fault}", path.display())
            }
            LoadError::Closed { path, error } => {
                let error = base::fault::text(error);
                write!(f, "Fatal error: can't open the RDB file {} for reading: {error}", path.display())
            }
            LoadError::Unreadable { path, error } => {
                write!(f, "{}: {}", path.display(), base::fault::text(error))
            }
            LoadError::FirstLog(error) => write!(f, "Can't write the first append-only file: {error}"),
            LoadError::OpenLog(error) => {
                write!(f, "Can't open the append-only file: {}", base::fault::text(error))
            }
            LoadError::First(why) => write!(f, "Terminating server after rdb file reading failure. {why}"),
            LoadError::Advised { why, dir } => write_advice(f, why, dir),
        }
    }
}

impl std::error::Error for LoadError {}

/// Which record could not be run, and why. What it holds is not told: it may be anything.
fn write_record(f: &mut fmt::Formatter<'_>, path: &Path, offset: u64, error: &ReplayError) -> fmt::Result {
    let path = path.display();
    match error {
        ReplayError::Unknown(name) => write!(
            f,
            "Unknown command '{name}' reading the append only file {path}: the record at byte {offset}"
        ),
        ReplayError::Refused { command, why } | ReplayError::Failed { command, why } => write!(
            f,
            "Bad file format reading the append only file {path}: the record at byte {offset} ({command}) was refused: {why}"
        ),
    }
}

fn write_advice(f: &mut fmt::Formatter<'_>, why: &LoadError, dir: &Path) -> fmt::Result {
    let dir = dir.display().to_string();
    let quoted = if dir.contains(char::is_whitespace) { format!("'{dir}'") } else { dir };
    let why = why.to_string();
    // One line of the log.
    let why = why.trim_end_matches('.');
    write!(
        f,
        "{why}. `tandem check {quoted}` tells all that is wrong there and how much is lost, and with `--repair-to DIR` it writes \
         what is good to another directory; nothing is changed here."
    )
}

impl fmt::Display for SnapshotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotFault::Format(error) => error.fmt(f),
            SnapshotFault::Library(why) => f.write_str(why),
            SnapshotFault::Value(why) => f.write_str(why),
            SnapshotFault::Database { wanted, there_are } => {
                write!(f, "the data set needs database {wanted}, but there are {there_are}")
            }
            SnapshotFault::Twice { key, db } => {
                write!(f, "RDB has duplicated key '{}' in DB {db}", String::from_utf8_lossy(key))
            }
            SnapshotFault::Behind => f.write_str("there are bytes behind its end"),
        }
    }
}

impl std::error::Error for SnapshotFault {}

impl From<rdb::Error> for SnapshotFault {
    fn from(error: rdb::Error) -> SnapshotFault {
        SnapshotFault::Format(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command_that_helps_but_not_to_who_stops_the_server() {
        let refused = LoadError::First(Box::new(LoadError::NoLog.advised(Path::new("/var/my data"))));
        let text = refused.to_string();
        assert!(
            text.starts_with("Terminating server after rdb file reading failure. There is no AOF to load. `")
        );
        assert!(text.contains("`tandem check '/var/my data'` tells"), "{text}");
        assert!(matches!(LoadError::Stopped.advised(Path::new("/var")), LoadError::Stopped));
    }
}
