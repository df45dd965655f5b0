//! The bytes of a small collection behind one thin pointer.
//!
//! ```text
//! | length: u32 | word: u32 | bytes ..      in an allocation of the size class that the length determines
//! ```
//!
//! A `Vec` takes three words of an entry for what a queue or a cache has hundreds of thousands of; here the length lies where the
//! bytes are read from anyway. The `word` is the owner's: how many elements the bytes hold, or how wide they are. A growing or
//! shrinking buffer moves when it passes the border of a class, and only then.
//!
//! Invariants: no pointer means no bytes; else it owns an allocation of `layout(length)` with a header and `length` initialised bytes.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::slice;
use table::size_class;

/// The most bytes that fit.
pub(crate) const BYTES_MAX: usize = 1 << 30;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    len: u32,
    word: u32,
}
const HEADER_BYTES: usize = size_of::<Header>();

/// The owning thin pointer.
pub(crate) struct ThinBytes(Option<NonNull<Header>>);
const _: () = assert!(size_of::<ThinBytes>() == 8);

// SAFETY: an exclusive owner of plain bytes.
unsafe impl Send for ThinBytes {}
// SAFETY: `&ThinBytes` only reads.
unsafe impl Sync for ThinBytes {}

/// Bytes of the allocation for so many bytes.
fn allocated(len: usize) -> usize {
    size_class(HEADER_BYTES + len)
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(allocated(len), align_of::<Header>())
        .expect("BYTES_MAX is far below what a layout may have")
}

impl ThinBytes {
    /// No bytes, a word of 0, and no allocation.
    pub(crate) const fn new() -> ThinBytes {
        ThinBytes(None)
    }

    fn header(&self) -> Header {
        // SAFETY: the pointer owns an allocation that begins with a header.
        self.0.map_or(Header { len: 0, word: 0 }, |at| unsafe { at.read() })
    }

    /// Bytes allocated, those of the header included.
    pub(crate) fn allocated(&self) -> usize {
        self.0.map_or(0, |_| allocated(self.len()))
    }

    /// The owner's number.
    pub(crate) fn word(&self) -> u32 {
        self.header().word
    }

    /// Makes the owner's number another one. Where there was never a byte it stays 0.
    pub(crate) fn set_word(&mut self, word: u32) {
        if let Some(at) = self.0 {
            // SAFETY: the pointer owns an allocation that begins with a header, and `&mut self` is exclusive.
            unsafe { (*at.as_ptr()).word = word };
        }
    }

    /// Makes room for `count` bytes at `at` and gives it to be filled; until then it holds bytes of no meaning.
    ///
    /// # Panics
    /// When `at` is behind the end, or more than [`BYTES_MAX`] bytes would be held.
    pub(crate) fn open(&mut self, at: usize, count: usize) -> &mut [u8] {
        let old = self.len();
        assert!(at <= old, "room is made among the bytes or at their end");
        self.resize(old + count);
        self.copy_within(at..old, at + count);
        &mut self[at..at + count]
    }

    /// Takes a range of bytes out.
    ///
    /// # Panics
    /// When it does not lie inside.
    pub(crate) fn close(&mut self, range: Range<usize>) {
        let old = self.len();
        self.copy_within(range.end..old, range.start);
        self.resize(old - range.len());
    }

    /// Makes the length another one; new bytes at the end are zero.
    fn resize(&mut self, len: usize) {
        assert!(len <= BYTES_MAX, "collections of this size have another form");
        let old = self.len();
        let at = match self.0 {
            None if len == 0 => return,
            // SAFETY: the layout's size is at least that of a header.
            None => unsafe { alloc(layout(len)) },
            Some(at) if allocated(old) == allocated(len) => at.as_ptr().cast(),
            // SAFETY: the allocation was made with the layout of the old length, and the new size is not zero.
            Some(at) => unsafe { realloc(at.as_ptr().cast(), layout(old), allocated(len)) },
        };
        let Some(at) = NonNull::new(at.cast::<Header>()) else { handle_alloc_error(layout(len)) };
        let word = self.0.map_or(0, |_| {
            // SAFETY: a moved allocation keeps its header, which is smaller than any class.
            unsafe { at.read() }.word
        });
        // SAFETY: the allocation has room for the header and for `len` bytes; those behind the old length are initialised here.
        unsafe {
            at.write(Header { len: len as u32, word });
            if len > old {
                at.add(1).cast::<u8>().add(old).write_bytes(0, len - old);
            }
        }
        self.0 = Some(at);
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self.0 {
            None => &[],
            // SAFETY: `len` initialised bytes follow the header.
            Some(at) => unsafe { slice::from_raw_parts(at.add(1).cast().as_ptr(), at.read().len as usize) },
        }
    }
}

impl DerefMut for ThinBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {
            None => &mut [],
            // SAFETY: as in `deref`, and `&mut self` is exclusive.
            Some(at) => unsafe {
                slice::from_raw_parts_mut(at.add(1).cast().as_ptr(), at.read().len as usize)
            },
        }
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> ThinBytes {
        let mut copy = ThinBytes::new();
        copy.open(0, self.len()).copy_from_slice(self);
        copy.set_word(self.word());
        copy
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        if let Some(at) = self.0 {
            // SAFETY: the allocation was made with the layout of its length, and nobody has it any more.
            unsafe { dealloc(at.as_ptr().cast(), layout(self.len())) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ThinBytes;

    #[test]
    fn it_agrees_with_a_naive_twin_across_the_classes() {
        let mut random = base::Random::new(11);
        let (mut bytes, mut twin) = (ThinBytes::new(), Vec::new());
        for step in 0..20_000u32 {
            let at = random.below(twin.len() as u64 + 1) as usize;
            let count = random.below(40) as usize;
            if random.below(2) == 0 || twin.len() > 3_000 {
                let end = (at + 2 * count).min(twin.len());
                bytes.close(at..end);
                twin.drain(at..end);
            } else {
                bytes.open(at, count).fill(step as u8);
                twin.splice(at..at, vec![step as u8; count]);
            }
            bytes.set_word(step);
            assert_eq!(&bytes[..], &twin[..]);
            if random.below(50) == 0 {
                bytes = bytes.clone();
                assert!(bytes.word() == step || bytes.is_empty());
            }
        }
    }

    #[test]
    fn an_empty_one_has_no_allocation_and_one_with_a_few_bytes_takes_the_least_class() {
        let mut bytes = ThinBytes::new();
        bytes.set_word(3);
        assert_eq!((bytes.allocated(), bytes.word(), bytes.len()), (0, 0, 0));
        bytes.open(0, 8).fill(1);
        assert_eq!((bytes.allocated(), bytes.len()), (16, 8));
        bytes.close(0..8);
        assert_eq!((bytes.allocated(), bytes.len()), (8, 0));
    }
}
