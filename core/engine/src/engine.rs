//! The engine itself: what it holds, and the life of one request.

use crate::acl::Acl;
use crate::blocking::Waiters;
use crate::commandlog::{CommandLogs, Measure};
use crate::debug::switches::Switches;
use crate::durability::{Acks, Written};
use crate::gate::Caller;
use crate::log::Log;
use crate::outside::{Delivery, Job, Outside};
use crate::pubsub::PubSub;
use crate::session::{ClientBuffers, ClientInfo, ReplyMode, Session, SessionId, Sessions, Watch};
use crate::table::{RenameError, Run, Table};
use crate::tracking::TrackingTable;
use base::Now;
use commands::{Args, Call, Error, Flags, Group, Outcome, Wait};
use config::{Config, Eviction};
use keyspace::{Db, Event, Keyspace};
use replication::{Master, ReplicationId};
use resp::Reply;
use script::{Functions, Interpreter, Limits};
use std::collections::HashMap;
use telemetry::{CommandStats, ErrorStats, LatencyEvents, Rate};

/// A request as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Name and arguments.
    pub argv: &'a [&'a [u8]],
    /// Its bytes as RESP, where they are at hand; the log copies them.
    pub raw: Option<&'a [u8]>,
}

/// What the connection does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the next request.
    Continue,
    /// The reply comes later, as a [`Delivery`]; leave the next requests in the input until then.
    Wait,
    /// Close after writing what there is.
    Close,
}

/// What an engine handler did.
#[derive(Debug)]
pub(crate) enum Step {
    /// It has replied. The event applies to the keys it touched.
    Done(Option<Event>),
    /// The client waits for keys.
    Block(Box<Wait>),
    /// The reply comes when a job is done.
    Later,
    /// The connection is to be closed after the reply.
    Close,
}

/// What runs the engine's own commands.
pub(crate) type EngineHandler = fn(&mut Engine, &mut Turn<'_>) -> Result<Step, Error>;

/// What an engine handler sees beside the engine.
pub(crate) struct Turn<'a> {
    pub(crate) session: SessionId,
    pub(crate) args: Args<'a>,
    pub(crate) reply: Reply<'a>,
    pub(crate) outside: &'a mut dyn Outside,
    pub(crate) caller: Caller,
}

/// What a call ended with.
#[derive(Debug)]
pub(crate) enum Called {
    Done,
    Failed,
    Block(Box<Wait>),
    Later,
    Close,
}

/// The engine. One caller at a time.
pub struct Engine {
    /// The data.
    pub keyspace: Keyspace,
    /// The configuration in force.
    pub config: Config,
    /// Why CONFIG REWRITE is refused whatever there is to write: there is no file for it.
    pub rewrite_refusal: Option<String>,
    pub(crate) table: Table,
    pub(crate) sessions: Sessions,
    /// The users.
    pub acl: Acl,
    pub(crate) pubsub: PubSub,
    pub(crate) waiters: Waiters,
    /// Clients in WAIT and WAITAOF.
    pub(crate) ack_waiters: Vec<crate::replication::AckWaiter>,
    /// The log's last batch known to be on the disk, as of the last look; none while there is no log that a start would load.
    pub(crate) synced_ticket: Option<u64>,
    pub(crate) watchers: HashMap<(usize, Vec<u8>), Vec<Watch>>,
    pub(crate) tracking: TrackingTable,
    pub(crate) monitors: Vec<SessionId>,
    /// Taken out while a script runs.
    pub(crate) scripts: Option<Interpreter>,
    /// Taken out while a function runs.
    pub(crate) functions: Option<Functions>,
    /// What all interpreters start with, and share.
    pub(crate) script_limits: Limits,
    /// The script that runs too long.
    pub(crate) busy: Option<Box<crate::busy::BusyScript>>,
    pub(crate) log: Log,
    pub(crate) deliveries: Vec<Delivery>,
    /// Where the deliveries of the request that runs begin.
    pub(crate) own_from: usize,
    pub(crate) jobs: Vec<Job>,
    pub(crate) command_stats: Vec<CommandStats>,
    pub(crate) error_stats: ErrorStats,
    pub(crate) command_logs: CommandLogs,
    pub(crate) latency: LatencyEvents,
    /// How long a command runs before anybody wants to know, nanoseconds.
    pub(crate) noteworthy_ns: u64,
    pub(crate) counters: Counters,
    /// Commands a second.
    pub(crate) rate: Rate,
    /// Nesting of calls: 0 outside of EXEC and scripts.
    pub(crate) depth: u32,
    /// Memory was over its limit at the last look, and eviction could not help.
    pub(crate) over_memory: bool,
    /// It was, and eviction has not come to its end in the time that it had.
    pub(crate) is_evicting: bool,
    /// Since when it has been over its limit, monotonic microseconds, as far as it was noticed.
    pub(crate) full_since_us: Option<u64>,
    /// Even the consumers' reserve is used up.
    pub(crate) over_reserve: bool,
    pub(crate) started_us: u64,
    /// The same moment, Unix seconds.
    pub(crate) started_unix_s: i64,
    /// Bytes that the running script holds for itself, as far as its calls tell.
    pub(crate) script_bytes: usize,
    /// How long the last command took, nanoseconds.
    pub(crate) spent_ns: u64,
    /// What the machine or its control group has, bytes; 0 when nobody knows.
    pub(crate) memory_there: usize,
    /// What one reply may take while it is built, bytes.
    pub(crate) reply_limit: usize,
    /// Memory in use before any data was loaded, bytes.
    pub startup_bytes: usize,
    pub(crate) run_id: String,
    /// The replicas, and what they are fed.
    pub(crate) master: Master<SessionId>,
    /// Clients that are fed a copy of the data, or wait for one.
    pub(crate) copies: Vec<SessionId>,
    pub(crate) switches: Switches,
    /// What the next secret bytes are made of.
    pub(crate) token_key: [u8; 32],
    /// What is known of passwords.
    pub(crate) proofs: crate::acl::Proofs,
    pub(crate) pause: crate::client::Pause,
    pub(crate) replay_session: Option<SessionId>,
    /// Whom this server follows, if it is a replica.
    pub(crate) link: Option<Box<crate::replica::MasterLink>>,
    /// Whether this server is about to hand over to a replica.
    pub(crate) failover: crate::replication::Failover,
    /// What the log says of the place in a history.
    pub(crate) noted_place: crate::replication::NotedPlace,
    /// What replies wait for, and what replicas have acknowledged.
    pub(crate) acks: Acks,
    /// How often that has changed.
    pub(crate) orders: u64,
    /// Clients whose request waits for the end of a pause, oldest first.
    pub(crate) held: Vec<SessionId>,
    /// Memory of all clients as last counted, bytes.
    pub(crate) clients_bytes: usize,
    /// Of all clients what those hold that were closed for it and have not gone yet, bytes.
    pub(crate) leaving_bytes: usize,
    /// The log has been told that some queues are not followed.
    pub(crate) told_of_dropped_queues: bool,
}

/// What a connection knows of its client without asking the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// It subscribes to something.
    pub is_subscriber: bool,
    /// It is a replica.
    pub is_replica: bool,
    /// It is shown what others do (MONITOR).
    pub is_monitor: bool,
    /// It has logged in, or need not.
    pub is_authenticated: bool,
    /// Its request waits for a password check.
    pub is_asking: bool,
    /// Bytes of arguments that wait for its EXEC.
    pub queued_bytes: usize,
}

/// Plain counters for INFO and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused (maxclients).
    pub rejected_connections: u64,
    /// Commands run.
    pub commands: u64,
    /// Error replies.
    pub error_replies: u64,
    /// Refusals because too few replicas acknowledge what is written.
    pub unreplicated_refusals: u64,
    /// Refusals because memory was full.
    pub oom_refusals: u64,
    /// Microseconds for which memory was full and nothing could be evicted, up to the last time that this ended.
    pub full_us: u64,
    /// ACL denials: auth, command, key, channel.
    pub acl_denied: [u64; 4],
    /// Certificates that named no user who may log in.
    pub certificates_denied: u64,
    /// Scripts that ran.
    pub scripts: u64,
    /// Connections that spoke HTTP.
    pub http_requests: u64,
    /// Clients closed because all together held too much memory.
    pub evicted_clients: u64,
    /// Highest `used_memory` seen, bytes.
    pub memory_peak: usize,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("keys", &self.keyspace.key_count())
            .field("sessions", &self.sessions.len())
            .finish()
    }
}

impl Engine {
    /// An engine with `config`, whose hashing, sampling and tokens follow from `seed`.
    ///
    /// # Errors
    /// A `rename-command` names no command, or a name that is taken.
    pub fn new(config: Config, acl: Acl, seed: [u8; 32], now: Now) -> Result<Engine, RenameError> {
        let mut table = Table::new();
        config.renames.iter().try_for_each(|rename| table.rename(rename))?;
        let number = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let commands = table.commands.len();
        let script_limits = script_limits();
        let mut engine = Engine {
            keyspace: Keyspace::new(config.databases, number),
            table,
            sessions: Sessions::default(),
            acl,
            pubsub: PubSub::default(),
            waiters: Waiters::new(number),
            ack_waiters: Vec::new(),
            synced_ticket: None,
            watchers: HashMap::new(),
            tracking: TrackingTable::default(),
            monitors: Vec::new(),
            scripts: Some(Interpreter::new(script_limits.clone())),
            functions: Some(Functions::new(script_limits.clone())),
            script_limits,
            busy: None,
            log: Log::default(),
            deliveries: Vec::new(),
            own_from: 0,
            jobs: Vec::new(),
            command_stats: (0..commands).map(|_| CommandStats::default()).collect(),
            error_stats: ErrorStats::default(),
            command_logs: CommandLogs::default(),
            latency: LatencyEvents::default(),
            noteworthy_ns: u64::MAX,
            counters: Counters::default(),
            rate: Rate::default(),
            depth: 0,
            over_memory: false,
            is_evicting: false,
            full_since_us: None,
            over_reserve: false,
            rewrite_refusal: None,
            started_us: now.mono_us,
            started_unix_s: now.unix_ms / 1000,
            script_bytes: 0,
            spent_ns: 0,
            memory_there: 0,
            reply_limit: usize::MAX,
            startup_bytes: 0,
            run_id: run_id(&seed, b"run"),
            master: Master::new(first_history(&seed)),
            copies: Vec::new(),
            switches: Switches::default(),
            token_key: seed,
            proofs: crate::acl::Proofs::new(&seed),
            pause: crate::client::Pause::default(),
            replay_session: None,
            link: None,
            failover: crate::replication::Failover::None,
            noted_place: crate::replication::NotedPlace::default(),
            acks: Acks::default(),
            orders: 0,
            held: Vec::new(),
            clients_bytes: 0,
            leaving_bytes: 0,
            told_of_dropped_queues: false,
            config,
        };
        engine.apply_config();
        engine.keyspace.set_now(now);
        engine.follow_configured();
        Ok(engine)
    }

    /// Takes over what the configuration says about the engine.
    pub(crate) fn apply_config(&mut self) {
        let s = &self.config;
        self.keyspace.limits = crate::admin::limits(s, self.keyspace.seed());
        self.keyspace.set_ranking(crate::admin::ranking(s));
        self.keyspace.tells_use = matches!(s.maxmemory_policy.eviction(), Eviction::Lru | Eviction::Lfu);
        self.keyspace.tells_shared_integers = crate::admin::shares_integers(s);
        let follows_more = self.keyspace.set_queues_max(s.queues_max);
        self.command_logs.configure(s);
        self.master.configure(crate::replication::settings(s));
        self.watch_durations();
        let s = &self.config;
        self.acl.log.set_max(s.acllog_max_len);
        self.acl.channels_open = s.acl_pubsub_default == config::AclPubsub::Allchannels;
        self.observe();
        self.reply_limit = self.bound_of_replies();
        if follows_more {
            let all: Vec<usize> = (0..self.keyspace.database_count()).collect();
            self.note_awaited_in(&all);
        }
    }

    /// Whether the log is to be written. Set by the server when it has one open.
    pub fn set_logging(&mut self, enabled: bool) {
        (self.log.has_file, self.log.is_suspended) = (enabled, false);
        self.record();
    }

    /// Nothing is recorded, for replicas either, until [`Engine::set_logging`] is called: data is loaded.
    pub fn suspend_logging(&mut self) {
        (self.log.has_file, self.log.is_suspended) = (false, true);
        self.record();
    }

    /// Brings up to date whether what is executed is recorded. Replicas of a replica get what its master sends.
    pub(crate) fn record(&mut self) {
        let feeds = self.master.is_fed() && self.link.is_none();
        self.log.enabled = !self.log.is_suspended && (self.log.has_file || feeds);
        self.keyspace.effects.logging = self.log.enabled;
    }

    /// The log bytes since the last call, appended to `into`; nothing where there is no log. Replicas are fed with the same.
    pub fn take_log(&mut self, into: &mut Vec<u8>) {
        self.feed_replicas();
        let from = into.len();
        self.log.take(into);
        if !self.log.has_file {
            into.truncate(from);
        }
        let has_records = into.len() > from;
        self.push_stretch(from, into);
        if self.log.has_file {
            self.push_place(has_records, into);
        }
    }

    /// Whether there is something to take, for the log or for replicas.
    pub fn has_log(&self) -> bool {
        !self.log.is_empty() || self.master.has_due() || self.noted_place.is_due
    }

    /// Bytes of log not yet taken: a client whose request made it grow has written.
    #[inline]
    pub fn log_len(&self) -> usize {
        self.log.len()
    }

    /// The log goes on in a new file: the next record tells its database.
    pub fn log_switched(&mut self) {
        self.log.forget_database();
        self.end_stretch();
    }

    /// What other clients get, in order.
    pub fn take_deliveries(&mut self, into: &mut Vec<Delivery>) {
        if self.has_broadcast() {
            self.broadcast_changes();
        }
        into.append(&mut self.deliveries);
        self.own_from = 0;
    }

    /// Whether anything waits to be delivered.
    #[inline]
    pub fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty() || self.has_broadcast()
    }

    /// How much waits to be delivered, but for what is still to be told of changed keys.
    #[inline]
    pub fn waiting_deliveries(&self) -> usize {
        self.deliveries.len()
    }

    /// What clients of one I/O thread get so far, in order; what others get stays.
    pub fn take_deliveries_of(&mut self, thread: u16, into: &mut Vec<Delivery>) {
        if self.has_broadcast() {
            self.broadcast_changes();
        }
        into.extend(self.deliveries.extract_if(.., |delivery| delivery.thread == thread));
        self.own_from = 0;
    }

    /// Work for the control plane, in order.
    pub fn take_jobs(&mut self, into: &mut Vec<Job>) {
        if !self.jobs.is_empty() {
            into.append(&mut self.jobs);
        }
        if let Some(trash) = self.keyspace.take_trash() {
            into.push(Job::Free { trash });
        }
    }

    /// The keyspace and what a loader runs commands on.
    pub fn keyspace_mut(&mut self) -> &mut Keyspace {
        &mut self.keyspace
    }

    // Clients.

    /// A client has connected; `None` when there are too many (the reply for it: [`TOO_MANY_CLIENTS`]). Whoever has not logged in
    /// makes room for others.
    pub fn connect(&mut self, info: ClientInfo, now: Now) -> Option<SessionId> {
        if self.sessions.len() >= self.config.maxclients && !self.displace_strangers() {
            self.counters.rejected_connections += 1;
            return None;
        }
        self.counters.connections += 1;
        let authenticated = self.acl.default_is_open();
        Some(self.sessions.insert(info, crate::acl::DEFAULT_USER, authenticated, now))
    }

    /// The refusal for a client from elsewhere while there is no password; `None` when it is welcome.
    pub fn protected_mode_refusal(&self, info: &ClientInfo) -> Option<&'static str> {
        let s = &self.config;
        (s.protected_mode && !info.local && !info.unix && self.acl.default_is_open())
            .then_some(crate::gate::PROTECTED_MODE)
    }

    /// A client has gone.
    pub fn disconnect(&mut self, id: SessionId) {
        self.let_go(id);
        if let Some(session) = self.sessions.remove(id) {
            self.clients_bytes -= session.counted_bytes;
            self.leaving_bytes -= session.leaving_bytes;
        }
        self.observe();
    }

    /// Whether the client may do what its user may: it has logged in, or need not just now. Whoever came while a password was asked
    /// for is the default user like a newcomer once none is, and is locked out again when one is.
    #[inline]
    pub(crate) fn is_let_in(&self, session: &Session) -> bool {
        session.authenticated || session.user == crate::acl::DEFAULT_USER && self.acl.default_is_open()
    }

    /// Takes a client out of everything by which it is served, fed or asked for: no other request meets it any more.
    pub(crate) fn let_go(&mut self, id: SessionId) {
        self.unwatch(id);
        self.unblock(id);
        if let Some(session) = self.sessions.find_mut(id) {
            session.deferred = None;
        }
        self.unsubscribe_all(id);
        self.end_tracking(id);
        self.master.remove(id, self.keyspace.now.mono_us);
        self.monitors.retain(|monitor| *monitor != id);
    }

    /// Whether the parser may trust this client with large requests.
    pub fn is_trusted(&self, id: SessionId) -> bool {
        self.sessions.find(id).is_some_and(|s| self.is_let_in(s))
    }

    /// Whether the client's reply is still to come.
    pub fn is_waiting(&self, id: SessionId) -> bool {
        self.sessions.find(id).is_some_and(|s| s.waiting.is_some() || s.deferred.is_some())
    }

    /// Whether the client subscribes to anything (its output has its own limits).
    pub fn is_subscriber(&self, id: SessionId) -> bool {
        self.sessions.find(id).is_some_and(Session::is_subscriber)
    }

    /// What must be known of a client without the engine.
    #[inline]
    pub fn facts(&self, id: SessionId) -> Facts {
        let Some(session) = self.sessions.find(id) else { return Facts::default() };
        Facts {
            is_subscriber: session.is_subscriber(),
            is_replica: session.is_replica,
            is_monitor: session.monitor,
            is_authenticated: self.is_let_in(session),
            is_asking: session.is_asking,
            queued_bytes: session.multi.as_ref().map_or(0, |multi| multi.bytes),
        }
    }

    /// Whether the client gets replies, those to what are no requests included.
    pub fn reply_mode(&self, id: SessionId) -> ReplyMode {
        self.sessions.find(id).map_or(ReplyMode::On, |session| session.reply_mode)
    }

    /// Tells how large a client's buffers are, bytes, for CLIENT LIST.
    pub fn tell_buffers(&mut self, id: SessionId, buffers: ClientBuffers) {
        // One that is being closed is counted no more: its bytes would have others evicted.
        if let Some(session) = self.sessions.find_mut(id).filter(|session| !session.kill) {
            session.buffers = buffers;
            self.recount(id);
        }
    }

    /// Begins a batch of requests at `now`.
    #[inline]
    pub fn begin_batch(&mut self, now: Now) {
        self.keyspace.set_now(now);
    }

    /// Has the memory of `keys`, of requests that follow, loaded while others run. Only a hint: any bytes may be given.
    #[inline]
    pub fn prefetch(&self, id: SessionId, keys: &[&[u8]]) {
        if let Some(session) = self.sessions.find(id) {
            self.keyspace.prefetch(session.db, keys);
        }
    }

    /// Runs one request of client `id`; the reply is appended to `out`.
    pub fn execute(
        &mut self,
        id: SessionId,
        request: Request<'_>,
        out: &mut Vec<u8>,
        outside: &mut dyn Outside,
    ) -> Next {
        // What one that is being closed has sent before runs no more: nobody would hear of it, or get what it takes out.
        let Some(session) = self.sessions.find_mut(id).filter(|s| !s.kill) else { return Next::Close };
        session.last_us = self.keyspace.now.mono_us;
        self.acks.written = None;
        let (protocol, mode) = (session.protocol, session.reply_mode);
        let before = out.len();
        self.own_from = self.deliveries.len();
        let admitted = self.let_in(id, &request, &mut Reply::wire(out, protocol), outside);
        if self.deliveries.len() > self.own_from && mode == ReplyMode::On {
            self.take_own(id, before, out);
        }
        let next = match admitted {
            Some(command) => self.run(id, command, &request, out, outside),
            None if self.pause.is_pending && self.is_waiting(id) => return Next::Wait,
            None => {
                if !self.tracking.is_empty() {
                    self.spend_caching(id, self.table.find(request.argv));
                }
                Next::Continue
            }
        };
        // The mode holds for the reply that is still to come, too: see `answer`.
        if mode != ReplyMode::On && next != Next::Wait {
            self.suppress(id, mode, admitted, before, out);
        }
        if self.sessions.find(id).is_none_or(|s| s.kill) { Next::Close } else { next }
    }

    /// CLIENT REPLY OFF and SKIP: what was written is taken back.
    #[cold]
    fn suppress(
        &mut self,
        id: SessionId,
        mode: ReplyMode,
        admitted: Option<usize>,
        before: usize,
        out: &mut Vec<u8>,
    ) {
        let spec = admitted.map(|command| self.table.commands[command].spec);
        let Some(session) = self.sessions.find_mut(id) else { return };
        // A SKIP behind a SKIP holds for what follows it.
        let is_renewed = spec.is_some_and(|spec| spec.flags.has(Flags::SETS_REPLIES)) && out.len() == before;
        // Confirmations of subscriptions are messages, not replies.
        let is_message = spec.is_some_and(|spec| spec.flags.has(Flags::PUBSUB.and(Flags::AS_SUBSCRIBER)));
        if session.reply_mode == mode && !is_message {
            out.truncate(before);
            if let Some(written) = &mut self.acks.written {
                written.reply = before..before;
            }
        }
        if mode == ReplyMode::SkipNext && !is_renewed {
            session.reply_mode = session.reply_mode.spent();
        }
    }

    /// Runs an admitted request, then serves whoever it made ready.
    fn run(
        &mut self,
        id: SessionId,
        command: usize,
        request: &Request<'_>,
        out: &mut Vec<u8>,
        outside: &mut dyn Outside,
    ) -> Next {
        let session = self.sessions.at_mut(id);
        session.last_command = Some(command);
        let protocol = session.protocol;
        let args = Args::new(request.argv);
        let (before, logged) = (out.len(), self.log.len());
        let called = {
            let turn = Turn {
                session: id,
                args,
                reply: Reply::within(out, protocol, before.saturating_add(self.reply_limit)),
                outside: &mut *outside,
                caller: Caller::Client,
            };
            self.call(command, turn, request.raw)
        };
        let asked = request.raw.map_or_else(|| request.argv.iter().map(|word| word.len()).sum(), <[u8]>::len);
        let told = out.len() - before;
        let is_late = matches!(called, Called::Later | Called::Block(_));
        if asked.max(told) >= self.command_logs.noteworthy_bytes && !is_late {
            self.note_large(command, id, args, asked, told);
        }
        if told > self.reply_limit {
            self.refuse_reply(before, out, protocol);
        }
        if self.log.len() > logged {
            self.note_write(id, command, before..out.len());
        }
        let next = match called {
            Called::Done | Called::Failed => Next::Continue,
            Called::Close => Next::Close,
            Called::Later => {
                self.defer(id, request.argv, Some(command));
                Next::Wait
            }
            Called::Block(wait) => {
                let group = self.table.commands[command].spec.group;
                self.block(id, group, *wait, request.argv);
                Next::Wait
            }
        };
        let next = match core::mem::take(&mut self.keyspace.flushed_all) {
            true => self.after_flush(id, command, request.argv, (before, out), next),
            false => next,
        };
        if next == Next::Wait {
            self.note_late(id);
        }
        self.serve_ready(outside);
        if self.deliveries.len() > self.own_from && self.sessions.at(id).reply_mode == ReplyMode::On {
            self.take_own(id, out.len(), out);
        }
        if !self.tracking.is_empty() {
            self.spend_caching(id, Some(command));
            self.bound_tracking();
        }
        next
    }

    /// Puts what this request has left for its own client into its output at `at`: pushes come before or behind a reply, in their order.
    #[cold]
    pub(crate) fn take_own(&mut self, id: SessionId, at: usize, out: &mut Vec<u8>) {
        let Some(session) = self.sessions.find(id) else { return };
        let place = (session.info.thread, session.info.token);
        let is_own = |d: &Delivery| (d.thread, d.token) == place && !(d.resume || d.close || d.drop);
        let mut own = Vec::new();
        for delivery in self.deliveries.extract_if(self.own_from.., |d| is_own(d)) {
            own.extend_from_slice(&delivery.bytes);
        }
        out.splice(at..at, own);
        self.own_from = self.deliveries.len();
    }

    /// One call: run, count, settle. The reply is written, also when it is an error.
    pub(crate) fn call(&mut self, command: usize, turn: Turn<'_>, raw: Option<&[u8]>) -> Called {
        let (id, args, caller) = (turn.session, turn.args, turn.caller);
        let session = self.sessions.at_mut(id);
        session.commands += 1;
        let db = session.db;
        self.keyspace.no_touch = session.no_touch;
        // A request that has waited for a password check was shown when it came.
        let is_shown = !self.monitors.is_empty() && caller != Caller::Ready && !session.is_answered;
        let mut started = turn.outside.nanos();
        if caller == Caller::Ready {
            // What it took before it began to wait belongs to the same call.
            started = started.saturating_sub(core::mem::take(&mut self.sessions.at_mut(id).spent_ns));
        }
        // A script is shown before what it calls, everything else behind its reply.
        let is_program = is_shown && self.table.commands[command].spec.group == Group::Scripting;
        if is_program {
            self.show_monitors(id, command, args, caller);
        }
        let outcome = match self.table.commands[command].run {
            Run::Data(handler) => self.call_data(handler, db, turn, started, command),
            Run::Engine(handler) => self.call_engine(handler, turn, started, command),
        };
        if is_shown && !is_program {
            self.show_done(id, command, args, caller, &outcome);
        }
        match outcome {
            Ok(Step::Done(event)) => {
                self.settle(id, db, event, args, raw);
                self.track_if_read(id, command, args);
                Called::Done
            }
            Ok(Step::Block(wait)) => {
                self.settle(id, db, None, args, raw);
                self.track_if_read(id, command, args); // that there was nothing was read, too
                Called::Block(wait)
            }
            Ok(Step::Later) => Called::Later,
            Ok(Step::Close) => Called::Close,
            Err(()) => {
                self.settle(id, db, None, args, raw);
                self.track_if_read(id, command, args); // that it is of another type was read, too
                Called::Failed
            }
        }
    }

    #[inline(always)]
    fn track_if_read(&mut self, id: SessionId, command: usize, args: Args<'_>) {
        let spec = self.table.commands[command].spec;
        if !self.tracking.is_empty() && spec.flags.has(Flags::READONLY) && spec.group != Group::Scripting {
            self.track_reads(id, command, args);
        }
    }

    #[inline]
    fn call_data(
        &mut self,
        handler: commands::Handler,
        db: usize,
        mut turn: Turn<'_>,
        started: u64,
        command: usize,
    ) -> Result<Step, ()> {
        let db = Db::new(&mut self.keyspace, db);
        let result = handler(&mut Call {
            args: turn.args,
            db,
            reply: turn.reply.reborrow(),
            may_block: turn.caller.may_wait(),
        });
        let result = match result {
            Ok(Outcome::Done(event)) => Ok(Step::Done(event)),
            Ok(Outcome::Block(wait)) => Ok(Step::Block(wait)),
            Err(error) => {
                if error == Error::BAD_PAYLOAD {
                    self.log_bad_payload(turn.args);
                }
                self.fail(&error, &mut turn.reply, command);
                Err(())
            }
        };
        self.count(command, started, &turn, &result);
        result
    }

    /// RESTORE key ttl payload: tells the operator what the client is not told.
    #[cold]
    fn log_bad_payload(&mut self, args: Args<'_>) {
        let why = keyspace::dump_complaint(args.at(3));
        self.jobs.push(Job::Log { level: 3, text: format!("A payload was refused: {why}") });
    }

    fn call_engine(
        &mut self,
        handler: EngineHandler,
        mut turn: Turn<'_>,
        started: u64,
        command: usize,
    ) -> Result<Step, ()> {
        let result = handler(self, &mut turn);
        let result = match result {
            Ok(step) => Ok(step),
            Err(error) => {
                self.fail(&error, &mut turn.reply, command);
                Err(())
            }
        };
        self.count(command, started, &turn, &result);
        result
    }

    /// Writes and counts an error of a command that ran.
    #[cold]
    fn fail(&mut self, error: &Error, reply: &mut Reply<'_>, command: usize) {
        self.command_stats[command].failed += 1;
        self.refuse(error, reply);
    }

    /// Counts an error reply.
    #[cold]
    pub(crate) fn count_error(&mut self, text: &[u8]) {
        self.counters.error_replies += 1;
        if let Some(names) = self.error_stats.record(text) {
            let why = "Errorstats stopped adding new errors because the number of errors reached the limit";
            self.jobs.push(Job::Log { level: 3, text: format!("{why}. Current errors code list: {names}") });
        }
    }

    /// Writes and counts an error.
    #[cold]
    pub(crate) fn refuse(&mut self, error: &Error, reply: &mut Reply<'_>) {
        self.count_error(error.as_bytes());
        reply.error(error.as_bytes());
    }

    /// Counts a call that is over; one that goes on later is counted then, once.
    #[inline(always)]
    fn count(&mut self, command: usize, started: u64, turn: &Turn<'_>, result: &Result<Step, ()>) {
        let spent = turn.outside.nanos().saturating_sub(started);
        if matches!(result, Ok(Step::Block(_) | Step::Later)) {
            return self.count_later(turn.session, spent);
        }
        self.counters.commands += 1;
        self.spent_ns = spent;
        self.command_stats[command].record(spent, self.config.latency_tracking);
        if spent >= self.noteworthy_ns {
            self.note_slow(command, turn.session, turn.args, spent);
            self.catch_up_time(turn.outside);
        }
    }

    /// What a call has taken that has begun to wait.
    #[cold]
    fn count_later(&mut self, id: SessionId, spent: u64) {
        let session = self.sessions.at_mut(id);
        session.commands -= 1;
        session.spent_ns = spent;
    }

    /// Counts the call of a client that has waited, which ends with this reply without being run again.
    #[cold]
    pub(crate) fn count_late(&mut self, id: SessionId, command: usize, args: Args<'_>, reply: &[u8]) {
        let session = self.sessions.at_mut(id);
        session.commands += 1;
        let spent = core::mem::take(&mut session.spent_ns);
        self.counters.commands += 1;
        self.command_stats[command].record(spent, self.config.latency_tracking);
        if let [b'-', text @ ..] = reply {
            self.command_stats[command].failed += 1;
            self.count_error(text.trim_ascii_end());
        }
        if spent >= self.noteworthy_ns {
            self.note_slow(command, id, args, spent);
        }
        self.note_bytes(command, id, args, reply.len());
    }

    /// Time stands still within a command, a transaction or a script; behind one that has taken long it has moved on.
    #[cold]
    fn catch_up_time(&mut self, outside: &dyn Outside) {
        if self.depth == 0 {
            self.keyspace.set_now(outside.now());
        }
    }

    /// A command that is slow enough for the slow log, for a latency event, or for both.
    #[cold]
    fn note_slow(&mut self, command: usize, id: SessionId, args: Args<'_>, spent: u64) {
        let flags = self.table.commands[command].spec.flags;
        self.note_event(if flags.has(Flags::FAST) { "fast-command" } else { "command" }, spent / 1_000_000);
        self.note_command(Measure::Slow, command, id, args, spent / 1000);
    }

    /// Makes the client wait for a job; `argv` will be run again when it is done, or the reply comes from there. Then the call of
    /// `command` is over and counted, if it was not counted before.
    pub(crate) fn defer(&mut self, id: SessionId, argv: &[&[u8]], command: Option<usize>) {
        let argv = argv.iter().map(|a| a.to_vec()).collect();
        self.sessions.at_mut(id).deferred = Some(Box::new(crate::session::Deferred { argv, command }));
    }

    /// Runs a deferred request again and delivers its reply.
    pub(crate) fn resume(&mut self, id: SessionId, argv: &[Vec<u8>], outside: &mut dyn Outside) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        session.deferred = None;
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        let next = self.execute(id, Request { argv: &argv, raw: None }, &mut out, outside);
        if let Some(session) = self.sessions.find_mut(id) {
            session.is_answered = false;
        }
        let written = self.acks.written.take().filter(|_| next != Next::Wait).map(Box::new);
        let (resume, close) = (next != Next::Wait, next == Next::Close);
        self.leave(id, Delivery { bytes: out, resume, close, written, ..Delivery::default() });
    }

    /// Ends a deferred request with a reply of its own.
    pub fn complete(&mut self, id: SessionId, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let deferred = session.deferred.take();
        let mut out = Vec::new();
        write(&mut Reply::wire(&mut out, session.protocol));
        if let Some((command, argv)) = deferred.and_then(|deferred| Some((deferred.command?, deferred.argv)))
        {
            let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            self.count_late(id, command, Args::new(&argv), &out);
        }
        self.answer(id, out);
    }

    /// Leaves the reply of a request that has waited; the client's next ones may go on. CLIENT REPLY OFF and SKIP hold for it as for
    /// a reply that comes at once.
    pub(crate) fn answer(&mut self, id: SessionId, mut reply: Vec<u8>) {
        if self.spend_reply_mode(id) != ReplyMode::On {
            reply.clear();
        }
        let close = self.is_ended(id);
        let late = self.sessions.find_mut(id).and_then(|session| session.late.take());
        let written = late.map(|late| Box::new(Written { reply: 0..reply.len(), ..*late }));
        self.leave(id, Delivery { bytes: reply, resume: true, close, written, ..Delivery::default() });
    }

    /// The mode that holds for a late reply, and is used up by it if it was for one.
    pub(crate) fn spend_reply_mode(&mut self, id: SessionId) -> ReplyMode {
        let Some(session) = self.sessions.find_mut(id) else { return ReplyMode::Off };
        let mode = session.reply_mode;
        session.reply_mode = mode.spent();
        mode
    }

    /// Leaves bytes for a client.
    pub(crate) fn deliver(&mut self, id: SessionId, bytes: Vec<u8>, resume: bool, close: bool) {
        self.leave(id, Delivery { bytes, resume, close, ..Delivery::default() });
    }

    /// The same for what there is more to say of.
    pub(crate) fn leave(&mut self, id: SessionId, mut delivery: Delivery) {
        let Some(session) = self.sessions.find(id) else { return };
        (delivery.thread, delivery.token) = (session.info.thread, session.info.token);
        let from = self.own_from.min(self.deliveries.len());
        if let Some(last) = self.deliveries[from..].last_mut()
            && (last.thread, last.token) == (delivery.thread, delivery.token)
            && last.is_feed == delivery.is_feed
            && !(last.close || last.drop)
        {
            return last.append(delivery);
        }
        self.deliveries.push(delivery);
    }

    /// The request that has just run is answered later: what it has written is remembered until then.
    #[cold]
    fn note_late(&mut self, id: SessionId) {
        let late = self.acks.written.take().map(Box::new);
        if let Some(session) = self.sessions.find_mut(id) {
            session.late = late;
        }
    }
}

/// What a client gets that is one too many.
pub const TOO_MANY_CLIENTS: &str = "-ERR max number of clients reached\r\n";

/// The bounds of all interpreters of one engine.
fn script_limits() -> Limits {
    let version = crate::REDIS_VERSION.to_owned();
    Limits { version, version_number: 0x0007_0402, ..Limits::default() }
}

/// 40 hexadecimal digits that name this run, or its `purpose` in it.
fn run_id(seed: &[u8; 32], purpose: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    base::hex::encode(&Sha256::new().chain_update(purpose).chain_update(seed).finalize()[..20])
}

/// The name of the history until there is a replica.
fn first_history(seed: &[u8; 32]) -> ReplicationId {
    ReplicationId::parse(run_id(seed, b"replication").as_bytes()).unwrap_or(ReplicationId::NONE)
}
