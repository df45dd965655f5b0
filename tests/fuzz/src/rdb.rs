//! Snapshot files: any bytes are refused, or give entries that bear being used.

use crate::bench::Bench;
use persist::rdb::{Item, Reader};

/// Keys that are looked at closely.
const KEYS_MAX: usize = 16;

/// The bytes are the file; its checksum is not looked at, so that the fuzzer gets past it.
pub fn run(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data, Some(data.len() as u64), false) else { return };
    let mut bench = Bench::new();
    let mut keys = Vec::new();
    while let Ok(Some(item)) = reader.next() {
        let Item::Entry(record) = item else { continue };
        let key = record.key.clone();
        let Ok(entry) = keyspace::entry_from_rdb(bench.engine.keyspace_mut(), record) else { continue };
        keyspace::Db::new(bench.engine.keyspace_mut(), 0).put_entry(entry);
        if keys.len() < KEYS_MAX {
            keys.push(key);
        }
    }
    for key in keys {
        bench.call(&[b"PERSIST", &key]);
        bench.exercise(&key);
    }
}
