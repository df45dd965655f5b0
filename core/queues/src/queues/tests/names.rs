//! The keys that name queues, and the work that they make.

use super::*;
use crate::queues::names::NAMES_STEP;
use core::cell::Cell;

/// Counts the values that are looked at.
struct Counting<'a>(&'a Values, Cell<usize>);

impl Look for Counting<'_> {
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>> {
        self.1.set(self.1.get() + 1);
        self.0.view(db, key)
    }
}

/// How many values the queues look at.
fn looks(world: &mut World, work: impl FnOnce(&mut Queues, &Context<'_>)) -> usize {
    let look = Counting(&world.values, Cell::new(0));
    let at = Context { look: &look, clients: &libraries::NoClients, now: Now::at_ms(world.now_ms as i64) };
    work(&mut world.queues, &at);
    look.1.get()
}

#[test]
fn a_thousand_names_added_one_by_one_are_not_gone_through_a_thousand_times() {
    let mut world = World::new(2000);
    world.sadd("rq:queues", "rq:queue:first");
    let mut total = 0;
    for number in 0..1024 {
        let name = format!("rq:queue:{number}");
        world.edit::<Set>(0, "rq:queues", |set| {
            set.add(name.as_bytes(), &Limits::default());
        });
        total += looks(&mut world, Queues::examine);
    }
    assert_eq!(total, 0, "a set that has changed is only noted");
    let mut ticks = 0;
    while world.queues.ids.len() < 1025 {
        let looked_at = looks(&mut world, Queues::tick);
        assert!(looked_at < 40 * NAMES_STEP, "{looked_at} in one step");
        ticks += 1;
        assert!(ticks < 40);
    }
    assert!(world.names().contains(&"rq 1023".to_owned()));
    world.sadd("rq:queues", "rq:queue:late");
    assert!(world.names().contains(&"rq late".to_owned()), "who asks for all need not wait");
    world.sadd("rq:queues", "rq:queue:later");
    let told = world.with(|queues, at| queues.tell_one(at, "later", None, None));
    assert_eq!(told.map(|told| told.name).as_deref(), Some("later"));
}

#[test]
fn sets_that_name_no_queue_give_way_to_one_that_does() {
    let mut world = World::new(4);
    (0..10).for_each(|n| world.sadd(&format!("user:{n}:queues"), "a"));
    assert_eq!(world.names_noted(), 4);
    world.sadd("rq:queues", "rq:queue:a");
    world.sadd("rq:queues", "rq:queue:b");
    world.with(Queues::tick);
    assert_eq!((world.queues.len(), world.names_noted()), (2, 4), "it is told when it changes");
    (10..20).for_each(|n| world.sadd(&format!("user:{n}:queues"), "a"));
    world.sadd("rq:queues", "rq:queue:c");
    world.with(Queues::tick);
    assert_eq!(world.queues.len(), 3, "and is not crowded out");
}

#[test]
fn what_is_named_before_it_is_there_is_found_with_time() {
    let mut world = World::new(10);
    world.sadd("app:queues", "low");
    world.push("app:queue:low", &[r#"{"jid":"5","created_at":990}"#]);
    for _ in 0..3 {
        world.now_ms += 1000;
        world.with(Queues::tick);
    }
    assert_eq!(world.queues.len(), 1);
}

#[test]
fn a_plain_stream_is_not_told_beside_its_group() {
    let mut world = World::new(10);
    world.edit::<Stream>(0, "s", |stream| add_entry(stream, 1));
    world.work("s", Kind::Stream);
    assert_eq!(world.names(), ["stream s"]);
    world.values.0.clear();
    assert_eq!(world.names(), ["stream s"], "somebody still waits");
    world.edit::<Stream>(0, "s", |stream| add_group(stream, "g"));
    assert_eq!(world.names(), ["stream s/g"]);
    world.edit::<Stream>(0, "s", |stream| add_group(stream, ""));
    assert_eq!(world.names(), ["stream s/", "stream s/g"]);
    world.waits("s", Kind::Stream);
    assert_eq!(world.names(), ["stream s/", "stream s/g"]);
    world.edit::<Stream>(0, "s", |stream| assert!(stream.destroy_group(b"g") && stream.destroy_group(b"")));
    assert_eq!(world.names(), [""; 0]);
    world.waits("s", Kind::Stream);
    assert_eq!(world.names(), ["stream s"]);
}

#[test]
fn a_long_key_is_counted_if_it_would_have_been_a_queue() {
    let mut world = World::new(10);
    let long = too_long();
    world.hset(&format!("{long}:meta"), "name", "no queue");
    assert_eq!(world.queues.dropped(), 0);
    world.hset(&format!("bull:{long}:meta"), "version", "bullmq:6.7.0");
    assert_eq!((world.queues.dropped(), world.names()), (1, Vec::new()));
    world.sadd(&format!("{long}_kombu.binding.x"), "x\x06\x16\x06\x16mail");
    assert_eq!((world.queues.dropped(), world.names_noted()), (2, 0));
    let huge = "x".repeat(SUSPECT_BYTES_MAX) + ":meta";
    world.hset(&huge, "version", "bullmq:6.7.0");
    assert_eq!((world.queues.dropped(), world.queues.suspects.len()), (3, 0));
}
