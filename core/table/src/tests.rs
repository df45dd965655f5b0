//! The table against a naive twin, its guarantees while it changes size, and its ownership of items.

use crate::{Item, Position, Table};
use base::Random;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// An item that counts how many of its like are alive.
#[derive(Debug)]
struct Counted {
    key: [u8; 8],
    value: u64,
    alive: Arc<AtomicIsize>,
}

#[derive(Debug)]
struct Owned(Box<Counted>);

impl Owned {
    fn new(key: u64, value: u64, alive: &Arc<AtomicIsize>) -> Owned {
        alive.fetch_add(1, Ordering::Relaxed);
        Owned(Box::new(Counted { key: key.to_be_bytes(), value, alive: alive.clone() }))
    }
}

impl Clone for Owned {
    fn clone(&self) -> Owned {
        Owned::new(u64::from_be_bytes(self.0.key), self.0.value, &self.0.alive)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Item for Owned {
    fn key(&self) -> &[u8] {
        &self.0.key
    }
}

fn key_of(item: &Owned) -> u64 {
    u64::from_be_bytes(item.0.key)
}

fn add(table: &mut Table<Owned>, key: u64, value: u64, alive: &Arc<AtomicIsize>) -> Position {
    let hash = table.hash_of(&key.to_be_bytes());
    table.insert_new(hash, Owned::new(key, value, alive))
}

fn take(table: &mut Table<Owned>, key: u64) -> Option<u64> {
    let hash = table.hash_of(&key.to_be_bytes());
    table.remove(hash, &key.to_be_bytes()).map(|item| item.0.value)
}

fn value(table: &Table<Owned>, key: u64) -> Option<u64> {
    let hash = table.hash_of(&key.to_be_bytes());
    table.find(hash, &key.to_be_bytes()).map(|item| item.0.value)
}

fn filled(count: u64, alive: &Arc<AtomicIsize>) -> Table<Owned> {
    let mut table = Table::new(1);
    (0..count).for_each(|key| {
        add(&mut table, key, key, alive);
    });
    table
}

fn scale(full: u64) -> u64 {
    if cfg!(miri) { full / 40 } else { full }
}

#[test]
fn it_agrees_with_a_naive_twin_while_growing_and_shrinking() {
    let alive = Arc::new(AtomicIsize::new(0));
    for (seed, range) in [(1, 6), (2, 60), (3, scale(700).max(100)), (4, scale(20_000))] {
        let mut random = Random::new(seed);
        let mut table: Table<Owned> = Table::new(seed);
        let mut twin: HashMap<u64, u64> = HashMap::new();
        for step in 0..scale(120_000) {
            let key = random.below(range);
            // Phases that mostly grow and phases that mostly shrink, down to nothing.
            let growing = (step / scale(30_000)).is_multiple_of(2);
            if random.below(10) < if growing { 8 } else { 2 } {
                let hash = table.hash_of(&key.to_be_bytes());
                let found = table.locate(hash, &key.to_be_bytes());
                assert_eq!(found.map(|at| table.at(at).0.value), twin.insert(key, step));
                let at = match found {
                    Some(at) => {
                        table.replace_at(at, Owned::new(key, step, &alive));
                        at
                    }
                    None => add(&mut table, key, step, &alive),
                };
                assert_eq!(table.at(at).0.value, step);
            } else {
                assert_eq!(take(&mut table, key), twin.remove(&key));
            }
            assert_eq!(table.len(), twin.len());
            let probe = random.below(range);
            assert_eq!(value(&table, probe), twin.get(&probe).copied());
        }
        let all: HashMap<u64, u64> = table.iter().map(|item| (key_of(item), item.0.value)).collect();
        assert_eq!(all, twin);
        assert_eq!(alive.load(Ordering::Relaxed), twin.len() as isize);
        let bytes: usize = table.bytes();
        table.retain(|item| item.0.value % 16 == 0);
        twin.retain(|_, value| *value % 16 == 0);
        assert_eq!(table.len(), twin.len());
        assert!(twin.iter().all(|(key, at)| value(&table, *key) == Some(*at)));
        assert!(bytes <= 512 || table.bytes() < bytes);
        table.clear();
        assert_eq!(table.iter().count(), 0);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn an_emptied_table_gives_its_memory_back() {
    let alive = Arc::new(AtomicIsize::new(0));
    let mut table = filled(scale(50_000), &alive);
    (0..scale(50_000)).for_each(|key| {
        take(&mut table, key);
    });
    assert_eq!((table.len(), alive.load(Ordering::Relaxed)), (0, 0));
    assert!(table.bytes() < 1024, "{} bytes", table.bytes());
}

/// Steps through a whole visit with `step` while `change` alters the table between calls.
fn seen_while(
    table: &mut Table<Owned>,
    step: fn(&mut Table<Owned>, u64, &mut HashSet<u64>) -> u64,
    mut change: impl FnMut(&mut Table<Owned>, usize),
) -> HashSet<u64> {
    let mut seen = HashSet::new();
    let mut cursor = 0;
    for calls in 0..1_000_000 {
        cursor = step(table, cursor, &mut seen);
        if cursor == 0 {
            return seen;
        }
        assert!(cursor < 1 << 53);
        change(table, calls);
    }
    panic!("the cursor never came back to 0");
}

fn scan_step(table: &mut Table<Owned>, cursor: u64, seen: &mut HashSet<u64>) -> u64 {
    let next = table.scan(cursor, &mut |item| {
        seen.insert(key_of(item));
    });
    assert!(next == 0 || next > cursor && next < 1 << 46);
    next
}

fn walk_step(table: &mut Table<Owned>, cursor: u64, seen: &mut HashSet<u64>) -> u64 {
    table.walk(cursor, &mut |item| {
        seen.insert(key_of(item));
    })
}

fn walk_mut_step(table: &mut Table<Owned>, cursor: u64, seen: &mut HashSet<u64>) -> u64 {
    table.walk_mut(cursor, &mut |item| {
        item.0.value += 1;
        seen.insert(key_of(item));
    })
}

#[test]
fn what_stays_is_seen_though_the_table_grows_and_shrinks() {
    let alive = Arc::new(AtomicIsize::new(0));
    for step in [scan_step, walk_step, walk_mut_step] {
        for stay in [3, 20, 150, scale(3_000)] {
            for (every, burst) in [(1, 7), (3, 40), (20, 300), (40, scale(4_000))] {
                let mut table = filled(stay, &alive);
                let mut extra = Vec::new();
                let mut fresh = 1_000_000;
                let seen = seen_while(&mut table, step, |table, calls| {
                    // Grow in bursts for a while, then shrink back, again and again.
                    if !calls.is_multiple_of(every) || calls > 400 {
                        return;
                    }
                    for _ in 0..burst {
                        if (calls / every / 4).is_multiple_of(2) {
                            add(table, fresh, 0, &alive);
                            extra.push(fresh);
                            fresh += 1;
                        } else if let Some(key) = extra.pop() {
                            assert!(take(table, key).is_some());
                        }
                    }
                });
                assert!((0..stay).all(|key| seen.contains(&key)), "{stay} stay, {burst} every {every}");
            }
        }
    }
}

#[test]
fn a_quiet_scan_and_walk_see_each_item_exactly_once() {
    let alive = Arc::new(AtomicIsize::new(0));
    for count in [0, 1, 7, 8, 100, 448, scale(30_000)] {
        let table = filled(count, &alive);
        for visit in [Table::scan, Table::walk] {
            let (mut seen, mut cursor) = (Vec::new(), 0);
            loop {
                cursor = visit(&table, cursor, &mut |item| seen.push(key_of(item)));
                if cursor == 0 {
                    break;
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
        assert_eq!(table.scan(u64::MAX, &mut |_| panic!("no such place")), 0);
        assert_eq!(table.walk(u64::MAX, &mut |_| panic!("no such place")), 0);
    }
}

#[test]
fn writes_to_one_side_of_a_share_leave_the_other_as_it_was() {
    let alive = Arc::new(AtomicIsize::new(0));
    let count = scale(5_000);
    let mut table = filled(count, &alive);
    let mut shared = table.share();
    assert_eq!(alive.load(Ordering::Relaxed), count as isize);
    let mut random = Random::new(9);
    let before = alive.load(Ordering::Relaxed);
    take(&mut table, 0);
    assert!(alive.load(Ordering::Relaxed) - before < 500, "one segment is copied, not the table");
    for step in 0..scale(20_000) {
        let key = random.below(count * 2);
        let side = if step % 2 == 0 { &mut table } else { &mut shared };
        match value(side, key) {
            Some(_) if key % 2 == step % 2 => drop(take(side, key)),
            Some(_) => {
                let hash = side.hash_of(&key.to_be_bytes());
                side.find_mut(hash, &key.to_be_bytes()).unwrap().0.value = step;
            }
            None if step > scale(10_000) => drop(add(side, key, step, &alive)),
            None => {}
        }
    }
    let third = shared.share();
    let content =
        |table: &Table<Owned>| table.iter().map(|i| (key_of(i), i.0.value)).collect::<HashMap<_, _>>();
    let kept = content(&third);
    assert_eq!(kept.len(), third.len());
    drop(table);
    shared.retain(|_| false);
    assert!(shared.is_empty());
    assert_eq!(content(&third), kept);
    let reader = std::thread::spawn(move || third.iter().count());
    assert_eq!(reader.join().unwrap(), kept.len());
    drop(shared);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn random_picks_are_fair_enough_and_samples_are_real() {
    let alive = Arc::new(AtomicIsize::new(0));
    let mut random = Random::new(5);
    assert!(Table::<Owned>::new(1).random(&mut random).is_none());
    for count in [1, 5, 100, 2_000] {
        let table = filled(count, &alive);
        let rounds = scale(100) * count;
        let mut hits = vec![0u64; count as usize];
        for _ in 0..rounds {
            hits[key_of(table.random(&mut random).unwrap()) as usize] += 1;
        }
        let mean = rounds / count;
        assert!(cfg!(miri) || hits.iter().all(|&hit| hit > mean / 4 && hit < mean * 3), "{hits:?}");
        let mut seen = 0;
        table.sample(&mut random, 5, &mut |_| seen += 1);
        assert!((1..=5).contains(&seen));
    }
}

#[test]
fn a_nearly_empty_large_table_still_finds_a_random_item() {
    let alive = Arc::new(AtomicIsize::new(0));
    let mut table = filled(scale(30_000), &alive);
    table.retain(|item| key_of(item) == 77);
    let mut random = Random::new(5);
    assert_eq!(table.random(&mut random).map(key_of), Some(77));
}

#[test]
fn an_item_is_found_by_its_hash_alone() {
    let alive = Arc::new(AtomicIsize::new(0));
    let table = filled(1_000, &alive);
    for key in [0u64, 500, 999] {
        let hash = table.hash_of(&key.to_be_bytes());
        table.prefetch(hash);
        table.prefetch_item(hash);
        let at = table.find_hash(hash, &mut |_| true).unwrap();
        assert_eq!(key_of(table.at(at)), key);
        assert_eq!(table.find_hash(hash, &mut |_| false), None);
        assert_eq!(table.find_hash(hash ^ (1 << 20), &mut |_| true), None);
    }
}

#[test]
fn a_position_from_before_a_change_finds_an_item_or_panics() {
    let alive = Arc::default();
    let mut table = filled(scale(4000), &alive);
    let keys: Vec<u64> = table.iter().map(key_of).collect();
    let old: Vec<Position> = keys
        .iter()
        .filter_map(|key| table.locate(table.hash_of(&key.to_be_bytes()), &key.to_be_bytes()))
        .collect();
    table.retain(|item| key_of(item).is_multiple_of(500));
    for position in old {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| key_of(table.at(position))));
        assert!(found.is_err() || found.is_ok_and(|key| key.is_multiple_of(500)));
    }
}

/// An item whose key cannot be read once it is told so.
#[derive(Clone)]
struct Fragile(Box<(Vec<u8>, Arc<std::sync::atomic::AtomicBool>)>);

impl Item for Fragile {
    fn key(&self) -> &[u8] {
        assert!(!self.0.1.load(Ordering::Relaxed), "the key cannot be read");
        &self.0.0
    }
}

#[test]
fn a_panic_while_a_segment_is_rebuilt_leaves_a_table_that_can_be_used() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fragile = |n: usize| Fragile(Box::new((n.to_string().into_bytes(), broken.clone())));
    for full in [50, 399, 5000] {
        let mut table: Table<Fragile> = Table::new(7);
        let add = |table: &mut Table<Fragile>, n: usize| {
            let hash = table.hash_of(n.to_string().as_bytes());
            table.insert_new(hash, fragile(n));
        };
        (0..full).for_each(|n| add(&mut table, n));
        let share = table.share();
        let removed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            broken.store(true, Ordering::Relaxed);
            table.retain(|item| item.0.0 == b"1");
        }));
        broken.store(false, Ordering::Relaxed);
        assert!(removed.is_err(), "shrinking reads keys");
        assert_eq!(share.iter().count(), full, "whoever shares it has lost nothing");
        (1000..1600).for_each(|n| add(&mut table, n));
        let hash = table.hash_of(b"1599");
        assert_eq!(table.find(hash, b"1599").map(|item| item.0.0.as_slice()), Some(&b"1599"[..]));
    }
}

#[test]
fn a_small_table_costs_a_few_lines_and_a_large_one_a_fifth_of_a_line_an_item() {
    let alive = Arc::new(AtomicIsize::new(0));
    assert_eq!(Table::<Owned>::new(1).bytes(), 0);
    assert!(filled(7, &alive).bytes() <= 128 + 8);
    assert!(filled(12, &alive).bytes() <= 192 + 8);
    let count = scale(100_000);
    let per_item = filled(count, &alive).bytes() as f64 / count as f64;
    assert!(cfg!(miri) || per_item < 24.0, "{per_item} bytes an item");
}

/// Measures; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_a_million() {
    let time = |what: &str, count: u64, run: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        run();
        println!("{what}: {:.1} ns", start.elapsed().as_nanos() as f64 / count as f64);
    };
    let count = 1_000_000u64;
    let mut items: Vec<Box<Vec<u8>>> =
        (0..count).map(|i| Box::new(format!("key:{i:012}").into_bytes())).collect();
    let keys: Vec<Vec<u8>> = items.iter().map(|item| item.to_vec()).collect();
    let mut table: Table<Box<Vec<u8>>> = Table::new(7);
    let mut worst = std::time::Duration::ZERO;
    time("insert", count, &mut || {
        for item in items.drain(..) {
            let start = std::time::Instant::now();
            table.insert_new(table.hash_of(&item), item);
            worst = worst.max(start.elapsed());
        }
    });
    println!("worst insert {worst:?}, {:.1} bytes an item", table.bytes() as f64 / count as f64);
    let mut random = Random::new(3);
    let order: Vec<usize> = (0..count).map(|_| random.below(count) as usize).collect();
    time("find in random order", count, &mut || {
        let hits = order.iter().filter(|&&i| table.find(table.hash_of(&keys[i]), &keys[i]).is_some()).count();
        assert_eq!(hits, count as usize);
    });
    time("find in batches of 16, fetched ahead", count, &mut || {
        for batch in order.chunks(16) {
            let hashes: Vec<u64> = batch.iter().map(|&i| table.hash_of(&keys[i])).collect();
            hashes.iter().for_each(|&hash| table.prefetch(hash));
            hashes.iter().for_each(|&hash| table.prefetch_item(hash));
            for (&i, &hash) in batch.iter().zip(&hashes) {
                assert!(table.find(hash, &keys[i]).is_some());
            }
        }
    });
    time("remove", count, &mut || {
        for key in &keys {
            table.remove(table.hash_of(key), key);
        }
    });
}

#[test]
fn what_remains_of_a_table_is_freed_in_steps_and_once() {
    let alive = Arc::new(AtomicIsize::new(0));
    let count = scale(40_000);
    let (table, empty) = (filled(count, &alive), filled(0, &alive));
    let shared = table.share();
    let mut remains = table.into_remains();
    assert!(remains.free_some());
    assert_eq!(alive.load(Ordering::Relaxed), count as isize, "another table has it");
    assert_eq!(shared.iter().count() as u64, count);
    let mut remains_of_other = shared.into_remains();
    let mut steps = 0;
    loop {
        let before = alive.load(Ordering::Relaxed);
        let has_more = remains.free_some() | remains_of_other.free_some();
        steps += 1;
        assert!(before - alive.load(Ordering::Relaxed) <= 2_000, "a step is bounded");
        if !has_more {
            break;
        }
    }
    assert!(steps > count / 2_000 && alive.load(Ordering::Relaxed) == 0, "{steps} steps");
    drop((remains, remains_of_other));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    assert!(!empty.into_remains().free_some());
}
