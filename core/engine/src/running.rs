//! What runs a script or a function, and what its calls may do.
//!
//! The interpreter is taken out of the engine while it runs something, so the script's host can have the whole engine. Each call of a
//! script is a call like any other (same table, same settle); its records are kept together in the log as one unit.

use crate::busy::Pace;
use crate::call::{Called, Step, Turn};
use crate::engine::Engine;
use crate::functions::RunningFunction;
use crate::gate::{Asked, Caller, Leave, Verdict};
use crate::outside::{Busy, Job, Outside};
use crate::session::SessionId;
use commands::{Args, Error, Flags, Keys};
use resp::{Reply, Sink};
use script::{Host, Interrupt, RunError};

/// Flags of every command that runs a script.
pub(crate) const SCRIPT: Flags = Flags::NOSCRIPT.and(Flags::STALE).and(Flags::MAY_WRITE);
/// Where their keys are.
pub(crate) const COUNTED: Keys = Keys::Counted { count_at: 2, destination: false };
/// An interpreter is in use already.
pub(crate) const BUSY_NESTED: Error = Error::new("ERR scripts cannot be nested");

/// What is to run, beside its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    /// What it declares about itself.
    pub(crate) flags: script::Flags,
    /// The command that runs it promises that nothing is written.
    pub(crate) read_only: bool,
    /// The function; none for a script.
    pub(crate) function: Option<RunningFunction<'a>>,
}

impl Engine {
    /// Runs a program by `run`, which is given the host and the place of the reply.
    pub(crate) fn run_program(
        &mut self,
        turn: &mut Turn<'_>,
        program: Program<'_>,
        run: impl FnOnce(&mut dyn Host, &mut dyn Sink) -> Result<(), RunError>,
    ) -> Result<Step, Error> {
        self.check_program(turn.session, program, turn.outside)?;
        self.counters.scripts += 1;
        self.depth += 1;
        let session = self.sessions.at(turn.session);
        let (nested, db_before) = (session.in_exec, session.db);
        if !nested {
            self.log.begin_unit();
        }
        let mut host = Running {
            pace: Pace::new(turn.outside.nanos()),
            outside: &mut *turn.outside,
            session: turn.session,
            function: program.function,
            argv: turn.args.all(),
            leave: Leave {
                read_only: program.read_only || program.flags.no_writes,
                allow_oom: program.flags.allow_oom,
                has_written: false,
            },
            replicated: true,
            has_failed: false,
            lines: 0,
            engine: self,
        };
        host.engine.keyspace.in_script = true;
        let outcome = run(&mut host, turn.reply.as_sink());
        host.engine.keyspace.in_script = false;
        host.engine.script_bytes = 0;
        host.say_what_was_left_out();
        let has_failed = host.has_failed;
        self.busy = None;
        self.sessions.at_mut(turn.session).db = db_before;
        if !nested {
            self.log.end_unit();
        }
        self.depth -= 1;
        if has_failed {
            self.count_failure(turn.args);
        }
        match outcome {
            Ok(()) => Ok(Step::Done(None)),
            Err(RunError::NoScript) => Err(Error::new("NOSCRIPT No matching script. Please use EVAL.")),
            Err(RunError::Failed { text, is_counted: false }) => Err(Error::text(text)),
            Err(RunError::Failed { text, is_counted: true }) => {
                turn.reply.error(&text);
                self.count_failure(turn.args);
                Ok(Step::Done(None))
            }
        }
    }

    /// Counts a call that failed by an error that is counted already.
    #[cold]
    fn count_failure(&mut self, args: Args<'_>) {
        if let Some(command) = self.table.find(args.all()) {
            self.command_stats[command].failed += 1;
        }
    }
}

/// A script that runs, as its host.
struct Running<'a> {
    engine: &'a mut Engine,
    outside: &'a mut dyn Outside,
    session: SessionId,
    pace: Pace,
    /// The function that runs; none for a script of EVAL.
    function: Option<RunningFunction<'a>>,
    /// The request that runs it.
    argv: &'a [&'a [u8]],
    leave: Leave,
    replicated: bool,
    /// What it returns holds an error.
    has_failed: bool,
    /// How many lines it wanted to write to the log.
    lines: usize,
}

/// Lines that one script may write to the server's log, which is written when it is through.
const LINES_MAX: usize = 1000;

impl Host for Running<'_> {
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn Sink, held_bytes: usize) -> u64 {
        let Some(command) = self.engine.table.find(argv) else {
            let unknown = Error::new("ERR Unknown Redis command called from script");
            self.engine.refuse(&unknown, &mut Reply::sink(sink));
            return 0;
        };
        self.engine.script_bytes = held_bytes;
        let (asked, caller) = (Asked { id: self.session, command, argv }, Caller::Script(self.leave));
        if let Verdict::Refuse(error) = self.engine.admit(asked, caller, self.outside) {
            self.engine.command_stats[command].rejected += 1;
            self.engine.refuse(&error, &mut Reply::sink(sink));
            return 0;
        }
        let flags = self.engine.table.commands[command].spec.flags;
        self.leave.has_written |= flags.has(Flags::WRITE);
        let logging = self.engine.log.enabled;
        self.engine.log.enabled &= self.replicated;
        let turn = Turn {
            session: self.session,
            args: Args::new(argv),
            reply: Reply::sink(sink),
            outside: &mut *self.outside,
            caller,
        };
        let called = self.engine.call(command, turn, None);
        self.engine.log.enabled = logging;
        if matches!(called, Called::Later | Called::Block(_)) {
            sink.error(b"ERR This Redis command is not allowed from script");
        }
        self.engine.spent_ns
    }

    fn is_short_of_memory(&mut self) -> bool {
        self.engine.is_full(self.outside)
    }

    fn interrupt(&mut self) -> Interrupt {
        let threshold_ms = self.engine.config.busy_reply_threshold_ms;
        let Some(running_ns) = self.pace.overrun(self.outside.nanos(), threshold_ms) else {
            return Interrupt::Continue;
        };
        let what = Busy { running_ns, has_written: self.leave.has_written };
        self.engine.interrupt(self.outside, what, self.function, self.argv)
    }

    fn log(&mut self, level: i64, message: &[u8]) {
        self.lines += 1;
        if self.lines <= LINES_MAX {
            self.engine.jobs.push(log_line(level, message));
        }
    }

    fn set_replication(&mut self, flags: i64) {
        self.replicated = flags & 1 == 1;
    }

    fn error_replied(&mut self, text: &[u8], is_counted: bool) {
        self.has_failed = true;
        if !is_counted {
            self.engine.count_error(text);
        }
    }

    fn acl_allows(&mut self, argv: &[&[u8]]) -> Result<bool, String> {
        let unknown = || "Invalid command passed to redis.acl_check_cmd()".to_owned();
        let command = self.engine.table.find(argv).ok_or_else(unknown)?;
        if !self.engine.table.commands[command].subcommands.is_empty() && argv.len() > 1 {
            return Err(unknown());
        }
        let user = self.engine.sessions.at(self.session).user;
        Ok(self.engine.acl.check(user, &self.engine.table, command, argv).is_ok())
    }
}

/// The host of a script that is being compiled: it knows the time.
pub(crate) struct Compiling<'a> {
    outside: &'a mut dyn Outside,
    pace: Pace,
    argv: &'a [&'a [u8]],
    engine: &'a mut Engine,
}

impl<'a> Compiling<'a> {
    pub(crate) fn new(
        engine: &'a mut Engine,
        outside: &'a mut dyn Outside,
        argv: &'a [&'a [u8]],
    ) -> Compiling<'a> {
        Compiling { pace: Pace::new(outside.nanos()), outside, argv, engine }
    }
}

impl Host for Compiling<'_> {
    fn call(&mut self, _: &[&[u8]], sink: &mut dyn Sink, _: usize) -> u64 {
        sink.error(b"ERR a script runs no commands while it is compiled");
        0
    }

    fn is_short_of_memory(&mut self) -> bool {
        false
    }

    fn interrupt(&mut self) -> Interrupt {
        let threshold_ms = self.engine.config.busy_reply_threshold_ms;
        let Some(running_ns) = self.pace.overrun(self.outside.nanos(), threshold_ms) else {
            return Interrupt::Continue;
        };
        self.engine.interrupt(self.outside, Busy { running_ns, has_written: false }, None, self.argv)
    }

    fn log(&mut self, _: i64, _: &[u8]) {}

    fn set_replication(&mut self, _: i64) {}

    fn error_replied(&mut self, _: &[u8], _: bool) {}

    fn acl_allows(&mut self, _: &[&[u8]]) -> Result<bool, String> {
        Ok(false)
    }
}

impl Running<'_> {
    /// Tells the log of the lines that it has not taken.
    fn say_what_was_left_out(&mut self) {
        if self.lines > LINES_MAX {
            let text = format!("{} more lines of a script were left out", self.lines - LINES_MAX);
            self.engine.jobs.push(log_line(3, text.as_bytes()));
        }
    }
}

/// A line of `redis.log`.
pub(crate) fn log_line(level: i64, message: &[u8]) -> Job {
    Job::Log { level: level.clamp(0, 3) as u8, text: String::from_utf8_lossy(message).into_owned() }
}
