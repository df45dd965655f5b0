//! What clients are told while a script or command holds the engine for longer than it should.
//!
//! Nothing here may touch the engine; what must be known of users it has left in `doors`. SCRIPT KILL, FUNCTION KILL and SHUTDOWN NOSAVE are taken note of; FUNCTION
//! STATS is answered from what the running function has left; HELLO is answered, and transactions may be opened and dropped, which the
//! engine learns when it is free; commands that end a session or watch keys wait in the input until then; all others are
//! refused in Redis' words.

use commands::{Args, Error};
use engine::{Amends, BusyRights, Hello, Renames, ReplyMode};
use net::{Parts, Pool, Scratch};
use resp::{Limits, Parsed, Parser, ProtocolError, Span};

use crate::client::{Bounds, Client, push_protocol_error};
use crate::doors::{Entry, Greeting};
use crate::shared::Shared;

const BUSY: Error =
    Error::new("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
const BUSY_FUNCTION: Error =
    Error::new("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");
const UNKILLABLE: Error = Error::new(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. \
    You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE \
    command.",
);

/// Requests answered in one go.
const ANSWERS_MAX: usize = 512;

/// What a request is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Kill {
        /// FUNCTION KILL, not SCRIPT KILL.
        is_function: bool,
    },
    Stats,
    Shutdown {
        /// NOSAVE is its first option.
        nosave_first: bool,
    },
    Multi,
    Exec,
    Discard,
    /// AUTH: whether its name and password let in is told from a copy of the users.
    Enter {
        name: Vec<u8>,
        password: Vec<u8>,
    },
    /// HELLO with its arguments.
    Hello(Vec<Vec<u8>>),
    /// It ends a session or watches keys: it waits.
    Session,
    Other,
}

fn wish(argv: &[&[u8]], renames: &Renames) -> Wish {
    let Some(name) = renames.original(argv[0]) else { return Wish::Other };
    let is = |at: usize, word: &str| {
        let argument = if at == 0 { Some(name) } else { argv.get(at).copied() };
        argument.is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    };
    if argv.len() == 2 && is(1, "kill") && (is(0, "script") || is(0, "function")) {
        Wish::Kill { is_function: is(0, "function") }
    } else if argv.len() == 2 && is(0, "function") && is(1, "stats") {
        Wish::Stats
    } else if argv.len() == 1 && is(0, "multi") {
        Wish::Multi
    } else if argv.len() == 1 && is(0, "exec") {
        Wish::Exec
    } else if argv.len() == 1 && is(0, "discard") {
        Wish::Discard
    } else if is(0, "shutdown") && argv[1..].iter().any(|arg| arg.eq_ignore_ascii_case(b"nosave")) {
        Wish::Shutdown { nosave_first: is(1, "nosave") }
    } else if is(0, "auth") && matches!(argv.len(), 2 | 3) {
        let name = if argv.len() == 3 { argv[1] } else { b"default" };
        Wish::Enter { name: name.to_vec(), password: argv[argv.len() - 1].to_vec() }
    } else if is(0, "hello") {
        Wish::Hello(argv.iter().map(|argument| argument.to_vec()).collect())
    } else if ["auth", "reset", "quit", "watch", "unwatch"].iter().any(|word| is(0, word)) {
        Wish::Session
    } else {
        Wish::Other
    }
}

/// Answers the whole requests in a client's input; whether some are left for later.
pub(crate) fn answer(
    shared: &Shared,
    client: &mut Client,
    scratch: &Scratch,
    pool: &mut Pool,
    bounds: &Bounds,
) -> bool {
    if !client.may_run() {
        return false;
    }
    let Some((trusted, rights)) = standing(shared, client) else {
        client.conn.out(pool).extend_from_slice(engine::PROTECTED_MODE.as_bytes());
        client.conn.close_after_flush();
        return false;
    };
    let mut state = State {
        is_open: client.is_in_transaction,
        amends: client.amends.take().unwrap_or_default(),
        trusted,
        is_known: client.trusted,
        let_in: client.let_in,
        rights,
        protocol: client.protocol,
        reply_mode: client.reply_mode,
    };
    let of = |trusted: bool| match trusted {
        true => Limits::trusted(bounds.bulk_bytes_max),
        false => Limits::stranger(),
    };
    let asker = control::Asker { client: client.id, source: client.source, has_failed: false };
    let Parts { input, out } = client.conn.parts(scratch, pool);
    let (mut at, mut spans, mut left_over, mut close) = (0, Vec::<Span>::new(), false, false);
    for _ in 0..ANSWERS_MAX {
        spans.clear();
        let rest = &input[at..];
        let (len, verdict) =
            match read_wish(&mut client.parser, rest, &mut spans, &of(state.trusted), &shared.renames) {
                Ok(Read::Whole(len, wish)) => (len, wish),
                Ok(Read::Missing(missing)) => {
                    client.missing = missing;
                    break;
                }
                Err(error) => {
                    if state.reply_mode == ReplyMode::On {
                        push_protocol_error(out, &error);
                    }
                    close = true;
                    break;
                }
            };
        let before = out.len();
        if let Some(wish) = verdict {
            if meet(shared, wish, asker, &mut state, out) == Met::Later {
                left_over = true;
                break;
            }
            state.spend_reply_mode(before, out);
        }
        at += len;
    }
    client.conn.consume(at);
    client.is_in_transaction = state.is_open;
    (client.protocol, client.rights, client.reply_mode) = (state.protocol, state.rights, state.reply_mode);
    client.let_in = state.let_in;
    client.amends = (state.amends != Amends::default()).then_some(state.amends);
    if close {
        client.conn.close_after_flush();
    }
    left_over
}

/// Whether a client is let in and what it may do; `None` when it is to be refused.
fn standing(shared: &Shared, client: &Client) -> Option<(bool, BusyRights)> {
    if client.session.is_some() || client.let_in {
        return Some((client.trusted || client.let_in, client.rights));
    }
    let peer = client.conn.peer();
    match shared.busy.doors.greet(peer.is_local() || matches!(peer, net::Peer::Unix(_))) {
        Greeting::Welcome(rights) => Some((true, rights)),
        Greeting::Halt => Some((false, BusyRights::NONE)),
        Greeting::Refused => None,
    }
}

/// The command that a client wishes for and may not use.
fn forbidden(wish: &Wish, rights: BusyRights) -> Option<&'static str> {
    let (may, command) = match wish {
        Wish::Kill { is_function: false } => (rights.kills_scripts, "script|kill"),
        Wish::Kill { is_function: true } => (rights.kills_functions, "function|kill"),
        Wish::Stats => (rights.sees_functions, "function|stats"),
        Wish::Shutdown { nosave_first } => {
            (rights.shuts_down || *nosave_first && rights.shuts_down_nosave, "shutdown")
        }
        _ => return None,
    };
    (!may).then_some(command)
}

fn no_permission(command: &str) -> Error {
    Error::text(format!("NOPERM this user has no permissions to run the '{command}' command"))
}

/// What the input begins with.
enum Read {
    /// A request of so many bytes; an empty one wishes nothing.
    Whole(usize, Option<Wish>),
    /// A part of one; at least so many bytes are missing.
    Missing(usize),
}

fn read_wish(
    parser: &mut Parser,
    input: &[u8],
    spans: &mut Vec<Span>,
    limits: &Limits,
    renames: &Renames,
) -> Result<Read, ProtocolError> {
    Ok(match parser.next(input, spans, limits)? {
        Parsed::Request { len } => {
            let argv: Vec<&[u8]> = spans.iter().map(|span| span.of(input)).collect();
            Read::Whole(len, (!argv.is_empty()).then(|| wish(&argv, renames)))
        }
        Parsed::Inline { len, args } => {
            let argv: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            Read::Whole(len, (!argv.is_empty()).then(|| wish(&argv, renames)))
        }
        Parsed::Incomplete { missing } => Read::Missing(missing),
    })
}

/// A client as it is told of meanwhile.
struct State {
    /// It has a transaction.
    is_open: bool,
    amends: Amends,
    /// It is let in.
    trusted: bool,
    /// The engine knows that.
    is_known: bool,
    /// It has come in with a password, of which the engine knows nothing.
    let_in: bool,
    rights: BusyRights,
    protocol: resp::Protocol,
    reply_mode: ReplyMode,
}

impl State {
    /// Takes back what was written since `before`, if the client wants no reply.
    fn spend_reply_mode(&mut self, before: usize, out: &mut Vec<u8>) {
        if self.reply_mode != ReplyMode::On {
            out.truncate(before);
        }
        self.amends.has_skipped |= self.reply_mode == ReplyMode::SkipNext;
        self.reply_mode = self.reply_mode.spent();
    }
}

/// Whether a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Now,
    /// It stays in the input.
    Later,
}

/// Answers a client, whoever it is.
fn meet(shared: &Shared, wish: Wish, asker: control::Asker, state: &mut State, out: &mut Vec<u8>) -> Met {
    match wish {
        Wish::Session => return Met::Later,
        Wish::Enter { name, password } if !state.is_known => {
            match enter(shared, &name, &password, asker, state) {
                Ok(Met::Now) => out.extend_from_slice(b"+OK\r\n"),
                Ok(Met::Later) => return Met::Later,
                Err(error) => push_error(out, &error),
            }
        }
        Wish::Hello(argv) => {
            let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            match hello(shared, &argv, asker, state, out) {
                Ok(met) => return met,
                Err(error) => push_error(out, &error),
            }
        }
        wish if state.trusted => match forbidden(&wish, state.rights) {
            Some(command) => push_error(out, &no_permission(command)),
            None => grant(shared, wish, state, out),
        },
        _ => push_error(out, &engine::NOAUTH),
    }
    Met::Now
}

/// Lets a client in that has the right password.
fn enter(
    shared: &Shared,
    name: &[u8],
    password: &[u8],
    asker: control::Asker,
    state: &mut State,
) -> Result<Met, Error> {
    match shared.busy.doors.ask(name, password, asker, &shared.jobs) {
        Entry::Welcome(rights) => {
            (state.trusted, state.let_in, state.rights) = (true, true, rights);
            Ok(Met::Now)
        }
        Entry::Refused => Err(engine::WRONGPASS),
        Entry::Later => Ok(Met::Later),
    }
}

fn hello(
    shared: &Shared,
    argv: &[&[u8]],
    asker: control::Asker,
    state: &mut State,
    out: &mut Vec<u8>,
) -> Result<Met, Error> {
    let hello = Hello::read(Args::new(argv))?;
    if state.is_open || hello.login.is_some() && state.is_known {
        // It is to be queued; or who the client is shall change. Either is the engine's.
        return Ok(Met::Later);
    }
    if let Some((name, password)) = hello.login
        && enter(shared, name, password, asker, state)? == Met::Later
    {
        return Ok(Met::Later);
    }
    if !state.trusted {
        return Err(Hello::NOAUTH);
    }
    if let Some(protocol) = hello.protocol {
        state.protocol = protocol;
        state.amends.protocol = Some(protocol);
    }
    if let Some(name) = hello.name {
        state.amends.name = Some(name.to_vec());
    }
    engine::push_greeting(&mut resp::Reply::wire(out, state.protocol), state.protocol, asker.client);
    Ok(Met::Now)
}

fn busy_error(shared: &Shared) -> Error {
    match shared.busy.function() {
        _ if shared.is_loading() => engine::LOADING,
        Some(_) => BUSY_FUNCTION,
        None => BUSY,
    }
}

fn push_error(out: &mut Vec<u8>, error: &Error) {
    out.push(b'-');
    out.extend_from_slice(error.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What opens or ends a transaction is done, as far as the client can tell; everything else breaks one.
fn in_transaction(shared: &Shared, wish: Wish, state: &mut State, out: &mut Vec<u8>) {
    match wish {
        Wish::Multi if state.is_open => push_error(out, &Error::new("ERR MULTI calls can not be nested")),
        Wish::Multi => {
            out.extend_from_slice(b"+OK\r\n");
            state.is_open = true;
            state.amends.is_opened = true;
        }
        Wish::Discard if !state.is_open => push_error(out, &Error::new("ERR DISCARD without MULTI")),
        Wish::Discard | Wish::Exec if state.is_open => {
            match wish {
                Wish::Discard => out.extend_from_slice(b"+OK\r\n"),
                _ => push_error(
                    out,
                    &Error::text(format!(
                        "EXECABORT Transaction discarded because of: {}",
                        busy_error(shared).shown()
                    )),
                ),
            }
            state.is_open = false;
            let Amends { protocol, name, has_skipped, .. } = core::mem::take(&mut state.amends);
            state.amends = Amends { is_dropped: true, protocol, name, has_skipped, ..Amends::default() };
        }
        _ => {
            push_error(out, &busy_error(shared));
            state.amends.is_broken |= state.is_open;
        }
    }
}

fn tell_stats(shared: &Shared, protocol: resp::Protocol, out: &mut Vec<u8>) {
    let Some(function) = shared.busy.function() else { return push_error(out, &BUSY) };
    let argv: Vec<&[u8]> = function.argv.iter().map(Vec::as_slice).collect();
    let running = engine::RunningFunction {
        name: &function.name,
        libraries: function.libraries,
        functions: function.functions,
    };
    let running_ms = shared.clock.micros().saturating_sub(shared.busy.since_us()) / 1000;
    engine::push_function_stats(out, protocol, running, &argv, running_ms);
}

/// Answers a wish that its client may have.
fn grant(shared: &Shared, wish: Wish, state: &mut State, out: &mut Vec<u8>) {
    match wish {
        Wish::Kill { is_function } if is_function != shared.busy.function().is_some() => {
            push_error(out, &busy_error(shared));
        }
        Wish::Kill { .. } if shared.busy.has_written() => push_error(out, &UNKILLABLE),
        Wish::Kill { .. } => {
            shared.busy.ask_kill();
            out.extend_from_slice(b"+OK\r\n");
        }
        Wish::Shutdown { .. } => {
            shared.busy.ask_shutdown();
            shared.chore(crate::shared::Chore::Stop(crate::stop::Wanted {
                save: Some(false),
                ..Default::default()
            }));
        }
        Wish::Stats => tell_stats(shared, state.protocol, out),
        Wish::Multi | Wish::Exec | Wish::Discard | Wish::Other => in_transaction(shared, wish, state, out),
        Wish::Enter { .. } | Wish::Hello(_) | Wish::Session => push_error(out, &busy_error(shared)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish_of(line: &str) -> Wish {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        wish(&argv, &Renames::default())
    }

    #[test]
    fn only_what_ends_the_script_or_opens_a_session_is_special() {
        assert_eq!(wish_of("SCRIPT kill"), Wish::Kill { is_function: false });
        assert_eq!(wish_of("function KILL"), Wish::Kill { is_function: true });
        assert_eq!(wish_of("function stats"), Wish::Stats);
        assert_eq!((wish_of("multi"), wish_of("exec x")), (Wish::Multi, Wish::Other));
        assert_eq!(wish_of("script kill now"), Wish::Other);
        assert_eq!(wish_of("SHUTDOWN nosave"), Wish::Shutdown { nosave_first: true });
        assert_eq!(wish_of("SHUTDOWN NOW NOSAVE"), Wish::Shutdown { nosave_first: false });
        assert_eq!(wish_of("SHUTDOWN"), Wish::Other);
        assert_eq!(wish_of("hello 3"), Wish::Hello(vec![b"hello".to_vec(), b"3".to_vec()]));
        let enter = |name: &str| Wish::Enter { name: name.into(), password: b"pw".to_vec() };
        assert_eq!((wish_of("AUTH pw"), wish_of("auth me pw")), (enter("default"), enter("me")));
        assert_eq!(wish_of("PING"), Wish::Other);
    }

    #[test]
    fn each_wish_needs_the_right_to_its_own_command() {
        let kills = BusyRights { kills_scripts: true, ..BusyRights::NONE };
        let stops = BusyRights { shuts_down_nosave: true, ..BusyRights::NONE };
        assert_eq!(forbidden(&wish_of("SCRIPT KILL"), kills), None);
        assert_eq!(forbidden(&wish_of("FUNCTION KILL"), kills), Some("function|kill"));
        assert_eq!(forbidden(&wish_of("SHUTDOWN NOSAVE"), kills), Some("shutdown"));
        assert_eq!(forbidden(&wish_of("SHUTDOWN NOSAVE"), stops), None);
        assert_eq!(forbidden(&wish_of("SHUTDOWN NOW NOSAVE"), stops), Some("shutdown"));
        assert_eq!(forbidden(&wish_of("SHUTDOWN NOW NOSAVE"), BusyRights::ALL), None);
        assert_eq!(forbidden(&wish_of("FUNCTION STATS"), kills), Some("function|stats"));
        assert_eq!(forbidden(&wish_of("PING"), BusyRights::NONE), None);
    }
}
