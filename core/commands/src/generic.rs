//! Commands on keys of any type: existence, expiry, names, iteration, DUMP and RESTORE.

use crate::call::{Args, Call, Handled, LOGGED_ELEMENTS_MAX, done, help, read};
use crate::error::Error;
use crate::scan;
use crate::spec::{Flags, Group, Keys, Row};
use core::ops::Range;
use keyspace::{Cause, Event, EventClass};
use types::{Entry, Kind, View};

const EXPIRE: Event = Event::new(EventClass::GENERIC, "expire");
const PERSIST: Event = Event::new(EventClass::GENERIC, "persist");
const RENAME_FROM: Event = Event::new(EventClass::GENERIC, "rename_from");
const RENAME_TO: Event = Event::new(EventClass::GENERIC, "rename_to");
const MOVE_FROM: Event = Event::new(EventClass::GENERIC, "move_from");
const MOVE_TO: Event = Event::new(EventClass::GENERIC, "move_to");
const COPY_TO: Event = Event::new(EventClass::GENERIC, "copy_to");
const RESTORE: Event = Event::new(EventClass::GENERIC, "restore");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Generic, run)
}

/// SORT belongs to the families whose values it sorts.
const SORTED: &[&str] = &["list", "set", "sortedset"];

/// The rows of this family.
pub static COMMANDS: &[Row] = &[
    row("copy", -3, copy).keys(1, 2, 1).grows(),
    row("dbsize", 1, dbsize).readonly().fast(),
    row("del", -2, del).keys(1, -1, 1).write(),
    row("dump", 2, dump).key().readonly(),
    row("exists", -2, exists).keys(1, -1, 1).readonly().fast(),
    row("expire", -3, expire).key().write().fast(),
    row("expireat", -3, expireat).key().write().fast(),
    row("expiretime", 2, expiretime).key().readonly().fast(),
    row("flushall", -1, flushall).write().flags(Flags::DANGEROUS),
    row("flushdb", -1, flushdb).write().flags(Flags::DANGEROUS),
    row("keys", 2, keys).readonly().flags(Flags::DANGEROUS),
    row("move", 3, move_key).key().write().fast(),
    row("object", -2, object).subcommands(&[
        row("object|encoding", 3, object_encoding).keys(2, 2, 1).readonly(),
        row("object|freq", 3, object_freq).keys(2, 2, 1).readonly(),
        row("object|help", 2, object_help).flags(Flags::LOADING.and(Flags::STALE)),
        row("object|idletime", 3, object_idletime).keys(2, 2, 1).readonly(),
        row("object|refcount", 3, object_refcount).keys(2, 2, 1).readonly(),
    ]),
    row("persist", 2, persist).key().write().fast(),
    row("pexpire", -3, pexpire).key().write().fast(),
    row("pexpireat", -3, pexpireat).key().write().fast(),
    row("pexpiretime", 2, pexpiretime).key().readonly().fast(),
    row("pttl", 2, pttl).key().readonly().fast(),
    row("randomkey", 1, randomkey).readonly(),
    row("rename", 3, rename).keys(1, 2, 1).write(),
    row("renamenx", 3, renamenx).keys(1, 2, 1).write().fast(),
    row("restore", -4, restore).key().grows().flags(Flags::DANGEROUS),
    row("restore-asking", -4, restore).key().grows().flags(Flags::DANGEROUS.and(Flags::ASKING)),
    row("scan", -2, scan_keys).readonly(),
    Row::new("sort", -2, Group::Server, sort as crate::Handler)
        .also(SORTED)
        .movable_keys(Keys::FirstAndStore)
        .grows()
        .flags(Flags::DANGEROUS.and(Flags::BY_PATTERN)),
    Row::new("sort_ro", -2, Group::Server, sort_ro as crate::Handler)
        .also(SORTED)
        .movable_keys(Keys::Range { first: 1, last: 1, step: 1 })
        .readonly()
        .flags(Flags::DANGEROUS.and(Flags::BY_PATTERN)),
    row("swapdb", 3, swapdb).write().fast().flags(Flags::DANGEROUS),
    row("touch", -2, touch).keys(1, -1, 1).readonly().fast(),
    row("ttl", 2, ttl).key().readonly().fast(),
    row("type", 2, type_of).key().readonly().fast(),
    row("unlink", -2, del).keys(1, -1, 1).write().fast(),
];

fn del(call: &mut Call<'_>) -> Handled {
    let mut removed = 0;
    for key in call.args.rest(1) {
        removed += i64::from(call.db.remove(key));
    }
    call.reply.integer(removed);
    done(Event::DEL)
}

fn exists(call: &mut Call<'_>) -> Handled {
    let count = call.args.rest(1).iter().filter(|key| call.db.ask(key).is_some()).count();
    call.reply.count(count);
    read()
}

fn touch(call: &mut Call<'_>) -> Handled {
    // Who says TOUCH means it, also under CLIENT NO-TOUCH.
    call.db.space().no_touch = false;
    let count = call.args.rest(1).iter().filter(|key| call.db.entry(key).is_some()).count();
    call.reply.count(count);
    read()
}

fn type_of(call: &mut Call<'_>) -> Handled {
    let name = call.db.ask(call.args.at(1)).map_or("none", |e| e.kind().name());
    call.reply.status(name);
    read()
}

fn dbsize(call: &mut Call<'_>) -> Handled {
    call.reply.count(call.db.len());
    read()
}

// Expiry.

fn expire(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    expire_at(call, 1000, now, "expire")
}

fn pexpire(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    expire_at(call, 1, now, "pexpire")
}

fn expireat(call: &mut Call<'_>) -> Handled {
    expire_at(call, 1000, 0, "expireat")
}

fn pexpireat(call: &mut Call<'_>) -> Handled {
    expire_at(call, 1, 0, "pexpireat")
}

/// When EXPIRE's options let the new time pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExpireCondition {
    without: bool,
    with: bool,
    later: bool,
    sooner: bool,
}

impl ExpireCondition {
    fn parse(call: &Call<'_>) -> Result<ExpireCondition, Error> {
        let mut c = ExpireCondition::default();
        for (i, word) in call.args.rest(3).iter().enumerate() {
            match () {
                () if call.args.is(i + 3, "nx") => c.without = true,
                () if call.args.is(i + 3, "xx") => c.with = true,
                () if call.args.is(i + 3, "gt") => c.later = true,
                () if call.args.is(i + 3, "lt") => c.sooner = true,
                () => {
                    return Err(Error::quoting("ERR Unsupported option {}", &[word]));
                }
            }
        }
        if c.without && (c.with || c.later || c.sooner) {
            return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if c.later && c.sooner {
            return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    /// The condition that a single word stands for.
    pub(crate) fn named(args: Args<'_>, i: usize) -> Option<ExpireCondition> {
        let mut c = ExpireCondition::default();
        match () {
            () if args.is(i, "nx") => c.without = true,
            () if args.is(i, "xx") => c.with = true,
            () if args.is(i, "gt") => c.later = true,
            () if args.is(i, "lt") => c.sooner = true,
            () => return None,
        }
        Some(c)
    }

    /// Whether `at` may take the place of `before` (`None`: never).
    pub(crate) fn allows(self, before: Option<i64>, at: i64) -> bool {
        !(self.without && before.is_some()
            || self.with && before.is_none()
            || self.later && before.is_none_or(|b| at <= b)
            || self.sooner && before.is_some_and(|b| at >= b))
    }
}

fn expire_at(call: &mut Call<'_>, unit_ms: i64, from_ms: i64, command: &str) -> Handled {
    let key = call.args.at(1);
    let condition = ExpireCondition::parse(call)?;
    let invalid = || Error::text(format!("ERR invalid expire time in '{command}' command"));
    let at =
        call.args.int(2)?.checked_mul(unit_ms).and_then(|ms| ms.checked_add(from_ms)).ok_or_else(invalid)?;
    let Some(before) = call.db.entry_to_write(key).map(|e| e.expiry()) else {
        call.reply.integer(0);
        return read();
    };
    if !condition.allows(before, at) {
        call.reply.integer(0);
        return read();
    }
    call.reply.integer(1);
    // While a log is loaded nothing expires: what follows in it was written to the key as it was.
    if at <= call.db.now_ms() && !call.db.space().keep_expired {
        call.db.remove(key);
        call.propagate(&[b"DEL", key]);
        return done(Event::DEL);
    }
    call.db.set_expiry(key, Some(at));
    call.propagate(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    done(EXPIRE)
}

fn persist(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let expiring = call.db.entry_to_write(key).is_some_and(|e| e.expiry().is_some());
    if expiring {
        call.db.set_expiry(key, None);
    }
    call.reply.integer(i64::from(expiring));
    done(PERSIST)
}

fn ttl(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    time_left(call, &|at| (at - now).max(0).saturating_add(500) / 1000)
}

fn pttl(call: &mut Call<'_>) -> Handled {
    let now = call.db.now_ms();
    time_left(call, &|at| (at - now).max(0))
}

fn expiretime(call: &mut Call<'_>) -> Handled {
    time_left(call, &|at| ((i128::from(at) + 500) / 1000) as i64)
}

fn pexpiretime(call: &mut Call<'_>) -> Handled {
    time_left(call, &|at| at)
}

fn time_left(call: &mut Call<'_>, of: &dyn Fn(i64) -> i64) -> Handled {
    let value = match call.db.ask(call.args.at(1)).map(|e| e.expiry()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => of(at),
    };
    call.reply.integer(value);
    read()
}

// Names.

fn rename(call: &mut Call<'_>) -> Handled {
    rename_unless(call, false)
}

fn renamenx(call: &mut Call<'_>) -> Handled {
    rename_unless(call, true)
}

fn rename_unless(call: &mut Call<'_>, only_if_absent: bool) -> Handled {
    let (from, to) = (call.args.at(1), call.args.at(2));
    if call.db.entry_to_write(from).is_none() {
        return Err(Error::NO_SUCH_KEY);
    }
    let taken = call.db.entry_to_write(to).is_some(); // a target whose time is over goes first
    if from == to || only_if_absent && taken {
        if only_if_absent {
            call.reply.integer(0)
        } else {
            call.reply.ok()
        }
        return read();
    }
    call.db.announce_anew(to);
    if let Some(entry) = call.db.take(from, Cause::Named(RENAME_FROM)) {
        call.db.put_used(entry.renamed(to));
    }
    if only_if_absent {
        call.reply.integer(1)
    } else {
        call.reply.ok()
    }
    done(RENAME_TO)
}

fn database_index(call: &mut Call<'_>, i: usize) -> Result<usize, Error> {
    let count = call.db.space().database_count();
    let index = call.args.int32(i)?;
    usize::try_from(index).ok().filter(|i| *i < count).ok_or(Error::new("ERR DB index is out of range"))
}

fn move_key(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let target = database_index(call, 2)?;
    if target == call.db.index() {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    if call.db.entry_to_write(key).is_none() || call.db.other(target).entry_to_write(key).is_some() {
        call.reply.integer(0);
        return read();
    }
    call.db.other(target).announce(key);
    if let Some(entry) = call.db.take(key, Cause::Named(MOVE_FROM)) {
        call.db.other(target).put_used(entry);
    }
    call.reply.integer(1);
    done(MOVE_TO)
}

fn copy(call: &mut Call<'_>) -> Handled {
    let (from, to) = (call.args.at(1), call.args.at(2));
    let (mut target, mut replace, mut i) = (call.db.index(), false, 3);
    while i < call.args.len() {
        if call.args.is(i, "replace") {
            replace = true;
        } else if call.args.is(i, "db") && i + 1 < call.args.len() {
            target = database_index(call, i + 1)?;
            i += 1;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    if target == call.db.index() && from == to {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    let Some(mut entry) = call.db.entry(from).map(|e| e.clone().renamed(to)) else {
        call.reply.integer(0);
        return read();
    };
    let mut there = call.db.other(target);
    if there.entry_to_write(to).is_some() && !replace {
        call.reply.integer(0);
        return read();
    }
    let fresh = there.space().fresh_access();
    entry.set_access(fresh);
    there.put_used(entry);
    call.reply.integer(1);
    done(COPY_TO)
}

// Iteration.

fn randomkey(call: &mut Call<'_>) -> Handled {
    match call.db.random_key() {
        Some(key) => call.reply.bulk(&key),
        None => call.reply.null(),
    }
    read()
}

fn keys(call: &mut Call<'_>) -> Handled {
    let pattern = call.args.at(1);
    let all = pattern == b"*";
    let mut work = base::glob::Work::default();
    let mut fits = |key: &[u8]| all || base::glob::matches_within(&mut work, pattern, key, false);
    let found: Vec<&[u8]> = call.db.iter().map(|e| e.key()).filter(|key| fits(key)).collect();
    call.reply.bulks(&found);
    read()
}

fn scan_keys(call: &mut Call<'_>) -> Handled {
    let mut cursor = scan::cursor(call.args.at(1))?;
    let options = scan::options(call.args, 2, scan::Walked::Keys)?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    let (mut seen, mut steps, mut key_bytes) = (0, 0, 0);
    let enough_bytes = scan::key_bytes_max(options.pattern);
    loop {
        cursor = call.db.scan(cursor, &mut |entry| {
            seen += 1;
            key_bytes += entry.key().len();
            if options.kind.is_none_or(|kind| kind == Some(entry.kind())) && options.matches(entry.key()) {
                found.push(entry.key().to_vec());
            }
        });
        steps += 1;
        // As in Redis, a sparse table is not walked for ever to find COUNT elements.
        let is_enough = seen >= options.count || key_bytes >= enough_bytes;
        if cursor == 0 || is_enough || steps >= options.count.saturating_mul(10) {
            break;
        }
    }
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.bulks(&found);
    read()
}

// Whole databases.

fn flush_options(call: &Call<'_>) -> Result<(), Error> {
    match call.args.len() {
        1 => Ok(()),
        2 if call.args.is(1, "async") || call.args.is(1, "sync") => Ok(()),
        _ => Err(Error::SYNTAX),
    }
}

fn flushdb(call: &mut Call<'_>) -> Handled {
    flush_options(call)?;
    let index = call.db.index();
    flush(call, index..index + 1);
    call.propagate(&[b"FLUSHDB"]);
    read()
}

fn flushall(call: &mut Call<'_>) -> Handled {
    flush_options(call)?;
    let count = call.db.space().database_count();
    flush(call, 0..count);
    call.db.space().flushed_all = true;
    call.propagate(&[b"FLUSHALL"]);
    read()
}

fn flush(call: &mut Call<'_>, databases: core::ops::Range<usize>) {
    for index in databases {
        call.db.space().flush(index);
    }
    call.db.space().effects.changes += 1;
    call.reply.ok();
}

fn swapdb(call: &mut Call<'_>) -> Handled {
    for (i, which) in [(1, "first"), (2, "second")] {
        call.args.int32(i).map_err(|_| Error::text(format!("ERR invalid {which} DB index")))?;
    }
    let first = database_index(call, 1)?;
    let second = database_index(call, 2)?;
    if first != second {
        let space = call.db.space();
        space.swap(first, second);
        space.effects.changes += 1;
        space.effects.dirty += 1;
    }
    call.reply.ok();
    read()
}

// OBJECT.

fn object(call: &mut Call<'_>) -> Handled {
    Err(crate::call::unknown_subcommand(call.args, "OBJECT"))
}

fn object_help(call: &mut Call<'_>) -> Handled {
    help(call, "object")
}

fn object_encoding(call: &mut Call<'_>) -> Handled {
    match call.db.inspect(call.args.at(2)) {
        Some(entry) => call.reply.bulk(entry.encoding_name().as_bytes()),
        None => call.reply.null(),
    }
    read()
}

fn object_refcount(call: &mut Call<'_>) -> Handled {
    const SHARED_MAX: i64 = 9_999;
    let shares = call.db.space().tells_shared_integers;
    match call.db.inspect(call.args.at(2)).map(Entry::view) {
        None => call.reply.null(),
        // What Redis tells of the integers that it keeps once for all keys.
        Some(View::Int(0..=SHARED_MAX)) if shares => call.reply.integer(i64::from(i32::MAX)),
        Some(_) => call.reply.integer(1),
    }
    read()
}

fn object_idletime(call: &mut Call<'_>) -> Handled {
    let (ranking, now) = (call.db.space().ranking(), call.db.now_ms());
    let Some(access) = call.db.inspect(call.args.at(2)).map(|e| e.access()) else {
        call.reply.null();
        return read();
    };
    if ranking != keyspace::Ranking::Recency {
        return Err(Error::new(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    call.reply.integer(i64::from(ranking.idle_seconds(access, now)));
    read()
}

fn object_freq(call: &mut Call<'_>) -> Handled {
    let (ranking, now) = (call.db.space().ranking(), call.db.now_ms());
    let Some(access) = call.db.inspect(call.args.at(2)).map(|e| e.access()) else {
        call.reply.null();
        return read();
    };
    if ranking == keyspace::Ranking::Recency {
        return Err(Error::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    call.reply.integer(i64::from(ranking.frequency(access, now)));
    read()
}

// DUMP and RESTORE.

fn dump(call: &mut Call<'_>) -> Handled {
    match call.db.entry(call.args.at(1)).map(keyspace::encode_dump) {
        Some(payload) => call.reply.bulk(&payload),
        None => call.reply.null(),
    }
    read()
}

#[derive(Debug, Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle: Option<i64>,
    freq: Option<i64>,
}

fn restore_options(call: &Call<'_>) -> Result<RestoreOptions, Error> {
    let mut options = RestoreOptions::default();
    let mut i = 4;
    while i < call.args.len() {
        let has_value = i + 1 < call.args.len();
        if call.args.is(i, "replace") {
            options.replace = true;
        } else if call.args.is(i, "absttl") {
            options.absolute = true;
        } else if call.args.is(i, "idletime") && has_value && options.freq.is_none() {
            let idle = call.args.int(i + 1)?;
            options.idle = Some(idle).filter(|n| *n >= 0);
            options.idle.ok_or(Error::new("ERR Invalid IDLETIME value, must be >= 0"))?;
            i += 1;
        } else if call.args.is(i, "freq") && has_value && options.idle.is_none() {
            let freq = call.args.int(i + 1)?;
            options.freq = Some(freq).filter(|n| (0..=255).contains(n));
            options.freq.ok_or(Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
            i += 1;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    Ok(options)
}

fn restore(call: &mut Call<'_>) -> Handled {
    let options = restore_options(call)?;
    let (key, now) = (call.args.at(1), call.db.now_ms());
    if !options.replace && call.db.entry_to_write(key).is_some() {
        return Err(Error::new("BUSYKEY Target key name already exists."));
    }
    let ttl = call.args.int(2)?;
    if ttl < 0 {
        return Err(Error::new("ERR Invalid TTL value, must be >= 0"));
    }
    let space = call.db.space();
    space.stats.payload_checks += 1;
    let mut entry = keyspace::decode_dump(space, key, call.args.at(3))?;
    let at = match ttl {
        0 => None,
        ms if options.absolute => Some(ms),
        ms => Some(
            ms.checked_add(now).ok_or_else(|| Error::new("ERR invalid expire time in 'restore' command"))?,
        ),
    };
    call.reply.ok();
    // A log that is replayed says itself when the key goes: until then others may have given it more time.
    if at.is_some_and(|at| at <= now) && !call.db.space().keep_expired {
        if call.db.remove(key) {
            call.propagate(&[b"DEL", key]);
        }
        return done(Event::DEL);
    }
    entry.set_expiry(at);
    let ranking = call.db.space().ranking();
    let aged = options.idle.and_then(|idle| ranking.aged(idle.unsigned_abs(), now));
    let frequent = options.freq.and_then(|freq| ranking.frequent(freq as u8, now));
    let fresh = call.db.space().fresh_access();
    entry.set_access(aged.or(frequent).unwrap_or(fresh));
    call.db.put_used(entry);
    if let Some(at) = at.map(|at| at.to_string()) {
        let mut argv = call.args.all().to_vec();
        argv[2] = at.as_bytes();
        if !options.absolute {
            argv.push(b"ABSTTL");
        }
        call.propagate(&argv);
    }
    done(RESTORE)
}

// SORT.

fn sort(call: &mut Call<'_>) -> Handled {
    sort_with(call, true)
}

fn sort_ro(call: &mut Call<'_>) -> Handled {
    sort_with(call, false)
}

#[derive(Debug, Default)]
struct SortOptions<'a> {
    descending: bool,
    alpha: bool,
    limit: Option<(i64, i64)>,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

fn sort_options<'a>(call: &Call<'a>, may_store: bool) -> Result<SortOptions<'a>, Error> {
    let args = call.args;
    let mut options = SortOptions::default();
    let mut i = 2;
    while i < args.len() {
        let left = args.len() - i - 1;
        match () {
            () if args.is(i, "asc") => options.descending = false,
            () if args.is(i, "desc") => options.descending = true,
            () if args.is(i, "alpha") => options.alpha = true,
            () if args.is(i, "limit") && left >= 2 => {
                options.limit = Some((args.int(i + 1)?, args.int(i + 2)?));
                i += 2;
            }
            () if args.is(i, "by") && left >= 1 => {
                options.by = Some(args.at(i + 1));
                i += 1;
            }
            () if args.is(i, "get") && left >= 1 => {
                options.get.push(args.at(i + 1));
                i += 1;
            }
            () if may_store && args.is(i, "store") && left >= 1 => {
                options.store = Some(args.at(i + 1));
                i += 1;
            }
            () => return Err(Error::SYNTAX),
        }
        i += 1;
    }
    Ok(options)
}

/// The value that a BY or GET pattern names for `element`: `*` replaced, `->field` looked up in a hash.
fn looked_up(call: &mut Call<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|c| *c == b'*')?;
    let arrow = pattern
        .windows(2)
        .skip(star)
        .position(|w| w == b"->")
        .map(|at| at + star)
        .filter(|at| at + 2 < pattern.len());
    let tail = &pattern[star + 1..arrow.unwrap_or(pattern.len())];
    let key = [&pattern[..star], element, tail].concat();
    match arrow {
        Some(at) => crate::hash::field_value(&mut call.db, &key, &pattern[at + 2..]),
        None => call.db.text(&key).ok()?.map(|t| t.to_vec()),
    }
}

/// What an element is ordered by.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

impl SortOptions<'_> {
    /// The places of the elements that LIMIT leaves.
    fn places(&self) -> Range<usize> {
        let Some((offset, count)) = self.limit else { return 0..usize::MAX };
        let start = usize::try_from(offset).unwrap_or(0);
        start..usize::try_from(count).map_or(usize::MAX, |count| start.saturating_add(count))
    }
}

/// The elements at `places` of the order that the value has, which `descending` turns round unless it is a set's: of a list or a sorted
/// set no others are visited.
fn sort_elements(
    call: &mut Call<'_>,
    key: &[u8],
    places: Range<usize>,
    descending: bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let Some(entry) = call.db.entry(key) else { return Ok(Vec::new()) };
    let elements = match entry.kind() {
        Kind::List => entry.get().map(|list| crate::list::elements(list, places, descending)),
        Kind::Set => entry.get().map(|set| crate::set::elements(set, places)),
        Kind::ZSet => entry.get().map(|set| crate::zset::elements(set, places, descending)),
        _ => None,
    };
    elements.ok_or(Error::WRONG_TYPE)
}

fn sort_with(call: &mut Call<'_>, may_store: bool) -> Handled {
    let options = sort_options(call, may_store)?;
    let key = call.args.at(1);
    let is_set = call.db.peek(key).is_some_and(|e| e.kind() == Kind::Set);
    let unsorted = options.by.is_some_and(|pattern| !pattern.contains(&b'*'));
    let elements = if !unsorted || is_set && (options.store.is_some() || call.db.space().in_script) {
        let all = sort_elements(call, key, 0..usize::MAX, false)?;
        let places = options.places();
        ordered(call, all, &options, unsorted)?.into_iter().skip(places.start).take(places.len()).collect()
    } else {
        sort_elements(call, key, options.places(), options.descending)?
    };
    let found: Vec<Option<Vec<u8>>> = if options.get.is_empty() {
        elements.into_iter().map(Some).collect()
    } else {
        elements
            .iter()
            .flat_map(|e| options.get.iter().map(move |p| (p, e)))
            .map(|(p, e)| looked_up(call, p, e))
            .collect()
    };
    match options.store {
        Some(target) => sort_store(call, target, found),
        None => {
            call.reply.array(found.len());
            for value in found {
                match value {
                    Some(bytes) => call.reply.bulk(&bytes),
                    None => call.reply.null(),
                }
            }
            read()
        }
    }
}

fn ordered(
    call: &mut Call<'_>,
    elements: Vec<Vec<u8>>,
    options: &SortOptions<'_>,
    unsorted: bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let by = options.by.filter(|_| !unsorted);
    let alpha = options.alpha || unsorted;
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        let text = match by {
            Some(pattern) => looked_up(call, pattern, &element),
            None => Some(element.clone()),
        };
        let weight = if alpha {
            Weight::Text(text)
        } else {
            let number = text.map_or(Some(0.0), |t| sort_weight(&t));
            Weight::Number(number.ok_or(Error::new("ERR One or more scores can't be converted into double"))?)
        };
        weighed.push((weight, element));
    }
    weighed.sort_by(|(a, x), (b, y)| {
        let mut order = a.partial_cmp(b).unwrap_or(core::cmp::Ordering::Equal);
        if !(alpha && by.is_some()) {
            order = order.then_with(|| x.cmp(y)); // equal texts of other keys stay as they came
        }
        if options.descending { order.reverse() } else { order }
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// A weight is read as C reads numbers, but for those beyond the largest double. Those that are too small for one are 0, as in Redis 8.
fn sort_weight(text: &[u8]) -> Option<f64> {
    let weight = base::number::parse_c_f64(text)?;
    let beyond = weight.is_infinite() && !text.iter().any(|c| c.eq_ignore_ascii_case(&b'n'));
    (!beyond).then_some(weight)
}

fn sort_store(call: &mut Call<'_>, target: &[u8], found: Vec<Option<Vec<u8>>>) -> Handled {
    call.reply.count(found.len());
    if found.is_empty() {
        if call.db.remove(target) {
            call.propagate(&[b"DEL", target]);
        }
        return done(Event::DEL);
    }
    let values: Vec<Vec<u8>> = found.into_iter().map(Option::unwrap_or_default).collect();
    crate::list::replace(&mut call.db, target, &values);
    call.db.space().effects.recount(values.len());
    propagate_list(call, target, &values);
    done(Event::new(EventClass::LIST, "sortstore"))
}

/// The list itself, not how it came about: what is equal comes in the order in which a set or hash happens to have it, which another process
/// need not share.
fn propagate_list(call: &mut Call<'_>, key: &[u8], values: &[Vec<u8>]) {
    call.propagate(&[b"DEL", key]);
    for part in values.chunks(LOGGED_ELEMENTS_MAX) {
        let mut argv: Vec<&[u8]> = vec![b"RPUSH", key];
        argv.extend(part.iter().map(Vec::as_slice));
        call.propagate(&argv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::ask;
    use keyspace::{Db, Keyspace};
    use resp::Protocol;
    use types::{Collection, list::List, zset::ZSet};

    #[test]
    fn what_is_not_sorted_is_cut_in_the_order_that_it_has() {
        let mut space = Keyspace::new(1, 1);
        ask(crate::list::COMMANDS, &mut space, Protocol::Resp2, "RPUSH l a b c d");
        ask(crate::zset::COMMANDS, &mut space, Protocol::Resp2, "ZADD z 1 a 2 b 3 c 4 d");
        let mut asks = |line: &str| ask(COMMANDS, &mut space, Protocol::Resp2, line);
        for key in ["l", "z"] {
            for (limit, found) in [
                ("1 2", "*2 $1 b $1 c"),
                ("1 2 DESC", "*2 $1 c $1 b"),
                ("3 9 DESC", "*1 $1 a"),
                ("-1 1", "*1 $1 a"),
                ("2 -1 DESC", "*2 $1 b $1 a"),
                ("4 1", "*0"),
                ("4 1 DESC", "*0"),
                ("9223372036854775807 9223372036854775807", "*0"),
                ("0 0 DESC", "*0"),
                ("1 1 DESC GET # GET none_*", "*2 $1 c $-1"),
                ("2 1 STORE kept", ":1"),
            ] {
                assert_eq!(asks(&format!("SORT {key} BY nosort LIMIT {limit}")), found, "{key} {limit}");
            }
        }
        ask(crate::set::COMMANDS, &mut space, Protocol::Resp2, "SADD s 3 1 2");
        let first = ask(COMMANDS, &mut space, Protocol::Resp2, "SORT s BY nosort DESC LIMIT 0 1");
        assert_eq!(first, "*1 $1 1", "that of a set is not turned round");
    }

    /// The least time of several tries.
    fn least(mut work: impl FnMut()) -> std::time::Duration {
        let time = |work: &mut dyn FnMut()| {
            let begun = std::time::Instant::now();
            work();
            begun.elapsed()
        };
        (0..5).map(|_| time(&mut work)).min().unwrap()
    }

    #[test]
    fn a_part_of_what_is_not_sorted_takes_no_walk_through_all() {
        let mut space = Keyspace::new(1, 1);
        let limits = space.limits.clone();
        let (mut list, mut set) = (List::new(), ZSet::new());
        for number in 0..50_000u32 {
            let text = number.to_string();
            list.push_back(text.as_bytes(), &limits);
            set.insert(text.as_bytes(), f64::from(number), &limits);
        }
        Db::new(&mut space, 0).put(b"l", list.into(), None);
        Db::new(&mut space, 0).put(b"z", set.into(), None);
        for key in ["l", "z"] {
            for end in ["ASC", "DESC"] {
                let mut time = |places: &str| {
                    least(|| {
                        let line = format!("SORT {key} BY nosort {end} LIMIT {places}");
                        ask(COMMANDS, &mut space, Protocol::Resp2, &line);
                    })
                };
                let (all, one) = (time("0 -1"), time("0 1"));
                assert!(all > 20 * one, "{key} {end}: {all:?} for all, {one:?} for one");
            }
        }
    }
}
