//! Snapshots and bases as files: what is in them, what is read from them, and what is refused.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{Read, Write};
use std::path::Path;

use persist::rdb::{
    Consumer, Group, Item, Pending, Reader, StreamEntry, StreamId, StreamMeta, StreamParts, Writer, kind,
};
use profiles::Profile;
use support::server;

/// A digest of everything that DUMP says of a key.
fn digest(client: &mut support::Client, key: &str) -> String {
    client.send(format!("EVAL \"return redis.sha1hex(redis.call('DUMP', KEYS[1]))\" 1 {key}\r\n").as_bytes());
    assert_eq!(client.line(), "$40", "{key}");
    client.line()
}

/// Streams whose numbers contradict each other, as a file may have them.
fn odd_streams() -> Vec<StreamParts> {
    let id = |ms, seq| StreamId { ms, seq };
    let entry =
        |ms, fields| StreamEntry { id: id(ms, 0), fields: vec![(b"f".to_vec(), b"v".to_vec()); fields] };
    let consumer = Consumer { name: b"c".to_vec(), seen_ms: 5, active_ms: -1 };
    let pending = |ms, delivered_ms, delivery_count| Pending {
        id: id(ms, 0),
        delivered_ms,
        delivery_count,
        consumer: 0,
    };
    let group = |last_id, entries_read, pending: Vec<Pending>| Group {
        name: b"g".to_vec(),
        last_id,
        entries_read,
        consumers: if pending.is_empty() { vec![] } else { vec![consumer.clone()] },
        pending,
    };
    let meta = |last_id, max_deleted_id, entries_added, groups| StreamMeta {
        last_id,
        max_deleted_id,
        entries_added,
        groups,
        ..StreamMeta::default()
    };
    let (zero, late) = (id(0, 0), id(u64::MAX, u64::MAX));
    vec![
        StreamParts { entries: vec![], node_starts: vec![], meta: meta(zero, zero, 0, vec![]) },
        StreamParts {
            entries: vec![],
            node_starts: vec![],
            meta: meta(zero, late, u64::MAX, vec![group(late, Some(7), vec![])]),
        },
        StreamParts {
            entries: vec![entry(5, 1)],
            node_starts: vec![0],
            meta: meta(id(5, 0), late, 0, vec![]),
        },
        StreamParts {
            entries: vec![entry(5, 1)],
            node_starts: vec![0],
            meta: meta(id(6, 0), id(9, 0), u64::MAX, vec![]),
        },
        StreamParts {
            entries: vec![entry(5, 1), entry(7, 2)],
            node_starts: vec![0],
            meta: meta(late, late, 1, vec![]),
        },
        StreamParts {
            entries: vec![entry(5, 1), entry(7, 1)],
            node_starts: vec![0],
            meta: meta(
                id(7, 0),
                zero,
                2,
                vec![group(zero, Some(u64::MAX - 1), vec![pending(5, 7, u64::MAX)])],
            ),
        },
        StreamParts {
            entries: vec![entry(5, 1)],
            node_starts: vec![0],
            meta: meta(
                id(7, 0),
                zero,
                2,
                vec![group(id(7, 0), None, vec![pending(5, i64::MAX, 0), pending(9, -7, 1)])],
            ),
        },
    ]
}

#[test]
fn streams_with_odd_numbers_survive_a_base_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(false, true);
    writer.header(persist::rdb::VERSION);
    writer.select_db(0);
    let streams = odd_streams();
    for (n, stream) in streams.iter().enumerate() {
        writer.key(kind::STREAM_LISTPACKS_3, format!("s{n}").as_bytes());
        stream.write(&mut writer, kind::STREAM_LISTPACKS_3);
    }
    writer.end();
    std::fs::write(dir.path().join("dump.rdb"), writer.take()).unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let first = server(dir.path(), &words);
    let keys: Vec<String> = (0..streams.len()).map(|n| format!("s{n}")).collect();
    let mut client = first.client();
    // The snapshot was the first base; one of commands follows it.
    client.until_info("aof_rewrite_in_progress", "0");
    let before: Vec<String> = keys.iter().map(|key| digest(&mut client, key)).collect();
    drop(client);
    first.stop();
    let second = server(dir.path(), &words);
    let mut client = second.client();
    for (key, before) in keys.iter().zip(before).take(5) {
        assert_eq!(digest(&mut client, key), before, "{key}");
    }
    // Commands do not tell when a consumer was seen. What is pending of deleted entries stays, unlike in Redis.
    for (key, pending) in [("s5", 1), ("s6", 2)] {
        client.send(format!("XPENDING {key} g\r\n").as_bytes());
        assert_eq!((client.line(), client.line()), ("*4".to_owned(), format!(":{pending}")), "{key}");
        (0..10).for_each(|_| drop(client.line()));
    }
}

/// How many keys the snapshot holds.
fn keys(dir: &Path) -> usize {
    let bytes = std::fs::read(dir.join("dump.rdb")).unwrap();
    let mut reader = Reader::new(&bytes[..], None, true).unwrap();
    let mut keys = 0;
    while let Some(item) = reader.next().unwrap() {
        keys += usize::from(matches!(item, Item::Entry(_)));
    }
    keys
}

#[test]
fn flushall_is_kept_when_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "3600 1000"]);
    let mut client = server.client();
    client.ask("SET key value", "+OK\r\n");
    client.ask("SAVE", "+OK\r\n");
    assert_eq!(keys(dir.path()), 1);
    client.ask("FLUSHALL", "+OK\r\n");
    assert_eq!(keys(dir.path()), 0);
    client.ask("BGSAVE", "+Background saving started\r\n");
}

#[test]
fn a_save_in_the_background_can_be_called_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--rdb-key-save-delay", "10000000"]);
    let mut client = server.client();
    client.ask("MSET a 1 b 2", "+OK\r\n");
    const NONE: &str = "-ERR Background saving is currently not in progress or scheduled\r\n";
    client.ask("BGSAVE CANCEL", NONE);
    // At once, while the save is only promised, and when it runs.
    for wait_ms in [0, 0, 50] {
        client.ask("BGSAVE", "+Background saving started\r\n");
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        client.send(b"BGSAVE CANCEL\r\n");
        let reply = client.line();
        assert!(reply.starts_with('+') && reply.ends_with("ackground saving cancelled"), "{reply}");
        client.until_info("rdb_bgsave_in_progress", "0");
        client.until("BGSAVE CANCEL", NONE.trim_end());
    }
    assert!(!dir.path().join("dump.rdb").exists());
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    client.ask("CONFIG SET rdb-key-save-delay 0", "+OK\r\n");
    client.ask("SAVE", "+OK\r\n");
    assert_eq!(keys(dir.path()), 2);
    client.ask("BGSAVE FOO", "-ERR syntax error\r\n");
}

#[test]
fn a_damaged_snapshot_keeps_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), b"REDIS0010 and then nonsense").unwrap();
    let error = tandem_server::start(Profile::Plain, &words(dir.path()), false).unwrap_err();
    assert!(error.to_string().contains("dump.rdb"), "{error}");
    let told = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(told.matches("dump.rdb").count(), 1, "{told}");
    assert!(!error.is_told, "nobody reads that file for the one who starts it");
}

#[test]
fn a_cache_begins_empty_whatever_lies_in_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), b"REDIS0010 and then nonsense").unwrap();
    let running = tandem_server::start(Profile::Cache, &words(dir.path()), false).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(dir.path().join("s")).unwrap();
    client.set_read_timeout(Some(support::PATIENCE)).unwrap();
    for (request, reply) in [("DBSIZE", ":0\r\n"), ("SAVE", "-ERR a cache writes nothing to disk")] {
        client.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut got = vec![0; reply.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), reply);
    }
    drop(client);
    running.stop();
    running.wait();
    assert_eq!(std::fs::read(dir.path().join("dump.rdb")).unwrap(), b"REDIS0010 and then nonsense");
}

/// The words for a server that listens on a Unix socket only.
fn words(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let words = [("--port", "0".to_owned()), ("--metrics-port", "0".to_owned()), ("--unixsocket", path("s"))];
    let places = [("--dir", path("")), ("--logfile", path("log"))];
    words.into_iter().chain(places).flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

#[test]
fn a_snapshot_that_has_a_key_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = |keys: &[&[u8]]| {
        let records = keys.iter().flat_map(|key| [b"\0\x01", *key, b"\x01v"].concat());
        // A checksum of zeros is none.
        b"REDIS0011\xfe\0".iter().copied().chain(records).chain(*b"\xff\0\0\0\0\0\0\0\0").collect::<Vec<u8>>()
    };
    std::fs::write(dir.path().join("dump.rdb"), snapshot(&[b"a", b"b", b"a"])).unwrap();
    let why = support::refusal(dir.path(), &[]);
    assert!(why.contains("RDB has duplicated key 'a' in DB 0"), "{why}");
    std::fs::write(dir.path().join("dump.rdb"), snapshot(&[b"a", b"b"])).unwrap();
    let server = server(dir.path(), &[]);
    server.client().ask("DBSIZE", ":2\r\n");
}

#[test]
fn who_hears_that_a_save_has_failed_is_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "3600 1"]);
    let mut client = server.client();
    client.ask("SET a 1", "+OK\r\n");
    // Nothing can take the place of a directory that is not empty.
    std::fs::create_dir_all(dir.path().join("dump.rdb/x")).unwrap();
    for line in ["SAVE", "SHUTDOWN"] {
        client.send(format!("{line}\r\n").as_bytes());
        let told = client.line();
        assert!(told.starts_with("-ERR"), "{line}: {told}");
        assert_eq!(client.info("rdb_last_bgsave_status"), "ok", "{line}");
        client.ask("SET b 1", "+OK\r\n");
    }
    client.ask("BGSAVE", "+Background saving started\r\n");
    client.until_info("rdb_last_bgsave_status", "err");
    client.send(b"SET b 2\r\n");
    assert!(client.line().starts_with("-MISCONF"));
    client.ask("EVAL \"return redis.call('get', 'a')\" 0", "$1\r\n1\r\n");
    std::fs::remove_dir_all(dir.path().join("dump.rdb")).unwrap();
    client.ask("SAVE", "+OK\r\n");
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    client.ask("SET b 3", "+OK\r\n");
}

#[test]
fn a_rewrite_that_waits_for_a_save_may_be_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--appendonly", "yes", "--rdb-key-save-delay", "1000"]);
    let mut client = server.client();
    for n in 0..2000 {
        client.ask(&format!("SET k{n} v"), "+OK\r\n");
    }
    client.ask("BGSAVE", "+Background saving started\r\n");
    for _ in 0..2 {
        client.ask("BGREWRITEAOF", "+Background append only file rewriting scheduled\r\n");
    }
    client.ask("CONFIG SET rdb-key-save-delay 0", "+OK\r\n");
    client.until_info("aof_rewrites", "1");
}
