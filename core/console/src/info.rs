//! The text of INFO as typed figures: bytes, seconds, counts and shares, named with their units.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

/// Replicas that are told of.
const REPLICAS_MAX: usize = 64;

/// Kinds of errors that are told of: those that happened most.
const ERRORS_MAX: usize = 32;

/// The fields of INFO by their names.
struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Fields<'a> {
        Fields(text.lines().filter_map(|line| line.trim_end().split_once(':')).collect())
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied().filter(|word| !word.is_empty())
    }

    /// A number; the words `ok` and `up` of a status are not.
    fn number(&self, name: &str) -> Option<i64> {
        self.word(name)?.parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        self.number(name).is_some_and(|number| number != 0)
    }

    /// Whether a status is `ok`, if there is one.
    fn is_ok(&self, name: &str) -> Option<bool> {
        self.word(name).map(|word| word == "ok")
    }

    /// A number of which INFO tells "none" by one below zero.
    fn natural(&self, name: &str) -> Option<i64> {
        self.number(name).filter(|number| *number >= 0)
    }

    /// The fields whose names begin with `prefix` and go on with a number or a word.
    fn beginning(&self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let rest = |(name, value): (&&'a str, &&'a str)| Some((name.strip_prefix(prefix)?, *value));
        self.0.iter().filter_map(rest).collect()
    }
}

/// The figures that the page shows, from what INFO says.
pub(crate) fn figures(text: &str) -> Json {
    let fields = Fields::read(text);
    json!({
        "server": server(&fields),
        "memory": memory(&fields),
        "clients": clients(&fields),
        "work": work(&fields),
        "durability": durability(&fields),
        "backup": backup(&fields),
        "replication": replication(&fields),
        "keyspace": keyspace(&fields),
        "errors": errors(&fields),
    })
}

fn server(fields: &Fields<'_>) -> Json {
    json!({
        "profile": fields.word("profile"),
        "version": fields.word("tandem_version"),
        "redis_version": fields.word("redis_version"),
        "port": fields.natural("tcp_port"),
        "role": fields.word("role"),
        "uptime_s": fields.natural("uptime_in_seconds"),
        "now_s": fields.number("server_time_usec").map(|micros| micros / 1_000_000),
    })
}

fn memory(fields: &Fields<'_>) -> Json {
    json!({
        "used_bytes": fields.natural("used_memory"),
        "peak_bytes": fields.natural("used_memory_peak"),
        "resident_bytes": fields.natural("used_memory_rss"),
        // Without a limit there is none to compare with.
        "max_bytes": fields.number("maxmemory").filter(|bytes| *bytes > 0),
        "policy": fields.word("maxmemory_policy"),
    })
}

fn clients(fields: &Fields<'_>) -> Json {
    json!({
        "connected": fields.natural("connected_clients"),
        "blocked": fields.natural("blocked_clients"),
        "max": fields.natural("maxclients"),
        "rejected": fields.natural("rejected_connections"),
    })
}

fn work(fields: &Fields<'_>) -> Json {
    let (hits, misses) = (fields.natural("keyspace_hits"), fields.natural("keyspace_misses"));
    let lookups = hits.unwrap_or(0) + misses.unwrap_or(0);
    let hit_share = hits.filter(|_| lookups > 0).map(|hits| hits as f64 / lookups as f64);
    json!({
        "operations_per_s": fields.natural("instantaneous_ops_per_sec"),
        "commands": fields.natural("total_commands_processed"),
        "hit_share": hit_share,
        "lookups": lookups,
        "evicted_keys": fields.natural("evicted_keys"),
        "expired_keys": fields.natural("expired_keys"),
        "error_replies": fields.natural("total_error_replies"),
        "refused_for_memory": fields.natural("tandem_oom_refusals"),
        "input_kib_per_s": fields.word("instantaneous_input_kbps").and_then(|rate| rate.parse::<f64>().ok()),
        "output_kib_per_s": fields.word("instantaneous_output_kbps").and_then(|rate| rate.parse::<f64>().ok()),
    })
}

fn durability(fields: &Fields<'_>) -> Json {
    json!({
        "log": fields.is_on("aof_enabled").then(|| json!({
            "is_writing": fields.is_ok("aof_last_write_status"),
            "bytes": fields.natural("aof_current_size"),
            "sync_lag_ms": fields.natural("aof_fsync_lag_ms"),
            "is_rewriting": fields.is_on("aof_rewrite_in_progress"),
            "last_rewrite_ok": fields.is_ok("aof_last_bgrewrite_status"),
        })),
        "snapshot": {
            "at_s": fields.number("rdb_last_save_time").filter(|at| *at > 0),
            "last_ok": fields.is_ok("rdb_last_bgsave_status"),
            "changes_since": fields.natural("rdb_changes_since_last_save"),
            "is_running": fields.is_on("rdb_bgsave_in_progress"),
        },
        "loading_percent": fields.is_on("loading").then(|| fields.word("loading_loaded_perc")),
    })
}

/// `null` where nothing is archived.
fn backup(fields: &Fields<'_>) -> Json {
    if !fields.is_on("backup_enabled") {
        return Json::Null;
    }
    json!({
        "status": fields.word("backup_status"),
        "lag_s": fields.natural("backup_lag_seconds"),
        "last_success_s": fields.number("backup_last_success_time").filter(|at| *at > 0),
        "last_error": fields.word("backup_last_error"),
        "gaps": fields.natural("backup_gaps"),
    })
}

fn replication(fields: &Fields<'_>) -> Json {
    let end = fields.natural("master_repl_offset").unwrap_or(0);
    let mut replicas: Vec<(usize, Json)> = (fields.beginning("slave").into_iter())
        .filter_map(|(number, text)| Some((number.parse().ok()?, replica(text, end))))
        .collect();
    replicas.sort_by_key(|(number, _)| *number);
    let told: Vec<Json> = replicas.into_iter().take(REPLICAS_MAX).map(|(_, replica)| replica).collect();
    json!({
        "replicas": told,
        "connected": fields.natural("connected_slaves"),
        // Only where some are wanted.
        "good": fields.natural("min_slaves_good_slaves"),
        "refused_writes": fields.natural("unreplicated_refusals"),
        "unacknowledged_writes": fields.natural("unacknowledged_replies"),
        "master": fields.word("master_host").map(|host| json!({
            "host": host,
            "port": fields.natural("master_port"),
            "link": fields.word("master_link_status"),
            "error": fields.word("master_link_error"),
            "heard_s_ago": fields.natural("master_last_io_seconds_ago"),
            "is_copying": fields.is_on("master_sync_in_progress"),
        })),
    })
}

/// Of `ip=…,port=…,state=…,offset=…,lag=…`.
fn replica(text: &str, end: i64) -> Json {
    let words: HashMap<&str, &str> = text.split(',').filter_map(|word| word.split_once('=')).collect();
    let number = |name: &str| words.get(name).and_then(|word| word.parse::<i64>().ok());
    json!({
        "host": words.get("ip"),
        "port": number("port"),
        "state": words.get("state"),
        "behind_bytes": number("offset").map(|offset| (end - offset).max(0)),
        "heard_s_ago": number("lag"),
    })
}

fn keyspace(fields: &Fields<'_>) -> Json {
    let mut all: Vec<(u32, i64)> = (fields.beginning("db").into_iter())
        .filter_map(|(number, text)| {
            Some((number.parse().ok()?, text.strip_prefix("keys=")?.split(',').next()?.parse().ok()?))
        })
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(db, keys)| json!({"db": db, "keys": keys})).collect()
}

/// Errors by their codes, the most frequent first.
fn errors(fields: &Fields<'_>) -> Json {
    let count = |text: &str| text.strip_prefix("count=")?.parse::<i64>().ok();
    let mut all: Vec<(i64, &str)> = (fields.beginning("errorstat_").into_iter())
        .filter_map(|(code, text)| Some((count(text)?, code)))
        .collect();
    all.sort_unstable_by_key(|(count, code)| (std::cmp::Reverse(*count), *code));
    let counted = |(count, code): (i64, &str)| {
        Map::from_iter([("code".to_owned(), json!(code)), ("count".to_owned(), json!(count))])
    };
    all.into_iter().take(ERRORS_MAX).map(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Server\r\ntandem_version:0.1.0\r\nprofile:queue\r\ntcp_port:6380\r\nuptime_in_seconds:61\r\n\
        # Memory\r\nused_memory:1000\r\nmaxmemory:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\naof_current_size:77\r\n\
        aof_fsync_lag_ms:3\r\nrdb_last_save_time:0\r\nrdb_last_bgsave_status:err\r\nbackup_enabled:0\r\nkeyspace_hits:3\r\n\
        keyspace_misses:1\r\nrole:master\r\nconnected_slaves:2\r\nslave_expires_tracked_keys:0\r\nmaster_repl_offset:500\r\n\
        slave1:ip=10.0.0.2,port=6381,state=online,offset=520,lag=0\r\n\
        slave0:ip=10.0.0.1,port=6380,state=online,offset=400,lag=2\r\n\
        errorstat_ERR:count=2\r\nerrorstat_NOPERM:count=9\r\ndb10:keys=4,expires=0,avg_ttl=0\r\ndb2:keys=1,expires=1\r\n";

    #[test]
    fn figures_are_typed_and_what_is_not_there_is_null() {
        let told = figures(TEXT);
        assert_eq!(told["server"]["uptime_s"], 61);
        assert_eq!(told["memory"]["max_bytes"], Json::Null);
        assert_eq!(told["memory"]["peak_bytes"], Json::Null);
        assert_eq!(told["work"]["hit_share"], 0.75);
        assert_eq!(told["durability"]["log"]["sync_lag_ms"], 3);
        assert_eq!(told["durability"]["log"]["is_writing"], true);
        assert_eq!(told["durability"]["snapshot"]["at_s"], Json::Null);
        assert_eq!(told["durability"]["snapshot"]["last_ok"], false);
        assert_eq!(told["backup"], Json::Null);
        assert_eq!(told["keyspace"], json!([{"db": 2, "keys": 1}, {"db": 10, "keys": 4}]));
        assert_eq!(told["errors"][0], json!({"code": "NOPERM", "count": 9}));
    }

    #[test]
    fn replicas_are_in_order_and_none_is_ahead() {
        let replicas = &figures(TEXT)["replication"]["replicas"];
        assert_eq!(replicas.as_array().unwrap().len(), 2);
        assert_eq!((&replicas[0]["behind_bytes"], &replicas[0]["heard_s_ago"]), (&json!(100), &json!(2)));
        assert_eq!(replicas[1]["behind_bytes"], 0);
    }

    #[test]
    fn nothing_is_needed_and_nothing_is_believed() {
        for text in ["", "used_memory", "used_memory:many\r\nslave0:\r\ndb0:\r\nerrorstat_X:\r\n"] {
            let told = figures(text);
            assert_eq!(told["memory"]["used_bytes"], Json::Null);
            assert_eq!(told["work"]["hit_share"], Json::Null);
        }
    }
}
