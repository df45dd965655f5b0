//! A run of stream entries in one allocation; entries with the fields of the first keep only their values.
//!
//! ```text
//! entry:  flags: u8 | ms - first.ms | seq (minus first.seq while ms is the same)
//!         then   SAME:   (length, value) for each field of the first entry
//!                else:   count | (length, field, length, value) * count
//! numbers: 7 bits a byte, low first
//! ```
//!
//! Entries are only ever appended; a deletion sets a flag. The first entry stays, deleted or not, because the
//! others lean on its fields. Invariants: `live` entries are without the DELETED flag, and the first of them
//! is at or behind `begin`.
//!
//! Trims that are approximate take whole chunks, so clients see where a chunk ends. Redis ends its nodes by the bytes of
//! their listpacks, which are not ours; what those would be is counted along (`listed`).

use super::{Id, listed};

const DELETED: u8 = 1;
const SAME: u8 = 2;
/// The first entry's flags and its two zero differences.
const FIRST_BODY: usize = 3;

#[derive(Clone)]
pub(super) struct Chunk {
    first: Id,
    last: Id,
    buf: Vec<u8>,
    live: u32,
    begin: u32,
    /// Entries that were appended, deleted ones included.
    entries: u32,
    /// Bytes that the elements of Redis' node would take, but for the two counts at its front, which change.
    listed: u32,
}

/// An entry of a stream.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its identity.
    pub id: Id,
    chunk: &'a Chunk,
    /// Flags, where they are, and what follows the identity.
    flags: u8,
    at: usize,
    body: usize,
}

impl Chunk {
    /// A chunk for entries from `first` on, with room for `capacity` bytes.
    pub(super) fn new(first: Id, capacity: usize) -> Chunk {
        Chunk {
            first,
            last: first,
            buf: Vec::with_capacity(capacity),
            live: 0,
            begin: 0,
            entries: 0,
            listed: 0,
        }
    }

    /// The identity of the first entry, deleted or not.
    pub(super) fn first_id(&self) -> Id {
        self.first
    }

    pub(super) fn live(&self) -> usize {
        self.live as usize
    }

    /// Entries that were appended, deleted ones included.
    pub(super) fn entries(&self) -> usize {
        self.entries as usize
    }

    pub(super) fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// Bytes that Redis' listpack of this node has.
    pub(super) fn listed_bytes(&self) -> usize {
        let counts =
            listed::integer(i64::from(self.live)) + listed::integer(i64::from(self.entries - self.live));
        listed::FRAME_BYTES + counts + self.listed as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// The last entry's identity, deleted or not.
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// Append an entry; `id` is greater than all before.
    pub(super) fn append<'f, F>(&mut self, id: Id, fields: F)
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        let is_first = self.buf.is_empty();
        let same = !is_first && self.first_has(fields.clone());
        let listed = self.listed_growth(id, is_first, same, fields.clone());
        self.listed = self.listed.saturating_add(listed as u32);
        self.entries += 1;
        self.buf.push(if same { SAME } else { 0 });
        push(&mut self.buf, id.ms - self.first.ms);
        push(&mut self.buf, if id.ms == self.first.ms { id.seq - self.first.seq } else { id.seq });
        if !same {
            push(&mut self.buf, fields.clone().count() as u64);
        }
        for (field, value) in fields {
            if !same {
                push_bytes(&mut self.buf, field);
            }
            push_bytes(&mut self.buf, value);
        }
        self.last = id;
        self.live += 1;
    }

    /// Bytes that Redis' listpack grows by with this entry: flags, the two differences, the fields as far as they are not those
    /// of the master entry, values, and how many elements that were. The first entry brings the master entry along.
    fn listed_growth<'f, F>(&self, id: Id, is_first: bool, same: bool, fields: F) -> usize
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])>,
    {
        let has_names_of_master = is_first || same;
        let (mut names, mut values, mut count) = (0, 0, 0);
        for (field, value) in fields {
            count += 1;
            values += listed::element(value);
            if is_first || !same {
                names += listed::element(field);
            }
        }
        let difference = |now: u64, first: u64| listed::integer(now.wrapping_sub(first) as i64);
        let identity = difference(id.ms, self.first.ms) + difference(id.seq, self.first.seq);
        let elements = if has_names_of_master { count + 3 } else { 2 * count + 4 };
        let beside = listed::SMALL_INTEGER_BYTES + if is_first { listed::SMALL_INTEGER_BYTES } else { 0 };
        let counted = if same { 0 } else { listed::integer(count) };
        beside + counted + identity + names + values + listed::integer(elements)
    }

    /// Whether the first entry has exactly these fields in this order.
    fn first_has<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> bool {
        let mut at = FIRST_BODY;
        let mut left = read(&self.buf, &mut at);
        for (field, _) in fields {
            if left == 0 || read_bytes(&self.buf, &mut at) != field {
                return false;
            }
            read_bytes(&self.buf, &mut at);
            left -= 1;
        }
        left == 0
    }

    /// No more entries will come: give unused room back.
    pub(super) fn seal(&mut self) {
        if self.buf.capacity() - self.buf.len() > self.buf.len() / 16 {
            self.buf.shrink_to_fit();
        }
    }

    /// Entries that are not deleted, first to last.
    pub(super) fn iter(&self) -> ChunkIter<'_> {
        ChunkIter { chunk: self, at: self.begin as usize }
    }

    /// Mark the entry `id` deleted; false when there is none.
    pub(super) fn delete(&mut self, id: Id) -> bool {
        let Some(at) = self.iter().take_while(|entry| entry.id <= id).find(|e| e.id == id).map(|e| e.at)
        else {
            return false;
        };
        self.mark(at);
        true
    }

    /// Mark entries deleted from the first one on while `gone` says so; returns how many.
    pub(super) fn delete_front(&mut self, mut gone: impl FnMut(Id) -> bool) -> usize {
        let mut count = 0;
        while let Some(entry) = self.iter().next() {
            if !gone(entry.id) {
                break;
            }
            let at = entry.at;
            self.mark(at);
            count += 1;
        }
        count
    }

    fn mark(&mut self, at: usize) {
        self.buf[at] |= DELETED;
        self.live -= 1;
        let begin = self.iter().next().map_or(self.buf.len(), |entry| entry.at);
        self.begin = begin as u32;
    }

    /// The entry at `at` and where the next begins.
    fn entry(&self, at: usize) -> (Entry<'_>, usize) {
        let flags = self.buf[at];
        let mut next = at + 1;
        let ms = self.first.ms + read(&self.buf, &mut next);
        let seq = read(&self.buf, &mut next);
        let seq = if ms == self.first.ms { self.first.seq + seq } else { seq };
        let entry = Entry { id: Id { ms, seq }, chunk: self, flags, at, body: next };
        let values = if flags & SAME != 0 { self.first_count() } else { 2 * read(&self.buf, &mut next) };
        for _ in 0..values {
            let len = read(&self.buf, &mut next) as usize;
            next += len;
        }
        (entry, next)
    }

    fn first_count(&self) -> u64 {
        read(&self.buf, &mut { FIRST_BODY })
    }
}

/// Entries of a chunk that are not deleted.
#[derive(Clone)]
pub(super) struct ChunkIter<'a> {
    chunk: &'a Chunk,
    at: usize,
}

impl<'a> Iterator for ChunkIter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        while self.at < self.chunk.buf.len() {
            let (entry, next) = self.chunk.entry(self.at);
            self.at = next;
            if entry.flags & DELETED == 0 {
                return Some(entry);
            }
        }
        None
    }
}

impl<'a> Entry<'a> {
    /// Number of fields.
    pub fn field_count(&self) -> usize {
        if self.flags & SAME != 0 {
            return self.chunk.first_count() as usize;
        }
        read(&self.chunk.buf, &mut self.body.clone()) as usize
    }

    /// The fields with their values, in the order given when added.
    pub fn fields(&self) -> Fields<'a> {
        let same = self.flags & SAME != 0;
        let (mut names, mut at) = (FIRST_BODY, self.body);
        let left = read(&self.chunk.buf, if same { &mut names } else { &mut at }) as usize;
        Fields { buf: &self.chunk.buf, same, names, at, left }
    }
}

/// Fields of an entry with their values.
#[derive(Clone)]
pub struct Fields<'a> {
    buf: &'a [u8],
    same: bool,
    /// Where the next name is, when the names are those of the first entry.
    names: usize,
    at: usize,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        if !self.same {
            let field = read_bytes(self.buf, &mut self.at);
            return Some((field, read_bytes(self.buf, &mut self.at)));
        }
        let field = read_bytes(self.buf, &mut self.names);
        read_bytes(self.buf, &mut self.names);
        Some((field, read_bytes(self.buf, &mut self.at)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

fn push(buf: &mut Vec<u8>, mut n: u64) {
    while n >= 128 {
        buf.push(n as u8 | 128);
        n >>= 7;
    }
    buf.push(n as u8);
}

fn push_bytes(buf: &mut Vec<u8>, bytes: &[u8]) {
    push(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

fn read(buf: &[u8], at: &mut usize) -> u64 {
    let (mut n, mut shift) = (0, 0);
    loop {
        let byte = buf[*at];
        *at += 1;
        n |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return n;
        }
    }
}

fn read_bytes<'a>(buf: &'a [u8], at: &mut usize) -> &'a [u8] {
    let len = read(buf, at) as usize;
    *at += len;
    &buf[*at - len..*at]
}
