//! Keys come and go: guards, expiry and eviction, under a clock that only the test moves.

use base::Now;
use tandem_keyspace::{Cause, Db, EvictionOrder, EvictionPolicy, Keyspace, Ranking, Ttl};
use types::list::List;

const START_MS: i64 = 1_700_000_000_000;

fn space() -> Keyspace {
    let mut space = Keyspace::new(2, 3);
    space.set_now(Now::at_ms(START_MS));
    space.effects.observed = true;
    space
}

fn touched(space: &mut Keyspace) -> Vec<(Cause, Vec<u8>)> {
    let all = space.effects.touches().map(|(t, k)| (t.cause, k.to_vec())).collect();
    space.effects.clear();
    all
}

#[test]
fn a_guard_removes_what_was_emptied_and_books_what_was_changed() {
    let mut space = space();
    let mut db = Db::new(&mut space, 0);
    drop(db.upsert::<List>(b"never filled").unwrap());
    assert!(!db.contains(b"never filled"));
    {
        let mut list = db.upsert::<List>(b"l").unwrap();
        let (list, limits, _) = list.parts();
        list.push_back(b"x", limits);
    }
    {
        let list = db.find_mut::<List>(b"l").unwrap().unwrap();
        assert_eq!(list.len(), 1);
    }
    db.find_mut::<List>(b"l").unwrap().unwrap().pop_front();
    assert!(!db.contains(b"l"));
    assert_eq!(touched(&mut space), [(Cause::Changed, b"l".to_vec()), (Cause::Emptied, b"l".to_vec())]);
}

#[test]
fn expiry_follows_every_change_of_mind() {
    let mut space = space();
    let set = |space: &mut Keyspace, ms: i64| Db::new(space, 0).put_text(b"k", b"v", Ttl::At(START_MS + ms));
    let left = |space: &mut Keyspace, ms: i64| {
        space.set_now(Now::at_ms(START_MS + ms));
        while space.expire_due(64) {}
        space.key_count()
    };
    set(&mut space, 1000);
    set(&mut space, 50_000);
    set(&mut space, 20_000);
    assert_eq!(left(&mut space, 2_000), 1);
    assert_eq!(left(&mut space, 19_000), 1);
    assert_eq!(left(&mut space, 20_100), 0);
    assert_eq!(space.stats.expired, 1);
    set(&mut space, 30_000);
    Db::new(&mut space, 0).set_expiry(b"k", None);
    assert_eq!(left(&mut space, 60_000), 1);
    assert_eq!(space.database(0).stats(0).expiring, 0);
}

#[test]
fn the_mean_time_to_live_is_that_of_the_keys_that_have_one() {
    let mut space = space();
    for (key, ms) in [(&b"a"[..], 10_000), (b"b", 30_000), (b"c", 500_000)] {
        Db::new(&mut space, 0).put_text(key, b"1", Ttl::At(START_MS + ms));
    }
    Db::new(&mut space, 0).put_text(b"forever", b"1", Ttl::Clear);
    assert_eq!(space.database(0).stats(START_MS).avg_ttl_ms, 180_000);
    Db::new(&mut space, 0).remove(b"c");
    Db::new(&mut space, 0).set_expiry(b"b", Some(START_MS + 20_000));
    assert_eq!(space.database(0).stats(START_MS + 1_000).avg_ttl_ms, 14_000);
    Db::new(&mut space, 0).set_expiry(b"a", None);
    assert_eq!(space.database(0).stats(START_MS).avg_ttl_ms, 20_000);
    space.swap(0, 1);
    assert_eq!(space.database(0).stats(START_MS).avg_ttl_ms, 0);
    assert_eq!(space.database(1).stats(START_MS).avg_ttl_ms, 20_000);
}

#[test]
fn keys_set_and_deleted_again_and_again_do_not_fill_the_index() {
    let mut space = space();
    for round in 0..300_000i64 {
        let mut db = Db::new(&mut space, 0);
        db.put_text(format!("lock{}", round % 10).as_bytes(), b"1", Ttl::At(START_MS + 86_400_000 + round));
        db.remove(format!("lock{}", round % 10).as_bytes());
        space.effects.clear();
        if round % 1000 == 0 {
            space.trim_wheels();
        }
    }
    space.set_now(Now::at_ms(START_MS + 200_000_000));
    let mut passes = 0;
    while space.expire_due(1000) {
        passes += 1;
    }
    assert!(passes < 150, "{passes} thousand stale items were kept");
}

#[test]
fn keys_leave_on_time_when_the_clock_has_gone_back() {
    const YEARS_MS: i64 = 20 * 365 * 86_400_000;
    let mut space = space();
    Db::new(&mut space, 0).put_text(b"far", b"1", Ttl::At(START_MS + 2 * YEARS_MS));
    space.set_now(Now::at_ms(START_MS + YEARS_MS));
    assert!(!space.expire_due(1000));
    for at_ms in [START_MS, START_MS - YEARS_MS] {
        space.set_now(Now::at_ms(at_ms));
        Db::new(&mut space, 0).put_text(b"near", b"1", Ttl::At(at_ms + 1_000));
        for ms in [10, 20, 1_100] {
            space.set_now(Now::at_ms(at_ms + ms));
            space.trim_wheels();
            while space.expire_due(1000) {}
        }
        assert_eq!(space.database(0).stats(0).keys, 1, "far is left");
    }
}

#[test]
fn keys_leave_on_time_while_the_index_is_being_replaced() {
    let mut space = space();
    let name = |n: i64| format!("key{n}").into_bytes();
    for n in 0..500_000 {
        let mut db = Db::new(&mut space, 0);
        db.put_text(&name(n), b"1", Ttl::At(START_MS + 86_400_000));
        // What stays expires within a minute, in turn.
        if n % 25 == 0 {
            db.set_expiry(&name(n), Some(START_MS + 1 + n % 60_000))
        } else {
            db.remove(&name(n))
        };
        space.effects.clear();
    }
    assert_eq!(space.database(0).stats(0).expiring, 20_000);
    for ms in (0..60_100).step_by(100) {
        space.set_now(Now::at_ms(START_MS + ms));
        space.trim_wheels();
        while space.expire_due(1000) {}
        let late = Db::new(&mut space, 0)
            .iter()
            .filter(|e| e.expiry().is_some_and(|at| at < START_MS + ms - 50))
            .count();
        assert_eq!(late, 0, "after {ms} ms");
        // One key in a step is set anew, so that the walk meets keys that were filed meanwhile.
        Db::new(&mut space, 0).put_text(b"again", b"1", Ttl::At(START_MS + ms + 60));
    }
    space.set_now(Now::at_ms(START_MS + 61_000));
    while space.expire_due(1000) {}
    assert_eq!((space.key_count(), space.stats.expired), (0, 20_000 + 601));
    let mut passes = 0;
    space.set_now(Now::at_ms(START_MS + 200_000_000));
    while space.expire_due(1000) {
        passes += 1;
    }
    assert!(passes < 150, "{passes} thousand stale items were kept");
}

#[test]
fn the_idle_go_first_and_only_those_that_may() {
    let mut space = space();
    for i in 0..200 {
        let ttl = if i % 2 == 0 { Ttl::At(START_MS + 10_000_000) } else { Ttl::Clear };
        Db::new(&mut space, 0).put_text(format!("k{i}").as_bytes(), b"v", ttl);
    }
    space.set_now(Now::at_ms(START_MS + 3_600_000));
    for i in 0..100 {
        Db::new(&mut space, 0).entry(format!("k{i}").as_bytes());
    }
    let idle = EvictionPolicy { volatile_only: false, order: EvictionOrder::Idle };
    let used_lost = |space: &mut Keyspace, used: std::ops::Range<i32>| {
        used.filter(|i| !Db::new(space, 0).contains(format!("k{i}").as_bytes())).count()
    };
    (0..60).for_each(|_| assert!(space.evict_one(idle, 10)));
    assert!(used_lost(&mut space, 0..100) <= 3, "keys in use went while idle ones were there");
    let volatile = EvictionPolicy { volatile_only: true, order: EvictionOrder::SoonestExpiry };
    while space.evict_one(volatile, 10) {}
    let kept = (0..200)
        .filter(|i| i % 2 == 1)
        .filter(|i| Db::new(&mut space, 0).contains(format!("k{i}").as_bytes()))
        .count();
    assert_eq!(kept, space.key_count());
}

#[test]
fn frequent_keys_outlive_rare_ones() {
    let mut space = space();
    space.set_ranking(Ranking::Frequency { log_factor: 1, decay_minutes: 1 });
    space.set_now(Now::at_ms(START_MS));
    for i in 0..100 {
        Db::new(&mut space, 0).put_text(format!("k{i}").as_bytes(), b"v", Ttl::Clear);
    }
    for _ in 0..200 {
        assert!((0..50).all(|i| Db::new(&mut space, 0).entry(format!("k{i}").as_bytes()).is_some()));
    }
    let policy = EvictionPolicy { volatile_only: false, order: EvictionOrder::Infrequent };
    (0..40).for_each(|_| assert!(space.evict_one(policy, 10)));
    let lost = (0..50).filter(|i| !Db::new(&mut space, 0).contains(format!("k{i}").as_bytes())).count();
    assert!(lost <= 2, "{lost} frequent keys went");
}

#[test]
fn a_candidate_that_has_lost_its_expiry_stays() {
    let mut space = space();
    for i in 0..12 {
        let at = START_MS + 10_000_000 + i;
        Db::new(&mut space, 0).put_text(format!("k{i}").as_bytes(), b"v", Ttl::At(at));
    }
    let policy = EvictionPolicy { volatile_only: true, order: EvictionOrder::SoonestExpiry };
    assert!(space.evict_one(policy, 100), "the others are candidates now");
    for i in 0..12 {
        Db::new(&mut space, 0).set_expiry(format!("k{i}").as_bytes(), None);
    }
    assert!(!space.evict_one(policy, 100));
    assert_eq!(space.key_count(), 11);
}

#[test]
fn the_few_keys_that_may_go_are_found_among_many_that_may_not() {
    for order in [EvictionOrder::Idle, EvictionOrder::Random, EvictionOrder::SoonestExpiry] {
        let mut space = space();
        for i in 0..20_000 {
            Db::new(&mut space, 0).put_text(format!("n{i}").as_bytes(), b"v", Ttl::Clear);
        }
        for i in 0..30_000 {
            // Most of what is filed is stale: the keys have gone, or have no expiry any more.
            let (key, at) = (format!("gone{i}"), START_MS + 10_000_000 + i);
            Db::new(&mut space, 0).put_text(key.as_bytes(), b"v", Ttl::At(at));
            Db::new(&mut space, 0).remove(key.as_bytes());
        }
        for i in 0..50 {
            let at = START_MS + 20_000_000 + i;
            Db::new(&mut space, 0).put_text(format!("v{i}").as_bytes(), b"v", Ttl::At(at));
        }
        let policy = EvictionPolicy { volatile_only: true, order };
        let evicted = (0..100).filter(|_| space.evict_one(policy, 5)).count();
        assert_eq!((evicted, space.key_count()), (50, 20_000), "{order:?}");
    }
}

#[test]
fn a_change_of_policy_leaves_what_was_recorded_its_meaning() {
    let counting = Ranking::Frequency { log_factor: 0, decay_minutes: 1 };
    let mut space = space();
    let at = |space: &mut Keyspace, second: i64| space.set_now(Now::at_ms(START_MS + second * 1000));
    let access = |space: &mut Keyspace, key: &[u8]| Db::new(space, 0).peek(key).unwrap().access();
    at(&mut space, 0);
    Db::new(&mut space, 0).put_text(b"old", b"v", Ttl::Clear);
    at(&mut space, 1000);
    Db::new(&mut space, 0).put_text(b"young", b"v", Ttl::Clear);
    space.set_ranking(counting);
    let (now, old, young) = (space.now.unix_ms, access(&mut space, b"old"), access(&mut space, b"young"));
    assert_eq!(
        (counting.frequency(young, now), counting.frequency(old, now)),
        (5, 0),
        "as new keys of their age"
    );
    assert_eq!(counting.idle_seconds(old, now), 1000);
    // A key that is made before the clock moves on.
    Db::new(&mut space, 0).put_text(b"new", b"v", Ttl::Clear);
    assert_eq!(counting.frequency(access(&mut space, b"new"), now), 5);
    (0..7).for_each(|_| _ = Db::new(&mut space, 0).entry(b"young"));
    assert_eq!(counting.frequency(access(&mut space, b"young"), now), 12);
    space.set_ranking(Ranking::Recency);
    at(&mut space, 1300);
    let idle = |space: &mut Keyspace, key: &[u8]| {
        let access = access(space, key);
        space.ranking().idle_seconds(access, space.now.unix_ms)
    };
    assert_eq!((idle(&mut space, b"old"), idle(&mut space, b"new") / 60), (1300, 5), "to the minute");
    Db::new(&mut space, 0).entry(b"young");
    assert_eq!(idle(&mut space, b"young"), 0);
    // Who was used first goes first, whichever way that was recorded.
    let policy = EvictionPolicy { volatile_only: false, order: EvictionOrder::Idle };
    for key in [&b"old"[..], b"new", b"young"] {
        assert!(space.evict_one(policy, 100) && !Db::new(&mut space, 0).contains(key));
    }
}

#[test]
fn a_counter_of_uses_outlives_a_new_value() {
    let counting = Ranking::Frequency { log_factor: 0, decay_minutes: 1 };
    let mut space = space();
    space.set_ranking(counting);
    let count = |space: &mut Keyspace| {
        let access = Db::new(space, 0).peek(b"k").unwrap().access();
        counting.frequency(access, space.now.unix_ms)
    };
    Db::new(&mut space, 0).put_text(b"k", b"v", Ttl::Clear);
    (0..50).for_each(|_| _ = Db::new(&mut space, 0).entry(b"k"));
    Db::new(&mut space, 0).put_text(b"k", b"v", Ttl::At(START_MS + 1_000_000_000));
    assert_eq!(count(&mut space), 56);
    Db::new(&mut space, 0).put(b"k", types::Value::Int(7), None);
    assert_eq!(count(&mut space), 57);
    assert!(Db::new(&mut space, 0).remove(b"k"));
    Db::new(&mut space, 0).put_text(b"k", b"v", Ttl::Clear);
    assert_eq!(count(&mut space), 5);
}

#[test]
fn a_random_key_is_found_among_many_that_are_over() {
    let mut space = Keyspace::new(1, 7);
    space.set_now(Now::at_ms(1_000_000));
    let mut db = Db::new(&mut space, 0);
    db.put(b"live", types::Value::Int(1), None);
    for n in 0..3000 {
        db.put(format!("over{n}").as_bytes(), types::Value::Int(n), Some(1_000_001));
    }
    space.set_now(Now::at_ms(1_000_002));
    let mut db = Db::new(&mut space, 0);
    for _ in 0..5 {
        assert_eq!(db.random_key().as_deref(), Some(&b"live"[..]));
    }
    db.remove(b"live");
    assert_eq!(db.random_key(), None);
}

#[test]
fn a_flushed_database_is_freed_in_steps() {
    const KEYS: u32 = 10_000;
    let mut space = space();
    for n in 0..KEYS {
        Db::new(&mut space, 0).put_text(&n.to_be_bytes(), &[7; 100], Ttl::Clear);
    }
    space.flush(0);
    let mut trash = space.take_trash().unwrap();
    assert_eq!(trash.objects, KEYS as usize);
    assert!(trash.bytes >= 100 * KEYS as usize);
    let steps = std::iter::from_fn(|| trash.contents.free_some().then_some(())).count();
    assert!(steps > 10, "{steps} steps");
    let mut whole = space.into_trash(Box::new([0u8; 10]));
    assert!(whole.contents.free_some() && !whole.contents.free_some());
}
