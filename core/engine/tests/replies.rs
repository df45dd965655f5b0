//! Who gets which reply and when: late ones, those of clients that want none, what is recorded of them, and what a replay meets.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use bench::Bench;
use tandem_engine::ReplayError;

const BLOCKED: &str = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

#[test]
fn an_acl_file_without_the_default_user_leaves_its_clients_alone() {
    let mut b = Bench::new();
    let (one, ann) = (b.connect(), b.connect());
    b.run(one, "ACL SETUSER ann on nopass ~* +@all");
    b.run(ann, "AUTH ann any");
    b.engine.load_acl_file("users.acl", b"user ann on nopass ~* +@all\n", None).unwrap();
    assert_eq!(b.run(one, "ACL WHOAMI"), "$7\r\ndefault\r\n");
    assert_eq!(b.run(ann, "ACL WHOAMI"), "$3\r\nann\r\n");
}

#[test]
fn a_replay_asks_for_no_rights() {
    let mut b = Bench::new();
    let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    b.engine.load_users(&[words("default off"), words("admin on nopass ~* +@all")]).unwrap();
    for line in ["SELECT 1", "MULTI", "SET a 1", "RPUSH l x y", "EXEC", "EVAL redis.call('SET','s','1') 0"] {
        assert_eq!(b.replay(line), Ok(()), "{line}");
    }
    b.engine.replay_end();
    let c = b.connect();
    assert_eq!(b.run(c, "AUTH admin x"), "+OK\r\n");
    b.run(c, "SELECT 1");
    assert_eq!(b.run(c, "EXISTS a l s"), ":3\r\n");
}

#[test]
fn what_was_restored_for_a_time_that_is_over_is_there_for_the_records_behind_it() {
    let mut b = Bench::new();
    b.engine.keyspace_mut().keep_expired = true;
    let payload = keyspace::encode_dump(&types::Entry::string(b"k", b"v", None));
    let record: [&[u8]; 5] = [b"RESTORE", b"k", b"1600000000000", &payload, b"ABSTTL"];
    assert_eq!(b.engine.replay(&record, &mut b.outside), Ok(()));
    assert_eq!(b.replay("PERSIST k"), Ok(()));
    b.engine.keyspace_mut().keep_expired = false;
    b.engine.replay_end();
    let c = b.connect();
    assert_eq!(b.run(c, "GET k"), "$1\r\nv\r\n");
}

#[test]
fn restore_refuses_a_time_to_live_beyond_the_end_of_time() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "MSET k old src new");
    let script =
        "return redis.pcall('RESTORE', 'k', ARGV[1], redis.call('DUMP', 'src'), 'REPLACE', unpack(ARGV, 2))";
    let restore = ["EVAL", script, "0", "9223372036854775807", "ABSTTL"];
    assert_eq!(b.call(c, &restore[..4]), "-ERR invalid expire time in 'restore' command\r\n");
    assert_eq!(b.run(c, "GET k"), "$3\r\nold\r\n");
    assert_eq!(b.call(c, &restore), "+OK\r\n", "nothing is added to a moment");
    assert_eq!(b.run(c, "PEXPIRETIME k"), ":9223372036854775807\r\n");
}

#[test]
fn a_replay_names_the_command_that_fails() {
    let mut b = Bench::new();
    let failed = |command: &str, why: &str| {
        Err(ReplayError::Failed { command: command.to_owned(), why: why.to_owned() })
    };
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(b.replay("SET s x"), Ok(()));
    assert_eq!(b.replay("lpush s y"), failed("lpush", wrong_type));
    let refused = |command: &str, why: &str| {
        Err(ReplayError::Refused { command: command.to_owned(), why: why.to_owned() })
    };
    assert_eq!(b.replay("SET s"), refused("SET", "ERR wrong number of arguments for 'set' command"));
    let no_database = "ERR DB index is out of range";
    assert_eq!(b.replay("SELECT 99"), refused("SELECT", no_database));
    for line in ["MULTI", "LPUSH s x", "SELECT 99", "SET t x"] {
        assert_eq!(b.replay(line), Ok(()), "{line}");
    }
    assert_eq!(b.replay("EXEC"), refused("EXEC, of which command 2 (select)", no_database));
    assert_eq!(b.replay("NOSUCH s"), Err(ReplayError::Unknown("NOSUCH".to_owned())));
    for line in
        ["MULTI", "LRANGE none 0 -1", "HGETALL none", "RPUSH l a b", "LRANGE l 0 -1", "LPUSH s y", "SET t x"]
    {
        assert_eq!(b.replay(line), Ok(()), "{line}");
    }
    assert_eq!(b.replay("EXEC"), failed("EXEC, of which command 5 (lpush)", wrong_type));
    assert_eq!(b.replay("EXEC"), refused("EXEC", "ERR EXEC without MULTI"));
}

#[test]
fn only_what_can_have_failed_where_it_was_logged_may_be_passed_over() {
    let mut b = Bench::new();
    assert_eq!(b.replay("SET s x"), Ok(()));
    for line in ["INCR s", "LPUSH s y", "EVAL return{err='x'} 0", "EVAL return{err='NOSCRIPT'} 0"] {
        assert!(matches!(b.replay(line), Err(ReplayError::Failed { .. })), "{line}");
    }
    let newer = [
        "RESTORE k 0 payload",
        "SET k v NEWER",
        "SWAPDB 0 20",
        "MOVE s 20",
        "COPY s t DB 20",
        "FUNCTION LOAD #!newer",
        "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
        "FCALL none 0",
        "RENAME none s",
    ];
    for line in newer {
        assert!(matches!(b.replay(line), Err(ReplayError::Refused { .. })), "{line}");
        for line in ["MULTI", "INCR s", line, "SET t x"] {
            assert_eq!(b.replay(line), Ok(()), "{line}");
        }
        let Err(ReplayError::Refused { command, .. }) = b.replay("EXEC") else { panic!("{line}") };
        assert!(command.starts_with("EXEC, of which command 2 ("), "{command}");
    }
}

#[test]
fn nobody_sees_or_ends_the_session_of_a_replay() {
    let mut b = Bench::new();
    b.replay("MULTI").unwrap();
    b.replay("SET a 1").unwrap();
    let c = b.connect();
    assert_eq!(b.run(c, "CLIENT LIST").matches("id=").count(), 1);
    assert_eq!(b.run(c, "CLIENT KILL TYPE normal SKIPME yes"), ":0\r\n");
    b.engine.load_acl_file("users.acl", b"user default off\nuser admin on nopass ~* +@all\n", None).unwrap();
    assert_eq!(b.replay("EXEC"), Ok(()));
    b.engine.replay_end();
    let d = b.connect();
    b.run(d, "AUTH admin x");
    assert_eq!(b.run(d, "EXISTS a"), ":1\r\n");
}

#[test]
fn the_servers_own_records_are_replayed_although_their_commands_are_renamed() {
    let rename = |from: &str, to: &str| config::Rename { from: from.into(), to: to.into() };
    let renames = vec![rename("del", ""), rename("set", "put")];
    let mut config = config::Config::default();
    config.renames = renames;
    let mut b = Bench::with(config);
    for line in ["PUT a 1", "SET b 1", "DEL a"] {
        assert_eq!(b.replay(line), Ok(()), "{line}");
    }
    let c = b.connect();
    assert_eq!(b.run(c, "EXISTS a b"), ":1\r\n");
}

/// A client that waits by `line` as a user with every right, and the operator.
fn a_worker_that_waits(line: &str) -> (Bench, usize, usize) {
    let mut b = Bench::new();
    let (operator, worker) = (b.connect(), b.connect());
    b.run(operator, "ACL SETUSER w on nopass ~* &* +@all");
    b.run(operator, "XGROUP CREATE s g $ MKSTREAM");
    b.run(worker, "AUTH w x");
    assert_eq!(b.run(worker, line), "");
    (b, operator, worker)
}

#[test]
fn a_client_that_waits_for_what_its_user_may_not_take_any_more_gets_an_error_and_no_element() {
    let command = |name: &str| format!("-NOPERM User w has no permissions to run the '{name}' command\r\n");
    let key = "-NOPERM No permissions to access a key\r\n".to_owned();
    for (wait, rules, push, left, error) in [
        ("BLPOP l 0", "resetkeys ~other", "RPUSH l v", "LLEN l", &key),
        ("BLPOP l 0", "-blpop", "RPUSH l v", "LLEN l", &command("blpop")),
        ("BLPOP l 0", "reset", "RPUSH l v", "LLEN l", &command("blpop")),
        ("BZPOPMIN z 0", "-@blocking", "ZADD z 1 a", "ZCARD z", &command("bzpopmin")),
        ("BLMOVE l to LEFT LEFT 0", "resetkeys ~l", "RPUSH l v", "LLEN l", &key),
        ("BLMPOP 0 1 l LEFT", "resetkeys %R~l", "RPUSH l v", "LLEN l", &key),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "resetkeys", "XADD s 1-1 f v", "XLEN s", &key),
    ] {
        let (mut b, operator, worker) = a_worker_that_waits(wait);
        assert_eq!(b.run(operator, &format!("ACL SETUSER w {rules}")), "+OK\r\n");
        b.run(operator, push);
        assert_eq!(b.delivered(worker), *error, "{wait} {rules}");
        assert_eq!(b.run(operator, left), ":1\r\n", "{wait} {rules}");
        b.run(operator, push);
        assert_eq!(b.delivered(worker), "", "it waits no more");
    }
}

#[test]
fn who_may_still_take_is_served_when_rights_change() {
    for rules in ["-lpop", "off", "resetkeys ~l"] {
        let (mut b, operator, worker) = a_worker_that_waits("BLPOP l 0");
        b.run(operator, &format!("ACL SETUSER w {rules}"));
        b.run(operator, "RPUSH l v");
        assert_eq!(b.delivered(worker), "*2\r\n$1\r\nl\r\n$1\r\nv\r\n", "{rules}");
    }
}

#[test]
fn who_may_not_watch_others_any_more_is_closed() {
    for (watch, rules) in [
        ("MONITOR", "-monitor"),
        ("MONITOR", "-@admin"),
        ("CLIENT TRACKING on BCAST", "-client|tracking"),
        ("SUBSCRIBE ch", "resetchannels"),
    ] {
        let mut b = Bench::new();
        let (operator, c) = (b.connect(), b.connect());
        b.run(operator, "ACL SETUSER w on nopass ~* &* +@all");
        b.run(c, "AUTH w x");
        b.run(c, "HELLO 3");
        b.run(c, watch);
        b.run(operator, "ACL SETUSER w -get");
        assert!(!b.closed(c), "{watch}");
        b.run(operator, &format!("ACL SETUSER w {rules}"));
        assert!(b.closed(c), "{watch} {rules}");
    }
}

/// What a client with this CLIENT REPLY mode gets late, and then for an ECHO.
fn late(mode: &str, wait: &str, end: impl FnOnce(&mut Bench, usize, usize)) -> (String, String) {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    assert_eq!(b.run(c, &format!("CLIENT REPLY {mode}")), if mode == "ON" { "+OK\r\n" } else { "" });
    assert_eq!(b.run(c, wait), "");
    end(&mut b, operator, c);
    (b.delivered(c), b.run(c, "ECHO x"))
}

#[test]
fn replies_that_come_late_are_left_out_as_the_client_has_asked() {
    type End = fn(&mut Bench, usize, usize);
    let push: End = |b, operator, _| drop(b.run(operator, "RPUSH l v"));
    let time_out: End = |b, _, _| {
        b.pass_ms(101);
        b.tick();
    };
    let unblock: End = |b, operator, _| drop(b.run(operator, "CLIENT UNBLOCK 2 ERROR"));
    let served = "*2\r\n$1\r\nl\r\n$1\r\nv\r\n";
    for (wait, end, reply) in [
        ("BLPOP l 0.1", push, served),
        ("BLPOP l 0.1", time_out, "*-1\r\n"),
        ("BLPOP l 0", unblock, BLOCKED),
        ("WAIT 1 100", time_out, ":0\r\n"),
    ] {
        let echo = "$1\r\nx\r\n".to_owned();
        assert_eq!(late("ON", wait, end), (reply.to_owned(), echo.clone()), "{wait}");
        assert_eq!(late("SKIP", wait, end), (String::new(), echo), "{wait}: one reply is left out");
        assert_eq!(late("OFF", wait, end), (String::new(), String::new()), "{wait}: none comes");
    }
}

#[test]
fn the_reply_to_what_a_job_does_is_left_out_as_the_client_has_asked() {
    let saved = |mode| {
        late(mode, "SAVE", |b, _, c| assert_eq!(b.completed(c), if mode == "ON" { "+OK\r\n" } else { "" }))
    };
    assert_eq!(saved("ON").1, "$1\r\nx\r\n");
    assert_eq!(saved("SKIP").1, "$1\r\nx\r\n");
    assert_eq!(saved("OFF").1, "");
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    for (mode, echo) in [("SKIP", "$1\r\nx\r\n"), ("OFF", "")] {
        let mut b = Bench::new();
        let (operator, c) = (b.connect(), b.connect());
        b.run(operator, &format!("ACL SETUSER bob on {record} +@all ~*"));
        b.run(c, &format!("CLIENT REPLY {mode}"));
        assert_eq!(b.run(c, "AUTH bob pw"), "");
        b.asked(c);
        assert_eq!(b.verified(c, true), "", "{mode}");
        assert_eq!(b.run(c, "ECHO x"), echo);
        assert_eq!(b.run(c, "CLIENT REPLY ON"), "+OK\r\n");
        assert_eq!(b.run(c, "ACL WHOAMI"), "$3\r\nbob\r\n");
    }
}

#[test]
fn a_skip_behind_a_skip_holds_for_what_follows() {
    let mut b = Bench::new();
    let c = b.connect();
    for (line, reply) in [
        ("CLIENT REPLY SKIP", ""),
        ("CLIENT REPLY SKIP", ""),
        ("PING", ""),
        ("PING", "+PONG\r\n"),
        ("CLIENT REPLY SKIP", ""),
        ("CLIENT REPLY NO", ""),
        ("PING", "+PONG\r\n"),
        ("CLIENT REPLY SKIP", ""),
        ("CLIENT REPLY OFF", ""),
        ("PING", ""),
        ("CLIENT REPLY ON", "+OK\r\n"),
        ("CLIENT REPLY OFF", ""),
        ("RESET", "+RESET\r\n"),
        ("CLIENT REPLY SKIP", ""),
        ("RESET", ""),
        ("PING", "+PONG\r\n"),
    ] {
        assert_eq!(b.run(c, line), reply, "{line}");
    }
}

#[test]
fn messages_come_behind_late_replies_that_do_not() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    for line in ["HELLO 3", "CLIENT TRACKING on", "GET other", "CLIENT REPLY SKIP", "BLMOVE l to LEFT LEFT 0"]
    {
        b.run(c, line);
    }
    b.run(operator, "SET other x");
    assert_eq!(b.delivered(c), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nother\r\n");
    b.run(operator, "RPUSH l v");
    assert_eq!((b.delivered(c), b.run(c, "PING")), (String::new(), "+PONG\r\n".to_owned()));
}

#[test]
fn a_monitor_sees_its_own_commands_behind_their_replies_and_no_end_of_its_watching() {
    for (line, shown) in [
        ("PING", "+PONG\r\n+1700000000.000000 [0 ] \"PING\"\r\n"),
        ("SELECT 3", "+OK\r\n+1700000000.000000 [3 ] \"SELECT\" \"3\"\r\n"),
        ("RESET", "+RESET\r\n"),
        ("QUIT", "+OK\r\n"),
        ("CLIENT REPLY OFF", ""),
        ("CLIENT REPLY SKIP", ""),
    ] {
        let mut b = Bench::new();
        let (c, other) = (b.connect(), b.connect());
        assert_eq!(b.run(c, "MONITOR"), "+OK\r\n");
        assert_eq!(b.run(c, line), shown, "{line}");
        b.run(other, "GET k");
        let watches = matches!(line, "PING" | "SELECT 3");
        assert_eq!(!b.delivered(c).is_empty(), watches, "{line}");
    }
}

#[test]
fn time_moves_on_between_a_transaction_and_those_it_serves() {
    let invocation = config::read_args(&["--enable-debug-command".to_owned(), "yes".to_owned()]);
    let layers = config::Layers { invocation, ..config::Layers::default() };
    let mut sources = config::Sources { variables: &[], files: &mut config::load::Disk };
    let mut b = Bench::with(layers.load(&mut sources).unwrap().config);
    for (wait, push, reply) in [
        ("BLPOP k 0", "RPUSH k a", "*2\r\n$1\r\nk\r\n$1\r\nb\r\n"),
        ("BZPOPMIN k 0", "ZADD k 1 a", "*3\r\n$1\r\nk\r\n$1\r\nb\r\n$1\r\n2\r\n"),
    ] {
        let (c, worker) = (b.connect(), b.connect());
        assert_eq!(b.run(worker, wait), "");
        for line in ["MULTI", push, "PEXPIRE k 100", "DEBUG SLEEP 0.2", "EXEC"] {
            b.run(c, line);
        }
        assert_eq!(b.delivered(worker), "", "{wait}");
        assert_eq!(b.run(c, "EXISTS k"), ":0\r\n");
        b.run(c, &push.replace(" 1 ", " 2 ").replace(" a", " b"));
        assert_eq!(b.delivered(worker), reply);
    }
    // The same for the requests behind a slow one in one batch.
    let c = b.connect();
    b.run(c, "SET t v PX 100");
    assert_eq!(b.run(c, "DEBUG SLEEP 0.2"), "+OK\r\n");
    assert_eq!(b.engine.keyspace.now.unix_ms, b.now_ms());
}

/// Calls of BLPOP as INFO tells them, as the histogram does, and in the slow log.
fn calls(b: &mut Bench, operator: usize) -> (usize, usize, usize) {
    let number = |text: &str, before: &str| {
        let digits = text.split(before).nth(1).unwrap_or("0");
        digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    let stats = number(&b.run(operator, "INFO commandstats"), "cmdstat_blpop:calls=");
    let histogram = number(&b.run(operator, "LATENCY HISTOGRAM blpop"), "$5\r\ncalls\r\n:");
    let slow = b.run(operator, "SLOWLOG GET -1").matches("BLPOP").count();
    (stats, histogram, slow)
}

#[test]
fn a_command_that_waits_is_recorded_once_when_it_ends() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, "CONFIG SET slowlog-log-slower-than 0 commandlog-reply-larger-than 15");
    b.run(c, "BLPOP l 0");
    assert_eq!(calls(&mut b, operator), (0, 0, 0), "it waits");
    b.run(operator, "RPUSH none x");
    b.run(operator, "RPUSH l x");
    assert_eq!(calls(&mut b, operator), (1, 1, 1));
    b.run(c, "BLPOP l 0.1");
    b.pass_ms(101);
    b.tick();
    assert_eq!(calls(&mut b, operator), (2, 2, 2), "its time is over");
    b.run(c, "BLPOP l 0");
    b.run(operator, "CLIENT UNBLOCK 2 ERROR");
    assert_eq!(calls(&mut b, operator), (3, 3, 3), "somebody ended it");
    let stats = b.run(operator, "INFO commandstats");
    let line = stats.lines().find(|line| line.starts_with("cmdstat_blpop")).unwrap_or_default();
    assert!(line.ends_with("rejected_calls=0,failed_calls=1"), "{line}");
    let large = b.run(operator, "COMMANDLOG GET -1 large-reply");
    assert_eq!(large.matches("BLPOP").count(), 2, "{large}");
}

#[test]
fn a_command_that_waits_for_a_job_is_recorded_once() {
    let mut b = Bench::new();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, &format!("ACL SETUSER bob on {record} +@all ~*"));
    b.run(c, "AUTH bob pw");
    b.asked(c);
    b.verified(c, true);
    b.run(c, "SAVE");
    b.completed(c);
    b.call(operator, &["CONFIG", "SET", "save", "3600 1"]);
    b.run(c, "FLUSHALL");
    b.completed(c);
    let stats = b.run(operator, "INFO commandstats");
    for name in ["auth", "save", "flushall"] {
        assert!(stats.contains(&format!("cmdstat_{name}:calls=1,")), "{stats}");
    }
}

#[test]
fn a_client_is_shown_with_what_it_asked_for_last_and_counted_with_what_it_ran() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    for (line, command, calls) in [
        ("PING", "ping", 1),
        ("GET", "get", 1),
        ("NOSUCH", "NULL", 1),
        ("CLIENT NOSUCH", "NULL", 1),
        ("MULTI", "multi", 2),
        ("SET a b", "set", 2),
        ("EXEC", "exec", 4),
        ("BLPOP l 0", "blpop", 4),
    ] {
        b.run(c, line);
        let list = b.run(operator, "CLIENT LIST ID 2");
        assert!(
            list.contains(&format!(" cmd={command} ")) && list.contains(&format!(" tot-cmds={calls}")),
            "{line}: {list}"
        );
    }
    b.run(operator, "RPUSH l x");
    assert!(b.run(operator, "CLIENT LIST ID 2").contains(" tot-cmds=5"));
    b.run(operator, "ACL SETUSER few on nopass ~a +get");
    b.run(c, "AUTH few x");
    b.run(c, "DEL a");
    assert!(b.run(operator, "ACL LOG").contains(" cmd=del user=few "));
}

#[test]
fn a_full_server_queues_what_does_not_grow() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "SET k v");
    b.run(c, "CONFIG SET maxmemory 1000000");
    b.outside.used = 2_000_000;
    for (line, queued) in [
        ("GET k", true),
        ("DEL k", true),
        ("ZREM z a", true),
        ("SET k x", false),
        ("LMOVE l l LEFT LEFT", false),
    ] {
        b.run(c, "MULTI");
        assert_eq!(b.run(c, line) == "+QUEUED\r\n", queued, "{line}");
        assert_eq!(!b.run(c, "EXEC").starts_with("-EXECABORT"), queued, "{line}");
    }
}

#[test]
fn a_limit_that_is_set_in_a_transaction_evicts_behind_it() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET maxmemory-policy allkeys-random");
    b.outside.used = 2_000_000;
    for line in ["SET k v", "MULTI", "CONFIG SET maxmemory 1000000", "EVAL return(1) 0", "EXISTS k"] {
        b.run(c, line);
    }
    assert_eq!(b.run(c, "EXEC"), "*3\r\n+OK\r\n:1\r\n:1\r\n");
    b.tick();
    assert_eq!(b.run(c, "EXISTS k"), ":0\r\n");
}

#[test]
fn an_exec_that_is_refused_says_that_nothing_was_run() {
    let mut b = Bench::new();
    let c = b.connect();
    let refusal =
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n";
    assert_eq!(b.run(c, "EXEC a"), refusal);
    b.run(c, "MULTI");
    assert_eq!(b.run(c, "EXEC a"), refusal);
    assert_eq!(b.run(c, "EXEC"), "-ERR EXEC without MULTI\r\n");
    assert_eq!(b.run(c, "CLIENT PAUSE 0 BOGUS"), "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
    for line in
        ["CLIENT PAUSE 9223372036854775807", "WAIT 1 9223372036854775807", "WAITAOF 0 1 9223372036854775807"]
    {
        assert_eq!(b.run(c, line), "-ERR timeout is out of range\r\n", "{line}");
    }
}

#[test]
fn names_and_passwords_of_a_migrate_are_no_keys() {
    let mut b = Bench::new();
    let (c, m) = (b.connect(), b.connect());
    let from = ["MIGRATE", "h", "1", "", "0", "5"];
    for (options, keys) in [
        (&["AUTH", "KEYS", "KEYS", "k"][..], "*1\r\n$1\r\nk\r\n"),
        (&["AUTH2", "KEYS", "KEYS", "KEYS", "k"], "*1\r\n$1\r\nk\r\n"),
        (&["COPY", "KEYS", "k", "AUTH"], "*2\r\n$1\r\nk\r\n$4\r\nAUTH\r\n"),
        (&["AUTH", "KEYS"], "*1\r\n$0\r\n\r\n"),
    ] {
        assert_eq!(b.call(c, &[&["COMMAND", "GETKEYS"], &from[..], options].concat()), keys, "{options:?}");
    }
    b.run(c, "ACL SETUSER m on nopass +migrate ~k");
    b.run(m, "AUTH m x");
    assert_eq!(b.call(m, &[&from[..], &["AUTH", "KEYS", "KEYS", "k"]].concat()), "+NOKEY\r\n");
    let denied = "-NOPERM No permissions to access a key\r\n";
    assert_eq!(b.call(m, &[&from[..], &["AUTH", "KEYS", "KEYS", "x"]].concat()), denied);
}

#[test]
fn readers_that_have_gone_are_forgotten_and_whom_they_read_for_is_told() {
    let mut b = Bench::new();
    let (stays, target) = (b.connect(), b.connect());
    b.run(target, "HELLO 3");
    b.run(stays, "HELLO 3");
    b.run(stays, "CLIENT TRACKING on");
    b.run(stays, "MGET k0 k1 k2");
    let items = |b: &mut Bench| {
        let stats = b.run(stays, "INFO stats");
        let field = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').to_owned()
        };
        (field("tracking_total_keys"), field("tracking_total_items"))
    };
    for n in 0..100 {
        let c = b.connect();
        b.run(c, &format!("CLIENT TRACKING on REDIRECT {}", target + 1));
        b.run(c, &format!("MGET k0 own{n}"));
        b.leave(c);
        assert_eq!(b.delivered(target), ">2\r\n$10\r\ninvalidate\r\n$-1\r\n", "what it has read for it");
    }
    assert_eq!(items(&mut b), ("103".to_owned(), "203".to_owned()));
    b.cron();
    b.cron();
    assert_eq!(items(&mut b), ("3".to_owned(), "3".to_owned()));
    b.run(target, "SET k0 x");
    assert_eq!(b.delivered(stays), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nk0\r\n");
}

#[test]
fn what_has_no_order_in_command_info_is_a_set() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "HELLO 3");
    let told = b.run(c, "COMMAND INFO get");
    assert!(told.contains("~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n") && told.ends_with("~0\r\n"), "{told}");
    let told = b.run(c, "COMMAND INFO object");
    assert!(told.contains("~0\r\n*5\r\n*10\r\n$"), "its subcommands have an order: {told}");
}

#[test]
fn figures_and_words_are_those_of_redis() {
    let mut config = config::Config::default();
    config.assign("maxclients", b"3", config::Origin::Set).unwrap();
    let mut b = Bench::with(config);
    let (c, gone) = (b.connect(), b.connect());
    let field = |b: &mut Bench, name: &str| {
        let text = b.run(c, "INFO everything");
        text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or_default().to_owned()
    };
    assert_eq!(field(&mut b, "rdb_changes_since_last_save"), "0");
    b.run(c, "SWAPDB 0 1");
    assert_eq!(field(&mut b, "rdb_changes_since_last_save"), "1", "a snapshot is due for it, too");
    b.run(c, "SET r 1");
    b.run(c, "RENAME r r2");
    b.run(c, "PEXPIRE r2 1");
    b.pass_ms(1);
    assert_eq!(b.run(c, "GET r2"), "$-1\r\n");
    assert_eq!(field(&mut b, "rdb_changes_since_last_save"), "4");
    b.run(c, "CLIENT PAUSE 60000 WRITE");
    assert_eq!(b.run(gone, "SET x 1"), "");
    assert_eq!(field(&mut b, "blocked_clients"), "1");
    b.leave(gone);
    assert_eq!(field(&mut b, "blocked_clients"), "0", "who has gone waits no more");
    for (line, error) in [
        ("ACL DRYRUN default config nope", "ERR Command 'config' not found"),
        ("ACL LOG RESET x", "ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP."),
        (
            "ACL GENPASS 1 2",
            "ERR unknown subcommand or wrong number of arguments for 'GENPASS'. Try ACL HELP.",
        ),
    ] {
        assert_eq!(b.run(c, line), format!("-{error}\r\n"), "{line}");
    }
    assert_eq!(b.run(c, "ACL DRYRUN default config get x"), "+OK\r\n");
    let reason = "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n";
    assert_eq!(b.run(c, "CLIENT UNBLOCK 1 x"), reason);
    let words = "-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.\r\n";
    assert_eq!(b.run(c, "CLIENT UNBLOCK 1 TIMEOUT x"), words);
    b.run(c, "CLIENT UNPAUSE");
    let told = b.call(c, &["EVAL", "return redis.pcall('client').err", "0"]);
    assert!(told.contains("ERR Wrong number of args calling Redis command from script"), "{told}");
    b.run(c, "SET a 1 PXAT 9223372036854775807");
    assert_eq!(b.run(c, "EXPIRETIME a"), ":9223372036854776\r\n");
    b.run(c, "MULTI");
    b.run(c, "BGSAVE");
    assert_eq!(b.run(c, "EXEC"), "*1\r\n+Background saving scheduled\r\n");
}

#[test]
fn who_is_turned_away_has_not_been_received() {
    let mut config = config::Config::default();
    config.assign("maxclients", b"1", config::Origin::Set).unwrap();
    let mut b = Bench::with(config);
    let c = b.connect();
    let (info, now) = (tandem_engine::ClientInfo::default(), b.outside.now);
    assert!(b.engine.connect(info, now).is_none());
    let text = b.run(c, "INFO stats");
    for told in ["total_connections_received:1", "rejected_connections:1"] {
        assert!(text.contains(&format!("{told}\r\n")), "{told}: {text}");
    }
}

#[test]
fn a_monitor_sees_who_comes_by_a_unix_socket() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "MONITOR");
    let info = tandem_engine::ClientInfo {
        id: 9,
        token: 9,
        local: true,
        address: "/run/tandem.sock:0".to_owned(),
        ..Default::default()
    };
    let id = b.engine.connect(info, b.outside.now).unwrap();
    let request = tandem_engine::Request { argv: &[b"GET", b"a"], raw: None };
    b.engine.execute(id, request, &mut Vec::new(), &mut b.outside);
    b.tick();
    let told = b.delivered(c);
    assert!(told.contains(" [0 unix:/run/tandem.sock] \"GET\""), "{told}");
}

#[test]
fn changes_are_counted_by_elements() {
    let mut b = Bench::new();
    let c = b.connect();
    for (before, line, changes) in [
        ("MSET a 1 b 2", "DEL a b c", 2),
        ("SADD s 1", "SADD s 1 2 3", 2),
        ("SADD s 1 2 3", "SREM s 1 2 3", 3),
        ("SADD s 1 2 3", "SPOP s 2", 2),
        ("RPUSH l 1 2 3", "LPOP l 9", 3),
        ("RPUSH l 1 1 2", "LREM l 0 1", 2),
        ("RPUSH l 1 2 3", "LTRIM l 1 1", 2),
        ("HSET h a 1", "HSET h a 2 b 2", 2),
        ("HSET h a 1 b 2", "HDEL h a b z", 2),
        ("HSET h a 1 b 2", "HEXPIRE h 100 FIELDS 2 a b", 2),
        ("ZADD z 1 a 2 b", "ZADD z 3 a 2 b 4 c", 2),
        ("ZADD z 1 a 2 b", "ZADD z 1 a", 0),
        ("RPUSH l 1 2 3", "LTRIM l 0 -1", 0),
        ("RPUSH l 1 2 3", "LMOVE l m LEFT RIGHT", 1),
        ("RPUSH l 1 2 3", "LMOVE l l LEFT RIGHT", 1),
        ("RPUSH l 3 1 2", "SORT l STORE m", 3),
        ("GEOADD g 1 1 a", "GEOADD g CH 1 2 a 5 5 c", 2),
        ("GEOADD g 1 1 a 2 2 b", "GEOSEARCHSTORE t g FROMLONLAT 1 1 BYRADIUS 9000 km", 2),
        ("SET k 1", "PFADD h a b c", 4),
        ("PFADD h a", "PFADD h a b c", 2),
        ("SET b xx", "BITFIELD b SET u8 0 1 SET u8 8 1 GET u8 0", 2),
        ("SET b xx", "BITFIELD b SET u8 0 1 SET u8 8 120", 1),
        ("SET b xx", "BITFIELD b SET u8 0 120 SET u8 100 0", 2),
        ("SET b xx", "BITFIELD b OVERFLOW FAIL INCRBY u2 100 9", 0),
        ("XADD x 1-1 a b", "XADD x MAXLEN 1 2-1 a b", 1),
        ("XADD x 1-1 a b", "XDEL x 1-1 2-1", 1),
        ("SET k 1", "APPEND k 2", 1),
    ] {
        b.run(c, "FLUSHALL");
        b.run(c, before);
        let counted = b.engine.keyspace.effects.dirty;
        b.run(c, line);
        assert_eq!(b.engine.keyspace.effects.dirty - counted, changes, "{line}");
    }
}
