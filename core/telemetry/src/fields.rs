//! The fields of INFO in their order, each with its metric.
//!
//! A field that nobody fills shows its default, or nothing when it has none. Metric names and types are
//! redis_exporter's, whose dashboards and alerts are the contract.

/// A heading of INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Process and version.
    Server,
    /// Connections.
    Clients,
    /// Memory.
    Memory,
    /// Snapshots and log.
    Persistence,
    /// The archive of the log.
    Backup,
    /// Counters.
    Stats,
    /// Primary and replicas.
    Replication,
    /// Processor time.
    Cpu,
    /// Cluster.
    Cluster,
    /// Certificates.
    Tls,
    /// Exported as a metric, not in INFO.
    Metric,
}

/// The type of a metric and how the field's number becomes its value. Each has its name and its HELP text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// None.
    None,
    /// A value that goes up and down; `ok` is 1, other words 0.
    Gauge(&'static str, &'static str),
    /// A gauge with a label that is always there and its value.
    Labelled(&'static str, &'static str, (&'static str, &'static str)),
    /// A gauge, the field times this factor.
    Scaled(&'static str, &'static str, f64),
    /// A number that only grows.
    Counter(&'static str, &'static str),
    /// A growing number with a fraction.
    Seconds(&'static str, &'static str),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its heading.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// What it shows when nobody fills it.
    pub default: Option<&'static str>,
    /// How Prometheus sees it.
    pub metric: Metric,
}

use Metric::{Counter, Gauge, Labelled, None as No, Scaled, Seconds};
use Section::{Backup, Clients, Cluster, Cpu, Memory, Persistence, Replication, Server, Stats, Tls};

const fn f(section: Section, name: &'static str, default: &'static str, metric: Metric) -> Field {
    Field { section, name, default: Some(default), metric }
}

/// Shown only when filled.
const fn o(section: Section, name: &'static str, metric: Metric) -> Field {
    Field { section, name, default: None, metric }
}

/// All fields.
#[rustfmt::skip]
pub static TABLE: &[Field] = &[
    o(Server, "redis_version", No),
    o(Server, "server_name", No),
    o(Server, "tandem_version", No),
    o(Server, "profile", No),
    f(Server, "redis_git_sha1", "00000000", No),
    f(Server, "redis_git_dirty", "0", No),
    f(Server, "redis_build_id", "0", No),
    f(Server, "redis_mode", "standalone", No),
    o(Server, "os", No),
    f(Server, "arch_bits", "64", No),
    f(Server, "monotonic_clock", "POSIX clock_gettime", No),
    f(Server, "multiplexing_api", "epoll", No),
    f(Server, "atomicvar_api", "c11-builtin", No),
    f(Server, "gcc_version", "0.0.0", No),
    o(Server, "process_id", Gauge("redis_process_id", "Process number of the server.")),
    f(Server, "process_supervised", "no", No),
    o(Server, "run_id", No),
    o(Server, "tcp_port", No),
    o(Server, "server_time_usec", No),
    f(Server, "uptime_in_seconds", "0", Gauge("redis_uptime_in_seconds", "Seconds since the server started.")),
    f(Server, "uptime_in_days", "0", No),
    o(Server, "hz", No),
    o(Server, "configured_hz", No),
    o(Server, "lru_clock", No),
    o(Server, "executable", No),
    o(Server, "config_file", No),
    f(Server, "io_threads_active", "0", Gauge("redis_io_threads_active", "Whether several threads serve clients.")),
    o(Server, "listener0", No),
    o(Server, "listener1", No),
    o(Server, "listener2", No),
    o(Server, "shutdown_in_milliseconds", No),
    f(Clients, "connected_clients", "0", Gauge("redis_connected_clients", "Connections of clients.")),
    f(Clients, "cluster_connections", "0", Gauge("redis_cluster_connections", "Connections of the cluster bus: 0, there is none.")),
    f(Clients, "maxclients", "0", Gauge("redis_max_clients", "Most connections at one time (maxclients).")),
    f(Clients, "client_recent_max_input_buffer", "0", Gauge("redis_client_recent_max_input_buffer_bytes", "Largest unread input of a client, bytes.")),
    f(Clients, "client_recent_max_output_buffer", "0", Gauge("redis_client_recent_max_output_buffer_bytes", "Largest unsent output of a client, bytes.")),
    f(Clients, "blocked_clients", "0", Gauge("redis_blocked_clients", "Clients that wait in a blocking command.")),
    f(Clients, "tracking_clients", "0", Gauge("redis_tracking_clients", "Clients that keep copies and want to be told of changes.")),
    f(Clients, "pubsub_clients", "0", Gauge("redis_pubsub_clients", "Clients that have subscribed to a channel or pattern.")),
    f(Clients, "watching_clients", "0", Gauge("redis_watching_clients", "Clients that watch keys for a transaction.")),
    f(Clients, "clients_in_timeout_table", "0", Gauge("redis_clients_in_timeout_table", "Blocked clients with a time limit.")),
    f(Clients, "total_watched_keys", "0", No),
    f(Clients, "total_blocking_keys", "0", Gauge("redis_total_blocking_keys", "Keys that clients wait for.")),
    f(Clients, "total_blocking_keys_on_nokey", "0", No),
    f(Clients, "paused_reason", "none", No),
    f(Clients, "paused_actions", "none", No),
    f(Clients, "paused_timeout_milliseconds", "0", No),
    f(Memory, "used_memory", "0", Gauge("redis_memory_used_bytes", "Memory in use as the allocator counts it, client buffers included, bytes.")),
    o(Memory, "used_memory_human", No),
    f(Memory, "used_memory_rss", "0", Gauge("redis_memory_used_rss_bytes", "Memory of the process that is in RAM, bytes.")),
    o(Memory, "used_memory_rss_human", No),
    f(Memory, "used_memory_peak", "0", Gauge("redis_memory_used_peak_bytes", "Most memory in use since the start, bytes.")),
    o(Memory, "used_memory_peak_human", No),
    o(Memory, "used_memory_peak_perc", No),
    f(Memory, "used_memory_overhead", "0", Gauge("redis_memory_used_overhead_bytes", "Memory for tables, clients and the server itself, bytes.")),
    f(Memory, "used_memory_startup", "0", Gauge("redis_memory_used_startup_bytes", "Memory in use when the server had started, bytes.")),
    f(Memory, "used_memory_dataset", "0", Gauge("redis_memory_used_dataset_bytes", "Memory in use without the overhead, bytes.")),
    o(Memory, "used_memory_dataset_perc", No),
    f(Memory, "allocator_allocated", "0", Gauge("redis_allocator_allocated_bytes", "Bytes that the allocator has given out.")),
    f(Memory, "allocator_active", "0", Gauge("redis_allocator_active_bytes", "Bytes in pages that the allocator has given out of.")),
    f(Memory, "allocator_resident", "0", Gauge("redis_allocator_resident_bytes", "Bytes that the allocator holds in RAM.")),
    f(Memory, "allocator_muzzy", "0", No),
    f(Memory, "total_system_memory", "0", Gauge("redis_total_system_memory_bytes", "RAM of the machine, bytes.")),
    o(Memory, "total_system_memory_human", No),
    f(Memory, "used_memory_lua", "0", Gauge("redis_memory_used_lua_bytes", "Memory of the interpreter of scripts, bytes.")),
    f(Memory, "used_memory_vm_eval", "0", No),
    o(Memory, "used_memory_lua_human", No),
    f(Memory, "used_memory_scripts_eval", "0", Gauge("redis_memory_used_scripts_eval_bytes", "Memory of the scripts that are kept for EVALSHA, bytes.")),
    f(Memory, "number_of_cached_scripts", "0", Gauge("redis_number_of_cached_scripts", "Scripts that are kept for EVALSHA.")),
    f(Memory, "number_of_functions", "0", Gauge("redis_number_of_functions", "Functions of FUNCTION LOAD.")),
    f(Memory, "number_of_libraries", "0", No),
    f(Memory, "used_memory_vm_functions", "0", No),
    f(Memory, "used_memory_vm_total", "0", No),
    o(Memory, "used_memory_vm_total_human", No),
    f(Memory, "used_memory_functions", "0", No),
    f(Memory, "used_memory_scripts", "0", Gauge("redis_memory_used_scripts_bytes", "Memory of scripts and functions, bytes.")),
    o(Memory, "used_memory_scripts_human", No),
    f(Memory, "maxmemory", "0", Gauge("redis_memory_max_bytes", "Limit of memory (maxmemory), bytes; 0 for none.")),
    o(Memory, "maxmemory_human", No),
    f(Memory, "maxmemory_policy", "noeviction", No),
    f(Memory, "allocator_frag_ratio", "0", Gauge("redis_allocator_frag_ratio", "Active bytes of the allocator by allocated bytes.")),
    o(Memory, "allocator_frag_bytes", Gauge("redis_allocator_frag_bytes", "Active bytes of the allocator that are not given out.")),
    o(Memory, "allocator_rss_ratio", Gauge("redis_allocator_rss_ratio", "Resident bytes of the allocator by active bytes.")),
    o(Memory, "allocator_rss_bytes", Gauge("redis_allocator_rss_bytes", "Resident bytes of the allocator that are not active.")),
    o(Memory, "rss_overhead_ratio", No),
    o(Memory, "rss_overhead_bytes", No),
    f(Memory, "mem_fragmentation_ratio", "0", Gauge("redis_mem_fragmentation_ratio", "Memory in RAM by memory in use.")),
    f(Memory, "mem_fragmentation_bytes", "0", Gauge("redis_mem_fragmentation_bytes", "Memory in RAM less memory in use, bytes.")),
    f(Memory, "mem_not_counted_for_evict", "0", Gauge("redis_mem_not_counted_for_eviction_bytes", "Memory in use that does not count for maxmemory, bytes.")),
    f(Memory, "mem_replication_backlog", "0", No),
    f(Memory, "mem_total_replication_buffers", "0", No),
    f(Memory, "mem_clients_slaves", "0", Gauge("redis_mem_clients_slaves", "Memory of replicas and their buffers, bytes.")),
    f(Memory, "mem_clients_normal", "0", Gauge("redis_mem_clients_normal", "Memory of clients and their buffers, bytes.")),
    f(Memory, "mem_cluster_links", "0", No),
    f(Memory, "mem_aof_buffer", "0", Gauge("redis_mem_aof_buffer_bytes", "Writes that wait to go into the log, bytes.")),
    f(Memory, "mem_overhead_db_hashtable_rehashing", "0", No),
    f(Memory, "mem_allocator", "libc", No),
    f(Memory, "active_defrag_running", "0", Gauge("redis_active_defrag_running", "Whether memory is being defragmented: always 0 here.")),
    f(Memory, "lazyfree_pending_objects", "0", Gauge("redis_lazyfree_pending_objects", "Values that wait to be freed in the background.")),
    f(Memory, "lazyfreed_objects", "0", No),
    f(Persistence, "loading", "0", Gauge("redis_loading_dump_file", "Whether data is being loaded.")),
    f(Persistence, "async_loading", "0", No),
    f(Persistence, "current_cow_peak", "0", No),
    f(Persistence, "current_cow_size", "0", No),
    f(Persistence, "current_cow_size_age", "0", No),
    f(Persistence, "current_fork_perc", "0.00", No),
    f(Persistence, "current_save_keys_processed", "0", No),
    f(Persistence, "current_save_keys_total", "0", No),
    f(Persistence, "rdb_changes_since_last_save", "0", Gauge("redis_rdb_changes_since_last_save", "Changes since the last snapshot.")),
    f(Persistence, "rdb_bgsave_in_progress", "0", Gauge("redis_rdb_bgsave_in_progress", "Whether a snapshot is being written.")),
    f(Persistence, "rdb_last_save_time", "0", Gauge("redis_rdb_last_save_timestamp_seconds", "When the last snapshot was made, Unix time.")),
    f(Persistence, "rdb_last_bgsave_status", "ok", Gauge("redis_rdb_last_bgsave_status", "Whether the last snapshot succeeded.")),
    f(Persistence, "rdb_last_bgsave_time_sec", "-1", Gauge("redis_rdb_last_bgsave_duration_sec", "Seconds that the last snapshot took; -1 for none.")),
    f(Persistence, "rdb_current_bgsave_time_sec", "-1", Gauge("redis_rdb_current_bgsave_duration_sec", "Seconds for which a snapshot has been running; -1 for none.")),
    f(Persistence, "rdb_saves", "0", Gauge("redis_rdb_saves_total", "Snapshots made since the start.")),
    f(Persistence, "rdb_last_cow_size", "0", Gauge("redis_rdb_last_cow_size_bytes", "Memory copied for the last snapshot, bytes: 0 without fork.")),
    f(Persistence, "rdb_last_load_keys_expired", "0", No),
    f(Persistence, "rdb_last_load_keys_loaded", "0", No),
    f(Persistence, "aof_enabled", "0", Gauge("redis_aof_enabled", "Whether writes are logged (appendonly).")),
    f(Persistence, "aof_rewrite_in_progress", "0", Gauge("redis_aof_rewrite_in_progress", "Whether the log is being rewritten.")),
    f(Persistence, "aof_rewrite_scheduled", "0", Gauge("redis_aof_rewrite_scheduled", "Whether a rewrite of the log waits for a snapshot to end.")),
    f(Persistence, "aof_last_rewrite_time_sec", "-1", Gauge("redis_aof_last_rewrite_duration_sec", "Seconds that the last rewrite of the log took; -1 for none.")),
    f(Persistence, "aof_current_rewrite_time_sec", "-1", Gauge("redis_aof_current_rewrite_duration_sec", "Seconds for which the log has been rewritten; -1 for not at all.")),
    f(Persistence, "aof_last_bgrewrite_status", "ok", Gauge("redis_aof_last_bgrewrite_status", "Whether the last rewrite of the log succeeded.")),
    f(Persistence, "aof_rewrites", "0", No),
    f(Persistence, "aof_rewrites_consecutive_failures", "0", No),
    f(Persistence, "aof_last_write_status", "ok", Gauge("redis_aof_last_write_status", "Whether the last write to the log succeeded and there is room for more.")),
    f(Persistence, "aof_last_cow_size", "0", Gauge("redis_aof_last_cow_size_bytes", "Memory copied for the last rewrite, bytes: 0 without fork.")),
    f(Persistence, "module_fork_in_progress", "0", Gauge("redis_module_fork_in_progress", "Whether a module has forked: always 0.")),
    f(Persistence, "module_fork_last_cow_size", "0", Gauge("redis_module_fork_last_cow_size", "Memory copied for a module's fork: always 0.")),
    o(Persistence, "aof_current_size", Gauge("redis_aof_current_size_bytes", "Size of the log, bytes.")),
    o(Persistence, "aof_base_size", Gauge("redis_aof_base_size_bytes", "Size of the log after its last rewrite, bytes.")),
    o(Persistence, "aof_pending_rewrite", Gauge("redis_aof_pending_rewrite", "Whether a rewrite of the log waits.")),
    o(Persistence, "aof_buffer_length", Gauge("redis_aof_buffer_length", "Writes that wait to go into the log, bytes.")),
    o(Persistence, "aof_pending_bio_fsync", Gauge("redis_aof_pending_bio_fsync", "Syncs of the log that wait in the background.")),
    o(Persistence, "aof_delayed_fsync", Gauge("redis_aof_delayed_fsync", "Syncs of the log that came late.")),
    o(Persistence, "aof_fsync_lag_ms", Scaled("tandem_aof_fsync_lag_seconds", "For how long the oldest write has been in the log without a sync, seconds.", 1e-3)),
    o(Persistence, "loading_start_time", No),
    o(Persistence, "loading_total_bytes", No),
    o(Persistence, "loading_loaded_bytes", No),
    o(Persistence, "loading_loaded_perc", No),
    o(Persistence, "loading_eta_seconds", No),
    o(Backup, "backup_enabled", Gauge("tandem_backup_enabled", "Whether the log is archived as it is written.")),
    o(Backup, "backup_repository", No),
    o(Backup, "backup_status", Gauge("tandem_backup_status", "Whether the last try to archive what is new succeeded.")),
    o(Backup, "backup_last_error", No),
    o(Backup, "backup_lineage", No),
    o(Backup, "backup_last_batch", No),
    o(Backup, "backup_lag_seconds", Gauge("tandem_backup_lag_seconds", "What a loss of this machine would take: for how long the oldest write has not been archived, or somewhat longer; 0 when all is.")),
    o(Backup, "backup_interval_seconds", Gauge("tandem_backup_interval_seconds", "Directive backup-interval, seconds.")),
    o(Backup, "backup_last_success_time", Gauge("tandem_backup_last_success_timestamp_seconds", "When all that was new had been archived last, Unix time; 0 for not yet.")),
    o(Backup, "backup_last_base_time", Gauge("tandem_backup_last_base_timestamp_seconds", "The time of the newest base in the archive, Unix time; 0 for none.")),
    o(Backup, "backup_bases", Counter("tandem_backup_bases_total", "Bases archived since the start.")),
    o(Backup, "backup_segments", Counter("tandem_backup_segments_total", "Segments of the log archived since the start.")),
    o(Backup, "backup_bytes", Counter("tandem_backup_bytes_total", "Bytes of the objects that were added to the repository since the start, compressed and encrypted.")),
    o(Backup, "backup_failures", Counter("tandem_backup_failures_total", "Tries to archive that failed since the start.")),
    o(Backup, "backup_gaps", Counter("tandem_backup_gaps_total", "How often since the start a part of the log was given up, so that no moment in it can be restored.")),
    o(Backup, "backup_backlog_bytes", Gauge("tandem_backup_backlog_bytes", "Bytes of the log that are not archived yet.")),
    f(Stats, "total_connections_received", "0", Counter("redis_connections_received_total", "Connections accepted since the start.")),
    f(Stats, "total_commands_processed", "0", Counter("redis_commands_processed_total", "Commands run since the start.")),
    f(Stats, "instantaneous_ops_per_sec", "0", Gauge("redis_instantaneous_ops_per_sec", "Commands a second of late.")),
    f(Stats, "total_net_input_bytes", "0", Counter("redis_net_input_bytes_total", "Bytes received from clients.")),
    f(Stats, "total_net_output_bytes", "0", Counter("redis_net_output_bytes_total", "Bytes sent to clients.")),
    f(Stats, "total_net_repl_input_bytes", "0", No),
    f(Stats, "total_net_repl_output_bytes", "0", No),
    f(Stats, "instantaneous_input_kbps", "0.00", No),
    f(Stats, "instantaneous_output_kbps", "0.00", No),
    f(Stats, "instantaneous_input_repl_kbps", "0.00", No),
    f(Stats, "instantaneous_output_repl_kbps", "0.00", No),
    f(Stats, "rejected_connections", "0", Counter("redis_rejected_connections_total", "Connections refused because of maxclients.")),
    f(Stats, "sync_full", "0", Gauge("redis_replica_resyncs_full", "Full copies made for replicas.")),
    f(Stats, "sync_partial_ok", "0", Gauge("redis_replica_partial_resync_accepted", "Replicas that could go on where they were.")),
    f(Stats, "sync_partial_err", "0", Gauge("redis_replica_partial_resync_denied", "Replicas that could not go on where they were.")),
    f(Stats, "expired_subkeys", "0", No),
    f(Stats, "expired_keys", "0", Counter("redis_expired_keys_total", "Keys that have expired.")),
    f(Stats, "expired_stale_perc", "0.00", Gauge("redis_expired_stale_percentage", "Estimated share of keys that have expired and are still there, percent.")),
    f(Stats, "expired_time_cap_reached_count", "0", Gauge("redis_expired_time_cap_reached_total", "Times that the removal of expired keys ran out of time.")),
    f(Stats, "expire_cycle_cpu_milliseconds", "0", No),
    f(Stats, "evicted_keys", "0", Counter("redis_evicted_keys_total", "Keys evicted because of maxmemory.")),
    f(Stats, "evicted_clients", "0", Counter("redis_evicted_clients_total", "Clients closed because of maxmemory-clients.")),
    f(Stats, "evicted_scripts", "0", No),
    f(Stats, "total_eviction_exceeded_time", "0", Counter("redis_eviction_exceeded_time_ms_total", "Milliseconds spent above maxmemory.")),
    f(Stats, "current_eviction_exceeded_time", "0", No),
    f(Stats, "keyspace_hits", "0", Counter("redis_keyspace_hits_total", "Reads that found their key.")),
    f(Stats, "keyspace_misses", "0", Counter("redis_keyspace_misses_total", "Reads that found no key.")),
    f(Stats, "pubsub_channels", "0", Gauge("redis_pubsub_channels", "Channels with subscribers.")),
    f(Stats, "pubsub_patterns", "0", Gauge("redis_pubsub_patterns", "Patterns with subscribers.")),
    f(Stats, "pubsubshard_channels", "0", Gauge("redis_pubsubshard_channels", "Shard channels with subscribers.")),
    f(Stats, "latest_fork_usec", "0", Scaled("redis_latest_fork_seconds", "Seconds that the last fork took: 0, there are none.", 1e-6)),
    f(Stats, "total_forks", "0", No),
    f(Stats, "migrate_cached_sockets", "0", Gauge("redis_migrate_cached_sockets_total", "Connections that MIGRATE keeps open.")),
    f(Stats, "slave_expires_tracked_keys", "0", Gauge("redis_slave_expires_tracked_keys", "Keys whose expiry a writable replica watches.")),
    f(Stats, "active_defrag_hits", "0", Gauge("redis_defrag_hits", "Values moved by defragmentation: always 0.")),
    f(Stats, "active_defrag_misses", "0", Gauge("redis_defrag_misses", "Values left by defragmentation: always 0.")),
    f(Stats, "active_defrag_key_hits", "0", Gauge("redis_defrag_key_hits", "Keys moved by defragmentation: always 0.")),
    f(Stats, "active_defrag_key_misses", "0", Gauge("redis_defrag_key_misses", "Keys left by defragmentation: always 0.")),
    f(Stats, "total_active_defrag_time", "0", No),
    f(Stats, "current_active_defrag_time", "0", No),
    f(Stats, "tracking_total_keys", "0", Gauge("redis_tracking_total_keys", "Keys of which clients keep copies.")),
    f(Stats, "tracking_total_items", "0", Gauge("redis_tracking_total_items", "Copies that clients keep, one for each key and client.")),
    f(Stats, "tracking_total_prefixes", "0", Gauge("redis_tracking_total_prefixes", "Prefixes whose changes clients want to be told of.")),
    f(Stats, "unexpected_error_replies", "0", Counter("redis_unexpected_error_replies", "Error replies while data was loaded or copied.")),
    f(Stats, "total_error_replies", "0", Counter("redis_total_error_replies", "Error replies since the start.")),
    f(Stats, "dump_payload_sanitizations", "0", Counter("redis_dump_payload_sanitizations", "Payloads of RESTORE checked deeply.")),
    f(Stats, "total_reads_processed", "0", Counter("redis_total_reads_processed", "Reads from sockets.")),
    f(Stats, "total_writes_processed", "0", Counter("redis_total_writes_processed", "Writes to sockets.")),
    f(Stats, "io_threaded_reads_processed", "0", Counter("redis_io_threaded_reads_processed", "Reads by threads beside the first.")),
    f(Stats, "io_threaded_writes_processed", "0", Counter("redis_io_threaded_writes_processed", "Writes by threads beside the first.")),
    f(Stats, "client_query_buffer_limit_disconnections", "0", Counter("redis_client_query_buffer_limit_disconnections_total", "Clients closed because of client-query-buffer-limit.")),
    f(Stats, "client_output_buffer_limit_disconnections", "0", Counter("redis_client_output_buffer_limit_disconnections_total", "Clients closed because of client-output-buffer-limit.")),
    f(Stats, "reply_buffer_shrinks", "0", No),
    f(Stats, "reply_buffer_expands", "0", No),
    f(Stats, "eventloop_cycles", "0", No),
    f(Stats, "eventloop_duration_sum", "0", No),
    f(Stats, "eventloop_duration_cmd_sum", "0", No),
    f(Stats, "instantaneous_eventloop_cycles_per_sec", "0", No),
    f(Stats, "instantaneous_eventloop_duration_usec", "0", No),
    f(Stats, "acl_access_denied_auth", "0", Counter("redis_acl_access_denied_auth_total", "Wrong passwords or users.")),
    f(Stats, "acl_access_denied_cmd", "0", Counter("redis_acl_access_denied_cmd_total", "Commands refused to a user.")),
    f(Stats, "acl_access_denied_key", "0", Counter("redis_acl_access_denied_key_total", "Keys refused to a user.")),
    f(Stats, "acl_access_denied_channel", "0", Counter("redis_acl_access_denied_channel_total", "Channels refused to a user.")),
    f(Stats, "acl_access_denied_tls_cert", "0", Counter("redis_acl_access_denied_tls_cert_total", "Client certificates that name no user who may log in.")),
    f(Stats, "tandem_oom_refusals", "0", Counter("tandem_oom_refusals_total", "Commands refused because memory is full.")),
    f(Stats, "unreplicated_refusals", "0", Counter("tandem_unreplicated_refusals_total", "Writes refused because too few replicas keep up or acknowledge them.")),
    f(Stats, "unacknowledged_replies", "0", Counter("tandem_unacknowledged_replies_total", "Writes whose clients were told that replicas have not acknowledged them in time.")),
    f(Stats, "too_few_replicas", "0", Gauge("tandem_too_few_replicas", "Whether writes are refused because too few replicas keep up or acknowledge them.")),
    f(Stats, "clients_waiting_for_replicas", "0", Gauge("tandem_clients_waiting_for_replicas", "Clients whose replies wait for replicas.")),
    f(Stats, "tandem_queues", "0", Gauge("tandem_queues_followed", "Queues that are followed.")),
    f(Stats, "tandem_queues_dropped", "0", Counter("tandem_queues_dropped_total", "Times that a queue was not followed, because there are more than queues-max or its key or group is too long.")),
    f(Replication, "role", "master", No),
    o(Replication, "master_host", No),
    o(Replication, "master_port", No),
    o(Replication, "master_link_status", No),
    o(Replication, "master_link_error", No),
    o(Replication, "master_last_io_seconds_ago", Gauge("redis_master_last_io_seconds_ago", "Seconds since the master was heard; -1 without a link.")),
    o(Replication, "master_sync_in_progress", Gauge("redis_master_sync_in_progress", "Whether the whole data set of the master is being copied.")),
    o(Replication, "slave_read_repl_offset", Gauge("redis_slave_read_repl_offset", "Bytes of the master's stream that have come.")),
    o(Replication, "slave_repl_offset", Gauge("redis_slave_repl_offset", "Bytes of the master's stream that were executed.")),
    o(Replication, "master_sync_total_bytes", No),
    o(Replication, "master_sync_read_bytes", No),
    o(Replication, "master_sync_left_bytes", No),
    o(Replication, "master_sync_perc", No),
    o(Replication, "master_sync_last_io_seconds_ago", No),
    o(Replication, "master_link_down_since_seconds", No),
    o(Replication, "slave_priority", Gauge("redis_slave_priority", "Preference in a failover; 0 for never.")),
    o(Replication, "slave_read_only", Gauge("redis_slave_repl_read_only", "Whether clients may only read.")),
    o(Replication, "replica_announced", No),
    f(Replication, "connected_slaves", "0", Gauge("redis_connected_slaves", "Replicas that are connected.")),
    o(Replication, "min_slaves_good_slaves", No),
    f(Replication, "master_failover_state", "no-failover", No),
    o(Replication, "master_replid", No),
    f(Replication, "master_replid2", "0000000000000000000000000000000000000000", No),
    f(Replication, "master_repl_offset", "0", Gauge("redis_master_repl_offset", "Bytes of the replication stream.")),
    f(Replication, "second_repl_offset", "-1", Gauge("redis_second_repl_offset", "Bytes of the replication stream under the former name.")),
    f(Replication, "repl_backlog_active", "0", Gauge("redis_repl_backlog_is_active", "Whether there is a backlog for replicas.")),
    f(Replication, "repl_backlog_size", "1048576", Gauge("redis_replication_backlog_bytes", "Size of the backlog for replicas, bytes.")),
    f(Replication, "repl_backlog_first_byte_offset", "0", Gauge("redis_repl_backlog_first_byte_offset", "Place of the first byte in the backlog for replicas.")),
    f(Replication, "repl_backlog_histlen", "0", Gauge("redis_repl_backlog_history_bytes", "Bytes in the backlog for replicas.")),
    f(Cpu, "used_cpu_sys", "0.000000", Seconds("redis_cpu_sys_seconds_total", "Processor time in the kernel.")),
    f(Cpu, "used_cpu_user", "0.000000", Seconds("redis_cpu_user_seconds_total", "Processor time outside the kernel.")),
    f(Cpu, "used_cpu_sys_children", "0.000000", Seconds("redis_cpu_sys_children_seconds_total", "Processor time of child processes in the kernel.")),
    f(Cpu, "used_cpu_user_children", "0.000000", Seconds("redis_cpu_user_children_seconds_total", "Processor time of child processes outside the kernel.")),
    f(Cpu, "used_cpu_sys_main_thread", "0.000000", Seconds("redis_cpu_sys_main_thread_seconds_total", "Processor time of the first I/O thread in the kernel.")),
    f(Cpu, "used_cpu_user_main_thread", "0.000000", Seconds("redis_cpu_user_main_thread_seconds_total", "Processor time of the first I/O thread outside the kernel.")),
    f(Cluster, "cluster_enabled", "0", Gauge("redis_cluster_enabled", "Whether this is a node of a cluster: always 0.")),
    f(Tls, "tls_server_cert_serial", "none", No),
    f(Tls, "tls_server_cert_expires_in_seconds", "0", No),
    f(Tls, "tls_client_cert_serial", "none", No),
    f(Tls, "tls_client_cert_expires_in_seconds", "0", No),
    f(Tls, "tls_ca_cert_serial", "none", No),
    f(Tls, "tls_ca_cert_expires_in_seconds", "0", No),
    o(Section::Metric, "master_link_up", Gauge("redis_master_link_up", "Whether there is a link to the master.")),
    o(Section::Metric, "start_time", Gauge("redis_start_time_seconds", "When the server started, Unix time.")),
    o(Section::Metric, "io_threads", Gauge("redis_config_io_threads", "Directive io-threads.")),
    f(Section::Metric, "scrape_errors", "0", Labelled("redis_exporter_last_scrape_error", "Whether the figures are older than this scrape, because a script or a command held the server.", ("err", ""))),
    o(Section::Metric, "scrape_seconds", Gauge("redis_exporter_last_scrape_duration_seconds", "Seconds that it took to gather the figures.")),
    o(Section::Metric, "scrapes", Counter("redis_exporter_scrapes_total", "Scrapes since the start.")),
    f(Section::Metric, "slowlog_len", "0", Gauge("redis_slowlog_length", "Entries of the slow log.")),
    f(Section::Metric, "slowlog_last_id", "0", Gauge("redis_slowlog_last_id", "Number of the newest entry of the slow log.")),
    f(Section::Metric, "slowlog_last_usec", "0", Scaled("redis_last_slow_execution_duration_seconds", "Seconds that the newest command of the slow log took.", 1e-6)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn fields_and_metrics_are_named_once() {
        let mut seen = HashSet::new();
        for field in TABLE {
            assert!(seen.insert(field.name), "{}", field.name);
            if let Gauge(name, help)
            | Labelled(name, help, _)
            | Scaled(name, help, _)
            | Counter(name, help)
            | Seconds(name, help) = field.metric
            {
                assert!(seen.insert(name), "{name}");
                assert!(help.ends_with('.') && !help.contains("INFO") && help.len() > 14, "{name}: {help}");
                let in_base_unit =
                    !["milliseconds", "microseconds", "usec", "_ms"].iter().any(|unit| name.contains(unit));
                assert!(in_base_unit || !name.starts_with("tandem_"), "{name}: Prometheus counts in seconds");
            }
        }
    }
}
