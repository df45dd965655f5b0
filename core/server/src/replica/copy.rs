//! The master's whole data set, read into memory beside the one that serves.

use std::io::{self, Read};

use engine::Incoming;
use persist::rdb::{self, Item, Reader};
use replication::replica::Part;

use super::ended::Ended;
use super::wire::Wire;
use crate::context::BackgroundContext;
use crate::loader::{Loaded, Overdue, SnapshotFault, take_in_entry};

/// Entries between two looks at how much memory is in use.
const PUBLISH_PERIOD: u64 = 4096;

/// The snapshot on the wire, as a reader sees it. Why it ends early is kept here: an error of a reader cannot carry it.
struct Source<'a> {
    wire: &'a mut Wire,
    ended: Option<Ended>,
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.wire.link.snapshot(into) {
                Part::Bytes(count) => {
                    self.wire.count_copied(count as u64);
                    return Ok(count);
                }
                Part::End => return Ok(0),
                Part::Waits => {
                    if let Err(ended) = self.wire.pump() {
                        self.ended = Some(ended);
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
            }
        }
    }
}

/// Reads it, of so many bytes if that is known, and the database in which the stream behind it goes on.
pub(super) fn read(wire: &mut Wire, bytes: Option<u64>) -> Result<(Box<Incoming>, u64), Ended> {
    let shared = wire.shared;
    let (mut incoming, verify) = {
        let engine = shared.engine.lock();
        (Box::new(engine.incoming()), engine.config.rdbchecksum)
    };
    let mut source = Source { wire, ended: None };
    let filled = fill(&mut source, bytes, verify, &mut incoming, &BackgroundContext { shared });
    let Source { ended, .. } = source;
    match (ended, filled) {
        // What has come is no small thing to free, and the link has to go on.
        (Some(ended), _) => {
            shared.free(incoming.into_trash());
            Err(ended)
        }
        (None, Err(why)) => {
            shared.free(incoming.into_trash());
            Err(Ended::Unusable(why))
        }
        (None, Ok(loaded)) => {
            shared.logger.notice(&format!("Done loading RDB, keys loaded: {}.", loaded.keys));
            Ok((incoming, loaded.facts.db()))
        }
    }
}

fn fill(
    source: &mut Source<'_>,
    bytes: Option<u64>,
    verify: bool,
    incoming: &mut Incoming,
    outside: &BackgroundContext<'_>,
) -> Result<Loaded, SnapshotFault> {
    let mut reader = Reader::new(&mut *source, bytes, verify)?;
    let mut loaded = Loaded::default();
    while let Some(item) = reader.next()? {
        match item {
            Item::Aux { key, value } => loaded.facts.hear(&key, &value),
            Item::SelectDb(_) | Item::Resize { .. } | Item::EmptyKey(_) => {}
            Item::Function(code) => {
                incoming.take_in_library(&code, outside).map_err(SnapshotFault::Library)?;
            }
            Item::Entry(entry) => {
                take_in_entry(&mut incoming.keyspace, entry, Overdue::Kept, &mut loaded)?;
                if loaded.keys % PUBLISH_PERIOD == 0 {
                    crate::allocator::publish();
                }
            }
        }
    }
    // The reader may have read ahead, so what came is compared with what it has used.
    let used = reader.offset();
    let more = source.read(&mut [0; 1]).map_err(rdb::Error::Io)?;
    match more > 0 || source.wire.copied.is_some_and(|(came, _)| came > used) {
        true => Err(SnapshotFault::Behind),
        false => Ok(loaded),
    }
}
