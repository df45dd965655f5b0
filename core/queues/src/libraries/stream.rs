//! Streams: each group is a queue of its own. What a group has not read waits, what it has not acknowledged is pending.
//!
//! A stream counts itself what was added and what a group has read, and its entries tell their time in their names. One on which
//! clients wait without a group is told with its length: nobody takes anything from it.

use super::{Depths, Found, Keys, Library, Part, Role, Seen};
use crate::id::{Id, KEY_BYTES_MAX, QueueKind, shown_text, shown_without};
use types::stream::{Group, Id as EntryId, Stream};
use types::{Kind, View};

pub(crate) static LIBRARY: Library =
    Library { name: "stream", remembers: false, lingers: false, shown, keys, depths, find };

/// Stands between a stream and its group in the name, and in front of the group in the [`Id`]: a group may be called nothing.
const SLASH: &[u8] = b"/";

/// The first slash is the one behind the stream.
fn shown(id: &Id) -> String {
    let key = shown_without(&id.base, Some(SLASH[0]));
    let group = id.part.strip_prefix(SLASH).map(shown_text).unwrap_or_default();
    if id.part.is_empty() { key } else { format!("{key}/{group}") }
}

fn keys(id: &Id) -> Vec<Part> {
    vec![(Role::Awaited, id.base.to_vec())]
}

fn depths(id: &Id, keys: &Keys<'_>) -> Depths {
    let Some(View::Stream(stream)) = keys.view(&id.base) else { return Depths::default() };
    match id.part.strip_prefix(SLASH) {
        Some(group) => stream.group(group).map(|group| of_group(stream, group)).unwrap_or_default(),
        None => Depths {
            states: vec![("length", stream.entry_count())],
            exists: true,
            told: Some((stream.entries_added(), 0)),
            ..Depths::default()
        },
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
        for (group, _) in stream.groups().skip(seen.keys.names_from).take(seen.keys.names_max) {
            if group.len() > KEY_BYTES_MAX {
                found.too_long += 1;
            } else {
                found.queue(Id::part(db, QueueKind::Stream, key, &[SLASH, group].concat()));
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
