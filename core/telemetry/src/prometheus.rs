//! A report as Prometheus reads it.
//!
//! Each scrape fills a recorder of its own, so that a series whose labels have changed (a role, a policy)
//! leaves nothing behind. The recorder knows whole counters and gauges; counters with a fraction, finished
//! histograms and percentiles have no form in it and are written here.

use std::fmt::Write;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::fields::{Metric, TABLE};
use crate::info::{Queue, Report};
use crate::stats::CommandStats;

/// Bounds of the latency buckets are 2^0 to 2^this microseconds, about a second.
const BUCKET_POWER_MAX: u32 = 20;

/// The exposition text. `redis_rdb_last_save_timestamp_seconds` is left out for a cache, which never saves:
/// common alerts would take it for a missing backup.
pub fn prometheus(report: &Report) -> String {
    let out = Out(PrometheusBuilder::new().build_recorder());
    let mut own = String::new();
    let is_cache = report.text("profile").as_deref() == Some("cache");
    for field in TABLE {
        let Some(text) = report.text(field.name) else { continue };
        let value = value_of(&text);
        match field.metric {
            Metric::None => {}
            Metric::Gauge("redis_rdb_last_save_timestamp_seconds", _) if is_cache => {}
            Metric::Gauge(name, help) => out.gauge(name, help, Vec::new(), value),
            Metric::Labelled(name, help, (label, of)) => {
                out.gauge(name, help, vec![Label::new(label, of)], value);
            }
            Metric::Scaled(name, help, factor) => out.gauge(name, help, Vec::new(), value * factor),
            Metric::Counter(name, help) => out.counter(name, help, Vec::new(), value as u64),
            Metric::Seconds(name, help) => {
                family(&mut own, name, "counter", help);
                writeln!(own, "{name} {value}").expect("a String takes any text");
            }
        }
    }
    instance(&out, report);
    own_instance(&out, report);
    databases(&out, report);
    replicas(&out, report);
    queues(&mut own, report);
    commands(&out, &mut own, report);
    let mut text = out.0.handle().render();
    text.push_str(&own);
    text
}

struct Out(PrometheusRecorder);

const METADATA: Metadata<'static> = Metadata::new("tandem", Level::INFO, None);

impl Out {
    fn gauge(&self, name: &'static str, help: &str, labels: Vec<Label>, value: f64) {
        self.0.describe_gauge(KeyName::from_const_str(name), None, help.to_string().into());
        self.0.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
    }

    fn counter(&self, name: &'static str, help: &str, labels: Vec<Label>, value: u64) {
        self.0.describe_counter(KeyName::from_const_str(name), None, help.to_string().into());
        self.0.register_counter(&Key::from_parts(name, labels), &METADATA).absolute(value);
    }
}

/// Redis' words for good and bad are 1 and 0.
fn value_of(text: &str) -> f64 {
    match text {
        "ok" | "true" => 1.0,
        other => other.parse().unwrap_or(0.0),
    }
}

fn instance(out: &Out, report: &Report) {
    const LABELS: &[&str] = &[
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
    ];
    let labels = LABELS.iter().map(|name| Label::new(*name, report.text(name).unwrap_or_default())).collect();
    out.gauge("redis_instance_info", "The instance, in labels.", labels, 1.0);
    out.gauge("redis_up", "The server answers.", Vec::new(), 1.0);
    let rss_ratio = report.number("mem_fragmentation_ratio");
    out.gauge("redis_memory_fragmentation_ratio", "Resident memory by used memory.", Vec::new(), rss_ratio);
    out.gauge(
        "redis_config_maxmemory",
        "Directive maxmemory, bytes.",
        Vec::new(),
        report.number("maxmemory"),
    );
    out.gauge("redis_config_maxclients", "Directive maxclients.", Vec::new(), report.number("maxclients"));
}

/// What the instance is in Tandem's own terms, and how long its certificates are still good.
fn own_instance(out: &Out, report: &Report) {
    let text = |name| report.text(name).unwrap_or_default();
    let labels = vec![Label::new("profile", text("profile")), Label::new("version", text("tandem_version"))];
    out.gauge("tandem_instance_info", "The instance's profile and Tandem's version, in labels.", labels, 1.0);
    for (of, serial, left) in [
        ("server", "tls_server_cert_serial", "tls_server_cert_expires_in_seconds"),
        ("authority", "tls_ca_cert_serial", "tls_ca_cert_expires_in_seconds"),
    ] {
        if text(serial) == "none" {
            continue;
        }
        out.gauge(
            "tandem_certificate_expires_in_seconds",
            "Seconds until a certificate in use ends; 0 when it has.",
            vec![Label::new("of", of)],
            report.number(left),
        );
    }
}

fn replicas(out: &Out, report: &Report) {
    for replica in &report.replicas {
        let labels = || {
            vec![
                Label::new("slave_ip", replica.address.clone()),
                Label::new("slave_port", replica.port.to_string()),
                Label::new("slave_state", replica.state.clone()),
            ]
        };
        let (offset, lag_s) = (replica.offset as f64, replica.lag_s as f64);
        out.gauge(
            "redis_connected_slave_offset_bytes",
            "What a replica has applied, bytes.",
            labels(),
            offset,
        );
        out.gauge(
            "redis_connected_slave_lag_seconds",
            "Seconds since a replica was heard of.",
            labels(),
            lag_s,
        );
    }
}

fn databases(out: &Out, report: &Report) {
    for db in &report.databases {
        let labels = || vec![Label::new("db", format!("db{}", db.index))];
        out.gauge("redis_db_keys", "Keys of a database.", labels(), db.keys as f64);
        out.gauge("redis_db_keys_expiring", "Keys with an expiry.", labels(), db.expiring as f64);
        let ttl_s = db.avg_ttl_ms as f64 / 1000.0;
        out.gauge("redis_db_avg_ttl_seconds", "Mean time that such keys have left.", labels(), ttl_s);
    }
    for key in &report.keys {
        // The recorder takes two backslashes for one.
        let name = key.name.replace('\\', "\\\\");
        let labels = vec![Label::new("db", format!("db{}", key.db)), Label::new("key", name)];
        out.gauge(
            "redis_key_size",
            "Elements of a key named in metrics-keys, or bytes of a string.",
            labels,
            key.size as f64,
        );
    }
    for (name, count) in report.errors.iter() {
        let labels = vec![Label::new("err", name.to_string())];
        out.counter("redis_errors_total", "Error replies by their first word.", labels, count);
    }
}

/// One figure of a queue as a sample.
type QueueFamily = (&'static str, &'static str, &'static str, fn(&Queue) -> Option<f64>);

/// What is told of each queue, without its states.
const QUEUE_FAMILIES: [QueueFamily; 5] = [
    ("tandem_queue_oldest_age_seconds", "gauge", "Age of the oldest job that waits.", |queue| {
        queue.oldest_age_ms.map(|ms| ms as f64 / 1000.0)
    }),
    ("tandem_queue_oldest_failed_age_seconds", "gauge", "Age of the oldest job that failed.", |queue| {
        queue.oldest_failed_age_ms.map(|ms| ms as f64 / 1000.0)
    }),
    ("tandem_queue_workers", "gauge", "Clients that wait on a queue.", |queue| Some(queue.workers as f64)),
    ("tandem_queue_added_total", "counter", "Jobs that came into a queue.", |queue| Some(queue.added as f64)),
    ("tandem_queue_taken_total", "counter", "Jobs that were taken from a queue.", |queue| {
        Some(queue.taken as f64)
    }),
];

/// Written here and not through the recorder, which takes a backslash in a label for the beginning of an escape: names that differ in
/// nothing else would be one series twice, of which Prometheus believes no scrape.
fn queues(own: &mut String, report: &Report) {
    if report.queues.is_empty() {
        return;
    }
    let labelled: Vec<(String, &Queue)> = report.queues.iter().map(|queue| (labels(queue), queue)).collect();
    family(own, "tandem_queue_depth", "gauge", "Jobs of a queue by state.");
    for (labels, queue) in &labelled {
        for (state, count) in &queue.states {
            sample(own, "tandem_queue_depth", &format!("{labels},state=\"{state}\""), *count as f64);
        }
    }
    for (name, kind, help, value) in QUEUE_FAMILIES {
        let mut samples =
            labelled.iter().filter_map(|(labels, queue)| Some((labels, value(queue)?))).peekable();
        if samples.peek().is_some() {
            family(own, name, kind, help);
        }
        samples.for_each(|(labels, value)| sample(own, name, labels, value));
    }
    bullmq(own, report);
}

/// What BullMQ's own metrics tell, by their names.
fn bullmq(own: &mut String, report: &Report) {
    let queues: Vec<&Queue> = report.queues.iter().filter(|queue| queue.kind == "bullmq").collect();
    if queues.is_empty() {
        return;
    }
    family(own, "bullmq_job_count", "gauge", "Number of jobs in the queue by state");
    for queue in &queues {
        let name = label_value(&queue.name);
        for (state, count) in &queue.states {
            let labels = format!("queue=\"{name}\",state=\"{state}\"");
            sample(own, "bullmq_job_count", &labels, *count as f64);
        }
    }
    for (at, name, help) in [
        (0, "bullmq_job_completed_total", "Total number of completed jobs"),
        (1, "bullmq_job_failed_total", "Total number of failed jobs"),
    ] {
        family(own, name, "counter", help);
        for queue in &queues {
            let count = queue.finished.map_or(0, |finished| finished[at]);
            sample(own, name, &format!("queue=\"{}\"", label_value(&queue.name)), count as f64);
        }
    }
}

fn labels(queue: &Queue) -> String {
    format!("queue=\"{}\",kind=\"{}\"", label_value(&queue.name), queue.kind)
}

fn sample(own: &mut String, name: &str, labels: &str, value: f64) {
    writeln!(own, "{name}{{{labels}}} {value}").expect("a String takes any text");
}

/// A label's value as the exposition format wants it.
fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn commands(out: &Out, own: &mut String, report: &Report) {
    for (name, stats) in &report.commands {
        let labels = || vec![Label::new("cmd", name.clone())];
        out.counter("redis_commands_total", "Calls of a command.", labels(), stats.calls);
        out.counter("redis_commands_failed_calls_total", "Calls that failed.", labels(), stats.failed);
        out.counter(
            "redis_commands_rejected_calls_total",
            "Calls refused before they ran.",
            labels(),
            stats.rejected,
        );
    }
    if report.commands.is_empty() {
        return;
    }
    let duration = "redis_commands_duration_seconds_total";
    family(own, duration, "counter", "Time in a command.");
    for (name, stats) in &report.commands {
        let seconds = stats.nanos as f64 / 1e9;
        writeln!(own, "{duration}{{cmd=\"{name}\"}} {seconds}").expect("a String takes any text");
    }
    let called: Vec<_> = report.commands.iter().filter(|(_, stats)| !stats.histogram.is_empty()).collect();
    if called.is_empty() {
        return;
    }
    family(own, "redis_commands_latencies_usec", "histogram", "How long calls took, microseconds.");
    called.iter().for_each(|(name, stats)| histogram(own, name, stats));
    family(
        own,
        "redis_latency_percentiles_usec",
        "summary",
        "Percentiles of how long calls took, microseconds.",
    );
    called.iter().for_each(|(name, stats)| percentiles(own, name, stats, &report.percentiles));
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a String takes any text");
}

/// Command names need no escaping: they come from the command table.
fn histogram(out: &mut String, cmd: &str, stats: &CommandStats) {
    const NAME: &str = "redis_commands_latencies_usec";
    let total = stats.histogram.len();
    let bounds =
        (0..=BUCKET_POWER_MAX).map(|power| ((1u64 << power).to_string(), stats.histogram.below_us(power)));
    for (bound, count) in bounds.chain(std::iter::once(("+Inf".to_string(), total))) {
        writeln!(out, "{NAME}_bucket{{cmd=\"{cmd}\",le=\"{bound}\"}} {count}")
            .expect("a String takes any text");
    }
    let sum = stats.nanos as f64 / 1000.0;
    write!(out, "{NAME}_sum{{cmd=\"{cmd}\"}} {sum}\n{NAME}_count{{cmd=\"{cmd}\"}} {total}\n")
        .expect("a String takes any text");
}

fn percentiles(out: &mut String, cmd: &str, stats: &CommandStats, percentiles: &[f64]) {
    const NAME: &str = "redis_latency_percentiles_usec";
    for percent in percentiles {
        let value = stats.histogram.percentile_us(*percent);
        writeln!(out, "{NAME}{{cmd=\"{cmd}\",quantile=\"{percent}\"}} {value}")
            .expect("a String takes any text");
    }
    let (sum, count) = (stats.nanos as f64 / 1000.0, stats.histogram.len());
    write!(out, "{NAME}_sum{{cmd=\"{cmd}\"}} {sum}\n{NAME}_count{{cmd=\"{cmd}\"}} {count}\n")
        .expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::tests::sample;

    #[test]
    fn names_and_labels_are_those_of_redis_exporter() {
        let mut report = sample();
        report.key_size(1, b"cel\"ery", 7);
        let text = prometheus(&report);
        for line in [
            "redis_up 1",
            "redis_memory_used_bytes 941032",
            "redis_memory_max_bytes 1073741824",
            "redis_memory_fragmentation_ratio 2",
            "redis_cpu_sys_seconds_total 0.25",
            "redis_rdb_last_bgsave_status 1",
            "redis_db_keys{db=\"db0\"} 3",
            "redis_db_keys{db=\"db1\"} 0",
            "redis_db_avg_ttl_seconds{db=\"db0\"} 1.5",
            "redis_commands_total{cmd=\"get\"} 2",
            "redis_commands_duration_seconds_total{cmd=\"get\"} 0.000006",
            "redis_commands_rejected_calls_total{cmd=\"config|get\"} 1",
            "redis_errors_total{err=\"ERR\"} 1",
            "redis_key_size{db=\"db1\",key=\"cel\\\"ery\"} 7",
            "redis_exporter_last_scrape_error{err=\"\"} 0",
            "redis_cluster_enabled 0",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"4\"} 1",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"} 2",
            "redis_commands_latencies_usec_count{cmd=\"get\"} 2",
            "# TYPE redis_commands_latencies_usec histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("redis_instance_info{") && text.contains("redis_total_system_memory_bytes"));
    }

    fn queue(name: &str, kind: &'static str) -> Queue {
        Queue {
            name: name.to_owned(),
            kind,
            states: vec![("waiting", 2), ("failed", 0)],
            workers: 1,
            added: 5,
            taken: 3,
            finished: Some([7, 8]),
            oldest_age_ms: (kind == "list").then_some(1500),
            oldest_failed_age_ms: None,
        }
    }

    #[test]
    fn whatever_queues_and_keys_are_called_each_has_a_series_of_its_own() {
        let mut report = sample();
        let names =
            ["a", "a\\", "a\\\\", "a\\\\\\", "a\"", "a\\\"", "a\\n", "a\n", "{}", "a,b=\"c", "\u{fc}"];
        for name in names {
            ["list", "bullmq"].into_iter().for_each(|kind| report.queue(queue(name, kind)));
            report.key_size(0, name.as_bytes(), 1);
        }
        let text = prometheus(&report);
        let mut series = std::collections::HashSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            assert!(series.insert(line.rsplit_once(' ').unwrap().0), "{line} twice");
        }
        for (family, count) in [
            ("tandem_queue_depth", 44),
            ("tandem_queue_workers", 22),
            ("bullmq_job_count", 22),
            ("bullmq_job_failed_total", 11),
            ("redis_key_size", 11),
        ] {
            let told = series.iter().filter(|series| series.starts_with(&format!("{family}{{"))).count();
            assert_eq!(told, count, "{family}");
        }
        for line in [
            r#"tandem_queue_depth{queue="a\\\"",kind="list",state="waiting"} 2"#,
            r#"tandem_queue_oldest_age_seconds{queue="a\n",kind="list"} 1.5"#,
            r#"tandem_queue_added_total{queue="a\\n",kind="bullmq"} 5"#,
            r#"bullmq_job_completed_total{queue="a\\\\"} 7"#,
            r#"redis_key_size{db="db0",key="a\\\""} 1"#,
            r#"redis_key_size{db="db0",key="a\\\\"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_of_a_declared_family() {
        let text = prometheus(&sample());
        let mut families = std::collections::HashSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().unwrap()), "{line} twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = series.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                assert!(
                    families.contains(name) || base.is_some_and(|base| families.contains(base)),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn only_a_certificate_that_is_there_can_end() {
        let mut report = sample();
        report.set("profile", "queue");
        report.set("tandem_version", "1.2.3");
        let name = "tandem_certificate_expires_in_seconds";
        assert!(!prometheus(&report).contains(name));
        report.set("tls_server_cert_serial", "07");
        report.set("tls_server_cert_expires_in_seconds", 90u64);
        let text = prometheus(&report);
        assert!(text.contains(&format!("{name}{{of=\"server\"}} 90\n")) && !text.contains("authority"));
        assert!(text.contains("tandem_instance_info{profile=\"queue\",version=\"1.2.3\"} 1\n"));
    }

    #[test]
    fn a_cache_that_never_saves_has_no_time_of_its_last_save() {
        let mut report = sample();
        assert!(prometheus(&report).contains("redis_rdb_last_save_timestamp_seconds"));
        report.set("profile", "cache");
        assert!(!prometheus(&report).contains("redis_rdb_last_save_timestamp_seconds"));
    }
}
