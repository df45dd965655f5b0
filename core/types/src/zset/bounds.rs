//! Where a range of a sorted set begins and ends.
//!
//! All ranges are brought to ranks first: a bound becomes a [`Cut`], a place between two entries, and the
//! number of entries before it is the rank. Counting, listing and removing by score, by name and by rank are
//! then the same code.

use std::cmp::Ordering;

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score; infinities are allowed, NaN is not.
    pub score: f64,
    /// Whether entries with exactly this score are left out.
    pub exclusive: bool,
}

impl ScoreBound {
    /// Entries with this score belong to the range.
    pub fn inclusive(score: f64) -> ScoreBound {
        ScoreBound { score, exclusive: false }
    }

    /// Entries with this score do not belong to the range.
    pub fn exclusive(score: f64) -> ScoreBound {
        ScoreBound { score, exclusive: true }
    }
}

/// One end of a range of members, meant for sets where all scores are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member, `-`.
    Lowest,
    /// Behind every member, `+`.
    Highest,
    /// The member belongs to the range, `[member`.
    Inclusive(&'a [u8]),
    /// The member does not belong to the range, `(member`.
    Exclusive(&'a [u8]),
}

/// A place between two neighbouring entries.
#[derive(Clone, Copy)]
pub(super) enum Cut<'a> {
    First,
    Last,
    /// Before the entry of this score and member.
    Entry(f64, &'a [u8]),
    /// Before all entries of this score.
    BelowScore(f64),
    /// Behind all entries of this score.
    AboveScore(f64),
    BelowMember(&'a [u8]),
    AboveMember(&'a [u8]),
}

impl<'a> Cut<'a> {
    pub(super) fn score_min(bound: ScoreBound) -> Cut<'static> {
        if bound.exclusive { Cut::AboveScore(bound.score) } else { Cut::BelowScore(bound.score) }
    }

    pub(super) fn score_max(bound: ScoreBound) -> Cut<'static> {
        if bound.exclusive { Cut::BelowScore(bound.score) } else { Cut::AboveScore(bound.score) }
    }

    pub(super) fn lex_min(bound: LexBound<'a>) -> Cut<'a> {
        match bound {
            LexBound::Lowest => Cut::First,
            LexBound::Highest => Cut::Last,
            LexBound::Inclusive(member) => Cut::BelowMember(member),
            LexBound::Exclusive(member) => Cut::AboveMember(member),
        }
    }

    pub(super) fn lex_max(bound: LexBound<'a>) -> Cut<'a> {
        match bound {
            LexBound::Lowest => Cut::First,
            LexBound::Highest => Cut::Last,
            LexBound::Inclusive(member) => Cut::AboveMember(member),
            LexBound::Exclusive(member) => Cut::BelowMember(member),
        }
    }

    /// Whether the entry lies before the cut. The member is fetched only when the scores do not decide.
    pub(super) fn is_behind<'m>(&self, score: f64, member: impl FnOnce() -> &'m [u8]) -> bool {
        match *self {
            Cut::First => false,
            Cut::Last => true,
            Cut::Entry(at, name) => order(score, at).then_with(|| member().cmp(name)).is_lt(),
            Cut::BelowScore(at) => score < at,
            Cut::AboveScore(at) => score <= at,
            Cut::BelowMember(name) => member() < name,
            Cut::AboveMember(name) => member() <= name,
        }
    }
}

/// Scores are never NaN, and -0 equals 0, as in Redis.
pub(super) fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}
