//! The stream beside a naive twin, its rules for identities, and the life of a consumer group.

use super::*;
use base::Random;

type Twin = BTreeMap<Id, Vec<(Vec<u8>, Vec<u8>)>>;

fn pairs(fields: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    fields.iter().map(|(field, value)| (&field[..], &value[..]))
}

fn add(stream: &mut Stream, id: NewId) -> Result<Id, AppendError> {
    stream.append(id, [(&b"field"[..], &b"value"[..])].into_iter(), 1000, &Limits::default())
}

fn filled(n: u64) -> Stream {
    let mut stream = Stream::new();
    (1..=n).for_each(|i| assert_eq!(add(&mut stream, NewId::Exact(Id::new(i, 0))), Ok(Id::new(i, 0))));
    stream
}

fn same(entry: &Entry<'_>, id: &Id, fields: &[(Vec<u8>, Vec<u8>)]) -> bool {
    entry.id == *id && entry.field_count() == fields.len() && entry.fields().eq(pairs(fields))
}

fn check(stream: &Stream, twin: &Twin, random: &mut Random) {
    assert_eq!(stream.entry_count(), twin.len() as u64);
    let top = stream.last_id().ms + 2;
    let (start, end) = (Id::new(random.below(top), 1), Id::new(random.below(top), random.below(3)));
    let both = [(Id::MIN, Id::MAX), (start, end)];
    for (start, end) in both.into_iter().filter(|(start, end)| start <= end) {
        let expected: Vec<_> = twin.range(start..=end).collect();
        let up: Vec<_> = stream.range(start, end).collect();
        let down: Vec<_> = stream.range_rev(start, end).collect();
        assert_eq!((up.len(), down.len()), (expected.len(), expected.len()));
        assert!(up.iter().zip(&expected).all(|(entry, (id, fields))| same(entry, id, fields)));
        assert!(down.iter().rev().zip(&expected).all(|(entry, (id, fields))| same(entry, id, fields)));
    }
}

fn random_fields(random: &mut Random) -> Vec<(Vec<u8>, Vec<u8>)> {
    let n = [1, 2, 2, 2, 2, 3][random.below(6) as usize];
    let value = |r: &mut Random| vec![b'v'; [0, 3, 10, 200, 5000][r.below(21).min(4) as usize % 5]];
    (0..n).map(|i| (format!("field{i}").into_bytes(), value(random))).collect()
}

fn step(random: &mut Random, stream: &mut Stream, twin: &mut Twin, limits: &Limits) {
    let existing = twin.keys().nth(random.below(twin.len().max(1) as u64) as usize).copied();
    match random.below(200) {
        0..150 => {
            let fields = random_fields(random);
            let now_ms = stream.last_id().ms + random.below(3);
            let id = stream.append(NewId::Auto, pairs(&fields), now_ms, limits).expect("ids are left");
            twin.insert(id, fields);
        }
        150..195 => {
            let Some(id) = existing else { return };
            assert!(stream.delete(id) && !stream.delete(id));
            twin.remove(&id);
        }
        195 => {
            let most = twin.len() as u64 * 9 / 10;
            assert_eq!(stream.trim(Keep::Latest(most), Precision::Exact), twin.len() as u64 - most);
            while twin.len() as u64 > most {
                twin.pop_first();
            }
        }
        196 => {
            let Some(id) = existing else { return };
            let rest = twin.split_off(&id);
            assert_eq!(stream.trim(Keep::From(id), Precision::Exact), twin.len() as u64);
            *twin = rest;
        }
        _ => {
            let most = twin.len() as u64 / 2;
            let gone = stream.trim(Keep::Latest(most), Precision::Approximate(0));
            (0..gone).for_each(|_| drop(twin.pop_first()));
            assert!(twin.len() as u64 >= most);
        }
    }
}

#[test]
fn behaves_as_a_sorted_map_of_entries() {
    for node_entries in [100, 3, 0] {
        let limits = &Limits { stream_node_entries: node_entries, ..Limits::default() };
        let mut random = Random::new(node_entries as u64);
        let (mut stream, mut twin) = (Stream::new(), Twin::new());
        let mut shared: Option<(Stream, Twin)> = None;
        for i in 0..6000 {
            step(&mut random, &mut stream, &mut twin, limits);
            if i % 50 == 0 {
                check(&stream, &twin, &mut random);
            }
            if i % 500 == 0
                && let Some((stream, twin)) = shared.replace((stream.share(), twin.clone()))
            {
                check(&stream, &twin, &mut random);
            }
        }
        stream.trim(Keep::Latest(0), Precision::Exact);
        assert_eq!((stream.entry_count(), stream.chunk_count(), stream.is_empty()), (0, 0, false));
    }
}

#[test]
fn identities_rise_or_are_refused() {
    let mut stream = Stream::new();
    assert!(stream.is_empty());
    assert_eq!(add(&mut stream, NewId::Exact(Id::MIN)), Err(AppendError::Zero));
    assert!(stream.is_empty());
    assert_eq!(add(&mut stream, NewId::AutoSeq(0)), Ok(Id::new(0, 1)));
    assert_eq!(add(&mut stream, NewId::Auto), Ok(Id::new(1000, 0)));
    assert_eq!(add(&mut stream, NewId::Auto), Ok(Id::new(1000, 1)));
    assert_eq!(add(&mut stream, NewId::AutoSeq(999)), Err(AppendError::NotGreater));
    assert_eq!(add(&mut stream, NewId::Exact(Id::new(1000, 1))), Err(AppendError::NotGreater));
    assert_eq!(add(&mut stream, NewId::Exact(Id::new(2000, u64::MAX))), Ok(Id::new(2000, u64::MAX)));
    assert_eq!(add(&mut stream, NewId::AutoSeq(2000)), Err(AppendError::NotGreater));
    assert_eq!(add(&mut stream, NewId::Auto), Ok(Id::new(2001, 0)));
    assert_eq!(add(&mut stream, NewId::Exact(Id::MAX)), Ok(Id::MAX));
    assert_eq!(add(&mut stream, NewId::Auto), Err(AppendError::Exhausted));
    assert_eq!(Id::parse(b"12-3", 0), Some(Id::new(12, 3)));
    assert_eq!(Id::parse(b"12", 9), Some(Id::new(12, 9)));
    assert_eq!(&*Id::new(1000, 7).text(), b"1000-7");
    assert_eq!(Id::parse(&Id::MAX.text(), 0), Some(Id::MAX));
    assert_eq!(Id::parse(b"01-+2", 0), Some(Id::new(1, 2)));
    assert_eq!([&b"12-"[..], b"-3", b"", b"1-2-3", b"x"].map(|t| Id::parse(t, 0)), [None; 5]);
}

#[test]
fn approximate_trims_remove_whole_chunks_within_the_limit() {
    let mut stream = filled(1000);
    assert_eq!(stream.trim(Keep::Latest(950), Precision::Approximate(0)), 0);
    assert_eq!(stream.trim(Keep::Latest(750), Precision::Approximate(0)), 200);
    assert_eq!(stream.trim(Keep::Latest(0), Precision::Approximate(250)), 200);
    assert_eq!(stream.trim(Keep::From(Id::new(550, 0)), Precision::Approximate(0)), 100);
    assert_eq!(stream.first_id(), Id::new(501, 0));
}

#[test]
fn an_entry_of_two_short_fields_costs_less_than_twenty_bytes() {
    let mut stream = Stream::new();
    for i in 0..100_000u64 {
        let job = i.to_string();
        let fields = [(&b"event"[..], &b"done"[..]), (b"jobId", job.as_bytes())];
        let id = NewId::Exact(Id::new(1_700_000_000_000 + i, 0));
        stream.append(id, fields.into_iter(), 0, &Limits::default()).expect("rising");
    }
    assert!(stream.heap_bytes() < 20 * 100_000, "{}", stream.heap_bytes());
}

#[test]
fn a_group_delivers_each_entry_once_and_forgets_it_when_acknowledged() {
    let mut stream = filled(5);
    assert!(stream.create_group(b"g", Id::MIN, None) && !stream.create_group(b"g", Id::MIN, None));
    let first = stream.deliver_new(b"g", b"alice", 2, false, 50);
    assert_eq!(first, Some(Delivered { first: Id::new(1, 0), last: Id::new(2, 0), count: 2 }));
    assert_eq!(stream.deliver_new(b"g", b"bob", 0, true, 60).map(|d| d.count), Some(3));
    assert_eq!(stream.deliver_new(b"g", b"bob", 0, false, 70), None);
    let group = stream.group_mut(b"g").expect("created");
    assert_eq!(group.pending().len(), 2);
    assert!(group.acknowledge(Id::new(1, 0)) && !group.acknowledge(Id::new(1, 0)));
    stream.delete(Id::new(2, 0));
    assert_eq!(stream.deliver_own(b"g", b"alice", Id::MIN, 0, 90), [Id::new(2, 0)]);
    let group = stream.group_mut(b"g").expect("created");
    assert_eq!(group.pending_entry(Id::new(2, 0)).map(|p| p.deliveries), Some(1));
    let (alice, bob) = (group.consumer(b"alice").cloned(), group.consumer(b"bob").cloned());
    assert_eq!(alice.map(|c| (c.seen_ms, c.active_ms)), Some((90, Some(50))));
    assert_eq!(
        bob.map(|c| (c.seen_ms, c.active_ms)),
        Some((70, None)),
        "who need not acknowledge is not active"
    );
    assert_eq!(group.delete_consumer(b"alice"), Some(1));
    assert_eq!(group.pending().len(), 0);
    assert_eq!(group.delete_consumer(b"nobody"), None);
    assert!(stream.destroy_group(b"g") && !stream.destroy_group(b"g"));
}

#[test]
fn claims_move_idle_entries_and_drop_lost_ones() {
    let mut stream = filled(4);
    stream.create_group(b"g", Id::MIN, None);
    stream.deliver_new(b"g", b"alice", 3, false, 100);
    let claim = Claim { idle_ms_min: 50, delivery_ms: 120, deliveries: None, force: false, just_id: false };
    let id = |ms| Id::new(ms, 0);
    assert_eq!(stream.claim(b"g", b"bob", id(1), &claim, 120), Claimed::No);
    assert_eq!(stream.claim(b"g", b"bob", id(1), &claim, 150), Claimed::Yes);
    assert_eq!(stream.claim(b"g", b"bob", id(4), &claim, 150), Claimed::No);
    let forced = Claim { force: true, deliveries: Some(7), ..claim };
    for (just_id, deliveries) in [(true, 1), (false, 2)] {
        let counting = Claim { deliveries: None, just_id, ..forced };
        assert_eq!(stream.claim(b"g", b"bob", id(4), &counting, 150), Claimed::Yes);
        let group = stream.group_mut(b"g").expect("created");
        assert_eq!(group.pending_entry(id(4)).map(|pending| pending.deliveries), Some(deliveries));
        group.acknowledge(id(4));
    }
    assert_eq!(stream.claim(b"g", b"bob", id(4), &forced, 150), Claimed::Yes);
    stream.delete(id(2));
    assert_eq!(stream.claim(b"g", b"bob", id(2), &claim, 150), Claimed::Gone);
    let group = stream.group(b"g").expect("created");
    let seen: Vec<_> = group.pending().map(|(id, p)| (id.ms, p.consumer.to_vec(), p.deliveries)).collect();
    assert_eq!(seen, [(1, b"bob".to_vec(), 2), (3, b"alice".to_vec(), 1), (4, b"bob".to_vec(), 7)]);
    assert_eq!(group.consumer(b"bob").map(|c| c.pending().len()), Some(2));
    stream.delete(id(1));
    let result = stream.auto_claim(b"g", b"carol", Id::MIN, 2, &claim, 1000);
    assert_eq!((result.gone, result.claimed, result.next), (vec![id(1)], vec![id(3)], id(4)));
    let just = Claim { just_id: true, ..claim };
    let result = stream.auto_claim(b"g", b"carol", id(4), 2, &just, 1000);
    assert_eq!((result.claimed, result.next), (vec![id(4)], Id::MIN));
    let group = stream.group(b"g").expect("created");
    let filter =
        PendingFilter { start: id(4), end: Id::MAX, count: 9, consumer: Some(b"carol"), idle_ms_min: 0 };
    let own: Vec<_> = group.pending_range(&filter, 1000).map(|(id, p)| (id, p.deliveries)).collect();
    assert_eq!(own, [(id(4), 7)]);
}

#[test]
fn lag_is_known_until_the_middle_is_deleted() {
    let mut stream = filled(5);
    stream.create_group(b"g", Id::MIN, None);
    let lag = |stream: &Stream| stream.lag(stream.group(b"g").expect("created"));
    assert_eq!(lag(&stream), Some(5));
    stream.deliver_new(b"g", b"c", 2, true, 0);
    assert_eq!((lag(&stream), stream.group(b"g").and_then(Group::entries_read)), (Some(3), Some(2)));
    stream.delete(Id::new(4, 0));
    assert_eq!(lag(&stream), None);
    stream.deliver_new(b"g", b"c", 0, true, 0);
    assert_eq!((lag(&stream), stream.group(b"g").and_then(Group::entries_read)), (Some(0), Some(5)));
    stream.trim(Keep::Latest(0), Precision::Exact);
    assert_eq!(lag(&stream), Some(0));
}

#[test]
fn a_shared_stream_keeps_its_entries_and_groups() {
    let mut stream = filled(250);
    stream.create_group(b"g", Id::MIN, None);
    let shared = stream.share();
    stream.deliver_new(b"g", b"c", 0, false, 0);
    stream.delete(Id::new(1, 0));
    assert!(shared.entry(Id::new(1, 0)).is_some());
    assert_eq!(shared.group(b"g").map(|g| (g.pending().len(), g.consumers().len())), Some((0, 0)));
    let copied = stream.0.nodes.iter().zip(&shared.0.nodes).filter(|(a, b)| !Arc::ptr_eq(&a.chunk, &b.chunk));
    assert_eq!(copied.count(), 1);
}

#[test]
fn nodes_are_counted_as_in_a_radix_tree() {
    let mut stream = Stream::new();
    let limits = Limits { stream_node_entries: 1, ..Limits::default() };
    let mut counts = vec![stream.radix_node_count()];
    for ms in [5, 10, 300] {
        stream
            .append(NewId::Exact(Id::new(ms, 1)), [(&b"f"[..], &b"v"[..])].into_iter(), 0, &limits)
            .unwrap();
        counts.push(stream.radix_node_count());
    }
    // The root alone; a run and its end; a run, a branch and two of these; another branch one byte before.
    assert_eq!(counts, [1, 2, 6, 9]);
}

#[test]
fn counters_that_contradict_the_entries_are_corrected() {
    let mut stream = filled(3);
    stream.set_counters(Id::new(1, 0), 0, Id::new(9, 0));
    assert_eq!(stream.last_id(), Id::new(3, 0));
    assert_eq!((stream.entries_added(), stream.max_deleted_id()), (3, Id::new(3, 0)));
    stream.set_counters(Id::new(5, 0), u64::MAX, Id::MIN);
    assert_eq!((stream.last_id(), stream.entries_added()), (Id::new(5, 0), i64::MAX as u64));
}

#[test]
fn counts_end_where_a_reply_and_a_record_do() {
    const MOST: u64 = i64::MAX as u64;
    let mut stream = filled(2);
    stream.set_counters(Id::new(2, 0), MOST, Id::MIN);
    add(&mut stream, NewId::Exact(Id::new(3, 0))).expect("it is greater");
    assert_eq!(stream.entries_added(), MOST);
    stream.create_group(b"g", Id::new(1, 0), Some(MOST));
    stream.deliver_new(b"g", b"c", 0, false, 1).expect("two are new");
    assert_eq!(stream.group(b"g").expect("it was made").entries_read(), Some(MOST));

    let deliveries = |stream: &Stream| {
        let group = stream.group(b"g").expect("it was made");
        group.pending_entry(Id::new(2, 0)).map(|pending| pending.deliveries)
    };
    let mut claim =
        Claim { idle_ms_min: 0, delivery_ms: 2, deliveries: Some(u64::MAX), force: false, just_id: false };
    stream.claim(b"g", b"c", Id::new(2, 0), &claim, 2);
    assert_eq!(deliveries(&stream), Some(MOST));
    claim.deliveries = None;
    stream.claim(b"g", b"c", Id::new(2, 0), &claim, 3);
    assert_eq!(deliveries(&stream), Some(MOST));
    stream.deliver_own(b"g", b"c", Id::MIN, 0, 4);
    assert_eq!(deliveries(&stream), Some(MOST));
}

#[test]
fn no_group_has_read_more_than_was_added() {
    let read = |stream: &Stream| stream.group(b"g").expect("it was made").entries_read();
    let mut stream = filled(5);
    stream.create_group(b"g", Id::MIN, None);
    stream.deliver_new(b"g", b"c", 0, false, 1);
    assert_eq!(read(&stream), Some(5));
    stream.trim(Keep::Latest(1), Precision::Exact);
    stream.set_counters(Id::new(5, 0), 2, Id::MIN);
    assert_eq!(read(&stream), Some(2));

    stream.set_group_position(b"g", Id::new(5, 0), Some(2));
    (6..9).for_each(|ms| assert!(add(&mut stream, NewId::Exact(Id::new(ms, 0))).is_ok()));
    stream.set_group_position(b"g", Id::new(5, 0), Some(4));
    stream.deliver_new(b"g", b"c", 0, false, 1);
    assert_eq!(read(&stream), Some(5));
}
