//! The last bytes of the stream, for replicas that come back, and more of it while it is held for some that cannot be sent it yet.
//!
//! There is one copy of it, however many wait for that. It lies in chunks, so that it grows and shrinks without being moved.

use std::collections::VecDeque;

/// Bytes of a chunk, at most.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// A chunk is no larger than such a part of the backlog, so that this takes little more than it holds.
const CHUNK_PART: usize = 32;

/// See the module. It takes memory as it fills.
#[derive(Debug)]
pub struct Backlog {
    /// None of them is empty.
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are forgotten.
    passed: usize,
    /// Bytes that are not.
    len: usize,
    /// Bytes that it holds at most, unless more is held for somebody.
    bytes_max: usize,
    /// The position in front of the first byte.
    first: u64,
    /// What is behind this position is not forgotten.
    held_from: Option<u64>,
    /// The chunk that was forgotten last, to be filled again.
    spare: Option<Vec<u8>>,
}

impl Backlog {
    /// An empty one behind `position`.
    pub(crate) fn new(bytes_max: usize, position: u64) -> Backlog {
        let (chunks, spare) = (VecDeque::new(), None);
        Backlog { chunks, passed: 0, len: 0, bytes_max, first: position, held_from: None, spare }
    }

    /// The position in front of its first byte.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.chunks.iter().chain(&self.spare).map(Vec::capacity).sum()
    }

    /// Bytes in it only because they are held for somebody.
    pub fn held_bytes(&self) -> usize {
        self.len.saturating_sub(self.bytes_max)
    }

    /// Takes what was executed last; the oldest bytes make room.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let stay_max = if self.held_from.is_some() { usize::MAX } else { self.bytes_max };
        let (gone, mut left) = bytes.split_at(bytes.len().saturating_sub(stay_max));
        if !gone.is_empty() {
            self.forget(self.len);
            self.first += gone.len() as u64;
        }
        while !left.is_empty() {
            let chunk = match self.chunks.back_mut().filter(|chunk| chunk.len() < chunk.capacity()) {
                Some(chunk) => chunk,
                None => {
                    let fresh = self.spare.take().unwrap_or_else(|| Vec::with_capacity(self.chunk_bytes()));
                    self.chunks.push_back(fresh);
                    continue;
                }
            };
            let (fits, rest) = left.split_at(left.len().min(chunk.capacity() - chunk.len()));
            chunk.extend_from_slice(fits);
            self.len += fits.len();
            left = rest;
        }
        self.trim();
    }

    fn chunk_bytes(&self) -> usize {
        (self.bytes_max / CHUNK_PART).clamp(1, CHUNK_BYTES_MAX)
    }

    /// Forgets nothing behind this position from now on, until it is told another one.
    pub(crate) fn hold(&mut self, from: Option<u64>) {
        if self.held_from != from {
            self.held_from = from;
            self.trim();
        }
    }

    /// Forgets what is neither among the last bytes nor held.
    fn trim(&mut self) {
        let end = self.first + self.len as u64;
        let held = self.held_from.map_or(0, |from| end.saturating_sub(from) as usize);
        self.forget(self.len.saturating_sub(self.bytes_max.max(held)));
    }

    fn forget(&mut self, count: usize) {
        self.len -= count;
        self.first += count as u64;
        self.passed += count;
        while let Some(mut chunk) = self.chunks.pop_front_if(|chunk| self.passed >= chunk.len()) {
            self.passed -= chunk.len();
            chunk.clear();
            self.spare = (chunk.capacity() == self.chunk_bytes()).then_some(chunk);
        }
    }

    /// It holds so many bytes at most from now on.
    pub(crate) fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.spare = None;
        self.trim();
    }

    /// The bytes behind `position`, but no more than so many of them; none where some of them are gone, or it is not reached yet.
    pub fn part(&self, position: u64, bytes_max: usize) -> Option<Vec<u8>> {
        let skipped = position.checked_sub(self.first).and_then(|skipped| usize::try_from(skipped).ok())?;
        let mut wanted = self.len.checked_sub(skipped)?.min(bytes_max);
        let (mut at, mut part) = (self.passed + skipped, Vec::with_capacity(wanted));
        for chunk in &self.chunks {
            if let Some(bytes) = chunk.get(at..) {
                let bytes = &bytes[..bytes.len().min(wanted)];
                part.extend_from_slice(bytes);
                wanted -= bytes.len();
            }
            if wanted == 0 {
                break;
            }
            at = at.saturating_sub(chunk.len());
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(backlog: &Backlog, position: u64) -> Option<Vec<u8>> {
        backlog.part(position, usize::MAX)
    }

    /// The next so many bytes of a stream.
    fn next(stream: &mut Vec<u8>, length: usize) -> Vec<u8> {
        let piece: Vec<u8> = (0..length).map(|n| (stream.len() + n) as u8).collect();
        stream.extend_from_slice(&piece);
        piece
    }

    /// What a naive twin holds of the whole stream.
    fn check(backlog: &Backlog, stream: &[u8], first: usize) {
        assert_eq!(
            backlog.first() as usize,
            first,
            "it holds no more than it may, and nothing goes before it must"
        );
        assert_eq!(first + backlog.len(), stream.len());
        let room = 3 * backlog.chunk_bytes();
        assert!(backlog.memory_bytes() <= backlog.len() + room, "{}", backlog.memory_bytes());
        for position in 0..=stream.len() + 1 {
            let expected = (position >= first).then(|| stream.get(position..)).flatten();
            assert_eq!(since(backlog, position as u64).as_deref(), expected, "behind {position}");
            let part = expected.map(|bytes| &bytes[..bytes.len().min(5)]);
            assert_eq!(backlog.part(position as u64, 5).as_deref(), part, "no more than five");
        }
    }

    #[test]
    fn it_holds_the_end_of_the_stream_and_no_more_than_it_may() {
        for bytes_max in [1, 64, 100] {
            let mut backlog = Backlog::new(bytes_max, 0);
            let mut stream = Vec::new();
            for length in [0, 1, 7, 30, 26, 63, 64, 65, 200, 3, 3, 3] {
                backlog.push(&next(&mut stream, length));
                check(&backlog, &stream, stream.len().saturating_sub(bytes_max));
            }
        }
    }

    #[test]
    fn what_is_held_stays_and_its_memory_goes_with_it() {
        let mut backlog = Backlog::new(64, 0);
        let mut stream = Vec::new();
        backlog.push(&next(&mut stream, 100));
        backlog.hold(Some(90));
        for length in [3, 60, 200, 1] {
            backlog.push(&next(&mut stream, length));
            check(&backlog, &stream, (stream.len() - 64).min(90));
        }
        assert_eq!(backlog.held_bytes(), 364 - 90 - 64);
        backlog.hold(Some(200));
        check(&backlog, &stream, 200);
        backlog.hold(None);
        check(&backlog, &stream, 300);
        backlog.push(&next(&mut stream, 9));
        check(&backlog, &stream, 309);
        assert_eq!(backlog.held_bytes(), 0);
    }

    #[test]
    fn it_begins_where_it_was_made_and_is_resized_in_place() {
        let mut backlog = Backlog::new(32, 100);
        assert_eq!((since(&backlog, 100), since(&backlog, 99)), (Some(Vec::new()), None));
        backlog.push(b"0123456789");
        backlog.resize(4);
        assert_eq!((since(&backlog, 106).unwrap(), since(&backlog, 105)), (b"6789".to_vec(), None));
        backlog.resize(6);
        backlog.push(b"abc");
        assert_eq!((backlog.first(), since(&backlog, 107).unwrap()), (107, b"789abc".to_vec()));
        backlog.hold(Some(108));
        backlog.resize(1);
        assert_eq!((backlog.first(), backlog.held_bytes()), (108, 4));
    }
}
