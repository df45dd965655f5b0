//! Streams: each group is a queue of its own. What a group has not read waits, what it has not acknowledged is pending.
//!
//! A stream counts itself what was added and what a group has read, and its entries tell their time in their names. One on which
//! clients wait without a group is told with its length: nobody takes anything from it.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, KEY_BYTES_MAX, QueueKind};
use types::stream::{Group, Id as EntryId, Stream};
use types::{Kind, View};

pub(crate) static LIBRARY: Library =
    Library { name: "stream", remembers: false, lingers: false, shown, keys, depths, find };

fn shown(id: &Id) -> Vec<u8> {
    let parts: &[&[u8]] = &[&id.base, &id.part];
    if id.part.is_empty() { id.base.to_vec() } else { parts.join(&b'/') }
}

fn keys(id: &Id) -> Vec<Part> {
    vec![(Role::Awaited, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let Some(View::Stream(stream)) = keys.view(&id.base) else { return Depths::default() };
    match (id.part.is_empty(), stream.group(&id.part)) {
        (_, Some(group)) => of_group(stream, group),
        (true, None) => Depths {
            states: vec![("length", stream.entry_count())],
            exists: true,
            told: Some((stream.entries_added(), 0)),
            ..Depths::default()
        },
        (false, None) => Depths::default(),
    }
}

fn of_group(stream: &Stream, group: &Group) -> Depths {
    let lag = stream.lag(group);
    let next = group.last_delivered().next();
    let oldest = next.and_then(|next| stream.range(next, EntryId::MAX).next());
    let (added, waiting) = (stream.entries_added(), lag.unwrap_or(0));
    // Deletions can make the lag unknowable; then it is not told.
    let states =
        lag.map(|lag| ("waiting", lag)).into_iter().chain([("pending", group.pending().len() as u64)]);
    Depths {
        states: states.collect(),
        waiting,
        oldest_ms: oldest.map(|entry| entry.id.ms as i64),
        exists: true,
        told: Some((added, group.entries_read().unwrap_or(added.saturating_sub(waiting)))),
        ..Depths::default()
    }
}

fn find(seen: &Seen<'_>, found: &mut Found) {
    let (db, key) = (seen.keys.db, seen.key);
    if let Some(View::Stream(stream)) = seen.view {
        for (group, _) in stream.groups().take(seen.keys.names_max) {
            if group.len() > KEY_BYTES_MAX {
                found.too_long += 1;
            } else {
                found.queue(Id::part(db, QueueKind::Stream, key, group));
            }
        }
        found.names = has_groups(found) || seen.awaited.is_some();
    }
    if seen.awaited == Some(Kind::Stream) && !has_groups(found) {
        found.queue(Id::new(db, QueueKind::Stream, key));
    }
}

fn has_groups(found: &Found) -> bool {
    !found.queues.is_empty() || found.too_long > 0
}
