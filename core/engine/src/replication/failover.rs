//! FAILOVER: the master hands over to a replica that has all it has.
//!
//! ```text
//!   None --FAILOVER--> Waiting --a replica has all--> Following --it takes over--> None, as its replica
//!    ^                  |  ^                              |
//!    +------------------+  +- FORCE: also when the time   |
//!    +-- ABORT, too late   is over                        |
//!    +---- ABORT, it refuses: master again ---------------+
//! ```
//! From the command on what may change data is held back, keys do not expire, and nothing is put into the stream, so that a replica can
//! have all. The replica hears of it by the request with which this server becomes its replica (PSYNC … FAILOVER). Where the connection ends
//! behind that request, nobody knows here whether it was heard: if the other one is a master when it is asked again, it was, and is followed.
//! As long as it says nothing of that (it is busy, loads, or has no room), it is asked on.

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::Job;
use crate::session::SessionId;
use commands::{Args, Error};
use replication::master::{Replica, Stage};

/// What a master says who is asked to take over, here and in Redis.
const IS_MASTER: &str = "PSYNC FAILOVER can't be sent to a master.";

/// What a replica says that does not take over, because it is not one of this history.
const IS_OTHERS: &str = "PSYNC FAILOVER replid must match my replid.";

/// See the module.
#[derive(Debug, Default)]
pub(crate) enum Failover {
    #[default]
    None,
    Waiting(Wish),
    /// `is_heard`: the replica may have taken over already.
    Following {
        is_heard: bool,
    },
}

impl Failover {
    /// As INFO names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Failover::None => "no-failover",
            Failover::Waiting(_) => "waiting-for-sync",
            Failover::Following { .. } => "failover-in-progress",
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Failover::None)
    }
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    abort: bool,
    force: bool,
    timeout_ms: Option<u64>,
    /// The time over which a replica must have all, monotonic microseconds.
    until_us: Option<u64>,
    /// The replica that is to take over; any if none is named.
    target: Option<(String, u16)>,
}

impl Wish {
    fn parse(args: Args<'_>) -> Result<Wish, Error> {
        let (mut wish, mut i) = (Wish::default(), 1);
        while i < args.len() {
            match () {
                () if args.is(i, "timeout") && i + 1 < args.len() && wish.timeout_ms.is_none() => {
                    let ms = u64::try_from(args.int(i + 1)?).ok().filter(|ms| *ms > 0);
                    wish.timeout_ms =
                        Some(ms.ok_or(Error::new("ERR FAILOVER timeout must be greater than 0"))?);
                    i += 1;
                }
                () if args.is(i, "abort") && args.len() == 2 => wish.abort = true,
                () if args.is(i, "to") && i + 2 < args.len() && wish.target.is_none() => {
                    // A port that is none is no replica's.
                    let port = u16::try_from(args.int(i + 2)?).unwrap_or(0);
                    wish.target = Some((String::from_utf8_lossy(args.at(i + 1)).into_owned(), port));
                    i += 2;
                }
                () if args.is(i, "force") && !wish.force => wish.force = true,
                () => return Err(Error::SYNTAX),
            }
            i += 1;
        }
        Ok(wish)
    }
}

pub(super) fn failover(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let wish = Wish::parse(turn.args)?;
    match wish.abort {
        true if engine.failover.is_none() => return Err(Error::new("ERR No failover in progress.")),
        true => engine.abort_failover("Failover manually aborted"),
        false => engine.begin_failover(wish)?,
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// The replica that asks for a part of the stream is the master until now, and hands over: `id` is the history that it means.
pub(super) fn take_over(engine: &mut Engine, turn: &Turn<'_>, id: &[u8]) -> Result<(), Error> {
    let text = format!("Failover request received for replid {}.", String::from_utf8_lossy(id));
    engine.jobs.push(Job::Log { level: 2, text });
    if !engine.is_replica() {
        return Err(Error::text(format!("ERR {IS_MASTER}")));
    }
    if !id.eq_ignore_ascii_case(engine.master.id().as_bytes()) {
        return Err(Error::text(format!("ERR {IS_OTHERS}")));
    }
    let from = engine.sessions.at(turn.session).info.address.clone();
    engine.jobs.push(Job::Log { level: 2, text: format!("The failover was asked for by {from}") });
    engine.unfollow();
    Ok(())
}

impl Engine {
    fn begin_failover(&mut self, wish: Wish) -> Result<(), Error> {
        self.check_failover(&wish)?;
        let text = match &wish.target {
            Some((host, port)) => format!("FAILOVER requested to {host}:{port}."),
            None => "FAILOVER requested.".to_owned(),
        };
        self.jobs.push(Job::Log { level: 2, text });
        let until_us =
            wish.timeout_ms.map(|ms| self.keyspace.now.mono_us.saturating_add(ms.saturating_mul(1000)));
        self.failover = Failover::Waiting(Wish { until_us, ..wish });
        self.feed_replicas();
        self.master.stop_leading();
        self.hold_for_failover(true);
        Ok(())
    }

    fn check_failover(&self, wish: &Wish) -> Result<(), Error> {
        let refusal = match &wish.target {
            _ if !self.failover.is_none() => "ERR FAILOVER already in progress.",
            _ if self.is_replica() => "ERR FAILOVER is not valid when server is a replica.",
            _ if self.master.replicas().is_empty() => "ERR FAILOVER requires connected replicas.",
            target if wish.force && (target.is_none() || wish.timeout_ms.is_none()) => {
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP."
            }
            Some(target) => match self.replica_at(target) {
                None => "ERR FAILOVER target HOST and PORT is not a replica.",
                Some(replica) if replica.stage() != Stage::Online => {
                    "ERR FAILOVER target replica is not online."
                }
                Some(_) => return Ok(()),
            },
            None => return Ok(()),
        };
        Err(Error::new(refusal))
    }

    fn replica_at(&self, (host, port): &(String, u16)) -> Option<&Replica<SessionId>> {
        self.master.replicas().iter().find(|replica| {
            let (address, at) = self.replica_place(replica);
            address.eq_ignore_ascii_case(host) && at == *port
        })
    }

    /// Whether a replica has all there is, or the time is over.
    pub(crate) fn look_at_failover(&mut self) {
        if !matches!(self.failover, Failover::Waiting(_)) {
            return;
        }
        self.feed_replicas();
        let Failover::Waiting(wish) = &self.failover else { return };
        let has_all = |replica: &&Replica<SessionId>| {
            replica.stage() == Stage::Online && replica.acked() >= self.master.offset()
        };
        let synced = match &wish.target {
            Some(target) => self.replica_at(target).filter(has_all),
            None => self.master.replicas().iter().find(has_all),
        };
        let is_late = wish.until_us.is_some_and(|us| self.keyspace.now.mono_us >= us);
        let forced = wish.target.clone().filter(|_| is_late && wish.force);
        match (synced.map(|replica| self.replica_place(replica)), forced) {
            (Some(place), _) => self.hand_over_to(place, "is synced"),
            (None, Some(place)) => self.hand_over_to(place, "time out exceeded"),
            (None, None) if is_late => self.abort_failover("Replica never caught up before timeout"),
            (None, None) => {}
        }
    }

    fn hand_over_to(&mut self, (host, port): (String, u16), why: &str) {
        let text = format!("Failover to {host}:{port} {why}, failing over.");
        self.jobs.push(Job::Log { level: 2, text });
        self.failover = Failover::Following { is_heard: false };
        self.follow(host, port);
        self.unblock_all(None);
    }

    fn abort_failover(&mut self, why: &str) {
        self.jobs.push(Job::Log { level: 2, text: format!("FAILOVER is given up: {why}") });
        match core::mem::take(&mut self.failover) {
            Failover::Following { .. } => self.unfollow(),
            Failover::Waiting(_) => self.master.go_on_leading(),
            Failover::None => {}
        }
        self.hold_for_failover(false);
    }

    // What the link to the new master asks and tells.

    /// Whether the server that is followed is to take over.
    pub fn hands_over(&self) -> bool {
        matches!(self.failover, Failover::Following { .. })
    }

    /// The server that is followed by this order has taken over, if it was to.
    pub fn handed_over(&mut self, order: u64) {
        if self.hands_over() && self.is_followed(order) {
            self.failover = Failover::None;
            self.hold_for_failover(false);
        }
    }

    /// The server that is followed by this order was asked to take over, and nothing was heard of it.
    pub fn hand_over_unanswered(&mut self, order: u64) {
        if self.hands_over() && self.is_followed(order) {
            self.failover = Failover::Following { is_heard: true };
        }
    }

    /// The server that is followed by this order has refused to be followed, in these words.
    pub fn hand_over_refused(&mut self, order: u64, why: &str) {
        let Failover::Following { is_heard } = self.failover else { return };
        match is_heard {
            _ if !self.is_followed(order) => {}
            true if why.contains(IS_MASTER) => self.handed_over(order),
            true if !why.contains(IS_OTHERS) => {}
            _ => self.abort_failover("Failover target rejected psync request"),
        }
    }
}
