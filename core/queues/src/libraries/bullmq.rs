//! BullMQ (and Bull, from which it came): `<prefix>:<name>:` and a word for each state.
//!
//! A queue is known by its `meta`, or, where the library was told not to write one, by a marker or waiting list beside the
//! counter of its jobs. Jobs are pushed to the head of `wait` and taken from its tail; each is a hash that tells when it was made.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use crate::text::integer;
use types::{Kind, View};

pub(crate) static LIBRARY: Library =
    Library { name: "bullmq", remembers: false, lingers: false, shown, keys, depths, find };

/// The prefix that a queue has when it is given none.
const PREFIX: &[u8] = b"bull:";

/// States, in the library's words, with the keys that hold them.
const STATES: [(&str, &[u8]); 9] = [
    ("waiting", b":wait"),
    ("active", b":active"),
    ("delayed", b":delayed"),
    ("prioritized", b":prioritized"),
    ("paused", b":paused"),
    ("waiting-children", b":waiting-children"),
    ("completed", b":completed"),
    ("failed", b":failed"),
    ("stalled", b":stalled"),
];

/// The states whose jobs a worker would take next.
const WAITING: [&[u8]; 3] = [b":wait", b":prioritized", b":paused"];

fn shown(id: &Id) -> String {
    let name = id.base.strip_prefix(PREFIX).filter(|name| !name.contains(&b':'));
    shown_text(name.unwrap_or(&id.base))
}

fn keys(id: &Id) -> Vec<Part> {
    let of_states = STATES.iter().map(|(_, suffix)| {
        let role = if WAITING.contains(suffix) { Role::Jobs } else { Role::State };
        (role, id.key(suffix))
    });
    let others = [(Role::Awaited, id.key(b":marker")), (Role::Aside, id.key(b":events"))];
    of_states.chain(others).collect()
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let states = STATES.map(|(state, suffix)| (state, count(keys, &id.key(suffix))));
    let waiting = STATES.iter().zip(states).filter(|((_, suffix), _)| WAITING.contains(suffix));
    let waiting = waiting.map(|(_, (_, count))| count).sum();
    let next = [keys.tail(&id.key(b":wait")), keys.tail(&id.key(b":paused"))];
    let by_priority = keys.first(&id.key(b":prioritized")).map(|(job, _)| job);
    let made = next.into_iter().chain([by_priority]).flatten().filter_map(|job| made_ms(id, keys, job));
    Depths {
        waiting,
        oldest_ms: made.min(),
        oldest_failed_ms: keys.first(&id.key(b":failed")).map(|(_, finished)| finished as i64),
        exists: states.iter().any(|(_, count)| *count > 0)
            || keys.exists(&id.key(b":meta"))
            || keys.exists(&id.key(b":id")),
        states: states.to_vec(),
        finished: Some(
            [b":metrics:completed", &b":metrics:failed"[..]].map(|suffix| finished(id, keys, suffix)),
        ),
        ..Depths::default()
    }
}

/// Jobs that workers have counted who were told to keep metrics.
fn finished(id: &Id, keys: &Keys<'_>, suffix: &[u8]) -> u64 {
    keys.field(&id.key(suffix), b"count")
        .and_then(integer)
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0)
}

/// Jobs of a state. What older versions put behind the last one to wake a worker is none.
fn count(keys: &Keys<'_>, key: &[u8]) -> u64 {
    let is_marked = keys.tail(key).is_some_and(|job| job.starts_with(b"0:"));
    keys.len(key) - u64::from(is_marked)
}

fn made_ms(id: &Id, keys: &Keys<'_>, job: &[u8]) -> Option<i64> {
    keys.field_of_job(&id.key(b":"), job, b"timestamp").and_then(integer)
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    if let Some(base) = base_of(seen) {
        found.queue(Id::new(seen.keys.db, QueueKind::BullMq, base));
    } else {
        found.is_none = seen.key.strip_suffix(b":events").is_some_and(|base| has_meta(&seen.keys, base));
    }
}

/// The queue to which the key belongs, if there is enough of it to be sure. A prefix ends in a colon.
fn base_of<'a>(seen: &Seen<'a>) -> Option<&'a [u8]> {
    let of = |suffix: &[u8]| seen.key.strip_suffix(suffix).filter(|base| base.contains(&b':'));
    let has_counter = |base: &&[u8]| seen.keys.exists(&[base, &b":id"[..]].concat());
    match seen.view {
        Some(View::Hash(_)) => return of(b":meta").filter(|base| has_meta(&seen.keys, base)),
        Some(View::ZSet(_)) => {
            if let Some(base) = of(b":marker").filter(has_counter) {
                return Some(base);
            }
        }
        Some(View::List(_)) => return of(b":wait").filter(has_counter),
        _ => {}
    }
    match seen.awaited? {
        Kind::ZSet => of(b":marker"),
        Kind::List => of(b":wait").filter(|base| has_counter(base) || has_meta(&seen.keys, base)),
        _ => None,
    }
}

/// Whether the hash beside the queue is one that the library writes.
fn has_meta(keys: &Keys<'_>, base: &[u8]) -> bool {
    let meta = [base, b":meta"].concat();
    keys.field(&meta, b"opts.maxLenEvents").is_some()
        || keys.field(&meta, b"version").is_some_and(|version| version.starts_with(b"bullmq"))
}

/// How a worker's connections are called: by the prefix, and the name in base 64.
pub(crate) fn client_name(id: &Id) -> Option<Vec<u8>> {
    let colon = id.base.iter().rposition(|byte| *byte == b':').filter(|_| id.kind == QueueKind::BullMq)?;
    let (prefix, name) = id.base.split_at(colon + 1);
    Some([prefix, &base64(name)].concat())
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of_three = |three: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        let digit = |at: usize| DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
        core::array::from_fn(|at| if at <= three.len() { digit(at) } else { b'=' })
    };
    bytes.chunks(3).flat_map(|three| -> [u8; 4] { of_three(three) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_called_by_their_queue() {
        for (base, name) in [
            ("bull:mail", "bull:bWFpbA=="),
            ("a:b:q", "a:b:cQ=="),
            ("bull:abc", "bull:YWJj"),
            ("bull:\u{ff}?", "bull:w78/"),
        ] {
            let id = Id::new(0, QueueKind::BullMq, base.as_bytes());
            assert_eq!(client_name(&id).as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(client_name(&Id::new(0, QueueKind::List, b"bull:mail")), None);
    }
}
