//! Snapshots and rewrites of the log: one thread that walks the data in short slices and writes a file.
//!
//! The slices (see `feed`) are taken by the first I/O thread between its batches: a thread of its
//! own would be put off the processor with the engine in its hand, and every client would wait for it. What a
//! slice gave is fed to the saver thread, which encodes large values and writes, so a slow disk slows down the
//! snapshot and nothing else. One task runs at a time; [`work`] draws what becomes of one.

mod error;
mod work;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;

use config::{Config, SavePoint};
use engine::{CancelledSave, Engine, SessionId};
use parking_lot::{Condvar, Mutex, MutexGuard};

pub(crate) use self::error::SaveError;
use self::work::End;
pub(crate) use self::work::{Progress, Work};
use crate::feed::Feed;
use crate::life::Phase;
use crate::loader::LoadError;
use crate::locks::LockError;
use crate::rewrite::{replace, rewrite, start_log};
use crate::shared::Shared;
use crate::view::{View, discard};

/// What to write.
#[derive(Debug)]
pub(crate) enum Task {
    /// An RDB file; who hears of its end.
    Save(Listener),
    /// An RDB file that nobody has asked for.
    PointSave(Due),
    /// The RDB file before the end: from its moment on writes are held back, until the stop is given up.
    LastSave(SyncSender<Result<(), SaveError>>),
    /// A new base of the log.
    Rewrite,
    /// A new log instead of one that has failed.
    Replace,
    /// A log where there was none (CONFIG SET appendonly yes, or a snapshot at the first start of a log).
    StartLog(Listener),
    /// A snapshot for a client.
    Copy(SessionId, Box<engine::CopyOrder>),
    /// A snapshot for the replicas that wait for one.
    FeedReplicas,
    /// The data set of the master in place of the own one.
    Adopt(Box<crate::replica::Adoption>),
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
            Task::Save(_) | Task::PointSave(_) | Task::LastSave(_) => Kind::Save,
            Task::Rewrite | Task::Replace | Task::StartLog(_) => Kind::Rewrite,
            Task::Adopt(_) | Task::Reload { .. } => Kind::Reload,
            Task::Copy(..) | Task::FeedReplicas => Kind::Copy,
        }
    }

    /// Whether a command has promised this save before it came.
    fn was_promised(&self) -> bool {
        matches!(self, Task::Save(Listener::Nobody | Listener::Session(_)))
    }

    /// Whether it is a save of which a client hears that it has failed (SAVE, SHUTDOWN): as in Redis it is no reason to refuse writes.
    fn is_answered(&self) -> bool {
        matches!(self, Task::Save(Listener::Session(_)) | Task::LastSave(_))
    }

    /// Whether it is a save that nobody waits for.
    fn is_in_background(&self) -> bool {
        matches!(self, Task::Save(Listener::Nobody) | Task::PointSave(_))
    }

    /// Whether somebody waits for it: the end of the server, a log that has failed, FLUSHALL. A copy for a client may take as
    /// long as its network does, and makes way for these.
    fn is_urgent(&self) -> bool {
        let is_patient = matches!(
            self,
            Task::Rewrite | Task::StartLog(Listener::Nobody) | Task::Copy(..) | Task::FeedReplicas
        );
        !is_patient && !self.is_in_background()
    }
}

/// Who hears of a task's end.
#[derive(Debug)]
pub(crate) enum Listener {
    Nobody,
    Session(SessionId),
    /// Gets OK whatever comes of it.
    Flusher(SessionId),
    Thread(SyncSender<Result<(), SaveError>>),
}

/// Why a save is due that nobody has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// A save point is reached.
    Point(SavePoint),
    /// The last one has failed.
    Again,
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Point(point) => {
                write!(f, "{} changes in {} seconds. Saving...", point.changes, point.seconds)
            }
            Due::Again => f.write_str("The last snapshot has failed. Saving again..."),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Saver {
    work: Mutex<Work>,
    wake: Condvar,
    pub(crate) feed: Feed,
    /// `rdb-key-save-delay`.
    pub(crate) key_delay_us: AtomicI64,
}

impl Saver {
    /// What there is to do and what has come of it. A leaf among the locks, held for a look.
    pub(crate) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock()
    }

    /// Whether a save runs or waits.
    pub(crate) fn is_saving(&self) -> bool {
        self.work().has(Kind::Save)
    }

    /// Whether a rewrite runs or waits.
    pub(crate) fn is_rewriting(&self) -> bool {
        self.work().has(Kind::Rewrite)
    }

    /// Whether a rewrite waits for another task, which runs or is about to.
    pub(crate) fn rewrite_waits(&self) -> bool {
        let work = self.work();
        let is_behind = work.run().map_or_else(|| work.has(Kind::Save), |run| run.kind != Kind::Rewrite);
        work.has(Kind::Rewrite) && is_behind
    }

    /// A save has been promised to a client; the task follows.
    pub(crate) fn save_begins(&self) {
        self.work().promise(Kind::Save);
    }

    /// A rewrite has been promised to a client; the task follows.
    pub(crate) fn rewrite_begins(&self) {
        self.work().promise(Kind::Rewrite);
    }

    /// A rewrite that was promised is not needed.
    pub(crate) fn begins_nothing(&self) {
        self.work().take_back(Kind::Rewrite);
    }

    /// Gives up the save in the background that runs or waits. The one before the end of the server is no such save.
    pub(crate) fn cancel_save(&self, shared: &Shared) -> Option<CancelledSave> {
        if shared.life.is_stopping() { None } else { self.work().cancel_save() }
    }

    /// The log is switched off: nothing that was to be done about its files is wanted any more. Whether something was.
    pub(crate) fn drop_rewrites(&self) -> bool {
        self.work().drop_rewrites()
    }

    /// Takes a task in.
    pub(crate) fn add(&self, task: Task) {
        if self.work().add(task) {
            self.wake.notify_one();
        }
    }

    /// The server has ended: the thread is to see that.
    pub(crate) fn wake(&self) {
        // With the lock in hand, so that it has looked before, or waits already.
        let _work = self.work();
        self.wake.notify_all();
    }

    /// Takes over what the configuration says of snapshots.
    pub(crate) fn follow(&self, config: &Config) {
        self.key_delay_us.store(config.rdb_key_save_delay, Ordering::Relaxed);
    }

    /// Gives the running task up if it is of this kind; false when it is not.
    pub(crate) fn cancel(&self, kind: Kind) -> bool {
        self.work().cancel(kind)
    }

    /// Whether a task waits that somebody waits for.
    pub(crate) fn has_urgent(&self) -> bool {
        self.work().has_urgent()
    }

    /// Whether the running task is to be given up, as every other at the end of the server.
    pub(crate) fn is_cancelled(&self, shared: &Shared) -> bool {
        shared.life.has_ended() || self.work().is_cancelled()
    }

    /// Starts a save when a save point is reached. Called by the tick with the engine at hand.
    pub(crate) fn look_at_save_points(&self, shared: &Shared, engine: &Engine) {
        if engine.config.save.is_empty() || shared.is_loading() {
            return;
        }
        let now_s = shared.clock.micros() / 1_000_000;
        let (last_save_unix_s, last_ok) = {
            let work = self.work();
            if work.has(Kind::Save) || work.is_resting(Kind::Save, now_s) {
                return;
            }
            (work.last_save_unix_s, work.saves.ok)
        };
        let changes = engine.keyspace.effects.dirty;
        let since_s = (engine.keyspace.now.unix_ms / 1000).saturating_sub(last_save_unix_s).unsigned_abs();
        let is_due = |point: &&SavePoint| changes >= point.changes && since_s >= point.seconds;
        match engine.config.save.iter().find(is_due) {
            Some(point) => self.add(Task::PointSave(Due::Point(*point))),
            None if !last_ok => self.add(Task::PointSave(Due::Again)),
            None => {}
        }
    }

    /// FLUSHALL has run: nobody wants the snapshot of what it has removed, if one is being written. Where there are save
    /// points the next one follows at once, so that a restart does not bring it back.
    pub(crate) fn flushed(&self, shared: &Shared, save: bool, session: Option<SessionId>) {
        if self.cancel(Kind::Save) {
            shared.logger.notice("FLUSHALL: the snapshot that is being written is given up.");
        }
        let waits = self.work().has_background_save();
        if save && (session.is_some() || !waits) {
            self.add(Task::Save(session.map_or(Listener::Nobody, Listener::Flusher)));
        }
    }

    /// Once a second: rewrites that are due by size, replacements of a failed log.
    pub(crate) fn second(&self, shared: &Shared) {
        let now_s = shared.clock.micros() / 1_000_000;
        let is_engaged = {
            let work = self.work();
            work.has(Kind::Rewrite) || work.is_resting(Kind::Rewrite, now_s)
        };
        if is_engaged || shared.is_loading() {
            return;
        }
        if shared.durable.journal().wants_replacement() {
            return self.add(Task::Replace);
        }
        let (percent, least, appendonly, data) = {
            let Some(engine) = shared.engine.try_lock() else { return };
            let (config, data) =
                (&engine.config, crate::allocator::used().saturating_sub(engine.startup_bytes));
            (config.auto_aof_rewrite_percentage, config.auto_aof_rewrite_min_size, config.appendonly, data)
        };
        if appendonly && !shared.durable.is_logging() {
            shared.logger.notice("AOF background was scheduled: the log could not be started before.");
            return self.add(Task::StartLog(Listener::Nobody));
        }
        let (is_small, gains) = {
            let journal = shared.durable.journal();
            (journal.sizes().file < least.min(1 << 20), journal.has_room_to_gain(data as u64))
        };
        if percent == 0 || is_small && !gains {
            return;
        }
        shared.durable.measure(&shared.durable.log(), false);
        let sizes = shared.durable.journal().sizes();
        if let Some(growth) = sizes.growth_due(percent, least) {
            shared.logger.notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
        } else if gains {
            // Else a queue that is empty by now goes on refusing for the log of the jobs that it once had.
            let all = sizes.all();
            shared
                .logger
                .notice(&format!("Starting automatic rewriting of AOF: its {all} bytes fill the disk"));
        } else {
            return;
        }
        self.add(Task::Rewrite);
    }

    /// The saver thread.
    pub(crate) fn keep(&self, shared: &Shared) {
        while let Some(mut task) = self.next(shared) {
            let kind = task.kind();
            let result = self.run(shared, &mut task);
            self.work().end();
            crate::allocator::give_back();
            crate::allocator::publish();
            self.note(shared, kind, &result, task.is_answered());
            tell(shared, task, result);
        }
    }

    fn next(&self, shared: &Shared) -> Option<Task> {
        let mut work = self.work();
        loop {
            if let Some(task) = work.next(shared.clock.micros() / 1_000_000) {
                return Some(task);
            }
            if shared.life.has_ended() {
                return None;
            }
            self.wake.wait(&mut work);
        }
    }

    fn run(&self, shared: &Shared, task: &mut Task) -> Result<(), SaveError> {
        match task {
            Task::Save(_) => self.save(shared, |_| Ok(())),
            Task::PointSave(due) => {
                shared.logger.notice(&due.to_string());
                self.save(shared, |_| Ok(()))
            }
            Task::LastSave(_) => self.save_last(shared),
            Task::Rewrite => rewrite(shared),
            Task::Replace => replace(shared),
            Task::StartLog(_) => start_log(shared),
            Task::Adopt(adoption) => adoption.run(shared),
            // These two answer their clients themselves.
            Task::Copy(session, order) => {
                crate::copy::send(shared, *session, order);
                Ok(())
            }
            Task::FeedReplicas => {
                crate::resync::send(shared);
                Ok(())
            }
            Task::Reload { session, how } => {
                self.reload(shared, *session, *how);
                Ok(())
            }
        }
    }

    fn note(&self, shared: &Shared, kind: Kind, result: &Result<(), SaveError>, is_answered: bool) {
        let end = match result {
            Ok(()) => End::Done,
            Err(SaveError::Cancelled) => End::Cancelled,
            Err(_) if is_answered => End::Cancelled,
            Err(_) => End::Failed,
        };
        if kind == Kind::Save && end != End::Cancelled {
            shared.durable.tell(shared, |journal| journal.set_snapshot(end == End::Done));
        }
        self.work().tell(end, shared.clock.micros() / 1_000_000);
        let what = match kind {
            Kind::Save => "Background saving",
            Kind::Rewrite => "Background AOF rewrite",
            Kind::Reload | Kind::Copy => return,
        };
        match (result, kind) {
            (Ok(()), Kind::Save) => shared.logger.notice(&format!("{what} terminated with success")),
            (Ok(()), _) => shared.logger.notice(&format!("{what} finished successfully")),
            (Err(SaveError::Cancelled), _) => shared.logger.notice(&format!("{what} was given up")),
            (Err(why), Kind::Save) => shared.logger.warning(&format!("{what} error: {why}")),
            (Err(why), _) => shared.logger.warning(&format!("{what} terminated by error: {why}")),
        }
    }

    fn reload(&self, shared: &Shared, session: SessionId, how: engine::Reload) {
        // Whatever is written between the two would be thrown away.
        let hold = |engine: &mut Engine| {
            engine.hold_writes();
            Ok(())
        };
        let saved = if how.save { self.save(shared, hold) } else { Ok(()) };
        let read = saved.map_err(LoadError::Unwritten).and_then(|()| crate::loader::reload(shared, how));
        shared.with_engine(|engine, outside| engine.release_writes(outside));
        let Err(why) = read else { return crate::background::accept(shared, session) };
        shared.logger.warning(&why.to_string());
        let what = if how.from_log { "AOF files" } else { "RDB dump" };
        let told = format!("ERR Error trying to load the {what}, check server logs.");
        crate::background::refuse(shared, session, &told);
    }

    /// Writes an RDB file; `also` happens at its moment.
    fn save(
        &self,
        shared: &Shared,
        also: impl FnOnce(&mut Engine) -> Result<(), SaveError>,
    ) -> Result<(), SaveError> {
        let name = shared.engine.lock().config.dbfilename.clone();
        shared.locks.take_snapshot(&shared.files.place(), &name)?;
        self.save_as(shared, &name, crate::beside::put, also)
    }

    /// The last snapshot of a server that ends. Where another server has its name, and no log keeps what has changed, it gets another
    /// name: a stop must end, and neither server's data may be lost by it. Few such are kept, so that stops do not fill the disk.
    fn save_last(&self, shared: &Shared) -> Result<(), SaveError> {
        let hold = |engine: &mut Engine| hold_writes(shared, engine);
        let why = match self.save(shared, hold) {
            Err(SaveError::Locked(LockError::Taken(why) | LockError::Used(why)))
                if !shared.durable.is_logging() =>
            {
                why
            }
            result => return result,
        };
        let name = {
            let mut engine = shared.engine.lock();
            if engine.keyspace.effects.dirty == 0 {
                return hold_writes(shared, &mut engine);
            }
            format!("{}.kept-last", engine.config.dbfilename)
        };
        shared.logger.warning(&format!("{why}. The last snapshot is written as {name}."));
        self.save_as(shared, &name, crate::beside::put_last, hold)
    }

    /// The same, as a file of this name, which is ours; `put` gives it that.
    fn save_as(
        &self,
        shared: &Shared,
        name: &str,
        put: fn(&Shared, &Path, &Path, &str) -> Result<(), SaveError>,
        also: impl FnOnce(&mut Engine) -> Result<(), SaveError>,
    ) -> Result<(), SaveError> {
        shared.logger.notice("Background saving started");
        let place = shared.files.place();
        let view = View::begin(shared, also)?;
        let changes = view.changes;
        let temp = view.write(shared, &place, false)?.finish_in_place()?;
        put(shared, &place, &temp, name).inspect_err(|_| discard(shared, &temp))?;
        {
            let effects = &mut shared.engine.lock().keyspace.effects;
            effects.dirty = effects.dirty.saturating_sub(changes);
        }
        self.work().last_save_unix_s = shared.clock.now().unix_ms / 1000;
        shared.logger.notice("DB saved on disk");
        Ok(())
    }
}

/// Tells whoever has waited for it what has come of a task.
fn tell(shared: &Shared, task: Task, result: Result<(), SaveError>) {
    match task {
        Task::Save(Listener::Session(session)) => {
            crate::background::finish(shared, session, result, "ERR ");
        }
        Task::Adopt(adoption) => adoption.tell(result),
        Task::Save(Listener::Flusher(session)) => crate::background::accept(shared, session),
        // Whoever does not wait any more need not be told.
        Task::LastSave(tell) | Task::StartLog(Listener::Thread(tell)) => drop(tell.send(result)),
        _ => {}
    }
}

/// Holds writes back for the end of the server, unless that has been called off meanwhile.
fn hold_writes(shared: &Shared, engine: &mut Engine) -> Result<(), SaveError> {
    if shared.life.phase() != Phase::Stopping {
        return Err(SaveError::Cancelled);
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
    fn a_snapshot_that_failed_is_tried_again_whatever_has_changed_since() {
        let shared = crate::shared::test::shared(Arc::new(Memory::new()), &["--save", "3600 1"]);
        shared.loading.on.store(false, Ordering::Relaxed);
        let saver = &shared.saver;
        let looks = || {
            saver.look_at_save_points(shared, &shared.engine.lock());
            saver.is_saving()
        };
        saver.work().last_save_unix_s = shared.clock.now().unix_ms / 1000;
        assert!(!looks(), "nothing is due");
        saver.add(Task::Save(Listener::Nobody));
        saver.next(shared).unwrap();
        saver.work().end();
        saver.work().tell(End::Failed, u64::MAX - work::RETRY_S);
        assert!(!looks(), "not at once");
        saver.add(Task::Save(Listener::Nobody));
        saver.next(shared).unwrap();
        saver.work().end();
        saver.work().tell(End::Cancelled, u64::MAX);
        assert!(looks());
    }
}
