//! A few fields with values, or members alone, one after the other in one buffer, searched from the front.
//!
//! ```text
//! | length | bytes | length | bytes | ..     length: one byte, or 255 and two bytes (little endian)
//! ```
//!
//! For some dozens of short elements this is smaller than any table and about as fast. Safe code: every
//! read is checked. Invariant: the buffer is a whole number of elements, which for a hash alternate between
//! fields and values.

use super::thin::ThinBytes;

/// The longest element, in bytes.
pub(crate) const ELEMENT_MAX: usize = u16::MAX as usize;
/// Marks a length of two bytes.
const LONG: u8 = 255;

/// Elements in a buffer, `STEP` to a record: 2 for fields with values, 1 for members.
#[derive(Clone)]
pub(crate) struct Pairs<const STEP: usize> {
    /// Its word: how many records there are.
    bytes: ThinBytes,
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
        Pairs { bytes: ThinBytes::new() }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.word() as usize
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
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
        self.put(self.bytes.len(), field, value);
    }

    /// Adds a record so that it has `index`; at the end when there are fewer.
    pub(crate) fn insert(&mut self, index: usize, field: &[u8], value: &[u8]) {
        let at = self.records().nth(index).map_or(self.bytes.len(), |record| record.span.start);
        self.put(at, field, value);
    }

    /// Adds a record that starts at `at`.
    fn put(&mut self, at: usize, field: &[u8], value: &[u8]) {
        let records = self.bytes.word() + 1;
        let value_room = if STEP == 2 { room(value) } else { 0 };
        let (field_place, value_place) =
            self.bytes.open(at, room(field) + value_room).split_at_mut(room(field));
        write(field_place, field);
        if STEP == 2 {
            write(value_place, value);
        }
        self.bytes.set_word(records);
    }

    /// Makes the value of a record another one.
    pub(crate) fn set_value(&mut self, span: Span, value: &[u8]) {
        let (old, new) = (span.end - span.last, room(value));
        if new > old {
            self.bytes.open(span.end, new - old);
        } else {
            self.bytes.close(span.last + new..span.end);
        }
        write(&mut self.bytes[span.last..span.last + new], value);
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, span: Span) {
        self.bytes.close(span.start..span.end);
        self.bytes.set_word(self.bytes.word() - 1);
    }
}

/// Bytes that an element takes.
pub(crate) fn room(element: &[u8]) -> usize {
    element.len() + if element.len() >= usize::from(LONG) { 3 } else { 1 }
}

/// Writes an element into the [`room`] that it takes.
fn write(place: &mut [u8], element: &[u8]) {
    let lengths = place.len() - element.len();
    if lengths > 1 {
        let len = u16::try_from(element.len()).expect("the caller keeps longer elements in a table");
        place[0] = LONG;
        place[1..3].copy_from_slice(&len.to_le_bytes());
    } else {
        place[0] = element.len() as u8;
    }
    place[lengths..].copy_from_slice(element);
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
