//! The index of expiry times: a hierarchical timing wheel of key hashes, so that keys leave on time.
//!
//! An item is 8 bytes, the hash of a key, filed under a slot of time; the key's own expiry in its entry is the truth. When a
//! slot is due its items are looked up: an entry that is due leaves, one whose time was moved later is filed again,
//! a hash without entry is dropped. Level 0 has slots of 16 ms, each level above is 64 times coarser and is filed down
//! as its time comes, so an item moves at most once a level. All work is done in bounded slices: time in which nothing is
//! filed is stepped over at once, however long it is, since clocks jump and machines sleep.
//!
//! Invariants: for every entry with an expiry there is at least one item filed no later than that expiry. What is filed in a level
//! lies behind that level's present slot, in level 0 also in it; the one exception is the slot that is being filed down.

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// As many as any time in milliseconds needs: there is no horizon.
const LEVELS: usize = 10;
/// Resolution of level 0 as a power of two, milliseconds.
const TICK_BITS: u32 = 4;
/// How far the clock may go back before what is filed from then on would be late by too much: a second.
const AHEAD_TICKS_MAX: u64 = 1000 >> TICK_BITS;

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
    /// The slots of each level; a level that nothing was filed in has none.
    levels: Vec<Vec<Slot>>,
    /// The slots of each level that hold items, a bit each.
    occupied: [u64; LEVELS],
    /// Everything in level-0 slots before this tick has been taken.
    tick: u64,
    /// The level whose present slot is being filed down; 0: none.
    filing: usize,
    items: usize,
    /// How many of them each level holds.
    in_level: [usize; LEVELS],
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
        Wheel {
            levels: Vec::new(),
            occupied: [0; LEVELS],
            tick: 0,
            filing: 0,
            items: 0,
            in_level: [0; LEVELS],
        }
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
            self.levels.resize_with(LEVELS, Vec::new);
        }
        if self.items == 0 {
            self.begin_at(now_ms);
        }
        self.place(hash, at_ms);
    }

    /// Whether the clock has gone back so far that what is filed now would be due late.
    pub(crate) fn is_ahead(&self, now_ms: i64) -> bool {
        self.items > 0 && self.tick > ticks(now_ms) + AHEAD_TICKS_MAX
    }

    /// With nothing filed, time may begin anywhere.
    fn begin_at(&mut self, now_ms: i64) {
        self.tick = ticks(now_ms);
        self.filing = 0;
    }

    fn place(&mut self, hash: u64, at_ms: i64) {
        // A slot is due when its end has passed, so an item is filed one tick behind its time.
        let at = (ticks(at_ms) + 1).max(self.tick);
        let distance = at ^ self.tick;
        let level = if distance == 0 { 0 } else { ((63 - distance.leading_zeros()) / SLOT_BITS) as usize };
        let slot = digit(at, level);
        if self.levels[level].is_empty() {
            self.levels[level].resize_with(SLOTS, Slot::default);
        }
        self.levels[level][slot].push(hash);
        self.occupied[level] |= 1 << slot;
        self.items += 1;
        self.in_level[level] += 1;
    }

    fn pop(&mut self, level: usize, slot: usize) -> Option<u64> {
        if self.occupied[level] & 1 << slot == 0 {
            return None;
        }
        let hash = self.levels[level][slot].pop()?;
        self.note_taken(level, slot);
        Some(hash)
    }

    fn note_taken(&mut self, level: usize, slot: usize) {
        self.items -= 1;
        self.in_level[level] -= 1;
        if self.levels[level][slot].len() == 0 {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// An item picked by chance, each as likely as the other. Should it prove stale, [`Wheel::forget`] it.
    pub(crate) fn pick(&self, random: &mut base::Random) -> Option<Picked> {
        let mut index = random.below(self.items.max(1) as u64) as usize;
        let level = self.in_level.iter().position(|items| skip(&mut index, *items))?;
        let slots = &self.levels[level];
        let slot = slots.iter().position(|slot| skip(&mut index, slot.len()))?;
        Some(Picked { level, slot, index, hash: slots[slot].at(index) })
    }

    /// Takes an item out that was just picked.
    pub(crate) fn forget(&mut self, picked: Picked) {
        self.levels[picked.level][picked.slot].take(picked.index);
        self.note_taken(picked.level, picked.slot);
    }

    /// The next item whose slot has come at `now_ms`, or `None` when nothing is due. `refile` tells the present expiry of
    /// a hash while coarser slots are filed down (`None`: stale, dropped). `budget` is lowered by every item looked at.
    pub(crate) fn next_due(
        &mut self,
        now_ms: i64,
        budget: &mut usize,
        refile: &mut dyn FnMut(u64) -> Option<i64>,
    ) -> Option<Due> {
        let now = ticks(now_ms);
        while *budget > 0 && self.items > 0 {
            if !self.file_down(budget, refile) {
                return None;
            }
            match self.next_stop() {
                Some((0, stop)) if stop == self.tick && stop <= now => {
                    *budget -= 1;
                    return self.pop(0, digit(stop, 0)).map(Due);
                }
                Some((level, stop)) if stop <= now => {
                    self.tick = stop;
                    self.filing = level;
                }
                _ => {
                    self.tick = self.tick.max(now);
                    return None;
                }
            }
        }
        if self.items == 0 {
            self.begin_at(now_ms);
        }
        None
    }

    /// The next tick at which there is something to do, and the level of the slot that begins there.
    fn next_stop(&self) -> Option<(usize, u64)> {
        (0..LEVELS).find_map(|level| {
            let present = digit(self.tick, level);
            // The present slot of a coarser level was filed down when it began.
            let behind = u64::MAX << present << u32::from(level > 0);
            let ahead = self.occupied[level] & behind;
            let shift = SLOT_BITS * level as u32;
            let coarser = self.tick >> shift >> SLOT_BITS << SLOT_BITS;
            (ahead != 0).then(|| (level, (coarser | u64::from(ahead.trailing_zeros())) << shift))
        })
    }

    /// Files down the slot whose time has come. False when the budget ended half-way.
    fn file_down(&mut self, budget: &mut usize, refile: &mut dyn FnMut(u64) -> Option<i64>) -> bool {
        while self.filing > 0 {
            if *budget == 0 {
                return false;
            }
            let Some(hash) = self.pop(self.filing, digit(self.tick, self.filing)) else {
                self.filing = 0;
                break;
            };
            *budget -= 1;
            if let Some(at_ms) = refile(hash) {
                self.place(hash, at_ms);
            }
        }
        true
    }
}

/// Whether the item of this index is among the next `items`; else it is counted on from behind them.
fn skip(index: &mut usize, items: usize) -> bool {
    let is_here = *index < items;
    if !is_here {
        *index -= items;
    }
    is_here
}

/// The slot of a level in which a tick lies.
fn digit(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1)
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
    fn an_item_is_not_picked_sooner_for_being_due_sooner() {
        const START_MS: i64 = 1_700_000_000_000;
        let mut wheel = Wheel::new();
        let mut random = base::Random::new(3);
        // The sooner a key is due, the fewer share its slot.
        for hash in 0..4000u64 {
            wheel.file(hash, START_MS + 10_000_000 + hash as i64 * 1000, START_MS);
        }
        let sooner = (0..4000).filter(|_| wheel.pick(&mut random).unwrap().hash < 2000).count();
        assert!((1850..2150).contains(&sooner), "{sooner} of 4000");
    }

    #[test]
    fn time_in_which_nothing_is_due_is_stepped_over_and_what_was_passed_is_due() {
        const DAY_MS: i64 = 86_400_000;
        // Years into the future, as when a machine without a clock learns the time.
        for jump_ms in [DAY_MS, 30 * DAY_MS, 57 * 365 * DAY_MS, 50_000 * 365 * DAY_MS, i64::MAX - 2] {
            let mut wheel = Wheel::new();
            let times: Vec<i64> = (0..62).map(|bit| 1i64 << bit).chain([jump_ms + 1]).collect();
            for (hash, at) in times.iter().enumerate() {
                wheel.file(hash as u64, *at, 1000);
            }
            let mut due = Vec::new();
            let mut budget = 100 * times.len();
            while let Some(Due(hash)) = wheel.next_due(jump_ms, &mut budget, &mut |h| Some(times[h as usize]))
            {
                due.push(hash as usize);
            }
            due.sort_unstable();
            // What a tick holds is due when the tick has passed.
            let passed: Vec<usize> = (0..times.len()).filter(|i| ticks(times[*i]) < ticks(jump_ms)).collect();
            assert_eq!(due, passed, "{jump_ms}");
            assert!(budget > 0 && wheel.items() == times.len() - passed.len());
        }
    }

    #[test]
    fn an_empty_wheel_follows_the_clock_back() {
        let mut wheel = Wheel::new();
        wheel.file(1, 5_000, 1_000);
        assert_eq!(wheel.next_due(9_000_000, &mut 10, &mut |_| Some(5_000)), Some(Due(1)));
        wheel.file(2, 7_000, 6_000);
        assert!(!wheel.is_ahead(6_000));
        assert_eq!(wheel.next_due(7_100, &mut 10, &mut |_| Some(7_000)), Some(Due(2)));
        wheel.file(3, 9_000_000, 7_100);
        assert_eq!(wheel.next_due(8_000_000, &mut 10, &mut |_| Some(9_000_000)), None);
        assert!(wheel.is_ahead(7_100));
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
