//! Walking a stream between two identities, in either direction.

use super::chunk::{ChunkIter, Entry};
use super::{Id, Node};
use std::collections::VecDeque;

/// Entries of a stream with identities in a range.
pub struct Iter<'a> {
    nodes: &'a VecDeque<Node>,
    start: Id,
    end: Id,
    walk: Walk<'a>,
}

enum Walk<'a> {
    /// The number of the next chunk, and what is left of the one in hand.
    Forward(usize, Option<ChunkIter<'a>>),
    /// One past the number of the next chunk, and what is left of the one in hand, last entry last: entries
    /// can only be read forward, so a chunk is taken apart when it is reached.
    Backward(usize, Vec<Entry<'a>>),
}

impl<'a> Iter<'a> {
    pub(super) fn new(nodes: &'a VecDeque<Node>, start: Id, end: Id, reverse: bool) -> Iter<'a> {
        let first = nodes.partition_point(|node| node.first <= start).saturating_sub(1);
        let behind = nodes.partition_point(|node| node.first <= end);
        let walk = if reverse { Walk::Backward(behind, Vec::new()) } else { Walk::Forward(first, None) };
        Iter { nodes, start, end, walk }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        match &mut self.walk {
            Walk::Forward(node, chunk) => loop {
                if let Some(entry) = chunk.as_mut().and_then(|c| c.find(|entry| entry.id >= self.start)) {
                    return (entry.id <= self.end).then_some(entry);
                }
                *chunk = Some(self.nodes.get(*node)?.chunk.iter());
                *node += 1;
            },
            Walk::Backward(node, entries) => loop {
                if let Some(entry) = entries.pop() {
                    return (entry.id >= self.start).then_some(entry);
                }
                *node = node.checked_sub(1)?;
                let end = self.end;
                entries.extend(self.nodes.get(*node)?.chunk.iter().take_while(|entry| entry.id <= end));
            },
        }
    }
}
