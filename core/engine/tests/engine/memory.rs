//! What leaves or is refused when memory or time is over.

use crate::bench::Bench;

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
fn a_limit_far_below_what_is_used_leaves_as_many_values_as_it_has_room_for() {
    let mut b = Bench::new();
    let c = b.connect();
    for n in 0..10 {
        b.run(c, &format!("SETRANGE k{n} 1000000 x"));
    }
    b.outside.used = 10_500_000;
    b.run(c, "CONFIG SET maxmemory-policy allkeys-lru maxmemory 3000000");
    assert_eq!(b.run(c, "SET a 1"), "+OK\r\n");
    // Values of a megabyte are freed by another thread, and count as gone before.
    assert_eq!(b.run(c, "DBSIZE"), ":3\r\n");
}

#[test]
fn a_value_far_beyond_the_limit_is_no_reason_to_refuse_once_it_is_deleted() {
    for (snapshot, then) in
        [(false, "+OK\r\n"), (true, "-OOM command not allowed when used memory > 'maxmemory'.\r\n")]
    {
        let mut b = Bench::new();
        let c = b.connect();
        b.run(c, "SETRANGE k 4000000 x");
        b.run(c, "CONFIG SET maxmemory 1000000 maxmemory-policy noeviction");
        b.outside.used = 4_500_000;
        assert!(b.run(c, "SET a 1").starts_with("-OOM"));
        // What a snapshot shares would not be freed.
        if snapshot {
            assert!(b.engine.keyspace.begin_snapshot(false));
        }
        // Another thread is about to free it.
        assert_eq!(b.run(c, "DEL k"), ":1\r\n");
        assert_eq!(b.run(c, "SET a 1"), then);
    }
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
