//! A member of a sorted set with its score: one immutable, reference-counted allocation behind a thin pointer.
//!
//! The dictionary and the order of a large sorted set both refer to each member, and snapshots refer to them
//! again, so each holds a counted handle. `Arc<[u8]>` would cost a 16-byte pointer in both places and a
//! 16-byte count; here the pointer is 8 bytes and the header 16 with the score in it, so that a 16-byte member
//! fills a 32-byte allocation exactly.
//!
//! ```text
//! | refs: u32 | len: u32 | score: f64 | len bytes of member |     aligned to 8
//! ```

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// More handles than this on one member mean a leak, as in `Arc`; far above what snapshots can reach.
const REFS_MAX: u32 = i32::MAX as u32;

#[repr(C)]
struct Header {
    refs: AtomicU32,
    len: u32,
    score: f64,
}

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Header>() == 8);

/// A counted handle on a member and its score.
pub(crate) struct Member(NonNull<Header>);

// SAFETY: what a handle reaches is never changed after construction except `refs`, which is atomic; the last
// handle frees it, on whichever thread it is dropped.
unsafe impl Send for Member {}
// SAFETY: as above: shared access only reads, or counts atomically.
unsafe impl Sync for Member {}

impl Member {
    /// A new member; `bytes` must be shorter than 4 GiB, which the protocol's limit ensures.
    pub(crate) fn new(score: f64, bytes: &[u8]) -> Member {
        let len = u32::try_from(bytes.len()).expect("a protocol string is at most 512 MiB");
        let layout = Member::layout(bytes.len());
        // SAFETY: the layout's size is at least that of the header, so it is not zero.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation is aligned for `Header`, holds it and `len` bytes behind it (also when `len`
        // is 0: the copy then writes nothing), is not yet seen by anyone else, and cannot overlap `bytes`.
        unsafe {
            at.write(Header { refs: AtomicU32::new(1), len, score });
            at.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        Member(at)
    }

    /// The score.
    pub(crate) fn score(&self) -> f64 {
        self.header().score
    }

    /// The member.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.header().len as usize;
        // SAFETY: `new` initialised `len` bytes behind the header; they live and stay unchanged as long as a
        // handle exists, and the slice borrows this one.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), len) }
    }

    /// Bytes asked of the allocator for a member of `len` bytes.
    pub(crate) fn allocation(len: usize) -> usize {
        (size_of::<Header>() + len).next_multiple_of(8)
    }

    fn header(&self) -> &Header {
        // SAFETY: the handle keeps the allocation alive and nothing takes it by `&mut`.
        unsafe { self.0.as_ref() }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(Member::allocation(len), align_of::<Header>()).expect("below isize::MAX")
    }
}

impl Clone for Member {
    fn clone(&self) -> Member {
        let before = self.header().refs.fetch_add(1, Ordering::Relaxed);
        assert!(before < REFS_MAX, "too many handles on one member");
        Member(self.0)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.header().refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Everything the other handles did happens before the memory is given back.
        fence(Ordering::Acquire);
        let layout = Member::layout(self.header().len as usize);
        // SAFETY: this was the last handle, so nobody reaches the allocation any more; it was made in `new`
        // with the layout that the same length gives, and the header needs no drop.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::Member;

    #[test]
    fn handles_share_one_member_until_the_last_goes() {
        for len in [0, 1, 7, 8, 16, 1000] {
            let bytes = vec![b'm'; len];
            let a = Member::new(-0.5, &bytes);
            let b = a.clone();
            drop(a);
            let c = std::thread::spawn(move || b.clone()).join().expect("no panic");
            assert_eq!((c.bytes(), c.score()), (&bytes[..], -0.5));
        }
    }
}
