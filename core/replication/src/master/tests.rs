use super::*;

const FRESH: ReplicationId = ReplicationId::NONE;

fn id() -> ReplicationId {
    ReplicationId::drawn([7, 8, 9])
}

fn settings() -> Settings {
    Settings {
        backlog_bytes: 100,
        backlog_ttl_us: Some(1000),
        ping_period_us: u64::MAX / 2,
        timeout_us: 60,
        held_bytes_max: 200,
        held_bytes_soft: 0,
        soft_us: 0,
    }
}

fn master() -> Master<u32> {
    let mut master = Master::new(FRESH);
    master.configure(settings());
    master
}

fn modern() -> Announced {
    Announced { takes_mark: true, takes_id: true, ..Announced::default() }
}

/// What each replica has been sent, and who was closed.
fn sent(master: &mut Master<u32>, to_whom: u32) -> String {
    let mut text = Vec::new();
    for wish in master.take_wishes() {
        match wish {
            Wish::Send(who, bytes) if who == to_whom => text.extend_from_slice(&bytes),
            Wish::Close(who, why) if who == to_whom => {
                text.extend_from_slice(format!("<{why:?}>").as_bytes())
            }
            Wish::Snapshot => text.extend_from_slice(b"<snapshot>"),
            Wish::Older(who, from, to) if who == to_whom => {
                text.extend_from_slice(format!("<log {from} {to}>").as_bytes());
            }
            Wish::Send(..) | Wish::Close(..) | Wish::Older(..) => {}
        }
    }
    String::from_utf8(text).unwrap()
}

/// Bytes that are held for replicas, each counted by itself.
fn held(master: &Master<u32>) -> u64 {
    master.replicas().iter().map(|replica| replica.held_bytes(master.offset())).sum()
}

/// A replica that has got a snapshot and is online.
fn online(master: &mut Master<u32>, who: u32) {
    master.resync(who, modern(), Asked::From(b"?", -1), id(), 0);
    master.begin_snapshot(10, b"mark");
    master.snapshot_sent(who, 0);
    master.ack(who, master.offset(), None, 0);
    master.take_wishes();
}

#[test]
fn nothing_is_counted_before_the_first_replica() {
    let mut master = master();
    master.feed(b"executed");
    master.ask();
    assert!(!master.is_fed() && !master.has_due());
    assert_eq!((master.offset(), master.take_wishes()), (0, Vec::new()));
}

#[test]
fn a_replica_gets_a_snapshot_and_then_what_was_executed_meanwhile() {
    let mut master = master();
    master.resync(1, modern(), Asked::From(b"?", -1), id(), 0);
    assert_eq!((master.id(), sent(&mut master, 1).as_str()), (id(), "<snapshot>"));
    master.feed(b"in the snapshot ");
    assert_eq!(sent(&mut master, 1), "");
    assert_eq!(master.begin_snapshot(10, b"mark").0, [1]);
    assert_eq!(sent(&mut master, 1), format!("+FULLRESYNC {} 16\r\n$EOF:mark\r\n", id()));
    master.feed(b"behind ");
    master.snapshot_sent(1, 5);
    master.feed(b"it ");
    assert_eq!((sent(&mut master, 1).as_str(), held(&master)), ("", 10));
    assert_eq!(master.acked(0), 0, "it has not loaded it");
    master.ack(1, 16, None, 6);
    assert_eq!((sent(&mut master, 1).as_str(), held(&master)), ("behind it ", 0));
    master.feed(b"at once");
    assert_eq!(sent(&mut master, 1), "at once");
    assert_eq!(master.counts(), Counts { full: 1, partial_ok: 0, partial_err: 0 });
}

#[test]
fn those_who_wait_share_a_snapshot_and_others_wait_for_the_next() {
    let mut master = master();
    for who in [1, 2] {
        master.resync(who, modern(), Asked::From(b"?", -1), id(), 0);
    }
    let wishes = master.take_wishes();
    assert_eq!(wishes, [Wish::Snapshot], "it is wanted once");
    assert_eq!(master.begin_snapshot(10, b"mark").0, [1, 2]);
    master.resync(3, modern(), Asked::Snapshot, id(), 0);
    assert!(!master.take_wishes().contains(&Wish::Snapshot), "nobody has read the first one yet");
    master.snapshot_sent(1, 5);
    master.ack(1, master.offset(), None, 5);
    master.tick(6, id);
    assert!(master.take_wishes().contains(&Wish::Snapshot));
    assert_eq!(master.begin_snapshot(10, b"other").0, [3]);
    assert_eq!(sent(&mut master, 3), "$EOF:other\r\n", "SYNC is told no name");
}

#[test]
fn a_replica_goes_on_where_it_was() {
    let mut master = master();
    online(&mut master, 1);
    master.feed(b"abcdefghij");
    master.take_wishes();
    master.remove(1, 0);
    master.feed(b"klm");
    let name = id().to_string().to_uppercase();
    master.resync(2, modern(), Asked::From(name.as_bytes(), 9), FRESH, 0);
    assert_eq!(sent(&mut master, 2), format!("+CONTINUE {}\r\nijklm", id()));
    master.feed(b"n");
    assert_eq!(sent(&mut master, 2), "n");
    master.resync(3, Announced::default(), Asked::From(name.as_bytes(), 15), FRESH, 0);
    assert_eq!(sent(&mut master, 3), "+CONTINUE\r\n", "it lacks nothing");
    assert_eq!((master.counts().partial_ok, master.acked(14)), (2, 1));
}

#[test]
fn what_cannot_be_gone_on_with_is_a_snapshot() {
    let asked = |first: i64, id: &[u8]| {
        let mut master = master();
        online(&mut master, 1);
        master.feed(&[b'x'; 300]);
        master.take_wishes();
        master.resync(2, modern(), Asked::From(id, first), FRESH, 0);
        (sent(&mut master, 2), master.counts().partial_err)
    };
    let name = id();
    let (gone, ahead, there) = (200, 302, 201);
    for first in [gone, ahead, 0, -1, i64::MIN, i64::MAX] {
        assert_eq!(asked(first, name.as_bytes()), ("<snapshot>".to_owned(), 1), "from {first}");
    }
    assert_eq!(asked(there, FRESH.as_bytes()), ("<snapshot>".to_owned(), 1));
    assert_eq!(asked(-1, b"?"), ("<snapshot>".to_owned(), 0));
    assert_eq!(asked(there, name.as_bytes()).0, format!("+CONTINUE {name}\r\n{}", "x".repeat(100)));
}

#[test]
fn what_is_kept_for_a_replica_is_bounded() {
    let mut master = master();
    online(&mut master, 1);
    master.resync(2, modern(), Asked::From(b"?", -1), id(), 0);
    master.begin_snapshot(10, b"mark");
    master.take_wishes();
    (0..20).for_each(|_| master.feed(&[b'x'; 10]));
    assert_eq!(held(&master), 200);
    master.feed(b"y");
    let wishes = master.take_wishes();
    assert!(wishes.contains(&Wish::Close(2, Closed::Overrun)));
    assert_eq!((held(&master), master.replicas().len()), (0, 1));
    assert!(wishes.contains(&Wish::Send(1, b"y".to_vec())), "another one gets all of it");
}

#[test]
fn what_is_held_for_several_is_there_once_and_goes_with_the_last_of_them() {
    let mut master = master();
    for who in [1, 2] {
        master.resync(who, modern(), Asked::From(b"?", -1), id(), 0);
    }
    master.begin_snapshot(10, b"mark");
    master.feed(&[b'x'; 150]);
    assert_eq!((held(&master), master.held_bytes()), (300, 50), "the backlog has 100 of them anyway");
    master.take_wishes();
    (1..=2).for_each(|who| master.snapshot_sent(who, 0));
    master.ack(1, 0, None, 0);
    assert_eq!((sent(&mut master, 1).len(), master.held_bytes()), (150, 50));
    master.remove(2, 0);
    assert_eq!((held(&master), master.held_bytes()), (0, 0));
}

#[test]
fn what_is_held_is_sent_as_fast_as_it_is_taken_and_nothing_else_before_it() {
    let mut master = master();
    master.configure(Settings { held_bytes_max: 0, ..settings() });
    master.resync(1, modern(), Asked::From(b"?", -1), id(), 0);
    master.begin_snapshot(10, b"mark");
    let stream: Vec<u8> = (0..3_000_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    master.feed(&stream);
    master.take_wishes();
    master.snapshot_sent(1, 0);
    master.ack(1, 0, None, 0);
    let mut got = sent(&mut master, 1);
    assert!((1 << 20..2 << 20).contains(&got.len()), "{}", got.len());
    master.send_held(|_| PENDING_BYTES_MAX + 1);
    master.feed(b"later");
    assert_eq!((sent(&mut master, 1).as_str(), master.is_sending()), ("", true));
    while master.is_sending() {
        master.send_held(|_| PENDING_BYTES_MAX);
        let part = sent(&mut master, 1);
        assert!(part.len() <= PART_BYTES);
        got += &part;
    }
    master.feed(b" and last");
    got += &sent(&mut master, 1);
    assert!(got.as_bytes() == [&stream[..], b"later and last"].concat());
}

#[test]
fn what_follows_is_held_for_who_does_not_take_what_it_was_sent() {
    let mut master = master();
    (1..=2).for_each(|who| online(&mut master, who));
    master.has_left(1, PENDING_BYTES_MAX);
    master.has_left(2, PENDING_BYTES_MAX + 1);
    master.send_held(|_| PENDING_BYTES_MAX + 1);
    master.feed(b"executed");
    let wishes = master.take_wishes();
    assert_eq!((wishes, master.good(0, 0)), (vec![Wish::Send(1, b"executed".to_vec())], 2));
    master.send_held(|_| 0);
    master.feed(b" later");
    assert_eq!(sent(&mut master, 2), "executed later");
    master.has_left(2, usize::MAX);
    master.feed(&[b'x'; 201]);
    assert_eq!(sent(&mut master, 2), "<Overrun>");
}

#[test]
fn a_limit_of_some_time_is_one_and_a_small_one_is_the_size_of_the_backlog() {
    let mut master = Master::new(FRESH);
    let (held_bytes_soft, soft_us) = (150, 10);
    master.configure(Settings { held_bytes_max: 1, held_bytes_soft, soft_us, ..settings() });
    for who in [1, 2] {
        master.resync(who, modern(), Asked::From(b"?", -1), id(), 0);
    }
    master.begin_snapshot(10, b"mark");
    master.feed(&[b'x'; 100]);
    assert_eq!(master.replicas().len(), 2, "what the backlog holds is no reason");
    master.feed(b"x");
    assert_eq!(master.replicas().len(), 0);
    master.configure(Settings { held_bytes_max: 0, held_bytes_soft, soft_us, ..settings() });
    master.resync(3, modern(), Asked::From(b"?", -1), id(), 0);
    master.begin_snapshot(10, b"mark");
    master.feed(&[b'x'; 151]);
    for (now_us, left) in [(1, 1), (11, 1), (12, 0)] {
        master.tick(now_us, || FRESH);
        assert_eq!(master.replicas().len(), left, "at {now_us}");
    }
}

#[test]
fn silence_ends_a_replica_and_a_sign_does_not() {
    let mut master = master();
    online(&mut master, 1);
    online(&mut master, 2);
    master.resync(3, modern(), Asked::From(b"?", -1), id(), 0);
    master.begin_snapshot(10, b"mark");
    master.heard(2, 10);
    master.take_wishes();
    master.tick(61, || FRESH);
    let wishes = master.take_wishes();
    assert!(
        wishes.contains(&Wish::Close(1, Closed::Silent)) && !wishes.contains(&Wish::Close(2, Closed::Silent))
    );
    assert!(master.find(3).is_some(), "whoever sends the snapshot watches");
    master.snapshot_sent(3, 61);
    master.tick(122, || FRESH);
    assert!(master.find(3).is_none(), "it does not load");
}

#[test]
fn pings_and_requests_come_behind_what_was_executed_and_count() {
    let mut master = Master::new(FRESH);
    master.configure(Settings { ping_period_us: 10, ..settings() });
    online(&mut master, 1);
    master.ask();
    master.ask();
    master.tick(10, || FRESH);
    assert!(master.has_due());
    assert_eq!(sent(&mut master, 1), "");
    master.feed(b"executed ");
    let text = sent(&mut master, 1);
    assert_eq!(
        text,
        format!("executed {}{}", String::from_utf8_lossy(GETACK), String::from_utf8_lossy(PING))
    );
    assert_eq!((master.offset(), master.has_due()), (text.len() as u64, false));
    master.tick(19, || FRESH);
    assert!(!master.has_due());
}

#[test]
fn who_waits_is_shown_that_the_master_is_alive() {
    let mut master = master();
    master.resync(1, modern(), Asked::From(b"?", -1), id(), 0);
    master.take_wishes();
    for (now_us, text) in [(SIGN_PERIOD_US, "\n"), (SIGN_PERIOD_US + 1, ""), (2 * SIGN_PERIOD_US, "\n")] {
        master.tick(now_us, || FRESH);
        assert_eq!(sent(&mut master, 1), text);
    }
    assert_eq!(master.offset(), 0, "it is none of the stream");
}

#[test]
fn acknowledgements_count_and_never_say_more_than_there_is() {
    let mut master = master();
    online(&mut master, 1);
    online(&mut master, 2);
    master.feed(b"0123456789");
    assert_eq!((master.acked(0), master.acked(10)), (2, 0));
    assert!(master.ack(1, 10, Some(4), 50) && !master.ack(9, 10, None, 50));
    master.ack(2, u64::MAX, Some(u64::MAX), 20);
    master.ack(1, 3, None, 50);
    assert_eq!((master.acked(10), master.acked(11)), (2, 0));
    assert_eq!((master.logged(4), master.logged(5)), (2, 1));
    assert_eq!((master.good(50, 10), master.good(50, 30)), (1, 2));
}

#[test]
fn a_backlog_that_nobody_needs_any_more_is_forgotten_with_its_name() {
    let mut master = master();
    online(&mut master, 1);
    master.feed(b"abc");
    master.remove(1, 100);
    master.tick(1100, || FRESH);
    assert!(master.is_fed());
    master.tick(1101, || FRESH);
    assert!(!master.is_fed());
    master.feed(b"executed while nobody looked");
    master.resync(2, modern(), Asked::From(id().as_bytes(), 4), ReplicationId::drawn([1; 3]), 2000);
    master.take_wishes();
    assert_eq!((master.offset(), master.id()), (3, ReplicationId::drawn([1; 3])));
    assert_eq!(master.replicas()[0].stage(), Stage::Waiting, "the same position is another one now");
}

#[test]
fn only_the_replica_is_refused_that_cannot_read_the_data() {
    let mut master = master();
    let valkey = Announced { version: Some([9, 1, 0]), ..modern() };
    master.resync(1, valkey.clone(), Asked::From(b"?", -1), id(), 0);
    master.resync(2, modern(), Asked::From(b"?", -1), id(), 0);
    master.take_wishes();
    assert_eq!(master.begin_snapshot(12, b"mark").0, [2]);
    let text = sent(&mut master, 1);
    assert_eq!(text, "-ERR the data set needs RDB version 12, which it cannot read\r\n<Version(12)>");
    master.resync(1, valkey.clone(), Asked::From(b"?", -1), id(), 0);
    assert_eq!(master.begin_snapshot(10, b"mark").0, [1]);
    // A Tandem tells a version of Valkey, and that it reads what Redis writes.
    let tandem = Announced { reads_rdb12: true, ..valkey };
    master.resync(3, tandem, Asked::From(b"?", -1), id(), 0);
    assert_eq!(master.begin_snapshot(12, b"mark").0, [3]);
}

#[test]
fn who_reads_no_mark_is_told_the_length_and_is_online_behind_it() {
    let mut master = master();
    master.resync(1, Announced::default(), Asked::Snapshot, id(), 0);
    master.resync(2, modern(), Asked::From(b"?", -1), id(), 0);
    assert_eq!(master.begin_snapshot(10, b"mark"), (vec![2], vec![1]));
    master.feed(b"meanwhile");
    master.take_wishes();
    master.tick(SIGN_PERIOD_US, || FRESH);
    assert_eq!(sent(&mut master, 1), "\n", "it takes a while to write it");
    master.snapshot_sent(1, 0);
    assert_eq!(held(&master), 18, "it was not sent anything");
    master.snapshot_spooled(1, 5);
    assert_eq!(sent(&mut master, 1), "$5\r\n");
    master.tick(2 * SIGN_PERIOD_US, || FRESH);
    assert_eq!(sent(&mut master, 1), "", "a sign would be a part of it");
    master.snapshot_sent(1, 0);
    assert_eq!((sent(&mut master, 1).as_str(), master.acked(0)), ("meanwhile", 1));
    master.tick(u64::MAX / 4, || FRESH);
    assert!(master.find(1).is_some(), "by SYNC it says nothing");
}

#[test]
fn who_reads_no_snapshot_gets_the_next_one_later_and_later() {
    let mut master = master();
    master.configure(Settings { timeout_us: u64::MAX, ..settings() });
    let mut now_us = 0;
    for pause_us in [0, 500_000, 1_000_000, 2_000_000, 2_000_000] {
        master.resync(1, modern(), Asked::From(b"?", -1), id(), now_us);
        if pause_us > 0 {
            assert_eq!(sent(&mut master, 1), "");
            master.tick(now_us + pause_us - 1, id);
            assert!(!sent(&mut master, 1).contains("<snapshot>"), "{pause_us}");
            now_us += pause_us;
            master.tick(now_us, id);
        }
        assert!(sent(&mut master, 1).contains("<snapshot>"), "{pause_us}");
        master.begin_snapshot(10, b"mark");
        master.snapshot_sent(1, now_us);
        master.remove(1, now_us);
        master.take_wishes();
    }
    // Another one waits, reads it, and whoever comes then gets one at once.
    master.resync(2, modern(), Asked::From(b"?", -1), id(), now_us + 2_000_000);
    assert_eq!(sent(&mut master, 2), "<snapshot>");
    master.begin_snapshot(10, b"mark");
    master.snapshot_sent(2, now_us);
    master.ack(2, master.offset(), None, now_us);
    master.take_wishes();
    master.resync(3, modern(), Asked::From(b"?", -1), id(), now_us);
    assert_eq!(sent(&mut master, 3), "<snapshot>");
}

/// The place of a history that everybody in these tests follows.
fn followed(offset: u64) -> Point {
    Point { id: id(), offset }
}

/// The name that the promoted gives.
fn own() -> ReplicationId {
    ReplicationId::drawn([1, 1, 1])
}

#[test]
fn who_relayed_a_history_goes_on_in_it_under_another_name() {
    let mut master = master();
    master.follow(followed(50));
    master.relay(b"relayed ");
    master.tick(1_000_000, || panic!("its backlog is for the time after its master"));
    assert_eq!((master.place(), master.has_due()), (Some(followed(58)), false));
    master.lead(own(), 0);
    assert_eq!((master.id(), master.former(), master.offset()), (own(), Some(followed(58)), 58));
    assert_eq!(master.place(), Some(followed(58)), "nobody knows the new name yet");
    master.feed(b"written");
    for (who, first, sees) in [(1, 51, "relayed written"), (2, 59, "written")] {
        master.resync(who, modern(), Asked::From(id().as_bytes(), first), FRESH, 0);
        assert_eq!(sent(&mut master, who), format!("+CONTINUE {}\r\n{sees}", own()));
    }
    // One that has more of the old history than the promoted had, and one of which some is gone.
    for first in [60, 50] {
        master.resync(3, modern(), Asked::From(id().as_bytes(), first), FRESH, 0);
        assert_eq!(master.find(3).unwrap().stage(), Stage::Waiting);
        master.remove(3, 0);
    }
    assert_eq!(master.place(), Some(Point { id: own(), offset: 65 }));
}

#[test]
fn a_history_with_another_name_is_the_same_and_one_at_another_offset_is_not() {
    let mut master = master();
    master.follow(followed(10));
    master.relay(b"0123456789");
    master.follow(Point { id: own(), offset: 20 });
    assert_eq!((master.id(), master.former()), (own(), Some(followed(20))));
    assert_eq!(master.backlog().unwrap().first(), 10);
    master.follow(Point { id: own(), offset: 7 });
    assert_eq!((master.former(), master.backlog().unwrap().first()), (None, 7));
}

#[test]
fn each_other_name_has_a_number_of_its_own_and_the_same_name_has_the_same() {
    let mut master = master();
    let mut last = master.history();
    let mut rises = |master: &Master<u32>| std::mem::replace(&mut last, master.history()) < master.history();
    master.follow(followed(10));
    assert!(rises(&master));
    master.lead(own(), 0);
    assert!(rises(&master));
    master.rename(FRESH);
    assert!(rises(&master));
    master.forget(own());
    assert!(rises(&master));
    master.resync(1, modern(), Asked::Snapshot, id(), 0);
    assert!(rises(&master));
    master.follow(Point { id: own(), offset: 5 });
    assert!(rises(&master));
    master.follow(followed(10));
    assert!(rises(&master));
    let number = master.history();
    master.relay(b"relayed");
    master.follow(followed(17));
    master.follow(followed(3));
    assert_eq!((master.history(), master.offset()), (number, 3));
}

#[test]
fn a_name_that_others_know_is_the_one_to_go_on_under() {
    let mut master = master();
    master.restore(followed(30), own(), 0);
    assert_eq!((master.id(), master.place()), (own(), Some(followed(30))));
    master.resync(1, modern(), Asked::From(id().as_bytes(), 31), FRESH, 0);
    assert_eq!(sent(&mut master, 1), format!("+CONTINUE {}\r\n", own()));
    assert_eq!(master.place(), Some(Point { id: own(), offset: 30 }));
    // As a replica it was told the name by its master, so its brothers were, too.
    let mut replica = self::master();
    replica.follow(followed(30));
    replica.follow(Point { id: own(), offset: 30 });
    replica.lead(FRESH, 0);
    assert_eq!(replica.former(), Some(Point { id: own(), offset: 30 }));
}

/// A replica that has gone at position 4 and has come again, when the backlog begins later.
fn come_again() -> Master<u32> {
    let mut master = master();
    online(&mut master, 1);
    master.feed(b"1234");
    master.remove(1, 0);
    master.feed(&[b'x'; 200]);
    master.set_has_log(true);
    master.resync(2, modern(), Asked::From(id().as_bytes(), 5), FRESH, 9);
    assert_eq!((sent(&mut master, 2).as_str(), master.counts().full), ("<log 4 204>", 1));
    master.feed(b"meanwhile ");
    master
}

#[test]
fn who_lacks_more_than_the_backlog_has_is_sent_it_from_the_log() {
    let mut master = come_again();
    master.searched(2, true, 10);
    assert_eq!(sent(&mut master, 2), format!("+CONTINUE {}\r\n", id()));
    master.feed(b"and later");
    assert!(master.is_sending() && master.acked(0) == 0);
    master.fetched(2, 11);
    assert_eq!(sent(&mut master, 2), "meanwhile and later");
    assert_eq!((master.counts().partial_ok, master.acked(4), master.acked(5)), (1, 1, 0));
}

#[test]
fn what_the_log_has_not_is_a_snapshot() {
    let mut master = come_again();
    master.searched(2, false, 10);
    assert_eq!((sent(&mut master, 2).as_str(), held(&master)), ("<snapshot>", 0));
    assert_eq!((master.counts().full, master.counts().partial_err), (2, 1));
    assert_eq!(master.begin_snapshot(10, b"mark").0, [2]);
}

#[test]
fn who_was_closed_while_the_log_was_read_for_it_is_sent_a_snapshot() {
    let mut master = come_again();
    master.feed(&[b'y'; 200]);
    assert_eq!(sent(&mut master, 2), "<Overrun>");
    let again = |master: &mut Master<u32>, who| {
        master.resync(who, modern(), Asked::From(id().as_bytes(), 5), FRESH, 9);
        sent(master, who)
    };
    assert_eq!(again(&mut master, 2), "<snapshot>", "it would go on like that for ever");
    assert_eq!(again(&mut master, 3), format!("<log 4 {}>", master.offset()));
}

#[test]
fn the_log_is_read_for_some_replicas_at_a_time_and_not_by_who_relays() {
    let mut master = come_again();
    for who in 3..=6 {
        master.resync(who, modern(), Asked::From(id().as_bytes(), 5), FRESH, 9);
    }
    let searched = master.take_wishes().iter().filter(|wish| matches!(wish, Wish::Older(..))).count();
    assert_eq!(searched, OLDER_MAX - 1);
    master.stop_leading();
    master.remove(3, 9);
    master.resync(7, modern(), Asked::From(id().as_bytes(), 5), FRESH, 9);
    assert!(!master.take_wishes().iter().any(|wish| matches!(wish, Wish::Older(..))));
}

#[test]
fn what_a_master_says_by_itself_changes_no_data() {
    let mut master = master();
    online(&mut master, 1);
    master.feed(b"data");
    let settled = master.settled();
    master.ask();
    master.feed(b"");
    assert!(master.offset() > 4);
    assert_eq!((master.settled(), settled), (settled, Some(Point { id: id(), offset: 4 })));
    master.feed(b"more");
    assert_eq!(master.settled(), master.place());
}

#[test]
fn who_was_in_the_history_before_it_was_renamed_is_told_from_who_was_given_a_copy() {
    let name = id();
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    let own_name = own();
    let by_name = Asked::From(own_name.as_bytes(), 51);
    let renamed = Announced { former: Some(followed(50)), ..modern() };
    master.resync(1, modern(), Asked::From(name.as_bytes(), 51), FRESH, 0);
    master.resync(2, modern(), by_name, FRESH, 0);
    master.resync(3, renamed, by_name, FRESH, 0);
    let gone_on = |master: &Master<u32>| [master.good(0, 9), master.good_that_have_gone_on(0, 9)];
    assert_eq!(gone_on(&master), [3, 2], "the second may have that name from a copy");
    online(&mut master, 4);
    // It asks for what the backlog does not have.
    master.resync(5, modern(), Asked::From(name.as_bytes(), 40), FRESH, 0);
    master.begin_snapshot(10, b"mark");
    master.snapshot_sent(5, 0);
    master.ack(5, master.offset(), None, 0);
    assert_eq!(gone_on(&master), [5, 2]);
}

#[test]
fn how_long_a_replica_is_online_counts_from_when_it_was() {
    let mut master = master();
    assert_eq!(master.longest_online_us(5), None);
    master.resync(1, modern(), Asked::From(b"?", -1), id(), 10);
    master.begin_snapshot(10, b"mark");
    master.snapshot_sent(1, 20);
    assert_eq!(master.longest_online_us(25), None, "it loads");
    master.ack(1, 0, None, 30);
    master.ack(1, 0, None, 40);
    master.resync(2, modern(), Asked::From(id().as_bytes(), 1), FRESH, 45);
    assert_eq!(master.longest_online_us(50), Some(20));
    master.remove(1, 50);
    assert_eq!(master.longest_online_us(50), Some(5));
}

#[test]
fn a_history_that_may_be_gone_on_in_does_not_end_with_the_last_replica() {
    let name = id();
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    master.be_silent(true);
    master.tick(5000, || FRESH);
    assert!(master.behind(Asked::From(name.as_bytes(), 57), None).is_some());
    master.be_silent(false);
    master.tick(5000, || FRESH);
    assert_eq!((master.behind(Asked::From(name.as_bytes(), 57), None), master.is_fed()), (None, false));
}

#[test]
fn what_a_replica_has_of_the_former_history_is_taken_before_anything_is_written() {
    let name = id();
    let asked = |first| Asked::From(name.as_bytes(), first);
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    master.configure(Settings { ping_period_us: 10, ..settings() });
    master.be_silent(true);
    assert_eq!(master.behind(asked(51), None), None, "it has no more");
    let behind = Behind { former: followed(50), name, renamed: None, lacked: 6, can_catch_up: true };
    assert_eq!(master.behind(asked(57), None), Some(behind));
    assert_eq!(master.behind(Asked::From(b"another", 57), None), None);
    master.catch_up(behind, b"lacked");
    assert_eq!(
        (master.offset(), master.former(), master.behind(asked(57), None)),
        (56, Some(followed(56)), None)
    );
    assert_eq!(master.settled(), Some(followed(56)), "it is not to come again");
    master.resync(1, modern(), asked(57), FRESH, 0);
    master.resync(2, modern(), asked(51), FRESH, 0);
    assert_eq!(sent(&mut master, 2), format!("+CONTINUE {}\r\nlacked", own()));
    master.tick(50, || FRESH);
    master.ask();
    assert!(!master.has_due(), "another one may have more");
    master.take_wishes();
    master.catch_up(behind, b"more");
    assert_eq!(sent(&mut master, 2), "more");
    master.be_silent(false);
    master.feed(b"written");
    assert_eq!(
        master.behind(asked(63), None).map(|behind| (behind.lacked, behind.can_catch_up)),
        Some((2, false))
    );
}

#[test]
fn a_history_that_was_renamed_behind_the_place_is_the_former_one_still() {
    let (name, later) = (ReplicationId::drawn([5, 5, 5]), |offset| Some(followed(offset)));
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    let behind = |master: &Master<u32>, renamed| master.behind(Asked::From(name.as_bytes(), 57), renamed);
    let takes = |renamed| behind(&master, renamed).map(|behind| (behind.lacked, behind.can_catch_up));
    assert_eq!([later(49), None].map(takes), [Some((7, false)), None], "it parted before");
    assert_eq!([later(50), later(53)].map(takes), [Some((6, true)); 2]);
    let behind = behind(&master, later(53)).unwrap();
    master.catch_up(behind, b"");
    assert_eq!(master.former(), later(50), "nothing has come");
    master.catch_up(behind, b"lacked");
    assert_eq!(master.former(), Some(Point { id: name, offset: 56 }));
    let tandem = Announced { gives_tail: true, former: later(53), ..modern() };
    master.resync(1, tandem, Asked::From(name.as_bytes(), 57), FRESH, 0);
    assert_eq!(sent(&mut master, 1), format!("+CONTINUE {} 53\r\n", own()));
    let mut replica = self::master();
    replica.follow(followed(40));
    replica.follow(Point { id: own(), offset: 40 });
    replica.renamed_at(56);
    assert_eq!(replica.former(), Some(followed(56)), "it follows what was renamed further on");
}

/// A server that was promoted at byte 50 and has taken six bytes more of the former master's history, which is `name` from byte 53 on.
fn caught_up(name: ReplicationId) -> Master<u32> {
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    let behind = master.behind(Asked::From(name.as_bytes(), 57), Some(followed(53))).unwrap();
    master.catch_up(behind, b"lac");
    let behind = master.behind(Asked::From(name.as_bytes(), 57), Some(followed(53))).unwrap();
    master.catch_up(behind, b"ked");
    master
}

#[test]
fn who_has_not_heard_of_the_later_name_goes_on_by_the_earlier_one_as_far_as_that_holds() {
    let mut master = caught_up(ReplicationId::drawn([5, 5, 5]));
    let name = id();
    let earlier = |first| Asked::From(name.as_bytes(), first);
    master.resync(1, modern(), earlier(52), FRESH, 0);
    assert_eq!(sent(&mut master, 1), format!("+CONTINUE {}\r\nacked", own()));
    let parted = master.behind(earlier(56), None).unwrap();
    assert_eq!((parted.former, parted.lacked, parted.can_catch_up), (followed(53), 2, false));
    master.resync(2, modern(), earlier(56), FRESH, 0);
    assert!(!sent(&mut master, 2).contains("CONTINUE"), "what it has is not what was taken");
}

#[test]
fn what_has_come_by_the_earlier_name_may_go_on_by_it() {
    let name = ReplicationId::drawn([5, 5, 5]);
    let mut master = master();
    master.follow(followed(50));
    master.lead(own(), 0);
    let behind = master.behind(Asked::From(name.as_bytes(), 54), Some(followed(90))).unwrap();
    master.catch_up(behind, b"lac");
    let behind = master.behind(Asked::From(followed(0).id.as_bytes(), 57), None).unwrap();
    assert_eq!((behind.former, behind.lacked, behind.can_catch_up), (followed(53), 3, true));
    master.catch_up(behind, b"ked");
    assert_eq!(master.former(), Some(followed(56)));
    master.resync(1, modern(), Asked::From(name.as_bytes(), 54), FRESH, 0);
    assert_eq!(sent(&mut master, 1), format!("+CONTINUE {}\r\nked", own()));
}

#[test]
fn who_follows_what_was_renamed_and_has_no_more_goes_on_where_both_are_the_same() {
    let name = ReplicationId::drawn([5, 5, 5]);
    let comes = |first, renamed| {
        let mut master = master();
        master.follow(followed(40));
        master.relay(b"0123456789");
        master.lead(own(), 0);
        let announced = Announced { gives_tail: true, former: Some(renamed), ..modern() };
        master.resync(1, announced, Asked::From(name.as_bytes(), first), FRESH, 0);
        sent(&mut master, 1)
    };
    assert_eq!(comes(51, followed(50)), format!("+CONTINUE {} 50\r\n", own()));
    assert_eq!(comes(49, followed(90)), format!("+CONTINUE {} 50\r\n89", own()));
    assert_eq!(comes(46, followed(45)), format!("+CONTINUE {} 45\r\n56789", own()));
    let other = Point { id: ReplicationId::drawn([6, 6, 6]), offset: 50 };
    for (first, renamed) in [(47, followed(45)), (52, followed(90)), (46, other)] {
        assert_eq!(comes(first, renamed), "<snapshot>");
    }
}
