//! FUNCTION: libraries of named scripts.
//!
//! Libraries are data: they are logged and saved, and leave only when they are deleted.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use commands::{Error, Flags, Group, Row};

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Scripting, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("function", -2, unknown)
    .docs("7.0.0", "Depends on subcommand.", "A container for function commands.")
    .subcommands(&[
        row("function|flush", -2, flush).write().flags(Flags::NOSCRIPT).docs(
            "7.0.0",
            "O(N) where N is the number of functions deleted",
            "Deletes all libraries and functions.",
        ),
        row("function|list", -2, list).flags(Flags::NOSCRIPT).docs(
            "7.0.0",
            "O(N) where N is the number of functions",
            "Returns information about all libraries.",
        ),
    ])];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "FUNCTION"))
}

fn flush(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 || turn.args.len() == 3 && !turn.args.is(2, "async") && !turn.args.is(2, "sync") {
        return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    engine.keyspace.effects.changes += 1;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn list(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let mut at = 2;
    while at < turn.args.len() {
        match () {
            () if turn.args.is(at, "withcode") => at += 1,
            () if turn.args.is(at, "libraryname") && at + 1 < turn.args.len() => at += 2,
            () if turn.args.is(at, "libraryname") => {
                return Err(Error::new("ERR library name argument was not given"));
            }
            () => {
                let name = String::from_utf8_lossy(turn.args.at(at)).into_owned();
                return Err(Error::text(format!("ERR Unknown argument {name}")));
            }
        }
    }
    turn.reply.array(0);
    Ok(Step::Done(None))
}
