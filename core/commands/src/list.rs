//! Lists: pushes and pops at both ends, moves between lists, and their waiting forms.
//!
//! A waiting form finds an element and does what its plain form does, which is also what the log gets; or it
//! finds none and waits. When a key becomes ready the same handler simply runs again.

use crate::call::{Args, Call, Handled, OnTimeout, Outcome, done, read};
use crate::error::Error;
use crate::spec::{Flags, Group, Keys, Row};
use core::ops::Range;
use keyspace::{Db, Event, EventClass};
use types::list::{End, List, Side};

const LINSERT: Event = Event::new(EventClass::LIST, "linsert");
const LREM: Event = Event::new(EventClass::LIST, "lrem");
const LSET: Event = Event::new(EventClass::LIST, "lset");
const LTRIM: Event = Event::new(EventClass::LIST, "ltrim");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::List, run)
}

const MPOP: Keys = Keys::Counted { count_at: 1, destination: false };
const BMPOP: Keys = Keys::Counted { count_at: 2, destination: false };

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("blmove", 6, blmove).flags(Flags::MOVES).keys(1, 2, 1).grows().blocks(),
    row("blmpop", -5, blmpop).movable_keys(BMPOP).write().blocks(),
    row("blpop", -3, blpop).keys(1, -2, 1).write().blocks(),
    row("brpop", -3, brpop).keys(1, -2, 1).write().blocks(),
    row("brpoplpush", 4, brpoplpush).flags(Flags::MOVES).keys(1, 2, 1).grows().blocks(),
    row("lindex", 3, lindex).key().readonly(),
    row("linsert", 5, linsert).key().grows(),
    row("llen", 2, llen).key().readonly().fast(),
    row("lmove", 5, lmove).flags(Flags::MOVES).keys(1, 2, 1).grows(),
    row("lmpop", -4, lmpop).movable_keys(MPOP).write(),
    row("lpop", -2, lpop).key().write().fast(),
    row("lpos", -3, lpos).key().readonly(),
    row("lpush", -3, lpush).key().grows().fast(),
    row("lpushx", -3, lpushx).key().grows().fast(),
    row("lrange", 4, lrange).key().readonly(),
    row("lrem", 4, lrem).key().write(),
    row("lset", 4, lset).key().grows(),
    row("ltrim", 4, ltrim).key().write(),
    row("rpop", -2, rpop).key().write().fast(),
    row("rpoplpush", 3, rpoplpush).flags(Flags::MOVES).keys(1, 2, 1).grows(),
    row("rpush", -3, rpush).key().grows().fast(),
    row("rpushx", -3, rpushx).key().grows().fast(),
];

/// The elements at these places (cut to what exists), for SORT. `reverse` counts and walks from the end.
pub(crate) fn elements(list: &List, places: Range<usize>, reverse: bool) -> Vec<Vec<u8>> {
    let from_end = |place: usize| list.len().saturating_sub(place);
    let walk = if reverse {
        list.range_rev(from_end(places.end)..from_end(places.start))
    } else {
        list.range(places)
    };
    walk.map(<[u8]>::to_vec).collect()
}

/// Replaces whatever is at `key` by a list of `values`, for SORT STORE.
pub(crate) fn replace(db: &mut Db<'_>, key: &[u8], values: &[Vec<u8>]) {
    let limits = &db.space().limits;
    let mut list = List::default();
    values.iter().for_each(|value| list.push_back(value, limits));
    db.put(key, list.into(), None);
}

const fn pop_event(end: End) -> Event {
    match end {
        End::Front => Event::new(EventClass::LIST, "lpop"),
        End::Back => Event::new(EventClass::LIST, "rpop"),
    }
}

const fn push_event(end: End) -> Event {
    match end {
        End::Front => Event::new(EventClass::LIST, "lpush"),
        End::Back => Event::new(EventClass::LIST, "rpush"),
    }
}

const fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

// Pushes.

fn lpush(call: &mut Call<'_>) -> Handled {
    push(call, End::Front)
}

fn rpush(call: &mut Call<'_>) -> Handled {
    push(call, End::Back)
}

fn push(call: &mut Call<'_>, end: End) -> Handled {
    let len = {
        let mut guard = call.db.upsert::<List>(call.args.at(1))?;
        let (list, limits, _) = guard.parts();
        call.args.rest(2).iter().for_each(|value| list.push(end, value, limits));
        list.len()
    };
    call.reply.count(len);
    done(push_event(end))
}

fn lpushx(call: &mut Call<'_>) -> Handled {
    push_existing(call, End::Front)
}

fn rpushx(call: &mut Call<'_>) -> Handled {
    push_existing(call, End::Back)
}

fn push_existing(call: &mut Call<'_>, end: End) -> Handled {
    if call.db.find_mut::<List>(call.args.at(1))?.is_none() {
        call.reply.integer(0);
        return read();
    }
    push(call, end)
}

fn linsert(call: &mut Call<'_>) -> Handled {
    let place = match () {
        () if call.args.is(2, "before") => Side::Before,
        () if call.args.is(2, "after") => Side::After,
        () => return Err(Error::SYNTAX),
    };
    let (pivot, value) = (call.args.at(3), call.args.at(4));
    let Some(mut guard) = call.db.find_mut::<List>(call.args.at(1))? else {
        call.reply.integer(0);
        return read();
    };
    let (list, limits, _) = guard.parts();
    if !list.insert(place, pivot, value, limits) {
        guard.leave_unchanged();
        call.reply.integer(-1);
        return read();
    }
    call.reply.count(list.len());
    done(LINSERT)
}

// Reads.

fn llen(call: &mut Call<'_>) -> Handled {
    let len = call.db.find::<List>(call.args.at(1))?.map_or(0, List::len);
    call.reply.count(len);
    read()
}

fn lindex(call: &mut Call<'_>) -> Handled {
    let list = call.db.find::<List>(call.args.at(1))?;
    let Some(list) = list else {
        call.reply.null();
        return read();
    };
    match list.get(call.args.int(2)?) {
        Some(value) => call.reply.bulk(value),
        None => call.reply.null(),
    }
    read()
}

fn lrange(call: &mut Call<'_>) -> Handled {
    let (start, stop) = (call.args.int(2)?, call.args.int(3)?);
    let Some(list) = call.db.find::<List>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let elements = list.range(list.bounds(start, stop));
    call.reply.array(elements.len());
    elements.for_each(|value| call.reply.bulk(value));
    read()
}

#[derive(Debug)]
struct PosOptions {
    rank: i64,
    /// `None`: a single answer is wanted.
    count: Option<usize>,
    comparisons_max: usize,
}

fn pos_options(args: Args<'_>) -> Result<PosOptions, Error> {
    let mut options = PosOptions { rank: 1, count: None, comparisons_max: 0 };
    let not_negative = |i: usize, text| {
        args.int(i).ok().and_then(|value| usize::try_from(value).ok()).ok_or(Error::new(text))
    };
    for i in (3..args.len()).step_by(2) {
        if i + 1 == args.len() {
            return Err(Error::SYNTAX);
        }
        if args.is(i, "rank") {
            options.rank = args.int(i + 1)?;
            check_rank(options.rank)?;
        } else if args.is(i, "count") {
            options.count = Some(not_negative(i + 1, "ERR COUNT can't be negative")?);
        } else if args.is(i, "maxlen") {
            options.comparisons_max = not_negative(i + 1, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok(options)
}

fn check_rank(rank: i64) -> Result<(), Error> {
    match rank {
        0 => Err(Error::new(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
             to start from the end of the list",
        )),
        i64::MIN => Err(Error::new(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        _ => Ok(()),
    }
}

fn lpos(call: &mut Call<'_>) -> Handled {
    let options = pos_options(call.args)?;
    let list = call.db.find::<List>(call.args.at(1))?;
    let most = options.count.unwrap_or(1);
    let found = list.map_or(Vec::new(), |list| {
        list.positions(call.args.at(2), options.rank, most, options.comparisons_max)
    });
    match (options.count, found.first()) {
        (None, Some(index)) => call.reply.count(*index),
        (None, None) => call.reply.null(),
        (Some(_), _) => {
            call.reply.array(found.len());
            found.iter().for_each(|index| call.reply.count(*index));
        }
    }
    read()
}

// Changes in place.

fn lset(call: &mut Call<'_>) -> Handled {
    let Some(mut guard) = call.db.find_mut::<List>(call.args.at(1))? else { return Err(Error::NO_SUCH_KEY) };
    let index = call.args.int(2)?;
    let (list, limits, _) = guard.parts();
    if !list.set(index, call.args.at(3), limits) {
        guard.leave_unchanged();
        return Err(Error::INDEX_OUT_OF_RANGE);
    }
    drop(guard);
    call.reply.ok();
    done(LSET)
}

fn lrem(call: &mut Call<'_>) -> Handled {
    let (count, value) = (call.args.int(2)?, call.args.at(3));
    let removed = match call.db.find_mut::<List>(call.args.at(1))? {
        None => 0,
        Some(mut list) => {
            let removed = list.remove(count, value);
            if removed == 0 {
                list.leave_unchanged();
            }
            removed
        }
    };
    call.reply.count(removed);
    done(LREM)
}

fn ltrim(call: &mut Call<'_>) -> Handled {
    let (start, stop) = (call.args.int(2)?, call.args.int(3)?);
    if let Some(mut list) = call.db.find_mut::<List>(call.args.at(1))? {
        // Told as a change even if it cuts nothing, as in Redis, but not counted as one.
        let before = list.len();
        list.trim(start, stop);
        let cut = before - list.len();
        list.count(cut);
    }
    call.reply.ok();
    done(LTRIM)
}

// Pops.

fn lpop(call: &mut Call<'_>) -> Handled {
    pop(call, End::Front, "lpop")
}

fn rpop(call: &mut Call<'_>) -> Handled {
    pop(call, End::Back, "rpop")
}

fn pop(call: &mut Call<'_>, end: End, name: &str) -> Handled {
    if call.args.len() > 3 {
        return Err(Error::arity(name));
    }
    let count = call.args.find(2).map(|_| positive_count(call.args, 2)).transpose()?;
    let Some(mut list) = call.db.find_mut::<List>(call.args.at(1))? else {
        if count.is_some() {
            call.reply.null_array()
        } else {
            call.reply.null()
        }
        return read();
    };
    match (count, list.end(end)) {
        (None, Some(value)) => {
            call.reply.bulk(value);
            list.remove_end(end, 1);
        }
        (None, None) => call.reply.null(),
        (Some(0), _) => call.reply.array(0),
        (Some(count), _) => {
            reply_end(&list, end, count, &mut call.reply);
            list.remove_end(end, count);
        }
    }
    done(pop_event(end))
}

fn positive_count(args: Args<'_>, i: usize) -> Result<usize, Error> {
    base::number::parse_i64(args.at(i))
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(Error::OUT_OF_RANGE_POSITIVE)
}

/// Writes up to `count` elements from one end, in the order in which they are popped.
fn reply_end(list: &List, end: End, count: usize, reply: &mut resp::Reply<'_>) {
    let len = list.len();
    let count = count.min(len);
    reply.array(count);
    match end {
        End::Front => list.range(0..count).for_each(|value| reply.bulk(value)),
        End::Back => list.range_rev(len - count..len).for_each(|value| reply.bulk(value)),
    }
}

fn blpop(call: &mut Call<'_>) -> Handled {
    blocking_pop(call, End::Front)
}

fn brpop(call: &mut Call<'_>) -> Handled {
    blocking_pop(call, End::Back)
}

fn blocking_pop(call: &mut Call<'_>, end: End) -> Handled {
    let last = call.args.len() - 1;
    let timeout_ms = call.args.timeout_ms(last, call.db.now_ms())?;
    let keys = &call.args.all()[1..last];
    for key in keys {
        let Some(mut list) = call.db.find_mut::<List>(key)? else { continue };
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.bulk(list.end(end).unwrap_or_default());
        list.remove_end(end, 1);
        drop(list);
        call.propagate(&[pop_name(end), key]);
        return done(pop_event(end));
    }
    call.wait_for(keys, timeout_ms, OnTimeout::NullArray)
}

/// `numkeys key.. LEFT|RIGHT [COUNT n]`, as LMPOP and BLMPOP take it from argument `first` on.
struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

fn multi_pop_options<'a>(args: Args<'a>, first: usize) -> Result<MultiPop<'a>, Error> {
    let numkeys = base::number::parse_i64(args.at(first)).filter(|n| *n > 0);
    let numkeys = numkeys.ok_or(Error::new("ERR numkeys should be greater than 0"))?;
    let where_at = (numkeys as usize).checked_add(first + 1).ok_or(Error::SYNTAX)?;
    let end = end_word(args, where_at)?;
    let mut count = 1;
    match args.rest(where_at + 1).len() {
        0 => {}
        more @ 2.. if args.is(where_at + 1, "count") => {
            let given = base::number::parse_i64(args.at(where_at + 2)).filter(|n| *n > 0);
            count = given.ok_or(Error::new("ERR count should be greater than 0"))? as usize;
            if more > 2 {
                return Err(Error::SYNTAX);
            }
        }
        _ => return Err(Error::SYNTAX),
    }
    Ok(MultiPop { keys: &args.all()[first + 1..where_at], end, count })
}

fn end_word(args: Args<'_>, i: usize) -> Result<End, Error> {
    match () {
        () if args.is(i, "left") => Ok(End::Front),
        () if args.is(i, "right") => Ok(End::Back),
        () => Err(Error::SYNTAX),
    }
}

/// Pops from the first list that there is; false when there is none.
fn pop_first_of(call: &mut Call<'_>, options: &MultiPop<'_>) -> Result<bool, Error> {
    for key in options.keys {
        let Some(mut list) = call.db.find_mut::<List>(key)? else { continue };
        call.reply.array(2);
        call.reply.bulk(key);
        reply_end(&list, options.end, options.count, &mut call.reply);
        let popped = list.remove_end(options.end, options.count);
        drop(list);
        let count = popped.to_string();
        call.propagate(&[pop_name(options.end), key, count.as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

fn lmpop(call: &mut Call<'_>) -> Handled {
    let options = multi_pop_options(call.args, 1)?;
    if pop_first_of(call, &options)? {
        return done(pop_event(options.end));
    }
    call.reply.null_array();
    read()
}

fn blmpop(call: &mut Call<'_>) -> Handled {
    let options = multi_pop_options(call.args, 2)?;
    let timeout_ms = call.args.timeout_ms(1, call.db.now_ms())?;
    if pop_first_of(call, &options)? {
        return done(pop_event(options.end));
    }
    call.wait_for(options.keys, timeout_ms, OnTimeout::NullArray)
}

// Moves.

fn rpoplpush(call: &mut Call<'_>) -> Handled {
    move_or_null(call, End::Back, End::Front)
}

fn lmove(call: &mut Call<'_>) -> Handled {
    let (from, to) = (end_word(call.args, 3)?, end_word(call.args, 4)?);
    move_or_null(call, from, to)
}

fn move_or_null(call: &mut Call<'_>, from: End, to: End) -> Handled {
    if !move_element(call, from, to)? {
        call.reply.null();
    }
    Ok(Outcome::Done(None))
}

fn brpoplpush(call: &mut Call<'_>) -> Handled {
    let timeout_ms = call.args.timeout_ms(3, call.db.now_ms())?;
    let (source, target) = (call.args.at(1), call.args.at(2));
    blocking_move(call, (End::Back, End::Front), &[b"RPOPLPUSH", source, target], timeout_ms)
}

fn blmove(call: &mut Call<'_>) -> Handled {
    let (from, to) = (end_word(call.args, 3)?, end_word(call.args, 4)?);
    let timeout_ms = call.args.timeout_ms(5, call.db.now_ms())?;
    let word = |end| if end == End::Front { &b"LEFT"[..] } else { b"RIGHT" };
    let (source, target) = (call.args.at(1), call.args.at(2));
    blocking_move(call, (from, to), &[b"LMOVE", source, target, word(from), word(to)], timeout_ms)
}

/// A move that may wait for something to move; `plain`: the form without waiting, for the log.
fn blocking_move(call: &mut Call<'_>, ends: (End, End), plain: &[&[u8]], timeout_ms: Option<u64>) -> Handled {
    if move_element(call, ends.0, ends.1)? {
        call.propagate(plain);
        return Ok(Outcome::Done(None));
    }
    let source = call.args.at(1);
    if !call.may_block {
        call.reply.null();
        return read();
    }
    call.wait_for(&[source], timeout_ms, OnTimeout::NullArray)
}

/// Moves one element from the list of argument 1 to that of argument 2 and replies with it; false, and no
/// reply, when there is nothing to move. Each list gets its own event, so the outcome has none.
fn move_element(call: &mut Call<'_>, from: End, to: End) -> Result<bool, Error> {
    let (source, target) = (call.args.at(1), call.args.at(2));
    if call.db.find_mut::<List>(source)?.is_none() {
        return Ok(false);
    }
    call.db.find_mut::<List>(target)?;
    call.db.announce(target);
    call.db.also(target, push_event(to));
    call.db.also(source, pop_event(from));
    let Some(mut guard) = call.db.find_mut::<List>(source)? else { return Ok(false) };
    let (list, limits, _) = guard.parts();
    let Some(value) = list.pop(from) else { return Ok(false) };
    call.reply.bulk(&value);
    if source == target {
        list.push(to, &value, limits);
        return Ok(true);
    }
    drop(guard);
    let mut guard = call.db.upsert::<List>(target)?;
    let (list, limits, _) = guard.parts();
    list.push(to, &value, limits);
    // It was counted where it went.
    guard.count(0);
    Ok(true)
}

#[cfg(test)]
mod tests;
