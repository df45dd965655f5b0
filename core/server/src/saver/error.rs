//! Why what was to be written was not.

use std::fmt;
use std::io;

use persist::aof::{AppendError, ConvertError};
use persist::rdb;

use crate::locks::LockError;

/// See the module.
#[derive(Debug)]
pub(crate) enum SaveError {
    /// Nobody wants it any more: it was given up on purpose.
    Cancelled,
    /// The engine gives another snapshot already.
    Engaged,
    /// The saver thread has ended.
    Gone,
    /// What was executed waits in front of the log's file, which cannot be written now.
    Unwritten,
    /// The snapshot that was written is not there any more.
    Vanished,
    /// Somebody else writes files of these names, or that cannot be ruled out.
    Locked(LockError),
    /// The log's file does not take it.
    Log(AppendError),
    /// A snapshot cannot be read back.
    Snapshot(rdb::Error),
    /// A snapshot cannot be turned into commands.
    Commands(ConvertError),
    /// A disk, or a client that takes a copy.
    Io(io::Error),
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaveError::Cancelled => f.write_str("it was given up"),
            SaveError::Engaged => f.write_str("a snapshot is being written already"),
            SaveError::Gone => f.write_str("the saving thread has gone"),
            SaveError::Unwritten => f.write_str("the log cannot be written at the moment"),
            SaveError::Vanished => f.write_str("the snapshot that was written is gone"),
            SaveError::Locked(error) => error.fmt(f),
            SaveError::Log(error) => error.fmt(f),
            SaveError::Snapshot(error) => error.fmt(f),
            SaveError::Commands(error) => error.fmt(f),
            SaveError::Io(error) => f.write_str(&base::fault::text(error)),
        }
    }
}

impl std::error::Error for SaveError {}

impl From<LockError> for SaveError {
    fn from(error: LockError) -> SaveError {
        SaveError::Locked(error)
    }
}

impl From<AppendError> for SaveError {
    fn from(error: AppendError) -> SaveError {
        SaveError::Log(error)
    }
}

impl From<rdb::Error> for SaveError {
    fn from(error: rdb::Error) -> SaveError {
        SaveError::Snapshot(error)
    }
}

impl From<ConvertError> for SaveError {
    fn from(error: ConvertError) -> SaveError {
        SaveError::Commands(error)
    }
}

impl From<io::Error> for SaveError {
    /// One that went through a writer as [`SaveError::into_io`] is what it was before.
    fn from(error: io::Error) -> SaveError {
        error.downcast().unwrap_or_else(SaveError::Io)
    }
}

impl SaveError {
    /// For a writer that takes no other errors.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_stays_that_through_a_writer() {
        assert!(matches!(SaveError::from(SaveError::Cancelled.into_io()), SaveError::Cancelled));
        assert!(matches!(SaveError::from(io::Error::other("else")), SaveError::Io(_)));
    }
}
