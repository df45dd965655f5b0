//! Sidekiq: the set `queues` names the queues, each a list `queue:<name>`; jobs that wait for a time are in three sorted sets of
//! all queues together. A namespace may stand in front of every key.
//!
//! Jobs are JSON objects that tell their times themselves, pushed to the head and taken from the tail.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use crate::text::{json_field, stamp_ms};
use types::View;

pub(crate) static LIBRARY: Library =
    Library { name: "sidekiq", remembers: false, lingers: false, shown, keys, depths, find };

const NAMES: &[u8] = b"queues";
const QUEUE: &[u8] = b"queue:";

/// The sorted sets of all queues.
pub(super) const SETS: [&str; 3] = ["schedule", "retry", "dead"];

/// The states that they hold, in the library's words.
const STATES: [&str; 3] = ["scheduled", "retry", "dead"];

/// Where the name begins behind `queue:`.
fn split(base: &[u8]) -> (&[u8], &[u8]) {
    let at = base.windows(QUEUE.len()).position(|part| part == QUEUE).unwrap_or(0);
    (&base[..at], base[at..].strip_prefix(QUEUE).unwrap_or(base))
}

fn shown(id: &Id) -> String {
    let (namespace, name) = split(&id.base);
    // A queue may be called as one of the sets is, which has the name already, or as if it had a namespace.
    let is_free = !SETS.iter().any(|set| set.as_bytes() == name) && !name.contains(&b':');
    shown_text(&if id.part.is_empty() && is_free { [namespace, name].concat() } else { id.base.to_vec() })
}

fn keys(id: &Id) -> Vec<Part> {
    let role = if id.part.is_empty() { Role::Jobs } else { Role::State };
    vec![(role, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let count = keys.len(&id.base);
    if let Some(state) = STATES.iter().find(|state| state.as_bytes() == &*id.part) {
        let first = keys.first(&id.base);
        let oldest_failed_ms = match *state {
            "scheduled" => None,
            "retry" => first.and_then(|(job, _)| time_of(job, b"failed_at")),
            _ => first.map(|(_, died_s)| (died_s * 1000.0) as i64),
        };
        return Depths {
            states: vec![(state, count)],
            oldest_failed_ms,
            exists: count > 0,
            ..Depths::default()
        };
    }
    let next = keys.tail(&id.base);
    Depths {
        states: vec![("waiting", count)],
        waiting: count,
        oldest_ms: next.and_then(|job| time_of(job, b"enqueued_at").or_else(|| time_of(job, b"created_at"))),
        exists: count > 0,
        ..Depths::default()
    }
}

fn time_of(job: &[u8], field: &[u8]) -> Option<i64> {
    json_field(job, field).and_then(stamp_ms)
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    match seen.view {
        Some(View::Set(_)) => find_named(seen, found),
        Some(View::ZSet(_)) => find_sets(seen, found),
        _ => {}
    }
    let Some(name) = seen.key.strip_prefix(QUEUE).filter(|_| seen.is_list()) else { return };
    if seen.keys.has_member(NAMES, name) {
        found.named(Id::new(seen.keys.db, QueueKind::Sidekiq, seen.key), NAMES, name);
    }
}

/// Any namespace may be one of something else: there, only queues count whose jobs are like the library's.
fn find_named(seen: &Seen<'_>, found: &mut Found) {
    let Some(namespace) = seen.key.strip_suffix(NAMES) else { return };
    if !(namespace.is_empty() || namespace.ends_with(b":")) {
        return;
    }
    found.names = true;
    let (members, too_long) = seen.keys.members(seen.key);
    found.too_long = if namespace.is_empty() { too_long } else { 0 };
    for member in members {
        let key = [namespace, QUEUE, &member].concat();
        if namespace.is_empty() || seen.keys.tail(&key).is_some_and(is_job) {
            found.named(Id::new(seen.keys.db, QueueKind::Sidekiq, &key), seen.key, &member);
        }
    }
}

fn find_sets(seen: &Seen<'_>, found: &mut Found) {
    for (set, state) in SETS.iter().zip(STATES) {
        let Some(namespace) = seen.key.strip_suffix(set.as_bytes()) else { continue };
        let is_its = namespace.is_empty() || namespace.ends_with(b":");
        if is_its && seen.keys.first(seen.key).is_some_and(|(job, _)| is_job(job)) {
            found.queue(Id::part(seen.keys.db, QueueKind::Sidekiq, seen.key, state.as_bytes()));
        }
    }
}

/// Whether the element is a job of the library: each has a number of its own.
fn is_job(text: &[u8]) -> bool {
    json_field(text, b"jid").is_some()
}
