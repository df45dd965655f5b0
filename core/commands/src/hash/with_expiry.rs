//! Values and expiry of fields in one: HGETEX, HSETEX; and HGETDEL.
//!
//! The log gets what they did as HSET, HPEXPIREAT, HPERSIST and HDEL, which Redis knew before it knew them.

use super::expire::{
    BAD_COUNT, HEXPIRE, HPERSIST, booked, check_type, fields_at, is_over, propagate_expiry,
    propagate_removal, time_at,
};
use super::{HDEL, HSET, reply_value};
use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use keyspace::Event;
use types::hash::Hash;

/// The time behind one of the words EX, PX, EXAT, PXAT at `i`; `None` when there is no such word.
fn time_option(call: &Call<'_>, i: usize, command: &str) -> Result<Option<i64>, Error> {
    let now = call.db.now_ms();
    let units = [("ex", 1000, now), ("px", 1, now), ("exat", 1000, 0), ("pxat", 1, 0)];
    let Some((_, unit_ms, from_ms)) = units.into_iter().find(|(word, ..)| call.args.is(i, word)) else {
        return Ok(None);
    };
    time_at(call.args, i + 1, unit_ms, from_ms, command).map(Some)
}

// HGETEX, HGETDEL.

/// What HGETEX does to the expiry.
enum Then {
    Nothing,
    Persist,
    ExpireAt(i64),
}

pub(super) fn hgetex(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    check_type(call, key)?;
    let (then, behind) = match time_option(call, 2, "hgetex")? {
        Some(at) => (Then::ExpireAt(at), 4),
        None if call.args.is(2, "persist") => (Then::Persist, 3),
        None => (Then::Nothing, 2),
    };
    if call.args.len() < behind + 2 {
        return Err(Error::arity("hgetex"));
    }
    let fields = fields_at(call.args, behind, BAD_COUNT)?;
    if let Then::ExpireAt(at) = then
        && is_over(call, at)
    {
        let removed = take(call, key, fields)?;
        return booked(call, key, at, true, &removed);
    }
    reply_values(call, key, fields)?;
    match then {
        Then::Nothing => read(),
        Then::Persist => persist(call, key, fields),
        Then::ExpireAt(at) => expire(call, key, at, fields),
    }
}

fn reply_values(call: &mut Call<'_>, key: &[u8], fields: &[&[u8]]) -> Result<(), Error> {
    // As in Redis, this is no look to read, whatever becomes of the expiry.
    let hash = call.db.find_fields_mut(key, fields)?;
    let hash = hash.as_deref();
    call.reply.array(fields.len());
    fields.iter().for_each(|field| reply_value(&mut call.reply, hash.and_then(|hash| hash.get(field))));
    Ok(())
}

fn persist(call: &mut Call<'_>, key: &[u8], fields: &[&[u8]]) -> Handled {
    let mut changed: Vec<&[u8]> = Vec::new();
    if let Some(mut hash) = call.db.find_mut::<Hash>(key)? {
        for field in fields {
            if hash.expiry(field).flatten().is_some() {
                hash.set_expiry(field, None);
                changed.push(field);
            }
        }
    }
    if changed.is_empty() {
        return read();
    }
    let count = changed.len().to_string();
    let head: [&[u8]; 4] = [b"HPERSIST", key, b"FIELDS", count.as_bytes()];
    call.propagate(&[&head, changed.as_slice()].concat());
    done(HPERSIST)
}

fn expire(call: &mut Call<'_>, key: &[u8], at: i64, fields: &[&[u8]]) -> Handled {
    let mut changed: Vec<&[u8]> = Vec::new();
    if let Some(mut hash) = call.db.find_mut::<Hash>(key)? {
        for field in fields {
            if hash.contains(field) {
                changed.push(field);
                hash.set_expiry(field, Some(at));
            }
        }
    }
    booked(call, key, at, false, &changed)
}

pub(super) fn hgetdel(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    check_type(call, key)?;
    let fields = fields_at(call.args, 2, BAD_COUNT)?;
    let removed = take(call, key, fields)?;
    if removed.is_empty() {
        return read();
    }
    propagate_removal(call, key, &removed);
    done(HDEL)
}

/// Replies the values of fields and removes these one by one, so that one that is named twice has no value the second time.
/// Those that were there.
fn take<'a>(call: &mut Call<'_>, key: &[u8], fields: &[&'a [u8]]) -> Result<Vec<&'a [u8]>, Error> {
    let hash = call.db.find_fields_mut(key, fields)?;
    call.reply.array(fields.len());
    let Some(mut hash) = hash else {
        fields.iter().for_each(|_| call.reply.null());
        return Ok(Vec::new());
    };
    let mut removed = Vec::new();
    for field in fields {
        let value = hash.get(field);
        reply_value(&mut call.reply, value);
        if value.is_some() {
            hash.remove(field);
            removed.push(*field);
        }
    }
    Ok(removed)
}

// HSETEX.

/// Which fields must be there, or not, for HSETEX to do anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Absent,
    Present,
}

/// What becomes of the expiry.
#[derive(Clone, Copy)]
enum Lives {
    Keep,
    Until(i64),
}

struct SetOptions<'a> {
    only: Option<Only>,
    /// `None`: for ever.
    lives: Option<Lives>,
    /// Fields and values in turn.
    pairs: &'a [[&'a [u8]; 2]],
}

fn set_options<'a>(call: &Call<'a>) -> Result<SetOptions<'a>, Error> {
    let args = call.args;
    let (mut only, mut lives, mut i) = (None, None, 2);
    while i < args.len() {
        if args.is(i, "fields") {
            return Ok(SetOptions { only, lives, pairs: pairs_at(args, i + 1)? });
        }
        let condition = match () {
            () if args.is(i, "fnx") => Some(Only::Absent),
            () if args.is(i, "fxx") => Some(Only::Present),
            () => None,
        };
        if condition.is_some() {
            if only.is_some() {
                return Err(Error::new("ERR Only one of FXX or FNX arguments can be specified"));
            }
            only = condition;
            i += 1;
            continue;
        }
        let (given, words) = lifetime(call, i, lives.is_some())?;
        lives = Some(given);
        i += words;
    }
    Err(Error::arity("hsetex"))
}

/// KEEPTTL or a time at `i`, and how many words it takes.
fn lifetime(call: &Call<'_>, i: usize, is_second: bool) -> Result<(Lives, usize), Error> {
    const WORDS: [&str; 5] = ["keepttl", "ex", "px", "exat", "pxat"];
    if !WORDS.iter().any(|word| call.args.is(i, word)) {
        return Err(Error::quoting("ERR unknown argument: {}", &[call.args.at(i)]));
    }
    if is_second {
        return Err(Error::new("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"));
    }
    Ok(match time_option(call, i, "hsetex")? {
        Some(at) => (Lives::Until(at), 2),
        None => (Lives::Keep, 1),
    })
}

/// The fields and values behind their count at `i`.
fn pairs_at<'a>(args: Args<'a>, i: usize) -> Result<&'a [[&'a [u8]; 2]], Error> {
    if args.len() < i + 3 {
        return Err(Error::arity("hsetex"));
    }
    let count = args.find(i).and_then(base::number::parse_i64);
    let count = count.filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or(Error::new("ERR invalid number of fields"))?;
    let (pairs, odd) = args.rest(i + 1).as_chunks::<2>();
    if pairs.len() as i64 != count || !odd.is_empty() {
        return Err(Error::arity("hsetex"));
    }
    Ok(pairs)
}

pub(super) fn hsetex(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let SetOptions { only, lives, pairs } = set_options(call)?;
    let fields: Vec<&[u8]> = pairs.iter().map(|pair| pair[0]).collect();
    let hash = call.db.find_fields_mut(key, &fields)?;
    let is_there = |field: &&[u8]| hash.as_ref().is_some_and(|hash| hash.contains(field));
    let allowed = match only {
        None => true,
        Some(Only::Absent) => !fields.iter().any(is_there),
        Some(Only::Present) => fields.iter().all(is_there),
    };
    drop(hash);
    call.reply.integer(i64::from(allowed));
    if !allowed {
        return read();
    }
    match lives {
        Some(Lives::Until(at)) if is_over(call, at) => remove_instead(call, key, pairs, &fields),
        _ => set(call, key, pairs, &fields, lives),
    }
}

fn set(
    call: &mut Call<'_>,
    key: &[u8],
    pairs: &[[&[u8]; 2]],
    fields: &[&[u8]],
    lives: Option<Lives>,
) -> Handled {
    let mut guard = call.db.upsert::<Hash>(key)?;
    guard.count(pairs.len());
    let (hash, limits, _) = guard.parts();
    for [field, value] in pairs {
        hash.set_keeping_expiry(field, value, limits);
        match lives {
            Some(Lives::Keep) => {}
            Some(Lives::Until(at)) => _ = hash.set_expiry(field, Some(at)),
            None => _ = hash.set_expiry(field, None),
        }
    }
    drop(guard);
    match lives {
        Some(Lives::Keep) => {}
        Some(Lives::Until(at)) => {
            propagate_set(call, key, pairs);
            propagate_expiry(call, key, at, fields);
            call.db.also(key, HEXPIRE);
        }
        None => propagate_set(call, key, pairs),
    }
    done(HSET)
}

fn propagate_set(call: &mut Call<'_>, key: &[u8], pairs: &[[&[u8]; 2]]) {
    call.propagate(&[&[b"HSET".as_slice(), key], pairs.as_flattened()].concat());
}

/// Fields that are set until a time in the past are removed.
fn remove_instead(call: &mut Call<'_>, key: &[u8], pairs: &[[&[u8]; 2]], fields: &[&[u8]]) -> Handled {
    let space = call.db.space();
    space.stats.expired_fields += fields.len() as u64;
    let limits = space.limits.clone();
    let is_new = !call.db.contains(key);
    call.db.also(key, HSET);
    if is_new {
        // The hash comes and goes: nothing changes, but it is told.
        call.db.also(key, HDEL);
        call.db.also(key, Event::DEL);
        return done(HDEL);
    }
    let mut hash = call.db.upsert::<Hash>(key)?;
    pairs.iter().for_each(|[field, value]| _ = hash.set(field, value, &limits));
    fields.iter().for_each(|field| _ = hash.remove(field));
    drop(hash);
    propagate_removal(call, key, fields);
    done(HDEL)
}
