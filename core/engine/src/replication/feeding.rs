//! Replicas as clients: how they come, what they are fed, and who is closed.
//!
//! What the state machine of a master wants is carried out here: bytes become deliveries, so they leave when the log has what they tell,
//! and a snapshot becomes a job.

use crate::call::{Step, Turn};
use crate::copy::copy;
use crate::engine::Engine;
use crate::outside::{Job, Outside};
use crate::session::{Session, SessionId};
use commands::Error;
use config::Config;
use replication::master::{Asked, Closed, Replica, Settings, Wish};
use replication::{EACH_OTHER, ReplicationId};

/// What the configuration says of replicas.
pub(crate) fn settings(config: &Config) -> Settings {
    let limit = config.output_limits[1];
    let us = |seconds: u64| seconds.saturating_mul(1_000_000);
    Settings {
        backlog_bytes: config.repl_backlog_size,
        backlog_ttl_us: (config.repl_backlog_ttl_seconds > 0).then(|| us(config.repl_backlog_ttl_seconds)),
        ping_period_us: us(config.repl_ping_replica_period_seconds),
        timeout_us: us(config.repl_timeout_seconds),
        held_bytes_max: limit.hard_bytes,
        held_bytes_soft: limit.soft_bytes,
        soft_us: us(limit.soft_seconds),
    }
}

/// The replicas that get a snapshot.
#[derive(Debug, Default)]
pub struct SnapshotTakers {
    /// Those who get it as it is made, with the mark behind it.
    pub live: Vec<SessionId>,
    /// Those who are told its length first.
    pub spooled: Vec<SessionId>,
    /// What ends it.
    pub mark: Vec<u8>,
}

/// That nobody is served while the master is away; and that this is for ever if it is the master who asks. One that is known by a
/// name is not recognised by its address.
fn no_master_link(session: &Session, (host, port): (&str, u16)) -> Error {
    const AWAY: &str = "NOMASTERLINK Can't SYNC while not connected with my master";
    let announced = session.announced.as_deref().cloned().unwrap_or_default();
    let is_there = host == session.host() || host == announced.address;
    match is_there && port == announced.port {
        true => Error::text(format!("{AWAY}, who asks for it: {EACH_OTHER}")),
        false => Error::new(AWAY),
    }
}

/// SYNC, and PSYNC of a history from a byte on: the client becomes a replica, unless it wants a copy and nothing behind it.
pub(super) fn psync(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let session = engine.sessions.at(turn.session);
    if session.copy.rdb_only {
        return copy(engine, turn);
    }
    if turn.args.len() > 3 && turn.args.is(3, "failover") {
        super::failover::take_over(engine, turn, turn.args.at(1))?;
    }
    if let Some(master) = engine.link.as_ref().filter(|master| !master.is_connected()) {
        return Err(no_master_link(engine.sessions.at(turn.session), master.place()));
    }
    let session = engine.sessions.at(turn.session);
    if !session.copy.takes_mark && turn.outside.save_refusal().is_some() {
        return Err(Error::new(
            "ERR nothing is written to a disk here, so a snapshot is sent with a mark at its end: say REPLCONF capa eof first",
        ));
    }
    let asked = match turn.args.len() {
        1 => Asked::Snapshot,
        _ => Asked::From(turn.args.at(1), turn.args.int(2)?),
    };
    let announced = session.announced.as_deref().cloned().unwrap_or_default();
    if let Some(wanted) = engine.asks_for_tail(&announced, turn.session, asked) {
        turn.reply.status(&wanted);
        return Ok(Step::Done(None));
    }
    let (fresh, now_us) = (engine.draw_history(), engine.keyspace.now.mono_us);
    engine.sessions.at_mut(turn.session).is_replica = true;
    engine.master.set_has_log(engine.log.has_file);
    engine.master.resync(turn.session, announced, asked, fresh, now_us);
    engine.record();
    engine.carry_out();
    Ok(Step::Done(None))
}

impl Engine {
    /// A name for a history, by chance.
    pub(crate) fn draw_history(&mut self) -> ReplicationId {
        let random = &mut self.keyspace.random;
        ReplicationId::drawn([random.next_u64(), random.next_u64(), random.next_u64()])
    }

    /// Carries out what the replicas are to get.
    pub(crate) fn carry_out(&mut self) {
        for wish in self.master.take_wishes() {
            match wish {
                Wish::Send(id, bytes) => self.feed_copy(id, bytes),
                Wish::Close(id, why) => self.close_replica(id, why),
                Wish::Snapshot => self.jobs.push(Job::FeedReplicas),
                Wish::Older(session, from, to) => {
                    // Whoever reads the log finds in it that it has come so far.
                    self.noted_place.is_due = self.log.has_file;
                    self.jobs.push(Job::FeedFromLog { session, from, to });
                }
            }
        }
    }

    /// Sends replicas that are online the next of what was held for them, as far as they have taken what they were sent before.
    pub fn send_held(&mut self) {
        let sessions = &self.sessions;
        let pending = |id| sessions.find(id).map_or(usize::MAX, |session| session.buffers.unread());
        self.master.send_held(pending);
        self.carry_out();
    }

    /// Whether there is something to be delivered that was held for a replica: it waits for what earlier batches have logged.
    #[inline]
    pub fn sends_held(&self) -> bool {
        self.master.sends_held()
    }

    /// The same, of what is delivered now.
    #[inline]
    pub fn take_sends_held(&mut self) -> bool {
        self.master.take_sends_held()
    }

    fn close_replica(&mut self, id: SessionId, why: Closed) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let text = format!("Replica {} is closed: {why}", session.info.address);
        self.jobs.push(Job::Log { level: 3, text });
        match why {
            // It is told why.
            Closed::Version(_) => {
                session.kill = true;
                self.deliver(id, Vec::new(), false, true);
            }
            Closed::Silent | Closed::Overrun => self.close_client(id),
        }
    }

    /// `REPLCONF ACK offset [FACK offset]` in the arguments from `i` on.
    pub(super) fn hear_ack(&mut self, turn: &mut Turn<'_>, i: usize) -> Result<(), Error> {
        if !self.sessions.at(turn.session).is_replica {
            return Ok(());
        }
        let args = turn.args;
        let number = |i: usize| args.int(i).map(|offset| u64::try_from(offset).unwrap_or(0));
        let applied = number(i + 1)?;
        let logged = if args.len() > i + 3 && args.is(i + 2, "fack") { Some(number(i + 3)?) } else { None };
        self.master.ack(turn.session, applied, logged, self.keyspace.now.mono_us);
        self.note_acknowledged();
        self.carry_out();
        self.serve_acked(turn.outside);
        self.look_at_failover();
        Ok(())
    }

    /// Has replicas do this command, which changes no data and is not logged, among what is executed.
    pub(crate) fn tell_replicas(&mut self, argv: &[&[u8]]) {
        if self.log.enabled && self.master.is_fed() && self.link.is_none() && !self.awaits_tail() {
            self.log.add_aside(argv);
        }
    }

    /// A client has sent an empty line: a replica that loads shows by it that it is alive.
    pub fn hear_sign(&mut self, id: SessionId) {
        self.master.heard(id, self.keyspace.now.mono_us);
    }

    /// Replicas that keep up, by `min-replicas-max-lag`; all that are online where that is 0.
    pub(crate) fn good_replicas(&self) -> usize {
        self.master.good(self.keyspace.now.mono_us, self.lag_us_max())
    }

    /// How long a replica that keeps up may have been silent, microseconds.
    pub(super) fn lag_us_max(&self) -> u64 {
        match self.config.min_replicas_max_lag_seconds {
            0 => u64::MAX,
            seconds => seconds.saturating_mul(1_000_000),
        }
    }

    /// Bytes that wait for replicas, here and in their outputs.
    #[cold]
    pub(crate) fn replicas_bytes(&self) -> usize {
        let sessions = self.master.replicas().iter().filter_map(|replica| self.sessions.find(replica.who()));
        self.master.held_bytes() + sessions.map(|session| session.buffers.output).sum::<usize>()
    }

    /// Where a replica says that it is to be found, or comes from, and the port that it listens on.
    pub(crate) fn replica_place(&self, replica: &Replica<SessionId>) -> (String, u16) {
        let announced = replica.announced();
        let from = self.sessions.find(replica.who()).map_or("", Session::host);
        let address = if announced.address.is_empty() { from } else { &announced.address };
        (address.to_owned(), announced.port)
    }

    /// The regular work: pings, time limits, and the end of a backlog that nobody needs.
    pub(crate) fn tick_replicas(&mut self, outside: &dyn Outside) {
        if !self.master.is_fed() {
            return;
        }
        // While the log takes nothing, pings go without it: a replica that hears none takes its master for lost.
        let log_takes = self.log.has_file && outside.write_refusal(false, &|| 0).is_none();
        if log_takes {
            self.tick_place();
        }
        self.look_at_failover();
        self.look_for_tail();
        let fresh = self.draw_history();
        self.master.tick(self.keyspace.now.mono_us, || fresh);
        self.send_held();
        // A ping, which a replica must not have when the log knows nothing of it after a crash.
        self.noted_place.is_due |= log_takes && self.master.has_due();
        self.record();
        self.carry_out();
    }

    // The snapshot, for whoever makes it.

    /// A snapshot of this very moment begins: the replicas that get it. What was executed was taken before.
    pub fn begin_replica_snapshot(&mut self) -> SnapshotTakers {
        debug_assert!(self.log.is_empty(), "what was executed is behind the snapshot");
        let mark = self.draw_history().as_bytes().to_vec();
        let (live, spooled) = self.master.begin_snapshot(self.keyspace.snapshot_version(), &mark);
        self.log.forget_database();
        self.carry_out();
        SnapshotTakers { live, spooled, mark }
    }

    /// The snapshot of a replica is spooled: it is told how many bytes follow.
    pub fn replica_snapshot_spooled(&mut self, id: SessionId, bytes: u64) {
        self.master.snapshot_spooled(id, bytes);
        self.carry_out();
    }

    /// A replica was sent all of its snapshot.
    pub fn replica_snapshot_sent(&mut self, id: SessionId) {
        self.master.snapshot_sent(id, self.keyspace.now.mono_us);
        self.carry_out();
    }

    /// The log was looked at for what a replica lacks: it has it, and what it has follows, or it has not.
    pub fn replica_searched(&mut self, id: SessionId, is_there: bool) {
        self.master.searched(id, is_there, self.keyspace.now.mono_us);
        self.carry_out();
    }

    /// A replica was sent all that the log has for it.
    pub fn replica_fetched(&mut self, id: SessionId) {
        self.master.fetched(id, self.keyspace.now.mono_us);
        self.carry_out();
    }

    /// The snapshot of a replica could not be sent whole: it is closed, and comes again.
    pub fn give_up_replica(&mut self, id: SessionId) {
        self.master.remove(id, self.keyspace.now.mono_us);
        self.close_client(id);
    }

    /// Closes all replicas. They come again, and go on where they were if they can.
    pub(crate) fn disconnect_replicas(&mut self) {
        let all: Vec<SessionId> = self.master.replicas().iter().map(Replica::who).collect();
        all.into_iter().for_each(|id| self.give_up_replica(id));
    }

    /// The data set is another one: replicas are closed, and can only begin anew.
    pub fn forget_replicas(&mut self) {
        self.disconnect_replicas();
        let fresh = self.draw_history();
        self.master.forget(fresh);
        self.record();
    }
}
