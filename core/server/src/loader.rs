//! Reads the data set at start, while clients are already told LOADING.
//!
//! Reading and decoding happen without the engine; it is taken for one batch of records at a time. What
//! cannot be read ends the start: a server that began with half of its data would soon save that half over
//! the whole. A command that failed where it was logged fails here, too: other servers log such ones, and in their files they are passed
//! over and told, as these servers do, if they can have failed there as well. This one logs what was done, so in its own files a failure
//! is a sign that something is missing.

mod error;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use engine::{Engine, REDIS_VERSION, ReplayError};
use keyspace::{GIVEN_BYTES_MIN, Keyspace};
use persist::aof::{BadRecord, Base, Commands, Examined, Log, LogFile, Recovered};
use persist::rdb::{Entry, Item, Reader, Writer, identify};
use replication::Place;
use replication::place::Facts;

pub(crate) use self::error::{LoadError, SnapshotFault};
use crate::rewrite::draw_history;
use crate::saver::{Listener, SaveError, Task};
use crate::shared::{Loading, Shared};

/// How often the log is told how far a load is, seconds.
const PROGRESS_PERIOD_S: u64 = 5;

/// Records that are taken into the engine in one go.
const BATCH_RECORDS: usize = 512;

/// Bytes of decoded records that are taken in one go, about.
const BATCH_BYTES: usize = 1 << 20;

/// Names of empty keys that are told; there may be any number.
const EMPTY_KEYS_TOLD_MAX: u64 = 10;

/// Commands that fail of which each is told; there may be any number.
const FAILED_TOLD_MAX: u64 = 20;

/// The longest rest at a time of a start that is slowed down, microseconds.
const REST_US: u64 = 20_000;

/// What was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) keys: u64,
    pub(crate) expired: u64,
    pub(crate) commands: u64,
    /// Commands, or transactions, of other servers' files that failed and were passed over.
    failed: u64,
    /// Keys that held nothing.
    empty: u64,
    /// What is loaded replaces what is there of the same name; else that is an error.
    merges: bool,
    /// What snapshots tell of their place in a history.
    pub(crate) facts: Facts,
    /// The place that the data is at, if what was read last tells it.
    place: Option<Place>,
    /// The log may tell of its records that they are the stream for replicas.
    has_notes: bool,
    /// The log's base is the snapshot that was loaded: one of its own is still to be written.
    pub(crate) has_lent_base: bool,
}

/// Loads the log if there is to be one, else the snapshot if there is one, and opens the log.
///
/// # Errors
/// What is wrong and where; the server must not start.
pub(crate) fn load(shared: &Shared) -> Result<Loaded, LoadError> {
    if shared.profile.disk_refusal().is_none() {
        crate::beside::remove_debris(shared);
    }
    let (appendonly, is_replica) = {
        let engine = shared.engine.lock();
        (engine.config.appendonly, engine.is_replica())
    };
    let began_us = shared.clock.micros();
    shared.engine.lock().keyspace.keep_expired = true;
    let (loaded, starts_log) = match appendonly {
        true => load_log(shared)?,
        false if shared.profile.disk_refusal().is_some() => (leave_snapshot(shared), false),
        // A replica leaves it to its master what has expired.
        false => (load_first_snapshot(shared, !is_replica)?, false),
    };
    let mut engine = shared.engine.lock();
    engine.replay_end();
    engine.keyspace.keep_expired = false;
    engine.keyspace.effects.clear();
    engine.keyspace.effects.dirty = 0;
    engine.set_logging(appendonly && !starts_log);
    if loaded.has_notes {
        engine.log_goes_on();
    }
    if let Some(place) = loaded.place.filter(|_| loaded.failed == 0)
        && engine.restore_place(&place)
    {
        let point = place.point;
        shared.logger.notice(&format!("The data is at {}:{} of a history", point.id, point.offset));
    }
    drop(engine);
    if starts_log {
        start_log(shared)?;
    }
    shared.saver.work().last_save_unix_s = shared.clock.now().unix_ms / 1000;
    let seconds = (shared.clock.micros() - began_us) as f64 / 1e6;
    if appendonly {
        shared.logger.notice(&format!("DB loaded from append only file: {seconds:.3} seconds"));
    } else if shared.profile.disk_refusal().is_none() {
        shared.logger.notice(&format!("DB loaded from disk: {seconds:.3} seconds"));
    }
    Ok(loaded)
}

/// Throws the data set away, or not, and reads it again. Clients are told LOADING meanwhile.
///
/// # Errors
/// What is wrong with the file; what was read before that stays.
pub(crate) fn reload(shared: &Shared, how: engine::Reload) -> Result<(), LoadError> {
    let log = begin_reload(shared, how)?;
    let was_logging = shared.durable.is_logging();
    shared.with_engine(|engine, _| {
        engine.suspend_logging();
        engine.keyspace.keep_expired = true;
        let flushed = if how.flush { engine.keyspace.database_count() } else { 0 };
        (0..flushed).for_each(|db| {
            engine.keyspace.flush(db);
        });
        if how.flush {
            engine.flush_libraries();
        }
        engine.tell_replaced();
    });
    let mut loaded = Loaded { merges: how.merge, ..Loaded::default() };
    let result = match log {
        Some(log) => log.files().iter().try_for_each(|file| load_file(shared, file, &mut loaded)),
        None => load_snapshot(shared, loaded, true).map(|_| ()),
    };
    tell_failed(shared, loaded.failed);
    let mut engine = shared.engine.lock();
    engine.replay_end();
    engine.keyspace.keep_expired = false;
    engine.keyspace.effects.dirty = 0;
    engine.set_logging(was_logging);
    if !how.save || result.is_err() {
        // What was read may be something else than what replicas hold.
        engine.forget_replicas();
    }
    shared.loading.on.store(false, Ordering::Release);
    drop(engine);
    crate::background::catch_up_log(shared);
    result
}

/// Has clients told LOADING from a moment on at which the log holds all that was executed. The log, if it is to be
/// loaded: only judged, not repaired, since it is open for writing.
fn begin_reload(shared: &Shared, how: engine::Reload) -> Result<Option<Examined>, LoadError> {
    // With the engine in hand, so that nothing is executed behind it.
    let engine = shared.engine.lock();
    shared.loading.on.store(true, Ordering::Release);
    drop(engine);
    if !how.from_log {
        return Ok(None);
    }
    let examine = || match persist::aof::examine(&*shared.durable.disk, &shared.files.log_place()) {
        Ok(log) if log.is_fresh() => Err(LoadError::NoLog),
        Ok(log) => Ok(Some(log)),
        Err(error) => Err(LoadError::Refused(error)),
    };
    let judged = shared.durable.write_rest(shared).map_err(LoadError::Unwritten).and_then(|()| examine());
    if judged.is_err() {
        shared.loading.on.store(false, Ordering::Release);
    }
    judged
}

fn recovered(shared: &Shared) -> Result<Recovered, LoadError> {
    let truncated = shared.engine.lock().config.aof_load_truncated;
    let (disk, place) = (&*shared.durable.disk, shared.files.log_place());
    persist::aof::recover(disk, &place, truncated, shared.clock.now().unix_ms)
        .map_err(|error| LoadError::Refused(error).advised(&shared.files.place()))
}

/// The snapshot of a start, which ends with it if it cannot be read.
fn load_first_snapshot(shared: &Shared, drops_expired: bool) -> Result<Loaded, LoadError> {
    load_snapshot(shared, Loaded::default(), drops_expired)
        .map_err(|why| LoadError::First(Box::new(why.advised(&shared.files.place()))))
}

/// A profile that keeps nothing on disk begins empty; a snapshot in its folder is somebody else's.
fn leave_snapshot(shared: &Shared) -> Loaded {
    if has_snapshot(shared) {
        let name = shared.engine.lock().config.dbfilename.clone();
        let name = shared.files.place().join(name);
        shared.logger.notice(&format!("{} is not loaded: this server begins empty.", name.display()));
    }
    Loaded::default()
}

/// The snapshot; a missing one is an empty data set. `drops_expired`: keys whose time is over are left out.
fn load_snapshot(shared: &Shared, mut loaded: Loaded, drops_expired: bool) -> Result<Loaded, LoadError> {
    let path = shared.files.place().join(&shared.engine.lock().config.dbfilename);
    let disk = &*shared.durable.disk;
    let bytes = match disk.len(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(loaded),
        Err(error) => return Err(LoadError::Closed { path, error }),
    };
    shared.loading.begin(shared, bytes);
    let fail = |error| LoadError::Unreadable { path: path.clone(), error };
    let identity = identify(disk, &path).map_err(fail)?;
    let source = disk.read(&path, 0).map_err(fail)?;
    read_snapshot(shared, &path, source, bytes, drops_expired, &mut loaded)?;
    if let Some(identity) = identity {
        shared.snapshots.know(&path, identity);
    }
    let Loaded { keys, expired, empty, .. } = loaded;
    shared.loading.keys_loaded.store(keys, Ordering::Relaxed);
    shared.loading.keys_expired.store(expired, Ordering::Relaxed);
    shared.logger.notice(&format!(
        "Done loading RDB, keys loaded: {keys}, keys expired: {expired}, empty keys skipped: {empty}."
    ));
    Ok(loaded)
}

/// The first log of a server that had a snapshot must hold its data before anything is acknowledged, or a crash would leave
/// a log without it.
fn start_log(shared: &Shared) -> Result<(), LoadError> {
    let (tell, hear) = sync_channel(1);
    shared.saver.add(Task::StartLog(Listener::Thread(tell)));
    match hear.recv().unwrap_or(Err(SaveError::Gone)) {
        // CONFIG SET appendonly no has come meanwhile, or the end.
        Ok(()) | Err(SaveError::Cancelled) => Ok(()),
        Err(why) => Err(LoadError::FirstLog(why)),
    }
}

/// Makes the log of an empty data set.
fn create_log(shared: &Shared) -> std::io::Result<Log> {
    let (rdb_preamble, checksum) = {
        let config = &shared.engine.lock().config;
        (config.aof_use_rdb_preamble, config.rdbchecksum)
    };
    let (disk, place) = (shared.durable.disk.clone(), shared.files.log_place());
    if !rdb_preamble {
        return Log::create(disk, place, b"", Base::Commands, draw_history()?);
    }
    let mut base = Writer::new(false, checksum);
    base.header(persist::rdb::VERSION);
    let (unix_ms, used_memory) = (shared.clock.now().unix_ms, crate::allocator::used() as u64);
    base.standard_aux(REDIS_VERSION, unix_ms, used_memory, true);
    base.end();
    Log::create(disk, place, &base.take(), Base::Snapshot, draw_history()?)
}

/// The log, file by file; then it is open for appending. True when it is still to be started, from a snapshot.
fn load_log(shared: &Shared) -> Result<(Loaded, bool), LoadError> {
    let place = shared.files.log_place();
    let disk = &shared.durable.disk;
    crate::beside::look_before_load(shared).map_err(LoadError::Beside)?;
    let recovered = recovered(shared)?;
    recovered.remarks().iter().for_each(|remark| shared.logger.warning(remark));
    if !recovered.leftovers().is_empty() {
        let names = recovered.leftovers().iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        shared.logger.notice(&format!("Removing what a crash has left: {}", names.join(", ")));
    }
    for tail in recovered.tails() {
        shared.logger.warning(&format!("The end of the AOF was not whole and was set aside: {tail}"));
    }
    let mut loaded = Loaded::default();
    let is_fresh = recovered.is_fresh();
    match snapshot_bytes(shared) {
        Some(bytes) if is_fresh && bytes > WRITTEN_FIRST_BYTES => return load_snapshot_as_base(shared),
        Some(_) if is_fresh => return Ok((load_first_snapshot(shared, true)?, true)),
        _ => {}
    }
    shared.loading.begin(shared, total(&recovered));
    let verified = recovered.load(|file| load_file(shared, file, &mut loaded));
    let verified = verified.map_err(|why| why.advised(&shared.files.place()))?;
    tell_failed(shared, loaded.failed);
    let log = match is_fresh {
        true => create_log(shared),
        false => draw_history().and_then(|id| Log::open(disk.clone(), place, verified, id)),
    };
    let log = log.map_err(LoadError::OpenLog)?;
    shared.durable.open_log(log, shared);
    Ok((loaded, false))
}

/// A snapshot of no more than this is loaded so soon that a base of its own can be written before clients are served, bytes.
const WRITTEN_FIRST_BYTES: u64 = 8 << 20;

/// A log begins with the snapshot as its base. What has expired stays in memory as it is in the file, until it is removed and that
/// is logged: else a start would bring it back under what was written to the key since. True when the file cannot be the base, so
/// that one must be written first.
fn load_snapshot_as_base(shared: &Shared) -> Result<(Loaded, bool), LoadError> {
    let mut loaded = load_first_snapshot(shared, false)?;
    let path = shared.files.place().join(&shared.engine.lock().config.dbfilename);
    let place = shared.files.log_place();
    let log = shared.snapshots.identity_of(&path).ok_or(std::io::ErrorKind::NotFound.into());
    let log = log.and_then(|identity| {
        Log::create_over(shared.durable.disk.clone(), place, &path, identity, draw_history()?)
    });
    match log {
        Ok(log) => {
            shared
                .logger
                .notice(&format!("{} is the log's first base; another one follows.", path.display()));
            shared.durable.open_log(log, shared);
            loaded.has_lent_base = true;
        }
        Err(error) => {
            let path = path.display();
            let text = format!(
                "{path} cannot be the log's first base, so one is written before clients are served: {error}"
            );
            shared.logger.notice(&text);
        }
    }
    Ok((loaded, !loaded.has_lent_base))
}

fn has_snapshot(shared: &Shared) -> bool {
    // An empty one is there, too: it is no data set, and loading it says so.
    snapshot_bytes(shared).is_some()
}

/// Size of the snapshot, if there is one.
fn snapshot_bytes(shared: &Shared) -> Option<u64> {
    let path = shared.files.place().join(&shared.engine.lock().config.dbfilename);
    shared.durable.disk.len(&path).ok()
}

fn total(log: &Examined) -> u64 {
    log.files().iter().map(|file| file.bytes).sum()
}

fn load_file(shared: &Shared, file: &LogFile, loaded: &mut Loaded) -> Result<(), LoadError> {
    let fail = |fault| LoadError::BadLog { path: file.path.clone(), fault };
    let source =
        |offset| shared.durable.disk.read(&file.path, offset).map_err(|error| fail(BadRecord::Io(error)));
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
            let pace = Pace::of(shared)?;
            while batch.len() < pace.records && bytes < pace.bytes {
                let Some(argv) = commands.next().map_err(fail)? else { break };
                bytes += argv.iter().map(Vec::len).sum::<usize>();
                let is_own = file.is_own || commands.is_own();
                batch.push(Logged { offset: commands.began(), is_own, words: argv });
            }
            if batch.is_empty() {
                break;
            }
            loaded.place = None;
            loaded.commands += batch.len() as u64;
            let count = batch.len();
            loaded.failed += replay(shared, batch, file, loaded.failed)?;
            pace.rest(shared, count)?;
            shared.loading.bytes_done.store(before + commands.offset(), Ordering::Relaxed);
        }
        loaded.has_notes |= commands.has_notes();
        loaded.place = commands.last_note().and_then(Place::parse).or(loaded.place);
    }
    shared.loading.bytes_done.store(before + file.bytes, Ordering::Relaxed);
    Ok(())
}

/// A record of a log.
struct Logged {
    /// The byte of the file at which it begins.
    offset: u64,
    /// This server has written it.
    is_own: bool,
    words: Vec<Vec<u8>>,
}

/// Runs records again; how many failed. None of this server's own may.
fn replay(shared: &Shared, batch: Vec<Logged>, file: &LogFile, failed_before: u64) -> Result<u64, LoadError> {
    let mut engine = shared.engine.lock();
    let mut failed = 0;
    engine.begin_batch(shared.clock.now());
    for Logged { offset, is_own, mut words } in batch {
        let long = take_long(&mut words);
        let mut argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        long.iter().for_each(|(index, bytes)| argv[*index] = bytes);
        engine.keyspace.given = long.iter().map(|(_, bytes)| Arc::clone(bytes)).collect();
        let done = engine.replay(&argv, &mut crate::context::BackgroundContext { shared });
        shared.busy.end();
        engine.keyspace.given = Vec::new();
        let Err(error) = done else { continue };
        let may_fail = !is_own && matches!(error, ReplayError::Failed { .. });
        let why = LoadError::Record { path: file.path.clone(), offset, error };
        if !may_fail {
            return Err(why);
        }
        failed += 1;
        if failed_before + failed <= FAILED_TOLD_MAX {
            shared.logger.warning(&format!("{why}. It is passed over."));
        }
    }
    finish_batch(&mut engine);
    crate::allocator::publish();
    Ok(failed)
}

/// Tells how many commands failed.
fn tell_failed(shared: &Shared, failed: u64) {
    if failed > 0 {
        shared.logger.warning(&format!(
            "{failed} commands of the append only file failed and were passed over: their writes are not in the data set. The file \
             was written by another server; `tandem check` tells where they are."
        ));
    }
}

/// Takes the long words of a record out, into buffers that values may take over; each with its place.
fn take_long(words: &mut [Vec<u8>]) -> Vec<(usize, Arc<Vec<u8>>)> {
    let long = words.iter_mut().enumerate().filter(|(_, word)| word.len() >= GIVEN_BYTES_MIN);
    long.map(|(index, word)| (index, Arc::new(std::mem::take(word)))).collect()
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
) -> Result<u64, LoadError> {
    let fail = |fault| LoadError::Snapshot { path: path.to_owned(), fault };
    let verify = {
        let engine = shared.engine.lock();
        engine.config.rdbchecksum && !engine.keyspace.skip_checksums
    };
    let mut reader = Reader::new(source, Some(bytes), verify).map_err(|error| fail(error.into()))?;
    let before = shared.loading.bytes_done.load(Ordering::Relaxed);
    loop {
        let (mut batch, began) = (Vec::new(), reader.offset());
        let mut ended = false;
        let pace = Pace::of(shared)?;
        while batch.len() < pace.records && reader.offset() - began < pace.bytes as u64 {
            match reader.next().map_err(|error| fail(error.into()))? {
                Some(item) => batch.push(item),
                None => {
                    ended = true;
                    break;
                }
            }
        }
        let records = batch.len();
        take_in(shared, batch, drops_expired, loaded).map_err(fail)?;
        pace.rest(shared, records)?;
        shared.loading.bytes_done.store(before + reader.offset(), Ordering::Relaxed);
        if ended {
            loaded.place = loaded.facts.place();
            return Ok(reader.offset());
        }
    }
}

fn take_in(
    shared: &Shared,
    batch: Vec<Item>,
    drops_expired: bool,
    loaded: &mut Loaded,
) -> Result<(), SnapshotFault> {
    let mut engine = shared.engine.lock();
    engine.begin_batch(shared.clock.now());
    for item in batch {
        match item {
            Item::Aux { key, value } => loaded.facts.hear(&key, &value),
            Item::SelectDb(_) | Item::Resize { .. } => {}
            Item::EmptyKey(key) => {
                loaded.empty += 1;
                if loaded.empty <= EMPTY_KEYS_TOLD_MAX {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    shared
                        .logger
                        .notice(&format!("The snapshot holds nothing for a key; skipping empty key: {key}"));
                }
            }
            Item::Function(code) => {
                let outside = crate::context::BackgroundContext { shared };
                let taken = engine.take_in_library(&code, loaded.merges, &outside);
                taken.map_err(SnapshotFault::Library)?;
            }
            Item::Entry(entry) => {
                let overdue = match loaded.facts.place() {
                    _ if !drops_expired => Overdue::Kept,
                    None => Overdue::Dropped,
                    Some(_) => Overdue::Told,
                };
                take_in_entry(&mut engine.keyspace, entry, overdue, loaded)?;
            }
        }
    }
    finish_batch(&mut engine);
    crate::allocator::publish();
    Ok(())
}

/// Takes in a key of a snapshot.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn take_in_entry(
    keyspace: &mut Keyspace,
    entry: Entry,
    overdue: Overdue,
    loaded: &mut Loaded,
) -> Result<(), SnapshotFault> {
    let now_ms = keyspace.now.unix_ms;
    let is_expired = overdue != Overdue::Kept && entry.expiry_ms.is_some_and(|at_ms| at_ms < now_ms);
    loaded.expired += u64::from(is_expired);
    if is_expired && overdue == Overdue::Dropped {
        return Ok(());
    }
    let db = entry.db as usize;
    if db >= keyspace.database_count() {
        return Err(SnapshotFault::Database { wanted: db, there_are: keyspace.database_count() });
    }
    let entry = keyspace::entry_from_rdb(keyspace, entry).map_err(SnapshotFault::Value)?;
    if loaded.merges {
        keyspace::Db::new(keyspace, db).put_used(entry);
    } else if let Err(entry) = keyspace.load(db, entry) {
        return Err(SnapshotFault::Twice { key: entry.key().to_vec(), db });
    }
    loaded.keys += u64::from(!is_expired);
    Ok(())
}

/// What becomes of keys of a snapshot whose time is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// They are keys like others.
    Kept,
    /// They are left out.
    Dropped,
    /// Replicas hold them that go on at the snapshot's place: they are kept until they are removed and that is told.
    Told,
}

/// How much is taken in one go, and how long after it nothing is: `loading-process-events-interval-bytes` and
/// `key-load-delay`, with which tests slow a start down.
struct Pace {
    records: usize,
    bytes: usize,
    /// Microseconds a record; negative: records a microsecond.
    delay_us: i64,
}

impl Pace {
    /// As configured at the moment.
    ///
    /// # Errors
    /// The server is ending.
    fn of(shared: &Shared) -> Result<Pace, LoadError> {
        if shared.life.has_ended() {
            return Err(LoadError::Stopped);
        }
        let config = &shared.engine.lock().config;
        let delay_us = config.key_load_delay;
        // With a delay in short steps, so that a stop or a new delay is noticed.
        let records = if delay_us > 0 {
            (REST_US / delay_us.unsigned_abs()).clamp(1, BATCH_RECORDS as u64)
        } else {
            BATCH_RECORDS as u64
        };
        let bytes = usize::try_from(config.loading_process_events_interval_bytes).unwrap_or(BATCH_BYTES);
        Ok(Pace { records: records as usize, bytes: bytes.min(BATCH_BYTES), delay_us })
    }

    /// Waits for what so many records cost.
    fn rest(&self, shared: &Shared, records: usize) -> Result<(), LoadError> {
        let each = self.delay_us.unsigned_abs();
        let mut left_us = match self.delay_us {
            0 => return Ok(()),
            1.. => each.saturating_mul(records as u64),
            _ => records as u64 / each,
        };
        while left_us > 0 && Pace::of(shared)?.delay_us == self.delay_us {
            let nap_us = left_us.min(REST_US);
            std::thread::sleep(Duration::from_micros(nap_us));
            left_us -= nap_us;
        }
        Ok(())
    }
}

impl Loading {
    fn begin(&self, shared: &Shared, bytes: u64) {
        self.began_unix_s.store(shared.clock.now().unix_ms.unsigned_abs() / 1000, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
    }

    /// A line about a load that takes long, where one is due.
    pub(crate) fn progress(&self, now_unix_s: u64) -> Option<String> {
        let began_s = self.began_unix_s.load(Ordering::Relaxed);
        let last_s = self.told_unix_s.load(Ordering::Relaxed).max(began_s);
        let is_due = began_s > 0 && now_unix_s >= last_s + PROGRESS_PERIOD_S;
        if !is_due || !self.on.load(Ordering::Relaxed) {
            return None;
        }
        self.told_unix_s.store(now_unix_s, Ordering::Relaxed);
        Some(format!("Loading the data set: {}% after {} seconds", self.percent(), now_unix_s - began_s))
    }

    /// How much is in, percent.
    pub(crate) fn percent(&self) -> u8 {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (load(&self.bytes_done).saturating_mul(100) / load(&self.bytes_total).max(1)).min(100) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_takes_long_tells_now_and_then_how_far_it_is() {
        let loading = Loading::default();
        loading.on.store(true, Ordering::Relaxed);
        assert_eq!(loading.progress(1_000), None, "it has not begun");
        loading.began_unix_s.store(1_000, Ordering::Relaxed);
        loading.bytes_total.store(200, Ordering::Relaxed);
        loading.bytes_done.store(50, Ordering::Relaxed);
        let told: Vec<u64> = (1_000..1_013).filter(|now_s| loading.progress(*now_s).is_some()).collect();
        assert_eq!(told, [1_005, 1_010]);
        assert_eq!(loading.progress(1_015).as_deref(), Some("Loading the data set: 25% after 15 seconds"));
        loading.on.store(false, Ordering::Relaxed);
        assert_eq!(loading.progress(1_100), None, "it is through");
    }
}
