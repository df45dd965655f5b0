//! The index of expiry times: a hierarchical timing wheel of key hashes, so that keys leave on time.
//!
//! An item is 8 bytes, the hash of a key, filed under a slot of time; the key's own expiry in its entry is the truth. When a
//! slot is due its items are looked up: an entry that is due leaves, one whose time was moved later is filed again,
//! a hash without entry is dropped. Level 0 has slots of 16 ms, each level above is 64 times coarser and is filed down
//! as its time comes, so an item moves at most once a level. All work is done in bounded slices.
//!
//! Invariant: for every entry with an expiry there is at least one item filed no later than that expiry.

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// Resolution of level 0 as a power of two, milliseconds.
const TICK_BITS: u32 = 4;

/// Items of one slot, in blocks so that a growing slot never copies a large array.
#[derive(Debug, Default)]
struct Slot {
    blocks: Vec<Vec<u64>>,
}

impl Slot {
    const BLOCK_ITEMS: usize = 512;

    fn push(&mut self, hash: u64) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < Self::BLOCK_ITEMS => {
                if block.len() == block.capacity() {
                    // Slots with few items stay small, full blocks are exact.
                    block.reserve_exact(block.len().clamp(2, Self::BLOCK_ITEMS - block.len()));
                }
                block.push(hash);
            }
            _ => {
                let mut block =
                    Vec::with_capacity(if self.blocks.is_empty() { 2 } else { Self::BLOCK_ITEMS });
                block.push(hash);
                self.blocks.push(block);
            }
        }
    }

    /// Items; all blocks but the last are full.
    fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * Self::BLOCK_ITEMS + last.len())
    }

    fn at(&self, index: usize) -> u64 {
        self.blocks[index / Self::BLOCK_ITEMS][index % Self::BLOCK_ITEMS]
    }

    /// Takes an item out; the last one gets its place.
    fn take(&mut self, index: usize) {
        let is_last = index + 1 == self.len();
        if let (Some(last), false) = (self.pop(), is_last) {
            self.blocks[index / Self::BLOCK_ITEMS][index % Self::BLOCK_ITEMS] = last;
        }
    }

    fn pop(&mut self) -> Option<u64> {
        loop {
            let block = self.blocks.last_mut()?;
            match block.pop() {
                Some(hash) => return Some(hash),
                None => {
                    self.blocks.pop();
                }
            }
        }
    }
}

/// The wheel of one database.
#[derive(Debug)]
pub(crate) struct Wheel {
    levels: Vec<Vec<Slot>>,
    /// Everything in level-0 slots before this tick has been taken.
    tick: u64,
    items: usize,
}

/// What [`Wheel::next_due`] hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due(pub(crate) u64);

/// An item that [`Wheel::pick`] has found. Its place holds until the wheel changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picked {
    level: usize,
    slot: usize,
    index: usize,
    pub(crate) hash: u64,
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        Wheel { levels: Vec::new(), tick: 0, items: 0 }
    }

    /// Whether nothing has ever been filed.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.levels.is_empty()
    }

    /// Number of items filed, including stale ones.
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// Files `hash` under `at_ms`, as seen at `now_ms`.
    pub(crate) fn file(&mut self, hash: u64, at_ms: i64, now_ms: i64) {
        if self.levels.is_empty() {
            self.levels = (0..LEVELS).map(|_| (0..SLOTS).map(|_| Slot::default()).collect()).collect();
            self.tick = ticks(now_ms);
        }
        // A slot is due when its end has passed, so an item is filed one tick behind its time.
        let at = (ticks(at_ms) + 1).max(self.tick);
        self.place(hash, at);
        self.items += 1;
    }

    fn place(&mut self, hash: u64, at: u64) {
        let distance = at ^ self.tick;
        let level = if distance == 0 { 0 } else { ((63 - distance.leading_zeros()) / SLOT_BITS) as usize };
        let (level, at) = if level < LEVELS {
            (level, at)
        } else {
            // Beyond the horizon (about 34 years): the last slot of the top level, filed again from there.
            (LEVELS - 1, self.tick | ((1 << (SLOT_BITS * LEVELS as u32)) - 1))
        };
        let slot = (at >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1);
        self.levels[level][slot].push(hash);
    }

    /// An item picked by chance, not each as likely as the other. Should it prove stale, [`Wheel::forget`] it.
    pub(crate) fn pick(&self, random: &mut base::Random) -> Option<Picked> {
        const COUNT: usize = LEVELS * SLOTS;
        if self.items == 0 {
            return None;
        }
        let start = random.below(COUNT as u64) as usize;
        let places = (start..start + COUNT).map(|at| (at % COUNT / SLOTS, at % SLOTS));
        for (level, slot) in places {
            let items = self.levels[level][slot].len();
            if items > 0 {
                let index = random.below(items as u64) as usize;
                return Some(Picked { level, slot, index, hash: self.levels[level][slot].at(index) });
            }
        }
        None
    }

    /// Takes an item out that was just picked.
    pub(crate) fn forget(&mut self, picked: Picked) {
        self.levels[picked.level][picked.slot].take(picked.index);
        self.items -= 1;
    }

    /// The next item whose slot has come at `now_ms`, or `None` when nothing is due. `refile` tells the present expiry of
    /// a hash while coarser slots are filed down (`None`: stale, dropped). `budget` is lowered by every item looked at.
    pub(crate) fn next_due(
        &mut self,
        now_ms: i64,
        budget: &mut usize,
        refile: &mut dyn FnMut(u64) -> Option<i64>,
    ) -> Option<Due> {
        if self.items == 0 {
            if !self.levels.is_empty() {
                self.tick = self.tick.max(ticks(now_ms));
            }
            return None;
        }
        let now = ticks(now_ms);
        while *budget > 0 {
            let slot = self.tick as usize & (SLOTS - 1);
            if self.tick <= now
                && let Some(hash) = self.levels[0][slot].pop()
            {
                self.items -= 1;
                *budget -= 1;
                return Some(Due(hash));
            }
            if self.tick >= now {
                return None;
            }
            if !self.advance(budget, refile) {
                return None;
            }
        }
        None
    }

    /// Moves on by one tick, filing coarser slots down where one begins. False when the budget ended half-way.
    fn advance(&mut self, budget: &mut usize, refile: &mut dyn FnMut(u64) -> Option<i64>) -> bool {
        let next = self.tick + 1;
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            if next & ((1 << shift) - 1) != 0 {
                continue;
            }
            let slot = (next >> shift) as usize & (SLOTS - 1);
            while let Some(hash) = self.levels[level][slot].pop() {
                self.items -= 1;
                if let Some(at_ms) = refile(hash) {
                    self.refile_after(hash, at_ms, next);
                }
                *budget = budget.saturating_sub(1);
                if *budget == 0 {
                    return false;
                }
            }
        }
        self.tick = next;
        true
    }

    /// Files an item as if `next` were the present tick, so that it never lands in the slot that is being emptied.
    fn refile_after(&mut self, hash: u64, at_ms: i64, next: u64) {
        let before = core::mem::replace(&mut self.tick, next);
        let at = (ticks(at_ms) + 1).max(next);
        self.place(hash, at);
        self.items += 1;
        self.tick = before;
    }
}

fn ticks(ms: i64) -> u64 {
    ms.max(0) as u64 >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_key_is_due_on_time_whatever_its_distance() {
        let mut wheel = Wheel::new();
        let start = 1_700_000_000_000i64;
        let mut random = base::Random::new(5);
        let mut expiry = HashMap::new();
        for hash in 0..3000u64 {
            let distance = 1i64 << random.below(33);
            let at = start + distance + random.below(1000) as i64;
            expiry.insert(hash, at);
            wheel.file(hash, at, start);
        }
        let mut now = start;
        let mut step = 1i64;
        while !expiry.is_empty() {
            now += step;
            step = (step + step / 3 + 1).min(1 << 30);
            let mut budget = usize::MAX;
            let present = expiry.clone();
            while let Some(Due(hash)) = wheel.next_due(now, &mut budget, &mut |h| present.get(&h).copied()) {
                let at = expiry.remove(&hash).expect("each is due once");
                assert!(at <= now, "early by {}", at - now);
            }
            let late = expiry.values().filter(|at| **at + 32 < now).count();
            assert_eq!(late, 0, "at {now}");
        }
        assert_eq!(wheel.items(), 0);
    }

    #[test]
    fn every_item_can_be_picked_and_forgotten_once() {
        let mut wheel = Wheel::new();
        let mut random = base::Random::new(9);
        for hash in 0..2000u64 {
            // One full slot, and some that hold little.
            let distance = if hash < 1500 { 1_000_000 } else { 1 << (hash % 30) };
            wheel.file(hash, 1_000_000 + distance, 1_000_000);
        }
        let mut seen: Vec<u64> = Vec::new();
        while let Some(picked) = wheel.pick(&mut random) {
            wheel.forget(picked);
            seen.push(picked.hash);
        }
        seen.sort_unstable();
        assert_eq!((seen, wheel.items()), ((0..2000).collect(), 0));
        wheel.file(7, 1_000_001, 1_000_000);
        assert_eq!(wheel.next_due(1_100_000, &mut 10, &mut |_| None), Some(Due(7)));
    }

    #[test]
    fn a_small_budget_only_delays() {
        let mut wheel = Wheel::new();
        for hash in 0..1000 {
            wheel.file(hash, 1_000_000 + 100_000, 1_000_000);
        }
        let mut seen = 0;
        for _ in 0..5000 {
            let mut budget = 3;
            while wheel.next_due(1_200_000, &mut budget, &mut |_| Some(1_100_000)).is_some() {
                seen += 1;
            }
        }
        assert_eq!(seen, 1000);
    }
}
