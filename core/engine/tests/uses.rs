//! What counts as a use of a key, for the policies that evict what is used least.

mod bench;

use bench::Bench;

/// Values to be used, by the name of their key.
const MADE: [(&str, &str); 6] = [
    ("s", "SET s 5"),
    ("l", "RPUSH l 1 2 3"),
    ("t", "SADD t a b"),
    ("z", "ZADD z 1 a 2 b"),
    ("h", "HSET h a 1 b 2"),
    ("x", "XADD x 1-1 a b"),
];

/// Requests that use the key that is their second word, as they do in Redis 7.0 and 8.2 and in Valkey.
const USES: &[&str] = &[
    "GET s",
    "SET s 6",
    "SET s 6 XX",
    "SET s 6 NX",
    "SET s 6 GET",
    "SET s 6 KEEPTTL",
    "SETNX s 1",
    "MSET s 1",
    "MSETNX s 1",
    "GETSET s 1",
    "GETEX s",
    "GETEX s EX 100",
    "GETEX s PERSIST",
    "APPEND s x",
    "STRLEN s",
    "INCR s",
    "SETRANGE s 0 x",
    "BITCOUNT s",
    "SETBIT s 1 1",
    "GETBIT s 1",
    "BITFIELD s GET u8 0",
    "LCS s s",
    "DUMP s",
    "COPY s d",
    "TOUCH s",
    "LPUSH s x",
    "EXPIRE s 100",
    "EXPIRE s 100 XX",
    "PEXPIRE s 100000",
    "EXPIREAT s 9999999999",
    "PERSIST s",
    "RENAMENX s l",
    "MOVE s 3",
    "RESTORE s 0 x",
    "LLEN l",
    "LRANGE l 0 -1",
    "LPUSHX l x",
    "LPOP l",
    "LREM l 0 9",
    "SORT l",
    "BLPOP l 1",
    "EXPIRE l 100",
    "SADD t a",
    "SREM t zz",
    "SCARD t",
    "SSCAN t 0",
    "SINTER t",
    "ZADD z NX 1 a",
    "ZREM z q",
    "ZSCORE z a",
    "ZPOPMIN z",
    "HGET h a",
    "HSETNX h a 1",
    "HDEL h q",
    "HEXISTS h a",
    "HPERSIST h FIELDS 1 a",
    "HGETDEL h FIELDS 1 q",
    "XLEN x",
    "XADD x * a b",
    "XDEL x 9-9",
    "XTRIM x MAXLEN 5",
    "XGROUP CREATE x g 0",
    "XSETID x 99-9",
];

/// Requests that only ask about the key.
const QUESTIONS: &[&str] = &[
    "EXISTS s",
    "TYPE s",
    "TTL s",
    "PTTL s",
    "EXPIRETIME s",
    "OBJECT ENCODING s",
    "OBJECT REFCOUNT s",
    "MEMORY USAGE s",
    "WATCH s",
    "KEYS s",
    "SCAN 0",
    "DEBUG OBJECT s",
    "TTL s",
];

/// Seconds that a key has when the request comes, whether it has an expiry or not.
const IDLE_S: i64 = 1000;

/// Seconds since the key was used, when `client` has sent `request` [`IDLE_S`] after it was made.
fn idle_after(b: &mut Bench, client: usize, key: &str, request: &str) -> String {
    b.run(client, "FLUSHALL");
    for (_, made) in MADE {
        b.run(client, made);
    }
    b.pass_ms(IDLE_S * 1000);
    b.run(client, request);
    b.run(client, "UNWATCH");
    let db = if request.starts_with("MOVE") { 3 } else { 0 };
    b.run(client, &format!("SELECT {db}"));
    let idle = b.run(client, &format!("OBJECT IDLETIME {key}"));
    b.run(client, "SELECT 0");
    idle
}

/// The key of a request: the first word that names one.
fn key_of(request: &str) -> &str {
    request.split(' ').skip(1).find(|word| MADE.iter().any(|(key, _)| key == word)).expect("it has a key")
}

#[test]
fn what_looks_at_a_value_or_would_change_it_is_a_use() {
    let mut b = Bench::new();
    let c = b.connect();
    for request in USES {
        assert_eq!(idle_after(&mut b, c, key_of(request), request), ":0\r\n", "{request}");
    }
    for request in QUESTIONS {
        assert_eq!(idle_after(&mut b, c, "s", request), format!(":{IDLE_S}\r\n"), "{request}");
    }
}

#[test]
fn a_client_that_does_not_touch_touches_by_touch_alone() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CLIENT NO-TOUCH ON");
    for request in ["GET s", "STRLEN s", "EXPIRE s 100", "SETNX s 1"] {
        assert_eq!(idle_after(&mut b, c, "s", request), format!(":{IDLE_S}\r\n"), "{request}");
    }
    assert_eq!(idle_after(&mut b, c, "s", "TOUCH s"), ":0\r\n");
    assert_eq!(idle_after(&mut b, c, "s", "GET s"), format!(":{IDLE_S}\r\n"), "not for what follows");
}

/// Hits and misses that `request` counts where the keys of [`MADE`] are, and the keys that are told to be missing.
fn looks_of(request: &str, logging: bool) -> (u64, u64, Vec<String>) {
    let mut b = Bench::new();
    let (c, listener) = (b.connect(), b.connect());
    b.engine.set_logging(logging);
    MADE.iter().for_each(|(_, made)| _ = b.run(c, made));
    b.run(c, "XGROUP CREATE x g 0");
    b.run(c, "CONFIG SET notify-keyspace-events Em");
    b.run(c, "CONFIG RESETSTAT");
    b.run(listener, "SUBSCRIBE __keyevent@0__:keymiss");
    b.run(c, request);
    let stats = b.run(c, "INFO stats");
    let count = |name| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':')).and_then(|n| n.parse().ok()).expect("a number")
    };
    let delivered = b.delivered(listener);
    let told =
        delivered.split("keymiss\r\n").skip(1).filter_map(|rest| rest.lines().nth(1)).map(str::to_owned);
    (count("keyspace_hits"), count("keyspace_misses"), told.collect())
}

#[test]
fn a_look_to_read_counts_once_and_one_to_write_never() {
    for (request, hits, misses, told) in [
        ("GET s", 1, 0, ""),
        ("GET none", 0, 1, "none"),
        ("EXISTS s none s", 2, 1, "none"),
        ("TTL s", 1, 0, ""),
        ("TYPE none", 0, 1, "none"),
        ("OBJECT ENCODING s", 1, 0, ""),
        ("OBJECT ENCODING none", 0, 1, ""),
        ("SORT l STORE d", 1, 0, ""),
        ("SORT none", 0, 1, "none"),
        ("SUNIONSTORE d t none", 1, 1, "none"),
        ("ZUNIONSTORE d 2 z t", 2, 0, ""),
        ("GEOSEARCH z FROMMEMBER a BYRADIUS 1 m", 1, 0, ""),
        ("GETSET none 1", 0, 1, "none"),
        ("SET none 1 GET", 0, 1, "none"),
        ("BITOP NOT d none", 0, 1, "none"),
        ("XACK x g 1-1", 1, 0, ""),
        ("HTTL h FIELDS 1 a", 1, 0, ""),
        ("HTTL s FIELDS 1 a", 1, 0, ""),
        ("HTTL none FIELDS 1 a", 0, 1, "none"),
        ("EXPIRE s 100", 0, 0, ""),
        ("EXPIRE none 100", 0, 0, ""),
        ("PERSIST s", 0, 0, ""),
        ("SETNX s 1", 0, 0, ""),
        ("SET s 1 NX", 0, 0, ""),
        ("RENAMENX s s", 0, 0, ""),
        ("MSETNX s 1", 0, 0, ""),
        ("INCR s", 0, 0, ""),
        ("APPEND none x", 0, 0, ""),
        ("SETRANGE s 0 x", 0, 0, ""),
        ("BITFIELD s SET u8 0 53 GET u8 0", 0, 0, ""),
        ("HINCRBYFLOAT h a 1", 0, 0, ""),
        ("HSETNX none a 1", 0, 0, ""),
        ("HEXPIRE h 100 FIELDS 1 a", 0, 0, ""),
        ("SMOVE t none a", 0, 0, ""),
        ("SPOP t 0", 0, 0, ""),
        ("PFADD none a", 0, 0, ""),
        ("XGROUP CREATE x new 0", 0, 0, ""),
    ] {
        let told = told.split_terminator(' ').map(str::to_owned).collect();
        assert_eq!(looks_of(request, false), (hits, misses, told), "{request}");
    }
}

#[test]
fn what_the_log_is_told_needs_no_look_that_counts() {
    for request in [
        "XREADGROUP GROUP g c STREAMS x >",
        "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS x >",
        "XCLAIM x g c 0 1-1 FORCE LASTID 1-1",
        "XDELEX x ACKED IDS 1 1-1",
        "XACKDEL x g DELREF IDS 1 1-1",
        "HINCRBYFLOAT h a 1",
        "HSETEX h EX 100 FIELDS 1 a 1",
        "GETEX s EX 100",
    ] {
        assert_eq!(looks_of(request, true), looks_of(request, false), "{request}");
    }
}

#[test]
fn a_change_of_policy_keeps_what_was_known() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "SET old 1");
    b.pass_ms(3_600_000);
    b.run(c, "SET young 1");
    b.run(c, "CONFIG SET maxmemory-policy allkeys-lfu lfu-log-factor 0");
    assert_eq!(b.run(c, "OBJECT FREQ young"), ":5\r\n", "as a new key");
    assert_eq!(b.run(c, "OBJECT FREQ old"), ":0\r\n", "an hour has gone since it was used");
    b.run(c, "GET young");
    assert_eq!(b.run(c, "OBJECT FREQ young"), ":6\r\n");
    b.run(c, "RENAME young renamed");
    assert_eq!(b.run(c, "OBJECT FREQ renamed"), ":7\r\n");
    b.run(c, "COPY renamed copy");
    assert_eq!(b.run(c, "OBJECT FREQ copy"), ":5\r\n");
    b.run(c, "CONFIG SET maxmemory-policy allkeys-lru");
    b.pass_ms(120_000);
    assert_eq!(b.run(c, "OBJECT IDLETIME old"), ":3720\r\n");
    let idle = b.run(c, "OBJECT IDLETIME renamed");
    let seconds: i64 = idle.trim_matches([':', '\r', '\n']).parse().expect("a number");
    assert!((120..180).contains(&seconds), "to the minute: {idle}");
}

#[test]
fn fields_that_are_over_do_not_count_as_deleted() {
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.set_logging(true);
    for (removed, reply) in [("f", ":0\r\n"), ("g", ":1\r\n"), ("f g", ":1\r\n"), ("f g k", ":2\r\n")] {
        b.run(c, "DEL h");
        b.run(c, "HSET h f 1 g 1 k 1");
        b.run(c, "HPEXPIRE h 10 FIELDS 1 f");
        b.pass_ms(10);
        b.log();
        assert_eq!(b.run(c, &format!("HDEL h {removed}")), reply, "{removed}");
        let log = b.log();
        assert_eq!(log.contains("HDEL h f"), removed.contains('f'), "{log}");
    }
    b.run(c, "DEL h");
    b.run(c, "HSET h f 1 g 1");
    b.run(c, "HPEXPIRE h 10 FIELDS 1 f");
    b.pass_ms(10);
    assert_eq!(b.run(c, "HSET h f 2 g 2"), ":1\r\n", "what is over is new");
}

#[test]
fn a_hash_whose_last_field_is_over_is_not_there() {
    let mut b = Bench::new();
    let c = b.connect();
    b.engine.set_logging(true);
    for (request, reply) in [
        ("EXISTS h", ":0\r\n"),
        ("TYPE h", "+none\r\n"),
        ("KEYS *", "*0\r\n"),
        ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("RANDOMKEY", "$-1\r\n"),
        ("TTL h", ":-2\r\n"),
        ("DUMP h", "$-1\r\n"),
        ("GET h", "$-1\r\n"),
        ("SETNX h v", ":1\r\n"),
        ("LPUSH h v", ":1\r\n"),
        ("HDEL h f", ":0\r\n"),
        ("HLEN h", ":0\r\n"),
        ("RENAME h other", "-ERR no such key\r\n"),
        ("DEL h", ":0\r\n"),
    ] {
        b.run(c, "FLUSHALL");
        b.run(c, "HSET h f 1");
        b.run(c, "HPEXPIRE h 10 FIELDS 1 f");
        b.pass_ms(10);
        b.log();
        assert_eq!(b.run(c, request), reply, "{request}");
        // KEYS takes nothing out.
        assert_eq!(b.log().contains("DEL h"), request != "KEYS *", "{request}");
    }
}

#[test]
fn who_watches_a_hash_that_was_over_already_misses_nothing_when_it_leaves() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    for (wait_ms, reply) in [(10, "*1\r\n+PONG\r\n"), (9, "*-1\r\n")] {
        b.run(d, "DEL h");
        b.run(d, "HSET h f 1");
        b.run(d, "HPEXPIRE h 10 FIELDS 1 f");
        b.pass_ms(wait_ms);
        b.run(c, "WATCH h");
        b.run(c, "MULTI");
        b.run(c, "PING");
        b.pass_ms(1);
        assert_eq!(b.run(d, "EXISTS h"), ":0\r\n");
        assert_eq!(
            b.run(c, "EXEC"),
            reply,
            "it is looked at {wait_ms} ms after it was made, and lives for 10"
        );
    }
}
