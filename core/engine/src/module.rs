//! MODULE and LOLWUT: no code is loaded from outside, and what the server looks like.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use commands::{Error, Flags, Group, Row};

const OPERATOR: Flags = Flags::ADMIN.and(Flags::NOSCRIPT);
const LOADS: Flags = OPERATOR.and(Flags::NO_ASYNC_LOADING).and(Flags::LOADS_MODULES);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("lolwut", -1, lolwut).readonly().fast(),
    row("module", -2, unknown).subcommands(&[
        row("module|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("module|list", 2, module_list).flags(OPERATOR),
        row("module|load", -3, load).flags(LOADS),
        row("module|loadex", -3, load).flags(LOADS),
        row("module|unload", 3, unload).flags(LOADS),
    ]),
];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MODULE"))
}

fn module_list(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn load(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let path = String::from_utf8_lossy(turn.args.at(2)).into_owned();
    let text = format!("Module {path} was not loaded: this server loads no code from outside.");
    engine.jobs.push(crate::outside::Job::Log { level: 3, text });
    Err(Error::new("ERR Error loading the extension. Please check the server logs."))
}

fn unload(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR Error unloading module: no such module with that name"))
}

fn lolwut(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.is(1, "version") && turn.args.len() > 2 {
        turn.args.int(2)?;
    }
    let text = format!(
        "One bicycle, two riders.\nRedis ver. {}, Tandem {}\n",
        crate::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    );
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}
