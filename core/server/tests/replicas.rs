//! What replicas are sent, as bytes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Client, server};

/// Writes numbers, some at a time, as far as it is allowed to: the log stays short, for it is read from its beginning.
fn count_up(mut client: Client, allowed: &AtomicUsize) {
    const AT_A_TIME: usize = 10;
    for first in (0..).step_by(AT_A_TIME) {
        while first >= allowed.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let lines: String = (first..first + AT_A_TIME).map(|n| format!("SET k number:{n}\r\n")).collect();
        client.send(lines.as_bytes());
        client.expect(&"+OK\r\n".repeat(AT_A_TIME));
        if allowed.load(Ordering::Relaxed) == usize::MAX {
            return;
        }
    }
}

/// Keeps the server at work, and writes nothing.
fn read_on(mut client: Client, allowed: &AtomicUsize) {
    const AT_A_TIME: usize = 50;
    while allowed.load(Ordering::Relaxed) < usize::MAX {
        client.send("GET nothing\r\n".repeat(AT_A_TIME).as_bytes());
        client.expect(&"$-1\r\n".repeat(AT_A_TIME));
    }
}

/// Reads the stream until a number was set in it; all numbers that were, in order.
fn numbers(replica: &mut Client, last: usize) -> Vec<usize> {
    let (mut text, mut part) = (String::new(), vec![0; 1 << 16]);
    let last = format!("number:{last}\r\n");
    let mut looked = 0;
    while !text[looked..].contains(&last) {
        looked = text.len().saturating_sub(last.len());
        let count = replica.stream.read(&mut part).unwrap();
        assert!(count > 0, "it is closed");
        text.push_str(str::from_utf8(&part[..count]).unwrap());
    }
    let found = text.split("number:").skip(1);
    found.filter_map(|rest| rest.split_once("\r\n")?.0.parse().ok()).collect()
}

/// Numbers that are written while one replica catches up: more than the backlog has.
const ROUND: usize = 1000;

#[test]
fn what_follows_a_part_of_the_log_comes_behind_it_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--io-threads", "1", "--repl-backlog-size", "16kb"];
    let words = [&words[..], &["--auto-aof-rewrite-percentage", "0"]].concat();
    let server = server(dir.path(), &words);
    let mut first = server.client();
    first.ask("REPLCONF capa eof capa psync2", "+OK\r\n");
    first.send(b"PSYNC ? -1\r\n");
    let (history, offset) = first.snapshot();
    drop(first);
    let (server, allowed) = (&server, &AtomicUsize::new(ROUND));
    std::thread::scope(|scope| {
        scope.spawn(move || count_up(server.client(), allowed));
        scope.spawn(move || read_on(server.client(), allowed));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            server.client().until("STRLEN k", ":10");
            for round in 1..=16 {
                let mut replica = server.client();
                replica.ask("REPLCONF capa eof capa psync2", "+OK\r\n");
                replica.send(format!("PSYNC {history} {}\r\n", offset + 1).as_bytes());
                assert!(replica.told().starts_with("+CONTINUE"), "round {round}");
                allowed.fetch_add(ROUND, Ordering::Relaxed);
                let found = numbers(&mut replica, (round + 1) * ROUND - 1);
                let gap = found.windows(2).find(|pair| pair[1] != pair[0] + 1);
                assert_eq!((found.first(), gap), (Some(&0), None), "round {round}");
            }
        }));
        allowed.store(usize::MAX, Ordering::Relaxed);
        outcome.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    assert_eq!(server.client().info("sync_full"), "1");
}
