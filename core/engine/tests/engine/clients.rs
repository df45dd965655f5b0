//! Clients as such: their list, pauses, and what they may hold.

use crate::bench::Bench;
use tandem_engine::Job;

#[test]
fn hello_switches_the_protocol() {
    let mut b = Bench::new();
    let c = b.connect();
    assert!(b.run(c, "HELLO 3").starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n"));
    assert_eq!(b.run(c, "GET nosuch"), "_\r\n");
    assert!(b.run(c, "HELLO 9").starts_with("-NOPROTO"));
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
