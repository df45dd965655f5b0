//! Values to RDB bytes and back: the one place that knows both the data types and the format's pieces.
//!
//! Small values are written in Redis' packed forms (listpack, intset), so that they come back packed on either side; what is read is
//! rebuilt through the types' own operations, so their invariants hold whatever form the file had.

use crate::evict::Use;
use crate::space::{GIVEN_BYTES_MIN, Keyspace};
use persist::dump::{self, Error as DumpError};
use persist::pack::{intset, listpack};
use persist::rdb::{self, StreamId, StreamMeta, Writer, kind};
use std::collections::HashMap;
use std::sync::Arc;
use types::stream::{Id, Stream};
use types::{Collection, Entry, Limits, Value, View};

/// Why a loaded value cannot be kept, in Redis' words.
pub type LoadError = &'static str;

/// The RDB type byte for the entry's value as we write it: the lowest version's that can hold it.
fn kind_of(entry: &Entry) -> u8 {
    match entry.view() {
        View::Int(_) | View::Str(_) => kind::STRING,
        View::List(_) => kind::LIST_QUICKLIST_2,
        View::Set(set) if set.encoding() == "intset" => kind::SET_INTSET,
        View::Set(_) => kind::SET,
        View::ZSet(zset) if zset.encoding() == "listpack" => kind::ZSET_LISTPACK,
        View::ZSet(_) => kind::ZSET_2,
        View::Hash(hash) => match (hash.encoding() == "hashtable", hash.next_expiry().is_some()) {
            (false, false) => kind::HASH_LISTPACK,
            (false, true) => kind::HASH_LISTPACK_EX,
            (true, false) => kind::HASH,
            (true, true) => kind::HASH_METADATA,
        },
        View::Stream(_) => kind::STREAM_LISTPACKS_2,
    }
}

/// Called between the parts of a value: what has been written so far may leave. `None`: the whole stays in memory anyway.
type Between<'a> = Option<&'a mut dyn FnMut(&mut Writer)>;

fn pause(writer: &mut Writer, between: &mut Between<'_>) {
    if let Some(between) = between {
        between(writer);
    }
}

/// Writes one key with its expiry, its use as far as that is told, and its value.
pub(crate) fn write_entry(writer: &mut Writer, entry: &Entry, used: Option<Use>) {
    write_record(writer, entry, used, None);
}

fn write_record(writer: &mut Writer, entry: &Entry, used: Option<Use>, between: Between<'_>) {
    if let Some(at) = entry.expiry() {
        writer.expiry_ms(at);
    }
    match used {
        Some(Use::Idle(seconds)) => writer.idle(u64::from(seconds)),
        Some(Use::Frequency(counter)) => writer.freq(counter),
        None => {}
    }
    writer.key(kind_of(entry), entry.key());
    write_value(writer, entry, between);
}

/// Writes the RDB record of a large entry of database `db`, for the thread that writes the file. `between` is called again and again,
/// with no more than a few KiB or one element come since, so that the value never stands in memory a second time (the compressed form of
/// a string does, and a stream's groups with what they have pending).
pub fn write_large(
    writer: &mut Writer,
    db: usize,
    entry: &Entry,
    used: Option<Use>,
    between: &mut dyn FnMut(&mut Writer),
) {
    writer.select_db(db as u64);
    write_record(writer, entry, used, Some(between));
}

/// The payload of FUNCTION DUMP: the sources of libraries.
pub fn encode_libraries<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    dump::encode_libraries(true, codes)
}

/// The sources of libraries in a payload of FUNCTION RESTORE.
///
/// # Errors
/// Its frame is wrong, or it holds something else.
pub fn decode_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, DumpError> {
    dump::decode_libraries(payload)
}

/// The payload of DUMP.
pub fn encode_dump(entry: &Entry) -> Vec<u8> {
    dump::encode(kind_of(entry), true, |writer| write_value(writer, entry, None))
}

/// The entry that RESTORE makes of a payload.
///
/// # Errors
/// Whether its frame or its value is wrong.
pub fn decode_dump(space: &Keyspace, key: &[u8], payload: &[u8]) -> Result<Entry, DumpError> {
    let value = dump::decode(payload, !space.skip_checksums)?;
    let built = build(value, &space.limits);
    built.map(|value| Entry::new(key, value, None)).map_err(|_| DumpError::Value)
}

/// What is wrong with a payload whose value is damaged, for the server's log.
pub fn dump_complaint(payload: &[u8]) -> String {
    dump::complaint(payload)
}

/// The entry of an RDB record, with the access field that the record tells, or else that of a new key.
///
/// # Errors
/// When the value breaks a rule of its type.
pub fn entry_from_rdb(space: &Keyspace, record: rdb::Entry) -> Result<Entry, LoadError> {
    let rdb::Entry { key, expiry_ms, value, idle, freq, .. } = record;
    let mut entry = match value {
        rdb::Value::String(bytes) if bytes.len() >= GIVEN_BYTES_MIN => {
            Entry::given(&key, Arc::new(bytes), expiry_ms)
        }
        rdb::Value::String(bytes) => Entry::string(&key, &bytes, expiry_ms),
        value => Entry::new(&key, build(value, &space.limits)?, expiry_ms),
    };
    let aged = idle.and_then(|seconds| space.ranking.aged(seconds, space.now.unix_ms));
    let counted = freq.and_then(|counter| space.ranking.frequent(counter, space.now.unix_ms));
    entry.set_access(aged.or(counted).unwrap_or_else(|| space.fresh_access()));
    Ok(entry)
}

fn write_value(writer: &mut Writer, entry: &Entry, between: Between<'_>) {
    match entry.view() {
        View::Int(value) => writer.integer(value),
        View::Str(bytes) => match between {
            Some(between) => writer.long_string(bytes, between),
            None => writer.string(bytes),
        },
        View::List(list) => write_list(writer, list, between),
        View::Set(set) => write_set(writer, set, between),
        View::ZSet(zset) => write_zset(writer, zset, between),
        View::Hash(hash) => write_hash(writer, hash, between),
        View::Stream(stream) => write_stream(writer, stream, between),
    }
}

/// What is done with each node.
type Visit<'a, N> = &'a mut dyn FnMut(N);

/// The nodes that `each` makes, behind their number. Where they may leave one by one they are made twice rather than kept.
fn write_nodes<N>(
    writer: &mut Writer,
    mut between: Between<'_>,
    each: &dyn Fn(Visit<'_, N>),
    write: &dyn Fn(&mut Writer, N),
) {
    let (mut count, mut kept) = (0, Vec::new());
    match between {
        Some(_) => each(&mut |_| count += 1),
        None => each(&mut |node| kept.push(node)),
    }
    writer.length(count + kept.len() as u64);
    kept.into_iter().for_each(|node| write(writer, node));
    if between.is_some() {
        each(&mut |node| {
            write(writer, node);
            pause(writer, &mut between);
        });
    }
}

/// Quicklist nodes: packed ones of a few KiB, large elements as nodes of their own.
fn write_list(writer: &mut Writer, list: &types::list::List, between: Between<'_>) {
    write_nodes(writer, between, &|visit| for_each_node(list, visit), &|writer, node| match node {
        ListNode::Packed(mut packed) => writer.quicklist_packed(&mut packed),
        ListNode::Plain(element) => writer.quicklist_plain(element),
    });
}

/// A node of a list in RDB.
enum ListNode<'a> {
    Packed(listpack::Builder),
    Plain(&'a [u8]),
}

fn for_each_node<'a>(list: &'a types::list::List, visit: &mut dyn FnMut(ListNode<'a>)) {
    /// As Redis' default `list-max-listpack-size -2`.
    const NODE_BYTES_MAX: usize = 8 << 10;
    let mut packed = listpack::Builder::new();
    let close = |packed: &mut listpack::Builder, visit: &mut dyn FnMut(ListNode<'a>)| {
        if packed.elements() > 0 {
            visit(ListNode::Packed(core::mem::take(packed)));
        }
    };
    for element in list.iter() {
        let plain = element.len() >= NODE_BYTES_MAX;
        if plain || packed.bytes() + element.len() >= NODE_BYTES_MAX {
            close(&mut packed, visit);
        }
        match plain {
            true => visit(ListNode::Plain(element)),
            false => packed.push(element),
        }
    }
    close(&mut packed, visit);
}

fn write_set(writer: &mut Writer, set: &types::set::Set, mut between: Between<'_>) {
    if set.encoding() == "intset" {
        let members: Vec<i64> = set.iter().filter_map(|m| base::number::parse_i64(m.as_ref())).collect();
        writer.string(&intset::build(&members));
        return;
    }
    writer.length(set.len() as u64);
    for member in set.iter() {
        writer.string(member.as_ref());
        pause(writer, &mut between);
    }
}

fn write_zset(writer: &mut Writer, zset: &types::zset::ZSet, mut between: Between<'_>) {
    if zset.encoding() == "listpack" {
        let mut packed = listpack::Builder::new();
        let mut score_text = Vec::new();
        for (member, score) in zset.iter() {
            packed.push(member);
            score_text.clear();
            base::number::push_f64(&mut score_text, score);
            packed.push(&score_text);
        }
        writer.listpack(&mut packed);
        return;
    }
    writer.length(zset.len() as u64);
    for (member, score) in zset.iter() {
        writer.string(member);
        writer.double(score);
        pause(writer, &mut between);
    }
}

fn write_hash(writer: &mut Writer, hash: &types::hash::Hash, mut between: Between<'_>) {
    if let Some(least) = hash.next_expiry() {
        writer.milliseconds(least);
        return if hash.encoding() == "hashtable" {
            write_timed_table(writer, hash, least, between);
        } else {
            write_timed_listpack(writer, hash);
        };
    }
    if hash.encoding() != "hashtable" {
        let mut packed = listpack::Builder::new();
        for (field, value) in hash.iter() {
            packed.push(field);
            packed.push(value);
        }
        writer.listpack(&mut packed);
        return;
    }
    writer.length(hash.len() as u64);
    for (field, value) in hash.iter() {
        writer.string(field);
        writer.string(value);
        pause(writer, &mut between);
    }
}

/// Each field behind its time: 0 for none, else from 1 on, counted from the `least`.
fn write_timed_table(writer: &mut Writer, hash: &types::hash::Hash, least: i64, mut between: Between<'_>) {
    writer.length(hash.stored_len() as u64);
    for (field, value, at) in hash.timed_fields() {
        writer.length(at.map_or(0, |at| (at - least) as u64 + 1));
        writer.string(field);
        writer.string(value);
        pause(writer, &mut between);
    }
}

/// Field, value and time in threes, by time; those that stay (time 0) are the last, as Redis counts on.
fn write_timed_listpack(writer: &mut Writer, hash: &types::hash::Hash) {
    let mut fields: Vec<_> = hash.timed_fields().collect();
    fields.sort_by_key(|(_, _, at)| at.unwrap_or(i64::MAX));
    let (mut packed, mut time) = (listpack::Builder::new(), Vec::new());
    for (field, value, at) in fields {
        packed.push(field);
        packed.push(value);
        time.clear();
        base::number::push_i64(&mut time, at.unwrap_or(0));
        packed.push(&time);
    }
    writer.listpack(&mut packed);
}

fn stream_id(id: Id) -> StreamId {
    StreamId { ms: id.ms, seq: id.seq }
}

fn write_stream(writer: &mut Writer, stream: &Stream, between: Between<'_>) {
    let each = |visit: &mut dyn FnMut(rdb::StreamNode)| for_each_stream_node(stream, visit);
    write_nodes(writer, between, &each, &|writer, node| node.write(writer));
    let meta = StreamMeta {
        last_id: stream_id(stream.last_id()),
        first_id: stream_id(stream.first_id()),
        max_deleted_id: stream_id(stream.max_deleted_id()),
        entries_added: stream.entries_added(),
        groups: stream.groups().map(|(name, group)| group_parts(name, group)).collect(),
    };
    meta.write(writer, stream.entry_count(), kind::STREAM_LISTPACKS_2);
}

fn for_each_stream_node(stream: &Stream, visit: &mut dyn FnMut(rdb::StreamNode)) {
    // As they lie here, for approximate trims show where a node ends.
    for chunk in stream.chunks() {
        let mut encoder = rdb::StreamEncoder::new();
        for entry in chunk {
            encoder.push(stream_id(entry.id), entry.fields()).into_iter().for_each(&mut *visit);
        }
        encoder.close_node().into_iter().for_each(&mut *visit);
    }
}

fn group_parts(name: &[u8], group: &types::stream::Group) -> rdb::Group {
    let consumers: Vec<(&[u8], &types::stream::Consumer)> = group.consumers().collect();
    // There may be very many of both.
    let indexes: HashMap<&[u8], usize> =
        consumers.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
    let pending = |(id, p): (Id, &types::stream::Pending)| rdb::Pending {
        id: stream_id(id),
        delivered_ms: p.delivery_ms,
        delivery_count: p.deliveries,
        consumer: indexes.get(&*p.consumer).copied().unwrap_or_default(),
    };
    rdb::Group {
        name: name.to_vec(),
        last_id: stream_id(group.last_delivered()),
        entries_read: group.entries_read(),
        pending: group.pending().map(pending).collect(),
        consumers: (consumers.iter())
            .map(|(name, c)| rdb::Consumer {
                name: name.to_vec(),
                seen_ms: c.seen_ms,
                active_ms: c.active_ms.unwrap_or(-1),
            })
            .collect(),
    }
}

/// Builds a value out of what was read, element by element: each is freed when it is built in, so that a large value does not
/// stand in memory twice.
fn build(value: rdb::Value, limits: &Limits) -> Result<Value, LoadError> {
    const DUPLICATE: LoadError = "Bad data format";
    Ok(match value {
        rdb::Value::String(bytes) => match base::number::parse_i64(&bytes) {
            Some(number) => Value::Int(number),
            None => Value::Str(bytes),
        },
        rdb::Value::List(elements) => {
            let mut list = types::list::List::new();
            elements.for_each(&mut |element| list.push_back(element, limits));
            Value::List(list)
        }
        rdb::Value::Set(members) => {
            let mut set = types::set::Set::new();
            if !members.into_iter().all(|m| set.add(&m, limits)) {
                return Err(DUPLICATE);
            }
            Value::Set(set)
        }
        rdb::Value::ZSet(members) => {
            let mut zset = types::zset::ZSet::new();
            if !members.into_iter().all(|(member, score)| zset.insert(&member, score, limits)) {
                return Err(DUPLICATE);
            }
            Value::ZSet(zset)
        }
        rdb::Value::Hash(fields) => {
            let mut hash = types::hash::Hash::new();
            let timed: Vec<(Vec<u8>, i64)> =
                fields.iter().filter_map(|(field, _, at)| at.map(|at| (field.clone(), at))).collect();
            if !fields.into_iter().all(|(field, value, _)| hash.set_keeping_expiry(&field, &value, limits)) {
                return Err(DUPLICATE);
            }
            // Backwards, for of fields with the same time the last one set comes first.
            for (field, at) in timed.into_iter().rev() {
                hash.set_expiry(&field, Some(at));
            }
            Value::Hash(hash)
        }
        rdb::Value::Stream(parts) => Value::Stream(build_stream(parts)?),
    })
}

fn build_stream(parts: rdb::StreamParts) -> Result<Stream, LoadError> {
    let id = |id: StreamId| Id::new(id.ms, id.seq);
    let mut stream = Stream::new();
    let mut starts = parts.node_starts.into_iter().peekable();
    for (index, entry) in parts.entries.into_iter().enumerate() {
        let fields = entry.fields.iter().map(|(f, v)| (f.as_slice(), v.as_slice()));
        let opens = starts.next_if_eq(&index).is_some();
        stream.append_loaded(id(entry.id), fields, opens).map_err(|_| "Bad data format")?;
    }
    let meta = parts.meta;
    stream.set_counters(id(meta.last_id), meta.entries_added, id(meta.max_deleted_id));
    for group in &meta.groups {
        stream.create_group(&group.name, id(group.last_id), group.entries_read);
        let Some(fresh) = stream.group_mut(&group.name) else { continue };
        for consumer in &group.consumers {
            fresh.restore_consumer(
                &consumer.name,
                consumer.seen_ms.max(0),
                (consumer.active_ms >= 0).then_some(consumer.active_ms),
            );
        }
        for pending in &group.pending {
            let owner = group.consumers.get(pending.consumer).ok_or("Bad data format")?;
            // A file may tell of times before all times, with which nothing can be calculated.
            let delivered_ms = pending.delivered_ms.max(0);
            fresh.assign(id(pending.id), &owner.name, delivered_ms, pending.delivery_count);
        }
    }
    Ok(stream)
}
