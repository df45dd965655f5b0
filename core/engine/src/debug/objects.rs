//! DEBUG on single values and on the structures they are kept in.
//!
//! The answers have Redis' shape, because test suites take them apart; the figures are those of our own structures.

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::Job;
use commands::Error;
use types::{Entry, View};

/// The entry of argument 2, without a trace.
fn peek<'e>(engine: &'e mut Engine, turn: &Turn<'_>) -> Result<&'e Entry, Error> {
    let db = engine.sessions.at(turn.session).db;
    engine.keyspace.peek(db, turn.args.at(2)).ok_or(Error::NO_SUCH_KEY)
}

pub(super) fn object(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (clock, ranking) = (engine.keyspace.now.unix_ms, engine.keyspace.ranking());
    let list_size = engine.config.list_max_listpack_size;
    let entry = peek(engine, turn)?;
    // Without the type byte, the version and the checksum.
    let length = keyspace::encode_dump(entry).len().saturating_sub(11);
    let mut line = format!(
        "Value at:{entry:p} refcount:1 encoding:{} serializedlength:{length} lru:{} lru_seconds_idle:{}",
        entry.encoding_name(),
        entry.access(),
        ranking.idle_seconds(entry.access(), clock)
    );
    if let (View::List(list), "quicklist") = (entry.view(), entry.encoding_name()) {
        let bytes: usize = list.iter().map(|element| element.len() + 2).sum();
        let nodes = nodes_of(list.len(), bytes, list_size);
        line.push_str(&format!(
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{list_size} ql_compressed:0 ql_uncompressed_size:{bytes}",
            list.len() as f64 / nodes as f64,
        ));
    }
    turn.reply.status(&line);
    Ok(Step::Done(None))
}

/// How many nodes a list of so many elements and bytes needs by `list-max-listpack-size`; ours are cut in another way.
fn nodes_of(elements: usize, bytes: usize, list_size: i64) -> usize {
    match usize::try_from(list_size) {
        Ok(per_node) => elements.div_ceil(per_node.max(1)),
        Err(_) => bytes.div_ceil(4096 << (list_size.unsigned_abs().clamp(1, 5) - 1)),
    }
    .max(1)
}

pub(super) fn sdslen(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let entry = peek(engine, turn)?;
    let View::Str(text) = entry.view() else { return Err(Error::new("ERR Not an sds encoded string.")) };
    let allocated = entry.heap_bytes();
    turn.reply.status(&format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {allocated}, val_sds_len:{}, val_sds_avail:{}, val_zmalloc: {allocated}",
        entry.key().len(),
        text.len(),
        entry.spare_bytes(),
    ));
    Ok(Step::Done(None))
}

pub(super) fn listpack(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    describe(engine, turn, "listpack", "Listpack")
}

pub(super) fn quicklist(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    describe(engine, turn, "quicklist", "Quicklist")
}

/// Logs what is known of a value of this encoding.
fn describe(engine: &mut Engine, turn: &mut Turn<'_>, encoding: &str, name: &str) -> Result<Step, Error> {
    let entry = peek(engine, turn)?;
    if entry.encoding_name() != encoding {
        return Err(Error::text(format!("ERR Not a {encoding} encoded object.")));
    }
    let text = format!("{name} of {} elements, {} bytes", elements(entry), entry.heap_bytes());
    engine.jobs.push(Job::Log { level: 2, text });
    turn.reply.status(&format!("{name} structure printed on stdout"));
    Ok(Step::Done(None))
}

/// Elements of a value; 1 for a string.
fn elements(entry: &Entry) -> usize {
    match entry.view() {
        View::Int(_) | View::Str(_) => 1,
        View::List(list) => list.len(),
        View::Set(set) => set.len(),
        View::ZSet(zset) => zset.len(),
        View::Hash(hash) => hash.len(),
        View::Stream(stream) => stream.entry_count() as usize,
    }
}

fn table_lines(slots: usize, elements: usize) -> String {
    format!("Hash table 0 stats (main hash table):\n table size: {slots}\n number of elements: {elements}\n")
}

pub(super) fn htstats(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let index = usize::try_from(turn.args.int(2)?)
        .ok()
        .filter(|index| *index < engine.keyspace.database_count())
        .ok_or(Error::new("ERR Out of range database"))?;
    let database = engine.keyspace.database(index);
    let figures = database.stats(engine.keyspace.now.unix_ms);
    let mut text = format!("[Dictionary HT]\n{}[Expires HT]\n", table_lines(database.slots(), figures.keys));
    if figures.expiring > 0 {
        // The times lie in the entries themselves: there is no second table.
        text.push_str(&table_lines(database.slots(), figures.expiring));
    }
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

pub(super) fn htstats_key(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let entry = peek(engine, turn)?;
    if !matches!(entry.encoding_name(), "hashtable" | "skiplist") {
        return Err(Error::new(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    }
    let count = elements(entry);
    turn.reply.verbatim(b"txt", table_lines(count.next_power_of_two(), count).as_bytes());
    Ok(Step::Done(None))
}

pub(super) fn structsize(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let text = format!(
        "bits:{} entry:{} value:{} bucket:64 ",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<types::Value>()
    );
    turn.reply.bulk(text.as_bytes());
    Ok(Step::Done(None))
}

/// The clients in classes of buffer size, each twice the one before.
pub(super) fn client_eviction(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.config.maxmemory_clients == 0 {
        return Err(Error::new("ERR maxmemory-clients is disabled."));
    }
    const SMALLEST_BITS: u32 = 15;
    const CLASSES: usize = 19;
    let mut classes = [(0usize, 0usize); CLASSES];
    for (_, session) in engine.sessions.iter() {
        let bytes = session.memory_bytes();
        let class = (bytes.max(1).ilog2().saturating_sub(SMALLEST_BITS) as usize).min(CLASSES - 1);
        classes[class].0 += bytes;
        classes[class].1 += 1;
    }
    let mut text = String::new();
    for (class, (bytes, count)) in classes.into_iter().enumerate().rev() {
        let largest = 2u64 << (class as u32 + SMALLEST_BITS);
        text.push_str(&format!("Bucket {class} ({largest} bytes): {bytes} bytes, {count} clients\n"));
    }
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}
