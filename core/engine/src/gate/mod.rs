//! The gate: whether a command may run, and what becomes of it if not now. Whoever wants one to run asks here: clients, EXEC, scripts,
//! those who have waited for a key, the log at start, and the master of a replica.
//!
//! One order for all: form, access, session, rights, what the server does just now, room and disk, pause, queue. Which of these a caller
//! meets is said at each. What a command needs is in the flags of its row; its name means nothing here.
//!
//! Refusals are the cheapest path in the server, because a client in trouble repeats itself thousands of times a second.

mod access;
mod rights;
mod room;

use crate::call::Request;
use crate::durability::Durability;
use crate::engine::Engine;
use crate::outside::Outside;
use crate::replica::STALE_CALL;
use crate::running::Program;
use crate::session::{Queued, SessionId};
use crate::table::Command;
use commands::{Args, Error, Flags, Spec};
use resp::Reply;
pub(crate) use room::grows;

/// What a client from elsewhere gets while there is no password.
pub(crate) const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers, set a password (requirepass, requirepass-file or an ACL user), or disable protected mode with 'CONFIG SET protected-mode no' from the loopback interface if you are sure that the server is not reachable from untrusted networks.\r\n";

/// The refusal of a client that has not logged in.
const NOAUTH: Error = Error::new("NOAUTH Authentication required.");
pub(crate) const OOM: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
/// The refusal while data is being loaded.
pub(crate) const LOADING: Error = Error::new("LOADING Redis is loading the dataset in memory");
const NOREPLICAS: Error = Error::new("NOREPLICAS Not enough good replicas to write.");
const NO_MULTI: Error = Error::new("ERR Command not allowed inside a transaction");
const NOT_FROM_SCRIPTS: Error = Error::new("ERR This Redis command is not allowed from script");
const READ_ONLY_SCRIPT: Error = Error::new("ERR Write commands are not allowed from read-only scripts.");
/// The refusal of a replica, and of a client that monitors, which is a kind of replica in Redis.
const ONLY_FED: Error = Error::new("ERR Replica can't interact with the keyspace");
const SCRIPT_ARITY: Error = Error::new("ERR Wrong number of args calling Redis command from script");

/// Most bytes of arguments that a transaction may queue.
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// A command that has one of these may change data.
pub(crate) const CHANGES: Flags = Flags::WRITE.and(Flags::MAY_WRITE);

/// What has one of these does not stand still while a pause holds writes back, and is no business of a script that only reads.
pub(crate) const LEAVES_TRACES: Flags = CHANGES.and(Flags::MAY_REPLICATE);

/// Who wants a command to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A client, by its own request.
    Client,
    /// EXEC, for what was queued.
    Transaction,
    /// A script.
    Script(Leave),
    /// A client that has waited for a key: its request runs again.
    Ready,
    /// The log, at start.
    Replay,
    /// The master that this server follows.
    Master,
}

impl Caller {
    /// Whether the command may make its client wait.
    #[inline]
    pub(crate) const fn may_wait(self) -> bool {
        matches!(self, Caller::Client | Caller::Ready)
    }
}

/// What a script may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Nothing that changes data.
    pub(crate) read_only: bool,
    /// Also what needs memory that there is not.
    pub(crate) allow_oom: bool,
    /// It has changed data: what has begun may end.
    pub(crate) has_written: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Whose session.
    pub(crate) id: SessionId,
    /// Its place in the table.
    pub(crate) command: usize,
    /// The request.
    pub(crate) argv: &'a [&'a [u8]],
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It runs.
    Run,
    /// It is kept until EXEC.
    Queue,
    /// It waits for the end of a pause.
    Hold,
    /// It does not run.
    Refuse(Error),
}

impl Engine {
    /// Judges what a caller wants to run. See the module.
    #[inline(always)]
    pub(crate) fn admit(&mut self, asked: Asked<'_>, caller: Caller, outside: &mut dyn Outside) -> Verdict {
        if let Err(error) = self.check(asked, caller, outside) {
            return Verdict::Refuse(error);
        }
        if caller == Caller::Client && self.pause.is_pending && self.is_held(asked) {
            return Verdict::Hold;
        }
        let may_queue = matches!(caller, Caller::Client | Caller::Replay | Caller::Master);
        if may_queue && self.sessions.at(asked.id).multi.is_some() && !self.flags(asked).has(Flags::IN_MULTI)
        {
            return Verdict::Queue;
        }
        Verdict::Run
    }

    /// What stands against it, in the order of the module.
    #[inline(always)]
    fn check(&mut self, asked: Asked<'_>, caller: Caller, outside: &mut dyn Outside) -> Result<(), Error> {
        let command = &self.table.commands[asked.command];
        let spec = command.spec;
        match caller {
            Caller::Client => {
                check_form(command, asked.argv)?;
                self.check_access(asked)?;
                self.check_session(asked.id, spec)?;
            }
            Caller::Replay | Caller::Master => {
                check_form(command, asked.argv)?;
                self.check_access(asked)?;
            }
            Caller::Script(_) => {
                self.check_called(command, asked.argv)?;
                self.check_access(asked)?;
            }
            Caller::Transaction | Caller::Ready => {}
        }
        if !self.acl.is_unlimited(self.sessions.at(asked.id).user) {
            self.check_rights(asked, caller)?;
        }
        // Behind the rights: who lacks one hears of that, whatever else stands against it.
        if caller == Caller::Client
            && !spec.flags.has(Flags::AS_SUBSCRIBER)
            && self.sessions.at(asked.id).is_restricted()
        {
            return Err(subscribers_may_not(spec));
        }
        if caller == Caller::Client && outside.is_loading() && !spec.flags.has(Flags::LOADING) {
            return Err(LOADING);
        }
        if matches!(caller, Caller::Client | Caller::Script(_))
            && let Err(error) = self.check_link()
            && !self.needs(asked).has(Flags::STALE)
            && !self.is_trusted_feed(asked.id)
        {
            return match caller {
                Caller::Script(_) => Err(STALE_CALL),
                _ => self.check_read_only(spec.flags).and(Err(error)),
            };
        }
        if caller == Caller::Client
            && let Some(script) = &self.busy
            && !spec.flags.has(Flags::ALLOW_BUSY)
        {
            return Err(script.refusal());
        }
        // Who is fed would see its own command, or what others have written, instead of the reply that it waits for.
        if caller == Caller::Client
            && self.sessions.at(asked.id).is_fed()
            && spec.flags.has_any(LEAVES_TRACES.and(Flags::READONLY))
        {
            return Err(ONLY_FED);
        }
        match caller {
            Caller::Client if spec.flags.has_any(CHANGES.and(Flags::RUNS_QUEUE)) => {
                self.check_change(asked, outside)
            }
            Caller::Client if spec.flags.has(Flags::TELLS_HEALTH) => check_disk(outside),
            Caller::Script(leave) if spec.flags.has_any(LEAVES_TRACES) => {
                self.check_scripted_change(asked, leave, outside)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn flags(&self, asked: Asked<'_>) -> Flags {
        self.table.commands[asked.command].spec.flags
    }

    #[inline]
    fn check_session(&self, id: SessionId, spec: &Spec) -> Result<(), Error> {
        let session = self.sessions.at(id);
        if !spec.flags.has(Flags::NO_AUTH) && !self.is_let_in(session) {
            return Err(NOAUTH);
        }
        if session.multi.is_some() && spec.flags.has(Flags::NO_MULTI) {
            return Err(NO_MULTI);
        }
        Ok(())
    }

    /// The form of a script's call, and whether scripts may make it at all.
    fn check_called(&self, command: &Command, argv: &[&[u8]]) -> Result<(), Error> {
        if !command.subcommands.is_empty() && argv.len() > 1 {
            return Err(unknown_subcommand(command, argv));
        }
        if !command.spec.arity_allows(argv.len()) {
            return Err(SCRIPT_ARITY);
        }
        if command.spec.flags.has(Flags::NOSCRIPT) && !self.switches.scripts_may_all {
            return Err(NOT_FROM_SCRIPTS);
        }
        Ok(())
    }

    /// What stands against a change: full memory, a disk that keeps nothing.
    fn check_change(&mut self, asked: Asked<'_>, outside: &mut dyn Outside) -> Result<(), Error> {
        let needs =
            if self.flags(asked).has(Flags::RUNS_QUEUE) { self.needs(asked) } else { self.flags(asked) };
        if !needs.has_any(CHANGES) {
            return Ok(());
        }
        if self.is_replica() {
            self.check_read_only(self.needs(asked))?;
        }
        self.make_room(outside);
        self.check_memory(needs, outside)?;
        if self.over_memory && grows(self.needs(asked)) {
            return Err(self.refuse_memory(OOM, outside));
        }
        let (log, argv) = (&self.log, asked.argv);
        let bytes = || log.len() + argv.iter().map(|arg| arg.len()).sum::<usize>();
        match outside.write_refusal(grows(needs), &bytes) {
            // A script that declares nothing may only read: it is looked at call by call.
            Some(why) if self.needs(asked).has(Flags::WRITE) => Err(Error::text(why)),
            _ => self.check_replicas(asked.id, |engine| engine.needs(asked)),
        }
    }

    /// What changes data is refused where too few replicas keep up (`min-replicas-to-write`), or too few acknowledge what is written
    /// for a client that waits for that.
    fn check_replicas(&mut self, id: SessionId, needs: impl Fn(&Engine) -> Flags) -> Result<(), Error> {
        let least = self.config.min_replicas_to_write;
        let waits_for_them = self.durability(id) == Durability::Replicated;
        if least == 0 && !waits_for_them && !self.awaits_tail() || !needs(self).has(Flags::WRITE) {
            return Ok(());
        }
        if self.good_replicas() < least {
            self.counters.unreplicated_refusals += 1;
            return Err(NOREPLICAS);
        }
        if waits_for_them {
            self.check_acknowledgement()?;
        }
        self.check_tail()
    }

    /// The same for a script's call. Memory and disk are looked at before the first change only.
    fn check_scripted_change(
        &mut self,
        asked: Asked<'_>,
        leave: Leave,
        outside: &mut dyn Outside,
    ) -> Result<(), Error> {
        let flags = self.flags(asked);
        if leave.read_only {
            return Err(READ_ONLY_SCRIPT);
        }
        if !flags.has(Flags::WRITE) || self.is_trusted_feed(asked.id) {
            return Ok(());
        }
        self.check_read_only(flags)?;
        if leave.has_written {
            return Ok(());
        }
        if !leave.allow_oom {
            self.check_memory(flags, outside)?;
        }
        let log = &self.log;
        let refusal = outside.write_refusal(grows(flags), &|| log.len());
        refusal.map_or(Ok(()), |why| Err(Error::text(why)))?;
        self.check_replicas(asked.id, |_| flags)
    }

    /// What stands against a script that begins. One that declares nothing is looked at call by call.
    pub(crate) fn check_program(
        &mut self,
        id: SessionId,
        program: Program<'_>,
        outside: &mut dyn Outside,
    ) -> Result<(), Error> {
        let flags = program.flags;
        if !flags.allow_stale && !self.is_trusted_feed(id) {
            self.check_link()?;
        }
        if !flags.is_declared || flags.no_writes {
            return Ok(());
        }
        if program.read_only {
            self.check_read_only(Flags::WRITE)?;
            return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
        }
        if !flags.allow_oom && self.over_memory {
            let error = Error::new(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            );
            return Err(self.refuse_memory(error, outside));
        }
        Ok(())
    }

    /// What a request needs: what its row says; of a program what that declares; of EXEC what is queued.
    #[cold]
    pub(crate) fn needs(&self, asked: Asked<'_>) -> Flags {
        let spec = self.table.commands[asked.command].spec;
        if spec.flags.has(Flags::RUNS_QUEUE) {
            let queued = self.sessions.at(asked.id).multi.as_ref().and_then(|multi| multi.needs);
            return queued.map_or(spec.flags, |needs| together(spec.flags, needs));
        }
        let Some(subject) = spec.program else { return spec.flags };
        if spec.flags.has(Flags::READONLY) {
            return spec.flags.without(Flags::MAY_WRITE);
        }
        match self.declared(subject, asked.argv) {
            None => spec.flags,
            Some(declared) if declared.no_writes => spec.flags.without(Flags::MAY_WRITE),
            Some(declared) if declared.allow_oom => spec.flags.and(Flags::WRITE),
            Some(_) => spec.flags.and(Flags::WRITE).and(Flags::DENYOOM),
        }
    }

    /// Whether this is a session in which is run again what was let in before: the log's, or the master's.
    pub(crate) fn is_trusted_feed(&self, id: SessionId) -> bool {
        self.replay_session == Some(id) || self.is_master(id)
    }

    /// Finds the command of a client's request and has it judged. `None`: the reply (an error, or `QUEUED`) is written, or comes later.
    #[inline]
    pub(crate) fn let_in(
        &mut self,
        id: SessionId,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        outside: &mut dyn Outside,
    ) -> Option<usize> {
        let argv = request.argv;
        let Some(command) = self.table.find(argv) else {
            self.refuse_unknown(id, argv, reply);
            return None;
        };
        let asked = Asked { id, command, argv };
        match self.admit(asked, Caller::Client, outside) {
            Verdict::Run => return Some(command),
            Verdict::Queue => self.queue(asked, reply),
            Verdict::Hold => self.hold(asked),
            Verdict::Refuse(error) => self.reject(asked, &error, reply),
        }
        None
    }

    /// Keeps a request until EXEC.
    pub(crate) fn queue(&mut self, asked: Asked<'_>, reply: &mut Reply<'_>) {
        let Asked { id, command, argv } = asked;
        let (needs, is_trusted) = (self.needs(asked), self.is_trusted_feed(id));
        let session = self.sessions.at_mut(id);
        session.last_command = Some(command);
        let Some(multi) = &mut session.multi else { return };
        let bytes: usize = argv.iter().map(|a| a.len()).sum();
        // What a script has written is one transaction in the log, however large: it is replayed whole.
        if multi.bytes + bytes > QUEUED_BYTES_MAX && !is_trusted {
            multi.broken = true;
            self.refuse(&Error::new("ERR transaction is too large"), reply);
            return;
        }
        multi.bytes += bytes;
        multi.needs = Some(multi.needs.map_or(needs, |others| together(others, needs)));
        multi.queue.push(Queued { command, argv: argv.iter().map(|a| a.to_vec()).collect() });
        reply.status("QUEUED");
    }

    /// Tells a client that its request does not run.
    #[cold]
    fn reject(&mut self, asked: Asked<'_>, error: &Error, reply: &mut Reply<'_>) {
        let Asked { id, command, .. } = asked;
        let is_whole = self.table.commands[command].subcommands.is_empty();
        self.sessions.at_mut(id).last_command = is_whole.then_some(command);
        // A subcommand that there is none of is no command, so nobody has called one.
        if is_whole || asked.argv.len() < 2 {
            self.command_stats[command].rejected += 1;
        }
        if !self.flags(asked).has(Flags::RUNS_QUEUE) {
            return self.refuse_in(id, error, reply);
        }
        // The transaction that it would have ended is over.
        self.sessions.at_mut(id).multi = None;
        self.unwatch(id);
        let why = error.as_bytes();
        let why = why.strip_prefix(b"ERR ").unwrap_or(why);
        let error = Error::quoting("EXECABORT Transaction discarded because of: {}", &[why]);
        self.refuse(&error, reply);
    }

    #[cold]
    fn refuse_unknown(&mut self, id: SessionId, argv: &[&[u8]], reply: &mut Reply<'_>) {
        self.sessions.at_mut(id).last_command = None;
        if is_http(argv) {
            // A browser was made to talk to us (a form, DNS rebinding): nothing of it must run, nothing is answered.
            self.counters.http_requests += 1;
            return self.close_client(id);
        }
        self.refuse_in(id, &unknown_command(argv), reply);
    }

    /// A refusal while a transaction is being queued breaks it.
    fn refuse_in(&mut self, id: SessionId, error: &Error, reply: &mut Reply<'_>) {
        if let Some(multi) = &mut self.sessions.at_mut(id).multi {
            multi.broken = true;
        }
        self.refuse(error, reply);
    }
}

/// Refuses while writes that grow would be, because the disk cannot keep them.
fn check_disk(outside: &mut dyn Outside) -> Result<(), Error> {
    outside.write_refusal(true, &|| 0).map_or(Ok(()), |why| Err(Error::text(why)))
}

/// What two commands need together. What is a leave holds only if both have it: where one needs room to keep, it does not help
/// that the other gives some back.
fn together(one: Flags, other: Flags) -> Flags {
    const LEAVES: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::ALLOW_BUSY);
    let withheld = LEAVES.without(Flags(one.0 & other.0));
    let moves = if grows(one) || grows(other) { Flags::MOVES } else { Flags::default() };
    one.and(other).without(withheld).without(moves)
}

/// Whether the line is part of an HTTP request.
fn is_http(argv: &[&[u8]]) -> bool {
    argv.first().is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}

/// Subcommand and number of arguments.
#[inline]
fn check_form(command: &Command, argv: &[&[u8]]) -> Result<(), Error> {
    if !command.subcommands.is_empty() && argv.len() >= 2 {
        return Err(unknown_subcommand(command, argv));
    }
    if command.spec.arity_allows(argv.len()) { Ok(()) } else { Err(Error::arity(command.spec.name)) }
}

#[cold]
fn unknown_subcommand(command: &Command, argv: &[&[u8]]) -> Error {
    commands::unknown_subcommand(Args::new(argv), &command.spec.name.to_ascii_uppercase())
}

/// A RESP2 subscriber may do little.
#[cold]
fn subscribers_may_not(spec: &Spec) -> Error {
    Error::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        spec.name
    ))
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
