//! The hash compared with a naive twin, in every form.

use super::*;
use std::collections::{HashMap, HashSet};

/// That of the default limits.
const SEED: u64 = 0;

fn key(n: u64) -> Vec<u8> {
    format!("field:{n}").into_bytes()
}

#[test]
fn it_agrees_with_a_naive_twin_in_both_forms() {
    let limits = Limits::default();
    let mut random = Random::new(3);
    for (range, longest) in [(5, 10), (60, 300), (120, 400), (3_000, 40)] {
        let (mut hash, mut twin) = (Hash::new(), HashMap::new());
        for step in 0..20_000u64 {
            let field = key(random.below(range));
            let value = vec![step as u8; random.below(longest) as usize];
            match random.below(if step / 5_000 % 2 == 0 { 3 } else { 8 }) {
                0 | 1 => {
                    assert_eq!(
                        hash.set(&field, &value, &limits),
                        twin.insert(field.clone(), value).is_none()
                    );
                }
                _ => assert_eq!(hash.remove(&field), twin.remove(&field).is_some()),
            }
            assert_eq!(hash.len(), twin.len());
            let probe = key(random.below(range));
            assert_eq!(hash.get(&probe), twin.get(&probe).map(Vec::as_slice));
            assert_eq!(hash.value_len(&probe), twin.get(&probe).map_or(0, Vec::len));
            if step % 1_000 == 0 {
                let all: HashMap<_, _> = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
                assert_eq!(all, twin);
                let some = hash.random_distinct(&mut random, 7);
                let fields: HashSet<&[u8]> = some.iter().map(|pair| pair.0).collect();
                assert_eq!(fields.len(), twin.len().min(7));
                assert!(some.iter().all(|(f, v)| twin[*f] == *v));
            }
        }
    }
}

#[test]
fn the_encoding_follows_the_limits_and_does_not_come_back() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    assert!((0..128).all(|n| hash.set(&key(n), b"v", &limits)));
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"one more", b"v", &limits);
    assert_eq!(hash.encoding(), "hashtable");
    let mut hash = Hash::new();
    hash.set(b"f", &[0; 64], &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"f", &[0; 65], &limits);
    hash.set(b"f", b"short", &limits);
    assert_eq!(hash.encoding(), "hashtable");
}

#[test]
fn a_hash_with_one_longer_value_stays_one_buffer() {
    let mut hash = Hash::new();
    hash.set(b"data", &[b'x'; 300], &Limits::default());
    assert!((0..9).all(|n| hash.set(&key(n), b"some value", &Limits::default())));
    assert!(matches!(hash.form, Form::Packed(..)));
    assert!(hash.heap_bytes() <= 640, "{}", hash.heap_bytes());
}

#[test]
fn a_shared_hash_keeps_what_it_had() {
    let limits = Limits::default();
    for count in [10, 2_000] {
        let mut hash = Hash::new();
        assert!((0..count).all(|n| hash.set(&key(n), b"old", &limits)));
        let kept = hash.share();
        assert!((0..count).all(|n| !hash.set(&key(n), b"new", &limits)));
        assert!(kept.iter().all(|(_, value)| value == b"old") && kept.len() == count as usize);
        let (mut seen, mut cursor) = (0, 0);
        loop {
            cursor = hash.scan(cursor, 10, SEED, &mut |_, value| seen += usize::from(value == b"new"));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, count as usize);
    }
}

/// The fields that scans in parts of `count` see, in order; between the parts the hash is changed by `disturb`.
fn scanned(
    hash: &mut Hash,
    count: usize,
    disturb: &mut dyn FnMut(&mut Hash, usize),
) -> (Vec<Vec<u8>>, usize) {
    let (mut seen, mut cursor, mut parts) = (Vec::new(), 0, 0);
    loop {
        cursor = hash.scan(cursor, count, SEED, &mut |field, _| seen.push(field.to_vec()));
        parts += 1;
        if cursor == 0 {
            return (seen, parts);
        }
        assert!(cursor < 1 << 53, "clients keep cursors as doubles");
        disturb(hash, parts);
    }
}

#[test]
fn what_calls_itself_a_hashtable_is_scanned_in_parts() {
    let limits = Limits::default();
    for timed in [false, true] {
        let mut hash = Hash::new();
        assert!((0..72).all(|n| hash.set(&key(n), &[b'v'; 65], &limits)));
        if timed {
            (0..30).for_each(|n| _ = hash.set_expiry(&key(n), Some(1000)));
        }
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 72));
        for count in [1, 7, 50, 71] {
            let (mut seen, parts) = scanned(&mut hash, count, &mut |_, _| {});
            assert_eq!(
                (parts, seen.len()),
                (72_usize.div_ceil(count), 72),
                "none twice while nothing changes"
            );
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 72);
        }
        assert_eq!(scanned(&mut hash, 72, &mut |_, _| {}).1, 1);
        hash.hide_due(1000);
        assert_eq!(scanned(&mut hash, 5, &mut |_, _| {}).0.len(), if timed { 42 } else { 72 });
    }
}

#[test]
fn a_scan_goes_on_when_the_form_changes() {
    let limits = Limits::default();
    for change_at in 1..7 {
        let mut hash = Hash::new();
        assert!((0..72).all(|n| hash.set(&key(n), &[b'v'; 65], &limits)));
        assert!(matches!(hash.form, Form::Packed(..)));
        let (seen, _) = scanned(&mut hash, 10, &mut |hash, part| {
            if part == change_at {
                (100..400).for_each(|n| _ = hash.set(&key(n), b"new", &limits));
                assert!(matches!(hash.form, Form::Table(..)));
            }
        });
        let missed: Vec<u64> = (0..72).filter(|n| !seen.contains(&key(*n))).collect();
        assert!(missed.is_empty(), "{missed:?} were there all the time");
    }
}

#[test]
fn what_calls_itself_a_listpack_is_scanned_whole() {
    let limits = Limits { hash_entries: 1000, ..Limits::default() };
    let mut hash = Hash::new();
    assert!((0..500).all(|n| hash.set(&key(n), &[b'v'; 30], &limits)));
    assert!(matches!(hash.form, Form::Table(..)));
    assert_eq!(
        (hash.encoding(), scanned(&mut hash, 10, &mut |_, _| {})),
        ("listpack", { (hash.iter().map(|(field, _)| field.to_vec()).collect(), 1) })
    );
}

/// A field of the twin: its value and when it expires.
type Twin = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// What the hash shows is what of the twin is not due at `hidden_ms`.
fn assert_shows(hash: &Hash, twin: &Twin, hidden_ms: i64) {
    let shown: Twin = (twin.iter())
        .filter(|(_, (_, at))| at.is_none_or(|at| at > hidden_ms))
        .map(|(field, rest)| (field.clone(), rest.clone()))
        .collect();
    let all: Twin = hash.iter().map(|(f, v)| (f.to_vec(), (v.to_vec(), hash.expiry(f).unwrap()))).collect();
    assert_eq!(all, shown);
    assert_eq!((hash.len(), hash.stored_len()), (shown.len(), twin.len()));
    let stored: Twin = hash.timed_fields().map(|(f, v, at)| (f.to_vec(), (v.to_vec(), at))).collect();
    assert_eq!(&stored, twin);
    assert_eq!(hash.next_expiry(), twin.values().filter_map(|(_, at)| *at).min());
}

/// One random change of both.
fn change(hash: &mut Hash, twin: &mut Twin, random: &mut Random, range: u64, (now, hidden): (i64, i64)) {
    let (field, limits) = (key(random.below(range)), Limits::default());
    let value = vec![b'v'; random.below(60) as usize];
    match random.below(7) {
        0 | 1 => {
            let before = twin.insert(field.clone(), (value.clone(), None));
            let new = before.is_none_or(|(_, at)| at.is_some_and(|at| at <= hidden));
            assert_eq!(hash.set(&field, &value, &limits), new);
        }
        2 => {
            let at = twin.get(&field).and_then(|(_, at)| *at);
            let new = twin.insert(field.clone(), (value.clone(), at)).is_none();
            assert_eq!(hash.set_keeping_expiry(&field, &value, &limits), new);
        }
        3 | 4 => {
            let at = (random.below(5) > 0).then(|| now + random.below(300) as i64);
            assert_eq!(hash.set_expiry(&field, at), twin.contains_key(&field));
            twin.entry(field).and_modify(|(_, old)| *old = at);
        }
        5 => assert_eq!(hash.remove(&field), twin.remove(&field).is_some()),
        _ => {
            let among = [field.as_slice(), b"none"];
            let due = twin.get(&field).is_some_and(|(_, at)| at.is_some_and(|at| at <= now));
            assert_eq!(hash.take_due_among(now, &among).len(), usize::from(due));
            if due {
                twin.remove(&field);
            }
        }
    }
}

#[test]
fn fields_that_expire_agree_with_a_naive_twin_under_a_virtual_clock() {
    let mut random = Random::new(11);
    for range in [1, 4, 40, 200, 1_500] {
        let (mut hash, mut twin, mut now, mut hidden) = (Hash::new(), Twin::new(), 1_000, 0);
        for step in 0..if cfg!(miri) { 100 } else { 6_000 } {
            change(&mut hash, &mut twin, &mut random, range, (now, hidden));
            now += random.below(4) as i64;
            if random.below(9) == 0 {
                hash.hide_due(now);
                hidden = now;
            }
            if random.below(12) == 0 {
                let count = random.below(5) as usize;
                let due = twin.values().filter(|(_, at)| at.is_some_and(|at| at <= now)).count();
                let taken = hash.take_due(now, count);
                assert_eq!(taken.len(), due.min(count));
                assert!(taken.iter().all(|f| twin.remove(f).is_some_and(|(_, at)| at.unwrap() <= now)));
            }
            if !matches!(hash.form, Form::Timed(..)) {
                hidden = 0;
            }
            if step % 50 == 0 || range < 50 {
                assert_shows(&hash, &twin, hidden);
            }
            let probe = key(random.below(range));
            let shown = twin.get(&probe).filter(|(_, at)| at.is_none_or(|at| at > hidden));
            assert_eq!(hash.get(&probe), shown.map(|(value, _)| value.as_slice()));
            assert_eq!(hash.random(&mut random).is_some(), !hash.is_empty());
        }
    }
}

#[test]
fn a_hash_whose_last_expiry_went_is_a_plain_one_but_for_its_encoding() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    assert!((0..3).all(|n| hash.set(&key(n), b"v", &limits)));
    assert!(hash.set_expiry(&key(1), Some(50)) && !hash.set_expiry(b"none", Some(50)));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpackex", Some(50)));
    assert!(!hash.set(&key(1), b"w", &limits));
    assert!(matches!(hash.form, Form::Packed(..)));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpackex", None));
    hash.set_expiry(&key(2), Some(i64::MAX));
    assert_eq!(hash.expiry(&key(2)), Some(Some(EXPIRY_MS_MAX)));
    (0..200).for_each(|n| _ = hash.set(&key(n), b"v", &limits));
    assert_eq!((hash.encoding(), hash.stored_len()), ("hashtable", 200));
}

#[test]
fn a_small_hash_shows_fields_by_time_and_those_that_stay_last() {
    let mut hash = Hash::new();
    for field in [b"a", b"b", b"c", b"d"] {
        hash.set(field, b"v", &Limits::default());
    }
    for (field, at) in [(b"c", 100), (b"b", 100), (b"d", 50)] {
        hash.set_expiry(field, Some(at));
    }
    let order = |hash: &Hash| hash.iter().map(|(field, _)| char::from(field[0])).collect::<String>();
    assert_eq!(order(&hash), "dbca");
    hash.set_expiry(b"b", None);
    assert_eq!(order(&hash), "dcab");
    hash.set(b"d", b"w", &Limits::default());
    assert_eq!(order(&hash), "cabd");
    hash.set_keeping_expiry(b"c", b"w", &Limits::default());
    assert_eq!(order(&hash), "cabd");
}

#[test]
fn a_shared_hash_keeps_the_fields_that_expire_later_on() {
    let limits = Limits::default();
    for count in [10, 2_000] {
        let mut hash = Hash::new();
        assert!((0..count).all(|n| hash.set(&key(n), b"v", &limits) && hash.set_expiry(&key(n), Some(90))));
        let kept = hash.share();
        hash.hide_due(95);
        assert!(
            hash.is_empty() && hash.iter().next().is_none() && hash.random(&mut Random::new(1)).is_none()
        );
        assert_eq!(hash.take_due(95, usize::MAX).len(), count as usize);
        assert_eq!((hash.stored_len(), kept.len()), (0, count as usize));
        assert!(kept.timed_fields().all(|(_, value, at)| value == b"v" && at == Some(90)));
    }
}

#[test]
fn a_raised_limit_keeps_long_values_in_the_order_of_insertion() {
    let limits = Limits { hash_value: 1_000_000, ..Limits::default() };
    let mut hash = Hash::new();
    for (n, len) in [(0, 5), (1, 65_535), (2, 9_000), (3, 1)] {
        hash.set(&key(n), &vec![b'v'; len], &limits);
    }
    assert!(hash.iter().map(|(field, _)| field.to_vec()).eq((0..4).map(key)));
    assert_eq!(hash.encoding(), "listpack");
    hash.set(&key(4), &[b'v'; 65_536], &limits);
    assert_eq!((hash.encoding(), hash.len(), hash.value_len(&key(1))), ("listpack", 5, 65_535));
    hash.set(&key(5), b"w", &Limits::default());
    assert!(matches!(hash.form, Form::Table(..)));
}

#[test]
fn a_field_that_expires_keeps_its_name_once() {
    let (mut random, limits, count) = (Random::new(3), Limits::default(), 20_000);
    let (mut plain, mut timed) = (Hash::new(), Hash::new());
    for n in 0..count {
        let field = format!("field:{n:09}");
        plain.set(field.as_bytes(), &[b'v'; 16], &limits);
        timed.set(field.as_bytes(), &[b'v'; 16], &limits);
        timed.set_expiry(field.as_bytes(), Some(1 << 40 | random.below(1 << 24) as i64));
    }
    let more = (timed.heap_bytes() - plain.heap_bytes()) / count;
    // The time, and in the index the time with a hash, in runs that are two thirds full or more.
    assert!(more <= 8 + 16 * 3 / 2, "{more} bytes for each");
    let small: usize = (0..10)
        .map(|n| {
            let (field, mut hash) = (key(n), Hash::new());
            hash.set(&field, b"v", &limits);
            let bare = hash.heap_bytes();
            hash.set_expiry(&field, Some(50));
            hash.heap_bytes() - bare - size_of::<timed::Timed>()
        })
        .sum();
    assert!(small <= 10 * 32, "{small} bytes for ten small ones");
}
