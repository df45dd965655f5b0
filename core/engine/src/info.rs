//! INFO: what the engine tells about itself. The server adds what only it knows.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Outside;
use commands::{Error, Flags, Group, Row};
use std::collections::HashSet;
use telemetry::Report;
use types::View;

const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] =
    &[row("info", -1, info).flags(LATE.and(Flags::DANGEROUS))];

fn info(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let sections: Vec<String> =
        turn.args.rest(1).iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    let report = engine.report(turn.outside);
    let names: Vec<&str> = sections.iter().map(String::as_str).collect();
    turn.reply.verbatim(b"txt", report.info(&names).as_bytes());
    Ok(Step::Done(None))
}

impl Engine {
    /// Everything that INFO and the metrics tell.
    pub fn report(&mut self, outside: &dyn Outside) -> Report {
        // Asked before anything is written down, which takes memory itself.
        let (used, log_bytes) = (outside.used_memory(), self.log_bytes(outside));
        let mut report = Report::new();
        outside.report(&mut report);
        self.report_server(&mut report, outside);
        self.report_clients(&mut report, outside.recent_input_bytes());
        self.report_memory(&mut report, used, log_bytes);
        self.report_stats(&mut report);
        self.report_commands(&mut report);
        self.report_keys(&mut report);
        report
    }

    /// The sizes of `metrics-keys`, found without counting as a use of them.
    fn report_keys(&mut self, r: &mut Report) {
        let now_ms = self.keyspace.now.unix_ms;
        for (db, key) in &self.config.metrics_keys {
            if *db < self.keyspace.database_count() {
                let entry = self.keyspace.peek(*db, key).filter(|e| e.expiry().is_none_or(|at| at > now_ms));
                r.key_size(*db, key, entry.map_or(0, |entry| size_of(entry.view())));
            }
        }
    }

    fn report_server(&self, r: &mut Report, outside: &dyn Outside) {
        r.set("io_threads", self.config.io_threads as u64);
        r.set("redis_version", crate::REDIS_VERSION);
        r.set("server_name", "tandem");
        r.set("tandem_version", env!("CARGO_PKG_VERSION"));
        r.set("redis_mode", "standalone");
        r.set("run_id", self.run_id.as_str());
        r.set("arch_bits", 64u64);
        r.set("multiplexing_api", "epoll");
        r.set("hz", u64::from(self.config.hz));
        r.set("configured_hz", u64::from(self.config.hz));
        r.set("tcp_port", u64::from(self.config.port));
        let uptime_s = self.keyspace.now.mono_us.saturating_sub(self.started_us) / 1_000_000;
        r.set("uptime_in_seconds", uptime_s);
        r.set("uptime_in_days", uptime_s / 86_400);
        r.set("start_time", self.started_unix_s);
        self.report_listeners(r);
        r.set("lru_clock", (self.keyspace.now.unix_ms as u64 / 1000) & 0xff_ffff);
        r.set("server_time_usec", self.keyspace.now.unix_us as u64);
        r.set("cluster_enabled", 0u64);
        self.report_replication(r);
        self.report_master(r, outside);
    }

    /// Clients, replicas and the master not among them.
    fn connected_clients(&self) -> usize {
        let links = self.link.as_ref().and_then(|master| master.session()).iter().count();
        self.sessions.len() - self.master.replicas().len() - links
    }

    fn report_replication(&self, r: &mut Report) {
        let (master, now_us) = (&self.master, self.keyspace.now.mono_us);
        r.set("role", "master");
        r.set("connected_slaves", master.replicas().len() as u64);
        if self.config.min_replicas_to_write > 0 {
            r.set("min_slaves_good_slaves", self.good_replicas() as u64);
        }
        for replica in master.replicas() {
            let (address, port) = self.replica_place(replica);
            r.replica(telemetry::Replica {
                address,
                port,
                state: replica.stage().to_string(),
                offset: replica.acked(),
                lag_s: replica.lag_s(now_us),
            });
        }
        r.set("master_replid", master.id().to_string().as_str());
        r.set("master_failover_state", self.failover.name());
        if let Some(former) = master.former() {
            r.set("master_replid2", former.id.to_string().as_str());
            r.set("second_repl_offset", former.offset + 1);
        }
        r.set("master_repl_offset", master.offset());
        r.set("repl_backlog_size", self.config.repl_backlog_size as u64);
        let backlog_bytes = self.backlog_bytes();
        r.set("mem_replication_backlog", backlog_bytes as u64);
        r.set("mem_total_replication_buffers", (backlog_bytes + self.replicas_bytes()) as u64);
        let counts = master.counts();
        r.set("sync_full", counts.full);
        r.set("sync_partial_ok", counts.partial_ok);
        r.set("sync_partial_err", counts.partial_err);
        let Some(backlog) = master.backlog() else { return };
        r.set("repl_backlog_active", 1u64);
        r.set("repl_backlog_first_byte_offset", backlog.first() + 1);
        r.set("repl_backlog_histlen", backlog.len() as u64);
    }

    fn report_listeners(&self, r: &mut Report) {
        let c = &self.config;
        let mut listeners = Vec::new();
        let bind: String = c.bind.iter().map(|address| format!(",bind={address}")).collect();
        for (name, port) in [("tcp", c.port), ("tls", c.tls_port)] {
            if port != 0 {
                listeners.push(format!("name={name}{bind},port={port}"));
            }
        }
        if !c.unixsocket.is_empty() {
            listeners.push(format!("name=unix,bind={}", c.unixsocket));
        }
        for (field, text) in ["listener0", "listener1", "listener2"].iter().zip(&listeners) {
            r.set(field, text.as_str());
        }
    }

    fn report_clients(&self, r: &mut Report, recent_input_bytes: usize) {
        let (waiting, blocking_keys) = self.waiters.counts();
        let (tracking, _) = self.tracking.counts();
        let (mut subscribers, mut watching, mut query_max, mut output_max) =
            (0u64, 0u64, recent_input_bytes, 0);
        let mut on_removal = HashSet::new();
        for (_, s) in self.sessions.iter() {
            if let Some(waiting) = s.waiting.as_ref().filter(|waiting| waiting.wait.on_removal) {
                on_removal.extend(waiting.wait.keys.iter().map(|key| (waiting.db, key)));
            }
            subscribers += u64::from(s.is_subscriber());
            watching += u64::from(!s.watched.is_empty());
            query_max = query_max.max(s.buffers.query);
            output_max = output_max.max(s.buffers.output);
        }
        r.set("connected_clients", self.connected_clients() as u64);
        r.set("maxclients", self.config.maxclients as u64);
        r.set("client_recent_max_input_buffer", query_max as u64);
        r.set("client_recent_max_output_buffer", output_max as u64);
        // Who has gone while its request was held back is only forgotten when the pause ends.
        let is_held = |id: crate::session::SessionId| {
            self.sessions.find(id).is_some_and(|session| session.deferred.is_some())
        };
        let held = self.held.iter().filter(|id| is_held(**id)).count();
        r.set("blocked_clients", (waiting + held) as u64);
        r.set("tracking_clients", tracking as u64);
        r.set("pubsub_clients", subscribers);
        r.set("watching_clients", watching);
        r.set("total_watched_keys", self.watchers.len() as u64);
        r.set("total_blocking_keys", blocking_keys as u64);
        r.set("total_blocking_keys_on_nokey", on_removal.len() as u64);
        r.set("clients_in_timeout_table", self.waiters.timed_count() as u64);
        let (reason, actions, left_ms) = self.pause_told();
        r.set("paused_reason", reason);
        r.set("paused_actions", actions);
        r.set("paused_timeout_milliseconds", left_ms);
    }

    /// Bytes of memory that the backlog takes, what is held for replicas in it not among them.
    fn backlog_bytes(&self) -> usize {
        let bytes = self.master.backlog().map_or(0, |backlog| backlog.memory_bytes());
        bytes.saturating_sub(self.master.held_bytes())
    }

    fn report_memory(&mut self, r: &mut Report, used: usize, log_bytes: usize) {
        self.counters.memory_peak = self.counters.memory_peak.max(used);
        r.set("used_memory", used as u64);
        r.set("used_memory_peak", self.counters.memory_peak as u64);
        r.set("maxmemory", self.config.maxmemory);
        r.set("maxmemory_policy", self.config.maxmemory_policy.name());
        r.set("mem_allocator", crate::ALLOCATOR);
        let of = |replicas: bool| self.sessions.iter().filter(move |(_, s)| s.is_replica == replicas);
        let clients: usize = of(false).map(|(_, s)| s.memory_bytes() - s.buffers.output_elsewhere).sum();
        let replicas = of(true).map(|(_, s)| s.memory_bytes()).sum::<usize>() + self.master.held_bytes();
        let backlog = self.backlog_bytes();
        let overhead =
            self.startup_bytes + clients + replicas + backlog + log_bytes + self.keyspace.table_bytes();
        r.set("mem_aof_buffer", log_bytes as u64);
        r.set("mem_not_counted_for_evict", (log_bytes + self.replicas_bytes()) as u64);
        r.set("mem_clients_normal", clients as u64);
        r.set("mem_clients_slaves", replicas as u64);
        r.set("used_memory_startup", self.startup_bytes as u64);
        r.set("used_memory_overhead", overhead as u64);
        self.report_scripts(r);
    }

    fn report_scripts(&self, r: &mut Report) {
        let (Some(scripts), Some(functions)) = (&self.scripts, &self.functions) else { return };
        let (eval, vm) = (scripts.memory_bytes() as u64, functions.machine_bytes() as u64);
        let catalogue = functions.catalogue_bytes() as u64;
        for (name, value) in [
            ("number_of_cached_scripts", scripts.len() as u64),
            ("number_of_functions", functions.function_count() as u64),
            ("number_of_libraries", functions.libraries().len() as u64),
            ("evicted_scripts", scripts.evicted()),
            ("used_memory_vm_eval", eval),
            ("used_memory_lua", eval),
            ("used_memory_vm_functions", vm),
            ("used_memory_vm_total", eval + vm),
            ("used_memory_functions", catalogue),
            ("used_memory_scripts", catalogue),
        ] {
            r.set(name, value);
        }
    }

    fn report_stats(&self, r: &mut Report) {
        let (counters, stats) = (&self.counters, &self.keyspace.stats);
        let (channels, patterns, shard_channels) = self.pubsub.counts();
        let full_now_us =
            self.full_since_us.map_or(0, |since_us| self.keyspace.now.mono_us.saturating_sub(since_us));
        let latest_slow = self.command_logs.slow.entries().next();
        let values = [
            ("total_connections_received", counters.connections),
            ("rejected_connections", counters.rejected_connections),
            ("total_commands_processed", counters.commands),
            ("instantaneous_ops_per_sec", self.rate.per_second()),
            ("total_error_replies", counters.error_replies),
            ("expired_keys", stats.expired),
            ("expired_subkeys", stats.expired_fields),
            ("evicted_keys", stats.evicted),
            ("tracking_total_keys", self.tracking.counts().1 as u64),
            ("tracking_total_items", self.tracking.item_count() as u64),
            ("tracking_total_prefixes", self.tracking.prefix_count() as u64),
            ("evicted_clients", counters.evicted_clients),
            ("keyspace_hits", stats.hits),
            ("keyspace_misses", stats.misses),
            ("expired_time_cap_reached_count", stats.expire_budget_ends),
            ("total_eviction_exceeded_time", (counters.full_us + full_now_us) / 1000),
            ("current_eviction_exceeded_time", full_now_us / 1000),
            ("dump_payload_sanitizations", stats.payload_checks),
            ("pubsub_channels", channels as u64),
            ("pubsub_patterns", patterns as u64),
            ("pubsubshard_channels", shard_channels as u64),
            ("acl_access_denied_auth", counters.acl_denied[0]),
            ("acl_access_denied_cmd", counters.acl_denied[1]),
            ("acl_access_denied_key", counters.acl_denied[2]),
            ("acl_access_denied_channel", counters.acl_denied[3]),
            ("acl_access_denied_tls_cert", counters.certificates_denied),
            ("tandem_oom_refusals", counters.oom_refusals),
            ("unreplicated_refusals", counters.unreplicated_refusals),
            ("too_few_replicas", u64::from(self.replicas_complaint().is_some())),
            ("tandem_queues", self.keyspace.queues.len() as u64),
            ("tandem_queues_dropped", self.keyspace.queues.dropped()),
            ("rdb_changes_since_last_save", self.keyspace.effects.dirty),
            ("slowlog_len", self.command_logs.slow.len() as u64),
            ("slowlog_last_id", latest_slow.map_or(0, |entry| entry.id)),
            ("slowlog_last_usec", latest_slow.map_or(0, |entry| entry.value)),
            ("eventloop_duration_cmd_sum", self.command_stats.iter().map(|s| s.nanos).sum::<u64>() / 1000),
        ];
        values.into_iter().for_each(|(name, value)| r.set(name, value));
    }

    fn report_commands(&self, r: &mut Report) {
        for (command, stats) in self.table.commands.iter().zip(&self.command_stats) {
            if stats.calls + stats.rejected + stats.failed > 0 {
                r.command(command.spec.name, stats);
            }
        }
        r.errors(&self.error_stats);
        r.percentiles(&self.config.latency_percentiles);
        r.track_latency(self.config.latency_tracking);
        for index in 0..self.keyspace.database_count() {
            let db = self.keyspace.database(index).stats(self.keyspace.now.unix_ms);
            r.database(
                index,
                db.keys as u64,
                db.expiring as u64,
                db.avg_ttl_ms as u64,
                db.field_expiring as u64,
            );
        }
    }
}

/// Elements of a value, or bytes of a string.
fn size_of(view: View<'_>) -> u64 {
    let size = match view {
        View::Int(value) => value.to_string().len(),
        View::Str(bytes) => bytes.len(),
        View::List(list) => list.len(),
        View::Set(set) => set.len(),
        View::ZSet(zset) => zset.len(),
        View::Hash(hash) => hash.len(),
        View::Stream(stream) => return stream.entry_count(),
    };
    size as u64
}
