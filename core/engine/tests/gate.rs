//! The gate as its callers meet it: one order, one answer, whoever asks.

mod bench;

use bench::Bench;

const MISCONF: &str = "MISCONF nothing can be kept";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

fn aborted(why: &str) -> String {
    format!("-EXECABORT Transaction discarded because of: {why}\r\n")
}

/// Has a client queue these requests.
fn queue(b: &mut Bench, client: usize, lines: &[&str]) {
    assert_eq!(b.run(client, "MULTI"), "+OK\r\n");
    for line in lines {
        assert_eq!(b.run(client, line), "+QUEUED\r\n", "{line}");
    }
}

#[test]
fn what_was_queued_meets_the_disk_as_it_is_when_it_runs() {
    let mut b = Bench::new();
    let c = b.connect();
    queue(&mut b, c, &["GET a", "SET a 1"]);
    b.outside.refusal = Some(MISCONF);
    assert_eq!(b.run(c, "EXEC"), aborted(MISCONF));
    assert_eq!(b.run(c, "GET a"), "$-1\r\n", "the transaction is over, and nothing of it ran");
    queue(&mut b, c, &["GET a", "PUBLISH c m"]);
    assert_eq!(b.run(c, "EXEC"), "*2\r\n$-1\r\n:0\r\n", "what changes nothing needs no disk");
}

#[test]
fn what_was_queued_needs_room_if_any_of_it_does() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "RPUSH wait job");
    b.run(c, "CONFIG SET maxmemory 1000000 queue-reserve 100000");
    for (lines, used, reply) in [
        (&["RPOPLPUSH wait active", "LLEN wait"][..], 950_000, "*2\r\n$3\r\njob\r\n:0\r\n".to_owned()),
        (&["RPOPLPUSH active wait", "RPUSH wait x"], 950_000, aborted(OOM)),
        (&["RPUSH wait x", "RPOPLPUSH active wait"], 950_000, aborted(OOM)),
        (&["RPOPLPUSH active wait"], 1_050_000, aborted(OOM)),
        (&["DEL other", "GET other"], 1_050_000, "*2\r\n:0\r\n$-1\r\n".to_owned()),
    ] {
        b.outside.used = 1000;
        queue(&mut b, c, lines);
        b.outside.used = used;
        assert_eq!(b.run(c, "EXEC"), reply, "{lines:?}");
    }
    let declared = "#!lua\nreturn 1";
    b.outside.used = 1000;
    queue(&mut b, c, &["GET a"]);
    assert_eq!(b.call(c, &["EVAL", declared, "0"]), "+QUEUED\r\n");
    b.outside.used = 1_050_000;
    assert_eq!(b.run(c, "EXEC"), aborted(OOM), "a script that declares no more than that it may write");
}

#[test]
fn rights_are_asked_for_when_a_queued_command_runs_as_when_it_came() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(d, "RPUSH l 1");
    assert_eq!(b.run(c, "ACL SETUSER bob on nopass ~* +@all"), "+OK\r\n");
    b.run(d, "AUTH bob x");
    queue(&mut b, d, &["SORT l BY w_*", "LLEN l"]);
    assert_eq!(b.run(c, "ACL SETUSER bob resetkeys ~l"), "+OK\r\n");
    let denied = "-ERR BY option of SORT denied due to insufficient ACL permissions.\r\n";
    assert_eq!(b.run(d, "EXEC"), format!("*2\r\n{denied}:1\r\n"));
    assert_eq!(b.run(d, "SORT l BY w_*"), denied);
    let script = ["EVAL", "return redis.call('sort', KEYS[1], 'by', 'w_*')", "1", "l"];
    assert!(b.call(d, &script).starts_with("-ERR BY option of SORT denied"), "a script is told the same");
}

#[test]
fn a_script_that_only_reads_is_told_of_rights_before_it_is_told_of_writes() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "ACL SETUSER bob on nopass ~* +@all -set"), "+OK\r\n");
    b.run(d, "AUTH bob x");
    let script = "return redis.pcall('set', 'a', '1')";
    let denied = "-ERR ACL failure in script: User bob has no permissions to run the 'set' command";
    assert!(b.call(d, &["EVAL_RO", script, "0"]).starts_with(denied));
    let read_only = "-ERR Write commands are not allowed from read-only scripts.";
    assert!(b.call(c, &["EVAL_RO", script, "0"]).starts_with(read_only));
    assert!(b.call(c, &["EVAL_RO", "return redis.pcall('publish', 'c', 'm')", "0"]).starts_with(read_only));
}

#[test]
fn what_the_log_says_runs_whatever_stands_against_it_today() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET maxmemory 1000000");
    b.outside.used = 2_000_000;
    b.outside.refusal = Some(MISCONF);
    for line in ["SET a 1", "MULTI", "SET b 2", "APPEND b 3", "EXEC"] {
        assert_eq!(b.replay(line), Ok(()), "{line}");
    }
    b.engine.replay_end();
    assert_eq!(b.run(c, "MGET a b"), "*2\r\n$1\r\n1\r\n$2\r\n23\r\n");
    let refused = b.replay("SET a").unwrap_err();
    assert!(format!("{refused:?}").contains("wrong number of arguments for 'set' command"), "{refused:?}");
}

#[test]
fn what_waits_to_be_written_to_the_log_is_not_counted_and_told() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET maxmemory 1000000 maxmemory-policy noeviction");
    b.outside.used = 1_500_000;
    b.outside.log_buffer = 400_000;
    assert_eq!(b.run(c, "SET a 1"), format!("-{OOM}\r\n"));
    b.outside.log_buffer = 500_000;
    assert_eq!(b.run(c, "SET a 1"), "+OK\r\n");
    let text = b.run(c, "INFO memory");
    for field in ["mem_not_counted_for_evict:500000", "mem_aof_buffer:500000"] {
        assert!(text.contains(&format!("{field}\r\n")), "{field}: {text}");
    }
}

#[test]
fn ticks_bring_memory_below_its_limit_in_slices_and_log_what_they_evict() {
    let mut b = Bench::new();
    let c = b.connect();
    (0..1000).for_each(|n| _ = b.run(c, &format!("SET key{n} v")));
    b.engine.set_logging(true);
    b.run(c, "CONFIG SET maxmemory 1000000 maxmemory-policy allkeys-lru");
    b.log();
    // A slice is half a millisecond: two looks at the clock.
    (b.outside.used, b.outside.step_ns) = (2_000_000, 300_000);
    let mut left = 1000;
    for _ in 0..5 {
        let now = b.outside.now;
        assert_eq!(b.engine.tick(now, &mut b.outside), Some(now.mono_us), "the next one is due at once");
        let keys = b.engine.keyspace.key_count();
        assert!((1..200).contains(&(left - keys)), "from {left} to {keys}");
        assert_eq!(b.log().matches("DEL key").count(), left - keys);
        left = keys;
        b.pass_ms(100);
    }
    let text = b.run(c, "INFO stats");
    assert!(text.contains("current_eviction_exceeded_time:500\r\n"), "{text}");
    b.outside.used = 999_999;
    let now = b.outside.now;
    assert_ne!(b.engine.tick(now, &mut b.outside), Some(now.mono_us));
    assert_eq!(b.engine.keyspace.key_count(), left);
    assert!(b.run(c, "INFO stats").contains("current_eviction_exceeded_time:0\r\n"));
    // Nothing is left that may go: no tick can help.
    b.run(c, "CONFIG SET maxmemory-policy volatile-lru");
    b.outside.used = 2_000_000;
    assert_ne!(b.engine.tick(now, &mut b.outside), Some(now.mono_us));
    assert_eq!(b.engine.keyspace.key_count(), left);
}

#[test]
fn a_ping_is_not_answered_as_if_all_were_well_while_the_disk_keeps_nothing() {
    let mut b = Bench::new();
    let c = b.connect();
    b.outside.refusal = Some(MISCONF);
    assert_eq!(b.run(c, "PING"), format!("-{MISCONF}\r\n"));
    assert_eq!(b.run(c, "ECHO x"), "$1\r\nx\r\n");
    b.run(c, "MULTI");
    b.run(c, "PING");
    assert!(b.run(c, "EXEC").starts_with("-EXECABORT"));
    b.outside.refusal = None;
    assert_eq!(b.run(c, "PING"), "+PONG\r\n");
}

#[test]
fn a_script_that_only_reads_needs_no_disk() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "SET a 1");
    b.outside.refusal = Some(MISCONF);
    assert_eq!(b.call(c, &["EVAL", "return redis.call('GET', 'a')", "0"]), "$1\r\n1\r\n");
    let written = b.call(c, &["EVAL", "redis.call('GET', 'a') return redis.call('SET', 'a', 2)", "0"]);
    assert!(written.starts_with(&format!("-{MISCONF}")), "{written}");
    let declared = b.call(c, &["EVAL", "#!lua\nreturn redis.call('GET', 'a')", "0"]);
    assert!(declared.starts_with(&format!("-{MISCONF}")), "{declared}");
    queue(&mut b, c, &["EVAL return(redis.call('GET','a')) 0", "PFCOUNT none"]);
    assert_eq!(b.run(c, "EXEC"), "*2\r\n$1\r\n1\r\n:0\r\n");
    assert_eq!(b.run(c, "GET a"), "$1\r\n1\r\n");
}

#[test]
fn a_transaction_may_not_choose_which_of_its_replies_come() {
    let mut b = Bench::new();
    let c = b.connect();
    queue(&mut b, c, &["INCR a"]);
    assert_eq!(b.run(c, "CLIENT REPLY OFF"), "-ERR Command not allowed inside a transaction\r\n");
    assert!(b.run(c, "EXEC").starts_with("-EXECABORT"));
    assert_eq!(b.run(c, "PING"), "+PONG\r\n");
}

#[test]
fn a_transaction_has_the_configuration_rewritten() {
    let mut b = Bench::new();
    let c = b.connect();
    for (refusal, reply, jobs) in [(None, "+OK", 1), (Some("no file"), "-ERR no file", 0)] {
        b.engine.rewrite_refusal = refusal.map(str::to_owned);
        b.run(c, "MULTI");
        b.run(c, "CONFIG REWRITE");
        assert_eq!(b.run(c, "EXEC"), format!("*1\r\n{reply}\r\n"));
        let mut left = Vec::new();
        b.engine.take_jobs(&mut left);
        left.retain(|job| matches!(job, tandem_engine::Job::RewriteConfig { session: None }));
        assert_eq!(left.len(), jobs);
    }
}

#[test]
fn a_password_that_a_transaction_sets_is_hashed_ahead_of_it() {
    const RECORD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let mut b = Bench::new();
    let c = b.connect();
    queue(&mut b, c, &["CONFIG SET requirepass pw", "ACL SETUSER bob on >pw2", "PING"]);
    assert_eq!(b.run(c, "EXEC"), "");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let hashed = jobs.into_iter().find_map(|job| match job {
        tandem_engine::Job::HashPasswords { passwords, .. } => Some(passwords),
        _ => None,
    });
    assert_eq!(hashed.unwrap(), [b"pw".to_vec(), b"pw2".to_vec()]);
    assert_eq!(b.hashed(c, &[RECORD.to_owned(), RECORD.to_owned()]), "*3\r\n+OK\r\n+OK\r\n+PONG\r\n");
    let users = b.run(c, "ACL LIST");
    assert_eq!(users.matches(RECORD).count(), 2, "{users}");
}

#[test]
fn what_a_transaction_sets_gets_its_own_record_and_other_words_none() {
    const RECORD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let mut b = Bench::new();
    let (c, user) = (b.connect(), b.connect());
    b.run(c, "XADD s 1-1 f v");
    b.run(c, "XGROUP CREATE s g 0");
    let lines = [
        "RPUSH l x >y",
        "XREADGROUP GROUP g me STREAMS s >",
        "ACL SETUSER a on >p1 +@all",
        "ACL SETUSER b on >p2 +@all",
    ];
    queue(&mut b, c, &lines);
    assert_eq!(b.run(c, "EXEC"), "");
    let reply = b.hashed(c, &[RECORD.to_owned(), RECORD.replace("c2Fs", "d2Fs")]);
    assert!(reply.starts_with("*4\r\n:2\r\n*1\r\n") && reply.ends_with("+OK\r\n+OK\r\n"), "{reply}");
    assert_eq!(b.run(c, "LRANGE l 1 1"), "*1\r\n$2\r\n>y\r\n");
    assert_eq!(b.run(user, "AUTH a p1"), "+OK\r\n");
    assert_eq!(b.run(user, "AUTH b p2"), "+OK\r\n");
    assert_ne!(b.run(user, "AUTH a p2"), "+OK\r\n");
}

#[test]
fn nothing_runs_that_a_client_has_sent_before_it_was_killed() {
    let mut b = Bench::new();
    let (c, killed) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "CLIENT KILL ID 2"), ":1\r\n");
    assert!(b.closed(killed));
    assert_eq!(b.run(killed, "SET k v"), "");
    assert_eq!(b.run(killed, "BLPOP jobs 0"), "");
    assert_eq!(b.run(c, "EXISTS k"), ":0\r\n");
    assert_eq!(b.run(c, "RPUSH jobs 1"), ":1\r\n");
    assert_eq!(b.run(c, "LLEN jobs"), ":1\r\n", "nobody has taken it");
}
