//! The tasks that change the log's files: a new base, a new log, a log in place of one that has failed.

use std::path::Path;

use persist::aof::Log;

use crate::durable::{Covered, Durable, Journal};
use crate::shared::Shared;
use crate::view::{CANCELLED, View, discard};

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Writes a new base and drops what it replaces; the log goes on in a new file meanwhile. What waits for a
/// disk is done without the engine.
pub(crate) fn rewrite(shared: &Shared) -> Result<(), String> {
    let plan = shared.durable.lock().log.as_ref().map(Log::plan_rewrite);
    let Some(plan) = plan else { return rewrite_without_log(shared) };
    shared.logger.notice("Background append only file rewriting started");
    let place = shared.files.place();
    shared.locks.take_log(&shared.files.log_place()).map_err(text)?;
    let prepared = plan.map_err(text)?.run();
    let mut journal = shared.durable.lock();
    let view = View::begin(shared, |engine| {
        shared.durable.begin_rewrite(&mut journal, prepared, shared)?;
        engine.log_switched();
        Ok(())
    })?;
    let covered = Durable::written(&journal);
    drop(journal);
    let done = finish(shared, &view, &place, covered);
    if done.is_err()
        && let Some(log) = &mut shared.durable.lock().log
    {
        log.abort_rewrite();
    }
    done
}

/// Writes the base of a rewrite that has begun, and publishes it: it holds the batches up to `covered`.
fn finish(shared: &Shared, view: &View, place: &Path, covered: u64) -> Result<(), String> {
    let temp = view.write_base(shared, place)?;
    let also = |_: &mut Journal| shared.durable.is_based_on(covered);
    let published = shared.durable.publish(&temp, |log| log.plan_finish(view.form), also);
    published.inspect_err(|_| discard(shared, &temp))
}

/// BGREWRITEAOF while there is no log: a base is made in place of all its files, nothing more is written.
fn rewrite_without_log(shared: &Shared) -> Result<(), String> {
    shared.logger.notice("Background append only file rewriting started");
    let (place, aof) = (shared.files.place(), shared.files.log_place());
    shared.locks.take_log(&aof).map_err(text)?;
    let view = View::begin(shared, |_| Ok(()))?;
    let temp = view.write_base(shared, &place)?;
    let keeps = shared.durable.keeps_history();
    let replaced =
        persist::aof::replace_files(&shared.durable.disk, &aof, &temp, view.form, keeps).map_err(text);
    replaced.and_then(|()| crate::beside::tell_log(shared, &aof)).inspect_err(|_| discard(shared, &temp))
}

/// Starts a log from what is in memory. Until its base is published the files of an old log stay what would be
/// loaded, so a crash finds either of the two and never a mix.
pub(crate) fn start_log(shared: &Shared) -> Result<(), String> {
    if shared.durable.lock().log.is_some() {
        return Ok(());
    }
    let place = shared.files.log_place();
    shared.locks.take_log(&place).map_err(text)?;
    let mut log = Some(Log::start(shared.durable.disk.clone(), place.clone()).map_err(text)?);
    crate::beside::tell_log(shared, &place)?;
    let mut journal = shared.durable.lock();
    let begun = View::begin(shared, |engine| {
        if !engine.config.appendonly {
            // Switched off again while this waited for its turn.
            return Err(CANCELLED.to_owned());
        }
        shared.durable.set_log(&mut journal, log.take(), shared);
        engine.set_logging(true);
        engine.log_switched();
        Ok(())
    });
    let covered = Durable::written(&journal);
    drop(journal);
    if let Some(log) = log {
        log.discard_start();
    }
    let done = begun.and_then(|view| finish(shared, &view, &shared.files.place(), covered));
    if done.is_err() {
        switch_off(shared);
    }
    done
}

/// Ends the log. One that has no base yet leaves nothing behind.
pub(crate) fn switch_off(shared: &Shared) {
    let old = shared.durable.end_log(shared);
    shared.saver.forget_replacement();
    if let Some(log) = old.filter(Log::is_starting) {
        shared.logger.notice("Removing the temp incr aof file, because the log has no base yet");
        log.discard_start();
    }
}

/// Writes everything anew after the log has failed.
pub(crate) fn replace(shared: &Shared) -> Result<(), String> {
    shared
        .logger
        .warning("Replacing the AOF by a new one written from memory, because the old one has failed.");
    let place = shared.files.place();
    // The directory may have been removed; if somebody else has it by now, nothing may be written there.
    shared.durable.disk.create_dir(&place).map_err(text)?;
    shared.locks.take_log(&shared.files.log_place()).map_err(text)?;
    let (mut covered, mut journal) = (Covered::default(), shared.durable.lock());
    if journal.log.is_none() {
        return Err(CANCELLED.to_owned());
    }
    let view = View::begin(shared, |engine| {
        covered = shared.durable.covered(&mut journal);
        engine.log_switched();
        Ok(())
    })?;
    drop(journal);
    let temp = view.write_base(shared, &place)?;
    let also = |journal: &mut Journal| shared.durable.replaced(journal, covered, shared);
    let published = shared.durable.publish(&temp, |log| log.plan_replacement(view.form), also);
    published.inspect_err(|_| discard(shared, &temp))?;
    crate::beside::tell_log(shared, &shared.files.log_place())
}
