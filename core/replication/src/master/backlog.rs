//! The last bytes of the stream, for replicas that come back.

use std::collections::VecDeque;

/// See the module. It takes memory as it fills.
#[derive(Debug)]
pub struct Backlog {
    bytes: VecDeque<u8>,
    /// Bytes that it holds at most.
    bytes_max: usize,
    /// The position in front of the first byte.
    first: u64,
}

impl Backlog {
    /// An empty one behind `position`.
    pub(crate) fn new(bytes_max: usize, position: u64) -> Backlog {
        Backlog { bytes: VecDeque::new(), bytes_max, first: position }
    }

    /// The position in front of its first byte.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes what was executed last; the oldest bytes make room.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        self.forget((self.bytes.len() + kept.len()).saturating_sub(self.bytes_max));
        self.first += (bytes.len() - kept.len()) as u64;
        let wanted = self.bytes.len() + kept.len();
        if wanted > self.bytes.capacity() {
            let room = wanted.max(2 * self.bytes.capacity()).min(self.bytes_max);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend(kept);
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.first += count as u64;
    }

    /// It holds so many bytes at most from now on.
    pub(crate) fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.forget(self.bytes.len().saturating_sub(bytes_max));
        if self.bytes.capacity() > bytes_max {
            self.bytes.shrink_to(bytes_max);
        }
    }

    /// The bytes behind `position`; none where some of them are gone, or it is not reached yet.
    pub(crate) fn since(&self, position: u64) -> Option<Vec<u8>> {
        self.part(position, usize::MAX)
    }

    /// The same, but no more than so many of them.
    pub fn part(&self, position: u64, bytes_max: usize) -> Option<Vec<u8>> {
        let skipped = position.checked_sub(self.first).and_then(|skipped| usize::try_from(skipped).ok())?;
        let end = skipped.saturating_add(bytes_max).min(self.bytes.len());
        (skipped <= self.bytes.len()).then(|| {
            let (front, back) = self.bytes.as_slices();
            let (in_front, in_back) =
                (|at: usize| at.min(front.len()), |at: usize| at.saturating_sub(front.len()));
            [&front[in_front(skipped)..in_front(end)], &back[in_back(skipped)..in_back(end)]].concat()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a naive twin holds of the whole stream.
    fn check(backlog: &Backlog, stream: &[u8], bytes_max: usize, from: usize) {
        let first = from.max(stream.len().saturating_sub(bytes_max));
        assert!(backlog.first() as usize >= first, "it holds no more than it may");
        assert_eq!(backlog.first() as usize + backlog.len(), stream.len());
        assert!(backlog.memory_bytes() <= bytes_max.max(8));
        for position in 0..=stream.len() + 1 {
            let expected = (position >= backlog.first() as usize).then(|| stream.get(position..)).flatten();
            assert_eq!(backlog.since(position as u64).as_deref(), expected, "behind {position}");
            let part = expected.map(|bytes| &bytes[..bytes.len().min(5)]);
            assert_eq!(backlog.part(position as u64, 5).as_deref(), part, "no more than five");
        }
    }

    #[test]
    fn it_holds_the_end_of_the_stream_and_no_more_than_it_may() {
        let mut backlog = Backlog::new(64, 0);
        let mut stream = Vec::new();
        for length in [0, 1, 7, 30, 26, 63, 64, 65, 200, 3, 3, 3] {
            let piece: Vec<u8> = (0..length).map(|n| (stream.len() + n) as u8).collect();
            stream.extend_from_slice(&piece);
            backlog.push(&piece);
            check(&backlog, &stream, 64, 0);
            assert_eq!(backlog.len(), stream.len().min(64), "nothing goes before it must");
        }
    }

    #[test]
    fn it_begins_where_it_was_made_and_is_resized_in_place() {
        let mut backlog = Backlog::new(32, 100);
        assert_eq!((backlog.since(100), backlog.since(99)), (Some(Vec::new()), None));
        backlog.push(b"0123456789");
        backlog.resize(4);
        assert_eq!((backlog.since(106).unwrap(), backlog.since(105)), (b"6789".to_vec(), None));
        backlog.resize(6);
        backlog.push(b"abc");
        assert_eq!((backlog.first(), backlog.since(107).unwrap()), (107, b"789abc".to_vec()));
    }
}
