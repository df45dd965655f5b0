//! The stream: entries of fields and values under rising identities, and groups that consume them.
//!
//! Entries lie in packed chunks (`chunk`) in a deque ordered by the first identity of each: additions come at
//! the back, trims at the front, and everything between is found by binary search. Chunks and groups are
//! reference-counted, so a snapshot shares them and a write copies what it touches.
//!
//! Invariants: no chunk is without a live entry; identities rise through the deque; `len` is the number of live
//! entries; `last_id` is at least the identity of every entry held; no group has read more entries than `entries_added`,
//! and no count is above [`COUNT_MAX`]: what a log or a snapshot tells of a count is what was here.

use crate::estimate;
use crate::{Collection, Kind, Limits};
use chunk::Chunk;
pub use chunk::{Entry, Fields};
pub use deliver::{AutoClaimed, Claim, Claimed, Delivered, Idle};
pub use group::{Consumer, Group, Pending, PendingFilter};
pub use id::{AppendError, Id, IdText, NewId};
pub use iter::Iter;
pub use references::{References, Removal, TrimOutcome};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod chunk;
mod deliver;
mod group;
mod id;
mod iter;
mod listed;
mod references;
#[cfg(test)]
mod tests;

/// The most bytes of a node in Redis, whatever `stream-node-max-bytes` says.
const NODE_BYTES_MAX: usize = 1 << 30;
/// The most that is counted of anything: what a reply and a record of the log can hold. More is not counted.
const COUNT_MAX: u64 = i64::MAX as u64;
/// Chunks, and groups, of a stream that counts as packed.
const PACKED_PARTS_MAX: usize = 4;
/// Room given to a new chunk in advance, bytes at most: a huge entry before says nothing about the next ones.
const CHUNK_GUESS_MAX: usize = 4096;

/// Entries in order of identity, with the groups that consume them.
///
/// A stream stays when its last entry goes; only one that never held anything counts as empty.
#[derive(Clone)]
pub struct Stream(Box<Inner>);

#[derive(Clone, Default)]
struct Inner {
    nodes: VecDeque<Node>,
    len: u64,
    last_id: Id,
    max_deleted_id: Id,
    entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Arc<Group>>,
    /// Something was stored once: the key has to stay.
    used: bool,
}

/// A chunk and the identity of its first entry.
#[derive(Clone)]
struct Node {
    first: Id,
    chunk: Arc<Chunk>,
}

/// What a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// At most so many of the latest entries (MAXLEN).
    Latest(u64),
    /// Entries from this identity on (MINID).
    From(Id),
}

/// How exactly a trim is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// To the entry.
    Exact,
    /// Whole chunks only, and at most so many entries; 0 means any number.
    Approximate(u64),
}

/// What a trim took away.
struct Cut {
    removed: u64,
    /// The last chunk that went as a whole.
    last_chunk: Option<Arc<Chunk>>,
    /// The last entry that went out of a chunk that stays.
    last_marked: Option<Id>,
}

impl Cut {
    /// The last entry that went.
    fn last_gone(&self) -> Option<Id> {
        self.last_marked.or_else(|| self.last_chunk.as_ref()?.iter().last().map(|entry| entry.id))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.range(Id::MIN, Id::MAX);
        f.debug_map().entries(entries.map(|entry| (entry.id, entry.fields().collect::<Vec<_>>()))).finish()
    }
}

impl Collection for Stream {
    const KIND: Kind = Kind::Stream;

    fn new() -> Stream {
        Stream(Box::default())
    }

    fn is_empty(&self) -> bool {
        !self.0.used
    }

    fn elements(&self) -> usize {
        self.entry_count() as usize
    }

    fn share(&self) -> Stream {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        "stream"
    }

    fn is_packed(&self) -> bool {
        self.0.nodes.len() <= PACKED_PARTS_MAX && self.0.groups.len() <= PACKED_PARTS_MAX
    }

    fn heap_bytes(&self) -> usize {
        let each = size_of::<Chunk>() + 2 * size_of::<usize>();
        let size = |i: usize| each + self.0.nodes[i].chunk.capacity();
        let chunks = estimate::sum(self.0.nodes.len(), estimate::PARTS_MAX, size);
        let groups = self.0.groups.iter().map(|(name, group)| name.len() + group.heap_bytes());
        let groups = estimate::sum_of_first(self.0.groups.len(), groups);
        size_of::<Inner>() + self.0.nodes.capacity() * size_of::<Node>() + chunks + groups
    }
}

impl Stream {
    /// Number of entries.
    pub fn entry_count(&self) -> u64 {
        self.0.len
    }

    /// The greatest identity ever used.
    pub fn last_id(&self) -> Id {
        self.0.last_id
    }

    /// The greatest identity that was deleted by name; `0-0` when none was.
    pub fn max_deleted_id(&self) -> Id {
        self.0.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.0.entries_added
    }

    /// The first entry's identity, `0-0` when there is none.
    pub fn first_id(&self) -> Id {
        self.first().map_or(Id::MIN, |entry| entry.id)
    }

    /// The first entry.
    pub fn first(&self) -> Option<Entry<'_>> {
        self.range(Id::MIN, Id::MAX).next()
    }

    /// The last entry.
    pub fn last(&self) -> Option<Entry<'_>> {
        self.range_rev(Id::MIN, Id::MAX).next()
    }

    /// Number of chunks: what XINFO reports as keys of the radix tree.
    pub fn chunk_count(&self) -> usize {
        self.0.nodes.len()
    }

    /// Number of nodes that Redis' radix tree has for these chunks: XINFO reports them. Runs of bytes without a branch
    /// are one node there, and each key ends in one without bytes.
    pub fn radix_node_count(&self) -> usize {
        fn below(keys: &[[u8; 16]], depth: usize) -> usize {
            let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 1 };
            if keys.len() == 1 {
                return 1 + usize::from(depth < first.len());
            }
            let shared = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
            let branch = depth + shared;
            let children = keys.chunk_by(|a, b| a[branch] == b[branch]);
            usize::from(shared > 0) + 1 + children.map(|part| below(part, branch + 1)).sum::<usize>()
        }
        let keys: Vec<[u8; 16]> = self.0.nodes.iter().map(|node| node.chunk.first_id().to_bytes()).collect();
        below(&keys, 0)
    }

    /// Replace the counters, as XSETID and loading do. What cannot be, because there are later or more entries,
    /// is corrected: a file may say anything. `entries_added` stays a number that a reply can hold, and what groups have read
    /// never exceeds it.
    pub fn set_counters(&mut self, last_id: Id, entries_added: u64, max_deleted_id: Id) {
        self.0.used = true;
        self.0.last_id = self.last().map_or(last_id, |last| last.id.max(last_id));
        self.0.entries_added = entries_added.clamp(self.0.len, COUNT_MAX);
        self.0.max_deleted_id = max_deleted_id.min(self.0.last_id);
        let added = self.0.entries_added;
        let ahead = |group: &&mut Arc<Group>| group.entries_read().is_some_and(|read| read > added);
        for group in self.0.groups.values_mut().filter(ahead) {
            let last_delivered = group.last_delivered();
            Arc::make_mut(group).set_position(last_delivered, Some(added));
        }
    }

    /// Add an entry and return its identity. `fields` are pairs of field and value.
    pub fn append<'f, F>(
        &mut self,
        id: NewId,
        fields: F,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<Id, AppendError>
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        let id = id.resolve(self.0.last_id, now_ms)?;
        let opens = self.0.takes_no_more(fields.clone(), limits);
        self.0.append_to_chunk(id, fields, opens);
        Ok(id)
    }

    /// Adds an entry that a loader has read, with the greatest identity so far. `opens`: a node began with it, and ends
    /// where the next one begins, whatever the limits say: what the writer kept together stays together.
    ///
    /// # Errors
    /// When `id` is not greater than all before.
    pub fn append_loaded<'f, F>(&mut self, id: Id, fields: F, opens: bool) -> Result<(), AppendError>
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        let id = NewId::Exact(id).resolve(self.0.last_id, 0)?;
        let is_full = self.0.nodes.back().is_none_or(|node| node.chunk.listed_bytes() >= NODE_BYTES_MAX);
        self.0.append_to_chunk(id, fields, opens || is_full);
        Ok(())
    }

    /// The entries, chunk by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = impl Iterator<Item = Entry<'_>>> {
        self.0.nodes.iter().map(|node| node.chunk.iter())
    }

    /// The entry `id`.
    pub fn entry(&self, id: Id) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Delete the entry `id`; false when there is none.
    pub fn delete(&mut self, id: Id) -> bool {
        let behind = self.0.nodes.partition_point(|node| node.first <= id);
        let Some(i) = behind.checked_sub(1) else { return false };
        if self.entry(id).is_none() || !Arc::make_mut(&mut self.0.nodes[i].chunk).delete(id) {
            return false;
        }
        if self.0.nodes[i].chunk.live() == 0 {
            self.0.nodes.remove(i);
        }
        self.0.len -= 1;
        self.0.max_deleted_id = self.0.max_deleted_id.max(id);
        true
    }

    /// Remove entries from the front; returns how many went.
    pub fn trim(&mut self, keep: Keep, precision: Precision) -> u64 {
        self.cut(keep, precision).removed
    }

    /// [`Stream::trim`], telling also where it ended.
    fn cut(&mut self, keep: Keep, precision: Precision) -> Cut {
        let (before, mut last_chunk, mut last_marked) = (self.0.len, None, None);
        while let Some(node) = self.0.nodes.front() {
            let live = node.chunk.live() as u64;
            let whole = match keep {
                Keep::Latest(most) => self.0.len - live >= most && self.0.len > most,
                Keep::From(id) => node.chunk.last() < id,
            };
            let over = matches!(precision, Precision::Approximate(limit)
                if limit > 0 && before - self.0.len + live > limit);
            if !whole || over {
                break;
            }
            last_chunk = self.0.nodes.pop_front().map(|node| node.chunk);
            self.0.len -= live;
        }
        if precision == Precision::Exact {
            last_marked = self.trim_front_chunk(keep);
        }
        Cut { removed: before - self.0.len, last_chunk, last_marked }
    }

    /// Entries with identities from `start` to `end`, both included, upwards.
    pub fn range(&self, start: Id, end: Id) -> Iter<'_> {
        Iter::new(&self.0.nodes, start, end, false)
    }

    /// Entries with identities from `start` to `end`, both included, downwards.
    pub fn range_rev(&self, start: Id, end: Id) -> Iter<'_> {
        Iter::new(&self.0.nodes, start, end, true)
    }

    /// Marks entries of the first chunk deleted; the last of them.
    fn trim_front_chunk(&mut self, keep: Keep) -> Option<Id> {
        let mut excess = match keep {
            Keep::Latest(most) => self.0.len.saturating_sub(most),
            Keep::From(_) => u64::MAX,
        };
        let node = self.0.nodes.front_mut()?;
        let gone = |id: Id| match keep {
            Keep::Latest(_) => true,
            Keep::From(min) => id < min,
        };
        if excess == 0 || !node.chunk.iter().next().is_some_and(|entry| gone(entry.id)) {
            return None;
        }
        let mut last = None;
        let removed = Arc::make_mut(&mut node.chunk).delete_front(|id| {
            let goes = excess > 0 && gone(id);
            excess -= u64::from(goes);
            if goes {
                last = Some(id);
            }
            goes
        });
        self.0.len -= removed as u64;
        if node.chunk.live() == 0 {
            self.0.nodes.pop_front();
        }
        last
    }
}

impl Inner {
    /// Whether an entry with these fields opens a new chunk. As in Redis, deleted entries count, and a node ends before the
    /// entry whose names and values it has no room for.
    fn takes_no_more<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, limits: &Limits) -> bool {
        let Some(node) = self.nodes.back() else { return true };
        let size: usize = fields.map(|(field, value)| field.len() + value.len()).sum();
        let bytes_max = match limits.stream_node_bytes {
            0 => NODE_BYTES_MAX,
            bytes => bytes.min(NODE_BYTES_MAX),
        };
        node.chunk.listed_bytes() + size >= bytes_max
            || limits.stream_node_entries > 0 && node.chunk.entries() >= limits.stream_node_entries
    }

    /// Appends an entry to the last chunk, or to a new one.
    fn append_to_chunk<'f, F>(&mut self, id: Id, fields: F, opens: bool)
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        if opens {
            // The next chunk will be about as large as this one.
            let capacity = self.nodes.back_mut().map_or(0, |node| {
                if let Some(chunk) = Arc::get_mut(&mut node.chunk) {
                    chunk.seal();
                }
                node.chunk.bytes().min(CHUNK_GUESS_MAX)
            });
            self.nodes.push_back(Node { first: id, chunk: Arc::new(Chunk::new(id, capacity)) });
        }
        let node = self.nodes.back_mut().expect("one was pushed when there was none");
        Arc::make_mut(&mut node.chunk).append(id, fields);
        self.len += 1;
        self.last_id = id;
        self.entries_added = (self.entries_added + 1).min(COUNT_MAX);
        self.used = true;
    }
}
