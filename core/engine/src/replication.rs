//! What a server answers about replication that has no replicas and can have none: it is always a master of its own.
//!
//! Questions are answered as a lone master answers them, attempts to change that are refused in plain words. WAIT and WAITAOF are real:
//! they wait, and WAITAOF knows what the log has made durable.

use crate::copy::copy;
use crate::engine::{Engine, EngineHandler, Step, Turn};
use crate::outside::{LogTickets, Outside};
use crate::session::SessionId;
use commands::{Args, Error, Flags, Group, OnTimeout, Row, Wait};

const LATE: Flags = Flags::LOADING.and(Flags::STALE);
const OPERATOR: Flags = Flags::ADMIN.and(Flags::NOSCRIPT);
const CHANGE: Flags = OPERATOR.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);
const FEED: Flags = OPERATOR.and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

const fn waits(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("failover", -1, failover).flags(OPERATOR.and(Flags::STALE)),
    row("psync", -3, copy).flags(FEED),
    row("replconf", -1, replconf).flags(OPERATOR.and(LATE).and(Flags::ALLOW_BUSY)),
    row("replicaof", 3, replicaof).flags(CHANGE),
    row("role", 1, role).flags(LATE.and(Flags::NOSCRIPT).and(Flags::FAST)).also(&["admin", "dangerous"]),
    row("slaveof", 3, replicaof).flags(CHANGE),
    row("sync", 1, copy).flags(FEED),
    waits("wait", 3, wait).flags(Flags::BLOCKING),
    waits("waitaof", 4, waitaof).flags(Flags::BLOCKING),
];

/// How often a client that waits for an fsync is looked at, microseconds.
pub(crate) const SYNC_LOOK_US: u64 = 2_000;

/// A client in WAITAOF.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncWaiter {
    session: SessionId,
    /// What it has written is durable once the log is synced up to this ticket.
    ticket: u64,
    /// It asked for this server's log.
    wants_log: bool,
    /// It also asked for replicas, which never come.
    wants_replicas: bool,
}

/// The refusal of a WAITAOF for a log that is switched off, or is while it waits.
const NO_LOG: Error =
    Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

fn role(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(3);
    turn.reply.bulk(b"master");
    turn.reply.integer(0);
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn replicaof(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.is(1, "no") && turn.args.is(2, "one") {
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    port(turn.args.at(2)).ok_or(Error::new("ERR Invalid master port"))?;
    Err(Error::new("ERR this server does not replicate yet: it is always a master"))
}

fn port(text: &[u8]) -> Option<u16> {
    u16::try_from(base::number::parse_i64(text)?).ok()
}

/// What a replica says about itself is checked and forgotten, but for what it says of the copy that it wants.
fn replconf(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    if args.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    for i in (1..args.len()).step_by(2) {
        if engine.sessions.at_mut(turn.session).copy.hear(args, i)? {
            continue;
        }
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"listening-port" => drop(args.int(i + 1)?),
            b"ip-address" => {}
            // These two are never answered.
            b"ack" | b"getack" => return Ok(Step::Done(None)),
            _ => {
                return Err(Error::quoting("ERR Unrecognized REPLCONF option: {}", &[args.at(i)]));
            }
        }
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn failover(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    let (mut i, mut abort, mut timeout, mut target, mut force) = (1, false, false, false, false);
    while i < args.len() {
        match () {
            () if args.is(i, "timeout") && i + 1 < args.len() && !timeout => {
                if args.int(i + 1)? <= 0 {
                    return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
                }
                timeout = true;
                i += 1;
            }
            () if args.is(i, "abort") && args.len() == 2 => abort = true,
            () if args.is(i, "to") && i + 2 < args.len() && !target => {
                args.int(i + 2)?;
                target = true;
                i += 2;
            }
            () if args.is(i, "force") && !force => force = true,
            () => return Err(Error::SYNTAX),
        }
        i += 1;
    }
    Err(Error::new(if abort {
        "ERR No failover in progress."
    } else {
        "ERR FAILOVER requires connected replicas."
    }))
}

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
    let wait = Wait {
        keys: Vec::new(),
        timeout_ms,
        on_timeout,
        again: None,
        on_removal: false,
        look_again_ms: None,
        group: None,
    };
    Step::Block(Box::new(wait))
}

fn wait(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let replicas = turn.args.int(1)?;
    let timeout_ms = timeout_ms(turn.args, 2, engine.keyspace.now.unix_ms)?;
    if replicas <= 0 || !turn.caller.may_wait() {
        turn.reply.integer(0);
        return Ok(Step::Done(None));
    }
    Ok(block(timeout_ms, OnTimeout::Zero))
}

fn waitaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let local = turn.args.int(1)?;
    if !(0..=1).contains(&local) {
        return Err(Error::new("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = turn.args.int(2)?;
    if replicas < 0 {
        return Err(Error::OUT_OF_RANGE_POSITIVE);
    }
    let timeout_ms = timeout_ms(turn.args, 3, engine.keyspace.now.unix_ms)?;
    // One that was just switched on and has not begun will have begun before long.
    if local > 0 && !engine.config.appendonly {
        return Err(NO_LOG);
    }
    let LogTickets { last, synced, is_whole } = turn.outside.log_tickets();
    let ticket = last + u64::from(engine.has_log());
    let is_synced = engine.log.enabled && is_whole && synced >= ticket;
    if (replicas == 0 && (local == 0 || is_synced)) || !turn.caller.may_wait() {
        turn.reply.array(2);
        turn.reply.integer(i64::from(is_synced));
        turn.reply.integer(0);
        return Ok(Step::Done(None));
    }
    let (session, wants_log, wants_replicas) = (turn.session, local > 0, replicas > 0);
    engine.sync_waiters.push(SyncWaiter { session, ticket, wants_log, wants_replicas });
    Ok(block(timeout_ms, OnTimeout::Synced))
}

impl Engine {
    /// Answers the clients whose writes have become durable.
    pub(crate) fn serve_synced(&mut self, outside: &dyn Outside) {
        if self.sync_waiters.is_empty() {
            return;
        }
        let tickets = outside.log_tickets();
        self.synced_ticket = (self.log.enabled && tickets.is_whole).then_some(tickets.synced);
        let sessions = &self.sessions;
        self.sync_waiters.retain(|w| sessions.find(w.session).is_some_and(|s| s.waiting.is_some()));
        let has_log = self.config.appendonly;
        let waiters = self.sync_waiters.clone();
        for w in waiters {
            let is_refused = w.wants_log && !has_log;
            let is_served = !w.wants_replicas && self.is_synced(w.ticket);
            if (is_refused || is_served)
                && let Some(waiting) = self.unblock(w.session)
            {
                match is_refused {
                    true => self.end_waiting_with(w.session, &waiting, NO_LOG.as_bytes()),
                    false => self.end_waiting(w.session, &waiting),
                }
            }
        }
    }

    fn is_synced(&self, ticket: u64) -> bool {
        self.synced_ticket.is_some_and(|synced| ticket <= synced)
    }

    /// How many logs have what the client in WAITAOF wrote, 0 or 1; it waits no more.
    pub(crate) fn end_sync_waiting(&mut self, id: SessionId) -> i64 {
        let Some(at) = self.sync_waiters.iter().position(|w| w.session == id) else { return 0 };
        let waiter = self.sync_waiters.swap_remove(at);
        i64::from(self.log.enabled && self.is_synced(waiter.ticket))
    }
}
