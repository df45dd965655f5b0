//! Sets: members, random picks, and the algebra of several sets.
//!
//! The sources of the algebra are taken as shares, which are cheap and let several be read side by side.

use crate::call::{Call, Handled, LOGGED_ELEMENTS_MAX, done, read};
use crate::error::Error;
use crate::hash::{chance, random_count};
use crate::scan;
use crate::spec::{Group, Keys, Row};
use core::ops::Range;
use keyspace::{Event, EventClass};
use resp::Reply;
use std::collections::HashSet;
use types::set::Set;
use types::{Collection, Limits};

const SADD: Event = Event::new(EventClass::SET, "sadd");
const SREM: Event = Event::new(EventClass::SET, "srem");
const SPOP: Event = Event::new(EventClass::SET, "spop");
const SINTERSTORE: Event = Event::new(EventClass::SET, "sinterstore");
const SUNIONSTORE: Event = Event::new(EventClass::SET, "sunionstore");
const SDIFFSTORE: Event = Event::new(EventClass::SET, "sdiffstore");

const FIRST: Keys = Keys::Counted { count_at: 1, destination: false };

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Set, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("sadd", -3, sadd).key().grows().fast(),
    row("scard", 2, scard).key().readonly().fast(),
    row("sdiff", -2, sdiff).keys(1, -1, 1).readonly(),
    row("sdiffstore", -3, sdiffstore).keys(1, -1, 1).grows(),
    row("sinter", -2, sinter).keys(1, -1, 1).readonly(),
    row("sintercard", -3, sintercard).movable_keys(FIRST).readonly(),
    row("sinterstore", -3, sinterstore).keys(1, -1, 1).grows(),
    row("sismember", 3, sismember).key().readonly().fast(),
    row("smembers", 2, smembers).key().readonly(),
    row("smismember", -3, smismember).key().readonly().fast(),
    row("smove", 4, smove).keys(1, 2, 1).write().fast(),
    row("spop", -2, spop).key().write().fast(),
    row("srandmember", -2, srandmember).key().readonly(),
    row("srem", -3, srem).key().write().fast(),
    row("sscan", -3, sscan).key().readonly(),
    row("sunion", -2, sunion).keys(1, -1, 1).readonly(),
    row("sunionstore", -3, sunionstore).keys(1, -1, 1).grows(),
];

/// The members at these places (cut to what exists) of the order that the set happens to have, for SORT.
pub(crate) fn elements(set: &Set, places: Range<usize>) -> Vec<Vec<u8>> {
    set.iter().skip(places.start).take(places.len()).map(|member| member.to_vec()).collect()
}

// Writes.

fn sadd(call: &mut Call<'_>) -> Handled {
    let limits = call.db.space().limits.clone();
    let mut guard = call.db.upsert::<Set>(call.args.at(1))?;
    let set = &mut *guard;
    set.expect(call.args.at(2), call.args.len() - 2, &limits);
    let added = call.args.rest(2).iter().filter(|member| set.add(member, &limits)).count();
    if added == 0 {
        guard.leave_unchanged();
    }
    drop(guard);
    call.reply.count(added);
    done(SADD)
}

fn srem(call: &mut Call<'_>) -> Handled {
    let mut removed = 0;
    if let Some(mut guard) = call.db.find_mut::<Set>(call.args.at(1))? {
        let set = &mut *guard;
        removed = call.args.rest(2).iter().filter(|member| set.remove(member)).count();
        if removed == 0 {
            guard.leave_unchanged();
        }
    }
    call.reply.count(removed);
    done(SREM)
}

fn smove(call: &mut Call<'_>) -> Handled {
    let (from, to, member) = (call.args.at(1), call.args.at(2), call.args.at(3));
    // Both are looked up before either is judged, as in Redis: a key whose time is over goes in any case.
    let has = call.db.find_mut::<Set>(from).map(|set| set.map(|set| set.contains(member)));
    let there = call.db.find_mut::<Set>(to).map(|set| set.is_some_and(|set| set.contains(member)));
    let Some(has) = has? else {
        call.reply.integer(0);
        return read();
    };
    let there = there?;
    if !has || from == to {
        call.reply.count(usize::from(has));
        return read();
    }
    // Each set gets its own event, so the outcome has none.
    call.db.also(from, SREM);
    if let Some(mut guard) = call.db.find_mut::<Set>(from)? {
        guard.remove(member);
    }
    if !there {
        call.db.announce(to);
        call.db.also(to, SADD);
        let limits = call.db.space().limits.clone();
        call.db.upsert::<Set>(to)?.add(member, &limits);
    }
    call.reply.integer(1);
    read()
}

fn spop(call: &mut Call<'_>) -> Handled {
    let mut random = chance(call);
    let key = call.args.at(1);
    if call.args.len() == 2 {
        let popped = match call.db.find_mut::<Set>(key)? {
            Some(mut set) => set.pop_random(&mut random),
            None => None,
        };
        match &popped {
            Some(member) => {
                call.propagate(&[b"SREM", key, member]);
                call.reply.bulk(member);
            }
            None => call.reply.null(),
        }
        return done(SPOP);
    }
    if call.args.len() > 3 {
        return Err(Error::SYNTAX);
    }
    let count = call.args.int(2).ok().and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(Error::OUT_OF_RANGE_POSITIVE)?;
    let mut popped: Vec<Vec<u8>> = Vec::new();
    // Another type is an error even when nothing is wanted.
    if let Some(mut guard) = call.db.find_mut::<Set>(key)?
        && count > 0
    {
        let set = &mut *guard;
        popped.extend(set.random_distinct(&mut random, count).iter().map(|member| member.to_vec()));
        popped.iter().for_each(|member| {
            set.remove(member);
        });
    }
    for members in popped.chunks(LOGGED_ELEMENTS_MAX) {
        let mut argv: Vec<&[u8]> = vec![b"SREM", key];
        argv.extend(members.iter().map(Vec::as_slice));
        call.propagate(&argv);
    }
    reply_members(&mut call.reply, &popped);
    done(SPOP)
}

/// Members as the set that they are, which RESP2 sees as an array.
fn reply_members<B: AsRef<[u8]>>(reply: &mut Reply<'_>, members: &[B]) {
    reply.set(members.len());
    members.iter().for_each(|member| reply.bulk(member.as_ref()));
}

// Reads.

fn scard(call: &mut Call<'_>) -> Handled {
    let len = call.db.find::<Set>(call.args.at(1))?.map_or(0, Set::len);
    call.reply.count(len);
    read()
}

fn sismember(call: &mut Call<'_>) -> Handled {
    let set = call.db.find::<Set>(call.args.at(1))?;
    call.reply.count(usize::from(set.is_some_and(|set| set.contains(call.args.at(2)))));
    read()
}

fn smismember(call: &mut Call<'_>) -> Handled {
    let set = call.db.find::<Set>(call.args.at(1))?;
    let members = call.args.rest(2);
    call.reply.array(members.len());
    for member in members {
        call.reply.count(usize::from(set.is_some_and(|set| set.contains(member))));
    }
    read()
}

fn smembers(call: &mut Call<'_>) -> Handled {
    let set = call.db.find::<Set>(call.args.at(1))?;
    call.reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| call.reply.bulk(&member));
    read()
}

fn srandmember(call: &mut Call<'_>) -> Handled {
    let mut random = chance(call);
    if call.args.len() == 2 {
        let set = call.db.find::<Set>(call.args.at(1))?;
        match set.and_then(|set| set.random(&mut random)) {
            Some(member) => call.reply.bulk(&member),
            None => call.reply.null(),
        }
        return read();
    }
    if call.args.len() > 3 {
        return Err(Error::SYNTAX);
    }
    let count = random_count(call, false)?;
    let Some(set) = call.db.find::<Set>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let picks = if count < 0 {
        (0..count.unsigned_abs()).filter_map(|_| set.random(&mut random)).collect()
    } else {
        set.random_distinct(&mut random, usize::try_from(count).unwrap_or(usize::MAX))
    };
    call.reply.bulks(&picks);
    read()
}

fn sscan(call: &mut Call<'_>) -> Handled {
    let mut cursor = scan::cursor(call.args.at(2))?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    let (mut seen, mut steps) = (0, 0);
    let Some(set) = call.db.find::<Set>(call.args.at(1))? else {
        scan::reply_nothing(&mut call.reply);
        return read();
    };
    let options = scan::options(call.args, 3, scan::Walked::Members)?;
    loop {
        cursor = set.scan(cursor, &mut |member| {
            seen += 1;
            if options.matches(member) {
                found.push(member.to_vec());
            }
        });
        steps += 1;
        if cursor == 0 || seen >= options.count || steps >= options.count.saturating_mul(10) {
            break;
        }
    }
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.bulks(&found);
    read()
}

// The algebra of sets.

/// The sets at `keys`, as shares; an empty one where there is no key. A key that is named again adds nothing to an intersection, a union
/// or what is subtracted, and is only looked up.
fn sources(call: &mut Call<'_>, keys: &[&[u8]]) -> Result<Vec<Set>, Error> {
    let mut sources = Vec::with_capacity(keys.len());
    let mut seen = Seen::of(keys);
    for (index, key) in keys.iter().enumerate() {
        let set = call.db.find::<Set>(key)?;
        if seen.is_new(index) {
            sources.push(set.map_or_else(Set::new, Collection::share));
        }
    }
    Ok(sources)
}

/// Which keys of a request were named before.
pub(crate) struct Seen<'a> {
    keys: &'a [&'a [u8]],
    /// Where there are many.
    before: HashSet<&'a [u8]>,
}

impl<'a> Seen<'a> {
    pub(crate) fn of(keys: &'a [&'a [u8]]) -> Seen<'a> {
        Seen { keys, before: HashSet::new() }
    }

    /// Whether the key at `index` is named for the first time; to be asked for each in order.
    pub(crate) fn is_new(&mut self, index: usize) -> bool {
        /// So many are compared one by one.
        const FEW: usize = 16;
        match self.keys.len() {
            ..=FEW => !self.keys[..index].contains(&self.keys[index]),
            _ => self.before.insert(self.keys[index]),
        }
    }
}

/// Visits what is in all of `sources`, from the smallest on, while `visit` says so.
fn intersect(sources: &mut [Set], visit: &mut dyn FnMut(&[u8]) -> bool) {
    sources.sort_by_key(Set::len);
    let Some((first, others)) = sources.split_first() else { return };
    for member in first.iter() {
        if others.iter().all(|other| other.contains(&member)) && !visit(&member) {
            return;
        }
    }
}

/// What makes one set of several.
struct Combine {
    run: fn(&mut [Set], &mut Set, &Limits),
    /// Nothing is left of the first where it is named again.
    subtracts: bool,
}

const INTER: Combine = Combine { run: inter_of, subtracts: false };
const UNION: Combine = Combine { run: union_of, subtracts: false };
const DIFF: Combine = Combine { run: diff_of, subtracts: true };

fn inter_of(sources: &mut [Set], result: &mut Set, limits: &Limits) {
    // The smallest set tells what the members are likely to be.
    let smallest = sources.iter().min_by_key(|set| set.len());
    if smallest.is_some_and(|set| set.encoding() != "intset") {
        result.expect_any();
    }
    intersect(sources, &mut |member| {
        result.add(member, limits);
        true
    });
    result.prefer_ints(limits);
}

fn union_of(sources: &mut [Set], result: &mut Set, limits: &Limits) {
    for member in sources.iter().flat_map(Set::iter) {
        result.add(&member, limits);
    }
}

fn diff_of(sources: &mut [Set], result: &mut Set, limits: &Limits) {
    let Some((first, others)) = sources.split_first_mut() else { return };
    others.sort_by_key(|other| core::cmp::Reverse(other.len()));
    let others = others.split(Set::is_empty).next().unwrap_or_default();
    // Each member is looked for in the others until one has it, or all that these have is taken out: whichever costs less.
    if first.len().saturating_mul(others.len()) <= 2 * others.iter().map(Set::len).sum::<usize>() {
        for member in first.iter().filter(|member| others.iter().all(|other| !other.contains(member))) {
            result.add(&member, limits);
        }
        return;
    }
    first.iter().for_each(|member| _ = result.add(&member, limits));
    for member in others.iter().flat_map(Set::iter) {
        result.remove(&member);
    }
}

fn combined(call: &mut Call<'_>, first_key: usize, combine: Combine) -> Result<Set, Error> {
    let keys = call.args.rest(first_key);
    let mut sources = sources(call, keys)?;
    let space = call.db.space();
    let mut result = Set::new();
    if combine.subtracts && keys[1..].contains(&keys[0]) {
        return Ok(result);
    }
    (combine.run)(&mut sources, &mut result, &space.limits);
    Ok(result)
}

fn answer(call: &mut Call<'_>, combine: Combine) -> Handled {
    let result = combined(call, 1, combine)?;
    call.reply.set(result.len());
    result.iter().for_each(|member| call.reply.bulk(&member));
    read()
}

fn store(call: &mut Call<'_>, combine: Combine, event: Event) -> Handled {
    let result = combined(call, 2, combine)?;
    let target = call.args.at(1);
    call.reply.count(result.len());
    if result.is_empty() {
        call.db.remove(target);
        return done(Event::DEL);
    }
    call.db.put(target, result.into(), None);
    done(event)
}

fn sinter(call: &mut Call<'_>) -> Handled {
    answer(call, INTER)
}

fn sunion(call: &mut Call<'_>) -> Handled {
    answer(call, UNION)
}

fn sdiff(call: &mut Call<'_>) -> Handled {
    answer(call, DIFF)
}

fn sinterstore(call: &mut Call<'_>) -> Handled {
    store(call, INTER, SINTERSTORE)
}

fn sunionstore(call: &mut Call<'_>) -> Handled {
    store(call, UNION, SUNIONSTORE)
}

fn sdiffstore(call: &mut Call<'_>) -> Handled {
    store(call, DIFF, SDIFFSTORE)
}

fn sintercard(call: &mut Call<'_>) -> Handled {
    let numkeys =
        call.args.int(1).ok().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let numkeys = numkeys.ok_or(Error::new("ERR numkeys should be greater than 0"))?;
    if numkeys > call.args.len() - 2 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut i = 2 + numkeys;
    while i < call.args.len() {
        if !call.args.is(i, "limit") || i + 1 == call.args.len() {
            return Err(Error::SYNTAX);
        }
        let value = call.args.int(i + 1).ok().and_then(|limit| usize::try_from(limit).ok());
        limit = value.ok_or(Error::new("ERR LIMIT can't be negative"))?;
        i += 2;
    }
    let mut sources = sources(call, &call.args.all()[2..2 + numkeys])?;
    let mut count = 0;
    intersect(&mut sources, &mut |_| {
        count += 1;
        count != limit
    });
    call.reply.count(count);
    read()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::{ask, dialogue};
    use resp::Protocol;

    #[test]
    fn members_are_added_found_moved_and_removed_with_the_key() {
        let space = dialogue(
            COMMANDS,
            &[
                ("SADD s 3 1 2 3", ":3"),
                ("SADD s 3", ":0"),
                ("SCARD s", ":3"),
                ("SISMEMBER s 2", ":1"),
                ("SMISMEMBER s 2 9", "*2 :1 :0"),
                ("SMEMBERS s", "*3 $1 1 $1 2 $1 3"),
                ("SMOVE s t 2", ":1"),
                ("SMOVE s t 9", ":0"),
                ("SMOVE s s 1", ":1"),
                ("SMOVE none t 1", ":0"),
                ("SMEMBERS t", "*1 $1 2"),
                ("SREM t 2 9", ":1"),
                ("SREM s 1 3", ":2"),
            ],
        );
        assert_eq!(space.key_count(), 0);
    }

    #[test]
    fn the_algebra_answers_and_stores() {
        let mut space = dialogue(
            COMMANDS,
            &[
                ("SADD a 1 2 3 4", ":4"),
                ("SADD b 3 4 5", ":3"),
                ("SINTER a b", "*2 $1 3 $1 4"),
                ("SINTER a none", "*0"),
                ("SUNION a b none", "*5 $1 1 $1 2 $1 3 $1 4 $1 5"),
                ("SDIFF a b none", "*2 $1 1 $1 2"),
                ("SDIFF none a", "*0"),
                ("SDIFF a b a", "*0"),
                ("SDIFF a b b none none", "*2 $1 1 $1 2"),
                ("SINTER a a b a", "*2 $1 3 $1 4"),
                ("SUNION b b", "*3 $1 3 $1 4 $1 5"),
                ("SINTERCARD 3 a b a", ":2"),
                ("SDIFFSTORE d a a", ":0"),
                ("SINTERSTORE a a b", ":2"),
                ("SUNIONSTORE c a b", ":3"),
                ("SDIFFSTORE c a b", ":0"),
                ("SMEMBERS c", "*0"),
                ("SINTERCARD 2 a b", ":2"),
                ("SINTERCARD 2 a b LIMIT 1", ":1"),
                ("SINTERCARD 2 a b LIMIT 0", ":2"),
                ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
                ("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args"),
                ("SINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative"),
                ("SINTERCARD 1 a b", "-ERR syntax error"),
            ],
        );
        assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp3, "SINTER a b"), "~2 $1 3 $1 4");
    }

    #[test]
    fn random_picks_and_pops_answer_in_their_shapes() {
        let mut space = dialogue(
            COMMANDS,
            &[
                ("SADD s m", ":1"),
                ("SRANDMEMBER s", "$1 m"),
                ("SRANDMEMBER s 3", "*1 $1 m"),
                ("SRANDMEMBER s -2", "*2 $1 m $1 m"),
                ("SRANDMEMBER none", "$-1"),
                ("SRANDMEMBER none 1", "*0"),
                ("SSCAN s 0 COUNT 5", "*2 $1 0 *1 $1 m"),
                ("SPOP s 0", "*0"),
                ("SPOP s -1", "-ERR value is out of range, must be positive"),
                ("SPOP s", "$1 m"),
                ("SPOP s", "$-1"),
                ("SPOP s 2", "*0"),
                ("SADD s 1 2 3", ":3"),
            ],
        );
        let popped = ask(COMMANDS, &mut space, Protocol::Resp2, "SPOP s 2");
        assert!(popped.starts_with("*2 "), "{popped}");
        assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp2, "SCARD s"), ":1");
    }
}
