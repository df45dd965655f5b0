//! The step at which the master's data set takes the place of the own one. The saver thread does it: there no snapshot and no rewrite runs.
//!
//! The log ends at the very moment at which the data is another one, and begins anew with a base of what is there then. Until that base is
//! published a start finds the old data, whole; never a mix.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use engine::Incoming;
use persist::aof::Log;
use replication::Place;

use super::given_up;
use crate::saver::{Kind, Listener, SaveError, Task};
use crate::shared::Shared;

/// What is to be adopted, and who hears of it.
pub(crate) struct Adoption {
    order: u64,
    incoming: Option<Box<Incoming>>,
    place: Place,
    /// The old data is of use to somebody.
    keeps_old: bool,
    tell: SyncSender<Result<(), SaveError>>,
}

impl std::fmt::Debug for Adoption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adoption")
            .field("order", &self.order)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Has the data set adopted as soon as possible; where to hear of it. The old log gets another name where `keeps_old` says so. A snapshot
/// or base of the old data that is being written is given up: nobody needs it.
pub(super) fn adopt(
    shared: &Shared,
    order: u64,
    incoming: Box<Incoming>,
    place: Place,
    keeps_old: bool,
) -> Receiver<Result<(), SaveError>> {
    let (tell, hear) = sync_channel(1);
    let incoming = Some(incoming);
    shared.saver.add(Task::Adopt(Box::new(Adoption { order, incoming, place, keeps_old, tell })));
    if !shared.life.is_stopping() {
        shared.saver.cancel(Kind::Save);
        shared.saver.cancel(Kind::Rewrite);
    }
    hear
}

impl Adoption {
    /// Does it.
    ///
    /// # Errors
    /// The order holds no more, or a snapshot runs.
    pub(crate) fn run(&mut self, shared: &Shared) -> Result<(), SaveError> {
        let Some(incoming) = self.incoming.take() else { return Err(SaveError::Cancelled) };
        let mut left = None;
        let old = shared.durable.end_log_with(shared, |engine| {
            left = engine.adopt(self.order, incoming, self.place).err();
            left.is_none()
        });
        if let Some(unwanted) = left {
            shared.free(unwanted.into_trash());
            return Err(SaveError::Engaged);
        }
        match old {
            Some(log) if log.is_starting() => log.discard_start(),
            Some(log) if self.keeps_old => keep(shared, &log),
            _ => {}
        }
        if shared.engine.lock().config.appendonly {
            shared.saver.add(Task::StartLog(Listener::Nobody));
        }
        Ok(())
    }

    /// Tells whoever waits.
    pub(crate) fn tell(self, result: Result<(), SaveError>) {
        // A link that has ended meanwhile does not hear it.
        let _ = self.tell.send(result);
    }
}

/// The log of data that was given up gets another name, before its own is given to the new data.
fn keep(shared: &Shared, log: &Log) {
    match given_up::keep(log, shared.clock.now().unix_ms) {
        Ok(kept) => {
            shared.logger.warning(&format!(
                "The log of the data that was given up is kept in {}: a server that is started with that as appenddirname has the data; remove \
                 it when nobody needs it",
                kept.dir.display()
            ));
            for removed in kept.removed {
                shared.logger.warning(&format!("{} has made room for it and is gone", removed.display()));
            }
        }
        Err(error) => {
            shared.logger.warning(&format!("The log of the data that was given up cannot be kept: {error}"))
        }
    }
}
