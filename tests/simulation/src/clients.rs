//! What clients ask for: commands on all data types over few keys, transactions, scripts, blocking ones, times to live, and now and then
//! what an operator asks.

use base::Random;

/// Keys of each type; the first letter tells it. Sometimes a command takes a key of another type, which is an error.
const TYPES: &[u8] = b"slthzxpn";
const KEYS_EACH: u64 = 3;

/// In a template `s` and its like stand for a key of that type, `k` for any, `v` for a value, `i` for a small number, `m` for
/// milliseconds, `e` for the identity of an entry that a stream may have. Letters behind `%` only.
const WRITES: &[&str] = &[
    "SET %s %v",
    "SET %s %v PX %m",
    "SET %s %v KEEPTTL",
    "SET %s %v NX GET",
    "APPEND %s %v",
    "SETRANGE %s %i %v",
    "SETBIT %s %i 1",
    "GETDEL %s",
    "GETEX %s PX %m",
    "SETEX %s 1 %v",
    "PSETEX %s %m %v",
    "SETNX %s %v",
    "GETSET %s %v",
    "DELEX %s IFNE a",
    "DELIFEQ %s %v",
    "MSETEX 2 %s %v %s %v PX %m",
    "MSET %s %v %s %v",
    "MSETNX %s %v %s %v",
    "BITOP XOR %s %s %s",
    "BITFIELD %s INCRBY u8 0 100",
    "INCR %n",
    "INCRBY %n %i",
    "INCRBYFLOAT %n 0.1",
    "DECR %n",
    "DECRBY %n %i",
    "LPUSH %l %v %v",
    "RPUSH %l a b c %v",
    "LPUSHX %l %v",
    "RPUSHX %l %v",
    "LPOP %l 2",
    "RPOP %l",
    "LMOVE %l %l LEFT RIGHT",
    "RPOPLPUSH %l %l",
    "LINSERT %l BEFORE a %v",
    "LREM %l 1 a",
    "LTRIM %l 0 9",
    "LSET %l 0 %v",
    "LMPOP 2 %l %l LEFT COUNT 2",
    "SADD %t a b c %v %i",
    "SREM %t a %i",
    "SPOP %t 2",
    "SMOVE %t %t b",
    "SUNIONSTORE %t %t %t",
    "SDIFFSTORE %t %t %t",
    "SINTERSTORE %t %t %t",
    "HSET %h a %v b %v",
    "HSETNX %h c %v",
    "HINCRBY %h n %i",
    "HINCRBYFLOAT %h g 1.5",
    "HDEL %h a",
    "HMSET %h a %v c %v",
    "HSETEX %h FXX PX %m FIELDS 1 a %v",
    "HSETEX %h KEEPTTL FIELDS 2 a %v c %v",
    "HGETEX %h PX %m FIELDS 1 a",
    "HGETEX %h PERSIST FIELDS 2 a b",
    "HGETDEL %h FIELDS 2 b c",
    "HEXPIRE %h 1 GT FIELDS 2 a b",
    "HEXPIREAT %h 1700000007 LT FIELDS 2 b c",
    "HPEXPIREAT %h 1 FIELDS 1 a",
    "HPEXPIRE %h %m FIELDS 1 b",
    "HPERSIST %h FIELDS 1 b",
    "ZADD %z %i a %i b 1.5 c",
    "ZADD %z GT CH %i a",
    "ZINCRBY %z %i b",
    "ZREM %z a",
    "ZPOPMIN %z 2",
    "ZPOPMAX %z",
    "ZREMRANGEBYRANK %z 0 0",
    "ZREMRANGEBYSCORE %z 0 5",
    "ZREMRANGEBYLEX %z - [b",
    "ZINTERSTORE %z 2 %z %z",
    "ZDIFFSTORE %z 2 %z %z",
    "ZRANGESTORE %z %z 0 1",
    "ZUNIONSTORE %z 2 %z %z",
    "ZMPOP 1 %z MAX",
    "GEOADD %z 13.361389 38.115556 palermo",
    "GEOSEARCHSTORE %z %z FROMLONLAT 15 37 BYRADIUS 500 km",
    "GEORADIUSBYMEMBER %z palermo 9 km STOREDIST %z",
    "XADD %x * f %v",
    "XADD %x 1-* f %v g %v",
    "XADD %x 1-* f %v g %v",
    "XADD %x %e a %v",
    "XADD %x MAXLEN ~ 3 * f %v",
    "XADD %x MAXLEN 4 DELREF 1-* f %v",
    "XADD %x MINID ~ %e ACKED 1-* f %v",
    "XADD %x NOMKSTREAM * f %v",
    "XDEL %x %e %e",
    "XDELEX %x DELREF IDS 2 %e %e",
    "XDELEX %x ACKED IDS 1 %e",
    "XTRIM %x MAXLEN 2",
    "XTRIM %x MAXLEN 0",
    "XTRIM %x MINID %e DELREF",
    "XTRIM %x MAXLEN ~ 1 ACKED",
    "XSETID %x %e",
    "XSETID %x %e ENTRIESADDED %i MAXDELETEDID %e",
    "XSETID %x 9-9 ENTRIESADDED 9223372036854775807",
    "XGROUP CREATE %x g 0 MKSTREAM",
    "XGROUP CREATE %x g 0 MKSTREAM",
    "XGROUP CREATE %x h $ MKSTREAM ENTRIESREAD %i",
    "XGROUP SETID %x g %e ENTRIESREAD %i",
    "XGROUP SETID %x g 0",
    "XGROUP DESTROY %x g",
    "XGROUP CREATECONSUMER %x g e",
    "XGROUP DELCONSUMER %x g c",
    "XREADGROUP GROUP g c COUNT 2 STREAMS %x >",
    "XREADGROUP GROUP g d STREAMS %x >",
    "XREADGROUP GROUP h d COUNT 1 STREAMS %x >",
    "XREADGROUP GROUP g c NOACK COUNT 2 STREAMS %x >",
    "XREADGROUP GROUP g c COUNT 3 STREAMS %x 0",
    "XREADGROUP GROUP g d CLAIM %i COUNT 2 STREAMS %x >",
    "XACK %x g %e %e",
    "XACKDEL %x g DELREF IDS 2 %e %e",
    "XACKDEL %x g KEEPREF IDS 1 %e",
    "XCLAIM %x g d 0 %e %e LASTID %e",
    "XCLAIM %x g e %i %e IDLE %i RETRYCOUNT %i FORCE",
    "XCLAIM %x g c 0 %e RETRYCOUNT 9223372036854775807 FORCE JUSTID",
    "XAUTOCLAIM %x g d 0 0 COUNT 2",
    "XAUTOCLAIM %x g c %i 0 JUSTID",
    "PFADD %p a b %v",
    "PFMERGE %p %p %p",
    "DEL %k %k",
    "UNLINK %k",
    "PEXPIRE %k %m",
    "PEXPIRE %k %m NX",
    "EXPIRE %k 1",
    "EXPIREAT %k 1",
    "PEXPIREAT %k 1700000004321 GT",
    "PERSIST %k",
    "RENAME %k %k",
    "RENAMENX %k %k",
    "COPY %k %k REPLACE",
    "MOVE %k 1",
    "SORT %l ALPHA STORE %l",
];

const READS: &[&str] = &[
    "GET %s",
    "LRANGE %l 0 -1",
    "SMEMBERS %t",
    "HGETALL %h",
    "ZRANGE %z 0 -1",
    "XRANGE %x - +",
    "TTL %k",
    "DBSIZE",
];

const BLOCKING: &[&str] = &[
    "BLPOP %l %l 0.05",
    "BRPOP %l 1",
    "BLMOVE %l %l LEFT LEFT 0.1",
    "BRPOPLPUSH %l %l 0.1",
    "BLMPOP 0.2 1 %l RIGHT COUNT 3",
    "BZPOPMIN %z %z 0.001",
    "BZPOPMAX %z 0.3",
    "BZMPOP 0.2 2 %z %z MIN COUNT 2",
    "XREAD BLOCK 30 STREAMS %x $",
    "XREADGROUP GROUP g c BLOCK 30 STREAMS %x >",
    "XREADGROUP GROUP g d BLOCK 30 CLAIM %i NOACK STREAMS %x %x > >",
];

const RARE: &[&str] = &[
    "FLUSHDB",
    "FLUSHALL",
    "FUNCTION FLUSH",
    "SWAPDB 0 1",
    "SELECT 0",
    "SELECT 1",
    "BGSAVE",
    "BGREWRITEAOF",
    "BGREWRITEAOF",
];

/// Scripts, each with as many keys as it has templates behind it.
const SCRIPTS: &[(&str, &str)] = &[
    ("redis.call('INCR',KEYS[1]) redis.call('RPUSH',KEYS[2],ARGV[1]) return 1", "2 %n %l %v"),
    ("local v=redis.call('LPOP',KEYS[1]) if v then redis.call('LPUSH',KEYS[2],v) end return v", "2 %l %l %v"),
    ("for i=1,5 do redis.call('ZADD',KEYS[1],math.random(),'r'..i) end return redis.call('TIME')", "1 %z %v"),
    (
        "local d=redis.call('DUMP',KEYS[1]) if d then redis.call('RESTORE',KEYS[2],ARGV[1],d,'REPLACE') end",
        "2 %k %k %m",
    ),
    ("redis.call('SET',KEYS[1],ARGV[1]) return redis.call('INCR',KEYS[1])", "1 %s %v"),
    ("redis.call('SET',KEYS[1],'x','PX',10) redis.call('XADD',KEYS[2],'*','a',ARGV[1])", "2 %s %x %v"),
];

/// A request's words.
pub(crate) type Words = Vec<Vec<u8>>;

/// What a client sends next, in one go: mostly one request, else a transaction.
pub(crate) fn requests(random: &mut Random) -> Vec<Words> {
    match random.below(100) {
        0..55 => vec![request(WRITES, random)],
        55..63 => vec![request(READS, random)],
        63..73 => vec![request(BLOCKING, random)],
        73..80 => vec![script(random)],
        80..83 => vec![request(RARE, random)],
        83 => vec![function(random)],
        84 => vec![setting(random)],
        85 => vec![user(random)],
        _ => transaction(random),
    }
}

fn transaction(random: &mut Random) -> Vec<Words> {
    let mut all = vec![vec![b"MULTI".to_vec()]];
    for _ in 0..=random.below(4) {
        all.push(if random.below(4) == 0 { request(BLOCKING, random) } else { request(WRITES, random) });
    }
    all.push(vec![if random.below(8) == 0 { b"DISCARD".to_vec() } else { b"EXEC".to_vec() }]);
    all
}

/// What an operator asks of durability.
const SETTINGS: &[&str] = &[
    "CONFIG SET appendfsync always",
    "CONFIG SET appendfsync everysec",
    "CONFIG SET appendfsync no",
    "CONFIG SET appendfsync-lag-max 50",
    "CONFIG SET appendfsync-lag-max 2000",
    "CONFIG SET appendfsync-lag-max 0",
    "CONFIG SET appendonly no",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly yes",
    "CONFIG SET aof-disable-auto-gc yes",
    "CONFIG SET aof-disable-auto-gc no",
    "CONFIG SET aof-timestamp-enabled yes",
];

/// Users who may not all that others may: what they have done is replayed by whoever loads the log.
const USERS: &[&str] = &[
    "ACL SETUSER few on nopass ~s* ~l* +@all -del -exec",
    "ACL SETUSER few off",
    "ACL DELUSER few",
    "AUTH few any",
    "AUTH default any",
];

fn setting(random: &mut Random) -> Words {
    request(SETTINGS, random)
}

fn user(random: &mut Random) -> Words {
    request(USERS, random)
}

/// Functions: libraries are data, and what calls have done is logged.
fn function(random: &mut Random) -> Words {
    let name = [b'a' + random.below(2) as u8];
    match random.below(5) {
        0 | 1 => {
            let (name, step) = (name.escape_ascii(), random.below(9));
            let code = format!(
                "#!lua name={name}\nredis.register_function('{name}', function(keys, args)\nredis.call('INCRBY', keys[1], {step})\n\
                 return redis.call('RPUSH', keys[2], args[1])\nend)"
            );
            [&b"FUNCTION"[..], b"LOAD", b"REPLACE", code.as_bytes()].map(<[u8]>::to_vec).to_vec()
        }
        2 => [&b"FUNCTION"[..], b"DELETE", &name].map(<[u8]>::to_vec).to_vec(),
        _ => {
            let mut words = vec![b"FCALL".to_vec(), name.to_vec()];
            words.extend(filled("2 %n %l %v", random));
            words
        }
    }
}

fn script(random: &mut Random) -> Words {
    let (code, rest) = SCRIPTS[random.below(SCRIPTS.len() as u64) as usize];
    let mut words = vec![b"EVAL".to_vec(), code.as_bytes().to_vec()];
    words.extend(filled(rest, random));
    words
}

fn request(templates: &[&str], random: &mut Random) -> Words {
    filled(templates[random.below(templates.len() as u64) as usize], random)
}

fn filled(template: &str, random: &mut Random) -> Words {
    template.split(' ').map(|word| word_of(word, random)).collect()
}

fn word_of(word: &str, random: &mut Random) -> Vec<u8> {
    match word.strip_prefix('%').map(|letter| letter.as_bytes()[0]) {
        None => word.as_bytes().to_vec(),
        Some(b'v') => value(random),
        Some(b'i') => random.below(40).to_string().into_bytes(),
        Some(b'm') => (1 + random.below(400)).to_string().into_bytes(),
        Some(b'e') => format!("1-{}", random.below(12)).into_bytes(),
        Some(letter) => key(letter, random),
    }
}

fn key(letter: u8, random: &mut Random) -> Vec<u8> {
    let is_any = letter == b'k' || random.below(25) == 0;
    let letter = if is_any { TYPES[random.below(TYPES.len() as u64) as usize] } else { letter };
    vec![letter, b'0' + random.below(KEYS_EACH) as u8]
}

/// All keys that there can be.
pub(crate) fn all_keys() -> impl Iterator<Item = Vec<u8>> {
    TYPES.iter().flat_map(|&letter| (0..KEYS_EACH).map(move |number| vec![letter, b'0' + number as u8]))
}

/// Mostly short; sometimes long, and sometimes with as many zeros as a lost sector has.
fn value(random: &mut Random) -> Vec<u8> {
    let length = match random.below(12) {
        0 => random.below(6000) as usize,
        1 => return vec![0; random.below(1500) as usize],
        2 => return b"\r\n*1\r\n$8\r\nFLUSHALL\r\n#TDM:1:0000000000000000:5:999\r\n".to_vec(),
        _ => random.below(12) as usize,
    };
    let byte = b'a' + random.below(26) as u8;
    vec![byte; length]
}
