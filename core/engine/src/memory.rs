//! MEMORY: what keys and the server itself take, and what to think of it.
//!
//! The figures are those of INFO ([`Engine::report`]); nothing is counted twice in another way.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use commands::{Error, Flags, Group, Row};
use telemetry::Report;

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("memory", -2, unknown).subcommands(&[
        row("memory|doctor", 2, doctor),
        row("memory|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("memory|malloc-stats", 2, malloc_stats),
        row("memory|purge", 2, purge),
        row("memory|stats", 2, stats),
        row("memory|usage", -3, usage).keys(2, 2, 1).readonly(),
    ]),
];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MEMORY"))
}

/// The number of samples is checked and not needed: the estimate is taken from the parts' own sizes.
fn usage(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
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
    match engine.keyspace.peek(db, turn.args.at(2)) {
        // The entry, and its share of a bucket: eight bytes and a tag at a usual fill.
        Some(entry) => turn.reply.count(entry.heap_bytes() + 10),
        None => turn.reply.null(),
    }
    Ok(Step::Done(None))
}

/// A part of MEMORY STATS.
enum Figure {
    Whole(i64),
    Fraction(f64),
    /// Bytes of one database's tables: of keys, and of expiries.
    Tables(usize),
}

fn stats(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let report = engine.report(turn.outside);
    let figures = figures(engine, &report);
    turn.reply.map(figures.len());
    for (name, figure) in figures {
        turn.reply.bulk(name.as_bytes());
        match figure {
            Figure::Whole(value) => turn.reply.integer(value),
            Figure::Fraction(value) => turn.reply.double(value),
            Figure::Tables(bytes) => {
                turn.reply.map(2);
                turn.reply.bulk(b"overhead.hashtable.main");
                turn.reply.count(bytes);
                turn.reply.bulk(b"overhead.hashtable.expires");
                turn.reply.integer(0);
            }
        }
    }
    Ok(Step::Done(None))
}

fn figures(engine: &Engine, report: &Report) -> Vec<(String, Figure)> {
    let of = |name: &str| report.number(name);
    let whole = |name: &str| Figure::Whole(of(name) as i64);
    let keys = engine.keyspace.key_count() as i64;
    let net = of("used_memory") - of("used_memory_startup");
    let part = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let mut out: Vec<(String, Figure)> = Vec::new();
    let mut add = |name: &str, figure| out.push((name.to_owned(), figure));
    add("peak.allocated", whole("used_memory_peak"));
    add("total.allocated", whole("used_memory"));
    add("startup.allocated", whole("used_memory_startup"));
    add("replication.backlog", whole("mem_replication_backlog"));
    add("clients.slaves", whole("mem_clients_slaves"));
    add("clients.normal", whole("mem_clients_normal"));
    add("cluster.links", whole("mem_cluster_links"));
    add("aof.buffer", whole("mem_aof_buffer"));
    add("lua.caches", whole("used_memory_scripts_eval"));
    add("functions.caches", whole("used_memory_functions"));
    add("queues", Figure::Whole(engine.keyspace.queues.bytes() as i64));
    for index in 0..engine.keyspace.database_count() {
        let database = engine.keyspace.database(index);
        if database.stats(0).keys > 0 {
            add(&format!("db.{index}"), Figure::Tables(database.table_bytes()));
        }
    }
    add("overhead.db.hashtable.lut", Figure::Whole(engine.keyspace.table_bytes() as i64));
    add("overhead.db.hashtable.rehashing", Figure::Whole(0));
    add("overhead.total", whole("used_memory_overhead"));
    add("db.dict.rehashing.count", Figure::Whole(0));
    add("keys.count", Figure::Whole(keys));
    add("keys.bytes-per-key", Figure::Whole(part(net.max(0.0), keys as f64) as i64));
    add("dataset.bytes", whole("used_memory_dataset"));
    add("dataset.percentage", Figure::Fraction(part(of("used_memory_dataset"), net) * 100.0));
    add("peak.percentage", Figure::Fraction(part(of("used_memory"), of("used_memory_peak")) * 100.0));
    for name in ["allocated", "active", "resident", "muzzy"] {
        add(&format!("allocator.{name}"), whole(&format!("allocator_{name}")));
    }
    for (name, ratio, bytes) in [
        ("allocator-fragmentation", "allocator_frag_ratio", "allocator_frag_bytes"),
        ("allocator-rss", "allocator_rss_ratio", "allocator_rss_bytes"),
        ("rss-overhead", "rss_overhead_ratio", "rss_overhead_bytes"),
    ] {
        add(&format!("{name}.ratio"), Figure::Fraction(of(ratio)));
        add(&format!("{name}.bytes"), whole(bytes));
    }
    add("fragmentation", Figure::Fraction(of("mem_fragmentation_ratio")));
    add("fragmentation.bytes", whole("mem_fragmentation_bytes"));
    out
}

fn doctor(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let report = engine.report(turn.outside);
    turn.reply.verbatim(b"txt", diagnosis(&report).as_bytes());
    Ok(Step::Done(None))
}

fn diagnosis(report: &Report) -> String {
    /// Below this the ratios mean nothing.
    const WORTH_A_LOOK_BYTES: f64 = 5.0 * 1024.0 * 1024.0;
    /// Waste below this is not worth a word.
    const WASTE_BYTES: f64 = 10.0 * 1024.0 * 1024.0;
    let of = |name: &str| report.number(name);
    let used = of("used_memory");
    if used - of("used_memory_startup") < WORTH_A_LOOK_BYTES {
        return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions.\n".to_owned();
    }
    let mut found = String::new();
    let mut say = |is_so: bool, text: &str| {
        if is_so {
            found.push_str(&format!(" * {text}\n"));
        }
    };
    say(
        of("used_memory_peak") > used * 1.5,
        "Peak: memory was once used half as much again as now. What the allocator keeps of it makes the process look larger than its data.",
    );
    say(
        of("mem_fragmentation_ratio") > 1.4 && of("mem_fragmentation_bytes") > WASTE_BYTES,
        "Fragmentation: the process holds at least 40 % more memory than it uses. It comes down with time, or with a restart.",
    );
    say(
        of("mem_clients_normal") > used / 4.0,
        "Clients: their buffers take a quarter of all memory. CLIENT LIST shows whose (qbuf, omem); client-output-buffer-limit and maxmemory-clients bound them.",
    );
    say(
        of("number_of_cached_scripts") > 500.0,
        "Scripts: there are more than 500 in the cache. Scripts should take their values as arguments, not be written anew for each.",
    );
    if found.is_empty() {
        return "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n".to_owned();
    }
    format!("Sam, I detected a few issues in this instance's memory:\n\n{found}")
}

fn malloc_stats(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let report = engine.report(turn.outside);
    let mut text = String::new();
    for name in
        ["mem_allocator", "allocator_allocated", "allocator_active", "allocator_resident", "allocator_muzzy"]
    {
        text.push_str(&format!("{name}: {}\n", report.text(name).unwrap_or_default()));
    }
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

/// The allocator's own threads give memory back all the time.
fn purge(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.ok();
    Ok(Step::Done(None))
}
