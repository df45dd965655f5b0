//! CONFIG: what the server is told; and the settings that the engine hands down.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::{ConfigRefusal, Job};
use commands::{Error, Flags, Group, Row};
use config::{Config, Eviction, SetError};
use keyspace::{EvictionOrder, EvictionPolicy, Ranking};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("config", -2, unknown_config).subcommands(&[
    row("config|get", -3, config_get).flags(ADMIN),
    row("config|help", 2, help).flags(LATE),
    row("config|resetstat", 2, config_resetstat).flags(ADMIN),
    row("config|rewrite", 2, config_rewrite).flags(ADMIN),
    row("config|set", -4, config_set).flags(ADMIN),
])];

fn unknown_config(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CONFIG"))
}

/// HELP of any container.
pub(crate) fn help(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let container = engine.table.find_top(turn.args.at(0));
    let name = container.map_or("", |index| engine.table.commands[index].spec.name);
    commands::docs::help::write(name, &mut turn.reply);
    Ok(Step::Done(None))
}

// What the configuration says about the engine.

/// The thresholds of the packed encodings, and what tables hash with.
pub(crate) fn limits(c: &Config, seed: u64) -> types::Limits {
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
        seed,
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

/// Whether Redis would keep small integers once for all keys.
pub(crate) fn shares_integers(c: &Config) -> bool {
    let ranked = matches!(c.maxmemory_policy.eviction(), Eviction::Lru | Eviction::Lfu);
    c.maxmemory == 0 || !ranked
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
    let pairs: Vec<(&[u8], &[u8])> = rest.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let password = pairs.iter().position(|(name, _)| name.eq_ignore_ascii_case(b"requirepass"));
    let mut secret = None;
    if let Some(at) = password {
        let value = pairs[at].1;
        secret = super::acl::record_in(value);
        if let Some(record) = &secret {
            crate::acl::check_record(record).map_err(|why| {
                Error::text(SetError::failed("requirepass".to_owned(), why.to_owned()).to_string())
            })?;
        }
        if secret.is_none() && !value.is_empty() {
            engine.jobs.push(Job::HashPasswords { session: turn.session, passwords: vec![value.to_vec()] });
            return Ok(Step::Later);
        }
    }
    let local = engine.sessions.at(turn.session).info.local;
    let mut proposed = engine.config.with(&pairs, local).map_err(|e: SetError| Error::text(e.to_string()))?;
    // Files are read from there.
    if turn.outside.is_loading() && pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"dir")) {
        return Err(crate::gate::LOADING);
    }
    proposed.settle_dir(&engine.config, |dir| turn.outside.real_dir(dir));
    turn.outside.check_config(&proposed.config).map_err(|ConfigRefusal { directive, why }| {
        let name = String::from_utf8_lossy(pairs[0].0).into_owned();
        Error::text(SetError::failed(name, format!("{directive}: {why}")).to_string())
    })?;
    turn.outside.follow_config(&engine.config, &proposed.config, &proposed.changed).map_err(
        |ConfigRefusal { directive, why }| Error::text(SetError::failed(directive, why).to_string()),
    )?;
    engine.config = proposed.config;
    // Who says what is so already takes nothing from what ACL SETUSER has given the default user since.
    if proposed.changed.contains(&"requirepass") {
        let secrets = secret.map(crate::acl::Secret::Argon2id).into_iter().collect();
        engine.acl.set_default_secrets(secrets);
    }
    engine.apply_config();
    if engine.depth == 0 {
        // Within a transaction nothing leaves by itself; the next command or tick makes room.
        engine.make_room(turn.outside);
    }
    if proposed.changed.contains(&"maxmemory-clients") {
        engine.recount_all(turn.session, turn.args, turn.outside);
    }
    if proposed.changed.contains(&"appendonly") && !engine.config.appendonly {
        engine.tell_of_log_that_goes();
    } else if proposed.changed.contains(&"appendonly") && !turn.outside.is_rewriting() {
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
    if turn.caller.may_wait() {
        engine.jobs.push(Job::RewriteConfig { session: Some(turn.session) });
        return Ok(Step::Later);
    }
    // Sentinel promotes by a transaction that ends with this. It is done behind what the transaction changes, and what fails then, though
    // nothing was seen to stand against it, is told in the log.
    if let Some(why) = engine.rewrite_refusal.clone().or_else(|| turn.outside.rewrite_refusal()) {
        return Err(Error::text(format!("ERR {why}")));
    }
    engine.jobs.push(Job::RewriteConfig { session: None });
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    /// CONFIG RESETSTAT.
    pub(crate) fn reset_statistics(&mut self) {
        self.command_stats.iter_mut().for_each(|s| *s = Default::default());
        self.error_stats = Default::default();
        self.keyspace.stats = Default::default();
        if let Some(scripts) = &mut self.scripts {
            scripts.reset_evicted();
        }
        let memory_peak = self.counters.memory_peak;
        self.counters = crate::engine::Counters { memory_peak, ..Default::default() };
        self.master.reset_counts();
    }
}
