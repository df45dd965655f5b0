//! One connection to a master: its socket, its protocol, and what comes of it in the engine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use engine::{ClientInfo, Engine, LinkState, MasterOrder, Outside, ReplayError};
use replication::Place;
use replication::replica::{Backoff, Link, Point, Progress, Settings};

use super::ended::Ended;
use super::logged::Logged;
use super::socket::{Socket, tls};
use super::{Figures, LOOK_PERIOD, adoption, copy};
use crate::shared::Shared;

/// Bytes that are read in one go.
const READ_BYTES: usize = 64 << 10;

/// Longest wait for a connection, however long a link may be silent: there may be other addresses.
const CONNECT_S_MAX: u64 = 5;

/// Longest wait for a master that takes nothing.
const WRITE_WAIT: Duration = Duration::from_secs(5);

/// Bytes that a master is given at a time of what it lacks.
const TAIL_BYTES: usize = 1 << 20;

/// Commands that are run with the engine in hand.
const BATCH_COMMANDS: usize = 512;

/// Bytes of commands after which the engine is given to others.
const BATCH_BYTES: usize = 1 << 20;

/// How long the stream rests while nothing may be run: the log cannot be written, or the data is being loaded or saved for the last time.
const REST: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Wire {
    pub(super) shared: &'static Shared,
    order: MasterOrder,
    socket: Socket,
    pub(super) link: Link,
    buffer: Vec<u8>,
    /// Bytes of the copy that have come, and that there are if that is known.
    pub(super) copied: Option<(u64, Option<u64>)>,
    /// The log cannot take what comes.
    is_held: bool,
    logged: Logged,
    /// Behind which place the master was given what it lacks last, and how many bytes at most.
    tail: Option<(u64, usize)>,
    /// What is here and the master asks for is given up, although somebody may have been told that it is safe.
    gives_up: bool,
}

/// What one hold of the engine has done.
enum Batch {
    /// All that was there.
    Done,
    /// As much as may be done in one go.
    Part,
    /// Nothing, for the moment.
    NotNow,
}

/// Follows the master until the link ends.
pub(super) fn converse(shared: &'static Shared, order: &MasterOrder, backoff: &mut Backoff) -> Ended {
    match Wire::open(shared, order).and_then(|mut wire| wire.talk(backoff)) {
        Err(ended) => ended,
        Ok(never) => match never {},
    }
}

/// There is no such value: a conversation ends by an [`Ended`] only.
enum Never {}

impl Wire {
    fn open(shared: &'static Shared, order: &MasterOrder) -> Result<Wire, Ended> {
        let MasterOrder { host, port, .. } = order;
        let told = shared.with_engine(|engine, _| {
            engine.link_is(order.number, LinkState::Connecting);
            let profile = shared.profile;
            engine.is_followed(order.number).then(|| {
                let source = engine.config.bind_source_addr.clone();
                (settings(engine), tls(profile, &engine.config), source)
            })
        });
        let Some((settings, tls, source)) = told else { return Err(Ended::Changed) };
        let is_new = shared.replica.outage.lock().is_new();
        let tell = |line: &str| {
            if is_new {
                shared.logger.notice(line)
            }
        };
        tell(&format!("Connecting to MASTER {host}:{port}"));
        let wait = Duration::from_micros(settings.timeout_us).min(Duration::from_secs(CONNECT_S_MAX));
        let socket = match net::connect(host, *port, &source, wait) {
            // As Redis does: from elsewhere is better than not at all.
            Err(net::ConnectError::Source(error)) => {
                tell(&format!(
                    "Connecting from any address, for bind-source-addr {source} is not to be had: {error}"
                ));
                net::connect(host, *port, "", wait)
            }
            connected => connected,
        };
        let socket = socket.map_err(|error| Ended::Unreachable(error.into_io()))?;
        socket.set_read_timeout(Some(wait)).map_err(Ended::Unreachable)?;
        socket.set_write_timeout(Some(WRITE_WAIT)).map_err(Ended::Unreachable)?;
        let socket = match tls {
            Some(files) => Socket::encrypted(&files, host, socket).map_err(Ended::NotEncrypted)?,
            None => Socket::Plain(socket),
        };
        socket.tcp().set_read_timeout(Some(LOOK_PERIOD)).map_err(Ended::Unreachable)?;
        tell("MASTER <-> REPLICA sync started");
        let link = Link::new(settings, shared.clock.micros());
        let (order, buffer) = (order.clone(), vec![0; READ_BYTES]);
        let mut wire = Wire {
            shared,
            order,
            socket,
            link,
            buffer,
            copied: None,
            is_held: false,
            logged: Logged::default(),
            tail: None,
            gives_up: false,
        };
        wire.state(LinkState::Handshake);
        wire.flush()?;
        Ok(wire)
    }

    fn talk(&mut self, backoff: &mut Backoff) -> Result<Never, Ended> {
        let logger = &self.shared.logger;
        let mut full = None;
        loop {
            self.pump()?;
            match self.link.advance()? {
                Progress::Waits => {}
                Progress::Full(point) => {
                    logger.notice(&format!("Full resync from master: {}:{}", point.id, point.offset));
                    self.state(LinkState::Sync);
                    self.is_taken();
                    full = Some(point);
                    // The line in front of the snapshot may be there already.
                    if let Progress::Snapshot(bytes) = self.link.advance()? {
                        self.copy(point, bytes)?;
                        break;
                    }
                }
                Progress::Snapshot(bytes) => {
                    let Some(point) = full else { continue };
                    self.copy(point, bytes)?;
                    break;
                }
                Progress::Tail(point) => {
                    self.is_taken();
                    self.give_tail(point);
                }
                Progress::Rewind(point) => self.rewind(point),
                Progress::Stream(point) => {
                    logger.notice("Successful partial resynchronization with master.");
                    self.is_taken();
                    self.place(point);
                    break;
                }
            }
        }
        backoff.succeeded();
        if let Some(line) = self.shared.replica.outage.lock().is_over(self.shared.clock.micros()) {
            logger.notice(&line);
        }
        let (order, client) = (self.order.number, self.client());
        self.shared.with_engine(|engine, _| engine.link_is_up(order, client));
        loop {
            match self.run()? {
                Batch::Done => self.pump()?,
                Batch::Part => self.tend()?,
                Batch::NotNow => {
                    std::thread::sleep(REST);
                    self.tend()?;
                }
            }
        }
    }

    /// The master takes this server as its replica, so a failover to it is over: however the link ends now, nothing is written here again.
    fn is_taken(&self) {
        self.shared.with_engine(|engine, _| engine.handed_over(self.order.number));
    }

    /// Tells the engine where the link is.
    fn state(&self, state: LinkState) {
        self.shared.with_engine(|engine, _| engine.link_is(self.order.number, state));
    }

    /// The link as the client that it is to whoever lists them.
    fn client(&self) -> ClientInfo {
        let place = |address: io::Result<SocketAddr>| address.map(|at| at.to_string()).unwrap_or_default();
        ClientInfo {
            id: self.shared.clients_seen.fetch_add(1, Ordering::Relaxed) + 1,
            address: place(self.socket.tcp().peer_addr()),
            local_address: place(self.socket.tcp().local_addr()),
            fd: self.socket.tcp().as_raw_fd(),
            ..ClientInfo::default()
        }
    }

    /// Tells the engine where its data is.
    fn place(&self, point: Point) {
        let order = self.order.number;
        let renamed_at = self.link.renamed_at();
        self.shared.with_engine(|engine, _| engine.goes_on_at(order, point, renamed_at));
    }

    // Bytes.

    /// Reads what has come, or waits for it a moment.
    pub(super) fn pump(&mut self) -> Result<(), Ended> {
        // A master that has asked how far we are waits for the answer.
        self.flush()?;
        match self.socket.read(&mut self.buffer) {
            Ok(0) => return Err(Ended::Closed),
            Ok(count) => self.link.receive(&self.buffer[..count], self.shared.clock.micros()),
            Err(error) if is_passing(error.kind()) => {}
            Err(error) => return Err(Ended::by(error)),
        }
        self.tend()
    }

    /// What is due with time, and whether to go on at all.
    fn tend(&mut self) -> Result<(), Ended> {
        if self.shared.life.has_ended() || !self.shared.replica.is_wanted(&self.order) {
            return Err(Ended::Changed);
        }
        self.tell_logged();
        self.link.tick(self.shared.clock.micros())?;
        self.flush()?;
        *self.shared.replica.figures.lock() = Figures {
            heard_us: Some(self.link.heard_us()),
            read_offset: self.link.read_offset(),
            copy: self.copied,
        };
        Ok(())
    }

    /// Has the master told how far the log is on the disk.
    fn tell_logged(&mut self) {
        let durable = &self.shared.durable;
        let offset = durable.is_logging().then(|| self.logged.look(durable.tickets())).flatten();
        self.link.is_logged(offset);
    }

    /// All that was applied until now has been handed over to the log.
    fn note_handed_over(&mut self) {
        if let Some(point) = self.link.point() {
            self.logged.handed_over(self.shared.durable.tickets().last, point.offset);
        }
    }

    fn flush(&mut self) -> Result<(), Ended> {
        let output = self.link.take_output();
        if output.is_empty() { Ok(()) } else { self.socket.write_all(&output).map_err(Ended::by) }
    }

    // What the master lacks.

    /// Gives the master a piece of what it lacks behind that place. One that holds no whole request gets it a second time, twice as large.
    fn give_tail(&mut self, point: Point) {
        let bytes_max = match self.tail {
            Some((offset, bytes_max)) if offset == point.offset => bytes_max.saturating_mul(2),
            _ => TAIL_BYTES,
        };
        let before = self.tail.replace((point.offset, bytes_max));
        let order = self.order.number;
        let bytes = self.shared.with_engine(|engine, _| engine.tail(order, point, bytes_max));
        let had_all = before.is_some_and(|(offset, had)| {
            offset == point.offset && bytes.as_ref().is_some_and(|bytes| bytes.len() <= had)
        });
        let given = bytes.as_deref().filter(|_| !had_all);
        let logger = &self.shared.logger;
        match given {
            Some(bytes) => logger.notice(&format!(
                "MASTER lacks what this replica has of its history: it is given {} bytes",
                bytes.len()
            )),
            None => {
                self.gives_up = true;
                logger.warning(
                    "MASTER lacks what this replica has of its history, and that is not in the backlog, or no whole request: it is \
                     given up, and a whole copy asked for",
                );
            }
        }
        self.link.give_tail(point, given);
    }

    /// The master has gone on from there without what this server has behind it.
    fn rewind(&mut self, point: Point) {
        let order = self.order.number;
        let is_same = self.shared.with_engine(|engine, _| engine.was_the_same_at(order, point));
        if !is_same {
            self.shared.logger.warning(
                "MASTER has gone on without what this replica has of its history: that is given up, and a whole copy asked for",
            );
        }
        self.link.rewind(point, is_same);
    }

    // The whole data set.

    /// So many bytes more of the copy have come.
    pub(super) fn count_copied(&mut self, bytes: u64) {
        if let Some((copied, _)) = &mut self.copied {
            *copied += bytes;
        }
    }

    /// Takes the master's data set over.
    fn copy(&mut self, point: Point, bytes: Option<u64>) -> Result<(), Ended> {
        let length = bytes.map_or_else(|| "streamed RDB".to_owned(), |bytes| format!("{bytes} bytes"));
        self.shared.logger.notice(&format!("MASTER <-> REPLICA sync: receiving {length} from master"));
        self.copied = Some((0, bytes));
        let (incoming, db) = copy::read(self, bytes)?;
        let place = Place { point, db };
        let hear = adoption::adopt(self.shared, self.order.number, incoming, place, self.gives_up);
        loop {
            match hear.recv_timeout(LOOK_PERIOD) {
                Ok(Ok(())) => break,
                Ok(Err(why)) => return Err(Ended::Unadopted(why.to_string())),
                Err(RecvTimeoutError::Timeout) => self.tend()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Ended::Changed),
            }
        }
        self.copied = None;
        self.link.loaded(self.shared.clock.micros());
        self.note_handed_over();
        self.shared.logger.notice("MASTER <-> REPLICA sync: Finished with success");
        self.tend()
    }

    // The stream.

    /// Runs what has come of the stream, as much as may be done in one go.
    fn run(&mut self) -> Result<Batch, Ended> {
        let refusal = self.shared.durable.write_refusal(true, &|| 0);
        if refusal.is_some() != self.is_held {
            self.is_held = refusal.is_some();
            let text = refusal.as_ref().map_or("goes on", |why| why.as_str());
            self.shared
                .logger
                .warning(&format!("The stream of the MASTER waits until it can be kept: {text}"));
        }
        if self.is_held || self.shared.is_loading() {
            return Ok(Batch::NotNow);
        }
        let (link, order) = (&mut self.link, self.order.number);
        let batch = self.shared.with_engine(|engine, outside| {
            if !engine.is_followed(order) {
                return Err(Ended::Changed);
            }
            if engine.holds_writes() {
                return Ok(Batch::NotNow);
            }
            let batch = run_some(link, engine, outside);
            // Also behind a failure: what was run must not come again.
            if let Some(point) = link.point() {
                engine.replica_is_at(order, point, &link.take_passed());
            }
            batch
        });
        self.note_handed_over();
        batch
    }
}

/// Runs requests of the stream, up to a bound.
fn run_some(link: &mut Link, engine: &mut Engine, outside: &mut dyn Outside) -> Result<Batch, Ended> {
    let mut bytes = 0;
    for _ in 0..BATCH_COMMANDS {
        let Some(request) = link.request()? else { return Ok(Batch::Done) };
        bytes += request.raw.len();
        if request.is_for_data {
            let done = engine.run_masters(&request.argv, request.raw, outside);
            done.map_err(|error| Ended::Diverged(refused(&error)))?;
        }
        link.applied();
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    Ok(Batch::Part)
}

/// What the link is told about us.
fn settings(engine: &Engine) -> Settings {
    let config = &engine.config;
    let port = if config.replica_announce_port > 0 { config.replica_announce_port } else { config.port };
    Settings {
        user: config.masteruser.clone(),
        password: config.masterauth.clone(),
        port,
        address: config.replica_announce_ip.clone().into_bytes(),
        timeout_us: config.repl_timeout_seconds.saturating_mul(1_000_000),
        resume: engine.history(),
        former: engine.former_history(),
        hands_over: engine.hands_over(),
    }
}

/// Whether nothing has come for now, which is no error.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Which command did not fit, and why. What it holds is not told: it may be anything.
fn refused(error: &ReplayError) -> String {
    match error {
        ReplayError::Unknown(name) => format!("there is no command '{name}' here"),
        ReplayError::Refused { command, why } | ReplayError::Failed { command, why } => {
            format!("{command} was refused: {why}")
        }
    }
}
