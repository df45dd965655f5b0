//! Brings a repository up to what a log holds now. See the crate's page for what is taken and what is refused.

use persist::aof::{HistoryId, Place};

use crate::Progress;
use crate::describe::Description;
use crate::error::ArchiveError;
use crate::follow::{Follower, Step, Terms};
use crate::moment::Moment;
use crate::seal::Recipient;
use crate::store::Store;

/// What was added to a repository.
#[derive(Debug)]
pub struct BackedUp {
    /// The log.
    pub lineage: HistoryId,
    /// The base, if one was needed.
    pub base: Option<Description>,
    /// The segments, the oldest first.
    pub segments: Vec<Description>,
    /// The last batch in the repository.
    pub last_batch: u64,
    /// When that was written, as far as it is known.
    pub last_moment: Option<Moment>,
    /// Whom the newest object before these is encrypted to, nobody if it is not, where that is not whom these are encrypted to.
    pub recipients_before: Option<Vec<String>>,
}

impl BackedUp {
    /// Bytes that were added to the repository.
    pub fn bytes(&self) -> u64 {
        self.base.iter().chain(&self.segments).map(|told| told.bytes).sum()
    }

    /// Bytes that were read from the log.
    pub fn plain_bytes(&self) -> u64 {
        self.base.iter().chain(&self.segments).map(|told| told.plain_bytes).sum()
    }
}

/// Archives what the repository does not have of a log, as far as it was written when this began. `recipients`: who can read it; if there are
/// none, everybody.
///
/// # Errors
/// See [`ArchiveError`]; what has been added by then is whole, and the next call goes on behind it.
pub fn back_up(
    store: &dyn Store,
    place: &Place,
    recipients: &[Recipient],
    progress: Progress<'_>,
) -> Result<BackedUp, ArchiveError> {
    let mut follower = Follower::new(place.clone());
    let terms = Terms { recipients, ..Terms::default() };
    let (mut base, mut segments) = (None, Vec::new());
    // A server that goes on writing would have it go on for ever.
    let (mut done, mut goal) = (0, None);
    while goal.is_none_or(|goal| done < goal) {
        let (before, mut read) = (done, 0);
        let step = follower.step(store, &terms, &mut |bytes, left| {
            read = bytes;
            let goal = *goal.get_or_insert(left);
            progress(before + bytes, goal.max(before + bytes));
        })?;
        done += read;
        match step {
            Step::Base(told) => base = Some(told),
            Step::Segment(told) => segments.push(told),
            Step::Gap(_) => {}
            Step::Nothing => break,
        }
    }
    // What many runs a day leave behind is as little as what a server does.
    while follower.roll(store, &terms)?.is_some() {}
    let Some(tail) = follower.tail() else { return Err(ArchiveError::Restless) };
    Ok(BackedUp {
        lineage: tail.id(),
        last_batch: tail.last_batch().unwrap_or_default(),
        last_moment: tail.last_moment(),
        recipients_before: follower.recipients_before().map(<[String]>::to_vec),
        base,
        segments,
    })
}
