//! Requests that are held back for a time, all or those that may change data: CLIENT PAUSE, a failover, and the last snapshot before the end.
//!
//! A request is held after the gate has let it in, as in Redis: what would be refused is refused at once. While a pause lasts no key
//! expires and none is evicted, so that the data stand still.

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::gate::{Asked, LEAVES_TRACES};
use crate::outside::Outside;
use commands::Error;

/// What holds requests back.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// The end of CLIENT PAUSE, monotonic microseconds; 0 when it has been looked at.
    pub(crate) until_us: u64,
    /// It holds back only what may change data.
    writes_only: bool,
    /// The server ends, and its last snapshot has begun.
    holds_writes: bool,
    /// The server hands over to a replica.
    fails_over: bool,
    /// One of them lasts, or its end has not been looked at yet.
    pub(crate) is_pending: bool,
}

pub(super) fn pause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let writes_only = match turn.args.len() {
        3 => false,
        4 if turn.args.is(3, "write") => true,
        4 if turn.args.is(3, "all") => false,
        4 => return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(commands::bad_subcommand(turn.args, "CLIENT")),
    };
    let ms = base::number::parse_i64(turn.args.at(2))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    crate::replication::check_end(ms, engine.keyspace.now.unix_ms)?;
    let end_us = engine.keyspace.now.mono_us.saturating_add(ms.saturating_mul(1000));
    // A pause under way is neither shortened nor loosened by another.
    let goes_on = engine.is_paused();
    let pause = &mut engine.pause;
    pause.writes_only = writes_only && (!goes_on || pause.writes_only);
    pause.until_us = if goes_on { end_us.max(pause.until_us) } else { end_us };
    pause.is_pending = true;
    engine.hold_expired();
    turn.reply.ok();
    Ok(Step::Done(None))
}

pub(super) fn unpause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.end_pause();
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Pause {
    /// Whether the data are to stand still.
    pub(crate) fn stands_still(&self) -> bool {
        self.until_us > 1 || self.is_open()
    }

    /// Whether there is one whose end is no time.
    fn is_open(&self) -> bool {
        self.holds_writes || self.fails_over
    }
}

impl Engine {
    /// What INFO tells of a pause: why, what is held back, and the milliseconds that are left of it.
    pub(crate) fn pause_told(&self) -> (&'static str, &'static str, u64) {
        if self.is_paused() {
            let actions = if self.pause.writes_only { "write" } else { "all" };
            return ("client_pause", actions, (self.pause.until_us - self.keyspace.now.mono_us) / 1000);
        }
        match &self.pause {
            pause if pause.holds_writes => ("shutdown_in_progress", "write", 0),
            pause if pause.fails_over => ("failover_in_progress", "write", 0),
            _ => ("none", "none", 0),
        }
    }

    /// Whether CLIENT PAUSE lasts.
    pub(crate) fn is_paused(&self) -> bool {
        self.pause.until_us > self.keyspace.now.mono_us
    }

    /// Holds back from now on what may change data: the last snapshot begins, and what came after it would be lost.
    pub fn hold_writes(&mut self) {
        (self.pause.holds_writes, self.pause.is_pending) = (true, true);
        self.hold_expired();
    }

    /// Holds back what may change data while the server hands over, or lets it go on.
    pub(crate) fn hold_for_failover(&mut self, holds: bool) {
        (self.pause.fails_over, self.pause.is_pending) = (holds, true);
        self.hold_expired();
    }

    /// Whether what may change data is held back for the last snapshot.
    pub fn holds_writes(&self) -> bool {
        self.pause.holds_writes
    }

    /// The end of [`Engine::hold_writes`]: what was held back goes on.
    pub fn release_writes(&mut self, outside: &mut dyn Outside) {
        if core::mem::take(&mut self.pause.holds_writes) {
            self.release_held(outside);
        }
    }

    /// Whether a pause says that this request waits.
    #[cold]
    pub(crate) fn is_held(&self, asked: Asked<'_>) -> bool {
        let (is_paused, pause) = (self.is_paused(), &self.pause);
        let (holds_all, holds_writes) = (is_paused && !pause.writes_only, is_paused || pause.is_open());
        holds_all || (holds_writes && self.needs(asked).has_any(LEAVES_TRACES))
    }

    /// Has a client wait with its request for the end of the pause.
    #[cold]
    pub(crate) fn hold(&mut self, asked: Asked<'_>) {
        self.sessions.at_mut(asked.id).last_command = Some(asked.command);
        self.defer(asked.id, asked.argv, None);
        self.held.push(asked.id);
    }

    /// The pause is over: keys expire again, and who was held back goes on at the next tick.
    fn end_pause(&mut self) {
        // Zero would mean that nothing is left to be done.
        self.pause.until_us = self.pause.until_us.min(1);
        self.hold_expired();
    }

    /// Lets go on who was held back, when the pause is over. Whoever may still not run is held back again.
    pub(crate) fn release_held(&mut self, outside: &mut dyn Outside) {
        if self.is_paused() || (self.pause.is_open() && self.pause.until_us == 0) {
            return;
        }
        self.pause.until_us = 0;
        self.pause.is_pending = self.pause.is_open();
        self.hold_expired();
        for id in core::mem::take(&mut self.held) {
            if let Some(deferred) = self.sessions.find_mut(id).and_then(|s| s.deferred.take()) {
                self.resume(id, &deferred.argv, outside);
            }
        }
    }
}
