//! What the log and the health endpoint tell of clients that are refused.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use support::{http_get, server};

/// Waits until the log says this; the whole line.
fn logged(dir: &Path, text: &str) -> String {
    let end = Instant::now() + support::PATIENCE;
    loop {
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        if let Some(line) = log.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        assert!(Instant::now() < end, "{text} is not in\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn full_memory_is_a_state_and_a_line_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = port.to_string();
    let server =
        server(dir.path(), &["--save", "", "--metrics-port", &text, "--metrics-keys", "q db1=other"]);
    let mut client = server.client();
    client.ask("RPUSH q a b", ":2\r\n");
    client.ask("CONFIG SET maxmemory 1", "+OK\r\n");
    for _ in 0..100 {
        client.ask("SET k v", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    }
    let line = logged(dir.path(), "A command was refused: memory is full: ");
    assert!(line.contains(" of maxmemory 1B are in use"), "{line}");
    let answer = http_get(port, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"ready\":true,") && answer.contains("\"full\":\"memory is full: "), "{answer}");
    let page = http_get(port, "/metrics");
    for sample in [
        "tandem_oom_refusals_total 100",
        "redis_key_size{db=\"db0\",key=\"q\"} 2",
        "redis_key_size{db=\"db1\",key=\"other\"} 0",
        "redis_exporter_last_scrape_error{err=\"\"} 0",
    ] {
        assert!(page.lines().any(|line| line == sample), "{sample} is not in\n{page}");
    }
    client.ask("CONFIG SET maxmemory 0", "+OK\r\n");
    logged(dir.path(), "Memory has room again.");
    assert!(http_get(port, "/readyz").contains("\"full\":null"));
}

#[test]
fn wrong_passwords_are_told_once_with_who_gave_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--requirepass", "right"]);
    let mut client = server.client();
    client.ask("AUTH eve wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    let line = logged(dir.path(), "A wrong password was given");
    let address = client.stream.local_addr().unwrap();
    assert!(line.ends_with(&format!("; the latest for user 'eve' from {address}")), "{line}");
    for _ in 0..3 {
        client.ask("AUTH eve wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    }
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(log.matches("A wrong password").count(), 1, "{log}");
}

#[test]
fn who_is_refused_where_tls_is_required_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    let issued = control::certs::Authority::new(dir.path(), "x", &[]).ensure(SystemTime::now()).unwrap();
    let (cert, key) = (issued.files.cert.to_str().unwrap(), issued.files.key.to_str().unwrap());
    let words = [
        "--save",
        "",
        "--tls",
        "required",
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key,
        "--maxclients",
        "1",
    ];
    let server = server(dir.path(), &words);
    // It has not said anything yet, and is the one client that there is room for.
    let mut first = server.client();
    let mut second = server.client();
    second.send(b"PING\r\n");
    second.expect("-ERR max number of clients reached\r\n");
    second.closed();
    logged(dir.path(), "A connection was refused: maxclients 1 are connected");
    first.send(b"PING\r\n");
    assert!(first.line().starts_with("-ERR this port requires TLS"));
    first.closed();
    let line = logged(dir.path(), "A connection without TLS from 127.0.0.1:");
    assert!(line.contains(" # "), "{line}");
}

#[test]
fn a_handshake_that_fails_is_told_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let issued = control::certs::Authority::new(dir.path(), "x", &[]).ensure(SystemTime::now()).unwrap();
    let (cert, key) = (issued.files.cert.to_str().unwrap(), issued.files.key.to_str().unwrap());
    let server = server(
        dir.path(),
        &["--save", "", "--tls", "optional", "--tls-cert-file", cert, "--tls-key-file", key],
    );
    let mut client = server.client();
    // A record of a handshake with nothing that is one.
    client.send(&[0x16, 3, 1, 0, 4, b'n', b'o', b'n', b'e']);
    let line = logged(dir.path(), "A TLS handshake with 127.0.0.1:");
    assert!(line.contains(" failed: "), "{line}");
}

#[test]
fn many_subscribers_that_do_not_read_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--client-output-buffer-limit", "pubsub 4mb 0 0"]);
    let mut slow = [server.client(), server.client()];
    for client in &mut slow {
        client.ask("SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    }
    let mut publisher = server.client();
    let message = support::request(&[b"PUBLISH", b"c", &vec![b'x'; 1 << 20]]);
    for _ in 0..64 {
        publisher.send(&message);
        if publisher.line() == ":0" {
            break;
        }
    }
    publisher.until_info("client_output_buffer_limit_disconnections", "2");
    logged(dir.path(), "scheduled to be closed ASAP for overcoming of output buffer limits");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(log.matches("scheduled to be closed").count(), 1, "{log}");
}

#[test]
fn a_pidfile_that_cannot_be_written_is_told_and_no_reason_not_to_serve() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none/redis.pid");
    let server = server(dir.path(), &["--save", "", "--pidfile", path.to_str().unwrap()]);
    server.client().ask("PING", "+PONG\r\n");
    logged(dir.path(), "Failed to write PID file '");
    let written = dir.path().join("own.pid");
    let second = support::server(dir.path(), &["--save", "", "--pidfile", written.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&written).unwrap(), format!("{}\n", std::process::id()));
    second.stop();
    assert!(!written.exists());
}

#[test]
fn certificates_of_clients_stay_wanted_until_somebody_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let issued = control::certs::Authority::new(dir.path(), "x", &[]).ensure(SystemTime::now()).unwrap();
    let (cert, key) = (issued.files.cert.to_str().unwrap(), issued.files.key.to_str().unwrap());
    let authority = dir.path().join("ca.crt").to_str().unwrap().to_owned();
    let words = ["--save", "", "--tls", "optional", "--tls-cert-file", cert, "--tls-key-file", key];
    let refused = |name: &str| {
        let why = "Unable to update TLS configuration. Check server logs.";
        format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {why}\r\n")
    };
    {
        // Started without an authority, nobody is asked; who wants that needs one.
        let server = server(dir.path(), &words);
        let mut client = server.client();
        client.ask("CONFIG SET tls-auth-clients yes", &refused("tls-auth-clients"));
        client.ask(&format!("CONFIG SET tls-auth-clients yes tls-ca-cert-file {authority}"), "+OK\r\n");
        client.ask("CONFIG SET tls-ca-cert-file \"\"", &refused("tls-ca-cert-file"));
    }
    let server = server(dir.path(), &[&words[..], &["--tls-ca-cert-file", &authority]].concat());
    let mut client = server.client();
    client.ask("CONFIG SET tls-ca-cert-file \"\"", &refused("tls-ca-cert-file"));
    client.ask("CONFIG SET tls-auth-clients no tls-ca-cert-file \"\"", "+OK\r\n");
    // Nor is one named that is not there, though nobody is asked for a certificate now.
    client.ask("CONFIG SET tls-ca-cert-file /nonexistent/ca.crt", &refused("tls-ca-cert-file"));
}
