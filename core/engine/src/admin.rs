//! The server's own commands: CONFIG, COMMAND, SLOWLOG, DEBUG, MEMORY, saving, stopping, and the answers of a lone master.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use crate::outside::Job;
use crate::table::Command;
use commands::{Args, Error, Flags, Group, KeyAccess, Keys, Row, found_keys};
use config::{Config, DebugAccess, Eviction, SetError};
use keyspace::{Db, EvictionOrder, EvictionPolicy, Ranking};
use resp::Reply;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("bgrewriteaof", 1, bgrewriteaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING)).docs("1.0.0", "O(1)", "Asynchronously rewrites the append-only file to disk."),
    row("bgsave", -1, bgsave).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING)).docs("1.0.0", "O(1)", "Asynchronously saves the database(s) to disk."),
    Row::new("asking", 1, Group::Cluster, cluster as EngineHandler).fast().docs("3.0.0", "O(1)", "Signals that a cluster client is following an -ASK redirect."),
    Row::new("cluster", -2, Group::Cluster, cluster as EngineHandler).flags(LATE).docs("3.0.0", "Depends on subcommand.", "A container for Redis Cluster commands."),
    row("command", -1, command).flags(LATE).docs("2.8.13", "O(N) where N is the total number of Redis commands", "Returns detailed information about all commands.").subcommands(&[
        row("command|count", 2, command_count).flags(LATE).docs("2.8.13", "O(1)", "Returns a count of commands."),
        row("command|docs", -2, command_docs).flags(LATE).docs("7.0.0", "O(N) where N is the number of commands to look up", "Returns documentary information about one, multiple or all commands."),
        row("command|getkeys", -3, command_getkeys).flags(LATE).docs("2.8.13", "O(N) where N is the number of arguments to the command", "Extracts the key names from an arbitrary command."),
        row("command|getkeysandflags", -3, command_getkeysandflags).flags(LATE).docs("7.0.0", "O(N) where N is the number of arguments to the command", "Extracts the key names and access flags for an arbitrary command."),
        row("command|info", -2, command_info).flags(LATE).docs("2.8.13", "O(N) where N is the number of commands to look up", "Returns information about one, multiple or all commands."),
        row("command|list", -2, command_list).flags(LATE).docs("7.0.0", "O(N) where N is the total number of Redis commands", "Returns a list of command names."),
    ]),
    row("config", -2, unknown_config).docs("2.0.0", "Depends on subcommand.", "A container for server configuration commands.").subcommands(&[
        row("config|get", -3, config_get).flags(ADMIN).docs("2.0.0", "O(N) when N is the number of configuration parameters provided", "Returns the effective values of configuration parameters."),
        row("config|help", 2, config_help).flags(LATE).docs("5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        row("config|resetstat", 2, config_resetstat).flags(ADMIN).docs("2.0.0", "O(1)", "Resets the server's statistics."),
        row("config|rewrite", 2, config_rewrite).flags(ADMIN).docs("2.8.0", "O(1)", "Persists the effective configuration to file."),
        row("config|set", -4, config_set).flags(ADMIN).docs("2.0.0", "O(N) when N is the number of configuration parameters provided", "Sets configuration parameters in-flight."),
    ]),
    row("debug", -2, debug).flags(ADMIN).docs("1.0.0", "Depends on subcommand.", "A container for debugging commands."),
    row("lastsave", 1, lastsave).flags(LATE.and(Flags::FAST).and(Flags::ADMIN)).docs("1.0.0", "O(1)", "Returns the Unix timestamp of the last successful save to disk."),
    row("memory", -2, unknown_memory).docs("4.0.0", "Depends on subcommand.", "A container for memory diagnostics commands.").subcommands(&[
        row("memory|doctor", 2, memory_doctor).docs("4.0.0", "O(1)", "Outputs a memory problems report."),
        row("memory|purge", 2, memory_purge).docs("4.0.0", "Depends on how much memory is allocated, could be slow", "Asks the allocator to release memory."),
        row("memory|usage", -3, memory_usage).keys(2, 2, 1).readonly().docs("4.0.0", "O(N) where N is the number of samples.", "Estimates the memory usage of a key."),
    ]),
    row("lolwut", -1, lolwut).readonly().fast().docs("5.0.0", "O(1)", "Displays computer art and the server's version."),
    row("module", -2, unknown_module).docs("4.0.0", "Depends on subcommand.", "A container for module commands.").subcommands(&[
        row("module|list", 2, module_list).flags(Flags::ADMIN.and(Flags::NOSCRIPT)).docs("4.0.0", "O(N) where N is the number of loaded modules.", "Returns all loaded modules."),
    ]),
    Row::new("readonly", 1, Group::Cluster, cluster as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-only queries for a connection to a cluster replica node."),
    Row::new("readwrite", 1, Group::Cluster, cluster as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-write queries for a connection to a cluster replica node."),
    row("replicaof", 3, replicaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING)).docs("5.0.0", "O(1)", "Configures a server as replica of another, or promotes it to a master."),
    row("role", 1, role).flags(LATE.and(Flags::NOSCRIPT).and(Flags::FAST).and(Flags::ADMIN)).docs("2.8.12", "O(1)", "Returns the replication role."),
    row("save", 1, save).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI)).docs("1.0.0", "O(N) where N is the total number of keys in all databases", "Synchronously saves the database(s) to disk."),
    row("shutdown", -1, shutdown).flags(ADMIN.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY)).docs("1.0.0", "O(N) when saving, where N is the total number of keys in all databases", "Synchronously saves the database(s) to disk and shuts down the Redis server."),
    row("slaveof", 3, replicaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING)).docs("1.0.0", "O(1)", "Sets a Redis server as a replica of another, or promotes it to being a master."),
    row("slowlog", -2, unknown_slowlog).docs("2.2.12", "Depends on subcommand.", "A container for slow log commands.").subcommands(&[
        row("slowlog|get", -2, slowlog_get).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(N) where N is the number of entries returned", "Returns the slow log's entries."),
        row("slowlog|help", 2, slowlog_help).flags(LATE).docs("6.2.0", "O(1)", "Show helpful text about the different subcommands."),
        row("slowlog|len", 2, slowlog_len).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(1)", "Returns the number of entries in the slow log."),
        row("slowlog|reset", 2, slowlog_reset).flags(Flags::ADMIN.and(LATE)).docs("2.2.12", "O(N) where N is the number of entries in the slowlog", "Clears all entries from the slow log."),
    ]),
    row("time", 1, time).flags(LATE.and(Flags::FAST)).docs("2.6.0", "O(1)", "Returns the server time."),
    Row::new("wait", 3, Group::Generic, wait as EngineHandler).docs("3.0.0", "O(1)", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed."),
];

fn unknown_config(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CONFIG"))
}

fn unknown_module(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MODULE"))
}

fn module_list(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn lolwut(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let text = format!(
        "One bicycle, two riders.\nRedis ver. {}, Tandem {}\n",
        crate::connection::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    );
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

fn unknown_memory(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MEMORY"))
}

fn unknown_slowlog(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "SLOWLOG"))
}

/// Writes the help of a container: usage lines and what they do, as status replies in Redis' layout.
pub(crate) fn help(reply: &mut Reply<'_>, container: &str, lines: &[(&str, &str)]) {
    reply.array(lines.len() * 2 + 3);
    reply.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, what) in lines.iter().chain([&("HELP", "Print this help.")]) {
        reply.status(usage);
        reply.status(&format!("    {what}"));
    }
}

// What the configuration says about the engine.

/// The thresholds of the packed encodings.
pub(crate) fn limits(c: &Config) -> types::Limits {
    types::Limits {
        hash_entries: c.hash_max_listpack_entries,
        hash_value: c.hash_max_listpack_value,
        set_intset: c.set_max_intset_entries,
        set_entries: c.set_max_listpack_entries,
        set_value: c.set_max_listpack_value,
        zset_entries: c.zset_max_listpack_entries,
        zset_value: c.zset_max_listpack_value,
        list_size: c.list_max_listpack_size,
        stream_node_bytes: c.stream_node_max_bytes,
        stream_node_entries: c.stream_node_max_entries,
    }
}

/// How accesses are recorded.
pub(crate) fn ranking(c: &Config) -> Ranking {
    if c.maxmemory_policy.is_lfu() {
        Ranking::Frequency { log_factor: c.lfu_log_factor, decay_minutes: c.lfu_decay_minutes }
    } else {
        Ranking::Recency
    }
}

/// What may be evicted; `None`: nothing.
pub(crate) fn eviction(c: &Config) -> Option<EvictionPolicy> {
    let order = match c.maxmemory_policy.eviction() {
        Eviction::Lru => EvictionOrder::Idle,
        Eviction::Lfu => EvictionOrder::Infrequent,
        Eviction::Random => EvictionOrder::Random,
        Eviction::Ttl => EvictionOrder::SoonestExpiry,
        Eviction::Never => return None,
    };
    Some(EvictionPolicy { volatile_only: c.maxmemory_policy.is_volatile(), order })
}

// CONFIG.

fn config_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let found = engine.config.get(turn.args.rest(2));
    turn.reply.map(found.len());
    for (name, value) in found {
        turn.reply.bulk(&name);
        turn.reply.bulk(&value);
    }
    Ok(Step::Done(None))
}

fn config_set(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let rest = turn.args.rest(2);
    if !rest.len().is_multiple_of(2) {
        return Err(Error::arity("config|set"));
    }
    let mut pairs: Vec<(&[u8], &[u8])> = rest.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let password = pairs.iter().position(|(name, _)| name.eq_ignore_ascii_case(b"requirepass"));
    let mut secret = None;
    if let Some(at) = password {
        let value = pairs[at].1;
        secret = super::acl::record_in(value);
        if secret.is_none() && !value.is_empty() {
            engine.jobs.push(Job::HashPasswords { session: turn.session, passwords: vec![value.to_vec()] });
            return Ok(Step::Later);
        }
        pairs[at].1 = b"";
    }
    let local = engine.sessions.at(turn.session).info.local;
    let proposed = engine.config.with(&pairs, local).map_err(|e: SetError| Error::text(e.to_string()))?;
    turn.outside.check_config(&proposed.config).map_err(|why| {
        let name = String::from_utf8_lossy(pairs[0].0).into_owned();
        Error::text(SetError::failed(name, why).to_string())
    })?;
    engine.config = proposed.config;
    if password.is_some() {
        let secrets = secret.map(crate::acl::Secret::Argon2id).into_iter().collect();
        engine.acl.set_default_secrets(secrets);
        engine.verified.clear();
    }
    engine.apply_config();
    engine.make_room(turn.outside);
    engine.jobs.push(Job::ConfigChanged { names: proposed.changed });
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn config_resetstat(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.reset_statistics();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn config_rewrite(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.jobs.push(Job::RewriteConfig { session: turn.session });
    Ok(Step::Later)
}

fn config_help(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    help(
        &mut turn.reply,
        "CONFIG",
        &[
            ("GET <pattern>", "Return parameters matching the glob-like <pattern> and their values."),
            ("SET <directive> <value>", "Set the configuration <directive> to <value>."),
            ("RESETSTAT", "Reset statistics reported by the INFO command."),
            ("REWRITE", "Rewrite the configuration file."),
        ],
    );
    Ok(Step::Done(None))
}

// COMMAND.

fn command(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let tops: Vec<usize> =
        (0..engine.table.commands.len()).filter(|i| engine.table.commands[*i].parent.is_none()).collect();
    turn.reply.array(tops.len());
    tops.into_iter().for_each(|i| describe(engine, i, &mut turn.reply));
    Ok(Step::Done(None))
}

fn command_count(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(engine.table.commands.iter().filter(|c| c.parent.is_none()).count());
    Ok(Step::Done(None))
}

fn command_info(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    if names.is_empty() {
        return command(engine, turn);
    }
    turn.reply.array(names.len());
    for name in names {
        match engine.table.find_full(name) {
            Some(index) => describe(engine, index, &mut turn.reply),
            None => turn.reply.null(),
        }
    }
    Ok(Step::Done(None))
}

/// First key, last key, step, as COMMAND tells them.
fn key_positions(keys: Keys) -> (i64, i64, i64) {
    match keys {
        Keys::None | Keys::Streams | Keys::Counted { destination: false, .. } => (0, 0, 0),
        Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        Keys::Counted { destination: true, .. } | Keys::FirstAndStore => (1, 1, 1),
    }
}

/// One command as COMMAND INFO tells it.
fn describe(engine: &Engine, index: usize, reply: &mut Reply<'_>) {
    let Command { spec, subcommands, .. } = &engine.table.commands[index];
    let (first, last, step) = key_positions(spec.keys);
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let flags: Vec<&str> =
        Flags::NAMES.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, name)| *name).collect();
    reply.set(flags.len());
    flags.iter().for_each(|f| reply.status(f));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories = spec.categories();
    reply.set(categories.len());
    categories.iter().for_each(|c| reply.status(&format!("@{c}")));
    reply.array(0);
    key_specs(spec, reply);
    reply.array(subcommands.len());
    subcommands.iter().for_each(|sub| describe(engine, *sub, reply));
}

/// Where a command's keys are, as the eighth part of COMMAND INFO tells it.
fn key_specs(spec: &commands::Spec, reply: &mut Reply<'_>) {
    let flags: &[&str] = match spec.access {
        KeyAccess::Read => &["RO", "access"],
        KeyAccess::Write => &["OW", "update"],
        KeyAccess::Both => &["RW", "access", "update"],
    };
    match spec.keys {
        Keys::None => reply.array(0),
        Keys::Range { first, last, step } => {
            reply.array(1);
            let last = if last < 0 { last as i64 } else { last as i64 - first as i64 };
            key_spec(
                reply,
                flags,
                ("index", &[("index", first as i64)]),
                ("range", &[("lastkey", last), ("keystep", step as i64), ("limit", 0)]),
            );
        }
        Keys::Counted { count_at, destination } => {
            reply.array(1 + usize::from(destination));
            if destination {
                key_spec(
                    reply,
                    &["OW", "update"],
                    ("index", &[("index", 1)]),
                    ("range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
                );
            }
            let flags = if destination { &["RO", "access"] } else { flags };
            key_spec(
                reply,
                flags,
                ("index", &[("index", count_at as i64)]),
                ("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
            );
        }
        Keys::Streams | Keys::FirstAndStore => {
            reply.array(1);
            let first = i64::from(spec.keys == Keys::FirstAndStore);
            key_spec(reply, flags, ("index", &[("index", first)]), ("unknown", &[]));
        }
    }
}

type SearchPart<'a> = (&'a str, &'a [(&'a str, i64)]);

fn key_spec(reply: &mut Reply<'_>, flags: &[&str], begin: SearchPart<'_>, find: SearchPart<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|f| reply.status(f));
    for (name, (kind, values)) in [("begin_search", begin), ("find_keys", find)] {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(kind.as_bytes());
        reply.bulk(b"spec");
        reply.map(values.len());
        for (name, value) in values {
            reply.bulk(name.as_bytes());
            reply.integer(*value);
        }
    }
}

fn command_docs(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    let found: Vec<usize> = if names.is_empty() {
        (0..engine.table.commands.len()).filter(|i| engine.table.commands[*i].parent.is_none()).collect()
    } else {
        names.iter().filter_map(|n| engine.table.find_full(n)).collect()
    };
    turn.reply.map(found.len());
    for index in found {
        document(engine, index, &mut turn.reply);
    }
    Ok(Step::Done(None))
}

fn document(engine: &Engine, index: usize, reply: &mut Reply<'_>) {
    let Command { spec, subcommands, .. } = &engine.table.commands[index];
    reply.bulk(spec.name.as_bytes());
    reply.map(4 + usize::from(!subcommands.is_empty()));
    for (name, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|sub| document(engine, *sub, reply));
    }
}

fn command_list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    let pass: Box<dyn Fn(&Command) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "filterby") && args.is(3, "aclcat") => {
            let category = String::from_utf8_lossy(args.at(4)).to_ascii_lowercase();
            Box::new(move |c| c.spec.categories().contains(&category.as_str()))
        }
        5 if args.is(2, "filterby") && args.is(3, "pattern") => {
            let pattern = args.at(4).to_vec();
            Box::new(move |c| base::glob::matches(&pattern, c.spec.name.as_bytes(), true))
        }
        5 if args.is(2, "filterby") && args.is(3, "module") => Box::new(|_| false),
        _ => return Err(Error::SYNTAX),
    };
    let all = args.len() > 2;
    let names: Vec<&str> = (engine.table.commands.iter())
        .filter(|c| (all || c.parent.is_none()) && pass(c))
        .map(|c| c.spec.name)
        .collect();
    turn.reply.bulks(&names);
    Ok(Step::Done(None))
}

fn keys_of(engine: &Engine, args: Args<'_>) -> Result<Vec<(usize, KeyAccess)>, Error> {
    let argv = args.rest(2);
    let index = engine.table.find(argv).ok_or(Error::new("ERR Invalid command specified"))?;
    let spec = engine.table.commands[index].spec;
    if spec.keys == Keys::None {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    if !spec.arity_allows(argv.len()) {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    }
    let found = found_keys(spec, argv).ok_or(Error::new("ERR Invalid arguments specified for command"))?;
    if found.is_empty() { Err(Error::new("ERR The command has no key arguments")) } else { Ok(found) }
}

fn command_getkeys(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let found = keys_of(engine, turn.args)?;
    turn.reply.array(found.len());
    found.iter().for_each(|(at, _)| turn.reply.bulk(turn.args.at(at + 2)));
    Ok(Step::Done(None))
}

fn command_getkeysandflags(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let found = keys_of(engine, turn.args)?;
    turn.reply.array(found.len());
    for (at, access) in found {
        turn.reply.array(2);
        turn.reply.bulk(turn.args.at(at + 2));
        let flags: &[&str] = match access {
            KeyAccess::Read => &["RO", "access"],
            KeyAccess::Write => &["OW", "update"],
            KeyAccess::Both => &["RW", "access", "update"],
        };
        turn.reply.set(flags.len());
        flags.iter().for_each(|f| turn.reply.status(f));
    }
    Ok(Step::Done(None))
}

// SLOWLOG.

fn slowlog_get(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
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
            ("GET [<count>]", "Return top <count> entries from the slowlog (default: 10, -1 mean all)."),
            ("LEN", "Return the length of the slowlog."),
            ("RESET", "Reset the slowlog."),
        ],
    );
    Ok(Step::Done(None))
}

// MEMORY.

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

// Time, saving, stopping.

fn time(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let us = if engine.depth > 0 { engine.keyspace.now.unix_us } else { turn.outside.now().unix_us };
    turn.reply.array(2);
    turn.reply.bulk((us / 1_000_000).to_string().as_bytes());
    turn.reply.bulk((us % 1_000_000).to_string().as_bytes());
    Ok(Step::Done(None))
}

fn lastsave(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.integer(turn.outside.last_save_unix_s());
    Ok(Step::Done(None))
}

const BUSY_SAVING: Error = Error::new("ERR Background save already in progress");

fn save(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.outside.is_saving() {
        return Err(BUSY_SAVING);
    }
    turn.outside.save_begins();
    engine.jobs.push(Job::Save { session: Some(turn.session) });
    Ok(Step::Later)
}

fn bgsave(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    match turn.args.len() {
        1 => {}
        2 if turn.args.is(1, "schedule") => {}
        _ => return Err(Error::SYNTAX),
    }
    if turn.outside.is_saving() {
        return Err(BUSY_SAVING);
    }
    if turn.outside.is_rewriting() && turn.args.len() == 1 {
        return Err(Error::new(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
        ));
    }
    let status =
        if turn.outside.is_rewriting() { "Background saving scheduled" } else { "Background saving started" };
    turn.outside.save_begins();
    engine.jobs.push(Job::Save { session: None });
    turn.reply.status(status);
    Ok(Step::Done(None))
}

fn bgrewriteaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.outside.is_rewriting() {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    }
    let status = if turn.outside.is_saving() {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    };
    turn.outside.rewrite_begins();
    engine.jobs.push(Job::RewriteLog);
    turn.reply.status(status);
    Ok(Step::Done(None))
}

fn shutdown(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (mut save, mut now, mut force, mut abort) = (None, false, false, false);
    for i in 1..turn.args.len() {
        match () {
            () if turn.args.is(i, "nosave") && save != Some(true) => save = Some(false),
            () if turn.args.is(i, "save") && save != Some(false) => save = Some(true),
            () if turn.args.is(i, "now") => now = true,
            () if turn.args.is(i, "force") => force = true,
            () if turn.args.is(i, "abort") => abort = true,
            () => return Err(Error::SYNTAX),
        }
    }
    if abort && turn.args.len() > 2 {
        return Err(Error::SYNTAX);
    }
    if abort {
        return Err(Error::new("ERR No shutdown in progress."));
    }
    engine.jobs.push(Job::Shutdown { session: turn.session, save, now, force });
    Ok(Step::Later)
}

// A lone master.

fn role(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(3);
    turn.reply.bulk(b"master");
    turn.reply.integer(0);
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn replicaof(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.is(1, "no") && turn.args.is(2, "one") {
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    Err(Error::new("ERR this server does not replicate yet: it is always a master"))
}

fn wait(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.args.int(1)?;
    let timeout = base::number::parse_i64(turn.args.at(2))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Error::TIMEOUT_NEGATIVE);
    }
    turn.reply.integer(0);
    Ok(Step::Done(None))
}

fn cluster(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR This instance has cluster support disabled"))
}

// DEBUG.

fn debug(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let local = engine.sessions.at(turn.session).info.local;
    let allowed = match engine.config.enable_debug_command {
        DebugAccess::Yes => true,
        DebugAccess::Local => local,
        DebugAccess::No => false,
    };
    if !allowed {
        return Err(Error::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        ));
    }
    let args = turn.args;
    match () {
        () if args.is(1, "sleep") && args.len() == 3 => {
            let seconds = args.float(2)?;
            turn.outside.sleep_ns((seconds.max(0.0) * 1e9) as u64);
            turn.reply.ok();
        }
        () if args.is(1, "set-active-expire") && args.len() == 3 => {
            engine.keyspace.no_active_expire = args.at(2) == b"0";
            turn.reply.ok();
        }
        () if args.is(1, "jmap") || args.is(1, "quicklist-packed-threshold") || args.is(1, "replybuffer") => {
            turn.reply.ok()
        }
        () if args.is(1, "object") && args.len() == 3 => return debug_object(engine, turn),
        () if args.is(1, "reload") => return reload(engine, turn, false),
        () if args.is(1, "loadaof") => return reload(engine, turn, true),
        () if args.is(1, "stringmatch-len") && args.len() == 4 => {
            let text = vec![b'a'; args.int(2)?.clamp(0, 1 << 20) as usize];
            turn.reply.integer(i64::from(base::glob::matches(args.at(3), &text, false)));
        }
        () => {
            let name = String::from_utf8_lossy(args.at(1)).into_owned();
            return Err(Error::text(format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
            )));
        }
    }
    Ok(Step::Done(None))
}

fn debug_object(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let db = engine.sessions.at(turn.session).db;
    let clock = engine.keyspace.now.unix_ms;
    let ranking = engine.keyspace.ranking;
    let mut view = Db::new(&mut engine.keyspace, db);
    let entry = view.peek(turn.args.at(2)).ok_or(Error::NO_SUCH_KEY)?;
    let length = keyspace::encode_dump(entry).len().saturating_sub(11);
    let line = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{length} lru:{} lru_seconds_idle:{}",
        entry.encoding_name(),
        entry.access(),
        ranking.idle_seconds(entry.access(), clock)
    );
    turn.reply.status(&line);
    Ok(Step::Done(None))
}

fn reload(engine: &mut Engine, turn: &mut Turn<'_>, from_log: bool) -> Result<Step, Error> {
    let save = !turn.args.rest(2).iter().any(|a| a.eq_ignore_ascii_case(b"nosave"));
    engine.jobs.push(Job::Reload { session: turn.session, from_log, save });
    Ok(Step::Later)
}

impl Engine {
    /// CONFIG RESETSTAT.
    pub(crate) fn reset_statistics(&mut self) {
        self.command_stats.iter_mut().for_each(|s| *s = Default::default());
        self.error_stats = Default::default();
        self.keyspace.stats = Default::default();
        let memory_peak = self.counters.memory_peak;
        self.counters = crate::engine::Counters { memory_peak, ..Default::default() };
    }
}
