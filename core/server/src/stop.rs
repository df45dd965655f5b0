//! The end: saving what is to be saved, the last fsync, and letting the threads go.
//!
//! Replicas get what they lack first, for a time that is bounded. From then on, or from the moment of the last snapshot on, writes are
//! held back (`Engine::hold_writes`), since nothing would keep them; they go on if the stop is called off or fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use control::Stop;
use engine::{Engine, SessionId};
use parking_lot::{Mutex, MutexGuard};

use crate::life::{Life, Phase};
use crate::saver::{Kind, SaveError, Task};
use crate::shared::Shared;

/// How a stop was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// SAVE or NOSAVE; `None`: when there are save points.
    pub(crate) save: Option<bool>,
    /// Also when saving fails.
    pub(crate) force: bool,
    /// Without waiting for replicas.
    pub(crate) now: bool,
    /// Who asked, to be told when it fails.
    pub(crate) session: Option<SessionId>,
    /// By a signal: the configuration says how.
    pub(crate) signal: Option<Stop>,
}

/// Those who ask for the stop that is under way.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    sessions: Mutex<Vec<SessionId>>,
    /// A signal has asked, and the stop that it asked for has not failed.
    is_by_signal: AtomicBool,
    /// One of them does not want to wait for replicas.
    is_urgent: AtomicBool,
    /// Until when replicas are waited for, monotonic microseconds; 0 while they are not.
    until_us: AtomicU64,
}

impl Joined {
    /// Lets a client wait for the stop under way, `now` for one that waits for no replicas; false when there is none.
    pub(crate) fn add(&self, life: &Life, session: SessionId, now: bool) -> bool {
        let mut sessions = self.sessions.lock();
        // Under the lock: whoever is found here when a stop is none any more is told.
        let is_one = life.is_stopping();
        if is_one {
            sessions.push(session);
            self.is_urgent.fetch_or(now, Ordering::Relaxed);
        }
        is_one
    }

    /// A signal asks for a stop; true when one has before, and that stop is under way.
    pub(crate) fn by_signal(&self) -> bool {
        self.is_by_signal.swap(true, Ordering::Relaxed)
    }

    /// Milliseconds for which replicas are waited for yet; `None` while they are not.
    pub(crate) fn left_ms(&self, now_us: u64) -> Option<u64> {
        let until_us = self.until_us.load(Ordering::Relaxed);
        (until_us > 0).then(|| until_us.saturating_sub(now_us) / 1000)
    }

    /// The stop is none any more: who is to be told.
    fn take(&self) -> Vec<SessionId> {
        self.is_by_signal.store(false, Ordering::Relaxed);
        self.is_urgent.store(false, Ordering::Relaxed);
        self.until_us.store(0, Ordering::Relaxed);
        std::mem::take(&mut self.sessions.lock())
    }
}

/// Why a stop does not happen.
enum Stay {
    /// What cannot be kept; for the log.
    Failed(String),
    /// SHUTDOWN ABORT.
    Aborted,
}

/// Lets so much time pass, as who stops the server wants it spent.
pub(crate) type Pause<'a> = &'a mut dyn FnMut(Duration);

/// Brings the server to its end, unless saving fails or it is called off: then the server goes on. What waits for others passes its time
/// with `pause`.
pub(crate) fn stop(shared: &Shared, wanted: Wanted, pause: Pause<'_>) {
    if !shared.life.begin_stop() {
        return;
    }
    // Whoever calls it off later than its end is told that nothing stops any more.
    let stopped = try_to_stop(shared, wanted, pause).and_then(|()| match shared.life.end() {
        true => Ok(()),
        false => Err(Stay::Aborted),
    });
    match stopped {
        Ok(()) => {
            shared.logger.warning("Tandem is now ready to exit, bye bye...");
            let_go(shared);
        }
        Err(why) => go_on(shared, wanted.session, why),
    }
}

fn try_to_stop(shared: &Shared, wanted: Wanted, pause: Pause<'_>) -> Result<(), Stay> {
    let wanted = as_configured(shared, wanted, pause)?;
    shared.logger.notice("User requested shutdown...");
    end_script(shared, wanted.save == Some(false));
    if shared.is_loading() {
        // There is nothing to save that is not on the disk.
        return Ok(());
    }
    if !wanted.now {
        wait_for_replicas(shared, pause)?;
    }
    let keeps = |why: String| match wanted.force {
        true => {
            shared.logger.warning(&format!("{why}. Exit anyway."));
            Ok(())
        }
        false => Err(Stay::Failed(format!("{why}, can't exit"))),
    };
    if shared.durable.is_starting() {
        keeps("Writing initial AOF".to_owned())?;
    }
    give_up_tasks(shared);
    let saves = match wanted.save {
        Some(saves) => saves,
        None => engine_to_look_at(shared)?.is_some_and(|engine| !engine.config.save.is_empty()),
    };
    if saves && let Err(why) = save(shared)? {
        shared.logger.warning(&format!("The snapshot could not be written: {why}"));
        // Where there is a log it keeps the data, and what cannot be made durable of it is told below.
        if !shared.durable.is_logging() {
            keeps("Error trying to save the DB".to_owned())?;
        }
    }
    if engine_to_look_at(shared)?.is_some() {
        shared.with_engine(|engine, _| engine.note_place());
    }
    if let Err(why) = shared.durable.finish(shared)
        && wanted.save != Some(false)
    {
        shared.logger.warning(&format!("The log could not be made durable: {why}"));
        keeps("The AOF is not durable".to_owned())?;
    }
    shared.archiving.finish(shared);
    Ok(())
}

/// A signal's way of stopping, once the cron runs that would notice it.
fn as_configured(shared: &Shared, wanted: Wanted, pause: Pause<'_>) -> Result<Wanted, Stay> {
    let Some(signal) = wanted.signal else { return Ok(wanted) };
    loop {
        let Some(engine) = engine_to_look_at(shared)? else { return Ok(wanted) };
        if !engine.is_cron_paused() {
            let flags = match signal {
                Stop::Terminated => engine.config.shutdown_on_sigterm,
                Stop::Interrupted => engine.config.shutdown_on_sigint,
            };
            let save = if flags.save() { Some(true) } else { flags.nosave().then_some(false) };
            return Ok(Wanted { save, force: flags.force(), now: flags.now(), ..wanted });
        }
        drop(engine);
        pause(LOOK_PERIOD);
    }
}

/// Lets replicas that are online get what they lack, for no longer than `shutdown-timeout`. No write comes in from then on.
fn wait_for_replicas(shared: &Shared, pause: Pause<'_>) -> Result<(), Stay> {
    let Some(engine) = engine_to_look_at(shared)? else { return Ok(()) };
    let timeout_us = engine.config.shutdown_timeout_seconds.saturating_mul(1_000_000);
    drop(engine);
    if timeout_us == 0 {
        return Ok(());
    }
    let until_us = shared.clock.micros().saturating_add(timeout_us);
    let Some(position) = shared.with_engine(|engine, _| engine.hold_for_replicas()) else { return Ok(()) };
    let mut is_told = false;
    let lag = loop {
        let Some(engine) = engine_to_look_at(shared)? else { return Ok(()) };
        let lag = engine.lag_behind(position);
        drop(engine);
        let is_late =
            shared.clock.micros() >= until_us || shared.joined_stop.is_urgent.load(Ordering::Relaxed);
        if lag.lagging.is_empty() || is_late {
            break lag;
        }
        if !std::mem::replace(&mut is_told, true) {
            shared.logger.notice("Waiting for replicas before shutting down.");
            shared.joined_stop.until_us.store(until_us, Ordering::Relaxed);
        }
        pause(LOOK_PERIOD);
    };
    shared.joined_stop.until_us.store(0, Ordering::Relaxed);
    lag.lagging.iter().for_each(|line| shared.logger.warning(line));
    let in_step = lag.online - lag.lagging.len();
    shared.logger.notice(&format!("{in_step} of {} replicas are in sync when shutting down.", lag.online));
    Ok(())
}

/// The engine, once the command that runs has ended; nothing where a busy script has it, since that may never end.
fn engine_to_look_at(shared: &Shared) -> Result<Option<MutexGuard<'_, Engine>>, Stay> {
    loop {
        if shared.life.phase() == Phase::CalledOff {
            return Err(Stay::Aborted);
        }
        match shared.engine.try_lock_for(ENGINE_PATIENCE) {
            None if !shared.busy.is_on() => {}
            engine => return Ok(engine),
        }
    }
}

/// What is being written is given up: the last save replaces a snapshot, and the log is whole without a rewrite.
fn give_up_tasks(shared: &Shared) {
    if shared.saver.cancel(Kind::Save) {
        shared
            .logger
            .warning("There is a child saving an .rdb. Killing it! (The running snapshot is given up.)");
    } else if shared.saver.cancel(Kind::Rewrite) {
        shared
            .logger
            .warning("There is a child rewriting the AOF. Killing it! (The running rewrite is given up.)");
    }
}

/// A script that runs away must not keep the process. One that has not written is ended; one that has gets some time, and is then
/// left to go down with the process: none of its writes is in the log, so what is on the disk holds nothing half-done. With NOSAVE
/// it gets none.
fn end_script(shared: &Shared, is_urgent: bool) {
    let began = std::time::Instant::now();
    while shared.busy.is_on() {
        // It may write before it hears of this; then it goes on.
        shared.busy.stop();
        let is_to_go = is_urgent && shared.busy.has_written();
        if is_to_go || began.elapsed() >= SCRIPT_PATIENCE {
            shared.logger.warning(
                "A script does not end. The server ends without it; nothing of the script was logged.",
            );
            if let Err(why) = shared.durable.finish(shared) {
                shared.logger.warning(&format!("The log could not be made durable: {why}"));
            }
            std::process::exit(i32::from(!is_urgent));
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// How long a stop waits for a script that has written.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stop waits to read the configuration.
const ENGINE_PATIENCE: Duration = Duration::from_secs(1);

/// How often a stop that waits looks whether it was aborted.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

fn save(shared: &Shared) -> Result<Result<(), SaveError>, Stay> {
    shared.logger.notice("Saving the final RDB snapshot before exiting.");
    let (tell, hear) = sync_channel(1);
    shared.saver.add(Task::LastSave(tell));
    loop {
        match hear.recv_timeout(LOOK_PERIOD) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(SaveError::Gone)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if shared.life.phase() == Phase::CalledOff {
            shared.saver.cancel(Kind::Save);
            return Err(Stay::Aborted);
        }
    }
}

fn go_on(shared: &Shared, session: Option<SessionId>, why: Stay) {
    match why {
        Stay::Failed(why) => shared.logger.warning(&why),
        Stay::Aborted => {}
    }
    shared.logger.warning("Errors trying to shut down the server. Check the logs for more information.");
    shared.life.go_on();
    shared.busy.go_on();
    shared.with_engine(|engine, outside| engine.release_writes(outside));
    for session in session.into_iter().chain(shared.joined_stop.take()) {
        shared.with_engine(|engine, _| {
            engine.complete(session, |reply| {
                reply.error(b"ERR Errors trying to SHUTDOWN. Check logs.");
            });
        });
    }
}

/// Wakes all threads, so that they see that the server has ended.
pub(crate) fn let_go(shared: &Shared) {
    shared.wake_all();
    shared.saver.wake();
    shared.durable.ring();
    shared.archiving.ring();
    shared.in_background(crate::shared::BackgroundJob::Second);
}
