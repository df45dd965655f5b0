//! Which queues are looked at when somebody asks.

use super::*;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Notes which keys are looked at.
struct Noting<'a>(&'a Values, RefCell<BTreeSet<Vec<u8>>>);

impl Look for Noting<'_> {
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>> {
        self.1.borrow_mut().insert(key.to_vec());
        self.0.view(db, key)
    }
}

/// What the queues do, and the keys that they look at for it.
fn looked_at<T>(world: &mut World, work: impl FnOnce(&mut Queues, &Context<'_>) -> T) -> (T, Vec<String>) {
    let look = Noting(&world.values, RefCell::default());
    let at = Context { look: &look, clients: &libraries::NoClients, now: Now::at_ms(world.now_ms as i64) };
    let done = work(&mut world.queues, &at);
    let keys = look.1.into_inner().into_iter().map(|key| String::from_utf8(key).unwrap()).collect();
    (done, keys)
}

fn world_of_lists(count: usize) -> World {
    let mut world = World::new(count);
    for number in 0..count {
        let key: &'static str = format!("q{number:03}").leak();
        world.work(key, Kind::List);
        world.push(key, &["a"]);
    }
    world
}

#[test]
fn one_queue_is_told_without_a_look_at_the_others() {
    let mut world = world_of_lists(100);
    let (told, keys) = looked_at(&mut world, |queues, at| queues.tell_one(at, "q042", None, None));
    assert_eq!((told.unwrap().name.as_str(), keys), ("q042", vec!["q042".to_owned()]));
    let (told, keys) = looked_at(&mut world, |queues, at| queues.tell_one(at, "other", None, None));
    assert_eq!((told, keys.len()), (None, 0));
    let (told, keys) =
        looked_at(&mut world, |queues, at| queues.tell_one(at, "q042", Some(QueueKind::ZSet), None));
    assert_eq!((told, keys.len()), (None, 0));
    let long = "q".repeat(1 << 20);
    assert_eq!(looked_at(&mut world, |queues, at| queues.tell_one(at, &long, None, None)).0, None);
}

#[test]
fn queues_that_may_not_be_read_are_not_looked_at() {
    let mut world = world_of_lists(100);
    let may_read = |key: &[u8]| key.ends_with(b"7");
    let (told, keys) = looked_at(&mut world, |queues, at| queues.tell(at, Some(&may_read)));
    assert_eq!((told.len(), keys.len()), (10, 10));
    let (told, keys) = looked_at(&mut world, |queues, at| queues.tell_one(at, "q042", None, Some(&may_read)));
    assert_eq!((told, keys.len()), (None, 0));
    assert!(
        looked_at(&mut world, |queues, at| queues.tell_one(at, "q047", None, Some(&may_read))).0.is_some()
    );
}

#[test]
fn all_are_told_some_at_a_time_though_they_come_and_go() {
    let mut world = world_of_lists(100);
    let (mut after, mut names) = (None, Vec::new());
    for step in 0.. {
        let ((told, next), keys) = looked_at(&mut world, |queues, at| queues.tell_some(at, after.take(), 7));
        assert!(keys.len() <= 7, "{keys:?}");
        names.extend(told.into_iter().map(|figures| figures.name));
        // The one behind which the walk goes on is forgotten.
        if let (1, Some(last)) = (step, names.last()) {
            world.values.0.remove(&(0, last.clone().into_bytes()));
            world.queues.flushed(0);
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    let all: Vec<String> = (0..100).map(|number| format!("q{number:03}")).collect();
    assert_eq!(names, all);
}

#[test]
fn queues_that_look_alike_are_told_apart_and_none_twice() {
    let mut world = World::new(30);
    world.edit::<Stream>(0, "a/b", |stream| add_group(stream, "c"));
    world.edit::<Stream>(0, "a", |stream| add_group(stream, "b/c"));
    world.hset("dramatiq:mail.msgs", "1", "{}");
    world.hset("dramatiq:dramatiq:mail.msgs", "1", "{}");
    world.sadd("queues", "app:low");
    world.push("app:queue:low", &[r#"{"jid":"5","created_at":990}"#]);
    world.sadd("app:queues", "low");
    world.sadd("_kombu.binding.sms", "sms::sms");
    world.sadd("_kombu.binding.sms", "\x06\x16\x06\x16sms");
    let told = [
        "sidekiq app:low",
        "stream a/b/c",
        "stream a\\x2fb/c",
        "dramatiq dramatiq:dramatiq:mail",
        "dramatiq mail",
        "sidekiq queue:app:low",
        "celery sms",
    ];
    let mut sorted = told.map(str::to_owned);
    sorted.sort_by_key(|line| line.split_once(' ').unwrap().1.to_owned());
    assert_eq!(world.names(), sorted);
}
