//! One client as its I/O thread knows it: the connection, the request in progress, and a few facts about
//! its session that must be at hand without the engine.

use engine::{Engine, Next, Request, SessionId};
use net::{Connection, Parts, ReadLimits};
use resp::{Limits, Parsed, Parser, Span};
use smallvec::SmallVec;

use crate::world::World;

/// Requests that one client may have executed in one tick; the rest waits for the next, so that a deep
/// pipeline cannot starve the others.
const REQUESTS_PER_TICK_MAX: usize = 512;

/// Bytes that one read may take in; more waits in the kernel and holds the sender back.
const READ_BUDGET: usize = 1 << 20;

/// What the configuration says about connections, copied so that it can be read without the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of one argument.
    pub(crate) bulk_bytes_max: usize,
    /// Bytes of an unfinished request.
    pub(crate) query_bytes_max: usize,
    /// Idle seconds after which a client is closed; 0 for never.
    pub(crate) idle_s: u64,
    /// Output limits of ordinary clients and of subscribers.
    pub(crate) output: [config::OutputLimit; 2],
}

impl Bounds {
    pub(crate) fn of(settings: &config::Settings) -> Bounds {
        Bounds {
            bulk_bytes_max: settings.proto_max_bulk_len,
            query_bytes_max: settings.client_query_buffer_limit,
            idle_s: settings.timeout_seconds,
            output: [settings.output_limits[0], settings.output_limits[2]],
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
}

/// A client of this thread.
pub(crate) struct Client {
    pub(crate) conn: Connection,
    pub(crate) parser: Parser,
    /// `None` until the engine has heard of it.
    pub(crate) session: Option<SessionId>,
    /// It has authenticated, or need not.
    pub(crate) trusted: bool,
    /// It may stop a script that runs too long.
    pub(crate) may_kill: bool,
    /// It subscribes to something, so the limits of subscribers hold.
    pub(crate) subscriber: bool,
    /// The reply to its last request comes later; its next ones stay in the input.
    pub(crate) waiting: bool,
    /// It will send no more; what it has sent is still executed.
    pub(crate) ended: bool,
    /// Bytes that its unfinished request lacks, at least.
    pub(crate) missing: usize,
    /// Its output may leave once the log is safe up to here.
    pub(crate) parked_until: u64,
    pub(crate) listed: Listed,
    /// When it last sent anything, monotonic seconds.
    pub(crate) heard_s: u64,
    /// Since when its output has been over the soft limit, monotonic seconds.
    pub(crate) over_soft_since_s: Option<u64>,
}

/// What became of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// All whole requests were executed.
    All,
    /// The budget is used up.
    Budget,
}

impl Client {
    pub(crate) fn new(conn: Connection, now_s: u64) -> Client {
        Client {
            conn,
            parser: Parser::default(),
            session: None,
            trusted: false,
            may_kill: false,
            subscriber: false,
            waiting: false,
            ended: false,
            missing: 0,
            parked_until: 0,
            listed: Listed::default(),
            heard_s: now_s,
            over_soft_since_s: None,
        }
    }

    pub(crate) fn read_limits(&self, bounds: &Bounds) -> ReadLimits {
        ReadLimits { budget: READ_BUDGET, held_max: bounds.query_bytes_max, want: self.missing }
    }

    pub(crate) fn request_limits(&self, bounds: &Bounds) -> Limits {
        if self.trusted { Limits::trusted(bounds.bulk_bytes_max) } else { Limits::stranger() }
    }

    /// Whether requests may be taken from its input.
    pub(crate) fn may_run(&self) -> bool {
        !self.waiting && !self.conn.is_closing()
    }

    /// Executes the whole requests in its input, as far as the budget goes.
    pub(crate) fn run(
        &mut self,
        id: SessionId,
        engine: &mut Engine,
        world: &mut World<'_>,
        spans: &mut Vec<Span>,
        bounds: &Bounds,
    ) -> Ran {
        let mut limits = self.request_limits(bounds);
        let scratch = world.scratch;
        let Parts { input, out } = self.conn.parts(scratch, &mut world.net.pool);
        let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::new();
        let (mut at, mut ran, mut close) = (0, Ran::Budget, false);
        for _ in 0..REQUESTS_PER_TICK_MAX {
            spans.clear();
            let rest = &input[at..];
            let next = match self.parser.next(rest, spans, &limits) {
                Ok(Parsed::Request { len }) => {
                    let raw = &rest[..len];
                    at += len;
                    if spans.is_empty() {
                        continue;
                    }
                    argv.clear();
                    argv.extend(spans.iter().map(|span| span.of(raw)));
                    engine.execute(id, Request { argv: &argv, raw: Some(raw) }, out, world)
                }
                Ok(Parsed::Incomplete { missing }) => {
                    self.missing = missing;
                    ran = Ran::All;
                    break;
                }
                Ok(Parsed::Inline { len, args }) => {
                    at += len;
                    if args.is_empty() {
                        continue;
                    }
                    let argv: SmallVec<[&[u8]; 16]> = args.iter().map(Vec::as_slice).collect();
                    engine.execute(id, Request { argv: &argv, raw: None }, out, world)
                }
                Err(error) => {
                    push_protocol_error(out, &error);
                    Next::Close
                }
            };
            world.end_busy();
            if !self.trusted {
                self.trusted = engine.is_trusted(id);
                limits = if self.trusted { Limits::trusted(bounds.bulk_bytes_max) } else { limits };
            }
            match next {
                Next::Continue => {}
                Next::Wait => {
                    self.waiting = true;
                    ran = Ran::All;
                    break;
                }
                Next::Close => {
                    close = true;
                    ran = Ran::All;
                    break;
                }
            }
        }
        drop(argv);
        self.conn.consume(at);
        if close {
            self.conn.close_after_flush();
        }
        ran
    }
}

/// The last words to a client whose bytes are no requests.
pub(crate) fn push_protocol_error(out: &mut Vec<u8>, error: &resp::ProtocolError) {
    out.push(b'-');
    out.extend_from_slice(error.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}
