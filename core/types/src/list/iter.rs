//! Walking a list from either end, chunk by chunk.

use super::{End, List, Repr};
use crate::pack::listpack::Packed;
use std::ops::Range;

/// Elements of a range of a list, in the direction asked for.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a List,
    /// The chunk in hand and its number.
    chunk: Option<&'a Packed>,
    node: usize,
    /// Forward: the next element. Backward: the place behind the next element.
    at: usize,
    left: usize,
    from: End,
}

impl<'a> Iter<'a> {
    pub(super) fn new(list: &'a List, range: Range<usize>, from: End) -> Iter<'a> {
        let end = range.end.min(list.len());
        let left = end.saturating_sub(range.start);
        let mut iter = Iter { list, chunk: None, node: 0, at: 0, left, from };
        if left == 0 {
            return iter;
        }
        let first = if from == End::Front { range.start } else { end - 1 };
        let (node, within) = match &list.repr {
            Repr::Short(_) => (0, first),
            Repr::Long(chunks) => chunks.locate(first),
        };
        iter.node = node;
        iter.chunk = chunk(list, node);
        if let Some(chunk) = iter.chunk {
            iter.at = chunk.offset_of(if from == End::Front { within } else { within + 1 });
        }
        iter
    }

    fn forward(&mut self) -> Option<&'a [u8]> {
        let mut chunk_now = self.chunk?;
        if self.at == chunk_now.end() {
            self.node += 1;
            chunk_now = chunk(self.list, self.node)?;
            self.chunk = Some(chunk_now);
            self.at = chunk_now.begin();
        }
        let (value, next) = chunk_now.value_and_next(self.at);
        self.at = next;
        Some(value)
    }

    fn backward(&mut self) -> Option<&'a [u8]> {
        let mut chunk_now = self.chunk?;
        if self.at == chunk_now.begin() {
            self.node = self.node.checked_sub(1)?;
            chunk_now = chunk(self.list, self.node)?;
            self.chunk = Some(chunk_now);
            self.at = chunk_now.end();
        }
        self.at = chunk_now.before(self.at);
        Some(chunk_now.value(self.at))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.from == End::Front { self.forward() } else { self.backward() }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

fn chunk(list: &List, node: usize) -> Option<&Packed> {
    match &list.repr {
        Repr::Short(packed) => (node == 0).then_some(packed),
        Repr::Long(chunks) => chunks.nodes.get(node).map(|node| &*node.chunk),
    }
}
