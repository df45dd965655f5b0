//! The expiry of fields by itself: HEXPIRE and its kin, HTTL and its kin, HPERSIST.
//!
//! In the log an expiry is always an HPEXPIREAT of the fields it was given to, and a time that is over an HDEL.

use super::HDEL;
use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use crate::generic::ExpireCondition;
use keyspace::{Event, EventClass};
use types::Kind;
use types::hash::{EXPIRY_MS_MAX, Hash};

pub(super) const HEXPIRE: Event = Event::new(EventClass::HASH, "hexpire");
pub(super) const HPERSIST: Event = Event::new(EventClass::HASH, "hpersist");

/// There is no such field.
const NO_FIELD: i64 = -2;
/// The field has no expiry.
const NO_EXPIRY: i64 = -1;
/// A condition did not hold.
const REFUSED: i64 = 0;
/// It was done.
const DONE: i64 = 1;
/// The time is over: the field was removed.
const REMOVED: i64 = 2;

// Arguments.

/// Refuses a key of another type, before anything else is looked at, as Redis does.
pub(super) fn check_type(call: &mut Call<'_>, key: &[u8]) -> Result<(), Error> {
    match call.db.peek(key) {
        Some(entry) if entry.kind() != Kind::Hash => Err(keyspace::WrongType.into()),
        _ => Ok(()),
    }
}

/// The fields behind the word FIELDS at `i` and their count, which `bad_count` complains of.
pub(super) fn fields_at<'a>(
    args: Args<'a>,
    i: usize,
    bad_count: &'static str,
) -> Result<&'a [&'a [u8]], Error> {
    if !args.is(i, "fields") {
        return Err(Error::new("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = args.find(i + 1).and_then(base::number::parse_i64).filter(|count| *count > 0);
    let count = count.ok_or(Error::new(bad_count))?;
    let fields = args.rest(i + 2);
    if fields.len() as i64 != count {
        return Err(Error::new("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(fields)
}

/// What a count of fields that is none is told.
pub(super) const BAD_COUNT: &str = "ERR Number of fields must be a positive integer";

/// The time that argument `i` stands for, Unix milliseconds, counted in `unit_ms` from `from_ms` on.
pub(super) fn time_at(
    args: Args<'_>,
    i: usize,
    unit_ms: i64,
    from_ms: i64,
    command: &str,
) -> Result<i64, Error> {
    let given = args.find(i).and_then(base::number::parse_i64).ok_or(Error::NOT_AN_INTEGER)?;
    if given < 0 {
        return Err(Error::new("ERR invalid expire time, must be >= 0"));
    }
    let at = given.checked_mul(unit_ms).and_then(|ms| ms.checked_add(from_ms));
    at.filter(|at| *at <= EXPIRY_MS_MAX)
        .ok_or_else(|| Error::text(format!("ERR invalid expire time in '{command}' command")))
}

// Setting.

pub(super) fn hexpire(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    expire_at(call, 1000, now, "hexpire")
}

pub(super) fn hpexpire(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    expire_at(call, 1, now, "hpexpire")
}

pub(super) fn hexpireat(call: &mut Call<'_>) -> Handled {
    expire_at(call, 1000, 0, "hexpireat")
}

pub(super) fn hpexpireat(call: &mut Call<'_>) -> Handled {
    expire_at(call, 1, 0, "hpexpireat")
}

fn expire_at(call: &mut Call<'_>, unit_ms: i64, from_ms: i64, command: &str) -> Handled {
    let (key, args) = (call.args.at(1), call.args);
    check_type(call, key)?;
    let at = time_at(args, 2, unit_ms, from_ms, command)?;
    let condition = ExpireCondition::named(args, 3);
    let behind = if condition.is_some() { 4 } else { 3 };
    let fields = fields_at(args, behind, "ERR Parameter `numFields` should be greater than 0")?;
    let over = is_over(call, at);
    call.reply.array(fields.len());
    let mut changed: Vec<&[u8]> = Vec::new();
    if let Some(mut hash) = call.db.find_fields_mut(key, fields)? {
        for field in fields {
            let before = hash.expiry(field);
            let refused = |before| condition.is_some_and(|c| !c.allows(before, at));
            call.reply.integer(match before {
                None => NO_FIELD,
                Some(before) if refused(before) => REFUSED,
                Some(_) => {
                    changed.push(field);
                    give_expiry(&mut hash, field, at, over)
                }
            });
        }
        hash.count(changed.len());
    } else {
        fields.iter().for_each(|_| call.reply.integer(NO_FIELD));
    }
    booked(call, key, at, over, &changed)
}

/// Whether a field with this expiry is to go at once. A log that is replayed says itself when fields go.
pub(super) fn is_over(call: &mut Call<'_>, at: i64) -> bool {
    at <= call.db.now_ms() && !call.db.space().keep_expired
}

fn give_expiry(hash: &mut Hash, field: &[u8], at: i64, over: bool) -> i64 {
    if over {
        hash.remove(field);
        return REMOVED;
    }
    hash.set_expiry(field, Some(at));
    DONE
}

/// Tells the log and the observers what became of the fields `changed`.
pub(super) fn booked(call: &mut Call<'_>, key: &[u8], at: i64, over: bool, changed: &[&[u8]]) -> Handled {
    if changed.is_empty() {
        return read();
    }
    if over {
        call.db.space().stats.expired_fields += changed.len() as u64;
        propagate_removal(call, key, changed);
        return done(HDEL);
    }
    propagate_expiry(call, key, at, changed);
    done(HEXPIRE)
}

/// Gives the log an expiry for some fields.
pub(super) fn propagate_expiry(call: &mut Call<'_>, key: &[u8], at: i64, fields: &[&[u8]]) {
    let (at, count) = (at.to_string(), fields.len().to_string());
    let head: [&[u8]; 5] = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", count.as_bytes()];
    call.propagate(&[&head, fields].concat());
}

/// Gives the log the removal of some fields.
pub(super) fn propagate_removal(call: &mut Call<'_>, key: &[u8], fields: &[&[u8]]) {
    call.propagate(&[&[b"HDEL".as_slice(), key], fields].concat());
}

pub(super) fn hpersist(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    check_type(call, key)?;
    let fields = fields_at(call.args, 2, BAD_COUNT)?;
    let hash = call.db.find_fields_mut(key, fields)?;
    call.reply.array(fields.len());
    let Some(mut hash) = hash else {
        fields.iter().for_each(|_| call.reply.integer(NO_FIELD));
        return read();
    };
    for field in fields {
        call.reply.integer(match hash.expiry(field) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(_)) => {
                hash.set_expiry(field, None);
                DONE
            }
        });
    }
    done(HPERSIST)
}

// Asking.

pub(super) fn httl(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    times(call, &|at| seconds((at - now).max(0)))
}

pub(super) fn hpttl(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    times(call, &|at| (at - now).max(0))
}

pub(super) fn hexpiretime(call: &mut Call<'_>) -> Handled {
    times(call, &seconds)
}

pub(super) fn hpexpiretime(call: &mut Call<'_>) -> Handled {
    times(call, &|at| at)
}

/// Rounded up: a field that lives has time left.
fn seconds(ms: i64) -> i64 {
    (ms + 999) / 1000
}

fn times(call: &mut Call<'_>, of: &dyn Fn(i64) -> i64) -> Handled {
    let key = call.args.at(1);
    // Looked at before the words are read, as in Redis.
    call.db.find::<Hash>(key)?;
    let fields = fields_at(call.args, 2, BAD_COUNT)?;
    let hash = call.db.find_again::<Hash>(key);
    call.reply.array(fields.len());
    for field in fields {
        call.reply.integer(match hash.and_then(|hash| hash.expiry(field)) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => of(at),
        });
    }
    read()
}
