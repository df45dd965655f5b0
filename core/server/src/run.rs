//! Running what a client has sent: requests are read some ahead, so that memory for the next ones is on its
//! way while one runs.
//!
//! Reading ahead must leave no trace when a request blocks or closes: what was read and not run is read
//! again later, so the parser, which remembers how far it was, starts over then.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use config::TlsAuthClientsUser;
use engine::{Durability, Engine, Next, ReplyMode, Request, SessionId, Written};
use net::{Apart, Parts, Scratch};
use resp::{BulkAtHand, Limits, Parsed, Parser, ProtocolError, Span};
use smallvec::SmallVec;

use crate::client::{Bounds, Class, Client, LONG_ARGUMENT_BYTES, push_protocol_error};
use crate::context::IoContext;
use crate::unacked;

/// Requests that one client may have executed in one tick; the rest waits for the next, so that a deep
/// pipeline cannot starve the others.
const REQUESTS_PER_TICK_MAX: usize = 512;

/// Bytes of replies after which a client's further requests wait for the next tick: what there is is written first, so
/// that a pipeline of large reads does not stand in memory as a whole.
const OUTPUT_PER_TICK: usize = 1 << 20;

/// Deliveries to other clients after which a client's further requests wait for the next tick, for the same reason. Looked at behind
/// each window of requests.
const DELIVERIES_PER_TURN: usize = 16_384;

/// Requests read ahead.
const AHEAD_MAX: usize = 16;

/// What became of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// All whole requests were executed, as far as it may go on.
    All,
    /// The budget is used up.
    Budget,
    /// Nothing, until replicas have acknowledged what it has written before.
    HeldBack,
}

/// A request that has been read: its bytes in the input, its arguments in the spans.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    start: usize,
    end: usize,
    first_span: usize,
    end_span: usize,
}

/// Memory for reading ahead, reused.
#[derive(Debug, Default)]
pub(crate) struct Window {
    spans: Vec<Span>,
    requests: Vec<Ahead>,
}

/// Why reading ahead ended.
enum End {
    /// The window is full.
    Full,
    /// The next request is not whole.
    Incomplete(usize),
    /// A line of text, and where it ends.
    Inline(usize, Vec<Vec<u8>>),
    /// An argument of the next request is longer than `client-query-buffer-limit`.
    TooLarge,
    /// No request.
    Bad(ProtocolError),
}

impl Window {
    /// Gives the memory back that a request of very many arguments has taken.
    pub(crate) fn trim(&mut self) {
        const SPANS_KEPT: usize = 4096;
        if self.spans.capacity() > SPANS_KEPT {
            self.spans = Vec::new();
        }
    }

    /// Reads up to `limit` requests from `at` on, with arguments of no more than `bytes_max`. Empty ones are passed over.
    fn fill(
        &mut self,
        parser: &mut Parser,
        input: &[u8],
        mut at: usize,
        limit: usize,
        (limits, bytes_max): (&Limits, usize),
    ) -> End {
        self.spans.clear();
        self.requests.clear();
        while self.requests.len() < limit {
            let first_span = self.spans.len();
            match parser.next(&input[at..], &mut self.spans, limits) {
                Ok(Parsed::Request { len })
                    if len > bytes_max && is_too_large(&self.spans[first_span..], bytes_max) =>
                {
                    return End::TooLarge;
                }
                Ok(Parsed::Request { len }) => {
                    let end_span = self.spans.len();
                    self.requests.push(Ahead { start: at, end: at + len, first_span, end_span });
                    at += len;
                }
                Ok(Parsed::Incomplete { missing }) => return End::Incomplete(missing),
                Ok(Parsed::Inline { len, args }) => return End::Inline(at + len, args),
                Err(error) => return End::Bad(error),
            }
        }
        End::Full
    }

    /// Has the memory of the requests' first keys loaded. Where the first argument is no key, nothing is lost
    /// but the hint.
    fn prefetch(&self, input: &[u8], engine: &Engine, id: SessionId) {
        if self.requests.len() < 2 {
            return;
        }
        let keys: SmallVec<[&[u8]; AHEAD_MAX]> = (self.requests.iter())
            .filter_map(|ahead| self.spans[ahead.first_span..ahead.end_span].get(1).map(|span| (ahead, span)))
            .map(|(ahead, span)| span.of(&input[ahead.start..]))
            .collect();
        engine.prefetch(id, &keys);
    }
}

/// Whether an argument with its line end is longer than may wait for execution.
fn is_too_large(arguments: &[Span], bytes_max: usize) -> bool {
    arguments.iter().any(|span| span.len as usize + LINE_END_BYTES > bytes_max)
}

/// Bytes behind each argument.
const LINE_END_BYTES: usize = 2;

/// What a client's requests have written in one turn.
#[derive(Default)]
struct Writes {
    /// For which something else is to be waited for than is configured.
    chosen: Vec<Written>,
    /// There are others.
    has_configured: bool,
}

impl Writes {
    /// A request has run, which `has_logged` something. The engine says of none but the chosen ones, and where replicas are fed, what
    /// they have written.
    #[inline]
    fn note(&mut self, written: Option<Written>, has_logged: bool) {
        match written {
            Some(written) if written.durability != Durability::Configured => self.chosen.push(written),
            _ => self.has_configured |= has_logged,
        }
    }

    /// Has the client's replies wait for that. Where nothing was chosen, what is configured holds without a word.
    fn tell(self, client: &mut Client, out_len: usize, now_us: u64, context: &mut IoContext<'_>) {
        if self.has_configured && !self.chosen.is_empty() {
            client.chosen.note(Durability::Configured);
        }
        for written in self.chosen {
            client.chosen.note(written.durability);
            context.net.note_chosen(written.durability);
            if written.durability == Durability::Replicated {
                let wanted = unacked::awaited(&written);
                client.note_unacked(written.reply, out_len, wanted, now_us);
            }
        }
    }
}

/// One client's turn.
struct Turn<'a, 'w> {
    id: SessionId,
    input: &'a [u8],
    out: &'a mut Vec<u8>,
    engine: &'a mut Engine,
    context: &'a mut IoContext<'w>,
    /// How far the input has been executed.
    at: usize,
    argv: SmallVec<[&'a [u8]; 16]>,
    /// Long arguments of the first request, until it has run.
    apart: Option<&'a Apart>,
    left: usize,
    /// Bytes of output at which the turn ends: what there is leaves first.
    output_end: usize,
    /// The same for deliveries to other clients that the engine holds.
    delivery_end: usize,
    /// The configuration by which the input is read.
    config_version: u64,
    /// What its requests have written.
    writes: Writes,
    /// Bytes of log behind the last of them.
    logged: usize,
}

impl<'a, 'w> Turn<'a, 'w> {
    fn begin(
        id: SessionId,
        Parts { input, out }: Parts<'a>,
        engine: &'a mut Engine,
        context: &'a mut IoContext<'w>,
        is_trusted: bool,
    ) -> Turn<'a, 'w> {
        let in_one_go = if is_trusted { OUTPUT_PER_TICK } else { crate::strangers::OUTPUT_PER_TICK };
        Turn {
            id,
            input,
            output_end: out.len() + in_one_go,
            out,
            delivery_end: engine.waiting_deliveries() + DELIVERIES_PER_TURN,
            config_version: context.shared.config_version.load(Ordering::Acquire),
            logged: engine.log_len(),
            engine,
            context,
            at: 0,
            argv: SmallVec::new(),
            apart: None,
            left: REQUESTS_PER_TICK_MAX,
            writes: Writes::default(),
        }
    }
}

impl<'a> Turn<'a, '_> {
    /// Runs what is in the window, until one request does not let the next follow.
    fn run_window(&mut self, window: &Window) -> Next {
        for ahead in &window.requests {
            let raw = &self.input[ahead.start..ahead.end];
            self.at = ahead.end;
            if ahead.first_span == ahead.end_span {
                continue;
            }
            self.argv.clear();
            for span in &window.spans[ahead.first_span..ahead.end_span] {
                self.argv.push(span.of(raw));
            }
            let next = match self.apart.take() {
                Some(apart) => self.execute_with(apart),
                None => {
                    let request = Request { argv: &self.argv, raw: Some(raw) };
                    self.engine.execute(self.id, request, self.out, self.context)
                }
            };
            self.context.end_busy();
            self.note_written(next);
            if next != Next::Continue || self.out.len() >= self.output_end || self.is_renewed() {
                return next;
            }
        }
        self.left = self.left.saturating_sub(window.requests.len());
        Next::Continue
    }

    /// Executes the request whose arguments are read, some of which came apart: its values may take over their buffers.
    #[cold]
    fn execute_with(&mut self, apart: &'a Apart) -> Next {
        for (index, bytes) in apart.whole() {
            self.argv[*index] = bytes;
            self.engine.keyspace.given.push(Arc::clone(bytes));
        }
        let request = Request { argv: &self.argv, raw: None };
        let next = self.engine.execute(self.id, request, self.out, self.context);
        self.engine.keyspace.given = Vec::new();
        next
    }

    /// Whether there is so much output, or so much for others, that the turn ends, or what follows is to be read by other limits.
    fn is_full(&self) -> bool {
        self.out.len() >= self.output_end
            || self.engine.waiting_deliveries() >= self.delivery_end
            || self.is_renewed()
    }

    /// Whether a request has just changed the configuration: what was read behind it is read again, by the limits that now hold.
    fn is_renewed(&self) -> bool {
        self.context.shared.config_version.load(Ordering::Acquire) != self.config_version
    }

    /// What is no request ends the connection.
    fn refuse(&mut self, error: &ProtocolError) -> Next {
        if self.engine.reply_mode(self.id) == ReplyMode::On {
            push_protocol_error(self.out, error);
        }
        Next::Close
    }

    /// So does a request that came whole and would not have been waited for.
    fn refuse_large(&mut self) -> Next {
        self.context.net.note_full();
        Next::Close
    }

    fn run_inline(&mut self, end: usize, args: &[Vec<u8>]) -> Next {
        self.at = end;
        self.left = self.left.saturating_sub(1);
        if args.is_empty() {
            self.engine.hear_sign(self.id);
            return Next::Continue;
        }
        let argv: SmallVec<[&[u8]; 16]> = args.iter().map(Vec::as_slice).collect();
        let next = self.engine.execute(self.id, Request { argv: &argv, raw: None }, self.out, self.context);
        self.context.end_busy();
        self.note_written(next);
        next
    }

    /// How far the input was executed, how long the output is, what was written, and whether long arguments wait for the rest of theirs.
    fn end(self) -> (usize, usize, Writes, bool) {
        (self.at, self.out.len(), self.writes, self.apart.is_some())
    }

    /// Remembers what a request has written that is answered now.
    #[inline]
    fn note_written(&mut self, next: Next) {
        let logged = self.engine.log_len();
        let has_logged = logged != std::mem::replace(&mut self.logged, logged);
        if next != Next::Wait {
            self.writes.note(self.engine.take_written(), has_logged);
        }
    }
}

/// Runs what a client has sent, as far as it may go on, and looks at what became of it.
pub(crate) fn serve(
    client: &mut Client,
    engine: &mut Engine,
    context: &mut IoContext<'_>,
    window: &mut Window,
) -> Ran {
    let Some(session) = client.session.filter(|_| client.may_run()) else { return Ran::All };
    if client.is_held_back(engine.keyspace.now.mono_us) {
        return Ran::HeldBack;
    }
    let bounds = context.net.bounds;
    context.running_net = client.net;
    log_in_by_certificate(client, session, engine, bounds.certificate_user);
    // A log-in that has waited for its check is through: what follows it is a user's.
    client.trusted = client.trusted || engine.is_trusted(session);
    let (waiting, held) = (client.conn.pending(), client.conn.held());
    // Of a request that is still not whole it is found again.
    client.missing = 0;
    let ran = run(client, session, engine, context, window, &bounds);
    context.net.batch_output += client.conn.pending().saturating_sub(waiting);
    let facts = engine.facts(session);
    (client.class, client.is_monitor) = (Class::of(&facts), facts.is_monitor);
    if client.trusted && !facts.is_authenticated {
        client.begin_as_stranger(context.net.now_s);
    }
    client.trusted = facts.is_authenticated;
    client.is_asking = facts.is_asking;
    client.queued_bytes = facts.queued_bytes;
    client.asked_bytes = if facts.is_asking { 2 * (held - client.conn.held()) } else { 0 };
    ran
}

/// Logs a client in as the user that its certificate names, before its first request.
fn log_in_by_certificate(
    client: &mut Client,
    session: SessionId,
    engine: &mut Engine,
    by: TlsAuthClientsUser,
) {
    if client.certificate_seen || by == TlsAuthClientsUser::Off {
        return;
    }
    client.certificate_seen = true;
    let names = match by {
        TlsAuthClientsUser::Uri => client.conn.certificate_uris(),
        _ => client.conn.certificate_name().into_iter().collect(),
    };
    engine.log_in_by_certificate(session, &names);
}

/// Gives a long argument in the midst of which the input ends a buffer of its own, if there is not one already.
#[cold]
fn set_apart(client: &mut Client, scratch: &Scratch, bounds: &Bounds) {
    let Some(BulkAtHand { index, start, len }) = client.parser.bulk_at_hand() else { return };
    if len >= LONG_ARGUMENT_BYTES && len + LINE_END_BYTES <= bounds.query_bytes_max {
        client.parser.leave_out();
        client.conn.set_apart(scratch, start, (index, len));
    }
}

/// Executes the whole requests in a client's input, as far as the budget goes.
fn run(
    client: &mut Client,
    id: SessionId,
    engine: &mut Engine,
    context: &mut IoContext<'_>,
    window: &mut Window,
    bounds: &Bounds,
) -> Ran {
    let mut limits = client.request_limits(bounds);
    let (pending, output_max) = (client.conn.pending(), bounds.output_bytes_max(client.class));
    let apart = client.conn.take_apart();
    let Parts { input, out } = client.conn.parts(context.scratch, &mut context.net.pool);
    let output_max = output_max.saturating_add(out.len() - pending);
    if pending >= OUTPUT_PER_TICK {
        // One that does not read: its buffer would be doubled, and half of what its memory counts would be empty.
        out.reserve_exact((pending / 4).max(2 * OUTPUT_PER_TICK));
    }
    let mut turn = Turn::begin(id, Parts { input, out }, engine, context, client.trusted);
    turn.apart = apart.as_deref();
    let mut ran = Ran::All;
    let next = loop {
        // A stranger's requests are read one by one: each may change what it is allowed to send.
        let ahead = if client.trusted { AHEAD_MAX.min(turn.left) } else { 1 };
        let end = window.fill(&mut client.parser, input, turn.at, ahead, (&limits, bounds.query_bytes_max));
        window.prefetch(input, turn.engine, id);
        let mut next = turn.run_window(window);
        let is_cut = turn.at < window.requests.last().map_or(0, |ahead| ahead.end) || turn.is_renewed();
        if next == Next::Continue && !is_cut {
            match end {
                End::Full => {}
                End::Incomplete(missing) => {
                    client.missing = missing + turn.apart.map_or(0, Apart::missing);
                    break next;
                }
                End::Inline(end, args) => next = turn.run_inline(end, &args),
                End::TooLarge => next = turn.refuse_large(),
                End::Bad(error) => next = turn.refuse(&error),
            }
        } else if turn.apart.is_none() && (is_cut || !matches!(end, End::Full)) {
            client.parser = Parser::default();
        }
        if next == Next::Continue && turn.out.len() > output_max {
            // Its output is dropped and so is the rest of its input.
            next = Next::Close;
        }
        if next != Next::Continue {
            break next;
        }
        if turn.is_full() || turn.left == 0 {
            ran = Ran::Budget;
            break next;
        }
        if !client.trusted && turn.engine.is_trusted(id) {
            client.trusted = true;
            limits = Limits::trusted(bounds.bulk_bytes_max);
            turn.output_end += OUTPUT_PER_TICK;
        }
    };
    let (at, out_len, writes, is_unfinished) = turn.end();
    client.conn.consume(at);
    if is_unfinished {
        client.conn.give_back_apart(apart);
    }
    if next == Next::Continue && ran == Ran::All && client.missing >= LONG_ARGUMENT_BYTES {
        set_apart(client, context.scratch, bounds);
    }
    writes.tell(client, out_len, engine.keyspace.now.mono_us, context);
    client.waiting = next == Next::Wait;
    if next == Next::Close {
        client.conn.close_after_flush();
    }
    ran
}
