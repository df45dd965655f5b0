//! Which queues there is room for: who is proven, who gives way, who is forgotten.
//!
//! Whoever waits for one reply waits on a key of its own: `BLPOP reply:<uuid>`, of which nothing is left a moment later, and a
//! thousand others follow. A worker's queue is another thing: it is waited on again, or for long, or jobs lie in it. So what is only
//! waited on is followed as *unproven*: its jobs are counted, but nobody is told of it, it takes no more than half of the places,
//! and it gives way first.

use super::keys::Followed;
use super::{Mark, Queues, tell};
use crate::id::{Id, QueueKind};
use crate::libraries::{Context, Depths, Keys, Role};
use crate::queue::Queue;

/// An empty queue of which nothing is left stays for so long after it was used.
pub(super) const LINGER_MS: u64 = 10 * 60 * 1000;

/// The same where more than half of the queues are used up.
const CROWDED_LINGER_MS: u64 = 10 * 1000;

/// What somebody has waited on for so long is a queue. One that is unproven, and on which nobody waits, stays for as long.
pub(super) const PROVEN_MS: u64 = 5 * 1000;

/// Places looked at to find one that gives way.
const SEARCH_STEP: usize = 64;

impl Queues {
    /// Somebody waits, and not for the first time, on a key of this queue.
    pub(super) fn awaited_again(&mut self, slot: u32, key: &[u8], at: &Context<'_>) {
        self.settle(slot);
        let Some(queue) = &mut self.slots[slot as usize] else { return };
        queue.seen_us = at.mono_us();
        if queue.is_proven {
            return;
        }
        if queue.id.kind == QueueKind::Stream {
            let told = (queue.id.kind.library().depths)(&queue.id, &at.keys(queue.id.db, 0)).told;
            told.into_iter().for_each(|(added, taken)| queue.hear(added, taken));
        }
        let is_served = queue.added.total > 0;
        let is_long = at.mono_ms().saturating_sub(queue.since_ms) >= PROVEN_MS;
        if is_served || is_long || at.clients.waiting(queue.id.db, key) > 0 {
            self.prove(slot);
        }
    }

    /// Whether an unproven queue turns out to be one when it is looked at.
    pub(super) fn is_proof(queue: &Queue, depths: &Depths, workers: u64, now_ms: u64) -> bool {
        let is_long = workers > 0 && now_ms.saturating_sub(queue.since_ms) >= PROVEN_MS;
        // Entries of a stream stay when they are read.
        let is_there = depths.exists && !(queue.id.kind == QueueKind::Stream && queue.id.gives_way());
        is_there || is_long || workers > 1 || queue.added.total > 1
    }

    /// The queue is told from now on.
    pub(super) fn prove(&mut self, slot: u32) {
        if let Some(queue) = self.slots[slot as usize].as_mut().filter(|queue| !queue.is_proven) {
            queue.is_proven = true;
            self.unproven -= 1;
        }
    }

    /// Whether there is a place for one more queue; if need be, the least real one gives way.
    pub(super) fn make_room(&mut self, is_proven: bool, at: &Context<'_>) -> bool {
        let unproven_max = (self.max / 2).max(1);
        if self.ids.len() < self.max && (is_proven || self.unproven < unproven_max) {
            return true;
        }
        let least = self.least_real(is_proven, at);
        least.is_some_and(|slot| self.forget(slot).is_some())
    }

    /// A queue that gives way to another one: to a proven one also an unproven one on which somebody waits, or one that is empty and out
    /// of use.
    fn least_real(&mut self, is_proven: bool, at: &Context<'_>) -> Option<u32> {
        let mut second = None;
        for _ in 0..SEARCH_STEP.min(self.slots.len()) {
            let slot = self.hand % self.slots.len();
            self.hand = slot + 1;
            self.settle(slot as u32);
            let Some(queue) = &self.slots[slot] else { continue };
            if !queue.is_proven {
                if !is_awaited(&queue.id, at) {
                    return Some(slot as u32);
                }
                second = second.or(Some(slot as u32));
            } else if is_worn(queue, at) && second.is_none() {
                second = Some(slot as u32);
            }
        }
        second.filter(|_| is_proven)
    }

    pub(super) fn forget(&mut self, slot: u32) -> Option<Queue> {
        self.settle(slot);
        let queue = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.unproven -= usize::from(!queue.is_proven);
        self.ids.remove(&queue.id);
        self.titles.remove(&(queue.id.name().into(), queue.id.kind));
        for (_, key) in (queue.id.kind.library().keys)(&queue.id) {
            let followed = self.keys.find(queue.id.db, &key);
            if let Some(followed) = followed.filter(|followed| followed.slot == Some(slot)) {
                self.leave_key(queue.id.db, &key, Followed { slot: None, role: Role::State, ..followed });
            }
        }
        self.keys.renew_stale_filter();
        Some(queue)
    }

    /// What is left of a key that was followed for one thing more; nothing, if it was the last. Its number may be another key's then.
    pub(super) fn leave_key(&mut self, db: usize, key: &[u8], left: Followed) {
        self.recent.clear();
        if left.slot.is_some() || left.names.is_some() {
            self.keys.set(db, key, left);
            return;
        }
        self.keys.remove(db, key);
        self.marks.push(Mark { db, key: key.into(), number: None });
    }

    /// How long an empty queue stays.
    pub(super) fn linger_ms(&self) -> u64 {
        if self.ids.len() > self.max / 2 { CROWDED_LINGER_MS } else { LINGER_MS }
    }
}

/// Whether there is a reason to go on with the queue.
pub(super) fn is_alive(
    queue: &mut Queue,
    depths: &Depths,
    workers: u64,
    keys: &Keys<'_>,
    linger_ms: u64,
    now_us: u64,
) -> bool {
    // Whoever waits on a stream may be of another group.
    let has_workers = workers > 0 && (queue.id.kind != QueueKind::Stream || queue.id.gives_way());
    if has_workers || depths.exists && queue.is_proven {
        queue.seen_us = now_us;
        return true;
    }
    let is_recent = |ms: u64| queue.seen_us > 0 && now_us.saturating_sub(queue.seen_us) < ms * 1000;
    if !queue.is_proven {
        return is_recent(PROVEN_MS);
    }
    let lingers = queue.id.kind.library().lingers || queue.id.is_of_all();
    let is_named = || queue.named.as_ref().is_some_and(|(set, member)| keys.has_member(set, member));
    is_named() || lingers && is_recent(linger_ms)
}

/// Whether a plain queue is empty and out of use.
fn is_worn(queue: &Queue, at: &Context<'_>) -> bool {
    let is_old = || at.mono_us().saturating_sub(queue.seen_us) >= CROWDED_LINGER_MS * 1000;
    queue.id.kind.is_plain() && queue.waiting == 0 && is_old() && !is_awaited(&queue.id, at)
}

fn is_awaited(id: &Id, at: &Context<'_>) -> bool {
    tell::waits(id).any(|key| at.clients.waiting(id.db, &key) > 0)
}
