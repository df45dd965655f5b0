//! MONITOR: every command as it runs, for whoever asked.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::gate::Caller;
use crate::message::Part;
use crate::session::{ReplyMode, SessionId};
use commands::{Args, Error, Flags, Group, Row};

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] =
    &[Row::new("monitor", 1, Group::Server, monitor as EngineHandler)
        .flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE))];

fn monitor(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let session = engine.sessions.at_mut(turn.session);
    if session.in_exec {
        return Err(Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !session.monitor {
        session.monitor = true;
        engine.monitors.push(turn.session);
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    /// Shows a command to the monitors, a script before it runs.
    #[cold]
    pub(crate) fn show_monitors(&mut self, id: SessionId, command: usize, args: Args<'_>, caller: Caller) {
        let spec = self.table.commands[command].spec;
        let hidden = spec.flags.has(Flags::SKIP_MONITOR) && spec.group != Group::Scripting;
        if hidden || spec.flags.has(Flags::UNSEEN) || spec.flags.has(Flags::ADMIN) {
            return;
        }
        let shown = crate::commandlog::without_secrets(spec.name, args);
        self.feed_monitors(id, &shown, caller);
    }

    /// Shows a command that was run: then a RESET or QUIT has ended its own client's watching, and a SELECT has chosen the database.
    #[cold]
    pub(crate) fn show_done(
        &mut self,
        id: SessionId,
        command: usize,
        args: Args<'_>,
        caller: Caller,
        outcome: &Result<Step, ()>,
    ) {
        if matches!(outcome, Ok(Step::Close)) {
            self.monitors.retain(|monitor| *monitor != id);
        }
        self.show_monitors(id, command, args, caller);
    }

    /// Writes a line to every monitor that gets replies.
    pub(crate) fn feed_monitors(&mut self, id: SessionId, shown: &[&[u8]], caller: Caller) {
        let session = self.sessions.at(id);
        // By the word in front client libraries tell a Unix socket from an address.
        let path = session.info.address.strip_suffix(":0").filter(|path| path.starts_with('/'));
        let from = match path {
            _ if matches!(caller, Caller::Script(_)) => "lua",
            Some(path) => &format!("unix:{path}"),
            None => &session.info.address,
        };
        let us = self.keyspace.now.unix_us;
        let mut line =
            format!("+{}.{:06} [{} {from}]", us / 1_000_000, us % 1_000_000, session.db).into_bytes();
        for argument in shown {
            line.push(b' ');
            push_quoted(&mut line, argument);
        }
        line.extend_from_slice(b"\r\n");
        let line = Part::encoded(&line);
        for monitor in self.monitors.clone() {
            if self.reply_mode(monitor) == ReplyMode::On {
                self.send(monitor, |message| message.part(&line));
            }
        }
    }
}

/// Appends `text` in double quotes with Redis' escapes.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &c in text {
        match c {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', c]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(c),
            _ => out.extend_from_slice(format!("\\x{c:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn unprintable_bytes_are_escaped() {
        let mut out = Vec::new();
        super::push_quoted(&mut out, b"a\"\\\n\x01\xff");
        assert_eq!(out, br#""a\"\\\n\x01\xff""#);
    }
}
