//! What the server tells of the queues among its keys: by command, metrics and INFO, to whom, and for how long.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{Client, Server, http_get, server};

/// A reply as one line of text: arrays in brackets, maps in braces.
fn read(client: &mut Client) -> String {
    let line = client.line();
    let (kind, rest) = line.split_at(1);
    let count = || rest.parse::<usize>().unwrap();
    let items =
        |client: &mut Client, count: usize| (0..count).map(|_| read(client)).collect::<Vec<_>>().join(" ");
    match kind {
        "*" | "$" if rest == "-1" => "nil".to_owned(),
        "$" => {
            let text = (0..count()).map(|_| read_byte(client)).collect();
            client.expect("\r\n");
            String::from_utf8(text).unwrap()
        }
        "*" => format!("[{}]", items(client, count())),
        "%" => format!("{{{}}}", items(client, count() * 2)),
        "_" => "nil".to_owned(),
        _ => rest.to_owned(),
    }
}

fn read_byte(client: &mut Client) -> u8 {
    let mut byte = [0];
    std::io::Read::read_exact(&mut client.stream, &mut byte).unwrap();
    byte[0]
}

fn ask(client: &mut Client, line: &str) -> String {
    client.send(format!("{line}\r\n").as_bytes());
    read(client)
}

/// What TANDEM QUEUE answers of one field.
fn of(client: &mut Client, queue: &str, field: &str) -> String {
    let told = ask(client, &format!("TANDEM QUEUE {queue}"));
    let words: Vec<&str> = told.split([' ', '[', ']', '{', '}']).filter(|word| !word.is_empty()).collect();
    let at =
        words.iter().position(|word| *word == field).unwrap_or_else(|| panic!("{field} is not in {told}"));
    words[at + 1].to_owned()
}

/// The names of all queues.
fn names(client: &mut Client) -> Vec<String> {
    let told = ask(client, "TANDEM QUEUES");
    let mut words = told.split([' ', '[', ']', '{', '}']).skip_while(|word| word.is_empty());
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        if word == "name" {
            names.push(words.next().unwrap().to_owned());
        }
    }
    names
}

/// A queue of BullMQ with two jobs that wait and one that is at work.
fn make_mail(client: &mut Client) {
    for line in [
        "HSET bull:mail:meta opts.maxLenEvents 10000 version bullmq:6.7.0",
        "HSET bull:mail:1 timestamp 1000 name a",
        "LPUSH bull:mail:wait 1 2 3",
        "LMOVE bull:mail:wait bull:mail:active LEFT LEFT",
    ] {
        assert!(!ask(client, line).starts_with("ERR"), "{line}");
    }
}

fn metrics_server(dir: &std::path::Path, words: &[&str]) -> (Server, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = port.to_string();
    (server(dir, &[&["--metrics-port", &text], words].concat()), port)
}

#[test]
fn a_queue_is_told_by_command_metrics_and_info() {
    let dir = tempfile::tempdir().unwrap();
    let (server, port) = metrics_server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    assert_eq!(ask(&mut client, "TANDEM QUEUES"), "[]");
    make_mail(&mut client);
    let told = ask(&mut client, "TANDEM QUEUE mail");
    let start = "[name mail kind bullmq db 0 key bull:mail:wait states [waiting 2 active 1 delayed 0 prioritized 0 \
                 paused 0 waiting-children 0 completed 0 failed 0 stalled 0] workers 0 added 3 taken 1 \
                 added_per_second 0 taken_per_second 0 oldest_age_ms ";
    assert!(told.starts_with(start) && told.ends_with(" oldest_failed_age_ms nil]"), "{told}");
    assert_eq!(ask(&mut client, "TANDEM QUEUE mail list"), "nil");
    assert_eq!(ask(&mut client, "TANDEM QUEUE other"), "nil");
    ask(&mut client, "HELLO 3");
    let told = ask(&mut client, "TANDEM QUEUE mail BullMQ");
    assert!(told.starts_with("{name mail kind bullmq db 0 key bull:mail:wait states {waiting 2 "), "{told}");
    assert_eq!(client.info("tandem_queues"), "1");
    let page = http_get(port, "/metrics");
    for sample in [
        "tandem_queue_depth{queue=\"mail\",kind=\"bullmq\",state=\"waiting\"} 2",
        "tandem_queue_depth{queue=\"mail\",kind=\"bullmq\",state=\"failed\"} 0",
        "tandem_queue_workers{queue=\"mail\",kind=\"bullmq\"} 0",
        "tandem_queue_added_total{queue=\"mail\",kind=\"bullmq\"} 3",
        "tandem_queue_taken_total{queue=\"mail\",kind=\"bullmq\"} 1",
        "bullmq_job_count{queue=\"mail\",state=\"active\"} 1",
        "tandem_queues_followed 1",
        "tandem_queues_dropped_total 0",
    ] {
        assert!(page.lines().any(|line| line == sample), "{sample} is not in\n{page}");
    }
    assert!(page.contains("\ntandem_queue_oldest_age_seconds{queue=\"mail\",kind=\"bullmq\"} "));
    assert!(!page.contains("tandem_queue_oldest_failed_age_seconds{"), "none has failed");
}

#[test]
fn what_a_script_moves_is_counted_as_it_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    make_mail(&mut client);
    let script = "redis.call('RPOPLPUSH','bull:mail:wait','bull:mail:active') \
                  redis.call('LPUSH','bull:mail:wait','4','5') return redis.call('LLEN','bull:mail:wait')";
    client.send(&support::request(&[b"EVAL", script.as_bytes(), b"0"]));
    assert_eq!(read(&mut client), "3");
    assert_eq!(
        (of(&mut client, "mail", "added"), of(&mut client, "mail", "taken")),
        ("5".into(), "2".into())
    );
    assert_eq!(of(&mut client, "mail", "waiting"), "3");
}

#[test]
fn whoever_waits_makes_a_queue_and_is_its_worker() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let (mut client, mut worker, mut other) = (server.client(), server.client(), server.client());
    worker.send(b"BLPOP jobs urgent 0\r\n");
    client.until_info("blocked_clients", "1");
    other.send(b"BLPOP jobs urgent 0\r\n");
    client.until_info("blocked_clients", "2");
    assert_eq!(names(&mut client), ["jobs", "urgent"]);
    assert_eq!(of(&mut client, "jobs", "workers"), "2");
    drop(other);
    client.until_info("blocked_clients", "1");
    client.ask("RPUSH jobs a b", ":2\r\n");
    worker.expect("*2\r\n$4\r\njobs\r\n$1\r\na\r\n");
    for (field, value) in [("workers", "0"), ("added", "2"), ("taken", "1"), ("waiting", "1")] {
        assert_eq!(of(&mut client, "jobs", field), value, "{field}");
    }
    let age: u64 = of(&mut client, "jobs", "oldest_age_ms").parse().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(of(&mut client, "jobs", "oldest_age_ms").parse::<u64>().unwrap() >= age + 20);
    client.ask("DEL jobs", ":1\r\n");
    assert_eq!(of(&mut client, "jobs", "taken"), "2");
    client.ask("XGROUP CREATE events readers $ MKSTREAM", "+OK\r\n");
    client.ask("XADD events 1-1 f v", "$3\r\n1-1\r\n");
    assert_eq!(
        (of(&mut client, "events/readers", "waiting"), of(&mut client, "events/readers", "added")),
        ("1".into(), "1".into())
    );
    assert!(ask(&mut client, "XREADGROUP GROUP readers one STREAMS events >").contains("1-1"));
    assert_eq!(
        (of(&mut client, "events/readers", "pending"), of(&mut client, "events/readers", "taken")),
        ("1".into(), "1".into())
    );
}

#[test]
fn calls_that_wait_for_one_reply_are_no_queues_and_no_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let (server, port) = metrics_server(dir.path(), &["--save", "", "--queues-max", "10"]);
    let (mut client, mut caller) = (server.client(), server.client());
    make_mail(&mut client);
    for number in 0..200 {
        let key = format!("reply:{number}");
        caller.send(format!("BLPOP {key} 0\r\n").as_bytes());
        client.until_info("blocked_clients", "1");
        client.ask(&format!("RPUSH {key} x"), ":1\r\n");
        assert_eq!(read(&mut caller), format!("[{key} x]"));
    }
    assert_eq!(names(&mut client), ["mail"]);
    assert_eq!(
        (client.info("tandem_queues"), client.info("tandem_queues_dropped")),
        ("1".into(), "0".into())
    );
    assert!(!http_get(port, "/metrics").contains("reply:"));
    ask(&mut client, "HSET bull:sms:meta version bullmq:6.7.0");
    assert_eq!(names(&mut client), ["mail", "sms"]);
}

#[test]
fn a_user_sees_the_queues_of_which_every_key_may_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    make_mail(&mut client);
    ask(&mut client, "HSET bull:sms:meta version bullmq:6.7.0");
    client.ask("ACL SETUSER reader on >pw %R~bull:mail:* +@read", "+OK\r\n");
    client.ask("ACL SETUSER writer on >pw %W~* %R~bull:sms:wait +@read", "+OK\r\n");
    client.ask("ACL SETUSER nobody on >pw ~* -@all +get", "+OK\r\n");
    assert_eq!(names(&mut client), ["mail", "sms"]);
    let as_user = |user: &str| {
        let mut client = server.client();
        client.ask(&format!("AUTH {user} pw"), "+OK\r\n");
        client
    };
    let mut reader = as_user("reader");
    assert_eq!(names(&mut reader), ["mail"]);
    assert_eq!(ask(&mut reader, "TANDEM QUEUE sms"), "nil");
    assert_eq!(names(&mut as_user("writer")), [""; 0]);
    assert!(ask(&mut as_user("nobody"), "TANDEM QUEUES").starts_with("NOPERM"));
}

#[test]
fn queues_beyond_the_bound_are_not_followed_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (server, port) = metrics_server(dir.path(), &["--save", "", "--queues-max", "1"]);
    let mut client = server.client();
    make_mail(&mut client);
    ask(&mut client, "HSET bull:sms:meta version bullmq:6.7.0");
    assert_eq!(names(&mut client), ["mail"]);
    assert_eq!(client.info("tandem_queues_dropped"), "1");
    assert!(http_get(port, "/metrics").lines().any(|line| line == "tandem_queues_dropped_total 1"));
    let end = Instant::now() + support::PATIENCE;
    let told = || {
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        log.matches("more queues than the 1 of queues-max").count()
    };
    while told() == 0 {
        assert!(Instant::now() < end, "the log tells nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.ask("CONFIG SET queues-max 0", "+OK\r\n");
    make_mail(&mut client);
    assert_eq!(ask(&mut client, "TANDEM QUEUES"), "[]");
    assert!(!http_get(port, "/metrics").contains("tandem_queue_depth"));
    assert_eq!(told(), 1);
}

#[test]
fn queues_that_are_there_are_found_again_when_more_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--queues-max", "0"]);
    let (mut client, mut worker, mut other) = (server.client(), server.client(), server.client());
    make_mail(&mut client);
    client.ask("SADD rq:queues rq:queue:low", ":1\r\n");
    client.ask("SELECT 3", "+OK\r\n");
    client.ask("XGROUP CREATE events readers $ MKSTREAM", "+OK\r\n");
    client.ask("SELECT 0", "+OK\r\n");
    [&mut worker, &mut other].into_iter().for_each(|one| one.send(b"BLPOP jobs 0\r\n"));
    client.until_info("blocked_clients", "2");
    let script = "for i = 1, 10000 do redis.call('LPUSH', 'other:' .. i, 'x') end";
    client.send(&support::request(&[b"EVAL", script.as_bytes(), b"0"]));
    assert_eq!(read(&mut client), "nil");
    assert_eq!(ask(&mut client, "TANDEM QUEUES"), "[]");
    client.ask("CONFIG SET queues-max 100", "+OK\r\n");
    client.ask("CONFIG SET hz 20", "+OK\r\n");
    client.until_info("tandem_queues", "4");
    assert_eq!(names(&mut client), ["db3/events/readers", "jobs", "low", "mail"]);
    client.ask("LPUSH bull:mail:wait 9", ":3\r\n");
    assert_eq!(of(&mut client, "mail", "added"), "3", "two that were there, and this one");
    assert_eq!(of(&mut client, "jobs", "workers"), "2");
}

#[test]
fn a_start_finds_the_queues_in_log_and_snapshot_and_counts_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--appendonly", "yes", "--save", ""];
    let before = server(dir.path(), &words);
    let mut client = before.client();
    make_mail(&mut client);
    client.ask("SADD queues low", ":1\r\n");
    client.ask("XGROUP CREATE events readers 0 MKSTREAM", "+OK\r\n");
    client.ask("XADD events 1-1 f v", "$3\r\n1-1\r\n");
    before.stop();
    let after_log = server(dir.path(), &words);
    check_loaded(&mut after_log.client());
    let mut client = after_log.client();
    client.ask("CONFIG SET appendonly no", "+OK\r\n");
    client.ask("SAVE", "+OK\r\n");
    after_log.stop();
    let after_snapshot = server(dir.path(), &["--save", ""]);
    check_loaded(&mut after_snapshot.client());
}

fn check_loaded(client: &mut Client) {
    assert_eq!(names(client), ["events/readers", "low", "mail"]);
    assert_eq!(of(client, "mail", "waiting"), "2");
    assert_eq!(
        (of(client, "mail", "added"), of(client, "events/readers", "added")),
        ("0".into(), "0".into())
    );
    client.ask("LPUSH bull:mail:wait x", ":3\r\n");
    client.ask("RPOP bull:mail:wait", "$1\r\n1\r\n");
    assert_eq!((of(client, "mail", "added"), of(client, "mail", "taken")), ("1".into(), "1".into()));
    client.ask("LREM bull:mail:wait 1 x", ":1\r\n");
    client.ask("RPUSH bull:mail:wait 1", ":2\r\n");
}

#[test]
fn queues_go_with_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let (mut client, mut worker, mut other) = (server.client(), server.client(), server.client());
    make_mail(&mut client);
    client.ask("RENAME bull:mail:wait bull:mail:paused", "+OK\r\n");
    for (field, value) in [("waiting", "0"), ("paused", "2"), ("added", "3"), ("taken", "1")] {
        assert_eq!(of(&mut client, "mail", field), value, "{field}");
    }
    client.ask("RENAME bull:mail:paused bull:mail:wait", "+OK\r\n");
    client.ask("RPOP bull:mail:wait", "$1\r\n1\r\n");
    assert_eq!(of(&mut client, "mail", "taken"), "2");
    [&mut worker, &mut other].into_iter().for_each(|one| one.send(b"BLPOP jobs 0\r\n"));
    client.until_info("blocked_clients", "2");
    client.ask("SWAPDB 0 5", "+OK\r\n");
    assert_eq!(names(&mut client), ["db5/mail", "jobs"]);
    client.ask("SWAPDB 0 5", "+OK\r\n");
    assert_eq!(names(&mut client), ["jobs", "mail"]);
    client.ask("LPUSH bull:mail:wait 9", ":2\r\n");
    assert_eq!(of(&mut client, "mail", "added"), "4");
    client.ask("FLUSHALL", "+OK\r\n");
    assert_eq!(names(&mut client), ["jobs"], "somebody still waits");
    drop((worker, other));
    client.until_info("blocked_clients", "0");
    client.ask("FLUSHALL", "+OK\r\n");
    assert_eq!(names(&mut client), [""; 0]);
    make_mail(&mut client);
    client.ask("DEL bull:mail:meta bull:mail:wait bull:mail:active", ":3\r\n");
    assert_eq!(names(&mut client), [""; 0]);
}
