//! Sorted sets: scores, ranks, ranges, pops, and the algebra of several sets.
//!
//! Ranges of every kind (`range`) are turned into ranks, so reading, counting, storing and removing share one
//! piece of code; `combine` holds union, intersection and difference; `pop` holds what takes from the ends.

use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use crate::scan;
use crate::spec::{Group, Keys, Row};
use core::ops::Range;
use keyspace::{Event, EventClass};
use resp::Reply;
use smallvec::SmallVec;
use types::Collection;
use types::zset::{AddOptions, Added, ZSet};

mod combine;
mod pop;
mod range;

const ZADD: Event = Event::new(EventClass::ZSET, "zadd");
const ZINCR: Event = Event::new(EventClass::ZSET, "zincr");
const ZREM: Event = Event::new(EventClass::ZSET, "zrem");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::SortedSet, run)
}

const FIRST: Keys = Keys::Counted { count_at: 1, destination: false };
const SECOND: Keys = Keys::Counted { count_at: 2, destination: false };
const STORE: Keys = Keys::Counted { count_at: 2, destination: true };

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("bzmpop", -5, pop::bzmpop).movable_keys(SECOND).write().blocks(),
    row("bzpopmax", -3, pop::bzpopmax).keys(1, -2, 1).write().fast().blocks(),
    row("bzpopmin", -3, pop::bzpopmin).keys(1, -2, 1).write().fast().blocks(),
    row("zadd", -4, zadd).key().grows().fast(),
    row("zcard", 2, zcard).key().readonly().fast(),
    row("zcount", 4, range::zcount).key().readonly().fast(),
    row("zdiff", -3, combine::zdiff).movable_keys(FIRST).readonly(),
    row("zdiffstore", -4, combine::zdiffstore).movable_keys(STORE).grows(),
    row("zincrby", 4, zincrby).key().grows().fast(),
    row("zinter", -3, combine::zinter).movable_keys(FIRST).readonly(),
    row("zintercard", -3, combine::zintercard).movable_keys(FIRST).readonly(),
    row("zinterstore", -4, combine::zinterstore).movable_keys(STORE).grows(),
    row("zlexcount", 4, range::zlexcount).key().readonly().fast(),
    row("zmpop", -4, pop::zmpop).movable_keys(FIRST).write(),
    row("zmscore", -3, zmscore).key().readonly().fast(),
    row("zpopmax", -2, pop::zpopmax).key().write().fast(),
    row("zpopmin", -2, pop::zpopmin).key().write().fast(),
    row("zrandmember", -2, pop::zrandmember).key().readonly(),
    row("zrange", -4, range::zrange).key().readonly(),
    row("zrangebylex", -4, range::zrangebylex).key().readonly(),
    row("zrangebyscore", -4, range::zrangebyscore).key().readonly(),
    row("zrangestore", -5, range::zrangestore).keys(1, 2, 1).grows(),
    row("zrank", -3, zrank).key().readonly().fast(),
    row("zrem", -3, zrem).key().write().fast(),
    row("zremrangebylex", 4, range::zremrangebylex).key().write(),
    row("zremrangebyrank", 4, range::zremrangebyrank).key().write(),
    row("zremrangebyscore", 4, range::zremrangebyscore).key().write(),
    row("zrevrange", -4, range::zrevrange).key().readonly(),
    row("zrevrangebylex", -4, range::zrevrangebylex).key().readonly(),
    row("zrevrangebyscore", -4, range::zrevrangebyscore).key().readonly(),
    row("zrevrank", -3, zrevrank).key().readonly().fast(),
    row("zscan", -3, zscan).key().readonly(),
    row("zscore", 3, zscore).key().readonly().fast(),
    row("zunion", -3, combine::zunion).movable_keys(FIRST).readonly(),
    row("zunionstore", -4, combine::zunionstore).movable_keys(STORE).grows(),
];

/// The members of these ranks (cut to what exists), for SORT. `reverse` counts and walks from the end.
pub(crate) fn elements(set: &ZSet, places: Range<usize>, reverse: bool) -> Vec<Vec<u8>> {
    let walk = if reverse { set.range_rev(set.mirrored(places)) } else { set.range(places) };
    walk.map(|(member, _)| member.to_vec()).collect()
}

// Additions.

#[derive(Debug)]
struct AddRequest {
    options: AddOptions,
    /// CH: count changed members too.
    count_changed: bool,
    /// Where the pairs of score and member begin.
    first: usize,
}

fn add_request(args: Args<'_>) -> Result<AddRequest, Error> {
    let mut options = AddOptions::default();
    let mut count_changed = false;
    let mut i = 2;
    while i < args.len() {
        match () {
            () if args.is(i, "nx") => options.only_new = true,
            () if args.is(i, "xx") => options.only_existing = true,
            () if args.is(i, "gt") => options.only_greater = true,
            () if args.is(i, "lt") => options.only_less = true,
            () if args.is(i, "ch") => count_changed = true,
            () if args.is(i, "incr") => options.increment = true,
            () => break,
        }
        i += 1;
    }
    let left = args.len() - i;
    if left == 0 || !left.is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    if options.only_new && options.only_existing {
        return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
    }
    let exclusive = [options.only_new, options.only_greater, options.only_less];
    if exclusive.iter().filter(|on| **on).count() > 1 {
        return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.increment && left > 2 {
        return Err(Error::new("ERR INCR option supports a single increment-element pair"));
    }
    Ok(AddRequest { options, count_changed, first: i })
}

fn zadd(call: &mut Call<'_>) -> Handled {
    let request = add_request(call.args)?;
    add(call, &request)
}

fn zincrby(call: &mut Call<'_>) -> Handled {
    // A word of ZADD in place of the increment is read as one, and then the increment is missing.
    let mut request = add_request(call.args)?;
    request.options.increment = true;
    add(call, &request)
}

fn add(call: &mut Call<'_>, request: &AddRequest) -> Handled {
    let (key, args) = (call.args.at(1), call.args);
    let scores = (request.first..args.len()).step_by(2).map(|i| args.float(i));
    let scores: SmallVec<[f64; 8]> = scores.collect::<Result<_, Error>>()?;
    if request.options.only_existing && call.db.find_mut::<ZSet>(key)?.is_none() {
        if request.options.increment {
            call.reply.null()
        } else {
            call.reply.integer(0)
        }
        return read();
    }
    let (mut new, mut changed) = (0, 0);
    let mut last = Added::Refused;
    let mut guard = call.db.upsert::<ZSet>(key)?;
    let (set, limits, _) = guard.parts();
    for (score, member) in scores.iter().zip(args.rest(request.first + 1).iter().step_by(2)) {
        last = set.add(member, *score, request.options, limits);
        match last {
            Added::New(_) => new += 1,
            Added::Changed(_) => changed += 1,
            Added::Same(_) | Added::Refused | Added::NotANumber => {}
        }
    }
    guard.count(new + changed);
    if new + changed == 0 {
        guard.leave_unchanged();
    }
    drop(guard);
    if !request.options.increment {
        call.reply.count(if request.count_changed { new + changed } else { new });
        return done(ZADD);
    }
    match last {
        Added::New(score) | Added::Changed(score) | Added::Same(score) => call.reply.double(score),
        Added::Refused => call.reply.null(),
        Added::NotANumber => return Err(Error::new("ERR resulting score is not a number (NaN)")),
    }
    done(ZINCR)
}

fn zrem(call: &mut Call<'_>) -> Handled {
    let mut removed = 0;
    if let Some(mut guard) = call.db.find_mut::<ZSet>(call.args.at(1))? {
        let set = &mut *guard;
        removed = call.args.rest(2).iter().filter(|member| set.remove(member).is_some()).count();
        if removed == 0 {
            guard.leave_unchanged();
        }
    }
    call.reply.count(removed);
    done(ZREM)
}

// Reads of single members.

fn zcard(call: &mut Call<'_>) -> Handled {
    let len = call.db.find::<ZSet>(call.args.at(1))?.map_or(0, ZSet::len);
    call.reply.count(len);
    read()
}

fn reply_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(call: &mut Call<'_>) -> Handled {
    let set = call.db.find::<ZSet>(call.args.at(1))?;
    reply_score(&mut call.reply, set.and_then(|set| set.score(call.args.at(2))));
    read()
}

fn zmscore(call: &mut Call<'_>) -> Handled {
    let set = call.db.find::<ZSet>(call.args.at(1))?;
    let members = call.args.rest(2);
    call.reply.array(members.len());
    for member in members {
        reply_score(&mut call.reply, set.and_then(|set| set.score(member)));
    }
    read()
}

fn zrank(call: &mut Call<'_>) -> Handled {
    rank(call, "zrank", ZSet::rank)
}

fn zrevrank(call: &mut Call<'_>) -> Handled {
    rank(call, "zrevrank", ZSet::rev_rank)
}

/// A rank of a member, with its score.
type RankOf = fn(&ZSet, &[u8]) -> Option<(usize, f64)>;

fn rank(call: &mut Call<'_>, name: &str, of: RankOf) -> Handled {
    if call.args.len() > 4 {
        return Err(Error::arity(name));
    }
    let with_score = call.args.len() == 4;
    if with_score && !call.args.is(3, "withscore") {
        return Err(Error::SYNTAX);
    }
    let set = call.db.find::<ZSet>(call.args.at(1))?;
    match set.and_then(|set| of(set, call.args.at(2))) {
        Some((rank, score)) if with_score => {
            call.reply.array(2);
            call.reply.count(rank);
            call.reply.double(score);
        }
        Some((rank, _)) => call.reply.count(rank),
        None if with_score => call.reply.null_array(),
        None => call.reply.null(),
    }
    read()
}

fn zscan(call: &mut Call<'_>) -> Handled {
    let mut cursor = scan::cursor(call.args.at(2))?;
    let mut found: Vec<(Vec<u8>, f64)> = Vec::new();
    let (mut seen, mut steps) = (0, 0);
    let Some(set) = call.db.find::<ZSet>(call.args.at(1))? else {
        scan::reply_nothing(&mut call.reply);
        return read();
    };
    let options = scan::options(call.args, 3, scan::Walked::Scored)?;
    // Redis prints the scores of a skip list with all their digits here, and nowhere else.
    let exact = set.encoding() == "skiplist";
    loop {
        cursor = set.scan(cursor, &mut |member, score| {
            seen += 1;
            if options.matches(member) {
                found.push((member.to_vec(), score));
            }
        });
        steps += 1;
        if cursor == 0 || seen >= options.count || steps >= options.count.saturating_mul(10) {
            break;
        }
    }
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.array(if options.names_only { found.len() } else { 2 * found.len() });
    for (member, score) in &found {
        call.reply.bulk(member);
        match exact {
            _ if options.names_only => {}
            true => call.reply.bulk(base::number::format_g17(*score).as_bytes()),
            false => call.reply.bulk_double(*score),
        }
    }
    read()
}

/// Writes entries as ranges are answered: with scores as pairs in RESP3, as a flat array in RESP2.
fn reply_entries<'e>(
    reply: &mut Reply<'_>,
    entries: impl ExactSizeIterator<Item = (&'e [u8], f64)>,
    with_scores: bool,
) {
    let pairs = with_scores && reply.is_resp3();
    reply.array(if with_scores && !pairs { 2 * entries.len() } else { entries.len() });
    for (member, score) in entries {
        if pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.double(score);
        }
    }
}

#[cfg(test)]
mod tests;
