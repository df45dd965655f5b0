//! The order of a large sorted set: entries by score and member, found by either or by rank.
//!
//! A skiplist pays a node of several pointers for each entry. Here entries lie in leaves of at most 128, and
//! leaves in groups of at most 128; each level keeps the count and the lowest score of what is below beside
//! the pointer, so a search reads a few contiguous runs and a rank is a sum of counts. An entry costs 16 bytes
//! plus what its leaf leaves unused. Leaves and groups are reference-counted: a snapshot shares them, and a
//! write copies one leaf and one group.
//!
//! Invariants: no leaf and no group is empty; `count` and `min` beside a pointer are those of what it points to.

use super::bounds::Cut;
use crate::estimate;
use crate::pack::member::Member;
use std::ops::Range;
use std::sync::Arc;

/// Most entries of a leaf (2 KiB), and most leaves of a group.
const WIDTH_MAX: usize = 128;
/// A leaf or group below this looks for a neighbour to join ..
const WIDTH_LOW: usize = 32;
/// .. with which it would stay below this, so that it is not split again at once.
const WIDTH_JOINED: usize = 96;
/// A leaf grows by so many entries at a time: little is left unused.
const LEAF_STEP: usize = 16;

/// An entry: the score is repeated beside the handle so that a search rarely follows it.
#[derive(Clone)]
struct Slot {
    score: f64,
    member: Member,
}

/// A pointer to a run of things below, with what a search needs to know of it.
struct Node<T> {
    min: f64,
    count: usize,
    below: Arc<Vec<T>>,
}

type Leaf = Node<Slot>;
type Group = Node<Leaf>;

impl<T> Clone for Node<T> {
    fn clone(&self) -> Node<T> {
        Node { min: self.min, count: self.count, below: Arc::clone(&self.below) }
    }
}

/// Entries in order.
#[derive(Clone, Default)]
pub(super) struct Order {
    groups: Vec<Group>,
    len: usize,
}

/// Where an entry is: group, leaf, slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path(usize, usize, usize);

impl Leaf {
    fn of(slots: Vec<Slot>) -> Leaf {
        Node { min: slots.first().map_or(0.0, |slot| slot.score), count: slots.len(), below: Arc::new(slots) }
    }

    fn first(&self) -> &Member {
        &self.below[0].member
    }

    fn update(&mut self) {
        self.count = self.below.len();
        self.min = self.below.first().map_or(0.0, |slot| slot.score);
    }
}

impl Group {
    fn of(leaves: Vec<Leaf>) -> Group {
        let count = leaves.iter().map(|leaf| leaf.count).sum();
        Node { min: leaves.first().map_or(0.0, |leaf| leaf.min), count, below: Arc::new(leaves) }
    }
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of entries before the cut.
    pub(super) fn rank_of(&self, cut: Cut<'_>) -> usize {
        let Some(Path(g, l, s)) = self.seek(cut) else { return 0 };
        let before: usize = self.groups[..g].iter().map(|group| group.count).sum();
        let leaves: usize = self.groups[g].below[..l].iter().map(|leaf| leaf.count).sum();
        before + leaves + s
    }

    /// Put in an entry that is not there yet.
    pub(super) fn insert(&mut self, member: Member) {
        let score = member.score();
        let place = self.seek(Cut::Entry(score, member.bytes()));
        let slot = Slot { score, member };
        self.len += 1;
        let Some(Path(g, l, s)) = place else {
            return self.groups.push(Group::of(vec![Leaf::of(vec![slot])]));
        };
        let at_end = g + 1 == self.groups.len() && l + 1 == self.groups[g].below.len();
        let group = &mut self.groups[g];
        group.count += 1;
        let leaves = Arc::make_mut(&mut group.below);
        let slots = Arc::make_mut(&mut leaves[l].below);
        if slots.len() == WIDTH_MAX {
            split_leaf(leaves, l, s, slot, at_end);
        } else {
            if slots.len() == slots.capacity() {
                slots.reserve_exact(LEAF_STEP);
            }
            slots.insert(s, slot);
            leaves[l].update();
        }
        group.min = leaves[0].min;
        if leaves.len() > WIDTH_MAX {
            let middle = if at_end { WIDTH_MAX } else { WIDTH_MAX / 2 };
            let right = leaves.split_off(middle);
            group.count = leaves.iter().map(|leaf| leaf.count).sum();
            self.groups.insert(g + 1, Group::of(right));
        }
    }

    /// Remove the entry of this score and member; false when it is not there.
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        let Some(Path(g, l, s)) = self.seek(Cut::Entry(score, member)) else { return false };
        // The seek ends behind the last entry of a leaf when the next leaf begins with the entry.
        let rank_in_leaf = self.groups[g].below[l].below.get(s);
        if rank_in_leaf.is_some_and(|slot| slot.member.bytes() == member) {
            self.remove_in_leaf(Path(g, l, s), 1, &mut |_| {});
            return true;
        }
        let next = self.next_leaf(g, l);
        let Some((g, l)) = next else { return false };
        if self.groups[g].below[l].first().bytes() != member {
            return false;
        }
        self.remove_in_leaf(Path(g, l, 0), 1, &mut |_| {});
        true
    }

    /// Remove the entries of these ranks, which must exist, telling each to `gone` first.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(&Member)) {
        let mut left = ranks.len();
        while left > 0 {
            let place = self.place(ranks.start);
            left -= self.remove_in_leaf(place, left, gone);
        }
    }

    /// The entries of these ranks (cut to what exists), upwards or downwards.
    pub(super) fn iter(&self, ranks: Range<usize>, reverse: bool) -> OrderIter<'_> {
        let end = ranks.end.min(self.len);
        let left = end.saturating_sub(ranks.start);
        let place = match left {
            0 => Path(0, 0, 0),
            _ if reverse => self.place(end - 1),
            _ => self.place(ranks.start),
        };
        let slots = if left == 0 { &[][..] } else { &self.groups[place.0].below[place.1].below[..] };
        OrderIter { order: self, slots, place, left, reverse }
    }

    /// Bytes of leaves and groups as allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        /// Groups, and leaves of each, that tell of all.
        const LOOKED_AT_MAX: usize = 8;
        let arc = 2 * size_of::<usize>() + size_of::<Vec<u8>>();
        let leaf_bytes = |leaf: &Leaf| arc + leaf.below.capacity() * size_of::<Slot>();
        let group_bytes = |group: &Group| {
            let leaves = estimate::sum(group.below.len(), LOOKED_AT_MAX, |i| leaf_bytes(&group.below[i]));
            arc + group.below.capacity() * size_of::<Leaf>() + leaves
        };
        let groups = estimate::sum(self.groups.len(), LOOKED_AT_MAX, |i| group_bytes(&self.groups[i]));
        self.groups.capacity() * size_of::<Group>() + groups
    }

    /// Where an entry at the cut belongs: behind the last entry before the cut, or at the very beginning.
    fn seek(&self, cut: Cut<'_>) -> Option<Path> {
        let behind = |group: &Group| cut.is_behind(group.min, || group.below[0].first().bytes());
        let g = self.groups.partition_point(behind).saturating_sub(1);
        let leaves = &self.groups.get(g)?.below;
        let behind = |leaf: &Leaf| cut.is_behind(leaf.min, || leaf.first().bytes());
        let l = leaves.partition_point(behind).saturating_sub(1);
        let behind = |slot: &Slot| cut.is_behind(slot.score, || slot.member.bytes());
        Some(Path(g, l, leaves[l].below.partition_point(behind)))
    }

    /// The place of the entry of this rank, which must exist.
    fn place(&self, rank: usize) -> Path {
        debug_assert!(rank < self.len);
        let (g, within) = skip(&self.groups, rank);
        let (l, s) = skip(&self.groups[g].below, within);
        Path(g, l, s)
    }

    fn next_leaf(&self, g: usize, l: usize) -> Option<(usize, usize)> {
        if l + 1 < self.groups[g].below.len() {
            return Some((g, l + 1));
        }
        (g + 1 < self.groups.len()).then_some((g + 1, 0))
    }

    /// Remove up to `most` entries of one leaf from `place` on; returns how many went.
    fn remove_in_leaf(&mut self, place: Path, most: usize, gone: &mut dyn FnMut(&Member)) -> usize {
        let Path(g, l, s) = place;
        let group = &mut self.groups[g];
        let leaves = Arc::make_mut(&mut group.below);
        let slots = Arc::make_mut(&mut leaves[l].below);
        let end = slots.len().min(s + most);
        slots[s..end].iter().for_each(|slot| gone(&slot.member));
        slots.drain(s..end);
        leaves[l].update();
        join_leaf(leaves, l);
        group.count -= end - s;
        group.min = leaves.first().map_or(0.0, |leaf| leaf.min);
        self.len -= end - s;
        self.join_group(g);
        end - s
    }

    /// Drop an empty group, or join a small one to the group before it.
    fn join_group(&mut self, g: usize) {
        let width = self.groups[g].below.len();
        if width == 0 {
            self.groups.remove(g);
        } else if width < WIDTH_LOW && g > 0 && self.groups[g - 1].below.len() + width <= WIDTH_JOINED {
            let group = self.groups.remove(g);
            let before = &mut self.groups[g - 1];
            before.count += group.count;
            Arc::make_mut(&mut before.below).extend(Arc::unwrap_or_clone(group.below));
        }
    }
}

/// The node that holds number `index`, and the number within it.
fn skip<T>(nodes: &[Node<T>], mut index: usize) -> (usize, usize) {
    for (i, node) in nodes.iter().enumerate() {
        if index < node.count {
            return (i, index);
        }
        index -= node.count;
    }
    unreachable!("the counts add up to the length")
}

/// Split the full leaf `l` and put `slot` at number `s` of it. At the very end of the set a fresh leaf is begun
/// instead, so that rising scores (times, sequence numbers) leave full leaves behind.
fn split_leaf(leaves: &mut Vec<Leaf>, l: usize, s: usize, slot: Slot, at_end: bool) {
    let slots = Arc::make_mut(&mut leaves[l].below);
    if at_end && s == slots.len() {
        let mut fresh = Vec::with_capacity(LEAF_STEP);
        fresh.push(slot);
        return leaves.insert(l + 1, Leaf::of(fresh));
    }
    let middle = WIDTH_MAX / 2;
    let mut right = Vec::with_capacity(WIDTH_MAX - middle + LEAF_STEP);
    right.extend(slots.drain(middle..));
    slots.shrink_to(middle + LEAF_STEP);
    if s <= middle {
        slots.insert(s, slot);
    } else {
        right.insert(s - middle, slot);
    }
    leaves[l].update();
    leaves.insert(l + 1, Leaf::of(right));
}

/// Drop an empty leaf, or join a small one to the leaf before it.
fn join_leaf(leaves: &mut Vec<Leaf>, l: usize) {
    let count = leaves[l].count;
    if count == 0 {
        leaves.remove(l);
    } else if count < WIDTH_LOW && l > 0 && leaves[l - 1].count + count <= WIDTH_JOINED {
        let leaf = leaves.remove(l);
        let before = &mut leaves[l - 1];
        let slots = Arc::make_mut(&mut before.below);
        slots.reserve_exact(count);
        slots.extend(Arc::unwrap_or_clone(leaf.below));
        before.update();
    }
}

/// Entries of a range of ranks.
#[derive(Clone)]
pub(super) struct OrderIter<'a> {
    order: &'a Order,
    /// The leaf in hand.
    slots: &'a [Slot],
    /// The next entry, unless `left` is 0.
    place: Path,
    left: usize,
    reverse: bool,
}

impl<'a> Iterator for OrderIter<'a> {
    type Item = &'a Member;

    fn next(&mut self) -> Option<&'a Member> {
        let left = self.left.checked_sub(1)?;
        let member = &self.slots[self.place.2].member;
        self.left = left;
        if left > 0 {
            if self.reverse { self.step_back() } else { self.step() }
        }
        Some(member)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl OrderIter<'_> {
    fn step(&mut self) {
        let Path(g, l, s) = &mut self.place;
        *s += 1;
        if *s < self.slots.len() {
            return;
        }
        (*l, *s) = (*l + 1, 0);
        if *l == self.order.groups[*g].below.len() {
            (*g, *l) = (*g + 1, 0);
        }
        self.slots = &self.order.groups[*g].below[*l].below;
    }

    fn step_back(&mut self) {
        let Path(g, l, s) = &mut self.place;
        if *s > 0 {
            *s -= 1;
            return;
        }
        if *l > 0 {
            *l -= 1;
        } else {
            *g -= 1;
            *l = self.order.groups[*g].below.len() - 1;
        }
        self.slots = &self.order.groups[*g].below[*l].below;
        *s = self.slots.len() - 1;
    }
}
