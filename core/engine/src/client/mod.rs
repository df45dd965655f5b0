//! CLIENT: what clients tell about themselves, and what is told about them.

mod caching;
mod filter;
mod kill;
mod line;
mod pause;

pub(crate) use self::line::{client_line, request_bytes};
pub(crate) use self::pause::Pause;
use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Delivery;
use crate::session::{ReplyMode, SessionId};
use commands::{Args, Error, Flags, Group, Row};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const ANYBODY: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("client", -2, unknown).subcommands(&[
    row("client|caching", 3, caching::caching).flags(ANYBODY),
    row("client|capa", -3, capa).flags(ANYBODY),
    row("client|durability", -2, crate::durability::CLIENT_DURABILITY).flags(ANYBODY),
    row("client|getname", 2, getname).flags(ANYBODY),
    row("client|getredir", 2, caching::getredir).flags(ANYBODY),
    row("client|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
    row("client|id", 2, id).flags(ANYBODY),
    row("client|info", 2, line::info).flags(ANYBODY),
    row("client|kill", -3, kill::kill).flags(ADMIN),
    row("client|list", -2, line::list).flags(ADMIN),
    row("client|no-evict", 3, no_evict).flags(ADMIN),
    row("client|no-touch", 3, no_touch).flags(ANYBODY),
    row("client|pause", -3, pause::pause).flags(ADMIN),
    // Within a transaction it would take a part out of the array that EXEC has begun.
    row("client|reply", 3, reply).flags(ANYBODY.and(Flags::SETS_REPLIES).and(Flags::NO_MULTI)),
    row("client|setinfo", 4, setinfo).flags(ANYBODY),
    row("client|setname", 3, setname).flags(ANYBODY),
    row("client|tracking", -3, caching::tracking).flags(ANYBODY),
    row("client|trackinginfo", 2, caching::trackinginfo).flags(ANYBODY),
    row("client|unblock", -3, unblock).flags(ADMIN),
    row("client|unpause", 2, pause::unpause).flags(ADMIN),
])];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CLIENT"))
}

/// What the client can do. There is one such thing, to follow a redirection when a replica takes over, which never happens
/// here; what is not known is passed over, as in Valkey.
fn capa(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if (2..turn.args.len()).any(|i| turn.args.is(i, "redirect")) {
        engine.sessions.at_mut(turn.session).follows_redirects = true;
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn id(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.integer(engine.sessions.at(turn.session).id as i64);
    Ok(Step::Done(None))
}

/// A name or attribute may hold printable characters without blanks.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.iter().all(|c| (b'!'..=b'~').contains(c)) {
        return Ok(());
    }
    Err(Error::new("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn setname(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let name = turn.args.at(2);
    check_name(name)?;
    engine.sessions.at_mut(turn.session).name = name.to_vec();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn getname(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let name = &engine.sessions.at(turn.session).name;
    if name.is_empty() {
        turn.reply.null()
    } else {
        turn.reply.bulk(name)
    }
    Ok(Step::Done(None))
}

fn setinfo(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let value = turn.args.at(3);
    let which = match () {
        () if turn.args.is(2, "lib-name") => true,
        () if turn.args.is(2, "lib-ver") => false,
        () => {
            return Err(Error::quoting("ERR Unrecognized option '{}'", &[turn.args.at(2)]));
        }
    };
    if check_name(value).is_err() {
        let label = String::from_utf8_lossy(turn.args.at(2));
        return Err(Error::text(format!(
            "ERR {label} cannot contain spaces, newlines or special characters."
        )));
    }
    let session = engine.sessions.at_mut(turn.session);
    if which {
        session.lib_name = value.to_vec()
    } else {
        session.lib_version = value.to_vec()
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn on_off(args: Args<'_>, i: usize) -> Result<bool, Error> {
    match () {
        () if args.is(i, "on") => Ok(true),
        () if args.is(i, "off") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

fn no_evict(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.sessions.at_mut(turn.session).no_evict = on_off(turn.args, 2)?;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn no_touch(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.sessions.at_mut(turn.session).no_touch = on_off(turn.args, 2)?;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn reply(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let session = engine.sessions.at_mut(turn.session);
    match () {
        () if turn.args.is(2, "on") => {
            session.reply_mode = ReplyMode::On;
            turn.reply.ok();
        }
        () if turn.args.is(2, "off") => {
            session.reply_mode = ReplyMode::Off;
        }
        () if turn.args.is(2, "skip") => {
            if session.reply_mode == ReplyMode::On {
                session.reply_mode = ReplyMode::SkipNext;
            }
        }
        () => return Err(Error::SYNTAX),
    }
    Ok(Step::Done(None))
}

fn unblock(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let with_error = match turn.args.len() {
        3 => false,
        4 if turn.args.is(3, "timeout") => false,
        4 if turn.args.is(3, "error") => true,
        4 => return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(commands::bad_subcommand(turn.args, "CLIENT")),
    };
    let client = turn.args.int(2)?;
    let waiting =
        engine.sessions.by_client_id(client as u64).and_then(|id| engine.unblock(id).map(|w| (id, w)));
    turn.reply.integer(i64::from(waiting.is_some()));
    if let Some((id, waiting)) = waiting {
        if with_error {
            engine.end_waiting_with(id, &waiting, b"UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            engine.end_waiting(id, &waiting);
        }
    }
    Ok(Step::Done(None))
}

impl Engine {
    /// Has a client's connection closed: the one whose request runs after its reply, another at once.
    pub(crate) fn kill(&mut self, id: SessionId, by: SessionId) {
        match id == by {
            true => self.sessions.at_mut(id).kill = true,
            false => self.close_client(id),
        }
    }

    /// Has a client's connection closed at once. Whatever runs before its thread has seen to that finds it gone.
    pub(crate) fn close_client(&mut self, id: SessionId) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        if session.is_master {
            return self.cut_link();
        }
        session.kill = true;
        let (thread, token) = (session.info.thread, session.info.token);
        self.let_go(id);
        self.deliveries.push(Delivery { thread, token, drop: true, ..Delivery::default() });
    }
}
