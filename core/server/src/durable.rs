//! Durability: the way of log bytes to the disk, and the moment a reply may leave.
//!
//! ```text
//! batch of requests → queue (ticket) → write(2) → fsync
//!                                      everysec, no: safe      always: safe
//! ```
//! Every batch of log bytes gets a ticket, in the order of execution; a reply to a writer leaves when its
//! ticket is safe. With `everysec` and `no` the I/O thread writes the queue itself, so a ticket is safe at
//! once, except while an fsync runs or another thread writes: a write may then stall with the disk, so the
//! append thread does it, and only replies to writers wait. With `always` the log thread writes and syncs;
//! all that wait share one fsync, and readers wait for nothing.
//!
//! What cannot be written now (no room) is kept and tried again; its replies wait, and further writes are
//! refused. When the log has failed for good, a base written from memory replaces it.
//!
//! Locks are taken in the order journal, engine, queue. The journal's may be held for as long as the disk
//! takes, so nobody waits for it while holding the engine, except at the change of files for a rewrite.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use config::{AppendFsync, Config};
use parking_lot::{Condvar, Mutex, MutexGuard};
use persist::aof::{AppendError, Log, Place, Prepared, Publication, Sights, State, SyncedMark};
use persist::disk::Disk;

use crate::locks::LockError;
use crate::shared::{Chore, Shared};
use crate::view::CANCELLED;

/// Bytes that must stay free on the log's disk; with less, writes are refused while they can still be
/// refused in order. Room for what is in flight and for a manifest.
const RESERVE_BYTES: u64 = 16 << 20;

/// With less room than this above the reserve each write is measured before it is let in: more than what is executed between
/// two looks at the flag.
const TIGHT_BYTES: u64 = 1 << 30;

/// Size of the file that a queue removes when its disk is full.
const BALLAST_BYTES: u64 = RESERVE_BYTES;

const BALLAST_UNWANTED: u8 = 0;
const BALLAST_WANTED: u8 = 1;
const BALLAST_THERE: u8 = 2;

/// Bytes that may wait to be written before further writes are refused.
const QUEUE_BYTES_MAX: usize = 256 << 20;

const REFUSED_FULL: &str = "MISCONF Errors writing to the AOF file: No space left on device";
const REFUSED_SLOW: &str =
    "MISCONF Errors writing to the AOF file: the disk is too slow, too much waits to be written";

const REFUSED_SAVES: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist \
     to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors \
     during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
     details about the RDB error.";

/// Log bytes that nobody has begun to write.
#[derive(Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// The sizes of what `bytes` is made of, a ticket each.
    pieces: Vec<usize>,
    ticket: u64,
}

/// Bytes of log that wait to be written and whose effects a base holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Covered {
    bytes: usize,
    ticket: u64,
}

/// The log and its bookkeeping.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) log: Option<Log>,
    /// Taken from the queue and not written yet.
    pending: Vec<u8>,
    /// The sizes of what `pending` is made of: one for each ticket up to `pending_ticket`.
    pieces: VecDeque<usize>,
    pending_ticket: u64,
    written_ticket: u64,
}

impl Journal {
    /// Bytes of all files of the log.
    fn bytes(&self, disk: &dyn Disk) -> u64 {
        let Some(log) = &self.log else { return 0 };
        let (manifest, dir) = (log.manifest(), log.place().log_dir());
        let files = manifest.base.iter().chain(&manifest.incrementals);
        files.map(|file| disk.len(&dir.join(&file.name)).unwrap_or(0)).sum()
    }
}

/// A condition that threads wait for, remembered if nobody waits yet.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.wake.notify_one();
    }

    fn wait(&self, time_us: u64) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.wake.wait_for(&mut rung, Duration::from_micros(time_us.max(1)));
        }
        *rung = false;
    }
}

/// Shared durability state.
pub(crate) struct Durable {
    queue: Mutex<Queue>,
    journal: Mutex<Journal>,
    pub(crate) disk: Arc<dyn Disk>,
    fsync: AtomicFsync,
    /// Replies with a ticket up to here may leave.
    safe: AtomicU64,
    /// Writes are to be looked at: there is a refusal, snapshots fail, or there is little room.
    refusing: AtomicBool,
    refusal: Mutex<Option<String>>,
    /// Bytes that may still be written before the reserve is reached, by the last look at the disk and what was queued since.
    room: AtomicU64,
    /// Writes were refused for want of room since the last look.
    turned_away: AtomicBool,
    /// When that was told last, monotonic microseconds; 0: not yet.
    told_us: AtomicU64,
    /// One of `BALLAST_…`.
    ballast: AtomicU8,
    /// The files of the log that do not change any more, as they were at the last look.
    seen: Mutex<Sights>,
    /// What the mark beside the log says.
    marked: Mutex<Option<SyncedMark>>,
    /// Snapshots fail, and `stop-writes-on-bgsave-error` has writes refused then.
    saves_fail: AtomicBool,
    // `no-appendfsync-on-rewrite`, `aof-timestamp-enabled`, `aof-disable-auto-gc`.
    yields_to_rewrite: AtomicBool,
    timestamps: AtomicBool,
    keeps_history: AtomicBool,
    /// Rings for the log thread.
    sync_wanted: Bell,
    /// Rings for the append thread.
    write_wanted: Bell,
    /// A sync runs; since when, monotonic microseconds; 0: none.
    syncing_since_us: AtomicU64,
    pub(crate) delayed_fsyncs: AtomicU64,
    /// The last write to the log succeeded.
    pub(crate) last_write_ok: AtomicBool,
    /// The last ticket whose bytes are known to be on the disk.
    synced: AtomicU64,
    /// There is a log.
    pub(crate) is_logging: AtomicBool,
    /// Its first base is published: what it holds is what a start would load.
    is_whole: AtomicBool,
    /// A sleep before each write of the log, microseconds: a door for tests.
    pub(crate) sleep_before_us: AtomicU64,
    /// Bytes of the log's present file, for INFO and the automatic rewrite.
    pub(crate) file_bytes: AtomicU64,
    /// Bytes of all files of the log, as of the last second.
    pub(crate) log_bytes: AtomicU64,
    /// The same after the last rewrite.
    pub(crate) base_bytes: AtomicU64,
}

/// `appendfsync` as an atomic.
#[derive(Default)]
struct AtomicFsync(std::sync::atomic::AtomicU8);

impl AtomicFsync {
    fn set(&self, fsync: AppendFsync) {
        self.0.store(fsync as u8, Ordering::Relaxed);
    }

    fn is(&self, fsync: AppendFsync) -> bool {
        self.0.load(Ordering::Relaxed) == fsync as u8
    }
}

impl Durable {
    pub(crate) fn new(disk: Arc<dyn Disk>, fsync: AppendFsync) -> Durable {
        let durable = Durable {
            queue: Mutex::default(),
            journal: Mutex::default(),
            disk,
            fsync: AtomicFsync::default(),
            safe: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            refusal: Mutex::new(None),
            room: AtomicU64::new(u64::MAX),
            turned_away: AtomicBool::new(false),
            told_us: AtomicU64::new(0),
            ballast: AtomicU8::new(BALLAST_UNWANTED),
            seen: Mutex::default(),
            marked: Mutex::default(),
            saves_fail: AtomicBool::new(false),
            yields_to_rewrite: AtomicBool::new(false),
            timestamps: AtomicBool::new(false),
            keeps_history: AtomicBool::new(false),
            sync_wanted: Bell::default(),
            write_wanted: Bell::default(),
            syncing_since_us: AtomicU64::new(0),
            delayed_fsyncs: AtomicU64::new(0),
            last_write_ok: AtomicBool::new(true),
            synced: AtomicU64::new(0),
            is_logging: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            sleep_before_us: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
        };
        durable.fsync.set(fsync);
        durable
    }

    /// `appendfsync` has changed.
    fn set_fsync(&self, fsync: AppendFsync) {
        self.fsync.set(fsync);
        self.sync_wanted.ring();
    }

    /// Takes over what the configuration says of the log; `saves_ok`: the last snapshot was good. Waits for no disk: the log is told
    /// before its next write.
    pub(crate) fn follow(&self, config: &Config, saves_ok: bool) {
        if !self.fsync.is(config.appendfsync) {
            self.set_fsync(config.appendfsync);
        }
        self.yields_to_rewrite.store(config.no_appendfsync_on_rewrite, Ordering::Relaxed);
        self.timestamps.store(config.aof_timestamp_enabled, Ordering::Relaxed);
        self.keeps_history.store(config.aof_disable_auto_gc, Ordering::Relaxed);
        self.look_at_saves(config, saves_ok);
    }

    fn instruct(&self, log: &mut Log) {
        log.set_timestamps(self.timestamps.load(Ordering::Relaxed));
        log.set_keeps_history(self.keeps_history());
    }

    pub(crate) fn keeps_history(&self) -> bool {
        self.keeps_history.load(Ordering::Relaxed)
    }

    /// Refuses writes while snapshots are wanted and fail, if that is configured and no log keeps what is written.
    pub(crate) fn look_at_saves(&self, config: &Config, saves_ok: bool) {
        let fail = !saves_ok && config.stop_writes_on_bgsave_error && !config.save.is_empty();
        let refusal = self.refusal.lock();
        self.saves_fail.store(fail, Ordering::Release);
        self.look_closer(refusal.is_some());
    }

    fn saves_refuse(&self) -> bool {
        self.saves_fail.load(Ordering::Acquire) && !self.is_logging.load(Ordering::Acquire)
    }

    /// With the refusal locked: whether writes are to be looked at before they are let in.
    fn look_closer(&self, is_refusal: bool) {
        let is_tight = self.room.load(Ordering::Acquire) < TIGHT_BYTES;
        self.refusing.store(is_refusal || is_tight || self.saves_refuse(), Ordering::Release);
    }

    /// Deletes replaced files of the log that were kept.
    pub(crate) fn clean(&self, shared: &Shared) {
        let plan = self.lock().log.as_ref().map(Log::plan_cleaning);
        match plan {
            None => {}
            Some(Ok(plan)) => {
                let cleaned = plan.run();
                if let Some(log) = &mut self.lock().log {
                    log.install_cleaned(cleaned);
                }
            }
            Some(Err(error)) => shared.logger.notice(&format!("Old AOF files stay until a rewrite: {error}")),
        }
    }

    /// Where the log is, if there is one.
    pub(crate) fn log_place(&self) -> Option<Place> {
        self.lock().log.as_ref().map(|log| log.place().clone())
    }

    /// Whether the log waits for its first base.
    pub(crate) fn is_starting(&self) -> bool {
        self.lock().log.as_ref().is_some_and(Log::is_starting)
    }

    /// Whether replies wait for an fsync.
    pub(crate) fn is_always(&self) -> bool {
        self.fsync.is(AppendFsync::Always)
    }

    /// The journal; for whoever also needs the engine: taken before that.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock()
    }

    /// The queue; taken before the engine is let go, so that its order is the order of execution.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// How far the log has come. Takes the queue: the engine is held, so its order is kept.
    pub(crate) fn tickets(&self) -> engine::LogTickets {
        let last = self.queue.lock().ticket;
        let is_whole = self.is_whole.load(Ordering::Acquire);
        engine::LogTickets { last, synced: self.synced.load(Ordering::Acquire), is_whole }
    }

    /// Bytes of log that wait to be written; `None` when somebody is at it.
    pub(crate) fn pending_bytes(&self) -> Option<usize> {
        let pending = self.journal.try_lock()?.pending.len();
        Some(pending + self.queue.lock().bytes.len())
    }

    /// Whether replies with this ticket may leave.
    #[inline]
    pub(crate) fn is_safe(&self, ticket: u64) -> bool {
        ticket <= self.safe.load(Ordering::SeqCst)
    }

    /// Takes the log bytes of a batch in; the ticket that its writers' replies wait for.
    pub(crate) fn push(&self, queue: &mut Queue, bytes: &mut Vec<u8>) -> u64 {
        if bytes.is_empty() || !self.is_logging.load(Ordering::Acquire) {
            bytes.clear();
            return 0;
        }
        queue.ticket += 1;
        queue.pieces.push(bytes.len());
        self.take_room(bytes.len() as u64);
        if queue.bytes.is_empty() {
            std::mem::swap(&mut queue.bytes, bytes);
        } else {
            queue.bytes.append(bytes);
        }
        if queue.bytes.len() > QUEUE_BYTES_MAX && !self.refusing.load(Ordering::Acquire) {
            self.refuse_writes(REFUSED_SLOW.to_owned());
        }
        queue.ticket
    }

    /// Sees to it that what is queued gets written: here if that cannot stall, else by another thread.
    pub(crate) fn flush(&self, shared: &Shared) {
        if self.is_always() {
            self.sync_wanted.ring();
        } else if self.syncing_since_us.load(Ordering::Acquire) != 0 {
            self.write_wanted.ring();
        } else if let Some(mut journal) = self.journal.try_lock() {
            self.write_pending(&mut journal, shared);
        } else {
            self.write_wanted.ring();
        }
    }

    /// Takes over what is queued.
    fn take_queue(&self, journal: &mut Journal) {
        let mut queue = self.queue.lock();
        if journal.pending.is_empty() {
            std::mem::swap(&mut journal.pending, &mut queue.bytes);
        } else {
            journal.pending.append(&mut queue.bytes);
        }
        journal.pieces.extend(queue.pieces.drain(..));
        journal.pending_ticket = queue.ticket;
    }

    /// Tries to write what waits.
    fn write_pending(&self, journal: &mut Journal, shared: &Shared) {
        self.take_queue(journal);
        let Journal { log: Some(log), pending, pieces, .. } = journal else { return };
        if pending.is_empty() {
            return;
        }
        self.instruct(log);
        let sleep_us = self.sleep_before_us.load(Ordering::Relaxed);
        if sleep_us > 0 {
            std::thread::sleep(Duration::from_micros(sleep_us));
        }
        let began_us = shared.clock.micros();
        let unix_ms = shared.clock.now().unix_ms;
        let mut appended = log.append(pending, unix_ms);
        if matches!(&appended, Err(AppendError::Retry(error)) if is_full(error))
            && self.drop_ballast(log, shared)
        {
            appended = log.append(pending, unix_ms);
        }
        shared.meters.note_disk("aof-write", shared.clock.micros() - began_us);
        match appended {
            Ok(_) => {
                pending.clear();
                pieces.clear();
                self.file_bytes.store(log.file_bytes(), Ordering::Relaxed);
                journal.written_ticket = journal.pending_ticket;
                self.note_written(shared);
                if !self.is_always() {
                    self.advance(journal.written_ticket, shared);
                }
            }
            Err(error) => {
                self.write_failed(&error, shared);
                if matches!(error, AppendError::Retry(_)) {
                    self.write_what_fits(journal, shared);
                }
            }
        }
    }

    /// There is no room for all that waits: what was executed first and does fit is written by itself, so that its writers need
    /// not wait for what came behind it.
    fn write_what_fits(&self, journal: &mut Journal, shared: &Shared) {
        let unix_ms = shared.clock.now().unix_ms;
        let Journal { log: Some(log), pending, pieces, .. } = journal else { return };
        let mut written = 0;
        while pieces.len() > 1 {
            let Some(&bytes) = pieces.front() else { break };
            let mut piece = pending[written..written + bytes].to_vec();
            if log.append(&mut piece, unix_ms).is_err() {
                break;
            }
            written += bytes;
            pieces.pop_front();
        }
        pending.drain(..written);
        self.file_bytes.store(log.file_bytes(), Ordering::Relaxed);
        journal.written_ticket = journal.pending_ticket - journal.pieces.len() as u64;
        if !self.is_always() {
            self.advance(journal.written_ticket, shared);
        }
    }

    /// Writes all that waits, or says that it cannot be written.
    pub(crate) fn write_rest(&self, journal: &mut Journal, shared: &Shared) -> Result<(), String> {
        self.write_pending(journal, shared);
        match journal.pending.is_empty() {
            true => Ok(()),
            false => Err("the log cannot be written at the moment".to_owned()),
        }
    }

    fn note_written(&self, shared: &Shared) {
        if !self.last_write_ok.swap(true, Ordering::Relaxed) {
            shared.logger.warning("AOF write error looks solved, the server can write again.");
            self.accept_writes();
        } else if self.refusing.load(Ordering::Acquire)
            && self.refusal.lock().as_deref() == Some(REFUSED_SLOW)
        {
            self.accept_writes();
        }
    }

    #[cold]
    fn write_failed(&self, error: &AppendError, shared: &Shared) {
        if self.last_write_ok.swap(false, Ordering::Relaxed) {
            shared.logger.warning(&format!("Error writing to the AOF file: {error}"));
        }
        self.refuse_writes(format!("MISCONF Errors writing to the AOF file: {error}"));
        if matches!(error, AppendError::Failed(_)) {
            shared.saver.want_replacement();
        }
    }

    fn refuse_writes(&self, text: String) {
        *self.refusal.lock() = Some(text);
        self.refusing.store(true, Ordering::Release);
    }

    fn accept_writes(&self) {
        let mut refusal = self.refusal.lock();
        *refusal = None;
        self.look_closer(false);
    }

    /// Why writes must be refused now, if they must. When the disk is nearly full only those are that `grows` tells to need room; what
    /// takes from the data goes on inside the reserve, so that consumers can make room.
    #[inline]
    pub(crate) fn write_refusal(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
        if self.refusing.load(Ordering::Acquire) { self.refusal_now(grows, bytes) } else { None }
    }

    #[cold]
    fn refusal_now(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
        if self.saves_refuse() {
            return Some(REFUSED_SAVES.to_owned());
        }
        let room = self.room.load(Ordering::Acquire);
        if grows && room < TIGHT_BYTES && self.is_logging.load(Ordering::Acquire) && bytes() as u64 > room {
            self.turned_away.store(true, Ordering::Relaxed);
            return Some(REFUSED_FULL.to_owned());
        }
        self.refusal.lock().clone().filter(|why| grows || why != REFUSED_FULL)
    }

    /// Begins a rewrite, with the engine held: what has been executed goes into the old file, what comes
    /// into the new one that was prepared.
    pub(crate) fn begin_rewrite(
        &self,
        journal: &mut Journal,
        prepared: Prepared,
        shared: &Shared,
    ) -> Result<(), String> {
        self.write_rest(journal, shared)?;
        // It was switched off meanwhile.
        let Some(log) = &mut journal.log else { return Err(CANCELLED.to_owned()) };
        log.begin_rewrite(prepared).map_err(|error| {
            if matches!(error, AppendError::Failed(_)) {
                self.write_failed(&error, shared);
            }
            error.to_string()
        })?;
        // The plan's sync may have covered all; then no other comes to tell.
        if log.position_synced() == log.position() {
            self.advance(journal.written_ticket, shared);
        }
        Ok(())
    }

    /// Publishes the base of a rewrite. Only the plan and its end, with `also`, are made under the lock.
    pub(crate) fn publish(
        &self,
        temp: &Path,
        plan: impl Fn(&Log) -> io::Result<Publication>,
        also: impl FnOnce(&mut Journal),
    ) -> Result<(), String> {
        // Nobody wants the base of a log that was switched off.
        let publication =
            plan(self.lock().log.as_ref().ok_or(CANCELLED)?).map_err(|error| error.to_string())?;
        let published = publication.run(temp).map_err(|error| error.to_string())?;
        let mut journal = self.lock();
        let retired = journal.log.as_mut().ok_or(CANCELLED)?.install(published);
        also(&mut journal);
        self.is_whole.store(true, Ordering::Release);
        drop(journal);
        drop(retired);
        self.measure(&self.lock(), true);
        Ok(())
    }

    /// The last batch that is written: with the engine held and nothing pending, all that was executed.
    pub(crate) fn written(journal: &Journal) -> u64 {
        journal.written_ticket
    }

    /// A durable base holds the batches up to this one, whether the log was ever synced or not.
    pub(crate) fn is_based_on(&self, ticket: u64) {
        self.synced.fetch_max(ticket, Ordering::AcqRel);
    }

    /// With the engine held: which of the bytes that wait to be written are part of the state in memory.
    pub(crate) fn covered(&self, journal: &mut Journal) -> Covered {
        self.take_queue(journal);
        Covered { bytes: journal.pending.len(), ticket: journal.pending_ticket }
    }

    /// A new log has taken the place of a failed one. Its base is durable and holds what the covered bytes did; those
    /// behind them are only written now, and wait for their sync as any others.
    pub(crate) fn replaced(&self, journal: &mut Journal, covered: Covered, shared: &Shared) {
        journal.pending.drain(..covered.bytes.min(journal.pending.len()));
        let behind = journal.pending_ticket.saturating_sub(covered.ticket) as usize;
        journal.pieces.drain(..journal.pieces.len().saturating_sub(behind));
        journal.written_ticket = covered.ticket;
        self.accept_writes();
        self.last_write_ok.store(true, Ordering::Relaxed);
        self.is_based_on(covered.ticket);
        self.advance(covered.ticket, shared);
        self.write_pending(journal, shared);
        self.sync_wanted.ring();
    }

    /// Takes the log out of use. What was executed is in it, as far as it can be written and synced, before the replies
    /// that waited for that leave.
    pub(crate) fn end_log(&self, shared: &Shared) -> Option<Log> {
        let mut journal = self.lock();
        // Twice, so that the engine is not held for more than what has come meanwhile.
        self.write_pending(&mut journal, shared);
        {
            let mut engine = shared.engine.lock();
            engine.set_logging(false);
            self.write_pending(&mut journal, shared);
        }
        let Journal { log, pending, .. } = &mut *journal;
        let synced = match log.as_mut().filter(|log| !log.is_starting()) {
            Some(_) if !pending.is_empty() => Err("it cannot be written".to_owned()),
            Some(log) => log.finish(shared.clock.now().unix_ms).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        if let Err(why) = synced {
            shared.logger.warning(&format!("The end of the AOF that is switched off may be missing: {why}"));
        }
        let old = journal.log.take();
        self.set_log(&mut journal, None, shared);
        old
    }

    /// The log is switched on or off.
    pub(crate) fn set_log(&self, journal: &mut Journal, log: Option<Log>, shared: &Shared) {
        self.take_queue(journal);
        journal.log = log;
        if let Some(log) = &mut journal.log {
            self.instruct(log);
        }
        journal.pending.clear();
        journal.pieces.clear();
        journal.written_ticket = journal.pending_ticket;
        self.is_logging.store(journal.log.is_some(), Ordering::Release);
        // What kept the old log from being written is no reason to refuse writes any more.
        self.accept_writes();
        self.last_write_ok.store(true, Ordering::Relaxed);
        let is_whole = journal.log.as_ref().is_some_and(|log| !log.is_starting());
        self.is_whole.store(is_whole, Ordering::Release);
        self.measure(journal, true);
        self.file_bytes.store(journal.log.as_ref().map_or(0, Log::file_bytes), Ordering::Relaxed);
        self.advance(journal.pending_ticket, shared);
    }

    /// Measures the log's files; `is_base`: a rewrite has just ended.
    pub(crate) fn measure(&self, journal: &Journal, is_base: bool) {
        let bytes = journal.bytes(&*self.disk);
        self.log_bytes.store(bytes, Ordering::Relaxed);
        if is_base {
            self.base_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn advance(&self, ticket: u64, shared: &Shared) {
        if self.safe.fetch_max(ticket, Ordering::SeqCst) < ticket {
            shared.wake_parked();
        }
    }

    /// The log thread: syncs when asked to, and at least once a second looks after the log.
    pub(crate) fn keep(&self, shared: &Shared) {
        let mut next_second_us = shared.clock.micros() + 1_000_000;
        while !shared.ended.load(Ordering::Acquire) {
            let now_us = shared.clock.micros();
            if now_us >= next_second_us {
                next_second_us = now_us + 1_000_000;
                self.second(shared);
            }
            self.sync_wanted.wait(next_second_us.saturating_sub(now_us));
            if self.is_always() {
                self.sync(shared);
            }
            crate::memory::publish();
        }
    }

    /// The append thread: writes when an I/O thread must not.
    pub(crate) fn keep_writing(&self, shared: &Shared) {
        const PERIOD_US: u64 = 1_000_000;
        while !shared.ended.load(Ordering::Acquire) {
            self.write_wanted.wait(PERIOD_US);
            if !self.is_always() && !self.queue.lock().bytes.is_empty() {
                self.write_pending(&mut self.lock(), shared);
            }
            crate::memory::publish();
        }
    }

    /// Ends both threads' waiting.
    pub(crate) fn ring(&self) {
        self.sync_wanted.ring();
        self.write_wanted.ring();
    }

    fn second(&self, shared: &Shared) {
        self.write_pending(&mut self.lock(), shared);
        self.look_at_room(shared);
        self.look_at_files(shared);
        if !self.fsync.is(AppendFsync::No) {
            self.sync(shared);
            self.tell_synced(shared);
        }
        self.mark_synced();
        *shared.allocator.lock() = crate::memory::look();
        shared.chore(Chore::Second);
    }

    /// Has the log tell that all it holds is durable, when nothing waits that would tell it.
    fn tell_synced(&self, shared: &Shared) {
        let mut journal = self.lock();
        if !journal.pending.is_empty() || !self.queue.lock().bytes.is_empty() {
            return;
        }
        let Some(log) = journal.log.as_mut().filter(|log| *log.state() == State::Ready) else { return };
        // What could not be written now is told later; nobody waits for it.
        if let Err(error @ AppendError::Failed(_)) = log.tell_synced(shared.clock.now().unix_ms) {
            self.write_failed(&error, shared);
        }
    }

    /// Refuses writes before the disk is full, and accepts them when there is room again.
    pub(crate) fn look_at_room(&self, shared: &Shared) {
        let (dir, waiting) = {
            let journal = self.lock();
            let Some(log) = &journal.log else { return };
            (log.place().log_dir(), journal.pending.len() as u64)
        };
        let queue = self.queue();
        // A file system that does not say how much room it has is taken to have some.
        let free = self.disk.free_bytes(&dir).unwrap_or(u64::MAX);
        let room = free.saturating_sub(RESERVE_BYTES + waiting + queue.bytes.len() as u64);
        self.room.store(room, Ordering::Release);
        drop(queue);
        self.keep_ballast(free, shared);
        let refusal = self.refusal.lock().clone();
        if room == 0 && refusal.is_none() {
            self.refuse_growth(shared);
        } else if free >= 2 * RESERVE_BYTES && refusal.as_deref() == Some(REFUSED_FULL) {
            shared.logger.notice("There is room for the AOF again; writes are accepted.");
            self.accept_writes();
        } else {
            let refusal = self.refusal.lock();
            self.look_closer(refusal.is_some());
        }
        self.tell_of_refusals(room, shared);
    }

    /// Tells at most once a minute that what is larger than the room there is was refused.
    fn tell_of_refusals(&self, room: u64, shared: &Shared) {
        const PERIOD_US: u64 = 60_000_000;
        let (now_us, told_us) = (shared.clock.micros(), self.told_us.load(Ordering::Relaxed));
        let is_due = told_us == 0 || now_us >= told_us + PERIOD_US;
        if self.turned_away.swap(false, Ordering::Relaxed) && room > 0 && is_due {
            self.told_us.store(now_us.max(1), Ordering::Relaxed);
            shared.logger.warning(&format!(
                "Writes were refused that the disk of the AOF has no room for: {room} bytes are left above the reserve."
            ));
        }
    }

    fn refuse_growth(&self, shared: &Shared) {
        shared
            .logger
            .warning("The disk of the AOF is nearly full; what would grow is refused until there is room.");
        self.refuse_writes(REFUSED_FULL.to_owned());
    }

    /// So many bytes are going to be written, of the room that there was at the last look. The queue is held.
    fn take_room(&self, bytes: u64) {
        let room = self.room.load(Ordering::Acquire);
        if room == u64::MAX {
            return;
        }
        let left = room.saturating_sub(bytes);
        self.room.store(left, Ordering::Release);
        if left < TIGHT_BYTES && !self.refusing.load(Ordering::Acquire) {
            self.refusing.store(true, Ordering::Release);
        }
    }

    /// A queue keeps a file on the disk of its log that is there only to be removed: what had been let in before the disk
    /// was full can be written then, and consumers go on, whoever has filled it.
    pub(crate) fn want_ballast(&self) {
        self.ballast.store(BALLAST_WANTED, Ordering::Release);
    }

    fn keep_ballast(&self, free: u64, shared: &Shared) {
        if self.ballast.load(Ordering::Acquire) == BALLAST_UNWANTED {
            return;
        }
        let Some(path) = self.log_place().map(|place| place.ballast()) else { return };
        let is_there = self.disk.len(&path).is_ok_and(|bytes| bytes == BALLAST_BYTES);
        self.ballast.store(if is_there { BALLAST_THERE } else { BALLAST_WANTED }, Ordering::Release);
        if is_there || free < 2 * RESERVE_BYTES + BALLAST_BYTES {
            return;
        }
        match self.disk.fill(&path, BALLAST_BYTES) {
            Ok(()) => self.ballast.store(BALLAST_THERE, Ordering::Release),
            // The folder was removed; it comes back with a new log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                shared.logger.warning(&format!("{} cannot be kept: {error}", path.display()));
                self.disk.remove(&path).unwrap_or_default();
                // It is but a help; it is tried again at the next start.
                self.ballast.store(BALLAST_UNWANTED, Ordering::Release);
            }
        }
    }

    /// Makes room by removing the ballast; false when there is none.
    fn drop_ballast(&self, log: &Log, shared: &Shared) -> bool {
        let there =
            self.ballast.compare_exchange(BALLAST_THERE, BALLAST_WANTED, Ordering::AcqRel, Ordering::Acquire);
        if there.is_err() || self.disk.remove(&log.place().ballast()).is_err() {
            return false;
        }
        self.room.store(0, Ordering::Release);
        self.refuse_growth(shared);
        true
    }

    /// Whether the log's files are what they should be. One that somebody has removed, cut, moved or replaced while the server
    /// runs would be missed at the next start only; what is in memory makes a new log.
    fn look_at_files(&self, shared: &Shared) {
        let Some(watch) = self.lock().log.as_ref().and_then(Log::watch) else { return };
        let why = match shared.locks.renew() {
            Err(error @ (LockError::Taken(_) | LockError::Used(_))) => Err(error.to_string()),
            _ => watch.look(&*self.disk, &mut self.seen.lock()),
        };
        let mut journal = self.lock();
        let Some(log) = &mut journal.log else { return };
        let Some(error) = log.judge_watch(&watch, why) else { return };
        shared.logger.warning(&format!(
            "The AOF is not what this server has written: {error}. Everything is written anew from memory."
        ));
        self.write_failed(&error, shared);
    }

    /// Tells beside the log how much of it is durable.
    pub(crate) fn mark_synced(&self) {
        let told = {
            let journal = self.lock();
            let Some(log) = &journal.log else { return };
            log.synced_mark().map(|mark| (log.place().clone(), mark))
        };
        let Some((place, mark)) = told else { return };
        let mut marked = self.marked.lock();
        // Without it damage may pass for a torn end, as in any other log; the next second tries again.
        if marked.as_ref() != Some(&mark) && mark.write(&*self.disk, &place).is_ok() {
            *marked = Some(mark);
        }
    }

    /// Makes durable what is written and lets the replies go that wait for it.
    pub(crate) fn sync(&self, shared: &Shared) {
        let (handle, ticket) = {
            let mut journal = self.lock();
            if self.is_always() {
                self.write_pending(&mut journal, shared);
            }
            let Some(log) = &journal.log else { return };
            if log.position_synced() == log.position() && journal.pending.is_empty() {
                self.synced.fetch_max(journal.written_ticket, Ordering::AcqRel);
            }
            if log.position_synced() == log.position() || *log.state() != State::Ready {
                return;
            }
            if self.yields_to_rewrite.load(Ordering::Relaxed) && shared.saver.running.load(Ordering::Acquire)
            {
                // As asked for: what is written while a snapshot is may be lost with the machine.
                self.advance(journal.written_ticket, shared);
                return;
            }
            (log.sync_handle(), journal.written_ticket)
        };
        self.syncing_since_us.store(shared.clock.micros().max(1), Ordering::Release);
        let done = handle.run();
        let spent_us = shared.clock.micros() - self.syncing_since_us.swap(0, Ordering::AcqRel);
        let event = if self.is_always() { "aof-fsync-always" } else { "aof-fsync-everysec" };
        shared.meters.note_disk(event, spent_us);
        if spent_us > 1_000_000 {
            self.delayed_fsyncs.fetch_add(1, Ordering::Relaxed);
            shared.logger.notice(&format!(
                "An fsync of the AOF took {} ms; the disk is slow or busy.",
                spent_us / 1000
            ));
        }
        let mut journal = self.lock();
        let Some(log) = &mut journal.log else { return };
        match log.apply(done) {
            Ok(()) => {
                self.synced.fetch_max(ticket, Ordering::AcqRel);
                self.advance(ticket, shared);
            }
            Err(error) => self.write_failed(&error, shared),
        }
    }

    /// Syncs everything at the end of the process; whether that succeeded.
    pub(crate) fn finish(&self, shared: &Shared) -> Result<(), String> {
        let mut journal = self.lock();
        self.write_pending(&mut journal, shared);
        let waiting = !journal.pending.is_empty();
        match &mut journal.log {
            None => Ok(()),
            Some(_) if waiting => Err("the log cannot be written".to_owned()),
            Some(log) => log.finish(shared.clock.now().unix_ms).map_err(|error| error.to_string()),
        }?;
        drop(journal);
        self.mark_synced();
        Ok(())
    }
}

/// Whether a write failed for want of room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
