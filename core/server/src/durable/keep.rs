//! The threads of the log: syncs, writes that an I/O thread must not make, and once a second a look at the files and their disk.

use std::io;
use std::time::Duration;

use journal::{BALLAST_BYTES, Health, Need};
use persist::aof::{AppendError, Log, Sights, SyncedMark};

use super::{Durable, tell_people, warn};
use crate::locks::LockError;
use crate::shared::{BackgroundJob, Shared};
use crate::tick::Worker;

/// How often the files are looked after, microseconds.
const PERIOD_US: u64 = 1_000_000;

/// How often the append thread looks after an I/O thread that may be writing, microseconds.
const WATCH_US: u64 = 2_000;

/// What the log thread has seen last.
#[derive(Default)]
pub(super) struct Lookout {
    /// The files of the log that do not change any more.
    seen: Sights,
    /// What the mark beside the log says.
    marked: Option<SyncedMark>,
}

impl Durable {
    /// The log thread: syncs when somebody waits for that, and at least once a second looks after the log.
    pub(crate) fn keep(&self, shared: &Shared) {
        let mut next_second_us = shared.clock.micros() + PERIOD_US;
        let mut may_hurry = true;
        while !shared.life.has_ended() {
            let now_us = shared.clock.micros();
            if now_us >= next_second_us {
                next_second_us = now_us + PERIOD_US;
                self.second(shared);
            }
            // A sync that has brought something may have to be followed by another at once; one that has not is tried again later.
            let due_us = if may_hurry { self.sync_due_us(now_us) } else { u64::MAX };
            self.sync_wanted.wait(due_us.min(next_second_us).saturating_sub(now_us));
            let now_us = shared.clock.micros();
            may_hurry = now_us < self.sync_due_us(now_us) || self.sync(shared);
            crate::allocator::publish();
        }
    }

    /// When the next sync is to begin: at once where somebody waits for it.
    fn sync_due_us(&self, now_us: u64) -> u64 {
        let journal = self.journal();
        if journal.wants_sync(now_us) { now_us } else { journal.sync_due_us().unwrap_or(u64::MAX) }
    }

    /// The append thread: writes when an I/O thread must not, and watches when one does. It ends with the worker of one whose write
    /// stalls.
    pub(crate) fn keep_writing(&self, shared: &Shared) -> Option<Box<Worker>> {
        while !shared.life.has_ended() {
            let watches = self.journal().watch(shared.clock.micros());
            self.write_wanted.wait(if watches { WATCH_US } else { PERIOD_US });
            let stuck = shared.stand_in.take_stuck(shared.clock.micros());
            if stuck.is_some() {
                return stuck;
            }
            let is_wanted = {
                let journal = self.journal();
                journal.policy().need == Need::Written && journal.unwritten() > 0
            };
            if is_wanted {
                self.write_soon(shared);
            }
            crate::allocator::publish();
        }
        None
    }

    /// Writes what waits, unless another thread has the log: if its write stalls, it is to be noticed here.
    fn write_soon(&self, shared: &Shared) {
        match self.log.try_lock_for(Duration::from_micros(WATCH_US)) {
            Some(mut log) => self.write_waiting(&mut log, shared),
            None => self.write_wanted.ring(),
        }
    }

    /// Ends both threads' waiting.
    pub(crate) fn ring(&self) {
        self.sync_wanted.ring();
        self.write_wanted.ring();
    }

    fn second(&self, shared: &Shared) {
        self.write_waiting(&mut self.log(), shared);
        self.look_at_room(shared);
        self.look_at_files(shared);
        if self.journal().policy().syncs {
            self.sync(shared);
            self.tell_synced(shared);
        }
        self.mark_synced();
        *shared.allocator.lock() = crate::allocator::look(shared.is_in_step());
        shared.in_background(BackgroundJob::Second);
    }

    /// Makes durable what is written and lets the replies go that wait for it; whether there was something.
    pub(crate) fn sync(&self, shared: &Shared) -> bool {
        let handle = {
            let mut log = self.log();
            if self.journal().writes_before_sync() {
                self.write_waiting(&mut log, shared);
            }
            let Some(log) = &*log else { return false };
            let now_us = shared.clock.micros();
            let is_synced = log.position_synced() == log.position();
            let begins = self.tell(shared, |journal| {
                if is_synced {
                    journal.found_synced(now_us);
                }
                !is_synced && journal.begin_sync(now_us)
            });
            if !begins {
                return false;
            }
            log.sync_handle()
        };
        let began_us = shared.clock.micros();
        let done = handle.run();
        self.note_sync(shared.clock.micros() - began_us, shared);
        let mut log = self.log();
        let now_us = shared.clock.micros();
        let applied = match &mut *log {
            Some(log) => log.apply(done),
            None => Ok(()),
        };
        match applied {
            Ok(()) => self.tell(shared, |journal| journal.synced(now_us)),
            Err(error) => self.sync_failed(&error, shared),
        }
        true
    }

    fn sync_failed(&self, error: &AppendError, shared: &Shared) {
        if self.tell(shared, |journal| journal.sync_failed(error.to_string())) {
            warn(error, shared);
        }
    }

    fn note_sync(&self, spent_us: u64, shared: &Shared) {
        let is_always = self.journal().policy().need == Need::Synced;
        let event = if is_always { "aof-fsync-always" } else { "aof-fsync-everysec" };
        shared.meters.note_disk(event, spent_us);
        if spent_us > journal::LATE_SYNC_US {
            let ms = spent_us / 1000;
            shared.logger.notice(&format!("An fsync of the AOF took {ms} ms; the disk is slow or busy."));
        }
    }

    /// Has the log tell that all it holds is durable, when nothing waits that would tell it.
    fn tell_synced(&self, shared: &Shared) {
        let mut log = self.log();
        let is_still = {
            let journal = self.journal();
            journal.unwritten() == 0 && journal.state().health() == Some(&Health::Ready)
        };
        let Some(log) = log.as_mut().filter(|_| is_still) else { return };
        // What could not be written now is told later; nobody waits for it.
        if let Err(error @ AppendError::Failed(_)) = log.tell_synced(shared.clock.now().unix_ms) {
            self.fail(&error, shared);
        }
    }

    /// Refuses writes before the disk is full, and accepts them when there is room again.
    pub(crate) fn look_at_room(&self, shared: &Shared) {
        let Some(dir) = self.log_place().map(|place| place.log_dir()) else { return };
        // What is written from here on is counted twice until the next look, rather than not at all.
        let written = self.journal().written();
        // A file system that does not say how much room it has is taken to have some.
        let free = self.disk.free_bytes(&dir).unwrap_or(u64::MAX);
        let total = self.disk.total_bytes(&dir).unwrap_or(u64::MAX);
        let news = self.tell(shared, |journal| {
            journal.set_disk(total);
            journal.found_room(free, written)
        });
        tell_people(news, shared);
        self.keep_ballast(free, shared);
        let now_us = shared.clock.micros();
        let news = self.tell(shared, |journal| journal.report_refused(now_us));
        tell_people(news, shared);
    }

    /// A queue keeps a file on the disk of its log that is there only to be removed: what had been let in before the disk
    /// was full can be written then, and consumers go on, whoever has filled it.
    pub(crate) fn want_ballast(&self) {
        self.journal().want_ballast();
    }

    fn keep_ballast(&self, free: u64, shared: &Shared) {
        if !self.journal().keeps_ballast() {
            return;
        }
        let Some(path) = self.log_place().map(|place| place.ballast()) else { return };
        let is_there = self.disk.len(&path).is_ok_and(|bytes| bytes == BALLAST_BYTES);
        if !self.journal().ballast_is(is_there, free) {
            return;
        }
        match self.disk.fill(&path, BALLAST_BYTES) {
            Ok(()) => drop(self.journal().ballast_is(true, free)),
            // The folder was removed; it comes back with a new log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                shared.logger.warning(&format!("{} cannot be kept: {error}", path.display()));
                self.disk.remove(&path).unwrap_or_default();
                // It is tried again at the next start.
                self.journal().give_up_ballast();
            }
        }
    }

    /// Makes room by removing the ballast; false when there is none.
    pub(super) fn drop_ballast(&self, log: &Log, shared: &Shared) -> bool {
        let is_there = self.journal().take_ballast();
        if !is_there || self.disk.remove(&log.place().ballast()).is_err() {
            return false;
        }
        let news = self.tell(shared, |journal| journal.exhaust_room());
        tell_people(news, shared);
        true
    }

    /// Whether the log's files are what they should be. One that somebody has removed, cut, moved or replaced while the server
    /// runs would be missed at the next start only; what is in memory makes a new log.
    pub(super) fn look_at_files(&self, shared: &Shared) {
        let Some(watch) = self.log().as_ref().and_then(Log::watch) else { return };
        let why = match shared.locks.renew() {
            Err(error @ (LockError::Taken(_) | LockError::Used(_))) => Err(error.to_string()),
            _ => watch.look(&*self.disk, &mut self.lookout.lock().seen),
        };
        let mut log = self.log();
        let Some(log) = &mut *log else { return };
        let Some(error) = log.judge_watch(&watch, why) else { return };
        shared.logger.warning(&format!(
            "The AOF is not what this server has written: {error}. Everything is written anew from memory."
        ));
        self.fail(&error, shared);
    }

    /// Tells beside the log how much of it is durable.
    pub(crate) fn mark_synced(&self) {
        let told = {
            let log = self.log();
            let Some(log) = &*log else { return };
            log.synced_mark().map(|mark| (log.place().clone(), mark))
        };
        let Some((place, mark)) = told else { return };
        let mut lookout = self.lookout.lock();
        // Without it damage may pass for a torn end, as in any other log; the next second tries again.
        if lookout.marked.as_ref() != Some(&mark) && mark.write(&*self.disk, &place).is_ok() {
            lookout.marked = Some(mark);
        }
    }
}
