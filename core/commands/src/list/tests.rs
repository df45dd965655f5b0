//! Replies of the list commands as Redis gives them, waiting, and what the log gets.

use super::*;
use crate::call::LOGGED_ELEMENTS_MAX;
use crate::hash::tests::{ask, dialogue};
use keyspace::Keyspace;
use resp::{Protocol, Reply};

#[test]
fn replies_are_those_of_redis() {
    dialogue(
        COMMANDS,
        &[
            ("RPUSH a 1 2 3 2 1", ":5"),
            ("LPUSH a 0", ":6"),
            ("LPUSHX nokey 1", ":0"),
            ("LRANGE a 0 2", "*3 $1 0 $1 1 $1 2"),
            ("LRANGE a -2 100", "*2 $1 2 $1 1"),
            ("LINDEX a -1", "$1 1"),
            ("LINDEX a 9", "$-1"),
            ("LSET a 9 x", "-ERR index out of range"),
            ("LSET nokey 0 x", "-ERR no such key"),
            ("LINSERT a BEFORE 3 2.5", ":7"),
            ("LINSERT a AFTER nope x", ":-1"),
            ("LPOS a 2 COUNT 0", "*2 :2 :5"),
            ("LPOS a 2 RANK -1", ":5"),
            ("LPOS a nope", "$-1"),
            ("LREM a -1 1", ":1"),
            ("LTRIM a 1 -2", "+OK"),
            ("LPOP a 2", "*2 $1 1 $1 2"),
            ("LPOP nokey 2", "*-1"),
            ("LPOP nokey", "$-1"),
            ("LPOP a 0", "*0"),
            ("LPOP a 1 2", "-ERR wrong number of arguments for 'lpop' command"),
            ("LMPOP 2 nokey a RIGHT COUNT 5", "*2 $1 a *2 $1 3 $3 2.5"),
            ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
            ("LLEN a", ":0"),
        ],
    );
}

#[test]
fn an_element_moves_between_lists_and_around_one() {
    dialogue(
        COMMANDS,
        &[
            ("RPUSH a 1 2 3", ":3"),
            ("LMOVE a a LEFT RIGHT", "$1 1"),
            ("RPOPLPUSH a b", "$1 1"),
            ("LMOVE a b LEFT LEFT", "$1 2"),
            ("LRANGE b 0 -1", "*2 $1 2 $1 1"),
            ("LMOVE a b LEFT LEFT", "$1 3"),
            ("LLEN a", ":0"),
            ("LMOVE a b LEFT LEFT", "$-1"),
            ("LMOVE a b LEFT DOWN", "-ERR syntax error"),
        ],
    );
}

/// Runs a command that may wait; returns the wait, if any, the reply, and what the log gets.
fn run(space: &mut Keyspace, line: &str) -> (Option<Box<crate::Wait>>, String, String) {
    space.effects.clear();
    space.effects.logging = true;
    let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut rows = COMMANDS.iter().chain(crate::generic::COMMANDS);
    let row = rows.find(|row| argv[0].eq_ignore_ascii_case(row.spec.name.as_bytes())).unwrap();
    let mut out = Vec::new();
    let mut call = Call {
        args: Args::new(&argv),
        db: Db::new(space, 0),
        reply: Reply::wire(&mut out, Protocol::Resp2),
        may_block: true,
    };
    let wait = match (row.run)(&mut call).unwrap() {
        Outcome::Block(wait) => Some(wait),
        Outcome::Done(_) => None,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", " ").trim_end().to_string();
    (wait, text(&out), text(&space.effects.rewritten))
}

#[test]
fn a_waiting_pop_waits_for_all_its_keys_and_is_logged_as_a_plain_one() {
    let mut space = Keyspace::new(1, 1);
    let (wait, reply, _) = run(&mut space, "BRPOP a b 1.5");
    let wait = wait.unwrap();
    assert_eq!((wait.keys, wait.timeout_ms), (vec![b"a".to_vec(), b"b".to_vec()], Some(1500)));
    assert_eq!(reply, "");
    ask(COMMANDS, &mut space, Protocol::Resp2, "RPUSH b x y");
    let (wait, reply, log) = run(&mut space, "BRPOP a b 0");
    assert!(wait.is_none());
    assert_eq!((reply.as_str(), log.as_str()), ("*2 $1 b $1 y", "*2 $4 RPOP $1 b"));
    let (_, reply, log) = run(&mut space, "BLMOVE b c LEFT RIGHT 0");
    assert_eq!((reply.as_str(), log.as_str()), ("$1 x", "*5 $5 LMOVE $1 b $1 c $4 LEFT $5 RIGHT"));
    let (_, reply, log) = run(&mut space, "BRPOPLPUSH c c 0");
    assert_eq!((reply.as_str(), log.as_str()), ("$1 x", "*3 $9 RPOPLPUSH $1 c $1 c"));
    let (_, reply, log) = run(&mut space, "BLMPOP 0 2 b c LEFT COUNT 9");
    assert_eq!((reply.as_str(), log.as_str()), ("*2 $1 c *1 $1 x", "*3 $4 LPOP $1 c $1 1"));
}

#[test]
fn what_sort_stores_is_logged_as_the_list_that_it_is() {
    let mut space = Keyspace::new(1, 1);
    ask(COMMANDS, &mut space, Protocol::Resp2, "RPUSH l b a b");
    let (_, reply, log) = run(&mut space, "SORT l BY none_* STORE d");
    let stored = "*2 $3 DEL $1 d *5 $5 RPUSH $1 d $1 a $1 b $1 b";
    assert_eq!((reply.as_str(), log.as_str()), (":3", stored));
    let (_, _, log) = run(&mut space, "SORT gone STORE d");
    assert_eq!(log, "*2 $3 DEL $1 d");
    let (_, _, log) = run(&mut space, "SORT l BY none_*");
    assert_eq!(log, "");
    ask(COMMANDS, &mut space, Protocol::Resp2, &format!("RPUSH m{}", " x".repeat(LOGGED_ELEMENTS_MAX + 1)));
    let (_, _, log) = run(&mut space, "SORT m ALPHA STORE d");
    assert_eq!(log.matches("RPUSH").count(), 2);
}

#[test]
fn a_move_tells_both_lists_their_own_event() {
    let mut space = Keyspace::new(1, 1);
    ask(COMMANDS, &mut space, Protocol::Resp2, "RPUSH a x");
    space.effects.clear();
    space.effects.observed = true;
    ask(COMMANDS, &mut space, Protocol::Resp2, "LMOVE a b RIGHT LEFT");
    let causes: Vec<_> = space.effects.touches().map(|(touch, key)| (touch.cause, key.to_vec())).collect();
    let (push, pop) =
        (keyspace::Cause::Also(push_event(End::Front)), keyspace::Cause::Also(pop_event(End::Back)));
    let (emptied, changed) = (keyspace::Cause::Emptied, keyspace::Cause::Changed);
    let expected = [(push, b"b"), (pop, b"a"), (emptied, b"a"), (changed, b"b")];
    assert_eq!(causes, expected.map(|(cause, key)| (cause, key.to_vec())));
}

#[test]
fn where_waiting_is_not_allowed_the_answer_is_as_if_the_time_were_over() {
    let mut space = Keyspace::new(1, 1);
    assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp2, "BLPOP a 0"), "*-1");
    assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp2, "BLMOVE a b LEFT LEFT 0"), "$-1");
    assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp3, "BLPOP a 0"), "_");
    assert_eq!(ask(COMMANDS, &mut space, Protocol::Resp2, "BLPOP a -1"), "-ERR timeout is negative");
}
