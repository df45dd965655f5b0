//! What strangers hold and the memory of data. A file of its own, since `used_memory` is that of a whole process and tests share one.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::Write;
use std::time::Duration;

use support::{Client, request, server};

#[test]
fn no_key_is_evicted_and_no_write_refused_for_what_strangers_hold() {
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
