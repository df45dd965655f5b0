//! Takes what the disk holds into an engine, as a start does.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use config::{Config, Origin};
use engine::{Acl, Engine};
use persist::aof::{Commands, LogFile};
use persist::disk::Disk;
use persist::rdb::{Entry, Item, Reader, Writer};

use crate::world::{Clock, World};

/// The configuration of all engines of a run.
pub(crate) fn settings() -> Config {
    let mut config = Config::default();
    for (name, value) in [("appendonly", "yes"), ("save", ""), ("io-threads", "1")] {
        config
            .assign(name, value.as_bytes(), Origin::Profile)
            .expect("these are directives with such values");
    }
    config
}

/// An engine without data, which takes in what others have executed.
pub(crate) fn replaying(clock: &Clock) -> Engine {
    let mut engine =
        Engine::new(settings(), Acl::new(Vec::new()), [7; 32], clock.now()).expect("nothing is renamed");
    engine.keyspace_mut().keep_expired = true;
    engine.set_logging(false);
    engine
}

/// An engine that never does more than to replay. To make one takes longer than most runs need for all else, so it is used again; of what
/// it has held nothing is left but the order of its tables, which nobody looks at.
pub(crate) struct Replica(Option<Engine>);

impl Replica {
    /// One without data.
    pub(crate) fn new(clock: &Clock) -> Replica {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        Replica(Some(idle.unwrap_or_else(|| replaying(clock))))
    }
}

impl Deref for Replica {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Replica {
    fn deref_mut(&mut self) -> &mut Engine {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let Some(mut engine) = self.0.take() else { return };
        if std::thread::panicking() || engine.keyspace.snapshot_progress().is_some() {
            return;
        }
        engine.replay_end();
        let mut world = World::of_replay(&Clock::default());
        for words in [["FLUSHALL", "SYNC"].as_slice(), &["FUNCTION", "FLUSH", "SYNC"]] {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            replay(&mut engine, &words, &mut world).expect("all that there is can be removed");
        }
        engine.replay_end();
        IDLE.with_borrow_mut(|idle| idle.push(engine));
    }
}

thread_local! {
    static IDLE: RefCell<Vec<Engine>> = const { RefCell::new(Vec::new()) };
}

/// Runs one record.
pub(crate) fn replay(engine: &mut Engine, argv: &[Vec<u8>], world: &mut World) -> Result<(), String> {
    let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
    engine.begin_batch(world.clock.now());
    let done = engine.replay(&argv, world).map_err(|error| format!("{error:?}"));
    forget_effects(engine);
    done
}

fn forget_effects(engine: &mut Engine) {
    engine.keyspace_mut().effects.clear();
    engine.take_log(&mut Vec::new());
    engine.take_deliveries(&mut Vec::new());
    engine.take_jobs(&mut Vec::new());
    drop(engine.keyspace_mut().take_trash());
}

/// Loads one file of a log.
pub(crate) fn load_file(
    engine: &mut Engine,
    disk: &dyn Disk,
    file: &LogFile,
    clock: &Clock,
) -> Result<(), String> {
    let mut offset = file.commands_offset;
    if file.is_rdb {
        offset = offset.max(load_snapshot(engine, disk, &file.path, clock)?);
    }
    let mut world = World::of_replay(clock);
    let source = disk.read(&file.path, offset).map_err(|error| error.to_string())?;
    let mut commands = Commands::new(source, offset, file.bytes);
    while let Some(argv) = commands.next().map_err(|error| error.to_string())? {
        replay(engine, &argv, &mut world)?;
    }
    Ok(())
}

/// Loads a snapshot; the offset behind it.
pub(crate) fn load_snapshot(
    engine: &mut Engine,
    disk: &dyn Disk,
    path: &Path,
    clock: &Clock,
) -> Result<u64, String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = disk.len(path).map_err(|error| text(&error))?;
    let source = disk.read(path, 0).map_err(|error| text(&error))?;
    let mut reader = Reader::new(source, Some(bytes), true).map_err(|error| text(&error))?;
    let world = World::of_replay(clock);
    engine.begin_batch(clock.now());
    while let Some(item) = reader.next().map_err(|error| text(&error))? {
        match item {
            Item::Entry(entry) => take_in(engine, entry)?,
            Item::Function(code) => engine.take_in_library(&code, true, &world)?,
            Item::Aux { .. } | Item::SelectDb(_) | Item::Resize { .. } => {}
            Item::EmptyKey(key) => return Err(format!("an empty key: {}", key.escape_ascii())),
        }
    }
    forget_effects(engine);
    Ok(reader.offset())
}

fn take_in(engine: &mut Engine, entry: Entry) -> Result<(), String> {
    let (db, space) = (entry.db as usize, engine.keyspace_mut());
    let entry = keyspace::entry_from_rdb(space, entry).map_err(str::to_owned)?;
    keyspace::Db::new(space, db).put_used(entry);
    Ok(())
}

/// All that an engine without a snapshot under way holds, in one order: two that hold the same give the same.
pub(crate) fn contents(engine: &mut Engine) -> Vec<String> {
    let space = engine.keyspace_mut();
    assert!(space.begin_snapshot(false), "no snapshot is under way");
    while !space.step_snapshot(1 << 10) {}
    let pieces = space.take_snapshot_pieces();
    let mut writer = Writer::new(false, true);
    writer.header(space.snapshot_version());
    for piece in pieces {
        match piece {
            keyspace::Piece::Bytes(bytes) => writer.raw(&bytes),
            keyspace::Piece::Large { db, entry, used } => {
                keyspace::write_large(&mut writer, db, &entry, used, &mut |_| {});
            }
        }
    }
    writer.end();
    space.end_snapshot();
    let bytes = writer.take();
    let mut reader =
        Reader::new(&bytes[..], Some(bytes.len() as u64), true).expect("it was written just now");
    let mut all = Vec::new();
    while let Some(item) = reader.next().expect("it was written just now") {
        if let Item::Entry(entry) = item {
            all.push(line(entry));
        }
    }
    all.sort();
    all
}

/// One key, its value without the order that only its table gives it.
fn line(entry: Entry) -> String {
    use persist::rdb::Value;
    let Entry { db, key, expiry_ms, mut value, .. } = entry;
    let value = match &mut value {
        Value::Set(members) => {
            members.sort();
            format!("{value:?}")
        }
        Value::ZSet(members) => {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            format!("{value:?}")
        }
        Value::Hash(fields) => {
            fields.sort();
            format!("{value:?}")
        }
        Value::List(parts) => format!("{:?}", parts.to_vec()),
        Value::String(_) => format!("{value:?}"),
        Value::Stream(stream) => {
            // When a consumer was seen last is told by no record, as in Redis; how the entries lie together is nobody's business.
            stream.node_starts.clear();
            for consumer in stream.meta.groups.iter_mut().flat_map(|group| &mut group.consumers) {
                (consumer.seen_ms, consumer.active_ms) = (0, 0);
            }
            format!("{stream:?}")
        }
    };
    format!("{db} {} {expiry_ms:?} {value}", key.escape_ascii())
}
