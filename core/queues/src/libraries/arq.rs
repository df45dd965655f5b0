//! arq: a sorted set of job numbers by the time, in milliseconds, from which they may run. Workers look at it by themselves.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use types::View;

pub(crate) static LIBRARY: Library =
    Library { name: "arq", remembers: false, lingers: true, shown, keys, depths, find };

const QUEUE: &[u8] = b"arq:queue";

/// Beside each queue stands when its worker was last well: no queue.
const HEALTH_CHECK: &[u8] = b":health-check";

fn shown(id: &Id) -> String {
    shown_text(&id.base)
}

fn keys(id: &Id) -> Vec<Part> {
    vec![(Role::Jobs, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let waiting = keys.len(&id.base);
    let oldest_ms = keys.first(&id.base).map(|(_, from_ms)| from_ms as i64);
    Depths {
        states: vec![("waiting", waiting)],
        waiting,
        // One whose time is still to come is not late.
        oldest_ms: oldest_ms.filter(|from_ms| *from_ms <= keys.now_ms),
        exists: waiting > 0,
        ..Depths::default()
    }
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    let Some(rest) = seen.key.strip_prefix(QUEUE) else { return };
    let is_queue = rest.is_empty() || rest.starts_with(b":") && !rest.ends_with(HEALTH_CHECK);
    if is_queue && matches!(seen.view, Some(View::ZSet(_))) {
        found.queue(Id::new(seen.keys.db, QueueKind::Arq, seen.key));
    }
}
