//! Resque: the set `resque:queues` names the queues, each a list `resque:queue:<name>`; what failed is one list of all queues.
//!
//! Jobs are pushed to the tail and taken from the head, and tell no time.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use crate::text::{date_ms, json_field};
use types::View;

pub(crate) static LIBRARY: Library =
    Library { name: "resque", remembers: true, lingers: false, shown, keys, depths, find };

const NAMES: &[u8] = b"resque:queues";
const QUEUE: &[u8] = b"resque:queue:";
const FAILED: &[u8] = b"resque:failed";

fn shown(id: &Id) -> String {
    // A queue may be called as the list of what failed is, which has the name already, or as another one's key is.
    let is_free = |name: &&[u8]| *name != b"failed" && !name.starts_with(QUEUE);
    let name = id.base.strip_prefix(QUEUE).filter(is_free).unwrap_or(&id.base);
    shown_text(if id.part.is_empty() { name } else { &id.part })
}

fn keys(id: &Id) -> Vec<Part> {
    let role = if id.part.is_empty() { Role::Jobs } else { Role::State };
    vec![(role, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let count = keys.len(&id.base);
    if id.part.is_empty() {
        return Depths {
            states: vec![("waiting", count)],
            waiting: count,
            exists: count > 0,
            ..Depths::default()
        };
    }
    let oldest = keys.head(&id.base).and_then(|job| json_field(job, b"failed_at"));
    Depths {
        states: vec![("failed", count)],
        oldest_failed_ms: oldest.and_then(date_ms),
        exists: count > 0,
        ..Depths::default()
    }
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    let id = |key: &[u8]| Id::new(seen.keys.db, QueueKind::Resque, key);
    if seen.key == NAMES && matches!(seen.view, Some(View::Set(_))) {
        found.names = true;
        let (members, too_long) = seen.keys.members(NAMES);
        found.too_long = too_long;
        for member in members {
            found.named(id(&[QUEUE, &member].concat()), NAMES, &member);
        }
    }
    if seen.key == FAILED && seen.is_list() {
        found.queue(Id::part(seen.keys.db, QueueKind::Resque, FAILED, b"failed"));
    }
    let Some(name) = seen.key.strip_prefix(QUEUE).filter(|_| seen.is_list()) else { return };
    if seen.keys.has_member(NAMES, name) {
        found.named(id(seen.key), NAMES, name);
    }
}
