//! What the server knows about one client.

use crate::copy::wish::CopyWish;
use crate::durability::{Durability, Written};
use base::Now;
use commands::{Flags, Wait};
use resp::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use types::Kind;

/// A client's place in the engine: index and serial, so that a stale one is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    index: u32,
    serial: u32,
}

/// The clients that watch a key, in an order in which any of thousands leaves at once; each with whether the key was there (and alive)
/// when it began. As long as its watch holds, that has not changed.
pub(crate) type Watchers = BTreeMap<SessionId, bool>;

/// What the server tells when a client connects.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    /// The number that CLIENT ID tells: one that nobody had before.
    pub id: u64,
    /// The I/O thread that owns the connection.
    pub thread: u16,
    /// The connection's token on that thread.
    pub token: u64,
    /// Remote address, `ip:port` or the socket's path.
    pub address: String,
    /// Local address.
    pub local_address: String,
    /// Whether it came over the Unix socket.
    pub unix: bool,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Whether it comes from this machine.
    pub local: bool,
    /// Where it comes from, as a number: equal for clients of one machine or one small network.
    pub source: u64,
    /// File descriptor, as CLIENT LIST shows it.
    pub fd: i32,
}

/// What a connection's buffers hold, as the server knows it. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientBuffers {
    /// Input that has come and is neither executed nor taken apart.
    pub query: usize,
    /// The part of an unfinished request that is taken apart already.
    pub parsed: usize,
    /// Room for more input that is already allocated.
    pub query_free: usize,
    /// What is still to come of a long argument, by its announced length. It counts like room for it, so that whoever announces
    /// more than clients may take is closed before it has come.
    pub announced: usize,
    /// Output that is not yet written.
    pub output: usize,
    /// How much of that may not leave yet: it waits for the log, or for replicas.
    pub output_held: usize,
    /// What is allocated for output.
    pub output_room: usize,
    /// How much of that others hold, too, and is counted for them.
    pub output_elsewhere: usize,
    /// The socket takes no more output just now.
    pub is_stuck: bool,
    /// Bytes received since the connection came.
    pub net_in: u64,
    /// Bytes sent since then.
    pub net_out: u64,
}

/// What is held back counts as unread by this part of it.
const HELD_SHARE: usize = 16;

impl ClientBuffers {
    /// How much of the output the client leaves unread. What may not leave yet says nothing of it, and counts little: it must be bounded
    /// as well.
    pub fn unread(&self) -> usize {
        self.output.saturating_sub(self.output_held).max(self.output / HELD_SHARE)
    }
}

/// CLIENT REPLY: what becomes of the next reply. Messages come in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// It is written.
    #[default]
    On,
    /// No reply is.
    Off,
    /// This one is not, those behind it are.
    SkipNext,
}

impl ReplyMode {
    /// The mode behind a reply.
    #[must_use]
    pub fn spent(self) -> ReplyMode {
        if self == ReplyMode::SkipNext { ReplyMode::On } else { self }
    }
}

/// About what a name takes beside its own bytes in the sets and tables that it is put into.
pub(crate) const NAME_BYTES: usize = 96;

/// About what a queued command takes beside its arguments.
const QUEUED_BYTES: usize = 128;

/// A queued command of MULTI.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) command: usize,
    pub(crate) argv: Vec<Vec<u8>>,
}

/// MULTI in progress.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) queue: Vec<Queued>,
    /// A command was refused while queueing: EXEC will abort.
    pub(crate) broken: bool,
    /// Bytes of the queued arguments.
    pub(crate) bytes: usize,
    /// What the queued commands need together; none while there are none.
    pub(crate) needs: Option<Flags>,
}

/// Subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) channels: BTreeSet<Vec<u8>>,
    pub(crate) patterns: BTreeSet<Vec<u8>>,
    pub(crate) shard_channels: BTreeSet<Vec<u8>>,
    /// Bytes that all these take, here and in the lists of listeners.
    pub(crate) bytes: usize,
}

impl Subscriptions {
    /// The count that a subscription confirmation tells.
    pub(crate) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() + self.shard_channels.len() == 0
    }
}

/// A client that waits for keys.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) wait: Wait,
    /// The type of value that its command takes from, when it takes from keys.
    pub(crate) kind: Option<Kind>,
    pub(crate) db: usize,
    /// The request to run again.
    pub(crate) argv: Vec<Vec<u8>>,
    /// When its time is over, monotonic microseconds.
    pub(crate) deadline_us: Option<u64>,
    /// When its command is run again in any case, monotonic microseconds.
    pub(crate) look_at_us: Option<u64>,
    /// The number of its arrival among all that have ever waited: its place in every queue it stands in.
    pub(crate) arrival: u64,
}

/// CLIENT TRACKING.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    pub(crate) redirect: Option<u64>,
    pub(crate) broadcast: bool,
    pub(crate) prefixes: BTreeSet<Vec<u8>>,
    /// Bytes that the prefixes take.
    pub(crate) prefix_bytes: usize,
    pub(crate) opt_in: bool,
    pub(crate) opt_out: bool,
    pub(crate) no_loop: bool,
    /// CLIENT CACHING yes/no, for the next command.
    pub(crate) caching: Option<bool>,
    /// The client that messages were to go to is gone.
    pub(crate) redirect_broken: bool,
}

impl Tracking {
    pub(crate) fn add_prefix(&mut self, prefix: Vec<u8>) {
        let bytes = prefix.len() + NAME_BYTES;
        if self.prefixes.insert(prefix) {
            self.prefix_bytes += bytes;
        }
    }
}

/// Why a client's next requests have to wait for something other than keys.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// The request to run again when the answer is there.
    pub(crate) argv: Vec<Vec<u8>>,
    /// What is counted when the reply is there; none if that was done, or will be when the request runs.
    pub(crate) command: Option<usize>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) serial: u32,
    pub(crate) info: ClientInfo,
    pub(crate) db: usize,
    pub(crate) protocol: Protocol,
    pub(crate) user: usize,
    pub(crate) authenticated: bool,
    pub(crate) name: Vec<u8>,
    pub(crate) lib_name: Vec<u8>,
    pub(crate) lib_version: Vec<u8>,
    pub(crate) created_us: u64,
    pub(crate) last_us: u64,
    /// What it asked for last, whether it was run or refused; none if there is no such command.
    pub(crate) last_command: Option<usize>,
    /// Calls, those of its scripts and transactions included.
    pub(crate) commands: u64,
    /// What the call has taken that waits, nanoseconds: it is one call with what follows.
    pub(crate) spent_ns: u64,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) monitor: bool,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    /// Whether it has said that it can (CLIENT CAPA).
    pub(crate) follows_redirects: bool,
    /// What it has said of the copy of the data that it will ask for.
    pub(crate) copy: CopyWish,
    /// What it has said of itself as a replica.
    pub(crate) announced: Option<Box<replication::master::Announced>>,
    /// It is one.
    pub(crate) is_replica: bool,
    /// It is the link to the master: a client to those who list and close clients, while it is there.
    pub(crate) is_master: bool,
    /// The position in the stream for replicas behind what it wrote last.
    pub(crate) written_to: u64,
    /// What its replies to writes wait for, as it has chosen.
    pub(crate) durability: Durability,
    /// The request that it waits for an answer to has written.
    pub(crate) late: Option<Box<Written>>,
    pub(crate) in_exec: bool,
    pub(crate) multi: Option<Box<Transaction>>,
    pub(crate) watched: BTreeSet<(usize, Vec<u8>)>,
    /// A watched key has changed: EXEC will give null.
    pub(crate) watch_broken: bool,
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    pub(crate) waiting: Option<Box<Waiting>>,
    pub(crate) deferred: Option<Box<Deferred>>,
    /// The deferred request waits for a password check.
    pub(crate) is_asking: bool,
    /// The job that the request has waited for is done: it runs again.
    pub(crate) is_answered: bool,
    /// A password of this client was wrong before.
    pub(crate) has_failed: bool,
    pub(crate) tracking: Option<Box<Tracking>>,
    /// Whether it ever was.
    pub(crate) has_tracked: bool,
    /// To be closed by the server after what is written.
    pub(crate) kill: bool,
    /// Buffers as the server last told them.
    pub(crate) buffers: ClientBuffers,
    /// Bytes of the arguments of the command that runs, when somebody looks at it.
    pub(crate) running_bytes: usize,
    /// Bytes that watched keys take.
    pub(crate) watched_bytes: usize,
    /// What this client is counted with in the memory of all clients, bytes.
    pub(crate) counted_bytes: usize,
    /// What it was closed for, bytes.
    pub(crate) leaving_bytes: usize,
}

impl Session {
    /// The address that it comes from, without the port.
    pub(crate) fn host(&self) -> &str {
        let address = self.info.address.as_str();
        address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
    }

    /// Whether it is the server's own: nobody has connected.
    pub(crate) fn is_internal(&self) -> bool {
        self.id == 0 || self.is_master
    }

    /// Whether there is a connection behind it that can be listed and closed.
    pub(crate) fn is_connected(&self) -> bool {
        self.id != 0
    }

    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|s| !s.is_empty())
    }

    /// Whether it is sent what others do: a replica, or a monitor.
    #[inline]
    pub(crate) fn is_fed(&self) -> bool {
        self.monitor || self.is_replica
    }

    /// Bytes of the arguments that it holds: of the command that runs or that waits.
    pub(crate) fn argv_bytes(&self) -> usize {
        let all = |argv: &[Vec<u8>]| argv.iter().map(Vec::len).sum::<usize>();
        self.running_bytes
            + self.waiting.as_ref().map_or(0, |w| all(&w.argv))
            + self.deferred.as_ref().map_or(0, |d| all(&d.argv))
    }

    /// What this client takes of the memory, bytes: its buffers and everything that grows by what it asks for.
    pub(crate) fn memory_bytes(&self) -> usize {
        let b = &self.buffers;
        size_of::<Session>()
            + (b.query + b.parsed + b.query_free.max(b.announced))
            + b.output.max(b.output_room)
            + self.argv_bytes()
            + self.multi.as_ref().map_or(0, |m| m.bytes + m.queue.len() * QUEUED_BYTES)
            + self.watched_bytes
            + self.subscriptions.as_ref().map_or(0, |s| s.bytes)
            + self.tracking.as_ref().map_or(0, |t| t.prefix_bytes)
            + self.name.len()
    }

    /// Whether only subscriber commands are allowed (RESP2 with subscriptions).
    pub(crate) fn is_restricted(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions.is_some() && self.is_subscriber()
    }
}

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slab: slab::Slab<Session>,
    last_serial: u32,
}

impl Sessions {
    pub(crate) fn insert(
        &mut self,
        info: ClientInfo,
        user: usize,
        authenticated: bool,
        now: Now,
    ) -> SessionId {
        self.last_serial = self.last_serial.wrapping_add(1);
        let serial = self.last_serial;
        let session = Session {
            id: info.id,
            serial,
            info,
            db: 0,
            protocol: Protocol::Resp2,
            user,
            authenticated,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            created_us: now.mono_us,
            last_us: now.mono_us,
            last_command: None,
            commands: 0,
            spent_ns: 0,
            reply_mode: ReplyMode::On,
            monitor: false,
            no_evict: false,
            no_touch: false,
            follows_redirects: false,
            copy: CopyWish::default(),
            announced: None,
            is_replica: false,
            is_master: false,
            written_to: 0,
            durability: Durability::Configured,
            late: None,
            in_exec: false,
            multi: None,
            watched: BTreeSet::new(),
            watch_broken: false,
            subscriptions: None,
            waiting: None,
            deferred: None,
            is_asking: false,
            is_answered: false,
            has_failed: false,
            tracking: None,
            has_tracked: false,
            kill: false,
            buffers: ClientBuffers::default(),
            running_bytes: 0,
            watched_bytes: 0,
            counted_bytes: 0,
            leaving_bytes: 0,
        };
        let index = self.slab.insert(session) as u32;
        SessionId { index, serial }
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.find(id)?;
        Some(self.slab.remove(id.index as usize))
    }

    #[inline]
    pub(crate) fn find(&self, id: SessionId) -> Option<&Session> {
        self.slab.get(id.index as usize).filter(|s| s.serial == id.serial)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slab.get_mut(id.index as usize).filter(|s| s.serial == id.serial)
    }

    /// The session of a client that is known to be there: the one whose command runs.
    #[inline]
    pub(crate) fn at(&self, id: SessionId) -> &Session {
        &self.slab[id.index as usize]
    }

    /// As [`Sessions::at`].
    #[inline]
    pub(crate) fn at_mut(&mut self, id: SessionId) -> &mut Session {
        &mut self.slab[id.index as usize]
    }

    pub(crate) fn by_client_id(&self, id: u64) -> Option<SessionId> {
        self.iter().find(|(_, s)| s.id == id).map(|(at, _)| at)
    }

    /// The clients. The server's own sessions have no connection and no number: nobody lists, counts or closes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let clients = self.slab.iter().filter(|(_, s)| s.id != 0);
        clients.map(|(index, s)| (SessionId { index: index as u32, serial: s.serial }, s))
    }

    /// As [`Sessions::iter`].
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionId, &mut Session)> {
        let clients = self.slab.iter_mut().filter(|(_, s)| s.id != 0);
        clients.map(|(index, s)| (SessionId { index: index as u32, serial: s.serial }, s))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}
