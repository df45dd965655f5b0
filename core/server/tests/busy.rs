//! What clients meet while a script holds the engine, whichever I/O thread they belong to.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{Client, Server, request, server};

const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str =
    "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
const LOOP: &[&[u8]] = &[b"EVAL", b"while true do end", b"0"];

/// A server with so many I/O threads, on which scripts are soon too slow.
fn quick(dir: &Path, threads: &str, words: &[&str]) -> Server {
    let own = ["--save", "", "--busy-reply-threshold", "50", "--io-threads", threads];
    server(dir, &[&own[..], words].concat())
}

/// A client whose script does not end, and the server knows it.
fn stuck(server: &Server) -> Client {
    let mut script = server.client();
    script.send(&request(LOOP));
    server.client().until("PING", BUSY);
    script
}

fn kill(server: &Server, script: &mut Client) {
    server.client().ask("SCRIPT KILL", "+OK\r\n");
    let end = script.line();
    assert!(end.starts_with("-ERR Script killed by user with SCRIPT KILL..."), "{end}");
}

#[test]
fn a_busy_script_lets_others_be_told_and_can_be_killed() {
    for threads in ["1", "2"] {
        let dir = tempfile::tempdir().unwrap();
        let server =
            server(dir.path(), &["--save", "", "--busy-reply-threshold", "50", "--io-threads", threads]);
        let (mut script, mut known) = (server.client(), server.client());
        known.ask("PING", "+PONG\r\n");
        script.ask("PING", "+PONG\r\n");
        script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
        known.until("PING", BUSY);
        let mut fresh = server.client();
        fresh.until("GET x", BUSY);
        fresh.send(b"SCRIPT KILL\r\n");
        assert_eq!(fresh.line(), "+OK");
        let end = script.line();
        assert!(end.starts_with("-ERR Error running script") || end.starts_with("-ERR "), "{end}");
        known.until("PING", "+PONG");
        fresh.until("PING", "+PONG");
        script.ask("PING", "+PONG\r\n");
    }
}

#[test]
fn whatever_a_script_does_others_are_told_and_it_can_be_killed() {
    let compiled = format!("local a = 1 {}", "a = a ".repeat(4_000_000));
    let sources = [
        "while true do coroutine.wrap(function() for i = 1, 100 do end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "while true do collectgarbage() end",
        "while true do string.rep('', 2147483647) end",
        "table.insert({}, -2147483647, 1)",
        "return string.find(string.rep('a', 1000000), '.-.-.-.-b')",
        "local t = {} t[1] = t t[2] = t while true do pcall(cjson.encode, t) end",
        "local t = {} t[1] = t t[2] = t return t",
        "local s = string.rep('x', 1000000) while true do local t = s .. 'y' end",
        compiled.as_str(),
    ];
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--busy-reply-threshold", "20"]);
    let (mut script, mut other) = (server.client(), server.client());
    for source in sources {
        script.send(&request(&[b"EVAL", source.as_bytes(), b"0"]));
        other.until("PING", BUSY);
        other.ask("SCRIPT KILL", "+OK\r\n");
        let end = script.line();
        assert!(end.starts_with("-ERR Script killed by user with SCRIPT KILL..."), "{source:.80}: {end}");
        other.until("PING", "+PONG");
    }
}

#[test]
fn a_busy_server_lets_an_operator_with_a_password_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--busy-reply-threshold", "50", "--requirepass", "pw"]);
    let mut script = server.client();
    script.ask("AUTH pw", "+OK\r\n");
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    std::thread::sleep(Duration::from_millis(200));
    let mut operator = server.client();
    operator.ask("SCRIPT KILL", "-NOAUTH Authentication required.\r\n");
    operator.ask("AUTH no", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    operator.ask("AUTH pw", "+OK\r\n");
    operator.ask("PING", &format!("{BUSY}\r\n"));
    std::thread::sleep(Duration::from_millis(250));
    let mut other = server.client();
    other.send(b"HELLO 3\r\n");
    assert!(other.line().starts_with("-NOAUTH HELLO must be called"));
    other.send(b"HELLO 3 AUTH default pw\r\n");
    assert_eq!(other.line(), "%7");
    operator.ask("SCRIPT KILL", "+OK\r\n");
    let end = script.line();
    assert!(end.starts_with("-ERR "), "{end}");
    script.ask("PING", "+PONG\r\n");
    let mut next = server.client();
    next.ask("AUTH pw", "+OK\r\n");
    next.ask("PING", "+PONG\r\n");
}

#[test]
fn a_busy_server_greets_and_remembers_what_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--busy-reply-threshold", "50"]);
    let (mut script, mut known) = (server.client(), server.client());
    known.ask("SET k v", "+OK\r\n");
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    known.until("PING", BUSY);
    known.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    known.ask(
        "HELLO 3 SETNAME a\u{7f}",
        "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
    );
    known.send(b"HELLO 3 SETNAME old\r\n");
    let mut fresh = server.client();
    fresh.send(b"HELLO 3 SETNAME new\r\n");
    let greeting = |client: &mut support::Client| {
        let lines: Vec<String> = (0..26).map(|_| client.line()).collect();
        assert_eq!(
            (lines[0].as_str(), lines[12].as_str(), lines[25].as_str()),
            ("%7", "$2", "*0"),
            "{lines:?}"
        );
        assert_eq!(lines[13], "id");
        lines[14].clone()
    };
    let (known_id, fresh_id) = (greeting(&mut known), greeting(&mut fresh));
    known.ask("SCRIPT KILL", "+OK\r\n");
    assert!(script.line().starts_with("-ERR "));
    for (client, id, name) in [(&mut known, known_id, "old"), (&mut fresh, fresh_id, "new")] {
        client.ask("CLIENT ID", &format!("{id}\r\n"));
        client.ask("CLIENT GETNAME", &format!("$3\r\n{name}\r\n"));
        client.ask("GET none", "_\r\n");
    }
}

#[test]
fn a_busy_server_tells_nothing_to_who_wants_no_replies() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--busy-reply-threshold", "50"]);
    let (mut script, mut known) = (server.client(), server.client());
    let (mut muted, mut skipping, mut late) = (server.client(), server.client(), server.client());
    muted.ask("PING\r\nCLIENT REPLY OFF", "+PONG\r\n");
    skipping.ask("PING\r\nCLIENT REPLY SKIP", "+PONG\r\n");
    late.ask("PING\r\nCLIENT REPLY SKIP\r\nBLPOP list 0", "+PONG\r\n");
    known.ask("RPUSH list a", ":1\r\n");
    known.until("EXISTS list", ":0");
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    known.until("PING", BUSY);
    muted.send(b"PING\r\n*1\r\n$4\r\nEXEC\r\n");
    skipping.ask("PING\r\nPING", &format!("{BUSY}\r\n"));
    late.ask("PING", &format!("{BUSY}\r\n"));
    known.ask("SCRIPT KILL", "+OK\r\n");
    assert!(script.line().starts_with("-ERR "));
    muted.ask("CLIENT REPLY ON", "+OK\r\n");
    skipping.ask("ECHO x", "$1\r\nx\r\n");
    muted.send(b"CLIENT REPLY OFF\r\n*1\r\n%1\r\n");
    muted.closed();
}

#[test]
fn who_may_end_a_script_may_not_stop_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), &["--save", "", "--busy-reply-threshold", "50"]);
    let (mut script, mut killer) = (server.client(), server.client());
    script.ask("ACL SETUSER killer on nopass +script|kill", "+OK\r\n");
    killer.ask("AUTH killer x", "+OK\r\n");
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    let denied = |name| format!("-NOPERM User killer has no permissions to run the '{name}' command");
    server.client().until("PING", BUSY);
    killer.until("SHUTDOWN NOSAVE", &denied("shutdown"));
    killer.until("FUNCTION KILL", &denied("function|kill"));
    // A user that has come meanwhile has the same rights.
    let mut other = server.client();
    other.ask("AUTH killer x", "+OK\r\n");
    other.until("SHUTDOWN NOSAVE", &denied("shutdown"));
    killer.ask("SCRIPT KILL", "+OK\r\n");
    assert!(script.line().starts_with("-ERR "));
    script.ask("PING", "+PONG\r\n");
}

#[test]
fn a_busy_server_knows_renamed_commands_by_their_names_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let renames = ["--rename-command", "SCRIPT", "scr", "--rename-command", "SHUTDOWN", ""];
    let words = [&["--save", "", "--busy-reply-threshold", "50"][..], &renames].concat();
    let server = server(dir.path(), &words);
    let (mut script, mut other) = (server.client(), server.client());
    script.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    other.until("PING", BUSY);
    for (gone, name, argument) in
        [("SCRIPT KILL", "SCRIPT", "KILL"), ("SHUTDOWN NOSAVE", "SHUTDOWN", "NOSAVE")]
    {
        let unknown = format!("-ERR unknown command '{name}', with args beginning with: '{argument}' \r\n");
        other.ask(gone, &unknown);
    }
    other.ask("scr KILL", "+OK\r\n");
    assert!(script.line().starts_with("-ERR "));
    script.ask("PING", "+PONG\r\n");
}

#[test]
fn what_rows_allow_runs_beside_a_script_and_holds_behind_it() {
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &[]);
        let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| client.ask("PING", "+PONG\r\n"));
        clients[0].ask("ACL SETUSER bob on nopass ~* +@all", "+OK\r\n");
        let mut script = stuck(&server);
        for client in &mut clients {
            client.ask("MULTI\r\nMULTI", "+OK\r\n-ERR MULTI calls can not be nested\r\n");
            client.ask("HELLO 2", "+QUEUED\r\n");
            client.ask("GET x", &format!("{BUSY}\r\n"));
            client.ask("EXEC", &format!("-EXECABORT Transaction discarded because of: {}\r\n", &BUSY[1..]));
            client.ask("DISCARD", "-ERR DISCARD without MULTI\r\n");
            client.ask("WATCH x", "+OK\r\n");
            client.ask("AUTH bob x", "+OK\r\n");
            client.ask("FUNCTION KILL", &format!("{BUSY}\r\n"));
            client.ask("FUNCTION STATS", &format!("{BUSY}\r\n"));
            client.ask("SHUTDOWN", &format!("{BUSY}\r\n"));
            client.ask("SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n");
            client.ask("MULTI", "+OK\r\n");
        }
        clients[5].ask("RESET", "+RESET\r\n");
        kill(&server, &mut script);
        script.ask("SET x 1", "+OK\r\n");
        for client in &mut clients[..5] {
            client.ask("PING", "+QUEUED\r\n");
            client.ask("EXEC", "*-1\r\n");
            client.ask("ACL WHOAMI", "$3\r\nbob\r\n");
        }
        clients[5].ask("ACL WHOAMI", "$7\r\ndefault\r\n");
    }
}

#[test]
fn a_pipeline_that_ends_a_session_is_answered_beside_a_script() {
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &[]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        let mut script = stuck(&server);
        for client in &mut clients {
            client.send(b"GET x\r\nMULTI\r\nQUIT\r\nGET x\r\n");
            client.expect(&format!("{BUSY}\r\n+OK\r\n+OK\r\n"));
            client.closed();
        }
        let mut wrong = server.client();
        wrong.ask("*1\r\n%1", "-ERR Protocol error: expected '$', got '%'\r\n");
        wrong.closed();
        kill(&server, &mut script);
        script.until_info("connected_clients", "1");
    }
}

#[test]
fn a_function_that_runs_too_long_is_told_of_and_killed_unless_it_has_written() {
    for threads in ["1", "2"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &[]);
        let (mut script, mut other) = (server.client(), server.client());
        let library = "#!lua name=l
            redis.register_function('spin', function() while true do end end)
            redis.register_function('mark', function(keys)
                redis.call('SET', keys[1], 1)
                local function ms() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
                local until_ms = ms() + 1500
                while ms() < until_ms do end
                return 1
            end)";
        script.send(&request(&[b"FUNCTION", b"LOAD", library.as_bytes()]));
        script.expect("$1\r\nl\r\n");
        script.send(&request(&[b"FCALL", b"spin", b"0"]));
        other.until("PING", BUSY_FUNCTION);
        other.ask("SCRIPT KILL", &format!("{BUSY_FUNCTION}\r\n"));
        other.send(b"FUNCTION STATS\r\n");
        let told = "*4\r\n$14\r\nrunning_script\r\n*6\r\n$4\r\nname\r\n$4\r\nspin\r\n$7\r\ncommand\r\n*3\r\n$5\r\nFCALL\r\n$4\r\nspin\r\n$1\r\n0\r\n$11\r\nduration_ms\r\n:";
        other.expect(told);
        assert!(other.line().parse::<u64>().unwrap() >= 50);
        other.expect("$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n*4\r\n$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:2\r\n");
        other.ask("FUNCTION KILL", "+OK\r\n");
        assert!(script.line().starts_with("-ERR Script killed by user"));
        script.send(&request(&[b"FCALL", b"mark", b"1", b"k"]));
        other.until("PING", BUSY_FUNCTION);
        let unkillable = "-UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.\r\n";
        other.ask("FUNCTION KILL", unkillable);
        other.ask("SCRIPT KILL", unkillable);
        script.expect(":1\r\n");
        other.ask("GET k", "$1\r\n1\r\n");
        other.ask("FUNCTION KILL", "-NOTBUSY No scripts in execution right now.\r\n");
    }
}

#[test]
fn whoever_comes_while_a_script_runs_is_served_whichever_thread_gets_it() {
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &["--tcp-backlog", "64"]);
        for other in 0..3 {
            // One connection more each time, so that the script runs on another thread.
            let _shift: Vec<Client> = (0..other).map(|_| server.client()).collect();
            let mut script = server.client();
            script.send(&request(LOOP));
            script.silent(Duration::from_millis(200));
            let mut fresh: Vec<Client> = (0..12).map(|_| server.client()).collect();
            fresh.iter_mut().for_each(|client| client.ask("PING", &format!("{BUSY}\r\n")));
            kill(&server, &mut script);
            fresh.iter_mut().for_each(|client| client.ask("PING", "+PONG\r\n"));
        }
    }
}

#[test]
fn what_a_script_s_own_client_sends_meanwhile_is_read_when_it_is_through() {
    let dir = tempfile::tempdir().unwrap();
    let server = quick(dir.path(), "1", &[]);
    let mut script = stuck(&server);
    script.send(b"PING\r\n");
    // Several looks at the sockets later.
    (0..5).for_each(|_| server.client().ask("PING", &format!("{BUSY}\r\n")));
    std::thread::sleep(Duration::from_millis(50));
    kill(&server, &mut script);
    script.expect("+PONG\r\n");
}

#[test]
fn a_write_is_not_confirmed_before_it_is_logged_although_a_script_follows_in_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let server = quick(dir.path(), "1", &["--appendonly", "yes", "--enable-debug-command", "yes"]);
    let (mut sleeper, mut writer, mut script) = (server.client(), server.client(), server.client());
    [&mut sleeper, &mut writer, &mut script].into_iter().for_each(|client| client.ask("PING", "+PONG\r\n"));
    sleeper.send(b"DEBUG SLEEP 0.3\r\n");
    std::thread::sleep(Duration::from_millis(100));
    writer.send(b"SET k v\r\n");
    std::thread::sleep(Duration::from_millis(50));
    script.send(&request(LOOP));
    sleeper.expect("+OK\r\n");
    server.client().until("PING", BUSY);
    writer.silent(Duration::from_millis(100));
    kill(&server, &mut script);
    writer.expect("+OK\r\n");
}

#[test]
fn what_a_client_has_still_to_get_when_its_own_script_takes_long_comes_behind_it() {
    const LARGE: usize = 6 << 20;
    let slow =
        "local n = redis.call('TIME')[1] + 1 while redis.call('TIME')[1] + 0 <= n do end return 'through'";
    for threads in ["1", "2"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &[]);
        let mut client = server.client();
        client.send(&request(&[b"SET", b"large", &vec![b'x'; LARGE]]));
        client.expect("+OK\r\n");
        // More than leaves in one go; the script runs in the next tick, while the rest waits.
        client.send(&[request(&[b"GET", b"large"]), request(&[b"EVAL", slow.as_bytes(), b"0"])].concat());
        server.client().until("PING", BUSY);
        client.expect(&format!("${LARGE}\r\n{}\r\n", "x".repeat(LARGE)));
        client.expect("$7\r\nthrough\r\n");
        client.ask("PING", "+PONG\r\n");
    }
}

#[test]
fn who_comes_beside_a_script_and_says_nothing_takes_a_place_and_gives_it_back() {
    const PLACES: usize = 10;
    const NEWCOMERS: usize = 16;
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &["--maxclients", &PLACES.to_string()]);
        let (mut script, mut known) = (server.client(), server.client());
        script.ask("PING", "+PONG\r\n");
        script.send(&request(LOOP));
        known.until("PING", BUSY);
        let silent: Vec<Client> = (0..NEWCOMERS).map(|_| server.client()).collect();
        let is_refused = |client: &&Client| {
            client.stream.set_nonblocking(true).unwrap();
            client.stream.peek(&mut [0]).is_ok()
        };
        let end = Instant::now() + support::PATIENCE;
        while silent.iter().filter(is_refused).count() < NEWCOMERS + 2 - PLACES {
            assert!(Instant::now() < end, "nobody is refused while there are {threads} threads");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(silent.iter().filter(is_refused).count(), NEWCOMERS + 2 - PLACES);
        drop(silent);
        let is_served = || {
            let mut late = server.client();
            late.send(b"PING\r\n");
            late.line() == BUSY
        };
        while !is_served() {
            assert!(Instant::now() < end, "nobody has heard who has gone");
            std::thread::sleep(Duration::from_millis(5));
        }
        known.ask("SCRIPT KILL", "+OK\r\n");
        script.line();
        known.until_info("connected_clients", "2");
    }
}

#[test]
fn who_does_not_log_in_beside_a_script_is_closed_in_time() {
    let closes = |threads: &str| {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &["--requirepass", "pw", "--login-timeout", "3"]);
        let (mut script, mut known) = (server.client(), server.client());
        script.ask("AUTH pw", "+OK\r\n");
        known.ask("AUTH pw", "+OK\r\n");
        script.send(&request(LOOP));
        known.until("PING", BUSY);
        let mut silent: Vec<Client> = (0..4).map(|_| server.client()).collect();
        silent.iter_mut().for_each(Client::closed);
        known.ask("SCRIPT KILL", "+OK\r\n");
    };
    std::thread::scope(|scope| ["1", "2"].map(|threads| scope.spawn(move || closes(threads))).map(drop));
}

#[test]
fn a_flood_of_requests_is_served_in_parts_between_which_a_script_goes_on() {
    const CLIENTS: usize = 128;
    const REQUESTS: usize = 500;
    // The largest number of requests that were refused between two of its steps, and of all.
    const SOURCE: &str = "
        local worst, last, all, until_s = 0, 0, tonumber(ARGV[1]), redis.call('TIME')[1] + 30
        repeat
            local told = string.match(redis.call('INFO', 'errorstats'), 'errorstat_BUSY:count=(%d+)')
            local now = tonumber(told or 0)
            worst, last = math.max(worst, now - last), now
        until now >= all or redis.call('TIME')[1] + 0 > until_s
        return {worst, last}";
    for threads in ["1", "2"] {
        let dir = tempfile::tempdir().unwrap();
        let server = quick(dir.path(), threads, &[]);
        let mut script = server.client();
        let mut flood: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
        flood.iter_mut().for_each(|client| client.ask("PING", "+PONG\r\n"));
        let all = (CLIENTS * REQUESTS).to_string();
        script.send(&request(&[b"EVAL", SOURCE.as_bytes(), b"0", all.as_bytes()]));
        server.client().until("PING", BUSY);
        flood.iter_mut().for_each(|client| client.send(&b"PING\r\n".repeat(REQUESTS)));
        assert_eq!(script.line(), "*2");
        let worst: usize = script.line()[1..].parse().unwrap();
        let last: usize = script.line()[1..].parse().unwrap();
        assert!(last >= CLIENTS * REQUESTS, "{last} requests were answered");
        assert!(worst <= CLIENTS * REQUESTS / 5, "{worst} of {last} requests ran in one go");
    }
}
