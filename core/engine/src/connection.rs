//! The connection itself: AUTH, HELLO, PING, ECHO, SELECT, QUIT, RESET.

use crate::REDIS_VERSION;
use crate::call::{EngineHandler, Step, Turn};
use crate::copy::wish::CopyWish;
use crate::durability::Durability;
use crate::engine::Engine;
use crate::session::ReplyMode;
use commands::{Args, Error, Flags, Group, Row};
use resp::{Protocol, Reply};

/// The refusal of a wrong name or password.
pub(crate) const WRONGPASS: Error =
    Error::new("WRONGPASS invalid username-password pair or user is disabled.");

const ANYWHERE: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
const HANDSHAKE: Flags = ANYWHERE.and(Flags::NOSCRIPT).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// Of what ends a session or begins it anew: whatever the client is in, it runs at once.
const ALWAYS: Flags = Flags::IN_MULTI.and(Flags::AS_SUBSCRIBER);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("auth", -2, auth).flags(HANDSHAKE),
    row("echo", 2, echo).flags(Flags::FAST).flags(Flags::LOADING.and(Flags::STALE)),
    row("hello", -1, hello).flags(HANDSHAKE),
    row("ping", -1, ping).fast().flags(Flags::AS_SUBSCRIBER.and(Flags::TELLS_HEALTH)),
    row("quit", -1, quit).flags(HANDSHAKE.and(ALWAYS)),
    row("reset", 1, reset).flags(HANDSHAKE.and(ALWAYS)),
    row("select", 2, select).flags(ANYWHERE),
];

fn ping(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 2 {
        return Err(Error::arity("ping"));
    }
    let text = turn.args.find(1);
    if engine.sessions.at(turn.session).is_restricted() {
        turn.reply.array(2);
        turn.reply.bulk(b"pong");
        turn.reply.bulk(text.unwrap_or_default());
    } else {
        match text {
            Some(text) => turn.reply.bulk(text),
            None => turn.reply.status("PONG"),
        }
    }
    Ok(Step::Done(None))
}

fn echo(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.bulk(turn.args.at(1));
    Ok(Step::Done(None))
}

fn quit(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.ok();
    Ok(Step::Close)
}

fn select(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let index = turn.args.int32(1)?;
    let count = engine.keyspace.database_count();
    let index = usize::try_from(index)
        .ok()
        .filter(|i| *i < count)
        .ok_or(Error::new("ERR DB index is out of range"))?;
    engine.sessions.at_mut(turn.session).db = index;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn reset(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let id = turn.session;
    if engine.sessions.at(id).is_replica {
        return Err(Error::new("ERR can only reset normal client connections"));
    }
    engine.unwatch(id);
    engine.unsubscribe_all(id);
    engine.stop_tracking(id);
    engine.monitors.retain(|m| *m != id);
    let open = engine.acl.default_is_open();
    let session = engine.sessions.at_mut(id);
    session.multi = None;
    session.monitor = false;
    session.db = 0;
    session.protocol = Protocol::Resp2;
    session.name.clear();
    session.user = crate::acl::DEFAULT_USER;
    session.authenticated = open;
    session.no_evict = false;
    session.no_touch = false;
    session.follows_redirects = false;
    session.copy = CopyWish::default();
    session.durability = Durability::Configured;
    if session.reply_mode == ReplyMode::Off {
        session.reply_mode = ReplyMode::On;
    }
    turn.reply.status("RESET");
    Ok(Step::Done(None))
}

/// The name and the password with which a request of this command logs in.
pub(crate) fn login_of<'a>(command: &str, args: Args<'a>) -> Option<(&'a [u8], &'a [u8])> {
    match (command, args.len()) {
        ("auth", 2) => Some((b"default", args.at(1))),
        ("auth", 3) => Some((args.at(1), args.at(2))),
        ("hello", _) => Hello::read(args).ok()?.login,
        _ => None,
    }
}

fn auth(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (name, password) = login_of("auth", turn.args).ok_or(Error::SYNTAX)?;
    if turn.args.len() == 2 && engine.acl.default_takes_any_password() {
        return Err(Error::new(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        ));
    }
    if !log_in(engine, turn, name, password)? {
        return Ok(Step::Later);
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// Makes the session `name`'s; false when a job has to check the password first.
fn log_in(engine: &mut Engine, turn: &mut Turn<'_>, name: &[u8], password: &[u8]) -> Result<bool, Error> {
    let Some(outcome) = engine.verify_password(turn, name, password) else { return Ok(false) };
    match outcome {
        Some(user) => {
            let session = engine.sessions.at_mut(turn.session);
            session.user = user;
            (session.authenticated, session.has_failed) = (true, false);
            Ok(true)
        }
        None => {
            engine.counters.acl_denied[0] += 1;
            engine.sessions.at_mut(turn.session).has_failed = true;
            let client = crate::client::client_line(engine, engine.sessions.at(turn.session));
            let now = engine.keyspace.now.unix_ms;
            let object = turn.args.at(0).to_vec();
            engine.acl.log.note(&crate::acl::Denial::Auth(object), "toplevel", name, client, now);
            Err(WRONGPASS)
        }
    }
}

impl Engine {
    /// Makes the session that of the first of these users who is there and on: a certificate names them. Where none is, the
    /// session stays what it was, and that is counted.
    pub fn log_in_by_certificate(&mut self, id: crate::SessionId, names: &[String]) {
        let user = names.iter().find_map(|name| self.acl.find_enabled(name.as_bytes()));
        let Some(session) = self.sessions.find_mut(id) else { return };
        match user {
            Some(user) => (session.user, session.authenticated) = (user, true),
            None => self.counters.certificates_denied += u64::from(!names.is_empty()),
        }
    }
}

/// What a HELLO asks for.
#[derive(Clone, Copy, Debug)]
struct Hello<'a> {
    /// The protocol to speak from now on.
    protocol: Option<Protocol>,
    /// A user's name and password.
    login: Option<(&'a [u8], &'a [u8])>,
    /// What the client calls itself.
    name: Option<&'a [u8]>,
}

impl Hello<'_> {
    /// The refusal of a client that has not logged in and does not do it here.
    const NOAUTH: Error = Error::new(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
    );

    /// Reads a request.
    ///
    /// # Errors
    /// For a protocol that there is not, an unknown option, a name that is none.
    fn read<'a>(args: Args<'a>) -> Result<Hello<'a>, Error> {
        let mut hello = Hello { protocol: None, login: None, name: None };
        if let Some(text) = args.find(1) {
            hello.protocol = Some(match base::number::parse_i64(text) {
                None => return Err(Error::new("ERR Protocol version is not an integer or out of range")),
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err(Error::new("NOPROTO unsupported protocol version")),
            });
        }
        let mut i = 2;
        while i < args.len() {
            if args.is(i, "auth") && i + 2 < args.len() {
                hello.login = Some((args.at(i + 1), args.at(i + 2)));
                i += 3;
            } else if args.is(i, "setname") && i + 1 < args.len() {
                hello.name = Some(args.at(i + 1));
                i += 2;
            } else {
                return Err(Error::quoting("ERR Syntax error in HELLO option '{}'", &[args.at(i)]));
            }
        }
        if let Some(name) = hello.name {
            crate::client::check_name(name)?;
        }
        Ok(hello)
    }
}

fn hello(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let hello = Hello::read(turn.args)?;
    if let Some((user, password)) = hello.login
        && !log_in(engine, turn, user, password)?
    {
        return Ok(Step::Later);
    }
    if !engine.is_let_in(engine.sessions.at(turn.session)) {
        return Err(Hello::NOAUTH);
    }
    let is_replica = engine.is_replica();
    let session = engine.sessions.at_mut(turn.session);
    if let Some(name) = hello.name {
        session.name = name.to_vec();
    }
    if let Some(protocol) = hello.protocol {
        session.protocol = protocol;
    }
    push_greeting(&mut turn.reply, session.protocol, session.id, is_replica);
    Ok(Step::Done(None))
}

/// The reply of HELLO to the client with this number, in the protocol that it now speaks.
fn push_greeting(reply: &mut Reply<'_>, protocol: Protocol, client_id: u64, is_replica: bool) {
    reply.set_protocol(protocol);
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(client_id as i64);
    for (name, value) in [("mode", "standalone"), ("role", if is_replica { "replica" } else { "master" })] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}
