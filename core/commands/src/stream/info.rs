//! XINFO: what a stream, its groups and their consumers look like.

use super::group::no_such_group;
use super::{reply_entries, reply_entry};
use crate::call::{Args, Call, Handled, bad_subcommand, read, unknown_subcommand};
use crate::error::Error;
use resp::Reply;
use types::stream::{Consumer, Entry, Group, Id, Stream};

/// Entries and pending entries that XINFO STREAM FULL shows unless COUNT tells.
const FULL_COUNT_DEFAULT: usize = 10;

/// XINFO with a subcommand that there is not.
pub(super) fn xinfo(call: &mut Call<'_>) -> Handled {
    Err(unknown_subcommand(call.args, "XINFO"))
}

pub(super) fn consumers(call: &mut Call<'_>) -> Handled {
    let (key, name) = (call.args.at(2), call.args.at(3));
    let now_ms = call.db.now_ms();
    let stream = call.db.find::<Stream>(key)?.ok_or(Error::NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| no_such_group(key, name))?;
    call.reply.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        call.reply.map(4);
        call.reply.bulk(b"name");
        call.reply.bulk(name);
        call.reply.bulk(b"pending");
        call.reply.count(consumer.pending().len());
        call.reply.bulk(b"idle");
        call.reply.integer((now_ms - consumer.seen_ms).max(0));
        call.reply.bulk(b"inactive");
        call.reply.integer(consumer.active_ms.map_or(-1, |active| (now_ms - active).max(0)));
    }
    read()
}

pub(super) fn groups(call: &mut Call<'_>) -> Handled {
    let stream = call.db.find::<Stream>(call.args.at(2))?.ok_or(Error::NO_SUCH_KEY)?;
    call.reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        call.reply.map(6);
        call.reply.bulk(b"name");
        call.reply.bulk(name);
        call.reply.bulk(b"consumers");
        call.reply.count(group.consumers().len());
        call.reply.bulk(b"pending");
        call.reply.count(group.pending().len());
        reply_position(&mut call.reply, stream, group);
    }
    read()
}

/// `last-delivered-id`, `entries-read` and `lag`.
fn reply_position(reply: &mut Reply<'_>, stream: &Stream, group: &Group) {
    reply.bulk(b"last-delivered-id");
    reply.bulk(&group.last_delivered().text());
    for (name, value) in [("entries-read", group.entries_read()), ("lag", stream.lag(group))] {
        reply.bulk(name.as_bytes());
        match value {
            Some(value) => reply.integer(value as i64),
            None => reply.null(),
        }
    }
}

pub(super) fn stream(call: &mut Call<'_>) -> Handled {
    let args = call.args;
    let stream = call.db.find::<Stream>(args.at(2))?.ok_or(Error::NO_SUCH_KEY)?;
    let count = full_count(args)?;
    match count {
        None => {
            call.reply.map(10);
            reply_figures(&mut call.reply, stream);
            call.reply.bulk(b"groups");
            call.reply.count(stream.groups().len());
            for (name, entry) in [("first-entry", stream.first()), ("last-entry", stream.last())] {
                call.reply.bulk(name.as_bytes());
                reply_entry_or_null(&mut call.reply, entry);
            }
        }
        Some(count) => reply_full(&mut call.reply, stream, count),
    }
    read()
}

/// How many entries FULL is to show; `None` without FULL.
fn full_count(args: Args<'_>) -> Result<Option<usize>, Error> {
    match args.len() {
        3 => Ok(None),
        4 if args.is(3, "full") => Ok(Some(FULL_COUNT_DEFAULT)),
        6 if args.is(3, "full") && args.is(4, "count") => match args.int(5)? {
            0 => Ok(Some(usize::MAX)),
            count => Ok(Some(usize::try_from(count).unwrap_or(FULL_COUNT_DEFAULT))),
        },
        _ => Err(bad_subcommand(args, "XINFO")),
    }
}

fn reply_entry_or_null(reply: &mut Reply<'_>, entry: Option<Entry<'_>>) {
    match entry {
        Some(entry) => reply_entry(reply, &entry),
        None => reply.null(),
    }
}

/// The seven figures that both forms begin with.
fn reply_figures(reply: &mut Reply<'_>, stream: &Stream) {
    let chunks = stream.chunk_count();
    let mut figure = |name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    };
    figure("length", stream.entry_count());
    figure("radix-tree-keys", chunks as u64);
    figure("radix-tree-nodes", stream.radix_node_count() as u64);
    for (name, id) in
        [("last-generated-id", stream.last_id()), ("max-deleted-entry-id", stream.max_deleted_id())]
    {
        reply.bulk(name.as_bytes());
        reply.bulk(&id.text());
    }
    reply.bulk(b"entries-added");
    reply.integer(stream.entries_added() as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply.bulk(&stream.first_id().text());
}

fn reply_full(reply: &mut Reply<'_>, stream: &Stream, count: usize) {
    reply.map(9);
    reply_figures(reply, stream);
    reply.bulk(b"entries");
    reply_entries(reply, stream.range(Id::MIN, Id::MAX).take(count));
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        reply_position(reply, stream, group);
        reply.bulk(b"pel-count");
        reply.count(group.pending().len());
        reply.bulk(b"pending");
        reply.array(group.pending().len().min(count));
        for (id, pending) in group.pending().take(count) {
            reply.array(4);
            reply.bulk(&id.text());
            reply.bulk(&pending.consumer);
            reply.integer(pending.delivery_ms);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().len());
        group.consumers().for_each(|(name, consumer)| reply_consumer(reply, group, name, consumer, count));
    }
}

fn reply_consumer(reply: &mut Reply<'_>, group: &Group, name: &[u8], consumer: &Consumer, count: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_ms.unwrap_or(-1));
    reply.bulk(b"pel-count");
    reply.count(consumer.pending().len());
    reply.bulk(b"pending");
    reply.array(consumer.pending().len().min(count));
    for id in consumer.pending().take(count) {
        let (time, deliveries) =
            group.pending_entry(id).map_or((0, 0), |pending| (pending.delivery_ms, pending.deliveries));
        reply.array(3);
        reply.bulk(&id.text());
        reply.integer(time);
        reply.integer(deliveries as i64);
    }
}
