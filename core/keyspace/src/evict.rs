//! Eviction: which key has to go when memory is full, found by sampling with bounded work.
//!
//! As Redis documents it: a few random entries are ranked by idle time (LRU), by decayed frequency (LFU) or by time to live, the
//! best candidates are remembered in a small pool from one round to the next, and the worst of all goes.

use crate::effects::Cause;
use crate::space::Keyspace;
use types::Entry;

/// How the access field of an entry is used: 24 bits, and one ([`FREQUENCY`]) that tells which of the two forms they have.
/// After a change of policy the keyspace is full of fields in the other form. Each is read as what it is until the key is
/// used again, so a change costs no walk over all keys, and no key goes first for want of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranking {
    /// Seconds of the last access, modulo 2^24.
    #[default]
    Recency,
    /// 16 bits of minutes of the last decay, 8 bits of a logarithmic counter.
    Frequency {
        /// How slowly the counter grows (`lfu-log-factor`).
        log_factor: u32,
        /// Minutes for the counter to lose one (`lfu-decay-time`); 0: never.
        decay_minutes: u32,
    },
}

const ACCESS_MASK: u32 = (1 << 24) - 1;
/// The access field has minutes and a counter.
const FREQUENCY: u32 = 1 << 24;
const MINUTES_MASK: u32 = 0xffff;
const LFU_COUNTER_INITIAL: u32 = 5;

/// Items of the expiry index that are looked at to find a key that may go: a millisecond, if most of them are stale.
const LOOKS_MAX: usize = 4096;

impl Ranking {
    /// The clock of this ranking at `unix_ms`.
    pub(crate) fn clock(self, unix_ms: i64) -> u32 {
        match self {
            Ranking::Recency => (unix_ms / 1000) as u32 & ACCESS_MASK,
            Ranking::Frequency { .. } => (unix_ms / 60_000) as u32 & 0xffff,
        }
    }

    /// The access field of an entry that was last used `idle_s` seconds ago, under recency.
    pub fn aged(self, idle_s: u64, unix_ms: i64) -> Option<u32> {
        let back = (idle_s & u64::from(ACCESS_MASK)) as u32;
        (self == Ranking::Recency).then(|| self.clock(unix_ms).wrapping_sub(back) & ACCESS_MASK)
    }

    /// The access field of an entry whose counter is `frequency` now, under frequency.
    pub fn frequent(self, frequency: u8, unix_ms: i64) -> Option<u32> {
        (self != Ranking::Recency).then(|| counted(self.clock(unix_ms), u32::from(frequency)))
    }

    /// Seconds since the last access that `access` tells; to the minute where it was recorded under frequency.
    pub fn idle_seconds(self, access: u32, unix_ms: i64) -> u32 {
        let seconds = (unix_ms / 1000) as u32;
        if access & FREQUENCY == 0 {
            return seconds.wrapping_sub(access) & ACCESS_MASK;
        }
        minutes_since(access >> 8, unix_ms) * 60 + seconds % 60
    }

    /// The frequency counter that `access` tells now, after decay. Where it was recorded under recency there is no counter: it
    /// is taken for a key that was new when it was last used.
    pub fn frequency(self, access: u32, unix_ms: i64) -> u32 {
        let Ranking::Frequency { decay_minutes, .. } = self else { return 0 };
        let (minutes, counter) = if access & FREQUENCY == 0 {
            (self.idle_seconds(access, unix_ms) / 60, LFU_COUNTER_INITIAL)
        } else {
            (minutes_since(access >> 8, unix_ms), access & 0xff)
        };
        counter.saturating_sub(minutes.checked_div(decay_minutes).unwrap_or(0))
    }

    /// The access field of an entry that had `before` and is used now, when the clock is this.
    #[inline]
    fn used(self, before: u32, clock: u32, unix_ms: i64, random: &mut base::Random) -> u32 {
        match self {
            Ranking::Recency => clock,
            Ranking::Frequency { log_factor, .. } => {
                counted(clock, grown(self.frequency(before, unix_ms), log_factor, random))
            }
        }
    }

    /// What a snapshot tells of an entry's use.
    pub(crate) fn told(self, access: u32, unix_ms: i64) -> Use {
        match self {
            Ranking::Recency => Use::Idle(self.idle_seconds(access, unix_ms)),
            Ranking::Frequency { .. } => Use::Frequency(self.frequency(access, unix_ms).min(255) as u8),
        }
    }
}

/// When or how often a key was used, as a snapshot tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Seconds since the last use.
    Idle(u32),
    /// The logarithmic counter of uses.
    Frequency(u8),
}

/// The access field of a counter under frequency.
fn counted(minutes: u32, counter: u32) -> u32 {
    FREQUENCY | (minutes & MINUTES_MASK) << 8 | counter
}

/// Minutes from `then` (modulo 2^16) to `unix_ms`.
fn minutes_since(then: u32, unix_ms: i64) -> u32 {
    ((unix_ms / 60_000) as u32).wrapping_sub(then) & MINUTES_MASK
}

/// What `maxmemory-policy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Only keys with an expiry may go.
    pub volatile_only: bool,
    /// In which order.
    pub order: EvictionOrder,
}

impl EvictionPolicy {
    /// The higher, the sooner an entry goes.
    fn score(self, entry: &Entry, ranking: Ranking, now_ms: i64) -> u64 {
        match self.order {
            EvictionOrder::Idle => u64::from(ranking.idle_seconds(entry.access(), now_ms)),
            EvictionOrder::Infrequent => u64::from(255 - ranking.frequency(entry.access(), now_ms).min(255)),
            EvictionOrder::SoonestExpiry => u64::MAX - entry.expiry().map_or(u64::MAX, |at| at.max(0) as u64),
            EvictionOrder::Random => 0,
        }
    }
}

/// Which of the candidates goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// The longest unused.
    Idle,
    /// The least frequently used.
    Infrequent,
    /// Any.
    Random,
    /// The one that would expire first.
    SoonestExpiry,
}

/// A candidate to evict. Its key may be long and is not kept: who has the same hash may as well go.
#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: usize,
    hash: u64,
}

/// The best candidates seen so far, ascending by score.
#[derive(Debug, Default)]
pub(crate) struct EvictionPool(Vec<Candidate>);

impl EvictionPool {
    const SIZE: usize = 16;

    fn offer(&mut self, score: u64, db: usize, hash: impl FnOnce() -> u64) {
        if self.0.len() == Self::SIZE && self.0.first().is_some_and(|c| score <= c.score) {
            return;
        }
        let hash = hash();
        if self.0.iter().any(|c| c.db == db && c.hash == hash) {
            return;
        }
        if self.0.len() == Self::SIZE {
            self.0.remove(0);
        }
        let at = self.0.partition_point(|c| c.score < score);
        self.0.insert(at, Candidate { score, db, hash });
    }
}

impl Keyspace {
    /// Changes how accesses are recorded. What was recorded until now keeps its meaning.
    pub fn set_ranking(&mut self, ranking: Ranking) {
        if ranking != self.ranking {
            self.ranking = ranking;
            self.access_clock = ranking.clock(self.now.unix_ms);
            // What the candidates were ranked by counts no more.
            self.pool = EvictionPool::default();
        }
    }

    /// How accesses are recorded.
    pub fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// The access field of a new entry.
    #[inline]
    pub fn fresh_access(&self) -> u32 {
        match self.ranking {
            Ranking::Recency => self.access_clock,
            Ranking::Frequency { .. } => counted(self.access_clock, LFU_COUNTER_INITIAL),
        }
    }

    /// The access field of an entry that had `before` and is used now.
    #[inline]
    pub(crate) fn used_access(&mut self, before: u32) -> u32 {
        self.ranking.used(before, self.access_clock, self.now.unix_ms, &mut self.random)
    }

    /// Records an access to the entry at `position` and gives it.
    #[inline]
    pub(crate) fn access(&mut self, db: usize, position: table::Position) -> &Entry {
        if self.no_touch {
            return self.dbs[db].table.at(position);
        }
        let clock = self.access_clock;
        let entry = self.dbs[db].table.at_mut(position);
        match self.ranking {
            // Most have been used in this second before: nothing is written.
            Ranking::Recency if entry.access() == clock => {}
            ranking => {
                entry.set_access(ranking.used(entry.access(), clock, self.now.unix_ms, &mut self.random));
            }
        }
        entry
    }

    /// Evicts one key under `policy`; false when there is none that may go. The effects hold the key.
    pub fn evict_one(&mut self, policy: EvictionPolicy, samples: usize) -> bool {
        match policy.order {
            EvictionOrder::Random => self.evict_random(policy),
            _ => self.evict_ranked(policy, samples),
        }
    }

    fn evict_random(&mut self, policy: EvictionPolicy) -> bool {
        let count = self.dbs.len();
        let first = self.random.below(count as u64) as usize;
        let mut looks = LOOKS_MAX;
        for db in (0..count).map(|i| (first + i) % count) {
            let database = &mut self.dbs[db];
            let found = if policy.volatile_only {
                database.pick_expiring(&mut self.random, &mut looks)
            } else {
                database.table.random_position(&mut self.random)
            };
            if let Some(position) = found {
                self.evict(db, position);
                return true;
            }
        }
        false
    }

    fn evict_ranked(&mut self, policy: EvictionPolicy, samples: usize) -> bool {
        const ROUNDS_MAX: usize = 32;
        let mut looks = LOOKS_MAX;
        for _ in 0..ROUNDS_MAX {
            for db in 0..self.dbs.len() {
                let database = &self.dbs[db];
                // Where few keys may go, looking among all finds none of them.
                let few = policy.volatile_only && database.expiring < database.table.len() / 8;
                match () {
                    () if database.table.is_empty() || policy.volatile_only && database.expiring == 0 => {}
                    () if few => self.sample_expiring(db, policy, samples, &mut looks),
                    () => self.sample(db, policy, samples),
                }
            }
            while let Some(candidate) = self.pool.0.pop() {
                let Candidate { db, hash, .. } = candidate;
                let may_go = &mut |entry: &Entry| !policy.volatile_only || entry.expiry().is_some();
                if let Some(position) = self.dbs[db].table.find_hash(hash, may_go) {
                    self.evict(db, position);
                    return true;
                }
            }
        }
        false
    }

    fn sample(&mut self, db: usize, policy: EvictionPolicy, samples: usize) {
        let (ranking, now, pool) = (self.ranking, self.now.unix_ms, &mut self.pool);
        let table = &self.dbs[db].table;
        table.sample(&mut self.random, samples, &mut |entry| {
            if policy.volatile_only && entry.expiry().is_none() {
                return;
            }
            pool.offer(policy.score(entry, ranking, now), db, || table.hash_of(entry.key()));
        });
    }

    fn sample_expiring(&mut self, db: usize, policy: EvictionPolicy, samples: usize, looks: &mut usize) {
        let (ranking, now, database) = (self.ranking, self.now.unix_ms, &mut self.dbs[db]);
        for _ in 0..samples {
            let Some(position) = database.pick_expiring(&mut self.random, looks) else { return };
            let entry = database.table.at(position);
            self.pool.offer(policy.score(entry, ranking, now), db, || database.table.hash_of(entry.key()));
        }
    }

    fn evict(&mut self, db: usize, position: table::Position) {
        let entry = self.take_at(db, position);
        self.stats.evicted += 1;
        self.effects.touch(db, entry.key(), Cause::Evicted);
        self.discard(entry);
    }
}

/// The LFU counter after one more access: the higher it is, the less likely it grows.
fn grown(counter: u32, log_factor: u32, random: &mut base::Random) -> u32 {
    if counter >= 255 {
        return 255;
    }
    let above = f64::from(counter.saturating_sub(LFU_COUNTER_INITIAL));
    let chance = 1.0 / (above * f64::from(log_factor) + 1.0);
    counter + u32::from(random.unit_f64() < chance)
}
