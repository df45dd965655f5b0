//! The end: saving what is to be saved, the last fsync, and letting the threads go.

use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use engine::SessionId;

use crate::saver::{Listener, Task};
use crate::shared::Shared;

/// How a stop was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// SAVE or NOSAVE; `None`: when there are save points.
    pub(crate) save: Option<bool>,
    /// Also when saving fails.
    pub(crate) force: bool,
    /// Who asked, to be told when it fails.
    pub(crate) session: Option<SessionId>,
}

/// Brings the server to its end. False when saving has failed and the server goes on.
pub(crate) fn stop(shared: &Shared, wanted: Wanted) -> bool {
    if shared.stopping.swap(true, Ordering::AcqRel) {
        return true;
    }
    shared.logger.notice("User requested shutdown...");
    end_script(shared);
    if shared.is_loading() {
        // There is nothing to save that is not on the disk.
        return end(shared, true);
    }
    let saves = match wanted.save {
        Some(save) => save,
        // A busy script holds the engine; then there is no looking, and nothing to wait for.
        None => {
            shared.engine.try_lock_for(ENGINE_PATIENCE).is_some_and(|engine| !engine.config.save.is_empty())
        }
    };
    if saves && let Err(why) = save(shared) {
        shared.logger.warning(&format!("Error trying to save the DB, can't exit: {why}"));
        if !wanted.force {
            return go_on(shared, wanted.session);
        }
    }
    if let Err(why) = shared.durable.finish(shared) {
        shared.logger.warning(&format!("The AOF is not durable, can't exit: {why}"));
        if !wanted.force && wanted.save != Some(false) {
            return go_on(shared, wanted.session);
        }
    }
    end(shared, true)
}

/// A script that runs away must not keep the process. One that has not written is ended; one that has gets some time, and is then
/// left to go down with the process: none of its writes is in the log, so what is on the disk holds nothing half-done.
fn end_script(shared: &Shared) {
    if !shared.busy.is_on() {
        return;
    }
    if !shared.busy.has_written() {
        return shared.busy.ask_shutdown();
    }
    let until = std::time::Instant::now() + SCRIPT_PATIENCE;
    while shared.busy.is_on() {
        if std::time::Instant::now() >= until {
            shared.logger.warning("A script that has written does not end. The server ends without it; nothing of the script was logged.");
            std::process::exit(1);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// How long a stop waits for a script that has written.
const SCRIPT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a stop waits to read the configuration.
const ENGINE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

fn save(shared: &Shared) -> Result<(), String> {
    shared.logger.notice("Saving the final RDB snapshot before exiting.");
    let (tell, hear) = sync_channel(1);
    shared.saver.add(Task::Save(Listener::Thread(tell)));
    hear.recv().unwrap_or_else(|_| Err("the saving thread has gone".to_owned()))
}

fn go_on(shared: &Shared, session: Option<SessionId>) -> bool {
    shared.logger.warning("Errors trying to shut down the server. Check the logs for more information.");
    shared.stopping.store(false, Ordering::Release);
    if let Some(session) = session {
        shared.with_engine(|engine, _| {
            engine.complete(session, |reply| {
                reply.error(b"ERR Errors trying to SHUTDOWN. Check logs.");
            });
        });
    }
    false
}

/// Lets all threads end.
pub(crate) fn end(shared: &Shared, friendly: bool) -> bool {
    if friendly {
        shared.logger.warning("Redis is now ready to exit, bye bye...");
    }
    shared.stopped.store(true, Ordering::Release);
    shared.ended.store(true, Ordering::Release);
    shared.wake_all();
    shared.saver.wake();
    shared.durable.ring();
    shared.chore(crate::shared::Chore::Second);
    true
}
