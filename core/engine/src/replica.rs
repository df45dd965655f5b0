//! The server as a replica: whom it follows, what that means for clients, and the way in for what the master sends.
//!
//! The connection is the server's. Each REPLICAOF makes an *order* with a number of its own; whatever a connection wants here names the
//! order that it was made by, and nothing of it is done once there is a newer one. What the master sends is run by one session with every
//! right, under no limit, through the one gate as [`Caller::Master`]; nobody is answered. Keys do not expire by themselves: to clients
//! those whose time is over are gone, for the master's commands they are there until it says otherwise; but for what clients write here
//! themselves (`own.rs`).

pub(crate) mod incoming;
mod own;

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::gate::Caller;
use crate::outside::{Job, Outside};
use crate::replay::{Record, ReplayError};
use crate::session::{ClientInfo, SessionId};
use commands::{Error, Flags, Group, Row};
use config::Origin;
use replication::replica::Point;
use telemetry::Report;

const CHANGE: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] =
    &[row("replicaof", 3, replicaof).flags(CHANGE), row("slaveof", 3, replicaof).flags(CHANGE)];

/// What a client gets that waits while its server becomes a replica.
const UNBLOCKED: &[u8] =
    b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// The refusal of a write on a replica.
const READ_ONLY: Error = Error::new("READONLY You can't write against a read only replica.");
/// The refusal of everything that needs data, while the link is down and old data is not to be served.
const MASTER_DOWN: Error =
    Error::new("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");

/// The same for a script's call.
pub(crate) const STALE_CALL: Error = Error::new("ERR Can not execute the command on a stale replica");

/// Where the link to the master is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It is to be made.
    #[default]
    Connect,
    /// The connection is being made.
    Connecting,
    /// The two agree on how to go on.
    Handshake,
    /// A copy of the whole data set comes.
    Sync,
    /// The stream of commands comes.
    Connected,
}

impl LinkState {
    /// As ROLE names it.
    const fn name(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// What only the link knows, for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFigures {
    /// Seconds since the master was heard; none while there is no connection.
    pub silent_s: Option<u64>,
    /// Bytes of the history that have come.
    pub read_offset: Option<u64>,
    /// Bytes of the copy that have come, and that there are if that is known, while one comes.
    pub copy: Option<(u64, Option<u64>)>,
}

/// Whom to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterOrder {
    /// Which order it is; a later one has a higher number.
    pub number: u64,
    /// Name or address of the master.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The master, as far as the engine knows it.
#[derive(Debug)]
pub(crate) struct MasterLink {
    order: MasterOrder,
    state: LinkState,
    /// The data set is at the place of a master's history that [`replication::Master::place`] tells, which is to be gone on from.
    is_in_step: bool,
    /// A master has led it since this server was started: the place is not only what a disk has told.
    was_led: bool,
    /// Since when there is no link, monotonic microseconds; none where there never was one.
    down_since_us: Option<u64>,
    /// Runs what it sends.
    session: Option<SessionId>,
    /// What clients have written here that is to go by itself.
    own: own::OwnExpiries,
}

impl MasterLink {
    pub(crate) fn new(order: MasterOrder) -> MasterLink {
        let (state, own) = (LinkState::Connect, own::OwnExpiries::default());
        MasterLink {
            order,
            state,
            is_in_step: false,
            was_led: false,
            down_since_us: None,
            session: None,
            own,
        }
    }

    pub(crate) fn is_in_step(&self) -> bool {
        self.is_in_step
    }

    /// Where the master is: host and port, as they were said.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.order.host, self.order.port)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == LinkState::Connected
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }
}

fn replicaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    if !engine.failover.is_none() {
        return Err(Error::new("ERR REPLICAOF not allowed while failing over."));
    }
    if args.is(1, "no") && args.is(2, "one") {
        engine.unfollow();
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    let port = base::number::parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Error::new("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    if let Some(master) = &engine.link
        && master.order.host.eq_ignore_ascii_case(&host)
        && master.order.port == port
    {
        turn.reply.status("OK Already connected to specified master");
        return Ok(Step::Done(None));
    }
    let own = turn.session;
    engine.warn_of_ring(&host, port);
    engine.follow(host, port);
    engine.unblock_all(Some(own));
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    /// Redis lets a server follow its own replica, too: it may be about to be promoted. If it is not, nobody takes writes any more.
    fn warn_of_ring(&mut self, host: &str, port: u16) {
        let is_own = |place: (String, u16)| place.0.eq_ignore_ascii_case(host) && place.1 == port;
        if self.master.replicas().iter().any(|replica| is_own(self.replica_place(replica))) {
            let text = format!(
                "{host}:{port} is a replica of this server: the two follow each other, and neither takes writes, until one of them is told \
                 REPLICAOF NO ONE."
            );
            self.jobs.push(Job::Log { level: 3, text });
        }
    }

    /// Whom to follow, if anybody, and the number of that order or of the one to follow nobody.
    pub fn master_order(&self) -> (u64, Option<MasterOrder>) {
        (self.orders, self.link.as_ref().map(|master| master.order.clone()))
    }

    /// The history of the data set and the place in it from which the link may go on, if there is one.
    pub fn history(&self) -> Option<Point> {
        self.link.as_ref().filter(|master| master.is_in_step)?;
        // Whoever takes over must have all there is.
        match self.hands_over() {
            true => self.master.place(),
            false => self.master.settled(),
        }
    }

    /// What the history of [`Engine::history`] was called before, and up to where, if that is known.
    pub fn former_history(&self) -> Option<Point> {
        let place = self.history()?;
        self.master.former().filter(|former| place.id == self.master.id() && former.id != place.id)
    }

    /// The data set is not that of the master any more: the next link asks for a whole copy.
    pub fn forget_history(&mut self, order: u64) {
        if let Some(master) = self.link.as_mut().filter(|master| master.order.number == order) {
            master.is_in_step = false;
        }
    }

    /// Whether this is a replica.
    pub fn is_replica(&self) -> bool {
        self.link.is_some()
    }

    /// Whether an order holds still.
    pub fn is_followed(&self, order: u64) -> bool {
        self.link.as_ref().is_some_and(|master| master.order.number == order)
    }

    /// Follows the master that a configuration names.
    pub(crate) fn follow_configured(&mut self) {
        if let Some((host, port)) = self.config.replicaof.clone() {
            self.orders += 1;
            let order = MasterOrder { number: self.orders, host, port };
            self.link = Some(Box::new(MasterLink::new(order)));
            self.master.stop_leading();
            self.hold_expired();
        }
    }

    pub(crate) fn follow(&mut self, host: String, port: u16) {
        let text = format!("{host} {port}");
        // A name with a blank in it can be given by a command and not be written in a file.
        let named = self.config.assign("replicaof", text.as_bytes(), Origin::Set);
        debug_assert!(named.is_ok() || host.contains([' ', '"', '\\']), "{named:?}");
        self.orders += 1;
        let mut master = Box::new(MasterLink::new(MasterOrder { number: self.orders, host, port }));
        // The new master may have the same history: it is asked to go on where the old one ended, or where this one is that was a master.
        match self.link.take() {
            Some(old) => {
                self.drop_transaction(old.session);
                (master.is_in_step, master.was_led) = (old.is_in_step, old.was_led);
                (master.session, master.own) = (old.session, old.own);
            }
            None => {
                self.feed_replicas();
                // What a transaction has written in front of this belongs to no history.
                master.is_in_step = self.master.is_fed() && !self.log.has_open_records();
                self.master.stop_leading();
            }
        }
        let (host, port) = (&master.order.host, master.order.port);
        let text = format!("REPLICAOF {host}:{port} enabled");
        self.link = Some(master);
        if self.link.as_ref().is_some_and(|master| master.is_in_step && master.session.is_none()) {
            self.begin_in_step(self.log.stream_database());
        }
        self.jobs.push(Job::Log { level: 2, text });
        self.jobs.push(Job::Follow);
        self.hold_expired();
        self.record();
    }

    /// The link, if there is one, goes on from a place that is known, with the stream in this database.
    pub(crate) fn begin_in_step(&mut self, db: usize) {
        let Some(master) = &mut self.link else { return };
        master.is_in_step = true;
        let id = self.master_session();
        self.sessions.at_mut(id).db = db;
    }

    pub(crate) fn unfollow(&mut self) {
        if self.link.is_none() {
            return;
        }
        // What was executed for the log alone is in no stream.
        self.feed_replicas();
        let Some(old) = self.link.take() else { return };
        self.begin_to_lead(&old);
        // The empty value is one that every version takes.
        let unnamed = self.config.assign("replicaof", b"", Origin::Set);
        debug_assert!(unnamed.is_ok(), "{unnamed:?}");
        self.orders += 1;
        old.session.into_iter().for_each(|id| self.disconnect(id));
        self.jobs.push(Job::Log { level: 2, text: "MASTER MODE enabled".to_owned() });
        self.jobs.push(Job::Follow);
        self.hold_expired();
        self.record();
    }

    /// Goes on in the history of the master that was followed, under a name of its own. Replicas come again to hear it.
    fn begin_to_lead(&mut self, old: &MasterLink) {
        let fresh = self.draw_history();
        if !old.is_in_step {
            self.master.go_on_leading();
            return self.forget_replicas();
        }
        let db = old.session.and_then(|id| self.sessions.find(id)).map_or(0, |session| session.db);
        self.log.go_on_in(db);
        self.disconnect_replicas();
        self.master.lead(fresh, self.keyspace.now.mono_us);
        self.await_tail(old.was_led);
    }

    /// Ends the waiting of all clients but `own`, and their connections: what they wait for is now written elsewhere.
    pub(crate) fn unblock_all(&mut self, own: Option<SessionId>) {
        let waiting = self.sessions.iter().filter(|(id, s)| s.waiting.is_some() && Some(*id) != own);
        let waiting: Vec<SessionId> = waiting.map(|(id, _)| id).collect();
        for id in waiting {
            if let Some(waiting) = self.unblock(id) {
                if let Some(session) = self.sessions.find_mut(id) {
                    session.kill = true;
                }
                self.end_waiting_with(id, &waiting, UNBLOCKED);
            }
        }
    }

    /// Whether keys whose time is over stay where they are, as nobody but the master, or the end of a pause, lets them go.
    pub(crate) fn hold_expired(&mut self) {
        self.keyspace.hold_expired = self.is_replica() || self.awaits_tail() || self.pause.stands_still();
        self.observe();
    }

    // The gate.

    /// What stands against a client's write on a replica.
    pub(crate) fn check_read_only(&self, needs: Flags) -> Result<(), Error> {
        let is_refused = self.is_replica() && self.config.replica_read_only && needs.has(Flags::WRITE);
        if is_refused { Err(READ_ONLY) } else { Ok(()) }
    }

    /// Whether data may be stale that must not be.
    pub(crate) fn check_link(&self) -> Result<(), Error> {
        match &self.link {
            Some(master) if master.state != LinkState::Connected && !self.config.replica_serve_stale_data => {
                Err(MASTER_DOWN)
            }
            _ => Ok(()),
        }
    }

    /// Whether this session runs what the master sends.
    pub(crate) fn is_master(&self, id: SessionId) -> bool {
        self.link.as_ref().is_some_and(|master| master.session == Some(id))
    }

    // The link.

    /// The link made by this order is in this state now.
    pub fn link_is(&mut self, order: u64, state: LinkState) {
        let now_us = self.keyspace.now.mono_us;
        let Some(master) = self.link.as_mut().filter(|master| master.order.number == order) else { return };
        if master.state == LinkState::Connected && state != LinkState::Connected {
            master.down_since_us = Some(now_us);
        }
        master.state = state;
        let session = master.session;
        if state != LinkState::Connected {
            self.drop_transaction(session);
            if let Some(session) = session.and_then(|id| self.sessions.find_mut(id)) {
                session.id = 0;
            }
        }
    }

    /// The stream comes over the link that was made by this order, which is a client like others from now on.
    pub fn link_is_up(&mut self, order: u64, client: ClientInfo) {
        self.link_is(order, LinkState::Connected);
        if !self.is_followed(order) {
            return;
        }
        let (id, now_us) = (self.master_session(), self.keyspace.now.mono_us);
        let session = self.sessions.at_mut(id);
        (session.id, session.created_us, session.last_us) = (client.id, now_us, now_us);
        session.info = client;
    }

    /// Ends the link, which is made again and goes on where it was: by an order of its own.
    pub(crate) fn cut_link(&mut self) {
        self.orders += 1;
        let Some(master) = &mut self.link else { return };
        master.order.number = self.orders;
        let number = self.orders;
        self.link_is(number, LinkState::Connect);
        self.jobs.push(Job::Log { level: 2, text: "The link to the MASTER is cut by a client".to_owned() });
        self.jobs.push(Job::Follow);
    }

    /// Of a transaction that was cut off nothing may be left: it comes again.
    fn drop_transaction(&mut self, session: Option<SessionId>) {
        if let Some(session) = session.and_then(|id| self.sessions.find_mut(id)) {
            session.multi = None;
        }
    }

    /// The master's history goes on at this place, at which the data set is. It had the name by which it was asked for up to `renamed_at`, if
    /// that is known.
    pub fn goes_on_at(&mut self, order: u64, point: Point, renamed_at: Option<u64>) {
        if self.is_followed(order) {
            self.carry_acknowledged(point.offset);
        }
        self.replica_is_at(order, point, &[]);
        if let Some(offset) = renamed_at.filter(|_| self.is_followed(order)) {
            self.master.renamed_at(offset);
        }
    }

    /// The data set is at this place of the master's history, and these bytes of the stream lead there from the place that was told last.
    pub fn replica_is_at(&mut self, order: u64, point: Point, passed: &[u8]) {
        let Some(master) = self.link.as_mut().filter(|master| master.order.number == order) else { return };
        let goes_on = core::mem::replace(&mut master.is_in_step, true);
        master.was_led = true;
        if goes_on && self.master.offset() + passed.len() as u64 == point.offset && self.master.is_fed() {
            self.master.relay(passed);
        } else {
            self.forget_replicas();
        }
        if self.master.is_fed() && self.master.id() != point.id {
            // They have to hear the new name.
            self.disconnect_replicas();
        }
        self.master.follow(point);
        self.carry_out();
    }

    /// Runs a command of the master's stream.
    ///
    /// # Errors
    /// It does not fit this server or its data.
    pub fn run_masters(
        &mut self,
        argv: &[&[u8]],
        raw: &[u8],
        outside: &mut dyn Outside,
    ) -> Result<(), ReplayError> {
        let id = self.master_session();
        self.sessions.at_mut(id).last_us = self.keyspace.now.mono_us;
        let kept = core::mem::replace(&mut self.keyspace.keep_expired, true);
        let done = self.run_trusted(Record { id, argv, raw: Some(raw), caller: Caller::Master }, outside);
        self.keyspace.keep_expired = kept;
        if core::mem::take(&mut self.keyspace.flushed_all) {
            let save = !self.config.save.is_empty();
            self.jobs.push(Job::Flushed { save, session: None });
        }
        self.serve_ready(outside);
        done
    }

    /// Has what follows run as a master's stream, on from the database that the own stream is in.
    pub(crate) fn begin_to_be_led(&mut self) {
        let order = MasterOrder { number: self.orders, host: String::new(), port: 0 };
        self.link = Some(Box::new(MasterLink::new(order)));
        self.begin_in_step(self.log.stream_database());
        self.record();
    }

    /// That is over; the own stream goes on in the database that the other one was left in.
    pub(crate) fn end_to_be_led(&mut self) {
        // What was executed for the log alone is in no stream.
        self.feed_replicas();
        let Some(old) = self.link.take() else { return };
        let db = old.session.and_then(|id| self.sessions.find(id)).map_or(0, |session| session.db);
        self.log.go_on_in(db);
        old.session.into_iter().for_each(|id| self.disconnect(id));
        self.record();
    }

    fn master_session(&mut self) -> SessionId {
        if let Some(id) = self.link.as_ref().and_then(|master| master.session) {
            return id;
        }
        let (info, user) = (ClientInfo::default(), crate::acl::SERVER_USER);
        let id = self.sessions.insert(info, user, true, self.keyspace.now);
        self.sessions.at_mut(id).is_master = true;
        if let Some(master) = &mut self.link {
            master.session = Some(id);
        }
        id
    }

    /// The next command of the stream begins in database 0: it comes behind a copy.
    pub(crate) fn restart_masters_session(&mut self) {
        if let Some(id) = self.link.as_mut().and_then(|master| master.session.take()) {
            self.disconnect(id);
        }
    }

    // What is told.

    /// The replica's form of ROLE; false when this is none.
    pub(crate) fn tell_role(&self, turn: &mut Turn<'_>) -> bool {
        let Some(master) = &self.link else { return false };
        let is_told = master.is_in_step && master.state == LinkState::Connected;
        turn.reply.array(5);
        turn.reply.bulk(b"slave");
        turn.reply.bulk(master.order.host.as_bytes());
        turn.reply.integer(i64::from(master.order.port));
        turn.reply.bulk(master.state.name().as_bytes());
        turn.reply.integer(if is_told { self.master.offset() as i64 } else { -1 });
        true
    }

    /// The fields of INFO that only a replica has.
    pub(crate) fn report_master(&self, r: &mut Report, outside: &dyn Outside) {
        let Some(master) = &self.link else { return };
        let (figures, is_up) = (outside.link_figures(), master.state == LinkState::Connected);
        let offset = if master.is_in_step { self.master.offset() } else { 0 };
        r.set("role", "slave");
        r.set("master_host", master.order.host.as_str());
        r.set("master_port", u64::from(master.order.port));
        r.set("master_link_status", if is_up { "up" } else { "down" });
        r.set("master_link_up", u64::from(is_up));
        r.set("master_last_io_seconds_ago", figures.silent_s.filter(|_| is_up).map_or(-1, |s| s as i64));
        r.set("master_sync_in_progress", u64::from(master.state == LinkState::Sync));
        r.set("slave_read_repl_offset", figures.read_offset.unwrap_or(offset).max(offset));
        r.set("slave_repl_offset", offset);
        r.set("slave_priority", self.config.replica_priority);
        r.set("slave_read_only", u64::from(self.config.replica_read_only));
        r.set("replica_announced", u64::from(self.config.replica_announced));
        if master.state == LinkState::Sync {
            report_copy(r, &figures);
        }
        if !is_up {
            let since = master.down_since_us;
            let down_s = since.map(|us| self.keyspace.now.mono_us.saturating_sub(us) / 1_000_000);
            r.set("master_link_down_since_seconds", down_s.map_or(-1, |s| s as i64));
        }
    }
}

/// How far the copy of the whole data set is.
fn report_copy(r: &mut Report, figures: &LinkFigures) {
    let (read, total) = figures.copy.unwrap_or_default();
    let left = total.map_or(-1, |total| total.saturating_sub(read) as i64);
    let percent = total.filter(|total| *total > 0).map_or(0.0, |total| read as f64 / total as f64 * 100.0);
    r.set("async_loading", u64::from(figures.copy.is_some()));
    r.set("master_sync_total_bytes", total.unwrap_or(0));
    r.set("master_sync_read_bytes", read);
    r.set("master_sync_left_bytes", left);
    r.set("master_sync_perc", telemetry::V::F(percent, 2));
    r.set("master_sync_last_io_seconds_ago", figures.silent_s.unwrap_or(0));
}
