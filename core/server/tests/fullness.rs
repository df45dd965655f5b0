//! When memory counts as full. A file of its own, since `used_memory` is that of a whole process and tests share one.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{http_get, server};

#[test]
fn memory_is_full_also_where_only_what_is_asked_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = port.to_string();
    let server = server(dir.path(), &["--save", "", "--metrics-port", &text, "--hz", "1"]);
    let mut client = server.client();
    // It is in the same process as the server, so it is there before that is asked.
    let large = support::request(&[b"SET", b"k", &vec![b'x'; 8 << 20]]);
    let used: usize = client.info("used_memory").parse().unwrap();
    client.ask(&format!("CONFIG SET maxmemory {}", used + (4 << 20)), "+OK\r\n");
    let end = Instant::now() + support::PATIENCE;
    client.send(&large);
    client.expect("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    let told = http_get(port, "/readyz");
    assert!(told.contains("\"full\":\"memory is full"), "refused, and yet not full: {told}");
    while !http_get(port, "/readyz").contains("\"full\":\"memory is full for what is asked: ") {
        assert!(Instant::now() < end, "what was asked for is gone with its refusal");
        client.send(&large);
        client.expect("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        std::thread::sleep(Duration::from_millis(200));
    }
    while !http_get(port, "/readyz").contains("\"full\":null") {
        assert!(Instant::now() < end, "nothing is asked any more: {}", http_get(port, "/readyz"));
        std::thread::sleep(Duration::from_millis(100));
    }
}
