//! Consumer groups: making and removing them and their consumers, acknowledging, and what is pending.

use super::{end_id, ids, start_id, strict_id};
use crate::call::{Args, Call, Handled, bad_subcommand, done, read, unknown_subcommand};
use crate::error::Error;
use keyspace::{Event, EventClass, Guard, Offer};
use types::stream::{Group, Id, PendingFilter, Stream};

const fn event(name: &'static str) -> Event {
    Event::new(EventClass::STREAM, name)
}

const KEY_NEEDED: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// XGROUP with a subcommand that there is not.
pub(super) fn xgroup(call: &mut Call<'_>) -> Handled {
    Err(unknown_subcommand(call.args, "XGROUP"))
}

/// The error for a consumer group that the stream has not.
pub(super) fn no_such_group(key: &[u8], group: &[u8]) -> Error {
    Error::quoting("NOGROUP No such consumer group '{}' for key name '{}'", &[group, key])
}

/// The error where either the key or the group may be missing.
pub(super) fn no_key_or_group(args: Args<'_>) -> Error {
    Error::quoting("NOGROUP No such key '{}' or consumer group '{}'", &[args.at(1), args.at(2)])
}

/// What follows the identity of XGROUP CREATE and SETID.
struct PositionOptions {
    make_stream: bool,
    entries_read: Option<u64>,
}

fn position_options(args: Args<'_>, creates: bool) -> Result<PositionOptions, Error> {
    let mut out = PositionOptions { make_stream: false, entries_read: None };
    let mut i = 5;
    while i < args.len() {
        if creates && args.is(i, "mkstream") {
            out.make_stream = true;
            i += 1;
        } else if args.is(i, "entriesread") && i + 1 < args.len() {
            let count = args.int(i + 1)?;
            if count < -1 {
                return Err(Error::new("ERR value for ENTRIESREAD must be positive or -1"));
            }
            out.entries_read = u64::try_from(count).ok();
            i += 2;
        } else {
            return Err(bad_subcommand(args, "XGROUP"));
        }
    }
    Ok(out)
}

/// The words of XGROUP CREATE and of XGROUP SETID with all their options.
const CREATE_WORDS_MAX: usize = 8;
const SET_ID_WORDS_MAX: usize = 7;

/// Refuses options that were given again and again, which Redis does only when the key is found to be a stream.
fn check_words(args: Args<'_>, words_max: usize) -> Result<(), Error> {
    if args.len() > words_max { Err(bad_subcommand(args, "XGROUP")) } else { Ok(()) }
}

/// The identity that `$` or a text means for a stream.
fn position(text: &[u8], stream: Option<&Stream>, creates: bool) -> Result<Id, Error> {
    match text {
        b"$" => Ok(stream.map_or(Id::MIN, Stream::last_id)),
        // SETID alone knows the two ends by these names.
        b"-" if !creates => Ok(Id::MIN),
        b"+" if !creates => Ok(Id::MAX),
        _ => strict_id(text, 0),
    }
}

pub(super) fn create(call: &mut Call<'_>) -> Handled {
    let (key, name) = (call.args.at(2), call.args.at(3));
    let options = position_options(call.args, true)?;
    let stream = call.db.find_mut::<Stream>(key)?;
    if stream.is_none() && !options.make_stream {
        return Err(KEY_NEEDED);
    }
    check_words(call.args, CREATE_WORDS_MAX)?;
    let last = position(call.args.at(4), stream.as_deref(), true)?;
    if stream.is_some_and(|stream| stream.group(name).is_some()) {
        return Err(Error::new("BUSYGROUP Consumer Group name already exists"));
    }
    let mut stream = call.db.upsert::<Stream>(key)?;
    stream.keep_contents();
    stream.create_group(name, last, options.entries_read);
    drop(stream);
    call.reply.ok();
    done(event("xgroup-create"))
}

/// The stream of a subcommand that needs it with its group, to be changed.
fn stream_with_group<'c>(call: &'c mut Call<'_>) -> Result<Guard<'c, Stream>, Error> {
    let (key, group) = (call.args.at(2), call.args.at(3));
    let Some(mut stream) = call.db.find_mut::<Stream>(key)? else { return Err(KEY_NEEDED) };
    stream.keep_contents();
    if stream.group(group).is_none() {
        return Err(no_such_group(key, group));
    }
    Ok(stream)
}

pub(super) fn set_id(call: &mut Call<'_>) -> Handled {
    let (args, options) = (call.args, position_options(call.args, false)?);
    let mut stream = stream_with_group(call)?;
    check_words(args, SET_ID_WORDS_MAX)?;
    let last = position(args.at(4), Some(&*stream), false)?;
    stream.set_group_position(args.at(3), last, options.entries_read);
    drop(stream);
    call.reply.ok();
    done(event("xgroup-setid"))
}

pub(super) fn destroy(call: &mut Call<'_>) -> Handled {
    let Some(mut stream) = call.db.find_mut::<Stream>(call.args.at(2))? else { return Err(KEY_NEEDED) };
    stream.keep_contents();
    let destroyed = stream.group(call.args.at(3)).is_some() && stream.destroy_group(call.args.at(3));
    drop(stream);
    call.reply.integer(i64::from(destroyed));
    done(event("xgroup-destroy"))
}

pub(super) fn create_consumer(call: &mut Call<'_>) -> Handled {
    let (args, now_ms) = (call.args, call.db.now_ms());
    let mut stream = stream_with_group(call)?;
    stream.offer_only(Offer::Nothing);
    let exists = stream.group(args.at(3)).is_some_and(|group| group.consumer(args.at(4)).is_some());
    if !exists && let Some(group) = stream.group_mut(args.at(3)) {
        group.create_consumer(args.at(4), now_ms);
    }
    drop(stream);
    call.reply.integer(i64::from(!exists));
    done(super::CREATE_CONSUMER)
}

pub(super) fn delete_consumer(call: &mut Call<'_>) -> Handled {
    let args = call.args;
    let mut stream = stream_with_group(call)?;
    stream.offer_only(Offer::Nothing);
    let exists = stream.group(args.at(3)).is_some_and(|group| group.consumer(args.at(4)).is_some());
    let mut pending = 0;
    if exists && let Some(group) = stream.group_mut(args.at(3)) {
        pending = group.delete_consumer(args.at(4)).unwrap_or(0);
    }
    drop(stream);
    call.reply.integer(pending as i64);
    done(event("xgroup-delconsumer"))
}

pub(super) fn xack(call: &mut Call<'_>) -> Handled {
    let (key, name) = (call.args.at(1), call.args.at(2));
    if call.db.find::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        call.reply.integer(0);
        return read();
    }
    let ids = ids(call.args.rest(3))?;
    let mut acknowledged = 0;
    if let Some(mut stream) = call.db.find_mut::<Stream>(key)? {
        stream.keep_contents();
        stream.offer_only(Offer::Nothing);
        if let Some(group) = stream.group_mut(name) {
            acknowledged = ids.iter().filter(|id| group.acknowledge(**id)).count();
        }
        stream.count(acknowledged);
        if acknowledged == 0 {
            stream.leave_unchanged();
        }
    }
    call.reply.count(acknowledged);
    Ok(crate::Outcome::Done(None))
}

pub(super) fn xpending(call: &mut Call<'_>) -> Handled {
    let args = call.args;
    let filter = if args.len() == 3 { None } else { Some(pending_filter(args)?) };
    let now_ms = call.db.now_ms();
    let stream = call.db.find::<Stream>(args.at(1))?;
    let group = stream.and_then(|stream| stream.group(args.at(2)));
    let group = group.ok_or_else(|| no_key_or_group(args))?;
    let Some(filter) = filter else {
        reply_summary(&mut call.reply, group);
        return read();
    };
    let found: Vec<_> = group.pending_range(&filter, now_ms).collect();
    call.reply.array(found.len());
    for (id, pending) in found {
        call.reply.array(4);
        call.reply.bulk(&id.text());
        call.reply.bulk(&pending.consumer);
        call.reply.integer((now_ms - pending.delivery_ms).max(0));
        call.reply.integer(pending.deliveries as i64);
    }
    read()
}

/// Reads `[IDLE ms] start end count [consumer]`.
fn pending_filter(args: Args<'_>) -> Result<PendingFilter<'_>, Error> {
    if !(6..=9).contains(&args.len()) {
        return Err(Error::SYNTAX);
    }
    let mut idle_ms_min = 0;
    let mut first = 3;
    if args.is(3, "idle") {
        idle_ms_min = args.int(4)?;
        if args.len() < 8 {
            return Err(Error::SYNTAX);
        }
        first = 5;
    }
    let count = usize::try_from(args.int(first + 2)?).unwrap_or(0);
    let (start, end) = (start_id(args.at(first))?, end_id(args.at(first + 1))?);
    Ok(PendingFilter { start, end, count, consumer: args.find(first + 3), idle_ms_min })
}

fn reply_summary(reply: &mut resp::Reply<'_>, group: &Group) {
    reply.array(4);
    let mut pending = group.pending().map(|(id, _)| id);
    reply.count(pending.len());
    let Some(first) = pending.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    let last = pending.next_back().unwrap_or(first);
    reply.bulk(&first.text());
    reply.bulk(&last.text());
    let holders = group.consumers().filter(|(_, consumer)| consumer.pending().len() > 0);
    let holders: Vec<(&[u8], usize)> =
        holders.map(|(name, consumer)| (name, consumer.pending().len())).collect();
    reply.array(holders.len());
    for (name, count) in holders {
        reply.array(2);
        reply.bulk(name);
        reply.bulk_integer(count as i64);
    }
}
