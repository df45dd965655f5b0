//! Which of the scripts that came with EVAL was used least recently: a doubly linked list in one vector.
//!
//! Moving the script that runs to the young end costs a few loads and stores, or a comparison when it is there.

use crate::interpreter::Sha;

/// A script's place in the list.
pub(crate) type NodeIndex = u32;

/// The place of nobody.
const NONE: NodeIndex = NodeIndex::MAX;

#[derive(Debug)]
struct Node {
    sha: Sha,
    older: NodeIndex,
    younger: NodeIndex,
}

/// Scripts from the least to the most recently used.
#[derive(Debug)]
pub(crate) struct Recency {
    nodes: Vec<Node>,
    free: Vec<NodeIndex>,
    oldest: NodeIndex,
    youngest: NodeIndex,
}

impl Default for Recency {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), oldest: NONE, youngest: NONE }
    }
}

impl Recency {
    /// How many scripts are in the list.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Adds a script as the most recently used.
    pub(crate) fn add(&mut self, sha: Sha) -> NodeIndex {
        let node = Node { sha, older: NONE, younger: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeIndex
            }
        };
        self.link(place);
        place
    }

    /// Makes a script the most recently used.
    #[inline]
    pub(crate) fn touch(&mut self, place: NodeIndex) {
        if self.youngest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    /// Takes a script out.
    pub(crate) fn remove(&mut self, place: NodeIndex) {
        self.unlink(place);
        self.free.push(place);
    }

    /// Takes out the least recently used script.
    pub(crate) fn pop(&mut self) -> Option<Sha> {
        let sha = self.nodes.get(self.oldest as usize)?.sha;
        self.remove(self.oldest);
        Some(sha)
    }

    fn link(&mut self, place: NodeIndex) {
        let node = &mut self.nodes[place as usize];
        (node.older, node.younger) = (self.youngest, NONE);
        match self.nodes.get_mut(self.youngest as usize) {
            Some(before) => before.younger = place,
            None => self.oldest = place,
        }
        self.youngest = place;
    }

    fn unlink(&mut self, place: NodeIndex) {
        let Node { older, younger, .. } = self.nodes[place as usize];
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.younger = younger,
            None => self.oldest = younger,
        }
        match self.nodes.get_mut(younger as usize) {
            Some(node) => node.older = older,
            None => self.youngest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recency;

    #[test]
    fn the_least_recently_used_leaves_first() {
        let mut recency = Recency::default();
        let places: Vec<_> = (0..4).map(|n| recency.add([n; 40])).collect();
        recency.touch(places[0]);
        recency.touch(places[2]);
        recency.touch(places[2]);
        recency.remove(places[1]);
        assert_eq!(recency.len(), 3);
        let reused = recency.add([9; 40]);
        assert_eq!(reused, places[1]);
        let order: Vec<u8> = std::iter::from_fn(|| recency.pop()).map(|sha| sha[0]).collect();
        assert_eq!((order, recency.len()), (vec![3, 0, 2, 9], 0));
    }
}
