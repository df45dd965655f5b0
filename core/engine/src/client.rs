//! CLIENT: what clients tell about themselves, and what is told about them.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use crate::session::{ReplyMode, Session, SessionId, Tracking};
use commands::{Args, Error, Flags, Group, OnTimeout, Row};
use resp::Protocol;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const ANYBODY: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("client", -2, unknown)
    .docs("2.4.0", "Depends on subcommand.", "A container for client connection commands.")
    .subcommands(&[
        row("client|caching", 3, caching).flags(ANYBODY).docs(
            "6.0.0",
            "O(1)",
            "Instructs the server whether to track the keys in the next request.",
        ),
        row("client|getname", 2, getname).flags(ANYBODY).docs(
            "2.6.9",
            "O(1)",
            "Returns the name of the connection.",
        ),
        row("client|getredir", 2, getredir).flags(ANYBODY).docs(
            "6.0.0",
            "O(1)",
            "Returns the client ID to which the connection's tracking notifications are redirected.",
        ),
        row("client|help", 2, help).flags(Flags::LOADING.and(Flags::STALE)).docs(
            "5.0.0",
            "O(1)",
            "Returns helpful text about the different subcommands.",
        ),
        row("client|id", 2, id).flags(ANYBODY).docs(
            "5.0.0",
            "O(1)",
            "Returns the unique client ID of the connection.",
        ),
        row("client|info", 2, info).flags(ANYBODY).docs(
            "6.2.0",
            "O(1)",
            "Returns information about the connection.",
        ),
        row("client|kill", -3, kill).flags(ADMIN).docs(
            "2.4.0",
            "O(N) where N is the number of client connections",
            "Terminates open connections.",
        ),
        row("client|list", -2, list).flags(ADMIN).docs(
            "2.4.0",
            "O(N) where N is the number of client connections",
            "Lists open connections.",
        ),
        row("client|no-evict", 3, no_evict).flags(ADMIN).docs(
            "7.0.0",
            "O(1)",
            "Sets the client eviction mode of the connection.",
        ),
        row("client|no-touch", 3, no_touch).flags(ANYBODY).docs(
            "7.2.0",
            "O(1)",
            "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        ),
        row("client|pause", -3, pause).flags(ADMIN).docs("3.0.0", "O(1)", "Suspends commands processing."),
        row("client|reply", 3, reply).flags(ANYBODY).docs(
            "3.2.0",
            "O(1)",
            "Instructs the server whether to reply to commands.",
        ),
        row("client|setinfo", 4, setinfo).flags(ANYBODY).docs(
            "7.2.0",
            "O(1)",
            "Sets information specific to the client or connection.",
        ),
        row("client|setname", 3, setname).flags(ANYBODY).docs("2.6.9", "O(1)", "Sets the connection name."),
        row("client|tracking", -3, tracking).flags(ANYBODY).docs(
            "6.0.0",
            "O(1). Some options may introduce additional complexity.",
            "Controls server-assisted client-side caching for the connection.",
        ),
        row("client|trackinginfo", 2, trackinginfo).flags(ANYBODY).docs(
            "6.2.0",
            "O(1)",
            "Returns information about server-assisted client-side caching for the connection.",
        ),
        row("client|unblock", -3, unblock).flags(ADMIN).docs(
            "5.0.0",
            "O(log N) where N is the number of client connections",
            "Unblocks a client blocked by a blocking command from a different connection.",
        ),
        row("client|unpause", 2, unpause).flags(ADMIN).docs(
            "6.2.0",
            "O(N) Where N is the number of paused clients",
            "Resumes processing commands from paused clients.",
        ),
    ])];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CLIENT"))
}

fn help(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    crate::admin::help(
        &mut turn.reply,
        "CLIENT",
        &[
            (
                "CACHING (YES|NO)",
                "Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
            ),
            ("GETREDIR", "Return the client ID we are redirecting to when tracking is enabled."),
            ("GETNAME", "Return the name of the current connection."),
            ("ID", "Return the ID of the current connection."),
            ("INFO", "Return information about the current client connection."),
            ("KILL <ip:port>", "Kill connection made from <ip:port>."),
            ("KILL <option> <value> [<option> <value> [...]]", "Kill connections."),
            ("LIST [options ...]", "Return information about client connections."),
            ("UNPAUSE", "Stop the current client pause, resuming traffic."),
            (
                "PAUSE <timeout> [WRITE|ALL]",
                "Suspend all, or just write, clients for <timeout> milliseconds.",
            ),
            ("REPLY (ON|OFF|SKIP)", "Control the replies sent to the current connection."),
            ("SETNAME <name>", "Assign the name <name> to the current connection."),
            ("SETINFO <option> <value>", "Set client meta attr."),
            ("UNBLOCK <clientid> [TIMEOUT|ERROR]", "Unblock the specified blocked client."),
            (
                "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
                "Control server assisted client side caching.",
            ),
            ("TRACKINGINFO", "Report tracking status for the current connection."),
            ("NO-EVICT (ON|OFF)", "Protect current client connection from eviction."),
            ("NO-TOUCH (ON|OFF)", "Will not touch LRU/LFU stats when this mode is on."),
        ],
    );
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
    let (which, label) = match () {
        () if turn.args.is(2, "lib-name") => (true, "lib-name"),
        () if turn.args.is(2, "lib-ver") => (false, "lib-ver"),
        () => {
            return Err(Error::text(format!(
                "ERR Unrecognized option '{}'",
                String::from_utf8_lossy(turn.args.at(2))
            )));
        }
    };
    if check_name(value).is_err() {
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

fn info(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let line = client_line(engine, engine.sessions.at(turn.session)) + "\n";
    turn.reply.verbatim(b"txt", line.as_bytes());
    Ok(Step::Done(None))
}

/// One line of CLIENT LIST, without its end.
pub(crate) fn client_line(engine: &Engine, s: &Session) -> String {
    let now = engine.keyspace.now.mono_us;
    let seconds = |since: u64| now.saturating_sub(since) / 1_000_000;
    let (sub, psub, ssub) = s
        .subscriptions
        .as_ref()
        .map_or((0, 0, 0), |u| (u.channels.len(), u.patterns.len(), u.shard_channels.len()));
    let multi = s.multi.as_ref().map_or(-1, |m| m.queue.len() as i64);
    let multi_bytes = s.multi.as_ref().map_or(0, |m| m.bytes);
    let command = s.last_command.map_or("NULL", |c| engine.table.commands[c].spec.name);
    let redirect = s.tracking.as_ref().map_or(-1, |t| t.redirect.map_or(0, |r| r as i64));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (query, output) = s.buffers;
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={} qbuf={query} qbuf-free=0 argv-mem=0 multi-mem={multi_bytes} rbs=0 rbp=0 obl={output} oll=0 omem={output} tot-mem={} events=r cmd={command} user={} redir={redirect} resp={} lib-name={} lib-ver={}",
        s.id,
        s.info.address,
        s.info.local_address,
        s.info.fd,
        text(&s.name),
        seconds(s.created_us),
        seconds(s.last_us),
        flags(s),
        s.db,
        s.watched.len(),
        query + output + multi_bytes + size_of::<Session>(),
        text(engine.acl.name(s.user)),
        if s.protocol == Protocol::Resp3 { 3 } else { 2 },
        text(&s.lib_name),
        text(&s.lib_version),
    )
}

fn flags(s: &Session) -> String {
    let mut out = String::new();
    let mut add = |on: bool, letter: char| {
        if on {
            out.push(letter);
        }
    };
    add(s.monitor, 'O');
    add(s.is_subscriber(), 'P');
    add(s.multi.is_some(), 'x');
    add(s.waiting.is_some(), 'b');
    add(s.tracking.is_some(), 't');
    add(s.tracking.as_ref().is_some_and(|t| t.broadcast), 'B');
    add(s.watch_broken, 'd');
    add(s.kill, 'c');
    add(s.info.unix, 'U');
    add(s.no_evict, 'e');
    add(s.no_touch, 'T');
    if out.is_empty() {
        out.push('N');
    }
    out
}

fn kind_matches(s: &Session, kind: &[u8]) -> Result<bool, Error> {
    match kind.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(!s.is_subscriber()),
        b"pubsub" => Ok(s.is_subscriber()),
        b"master" | b"slave" | b"replica" => Ok(false),
        _ => Err(Error::text(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(kind)))),
    }
}

fn list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    let mut out = String::new();
    let mut all: Vec<&Session> = engine.sessions.iter().map(|(_, s)| s).collect();
    all.sort_by_key(|s| s.id);
    if args.len() > 2 {
        if args.len() == 4 && args.is(2, "type") {
            kind_matches(all[0], args.at(3))?;
            all.retain(|s| kind_matches(s, args.at(3)).unwrap_or(false));
        } else if args.len() > 3 && args.is(2, "id") {
            let ids: Vec<u64> = args.rest(3).iter().map(|a| client_id(a)).collect::<Result<_, _>>()?;
            all.retain(|s| ids.contains(&s.id));
        } else {
            return Err(Error::SYNTAX);
        }
    }
    for session in all {
        out.push_str(&client_line(engine, session));
        out.push('\n');
    }
    turn.reply.verbatim(b"txt", out.as_bytes());
    Ok(Step::Done(None))
}

fn client_id(text: &[u8]) -> Result<u64, Error> {
    base::number::parse_i64(text)
        .filter(|n| *n > 0)
        .map(|n| n as u64)
        .ok_or(Error::new("ERR Invalid client ID"))
}

/// The filters of CLIENT KILL in its new form.
#[derive(Debug, Default)]
struct KillFilter<'a> {
    id: Option<u64>,
    kind: Option<&'a [u8]>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<usize>,
    skip_me: bool,
    max_age_s: Option<u64>,
}

fn kill_filter<'a>(engine: &Engine, args: Args<'a>) -> Result<KillFilter<'a>, Error> {
    let mut filter = KillFilter { skip_me: true, ..KillFilter::default() };
    for (i, pair) in args.rest(2).chunks(2).enumerate() {
        let [_, value] = pair else { return Err(Error::SYNTAX) };
        let at = 2 + 2 * i;
        match () {
            () if args.is(at, "id") => {
                filter.id = Some(
                    base::number::parse_i64(value)
                        .filter(|n| *n > 0)
                        .ok_or(Error::new("ERR client-id should be greater than 0"))?
                        as u64,
                )
            }
            () if args.is(at, "type") => filter.kind = Some(value),
            () if args.is(at, "addr") => filter.address = Some(value),
            () if args.is(at, "laddr") => filter.local_address = Some(value),
            () if args.is(at, "user") => {
                let none = || Error::text(format!("ERR No such user '{}'", String::from_utf8_lossy(value)));
                filter.user = Some(engine.acl.find(value).ok_or_else(none)?);
            }
            () if args.is(at, "maxage") => filter.max_age_s = Some(args.int(at + 1)?.max(0) as u64),
            () if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
            () if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
            () => return Err(Error::SYNTAX),
        }
    }
    Ok(filter)
}

fn kill(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() == 3 {
        let address = turn.args.at(2);
        let found =
            engine.sessions.iter().find(|(_, s)| s.info.address.as_bytes() == address).map(|(id, _)| id);
        let id = found.ok_or(Error::new("ERR No such client"))?;
        engine.kill(id, turn.session);
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    let filter = kill_filter(engine, turn.args)?;
    let now = engine.keyspace.now.mono_us;
    let mut victims = Vec::new();
    for (id, s) in engine.sessions.iter() {
        let fits = filter.id.is_none_or(|want| s.id == want)
            && filter.address.is_none_or(|a| s.info.address.as_bytes() == a)
            && filter.local_address.is_none_or(|a| s.info.local_address.as_bytes() == a)
            && filter.user.is_none_or(|u| s.user == u && s.authenticated)
            && filter.max_age_s.is_none_or(|age| now.saturating_sub(s.created_us) / 1_000_000 >= age)
            && match filter.kind {
                Some(kind) => kind_matches(s, kind)?,
                None => true,
            };
        if fits && !(filter.skip_me && id == turn.session) {
            victims.push(id);
        }
    }
    let count = victims.len();
    victims.into_iter().for_each(|id| engine.kill(id, turn.session));
    turn.reply.count(count);
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

fn pause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let writes_only = match turn.args.len() {
        3 => false,
        4 if turn.args.is(3, "write") => true,
        4 if turn.args.is(3, "all") => false,
        _ => return Err(Error::SYNTAX),
    };
    let ms = base::number::parse_i64(turn.args.at(2))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(Error::TIMEOUT_NEGATIVE);
    }
    engine.paused_until_us = engine.keyspace.now.mono_us.saturating_add((ms as u64).saturating_mul(1000));
    engine.pause_writes_only = writes_only;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn unpause(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.paused_until_us = 0;
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn unblock(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let with_error = match turn.args.len() {
        3 => false,
        4 if turn.args.is(3, "timeout") => false,
        4 if turn.args.is(3, "error") => true,
        _ => return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let client = turn.args.int(2)?;
    let waiting =
        engine.sessions.by_client_id(client as u64).and_then(|id| engine.unblock(id).map(|w| (id, w)));
    turn.reply.integer(i64::from(waiting.is_some()));
    if let Some((id, waiting)) = waiting {
        if with_error {
            engine.end_waiting_with(id, b"UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            let how: OnTimeout = waiting.wait.on_timeout;
            engine.end_waiting(id, how);
        }
    }
    Ok(Step::Done(None))
}

// Client-side caching.

fn tracking(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if !on_off(turn.args, 2)? {
        engine.stop_tracking(turn.session);
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    let options = tracking_options(engine, turn.args)?;
    let session = engine.sessions.at(turn.session);
    if session.protocol == Protocol::Resp2 && options.redirect.is_none() {
        return Err(Error::new("ERR Client tracking with RESP2 requires to use the REDIRECT option"))
            .map(|()| Step::Done(None));
    }
    if let Some(before) = &session.tracking
        && before.broadcast != options.broadcast
    {
        return Err(Error::new(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    engine.stop_tracking(turn.session);
    let broadcast = options.broadcast;
    engine.sessions.at_mut(turn.session).tracking = Some(Box::new(options));
    engine.start_tracking(turn.session, broadcast);
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn tracking_options(engine: &Engine, args: Args<'_>) -> Result<Tracking, Error> {
    let mut t = Tracking::default();
    let mut i = 3;
    while i < args.len() {
        match () {
            () if args.is(i, "redirect") && i + 1 < args.len() => {
                let client = args.int(i + 1)? as u64;
                engine
                    .sessions
                    .by_client_id(client)
                    .ok_or(Error::new("ERR The client ID you want redirect to does not exist"))?;
                t.redirect = Some(client);
                i += 1;
            }
            () if args.is(i, "prefix") && i + 1 < args.len() => {
                t.prefixes.push(args.at(i + 1).to_vec());
                i += 1;
            }
            () if args.is(i, "bcast") => t.broadcast = true,
            () if args.is(i, "optin") => t.opt_in = true,
            () if args.is(i, "optout") => t.opt_out = true,
            () if args.is(i, "noloop") => t.no_loop = true,
            () => return Err(Error::SYNTAX),
        }
        i += 1;
    }
    if !t.broadcast && !t.prefixes.is_empty() {
        return Err(Error::new("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if t.broadcast && (t.opt_in || t.opt_out) {
        return Err(Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if t.opt_in && t.opt_out {
        return Err(Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    Ok(t)
}

fn caching(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let Some(t) = &mut engine.sessions.at_mut(turn.session).tracking else {
        return Err(Error::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let yes = match () {
        () if turn.args.is(2, "yes") => true,
        () if turn.args.is(2, "no") => false,
        () => return Err(Error::SYNTAX),
    };
    if yes && !t.opt_in {
        return Err(Error::new(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ));
    }
    if !yes && !t.opt_out {
        return Err(Error::new(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ));
    }
    t.caching = Some(yes);
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn getredir(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let value =
        engine.sessions.at(turn.session).tracking.as_ref().map_or(-1, |t| t.redirect.map_or(0, |r| r as i64));
    turn.reply.integer(value);
    Ok(Step::Done(None))
}

fn trackinginfo(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let tracking = engine.sessions.at(turn.session).tracking.as_deref();
    let mut flags: Vec<&str> = vec![if tracking.is_some() { "on" } else { "off" }];
    let (mut redirect, mut prefixes) = (-1, Vec::new());
    if let Some(t) = tracking {
        let options =
            [(t.broadcast, "bcast"), (t.opt_in, "optin"), (t.opt_out, "optout"), (t.no_loop, "noloop")];
        flags.extend(options.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        redirect = t.redirect.map_or(0, |r| r as i64);
        prefixes = t.prefixes.clone();
    }
    turn.reply.map(3);
    turn.reply.bulk(b"flags");
    turn.reply.set(flags.len());
    flags.iter().for_each(|f| turn.reply.bulk(f.as_bytes()));
    turn.reply.bulk(b"redirect");
    turn.reply.integer(redirect);
    turn.reply.bulk(b"prefixes");
    turn.reply.bulks(&prefixes);
    Ok(Step::Done(None))
}

impl Engine {
    /// Whether CLIENT PAUSE holds this request back.
    pub(crate) fn is_held(&self, id: SessionId, argv: &[&[u8]]) -> bool {
        if self.paused_until_us <= self.keyspace.now.mono_us {
            return false;
        }
        let Some(spec) = self.table.find(argv).map(|c| self.table.commands[c].spec) else { return false };
        if matches!(spec.name, "client|unpause" | "client|pause" | "auth" | "hello" | "reset" | "quit") {
            return false;
        }
        let in_multi = self.sessions.find(id).is_some_and(|s| s.multi.is_some());
        let changes =
            spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE) || spec.name == "exec";
        if self.pause_writes_only { changes && (!in_multi || spec.name == "exec") } else { true }
    }

    /// Lets go on who was held back, when the pause is over.
    pub(crate) fn release_held(&mut self, outside: &mut dyn crate::outside::Outside) {
        if self.paused_until_us > self.keyspace.now.mono_us {
            return;
        }
        self.paused_until_us = 0;
        for id in core::mem::take(&mut self.held) {
            if let Some(deferred) = self.sessions.find_mut(id).and_then(|s| s.deferred.take()) {
                self.resume(id, &deferred.argv, outside);
            }
        }
    }

    /// Has a client's connection closed: the one whose request runs after its reply, another at once.
    pub(crate) fn kill(&mut self, id: SessionId, by: SessionId) {
        match id == by {
            true => self.sessions.at_mut(id).kill = true,
            false => self.close_client(id),
        }
    }

    /// Has a client's connection closed, after what is written already.
    pub(crate) fn close_client(&mut self, id: SessionId) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        session.kill = true;
        self.unblock(id);
        self.deliver(id, Vec::new(), false, true);
    }
}
