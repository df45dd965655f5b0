//! The table of directives: everything a server can be told, one row each.
//!
//! The names and limits are those of Redis 7.4's redis.conf, and of what Redis 8 and Valkey 9.1 add to it, because files and tools
//! move here as they are.
//! A row also says what we do: most act; some are accepted because they promise nothing that we lack; some
//! are refused when switched on, because accepting them silently would promise what we do not do.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::choice::{
    AclPubsub, AppendFsync, DebugAccess, LogFormat, LogLevel, LogTimestamps, MaxmemoryPolicy, OomScoreAdj,
    TlsAuthClients, TlsAuthClientsUser, TlsMode,
};
use crate::value_type::ValueType::{
    self, Bool, Choice, Clamped, FileName, Int, Keys, Locale, Memory, MemoryFrom, MemoryOrPercent, Name,
    Notify, Octal, OomScores, OutputLimits, Percentiles, Primary, Save, Seconds, Shutdown, Text, Title,
    TlsVersions, Words,
};

/// When a directive may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At any time, with `CONFIG SET`.
    Live,
    /// Only at start.
    Boot,
}

/// What we do with a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It has its effect.
    Acts,
    /// It is remembered and reported and has no effect; nothing is lost by that.
    Accepted,
    /// Only its default is accepted; the text says why, and what to do instead.
    Refused(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Older or other names.
    pub aliases: &'static [&'static str],
    /// Its type and limits.
    pub kind: ValueType,
    /// Its default, as one would write it after the name.
    pub default: &'static str,
    /// When it may change.
    pub change: Change,
    /// Shown by `CONFIG GET` only when asked for by its exact name.
    pub hidden: bool,
    /// Changeable at run time only with `enable-protected-configs`.
    pub protected: bool,
    /// Its value never appears in a message or a rewritten file it did not come from.
    pub secret: bool,
    /// What it names may be another under the same name, so that `CONFIG SET` of the value it has is a change.
    pub reread: bool,
    /// What we do with it.
    pub does: Disposition,
    /// One line of documentation.
    pub doc: &'static str,
}

impl Directive {
    const fn boot(mut self) -> Directive {
        self.change = Change::Boot;
        self
    }

    const fn hidden(mut self) -> Directive {
        self.hidden = true;
        self
    }

    const fn protected(mut self) -> Directive {
        self.protected = true;
        self
    }

    const fn secret(mut self) -> Directive {
        self.secret = true;
        self
    }

    const fn reread(mut self) -> Directive {
        self.reread = true;
        self
    }

    const fn or(mut self, aliases: &'static [&'static str]) -> Directive {
        self.aliases = aliases;
        self
    }

    const fn accepted(mut self) -> Directive {
        self.does = Disposition::Accepted;
        self
    }

    const fn refused(mut self, why: &'static str) -> Directive {
        self.does = Disposition::Refused(why);
        self
    }
}

const fn row(name: &'static str, kind: ValueType, default: &'static str, doc: &'static str) -> Directive {
    Directive {
        name,
        aliases: &[],
        kind,
        default,
        change: Change::Live,
        hidden: false,
        protected: false,
        secret: false,
        reread: false,
        does: Disposition::Acts,
        doc,
    }
}

const I32: i64 = i32::MAX as i64;
const U32: i64 = u32::MAX as i64;
const I64: i64 = i64::MAX;
const MB: i64 = 1 << 20;
/// Seconds.
const YEAR: i64 = 365 * 86_400;

const NUMBER: ValueType = Int(0, I32);
const COUNT: ValueType = Int(0, I64);
const PORT: ValueType = Int(0, 65535);
const BYTES: ValueType = Memory(0, I64);

const CLUSTER: &str = "cluster mode is not supported; run one server a node without cluster-enabled";
const DEPRECATED_LUA: &str =
    "getfenv, setfenv and newproxy are not given to scripts, which could reach those of others by them";
const DEFRAG: &str = "active defragmentation is not supported; the allocator returns memory by itself";
const DUAL_CHANNEL: &str = "a copy and the stream behind it share one connection";
const HASH_SEED: &str = "the order of SCAN is not chosen by a seed of yours";
const IMPORT_MODE: &str =
    "there is no import mode; what has expired is removed while data are brought in, too";
const MPTCP: &str = "multipath TCP is not supported";
const RDB_VERSION: &str = "snapshots of versions that are not known are never read";
const RDMA: &str = "RDMA is not supported";
const ZONE: &str = "clients are not told of zones";
const MODULES: &str = "modules are not supported";
const SYSLOG: &str = "syslog is not supported; log to standard output, which systemd and containers collect";
const PINNING: &str = "processor lists are not supported; use taskset or systemd's CPUAffinity";
const TLS_OPENSSL: &str = "not supported by rustls; leave it empty: the offered suites are all safe";
const KEY_PASS: &str =
    "encrypted key files are not supported; store the key readable by the server's user only";

/// All directives, by subject.
#[rustfmt::skip]
pub static TABLE: &[Directive] = &[
    // Network
    row("bind", Words, "* -::*", "Addresses to listen on; a leading '-' makes a missing one no error."),
    row("bind-source-addr", Text, "", "Local address of connections to a primary, and to the target of a MIGRATE."),
    row("port", PORT, "6379", "TCP port; 0 for none."),
    row("protected-mode", Bool, "yes", "Without a password, refuse clients from other machines."),
    row("tcp-backlog", NUMBER, "511", "Connections that may wait to be accepted.").boot(),
    row("tcp-keepalive", NUMBER, "300", "Seconds between probes of a silent connection; 0 for none."),
    row("login-timeout", NUMBER, "60", "Seconds that a client has to log in where a password is needed; 0 for no limit."),
    row("timeout", NUMBER, "0", "Close a client after this many idle seconds; 0 for never."),
    row("unixsocket", Text, "", "Path of a Unix socket to listen on.").boot(),
    row("unixsocketgroup", Text, "", "Group that the Unix socket belongs to, by name.").boot(),
    row("unixsocketperm", Octal, "0", "Permissions of the Unix socket.").boot(),
    row("socket-mark-id", Int(0, U32), "0", "Mark of the listening sockets for packet filters; 0 for none.").boot(),
    row("mptcp", Bool, "no", "Multipath TCP on the listening sockets.").boot().refused(MPTCP),
    row("rdma-bind", Text, "", "Addresses to listen on with RDMA.").refused(RDMA),
    row("rdma-port", PORT, "0", "Port of RDMA; 0 for none.").refused(RDMA),
    row("rdma-rx-size", Memory(64 << 10, 16 * MB), "1048576", "Bytes received in one go with RDMA, which there is not.").boot().accepted(),
    row("rdma-completion-vector", Int(-1, 1024), "-1", "Completion vector of RDMA, which there is not.").boot().accepted(),
    row("max-new-connections-per-cycle", Int(1, 1000), "10", "Connections accepted in one turn of the loop."),
    row("max-new-tls-connections-per-cycle", Int(1, 1000), "1", "TLS connections accepted in one turn of the loop."),
    row("maxclients", Int(1, U32), "10000", "Connections at one time."),
    row("io-threads", Int(1, 128), "1", "Threads that read, parse and write for connections.").boot(),
    row("io-threads-do-reads", Bool, "no", "Threads always read; kept for old files.").boot().accepted(),
    row("prefetch-batch-max-size", Int(0, 128), "16", "Commands whose keys are fetched together; their number is not chosen.").accepted(),
    // TLS
    row("tls", Choice(TlsMode::NAMES), "off", "TLS on the main port: off, optional, required, or auto: optional on loopback, required elsewhere.").boot(),
    row("tls-port", PORT, "0", "A second TCP port that speaks only TLS; 0 for none."),
    row("tls-cert-file", Text, "", "The server's certificate chain, PEM.").reread(),
    row("tls-key-file", Text, "", "The certificate's key, PEM.").reread(),
    row("tls-key-file-pass", Text, "", "Password of the key file.").secret().refused(KEY_PASS),
    row("tls-client-cert-file", Text, "", "Certificate shown to a primary; else that of tls-cert-file is."),
    row("tls-client-key-file", Text, "", "Key of the certificate shown to a primary."),
    row("tls-client-key-file-pass", Text, "", "Password of that key file.").secret().refused(KEY_PASS),
    row("tls-ca-cert-file", Text, "", "Authorities whose certificates are believed, PEM.").reread(),
    row("tls-ca-cert-dir", Text, "", "Folder of such authorities.").reread(),
    row("tls-auth-clients-user", Choice(TlsAuthClientsUser::NAMES), "off", "The user that a client certificate logs in: by its common name (CN) or a URI."),
    row("tls-auth-clients", Choice(TlsAuthClients::NAMES), "yes", "Whether clients must show a certificate."),
    row("tls-replication", Bool, "no", "Speak TLS to the primary, whose certificate must come from an authority of tls-ca-cert-file."),
    row("tls-cluster", Bool, "no", "TLS on the cluster bus, where there is one.").accepted(),
    row("tls-names", Words, "", "Names and addresses that a certificate made here is for, beyond those that are listened on."),
    row("tls-protocols", TlsVersions, "", "Protocol versions offered, as \"TLSv1.2 TLSv1.3\"."),
    row("tls-ciphers", Text, "", "Cipher suites up to TLS 1.2, in OpenSSL's language.").refused(TLS_OPENSSL),
    row("tls-ciphersuites", Text, "", "Cipher suites of TLS 1.3, in OpenSSL's language.").refused(TLS_OPENSSL),
    row("tls-prefer-server-ciphers", Bool, "no", "Choose suites in the server's order."),
    row("tls-dh-params-file", Text, "", "Diffie-Hellman parameters; only elliptic curves are offered.").accepted(),
    row("tls-session-caching", Bool, "yes", "Let clients resume sessions."),
    row("tls-session-cache-size", NUMBER, "20480", "Sessions are remembered by the clients, in tickets.").accepted(),
    row("tls-session-cache-timeout", NUMBER, "300", "Seconds a session is remembered."),
    row("tls-auto-reload-interval", NUMBER, "0", "Seconds between two looks at the certificates; they are always watched.").accepted(),
    // Identity, process, log
    row("daemonize", Bool, "no", "On the command line: give the terminal back once the server serves. In a file, of which stock ones have it, without effect: systemd and containers want the server in the foreground.").boot(),
    row("supervised", Choice(&["upstart", "systemd", "auto", "no"]), "no", "Readiness is told whenever systemd asks for it.").boot().accepted(),
    row("pidfile", Text, "", "File that holds the process number while the server runs.").boot(),
    row("loglevel", Choice(LogLevel::NAMES), "notice", "The least important lines that are logged."),
    row("log-format", Choice(LogFormat::NAMES), "legacy", "The form of the log's lines: legacy, logfmt or json."),
    row("log-timestamp-format", Choice(LogTimestamps::NAMES), "legacy", "The form of the times in the log: legacy, iso8601 or milliseconds."),
    row("logfile", Text, "", "File of the log; empty for standard output.").boot(),
    row("syslog-enabled", Bool, "no", "Log to syslog.").boot().refused(SYSLOG),
    row("syslog-ident", Text, "redis", "Name in syslog.").boot().accepted(),
    row("syslog-facility", Choice(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", "Facility in syslog.").boot().accepted(),
    row("crash-log-enabled", Bool, "yes", "A panic is always told on standard error.").accepted(),
    row("crash-memcheck-enabled", Bool, "yes", "Memory is never tested.").accepted(),
    row("hide-user-data-from-log", Bool, "no", "Data of users is never logged.").accepted(),
    row("always-show-logo", Bool, "no", "Show the start-up banner in files too.").boot(),
    row("set-proc-title", Bool, "yes", "The process list shows the command line.").boot().accepted(),
    row("proc-title-template", Title, "{title} {listen-addr} {server-mode}", "The process list shows the command line.").accepted(),
    row("locale-collate", Locale, "", "Collation of SORT ALPHA; only the order of bytes is known.").accepted(),
    row("databases", Int(1, base::limits::DATABASES_MAX as i64), "16", "How many databases there are.").boot(),
    row("availability-zone", Text, "", "The zone that clients are told.").refused(ZONE),
    row("extended-redis-compatibility", Bool, "no", "Present the server as Redis, which it always does.").accepted(),
    row("hash-seed", Text, "", "What the order of SCAN is derived from.").boot().refused(HASH_SEED),
    row("import-mode", Bool, "no", "Keep what has expired while data are brought in.").refused(IMPORT_MODE),
    row("vset-force-single-threaded-execution", Bool, "no", "How vector sets are searched, which there are not.").accepted(),
    row("hz", Clamped(1, 500), "10", "Rounds of background work in a second."),
    row("dynamic-hz", Bool, "yes", "More rounds with more clients.").accepted(),
    row("shutdown-timeout", NUMBER, "10", "Seconds that a stop waits for replicas that lack something; 0 for none."),
    row("shutdown-on-sigint", Shutdown, "default", "What SIGINT does."),
    row("shutdown-on-sigterm", Shutdown, "default", "What SIGTERM does."),
    row("ignore-warnings", Text, "", "Start-up warnings to ignore.").accepted(),
    row("oom-score-adj", Choice(OomScoreAdj::NAMES), "no", "Adjust the kernel's choice of a victim."),
    row("oom-score-adj-values", OomScores, "0 200 800", "Scores of primary, replica, background."),
    row("disable-thp", Bool, "yes", "Keep the kernel from giving huge pages.").boot(),
    row("server-cpulist", Text, "", "Processors of the I/O threads.").or(&["server_cpulist"]).boot().refused(PINNING),
    row("bio-cpulist", Text, "", "Processors of background threads.").or(&["bio_cpulist"]).boot().refused(PINNING),
    row("aof-rewrite-cpulist", Text, "", "Processors of log rewrites.").or(&["aof_rewrite_cpulist"]).boot().refused(PINNING),
    row("bgsave-cpulist", Text, "", "Processors of snapshots.").or(&["bgsave_cpulist"]).boot().refused(PINNING),
    row("jemalloc-bg-thread", Bool, "yes", "The allocator returns memory in the background."),
    row("enable-protected-configs", Choice(DebugAccess::NAMES), "no", "Who may change protected directives.").boot(),
    row("enable-debug-command", Choice(DebugAccess::NAMES), "no", "Who may use DEBUG.").boot(),
    row("enable-module-command", Choice(DebugAccess::NAMES), "no", "Who may use MODULE; there are none.").boot().accepted(),
    // Security
    row("requirepass", Text, "", "Password of the default user.").secret(),
    row("requirepass-file", Text, "", "File that holds the password of the default user.").boot(),
    row("aclfile", Text, "", "File of users.").boot(),
    row("acllog-max-len", COUNT, "128", "Entries that ACL LOG keeps."),
    row("acl-pubsub-default", Choice(AclPubsub::NAMES), "resetchannels", "Channels of new users."),
    // Memory
    row("maxmemory", BYTES, "0", "Bytes of memory to use; 0 for no limit."),
    row("maxmemory-policy", Choice(MaxmemoryPolicy::NAMES), "noeviction", "What leaves when memory is full."),
    row("maxmemory-samples", Int(1, 64), "5", "Keys looked at for each that leaves."),
    row("maxmemory-eviction-tenacity", Int(0, 100), "10", "How much time eviction may take in one go."),
    row("maxmemory-clients", MemoryOrPercent, "0", "Memory of all clients' buffers; 0 for no limit."),
    row("queue-reserve", MemoryOrPercent, "0", "Part of maxmemory kept for consumers when a queue is full."),
    row("replica-ignore-maxmemory", Bool, "yes", "A replica leaves eviction to its primary.").or(&["slave-ignore-maxmemory"]),
    row("active-expire-effort", Int(1, 10), "1", "How much time goes into removing expired keys."),
    row("lazyfree-lazy-eviction", Bool, "no", "Large values are always freed in the background.").accepted(),
    row("lazyfree-lazy-expire", Bool, "no", "Large values are always freed in the background.").accepted(),
    row("lazyfree-lazy-server-del", Bool, "no", "Large values are always freed in the background.").accepted(),
    row("lazyfree-lazy-user-del", Bool, "no", "DEL and UNLINK do the same.").accepted(),
    row("lazyfree-lazy-user-flush", Bool, "no", "FLUSHALL and FLUSHDB always free in the background.").accepted(),
    row("lfu-log-factor", NUMBER, "10", "How slowly the use counter grows."),
    row("lfu-decay-time", NUMBER, "1", "Minutes after which the use counter shrinks."),
    row("activerehashing", Bool, "yes", "Tables are resized in the background.").accepted(),
    row("activedefrag", Bool, "no", "Move values together while running.").refused(DEFRAG),
    row("active-defrag-ignore-bytes", Memory(1, I64), "104857600", "Waste below which nothing is moved.").accepted(),
    row("active-defrag-threshold-lower", Int(0, 1000), "10", "Waste in percent from which values are moved.").accepted(),
    row("active-defrag-threshold-upper", Int(0, 1000), "100", "Waste in percent at full effort.").accepted(),
    row("active-defrag-cycle-min", Int(1, 99), "1", "Least effort in percent of a processor.").accepted(),
    row("active-defrag-cycle-max", Int(1, 99), "25", "Most effort in percent of a processor.").accepted(),
    row("active-defrag-cycle-us", Int(0, 100_000), "500", "Microseconds of one go.").accepted(),
    row("active-defrag-max-scan-fields", Int(1, I64), "1000", "Elements of a collection moved in one go.").accepted(),
    // Clients
    row("client-output-buffer-limit", OutputLimits, "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", "Unread output at which clients are closed."),
    row("client-query-buffer-limit", Memory(MB, I64), "1073741824", "Bytes of one client's unfinished request."),
    row("proto-max-bulk-len", Memory(MB, I64), "536870912", "Bytes of one argument or string value."),
    row("tracking-table-max-keys", COUNT, "1000000", "Keys remembered for client-side caching."),
    row("busy-reply-threshold", COUNT, "5000", "Milliseconds after which others are told BUSY.").or(&["lua-time-limit"]),
    row("lua-enable-deprecated-api", Bool, "no", "Give scripts getfenv, setfenv and newproxy.").boot().refused(DEPRECATED_LUA),
    row("notify-keyspace-events", Notify, "", "Classes of keyspace events that are published."),
    // Encodings
    row("hash-max-listpack-entries", COUNT, "512", "Fields up to which a hash is packed.").or(&["hash-max-ziplist-entries"]),
    row("hash-max-listpack-value", BYTES, "64", "Bytes of a field or value up to which a hash is packed.").or(&["hash-max-ziplist-value"]),
    row("list-max-listpack-size", Int(-(1 << 31), I32), "-2", "Size of a list's packed nodes: entries, or -1 to -5 for 4 to 64 kB.").or(&["list-max-ziplist-size"]),
    row("list-compress-depth", NUMBER, "0", "Nodes at the ends that are not compressed; 0 for no compression.").accepted(),
    row("set-max-intset-entries", COUNT, "512", "Members up to which a set of integers is packed."),
    row("set-max-listpack-entries", COUNT, "128", "Members up to which a set is packed."),
    row("set-max-listpack-value", COUNT, "64", "Bytes of a member up to which a set is packed."),
    row("zset-max-listpack-entries", COUNT, "128", "Members up to which a sorted set is packed.").or(&["zset-max-ziplist-entries"]),
    row("zset-max-listpack-value", BYTES, "64", "Bytes of a member up to which a sorted set is packed.").or(&["zset-max-ziplist-value"]),
    row("hll-sparse-max-bytes", BYTES, "3000", "Bytes up to which a HyperLogLog stays sparse."),
    row("stream-node-max-bytes", BYTES, "4096", "Bytes of a stream's node; 0 for no limit."),
    row("stream-node-max-entries", COUNT, "100", "Entries of a stream's node; 0 for no limit."),
    row("sanitize-dump-payload", Choice(&["no", "yes", "clients"]), "no", "Payloads are always checked deeply.").accepted(),
    // Snapshots
    row("save", Save, "3600 1 300 100 60 10000", "Seconds and changes after which a snapshot is made."),
    row("stop-writes-on-bgsave-error", Bool, "yes", "Refuse writes while snapshots fail."),
    row("rdbcompression", Bool, "yes", "Compress strings in snapshots."),
    row("rdbchecksum", Bool, "yes", "Snapshots carry a checksum.").boot(),
    row("rdb-version-check", Choice(&["strict", "relaxed"]), "strict", "Snapshots of versions that are not known are refused.").refused(RDB_VERSION),
    row("dbfilename", FileName, "dump.rdb", "Name of the snapshot.").protected(),
    row("rdb-del-sync-files", Bool, "no", "Remove snapshots that only replication needed.").accepted(),
    row("rdb-save-incremental-fsync", Bool, "yes", "Snapshots are always made durable piece by piece.").accepted(),
    row("dir", Text, "", "Folder of all files, and of every relative path; where the process starts unless said.").protected(),
    // Log of writes
    row("appendonly", Bool, "no", "Keep a log of all writes."),
    row("appendfilename", FileName, "appendonly.aof", "First part of the names of the log's files.").boot(),
    row("appenddirname", FileName, "appendonlydir", "Folder of the log, inside dir.").boot(),
    row("appendfsync", Choice(AppendFsync::NAMES), "everysec", "When the log is made durable."),
    row("appendfsync-lag-max", NUMBER, "2000", "Milliseconds for which a write may be acknowledged and not be synced with everysec: then writers wait; 0 for no bound."),
    row("no-appendfsync-on-rewrite", Bool, "no", "Do not make the log durable during a rewrite."),
    row("auto-aof-rewrite-percentage", NUMBER, "100", "Growth in percent at which the log is rewritten; 0 for never."),
    row("auto-aof-rewrite-min-size", BYTES, "67108864", "Bytes below which the log is not rewritten."),
    row("aof-load-truncated", Bool, "yes", "Start although the log's end is missing."),
    row("aof-use-rdb-preamble", Bool, "yes", "The log begins with a snapshot."),
    row("aof-timestamp-enabled", Bool, "no", "Write times into the log."),
    row("aof-rewrite-incremental-fsync", Bool, "yes", "A rewritten log is always made durable piece by piece.").accepted(),
    row("aof-disable-auto-gc", Bool, "no", "Keep superseded files of the log.").hidden(),
    // Continuous archiving of that log
    row("backup-repository", Text, "", "Where the log is archived as it is written: a directory, or s3://, gs://, az://; empty for nowhere."),
    row("backup-recipients", Words, "", "Who can read the archive: public keys of age, age1..."),
    row("backup-unencrypted", Bool, "no", "Archive in clear where no recipients are named."),
    row("backup-interval", Seconds(1, 86_400), "10", "Seconds between two looks at what is new in the log."),
    row("backup-base-every", Seconds(60, 10 * YEAR), "86400", "Seconds after which the log is rewritten and archived as a new base; earlier if what follows the last one is longer."),
    row("backup-keep", Seconds(0, 100 * YEAR), "2592000", "Seconds for which every moment can be restored; what is older is removed. 0 for ever."),
    row("backup-keep-bases", Int(1, 1000), "2", "Bases that are kept at least, with what follows them."),
    row("backup-bandwidth", BYTES, "0", "Bytes a second that are sent to the repository at most; 0 for no bound."),
    row("backup-backlog-max", BYTES, "1073741824", "Bytes of the log that are kept when a rewrite has replaced them before they were archived; then they are given up."),
    row("backup-credentials", Text, "", "File of the credentials for the repository; empty for those of the environment."),
    row("backup-endpoint", Text, "", "URL of a service that speaks S3, where it is not Amazon's."),
    // Replication
    row("replicaof", Primary, "", "The primary to copy, as host and port.").or(&["slaveof"]).boot(),
    row("masterauth", Text, "", "Password for the primary.").or(&["primaryauth"]).secret(),
    row("masterauth-file", Text, "", "File that holds the password for the primary.").or(&["primaryauth-file"]).boot(),
    row("masteruser", Text, "", "User for the primary.").or(&["primaryuser"]).secret(),
    row("replica-serve-stale-data", Bool, "yes", "Answer while the primary is away.").or(&["slave-serve-stale-data"]),
    row("replica-read-only", Bool, "yes", "A replica refuses writes.").or(&["slave-read-only"]),
    row("replica-priority", NUMBER, "100", "Preference in a failover; 0 for never.").or(&["slave-priority"]),
    row("replica-announced", Bool, "yes", "Sentinel may list this replica."),
    row("replica-announce-ip", Text, "", "Address told to the primary.").or(&["slave-announce-ip"]),
    row("replica-announce-port", PORT, "0", "Port told to the primary.").or(&["slave-announce-port"]),
    row("replica-lazy-flush", Bool, "no", "Free the old data in the background before a full copy.").or(&["slave-lazy-flush"]).accepted(),
    row("replica-ignore-disk-write-errors", Bool, "no", "A replica goes on when it cannot log.").accepted(),
    row("replica-full-sync-buffer-limit", BYTES, "0", "Bytes a replica buffers during a full copy.").hidden().accepted(),
    row("repl-ping-replica-period", Int(1, I32), "10", "Seconds between pings to replicas.").or(&["repl-ping-slave-period"]),
    row("repl-timeout", Int(1, I32), "60", "Seconds of silence that end a link."),
    row("repl-disable-tcp-nodelay", Bool, "no", "Collect small packets to replicas.").accepted(),
    row("repl-mptcp", Bool, "no", "Multipath TCP to the primary.").boot().refused(MPTCP),
    row("dual-channel-replication-enabled", Bool, "no", "A connection of its own for a full copy.").refused(DUAL_CHANNEL),
    row("repl-backlog-size", MemoryFrom(16 << 10), "1048576", "Bytes kept for replicas that come back."),
    row("repl-backlog-ttl", COUNT, "3600", "Seconds the backlog outlives the last replica; 0 for ever."),
    row("repl-diskless-sync", Bool, "yes", "Send full copies without a file.").accepted(),
    row("repl-diskless-sync-delay", NUMBER, "5", "Seconds to wait for more replicas.").accepted(),
    row("repl-diskless-sync-max-replicas", NUMBER, "0", "Replicas that end that wait; 0 for none.").accepted(),
    row("repl-diskless-load", Choice(&["disabled", "on-empty-db", "swapdb"]), "disabled", "How a full copy is received.").accepted(),
    row("min-replicas-to-write", NUMBER, "0", "Replicas without which writes are refused.").or(&["min-slaves-to-write"]),
    row("min-replicas-max-lag", NUMBER, "10", "Seconds of lag that still count.").or(&["min-slaves-max-lag"]),
    row("min-replicas-acked", NUMBER, "0", "Replicas that must acknowledge a write before its reply leaves; 0 for none."),
    row("min-replicas-acked-timeout", Int(1, I32), "5000", "Milliseconds that a reply waits for them before its client is told that they have not."),
    row("propagation-error-behavior", Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore", "What happens when a propagated command fails.").accepted(),
    // Cluster
    row("cluster-enabled", Bool, "no", "Be a node of a cluster.").boot().refused(CLUSTER),
    row("cluster-config-file", Text, "nodes.conf", "File of the cluster's state.").boot().accepted(),
    row("cluster-port", PORT, "0", "Port of the cluster bus.").boot().accepted(),
    row("cluster-node-timeout", COUNT, "15000", "Milliseconds of silence of a failing node.").accepted(),
    row("cluster-migration-barrier", NUMBER, "1", "Replicas a primary keeps.").accepted(),
    row("cluster-allow-replica-migration", Bool, "yes", "Replicas may move.").accepted(),
    row("cluster-require-full-coverage", Bool, "yes", "Stop when slots are missing.").accepted(),
    row("cluster-replica-validity-factor", NUMBER, "10", "Age of a replica that may take over.").or(&["cluster-slave-validity-factor"]).accepted(),
    row("cluster-replica-no-failover", Bool, "no", "Never take over.").or(&["cluster-slave-no-failover"]).accepted(),
    row("cluster-allow-reads-when-down", Bool, "no", "Read while the cluster is down.").accepted(),
    row("cluster-allow-pubsubshard-when-down", Bool, "yes", "Publish while the cluster is down.").accepted(),
    row("cluster-link-sendbuf-limit", BYTES, "0", "Bytes a bus link may have unsent.").accepted(),
    row("cluster-announce-ip", Text, "", "Address told to the cluster.").accepted(),
    row("cluster-announce-hostname", Name("Hostnames may only contain alphanumeric characters, hyphens or dots"), "", "Host name told to clients.").accepted(),
    row("cluster-announce-human-nodename", Name("Announced human node name contained invalid character"), "", "Name in the log.").accepted(),
    row("cluster-announce-port", PORT, "0", "Port told to the cluster.").accepted(),
    row("cluster-announce-bus-port", PORT, "0", "Bus port told to the cluster.").accepted(),
    row("cluster-announce-tls-port", PORT, "0", "TLS port told to the cluster.").accepted(),
    row("cluster-preferred-endpoint-type", Choice(&["ip", "hostname", "unknown-endpoint"]), "ip", "What redirections name.").accepted(),
    row("cluster-announce-client-ipv4", Text, "", "IPv4 address told to clients of the cluster.").accepted(),
    row("cluster-announce-client-ipv6", Text, "", "IPv6 address told to clients of the cluster.").accepted(),
    row("cluster-announce-client-port", PORT, "0", "Port told to clients of the cluster.").accepted(),
    row("cluster-announce-client-tls-port", PORT, "0", "TLS port told to clients of the cluster.").accepted(),
    row("cluster-blacklist-ttl", COUNT, "60", "Seconds for which a forgotten node is not taken in again.").accepted(),
    row("cluster-compatibility-sample-ratio", Int(0, 100), "0", "Commands in percent that are looked at for what a cluster would refuse.").refused(CLUSTER),
    row("cluster-config-save-behavior", Choice(&["sync", "best-effort"]), "sync", "What happens when the cluster's state cannot be saved.").accepted(),
    row("cluster-databases", Int(1, I32), "1", "Databases of a cluster.").boot().accepted(),
    row("cluster-manual-failover-timeout", Int(1, I32), "5000", "Milliseconds that a failover by hand may take.").accepted(),
    row("cluster-slot-migration-log-max-len", COUNT, "1000", "Moves of slots that are remembered.").accepted(),
    row("cluster-slot-stats-enabled", Bool, "no", "Count what each slot uses.").refused(CLUSTER),
    row("slot-migration-max-failover-repl-bytes", Int(-1, I64), "0", "Bytes that may be missing when a slot is handed over.").accepted(),
    // Watching
    row("slowlog-log-slower-than", Int(-1, I64), "10000", "Microseconds from which a command is slow; -1 for none.").or(&["commandlog-execution-slower-than"]),
    row("slowlog-max-len", COUNT, "128", "Slow commands remembered.").or(&["commandlog-slow-execution-max-len"]),
    row("commandlog-request-larger-than", Int(-1, I64), "1048576", "Bytes from which a request is large; -1 for none."),
    row("commandlog-large-request-max-len", COUNT, "128", "Large requests remembered."),
    row("commandlog-reply-larger-than", Int(-1, I64), "1048576", "Bytes from which a reply is large; -1 for none."),
    row("commandlog-large-reply-max-len", COUNT, "128", "Large replies remembered."),
    row("latency-monitor-threshold", COUNT, "0", "Milliseconds from which an event is remembered; 0 for none."),
    row("latency-tracking", Bool, "yes", "Keep a histogram of each command."),
    row("latency-tracking-info-percentiles", Percentiles, "50 99 99.9", "Percentiles that INFO shows."),
    row("metrics-port", PORT, "0", "Port of the Prometheus endpoint; 0 for none.").boot(),
    row("metrics-bind", Words, "127.0.0.1", "Addresses of the Prometheus endpoint.").boot(),
    row("metrics-keys", Keys, "", "Keys whose size the Prometheus endpoint tells, each as NAME or dbN=NAME."),
    row("queues-max", Int(0, 10_000), "1000", "Queues whose depths, rates and ages are followed; 0 for none."),
    row("metrics-tls", Bool, "no", "Speak TLS on the Prometheus endpoint.").boot(),
    row("metrics-token-file", Text, "", "File of the token that a scraper must show.").boot(),
    row("console", Bool, "no", "Show users of the server its live state, as a web page on the Prometheus endpoint.").boot(),
    row("health-socket", Text, "", "Unix socket that answers health checks.").boot(),
    // For tests of servers
    row("watchdog-period", NUMBER, "0", "A stack trace when the loop is late.").hidden().accepted(),
    row("key-load-delay", Int(-(1 << 31), I32), "0", "Microseconds to wait after each loaded key; negative: keys a microsecond.").hidden(),
    row("rdb-key-save-delay", Int(-(1 << 31), I32), "0", "Microseconds to wait after each saved key; negative: keys a microsecond.").hidden(),
    row("loading-process-events-interval-bytes", Int(1024, I32), "2097152", "Bytes loaded between two looks at clients.").boot().hidden(),
    row("use-exit-on-panic", Bool, "no", "Exit instead of abort.").boot().hidden().accepted(),
    row("enable-debug-assert", Bool, "no", "Costly assertions.").boot().hidden().accepted(),
];

/// Directives that are lines of a file but not values: they cannot be asked for or set.
pub(crate) const LINES: &[(&str, &str)] = &[
    ("include", "Another file or pattern of files to read here."),
    ("rename-command", "A command's new name; an empty one removes it."),
    ("user", "An ACL user and its rules."),
    ("loadmodule", MODULES),
];

static BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let names = |(at, row): (usize, &'static Directive)| {
        std::iter::once(row.name).chain(row.aliases.iter().copied()).map(move |name| (name, at))
    };
    TABLE.iter().enumerate().flat_map(names).collect()
});

/// The place in [`TABLE`] of a name or alias, without regard to case.
pub(crate) fn index_of(name: &[u8]) -> Option<usize> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    BY_NAME.get(name.as_str()).copied()
}

/// What is wrong with a line that begins with a name which is none of ours, or has no fitting number of words: Redis' sentence,
/// and a second one with the name that was meant, where one is near.
pub(crate) fn unknown(name: &[u8]) -> String {
    let mut why = "Bad directive or wrong number of arguments".to_owned();
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if !LINES.iter().any(|(known, _)| *known == name)
        && let Some(meant) = nearest(&name)
    {
        why += &format!("\nThere is no directive '{name}'; did you mean '{meant}'?");
    }
    why
}

/// The name that is written most like this one; `None` when none is near enough to be meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let bare = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "").into_bytes();
    let wanted = bare(name);
    let names = TABLE.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    let best = names.map(|known| (steps_between(&wanted, &bare(known)), *known)).min()?;
    (best.0 <= wanted.len() / LETTERS_A_MISTAKE).then_some(best.1)
}

/// Longest name that is compared with the known ones, in bytes: all of them are shorter.
const NAME_BYTES_MAX: usize = 64;

/// A name may have one mistake in so many letters to be taken for another.
const LETTERS_A_MISTAKE: usize = 4;

/// How many letters must be added, left out, exchanged for another or with their neighbour to make one word of the other.
fn steps_between(from: &[u8], to: &[u8]) -> usize {
    let mut before = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let mut steps = (last[j + 1] + 1).min(row[j] + 1).min(last[j] + usize::from(letter != other));
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                steps = steps.min(before[j - 1] + 1);
            }
            row.push(steps);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

/// The row of a name or alias, without regard to case.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    index_of(name).map(|at| &TABLE[at])
}

/// Whether the value of this directive may be seen by nobody: in logs its place is taken.
pub fn is_secret(name: &[u8]) -> bool {
    find(name).is_some_and(|row| row.secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_lower_case_and_documented() {
        let mut seen = HashSet::new();
        for row in TABLE {
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(*name, name.to_ascii_lowercase());
                assert_eq!(find(name.to_ascii_uppercase().as_bytes()).map(|r| r.name), Some(row.name));
            }
            assert!(row.doc.ends_with('.') && row.doc.len() > 10, "{}", row.name);
            if let Disposition::Refused(why) = row.does {
                assert!(why.len() > 15, "{}", row.name);
            }
        }
        for (name, _) in LINES {
            assert!(seen.insert(name), "{name} twice");
        }
    }

    #[test]
    fn a_mistyped_name_is_told_with_the_one_that_was_meant() {
        for (typed, meant) in [
            ("maxmemmory", "maxmemory"),
            ("max-memory", "maxmemory"),
            ("MAXMEMORY_POLICY", "maxmemory-policy"),
            ("apendonly", "appendonly"),
            ("appendonyl", "appendonly"),
            ("require-pass", "requirepass"),
            ("tls_cert_file", "tls-cert-file"),
            ("save-", "save"),
        ] {
            let why = unknown(typed.as_bytes());
            assert!(why.starts_with("Bad directive or wrong number of arguments\n"), "{why}");
            assert!(why.ends_with(&format!("; did you mean '{meant}'?")), "{typed}: {why}");
        }
        for strange in ["nosuch", "x", "", "include", "loadmodule", "frobnicate", &"maxmemory".repeat(9)] {
            assert_eq!(
                unknown(strange.as_bytes()),
                "Bad directive or wrong number of arguments",
                "{strange}"
            );
        }
    }

    #[test]
    fn defaults_are_valid_and_print_as_written() {
        for row in TABLE {
            let words = row.kind.words_of(row.default.as_bytes());
            let value =
                row.kind.parse(row.name, &words, None).unwrap_or_else(|why| panic!("{}: {why}", row.name));
            assert_eq!(String::from_utf8_lossy(&row.kind.show(&value)), row.default, "{}", row.name);
        }
    }
}
