//! Expiry of single fields under a virtual clock: the keyspace against a naive model, its log, and its snapshots.

#![expect(clippy::unwrap_used, reason = "what cannot be read back has failed")]

use base::{Now, Random};
use persist::rdb::{self, Reader, Writer};
use std::collections::BTreeMap;
use tandem_keyspace::{Cause, Db, Keyspace, Piece, encode_dump, write_large};
use types::hash::Hash;

/// Values and expiry of the fields of a hash.
type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;
type Model = BTreeMap<Vec<u8>, Fields>;

const START_MS: i64 = 1_700_000_000_000;

fn name(prefix: &str, n: u64) -> Vec<u8> {
    format!("{prefix}{n}").into_bytes()
}

/// One random command on both.
fn change(space: &mut Keyspace, model: &mut Model, random: &mut Random, fields: u64) {
    let now = space.now.unix_ms;
    let (key, field) = (name("key", random.below(6)), name("field", random.below(fields)));
    let limits = space.limits.clone();
    let mut db = Db::new(space, 0);
    match random.below(10) {
        0..4 => {
            let at = (random.below(3) > 0).then(|| now + 1 + random.below(3_000) as i64);
            let mut hash = db.upsert::<Hash>(&key).unwrap();
            hash.set(&field, b"value", &limits);
            hash.set_expiry(&field, at);
            model.entry(key).or_default().insert(field, (b"value".to_vec(), at));
        }
        4 | 5 => {
            if let Some(mut hash) = db.find_mut::<Hash>(&key).unwrap() {
                hash.remove(&field);
            }
            model.get_mut(&key).map(|fields| fields.remove(&field));
        }
        6 => {
            // As every command does that gives a field by name a new life.
            db.find_fields(&key, &[&field]).unwrap();
            if let Some(mut hash) = db.find_mut::<Hash>(&key).unwrap() {
                hash.set_expiry(&field, None);
            }
            if let Some(field) = model.get_mut(&key).and_then(|fields| fields.get_mut(&field)) {
                field.1 = None;
            }
        }
        7 => {
            db.find_fields(&key, &[&field]).unwrap();
        }
        8 => {
            let to = name("key", random.below(6));
            if to != key
                && let Some(entry) = db.take(&key, Cause::Changed)
            {
                db.put(&to, entry.into_value(), None);
                let moved = model.remove(&key).unwrap_or_default();
                model.insert(to, moved);
            }
        }
        _ => {
            if random.below(8) == 0 {
                db.remove(&key);
                model.remove(&key);
            }
        }
    }
    model.retain(|_, fields| !fields.is_empty());
}

fn forget_due(model: &mut Model, now: i64) {
    for fields in model.values_mut() {
        fields.retain(|_, (_, at)| at.is_none_or(|at| at > now));
    }
    model.retain(|_, fields| !fields.is_empty());
}

/// All that the keyspace holds, fields that are over included.
fn held(space: &mut Keyspace) -> Model {
    let db = Db::new(space, 0);
    let fields = |hash: &Hash| hash.timed_fields().map(|(f, v, at)| (f.to_vec(), (v.to_vec(), at))).collect();
    db.iter().map(|entry| (entry.key().to_vec(), fields(entry.get::<Hash>().unwrap()))).collect()
}

#[test]
fn fields_show_until_their_time_and_are_gone_soon_after() {
    for (seed, fields) in [(1, 3), (2, 30), (3, 400)] {
        let mut random = Random::new(seed);
        let (mut space, mut model) = (Keyspace::new(1, seed), Model::new());
        for _ in 0..4_000 {
            let now = space.now.unix_ms.max(START_MS) + random.below(25) as i64;
            space.set_now(Now::at_ms(now));
            forget_due(&mut model, now);
            change(&mut space, &mut model, &mut random, fields);
            if random.below(3) == 0 {
                space.expire_due(5);
            }
            let key = name("key", random.below(6));
            let shown = Db::new(&mut space, 0).find::<Hash>(&key).unwrap().map_or(0, Hash::len);
            assert_eq!(shown, model.get(&key).map_or(0, Fields::len));
        }
        let timed = model.values().filter(|f| f.values().any(|(_, at)| at.is_some())).count();
        while space.expire_due(100) {}
        space.set_now(Now::at_ms(space.now.unix_ms + 40));
        while space.expire_due(100) {}
        forget_due(&mut model, space.now.unix_ms);
        assert_eq!(held(&mut space), model, "nobody has asked for them, yet they are gone");
        assert!(space.database(0).stats(0).field_expiring <= timed);
        space.set_now(Now::at_ms(space.now.unix_ms + 4_000));
        while space.expire_due(7) {}
        forget_due(&mut model, space.now.unix_ms);
        assert_eq!(held(&mut space), model);
        assert_eq!((space.database(0).stats(0).field_expiring, space.snapshot_version()), (0, 10));
    }
}

#[test]
fn a_budget_bounds_what_one_pass_takes_out_of_a_large_hash() {
    let mut space = Keyspace::new(1, 1);
    space.set_now(Now::at_ms(START_MS));
    space.effects.logging = true;
    let limits = space.limits.clone();
    {
        let mut db = Db::new(&mut space, 0);
        let mut hash = db.upsert::<Hash>(b"h").unwrap();
        for n in 0..1_000 {
            hash.set(&name("f", n), b"v", &limits);
            hash.set_expiry(&name("f", n), Some(START_MS + 10));
        }
    }
    assert_eq!((space.database(0).stats(0).field_expiring, space.snapshot_version()), (1, 12));
    space.set_now(Now::at_ms(START_MS + 100));
    for pass in 1..=4 {
        let more = space.expire_due(300);
        assert_eq!((space.stats.expired_fields <= pass * 300, more), (true, pass < 4));
        let lost: usize = space.effects.lost_fields().map(|(_, command)| command.len() - 2).sum();
        assert_eq!(lost as u64, space.stats.expired_fields);
    }
    assert_eq!((space.key_count(), space.stats.expired_fields), (0, 1_000));
    let last = space.effects.touches().last().unwrap().0.cause;
    assert_eq!(last, Cause::FieldsExpired { emptied: true });
}

#[test]
fn a_field_that_is_asked_for_leaves_alone_while_others_live() {
    let mut space = space_with(&[(b"f", Some(START_MS + 10)), (b"g", None)]);
    space.set_now(Now::at_ms(START_MS + 10));
    space.keep_expired = true;
    assert!(Db::new(&mut space, 0).find_fields(b"h", &[b"f"]).unwrap().unwrap().contains(b"f"));
    space.keep_expired = false;
    assert!(Db::new(&mut space, 0).find_fields(b"h", &[b"g"]).unwrap().unwrap().contains(b"g"));
    assert_eq!(space.stats.expired_fields, 0, "it was not asked for");
    assert_eq!(Db::new(&mut space, 0).find_fields(b"h", &[b"f"]).unwrap().unwrap().stored_len(), 1);
    assert_eq!(
        (space.effects.changes, lost(&space)),
        (0, vec![vec![b"HDEL".to_vec(), b"h".into(), b"f".into()]])
    );
}

#[test]
fn a_hash_of_which_all_fields_are_over_is_gone_for_whoever_looks() {
    type Look = fn(&mut Db<'_>) -> bool;
    let looks: [Look; 7] = [
        |db| db.contains(b"h"),
        |db| db.peek(b"h").is_some(),
        |db| db.entry(b"h").is_some(),
        |db| db.find::<Hash>(b"h").unwrap().is_some(),
        |db| db.find_mut::<Hash>(b"h").unwrap().is_some(),
        |db| db.random_key().is_some(),
        |db| db.remove(b"h"),
    ];
    for (which, look) in looks.into_iter().enumerate() {
        let mut space = space_with(&[(b"f", Some(START_MS + 10)), (b"g", Some(START_MS + 20))]);
        space.set_now(Now::at_ms(START_MS + 19));
        assert!(space.lives(0, b"h") && Db::new(&mut space, 0).contains(b"h"), "one field is left");
        space.set_now(Now::at_ms(START_MS + 20));
        assert!(!space.lives(0, b"h") && Db::new(&mut space, 0).iter().next().is_none());
        space.keep_expired = true;
        assert!(Db::new(&mut space, 0).contains(b"h"));
        (space.keep_expired, space.hold_expired) = (false, true);
        assert!(!Db::new(&mut space, 0).contains(b"h") && space.key_count() == 1);
        space.hold_expired = false;
        assert!(!look(&mut Db::new(&mut space, 0)), "look {which}");
        assert_eq!((space.key_count(), space.effects.changes), (0, 0), "look {which}");
        assert_eq!((space.stats.expired_fields, space.stats.expired), (2, 0));
        assert_eq!(lost(&space), [[b"DEL".to_vec(), b"h".to_vec()]]);
        assert_eq!(space.database(0).stats(0).field_expiring, 0);
    }
}

#[test]
fn a_scan_passes_over_a_hash_of_which_all_fields_are_over() {
    let mut space = space_with(&[(b"f", Some(START_MS + 10))]);
    space.set_now(Now::at_ms(START_MS + 10));
    let mut seen = 0;
    assert_eq!(Db::new(&mut space, 0).scan(0, &mut |_| seen += 1), 0);
    assert_eq!((seen, space.key_count()), (0, 0));
}

/// Lets time pass in steps of 50 ms, and what is due go.
fn pass_until(space: &mut Keyspace, until_ms: i64) {
    while space.now.unix_ms < until_ms {
        space.set_now(Now::at_ms(until_ms.min(space.now.unix_ms + 50)));
        while space.expire_due(100) {}
    }
}

#[test]
fn a_field_leaves_in_time_when_its_key_was_to_expire_before_it_and_is_not_any_more() {
    // Where the two lie in the wheel, together or apart, differs.
    for (key_s, field_s) in (2..120).flat_map(|s| [(s, s + 1), (s, s + 10)]) {
        let (key_ms, field_ms) = (START_MS + 1000 * key_s, START_MS + 1000 * field_s);
        for later_ms in [None, Some(field_ms + 500_000)] {
            let mut space = space_with(&[(b"f", Some(field_ms)), (b"g", None)]);
            assert!(Db::new(&mut space, 0).set_expiry(b"h", Some(key_ms)));
            pass_until(&mut space, key_ms - 10);
            assert!(Db::new(&mut space, 0).set_expiry(b"h", later_ms));
            pass_until(&mut space, field_ms + 100);
            assert_eq!(space.stats.expired_fields, 1, "{key_s} s, {field_s} s, then {later_ms:?}");
            pass_until(&mut space, field_ms + 1_000);
            assert_eq!((space.stats.expired_fields, space.stats.expired), (1, 0));
        }
    }
}

#[test]
fn a_field_leaves_in_time_when_the_wheel_was_made_anew_while_its_key_was_to_expire_before_it() {
    let (key_ms, field_ms) = (START_MS + 90_000, START_MS + 100_000);
    let mut space = space_with(&[(b"f", Some(field_ms)), (b"g", None)]);
    assert!(Db::new(&mut space, 0).set_expiry(b"h", Some(key_ms)));
    // A clock that goes back has the wheel made anew.
    pass_until(&mut space, START_MS + 10_000);
    space.set_now(Now::at_ms(START_MS));
    (0..100).for_each(|_| space.trim_wheels());
    pass_until(&mut space, key_ms - 10);
    assert!(Db::new(&mut space, 0).set_expiry(b"h", None));
    pass_until(&mut space, field_ms + 100);
    assert_eq!((space.stats.expired_fields, space.stats.expired), (1, 0));
}

/// A keyspace with a hash `h` at [`START_MS`], and a log.
fn space_with(fields: &[(&[u8], Option<i64>)]) -> Keyspace {
    let mut space = Keyspace::new(1, 1);
    space.set_now(Now::at_ms(START_MS));
    let limits = space.limits.clone();
    {
        let mut db = Db::new(&mut space, 0);
        let mut hash = db.upsert::<Hash>(b"h").unwrap();
        for (field, at) in fields {
            hash.set(field, b"v", &limits);
            hash.set_expiry(field, *at);
        }
    }
    space.effects.clear();
    space.effects.logging = true;
    space
}

/// What the log gets for fields that are over.
fn lost(space: &Keyspace) -> Vec<Vec<Vec<u8>>> {
    space
        .effects
        .lost_fields()
        .map(|(_, command)| command.into_iter().map(<[u8]>::to_vec).collect())
        .collect()
}

/// Reads the pieces back into a fresh keyspace, as DUMP shows the values.
fn loaded(pieces: Vec<Piece>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut writer = Writer::new(false, true);
    writer.header(rdb::VERSION_FIELD_EXPIRY);
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => writer.raw(&bytes),
            Piece::Large { db, entry, used } => write_large(&mut writer, db, &entry, used, &mut |_| {}),
        }
    }
    writer.end();
    let bytes = writer.take();
    let mut space = Keyspace::new(1, 99);
    let mut reader = Reader::new(bytes.as_slice(), Some(bytes.len() as u64), true).unwrap();
    while let Some(item) = reader.next().unwrap() {
        if let rdb::Item::Entry(record) = item {
            let entry = tandem_keyspace::entry_from_rdb(&space, record).unwrap();
            assert!(space.load(0, entry).is_ok(), "a key stands in the snapshot twice");
        }
    }
    contents(&mut space)
}

/// Every hash as sorted text.
fn contents(space: &mut Keyspace) -> BTreeMap<Vec<u8>, Vec<u8>> {
    held(space).into_iter().map(|(key, fields)| (key, format!("{fields:?}").into_bytes())).collect()
}

#[test]
fn a_snapshot_holds_fields_that_expire_while_it_is_written() {
    for (seed, fields) in [(1, 4), (2, 60), (3, 1_000)] {
        let mut random = Random::new(seed);
        let (mut space, mut model) = (Keyspace::new(1, seed), Model::new());
        space.set_now(Now::at_ms(START_MS));
        (0..6_000).for_each(|_| change(&mut space, &mut model, &mut random, fields));
        let before = contents(&mut space);
        assert!(space.begin_snapshot(false));
        let mut pieces = Vec::new();
        while !space.step_snapshot(1) {
            space.set_now(Now::at_ms(space.now.unix_ms + random.below(900) as i64));
            space.expire_due(20);
            (0..5).for_each(|_| change(&mut space, &mut model, &mut random, fields));
            pieces.append(&mut space.take_snapshot_pieces());
        }
        pieces.append(&mut space.take_snapshot_pieces());
        space.end_snapshot();
        assert_eq!(loaded(pieces), before, "seed {seed}");
    }
}

#[test]
fn a_dump_keeps_the_expiry_of_fields_in_both_forms() {
    for count in [3, 700] {
        let mut space = Keyspace::new(1, 1);
        space.set_now(Now::at_ms(START_MS));
        let mut hash: Hash = types::Collection::new();
        for n in 0..count {
            hash.set(&name("f", n), b"v", &space.limits);
            hash.set_expiry(&name("f", n), (n % 3 > 0).then_some(START_MS + n as i64));
        }
        let entry = types::Entry::new(b"k", hash.into(), None);
        let payload = encode_dump(&entry);
        let kind = if count == 3 { rdb::kind::HASH_LISTPACK_EX } else { rdb::kind::HASH_METADATA };
        assert_eq!(payload[0], kind);
        let back = tandem_keyspace::decode_dump(&space, b"k", &payload).unwrap();
        let sorted = |entry: &types::Entry| {
            let hash = entry.get::<Hash>().unwrap();
            hash.timed_fields().map(|(f, v, at)| (f.to_vec(), (v.to_vec(), at))).collect::<Fields>()
        };
        assert_eq!(sorted(&back), sorted(&entry));
    }
}
