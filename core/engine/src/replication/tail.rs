//! What the former master has acknowledged behind the place at which this server was promoted.
//!
//! With `min-replicas-acked 1` and two replicas, a write is safe that one of them has. A Sentinel promotes one and only then tells the
//! other; in between the former master, if it was only away for a moment, still hears acknowledgements of that one, and tells clients that
//! their writes are safe. So the promoted may lack what is acknowledged. But it takes no such write of its own before enough replicas
//! follow it, and whoever comes to follow it has left the former master for good: it brings what is lacking (`+TAIL`, `REPLCONF tail`), and
//! that is executed before anything else, as if it had come from the former master. Both histories are the same up to its end then.
//!
//! *Invariant:* nothing is executed in the new history before it, not even for keys whose time is over, while replicas are awaited
//! that acknowledge. Who does not wait for them (CLIENT DURABILITY) writes at once, and what comes after that is told and given up.

use crate::engine::{Engine, Turn};
use crate::outside::{Job, Outside};
use crate::session::SessionId;
use commands::Error;
use replication::master::{Announced, Asked};
use replication::replica::{Link, Point};

/// The refusal of what cannot be executed in front of what was.
const TOO_LATE: Error = Error::new("ERR this history goes on without what is offered");

impl Engine {
    /// This server was promoted.
    pub(crate) fn await_tail(&mut self) {
        self.acks.awaits_tail = self.config.min_replicas_acked > 0;
    }

    /// Something is written, or replicas are there to acknowledge it.
    pub(crate) fn await_no_tail(&mut self) {
        if core::mem::take(&mut self.acks.awaits_tail) {
            self.hold_expired();
        }
    }

    /// Ends the waiting where nothing is waited for any more.
    pub(super) fn look_for_tail(&mut self) {
        if self.link.is_some() || self.config.min_replicas_acked == 0 || self.is_acknowledged_here() {
            self.await_no_tail();
        }
    }

    /// From where on a replica is asked for what it has of the former history and this server lacks, if it is; what cannot be had any more
    /// is told.
    pub(super) fn asks_for_tail(&mut self, who: &Announced, id: SessionId, asked: Asked<'_>) -> Option<u64> {
        let behind = self.master.behind(asked).filter(|_| self.link.is_none())?;
        if behind.can_catch_up && who.gives_tail && self.log.stream().is_empty() && self.may_give(id) {
            return Some(behind.former.offset);
        }
        let from = self.sessions.at(id).info.address.clone();
        let text = format!(
            "Replica {from} has {} bytes of the stream of the former master that are not here and cannot be taken over: what they hold is \
             given up",
            behind.lacked
        );
        self.jobs.push(Job::Log { level: 3, text });
        None
    }

    /// What a replica gives is executed whatever it is, so only who may do everything may give it.
    fn may_give(&self, id: SessionId) -> bool {
        self.acl.is_unlimited(self.sessions.at(id).user)
    }

    /// `REPLCONF tail history position bytes` in the arguments from `i` on.
    pub(super) fn hear_tail(&mut self, turn: &mut Turn<'_>, i: usize) -> Result<(), Error> {
        let (args, position) = (turn.args, turn.args.int(i + 1)?);
        let first = position.checked_add(2).ok_or(TOO_LATE)?;
        let behind = self.master.behind(Asked::From(args.at(i), first)).filter(|b| b.can_catch_up);
        let former = behind.ok_or(TOO_LATE)?.former;
        let is_in_order = u64::try_from(position) == Ok(former.offset) && self.log.stream().is_empty();
        if self.link.is_some() || !is_in_order || self.log.has_open_records() || !self.may_give(turn.session)
        {
            return Err(TOO_LATE);
        }
        if let Some(why) = turn.outside.write_refusal(true, &|| args.at(i + 2).len()) {
            return Err(Error::text(why));
        }
        self.run_tail(former, args.at(i + 2), turn.outside)
    }

    /// Executes it as a master's stream, up to the end of its last whole request.
    fn run_tail(&mut self, former: Point, bytes: &[u8], outside: &mut dyn Outside) -> Result<(), Error> {
        let mut link = Link::of_tail(former, bytes);
        self.begin_to_be_led();
        // Who waits for what it brings is served behind it.
        self.depth += 1;
        let result = self.run_requests(&mut link, outside);
        self.depth -= 1;
        self.end_to_be_led();
        let passed = link.take_passed();
        self.master.catch_up(&passed);
        self.carry_out();
        let count = passed.len();
        let text = format!(
            "{count} bytes of the stream of the former master, which were not here, were taken over from a replica"
        );
        self.jobs.push(Job::Log { level: 2, text });
        result
    }

    fn run_requests(&mut self, link: &mut Link, outside: &mut dyn Outside) -> Result<(), Error> {
        let unread = |why: String| Error::text(format!("ERR what was offered cannot be executed: {why}"));
        while let Some(request) = link.request().map_err(|fault| unread(fault.to_string()))? {
            if request.is_for_data {
                let done = self.run_masters(&request.argv, request.raw, outside);
                done.map_err(|error| unread(format!("{error:?}")))?;
            }
            link.applied();
        }
        Ok(())
    }

    /// What this server has of its history behind a place, no more than so many bytes; none where it is not at hand, or this order does not
    /// hold any more.
    pub fn tail(&self, order: u64, point: Point, bytes_max: usize) -> Option<Vec<u8>> {
        let place = self.history().filter(|_| self.is_followed(order))?;
        let part = self.master.backlog()?.part(point.offset, bytes_max)?;
        (place.id == point.id && !part.is_empty()).then_some(part)
    }
}
