//! A field with its value, or a set's member alone: one allocation behind a thin pointer, for tables.
//!
//! ```text
//! | widths: u8 | field length: 1, 2 or 4 bytes | value length: 0, 1, 2 or 4 bytes | field | time: i64 | value |
//!                                                                                           if marked
//! | widths: u8 | unused: 3 bytes | handles: u32 | the same from the lengths on |      from `COUNTED_BYTES_MIN` on, aligned to 4
//! ```
//!
//! A width of 0 stands for an empty value, so a short member costs two bytes more than itself. A long pair counts its handles: a write to a
//! table that a snapshot shares clones the items of a segment, and must not copy what some hundred of them hold. Invariants: the
//! pointer owns an allocation of the size class that the lengths determine, or a part in it; what has several handles is not changed.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};
use table::size_class;

/// Bytes of field and value from which on handles are counted rather than copies made.
const COUNTED_BYTES_MIN: usize = 1 << 10;
/// More handles than this on one pair mean a leak, as in `Arc`.
const HANDLES_MAX: u32 = i32::MAX as u32;
/// Where the count of handles lies, in bytes from the start, and what follows it.
const HANDLES_AT: usize = 4;
const COUNTED_LENGTHS_AT: usize = 8;
/// The bit beside the widths that says that handles are counted.
const COUNTED: u8 = 1 << 4;
/// Which bit beside them says that a time lies before the value.
const TIMED_BIT: u8 = 5;
const TIME_BYTES: usize = size_of::<i64>();

/// The owning thin pointer.
pub(crate) struct Pair(NonNull<u8>);
const _: () = assert!(size_of::<Option<Pair>>() == 8);

// SAFETY: an owner of plain bytes that are not changed while it has other handles, whose count is atomic; the last one frees them, on
// whichever thread it is dropped.
unsafe impl Send for Pair {}
// SAFETY: `&Pair` only reads plain bytes, or counts atomically.
unsafe impl Sync for Pair {}

/// Where the parts lie, in bytes from the start.
#[derive(Clone, Copy)]
struct Shape {
    lengths_at: usize,
    field_width: usize,
    value_width: usize,
    field_len: usize,
    /// Bytes of the time: all of them or none.
    time_len: usize,
    value_len: usize,
}

impl Shape {
    fn new(field_len: usize, time_len: usize, value_len: usize) -> Shape {
        let value_width = if value_len == 0 { 0 } else { width(value_len) };
        let is_counted = field_len + value_len >= COUNTED_BYTES_MIN;
        let lengths_at = if is_counted { COUNTED_LENGTHS_AT } else { 1 };
        Shape { lengths_at, field_width: width(field_len), value_width, field_len, time_len, value_len }
    }

    fn is_counted(self) -> bool {
        self.lengths_at == COUNTED_LENGTHS_AT
    }

    fn field_at(self) -> usize {
        self.lengths_at + self.field_width + self.value_width
    }

    fn time_at(self) -> usize {
        self.field_at() + self.field_len
    }

    fn value_at(self) -> usize {
        self.time_at() + self.time_len
    }

    /// The first byte of the allocation.
    fn widths(self) -> u8 {
        let counted = if self.is_counted() { COUNTED } else { 0 };
        let timed = u8::from(self.time_len > 0) << TIMED_BIT;
        code(self.field_width) | code(self.value_width) << 2 | counted | timed
    }

    fn layout(self) -> Layout {
        let bytes = size_class(self.value_at() + self.value_len);
        let align = if self.is_counted() { align_of::<AtomicU32>() } else { 1 };
        Layout::from_size_align(bytes, align).expect("two strings of at most 512 MiB are a valid layout")
    }
}

fn width(len: usize) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

/// The two bits that stand for a width.
fn code(width: usize) -> u8 {
    if width == 4 { 3 } else { width as u8 }
}

fn width_of(code: u8) -> usize {
    if code & 3 == 3 { 4 } else { usize::from(code & 3) }
}

impl Pair {
    /// Copies both; an empty `value` for a member alone.
    ///
    /// # Panics
    /// When either has 4 GiB or more.
    pub(crate) fn new(field: &[u8], value: &[u8]) -> Pair {
        Pair::timed(field, None, value)
    }

    /// The same with a time, if there is one.
    ///
    /// # Panics
    /// When either has 4 GiB or more.
    #[inline]
    pub(crate) fn timed(field: &[u8], time: Option<i64>, value: &[u8]) -> Pair {
        let longest = field.len().max(value.len());
        assert!(u32::try_from(longest).is_ok(), "a protocol string is at most 512 MiB");
        let shape = Shape::new(field.len(), time.map_or(0, |_| TIME_BYTES), value.len());
        let layout = shape.layout();
        // SAFETY: a size class is at least 8.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut pair = Pair(at);
        // SAFETY: the allocation holds the widths, the count if there is one, to which it is aligned then, lengths, field, the time
        // if there is one, and value; empty ones copy nothing.
        unsafe {
            at.write(shape.widths());
            if shape.is_counted() {
                at.add(HANDLES_AT).cast::<AtomicU32>().write(AtomicU32::new(1));
            }
            pair.write_len(shape.lengths_at, shape.field_width, shape.field_len);
            pair.write_len(shape.lengths_at + shape.field_width, shape.value_width, shape.value_len);
            ptr::copy_nonoverlapping(field.as_ptr(), at.as_ptr().add(shape.field_at()), field.len());
            ptr::copy_nonoverlapping(value.as_ptr(), at.as_ptr().add(shape.value_at()), value.len());
            if let Some(time) = time {
                at.add(shape.time_at()).cast::<i64>().write_unaligned(time);
            }
        }
        pair
    }

    /// # Safety
    /// `at..at + width` lies inside the allocation.
    unsafe fn write_len(&mut self, at: usize, width: usize, len: usize) {
        let bytes = (len as u32).to_le_bytes();
        // SAFETY: by the caller; at most 4 bytes are copied.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(at), width) };
    }

    #[inline]
    fn len_at(&self, at: usize, width: usize) -> usize {
        let mut bytes = [0; 4];
        // SAFETY: the widths at the start say that lengths of these widths follow; at most 4 bytes are copied.
        unsafe { ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), width) };
        u32::from_le_bytes(bytes) as usize
    }

    #[inline]
    fn shape(&self) -> Shape {
        // SAFETY: the allocation begins with the widths.
        let widths = unsafe { self.0.read() };
        let lengths_at = if widths & COUNTED == 0 { 1 } else { COUNTED_LENGTHS_AT };
        let (field_width, value_width) = (width_of(widths), width_of(widths >> 2));
        let field_len = self.len_at(lengths_at, field_width);
        let value_len = self.len_at(lengths_at + field_width, value_width);
        let time_len = usize::from(widths >> TIMED_BIT & 1) * TIME_BYTES;
        Shape { lengths_at, field_width, value_width, field_len, time_len, value_len }
    }

    /// The count of handles, where they are counted.
    fn handles(&self) -> Option<&AtomicU32> {
        // SAFETY: the allocation begins with the widths, and beside them it says whether the count follows, aligned to it.
        unsafe { (self.0.read() & COUNTED != 0).then(|| self.0.add(HANDLES_AT).cast::<AtomicU32>().as_ref()) }
    }

    /// Whether nobody else has what it owns.
    fn is_alone(&self) -> bool {
        // What other handles read happens before this one writes.
        self.handles().is_none_or(|handles| handles.load(Ordering::Acquire) == 1)
    }

    /// The field or member.
    #[inline]
    pub(crate) fn field(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: the field lies there, initialised, possibly empty.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(shape.field_at()), shape.field_len) }
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: the value lies there, initialised, possibly empty.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(shape.value_at()), shape.value_len) }
    }

    /// The time that was given to it.
    #[inline]
    pub(crate) fn time(&self) -> Option<i64> {
        let shape = self.shape();
        // SAFETY: the mark beside the widths says that a time lies there.
        (shape.time_len > 0).then(|| unsafe { self.0.add(shape.time_at()).cast::<i64>().read_unaligned() })
    }

    /// Gives it another time, or takes it away.
    pub(crate) fn set_time(&mut self, time: Option<i64>) {
        let shape = self.shape();
        match time {
            None if shape.time_len == 0 => {}
            Some(time) if shape.time_len > 0 && self.is_alone() => {
                // SAFETY: the mark beside the widths says that a time lies there, and nobody else reads it.
                unsafe { self.0.add(shape.time_at()).cast::<i64>().write_unaligned(time) };
            }
            _ => *self = Pair::timed(self.field(), time, self.value()),
        }
    }

    /// Makes the value another one, in place when width and size class allow. The time stays.
    pub(crate) fn set_value(&mut self, value: &[u8]) {
        let old = self.shape();
        let new = Shape::new(old.field_len, old.time_len, value.len());
        let fits = old.value_width == new.value_width && old.layout() == new.layout();
        if !fits || !self.is_alone() {
            *self = Pair::timed(self.field(), self.time(), value);
            return;
        }
        // SAFETY: the allocation has the size class of both lengths, the lengths have the same widths, and both are counted or neither
        // (counted ones are aligned otherwise); nobody else reads it, and `value` cannot overlap, since `self` is borrowed exclusively.
        unsafe {
            self.write_len(new.lengths_at + new.field_width, new.value_width, new.value_len);
            ptr::copy_nonoverlapping(value.as_ptr(), self.0.as_ptr().add(new.value_at()), value.len());
        }
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.shape().layout().size()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(handles) = self.handles() {
            if handles.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            // Everything the other handles did happens before the memory is given back.
            fence(Ordering::Acquire);
        }
        let layout = self.shape().layout();
        // SAFETY: allocated with the layout that the lengths determine, and this was the last handle.
        unsafe { dealloc(self.0.as_ptr(), layout) };
    }
}

impl Clone for Pair {
    fn clone(&self) -> Pair {
        let Some(handles) = self.handles() else {
            return Pair::timed(self.field(), self.time(), self.value());
        };
        let before = handles.fetch_add(1, Ordering::Relaxed);
        assert!(before < HANDLES_MAX, "too many handles on one pair");
        Pair(self.0)
    }
}

impl table::Item for Pair {
    #[inline]
    fn key(&self) -> &[u8] {
        self.field()
    }
}

#[cfg(test)]
mod tests {
    use super::Pair;

    #[test]
    fn every_length_comes_back_and_values_change_in_place_or_not() {
        let long = vec![7; 70_000];
        let lengths = [0, 1, 5, 6, 255, 256, 300, 1000, 1023, 1024, 65_535, 65_536, 70_000];
        for field in lengths {
            let mut pair = Pair::new(&long[..field], b"");
            for value in lengths.into_iter().chain([3, 4, 299, 0]) {
                let bytes = vec![value as u8; value];
                pair.set_value(&bytes);
                let copy = pair.clone();
                assert_eq!((copy.field(), copy.value()), (&long[..field], &bytes[..]));
                assert_eq!((pair.field(), pair.value()), (copy.field(), copy.value()));
                assert!(pair.allocated() >= field + value + 2);
            }
        }
        assert_eq!(Pair::new(b"fourteen bytes", b"").allocated(), 16);
    }

    #[test]
    fn a_time_stays_until_it_is_taken_away() {
        for (field, value) in [(0, 0), (5, 0), (5, 20), (300, 1), (5, 1015), (2, 2000)] {
            let (field, value) = (vec![b'f'; field], vec![b'v'; value]);
            let mut pair = Pair::new(&field, &value);
            let bare = pair.allocated();
            assert_eq!(pair.time(), None);
            for time in [Some(1), Some(i64::MAX), None, Some(-1)] {
                let copy = pair.clone();
                let before = copy.time();
                pair.set_time(time);
                assert_eq!((pair.field(), pair.time(), pair.value()), (&field[..], time, &value[..]));
                assert_eq!((copy.field(), copy.time(), copy.value()), (&field[..], before, &value[..]));
            }
            for len in [0, 3, 3, 255, 256, 2000, 1] {
                pair.set_value(&vec![b'w'; len]);
                assert_eq!((pair.time(), pair.value()), (Some(-1), &vec![b'w'; len][..]));
            }
            pair.set_value(&value);
            pair.set_time(None);
            assert_eq!(pair.allocated(), bare);
        }
    }

    #[test]
    fn a_long_pair_is_shared_until_it_changes() {
        let mut pair = Pair::new(b"field", &[1; 2000]);
        let copy = pair.clone();
        assert_eq!(copy.value().as_ptr(), pair.value().as_ptr());
        // Of the same length, so that it would fit in place.
        pair.set_value(&[2; 2000]);
        assert_eq!((copy.value(), pair.value()), (&[1; 2000][..], &[2; 2000][..]));
        let here = pair.value().as_ptr();
        pair.set_value(&[3; 2000]);
        assert_eq!(pair.value().as_ptr(), here, "nobody else has it any more");
        let other = copy.clone();
        drop(copy);
        let back = std::thread::spawn(move || other.clone()).join().expect("no panic");
        assert_eq!((back.field(), back.value()), (&b"field"[..], &[1; 2000][..]));
    }
}
