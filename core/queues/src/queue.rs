//! One queue that is followed: what was counted of it.

use crate::history::History;
use crate::id::Id;
use crate::libraries::{Depths, Name};

/// A count, and how fast it grew in the last whole minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) total: u64,
    at_minute: u64,
    pub(crate) per_second: f64,
}

impl Flow {
    /// Counts so many more. What a client says that a stream was given (XSETID, ENTRIESADDED) is any number, again and again.
    fn grow(&mut self, by: u64) {
        self.total = self.total.saturating_add(by);
    }

    /// Goes on from another one, without `less` of it.
    fn succeed(&mut self, before: Flow, less: u64) {
        let less = less.min(before.total);
        let kept = before.total - less;
        self.grow(kept);
        self.at_minute = self.at_minute.saturating_add(before.at_minute.min(kept));
    }

    /// A minute is over that took `ms`.
    pub(crate) fn end_minute(&mut self, ms: u64) {
        let grown = self.total.saturating_sub(self.at_minute);
        self.per_second = if ms == 0 { 0.0 } else { grown as f64 * 1000.0 / ms as f64 };
        self.at_minute = self.total;
    }
}

/// What has come and gone at one key of a queue since the queue has taken note of it. It is on the way of every command that changes
/// the key, so there is no more in it than can be added to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    added: u64,
    taken: u64,
    /// When the key was last changed, monotonic microseconds.
    changed_us: u64,
    /// When jobs that come are told to the queue at once, monotonic microseconds: the time of the next mark in its history.
    due_us: u64,
}

impl Tally {
    /// The key went from `before` to `after` elements. False, and only the time is noted, if the queue is to be told.
    #[inline]
    pub(crate) fn count(&mut self, before: u64, after: u64, now_us: u64) -> bool {
        self.changed_us = now_us;
        if after <= before {
            self.taken += before - after;
            return true;
        }
        if self.due_us <= now_us {
            return false;
        }
        self.added += after - before;
        true
    }

    /// The queue may have been empty.
    #[inline]
    pub(crate) fn begin_anew(&mut self) {
        if self.due_us != u64::MAX {
            self.due_us = 0;
        }
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: Id,
    /// The numbers of its keys of jobs, some of which may belong to another queue since.
    pub(crate) numbers: Vec<u32>,
    pub(crate) added: Flow,
    pub(crate) taken: Flow,
    /// Jobs that wait, as far as the commits told; set right whenever the keys are looked at.
    pub(crate) waiting: u64,
    /// There is more of it than one client that waits.
    pub(crate) is_proven: bool,
    /// When it was found, monotonic milliseconds.
    pub(crate) since_ms: u64,
    /// When somebody last waited on it or changed it, monotonic microseconds; 0 when that does not matter any more.
    pub(crate) seen_us: u64,
    /// When jobs came, where the library does not tell.
    pub(crate) history: Option<History>,
    /// The set in which the library names its queues, and the member that stands for this one.
    pub(crate) named: Option<Name>,
    /// What a stream told last of itself: entries added, and taken by the group.
    pub(crate) told: Option<(u64, u64)>,
}

impl Queue {
    pub(crate) fn new(id: Id, now_us: u64) -> Queue {
        let history = id.kind.library().remembers.then(History::default);
        Queue {
            id,
            numbers: Vec::new(),
            added: Flow::default(),
            taken: Flow::default(),
            waiting: 0,
            is_proven: true,
            since_ms: now_us / 1000,
            seen_us: now_us,
            history,
            named: None,
            told: None,
        }
    }

    /// So many jobs came.
    pub(crate) fn come(&mut self, count: u64, now_us: u64) {
        self.seen_us = now_us;
        self.added.grow(count);
        if let Some(history) = &mut self.history {
            history.push(count, self.waiting, now_us);
        }
        self.waiting = self.waiting.saturating_add(count);
    }

    /// Takes note of what was tallied.
    pub(crate) fn take(&mut self, tally: &mut Tally) {
        let Tally { added, taken, changed_us, due_us } = core::mem::take(tally);
        tally.due_us = due_us;
        self.seen_us = self.seen_us.max(changed_us);
        self.added.grow(added);
        self.taken.grow(taken);
        if let Some(history) = &mut self.history {
            history.count(added);
        }
        self.waiting = self.waiting.saturating_add(added).saturating_sub(taken);
    }

    /// The tally need not tell of jobs that come until then.
    pub(crate) fn hush(&self, tally: &mut Tally) {
        tally.due_us = self.history.as_ref().map_or(u64::MAX, History::due_us);
    }

    /// Goes on for another queue. The jobs that wait in that are counted anew.
    pub(crate) fn succeed(&mut self, before: &Queue) {
        self.added.succeed(before.added, before.waiting);
        self.taken.succeed(before.taken, 0);
    }

    /// A stream is followed from now on.
    pub(crate) fn begin(&mut self, depths: &Depths) {
        self.told = depths.told;
        self.added.grow(depths.waiting);
    }

    /// A stream tells what it has counted itself. One that was made anew counts from there.
    pub(crate) fn hear(&mut self, added: u64, taken: u64) {
        if let Some((before_added, before_taken)) = self.told.replace((added, taken)) {
            self.added.grow(added.saturating_sub(before_added));
            self.taken.grow(taken.saturating_sub(before_taken));
        }
    }

    /// Forgets what was counted: the data was loaded.
    pub(crate) fn restart(&mut self) {
        (self.added, self.taken) = (Flow::default(), Flow::default());
    }

    /// Bytes that it takes, with its place in the tables.
    pub(crate) fn bytes(&self) -> usize {
        let id = 2 * (size_of::<Id>() + self.id.base.len() + self.id.part.len());
        let named = self.named.as_ref().map_or(0, |(set, member)| set.len() + member.len());
        let history = self.history.as_ref().map_or(0, History::bytes);
        size_of::<Queue>() + id + named + history + self.numbers.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::QueueKind;

    #[test]
    fn what_a_stream_says_again_and_again_to_have_counted_ends_at_the_largest_number() {
        let mut queue = Queue::new(Id::part(0, QueueKind::Stream, b"s", b"/g"), 0);
        for _ in 0..3 {
            queue.hear(0, 0);
            queue.hear(i64::MAX as u64, i64::MAX as u64);
        }
        assert_eq!((queue.added.total, queue.taken.total), (u64::MAX, u64::MAX));
        let mut next = Queue::new(queue.id.clone(), 0);
        next.added.grow(1);
        next.succeed(&queue);
        assert_eq!(next.added.total, u64::MAX);
    }
}
