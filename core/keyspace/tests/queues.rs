//! What is counted of queues, while their keys come and go, are renamed and exchanged, and the places of forgotten queues are taken by
//! others: each job is counted at its own queue, and at no other.

use base::{Now, Random};
use queues::NoClients;
use std::collections::BTreeMap;
use tandem_keyspace::{Cause, Db, Keyspace};
use types::hash::Hash;
use types::list::List;
use types::{Kind, Limits};

const QUEUES_MAX: usize = 4;
const KEYS: u64 = 8;
const STEPS: usize = 20_000;

/// Jobs that came and were taken, by database and key of the queue.
type Counts = BTreeMap<(usize, Vec<u8>), (u64, u64)>;

fn counts(space: &mut Keyspace) -> Counts {
    let told = space.tell_queues(&NoClients, None).into_iter();
    told.map(|queue| ((queue.db, queue.key), (queue.added, queue.taken))).collect()
}

/// A place among few: a database and a key, the name of which may be that of a library.
fn place(random: &mut Random) -> (usize, Vec<u8>) {
    let (db, number) = (random.below(2) as usize, random.below(KEYS));
    let key = if number < 2 { format!("bull:{number}:wait") } else { format!("jobs:{number}") };
    (db, key.into_bytes())
}

/// Pushes or pops some jobs, or removes the key; what that adds to the counts of its queue.
fn work(space: &mut Keyspace, (db, key): &(usize, Vec<u8>), random: &mut Random) -> (u64, u64) {
    let count = 1 + random.below(3);
    let mut db = Db::new(space, *db);
    match random.below(8) {
        0..4 => {
            let Ok(mut list) = db.upsert::<List>(key) else { panic!("there are only lists") };
            (0..count).for_each(|_| list.push_front(b"job", &Limits::default()));
            (count, 0)
        }
        4..7 => {
            let Ok(Some(mut list)) = db.find_mut::<List>(key) else { return (0, 0) };
            let taken = (0..count).filter(|_| list.pop_back().is_some()).count();
            (0, taken as u64)
        }
        _ => {
            let Ok(list) = db.find::<List>(key) else { panic!("there are only lists") };
            let taken = list.map_or(0, |list| list.len() as u64);
            db.remove(key);
            (0, taken)
        }
    }
}

/// Something that moves keys or queues about, and is no job that comes or is taken.
fn upset(space: &mut Keyspace, random: &mut Random) {
    let (db, key) = place(random);
    match random.below(40) {
        0 => drop(space.flush(db)),
        1 => space.swap(0, 1),
        2 => {
            space.set_queues_max(0);
            space.set_queues_max(QUEUES_MAX);
        }
        3..6 => {
            let to = place(random).1;
            let mut db = Db::new(space, db);
            if let Some(entry) = db.take(&key, Cause::Changed) {
                db.put_used(entry.renamed(&to));
            }
        }
        6..10 => {
            space.set_now(Now::at_ms(space.now.unix_ms + random.below(20_000) as i64));
            space.tick_queues(&NoClients);
        }
        10 => {
            let meta = if random.below(2) == 0 { b"bull:0:meta" } else { b"bull:1:meta" };
            let mut db = Db::new(space, db);
            let Ok(mut hash) = db.upsert::<Hash>(meta) else {
                panic!("there are no others under these names")
            };
            hash.set(b"version", b"bullmq:6.0.0", &Limits::default());
        }
        _ => space.note_awaited(db, &key, Kind::List, &NoClients),
    }
    space.examine_queues(&NoClients);
}

#[test]
fn each_job_is_counted_at_its_own_queue_whatever_happens_to_the_keys() {
    let (mut space, mut random) = (Keyspace::new(2, 7), Random::new(11));
    space.set_queues_max(QUEUES_MAX);
    space.set_now(Now::at_ms(1_000_000));
    let (mut counted, mut known) = (0, Counts::new());
    for step in 0..STEPS {
        if random.below(3) == 0 {
            upset(&mut space, &mut random);
            known = counts(&mut space);
        }
        let place = place(&mut random);
        let (added, taken) = work(&mut space, &place, &mut random);
        space.examine_queues(&NoClients);
        let now = counts(&mut space);
        // A queue that is told for the first time has nothing to compare with.
        for (queue, before) in known.iter().filter(|(queue, _)| now.contains_key(*queue)) {
            let (more_added, more_taken) = if place == *queue { (added, taken) } else { (0, 0) };
            assert_eq!(
                now[queue],
                (before.0 + more_added, before.1 + more_taken),
                "{step}: {place:?} {queue:?}"
            );
            counted += more_added + more_taken;
        }
        known = now;
    }
    assert!(counted > STEPS as u64 / 8, "few were told: {counted}");
}
