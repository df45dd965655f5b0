//! The map beside the standard library's, which is copied whole.

use super::*;
use base::Random;
use std::collections::BTreeMap;

fn check(runs: &Runs<u64, u64>, twin: &BTreeMap<u64, u64>) {
    assert_eq!((runs.len(), runs.iter().len()), (twin.len(), twin.len()));
    assert!(runs.iter().eq(twin.iter()) && runs.iter().rev().eq(twin.iter().rev()));
    let is_sound = |node: &Node<u64, u64>| {
        node.count == node.items.len() && node.count <= WIDTH_MAX && node.first == node.items[0].0
    };
    assert!(twin.is_empty() || runs.nodes.iter().all(is_sound));
}

fn step(random: &mut Random, runs: &mut Runs<u64, u64>, twin: &mut BTreeMap<u64, u64>, grows: bool) {
    let key = random.below(5_000);
    match random.below(if grows { 4 } else { 8 }) {
        0..3 if twin.contains_key(&key) => {
            *runs.get_mut(&key).expect("it is there") += 1;
            *twin.get_mut(&key).expect("it is there") += 1;
        }
        0..3 => {
            runs.insert(key, key);
            twin.insert(key, key);
        }
        _ => assert_eq!(runs.remove(&key), twin.remove(&key)),
    }
}

#[test]
fn behaves_as_a_sorted_map_and_copies_keep_what_they_had() {
    let mut random = Random::new(5);
    let (mut runs, mut twin) = (Runs::default(), BTreeMap::new());
    let mut kept = (runs.clone(), twin.clone());
    for round in 0..40 {
        for _ in 0..1_000 {
            step(&mut random, &mut runs, &mut twin, round % 8 < 5);
        }
        check(&runs, &twin);
        check(&kept.0, &kept.1);
        kept = (runs.clone(), twin.clone());
        let (start, end) = (random.below(5_000), random.below(5_000));
        for (start, end) in [
            (Included(&start), Included(&end)),
            (Excluded(&start), Excluded(&end)),
            (Unbounded, Excluded(&end)),
            (Included(&start), Unbounded),
        ] {
            let within = |key: &u64| {
                (match start {
                    Included(start) => key >= start,
                    Excluded(start) => key > start,
                    Unbounded => true,
                }) && match end {
                    Included(end) => key <= end,
                    Excluded(end) => key < end,
                    Unbounded => true,
                }
            };
            let expected: Vec<_> = twin.iter().filter(|(key, _)| within(key)).collect();
            assert!(runs.range(start, end).eq(expected.iter().copied()));
            assert!(runs.range(start, end).rev().eq(expected.into_iter().rev()));
        }
    }
    let keys: Vec<u64> = twin.keys().copied().collect();
    for key in keys {
        assert_eq!(runs.remove(&key), twin.remove(&key));
    }
    check(&runs, &twin);
}

#[test]
fn a_queue_of_rising_keys_fills_its_runs_and_reuses_its_room() {
    let mut runs = Runs::default();
    (0..10_000u64).for_each(|key| runs.insert(key, ()));
    assert_eq!(runs.nodes.len(), 10_000usize.div_ceil(WIDTH_MAX));
    (0..9_999).for_each(|key| assert_eq!(runs.remove(&key), Some(())));
    let buffer = |runs: &Runs<u64, ()>| Arc::as_ptr(&runs.nodes[0].items);
    let before = buffer(&runs);
    for key in 10_000..20_000 {
        runs.insert(key, ());
        assert_eq!(runs.remove(&(key - 1)), Some(()));
    }
    assert_eq!((runs.remove(&19_999), runs.len(), runs.iter().next()), (Some(()), 0, None));
    runs.insert(1, ());
    assert_eq!((buffer(&runs), runs.contains(&1), runs.contains(&19_999)), (before, true, false));
    assert!(runs.nodes[0].items.capacity() <= KEPT_ROOM);
}

#[test]
fn a_write_beside_a_copy_copies_one_run() {
    let mut runs = Runs::default();
    (0..100_000u64).for_each(|key| runs.insert(key, key));
    let kept = runs.clone();
    *runs.get_mut(&50_000).expect("it is there") = 1;
    assert_eq!(runs.remove(&70_000), Some(70_000));
    assert_eq!(
        (runs.remove(&100_000), runs.get(&50_000), kept.get(&50_000)),
        (None, Some(&1), Some(&50_000))
    );
    let is_own = |(a, b): &(&Node<u64, u64>, &Node<u64, u64>)| !Arc::ptr_eq(&a.items, &b.items);
    assert_eq!(runs.nodes.iter().zip(&kept.nodes).filter(is_own).count(), 2);
}
