//! What the former master has acknowledged and the promoted lacks, as far as that is the engine's.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use bench::Bench;
use tandem_engine::LinkState;

const HISTORY: &str = "0123456789abcdef0123456789abcdef01234567";

fn request(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulks.collect::<String>())
}

/// A server that was promoted behind byte 1000, in database 3, with a key there whose time is over soon; and a client there.
fn promoted() -> (Bench, usize) {
    promoted_with("CONFIG SET min-replicas-acked 1")
}

/// The same with another rule.
fn promoted_with(rule: &str) -> (Bench, usize) {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let c = b.connect();
    b.run(c, rule);
    b.run(c, "REPLICAOF 127.0.0.1 1");
    let (order, _) = b.engine.master_order();
    b.engine.link_is(order, LinkState::Connected);
    let id = replication::ReplicationId::parse(HISTORY.as_bytes()).unwrap();
    let point = |offset| replication::replica::Point { id, offset };
    b.engine.replica_is_at(order, point(500), &[]);
    for words in [&["SELECT", "3"][..], &["SET", "soon", "there", "PX", "10"]] {
        let argv: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        b.engine.run_masters(&argv, request(&words.join(" ")).as_bytes(), &mut b.outside).unwrap();
    }
    b.engine.replica_is_at(order, point(1000), &[b'x'; 500]);
    b.log();
    b.run(c, "REPLICAOF NO ONE");
    b.run(c, "SELECT 3");
    (b, c)
}

fn comes(b: &mut Bench, position: u64) -> (usize, String) {
    let replica = b.connect();
    b.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2 capa tail");
    let said = b.run(replica, &format!("PSYNC {HISTORY} {}", position + 1));
    (replica, said)
}

/// Some time passes, in which background work is done; the log of that.
fn passes_ms(b: &mut Bench, ms: i64) -> String {
    b.pass_ms(ms);
    b.tick();
    b.cron();
    let log = b.log();
    b.tick();
    log
}

fn give(b: &mut Bench, replica: usize, position: u64, bytes: &str) -> String {
    b.call(replica, &["REPLCONF", "tail", HISTORY, &position.to_string(), bytes])
}

#[test]
fn it_is_executed_before_anything_else_and_keys_live_until_then() {
    let (mut b, c) = promoted();
    passes_ms(&mut b, 20);
    let (first, rest) = (request("SET late v"), [request("PERSIST soon"), request("SELECT 4")].concat());
    let rest = rest + &request("SET other v");
    let middle = 1000 + first.len() as u64;
    let end = middle + rest.len() as u64;
    let (replica, said) = comes(&mut b, end);
    assert_eq!(said, "+TAIL 1000\r\n");
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "));
    // What changes no data must not stand before it either.
    let other = b.connect();
    assert_eq!(b.run(c, "PUBLISH channel message") + &b.run(other, "WAIT 1 0"), ":0\r\n");
    passes_ms(&mut b, 1000);
    assert_eq!(give(&mut b, replica, 1000, &first), "+OK\r\n");
    let mut log = passes_ms(&mut b, 1000);
    assert_eq!(b.run(replica, &format!("PSYNC {HISTORY} {}", end + 1)), format!("+TAIL {middle}\r\n"));
    let (front, back) = rest.split_at(10);
    assert_eq!(b.call(replica, &["REPLCONF", "tail", HISTORY, &middle.to_string(), front, back]), "+OK\r\n");
    let said = b.run(replica, &format!("PSYNC {HISTORY} {}", end + 1)) + &b.delivered(replica);
    assert!(said.starts_with("+CONTINUE "), "{said}");
    assert_eq!(b.run(c, "GET soon"), "$5\r\nthere\r\n");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    log += &passes_ms(&mut b, 1000);
    let commands: Vec<&str> =
        log.split('|').flat_map(|part| part.split(" #").next()).map(str::trim).collect();
    let commands = commands.join("|");
    assert!(commands.ends_with("SET late v|PERSIST soon|SELECT 4|SET other v|SELECT 3|SET k v"), "{log}");
    let mine = b.delivered(replica);
    assert!(mine.contains(&[request("SELECT 3"), request("SET k v")].concat()), "{mine}");
}

#[test]
fn it_is_refused_where_something_was_written_and_of_who_may_not_do_everything() {
    let (mut b, c) = promoted();
    let (replica, _) = comes(&mut b, 1100);
    assert!(give(&mut b, replica, 990, "x").starts_with("-ERR "), "from another place");
    b.run(c, "ACL SETUSER repl on nopass +psync +replconf +ping");
    b.run(replica, "AUTH repl x");
    assert!(give(&mut b, replica, 1000, "x").starts_with("-ERR "));
    b.run(c, "CONFIG SET min-replicas-acked 0");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    b.log();
    let (replica, said) = comes(&mut b, 1100);
    assert_eq!(said, "+REWIND 1000\r\n", "it knows whether it does without");
    assert!(give(&mut b, replica, 1000, "x").starts_with("-ERR "));
}

#[test]
fn what_is_no_request_is_refused_and_what_stands_before_it_is_executed() {
    let (mut b, c) = promoted();
    let tail = [request("SET late v"), request("NOSUCH")].concat();
    let (replica, _) = comes(&mut b, 1000 + tail.len() as u64);
    let said = give(&mut b, replica, 1000, &tail);
    assert!(said.starts_with("-ERR what was offered cannot be executed"), "{said}");
    assert_eq!(b.run(c, "GET late"), "$1\r\nv\r\n");
}

#[test]
fn who_waits_for_no_replicas_is_refused_for_a_moment_only() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 1 appendonly yes");
    assert_eq!(b.run(c, "CLIENT DURABILITY everysec"), "+OK\r\n");
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "), "replicas may come");
    assert!(b.run(c, "EVAL redis.call('INCR','n') 0").contains("NOREPLICAS "));
    passes_ms(&mut b, 5001);
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    b.log();
    assert_eq!(comes(&mut b, 1100).1, "+REWIND 1000\r\n", "it is too late");
}

#[test]
fn a_replica_knows_whether_its_data_was_the_same_some_bytes_ago() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "REPLICAOF 127.0.0.1 1");
    let (order, _) = b.engine.master_order();
    b.engine.link_is(order, LinkState::Connected);
    let id = replication::ReplicationId::parse(HISTORY.as_bytes()).unwrap();
    let point = |offset| replication::replica::Point { id, offset };
    b.engine.replica_is_at(order, point(100), &[]);
    let (write, aside) = (request("SET k v"), request("PUBLISH channel message"));
    let (written, told) = (100 + write.len() as u64, 100 + (write.len() + aside.len()) as u64);
    b.engine.replica_is_at(order, point(written), write.as_bytes());
    b.engine.replica_is_at(order, point(told), aside.as_bytes());
    let was_same = |offset| b.engine.was_the_same_at(order, point(offset));
    assert_eq!([99, 100, written, told, told + 1].map(was_same), [false, false, true, true, false]);
    assert!(!b.engine.was_the_same_at(order + 1, point(written)));
}

#[test]
fn a_former_master_that_has_started_again_has_another_name_and_the_same_history() {
    let (mut b, c) = promoted();
    let renamed = "fedcba9876543210fedcba9876543210fedcba98";
    let tail = [request("SELECT 3"), request("SET late v")].concat();
    let end = 1000 + tail.len() as u64;
    let replica = b.connect();
    b.run(replica, "REPLCONF listening-port 7000 capa eof capa psync2 capa tail");
    b.run(replica, &format!("REPLCONF version 9.1.0 former {HISTORY}:1010"));
    let asks = format!("PSYNC {renamed} {}", end + 1);
    assert_eq!(b.run(replica, &asks), "+TAIL 1000\r\n");
    assert_eq!(b.call(replica, &["REPLCONF", "tail", renamed, "1000", &tail]), "+OK\r\n");
    let said = b.run(replica, &asks);
    assert!((said + &b.delivered(replica)).starts_with("+CONTINUE "));
    assert_eq!(b.run(c, "GET late"), "$1\r\nv\r\n");
    let (other, said) = comes(&mut b, 1010);
    assert!((said + &b.delivered(other)).starts_with("+CONTINUE "), "it has not heard of the other name");
}

#[test]
fn who_has_no_more_than_the_promoted_goes_on_although_its_history_was_renamed() {
    let (mut b, _) = promoted();
    let renamed = "fedcba9876543210fedcba9876543210fedcba98";
    let replica = b.connect();
    b.run(replica, "REPLCONF listening-port 7000 capa eof capa psync2 capa tail");
    b.run(replica, &format!("REPLCONF version 9.1.0 former {HISTORY}:1010"));
    assert_eq!(b.run(replica, &format!("PSYNC {renamed} 1012")), "+TAIL 1000\r\n");
    let piece = ["REPLCONF", "tail", renamed, "1000", "*2\r\n$3"];
    assert_eq!(b.call(replica, &piece), "+OK\r\n", "there is no whole request in it");
    let said = b.run(replica, &format!("PSYNC {renamed} 1001")) + &b.delivered(replica);
    assert!(said.starts_with("+CONTINUE "), "{said}");
    let (other, said) = comes(&mut b, 1000);
    let said = said + &b.delivered(other);
    assert!(said.starts_with("+CONTINUE "), "nothing has another name: {said}");
}

#[test]
fn a_replica_is_not_kept_in_silence_for_the_sake_of_others_until_it_takes_its_master_for_lost() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 2 repl-timeout 60");
    let (replica, said) = comes(&mut b, 1000);
    assert!((said + &b.delivered(replica)).starts_with("+CONTINUE "));
    passes_ms(&mut b, 15_000);
    passes_ms(&mut b, 14_000);
    b.run(c, "PUBLISH channel first");
    assert_eq!(
        (passes_ms(&mut b, 0), b.delivered(replica)),
        (String::new(), String::new()),
        "others may come"
    );
    passes_ms(&mut b, 16_000);
    passes_ms(&mut b, 100);
    assert!(b.delivered(replica).contains("PING"));
    b.run(c, "PUBLISH channel second");
    passes_ms(&mut b, 100);
    assert!(b.delivered(replica).contains("second"));
    let late = comes(&mut b, 1100).1;
    assert_eq!(late, "+REWIND 1000\r\n", "it is too late");
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "), "one is too few, still");
}

#[test]
fn a_replica_that_went_and_has_come_again_has_heard_nothing_since_then_only() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 2 repl-timeout 60");
    let (replica, _) = comes(&mut b, 1000);
    passes_ms(&mut b, 100);
    passes_ms(&mut b, 5_000);
    b.leave(replica);
    passes_ms(&mut b, 26_000);
    let (replica, _) = comes(&mut b, 1000);
    b.delivered(replica);
    passes_ms(&mut b, 100);
    assert_eq!(comes(&mut b, 1100).1, "+TAIL 1000\r\n", "others are awaited");
    passes_ms(&mut b, 30_000);
    passes_ms(&mut b, 100);
    assert_eq!(comes(&mut b, 1100).1, "+REWIND 1000\r\n", "it is too late");
}

/// One time after the other passes, each with its background work.
fn pass_s(b: &mut Bench, seconds: u32) {
    for _ in 0..seconds {
        passes_ms(b, 1_000);
    }
}

/// What a replica is told that has more, and goes at once.
fn would_be_told(b: &mut Bench) -> String {
    let (replica, said) = comes(b, 1100);
    b.leave(replica);
    said
}

/// The text that the log of the server was given since the last call.
fn told(b: &mut Bench) -> String {
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let texts = jobs.into_iter().filter_map(|job| match job {
        tandem_engine::Job::Log { text, .. } => Some(text),
        _ => None,
    });
    texts.collect::<Vec<String>>().join("\n")
}

#[test]
fn a_replica_whose_times_of_silence_are_short_is_not_kept_in_it_for_ever() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 2 repl-timeout 24");
    for _ in 0..4 {
        let (replica, _) = comes(&mut b, 1000);
        pass_s(&mut b, 5);
        b.leave(replica);
        passes_ms(&mut b, 40_000);
        assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n", "while none is here others are awaited");
    }
    let (replica, _) = comes(&mut b, 1000);
    pass_s(&mut b, 5);
    assert_eq!(would_be_told(&mut b), "+REWIND 1000\r\n");
    assert!(b.delivered(replica).contains("PING"));
}

#[test]
fn each_replica_has_heard_nothing_since_its_own_coming() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 3 repl-timeout 20");
    let (first, _) = comes(&mut b, 1000);
    pass_s(&mut b, 9);
    // It comes again before anybody has looked, and another one before it goes.
    b.leave(first);
    let (first, _) = comes(&mut b, 1000);
    pass_s(&mut b, 2);
    assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n", "it is here for two seconds");
    comes(&mut b, 1000);
    b.leave(first);
    pass_s(&mut b, 2);
    assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n", "the other one is, too");
}

#[test]
fn a_history_does_not_end_for_want_of_replicas_while_they_are_awaited() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET repl-backlog-ttl 1");
    pass_s(&mut b, 5);
    assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n");
    b.run(c, "CONFIG SET min-replicas-acked 0");
    pass_s(&mut b, 5);
    assert_eq!(would_be_told(&mut b), "", "nobody is awaited, and it has ended");
}

#[test]
fn a_server_that_had_nothing_ends_no_waiting_and_gets_what_is_brought() {
    let (mut b, c) = promoted();
    let tail = [request("SELECT 3"), request("SET late v")].concat();
    let end = 1000 + tail.len() as u64;
    let empty = b.connect_replica();
    pass_s(&mut b, 6);
    b.run(empty, "REPLCONF ACK 1000");
    let refusal = b.run(c, "SET k v");
    assert!(refusal.contains("of 1 replicas that are here too few were there"), "{refusal}");
    assert!(b.engine.replicas_complaint().unwrap().contains("too few were there"));
    let (replica, said) = comes(&mut b, end);
    assert_eq!(said, "+TAIL 1000\r\n");
    b.delivered(empty);
    assert_eq!(give(&mut b, replica, 1000, &tail), "+OK\r\n");
    b.run(replica, &format!("PSYNC {HISTORY} {}", end + 1));
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    passes_ms(&mut b, 0);
    let got = b.delivered(empty);
    assert!(got.contains(&tail) && got.contains(&request("SET k v")), "{got}");
}

#[test]
fn nor_does_it_when_it_comes_again_under_the_name_that_it_was_told() {
    let (mut b, c) = promoted();
    let empty = b.connect_replica();
    let info = b.run(c, "INFO replication");
    let own = info.split("master_replid:").nth(1).unwrap()[..40].to_owned();
    b.leave(empty);
    let comes_again = |b: &mut Bench, more: &str| {
        let replica = b.connect();
        b.run(replica, &format!("REPLCONF listening-port 7000 capa eof capa psync2 capa tail{more}"));
        let said = b.run(replica, &format!("PSYNC {own} 1001")) + &b.delivered(replica);
        assert!(said.starts_with("+CONTINUE "), "{said}");
        passes_ms(b, 1000);
    };
    comes_again(&mut b, "");
    assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n");
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "));
    comes_again(&mut b, &format!(" former {HISTORY}:1000"));
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n", "that one was there before");
}

#[test]
fn it_is_not_kept_in_silence_for_longer_than_another_one_and_what_comes_too_late_is_told() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET repl-timeout 20");
    let empty = b.connect_replica();
    pass_s(&mut b, 9);
    assert_eq!(would_be_told(&mut b), "+TAIL 1000\r\n");
    assert!(!told(&mut b).contains("awaited"));
    pass_s(&mut b, 2);
    assert!(told(&mut b).contains("is not awaited any more"));
    assert!(b.delivered(empty).contains("PING"));
    b.run(empty, "REPLCONF ACK 1000");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n", "it acknowledges as any other");
    assert_eq!(would_be_told(&mut b), "+REWIND 1000\r\n");
    let text = told(&mut b);
    assert!(text.contains("has 100 bytes of the stream of the former master that are not here"), "{text}");
    assert!(text.contains("this server does not await them"), "{text}");
}

#[test]
fn a_user_whose_rule_waits_for_replicas_is_as_good_as_the_directive() {
    let (mut b, c) = promoted_with("ACL SETUSER jobs on nopass ~* +@all durability=replicated");
    let tail = [request("SELECT 3"), request("SET late v")].concat();
    let end = 1000 + tail.len() as u64;
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "), "others wait for a moment");
    let complaint = b.engine.replicas_complaint().unwrap();
    assert_eq!(
        complaint,
        "writes of some users are refused: durability=replicated wants 1 to acknowledge it, and 0 replicas keep up"
    );
    passes_ms(&mut b, 1000);
    let (replica, said) = comes(&mut b, end);
    assert_eq!(said, "+TAIL 1000\r\n");
    assert_eq!(give(&mut b, replica, 1000, &tail), "+OK\r\n");
    let said = b.run(replica, &format!("PSYNC {HISTORY} {}", end + 1)) + &b.delivered(replica);
    assert!(said.starts_with("+CONTINUE "), "{said}");
    assert_eq!(b.run(c, "GET late"), "$1\r\nv\r\n");
    assert_eq!((b.engine.replicas_complaint(), b.run(c, "SET k v")), (None, "+OK\r\n".to_owned()));
}

#[test]
fn the_rule_of_a_user_counts_for_as_long_as_it_is_there() {
    let (mut b, c) = promoted_with("ACL SETUSER jobs on nopass ~* +@all durability=replicated");
    b.run(c, "ACL SETUSER jobs durability=default");
    assert_eq!((b.engine.replicas_complaint(), b.run(c, "SET k v")), (None, "+OK\r\n".to_owned()));
}

#[test]
fn where_no_replicas_are_waited_for_nothing_is_taken_over() {
    let (mut b, c) = promoted();
    b.run(c, "CONFIG SET min-replicas-acked 0");
    let tail = request("FLUSHALL");
    let (replica, said) = comes(&mut b, 1000 + tail.len() as u64);
    assert_eq!(said, "+REWIND 1000\r\n", "it was promoted for the sake of its data");
    assert!(give(&mut b, replica, 1000, &tail).starts_with("-ERR "));
    assert_eq!(b.run(c, "EXISTS soon"), ":1\r\n");
}

/// A server that was started with data that is at byte 1000, which may be older data that somebody has put there.
fn started() -> (Bench, usize) {
    let mut b = Bench::new();
    b.engine.set_logging(true);
    let c = b.connect();
    b.run(c, "CONFIG SET min-replicas-acked 1");
    (b, c)
}

fn restore(b: &mut Bench) {
    let id = replication::ReplicationId::parse(HISTORY.as_bytes()).unwrap();
    let point = replication::replica::Point { id, offset: 1000 };
    assert!(b.engine.restore_place(&replication::Place { point, db: 0 }));
}

/// Whether a snapshot for replicas has been wanted since the last call.
fn wants_snapshot(b: &mut Bench) -> bool {
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    jobs.iter().any(|job| matches!(job, tandem_engine::Job::FeedReplicas))
}

/// Its replicas have more than it, and get a whole copy.
fn begins_anew(b: &mut Bench) {
    let tail = request("FLUSHALL");
    let position = 1000 + tail.len() as u64;
    let (replica, said) = comes(b, position);
    assert_eq!(said, "+REWIND 1000\r\n");
    assert!(give(b, replica, 1000, &tail).starts_with("-ERR "));
    let other = b.connect();
    b.run(other, "REPLCONF capa eof capa psync2");
    wants_snapshot(b);
    let said = b.run(other, &format!("PSYNC {HISTORY} {}", position + 1)) + &b.delivered(other);
    assert_eq!(said, "", "it does not go on");
    assert!(wants_snapshot(b));
}

#[test]
fn what_a_master_has_started_with_is_not_added_to_by_its_replicas() {
    let (mut b, c) = started();
    restore(&mut b);
    assert!(!b.run(c, "SET k v").contains("a master since a moment ago"));
    begins_anew(&mut b);
}

#[test]
fn nor_is_that_of_a_replica_that_nobody_has_led_since_it_was_started() {
    let (mut b, c) = started();
    b.run(c, "REPLICAOF 127.0.0.1 1");
    restore(&mut b);
    b.run(c, "REPLICAOF NO ONE");
    begins_anew(&mut b);
}
