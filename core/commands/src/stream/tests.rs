//! Replies of the stream commands as Redis gives them, waiting, and what the log gets.

use super::*;
use crate::call::{Outcome, Wait};
use keyspace::{Db, Keyspace};
use resp::Protocol;

/// What a command came to: its reply, its wait and its records for the log.
struct Ran {
    reply: String,
    wait: Option<Box<Wait>>,
    log: String,
}

fn run(space: &mut Keyspace, protocol: Protocol, line: &str) -> Ran {
    space.effects.clear();
    space.effects.logging = true;
    let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let named = |rows: &'static [Row], name: &str| rows.iter().find(|row| row.spec.name == name);
    let name = String::from_utf8_lossy(argv[0]).to_lowercase();
    let row = named(COMMANDS, &name).unwrap();
    let full = format!("{name}|{}", String::from_utf8_lossy(argv[1]).to_lowercase());
    let row = named(row.subcommands, &full).unwrap_or(row);
    let mut out = Vec::new();
    let (db, reply) = (Db::new(space, 0), Reply::wire(&mut out, protocol));
    let outcome = (row.run)(&mut Call { args: Args::new(&argv), db, reply, may_block: true });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", " ").trim_end().to_string();
    let log = text(&space.effects.rewritten);
    match outcome {
        Err(error) => Ran { reply: format!("-{}", error.shown()), wait: None, log },
        Ok(Outcome::Block(wait)) => Ran { reply: String::new(), wait: Some(wait), log },
        Ok(Outcome::Done(_)) => Ran { reply: text(&out), wait: None, log },
    }
}

fn dialogue(lines: &[(&str, &str)]) -> Keyspace {
    let mut space = Keyspace::new(1, 1);
    for (line, reply) in lines {
        assert_eq!(run(&mut space, Protocol::Resp2, line).reply, *reply, "{line}");
    }
    space
}

const THREE: [(&str, &str); 3] =
    [("XADD s 1-1 a 1", "$3 1-1"), ("XADD s 1-* a 2", "$3 1-2"), ("XADD s 2 b 3", "$3 2-0")];

#[test]
fn additions_and_ranges() {
    let mut space = dialogue(&THREE);
    let mut asked = |line: &str| run(&mut space, Protocol::Resp2, line).reply;
    assert_eq!(asked("XRANGE s - + COUNT 1"), "*1 *2 $3 1-1 *2 $1 a $1 1");
    assert_eq!(asked("XRANGE s (1-1 1"), "*1 *2 $3 1-2 *2 $1 a $1 2");
    assert_eq!(asked("XREVRANGE s + - COUNT 1"), "*1 *2 $3 2-0 *2 $1 b $1 3");
    assert_eq!(asked("XRANGE s - + COUNT 0"), "*-1");
    assert_eq!(
        asked("XADD s 1-1 a 1"),
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item"
    );
    assert_eq!(asked("XADD s 0-0 a 1"), "-ERR The ID specified in XADD must be greater than 0-0");
    assert_eq!(asked("XADD s * a"), "-ERR wrong number of arguments for 'xadd' command");
    assert_eq!(asked("XADD nokey NOMKSTREAM * a 1"), "$-1");
    assert_eq!(asked("XDEL s 1-1 1-1"), ":1");
    assert_eq!(asked("XTRIM s MINID 2"), ":1");
    assert_eq!(
        asked("XTRIM s MAXLEN 5 LIMIT 1"),
        "-ERR syntax error, LIMIT cannot be used without the special ~ option"
    );
    assert_eq!(asked("XLEN s"), ":1");
    assert_eq!(
        asked("XSETID s 1-1"),
        "-ERR The ID specified in XSETID is smaller than the target stream top item"
    );
}

#[test]
fn the_log_gets_the_identity_and_the_exact_trim() {
    let mut space = Keyspace::new(1, 1);
    space.now.unix_ms = 77;
    assert_eq!(run(&mut space, Protocol::Resp2, "XADD s * a 1").log, "*5 $4 XADD $1 s $4 77-0 $1 a $1 1");
    let log = run(&mut space, Protocol::Resp2, "XADD s MAXLEN ~ 1 * a 1").log;
    assert_eq!(log, "*5 $4 XADD $1 s $4 77-1 $1 a $1 1");
    let log = run(&mut space, Protocol::Resp2, "XADD s MAXLEN 1 * a 1").log;
    assert_eq!(log, "*8 $4 XADD $1 s $6 MAXLEN $1 = $1 1 $4 77-2 $1 a $1 1");
}

#[test]
fn reads_take_what_is_behind_and_wait_for_more() {
    let mut space = dialogue(&THREE);
    let reply = run(&mut space, Protocol::Resp2, "XREAD COUNT 1 STREAMS s nokey 1-1 0").reply;
    assert_eq!(reply, "*1 *2 $1 s *1 *2 $3 1-2 *2 $1 a $1 2");
    let reply = run(&mut space, Protocol::Resp3, "XREAD STREAMS s +").reply;
    assert_eq!(reply, "%1 $1 s *1 *2 $3 2-0 *2 $1 b $1 3");
    assert_eq!(run(&mut space, Protocol::Resp3, "XREAD STREAMS s $").reply, "_");
    let wait = run(&mut space, Protocol::Resp2, "XREAD BLOCK 5 STREAMS s $").wait.unwrap();
    assert_eq!((wait.timeout_ms, wait.on_removal), (Some(5), false));
    assert_eq!(wait.again.unwrap().last().unwrap(), b"2-0");
}

#[test]
fn a_group_reads_claims_and_acknowledges() {
    let mut space = dialogue(&THREE);
    for (line, reply) in [
        ("XGROUP CREATE s g 0", "+OK"),
        ("XGROUP CREATE s g 0", "-BUSYGROUP Consumer Group name already exists"),
        (
            "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
            "*1 *2 $1 s *2 *2 $3 1-1 *2 $1 a $1 1 *2 $3 1-2 *2 $1 a $1 2",
        ),
        ("XPENDING s g", "*4 :2 $3 1-1 $3 1-2 *1 *2 $1 c $1 2"),
        ("XCLAIM s g d 0 1-1 JUSTID", "*1 $3 1-1"),
        ("XDEL s 1-2", ":1"),
        ("XREADGROUP GROUP g c STREAMS s 0", "*1 *2 $1 s *1 *2 $3 1-2 *-1"),
        ("XAUTOCLAIM s g d 0 0 JUSTID", "*3 $3 0-0 *1 $3 1-1 *1 $3 1-2"),
        ("XACK s g 1-1 9-9", ":1"),
        ("XPENDING s g", "*4 :0 $-1 $-1 *-1"),
        ("XGROUP DELCONSUMER s g c", ":0"),
        (
            "XREADGROUP GROUP nobody c STREAMS s >",
            "-NOGROUP No such key 's' or consumer group 'nobody' in XREADGROUP with GROUP option",
        ),
        (
            "XINFO GROUPS s",
            "*1 *12 $4 name $1 g $9 consumers :1 $7 pending :0 $17 last-delivered-id $3 1-2 $12 entries-read :2 $3 lag $-1",
        ),
        ("XGROUP DESTROY s g", ":1"),
        ("XGROUP NOTHING s g", "-ERR unknown subcommand 'NOTHING'. Try XGROUP HELP."),
    ] {
        assert_eq!(run(&mut space, Protocol::Resp2, line).reply, reply, "{line}");
    }
}

#[test]
fn a_read_for_a_group_is_logged_as_claims_and_the_position() {
    let mut space = dialogue(&THREE);
    run(&mut space, Protocol::Resp2, "XGROUP CREATE s g 0");
    space.now.unix_ms = 5;
    let log = run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c COUNT 1 STREAMS s >").log;
    let expected = [
        "*5 $6 XGROUP $14 CREATECONSUMER $1 s $1 g $1 c",
        "*14 $6 XCLAIM $1 s $1 g $1 c $1 0 $3 1-1 $4 TIME $1 5 $10 RETRYCOUNT $1 1 $5 FORCE $6 JUSTID $6 LASTID $3 1-1",
        "*7 $6 XGROUP $5 SETID $1 s $1 g $3 1-1 $11 ENTRIESREAD $1 1",
    ];
    assert_eq!(log, expected.join(" "));
    let wait = run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c BLOCK 0 STREAMS nokey >");
    assert!(wait.wait.is_none() && wait.reply.starts_with("-NOGROUP"));
    run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c STREAMS s >");
    let ran = run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    assert_eq!((ran.log.as_str(), ran.wait.unwrap().on_removal), ("", true));
    assert_eq!(space.effects.changes, 0);
}

#[test]
fn a_lost_entry_read_once_more_stays_pending_for_the_log() {
    let mut space = dialogue(&THREE);
    run(&mut space, Protocol::Resp2, "XGROUP CREATE s g 0");
    run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    run(&mut space, Protocol::Resp2, "XDEL s 1-1");
    let ran = run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c STREAMS s 0");
    assert_eq!((ran.reply.as_str(), ran.log.as_str()), ("*1 *2 $1 s *1 *2 $3 1-1 *-1", ""));
    assert_eq!(space.effects.changes, 0);
}

#[test]
fn an_emptied_stream_stays_and_a_refused_addition_makes_none() {
    let mut space = Keyspace::new(1, 1);
    run(&mut space, Protocol::Resp2, "XADD s 0-0 a 1");
    assert_eq!(space.key_count(), 0);
    run(&mut space, Protocol::Resp2, "XADD s 1-1 a 1");
    run(&mut space, Protocol::Resp2, "XDEL s 1-1");
    assert_eq!(space.key_count(), 1);
    let info = run(&mut space, Protocol::Resp2, "XINFO STREAM s").reply;
    assert!(
        info.contains("max-deleted-entry-id $3 1-1") && info.ends_with("first-entry $-1 $10 last-entry $-1"),
        "{info}"
    );
}

const READ_BY_TWO: [(&str, &str); 4] = [
    ("XGROUP CREATE s g 0", "+OK"),
    ("XGROUP CREATE s h 0", "+OK"),
    (
        "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
        "*1 *2 $1 s *2 *2 $3 1-1 *2 $1 a $1 1 *2 $3 1-2 *2 $1 a $1 2",
    ),
    ("XREADGROUP GROUP h c COUNT 1 STREAMS s >", "*1 *2 $1 s *1 *2 $3 1-1 *2 $1 a $1 1"),
];

#[test]
fn a_deletion_minds_the_groups_as_told() {
    let mut space = dialogue(&[&THREE[..], &READ_BY_TWO].concat());
    for (line, reply, log) in [
        ("XDELEX s ACKED IDS 3 1-1 1-2 2-0", "*3 :2 :2 :2", ""),
        ("XACKDEL s g ACKED IDS 2 1-1 9-9", "*2 :2 :-1", "*4 $4 XACK $1 s $1 g $3 1-1"),
        ("XACKDEL s h ACKED IDS 1 1-1", "*1 :1", "*4 $4 XACK $1 s $1 h $3 1-1 *3 $4 XDEL $1 s $3 1-1"),
        ("XDELEX s IDS 1 1-2", "*1 :1", "*3 $4 XDEL $1 s $3 1-2"),
        ("XPENDING s g", "*4 :1 $3 1-2 $3 1-2 *1 *2 $1 c $1 1", ""),
        ("XDELEX s IDS 1 1-2 DELREF", "*1 :-1", "*4 $4 XACK $1 s $1 g $3 1-2 *4 $4 XACK $1 s $1 h $3 1-2"),
        ("XPENDING s g", "*4 :0 $-1 $-1 *-1", ""),
        ("XDELEX s IDS 2 1-1", "-ERR The `numids` parameter must match the number of arguments", ""),
        ("XDELEX s IDS 0 1-1", "-ERR Number of IDs must be a positive integer", ""),
        ("XDELEX s KEEPREF ACKED IDS 1 1-1", "-ERR syntax error", ""),
        ("XDELEX none IDS 2 1-1 x", "*2 :-1 :-1", ""),
        ("XACKDEL s none IDS 1 x", "*1 :-1", ""),
    ] {
        let ran = run(&mut space, Protocol::Resp2, line);
        assert_eq!((ran.reply.as_str(), ran.log.as_str()), (reply, log), "{line}");
    }
}

#[test]
fn a_trim_minds_the_groups_as_told() {
    let mut space = dialogue(&[&THREE[..], &READ_BY_TWO].concat());
    for (line, reply) in [
        ("XTRIM s MAXLEN 0 ACKED", ":0"),
        ("XACK s g 1-1 1-2", ":2"),
        ("XACK s h 1-1", ":1"),
        ("XTRIM s MAXLEN 0 ACKED", ":1"),
        ("XTRIM s ACKED MAXLEN 0 DELREF", "-ERR syntax error"),
        ("XREADGROUP GROUP h c COUNT 1 STREAMS s >", "*1 *2 $1 s *1 *2 $3 1-2 *2 $1 a $1 2"),
        ("XTRIM s MINID 2 DELREF", ":1"),
        ("XPENDING s h", "*4 :0 $-1 $-1 *-1"),
        ("XADD s DELREF MAXLEN 1 3-0 a 1", "$3 3-0"),
        ("XLEN s", ":1"),
        ("XGROUP CREATE s i -", "-ERR Invalid stream ID specified as stream command argument"),
        ("XGROUP SETID s g +", "+OK"),
    ] {
        assert_eq!(run(&mut space, Protocol::Resp2, line).reply, reply, "{line}");
    }
}

#[test]
fn an_addition_below_its_own_minid_is_logged_as_asked() {
    let mut space = Keyspace::new(1, 1);
    let log = run(&mut space, Protocol::Resp2, "XADD s MINID 9 5-1 a 1").log;
    assert_eq!(log, "*8 $4 XADD $1 s $5 MINID $1 = $3 9-0 $3 5-1 $1 a $1 1");
}

/// A keyspace with the stream `s` of entries 1-1, 2-1, … in nodes of `per_node`, and the group `g` that has all of them pending.
fn read_by_a_group(entries: u64, per_node: usize) -> Keyspace {
    let mut space = Keyspace::new(1, 1);
    space.limits.stream_node_entries = per_node;
    let mut ask = |line: &str| run(&mut space, Protocol::Resp2, line).reply;
    (1..=entries).for_each(|n| _ = ask(&format!("XADD s {n}-1 f v")));
    assert_eq!(ask("XGROUP CREATE s g 0"), "+OK");
    ask("XREADGROUP GROUP g c STREAMS s >");
    space
}

fn identities(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|n| format!("{n}-1")).collect::<Vec<_>>().join(" ")
}

#[test]
fn approximate_trims_mind_the_groups_in_the_nodes_that_could_go() {
    // (acknowledged, the trim, how many go, what is left of the stream), each of 10 entries in nodes of 4.
    let table: &[(u64, &str, &str, u64)] = &[
        (0, "MAXLEN ~ 2", ":8", 2),
        (0, "MAXLEN ~ 2 ACKED", ":0", 10),
        (3, "MAXLEN ~ 2 ACKED", ":3", 7),
        (6, "MAXLEN ~ 2 ACKED", ":6", 4),
        (6, "MAXLEN ~ 7 ACKED", ":0", 10),
        (6, "MAXLEN ~ 0 LIMIT 4 ACKED", ":4", 6),
        (6, "MINID ~ 9-0 ACKED", ":6", 4),
        (6, "MINID ~ 8-0 ACKED", ":4", 6),
        (0, "MAXLEN ~ 2 DELREF", ":8", 2),
        (0, "MAXLEN ~ 3 DELREF", ":4", 6),
        (0, "MINID ~ 8-0 DELREF", ":4", 6),
    ];
    for (acknowledged, trim, reply, left) in table {
        let mut space = read_by_a_group(10, 4);
        let mut ask = |line: &str| run(&mut space, Protocol::Resp2, line).reply;
        if *acknowledged > 0 {
            ask(&format!("XACK s g {}", identities(1..acknowledged + 1)));
        }
        assert_eq!(ask(&format!("XTRIM s {trim}")), *reply, "{acknowledged} {trim}");
        assert_eq!(ask("XLEN s"), format!(":{left}"), "{acknowledged} {trim}");
        let pending = if trim.ends_with("DELREF") { *left } else { 10 - acknowledged };
        assert!(ask("XPENDING s g").starts_with(&format!("*4 :{pending} ")), "{acknowledged} {trim}");
    }
}

#[test]
fn what_the_log_gets_of_a_trim_comes_to_the_same() {
    for trim in [
        "MAXLEN ~ 1 ACKED",
        "MINID ~ 9-0 ACKED",
        "MINID 9-0 ACKED",
        "MAXLEN 3 ACKED",
        "MINID ~ 9-0 DELREF",
        "MAXLEN ~ 3 DELREF",
        "MINID 3 DELREF",
        "MAXLEN 5 DELREF",
        "MAXLEN ~ 3",
    ] {
        for adds in [false, true] {
            let spaces = [(); 2].map(|()| {
                let mut space = read_by_a_group(10, 4);
                run(&mut space, Protocol::Resp2, "XACK s g 2-1 3-1 5-1 6-1");
                run(&mut space, Protocol::Resp2, "XDEL s 1-1 4-1 7-1");
                space
            });
            let [mut first, mut second] = spaces;
            let line = if adds { format!("XADD s {trim} 20-1 f v") } else { format!("XTRIM s {trim}") };
            let log = run(&mut first, Protocol::Resp2, &line).log;
            let words = |part: &str| {
                let words = part.split(' ').skip(1).filter(|word| !word.is_empty() && !word.starts_with('$'));
                words.collect::<Vec<_>>().join(" ")
            };
            let mut logged: Vec<String> = log.split('*').skip(1).map(words).collect();
            if logged.is_empty() {
                logged.push(line.clone());
            }
            logged.iter().for_each(|line| _ = run(&mut second, Protocol::Resp2, line));
            for look in ["XRANGE s - +", "XPENDING s g", "XINFO STREAM s"] {
                let [a, b] = [&mut first, &mut second].map(|space| run(space, Protocol::Resp2, look).reply);
                let rest = |text: &str| text.split("last-generated-id").nth(1).unwrap_or(text).to_owned();
                assert_eq!(rest(&a), rest(&b), "{look} after {line} or {logged:?}");
            }
        }
    }
}

#[test]
fn a_trim_that_drops_references_drops_those_of_entries_deleted_before() {
    let table = [
        ("XTRIM s MAXLEN 3 DELREF", ":2", 3),
        ("XTRIM s MINID 4 DELREF", ":2", 3),
        ("XTRIM s MINID 3 DELREF", ":1", 4),
        ("XTRIM s MINID 9 DELREF", ":5", 0),
        ("XADD s MINID 3 DELREF 9-1 a b", "$3 9-1", 4),
        // It ends with the last entry that goes.
        ("XTRIM s MAXLEN 4 DELREF", ":1", 5),
        ("XTRIM s MAXLEN 3", ":2", 6),
    ];
    for (line, reply, pending) in table {
        let mut space = read_by_a_group(6, 100);
        let mut ask = |line: &str| run(&mut space, Protocol::Resp2, line).reply;
        assert_eq!(ask("XDEL s 2-1"), ":1");
        assert_eq!(ask(line), reply, "{line}");
        assert!(ask("XPENDING s g").starts_with(&format!("*4 :{pending} ")), "{line}");
    }
    let mut space = read_by_a_group(6, 100);
    let mut ask = |line: &str| run(&mut space, Protocol::Resp2, line);
    assert_eq!(ask("XDEL s 1-1").reply, ":1");
    let trimmed = ask("XTRIM s MINID 2 DELREF");
    assert_eq!(trimmed.reply, ":0");
    assert!(trimmed.log.ends_with("$4 XACK $1 s $1 g $3 1-1"), "{}", trimmed.log);
    assert!(ask("XPENDING s g").reply.starts_with("*4 :5 $3 2-1"), "nothing went, yet the reference did");
    // Entries that a trim has marked in the first node are such, too; those of a node that is gone are not gone over.
    assert_eq!(
        (ask("XTRIM s MAXLEN 3").reply, ask("XTRIM s MAXLEN 2 DELREF").reply),
        (":2".into(), ":1".into())
    );
    assert!(ask("XPENDING s g").reply.starts_with("*4 :2 $3 5-1"));
    let mut space = read_by_a_group(6, 2);
    let mut ask = |line: &str| run(&mut space, Protocol::Resp2, line).reply;
    assert_eq!((ask("XTRIM s MAXLEN 4"), ask("XTRIM s MAXLEN 3 DELREF")), (":2".into(), ":1".into()));
    assert!(ask("XPENDING s g").starts_with("*4 :5 $3 1-1"));
}

#[test]
fn a_reader_that_claims_gets_what_others_left_and_then_what_is_new() {
    let mut space = read_by_a_group(3, 100);
    let start = space.now;
    let mut at = |ms: i64, line: &str| {
        space.set_now(base::Now::at_ms(start.unix_ms + ms));
        run(&mut space, Protocol::Resp2, line)
    };
    at(50, "XACK s g 2-1");
    at(50, "XCLAIM s g c 0 1-1");
    at(100, "XADD s 4-1 f v");
    assert_eq!(at(100, "XREADGROUP GROUP g d CLAIM 1000 COUNT 1 STREAMS s 0").reply, "*1 *2 $1 s *0");
    let none_idle = at(100, "XREADGROUP GROUP g d CLAIM 1000 STREAMS s >");
    assert_eq!(none_idle.reply, "*1 *2 $1 s *1 *4 $3 4-1 *2 $1 f $1 v :0 :0");
    at(120, "XADD s 5-1 f v");
    at(120, "XADD s 6-1 f v");
    // 3-1 was delivered at 0, 1-1 at 50 for the second time, 4-1 at 100.
    let some = at(150, "XREADGROUP GROUP g d COUNT 3 CLAIM 100 NOACK STREAMS s >");
    let entry =
        |id: &str, idle: i64, deliveries: i64| format!("*4 $3 {id} *2 $1 f $1 v :{idle} :{deliveries}");
    let want = [entry("3-1", 150, 1), entry("1-1", 100, 2), entry("5-1", 0, 0)].join(" ");
    assert_eq!(some.reply, format!("*1 *2 $1 s *3 {want}"));
    assert_eq!(some.log.matches("XCLAIM").count(), 2);
    assert!(some.log.contains("XGROUP $5 SETID"));
    assert_eq!(
        at(150, "XPENDING s g - + 9").reply,
        "*3 *4 $3 1-1 $1 d :0 :3 *4 $3 3-1 $1 d :0 :2 *4 $3 4-1 $1 d :50 :1"
    );
    // What the stream has lost is passed over.
    at(150, "XDEL s 1-1 3-1 4-1 6-1");
    assert_eq!(at(900, "XREADGROUP GROUP g d CLAIM 100 STREAMS s >").reply, "*-1");
    assert_eq!(
        at(900, "XREADGROUP GROUP g d CLAIM -1 STREAMS s >").reply,
        "-ERR min-idle-time must be a positive integer"
    );
    let wrong = "-ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.";
    assert_eq!(at(900, "XREAD CLAIM 1 STREAMS s 0").reply, wrong);
}

#[test]
fn a_reader_that_claims_waits_until_something_has_been_pending_long_enough() {
    let mut space = read_by_a_group(2, 100);
    let start = space.now;
    let mut at = |ms: i64, line: &str| {
        space.set_now(base::Now::at_ms(start.unix_ms + ms));
        run(&mut space, Protocol::Resp2, line).wait
    };
    let line = "XREADGROUP GROUP g d BLOCK 0 CLAIM 1000 STREAMS s >";
    assert_eq!(at(400, line).map(|wait| wait.look_again_ms), Some(Some(600)));
    assert_eq!(
        at(400, "XREADGROUP GROUP g d BLOCK 0 STREAMS s >").map(|wait| wait.look_again_ms),
        Some(None)
    );
    assert!(at(1000, line).is_none());
    // Nor does it look again and again for what the stream has lost.
    at(1000, "XDEL s 1-1 2-1");
    assert_eq!(at(1500, line).map(|wait| wait.look_again_ms), Some(Some(500)));
    assert_eq!(at(2000, line).map(|wait| wait.look_again_ms), Some(None));
}

#[test]
fn a_stream_that_is_named_twice_for_a_group_is_told_as_often_as_something_is_left() {
    let entry = |id: &str| format!("*2 $3 {id} *2 $1 a $1 1");
    let (one, two) = (entry("1-1"), entry("1-2"));
    let cases = [
        ("STREAMS s s > >", format!("*1 *2 $1 s *2 {one} {two}")),
        ("COUNT 1 STREAMS s s s > > >", format!("*2 *2 $1 s *1 {one} *2 $1 s *1 {two}")),
        ("COUNT 1 STREAMS s t s > > >", format!("*2 *2 $1 s *1 {one} *2 $1 s *1 {two}")),
        ("COUNT 1 NOACK STREAMS s s s > > >", format!("*2 *2 $1 s *1 {one} *2 $1 s *1 {two}")),
        ("STREAMS s s > 0", format!("*2 *2 $1 s *2 {one} {two} *2 $1 s *2 {one} {two}")),
        ("STREAMS s s 0 >", format!("*2 *2 $1 s *0 *2 $1 s *2 {one} {two}")),
        ("STREAMS t s s t > > > >", format!("*1 *2 $1 s *2 {one} {two}")),
    ];
    for (asked, reply) in cases {
        let mut space = dialogue(&[
            ("XADD s 1-1 a 1", "$3 1-1"),
            ("XADD s 1-2 a 1", "$3 1-2"),
            ("XGROUP CREATE s g 0", "+OK"),
            ("XGROUP CREATE t g 0 MKSTREAM", "+OK"),
        ]);
        let line = format!("XREADGROUP GROUP g c {asked}");
        assert_eq!(run(&mut space, Protocol::Resp2, &line).reply, reply, "{line}");
        let more = run(&mut space, Protocol::Resp2, "XREADGROUP GROUP g c BLOCK 0 STREAMS s s > >");
        assert!(more.wait.is_some(), "all was delivered by {line}");
    }
}
