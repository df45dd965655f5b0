//! Dramatiq: a queue is a list of message numbers, `<namespace>:<name>`, beside the hash `….msgs` of its messages.
//!
//! A message stays in the hash until it is acknowledged, so those that workers hold are the ones of the hash that are not in
//! the list. Delayed messages are a queue of the same form behind `.DQ`; dead ones are in the sorted set `….XQ` by time.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use crate::text::{integer, json_field};
use types::View;

pub(crate) static LIBRARY: Library =
    Library { name: "dramatiq", remembers: false, lingers: true, shown, keys, depths, find };

/// The namespace that the library's broker has when it is given none.
const NAMESPACE: &[u8] = b"dramatiq:";
const MESSAGES: &[u8] = b".msgs";

fn shown(id: &Id) -> String {
    let name = id.base.strip_prefix(NAMESPACE).filter(|name| !name.contains(&b':'));
    shown_text(name.unwrap_or(&id.base))
}

fn keys(id: &Id) -> Vec<Part> {
    vec![
        (Role::Jobs, id.base.to_vec()),
        (Role::State, id.key(MESSAGES)),
        (Role::State, id.key(b".DQ.msgs")),
        (Role::State, id.key(b".XQ")),
    ]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let waiting = keys.len(&id.base);
    let states = vec![
        ("waiting", waiting),
        ("delayed", keys.len(&id.key(b".DQ.msgs"))),
        ("unacked", keys.len(&id.key(MESSAGES)).saturating_sub(waiting)),
        ("dead", keys.len(&id.key(b".XQ"))),
    ];
    let next = keys.head(&id.base).and_then(|message| keys.field(&id.key(MESSAGES), message));
    Depths {
        waiting,
        oldest_ms: next.and_then(|message| json_field(message, b"message_timestamp")).and_then(integer),
        oldest_failed_ms: keys.first(&id.key(b".XQ")).map(|(_, died_ms)| died_ms as i64),
        exists: states.iter().any(|(_, count)| *count > 0),
        states,
        ..Depths::default()
    }
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    let Some(base) = seen.key.strip_suffix(MESSAGES) else { return };
    let base = base.strip_suffix(b".DQ").or(base.strip_suffix(b".XQ")).unwrap_or(base);
    let is_its = || {
        let colon = base.iter().rposition(|byte| *byte == b':');
        colon.is_some_and(|at| seen.keys.exists(&[&base[..=at], b"__heartbeats__"].concat()))
    };
    if matches!(seen.view, Some(View::Hash(_))) && (base.starts_with(NAMESPACE) || is_its()) {
        found.queue(Id::new(seen.keys.db, QueueKind::Dramatiq, base));
    }
}
