//! Entries and what groups hold of them: deletions and trims that look at the groups' pending entries.
//!
//! Deleting an entry leaves it pending in its groups unless the caller asks for more (`DELREF`), and a caller may ask
//! that no group needs it any more (`ACKED`).

use super::{Id, Keep, Precision, Stream};
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

/// What a removal does about the groups that hold the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// It stays pending where it is.
    #[default]
    Keep,
    /// It is pending nowhere any more.
    Drop,
    /// Only entries go that every group has read and acknowledged.
    Acknowledged,
}

/// What became of an entry that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// There is none.
    Absent,
    /// It is gone.
    Removed,
    /// A group still needs it.
    Needed,
}

/// What a trim did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrimOutcome {
    /// Entries that went.
    pub removed: u64,
    /// Entries that groups had pending and have no more.
    pub forgotten: usize,
    /// Those of them that had been deleted by name before and lay ahead of the first entry, with their groups: where a stream was
    /// loaded, nothing tells of them.
    pub forgotten_ahead: Vec<(Vec<u8>, Vec<Id>)>,
}

impl Stream {
    /// Whether a group has not read `id` yet, or has it pending.
    pub fn is_needed(&self, id: Id) -> bool {
        self.0.groups.values().any(|group| group.last_delivered < id || group.pending.contains(&id))
    }

    /// Deletes the entry `id` as [`delete`](Self::delete), minding the groups.
    pub fn remove(&mut self, id: Id, references: References) -> Removal {
        match references {
            References::Acknowledged if self.is_needed(id) => return Removal::Needed,
            References::Drop => self.forget(id),
            References::Keep | References::Acknowledged => {}
        }
        if self.delete(id) { Removal::Removed } else { Removal::Absent }
    }

    /// Removes entries from the front, minding the groups.
    pub fn trim_minding(&mut self, keep: Keep, precision: Precision, references: References) -> TrimOutcome {
        let removed = match references {
            References::Keep => self.trim(keep, precision),
            References::Drop => return self.trim_and_forget(keep, precision),
            References::Acknowledged => {
                let ids = match precision {
                    Precision::Exact => self.beyond(keep),
                    Precision::Approximate(limit) => self.beyond_in_whole_chunks(keep, limit),
                };
                // A trim is no deletion by name.
                let deleted = self.0.max_deleted_id;
                let removed = ids.into_iter().filter(|id| self.delete(*id)).count();
                self.0.max_deleted_id = deleted;
                removed as u64
            }
        };
        TrimOutcome { removed, ..TrimOutcome::default() }
    }

    /// Trims, and takes what the trim goes over out of the groups: the entries that went, and those between them that had been
    /// deleted by name before and were still pending.
    fn trim_and_forget(&mut self, keep: Keep, precision: Precision) -> TrimOutcome {
        let Some(start) = self.0.nodes.front().map(|node| node.first) else { return TrimOutcome::default() };
        let first = self.first_id();
        let cut = self.cut(keep, precision);
        let end = match (keep, precision) {
            (Keep::Latest(_), _) => cut.last_gone().map(Included),
            (Keep::From(min), Precision::Exact) => Some(Excluded(min)),
            (Keep::From(_), _) if cut.removed == 0 => None,
            (Keep::From(min), _) => Some(Excluded(self.first().map_or(min, |entry| entry.id.min(min)))),
        };
        let Some(end) = end else { return TrimOutcome { removed: cut.removed, ..TrimOutcome::default() } };
        let ahead_end = match end {
            Excluded(min) => Excluded(min.min(first)),
            _ => Excluded(first),
        };
        let forgotten_ahead = self.forget_between(start, ahead_end);
        let behind = self.forget_between(first, end);
        let count = |all: &[(Vec<u8>, Vec<Id>)]| all.iter().map(|(_, ids)| ids.len()).sum::<usize>();
        let forgotten = count(&forgotten_ahead) + count(&behind);
        TrimOutcome { removed: cut.removed, forgotten, forgotten_ahead }
    }

    /// The identities that an exact trim removes, from the front, of those that no group needs.
    fn beyond(&self, keep: Keep) -> Vec<Id> {
        let ids = self.range(Id::MIN, Id::MAX).map(|entry| entry.id);
        match keep {
            Keep::Latest(most) => {
                let excess = self.0.len.saturating_sub(most) as usize;
                ids.filter(|id| !self.is_needed(*id)).take(excess).collect()
            }
            Keep::From(min) => ids.take_while(|id| *id < min).filter(|id| !self.is_needed(*id)).collect(),
        }
    }

    /// The identities that an approximate trim removes: it goes through the chunks that it could take as a whole, and in
    /// them leaves what a group needs. At most about `limit` go; 0 means any number.
    fn beyond_in_whole_chunks(&self, keep: Keep, limit: u64) -> Vec<Id> {
        let read_by_all = self.0.groups.values().map(|group| group.last_delivered).min();
        let mut ids = Vec::new();
        for node in &self.0.nodes {
            let (live, left) = (node.chunk.live() as u64, self.0.len - ids.len() as u64);
            let whole = match keep {
                Keep::Latest(most) => left > most && left - live >= most,
                Keep::From(min) => node.chunk.last() < min,
            };
            let is_over = limit > 0 && ids.len() as u64 + live > limit;
            // Nothing from here on has been read by all groups.
            if !whole || is_over || read_by_all.is_some_and(|read| node.first > read) {
                break;
            }
            ids.extend(node.chunk.iter().map(|entry| entry.id).filter(|id| !self.is_needed(*id)));
        }
        ids
    }

    /// Takes the pending entries from `start` to `end` out of every group; which they were.
    fn forget_between(&mut self, start: Id, end: Bound<Id>) -> Vec<(Vec<u8>, Vec<Id>)> {
        let mut forgotten = Vec::new();
        let is_empty = match end {
            Excluded(end) => end <= start,
            Included(end) => end < start,
            Unbounded => false,
        };
        for (name, group) in self.0.groups.iter_mut().filter(|_| !is_empty) {
            let ids: Vec<Id> =
                group.pending.range(Included(&start), end.as_ref()).map(|(id, _)| *id).collect();
            if !ids.is_empty() {
                let group = Arc::make_mut(group);
                ids.iter().for_each(|id| _ = group.acknowledge(*id));
                forgotten.push((name.to_vec(), ids));
            }
        }
        forgotten
    }

    /// Takes `id` out of every group's pending entries.
    fn forget(&mut self, id: Id) {
        for group in self.0.groups.values_mut().filter(|group| group.pending.contains(&id)) {
            Arc::make_mut(group).acknowledge(id);
        }
    }
}
