//! One client as its I/O thread knows it: the connection, the request in progress, and a few facts about
//! its session that must be at hand without the engine.

use engine::{ClientBuffers, SessionId};
use journal::Acked;
use net::{Connection, Id, ReadLimits, Timers};
use resp::{Limits, Parser};

use crate::parked::Parked;
use crate::unacked::Chosen;

/// Bytes that one read may take in; more waits in the kernel and holds the sender back.
const READ_BUDGET: usize = 1 << 20;

/// Output that no limit counts, bytes. Redis leaves out up to 16 KiB, and nothing of a reply whose length it learns late (KEYS).
pub(crate) const UNCOUNTED_OUTPUT_BYTES: usize = 4 * 1024;

/// From so many missing bytes on, an argument counts for its client before it has come.
/// If it is then unfinished it gets a buffer of its own.
pub(crate) const LONG_ARGUMENT_BYTES: usize = 32 << 10;

/// What the configuration says about connections, copied so that it can be read without the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of one argument.
    pub(crate) bulk_bytes_max: usize,
    /// Bytes of an unfinished request.
    pub(crate) query_bytes_max: usize,
    /// Idle seconds after which a client is closed; 0 for never.
    pub(crate) idle_s: u64,
    /// How long replies wait for replicas, microseconds.
    pub(crate) acked_timeout_us: u64,
    /// How many replicas they wait for.
    pub(crate) replicas_awaited: usize,
    /// Seconds to log in; 0 for no limit.
    pub(crate) login_s: u64,
    /// Whether clients must log in: the default user has a password, or is off.
    pub(crate) asks_login: bool,
    /// Connections accepted in one tick: in plaintext or on a Unix socket, and on the port that speaks only TLS.
    pub(crate) accepts_max: [usize; 2],
    /// Whether the engine is told buffers as they change: all clients together have a limit, or one is fed a copy of the data.
    pub(crate) tells_buffers: bool,
    /// Bytes that all who have not logged in may hold together.
    pub(crate) strangers_bytes_max: usize,
    /// The user that a client certificate logs in.
    pub(crate) certificate_user: config::TlsAuthClientsUser,
    /// Output limits of the classes of clients.
    pub(crate) output: [config::OutputLimit; 3],
}

impl Bounds {
    pub(crate) fn of(settings: &config::Settings) -> Bounds {
        Bounds {
            bulk_bytes_max: settings.proto_max_bulk_len,
            // The parser's spans count in 32 bits.
            query_bytes_max: settings.client_query_buffer_limit.min(u32::MAX as usize),
            accepts_max: [settings.new_connections_max, settings.new_tls_connections_max],
            idle_s: settings.timeout_seconds,
            login_s: settings.login_timeout_seconds,
            asks_login: true,
            acked_timeout_us: settings.min_replicas_acked_timeout_ms.saturating_mul(1000),
            replicas_awaited: settings.min_replicas_acked.max(1),
            tells_buffers: settings.maxmemory_clients > 0,
            strangers_bytes_max: crate::strangers::pool_bytes_max(settings.maxmemory),
            certificate_user: settings.tls_auth_clients_user,
            output: output_limits(settings),
        }
    }
}

impl Bounds {
    /// Bytes of output at which a client is closed at once.
    pub(crate) fn output_bytes_max(&self, class: Class) -> usize {
        match self.output[class as usize].hard_bytes {
            0 => usize::MAX,
            bytes => (bytes as usize).saturating_add(UNCOUNTED_OUTPUT_BYTES),
        }
    }
}

/// The limits as they are set, but for one of replicas that is smaller than the backlog: that is as large as the backlog.
fn output_limits(settings: &config::Settings) -> [config::OutputLimit; 3] {
    let mut limits = settings.output_limits;
    let replicas = &mut limits[Class::Replica as usize];
    for bytes in [&mut replicas.hard_bytes, &mut replicas.soft_bytes] {
        if *bytes > 0 {
            *bytes = (*bytes).max(settings.repl_backlog_size as u64);
        }
    }
    limits
}

/// The classes of clients whose output has limits of its own, in the order of `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Normal,
    Replica,
    Subscriber,
}

impl Class {
    pub(crate) fn of(facts: &engine::Facts) -> Class {
        match facts.is_subscriber {
            _ if facts.is_replica => Class::Replica,
            true => Class::Subscriber,
            false => Class::Normal,
        }
    }
}

/// Which of the thread's lists a client is in, so that it is in none twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) again: bool,
    pub(crate) runnable: bool,
    pub(crate) dirty: bool,
    pub(crate) parked: bool,
    pub(crate) resized: bool,
    pub(crate) touched: bool,
}

/// Room for what stands around one long argument: in Redis `client-query-buffer-limit` is for that alone.
const AROUND_BYTES: usize = 16 << 10;

/// A client of this thread.
pub(crate) struct Client {
    /// The number that CLIENT ID tells.
    pub(crate) id: u64,
    pub(crate) conn: Connection,
    pub(crate) parser: Parser,
    /// `None` until the engine has heard of it.
    pub(crate) session: Option<SessionId>,
    /// The engine was told of it; it may have refused it.
    pub(crate) introduced: bool,
    /// It has authenticated, or need not.
    pub(crate) trusted: bool,
    /// Its certificate was looked at for a user.
    pub(crate) certificate_seen: bool,
    /// Whose limits hold.
    pub(crate) class: Class,
    /// It is shown what others do.
    pub(crate) is_monitor: bool,
    /// The reply to its last request comes later; its next ones stay in the input.
    pub(crate) waiting: bool,
    /// It waits for a password check.
    pub(crate) is_asking: bool,
    /// Bytes of the request that waits for the check, with its copy.
    pub(crate) asked_bytes: usize,
    /// Bytes of its requests that wait for EXEC. They count as input: by queueing nobody has more of it than at once.
    pub(crate) queued_bytes: usize,
    /// The socket was left unread; no event will tell.
    pub(crate) unread: bool,
    /// Where it comes from; see [`crate::strangers::source_of`].
    pub(crate) source: u64,
    /// Since when it has been a stranger, monotonic seconds.
    pub(crate) stranger_since_s: u64,
    /// Bytes that had been sent to it by then.
    pub(crate) stranger_since_sent: u64,
    /// Bytes that it was last counted with among the strangers.
    pub(crate) counted: usize,
    /// It was refused, and waits with its first byte for the answer in its own language.
    pub(crate) turned_away: bool,
    /// It is closed with the next write, whatever its socket does not take then.
    pub(crate) dropped: bool,
    /// Its output tells of what is not logged yet.
    pub(crate) unlogged: bool,
    /// It will send no more; what it has sent is still executed.
    pub(crate) ended: bool,
    /// Bytes that its unfinished request lacks, at least.
    pub(crate) missing: usize,
    /// What its output waits for.
    pub(crate) parked: Parked,
    /// What it has chosen for what it wrote in this batch.
    pub(crate) chosen: Chosen,
    pub(crate) listed: Listed,
    /// Bytes received and sent since it came.
    pub(crate) net: (u64, u64),
    /// When it last sent anything, monotonic seconds.
    pub(crate) heard_s: u64,
    /// When it is to be looked at next, monotonic seconds: what the wheel has of it for another time is void.
    pub(crate) look_s: u64,
    /// Since when its output has been over the soft limit, monotonic seconds.
    pub(crate) over_soft_since_s: Option<u64>,
}

impl Client {
    pub(crate) fn new(id: u64, conn: Connection, now_s: u64) -> Client {
        let source = crate::strangers::source_of(conn.peer());
        Client {
            id,
            conn,
            parser: Parser::default(),
            session: None,
            introduced: false,
            trusted: false,
            certificate_seen: false,
            class: Class::Normal,
            is_monitor: false,
            waiting: false,
            is_asking: false,
            asked_bytes: 0,
            queued_bytes: 0,
            unread: false,
            source,
            stranger_since_s: now_s,
            stranger_since_sent: 0,
            counted: 0,
            turned_away: false,
            dropped: false,
            unlogged: false,
            ended: false,
            missing: 0,
            parked: Parked::default(),
            chosen: Chosen::default(),
            listed: Listed::default(),
            net: (0, 0),
            heard_s: now_s,
            look_s: u64::MAX,
            over_soft_since_s: None,
        }
    }

    /// Has the wheel report it at a time, if that is not to be sooner anyway.
    pub(crate) fn look_at(&mut self, timers: &mut Timers, id: Id, at_s: u64) {
        if at_s < self.look_s {
            self.look_s = at_s;
            timers.arm(id, at_s);
        }
    }

    pub(crate) fn read_limits(&self, bounds: &Bounds) -> ReadLimits {
        if !self.trusted {
            let (budget, held_max) = (crate::strangers::READ_BUDGET, crate::strangers::INPUT_BYTES_MAX);
            return ReadLimits { budget, held_max: held_max.min(bounds.query_bytes_max), want: self.missing };
        }
        ReadLimits {
            budget: READ_BUDGET,
            held_max: bounds.query_bytes_max.saturating_add(AROUND_BYTES).saturating_sub(self.queued_bytes),
            want: self.missing,
        }
    }

    pub(crate) fn request_limits(&self, bounds: &Bounds) -> Limits {
        if self.trusted { Limits::trusted(bounds.bulk_bytes_max) } else { Limits::stranger() }
    }

    /// Its buffers, as the engine wants to know them.
    pub(crate) fn buffers(&self) -> ClientBuffers {
        let (query, output_room) = self.conn.buffer_bytes();
        let held = self.conn.held();
        let query_free = query.saturating_sub(held);
        let parsed = (self.parser.parsed_bytes() + self.conn.held_apart()).min(held);
        ClientBuffers {
            query: held - parsed,
            parsed,
            query_free,
            announced: match self.missing {
                ..LONG_ARGUMENT_BYTES => 0,
                // What there is room for is counted already.
                missing => missing.saturating_sub(query_free),
            },
            output: self.conn.pending(),
            output_held: self.held_output(),
            output_room,
            output_elsewhere: self.conn.shared_bytes(),
            is_stuck: self.conn.is_stuck(),
            net_in: self.net.0,
            net_out: self.net.1,
        }
    }

    /// Output that waits for the log, or for replicas, bytes.
    fn held_output(&self) -> usize {
        self.conn.pending().saturating_sub(self.parked.may_leave(self.net.1))
    }

    /// Output beyond the first block, the only output that limits count, bytes.
    pub(crate) fn counted_output(&self) -> u64 {
        self.conn.pending().saturating_sub(UNCOUNTED_OUTPUT_BYTES) as u64
    }

    /// Whether requests may be taken from its input.
    pub(crate) fn may_run(&self) -> bool {
        !self.waiting && !self.conn.is_closing()
    }

    /// Whether they stay there until replicas have acknowledged what it has written.
    #[inline]
    pub(crate) fn is_held_back(&self, now_us: u64) -> bool {
        self.parked.holds_back(now_us)
    }

    /// The place behind its output so far, among all that it was ever sent.
    pub(crate) fn output_end(&self) -> u64 {
        self.net.1 + self.conn.pending() as u64
    }

    /// A part of its output, which ends with `behind` more bytes, is the reply to a write that waits for replicas.
    pub(crate) fn note_unacked(
        &mut self,
        reply: std::ops::Range<usize>,
        out_len: usize,
        wanted: Acked,
        now_us: u64,
    ) {
        let end = self.output_end();
        let place = |at: usize| end - (out_len - at.min(out_len)) as u64;
        self.parked.add_reply(place(reply.start)..place(reply.end), end, wanted, now_us);
    }
}

/// The last words to a client whose bytes are no requests.
pub(crate) fn push_protocol_error(out: &mut Vec<u8>, error: &resp::ProtocolError) {
    out.push(b'-');
    out.extend_from_slice(error.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_no_longer_than_its_spans_can_tell() {
        let mut config = config::Config::default();
        config.assign("client-query-buffer-limit", b"8gb", config::Origin::Set).unwrap();
        config.assign("proto-max-bulk-len", b"512mb", config::Origin::Set).unwrap();
        let bounds = Bounds::of(&config);
        assert_eq!(bounds.query_bytes_max, u32::MAX as usize);
        assert!(bounds.bulk_bytes_max < bounds.query_bytes_max);
    }
}
