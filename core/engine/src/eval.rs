//! Scripts: EVAL and its relatives, and SCRIPT.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::running::{BUSY_NESTED, COUNTED, Compiling, Program, SCRIPT};
use commands::{Args, Error, Flags, Group, Row, Subject};
use script::{Interpreter, Sha};

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Scripting, run)
}

const fn runs(name: &'static str, run: EngineHandler, by: Subject) -> Row<EngineHandler> {
    row(name, -3, run).movable_keys(COUNTED).flags(SCRIPT.and(Flags::SKIP_MONITOR)).runs(by)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    runs("eval", eval, Subject::Source),
    runs("eval_ro", eval_ro, Subject::Source).readonly(),
    runs("evalsha", evalsha, Subject::Digest),
    runs("evalsha_ro", evalsha_ro, Subject::Digest).readonly(),
    row("script", -2, unknown).subcommands(&[
        row("script|debug", 3, debug).flags(Flags::NOSCRIPT),
        row("script|exists", -3, exists).flags(Flags::NOSCRIPT),
        row("script|flush", -2, flush).flags(Flags::NOSCRIPT),
        row("script|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("script|kill", 2, kill).flags(Flags::NOSCRIPT.and(Flags::ALLOW_BUSY)),
        row("script|load", 3, load).flags(Flags::NOSCRIPT.and(Flags::STALE)),
    ]),
];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SCRIPT"))
}

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
    let sha = compile(engine, turn, turn.args.at(2), script::Origin::Load)?;
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

fn kill(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.kill_script(false)?;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn eval(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate(engine, turn, false)
}

fn eval_ro(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    evaluate(engine, turn, true)
}

fn evaluate(engine: &mut Engine, turn: &mut Turn<'_>, read_only: bool) -> Result<Step, Error> {
    key_count(turn.args)?;
    let sha = compile(engine, turn, turn.args.at(1), script::Origin::Eval)?;
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

/// The name of a script, which is compiled unless it is here already.
fn compile(
    engine: &mut Engine,
    turn: &mut Turn<'_>,
    source: &[u8],
    origin: script::Origin,
) -> Result<Sha, Error> {
    let mut scripts = engine.scripts.take().ok_or(BUSY_NESTED)?;
    scripts.set_memory_limit(engine.script_limit());
    let mut host = Compiling::new(engine, &mut *turn.outside, turn.args.all());
    let outcome = scripts.load(source, origin, &mut host);
    engine.scripts = Some(scripts);
    engine.busy = None;
    outcome.map_err(|error| Error::text(error.0))
}

pub(crate) fn parse_sha(text: &[u8]) -> Option<Sha> {
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
    let (keys, args) = turn.args.rest(3).split_at(key_count(turn.args)?);
    let flags = scripts(engine)?.flags(sha).ok_or(NOSCRIPT)?;
    let mut scripts = engine.scripts.take().ok_or(BUSY_NESTED)?;
    scripts.set_memory_limit(engine.script_limit());
    let program = Program { flags, read_only, function: None };
    let step = engine.run_program(turn, program, |host, reply| scripts.run(sha, keys, args, host, reply));
    engine.scripts = Some(scripts);
    step
}

impl Engine {
    /// What the script or function of a request declares about itself, if anything.
    pub(crate) fn declared(&self, program: Subject, argv: &[&[u8]]) -> Option<script::Flags> {
        let subject = argv.get(1)?;
        let flags = match program {
            Subject::Function => return self.functions.as_ref()?.flags(subject),
            Subject::Source => script::flags_of(subject)?,
            Subject::Digest => self.scripts.as_ref()?.flags(&parse_sha(subject)?)?,
        };
        flags.is_declared.then_some(flags)
    }
}
