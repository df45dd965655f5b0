//! A sorted map in pieces: what belongs together lies in short runs, which a copy of the map shares.
//!
//! A B-tree of the standard library is copied whole when a snapshot has it and somebody writes. Here a copy costs a pointer for
//! each run of at most [`WIDTH_MAX`] items, and a write then copies the one run that it changes. Runs are deques, so what comes at
//! the back and goes from the front, as identities of a stream do, moves little.
//!
//! Equal keys may be there several times if they are put in so: they lie side by side, and a removal takes one of them.
//!
//! Invariants: no run is empty, but for the only one, which keeps its room for what comes next; `first` and `count` beside a run
//! are those of its items.

use crate::estimate;
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Most items of a run: what a write copies while a snapshot has it.
const WIDTH_MAX: usize = 128;
/// A run below this looks for a neighbour to join ..
const WIDTH_LOW: usize = 32;
/// .. with which it would stay below this, so that it is not split again at once.
const WIDTH_JOINED: usize = 96;
/// A run grows by half, and by so many items at least.
const STEP_MIN: usize = 4;
/// Room for so many items is not given back.
const KEPT_ROOM: usize = 16;

/// See the module's description.
pub(crate) struct Runs<K, V> {
    nodes: VecDeque<Node<K, V>>,
    len: usize,
}

/// A run with what a search needs to know of it.
#[derive(Clone)]
struct Node<K, V> {
    first: K,
    count: usize,
    items: Arc<VecDeque<(K, V)>>,
}

/// Where an item lies: the run and the index in it. The end is behind the last run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(usize, usize);

impl<K, V> Default for Runs<K, V> {
    fn default() -> Runs<K, V> {
        Runs { nodes: VecDeque::new(), len: 0 }
    }
}

impl<K: Clone, V> Clone for Runs<K, V> {
    fn clone(&self) -> Runs<K, V> {
        let share = |node: &Node<K, V>| Node {
            first: node.first.clone(),
            count: node.count,
            items: Arc::clone(&node.items),
        };
        Runs { nodes: self.nodes.iter().map(share).collect(), len: self.len }
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for Runs<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Runs<K, V> {
    fn eq(&self, other: &Runs<K, V>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Runs<K, V> {}

impl<K, V> Runs<K, V> {
    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first item.
    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// All items, upwards.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let range = Range { runs: self, front: self.settled(Place(0, 0)), back: self.end() };
        Iter { range, left: self.len }
    }

    /// Bytes of the runs, estimated from some of them, without what keys and values own.
    pub(crate) fn heap_bytes(&self) -> usize {
        let arc = 2 * size_of::<usize>() + size_of::<VecDeque<(K, V)>>();
        let size = |i: usize| arc + self.nodes[i].items.capacity() * size_of::<(K, V)>();
        let runs = estimate::sum(self.nodes.len(), estimate::PARTS_MAX, size);
        self.nodes.capacity() * size_of::<Node<K, V>>() + runs
    }

    fn end(&self) -> Place {
        Place(self.nodes.len(), 0)
    }

    /// The same place, in the next run when it is behind the last item of one.
    fn settled(&self, place: Place) -> Place {
        let is_behind = self.nodes.get(place.0).is_some_and(|node| place.1 >= node.count);
        if is_behind { Place(place.0 + 1, 0) } else { place }
    }

    fn at(&self, place: Place) -> Option<(&K, &V)> {
        self.nodes.get(place.0)?.items.get(place.1).map(|(key, value)| (key, value))
    }

    /// The first place whose key is not `before`, which holds for the lowest keys or none.
    fn place_where(&self, before: impl Fn(&K) -> bool) -> Place {
        let run = self.nodes.partition_point(|node| before(&node.first)).saturating_sub(1);
        let Some(node) = self.nodes.get(run) else { return self.end() };
        self.settled(Place(run, node.items.partition_point(|(key, _)| before(key))))
    }
}

impl<K: Ord + Clone, V: Clone> Runs<K, V> {
    /// The value of `key`.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.item(key).map(|(_, value)| value)
    }

    /// Whether there is an item of this key.
    pub(crate) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_some()
    }

    /// The key as it lies here, with its value.
    pub(crate) fn item<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.at(self.find(key)?)
    }

    /// The value of `key`, to change it.
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let Place(run, index) = self.find(key)?;
        let items = Arc::make_mut(&mut self.nodes[run].items);
        items.get_mut(index).map(|(_, value)| value)
    }

    /// Puts an item in, behind those of equal keys.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.len += 1;
        let run = self.nodes.partition_point(|node| node.first <= key).saturating_sub(1);
        let is_last = run + 1 == self.nodes.len();
        let Some(node) = self.nodes.get_mut(run) else {
            return self.nodes.push_back(Node::of(VecDeque::from([(key, value)])));
        };
        let index = node.items.partition_point(|(other, _)| *other <= key);
        if node.count < WIDTH_MAX {
            return node.insert(index, key, value);
        }
        if is_last && index == WIDTH_MAX {
            return self.nodes.push_back(Node::of(VecDeque::from([(key, value)])));
        }
        let mut right = node.split_off(WIDTH_MAX / 2);
        match index.checked_sub(WIDTH_MAX / 2) {
            Some(index) if index > 0 => right.insert(index, key, value),
            _ => node.insert(index, key, value),
        }
        self.nodes.insert(run + 1, right);
    }

    /// Takes an item of `key` out; its value.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let Place(run, index) = self.find(key)?;
        let value = self.nodes[run].remove(index);
        self.len -= 1;
        self.tidy(run);
        value
    }

    /// Takes the first item out.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first().map(|(key, _)| key.clone())?;
        let value = self.remove(&key)?;
        Some((key, value))
    }

    /// How many items have keys up to and with `key`.
    pub(crate) fn count_to(&self, key: &K) -> usize {
        let Place(run, index) = self.place_where(|other| other <= key);
        self.nodes.iter().take(run).map(|node| node.count).sum::<usize>() + index
    }

    /// The items between the bounds, upwards; none when the bounds contradict each other.
    pub(crate) fn range(&self, start: Bound<&K>, end: Bound<&K>) -> Range<'_, K, V> {
        let front = match start {
            Included(key) => self.place_where(|other| other < key),
            Excluded(key) => self.place_where(|other| other <= key),
            Unbounded => self.settled(Place(0, 0)),
        };
        let back = match end {
            Included(key) => self.place_where(|other| other <= key),
            Excluded(key) => self.place_where(|other| other < key),
            Unbounded => self.end(),
        };
        Range { runs: self, front, back }
    }

    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        let run = self.nodes.partition_point(|node| key.cmp(node.first.borrow()).is_ge()).saturating_sub(1);
        let items = &self.nodes.get(run)?.items;
        let index = items.binary_search_by(|(other, _)| key.cmp(other.borrow()).reverse()).ok()?;
        Some(Place(run, index))
    }

    /// Drops a run that has become empty, or joins one that has become short with a neighbour.
    fn tidy(&mut self, run: usize) {
        let count = self.nodes[run].count;
        if count == 0 && self.nodes.len() > 1 {
            self.nodes.remove(run);
            return;
        }
        if count >= WIDTH_LOW || self.nodes.len() == 1 {
            return;
        }
        let fits = |left: &usize| {
            self.nodes
                .get(left + 1)
                .is_some_and(|right| self.nodes[*left].count + right.count <= WIDTH_JOINED)
        };
        let left = [Some(run), run.checked_sub(1)].into_iter().flatten().find(fits);
        if let Some(left) = left
            && let Some(right) = self.nodes.remove(left + 1)
        {
            self.nodes[left].append(right);
        }
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// A run of these items, at least one.
    fn of(items: VecDeque<(K, V)>) -> Node<K, V> {
        Node { first: items[0].0.clone(), count: items.len(), items: Arc::new(items) }
    }

    fn insert(&mut self, index: usize, key: K, value: V) {
        let items = Arc::make_mut(&mut self.items);
        if items.len() == items.capacity() {
            items.reserve_exact((items.len() / 2).max(STEP_MIN).min(WIDTH_MAX - items.len()));
        }
        items.insert(index, (key, value));
        self.update();
    }

    fn remove(&mut self, index: usize) -> Option<V> {
        let items = Arc::make_mut(&mut self.items);
        let (_, value) = items.remove(index)?;
        if items.capacity() > KEPT_ROOM && items.len() < items.capacity() / 4 {
            items.shrink_to(items.len() * 2);
        }
        self.update();
        Some(value)
    }

    fn split_off(&mut self, index: usize) -> Node<K, V> {
        let right = Node::of(Arc::make_mut(&mut self.items).split_off(index));
        self.update();
        right
    }

    fn append(&mut self, right: Node<K, V>) {
        let items = Arc::make_mut(&mut self.items);
        items.reserve_exact(right.count);
        items.extend(Arc::unwrap_or_clone(right.items));
        self.update();
    }

    /// An empty run keeps the key that it had: it is the only one, so every search ends in it.
    fn update(&mut self) {
        self.count = self.items.len();
        if let Some((key, _)) = self.items.front() {
            self.first = key.clone();
        }
    }
}

/// The iterator of [`Runs::range`].
pub(crate) struct Range<'a, K, V> {
    runs: &'a Runs<K, V>,
    front: Place,
    back: Place,
}

impl<'a, K, V> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        if self.front >= self.back {
            return None;
        }
        let item = self.runs.at(self.front);
        self.front = self.runs.settled(Place(self.front.0, self.front.1 + 1));
        item
    }
}

impl<'a, K, V> DoubleEndedIterator for Range<'a, K, V> {
    fn next_back(&mut self) -> Option<(&'a K, &'a V)> {
        if self.front >= self.back {
            return None;
        }
        let Place(run, index) = self.back;
        self.back = match index.checked_sub(1) {
            Some(index) => Place(run, index),
            None => Place(run - 1, self.runs.nodes[run - 1].count - 1),
        };
        self.runs.at(self.back)
    }
}

/// The iterator of [`Runs::iter`], which knows how many items are left.
pub(crate) struct Iter<'a, K, V> {
    range: Range<'a, K, V>,
    left: usize,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        let item = self.range.next()?;
        self.left -= 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let item = self.range.next_back()?;
        self.left -= 1;
        Some(item)
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}
