//! A start where something that only helps cannot be had, and what a container's entry tells a server.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::net::TcpListener;
use std::path::Path;

use profiles::Profile;
use tandem_server::{StartError, Surroundings, start_in};

/// Starts a server on a free port, stops it, and gives what it logged. Each needs a folder of its own: what a server has locked
/// is free when the process ends.
fn log_of(
    dir: &Path,
    surroundings: &Surroundings,
    profile: Profile,
    words: &[&str],
) -> Result<String, StartError> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (place, log) = (dir.to_str().unwrap(), dir.join("log"));
    let all = ["--port", &port, "--dir", place, "--logfile", log.to_str().unwrap(), "--metrics-port", "0"];
    // Nothing is kept, so that no stop waits for a snapshot.
    let args: Vec<String> =
        all.iter().chain(words).chain(&["--save", ""]).map(|word| (*word).to_owned()).collect();
    let running = start_in(surroundings, profile, &args, false)?;
    running.stop();
    running.wait();
    Ok(std::fs::read_to_string(log).unwrap())
}

#[test]
fn a_health_socket_that_cannot_be_made_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("missing").join("health.sock");
    let words = ["--health-socket", socket.to_str().unwrap()];
    let log = log_of(dir.path(), &Surroundings::default(), Profile::Plain, &words).unwrap();
    assert!(log.contains("health socket") && log.contains("no socket to ask"), "{log}");
    assert!(log.contains("Ready to accept connections"), "{log}");
}

#[test]
fn certificates_that_nobody_asked_for_do_not_stop_a_start() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder of certificates must be.
    std::fs::write(dir.path().join("tls"), "").unwrap();
    let surroundings =
        Surroundings { defaults: vec![("tls", vec!["optional".to_owned()])], ..Surroundings::default() };
    let log = log_of(dir.path(), &surroundings, Profile::Queue, &[]).unwrap();
    assert!(log.contains("Nobody has asked for TLS"), "{log}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tls"), "").unwrap();
    let asked = log_of(dir.path(), &surroundings, Profile::Queue, &["--tls", "optional"]);
    let why = asked.unwrap_err().to_string();
    assert!(why.contains("tls"), "what was asked for must be had: {why}");
}

#[test]
fn an_open_door_is_told_and_refused_where_a_password_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut surroundings =
        Surroundings { defaults: vec![("protected-mode", vec!["no".to_owned()])], ..Surroundings::default() };
    surroundings.notes.push("told by the surroundings".to_owned());
    let open = ["--bind", "0.0.0.0"];
    let log = log_of(dir.path(), &surroundings, Profile::Plain, &open).unwrap();
    assert!(log.contains("told by the surroundings") && log.contains("No password is set"), "{log}");
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), &surroundings, Profile::Plain, &["--bind", "127.0.0.1", "-::1"]).unwrap();
    assert!(!log.contains("No password is set"), "only this machine reaches it: {log}");

    surroundings.needs_password = true;
    let dir = tempfile::tempdir().unwrap();
    let error = log_of(dir.path(), &surroundings, Profile::Plain, &open).unwrap_err().to_string();
    assert!(error.contains("no password is set"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), &surroundings, Profile::Plain, &["--requirepass", "x", "--bind", "0.0.0.0"]).unwrap();
}
