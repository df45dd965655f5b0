//! What clients see of the tick: pipelines in any pieces, closing, blocking, limits.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

use support::{request, server};

#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let pipeline = [
        request(&[b"SET", b"key", b"a\r\nvalue"]),
        request(&[b"GET", b"key"]),
        b"PING\r\n".to_vec(),
        request(&[b"GET", b"none"]),
    ]
    .concat();
    let mut client = server.client();
    for cut in 0..=pipeline.len() {
        client.send(&pipeline[..cut]);
        std::thread::sleep(Duration::from_micros(200));
        client.send(&pipeline[cut..]);
        client.expect("+OK\r\n$8\r\na\r\nvalue\r\n+PONG\r\n$-1\r\n");
    }
}

#[test]
fn a_deep_pipeline_is_answered_whole_while_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    const COUNT: usize = 50_000;
    let mut deep = server.client();
    let writer = deep.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        let many = request(&[b"INCR", b"n"]).repeat(COUNT);
        (&writer).write_all(&many).unwrap();
    });
    server.client().ask("PING", "+PONG\r\n");
    for n in 1..=COUNT {
        assert_eq!(deep.line(), format!(":{n}"));
    }
    sender.join().unwrap();
}

#[test]
fn what_was_sent_before_a_half_close_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    for count in [1, 3, 2000] {
        let mut client = server.client();
        client.send(&request(&[b"PING"]).repeat(count));
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.expect(&"+PONG\r\n".repeat(count));
        client.closed();
    }
}

#[test]
fn large_values_come_and_go_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let value = vec![b'x'; 20 << 20];
    let mut client = server.client();
    client.send(&request(&[b"SET", b"k", &value]));
    client.expect("+OK\r\n");
    client.send(&request(&[b"GET", b"k"]).repeat(2));
    for _ in 0..2 {
        client.expect(&format!("${}\r\n", value.len()));
        client.expect(&String::from_utf8(value.clone()).unwrap());
        client.expect("\r\n");
    }
}

#[test]
fn a_blocked_client_is_served_across_threads_and_not_after_it_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--io-threads", "2"]);
    let mut watcher = server.client();
    for round in 0..20 {
        let (mut one, mut two, mut gone) = (server.client(), server.client(), server.client());
        one.send(&[request(&[b"BLPOP", b"q", b"0"]), request(&[b"PING"])].concat());
        gone.send(&request(&[b"BLPOP", format!("other{round}").as_bytes(), b"0"]));
        watcher.until_info("blocked_clients", "2");
        drop(gone);
        watcher.until_info("blocked_clients", "1");
        two.ask(&format!("RPUSH other{round} stays"), ":1\r\n");
        two.ask("RPUSH q v", ":1\r\n");
        one.expect("*2\r\n$1\r\nq\r\n$1\r\nv\r\n+PONG\r\n");
        two.ask(&format!("LLEN other{round}"), ":1\r\n");
    }
}

#[test]
fn a_script_that_waits_by_the_clock_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    let source = "local function us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
        local began = us() if us() ~= began then return 'it moved at once' end
        repeat until us() - began > 50000 return 'waited'";
    client.send(&request(&[b"EVAL", source.as_bytes(), b"0"]));
    client.expect("$6\r\nwaited\r\n");
}

#[test]
fn one_client_too_many_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--maxclients", "2"]);
    let (mut one, mut two) = (server.client(), server.client());
    one.ask("PING", "+PONG\r\n");
    two.ask("PING", "+PONG\r\n");
    let mut three = server.client();
    three.expect("-ERR max number of clients reached\r\n");
    three.closed();
    drop(two);
    let end = std::time::Instant::now() + support::PATIENCE;
    loop {
        let mut again = server.client();
        again.send(b"PING\r\n");
        if again.line() == "+PONG" {
            break;
        }
        assert!(std::time::Instant::now() < end);
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--client-output-buffer-limit", "pubsub 4mb 0 0"]);
    let (mut slow, mut publisher) = (server.client(), server.client());
    slow.ask("SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    let message = request(&[b"PUBLISH", b"c", &vec![b'x'; 1 << 20]]);
    let mut served = 0;
    for _ in 0..64 {
        publisher.send(&message);
        match publisher.line().as_str() {
            ":1" => served += 1,
            ":0" => break,
            other => panic!("{other}"),
        }
    }
    assert!((4..40).contains(&served), "{served}");
}

#[test]
fn an_idle_client_is_closed_and_one_that_is_blocked_or_monitors_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--timeout", "1"]);
    let (mut idle, mut blocked, mut monitor) = (server.client(), server.client(), server.client());
    monitor.ask("MONITOR", "+OK\r\n");
    idle.ask("PING", "+PONG\r\n");
    blocked.send(&request(&[b"BLPOP", b"q", b"0"]));
    idle.closed();
    server.client().ask("RPUSH q v", ":1\r\n");
    blocked.expect("*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
    let seen: Vec<String> = (0..3).map(|_| monitor.line()).collect();
    assert!(seen[2].contains("RPUSH"), "{seen:?}");
}

#[test]
fn bytes_that_are_no_request_end_the_connection_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    client.send(b"PING\r\n*1\r\nPING\r\n");
    client.expect("+PONG\r\n-ERR Protocol error: expected '$', got 'P'\r\n");
    client.closed();
}

#[test]
fn keys_move_to_another_server_and_stay_if_they_were_changed_meanwhile() {
    let (here_dir, there_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = server(here_dir.path(), &["--save", ""]);
    let there = server(there_dir.path(), &["--save", ""]);
    let (mut client, mut other) = (here.client(), there.client());
    let to = other.stream.peer_addr().unwrap().port();
    client.ask("RPUSH list 1 2", ":2\r\n");
    client.ask("SET text x", "+OK\r\n");
    client.ask(&format!("MIGRATE 127.0.0.1 {to} \"\" 0 5000 COPY KEYS list none"), "+OK\r\n");
    client.ask(&format!("MIGRATE 127.0.0.1 {to} \"\" 0 5000 REPLACE KEYS list text none"), "+OK\r\n");
    client.ask("EXISTS list text", ":0\r\n");
    other.ask("LRANGE list 0 -1", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    client.ask(&format!("MIGRATE 127.0.0.1 {to} list 0 5000"), "+NOKEY\r\n");
    client.ask("SET text y", "+OK\r\n");
    client.ask(
        &format!("MIGRATE 127.0.0.1 {to} text 0 5000"),
        "-ERR Target instance replied with error: BUSYKEY Target key name already exists.\r\n",
    );
    client.ask("EXISTS text", ":1\r\n");

    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = slow.local_addr().unwrap().port();
    client.send(format!("MIGRATE 127.0.0.1 {to} text 0 5000\r\n").as_bytes());
    let (mut taker, _) = slow.accept().unwrap();
    here.client().ask("SET text z", "+OK\r\n");
    std::io::Write::write_all(&mut taker, b"+OK\r\n+OK\r\n").unwrap();
    client.expect("-ERR a key was changed while it moved: it is on both servers now\r\n");
    client.ask("GET text", "$1\r\nz\r\n");
}

#[test]
fn keys_that_move_one_by_one_share_a_connection_and_outlive_its_end() {
    const TAKEN: &[u8] = b"+OK\r\n+OK\r\n";
    let dir = tempfile::tempdir().unwrap();
    let here = server(dir.path(), &["--save", ""]);
    let mut client = here.client();
    client.ask("SET k v", "+OK\r\n");
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let migrate = format!("MIGRATE 127.0.0.1 {} k 0 5000 COPY\r\n", there.local_addr().unwrap().port());
    client.send(migrate.as_bytes());
    let (mut taker, _) = there.accept().unwrap();
    let take = |taker: &mut std::net::TcpStream| {
        let mut request = vec![0; 4096];
        let mut read = 0;
        while !request[..read].windows(7).any(|part| part == b"RESTORE") {
            read += std::io::Read::read(taker, &mut request[read..]).unwrap();
        }
        std::io::Write::write_all(taker, TAKEN).unwrap();
    };
    take(&mut taker);
    client.expect("+OK\r\n");
    assert_eq!(client.info("migrate_cached_sockets"), "1");
    client.send(migrate.as_bytes());
    take(&mut taker);
    client.expect("+OK\r\n");
    drop(taker);
    client.send(migrate.as_bytes());
    let (mut taker, _) = there.accept().unwrap();
    take(&mut taker);
    client.expect("+OK\r\n");
}

#[test]
fn deep_pipelines_of_publishers_reach_every_subscriber_in_order_while_others_are_served() {
    const SUBSCRIBERS: usize = 64;
    const MESSAGES: usize = 600;
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), &["--save", "", "--io-threads", threads]);
        let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| server.client()).collect();
        for subscriber in &mut subscribers {
            subscriber.ask("SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
        }
        let publish = |n| request(&[b"PUBLISH", b"c", format!("{n:04}").as_bytes()]);
        let pipeline: Vec<u8> = (0..MESSAGES).flat_map(publish).collect();
        let mut publishers: Vec<_> = (0..3).map(|_| server.client()).collect();
        publishers.iter_mut().for_each(|publisher| publisher.send(&pipeline));
        server.client().ask("SET k v", "+OK\r\n");
        let reply = format!(":{SUBSCRIBERS}\r\n");
        publishers.iter_mut().for_each(|publisher| publisher.expect(&reply.repeat(MESSAGES)));
        let head = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n";
        let mut orders = subscribers.iter_mut().map(|subscriber| {
            let mut all = vec![0; 3 * MESSAGES * (head.len() + 6)];
            subscriber.stream.read_exact(&mut all).unwrap();
            let number = |message: &[u8]| str::from_utf8(&message[head.len()..]).unwrap().trim_end().parse();
            all.chunks(head.len() + 6).map(|message| number(message).unwrap()).collect::<Vec<usize>>()
        });
        let order = orders.next().unwrap();
        for n in 0..MESSAGES {
            assert_eq!(order.iter().filter(|m| **m == n).count(), 3, "{n} comes once from each");
        }
        assert!(orders.all(|other| other == order), "all subscribers see one order, {threads} threads");
    }
}

#[test]
fn a_client_that_is_evicted_gets_what_it_has_taken_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let (mut operator, mut client) = (server.client(), server.client());
    operator.ask("CLIENT NO-EVICT on", "+OK\r\n");
    operator.ask("RPUSH list a b c d", ":4\r\n");
    // What it has not taken yet is more than the least limit.
    let large = "x".repeat(150_000);
    operator.ask(&format!("SET large {large}"), "+OK\r\n");
    client.ask(
        "GET large\r\nLPOP list\r\nCONFIG SET maxmemory-clients 1\r\nLPOP list",
        &format!("$150000\r\n{large}\r\n$1\r\na\r\n+OK\r\n"),
    );
    client.closed();
    operator.ask("LRANGE list 0 -1", "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    assert_eq!(operator.info("evicted_clients"), "1");
    // The same for who is closed by another command.
    operator.ask("CONFIG SET maxmemory-clients 0", "+OK\r\n");
    let mut client = server.client();
    client.ask("LPOP list\r\nCLIENT KILL TYPE normal SKIPME no\r\nLPOP list", "$1\r\nb\r\n:2\r\n");
    client.closed();
    server.client().ask("LLEN list", ":2\r\n");
}

#[test]
fn a_request_beyond_the_limit_of_input_ends_its_client_however_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--client-query-buffer-limit", "1mb"]);
    let set = |bytes: usize| request(&[b"SET", b"k", &vec![b'x'; bytes]]);
    let longest = (1 << 20) - 2;
    let mut client = server.client();
    client.send(&set(longest));
    client.expect("+OK\r\n");
    let recent: usize = client.info("client_recent_max_input_buffer").parse().unwrap();
    assert!((longest..2 * longest).contains(&recent), "{recent}, although nothing of it is left");
    for (n, beyond) in [1, 100, 60_000].into_iter().enumerate() {
        let mut client = server.client();
        client.ask("PING", "+PONG\r\n");
        client.send(&set(longest + beyond));
        client.closed();
        assert_eq!(server.client().info("client_query_buffer_limit_disconnections"), (n + 1).to_string());
    }
    server.client().ask("STRLEN k", &format!(":{longest}\r\n"));
}

#[test]
fn what_is_queued_for_exec_counts_as_input() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--client-query-buffer-limit", "1mb"]);
    let part = request(&[b"SET", b"k", &[b'x'; 100_000]]);
    let mut client = server.client();
    for _ in 0..2 {
        client.ask("MULTI", "+OK\r\n");
        for _ in 0..10 {
            client.send(&part);
            client.expect("+QUEUED\r\n");
        }
        client.ask("EXEC", &format!("*10\r\n{}", "+OK\r\n".repeat(10)));
    }
    client.ask("MULTI", "+OK\r\n");
    for _ in 0..10 {
        client.send(&part);
        client.expect("+QUEUED\r\n");
    }
    client.send(&part);
    client.closed();
    assert_eq!(server.client().info("client_query_buffer_limit_disconnections"), "1");
}

#[test]
fn who_has_the_users_loaded_and_is_none_any_more_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.acl");
    std::fs::write(&users, "user default on nopass ~* &* +@all\nuser me on nopass ~* &* +@all\n").unwrap();
    let server = server(dir.path(), &["--save", "", "--aclfile", users.to_str().unwrap()]);
    let (mut me, mut other) = (server.client(), server.client());
    for client in [&mut me, &mut other] {
        client.ask("AUTH me x", "+OK\r\n");
    }
    std::fs::write(&users, "user default on nopass ~* &* +@all\n").unwrap();
    me.ask("ACL LOAD", "+OK\r\n");
    me.closed();
    other.closed();
}

#[test]
fn a_setting_holds_for_the_next_request_of_the_same_send() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--proto-max-bulk-len", "16mb"]);
    let long = vec![b'x'; 2 << 20];
    let lower = request(&[b"CONFIG", b"SET", b"proto-max-bulk-len", b"1048576"]);
    let raise = request(&[b"CONFIG", b"SET", b"proto-max-bulk-len", b"4194304"]);
    let set = request(&[b"SET", b"k", &long]);
    // Its head is enough to be refused; nobody reads the rest then.
    let head = &set[..set.len() - long.len() - 2];
    let mut client = server.client();
    client.send(&[&lower, head].concat());
    client.expect("+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    client.closed();
    let mut client = server.client();
    client.send(&[raise.clone(), set.clone(), request(&[b"STRLEN", b"k"])].concat());
    client.expect("+OK\r\n+OK\r\n:2097152\r\n");
    let mut inline = server.client();
    inline.send(&[b"CONFIG SET proto-max-bulk-len 1048576\r\n".as_slice(), head].concat());
    inline.expect("+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    let unit = [request(&[b"MULTI"]), raise, request(&[b"EXEC"]), set].concat();
    let mut client = server.client();
    client.send(&unit);
    client.expect("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n");
}

#[test]
fn who_asks_for_more_than_its_output_may_be_is_closed_and_never_left_with_half_a_reply() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut setup = server.client();
    let item = "x".repeat(1000);
    for n in 1..=150 {
        setup.ask(&format!("RPUSH l {item}"), &format!(":{n}\r\n"));
    }
    let list = format!("*150\r\n{}", format!("$1000\r\n{item}\r\n").repeat(150));
    let whole = format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{list}+OK\r\n+OK\r\n");
    for limit in [200_000, 152_000, 149_000, 140_000, 100_000, 10_000] {
        setup.ask(&format!("CONFIG SET client-output-buffer-limit 'normal {limit} 0 0'"), "+OK\r\n");
        let mut client = server.client();
        client.send(format!("MULTI\r\nLRANGE l 0 -1\r\nSET k {limit}\r\nEXEC\r\nQUIT\r\n").as_bytes());
        let mut got = Vec::new();
        // A reset is a close, too.
        let _ = client.stream.read_to_end(&mut got);
        assert!(whole.as_bytes().starts_with(&got), "something was left out and it went on, limit {limit}");
        assert!(got.len() == whole.len() || limit < 160_000, "limit {limit}");
        assert!(got.len() < whole.len() || limit > 140_000, "limit {limit}");
        setup.ask("GET k", &format!("${}\r\n{limit}\r\n", limit.to_string().len()));
    }
}
