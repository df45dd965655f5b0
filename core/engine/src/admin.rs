//! CONFIG and COMMAND: what the server is told, and what it tells about its commands.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use crate::outside::Job;
use crate::table::Command;
use commands::{Args, Error, Flags, Group, KeyAccess, Keys, Row, found_keys};
use config::{Config, Eviction, SetError};
use keyspace::{EvictionOrder, EvictionPolicy, Ranking};
use resp::Reply;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("command", -1, command)
        .flags(LATE)
        .docs(
            "2.8.13",
            "O(N) where N is the total number of Redis commands",
            "Returns detailed information about all commands.",
        )
        .subcommands(&[
            row("command|count", 2, command_count).flags(LATE).docs(
                "2.8.13",
                "O(1)",
                "Returns a count of commands.",
            ),
            row("command|docs", -2, command_docs).flags(LATE).docs(
                "7.0.0",
                "O(N) where N is the number of commands to look up",
                "Returns documentary information about one, multiple or all commands.",
            ),
            row("command|getkeys", -3, command_getkeys).flags(LATE).docs(
                "2.8.13",
                "O(N) where N is the number of arguments to the command",
                "Extracts the key names from an arbitrary command.",
            ),
            row("command|getkeysandflags", -3, command_getkeysandflags).flags(LATE).docs(
                "7.0.0",
                "O(N) where N is the number of arguments to the command",
                "Extracts the key names and access flags for an arbitrary command.",
            ),
            row("command|info", -2, command_info).flags(LATE).docs(
                "2.8.13",
                "O(N) where N is the number of commands to look up",
                "Returns information about one, multiple or all commands.",
            ),
            row("command|list", -2, command_list).flags(LATE).docs(
                "7.0.0",
                "O(N) where N is the total number of Redis commands",
                "Returns a list of command names.",
            ),
        ]),
    row("config", -2, unknown_config)
        .docs("2.0.0", "Depends on subcommand.", "A container for server configuration commands.")
        .subcommands(&[
            row("config|get", -3, config_get).flags(ADMIN).docs(
                "2.0.0",
                "O(N) when N is the number of configuration parameters provided",
                "Returns the effective values of configuration parameters.",
            ),
            row("config|help", 2, config_help).flags(LATE).docs(
                "5.0.0",
                "O(1)",
                "Returns helpful text about the different subcommands.",
            ),
            row("config|resetstat", 2, config_resetstat).flags(ADMIN).docs(
                "2.0.0",
                "O(1)",
                "Resets the server's statistics.",
            ),
            row("config|rewrite", 2, config_rewrite).flags(ADMIN).docs(
                "2.8.0",
                "O(1)",
                "Persists the effective configuration to file.",
            ),
            row("config|set", -4, config_set).flags(ADMIN).docs(
                "2.0.0",
                "O(N) when N is the number of configuration parameters provided",
                "Sets configuration parameters in-flight.",
            ),
        ]),
];

fn unknown_config(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CONFIG"))
}

/// Writes the help of a container: usage lines and what they do, as status replies in Redis' layout. A line break begins another reply.
pub(crate) fn help(reply: &mut Reply<'_>, container: &str, lines: &[(&str, &str)]) {
    let lines: Vec<(&str, &str)> = lines.iter().copied().chain([("HELP", "Print this help.")]).collect();
    reply.array(1 + lines.iter().map(|(_, what)| 1 + what.lines().count()).sum::<usize>());
    reply.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, what) in lines {
        reply.status(usage);
        what.lines().for_each(|line| reply.status(&format!("    {line}")));
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
        hll_sparse_bytes: c.hll_sparse_max_bytes,
        stream_node_bytes: c.stream_node_max_bytes,
        stream_node_entries: c.stream_node_max_entries,
        string_bytes: c.proto_max_bulk_len.min(base::limits::STRING_BYTES_MAX),
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
        return Err(Error::SYNTAX);
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
    turn.outside
        .follow_config(&engine.config, &proposed.config, &proposed.changed)
        .map_err(|(name, why)| Error::text(SetError::failed(name, why).to_string()))?;
    engine.config = proposed.config;
    if password.is_some() {
        let secrets = secret.map(crate::acl::Secret::Argon2id).into_iter().collect();
        engine.acl.set_default_secrets(secrets);
        engine.verified.clear();
    }
    engine.apply_config();
    engine.make_room(turn.outside);
    if proposed.changed.contains(&"appendonly") && engine.config.appendonly && !turn.outside.is_rewriting() {
        // The log begins with a base, and whoever waits for that asks at once.
        turn.outside.rewrite_begins();
    }
    engine.jobs.push(Job::ConfigChanged { names: proposed.changed });
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn config_resetstat(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.reset_statistics();
    turn.outside.reset_statistics();
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
        Keys::None | Keys::Streams | Keys::CountedPairs { .. } | Keys::Counted { destination: false, .. } => {
            (0, 0, 0)
        }
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
        KeyAccess::Shallow => &["RO"],
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
        Keys::CountedPairs { count_at } => {
            reply.array(1);
            key_spec(
                reply,
                flags,
                ("index", &[("index", count_at as i64)]),
                ("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 2)]),
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
            KeyAccess::Shallow => &["RO"],
        };
        turn.reply.set(flags.len());
        flags.iter().for_each(|f| turn.reply.status(f));
    }
    Ok(Step::Done(None))
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
