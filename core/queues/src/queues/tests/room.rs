//! Who is told, and who gives way.

use super::*;

/// Somebody waits for one reply on a key of its own, and gets it.
fn call(world: &mut World, key: &'static str) {
    world.waits(key, Kind::List);
    world.push(key, &["reply"]);
    world.workers.retain(|(_, awaited)| *awaited != key);
    world.pop(key);
}

fn reply_key(number: usize) -> &'static str {
    format!("reply:{number}").leak()
}

#[test]
fn a_hundred_thousand_waits_for_one_reply_leave_the_real_queues_and_are_no_metrics() {
    let mut world = World::new(100);
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    world.work("jobs", Kind::List);
    world.push("jobs", &["a", "b"]);
    world.waits("slow", Kind::List);
    let expected = ["list jobs", "bullmq mail"];
    for number in 0..100_000 {
        // Some wait together, and some are never answered.
        match number % 3 {
            0 => call(&mut world, reply_key(number)),
            1 => world.waits(reply_key(number), Kind::List),
            _ => world.workers.retain(|(_, key)| !key.starts_with("reply:")),
        }
        world.now_ms += u64::from(number % 64 == 0);
        if number % 1000 == 0 {
            assert_eq!(world.names(), expected, "{number}");
            assert_eq!(world.queues.len(), 2);
        }
        assert!(world.queues.ids.len() <= 52 && world.queues.slots.len() <= 100);
    }
    world.hset("bull:sms:meta", "version", "bullmq:6.7.0");
    assert_eq!(world.the("jobs", QueueKind::List).added, 2, "it was never forgotten");
    assert_eq!(world.queues.dropped(), 0);
    world.now_ms += PROVEN_MS;
    assert_eq!(
        world.names(),
        ["list jobs", "bullmq mail", "list slow", "bullmq sms"],
        "nor was who waited long"
    );
    let stale: usize =
        (0..1000).filter(|n| world.queues.keys.filter.may_hold(base::hash::hash(7, &[*n as u8, 9]))).count();
    assert!(stale < 500, "the filter is not left full of keys that are forgotten");
}

#[test]
fn one_who_waits_is_no_queue_until_there_is_more_of_it() {
    type Step = fn(&mut World);
    let proofs: [(&str, Step); 5] = [
        ("jobs lie in it", |world| world.push("q", &["a"])),
        ("two jobs came", |world| (0..2).for_each(|_| (world.push("q", &["a"]), world.pop("q")).1)),
        ("it is waited on again after a job", |world| {
            call(world, "q");
            world.waits("q", Kind::List);
        }),
        ("another one waits, too", |world| world.waits("q", Kind::List)),
        ("it is waited on for long", |world| world.now_ms += PROVEN_MS),
    ];
    for (what, step) in proofs {
        let mut world = World::new(10);
        world.waits("q", Kind::List);
        assert_eq!((world.names().len(), world.queues.len()), (0, 0));
        step(&mut world);
        assert_eq!(world.names(), ["list q"], "{what}");
        assert_eq!(world.queues.len(), 1);
    }
    let mut world = World::new(10);
    call(&mut world, "q");
    world.now_ms += PROVEN_MS - 1;
    assert_eq!((world.names().len(), world.queues.ids.len()), (0, 1));
    world.now_ms += 1;
    assert_eq!((world.names().len(), world.queues.ids.len(), world.queues.unproven), (0, 0, 0));
}

#[test]
fn whoever_polls_a_key_for_long_is_a_worker() {
    let mut world = World::new(10);
    for _ in 0..5 {
        world.waits("q", Kind::List);
        assert_eq!(world.names(), [""; 0]);
        world.workers.clear();
        world.now_ms += PROVEN_MS / 5;
    }
    world.waits("q", Kind::List);
    assert_eq!(world.names(), ["list q"]);
}

#[test]
fn readers_of_one_stream_each_are_no_queues_and_leave_no_names() {
    let mut world = World::new(4);
    for number in 0..100 {
        let key: &'static str = format!("answer:{number}").leak();
        world.waits(key, Kind::Stream);
        world.edit::<Stream>(0, key, |stream| add_entry(stream, 1));
        world.workers.clear();
    }
    assert_eq!((world.names().len(), world.queues.names.len(), world.queues.dropped()), (0, 0, 0));
    world.sadd("rq:queues", "rq:queue:low");
    assert_eq!(world.names(), ["rq low"]);
}

#[test]
fn keys_of_libraries_that_are_only_waited_on_are_no_queues_either() {
    let mut world = World::new(4);
    for number in 0..100 {
        world.waits(format!("x:{number}:marker").leak(), Kind::ZSet);
        world.waits(format!("rq:queue:{number}").leak(), Kind::List);
        world.workers.clear();
    }
    assert_eq!(world.names(), [""; 0]);
    assert!(world.queues.ids.len() <= 2);
    world.waits("bull:mail:marker", Kind::ZSet);
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    assert_eq!((world.queues.len(), world.names()), (1, vec!["bullmq mail".to_owned()]));
}

#[test]
fn a_real_queue_takes_the_place_of_one_that_is_worn_but_of_no_other() {
    let mut world = World::new(2);
    world.work("idle", Kind::List);
    world.work("busy", Kind::List);
    world.push("busy", &["a"]);
    world.hset("bull:a:meta", "version", "bullmq");
    assert_eq!(
        (world.names(), world.queues.dropped()),
        (vec!["list busy".to_owned(), "list idle".to_owned()], 1)
    );
    world.workers.clear();
    world.now_ms += 10_000;
    world.hset("bull:b:meta", "version", "bullmq");
    assert_eq!(world.names(), ["bullmq b", "list busy"]);
    world.now_ms += 10_000;
    world.hset("bull:c:meta", "version", "bullmq");
    assert_eq!((world.names().len(), world.queues.dropped()), (2, 2), "jobs wait in both");
}
