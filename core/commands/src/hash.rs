//! Hashes: fields and their values, counters in fields, scans and random picks.

use crate::call::{Call, Handled, done, read};
use crate::error::Error;
use crate::scan;
use crate::spec::{Group, Row};
use crate::string::float_sum;
use base::Random;
use base::long_double::LongDouble;
use base::number::{parse_i64, push_i64};
use keyspace::{Db, Event, EventClass};
use resp::Reply;
use types::hash::Hash;

const HSET: Event = Event::new(EventClass::HASH, "hset");
const HDEL: Event = Event::new(EventClass::HASH, "hdel");
const HINCRBY: Event = Event::new(EventClass::HASH, "hincrby");
const HINCRBYFLOAT: Event = Event::new(EventClass::HASH, "hincrbyfloat");

/// Random picks with repetition in one reply: what a negative count may ask for.
pub(crate) const RANDOM_PICKS_MAX: u64 = 1 << 20;

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Hash, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("hdel", -3, hdel).key().write().fast().docs("2.0.0", "O(N) where N is the number of fields to be removed.", "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain."),
    row("hexists", 3, hexists).key().readonly().fast().docs("2.0.0", "O(1)", "Determines whether a field exists in a hash."),
    row("hget", 3, hget).key().readonly().fast().docs("2.0.0", "O(1)", "Returns the value of a field in a hash."),
    row("hgetall", 2, hgetall).key().readonly().docs("2.0.0", "O(N) where N is the size of the hash.", "Returns all fields and values in a hash."),
    row("hincrby", 4, hincrby).key().grows().fast().docs("2.0.0", "O(1)", "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist."),
    row("hincrbyfloat", 4, hincrbyfloat).key().grows().fast().docs("2.6.0", "O(1)", "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist."),
    row("hkeys", 2, hkeys).key().readonly().docs("2.0.0", "O(N) where N is the size of the hash.", "Returns all fields in a hash."),
    row("hlen", 2, hlen).key().readonly().fast().docs("2.0.0", "O(1)", "Returns the number of fields in a hash."),
    row("hmget", -3, hmget).key().readonly().fast().docs("2.0.0", "O(N) where N is the number of fields being requested.", "Returns the values of all fields in a hash."),
    row("hmset", -4, hmset).key().grows().fast().docs("2.0.0", "O(N) where N is the number of fields being set.", "Sets the values of multiple fields."),
    row("hrandfield", -2, hrandfield).key().readonly().docs("6.2.0", "O(N) where N is the number of fields returned", "Returns one or more random fields from a hash."),
    row("hscan", -3, hscan).key().readonly().docs("2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over fields and values of a hash."),
    row("hset", -4, hset).key().grows().fast().docs("2.0.0", "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.", "Creates or modifies the value of a field in a hash."),
    row("hsetnx", 4, hsetnx).key().grows().fast().docs("2.0.0", "O(1)", "Sets the value of a field in a hash only when the field doesn't exist."),
    row("hstrlen", 3, hstrlen).key().readonly().fast().docs("3.2.0", "O(1)", "Returns the length of the value of a field."),
    row("hvals", 2, hvals).key().readonly().docs("2.0.0", "O(N) where N is the size of the hash.", "Returns all values in a hash."),
];

/// The value of a field, for SORT's patterns; `None` when there is none or the key is no hash.
pub(crate) fn field_value(db: &mut Db<'_>, key: &[u8], field: &[u8]) -> Option<Vec<u8>> {
    db.find::<Hash>(key).ok()??.get(field).map(<[u8]>::to_vec)
}

// Writes.

fn set_pairs(call: &mut Call<'_>, name: &str) -> Result<usize, Error> {
    if !call.args.len().is_multiple_of(2) {
        return Err(Error::arity(name));
    }
    let limits = call.db.space().limits.clone();
    let mut guard = call.db.upsert::<Hash>(call.args.at(1))?;
    let hash = &mut *guard;
    let pairs = call.args.rest(2).chunks_exact(2);
    Ok(pairs.filter(|pair| hash.set(pair[0], pair[1], &limits)).count())
}

fn hset(call: &mut Call<'_>) -> Handled {
    let new = set_pairs(call, "hset")?;
    call.reply.count(new);
    done(HSET)
}

fn hmset(call: &mut Call<'_>) -> Handled {
    set_pairs(call, "hmset")?;
    call.reply.ok();
    done(HSET)
}

fn hsetnx(call: &mut Call<'_>) -> Handled {
    let (key, field) = (call.args.at(1), call.args.at(2));
    if call.db.find::<Hash>(key)?.is_some_and(|hash| hash.contains(field)) {
        call.reply.integer(0);
        return read();
    }
    put(call, key, field, call.args.at(3))?;
    call.reply.integer(1);
    done(HSET)
}

fn put(call: &mut Call<'_>, key: &[u8], field: &[u8], value: &[u8]) -> Result<(), Error> {
    let limits = call.db.space().limits.clone();
    call.db.upsert::<Hash>(key)?.set(field, value, &limits);
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Handled {
    let mut removed = 0;
    if let Some(mut guard) = call.db.find_mut::<Hash>(call.args.at(1))? {
        let hash = &mut *guard;
        removed = call.args.rest(2).iter().filter(|field| hash.remove(field)).count();
        if removed == 0 {
            guard.leave_unchanged();
        }
    }
    call.reply.count(removed);
    done(HDEL)
}

fn hincrby(call: &mut Call<'_>) -> Handled {
    let (key, field, by) = (call.args.at(1), call.args.at(2), call.args.int(3)?);
    let before = match call.db.find::<Hash>(key)?.and_then(|hash| hash.get(field)) {
        None => 0,
        Some(text) => parse_i64(text).ok_or(Error::new("ERR hash value is not an integer"))?,
    };
    let after = before.checked_add(by).ok_or(Error::OVERFLOW)?;
    let mut text = Vec::with_capacity(20);
    push_i64(&mut text, after);
    put(call, key, field, &text)?;
    call.reply.integer(after);
    done(HINCRBY)
}

fn hincrbyfloat(call: &mut Call<'_>) -> Handled {
    let (key, field) = (call.args.at(1), call.args.at(2));
    let by = LongDouble::parse(call.args.at(3)).ok_or(Error::NOT_A_FLOAT)?;
    if !by.is_finite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    let before = match call.db.find::<Hash>(key)?.and_then(|hash| hash.get(field)) {
        None => LongDouble::ZERO,
        Some(text) => LongDouble::parse(text).ok_or(Error::new("ERR hash value is not a float"))?,
    };
    let text = float_sum(before, by)?;
    put(call, key, field, text.as_bytes())?;
    call.propagate(&[b"HSET", key, field, text.as_bytes()]);
    call.reply.bulk(text.as_bytes());
    done(HINCRBYFLOAT)
}

// Reads.

fn reply_value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

fn hget(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    reply_value(&mut call.reply, hash.and_then(|hash| hash.get(call.args.at(2))));
    read()
}

fn hmget(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    let fields = call.args.rest(2);
    call.reply.array(fields.len());
    for field in fields {
        reply_value(&mut call.reply, hash.and_then(|hash| hash.get(field)));
    }
    read()
}

fn hgetall(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    call.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        call.reply.bulk(field);
        call.reply.bulk(value);
    }
    read()
}

fn hkeys(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(field, _)| call.reply.bulk(field));
    read()
}

fn hvals(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| call.reply.bulk(value));
    read()
}

fn hlen(call: &mut Call<'_>) -> Handled {
    let len = call.db.find::<Hash>(call.args.at(1))?.map_or(0, Hash::len);
    call.reply.count(len);
    read()
}

fn hexists(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    call.reply.count(usize::from(hash.is_some_and(|hash| hash.contains(call.args.at(2)))));
    read()
}

fn hstrlen(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find::<Hash>(call.args.at(1))?;
    call.reply.count(hash.map_or(0, |hash| hash.value_len(call.args.at(2))));
    read()
}

fn hscan(call: &mut Call<'_>) -> Handled {
    let mut cursor = scan::cursor(call.args.at(2))?;
    let options = scan::options(call.args, 3, false, true)?;
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let (mut seen, mut steps) = (0, 0);
    match call.db.find::<Hash>(call.args.at(1))? {
        None => cursor = 0,
        Some(hash) => loop {
            cursor = hash.scan(cursor, &mut |field, value| {
                seen += 1;
                if options.matches(field) {
                    found.push((field.to_vec(), if options.no_values { Vec::new() } else { value.to_vec() }));
                }
            });
            steps += 1;
            if cursor == 0 || seen >= options.count || steps >= options.count.saturating_mul(10) {
                break;
            }
        },
    }
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.array(if options.no_values { found.len() } else { 2 * found.len() });
    for (field, value) in &found {
        call.reply.bulk(field);
        if !options.no_values {
            call.reply.bulk(value);
        }
    }
    read()
}

// Random picks.

/// The count of a command that picks at random.
///
/// # Errors
/// When it is none, or asks for more than a reply may hold.
pub(crate) fn random_count(call: &Call<'_>, doubled: bool) -> Result<i64, Error> {
    let count = call.args.int(2)?;
    if count == i64::MIN {
        let text =
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        return Err(Error::new(text));
    }
    let too_many = count < 0 && count.unsigned_abs() > RANDOM_PICKS_MAX;
    if too_many || (doubled && count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(Error::new("ERR value is out of range"));
    }
    Ok(count)
}

/// A generator of its own for picks while the collection is borrowed.
pub(crate) fn chance(call: &mut Call<'_>) -> Random {
    Random::new(call.db.space().random.next_u64())
}

fn hrandfield(call: &mut Call<'_>) -> Handled {
    let mut random = chance(call);
    if call.args.len() == 2 {
        let hash = call.db.find::<Hash>(call.args.at(1))?;
        reply_value(&mut call.reply, hash.and_then(|hash| hash.random(&mut random)).map(|(field, _)| field));
        return read();
    }
    let with_values = call.args.len() == 4;
    if call.args.len() > 4 || (with_values && !call.args.is(3, "withvalues")) {
        return Err(Error::SYNTAX);
    }
    let count = random_count(call, with_values)?;
    let Some(hash) = call.db.find::<Hash>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let picks: Vec<(&[u8], &[u8])> = if count < 0 {
        (0..count.unsigned_abs()).filter_map(|_| hash.random(&mut random)).collect()
    } else {
        hash.random_distinct(&mut random, usize::try_from(count).unwrap_or(usize::MAX))
    };
    let pairs = with_values && call.reply.is_resp3();
    call.reply.array(if with_values && !pairs { 2 * picks.len() } else { picks.len() });
    for (field, value) in picks {
        if pairs {
            call.reply.array(2);
        }
        call.reply.bulk(field);
        if with_values {
            call.reply.bulk(value);
        }
    }
    read()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::call::Args;
    use keyspace::Keyspace;
    use resp::Protocol;

    /// The reply of one of `rows` to a line of words, as it goes over the wire, `\r\n` shown as a blank.
    pub(crate) fn ask(rows: &[Row], space: &mut Keyspace, protocol: Protocol, line: &str) -> String {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let row = rows.iter().find(|row| argv[0].eq_ignore_ascii_case(row.spec.name.as_bytes())).unwrap();
        assert!(row.spec.arity_allows(argv.len()), "{line}");
        let mut out = Vec::new();
        let mut call = Call {
            args: Args::new(&argv),
            db: Db::new(space, 0),
            reply: Reply::wire(&mut out, protocol),
            may_block: false,
        };
        match (row.run)(&mut call) {
            Ok(_) => String::from_utf8(out).unwrap().replace("\r\n", " ").trim_end().to_string(),
            Err(error) => format!("-{}", error.as_str()),
        }
    }

    /// Asks in turn, in RESP2, and compares.
    pub(crate) fn dialogue(rows: &[Row], lines: &[(&str, &str)]) -> Keyspace {
        let mut space = Keyspace::new(1, 7);
        for (line, reply) in lines {
            assert_eq!(ask(rows, &mut space, Protocol::Resp2, line), *reply, "{line}");
        }
        space
    }

    #[test]
    fn fields_are_set_read_and_removed_with_the_key() {
        let space = dialogue(
            COMMANDS,
            &[
                ("HSET h a 1 b 2", ":2"),
                ("HSET h a 3 c", "-ERR wrong number of arguments for 'hset' command"),
                ("HSET h a 3 c 4", ":1"),
                ("HMSET h d 5", "+OK"),
                ("HSETNX h d 6", ":0"),
                ("HSETNX h e 6", ":1"),
                ("HGET h a", "$1 3"),
                ("HGET h none", "$-1"),
                ("HGET none a", "$-1"),
                ("HMGET h a none e", "*3 $1 3 $-1 $1 6"),
                ("HLEN h", ":5"),
                ("HEXISTS h a", ":1"),
                ("HEXISTS h none", ":0"),
                ("HSTRLEN h a", ":1"),
                ("HDEL h c d e none", ":3"),
                ("HGETALL h", "*4 $1 a $1 3 $1 b $1 2"),
                ("HKEYS h", "*2 $1 a $1 b"),
                ("HVALS h", "*2 $1 3 $1 2"),
                ("HVALS none", "*0"),
                ("HDEL h a b", ":2"),
            ],
        );
        assert_eq!(space.key_count(), 0);
    }

    #[test]
    fn counters_refuse_what_is_none_and_create_nothing_then() {
        let space = dialogue(
            COMMANDS,
            &[
                ("HINCRBY h n 5", ":5"),
                ("HINCRBY h n -7", ":-2"),
                ("HINCRBY h n x", "-ERR value is not an integer or out of range"),
                ("HINCRBYFLOAT h f 10.5", "$4 10.5"),
                ("HINCRBYFLOAT h f 0.1", "$4 10.6"),
                ("HINCRBY h f 1", "-ERR hash value is not an integer"),
                ("HSET h w word m 9223372036854775807", ":2"),
                ("HINCRBYFLOAT h w 1", "-ERR hash value is not a float"),
                ("HINCRBY h m 1", "-ERR increment or decrement would overflow"),
                ("HINCRBYFLOAT other f inf", "-ERR value is NaN or Infinity"),
            ],
        );
        assert_eq!(space.key_count(), 1);
    }

    #[test]
    fn scans_and_random_picks_answer_in_their_shapes() {
        let mut space = dialogue(
            COMMANDS,
            &[
                ("HSET h a 1", ":1"),
                ("HSCAN h 0", "*2 $1 0 *2 $1 a $1 1"),
                ("HSCAN h 0 NOVALUES MATCH a*", "*2 $1 0 *1 $1 a"),
                ("HSCAN h 0 MATCH b*", "*2 $1 0 *0"),
                ("HSCAN none 5", "*2 $1 0 *0"),
                ("HSCAN h x", "-ERR invalid cursor"),
                ("HRANDFIELD h", "$1 a"),
                ("HRANDFIELD none", "$-1"),
                ("HRANDFIELD none 3", "*0"),
                ("HRANDFIELD h 5 WITHVALUES", "*2 $1 a $1 1"),
                ("HRANDFIELD h -2", "*2 $1 a $1 a"),
                ("HRANDFIELD h 1 WITH", "-ERR syntax error"),
            ],
        );
        let mut resp3 = |line| ask(COMMANDS, &mut space, Protocol::Resp3, line);
        assert_eq!(resp3("HRANDFIELD h 1 WITHVALUES"), "*1 *2 $1 a $1 1");
        assert_eq!(resp3("HGETALL h"), "%1 $1 a $1 1");
    }
}
