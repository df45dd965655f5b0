//! XREAD and XREADGROUP: entries of several streams at once, waiting for them where there are none.
//!
//! Both first find out which streams have something, because the number comes before the entries; only then is
//! anything delivered.

use super::{CREATE_CONSUMER, reply_entries, reply_fields, strict_id};
use crate::call::{Args, Call, Handled, OnTimeout, Outcome, Wait, read, wait};
use crate::error::Error;
use keyspace::Offer;
use resp::Reply;
use std::collections::{HashMap, HashSet};
use types::stream::{Claim, Claimed, Entry, Group, Id, Idle, Stream};

/// A request of either command.
struct ReadRequest<'a> {
    block_ms: Option<u64>,
    blocks: bool,
    /// Entries a stream; 0 means all.
    count: usize,
    group: Option<Member<'a>>,
    no_ack: bool,
    /// CLAIM: take over what has been pending for so many milliseconds.
    claim_idle_ms: Option<i64>,
    streams: Vec<Source<'a>>,
    /// Where the first identity stands.
    ids_at: usize,
}

/// A group and one of its consumers.
#[derive(Clone, Copy)]
struct Member<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
}

struct Source<'a> {
    key: &'a [u8],
    from: From,
}

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Those behind this one; for a group: what the consumer holds behind this one.
    Behind(Id),
    /// `>`: those that the group has not seen.
    New,
}

pub(super) fn xread(call: &mut Call<'_>) -> Handled {
    let request = request(call, "xread")?;
    let ready: Vec<&Source<'_>> =
        request.streams.iter().filter(|source| has_entries_behind(call, source)).collect();
    if ready.is_empty() {
        return wait_or_null(call, &request);
    }
    open(call, ready.len());
    for source in ready {
        open_stream(call, source.key);
        let From::Behind(after) = source.from else { continue };
        let stream = call.db.find_again::<Stream>(source.key);
        let entries = stream.zip(after.next()).map(|(stream, start)| stream.range(start, Id::MAX));
        reply_entries(&mut call.reply, entries.into_iter().flatten().take(limit(request.count)));
    }
    read()
}

pub(super) fn xreadgroup(call: &mut Call<'_>) -> Handled {
    let request = request(call, "xreadgroup")?;
    let Some(member) = request.group else {
        return Err(Error::new("ERR Missing GROUP option for XREADGROUP"));
    };
    let (mut ready, mut taken) = (Vec::new(), HashMap::new());
    let is_any_twice = names_any_twice(&request.streams);
    for source in &request.streams {
        see_consumer(call, source.key, member)?;
        // Also where nothing new is asked for: in Redis, too, each stream is looked at twice.
        let mut has_new = has_new(call, source.key, member);
        if is_any_twice && source.from == From::New {
            has_new = has_new && leaves_new(call, source.key, member, request.count, &mut taken);
        }
        if has_new || source.from != From::New || has_idle(call, source.key, member, request.claim_idle_ms) {
            ready.push(source);
        }
    }
    if ready.is_empty() {
        return wait_or_null(call, &request);
    }
    open(call, ready.len());
    for source in ready {
        open_stream(call, source.key);
        match source.from {
            From::New => match request.claim_idle_ms {
                Some(idle_ms) => deliver_claiming(call, source.key, member, &request, idle_ms)?,
                None => deliver_new(call, source.key, member, &request)?,
            },
            From::Behind(after) => deliver_own(call, source.key, member, after, request.count)?,
        }
    }
    Ok(Outcome::Done(None))
}

fn limit(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

/// The head of the whole reply: a map in RESP3, an array of pairs in RESP2.
fn open(call: &mut Call<'_>, streams: usize) {
    if call.reply.is_resp3() { call.reply.map(streams) } else { call.reply.array(streams) }
}

fn open_stream(call: &mut Call<'_>, key: &[u8]) {
    if !call.reply.is_resp3() {
        call.reply.array(2);
    }
    call.reply.bulk(key);
}

fn has_entries_behind(call: &mut Call<'_>, source: &Source<'_>) -> bool {
    let From::Behind(after) = source.from else { return false };
    let Ok(Some(stream)) = call.db.find::<Stream>(source.key) else { return false };
    stream.last_id() > after && stream.last().is_some_and(|entry| entry.id > after)
}

fn has_new(call: &mut Call<'_>, key: &[u8], member: Member<'_>) -> bool {
    let Ok(Some(stream)) = call.db.find::<Stream>(key) else { return false };
    let seen = stream.group(member.group).map(Group::last_delivered);
    seen.is_some_and(|seen| stream.last().is_some_and(|entry| entry.id > seen))
}

/// Whether the group has something pending for so long that CLAIM takes it over.
fn has_idle(call: &mut Call<'_>, key: &[u8], member: Member<'_>, claim_idle_ms: Option<i64>) -> bool {
    let (Some(idle_ms), now_ms) = (claim_idle_ms, call.db.now_ms()) else { return false };
    let Some(stream) = call.db.find_again::<Stream>(key) else { return false };
    stream.has_long_pending(member.group, idle_ms, now_ms)
}

/// Notes the attempt of the consumer, who is created when new; only that counts as a change.
fn see_consumer(call: &mut Call<'_>, key: &[u8], member: Member<'_>) -> Result<(), Error> {
    let now_ms = call.db.now_ms();
    let Some(mut stream) = call.db.find_mut::<Stream>(key)? else { return Ok(()) };
    stream.keep_contents();
    stream.offer_only(Offer::Nothing);
    let group = stream.group_mut(member.group);
    if group.is_some_and(|group| group.see_consumer(member.consumer, now_ms)) {
        drop(stream);
        call.db.also(key, CREATE_CONSUMER);
        call.propagate(&[b"XGROUP", b"CREATECONSUMER", key, member.group, member.consumer]);
    } else {
        stream.leave_unchanged();
    }
    Ok(())
}

fn deliver_new(
    call: &mut Call<'_>,
    key: &[u8],
    member: Member<'_>,
    request: &ReadRequest<'_>,
) -> Result<(), Error> {
    let now_ms = call.db.now_ms();
    let Some(mut stream) = call.db.find_mut::<Stream>(key)? else { return Ok(()) };
    stream.keep_contents();
    stream.offer_only(Offer::Pending);
    let delivered = stream.deliver_new(member.group, member.consumer, request.count, request.no_ack, now_ms);
    let Some(delivered) = delivered else { return Ok(()) };
    reply_entries(&mut call.reply, stream.range(delivered.first, delivered.last));
    let ids: Vec<Id> = if request.no_ack {
        Vec::new()
    } else {
        stream.range(delivered.first, delivered.last).map(|entry| entry.id).collect()
    };
    drop(stream);
    for id in ids {
        propagate_pending(call, key, member.group, id);
    }
    propagate_position(call, key, member.group);
    Ok(())
}

/// CLAIM, as the documentation of Redis 8.4 has it: first what has been pending for `idle_ms` or longer, the longest first, then
/// what is new, up to COUNT together. Each entry comes with the milliseconds since it was delivered last and how often it
/// was, both 0 for a new one. NOACK is for new ones only.
fn deliver_claiming(
    call: &mut Call<'_>,
    key: &[u8],
    member: Member<'_>,
    request: &ReadRequest<'_>,
    idle_ms: i64,
) -> Result<(), Error> {
    let now_ms = call.db.now_ms();
    let Some(mut guard) = call.db.find_mut::<Stream>(key)? else { return Ok(()) };
    guard.keep_contents();
    guard.offer_only(Offer::Pending);
    let stream = &mut *guard;
    let claim =
        Claim { idle_ms_min: idle_ms, delivery_ms: now_ms, deliveries: None, force: false, just_id: false };
    let mut claimed = stream.longest_pending(member.group, idle_ms, request.count, now_ms);
    claimed
        .retain(|idle| stream.claim(member.group, member.consumer, idle.id, &claim, now_ms) == Claimed::Yes);
    let delivered = match request.count.saturating_sub(claimed.len()) {
        0 if request.count > 0 => None,
        left => stream.deliver_new(member.group, member.consumer, left, request.no_ack, now_ms),
    };
    call.reply.array(claimed.len() + delivered.map_or(0, |new| new.count));
    for Idle { id, idle_ms, deliveries } in &claimed {
        let Some(entry) = stream.entry(*id) else { continue };
        reply_entry_with(&mut call.reply, &entry, *idle_ms, *deliveries);
    }
    let mut pending: Vec<Id> = claimed.iter().map(|idle| idle.id).collect();
    for entry in delivered.into_iter().flat_map(|new| stream.range(new.first, new.last)) {
        reply_entry_with(&mut call.reply, &entry, 0, 0);
        if !request.no_ack {
            pending.push(entry.id);
        }
    }
    drop(guard);
    for id in pending {
        propagate_pending(call, key, member.group, id);
    }
    if delivered.is_some() {
        propagate_position(call, key, member.group);
    }
    Ok(())
}

fn reply_entry_with(reply: &mut Reply<'_>, entry: &Entry<'_>, idle_ms: i64, deliveries: u64) {
    reply.array(4);
    reply.bulk(&entry.id.text());
    reply_fields(reply, entry);
    reply.integer(idle_ms);
    reply.integer(deliveries as i64);
}

fn deliver_own(
    call: &mut Call<'_>,
    key: &[u8],
    member: Member<'_>,
    after: Id,
    count: usize,
) -> Result<(), Error> {
    let now_ms = call.db.now_ms();
    let Some(mut stream) = call.db.find_mut::<Stream>(key)? else { return Ok(()) };
    stream.keep_contents();
    stream.offer_only(Offer::Pending);
    let ids = stream.deliver_own(member.group, member.consumer, after, count, now_ms);
    if ids.iter().all(|id| stream.entry(*id).is_none()) {
        stream.leave_unchanged();
    }
    call.reply.array(ids.len());
    for id in &ids {
        call.reply.array(2);
        call.reply.bulk(&id.text());
        match stream.entry(*id) {
            Some(entry) => reply_fields(&mut call.reply, &entry),
            None => call.reply.null_array(),
        }
    }
    // An entry that the stream has lost was not delivered once more, and a claim would make it forgotten.
    let present: Vec<Id> = ids.into_iter().filter(|id| stream.entry(*id).is_some()).collect();
    drop(stream);
    for id in present {
        propagate_pending(call, key, member.group, id);
    }
    Ok(())
}

/// Tells the log who holds `id` now, since when, and after how many deliveries; or that nobody does.
pub(super) fn propagate_pending(call: &mut Call<'_>, key: &[u8], group: &[u8], id: Id) {
    if !call.db.space().effects.logging {
        return;
    }
    let Some(stream) = call.db.find_again::<Stream>(key) else { return };
    let Some(state) = stream.group(group) else { return };
    let Some(pending) = state.pending_entry(id).cloned() else {
        call.propagate(&[b"XACK", key, group, &id.text()]);
        return;
    };
    let last = state.last_delivered().text();
    let time = pending.delivery_ms.to_string();
    let count = pending.deliveries.to_string();
    call.propagate(&[
        b"XCLAIM",
        key,
        group,
        &pending.consumer,
        b"0",
        &id.text(),
        b"TIME",
        time.as_bytes(),
        b"RETRYCOUNT",
        count.as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last,
    ]);
}

/// Tells the log how far the group has read.
pub(super) fn propagate_position(call: &mut Call<'_>, key: &[u8], group: &[u8]) {
    let Some(stream) = call.db.find_again::<Stream>(key) else { return };
    let Some(state) = stream.group(group) else { return };
    let last = state.last_delivered().text();
    let entries_read = state.entries_read().map_or(-1, |read| read as i64).to_string();
    let argv: [&[u8]; 7] = [b"XGROUP", b"SETID", key, group, &last, b"ENTRIESREAD", entries_read.as_bytes()];
    call.propagate(&argv);
}

fn wait_or_null(call: &mut Call<'_>, request: &ReadRequest<'_>) -> Handled {
    if !request.blocks || !call.may_block {
        call.reply.null_array();
        return Ok(Outcome::Done(None));
    }
    let look_again_ms = next_claim_ms(call, request);
    // `$` and `+` mean the present end of the stream, not the end at the time of the next look.
    let mut again: Vec<Vec<u8>> = call.args.all().iter().map(|argument| argument.to_vec()).collect();
    for (i, source) in request.streams.iter().enumerate() {
        if let From::Behind(id) = source.from {
            again[request.ids_at + i] = id.text().to_vec();
        }
    }
    let keys = request.streams.iter().map(|source| source.key.to_vec()).collect();
    wait(Wait {
        again: Some(again),
        on_removal: request.group.is_some(),
        look_again_ms,
        // Who claims finds more or less than others do.
        group: request.group.filter(|_| request.claim_idle_ms.is_none()).map(|member| member.group.to_vec()),
        ..Wait::new(keys, request.block_ms, OnTimeout::NullArray)
    })
}

/// In how many milliseconds CLAIM will find something, if nobody finishes it before.
fn next_claim_ms(call: &mut Call<'_>, request: &ReadRequest<'_>) -> Option<u64> {
    let (idle_ms, member, now_ms) = (request.claim_idle_ms?, request.group?, call.db.now_ms());
    let mut next = None;
    for source in request.streams.iter().filter(|source| source.from == From::New) {
        let Some(stream) = call.db.find_again::<Stream>(source.key) else { continue };
        let due_ms = stream.next_idle_ms(member.group, idle_ms, now_ms);
        next = due_ms.into_iter().chain(next).min();
    }
    // What is due now and was not found are entries that the stream has lost: no time brings them back.
    next.map(|due_ms| (due_ms - now_ms).unsigned_abs())
}

// The request.

fn names_any_twice(streams: &[Source<'_>]) -> bool {
    let mut keys = HashSet::new();
    streams.len() > 1 && !streams.iter().all(|source| keys.insert(source.key))
}

/// Whether those that were asked ahead for new entries of the same stream leave some. `taken` tells up to where they take them, and is
/// told up to where this one does.
fn leaves_new<'a>(
    call: &mut Call<'_>,
    key: &'a [u8],
    member: Member<'_>,
    count: usize,
    taken: &mut HashMap<&'a [u8], Id>,
) -> bool {
    let Some(stream) = call.db.find_again::<Stream>(key) else { return false };
    let seen = taken.get(key).copied().or(stream.group(member.group).map(Group::last_delivered));
    let start = seen.and_then(Id::next);
    let last = match (start, stream.last()) {
        (Some(start), Some(top)) if count == 0 && top.id >= start => Some(top.id),
        (Some(start), _) if count > 0 => {
            stream.range(start, Id::MAX).take(count).last().map(|entry| entry.id)
        }
        _ => None,
    };
    taken.extend(last.map(|last| (key, last)));
    last.is_some()
}

fn request<'a>(call: &mut Call<'a>, name: &str) -> Result<ReadRequest<'a>, Error> {
    let args = call.args;
    let grouped = name == "xreadgroup";
    let mut out = ReadRequest {
        block_ms: None,
        blocks: false,
        count: 0,
        group: None,
        no_ack: false,
        claim_idle_ms: None,
        streams: Vec::new(),
        ids_at: 0,
    };
    let mut i = 1;
    let mut first = None;
    while i < args.len() {
        let more = args.len() - i - 1;
        if args.is(i, "block") && more > 0 {
            i += 1;
            out.block_ms = block_ms(args, i, call.db.now_ms())?;
            out.blocks = true;
        } else if args.is(i, "count") && more > 0 {
            i += 1;
            out.count = usize::try_from(args.int(i)?).unwrap_or(0);
        } else if args.is(i, "streams") && more > 0 {
            first = Some(i + 1);
            break;
        } else if args.is(i, "group") && more >= 2 {
            only_for_groups(grouped, "GROUP")?;
            out.group = Some(Member { group: args.at(i + 1), consumer: args.at(i + 2) });
            i += 2;
        } else if args.is(i, "claim") && more > 0 {
            only_for_groups(grouped, "CLAIM")?;
            i += 1;
            let idle_ms = args.int(i)?;
            if idle_ms < 0 {
                return Err(Error::new("ERR min-idle-time must be a positive integer"));
            }
            out.claim_idle_ms = Some(idle_ms);
        } else if args.is(i, "noack") {
            only_for_groups(grouped, "NOACK")?;
            out.no_ack = true;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    let first = first.ok_or(Error::SYNTAX)?;
    streams(call, name, first, &mut out)?;
    Ok(out)
}

fn only_for_groups(grouped: bool, option: &str) -> Result<(), Error> {
    if grouped {
        return Ok(());
    }
    Err(Error::text(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

/// BLOCK's time: milliseconds, 0 for ever. Its end must be a time.
fn block_ms(args: Args<'_>, i: usize, now_ms: i64) -> Result<Option<u64>, Error> {
    let ms = base::number::parse_i64(args.at(i));
    let ms = ms.ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    if (ms as i64).checked_add(now_ms).is_none() {
        return Err(Error::new("ERR timeout is out of range"));
    }
    Ok((ms > 0).then_some(ms))
}

fn streams<'a>(
    call: &mut Call<'a>,
    name: &str,
    first: usize,
    out: &mut ReadRequest<'a>,
) -> Result<(), Error> {
    let args = call.args;
    let words = args.len() - first;
    let grouped = name == "xreadgroup";
    if !words.is_multiple_of(2) {
        let symbols = if grouped { " or '>'" } else { ", '+', or '$'" };
        return Err(Error::text(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID{symbols} must be specified."
        )));
    }
    if grouped && out.group.is_none() {
        return Err(Error::new("ERR Missing GROUP option for XREADGROUP"));
    }
    out.ids_at = first + words / 2;
    for i in first..out.ids_at {
        let (key, id) = (args.at(i), args.at(i + words / 2));
        let stream = call.db.find::<Stream>(key)?;
        if let Some(member) = out.group
            && stream.and_then(|stream| stream.group(member.group)).is_none()
        {
            return Err(no_group(key, member.group));
        }
        out.streams.push(Source { key, from: from(stream, id, grouped)? });
    }
    Ok(())
}

fn no_group(key: &[u8], group: &[u8]) -> Error {
    let template = "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option";
    Error::quoting(template, &[key, group])
}

fn from(stream: Option<&Stream>, id: &[u8], grouped: bool) -> Result<From, Error> {
    match id {
        b"$" if grouped => Err(Error::new(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
             return an empty result set.",
        )),
        b"+" if grouped => Err(Error::new(
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just \
             return an empty result set.",
        )),
        b"$" => Ok(From::Behind(stream.map_or(Id::MIN, Stream::last_id))),
        b"+" => {
            let last = stream.and_then(Stream::last).and_then(|entry| entry.id.previous());
            Ok(From::Behind(last.unwrap_or_else(|| stream.map_or(Id::MIN, Stream::last_id))))
        }
        b">" if grouped => Ok(From::New),
        b">" => Err(Error::new(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
             option.",
        )),
        _ => match strict_id(id, 0)? {
            // Nothing can follow it: in Redis, the same as `>`.
            Id::MAX if grouped => Ok(From::New),
            id => Ok(From::Behind(id)),
        },
    }
}
