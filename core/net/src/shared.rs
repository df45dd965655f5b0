//! Parts of an output that lie in buffers which other outputs hold as well: a long message for many clients is in memory once.
//!
//! ```text
//! own      | head of a message          | end of it, next head         | end
//!          ^ sent                       ^ part 0 stands here (`at`)    ^ part 1 stands here
//! written    own up to part 0, part 0, own up to part 1, part 1, the rest of own
//! ```
//! *Invariants:* places rise and lie between what was sent of the own bytes and their end; no part is empty or sent whole; `bytes` is what is
//! left of all of them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

/// A buffer among the own bytes.
#[derive(Debug)]
struct Part {
    /// The place in the own bytes that it stands in front of.
    at: usize,
    bytes: Arc<[u8]>,
    /// What was sent of it, bytes.
    sent: usize,
}

impl Part {
    fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
}

/// The shared parts of one output.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    parts: VecDeque<Part>,
    bytes: usize,
    /// Bytes of the whole buffers.
    held: usize,
}

impl Shared {
    /// Bytes of it that are not sent.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the buffers that it holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many of them are to be counted for the others that hold them, too, if those hold all of them: each counts its share. The
    /// latest buffer is looked at alone, since this is asked with every message.
    pub(crate) fn held_elsewhere(&self) -> usize {
        let holders = self.parts.back().map_or(1, |last| Arc::strong_count(&last.bytes));
        self.held - self.held / holders.max(1)
    }

    /// Puts a buffer behind the first `at` own bytes, and behind all parts so far.
    pub(crate) fn push(&mut self, at: usize, bytes: Arc<[u8]>) {
        self.push_rest(at, bytes, 0);
    }

    fn push_rest(&mut self, at: usize, bytes: Arc<[u8]>, sent: usize) {
        debug_assert!(self.parts.back().is_none_or(|last| last.at <= at), "what is appended stands last");
        if sent < bytes.len() {
            self.bytes += bytes.len() - sent;
            self.held += bytes.len();
            self.parts.push_back(Part { at, bytes, sent });
        }
    }

    /// The next bytes to send, at most `max`, in as many of `slices` as they take; how many slices and bytes that is.
    pub(crate) fn front<'a>(
        &'a self,
        own: &'a [u8],
        sent: usize,
        max: usize,
        slices: &mut [IoSlice<'a>],
    ) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        self.each_from(own, sent, |_, piece| {
            if count < slices.len() && bytes < max {
                let piece = &piece[..piece.len().min(max - bytes)];
                slices[count] = IoSlice::new(piece);
                (count, bytes) = (count + 1, bytes + piece.len());
            }
            count < slices.len() && bytes < max
        });
        (count, bytes)
    }

    /// So many more bytes were sent: the place in the own bytes up to which all is.
    pub(crate) fn advance(&mut self, mut sent: usize, mut count: usize) -> usize {
        while let Some(part) = self.parts.front_mut() {
            let own = count.min(part.at - sent);
            (sent, count) = (sent + own, count - own);
            let shared = if sent == part.at { count.min(part.left().len()) } else { 0 };
            part.sent += shared;
            (self.bytes, count) = (self.bytes - shared, count - shared);
            if !part.left().is_empty() {
                return sent;
            }
            self.held -= part.bytes.len();
            self.parts.pop_front();
        }
        sent + count
    }

    /// The first so many own bytes are gone.
    pub(crate) fn moved_up(&mut self, by: usize) {
        self.parts.iter_mut().for_each(|part| part.at -= by);
    }

    /// Puts what stands in `range` of the unsent output, whose own bytes are `own` from `sent` on, behind another one.
    pub(crate) fn copy_range(
        &self,
        (own, sent): (&[u8], usize),
        range: Range<usize>,
        (out, shared): (&mut Vec<u8>, &mut Shared),
    ) {
        let mut begins = 0;
        self.each_from(own, sent, |part, piece| {
            let ends = begins + piece.len();
            let (from, to) =
                (range.start.clamp(begins, ends) - begins, range.end.clamp(begins, ends) - begins);
            match part {
                Some(part) if (from, to) == (0, piece.len()) => {
                    shared.push_rest(out.len(), Arc::clone(&part.bytes), part.sent);
                }
                _ if from < to => out.extend_from_slice(&piece[from..to]),
                _ => {}
            }
            begins = ends;
            begins < range.end
        });
    }

    /// Calls `visit` with each piece that is not sent, in order, and the part that it is, if it is not of the own bytes, until that returns false.
    fn each_from<'a>(
        &'a self,
        own: &'a [u8],
        sent: usize,
        mut visit: impl FnMut(Option<&'a Part>, &'a [u8]) -> bool,
    ) {
        let mut at = sent;
        for part in &self.parts {
            if at < part.at && !visit(None, &own[at..part.at]) {
                return;
            }
            at = part.at;
            if !visit(Some(part), part.left()) {
                return;
            }
        }
        if at < own.len() {
            visit(None, &own[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, Shared) {
        let mut shared = Shared::default();
        shared.push(2, Arc::from(&b"XYZ"[..]));
        shared.push(2, Arc::from(&b"UV"[..]));
        shared.push(5, Arc::from(&b"W"[..]));
        (b"abcdefg".to_vec(), shared)
    }

    const WHOLE: &[u8] = b"abXYZUVcdeWfg";

    fn next(own: &[u8], shared: &Shared, sent: usize, max: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let (count, bytes) = shared.front(own, sent, max, &mut slices);
        let found: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(found.len(), bytes);
        found
    }

    #[test]
    fn bytes_are_sent_in_order_however_many_at_a_time() {
        for step in 1..=WHOLE.len() {
            let ((own, mut shared), mut sent, mut got) = (sample(), 0, Vec::new());
            while got.len() < WHOLE.len() {
                let piece = next(&own, &shared, sent, step);
                assert!(!piece.is_empty());
                sent = shared.advance(sent, piece.len());
                got.extend(piece);
                assert_eq!(shared.held(), shared.parts.iter().map(|part| part.bytes.len()).sum::<usize>());
                assert_eq!(own.len() - sent + shared.bytes(), WHOLE.len() - got.len(), "steps of {step}");
            }
            assert_eq!(got, WHOLE, "steps of {step}");
            assert!(shared.parts.is_empty());
        }
    }

    #[test]
    fn any_part_of_what_is_left_can_be_put_elsewhere() {
        for gone in 0..WHOLE.len() {
            let (own, mut shared) = sample();
            let sent = shared.advance(0, gone);
            let left = &WHOLE[gone..];
            for (from, to) in (0..=left.len()).flat_map(|to| (0..=to).map(move |from| (from, to))) {
                let (mut out, mut into) = (b"-".to_vec(), Shared::default());
                shared.copy_range((&own, sent), from..to, (&mut out, &mut into));
                let expected = [b"-", &left[from..to]].concat();
                assert_eq!(next(&out, &into, 0, usize::MAX), expected, "{from}..{to} behind {gone}");
            }
        }
    }

    #[test]
    fn those_who_hold_a_buffer_count_it_once_together() {
        let bytes: Arc<[u8]> = vec![7; 999].into();
        let holders: Vec<Shared> = (0..3)
            .map(|_| {
                let mut shared = Shared::default();
                shared.push(0, Arc::clone(&bytes));
                shared
            })
            .collect();
        drop(bytes);
        assert!(holders.iter().all(|shared| (shared.held(), shared.held_elsewhere()) == (999, 666)));
    }
}
