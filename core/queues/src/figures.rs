//! What is told of one queue at one moment: the same to commands, metrics and the operator's tools.

use crate::id::QueueKind;

/// One queue's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The library's own name of the queue, with its database where that is not the first.
    pub name: String,
    /// Whose queue it is.
    pub kind: QueueKind,
    /// The number of its database.
    pub db: usize,
    /// The key that clients wait on.
    pub key: Vec<u8>,
    /// Jobs by state, in the library's words.
    pub states: Vec<(&'static str, u64)>,
    /// Clients that wait on it now.
    pub workers: u64,
    /// Jobs that came since the start.
    pub added: u64,
    /// Jobs that were taken since the start.
    pub taken: u64,
    /// Jobs that came each second, over the last whole minute.
    pub added_per_second: f64,
    /// Jobs that were taken each second, over the last whole minute.
    pub taken_per_second: f64,
    /// Jobs that were completed and that failed, where the library counts them.
    pub finished: Option<[u64; 2]>,
    /// Age of the oldest job that waits, milliseconds.
    pub oldest_age_ms: Option<u64>,
    /// Age of the oldest job that failed, milliseconds.
    pub oldest_failed_age_ms: Option<u64>,
}
