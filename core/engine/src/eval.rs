//! Scripts: EVAL and its relatives, and what a script's calls may do.
//!
//! The interpreter is taken out of the engine while a script runs, so the script's host can have the whole engine. Each call of a
//! script is a call like any other (same table, same settle); its records are kept together in the log as one unit.

use crate::engine::{Called, Engine, EngineHandler, Origin, Step, Turn};
use crate::outside::{Busy, BusyVerdict, Job, Outside};
use crate::session::SessionId;
use commands::{Args, Error, Flags, Group, Keys, Row};
use resp::{Reply, Sink};
use script::{Host, Interpreter, Interrupt, Limits, RunError, Sha};

const SCRIPT: Flags = Flags::NOSCRIPT.and(Flags::STALE).and(Flags::MAY_REPLICATE);
const COUNTED: Keys = Keys::Counted { count_at: 2, destination: false };

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Scripting, run)
}

const fn runs(name: &'static str, run: EngineHandler) -> Row<EngineHandler> {
    row(name, -3, run).movable_keys(COUNTED).flags(SCRIPT.and(Flags::SKIP_MONITOR))
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    runs("eval", eval).docs(
        "2.6.0",
        "Depends on the script that is executed.",
        "Executes a server-side Lua script.",
    ),
    runs("eval_ro", eval_ro).readonly().docs(
        "7.0.0",
        "Depends on the script that is executed.",
        "Executes a read-only server-side Lua script.",
    ),
    runs("evalsha", evalsha).docs(
        "2.6.0",
        "Depends on the script that is executed.",
        "Executes a server-side Lua script by SHA1 digest.",
    ),
    runs("evalsha_ro", evalsha_ro).readonly().docs(
        "7.0.0",
        "Depends on the script that is executed.",
        "Executes a read-only server-side Lua script by SHA1 digest.",
    ),
    row("script", -2, unknown)
        .docs("2.6.0", "Depends on subcommand.", "A container for Lua scripts management commands.")
        .subcommands(&[
            row("script|debug", 3, debug).flags(Flags::NOSCRIPT).docs(
                "3.2.0",
                "O(1)",
                "Sets the debug mode of server-side Lua scripts.",
            ),
            row("script|exists", -3, exists).flags(Flags::NOSCRIPT).docs(
                "2.6.0",
                "O(N) with N being the number of scripts to check",
                "Determines whether server-side Lua scripts exist in the script cache.",
            ),
            row("script|flush", -2, flush).flags(Flags::NOSCRIPT).docs(
                "2.6.0",
                "O(N) with N being the number of scripts in cache",
                "Removes all server-side Lua scripts from the script cache.",
            ),
            row("script|help", 2, help).flags(Flags::LOADING.and(Flags::STALE)).docs(
                "5.0.0",
                "O(1)",
                "Returns helpful text about the different subcommands.",
            ),
            row("script|kill", 2, kill).flags(Flags::NOSCRIPT.and(Flags::ALLOW_BUSY)).docs(
                "2.6.0",
                "O(1)",
                "Terminates a server-side Lua script during execution.",
            ),
            row("script|load", 3, load).flags(Flags::NOSCRIPT.and(Flags::STALE)).docs(
                "2.6.0",
                "O(N) with N being the length in bytes of the script body.",
                "Loads a server-side Lua script to the script cache.",
            ),
        ]),
];

/// A fresh interpreter with the engine's bounds.
pub(crate) fn interpreter() -> Interpreter {
    let version = crate::connection::REDIS_VERSION.to_owned();
    Interpreter::new(Limits { version, version_number: 0x0007_0402, ..Limits::default() })
}

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SCRIPT"))
}

fn help(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    crate::admin::help(
        &mut turn.reply,
        "SCRIPT",
        &[
            (
                "EXISTS <sha1> [<sha1> ...]",
                "Return information about the existence of the scripts in the script cache.",
            ),
            ("FLUSH [ASYNC|SYNC]", "Flush the Lua scripts cache. Very dangerous on replicas."),
            ("KILL", "Kill the currently executing Lua script."),
            ("LOAD <script>", "Load a script into the scripts cache without executing it."),
        ],
    );
    Ok(Step::Done(None))
}

const BUSY_NESTED: Error = Error::new("ERR scripts cannot be nested");
const NOSCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");

fn scripts(engine: &mut Engine) -> Result<&mut Interpreter, Error> {
    engine.scripts.as_mut().ok_or(BUSY_NESTED)
}

/// There is no debugger: it can be switched off.
fn debug(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    match () {
        () if turn.args.is(2, "no") => turn.reply.ok(),
        () if turn.args.is(2, "yes") || turn.args.is(2, "sync") => {
            return Err(Error::new("ERR this server has no script debugger"));
        }
        () => return Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(Step::Done(None))
}

fn load(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let sha = scripts(engine)?.load(turn.args.at(2), script::Origin::Load).map_err(|e| Error::text(e.0))?;
    turn.reply.bulk(&sha);
    Ok(Step::Done(None))
}

fn exists(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    turn.reply.array(names.len());
    for name in names {
        let known =
            parse_sha(name).is_some_and(|sha| engine.scripts.as_ref().is_some_and(|s| s.contains(&sha)));
        turn.reply.integer(i64::from(known));
    }
    Ok(Step::Done(None))
}

fn flush(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 || turn.args.len() == 3 && !turn.args.is(2, "async") && !turn.args.is(2, "sync") {
        return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    scripts(engine)?.flush();
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// A script that runs away is killed by the server, which answers while it runs; here none does.
fn kill(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("NOTBUSY No scripts in execution right now."))
}

fn eval(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate(engine, turn, false)
}

fn eval_ro(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate(engine, turn, true)
}

fn evaluate(engine: &mut Engine, turn: &mut Turn<'_>, read_only: bool) -> Result<Step, Error> {
    key_count(turn.args)?;
    let source = turn.args.at(1);
    let sha = scripts(engine)?.load(source, script::Origin::Eval).map_err(|e| Error::text(e.0))?;
    run(engine, turn, &sha, read_only)
}

fn evalsha(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate_sha(engine, turn, false)
}

fn evalsha_ro(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate_sha(engine, turn, true)
}

fn evaluate_sha(engine: &mut Engine, turn: &mut Turn<'_>, read_only: bool) -> Result<Step, Error> {
    let sha = parse_sha(turn.args.at(1)).ok_or(NOSCRIPT)?;
    run(engine, turn, &sha, read_only)
}

fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha: Sha = text.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

fn key_count(args: Args<'_>) -> Result<usize, Error> {
    let count = args.int(2)?;
    let count = usize::try_from(count).map_err(|_| Error::new("ERR Number of keys can't be negative"))?;
    if count > args.len() - 3 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    Ok(count)
}

fn run(engine: &mut Engine, turn: &mut Turn<'_>, sha: &Sha, read_only: bool) -> Result<Step, Error> {
    let count = key_count(turn.args)?;
    let (keys, args) = turn.args.rest(3).split_at(count);
    let mut scripts = engine.scripts.take().ok_or(BUSY_NESTED)?;
    let Some(flags) = scripts.flags(sha) else {
        engine.scripts = Some(scripts);
        return Err(NOSCRIPT);
    };
    if let Err(error) = engine.check_script(flags, turn.outside) {
        engine.scripts = Some(scripts);
        return Err(error);
    }
    engine.counters.scripts += 1;
    engine.depth += 1;
    let nested = engine.sessions.at(turn.session).in_exec;
    if !nested {
        engine.log.begin_unit();
    }
    let protocol_before = engine.sessions.at(turn.session).db;
    let mut host = Running {
        started_ns: turn.outside.nanos(),
        asked_ns: 0,
        outside: &mut *turn.outside,
        session: turn.session,
        read_only: read_only || flags.no_writes,
        allow_oom: flags.allow_oom,
        has_written: false,
        replicated: true,
        engine,
    };
    let outcome = scripts.run(sha, keys, args, &mut host, turn.reply.as_sink());
    engine.sessions.at_mut(turn.session).db = protocol_before;
    if !nested {
        engine.log.end_unit();
    }
    engine.depth -= 1;
    engine.scripts = Some(scripts);
    match outcome {
        Ok(()) => Ok(Step::Done(None)),
        Err(RunError::NoScript) => Err(NOSCRIPT),
        Err(RunError::Failed { text, .. }) => Err(Error::text(String::from_utf8_lossy(&text).into_owned())),
    }
}

/// A busy script asks so often whether it may go on; other clients are answered meanwhile.
const ASK_EVERY_NS: u64 = 10_000_000;

/// A script that runs, as its host.
struct Running<'a> {
    engine: &'a mut Engine,
    outside: &'a mut dyn Outside,
    session: SessionId,
    started_ns: u64,
    /// When the world was asked last whether to go on, nanoseconds since the start.
    asked_ns: u64,
    read_only: bool,
    allow_oom: bool,
    has_written: bool,
    replicated: bool,
}

impl Host for Running<'_> {
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn Sink) {
        let command = match self.admit(argv) {
            Ok(command) => command,
            Err(error) => {
                self.engine.refuse(&error, &mut Reply::sink(sink));
                return;
            }
        };
        let flags = self.engine.table.commands[command].spec.flags;
        self.has_written |= flags.has(Flags::WRITE);
        let logging = self.engine.log.enabled;
        self.engine.log.enabled &= self.replicated;
        let turn = Turn {
            session: self.session,
            args: Args::new(argv),
            reply: Reply::sink(sink),
            outside: &mut *self.outside,
            may_block: false,
        };
        let called = self.engine.call(command, turn, None, Origin::Script);
        self.engine.log.enabled = logging;
        if matches!(called, Called::Later | Called::Block(_)) {
            sink.error(b"ERR This Redis command is not allowed from script");
        }
    }

    fn interrupt(&mut self) -> Interrupt {
        let running_ns = self.outside.nanos().saturating_sub(self.started_ns);
        let threshold_ms = self.engine.config.busy_reply_threshold_ms;
        if threshold_ms == 0 || running_ns < threshold_ms * 1_000_000 {
            return Interrupt::Continue;
        }
        if running_ns < self.asked_ns + ASK_EVERY_NS {
            return Interrupt::Continue;
        }
        self.asked_ns = running_ns;
        match self.outside.busy(Busy { running_ns, has_written: self.has_written }) {
            BusyVerdict::Continue => Interrupt::Continue,
            BusyVerdict::Kill => {
                Interrupt::Kill("Error running script: Script killed by user with SCRIPT KILL.")
            }
            BusyVerdict::Shutdown => Interrupt::Kill("Error running script: the server is shutting down"),
        }
    }

    fn log(&mut self, level: i64, message: &[u8]) {
        let text = String::from_utf8_lossy(message).into_owned();
        self.engine.jobs.push(Job::Log { level: level.clamp(0, 3) as u8, text });
    }

    fn set_replication(&mut self, flags: i64) {
        self.replicated = flags & 1 == 1;
    }

    fn acl_allows(&mut self, argv: &[&[u8]]) -> Result<bool, String> {
        let unknown = || "ERR Invalid command passed to redis.acl_check_cmd()".to_owned();
        let command = self.engine.table.find(argv).ok_or_else(unknown)?;
        let user = self.engine.sessions.at(self.session).user;
        Ok(self.engine.acl.check(user, &self.engine.table, command, argv).is_ok())
    }
}

impl Running<'_> {
    /// The gate of a script's own calls.
    fn admit(&mut self, argv: &[&[u8]]) -> Result<usize, Error> {
        let engine = &mut *self.engine;
        let command =
            engine.table.find(argv).ok_or(Error::new("ERR Unknown Redis command called from script"))?;
        let spec = engine.table.commands[command].spec;
        if !engine.table.commands[command].subcommands.is_empty() {
            return Err(commands::unknown_subcommand(Args::new(argv), &spec.name.to_ascii_uppercase()));
        }
        if !spec.arity_allows(argv.len()) {
            return Err(Error::new("ERR Wrong number of args calling Redis command from script"));
        }
        if spec.flags.has(Flags::NOSCRIPT) && !engine.switches.scripts_may_all {
            return Err(Error::new("ERR This Redis command is not allowed from script"));
        }
        if spec.flags.has(Flags::WRITE) {
            if self.read_only {
                return Err(Error::new("ERR Write commands are not allowed from read-only scripts."));
            }
            // Memory is looked at before the first write only: what has begun may end.
            if !self.has_written {
                self.check_first_write(spec.flags)?;
            }
        }
        let user = self.engine.sessions.at(self.session).user;
        if !self.engine.acl.is_unlimited(user) {
            self.engine.check_acl(self.session, command, argv, "lua").map_err(|e| {
                let why = e.as_str();
                Error::text(format!(
                    "ERR ACL failure in script: {}",
                    why.strip_prefix("NOPERM ").unwrap_or(why)
                ))
            })?;
        }
        Ok(command)
    }

    fn check_first_write(&mut self, flags: Flags) -> Result<(), Error> {
        if !self.allow_oom {
            self.engine.check_memory(flags)?;
        }
        match self.outside.write_refusal(crate::gate::grows(flags)) {
            Some(refusal) => Err(Error::text(refusal)),
            None => Ok(()),
        }
    }
}

impl Engine {
    /// What stands against a script before it begins.
    fn check_script(&mut self, flags: script::Flags, outside: &dyn Outside) -> Result<(), Error> {
        self.make_room(outside);
        if flags.is_declared && !flags.allow_oom && !flags.no_writes && self.over_memory {
            self.counters.oom_refusals += 1;
            return Err(Error::new(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
        Ok(())
    }
}
