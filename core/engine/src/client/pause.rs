//! CLIENT PAUSE: requests that are held back for a time, all or those that may change data.
//!
//! A request is held after the gate has let it in, as in Redis: what would be refused is refused at once. While a pause lasts no key
//! expires and none is evicted, so that the data stand still.

use crate::engine::{Engine, Step, Turn};
use crate::outside::Outside;
use crate::session::SessionId;
use commands::{Error, Flags, Group};

pub(super) fn pause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let writes_only = match turn.args.len() {
        3 => false,
        4 if turn.args.is(3, "write") => true,
        4 if turn.args.is(3, "all") => false,
        _ => return Err(Error::SYNTAX),
    };
    let ms = base::number::parse_i64(turn.args.at(2))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    let end_us = engine.keyspace.now.mono_us.saturating_add(ms.saturating_mul(1000));
    // A pause under way is neither shortened nor loosened by another.
    let goes_on = engine.is_paused();
    engine.pause_writes_only = writes_only && (!goes_on || engine.pause_writes_only);
    engine.paused_until_us = if goes_on { end_us.max(engine.paused_until_us) } else { end_us };
    engine.keyspace.hold_expired = true;
    turn.reply.ok();
    Ok(Step::Done(None))
}

pub(super) fn unpause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.end_pause();
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    /// Whether a pause lasts.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until_us > self.keyspace.now.mono_us
    }

    /// Holds this request back if CLIENT PAUSE says so; its client then waits.
    #[cold]
    pub(crate) fn hold(&mut self, id: SessionId, command: usize, argv: &[&[u8]]) -> bool {
        if !self.is_paused() || (self.pause_writes_only && !self.may_change(id, command, argv)) {
            return false;
        }
        self.defer(id, argv);
        self.held.push(id);
        true
    }

    /// Whether a request may change data, as far as can be told before it runs.
    fn may_change(&mut self, id: SessionId, command: usize, argv: &[&[u8]]) -> bool {
        let spec = self.table.commands[command].spec;
        if spec.name == "exec" {
            let Some(multi) = self.sessions.at_mut(id).multi.take() else { return false };
            let changes = multi.queue.iter().any(|queued| {
                let argv: Vec<&[u8]> = queued.argv.iter().map(Vec::as_slice).collect();
                self.may_change(id, queued.command, &argv)
            });
            self.sessions.at_mut(id).multi = Some(multi);
            return changes;
        }
        if spec.group == Group::Scripting && spec.name.ends_with("_ro") {
            return false;
        }
        if spec.group == Group::Scripting
            && let Some(flags) = self.declared_flags(spec.name, argv)
        {
            return !flags.no_writes;
        }
        spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE)
    }

    /// The pause is over: keys expire again, and who was held back goes on at the next tick.
    fn end_pause(&mut self) {
        self.keyspace.hold_expired = false;
        // Zero would mean that nothing is left to be done.
        self.paused_until_us = self.paused_until_us.min(1);
    }

    /// Lets go on who was held back, when the pause is over.
    pub(crate) fn release_held(&mut self, outside: &mut dyn Outside) {
        if self.is_paused() {
            return;
        }
        self.keyspace.hold_expired = false;
        self.paused_until_us = 0;
        for id in core::mem::take(&mut self.held) {
            if let Some(deferred) = self.sessions.find_mut(id).and_then(|s| s.deferred.take()) {
                self.resume(id, &deferred.argv, outside);
            }
        }
    }
}
