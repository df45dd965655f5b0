//! The elements of a list as they were read: packed, node by node, so that a large list is unpacked a node at a time.

use super::reader::Corrupt;
use crate::pack::{Damaged, Piece, listpack, ziplist};

/// A list's elements from head to tail.
#[derive(Clone, Debug, Default)]
pub struct ListParts {
    nodes: Vec<Node>,
    len: usize,
}

/// Bytes that were looked at from end to end.
#[derive(Clone, Debug)]
enum Node {
    Listpack(Vec<u8>),
    Ziplist(Vec<u8>),
    Element(Vec<u8>),
}

impl ListParts {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives all elements in order, and frees each node when it is through.
    pub fn for_each(self, visit: &mut dyn FnMut(&[u8])) {
        self.nodes.into_iter().for_each(|node| node.for_each(visit));
    }

    /// All elements in order.
    pub fn to_vec(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::with_capacity(self.len);
        self.nodes.iter().for_each(|node| node.for_each(&mut |element| all.push(element.to_vec())));
        all
    }

    pub(super) fn push(&mut self, element: Vec<u8>) {
        self.nodes.push(Node::Element(element));
        self.len += 1;
    }

    pub(super) fn push_listpack(&mut self, bytes: Vec<u8>) -> Result<(), Corrupt> {
        self.len += count(listpack::iter(&bytes)?)?;
        self.nodes.push(Node::Listpack(bytes));
        Ok(())
    }

    pub(super) fn push_ziplist(&mut self, bytes: Vec<u8>) -> Result<(), Corrupt> {
        self.len += count(ziplist::iter(&bytes)?)?;
        self.nodes.push(Node::Ziplist(bytes));
        Ok(())
    }
}

impl Node {
    fn for_each(&self, visit: &mut dyn FnMut(&[u8])) {
        let mut visit_piece = |piece: Result<Piece<'_>, Damaged>| match piece {
            Ok(Piece::Bytes(bytes)) => visit(bytes),
            Ok(piece) => visit(&piece.to_vec()),
            // It was whole when it was counted.
            Err(_) => {}
        };
        match self {
            Node::Listpack(bytes) => listpack::iter(bytes).into_iter().flatten().for_each(&mut visit_piece),
            Node::Ziplist(bytes) => ziplist::iter(bytes).into_iter().flatten().for_each(&mut visit_piece),
            Node::Element(element) => visit(element),
        }
    }
}

/// The elements of a packed node, all of which can be read.
fn count<'a>(mut pieces: impl Iterator<Item = Result<Piece<'a>, Damaged>>) -> Result<usize, Corrupt> {
    Ok(pieces.try_fold(0, |count, piece| piece.map(|_| count + 1))?)
}

impl From<Vec<Vec<u8>>> for ListParts {
    fn from(elements: Vec<Vec<u8>>) -> ListParts {
        ListParts { len: elements.len(), nodes: elements.into_iter().map(Node::Element).collect() }
    }
}

/// However they are packed.
impl PartialEq for ListParts {
    fn eq(&self, other: &ListParts) -> bool {
        self.to_vec() == other.to_vec()
    }
}
