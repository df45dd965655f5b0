//! Streams: additions and trims, ranges, and blocking reads; consumer groups are in `group`, inspection in `info`.
//!
//! The log gets what happened, not what was asked: `*` becomes the identity given, an approximate trim becomes
//! the exact one that it came to, and a read for a group becomes claims. Replayed anywhere, they give the same.

use crate::call::{Args, Call, Handled, done, help, read};
use crate::error::Error;
use crate::spec::{Flags, Group, Keys, Row};
use keyspace::{Event, EventClass, Offer};
use resp::Reply;
use smallvec::SmallVec;
use types::stream::{AppendError, Entry, Id, Keep, NewId, Precision, References, Stream, TrimOutcome};

mod claim;
mod group;
mod info;
mod read_groups;
mod removal;

const XADD: Event = Event::new(EventClass::STREAM, "xadd");
const XDEL: Event = Event::new(EventClass::STREAM, "xdel");
const XTRIM: Event = Event::new(EventClass::STREAM, "xtrim");
const XSETID: Event = Event::new(EventClass::STREAM, "xsetid");

const CREATE_CONSUMER: Event = Event::new(EventClass::STREAM, "xgroup-createconsumer");

const INVALID_ID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Stream, run)
}

const fn subcommand(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    row(name, arity, run).keys(2, 2, 1)
}

#[rustfmt::skip]
static XGROUP: &[Row] = &[
    subcommand("xgroup|create", -5, group::create).grows(),
    subcommand("xgroup|createconsumer", 5, group::create_consumer).grows(),
    subcommand("xgroup|delconsumer", 5, group::delete_consumer).write(),
    subcommand("xgroup|destroy", 4, group::destroy).write(),
    row("xgroup|help", 2, xgroup_help).flags(Flags::LOADING.and(Flags::STALE)),
    subcommand("xgroup|setid", -5, group::set_id).write(),
];

#[rustfmt::skip]
static XINFO: &[Row] = &[
    subcommand("xinfo|consumers", 4, info::consumers).readonly(),
    subcommand("xinfo|groups", 3, info::groups).readonly(),
    row("xinfo|help", 2, xinfo_help).flags(Flags::LOADING.and(Flags::STALE)),
    subcommand("xinfo|stream", -3, info::stream).readonly(),
];

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("xack", -4, group::xack).key().write().fast(),
    row("xackdel", -6, removal::xackdel).key().write().fast(),
    row("xadd", -5, xadd).key().grows().fast(),
    row("xautoclaim", -6, claim::xautoclaim).key().write().fast(),
    row("xclaim", -6, claim::xclaim).key().write().fast(),
    row("xdel", -3, xdel).key().write().fast(),
    row("xdelex", -5, removal::xdelex).key().write().fast(),
    row("xgroup", -2, group::xgroup).subcommands(XGROUP),
    row("xinfo", -2, info::xinfo).subcommands(XINFO),
    row("xlen", 2, xlen).key().readonly().fast(),
    row("xpending", -3, group::xpending).key().readonly(),
    row("xrange", -4, xrange).key().readonly(),
    row("xread", -4, read_groups::xread).movable_keys(Keys::Streams).readonly().blocks(),
    row("xreadgroup", -7, read_groups::xreadgroup).movable_keys(Keys::Streams).write().blocks(),
    row("xrevrange", -4, xrevrange).key().readonly(),
    row("xsetid", -3, xsetid).key().grows().fast(),
    row("xtrim", -4, xtrim).key().write(),
];

fn xgroup_help(call: &mut Call<'_>) -> Handled {
    help(call, "xgroup")
}

fn xinfo_help(call: &mut Call<'_>) -> Handled {
    help(call, "xinfo")
}

// Identities.

/// A complete or incomplete identity; `-` and `+` are none.
fn strict_id(text: &[u8], missing_seq: u64) -> Result<Id, Error> {
    Id::parse(text, missing_seq).ok_or(INVALID_ID)
}

/// The lower end of a range: `-`, an identity, or one that is excluded by `(`.
fn start_id(text: &[u8]) -> Result<Id, Error> {
    match interval_id(text, 0)? {
        (id, false) => Ok(id),
        (id, true) => id.next().ok_or(Error::new("ERR invalid start ID for the interval")),
    }
}

/// The upper end of a range: `+`, an identity, or one that is excluded by `(`.
fn end_id(text: &[u8]) -> Result<Id, Error> {
    match interval_id(text, u64::MAX)? {
        (id, false) => Ok(id),
        (id, true) => id.previous().ok_or(Error::new("ERR invalid end ID for the interval")),
    }
}

fn interval_id(text: &[u8], missing_seq: u64) -> Result<(Id, bool), Error> {
    match text {
        b"-" => Ok((Id::MIN, false)),
        b"+" => Ok((Id::MAX, false)),
        [b'(', rest @ ..] => Ok((strict_id(rest, missing_seq)?, true)),
        _ => Ok((strict_id(text, missing_seq)?, false)),
    }
}

fn new_id(text: &[u8]) -> Result<NewId, Error> {
    if text == b"*" {
        return Ok(NewId::Auto);
    }
    match text.strip_suffix(b"-*") {
        Some(ms) => Ok(NewId::AutoSeq(base::number::parse_c_u64(ms).ok_or(INVALID_ID)?)),
        None => Ok(NewId::Exact(strict_id(text, 0)?)),
    }
}

// Replies.

fn reply_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply.bulk(&entry.id.text());
    reply_fields(reply, entry);
}

fn reply_fields(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2 * entry.field_count());
    for (field, value) in entry.fields() {
        reply.bulk(field);
        reply.bulk(value);
    }
}

fn reply_entries<'e>(reply: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'e>>) {
    let entries: SmallVec<[Entry<'_>; 8]> = entries.collect();
    reply.array(entries.len());
    entries.iter().for_each(|entry| reply_entry(reply, entry));
}

// Additions and trims.

/// The trim of XADD and XTRIM, and where the arguments behind it begin.
#[derive(Clone, Copy, Debug)]
struct TrimRequest {
    keep: Option<Keep>,
    approximate: bool,
    limit: Option<i64>,
    /// What is done about groups that hold what goes.
    references: Option<References>,
    /// XADD only.
    no_create: bool,
    /// XADD: where the identity stands.
    next: usize,
}

/// A trim as the log gets it.
#[derive(Debug)]
struct Trimmed {
    word: &'static [u8],
    threshold: Vec<u8>,
    references: Option<&'static [u8]>,
}

impl Trimmed {
    fn words(&self) -> impl Iterator<Item = &[u8]> {
        [self.word, b"=", &self.threshold].into_iter().chain(self.references)
    }
}

/// Most entries that one approximate trim removes when LIMIT does not tell: as many as 100 chunks may hold,
/// within bounds for odd settings.
fn default_limit(node_entries: usize) -> u64 {
    match node_entries as u64 * 100 {
        0 => 10_000,
        limit => limit.min(1_000_000),
    }
}

/// `is_replayed`: it comes from a log or a master. Those of Redis say `=` where `~` was asked for, since it is known by then what went,
/// and leave LIMIT where it was.
fn trim_request(args: Args<'_>, adds: bool, is_replayed: bool) -> Result<TrimRequest, Error> {
    let mut out = TrimRequest {
        keep: None,
        approximate: false,
        limit: None,
        references: None,
        no_create: false,
        next: args.len(),
    };
    let mut i = 2;
    while i < args.len() {
        let more = args.len() - 1 - i;
        if adds && args.at(i) == b"*" {
            out.next = i;
            break;
        } else if more > 0 && (args.is(i, "maxlen") || args.is(i, "minid")) {
            i = threshold(args, i, &mut out)?;
        } else if more > 0 && args.is(i, "limit") {
            let limit = args.int(i + 1)?;
            if limit < 0 {
                return Err(Error::new("ERR The LIMIT argument must be >= 0."));
            }
            out.limit = Some(limit);
            i += 1;
        } else if out.references.is_none() && removal::references_word(args, i).is_some() {
            out.references = removal::references_word(args, i);
        } else if adds && args.is(i, "nomkstream") {
            out.no_create = true;
        } else if adds {
            new_id(args.at(i))?;
            out.next = i;
            break;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    if is_replayed && !out.approximate {
        out.limit = None;
    }
    check_trim(&out, adds)?;
    Ok(out)
}

/// Reads `MAXLEN|MINID [=|~] threshold` at `i`; returns the index of the threshold.
fn threshold(args: Args<'_>, i: usize, out: &mut TrimRequest) -> Result<usize, Error> {
    if out.keep.is_some() {
        let text = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
        return Err(Error::new(text));
    }
    let sign = i + 2 < args.len() && matches!(args.at(i + 1), b"~" | b"=");
    out.approximate = sign && args.at(i + 1) == b"~";
    let at = i + 1 + usize::from(sign);
    out.keep = Some(if args.is(i, "minid") {
        Keep::From(strict_id(args.at(at), 0)?)
    } else {
        let most = u64::try_from(args.int(at)?);
        Keep::Latest(most.map_err(|_| Error::new("ERR The MAXLEN argument must be >= 0."))?)
    });
    Ok(at)
}

fn check_trim(request: &TrimRequest, adds: bool) -> Result<(), Error> {
    if request.limit.is_some_and(|limit| limit > 0) && request.keep.is_none() {
        let text = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
        return Err(Error::new(text));
    }
    if !adds && request.keep.is_none() {
        return Err(Error::new("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if request.limit.is_some() && !request.approximate {
        return Err(Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    Ok(())
}

impl TrimRequest {
    fn precision(&self, node_entries: usize) -> Precision {
        match self.limit {
            _ if !self.approximate => Precision::Exact,
            Some(limit) => Precision::Approximate(limit as u64),
            None => Precision::Approximate(default_limit(node_entries)),
        }
    }

    /// Does the trim, if one was asked for.
    fn run(&self, stream: &mut Stream, node_entries: usize) -> TrimOutcome {
        let Some(keep) = self.keep else { return TrimOutcome::default() };
        stream.trim_minding(keep, self.precision(node_entries), self.references.unwrap_or_default())
    }

    /// The words that name the trim to the log as it turned out: exact, so that it does not depend on chunks.
    fn outcome(&self, stream: &Stream) -> Option<Trimmed> {
        let references = match self.references {
            None | Some(References::Keep) => None,
            Some(References::Drop) => Some(&b"DELREF"[..]),
            Some(References::Acknowledged) => Some(&b"ACKED"[..]),
        };
        let acknowledged = self.references == Some(References::Acknowledged);
        let (word, threshold): (&'static [u8], _) = match self.keep? {
            Keep::From(min) if !self.approximate || stream.entry_count() == 0 => {
                (b"MINID", min.text().to_vec())
            }
            // What is needed was passed over, so the first entry does not tell where the trim ended; how many went does, for they
            // were the first ones that were not needed.
            Keep::From(_) if !acknowledged => (b"MINID", stream.first_id().text().to_vec()),
            _ => (b"MAXLEN", stream.entry_count().to_string().into_bytes()),
        };
        Some(Trimmed { word, threshold, references })
    }
}

fn append_error(error: AppendError) -> Error {
    Error::new(match error {
        AppendError::Zero => "ERR The ID specified in XADD must be greater than 0-0",
        AppendError::NotGreater => {
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        AppendError::Exhausted => {
            "ERR The stream has exhausted the last possible ID, unable to add more items"
        }
    })
}

fn xadd(call: &mut Call<'_>) -> Handled {
    let request = trim_request(call.args, true, call.db.space().keep_expired)?;
    let (key, fields) = (call.args.at(1), call.args.rest(request.next + 1));
    if fields.is_empty() || !fields.len().is_multiple_of(2) {
        return Err(Error::arity("xadd"));
    }
    let wanted = new_id(call.args.at(request.next))?;
    if wanted == NewId::Exact(Id::MIN) {
        return Err(append_error(AppendError::Zero));
    }
    let now_ms = call.db.now_ms().max(0) as u64;
    if request.no_create && call.db.find_mut::<Stream>(key)?.is_none() {
        call.reply.null();
        return read();
    }
    let mut guard = call.db.upsert::<Stream>(key)?;
    let id = wanted.resolve(guard.last_id(), now_ms).map_err(append_error)?;
    guard.count(1);
    let (stream, limits, _) = guard.parts();
    let pairs = fields.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    stream.append(NewId::Exact(id), pairs, now_ms, limits).map_err(append_error)?;
    let mut trimmed = None;
    let outcome = request.run(stream, limits.stream_node_entries);
    if outcome != TrimOutcome::default() {
        trimmed = request.outcome(stream);
    }
    drop(guard);
    if outcome.removed > 0 {
        call.db.also(key, XTRIM);
    }
    call.reply.bulk(&id.text());
    propagate_add(call, id, trimmed, fields);
    propagate_forgotten(call, key, &outcome);
    done(XADD)
}

fn propagate_add(call: &mut Call<'_>, id: Id, trimmed: Option<Trimmed>, fields: &[&[u8]]) {
    if !call.db.space().effects.logging {
        return;
    }
    let text = id.text();
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(&[b"XADD", call.args.at(1)]);
    if let Some(trimmed) = &trimmed {
        argv.extend(trimmed.words());
    }
    argv.push(&text);
    argv.extend_from_slice(fields);
    call.propagate(&argv);
}

fn xtrim(call: &mut Call<'_>) -> Handled {
    let request = trim_request(call.args, false, call.db.space().keep_expired)?;
    let key = call.args.at(1);
    let node_entries = call.db.space().limits.stream_node_entries;
    let (mut went, mut outcome) = (TrimOutcome::default(), None);
    if let Some(mut stream) = call.db.find_mut::<Stream>(key)? {
        stream.offer_only(Offer::Nothing);
        went = request.run(&mut stream, node_entries);
        outcome = request.outcome(&stream);
        if went == TrimOutcome::default() {
            stream.leave_unchanged();
        } else if went.removed == 0 {
            stream.keep_contents();
        }
    }
    call.reply.integer(went.removed as i64);
    let is_told = went.removed > 0 && request.approximate || !went.forgotten_ahead.is_empty();
    if let Some(trimmed) = outcome.filter(|_| is_told) {
        let argv: SmallVec<[&[u8]; 8]> = [b"XTRIM", key].into_iter().chain(trimmed.words()).collect();
        call.propagate(&argv);
        propagate_forgotten(call, key, &went);
    }
    done(XTRIM)
}

/// Tells the log what groups have forgotten that a replay would not find.
fn propagate_forgotten(call: &mut Call<'_>, key: &[u8], outcome: &TrimOutcome) {
    for (group, ids) in &outcome.forgotten_ahead {
        removal::propagate_ids(call, &[b"XACK", key, group], ids.iter().copied());
    }
}

fn ids(args: &[&[u8]]) -> Result<SmallVec<[Id; 8]>, Error> {
    args.iter().map(|text| strict_id(text, 0)).collect()
}

fn xdel(call: &mut Call<'_>) -> Handled {
    if call.db.find_mut::<Stream>(call.args.at(1))?.is_none() {
        call.reply.integer(0);
        return read();
    }
    let ids = ids(call.args.rest(2))?;
    let mut deleted = 0;
    if let Some(mut guard) = call.db.find_mut::<Stream>(call.args.at(1))? {
        guard.offer_only(Offer::Nothing);
        let stream = &mut *guard;
        deleted = ids.iter().filter(|id| stream.delete(**id)).count();
        if deleted == 0 {
            guard.leave_unchanged();
        }
    }
    call.reply.count(deleted);
    done(XDEL)
}

fn xsetid(call: &mut Call<'_>) -> Handled {
    let args = call.args;
    let id = strict_id(args.at(2), 0)?;
    let (mut added, mut max_deleted) = (None, None);
    for i in (3..args.len()).step_by(2) {
        if args.is(i, "entriesadded") && i + 1 < args.len() {
            let count = u64::try_from(args.int(i + 1)?);
            added = Some(count.map_err(|_| Error::new("ERR entries_added must be positive"))?);
        } else if args.is(i, "maxdeletedid") && i + 1 < args.len() {
            let deleted = strict_id(args.at(i + 1), 0)?;
            if id < deleted {
                let text = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
                return Err(Error::new(text));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    // Masters of Redis 7.0 let it go back behind what was deleted.
    let is_replayed = call.db.space().keep_expired;
    let Some(mut stream) = call.db.find_mut::<Stream>(args.at(1))? else { return Err(Error::NO_SUCH_KEY) };
    stream.keep_contents();
    stream.offer_only(Offer::Nothing);
    if id < stream.max_deleted_id() && !is_replayed {
        let text = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
        return Err(Error::new(text));
    }
    if stream.last().is_some_and(|top| id < top.id) {
        let text = "ERR The ID specified in XSETID is smaller than the target stream top item";
        return Err(Error::new(text));
    }
    if added.is_some_and(|added| added < stream.entry_count()) {
        let text = "ERR The entries_added specified in XSETID is smaller than the target stream length";
        return Err(Error::new(text));
    }
    let added = added.unwrap_or(stream.entries_added());
    let max_deleted = max_deleted.filter(|id| *id != Id::MIN).unwrap_or(stream.max_deleted_id());
    stream.set_counters(id, added, max_deleted);
    drop(stream);
    call.reply.ok();
    done(XSETID)
}

// Reads.

fn xlen(call: &mut Call<'_>) -> Handled {
    let len = call.db.find::<Stream>(call.args.at(1))?.map_or(0, Stream::entry_count);
    call.reply.integer(len as i64);
    read()
}

fn xrange(call: &mut Call<'_>) -> Handled {
    range(call, start_id(call.args.at(2))?, end_id(call.args.at(3))?, false)
}

fn xrevrange(call: &mut Call<'_>) -> Handled {
    range(call, start_id(call.args.at(3))?, end_id(call.args.at(2))?, true)
}

fn range(call: &mut Call<'_>, start: Id, end: Id, reverse: bool) -> Handled {
    let mut count = usize::MAX;
    let mut i = 4;
    while i < call.args.len() {
        if !call.args.is(i, "count") || i + 1 == call.args.len() {
            return Err(Error::SYNTAX);
        }
        count = match call.args.int(i + 1)? {
            // As in Redis, which tells "no option" from other counts by -1 and clips below.
            n if n < 0 => 0,
            n => n as usize,
        };
        i += 2;
    }
    let Some(stream) = call.db.find::<Stream>(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    if count == 0 {
        call.reply.null_array();
    } else if reverse {
        reply_entries(&mut call.reply, stream.range_rev(start, end).take(count));
    } else {
        reply_entries(&mut call.reply, stream.range(start, end).take(count));
    }
    read()
}

#[cfg(test)]
mod tests;
