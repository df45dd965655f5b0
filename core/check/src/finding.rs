//! What was found, for people and for programs.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use persist::aof::{Damaged, Wrong};

use crate::dataset::Contents;

/// Why it could not be looked, or not repaired.
#[derive(Debug)]
pub enum CheckError {
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// There is nothing of a server there.
    Nothing(PathBuf),
    /// It is called as a file of a server, and is a pipe, a socket or a device: to read it may never end.
    NoFile(PathBuf),
    /// The place for what is repaired is not empty.
    NotEmpty(PathBuf),
    /// There is nothing that can be repaired.
    Unrepairable(String),
    /// What was written does not hold what was loaded.
    Differs(PathBuf),
    /// The engine cannot be made.
    Engine(String),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::File(path, error) => write!(f, "{}: {error}", path.display()),
            CheckError::Nothing(path) => write!(
                f,
                "{} is no file of a server, and there is none in it: name a snapshot (dump.rdb), a file or directory of a log \
                 (appendonlydir), the directory of a server, users.acl, or a repository of backups",
                path.display()
            ),
            CheckError::NoFile(path) => {
                write!(
                    f,
                    "{} is no regular file, and is not read: it may be a pipe or a device",
                    path.display()
                )
            }
            CheckError::NotEmpty(path) => {
                write!(
                    f,
                    "{} is not empty: name a directory that is, or that is not there yet",
                    path.display()
                )
            }
            CheckError::Unrepairable(why) => f.write_str(why),
            CheckError::Differs(path) => {
                write!(
                    f,
                    "{} does not hold what was read: the disk or the memory is not to be trusted",
                    path.display()
                )
            }
            CheckError::Engine(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CheckError {}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CheckError {
    let path = path.to_owned();
    move |error| CheckError::File(path, error)
}

/// Refuses what has the name of a file and is none.
pub(crate) fn refuse_no_file(path: &Path) -> Result<(), CheckError> {
    let about = std::fs::metadata(path).map_err(file_error(path))?;
    if about.is_file() { Ok(()) } else { Err(CheckError::NoFile(path.to_owned())) }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing; a start goes on.
    Note,
    /// A start stops at it, and a repair loses nothing.
    Mendable,
    /// A start stops at it, and a repair leaves something out, or cannot tell.
    Damage,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The file or directory.
    pub path: PathBuf,
    /// The bytes of the file: from this one up to, and without, the other.
    pub bytes: Option<(u64, u64)>,
    /// The batches of the log.
    pub batches: Option<RangeInclusive<u64>>,
    /// When the last batch before was written, and the first one behind, Unix milliseconds.
    pub after_ms: Option<i64>,
    /// See `after_ms`.
    pub before_ms: Option<i64>,
    /// What is wrong.
    pub what: String,
    /// What a repair leaves out; nothing if this is empty.
    pub left_out: String,
}

impl Finding {
    /// Of a whole file, or of what has no place in one.
    pub(crate) fn new(level: Level, path: &Path, what: impl Into<String>) -> Finding {
        Finding {
            level,
            path: path.to_owned(),
            bytes: None,
            batches: None,
            after_ms: None,
            before_ms: None,
            what: what.into(),
            left_out: String::new(),
        }
    }

    pub(crate) fn at(self, from: u64, to: u64) -> Finding {
        Finding { bytes: Some((from, to)), ..self }
    }

    pub(crate) fn leaves_out(self, what: impl Into<String>) -> Finding {
        Finding { left_out: what.into(), ..self }
    }

    /// Of a stretch of a log's file.
    pub(crate) fn of_damage(path: &Path, damage: &Damaged, is_mended: bool) -> Finding {
        let Damaged { from, to, batches, after_ms, before_ms, commands, .. } = damage;
        let level = if is_mended { Level::Mendable } else { Level::Damage };
        let what = match &damage.what {
            Wrong::Missing => {
                let missing = batches
                    .as_ref()
                    .map_or(0, |batches| batches.end().saturating_sub(*batches.start()).saturating_add(1));
                format!("{missing} batches are not there")
            }
            what => wrong_text(what),
        };
        let mut finding = Finding {
            batches: batches.clone(),
            after_ms: *after_ms,
            before_ms: *before_ms,
            ..Finding::new(level, path, what)
        };
        if from < to {
            finding.bytes = Some((*from, *to));
        }
        if !is_mended && from < to {
            finding.left_out =
                format!("{} bytes, with {commands} commands that can be read in them", to - from);
        } else if !is_mended && damage.what == Wrong::Missing {
            finding.left_out = "what is not there".to_owned();
        }
        finding
    }
}

fn wrong_text(what: &Wrong) -> String {
    match what {
        Wrong::TornEnd => "the file ends in the middle of a batch or command".to_owned(),
        Wrong::Format { offset } => format!("the byte at offset {offset} cannot stand there"),
        Wrong::Checksum => "the checksum of the batch is wrong: more than one byte was changed".to_owned(),
        Wrong::Line { offset } => format!("the line at offset {offset} that closes the batch was changed"),
        Wrong::Missing => "batches are not there".to_owned(),
        Wrong::Repeated => "a batch stands there whose number was there before".to_owned(),
        Wrong::Foreign => "the file is of another log, by the line that it begins with".to_owned(),
        Wrong::Before { had, has } if has < had => {
            format!(
                "the file before it is not whole: it had {had} bytes when this one was begun, and has {has}"
            )
        }
        Wrong::Before { had, has } => {
            format!(
                "the file before it was added to: it had {had} bytes when this one was begun, and has {has}"
            )
        }
        Wrong::BaseChecksum => {
            "the checksum at the end of the base is not that of its commands, any of which may be changed"
                .to_owned()
        }
        Wrong::Transaction => "what is here has lost a part of its transaction".to_owned(),
        Wrong::ChangedByte { offset, is, was } => {
            format!(
                "one byte was changed: at offset {offset} it is {is:#04x} and was {was:#04x}, as the checksum tells"
            )
        }
        Wrong::TooMuch => "there is more damage than is looked through".to_owned(),
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// An RDB.
    Snapshot,
    /// A log: a manifest and its files.
    Log,
    /// A single file of commands, possibly behind a snapshot: the log of Redis before 7, or one file of a newer one.
    Commands,
    /// An ACL file.
    Users,
}

impl SubjectKind {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            SubjectKind::Snapshot => "snapshot",
            SubjectKind::Log => "log",
            SubjectKind::Commands => "commands",
            SubjectKind::Users => "users",
        }
    }
}

/// What was found of one subject.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it is.
    pub kind: SubjectKind,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What is to be said of it.
    pub findings: Vec<Finding>,
    /// The last whole batch, and when it was written, Unix milliseconds.
    pub last_batch: Option<(u64, i64)>,
    /// What it holds, as far as it can be read; if it was loaded.
    pub contents: Option<Contents>,
    /// Why a start would refuse it.
    pub refusal: Option<String>,
}

impl Report {
    pub(crate) fn new(kind: SubjectKind, path: &Path) -> Report {
        Report {
            kind,
            path: path.to_owned(),
            bytes: 0,
            findings: Vec::new(),
            last_batch: None,
            contents: None,
            refusal: None,
        }
    }

    /// How bad the worst is; nothing for what is whole.
    pub fn worst(&self) -> Option<Level> {
        self.findings.iter().map(|finding| finding.level).max().filter(|level| *level > Level::Note)
    }
}
