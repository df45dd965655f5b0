//! When jobs came, for queues whose messages tell no time: a bounded list of moments, first in first out.
//!
//! A mark says: the jobs from this number on came at this time or later. Marks are at least `grain_ms` apart; when there are
//! too many, every second one goes and the grain doubles. So a short queue's ages are exact to the millisecond, and a long
//! one's are too old by at most a grain, which is about the age divided by half of [`MARKS_MAX`]. Time stands still for many commands,
//! so most jobs need no mark.

use std::collections::VecDeque;

/// Moments remembered for one queue.
pub const MARKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    at_ms: u64,
    /// The number of the first job that came then.
    number: u64,
}

/// When jobs came.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Jobs that have ever come.
    pushed: u64,
    /// When the next mark may be made, monotonic microseconds: what comes before belongs to the last one.
    due_us: u64,
    marks: VecDeque<Mark>,
    grain_ms: u64,
}

impl History {
    /// `count` jobs came while `waiting` others were there.
    pub(crate) fn push(&mut self, count: u64, waiting: u64, now_us: u64) {
        if waiting == 0 || self.due_us <= now_us {
            self.mark(waiting, now_us / 1000);
        }
        self.pushed += count;
    }

    /// So many jobs came, none of which could be the first of a mark.
    pub(crate) fn count(&mut self, count: u64) {
        self.pushed += count;
    }

    /// When the next mark may be made, if not sooner because the queue was empty, monotonic microseconds.
    pub(crate) fn due_us(&self) -> u64 {
        self.due_us
    }

    fn mark(&mut self, waiting: u64, at_ms: u64) {
        if waiting == 0 {
            self.marks.clear();
            self.grain_ms = 1;
        }
        if self.marks.len() == MARKS_MAX {
            self.thin_out(waiting);
        }
        self.marks.push_back(Mark { at_ms, number: self.pushed });
        self.due_us = at_ms.saturating_add(self.grain_ms).saturating_mul(1000);
    }

    /// Makes room: by what is taken already, or else by a coarser grain.
    fn thin_out(&mut self, waiting: u64) {
        let taken = self.of_oldest(waiting).unwrap_or(0);
        self.marks.drain(..taken);
        if self.marks.len() < MARKS_MAX {
            return;
        }
        let mut at = 0;
        self.marks.retain(|_| {
            at += 1;
            at % 2 == 1
        });
        self.grain_ms *= 2;
    }

    /// The mark of the oldest of `waiting` jobs.
    fn of_oldest(&self, waiting: u64) -> Option<usize> {
        let oldest = self.pushed.saturating_sub(waiting);
        let behind = self.marks.partition_point(|mark| mark.number <= oldest);
        (!self.marks.is_empty()).then(|| behind.saturating_sub(1))
    }

    /// When the oldest of `waiting` jobs came.
    pub(crate) fn oldest_ms(&self, waiting: u64) -> Option<u64> {
        let at = self.of_oldest(waiting).filter(|_| waiting > 0)?;
        Some(self.marks[at].at_ms)
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.marks.capacity() * size_of::<Mark>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    #[test]
    fn a_short_queue_is_exact() {
        let mut history = History::default();
        history.push(2, 0, 10_999);
        history.push(1, 2, 25_000);
        assert_eq!(
            [3, 2, 1, 0].map(|waiting| history.oldest_ms(waiting)),
            [Some(10), Some(10), Some(25), None]
        );
        history.push(1, 0, 90_500);
        assert_eq!(history.oldest_ms(1), Some(90), "the queue was empty in between");
    }

    /// Beside a queue that remembers every job.
    #[test]
    fn a_long_queue_is_too_old_by_a_small_part_at_most() {
        let (mut history, mut twin, mut random) = (History::default(), VecDeque::new(), Random::new(5));
        let mut now_ms = 0;
        for _ in 0..20_000 {
            now_ms += random.below(20);
            if random.below(5) < 3 {
                history.push(1, twin.len() as u64, now_ms * 1000 + random.below(1000));
                twin.push_back(now_ms);
            } else {
                twin.pop_front();
            }
            assert!(history.marks.len() <= MARKS_MAX);
            let (told, real) = (history.oldest_ms(twin.len() as u64), twin.front().copied());
            assert_eq!(told.is_some(), real.is_some());
            let (Some(told), Some(real)) = (told, real) else { continue };
            let (told_age, age) = (now_ms - told, now_ms - real);
            assert!(told_age >= age && told_age - age <= told_age / 8 + 100, "{told_age} {age}");
        }
        assert!(history.grain_ms > 1);
    }
}
