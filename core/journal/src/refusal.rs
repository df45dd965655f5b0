//! Why writes are refused, and the words that clients are told.

use std::fmt;

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// What has gone wrong with the log.
    Failing(&'a str),
    /// The disk has no room for what would grow.
    Full,
    /// Snapshots are wanted and fail, and no log keeps what is written.
    Saves,
    /// More waits to be written than may.
    Slow,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WRITE: &str = "MISCONF Errors writing to the AOF file:";
        match self {
            Refusal::Failing(why) => write!(f, "{WRITE} {why}"),
            Refusal::Full => write!(f, "{WRITE} No space left on device"),
            Refusal::Saves => f.write_str(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
                 that may modify the data set are disabled, because this instance is configured to report errors during writes if \
                 RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
                 RDB error.",
            ),
            Refusal::Slow => write!(f, "{WRITE} the disk is too slow, too much waits to be written"),
        }
    }
}
