//! The commands of hashes as a client sees them, and what the tests of other families use to ask.

use super::*;
use crate::call::Args;
use keyspace::Keyspace;
use resp::Protocol;

/// The reply of one of `rows` to a line of words, as it goes over the wire, `\r\n` shown as a blank.
pub(crate) fn ask(rows: &[Row], space: &mut Keyspace, protocol: Protocol, line: &str) -> String {
    let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let row = rows.iter().find(|row| argv[0].eq_ignore_ascii_case(row.spec.name.as_bytes())).unwrap();
    assert!(row.spec.arity_allows(argv.len()), "{line}");
    let mut out = Vec::new();
    let mut call = Call {
        args: Args::new(&argv),
        db: Db::new(space, 0),
        reply: Reply::wire(&mut out, protocol),
        may_block: false,
    };
    match (row.run)(&mut call) {
        Ok(_) => String::from_utf8(out).unwrap().replace("\r\n", " ").trim_end().to_string(),
        Err(error) => format!("-{}", error.shown()),
    }
}

/// Asks in turn, in RESP2, and compares.
pub(crate) fn dialogue(rows: &[Row], lines: &[(&str, &str)]) -> Keyspace {
    let mut space = Keyspace::new(1, 7);
    for (line, reply) in lines {
        assert_eq!(ask(rows, &mut space, Protocol::Resp2, line), *reply, "{line}");
    }
    space
}

#[test]
fn fields_are_set_read_and_removed_with_the_key() {
    let space = dialogue(
        COMMANDS,
        &[
            ("HSET h a 1 b 2", ":2"),
            ("HSET h a 3 c", "-ERR wrong number of arguments for 'hset' command"),
            ("HSET h a 3 c 4", ":1"),
            ("HMSET h d 5", "+OK"),
            ("HSETNX h d 6", ":0"),
            ("HSETNX h e 6", ":1"),
            ("HGET h a", "$1 3"),
            ("HGET h none", "$-1"),
            ("HGET none a", "$-1"),
            ("HMGET h a none e", "*3 $1 3 $-1 $1 6"),
            ("HLEN h", ":5"),
            ("HEXISTS h a", ":1"),
            ("HEXISTS h none", ":0"),
            ("HSTRLEN h a", ":1"),
            ("HDEL h c d e none", ":3"),
            ("HGETALL h", "*4 $1 a $1 3 $1 b $1 2"),
            ("HKEYS h", "*2 $1 a $1 b"),
            ("HVALS h", "*2 $1 3 $1 2"),
            ("HVALS none", "*0"),
            ("HDEL h a b", ":2"),
        ],
    );
    assert_eq!(space.key_count(), 0);
}

#[test]
fn counters_refuse_what_is_none_and_create_nothing_then() {
    let space = dialogue(
        COMMANDS,
        &[
            ("HINCRBY h n 5", ":5"),
            ("HINCRBY h n -7", ":-2"),
            ("HINCRBY h n x", "-ERR value is not an integer or out of range"),
            ("HINCRBYFLOAT h f 10.5", "$4 10.5"),
            ("HINCRBYFLOAT h f 0.1", "$4 10.6"),
            ("HINCRBY h f 1", "-ERR hash value is not an integer"),
            ("HSET h w word m 9223372036854775807", ":2"),
            ("HINCRBYFLOAT h w 1", "-ERR hash value is not a float"),
            ("HINCRBY h m 1", "-ERR increment or decrement would overflow"),
            ("HINCRBYFLOAT other f inf", "-ERR value is NaN or Infinity"),
        ],
    );
    assert_eq!(space.key_count(), 1);
}

#[test]
fn scans_and_random_picks_answer_in_their_shapes() {
    let mut space = dialogue(
        COMMANDS,
        &[
            ("HSET h a 1", ":1"),
            ("HSCAN h 0", "*2 $1 0 *2 $1 a $1 1"),
            ("HSCAN h 0 NOVALUES MATCH a*", "*2 $1 0 *1 $1 a"),
            ("HSCAN h 0 MATCH b*", "*2 $1 0 *0"),
            ("HSCAN none 5", "*2 $1 0 *0"),
            ("HSCAN h x", "-ERR invalid cursor"),
            ("HRANDFIELD h", "$1 a"),
            ("HRANDFIELD none", "$-1"),
            ("HRANDFIELD none 3", "*0"),
            ("HRANDFIELD h 5 WITHVALUES", "*2 $1 a $1 1"),
            ("HRANDFIELD h -2", "*2 $1 a $1 a"),
            ("HRANDFIELD h 1 WITH", "-ERR syntax error"),
        ],
    );
    let mut resp3 = |line| ask(COMMANDS, &mut space, Protocol::Resp3, line);
    assert_eq!(resp3("HRANDFIELD h 1 WITHVALUES"), "*1 *2 $1 a $1 1");
    assert_eq!(resp3("HGETALL h"), "%1 $1 a $1 1");
}

/// Moves the clock to `ms`.
fn at(space: &mut Keyspace, ms: i64) {
    space.set_now(base::Now::at_ms(ms));
}

fn say(space: &mut Keyspace, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        assert_eq!(ask(COMMANDS, space, Protocol::Resp2, line), *reply, "{line}");
    }
}

#[test]
fn fields_get_an_expiry_and_lose_it() {
    let mut space = Keyspace::new(1, 7);
    at(&mut space, 1_000_000);
    say(
        &mut space,
        &[
            ("HSET h a 1 b 2 c 3", ":3"),
            ("HEXPIRE h 100 FIELDS 2 b none", "*2 :1 :-2"),
            ("HEXPIRE h 200 NX FIELDS 2 b c", "*2 :0 :1"),
            ("HPEXPIRE h 150000 GT FIELDS 3 a b c", "*3 :0 :1 :0"),
            ("HPEXPIREAT h 1149001 LT FIELDS 2 b c", "*2 :1 :1"),
            ("HEXPIREAT h 5000 XX FIELDS 2 a c", "*2 :0 :1"),
            ("HTTL h FIELDS 4 a b c none", "*4 :-1 :150 :4000 :-2"),
            ("HPTTL h FIELDS 1 b", "*1 :149001"),
            ("HEXPIRETIME h FIELDS 1 b", "*1 :1150"),
            ("HPEXPIRETIME h FIELDS 2 b c", "*2 :1149001 :5000000"),
            ("HGETALL h", "*6 $1 b $1 2 $1 c $1 3 $1 a $1 1"),
            ("HINCRBY h b 1", ":3"),
            ("HINCRBYFLOAT h b 0.5", "$3 3.5"),
            ("HTTL h FIELDS 1 b", "*1 :150"),
            ("HSET h b 4", ":0"),
            ("HTTL h FIELDS 1 b", "*1 :-1"),
            ("HPERSIST h FIELDS 3 a c none", "*3 :-1 :1 :-2"),
            ("HEXPIRE h 0 FIELDS 2 a a", "*2 :2 :-2"),
            ("HPEXPIREAT h 1000000 FIELDS 2 b c", "*2 :2 :2"),
            ("HTTL h FIELDS 1 a", "*1 :-2"),
        ],
    );
    assert_eq!(space.key_count(), 0);
}

#[test]
fn what_is_no_expiry_is_refused_in_redis_words() {
    let mut space = Keyspace::new(1, 7);
    say(
        &mut space,
        &[
            ("HSET h a 1", ":1"),
            ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
            ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"),
            ("HEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
            ("HPEXPIREAT h 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hpexpireat' command"),
            ("HPEXPIREAT h 70368744177663 FIELDS 1 a", "*1 :1"),
            (
                "HEXPIRE h 1 NX XX FIELDS 1 a",
                "-ERR Mandatory argument FIELDS is missing or not at the right position",
            ),
            ("HEXPIRE h 1 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0"),
            ("HTTL h FIELDS 0 a", "-ERR Number of fields must be a positive integer"),
            ("HTTL h FIELDS 2 a", "-ERR The `numfields` parameter must match the number of arguments"),
            (
                "HGETEX h KEEPTTL FIELDS 1 a",
                "-ERR Mandatory argument FIELDS is missing or not at the right position",
            ),
            ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified"),
            (
                "HSETEX h EX 1 KEEPTTL FIELDS 1 a 1",
                "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ),
            ("HSETEX h PERSIST FIELDS 1 a 1", "-ERR unknown argument: PERSIST"),
            ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields"),
            ("HSETEX h FIELDS 2 a 1 b", "-ERR wrong number of arguments for 'hsetex' command"),
        ],
    );
}

#[test]
fn values_are_read_written_and_removed_together_with_their_expiry() {
    let mut space = Keyspace::new(1, 7);
    at(&mut space, 1_000_000);
    say(
        &mut space,
        &[
            ("HSETEX h EX 10 FIELDS 2 a 1 b 2", ":1"),
            ("HTTL h FIELDS 2 a b", "*2 :10 :10"),
            ("HSETEX h KEEPTTL FIELDS 2 a 3 c 4", ":1"),
            ("HSETEX h FIELDS 1 b 5", ":1"),
            ("HTTL h FIELDS 3 a b c", "*3 :10 :-1 :-1"),
            ("HSETEX h FNX FIELDS 2 c 6 d 7", ":0"),
            ("HSETEX h FXX PX 5 FIELDS 2 c 6 d 7", ":0"),
            ("HSETEX none FXX FIELDS 1 c 6", ":0"),
            ("HSETEX h FXX PX 5 FIELDS 1 c 6", ":1"),
            ("HGETEX h FIELDS 3 a none c", "*3 $1 3 $-1 $1 6"),
            ("HGETEX h EX 20 FIELDS 2 b c", "*2 $1 5 $1 6"),
            ("HGETEX h PERSIST FIELDS 2 a none", "*2 $1 3 $-1"),
            ("HTTL h FIELDS 3 a b c", "*3 :-1 :20 :20"),
            ("HGETEX h PXAT 1 FIELDS 1 a", "*1 $1 3"),
            ("HSETEX h EXAT 1 FIELDS 2 b 9 z 9", ":1"),
            ("HKEYS h", "*1 $1 c"),
            ("HGETDEL h FIELDS 2 c c", "*2 $1 6 $-1"),
            ("HGETDEL h FIELDS 1 c", "*1 $-1"),
        ],
    );
    assert_eq!(space.key_count(), 0);
}

#[test]
fn a_field_whose_time_is_over_does_not_show_and_leaves_when_it_is_asked_for() {
    let mut space = Keyspace::new(1, 7);
    at(&mut space, 1_000_000);
    say(&mut space, &[("HSET h a 1 b 2 c 3 d 4", ":4"), ("HPEXPIRE h 5 FIELDS 3 a b d", "*3 :1 :1 :1")]);
    at(&mut space, 1_000_004);
    say(&mut space, &[("HGET h a", "$1 1")]);
    at(&mut space, 1_000_005);
    say(
        &mut space,
        &[
            ("HGETALL h", "*2 $1 c $1 3"),
            ("HVALS h", "*1 $1 3"),
            ("HSCAN h 0", "*2 $1 0 *2 $1 c $1 3"),
            ("HTTL h FIELDS 1 a", "*1 :-2"),
            ("HLEN h", ":4"),
            ("HMGET h a c", "*2 $-1 $1 3"),
            ("HLEN h", ":3"),
            ("HINCRBY h b 7", ":7"),
            ("HTTL h FIELDS 1 b", "*1 :-1"),
            ("HSETNX h d 5", ":1"),
            ("HPEXPIRE h 2 FIELDS 3 b c d", "*3 :1 :1 :1"),
        ],
    );
    assert_eq!(space.stats.expired_fields, 3);
    at(&mut space, 1_000_010);
    say(&mut space, &[("HRANDFIELD h 3", "*0"), ("HLEN h", ":0")]);
    assert_eq!((space.key_count(), space.stats.expired_fields), (0, 6));
}
