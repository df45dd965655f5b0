//! The fields of INFO that only the server knows: process, persistence, allocator, threads.

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::Report;
use telemetry::V;

use crate::saver::{Kind, Work};
use crate::shared::{Pulse, Shared};

/// What stays as it is while the process runs. It is read once: clients ask for INFO as they connect, and a dozen of the
/// kernel's files take several times as long as all the rest of it.
static HOST: LazyLock<Host> = LazyLock::new(Host::read);

struct Host {
    os: String,
    executable: String,
    memory_bytes: u64,
}

impl Host {
    fn read() -> Host {
        let executable = std::env::current_exe().unwrap_or_default();
        let measured = config::machine::read(&config::machine::Places::default());
        Host {
            os: os(),
            executable: executable.to_str().unwrap_or("").to_owned(),
            memory_bytes: measured.machine,
        }
    }
}

/// Adds them. Runs with the engine held, so it only looks at what is at hand.
pub(crate) fn fill(shared: &Shared, report: &mut Report) {
    fill_server(shared, report);
    fill_meters(shared, report);
    fill_persistence(shared, report);
    fill_memory(shared, report);
    fill_cpu(shared, report);
    fill_certificates(shared, report);
    let end = shared.durable.journal().end();
    shared.archiving.fill(end, shared.clock.now().unix_ms, report);
}

/// The certificates in use: their serial numbers, and the seconds until they end.
fn fill_certificates(shared: &Shared, report: &mut Report) {
    let [server, authority] = shared.certificates.get().map(|all| all.facts()).unwrap_or_default();
    let now = std::time::SystemTime::now();
    for (of, facts) in [("server", server), ("ca", authority)] {
        let Some(facts) = facts else { continue };
        let left = facts.not_after.duration_since(now).unwrap_or_default();
        report.set(&format!("tls_{of}_cert_serial"), facts.serial.as_str());
        report.set(&format!("tls_{of}_cert_expires_in_seconds"), left.as_secs());
    }
}

fn fill_server(shared: &Shared, report: &mut Report) {
    report.set("process_id", u64::from(std::process::id()));
    report.set("profile", shared.profile.name());
    report.set("io_threads_active", u64::from(shared.inboxes.len() > 1));
    report.set("config_file", shared.files.config.as_ref().map_or("", |path| path.to_str().unwrap_or("")));
    report.set("executable", HOST.executable.as_str());
    report.set("os", HOST.os.as_str());
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    report.set("client_query_buffer_limit_disconnections", count(&shared.query_disconnections));
    report.set("client_output_buffer_limit_disconnections", count(&shared.output_disconnections));
    report.set("migrate_cached_sockets", shared.links.count() as u64);
}

/// System, release and machine, as `uname -srm` tells them.
fn os() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    format!("{} {} {}", read("ostype").trim(), read("osrelease").trim(), std::env::consts::ARCH)
}

fn fill_meters(shared: &Shared, report: &mut Report) {
    let totals = shared.meters.totals(&shared.pulses);
    // What threads beside the first have done.
    let beside = |of: fn(&Pulse) -> &AtomicU64| -> u64 {
        shared.pulses.iter().skip(1).map(|pulse| of(pulse).load(Ordering::Relaxed)).sum()
    };
    for (name, value) in [
        ("total_net_input_bytes", totals.bytes_in),
        ("total_net_output_bytes", totals.bytes_out),
        ("total_reads_processed", totals.reads),
        ("total_writes_processed", totals.writes),
        ("eventloop_cycles", totals.ticks),
        ("eventloop_duration_sum", totals.busy_us),
        ("lazyfree_pending_objects", shared.meters.free_pending.load(Ordering::Relaxed)),
        ("io_threaded_reads_processed", beside(|pulse| &pulse.reads)),
        ("io_threaded_writes_processed", beside(|pulse| &pulse.writes)),
        ("lazyfreed_objects", shared.meters.freed.load(Ordering::Relaxed)),
    ] {
        report.set(name, value);
    }
    let rates = shared.meters.rates.lock();
    report.set("instantaneous_input_kbps", V::F(rates.bytes_in.per_second() as f64 / 1024.0, 2));
    report.set("instantaneous_output_kbps", V::F(rates.bytes_out.per_second() as f64 / 1024.0, 2));
    let ticks = rates.ticks.per_second();
    report.set("instantaneous_eventloop_cycles_per_sec", ticks);
    report.set(
        "instantaneous_eventloop_duration_usec",
        rates.busy_us.per_second().checked_div(ticks).unwrap_or(0),
    );
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

fn fill_persistence(shared: &Shared, report: &mut Report) {
    let loading = &shared.loading;
    report.set("loading", u64::from(shared.is_loading()));
    report.set("rdb_last_load_keys_loaded", loading.keys_loaded.load(Ordering::Relaxed));
    report.set("rdb_last_load_keys_expired", loading.keys_expired.load(Ordering::Relaxed));
    fill_saver(&shared.saver.work(), shared.clock.micros() / 1_000_000, report);
    fill_replication(shared, report);
    if let Some(left_ms) = shared.joined_stop.left_ms(shared.clock.micros()) {
        report.set("shutdown_in_milliseconds", left_ms);
    }
    fill_log(shared, report);
    if shared.is_loading() {
        let done = loading.bytes_done.load(Ordering::Relaxed);
        let total = loading.bytes_total.load(Ordering::Relaxed);
        report.set("loading_start_time", loading.began_unix_s.load(Ordering::Relaxed));
        report.set("loading_total_bytes", total);
        report.set("loading_loaded_bytes", done);
        report.set("loading_loaded_perc", u64::from(loading.percent()));
        report.set("loading_eta_seconds", 1u64);
    }
}

/// What the saver has to do, and what has come of it.
fn fill_saver(work: &Work, now_s: u64, report: &mut Report) {
    let run = work.run();
    let progress = run.map(|run| run.progress).unwrap_or_default();
    report.set("current_save_keys_processed", progress.keys_written);
    report.set("current_save_keys_total", progress.keys_total);
    let seconds = |value: Option<u64>| value.map_or(-1, |s| s as i64);
    let current = |kind| seconds(run.filter(|run| run.kind == kind).map(|run| now_s - run.began_s));
    // A copy for a replica is a snapshot, too.
    let is_copying = run.is_some_and(|run| run.kind == Kind::Copy);
    // What was asked for while the other kind runs is scheduled, and not in progress yet.
    let (saves, rewrites) = (work.has(Kind::Save), work.has(Kind::Rewrite));
    let waits_for_save = rewrites && saves && run.is_none_or(|run| run.kind != Kind::Rewrite);
    report.set("rdb_bgsave_in_progress", u64::from(is_copying || saves && (waits_for_save || !rewrites)));
    report.set("rdb_last_save_time", work.last_save_unix_s);
    report.set("rdb_last_bgsave_status", status(work.saves.ok));
    report.set("rdb_last_bgsave_time_sec", seconds(work.saves.took_s));
    report.set("rdb_current_bgsave_time_sec", current(Kind::Save));
    report.set("rdb_saves", work.saves.count);
    report.set("aof_rewrite_in_progress", u64::from(rewrites && !waits_for_save));
    report.set("aof_rewrite_scheduled", u64::from(waits_for_save));
    report.set("aof_last_rewrite_time_sec", seconds(work.rewrites.took_s));
    report.set("aof_current_rewrite_time_sec", current(Kind::Rewrite));
    report.set("aof_last_bgrewrite_status", status(work.rewrites.ok));
    report.set("aof_rewrites", work.rewrites.count);
}

/// What waits for replicas, what has waited for them in vain, and why there is no link to a master.
fn fill_replication(shared: &Shared, report: &mut Report) {
    let waiting = shared.pulses.iter().map(|pulse| pulse.unacked.load(Ordering::Relaxed));
    report.set("clients_waiting_for_replicas", waiting.sum::<u64>());
    if let Some(trouble) = shared.replica.trouble() {
        report.set("master_link_error", trouble.as_str());
    }
    report.set("unacknowledged_replies", shared.durable.unacknowledged.load(Ordering::Relaxed));
}

fn fill_log(shared: &Shared, report: &mut Report) {
    let journal = shared.durable.journal();
    let is_logging = journal.state().logs();
    report.set("aof_enabled", u64::from(is_logging));
    report.set("aof_last_write_status", status(journal.is_well()));
    if is_logging {
        report.set("aof_current_size", journal.sizes().all());
        report.set("aof_base_size", journal.sizes().base);
        report.set("aof_pending_rewrite", 0u64);
        report.set("aof_pending_bio_fsync", 0u64);
        report.set("aof_delayed_fsync", journal.late_syncs());
        // Where the system syncs when it likes, nobody is behind.
        if journal.policy().syncs {
            report.set("aof_fsync_lag_ms", journal.lag_us(shared.clock.micros()) / 1000);
        }
    }
}

fn fill_memory(shared: &Shared, report: &mut Report) {
    let figures = *shared.allocator.lock();
    report.set("used_memory_rss", figures.resident as u64);
    report.set("allocator_allocated", figures.allocated as u64);
    report.set("allocator_active", figures.active as u64);
    report.set("allocator_resident", figures.resident as u64);
    report.set("total_system_memory", HOST.memory_bytes);
    report.set("aof_buffer_length", shared.durable.journal().unwritten());
}

/// Processor time of the process, from the kernel's account in hundredths of a second.
fn fill_cpu(shared: &Shared, report: &mut Report) {
    const WHOLE: [(&str, usize); 4] = [
        ("used_cpu_user", 11),
        ("used_cpu_sys", 12),
        ("used_cpu_user_children", 13),
        ("used_cpu_sys_children", 14),
    ];
    fill_times(Path::new("/proc/self"), &WHOLE, report);
    let thread = shared.first_thread.lock().clone();
    if !thread.as_os_str().is_empty() {
        const FIRST: [(&str, usize); 2] =
            [("used_cpu_user_main_thread", 11), ("used_cpu_sys_main_thread", 12)];
        fill_times(&Path::new("/proc").join(thread), &FIRST, report);
    }
}

/// Fields of the account of a process or thread, each with its place behind the name.
fn fill_times(of: &Path, fields: &[(&str, usize)], report: &mut Report) {
    let text = std::fs::read_to_string(of.join("stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; behind it, time in user mode is the 12th word and in the system the 13th.
    let words: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_ascii_whitespace().collect();
    for (name, at) in fields {
        let ticks = words.get(*at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        report.set(name, format!("{:.6}", ticks / 100.0).as_str());
    }
}
