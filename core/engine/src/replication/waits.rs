//! Clients that wait until replicas have applied what they wrote (WAIT), or logs hold it (WAITAOF).
//!
//! A client waits for what it wrote itself: the position in the stream behind its last write is kept in its session. Replicas are
//! asked to acknowledge when somebody begins to wait, and by themselves do so once a second.

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::{LogTickets, Outside};
use crate::session::SessionId;
use commands::{Args, Error, OnTimeout, Wait};

/// How often a client that waits for an fsync is looked at, microseconds.
pub(crate) const SYNC_LOOK_US: u64 = 2_000;

/// What a client waits for beside replicas' applying or logging its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it is enough that they have applied them (WAIT).
    Applied,
    /// They have logged them, and, if the client asked for that, this server's log is synced up to a ticket (WAITAOF).
    Logged { ticket: u64, wants_log: bool },
}

/// A client in WAIT or WAITAOF.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckWaiter {
    session: SessionId,
    awaited: Awaited,
    /// The position behind its last write.
    position: u64,
    /// How many replicas it waits for.
    replicas: usize,
}

/// The refusal of a WAITAOF for a log that is switched off, or is while it waits.
const NO_LOG: Error =
    Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

/// The refusals on a replica.
const WAIT_ON_REPLICA: Error = Error::new(
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
);
const WAITAOF_ON_REPLICA: Error = Error::new(
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
);

/// A waiting time in milliseconds from now; `None`: for ever.
fn timeout_ms(args: Args<'_>, i: usize, now_ms: i64) -> Result<Option<u64>, Error> {
    let timeout = base::number::parse_i64(args.at(i))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::TIMEOUT_NEGATIVE)?;
    check_end(timeout, now_ms)?;
    Ok((timeout > 0).then_some(timeout))
}

/// Whether the moment so many milliseconds from now is one that a clock can tell.
///
/// # Errors
/// The refusal of a time that is not.
pub(crate) fn check_end(ms: u64, now_ms: i64) -> Result<(), Error> {
    let end = i64::try_from(ms).ok().and_then(|ms| ms.checked_add(now_ms));
    end.map(drop).ok_or(Error::new("ERR timeout is out of range"))
}

fn block(timeout_ms: Option<u64>, on_timeout: OnTimeout) -> Step {
    Step::Block(Box::new(Wait::new(Vec::new(), timeout_ms, on_timeout)))
}

pub(super) fn wait(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.is_replica() {
        return Err(WAIT_ON_REPLICA);
    }
    let replicas = turn.args.int(1)?;
    let timeout_ms = timeout_ms(turn.args, 2, engine.keyspace.now.unix_ms)?;
    let position = engine.sessions.at(turn.session).written_to;
    let acked = engine.master.acked(position);
    let replicas = usize::try_from(replicas).unwrap_or(0);
    if acked >= replicas || !turn.caller.may_wait() {
        turn.reply.count(acked);
        return Ok(Step::Done(None));
    }
    engine.begin_to_wait(AckWaiter { session: turn.session, awaited: Awaited::Applied, position, replicas });
    Ok(block(timeout_ms, OnTimeout::Acked))
}

pub(super) fn waitaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let local = turn.args.int(1)?;
    if !(0..=1).contains(&local) {
        return Err(Error::new("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = turn.args.int(2)?;
    let replicas = usize::try_from(replicas).map_err(|_| Error::OUT_OF_RANGE_POSITIVE)?;
    let timeout_ms = timeout_ms(turn.args, 3, engine.keyspace.now.unix_ms)?;
    if engine.is_replica() {
        return Err(WAITAOF_ON_REPLICA);
    }
    // One that was just switched on and has not begun will have begun before long.
    if local > 0 && !engine.config.appendonly {
        return Err(NO_LOG);
    }
    let LogTickets { last, synced, is_whole } = turn.outside.log_tickets();
    let ticket = last + u64::from(engine.log.has_file && engine.log.has_records());
    let is_synced = engine.log.has_file && is_whole && synced >= ticket;
    let position = engine.sessions.at(turn.session).written_to;
    let logged = engine.master.logged(position);
    let is_enough = logged >= replicas && (local == 0 || is_synced);
    if is_enough || !turn.caller.may_wait() {
        turn.reply.array(2);
        turn.reply.integer(i64::from(is_synced));
        turn.reply.count(logged);
        return Ok(Step::Done(None));
    }
    let awaited = Awaited::Logged { ticket, wants_log: local > 0 };
    engine.begin_to_wait(AckWaiter { session: turn.session, awaited, position, replicas });
    Ok(block(timeout_ms, OnTimeout::Synced))
}

impl Engine {
    fn begin_to_wait(&mut self, waiter: AckWaiter) {
        self.ack_waiters.push(waiter);
        if waiter.replicas > 0 {
            self.master.ask();
        }
    }

    /// Whether a client waits for this server's log, which has to be looked at.
    pub(crate) fn waits_for_log(&self) -> bool {
        self.ack_waiters.iter().any(|w| matches!(w.awaited, Awaited::Logged { .. }))
    }

    /// Answers the clients whose writes have become durable, or were applied by enough replicas.
    pub(crate) fn serve_acked(&mut self, outside: &dyn Outside) {
        if self.ack_waiters.is_empty() {
            return;
        }
        let tickets = outside.log_tickets();
        self.synced_ticket = (self.log.has_file && tickets.is_whole).then_some(tickets.synced);
        let sessions = &self.sessions;
        self.ack_waiters.retain(|w| sessions.find(w.session).is_some_and(|s| s.waiting.is_some()));
        let has_log = self.config.appendonly;
        for waiter in self.ack_waiters.clone() {
            let is_refused = !has_log && matches!(waiter.awaited, Awaited::Logged { wants_log: true, .. });
            if (is_refused || self.is_enough(&waiter))
                && let Some(waiting) = self.unblock(waiter.session)
            {
                match is_refused {
                    true => self.end_waiting_with(waiter.session, &waiting, NO_LOG.as_bytes()),
                    false => self.end_waiting(waiter.session, &waiting),
                }
            }
        }
    }

    fn is_enough(&self, waiter: &AckWaiter) -> bool {
        let replicas = self.replicas_with(waiter);
        match waiter.awaited {
            Awaited::Applied => replicas >= waiter.replicas,
            Awaited::Logged { ticket, wants_log } => {
                replicas >= waiter.replicas && (!wants_log || self.is_synced(ticket))
            }
        }
    }

    fn replicas_with(&self, waiter: &AckWaiter) -> usize {
        match waiter.awaited {
            Awaited::Applied => self.master.acked(waiter.position),
            Awaited::Logged { .. } => self.master.logged(waiter.position),
        }
    }

    fn is_synced(&self, ticket: u64) -> bool {
        self.synced_ticket.is_some_and(|synced| ticket <= synced)
    }

    /// How many logs here, 0 or 1, and how many replicas have what the client wrote; it waits no more.
    pub(crate) fn end_ack_waiting(&mut self, id: SessionId) -> (i64, i64) {
        let Some(at) = self.ack_waiters.iter().position(|w| w.session == id) else { return (0, 0) };
        let waiter = self.ack_waiters.swap_remove(at);
        let replicas = self.replicas_with(&waiter) as i64;
        let is_synced = match waiter.awaited {
            Awaited::Applied => false,
            Awaited::Logged { ticket, .. } => self.log.has_file && self.is_synced(ticket),
        };
        (i64::from(is_synced), replicas)
    }
}
