//! What is not written yet: whole commits in chunks, the oldest first.
//!
//! ```text
//!   chunk: a b c            chunk: d        chunk: e f ...
//!            ^ at           more than CHUNK_BYTES_MAX: alone, never copied
//! ```
//! Whoever holds it may have all clients waiting, so a piece is taken out and put back whole: nothing longer than a chunk is ever copied
//! here, however much waits.

use std::collections::VecDeque;

/// A chunk to which no further commit is added once it would be longer; a longer commit is one by itself.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// What is in front of it was taken out.
    at: usize,
}

impl Chunk {
    fn len(&self) -> usize {
        self.bytes.len() - self.at
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    chunks: VecDeque<Chunk>,
    bytes: u64,
    /// What the chunks take in memory.
    memory: usize,
    /// The next commit begins a chunk.
    is_closed: bool,
}

impl Waiting {
    /// Bytes of all of it.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// What it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// Takes a commit; `bytes` is empty then, and `spare` may be used up.
    pub(crate) fn push(&mut self, bytes: &mut Vec<u8>, spare: &mut Vec<u8>) {
        self.bytes += bytes.len() as u64;
        let room = self.chunks.back_mut().filter(|last| last.bytes.len() + bytes.len() <= CHUNK_BYTES_MAX);
        match room {
            Some(last) if !self.is_closed => {
                self.memory -= last.bytes.capacity();
                last.bytes.append(bytes);
                self.memory += last.bytes.capacity();
            }
            _ => {
                let bytes = std::mem::replace(bytes, std::mem::take(spare));
                self.memory += bytes.capacity();
                self.chunks.push_back(Chunk { bytes, at: 0 });
                self.is_closed = false;
            }
        }
    }

    /// What comes from now on is not in one chunk with what is there.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Takes the oldest chunk out.
    pub(crate) fn take_first(&mut self) -> Option<Vec<u8>> {
        let Chunk { mut bytes, at } = self.chunks.pop_front()?;
        self.memory -= bytes.capacity();
        bytes.drain(..at);
        self.bytes -= bytes.len() as u64;
        Some(bytes)
    }

    /// Takes so many bytes, which are less than all, out of the oldest chunk.
    pub(crate) fn take_part(&mut self, count: u64) -> Option<Vec<u8>> {
        let first = self.chunks.front_mut().filter(|first| count < first.len() as u64)?;
        let end = first.at + count as usize;
        let part = first.bytes[first.at..end].to_vec();
        first.at = end;
        self.bytes -= count;
        Some(part)
    }

    /// Puts back what was taken out last.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        self.memory += bytes.capacity();
        self.chunks.push_front(Chunk { bytes, at: 0 });
    }

    /// Drops so many bytes, the oldest ones; all that there are where there are less.
    pub(crate) fn forget(&mut self, count: u64) {
        let mut count = count.min(self.bytes);
        self.bytes -= count;
        while let Some(first) = self.chunks.front_mut().filter(|_| count > 0) {
            let length = first.len() as u64;
            if count < length {
                first.at += count as usize;
                return;
            }
            count -= length;
            self.memory -= first.bytes.capacity();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(waiting: &mut Waiting, byte: u8, count: usize) {
        waiting.push(&mut vec![byte; count], &mut Vec::new());
    }

    #[test]
    fn a_long_commit_is_moved_and_short_ones_lie_together() {
        let mut waiting = Waiting::default();
        push(&mut waiting, b'a', 1);
        push(&mut waiting, b'b', 2);
        let mut long = vec![b'c'; CHUNK_BYTES_MAX];
        let place = long.as_ptr();
        waiting.push(&mut long, &mut Vec::new());
        push(&mut waiting, b'd', 1);
        assert_eq!(waiting.take_first().unwrap(), b"abb");
        let taken = waiting.take_first().unwrap();
        assert_eq!((taken.len(), taken.as_ptr()), (CHUNK_BYTES_MAX, place), "it was not copied");
        assert_eq!((waiting.take_first().unwrap(), waiting.take_first()), (b"d".to_vec(), None));
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn what_it_takes_in_memory_is_what_its_chunks_take() {
        let mut waiting = Waiting::default();
        let held = |waiting: &Waiting| -> usize { waiting.chunks.iter().map(|c| c.bytes.capacity()).sum() };
        for (byte, count) in [(b'a', 3), (b'b', 1000), (b'c', CHUNK_BYTES_MAX), (b'd', 7), (b'e', 70_000)] {
            push(&mut waiting, byte, count);
            assert_eq!(waiting.memory_bytes(), held(&waiting));
        }
        assert!(waiting.memory_bytes() as u64 >= waiting.len());
        let first = waiting.take_first().unwrap();
        assert_eq!(waiting.memory_bytes(), held(&waiting));
        waiting.put_back(first);
        assert_eq!(waiting.memory_bytes(), held(&waiting));
        waiting.take_part(5).unwrap();
        waiting.forget(CHUNK_BYTES_MAX as u64 + 1003);
        assert_eq!((waiting.len(), waiting.memory_bytes()), (70_002, held(&waiting)));
        waiting.take_first().unwrap();
        assert_eq!((waiting.len(), waiting.memory_bytes()), (0, 0));
    }

    #[test]
    fn what_is_taken_out_and_put_back_is_where_it_was() {
        let mut waiting = Waiting::default();
        push(&mut waiting, b'a', 3);
        push(&mut waiting, b'b', 2);
        let part = waiting.take_part(3).unwrap();
        assert_eq!((&part[..], waiting.len()), (&b"aaa"[..], 2));
        assert_eq!(waiting.take_part(2), None, "that is all of the chunk");
        waiting.put_back(part);
        waiting.close();
        push(&mut waiting, b'c', 1);
        waiting.forget(4);
        assert_eq!(
            (waiting.take_first().unwrap(), waiting.take_first().unwrap()),
            (b"b".to_vec(), b"c".to_vec())
        );
        push(&mut waiting, b'd', 1);
        waiting.forget(9);
        assert_eq!((waiting.len(), waiting.take_first()), (0, None));
    }
}
