//! Reads the data set at start, while clients are already told LOADING.
//!
//! Reading and decoding happen without the engine; it is taken for one batch of records at a time. What
//! cannot be read ends the start: a server that began with half of its data would soon save that half over
//! the whole.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::Engine;
use persist::aof::{Commands, Log, LogFile, Recovered};
use persist::rdb::{Entry, Item, Reader};

use crate::shared::{Loading, Shared};

/// Records that are taken into the engine in one go.
const BATCH_RECORDS: usize = 512;

/// Bytes of decoded records that are taken in one go, about.
const BATCH_BYTES: usize = 1 << 20;

/// What was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) keys: u64,
    pub(crate) expired: u64,
    pub(crate) commands: u64,
    /// A key that is there already is an error.
    is_strict: bool,
}

/// Loads the log if there is to be one, else the snapshot if there is one, and opens the log.
///
/// # Errors
/// What is wrong and where; the server must not start.
pub(crate) fn load(shared: &Shared) -> Result<Loaded, String> {
    let appendonly = shared.engine.lock().config.appendonly;
    let began_us = shared.clock.micros();
    shared.engine.lock().keyspace.keep_expired = true;
    let loaded = if appendonly { load_log(shared)? } else { load_snapshot(shared, Loaded::default())? };
    let mut engine = shared.engine.lock();
    engine.replay_end();
    engine.keyspace.keep_expired = false;
    engine.keyspace.effects.clear();
    engine.keyspace.effects.dirty = 0;
    engine.set_logging(appendonly);
    drop(engine);
    shared.saver.last_save_unix_s.store(shared.clock.now().unix_ms / 1000, Ordering::Relaxed);
    let seconds = (shared.clock.micros() - began_us) as f64 / 1e6;
    if appendonly {
        shared.logger.notice(&format!("DB loaded from append only file: {seconds:.3} seconds"));
    } else {
        shared.logger.notice(&format!("DB loaded from disk: {seconds:.3} seconds"));
    }
    Ok(loaded)
}

/// Throws the data set away, or not, and reads it again. Clients are told LOADING meanwhile.
///
/// # Errors
/// What is wrong with the file; what was read before that stays.
pub(crate) fn reload(shared: &Shared, how: engine::Reload) -> Result<(), String> {
    shared.durable.sync(shared);
    shared.loading.on.store(true, Ordering::Release);
    let was_logging = shared.durable.is_logging.load(Ordering::Acquire);
    {
        let mut engine = shared.engine.lock();
        engine.set_logging(false);
        engine.keyspace.keep_expired = true;
        let flushed = if how.flush { engine.keyspace.database_count() } else { 0 };
        (0..flushed).for_each(|db| {
            engine.keyspace.flush(db);
        });
        if how.flush {
            engine.flush_libraries();
        }
        finish_batch(&mut engine);
    }
    let mut loaded = Loaded { is_strict: !how.flush && !how.merge, ..Loaded::default() };
    let result = match how.from_log {
        true => recovered(shared)
            .and_then(|log| log.files.iter().try_for_each(|file| load_file(shared, file, &mut loaded))),
        false => load_snapshot(shared, loaded).map(|_| ()),
    };
    let mut engine = shared.engine.lock();
    engine.replay_end();
    engine.keyspace.keep_expired = false;
    engine.keyspace.effects.dirty = 0;
    engine.set_logging(was_logging);
    shared.loading.on.store(false, Ordering::Release);
    result
}

fn recovered(shared: &Shared) -> Result<Recovered, String> {
    let truncated = shared.engine.lock().config.aof_load_truncated;
    let (disk, place) = (&*shared.durable.disk, shared.files.log_place());
    persist::aof::recover(disk, &place, truncated, shared.clock.now().unix_ms)
        .map_err(|error| format!("The AOF cannot be loaded: {error}"))
}

/// The snapshot; a missing one is an empty data set.
fn load_snapshot(shared: &Shared, mut loaded: Loaded) -> Result<Loaded, String> {
    let path = shared.files.place().join(&shared.engine.lock().config.dbfilename);
    let disk = &*shared.durable.disk;
    let bytes = match disk.len(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(loaded),
        Err(error) => {
            return Err(format!(
                "Fatal error: can't open the RDB file {} for reading: {error}",
                path.display()
            ));
        }
    };
    shared.loading.begin(shared, bytes);
    let source = disk.read(&path, 0).map_err(|error| format!("{}: {error}", path.display()))?;
    read_snapshot(shared, &path, source, bytes, true, &mut loaded)?;
    let Loaded { keys, expired, .. } = loaded;
    shared.logger.notice(&format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}."));
    Ok(loaded)
}

/// The log, file by file; then it is open for appending.
fn load_log(shared: &Shared) -> Result<Loaded, String> {
    let place = shared.files.log_place();
    let disk = &shared.durable.disk;
    let recovered = recovered(shared)?;
    for tail in &recovered.tails {
        shared.logger.warning(&format!("The end of the AOF was not whole and was set aside: {tail:?}"));
    }
    let mut loaded = Loaded::default();
    if recovered.fresh {
        loaded = load_snapshot(shared, loaded)?;
    }
    shared.loading.begin(shared, total(&recovered));
    for file in &recovered.files {
        load_file(shared, file, &mut loaded)?;
    }
    let log = Log::open(disk.clone(), place, &recovered)
        .map_err(|error| format!("Can't open the append-only file: {error}"))?;
    let mut journal = shared.durable.lock();
    shared.durable.set_log(&mut journal, Some(log), shared);
    drop(journal);
    if recovered.fresh && loaded.keys > 0 {
        // The first log of a server that had a snapshot must hold its data too.
        shared.saver.add(crate::saver::Task::Rewrite);
    }
    Ok(loaded)
}

fn total(recovered: &Recovered) -> u64 {
    recovered.files.iter().map(|file| file.bytes).sum()
}

fn load_file(shared: &Shared, file: &LogFile, loaded: &mut Loaded) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| {
        format!("Bad file format reading the append only file {}: {error}", file.path.display())
    };
    let source = |offset| shared.durable.disk.read(&file.path, offset).map_err(|error| fail(&error));
    let before = shared.loading.bytes_done.load(Ordering::Relaxed);
    let mut offset = 0;
    if file.is_rdb {
        let end = read_snapshot(shared, &file.path, source(0)?, file.bytes, false, loaded)?;
        offset = file.commands_offset.max(end);
    }
    if offset < file.bytes {
        let mut commands = Commands::new(source(offset)?, offset, file.bytes);
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
                let Some(argv) = commands.next().map_err(|error| fail(&format!("{error:?}")))? else { break };
                bytes += argv.iter().map(Vec::len).sum::<usize>();
                batch.push(argv);
            }
            if batch.is_empty() {
                break;
            }
            loaded.commands += batch.len() as u64;
            replay(shared, &batch).map_err(|error| fail(&error))?;
            shared.loading.bytes_done.store(before + commands.offset(), Ordering::Relaxed);
        }
    }
    shared.loading.bytes_done.store(before + file.bytes, Ordering::Relaxed);
    Ok(())
}

fn replay(shared: &Shared, batch: &[Vec<Vec<u8>>]) -> Result<(), String> {
    let mut engine = shared.engine.lock();
    engine.begin_batch(shared.clock.now());
    for argv in batch {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        engine.replay(&argv, &mut crate::shared::Backstage { shared })?;
    }
    finish_batch(&mut engine);
    crate::memory::publish();
    Ok(())
}

/// Nothing that loading does is for clients or for the log.
fn finish_batch(engine: &mut Engine) {
    engine.keyspace.effects.clear();
    engine.take_log(&mut Vec::new());
    engine.take_deliveries(&mut Vec::new());
    drop(engine.keyspace.take_trash());
}

/// Reads a snapshot; the offset behind it.
fn read_snapshot(
    shared: &Shared,
    path: &Path,
    source: Box<dyn Read + Send>,
    bytes: u64,
    drops_expired: bool,
    loaded: &mut Loaded,
) -> Result<u64, String> {
    let fail = |error: &dyn std::fmt::Display| format!("Bad data format in {}: {error}", path.display());
    let verify = {
        let engine = shared.engine.lock();
        engine.config.rdbchecksum && !engine.keyspace.skip_checksums
    };
    let mut reader = Reader::new(source, Some(bytes), verify).map_err(|error| fail(&error))?;
    let before = shared.loading.bytes_done.load(Ordering::Relaxed);
    loop {
        let (mut batch, began) = (Vec::new(), reader.offset());
        let mut ended = false;
        while batch.len() < BATCH_RECORDS && reader.offset() - began < BATCH_BYTES as u64 {
            match reader.next().map_err(|error| fail(&error))? {
                Some(item) => batch.push(item),
                None => {
                    ended = true;
                    break;
                }
            }
        }
        take_in(shared, batch, drops_expired, loaded).map_err(|error| fail(&error))?;
        shared.loading.bytes_done.store(before + reader.offset(), Ordering::Relaxed);
        if ended {
            return Ok(reader.offset());
        }
    }
}

fn take_in(
    shared: &Shared,
    batch: Vec<Item>,
    drops_expired: bool,
    loaded: &mut Loaded,
) -> Result<(), String> {
    let mut engine = shared.engine.lock();
    engine.begin_batch(shared.clock.now());
    for item in batch {
        match item {
            Item::Aux { .. } | Item::SelectDb(_) | Item::Resize { .. } => {}
            Item::Function(code) => {
                engine.take_in_library(&code, !loaded.is_strict, &crate::shared::Backstage { shared })?;
            }
            Item::Entry(entry) => take_in_entry(&mut engine, entry, drops_expired, loaded)?,
        }
    }
    finish_batch(&mut engine);
    crate::memory::publish();
    Ok(())
}

fn take_in_entry(
    engine: &mut Engine,
    entry: Entry,
    drops_expired: bool,
    loaded: &mut Loaded,
) -> Result<(), String> {
    let now_ms = engine.keyspace.now.unix_ms;
    if drops_expired && entry.expiry_ms.is_some_and(|at_ms| at_ms < now_ms) {
        loaded.expired += 1;
        return Ok(());
    }
    let db = entry.db as usize;
    if db >= engine.keyspace.database_count() {
        return Err(format!(
            "the data set needs database {db}, but there are {}",
            engine.keyspace.database_count()
        ));
    }
    let entry = keyspace::entry_from_rdb(&engine.keyspace, entry).map_err(str::to_owned)?;
    if loaded.is_strict && engine.keyspace.peek(db, entry.key()).is_some() {
        return Err(format!("key {:?} is there already", String::from_utf8_lossy(entry.key())));
    }
    keyspace::Db::new(&mut engine.keyspace, db).put_entry(entry);
    loaded.keys += 1;
    Ok(())
}

impl Loading {
    fn begin(&self, shared: &Shared, bytes: u64) {
        self.began_unix_s.store(shared.clock.now().unix_ms.unsigned_abs() / 1000, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
    }

    /// How much is in, percent.
    pub(crate) fn percent(&self) -> u8 {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (load(&self.bytes_done).saturating_mul(100) / load(&self.bytes_total).max(1)).min(100) as u8
    }
}
