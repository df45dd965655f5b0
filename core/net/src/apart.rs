//! Long arguments of a request that has not come whole: each in a buffer of exactly its length, out of the way of the input.
//!
//! So they are not moved as the input grows, and whoever keeps one takes over the buffer instead of copying it.
//!
//! Invariant: while one is missing bytes, everything that comes belongs to it.

use std::sync::Arc;

/// The long arguments of one request.
#[derive(Debug, Default)]
pub struct Apart {
    whole: Vec<(usize, Arc<Vec<u8>>)>,
    /// Which argument is under way, and what has come of it.
    index: usize,
    bytes: Vec<u8>,
    len: usize,
}

impl Apart {
    /// Those that have come whole, each with its number among the request's arguments, the name being 0.
    pub fn whole(&self) -> &[(usize, Arc<Vec<u8>>)] {
        &self.whole
    }

    /// Bytes that the one under way is missing.
    pub fn missing(&self) -> usize {
        self.len - self.bytes.len()
    }

    /// Bytes that have come.
    pub fn held(&self) -> usize {
        self.bytes.len() + self.whole_bytes()
    }

    /// Bytes of those that have come whole.
    pub fn whole_bytes(&self) -> usize {
        self.whole.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Bytes allocated for them.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() + self.whole_bytes()
    }

    /// Argument `index` follows, `len` bytes of which these are the first.
    pub(crate) fn begin(&mut self, index: usize, len: usize, first: &[u8]) {
        debug_assert!(self.missing() == 0 && first.len() < len);
        (self.index, self.len) = (index, len);
        self.take_in(first);
    }

    /// Takes what belongs to the argument under way from the front of `input`; how much that is.
    pub(crate) fn take_in(&mut self, input: &[u8]) -> usize {
        let count = input.len().min(self.missing());
        if count > 0 {
            base::room::reserve_towards(&mut self.bytes, count, self.len);
            self.bytes.extend_from_slice(&input[..count]);
            if self.missing() == 0 {
                self.whole.push((self.index, Arc::new(std::mem::take(&mut self.bytes))));
                self.len = 0;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_lies_in_a_buffer_of_its_length() {
        const LEN: usize = 999_999;
        let mut apart = Apart::default();
        apart.begin(2, LEN, b"first");
        while apart.missing() > 0 {
            assert!(apart.held() > 0 && apart.whole().is_empty());
            apart.take_in(&[7; 65_536]);
        }
        let [(2, bytes)] = apart.whole() else { panic!("one argument: {}", apart.whole().len()) };
        assert_eq!((bytes.len(), bytes.capacity()), (LEN, LEN));
        assert_eq!((apart.held(), apart.room()), (LEN, LEN));
    }

    #[test]
    fn what_is_behind_an_argument_is_left() {
        let mut apart = Apart::default();
        apart.begin(1, 5, b"ab");
        assert_eq!(apart.take_in(b"cde\r\n$5\r\n"), 3);
        assert_eq!(apart.take_in(b"\r\n"), 0, "nothing is under way");
        apart.begin(2, 3, b"");
        assert_eq!(apart.take_in(b"fgh"), 3);
        let words: Vec<(usize, &[u8])> = apart.whole().iter().map(|(n, b)| (*n, b.as_slice())).collect();
        assert_eq!(words, [(1, &b"abcde"[..]), (2, b"fgh")]);
    }
}
