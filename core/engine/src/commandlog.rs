//! SLOWLOG and COMMANDLOG: the commands that took longest, and those with which most came or went.
//!
//! The hot path pays one comparison for durations, together with latency events, and one for sizes.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::session::SessionId;
use commands::{Args, Error, Flags, Group, Row};
use telemetry::CommandLog;

const LATE: Flags = Flags::LOADING.and(Flags::STALE);
const OPERATOR: Flags = Flags::ADMIN.and(LATE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("commandlog", -2, unknown_commandlog).subcommands(&[
        row("commandlog|get", 4, commandlog_get).flags(OPERATOR),
        row("commandlog|help", 2, crate::admin::help).flags(LATE),
        row("commandlog|len", 3, commandlog_len).flags(OPERATOR),
        row("commandlog|reset", 3, commandlog_reset).flags(OPERATOR),
    ]),
    row("slowlog", -2, unknown_slowlog).subcommands(&[
        row("slowlog|get", -2, slowlog_get).flags(OPERATOR),
        row("slowlog|help", 2, crate::admin::help).flags(LATE),
        row("slowlog|len", 2, slowlog_len).flags(OPERATOR),
        row("slowlog|reset", 2, slowlog_reset).flags(OPERATOR),
    ]),
];

/// The logs, one for each measure.
#[derive(Debug, Default)]
pub(crate) struct CommandLogs {
    /// By microseconds.
    pub(crate) slow: CommandLog,
    /// By the bytes of the request.
    large_requests: CommandLog,
    /// By the bytes of the reply.
    large_replies: CommandLog,
    /// The bytes, of a request or a reply, from which on a command is worth a second look.
    pub(crate) noteworthy_bytes: usize,
}

/// By what a command stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Slow,
    LargeRequest,
    LargeReply,
}

impl Measure {
    fn named(name: &[u8]) -> Result<Measure, Error> {
        match () {
            () if name.eq_ignore_ascii_case(b"slow") => Ok(Measure::Slow),
            () if name.eq_ignore_ascii_case(b"large-request") => Ok(Measure::LargeRequest),
            () if name.eq_ignore_ascii_case(b"large-reply") => Ok(Measure::LargeReply),
            () => {
                Err(Error::new("ERR type should be one of the following: slow, large-request, large-reply"))
            }
        }
    }
}

impl CommandLogs {
    fn of(&mut self, measure: Measure) -> &mut CommandLog {
        match measure {
            Measure::Slow => &mut self.slow,
            Measure::LargeRequest => &mut self.large_requests,
            Measure::LargeReply => &mut self.large_replies,
        }
    }

    /// Takes over what the configuration says.
    pub(crate) fn configure(&mut self, s: &config::Settings) {
        self.slow.configure(s.slowlog_log_slower_than_us, s.slowlog_max_len);
        self.large_requests.configure(s.commandlog_request_larger_than, s.commandlog_large_request_max_len);
        self.large_replies.configure(s.commandlog_reply_larger_than, s.commandlog_large_reply_max_len);
        let least = |bytes: i64| usize::try_from(bytes).unwrap_or(usize::MAX);
        self.noteworthy_bytes =
            least(s.commandlog_request_larger_than).min(least(s.commandlog_reply_larger_than));
    }
}

impl Engine {
    /// Notes a command of so many bytes, where that is many.
    #[cold]
    pub(crate) fn note_large(
        &mut self,
        command: usize,
        id: SessionId,
        args: Args<'_>,
        request: usize,
        reply: usize,
    ) {
        self.note_command(Measure::LargeRequest, command, id, args, request as u64);
        self.note_command(Measure::LargeReply, command, id, args, reply as u64);
    }

    /// Notes a command that has waited, in a queue or for a key, where its request or its reply is large.
    #[cold]
    pub(crate) fn note_bytes(&mut self, command: usize, id: SessionId, args: Args<'_>, reply: usize) {
        let request = crate::client::request_bytes(args);
        if request.max(reply) >= self.command_logs.noteworthy_bytes {
            self.note_large(command, id, args, request, reply);
        }
    }

    /// Notes a command in the log of that measure, if it belongs there.
    pub(crate) fn note_command(
        &mut self,
        measure: Measure,
        command: usize,
        id: SessionId,
        args: Args<'_>,
        value: u64,
    ) {
        let spec = self.table.commands[command].spec;
        let Some(session) = self.sessions.find(id) else { return };
        let log = self.command_logs.of(measure);
        if log.takes(value) && !spec.flags.has(Flags::SKIP_SLOWLOG) && !spec.flags.has(Flags::UNSEEN) {
            let unix_s = self.keyspace.now.unix_ms / 1000;
            let shown = without_secrets(spec.name, args);
            log.push(unix_s, value, &shown, session.info.address.as_bytes(), &session.name);
        }
    }
}

fn unknown_commandlog(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "COMMANDLOG"))
}

fn unknown_slowlog(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SLOWLOG"))
}

/// How many entries are asked for; -1 stands for all.
fn count(text: &[u8]) -> Result<usize, Error> {
    let count = base::number::parse_i64(text).filter(|n| *n >= -1);
    let count = count.ok_or(Error::new("ERR count should be greater than or equal to -1"))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn show(log: &CommandLog, count: usize, turn: &mut Turn<'_>) {
    turn.reply.array(log.len().min(count));
    for e in log.entries().take(count) {
        turn.reply.array(6);
        turn.reply.integer(e.id as i64);
        turn.reply.integer(e.unix_s);
        turn.reply.integer(e.value as i64);
        turn.reply.bulks(&e.args);
        turn.reply.bulk(&e.client);
        turn.reply.bulk(&e.client_name);
    }
}

fn commandlog_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let count = count(turn.args.at(2))?;
    show(engine.command_logs.of(Measure::named(turn.args.at(3))?), count, turn);
    Ok(Step::Done(None))
}

fn commandlog_len(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(engine.command_logs.of(Measure::named(turn.args.at(2))?).len());
    Ok(Step::Done(None))
}

fn commandlog_reset(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.command_logs.of(Measure::named(turn.args.at(2))?).clear();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn slowlog_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        return Err(commands::bad_subcommand(turn.args, "SLOWLOG"));
    }
    let count = turn.args.find(2).map_or(Ok(10), count)?;
    show(&engine.command_logs.slow, count, turn);
    Ok(Step::Done(None))
}

fn slowlog_len(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(engine.command_logs.slow.len());
    Ok(Step::Done(None))
}

fn slowlog_reset(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.command_logs.slow.clear();
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// The arguments of a request as a log may show them: what is or may hold a password is not.
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
                if config::is_secret(args.at(i)) {
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
    fn passwords_do_not_come_into_a_log() {
        for (command, line, expected) in [
            ("acl|setuser", "acl setuser me >pw +get", "acl setuser (redacted) (redacted) (redacted)"),
            ("config|set", "config set hz 10 requirepass pw", "config set hz 10 requirepass (redacted)"),
            (
                "config|set",
                "config set TLS-client-key-file-pass pw masteruser me nosuch x",
                "config set TLS-client-key-file-pass (redacted) masteruser (redacted) nosuch x",
            ),
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
