//! What the former master has acknowledged behind the place at which this server was promoted.
//!
//! With `min-replicas-acked 1` and two replicas, a write is safe that one of them has. A Sentinel promotes one and only then tells the
//! other; in between the former master, if it was only away for a moment, still hears acknowledgements of that one, and tells clients that
//! their writes are safe. So the promoted may lack what is acknowledged. But it takes no such write of its own before enough replicas
//! follow it, and whoever comes to follow it has left the former master for good: it brings what is lacking (`+TAIL`, `REPLCONF tail`), and
//! that is executed before anything else, as if it had come from the former master. Both histories are the same up to its end then.
//!
//! That is enough where of all servers more than half have what is acknowledged, the master among them: then one of those that the
//! promoted waits for has it, whichever they are. So only those count that have their memory still, and go on in the history: who was given
//! a copy, because it was empty or had too little, may be the one that had it. (Who has lost what it had acknowledged with the power, and
//! says that it has less, cannot be told from one that never had it.) The former master may have been killed and have started again
//! meanwhile, under another name for its history: replicas tell what that was called before. They tell one name, so this goes for one such
//! start.
//!
//! Nobody else takes a tail. A master that starts again may lack what its replicas have, too, but somebody may have put older data in its
//! place because of what these have (a FLUSHALL): so its data wins, and they begin anew. The same goes for a replica that is promoted
//! before it was led since its start, and, where neither `min-replicas-acked` nor a user's rule waits for replicas, for every promotion.
//!
//! *Invariant:* nothing is put into the new history before it while replicas are awaited that acknowledge: no write, no key whose time is
//! over, nothing that only replicas are told, no ping. Who does not wait for replicas (CLIENT DURABILITY) waits for
//! [`OTHERS_WAIT_US`]; what comes after such a write is told and given up. Where not all of those come that are awaited, those that did, and
//! those that were given a copy, hear nothing and would take their master for lost. So the others are not awaited any more when one that is
//! here has heard nothing for half of `repl-timeout`; and, as it may know a shorter one, go and come again, when the times in which one was
//! here and heard nothing are as long as `repl-timeout` together. A time in which none is here counts for nothing: nobody suffers from it.

use crate::call::Turn;
use crate::durability::Silence;
use crate::engine::Engine;
use crate::gate::LOADING;
use crate::outside::{Job, Outside};
use crate::session::SessionId;
use commands::Error;
use replication::master::{Announced, Asked, Behind};
use replication::replica::{Link, Point};

/// For how long those are refused as well who do not wait for replicas, microseconds.
const OTHERS_WAIT_US: u64 = 5_000_000;

/// What changes no data is looked for among so many bytes.
const ASIDES_BYTES_MAX: usize = 1 << 20;

/// The refusal of what cannot be executed in front of what was.
const TOO_LATE: Error = Error::new("ERR this history goes on without what is offered");
/// The refusal while the server is about to stop; what begins with this word is offered again.
const STOPPING: Error = Error::new("BUSY this server is about to stop");
/// The refusal of those who do not wait for replicas, and may go before what these bring.
const AWAITED: Error = Error::new(
    "NOREPLICAS This was not done: this server is a master since a moment ago, and replicas may come with what the former one has acknowledged.",
);

impl Engine {
    /// This server, which was led by a master since it was started, or was not, is a master from now on.
    pub(crate) fn await_tail(&mut self, was_led: bool) {
        let until_us = self.keyspace.now.mono_us + OTHERS_WAIT_US;
        let awaits = was_led && self.has_rule_of_replicas();
        self.acks.tail_awaited_until_us = awaits.then_some(until_us);
        self.acks.silence = Silence { looked_us: self.keyspace.now.mono_us, total_us: 0 };
        self.master.be_silent(self.awaits_tail());
    }

    /// Whether replicas may come with what goes before all that is written here.
    #[inline]
    pub(crate) fn awaits_tail(&self) -> bool {
        self.acks.tail_awaited_until_us.is_some()
    }

    /// Whether what a replica brings is taken. The tick that ends the waiting may be still to come.
    fn takes_tail(&self) -> bool {
        self.awaits_tail() && self.has_rule_of_replicas() && self.log.stream().is_empty()
    }

    /// Whether too few of the replicas that are here have the memory of what they have acknowledged to the former master.
    pub(crate) fn lacks_witnesses(&self) -> bool {
        let witnesses = || self.master.good_that_have_gone_on(self.keyspace.now.mono_us, self.lag_us_max());
        self.awaits_tail() && witnesses() < self.replicas_awaited()
    }

    /// Something is written, or replicas are there to acknowledge it.
    pub(crate) fn await_no_tail(&mut self) {
        if self.acks.tail_awaited_until_us.take().is_some() {
            self.master.be_silent(false);
            self.hold_expired();
        }
    }

    /// Whether nobody may write because of what replicas may bring.
    pub(crate) fn holds_all_for_tail(&self) -> bool {
        let until_us = self.acks.tail_awaited_until_us.filter(|_| self.has_rule_of_replicas());
        until_us.is_some_and(|until_us| self.keyspace.now.mono_us < until_us) && !self.is_acknowledged_here()
    }

    /// A write that nothing else stands against is refused if replicas may bring what goes before it, and ends the waiting for that if not.
    pub(crate) fn check_tail(&mut self) -> Result<(), Error> {
        if self.holds_all_for_tail() {
            self.counters.unreplicated_refusals += 1;
            return Err(AWAITED);
        }
        self.await_no_tail();
        Ok(())
    }

    /// Ends the waiting where nothing is waited for any more.
    pub(super) fn look_for_tail(&mut self) {
        if !self.awaits_tail() {
            return;
        }
        let is_over = self.link.is_some() || !self.has_rule_of_replicas() || self.is_acknowledged_here();
        if is_over || self.ends_silence() {
            self.await_no_tail();
        }
    }

    /// Whether replicas that are here have heard nothing for so long that they are told something, whatever others may bring.
    fn ends_silence(&mut self) -> bool {
        let now_us = self.keyspace.now.mono_us;
        let looked_us = core::mem::replace(&mut self.acks.silence.looked_us, now_us);
        let Some(longest_us) = self.master.longest_online_us(now_us) else { return false };
        let total_us = &mut self.acks.silence.total_us;
        *total_us += longest_us.min(now_us.saturating_sub(looked_us));
        let timeout_us = self.config.repl_timeout_seconds.saturating_mul(1_000_000);
        if longest_us < timeout_us / 2 && *total_us < timeout_us {
            return false;
        }
        let text = "Fewer replicas have come and gone on with what they had than min-replicas-acked says: what others may have of the stream of \
                    the former master, and is not here, is not awaited any more";
        self.jobs.push(Job::Log { level: 3, text: text.to_owned() });
        true
    }

    /// What a replica is told that has more of the former history than this server: to give it, or to look whether it does without, from
    /// where on. What others have is told to the log.
    pub(super) fn asks_for_tail(
        &mut self,
        who: &Announced,
        id: SessionId,
        asked: Asked<'_>,
    ) -> Option<String> {
        let behind = self.master.behind(asked, who.former).filter(|_| self.link.is_none())?;
        let offset = behind.former.offset;
        if who.gives_tail && behind.can_catch_up && self.takes_tail() && self.may_give(id) {
            return Some(format!("TAIL {offset}"));
        }
        self.tell_given_up(who, id, &behind);
        who.gives_tail.then(|| format!("REWIND {offset}"))
    }

    /// What a replica has of the former history is not taken over. Whether it changes data, only the replica knows.
    fn tell_given_up(&mut self, who: &Announced, id: SessionId, behind: &Behind) {
        let why = match () {
            () if !who.gives_tail => "it cannot give them",
            () if !self.has_rule_of_replicas() => "no replicas are waited for here",
            () if !self.takes_tail() => "this server does not await them",
            () if !behind.can_catch_up => "others were taken over before, or they are of an earlier history",
            () => "its user may not do everything here",
        };
        let from = &self.sessions.at(id).info.address;
        let text = format!(
            "Replica {from} has {} bytes of the stream of the former master that are not here and are not taken over, because {why}: what they \
             change, if anything, is given up",
            behind.lacked
        );
        // Where no replicas are waited for, nothing of it was safe, and most often it is a ping.
        let level = if self.has_rule_of_replicas() { 3 } else { 2 };
        self.jobs.push(Job::Log { level, text });
    }

    /// What a replica gives is executed whatever it is, so only who may do everything may give it.
    fn may_give(&self, id: SessionId) -> bool {
        self.acl.is_unlimited(self.sessions.at(id).user)
    }

    /// `REPLCONF tail history position piece …` in the arguments from `i` on.
    pub(super) fn hear_tail(&mut self, turn: &mut Turn<'_>, i: usize) -> Result<(), Error> {
        let (args, position) = (turn.args, turn.args.int(i + 1)?);
        let first = position.checked_add(2).ok_or(TOO_LATE)?;
        let renamed = self.sessions.at(turn.session).announced.as_deref().and_then(|replica| replica.former);
        let behind = self.master.behind(Asked::From(args.at(i), first), renamed);
        let behind = behind.filter(|behind| behind.can_catch_up).ok_or(TOO_LATE)?;
        let is_in_order = u64::try_from(position) == Ok(behind.former.offset) && self.takes_tail();
        if self.link.is_some() || !is_in_order || !self.may_give(turn.session) {
            return Err(TOO_LATE);
        }
        self.check_interruption(turn.outside)?;
        let bytes = args.all()[i + 2..].concat();
        if let Some(why) = turn.outside.write_refusal(true, &|| bytes.len()) {
            return Err(Error::text(why));
        }
        self.run_tail(behind, &bytes, turn.outside)
    }

    /// What is given may come in the middle of a script, in a transaction, or while data is read.
    fn check_interruption(&self, outside: &dyn Outside) -> Result<(), Error> {
        match &self.busy {
            Some(script) => Err(script.refusal()),
            None if outside.is_loading() => Err(LOADING),
            None if self.holds_writes() => Err(STOPPING),
            None if self.depth > 0 => Err(TOO_LATE),
            None => Ok(()),
        }
    }

    /// Executes it as a master's stream, up to the end of its last whole request.
    fn run_tail(&mut self, behind: Behind, bytes: &[u8], outside: &mut dyn Outside) -> Result<(), Error> {
        let mut link = Link::of_tail(behind.former, bytes);
        self.begin_to_be_led();
        // Who waits for what it brings is served behind it.
        self.depth += 1;
        let result = self.run_requests(&mut link, outside);
        self.depth -= 1;
        self.end_to_be_led();
        let passed = link.take_passed();
        self.master.catch_up(behind, &passed);
        self.carry_out();
        if passed.is_empty() {
            return result;
        }
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

    /// Whether the data here was at this place of its history what it is now: what has come since, and is at hand, changes none.
    pub fn was_the_same_at(&self, order: u64, point: Point) -> bool {
        let Some(place) = self.history().filter(|place| self.is_followed(order) && place.id == point.id)
        else {
            return false;
        };
        let wanted = place.offset.checked_sub(point.offset).and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = wanted.filter(|bytes| *bytes <= ASIDES_BYTES_MAX).and_then(|bytes| {
            self.master.backlog()?.part(point.offset, bytes).filter(|part| part.len() == bytes)
        });
        bytes.is_some_and(|bytes| Link::changes_nothing(&bytes))
    }

    /// What this server has of its history behind a place, no more than so many bytes; none where it is not at hand, or this order does not
    /// hold any more.
    pub fn tail(&self, order: u64, point: Point, bytes_max: usize) -> Option<Vec<u8>> {
        let place = self.history().filter(|_| self.is_followed(order))?;
        let part = self.master.backlog()?.part(point.offset, bytes_max)?;
        (place.id == point.id && !part.is_empty()).then_some(part)
    }
}
