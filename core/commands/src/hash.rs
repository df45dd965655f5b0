//! Hashes: fields and their values, counters in fields, and scans.
//!
//! A command that reads fields by name asks for the hash by `find_fields`, which takes those of them out whose time is over; to any
//! other look-up such fields only do not show. HLEN counts them until they have left, as in Redis.

use crate::call::{Call, Handled, done, read};
use crate::error::Error;
use crate::scan;
use crate::spec::{Group, Row};
use crate::string::float_sum;
use base::long_double::LongDouble;
use base::number::{parse_i64, push_i64};
use keyspace::{Db, Event, EventClass};
use resp::Reply;
use types::hash::Hash;

mod expire;
mod random;
#[cfg(test)]
pub(crate) mod tests;
mod with_expiry;

pub(crate) use random::{chance, random_count, whole_count};

const HSET: Event = Event::new(EventClass::HASH, "hset");
const HDEL: Event = Event::new(EventClass::HASH, "hdel");
const HINCRBY: Event = Event::new(EventClass::HASH, "hincrby");
const HINCRBYFLOAT: Event = Event::new(EventClass::HASH, "hincrbyfloat");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Hash, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("hdel", -3, hdel).key().write().fast(),
    row("hexists", 3, hexists).key().readonly().fast(),
    row("hexpire", -6, expire::hexpire).key().write().fast(),
    row("hexpireat", -6, expire::hexpireat).key().write().fast(),
    row("hexpiretime", -5, expire::hexpiretime).key().readonly().fast(),
    row("hget", 3, hget).key().readonly().fast(),
    row("hgetall", 2, hgetall).key().readonly(),
    row("hgetdel", -5, with_expiry::hgetdel).key().write().fast(),
    row("hgetex", -5, with_expiry::hgetex).key().write().fast(),
    row("hincrby", 4, hincrby).key().grows().fast(),
    row("hincrbyfloat", 4, hincrbyfloat).key().grows().fast(),
    row("hkeys", 2, hkeys).key().readonly(),
    row("hlen", 2, hlen).key().readonly().fast(),
    row("hmget", -3, hmget).key().readonly().fast(),
    row("hmset", -4, hmset).key().grows().fast(),
    row("hpersist", -5, expire::hpersist).key().write().fast(),
    row("hpexpire", -6, expire::hpexpire).key().write().fast(),
    row("hpexpireat", -6, expire::hpexpireat).key().write().fast(),
    row("hpexpiretime", -5, expire::hpexpiretime).key().readonly().fast(),
    row("hpttl", -5, expire::hpttl).key().readonly().fast(),
    row("hrandfield", -2, random::hrandfield).key().readonly(),
    row("hscan", -3, hscan).key().readonly(),
    row("hset", -4, hset).key().grows().fast(),
    row("hsetex", -6, with_expiry::hsetex).key().grows().fast(),
    row("hsetnx", 4, hsetnx).key().grows().fast(),
    row("hstrlen", 3, hstrlen).key().readonly().fast(),
    row("httl", -5, expire::httl).key().readonly().fast(),
    row("hvals", 2, hvals).key().readonly(),
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
    let pairs = call.args.rest(2).chunks_exact(2);
    guard.count(pairs.len());
    let hash = &mut *guard;
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
    if call.db.find_fields_mut(key, &[field])?.is_some_and(|hash| hash.contains(field)) {
        call.reply.integer(0);
        return read();
    }
    let limits = call.db.space().limits.clone();
    call.db.upsert::<Hash>(key)?.set(field, call.args.at(3), &limits);
    call.reply.integer(1);
    done(HSET)
}

/// A counter keeps its expiry.
fn put_counter(call: &mut Call<'_>, key: &[u8], field: &[u8], value: &[u8]) -> Result<(), Error> {
    let limits = call.db.space().limits.clone();
    call.db.upsert::<Hash>(key)?.set_keeping_expiry(field, value, &limits);
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Handled {
    let mut removed = 0;
    if let Some(mut guard) = call.db.find_fields_mut(call.args.at(1), call.args.rest(2))? {
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
    let before = match call.db.find_fields_mut(key, &[field])?.as_deref().and_then(|hash| hash.get(field)) {
        None => 0,
        Some(text) => parse_i64(text).ok_or(Error::new("ERR hash value is not an integer"))?,
    };
    let after = before.checked_add(by).ok_or(Error::OVERFLOW)?;
    let mut text = Vec::with_capacity(20);
    push_i64(&mut text, after);
    put_counter(call, key, field, &text)?;
    call.reply.integer(after);
    done(HINCRBY)
}

fn hincrbyfloat(call: &mut Call<'_>) -> Handled {
    let (key, field) = (call.args.at(1), call.args.at(2));
    let by = LongDouble::parse(call.args.at(3)).ok_or(Error::NOT_A_FLOAT)?;
    if !by.is_finite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    let before = match call.db.find_fields_mut(key, &[field])?.as_deref().and_then(|hash| hash.get(field)) {
        None => LongDouble::ZERO,
        Some(text) => LongDouble::parse(text).ok_or(Error::new("ERR hash value is not a float"))?,
    };
    let text = float_sum(before, by)?;
    put_counter(call, key, field, text.as_bytes())?;
    call.propagate(&[b"HSET", key, field, text.as_bytes()]);
    if let Some(at) = call.db.find_again::<Hash>(key).and_then(|hash| hash.expiry(field)).flatten() {
        expire::propagate_expiry(call, key, at, &[field]);
    }
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
    let hash = call.db.find_fields(call.args.at(1), call.args.rest(2))?;
    reply_value(&mut call.reply, hash.and_then(|hash| hash.get(call.args.at(2))));
    read()
}

fn hmget(call: &mut Call<'_>) -> Handled {
    let fields = call.args.rest(2);
    let hash = call.db.find_fields(call.args.at(1), fields)?;
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
    let len = call.db.find::<Hash>(call.args.at(1))?.map_or(0, Hash::stored_len);
    call.reply.count(len);
    read()
}

fn hexists(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find_fields(call.args.at(1), call.args.rest(2))?;
    call.reply.count(usize::from(hash.is_some_and(|hash| hash.contains(call.args.at(2)))));
    read()
}

fn hstrlen(call: &mut Call<'_>) -> Handled {
    let hash = call.db.find_fields(call.args.at(1), call.args.rest(2))?;
    call.reply.count(hash.map_or(0, |hash| hash.value_len(call.args.at(2))));
    read()
}

fn hscan(call: &mut Call<'_>) -> Handled {
    let mut cursor = scan::cursor(call.args.at(2))?;
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let (mut seen, mut steps) = (0, 0);
    let seed = call.db.space().seed();
    let Some(hash) = call.db.find::<Hash>(call.args.at(1))? else {
        scan::reply_nothing(&mut call.reply);
        return read();
    };
    let options = scan::options(call.args, 3, scan::Walked::Fields)?;
    loop {
        cursor = hash.scan(cursor, options.count, seed, &mut |field, value| {
            seen += 1;
            if options.matches(field) {
                found.push((field.to_vec(), if options.names_only { Vec::new() } else { value.to_vec() }));
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
    for (field, value) in &found {
        call.reply.bulk(field);
        if !options.names_only {
            call.reply.bulk(value);
        }
    }
    read()
}
