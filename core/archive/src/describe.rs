//! The JSON that tells of an object. What is read is not believed: names are checked before anything is opened by them.

use std::io::{Read, Write};

use persist::aof::{Base, HistoryId};
use serde::{Deserialize, Serialize};

use crate::error::ArchiveError;
use crate::moment::Moment;
use crate::store::{Store, random_hex};

/// The version of the format that is written. A later one is refused.
const FORMAT: u32 = 1;
/// That of what tells of a rolled segment: who knows only the first one does not know what it replaces.
const FORMAT_ROLLED: u32 = 2;
/// The longest description that is read, bytes.
const BYTES_MAX: u64 = 16 << 10;
/// No size and no number of a batch is larger: sums of them do not overflow.
const NUMBER_MAX: u64 = 1 << 50;
/// The most that stands in an object's name between its number and its ending; before names were random, that was a batch and a SHA-256.
const BETWEEN_BYTES_MAX: usize = 64;

/// An object, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    format: u32,
    /// What is in it.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its name in the folder of the lineage.
    pub object: String,
    /// Its size as it lies there.
    pub bytes: u64,
    /// Its SHA-256 as it lies there.
    pub sha256: String,
    /// The size of what is in it.
    pub plain_bytes: u64,
    /// A key is needed to read it.
    pub encrypted: bool,
    /// The public keys that it is encrypted to. Before they were told, there were none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The log whose place this one has taken, as its server has seen it: a replica's that was given another data set. Of bases only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// A server has archived it that archives all the time: what is missing behind it was lost to the archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continuous: bool,
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// The file that a log begins with.
    Base {
        /// It holds what the batches up to this one did.
        covers: u64,
        /// When it was done, or some time later.
        at: Moment,
        /// It is a file of commands, and else an RDB.
        commands: bool,
        /// The checksum by which the log knows it.
        crc: String,
    },
    /// Closed batches of the log in a row.
    Segment {
        /// The number of the first one.
        first_batch: u64,
        /// The number of the last one.
        last_batch: u64,
        /// When the first one was written.
        from: Moment,
        /// When the last one was written.
        to: Moment,
        /// The closing line of the batch before, if that was seen.
        follows: Option<String>,
        /// The closing line of the last batch.
        last_line: String,
        /// The file of the log that it was read from, and where it ends in that.
        log_file: String,
        /// See `log_file`.
        log_end: u64,
        /// How often what it holds was made one of several segments, which it replaces; 0 for what was archived as it is.
        #[serde(default, skip_serializing_if = "is_zero")]
        rolled: u8,
    },
}

/// What is known of an object when its first byte is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// See [`Kind::Base`].
    Base { covers: u64, commands: bool },
    /// See [`Kind::Segment`].
    Segment { first_batch: u64 },
}

impl Begin {
    /// A name that no other object has.
    pub(crate) fn new_name(self, encrypted: bool) -> std::io::Result<String> {
        Ok(format!("{}.{}{}", self.stem(), random_hex()?, self.ending(encrypted)))
    }

    /// Whether an object of that name may be this one. There is nothing else than digits between, and so no way to another folder.
    fn fits(self, name: &str, encrypted: bool) -> bool {
        let between = name
            .strip_prefix(&self.stem())
            .and_then(|rest| rest.strip_suffix(&self.ending(encrypted)))
            .unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'.' | b'-');
        !between.is_empty() && between.len() <= BETWEEN_BYTES_MAX && between.bytes().all(is_plain)
    }

    fn stem(self) -> String {
        match self {
            Begin::Base { covers, .. } => format!("base-{covers:020}"),
            Begin::Segment { first_batch } => format!("segment-{first_batch:020}"),
        }
    }

    fn ending(self, encrypted: bool) -> String {
        let form = match self {
            Begin::Base { commands: false, .. } => "rdb",
            Begin::Base { commands: true, .. } => "base.aof",
            Begin::Segment { .. } => "aof",
        };
        format!(".{form}.zst{}", if encrypted { ".age" } else { "" })
    }
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// What the one who archives an object has to say of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// See [`Description::replaces`].
    pub(crate) replaces: Option<HistoryId>,
    /// See [`Description::continuous`].
    pub(crate) continuous: bool,
}

impl Kind {
    fn format(&self) -> u32 {
        match self {
            Kind::Segment { rolled: 1.., .. } => FORMAT_ROLLED,
            _ => FORMAT,
        }
    }

    fn begin(&self) -> Begin {
        match *self {
            Kind::Base { covers, commands, .. } => Begin::Base { covers, commands },
            Kind::Segment { first_batch, .. } => Begin::Segment { first_batch },
        }
    }

    /// The name of the JSON.
    pub(crate) fn json_name(&self) -> String {
        match self {
            Kind::Base { covers, crc, .. } => format!("base-{covers:020}-{crc}.json"),
            Kind::Segment { first_batch, rolled: 0, .. } => format!("segment-{first_batch:020}.json"),
            Kind::Segment { first_batch, last_batch, .. } => {
                format!("segment-{first_batch:020}-{last_batch:020}.json")
            }
        }
    }
}

impl Description {
    pub(crate) fn new(kind: Kind, object: String, stored: Stored) -> Description {
        let Stored { bytes, sha256, plain_bytes, recipients } = stored;
        let encrypted = !recipients.is_empty();
        Description {
            format: kind.format(),
            kind,
            object,
            bytes,
            sha256,
            plain_bytes,
            encrypted,
            recipients,
            replaces: None,
            continuous: false,
        }
    }

    /// With what the one who archives it has to say of it.
    pub(crate) fn with(self, said: Said) -> Description {
        Description {
            replaces: said.replaces.map(|log| log.to_string()),
            continuous: said.continuous,
            ..self
        }
    }

    /// What kind of base it is.
    pub(crate) fn form(&self) -> Base {
        match self.kind {
            Kind::Base { commands: true, .. } => Base::Commands,
            _ => Base::Snapshot,
        }
    }

    /// The object's name in the repository.
    pub(crate) fn object_name(&self, lineage: HistoryId) -> String {
        format!("{lineage}/{}", self.object)
    }

    /// The name of what tells of it in the repository.
    pub(crate) fn json_name(&self, lineage: HistoryId) -> String {
        format!("{lineage}/{}", self.kind.json_name())
    }

    /// Puts it in the repository, which is the moment at which the object is there.
    pub(crate) fn put(&self, store: &dyn Store, lineage: HistoryId) -> Result<(), ArchiveError> {
        let name = self.json_name(lineage);
        let json = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        let put = json.and_then(|json| {
            let mut upload = store.upload(&name)?;
            upload.write_all(json.as_bytes())?;
            upload.write_all(b"\n")?;
            upload.finish()
        });
        put.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ArchiveError::Taken(name),
            _ => ArchiveError::Store(name, error),
        })
    }

    /// Reads one by its name.
    pub(crate) fn read(store: &dyn Store, name: &str) -> Result<Description, ArchiveError> {
        let mut text = Vec::new();
        let read = store.read(name).and_then(|source| source.take(BYTES_MAX).read_to_end(&mut text));
        read.map_err(|error| ArchiveError::Store(name.to_owned(), error))?;
        Description::parse(name, &text)
    }

    /// Reads many by their names, in this order.
    pub(crate) fn read_all(store: &dyn Store, names: &[String]) -> Vec<Result<Description, ArchiveError>> {
        let texts = store.read_all(names, BYTES_MAX);
        let parse = |(name, text): (&String, std::io::Result<Vec<u8>>)| {
            Description::parse(name, &text.map_err(|error| ArchiveError::Store(name.clone(), error))?)
        };
        names.iter().zip(texts).map(parse).collect()
    }

    fn parse(name: &str, text: &[u8]) -> Result<Description, ArchiveError> {
        let damaged = |what: String| ArchiveError::Damaged(name.to_owned(), what);
        let found: Description = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if !(FORMAT..=FORMAT_ROLLED).contains(&found.format) {
            return Err(damaged(format!(
                "its format is {}, and {FORMAT_ROLLED} is known here",
                found.format
            )));
        }
        found.contradiction(name).map_or(Ok(found), |what| Err(damaged(what.to_owned())))
    }

    /// What it says that cannot be.
    fn contradiction(&self, name: &str) -> Option<&'static str> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_hex) {
            return Some("its SHA-256 is none");
        }
        if !self.kind.begin().fits(&self.object, self.encrypted) {
            return Some("the object that it names is not that which it tells of");
        }
        if name.rsplit('/').next() != Some(&self.kind.json_name()) {
            return Some("its name is not that of what it tells of");
        }
        if [self.bytes, self.plain_bytes, self.last_batch()].iter().any(|&number| number > NUMBER_MAX) {
            return Some("it tells of more than there can be");
        }
        match self.kind {
            Kind::Segment { first_batch, last_batch, .. } if first_batch == 0 || last_batch < first_batch => {
                Some("its batches are in no order")
            }
            _ => None,
        }
    }
}

/// An object that was put into the repository, as it lies there.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) plain_bytes: u64,
    pub(crate) recipients: Vec<String>,
}
