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
    /// Counters.
    Stats,
    /// Primary and replicas.
    Replication,
    /// Processor time.
    Cpu,
    /// Cluster.
    Cluster,
    /// Exported as a metric, not in INFO.
    Metric,
}

/// The type of a metric and how the field's number becomes its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// None.
    None,
    /// A value that goes up and down; `ok` is 1, other words 0.
    Gauge(&'static str),
    /// A gauge, the field times this factor.
    Scaled(&'static str, f64),
    /// A number that only grows.
    Counter(&'static str),
    /// A growing number with a fraction.
    Seconds(&'static str),
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

use Metric::{Counter, Gauge, None as No, Scaled, Seconds};
use Section::{Clients, Cluster, Cpu, Memory, Persistence, Replication, Server, Stats};

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
    o(Server, "process_id", Gauge("redis_process_id")),
    f(Server, "process_supervised", "no", No),
    o(Server, "run_id", No),
    o(Server, "tcp_port", No),
    o(Server, "server_time_usec", No),
    f(Server, "uptime_in_seconds", "0", Gauge("redis_uptime_in_seconds")),
    f(Server, "uptime_in_days", "0", No),
    o(Server, "hz", No),
    o(Server, "configured_hz", No),
    o(Server, "lru_clock", No),
    o(Server, "executable", No),
    o(Server, "config_file", No),
    f(Server, "io_threads_active", "0", No),
    o(Server, "listener0", No),
    o(Server, "listener1", No),
    o(Server, "listener2", No),
    o(Server, "shutdown_in_milliseconds", No),
    f(Clients, "connected_clients", "0", Gauge("redis_connected_clients")),
    f(Clients, "cluster_connections", "0", No),
    f(Clients, "maxclients", "0", Gauge("redis_max_clients")),
    f(Clients, "client_recent_max_input_buffer", "0", Gauge("redis_client_recent_max_input_buffer_bytes")),
    f(Clients, "client_recent_max_output_buffer", "0", Gauge("redis_client_recent_max_output_buffer_bytes")),
    f(Clients, "blocked_clients", "0", Gauge("redis_blocked_clients")),
    f(Clients, "tracking_clients", "0", Gauge("redis_tracking_clients")),
    f(Clients, "pubsub_clients", "0", Gauge("redis_pubsub_clients")),
    f(Clients, "watching_clients", "0", Gauge("redis_watching_clients")),
    f(Clients, "clients_in_timeout_table", "0", Gauge("redis_clients_in_timeout_table")),
    f(Clients, "total_watched_keys", "0", No),
    f(Clients, "total_blocking_keys", "0", Gauge("redis_total_blocking_keys")),
    f(Clients, "total_blocking_keys_on_nokey", "0", No),
    f(Memory, "used_memory", "0", Gauge("redis_memory_used_bytes")),
    o(Memory, "used_memory_human", No),
    f(Memory, "used_memory_rss", "0", Gauge("redis_memory_used_rss_bytes")),
    o(Memory, "used_memory_rss_human", No),
    f(Memory, "used_memory_peak", "0", Gauge("redis_memory_used_peak_bytes")),
    o(Memory, "used_memory_peak_human", No),
    o(Memory, "used_memory_peak_perc", No),
    f(Memory, "used_memory_overhead", "0", Gauge("redis_memory_used_overhead_bytes")),
    f(Memory, "used_memory_startup", "0", Gauge("redis_memory_used_startup_bytes")),
    f(Memory, "used_memory_dataset", "0", Gauge("redis_memory_used_dataset_bytes")),
    o(Memory, "used_memory_dataset_perc", No),
    f(Memory, "allocator_allocated", "0", Gauge("redis_allocator_allocated_bytes")),
    f(Memory, "allocator_active", "0", Gauge("redis_allocator_active_bytes")),
    f(Memory, "allocator_resident", "0", Gauge("redis_allocator_resident_bytes")),
    f(Memory, "allocator_muzzy", "0", No),
    f(Memory, "total_system_memory", "0", Gauge("redis_total_system_memory_bytes")),
    o(Memory, "total_system_memory_human", No),
    f(Memory, "used_memory_lua", "0", Gauge("redis_memory_used_lua_bytes")),
    f(Memory, "used_memory_vm_eval", "0", No),
    o(Memory, "used_memory_lua_human", No),
    f(Memory, "used_memory_scripts_eval", "0", Gauge("redis_memory_used_scripts_eval_bytes")),
    f(Memory, "number_of_cached_scripts", "0", Gauge("redis_number_of_cached_scripts")),
    f(Memory, "number_of_functions", "0", No),
    f(Memory, "number_of_libraries", "0", No),
    f(Memory, "used_memory_vm_functions", "0", No),
    f(Memory, "used_memory_vm_total", "0", No),
    o(Memory, "used_memory_vm_total_human", No),
    f(Memory, "used_memory_functions", "0", No),
    f(Memory, "used_memory_scripts", "0", No),
    o(Memory, "used_memory_scripts_human", No),
    f(Memory, "maxmemory", "0", Gauge("redis_memory_max_bytes")),
    o(Memory, "maxmemory_human", No),
    f(Memory, "maxmemory_policy", "noeviction", No),
    f(Memory, "allocator_frag_ratio", "0", Gauge("redis_allocator_frag_ratio")),
    o(Memory, "allocator_frag_bytes", No),
    o(Memory, "allocator_rss_ratio", No),
    o(Memory, "allocator_rss_bytes", No),
    o(Memory, "rss_overhead_ratio", No),
    o(Memory, "rss_overhead_bytes", No),
    f(Memory, "mem_fragmentation_ratio", "0", Gauge("redis_mem_fragmentation_ratio")),
    f(Memory, "mem_fragmentation_bytes", "0", Gauge("redis_mem_fragmentation_bytes")),
    f(Memory, "mem_not_counted_for_evict", "0", Gauge("redis_mem_not_counted_for_eviction_bytes")),
    f(Memory, "mem_replication_backlog", "0", No),
    f(Memory, "mem_total_replication_buffers", "0", No),
    f(Memory, "mem_clients_slaves", "0", No),
    f(Memory, "mem_clients_normal", "0", Gauge("redis_mem_clients_normal")),
    f(Memory, "mem_cluster_links", "0", No),
    f(Memory, "mem_aof_buffer", "0", Gauge("redis_mem_aof_buffer_bytes")),
    f(Memory, "mem_overhead_db_hashtable_rehashing", "0", No),
    f(Memory, "mem_allocator", "libc", No),
    f(Memory, "active_defrag_running", "0", Gauge("redis_active_defrag_running")),
    f(Memory, "lazyfree_pending_objects", "0", Gauge("redis_lazyfree_pending_objects")),
    f(Memory, "lazyfreed_objects", "0", No),
    f(Persistence, "loading", "0", Gauge("redis_loading_dump_file")),
    f(Persistence, "async_loading", "0", No),
    f(Persistence, "current_cow_peak", "0", No),
    f(Persistence, "current_cow_size", "0", No),
    f(Persistence, "current_cow_size_age", "0", No),
    f(Persistence, "current_fork_perc", "0.00", No),
    f(Persistence, "current_save_keys_processed", "0", No),
    f(Persistence, "current_save_keys_total", "0", No),
    f(Persistence, "rdb_changes_since_last_save", "0", Gauge("redis_rdb_changes_since_last_save")),
    f(Persistence, "rdb_bgsave_in_progress", "0", Gauge("redis_rdb_bgsave_in_progress")),
    f(Persistence, "rdb_last_save_time", "0", Gauge("redis_rdb_last_save_timestamp_seconds")),
    f(Persistence, "rdb_last_bgsave_status", "ok", Gauge("redis_rdb_last_bgsave_status")),
    f(Persistence, "rdb_last_bgsave_time_sec", "-1", Gauge("redis_rdb_last_bgsave_duration_sec")),
    f(Persistence, "rdb_current_bgsave_time_sec", "-1", Gauge("redis_rdb_current_bgsave_duration_sec")),
    f(Persistence, "rdb_saves", "0", Gauge("redis_rdb_saves_total")),
    f(Persistence, "rdb_last_cow_size", "0", Gauge("redis_rdb_last_cow_size_bytes")),
    f(Persistence, "rdb_last_load_keys_expired", "0", No),
    f(Persistence, "rdb_last_load_keys_loaded", "0", No),
    f(Persistence, "aof_enabled", "0", Gauge("redis_aof_enabled")),
    f(Persistence, "aof_rewrite_in_progress", "0", Gauge("redis_aof_rewrite_in_progress")),
    f(Persistence, "aof_rewrite_scheduled", "0", Gauge("redis_aof_rewrite_scheduled")),
    f(Persistence, "aof_last_rewrite_time_sec", "-1", Gauge("redis_aof_last_rewrite_duration_sec")),
    f(Persistence, "aof_current_rewrite_time_sec", "-1", Gauge("redis_aof_current_rewrite_duration_sec")),
    f(Persistence, "aof_last_bgrewrite_status", "ok", Gauge("redis_aof_last_bgrewrite_status")),
    f(Persistence, "aof_rewrites", "0", No),
    f(Persistence, "aof_rewrites_consecutive_failures", "0", No),
    f(Persistence, "aof_last_write_status", "ok", Gauge("redis_aof_last_write_status")),
    f(Persistence, "aof_last_cow_size", "0", Gauge("redis_aof_last_cow_size_bytes")),
    f(Persistence, "module_fork_in_progress", "0", No),
    f(Persistence, "module_fork_last_cow_size", "0", No),
    o(Persistence, "aof_current_size", Gauge("redis_aof_current_size_bytes")),
    o(Persistence, "aof_base_size", Gauge("redis_aof_base_size_bytes")),
    o(Persistence, "aof_pending_rewrite", No),
    o(Persistence, "aof_buffer_length", Gauge("redis_aof_buffer_length")),
    o(Persistence, "aof_pending_bio_fsync", Gauge("redis_aof_pending_bio_fsync")),
    o(Persistence, "aof_delayed_fsync", Gauge("redis_aof_delayed_fsync")),
    o(Persistence, "loading_start_time", No),
    o(Persistence, "loading_total_bytes", No),
    o(Persistence, "loading_loaded_bytes", No),
    o(Persistence, "loading_loaded_perc", No),
    o(Persistence, "loading_eta_seconds", No),
    f(Stats, "total_connections_received", "0", Counter("redis_connections_received_total")),
    f(Stats, "total_commands_processed", "0", Counter("redis_commands_processed_total")),
    f(Stats, "instantaneous_ops_per_sec", "0", Gauge("redis_instantaneous_ops_per_sec")),
    f(Stats, "total_net_input_bytes", "0", Counter("redis_net_input_bytes_total")),
    f(Stats, "total_net_output_bytes", "0", Counter("redis_net_output_bytes_total")),
    f(Stats, "total_net_repl_input_bytes", "0", No),
    f(Stats, "total_net_repl_output_bytes", "0", No),
    f(Stats, "instantaneous_input_kbps", "0.00", No),
    f(Stats, "instantaneous_output_kbps", "0.00", No),
    f(Stats, "instantaneous_input_repl_kbps", "0.00", No),
    f(Stats, "instantaneous_output_repl_kbps", "0.00", No),
    f(Stats, "rejected_connections", "0", Counter("redis_rejected_connections_total")),
    f(Stats, "sync_full", "0", No),
    f(Stats, "sync_partial_ok", "0", No),
    f(Stats, "sync_partial_err", "0", No),
    f(Stats, "expired_subkeys", "0", No),
    f(Stats, "expired_keys", "0", Counter("redis_expired_keys_total")),
    f(Stats, "expired_stale_perc", "0.00", Gauge("redis_expired_stale_percentage")),
    f(Stats, "expired_time_cap_reached_count", "0", Counter("redis_expired_time_cap_reached_total")),
    f(Stats, "expire_cycle_cpu_milliseconds", "0", No),
    f(Stats, "evicted_keys", "0", Counter("redis_evicted_keys_total")),
    f(Stats, "evicted_clients", "0", Counter("redis_evicted_clients_total")),
    f(Stats, "evicted_scripts", "0", No),
    f(Stats, "total_eviction_exceeded_time", "0", Counter("redis_eviction_exceeded_time_ms_total")),
    f(Stats, "current_eviction_exceeded_time", "0", No),
    f(Stats, "keyspace_hits", "0", Counter("redis_keyspace_hits_total")),
    f(Stats, "keyspace_misses", "0", Counter("redis_keyspace_misses_total")),
    f(Stats, "pubsub_channels", "0", Gauge("redis_pubsub_channels")),
    f(Stats, "pubsub_patterns", "0", Gauge("redis_pubsub_patterns")),
    f(Stats, "pubsubshard_channels", "0", Gauge("redis_pubsubshard_channels")),
    f(Stats, "latest_fork_usec", "0", Scaled("redis_latest_fork_seconds", 1e-6)),
    f(Stats, "total_forks", "0", No),
    f(Stats, "migrate_cached_sockets", "0", No),
    f(Stats, "slave_expires_tracked_keys", "0", No),
    f(Stats, "active_defrag_hits", "0", No),
    f(Stats, "active_defrag_misses", "0", No),
    f(Stats, "active_defrag_key_hits", "0", No),
    f(Stats, "active_defrag_key_misses", "0", No),
    f(Stats, "total_active_defrag_time", "0", No),
    f(Stats, "current_active_defrag_time", "0", No),
    f(Stats, "tracking_total_keys", "0", No),
    f(Stats, "tracking_total_items", "0", No),
    f(Stats, "tracking_total_prefixes", "0", No),
    f(Stats, "unexpected_error_replies", "0", Counter("redis_unexpected_error_replies")),
    f(Stats, "total_error_replies", "0", Counter("redis_total_error_replies")),
    f(Stats, "dump_payload_sanitizations", "0", No),
    f(Stats, "total_reads_processed", "0", Counter("redis_total_reads_processed")),
    f(Stats, "total_writes_processed", "0", Counter("redis_total_writes_processed")),
    f(Stats, "io_threaded_reads_processed", "0", No),
    f(Stats, "io_threaded_writes_processed", "0", No),
    f(Stats, "client_query_buffer_limit_disconnections", "0", Counter("redis_client_query_buffer_limit_disconnections_total")),
    f(Stats, "client_output_buffer_limit_disconnections", "0", Counter("redis_client_output_buffer_limit_disconnections_total")),
    f(Stats, "reply_buffer_shrinks", "0", No),
    f(Stats, "reply_buffer_expands", "0", No),
    f(Stats, "eventloop_cycles", "0", No),
    f(Stats, "eventloop_duration_sum", "0", No),
    f(Stats, "eventloop_duration_cmd_sum", "0", No),
    f(Stats, "instantaneous_eventloop_cycles_per_sec", "0", No),
    f(Stats, "instantaneous_eventloop_duration_usec", "0", No),
    f(Stats, "acl_access_denied_auth", "0", Counter("redis_acl_access_denied_auth_total")),
    f(Stats, "acl_access_denied_cmd", "0", Counter("redis_acl_access_denied_cmd_total")),
    f(Stats, "acl_access_denied_key", "0", Counter("redis_acl_access_denied_key_total")),
    f(Stats, "acl_access_denied_channel", "0", Counter("redis_acl_access_denied_channel_total")),
    f(Stats, "tandem_oom_refusals", "0", Counter("tandem_oom_refusals_total")),
    f(Replication, "role", "master", No),
    f(Replication, "connected_slaves", "0", Gauge("redis_connected_slaves")),
    f(Replication, "master_failover_state", "no-failover", No),
    o(Replication, "master_replid", No),
    f(Replication, "master_replid2", "0000000000000000000000000000000000000000", No),
    f(Replication, "master_repl_offset", "0", Gauge("redis_master_repl_offset")),
    f(Replication, "second_repl_offset", "-1", No),
    f(Replication, "repl_backlog_active", "0", Gauge("redis_repl_backlog_is_active")),
    f(Replication, "repl_backlog_size", "1048576", Gauge("redis_replication_backlog_bytes")),
    f(Replication, "repl_backlog_first_byte_offset", "0", No),
    f(Replication, "repl_backlog_histlen", "0", No),
    f(Cpu, "used_cpu_sys", "0.000000", Seconds("redis_cpu_sys_seconds_total")),
    f(Cpu, "used_cpu_user", "0.000000", Seconds("redis_cpu_user_seconds_total")),
    f(Cpu, "used_cpu_sys_children", "0.000000", Seconds("redis_cpu_sys_children_seconds_total")),
    f(Cpu, "used_cpu_user_children", "0.000000", Seconds("redis_cpu_user_children_seconds_total")),
    f(Cpu, "used_cpu_sys_main_thread", "0.000000", Seconds("redis_cpu_sys_main_thread_seconds_total")),
    f(Cpu, "used_cpu_user_main_thread", "0.000000", Seconds("redis_cpu_user_main_thread_seconds_total")),
    f(Cluster, "cluster_enabled", "0", No),
    f(Section::Metric, "slowlog_len", "0", Gauge("redis_slowlog_length")),
    f(Section::Metric, "slowlog_last_id", "0", Gauge("redis_slowlog_last_id")),
    f(Section::Metric, "slowlog_last_usec", "0", Scaled("redis_last_slow_execution_duration_seconds", 1e-6)),
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
            if let Gauge(name) | Scaled(name, _) | Counter(name) | Seconds(name) = field.metric {
                assert!(seen.insert(name), "{name}");
            }
        }
    }
}
