//! The engine as a state machine: requests in, replies, deliveries and log bytes out, under a virtual clock.

mod bench;

use bench::Bench;
use tandem_engine::Job;

#[test]
fn strings_and_errors_reply_as_redis_does() {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "SET a 1"), "+OK\r\n");
    assert_eq!(b.run(c, "get a"), "$1\r\n1\r\n");
    assert_eq!(b.run(c, "INCRBY a 41"), ":42\r\n");
    assert_eq!(b.run(c, "GET nosuch"), "$-1\r\n");
    assert_eq!(b.run(c, "GET"), "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!(
        b.run(c, "NOSUCH x y"),
        "-ERR unknown command 'NOSUCH', with args beginning with: 'x' 'y' \r\n"
    );
    assert_eq!(b.run(c, "CONFIG NOSUCH"), "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.\r\n");
}

#[test]
fn a_sketch_that_is_found_damaged_half_way_is_left_as_it_was_and_nothing_is_logged() {
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.set_logging(true);
    let mut refused = 0;
    for offset in 16..24 {
        for byte in ["i", "y", "~", "!"] {
            b.run(c, "DEL p");
            b.run(c, "PFADD p a b c");
            b.run(c, &format!("SETRANGE p {offset} {}", byte.repeat(9)));
            b.log();
            let before = b.run(c, "GET p");
            for element in 0..40 {
                if !b.run(c, &format!("PFADD p x{element} y{element} z{element}")).starts_with("-INVALIDOBJ")
                {
                    break;
                }
                refused += 1;
                assert_eq!(b.run(c, "GET p"), before, "offset {offset}, {byte}");
                assert_eq!(b.log(), "", "offset {offset}, {byte}: a start could not replay it");
            }
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_user_of_the_configuration_has_a_name_without_blanks() {
    let mut b = Bench::new();
    for name in [&b"default on"[..], b"", b"a\tb", b"a\0b"] {
        assert!(b.engine.load_users(&[vec![name.to_vec(), b"on".to_vec()]]).is_err(), "{name:?}");
    }
    assert!(b.engine.load_users(&[vec![b"bob".to_vec(), b"on".to_vec()]]).is_ok());
}

#[test]
fn every_container_has_help() {
    let mut b = Bench::new();
    let c = b.connect();
    for container in
        "ACL CLIENT COMMAND CONFIG FUNCTION LATENCY MEMORY MODULE OBJECT PUBSUB SCRIPT SLOWLOG XGROUP XINFO"
            .split(' ')
    {
        let help = b.run(c, &format!("{container} HELP"));
        assert!(help.contains(&format!("\r\n+{container} <subcommand> [")), "{help}");
        assert!(help.lines().count() > 5, "{help}");
    }
}

#[test]
fn hello_switches_the_protocol() {
    let mut b = Bench::new();
    let c = b.connect();
    assert!(b.run(c, "HELLO 3").starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n"));
    assert_eq!(b.run(c, "GET nosuch"), "_\r\n");
    assert!(b.run(c, "HELLO 9").starts_with("-NOPROTO"));
}

#[test]
fn a_transaction_runs_as_one_and_a_watched_key_breaks_it() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    for (request, want) in [
        ("MULTI", "+OK\r\n"),
        ("SET a 1", "+QUEUED\r\n"),
        ("INCR a", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n+OK\r\n:2\r\n"),
    ] {
        assert_eq!(b.run(c, request), want);
    }
    b.run(c, "WATCH a");
    b.run(d, "SET a 5");
    b.run(c, "MULTI");
    b.run(c, "GET a");
    assert_eq!(b.run(c, "EXEC"), "*-1\r\n");
    b.run(c, "MULTI");
    assert!(b.run(c, "NOSUCH").starts_with("-ERR unknown command"));
    assert_eq!(b.run(c, "EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

/// Whether EXEC runs after c has begun to watch, and d has said these lines.
fn exec_runs(prepare: &[&str], watched: &str, meanwhile: &[&str]) -> bool {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    prepare.iter().for_each(|line| _ = b.run(d, line));
    b.run(c, &format!("WATCH {watched}"));
    meanwhile.iter().for_each(|line| _ = b.run(d, line));
    b.run(c, "MULTI");
    b.run(c, "PING");
    b.run(c, "EXEC") == "*1\r\n+PONG\r\n"
}

#[test]
fn emptying_or_exchanging_databases_breaks_the_watches_of_keys_that_were_or_are_there() {
    let in_second = ["SELECT 1", "SET b 1", "SELECT 0"];
    assert!(!exec_runs(&["SET a 1"], "a", &["FLUSHALL"]));
    assert!(!exec_runs(&["SET a 1"], "a", &["FLUSHDB"]));
    assert!(exec_runs(&["SET b 1"], "a", &["FLUSHALL"]), "it was not there");
    assert!(exec_runs(&["SET a 1"], "a", &["SELECT 1", "SET b 1", "FLUSHDB"]), "another database");
    assert!(!exec_runs(&["SET a 1"], "a", &["SWAPDB 0 1"]), "it was there");
    assert!(!exec_runs(&in_second, "b", &["SWAPDB 0 1"]), "it is there now");
    assert!(exec_runs(&in_second, "c", &["SWAPDB 0 1"]));
    assert!(exec_runs(&["SET a 1"], "a", &["SWAPDB 1 2"]));
}

#[test]
fn a_client_that_waits_for_a_key_gets_it_from_a_database_that_is_swapped_in() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "BLPOP jobs 0");
    for line in ["SELECT 1", "RPUSH jobs x"] {
        b.run(d, line);
    }
    assert_eq!(b.delivered(c), "");
    b.run(d, "SWAPDB 0 1");
    assert_eq!(b.delivered(c), "*2\r\n$4\r\njobs\r\n$1\r\nx\r\n");
}

#[test]
fn observers_hear_what_happens_to_fields() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events KA");
    b.run(d, "SUBSCRIBE __keyspace@0__:h");
    for (line, events) in [
        ("HSETEX h EX 100 FIELDS 2 a 1 b 2", "hset hexpire"),
        ("HEXPIRE h 50 FIELDS 2 a none", "hexpire"),
        ("HEXPIRE h 50 NX FIELDS 1 a", ""),
        ("HGETEX h PERSIST FIELDS 1 a", "hpersist"),
        ("HPERSIST h FIELDS 1 a", ""),
        ("HPERSIST h FIELDS 1 b", "hpersist"),
        ("HGETDEL h FIELDS 1 none", ""),
        ("HSETEX h EX 0 FIELDS 1 b 2", "hset hdel"),
        ("HEXPIRE h 0 FIELDS 1 a", "hdel del"),
        ("HSETEX h PX 20 FIELDS 2 a 1 b 2", "hset hexpire"),
        ("HSET h c 3", "hset"),
    ] {
        b.run(c, line);
        assert_eq!(last_words(&b.delivered(d)), events, "{line}");
    }
    b.pass_ms(20);
    b.run(c, "HMGET h a");
    assert_eq!(last_words(&b.delivered(d)), "hexpired");
    b.pass_ms(40);
    b.tick();
    assert_eq!(last_words(&b.delivered(d)), "hexpired");
    b.run(c, "HPEXPIRE h 20 FIELDS 1 c");
    b.delivered(d);
    b.pass_ms(20);
    b.run(c, "HMGET h none");
    assert_eq!(last_words(&b.delivered(d)), "hexpired del", "none is left");
}

#[test]
fn events_tell_what_happened_and_a_new_key_first() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events EAn");
    b.run(d, "PSUBSCRIBE __keyevent@*");
    for (line, events) in [
        ("RPUSH l a b", "new l rpush l"),
        ("LMOVE l m LEFT RIGHT", "new m rpush m lpop l"),
        ("LMOVE l m LEFT RIGHT", "rpush m lpop l del l"),
        ("LMOVE m m LEFT RIGHT", "rpush m lpop m"),
        ("SADD s a b", "new s sadd s"),
        ("SMOVE s t a", "srem s new t sadd t"),
        ("SMOVE s t b", "srem s del s sadd t"),
        ("SET k v", "new k set k"),
        ("RENAME k k2", "new k2 rename_from k rename_to k2"),
        ("RENAME m k2", "rename_from m rename_to k2"),
        ("MOVE k2 1", "new k2 move_from k2 move_to k2"),
        ("MOVE none 1", ""),
        ("XADD x 1-1 f v", "new x xadd x"),
        ("XGROUP CREATE x g 0", "xgroup-create x"),
        ("XREADGROUP GROUP g c STREAMS x >", "xgroup-createconsumer x"),
        ("XDEL x 1-1", "xdel x"),
        ("XACKDEL x g IDS 1 1-1", ""),
        ("XDELEX x DELREF IDS 1 1-1", ""),
    ] {
        b.run(c, line);
        assert_eq!(events_told(&mut b, d), events, "{line}");
    }
}

#[test]
fn events_tell_that_a_value_was_replaced_and_by_one_of_another_type() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events EAoc");
    b.run(d, "PSUBSCRIBE __keyevent@*");
    for (line, events) in [
        ("SET k 1", "set k"),
        ("SET k 2 KEEPTTL", "overwritten k set k"),
        ("SETEX k 100 3", "overwritten k set k expire k"),
        ("INCRBYFLOAT k 1.5", "incrbyfloat k"),
        ("APPEND k x", "append k"),
        ("SETNX k 1", ""),
        ("RPUSH l 1", "rpush l"),
        ("MSET k 1 l 2", "overwritten k set k overwritten l type_changed l set l"),
        ("SADD s 1", "sadd s"),
        ("SUNIONSTORE l s", "overwritten l type_changed l sunionstore l"),
        ("SINTERSTORE l s none", "del l"),
        ("ZADD z 1 a", "zadd z"),
        ("ZRANGESTORE s z 0 -1", "overwritten s type_changed s zrangestore s"),
        ("ZRANGESTORE s z 0 -1", "overwritten s zrangestore s"),
        ("COPY k z REPLACE", "copy_to z overwritten z type_changed z"),
        ("RENAME k z", "rename_from k rename_to z overwritten z"),
        ("MOVE z 1", "move_from z move_to z"),
    ] {
        b.run(c, line);
        assert_eq!(events_told(&mut b, d), events, "{line}");
    }
    b.run(c, "CONFIG SET notify-keyspace-events Ec");
    b.run(c, "SET t 1");
    b.run(c, "SET t 2");
    b.run(c, "RENAME s t");
    assert_eq!(events_told(&mut b, d), "type_changed t");
}

/// The events that the client has got since it was last asked: name and key of each.
fn events_told(b: &mut Bench, client: usize) -> String {
    let told = b.delivered(client);
    let messages = told.split("*4\r\n").skip(1).map(|message| {
        let words: Vec<&str> = message.split("\r\n").filter(|word| !word.starts_with('$')).collect();
        format!("{} {}", words[2].rsplit(':').next().expect("a channel has a name"), words[3])
    });
    messages.collect::<Vec<_>>().join(" ")
}

/// The events of messages, without channels and frames.
fn last_words(messages: &str) -> String {
    let words = messages.split("*3\r\n").filter_map(|message| message.trim_end().rsplit("\r\n").next());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_log_gets_absolute_field_expiries_and_the_removal_of_fields() {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let c = b.connect();
    b.run(c, "HSET h a 1 b 2 c 3");
    b.log();
    let at = b.now_ms() + 100;
    b.run(c, "HPEXPIRE h 100 NX FIELDS 2 a none");
    assert!(b.log().ends_with(&format!("HPEXPIREAT h {at} FIELDS 1 a")));
    b.run(c, "HGETEX h PX 100 FIELDS 1 b");
    assert_eq!(b.log(), format!("HPEXPIREAT h {at} FIELDS 1 b"));
    b.run(c, "HINCRBYFLOAT h b 1");
    assert!(b.log().contains(&format!("MULTI|HSET h b 3|HPEXPIREAT h {at} FIELDS 1 b|EXEC")));
    b.run(c, "HGETDEL h FIELDS 2 none none");
    assert_eq!(b.log(), "");
    b.pass_ms(100);
    assert_eq!(b.run(c, "HGET h a"), "$-1\r\n");
    assert_eq!(b.log(), "HDEL h a");
    b.pass_ms(50);
    b.tick();
    assert_eq!(b.log(), "HDEL h b");
    assert_eq!(b.run(c, "HGETALL h"), "*2\r\n$1\r\nc\r\n$1\r\n3\r\n");
}

#[test]
fn the_log_gets_absolute_times_units_and_removals() {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let c = b.connect();
    b.run(c, "SET a 1 PX 100");
    let at = b.now_ms() + 100;
    assert_eq!(b.log(), format!("SELECT 0|SET a 1 PXAT {at}"));
    b.pass_ms(200);
    assert_eq!(b.run(c, "GET a"), "$-1\r\n");
    assert_eq!(b.log(), "DEL a");
    b.run(c, "MULTI");
    b.run(c, "SET x 1");
    b.run(c, "SET y 2");
    b.run(c, "EXEC");
    assert_eq!(b.log(), "MULTI|SET x 1|SET y 2|EXEC");
    b.run(c, "SET k v");
    b.run(c, "GET k");
    assert_eq!(b.log(), "SET k v");
}

#[test]
fn scripts_call_the_engine_and_are_one_unit() {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let c = b.connect();
    let script = "redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('INCR', KEYS[1]), redis.call('GET', 'nosuch')}";
    assert_eq!(b.call(c, &["EVAL", script, "1", "k", "41"]), "*2\r\n:42\r\n$-1\r\n");
    assert_eq!(b.log(), "SELECT 0|MULTI|SET k 41|INCR k|EXEC");
    assert!(
        b.call(c, &["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"]).starts_with("-NOSCRIPT")
    );
    assert!(b.call(c, &["EVAL", "return redis.call('BLPOP')", "0"]).contains("Wrong number of args"));
    assert!(
        b.call(c, &["EVAL_RO", "return redis.call('SET', 'a', 'b')", "0"])
            .contains("Write commands are not allowed from read-only scripts")
    );
}

#[test]
fn a_reply_is_given_up_while_it_is_built() {
    let mut b = Bench::new();
    b.engine.set_memory_there(1);
    let c = b.connect();
    assert_eq!(b.run(c, "SETRANGE big 999999 x"), ":1000000\r\n");
    let keys = vec!["big"; 3000].join(" ");
    let refusal = "-ERR the reply is larger than 67108864 bytes, a quarter of the memory there is\r\n";
    assert_eq!(b.run(c, &format!("MGET {keys}")), refusal);
    let script = "local t = {} for i = 1, 3000 do t[i] = redis.call('GET', 'big') end return t";
    assert_eq!(b.call(c, &["EVAL", script, "0"]), refusal);
    assert_eq!(b.call(c, &["EVAL", "local t = {} t[1] = t t[2] = t return t", "0"]), refusal);
    let script = format!("return #redis.call('MGET', unpack({{{}}}))", vec!["'big'"; 3000].join(","));
    assert_eq!(b.call(c, &["EVAL", &script, "0"]), ":3000\r\n", "one text, held once");
    // In a transaction everything runs, and what it answers is one reply.
    b.run(c, "MULTI");
    b.run(c, &format!("MGET {keys}"));
    b.run(c, "SET after 1");
    assert_eq!(b.run(c, "EXEC"), refusal);
    assert_eq!(b.run(c, "GET after"), "$1\r\n1\r\n");
    // A value by itself is not refused, whatever its size.
    b.run(c, "SETRANGE huge 69999999 x");
    assert_eq!(b.run(c, "GET huge").len(), 70_000_000 + "$70000000\r\n\r\n".len());
}

#[test]
fn what_a_script_may_hold_follows_from_maxmemory() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET maxmemory 400mb");
    let make = |bytes: usize| format!("local s = string.rep('x', {bytes}) return #s");
    assert_eq!(b.call(c, &["EVAL", &make(40_000_000), "0"]), ":40000000\r\n");
    assert!(b.call(c, &["EVAL", &make(120_000_000), "0"]).contains("not enough memory"));
}

#[test]
fn lines_of_a_script_for_the_log_are_bounded_and_statistics_begin_anew() {
    let mut b = Bench::new();
    let c = b.connect();
    b.call(c, &["EVAL", "for i = 1, 5000 do redis.log(redis.LOG_WARNING, 'line') end", "0"]);
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let lines = jobs.iter().filter(|job| matches!(job, Job::Log { .. })).count();
    assert_eq!(lines, 1001, "a thousand, and how many were left out");
    for n in 0..502 {
        b.call(c, &["EVAL", &format!("return {n}"), "0"]);
    }
    assert!(b.run(c, "INFO stats").contains("evicted_scripts:3\r\n"));
    b.run(c, "CONFIG RESETSTAT");
    assert!(b.run(c, "INFO stats").contains("evicted_scripts:0\r\n"));
}

#[test]
fn subscribers_get_messages_and_resp2_ones_may_do_little_else() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "SUBSCRIBE ch"), "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert!(b.run(c, "GET a").starts_with("-ERR Can't execute 'get'"));
    assert_eq!(b.run(d, "PUBLISH ch hi"), ":1\r\n");
    assert_eq!(b.delivered(c), "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n");
    assert_eq!(b.run(c, "UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n");
    assert_eq!(b.run(c, "GET a"), "$-1\r\n");
}

#[test]
fn users_may_do_what_their_rules_say() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    let hash = tandem_engine::digest_of(b"pw");
    assert_eq!(b.run(c, &format!("ACL SETUSER bob on #{hash} ~app:* +get +set")), "+OK\r\n");
    assert!(b.run(d, "AUTH bob wrong").starts_with("-WRONGPASS"));
    assert_eq!(b.run(d, "AUTH bob pw"), "+OK\r\n");
    assert_eq!(b.run(d, "SET app:1 x"), "+OK\r\n");
    assert_eq!(b.run(d, "SET other x"), "-NOPERM No permissions to access a key\r\n");
    assert_eq!(b.run(d, "DEL app:1"), "-NOPERM User bob has no permissions to run the 'del' command\r\n");
    assert_eq!(b.run(c, "ACL DELUSER bob"), ":1\r\n");
    assert!(b.closed(d));
}

#[test]
fn keys_leave_on_time_without_being_asked_for() {
    let mut b = Bench::new();
    let c = b.connect();
    for i in 0..100 {
        b.run(c, &format!("SET k{i} v PX {}", 50 + i));
    }
    b.pass_ms(300);
    b.tick();
    assert_eq!(b.run(c, "DBSIZE"), ":0\r\n");
}

#[test]
fn a_full_cache_evicts_and_a_full_queue_refuses() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "SET a 1");
    b.run(c, "CONFIG SET maxmemory 1000000");
    b.outside.used = 2_000_000;
    assert_eq!(b.run(c, "SET b 1"), "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    assert_eq!(b.run(c, "DEL a"), ":1\r\n");
    assert!(
        b.call(c, &["EVAL", "return redis.call('SET', 'b', '1')", "0"])
            .starts_with("-OOM command not allowed")
    );
}

#[test]
fn a_pause_holds_requests_until_it_ends() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CLIENT PAUSE 100 WRITE");
    assert_eq!(b.run(d, "GET a"), "$-1\r\n");
    assert_eq!(b.run(d, "SET a 1"), "");
    b.tick();
    assert_eq!(b.delivered(d), "");
    b.pass_ms(101);
    b.tick();
    assert_eq!(b.delivered(d), "+OK\r\n");
    assert_eq!(b.run(d, "SET a 2"), "+OK\r\n");
}

#[test]
fn a_master_that_leaves_waits_for_what_its_replicas_lack_and_lets_nobody_write_meanwhile() {
    let mut b = Bench::new();
    assert_eq!(b.engine.hold_for_replicas(), None, "it has none");
    let (replica, c) = (b.connect(), b.connect());
    b.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2");
    b.run(replica, "PSYNC ? -1");
    b.engine.begin_replica_snapshot();
    assert_eq!(b.engine.hold_for_replicas(), None, "it is not online");
    let id = b.id(replica);
    b.engine.replica_snapshot_sent(id);
    b.run(replica, "REPLCONF ACK 0");
    b.run(c, "SET k v");
    let position = b.engine.hold_for_replicas().unwrap();
    assert_eq!(b.run(c, "SET k w"), "");
    let lag = b.engine.lag_behind(position);
    let told =
        format!("Lagging replica heir:7000 reported offset {position} behind master, lag=0, state=online.");
    assert_eq!((lag.online, lag.lagging), (1, vec![told]));
    b.run(replica, &format!("REPLCONF ACK {position}"));
    assert!(b.engine.lag_behind(position).lagging.is_empty());
    b.engine.release_writes(&mut b.outside);
    b.tick();
    assert_eq!(b.delivered(c), "+OK\r\n");
}

#[test]
fn a_reply_that_is_taken_back_has_no_place_in_the_output_that_could_become_an_error() {
    let mut b = Bench::new();
    let (_, c, d) = (b.connect_replica(), b.connect(), b.connect());
    b.run(c, "CLIENT DURABILITY replicated");
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..5);
    b.run(c, "CLIENT REPLY SKIP");
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..0);
    b.run(c, "HELLO 3");
    b.run(c, "CONFIG SET notify-keyspace-events KEA");
    b.run(c, "SUBSCRIBE __keyevent@0__:lpop");
    for (mode, reply) in [("ON", 0..23), ("SKIP", 0..0), ("OFF", 0..0)] {
        b.run(c, &format!("CLIENT REPLY {mode}"));
        b.run(c, "BLPOP jobs 0");
        b.run(d, "RPUSH jobs one");
        assert_eq!(b.late_reply(c), Some(reply), "{mode}: a message stands behind it");
    }
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..0);
}

#[test]
fn what_one_history_was_waited_for_in_vain_is_not_asked_of_the_next() {
    let mut b = Bench::new();
    let (_, c) = (b.connect_replica(), b.connect());
    b.run(c, "CLIENT DURABILITY replicated");
    b.run(c, "SET a 1");
    let written = b.engine.take_written().unwrap();
    let (first, position) = (written.history, written.position.unwrap());
    assert_eq!(b.engine.take_awaited(), position);
    b.engine.note_unacknowledged(first, position);
    assert!(b.run(c, "SET a 2").starts_with("-NOREPLICAS "));
    b.run(c, "CLIENT DURABILITY default");
    b.run(c, "REPLICAOF 127.0.0.1 1");
    b.run(c, "REPLICAOF NO ONE");
    b.connect_replica();
    b.run(c, "CLIENT DURABILITY replicated");
    b.engine.note_unacknowledged(first, position + 1_000_000);
    assert_eq!(b.run(c, "SET a 2"), "+OK\r\n", "of the one that is over nothing is to be caught up with");
    assert!(b.engine.take_written().unwrap().history > first);
}

#[test]
fn what_is_held_for_the_end_goes_on_only_when_the_end_is_called_off() {
    let mut b = Bench::new();
    let (c, d, e) = (b.connect(), b.connect(), b.connect());
    b.engine.hold_writes();
    assert_eq!(b.run(c, "GET a"), "$-1\r\n");
    assert_eq!(b.run(d, "SET a 1"), "");
    b.run(c, "CLIENT PAUSE 100 ALL");
    assert_eq!(b.run(e, "GET a"), "");
    b.pass_ms(101);
    b.tick();
    assert_eq!((b.delivered(d), b.delivered(e)), (String::new(), "$-1\r\n".to_owned()));
    b.run(c, "CLIENT UNPAUSE");
    b.tick();
    assert_eq!(b.delivered(d), "");
    b.engine.release_writes(&mut b.outside);
    b.tick();
    assert_eq!(b.delivered(d), "+OK\r\n");
    assert_eq!(b.run(d, "SET a 2"), "+OK\r\n");
}

#[test]
fn flushall_is_answered_when_it_is_kept() {
    let mut b = Bench::new();
    let c = b.connect();
    let flush = |b: &mut Bench| {
        let (reply, mut jobs) = (b.run(c, "FLUSHALL"), Vec::new());
        b.engine.take_jobs(&mut jobs);
        let flushed = jobs.iter().find_map(|job| match job {
            Job::Flushed { save, session } => Some((*save, session.is_some())),
            _ => None,
        });
        (reply, flushed)
    };
    b.call(c, &["CONFIG", "SET", "save", ""]);
    assert_eq!(flush(&mut b), ("+OK\r\n".to_owned(), Some((false, false))));
    b.call(c, &["CONFIG", "SET", "save", "3600 1"]);
    assert_eq!(flush(&mut b), (String::new(), Some((true, true))), "the reply follows the snapshot");
    b.engine.set_logging(true);
    assert_eq!(flush(&mut b), ("+OK\r\n".to_owned(), Some((true, false))), "the log keeps it");
}

#[test]
fn a_blocked_client_is_served_by_its_own_command_oldest_first() {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let (c, d, e) = (b.connect(), b.connect(), b.connect());
    assert_eq!(b.run(c, "BLPOP l 0"), "");
    assert_eq!(b.run(d, "BLPOP l 1"), "");
    assert_eq!(b.run(e, "RPUSH l x"), ":1\r\n");
    assert_eq!(b.delivered(c), "*2\r\n$1\r\nl\r\n$1\r\nx\r\n");
    assert_eq!(b.delivered(d), "");
    assert_eq!(b.log(), "SELECT 0|RPUSH l x|LPOP l");
    b.pass_ms(1001);
    b.tick();
    assert_eq!(b.delivered(d), "*-1\r\n");
    assert_eq!(b.run(e, "RPUSH l y"), ":1\r\n");
    assert_eq!(b.run(e, "LLEN l"), ":1\r\n");
}

#[test]
fn serving_stops_where_the_key_is_gone_but_for_those_who_wait_for_its_removal() {
    let mut b = Bench::new();
    let (c, d, e, f) = (b.connect(), b.connect(), b.connect(), b.connect());
    let writer = b.connect();
    b.run(c, "BLPOP k 0");
    b.run(d, "BLMPOP 0 2 k k LEFT");
    assert_eq!(b.run(f, "BLPOP s k 0"), "");
    b.run(writer, "XGROUP CREATE s g $ MKSTREAM");
    assert_eq!(b.delivered(f), "", "a stream is not what it waits for");
    assert_eq!(b.run(e, "XREADGROUP GROUP g worker BLOCK 0 STREAMS s >"), "");
    b.run(writer, "RPUSH k 1");
    assert_eq!(b.delivered(c), "*2\r\n$1\r\nk\r\n$1\r\n1\r\n");
    assert_eq!((b.delivered(d), b.delivered(f)), (String::new(), String::new()));
    b.run(writer, "DEL s");
    assert!(b.delivered(e).starts_with("-NOGROUP"), "who waits for the group is told that it went away");
    b.run(writer, "RPUSH k 2 3");
    assert_eq!(b.delivered(d), "*2\r\n$1\r\nk\r\n*1\r\n$1\r\n2\r\n");
    assert_eq!(b.delivered(f), "*2\r\n$1\r\nk\r\n$1\r\n3\r\n", "it kept its place behind the others");
    assert_eq!(b.run(writer, "EXISTS k"), ":0\r\n");
    assert!(b.run(writer, "INFO clients").contains("blocked_clients:0\r\n"));
    assert!(b.run(writer, "INFO clients").contains("total_blocking_keys:0\r\n"));
}

#[test]
fn what_only_takes_from_a_stream_looks_at_nobody_who_waits_for_it() {
    let mut b = Bench::new();
    let writer = b.connect();
    for line in
        ["XADD s 1-1 f v", "XADD s 1-2 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"]
    {
        b.run(writer, line);
    }
    let waiting = ["XREAD BLOCK 0 STREAMS s $", "XREADGROUP GROUP g d BLOCK 0 STREAMS s >"];
    let clients: Vec<usize> = waiting
        .iter()
        .cycle()
        .take(200)
        .map(|line| {
            let client = b.connect();
            assert_eq!(b.run(client, line), "");
            client
        })
        .collect();
    b.outside.step_ns = 1;
    b.looks_at_the_clock();
    let of_one = {
        b.run(writer, "LPUSH l 1");
        b.looks_at_the_clock()
    };
    for line in [
        "XDEL s 1-1",
        "XACK s g 1-1",
        "XREADGROUP GROUP g c STREAMS s 0",
        "XCLAIM s g e 0 1-2",
        "XTRIM s MAXLEN 0",
        "XGROUP CREATECONSUMER s g x",
        "XGROUP DELCONSUMER s g c",
        "XSETID s 5-0",
    ] {
        b.run(writer, line);
        assert!(b.looks_at_the_clock() <= 2 * of_one, "{line}");
    }
    // What comes is for every reader, and for the first of a group, behind which one finds that there is no more.
    b.run(writer, "XADD s 6-0 f v");
    assert!(b.looks_at_the_clock() <= (100 + 1 + 1 + 1) * of_one);
    let served = clients.iter().filter(|client| !b.delivered(**client).is_empty()).count();
    assert_eq!(served, 101);
    b.run(writer, "XGROUP SETID s g 0");
    assert!(!b.delivered(clients[3]).is_empty(), "who is next in the group");
    b.run(writer, "XGROUP DESTROY s g");
    let told = clients.iter().filter(|client| b.delivered(**client).starts_with("-NOGROUP")).count();
    assert_eq!(told, 98);
}

#[test]
fn clients_of_several_groups_are_served_in_the_order_in_which_they_came() {
    let mut b = Bench::new();
    let writer = b.connect();
    for line in ["XGROUP CREATE s g $ MKSTREAM", "XGROUP CREATE s h $"] {
        b.run(writer, line);
    }
    b.engine.set_logging(true);
    let clients: Vec<usize> = ["h", "g", "g", "h"]
        .into_iter()
        .enumerate()
        .map(|(n, group)| {
            let client = b.connect();
            b.run(client, &format!("XREADGROUP GROUP {group} c{n} COUNT 1 BLOCK 0 STREAMS s >"));
            client
        })
        .collect();
    b.log();
    let served = |b: &mut Bench| -> Vec<usize> {
        let told: Vec<String> = clients.iter().map(|client| b.delivered(*client)).collect();
        (0..4).filter(|n| !told[*n].is_empty()).collect()
    };
    b.run(writer, "XADD s 1-1 f v");
    let log = b.log();
    assert!(log.find(" h c0 ") < log.find(" g c1 ") && log.contains(" h c0 "), "{log}");
    assert_eq!(served(&mut b), [0, 1]);
    b.leave(clients[2]);
    b.run(writer, "XADD s 1-2 f v");
    assert_eq!(served(&mut b), [3], "who has left waits no more");
    assert!(b.run(writer, "INFO clients").contains("total_blocking_keys:0\r\n"));
}

#[test]
fn a_reader_that_claims_learns_of_entries_that_another_takes() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    for line in
        ["XADD s 1-1 f v", "XGROUP CREATE s g $", "XREADGROUP GROUP g d BLOCK 0 CLAIM 1000 STREAMS s >"]
    {
        b.run(if line.starts_with("XREADGROUP") { d } else { c }, line);
    }
    b.run(c, "XCLAIM s g c 0 1-1 FORCE");
    b.pass_ms(1000);
    b.tick();
    assert!(b.delivered(d).contains("1-1"), "it is due for it, though it was held by nobody before");
}

#[test]
fn a_short_wait_for_a_sorted_set_ends() {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "BZPOPMIN z 0.001"), "");
    b.pass_ms(2);
    b.tick();
    assert_eq!(b.delivered(c), "*-1\r\n");
}

#[test]
fn a_full_queue_still_lets_consumers_take() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "RPUSH wait job");
    b.run(c, "CONFIG SET maxmemory 1000000 queue-reserve 100000");
    b.outside.used = 950_000;
    assert!(b.run(c, "RPUSH wait other").starts_with("-OOM"));
    let take = "return redis.call('RPOPLPUSH', KEYS[1], KEYS[2])";
    assert_eq!(b.call(c, &["EVAL", take, "2", "wait", "active"]), "$3\r\njob\r\n");
    b.outside.used = 1_050_000;
    assert!(b.run(c, "RPOPLPUSH active wait").starts_with("-OOM"));
}

#[test]
fn a_client_that_tracks_is_told_behind_its_own_reply() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "HELLO 3");
    assert_eq!(b.run(c, "CLIENT TRACKING on"), "+OK\r\n");
    b.run(c, "GET k");
    assert_eq!(b.run(c, "SET k 1"), "+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    assert_eq!(b.run(c, "SET k 2"), "+OK\r\n", "it has not read the key again");
    assert_eq!(b.run(c, "CLIENT TRACKING off"), "+OK\r\n");
    assert_eq!(b.run(c, "CLIENT TRACKING on BCAST PREFIX a PREFIX b"), "+OK\r\n");
    b.run(c, "MSET a1 x b1 x c1 x a2 x");
    let told = b.delivered(c);
    let want = ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nb1\r\n";
    assert_eq!(told, want);
}

#[test]
fn a_request_that_is_refused_uses_up_the_word_that_the_next_one_is_tracked() {
    for (line, is_tracked) in [
        ("NOSUCH", false),
        ("GET", false),
        ("CLIENT NOSUCH", false),
        ("CLIENT ID 1", true),
        ("CLIENT ID", true),
    ] {
        let mut b = Bench::new();
        let (c, writer) = (b.connect(), b.connect());
        for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", line, "GET a"] {
            b.run(c, line);
        }
        b.run(writer, "SET a 1");
        assert_eq!(!b.delivered(c).is_empty(), is_tracked, "{line}");
    }
}

#[test]
fn confirmations_of_subscriptions_come_although_replies_are_off() {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "CLIENT REPLY OFF"), "");
    assert_eq!(b.run(c, "SUBSCRIBE ch"), "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert_eq!(b.run(c, "NOSUCH"), "");
}

#[test]
fn a_pause_holds_what_may_write_and_lets_the_rest_go_on() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "CLIENT PAUSE 100000 WRITE"), "+OK\r\n");
    assert_eq!(b.run(d, "GET k"), "$-1\r\n");
    assert_eq!(b.run(d, "EVAL_RO return(1) 0"), ":1\r\n");
    assert_eq!(b.run(d, "SET k 1"), "");
    assert!(b.run(c, "INFO clients").contains("blocked_clients:1\r\n"));
    assert_eq!(b.run(c, "CLIENT UNPAUSE"), "+OK\r\n");
    assert_eq!(b.run(c, "GET k"), "$-1\r\n", "it goes on with the next tick");
}

#[test]
fn the_largest_client_goes_when_all_hold_too_much() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "CLIENT NO-EVICT on"), "+OK\r\n");
    b.run(d, "MULTI");
    b.call(d, &["SET", "k", &"x".repeat(200_000)]);
    assert_eq!(b.run(c, "CONFIG SET maxmemory-clients 1000"), "+OK\r\n");
    b.tell_buffers();
    b.engine.evict_clients();
    assert!(b.engine.waits_for_evicted(), "it still has what it is closed for");
    b.tick();
    assert!(b.closed(d) && !b.closed(c));
    b.leave(d);
    assert!(!b.engine.waits_for_evicted());
    assert!(b.run(c, "INFO stats").contains("evicted_clients:1\r\n"));
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let names_it = |job: &Job| matches!(job, Job::Log { text, .. } if text.contains("Evicting client") && text.contains("id=2 "));
    assert!(jobs.iter().any(names_it), "{jobs:?}");
}

#[test]
fn a_client_that_announces_more_than_clients_may_take_is_closed_before_it_has_come() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "CLIENT NO-EVICT on"), "+OK\r\n");
    assert_eq!(b.run(c, "CONFIG SET maxmemory-clients 1mb"), "+OK\r\n");
    b.announce(d, 2 << 20);
    b.engine.evict_clients();
    b.tick();
    assert!(b.closed(d) && !b.closed(c));
}

#[test]
fn large_replies_are_remembered_by_their_bytes_and_found_by_name() {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "COMMANDLOG LEN large-reply"), ":0\r\n");
    assert_eq!(b.run(c, "CONFIG SET commandlog-reply-larger-than 12"), "+OK\r\n");
    assert_eq!(b.run(c, "SET k 123456"), "+OK\r\n");
    assert_eq!(b.run(c, "GET k"), "$6\r\n123456\r\n");
    let entry = b.run(c, "COMMANDLOG GET -1 LARGE-reply");
    assert!(
        entry.starts_with("*1\r\n*6\r\n:0\r\n:1700000000\r\n:12\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        "{entry}"
    );
    assert_eq!(b.run(c, "COMMANDLOG RESET large-reply"), "+OK\r\n");
    assert_eq!(b.run(c, "COMMANDLOG LEN large-reply"), ":0\r\n");
    for line in ["MULTI", "STRLEN k", "GET k", "EXEC"] {
        b.run(c, line);
    }
    assert_eq!(b.run(c, "COMMANDLOG LEN large-reply"), ":1\r\n", "what was queued, and not EXEC itself");
    assert!(b.run(c, "COMMANDLOG GET -1 large-reply").contains("GET\r\n$1\r\nk\r\n"));
    assert_eq!(b.run(c, "COMMANDLOG LEN slow"), b.run(c, "SLOWLOG LEN"));
    assert_eq!(
        b.run(c, "COMMANDLOG LEN quick"),
        "-ERR type should be one of the following: slow, large-request, large-reply\r\n"
    );
}

#[test]
fn how_long_memory_was_full_is_told() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET maxmemory 1000000 maxmemory-policy noeviction");
    b.outside.used = 2_000_000;
    assert!(b.run(c, "SET a 1").starts_with("-OOM"));
    b.pass_ms(300);
    let told = |b: &mut Bench, total: u32, current: u32| {
        let text = b.run(c, "INFO stats");
        assert!(text.contains(&format!("total_eviction_exceeded_time:{total}\r\n")), "{text}");
        assert!(text.contains(&format!("current_eviction_exceeded_time:{current}\r\n")), "{text}");
    };
    told(&mut b, 300, 300);
    b.outside.used = 1000;
    assert_eq!(b.run(c, "SET a 1"), "+OK\r\n");
    b.pass_ms(200);
    told(&mut b, 300, 0);
}

#[test]
fn a_password_that_is_set_stays_in_the_configuration_as_its_record_for_a_rewrite() {
    let mut b = Bench::new();
    let c = b.connect();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    assert_eq!(b.run(c, &format!("CONFIG SET requirepass {record}")), "+OK\r\n");
    assert!(b.run(c, "CONFIG GET requirepass").contains(record));
}

#[test]
fn the_answer_about_one_password_lets_no_other_in() {
    let mut b = Bench::new();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let (operator, one, other) = (b.connect(), b.connect(), b.connect());
    for user in ["bob", "admin"] {
        assert_eq!(b.call(operator, &["ACL", "SETUSER", user, "on", record, "+@all", "~*"]), "+OK\r\n");
    }
    assert_eq!(b.run(one, "AUTH bob pw"), "");
    b.asked(one);
    assert_eq!(b.verified(one, true), "+OK\r\n");
    assert_eq!(b.run(other, "AUTH bob pw"), "+OK\r\n", "the answer is remembered");
    assert_eq!(b.run(operator, "ACL GENPASS").len(), 71);
    assert_eq!(b.run(other, "AUTH bob pw"), "+OK\r\n", "and no command of a user has it forgotten");
    assert_eq!(b.run(other, "AUTH bob wrong"), "", "another must be asked");
    b.asked(other);
    assert!(b.verified(other, false).starts_with("-WRONGPASS"));
    assert!(b.run(one, "AUTH bob wrong").starts_with("-WRONGPASS"), "that is remembered, too");
}

#[test]
fn the_time_of_a_refusal_does_not_tell_who_there_is() {
    let mut b = Bench::new();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let (operator, c) = (b.connect(), b.connect());
    b.call(operator, &["ACL", "SETUSER", "bob", "on", record, "+@all", "~*"]);
    b.run(
        operator,
        "ACL SETUSER old on #5e884898da28047151d0e56f8dc6292773603d0d6aabbd62a11ef721d1542d8 +@all",
    );
    b.run(operator, "ACL SETUSER old on resetpass");
    b.call(operator, &["ACL", "SETUSER", "off", "off", record]);
    for (name, password) in [("nobody", "a"), ("old", "b"), ("off", "c"), ("bob", "d")] {
        assert_eq!(b.run(c, &format!("AUTH {name} {password}")), "", "{name}");
        assert_eq!(b.asked(c), [record.strip_prefix("argon2id:").unwrap()], "{name}");
        assert!(b.verified(c, false).starts_with("-WRONGPASS"), "{name}");
    }
    // Nor does a password that is somebody else's let anybody in.
    assert_eq!(b.run(c, "AUTH nobody pw"), "");
    b.asked(c);
    assert!(b.verified(c, true).starts_with("-WRONGPASS"));
    for name in ["nobody", "old", "off"] {
        assert!(b.run(c, &format!("AUTH {name} pw")).starts_with("-WRONGPASS"), "{name}");
    }
    assert_eq!(b.run(c, "AUTH bob pw"), "+OK\r\n");
    assert!(b.call(c, &["AUTH", "bob", &"x".repeat(5000)]).starts_with("-WRONGPASS"), "nothing to ask");
}

#[test]
fn a_transaction_asks_about_its_log_ins_before_it_runs() {
    let mut b = Bench::new();
    let record = |salt: &str| format!("argon2id:$argon2id$v=19$m=8,t=1,p=1${salt}$aGFzaGhhc2hoYXNoaGFzaA");
    let (operator, c) = (b.connect(), b.connect());
    for (user, salt) in [("bob", "c2FsdHNhbHQ"), ("eve", "c2FsdHNhbHU")] {
        b.call(operator, &["ACL", "SETUSER", user, "on", &record(salt), "+@all", "~*"]);
    }
    for request in ["MULTI", "SET a 1", "AUTH bob pw", "HELLO 2 AUTH eve no", "ACL WHOAMI"] {
        b.run(c, request);
    }
    assert_eq!(b.run(c, "EXEC"), "");
    b.asked(c);
    assert_eq!(b.run(operator, "EXISTS a"), ":0\r\n", "nothing has run");
    assert_eq!(b.verified(c, true), "", "the other is asked about");
    b.asked(c);
    let reply = b.verified(c, false);
    assert!(reply.starts_with("*4\r\n+OK\r\n+OK\r\n-WRONGPASS"), "{reply}");
    assert!(reply.ends_with("\r\n$3\r\nbob\r\n"), "{reply}");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert!(jobs.is_empty());
}

#[test]
fn a_password_that_was_just_set_needs_no_check() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    assert_eq!(b.run(operator, "ACL SETUSER bob on >pw +@all"), "");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let record = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA".to_owned();
    assert_eq!(b.hashed(operator, std::slice::from_ref(&record)), "+OK\r\n");
    assert_eq!(b.run(c, "AUTH bob pw"), "+OK\r\n");
    assert_eq!(b.run(operator, "CONFIG SET requirepass other"), "");
    assert_eq!(b.hashed(operator, &[record.replace("c2Fs", "d2Fs")]), "+OK\r\n");
    assert_eq!(b.run(c, "AUTH other"), "+OK\r\n");
}

#[test]
fn a_password_that_was_given_as_text_is_removed_by_its_digest() {
    const NONE: &str = "The password you are trying to remove from the user does not exist";
    const RECORD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let digest = |password: &str| tandem_engine::digest_of(password.as_bytes());
    let mut b = Bench::new();
    let (c, user) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "ACL SETUSER u on >one >two +@all"), "");
    assert_eq!(b.hashed(c, &[RECORD.to_owned(), RECORD.replace("c2Fs", "d2Fs")]), "+OK\r\n");
    assert!(b.run(c, &format!("ACL SETUSER u !{}", digest("three"))).contains(NONE));
    assert_eq!(b.run(c, &format!("ACL SETUSER u !{}", digest("one"))), "+OK\r\n");
    assert!(b.run(c, "ACL GETUSER u").contains("d2Fs") && !b.run(c, "ACL GETUSER u").contains(RECORD));
    assert!(b.run(c, &format!("ACL SETUSER u !{}", digest("one"))).contains(NONE));
    // A record that came as one tells its digest when somebody has logged in.
    b.run(c, &format!("ACL SETUSER v on argon2id:{RECORD} +@all"));
    let removal = format!("ACL SETUSER v !{}", digest("other"));
    assert!(b.run(c, &removal).contains(NONE));
    assert_eq!(b.run(user, "AUTH v other"), "");
    b.asked(user);
    assert_eq!(b.verified(user, true), "+OK\r\n");
    assert_eq!(b.run(c, &removal), "+OK\r\n");
}

#[test]
fn what_would_have_to_wait_leaves_nothing_to_be_done_in_a_transaction() {
    let mut config = config::Config::default();
    for (name, value) in [("aclfile", "users.acl"), ("enable-debug-command", "yes")] {
        config.assign(name, value.as_bytes(), config::Origin::Set).unwrap();
    }
    let mut b = Bench::with(config);
    let c = b.connect();
    let refused = "*1\r\n-ERR this command cannot run inside a transaction\r\n";
    for line in ["ACL SAVE", "ACL LOAD", "DEBUG LOADAOF", "DEBUG RELOAD"] {
        b.run(c, "MULTI");
        assert_eq!(b.run(c, line), "+QUEUED\r\n", "{line}");
        assert_eq!(b.run(c, "EXEC"), refused, "{line}");
        let mut jobs = Vec::new();
        b.engine.take_jobs(&mut jobs);
        assert!(jobs.is_empty(), "{line} leaves {jobs:?}");
    }
    // What waits afterwards waits for its own job.
    assert_eq!(b.run(c, "CONFIG SET requirepass pw"), "");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
}

#[test]
fn whoever_came_while_the_door_was_shut_is_let_in_while_it_is_open() {
    let mut b = Bench::new();
    let (operator, noauth) = (b.connect(), "-NOAUTH Authentication required.\r\n");
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    b.call(operator, &["CONFIG", "SET", "requirepass", record]);
    let waiting = b.connect();
    assert_eq!(b.run(waiting, "PING"), noauth);
    let changes: [[&[&str]; 2]; 3] = [
        [&["CONFIG", "SET", "requirepass", ""], &["CONFIG", "SET", "requirepass", record]],
        [&["ACL", "SETUSER", "default", "nopass"], &["ACL", "SETUSER", "default", "off"]],
        [&["ACL", "SETUSER", "default", "on"], &["ACL", "SETUSER", "default", "resetpass"]],
    ];
    for [open, shut] in changes {
        assert_eq!(b.call(operator, open), "+OK\r\n");
        assert_eq!(b.run(waiting, "ACL WHOAMI"), "$7\r\ndefault\r\n", "{open:?}");
        assert!(b.run(waiting, "HELLO 2").starts_with('*'), "who may run commands may name its protocol");
        b.run(waiting, "MULTI");
        assert_eq!(b.run(waiting, "SET k v"), "+QUEUED\r\n");
        assert_eq!(b.call(operator, shut), "+OK\r\n");
        assert_eq!(b.run(waiting, "GET k"), noauth, "{shut:?}");
        let refused = format!("-EXECABORT Transaction discarded because of: {}", &noauth[1..]);
        assert_eq!(b.run(waiting, "EXEC"), refused);
        let newcomer = b.connect();
        assert_eq!(b.run(newcomer, "PING"), noauth);
        assert_eq!(b.run(operator, "PING"), "+PONG\r\n", "who was in stays");
    }
}

#[test]
fn a_password_for_a_default_user_who_takes_any_is_a_mistake_also_while_it_is_off() {
    let mut b = Bench::new();
    let c = b.connect();
    for rule in ["on", "off"] {
        b.call(c, &["ACL", "SETUSER", "default", rule]);
        assert!(b.run(c, "AUTH x").starts_with("-ERR AUTH <password> called without any password"), "{rule}");
    }
}

#[test]
fn a_newcomer_takes_the_place_of_one_who_has_not_logged_in() {
    let mut b = Bench::new();
    let user = b.connect();
    b.run(user, "CONFIG SET maxclients 40");
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    b.run(user, &format!("CONFIG SET requirepass {record}"));
    b.connect_from(2);
    let crowd: Vec<usize> = (0..38).map(|_| b.connect_from(3)).collect();
    b.run(crowd[0], "AUTH guess");
    let newcomer = b.connect_from(3);
    let mut delivered = Vec::new();
    b.engine.take_deliveries(&mut delivered);
    let dropped: Vec<usize> = delivered.iter().filter(|d| d.drop).map(|d| d.token as usize).collect();
    assert_eq!(dropped, crowd[1..4], "a sixteenth of the crowd: no user, no other machine, nobody who asks");
    assert_eq!(b.run(newcomer, "PING"), "-NOAUTH Authentication required.\r\n");
    assert!(b.run(crowd[1], "PING").is_empty(), "the oldest who asks for nothing");
}

#[test]
fn a_password_that_is_changed_while_it_is_checked_lets_nobody_in() {
    let mut b = Bench::new();
    let old = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let new = old.replace("c2FsdHNhbHQ", "c2FsdHNhbHU");
    let (operator, c) = (b.connect(), b.connect());
    let change = |b: &mut Bench, rules: &[&str]| {
        assert_eq!(b.call(operator, &[&["ACL", "SETUSER", "bob"][..], rules].concat()), "+OK\r\n");
    };
    change(&mut b, &["on", old, "+@all"]);
    for (rules, password) in [(&["off"][..], "one"), (&["on", "resetpass"], "two")] {
        assert_eq!(b.run(c, &format!("AUTH bob {password}")), "");
        b.asked(c);
        change(&mut b, rules);
        assert!(b.verified(c, true).starts_with("-WRONGPASS"), "{rules:?}");
        change(&mut b, &["on", "resetpass", old]);
    }
    // Another record may be of the same password: it is asked in its turn.
    assert_eq!(b.run(c, "AUTH bob three"), "");
    b.asked(c);
    change(&mut b, &["resetpass", &new]);
    assert_eq!(b.verified(c, true), "");
    assert_eq!(b.asked(c), [new.strip_prefix("argon2id:").unwrap_or_default()]);
    assert!(b.verified(c, false).starts_with("-WRONGPASS"));
    // What was found true of the old record says nothing about the new one.
    change(&mut b, &["resetpass", old]);
    assert_eq!(b.run(c, "AUTH bob four"), "");
    b.asked(c);
    assert_eq!(b.verified(c, true), "+OK\r\n");
    change(&mut b, &["resetpass", &new]);
    assert_eq!(b.run(c, "AUTH bob four"), "", "it must be asked again");
}

#[test]
fn a_monitor_is_not_shown_the_password_of_a_migration() {
    let mut b = Bench::new();
    let (monitor, c) = (b.connect(), b.connect());
    assert_eq!(b.run(monitor, "MONITOR"), "+OK\r\n");
    b.run(c, "SET k v");
    b.run(c, "MIGRATE h 1 k 0 5 AUTH2 me hush");
    let shown = b.delivered(monitor);
    assert!(shown.contains("MIGRATE") && shown.contains("(redacted)") && !shown.contains("hush"), "{shown}");
}

#[test]
fn the_log_of_denials_keeps_the_beginning_of_a_long_key() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, "ACL SETUSER few on nopass ~a +get");
    assert_eq!(b.run(c, "AUTH few x"), "+OK\r\n");
    assert!(b.call(c, &["GET", &"k".repeat(100_000)]).starts_with("-NOPERM"));
    let log = b.run(operator, "ACL LOG");
    assert!(log.contains(&"k".repeat(256)) && log.len() < 2000, "{} bytes", log.len());
}

#[test]
fn who_removes_itself_goes_on_as_nobody() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, "ACL SETUSER me on nopass ~a +@all");
    for request in ["AUTH me x", "MULTI", "ACL DELUSER me", "SET secret 1"] {
        b.run(c, request);
    }
    let replies = b.run(c, "EXEC");
    assert!(!replies.contains("+OK"), "{replies}");
    assert_eq!(b.run(operator, "EXISTS secret"), ":0\r\n");
}

#[test]
fn a_reader_that_claims_is_woken_by_time_alone() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    for line in ["XADD s 1-1 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"] {
        b.run(c, line);
    }
    b.run(d, "XREADGROUP GROUP g d BLOCK 5000 CLAIM 1000 STREAMS s >");
    b.pass_ms(999);
    b.tick();
    assert_eq!(b.delivered(d), "");
    // Delivered once more to who had it, it is not idle any more.
    b.run(c, "XREADGROUP GROUP g c STREAMS s 0");
    b.pass_ms(1);
    b.tick();
    assert_eq!(b.delivered(d), "");
    b.pass_ms(999);
    b.tick();
    let claimed =
        "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*4\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n:1000\r\n:2\r\n";
    assert_eq!(b.delivered(d), claimed);
    b.run(d, "XREADGROUP GROUP g d BLOCK 500 CLAIM 1000 STREAMS s >");
    b.pass_ms(500);
    b.tick();
    assert_eq!(b.delivered(d), "*-1\r\n", "its time is over first");
}

#[test]
fn a_pause_is_told() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    let told = |b: &mut Bench| {
        let text = b.run(d, "INFO clients");
        let lines = text.lines().filter_map(|line| line.strip_prefix("paused_"));
        lines.map(|line| line.split(':').nth(1).unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&mut b), "none none 0");
    b.run(c, "CLIENT PAUSE 5000 WRITE");
    b.pass_ms(1000);
    assert_eq!(told(&mut b), "client_pause write 4000");
    b.run(c, "CLIENT UNPAUSE");
    b.engine.hold_writes();
    assert_eq!(told(&mut b), "shutdown_in_progress write 0");
}

#[test]
fn clients_are_listed_and_closed_by_what_they_are() {
    let mut b = Bench::new();
    let (c, d, e) = (b.connect(), b.connect(), b.connect());
    b.run(c, "CLIENT SETNAME asker");
    b.run(d, "CLIENT SETNAME other");
    b.run(d, "SELECT 2");
    b.run(d, "CLIENT CAPA redirect unknown");
    b.run(d, "CLIENT SETINFO LIB-NAME lib");
    b.run(e, "SUBSCRIBE x");
    b.pass_ms(10_000);
    b.run(c, "PING");
    let ids = |b: &mut Bench, filter: &str| {
        let text = b.run(c, &format!("CLIENT LIST{filter}"));
        let ids = text.split("id=").skip(1).filter_map(|line| line.split(' ').next()).collect::<Vec<_>>();
        if text.starts_with('-') { text.trim_end().to_owned() } else { ids.join(" ") }
    };
    for (filter, shown) in [
        ("", "1 2 3"),
        (" ID 3 1 9", "3 1"),
        (" ID 0", ""),
        (" ID x", "-ERR Invalid client ID"),
        (" ID 1 TYPE pubsub", ""),
        (" TYPE normal ID 2 1", "2 1"),
        (" NOT-ID 1 2", "3"),
        (" TYPE primary", ""),
        (" NOT-TYPE normal", "3"),
        (" TYPE foo", "-ERR Unknown client type 'foo'"),
        (" NAME other", "2"),
        (" NAME other NOT-NAME other", ""),
        (" LIB-NAME lib NOT-LIB-VER 1", "2"),
        (" IDLE 5", "2 3"),
        (" IDLE 0", "-ERR idle should be greater than 0"),
        (" MAXAGE x", "-ERR maxage is not an integer or out of range"),
        (" MAXAGE 10 SKIPME yes", "2 3"),
        (" SKIPME maybe", "-ERR syntax error"),
        (" DB 2", "2"),
        (" NOT-DB 2", "1 3"),
        (" DB 16", "-ERR DB number should be between 0 and 15"),
        (" FLAGS P", "3"),
        (" NOT-FLAGS N", "3"),
        (" FLAGS Z", "-ERR Unknown flags found in the provided filter: Z"),
        (" CAPA r", "2"),
        (" NOT-CAPA x", "-ERR Unknown capa found in the NOT-CAPA filter: x"),
        (" USER nobody", "-ERR No such user 'nobody'"),
        (" USER default DB 0", "1 3"),
        (" IDLE", "-ERR syntax error"),
        (" NOT-IDLE 3", "-ERR syntax error"),
        (" FOO bar", "-ERR syntax error"),
    ] {
        assert_eq!(ids(&mut b, filter), shown, "CLIENT LIST{filter}");
    }
    assert_eq!(b.run(c, "CLIENT KILL ID x"), "-ERR client-id should be greater than 0\r\n");
    assert_eq!(b.run(c, "CLIENT KILL ID 0"), "-ERR client-id should be greater than 0\r\n");
    assert_eq!(b.run(c, "CLIENT KILL IDLE 100"), ":0\r\n");
    assert_eq!(b.run(c, "CLIENT KILL ID 1 2 3 IDLE 5 NOT-FLAGS P"), ":1\r\n");
    assert!(b.closed(d) && !b.closed(e));
}

#[test]
fn nothing_that_follows_meets_a_client_that_was_killed() {
    let mut b = Bench::new();
    let [c, hearer, waiter, reader, held, replica] = std::array::from_fn(|_| b.connect());
    b.run(hearer, "SUBSCRIBE news");
    b.run(hearer, "PSUBSCRIBE n*");
    b.run(waiter, "BLPOP jobs 0");
    b.run(reader, "HELLO 3");
    b.run(reader, "CLIENT TRACKING ON");
    b.run(reader, "GET read");
    b.run(replica, "REPLCONF LISTENING-PORT 7000");
    b.run(replica, "PSYNC ? -1");
    assert!(b.run(c, "INFO replication").contains("connected_slaves:1"));
    b.run(c, "CLIENT PAUSE 100000 WRITE");
    b.run(held, "SET held 1");
    b.run(c, &format!("CLIENT KILL ID {}", held + 1));
    b.run(c, "CLIENT UNPAUSE");
    for client in [hearer, waiter, reader, held, replica] {
        b.delivered(client);
    }
    b.run(c, "MULTI");
    for line in [
        "CLIENT KILL TYPE pubsub",
        "CLIENT KILL TYPE replica",
        "CLIENT KILL TYPE normal",
        "PUBLISH news x",
        "PUBSUB NUMSUB news",
        "RPUSH jobs x",
        "SET read x",
        "EXISTS held jobs",
    ] {
        b.run(c, line);
    }
    let replies = ":1\r\n:1\r\n:2\r\n:0\r\n*2\r\n$4\r\nnews\r\n:0\r\n:1\r\n+OK\r\n:1\r\n";
    assert_eq!(b.run(c, "EXEC"), format!("*8\r\n{replies}"));
    assert_eq!(b.run(c, "EXISTS held"), ":0\r\n");
    let info = b.run(c, "INFO");
    for told in ["blocked_clients:0", "tracking_clients:0", "pubsub_channels:0", "connected_slaves:0"] {
        assert!(info.contains(told), "{told}");
    }
    for client in [hearer, waiter, reader, held] {
        assert_eq!(b.delivered(client), "");
        assert!(b.closed(client));
    }
    // A client that goes is left out of those who read for their copies only once.
    let [gone, other] = std::array::from_fn(|_| b.connect());
    for client in [gone, other] {
        b.run(client, "HELLO 3");
        b.run(client, "CLIENT TRACKING ON");
        b.run(client, "GET read");
    }
    b.run(c, &format!("CLIENT KILL ID {}", gone + 1));
    let gone = b.id(gone);
    b.engine.disconnect(gone);
    b.run(c, "SET read y");
    assert!(b.delivered(other).contains("invalidate"));
}

#[test]
fn a_certificate_logs_in_a_user_who_is_there_and_on() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "ACL SETUSER worker on nopass +@all ~*");
    b.run(c, "ACL SETUSER sleeper off nopass +@all");
    for (names, who) in [
        (&["worker"][..], "worker"),
        (&["nobody", "sleeper", "worker"], "worker"),
        (&["sleeper"], "default"),
        (&["nobody"], "default"),
        (&[], "default"),
    ] {
        let d = b.connect();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        b.certified(d, &names);
        assert!(b.run(d, "ACL WHOAMI").contains(who), "{names:?}");
    }
    assert!(b.run(c, "INFO stats").contains("acl_access_denied_tls_cert:2\r\n"));
}

#[test]
fn a_stop_ends_a_script_that_has_not_written_and_cuts_none_off_in_the_middle_of_its_writes() {
    const WORKS: &str = "for i = 1, 1000000 do end ";
    const WRITES: &str = "redis.call('INCR', KEYS[1]) ";
    let mut b = Bench::new();
    let c = b.connect();
    // So that it is in the way whenever it is interrupted.
    (b.outside.step_ns, b.outside.verdict) = (10_000_000_000, tandem_engine::BusyVerdict::Shutdown);
    let killed = b.call(c, &["EVAL", &[WORKS, WRITES].concat(), "1", "n"]);
    assert!(killed.starts_with("-ERR") && killed.contains("shutting down"), "{killed}");
    let whole = b.call(c, &["EVAL", &[WRITES, WORKS, WRITES, "return 'whole'"].concat(), "1", "n"]);
    assert_eq!((whole.as_str(), b.run(c, "GET n").as_str()), ("$5\r\nwhole\r\n", "$1\r\n2\r\n"));
}
