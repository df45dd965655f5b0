//! LATENCY: what took long, by command and by event.
//!
//! Events are recorded only while `latency-monitor-threshold` is above 0; the hot path pays one comparison for this and the slow log
//! together ([`Engine::watch_durations`]).

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Outside;
use commands::{Args, Error, Flags, Group, Row};
use telemetry::LatencyEvent;

const OPERATOR: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("latency", -2, unknown).subcommands(&[
        row("latency|doctor", 2, doctor).flags(OPERATOR),
        row("latency|graph", 3, graph).flags(OPERATOR),
        row("latency|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("latency|histogram", -2, histogram).flags(OPERATOR),
        row("latency|history", 3, history).flags(OPERATOR),
        row("latency|latest", 2, latest).flags(OPERATOR),
        row("latency|reset", -2, reset).flags(OPERATOR),
    ]),
];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "LATENCY"))
}

fn histogram(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let wanted = turn.args.rest(2);
    let found: Vec<usize> = match wanted {
        [] => (0..engine.command_stats.len()).collect(),
        names => names.iter().flat_map(|name| named(engine, name)).collect(),
    };
    let found: Vec<usize> =
        found.into_iter().filter(|i| !engine.command_stats[*i].histogram.is_empty()).collect();
    turn.reply.map(found.len());
    for index in found {
        let stats = &engine.command_stats[index];
        turn.reply.bulk(engine.table.commands[index].spec.name.as_bytes());
        turn.reply.map(2);
        turn.reply.bulk(b"calls");
        turn.reply.integer(stats.histogram.len() as i64);
        turn.reply.bulk(b"histogram_usec");
        let buckets: Vec<(u64, u64)> = stats.histogram.cumulative_us().collect();
        turn.reply.map(buckets.len());
        for (us, count) in buckets {
            turn.reply.integer(us as i64);
            turn.reply.integer(count as i64);
        }
    }
    Ok(Step::Done(None))
}

/// The command of this name with its subcommands, or none.
fn named(engine: &Engine, name: &[u8]) -> Vec<usize> {
    let Some(index) = engine.table.find_full(name) else { return Vec::new() };
    let subcommands = engine.table.commands[index].subcommands.iter().copied();
    std::iter::once(index).chain(subcommands).collect()
}

fn latest(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let events: Vec<_> = engine.latency.iter().collect();
    turn.reply.array(events.len());
    for (name, event) in events {
        let (unix_s, ms) = event.spikes().last().unwrap_or_default();
        turn.reply.array(4);
        turn.reply.bulk(name.as_bytes());
        turn.reply.integer(unix_s);
        turn.reply.integer(ms as i64);
        turn.reply.integer(event.max_ms as i64);
    }
    Ok(Step::Done(None))
}

fn history(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let spikes: Vec<(i64, u64)> =
        find(engine, turn.args).map(|event| event.spikes().collect()).unwrap_or_default();
    turn.reply.array(spikes.len());
    for (unix_s, ms) in spikes {
        turn.reply.array(2);
        turn.reply.integer(unix_s);
        turn.reply.integer(ms as i64);
    }
    Ok(Step::Done(None))
}

fn find<'e>(engine: &'e Engine, args: Args<'_>) -> Option<&'e LatencyEvent> {
    engine.latency.event(std::str::from_utf8(args.at(2)).ok()?)
}

fn reset(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    let names: Vec<&str> = names.iter().map(|name| std::str::from_utf8(name).unwrap_or("")).collect();
    turn.reply.count(engine.latency.reset(&names));
    Ok(Step::Done(None))
}

fn graph(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let name = turn.args.at(2);
    let event = find(engine, turn.args)
        .ok_or_else(|| Error::quoting("ERR No samples available for event '{}'", &[name]))?;
    let name = String::from_utf8_lossy(name);
    let text = telemetry::latency_graph(&name, event, engine.keyspace.now.unix_ms / 1000);
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

fn doctor(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let text = if engine.config.latency_monitor_threshold_ms == 0 && engine.latency.iter().next().is_none() {
        "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it.\n".to_owned()
    } else {
        report(engine)
    };
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

/// What the events look like, and what usually helps.
fn report(engine: &Engine) -> String {
    let mut text = String::new();
    for (number, (name, event)) in engine.latency.iter().enumerate() {
        let summary = event.summary();
        text.push_str(&format!(
            "{}. {name}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time event {}ms.\n",
            number + 1,
            summary.count,
            summary.mean_ms,
            summary.deviation_ms,
            summary.period_s,
            event.max_ms
        ));
    }
    if text.is_empty() {
        return "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit.\n".to_owned();
    }
    let mut advice = String::new();
    for (prefix, line) in ADVICE {
        if engine.latency.iter().any(|(name, _)| name.starts_with(prefix)) {
            advice.push_str(&format!("- {line}\n"));
        }
    }
    format!(
        "Dave, I have observed latency spikes in this Redis instance.\n\n{text}\nWhat may help:\n\n{advice}"
    )
}

/// What to do about events whose name begins so.
const ADVICE: &[(&str, &str)] = &[
    (
        "command",
        "SLOWLOG GET shows which commands took long; avoid those that walk over a whole key or database.",
    ),
    ("fast-command", "Commands of constant time were slow: the machine is short of processors or swaps."),
    (
        "aof-",
        "The disk of the append-only file is slow or shared; consider `appendfsync everysec` or another disk.",
    ),
    ("expire-cycle", "Many keys expire at the same moment; spread their times a little."),
    (
        "eviction-",
        "Large values are evicted on the spot, or memory is far over its limit; raise `maxmemory` or use smaller values.",
    ),
];

/// Behind a command that took so long the time is looked at anew, nanoseconds: keys may have expired meanwhile.
const STALE_NS: u64 = 1_000_000;

impl Engine {
    /// Takes over from which duration on a command is worth a second look: slow log or latency event, whichever begins earlier.
    pub(crate) fn watch_durations(&mut self) {
        let slow_ns = u64::try_from(self.config.slowlog_log_slower_than_us)
            .map_or(u64::MAX, |us| us.saturating_mul(1000));
        let event_ns = match self.config.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        self.noteworthy_ns = slow_ns.min(event_ns).min(STALE_NS);
    }

    /// Records an event that took so long, if that is long enough.
    pub fn note_event(&mut self, event: &'static str, ms: u64) {
        let threshold_ms = self.config.latency_monitor_threshold_ms;
        self.latency.record(event, self.keyspace.now.unix_ms / 1000, ms, threshold_ms);
    }

    /// Runs `work` and records it as an event, if events are recorded.
    pub(crate) fn timed<T>(
        &mut self,
        event: &'static str,
        outside: &dyn Outside,
        work: impl FnOnce(&mut Engine) -> T,
    ) -> T {
        if self.config.latency_monitor_threshold_ms == 0 {
            return work(self);
        }
        let began_ns = outside.nanos();
        let result = work(self);
        self.note_event(event, outside.nanos().saturating_sub(began_ns) / 1_000_000);
        result
    }
}
