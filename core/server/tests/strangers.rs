//! Clients that have not logged in: that all who may come in do, quickly and with all they have sent, and that the others cost
//! nobody anything.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Client, PATIENCE, Server, request, server};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

/// A server whose password is known only as a record, as after a restart with an ACL file: the first log-in takes a check.
fn cold(dir: &Path, words: &[&str]) -> Server {
    let record = format!("argon2id:{}", control::password::hash(b"pw").unwrap().as_str());
    let mut all = vec!["--save", "", "--requirepass", &record];
    all.extend(words);
    server(dir, &all)
}

/// A record that takes some seconds and fits nothing: whoever is compared with it waits.
fn slow(dir: &Path, words: &[&str]) -> Server {
    let record = "argon2id:$argon2id$v=19$m=131072,t=16,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let mut all = vec!["--save", "", "--requirepass", record];
    all.extend(words);
    server(dir, &all)
}

fn user_of(server: &Server) -> Client {
    let mut client = server.client();
    client.ask("AUTH pw", "+OK\r\n");
    client
}

#[test]
fn what_follows_a_log_in_is_read_by_the_limits_of_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let large = vec![b'x'; 200_000];
    let wide: Vec<&[u8]> = "MSET a 1 b 2 c 3 d 4 e 5 f 6".split(' ').map(str::as_bytes).collect();
    let rest = [request(&wide), request(&[b"SET", b"large", &large]), b"STRLEN large\r\n".to_vec()].concat();
    let logins: [(&[&[u8]], &str); 3] = [
        (&[b"AUTH", b"pw"], "+OK"),
        (&[b"AUTH", b"default", b"pw"], "+OK"),
        (&[b"HELLO", b"2", b"AUTH", b"default", b"pw", b"SETNAME", b"me"], "*14"),
    ];
    let mut clients = Vec::new();
    for n in 0..21 {
        let (login, first) = logins[n % 3];
        let mut client = server.client();
        match n % 2 {
            0 => client.send(&[request(login), rest.clone()].concat()),
            _ => {
                client.send(&request(login));
                client.send(&rest);
            }
        }
        clients.push((client, first));
    }
    for (mut client, first) in clients {
        assert_eq!(client.line(), first);
        let mut line = client.line();
        while line != "+OK" {
            line = client.line();
        }
        client.expect("+OK\r\n:200000\r\n");
    }
    // After a change of the password, and by a new user, alike.
    let mut operator = user_of(&server);
    operator.ask("CONFIG SET requirepass other", "+OK\r\n");
    operator.ask("ACL SETUSER ann on >hers +@all ~*", "+OK\r\n");
    for login in [&[b"AUTH".as_slice(), b"other"][..], &[b"AUTH", b"ann", b"hers"]] {
        let mut client = server.client();
        client.send(&[request(login), request(&wide)].concat());
        client.expect("+OK\r\n+OK\r\n");
    }
}

#[test]
fn a_wrong_password_leaves_what_follows_to_a_strangers_limits() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let mut client = server.client();
    let wide: Vec<&[u8]> = "MSET a 1 b 2 c 3 d 4 e 5 f 6".split(' ').map(str::as_bytes).collect();
    client.send(&[request(&[b"AUTH", b"no"]), request(&[b"GET", b"a"]), request(&wide)].concat());
    client.expect(WRONGPASS);
    client.expect("-NOAUTH Authentication required.\r\n");
    client.expect("-ERR Protocol error: unauthenticated multibulk length\r\n");
    client.closed();
    // And one who gives up his rights has them no more.
    let mut client = user_of(&server);
    client.ask("RESET", "+RESET\r\n");
    client.send(&request(&wide));
    client.expect("-ERR Protocol error: unauthenticated multibulk length\r\n");
}

#[test]
fn a_crowd_of_users_is_in_by_one_check() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send(b"AUTH pw\r\nPING\r\n"));
    clients.iter_mut().for_each(|client| client.expect("+OK\r\n+PONG\r\n"));
    // Whoever tries an old password again and again costs one check, too.
    let mut old: Vec<Client> = (0..80).map(|_| server.client()).collect();
    for _ in 0..20 {
        old.iter_mut().for_each(|client| client.send(b"AUTH old\r\n"));
        old.iter_mut().for_each(|client| client.expect(WRONGPASS));
    }
    user_of(&server);
}

#[test]
fn the_right_password_does_not_wait_behind_those_who_guess() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let one = {
        let began = Instant::now();
        let mut client = server.client();
        client.ask("AUTH guess", WRONGPASS);
        began.elapsed()
    };
    // A hundred checks wait; the crowd asks on when it is refused.
    let mut crowd: Vec<Client> = (0..100).map(|_| server.client()).collect();
    for (n, client) in crowd.iter_mut().enumerate() {
        client.send((0..3).map(|m| format!("AUTH guess{n}-{m}\r\n")).collect::<String>().as_bytes());
    }
    std::thread::sleep(2 * one);
    let began = Instant::now();
    user_of(&server);
    let waited = began.elapsed();
    assert!(waited < 30 * one, "{waited:?}, a check takes {one:?}");
}

#[test]
fn little_is_read_from_a_stranger_whose_password_is_being_checked() {
    let dir = tempfile::tempdir().unwrap();
    let server = slow(dir.path(), &[]);
    let mut flood = server.client();
    flood.send(b"AUTH x\r\n");
    std::thread::sleep(Duration::from_millis(50));
    flood.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let block = vec![b'x'; 1 << 20];
    let taken = (0..64).take_while(|_| flood.stream.write_all(&block).is_ok()).count();
    // What the kernel's buffers hold; more would lie with the server.
    assert!(taken < 32, "{taken} MiB were taken");
}

#[test]
fn a_log_in_and_what_follows_are_done_although_the_client_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let mut client = server.client();
    client.send(b"AUTH pw\r\nSET a b\r\nGET a\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.expect("+OK\r\n+OK\r\n$1\r\nb\r\n");
    client.closed();
}

#[test]
fn users_find_a_place_where_strangers_have_taken_all() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &["--maxclients", "40"]);
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let users: Vec<Client> = (0..30).map(|_| user_of(&server)).collect();
    let mut last = user_of(&server);
    assert_eq!(last.info("rejected_connections"), "0");
    last.ask("PING", "+PONG\r\n");
    drop((crowd, users));
}

#[test]
fn who_does_not_log_in_is_closed_after_a_while_and_users_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &[]);
    let mut user = user_of(&server);
    // Afterwards, since checking a password may take as long.
    user.ask("CONFIG SET login-timeout 3", "+OK\r\n");
    let (mut silent, mut busy) = (server.client(), server.client());
    busy.ask("PING", "-NOAUTH Authentication required.\r\n");
    silent.closed();
    busy.closed();
    user.ask("PING", "+PONG\r\n");
}

#[test]
fn nobody_is_closed_for_not_logging_in_while_nobody_has_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &["--io-threads", "1"]);
    let mut user = user_of(&server);
    user.ask("CONFIG SET login-timeout 3", "+OK\r\n");
    let (mut silent, began) = (server.client(), Instant::now());
    user.ask("CONFIG SET requirepass \"\"", "+OK\r\n");
    while began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(100));
        user.ask("PING", "+PONG\r\n");
    }
    silent.ask("PING", "+PONG\r\n");
}

#[test]
fn an_operator_comes_in_past_strangers_while_a_script_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let server = cold(dir.path(), &["--busy-reply-threshold", "50"]);
    let mut script = user_of(&server);
    let mut crowd: Vec<Client> = (0..50).map(|_| server.client()).collect();
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    std::thread::sleep(Duration::from_millis(200));
    for (n, client) in crowd.iter_mut().enumerate() {
        client.send(format!("AUTH guess{n}\r\n").as_bytes());
    }
    let mut operator = server.client();
    let began = Instant::now();
    operator.ask("AUTH pw", "+OK\r\n");
    // More arguments than a stranger may send, by one who has come in.
    operator.send(&request(
        &[b"MSET".as_slice(), b"x"].into_iter().chain([b"1".as_slice(); 12]).collect::<Vec<_>>(),
    ));
    assert!(operator.line().starts_with("-BUSY "));
    operator.ask("SCRIPT KILL", "+OK\r\n");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(script.line().starts_with("-ERR "));
}

#[test]
fn passwords_are_counted_removed_and_looked_at_before_they_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users.acl"), "").unwrap();
    let path = format!("{}/users.acl", dir.path().display());
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = server(dir.path(), &["--save", "", "--aclfile", &path]);
    let mut operator = server.client();
    for n in 0..9 {
        operator.ask(&format!("ACL SETUSER ann on >p{n} +@all"), "+OK\r\n");
    }
    operator.ask("ACL SAVE", "+OK\r\n");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    server.finish();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    let server = support::server(dir.path(), &["--save", "", "--aclfile", &path]);
    let mut operator = server.client();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("users.acl can be read by others (mode 644)"), "{log}");
    operator.ask("AUTH ann p8", "+OK\r\n");
    operator.ask("ACL SETUSER ann <p7", "+OK\r\n");
    operator.ask("AUTH ann p7", WRONGPASS);
    for record in [
        "$argon2id$v=19$m=8,t=1,p=1$x$y",
        "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
    ] {
        operator.send(format!("ACL SETUSER ann argon2id:{record}\r\n").as_bytes());
        assert!(operator.line().starts_with("-ERR Error in ACL SETUSER modifier"), "{record}");
        operator.send(format!("CONFIG SET requirepass argon2id:{record}\r\n").as_bytes());
        assert!(operator.line().starts_with("-ERR CONFIG SET failed"), "{record}");
    }
    operator.send(b"ACL SETUSER \"\" on\r\n");
    assert_eq!(operator.line(), "-ERR Usernames can't be empty");
}

#[test]
fn the_end_of_a_connection_is_read_to_its_end() {
    // One on its way out does not pile up what it sends on.
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let mut operator = server.client();
    operator.send(&request(&[b"SET", b"k", &vec![b'x'; 32 << 20]]));
    operator.expect("+OK\r\n");
    let mut leaving = server.client();
    leaving.send(b"GET k\r\nQUIT\r\n");
    let before: usize = operator.info("used_memory").parse().unwrap();
    let block = vec![b'x'; 1 << 20];
    leaving.stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (0..32).for_each(|_| leaving.stream.write_all(&block).unwrap());
    let after: usize = operator.info("used_memory").parse().unwrap();
    assert!(after < before + (48 << 20), "{before} bytes in use, then {after}");
    let mut rest = Vec::new();
    let _ = leaving.stream.read_to_end(&mut rest);
    assert_eq!(rest.len(), (32 << 20) + 18, "and what it is owed it gets");
}

#[test]
fn a_timeout_that_is_set_holds_for_who_is_there_already() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", ""]);
    let (mut idle, mut waits, mut busy) = (server.client(), server.client(), server.client());
    waits.send(b"BLPOP k 0\r\n");
    // Longer than until a new client is looked at for the first time.
    std::thread::sleep(std::time::Duration::from_secs(12));
    busy.ask("CONFIG SET timeout 5", "+OK\r\n");
    let end = std::time::Instant::now() + support::PATIENCE;
    idle.closed();
    assert!(std::time::Instant::now() < end);
    let mut other = server.client();
    other.ask("RPUSH k x", ":1\r\n");
    waits.expect("*2\r\n$1\r\nk\r\n$1\r\nx\r\n");
    waits.closed();
}
