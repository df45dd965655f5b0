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
