//! What groups do with the entries of their stream: reading, claiming, and telling how far behind they are.

use super::{Group, Id, Pending, Stream};
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

/// The entries that a read for a group delivered: `count` entries from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The first of them.
    pub first: Id,
    /// The last of them.
    pub last: Id,
    /// How many there are, at least 1.
    pub count: usize,
}

/// The terms of a claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Only entries delivered at least so many milliseconds ago.
    pub idle_ms_min: i64,
    /// The delivery time to note, Unix milliseconds.
    pub delivery_ms: i64,
    /// The number of deliveries to note; `None` counts one more unless `just_id`.
    pub deliveries: Option<u64>,
    /// Claim entries that are not pending at all.
    pub force: bool,
    /// Only identities are wanted: that is not counted as a delivery.
    pub just_id: bool,
}

/// What became of one entry that was to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the claimer's now.
    Yes,
    /// It is not pending, or not idle enough.
    No,
    /// It was pending, but the stream has lost it; now it is not pending any more.
    Gone,
}

/// What a claim over a range of pending entries did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoClaimed {
    /// Where to go on; `0-0` when the end was reached.
    pub next: Id,
    /// The entries claimed.
    pub claimed: Vec<Id>,
    /// Pending entries that the stream has lost; they are not pending any more.
    pub gone: Vec<Id>,
}

/// An entry that has been pending for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its identity.
    pub id: Id,
    /// Milliseconds since it was delivered last.
    pub idle_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// XAUTOCLAIM looks at so many pending entries for each one it may claim.
const ATTEMPTS_PER_CLAIM: usize = 10;

impl Stream {
    /// All groups, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.0.groups.iter().map(|(name, group)| (&name[..], &**group))
    }

    /// The group `name`.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(name).map(|group| &**group)
    }

    /// The group `name`, to change it; a snapshot keeps its own copy.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.0.groups.get_mut(name).map(Arc::make_mut)
    }

    /// Create a group that has read up to `last_delivered`, by count `entries_read` (at most what was ever
    /// added); false when the name is taken.
    pub fn create_group(&mut self, name: &[u8], last_delivered: Id, entries_read: Option<u64>) -> bool {
        self.0.used = true;
        let added = self.0.entries_added;
        match self.0.groups.entry(Box::from(name)) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                let entries_read = entries_read.map(|read| read.min(added));
                slot.insert(Arc::new(Group::new(last_delivered, entries_read)));
                true
            }
        }
    }

    /// Set how far the group `name` has read (`entries_read` at most what was ever added); false when there is
    /// no such group.
    pub fn set_group_position(&mut self, name: &[u8], last_delivered: Id, entries_read: Option<u64>) -> bool {
        let added = self.0.entries_added;
        let Some(group) = self.group_mut(name) else { return false };
        group.set_position(last_delivered, entries_read.map(|read| read.min(added)));
        true
    }

    /// Remove a group with all it holds; false when there is none.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        self.0.groups.remove(name).is_some()
    }

    /// Deliver up to `count` entries (0: all) that the group has not seen yet to `consumer`, who is created
    /// when new. They become pending unless `no_ack`. `None` when there is nothing new, or no such group.
    pub fn deliver_new(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        count: usize,
        no_ack: bool,
        now_ms: i64,
    ) -> Option<Delivered> {
        let this = self.group_mut(group)?;
        this.see_consumer(consumer, now_ms);
        let start = this.last_delivered.next()?;
        let limit = if count == 0 { usize::MAX } else { count };
        let ids: Vec<Id> = self.range(start, Id::MAX).take(limit).map(|entry| entry.id).collect();
        let (&first, &last) = (ids.first()?, ids.last()?);
        let entries_read = self.entries_read_after(group, &ids);
        self.set_group_position(group, last, entries_read);
        let this = self.group_mut(group)?;
        // As in Redis, who acknowledges nothing is not active.
        if !no_ack {
            this.set_active(consumer, now_ms);
            ids.iter().for_each(|id| this.assign(*id, consumer, now_ms, 1));
        }
        Some(Delivered { first, last, count: ids.len() })
    }

    /// The entries after `after` that `consumer` holds, up to `count` (0: all), each delivered once more if the
    /// stream still has it. The consumer is created when new.
    pub fn deliver_own(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        after: Id,
        count: usize,
        now_ms: i64,
    ) -> Vec<Id> {
        let limit = if count == 0 { usize::MAX } else { count };
        let Some(this) = self.group_mut(group) else { return Vec::new() };
        this.see_consumer(consumer, now_ms);
        let Some(holder) = this.consumer(consumer) else { return Vec::new() };
        let range = holder.pending.range(Excluded(&after), Unbounded);
        let ids: Vec<Id> = range.take(limit).map(|(id, ())| *id).collect();
        let present: Vec<Id> = ids.iter().copied().filter(|id| self.entry(*id).is_some()).collect();
        if let Some(this) = self.group_mut(group) {
            present.iter().for_each(|id| this.redeliver(*id, now_ms));
        }
        ids
    }

    /// Give the pending entry `id` to `consumer`, who must exist, on the terms of `claim`.
    pub fn claim(&mut self, group: &[u8], consumer: &[u8], id: Id, claim: &Claim, now_ms: i64) -> Claimed {
        let present = self.entry(id).is_some();
        let Some(this) = self.group_mut(group) else { return Claimed::No };
        if !present {
            return if this.acknowledge(id) { Claimed::Gone } else { Claimed::No };
        }
        let deliveries = match this.pending_entry(id) {
            None if !claim.force => return Claimed::No,
            // As in Redis, a forced entry counts as delivered once before it is claimed.
            None => 1,
            Some(pending) if now_ms - pending.delivery_ms < claim.idle_ms_min => return Claimed::No,
            Some(pending) => pending.deliveries,
        };
        let deliveries = claim.deliveries.unwrap_or(deliveries + u64::from(!claim.just_id));
        this.assign(id, consumer, claim.delivery_ms, deliveries);
        this.set_active(consumer, now_ms);
        Claimed::Yes
    }

    /// The entries that the group has had pending for at least `idle_ms_min`, those with the longest time first, up to `count`
    /// (0: all), with that time and how often they were delivered. What the stream has lost is passed over. Goes through all that
    /// the group has pending.
    pub fn longest_pending(&self, group: &[u8], idle_ms_min: i64, count: usize, now_ms: i64) -> Vec<Idle> {
        let Some(group) = self.group(group) else { return Vec::new() };
        let old_enough = |(_, pending): &(Id, &Pending)| now_ms - pending.delivery_ms >= idle_ms_min;
        let mut all: Vec<(i64, Id, u64)> = (group.pending().filter(old_enough))
            .map(|(id, pending)| (pending.delivery_ms, id, pending.deliveries))
            .collect();
        all.sort_unstable();
        all.into_iter()
            .filter(|(_, id, _)| self.entry(*id).is_some())
            .take(if count == 0 { usize::MAX } else { count })
            .map(|(delivery_ms, id, deliveries)| Idle { id, idle_ms: now_ms - delivery_ms, deliveries })
            .collect()
    }

    /// Whether the group has had an entry pending for at least `idle_ms_min` that the stream still has.
    pub fn has_long_pending(&self, group: &[u8], idle_ms_min: i64, now_ms: i64) -> bool {
        let pending = self.group(group).into_iter().flat_map(Group::pending);
        let mut idle = pending.filter(|(_, pending)| now_ms - pending.delivery_ms >= idle_ms_min);
        idle.any(|(id, _)| self.entry(id).is_some())
    }

    /// When the next of the group's pending entries will have been so for `idle_ms_min`, Unix milliseconds; `None` when all have
    /// been already.
    pub fn next_idle_ms(&self, group: &[u8], idle_ms_min: i64, now_ms: i64) -> Option<i64> {
        let due = self.group(group)?.pending().map(|(_, p)| p.delivery_ms.saturating_add(idle_ms_min));
        due.filter(|due| *due > now_ms).min()
    }

    /// Claim up to `count` pending entries from `start` on for `consumer`, who must exist.
    pub fn auto_claim(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        start: Id,
        count: usize,
        claim: &Claim,
        now_ms: i64,
    ) -> AutoClaimed {
        let mut result = AutoClaimed::default();
        let Some(this) = self.group(group) else { return result };
        let attempts = count.saturating_mul(ATTEMPTS_PER_CLAIM);
        let mut ahead = this.pending.range(Included(&start), Unbounded).map(|(id, _)| *id);
        let candidates: Vec<Id> = ahead.by_ref().take(attempts).collect();
        result.next = ahead.next().unwrap_or(Id::MIN);
        for id in candidates {
            if result.claimed.len() + result.gone.len() == count {
                result.next = id;
                break;
            }
            match self.claim(group, consumer, id, claim, now_ms) {
                Claimed::Yes => result.claimed.push(id),
                Claimed::Gone => result.gone.push(id),
                Claimed::No => {}
            }
        }
        result
    }

    /// How many entries the group has not read yet; `None` when deletions make that unknowable.
    pub fn lag(&self, group: &Group) -> Option<u64> {
        if self.0.len == 0 {
            return Some(0);
        }
        let first = self.first_id();
        if group.last_delivered < first && self.0.max_deleted_id < first {
            // Nothing of what is left has been read, and nothing is missing from it.
            return Some(self.0.len);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstone_after(group.last_delivered) => read,
            _ => self.entries_up_to(group.last_delivered)?,
        };
        Some(self.0.entries_added.saturating_sub(read))
    }

    /// How many entries had been added up to and with `id`, counted from the first ever, where that follows
    /// from the ends of the stream alone.
    pub fn entries_up_to(&self, id: Id) -> Option<u64> {
        let stream = &self.0;
        if stream.entries_added == 0 {
            return Some(0);
        }
        if stream.len == 0 && id <= stream.last_id {
            return Some(stream.entries_added);
        }
        if id != Id::MIN && id < stream.max_deleted_id {
            return None;
        }
        if id == stream.last_id {
            return Some(stream.entries_added);
        }
        let first = self.first_id();
        let whole = stream.max_deleted_id == Id::MIN || stream.max_deleted_id < first;
        if id > stream.last_id || !whole || id > first {
            return None;
        }
        Some(stream.entries_added - stream.len + u64::from(id == first))
    }

    /// The group's count of entries read once it has read these entries more.
    fn entries_read_after(&self, group: &[u8], ids: &[Id]) -> Option<u64> {
        let group = self.group(group)?;
        let (mut read, mut at) = (group.entries_read, group.last_delivered);
        let first = self.first_id();
        for id in ids {
            read = match read {
                Some(read) if at >= first && !self.has_tombstone_after(at) => Some(read + 1),
                _ => self.entries_up_to(*id),
            };
            at = *id;
        }
        read
    }

    /// Whether an entry behind `id` may have been deleted out of the stream's middle.
    fn has_tombstone_after(&self, id: Id) -> bool {
        let deleted = self.0.max_deleted_id;
        deleted != Id::MIN && id <= deleted && self.0.len > 0 && self.first_id() <= deleted
    }
}
