//! DEBUG: the doors that test suites and people in search of a mistake use. Closed unless `enable-debug-command` opens them.
//!
//! [`TABLE`] is the one list: names, numbers of arguments, help and handlers. What Redis tunes here and we have not (reply buffers that
//! shrink, plain quicklist nodes, resizing dictionaries) is checked as Redis checks it and then changes nothing, so that a test that
//! sets it goes on to what it really tests.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Job;
use commands::{Args, Error, Flags, Group, Row};

mod data;
mod objects;
mod protocol;
pub(crate) mod switches;

/// The row of DEBUG.
pub(crate) static COMMANDS: &[Row<EngineHandler>] =
    &[Row::new("debug", -2, Group::Server, debug as EngineHandler)
        .flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::DEBUGS))];

/// One subcommand.
struct Subcommand {
    name: &'static str,
    /// Fewest and most arguments behind the name.
    arguments: (usize, usize),
    usage: &'static str,
    what: &'static str,
    run: EngineHandler,
}

const MANY: usize = usize::MAX;

const fn sub(
    name: &'static str,
    arguments: (usize, usize),
    usage: &'static str,
    what: &'static str,
    run: EngineHandler,
) -> Subcommand {
    Subcommand { name, arguments, usage, what, run }
}

#[rustfmt::skip]
static TABLE: &[Subcommand] = &[
    sub("aof-flush-sleep", (1, 1), "<microseconds>", "Wait so long before each write of the log; 0 for not at all.", aof_flush_sleep),
    sub("assert", (0, 0), "", "End the process at once, as a failed assertion would.", crash),
    sub("change-repl-id", (0, 0), "", "Take a new replication id.", change_repl_id),
    sub("client-eviction", (0, 0), "", "Show the clients by the size of their buffers.", objects::client_eviction),
    sub("config-rewrite-force-all", (0, 0), "", "CONFIG REWRITE with every directive, also those at their default.", config_rewrite_all),
    sub("crash-and-recover", (0, 1), "[<milliseconds>]", "Not offered: what starts the server restarts it.", restart),
    sub("dict-resizing", (1, 1), "<0|1>", "Accepted; these tables split piece by piece.", accept),
    sub("digest", (0, 0), "", "A name for the whole data set: equal data, equal name.", data::digest),
    sub("digest-value", (0, MANY), "<key> [<key> ...]", "The same for single values.", data::digest_value),
    sub("error", (1, 1), "<text>", "Answer with an error of this text.", error),
    sub("htstats", (1, 2), "<db> [full]", "Size of the hash table of a database.", objects::htstats),
    sub("htstats-key", (1, 2), "<key> [full]", "Size of the hash table of a value.", objects::htstats_key),
    sub("jmap", (0, 0), "", "Accepted.", accept),
    sub("leak", (1, 1), "<text>", "Accepted; nothing is leaked.", accept),
    sub("listpack", (1, 1), "<key>", "Write what is known of a packed value into the server's log.", objects::listpack),
    sub("loadaof", (0, MANY), "", "Throw the data set away and read it from the log.", data::loadaof),
    sub("log", (1, 1), "<text>", "Write a line into the server's log.", log),
    sub("object", (1, 1), "<key>", "Tell how a value is stored.", objects::object),
    sub("oom", (0, 0), "", "End the process at once, as a lack of memory would.", crash),
    sub("panic", (0, 0), "", "End the process at once, as a panic would.", crash),
    sub("pause-cron", (1, 1), "<0|1>", "Leave out everything that happens without a request.", pause_cron),
    sub("populate", (1, 3), "<count> [<prefix>] [<size>]", "Make keys `prefix:0` and so on, outside of the log.", data::populate),
    sub("protocol", (1, 1), "<type>", "Answer with a value of this protocol type.", protocol::protocol),
    sub("quicklist", (1, 2), "<key> [<0|1>]", "Write what is known of a long list into the server's log.", objects::quicklist),
    sub("quicklist-packed-threshold", (1, 1), "<size>", "Accepted; up to 4 GB.", quicklist_packed_threshold),
    sub("reload", (0, MANY), "[MERGE] [NOFLUSH] [NOSAVE]", "Save, throw the data set away and read it again.", data::reload),
    sub("replicate", (1, MANY), "<text>", "Accepted; nothing is told replicas beside what is executed.", accept),
    sub("replybuffer", (2, 2), "PEAK-RESET-TIME <NEVER|RESET|ms> | RESIZING <0|1>", "Accepted; replies have no buffers of their own.", replybuffer),
    sub("restart", (0, 1), "[<milliseconds>]", "Not offered: what starts the server restarts it.", restart),
    sub("sdslen", (1, 1), "<key>", "Lengths of a key and its string.", objects::sdslen),
    sub("segfault", (0, 0), "", "End the process at once, as a bad memory access would.", crash),
    sub("set-active-expire", (1, 1), "<0|1>", "Whether keys go on time or only when they are looked at.", set_active_expire),
    sub("set-disable-deny-scripts", (1, 1), "<0|1>", "Let scripts run every command.", set_disable_deny_scripts),
    sub("set-skip-checksum-validation", (1, 1), "<0|1>", "Believe snapshots and payloads with a wrong checksum.", set_skip_checksum_validation),
    sub("sleep", (1, 1), "<seconds>", "Let everybody wait, with a fraction if need be.", sleep),
    sub("stringmatch-len", (2, 2), "<length> <pattern>", "Match a pattern against so many letters a.", stringmatch_len),
    sub("stringmatch-test", (0, 0), "", "Try patterns at random; that is done in the project's own tests.", stringmatch_test),
    sub("structsize", (0, 0), "", "Sizes of the parts of a key.", objects::structsize),
];

fn debug(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    if args.is(1, "help") && args.len() == 2 {
        return help(turn);
    }
    let given = args.len() - 2;
    let fits = |s: &&Subcommand| args.is(1, s.name) && (s.arguments.0..=s.arguments.1).contains(&given);
    match TABLE.iter().find(fits) {
        Some(found) => (found.run)(engine, turn),
        None => Err(unknown(args)),
    }
}

/// The error for what is not in the table, or not with so many arguments.
fn unknown(args: Args<'_>) -> Error {
    const SHOWN_BYTES_MAX: usize = 128;
    let name = args.at(1);
    let shown = &name[..name.len().min(SHOWN_BYTES_MAX)];
    Error::quoting("ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.", &[shown])
}

fn help(turn: &mut Turn<'_>) -> Result<Step, Error> {
    let usage = |s: &Subcommand| format!("{} {}", s.name.to_uppercase(), s.usage).trim_end().to_owned();
    let lines: Vec<(String, &str)> = TABLE.iter().map(|s| (usage(s), s.what)).collect();
    commands::docs::help::write_lines("debug", &lines, &mut turn.reply);
    Ok(Step::Done(None))
}

/// Answers OK.
fn ok(turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn accept(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    ok(turn)
}

/// A switch as C's `atoi` reads it: what is no number is 0.
fn is_on(args: Args<'_>) -> bool {
    args.int(2).is_ok_and(|value| value != 0)
}

fn set_active_expire(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.keyspace.no_active_expire = !is_on(turn.args);
    ok(turn)
}

fn set_disable_deny_scripts(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.switches.scripts_may_all = is_on(turn.args);
    ok(turn)
}

fn set_skip_checksum_validation(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.keyspace.skip_checksums = is_on(turn.args);
    ok(turn)
}

fn pause_cron(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.switches.cron_paused = is_on(turn.args);
    ok(turn)
}

fn quicklist_packed_threshold(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    const SIZE_MAX: i128 = 1 << 32;
    match config::parse_memory(turn.args.at(2)).filter(|size| *size <= SIZE_MAX) {
        Some(_) => ok(turn),
        None => Err(Error::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
}

fn replybuffer(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    match () {
        () if args.is(2, "resizing") => {}
        () if !args.is(2, "peak-reset-time") => return Err(unknown(args)),
        () if args.is(3, "never") || args.is(3, "reset") => {}
        () => drop(args.int(3)?),
    }
    ok(turn)
}

fn sleep(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let seconds = turn.args.float(2).unwrap_or(0.0);
    turn.outside.sleep_ns((seconds.max(0.0) * 1e9) as u64);
    ok(turn)
}

fn stringmatch_len(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    const LENGTH_MAX: i64 = 1 << 20;
    let text = vec![b'a'; turn.args.int(2)?.clamp(0, LENGTH_MAX) as usize];
    turn.reply.integer(i64::from(base::glob::matches(turn.args.at(3), &text, false)));
    Ok(Step::Done(None))
}

fn stringmatch_test(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.status("Apparently Redis did not crash: test passed");
    Ok(Step::Done(None))
}

fn change_repl_id(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.change_replication_id();
    let text = "Changing replication IDs after receiving change-repl-id".to_owned();
    engine.jobs.push(Job::Log { level: 2, text });
    ok(turn)
}

/// The text as it is: not even `ERR` is put before it, and it is not counted.
fn error(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.error(turn.args.at(2));
    Ok(Step::Done(None))
}

fn log(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let text = format!("DEBUG LOG: {}", String::from_utf8_lossy(turn.args.at(2)));
    engine.jobs.push(Job::Log { level: 3, text });
    ok(turn)
}

fn config_rewrite_all(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.jobs.push(Job::RewriteConfig { session: Some(turn.session) });
    Ok(Step::Later)
}

fn aof_flush_sleep(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let sleep_us = turn.args.int(2).unwrap_or(0).max(0) as u64;
    engine.jobs.push(Job::SleepBeforeLogging { session: turn.session, sleep_us });
    Ok(Step::Later)
}

fn crash(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let how = String::from_utf8_lossy(turn.args.at(1)).to_uppercase();
    engine.jobs.push(Job::Crash { why: format!("DEBUG {how}") });
    Ok(Step::Later)
}

fn restart(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR failed to restart the server. Check server logs."))
}

impl Engine {
    /// Whether DEBUG PAUSE-CRON holds what happens without a request.
    pub fn is_cron_paused(&self) -> bool {
        self.switches.cron_paused
    }

    /// From now on this is another data set to replicas.
    fn change_replication_id(&mut self) {
        let fresh = self.draw_history();
        self.master.rename(fresh);
    }
}
