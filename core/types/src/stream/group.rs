//! A consumer group: how far it has read, and who holds which entry unacknowledged.
//!
//! A group may have millions of entries pending, and thousands of consumers. Both are kept in runs, so a snapshot shares
//! them and a delivery copies the runs that it changes.
//!
//! Invariants: an entry is pending with exactly one consumer; each consumer's own list of pending entries and
//! the group's agree.

use super::{COUNT_MAX, Id};
use crate::estimate;
use crate::runs::Runs;
use std::ops::Bound::Included;
use std::sync::Arc;

/// A consumer group of a stream.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub(super) last_delivered: Id,
    pub(super) entries_read: Option<u64>,
    pub(super) pending: Runs<Id, Pending>,
    consumers: Runs<Arc<[u8]>, Consumer>,
}

/// An entry that was delivered and not yet acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who holds it.
    pub consumer: Arc<[u8]>,
    /// When it was delivered last, Unix milliseconds.
    pub delivery_ms: i64,
    /// How often it was delivered; at most what a reply can hold.
    pub deliveries: u64,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// When it last asked for something, Unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something, Unix milliseconds; `None` before the first time.
    pub active_ms: Option<i64>,
    pub(super) pending: Runs<Id, ()>,
}

/// Which pending entries XPENDING lists.
#[derive(Clone, Copy, Debug)]
pub struct PendingFilter<'a> {
    /// The lowest identity.
    pub start: Id,
    /// The highest identity.
    pub end: Id,
    /// At most so many.
    pub count: usize,
    /// Only those of this consumer.
    pub consumer: Option<&'a [u8]>,
    /// Only those delivered at least so many milliseconds ago.
    pub idle_ms_min: i64,
}

impl Consumer {
    /// The entries it holds, by identity.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = Id> + DoubleEndedIterator + '_ {
        self.pending.iter().map(|(id, ())| *id)
    }
}

impl Group {
    /// A group that has read up to `last_delivered`, which were `entries_read` entries if that is known.
    pub(super) fn new(last_delivered: Id, entries_read: Option<u64>) -> Group {
        Group { last_delivered, entries_read, ..Group::default() }
    }

    /// The last entry delivered to any consumer.
    pub fn last_delivered(&self) -> Id {
        self.last_delivered
    }

    /// How many entries the group has read, counted from the stream's first ever; `None` when unknown.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// Set how far the group has read. `entries_read` is at most what was ever added to the stream.
    pub fn set_position(&mut self, last_delivered: Id, entries_read: Option<u64>) {
        self.last_delivered = last_delivered;
        self.entries_read = entries_read;
    }

    /// All pending entries, by identity.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = (Id, &Pending)> + DoubleEndedIterator {
        self.pending.iter().map(|(id, pending)| (*id, pending))
    }

    /// The pending entry `id`.
    pub fn pending_entry(&self, id: Id) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// All consumers, by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (&[u8], &Consumer)> {
        self.consumers.iter().map(|(name, consumer)| (&name[..], consumer))
    }

    /// The consumer `name`.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// Make sure that consumer `name` exists; true when it is new.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        if self.consumers.contains(name) {
            return false;
        }
        self.consumers.insert(Arc::from(name), Consumer { seen_ms: now_ms, ..Consumer::default() });
        true
    }

    /// Note that consumer `name` asked for something, creating it when new (then the answer is true).
    pub fn see_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.seen_ms = now_ms;
            return false;
        }
        self.create_consumer(name, now_ms)
    }

    /// Note that consumer `name` got something.
    pub fn set_active(&mut self, name: &[u8], now_ms: i64) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.active_ms = Some(now_ms);
        }
    }

    /// Set both times of consumer `name`, creating it when new: for loading.
    pub fn restore_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        self.create_consumer(name, seen_ms);
        if let Some(consumer) = self.consumers.get_mut(name) {
            (consumer.seen_ms, consumer.active_ms) = (seen_ms, active_ms);
        }
    }

    /// Remove consumer `name` with what it holds; returns how many entries that were, `None` without such one.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<u64> {
        let consumer = self.consumers.remove(name)?;
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len() as u64)
    }

    /// Make `id` pending with `consumer` (created when new), taking it from whoever holds it.
    pub fn assign(&mut self, id: Id, consumer: &[u8], delivery_ms: i64, deliveries: u64) {
        self.create_consumer(consumer, delivery_ms);
        self.acknowledge(id);
        let Some((name, _)) = self.consumers.item(consumer) else { return };
        let name = Arc::clone(name);
        if let Some(holder) = self.consumers.get_mut(consumer) {
            holder.pending.insert(id, ());
        }
        let deliveries = deliveries.min(COUNT_MAX);
        self.pending.insert(id, Pending { consumer: name, delivery_ms, deliveries });
    }

    /// The entry `id` is done; false when it was not pending.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumers.get_mut(&*pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// The pending entries that `filter` admits, by identity.
    pub fn pending_range<'a>(
        &'a self,
        filter: &'a PendingFilter<'_>,
        now_ms: i64,
    ) -> Box<dyn Iterator<Item = (Id, &'a Pending)> + 'a> {
        if filter.start > filter.end {
            return Box::new(std::iter::empty());
        }
        let (start, end) = (Included(&filter.start), Included(&filter.end));
        let old_enough = move |(_, pending): &(Id, &Pending)| {
            filter.idle_ms_min == 0 || now_ms - pending.delivery_ms >= filter.idle_ms_min
        };
        match filter.consumer {
            None => {
                let all = self.pending.range(start, end).map(|(id, pending)| (*id, pending));
                Box::new(all.filter(old_enough).take(filter.count))
            }
            Some(name) => {
                let own = self.consumers.get(name).map(|consumer| consumer.pending.range(start, end));
                let own = own.into_iter().flatten();
                let own = own.filter_map(|(id, ())| self.pending.get(id).map(|pending| (*id, pending)));
                Box::new(own.filter(old_enough).take(filter.count))
            }
        }
    }

    /// Count a delivery of an entry that its holder reads once more.
    pub(super) fn redeliver(&mut self, id: Id, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivery_ms = now_ms;
            pending.deliveries = (pending.deliveries + 1).min(COUNT_MAX);
        }
    }

    /// Bytes on the heap, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        let held =
            |(name, consumer): (&Arc<[u8]>, &Consumer)| name.len() + 16 + consumer.pending.heap_bytes();
        let held = estimate::sum_of_first(self.consumers.len(), self.consumers.iter().map(held));
        size_of::<Group>() + self.pending.heap_bytes() + self.consumers.heap_bytes() + held
    }
}
