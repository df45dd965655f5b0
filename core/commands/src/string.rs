//! Strings: SET and its relatives, counters, ranges.

mod conditional;
mod lcs;

use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use crate::spec::{Group, Keys, Row};
use base::long_double::LongDouble;
use base::number::{parse_i64, push_i64};
use conditional::Condition;
use keyspace::{Event, EventClass, Text, Ttl};
use resp::Reply;
use types::Entry;
use types::entry::reserve;

const SET: Event = Event::new(EventClass::STRING, "set");
const INCRBY: Event = Event::new(EventClass::STRING, "incrby");
const INCRBYFLOAT: Event = Event::new(EventClass::STRING, "incrbyfloat");
const APPEND: Event = Event::new(EventClass::STRING, "append");
const SETRANGE: Event = Event::new(EventClass::STRING, "setrange");
const EXPIRE: Event = Event::new(EventClass::GENERIC, "expire");
const PERSIST: Event = Event::new(EventClass::GENERIC, "persist");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::String, run)
}

/// The rows of this family.
pub static COMMANDS: &[Row] = &[
    row("append", 3, append).key().grows().fast(),
    row("decr", 2, decr).key().grows().fast(),
    row("decrby", 3, decrby).key().grows().fast(),
    row("delex", -2, conditional::delex).key().write().fast().key_use(conditional::use_of_delex),
    row("delifeq", 3, conditional::delifeq).key().write().fast(),
    row("digest", 2, conditional::digest).key().readonly().fast(),
    row("get", 2, get).key().readonly().fast(),
    row("getdel", 2, getdel).key().write().fast(),
    row("getex", -2, getex).key().write().fast(),
    row("getrange", 4, getrange).key().readonly(),
    row("getset", 3, getset).key().grows().fast(),
    row("incr", 2, incr).key().grows().fast(),
    row("incrby", 3, incrby).key().grows().fast(),
    row("incrbyfloat", 3, incrbyfloat).key().grows().fast(),
    row("lcs", -3, lcs::lcs).keys(1, 2, 1).readonly(),
    row("mget", -2, mget).keys(1, -1, 1).readonly().fast(),
    row("mset", -3, mset).keys(1, -1, 2).grows(),
    row("msetex", -4, conditional::msetex).movable_keys(Keys::CountedPairs { count_at: 1 }).grows(),
    row("msetnx", -3, msetnx).keys(1, -1, 2).grows(),
    row("psetex", 4, psetex).key().grows(),
    row("set", -3, set).key().grows().key_use(use_of_set),
    row("setex", 4, setex).key().grows(),
    row("setnx", 3, setnx).key().grows().fast(),
    row("setrange", 4, setrange).key().grows(),
    row("strlen", 2, strlen).key().readonly().fast(),
    row("substr", 4, getrange).key().readonly(),
];

/// SET reads what it replaces when it is asked for it, or compares it: who may not read a value may not find it out by guessing.
fn use_of_set(argv: &[&[u8]]) -> &'static str {
    let reads = |option: &&[u8]| option.eq_ignore_ascii_case(b"get") || Condition::is_word(option);
    if argv.iter().skip(3).any(reads) { "RW access update" } else { "OW update" }
}

/// Writes a string value, or null.
#[inline]
pub(crate) fn reply_text(reply: &mut Reply<'_>, text: Option<Text<'_>>) {
    match text {
        None => reply.null(),
        Some(Text::Int(value)) => reply.bulk_integer(value),
        Some(Text::Bytes(bytes)) => reply.bulk(bytes),
    }
}

/// What the options of SET and GETEX say about the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Unsaid,
    Keep,
    Persist,
    At(i64),
}

/// Whether `EX n`, `PX n`, `EXAT n` or `PXAT n` stands at `i`, with whatever in place of `n`.
fn is_expiry_option(args: Args<'_>, i: usize) -> bool {
    i + 1 < args.len() && ["ex", "px", "exat", "pxat"].iter().any(|word| args.is(i, word))
}

/// The absolute time that the option at `i` says, Unix milliseconds.
fn expiry_option(args: Args<'_>, i: usize, now_ms: i64, command: &str) -> Result<i64, Error> {
    let unit_ms = if args.is(i, "ex") || args.is(i, "exat") { 1000 } else { 1 };
    let from_ms = if args.is(i, "ex") || args.is(i, "px") { now_ms } else { 0 };
    expiry_at(args.int(i + 1)?, unit_ms, from_ms, command)
}

/// The absolute time of an expiry argument, Unix milliseconds. It must be positive and fit.
fn expiry_at(value: i64, unit_ms: i64, from_ms: i64, command: &str) -> Result<i64, Error> {
    let invalid = || Error::text(format!("ERR invalid expire time in '{command}' command"));
    if value <= 0 {
        return Err(invalid());
    }
    value.checked_mul(unit_ms).and_then(|ms| ms.checked_add(from_ms)).ok_or_else(invalid)
}

#[derive(Debug)]
struct SetOptions<'a> {
    lifetime: Lifetime,
    only_if_absent: bool,
    only_if_present: bool,
    only_if: Option<Condition<'a>>,
    get: bool,
}

/// Reads the options of `command`, which is `set` or `msetex`, from argument `first` on.
fn set_options<'a>(
    args: Args<'a>,
    first: usize,
    now_ms: i64,
    command: &str,
) -> Result<SetOptions<'a>, Error> {
    let mut options = SetOptions {
        lifetime: Lifetime::Unsaid,
        only_if_absent: false,
        only_if_present: false,
        only_if: None,
        get: false,
    };
    let (mut i, mut expiry) = (first, None);
    let one = command == "set";
    while i < args.len() {
        let compares = options.only_if.is_some();
        if args.is(i, "nx") && !options.only_if_present && !compares {
            options.only_if_absent = true;
        } else if args.is(i, "xx") && !options.only_if_absent && !compares {
            options.only_if_present = true;
        } else if one && args.is(i, "get") {
            options.get = true;
        } else if args.is(i, "keepttl") && expiry.is_none() {
            options.lifetime = Lifetime::Keep;
        } else if options.lifetime == Lifetime::Unsaid
            && is_expiry_option(args, i)
            // The same word again is allowed; the last one counts.
            && expiry.is_none_or(|before| args.at(i).eq_ignore_ascii_case(args.at(before)))
        {
            expiry = Some(i);
            i += 1;
        } else if one
            && !(compares || options.only_if_absent || options.only_if_present)
            && let Some(condition) = Condition::at(args, i)
        {
            options.only_if = Some(condition);
            i += 1;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    // Only now: a wrong word behind it is told before a wrong time.
    if let Some(i) = expiry {
        options.lifetime = Lifetime::At(expiry_option(args, i, now_ms, command)?);
    }
    Ok(options)
}

fn set(call: &mut Call<'_>) -> Handled {
    let (key, value) = (call.args.at(1), call.args.at(2));
    if call.args.len() == 3 {
        call.db.put_text(key, value, Ttl::Clear);
        call.reply.ok();
        return done(SET);
    }
    let options = set_options(call.args, 3, call.db.now_ms(), "set")?;
    let refused = match options.only_if {
        Some(condition) => !condition.allows_setting(call, key)?,
        None => false,
    };
    if options.get {
        let before = call.db.text(key)?;
        reply_text(&mut call.reply, before);
    }
    let blocked = refused
        || (options.only_if_absent || options.only_if_present)
            && call.db.entry_to_write(key).is_some() != options.only_if_present;
    if blocked {
        if !options.get {
            call.reply.null();
        }
        return read();
    }
    match options.lifetime {
        Lifetime::At(at) => put_expiring(call, key, value, at),
        Lifetime::Keep => call.db.put_text(key, value, Ttl::Keep),
        Lifetime::Unsaid | Lifetime::Persist => call.db.put_text(key, value, Ttl::Clear),
    }
    if options.only_if.is_some() && !matches!(options.lifetime, Lifetime::At(_)) {
        // Said again, the condition would not hold; and not every server knows it.
        let keep = [b"KEEPTTL".as_slice()];
        let keep = if options.lifetime == Lifetime::Keep { &keep[..] } else { &[] };
        call.propagate(&[&[b"SET", key, value], keep].concat());
    }
    if !options.get {
        call.reply.ok();
    }
    done(SET)
}

/// Sets a value that lives until `at` and tells the log the absolute time.
fn put_expiring(call: &mut Call<'_>, key: &[u8], value: &[u8], at: i64) {
    call.db.put_text(key, value, Ttl::At(at));
    call.db.also(key, EXPIRE);
    call.propagate(&[b"SET", key, value, b"PXAT", itoa(at).as_slice()]);
}

fn itoa(value: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    push_i64(&mut out, value);
    out
}

fn get(call: &mut Call<'_>) -> Handled {
    let text = call.db.text(call.args.at(1))?;
    reply_text(&mut call.reply, text);
    read()
}

fn getset(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let before = call.db.text(key)?;
    reply_text(&mut call.reply, before);
    call.db.put_text(key, call.args.at(2), Ttl::Clear);
    call.propagate(&[b"SET", key, call.args.at(2)]);
    done(SET)
}

fn getdel(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let text = call.db.text(key)?;
    let found = text.is_some();
    reply_text(&mut call.reply, text);
    if found {
        call.db.remove(key);
        call.propagate(&[b"DEL", key]);
    }
    done(Event::DEL)
}

fn getex(call: &mut Call<'_>) -> Handled {
    let (key, now) = (call.args.at(1), call.db.now_ms());
    check_getex(call.args)?;
    let text = call.db.text(key)?;
    let found = text.is_some();
    let lifetime = match call.args.len() {
        3.. if call.args.is(2, "persist") => Lifetime::Persist,
        4.. if found => Lifetime::At(expiry_option(call.args, call.args.len() - 2, now, "getex")?),
        _ => Lifetime::Unsaid,
    };
    reply_text(&mut call.reply, text);
    match lifetime {
        Lifetime::At(at) if at <= now => {
            call.db.remove(key);
            call.propagate(&[b"DEL", key]);
            done(Event::DEL)
        }
        Lifetime::At(at) => {
            call.db.set_expiry(key, Some(at));
            call.propagate(&[b"PEXPIREAT", key, itoa(at).as_slice()]);
            done(EXPIRE)
        }
        Lifetime::Persist if call.db.peek(key).is_some_and(|e| e.expiry().is_some()) => {
            call.db.set_expiry(key, None);
            call.propagate(&[b"PERSIST", key]);
            done(PERSIST)
        }
        _ => read(),
    }
}

/// Whether the words of GETEX are right; their time is looked at when the key is there. As in Redis, the one option may be given
/// again and again, and the last one holds.
fn check_getex(args: Args<'_>) -> Result<(), Error> {
    let is_same = |i: usize| args.at(i).eq_ignore_ascii_case(args.at(2));
    let times = || {
        args.len().is_multiple_of(2) && is_expiry_option(args, 2) && (2..args.len()).step_by(2).all(is_same)
    };
    match args.len() {
        2 => Ok(()),
        _ if (2..args.len()).all(|i| args.is(i, "persist")) || times() => Ok(()),
        _ => Err(Error::SYNTAX),
    }
}

fn setnx(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let absent = call.db.entry_to_write(key).is_none();
    if absent {
        call.db.put_text(key, call.args.at(2), Ttl::Clear);
    }
    call.reply.integer(i64::from(absent));
    done(SET)
}

fn setex(call: &mut Call<'_>) -> Handled {
    set_with_unit(call, 1000, "setex")
}

fn psetex(call: &mut Call<'_>) -> Handled {
    set_with_unit(call, 1, "psetex")
}

fn set_with_unit(call: &mut Call<'_>, unit_ms: i64, command: &str) -> Handled {
    let at = expiry_at(call.args.int(2)?, unit_ms, call.db.now_ms(), command)?;
    put_expiring(call, call.args.at(1), call.args.at(3), at);
    call.reply.ok();
    done(SET)
}

fn mget(call: &mut Call<'_>) -> Handled {
    let keys = call.args.rest(1);
    call.reply.array(keys.len());
    for key in keys {
        let text = call.db.text(key).unwrap_or(None);
        reply_text(&mut call.reply, text);
    }
    read()
}

fn pairs<'a>(args: Args<'a>, command: &str) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::arity(command));
    }
    Ok(args.rest(1).chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn mset(call: &mut Call<'_>) -> Handled {
    for (key, value) in pairs(call.args, "mset")? {
        call.db.put_text(key, value, Ttl::Clear);
    }
    call.reply.ok();
    done(SET)
}

fn msetnx(call: &mut Call<'_>) -> Handled {
    for (key, _) in pairs(call.args, "msetnx")? {
        if call.db.entry_to_write(key).is_some() {
            call.reply.integer(0);
            return read();
        }
    }
    for (key, value) in pairs(call.args, "msetnx")? {
        call.db.put_text(key, value, Ttl::Clear);
    }
    call.reply.integer(1);
    done(SET)
}

fn strlen(call: &mut Call<'_>) -> Handled {
    let len = call.db.text(call.args.at(1))?.map_or(0, |t| t.len());
    call.reply.count(len);
    read()
}

fn append(call: &mut Call<'_>) -> Handled {
    let (key, tail) = (call.args.at(1), call.args.at(2));
    let Some(before) = call.db.text_to_write(key)?.map(|t| t.len()) else {
        check_length(call, 0, tail.len())?;
        call.db.put_text(key, tail, Ttl::Clear);
        call.reply.count(tail.len());
        return done(APPEND);
    };
    check_length(call, before, tail.len())?;
    let len = {
        let mut text = call.db.edit_text(key)?;
        let bytes = text.bytes();
        reserve(bytes, tail.len());
        bytes.extend_from_slice(tail);
        bytes.len()
    };
    call.reply.count(len);
    done(APPEND)
}

/// Lengthens a string by zeros to `len` bytes, if it is shorter. A new one gets no room ahead: it may be all that there will be.
pub(crate) fn lengthen(bytes: &mut Vec<u8>, len: usize) {
    match len.saturating_sub(bytes.len()) {
        0 => return,
        more if bytes.is_empty() => bytes.reserve_exact(more),
        more => reserve(bytes, more),
    }
    bytes.resize(len, 0);
}

fn check_length(call: &mut Call<'_>, offset: usize, more: usize) -> Result<(), Error> {
    if offset.saturating_add(more) > call.db.space().limits.string_bytes {
        Err(Error::TOO_LONG)
    } else {
        Ok(())
    }
}

fn setrange(call: &mut Call<'_>) -> Handled {
    let (key, patch) = (call.args.at(1), call.args.at(3));
    let offset = call.args.int(2)?;
    let offset = usize::try_from(offset).map_err(|_| Error::new("ERR offset is out of range"))?;
    let before = call.db.text_to_write(key)?.map_or(0, |t| t.len());
    if patch.is_empty() {
        call.reply.count(before);
        return read();
    }
    check_length(call, offset, patch.len())?;
    let len = {
        let mut text = call.db.edit_text(key)?;
        let bytes = text.bytes();
        lengthen(bytes, offset + patch.len());
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        bytes.len()
    };
    call.reply.count(len);
    done(SETRANGE)
}

fn getrange(call: &mut Call<'_>) -> Handled {
    let (start, end) = (call.args.int(2)?, call.args.int(3)?);
    let Some(text) = call.db.text(call.args.at(1))? else {
        call.reply.bulk(b"");
        return read();
    };
    let printed;
    let bytes = match text {
        Text::Bytes(bytes) => bytes,
        Text::Int(_) => {
            printed = text.to_vec();
            &printed
        }
    };
    call.reply.bulk(byte_range(bytes, start, end));
    read()
}

/// The bytes from `start` to `end` inclusive, negative offsets counting from the end.
fn byte_range(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let clamp = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (clamp(start), clamp(end).min(len - 1));
    if start > end || len == 0 { &[] } else { &bytes[start as usize..=end as usize] }
}

fn incr(call: &mut Call<'_>) -> Handled {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Handled {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Handled {
    let by = call.args.int(2)?;
    add(call, by)
}

fn decrby(call: &mut Call<'_>) -> Handled {
    let by = call.args.int(2)?;
    let by = by.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?;
    add(call, by)
}

fn add(call: &mut Call<'_>, by: i64) -> Handled {
    let key = call.args.at(1);
    let before = match call.db.text_to_write(key)? {
        None => 0,
        Some(Text::Int(value)) => value,
        Some(Text::Bytes(bytes)) => parse_i64(bytes).ok_or(Error::NOT_AN_INTEGER)?,
    };
    let after = before.checked_add(by).ok_or(Error::OVERFLOW)?;
    call.db.put_int(key, after);
    call.reply.integer(after);
    done(INCRBY)
}

fn incrbyfloat(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let before = match call.db.text_to_write(key)? {
        None => LongDouble::ZERO,
        Some(Text::Int(value)) => LongDouble::from(value),
        Some(Text::Bytes(bytes)) => LongDouble::parse(bytes).ok_or(Error::NOT_A_FLOAT)?,
    };
    let by = LongDouble::parse(call.args.at(2)).ok_or(Error::NOT_A_FLOAT)?;
    let text = float_sum(before, by)?;
    let expiry = call.db.peek(key).and_then(|entry| entry.expiry());
    call.db.put_revised(Entry::printed(key, text.as_bytes(), expiry));
    call.propagate(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    call.reply.bulk(text.as_bytes());
    done(INCRBYFLOAT)
}

/// The sum as the increments by a float store it.
pub(crate) fn float_sum(before: LongDouble, by: LongDouble) -> Result<String, Error> {
    let after = before.plus(by).filter(|sum| sum.is_finite());
    Ok(after.ok_or(Error::new("ERR increment would produce NaN or Infinity"))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::ask;
    use keyspace::{Db, Keyspace};
    use resp::Protocol;

    #[test]
    fn ranges_of_bytes() {
        for (start, end, want) in [
            (0, 3, "This"),
            (-3, -1, "ing"),
            (0, -1, "This is a string"),
            (10, 100, "string"),
            (5, 3, ""),
            (-1, -5, ""),
            (-100, 3, "This"),
        ] {
            assert_eq!(byte_range(b"This is a string", start, end), want.as_bytes(), "{start} {end}");
        }
        assert_eq!(byte_range(b"", 0, -1), b"");
    }

    #[test]
    fn a_long_string_grows_by_no_more_than_a_megabyte_ahead() {
        const LEN: usize = 8 << 20;
        let rows: Vec<Row> = COMMANDS.iter().chain(crate::bitmap::COMMANDS).copied().collect();
        for line in
            ["APPEND k x", "SETRANGE k 8388608 x", "SETBIT k 67108864 1", "BITFIELD k SET u8 67108864 1"]
        {
            let mut space = Keyspace::new(1, 7);
            ask(&rows, &mut space, Protocol::Resp2, &format!("SET k {}", "x".repeat(LEN)));
            ask(&rows, &mut space, Protocol::Resp2, line);
            let mut db = Db::new(&mut space, 0);
            let entry = db.entry_to_write(b"k").unwrap();
            assert_eq!(entry.text().unwrap().len(), LEN + 1, "{line}");
            // Up to what the allocator gives in one piece.
            assert!(entry.heap_bytes() < LEN + LEN / 3, "{line}: {} bytes", entry.heap_bytes());
        }
    }
}
