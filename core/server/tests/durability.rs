//! What outlives a server: the log, the snapshot, and replies that wait for the disk.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use support::{request, server};

const FILL: &[&str] = &[
    "SET string value",
    "SET expiring value EX 1000",
    "RPUSH list a b c",
    "SADD set a b c",
    "HSET hash f v",
    "ZADD zset 1.5 a",
    "XADD stream 1-1 f v",
];

fn fill(client: &mut support::Client) {
    for line in FILL {
        client.send(format!("{line}\r\n").as_bytes());
        client.line();
    }
    // XADD answers with a bulk, which is two lines.
    client.line();
    client.ask("SELECT 3", "+OK\r\n");
    client.ask("SET other db", "+OK\r\n");
    client.ask("SELECT 0", "+OK\r\n");
}

fn check(client: &mut support::Client) {
    client.ask("DBSIZE", ":7\r\n");
    client.ask("GET string", "$5\r\nvalue\r\n");
    client.ask("LRANGE list 0 -1", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    client.ask("SCARD set", ":3\r\n");
    client.ask("HGET hash f", "$1\r\nv\r\n");
    client.ask("ZSCORE zset a", "$3\r\n1.5\r\n");
    client.ask("XLEN stream", ":1\r\n");
    client.send(b"TTL expiring\r\n");
    let ttl: i64 = client.line()[1..].parse().unwrap();
    assert!((900..=1000).contains(&ttl), "{ttl}");
    client.ask("SELECT 3", "+OK\r\n");
    client.ask("GET other", "$2\r\ndb\r\n");
    client.ask("SELECT 0", "+OK\r\n");
}

#[test]
fn the_log_alone_brings_everything_back() {
    for fsync in ["everysec", "always", "no"] {
        let dir = tempfile::tempdir().unwrap();
        let words =
            ["--save", "", "--appendonly", "yes", "--appendfsync", fsync, "--enable-debug-command", "yes"];
        let first = server(dir.path(), &words);
        fill(&mut first.client());
        first.stop();
        let second = server(dir.path(), &words);
        check(&mut second.client());
        second.client().ask("DEBUG LOADAOF", "+OK\r\n");
        check(&mut second.client());
        second.stop();
    }
}

/// The parser takes what Redis takes: any two bytes behind a value, any one behind the `\r` of a header.
#[test]
fn requests_that_are_taken_in_any_form_come_back_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes"];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    for request in [
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1XX",
        "*3\r\n$3\r\nSET\r\n$1\r\nb\n\r$1\r\n2\r\n",
        "*3\r\n$3\rXSET\r\n$1\r\nc\r\n$1\r\n3\r\n",
        "*3\rX$3\r\nSET\r\n$1\r\nd\r\n$1\r\n4\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\ne\r\n$1\r\n5\r\n",
    ] {
        client.send(request.as_bytes());
        client.expect("+OK\r\n");
    }
    first.stop();
    let second = server(dir.path(), &words);
    second.client().ask("MGET a b c d e", "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n");
}

#[test]
fn a_request_of_very_many_arguments_comes_back_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes"];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    let many = (1 << 20) + 10;
    client.send(
        format!("*{}\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n{}", many + 2, "$1\r\nx\r\n".repeat(many)).as_bytes(),
    );
    client.expect(&format!(":{many}\r\n"));
    client.ask("SET behind 1", "+OK\r\n");
    first.stop();
    let second = server(dir.path(), &words);
    let mut client = second.client();
    client.ask("LLEN l", &format!(":{many}\r\n"));
    client.ask("GET behind", "$1\r\n1\r\n");
}

#[test]
fn a_lower_limit_of_strings_does_not_keep_the_log_from_being_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes"];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    client.ask("SETRANGE long 2000000 x", ":2000001\r\n");
    client.ask("SETBIT bits 16000000 1", ":0\r\n");
    client.ask("SET behind 1", "+OK\r\n");
    first.stop();
    let words = ["--save", "", "--appendonly", "yes", "--proto-max-bulk-len", "1mb"];
    let second = server(dir.path(), &words);
    let mut client = second.client();
    client.ask("STRLEN long", ":2000001\r\n");
    client.ask("GETBIT behind 3", ":1\r\n");
    client
        .ask("SETRANGE long 2000000 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
}

#[test]
fn what_was_acknowledged_comes_back_whatever_the_users_may() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.acl");
    let all = "user default on nopass ~* &* +@all\nuser admin on nopass ~* &* +@all\n";
    std::fs::write(&users, all).unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--aclfile", users.to_str().unwrap()];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    client.ask("MULTI", "+OK\r\n");
    client.ask("RPUSH list a", "+QUEUED\r\n");
    client.ask("SET string x", "+QUEUED\r\n");
    client.ask("EXEC", "*2\r\n:1\r\n+OK\r\n");
    client.ask("EVAL \"redis.call('SET', 'a', '1') redis.call('SET', 'b', '1')\" 0", "$-1\r\n");
    first.finish();
    for default in ["off", "on nopass ~* +@all -set -rpush -multi -exec", "on nopass -@all"] {
        std::fs::write(&users, format!("user default {default}\nuser admin on nopass ~* &* +@all\n"))
            .unwrap();
        let second = server(dir.path(), &words);
        let mut client = second.client();
        client.ask("AUTH admin x", "+OK\r\n");
        client.ask("EXISTS list string a b", ":4\r\n");
        second.finish();
    }
}

#[test]
fn the_size_of_the_log_that_is_told_grows_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--appendonly", "yes"]);
    let mut client = server.client();
    let (first, base) = (client.info("aof_current_size"), client.info("aof_base_size"));
    client.send(&request(&[b"SET", b"large", &[b'x'; 50_000]]));
    assert_eq!(client.line(), "+OK");
    let files = std::fs::read_dir(dir.path().join("appendonlydir")).unwrap().map(Result::unwrap);
    let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "aof" || end == "rdb"));
    let there: u64 = logs.map(|file| file.metadata().unwrap().len()).sum();
    assert!(there > first.parse::<u64>().unwrap() + 50_000, "{there}");
    assert_eq!(client.info("aof_current_size"), there.to_string());
    assert_eq!(client.info("aof_base_size"), base);
}

#[test]
fn a_record_that_cannot_be_replayed_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes"];
    let first = server(dir.path(), &words);
    first.client().ask("SET string x", "+OK\r\n");
    first.stop();
    let log = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = std::fs::read(&log).unwrap();
    for (records, named) in [
        (&["RPUSH string a"][..], format!("byte {} (RPUSH)", whole.len())),
        (&["SET t x", "NOSUCH t"], format!("the record at byte {}", whole.len() + 27)),
        (
            &["MULTI", "SET t x", "RPUSH string a", "EXEC"],
            format!("byte {} (EXEC, of which command 2 (rpush))", whole.len() + 15 + 27 + 34),
        ),
    ] {
        let mut text = whole.clone();
        for record in records {
            text.extend(request(&record.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
        }
        std::fs::write(&log, text).unwrap();
        let why = support::refusal(dir.path(), &words);
        assert!(why.contains(&named), "{why}, not {named}");
    }
    std::fs::write(&log, whole).unwrap();
    server(dir.path(), &words).client().ask("GET string", "$1\r\nx\r\n");
}

/// A log as other servers write it.
fn write_foreign_log(dir: &Path, lines: &[&str]) {
    let folder = dir.join("appendonlydir");
    std::fs::create_dir_all(&folder).unwrap();
    let words = |line: &str| request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    let text: Vec<u8> = lines.iter().flat_map(|line| words(line)).collect();
    std::fs::write(folder.join("appendonly.aof.1.incr.aof"), text).unwrap();
    std::fs::write(folder.join("appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n")
        .unwrap();
}

#[test]
fn what_failed_in_another_servers_log_is_passed_over_and_told() {
    let words = ["--save", "", "--appendonly", "yes"];
    let failing = ["SET string x", "RPUSH string a", "MULTI", "SET t 1", "INCR string", "SET u 1", "EXEC"];
    let dir = tempfile::tempdir().unwrap();
    write_foreign_log(dir.path(), &[&failing[..], &["SET v 1"]].concat());
    let first = server(dir.path(), &words);
    first.client().ask("MGET string t u v", "*4\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n");
    first.client().ask("RPUSH w 1", ":1\r\n");
    first.stop();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    for part in
        ["byte 32 (RPUSH)", "(EXEC, of which command 2 (incr))", "2 commands of the append only file failed"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    // What was written since rests on what is there.
    let second = server(dir.path(), &words);
    second.client().ask("LRANGE w 0 -1", "*1\r\n$1\r\n1\r\n");
    second.client().ask("MGET v", "*1\r\n$1\r\n1\r\n");
    second.stop();
    // And it is this server's own, so that it may not fail.
    let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, &request(&[b"RPUSH", b"string", b"b"])).unwrap();
    let why = support::refusal(dir.path(), &words);
    assert!(why.contains("RPUSH") && why.contains("WRONGTYPE"), "{why}");
    // These did not fail there, or what follows them would run otherwise than it did.
    for ending in [
        "NOSUCH string",
        "SET string",
        "SELECT 99",
        "SWAPDB 0 20",
        "COPY string t DB 20",
        "RESTORE t 0 newer",
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_foreign_log(dir.path(), &[&failing[..], &[ending, "SET v 1"]].concat());
        let why = support::refusal(dir.path(), &words);
        assert!(why.contains("the append only file"), "{why}");
    }
}

#[test]
fn what_fails_in_a_base_of_commands_of_ones_own_stops_the_start() {
    use persist::aof::{Base, HistoryId, Log, Place};
    let dir = tempfile::tempdir().unwrap();
    let base = [request(&[b"SET", b"string", b"x"]), request(&[b"RPUSH", b"string", b"a"])].concat();
    let disk = std::sync::Arc::new(persist::disk::Real);
    drop(Log::create(disk, Place::new(dir.path()), &base, Base::Commands, HistoryId(7)).unwrap());
    let why = support::refusal(dir.path(), &["--save", "", "--appendonly", "yes"]);
    assert!(why.contains("RPUSH") && why.contains("WRONGTYPE"), "{why}");
}

#[test]
fn a_snapshot_alone_brings_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(dir.path(), &["--save", "", "--enable-debug-command", "yes"]);
    let mut client = first.client();
    fill(&mut client);
    client.ask("SAVE", "+OK\r\n");
    client.ask("DEBUG RELOAD", "+OK\r\n");
    check(&mut client);
    drop(client);
    first.stop();
    let second = server(dir.path(), &["--save", "3600 1"]);
    let mut client = second.client();
    check(&mut client);
    client.ask("SET later 1", "+OK\r\n");
    drop(client);
    second.finish();
    let third = server(dir.path(), &["--save", ""]);
    third.client().ask("GET later", "$1\r\n1\r\n");
}

/// A snapshot of a few keys, one of which has expired, of a size that is not copied before it is served.
fn snapshot_with_an_expired_key() -> Vec<u8> {
    use persist::rdb::{VERSION, Writer, kind};
    let mut writer = Writer::new(false, true);
    writer.header(VERSION);
    writer.select_db(0);
    writer.expiry_ms(1_000);
    writer.key(kind::STRING, b"expired");
    writer.string(b"41");
    writer.key(kind::STRING, b"large");
    writer.string(&vec![b'x'; 9 << 20]);
    for number in 0..5 {
        writer.key(kind::STRING, format!("key:{number}").as_bytes());
        writer.string(b"value");
    }
    writer.end();
    writer.take()
}

/// What `kill -9` would leave of a server's directory at this moment: the kernel has all that was written. A copy beside which a file
/// got another name is none of any moment, and is made anew.
fn copied(from: &Path, to: &Path) {
    while let Err(error) = try_to_copy(from, to) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        std::fs::remove_dir_all(to).unwrap();
    }
}

fn try_to_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => try_to_copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

#[test]
fn a_log_over_a_snapshot_keeps_what_it_acknowledges_before_its_own_base_is_written() {
    use std::os::unix::fs::MetadataExt;
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dump = dir.path().join("dump.rdb");
    std::fs::write(&dump, snapshot_with_an_expired_key()).unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    // A base would take a minute for each key.
    let first = server(dir.path(), &[&words[..], &["--rdb-key-save-delay", "60000000"]].concat());
    let mut client = first.client();
    client.ask("INCR expired", ":1\r\n");
    client.ask("SET key:0 new", "+OK\r\n");
    client.until_info("aof_rewrite_in_progress", "1");
    let base = dir.path().join("appendonlydir/appendonly.aof.1.base.rdb");
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&base), inode(&dump), "nothing was copied");
    copied(dir.path(), killed.path());
    let third = server(killed.path(), &words);
    let mut survivor = third.client();
    survivor.ask("GET expired", "$1\r\n1\r\n");
    survivor.ask("GET key:0", "$3\r\nnew\r\n");
    survivor.ask("DBSIZE", ":7\r\n");
    drop(survivor);
    third.stop();
    client.ask("CONFIG SET rdb-key-save-delay 0", "+OK\r\n");
    client.until_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    assert!(!base.exists() && dump.exists());
    drop(client);
    first.stop();
    let again = server(dir.path(), &words);
    again.client().ask("GET expired", "$1\r\n1\r\n");
    again.client().ask("DBSIZE", ":7\r\n");
}

#[test]
fn a_rewrite_under_load_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes"];
    let first = server(dir.path(), &words);
    let mut client = first.client();
    fill(&mut client);
    for n in 0..3000 {
        client.send(&request(&[b"RPUSH", b"many", n.to_string().as_bytes()]));
        client.line();
        client.send(&request(&[b"SET", format!("key{}", n % 700).as_bytes(), b"v"]));
        client.line();
        if n % 1000 == 500 {
            client.send(b"BGREWRITEAOF\r\n");
            let answer = client.line();
            let known = [
                "+Background append only file rewriting started",
                "-ERR Background append only file rewriting already in progress",
            ];
            assert!(known.contains(&answer.as_str()), "{answer}");
        }
    }
    client.until_info("aof_rewrite_in_progress", "0");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "ok");
    drop(client);
    first.stop();
    let second = server(dir.path(), &words);
    let mut client = second.client();
    client.ask("DBSIZE", ":708\r\n");
    client.ask("LLEN many", ":3000\r\n");
    client.ask("LINDEX many 2999", "$4\r\n2999\r\n");
}

#[test]
fn a_snapshot_is_one_moment_although_writes_go_on() {
    const PAIRS: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let first = server(dir.path(), &["--save", ""]);
    let mut client = first.client();
    let set = |n: usize, value: usize| {
        let (left, right) = (format!("left{n}"), format!("right{n}"));
        request(&[
            b"MSET",
            left.as_bytes(),
            value.to_string().as_bytes(),
            right.as_bytes(),
            value.to_string().as_bytes(),
        ])
    };
    for n in (0..PAIRS).step_by(1000) {
        client.send(&(n..n + 1000).flat_map(|n| set(n, 0)).collect::<Vec<u8>>());
        client.expect(&"+OK\r\n".repeat(1000));
    }
    client.ask("BGSAVE", "+Background saving started\r\n");
    let mut value = 0;
    while client.info("rdb_bgsave_in_progress") != "0" {
        value += 1;
        client.send(&(0..PAIRS).step_by(97).flat_map(|n| set(n, value)).collect::<Vec<u8>>());
        client.expect(&"+OK\r\n".repeat(PAIRS.div_ceil(97)));
    }
    client.ask("FLUSHALL", "+OK\r\n");
    drop(client);
    first.stop();
    let second = server(dir.path(), &["--save", ""]);
    let mut client = second.client();
    client.ask("DBSIZE", &format!(":{}\r\n", 2 * PAIRS));
    for n in (0..PAIRS).step_by(97) {
        client.send(format!("GET left{n}\r\nGET right{n}\r\n").as_bytes());
        let replies: Vec<String> = (0..4).map(|_| client.line()).collect();
        assert_eq!(replies[1], replies[3], "pair {n} was torn");
    }
}

#[test]
fn always_answers_writers_after_the_sync_and_readers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--io-threads", "2"];
    let first = server(dir.path(), &words);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let mut client = first.client();
            std::thread::spawn(move || {
                for n in 0..50 {
                    client.ask(&format!("SET w{writer}:{n} v"), "+OK\r\n");
                }
            })
        })
        .collect();
    let mut reader = first.client();
    for _ in 0..200 {
        reader.ask("GET nothing", "$-1\r\n");
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    first.stop();
    let second = server(dir.path(), &words);
    second.client().ask("DBSIZE", ":400\r\n");
}

#[test]
fn a_log_can_be_switched_on_and_off() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(dir.path(), &["--save", ""]);
    let mut client = first.client();
    fill(&mut client);
    client.ask("CONFIG SET appendonly yes", "+OK\r\n");
    client.until_info("aof_enabled", "1");
    client.until_info("aof_rewrite_in_progress", "0");
    client.ask("SET after 1", "+OK\r\n");
    client.ask("CONFIG SET appendonly no", "+OK\r\n");
    client.until_info("aof_enabled", "0");
    client.ask("SET unlogged 1", "+OK\r\n");
    drop(client);
    first.stop();
    let second = server(dir.path(), &["--save", "", "--appendonly", "yes"]);
    let mut client = second.client();
    client.ask("GET after", "$1\r\n1\r\n");
    client.ask("EXISTS unlogged", ":0\r\n");
    client.ask("DEL after", ":1\r\n");
    check(&mut client);
}

/// Counts up until the connection closes; the last number that was acknowledged.
fn count_up(mut client: support::Client) -> u64 {
    let mut acknowledged = 0;
    loop {
        client.send(b"INCR count\r\n");
        let mut reply = [0; 32];
        match client.stream.read(&mut reply) {
            Ok(1..) if reply[0] == b':' => acknowledged += 1,
            Ok(1..) if reply.starts_with(b"-LOADING") => {}
            _ => return acknowledged,
        }
    }
}

#[test]
fn what_is_acknowledged_while_the_server_ends_is_in_its_last_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(
        dir.path(),
        &["--save", "3600 1", "--rdb-key-save-delay", "1000", "--enable-debug-command", "yes"],
    );
    first.client().ask("DEBUG POPULATE 500", "+OK\r\n");
    let client = first.client();
    let writer = std::thread::spawn(|| count_up(client));
    first.client().until("EXISTS count", ":1");
    first.finish();
    let acknowledged = writer.join().unwrap();
    let second = server(dir.path(), &["--save", ""]);
    let mut client = second.client();
    client.send(b"INCRBY count 0\r\n");
    let kept: u64 = client.line()[1..].parse().unwrap();
    assert!((acknowledged..=acknowledged + 1).contains(&kept), "{acknowledged} acknowledged, {kept} kept");
}

#[test]
fn writes_wait_for_the_last_snapshot_and_go_on_when_the_stop_is_called_off() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "3600 1", "--rdb-key-save-delay", "10000", "--enable-debug-command", "yes"];
    let server = server(dir.path(), &words);
    let (mut client, mut writer, mut stopper) = (server.client(), server.client(), server.client());
    client.ask("DEBUG POPULATE 500", "+OK\r\n");
    stopper.send(b"SHUTDOWN\r\n");
    client.until_info("current_save_keys_total", "500");
    writer.send(b"SET late 1\r\nGET late\r\n");
    writer.silent(Duration::from_millis(100));
    client.ask("GET key:1", "$7\r\nvalue:1\r\n");
    client.ask("EXISTS late", ":0\r\n");
    client.ask("SHUTDOWN ABORT", "+OK\r\n");
    stopper.expect("-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    writer.expect("+OK\r\n$1\r\n1\r\n");
    client.ask("CONFIG SET rdb-key-save-delay 0", "+OK\r\n");
}

#[test]
fn a_log_that_is_switched_off_before_its_turn_does_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--rdb-key-save-delay", "10000", "--enable-debug-command", "yes"];
    let server = server(dir.path(), &words);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 500", "+OK\r\n");
    client.ask("BGSAVE", "+Background saving started\r\n");
    client.until_info("current_save_keys_total", "500");
    client.ask("CONFIG SET appendonly yes", "+OK\r\n");
    client.ask("CONFIG SET appendonly no", "+OK\r\n");
    client.until_info("aof_rewrite_scheduled", "0");
    client.ask("CONFIG SET rdb-key-save-delay 0", "+OK\r\n");
    client.until_info("rdb_bgsave_in_progress", "0");
    client.ask("SET after 1", "+OK\r\n");
    client.ask("SAVE", "+OK\r\n"); // behind whatever waited
    assert_eq!(client.info("aof_enabled"), "0");
    let left = std::fs::read_dir(dir.path().join("appendonlydir")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files of a log that nobody wants");
}

/// Has the data set loaded again and again while a client counts up; nothing of what it was told may be gone.
fn reload_while_a_client_counts(dir: &Path, words: &[&str], reload: &str) {
    let words = [words, &["--save", "", "--enable-debug-command", "yes"]].concat();
    let server = server(dir, &words);
    let client = server.client();
    let writer = std::thread::spawn(|| count_up(client));
    let mut client = server.client();
    client.until("EXISTS count", ":1");
    for _ in 0..20 {
        client.ask(reload, "+OK\r\n");
    }
    client.send(b"CLIENT KILL TYPE normal\r\n");
    client.line();
    let acknowledged = writer.join().unwrap();
    client.send(b"INCRBY count 0\r\n");
    let kept: u64 = client.line()[1..].parse().unwrap();
    assert!((acknowledged..=acknowledged + 1).contains(&kept), "{words:?}: {acknowledged}, {kept}");
    drop(client);
    server.stop();
}

#[test]
fn the_data_set_is_loaded_again_while_clients_write() {
    for fsync in ["everysec", "always"] {
        let dir = tempfile::tempdir().unwrap();
        let words = ["--appendonly", "yes", "--appendfsync", fsync];
        reload_while_a_client_counts(dir.path(), &words, "DEBUG LOADAOF");
        let mut files = std::fs::read_dir(dir.path().join("appendonlydir")).unwrap().flatten();
        assert!(files.all(|file| !file.file_name().to_string_lossy().contains("tail")), "{fsync}");
    }
    let dir = tempfile::tempdir().unwrap();
    reload_while_a_client_counts(dir.path(), &[], "DEBUG RELOAD");
}

#[test]
fn the_first_record_behind_a_setting_has_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--appendonly", "yes"]);
    let mut client = server.client();
    let log = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let times = || String::from_utf8_lossy(&std::fs::read(&log).unwrap()).matches("#TS:").count();
    for n in 0..3 {
        client.ask("CONFIG SET aof-timestamp-enabled no", "+OK\r\n");
        client.ask("SET before 1", "+OK\r\n");
        let before = times();
        // The next second, so that its time was not told yet.
        let second = std::time::Duration::from_millis(if n == 0 { 0 } else { 1000 });
        std::thread::sleep(second);
        client.ask("CONFIG SET aof-timestamp-enabled yes", "+OK\r\n");
        client.ask("SET behind 1", "+OK\r\n");
        assert_eq!(times(), before + 1);
    }
}

#[test]
fn who_waits_for_the_log_waits_for_its_beginning_and_not_beyond_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--appendfsync", "no"]);
    let (mut client, mut other) = (server.client(), server.client());
    let refusal = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n";
    client.ask("WAITAOF 1 0 0", refusal);
    for _ in 0..3 {
        client.ask("CONFIG SET appendonly yes\r\nSET k 1\r\nWAITAOF 1 0 0", "+OK\r\n+OK\r\n");
        // Nothing is synced but the base, which may or may not hold the write.
        other.until_info("aof_rewrite_in_progress", "0");
        other.ask("BGREWRITEAOF", "+Background append only file rewriting started\r\n");
        client.expect("*2\r\n:1\r\n:0\r\n");
        other.until_info("aof_rewrite_in_progress", "0");
        client.ask("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n");
        client.ask("SET k 2", "+OK\r\n");
        client.send(b"WAITAOF 1 1 0\r\n");
        other.until_info("blocked_clients", "1");
        other.ask("CONFIG SET appendonly no", "+OK\r\n");
        client.expect(refusal);
        other.until_info("aof_enabled", "0");
    }
    client.send(b"WAITAOF 0 1 0\r\n");
    other.until_info("blocked_clients", "1");
    other.ask("CLIENT PAUSE 0", "+OK\r\n");
    client.silent(Duration::from_millis(50));
}

#[test]
fn a_log_that_cannot_be_begun_is_not_said_to_be_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    std::fs::write(dir.path().join("appendonlydir"), b"in the way").unwrap();
    client.ask(
        "CONFIG SET appendonly yes",
        "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. Check server logs.\r\n",
    );
    client.ask("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    std::fs::remove_file(dir.path().join("appendonlydir")).unwrap();
    client.ask("CONFIG SET appendonly yes", "+OK\r\n");
    client.until_info("aof_rewrites", "1");
    assert_eq!(client.info("aof_enabled"), "1");
}
