//! A replica: what its clients may do, how its master's commands run, and how another data set takes the place of its own.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use bench::Bench;
use replication::replica::Point;
use replication::{Place, ReplicationId};
use tandem_engine::{LinkState, ReplayError};

const READ_ONLY: &str = "-READONLY You can't write against a read only replica.\r\n";

/// A replica whose link is up, the number of its order, and a client of it.
fn replica() -> (Bench, u64, usize) {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "REPLICAOF somewhere 7000"), "+OK\r\n");
    let (number, order) = b.engine.master_order();
    assert_eq!(order.map(|order| (order.host, order.port)), Some(("somewhere".to_owned(), 7000)));
    b.engine.link_is(number, LinkState::Connected);
    (b, number, c)
}

/// A place in the history of the master.
fn place(offset: u64, db: u64) -> Place {
    Place { point: Point { id: ReplicationId::drawn([5, 6, 7]), offset }, db }
}

/// Runs a command of the master.
fn masters(b: &mut Bench, line: &str) -> Result<(), ReplayError> {
    let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut raw = Vec::new();
    resp::push_command(&mut raw, &argv);
    let (mut spans, limits) = (Vec::new(), resp::Limits::trusted(1 << 20));
    resp::Parser::default().next(&raw, &mut spans, &limits).unwrap();
    let argv: Vec<&[u8]> = spans.iter().map(|span| span.of(&raw)).collect();
    b.engine.begin_batch(b.outside.now);
    b.engine.run_masters(&argv, &raw, &mut b.outside)
}

#[test]
fn only_the_master_writes_and_its_commands_are_logged_as_they_came() {
    let (mut b, _, c) = replica();
    assert!(b.run(c, "HELLO 2").contains("$4\r\nrole\r\n$7\r\nreplica\r\n"));
    b.engine.set_logging(true);
    for line in ["SET k v", "MULTI", "EVAL return(redis.call('SET','k','v')) 0"] {
        let reply = b.run(c, line);
        match line {
            "SET k v" => assert_eq!(reply, READ_ONLY),
            "MULTI" => {
                assert_eq!(b.run(c, "DEL k"), READ_ONLY);
                assert!(b.run(c, "EXEC").starts_with("-EXECABORT"));
            }
            _ => assert!(reply.starts_with("-READONLY"), "{reply}"),
        }
    }
    for line in ["SELECT 2", "SET k v", "MULTI", "INCR n", "SPOP none", "INCR n", "EXEC"] {
        assert_eq!(masters(&mut b, line), Ok(()), "{line}");
    }
    assert_eq!(b.log(), "SELECT 2|SET k v|MULTI|INCR n|INCR n|EXEC");
    b.run(c, "SELECT 2");
    assert_eq!(b.run(c, "GET n"), "$1\r\n2\r\n");
    assert_eq!(b.run(c, "REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
}

/// Redis 7.0 takes it from clients.
#[test]
fn a_master_may_set_the_last_id_of_a_stream_back_behind_what_was_deleted() {
    let (mut b, _, c) = replica();
    for line in ["XADD s 5-0 f v", "XDEL s 5-0", "XSETID s 3-0"] {
        masters(&mut b, line).unwrap();
    }
    assert!(b.run(c, "XINFO STREAM s").contains("last-generated-id\r\n$3\r\n3-0"));
    b.run(c, "REPLICAOF NO ONE");
    assert!(b.run(c, "XSETID s 2-0").starts_with("-ERR The ID specified in XSETID is smaller than current"));
}

/// As Redis tells of `XADD s MAXLEN ~ 2 LIMIT 1 …`.
#[test]
fn an_exact_trim_of_a_master_may_say_limit() {
    let (mut b, _, c) = replica();
    for n in 1..=3 {
        masters(&mut b, &format!("XADD s MAXLEN = 2 LIMIT 1 {n}-1 f v")).unwrap();
    }
    masters(&mut b, "XTRIM s MAXLEN = 1 LIMIT 1").unwrap();
    assert_eq!(b.run(c, "XLEN s"), ":1\r\n");
    assert!(masters(&mut b, "XTRIM s MAXLEN = 1 LIMIT -1").is_err());
    b.run(c, "REPLICAOF NO ONE");
    assert!(b.run(c, "XTRIM s MAXLEN = 1 LIMIT 1").starts_with("-ERR syntax error, LIMIT cannot be used"));
}

#[test]
fn a_master_who_asks_to_be_a_replica_hears_that_each_follows_the_other() {
    let mut b = Bench::new();
    let (c, asker) = (b.connect(), b.connect());
    b.run(c, "REPLICAOF 10.0.0.7 7000");
    b.run(asker, "REPLCONF listening-port 7000 ip-address 10.0.0.8");
    let away = "-NOMASTERLINK Can't SYNC while not connected with my master";
    assert_eq!(b.run(asker, "PSYNC ? -1"), format!("{away}\r\n"));
    b.run(asker, "REPLCONF ip-address 10.0.0.7");
    assert_eq!(
        b.run(asker, "PSYNC ? -1"),
        format!("{away}, who asks for it: {}\r\n", replication::EACH_OTHER)
    );
}

#[test]
fn a_command_that_does_not_fit_is_named() {
    let (mut b, ..) = replica();
    masters(&mut b, "SET s x").unwrap();
    assert!(matches!(masters(&mut b, "LPUSH s y"), Err(ReplayError::Failed { .. })));
    assert_eq!(masters(&mut b, "VADD s y"), Err(ReplayError::Unknown("VADD".to_owned())));
}

#[test]
fn what_is_over_is_hidden_from_clients_and_there_for_the_master() {
    let (mut b, _, c) = replica();
    masters(&mut b, "SET k v PX 100").unwrap();
    masters(&mut b, "RPUSH l a").unwrap();
    masters(&mut b, "PEXPIRE l 100").unwrap();
    b.pass_ms(200);
    b.tick();
    assert_eq!((b.run(c, "GET k"), b.run(c, "DBSIZE")), ("$-1\r\n".to_owned(), ":2\r\n".to_owned()));
    masters(&mut b, "APPEND k w").unwrap();
    masters(&mut b, "PERSIST k").unwrap();
    assert_eq!(b.run(c, "GET k"), "$2\r\nvw\r\n");
    // A pause and its end change nothing about that.
    b.run(c, "CLIENT PAUSE 10");
    b.pass_ms(20);
    b.tick();
    assert_eq!(b.run(c, "DBSIZE"), ":2\r\n");
    b.run(c, "REPLICAOF NO ONE");
    b.tick();
    assert_eq!(b.run(c, "DBSIZE"), ":1\r\n");
}

#[test]
fn a_transaction_that_is_cut_off_leaves_nothing() {
    let (mut b, number, c) = replica();
    for line in ["MULTI", "INCR n"] {
        masters(&mut b, line).unwrap();
    }
    b.engine.link_is(number, LinkState::Connect);
    b.engine.link_is(number, LinkState::Connected);
    for line in ["MULTI", "INCR n", "EXEC"] {
        masters(&mut b, line).unwrap();
    }
    assert_eq!(b.run(c, "GET n"), "$1\r\n1\r\n");
}

#[test]
fn a_data_set_that_came_takes_the_place_of_the_old_one_at_once() {
    let (mut b, number, c) = replica();
    for line in ["SET old 1", "SELECT 3", "SET other 1"] {
        masters(&mut b, line).unwrap();
    }
    b.run(c, "WATCH old");
    let mut incoming = Box::new(b.engine.incoming());
    let entry = types::Entry::string(b"new", b"v", None);
    incoming.keyspace.load(1, entry).unwrap();
    incoming
        .take_in_library(b"#!lua name=l\nredis.register_function{function_name='f', callback=function() return 7 end, flags={'no-writes'}}", &b.outside)
        .unwrap();
    assert_eq!(b.run(c, "EXISTS old"), ":1\r\n", "it serves until then");
    let incoming = b.engine.adopt(number + 1, incoming, place(5, 0)).unwrap_err();
    assert!(b.engine.keyspace_mut().begin_snapshot(false));
    let incoming = b.engine.adopt(number, incoming, place(5, 0)).unwrap_err();
    assert!(b.engine.keyspace_mut().step_snapshot(1000));
    b.engine.keyspace_mut().end_snapshot();
    b.engine.adopt(number, incoming, place(5, 0)).unwrap();
    assert_eq!(b.engine.history(), Some(place(5, 0).point));
    assert_eq!(b.run(c, "EXISTS old other"), ":0\r\n");
    assert_eq!(b.run(c, "FCALL f 0"), ":7\r\n");
    // The stream goes on in database 0.
    masters(&mut b, "SET zero 1").unwrap();
    assert_eq!(b.run(c, "GET zero"), "$1\r\n1\r\n");
    b.run(c, "SELECT 1");
    assert_eq!(b.run(c, "GET new"), "$1\r\nv\r\n");
    b.run(c, "MULTI");
    assert_eq!(b.run(c, "EXEC"), "*-1\r\n", "what was watched is another data set now");
}

#[test]
fn an_order_that_is_over_changes_nothing() {
    let (mut b, number, c) = replica();
    b.engine.replica_is_at(number, place(9, 0).point, &[]);
    assert_eq!(b.run(c, "REPLICAOF elsewhere 7001"), "+OK\r\n");
    assert_eq!(b.engine.history(), Some(place(9, 0).point), "the other master may have the same history");
    b.engine.link_is(number, LinkState::Connected);
    b.engine.replica_is_at(number, place(99, 0).point, &[]);
    assert_eq!(b.engine.history(), Some(place(9, 0).point));
    assert!(b.run(c, "ROLE").contains("connect\r\n:-1"), "how far it is counts only while the link is up");
    b.run(c, "REPLICAOF NO ONE");
    assert!(b.run(c, "ROLE").starts_with("*3\r\n$6\r\nmaster"));
    b.run(c, "REPLICAOF elsewhere 7001");
    assert_eq!(b.engine.history(), Some(place(9, 0).point), "nothing was written meanwhile");
    b.run(c, "REPLICAOF NO ONE");
    b.run(c, "SET k v");
    b.run(c, "REPLICAOF elsewhere 7001");
    let place = b.engine.history().unwrap();
    assert!(place.id != self::place(9, 0).point.id && place.offset > 9, "{place:?}");
}

#[test]
fn those_who_wait_are_told_and_let_go() {
    let mut b = Bench::new();
    let (c, waiting) = (b.connect(), b.connect());
    b.run(waiting, "BLPOP l 0");
    b.run(c, "REPLICAOF somewhere 7000");
    assert!(b.delivered(waiting).starts_with("-UNBLOCKED force unblock from blocking operation"));
    assert!(b.closed(waiting));
}

#[test]
fn the_log_tells_the_place_behind_what_leads_there() {
    let (mut b, number, c) = replica();
    b.engine.set_logging(true);
    b.engine.replica_is_at(number, place(100, 0).point, &[]);
    masters(&mut b, "SELECT 2").unwrap();
    masters(&mut b, "SET k v").unwrap();
    b.engine.replica_is_at(number, place(155, 2).point, &[b'.'; 55]);
    let mut log = Vec::new();
    b.engine.take_log(&mut log);
    let mut line = Vec::new();
    place(155, 2).push(&mut line);
    assert!(log.ends_with(&line), "{}", log.escape_ascii());
    // A place that moves without records is told in time, and once.
    b.engine.replica_is_at(number, place(160, 2).point, b"12345");
    log.clear();
    b.engine.note_place();
    b.engine.take_log(&mut log);
    line.clear();
    place(160, 2).push(&mut line);
    assert_eq!(log, line);
    b.engine.note_place();
    assert!(!b.engine.has_log());
    // Under another name nobody else knows the place.
    b.run(c, "REPLICAOF NO ONE");
    assert_eq!(b.engine.place(), Some(place(160, 2)));
}

#[test]
fn a_server_that_starts_again_goes_on_at_its_place() {
    let mut b = Bench::new();
    let c = b.connect();
    assert!(!b.engine.restore_place(&place(70, 99)), "there is no such database");
    assert!(b.engine.restore_place(&place(70, 3)));
    b.run(c, "REPLICAOF somewhere 7000");
    assert_eq!(b.engine.history(), Some(place(70, 3).point));
    let (number, _) = b.engine.master_order();
    b.engine.link_is(number, LinkState::Connected);
    masters(&mut b, "SET k v").unwrap();
    b.run(c, "SELECT 3");
    assert_eq!(b.run(c, "GET k"), "$1\r\nv\r\n", "the stream goes on in its database");
}

/// Else it would ask to go on behind what nobody else has.
#[test]
fn what_was_written_in_front_of_replicaof_is_of_the_history() {
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.restore_place(&place(70, 0));
    b.run(c, "SET k v");
    b.run(c, "REPLICAOF somewhere 7000");
    assert!(b.engine.history().unwrap().offset > 70);
    b.run(c, "REPLICAOF NO ONE");
    for line in ["MULTI", "SET k w", "REPLICAOF somewhere 7000", "EXEC"] {
        b.run(c, line);
    }
    assert_eq!(b.engine.history(), None);
}

#[test]
fn what_clients_write_on_a_replica_goes_in_its_time_and_what_the_master_writes_does_not() {
    let (mut b, _, c) = replica();
    b.engine.set_logging(true);
    masters(&mut b, "SET theirs v PX 100").unwrap();
    b.run(c, "CONFIG SET replica-read-only no");
    for line in [
        "SET own v PX 100",
        "SET longer v PX 100",
        "SET kept v PX 100",
        "PEXPIRE longer 1000",
        "PERSIST kept",
    ] {
        b.run(c, line);
    }
    b.log();
    b.pass_ms(200);
    b.tick();
    assert_eq!(b.run(c, "DBSIZE"), ":4\r\n", "it is looked at now and then");
    b.cron();
    assert_eq!((b.run(c, "DBSIZE"), b.log()), (":3\r\n".to_owned(), "DEL own".to_owned()));
    b.pass_ms(1000);
    b.cron();
    assert_eq!(b.run(c, "DBSIZE"), ":2\r\n");
    assert_eq!(b.run(c, "GET kept"), "$1\r\nv\r\n");
    // As a master it lets go all of them.
    b.run(c, "REPLICAOF NO ONE");
    b.tick();
    assert_eq!(b.run(c, "DBSIZE"), ":1\r\n");
}

#[test]
fn the_log_tells_which_of_its_records_are_the_stream() {
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.set_logging(true);
    b.run(c, "SET before 1");
    assert_eq!(b.log(), "SELECT 0|SET before 1", "nobody is fed");
    b.connect_replica();
    let from = |b: &Bench, is_loose: u8| {
        let line = format!("#REPL-FROM:{}:{is_loose}|", b.engine.place().unwrap().point.offset);
        move |log: String| log.starts_with(&line) && log.contains("#REPL:")
    };
    let begins = from(&b, 0);
    b.run(c, "SET a 1");
    assert!(begins(b.log()));
    b.run(c, "SET a 2");
    assert!(b.log().starts_with("SET a 2 #REPL:"), "as before");
    let begins = from(&b, 1);
    b.run(c, "PUBLISH channel message");
    b.run(c, "SET a 3");
    assert!(begins(b.log()), "what is in front of it is not in the log");
    let begins = from(&b, 0);
    b.engine.log_switched();
    b.run(c, "SET a 4");
    assert!(begins(b.log()), "another file");
    b.run(c, "REPLICAOF somewhere 7000");
    masters(&mut b, "SET a 5").unwrap();
    assert!(b.log().starts_with("#REPL-END|"));
    masters(&mut b, "SET a 6").unwrap();
    assert!(!b.log().contains("#REPL-"));
    // A start that finds records and no place behind them.
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.set_logging(true);
    b.engine.log_goes_on();
    b.run(c, "SET a 7");
    assert!(b.log().starts_with("#REPL-END|"), "or a replica's reader takes all that follows for one batch");
    b.run(c, "SET a 8");
    assert!(!b.log().contains("#REPL-"));
}
