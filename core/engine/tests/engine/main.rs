//! The engine as a state machine: requests in, replies, deliveries and log bytes out, under a virtual clock. Here is what concerns
//! requests and transactions as such; the modules have a subject each.

#[path = "../bench/mod.rs"]
mod bench;
mod clients;
mod events;
mod leaving;
mod log;
mod memory;
mod passwords;
mod waiting;

use bench::Bench;

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
fn what_would_have_to_wait_leaves_nothing_to_be_done_in_a_transaction() {
    let mut config = config::Config::default();
    for (name, value) in [("aclfile", "users.acl"), ("enable-debug-command", "yes")] {
        config.assign(name, value.as_bytes(), config::Origin::Set).unwrap();
    }
    let mut b = Bench::with(config);
    let c = b.connect();
    let refused = "*1\r\n-ERR this command cannot run inside a transaction\r\n";
    for line in ["ACL LOAD", "DEBUG LOADAOF", "DEBUG RELOAD"] {
        b.run(c, "MULTI");
        assert_eq!(b.run(c, line), "+QUEUED\r\n", "{line}");
        assert_eq!(b.run(c, "EXEC"), refused, "{line}");
        let mut jobs = Vec::new();
        b.engine.take_jobs(&mut jobs);
        assert!(jobs.is_empty(), "{line} leaves {jobs:?}");
    }
    // What nobody has to wait for is done behind it.
    for line in ["MULTI", "ACL SAVE"] {
        b.run(c, line);
    }
    assert_eq!(b.run(c, "EXEC"), "*1\r\n+OK\r\n");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert!(matches!(jobs[..], [tandem_engine::Job::SaveAcl { session: None }]), "{jobs:?}");
    // What waits afterwards waits for its own job.
    assert_eq!(b.run(c, "CONFIG SET requirepass pw"), "");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
}
