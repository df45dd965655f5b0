//! What is known of a file before it is looked through, and afterwards.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::super::line::HistoryId;

/// A file, and what is known of it from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct SurveyStart {
    /// Where its commands begin: behind the snapshot of a base.
    pub offset: u64,
    /// Which log it should be of.
    pub history: Option<HistoryId>,
    /// The number of its first batch.
    pub first_batch: Option<u64>,
    /// How long the incremental file before it is.
    pub before_bytes: Option<u64>,
    /// It should begin with a head.
    pub needs_head: bool,
}

/// A stretch of a file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whole commands.
    Good {
        /// Where it begins and ends.
        from: u64,
        /// See `from`.
        to: u64,
    },
    /// Whole commands once they are put right.
    Mended {
        /// What was wrong.
        damage: Damaged,
        /// What should stand there.
        bytes: Vec<u8>,
    },
    /// What cannot be read.
    Lost(Damaged),
}

/// Damage of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where what is damaged begins and ends.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// What is wrong with it.
    pub what: Wrong,
    /// The batches that are in it, where they have numbers.
    pub batches: Option<RangeInclusive<u64>>,
    /// When the batch before was written, and the one behind, Unix milliseconds.
    pub after_ms: Option<i64>,
    /// See `after_ms`.
    pub before_ms: Option<i64>,
    /// Whole commands that are among what is lost.
    pub commands: u64,
}

/// What is wrong with a stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The file ends in it, as a crash leaves it.
    TornEnd,
    /// The byte at this offset cannot stand there, or a length is not that of what follows.
    Format {
        /// Where.
        offset: u64,
    },
    /// A batch does not have the checksum that its line tells.
    Checksum,
    /// The line that closes a batch is damaged.
    Line {
        /// Where.
        offset: u64,
    },
    /// Batches are not there.
    Missing,
    /// A batch of a number that was there before.
    Repeated,
    /// The file is of another log.
    Foreign,
    /// The file before it had so many bytes when this one was begun, and it has not.
    Before {
        /// What it had.
        had: u64,
        /// What it has.
        has: u64,
    },
    /// The checksum at the end of a base of commands is not that of the commands.
    BaseChecksum,
    /// It lost a part of the transaction that it belongs to.
    Transaction,
    /// One byte was changed, and is put right.
    ChangedByte {
        /// Where.
        offset: u64,
        /// What it is.
        is: u8,
        /// What it was.
        was: u8,
    },
    /// There is more damage than is told.
    TooMuch,
}

/// What a look through a file has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its stretches, in order.
    pub parts: Vec<Part>,
    /// Which log it is of, if it tells.
    pub history: Option<HistoryId>,
    /// It begins with a head.
    pub has_head: bool,
    /// The first batch that its head tells, or that was met.
    pub first_batch: Option<u64>,
    /// The last batch.
    pub last_batch: Option<u64>,
    /// When the last batch was written, Unix milliseconds.
    pub last_ms: Option<i64>,
    /// How many batches are whole.
    pub batches: u64,
    /// Bytes of whole commands at the end that no line closes.
    pub open_bytes: u64,
    /// The databases that its commands select.
    pub databases: BTreeSet<u64>,
}

impl Survey {
    /// What is wrong, in order.
    pub fn damages(&self) -> impl Iterator<Item = &Damaged> {
        self.parts.iter().filter_map(|part| match part {
            Part::Good { .. } => None,
            Part::Mended { damage, .. } | Part::Lost(damage) => Some(damage),
        })
    }
}
