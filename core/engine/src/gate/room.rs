//! Room in memory: what is evicted before a write, and who is refused when that was not enough.

use super::OOM;
use crate::engine::Engine;
use crate::outside::Outside;
use commands::{Error, Flags};
use std::sync::Arc;

/// The part of `maxmemory` by which replies on their way out may exceed it.
const PASSING_SHARE: usize = 16;

impl Engine {
    /// Refuses what would grow while memory is full. What only moves an element goes on inside the consumers' reserve.
    pub(crate) fn check_memory(&mut self, flags: Flags, outside: &mut dyn Outside) -> Result<(), Error> {
        match self.lacks_room(flags) {
            true => Err(self.refuse_memory(OOM, outside)),
            false => Ok(()),
        }
    }

    /// Counts and tells that a command is refused because memory is full.
    #[cold]
    pub(crate) fn refuse_memory(&mut self, error: Error, outside: &mut dyn Outside) -> Error {
        self.counters.oom_refusals += 1;
        outside.memory_refused(self);
        error
    }

    /// Whether a command with these flags would need memory that there is not.
    #[inline]
    pub(crate) fn lacks_room(&self, flags: Flags) -> bool {
        let full = if flags.has(Flags::MOVES) { self.over_reserve } else { self.over_memory };
        full && flags.has(Flags::DENYOOM)
    }

    /// Evicts until memory is below its limit, in bounded work; notes whether that succeeded.
    #[inline]
    pub(crate) fn make_room(&mut self, outside: &dyn Outside) {
        let mut limit = self.config.maxmemory as usize;
        self.is_evicting = false;
        let is_masters = self.is_replica() && self.config.replica_ignore_maxmemory;
        if limit == 0 || self.pause.is_pending || is_masters || self.awaits_tail() {
            (self.over_memory, self.over_reserve) = (false, false);
            return self.note_fullness();
        }
        let (used, reserve) = (outside.used_memory(), self.config.queue_reserve as usize);
        (self.over_memory, self.over_reserve) = (used > limit.saturating_sub(reserve), used > limit);
        if self.over_memory && outside.is_loading() {
            // The log says what was evicted while it was written; records that follow may build on what is still there.
            (self.over_memory, self.over_reserve) = (false, false);
        }
        if self.over_memory {
            // Messages and replies on their way out are gone before long: evicting for messages would make more of them.
            // So is what a running script holds, and what is on its way into the log: a write that frees memory adds to that, too.
            limit += self.log_bytes(outside);
            limit += self.undelivered_bytes() + outside.passing_bytes().min(limit / PASSING_SHARE);
            limit += self.script_bytes.min(limit / crate::share::SHARE);
            // What replicas have not read would have more evicted, of which they are told, too.
            limit += self.replicas_bytes();
            let used = used.saturating_sub(self.freeing_bytes(outside));
            (self.over_memory, self.over_reserve) = (used > limit.saturating_sub(reserve), used > limit);
        }
        if self.over_memory {
            self.timed("eviction-cycle", outside, |engine| engine.evict_until(limit, outside));
        }
        self.note_fullness();
    }

    /// Bytes that take memory until they are in the log's file.
    #[cold]
    pub(crate) fn log_bytes(&self, outside: &dyn Outside) -> usize {
        self.log.memory_bytes() + outside.log_buffer_bytes()
    }

    /// Bytes that are as good as free: large values that another thread frees. Were they in use, what is deleted or evicted would
    /// have more evicted for it, or writes refused.
    /// What a snapshot shares is not freed: while there is one, no more than half of what is used is believed.
    #[cold]
    pub(crate) fn freeing_bytes(&self, outside: &dyn Outside) -> usize {
        let is_shared = self.keyspace.snapshot_progress().is_some();
        let believed_max = outside.used_memory() / if is_shared { 2 } else { 1 };
        self.keyspace.trash_bytes().saturating_add(outside.freeing_bytes()).min(believed_max)
    }

    /// Counts for how long memory stays over its limit.
    #[inline]
    fn note_fullness(&mut self) {
        let is_over = self.over_memory || self.is_evicting;
        if is_over == self.full_since_us.is_some() {
            return;
        }
        let now_us = self.keyspace.now.mono_us;
        match self.full_since_us.take() {
            Some(since_us) => self.counters.full_us += now_us.saturating_sub(since_us),
            None => self.full_since_us = Some(now_us),
        }
    }

    /// What this batch has for other clients, as far as the latest messages tell: this is asked before every write while
    /// memory is full.
    #[cold]
    fn undelivered_bytes(&self) -> usize {
        const LOOKED_AT_MAX: usize = 64;
        let latest = self.deliveries.iter().rev().take(LOOKED_AT_MAX);
        let mut counted = None;
        let bytes = latest.map(|delivery| {
            // One message for many of them is there once.
            let shared =
                delivery.last_shared().filter(|buffer| counted.is_none_or(|last| !Arc::ptr_eq(last, buffer)));
            counted = shared.or(counted);
            delivery.bytes.capacity() + shared.map_or(0, |_| delivery.len() - delivery.bytes.len())
        });
        bytes.sum()
    }

    #[cold]
    fn evict_until(&mut self, limit: usize, outside: &dyn Outside) {
        /// Keys between two looks at the clock.
        const LOOK_PERIOD: usize = 16;
        let Some(policy) = crate::admin::eviction(&self.config) else { return };
        let samples = self.config.maxmemory_samples;
        let saved = self.keyspace.effects.changes;
        let (began_ns, patience_ns) = (outside.nanos(), eviction_ns(self.config.maxmemory_eviction_tenacity));
        let held_before = self.keyspace.effects.held_bytes();
        let mut has_more = true;
        // A key less each time, so it ends in any case.
        for evicted in 1.. {
            has_more = self.keyspace.evict_one(policy, samples);
            if !has_more {
                break;
            }
            if evicted % LOOK_PERIOD == 0 && outside.nanos().saturating_sub(began_ns) > patience_ns {
                break;
            }
            // What is noted down to tell others of the keys is given back soon: evicting for it would note down more.
            let held = self.keyspace.effects.held_bytes().saturating_sub(held_before);
            if outside.used_memory().saturating_sub(held + self.freeing_bytes(outside)) <= limit {
                self.over_memory = false;
                break;
            }
        }
        // Memory that is still being freed elsewhere, or that clients hold, must not refuse a cache's writes: it goes on
        // evicting with the next one, and with each tick, as long as there is something that may go.
        self.is_evicting = self.over_memory && has_more;
        self.over_memory &= !has_more;
        self.keyspace.effects.changes = saved;
        self.settle_background();
    }
}

/// Whether a command may need room that it does not give back.
pub(crate) fn grows(flags: Flags) -> bool {
    flags.has(Flags::DENYOOM) && !flags.has(Flags::MOVES)
}

/// Nanoseconds that one command may spend on evicting, by `maxmemory-eviction-tenacity`: 50 µs a step up to 10,
/// then 15 % more with each; 100 has no limit.
fn eviction_ns(tenacity: u64) -> u64 {
    const STEP_NS: u64 = 50_000;
    match tenacity {
        0..=10 => STEP_NS * tenacity,
        11..=99 => (10.0 * STEP_NS as f64 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}
