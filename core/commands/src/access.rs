//! What a command does with each of its keys, where the row's flags do not tell: what ACL key permissions (`%R~`, `%W~`) are checked
//! against.
//!
//! To read means to give the caller something of the value. Whether a key exists, or how long its value is, is neither reading nor writing;
//! a command that only adds or removes need not be allowed to read.

use crate::spec::{KeyAccess, Spec};

/// Change their keys and tell nothing of what was there.
const BLIND: &[&str] = &[
    "append",
    "del",
    "expire",
    "expireat",
    "geoadd",
    "hdel",
    "hexpire",
    "hexpireat",
    "hmset",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hset",
    "hsetex",
    "hsetnx",
    "linsert",
    "lpush",
    "lpushx",
    "lrem",
    "lset",
    "ltrim",
    "mset",
    "msetex",
    "msetnx",
    "persist",
    "pexpire",
    "pexpireat",
    "pfadd",
    "psetex",
    "restore",
    "restore-asking",
    "rpush",
    "rpushx",
    "sadd",
    "setex",
    "setnx",
    "setrange",
    "srem",
    "unlink",
    "xack",
    "xackdel",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xdelex",
    "xgroup|create",
    "xgroup|createconsumer",
    "xgroup|delconsumer",
    "xgroup|destroy",
    "xgroup|setid",
    "xsetid",
    "xtrim",
    "zadd",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
];

/// Only ask for what is not the value itself.
const SHALLOW: &[&str] = &[
    "exists",
    "hexists",
    "hlen",
    "hstrlen",
    "llen",
    "memory|usage",
    "object|encoding",
    "object|freq",
    "object|idletime",
    "object|refcount",
    "scard",
    "sismember",
    "spublish",
    "ssubscribe",
    "strlen",
    "sunsubscribe",
    "touch",
    "type",
    "watch",
    "xlen",
    "zcard",
];

/// Write their first key and read the others.
const STORING: &[&str] =
    &["bitop", "geosearchstore", "sdiffstore", "sinterstore", "sunionstore", "zrangestore"];

/// Take from their first key and write the second.
const MOVING: &[&str] = &["blmove", "brpoplpush", "lmove", "rename", "renamenx", "rpoplpush", "smove"];

/// How the command uses its key number `nth`.
pub(crate) fn of_key(spec: &Spec, argv: &[&[u8]], nth: usize) -> KeyAccess {
    let name = spec.name;
    match (name, nth) {
        ("set", _) if !has_word(argv, 3, b"get") => KeyAccess::Write,
        ("bitfield", _) if crate::bitmap::only_reads_bits(argv) => KeyAccess::Read,
        ("copy", 0) => KeyAccess::Read,
        ("copy", _) => KeyAccess::Write,
        (_, 0) if STORING.contains(&name) => KeyAccess::Write,
        (_, _) if STORING.contains(&name) => KeyAccess::Read,
        (_, 1) if MOVING.contains(&name) => KeyAccess::Write,
        (_, 1..) if name == "pfmerge" => KeyAccess::Read,
        _ if BLIND.contains(&name) => KeyAccess::Write,
        _ if SHALLOW.contains(&name) => KeyAccess::Shallow,
        _ => spec.access,
    }
}

fn has_word(argv: &[&[u8]], from: usize, word: &[u8]) -> bool {
    argv.iter().skip(from).any(|argument| argument.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found_keys;

    fn used(request: &str) -> Vec<KeyAccess> {
        let argv: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let row = (crate::tables().iter().flat_map(|rows| rows.iter()))
            .find(|row| row.spec.name.as_bytes() == argv[0])
            .expect("the tests name commands that are there");
        found_keys(&row.spec, &argv).unwrap().into_iter().map(|(_, access)| access).collect()
    }

    #[test]
    fn options_and_places_decide_how_a_key_is_used() {
        use KeyAccess::{Both, Read, Shallow, Write};
        assert_eq!(used("set k v"), [Write]);
        assert_eq!(used("set get v"), [Write]);
        assert_eq!(used("set k v GET"), [Both]);
        assert_eq!(used("bitfield k get u8 0"), [Read]);
        assert_eq!(used("bitfield k set u8 0 1"), [Both]);
        assert_eq!(used("bitfield k overflow sat get u8"), [Both]);
        assert_eq!(used("copy a b"), [Read, Write]);
        assert_eq!(used("sunionstore d a b"), [Write, Read, Read]);
        assert_eq!(used("rename a b"), [Both, Write]);
        assert_eq!(used("mset a 1 b 2"), [Write, Write]);
        assert_eq!(used("exists a"), [Shallow]);
        assert_eq!(used("incr a"), [Both]);
    }
}
