//! That memory is counted once, whatever a request takes. Alone in its process, since the allocator's figures are the process's.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use support::{Client, request, server};

const TAKEN_MB: u64 = 100;

/// A drift of the sum is believed when it was there for eight seconds, so the script takes twice as long.
#[test]
fn what_a_long_script_has_taken_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--io-threads", "2"]);
    let mut client = server.client();
    let used_mb = |client: &mut Client| client.info("used_memory").parse::<u64>().unwrap() >> 20;
    let before = used_mb(&mut client);
    let source =
        b"local began = redis.call('TIME')[1] for i = 1, ARGV[1] do redis.call('SET', i, ARGV[2]) end \
        while redis.call('TIME')[1] - began < 17 do end";
    let (count, value) = (TAKEN_MB.to_string(), vec![b'x'; 1 << 20]);
    client.send(&request(&[b"EVAL", source, b"0", count.as_bytes(), &value]));
    client.expect("$-1\r\n");
    let taken = used_mb(&mut client) - before;
    assert!((TAKEN_MB..TAKEN_MB * 3 / 2).contains(&taken), "{taken} MB for {TAKEN_MB}");
}
