//! A snapshot as the commands that build it: the base of a log without RDB preamble (`aof-use-rdb-preamble no`).
//!
//! It ends with a line that has the checksum of the whole (see `line`). It is written from a finished snapshot, entry by entry, so it needs no second way through the keyspace and never
//! holds more than one value. Long collections are split over commands of at most [`ITEMS_MAX`] elements.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::line::{push_base_end, push_timestamp};
use crate::rdb::{Entry, Error, Group, Item, Reader, StreamEntry, StreamId, StreamMeta, StreamParts, Value};

/// Elements that one command carries.
const ITEMS_MAX: usize = 64;

/// Bytes that are collected before they go to the sink.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a snapshot did not become commands.
#[derive(Debug)]
pub enum ConvertError {
    /// The snapshot cannot be read.
    Snapshot(Error),
    /// The commands cannot be written.
    Sink(io::Error),
}

impl std::fmt::Display for ConvertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConvertError::Snapshot(error) => write!(f, "{error}"),
            ConvertError::Sink(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ConvertError {}

/// Reads a snapshot to its end and gives the sink commands that build the same data set. With a time, unix seconds,
/// they begin with its `#TS:` line.
pub fn snapshot_to_commands<R: Read>(
    mut snapshot: Reader<R>,
    timestamp_s: Option<i64>,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ConvertError> {
    let (mut out, mut crc) = (Vec::new(), 0);
    let mut db = None;
    if let Some(unix_s) = timestamp_s {
        push_timestamp(unix_s, &mut out);
    }
    while let Some(item) = snapshot.next().map_err(ConvertError::Snapshot)? {
        match item {
            Item::Aux { .. } | Item::SelectDb(_) | Item::Resize { .. } | Item::EmptyKey(_) => {}
            Item::Function(code) => push(&mut out, &[b"FUNCTION", b"LOAD", b"REPLACE", &code]),
            Item::Entry(entry) => {
                if db.replace(entry.db) != Some(entry.db) {
                    push(&mut out, &[b"SELECT", entry.db.to_string().as_bytes()]);
                }
                push_entry(&mut out, &entry);
            }
        }
        if out.len() >= CHUNK_BYTES {
            crc = base::crc64::update(crc, &out);
            sink(&out).map_err(ConvertError::Sink)?;
            out.clear();
        }
    }
    crc = base::crc64::update(crc, &out);
    push_base_end(crc, &mut out);
    sink(&out).map_err(ConvertError::Sink)
}

fn push(out: &mut Vec<u8>, argv: &[&[u8]]) {
    head(out, argv.len());
    argv.iter().for_each(|argument| bulk(out, argument));
}

fn head(out: &mut Vec<u8>, count: usize) {
    out.push(b'*');
    base::number::push_u64(out, count as u64);
    out.extend_from_slice(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    base::number::push_u64(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn push_entry(out: &mut Vec<u8>, entry: &Entry) {
    let key = &entry.key[..];
    match &entry.value {
        Value::String(value) => push(out, &[b"SET", key, value]),
        Value::List(parts) => {
            in_parts(out, b"RPUSH", key, &parts.to_vec(), 1, |out, element| bulk(out, element));
        }
        Value::Set(members) => in_parts(out, b"SADD", key, members, 1, |out, member| bulk(out, member)),
        Value::ZSet(members) => in_parts(out, b"ZADD", key, members, 2, |out, (member, score)| {
            let mut text = Vec::new();
            base::number::push_f64(&mut text, *score);
            bulk(out, &text);
            bulk(out, member);
        }),
        Value::Hash(fields) => {
            in_parts(out, b"HSET", key, fields, 2, |out, (field, value, _)| {
                bulk(out, field);
                bulk(out, value);
            });
            for (field, _, expiry_ms) in fields {
                if let Some(at_ms) = expiry_ms {
                    let at_ms = at_ms.to_string();
                    push(out, &[b"HPEXPIREAT", key, at_ms.as_bytes(), b"FIELDS", b"1", field]);
                }
            }
        }
        Value::Stream(stream) => push_stream(out, key, stream),
    }
    if let Some(at_ms) = entry.expiry_ms {
        push(out, &[b"PEXPIREAT", key, at_ms.to_string().as_bytes()]);
    }
}

/// `name key item...` as often as the items need; each item writes `width` arguments.
fn in_parts<T>(
    out: &mut Vec<u8>,
    name: &[u8],
    key: &[u8],
    items: &[T],
    width: usize,
    write: impl Fn(&mut Vec<u8>, &T),
) {
    for part in items.chunks(ITEMS_MAX) {
        head(out, 2 + part.len() * width);
        bulk(out, name);
        bulk(out, key);
        part.iter().for_each(|item| write(out, item));
    }
}

fn id_text(id: StreamId) -> Vec<u8> {
    format!("{}-{}", id.ms, id.seq).into_bytes()
}

fn push_stream(out: &mut Vec<u8>, key: &[u8], stream: &StreamParts) {
    let StreamMeta { last_id, max_deleted_id, entries_added, groups, .. } = &stream.meta;
    let lost = lost_entries(stream);
    if !lost.is_empty() {
        push_lost(out, key, &stream.meta, &lost);
    }
    stream.entries.iter().for_each(|entry| push_stream_entry(out, key, entry));
    if lost.is_empty() && stream.entries.is_empty() {
        // The only way to an empty stream: an entry that is trimmed at once. Its id must not be zero.
        let id = (*last_id).max(StreamId { ms: 0, seq: 1 });
        push(out, &[b"XADD", key, b"MAXLEN", b"0", &id_text(id), b"x", b"y"]);
    }
    push_counters(out, key, *last_id, *entries_added, *max_deleted_id);
    if lost.is_empty() {
        groups.iter().for_each(|group| push_group(out, key, group));
    }
    groups.iter().for_each(|group| push_claims(out, key, group, |id| !lost.contains(&id)));
}

/// What groups have pending although the stream has it no more.
fn lost_entries(stream: &StreamParts) -> BTreeSet<StreamId> {
    let is_there = |id: &StreamId| stream.entries.binary_search_by_key(id, |entry| entry.id).is_ok();
    let pending = stream.meta.groups.iter().flat_map(|group| &group.pending).map(|pending| pending.id);
    // No entry can have had the id 0-0, whatever a file says.
    pending.filter(|id| *id > StreamId::default() && !is_there(id)).collect()
}

/// The groups, and what they hold of lost entries: a claim takes only what is there, so these are added, claimed, and trimmed away. A
/// trim leaves what is pending, and no trace of itself once the stream's last id is zero again.
fn push_lost(out: &mut Vec<u8>, key: &[u8], meta: &StreamMeta, lost: &BTreeSet<StreamId>) {
    let none = StreamId::default();
    lost.iter().for_each(|id| push(out, &[b"XADD", key, &id_text(*id), b"x", b"y"]));
    // No group is let read more than was added.
    let added = meta.entries_added.max(lost.len() as u64);
    push_counters(out, key, lost.last().copied().unwrap_or(none), added, none);
    for group in &meta.groups {
        push_group(out, key, group);
        push_claims(out, key, group, |id| lost.contains(&id));
    }
    push(out, &[b"XTRIM", key, b"MAXLEN", b"0"]);
    push_counters(out, key, none, added, none);
}

fn push_stream_entry(out: &mut Vec<u8>, key: &[u8], entry: &StreamEntry) {
    head(out, 3 + entry.fields.len() * 2);
    bulk(out, b"XADD");
    bulk(out, key);
    bulk(out, &id_text(entry.id));
    for (field, value) in &entry.fields {
        bulk(out, field);
        bulk(out, value);
    }
}

fn push_counters(out: &mut Vec<u8>, key: &[u8], last: StreamId, added: u64, max_deleted: StreamId) {
    let (last, added, max_deleted) = (id_text(last), added.to_string(), id_text(max_deleted));
    push(out, &[b"XSETID", key, &last, b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &max_deleted]);
}

/// A group with its consumers.
fn push_group(out: &mut Vec<u8>, key: &[u8], group: &Group) {
    let (name, last) = (&group.name[..], id_text(group.last_id));
    let read = group.entries_read.map_or(-1, |read| read as i64).to_string();
    push(out, &[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", read.as_bytes()]);
    for consumer in &group.consumers {
        push(out, &[b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name]);
    }
}

/// What a group has pending, of entries that are there at that moment.
fn push_claims(out: &mut Vec<u8>, key: &[u8], group: &Group, is_there: impl Fn(StreamId) -> bool) {
    for pending in group.pending.iter().filter(|pending| is_there(pending.id)) {
        let Some(consumer) = group.consumers.get(pending.consumer) else { continue };
        let (time, count) = (pending.delivered_ms.to_string(), pending.delivery_count.to_string());
        let id = id_text(pending.id);
        let claim: [&[u8]; 12] = [
            b"XCLAIM",
            key,
            &group.name,
            &consumer.name,
            b"0",
            &id,
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"JUSTID",
            b"FORCE",
        ];
        push(out, &claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{self, Consumer, Pending, Writer};

    fn converted(write: impl FnOnce(&mut Writer), timestamp_s: Option<i64>) -> String {
        let mut writer = Writer::new(true, true);
        writer.header(rdb::VERSION);
        writer.select_db(3);
        write(&mut writer);
        writer.end();
        let bytes = writer.take();
        let mut text = Vec::new();
        let reader = Reader::new(&bytes[..], None, true).unwrap();
        let mut sink = |part: &[u8]| {
            text.extend_from_slice(part);
            Ok(())
        };
        snapshot_to_commands(reader, timestamp_s, &mut sink).unwrap();
        String::from_utf8(text).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn the_base_selects_builds_and_expires() {
        let text = converted(
            |writer| {
                writer.expiry_ms(1_700_000_000_123);
                writer.key(rdb::kind::STRING, b"k");
                writer.string(b"v");
            },
            Some(7),
        );
        let (commands, end) = text.split_at(text.find("#TDM-BASE:").unwrap());
        assert_eq!(
            commands,
            "#TS:7 *2 $6 SELECT $1 3 *3 $3 SET $1 k $1 v *3 $9 PEXPIREAT $1 k $13 1700000000123 "
        );
        let crc = base::crc64::update(0, commands.replace(' ', "\r\n").as_bytes());
        assert!(end.starts_with(&format!("#TDM-BASE:{crc:016x}:")), "{end}");
    }

    #[test]
    fn what_groups_hold_of_lost_entries_is_claimed_before_these_go() {
        let id = |ms| StreamId { ms, seq: 0 };
        let pending = |ms| Pending { id: id(ms), delivered_ms: 9, delivery_count: 4, consumer: 0 };
        let group = Group {
            name: b"g".to_vec(),
            last_id: id(5),
            entries_read: Some(3),
            pending: vec![pending(2), pending(5)],
            consumers: vec![Consumer { name: b"c".to_vec(), seen_ms: 9, active_ms: 9 }],
        };
        let stream = StreamParts {
            entries: vec![StreamEntry { id: id(5), fields: vec![(b"f".to_vec(), b"v".to_vec())] }],
            node_starts: vec![0],
            meta: StreamMeta {
                last_id: id(5),
                first_id: id(5),
                max_deleted_id: id(2),
                entries_added: 3,
                groups: vec![group],
            },
        };
        let text = converted(
            |writer| {
                writer.key(rdb::kind::STREAM_LISTPACKS_2, b"s");
                stream.write(writer, rdb::kind::STREAM_LISTPACKS_2);
            },
            None,
        );
        let in_order = [
            "XADD $1 s $3 2-0",
            "XGROUP $6 CREATE $1 s $1 g $3 5-0 $11 ENTRIESREAD $1 3",
            "XCLAIM $1 s $1 g $1 c $1 0 $3 2-0",
            "XTRIM $1 s $6 MAXLEN $1 0",
            "XSETID $1 s $3 0-0",
            "XADD $1 s $3 5-0 $1 f $1 v",
            "XSETID $1 s $3 5-0 $12 ENTRIESADDED $1 3 $12 MAXDELETEDID $3 2-0",
            "XCLAIM $1 s $1 g $1 c $1 0 $3 5-0",
        ];
        let places: Vec<usize> = in_order.iter().map(|part| text.find(part).expect(part)).collect();
        assert!(places.is_sorted(), "{text}");
        assert_eq!((text.matches("XCLAIM").count(), text.matches("CREATE ").count()), (2, 1), "{text}");
    }

    #[test]
    fn long_collections_are_split_and_all_there() {
        let text = converted(
            |writer| {
                writer.key(rdb::kind::SET, b"s");
                writer.length(130);
                (0..130).for_each(|n| writer.string(format!("m{n:03}").as_bytes()));
            },
            None,
        );
        assert_eq!(text.matches("SADD").count(), 3);
        assert!((0..130).all(|n| text.contains(&format!("m{n:03}"))), "{text}");
        assert!(text.contains("*66 $4 SADD") && text.contains("*4 $4 SADD"), "{text}");
    }
}
