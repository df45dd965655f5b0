//! A coarse wheel of deadlines in whole seconds: idle time-outs, handshakes, output soft limits.
//!
//! Time-outs of connections are set far more often than they fire, so nothing is ever removed or moved:
//! an entry that comes due is handed to the caller, who looks at the connection's real deadline and
//! either acts or arms again. Ids of closed connections come due once and find nothing.
//!
//! Invariants: an entry lies in the bucket of its second, or, when that is further away than the wheel
//! is long, in any bucket passed before it; the caller keeps at most a few entries for a connection.

use crate::slots::Id;

/// Seconds in one turn of the wheel. The default idle time-outs (300 s) come round once.
const BUCKETS: u64 = 512;

/// Entries that an empty bucket keeps room for.
const KEPT: usize = 16;

#[derive(Clone, Copy)]
struct Deadline {
    id: Id,
    at_s: u64,
}

/// Deadlines of one thread's connections; all times are monotonic seconds that the caller passes in.
pub struct Timers {
    buckets: Vec<Vec<Deadline>>,
    /// The second whose bucket is being emptied; all earlier ones are done.
    cursor_s: u64,
    count: usize,
}

impl Timers {
    /// An empty wheel that starts at `now_s`.
    pub fn new(now_s: u64) -> Timers {
        Timers { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), cursor_s: now_s, count: 0 }
    }

    /// Have `id` reported at `at_s` or at most a second later. A time already passed is reported by the
    /// next [`Timers::advance`].
    pub fn arm(&mut self, id: Id, at_s: u64) {
        let slot_s = at_s.clamp(self.cursor_s, self.cursor_s + BUCKETS - 1);
        self.buckets[(slot_s % BUCKETS) as usize].push(Deadline { id, at_s });
        self.count += 1;
    }

    /// Append the ids that are due at `now_s` to `due`, looking at no more than `budget` entries and one
    /// turn of the wheel. What is left over comes with the next call.
    pub fn advance(&mut self, now_s: u64, budget: usize, due: &mut Vec<Id>) {
        if self.count == 0 {
            self.cursor_s = self.cursor_s.max(now_s);
            return;
        }
        let mut left = budget;
        let mut steps = BUCKETS;
        while self.cursor_s <= now_s && steps > 0 {
            while let Some(entry) = self.buckets[(self.cursor_s % BUCKETS) as usize].pop() {
                self.count -= 1;
                if entry.at_s <= now_s {
                    due.push(entry.id);
                } else {
                    self.postpone(entry);
                }
                left = left.saturating_sub(1);
                if left == 0 {
                    return;
                }
            }
            // What a rush of connections has made of it is not kept for the next turn.
            self.buckets[(self.cursor_s % BUCKETS) as usize].shrink_to(KEPT);
            if self.cursor_s == now_s {
                return;
            }
            self.cursor_s += 1;
            steps -= 1;
        }
    }

    /// How many entries are armed, those of closed connections included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when nothing is armed, so that a wait needs no deadline on account of this wheel.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Put an entry of a later turn behind the cursor, never into the bucket being emptied.
    fn postpone(&mut self, entry: Deadline) {
        let slot_s = entry.at_s.clamp(self.cursor_s + 1, self.cursor_s + BUCKETS - 1);
        self.buckets[(slot_s % BUCKETS) as usize].push(entry);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timers: &mut Timers, now_s: u64, budget: usize) -> Vec<u64> {
        let mut due = Vec::new();
        timers.advance(now_s, budget, &mut due);
        due.sort();
        due.into_iter().map(Id::to_bits).collect()
    }

    #[test]
    fn an_entry_fires_once_and_not_early() {
        let mut timers = Timers::new(100);
        timers.arm(Id::from_bits(1), 103);
        timers.arm(Id::from_bits(2), 100);
        assert_eq!(fired(&mut timers, 100, 9), [2]);
        assert_eq!(fired(&mut timers, 102, 9), []);
        assert_eq!(fired(&mut timers, 103, 9), [1]);
        assert_eq!(fired(&mut timers, 1000, 9), []);
        assert!(timers.is_empty());
    }

    #[test]
    fn entries_beyond_one_turn_wait_for_their_second() {
        let mut timers = Timers::new(0);
        timers.arm(Id::from_bits(7), 2 * BUCKETS + 5);
        for now_s in 0..2 * BUCKETS + 5 {
            assert_eq!(fired(&mut timers, now_s, 9), [], "at {now_s}");
        }
        assert_eq!(fired(&mut timers, 2 * BUCKETS + 5, 9), [7]);
    }

    #[test]
    fn a_rush_leaves_no_room_behind() {
        let mut timers = Timers::new(0);
        for now_s in 0..2 * BUCKETS {
            (0..1000).for_each(|n| timers.arm(Id::from_bits(n), now_s));
            assert_eq!(fired(&mut timers, now_s, 2000).len(), 1000);
        }
        fired(&mut timers, 2 * BUCKETS, 9);
        let room: usize = timers.buckets.iter().map(Vec::capacity).sum();
        assert!(room <= BUCKETS as usize * KEPT, "room for {room}");
    }

    #[test]
    fn a_long_pause_and_a_small_budget_lose_nothing() {
        let mut timers = Timers::new(0);
        (0..100).for_each(|n| timers.arm(Id::from_bits(n), n));
        let mut all = Vec::new();
        for _ in 0..40 {
            let some = fired(&mut timers, 5_000, 7);
            assert!(some.len() <= 7);
            all.extend(some);
        }
        all.sort();
        assert_eq!(all, (0..100).collect::<Vec<u64>>());
        timers.arm(Id::from_bits(5), 3);
        for _ in 0..20 {
            all.extend(fired(&mut timers, 5_001, 7));
        }
        assert_eq!(all.len(), 101);
    }
}
