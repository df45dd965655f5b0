//! What the log is given.

use crate::bench::Bench;
use tandem_engine::Job;

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
