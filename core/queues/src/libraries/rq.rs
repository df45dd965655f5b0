//! RQ: the set `rq:queues` names the queues, each a list of job numbers; a registry for each other state is a sorted set.
//!
//! Jobs are pushed to the tail and taken from the head; each is a hash that tells when it was enqueued and when it ended.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use crate::text::date_ms;
use types::{Kind, View};

pub(crate) static LIBRARY: Library =
    Library { name: "rq", remembers: false, lingers: false, shown, keys, depths, find };

const NAMES: &[u8] = b"rq:queues";
const QUEUE: &[u8] = b"rq:queue:";

/// States, in the library's words, with the registries that hold them.
const REGISTRIES: [(&str, &[u8]); 6] = [
    ("active", b"rq:wip:"),
    ("deferred", b"rq:deferred:"),
    ("scheduled", b"rq:scheduled:"),
    ("completed", b"rq:finished:"),
    ("failed", b"rq:failed:"),
    ("canceled", b"rq:canceled:"),
];

fn name(id: &Id) -> &[u8] {
    id.base.strip_prefix(QUEUE).unwrap_or(&id.base)
}

fn shown(id: &Id) -> String {
    shown_text(name(id))
}

fn keys(id: &Id) -> Vec<Part> {
    let registries = REGISTRIES.iter().map(|(_, prefix)| (Role::State, [prefix, name(id)].concat()));
    core::iter::once((Role::Jobs, id.base.to_vec())).chain(registries).collect()
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let waiting = keys.len(&id.base);
    let registries =
        REGISTRIES.iter().map(|(state, prefix)| (*state, keys.len(&[prefix, name(id)].concat())));
    let states: Vec<_> = core::iter::once(("waiting", waiting)).chain(registries).collect();
    let failed = keys.first(&[b"rq:failed:", name(id)].concat()).map(|(job, _)| job);
    Depths {
        waiting,
        oldest_ms: keys
            .head(&id.base)
            .and_then(|job| time_of(keys, job, b"enqueued_at").or_else(|| time_of(keys, job, b"created_at"))),
        oldest_failed_ms: failed.and_then(|job| time_of(keys, job, b"ended_at")),
        exists: states.iter().any(|(_, count)| *count > 0),
        states,
        workers: keys.len(&[b"rq:workers:", name(id)].concat()),
        ..Depths::default()
    }
}

fn time_of(keys: &Keys<'_>, job: &[u8], field: &[u8]) -> Option<i64> {
    keys.field_of_job(b"rq:job:", job, field).and_then(date_ms)
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    let id = |key: &[u8]| Id::new(seen.keys.db, QueueKind::Rq, key);
    if seen.key == NAMES && matches!(seen.view, Some(View::Set(_))) {
        found.names = true;
        let (members, too_long) = seen.keys.members(NAMES);
        found.too_long = too_long;
        for member in members.iter().filter(|member| member.starts_with(QUEUE)) {
            found.named(id(member), NAMES, member);
        }
    }
    // Whoever waits for the result of a job reads a stream.
    found.is_none = seen.key.starts_with(b"rq:results:");
    if !seen.key.starts_with(QUEUE) {
        return;
    }
    if seen.keys.has_member(NAMES, seen.key) {
        found.named(id(seen.key), NAMES, seen.key);
    } else if seen.awaited == Some(Kind::List) {
        found.queue(id(seen.key));
    }
}
