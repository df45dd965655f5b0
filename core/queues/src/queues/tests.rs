//! Over a small keyspace of values, told as the real one tells.

use super::room::{LINGER_MS, PROVEN_MS};
use super::tell::MINUTE_MS;
use super::*;
use crate::figures::Figures;
use crate::libraries::{Clients, Look, Name, Seen};
use base::Now;
use std::collections::BTreeMap;
use types::hash::Hash;
use types::list::List;
use types::set::Set;
use types::stream::{Id as EntryId, NewId, Stream};
use types::zset::ZSet;
use types::{Collection, Limits, Value, View};

/// Values by database and key.
#[derive(Default)]
struct Values(BTreeMap<(usize, Vec<u8>), Value>);

impl Look for Values {
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>> {
        Some(match self.0.get(&(db, key.to_vec()))? {
            Value::Int(value) => View::Int(*value),
            Value::Str(bytes) => View::Str(bytes),
            Value::List(list) => View::List(list),
            Value::Set(set) => View::Set(set),
            Value::ZSet(zset) => View::ZSet(zset),
            Value::Hash(hash) => View::Hash(hash),
            Value::Stream(stream) => View::Stream(stream),
        })
    }
}

/// Who waits on which key, and how clients are called.
struct Workers(Vec<(usize, &'static str)>);

impl Clients for Workers {
    fn waiting(&self, db: usize, key: &[u8]) -> usize {
        self.0.iter().filter(|(at, name)| *at == db && name.as_bytes() == key).count()
    }

    fn named(&self, name: &[u8]) -> usize {
        if name == b"bull:YnVzeQ==" { 2 } else { 0 }
    }
}

/// The queues over a keyspace. Streams are not marked there: every change is told.
struct World {
    queues: Queues,
    values: Values,
    /// The marks of entries that are there.
    marks: BTreeMap<(usize, Vec<u8>), u16>,
    /// Marks that were asked for, also of keys that are not there.
    marked: usize,
    workers: Vec<(usize, &'static str)>,
    now_ms: u64,
}

impl World {
    fn new(max: usize) -> World {
        let mut queues = Queues::new(7);
        queues.set_max(max);
        World {
            queues,
            values: Values::default(),
            marks: BTreeMap::new(),
            marked: 0,
            workers: Vec::new(),
            now_ms: 1_000_000,
        }
    }

    fn now(&self) -> Now {
        Now::at_ms(self.now_ms as i64)
    }

    /// Changes a collection as a write guard does.
    fn edit<T: Collection + Into<Value> + 'static>(&mut self, db: usize, key: &str, edit: impl FnOnce(&mut T))
    where
        Value: TryAs<T>,
    {
        let place = (db, key.as_bytes().to_vec());
        let is_new = !self.values.0.contains_key(&place);
        if is_new {
            self.create(T::KIND, db, key);
        }
        let value = self.values.0.entry(place.clone()).or_insert_with(|| T::new().into());
        let before = value.try_as().elements();
        edit(value.try_as());
        let (after, is_empty) = (value.try_as().elements(), Collection::is_empty(value.try_as()));
        if T::KIND == Kind::Stream {
            self.queues.suspect(db, key.as_bytes());
        } else {
            self.change(db, key, before, after);
        }
        if is_empty {
            self.values.0.remove(&place);
            self.marks.remove(&place);
        }
        self.with(Queues::examine);
    }

    fn create(&mut self, kind: Kind, db: usize, key: &str) {
        let hash = base::hash::hash(7, key.as_bytes());
        self.marks.remove(&(db, key.into()));
        let number = self.queues.notes_new(kind, db, hash, key.as_bytes());
        self.marks.extend(number.map(|number| ((db, key.into()), number)));
    }

    /// A number, where an entry has one, is that of its key.
    fn change(&mut self, db: usize, key: &str, before: usize, after: usize) {
        let Some(mark) = self.marks.get(&(db, key.into())).copied() else { return };
        let (before, after, now_us) = (before as u64, after as u64, self.now_ms * 1000);
        if mark == 0 {
            return self.queues.changed_by_name(db, key.as_bytes(), before, after, now_us);
        }
        assert!(self.queues.is_number_of(mark.into(), db, key.as_bytes()), "{key}: {mark}");
        self.queues.changed(mark.into(), before, after, now_us);
    }

    /// Lets the queues look at all that is there.
    fn with<T>(&mut self, look: impl FnOnce(&mut Queues, &Context<'_>) -> T) -> T {
        let (clients, now) = (Workers(self.workers.clone()), self.now());
        let done = look(&mut self.queues, &Context { look: &self.values, clients: &clients, now });
        self.mark();
        done
    }

    fn mark(&mut self) {
        for mark in self.queues.take_marks() {
            self.marked += usize::from(mark.number.is_some());
            let place = (mark.db, mark.key.into_vec());
            self.marks.remove(&place);
            if self.values.0.get(&place).is_some_and(|value| value.kind() != Kind::String) {
                self.marks.extend(mark.number.map(|number| (place, number)));
            }
        }
    }

    /// All that there is to look at, without the queues.
    fn keys(&self) -> libraries::Keys<'_> {
        Context { look: &self.values, clients: &libraries::NoClients, now: self.now() }.keys(0, 10)
    }

    fn push(&mut self, key: &str, values: &[&str]) {
        self.edit::<List>(0, key, |list| {
            values.iter().for_each(|value| list.push_front(value.as_bytes(), &Limits::default()));
        });
    }

    fn push_back(&mut self, key: &str, value: &str) {
        self.edit::<List>(0, key, |list| list.push_back(value.as_bytes(), &Limits::default()));
    }

    fn pop(&mut self, key: &str) {
        self.edit::<List>(0, key, |list| drop(list.pop_back()));
    }

    fn hset(&mut self, key: &str, field: &str, value: &str) {
        self.edit::<Hash>(0, key, |hash| {
            hash.set(field.as_bytes(), value.as_bytes(), &Limits::default());
        });
    }

    fn sadd(&mut self, key: &str, member: &str) {
        self.edit::<Set>(0, key, |set| {
            set.add(member.as_bytes(), &Limits::default());
        });
    }

    fn zadd(&mut self, key: &str, score: f64, member: &str) {
        self.edit::<ZSet>(0, key, |zset| {
            zset.insert(member.as_bytes(), score, &Limits::default());
        });
    }

    fn set(&mut self, key: &str, value: i64) {
        self.values.0.insert((0, key.as_bytes().to_vec()), Value::Int(value));
    }

    fn waits(&mut self, key: &'static str, kind: Kind) {
        self.with(|queues, at| queues.awaited(0, key.as_bytes(), kind, at));
        self.workers.push((0, key));
    }

    /// Two clients wait: a queue.
    fn work(&mut self, key: &'static str, kind: Kind) {
        (0..2).for_each(|_| self.waits(key, kind));
    }

    fn tell(&mut self) -> Vec<Figures> {
        self.with(|queues, at| queues.tell(at, None))
    }

    fn the(&mut self, name: &str, kind: QueueKind) -> Figures {
        let told = self.tell();
        let names: Vec<_> = told.iter().map(|figures| (&figures.name, figures.kind)).collect();
        let names = format!("{names:?}");
        told.into_iter().find(|figures| figures.name == name && figures.kind == kind).expect(&names)
    }

    /// Keys that name queues.
    fn names_noted(&self) -> usize {
        self.queues.names.iter().flatten().count()
    }

    fn names(&mut self) -> Vec<String> {
        self.tell().into_iter().map(|figures| format!("{} {}", figures.kind.name(), figures.name)).collect()
    }
}

/// A value as one of its collections.
trait TryAs<T> {
    fn try_as(&mut self) -> &mut T;
}

macro_rules! try_as {
    ($($kind:ident),*) => {
        $(impl TryAs<$kind> for Value {
            fn try_as(&mut self) -> &mut $kind {
                let Value::$kind(collection) = self else { panic!("another type") };
                collection
            }
        })*
    };
}
try_as!(List, Set, ZSet, Hash, Stream);

fn add_entry(stream: &mut Stream, ms: u64) {
    let id = NewId::Exact(EntryId { ms, seq: 0 });
    stream.append(id, [(&b"f"[..], &b"v"[..])].into_iter(), ms, &Limits::default()).unwrap();
}

fn state(figures: &Figures, name: &str) -> u64 {
    figures.states.iter().find(|(state, _)| *state == name).expect("it has the state").1
}

#[test]
fn a_queue_of_bullmq_is_known_by_its_meta_and_told_with_all_states() {
    let mut world = World::new(10);
    world.hset("bull:mail:meta", "opts.maxLenEvents", "10000");
    world.hset("bull:mail:7", "timestamp", "999000");
    world.push("bull:mail:wait", &["7", "8"]);
    world.push("bull:mail:active", &["6"]);
    world.zadd("bull:mail:failed", 996_000.0, "1");
    world.zadd("bull:mail:prioritized", 1.0, "5");
    world.waits("bull:mail:marker", Kind::ZSet);
    world.waits("bull:mail:events", Kind::Stream);
    let told = world.the("mail", QueueKind::BullMq);
    assert_eq!(told.key, b"bull:mail:wait");
    let of = |name| state(&told, name);
    assert_eq!(
        [of("waiting"), of("active"), of("failed"), of("prioritized"), of("stalled")],
        [2, 1, 1, 1, 0]
    );
    assert_eq!((told.workers, told.added, told.taken), (1, 3, 0));
    assert_eq!((told.oldest_age_ms, told.oldest_failed_age_ms), (Some(1_000), Some(4_000)));
    assert_eq!(told.finished, Some([0, 0]));
    world.hset("bull:mail:metrics:completed", "count", "12");
    world.hset("bull:mail:metrics:failed", "count", "3");
    assert_eq!(world.the("mail", QueueKind::BullMq).finished, Some([12, 3]));
    world.pop("bull:mail:wait");
    world.pop("bull:mail:wait");
    assert_eq!(world.the("mail", QueueKind::BullMq).taken, 2);
    assert_eq!(world.names(), ["bullmq mail"], "its events and its marker are no queues of their own");
}

#[test]
fn what_only_looks_like_a_library_is_no_queue() {
    let mut world = World::new(10);
    world.hset("user:1:meta", "name", "x");
    world.hset("meta", "opts.maxLenEvents", "1");
    world.sadd("app:queues", "a");
    world.push("queue:a", &["x"]);
    world.push("rq:queue:x:intermediate", &["x"]);
    world.zadd("my:retry", 1.0, "x");
    world.hset("x.msgs", "1", "x");
    world.hset("unacked", "x", "y");
    world.edit::<Stream>(0, "events", |stream| {
        add_entry(stream, 1);
    });
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_worker_tells_of_a_queue_before_any_job() {
    let mut world = World::new(10);
    world.work("bull:mail:marker", Kind::ZSet);
    world.work("rq:queue:low", Kind::List);
    world.work("jobs", Kind::List);
    world.work("scores", Kind::ZSet);
    assert_eq!(world.names(), ["list jobs", "rq low", "bullmq mail", "zset scores"]);
    assert_eq!(world.the("mail", QueueKind::BullMq).workers, 2);
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    assert_eq!(world.names().len(), 4);
    world.workers.clear();
    world.now_ms += LINGER_MS;
    assert_eq!(world.names(), ["bullmq mail"], "nothing is left of the others");
    world.waits("bull:busy:marker", Kind::ZSet);
    assert_eq!(world.the("busy", QueueKind::BullMq).workers, 2, "one waits, and both have the name");
}

#[test]
fn bull_without_meta_is_known_by_its_counter() {
    let mut world = World::new(10);
    world.set("bull:old:id", 2);
    world.push("bull:old:wait", &["1", "2"]);
    let told = world.the("old", QueueKind::BullMq);
    assert_eq!((state(&told, "waiting"), told.added), (2, 2));
    world.push_back("bull:old:wait", "0:1");
    assert_eq!(state(&world.the("old", QueueKind::BullMq), "waiting"), 2, "a marker is no job");
}

#[test]
fn celery_sums_priorities_and_knows_unacked_and_private_queues() {
    let mut world = World::new(20);
    world.sadd("_kombu.binding.celery", "celery\x06\x16\x06\x16celery");
    world.sadd("_kombu.binding.celery.pidbox", "\x06\x16\x06\x16celery@host.celery.pidbox");
    world.sadd("app_kombu.binding.x", "k\x06\x16\x06\x16mail");
    world.sadd("_kombu.binding.sms", "sms::sms");
    world.push("sms:9", &["a", "b"]);
    assert_eq!(state(&world.the("sms", QueueKind::Celery), "waiting"), 2);
    world.edit::<Set>(0, "_kombu.binding.sms", |set| assert!(set.remove(b"sms::sms")));
    (0..2).for_each(|_| world.pop("sms:9"));
    world.push("celery", &["a"]);
    world.now_ms += 500;
    world.push("celery\x06\x163", &["b", "c"]);
    world.zadd("unacked_index", 1.0, "t");
    world.hset("unacked", "t", "message");
    world.waits("celery", Kind::List);
    world.waits("celery\x06\x163", Kind::List);
    world.waits("1f.reply.celery.pidbox", Kind::List);
    world.waits("1f.reply.celery.pidbox\x06\x166", Kind::List);
    assert_eq!(world.names(), ["celery appmail", "celery celery", "celery unacked"]);
    let told = world.the("celery", QueueKind::Celery);
    assert_eq!((state(&told, "waiting"), told.added, told.workers), (3, 3, 1));
    assert_eq!(told.oldest_age_ms, Some(500));
    world.pop("celery");
    assert_eq!(world.the("celery", QueueKind::Celery).oldest_age_ms, Some(0));
    assert_eq!(state(&world.the("unacked", QueueKind::Celery), "unacked"), 1);
}

#[test]
fn rq_has_registries_and_dates() {
    let mut world = World::new(10);
    world.sadd("rq:queues", "rq:queue:low");
    world.push_back("rq:queue:low", "j1");
    world.push_back("rq:queue:low", "j2");
    world.hset("rq:job:j1", "enqueued_at", "1970-01-01T00:16:38.500000Z");
    world.zadd("rq:failed:low", 5.0, "j0");
    world.hset("rq:job:j0", "ended_at", "1970-01-01T00:16:00Z");
    world.zadd("rq:wip:low", 5.0, "j3");
    let told = world.the("low", QueueKind::Rq);
    let of = |name| state(&told, name);
    assert_eq!([of("waiting"), of("active"), of("failed"), of("canceled")], [2, 1, 1, 0]);
    assert_eq!((told.oldest_age_ms, told.oldest_failed_age_ms), (Some(1_500), Some(40_000)));
}

#[test]
fn sidekiq_and_resque_are_told_apart() {
    let mut world = World::new(10);
    world.sadd("queues", "default");
    world
        .push("queue:default", &[r#"{"jid":"1","enqueued_at":999.5}"#, r#"{"jid":"2","enqueued_at":999.9}"#]);
    world.zadd("dead", 990.0, r#"{"jid":"3"}"#);
    world.zadd("retry", 2000.0, r#"{"jid":"4","failed_at":980000000000}"#);
    world.push("app:queue:low", &[r#"{"jid":"5","created_at":990}"#]);
    world.sadd("app:queues", "low");
    world.sadd("resque:queues", "mail");
    world.push_back("resque:queue:mail", r#"{"class":"X","args":[]}"#);
    world.push_back("resque:failed", r#"{"failed_at":"1970/01/01 00:16:00 UTC"}"#);
    let all = [
        "sidekiq app:low",
        "sidekiq dead",
        "sidekiq default",
        "resque failed",
        "resque mail",
        "sidekiq retry",
    ];
    assert_eq!(world.names(), all);
    let told = world.the("default", QueueKind::Sidekiq);
    assert_eq!((state(&told, "waiting"), told.oldest_age_ms), (2, Some(500)));
    assert_eq!(world.the("app:low", QueueKind::Sidekiq).oldest_age_ms, Some(10_000));
    assert_eq!(world.the("dead", QueueKind::Sidekiq).oldest_failed_age_ms, Some(10_000));
    assert_eq!(world.the("mail", QueueKind::Resque).oldest_age_ms, Some(0));
    assert_eq!(world.the("failed", QueueKind::Resque).oldest_failed_age_ms, Some(40_000));
}

#[test]
fn dramatiq_counts_what_workers_hold_and_arq_what_is_due() {
    let mut world = World::new(10);
    for (number, stamp) in [("1", "999000"), ("2", "999500")] {
        world.hset("dramatiq:mail.msgs", number, &format!("{{\"message_timestamp\":{stamp}}}"));
    }
    world.hset("dramatiq:mail.DQ.msgs", "3", "{}");
    world.push_back("dramatiq:mail", "2");
    world.zadd("arq:queue", 999_999.0, "a");
    world.zadd("arq:queue:later", 2_000_000.0, "b");
    let told = world.the("mail", QueueKind::Dramatiq);
    let of = |name| state(&told, name);
    assert_eq!([of("waiting"), of("delayed"), of("unacked"), of("dead")], [1, 1, 1, 0]);
    assert_eq!(told.oldest_age_ms, Some(500));
    assert_eq!(world.the("arq:queue", QueueKind::Arq).oldest_age_ms, Some(1));
    assert_eq!(world.the("arq:queue:later", QueueKind::Arq).oldest_age_ms, None);
}

#[test]
fn each_group_of_a_stream_is_a_queue() {
    let mut world = World::new(10);
    let add = add_entry;
    world.edit::<Stream>(0, "s", |stream| {
        add(stream, 999_000);
        add(stream, 999_700);
        assert!(stream.create_group(b"g", EntryId { ms: 999_000, seq: 0 }, Some(1)));
    });
    let told = world.the("s/g", QueueKind::Stream);
    assert_eq!((state(&told, "waiting"), state(&told, "pending")), (1, 0));
    assert_eq!((told.added, told.taken, told.oldest_age_ms), (1, 0, Some(300)));
    world.edit::<Stream>(0, "s", |stream| {
        add(stream, 999_900);
        stream.deliver_new(b"g", b"c", 2, false, 0);
        assert!(stream.create_group(b"late", EntryId { ms: 999_900, seq: 0 }, Some(3)));
    });
    let told = world.the("s/g", QueueKind::Stream);
    assert_eq!((state(&told, "waiting"), state(&told, "pending")), (0, 2));
    assert_eq!((told.added, told.taken, told.oldest_age_ms), (2, 2, None));
    assert_eq!(world.names(), ["stream s/g", "stream s/late"]);
    world.edit::<Stream>(0, "s", |stream| assert!(stream.destroy_group(b"g")));
    assert_eq!(world.names(), ["stream s/late"]);
    world.work("log", Kind::Stream);
    assert_eq!(world.names(), ["stream log", "stream s/late"]);
}

#[test]
fn no_more_are_followed_than_allowed() {
    let mut world = World::new(2);
    for key in ["arq:queue:a", "arq:queue:b", "arq:queue:c"] {
        world.zadd(key, 1.0, "x");
    }
    assert_eq!((world.names().len(), world.queues.dropped()), (2, 1));
    let long: &'static str = "x".repeat(KEY_BYTES_MAX + 1).leak();
    world.values.0.clear();
    world.queues.flushed(0);
    assert_eq!(world.names(), [""; 0]);
    world.waits(long, Kind::List);
    assert_eq!((world.names().len(), world.queues.dropped()), (0, 2));
    let mut off = World::new(0);
    off.work("a", Kind::List);
    off.hset("bull:a:meta", "version", "bullmq");
    assert_eq!((off.names().len(), off.queues.dropped(), off.queues.bytes()), (0, 0, 0));
}

#[test]
fn rates_are_those_of_the_last_whole_minute() {
    let mut world = World::new(2);
    let tick = |world: &mut World, ms: u64| {
        world.now_ms += ms;
        world.with(Queues::tick);
    };
    tick(&mut world, 0);
    world.waits("jobs", Kind::List);
    (0..60).for_each(|_| world.push("jobs", &["x"]));
    (0..30).for_each(|_| world.pop("jobs"));
    assert_eq!(world.the("jobs", QueueKind::List).added_per_second, 0.0);
    tick(&mut world, MINUTE_MS);
    let told = world.the("jobs", QueueKind::List);
    assert_eq!((told.added_per_second, told.taken_per_second, told.added), (1.0, 0.5, 60));
    tick(&mut world, MINUTE_MS);
    assert_eq!(world.the("jobs", QueueKind::List).added_per_second, 0.0);
}

#[test]
fn databases_that_are_emptied_or_exchanged_take_their_queues_along() {
    let mut world = World::new(10);
    world.hset("bull:mail:meta", "version", "bullmq:5");
    world.push("bull:mail:wait", &["1"]);
    let values = core::mem::take(&mut world.values.0);
    world.values.0.extend(values.into_iter().map(|((_, key), value)| ((3, key), value)));
    let marks = core::mem::take(&mut world.marks);
    world.marks.extend(marks.into_iter().map(|((_, key), mark)| ((3, key), mark)));
    world.queues.swapped(0, 3);
    world.mark();
    assert_eq!(world.names(), ["bullmq db3/mail"]);
    world.edit::<List>(3, "bull:mail:wait", |list| drop(list.pop_back()));
    assert_eq!(world.the("db3/mail", QueueKind::BullMq).taken, 1);
    world.work("jobs", Kind::List);
    world.workers.clear();
    world.values.0.clear();
    world.queues.flushed(3);
    assert_eq!(world.names(), ["list jobs"]);
    world.queues.flushed(0);
    assert_eq!(world.names(), [""; 0]);
    assert!(world.queues.is_empty() && world.queues.keys.len() == 0);
}

#[test]
fn what_a_whole_value_brings_or_takes_is_no_job_that_came_or_went() {
    let mut world = World::new(10);
    world.waits("jobs", Kind::List);
    world.push("jobs", &["1", "2"]);
    world.create(Kind::List, 0, "jobs");
    world.change(0, "jobs", 9, 8);
    let told = world.the("jobs", QueueKind::List);
    assert_eq!((told.added, told.taken), (2, 1));
    world.with(Queues::restart);
    let told = world.the("jobs", QueueKind::List);
    assert_eq!((told.added, told.taken), (0, 0));
}

/// One byte too long.
fn too_long() -> String {
    "x".repeat(KEY_BYTES_MAX + 1)
}

fn add_group(stream: &mut Stream, name: &str) {
    assert!(stream.create_group(name.as_bytes(), EntryId { ms: 0, seq: 0 }, Some(0)));
}

#[test]
fn a_group_with_a_long_name_is_dropped_and_its_name_is_not_kept() {
    let mut world = World::new(10);
    world.edit::<Stream>(0, "s", |stream| {
        add_group(stream, &too_long());
        add_group(stream, &too_long()[1..]);
    });
    assert_eq!(world.names(), [format!("stream s/{}", &too_long()[1..])]);
    assert_eq!(world.queues.dropped(), 1);
    world.edit::<Stream>(0, "alone", |stream| add_group(stream, &too_long()));
    world.waits("alone", Kind::Stream);
    assert_eq!((world.names().len(), world.names_noted()), (1, 2), "it is looked at again, for others");
    assert_eq!(world.queues.dropped(), 2);
    let found = libraries::find(&Seen {
        keys: world.keys(),
        key: b"alone",
        view: world.values.view(0, b"alone"),
        awaited: None,
    });
    assert!(found.queues.is_empty(), "it is not even copied");
}

#[test]
fn no_text_of_a_queue_is_too_long() {
    let mut world = World::new(10);
    let (short, long): (Box<[u8]>, Box<[u8]>) = (b"a"[..].into(), too_long().into_bytes().into());
    let mut follow = |id: Id, named: Option<Name>| world.with(|queues, at| queues.follow(id, named, at));
    let id = || Id::new(0, QueueKind::Rq, b"rq:queue:a");
    assert!(!follow(Id::part(0, QueueKind::Stream, b"s", &[b"/", &*long].concat()), None));
    assert!(!follow(Id::new(0, QueueKind::List, &long), None));
    assert!(!follow(id(), Some((short.clone(), long.clone()))));
    assert!(follow(id(), Some((short.clone(), short.clone()))));
    assert!(!follow(id(), Some((long, short))), "nor of one that is followed already");
}

#[test]
fn a_long_key_on_which_somebody_waits_is_not_kept() {
    let mut world = World::new(10);
    let set: &'static str = format!("{}:queues", too_long()).leak();
    world.sadd(set, "a");
    world.waits(set, Kind::List);
    let stream: &'static str = too_long().leak();
    world.waits(stream, Kind::Stream);
    world.with(Queues::tick);
    assert_eq!((world.names_noted(), world.marked), (0, 0));
    assert_eq!((world.queues.dropped(), world.queues.bytes()), (2, 0));
}

#[test]
fn long_members_and_long_job_numbers_are_not_read() {
    let mut world = World::new(10);
    let long = too_long();
    world.sadd("rq:queues", &format!("rq:queue:{long}"));
    world.sadd("rq:queues", "rq:queue:low");
    let keys = world.keys();
    assert_eq!(keys.members(b"rq:queues"), (vec![b"rq:queue:low".to_vec()], 1));
    assert!(world.queues.dropped() > 0, "that it is not followed is told");
    let dropped = world.queues.dropped();
    world.sadd("queues", &long);
    world.sadd("resque:queues", &long);
    world.sadd("_kombu.binding.x", &format!("x\x06\x16\x06\x16{long}"));
    assert_eq!(world.queues.dropped(), dropped + 3);
    world.sadd("app:queues", &long);
    assert_eq!(world.queues.dropped(), dropped + 3, "whose set that is, nobody knows");
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    for (job, age) in [(&long[1..], Some(1_000)), (&long, None)] {
        world.hset(&format!("bull:mail:{job}"), "timestamp", "999000");
        world.push_back("bull:mail:wait", job);
        assert_eq!(world.the("mail", QueueKind::BullMq).oldest_age_ms, age);
        world.hset(&format!("rq:job:{job}"), "enqueued_at", "1970-01-01T00:16:39Z");
        world.edit::<List>(0, "rq:queue:low", |list| list.push_front(job.as_bytes(), &Limits::default()));
        assert_eq!(world.the("low", QueueKind::Rq).oldest_age_ms, age);
    }
}

/// Counts how often a key is looked at.
struct Counting<'a>(&'a Values, core::cell::Cell<usize>);

impl Look for Counting<'_> {
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>> {
        self.1.set(self.1.get() + usize::from(key == b"queues"));
        self.0.view(db, key)
    }
}

#[test]
fn a_key_is_examined_once_however_often_it_was_suspected() {
    let mut world = World::new(10);
    world.sadd("queues", "a");
    let mut looks_after = |suspected: &[&str]| {
        suspected.iter().for_each(|key| world.queues.suspect(0, key.as_bytes()));
        let look = Counting(&world.values, core::cell::Cell::new(0));
        let at = Context { look: &look, clients: &libraries::NoClients, now: Now::at_ms(1_000_000) };
        world.queues.examine(&at);
        look.1.get()
    };
    let once = looks_after(&["queues"]);
    assert!(once > 0);
    assert_eq!(looks_after(&["queues", "other", "queues", "other", "queues"]), once);
    (0..2 * SUSPECTS_MAX).for_each(|_| world.queues.suspect(0, b"queues"));
    assert_eq!((world.queues.suspects.len(), world.queues.dropped()), (1, 0));
}

/// Creates a list; whether its key is examined for it.
fn is_examined_when_created(world: &mut World, key: &str) -> bool {
    world.create(Kind::List, 0, key);
    let is_suspect = world.queues.has_suspects();
    world.with(Queues::examine);
    is_suspect
}

#[test]
fn a_key_that_is_created_again_and_again_is_examined_once_in_each_tick() {
    let mut world = World::new(10);
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    let keys = ["bull:mail:wait", "queue:of-nobody"];
    keys.into_iter().for_each(|key| world.push(key, &["a"]));
    for renew in [Queues::tick, |queues: &mut Queues, _: &Context<'_>| queues.flushed(0)] {
        assert_eq!(keys.map(|key| is_examined_when_created(&mut world, key)), [false; 2]);
        world.with(renew);
        assert_eq!(keys.map(|key| is_examined_when_created(&mut world, key)), [true; 2]);
        assert_eq!(keys.map(|key| is_examined_when_created(&mut world, key)), [false; 2]);
    }
    assert!(is_examined_when_created(&mut world, "queue:gone"));
    assert!(is_examined_when_created(&mut world, "queue:gone"), "it went before anybody saw it");
    // Found, forgotten and made anew within one tick.
    assert!(is_examined_when_created(&mut world, keys[1]));
    world.queues.forget(0);
    world.values.0.clear();
    world.hset("bull:mail:meta", "version", "bullmq:6.7.0");
    assert_eq!(world.names(), ["bullmq mail"]);
}

#[test]
fn a_set_that_is_made_anew_within_one_tick_is_found_by_the_tick() {
    let mut world = World::new(10);
    let make_anew = |world: &mut World, member: &str| {
        world.values.0.clear();
        world.zadd("app:retry", 1.0, member);
        world.with(Queues::examine);
    };
    make_anew(&mut world, "no job");
    make_anew(&mut world, r#"{"jid":"1"}"#);
    assert_eq!((world.names().len(), world.queues.renewed.len()), (0, 1), "what it is was looked at before");
    world.with(Queues::tick);
    assert_eq!((world.names().len(), world.queues.renewed.len()), (1, 0));
}

#[test]
fn a_key_whose_number_does_not_fit_into_an_entry_is_counted_by_its_name() {
    let mut world = World::new(10);
    world.waits("jobs", Kind::List);
    world.push("jobs", &["a"]);
    assert_eq!((number_in_entry(u32::from(u16::MAX)), number_in_entry(1 << 16)), (u16::MAX, 0));
    let mark = world.marks.insert((0, b"jobs".to_vec()), 0);
    assert!(mark.is_some_and(|number| number > 0));
    world.push("jobs", &["b", "c"]);
    assert_eq!(world.the("jobs", QueueKind::List).added, 3);
}

#[test]
fn a_forgotten_keys_number_is_anothers_and_no_longer_its_own() {
    let mut world = World::new(10);
    world.waits("a", Kind::List);
    world.push("a", &["1", "2"]);
    let number = world.marks[&(0, b"a".to_vec())];
    world.queues.forget(0);
    world.mark();
    world.waits("b", Kind::List);
    world.push("b", &["1", "2", "3"]);
    assert_eq!(world.marks.get(&(0, b"b".to_vec())), Some(&number));
    world.push("a", &["3"]);
    assert_eq!((world.the("b", QueueKind::List).added, world.marks.len()), (3, 1));
}

#[test]
fn what_is_not_examined_for_want_of_room_is_counted() {
    let mut world = World::new(10);
    (0..SUSPECTS_MAX + 3).for_each(|n| world.queues.suspect(0, format!("{n}:queues").as_bytes()));
    assert!(world.queues.is_full_of_suspects());
    assert_eq!(world.queues.dropped(), 3);
}

#[test]
fn a_lower_bound_holds_for_keys_that_name_queues() {
    let mut world = World::new(3);
    let name = |world: &mut World, numbers: core::ops::Range<u8>| {
        numbers.for_each(|n| world.sadd(&format!("{n}:queues"), "a"));
    };
    name(&mut world, 0..3);
    world.queues.set_max(1);
    name(&mut world, 3..9);
    assert_eq!(world.names_noted(), 3);
}

#[test]
fn a_stream_is_charged_for_its_groups_not_for_its_entries() {
    let mut world = World::new(10);
    for n in 0..5 {
        world.edit::<Stream>(0, &format!("s{n}"), |stream| {
            (1..=20).for_each(|ms| add_entry(stream, ms));
            add_group(stream, "g");
        });
    }
    // A stream that is followed does not tell of another group.
    let Some(Value::Stream(last)) = world.values.0.get_mut(&(0, b"s4".to_vec())) else { panic!("no stream") };
    add_group(last, "late");
    assert_eq!(world.names().last().unwrap(), "stream s4/late");
}

#[test]
fn the_place_of_a_forgotten_queue_is_taken_by_the_next() {
    let mut world = World::new(10);
    ["a", "b"].into_iter().for_each(|key| world.waits(key, Kind::List));
    world.queues.forget(0);
    world.waits("c", Kind::List);
    world.waits("d", Kind::List);
    assert_eq!(world.queues.slots.len(), 3);
    assert!(world.queues.slots.iter().all(Option::is_some));
}

mod names;
mod room;
mod tell;
