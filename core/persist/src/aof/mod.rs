//! The append-only file: every command that changed something, in the layout of Redis 7.
//!
//! ```text
//! appendonlydir/appendonly.aof.manifest           which files make up the log, one a line:
//!     file appendonly.aof.3.base.rdb seq 3 type b       the snapshot the log begins with (RDB)
//!     file appendonly.aof.7.incr.aof seq 7 type i       commands since then, oldest file first
//!     file appendonly.aof.2.base.rdb seq 2 type h       history: replaced, about to be deleted
//! ```
//! An incremental file is a row of requests as on the wire (`*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n`), SELECT before
//! a change of database, MULTI and EXEC around what must not be taken apart, and lines that begin with `#`,
//! which loaders of Redis 7 and Valkey pass over (`#TS:<unix s>` is Redis' own). Ours closes each batch, that is,
//! each single write to the kernel, and `line` draws all of them:
//! ```text
//! #TDM:<batch number>:<crc-64 of the bytes since the last such line, 16 hex digits>:<unix ms>:<synced>:<check>\r\n
//! ```
//! The batch number goes up by one through all files. `synced` is the offset in this file up to which an fsync
//! had succeeded when the line was written: bytes before it were promised, so damage there is never taken for
//! the ordinary torn tail of a power failure. The checksums are CRC-64 as at the end of an RDB; the last is that of the line itself.
//!
//! A file begins with a line that tells of which log it is, with which batch it begins, and the size of the file before it at
//! that moment: the two are synced in order but later, so a power failure may take the end of the one and leave the other. The
//! manifest begins with one that tells which log it is, which base it has, up to which batch that reaches, and its own checksum.
//! So a file of another log, or of another time of this one, is known as such. A log of an earlier version, or that another
//! server has rewritten, says none of that; it gets its identity at the next rewrite.
//!
//! A log that is started beside the files of an old one appends to `temp-<name>.incr`, which no manifest names until
//! the first base is published with it: until then the old log is what is loaded, whole, and never a mix of the two.
//!
//! What the log cannot say of itself stands beside it: see `notes`.
//!
//! [`recover`] judges the files and cuts a torn tail, [`examine`] only judges, and [`preview`] tells what [`recover`] would do; [`Commands`]
//! reads what it found good; [`Log`] goes on writing what was loaded. [`survey`] finds what is good behind damage, which no start does.

mod batches;
mod commands;
mod inventory;
mod line;
mod log;
mod manifest;
mod notes;
mod record;
mod recover;
mod rewrite;
mod scan;
mod survey;
mod verdict;
mod watch;

pub use batches::{BATCH_BYTES_MAX, BadBatch, Batches, WholeBatch};
pub use commands::{ConvertError, snapshot_to_commands};
pub use line::{Annotation, Head, HistoryId, LogIdentity};
pub use log::{AppendError, Log, State, SyncDone, SyncHandle};
pub use manifest::{FileKind, Manifest, ManifestError, ManifestFile};
pub use notes::{KnownSnapshot, Notes, Source, SyncedMark, cut_in_place, short_copy};
pub use record::{BadRecord, Commands, Record, Scanner};
pub use recover::{Examined, LogFile, Recovered, RefuseError, Tail, Verified, examine, preview, recover};
pub use rewrite::{Base, Cleaning, Prepared, Publication, Published, Retired, RewritePlan, replace_files};
pub use survey::{Damaged, Part, Survey, SurveyStart, Wrong, survey};
pub use watch::{Sights, Watch};

use std::path::{Path, PathBuf};

/// Where the log is and what its files are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server's working directory (`dir`).
    pub dir: PathBuf,
    /// The log's own directory in it (`appenddirname`).
    pub dir_name: String,
    /// What the files' names begin with (`appendfilename`).
    pub file_name: String,
}

impl Place {
    /// With the names that Redis has by default.
    pub fn new(dir: &Path) -> Place {
        Place { dir: dir.to_owned(), dir_name: "appendonlydir".into(), file_name: "appendonly.aof".into() }
    }

    /// The directory of the log's files.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join(&self.dir_name)
    }

    /// The manifest's name.
    pub fn manifest_name(&self) -> String {
        format!("{}.manifest", self.file_name)
    }

    /// A file that is only there to be removed when the disk is full.
    pub fn ballast(&self) -> PathBuf {
        self.log_dir().join(format!("{}.ballast", self.file_name))
    }

    fn notes_name(&self) -> String {
        format!("{}.notes", self.file_name)
    }

    fn synced_name(&self) -> String {
        format!("{}.synced", self.file_name)
    }

    /// Whether a name is one that a file of this log may have.
    fn is_member(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.file_name) else { return false };
        let numbered =
            rest.strip_prefix('.').and_then(|rest| rest.split_once('.')).is_some_and(|(seq, kind)| {
                !seq.is_empty()
                    && seq.bytes().all(|digit| digit.is_ascii_digit())
                    && matches!(kind, "base.rdb" | "base.aof" | "incr.aof")
            });
        rest.is_empty() || numbered
    }

    /// The number in the name of an incremental file; none for other names.
    fn incremental_seq(&self, name: &str) -> Option<u64> {
        name.strip_prefix(&self.file_name)?.strip_prefix('.')?.strip_suffix(".incr.aof")?.parse().ok()
    }

    fn base_name(&self, seq: u64, form: Base) -> String {
        let ending = match form {
            Base::Snapshot => "rdb",
            Base::Commands => "aof",
        };
        format!("{}.{seq}.base.{ending}", self.file_name)
    }

    /// What a log that is being started appends to, until its first base is published.
    fn starting_name(&self) -> String {
        crate::disk::temp_name(&format!("{}.incr", self.file_name))
    }

    fn incremental_name(&self, seq: u64) -> String {
        format!("{}.{seq}.incr.aof", self.file_name)
    }
}
