//! Lists and sorted sets that somebody waits on, of which no library is known.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, QueueKind, shown_text};
use types::Kind;

pub(crate) static LIST: Library =
    Library { name: "list", remembers: true, lingers: true, shown, keys, depths, find: |_, _| () };

pub(crate) static ZSET: Library =
    Library { name: "zset", remembers: true, lingers: true, shown, keys, depths, find: |_, _| () };

fn shown(id: &Id) -> String {
    shown_text(&id.base)
}

fn keys(id: &Id) -> Vec<Part> {
    vec![(Role::Jobs, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let waiting = keys.len(&id.base);
    Depths { states: vec![("waiting", waiting)], waiting, exists: waiting > 0, ..Depths::default() }
}

/// Whoever waits on a key makes it a queue.
pub(super) fn find(seen: &Seen<'_>, awaited: Kind, found: &mut Found) {
    let kind = match awaited {
        Kind::List => QueueKind::List,
        Kind::ZSet => QueueKind::ZSet,
        Kind::String | Kind::Set | Kind::Hash | Kind::Stream => return,
    };
    found.queue(Id::new(seen.keys.db, kind, seen.key));
}
