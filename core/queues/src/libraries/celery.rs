//! Celery over kombu: `_kombu.binding.<exchange>` names the queues; each is a list, and one more for each priority.
//!
//! Messages are pushed to the head and taken from the tail, and tell no time. Those that a worker holds are in the hash
//! `unacked`, of all queues together. A `global_keyprefix` stands in front of every key.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use types::{Kind, View};

pub(crate) static LIBRARY: Library =
    Library { name: "celery", remembers: true, lingers: false, shown, keys, depths, find };

const BINDING: &[u8] = b"_kombu.binding.";

/// Stands between the parts of a binding, and between a queue and a priority: the usual one, and the one that Celery's manual shows
/// to those who set one.
const SEPARATOR: &[u8] = b"\x06\x16";
const COLON: &[u8] = b":";

/// Priorities that have a list of their own.
const PRIORITIES: core::ops::RangeInclusive<u8> = b'1'..=b'9';

/// The state that one hash keeps for all queues.
pub(crate) const UNACKED: &[u8] = b"unacked";

fn shown(id: &Id) -> String {
    shown_text(&id.base)
}

fn keys(id: &Id) -> Vec<Part> {
    if id.is_of_all() {
        return vec![(Role::State, id.base.to_vec())];
    }
    let separator = if id.part.is_empty() { SEPARATOR } else { &id.part };
    let by_priority = PRIORITIES.map(|priority| (Role::Jobs, id.key(&[separator, &[priority]].concat())));
    core::iter::once((Role::Jobs, id.base.to_vec())).chain(by_priority).collect()
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    if id.is_of_all() {
        let unacked = keys.len(&id.base);
        return Depths { states: vec![("unacked", unacked)], exists: unacked > 0, ..Depths::default() };
    }
    let waiting = self::keys(id).iter().map(|(_, key)| keys.len(key)).sum();
    Depths { states: vec![("waiting", waiting)], waiting, exists: waiting > 0, ..Depths::default() }
}

/// What stands in front of the name of a binding.
#[inline]
pub(super) fn binding(key: &[u8]) -> Option<&[u8]> {
    if key.starts_with(BINDING) {
        return Some(b"");
    }
    key.windows(BINDING.len()).position(|part| part == BINDING).map(|at| &key[..at])
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    match seen.view {
        Some(View::Set(_)) => {
            if let Some(prefix) = binding(seen.key) {
                find_bound(seen, prefix, found);
            }
        }
        Some(View::Hash(_) | View::ZSet(_)) => find_unacked(seen, found),
        _ => {}
    }
    if seen.awaited == Some(Kind::List) && is_private(without_priority(seen.key)) {
        found.is_none = true;
    }
}

fn find_bound(seen: &Seen<'_>, prefix: &[u8], found: &mut Found) {
    found.names = true;
    let (members, too_long) = seen.keys.members(seen.key);
    found.too_long = too_long;
    for member in members {
        let Some((queue, part)) = bound(&member).filter(|(queue, _)| !is_private(queue)) else { continue };
        let base = [prefix, queue].concat();
        found.named(Id::part(seen.keys.db, QueueKind::Celery, &base, part), seen.key, &member);
    }
}

/// The queue that a binding names, and the separator if it is not the usual one.
fn bound(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let behind = |separator: &[u8]| {
        let at = member.windows(separator.len()).rposition(|part| part == separator)?;
        Some(&member[at + separator.len()..]).filter(|queue| !queue.is_empty())
    };
    let usual = behind(SEPARATOR).map(|queue| (queue, &b""[..]));
    // Between the key and the queue stands a pattern, which is mostly empty.
    usual.or_else(|| behind(COLON).map(|queue| (queue, COLON)))
}

/// The queue whose list for a priority this may be.
fn without_priority(key: &[u8]) -> &[u8] {
    let [rest @ .., last] = key else { return key };
    let queue = rest.strip_suffix(SEPARATOR).or(rest.strip_suffix(COLON));
    queue.filter(|_| PRIORITIES.contains(last)).unwrap_or(key)
}

/// Whether the queue is one by which workers and those who control them talk, not one of tasks.
fn is_private(queue: &[u8]) -> bool {
    queue.ends_with(b".pidbox") || queue.starts_with(b"celeryev.")
}

/// The hash and its index are written together.
fn find_unacked(seen: &Seen<'_>, found: &mut Found) {
    let hash = seen.key.strip_suffix(b"_index").unwrap_or(seen.key);
    let is_pair = || {
        matches!(seen.keys.view(hash), Some(View::Hash(_)))
            && matches!(seen.keys.view(&[hash, b"_index"].concat()), Some(View::ZSet(_)))
    };
    if hash.ends_with(UNACKED) && is_pair() {
        found.queue(Id::part(seen.keys.db, QueueKind::Celery, hash, UNACKED));
    }
}
