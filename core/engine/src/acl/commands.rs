//! The ACL command.

use super::{Denial, User};
use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Job;
use commands::{Error, Flags, Group, Row};
use resp::Reply;

/// Every category, in the order that ACL CAT tells.
pub(super) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const ANYBODY: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("acl", -2, unknown).subcommands(&[
    row("acl|cat", -2, cat).flags(ANYBODY),
    row("acl|deluser", -3, deluser).flags(ADMIN),
    row("acl|dryrun", -4, dryrun).flags(ADMIN),
    row("acl|genpass", -2, genpass).flags(ANYBODY),
    row("acl|getuser", 3, getuser).flags(ADMIN),
    row("acl|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
    row("acl|list", 2, list).flags(ADMIN),
    row("acl|load", 2, load).flags(ADMIN),
    row("acl|log", -2, log).flags(ADMIN),
    row("acl|save", 2, save).flags(ADMIN),
    row("acl|setuser", -3, setuser).flags(ADMIN),
    row("acl|users", 2, users).flags(ADMIN),
    row("acl|whoami", 2, whoami).flags(ANYBODY),
])];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "ACL"))
}

fn whoami(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let user = engine.sessions.at(turn.session).user;
    turn.reply.bulk(engine.acl.name(user));
    Ok(Step::Done(None))
}

fn users(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names: Vec<&[u8]> = engine.acl.sorted().into_iter().map(|u| u.name.as_slice()).collect();
    turn.reply.bulks(&names);
    Ok(Step::Done(None))
}

fn list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.bulks(&engine.acl.lines());
    Ok(Step::Done(None))
}

fn cat(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        let name = String::from_utf8_lossy(turn.args.at(1)).into_owned();
        return Err(Error::text(format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try ACL HELP."
        )));
    }
    let Some(wanted) = turn.args.find(2) else {
        turn.reply.bulks(CATEGORIES);
        return Ok(Step::Done(None));
    };
    let shown = String::from_utf8_lossy(wanted);
    let wanted = shown.to_ascii_lowercase();
    if !CATEGORIES.contains(&wanted.as_str()) {
        return Err(Error::text(format!("ERR Unknown category '{shown}'")));
    }
    let names: Vec<&str> = (engine.table.commands.iter())
        .filter(|c| c.spec.categories().contains(&wanted.as_str()))
        .map(|c| c.spec.name)
        .collect();
    turn.reply.bulks(&names);
    Ok(Step::Done(None))
}

fn setuser(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (name, rules) = (turn.args.at(2), turn.args.rest(3));
    if name.iter().any(|c| c.is_ascii_whitespace() || *c == 0) {
        return Err(Error::new("ERR Usernames can't contain spaces or null characters"));
    }
    // A line of an ACL file could not say it: the next word would be taken for the name.
    if name.is_empty() {
        return Err(Error::new("ERR Usernames can't be empty"));
    }
    let session = engine.sessions.at_mut(turn.session);
    let (searched, may_wait) = (core::mem::take(&mut session.is_answered), !session.in_exec);
    let user = engine.acl.find(name);
    let known = user.and_then(|i| engine.acl.user(i)).map_or(&[][..], |u| &u.secrets);
    if may_wait && let Some(job) = super::passwords::preparation(turn.session, rules, known, searched) {
        engine.jobs.push(job);
        return Ok(Step::Later);
    }
    let rules = super::passwords::with_known_digests(rules, known, &engine.proofs);
    let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    engine.acl.set_user(&engine.table, name, &rules).map_err(Error::text)?;
    let theirs: Vec<_> =
        engine.sessions.iter().filter(|(_, s)| Some(s.user) == user).map(|(id, _)| id).collect();
    theirs.into_iter().for_each(|id| engine.end_forbidden_listening(id, Some(turn.session)));
    engine.tell_of_missing_log([name].into_iter());
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn deluser(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.rest(2).contains(&b"default".as_slice()) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in turn.args.rest(2) {
        let Some(index) = engine.acl.find(name) else { continue };
        engine.acl.delete(index);
        deleted += 1;
        let theirs: Vec<_> =
            engine.sessions.iter().filter(|(_, s)| s.user == index).map(|(id, _)| id).collect();
        theirs.into_iter().for_each(|id| engine.end_user(id, Some(turn.session)));
    }
    turn.reply.integer(deleted);
    Ok(Step::Done(None))
}

fn getuser(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    match engine.acl.find(turn.args.at(2)).and_then(|i| engine.acl.user(i)) {
        Some(user) => describe(user, &mut turn.reply),
        None => turn.reply.null(),
    }
    Ok(Step::Done(None))
}

fn describe(user: &User, reply: &mut Reply<'_>) {
    let flag = |on: bool, name: &'static str| on.then_some(name);
    let durability = user.durability_rule();
    let flags: Vec<&str> = [
        Some(if user.enabled { "on" } else { "off" }),
        flag(user.nopass, "nopass"),
        Some(if user.skip_sanitize { "skip-sanitize-payload" } else { "sanitize-payload" }),
        durability.as_deref(),
    ]
    .into_iter()
    .flatten()
    .collect();
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|f| reply.bulk(f.as_bytes()));
    reply.bulk(b"passwords");
    let secrets: Vec<String> =
        user.secrets.iter().map(|s| s.rule().trim_start_matches('#').to_owned()).collect();
    reply.bulks(&secrets);
    selector(&user.root, reply);
    reply.bulk(b"selectors");
    reply.array(user.selectors.len());
    for inner in &user.selectors {
        reply.map(3);
        selector(inner, reply);
    }
}

fn selector(selector: &super::Selector, reply: &mut Reply<'_>) {
    reply.bulk(b"commands");
    reply.bulk(&selector.describe_commands());
    reply.bulk(b"keys");
    reply.bulk(&selector.describe_keys());
    reply.bulk(b"channels");
    reply.bulk(&selector.describe_channels());
}

fn dryrun(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let name = String::from_utf8_lossy(turn.args.at(2)).into_owned();
    let user = engine
        .acl
        .find(turn.args.at(2))
        .ok_or_else(|| Error::text(format!("ERR User '{name}' not found")))?;
    let argv = turn.args.rest(3);
    let unknown = || Error::text(format!("ERR Command '{}' not found", String::from_utf8_lossy(argv[0])));
    let command = engine.table.find(argv).ok_or_else(unknown)?;
    if argv.len() > 1 && !engine.table.commands[command].subcommands.is_empty() {
        return Err(unknown());
    }
    if !engine.table.commands[command].spec.arity_allows(argv.len()) {
        return Err(Error::arity(engine.table.commands[command].spec.name));
    }
    let name = turn.args.at(2);
    let may_not = |what: &[&[u8]]| {
        [&[b"User ".as_slice(), name, b" has no permissions to "][..], what].concat().concat()
    };
    match engine.acl.check(user, &engine.table, command, argv) {
        Ok(()) => turn.reply.ok(),
        Err(Denial::Command(command)) => {
            turn.reply.bulk(&may_not(&[b"run the '", command.as_bytes(), b"' command"]));
        }
        Err(denial) => {
            let what: &[u8] = if denial.counter() == 2 { b"key" } else { b"channel" };
            turn.reply.bulk(&may_not(&[b"access the '", &denial.object(), b"' ", what]));
        }
    }
    Ok(Step::Done(None))
}

fn genpass(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    const BITS_MAX: i64 = 4096;
    if turn.args.len() > 3 {
        return Err(commands::bad_subcommand(turn.args, "ACL"));
    }
    let bits = if turn.args.len() > 2 { turn.args.int(2)? } else { 256 };
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(Error::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {BITS_MAX}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut text = String::new();
    while text.len() < digits {
        text.push_str(&base::hex::encode(&engine.secret_bytes()));
    }
    turn.reply.bulk(&text.as_bytes()[..digits]);
    Ok(Step::Done(None))
}

fn log(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 3 {
        return Err(commands::bad_subcommand(turn.args, "ACL"));
    }
    if turn.args.is(2, "reset") {
        engine.acl.log.clear();
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    let count = if turn.args.len() > 2 { turn.args.int(2)?.max(0) as usize } else { 10 };
    let now = engine.keyspace.now.unix_ms;
    let entries = engine.acl.log.newest(count);
    turn.reply.array(entries.len());
    for e in entries {
        let reply = &mut turn.reply;
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(e.count as i64);
        for (name, value) in [
            ("reason", e.reason.as_bytes()),
            ("context", e.context.as_bytes()),
            ("object", &e.object),
            ("username", &e.username),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"age-seconds");
        reply.double((now - e.created_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&e.client);
        for (name, value) in [
            ("entry-id", e.id as i64),
            ("timestamp-created", e.created_ms),
            ("timestamp-last-updated", e.updated_ms),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(value);
        }
    }
    Ok(Step::Done(None))
}

const NO_FILE: Error = Error::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
);

fn save(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    if turn.caller.may_wait() {
        engine.jobs.push(Job::SaveAcl { session: Some(turn.session) });
        return Ok(Step::Later);
    }
    // As with CONFIG REWRITE: it is done behind what the transaction changes.
    if let Some(why) = turn.outside.acl_save_refusal() {
        return Err(Error::text(format!("ERR There was an error trying to save the ACLs: {why}")));
    }
    engine.jobs.push(Job::SaveAcl { session: None });
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn load(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    engine.jobs.push(Job::LoadAcl { session: turn.session });
    Ok(Step::Later)
}
