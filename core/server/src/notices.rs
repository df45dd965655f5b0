//! What an operator must hear although nobody asks: that clients are being refused, and why.
//!
//! Each topic has a line at its first occurrence and then at most one a minute with the number of those that came since: a
//! refusal is the cheapest thing that a stranger can have ten thousand times a second. What the engine counts is looked at
//! once a second, so a refusal itself costs nothing more; but that memory is full is known to health with the first one.

use std::sync::atomic::{AtomicU64, Ordering};

use engine::{Engine, Job, Refusals};
use parking_lot::Mutex;

use crate::logger::Level;
use crate::shared::{BackgroundJob, Shared};

/// Seconds between two lines on the same topic.
const QUIET_S: u64 = 60;

/// For how long memory counts as full behind a refusal, seconds: what was asked for is gone by the next look.
const REFUSING_S: u64 = 3;

/// What lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Memory is full and nothing may be evicted.
    Memory,
    /// `maxclients` are connected.
    Clients,
    /// Wrong passwords and unknown users.
    Passwords,
    /// A stranger came while there is no password.
    Protected,
    /// Plaintext where only TLS is spoken.
    Plaintext,
    /// A TLS handshake that came to nothing.
    Handshake,
    /// HTTP on the port of clients.
    Http,
    /// Output that is not read.
    Output,
    /// A thread with more connections waiting for it than it can note down.
    Crowd,
    /// A request that does not fit.
    Query,
    /// Replicas that do not acknowledge.
    Unacked,
    /// Too few replicas to write.
    Replicas,
    /// The kernel lets nobody in.
    Accept,
}

/// How many topics there are.
const TOPICS: usize = Topic::Accept as usize + 1;

/// One topic's lines.
#[derive(Clone, Debug, Default)]
struct Told {
    /// When its last line was written, monotonic seconds.
    at_s: Option<u64>,
    /// How often it occurred since.
    since: u64,
    /// The newest text.
    text: String,
}

impl Told {
    /// It occurred `count` times more; the line to be written now, if any.
    fn note(&mut self, now_s: u64, count: u64, text: String) -> Option<String> {
        self.since += count;
        self.text = text;
        self.due(now_s)
    }

    /// It is over; whether its last line has told all of it.
    fn ends(&mut self) -> bool {
        let is_told = self.at_s.is_some() && self.since == 0;
        if is_told {
            *self = Told::default();
        }
        is_told
    }

    fn due(&mut self, now_s: u64) -> Option<String> {
        if self.since == 0 || self.at_s.is_some_and(|at_s| now_s < at_s + QUIET_S) {
            return None;
        }
        let text = std::mem::take(&mut self.text);
        let line = match (self.since, self.at_s) {
            (1, _) => text,
            (count, None) => format!("{text} ({count} times)"),
            (count, Some(_)) => format!("{text} ({count} times since the last such line)"),
        };
        (self.at_s, self.since) = (Some(now_s), 0);
        Some(line)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    topics: Mutex<[Told; TOPICS]>,
    /// When the engine's counters are looked at next, monotonic seconds.
    due_s: AtomicU64,
    /// What they said last.
    seen: Mutex<Refusals>,
    /// Until when memory counts as full because a command was refused for want of it, monotonic seconds.
    refusing_until_s: AtomicU64,
    /// That memory is full, in words; none while it is not.
    pub(crate) full: Mutex<Option<String>>,
    /// That writes are refused for want of replicas, in words; none while they are not.
    pub(crate) replicas: Mutex<Option<String>>,
}

impl Notices {
    /// Something occurred.
    pub(crate) fn note(&self, shared: &Shared, topic: Topic, text: String) {
        self.note_many(shared, topic, 1, text);
    }

    fn note_many(&self, shared: &Shared, topic: Topic, count: u64, text: String) {
        let line = self.topics.lock()[topic as usize].note(shared.clock.micros() / 1_000_000, count, text);
        line.into_iter().for_each(|line| tell(shared, Level::Warning, line));
    }

    /// A command has just been refused for want of memory: whoever asks next hears it. The first one of a second tells.
    pub(crate) fn memory_refused(&self, shared: &Shared, engine: &Engine) {
        let now_s = shared.clock.micros() / 1_000_000;
        let until_s = now_s + REFUSING_S;
        if self.refusing_until_s.swap(until_s, Ordering::Relaxed) < until_s {
            self.look_at_fullness(shared, engine, now_s);
        }
    }

    /// Ten times a second or so: looks at how full memory is, and once a second at what the engine has refused since.
    pub(crate) fn look(&self, shared: &Shared, engine: &Engine) {
        let now_s = shared.clock.micros() / 1_000_000;
        self.look_at_fullness(shared, engine, now_s);
        self.look_at_replicas(shared, engine);
        if now_s < self.due_s.load(Ordering::Relaxed) {
            return;
        }
        self.due_s.store(now_s + 1, Ordering::Relaxed);
        let now = engine.refusals();
        let before = std::mem::replace(&mut *self.seen.lock(), now);
        // CONFIG RESETSTAT sets them back.
        let grown = |now: u64, before: u64| if now < before { now } else { now - before };
        let memory = grown(now.memory, before.memory);
        if memory > 0 {
            let full = self.full.lock().clone().unwrap_or_default();
            self.note_many(shared, Topic::Memory, memory, format!("A command was refused: {full}"));
        }
        let unreplicated = grown(now.unreplicated, before.unreplicated);
        if unreplicated > 0 {
            let why = self.replicas.lock().clone();
            let why = why.unwrap_or_else(|| "too few replicas acknowledged what was written".to_owned());
            self.note_many(shared, Topic::Replicas, unreplicated, format!("A write was refused: {why}"));
        }
        let clients = grown(now.clients, before.clients);
        if clients > 0 {
            let text =
                format!("A connection was refused: maxclients {} are connected", engine.config.maxclients);
            self.note_many(shared, Topic::Clients, clients, text);
        }
        let http = grown(now.http, before.http);
        if http > 0 {
            let text = "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to this server, \
                        maybe by a web page in a user's browser (Cross Protocol Scripting). The connection was closed";
            self.note_many(shared, Topic::Http, http, text.to_owned());
        }
        let passwords = grown(now.passwords, before.passwords);
        if passwords > 0 {
            let latest = engine.latest_wrong_login().map_or(String::new(), |(user, address)| {
                format!("; the latest for user '{}' from {address}", user.escape_debug())
            });
            self.note_many(
                shared,
                Topic::Passwords,
                passwords,
                format!("A wrong password was given{latest}"),
            );
        }
        let due: Vec<String> = self.topics.lock().iter_mut().filter_map(|topic| topic.due(now_s)).collect();
        due.into_iter().for_each(|line| tell(shared, Level::Warning, line));
    }

    fn look_at_replicas(&self, shared: &Shared, engine: &Engine) {
        let complaint = engine.replicas_complaint();
        let is_well = complaint.is_none();
        let was_short = std::mem::replace(&mut *self.replicas.lock(), complaint).is_some();
        if was_short && is_well && self.topics.lock()[Topic::Replicas as usize].ends() {
            tell(shared, Level::Notice, "Enough replicas keep up again: writes are accepted.".to_owned());
        }
    }

    fn look_at_fullness(&self, shared: &Shared, engine: &Engine, now_s: u64) {
        let of = |bytes: usize| telemetry::human(bytes as f64);
        let (used, limit) = (crate::allocator::used(), engine.config.maxmemory as usize);
        let was_refused = now_s < self.refusing_until_s.load(Ordering::Relaxed);
        // What was asked for came on top, and is gone with its refusal.
        let refusing = || {
            let text = format!(
                "memory is full for what is asked: {} of maxmemory {} are in use",
                of(used),
                of(limit)
            );
            was_refused.then_some(text)
        };
        let full = engine.fullness(used).map(|full| {
            let reserve = match full.reserve {
                0 => String::new(),
                reserve => format!(", {} of it for consumers only", of(reserve)),
            };
            format!("memory is full: {} of maxmemory {} are in use{reserve}", of(full.used), of(full.limit))
        });
        let full = full.or_else(refusing);
        let is_full = full.is_some();
        let was_full = std::mem::replace(&mut *self.full.lock(), full).is_some();
        if was_full && !is_full && self.topics.lock()[Topic::Memory as usize].ends() {
            tell(shared, Level::Notice, "Memory has room again.".to_owned());
        }
    }
}

/// Lines are written by a thread that may wait for whoever reads them.
fn tell(shared: &Shared, level: Level, text: String) {
    shared.in_background(BackgroundJob::Engine(Job::Log { level: level as u8, text }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_a_line_at_once_and_then_one_a_minute_with_the_number() {
        let mut told = Told::default();
        assert_eq!(told.due(0), None);
        assert_eq!(told.note(5, 1, "a".into()).as_deref(), Some("a"));
        assert_eq!(told.note(6, 1800, "b".into()), None);
        assert_eq!(told.note(64, 46, "c".into()), None);
        assert_eq!(told.due(64), None);
        assert_eq!(told.due(65).as_deref(), Some("c (1846 times since the last such line)"));
        assert_eq!(told.due(1000), None);
        assert_eq!(told.note(1000, 1, "d".into()).as_deref(), Some("d"));
        assert_eq!(Told::default().note(0, 3, "e".into()).as_deref(), Some("e (3 times)"));
        assert!(told.ends() && !told.ends(), "the end is told once");
        assert_eq!(told.note(1001, 1, "f".into()).as_deref(), Some("f"));
    }
}
