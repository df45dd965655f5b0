//! What strangers hold and the memory of data. A file of its own, since `used_memory` is that of a whole process and tests share one.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{Client, PATIENCE, request, server};

/// Whoever measures is alone.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_key_is_evicted_and_no_write_refused_for_what_strangers_hold() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--requirepass", "pw"]);
    let mut owner = server.client();
    owner.ask("AUTH pw", "+OK\r\n");
    owner.send(&request(&[b"SET", b"k", &vec![b'x'; 8 << 20]]));
    owner.expect("+OK\r\n");
    let used: usize = owner.info("used_memory").parse().unwrap();
    owner.ask(&format!("CONFIG SET maxmemory {}", used + (1 << 20)), "+OK\r\n");
    let mut crowd: Vec<Client> = (0..200).map(|_| server.client()).collect();
    for client in &mut crowd {
        let _ = client.stream.write_all(&vec![b'x'; 60_000]);
    }
    std::thread::sleep(Duration::from_millis(100));
    for n in 0..50 {
        owner.ask(&format!("SET small{n} v"), "+OK\r\n");
    }
    drop(crowd);
}

#[test]
fn users_do_not_go_for_what_strangers_hold() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--requirepass", "pw", "--maxmemory-clients", "4mb"]);
    let mut owner = server.client();
    owner.ask("AUTH pw", "+OK\r\n");
    let value = vec![b'x'; 500_000];
    owner.send(&request(&[b"SET", b"k", &value]));
    owner.expect("+OK\r\n");
    // Lines without an end, together far more than users may have, and than all strangers may.
    let mut crowd: Vec<Client> = (0..500).map(|_| server.client()).collect();
    for client in &mut crowd {
        // It may be closed meanwhile.
        let _ = client.stream.write_all(&vec![b'x'; 60_000]);
    }
    for _ in 0..20 {
        owner.send(&request(&[b"GET", b"k"]));
        owner.expect(&format!("${}\r\n", value.len()));
        owner.expect(&"x".repeat(value.len()));
        owner.expect("\r\n");
    }
    assert_eq!(owner.info("evicted_clients"), "0");
    let used: usize = owner.info("used_memory").parse().unwrap();
    let start: usize = owner.info("used_memory_startup").parse().unwrap();
    assert!(used < start + (28 << 20), "{used} bytes in use, {start} at the start");
    drop(crowd);
}

#[test]
fn a_stranger_who_does_not_read_gets_little_and_is_closed() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--requirepass", "pw"]);
    let mut operator = server.client();
    operator.ask("AUTH pw", "+OK\r\n");
    let mut deaf = server.client();
    deaf.stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let pipeline = "GET a\r\n".repeat(10_000);
    let (mut sent, end) = (0, Instant::now() + PATIENCE);
    while deaf.stream.write_all(pipeline.as_bytes()).is_ok() {
        sent += pipeline.len();
        // Some hundred kilobytes of refusals, whatever the kernel would hold.
        assert!(sent < (8 << 20), "{sent} bytes were taken and it is still open");
        assert!(Instant::now() < end, "{sent} bytes were taken and it is still open");
    }
    let used: usize = operator.info("used_memory").parse().unwrap();
    let start: usize = operator.info("used_memory_startup").parse().unwrap();
    assert!(used < start + (16 << 20), "{used} bytes in use, {start} at the start");
    // One who reads gets an answer to each.
    let mut reader = server.client();
    let writer = reader.stream.try_clone().unwrap();
    let sender =
        std::thread::spawn(move || (&writer).write_all("GET a\r\n".repeat(5_000).as_bytes()).unwrap());
    reader.expect(&"-NOAUTH Authentication required.\r\n".repeat(5_000));
    sender.join().unwrap();
}
