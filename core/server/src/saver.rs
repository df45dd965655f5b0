//! Snapshots and rewrites of the log: one thread that walks the data in short slices and writes a file.
//!
//! The slices (of about [`SLICE_US`] each) are taken by the first I/O thread between its batches: a thread of its
//! own would be put off the processor with the engine in its hand, and every client would wait for it. What a
//! slice gave is fed to the saver thread, which encodes large values and writes, so a slow disk slows down the
//! snapshot and nothing else. One task runs at a time; what was asked for meanwhile waits, at most one of each kind.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;

use engine::{Engine, SessionId};
use keyspace::Piece;
use parking_lot::{Condvar, Mutex};
use persist::aof::{Log, Place, Recovered};
use persist::rdb::{SnapshotFile, Writer};

use crate::durable::Journal;
use crate::shared::Shared;

/// How long the engine is held for one slice, microseconds, about.
const SLICE_US: u64 = 100;

/// Bytes that wait to be written before no further slice is taken.
const FEED_BYTES_MAX: usize = 8 << 20;

/// Entries of the first slice, and the bounds of what it grows and shrinks to.
const SLICE_ENTRIES: usize = 64;
const SLICE_ENTRIES_MIN: usize = 4;
const SLICE_ENTRIES_MAX: usize = 4096;

/// Seconds between automatic attempts after one has failed.
const RETRY_S: u64 = 10;

/// What to write.
#[derive(Debug)]
pub(crate) enum Task {
    /// An RDB file; who hears of its end.
    Save(Listener),
    /// A new base of the log.
    Rewrite,
    /// A new log instead of one that has failed.
    Replace,
    /// A log where there was none (CONFIG SET appendonly yes).
    StartLog,
    /// The data set thrown away and read again (DEBUG RELOAD, DEBUG LOADAOF).
    Reload {
        /// Who waits.
        session: SessionId,
        /// In which way.
        how: engine::Reload,
    },
}

/// Who hears of a save's end.
#[derive(Debug)]
pub(crate) enum Listener {
    Nobody,
    Session(SessionId),
    Thread(SyncSender<Result<(), String>>),
}

/// The outcome of the last task of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    /// Seconds it took; `None` when there was none.
    pub(crate) took_s: Option<u64>,
    /// When it last failed, monotonic seconds.
    failed_s: Option<u64>,
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome { ok: true, took_s: None, failed_s: None }
    }
}

/// What is known of tasks, for INFO and the automatic ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    pub(crate) save: Outcome,
    pub(crate) rewrite: Outcome,
    /// When the running task began, monotonic seconds.
    pub(crate) since_s: Option<u64>,
    pub(crate) saves: u64,
    pub(crate) rewrites: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Saver {
    tasks: Mutex<VecDeque<Task>>,
    wake: Condvar,
    pub(crate) feed: Feed,
    saving: AtomicBool,
    rewriting: AtomicBool,
    /// A snapshot of either kind is being written.
    pub(crate) running: AtomicBool,
    replacement_wanted: AtomicBool,
    /// The log was switched on and its base could not be written.
    base_missing: AtomicBool,
    pub(crate) history: Mutex<History>,
    /// When the last good save ended, unix seconds.
    pub(crate) last_save_unix_s: AtomicI64,
    disposition: Mutex<Option<Reason>>,
}

/// Why an automatic save is due; for the log line.
type Reason = String;

impl Saver {
    /// Whether a save runs or waits.
    pub(crate) fn is_saving(&self) -> bool {
        self.saving.load(Ordering::Acquire)
    }

    /// Whether a rewrite runs or waits.
    pub(crate) fn is_rewriting(&self) -> bool {
        self.rewriting.load(Ordering::Acquire)
    }

    /// A save has been promised to a client; the task follows.
    pub(crate) fn save_begins(&self) {
        self.saving.store(true, Ordering::Release);
    }

    /// A rewrite has been promised to a client; the task follows.
    pub(crate) fn rewrite_begins(&self) {
        self.rewriting.store(true, Ordering::Release);
    }

    /// The log has failed and must be replaced.
    pub(crate) fn want_replacement(&self) {
        self.replacement_wanted.store(true, Ordering::Release);
    }

    /// Takes a task in.
    pub(crate) fn add(&self, task: Task) {
        match task {
            Task::Save(_) => self.save_begins(),
            Task::Reload { .. } => {}
            Task::Rewrite | Task::Replace | Task::StartLog => self.rewrite_begins(),
        }
        self.tasks.lock().push_back(task);
        self.wake.notify_one();
    }

    /// Ends the thread after its present task.
    pub(crate) fn wake(&self) {
        self.wake.notify_all();
    }

    /// Starts a save when a save point is reached. Called by the tick with the engine at hand.
    pub(crate) fn look_at_save_points(&self, shared: &Shared, engine: &Engine) {
        if self.is_saving() || engine.config.save.is_empty() || shared.is_loading() {
            return;
        }
        let changes = engine.keyspace.effects.dirty;
        let now_s = engine.keyspace.now.unix_ms / 1000;
        let since_s = now_s.saturating_sub(self.last_save_unix_s.load(Ordering::Relaxed)).unsigned_abs();
        let due =
            engine.config.save.iter().find(|point| changes >= point.changes && since_s >= point.seconds);
        let Some(point) = due else { return };
        if self.is_resting(shared, |history| history.save) {
            return;
        }
        *self.disposition.lock() =
            Some(format!("{} changes in {} seconds. Saving...", point.changes, point.seconds));
        self.add(Task::Save(Listener::Nobody));
    }

    /// Whether the last attempt failed so short a time ago that the next one waits.
    fn is_resting(&self, shared: &Shared, of: impl Fn(&History) -> Outcome) -> bool {
        let now_s = shared.clock.micros() / 1_000_000;
        of(&self.history.lock()).failed_s.is_some_and(|failed_s| now_s < failed_s + RETRY_S)
    }

    /// Once a second: rewrites that are due by size, replacements of a failed log.
    pub(crate) fn second(&self, shared: &Shared) {
        if self.is_rewriting() || shared.is_loading() || self.is_resting(shared, |history| history.rewrite) {
            return;
        }
        if self.replacement_wanted.load(Ordering::Acquire) {
            return self.add(Task::Replace);
        }
        if self.base_missing.load(Ordering::Acquire) {
            return self.add(Task::Rewrite);
        }
        let (percent, least) = {
            let Some(engine) = shared.engine.try_lock() else { return };
            (engine.config.auto_aof_rewrite_percentage, engine.config.auto_aof_rewrite_min_size)
        };
        if percent == 0 || shared.durable.file_bytes.load(Ordering::Relaxed) < least.min(1 << 20) {
            return;
        }
        shared.durable.measure(&shared.durable.lock(), false);
        let base = shared.durable.base_bytes.load(Ordering::Relaxed).max(1);
        let bytes = shared.durable.log_bytes.load(Ordering::Relaxed);
        let growth = (bytes.saturating_sub(base)).saturating_mul(100) / base;
        if bytes >= least && growth >= percent {
            shared.logger.notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
            self.add(Task::Rewrite);
        }
    }

    /// The saver thread.
    pub(crate) fn keep(&self, shared: &Shared) {
        while let Some(task) = self.next(shared) {
            let began_s = shared.clock.micros() / 1_000_000;
            if let Task::Reload { session, how } = task {
                self.reload(shared, session, how);
                continue;
            }
            self.history.lock().since_s = Some(began_s);
            let is_save = matches!(task, Task::Save(_));
            let result = match &task {
                Task::Save(_) => self.save(shared),
                Task::Rewrite => rewrite(shared),
                Task::Replace => replace(shared),
                Task::StartLog => start_log(shared),
                Task::Reload { .. } => continue,
            };
            match (&task, &result) {
                (Task::Replace, Ok(())) => self.replacement_wanted.store(false, Ordering::Release),
                (Task::Rewrite, Ok(())) => self.base_missing.store(false, Ordering::Release),
                _ => {}
            }
            self.note(shared, is_save, began_s, &result);
            self.tell(shared, task, result);
        }
    }

    fn next(&self, shared: &Shared) -> Option<Task> {
        let mut tasks = self.tasks.lock();
        loop {
            if let Some(task) = tasks.pop_front() {
                return Some(task);
            }
            if shared.ended.load(Ordering::Acquire) {
                return None;
            }
            self.wake.wait(&mut tasks);
        }
    }

    fn note(&self, shared: &Shared, is_save: bool, began_s: u64, result: &Result<(), String>) {
        let now_s = shared.clock.micros() / 1_000_000;
        let outcome = Outcome {
            ok: result.is_ok(),
            took_s: Some(now_s - began_s),
            failed_s: result.is_err().then_some(now_s),
        };
        let mut history = self.history.lock();
        history.since_s = None;
        match is_save {
            true => (history.save, history.saves) = (outcome, history.saves + 1),
            false => (history.rewrite, history.rewrites) = (outcome, history.rewrites + 1),
        }
        drop(history);
        let flag = if is_save { &self.saving } else { &self.rewriting };
        let waits = self.tasks.lock().iter().any(|task| matches!(task, Task::Save(_)) == is_save);
        flag.store(waits, Ordering::Release);
        match (result, is_save) {
            (Ok(()), true) => shared.logger.notice("Background saving terminated with success"),
            (Ok(()), false) => shared.logger.notice("Background AOF rewrite finished successfully"),
            (Err(why), true) => shared.logger.warning(&format!("Background saving error: {why}")),
            (Err(why), false) => {
                shared.logger.warning(&format!("Background AOF rewrite terminated by error: {why}"))
            }
        }
    }

    fn tell(&self, shared: &Shared, task: Task, result: Result<(), String>) {
        match task {
            Task::Save(Listener::Session(session)) => shared.with_engine(|engine, _| {
                engine.complete(session, |reply| match &result {
                    Ok(()) => reply.status("OK"),
                    Err(why) => reply.error(format!("ERR {why}").as_bytes()),
                });
            }),
            // Whoever does not wait any more need not be told.
            Task::Save(Listener::Thread(tell)) => drop(tell.send(result)),
            _ => {}
        }
    }

    fn reload(&self, shared: &Shared, session: SessionId, how: engine::Reload) {
        let saved = if how.save { self.save(shared) } else { Ok(()) };
        let result = saved.and_then(|()| crate::loader::reload(shared, how)).map_err(|why| {
            shared.logger.warning(&why);
            let what = if how.from_log { "AOF files" } else { "RDB dump" };
            format!("ERR Error trying to load the {what}, check server logs.")
        });
        crate::chores::finish(shared, session, result, "");
    }

    fn save(&self, shared: &Shared) -> Result<(), String> {
        if let Some(reason) = self.disposition.lock().take() {
            shared.logger.notice(&reason);
        }
        shared.logger.notice("Background saving started");
        let place = shared.files.place();
        let view = View::begin(shared, |_| Ok(()))?;
        let (changes, name) = (view.changes, view.rdb_name.clone());
        let file = view.write(shared, &place, false)?;
        file.finish(&name).map_err(text)?;
        let effects = &mut shared.engine.lock().keyspace.effects;
        effects.dirty = effects.dirty.saturating_sub(changes);
        self.last_save_unix_s.store(shared.clock.now().unix_ms / 1000, Ordering::Relaxed);
        shared.logger.notice("DB saved on disk");
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Writes a new base and drops what it replaces; the log goes on in a new file meanwhile. What waits for a
/// disk is done without the engine.
fn rewrite(shared: &Shared) -> Result<(), String> {
    let plan = shared.durable.lock().log.as_ref().map(Log::plan_rewrite);
    let Some(plan) = plan else { return rewrite_without_log(shared) };
    shared.logger.notice("Background append only file rewriting started");
    let place = shared.files.place();
    let prepared = plan.map_err(text)?.run();
    let mut journal = shared.durable.lock();
    let view = View::begin(shared, |engine| {
        shared.durable.begin_rewrite(&mut journal, prepared, shared)?;
        engine.log_switched();
        Ok(())
    })?;
    drop(journal);
    finish_rewrite(shared, &view, &place)
}

/// Writes the base of a rewrite that has begun, and publishes it.
fn finish_rewrite(shared: &Shared, view: &View, place: &Path) -> Result<(), String> {
    let temp = view.write(shared, place, true).and_then(|file| file.finish_in_place().map_err(text));
    let done = temp.and_then(|temp| shared.durable.publish(&temp, Log::plan_finish, |_| {}));
    if done.is_err()
        && let Some(log) = &mut shared.durable.lock().log
    {
        log.abort_rewrite();
    }
    done
}

/// BGREWRITEAOF while there is no log: the files are made, nothing more is written to them.
fn rewrite_without_log(shared: &Shared) -> Result<(), String> {
    let (place, aof) = (shared.files.place(), shared.files.log_place());
    let recovered = recovered(shared, &aof)?;
    let view = View::begin(shared, |_| Ok(()))?;
    let temp = view.write(shared, &place, true)?.finish_in_place().map_err(text)?;
    let log = Log::open(shared.durable.disk.clone(), aof, &recovered).map_err(text)?;
    log.plan_replacement().and_then(|publication| publication.run(&temp)).map(drop).map_err(text)
}

/// Opens the log that is there, or an empty one, to be replaced as a whole.
fn recovered(shared: &Shared, place: &Place) -> Result<Recovered, String> {
    let unix_ms = shared.clock.now().unix_ms;
    persist::aof::recover(&*shared.durable.disk, place, true, unix_ms).map_err(text)
}

/// Starts a log from what is in memory.
fn start_log(shared: &Shared) -> Result<(), String> {
    let aof = shared.files.log_place();
    let recovered = recovered(shared, &aof)?;
    let mut log = Log::open(shared.durable.disk.clone(), aof, &recovered).map_err(text)?;
    let prepared = log.plan_rewrite().map_err(text)?.run();
    let mut journal = shared.durable.lock();
    let view = View::begin(shared, |engine| {
        log.begin_rewrite(prepared).map_err(text)?;
        shared.durable.set_log(&mut journal, Some(log), shared);
        engine.set_logging(true);
        engine.log_switched();
        Ok(())
    })?;
    drop(journal);
    let done = finish_rewrite(shared, &view, &shared.files.place());
    // A log without its base is no log: a rewrite is tried again until there is one.
    shared.saver.base_missing.store(done.is_err(), Ordering::Release);
    done
}

/// Writes everything anew after the log has failed.
fn replace(shared: &Shared) -> Result<(), String> {
    shared
        .logger
        .warning("Replacing the AOF by a new one written from memory, because the old one has failed.");
    let place = shared.files.place();
    let (mut covered, mut journal) = (0, shared.durable.lock());
    let view = View::begin(shared, |engine| {
        covered = shared.durable.covered(&mut journal);
        engine.log_switched();
        Ok(())
    })?;
    drop(journal);
    let temp = view.write(shared, &place, true)?.finish_in_place().map_err(text)?;
    let also = |journal: &mut Journal| shared.durable.replaced(journal, covered, shared);
    shared.durable.publish(&temp, Log::plan_replacement, also)
}

/// A snapshot under way in the engine.
struct View {
    compress: bool,
    checksum: bool,
    version: u16,
    rdb_name: String,
    unix_ms: i64,
    changes: u64,
    /// The sources of all function libraries.
    libraries: Vec<Vec<u8>>,
}

impl View {
    /// Begins a snapshot; `also` happens at the very same moment.
    fn begin(shared: &Shared, also: impl FnOnce(&mut Engine) -> Result<(), String>) -> Result<View, String> {
        let mut engine = shared.engine.lock();
        let (compress, checksum) = (engine.config.rdbcompression, engine.config.rdbchecksum);
        also(&mut engine)?;
        if !engine.keyspace.begin_snapshot(compress) {
            return Err("a snapshot is being written already".to_owned());
        }
        shared.saver.running.store(true, Ordering::Release);
        Ok(View {
            compress,
            checksum,
            version: engine.keyspace.snapshot_version(),
            rdb_name: engine.config.dbfilename.clone(),
            unix_ms: shared.clock.now().unix_ms,
            changes: engine.keyspace.effects.dirty,
            libraries: engine.library_codes(),
        })
    }

    /// Writes the snapshot into a temporary file, and ends it in the engine whatever happens.
    fn write<'a>(&self, shared: &'a Shared, dir: &Path, is_base: bool) -> Result<SnapshotFile<'a>, String> {
        let written = self.write_file(shared, dir, is_base);
        if written.is_err() {
            shared.engine.lock().keyspace.cancel_snapshot();
            while !shared.saver.feed.next(shared, &mut Vec::new()) {}
        }
        shared.engine.lock().keyspace.end_snapshot();
        shared.saver.running.store(false, Ordering::Release);
        written
    }

    fn write_file<'a>(
        &self,
        shared: &'a Shared,
        dir: &Path,
        is_base: bool,
    ) -> Result<SnapshotFile<'a>, String> {
        let disk = &*shared.durable.disk;
        let mut file = SnapshotFile::create(disk, dir, u64::from(std::process::id())).map_err(text)?;
        let mut writer = Writer::new(self.compress, self.checksum);
        writer.header(self.version);
        writer.standard_aux(REDIS_VERSION, self.unix_ms, crate::memory::used() as u64, is_base);
        self.libraries.iter().for_each(|code| writer.function(code));
        let mut pieces = Vec::new();
        loop {
            let through = shared.saver.feed.next(shared, &mut pieces);
            for piece in pieces.drain(..) {
                write_piece(&mut writer, piece, self.compress);
                writer.drain(&mut |bytes| file.write(bytes)).map_err(text)?;
            }
            crate::memory::publish();
            if through {
                break;
            }
        }
        writer.end();
        writer.drain(&mut |bytes| file.write(bytes)).map_err(text)?;
        Ok(file)
    }
}

/// The version that an RDB names as its writer's, and INFO shows.
pub(crate) const REDIS_VERSION: &str = "7.4.2";

fn write_piece(writer: &mut Writer, piece: Piece, compress: bool) {
    match piece {
        Piece::Bytes(bytes) => writer.raw(&bytes),
        Piece::Large { db, entry } => writer.raw(&keyspace::encode_entry(db, &entry, compress)),
    }
}

/// What slices gave, on its way from the I/O thread that takes them to the saver thread.
pub(crate) struct Feed {
    state: Mutex<FeedState>,
    filled: Condvar,
    /// A walk is under way, and there is room for what a slice gives.
    wanted: AtomicBool,
}

struct FeedState {
    pieces: Vec<Piece>,
    bytes: usize,
    through: bool,
    /// Entries of the next slice, kept such that one takes about as long as it may.
    entries: usize,
}

impl Default for Feed {
    fn default() -> Feed {
        let state = FeedState { pieces: Vec::new(), bytes: 0, through: false, entries: SLICE_ENTRIES };
        Feed { state: Mutex::new(state), filled: Condvar::new(), wanted: AtomicBool::new(false) }
    }
}

impl Feed {
    /// Whether a slice is to be taken.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Takes one slice.
    pub(crate) fn take_slice(&self, engine: &mut Engine, clock: &crate::clock::Clock) {
        let mut state = self.state.lock();
        let began_us = clock.micros();
        state.through = engine.keyspace.step_snapshot(state.entries);
        let pieces = engine.keyspace.take_snapshot_pieces();
        state.bytes += pieces.iter().map(Piece::bytes).sum::<usize>();
        state.pieces.extend(pieces);
        state.entries = match clock.micros() - began_us {
            spent_us if spent_us > SLICE_US => (state.entries / 2).max(SLICE_ENTRIES_MIN),
            spent_us if spent_us < SLICE_US / 2 => (state.entries * 2).min(SLICE_ENTRIES_MAX),
            _ => state.entries,
        };
        if state.through || state.bytes >= FEED_BYTES_MAX {
            self.wanted.store(false, Ordering::Release);
        }
        if state.through || !state.pieces.is_empty() {
            self.filled.notify_one();
        }
    }

    /// Waits for what further slices give; true when it is the last of it.
    fn next(&self, shared: &Shared, pieces: &mut Vec<Piece>) -> bool {
        let mut state = self.state.lock();
        while state.pieces.is_empty() && !state.through {
            if !self.wanted.swap(true, Ordering::AcqRel) {
                shared.wake_all();
            }
            self.filled.wait(&mut state);
        }
        pieces.append(&mut state.pieces);
        state.bytes = 0;
        if !state.through && !self.wanted.swap(true, Ordering::AcqRel) {
            shared.wake_all();
        }
        core::mem::take(&mut state.through)
    }
}

/// Where the server's files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    appenddirname: String,
    appendfilename: String,
    pub(crate) config: Option<PathBuf>,
}

impl Files {
    pub(crate) fn new(config: &config::Settings, file: Option<PathBuf>) -> Files {
        let dir = match config.dir.as_str() {
            "" => PathBuf::from("."),
            dir => PathBuf::from(dir),
        };
        Files {
            dir,
            appenddirname: config.appenddirname.clone(),
            appendfilename: config.appendfilename.clone(),
            config: file,
        }
    }

    /// The directory of the snapshot.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The log.
    pub(crate) fn log_place(&self) -> Place {
        Place {
            dir: self.dir.clone(),
            dir_name: self.appenddirname.clone(),
            file_name: self.appendfilename.clone(),
        }
    }
}
