//! A report: the fields at one moment, and INFO as its text.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use crate::fields::{Section, TABLE};
use crate::stats::{CommandStats, ErrorStats};

/// The fields' places in the table, in the order of their names. A map would take 14 KB with the first INFO, which whoever measures
/// memory by INFO would take for data.
static BY_NAME: LazyLock<Box<[u16]>> = LazyLock::new(|| {
    let mut places: Box<[u16]> = (0..TABLE.len() as u16).collect();
    places.sort_by_key(|at| TABLE[usize::from(*at)].name);
    places
});

/// Where a field stands in the table.
fn place_of(name: &str) -> Option<usize> {
    let found = BY_NAME.binary_search_by_key(&name, |at| TABLE[usize::from(*at)].name);
    found.ok().map(|at| usize::from(BY_NAME[at]))
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum V {
    /// Text.
    S(String),
    /// A count.
    U(u64),
    /// A number that may be negative.
    I(i64),
    /// A number with a fraction, and how many digits of it are shown.
    F(f64, usize),
}

impl From<&str> for V {
    fn from(text: &str) -> V {
        // A line end would begin a new field.
        V::S(text.replace(['\r', '\n'], " "))
    }
}

impl From<u64> for V {
    fn from(value: u64) -> V {
        V::U(value)
    }
}

impl From<i64> for V {
    fn from(value: i64) -> V {
        V::I(value)
    }
}

impl From<f64> for V {
    /// Six digits, as processor times are shown.
    fn from(value: f64) -> V {
        V::F(value, 6)
    }
}

impl fmt::Display for V {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            V::S(text) => out.write_str(text),
            V::U(value) => write!(out, "{value}"),
            V::I(value) => write!(out, "{value}"),
            V::F(value, digits) => write!(out, "{value:.digits$}"),
        }
    }
}

/// One database's numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Database {
    pub(crate) index: usize,
    pub(crate) keys: u64,
    pub(crate) expiring: u64,
    pub(crate) avg_ttl_ms: u64,
    pub(crate) field_expiring: u64,
}

/// How much a key holds that is watched.
#[derive(Clone, Debug)]
pub(crate) struct KeySize {
    pub(crate) db: usize,
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// One queue's numbers.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name, which no other one of its kind has.
    pub name: String,
    /// Whose queue it is.
    pub kind: &'static str,
    /// Jobs by state.
    pub states: Vec<(&'static str, u64)>,
    /// Clients that wait on it.
    pub workers: u64,
    /// Jobs that came.
    pub added: u64,
    /// Jobs that were taken.
    pub taken: u64,
    /// Jobs that were completed and that failed, where the library counts them.
    pub finished: Option<[u64; 2]>,
    /// Age of the oldest job that waits, milliseconds.
    pub oldest_age_ms: Option<u64>,
    /// Age of the oldest job that failed, milliseconds.
    pub oldest_failed_age_ms: Option<u64>,
}

/// One replica's numbers.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Where it is to be found.
    pub address: String,
    /// The port that it listens on.
    pub port: u16,
    /// How far it is.
    pub state: String,
    /// Up to where it has applied the stream, bytes.
    pub offset: u64,
    /// Seconds since it was last heard of.
    pub lag_s: u64,
}

/// All that is told at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    values: Vec<Option<V>>,
    pub(crate) commands: Vec<(String, CommandStats)>,
    pub(crate) errors: ErrorStats,
    pub(crate) databases: Vec<Database>,
    pub(crate) keys: Vec<KeySize>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) percentiles: Vec<f64>,
    tracks_latency: bool,
}

impl Default for Report {
    fn default() -> Report {
        Report::new()
    }
}

/// The field behind which INFO lists the replicas, whether it is shown or not.
const LAST_BEFORE_REPLICAS: &str = "min_slaves_good_slaves";

fn replica_line(out: &mut String, at: usize, replica: &Replica) {
    let Replica { address, port, state, offset, lag_s } = replica;
    line(out, format_args!("slave{at}:ip={address},port={port},state={state},offset={offset},lag={lag_s}"));
}

/// The headings in their order, with whether plain INFO shows them.
const HEADINGS: &[(&str, Option<Section>, bool)] = &[
    ("Server", Some(Section::Server), true),
    ("Clients", Some(Section::Clients), true),
    ("Memory", Some(Section::Memory), true),
    ("Persistence", Some(Section::Persistence), true),
    ("Backup", Some(Section::Backup), true),
    ("Stats", Some(Section::Stats), true),
    ("Replication", Some(Section::Replication), true),
    ("CPU", Some(Section::Cpu), true),
    ("Modules", None, true),
    ("Commandstats", None, false),
    ("Errorstats", None, true),
    ("Latencystats", None, false),
    ("Cluster", Some(Section::Cluster), true),
    ("Keyspace", None, true),
    ("TLS", Some(Section::Tls), false),
];

impl Report {
    /// Nothing filled.
    pub fn new() -> Report {
        Report {
            values: vec![None; TABLE.len()],
            commands: Vec::new(),
            errors: ErrorStats::default(),
            databases: Vec::new(),
            keys: Vec::new(),
            queues: Vec::new(),
            replicas: Vec::new(),
            percentiles: vec![50.0, 99.0, 99.9],
            tracks_latency: true,
        }
    }

    /// Fills a field of the table. A name that is not there is a mistake of the program: it fails in tests
    /// and is left out in a release.
    pub fn set(&mut self, name: &str, value: impl Into<V>) {
        let at = place_of(name);
        debug_assert!(at.is_some(), "{name} is no field");
        if let Some(at) = at {
            self.values[at] = Some(value.into());
        }
    }

    /// Adds a command's numbers.
    pub fn command(&mut self, name: &str, stats: &CommandStats) {
        self.commands.push((name.into(), stats.clone()));
    }

    /// Sets the errors' numbers.
    pub fn errors(&mut self, errors: &ErrorStats) {
        self.errors = errors.clone();
    }

    /// Adds a database; empty ones are metrics too.
    pub fn database(&mut self, index: usize, keys: u64, expiring: u64, avg_ttl_ms: u64, field_expiring: u64) {
        self.databases.push(Database { index, keys, expiring, avg_ttl_ms, field_expiring });
    }

    /// Adds a key whose size is watched: its elements, or the bytes of a string; 0 where there is none.
    pub fn key_size(&mut self, db: usize, name: &[u8], size: u64) {
        self.keys.push(KeySize { db, name: String::from_utf8_lossy(name).into_owned(), size });
    }

    /// Adds a queue.
    pub fn queue(&mut self, queue: Queue) {
        self.queues.push(queue);
    }

    /// Adds a replica.
    pub fn replica(&mut self, replica: Replica) {
        self.replicas.push(replica);
    }

    /// The percentiles of Latencystats, 0 to 100.
    pub fn percentiles(&mut self, percentiles: &[f64]) {
        self.percentiles = percentiles.to_vec();
    }

    /// Whether Latencystats shows anything.
    pub fn track_latency(&mut self, tracks: bool) {
        self.tracks_latency = tracks;
    }

    /// The text of a field, or its default.
    pub fn text(&self, name: &str) -> Option<String> {
        let at = place_of(name)?;
        let filled = self.values[at].as_ref().map(V::to_string);
        filled.or_else(|| self.derived(name)).or_else(|| TABLE[at].default.map(str::to_string))
    }

    /// A field's number, or 0.
    pub fn number(&self, name: &str) -> f64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }

    /// The text of INFO. No names, or `default`: the usual sections; `all` and `everything`: all of them.
    pub fn info(&self, sections: &[&str]) -> String {
        let mut text = String::with_capacity(8 << 10);
        for (heading, section, is_default) in HEADINGS {
            let wanted = sections.iter().any(|name| {
                let all = name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case("everything");
                all || name.eq_ignore_ascii_case(heading)
                    || (*is_default && name.eq_ignore_ascii_case("default"))
            });
            if !(wanted || sections.is_empty() && *is_default) {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            line(&mut text, format_args!("# {heading}"));
            match section {
                Some(section) => self.fields_of(*section, &mut text),
                None => self.listed(heading, &mut text),
            }
        }
        text
    }

    fn fields_of(&self, section: Section, out: &mut String) {
        for field in TABLE.iter().filter(|field| field.section == section) {
            if let Some(value) = self.text(field.name) {
                line(out, format_args!("{}:{value}", field.name));
            }
            if field.name == LAST_BEFORE_REPLICAS {
                self.replicas.iter().enumerate().for_each(|(at, replica)| replica_line(out, at, replica));
            }
        }
    }

    fn listed(&self, heading: &str, out: &mut String) {
        match heading {
            "Commandstats" => self.commands.iter().for_each(|(name, stats)| command_line(out, name, stats)),
            "Errorstats" => {
                for (name, count) in self.errors.iter() {
                    line(out, format_args!("errorstat_{name}:count={count}"));
                }
            }
            "Latencystats" if self.tracks_latency => {
                for (name, stats) in self.commands.iter().filter(|(_, stats)| !stats.histogram.is_empty()) {
                    let part =
                        |percent: &f64| format!("p{percent}={:.3}", stats.histogram.percentile_us(*percent));
                    let parts: Vec<_> = self.percentiles.iter().map(part).collect();
                    line(out, format_args!("latency_percentiles_usec_{name}:{}", parts.join(",")));
                }
            }
            "Keyspace" => {
                for db in self.databases.iter().filter(|db| db.keys > 0) {
                    let Database { index, keys, expiring, avg_ttl_ms, field_expiring } = db;
                    line(
                        out,
                        format_args!(
                            "db{index}:keys={keys},expires={expiring},avg_ttl={avg_ttl_ms},subexpiry={field_expiring}"
                        ),
                    );
                }
            }
            _ => {}
        }
    }

    /// Fields that follow from others.
    fn derived(&self, name: &str) -> Option<String> {
        if let Some(bytes) = name.strip_suffix("_human") {
            return Some(human(self.number(bytes)));
        }
        // Looked up only where a field needs them: an unfilled `used_memory` comes here itself.
        let used = || self.number("used_memory");
        let rss = || self.number("used_memory_rss");
        let part = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let between = |a: &str, b: &str| format!("{}", self.number(a) - self.number(b));
        Some(match name {
            "used_memory_peak_perc" => {
                format!("{:.2}%", part(used(), self.number("used_memory_peak")) * 100.0)
            }
            "used_memory_dataset" => format!("{}", (used() - self.number("used_memory_overhead")).max(0.0)),
            "used_memory_dataset_perc" => {
                let net = used() - self.number("used_memory_startup");
                format!("{:.2}%", part(self.number("used_memory_dataset"), net) * 100.0)
            }
            "mem_fragmentation_ratio" => format!("{:.2}", part(rss(), used())),
            "mem_fragmentation_bytes" => format!("{}", rss() - used()),
            "allocator_frag_bytes" => between("allocator_active", "allocator_allocated"),
            "allocator_rss_bytes" => between("allocator_resident", "allocator_active"),
            "rss_overhead_bytes" => between("used_memory_rss", "allocator_resident"),
            "allocator_rss_ratio" => {
                format!("{:.2}", part(self.number("allocator_resident"), self.number("allocator_active")))
            }
            "rss_overhead_ratio" => format!("{:.2}", part(rss(), self.number("allocator_resident"))),
            "allocator_frag_ratio" => {
                format!("{:.2}", part(self.number("allocator_active"), self.number("allocator_allocated")))
            }
            "uptime_in_days" => format!("{}", (self.number("uptime_in_seconds") / 86400.0).floor()),
            _ => return None,
        })
    }
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    write!(out, "{text}\r\n").expect("a String takes any text");
}

fn command_line(out: &mut String, name: &str, stats: &CommandStats) {
    let usec = stats.nanos / 1000;
    let mean = if stats.calls > 0 { stats.nanos as f64 / 1000.0 / stats.calls as f64 } else { 0.0 };
    let (calls, rejected, failed) = (stats.calls, stats.rejected, stats.failed);
    line(
        out,
        format_args!(
            "cmdstat_{name}:calls={calls},usec={usec},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
        ),
    );
}

/// Bytes with a unit, as Redis shows them.
pub fn human(bytes: f64) -> String {
    const UNITS: &[&str] = &["K", "M", "G", "T", "P"];
    if bytes < 1024.0 {
        return format!("{bytes}B");
    }
    let mut value = bytes / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Report {
        let mut report = Report::new();
        report.set("redis_version", "7.4.0");
        report.set("used_memory", 941_032u64);
        report.set("used_memory_rss", 1_882_064u64);
        report.set("maxmemory", 1u64 << 30);
        report.set("used_cpu_sys", 0.25);
        let mut get = CommandStats::default();
        get.record(2_000, true);
        get.record(4_000, true);
        report.command("get", &get);
        report.command("config|get", &CommandStats { rejected: 1, ..CommandStats::default() });
        let mut errors = ErrorStats::default();
        assert_eq!(errors.record(b"ERR x"), None);
        report.errors(&errors);
        report.database(0, 3, 1, 1500, 2);
        report.database(1, 0, 0, 0, 0);
        report
    }

    #[test]
    fn sections_come_in_redis_order_and_as_asked() {
        let report = sample();
        let headings = |sections: &[&str]| -> Vec<String> {
            let text = report.info(sections);
            text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_string).collect()
        };
        let all: Vec<_> = HEADINGS.iter().map(|(heading, ..)| (*heading).to_string()).collect();
        assert_eq!(headings(&["everything"]), all);
        assert_eq!(headings(&[]), headings(&["default"]));
        assert!(!headings(&[]).contains(&"Commandstats".to_string()));
        assert_eq!(headings(&["keyspace", "SERVER"]), ["Server", "Keyspace"]);
        assert_eq!(report.info(&["nosuch"]), "");
        assert!(report.info(&["cpu", "cluster"]).contains("\r\n\r\n# Cluster\r\n"));
    }

    #[test]
    fn a_report_that_nobody_filled_can_be_shown() {
        let text = Report::new().info(&["everything"]);
        assert!(text.contains("used_memory:0\r\n") && text.contains("mem_fragmentation_ratio:0.00\r\n"));
    }

    #[test]
    fn lines_have_redis_shape() {
        let text = sample().info(&["all"]);
        for expected in [
            "redis_version:7.4.0",
            "used_memory_human:918.98K",
            "maxmemory_human:1.00G",
            "mem_fragmentation_ratio:2.00",
            "used_cpu_sys:0.250000",
            "rdb_last_bgsave_status:ok",
            "cmdstat_get:calls=2,usec=6,usec_per_call=3.00,rejected_calls=0,failed_calls=0",
            "cmdstat_config|get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0",
            "errorstat_ERR:count=1",
            "db0:keys=3,expires=1,avg_ttl=1500,subexpiry=2",
        ] {
            assert!(text.contains(&format!("\r\n{expected}\r\n")), "{expected}\n{text}");
        }
        assert!(text.contains("latency_percentiles_usec_get:p50="));
        assert!(
            !text.contains("db1:") && !text.contains("slowlog_len") && !text.contains("aof_current_size")
        );
    }
}
