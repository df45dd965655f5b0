//! What a profile keeps for its operator: settings, users, and the password of a file that changes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use profiles::Profile;
use support::server_as;

const WORDS: &[&str] = &["--tls", "off", "--metrics-port", "0"];

#[test]
fn settings_and_users_of_a_profile_stay_without_a_file_being_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = server_as(Profile::Queue, dir.path(), WORDS);
    let mut client = first.client();
    for name in ["queue.conf", "users.acl"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    client.ask("CONFIG SET timeout 77", "+OK\r\n");
    client.ask("CONFIG SET port 0", "+OK\r\n");
    client.ask("CONFIG REWRITE", "+OK\r\n");
    client.ask("ACL SETUSER worker on nopass ~bull:* +@all", "+OK\r\n");
    client.ask("ACL SAVE", "+OK\r\n");
    client.ask("SHUTDOWN", "");
    client.closed();
    drop(first);
    let settings = std::fs::read_to_string(dir.path().join("queue.conf")).unwrap();
    assert!(settings.contains("\ntimeout 77\n") && !settings.contains("aclfile"), "{settings}");
    assert!(!settings.contains("\ndir "), "a folder that is copied must not name the old one: {settings}");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("CONFIG REWRITE has kept port, but the command line names it, too"), "{log}");
    assert!(!log.contains("has kept timeout"), "{log}");

    let second = server_as(Profile::Queue, dir.path(), WORDS);
    let mut client = second.client();
    client.ask("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$2\r\n77\r\n");
    client.ask("AUTH worker any", "+OK\r\n");
    client.ask("SET other 1", "-NOPERM No permissions to access a key\r\n");
    assert!(second.client().info("config_file").ends_with("/queue.conf"));
}

#[test]
fn a_file_or_users_that_are_named_are_kept_to() {
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join("mine.conf");
    std::fs::write(&named, "user default on nopass ~* &* +@all\nuser a on nopass +@all ~*\n").unwrap();
    let mut words = vec![named.to_str().unwrap()];
    words.extend([
        "--logfile",
        "",
        "--dir",
        dir.path().to_str().unwrap(),
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
    ]);
    words.extend(WORDS);
    let socket = dir.path().join("s");
    words.extend(["--unixsocket", socket.to_str().unwrap()]);
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let running = tandem_server::start(Profile::Cache, &words, false).unwrap();
    for name in ["cache.conf", "users.acl"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    running.stop();
    running.wait();
}

#[test]
fn a_folder_that_cannot_be_written_keeps_nothing_and_nobody_from_serving() {
    let dir = tempfile::tempdir().unwrap();
    // Something else lies where the files would be made.
    for name in ["cache.conf", "users.acl"] {
        std::os::unix::fs::symlink(dir.path().join("none/file"), dir.path().join(name)).unwrap();
    }
    let server = server_as(Profile::Cache, dir.path(), WORDS);
    let mut client = server.client();
    client.ask("CONFIG REWRITE", "-ERR The server is running without a config file\r\n");
    client.send(b"ACL SAVE\r\n");
    assert!(client.line().starts_with("-ERR This Redis instance is not configured to use an ACL file"));
}

#[test]
fn what_is_there_and_cannot_be_read_is_not_done_without() {
    for name in ["queue.conf", "users.acl"] {
        let dir = tempfile::tempdir().unwrap();
        // Not even root can open a link to itself, which stands for another owner's file here.
        std::os::unix::fs::symlink(name, dir.path().join(name)).unwrap();
        let Err(why) = support::try_server(Profile::Queue, dir.path(), WORDS) else {
            panic!("it has started without {name}");
        };
        assert!(why.contains(&format!("{name} is there but cannot be read: ")), "{why}");
    }
}

#[test]
fn a_certificate_of_its_own_follows_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = server_as(Profile::Queue, dir.path(), &["--metrics-port", "0", "--tls-names", "a.example"]);
    let names = || std::fs::read_to_string(dir.path().join("tls/tandem-queue.names")).unwrap();
    assert!(names().lines().any(|name| name == "a.example"), "{}", names());
    let mut client = server.client();
    client.ask("CONFIG SET tls-names \"b.example *.c.example 192.0.2.9\"", "+OK\r\n");
    for name in ["b.example", "*.c.example", "192.0.2.9"] {
        assert!(names().lines().any(|line| line == name), "{name}: {}", names());
    }
    assert!(!names().contains("a.example"));
    client.send(b"CONFIG SET tls-names no/name\r\n");
    assert!(client.line().starts_with("-ERR CONFIG SET failed (possibly related to argument 'tls-names')"));
    client.ask("CONFIG GET tls-names", "*2\r\n$9\r\ntls-names\r\n$31\r\nb.example *.c.example 192.0.2.9\r\n");
}

#[test]
fn a_kept_password_wins_over_the_one_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    password(dir.path(), "one\n");
    let path = dir.path().join("password");
    let words = [WORDS, &["--requirepass-file", path.to_str().unwrap()]].concat();
    let server = server_as(Profile::Queue, dir.path(), &words);
    let mut client = server.client();
    client.ask("AUTH one", "+OK\r\n");
    client.ask("CONFIG SET requirepass two", "+OK\r\n");
    client.ask("CONFIG REWRITE", "+OK\r\n");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("has kept requirepass"), "a kept password wins over the file: {log}");
    drop(client);
    drop(server);
    let again = server_as(Profile::Queue, dir.path(), &words);
    again.client().ask("AUTH two", "+OK\r\n");
}

#[test]
fn a_kept_password_wins_over_the_one_of_a_kept_user() {
    let dir = tempfile::tempdir().unwrap();
    let server = server_as(Profile::Queue, dir.path(), WORDS);
    let mut client = server.client();
    client.ask("ACL SETUSER default resetpass >one", "+OK\r\n");
    client.ask("ACL SETUSER worker on nopass ~bull:* +@all", "+OK\r\n");
    client.ask("ACL SAVE", "+OK\r\n");
    client.ask("ACL SETUSER unsaved on nopass +@all", "+OK\r\n");
    client.ask("CONFIG SET requirepass two", "+OK\r\n");
    client.ask("CONFIG REWRITE", "+OK\r\n");
    drop(client);
    drop(server);
    let refusal = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let again = server_as(Profile::Queue, dir.path(), WORDS);
    let mut client = again.client();
    client.ask("AUTH one", refusal);
    client.ask("AUTH two", "+OK\r\n");
    client.ask("ACL USERS", "*2\r\n$7\r\ndefault\r\n$6\r\nworker\r\n");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("requirepass does not count"), "{log}");
    // What has been said to the user himself since then is ACL SAVE's.
    client.ask("CONFIG SET requirepass three", "+OK\r\n");
    client.ask("ACL SETUSER default resetpass >four", "+OK\r\n");
    client.ask("CONFIG REWRITE", "+OK\r\n");
    drop(client);
    drop(again);
    let third = server_as(Profile::Queue, dir.path(), WORDS);
    third.client().ask("AUTH two", "+OK\r\n");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("requirepass does not count"), "{log}");
}

fn password(dir: &Path, text: &str) {
    let path = dir.join("password");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_password_of_a_file_is_read_again_and_one_that_was_set_since_stays() {
    let dir = tempfile::tempdir().unwrap();
    password(dir.path(), "one\n");
    let path = dir.path().join("password");
    let words = [WORDS, &["--requirepass-file", path.to_str().unwrap()]].concat();
    let server = server_as(Profile::Cache, dir.path(), &words);
    let mut client = server.client();
    client.ask("AUTH one", "+OK\r\n");
    password(dir.path(), "two\n");
    server.reread();
    server.client().until("AUTH two", "+OK");
    client.ask("PING", "+PONG\r\n");
    let refusal = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    server.client().ask("AUTH one", refusal);
    // An empty file and one that is gone change nothing.
    password(dir.path(), "");
    server.reread();
    client.ask("CONFIG SET requirepass three", "+OK\r\n");
    password(dir.path(), "four\n");
    server.reread();
    let log = dir.path().join("log");
    let end = std::time::Instant::now() + support::PATIENCE;
    while !std::fs::read_to_string(&log).unwrap().contains("That one stays") {
        assert!(std::time::Instant::now() < end, "{}", std::fs::read_to_string(&log).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(std::fs::read_to_string(&log).unwrap().contains("password is empty"));
    server.client().ask("AUTH four", refusal);
    server.client().ask("AUTH three", "+OK\r\n");
}

#[test]
fn users_of_an_included_file_stay_there_when_the_configuration_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (main, included, log) = (place("main.conf"), place("users.conf"), place("log"));
    std::fs::write(&included, "user told on nopass ~a +get\nuser default on nopass ~* &* +@all\n").unwrap();
    std::fs::write(&main, format!("include {included}\nuser own on nopass ~b +get\n")).unwrap();
    let dir_text = dir.path().to_str().unwrap();
    let words = [
        main.as_str(),
        "--dir",
        dir_text,
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--logfile",
        &log,
        "--save",
        "",
    ];
    let unix = ["--unixsocket", &place("socket")].map(str::to_owned);
    let args: Vec<String> = words.map(str::to_owned).into_iter().chain(unix).collect();
    let start = || tandem_server::start(Profile::Plain, &args, false).unwrap();
    let ask = |line: &str| {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(place("socket")).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        reply
    };
    for timeout in ["5", "6"] {
        let running = start();
        assert_eq!(ask(&format!("CONFIG SET timeout {timeout}")), "+OK\r\n");
        assert_eq!(ask("ACL SETUSER own +set"), "+OK\r\n");
        assert_eq!(ask("CONFIG REWRITE"), "+OK\r\n");
        running.stop();
        running.wait();
    }
    let text = std::fs::read_to_string(&main).unwrap();
    assert!(
        text.contains("timeout 6") && text.contains("user own ") && !text.contains("user told"),
        "{text}"
    );
    let running = start();
    assert_eq!(ask("ACL SETUSER told +set"), "+OK\r\n");
    let refusal = "-ERR user 'told' has changed and is told in an included file: change it there\r\n";
    assert_eq!(ask("CONFIG REWRITE"), refusal);
    assert_eq!(std::fs::read_to_string(&main).unwrap(), text);
    running.stop();
    running.wait();
}

#[test]
fn a_transaction_hears_that_settings_and_users_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (own, away) = (dir.path().join("own"), dir.path().join("away"));
    std::fs::create_dir(&own).unwrap();
    let server = server_as(Profile::Cache, &own, WORDS);
    let mut client = server.client();
    let wrong = [
        "-ERR Rewriting config file: No such file or directory",
        "-ERR There was an error trying to save the ACLs: No such file or directory",
    ];
    let mut transaction = |[settings, users]: [&str; 2], then: &str, told: &str| {
        client.ask("MULTI", "+OK\r\n");
        for line in ["CONFIG SET timeout 5", "CONFIG REWRITE", "ACL SETUSER worker on nopass", "ACL SAVE"] {
            client.ask(line, "+QUEUED\r\n");
        }
        client.ask("EXEC", &format!("*4\r\n+OK\r\n{settings}\r\n+OK\r\n{users}\r\n"));
        // It waits for what the transaction has left to be done.
        client.ask(then, &format!("{told}\r\n"));
    };
    transaction(["+OK"; 2], "CONFIG REWRITE", "+OK");
    assert!(std::fs::read_to_string(own.join("users.acl")).unwrap().contains("user worker"));
    std::fs::rename(&own, &away).unwrap();
    // It is not looked at with the engine in hand, so this one hears what was known before.
    transaction(["+OK"; 2], "CONFIG REWRITE", wrong[0]);
    transaction(wrong, "ACL SAVE", wrong[1]);
    std::fs::rename(&away, &own).unwrap();
    transaction(wrong, "CONFIG REWRITE", "+OK");
    transaction(["+OK"; 2], "ACL SAVE", "+OK");
}
