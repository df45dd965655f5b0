//! One client as its I/O thread knows it: the connection, the request in progress, and a few facts about
//! its session that must be at hand without the engine.

use std::ops::Range;

use engine::{Engine, Next, Request, SessionId};
use net::{Connection, Parts, ReadLimits};
use resp::{Limits, Parsed, Parser, Span};
use smallvec::SmallVec;

use crate::world::World;

/// Requests that one client may have executed in one tick; the rest waits for the next, so that a deep
/// pipeline cannot starve the others.
const REQUESTS_PER_TICK_MAX: usize = 512;

/// Requests parsed ahead of the one that runs, so that the memory of their keys is on its way.
const REQUESTS_AHEAD_MAX: usize = 16;

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
        let mut left = REQUESTS_PER_TICK_MAX;
        while left > 0 {
            let limits = self.request_limits(bounds);
            // A stranger may become trusted by its next request, which then is parsed under other limits.
            let ahead = if self.trusted { left.min(REQUESTS_AHEAD_MAX) } else { 1 };
            let mut batch = Batch::parse(&mut self.parser, self.conn.input(world.scratch), spans, &limits, ahead);
            left -= ahead.min(left);
            if let Some(missing) = batch.missing {
                self.missing = missing;
            }
            let (ran, next) = self.run_batch(id, engine, world, spans, &mut batch);
            if !ran {
                self.parser = Parser::default();
            }
            match next {
                Next::Continue if batch.missing.is_some() => return Ran::All,
                Next::Continue => {}
                Next::Wait => {
                    self.waiting = true;
                    return Ran::All;
                }
                Next::Close => {
                    self.conn.close_after_flush();
                    return Ran::All;
                }
            }
        }
        Ran::Budget
    }

    /// Executes a batch in order. Whether it went through to its end, and what comes next.
    fn run_batch(
        &mut self,
        id: SessionId,
        engine: &mut Engine,
        world: &mut World<'_>,
        spans: &[Span],
        batch: &mut Batch,
    ) -> (bool, Next) {
        let scratch = world.scratch;
        let Parts { input, out } = self.conn.parts(scratch, &mut world.net.pool);
        batch.prefetch(id, engine, input, spans);
        let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::new();
        let (mut at, mut next, mut done) = (0, Next::Continue, 0);
        for request in &batch.requests {
            let raw = &input[at..at + request.len];
            at += request.len;
            done += 1;
            argv.clear();
            let raw = match &request.words {
                Words::Spans(range) => {
                    argv.extend(spans[range.clone()].iter().map(|span| span.of(raw)));
                    Some(raw)
                }
                Words::Typed(args) => {
                    argv.extend(args.iter().map(Vec::as_slice));
                    None
                }
            };
            if argv.is_empty() {
                continue;
            }
            next = engine.execute(id, Request { argv: &argv, raw }, out, world);
            world.end_busy();
            if next != Next::Continue {
                break;
            }
        }
        let through = done == batch.requests.len();
        if let (Some(error), true, Next::Continue) = (&batch.error, through, next) {
            push_protocol_error(out, error);
            next = Next::Close;
        }
        drop(argv);
        self.conn.consume(at);
        if !self.trusted {
            self.trusted = engine.is_trusted(id);
        }
        (through, next)
    }
}

/// Where a request's arguments are.
enum Words {
    /// Spans of its bytes.
    Spans(Range<usize>),
    /// Typed as text, quotes resolved.
    Typed(Vec<Vec<u8>>),
}

/// A whole request.
struct Parsing {
    len: usize,
    words: Words,
}

/// Whole requests from the start of an input, parsed ahead so that the memory of their keys can be fetched while others run.
struct Batch {
    requests: SmallVec<[Parsing; REQUESTS_AHEAD_MAX]>,
    /// The input ends behind them; so many bytes of the next request are missing, at least.
    missing: Option<usize>,
    /// What follows them is no request.
    error: Option<resp::ProtocolError>,
}

impl Batch {
    fn parse(parser: &mut Parser, input: &[u8], spans: &mut Vec<Span>, limits: &Limits, ahead: usize) -> Batch {
        let mut batch = Batch { requests: SmallVec::new(), missing: None, error: None };
        let mut at = 0;
        spans.clear();
        while batch.requests.len() < ahead {
            let first = spans.len();
            let (len, words) = match parser.next(&input[at..], spans, limits) {
                Ok(Parsed::Request { len }) => (len, Words::Spans(first..spans.len())),
                Ok(Parsed::Inline { len, args }) => (len, Words::Typed(args)),
                Ok(Parsed::Incomplete { missing }) => {
                    batch.missing = Some(missing);
                    break;
                }
                Err(error) => {
                    batch.error = Some(error);
                    break;
                }
            };
            at += len;
            batch.requests.push(Parsing { len, words });
        }
        batch
    }

    /// Has the memory of the requests' first arguments, keys as a rule, loaded while others run.
    fn prefetch(&self, id: SessionId, engine: &Engine, input: &[u8], spans: &[Span]) {
        if self.requests.len() < 2 {
            return;
        }
        let mut keys: SmallVec<[&[u8]; REQUESTS_AHEAD_MAX]> = SmallVec::new();
        let mut at = 0;
        for request in &self.requests {
            if let Words::Spans(range) = &request.words
                && range.len() > 1
            {
                keys.push(spans[range.start + 1].of(&input[at..]));
            }
            at += request.len;
        }
        engine.prefetch(id, &keys);
    }
}

/// The last words to a client whose bytes are no requests.
pub(crate) fn push_protocol_error(out: &mut Vec<u8>, error: &resp::ProtocolError) {
    out.push(b'-');
    out.extend_from_slice(error.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}
