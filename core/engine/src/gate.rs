//! The gate: whether a request may run at all, checked in one fixed order before the call.
//!
//! Refusals are the cheapest path in the server, because a client in trouble repeats itself thousands of times a second.

use crate::acl::Denial;
use crate::engine::{Engine, Request};
use crate::outside::Outside;
use crate::session::{Queued, SessionId};
use commands::{Args, Error, Flags, Group, Spec};
use resp::Reply;

/// What a client from elsewhere gets while there is no password.
pub const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers, set a password (requirepass, requirepass-file or an ACL user), or disable protected mode with 'CONFIG SET protected-mode no' from the loopback interface if you are sure that the server is not reachable from untrusted networks.\r\n";

/// The refusal of a client that has not logged in.
pub const NOAUTH: Error = Error::new("NOAUTH Authentication required.");
pub(crate) const OOM: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
/// The refusal while data is being loaded.
pub const LOADING: Error = Error::new("LOADING Redis is loading the dataset in memory");
const NO_MULTI: Error = Error::new("ERR Command not allowed inside a transaction");

/// The part of `maxmemory` by which replies on their way out may exceed it.
const PASSING_SHARE: usize = 16;

/// Most bytes of arguments that a transaction may queue.
const QUEUED_BYTES_MAX: usize = 1 << 30;

impl Engine {
    /// Finds the command of a request and checks whether it may run now. `None`: the reply (an error, or `QUEUED`) is written.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        id: SessionId,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        outside: &mut dyn Outside,
    ) -> Option<usize> {
        let argv = request.argv;
        let Some(command) = self.table.find(argv) else {
            self.sessions.at_mut(id).last_command = None;
            if is_http(argv) {
                self.close_http(id);
                return None;
            }
            self.refuse_in(id, &unknown_command(argv), reply);
            return None;
        };
        match self.check(id, command, argv, outside) {
            Ok(()) => {}
            Err(error) => {
                let is_whole = self.table.commands[command].subcommands.is_empty();
                self.sessions.at_mut(id).last_command = is_whole.then_some(command);
                let error = self.exec_refused(id, command, error);
                self.command_stats[command].rejected += 1;
                self.refuse_in(id, &error, reply);
                return None;
            }
        }
        if self.pause.is_pending && self.hold(id, command, argv) {
            return None;
        }
        if self.sessions.at(id).multi.is_some() && !runs_inside_multi(self.table.commands[command].spec) {
            self.queue(id, command, argv, reply);
            return None;
        }
        Some(command)
    }

    /// A browser was made to talk to us (a form, DNS rebinding): nothing of it must run, nothing is answered.
    #[cold]
    fn close_http(&mut self, id: SessionId) {
        self.counters.http_requests += 1;
        self.close_client(id);
    }

    /// An EXEC that is refused ends its transaction and says so.
    #[cold]
    fn exec_refused(&mut self, id: SessionId, command: usize, error: Error) -> Error {
        if self.table.commands[command].spec.name != "exec" {
            return error;
        }
        self.sessions.at_mut(id).multi = None;
        self.unwatch(id);
        let why = error.as_bytes();
        let why = why.strip_prefix(b"ERR ").unwrap_or(why);
        Error::quoting("EXECABORT Transaction discarded because of: {}", &[why])
    }

    /// A refusal while a transaction is being queued breaks it.
    #[cold]
    fn refuse_in(&mut self, id: SessionId, error: &Error, reply: &mut Reply<'_>) {
        if let Some(multi) = &mut self.sessions.at_mut(id).multi {
            multi.broken = true;
        }
        self.refuse(error, reply);
    }

    #[inline]
    fn check(
        &mut self,
        id: SessionId,
        command: usize,
        argv: &[&[u8]],
        outside: &mut dyn Outside,
    ) -> Result<(), Error> {
        let spec = self.table.commands[command].spec;
        check_arity(&self.table.commands[command], spec, argv)?;
        let session = self.sessions.at(id);
        if !session.authenticated && !spec.flags.has(Flags::NO_AUTH) {
            return Err(NOAUTH);
        }
        if session.multi.is_some() && spec.flags.has(Flags::NO_MULTI) {
            return Err(NO_MULTI);
        }
        if session.is_restricted() {
            check_restricted(spec)?;
        }
        if !self.acl.is_unlimited(session.user) {
            let context = if session.multi.is_some() { "multi" } else { "toplevel" };
            // A denial is noted with what the client asks for.
            self.sessions.at_mut(id).last_command = Some(command);
            self.check_acl(id, command, argv, context)?;
        }
        let replicates = spec.flags.has(Flags::MAY_REPLICATE) && !spec.flags.has(Flags::PUBSUB);
        if spec.flags.has(Flags::WRITE) || replicates {
            self.check_write(spec, argv, outside)?;
        }
        if outside.is_loading() && !spec.flags.has(Flags::LOADING) {
            return Err(LOADING);
        }
        Ok(())
    }

    /// What stands against a write: full memory, a disk that keeps nothing.
    fn check_write(&mut self, spec: &Spec, argv: &[&[u8]], outside: &mut dyn Outside) -> Result<(), Error> {
        self.make_room(outside);
        self.check_memory(spec.flags)?;
        if self.over_memory && spec.group == Group::Scripting && self.script_grows(spec.name, argv) {
            self.counters.oom_refusals += 1;
            return Err(OOM);
        }
        let log = &self.log;
        let bytes = || log.len() + argv.iter().map(|arg| arg.len()).sum::<usize>();
        if let Some(refusal) = outside.write_refusal(grows(spec.flags), &bytes) {
            return Err(Error::text(refusal));
        }
        Ok(())
    }

    /// Refuses what would grow while memory is full. What only moves an element goes on inside the consumers' reserve.
    pub(crate) fn check_memory(&mut self, flags: Flags) -> Result<(), Error> {
        if self.lacks_room(flags) {
            self.counters.oom_refusals += 1;
            return Err(OOM);
        }
        Ok(())
    }

    /// Whether a command with these flags would need memory that there is not.
    #[inline]
    pub(crate) fn lacks_room(&self, flags: Flags) -> bool {
        let full = if flags.has(Flags::MOVES) { self.over_reserve } else { self.over_memory };
        full && flags.has(Flags::DENYOOM)
    }

    /// Evicts until memory is below its limit, in bounded work; notes whether that succeeded.
    #[inline]
    pub(crate) fn make_room(&mut self, outside: &dyn Outside) {
        let mut limit = self.config.maxmemory as usize;
        if limit == 0 || self.pause.is_pending {
            (self.over_memory, self.over_reserve) = (false, false);
            return self.note_fullness();
        }
        let (used, reserve) = (outside.used_memory(), self.config.queue_reserve as usize);
        (self.over_memory, self.over_reserve) = (used > limit.saturating_sub(reserve), used > limit);
        if self.over_memory && outside.is_loading() {
            // The log says what was evicted while it was written; records that follow may build on what is still there.
            (self.over_memory, self.over_reserve) = (false, false);
        }
        if self.over_memory {
            // Messages and replies on their way out are gone before long: evicting for messages would make more of them.
            // So is what a running script holds.
            limit += self.undelivered_bytes() + outside.passing_bytes().min(limit / PASSING_SHARE);
            limit += self.script_bytes.min(limit / crate::share::SHARE);
            (self.over_memory, self.over_reserve) = (used > limit.saturating_sub(reserve), used > limit);
        }
        if self.over_memory {
            self.timed("eviction-cycle", outside, |engine| engine.evict_until(limit, outside));
        }
        self.note_fullness();
    }

    /// Counts for how long memory stays full.
    #[inline]
    fn note_fullness(&mut self) {
        if self.over_memory == self.full_since_us.is_some() {
            return;
        }
        let now_us = self.keyspace.now.mono_us;
        match self.full_since_us.take() {
            Some(since_us) => self.counters.full_us += now_us.saturating_sub(since_us),
            None => self.full_since_us = Some(now_us),
        }
    }

    /// What this batch has for other clients, as far as the latest messages tell: this is asked before every write while
    /// memory is full.
    #[cold]
    fn undelivered_bytes(&self) -> usize {
        const LOOKED_AT_MAX: usize = 64;
        let latest = self.deliveries.iter().rev().take(LOOKED_AT_MAX);
        latest.map(|delivery| delivery.bytes.capacity()).sum()
    }

    #[cold]
    fn evict_until(&mut self, limit: usize, outside: &dyn Outside) {
        /// Keys between two looks at the clock.
        const LOOK_PERIOD: usize = 16;
        let Some(policy) = crate::admin::eviction(&self.config) else { return };
        let samples = self.config.maxmemory_samples;
        let saved = self.keyspace.effects.changes;
        let (began_ns, patience_ns) = (outside.nanos(), eviction_ns(self.config.maxmemory_eviction_tenacity));
        let held_before = self.keyspace.effects.held_bytes();
        let mut has_more = true;
        // A key less each time, so it ends in any case.
        for evicted in 1.. {
            has_more = self.keyspace.evict_one(policy, samples);
            if !has_more {
                break;
            }
            if evicted % LOOK_PERIOD == 0 && outside.nanos().saturating_sub(began_ns) > patience_ns {
                break;
            }
            // What is noted down to tell others of the keys is given back soon: evicting for it would note down more.
            let held = self.keyspace.effects.held_bytes().saturating_sub(held_before);
            if outside.used_memory().saturating_sub(held) <= limit {
                self.over_memory = false;
                break;
            }
        }
        // Memory that is still being freed elsewhere, or that clients hold, must not refuse a cache's writes: it goes on
        // evicting with the next one, as long as there is something that may go.
        self.over_memory &= !has_more;
        self.keyspace.effects.changes = saved;
        self.settle_background();
    }

    pub(crate) fn queue(&mut self, id: SessionId, command: usize, argv: &[&[u8]], reply: &mut Reply<'_>) {
        let session = self.sessions.at_mut(id);
        session.last_command = Some(command);
        let Some(multi) = &mut session.multi else { return };
        let bytes: usize = argv.iter().map(|a| a.len()).sum();
        // What a script has written is one transaction in the log, however large: it is replayed whole.
        if multi.bytes + bytes > QUEUED_BYTES_MAX && self.replay_session != Some(id) {
            multi.broken = true;
            self.refuse(&Error::new("ERR transaction is too large"), reply);
            return;
        }
        multi.bytes += bytes;
        multi.queue.push(Queued { command, argv: argv.iter().map(|a| a.to_vec()).collect() });
        reply.status("QUEUED");
    }

    /// Whether the client's user may run this, counted and noted in the ACL log when not.
    pub(crate) fn check_acl(
        &mut self,
        id: SessionId,
        command: usize,
        argv: &[&[u8]],
        context: &'static str,
    ) -> Result<(), Error> {
        self.denial_of(id, command, argv, context).map_or(Ok(()), |denial| Err(self.denied(id, &denial)))?;
        if self.table.commands[command].spec.name.starts_with("sort") {
            self.check_sort(id, command, argv)?;
        }
        Ok(())
    }

    /// What stands against the request among its user's permissions, counted and noted in the ACL log.
    pub(crate) fn denial_of(
        &mut self,
        id: SessionId,
        command: usize,
        argv: &[&[u8]],
        context: &'static str,
    ) -> Option<Denial> {
        let user = self.sessions.at(id).user;
        let denial = self.acl.check(user, &self.table, command, argv).err()?;
        self.counters.acl_denied[denial.counter()] += 1;
        let session = self.sessions.at(id);
        let who = self.acl.name(user).to_vec();
        let client = crate::client::client_line(self, session);
        self.acl.log.note(&denial, context, &who, client, self.keyspace.now.unix_ms);
        Some(denial)
    }

    fn denied(&self, id: SessionId, denial: &Denial) -> Error {
        match denial {
            Denial::Command(name) => {
                let who = self.acl.name(self.sessions.at(id).user);
                let template = "NOPERM User {} has no permissions to run the '{}' command";
                Error::quoting(template, &[who, name.as_bytes()])
            }
            Denial::Key(_) => Error::new("NOPERM No permissions to access a key"),
            Denial::Channel(_) => Error::new("NOPERM No permissions to access a channel"),
            Denial::Auth(_) => crate::connection::WRONGPASS,
        }
    }

    /// SORT finds the keys of its patterns while it runs: that needs leave to read any key.
    fn check_sort(&self, id: SessionId, command: usize, argv: &[&[u8]]) -> Result<(), Error> {
        if self.acl.reads_any_key(self.sessions.at(id).user, command) {
            return Ok(());
        }
        for (word, pattern) in argv.iter().skip(2).zip(argv.iter().skip(3)) {
            if word.eq_ignore_ascii_case(b"by") && pattern.contains(&b'*') {
                return Err(Error::new("ERR BY option of SORT denied due to insufficient ACL permissions."));
            }
            if word.eq_ignore_ascii_case(b"get") {
                return Err(Error::new("ERR GET option of SORT denied due to insufficient ACL permissions."));
            }
        }
        Ok(())
    }
}

/// Whether the line is part of an HTTP request.
fn is_http(argv: &[&[u8]]) -> bool {
    argv.first().is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}

/// Whether a command may need room that it does not give back.
pub(crate) fn grows(flags: Flags) -> bool {
    flags.has(Flags::DENYOOM) && !flags.has(Flags::MOVES)
}

/// Commands that are run, not queued, while MULTI is open.
pub(crate) fn runs_inside_multi(spec: &Spec) -> bool {
    matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

#[inline]
fn check_arity(command: &crate::table::Command, spec: &Spec, argv: &[&[u8]]) -> Result<(), Error> {
    if !command.subcommands.is_empty() && argv.len() >= 2 {
        let container = spec.name.to_ascii_uppercase();
        return Err(commands::unknown_subcommand(Args::new(argv), &container));
    }
    if spec.arity_allows(argv.len()) { Ok(()) } else { Err(Error::arity(spec.name)) }
}

/// A RESP2 subscriber may do little.
#[cold]
fn check_restricted(spec: &Spec) -> Result<(), Error> {
    let allowed = [
        "ping",
        "subscribe",
        "ssubscribe",
        "psubscribe",
        "unsubscribe",
        "sunsubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ];
    if allowed.contains(&spec.name) {
        return Ok(());
    }
    Err(Error::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        spec.name
    )))
}

/// The error for a command that there is none of, with the beginning of its arguments.
#[cold]
pub(crate) fn unknown_command(argv: &[&[u8]]) -> Error {
    const SHOWN_BYTES_MAX: usize = 128;
    let name = argv.first().copied().unwrap_or_default();
    let mut shown = Vec::new();
    for argument in argv.iter().skip(1) {
        if shown.len() >= SHOWN_BYTES_MAX {
            break;
        }
        let left = SHOWN_BYTES_MAX - shown.len();
        shown.extend_from_slice(&[b"'", &argument[..argument.len().min(left)], b"' "].concat());
    }
    let name = &name[..name.len().min(SHOWN_BYTES_MAX)];
    Error::quoting("ERR unknown command '{}', with args beginning with: {}", &[name, &shown])
}
/// Nanoseconds that one command may spend on evicting, by `maxmemory-eviction-tenacity`: 50 µs a step up to 10,
/// then 15 % more with each; 100 has no limit.
fn eviction_ns(tenacity: u64) -> u64 {
    const STEP_NS: u64 = 50_000;
    match tenacity {
        0..=10 => STEP_NS * tenacity,
        11..=99 => (10.0 * STEP_NS as f64 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}
