//! Changes of the log's files: a log begins, moves to another file, is replaced, and ends.
//!
//! All of it is done by the saver thread or where nobody waits, and nothing of it waits for a disk with the engine in hand: with the
//! engine only the moment is fixed (a cut in the stream, a state), and what is in front of it is written afterwards.

use std::io;
use std::path::Path;

use journal::Journal;
use persist::aof::{AppendError, Log, Prepared, Publication};

use super::Durable;
use crate::saver::SaveError;
use crate::shared::Shared;

impl Durable {
    /// A log that is what a start would find is in use from now on.
    pub(crate) fn open_log(&self, log: Log, shared: &Shared) {
        let mut guard = self.log();
        *guard = Some(log);
        self.tell(shared, |journal| journal.open(true));
        self.measure(&guard, true);
    }

    /// A log is there to be used, which is told to the journal with the engine in hand.
    pub(crate) fn lay_out(&self, log: Log) {
        *self.log() = Some(log);
    }

    /// Takes the log out of use. What was executed is in it, as far as it can be written and synced, before the replies
    /// that waited for that leave.
    pub(crate) fn end_log(&self, shared: &Shared) -> Option<Log> {
        self.end_log_with(shared, |_| true)
    }

    /// The same if `also` says so, with what it does to the engine at the very moment behind which nothing belongs to the log.
    pub(crate) fn end_log_with(
        &self,
        shared: &Shared,
        also: impl FnOnce(&mut engine::Engine) -> bool,
    ) -> Option<Log> {
        let mut log = self.log();
        {
            let mut engine = shared.engine.lock();
            if !also(&mut engine) || log.is_none() {
                return None;
            }
            engine.set_logging(false);
            self.tell(shared, Journal::close);
        }
        self.write_waiting(&mut log, shared);
        let is_written = self.journal().unwritten() == 0;
        let synced = match log.as_mut().filter(|log| !log.is_starting()) {
            Some(_) if !is_written => Err(SaveError::Unwritten),
            Some(log) => log.finish(shared.clock.now().unix_ms).map_err(SaveError::Log),
            None => Ok(()),
        };
        if let Err(why) = synced {
            shared.logger.warning(&format!("The end of the AOF that is switched off may be missing: {why}"));
        }
        let old = log.take();
        self.tell(shared, Journal::ended);
        self.measure(&log, true);
        old
    }

    /// Writes all that waits, or says that it cannot be written.
    pub(crate) fn write_rest(&self, shared: &Shared) -> Result<(), SaveError> {
        self.write_waiting(&mut self.log(), shared);
        match self.journal().unwritten() {
            0 => Ok(()),
            _ => Err(SaveError::Unwritten),
        }
    }

    /// What was executed in front of the cut goes into the old file, what comes behind it into the new one that was prepared. The
    /// cut is given up if that fails.
    pub(crate) fn move_log(&self, prepared: Prepared, shared: &Shared) -> Result<(), SaveError> {
        let mut log = self.log();
        self.write_waiting(&mut log, shared);
        let is_at_cut = self.journal().is_at_cut();
        let moved = match &mut *log {
            Some(log) if is_at_cut => self.begin_rewrite(log, prepared, shared),
            // It was switched off meanwhile.
            None => Err(SaveError::Cancelled),
            Some(_) => Err(SaveError::Unwritten),
        };
        self.tell(shared, Journal::moved);
        self.write_waiting(&mut log, shared);
        self.sync_wanted.ring();
        moved
    }

    /// The log goes on in the file that it has: the cut is given up.
    pub(crate) fn stay(&self, shared: &Shared) {
        self.tell(shared, Journal::moved);
        self.ring();
    }

    fn begin_rewrite(&self, log: &mut Log, prepared: Prepared, shared: &Shared) -> Result<(), SaveError> {
        log.set_keeps_history(self.keeps_history());
        log.begin_rewrite(prepared).inspect_err(|error| {
            if matches!(error, AppendError::Failed(_)) {
                self.fail(error, shared);
            }
        })?;
        // The plan's sync may have covered all; then no other comes to tell.
        if log.position_synced() == log.position() {
            let now_us = shared.clock.micros();
            self.tell(shared, |journal| journal.found_synced(now_us));
        }
        Ok(())
    }

    /// Publishes the base of a rewrite. Only the plan and its end, with what that means to the journal, are made under the lock.
    pub(crate) fn publish(
        &self,
        shared: &Shared,
        temp: &Path,
        plan: impl Fn(&Log) -> io::Result<Publication>,
        also: impl FnOnce(&mut Journal, u64),
    ) -> Result<(), SaveError> {
        let publication = {
            let mut log = self.log();
            // Nobody wants the base of a log that was switched off.
            let log = log.as_mut().ok_or(SaveError::Cancelled)?;
            log.set_keeps_history(self.keeps_history());
            plan(log)?
        };
        let published = publication.run(temp)?;
        let mut log = self.log();
        let retired = log.as_mut().ok_or(SaveError::Cancelled)?.install(published);
        let now_us = shared.clock.micros();
        self.tell(shared, |journal| also(journal, now_us));
        self.write_waiting(&mut log, shared);
        self.measure(&log, true);
        drop(log);
        drop(retired);
        self.sync_wanted.ring();
        Ok(())
    }

    /// Deletes replaced files of the log that were kept.
    pub(crate) fn clean(&self, shared: &Shared) {
        let plan = self.log().as_mut().map(|log| {
            log.set_keeps_history(self.keeps_history());
            log.plan_cleaning()
        });
        match plan {
            None => {}
            Some(Ok(plan)) => {
                let cleaned = plan.run();
                if let Some(log) = &mut *self.log() {
                    log.install_cleaned(cleaned);
                }
            }
            Some(Err(error)) => shared.logger.notice(&format!("Old AOF files stay until a rewrite: {error}")),
        }
    }

    /// Whether files that were replaced stay.
    pub(crate) fn keeps_history(&self) -> bool {
        self.journal().policy().keeps_history
    }

    /// Measures the log's files; `is_base`: a base was just published.
    pub(crate) fn measure(&self, log: &Option<Log>, is_base: bool) {
        let file = log.as_ref().map_or(0, Log::file_bytes);
        let all = log.as_ref().map_or(0, |log| self.bytes(log));
        let mut journal = self.journal();
        let sizes = journal.sizes_mut();
        (sizes.file, sizes.others) = (file, all.saturating_sub(file));
        if is_base {
            sizes.base = all;
        }
    }

    /// Bytes of all files of the log.
    fn bytes(&self, log: &Log) -> u64 {
        let (manifest, dir) = (log.manifest(), log.place().log_dir());
        let files = manifest.base.iter().chain(&manifest.incrementals);
        files.map(|file| self.disk.len(&dir.join(&file.name)).unwrap_or(0)).sum()
    }

    /// Syncs everything at the end of the process; whether that succeeded.
    pub(crate) fn finish(&self, shared: &Shared) -> Result<(), SaveError> {
        let mut log = self.log();
        self.write_waiting(&mut log, shared);
        let is_written = self.journal().unwritten() == 0;
        match &mut *log {
            None => Ok(()),
            Some(_) if !is_written => Err(SaveError::Unwritten),
            Some(log) => log.finish(shared.clock.now().unix_ms).map_err(SaveError::Log),
        }?;
        drop(log);
        self.mark_synced();
        Ok(())
    }
}
