//! The snapshot view: whatever commands do meanwhile, the file holds the moment at which it began.

#![expect(clippy::unwrap_used, reason = "what cannot be read back has failed")]

use base::{Now, Random};
use persist::rdb::{self, Reader, Writer};
use std::collections::BTreeMap;
use tandem_keyspace::{Db, Keyspace, Piece, Ranking, Ttl, encode_dump, write_large};
use types::list::List;

type State = BTreeMap<(usize, Vec<u8>), (Option<i64>, Vec<u8>)>;

/// What every key holds: expiry and value as DUMP gives it.
fn state(space: &mut Keyspace) -> State {
    let mut all = State::new();
    for index in 0..space.database_count() {
        let db = Db::new(space, index);
        for entry in db.iter() {
            all.insert((index, entry.key().to_vec()), (entry.expiry(), encode_dump(entry)));
        }
    }
    all
}

/// Reads the pieces back into a fresh keyspace.
fn loaded(pieces: Vec<Piece>, now: Now) -> State {
    let mut writer = Writer::new(false, true);
    writer.header(rdb::VERSION);
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => writer.raw(&bytes),
            Piece::Large { db, entry, used } => write_large(&mut writer, db, &entry, used, &mut |_| {}),
        }
    }
    writer.end();
    let bytes = writer.take();
    let mut space = Keyspace::new(4, 99);
    space.set_now(now);
    let mut reader = Reader::new(bytes.as_slice(), Some(bytes.len() as u64), true).unwrap();
    while let Some(item) = reader.next().unwrap() {
        if let rdb::Item::Entry(record) = item {
            let db = record.db as usize;
            let entry = tandem_keyspace::entry_from_rdb(&space, record).unwrap();
            assert!(space.load(db, entry).is_ok(), "a key stands in the snapshot twice");
        }
    }
    state(&mut space)
}

fn key(random: &mut Random) -> Vec<u8> {
    format!("key:{}", random.below(600)).into_bytes()
}

/// One random command.
fn disturb(space: &mut Keyspace, random: &mut Random) {
    let index = random.below(3) as usize;
    let (name, value) = (key(random), format!("v{}", random.next_u64()));
    let now_ms = space.now.unix_ms;
    let mut db = Db::new(space, index);
    match random.below(8) {
        // Some of them long, which is then changed in place by others.
        0 if random.below(10) == 0 => db.put_text(&name, value.repeat(1000).as_bytes(), Ttl::Clear),
        0 | 1 => db.put_text(&name, value.as_bytes(), Ttl::Clear),
        2 => db.put_text(&name, value.as_bytes(), Ttl::At(now_ms + 1_000_000)),
        3 => {
            db.remove(&name);
        }
        4 => {
            db.set_expiry(&name, Some(now_ms + 2_000_000));
        }
        5 => {
            db.remove(&name);
            if let Ok(mut list) = db.upsert::<List>(&name) {
                let (list, limits, _) = list.parts();
                (0..400).for_each(|i| list.push_back(format!("{value}{i}").as_bytes(), limits));
            }
        }
        6 => {
            if let Ok(Some(mut list)) = db.find_mut::<List>(&name) {
                let (list, limits, _) = list.parts();
                list.push_front(b"front", limits);
                list.pop_back();
            }
        }
        _ => {
            if let Ok(mut text) = db.edit_text(&name) {
                text.bytes().extend_from_slice(b"+");
            }
        }
    }
}

#[test]
fn a_snapshot_holds_the_moment_at_which_it_began() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let now = Now::at_ms(1_700_000_000_000);
        let mut space = Keyspace::new(4, seed);
        space.set_now(now);
        (0..3000).for_each(|_| disturb(&mut space, &mut random));
        let before = state(&mut space);
        assert!(space.begin_snapshot(false) && !space.begin_snapshot(false));
        let mut pieces = Vec::new();
        while !space.step_snapshot(1 + random.below(40) as usize) {
            (0..random.below(30)).for_each(|_| disturb(&mut space, &mut random));
            match random.below(60) {
                0 => space.swap(0, 2),
                1 => {
                    space.flush(1);
                }
                _ => {}
            }
            pieces.append(&mut space.take_snapshot_pieces());
        }
        pieces.append(&mut space.take_snapshot_pieces());
        space.end_snapshot();
        assert_eq!(loaded(pieces, now), before, "seed {seed}");
    }
}

/// Values of each type that have few elements, but `bytes` in one of them.
fn put_large_of_few_elements(space: &mut Keyspace, bytes: usize) {
    let (element, limits) = (vec![b'e'; bytes], types::Limits::default());
    let mut db = Db::new(space, 0);
    db.put_text(b"string", &element, Ttl::Clear);
    db.put_text(&element, b"of a long key", Ttl::Clear);
    db.upsert::<List>(b"list").unwrap().push_back(&element, &limits);
    db.upsert::<types::set::Set>(b"set").unwrap().add(&element, &limits);
    db.upsert::<types::hash::Hash>(b"hash").unwrap().set(b"f", &element, &limits);
    db.upsert::<types::zset::ZSet>(b"zset").unwrap().insert(&element, 1.0, &limits);
    let id = types::stream::NewId::Exact(types::stream::Id::new(1, 0));
    let mut stream = db.upsert::<types::stream::Stream>(b"stream").unwrap();
    stream.append(id, [(&b"f"[..], &element[..])].into_iter(), 0, &limits).unwrap();
}

#[test]
fn neither_a_slice_nor_a_write_goes_through_what_is_large() {
    const LARGE_BYTES: usize = 1 << 20;
    let mut space = Keyspace::new(4, 3);
    put_large_of_few_elements(&mut space, LARGE_BYTES);
    let before = state(&mut space);
    assert!(space.begin_snapshot(true));
    // Some of it is about to change, the rest is for the walk.
    Db::new(&mut space, 0).edit_text(b"string").unwrap().bytes().push(b'+');
    Db::new(&mut space, 0).remove(b"hash");
    while !space.step_snapshot(1000) {}
    let pieces = space.take_snapshot_pieces();
    space.end_snapshot();
    let written: usize =
        pieces.iter().map(|p| if let Piece::Bytes(bytes) = p { bytes.len() } else { 0 }).sum();
    assert!(written < 1000, "{written} bytes were written on the spot");
    assert_eq!(loaded(pieces, space.now), before);
    assert!(state(&mut space) != before);
}

#[test]
fn a_slice_ends_by_bytes_as_well() {
    const VALUE_BYTES: usize = 10_000;
    let mut space = Keyspace::new(1, 3);
    let value = vec![b'v'; VALUE_BYTES];
    (0..2000).for_each(|n| Db::new(&mut space, 0).put_text(format!("k{n}").as_bytes(), &value, Ttl::Clear));
    assert!(space.begin_snapshot(false));
    let mut slices = 0;
    loop {
        let before = space.snapshot_progress().unwrap().keys_written;
        let is_through = space.step_snapshot(4096);
        let keys = space.snapshot_progress().unwrap().keys_written - before;
        // So many entries of 64 bytes, and the rest of a chain.
        assert!(keys as usize * VALUE_BYTES < 4096 * 64 + 20 * VALUE_BYTES, "{keys} keys in a slice");
        slices += 1;
        if is_through {
            break;
        }
    }
    assert!(slices > 20);
}

#[test]
fn what_waits_counts_with_what_it_may_come_to_hold() {
    let mut space = Keyspace::new(1, 1);
    put_large_of_few_elements(&mut space, 1 << 20);
    assert!(space.begin_snapshot(false));
    Db::new(&mut space, 0).put_text(b"string", b"another", Ttl::Clear);
    let of_string = space.snapshot_waiting_bytes();
    assert!(((1 << 20)..(1 << 20) + 1000).contains(&of_string), "{of_string} bytes of a string");
    Db::new(&mut space, 0).remove(b"hash");
    let of_hash = space.snapshot_waiting_bytes() - of_string;
    assert!((1..100 << 10).contains(&of_hash), "{of_hash} bytes of a hash");
    space.take_snapshot_pieces();
    assert_eq!(space.snapshot_waiting_bytes(), 0);
}

#[test]
fn a_cancelled_snapshot_does_not_spoil_the_next() {
    let mut random = Random::new(5);
    let mut space = Keyspace::new(4, 5);
    space.set_now(Now::at_ms(1_700_000_000_000));
    (0..3000).for_each(|_| disturb(&mut space, &mut random));
    assert!(space.begin_snapshot(false));
    space.step_snapshot(100);
    space.cancel_snapshot();
    while !space.step_snapshot(50) {
        disturb(&mut space, &mut random);
    }
    assert!(space.take_snapshot_pieces().is_empty());
    space.end_snapshot();
    let before = state(&mut space);
    assert!(space.begin_snapshot(true));
    while !space.step_snapshot(1000) {}
    let pieces = space.take_snapshot_pieces();
    assert_eq!(loaded(pieces, space.now), before);
}

#[test]
fn a_large_value_leaves_in_parts() {
    const ELEMENTS: usize = 5000;
    const PART_BYTES_MAX: usize = 16 << 10;
    let mut space = Keyspace::new(1, 7);
    let limits = types::Limits::default();
    for i in 0..ELEMENTS {
        let (name, text) = (i.to_string(), format!("{i}").repeat(50));
        let mut db = Db::new(&mut space, 0);
        db.upsert::<List>(b"list").unwrap().push_back(text.as_bytes(), &limits);
        db.upsert::<types::set::Set>(b"set").unwrap().add(text.as_bytes(), &limits);
        db.upsert::<types::hash::Hash>(b"hash").unwrap().set(name.as_bytes(), text.as_bytes(), &limits);
        db.upsert::<types::zset::ZSet>(b"zset").unwrap().insert(text.as_bytes(), i as f64, &limits);
        let fields = [(&b"f"[..], text.as_bytes())];
        let id = types::stream::NewId::Exact(types::stream::Id::new(i as u64 + 1, 0));
        let mut stream = db.upsert::<types::stream::Stream>(b"stream").unwrap();
        stream.append(id, fields.into_iter(), 0, &limits).unwrap();
    }
    for entry in Db::new(&mut space, 0).iter() {
        let mut whole = Writer::new(false, false);
        write_large(&mut whole, 0, entry, None, &mut |_| {});
        let (mut writer, mut parts, mut largest) = (Writer::new(false, false), Vec::new(), 0);
        write_large(&mut writer, 0, entry, None, &mut |writer| {
            largest = largest.max(writer.pending());
            parts.extend(writer.take());
        });
        assert!(largest > 0 && largest < PART_BYTES_MAX, "{largest} bytes at once");
        assert!(writer.pending() < PART_BYTES_MAX, "{} bytes at the end", writer.pending());
        parts.extend(writer.take());
        assert!(parts == whole.take(), "the parts are not the whole");
    }
}

/// What is recorded of the uses of `k` and the large list `l` when a snapshot of `space` has been loaded under `ranking`.
fn used_after_loading(space: &mut Keyspace, ranking: Ranking) -> [u32; 2] {
    assert!(space.begin_snapshot(false));
    while !space.step_snapshot(1000) {}
    let mut writer = Writer::new(false, true);
    writer.header(rdb::VERSION);
    for piece in space.take_snapshot_pieces() {
        match piece {
            Piece::Bytes(bytes) => writer.raw(&bytes),
            Piece::Large { db, entry, used } => write_large(&mut writer, db, &entry, used, &mut |_| {}),
        }
    }
    space.end_snapshot();
    writer.end();
    let bytes = writer.take();
    let mut fresh = Keyspace::new(1, 99);
    fresh.set_ranking(ranking);
    fresh.set_now(space.now);
    let mut reader = Reader::new(bytes.as_slice(), Some(bytes.len() as u64), true).unwrap();
    while let Some(item) = reader.next().unwrap() {
        if let rdb::Item::Entry(record) = item {
            let entry = tandem_keyspace::entry_from_rdb(&fresh, record).unwrap();
            assert!(fresh.load(0, entry).is_ok());
        }
    }
    [&b"k"[..], b"l"].map(|key| {
        let access = Db::new(&mut fresh, 0).peek(key).unwrap().access();
        match ranking {
            Ranking::Recency => ranking.idle_seconds(access, fresh.now.unix_ms),
            Ranking::Frequency { .. } => ranking.frequency(access, fresh.now.unix_ms),
        }
    })
}

#[test]
fn what_is_known_of_uses_comes_back_where_the_policy_goes_by_it() {
    const START_MS: i64 = 1_700_000_000_000;
    let counting = Ranking::Frequency { log_factor: 0, decay_minutes: 0 };
    let filled = |ranking| {
        let mut space = Keyspace::new(1, 1);
        space.set_ranking(ranking);
        space.set_now(Now::at_ms(START_MS));
        let mut db = Db::new(&mut space, 0);
        db.put_text(b"k", b"v", Ttl::Clear);
        let limits = db.space().limits.clone();
        let mut list = db.upsert::<List>(b"l").unwrap();
        (0..1000).for_each(|_| list.push_back(b"e", &limits));
        drop(list);
        (0..20).for_each(|_| _ = db.entry(b"k"));
        space
    };
    let mut space = filled(Ranking::Recency);
    space.set_now(Now::at_ms(START_MS + 5_000_000));
    assert_eq!(used_after_loading(&mut space, Ranking::Recency), [0, 0], "no policy asks for it");
    space.tells_use = true;
    assert_eq!(used_after_loading(&mut space, Ranking::Recency), [5000, 5000]);
    assert_eq!(used_after_loading(&mut space, counting), [5, 5], "seconds are no count: as new");
    let mut space = filled(counting);
    space.tells_use = true;
    assert_eq!(used_after_loading(&mut space, counting), [25, 5]);
    assert_eq!(used_after_loading(&mut space, Ranking::Recency), [0, 0]);
}

#[test]
fn what_waits_of_a_snapshot_is_known() {
    let mut space = Keyspace::new(1, 1);
    let value = vec![b'v'; 1000];
    (0..2000).for_each(|n| Db::new(&mut space, 0).put_text(format!("k{n}").as_bytes(), &value, Ttl::Clear));
    assert_eq!(space.snapshot_waiting_bytes(), 0);
    assert!(space.begin_snapshot(false));
    (0..1000).for_each(|n| Db::new(&mut space, 0).put_text(format!("k{n}").as_bytes(), b"w", Ttl::Clear));
    assert!((1_000_000..1_100_000).contains(&space.snapshot_waiting_bytes()), "what was there before");
    space.take_snapshot_pieces();
    assert!(space.snapshot_waiting_bytes() < 300 << 10, "the piece in progress");
}
