//! A run of byte strings in one allocation that can be walked from both ends: a chunk of a list.
//!
//! Lists live at their ends, so the free room of the buffer may lie on either side of the data: a push at
//! the front moves nothing as long as there is a gap before it. Lengths are stored before and behind each
//! element (as a listpack does), which costs two bytes for elements under 127 bytes.
//!
//! ```text
//! buf:  [ gap .. start ) [ element ][ element ] .. [ element ] end = buf.len()   [ spare capacity )
//! element:  length (7 bits a byte, low first) | data | size of the two before (7 bits a byte, low LAST)
//! ```
//!
//! Invariants: `start <= buf.len()`; exactly `count` elements fill `start..buf.len()`; an offset handed out is
//! the first byte of an element and stays valid until the next change.

/// Below this many bytes of buffer nothing is given back to the allocator.
const SHRINK_FROM_BYTES: usize = 512;

/// A buffer grows up to here by halves and only beyond it without looking: chunks of a list hold 8 KiB by default.
const USUAL_BYTES_MAX: usize = 8192;

/// Packed byte strings with room to grow at both ends.
#[derive(Clone, Default)]
pub(crate) struct Packed {
    buf: Vec<u8>,
    start: u32,
    count: u32,
}

/// Where an element lies: its first byte, its data, and the first byte behind it.
#[derive(Clone, Copy)]
struct Span {
    data: usize,
    data_end: usize,
    end: usize,
}

impl Packed {
    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes in use by elements, lengths included.
    pub(crate) fn bytes(&self) -> usize {
        self.buf.len() - self.start as usize
    }

    /// Bytes of the buffer as allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Offset of the first element (equal to [`end`](Self::end) when there is none).
    pub(crate) fn begin(&self) -> usize {
        self.start as usize
    }

    /// Offset behind the last element.
    pub(crate) fn end(&self) -> usize {
        self.buf.len()
    }

    /// The element at `at`, which must be an element's offset.
    pub(crate) fn value(&self, at: usize) -> &[u8] {
        let span = self.span(at);
        &self.buf[span.data..span.data_end]
    }

    /// The element at `at` and the offset behind it.
    pub(crate) fn value_and_next(&self, at: usize) -> (&[u8], usize) {
        let span = self.span(at);
        (&self.buf[span.data..span.data_end], span.end)
    }

    /// Offset of the element behind the one at `at`.
    pub(crate) fn after(&self, at: usize) -> usize {
        self.span(at).end
    }

    /// Offset of the element before `at` (`at` may be the end); `at` must not be the beginning.
    pub(crate) fn before(&self, at: usize) -> usize {
        let (size, width) = read_back(&self.buf, at);
        at - width - size
    }

    /// Offset of the element number `index`, counted from the nearer end; `index <= count`.
    pub(crate) fn offset_of(&self, index: usize) -> usize {
        debug_assert!(index <= self.count());
        if index <= self.count() / 2 {
            (0..index).fold(self.begin(), |at, _| self.after(at))
        } else {
            (index..self.count()).fold(self.end(), |at, _| self.before(at))
        }
    }

    /// First element, if any.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        (self.count > 0).then(|| self.value(self.begin()))
    }

    /// Last element, if any.
    pub(crate) fn back(&self) -> Option<&[u8]> {
        (self.count > 0).then(|| self.value(self.before(self.end())))
    }

    /// Append `value`.
    pub(crate) fn push_back(&mut self, value: &[u8]) {
        let size = element_size(value.len());
        if self.buf.capacity() - self.buf.len() < size {
            self.make_room(0, size);
        }
        push_length(&mut self.buf, value.len());
        self.buf.extend_from_slice(value);
        push_back_length(&mut self.buf, length_width(value.len()) + value.len());
        self.count += 1;
    }

    /// Prepend `value`.
    pub(crate) fn push_front(&mut self, value: &[u8]) {
        let size = element_size(value.len());
        if (self.start as usize) < size {
            self.make_room(size, 0);
        }
        let at = self.start as usize - size;
        write_element(&mut self.buf[at..at + size], value);
        self.start = at as u32;
        self.count += 1;
    }

    /// Put `value` before the element at `at` (or at the end).
    pub(crate) fn insert(&mut self, at: usize, value: &[u8]) {
        if at == self.begin() {
            return self.push_front(value);
        }
        if at == self.end() {
            return self.push_back(value);
        }
        let size = element_size(value.len());
        let place = at - self.begin();
        if self.buf.capacity() - self.buf.len() < size {
            self.make_room(0, size);
        }
        let (at, old_end) = (self.begin() + place, self.buf.len());
        self.buf.resize(old_end + size, 0);
        self.buf.copy_within(at..old_end, at + size);
        write_element(&mut self.buf[at..at + size], value);
        self.count += 1;
    }

    /// Put `value` in the place of the element at `at`.
    pub(crate) fn replace(&mut self, at: usize, value: &[u8]) {
        let span = self.span(at);
        if span.data_end - span.data == value.len() {
            self.buf[span.data..span.data_end].copy_from_slice(value);
            return;
        }
        // The distance from the beginning survives a removal that moves the beginning.
        let place = at - self.begin();
        self.remove(at);
        self.insert(self.begin() + place, value);
    }

    /// Remove the element at `at`; returns the offset of the element that followed it (or the end).
    pub(crate) fn remove(&mut self, at: usize) -> usize {
        let end = self.span(at).end;
        let next = self.cut(at, end);
        self.count -= 1;
        next
    }

    /// Remove the first `n` elements; `n <= count`.
    pub(crate) fn drop_front(&mut self, n: usize) {
        let at = self.offset_of(n);
        self.cut(self.begin(), at);
        self.count -= n as u32;
        self.give_back();
    }

    /// Remove the last `n` elements; `n <= count`.
    pub(crate) fn drop_back(&mut self, n: usize) {
        let at = self.offset_of(self.count() - n);
        self.cut(at, self.end());
        self.count -= n as u32;
        self.give_back();
    }

    /// Cut off everything from the element number `index` on, and return it.
    pub(crate) fn split_off(&mut self, index: usize) -> Packed {
        let at = self.offset_of(index);
        let tail = Packed { buf: self.buf[at..].to_vec(), start: 0, count: self.count - index as u32 };
        self.buf.truncate(at);
        self.count = index as u32;
        self.give_back();
        tail
    }

    /// Append all elements of `other`.
    pub(crate) fn append(&mut self, other: &Packed) {
        if self.buf.capacity() - self.buf.len() < other.bytes() {
            self.make_room(0, other.bytes());
        }
        self.buf.extend_from_slice(&other.buf[other.begin()..]);
        self.count += other.count;
    }

    /// All elements, first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.begin();
        std::iter::from_fn(move || {
            (at < self.end()).then(|| {
                let (value, next) = self.value_and_next(at);
                at = next;
                value
            })
        })
    }

    /// Give spare room back when most of the buffer is unused.
    pub(crate) fn give_back(&mut self) {
        let bytes = self.bytes();
        if self.buf.capacity() >= SHRINK_FROM_BYTES && bytes < self.buf.capacity() / 4 {
            self.relocate(0, bytes / 2);
        }
    }

    /// Remove the bytes `from..to` by moving the shorter side; returns where `to` is now.
    fn cut(&mut self, from: usize, to: usize) -> usize {
        let (begin, end) = (self.begin(), self.end());
        let gone = to - from;
        if from - begin < end - to {
            self.buf.copy_within(begin..from, begin + gone);
            self.start += gone as u32;
            return to;
        }
        self.buf.copy_within(to..end, from);
        self.buf.truncate(end - gone);
        from
    }

    /// Make sure of `front` free bytes before and `back` free bytes behind the data. Growth is by half, so the
    /// cost of a push is constant on average; free room on the other side is used up before growing.
    #[cold]
    fn make_room(&mut self, front: usize, back: usize) {
        let bytes = self.bytes();
        let free = self.buf.capacity() - bytes;
        let need = front + back;
        if free >= need + bytes / 2 {
            // Mostly empty buffer: move the data instead of growing, leaving the room where it is asked for.
            let gap = if front > 0 { free } else { 0 };
            self.shift_to(gap);
            return;
        }
        let wanted = bytes + need;
        let roomy = (wanted + wanted / 2).next_multiple_of(16);
        let room = match wanted {
            ..=USUAL_BYTES_MAX => roomy.min(USUAL_BYTES_MAX),
            // One that is longer than a whole chunk stays alone.
            _ if bytes == 0 => wanted,
            _ => roomy,
        };
        let spare = room - bytes;
        if front > 0 { self.relocate(spare, 0) } else { self.relocate(0, spare) }
    }

    /// Move the data inside the buffer so that it begins at `gap`; the capacity must suffice.
    fn shift_to(&mut self, gap: usize) {
        let (begin, end) = (self.begin(), self.end());
        let bytes = end - begin;
        if gap + bytes > end {
            self.buf.resize(gap + bytes, 0);
        }
        self.buf.copy_within(begin..end, gap);
        self.buf.truncate(gap + bytes);
        self.start = gap as u32;
    }

    /// Move the data to a new buffer with `front` free bytes before it and `back` behind.
    fn relocate(&mut self, front: usize, back: usize) {
        let mut buf = Vec::with_capacity(front + self.bytes() + back);
        buf.resize(front, 0);
        buf.extend_from_slice(&self.buf[self.begin()..]);
        self.buf = buf;
        self.start = front as u32;
    }

    fn span(&self, at: usize) -> Span {
        let (len, width) = read_length(&self.buf, at);
        let data = at + width;
        Span { data, data_end: data + len, end: data + len + length_width(width + len) }
    }
}

/// Bytes of an element with `len` bytes of data.
pub(crate) fn element_size(len: usize) -> usize {
    let head = length_width(len) + len;
    head + length_width(head)
}

/// Bytes a number takes at 7 bits a byte.
fn length_width(n: usize) -> usize {
    if n < 128 { 1 } else { (usize::BITS - n.leading_zeros()).div_ceil(7) as usize }
}

/// The number at `at`, low bits first, and its width in bytes.
fn read_length(buf: &[u8], at: usize) -> (usize, usize) {
    let first = buf[at];
    if first < 128 {
        return (first as usize, 1);
    }
    let (mut n, mut width) = ((first & 127) as usize, 1);
    loop {
        let byte = buf[at + width];
        n |= ((byte & 127) as usize) << (7 * width);
        width += 1;
        if byte < 128 {
            return (n, width);
        }
    }
}

/// The number that ends before `at`, low bits last, and its width in bytes.
fn read_back(buf: &[u8], at: usize) -> (usize, usize) {
    let (mut n, mut width) = (0, 0);
    loop {
        let byte = buf[at - 1 - width];
        n |= ((byte & 127) as usize) << (7 * width);
        width += 1;
        if byte < 128 {
            return (n, width);
        }
    }
}

fn push_length(buf: &mut Vec<u8>, mut n: usize) {
    while n >= 128 {
        buf.push(n as u8 | 128);
        n >>= 7;
    }
    buf.push(n as u8);
}

fn push_back_length(buf: &mut Vec<u8>, n: usize) {
    for i in (0..length_width(n)).rev() {
        let more = if i + 1 < length_width(n) { 128 } else { 0 };
        // The leftmost byte holds the highest bits and is the one without the mark.
        buf.push((n >> (7 * i)) as u8 & 127 | more);
    }
}

/// Fill `place`, which has exactly the element's size.
fn write_element(place: &mut [u8], value: &[u8]) {
    let mut n = value.len();
    let mut at = 0;
    while n >= 128 {
        place[at] = n as u8 | 128;
        n >>= 7;
        at += 1;
    }
    place[at] = n as u8;
    at += 1;
    place[at..at + value.len()].copy_from_slice(value);
    at += value.len();
    let head = at;
    let width = place.len() - head;
    for i in (0..width).rev() {
        let more = if i + 1 < width { 128 } else { 0 };
        place[at] = (head >> (7 * i)) as u8 & 127 | more;
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;
    use std::collections::VecDeque;

    fn check(packed: &Packed, twin: &VecDeque<Vec<u8>>) {
        assert_eq!(packed.count(), twin.len());
        assert!(packed.iter().eq(twin.iter().map(Vec::as_slice)));
        let mut at = packed.end();
        for value in twin.iter().rev() {
            at = packed.before(at);
            assert_eq!(packed.value(at), value.as_slice());
        }
        assert_eq!(at, packed.begin());
    }

    #[test]
    fn behaves_as_a_deque_of_byte_strings() {
        let mut random = Random::new(1);
        let mut packed = Packed::default();
        let mut twin: VecDeque<Vec<u8>> = VecDeque::new();
        for step in 0..20_000u32 {
            let len = [0, 5, 40, 126, 127, 128, 130, 300, 20_000][random.below(9) as usize];
            let value = vec![step as u8; len];
            let n = twin.len() as u64;
            let index = random.below(n.max(1)) as usize;
            match random.below(10) {
                0 | 1 if n < 60 => (packed.push_back(&value), twin.push_back(value)).1,
                2 | 3 if n < 60 => (packed.push_front(&value), twin.push_front(value)).1,
                4 if n < 60 => (packed.insert(packed.offset_of(index), &value), twin.insert(index, value)).1,
                5 if n > 0 => (packed.replace(packed.offset_of(index), &value), twin[index] = value).1,
                6 if n > 0 => {
                    packed.remove(packed.offset_of(index));
                    twin.remove(index);
                }
                7 if n > 0 => (packed.drop_front(1), drop(twin.pop_front())).1,
                8 if n > 0 => (packed.drop_back(1), drop(twin.pop_back())).1,
                9 => {
                    let tail = packed.split_off(index.min(twin.len()));
                    packed.append(&tail);
                }
                _ => {}
            }
            check(&packed, &twin);
        }
    }

    #[test]
    fn short_elements_cost_two_bytes_more() {
        assert_eq!([element_size(0), element_size(126), element_size(127)], [2, 128, 130]);
    }
}
