//! Ranges by rank, score and member: read, counted, stored and removed.

use super::reply_entries;
use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use core::ops::Range;
use keyspace::{Event, EventClass};
use types::Collection;
use types::zset::{LexBound, ScoreBound, ZSet};

/// What a range is made of.
#[derive(Clone, Copy, Debug)]
enum Between<'a> {
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Members(LexBound<'a>, LexBound<'a>),
}

/// What bounds mean before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as asked for.
#[derive(Debug)]
struct Wanted<'a> {
    between: Between<'a>,
    reverse: bool,
    with_scores: bool,
    /// Offset and count; negative counts mean all, negative offsets nothing.
    limit: Option<(i64, i64)>,
}

/// What the command's name has decided already.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    by: Option<By>,
    reverse: Option<bool>,
    store: bool,
}

impl<'a> Between<'a> {
    /// Reads the bounds at `min` and `max`.
    fn read(by: By, args: Args<'a>, min: usize, max: usize) -> Result<Between<'a>, Error> {
        Ok(match by {
            By::Rank => Between::Ranks(args.int(min)?, args.int(max)?),
            By::Score => Between::Scores(score_bound(args.at(min))?, score_bound(args.at(max))?),
            By::Lex => Between::Members(lex_bound(args.at(min))?, lex_bound(args.at(max))?),
        })
    }

    /// The ranks that are meant, counted upwards.
    fn ranks(self, set: &ZSet, reverse: bool) -> Range<usize> {
        match self {
            Between::Ranks(start, stop) if reverse => set.mirrored(set.ranks(start, stop)),
            Between::Ranks(start, stop) => set.ranks(start, stop),
            Between::Scores(min, max) => set.ranks_by_score(min, max),
            Between::Members(min, max) => set.ranks_by_lex(min, max),
        }
    }
}

fn score_bound(text: &[u8]) -> Result<ScoreBound, Error> {
    let (number, exclusive) = match text.strip_prefix(b"(") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let score = base::number::parse_c_f64(number).ok_or(Error::new("ERR min or max is not a float"))?;
    Ok(ScoreBound { score, exclusive })
}

fn lex_bound(text: &[u8]) -> Result<LexBound<'_>, Error> {
    match text {
        b"-" => Ok(LexBound::Lowest),
        b"+" => Ok(LexBound::Highest),
        [b'[', member @ ..] => Ok(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Ok(LexBound::Exclusive(member)),
        _ => Err(Error::new("ERR min or max not valid string range item")),
    }
}

impl<'a> Wanted<'a> {
    /// Reads `min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]` from argument `first` on.
    fn read(args: Args<'a>, first: usize, fixed: Fixed) -> Result<Wanted<'a>, Error> {
        let (mut by, mut reverse) = (fixed.by, fixed.reverse);
        let (mut with_scores, mut limit) = (false, None);
        let mut i = first + 2;
        while i < args.len() {
            match () {
                () if !fixed.store && args.is(i, "withscores") => with_scores = true,
                () if args.is(i, "limit") && i + 2 < args.len() => {
                    limit = Some((args.int(i + 1)?, args.int(i + 2)?));
                    i += 2;
                }
                () if reverse.is_none() && args.is(i, "rev") => reverse = Some(true),
                () if by.is_none() && args.is(i, "byscore") => by = Some(By::Score),
                () if by.is_none() && args.is(i, "bylex") => by = Some(By::Lex),
                () => return Err(Error::SYNTAX),
            }
            i += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        // Redis takes a count of -1 for no LIMIT at all.
        let limit = limit.filter(|(_, count)| by != By::Rank || *count != -1);
        if limit.is_some() && by == By::Rank {
            return Err(Error::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        // Downwards the higher bound comes first, but ranks are counted from that end anyway.
        let swapped = reverse && by != By::Rank;
        let (min, max) = if swapped { (first + 1, first) } else { (first, first + 1) };
        let between = Between::read(by, args, min, max)?;
        Ok(Wanted { between, reverse, with_scores, limit })
    }

    /// The ranks that are meant, after LIMIT.
    fn ranks(&self, set: &ZSet) -> Range<usize> {
        let all = self.between.ranks(set, self.reverse);
        let Some((offset, count)) = self.limit else { return all };
        let Ok(offset) = usize::try_from(offset) else { return 0..0 };
        let offset = offset.min(all.len());
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(all.len() - offset);
        if self.reverse {
            let end = all.end - offset;
            end - count..end
        } else {
            let start = all.start + offset;
            start..start + count
        }
    }
}

fn range(call: &mut Call<'_>, by: Option<By>, reverse: Option<bool>) -> Handled {
    let wanted = Wanted::read(call.args, 2, Fixed { by, reverse, store: false })?;
    let Some(set) = call.db.find::<ZSet>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let ranks = wanted.ranks(set);
    let entries = if wanted.reverse { set.range_rev(ranks) } else { set.range(ranks) };
    reply_entries(&mut call.reply, entries, wanted.with_scores);
    read()
}

pub(super) fn zrange(call: &mut Call<'_>) -> Handled {
    range(call, None, None)
}

pub(super) fn zrevrange(call: &mut Call<'_>) -> Handled {
    range(call, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(call: &mut Call<'_>) -> Handled {
    range(call, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(call: &mut Call<'_>) -> Handled {
    range(call, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(call: &mut Call<'_>) -> Handled {
    range(call, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(call: &mut Call<'_>) -> Handled {
    range(call, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(call: &mut Call<'_>) -> Handled {
    let (target, source) = (call.args.at(1), call.args.at(2));
    let wanted = Wanted::read(call.args, 3, Fixed { by: None, reverse: None, store: true })?;
    let limits = call.db.space().limits.clone();
    let mut result = ZSet::new();
    if let Some(set) = call.db.find::<ZSet>(source)? {
        for (member, score) in set.range(wanted.ranks(set)) {
            result.insert(member, score, &limits);
        }
    }
    store(call, target, result, Event::new(EventClass::ZSET, "zrangestore"))
}

/// Puts `result` in the place of whatever is at `target` and replies with its size; an empty result removes it.
pub(super) fn store(call: &mut Call<'_>, target: &[u8], result: ZSet, event: Event) -> Handled {
    call.reply.count(result.len());
    if result.is_empty() {
        call.db.remove(target);
        return done(Event::DEL);
    }
    call.db.put(target, result.into(), None);
    done(event)
}

fn count(call: &mut Call<'_>, by: By) -> Handled {
    let between = Between::read(by, call.args, 2, 3)?;
    let count = call.db.find::<ZSet>(call.args.at(1))?.map_or(0, |set| between.ranks(set, false).len());
    call.reply.count(count);
    read()
}

pub(super) fn zcount(call: &mut Call<'_>) -> Handled {
    count(call, By::Score)
}

pub(super) fn zlexcount(call: &mut Call<'_>) -> Handled {
    count(call, By::Lex)
}

fn remove(call: &mut Call<'_>, by: By, event: Event) -> Handled {
    let between = Between::read(by, call.args, 2, 3)?;
    let mut removed = 0;
    if let Some(mut set) = call.db.find_mut::<ZSet>(call.args.at(1))? {
        let ranks = between.ranks(&set, false);
        if !ranks.is_empty() {
            removed = set.remove_ranks(ranks);
        }
    }
    call.reply.count(removed);
    done(event)
}

pub(super) fn zremrangebyrank(call: &mut Call<'_>) -> Handled {
    remove(call, By::Rank, Event::new(EventClass::ZSET, "zremrangebyrank"))
}

pub(super) fn zremrangebyscore(call: &mut Call<'_>) -> Handled {
    remove(call, By::Score, Event::new(EventClass::ZSET, "zremrangebyscore"))
}

pub(super) fn zremrangebylex(call: &mut Call<'_>) -> Handled {
    remove(call, By::Lex, Event::new(EventClass::ZSET, "zremrangebylex"))
}
