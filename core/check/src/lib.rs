//! Looks at the files of a server, says what is wrong with them in plain words, and writes what is good in them to another place.
//!
//! ```text
//! path ──> subjects: a snapshot, a log (manifest and files), a file of commands, users
//!          each: read whole ──> findings and parts that are good (persist::aof::survey)
//!                load the parts into an engine of its own ──> contents: keys by type, digest
//!                repair: what was loaded, written as a snapshot or as a log with one base
//! ```
//! Nothing is changed where it lies. What one changed byte explains is put right by the checksum that tells it; what cannot be read is left
//! out and told, and so is each command that is refused because what it rests on is lost. What is written was loaded before, so it loads, and
//! is loaded again to be certain.
//!
//! *Absent:* threads, the server, the archive. One engine holds the data set in memory, as a server would.

#![forbid(unsafe_code)]

mod dataset;
mod finding;
mod log;
mod play;
mod repair;
mod snapshot;
mod subject;
#[cfg(test)]
mod tests;
mod users;
mod world;

pub use dataset::{Contents, DataSet};
pub use finding::{CheckError, Finding, Level, Report, SubjectKind};
pub use log::load_log;
pub use repair::{Repaired, repair};
pub use subject::check;

/// Hears how many bytes were read, and of how many, as long as something lasts.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// How far to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Only formats and checksums; nothing is loaded.
    pub checksums_only: bool,
}

/// A bar that several files move.
pub(crate) struct Gauge<'a> {
    progress: Progress<'a>,
    before: u64,
    total: u64,
}

impl<'a> Gauge<'a> {
    pub(crate) fn new(progress: Progress<'a>, total: u64) -> Gauge<'a> {
        Gauge { progress, before: 0, total }
    }

    /// So many bytes of the present file are done.
    pub(crate) fn hear(&mut self, bytes: u64) {
        let done = self.before + bytes;
        (self.progress)(done.min(self.total), self.total);
    }

    /// A file of that size is done.
    pub(crate) fn pass(&mut self, bytes: u64) {
        self.before += bytes;
        self.hear(0);
    }
}
