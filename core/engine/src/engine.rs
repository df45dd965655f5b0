//! The engine itself: what it holds, and who is connected to it. The life of one request is in `call.rs`.

use crate::acl::Acl;
use crate::blocking::Waiters;
use crate::commandlog::CommandLogs;
use crate::debug::switches::Switches;
use crate::durability::Acks;
use crate::log::Log;
use crate::outside::{Delivery, Job};
use crate::pubsub::PubSub;
use crate::session::{ClientBuffers, ClientInfo, ReplyMode, Session, SessionId, Sessions, Watchers};
use crate::table::{RenameError, Table};
use crate::tracking::TrackingTable;
use base::Now;
use config::{Config, Eviction};
use keyspace::Keyspace;
use replication::{Master, ReplicationId};
use script::{Functions, Interpreter, Limits};
use std::collections::HashMap;
use telemetry::{CommandStats, ErrorStats, LatencyEvents, Rate};

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
    pub(crate) watchers: HashMap<(usize, Vec<u8>), Watchers>,
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
        debug_assert!(
            !self.keyspace.effects.has_touches(),
            "what was touched is settled before the log is taken"
        );
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
            if session.is_replica {
                self.master.has_left(id, buffers.unread());
            }
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
