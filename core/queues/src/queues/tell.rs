//! What is told of the queues, and what is done for them with time.

use super::room::is_alive;
use super::{Queues, Title};
use crate::figures::Figures;
use crate::id::{Id, NAME_BYTES_MAX, QueueKind};
use crate::libraries::{Context, Depths, MayRead, Role, bullmq};
use crate::queue::Queue;
use base::Now;
use std::ops::Bound;

/// Rates are those of the last whole minute.
pub(super) const MINUTE_MS: u64 = 60_000;

/// Queues looked at in one step of [`Queues::tick`].
const SWEEP_STEP: usize = 4;

/// Behind which queue to go on.
#[derive(Clone, Debug)]
pub struct Cursor(Title);

impl Queues {
    /// All queues by name, or those of which `may_read` allows every key. Those of which nothing is left are forgotten.
    pub fn tell(&mut self, at: &Context<'_>, may_read: Option<MayRead<'_>>) -> Vec<Figures> {
        self.examine(at);
        self.look_at_all_names(at);
        let slots: Vec<u32> = self.titles.values().copied().collect();
        let may_tell = |queues: &Queues, slot| queues.may_tell(slot, may_read);
        slots
            .into_iter()
            .filter_map(|slot| may_tell(self, slot).then(|| self.look_at(slot as usize, at)).flatten())
            .collect()
    }

    /// The queue of this name, of the kind or of the first one whose every key `may_read` allows. No other one is looked at; where it
    /// is not known, the keys are that name queues.
    pub fn tell_one(
        &mut self,
        at: &Context<'_>,
        name: &str,
        kind: Option<QueueKind>,
        may_read: Option<MayRead<'_>>,
    ) -> Option<Figures> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        self.examine(at);
        self.tell_known(at, name, kind, may_read).or_else(|| {
            self.look_at_all_names(at);
            self.tell_known(at, name, kind, may_read)
        })
    }

    fn tell_known(
        &mut self,
        at: &Context<'_>,
        name: &str,
        kind: Option<QueueKind>,
        may_read: Option<MayRead<'_>>,
    ) -> Option<Figures> {
        let kinds = QueueKind::ALL.into_iter().filter(|known| kind.is_none_or(|kind| kind == *known));
        for kind in kinds {
            let Some(slot) = self.titles.get(&(name.into(), kind)).copied() else { continue };
            if self.may_tell(slot, may_read) {
                return self.look_at(slot as usize, at);
            }
        }
        None
    }

    /// The first queues behind `after`, no more than `count` are looked at; and behind which to go on, if there may be more.
    pub fn tell_some(
        &mut self,
        at: &Context<'_>,
        after: Option<Cursor>,
        count: usize,
    ) -> (Vec<Figures>, Option<Cursor>) {
        self.examine(at);
        let start = after.map_or(Bound::Unbounded, |Cursor(title)| Bound::Excluded(title));
        let next = self.titles.range((start, Bound::Unbounded)).take(count);
        let looked_at: Vec<(Title, u32)> = next.map(|(title, slot)| (title.clone(), *slot)).collect();
        let figures = looked_at.iter().filter_map(|(_, slot)| self.look_at(*slot as usize, at)).collect();
        let last = looked_at.into_iter().nth(count - 1).map(|(title, _)| Cursor(title));
        (figures, last)
    }

    fn may_tell(&self, slot: u32, may_read: Option<MayRead<'_>>) -> bool {
        let (Some(may_read), Some(queue)) = (may_read, &self.slots[slot as usize]) else { return true };
        (queue.id.kind.library().keys)(&queue.id).iter().all(|(_, key)| may_read(key))
    }

    /// One queue's figures; none where there is none, where it is not proven, or where it is forgotten.
    fn look_at(&mut self, slot: usize, at: &Context<'_>) -> Option<Figures> {
        let linger_ms = self.linger_ms();
        self.settle(slot as u32);
        let queue = self.slots[slot].as_mut()?;
        let (there, library) = (at.keys(queue.id.db, 0), queue.id.kind.library());
        let depths = (library.depths)(&queue.id, &there);
        if let Some((added, taken)) = depths.told {
            queue.hear(added, taken);
        }
        let workers = workers(&queue.id, &depths, at);
        if !queue.is_proven && Queues::is_proof(queue, &depths, workers, at.mono_ms()) {
            queue.is_proven = true;
            self.unproven -= 1;
        }
        if !is_alive(queue, &depths, workers, &there, linger_ms, at.mono_us()) {
            self.forget(slot as u32);
            return None;
        }
        queue.waiting = depths.waiting;
        let key = (library.keys)(&queue.id).into_iter().next().map(|(_, key)| key).unwrap_or_default();
        queue.is_proven.then(|| figures(queue, key, depths, workers, at.now))
    }

    /// What is done with time: the end of a minute, and a look at a few queues.
    pub fn tick(&mut self, at: &Context<'_>) {
        let now_ms = at.mono_ms();
        if self.max == 0 {
            return;
        }
        self.recent.clear();
        core::mem::take(&mut self.renewed).iter().for_each(|(db, key)| self.suspect(*db, key));
        self.examine(at);
        self.look_at_some_names(at);
        if self.ids.is_empty() {
            self.minute_ends_ms = now_ms + MINUTE_MS;
            return;
        }
        if now_ms >= self.minute_ends_ms {
            self.end_minute(at);
        }
        for _ in 0..SWEEP_STEP.min(self.slots.len()) {
            let slot = self.swept % self.slots.len();
            self.swept = slot + 1;
            self.look_at(slot, at);
        }
    }

    fn end_minute(&mut self, at: &Context<'_>) {
        let now_ms = at.mono_ms();
        let took_ms = MINUTE_MS + now_ms.saturating_sub(self.minute_ends_ms);
        self.minute_ends_ms = now_ms + MINUTE_MS;
        self.settle_all();
        for queue in self.slots.iter_mut().flatten() {
            if queue.id.kind == QueueKind::Stream {
                let told = (queue.id.kind.library().depths)(&queue.id, &at.keys(queue.id.db, 0)).told;
                told.into_iter().for_each(|(added, taken)| queue.hear(added, taken));
            }
            queue.added.end_minute(took_ms);
            queue.taken.end_minute(took_ms);
        }
        self.keys.renew_filter();
    }
}

/// The keys that workers wait on.
pub(super) fn waits(id: &Id) -> impl Iterator<Item = Vec<u8>> {
    let keys = (id.kind.library().keys)(id).into_iter();
    keys.filter(|(role, _)| matches!(role, Role::Jobs | Role::Awaited)).map(|(_, key)| key)
}

/// Whoever waits on several keys of a queue is one worker. Those at work are known where the library keeps a list of its workers, or
/// names their connections.
fn workers(id: &Id, depths: &Depths, at: &Context<'_>) -> u64 {
    let waiting = waits(id).map(|key| at.clients.waiting(id.db, &key)).max().unwrap_or(0);
    let named = bullmq::client_name(id).map_or(0, |name| at.clients.named(&name));
    depths.workers.max(waiting.max(named) as u64)
}

fn figures(queue: &Queue, key: Vec<u8>, depths: Depths, workers: u64, now: Now) -> Figures {
    let age = |at_ms: i64| now.unix_ms.saturating_sub(at_ms).max(0) as u64;
    let remembered = queue.history.as_ref().and_then(|history| history.oldest_ms(depths.waiting));
    let remembered_age = remembered.map(|at_ms| (now.mono_us / 1000).saturating_sub(at_ms));
    Figures {
        name: queue.id.name(),
        kind: queue.id.kind,
        db: queue.id.db,
        key,
        states: depths.states,
        finished: depths.finished,
        workers,
        added: queue.added.total,
        taken: queue.taken.total,
        added_per_second: queue.added.per_second,
        taken_per_second: queue.taken.per_second,
        oldest_age_ms: depths.oldest_ms.map(age).or(remembered_age),
        oldest_failed_age_ms: depths.oldest_failed_ms.map(age),
    }
}
