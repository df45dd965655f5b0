//! Durability: what carries out what the [`journal`](::journal) asks for.
//!
//! ```text
//!   engine → commit ┐                     ┌ safe: replies may leave
//!                   ├→ journal (pure) ────┤ hand: I/O thread, append thread, log thread
//!   written, synced ┘                     └ refusal
//! ```
//! Every batch of log bytes gets a ticket, in the order of execution; a reply to a writer leaves when its ticket is safe. With
//! `everysec` and `no` that is when the kernel has it: the I/O thread writes itself where the disk is known to be quick, and else the
//! append thread does, so that only writers wait. With `always` the log thread writes and syncs; all that wait share one
//! fsync, and readers wait for nothing.
//!
//! What cannot be written now (no room) is kept and tried again; its replies wait, and further writes are refused. When the log has
//! failed for good, a base written from memory replaces it.
//!
//! Locks are taken in the order log, engine, journal. The log's may be held for as long as the disk takes: nobody waits for it
//! with the engine in hand. The journal's is held for a copy of some hundred KiB at most.

mod change;
mod keep;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use config::{AppendFsync, Config};
use journal::{Acked, Batch, Fault, Hand, Journal, Marks, Need, News, Outcome, Policy};
use parking_lot::{Condvar, Mutex, MutexGuard};
use persist::aof::{AppendError, Log, Place};
use persist::disk::Disk;

use self::keep::Lookout;
use crate::shared::Shared;

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

/// A batch that whoever has committed is to write, and the log, which is nobody else's meanwhile.
pub(crate) struct Claim<'a> {
    log: MutexGuard<'a, Option<Log>>,
    batch: Option<Batch>,
    /// What is committed from here on is for others.
    until: u64,
}

impl Claim<'_> {
    /// Writes it. That may take as long as a disk.
    pub(crate) fn write(&mut self, shared: &Shared) {
        if let Some(log) = &mut *self.log {
            shared.durable.write(log, self.batch.take(), self.until, shared);
        }
    }
}

/// What replicas have acknowledged, for those that ask without a lock. It is shown under the journal's.
#[derive(Default)]
struct AckedMark {
    history: AtomicU64,
    position: AtomicU64,
}

impl AckedMark {
    /// Shows another; whether it is one. While a history gives way to the next there is no position, so that none is taken for one of the
    /// other.
    fn show(&self, acked: Acked) -> bool {
        let Acked { history, position } = acked;
        if self.history.load(Ordering::SeqCst) == history {
            return self.position.swap(position, Ordering::SeqCst) != position;
        }
        self.position.store(0, Ordering::SeqCst);
        self.history.store(history, Ordering::SeqCst);
        self.position.store(position, Ordering::SeqCst);
        true
    }

    #[inline]
    fn load(&self) -> Acked {
        let history = self.history.load(Ordering::SeqCst);
        let position = self.position.load(Ordering::SeqCst);
        match self.history.load(Ordering::SeqCst) {
            now if now == history => Acked { history, position },
            now => Acked { history: now, position: 0 },
        }
    }
}

/// Shared durability state.
pub(crate) struct Durable {
    journal: Mutex<Journal>,
    log: Mutex<Option<Log>>,
    lookout: Mutex<Lookout>,
    pub(crate) disk: Arc<dyn Disk>,
    // What the journal has said last, for those that ask at every request.
    safe: AtomicU64,
    at_hand: AtomicU64,
    synced: AtomicU64,
    acked: AckedMark,
    /// Up to where an earlier history is in that of the master which was followed after it.
    carried: AckedMark,
    /// Replies that replicas have not acknowledged in time.
    pub(crate) unacknowledged: AtomicU64,
    /// Up to where in the stream such replies waited, until the engine is told.
    given_up: Mutex<Acked>,
    /// Whether the engine is to be told.
    has_given_up: AtomicBool,
    looks_closer: AtomicBool,
    buffer_bytes: AtomicUsize,
    /// Rings for the log thread.
    sync_wanted: Bell,
    /// Rings for the append thread.
    write_wanted: Bell,
    /// A sleep before each write of the log, microseconds: a door for tests.
    pub(crate) sleep_before_us: AtomicU64,
}

/// What a configuration says of the log.
fn policy(config: &Config) -> Policy {
    Policy {
        need: match config.appendfsync {
            AppendFsync::Always => Need::Synced,
            AppendFsync::Everysec | AppendFsync::No => Need::Written,
        },
        syncs: config.appendfsync != AppendFsync::No,
        lag_us_max: (config.appendfsync == AppendFsync::Everysec && config.appendfsync_lag_max_ms > 0)
            .then_some(config.appendfsync_lag_max_ms.saturating_mul(1000)),
        yields_to_snapshots: config.no_appendfsync_on_rewrite,
        needs_snapshots: config.stop_writes_on_bgsave_error && !config.save.is_empty(),
        timestamps: config.aof_timestamp_enabled,
        keeps_history: config.aof_disable_auto_gc,
    }
}

fn fault(error: &AppendError) -> Fault {
    match error {
        AppendError::Retry(_) => Fault::Retry(error.to_string()),
        AppendError::Failed(_) => Fault::Final(error.to_string()),
    }
}

impl Durable {
    pub(crate) fn new(disk: Arc<dyn Disk>, config: &Config) -> Durable {
        Durable {
            journal: Mutex::new(Journal::new(policy(config))),
            log: Mutex::default(),
            lookout: Mutex::default(),
            disk,
            safe: AtomicU64::new(0),
            at_hand: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            acked: AckedMark::default(),
            carried: AckedMark::default(),
            unacknowledged: AtomicU64::new(0),
            given_up: Mutex::default(),
            has_given_up: AtomicBool::new(false),
            looks_closer: AtomicBool::new(false),
            buffer_bytes: AtomicUsize::new(0),
            sync_wanted: Bell::default(),
            write_wanted: Bell::default(),
            sleep_before_us: AtomicU64::new(0),
        }
    }

    /// The log; for whoever also needs the engine: taken before that. It may take as long as a disk.
    pub(crate) fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock()
    }

    /// The journal; taken before the engine is let go, so that its order is the order of execution.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock()
    }

    /// Tells the journal what has happened, and lets the replies go that wait for that.
    pub(crate) fn tell<T>(&self, shared: &Shared, event: impl FnOnce(&mut Journal) -> T) -> T {
        let mut journal = self.journal.lock();
        let result = event(&mut journal);
        self.note(&journal);
        let has_changed = self.show(journal.marks());
        drop(journal);
        if has_changed {
            shared.wake_parked();
        }
        result
    }

    /// Shows up to where promises are kept; whether that is news. The journal is held.
    fn show(&self, marks: Marks) -> bool {
        let Marks { agreed, written, synced, acked } = marks;
        let is_acked_news = self.acked.show(acked);
        let shown = [(&self.safe, agreed), (&self.at_hand, written), (&self.synced, synced)];
        shown.into_iter().fold(is_acked_news, |has_changed, (place, mark)| {
            place.swap(mark, Ordering::SeqCst) != mark || has_changed
        })
    }

    /// Whether replicas have acknowledged another position than is known here.
    #[inline]
    pub(crate) fn is_acked_news(&self, acked: Acked) -> bool {
        self.acked.load() != acked
    }

    /// Whether what is waited for was acknowledged, or is in the history of the master that was followed since.
    #[inline]
    pub(crate) fn has_acked(&self, wanted: Acked) -> bool {
        self.acked.load().cover(wanted) || self.carried.load().cover(wanted)
    }

    /// Whether what is waited for can never be acknowledged.
    #[inline]
    pub(crate) fn is_past(&self, wanted: Acked) -> bool {
        // In this order: what is carried is shown first.
        self.acked.load().is_past(wanted) && !self.carried.load().cover(wanted)
    }

    /// A history is carried on up to there in the next one, which is shown after this.
    pub(crate) fn carry(&self, acked: Acked) {
        self.carried.show(acked);
    }

    /// Enough replicas have acknowledged the stream up to there. The journal was taken before the engine was let go, so that a later
    /// position is not overtaken by an earlier one.
    pub(crate) fn acknowledge(&self, journal: &mut Journal, acked: Acked, shared: &Shared) {
        journal.acknowledged(acked);
        if self.show(journal.marks()) {
            shared.wake_parked();
        }
    }

    /// `count` replies were given up that waited for replicas to acknowledge the stream up to there.
    pub(crate) fn give_up(&self, count: usize, acked: Acked) {
        self.unacknowledged.fetch_add(count as u64, Ordering::Relaxed);
        if acked.waits() && acked.position < Marks::NEVER {
            let mut given_up = self.given_up.lock();
            *given_up = (*given_up).max(acked);
            self.has_given_up.store(true, Ordering::Release);
        }
    }

    /// Up to where that was since the last call, if it was.
    #[inline]
    pub(crate) fn take_given_up(&self) -> Option<Acked> {
        self.has_given_up.load(Ordering::Acquire).then(|| self.take_given_up_now())
    }

    #[cold]
    fn take_given_up_now(&self) -> Acked {
        let mut given_up = self.given_up.lock();
        self.has_given_up.store(false, Ordering::Release);
        std::mem::take(&mut *given_up)
    }

    /// Whether a reply that waits for this may leave.
    #[inline]
    pub(crate) fn covers(&self, wanted: &Marks) -> bool {
        let reached = Marks {
            agreed: self.safe.load(Ordering::SeqCst),
            written: self.at_hand.load(Ordering::SeqCst),
            synced: self.synced.load(Ordering::SeqCst),
            acked: self.acked.load(),
        };
        reached.cover(wanted)
            || (self.carried.load().cover(wanted.acked)
                && reached.cover(&Marks { acked: Acked::default(), ..*wanted }))
    }

    /// Has a sync made for a commit, whose client has asked for that.
    pub(crate) fn ask_for_sync(&self, journal: &mut Journal, ticket: u64) {
        journal.ask_for_sync(ticket);
        self.sync_wanted.ring();
    }

    /// Notes what the journal says to those that ask at every request.
    fn note(&self, journal: &Journal) {
        self.buffer_bytes.store(journal.buffer_bytes(), Ordering::Relaxed);
        let looks_closer = journal.looks_closer();
        if self.looks_closer.load(Ordering::Relaxed) != looks_closer {
            self.looks_closer.store(looks_closer, Ordering::Release);
        }
    }

    /// Takes over what the configuration says of the log. Waits for no disk: the log is told before its next write.
    pub(crate) fn follow(&self, config: &Config, shared: &Shared) {
        let now_us = shared.clock.micros();
        self.tell(shared, |journal| journal.set_policy(policy(config), now_us));
        // What waits may be for another thread to write now.
        self.ring();
    }

    /// Where the log is, if there is one.
    pub(crate) fn log_place(&self) -> Option<Place> {
        self.log().as_ref().map(|log| log.place().clone())
    }

    /// Whether there is a log.
    pub(crate) fn is_logging(&self) -> bool {
        self.journal().state().logs()
    }

    /// Whether the log waits for its first base.
    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.journal().state(), journal::State::Starting(_))
    }

    /// How far the log has come. The engine is held, so its order is kept.
    pub(crate) fn tickets(&self) -> engine::LogTickets {
        let journal = self.journal();
        let is_whole = journal.state().is_whole();
        engine::LogTickets { last: journal.end(), synced: journal.synced_to(), is_whole }
    }

    /// Whether replies with this ticket may leave.
    #[inline]
    pub(crate) fn is_safe(&self, ticket: u64) -> bool {
        ticket <= self.safe.load(Ordering::SeqCst)
    }

    /// Bytes of memory that what waits to be written takes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes.load(Ordering::Relaxed)
    }

    /// Why writes must be refused now, if they must, in the words for clients; see [`Journal::refusal`].
    #[inline]
    pub(crate) fn write_refusal(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
        if self.looks_closer.load(Ordering::Acquire) { self.refusal_now(grows, bytes) } else { None }
    }

    #[cold]
    fn refusal_now(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
        self.journal().refusal(grows, bytes).map(|refusal| refusal.to_string())
    }

    /// Takes the log bytes of a batch in; the ticket that its writers' replies wait for.
    pub(crate) fn commit(&self, journal: &mut Journal, bytes: &mut Vec<u8>) -> u64 {
        let ticket = journal.commit(bytes);
        if ticket > 0 {
            self.note(journal);
        }
        ticket
    }

    /// Sees to it that what waits gets written: what the caller is to write itself, or else another thread does.
    pub(crate) fn claim(&self, mut journal: MutexGuard<'_, Journal>) -> Option<Claim<'_>> {
        let hand = journal.hand();
        // Trying waits for nobody, so it may be done with the journal in hand.
        if hand == Hand::Caller
            && let Some(log) = self.log.try_lock()
            && let until = journal.end()
            && let Some(batch) = journal.begin_write(until)
        {
            return Some(Claim { log, batch: Some(batch), until });
        }
        drop(journal);
        match hand {
            Hand::Syncer => self.sync_wanted.ring(),
            Hand::Caller | Hand::Appender => self.write_wanted.ring(),
        }
        None
    }

    /// Tries to write what waits.
    fn write_waiting(&self, log: &mut Option<Log>, shared: &Shared) {
        if let Some(log) = log {
            let (batch, until) = {
                let mut journal = self.journal();
                let until = journal.end();
                (journal.begin_write(until), until)
            };
            self.write(log, batch, until, shared);
        }
    }

    /// Writes a batch and those behind it up to `until`.
    fn write(&self, log: &mut Log, mut batch: Option<Batch>, until: u64, shared: &Shared) {
        while let Some(next) = batch {
            if !self.append(log, next, shared) {
                return self.write_firsts(log, shared);
            }
            batch = self.journal().begin_write(until);
        }
    }

    /// There is no room for a batch: what was executed first and does fit is written by itself, so that its writers need not wait for
    /// what came behind it.
    fn write_firsts(&self, log: &mut Log, shared: &Shared) {
        loop {
            let first = self.journal().begin_first();
            let Some(first) = first else { return };
            if !self.append(log, first, shared) {
                return;
            }
        }
    }

    /// Appends a batch; whether that succeeded.
    fn append(&self, log: &mut Log, mut batch: Batch, shared: &Shared) -> bool {
        log.set_timestamps(batch.timestamps);
        let sleep_us = self.sleep_before_us.load(Ordering::Relaxed);
        if sleep_us > 0 {
            std::thread::sleep(Duration::from_micros(sleep_us));
        }
        let began_us = shared.clock.micros();
        let unix_ms = shared.clock.now().unix_ms;
        let mut appended = log.append(&mut batch.bytes, unix_ms);
        if matches!(&appended, Err(AppendError::Retry(error)) if is_full(error))
            && self.drop_ballast(log, shared)
        {
            appended = log.append(&mut batch.bytes, unix_ms);
        }
        let now_us = shared.clock.micros();
        shared.meters.note_disk("aof-write", now_us - began_us);
        let (result, file_bytes) = (appended.map(drop), log.file_bytes());
        let outcome = self.tell(shared, |journal| {
            journal.sizes_mut().file = file_bytes;
            journal.wrote(batch, result.as_ref().copied().map_err(fault), now_us - began_us, now_us)
        });
        match (outcome, result) {
            (Outcome::Written(news), _) => tell_people(news, shared),
            (Outcome::Kept { is_new: true }, Err(error)) => warn(&error, shared),
            (Outcome::Kept { .. }, _) => {}
        }
        matches!(outcome, Outcome::Written(_))
    }

    /// Something is wrong with the file, for good.
    #[cold]
    fn fail(&self, error: &AppendError, shared: &Shared) {
        if let Fault::Final(why) = fault(error)
            && self.tell(shared, |journal| journal.fail(why))
        {
            warn(error, shared);
        }
    }
}

#[cold]
fn warn(error: &AppendError, shared: &Shared) {
    shared.logger.warning(&format!("Error writing to the AOF file: {error}"));
}

/// What a change of state means for people.
fn tell_people(news: Option<News>, shared: &Shared) {
    let Some(news) = news else { return };
    match news {
        News::Solved => shared.logger.warning("AOF write error looks solved, the server can write again."),
        News::NearlyFull => shared
            .logger
            .warning("The disk of the AOF is nearly full; what would grow is refused until there is room."),
        News::Room => shared.logger.notice("There is room for the AOF again; writes are accepted."),
        News::TooLarge(bytes) => shared.logger.warning(&format!(
            "Writes were refused that the disk of the AOF has no room for: {bytes} bytes are left above the reserve."
        )),
    }
}

/// Whether a write failed for want of room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
