//! What may go wrong with an archive, as people are told it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use persist::aof::{BadBatch, HistoryId, ManifestError};

use crate::lineage::Span;
use crate::moment::Moment;
use crate::store::{StoreError, is_away};

/// So many names are told of those that cannot be read.
const NAMES_MAX: usize = 5;

/// Why something was not done.
#[derive(Debug)]
pub enum ArchiveError {
    /// There is no repository at that place, or it cannot be used.
    Open(String, StoreError),
    /// The repository failed; at which object.
    Store(String, io::Error),
    /// A file of the server failed.
    File(PathBuf, io::Error),
    /// There is no log where one is to be archived.
    NoLog(PathBuf),
    /// The server's directory is not there.
    NoDirectory(PathBuf),
    /// The folder of the log was named instead of the server's directory.
    InsideLog(PathBuf),
    /// The manifest is not whole.
    Manifest(PathBuf, ManifestError),
    /// The log was begun by an earlier version or another server, and does not tell which one it is.
    NoIdentity,
    /// The log's files were replaced again and again while they were opened.
    Restless,
    /// A file of the log is damaged.
    BadLog(PathBuf, BadBatch),
    /// Commands at the end of a file, before the next one begins, are in no batch.
    Unnumbered(PathBuf),
    /// The log ends before what was archived of it does.
    Behind {
        /// The last batch of the log.
        log: u64,
        /// The last batch in the repository.
        archived: u64,
    },
    /// The log has another batch of this number than the repository.
    Forked(u64),
    /// Somebody else has archived the same meanwhile.
    Taken(String),
    /// A key or recipient cannot be read.
    Key(&'static str),
    /// None of the keys opens the object.
    WrongKey(String),
    /// The object is encrypted and no key was given.
    NeedsKey(String),
    /// The object is not as it was written; what is wrong.
    Damaged(String, String),
    /// There is nothing in the repository.
    Empty,
    /// There are several lineages, and none was chosen.
    Ambiguous(Vec<Span>),
    /// The repository is encrypted, and what is to be added would not be.
    Unsealed,
    /// What was there at a time was never archived, or is missing.
    Gap {
        /// The time that was asked for.
        wanted: Moment,
        /// The last batch before the gap.
        last: u64,
        /// When that was written.
        at: Moment,
        /// The batch up to which all is missing: the next base holds what was there behind it.
        to: u64,
    },
    /// There is no such lineage.
    NoLineage(HistoryId),
    /// Of some objects it is not known what is in them.
    Unreadable {
        /// What tells of them and cannot be read.
        names: Vec<String>,
        /// The last batch that can be restored all the same.
        known: Option<u64>,
    },
    /// Objects hold later batches, and nothing tells of them.
    Untold {
        /// The objects.
        names: Vec<String>,
        /// The last batch that can be restored all the same.
        known: Option<u64>,
    },
    /// Nothing leads to the wanted batch.
    NoSuchBatch(u64),
    /// Nothing is as old as that.
    NothingSoOld(Moment),
    /// The directory holds data already.
    HoldsData(PathBuf),
    /// The repository lies in the directory of the server whose log it is for.
    Inside {
        /// The repository.
        repository: PathBuf,
        /// The server's directory.
        dir: PathBuf,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::Open(url, error) => write!(f, "opening the repository {url}: {error}"),
            ArchiveError::Store(name, error) => write!(f, "the repository: {name}: {error}"),
            ArchiveError::File(path, error) => write!(f, "{}: {error}", path.display()),
            ArchiveError::NoDirectory(path) => write!(f, "there is no directory {}", path.display()),
            ArchiveError::InsideLog(path) => write!(
                f,
                "{} is the folder of a log itself: name the directory above, which is the server's `dir`",
                path.display()
            ),
            ArchiveError::NoLog(path) => write!(
                f,
                "there is no log in {}: a queue keeps one, and a server with `appendonly yes`. A cache has none, and nothing of it can be \
                 archived",
                path.display()
            ),
            ArchiveError::Manifest(path, error) => write!(f, "{}: {error}", path.display()),
            ArchiveError::NoIdentity => f.write_str(
                "the log was begun by an earlier version or by another server, and its batches are not numbered: BGREWRITEAOF \
                 makes one that can be archived",
            ),
            ArchiveError::Restless => f.write_str("files of the log were replaced meanwhile or are lost; try again, then look into its server's log"),
            ArchiveError::BadLog(path, bad) => write!(f, "{} is damaged: {bad}", path.display()),
            ArchiveError::Unnumbered(path) => write!(
                f,
                "the last commands of {} are in no batch, as a crash may leave them: BGREWRITEAOF puts them into a base",
                path.display()
            ),
            ArchiveError::Behind { log, archived } => write_behind(f, *log, *archived),
            ArchiveError::Forked(batch) => write!(
                f,
                "batch {batch} of the log is not the one in the repository: two servers went on from copies of one log. Give this \
                 one a repository of its own"
            ),
            ArchiveError::Taken(name) => {
                write!(f, "{name} is in the repository already: somebody else has archived this log meanwhile")
            }
            ArchiveError::Key(what) => f.write_str(what),
            ArchiveError::WrongKey(name) => write!(f, "{name}: none of the keys opens it"),
            ArchiveError::NeedsKey(name) => {
                write!(f, "{name} is encrypted: name the file with the key (--identity FILE)")
            }
            ArchiveError::Damaged(name, what) => write!(f, "{name} is damaged: {what}"),
            ArchiveError::Empty => f.write_str("there is no backup in the repository"),
            ArchiveError::Ambiguous(spans) => write_spans(f, spans),
            ArchiveError::Unsealed => f.write_str(
                "what is in the repository is encrypted, and this would not be: name a --recipient, or say --although-encrypted",
            ),
            ArchiveError::Gap { wanted, last, at, to } => write_gap(f, *wanted, *last, *at, *to),
            ArchiveError::NoLineage(id) => write!(f, "there is no lineage {id} in the repository"),
            ArchiveError::Unreadable { names, known } => write_unreadable(f, names, *known),
            ArchiveError::Untold { names, known } => write_untold(f, names, *known),
            ArchiveError::NoSuchBatch(batch) => {
                write!(f, "batch {batch} cannot be restored: `list` tells which can")
            }
            ArchiveError::NothingSoOld(moment) => {
                write!(f, "nothing in the repository is as old as {moment}: `list` tells what is there")
            }
            ArchiveError::Inside { repository, dir } => write!(
                f,
                "{} lies in {}, the server's own directory, and would be lost with it: name another one, best on another machine",
                repository.display(),
                dir.display()
            ),
            ArchiveError::HoldsData(path) => {
                write!(f, "{} holds data: name an empty directory, or move that away", path.display())
            }
        }
    }
}

fn write_behind(f: &mut fmt::Formatter<'_>, log: u64, archived: u64) -> fmt::Result {
    write!(
        f,
        "the log ends with batch {log}, and batch {archived} of it is in the repository: it is an old copy. Give it a repository of its \
         own, or restore from this one"
    )
}

fn write_spans(f: &mut fmt::Formatter<'_>, spans: &[Span]) -> fmt::Result {
    f.write_str("there are several lineages, choose one with --lineage:")?;
    spans.iter().try_for_each(|span| write!(f, "\n  {span}"))
}

fn write_gap(f: &mut fmt::Formatter<'_>, wanted: Moment, last: u64, at: Moment, to: u64) -> fmt::Result {
    let first = last + 1;
    write!(
        f,
        "what was there at {wanted} is not in the repository: batches {first} to {to} are missing behind {at}. `--batch {last}` restores \
         what was there before them, `--batch {to}` what was there behind them"
    )
}

fn write_unreadable(f: &mut fmt::Formatter<'_>, names: &[String], known: Option<u64>) -> fmt::Result {
    write_names(f, names)?;
    f.write_str(
        " cannot be read, so not all that was archived is known. `tandem backup verify` tells what is wrong with it",
    )?;
    write_known(f, known)
}

fn write_untold(f: &mut fmt::Formatter<'_>, names: &[String], known: Option<u64>) -> fmt::Result {
    f.write_str("nothing tells of ")?;
    write_names(f, names)?;
    f.write_str(
        ", which goes on behind all that is told of: its JSON is lost, or archiving was stopped just then. Get the JSON back",
    )?;
    write_known(f, known)
}

fn write_names(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    f.write_str(&names[..names.len().min(NAMES_MAX)].join(", "))?;
    match names.len().checked_sub(NAMES_MAX + 1) {
        Some(more) => write!(f, " and {} more", more + 1),
        None => Ok(()),
    }
}

fn write_known(f: &mut fmt::Formatter<'_>, known: Option<u64>) -> fmt::Result {
    known
        .map_or(Ok(()), |known| write!(f, "; a batch that is known can be restored, up to `--batch {known}`"))
}

/// What an error is caused by stands in its text already, so none is a source of another one: it would be told twice.
impl std::error::Error for ArchiveError {}

impl ArchiveError {
    /// Whether an object is not there.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, ArchiveError::Store(_, error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the repository could not be asked.
    pub fn is_away(&self) -> bool {
        matches!(self, ArchiveError::Store(_, error) if is_away(error))
    }
}
