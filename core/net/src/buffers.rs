//! The memory that all connections of one thread share: input scratch and output buffers.
//!
//! Thousands of mostly idle connections would each hold tens of kilobytes if they owned their buffers.
//! Here a readable connection reads into the thread's arena, its requests are executed from there in the
//! same tick, and only an unfinished request is copied into a buffer of its own. Replies are written
//! into buffers that the thread recycles, so the hot ones stay in the processor's cache.
//!
//! ```text
//! arena  | conn 3's input | conn 9's input | ... free ...        |   used: where the next read goes
//! tail   | one read at a time: first bytes, TLS records, continuations of a partial request |
//! ```

/// Bytes of input that one tick can hold without copying.
const ARENA: usize = 256 * 1024;
/// Bytes asked of one read(2).
pub(crate) const READ: usize = 64 * 1024;
/// With less room than this in the arena, a connection reads into a buffer of its own instead.
pub(crate) const ROOM_MIN: usize = 16 * 1024;
/// Buffers kept by a pool; those returned beyond are freed.
const POOLED_MAX: usize = 128;
/// Bytes of the largest buffer kept. Larger ones are freed at once.
const POOLED_CAPACITY_MAX: usize = 64 * 1024;
/// Bytes of all buffers kept: many clients with small replies, or few with large ones.
const POOLED_BYTES_MAX: usize = 2 << 20;
/// Bytes of a fresh output buffer.
const FRESH_CAPACITY: usize = 4 * 1024;

/// One thread's input memory, about 320 KiB, reused every tick.
pub struct Scratch {
    arena: Box<[u8]>,
    used: usize,
    tail: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { arena: vec![0; ARENA].into_boxed_slice(), used: 0, tail: vec![0; READ].into_boxed_slice() }
    }
}

impl Scratch {
    /// Fresh memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forget the input of this tick. Every connection that read since the last reset must have been
    /// settled ([`Connection::settle_input`](crate::Connection::settle_input)).
    pub fn reset(&mut self) {
        self.used = 0;
    }

    pub(crate) fn room(&self) -> usize {
        self.arena.len() - self.used
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The free part of the arena; bytes written at its front are kept by [`Scratch::take`].
    pub(crate) fn free(&mut self) -> &mut [u8] {
        &mut self.arena[self.used..]
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room());
        self.used += bytes;
    }

    pub(crate) fn slice(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.arena[range]
    }

    pub(crate) fn tail(&mut self) -> &mut [u8] {
        &mut self.tail
    }

    /// The tail beside the free part of the arena, to decrypt from one into the other.
    pub(crate) fn tail_and_free(&mut self) -> (&mut [u8], &mut [u8]) {
        (&mut self.tail, &mut self.arena[self.used..])
    }
}

/// One thread's recycled buffers: at most 128 of at most 64 KiB, 2 MiB in all. The one that came last goes first.
#[derive(Default)]
pub struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    /// The first so many have not been taken since the last [`Pool::trim`].
    spare: usize,
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with some capacity.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.buffers.pop() else { return Vec::with_capacity(FRESH_CAPACITY) };
        self.bytes -= buffer.capacity();
        self.spare = self.spare.min(self.buffers.len());
        buffer
    }

    /// Give a buffer back; what it holds is forgotten. Large ones are freed, and such as are too many.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        let keep = 1..=POOLED_CAPACITY_MAX.min(POOLED_BYTES_MAX - self.bytes);
        if keep.contains(&buffer.capacity()) && self.buffers.len() < POOLED_MAX {
            buffer.clear();
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }

    /// Free the buffers that nobody has needed since the last time.
    pub fn trim(&mut self) {
        self.bytes -= self.buffers.drain(..self.spare).map(|buffer| buffer.capacity()).sum::<usize>();
        self.spare = self.buffers.len();
    }

    /// Bytes that the pooled buffers occupy, for the server's memory account.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_few_and_small_buffers() {
        let mut pool = Pool::new();
        pool.put(Vec::with_capacity(POOLED_CAPACITY_MAX + 1));
        pool.put(Vec::new());
        assert_eq!(pool.bytes(), 0);
        (0..POOLED_MAX + 10).for_each(|_| pool.put(vec![1; 100]));
        assert_eq!(pool.bytes(), POOLED_MAX * 100);
        assert!(pool.take().is_empty());
        let mut pool = Pool::new();
        (0..POOLED_MAX).for_each(|_| pool.put(Vec::with_capacity(POOLED_CAPACITY_MAX)));
        assert_eq!(pool.bytes(), POOLED_BYTES_MAX);
    }

    #[test]
    fn what_nobody_has_needed_is_freed() {
        let mut pool = Pool::new();
        (0..10).for_each(|_| pool.put(vec![1; 100]));
        pool.trim();
        assert_eq!(pool.bytes(), 1000, "they came since the last time");
        let taken: Vec<_> = (0..3).map(|_| pool.take()).collect();
        taken.into_iter().for_each(|buffer| pool.put(buffer));
        pool.trim();
        assert_eq!(pool.bytes(), 300, "three were in use at once");
        pool.trim();
        assert_eq!(pool.bytes(), 0);
    }
}
