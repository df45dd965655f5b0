//! The tasks that change the log's files: a new base, a new log, a log in place of one that has failed.
//!
//! With the engine in hand only the moment is fixed, for which the disk is not needed: a snapshot begins, and the journal learns that
//! what follows goes elsewhere. Files are written before and after.

use std::path::Path;

use journal::Journal;
use persist::aof::{HistoryId, Log};

use crate::saver::SaveError;
use crate::shared::Shared;
use crate::view::{View, discard};

/// The identity of a log that begins, or does not have one yet.
pub(crate) fn draw_history() -> std::io::Result<HistoryId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(HistoryId(u128::from_le_bytes(bytes)))
}

/// Writes a new base and drops what it replaces; the log goes on in a new file meanwhile.
pub(crate) fn rewrite(shared: &Shared) -> Result<(), SaveError> {
    let plan = shared.durable.log().as_ref().map(Log::plan_rewrite);
    let Some(plan) = plan else { return rewrite_without_log(shared) };
    shared.logger.notice("Background append only file rewriting started");
    let place = shared.files.place();
    shared.locks.take_log(&shared.files.log_place())?;
    let prepared = plan?.run();
    let mut cut = 0;
    let view = View::begin(shared, |engine| {
        // It was switched off meanwhile.
        cut = shared.durable.tell(shared, Journal::cut).ok_or(SaveError::Cancelled)?;
        engine.log_switched();
        Ok(())
    });
    let view = view.inspect_err(|_| shared.durable.stay(shared))?;
    shared.durable.move_log(prepared, shared).inspect_err(|_| view.give_up(shared))?;
    let done = finish(shared, &view, &place, cut);
    if done.is_err()
        && let Some(log) = &mut *shared.durable.log()
    {
        log.abort_rewrite();
    }
    done
}

/// Writes the base of a rewrite that has begun, and publishes it: it holds the stream up to `covered`.
fn finish(shared: &Shared, view: &View, place: &Path, covered: u64) -> Result<(), SaveError> {
    let temp = view.write_base(shared, place)?;
    shared.archiving.keep_replaced(shared, false);
    let also = |journal: &mut Journal, now_us: u64| journal.based(covered, now_us);
    let published = shared.durable.publish(shared, &temp, |log| log.plan_finish(view.form), also);
    published.inspect_err(|_| discard(shared, &temp))
}

/// BGREWRITEAOF while there is no log: a base is made in place of all its files, nothing more is written.
fn rewrite_without_log(shared: &Shared) -> Result<(), SaveError> {
    shared.logger.notice("Background append only file rewriting started");
    let (place, aof) = (shared.files.place(), shared.files.log_place());
    shared.locks.take_log(&aof)?;
    let view = View::begin(shared, |_| Ok(()))?;
    let temp = view.write_base(shared, &place)?;
    let keeps = shared.durable.keeps_history();
    let replaced = draw_history()
        .and_then(|id| persist::aof::replace_files(&shared.durable.disk, &aof, &temp, view.form, keeps, id));
    (replaced.map_err(SaveError::from))
        .and_then(|()| crate::beside::tell_log(shared, &aof))
        .inspect_err(|_| discard(shared, &temp))
}

/// Starts a log from what is in memory. Until its base is published the files of an old log stay what would be
/// loaded, so a crash finds either of the two and never a mix.
pub(crate) fn start_log(shared: &Shared) -> Result<(), SaveError> {
    if shared.durable.log().is_some() {
        return Ok(());
    }
    let place = shared.files.log_place();
    shared.locks.take_log(&place)?;
    let id = draw_history()?;
    let log = Log::start(shared.durable.disk.clone(), place.clone(), id)?;
    crate::beside::tell_log(shared, &place)?;
    shared.durable.lay_out(log);
    let mut covered = 0;
    let begun = View::begin(shared, |engine| {
        if !engine.config.appendonly || shared.saver.is_cancelled(shared) {
            // Switched off again while this waited for its turn.
            return Err(SaveError::Cancelled);
        }
        covered = shared.durable.tell(shared, |journal| {
            journal.open(false);
            journal.end()
        });
        engine.set_logging(true);
        engine.log_switched();
        Ok(())
    });
    let done = begun.and_then(|view| finish(shared, &view, &shared.files.place(), covered));
    if done.is_err() {
        switch_off(shared);
    }
    done
}

/// Ends the log. One that has no base yet leaves nothing behind.
pub(crate) fn switch_off(shared: &Shared) {
    let old = shared.durable.end_log(shared);
    if let Some(log) = old.filter(Log::is_starting) {
        shared.logger.notice("Removing the temp incr aof file, because the log has no base yet");
        log.discard_start();
    }
}

/// Writes everything anew after the log has failed.
pub(crate) fn replace(shared: &Shared) -> Result<(), SaveError> {
    shared
        .logger
        .warning("Replacing the AOF by a new one written from memory, because the old one has failed.");
    let place = shared.files.place();
    // The directory may have been removed; if somebody else has it by now, nothing may be written there.
    shared.durable.disk.create_dir(&place)?;
    shared.locks.take_log(&shared.files.log_place())?;
    let view = View::begin(shared, |engine| {
        shared.durable.tell(shared, Journal::begin_replacement).ok_or(SaveError::Cancelled)?;
        engine.log_switched();
        Ok(())
    });
    let replaced = view.and_then(|view| {
        let temp = view.write_base(shared, &place)?;
        shared.archiving.keep_replaced(shared, true);
        let published =
            shared.durable.publish(shared, &temp, |log| log.plan_replacement(view.form), Journal::replaced);
        published.inspect_err(|_| discard(shared, &temp))
    });
    if replaced.is_err() {
        shared.durable.tell(shared, Journal::replacement_failed);
    }
    replaced?;
    crate::beside::tell_log(shared, &shared.files.log_place())
}
