//! MEMORY: what keys and the server itself take, and what to think of it.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use commands::{Error, Group, Row};
use keyspace::Db;

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("memory", -2, unknown_memory).docs("4.0.0", "Depends on subcommand.", "A container for memory diagnostics commands.").subcommands(&[
        row("memory|doctor", 2, memory_doctor).docs("4.0.0", "O(1)", "Outputs a memory problems report."),
        row("memory|purge", 2, memory_purge).docs("4.0.0", "Depends on how much memory is allocated, could be slow", "Asks the allocator to release memory."),
        row("memory|usage", -3, memory_usage).keys(2, 2, 1).readonly().docs("4.0.0", "O(N) where N is the number of samples.", "Estimates the memory usage of a key."),
    ]),
];

fn unknown_memory(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MEMORY"))
}

fn memory_usage(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    match turn.args.len() {
        3 => {}
        5 if turn.args.is(3, "samples") => {
            if turn.args.int(4)? < 0 {
                return Err(Error::SYNTAX);
            }
        }
        _ => return Err(Error::SYNTAX),
    }
    let db = engine.sessions.at(turn.session).db;
    match Db::new(&mut engine.keyspace, db).peek(turn.args.at(2)) {
        // The entry, and its share of a bucket: eight bytes and a tag at a usual fill.
        Some(entry) => turn.reply.count(entry.heap_bytes() + 10),
        None => turn.reply.null(),
    }
    Ok(Step::Done(None))
}

fn memory_doctor(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.verbatim(b"txt", b"Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n");
    Ok(Step::Done(None))
}

fn memory_purge(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.ok();
    Ok(Step::Done(None))
}
