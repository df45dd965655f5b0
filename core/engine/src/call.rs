//! One request from its bytes to its reply: admitted, called, counted, and what it has touched is settled.

use crate::commandlog::Measure;
use crate::engine::Engine;
use crate::gate::Caller;
use crate::outside::{Delivery, Job, Outside, Piece};
use crate::session::{ReplyMode, SessionId};
use crate::table::Run;
use commands::{Args, Call, Error, Flags, Group, Outcome, Wait};
use keyspace::{Db, Event};
use resp::Reply;

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

impl Engine {
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
        // What a replica is fed waits for the log, as a reply to its own request does not.
        let is_own =
            |d: &Delivery| (d.thread, d.token) == place && !(d.resume || d.close || d.drop || d.is_feed);
        let mut own = Vec::new();
        for delivery in self.deliveries.extract_if(self.own_from.., |d| is_own(d)) {
            delivery.pieces().for_each(|piece| match piece {
                Piece::Own(bytes) => own.extend_from_slice(bytes),
                Piece::Shared(buffer) => own.extend_from_slice(buffer),
            });
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

    /// The request that has just run is answered later: what it has written is remembered until then.
    #[cold]
    fn note_late(&mut self, id: SessionId) {
        let late = self.acks.written.take().map(Box::new);
        if let Some(session) = self.sessions.find_mut(id) {
            session.late = late;
        }
    }
}
