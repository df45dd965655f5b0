//! Durability: the log behind its lock, the thread that makes it durable, and the moment a reply may leave.
//!
//! Every batch of log bytes gets a ticket, in the order of execution. With `everysec` and `no` a ticket is
//! safe when its bytes are in the kernel, which they are before the batch's replies leave. With `always` it
//! is safe when an fsync has covered it: replies of writers wait for that, all that wait share one fsync, and
//! nobody else waits.
//!
//! What cannot be written now (no room) is kept here and tried again; its replies wait, and further writes
//! are refused. When the log has failed for good, a base written from memory replaces it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use config::AppendFsync;
use parking_lot::{Condvar, Mutex, MutexGuard};
use persist::aof::{AppendError, Log, State};
use persist::disk::Disk;

use crate::shared::{Chore, Shared};

/// Bytes that must stay free on the log's disk; with less, writes are refused while they can still be
/// refused in order. Room for what is in flight and for a manifest.
const RESERVE_BYTES: u64 = 16 << 20;

/// Bytes kept for a log that cannot be written, before writes are refused anyway; what is in flight when the
/// refusal begins.
const REFUSED_FULL: &str = "MISCONF Errors writing to the AOF file: No space left on device";

/// The log and its bookkeeping.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) log: Option<Log>,
    /// What could not be written yet.
    pending: Vec<u8>,
    ticket: u64,
    written_ticket: u64,
}

impl Journal {
    /// Bytes that could not be written yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of all files of the log.
    pub(crate) fn bytes(&self, disk: &dyn Disk) -> u64 {
        let Some(log) = &self.log else { return 0 };
        let (manifest, dir) = (log.manifest(), log.place().log_dir());
        let files = manifest.base.iter().chain(&manifest.incrementals);
        files.map(|file| disk.len(&dir.join(&file.name)).unwrap_or(0)).sum()
    }
}

/// Shared durability state.
pub(crate) struct Durable {
    journal: Mutex<Journal>,
    pub(crate) disk: Arc<dyn Disk>,
    fsync: AtomicFsync,
    /// Replies with a ticket up to here may leave.
    safe: AtomicU64,
    refusing: AtomicBool,
    refusal: Mutex<Option<String>>,
    wanted: Mutex<bool>,
    wake: Condvar,
    /// A sync runs; since when, monotonic microseconds; 0: none.
    syncing_since_us: AtomicU64,
    pub(crate) delayed_fsyncs: AtomicU64,
    /// The last write to the log succeeded.
    pub(crate) last_write_ok: AtomicBool,
    /// There is a log.
    pub(crate) is_logging: AtomicBool,
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
            journal: Mutex::default(),
            disk,
            fsync: AtomicFsync::default(),
            safe: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            refusal: Mutex::new(None),
            wanted: Mutex::new(false),
            wake: Condvar::new(),
            syncing_since_us: AtomicU64::new(0),
            delayed_fsyncs: AtomicU64::new(0),
            last_write_ok: AtomicBool::new(true),
            is_logging: AtomicBool::new(false),
            file_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
        };
        durable.fsync.set(fsync);
        durable
    }

    /// `appendfsync` has changed.
    pub(crate) fn set_fsync(&self, fsync: AppendFsync) {
        self.fsync.set(fsync);
        self.request_sync();
    }

    /// Whether replies wait for an fsync.
    pub(crate) fn is_always(&self) -> bool {
        self.fsync.is(AppendFsync::Always)
    }

    /// The journal; whoever also needs the engine has locked that before.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock()
    }

    /// Whether replies with this ticket may leave.
    #[inline]
    pub(crate) fn is_safe(&self, ticket: u64) -> bool {
        ticket <= self.safe.load(Ordering::SeqCst)
    }

    /// Takes the log bytes of a batch; the ticket that its writers' replies wait for, 0 when they need not.
    pub(crate) fn append(&self, journal: &mut Journal, bytes: &mut Vec<u8>, shared: &Shared) -> u64 {
        if journal.log.is_none() {
            bytes.clear();
            return 0;
        }
        journal.ticket += 1;
        let ticket = journal.ticket;
        if journal.pending.is_empty() {
            std::mem::swap(&mut journal.pending, bytes);
        } else {
            journal.pending.append(bytes);
        }
        self.write_pending(journal, shared);
        // The buffer goes back to the thread that filled it.
        if journal.pending.is_empty() {
            std::mem::swap(&mut journal.pending, bytes);
            bytes.clear();
        }
        if self.is_always() {
            self.request_sync();
        }
        if self.is_safe(ticket) { 0 } else { ticket }
    }

    /// Tries to write what waits.
    fn write_pending(&self, journal: &mut Journal, shared: &Shared) {
        let Some(log) = &mut journal.log else { return };
        let unix_ms = shared.clock.now().unix_ms;
        match log.append(&journal.pending, unix_ms) {
            Ok(_) => {
                journal.pending.clear();
                journal.written_ticket = journal.ticket;
                self.file_bytes.store(log.file_bytes(), Ordering::Relaxed);
                if !self.last_write_ok.swap(true, Ordering::Relaxed) {
                    shared.logger.warning("AOF write error looks solved, the server can write again.");
                    self.accept_writes();
                }
                if !self.is_always() {
                    self.safe.store(journal.written_ticket, Ordering::SeqCst);
                }
            }
            Err(error) => self.write_failed(&error, shared),
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
        self.refusing.store(false, Ordering::Release);
        *self.refusal.lock() = None;
    }

    /// Why writes must be refused now, if they must.
    #[inline]
    pub(crate) fn write_refusal(&self) -> Option<String> {
        if !self.refusing.load(Ordering::Acquire) {
            return None;
        }
        self.refusal.lock().clone()
    }

    /// Begins a rewrite: the log goes on in a new file from the next byte on.
    pub(crate) fn begin_rewrite(&self, journal: &mut Journal, shared: &Shared) -> Result<(), String> {
        if !journal.pending.is_empty() {
            self.write_pending(journal, shared);
        }
        let waits = !journal.pending.is_empty();
        let Some(log) = &mut journal.log else { return Err("there is no log".to_owned()) };
        if waits {
            return Err("the log cannot be written at the moment".to_owned());
        }
        log.begin_rewrite().map_err(|error| error.to_string())?;
        self.advance(journal.written_ticket, shared);
        Ok(())
    }

    /// A new log has taken the place of a failed one; its base holds what the first `covered` bytes of the
    /// pending ones did.
    pub(crate) fn replaced(&self, journal: &mut Journal, covered: usize, shared: &Shared) {
        journal.pending.drain(..covered.min(journal.pending.len()));
        self.accept_writes();
        self.last_write_ok.store(true, Ordering::Relaxed);
        if journal.pending.is_empty() {
            journal.written_ticket = journal.ticket;
        } else {
            self.write_pending(journal, shared);
        }
        self.measure(journal, true);
        self.advance(journal.written_ticket, shared);
    }

    /// The log is switched on or off.
    pub(crate) fn set_log(&self, journal: &mut Journal, log: Option<Log>, shared: &Shared) {
        journal.log = log;
        journal.pending.clear();
        self.is_logging.store(journal.log.is_some(), Ordering::Release);
        self.measure(journal, true);
        self.file_bytes.store(journal.log.as_ref().map_or(0, Log::file_bytes), Ordering::Relaxed);
        self.advance(journal.ticket, shared);
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

    fn request_sync(&self) {
        let mut wanted = self.wanted.lock();
        *wanted = true;
        self.wake.notify_one();
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
            self.wait(next_second_us.saturating_sub(now_us));
            if self.is_always() {
                self.sync(shared);
            }
        }
    }

    fn wait(&self, time_us: u64) {
        let mut wanted = self.wanted.lock();
        if !*wanted {
            self.wake.wait_for(&mut wanted, Duration::from_micros(time_us.max(1)));
        }
        *wanted = false;
    }

    fn second(&self, shared: &Shared) {
        {
            let mut journal = self.lock();
            if !journal.pending.is_empty() {
                self.write_pending(&mut journal, shared);
            }
        }
        self.look_at_room(shared);
        if !self.fsync.is(AppendFsync::No) {
            self.sync(shared);
        }
        *shared.allocator.lock() = crate::memory::correct();
        shared.chore(Chore::Second);
    }

    /// Refuses writes before the disk is full, and accepts them when there is room again.
    fn look_at_room(&self, shared: &Shared) {
        let dir = match &self.lock().log {
            Some(log) => log.place().log_dir(),
            None => return,
        };
        // A file system that does not say how much room it has is taken to have some.
        let free = self.disk.free_bytes(&dir).unwrap_or(u64::MAX);
        let is_full = self.refusal.lock().as_deref() == Some(REFUSED_FULL);
        if free < RESERVE_BYTES && !self.refusing.load(Ordering::Acquire) {
            shared.logger.warning("The disk of the AOF is nearly full; writes are refused until there is room.");
            self.refuse_writes(REFUSED_FULL.to_owned());
        } else if free >= 2 * RESERVE_BYTES && is_full {
            shared.logger.notice("There is room for the AOF again; writes are accepted.");
            self.accept_writes();
        }
    }

    /// Makes durable what is written and lets the replies go that wait for it.
    pub(crate) fn sync(&self, shared: &Shared) {
        let (handle, ticket) = {
            let journal = self.lock();
            let Some(log) = &journal.log else { return };
            if log.position_synced() == log.position() || *log.state() != State::Ready {
                return;
            }
            (log.sync_handle(), journal.written_ticket)
        };
        self.syncing_since_us.store(shared.clock.micros(), Ordering::Relaxed);
        let done = handle.run();
        let spent_us = shared.clock.micros() - self.syncing_since_us.swap(0, Ordering::Relaxed);
        if spent_us > 1_000_000 {
            self.delayed_fsyncs.fetch_add(1, Ordering::Relaxed);
            shared.logger.notice(&format!("An fsync of the AOF took {} ms; the disk is slow or busy.", spent_us / 1000));
        }
        let mut journal = self.lock();
        let Some(log) = &mut journal.log else { return };
        match log.apply(done) {
            Ok(()) => self.advance(ticket, shared),
            Err(error) => self.write_failed(&error, shared),
        }
    }

    /// Syncs everything at the end of the process; whether that succeeded.
    pub(crate) fn finish(&self, shared: &Shared) -> Result<(), String> {
        let mut journal = self.lock();
        if !journal.pending.is_empty() {
            self.write_pending(&mut journal, shared);
        }
        let waiting = !journal.pending.is_empty();
        match &mut journal.log {
            None => Ok(()),
            Some(_) if waiting => Err("the log cannot be written".to_owned()),
            Some(log) => log.sync().map_err(|error| error.to_string()),
        }
    }
}
