//! The long form of a list: a deque of packed chunks.

use crate::pack::listpack::{Packed, element_size};
use std::collections::VecDeque;
use std::sync::Arc;

/// The long form.
#[derive(Clone)]
pub(super) struct Chunks {
    pub(super) nodes: VecDeque<Node>,
    pub(super) len: usize,
    /// As of the last growth: shrinking back to the short form needs them, and must not ask the caller.
    pub(super) limits: ChunkLimits,
}

/// A chunk with its count beside it, so that skipping reads the deque only.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) count: u32,
    pub(super) chunk: Arc<Packed>,
}

impl Node {
    pub(super) fn new(chunk: Packed) -> Node {
        Node { count: chunk.count() as u32, chunk: Arc::new(chunk) }
    }

    /// Change the chunk, copying it first when a snapshot still reads it.
    fn change<R>(&mut self, f: impl FnOnce(&mut Packed) -> R) -> R {
        let chunk = Arc::make_mut(&mut self.chunk);
        let result = f(chunk);
        self.count = chunk.count() as u32;
        result
    }
}

impl Chunks {
    pub(super) fn push_front(&mut self, value: &[u8]) {
        self.len += 1;
        if let Some(node) = self.nodes.front_mut()
            && self.limits.admits(&node.chunk, value)
        {
            return node.change(|chunk| chunk.push_front(value));
        }
        let mut chunk = Packed::default();
        chunk.push_front(value);
        self.nodes.push_front(Node::new(chunk));
    }

    pub(super) fn push_back(&mut self, value: &[u8]) {
        self.len += 1;
        if let Some(node) = self.nodes.back_mut()
            && self.limits.admits(&node.chunk, value)
        {
            return node.change(|chunk| chunk.push_back(value));
        }
        let mut chunk = Packed::default();
        chunk.push_back(value);
        self.nodes.push_back(Node::new(chunk));
    }

    pub(super) fn drop_front(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(node) = self.nodes.front_mut() {
            if n < node.count as usize {
                if n > 0 {
                    node.change(|chunk| chunk.drop_front(n));
                }
                return;
            }
            n -= node.count as usize;
            self.nodes.pop_front();
        }
    }

    pub(super) fn drop_back(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(node) = self.nodes.back_mut() {
            if n < node.count as usize {
                if n > 0 {
                    node.change(|chunk| chunk.drop_back(n));
                }
                return;
            }
            n -= node.count as usize;
            self.nodes.pop_back();
        }
    }

    /// The node that holds element `index < len`, and the index within it, searched from the nearer end.
    pub(super) fn locate(&self, index: usize) -> (usize, usize) {
        debug_assert!(index < self.len);
        if index < self.len / 2 {
            let mut before = 0;
            for (i, node) in self.nodes.iter().enumerate() {
                if index < before + node.count as usize {
                    return (i, index - before);
                }
                before += node.count as usize;
            }
        }
        let mut first = self.len;
        for (i, node) in self.nodes.iter().enumerate().rev() {
            first -= node.count as usize;
            if index >= first {
                return (i, index - first);
            }
        }
        unreachable!("the counts add up to the length")
    }

    pub(super) fn set(&mut self, index: usize, value: &[u8]) {
        let (at, within) = self.locate(index);
        let node = &mut self.nodes[at];
        let fits = node.chunk.bytes() + element_size(value.len()) <= self.limits.bytes_max as usize;
        if fits || node.count == 1 {
            return node.change(|chunk| chunk.replace(chunk.offset_of(within), value));
        }
        self.remove_at(at, within);
        self.insert(index, value);
    }

    /// Remove one element; the node goes with its last one.
    fn remove_at(&mut self, at: usize, within: usize) {
        self.len -= 1;
        let node = &mut self.nodes[at];
        node.change(|chunk| chunk.remove(chunk.offset_of(within)));
        if node.count == 0 {
            self.nodes.remove(at);
        }
    }

    /// Put `value` before the element `index` (`index <= len`).
    pub(super) fn insert(&mut self, index: usize, value: &[u8]) {
        if index == self.len {
            return self.push_back(value);
        }
        if index == 0 {
            return self.push_front(value);
        }
        let (mut at, mut within) = self.locate(index);
        if within == 0 && !self.limits.admits(&self.nodes[at].chunk, value) {
            // The border between two chunks belongs to both.
            at -= 1;
            within = self.nodes[at].count as usize;
        }
        self.len += 1;
        if self.limits.admits(&self.nodes[at].chunk, value) {
            return self.nodes[at].change(|chunk| chunk.insert(chunk.offset_of(within), value));
        }
        self.split_and_insert(at, within, value);
    }

    /// Make room in the full chunk `at` by cutting it at `within`, where `value` belongs.
    fn split_and_insert(&mut self, at: usize, within: usize, value: &[u8]) {
        let tail = self.nodes[at].change(|chunk| chunk.split_off(within));
        if tail.count() > 0 {
            self.nodes.insert(at + 1, Node::new(tail));
        }
        if self.limits.admits(&self.nodes[at].chunk, value) {
            self.nodes[at].change(|chunk| chunk.push_back(value));
        } else {
            let mut alone = Packed::default();
            alone.push_back(value);
            self.nodes.insert(at + 1, Node::new(alone));
        }
        if self.nodes[at].count == 0 {
            self.nodes.remove(at);
        }
    }

    pub(super) fn remove_equal(&mut self, value: &[u8], backward: bool, most: usize) -> usize {
        let mut removed = 0;
        let mut i = if backward { self.nodes.len() } else { 0 };
        while removed < most {
            if backward {
                if i == 0 {
                    break;
                }
                i -= 1;
            } else if i == self.nodes.len() {
                break;
            }
            let gone = self.remove_equal_in(i, value, backward, most - removed);
            removed += gone;
            let vanished = gone > 0 && self.tidy(i);
            if !backward && !vanished {
                i += 1;
            }
        }
        removed
    }

    /// Remove matches of one chunk, which is copied only when there is one.
    fn remove_equal_in(&mut self, i: usize, value: &[u8], backward: bool, most: usize) -> usize {
        let node = &mut self.nodes[i];
        if !node.chunk.iter().any(|element| element == value) {
            return 0;
        }
        let gone = node.change(|chunk| remove_equal(chunk, value, backward, most));
        self.len -= gone;
        gone
    }

    /// After removals in chunk `i`: drop it when empty, and pour it into the chunk before when both are small,
    /// so that a list thinned out in the middle does not keep a chunk per element. True when `i` is gone.
    fn tidy(&mut self, i: usize) -> bool {
        if self.nodes[i].count == 0 {
            self.nodes.remove(i);
            return true;
        }
        if i == 0 {
            return false;
        }
        let (before, this) = (&self.nodes[i - 1].chunk, &self.nodes[i].chunk);
        let small = before.bytes() + this.bytes() <= self.limits.bytes_max as usize / 2
            && before.count() + this.count() <= self.limits.count_max as usize / 2;
        if !small {
            return false;
        }
        let Some(node) = self.nodes.remove(i) else { return false };
        self.nodes[i - 1].change(|chunk| chunk.append(&node.chunk));
        true
    }
}

/// How large a chunk may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkLimits {
    pub(super) bytes_max: u32,
    pub(super) count_max: u32,
}

impl ChunkLimits {
    /// From `list-max-listpack-size`: a positive number bounds the elements of a chunk, -1 to -5 bound its bytes
    /// to 4, 8, 16, 32 or 64 KiB; other numbers mean the nearest of these.
    pub(super) fn new(size: i64) -> ChunkLimits {
        if size >= 0 {
            let count_max = size.clamp(1, i64::from(u16::MAX)) as u32;
            return ChunkLimits { bytes_max: 8192, count_max };
        }
        ChunkLimits { bytes_max: 4096 << (-size.max(-5) - 1), count_max: u32::MAX }
    }

    fn admits(self, chunk: &Packed, value: &[u8]) -> bool {
        chunk.count() == 0
            || (chunk.bytes() + element_size(value.len()) <= self.bytes_max as usize
                && chunk.count() < self.count_max as usize)
    }

    pub(super) fn admits_half(self, chunk: &Packed) -> bool {
        chunk.bytes() <= self.bytes_max as usize / 2 && chunk.count() <= self.count_max as usize / 2
    }
}

/// Remove up to `most` elements equal to `value`, from the right when `backward`; returns how many went.
pub(super) fn remove_equal(chunk: &mut Packed, value: &[u8], backward: bool, most: usize) -> usize {
    let mut removed = 0;
    let mut at = if backward { chunk.end() } else { chunk.begin() };
    while removed < most {
        if backward {
            if at == chunk.begin() {
                break;
            }
            at = chunk.before(at);
        } else if at == chunk.end() {
            break;
        }
        if chunk.value(at) == value {
            at = chunk.remove(at);
            removed += 1;
        } else if !backward {
            at = chunk.after(at);
        }
    }
    if removed > 0 {
        chunk.give_back();
    }
    removed
}
