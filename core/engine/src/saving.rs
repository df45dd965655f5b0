//! Saving, stopping, and the time: what is mostly done elsewhere. The engine judges the arguments and leaves a job.

use crate::call::{EngineHandler, Next, Step, Turn};
use crate::engine::Engine;
use crate::outside::{CancelledSave, Job, Outside};
use crate::session::{ReplyMode, SessionId};
use commands::{Error, Flags, Group, Row};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("bgrewriteaof", 1, bgrewriteaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING)),
    row("bgsave", -1, bgsave).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING)),
    row("lastsave", 1, lastsave).flags(LATE.and(Flags::FAST)).also(&["admin", "dangerous"]),
    row("save", 1, save).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI)),
    row("shutdown", -1, shutdown).flags(ADMIN.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY)),
    row("time", 1, time).flags(LATE.and(Flags::FAST)),
];

/// For so long the time stands still for what runs as one: a script sees one moment, unless it waits for a later one.
const FROZEN_US: u64 = 10_000;

fn time(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (began, now) = (engine.keyspace.now, turn.outside.now());
    let is_frozen = engine.depth > 0 && now.mono_us.saturating_sub(began.mono_us) < FROZEN_US;
    let us = if is_frozen { began.unix_us } else { now.unix_us };
    turn.reply.array(2);
    turn.reply.bulk((us / 1_000_000).to_string().as_bytes());
    turn.reply.bulk((us % 1_000_000).to_string().as_bytes());
    Ok(Step::Done(None))
}

fn lastsave(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.integer(turn.outside.last_save_unix_s());
    Ok(Step::Done(None))
}

const BUSY_SAVING: Error = Error::new("ERR Background save already in progress");

/// A profile that keeps nothing on disk refuses whatever would write there.
pub(crate) fn check_saving(outside: &dyn Outside) -> Result<(), Error> {
    outside.save_refusal().map_or(Ok(()), |why| Err(Error::text(format!("ERR {why}"))))
}

fn save(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    check_saving(turn.outside)?;
    if turn.outside.is_saving() {
        return Err(BUSY_SAVING);
    }
    turn.outside.save_begins();
    engine.jobs.push(Job::Save { session: Some(turn.session) });
    Ok(Step::Later)
}

fn bgsave(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    match turn.args.len() {
        1 => {}
        2 if turn.args.is(1, "schedule") => {}
        2 if turn.args.is(1, "cancel") => return cancel_save(turn),
        _ => return Err(Error::SYNTAX),
    }
    check_saving(turn.outside)?;
    if turn.outside.is_saving() {
        return Err(BUSY_SAVING);
    }
    let in_exec = engine.sessions.at(turn.session).in_exec;
    if turn.outside.is_rewriting() && turn.args.len() == 1 && !in_exec {
        return Err(Error::new(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
        ));
    }
    let status = match turn.outside.is_rewriting() || in_exec {
        true => "Background saving scheduled",
        false => "Background saving started",
    };
    turn.outside.save_begins();
    engine.jobs.push(Job::Save { session: None });
    turn.reply.status(status);
    Ok(Step::Done(None))
}

fn cancel_save(turn: &mut Turn<'_>) -> Result<Step, Error> {
    let status = match turn.outside.cancel_save() {
        Some(CancelledSave::Running) => "Background saving cancelled",
        Some(CancelledSave::Scheduled) => "Scheduled background saving cancelled",
        None => return Err(Error::new("ERR Background saving is currently not in progress or scheduled")),
    };
    turn.reply.status(status);
    Ok(Step::Done(None))
}

impl Engine {
    /// FLUSHALL has run in this request. Where there are save points, and no log that keeps it, its reply, which begins at the offset, is
    /// taken back until a snapshot without the data is written. Within a transaction or a script nothing can wait.
    #[cold]
    pub(crate) fn after_flush(
        &mut self,
        id: SessionId,
        command: usize,
        argv: &[&[u8]],
        (at, out): (usize, &mut Vec<u8>),
        next: Next,
    ) -> Next {
        let (save, spec) = (!self.config.save.is_empty(), self.table.commands[command].spec);
        let may_wait = next == Next::Continue
            && spec.program.is_none()
            && !spec.flags.has(Flags::RUNS_QUEUE)
            && self.sessions.at(id).reply_mode == ReplyMode::On;
        let waits = save && may_wait && !self.log.has_file;
        self.jobs.push(Job::Flushed { save, session: waits.then_some(id) });
        if !waits {
            return next;
        }
        out.truncate(at);
        self.defer(id, argv, None);
        Next::Wait
    }
}

fn bgrewriteaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    const SCHEDULED: &str = "Background append only file rewriting scheduled";
    check_saving(turn.outside)?;
    if turn.outside.rewrite_waits() {
        // One that has not begun yet holds what is there by then.
        turn.reply.status(SCHEDULED);
        return Ok(Step::Done(None));
    }
    if turn.outside.is_rewriting() {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    }
    let status = if turn.outside.is_saving() || engine.sessions.at(turn.session).in_exec {
        SCHEDULED
    } else {
        "Background append only file rewriting started"
    };
    turn.outside.rewrite_begins();
    engine.jobs.push(Job::RewriteLog);
    turn.reply.status(status);
    Ok(Step::Done(None))
}

fn shutdown(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (mut save, mut now, mut force, mut abort) = (None, false, false, false);
    for i in 1..turn.args.len() {
        match () {
            () if turn.args.is(i, "nosave") && save != Some(true) => save = Some(false),
            () if turn.args.is(i, "save") && save != Some(false) => save = Some(true),
            () if turn.args.is(i, "now") => now = true,
            () if turn.args.is(i, "force") => force = true,
            () if turn.args.is(i, "abort") => abort = true,
            () => return Err(Error::SYNTAX),
        }
    }
    if abort && turn.args.len() > 2 {
        return Err(Error::SYNTAX);
    }
    if abort {
        if !turn.outside.abort_shutdown() {
            return Err(Error::new("ERR No shutdown in progress."));
        }
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    if save != Some(false)
        && let Some(script) = &engine.busy
    {
        return Err(script.refusal());
    }
    if save == Some(true) {
        check_saving(turn.outside)?;
    }
    engine.jobs.push(Job::Shutdown { session: turn.session, save, now, force });
    Ok(Step::Later)
}
