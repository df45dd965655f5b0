//! FAILOVER, as far as it is the engine's: what the master until now does when the request to take over is answered, refused or lost.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use bench::Bench;
use tandem_engine::{Job, Migrated};

const IS_MASTER: &str = "PSYNC FAILOVER can't be sent to a master.";

/// A master that was told to hand over to its replica by force, and follows it; the number of that order and a client.
fn handing_over() -> (Bench, u64, usize) {
    let mut b = Bench::new();
    let (replica, c) = (b.connect(), b.connect());
    b.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2");
    b.run(replica, "PSYNC ? -1");
    b.engine.begin_replica_snapshot();
    let id = b.id(replica);
    b.engine.replica_snapshot_sent(id);
    b.run(replica, "REPLCONF ACK 0");
    b.run(c, "SET k v");
    b.log();
    assert_eq!(b.run(c, "FAILOVER TO heir 7000 TIMEOUT 10 FORCE"), "+OK\r\n");
    assert!(b.run(c, "INFO replication").contains("master_failover_state:waiting-for-sync"));
    b.pass_ms(20);
    b.engine.cron(b.outside.now, &mut b.outside);
    assert!(b.run(c, "ROLE").contains("slave"));
    let (number, _) = b.engine.master_order();
    assert!(b.engine.hands_over());
    (b, number, c)
}

#[test]
fn who_is_refused_is_the_master_again() {
    let (mut b, number, c) = handing_over();
    b.engine.hand_over_refused(number, IS_MASTER);
    assert!(!b.engine.hands_over());
    assert!(b.run(c, "ROLE").contains("master"));
    b.tick();
    assert_eq!(b.run(c, "SET k w"), "+OK\r\n");
}

/// Else there were two masters.
#[test]
fn who_has_taken_over_without_saying_so_is_followed() {
    let (mut b, number, c) = handing_over();
    b.engine.hand_over_unanswered(number);
    assert!(b.engine.hands_over(), "it asks again");
    b.engine.hand_over_refused(number, IS_MASTER);
    assert!(!b.engine.hands_over());
    assert!(b.run(c, "ROLE").contains("slave"));
}

#[test]
fn who_refuses_for_another_reason_has_not_taken_over() {
    let (mut b, number, c) = handing_over();
    b.engine.hand_over_unanswered(number);
    b.engine.hand_over_refused(number, "ERR PSYNC FAILOVER replid must match my replid.");
    assert!(b.run(c, "ROLE").contains("master"));
}

/// It may have taken over, and then there were two masters.
#[test]
fn who_says_nothing_of_having_taken_over_is_asked_again() {
    let (mut b, number, c) = handing_over();
    b.engine.hand_over_unanswered(number);
    for why in ["BUSY a script runs", "LOADING the dataset", "ERR max number of clients reached"] {
        b.engine.hand_over_refused(number, why);
        assert!(b.engine.hands_over(), "{why}");
        assert!(b.run(c, "ROLE").contains("slave"), "{why}");
    }
    b.engine.hand_over_refused(number, IS_MASTER);
    assert!(!b.engine.hands_over());
    assert!(b.run(c, "ROLE").contains("slave"));
}

#[test]
fn only_the_server_that_is_followed_now_takes_over() {
    let (mut b, number, _) = handing_over();
    b.engine.handed_over(number - 1);
    assert!(b.engine.hands_over());
    b.engine.handed_over(number);
    assert!(!b.engine.hands_over());
}

/// What MIGRATE removes once the other server has it would be missing in the stream.
#[test]
fn keys_that_have_moved_stay_while_nothing_may_be_written() {
    let begin = |b: &mut Bench, c: usize| {
        b.run(c, "SET k v");
        assert_eq!(b.run(c, "MIGRATE h 1 k 0 5"), "");
        let mut jobs = Vec::new();
        b.engine.take_jobs(&mut jobs);
        let ours = |job| {
            if let Job::Migrate { session, migration } = job { Some((session, migration)) } else { None }
        };
        jobs.into_iter().find_map(ours).unwrap()
    };
    type Change = fn(&mut Bench, usize);
    let changes: [(Change, &str); 3] = [
        (|b, c| assert_eq!(b.run(c, "REPLICAOF heir 7000"), "+OK\r\n"), "-IOERR"),
        (|b, _| b.engine.hold_writes(), "-IOERR"),
        (|_, _| {}, "+OK"),
    ];
    for (change, reply) in changes {
        let mut b = Bench::new();
        let (c, other) = (b.connect(), b.connect());
        let (session, migration) = begin(&mut b, c);
        change(&mut b, other);
        let outcome = Migrated { taken: vec![0], error: None };
        b.engine.migrated(session, &migration, outcome, &mut b.outside);
        b.tick();
        let told = b.delivered(c);
        assert!(told.starts_with(reply), "{told}");
        assert_eq!(b.run(other, "EXISTS k") == ":1\r\n", reply == "-IOERR");
    }
}
