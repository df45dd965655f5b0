//! SLOWLOG: the commands that took longest.

use crate::admin::help;
use crate::engine::{Engine, EngineHandler, Step, Turn};
use commands::{Error, Flags, Group, Row};

const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("slowlog", -2, unknown_slowlog).docs("2.2.12", "Depends on subcommand.", "A container for slow log commands.").subcommands(&[
        row("slowlog|get", -2, slowlog_get).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(N) where N is the number of entries returned", "Returns the slow log's entries."),
        row("slowlog|help", 2, slowlog_help).flags(LATE).docs("6.2.0", "O(1)", "Show helpful text about the different subcommands."),
        row("slowlog|len", 2, slowlog_len).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(1)", "Returns the number of entries in the slow log."),
        row("slowlog|reset", 2, slowlog_reset).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(N) where N is the number of entries in the slowlog", "Clears all entries from the slow log."),
    ]),
];

fn unknown_slowlog(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SLOWLOG"))
}

fn slowlog_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        return Err(Error::new(
            "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
        ));
    }
    let count = match turn.args.find(2) {
        None => 10,
        Some(text) => base::number::parse_i64(text)
            .filter(|n| *n >= -1)
            .ok_or(Error::new("ERR count should be greater than or equal to -1"))?,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let entries: Vec<_> = engine.slowlog.entries().take(count).collect();
    turn.reply.array(entries.len());
    for e in entries {
        turn.reply.array(6);
        turn.reply.integer(e.id as i64);
        turn.reply.integer(e.unix_s);
        turn.reply.integer(e.duration_us as i64);
        turn.reply.bulks(&e.args);
        turn.reply.bulk(&e.client);
        turn.reply.bulk(&e.client_name);
    }
    Ok(Step::Done(None))
}

fn slowlog_len(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(engine.slowlog.len());
    Ok(Step::Done(None))
}

fn slowlog_reset(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.slowlog.clear();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn slowlog_help(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    help(
        &mut turn.reply,
        "SLOWLOG",
        &[
            (
                "GET [<count>]",
                "Return top <count> entries from the slowlog (default: 10, -1 mean all).\nEntries are made of:\nid, timestamp, time in microseconds, arguments array, client IP and port,\nclient name",
            ),
            ("LEN", "Return the length of the slowlog."),
            ("RESET", "Reset the slowlog."),
        ],
    );
    Ok(Step::Done(None))
}
