//! The values that code reads, as typed fields: a field read costs a load, not a search by name.
//!
//! Rebuilt as a whole after every change, so a field can never disagree with the table.

use std::path::{Path, PathBuf};

use crate::choice::{
    AclPubsub, AppendFsync, DebugAccess, LogFormat, LogLevel, LogTimestamps, MaxmemoryPolicy, NotifyFlags,
    OomScoreAdj, ShutdownFlags, TlsAuthClients, TlsAuthClientsUser, TlsMode,
};
use crate::value_type::{OutputLimit, SavePoint, Value, watched_key};
use crate::values::Values;

/// Declares each field with its row and the way to read it, so that the two cannot drift apart.
macro_rules! settings {
    ($($field:ident: $type:ty = $name:literal, $read:expr, $doc:literal;)*) => {
        /// The directives that act, by type. Units are in each field's description.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings { $(#[doc = $doc] pub $field: $type,)* }

        impl Settings {
            pub(crate) fn from_values(values: &Values<'_>) -> Settings {
                Settings { $($field: $read(values, $name),)* }
            }

            #[cfg(test)]
            const ROWS: &'static [(&'static str, &'static str)] = &[$(($name, stringify!($field))),*];
        }
    };
}

impl Settings {
    /// Where a file is that a directive names: a relative path is in `dir`.
    pub fn in_dir(&self, path: &str) -> PathBuf {
        Path::new(&self.dir).join(path)
    }
}

fn share(values: &Values<'_>, name: &str, whole: u64) -> u64 {
    match values.int(name) {
        percent @ ..0 => (u128::from(whole) * u128::from(percent.unsigned_abs()) / 100) as u64,
        bytes => bytes.unsigned_abs(),
    }
}

fn save_points(values: &Values<'_>, name: &str) -> Vec<SavePoint> {
    match values.value(name) {
        Value::Save(points) => points.clone(),
        _ => Vec::new(),
    }
}

fn output_limits(values: &Values<'_>, name: &str) -> [OutputLimit; 3] {
    match values.value(name) {
        Value::OutputLimits(limits) => *limits,
        _ => [OutputLimit::default(); 3],
    }
}

/// A port beyond what there is was refused when the value was read.
fn primary(values: &Values<'_>, name: &str) -> Option<(String, u16)> {
    match values.value(name) {
        Value::Words(words) => match &words[..] {
            [host, port] => {
                let port = base::number::parse_u64(port).and_then(|port| u16::try_from(port).ok())?;
                Some((String::from_utf8_lossy(host).into_owned(), port))
            }
            _ => None,
        },
        _ => None,
    }
}

fn percentiles(values: &Values<'_>, name: &str) -> Vec<f64> {
    match values.value(name) {
        Value::Percentiles(values) => values.clone(),
        _ => Vec::new(),
    }
}

fn oom_scores(values: &Values<'_>, name: &str) -> [i64; 3] {
    match values.value(name) {
        Value::OomScores(scores) => *scores,
        _ => [0; 3],
    }
}

fn watched_keys(values: &Values<'_>, name: &str) -> Vec<(usize, Vec<u8>)> {
    match values.value(name) {
        Value::Words(words) => words.iter().map(|word| watched_key(word)).collect(),
        _ => Vec::new(),
    }
}

fn access(values: &Values<'_>, name: &str) -> DebugAccess {
    DebugAccess::at(values.choice(name))
}

fn bits(values: &Values<'_>, name: &str) -> u32 {
    values.int(name) as u32
}

type V<'a, 'b> = &'a Values<'b>;

#[rustfmt::skip]
settings! {
    bind: Vec<String> = "bind", Values::words, "Addresses to listen on; a leading `-` makes a missing one no error, `*` is all of IPv4, `::*` all of IPv6.";
    port: u16 = "port", Values::port, "TCP port; 0 for none.";
    protected_mode: bool = "protected-mode", Values::flag, "Without a password, refuse clients from other machines.";
    tcp_backlog: u64 = "tcp-backlog", Values::count, "Connections that may wait to be accepted.";
    tcp_keepalive_seconds: u64 = "tcp-keepalive", Values::count, "Seconds between probes of a silent connection; 0 for none.";
    login_timeout_seconds: u64 = "login-timeout", Values::count, "Seconds that a client has to log in; 0 for no limit.";
    timeout_seconds: u64 = "timeout", Values::count, "Idle seconds after which a client is closed; 0 for never.";
    unixsocket: String = "unixsocket", Values::text, "Path of the Unix socket; empty for none.";
    unixsocketgroup: String = "unixsocketgroup", Values::text, "Group of the Unix socket; empty for that of the process.";
    unixsocketperm: u32 = "unixsocketperm", bits, "Permissions of the Unix socket; 0 to leave them.";
    socket_mark: u32 = "socket-mark-id", bits, "Mark of the listening sockets for packet filters; 0 for none.";
    new_connections_max: usize = "max-new-connections-per-cycle", Values::size, "Connections accepted in one tick.";
    new_tls_connections_max: usize = "max-new-tls-connections-per-cycle", Values::size, "TLS connections accepted in one tick.";
    maxclients: usize = "maxclients", Values::size, "Connections at one time.";
    io_threads: usize = "io-threads", Values::size, "I/O threads, 1 to 128.";
    tls: TlsMode = "tls", |v: V<'_, '_>, n| TlsMode::at(v.choice(n)), "TLS on the main port.";
    tls_port: u16 = "tls-port", Values::port, "A second port that speaks only TLS; 0 for none.";
    tls_cert_file: String = "tls-cert-file", Values::text, "Certificate chain, PEM; empty for none.";
    tls_key_file: String = "tls-key-file", Values::text, "Key, PEM.";
    tls_client_cert_file: String = "tls-client-cert-file", Values::text, "Certificate chain shown to a primary, PEM; empty for that of tls-cert-file.";
    tls_client_key_file: String = "tls-client-key-file", Values::text, "Key of that, PEM.";
    tls_ca_cert_file: String = "tls-ca-cert-file", Values::text, "Believed authorities, PEM.";
    tls_ca_cert_dir: String = "tls-ca-cert-dir", Values::text, "Folder of believed authorities.";
    tls_auth_clients_user: TlsAuthClientsUser = "tls-auth-clients-user", |v: V<'_, '_>, n| TlsAuthClientsUser::at(v.choice(n)), "The user that a client certificate logs in.";
    tls_auth_clients: TlsAuthClients = "tls-auth-clients", |v: V<'_, '_>, n| TlsAuthClients::at(v.choice(n)), "Whether clients must show a certificate.";
    tls_names: Vec<String> = "tls-names", Values::words, "Names and addresses that a certificate of our own is for.";
    tls_protocols: String = "tls-protocols", Values::text, "Versions offered; empty for all that are safe.";
    tls_session_caching: bool = "tls-session-caching", Values::flag, "Let clients resume sessions.";
    tls_session_cache_timeout_seconds: u64 = "tls-session-cache-timeout", Values::count, "Seconds in which a session may be resumed; 0 for none.";
    tls_prefer_server_ciphers: bool = "tls-prefer-server-ciphers", Values::flag, "Choose suites in the server's order.";
    daemonize: bool = "daemonize", Values::flag, "Go on behind the terminal, if the command line says so.";
    pidfile: String = "pidfile", Values::text, "File of the process number; empty for none.";
    loglevel: LogLevel = "loglevel", |v: V<'_, '_>, n| LogLevel::at(v.choice(n)), "Least important lines that are logged.";
    log_format: LogFormat = "log-format", |v: V<'_, '_>, n| LogFormat::at(v.choice(n)), "The form of the log's lines.";
    log_timestamps: LogTimestamps = "log-timestamp-format", |v: V<'_, '_>, n| LogTimestamps::at(v.choice(n)), "The form of the times in the log.";
    logfile: String = "logfile", Values::text, "File of the log; empty for standard output.";
    always_show_logo: bool = "always-show-logo", Values::flag, "Print the banner also into files.";
    databases: usize = "databases", Values::size, "How many databases there are.";
    hz: u32 = "hz", bits, "Rounds of background work a second, 1 to 500.";
    shutdown_on_sigint: ShutdownFlags = "shutdown-on-sigint", |v, n| ShutdownFlags::from_bits(bits(v, n)), "What SIGINT does.";
    shutdown_timeout_seconds: u64 = "shutdown-timeout", Values::count, "Seconds that a stop waits for replicas that lack something; 0 for none.";
    shutdown_on_sigterm: ShutdownFlags = "shutdown-on-sigterm", |v, n| ShutdownFlags::from_bits(bits(v, n)), "What SIGTERM does.";
    oom_score_adj: OomScoreAdj = "oom-score-adj", |v: V<'_, '_>, n| OomScoreAdj::at(v.choice(n)), "How the kernel's score of the process is set.";
    oom_score: i64 = "oom-score-adj-values", |v: V<'_, '_>, n| oom_scores(v, n)[0], "The score of a primary; -2000 to 2000.";
    disable_thp: bool = "disable-thp", Values::flag, "Keep the kernel from giving huge pages.";
    jemalloc_bg_thread: bool = "jemalloc-bg-thread", Values::flag, "The allocator returns memory in the background.";
    enable_protected_configs: DebugAccess = "enable-protected-configs", access, "Who may change protected directives.";
    enable_debug_command: DebugAccess = "enable-debug-command", access, "Who may use DEBUG.";
    requirepass: Vec<u8> = "requirepass", Values::bytes, "Password of the default user; empty for none.";
    requirepass_file: String = "requirepass-file", Values::text, "File of that password; already read by the loader.";
    aclfile: String = "aclfile", Values::text, "File of users; empty for none.";
    acllog_max_len: usize = "acllog-max-len", Values::size, "Entries of ACL LOG.";
    acl_pubsub_default: AclPubsub = "acl-pubsub-default", |v: V<'_, '_>, n| AclPubsub::at(v.choice(n)), "Channels of new users.";
    maxmemory: u64 = "maxmemory", Values::count, "Bytes; 0 for no limit.";
    maxmemory_policy: MaxmemoryPolicy = "maxmemory-policy", |v: V<'_, '_>, n| MaxmemoryPolicy::at(v.choice(n)), "What leaves when memory is full.";
    maxmemory_samples: usize = "maxmemory-samples", Values::size, "Keys looked at for each that leaves, at least 1.";
    maxmemory_eviction_tenacity: u64 = "maxmemory-eviction-tenacity", Values::count, "0 to 100: time eviction may take in one go.";
    maxmemory_clients: u64 = "maxmemory-clients", |v, n| share(v, n, v.count("maxmemory")), "Bytes of all clients' buffers, a percentage already applied; 0 for no limit.";
    queue_reserve: u64 = "queue-reserve", |v, n| share(v, n, v.count("maxmemory")), "Bytes of maxmemory kept for consumers, a percentage already applied.";
    active_expire_effort: u32 = "active-expire-effort", bits, "1 to 10.";
    lfu_log_factor: u32 = "lfu-log-factor", bits, "How slowly the use counter grows.";
    lfu_decay_minutes: u32 = "lfu-decay-time", bits, "Minutes after which the use counter shrinks; 0 for never.";
    output_limits: [OutputLimit; 3] = "client-output-buffer-limit", output_limits, "Limits of normal, replica and pubsub clients, in this order.";
    client_query_buffer_limit: usize = "client-query-buffer-limit", Values::size, "Bytes of one client's unfinished request.";
    proto_max_bulk_len: usize = "proto-max-bulk-len", Values::size, "Bytes of one argument or string.";
    tracking_table_max_keys: usize = "tracking-table-max-keys", Values::size, "Keys remembered for client-side caching; 0 for no limit.";
    busy_reply_threshold_ms: u64 = "busy-reply-threshold", Values::count, "Milliseconds after which others are told BUSY; 0 for never.";
    notify: NotifyFlags = "notify-keyspace-events", |v, n| NotifyFlags(bits(v, n)), "Classes of keyspace events that are published.";
    hash_max_listpack_entries: usize = "hash-max-listpack-entries", Values::size, "Fields up to which a hash is packed.";
    hash_max_listpack_value: usize = "hash-max-listpack-value", Values::size, "Bytes of a field or value up to which a hash is packed.";
    list_max_listpack_size: i64 = "list-max-listpack-size", Values::int, "Entries of a list's node, or -1 to -5 for 4, 8, 16, 32, 64 kB.";
    set_max_intset_entries: usize = "set-max-intset-entries", Values::size, "Members up to which a set of integers is packed.";
    set_max_listpack_entries: usize = "set-max-listpack-entries", Values::size, "Members up to which a set is packed.";
    set_max_listpack_value: usize = "set-max-listpack-value", Values::size, "Bytes of a member up to which a set is packed.";
    zset_max_listpack_entries: usize = "zset-max-listpack-entries", Values::size, "Members up to which a sorted set is packed.";
    zset_max_listpack_value: usize = "zset-max-listpack-value", Values::size, "Bytes of a member up to which a sorted set is packed.";
    hll_sparse_max_bytes: usize = "hll-sparse-max-bytes", Values::size, "Bytes up to which a HyperLogLog stays sparse.";
    stream_node_max_bytes: usize = "stream-node-max-bytes", Values::size, "Bytes of a stream's node; 0 for no limit.";
    stream_node_max_entries: usize = "stream-node-max-entries", Values::size, "Entries of a stream's node; 0 for no limit.";
    save: Vec<SavePoint> = "save", save_points, "When snapshots are made; empty for never.";
    stop_writes_on_bgsave_error: bool = "stop-writes-on-bgsave-error", Values::flag, "Refuse writes while snapshots fail.";
    rdbcompression: bool = "rdbcompression", Values::flag, "Compress strings in snapshots.";
    rdbchecksum: bool = "rdbchecksum", Values::flag, "Snapshots carry a checksum.";
    dbfilename: String = "dbfilename", Values::text, "Name of the snapshot, without a folder.";
    dir: String = "dir", Values::text, "Folder of all files, absolute once loaded; empty for where the process is.";
    appendonly: bool = "appendonly", Values::flag, "Keep a log of all writes.";
    appendfilename: String = "appendfilename", Values::text, "First part of the names of the log's files.";
    appenddirname: String = "appenddirname", Values::text, "Folder of the log, inside `dir`.";
    appendfsync: AppendFsync = "appendfsync", |v: V<'_, '_>, n| AppendFsync::at(v.choice(n)), "When the log is made durable.";
    appendfsync_lag_max_ms: u64 = "appendfsync-lag-max", Values::count, "Milliseconds for which a write may be acknowledged and not be synced with everysec; 0 for no bound.";
    no_appendfsync_on_rewrite: bool = "no-appendfsync-on-rewrite", Values::flag, "Do not make the log durable during a rewrite.";
    auto_aof_rewrite_percentage: u64 = "auto-aof-rewrite-percentage", Values::count, "Growth in percent at which the log is rewritten; 0 for never.";
    auto_aof_rewrite_min_size: u64 = "auto-aof-rewrite-min-size", Values::count, "Bytes below which the log is not rewritten.";
    aof_load_truncated: bool = "aof-load-truncated", Values::flag, "Start although the log's end is missing.";
    aof_use_rdb_preamble: bool = "aof-use-rdb-preamble", Values::flag, "The log begins with a snapshot.";
    aof_timestamp_enabled: bool = "aof-timestamp-enabled", Values::flag, "Write times into the log.";
    aof_disable_auto_gc: bool = "aof-disable-auto-gc", Values::flag, "Keep superseded files of the log.";
    backup_repository: String = "backup-repository", Values::text, "Where the log is archived; empty for nowhere.";
    backup_recipients: Vec<String> = "backup-recipients", Values::words, "Public keys of age that can read it.";
    backup_unencrypted: bool = "backup-unencrypted", Values::flag, "Archive in clear where no recipients are named.";
    backup_interval_seconds: u64 = "backup-interval", Values::count, "Seconds between two looks at what is new, 1 to 86400.";
    backup_base_every_seconds: u64 = "backup-base-every", Values::count, "Seconds after which a new base is archived.";
    backup_keep_seconds: u64 = "backup-keep", Values::count, "Seconds for which every moment is kept; 0 for ever.";
    backup_keep_bases: usize = "backup-keep-bases", Values::size, "Bases that are kept at least.";
    backup_bandwidth: u64 = "backup-bandwidth", Values::count, "Bytes a second to the repository; 0 for no bound.";
    backup_backlog_bytes_max: u64 = "backup-backlog-max", Values::count, "Bytes of replaced files that are kept until they are archived.";
    backup_credentials: String = "backup-credentials", Values::text, "File of the repository's credentials; empty for those of the environment.";
    backup_endpoint: String = "backup-endpoint", Values::text, "URL of a service that speaks S3; empty for Amazon's.";
    tls_replication: bool = "tls-replication", Values::flag, "The link to the primary is encrypted.";
    replicaof: Option<(String, u16)> = "replicaof", primary, "Host and port of the primary to copy; none for none.";
    masterauth: Vec<u8> = "masterauth", Values::bytes, "Password for the primary; empty for none.";
    masterauth_file: String = "masterauth-file", Values::text, "File of that password; already read by the loader.";
    masteruser: Vec<u8> = "masteruser", Values::bytes, "User for the primary; empty for the default user.";
    replica_serve_stale_data: bool = "replica-serve-stale-data", Values::flag, "Answer while there is no link to the primary.";
    replica_read_only: bool = "replica-read-only", Values::flag, "A replica refuses clients' writes.";
    replica_priority: u64 = "replica-priority", Values::count, "Preference in a failover; 0 for never.";
    replica_announced: bool = "replica-announced", Values::flag, "Sentinel may list this replica.";
    bind_source_addr: String = "bind-source-addr", Values::text, "Address from which this server connects to others; empty for any.";
    replica_announce_ip: String = "replica-announce-ip", Values::text, "Address told to the primary; empty for that of the connection.";
    replica_announce_port: u16 = "replica-announce-port", Values::port, "Port told to the primary; 0 for the one that is listened on.";
    replica_ignore_maxmemory: bool = "replica-ignore-maxmemory", Values::flag, "A replica evicts nothing by itself.";
    repl_backlog_size: usize = "repl-backlog-size", Values::size, "Bytes kept for replicas that come back.";
    repl_backlog_ttl_seconds: u64 = "repl-backlog-ttl", Values::count, "Seconds the backlog outlives the last replica; 0 for ever.";
    repl_ping_replica_period_seconds: u64 = "repl-ping-replica-period", Values::count, "Seconds between pings to replicas.";
    repl_timeout_seconds: u64 = "repl-timeout", Values::count, "Seconds of silence that end a link.";
    min_replicas_to_write: usize = "min-replicas-to-write", Values::size, "Replicas without which writes are refused; 0 for none.";
    min_replicas_max_lag_seconds: u64 = "min-replicas-max-lag", Values::count, "Seconds of lag that still count; 0 for any.";
    min_replicas_acked: usize = "min-replicas-acked", Values::size, "Replicas that must acknowledge a write before its reply leaves; 0 for none.";
    min_replicas_acked_timeout_ms: u64 = "min-replicas-acked-timeout", Values::count, "Milliseconds that a reply waits for them.";
    slowlog_log_slower_than_us: i64 = "slowlog-log-slower-than", Values::int, "Microseconds from which a command is slow; negative for none.";
    slowlog_max_len: usize = "slowlog-max-len", Values::size, "Slow commands remembered.";
    commandlog_request_larger_than: i64 = "commandlog-request-larger-than", Values::int, "Bytes from which a request is large; negative for none.";
    commandlog_large_request_max_len: usize = "commandlog-large-request-max-len", Values::size, "Large requests remembered.";
    commandlog_reply_larger_than: i64 = "commandlog-reply-larger-than", Values::int, "Bytes from which a reply is large; negative for none.";
    commandlog_large_reply_max_len: usize = "commandlog-large-reply-max-len", Values::size, "Large replies remembered.";
    latency_monitor_threshold_ms: u64 = "latency-monitor-threshold", Values::count, "Milliseconds from which an event is remembered; 0 for none.";
    latency_tracking: bool = "latency-tracking", Values::flag, "Keep a histogram of each command.";
    latency_percentiles: Vec<f64> = "latency-tracking-info-percentiles", percentiles, "Percentiles that INFO shows, 0 to 100.";
    metrics_port: u16 = "metrics-port", Values::port, "Port of the Prometheus endpoint; 0 for none.";
    metrics_bind: Vec<String> = "metrics-bind", Values::words, "Its addresses.";
    metrics_keys: Vec<(usize, Vec<u8>)> = "metrics-keys", watched_keys, "Database and name of the keys whose size is told there.";
    queues_max: usize = "queues-max", Values::size, "Queues that are followed; 0 for none.";
    metrics_tls: bool = "metrics-tls", Values::flag, "Speak TLS there.";
    metrics_token_file: String = "metrics-token-file", Values::text, "File of the token a scraper must show; empty for none.";
    console: bool = "console", Values::flag, "A web page of the live state there.";
    health_socket: String = "health-socket", Values::text, "Unix socket of health checks; empty for none.";
    loading_process_events_interval_bytes: u64 = "loading-process-events-interval-bytes", Values::count, "Bytes loaded between two looks at clients.";
    key_load_delay: i64 = "key-load-delay", Values::int, "Microseconds to wait after each loaded key; negative: keys a microsecond.";
    rdb_key_save_delay: i64 = "rdb-key-save-delay", Values::int, "Microseconds to wait after each saved key; negative: keys a microsecond.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::{Disposition, TABLE};

    #[test]
    fn a_directive_acts_exactly_if_code_can_read_it() {
        for row in TABLE {
            let field = Settings::ROWS.iter().any(|(name, _)| *name == row.name);
            assert_eq!(row.does == Disposition::Acts, field, "{}", row.name);
        }
    }

    /// All code of `core` and `bins` but this file, tests left out.
    fn sources(folder: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let skipped = ["target", "tests", "settings.rs"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !skipped {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !skipped {
                let text = std::fs::read_to_string(&path).unwrap();
                into.push_str(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
            }
        }
    }

    /// A field that nobody reads is a directive that pretends to act.
    #[test]
    fn every_directive_that_acts_is_read_by_code() {
        let mut code = String::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        sources(&root.join("core"), &mut code);
        sources(&root.join("bins"), &mut code);
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let reads = |text: &str| {
            code.match_indices(text).any(|(at, found)| !is_word(code.as_bytes().get(at + found.len())))
        };
        let unread: Vec<_> = Settings::ROWS
            .iter()
            .filter(|(name, field)| !reads(&format!(".{field}")) && !reads(&format!("place(\"{name}\")")))
            .map(|(name, _)| *name)
            .collect();
        assert!(unread.is_empty(), "nobody reads {unread:?}");
    }
}
