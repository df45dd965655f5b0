//! SLOWLOG: the commands that took longest.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use commands::{Args, Error, Flags, Group, Row};

const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("slowlog", -2, unknown_slowlog).subcommands(&[
        row("slowlog|get", -2, slowlog_get).flags(Flags::ADMIN.and(LATE)),
        row("slowlog|help", 2, crate::admin::help).flags(LATE),
        row("slowlog|len", 2, slowlog_len).flags(Flags::ADMIN.and(LATE)),
        row("slowlog|reset", 2, slowlog_reset).flags(Flags::ADMIN.and(LATE)),
    ]),
];

fn unknown_slowlog(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SLOWLOG"))
}

fn slowlog_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        return Err(commands::bad_subcommand(turn.args, "SLOWLOG"));
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

/// The arguments of a request as the slow log may show them: what is or may hold a password is not.
pub(crate) fn without_secrets<'a>(command: &str, args: Args<'a>) -> Vec<&'a [u8]> {
    const HIDDEN: &[u8] = b"(redacted)";
    let mut shown = args.all().to_vec();
    let mut hide = |from: usize, to: usize| {
        let to = to.min(shown.len());
        shown.get_mut(from..to).into_iter().flatten().for_each(|arg| *arg = HIDDEN);
    };
    match command {
        "acl|setuser" => hide(2, args.len()),
        "auth" => hide(1, args.len()),
        "hello" => {
            for i in 2..args.len() {
                if args.is(i, "auth") {
                    hide(i + 1, i + 3);
                }
            }
        }
        "config|set" => {
            for i in (2..args.len()).step_by(2) {
                if ["masterauth", "masteruser", "requirepass", "tls-key-file-pass"]
                    .iter()
                    .any(|name| args.is(i, name))
                {
                    hide(i + 1, i + 2);
                }
            }
        }
        "migrate" => {
            for i in 6..args.len() {
                if args.is(i, "auth") {
                    hide(i + 1, i + 2);
                } else if args.is(i, "auth2") {
                    hide(i + 1, i + 3);
                }
            }
        }
        _ => {}
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &str, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let shown = without_secrets(command, Args::new(&words));
        shown.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_do_not_come_into_the_slow_log() {
        for (command, line, expected) in [
            ("acl|setuser", "acl setuser me >pw +get", "acl setuser (redacted) (redacted) (redacted)"),
            ("config|set", "config set hz 10 requirepass pw", "config set hz 10 requirepass (redacted)"),
            ("migrate", "migrate h 1 k 0 5 auth pw", "migrate h 1 k 0 5 auth (redacted)"),
            (
                "migrate",
                "migrate h 1 k 0 5 auth2 me pw keys a",
                "migrate h 1 k 0 5 auth2 (redacted) (redacted) keys a",
            ),
            ("auth", "auth me pw", "auth (redacted) (redacted)"),
            ("hello", "hello 3 auth me pw setname x", "hello 3 auth (redacted) (redacted) setname x"),
            ("get", "get requirepass", "get requirepass"),
        ] {
            assert_eq!(shown(command, line), expected);
        }
    }
}
