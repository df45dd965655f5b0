//! Streams in RDB: nodes of entries as listpacks, then the stream's numbers, then groups with their consumers.
//!
//! ```text
//! nodes, (node id as string of 16 bytes BE, listpack string)...
//! entries, last id (ms, seq)                                          all lengths
//! first id (ms, seq), max deleted id (ms, seq), entries added         from STREAM_LISTPACKS_2
//! groups, (name, last id ms, seq, [entries read, from _2; -1 = unknown],
//!   pending, (id 16 bytes BE, delivery time ms i64 LE, delivery count)...,
//!   consumers, (name, seen time ms i64 LE, [active time ms i64 LE, from _3],
//!     pending of this consumer, (id 16 bytes BE)...)...)...
//! ```
//! A node's listpack opens with the master entry, whose field names the others may share:
//! ```text
//! entries, deleted entries, fields, field..., 0
//! flags (1 deleted, 2 fields as in master), ms - node ms, seq - node seq,
//!   [fields, (field, value)... | value...], how many elements the entry has before this one
//! ```

use super::{Writer, reader::Corrupt};
use crate::pack::{Damaged, Piece, listpack};

/// A node is closed at so many entries, if its writer does not close it before, as it does by `stream-node-max-entries`.
const NODE_ENTRIES_MAX: usize = 4096;
/// A node is closed at so many bytes, if its writer does not close it before, as it does by `stream-node-max-bytes`.
const NODE_BYTES_MAX: usize = 64 << 10;
/// A node is closed when the names that its entries share would take so many bytes, written out for each: half of what is read.
const NODE_SHARED_NAMES_MAX: usize = SHARED_NAMES_BYTES_FLOOR / 2;

/// Entries may share the field names of their master entry. Names written out may take so many bytes more than the
/// node has, beyond a floor: enough for every node of up to 128 entries, too little to exhaust memory with a small file.
const SHARED_NAMES_FACTOR: usize = 128;
const SHARED_NAMES_BYTES_FLOOR: usize = 16 << 20;

const FLAG_DELETED: i64 = 1;
const FLAG_SAME_FIELDS: i64 = 2;

/// The id of an entry: milliseconds, then a sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix time in ms, as the adder said.
    pub ms: u64,
    /// Counts within the millisecond.
    pub seq: u64,
}

impl StreamId {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Greater than that of the entry before.
    pub id: StreamId,
    /// Fields and values in order; at least one.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An entry delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The entry (which may have been deleted since).
    pub id: StreamId,
    /// Last delivery, unix ms.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub delivery_count: u64,
    /// Index of its owner in [`Group::consumers`].
    pub consumer: usize,
}

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// Last attempt to do something, unix ms.
    pub seen_ms: i64,
    /// Last success, unix ms; -1 when none.
    pub active_ms: i64,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// Last entry delivered.
    pub last_id: StreamId,
    /// How many entries were read, if known.
    pub entries_read: Option<u64>,
    /// All pending entries, ascending by id.
    pub pending: Vec<Pending>,
    /// The consumers; names are distinct.
    pub consumers: Vec<Consumer>,
}

/// What a stream is besides its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamMeta {
    /// Last id ever given out.
    pub last_id: StreamId,
    /// Id of the first entry; zero when empty.
    pub first_id: StreamId,
    /// Greatest id ever deleted; zero when none.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
    /// The groups; names are distinct.
    pub groups: Vec<Group>,
}

/// A whole stream as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamParts {
    /// Ascending by id, deleted ones left out.
    pub entries: Vec<StreamEntry>,
    /// The indexes of those that stood first in a node, ascending. Where there is none, nodes were not told.
    pub node_starts: Vec<usize>,
    /// The rest.
    pub meta: StreamMeta,
}

impl StreamParts {
    /// Writes the value in the form of the type byte `kind` (STREAM_LISTPACKS_2 or _3).
    pub fn write(&self, writer: &mut Writer, kind: u8) {
        let (mut encoder, mut nodes) = (Encoder::new(), Vec::new());
        for (index, entry) in self.entries.iter().enumerate() {
            if self.node_starts.binary_search(&index).is_ok() {
                nodes.extend(encoder.close_node());
            }
            let fields = entry.fields.iter().map(|(field, value)| (&field[..], &value[..]));
            nodes.extend(encoder.push(entry.id, fields));
        }
        nodes.extend(encoder.close_node());
        writer.length(nodes.len() as u64);
        nodes.iter().for_each(|node| node.write(writer));
        self.meta.write(writer, self.entries.len() as u64, kind);
    }
}

/// Some entries, packed.
#[derive(Debug)]
pub struct Node {
    first: StreamId,
    listpack: Vec<u8>,
}

impl Node {
    /// Writes it. The number of all nodes stands before the first.
    pub fn write(&self, writer: &mut Writer) {
        writer.string(&self.first.to_bytes());
        writer.string(&self.listpack);
    }
}

/// Packs entries into nodes.
#[derive(Debug, Default)]
pub struct Encoder {
    body: listpack::Builder,
    master: Vec<Vec<u8>>,
    first: StreamId,
    in_node: usize,
}

impl Encoder {
    /// No entries yet.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Adds an entry; ids must ascend. The node before it, if that is full.
    pub fn push<'a>(
        &mut self,
        id: StreamId,
        fields: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Node> {
        let names: usize = self.master.iter().map(Vec::len).sum();
        let full = self.in_node == NODE_ENTRIES_MAX
            || self.body.bytes() >= NODE_BYTES_MAX
            || self.in_node * names >= NODE_SHARED_NAMES_MAX;
        let node = if full { self.close_node() } else { None };
        if self.in_node == 0 {
            self.first = id;
            self.master = fields.clone().map(|(field, _)| field.to_vec()).collect();
        }
        let count = fields.len();
        let same = count == self.master.len() && fields.clone().zip(&self.master).all(|((f, _), m)| f == m);
        let body = &mut self.body;
        body.push_int(if same { FLAG_SAME_FIELDS } else { 0 });
        body.push_int(id.ms.wrapping_sub(self.first.ms) as i64);
        body.push_int(id.seq.wrapping_sub(self.first.seq) as i64);
        if !same {
            body.push_int(count as i64);
        }
        for (field, value) in fields {
            if !same {
                body.push(field);
            }
            body.push(value);
        }
        body.push_int(if same { count + 3 } else { 2 * count + 4 } as i64);
        self.in_node += 1;
        node
    }

    /// The last node, if there is any entry.
    pub fn close_node(&mut self) -> Option<Node> {
        if self.in_node == 0 {
            return None;
        }
        let mut node = listpack::Builder::new();
        node.push_int(self.in_node as i64);
        node.push_int(0);
        node.push_int(self.master.len() as i64);
        self.master.iter().for_each(|field| node.push(field));
        node.push_int(0);
        node.append(&self.body);
        self.body.clear();
        self.in_node = 0;
        Some(Node { first: self.first, listpack: node.into_bytes() })
    }
}

impl StreamMeta {
    /// Writes it behind the nodes of so many entries, in the form of the type byte `kind` (STREAM_LISTPACKS_2 or _3).
    pub fn write(&self, writer: &mut Writer, entries: u64, kind: u8) {
        writer.length(entries);
        write_id(writer, self.last_id);
        write_id(writer, self.first_id);
        write_id(writer, self.max_deleted_id);
        writer.length(self.entries_added);
        writer.length(self.groups.len() as u64);
        self.groups.iter().for_each(|group| write_group(writer, group, kind));
    }
}

fn write_id(writer: &mut Writer, id: StreamId) {
    writer.length(id.ms);
    writer.length(id.seq);
}

fn write_group(writer: &mut Writer, group: &Group, kind: u8) {
    writer.string(&group.name);
    write_id(writer, group.last_id);
    writer.length(group.entries_read.unwrap_or(u64::MAX));
    writer.length(group.pending.len() as u64);
    let mut owned: Vec<Vec<StreamId>> = vec![Vec::new(); group.consumers.len()];
    for pending in &group.pending {
        writer.raw(&pending.id.to_bytes());
        writer.milliseconds(pending.delivered_ms);
        writer.length(pending.delivery_count);
        owned[pending.consumer].push(pending.id);
    }
    writer.length(group.consumers.len() as u64);
    for (consumer, ids) in group.consumers.iter().zip(owned) {
        writer.string(&consumer.name);
        writer.milliseconds(consumer.seen_ms);
        if kind == super::kind::STREAM_LISTPACKS_3 {
            writer.milliseconds(consumer.active_ms);
        }
        writer.length(ids.len() as u64);
        ids.iter().for_each(|id| writer.raw(&id.to_bytes()));
    }
}

/// Appends the live entries of one node to `entries`.
pub(crate) fn read_node(first: StreamId, node: &[u8], entries: &mut Vec<StreamEntry>) -> Result<(), Corrupt> {
    let mut pieces = Pieces(listpack::iter(node)?);
    let (live, deleted) = (pieces.count()?, pieces.count()?);
    let fields = pieces.count()?;
    let mut master = Vec::new();
    for _ in 0..fields {
        master.push(pieces.bytes()?);
    }
    if pieces.int()? != 0 {
        return Err(Corrupt("stream master entry has no end"));
    }
    let mut names_left = SHARED_NAMES_BYTES_FLOOR.max(node.len().saturating_mul(SHARED_NAMES_FACTOR));
    let names: usize = master.iter().map(Vec::len).sum();
    let (mut live_seen, mut deleted_seen) = (0, 0);
    while let Some(flags) = pieces.next_int()? {
        names_left = names_left.checked_sub(names).ok_or(Corrupt("stream entries repeat too many names"))?;
        match read_entry(first, flags, &master, &mut pieces)? {
            Some(entry) => {
                if entries.last().is_some_and(|last| last.id >= entry.id) {
                    return Err(Corrupt("stream ids do not ascend"));
                }
                entries.push(entry);
                live_seen += 1;
            }
            None => deleted_seen += 1,
        }
    }
    if (live_seen, deleted_seen) != (live, deleted) {
        return Err(Corrupt("stream node counts its entries wrong"));
    }
    Ok(())
}

fn read_entry(
    first: StreamId,
    flags: i64,
    master: &[Vec<u8>],
    pieces: &mut Pieces<'_>,
) -> Result<Option<StreamEntry>, Corrupt> {
    let ms = first.ms.wrapping_add(pieces.int()? as u64);
    let seq = first.seq.wrapping_add(pieces.int()? as u64);
    let same = flags & FLAG_SAME_FIELDS != 0;
    let mut fields = Vec::new();
    let count = if same { master.len() as u64 } else { pieces.count()? };
    for at in 0..count {
        let field = if same { master[at as usize].clone() } else { pieces.bytes()? };
        fields.push((field, pieces.bytes()?));
    }
    let elements = if same { count + 3 } else { 2 * count + 4 };
    if pieces.count()? != elements {
        return Err(Corrupt("stream entry counts its elements wrong"));
    }
    let live = flags & FLAG_DELETED == 0;
    Ok(live.then_some(StreamEntry { id: StreamId { ms, seq }, fields }))
}

/// The elements of a node, each demanded in a certain form.
struct Pieces<'a>(listpack::Iter<'a>);

impl<'a> Pieces<'a> {
    fn next_piece(&mut self) -> Result<Piece<'a>, Corrupt> {
        Ok(self.0.next().ok_or(Damaged)??)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Corrupt> {
        Ok(self.next_piece()?.to_vec())
    }

    fn int(&mut self) -> Result<i64, Corrupt> {
        self.next_piece()?.to_i64().ok_or(Corrupt("stream node has text for a number"))
    }

    fn count(&mut self) -> Result<u64, Corrupt> {
        u64::try_from(self.int()?)
            .ok()
            .filter(|&n| n <= u64::from(u32::MAX))
            .ok_or(Corrupt("stream node count"))
    }

    fn next_int(&mut self) -> Result<Option<i64>, Corrupt> {
        match self.0.next() {
            None => Ok(None),
            Some(piece) => piece?.to_i64().map(Some).ok_or(Corrupt("stream entry flags")),
        }
    }
}
