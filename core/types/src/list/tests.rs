//! The list beside a naive twin, and what snapshots rely on.

use super::*;
use base::Random;

type Twin = VecDeque<Vec<u8>>;

fn sized(list_size: i64) -> Limits {
    Limits { list_size, ..Limits::default() }
}

fn check(list: &List, twin: &Twin) {
    assert_eq!(list.len(), twin.len());
    assert!(list.iter().eq(twin.iter().map(Vec::as_slice)));
    assert!(list.range_rev(0..twin.len()).eq(twin.iter().rev().map(Vec::as_slice)));
    if let Repr::Long(chunks) = &list.repr {
        assert_eq!(chunks.len, chunks.nodes.iter().map(|node| node.count as usize).sum::<usize>());
        assert!(chunks.nodes.iter().all(|node| node.count > 0 && node.count as usize == node.chunk.count()));
        let max = chunks.limits.bytes_max as usize;
        assert!(chunks.nodes.iter().all(|node| node.count == 1 || node.chunk.bytes() <= max));
    }
}

fn twin_remove(twin: &mut Twin, count: i64, value: &[u8]) -> usize {
    let mut hits: Vec<usize> = (0..twin.len()).filter(|i| twin[*i] == value).collect();
    if count > 0 {
        hits.truncate(count as usize);
    } else if count < 0 {
        hits = hits.split_off(hits.len().saturating_sub(count.unsigned_abs() as usize));
    }
    for i in hits.iter().rev() {
        twin.remove(*i);
    }
    hits.len()
}

fn step(random: &mut Random, list: &mut List, twin: &mut Twin, limits: &Limits) {
    let value = vec![b'a' + random.below(6) as u8; [1, 3, 30, 200, 9000][random.below(45).min(4) as usize]];
    let n = twin.len() as i64;
    let index = random.below(2 * n as u64 + 3) as i64 - n - 1;
    let real = if index < 0 { index + n } else { index };
    let exists = (0..n).contains(&real);
    match random.below(17) {
        0..4 => (list.push_back(&value, limits), twin.push_back(value)).1,
        4..8 => (list.push_front(&value, limits), twin.push_front(value)).1,
        8 => assert_eq!(list.pop_front(), twin.pop_front()),
        9 => assert_eq!(list.pop_back(), twin.pop_back()),
        10 => {
            assert_eq!(list.set(index, &value, limits), exists);
            if exists {
                twin[real as usize] = value;
            }
        }
        11 | 12 => {
            let pivot = vec![b'a' + random.below(7) as u8; 3];
            let found = twin.iter().position(|v| *v == pivot);
            let place = if random.below(2) == 0 { Side::Before } else { Side::After };
            assert_eq!(list.insert(place, &pivot, &value, limits), found.is_some());
            if let Some(i) = found {
                twin.insert(i + usize::from(place == Side::After), value);
            }
        }
        13 => {
            let count = random.below(7) as i64 - 3;
            assert_eq!(list.remove(count, &value), twin_remove(twin, count, &value));
        }
        14 if random.below(20) == 0 => {
            let bounds = list.bounds(index, index + n / 2);
            list.trim(index, index + n / 2);
            *twin = twin.range(bounds).cloned().collect();
        }
        15 => {
            let n = random.below(3) as usize;
            assert_eq!(list.remove_end(End::Back, n), n.min(twin.len()));
            twin.truncate(twin.len().saturating_sub(n));
        }
        _ => assert_eq!(
            list.get(index),
            if exists { twin.get(real as usize).map(Vec::as_slice) } else { None }
        ),
    }
}

#[test]
fn behaves_as_a_deque_under_every_limit() {
    for size in [-1, -2, -5, 1, 4, 128] {
        let limits = &sized(size);
        let mut random = Random::new(size as u64);
        let (mut list, mut twin) = (List::default(), Twin::new());
        let mut shared = None;
        for i in 0..6000 {
            step(&mut random, &mut list, &mut twin, limits);
            if i % 7 == 0 {
                check(&list, &twin);
            }
            if i % 500 == 0 {
                if let Some((list, twin)) = shared.take() {
                    check(&list, &twin);
                }
                shared = Some((list.share(), twin.clone()));
            }
        }
    }
}

#[test]
fn forms_change_at_redis_thresholds() {
    let limits = &sized(-2);
    let mut list = List::default();
    list.push_back(&[b'x'; 8000], limits);
    assert_eq!(list.encoding(), "listpack");
    list.push_back(&[b'y'; 300], limits);
    assert_eq!(list.encoding(), "quicklist");
    list.pop_front();
    assert_eq!(list.encoding(), "listpack");
    let mut list = List::default();
    list.push_back(&[b'x'; 8193], limits);
    assert_eq!(list.encoding(), "quicklist");
    let few = &sized(3);
    let mut list = List::default();
    (0..3).for_each(|_| list.push_front(b"v", few));
    assert_eq!(list.encoding(), "listpack");
    list.push_front(b"v", few);
    assert_eq!(list.encoding(), "quicklist");
}

#[test]
fn a_shared_list_keeps_its_content_and_only_touched_chunks_are_copied() {
    let mut list = List::default();
    (0..20_000).for_each(|i: u32| list.push_back(&i.to_le_bytes(), &sized(-2)));
    let shared = list.share();
    list.set(10_000, b"diff", &sized(-2));
    assert_eq!(shared.get(10_000), Some(&10_000u32.to_le_bytes()[..]));
    let (Repr::Long(a), Repr::Long(b)) = (&list.repr, &shared.repr) else { panic!("long") };
    let copied = a.nodes.iter().zip(&b.nodes).filter(|(x, y)| !Arc::ptr_eq(&x.chunk, &y.chunk)).count();
    assert_eq!(copied, 1);
}

#[test]
fn positions_follow_rank_count_and_the_bound_on_comparisons() {
    let mut list = List::default();
    b"abcb12bb".iter().for_each(|c| list.push_back(&[*c], &sized(-2)));
    assert_eq!(list.positions(b"b", 1, 1, 0), [1]);
    assert_eq!(list.positions(b"b", 2, 0, 0), [3, 6, 7]);
    assert_eq!(list.positions(b"b", -1, 2, 0), [7, 6]);
    assert_eq!(list.positions(b"b", 1, 0, 4), [1, 3]);
    assert_eq!(list.positions(b"b", i64::MIN, 0, 0), [0usize; 0]);
}

#[test]
fn chunks_of_a_long_list_are_full() {
    let mut list = List::default();
    (0..100_000).for_each(|_| list.push_front(&[b'v'; 36], &sized(-2)));
    assert!(list.heap_bytes() < 100_000 * 40, "{}", list.heap_bytes());
}

#[test]
fn a_list_is_sent_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<List>();
}

#[test]
fn long_elements_take_little_more_than_their_bytes() {
    let mut list = List::new();
    (0..50).for_each(|_| list.push_back(&[b'e'; 10_000], &Limits::default()));
    list.push_front(&vec![b'f'; 3 << 20], &Limits::default());
    let bytes = 50 * 10_000 + (3 << 20);
    assert!(list.heap_bytes() < bytes + bytes / 5, "{} bytes for {bytes}", list.heap_bytes());
}
