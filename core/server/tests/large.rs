//! What one long value and one long reply take, beside their bytes. A file of its own, since `used_memory` is that of a whole process.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{Client, PATIENCE, request, server};

/// Whoever measures is alone.
static ALONE: Mutex<()> = Mutex::new(());

/// A length whose next power of two is much more, bytes.
const LONG: usize = 40 << 20;

fn used(client: &mut Client) -> usize {
    client.info("used_memory").parse().unwrap()
}

/// What the server has in use over `before`, once that is at least `least`.
fn grown(client: &mut Client, before: usize, least: usize) -> usize {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = used(client).saturating_sub(before);
        if now >= least {
            return now;
        }
        assert!(Instant::now() < end, "{now} of {least} bytes have come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the server has no more than that in use.
fn shrunk(client: &mut Client, most: usize) {
    let end = Instant::now() + PATIENCE;
    while used(client) > most {
        assert!(Instant::now() < end, "{} bytes are still in use, not {most}", used(client));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends what stands in front of a long argument, and the argument in pieces: this process must not hold it, too.
fn send_long(client: &mut Client, before: &[&str], arguments: usize) {
    let mut head = format!("*{arguments}\r\n");
    before.iter().for_each(|word| head += &format!("${}\r\n{word}\r\n", word.len()));
    client.send(format!("{head}${LONG}\r\n").as_bytes());
    let piece = [b'v'; 32 << 10];
    for _ in 0..LONG / piece.len() {
        client.send(&piece);
    }
}

#[test]
fn a_long_value_is_held_once_from_its_first_byte_on() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--appendonly", "no"]);
    let (mut watcher, mut writer) = (server.client(), server.client());
    let length = format!(":{LONG}\r\n");
    let cases: [(&[&str], usize, &str, &str); 4] = [
        (&["SET", "key"], 3, "\r\n", "+OK\r\n"),
        (&["MSET", "key"], 5, "\r\n$5\r\nother\r\n$5\r\nshort\r\n", "+OK\r\n"),
        (&["SETEX", "key", "1000"], 4, "\r\n", "+OK\r\n"),
        (&["APPEND", "key"], 3, "\r\n", &length),
    ];
    let at_first = used(&mut watcher);
    for (before, arguments, tail, reply) in cases {
        send_long(&mut writer, before, arguments);
        let held = grown(&mut watcher, at_first, LONG);
        assert!(held < LONG + LONG / 8, "{before:?}: {held} bytes in use for a request");
        writer.send(tail.as_bytes());
        writer.expect(reply);
        let held = used(&mut watcher) - at_first;
        assert!(held < LONG + LONG / 8, "{before:?}: {held} bytes in use for a value");
        let peak: usize = watcher.info("used_memory_peak").parse().unwrap();
        assert!(
            peak < at_first + LONG + LONG / 4,
            "{before:?}: {peak} bytes at the peak, {at_first} at first"
        );
        writer.ask(&format!("GETRANGE key {} -1", LONG - 5), "$5\r\nvvvvv\r\n");
        writer.ask("DEL key", ":1\r\n");
        // Another thread frees it.
        shrunk(&mut watcher, at_first + LONG / 16);
    }
}

#[test]
fn long_values_in_a_pipeline_come_whole_and_in_order() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut client = server.client();
    let mut sent = Vec::new();
    let lengths = [40_000, 1, 200_000, 65_536, 0, 3_000_000, 32_768, 100, 1_000_001];
    for (n, len) in lengths.iter().enumerate() {
        let value: Vec<u8> = (0..*len).map(|at| (at * 31 + n) as u8).collect();
        let key = format!("k{n}");
        sent.extend(request(&[b"SET", key.as_bytes(), &value]));
        sent.extend(request(&[b"RPUSH", b"list", &value, b"between", &value]));
    }
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent).unwrap());
    for n in 0..lengths.len() {
        client.expect(&format!("+OK\r\n:{}\r\n", 3 * (n + 1)));
    }
    writing.join().unwrap();
    for (n, len) in lengths.iter().enumerate() {
        client.ask(&format!("STRLEN k{n}"), &format!(":{len}\r\n"));
        let script = format!(
            "EVAL \"local v = redis.call('GET','k{n}') return v == redis.call('LINDEX','list',{}) and v == redis.call('LINDEX','list',{})\" 0",
            3 * n,
            3 * n + 2
        );
        client.ask(&script, ":1\r\n");
    }
}

#[test]
fn a_reply_that_nobody_reads_takes_little_more_than_its_bytes() {
    const ELEMENTS: usize = 2100;
    const BYTES: usize = ELEMENTS * 10_000;
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let (mut watcher, mut deaf) = (server.client(), server.client());
    let element = vec![b'e'; 10_000];
    let words: Vec<&[u8]> =
        [&b"RPUSH"[..], b"list"].into_iter().chain((0..ELEMENTS).map(|_| &element[..])).collect();
    watcher.send(&request(&words));
    watcher.expect(&format!(":{ELEMENTS}\r\n"));
    let before = used(&mut watcher);
    deaf.send(b"LRANGE list 0 -1\r\n");
    // What the kernel takes of it is not the server's.
    grown(&mut watcher, before, BYTES / 2);
    std::thread::sleep(Duration::from_millis(50));
    let held = used(&mut watcher) - before;
    assert!(held < BYTES + BYTES / 4, "{held} bytes in use for a reply of {BYTES}");
}

#[test]
fn a_message_that_many_do_not_read_is_held_once() {
    const LISTENERS: usize = 8;
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "no", "--client-output-buffer-limit", "pubsub 0 0 0"];
    let server = server(dir.path(), &words);
    let mut publisher = server.client();
    let mut listeners: Vec<Client> = (0..LISTENERS).map(|_| server.client()).collect();
    for listener in &mut listeners {
        listener.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    }
    let before = used(&mut publisher);
    send_long(&mut publisher, &["PUBLISH", "news"], 3);
    publisher.send(b"\r\n");
    publisher.expect(&format!(":{LISTENERS}\r\n"));
    grown(&mut publisher, before, LONG / 2);
    shrunk(&mut publisher, before + LONG + LONG / 4);
    // Each is shown with all that it does not read, but for what the kernel has; together they hold it once.
    publisher.send(b"CLIENT LIST TYPE pubsub\r\n");
    publisher.line();
    let text = publisher.line();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), LISTENERS, "{text}");
    for line in lines {
        let field = line.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next());
        let bytes: usize = field.unwrap().parse().unwrap();
        assert!((LONG / 2..=LONG).contains(&bytes), "{line}");
    }
    let clients: usize = publisher.info("mem_clients_normal").parse().unwrap();
    assert!(clients < 2 * LONG, "{clients} bytes for all of them");
    drop(listeners);
    shrunk(&mut publisher, before + LONG / 4);
}
