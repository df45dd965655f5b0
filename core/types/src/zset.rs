//! The sorted set: members with scores, by name, by score and by rank.
//!
//! A small set is one packed run (`packed`). A large one is a dictionary by member and an order of counted
//! leaves (`order`), which hold handles on the same one allocation per member (`pack::member`). Ranges of every
//! sort are turned into ranks first (`bounds`), so each operation exists once: [`ZSet::range`] and
//! [`ZSet::remove_ranks`] serve scores, names, pops and trims alike.
//!
//! Invariants: no score is NaN; dictionary and order hold exactly the same handles; a set that has become large
//! stays large.

use crate::pack::member::Member;
use crate::{Collection, Kind, Limits};
use bounds::Cut;
pub use bounds::{LexBound, ScoreBound};
use order::{Order, OrderIter};
use packed::PackedSet;
use std::ops::Range;
use table::{Item, Table};

mod bounds;
mod order;
mod packed;
#[cfg(test)]
mod tests;

/// Members with scores, ordered by score and then by member.
#[derive(Clone)]
pub struct ZSet {
    repr: Repr,
}
const _: () = assert!(size_of::<ZSet>() == 16, "sorted sets are many");

#[derive(Clone)]
enum Repr {
    Small(PackedSet),
    Large(Box<Large>),
}

/// The form for many members.
#[derive(Clone)]
struct Large {
    names: Names,
    order: Order,
    /// What the allocations of all members add up to.
    member_bytes: usize,
}

/// The dictionary; a clone of it shares its structure.
struct Names(Table<Member>);

impl Clone for Names {
    fn clone(&self) -> Names {
        Names(self.0.share())
    }
}

impl Item for Member {
    fn key(&self) -> &[u8] {
        self.bytes()
    }
}

/// Conditions of ZADD. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// NX: only members that are not there yet.
    pub only_new: bool,
    /// XX: only members that are there already.
    pub only_existing: bool,
    /// GT: change a score only to a greater one.
    pub only_greater: bool,
    /// LT: change a score only to a lower one.
    pub only_less: bool,
    /// INCR: the score given is added to the one that is there.
    pub increment: bool,
}

/// What an addition did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    /// The member is new; its score.
    New(f64),
    /// The member has another score now.
    Changed(f64),
    /// The member had this score already.
    Same(f64),
    /// A condition of the options did not hold.
    Refused,
    /// The sum is not a number (infinities of opposite sign); nothing was changed.
    NotANumber,
}

impl std::fmt::Debug for ZSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl AddOptions {
    /// What becomes of a member that has the score `old`: the answer, and the new score if it changes.
    fn decide(self, old: f64, given: f64) -> (Added, Option<f64>) {
        if self.only_new {
            return (Added::Refused, None);
        }
        let score = if self.increment { old + given } else { given };
        if score.is_nan() {
            return (Added::NotANumber, None);
        }
        if (self.only_greater && score <= old) || (self.only_less && score >= old) {
            return (Added::Refused, None);
        }
        if score == old { (Added::Same(score), None) } else { (Added::Changed(score), Some(score)) }
    }
}

impl Collection for ZSet {
    const KIND: Kind = Kind::ZSet;

    fn new() -> ZSet {
        ZSet { repr: Repr::Small(PackedSet::new()) }
    }

    fn is_empty(&self) -> bool {
        ZSet::is_empty(self)
    }

    fn elements(&self) -> usize {
        self.len()
    }

    fn share(&self) -> ZSet {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        match self.repr {
            Repr::Small(_) => "listpack",
            Repr::Large(_) => "skiplist",
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self.repr, Repr::Small(_))
    }

    fn heap_bytes(&self) -> usize {
        match &self.repr {
            Repr::Small(packed) => packed.allocated(),
            Repr::Large(large) => {
                size_of::<Large>() + large.names.0.bytes() + large.order.heap_bytes() + large.member_bytes
            }
        }
    }
}

impl ZSet {
    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Small(packed) => packed.len(),
            Repr::Large(large) => large.order.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of `member`.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.repr {
            Repr::Small(packed) => packed.find(member).map(|entry| entry.score),
            Repr::Large(large) => large.find(member).map(Member::score),
        }
    }

    /// Add `member` or change its score, under the conditions of `options`. `score` must not be NaN.
    pub fn add(&mut self, member: &[u8], score: f64, options: AddOptions, limits: &Limits) -> Added {
        debug_assert!(!score.is_nan());
        let decided = match &mut self.repr {
            Repr::Small(packed) => packed.change(member, |old| options.decide(old, score)),
            Repr::Large(large) => large.change(member, |old| options.decide(old, score)),
        };
        match decided {
            Some(added) => added,
            None if options.only_existing => Added::Refused,
            None => {
                self.insert_new(member, score, limits);
                Added::New(score)
            }
        }
    }

    /// Set the score of `member` without conditions; true when it is new.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> bool {
        matches!(self.add(member, score, AddOptions::default(), limits), Added::New(_))
    }

    /// Remove `member`; its score when it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.repr {
            Repr::Small(packed) => {
                let (rank, score) = packed.find(member).map(|entry| (entry.rank, entry.score))?;
                packed.remove(rank..rank + 1);
                Some(score)
            }
            Repr::Large(large) => large.remove(member),
        }
    }

    /// How many entries lie before `member`, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.repr {
            Repr::Small(packed) => packed.find(member).map(|entry| (entry.rank, entry.score)),
            Repr::Large(large) => {
                let score = large.find(member)?.score();
                Some((large.order.rank_of(Cut::Entry(score, member)), score))
            }
        }
    }

    /// How many entries lie behind `member`, and its score.
    pub fn rev_rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        self.rank(member).map(|(rank, score)| (self.len() - 1 - rank, score))
    }

    /// The ranks of the entries with scores between the bounds.
    pub fn ranks_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        self.ranks_between(Cut::score_min(min), Cut::score_max(max))
    }

    /// The ranks of the entries with members between the bounds; meant for sets where all scores are equal,
    /// otherwise the answer is some range, as in Redis.
    pub fn ranks_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        self.ranks_between(Cut::lex_min(min), Cut::lex_max(max))
    }

    /// The ranks that ZRANGE means by `start` and `stop`: both included, both may count from the end, both are
    /// cut to the set. Empty when nothing is meant.
    pub fn ranks(&self, start: i64, stop: i64) -> Range<usize> {
        let len = self.len() as i64;
        let from_start = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
        let (start, stop) = (from_start(start).max(0), from_start(stop).min(len - 1));
        if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
    }

    /// The same number of ranks counted from the other end: what a reverse range by rank means.
    pub fn mirrored(&self, ranks: Range<usize>) -> Range<usize> {
        let len = self.len();
        len.saturating_sub(ranks.end)..len.saturating_sub(ranks.start)
    }

    /// The entries of these ranks (cut to what exists), upwards.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        self.walk(ranks, false)
    }

    /// The entries of these ranks (cut to what exists), downwards.
    pub fn range_rev(&self, ranks: Range<usize>) -> Iter<'_> {
        self.walk(ranks, true)
    }

    /// All entries, upwards.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The entry of this rank: for random picks and for looking at the ends.
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        if rank >= self.len() {
            return None;
        }
        self.range(rank..rank + 1).next()
    }

    /// Remove the entries of these ranks (cut to what exists); returns how many went.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let end = ranks.end.min(self.len());
        let ranks = ranks.start.min(end)..end;
        match &mut self.repr {
            Repr::Small(packed) => packed.remove(ranks.clone()),
            Repr::Large(large) => large.remove_ranks(ranks.clone()),
        }
        ranks.len()
    }

    /// Visit some entries and return the cursor to go on with, 0 at the end: SCAN's guarantee holds. A small
    /// set is visited whole at once.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&[u8], f64)) -> u64 {
        match &self.repr {
            Repr::Small(packed) => {
                packed.iter().for_each(|entry| visit(entry.member, entry.score));
                0
            }
            Repr::Large(large) => {
                large.names.0.scan(cursor, &mut |member| visit(member.bytes(), member.score()))
            }
        }
    }

    fn ranks_between(&self, min: Cut<'_>, max: Cut<'_>) -> Range<usize> {
        let rank = |cut| match &self.repr {
            Repr::Small(packed) => packed.rank_of(cut),
            Repr::Large(large) => large.order.rank_of(cut),
        };
        let (start, end) = (rank(min), rank(max));
        start..end.max(start)
    }

    fn walk(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        match &self.repr {
            Repr::Large(large) => Iter(Walk::Large(large.order.iter(ranks, reverse))),
            Repr::Small(packed) => {
                let within = packed.iter().skip(ranks.start).take(ranks.len());
                let mut entries: Vec<_> = within.map(|entry| (entry.member, entry.score)).collect();
                if reverse {
                    entries.reverse();
                }
                Iter(Walk::Small(entries.into_iter()))
            }
        }
    }

    fn insert_new(&mut self, member: &[u8], score: f64, limits: &Limits) {
        if let Repr::Small(packed) = &mut self.repr {
            let fits = packed.len() < limits.zset_entries && member.len() <= limits.zset_value;
            if fits && packed.has_room(member) {
                return packed.insert(score, member);
            }
            self.enlarge(limits.seed);
        }
        if let Repr::Large(large) = &mut self.repr {
            large.insert_new(member, score);
        }
    }

    fn enlarge(&mut self, seed: u64) {
        let mut large = Large { names: Names(Table::new(seed)), order: Order::default(), member_bytes: 0 };
        self.iter().for_each(|(member, score)| large.insert_new(member, score));
        self.repr = Repr::Large(Box::new(large));
    }
}

impl Large {
    fn find(&self, member: &[u8]) -> Option<&Member> {
        self.names.0.find(self.names.0.hash_of(member), member)
    }

    fn insert_new(&mut self, member: &[u8], score: f64) {
        let handle = Member::new(score, member);
        self.member_bytes += Member::allocation(member.len());
        self.names.0.insert_new(self.names.0.hash_of(member), handle.clone());
        self.order.insert(handle);
    }

    fn change<R>(&mut self, member: &[u8], decide: impl FnOnce(f64) -> (R, Option<f64>)) -> Option<R> {
        let place = self.names.0.locate(self.names.0.hash_of(member), member)?;
        let old = self.names.0.at(place).score();
        let (result, score) = decide(old);
        if let Some(score) = score {
            let handle = Member::new(score, member);
            self.names.0.replace_at(place, handle.clone());
            self.order.remove(old, member);
            self.order.insert(handle);
        }
        Some(result)
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let handle = self.names.0.remove(self.names.0.hash_of(member), member)?;
        self.member_bytes -= Member::allocation(member.len());
        self.order.remove(handle.score(), member);
        Some(handle.score())
    }

    fn remove_ranks(&mut self, ranks: Range<usize>) {
        let Large { names: Names(names), order, member_bytes } = self;
        order.remove_ranks(ranks, &mut |member| {
            *member_bytes -= Member::allocation(member.bytes().len());
            names.remove(names.hash_of(member.bytes()), member.bytes());
        });
    }
}

/// Entries of a range, as (member, score).
pub struct Iter<'a>(Walk<'a>);

enum Walk<'a> {
    /// A small set is walked once from the left, and remembered because it may be wanted from the right.
    Small(std::vec::IntoIter<(&'a [u8], f64)>),
    Large(OrderIter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        match &mut self.0 {
            Walk::Small(entries) => entries.next(),
            Walk::Large(entries) => entries.next().map(|member| (member.bytes(), member.score())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Walk::Small(entries) => entries.size_hint(),
            Walk::Large(entries) => entries.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
