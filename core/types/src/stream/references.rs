//! Entries and what groups hold of them: deletions and trims that look at the groups' pending entries.
//!
//! Deleting an entry leaves it pending in its groups unless the caller asks for more (`DELREF`), and a caller may ask
//! that no group needs it any more (`ACKED`).

use super::{Id, Keep, Precision, Stream};
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

impl Stream {
    /// Whether a group has not read `id` yet, or has it pending.
    pub fn is_needed(&self, id: Id) -> bool {
        self.0.groups.values().any(|group| group.last_delivered < id || group.pending.contains_key(&id))
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

    /// Removes entries from the front, minding the groups; returns how many went. An approximate trim cannot look at
    /// single entries, so it removes nothing where only acknowledged ones may go.
    pub fn trim_minding(&mut self, keep: Keep, precision: Precision, references: References) -> u64 {
        match references {
            References::Keep => self.trim(keep, precision),
            References::Drop => {
                let ids = self.beyond(keep, |_| true);
                let removed = self.trim(keep, precision);
                ids.into_iter().take(removed as usize).for_each(|id| self.forget(id));
                removed
            }
            References::Acknowledged if precision != Precision::Exact => 0,
            References::Acknowledged => {
                let ids = self.beyond(keep, |id| !self.is_needed(id));
                // A trim is no deletion by name.
                let deleted = self.0.max_deleted_id;
                let removed = ids.into_iter().filter(|id| self.delete(*id)).count();
                self.0.max_deleted_id = deleted;
                removed as u64
            }
        }
    }

    /// The identities that a trim may remove of those that `may_go`, from the front.
    fn beyond(&self, keep: Keep, may_go: impl Fn(Id) -> bool) -> Vec<Id> {
        let ids = self.range(Id::MIN, Id::MAX).map(|entry| entry.id);
        match keep {
            Keep::Latest(most) => {
                let excess = self.0.len.saturating_sub(most) as usize;
                ids.filter(|id| may_go(*id)).take(excess).collect()
            }
            Keep::From(min) => ids.take_while(|id| *id < min).filter(|id| may_go(*id)).collect(),
        }
    }

    /// Takes `id` out of every group's pending entries.
    fn forget(&mut self, id: Id) {
        for group in self.0.groups.values_mut().filter(|group| group.pending.contains_key(&id)) {
            Arc::make_mut(group).acknowledge(id);
        }
    }
}
