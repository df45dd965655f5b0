//! A bench for the engine: clients, a virtual clock, and a world that does nothing.
#![allow(dead_code, reason = "each test file uses its own part")]

use base::Now;
use std::cell::Cell;
use std::collections::HashSet;
use tandem_engine::{
    Acl, Busy, BusyVerdict, ClientInfo, Delivery, Engine, Job, Next, Outside, Piece, ReplayError, Request,
    SessionId,
};

/// The world: a clock that only the test moves.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) used: usize,
    /// What of that waits to be written to the log.
    pub(crate) log_buffer: usize,
    /// Why no write can be kept, if that is so.
    pub(crate) refusal: Option<&'static str>,
    /// What a script hears that is in the way.
    pub(crate) verdict: BusyVerdict,
    /// How much later it is at each look at the clock, nanoseconds; what has come together of that.
    pub(crate) step_ns: u64,
    stepped_ns: Cell<u64>,
}

impl Outside for World {
    fn nanos(&self) -> u64 {
        self.stepped_ns.set(self.stepped_ns.get() + self.step_ns);
        self.now.mono_us * 1000 + self.stepped_ns.get()
    }
    fn now(&self) -> Now {
        self.now
    }
    fn used_memory(&self) -> usize {
        self.used
    }
    fn log_buffer_bytes(&self) -> usize {
        self.log_buffer
    }
    fn busy(&mut self, _: &mut Engine, _: Busy) -> BusyVerdict {
        self.verdict
    }
    fn write_refusal(&self, _: bool, _: &dyn Fn() -> usize) -> Option<String> {
        self.refusal.map(str::to_owned)
    }
    fn sleep_ns(&mut self, nanoseconds: u64) {
        self.pass_us(nanoseconds / 1000);
    }
}

impl World {
    fn pass_us(&mut self, us: u64) {
        let now = self.now;
        let unix_us = now.unix_us + us as i64;
        self.now = Now { unix_ms: unix_us / 1000, unix_us, mono_us: now.mono_us + us };
    }
}

/// An engine with clients.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) outside: World,
    clients: Vec<SessionId>,
    delivered: Vec<Delivery>,
    /// What was asked last.
    pairs: Vec<tandem_engine::Proof>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(config::Config::default())
    }

    pub(crate) fn with(config: config::Config) -> Bench {
        let now = Now::at_ms(1_700_000_000_000);
        let engine =
            Engine::new(config, Acl::new(Vec::new()), [7; 32], now).expect("these settings are good");
        let (clients, delivered, pairs) = (Vec::new(), Vec::new(), Vec::new());
        let (verdict, stepped_ns) = (BusyVerdict::Kill, Cell::new(0));
        let outside =
            World { now, used: 1000, log_buffer: 0, refusal: None, verdict, step_ns: 0, stepped_ns };
        Bench { engine, outside, clients, delivered, pairs }
    }

    /// A new client's number.
    pub(crate) fn connect(&mut self) -> usize {
        self.connect_from(1)
    }

    /// One from another machine.
    pub(crate) fn connect_from(&mut self, source: u64) -> usize {
        let token = self.clients.len() as u64;
        let info = ClientInfo { id: token + 1, token, local: true, source, ..ClientInfo::default() };
        let id = self.engine.connect(info, self.outside.now).expect("there are few clients");
        self.clients.push(id);
        self.clients.len() - 1
    }

    /// What the engine calls a client.
    pub(crate) fn id(&self, client: usize) -> SessionId {
        self.clients[client]
    }

    /// A client has shown a certificate with these names.
    pub(crate) fn certified(&mut self, client: usize, names: &[String]) {
        self.engine.log_in_by_certificate(self.clients[client], names);
    }

    /// Tells the engine that all clients' buffers are empty.
    pub(crate) fn tell_buffers(&mut self) {
        for id in &self.clients {
            self.engine.tell_buffers(*id, tandem_engine::ClientBuffers::default());
        }
    }

    /// Tells the engine that a client is sending an argument of which so many bytes have not come.
    pub(crate) fn announce(&mut self, client: usize, announced: usize) {
        let buffers = tandem_engine::ClientBuffers { announced, ..Default::default() };
        self.engine.tell_buffers(self.clients[client], buffers);
    }

    /// Runs a request whose words are separated by blanks.
    pub(crate) fn run(&mut self, client: usize, line: &str) -> String {
        self.call(client, &line.split(' ').collect::<Vec<_>>())
    }

    /// Runs a request.
    pub(crate) fn call(&mut self, client: usize, argv: &[&str]) -> String {
        let argv: Vec<&[u8]> = argv.iter().map(|a| a.as_bytes()).collect();
        let mut out = Vec::new();
        self.engine.begin_batch(self.outside.now);
        let request = Request { argv: &argv, raw: None };
        let next = self.engine.execute(self.clients[client], request, &mut out, &mut self.outside);
        self.engine.take_deliveries(&mut self.delivered);
        if next == Next::Wait {
            assert!(out.is_empty());
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Runs a record of the log again.
    pub(crate) fn replay(&mut self, line: &str) -> Result<(), ReplayError> {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.engine.replay(&argv, &mut self.outside)
    }

    /// A job is done that a client waits for; the reply is delivered.
    pub(crate) fn completed(&mut self, client: usize) -> String {
        self.engine.complete(self.clients[client], |reply| reply.ok());
        self.engine.take_deliveries(&mut self.delivered);
        self.delivered(client)
    }

    /// What a client was delivered since the last call.
    pub(crate) fn delivered(&mut self, client: usize) -> String {
        let mut text = String::new();
        self.delivered.retain(|d| {
            if d.token == client as u64 {
                d.pieces().for_each(|piece| match piece {
                    Piece::Own(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                    Piece::Shared(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                });
            }
            d.token != client as u64 || (d.close || d.drop)
        });
        text
    }

    /// How many bytes all clients were delivered that were not taken out yet, and how many buffers hold those that several get.
    pub(crate) fn undelivered(&self) -> (usize, usize) {
        let pieces = self.delivered.iter().flat_map(Delivery::pieces);
        let shared: HashSet<_> = pieces
            .filter_map(|piece| match piece {
                Piece::Own(_) => None,
                Piece::Shared(buffer) => Some(buffer.as_ptr()),
            })
            .collect();
        (self.delivered.iter().map(Delivery::len).sum(), shared.len())
    }

    /// Where the reply to a write stands in what a client was delivered, of which the bytes are forgotten.
    pub(crate) fn late_reply(&mut self, client: usize) -> Option<core::ops::Range<usize>> {
        let own = |d: Delivery| d.written.filter(|_| d.token == client as u64);
        std::mem::take(&mut self.delivered).into_iter().find_map(own).map(|written| written.reply)
    }

    /// Has a new client be a replica that has what there is.
    pub(crate) fn connect_replica(&mut self) -> usize {
        let replica = self.connect();
        self.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2");
        self.run(replica, "PSYNC ? -1");
        self.log();
        self.engine.begin_replica_snapshot();
        self.engine.replica_snapshot_sent(self.clients[replica]);
        self.run(replica, "REPLCONF ACK 0");
        replica
    }

    /// Whether a client was told to close.
    pub(crate) fn closed(&self, client: usize) -> bool {
        self.delivered.iter().any(|d| d.token == client as u64 && (d.close || d.drop))
    }

    /// The records that a client's password is to be compared with.
    pub(crate) fn asked(&mut self, client: usize) -> Vec<String> {
        let mut jobs = Vec::new();
        self.engine.take_jobs(&mut jobs);
        let ours = |job| match job {
            Job::VerifyPassword { session, records, pairs, .. } if session == self.clients[client] => {
                Some((records, pairs))
            }
            _ => None,
        };
        let (records, pairs) = jobs.into_iter().find_map(ours).expect("the client waits for a check");
        self.pairs = pairs;
        records
    }

    /// A job has found out whether the password fits the first of the records that were asked last; the reply is delivered.
    pub(crate) fn verified(&mut self, client: usize, fits: bool) -> String {
        let (pairs, fits) = (std::mem::take(&mut self.pairs), fits.then_some(0));
        self.engine.password_verified(self.clients[client], &pairs, fits, &mut self.outside);
        self.engine.take_deliveries(&mut self.delivered);
        self.delivered(client)
    }

    /// Passwords were hashed; the reply is delivered.
    pub(crate) fn hashed(&mut self, client: usize, records: &[String]) -> String {
        self.engine.passwords_hashed(self.clients[client], records, &mut self.outside);
        self.engine.take_deliveries(&mut self.delivered);
        self.delivered(client)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.outside.now.unix_ms
    }

    /// How often the clock was looked at since the last call, while each look takes the same time.
    pub(crate) fn looks_at_the_clock(&mut self) -> u64 {
        self.outside.stepped_ns.take() / self.outside.step_ns
    }

    /// Moves the clock.
    pub(crate) fn pass_ms(&mut self, ms: i64) {
        self.outside.pass_us(ms as u64 * 1000);
    }

    /// A client's connection has closed.
    pub(crate) fn leave(&mut self, client: usize) {
        self.engine.disconnect(self.clients[client]);
        self.engine.take_deliveries(&mut self.delivered);
    }

    /// Lets slow background work happen.
    pub(crate) fn cron(&mut self) {
        self.engine.cron(self.outside.now, &mut self.outside);
    }

    /// Lets background work happen.
    pub(crate) fn tick(&mut self) {
        self.engine.tick(self.outside.now, &mut self.outside);
        self.engine.take_deliveries(&mut self.delivered);
    }

    /// The log since the last call, words by blanks, commands by bars.
    pub(crate) fn log(&mut self) -> String {
        let mut bytes = Vec::new();
        self.engine.take_log(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut out = String::new();
        for line in text.split("\r\n") {
            match line.as_bytes() {
                [] | [b'$', b'0'..=b'9', ..] => {}
                [b'*', b'0'..=b'9', ..] => out.push('|'),
                _ => {
                    out.push_str(line);
                    out.push(' ');
                }
            }
        }
        out.replace(" |", "|").trim_matches(['|', ' ']).to_owned()
    }
}
