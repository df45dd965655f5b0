//! FUNCTION and FCALL: libraries of named scripts.
//!
//! Libraries are data: what changes them is logged as it came in, snapshots hold their sources, and they leave
//! only when somebody removes them. FLUSHALL leaves them alone.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::{Job, Outside};
use crate::running::{BUSY_NESTED, COUNTED, Program, SCRIPT};
use commands::{Args, Error, Flags, Group, Row, Subject};
use keyspace::{DumpError, Trash};
use resp::{Reply, Sink};
use script::{Functions, Host, Interrupt, Library, Policy};

/// How long the loading of a library may take, nanoseconds. While data is loaded there is no limit: what was
/// accepted once is accepted again.
const LOAD_NS_MAX: u64 = 500_000_000;

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Scripting, run)
}

const fn calls(name: &'static str, run: EngineHandler) -> Row<EngineHandler> {
    row(name, -3, run).movable_keys(COUNTED).flags(SCRIPT.and(Flags::SKIP_MONITOR)).runs(Subject::Function)
}

const fn subcommand(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    row(name, arity, run).flags(Flags::NOSCRIPT)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    calls("fcall", fcall),
    calls("fcall_ro", fcall_ro).readonly(),
    row("function", -2, unknown).subcommands(&[
        subcommand("function|delete", 3, delete).write(),
        subcommand("function|dump", 2, dump),
        subcommand("function|flush", -2, flush).write(),
        row("function|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        subcommand("function|kill", 2, kill).flags(Flags::ALLOW_BUSY),
        subcommand("function|list", -2, list),
        subcommand("function|load", -3, load).grows(),
        subcommand("function|restore", -3, restore).grows(),
        subcommand("function|stats", 2, stats).flags(Flags::ALLOW_BUSY),
    ]),
];

// FCALL.

fn fcall(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    run(engine, turn, false)
}

fn fcall_ro(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    run(engine, turn, true)
}

fn run(engine: &mut Engine, turn: &mut Turn<'_>, read_only: bool) -> Result<Step, Error> {
    let name = turn.args.at(1);
    let flags = functions(engine)?.flags(name).ok_or(Error::new("ERR Function not found"))?;
    let (keys, args) = turn.args.rest(3).split_at(key_count(turn.args)?);
    let mut functions = engine.functions.take().ok_or(BUSY_NESTED)?;
    functions.set_memory_limit(engine.script_limit());
    let function = RunningFunction::new(name, &functions);
    let program = Program { flags, read_only, function: Some(function) };
    let step = engine.run_program(turn, program, |host, reply| functions.run(name, keys, args, host, reply));
    engine.functions = Some(functions);
    step
}

fn key_count(args: Args<'_>) -> Result<usize, Error> {
    let count = base::number::parse_i64(args.at(2)).ok_or(Error::new("ERR Bad number of keys provided"))?;
    if count > (args.len() - 3) as i64 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| Error::new("ERR Number of keys can't be negative"))
}

fn functions(engine: &mut Engine) -> Result<&mut Functions, Error> {
    engine.functions.as_mut().ok_or(BUSY_NESTED)
}

// Changes.

fn load(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let code_at = turn.args.len() - 1;
    for at in 2..code_at {
        if !turn.args.is(at, "replace") {
            return Err(Error::quoting("ERR Unknown option given: {}", &[turn.args.at(at)]));
        }
    }
    let name = engine.load_library(turn.args.at(code_at), code_at > 2, turn.outside)?;
    engine.libraries_changed();
    turn.reply.bulk(&name);
    Ok(Step::Done(None))
}

fn delete(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if !functions(engine)?.delete(turn.args.at(2)) {
        return Err(Error::new("ERR Library not found"));
    }
    engine.libraries_changed();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn flush(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        return Err(commands::bad_subcommand(turn.args, "FUNCTION"));
    }
    if turn.args.len() == 3 && !turn.args.is(2, "async") && !turn.args.is(2, "sync") {
        return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    engine.flush_libraries();
    engine.libraries_changed();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn restore(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 4 {
        return Err(commands::bad_subcommand(turn.args, "FUNCTION"));
    }
    let policy = match () {
        () if turn.args.len() == 3 || turn.args.is(3, "append") => Policy::Append,
        () if turn.args.is(3, "replace") => Policy::Replace,
        () if turn.args.is(3, "flush") => Policy::Flush,
        () => {
            return Err(Error::new(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let codes = keyspace::decode_libraries(turn.args.at(2)).map_err(|error| match error {
        DumpError::Value => Error::new("ERR given type is not a function"),
        frame => frame.into(),
    })?;
    let mut host = Loading::new(turn.outside);
    let restored = functions(engine)?.restore(&codes, policy, &mut host);
    host.finish(engine);
    restored.map_err(|text| Error::quoting("ERR {}", &[&text]))?;
    engine.libraries_changed();
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    /// Loads a library; its name.
    ///
    /// # Errors
    /// It is not one, fails, takes too long, or is there already.
    fn load_library(
        &mut self,
        code: &[u8],
        is_replacing: bool,
        outside: &dyn Outside,
    ) -> Result<Vec<u8>, Error> {
        let mut host = Loading::new(outside);
        let limit = self.script_limit();
        let functions = functions(self)?;
        functions.set_memory_limit(limit);
        let loaded = functions.load(code, is_replacing, &mut host);
        host.finish(self);
        loaded.map_err(|text| Error::quoting("ERR {}", &[&text]))
    }

    /// Takes in a library of a snapshot; `is_replacing` tells whether it may take the place of one of its name.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn take_in_library(
        &mut self,
        code: &[u8],
        is_replacing: bool,
        outside: &dyn Outside,
    ) -> Result<(), String> {
        self.load_library(code, is_replacing, outside).map(drop).map_err(|error| error.shown().into_owned())
    }

    /// The sources of all libraries, for a snapshot.
    pub fn library_codes(&self) -> Vec<Vec<u8>> {
        let Some(functions) = &self.functions else { return Vec::new() };
        functions.libraries().map(|(_, library)| library.code().to_vec()).collect()
    }

    /// Removes all libraries, in the background.
    pub fn flush_libraries(&mut self) {
        if let Some(functions) = &mut self.functions
            && functions.libraries().len() > 0
        {
            let old = functions.flush();
            let trash = Trash::whole(Box::new(old), 1, 0);
            self.jobs.push(Job::Free { trash });
        }
    }

    /// The request has changed the libraries: it is logged, and counts for save points.
    fn libraries_changed(&mut self) {
        self.keyspace.effects.changes += 1;
        self.keyspace.effects.dirty += 1;
    }
}

/// The host of a library that is being loaded: it knows the time, and keeps what is written to the log.
pub(crate) struct Loading<'a> {
    outside: &'a dyn Outside,
    started_ns: u64,
    /// It was accepted once: it may take as long as it likes.
    is_trusted: bool,
    jobs: Vec<Job>,
}

/// Lines that the loading of a library may write to the server's log.
const LOAD_LINES_MAX: usize = 1000;

impl<'a> Loading<'a> {
    fn new(outside: &'a dyn Outside) -> Loading<'a> {
        Loading { outside, started_ns: outside.nanos(), is_trusted: false, jobs: Vec::new() }
    }

    /// The same for a library that a master has.
    pub(crate) fn of_what_was_accepted(outside: &'a dyn Outside) -> Loading<'a> {
        Loading { is_trusted: true, ..Loading::new(outside) }
    }

    fn finish(self, engine: &mut Engine) {
        self.finish_into(&mut engine.jobs);
    }

    /// Leaves what is to be written to the log.
    pub(crate) fn finish_into(self, jobs: &mut Vec<Job>) {
        jobs.extend(self.jobs);
    }
}

impl Host for Loading<'_> {
    fn call(&mut self, _: &[&[u8]], sink: &mut dyn Sink, _: usize) -> u64 {
        sink.error(b"ERR a library runs no commands while it is loaded");
        0
    }

    fn is_short_of_memory(&mut self) -> bool {
        false
    }

    fn interrupt(&mut self) -> Interrupt {
        let spent_ns = self.outside.nanos().saturating_sub(self.started_ns);
        if spent_ns < LOAD_NS_MAX || self.is_trusted || self.outside.is_loading() {
            return Interrupt::Continue;
        }
        Interrupt::Kill("FUNCTION LOAD timeout")
    }

    fn log(&mut self, level: i64, message: &[u8]) {
        if self.jobs.len() < LOAD_LINES_MAX {
            self.jobs.push(crate::running::log_line(level, message));
        }
    }

    fn set_replication(&mut self, _: i64) {}

    fn error_replied(&mut self, _: &[u8], _: bool) {}

    fn acl_allows(&mut self, _: &[&[u8]]) -> Result<bool, String> {
        Ok(false)
    }
}

// Questions.

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "FUNCTION"))
}

fn kill(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.kill_script(true)?;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn dump(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let libraries = functions(engine)?.libraries();
    let payload = keyspace::encode_libraries(libraries.map(|(_, library)| library.code()));
    turn.reply.bulk(&payload);
    Ok(Step::Done(None))
}

fn stats(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if let Some(script) = &engine.busy {
        script.tell(&mut turn.reply)?;
        return Ok(Step::Done(None));
    }
    let functions = functions(engine)?;
    let (libraries, functions) = (functions.libraries().len(), functions.function_count());
    write_stats(&mut turn.reply, libraries, functions, |reply| reply.null());
    Ok(Step::Done(None))
}

/// A function that runs, and what FUNCTION STATS tells beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningFunction<'a> {
    /// Its name.
    pub(crate) name: &'a [u8],
    /// How many libraries there are.
    pub(crate) libraries: usize,
    /// How many functions they have.
    pub(crate) functions: usize,
}

impl<'a> RunningFunction<'a> {
    fn new(name: &'a [u8], all: &Functions) -> RunningFunction<'a> {
        RunningFunction { name, libraries: all.libraries().len(), functions: all.function_count() }
    }
}

/// Writes the reply of FUNCTION STATS; `running` what it tells of the function that runs.
pub(crate) fn write_stats(
    reply: &mut Reply<'_>,
    libraries: usize,
    functions: usize,
    running: impl FnOnce(&mut Reply<'_>),
) {
    reply.map(2);
    reply.bulk(b"running_script");
    running(reply);
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(libraries);
    reply.bulk(b"functions_count");
    reply.count(functions);
}

fn list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < turn.args.len() {
        match () {
            () if !with_code && turn.args.is(at, "withcode") => with_code = true,
            () if pattern.is_none() && turn.args.is(at, "libraryname") => {
                at += 1;
                let given = "ERR library name argument was not given";
                pattern = Some(turn.args.find(at).ok_or(Error::new(given))?);
            }
            () => {
                return Err(Error::quoting("ERR Unknown argument {}", &[turn.args.at(at)]));
            }
        }
        at += 1;
    }
    let found: Vec<(&[u8], &Library)> = (functions(engine)?.libraries())
        .filter(|(name, _)| pattern.is_none_or(|pattern| base::glob::matches(pattern, name, true)))
        .collect();
    turn.reply.array(found.len());
    for (name, library) in found {
        write_library(&mut turn.reply, name, library, with_code);
    }
    Ok(Step::Done(None))
}

fn write_library(reply: &mut Reply<'_>, name: &[u8], library: &Library, with_code: bool) {
    reply.map(3 + usize::from(with_code));
    reply.bulk(b"library_name");
    reply.bulk(name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions().len());
    for (name, function) in library.functions() {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"description");
        match &function.description {
            Some(description) => reply.bulk(description),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|flag| reply.status(flag));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(library.code());
    }
}
