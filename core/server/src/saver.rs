//! Snapshots and rewrites of the log: one thread that walks the data in short slices and writes a file.
//!
//! The slices (see `feed`) are taken by the first I/O thread between its batches: a thread of its
//! own would be put off the processor with the engine in its hand, and every client would wait for it. What a
//! slice gave is fed to the saver thread, which encodes large values and writes, so a slow disk slows down the
//! snapshot and nothing else. One task runs at a time; what was asked for meanwhile waits, at most one of each kind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use config::Config;
use engine::{Engine, SessionId};
use parking_lot::{Condvar, Mutex};

use crate::feed::Feed;
use crate::life::Phase;
use crate::rewrite::{replace, rewrite, start_log};
use crate::shared::Shared;
use crate::view::{CANCELLED, View, discard};

/// The version that an RDB names as its writer's, and INFO shows.
pub const REDIS_VERSION: &str = "7.4.2";

/// Seconds between automatic attempts after one has failed.
const RETRY_S: u64 = 10;

/// What to write.
#[derive(Debug)]
pub(crate) enum Task {
    /// An RDB file; who hears of its end.
    Save(Listener),
    /// The RDB file before the end: from its moment on writes are held back, until the stop is given up.
    LastSave(SyncSender<Result<(), String>>),
    /// A new base of the log.
    Rewrite,
    /// A new log instead of one that has failed.
    Replace,
    /// A log where there was none (CONFIG SET appendonly yes, or a snapshot at the first start of a log).
    StartLog(Listener),
    /// A snapshot for a client.
    Copy(SessionId, Box<engine::CopyOrder>),
    /// The data set thrown away and read again (DEBUG RELOAD, DEBUG LOADAOF).
    Reload {
        /// Who waits.
        session: SessionId,
        /// In which way.
        how: engine::Reload,
    },
}

/// What a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Save,
    Rewrite,
    Reload,
    Copy,
}

impl Task {
    fn kind(&self) -> Kind {
        match self {
            Task::Save(_) | Task::LastSave(_) => Kind::Save,
            Task::Rewrite | Task::Replace | Task::StartLog(_) => Kind::Rewrite,
            Task::Reload { .. } => Kind::Reload,
            Task::Copy(..) => Kind::Copy,
        }
    }
}

/// Who hears of a task's end.
#[derive(Debug)]
pub(crate) enum Listener {
    Nobody,
    Session(SessionId),
    /// Gets OK whatever comes of it.
    Flusher(SessionId),
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

/// What is to be done and what is being done. All of it changes under one lock, so that a task is always either in the row or
/// the running one, and whoever gives it up finds it.
#[derive(Default)]
struct Work {
    tasks: VecDeque<Task>,
    /// What the thread is at, and may be told to give up.
    current: Option<Kind>,
    /// What it has ended and not told yet.
    ending: Option<Kind>,
    /// Promised to a client; the task follows.
    promised_save: bool,
    promised_rewrite: bool,
    /// The promised save was given up before its task has come.
    drops_promised_save: bool,
}

impl Work {
    fn has(&self, kind: Kind) -> bool {
        let promised = match kind {
            Kind::Save => self.promised_save,
            Kind::Rewrite => self.promised_rewrite,
            Kind::Reload | Kind::Copy => false,
        };
        promised
            || self.current == Some(kind)
            || self.ending == Some(kind)
            || self.tasks.iter().any(|task| task.kind() == kind)
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Saver {
    work: Mutex<Work>,
    wake: Condvar,
    pub(crate) feed: Feed,
    // What `work` says, for those that only ask.
    saving: AtomicBool,
    rewriting: AtomicBool,
    /// The log was switched on and could not be started.
    start_failed: AtomicBool,
    /// The running task is to be given up.
    cancelled: AtomicBool,
    /// So is every other.
    ending: AtomicBool,
    /// `rdb-key-save-delay`.
    pub(crate) key_delay_us: AtomicI64,
    /// Keys of the running snapshot, and how many of them are written.
    pub(crate) keys_total: AtomicU64,
    pub(crate) keys_written: AtomicU64,
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

    /// Changes what there is to do.
    fn change<T>(&self, change: impl FnOnce(&mut Work) -> T) -> T {
        let mut work = self.work.lock();
        let result = change(&mut work);
        // Still locked: the last to change is the last to tell.
        self.saving.store(work.has(Kind::Save), Ordering::Release);
        self.rewriting.store(work.has(Kind::Rewrite), Ordering::Release);
        result
    }

    /// A save has been promised to a client; the task follows.
    pub(crate) fn save_begins(&self) {
        self.change(|work| work.promised_save = true);
    }

    /// A rewrite has been promised to a client; the task follows.
    pub(crate) fn rewrite_begins(&self) {
        self.change(|work| work.promised_rewrite = true);
    }

    /// Gives up the save in the background that runs (`Some(true)`) or waits (`Some(false)`). The one before the end of the
    /// server is no such save.
    pub(crate) fn cancel_save(&self, shared: &Shared) -> Option<bool> {
        if shared.life.is_stopping() {
            return None;
        }
        self.change(|work| {
            let waited = work.tasks.len();
            work.tasks.retain(|task| !matches!(task, Task::Save(Listener::Nobody)));
            let dropped = work.tasks.len() < waited;
            let others_wait = work.tasks.iter().any(|task| task.kind() == Kind::Save);
            let running = self.cancel_in(work, Kind::Save);
            let promised = work.promised_save && !(dropped || running || others_wait);
            if promised {
                (work.promised_save, work.drops_promised_save) = (false, true);
            }
            match (running, dropped || promised) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            }
        })
    }

    /// A rewrite that was promised is not needed.
    pub(crate) fn begins_nothing(&self) {
        self.change(|work| work.promised_rewrite = false);
    }

    /// The log is switched off: nothing that was to be done about its files is wanted any more. Whether something was.
    pub(crate) fn forget_log(&self) -> bool {
        self.start_failed.store(false, Ordering::Release);
        self.change(|work| {
            let waited = work.tasks.len();
            work.tasks.retain(|task| task.kind() != Kind::Rewrite);
            work.promised_rewrite = false;
            let cancelled = self.cancel_in(work, Kind::Rewrite);
            work.tasks.len() < waited || cancelled
        })
    }

    /// Takes a task in.
    pub(crate) fn add(&self, task: Task) {
        let is_wanted = self.change(|work| {
            match task.kind() {
                Kind::Save => {
                    work.promised_save = false;
                    let is_dropped = std::mem::take(&mut work.drops_promised_save);
                    if is_dropped && matches!(task, Task::Save(Listener::Nobody)) {
                        return false;
                    }
                }
                Kind::Rewrite => work.promised_rewrite = false,
                Kind::Reload | Kind::Copy => {}
            }
            work.tasks.push_back(task);
            true
        });
        if !is_wanted {
            return;
        }
        self.wake.notify_one();
    }

    /// Ends the thread; a task that runs is given up.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    /// Takes over what the configuration says of snapshots.
    pub(crate) fn follow(&self, config: &Config) {
        self.key_delay_us.store(config.rdb_key_save_delay, Ordering::Relaxed);
    }

    /// What the thread is at.
    pub(crate) fn current(&self) -> Option<Kind> {
        self.work.lock().current
    }

    /// Gives the running task up if it is of this kind; false when it is not.
    pub(crate) fn cancel(&self, kind: Kind) -> bool {
        self.change(|work| self.cancel_in(work, kind))
    }

    fn cancel_in(&self, work: &Work, kind: Kind) -> bool {
        let runs = work.current == Some(kind);
        if runs {
            self.cancelled.store(true, Ordering::Release);
        }
        runs
    }

    /// Whether a task waits that somebody waits for: the end of the server, a log that has failed, FLUSHALL. A copy for a client may
    /// take as long as its network does, and makes way for these.
    pub(crate) fn has_urgent(&self) -> bool {
        let is_patient = |task: &Task| {
            matches!(
                task,
                Task::Save(Listener::Nobody)
                    | Task::Rewrite
                    | Task::StartLog(Listener::Nobody)
                    | Task::Copy(..)
            )
        };
        !self.work.lock().tasks.iter().all(is_patient)
    }

    /// Whether the running task is to be given up.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || self.ending.load(Ordering::Acquire)
    }

    /// The running task is through; what has come of it is told next.
    fn end_task(&self) {
        self.change(|work| {
            work.ending = work.current.take();
            self.cancelled.store(false, Ordering::Release);
        });
    }

    /// What has come of the last task is known.
    fn task_is_told(&self) {
        self.change(|work| work.ending = None);
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
        let has_failed = !self.history.lock().save.ok;
        if due.is_none() && !has_failed {
            return;
        }
        if self.is_resting(shared, |history| history.save) {
            return;
        }
        *self.disposition.lock() = Some(match due {
            Some(point) => format!("{} changes in {} seconds. Saving...", point.changes, point.seconds),
            None => "The last snapshot has failed. Saving again...".to_owned(),
        });
        self.add(Task::Save(Listener::Nobody));
    }

    /// FLUSHALL has run: nobody wants the snapshot of what it has removed, if one is being written. Where there are save
    /// points the next one follows at once, so that a restart does not bring it back.
    pub(crate) fn flushed(&self, shared: &Shared, save: bool, session: Option<SessionId>) {
        if self.cancel(Kind::Save) {
            shared.logger.notice("FLUSHALL: the snapshot that is being written is given up.");
        }
        let waits = self.work.lock().tasks.iter().any(|task| matches!(task, Task::Save(Listener::Nobody)));
        if save && (session.is_some() || !waits) {
            self.add(Task::Save(session.map_or(Listener::Nobody, Listener::Flusher)));
        }
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
        if shared.durable.journal().wants_replacement() {
            return self.add(Task::Replace);
        }
        let (percent, least, appendonly) = {
            let Some(engine) = shared.engine.try_lock() else { return };
            let config = &engine.config;
            (config.auto_aof_rewrite_percentage, config.auto_aof_rewrite_min_size, config.appendonly)
        };
        if self.start_failed.load(Ordering::Acquire) && appendonly {
            shared.logger.notice("AOF background was scheduled: the log could not be started before.");
            return self.add(Task::StartLog(Listener::Nobody));
        }
        if percent == 0 || shared.durable.journal().sizes().file < least.min(1 << 20) {
            return;
        }
        shared.durable.measure(&shared.durable.log(), false);
        let growth = shared.durable.journal().sizes().growth_due(percent, least);
        if let Some(growth) = growth {
            shared.logger.notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
            self.add(Task::Rewrite);
        }
    }

    /// The saver thread.
    pub(crate) fn keep(&self, shared: &Shared) {
        while let Some(task) = self.next(shared) {
            let began_s = shared.clock.micros() / 1_000_000;
            let task = match task {
                Task::Reload { session, how } => {
                    self.reload(shared, session, how);
                    self.end_task();
                    self.task_is_told();
                    continue;
                }
                Task::Copy(session, order) => {
                    crate::copy::send(shared, session, *order);
                    self.end_task();
                    self.task_is_told();
                    continue;
                }
                task => task,
            };
            self.history.lock().since_s = Some(began_s);
            let is_save = task.kind() == Kind::Save;
            let result = match &task {
                Task::Save(_) => self.save(shared, |_| Ok(())),
                Task::LastSave(_) => self.save(shared, |engine| hold_writes(shared, engine)),
                Task::Rewrite => rewrite(shared),
                Task::Replace => replace(shared),
                Task::StartLog(_) => start_log(shared),
                Task::Reload { .. } | Task::Copy(..) => continue,
            };
            if let Task::StartLog(_) = task {
                self.start_failed.store(result.is_err(), Ordering::Release);
            }
            self.end_task();
            crate::memory::publish();
            self.note(shared, is_save, began_s, &result);
            self.tell(shared, task, result);
        }
    }

    fn next(&self, shared: &Shared) -> Option<Task> {
        let mut work = self.work.lock();
        loop {
            if let Some(task) = work.tasks.pop_front() {
                work.current = Some(task.kind());
                return Some(task);
            }
            if shared.life.has_ended() {
                return None;
            }
            self.wake.wait(&mut work);
        }
    }

    fn note(&self, shared: &Shared, is_save: bool, began_s: u64, result: &Result<(), String>) {
        let now_s = shared.clock.micros() / 1_000_000;
        let gave_up = matches!(result, Err(why) if why == CANCELLED);
        let mut history = self.history.lock();
        history.since_s = None;
        let last_ok = if is_save { history.save.ok } else { history.rewrite.ok };
        let outcome = Outcome {
            // What was given up on purpose says nothing about the disk.
            ok: result.is_ok() || (gave_up && last_ok),
            took_s: Some(now_s - began_s),
            failed_s: (result.is_err() && !gave_up).then_some(now_s),
        };
        match is_save {
            true => (history.save, history.saves) = (outcome, history.saves + 1),
            false => (history.rewrite, history.rewrites) = (outcome, history.rewrites + 1),
        }
        drop(history);
        if is_save {
            shared.durable.tell(shared, |journal| journal.set_snapshot(outcome.ok));
        }
        self.task_is_told();
        match (result, is_save) {
            (Ok(()), true) => shared.logger.notice("Background saving terminated with success"),
            (Ok(()), false) => shared.logger.notice("Background AOF rewrite finished successfully"),
            (Err(_), true) if gave_up => shared.logger.notice("Background saving was given up"),
            (Err(_), false) if gave_up => shared.logger.notice("Background AOF rewrite was given up"),
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
            Task::Save(Listener::Flusher(session)) => crate::chores::finish(shared, session, Ok(()), ""),
            // Whoever does not wait any more need not be told.
            Task::LastSave(tell) | Task::StartLog(Listener::Thread(tell)) => {
                drop(tell.send(result));
            }
            _ => {}
        }
    }

    fn reload(&self, shared: &Shared, session: SessionId, how: engine::Reload) {
        // Whatever is written between the two would be thrown away.
        let hold = |engine: &mut Engine| {
            engine.hold_writes();
            Ok(())
        };
        let saved = if how.save { self.save(shared, hold) } else { Ok(()) };
        let result = saved.and_then(|()| crate::loader::reload(shared, how)).map_err(|why| {
            shared.logger.warning(&why);
            let what = if how.from_log { "AOF files" } else { "RDB dump" };
            format!("ERR Error trying to load the {what}, check server logs.")
        });
        shared.with_engine(|engine, outside| engine.release_writes(outside));
        crate::chores::finish(shared, session, result, "");
    }

    /// Writes an RDB file; `also` happens at its moment.
    fn save(
        &self,
        shared: &Shared,
        also: impl FnOnce(&mut Engine) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Some(reason) = self.disposition.lock().take() {
            shared.logger.notice(&reason);
        }
        shared.logger.notice("Background saving started");
        let place = shared.files.place();
        let name = shared.engine.lock().config.dbfilename.clone();
        shared.locks.take_snapshot(&place, &name).map_err(|why| why.to_string())?;
        let view = View::begin(shared, also)?;
        let changes = view.changes;
        let temp = view.write(shared, &place, false)?.finish_in_place().map_err(|error| error.to_string())?;
        crate::beside::put(shared, &place, &temp, &name).inspect_err(|_| discard(shared, &temp))?;
        let effects = &mut shared.engine.lock().keyspace.effects;
        effects.dirty = effects.dirty.saturating_sub(changes);
        self.last_save_unix_s.store(shared.clock.now().unix_ms / 1000, Ordering::Relaxed);
        shared.logger.notice("DB saved on disk");
        Ok(())
    }
}

/// Holds writes back for the end of the server, unless that has been called off meanwhile.
fn hold_writes(shared: &Shared, engine: &mut Engine) -> Result<(), String> {
    if shared.life.phase() != Phase::Stopping {
        return Err(CANCELLED.to_owned());
    }
    engine.hold_writes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use persist::disk::Memory;

    use super::*;

    #[test]
    fn a_task_that_was_taken_can_be_given_up_and_leaves_nothing_in_progress() {
        let shared = crate::shared::test::shared(Arc::new(Memory::new()), &["--save", ""]);
        let saver = &shared.saver;
        for is_told_late in [false, true] {
            saver.rewrite_begins();
            saver.add(Task::Rewrite);
            saver.add(Task::StartLog(Listener::Nobody));
            assert!(matches!(saver.next(shared), Some(Task::Rewrite)));
            if is_told_late {
                saver.end_task();
            }
            assert!(saver.forget_log());
            assert_eq!(
                saver.is_cancelled(),
                !is_told_late,
                "what runs is given up from the moment it is taken"
            );
            if !is_told_late {
                saver.end_task();
            }
            assert!(saver.is_rewriting(), "until it is told");
            saver.task_is_told();
            assert!(!saver.is_rewriting() && !saver.is_cancelled());
        }
    }

    #[test]
    fn a_promise_that_is_kept_or_taken_back_is_no_promise_any_more() {
        let shared = crate::shared::test::shared(Arc::new(Memory::new()), &["--save", ""]);
        let saver = &shared.saver;
        saver.rewrite_begins();
        assert!(saver.is_rewriting() && !saver.is_saving());
        saver.begins_nothing();
        assert!(!saver.is_rewriting());
        saver.save_begins();
        saver.add(Task::Save(Listener::Nobody));
        saver.next(shared).unwrap();
        saver.end_task();
        saver.task_is_told();
        assert!(!saver.is_saving());
    }

    #[test]
    fn a_snapshot_that_failed_is_tried_again_whatever_has_changed_since() {
        let shared = crate::shared::test::shared(Arc::new(Memory::new()), &["--save", "3600 1"]);
        shared.loading.on.store(false, Ordering::Relaxed);
        let saver = &shared.saver;
        let looks = || {
            saver.look_at_save_points(shared, &shared.engine.lock());
            saver.is_saving()
        };
        saver.last_save_unix_s.store(shared.clock.now().unix_ms / 1000, Ordering::Relaxed);
        assert!(!looks(), "nothing is due");
        saver.history.lock().save =
            Outcome { ok: false, took_s: Some(0), failed_s: Some(u64::MAX - RETRY_S) };
        assert!(!looks(), "not at once");
        saver.history.lock().save.failed_s = None;
        assert!(looks());
    }
}
