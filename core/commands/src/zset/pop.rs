//! What takes entries from the ends of sorted sets, at once or when there are any; and random members.

use super::reply_entries;
use crate::call::{Args, Call, Handled, OnTimeout, done, read};
use crate::error::Error;
use base::Random;
use core::ops::Range;
use keyspace::{Event, EventClass};
use resp::Reply;
use std::collections::BTreeSet;
use types::zset::ZSet;

/// Which entries go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

impl Side {
    const fn event(self) -> Event {
        match self {
            Side::Min => Event::new(EventClass::ZSET, "zpopmin"),
            Side::Max => Event::new(EventClass::ZSET, "zpopmax"),
        }
    }

    const fn command(self) -> &'static [u8] {
        match self {
            Side::Min => b"ZPOPMIN",
            Side::Max => b"ZPOPMAX",
        }
    }

    /// The ranks of up to `count` entries on this side.
    fn ranks(self, set: &ZSet, count: usize) -> Range<usize> {
        let len = set.len();
        let count = count.min(len);
        match self {
            Side::Min => 0..count,
            Side::Max => len - count..len,
        }
    }

    /// The entries of these ranks in the order in which they are popped.
    fn entries(self, set: &ZSet, ranks: Range<usize>) -> types::zset::Iter<'_> {
        match self {
            Side::Min => set.range(ranks),
            Side::Max => set.range_rev(ranks),
        }
    }
}

pub(super) fn zpopmin(call: &mut Call<'_>) -> Handled {
    pop(call, Side::Min)
}

pub(super) fn zpopmax(call: &mut Call<'_>) -> Handled {
    pop(call, Side::Max)
}

fn pop(call: &mut Call<'_>, side: Side) -> Handled {
    if call.args.len() > 3 {
        return Err(Error::SYNTAX);
    }
    let count = match call.args.find(2) {
        None => None,
        Some(text) => {
            let count = base::number::parse_i64(text).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or(Error::OUT_OF_RANGE_POSITIVE)?)
        }
    };
    let Some(mut set) = call.db.find_mut::<ZSet>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let ranks = side.ranks(&set, count.unwrap_or(1));
    let entries = side.entries(&set, ranks.clone());
    if count.is_some() {
        reply_entries(&mut call.reply, entries, true);
    } else {
        call.reply.array(2 * entries.len());
        entries.for_each(|entry| reply_entry(&mut call.reply, entry));
    }
    if !ranks.is_empty() {
        set.remove_ranks(ranks);
    }
    done(side.event())
}

fn reply_entry(reply: &mut Reply<'_>, (member, score): (&[u8], f64)) {
    reply.bulk(member);
    reply.double(score);
}

pub(super) fn bzpopmin(call: &mut Call<'_>) -> Handled {
    blocking_pop(call, Side::Min)
}

pub(super) fn bzpopmax(call: &mut Call<'_>) -> Handled {
    blocking_pop(call, Side::Max)
}

fn blocking_pop(call: &mut Call<'_>, side: Side) -> Handled {
    let last = call.args.len() - 1;
    let timeout_ms = call.args.timeout_ms(last, call.db.now_ms())?;
    let keys = &call.args.all()[1..last];
    for key in keys {
        let Some(mut set) = call.db.find_mut::<ZSet>(key)? else { continue };
        let ranks = side.ranks(&set, 1);
        call.reply.array(3);
        call.reply.bulk(key);
        side.entries(&set, ranks.clone()).for_each(|entry| reply_entry(&mut call.reply, entry));
        set.remove_ranks(ranks);
        drop(set);
        call.propagate(&[side.command(), key]);
        return done(side.event());
    }
    call.wait_for(keys, timeout_ms, OnTimeout::NullArray)
}

/// `numkeys key.. MIN|MAX [COUNT n]`, as ZMPOP and BZMPOP take it.
struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    side: Side,
    count: usize,
}

fn multi_pop_options<'a>(args: Args<'a>, first: usize) -> Result<MultiPop<'a>, Error> {
    let positive = |i: usize, text: &'static str| {
        let n = base::number::parse_i64(args.at(i)).filter(|n| *n > 0);
        n.map(|n| n as usize).ok_or(Error::new(text))
    };
    let numkeys = positive(first, "ERR numkeys should be greater than 0")?;
    let where_at = numkeys.checked_add(first + 1).ok_or(Error::SYNTAX)?;
    let side = match () {
        () if args.is(where_at, "min") => Side::Min,
        () if args.is(where_at, "max") => Side::Max,
        () => return Err(Error::SYNTAX),
    };
    let count = match args.rest(where_at + 1).len() {
        0 => 1,
        more @ 2.. if args.is(where_at + 1, "count") => {
            let count = positive(where_at + 2, "ERR count should be greater than 0")?;
            if more > 2 {
                return Err(Error::SYNTAX);
            }
            count
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok(MultiPop { keys: &args.all()[first + 1..where_at], side, count })
}

/// Pops from the first sorted set that there is; false when there is none.
fn pop_first_of(call: &mut Call<'_>, options: &MultiPop<'_>) -> Result<bool, Error> {
    for key in options.keys {
        let Some(mut set) = call.db.find_mut::<ZSet>(key)? else { continue };
        let ranks = options.side.ranks(&set, options.count);
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.array(ranks.len());
        for entry in options.side.entries(&set, ranks.clone()) {
            call.reply.array(2);
            reply_entry(&mut call.reply, entry);
        }
        let count = set.remove_ranks(ranks).to_string();
        drop(set);
        call.propagate(&[options.side.command(), key, count.as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

pub(super) fn zmpop(call: &mut Call<'_>) -> Handled {
    let options = multi_pop_options(call.args, 1)?;
    if pop_first_of(call, &options)? {
        return done(options.side.event());
    }
    call.reply.null_array();
    read()
}

pub(super) fn bzmpop(call: &mut Call<'_>) -> Handled {
    let options = multi_pop_options(call.args, 2)?;
    let timeout_ms = call.args.timeout_ms(1, call.db.now_ms())?;
    if pop_first_of(call, &options)? {
        return done(options.side.event());
    }
    call.wait_for(options.keys, timeout_ms, OnTimeout::NullArray)
}

/// Most members that ZRANDMEMBER picks with repetition, elements: beyond it no client waits for the reply.
const RANDOM_PICKS_MAX: u64 = 1 << 26;

pub(super) fn zrandmember(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    if call.args.len() == 2 {
        return random_one(call, key);
    }
    let count = crate::hash::whole_count(call)?;
    let with_scores = call.args.len() > 3;
    if call.args.len() > 4 || (with_scores && !call.args.is(3, "withscores")) {
        return Err(Error::SYNTAX);
    }
    let too_many = count < 0 && count.unsigned_abs() > RANDOM_PICKS_MAX;
    if too_many || (with_scores && count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(Error::new("ERR value is out of range"));
    }
    let mut random = Random::new(call.db.space().random.next_u64());
    let Some(set) = call.db.find::<ZSet>(key)? else {
        call.reply.array(0);
        return read();
    };
    let ranks = random_ranks(&mut random, set.len(), count);
    let entries: Vec<(&[u8], f64)> = ranks.iter().filter_map(|rank| set.at(*rank)).collect();
    reply_entries(&mut call.reply, entries.into_iter(), with_scores);
    read()
}

fn random_one(call: &mut Call<'_>, key: &[u8]) -> Handled {
    let chance = call.db.space().random.unit_f64();
    let set = call.db.find::<ZSet>(key)?;
    match set.and_then(|set| set.at((chance * set.len() as f64) as usize)) {
        Some((member, _)) => call.reply.bulk(member),
        None => call.reply.null(),
    }
    read()
}

/// Random ranks below `len`: `count` different ones (all when there are not more), or `-count` with repetition.
fn random_ranks(random: &mut Random, len: usize, count: i64) -> Vec<usize> {
    if len == 0 {
        return Vec::new();
    }
    if count < 0 {
        return (0..count.unsigned_abs()).map(|_| random.below(len as u64) as usize).collect();
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(len);
    if count > len / 3 {
        // Dense: shuffle the beginning of all ranks.
        let mut ranks: Vec<usize> = (0..len).collect();
        for i in 0..count {
            ranks.swap(i, i + random.below((len - i) as u64) as usize);
        }
        ranks.truncate(count);
        return ranks;
    }
    // Sparse: two picks out of three at least are new.
    let mut seen = BTreeSet::new();
    let mut ranks = Vec::with_capacity(count);
    while ranks.len() < count {
        let rank = random.below(len as u64) as usize;
        if seen.insert(rank) {
            ranks.push(rank);
        }
    }
    ranks
}
