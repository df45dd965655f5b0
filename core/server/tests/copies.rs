//! Snapshots over the network, as `redis-cli --rdb` and `--functions-rdb` take them.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Read;

use persist::rdb::{Item, Reader, Value};
use support::{Client, request, server};

/// What a snapshot holds.
#[derive(Debug, Default, PartialEq)]
struct Held {
    /// Names of keys with how many elements they have (bytes of a string).
    keys: Vec<(String, usize)>,
    functions: usize,
}

fn held(bytes: &[u8]) -> Held {
    let mut held = Held::default();
    let mut reader = Reader::new(bytes, Some(bytes.len() as u64), true).unwrap();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Entry(entry) => {
                let len = match &entry.value {
                    Value::String(text) => text.len(),
                    Value::Set(members) => members.len(),
                    _ => 0,
                };
                held.keys.push((String::from_utf8(entry.key).unwrap(), len));
            }
            Item::Function(_) => held.functions += 1,
            _ => {}
        }
    }
    held.keys.sort();
    held
}

/// Says what redis-cli says before it asks.
fn introduce(client: &mut Client, words: &[&str]) {
    client.ask("REPLCONF capa eof", "+OK\r\n");
    client.ask("REPLCONF rdb-only 1", "+OK\r\n");
    for line in words {
        client.ask(line, "+OK\r\n");
    }
}

/// Asks by `line` and reads the snapshot to its end, where the server closes.
fn copied(client: &mut Client, line: &str) -> Vec<u8> {
    client.send(format!("{line}\r\n").as_bytes());
    let mut head = client.line();
    if line.starts_with("PSYNC") {
        assert!(head.starts_with("+FULLRESYNC ") && head.split(' ').count() == 3, "{head}");
        head = client.line();
    }
    let mark = head.strip_prefix("$EOF:").unwrap().to_owned();
    assert_eq!(mark.len(), 40);
    let mut bytes = Vec::new();
    client.stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(mark.as_bytes()));
    bytes.truncate(bytes.len() - mark.len());
    bytes
}

/// Words for a server whose snapshots are larger than what a connection has room for.
const LARGE: [&str; 6] = ["--save", "", "--rdbcompression", "no", "--enable-debug-command", "yes"];

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";

#[test]
fn a_client_that_wants_only_a_snapshot_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    client.ask("SET k 12345678901234567890x", "+OK\r\n");
    client.send(&request(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]));
    client.expect("$3\r\nlib\r\n");
    let (all, data, functions) = (vec![("k".to_owned(), 21)], "", "functions");
    for (words, line, keys, count) in [
        (&[][..], "SYNC", &all[..], 1),
        (&[], "PSYNC ? -1", &all, 1),
        (&["REPLCONF rdb-filter-only functions"], "SYNC", &[], 1),
        (&["REPLCONF rdb-filter-only \"\""], "SYNC", &[], 0),
    ] {
        let mut taker = server.client();
        introduce(&mut taker, words);
        let held = held(&copied(&mut taker, line));
        assert_eq!((&held.keys[..], held.functions), (keys, count), "{words:?} {line} {data}{functions}");
    }
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["log"], "nothing was written for it");
    client.ask("SAVE", "+OK\r\n");
}

#[test]
fn a_client_that_reads_no_mark_gets_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    client.ask("REPLCONF rdb-only 2", "-ERR value is out of range, value must between 0 and 1\r\n");
    client.ask("REPLCONF rdb-filter-only keys", "-ERR Unsupported rdb-filter-only option: keys\r\n");
    client.ask("REPLCONF rdb-only 1", "+OK\r\n");
    client.send(b"SYNC\r\n");
    assert!(client.line().contains("REPLCONF capa eof"));
    client.ask("RESET", "+RESET\r\n");
    client.ask("PING", "+PONG\r\n");
}

#[test]
fn a_snapshot_of_much_is_that_of_its_moment_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 50000 key 400", "+OK\r\n");
    client.ask(
        "EVAL \"for i = 1, 20000 do redis.call('sadd', KEYS[1], 'member' .. i) end\" 1 large",
        "$-1\r\n",
    );
    let mut taker = server.client();
    introduce(&mut taker, &[]);
    taker.send(b"SYNC\r\n");
    // It reads nothing for a while. Others go on, and nothing that they do is in the snapshot.
    assert!(taker.line().starts_with("$EOF:"));
    client.ask("DEL key:1 key:2 large", ":3\r\n");
    client.ask("SET new 1", "+OK\r\n");
    client.send(&request(&[b"SET", b"key:7", b"changed"]).repeat(1000));
    client.expect(&"+OK\r\n".repeat(1000));
    let line = listed(&mut client, "cmd=sync").remove(0);
    let pending: usize = line.split("omem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(pending < 8 << 20, "{pending} of some 20 MB wait in memory");
    let mut bytes = Vec::new();
    taker.stream.read_to_end(&mut bytes).unwrap();
    let held = held(&bytes[..bytes.len() - 40]);
    assert_eq!(held.keys.len(), 50_001);
    for (key, len) in [("key:1", 400), ("key:7", 400), ("large", 20_000)] {
        assert!(held.keys.contains(&(key.to_owned(), len)), "{key}");
    }
}

#[test]
fn a_taker_that_leaves_ends_its_snapshot_and_the_next_one_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &LARGE);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 50000 key 400", "+OK\r\n");
    for _ in 0..3 {
        let mut taker = server.client();
        introduce(&mut taker, &[]);
        taker.send(b"SYNC\r\n");
        assert!(taker.line().starts_with("$EOF:"));
        drop(taker);
    }
    let mut taker = server.client();
    introduce(&mut taker, &[]);
    assert_eq!(held(&copied(&mut taker, "SYNC")).keys.len(), 50_000);
}

#[test]
fn only_so_many_take_snapshots_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--rdb-key-save-delay", "10000000"]);
    let mut client = server.client();
    client.ask("SET a 1", "+OK\r\n");
    let mut takers: Vec<Client> = (0..6).map(|_| server.client()).collect();
    takers.iter_mut().for_each(|taker| introduce(taker, &[]));
    for (before, taker) in takers.iter_mut().enumerate() {
        taker.send(b"SYNC\r\n");
        if before >= 4 {
            assert!(taker.line().starts_with("-ERR too many clients"), "four are there");
        }
        let end = std::time::Instant::now() + support::PATIENCE;
        while listed(&mut client, "cmd=sync").len() <= before {
            assert!(std::time::Instant::now() < end, "it was heard");
        }
    }
}

/// The lines of CLIENT LIST that have this field.
fn listed(client: &mut Client, field: &str) -> Vec<String> {
    client.send(b"CLIENT LIST\r\n");
    let length: usize = client.line().trim_start_matches('$').parse().unwrap();
    let mut text = vec![0; length + 2];
    client.stream.read_exact(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().filter(|line| line.contains(field)).map(str::to_owned).collect()
}

#[test]
fn nobody_waits_for_a_taker_that_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "3600 1", "--rdbcompression", "no", "--enable-debug-command", "yes"];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    client.ask("DEBUG POPULATE 60000 key 500", "+OK\r\n");
    let stall = |server: &support::Server| {
        let mut takers: Vec<Client> = (0..3).map(|_| server.client()).collect();
        takers.iter_mut().for_each(|taker| introduce(taker, &[]));
        takers.iter_mut().for_each(|taker| taker.send(b"SYNC\r\n"));
        assert!(takers[0].line().starts_with("$EOF:"), "one is being fed, two wait");
        takers
    };
    let _takers = stall(&first);
    let began = std::time::Instant::now();
    client.ask("FLUSHALL", "+OK\r\n");
    client.ask("DEBUG POPULATE 60000 key 500", "+OK\r\n");
    let _takers = stall(&first);
    first.finish();
    assert!(began.elapsed() < support::PATIENCE, "the stop does not wait for them");
    let second = server(dir.path(), &words);
    second.client().ask("DBSIZE", ":60000\r\n");
}
