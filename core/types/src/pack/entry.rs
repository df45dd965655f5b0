//! The one allocation behind an [`Entry`](crate::Entry): header, expiry, key and value side by side.
//!
//! ```text
//! 0        8           ..          ..        ..         ..
//! | Header | expiry i64 | fixed part | key_len u32 | key bytes | inline value bytes |
//!            if flagged   by encoding  if flagged
//!
//! Header: kind | encoding << 4 · key length (if < 256) · number (2 bytes) · marks (4 bytes: flags, access field)
//! number: Inline: length of the inline bytes · Own: that of the follower, if flagged
//! fixed part: Int: i64 · Inline: nothing · Heap: Arc<Vec<u8>> · Own: the List, Set, ZSet, Hash or Stream itself
//! ```
//!
//! A 16-byte key with a 40-byte value takes 64 bytes exactly. The collections lie in the entry rather than
//! behind a pointer, so that a small one costs this allocation and its buffer, no more. The buffer of a long
//! string may be shared: a snapshot takes it along at the cost of a pointer, and whoever changes the string meanwhile
//! copies it once. Allocations are of whole size classes, so their layout follows from the lengths, and a value may change its length in place
//! within a class.
//!
//! Invariants: the header tells the truth about what follows; the pointer owns the allocation and the fixed
//! part in it; everything up to the key is aligned to 8.

use crate::Kind;
use crate::entry::{Value, View};
use crate::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use table::size_class;

/// The bytes of a string that does not lie in the entry.
pub(crate) type Buffer = Arc<Vec<u8>>;

/// The longest string kept inside the entry, in bytes.
pub(crate) const INLINE_MAX: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    what: u8,
    key_len: u8,
    /// What it is of follows from the encoding: a collection has no inline bytes, and a string no follower.
    number: u16,
    /// Flags in the upper bits, the access field in the lower ones: one load for both.
    marks: u32,
}
const _: () = assert!(size_of::<Header>() == 8);
const _: () = assert!(align_of::<List>() <= 8 && align_of::<Set>() <= 8 && align_of::<ZSet>() <= 8);
const _: () = assert!(align_of::<Hash>() <= 8 && align_of::<Stream>() <= 8 && align_of::<Buffer>() <= 8);

const EPOCH: u32 = 1 << 31;
const EXPIRES: u32 = 1 << 30;
const WIDE_KEY: u32 = 1 << 29;
const FOLLOWED: u32 = 1 << 28;
/// The bits of the access field.
const ACCESS: u32 = (1 << 25) - 1;
const _: () = assert!(ACCESS & (EPOCH | EXPIRES | WIDE_KEY | FOLLOWED) == 0);

/// How the value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// An integer.
    Int = 0,
    /// String bytes behind the key.
    Inline = 1,
    /// A string with a buffer of its own.
    Heap = 2,
    /// A collection, in place.
    Own = 3,
}

/// What a new allocation is made from.
pub(crate) enum Body<'a> {
    /// At most [`INLINE_MAX`] bytes, copied behind the key.
    Inline(&'a [u8]),
    /// A string with a buffer of its own, which others may share.
    Heap(Buffer),
    /// Moved into the fixed part; a string keeps its buffer.
    Fixed(Value),
}

/// The owning thin pointer.
pub(crate) struct Raw(NonNull<Header>);
const _: () = assert!(size_of::<Option<Raw>>() == 8);

const fn assert_thread_safe<T: Send + Sync>() {}
const _: () = assert_thread_safe::<(List, Set, ZSet, Hash, Stream)>();
// SAFETY: an exclusive owner of plain bytes and of values that may all be sent (asserted above).
unsafe impl Send for Raw {}
// SAFETY: `&Raw` only reads, and all values may be read from several threads (asserted above).
unsafe impl Sync for Raw {}

fn fixed_size(encoding: Encoding, kind: Kind) -> usize {
    let bytes: usize = match (encoding, kind) {
        (Encoding::Int, _) => size_of::<i64>(),
        (Encoding::Inline, _) => 0,
        (Encoding::Heap, _) => size_of::<Buffer>(),
        (Encoding::Own, Kind::List) => size_of::<List>(),
        (Encoding::Own, Kind::Set) => size_of::<Set>(),
        (Encoding::Own, Kind::ZSet) => size_of::<ZSet>(),
        (Encoding::Own, Kind::Hash) => size_of::<Hash>(),
        (Encoding::Own, _) => size_of::<Stream>(),
    };
    bytes.next_multiple_of(8)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_class(bytes).max(8), 8).expect("a key of at most 512 MiB is a valid layout")
}

impl Raw {
    /// Allocates; the expiry is in unix milliseconds.
    ///
    /// # Panics
    /// When the key has 4 GiB or more, or an inline body more than [`INLINE_MAX`].
    pub(crate) fn new(key: &[u8], expiry: Option<i64>, body: Body<'_>) -> Raw {
        let (kind, encoding, inline): (Kind, Encoding, &[u8]) = match &body {
            Body::Inline(bytes) => (Kind::String, Encoding::Inline, bytes),
            Body::Fixed(Value::Int(_)) => (Kind::String, Encoding::Int, &[]),
            Body::Heap(_) | Body::Fixed(Value::Str(_)) => (Kind::String, Encoding::Heap, &[]),
            Body::Fixed(other) => (other.kind(), Encoding::Own, &[]),
        };
        let wide = u8::try_from(key.len()).is_err();
        let flags = if expiry.is_some() { EXPIRES } else { 0 } | if wide { WIDE_KEY } else { 0 };
        assert!(inline.len() <= INLINE_MAX, "longer strings have a buffer of their own");
        let header = Header {
            what: kind as u8 | (encoding as u8) << 4,
            key_len: if wide { 0 } else { key.len() as u8 },
            number: inline.len() as u16,
            marks: flags,
        };
        let wide_len = u32::try_from(key.len()).expect("a key is at most 512 MiB");
        let before_key = 8 + expiry.map_or(0, |_| 8) + fixed_size(encoding, kind) + if wide { 4 } else { 0 };
        let layout = layout(before_key + key.len() + inline.len());
        // SAFETY: the layout's size is at least 8.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the layout was made for exactly these parts: header, expiry, fixed part, length, key, bytes.
        // Empty keys and bytes copy nothing.
        unsafe {
            at.write(header);
            let base = at.as_ptr().cast::<u8>();
            if let Some(expiry) = expiry {
                base.add(8).cast::<i64>().write(expiry);
            }
            if wide {
                base.add(before_key - 4).cast::<u32>().write(wide_len);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), base.add(before_key), key.len());
            ptr::copy_nonoverlapping(inline.as_ptr(), base.add(before_key + key.len()), inline.len());
        }
        let raw = Raw(at);
        match body {
            Body::Inline(_) => {}
            Body::Heap(buffer) => raw.write_buffer(buffer),
            Body::Fixed(value) => raw.write_fixed(value),
        }
        raw
    }

    /// Moves a buffer into the fixed part, which is uninitialised and of that encoding.
    fn write_buffer(&self, buffer: Buffer) {
        // SAFETY: the fixed part is aligned to 8 and has the size of a pointer; nothing is there yet.
        unsafe { self.fixed().cast::<Buffer>().write(buffer) }
    }

    /// Moves a value into the fixed part, which is uninitialised and of its encoding.
    fn write_fixed(&self, value: Value) {
        let at = self.fixed();
        // SAFETY: the fixed part is aligned to 8 and has the size of this very type; nothing is there yet.
        unsafe {
            match value {
                Value::Int(value) => at.cast::<i64>().write(value),
                Value::Str(value) => at.cast::<Buffer>().write(Arc::new(value)),
                Value::List(value) => at.cast::<List>().write(value),
                Value::Set(value) => at.cast::<Set>().write(value),
                Value::ZSet(value) => at.cast::<ZSet>().write(value),
                Value::Hash(value) => at.cast::<Hash>().write(value),
                Value::Stream(value) => at.cast::<Stream>().write(value),
            }
        }
    }

    /// Moves the value out of the fixed part, or copies it from behind the key.
    ///
    /// # Safety
    /// The fixed part counts as uninitialised afterwards: free or rewrite it.
    unsafe fn read_fixed(&self) -> Value {
        let at = self.fixed();
        // SAFETY: the header says which type lies in the fixed part, and the caller does not use it again.
        unsafe {
            match (self.encoding(), self.kind()) {
                (Encoding::Int, _) => Value::Int(at.cast::<i64>().read()),
                (Encoding::Inline, _) => Value::Str(self.inline().to_vec()),
                (Encoding::Heap, _) => Value::Str(Arc::unwrap_or_clone(at.cast::<Buffer>().read())),
                (Encoding::Own, Kind::List) => Value::List(at.cast::<List>().read()),
                (Encoding::Own, Kind::Set) => Value::Set(at.cast::<Set>().read()),
                (Encoding::Own, Kind::ZSet) => Value::ZSet(at.cast::<ZSet>().read()),
                (Encoding::Own, Kind::Hash) => Value::Hash(at.cast::<Hash>().read()),
                (Encoding::Own, _) => Value::Stream(at.cast::<Stream>().read()),
            }
        }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the allocation is live and begins with a header.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and `&mut self` owns it exclusively.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    #[inline]
    fn flag(&self, flag: u32) -> bool {
        self.header().marks & flag != 0
    }

    #[inline]
    fn fixed_offset(&self) -> usize {
        if self.flag(EXPIRES) { 16 } else { 8 }
    }

    #[inline]
    fn fixed(&self) -> *mut u8 {
        // SAFETY: header and expiry lie inside the allocation.
        unsafe { self.base().add(self.fixed_offset()) }
    }

    /// Offset and length of the key.
    #[inline]
    fn key_span(&self) -> (usize, usize) {
        let after = self.fixed_offset() + fixed_size(self.encoding(), self.kind());
        if self.flag(WIDE_KEY) {
            // SAFETY: the flag says that a length, aligned to 4, lies before the key.
            (after + 4, unsafe { self.base().add(after).cast::<u32>().read() } as usize)
        } else {
            (after, usize::from(self.header().key_len))
        }
    }

    /// Bytes in use.
    fn bytes(&self) -> usize {
        let (offset, len) = self.key_span();
        offset + len + self.inline_len()
    }

    #[inline]
    fn inline_len(&self) -> usize {
        if self.encoding() == Encoding::Inline { self.header().number.into() } else { 0 }
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        layout(self.bytes()).size()
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        let (offset, len) = self.key_span();
        // SAFETY: the key lies there, initialised, possibly empty.
        unsafe { std::slice::from_raw_parts(self.base().add(offset), len) }
    }

    #[inline]
    pub(crate) fn inline(&self) -> &[u8] {
        let (offset, len) = self.key_span();
        // SAFETY: the inline bytes follow the key; their length is 0 for other encodings.
        unsafe { std::slice::from_raw_parts(self.base().add(offset + len), self.inline_len()) }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        match self.header().what & 15 {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::ZSet,
            4 => Kind::Hash,
            _ => Kind::Stream,
        }
    }

    #[inline]
    pub(crate) fn encoding(&self) -> Encoding {
        match self.header().what >> 4 {
            0 => Encoding::Int,
            1 => Encoding::Inline,
            2 => Encoding::Heap,
            _ => Encoding::Own,
        }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let at = self.fixed();
        // SAFETY: the header says which type lies in the fixed part; it is borrowed as long as `self`.
        unsafe {
            match (self.encoding(), self.kind()) {
                (Encoding::Int, _) => View::Int(at.cast::<i64>().read()),
                (Encoding::Inline, _) => View::Str(self.inline()),
                (Encoding::Heap, _) => View::Str((*at.cast::<Buffer>()).as_slice()),
                (Encoding::Own, Kind::List) => View::List(&*at.cast::<List>()),
                (Encoding::Own, Kind::Set) => View::Set(&*at.cast::<Set>()),
                (Encoding::Own, Kind::ZSet) => View::ZSet(&*at.cast::<ZSet>()),
                (Encoding::Own, Kind::Hash) => View::Hash(&*at.cast::<Hash>()),
                (Encoding::Own, _) => View::Stream(&*at.cast::<Stream>()),
            }
        }
    }

    /// The collection in place, as the type its kind stands for; `None` for strings.
    pub(crate) fn own_mut(&mut self) -> Option<OwnMut<'_>> {
        if self.encoding() != Encoding::Own {
            return None;
        }
        let at = self.fixed();
        // SAFETY: the header says which type lies in the fixed part; it is borrowed exclusively with `self`.
        Some(unsafe {
            match self.kind() {
                Kind::List => OwnMut::List(&mut *at.cast()),
                Kind::Set => OwnMut::Set(&mut *at.cast()),
                Kind::ZSet => OwnMut::ZSet(&mut *at.cast()),
                Kind::Hash => OwnMut::Hash(&mut *at.cast()),
                _ => OwnMut::Stream(&mut *at.cast()),
            }
        })
    }

    /// The buffer of a string that has one, shared or not.
    pub(crate) fn buffer(&self) -> Option<&Buffer> {
        // SAFETY: the encoding says that a buffer lies in the fixed part; it is borrowed as long as `self`.
        (self.encoding() == Encoding::Heap).then(|| unsafe { &*self.fixed().cast::<Buffer>() })
    }

    /// The same, to be changed or replaced.
    pub(crate) fn buffer_mut(&mut self) -> Option<&mut Buffer> {
        // SAFETY: as in `buffer`; `self` is borrowed exclusively.
        (self.encoding() == Encoding::Heap).then(|| unsafe { &mut *self.fixed().cast::<Buffer>() })
    }

    /// Overwrites the integer; says no when the value is not one.
    pub(crate) fn set_int(&mut self, value: i64) -> bool {
        let fits = self.encoding() == Encoding::Int;
        if fits {
            // SAFETY: the encoding says that an integer lies in the fixed part.
            unsafe { self.fixed().cast::<i64>().write(value) };
        }
        fits
    }

    /// Overwrites the inline bytes; says no when the value is not inline or needs another size class.
    pub(crate) fn set_inline(&mut self, bytes: &[u8]) -> bool {
        let (offset, len) = self.key_span();
        let fits = self.encoding() == Encoding::Inline
            && bytes.len() <= INLINE_MAX
            && layout(offset + len + bytes.len()) == layout(self.bytes());
        if fits {
            // SAFETY: the allocation has the size of the class that both lengths fall into; `bytes` cannot
            // overlap it, since `self` is borrowed exclusively.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.base().add(offset + len), bytes.len()) };
            self.header_mut().number = bytes.len() as u16;
        }
        fits
    }

    #[inline]
    pub(crate) fn expiry(&self) -> Option<i64> {
        // SAFETY: the flag says that an expiry follows the header.
        self.flag(EXPIRES).then(|| unsafe { self.base().add(8).cast::<i64>().read() })
    }

    /// Sets or removes the expiry; moves what follows by 8 bytes if it must, to a new place if that takes
    /// another size class.
    pub(crate) fn set_expiry(&mut self, expiry: Option<i64>) {
        if self.flag(EXPIRES) != expiry.is_some() {
            self.shift(expiry.is_some());
        }
        if let Some(expiry) = expiry {
            // SAFETY: `shift` has made room for an expiry behind the header.
            unsafe { self.base().add(8).cast::<i64>().write(expiry) };
        }
    }

    fn shift(&mut self, expires: bool) {
        let old_bytes = self.bytes();
        let rest = self.fixed_offset();
        let new_bytes = if expires { old_bytes + 8 } else { old_bytes - 8 };
        let new_rest = if expires { 16 } else { 8 };
        let (old, new) = (layout(old_bytes), layout(new_bytes));
        // SAFETY: both allocations hold what is copied; the fixed part is moved bytewise, which is what a move
        // is; the old allocation, if left, is freed with the layout that its lengths determine.
        unsafe {
            if old == new {
                ptr::copy(self.base().add(rest), self.base().add(new_rest), old_bytes - rest);
            } else {
                let Some(at) = NonNull::new(alloc(new).cast::<Header>()) else { handle_alloc_error(new) };
                at.write(*self.header());
                let to = at.as_ptr().cast::<u8>().add(new_rest);
                ptr::copy_nonoverlapping(self.base().add(rest), to, old_bytes - rest);
                dealloc(self.base(), old);
                self.0 = at;
            }
        }
        self.header_mut().marks ^= EXPIRES;
    }

    pub(crate) fn epoch(&self) -> bool {
        self.flag(EPOCH)
    }

    pub(crate) fn set_epoch(&mut self, epoch: bool) {
        let header = self.header_mut();
        header.marks = header.marks & !EPOCH | if epoch { EPOCH } else { 0 };
    }

    #[inline]
    pub(crate) fn follower(&self) -> Option<u16> {
        // Only a collection has the flag.
        self.flag(FOLLOWED).then(|| self.header().number)
    }

    pub(crate) fn set_follower(&mut self, follower: Option<u16>) {
        assert!(follower.is_none() || self.encoding() == Encoding::Own, "a string is not followed");
        let header = self.header_mut();
        match follower {
            Some(number) => (header.marks, header.number) = (header.marks | FOLLOWED, number),
            None => header.marks &= !FOLLOWED,
        }
    }

    #[inline]
    pub(crate) fn access(&self) -> u32 {
        self.header().marks & ACCESS
    }

    #[inline]
    pub(crate) fn set_access(&mut self, access: u32) {
        let header = self.header_mut();
        header.marks = header.marks & !ACCESS | access & ACCESS;
    }

    /// The value, and the memory given back.
    pub(crate) fn into_value(self) -> Value {
        let layout = layout(self.bytes());
        // SAFETY: the value is moved out once and the allocation freed without dropping it again.
        unsafe {
            let value = self.read_fixed();
            dealloc(self.base(), layout);
            std::mem::forget(self);
            value
        }
    }
}

/// A collection in place, to be changed.
pub(crate) enum OwnMut<'a> {
    List(&'a mut List),
    Set(&'a mut Set),
    ZSet(&'a mut ZSet),
    Hash(&'a mut Hash),
    Stream(&'a mut Stream),
}

impl Drop for Raw {
    fn drop(&mut self) {
        let layout = layout(self.bytes());
        // SAFETY: the fixed part is dropped once, a buffer where it lies, for others may have it, and all else by the value
        // that is moved out of it (an integer and inline bytes own nothing, so nothing is read for them); the allocation
        // is freed with its own layout.
        unsafe {
            match self.encoding() {
                Encoding::Heap => self.fixed().cast::<Buffer>().drop_in_place(),
                Encoding::Own => drop(self.read_fixed()),
                Encoding::Int | Encoding::Inline => {}
            }
            dealloc(self.base(), layout);
        }
    }
}
