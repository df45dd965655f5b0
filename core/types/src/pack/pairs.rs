//! A few fields with values, or members alone, one after the other in one buffer, searched from the front.
//!
//! ```text
//! | length | bytes | length | bytes | ..     length: one byte, or 255 and two bytes (little endian)
//! ```
//!
//! For some dozens of short elements this is smaller than any table and about as fast. Safe code: every
//! read is checked. Invariant: the buffer is a whole number of elements, which for a hash alternate between
//! fields and values.

use table::size_class;

/// The longest element, in bytes.
pub(crate) const ELEMENT_MAX: usize = u16::MAX as usize;
/// Marks a length of two bytes.
const LONG: u8 = 255;

/// Elements in a buffer, `STEP` to a record: 2 for fields with values, 1 for members.
#[derive(Clone, Default)]
pub(crate) struct Pairs<const STEP: usize> {
    bytes: Vec<u8>,
    records: u32,
}

/// Where a record lies.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    /// Where the last element of the record starts: the value's length.
    last: usize,
    end: usize,
}

impl<const STEP: usize> Pairs<STEP> {
    pub(crate) fn new() -> Pairs<STEP> {
        Pairs { bytes: Vec::new(), records: 0 }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records as usize
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes and the end of the element at `at`.
    #[inline]
    fn element(&self, at: usize) -> Option<(&[u8], usize)> {
        let (start, len) = match *self.bytes.get(at)? {
            LONG => (at + 3, usize::from(u16::from_le_bytes([self.bytes[at + 1], self.bytes[at + 2]]))),
            short => (at + 1, usize::from(short)),
        };
        Some((&self.bytes[start..start + len], start + len))
    }

    /// The record at `start`.
    #[inline]
    fn record(&self, start: usize) -> Option<Record<'_>> {
        let (field, after) = self.element(start)?;
        let (value, last, end) = if STEP == 2 {
            let (value, end) = self.element(after)?;
            (value, after, end)
        } else {
            (&[][..], start, after)
        };
        Some(Record { field, value, span: Span { start, last, end } })
    }

    /// The record with this field or member.
    pub(crate) fn find(&self, field: &[u8]) -> Option<Record<'_>> {
        self.records().find(|record| record.field == field)
    }

    /// The records in order.
    pub(crate) fn records(&self) -> Records<'_, STEP> {
        Records { pairs: self, at: 0 }
    }

    /// Adds a record at the end.
    pub(crate) fn push(&mut self, field: &[u8], value: &[u8]) {
        let grown = room(field) + if STEP == 2 { room(value) } else { 0 };
        self.reserve(grown);
        append(&mut self.bytes, field);
        if STEP == 2 {
            append(&mut self.bytes, value);
        }
        self.records += 1;
    }

    /// Adds a record so that it has `index`; at the end when there are fewer.
    pub(crate) fn insert(&mut self, index: usize, field: &[u8], value: &[u8]) {
        let at = self.records().nth(index).map_or(self.bytes.len(), |record| record.span.start);
        let old = self.bytes.len();
        self.push(field, value);
        let grown = self.bytes.len() - old;
        self.bytes[at..].rotate_right(grown);
    }

    /// Makes the value of a record another one.
    pub(crate) fn set_value(&mut self, span: Span, value: &[u8]) {
        let (old, new) = (span.end - span.last, room(value));
        if new > old {
            self.reserve(new - old);
        }
        let tail = self.bytes.len();
        if new > old {
            self.bytes.resize(tail + new - old, 0);
        }
        self.bytes.copy_within(span.end..tail, span.last + new);
        self.bytes.truncate(tail + new - old);
        let mut at = span.last;
        if value.len() >= usize::from(LONG) {
            self.bytes[at] = LONG;
            self.bytes[at + 1..at + 3].copy_from_slice(&(value.len() as u16).to_le_bytes());
            at += 3;
        } else {
            self.bytes[at] = value.len() as u8;
            at += 1;
        }
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self.tighten();
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, span: Span) {
        self.bytes.drain(span.start..span.end);
        self.records -= 1;
        self.tighten();
    }

    /// Grows to the next size class and no further: small hashes are many, and are seldom written often.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(needed) - self.bytes.len());
        }
    }

    /// Gives memory back when more than half has become unused.
    fn tighten(&mut self) {
        if self.bytes.capacity() > 64 && self.bytes.len() * 2 < self.bytes.capacity() {
            self.bytes.shrink_to(size_class(self.bytes.len()));
        }
    }
}

/// Bytes that an element takes.
pub(crate) fn room(element: &[u8]) -> usize {
    element.len() + if element.len() >= usize::from(LONG) { 3 } else { 1 }
}

fn append(bytes: &mut Vec<u8>, element: &[u8]) {
    if element.len() >= usize::from(LONG) {
        let len = u16::try_from(element.len()).expect("the caller keeps longer elements in a table");
        bytes.push(LONG);
        bytes.extend_from_slice(&len.to_le_bytes());
    } else {
        bytes.push(element.len() as u8);
    }
    bytes.extend_from_slice(element);
}

/// A record and where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) field: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) span: Span,
}

/// The iterator of [`Pairs::records`].
#[derive(Clone)]
pub(crate) struct Records<'a, const STEP: usize> {
    pairs: &'a Pairs<STEP>,
    at: usize,
}

impl<'a, const STEP: usize> Iterator for Records<'a, STEP> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let record = self.pairs.record(self.at)?;
        self.at = record.span.end;
        Some(record)
    }
}
