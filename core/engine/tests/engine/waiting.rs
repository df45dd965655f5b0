//! Clients that wait for keys.

use crate::bench::Bench;

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
fn what_is_over_when_it_is_swapped_in_leaves_with_a_record_whoever_finds_it() {
    for (value, is_taken_out) in [("SET z x", false), ("ZADD z 1 a", true)] {
        let mut b = Bench::new();
        b.engine.set_logging(true);
        let (waiter, writer) = (b.connect(), b.connect());
        b.run(waiter, "BZPOPMIN z 0");
        for line in ["SELECT 1", value, "PEXPIRE z 10"] {
            b.run(writer, line);
        }
        b.log();
        b.pass_ms(20);
        b.run(writer, "SWAPDB 0 1");
        assert_eq!(b.delivered(waiter), "");
        let records = if is_taken_out { "SWAPDB 0 1|SELECT 0|DEL z" } else { "SWAPDB 0 1" };
        assert_eq!(b.log(), records, "{value}");
        assert_eq!(
            b.engine.keyspace.peek(0, b"z").is_none(),
            is_taken_out,
            "{value}: what is gone is told in the same batch"
        );
    }
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
