//! Events in, wishes out; no file and no clock.

use super::*;
use crate::room::{RESERVE_BYTES, TIGHT_BYTES};

const SECOND_US: u64 = 1_000_000;

fn with(policy: Policy) -> Journal {
    let mut journal = Journal::new(policy);
    journal.open(true);
    journal
}

fn everysec() -> Journal {
    with(Policy { lag_us_max: Some(2 * SECOND_US), ..Policy::default() })
}

fn always() -> Journal {
    with(Policy { need: Need::Synced, ..Policy::default() })
}

fn commit(journal: &mut Journal, text: &str) -> u64 {
    journal.commit(&mut text.as_bytes().to_vec())
}

/// Writes all that may be written.
fn write(journal: &mut Journal, now_us: u64) -> Option<String> {
    let batch = journal.begin_write(u64::MAX)?;
    let text = String::from_utf8(batch.bytes.clone()).unwrap();
    assert_eq!(journal.wrote(batch, Ok(()), 1, now_us), Outcome::Written(None));
    Some(text)
}

fn sync(journal: &mut Journal, now_us: u64) {
    assert!(journal.begin_sync(now_us));
    journal.synced(now_us);
}

fn refused(journal: &mut Journal, grows: bool, bytes: usize) -> Option<String> {
    let refusal = journal.refusal(grows, &|| bytes).map(|refusal| refusal.to_string());
    assert!(refusal.is_none() || journal.looks_closer(), "what is refused is looked at");
    refusal
}

#[test]
fn a_ticket_is_the_position_behind_a_commit() {
    let mut journal = everysec();
    assert_eq!(
        [commit(&mut journal, "abc"), commit(&mut journal, ""), commit(&mut journal, "de")],
        [3, 0, 5]
    );
    assert_eq!(write(&mut journal, 0).as_deref(), Some("abcde"));
    assert_eq!((journal.safe(), journal.unwritten()), (5, 0));
    assert_eq!(write(&mut journal, 0), None);
}

#[test]
fn replies_that_a_lagging_disk_holds_back_do_not_leave_by_a_change_to_always_and_back() {
    let mut journal = everysec();
    let first = commit(&mut journal, "a");
    write(&mut journal, 0);
    assert!(journal.begin_sync(3 * SECOND_US), "it takes long");
    let second = commit(&mut journal, "b");
    write(&mut journal, 3 * SECOND_US);
    assert_eq!(journal.safe(), first);
    journal.set_policy(Policy { need: Need::Synced, ..Policy::default() }, 3 * SECOND_US);
    journal.set_policy(everysec().policy(), 3 * SECOND_US);
    assert_eq!(journal.safe(), first, "it may be lost, and more than two seconds with it");
    journal.synced(4 * SECOND_US);
    assert!(journal.wants_sync(4 * SECOND_US));
    sync(&mut journal, 4 * SECOND_US);
    assert_eq!(journal.safe(), second);
}

#[test]
fn memory_is_taken_until_a_commit_is_written_also_while_it_is() {
    let mut journal = everysec();
    journal.commit(&mut vec![b'x'; 1000]);
    assert!(journal.buffer_bytes() >= 1000);
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert!(journal.buffer_bytes() >= 1000, "it is being written");
    journal.wrote(batch, Err(Fault::Retry("full".to_owned())), 1, 0);
    assert!(journal.buffer_bytes() >= 1000, "it waits again");
    let batch = journal.begin_write(u64::MAX).unwrap();
    journal.wrote(batch, Ok(()), 1, 0);
    assert_eq!(journal.buffer_bytes(), 0);
}

#[test]
fn without_a_log_nobody_waits() {
    let mut journal = Journal::new(Policy::default());
    assert_eq!((commit(&mut journal, "abc"), journal.end()), (0, 0));
    assert_eq!((write(&mut journal, 0), refused(&mut journal, true, 9)), (None, None));
}

#[test]
fn replies_leave_when_their_need_is_met_and_not_before() {
    let mut journal = always();
    commit(&mut journal, "a");
    write(&mut journal, 0);
    assert!(journal.begin_sync(0));
    commit(&mut journal, "b");
    write(&mut journal, 0);
    assert_eq!(journal.safe(), 0, "written, not synced");
    journal.synced(0);
    assert_eq!(journal.safe(), 1, "what was written behind the begin of a sync is not covered");
    assert!(journal.wants_sync(0));
    sync(&mut journal, 0);
    assert_eq!((journal.safe(), journal.wants_sync(0)), (2, false));
}

#[test]
fn what_was_executed_under_a_promise_is_kept_to_it_when_the_promise_is_taken_back() {
    let mut journal = always();
    commit(&mut journal, "a");
    journal.set_policy(Policy::default(), 0);
    commit(&mut journal, "b");
    write(&mut journal, 0);
    assert_eq!(journal.safe(), 0, "its writer was promised a sync");
    assert!(journal.wants_sync(0), "and gets it, whatever is configured now");
    sync(&mut journal, 0);
    commit(&mut journal, "c");
    write(&mut journal, 0);
    assert_eq!(journal.safe(), 3);
    journal.set_policy(Policy { need: Need::Synced, ..Policy::default() }, 0);
    commit(&mut journal, "d");
    write(&mut journal, 0);
    assert_eq!(journal.safe(), 3);
}

#[test]
fn who_writes_depends_on_what_is_known_of_the_disk() {
    let mut journal = everysec();
    for n in 0..8 {
        assert!(!journal.watch(n) && journal.hand() == Hand::Appender, "nothing is known yet");
        commit(&mut journal, "a");
        write(&mut journal, n);
    }
    assert_eq!(journal.hand(), Hand::Appender, "nobody watches");
    assert!(journal.watch(8) && journal.hand() == Hand::Caller);
    commit(&mut journal, "a");
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert_eq!(journal.hand(), Hand::Appender, "one is at it");
    assert!(journal.watch(u64::MAX / 2), "a write is watched to its end");
    assert!(!journal.pace.is_quick(), "and none begins behind it");
    journal.wrote(batch, Ok(()), 1, 8);
    assert!(journal.watch(8) && journal.begin_sync(8));
    assert_eq!(journal.hand(), Hand::Appender, "a write stalls with a sync");
    journal.synced(9);
    assert_eq!(journal.hand(), Hand::Caller);
    journal.cut();
    assert_eq!(journal.hand(), Hand::Appender, "who changes the files writes");
    journal.moved();
    commit(&mut journal, "a");
    let batch = journal.begin_write(u64::MAX).unwrap();
    journal.wrote(batch, Ok(()), SECOND_US, 10);
    assert_eq!(journal.hand(), Hand::Appender, "it was slow");
    assert_eq!(always().hand(), Hand::Syncer);
}

#[test]
fn what_was_acknowledged_without_a_sync_is_bounded_in_age() {
    let mut journal = everysec();
    commit(&mut journal, "a");
    write(&mut journal, 0);
    assert!(journal.begin_sync(SECOND_US / 2));
    commit(&mut journal, "b");
    write(&mut journal, 2 * SECOND_US);
    assert_eq!((journal.safe(), journal.lag_us(2 * SECOND_US)), (2, 2 * SECOND_US));
    assert!(!journal.wants_sync(2 * SECOND_US) && journal.wants_sync(2 * SECOND_US + 1));
    commit(&mut journal, "c");
    write(&mut journal, 3 * SECOND_US);
    assert_eq!(journal.safe(), 2, "its reply waits for a sync");
    journal.synced(10 * SECOND_US);
    assert_eq!(
        (journal.safe(), journal.late_syncs()),
        (2, 1),
        "it was late, and the bytes behind it are too old as well"
    );
    sync(&mut journal, 10 * SECOND_US);
    assert_eq!((journal.safe(), journal.lag_us(10 * SECOND_US)), (3, 0));
    let mut unbounded = with(Policy::default());
    commit(&mut unbounded, "a");
    write(&mut unbounded, 0);
    commit(&mut unbounded, "b");
    write(&mut unbounded, 100 * SECOND_US);
    assert_eq!((unbounded.safe(), unbounded.lag_us(100 * SECOND_US)), (2, 100 * SECOND_US));
}

#[test]
fn what_a_sync_covers_is_as_old_as_its_oldest_byte_behind() {
    let mut journal = everysec();
    assert_eq!(journal.sync_due_us(), None);
    commit(&mut journal, "a");
    write(&mut journal, 10);
    assert_eq!(journal.sync_due_us(), Some(10 + SECOND_US));
    assert!(journal.begin_sync(20));
    for now_us in [30, 40] {
        commit(&mut journal, "b");
        write(&mut journal, now_us);
    }
    journal.synced(50);
    assert_eq!(journal.lag_us(50), 20);
    sync(&mut journal, 60);
    assert_eq!(journal.lag_us(60), 0);
}

#[test]
fn what_is_written_behind_a_sync_that_covers_nothing_is_bounded_in_age_too() {
    let mut journal = everysec();
    assert!(journal.begin_sync(0), "of a line of the log's own");
    commit(&mut journal, "a");
    write(&mut journal, SECOND_US);
    assert_eq!((journal.safe(), journal.lag_us(3 * SECOND_US)), (1, 2 * SECOND_US));
    assert_eq!(journal.sync_due_us(), Some(2 * SECOND_US));
    commit(&mut journal, "b");
    write(&mut journal, 4 * SECOND_US);
    assert_eq!(journal.safe(), 1, "its reply waits for a sync");
    assert!(journal.wants_sync(4 * SECOND_US));
    journal.synced(5 * SECOND_US);
    assert_eq!(journal.safe(), 1, "that sync was not of what is too old");
    sync(&mut journal, 5 * SECOND_US);
    assert_eq!((journal.safe(), journal.lag_us(5 * SECOND_US)), (2, 0));
}

#[test]
fn what_a_base_holds_has_no_age_while_a_sync_is_under_way() {
    let mut journal = everysec();
    commit(&mut journal, "a");
    write(&mut journal, 0);
    assert!(journal.begin_sync(0));
    commit(&mut journal, "b");
    write(&mut journal, SECOND_US);
    journal.based(2, 2 * SECOND_US);
    assert_eq!(journal.lag_us(9 * SECOND_US), 0);
    commit(&mut journal, "c");
    write(&mut journal, 9 * SECOND_US);
    assert_eq!((journal.safe(), journal.lag_us(10 * SECOND_US)), (3, SECOND_US));
    journal.synced(10 * SECOND_US);
    assert_eq!(journal.lag_us(10 * SECOND_US), SECOND_US);
}

#[test]
fn while_a_snapshot_has_the_right_of_way_nobody_waits_for_a_sync() {
    let mut journal = with(Policy { need: Need::Synced, yields_to_snapshots: true, ..Policy::default() });
    commit(&mut journal, "a");
    write(&mut journal, 0);
    journal.set_snapshot_runs(true);
    assert!(!journal.begin_sync(0));
    assert_eq!((journal.safe(), journal.synced_to()), (1, 0), "it may leave, and is not called durable");
    journal.set_snapshot_runs(false);
    commit(&mut journal, "b");
    write(&mut journal, 0);
    assert_eq!(journal.safe(), 1);
    sync(&mut journal, 0);
    assert_eq!(journal.safe(), 2);
}

#[test]
fn what_cannot_be_written_is_kept_and_offered_again_piece_by_piece() {
    let mut journal = everysec();
    for text in ["a", "bb", "c"] {
        commit(&mut journal, text);
    }
    let batch = journal.begin_write(u64::MAX).unwrap();
    commit(&mut journal, "d");
    let full = || Err(Fault::Retry("full".to_owned()));
    assert_eq!(journal.wrote(batch, full(), 1, 0), Outcome::Kept { is_new: true });
    assert_eq!(
        refused(&mut journal, false, 0).as_deref(),
        Some("MISCONF Errors writing to the AOF file: full")
    );
    let first = journal.begin_first().unwrap();
    assert_eq!((&first.bytes[..], first.to), (&b"a"[..], 1));
    assert_eq!(journal.wrote(first, Ok(()), 1, 0), Outcome::Written(None));
    let first = journal.begin_first().unwrap();
    assert_eq!(&first.bytes[..], b"bb");
    assert_eq!(journal.wrote(first, full(), 1, 0), Outcome::Kept { is_new: false });
    assert_eq!((journal.safe(), refused(&mut journal, false, 0).is_some()), (1, true));
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert_eq!(&batch.bytes[..], b"bb");
    assert_eq!(journal.wrote(batch, Ok(()), 1, 0), Outcome::Written(None), "there is more");
    assert_eq!(write(&mut journal, 0).as_deref(), Some("c"));
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert_eq!(&batch.bytes[..], b"d");
    assert_eq!(journal.wrote(batch, Ok(()), 1, 0), Outcome::Written(Some(News::Solved)));
    assert_eq!((journal.safe(), journal.begin_first(), refused(&mut journal, true, 0)), (5, None, None));
}

#[test]
fn a_failed_log_takes_nothing_until_a_base_replaces_it() {
    let mut journal = always();
    let lost = commit(&mut journal, "lost");
    write(&mut journal, 0);
    assert!(journal.begin_sync(0));
    assert!(journal.sync_failed("fsync: EIO".to_owned()));
    assert!(!journal.fail("again".to_owned()), "told once");
    let held = commit(&mut journal, "held");
    assert_eq!(
        (journal.begin_write(u64::MAX), journal.begin_sync(0), journal.wants_sync(0)),
        (None, false, false)
    );
    assert_eq!(journal.begin_replacement(), Some(held));
    assert_eq!(journal.begin_replacement(), None);
    journal.replacement_failed();
    assert_eq!(journal.begin_replacement(), Some(held));
    let behind = commit(&mut journal, "behind");
    assert!(journal.safe() < lost && refused(&mut journal, false, 0).is_some());
    journal.replaced(0);
    assert_eq!(
        (journal.safe(), refused(&mut journal, true, 0)),
        (held, None),
        "the base is durable and holds both"
    );
    assert_eq!(write(&mut journal, 0).as_deref(), Some("behind"));
    assert_eq!(journal.safe(), held, "no sync has been for it");
    sync(&mut journal, 0);
    assert_eq!(journal.safe(), behind);
}

#[test]
fn nothing_behind_a_cut_is_written_before_the_log_has_moved() {
    let mut journal = everysec();
    commit(&mut journal, "old");
    assert_eq!(journal.cut(), Some(3));
    commit(&mut journal, "new");
    assert!(!journal.is_at_cut());
    assert_eq!(write(&mut journal, 0).as_deref(), Some("old"));
    assert!(journal.is_at_cut());
    assert_eq!(write(&mut journal, 0), None);
    journal.moved();
    assert_eq!(write(&mut journal, 0).as_deref(), Some("new"));
    journal.based(3, 0);
    assert_eq!(journal.synced_to(), 3, "the base is durable");
}

#[test]
fn what_does_not_fit_in_front_of_a_cut_is_not_written_behind_it() {
    let mut journal = everysec();
    commit(&mut journal, "a");
    commit(&mut journal, "b");
    journal.cut();
    commit(&mut journal, "c");
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert_eq!(&batch.bytes[..], b"ab");
    journal.wrote(batch, Err(Fault::Retry(String::new())), 1, 0);
    let first = journal.begin_first().unwrap();
    assert_eq!(&first.bytes[..], b"a");
    journal.wrote(first, Err(Fault::Retry(String::new())), 1, 0);
    assert_eq!(journal.begin_first(), None, "it was tried alone");
    assert_eq!(write(&mut journal, 0).as_deref(), Some("a"));
    let batch = journal.begin_write(u64::MAX).unwrap();
    assert_eq!(&batch.bytes[..], b"b");
    assert_eq!(journal.wrote(batch, Ok(()), 1, 0), Outcome::Written(Some(News::Solved)));
    assert_eq!(write(&mut journal, 0), None, "the cut");
    journal.moved();
    assert_eq!(write(&mut journal, 0).as_deref(), Some("c"));
}

#[test]
fn a_log_that_ends_is_written_to_its_end_and_waited_for_by_nobody() {
    let mut journal = always();
    commit(&mut journal, "a");
    journal.close();
    assert_eq!(commit(&mut journal, "b"), 0, "nothing more is logged");
    assert_eq!(write(&mut journal, 0).as_deref(), Some("a"));
    assert!(!journal.begin_sync(0), "who ends it syncs it");
    journal.ended();
    assert_eq!((journal.safe(), journal.state()), (1, &State::Off));
    journal.open(false);
    assert!(!journal.state().is_whole());
    let ticket = commit(&mut journal, "c");
    write(&mut journal, 0);
    journal.based(1, 0);
    assert!(journal.state().is_whole() && journal.safe() < ticket);
}

#[test]
fn a_sync_of_a_log_that_is_gone_says_nothing() {
    let mut journal = always();
    commit(&mut journal, "a");
    write(&mut journal, 0);
    assert!(journal.begin_sync(0));
    journal.close();
    journal.ended();
    journal.open(true);
    commit(&mut journal, "b");
    write(&mut journal, 0);
    journal.synced(0);
    assert_eq!(journal.safe(), 1);
}

#[test]
fn what_would_grow_is_refused_in_the_reserve_and_what_takes_goes_on() {
    let mut journal = everysec();
    assert_eq!(journal.found_room(RESERVE_BYTES + 100, 0), None);
    assert_eq!(refused(&mut journal, true, 100), None);
    assert!(journal.is_well());
    assert!(refused(&mut journal, true, 101).is_some());
    assert!(!journal.is_well(), "an alert must fire although nothing has failed yet");
    assert_eq!(refused(&mut journal, false, 101), None);
    commit(&mut journal, "0123456789");
    assert!(refused(&mut journal, true, 91).is_some(), "what is let in is counted");
    assert_eq!(journal.report_refused(7), Some(News::TooLarge(90)));
    assert!(refused(&mut journal, true, 91).is_some());
    assert_eq!(journal.report_refused(8), None, "once in a while");
    assert_eq!(journal.found_room(RESERVE_BYTES + 10, 0), Some(News::NearlyFull), "what waits has its place");
    write(&mut journal, 0);
    assert_eq!(journal.found_room(2 * RESERVE_BYTES - 1, 10), None);
    assert!(refused(&mut journal, true, 1).is_some_and(|why| why.ends_with("No space left on device")));
    assert_eq!(refused(&mut journal, false, 1), None);
    assert!(!journal.is_well(), "there is not enough room yet");
    assert_eq!(journal.found_room(2 * RESERVE_BYTES, 10), Some(News::Room));
    assert!(journal.is_well());
    assert_eq!(refused(&mut journal, true, 1), None);
}

#[test]
fn a_log_is_written_anew_for_room_where_that_doubles_it_and_takes_half_at_most() {
    let mut journal = everysec();
    journal.sizes_mut().file = 8 * TIGHT_BYTES;
    assert!(!journal.has_room_to_gain(0), "nobody has looked at the disk");
    assert_eq!(journal.found_room(TIGHT_BYTES + RESERVE_BYTES, 0), None);
    assert!(!journal.has_room_to_gain(0), "there is room");
    assert_eq!(journal.found_room(2 * RESERVE_BYTES, 0), None);
    assert!(journal.has_room_to_gain(0) && journal.has_room_to_gain(RESERVE_BYTES));
    assert!(!journal.has_room_to_gain(RESERVE_BYTES + 1), "consumers need the rest");
    journal.sizes_mut().file = 2 * RESERVE_BYTES + 99;
    assert!(
        journal.has_room_to_gain(99) && !journal.has_room_to_gain(100),
        "the log is not what fills the disk"
    );
}

#[test]
fn of_a_small_disk_the_reserve_is_a_small_part() {
    let mut journal = everysec();
    journal.set_disk(16 << 20);
    assert_eq!(journal.found_room(16 << 20, 0), None);
    assert_eq!(refused(&mut journal, true, 14 << 20), None);
    assert!(refused(&mut journal, true, (14 << 20) + 1).is_some());
    assert_eq!(journal.found_room(2 << 20, 0), Some(News::NearlyFull));
    assert_eq!(journal.found_room(4 << 20, 0), Some(News::Room));
    journal.set_disk(u64::MAX);
    assert_eq!(
        journal.found_room(RESERVE_BYTES, 0),
        Some(News::NearlyFull),
        "of a large one no more than that"
    );
}

#[test]
fn more_may_not_wait_than_the_bound() {
    let mut journal = everysec();
    journal.commit(&mut vec![b'x'; QUEUE_BYTES_MAX]);
    assert_eq!(refused(&mut journal, false, 0), None);
    commit(&mut journal, "x");
    assert!(refused(&mut journal, false, 0).is_some_and(|why| why.contains("too slow")));
    let batch = journal.begin_write(u64::MAX).unwrap();
    journal.wrote(batch, Ok(()), 1, 0);
    assert_eq!(refused(&mut journal, false, 0), None);
}

#[test]
fn who_writes_what_waits_ends_where_it_did_when_that_was_begun() {
    let mut journal = everysec();
    let mut long = vec![b'x'; 1 << 20];
    journal.commit(&mut long);
    let until = journal.end();
    for _ in 0..2 {
        commit(&mut journal, "more");
    }
    let batch = journal.begin_write(until).unwrap();
    assert_eq!((batch.bytes.len(), batch.to), (1 << 20, until));
    journal.wrote(batch, Ok(()), 1, 0);
    assert_eq!(journal.begin_write(until), None);
    assert_eq!(write(&mut journal, 0).as_deref(), Some("moremore"));
}

#[test]
fn a_failed_snapshot_stops_writes_only_where_no_log_keeps_them() {
    let mut journal = Journal::new(Policy { needs_snapshots: true, ..Policy::default() });
    assert_eq!(refused(&mut journal, false, 0), None);
    journal.set_snapshot(false);
    assert!(refused(&mut journal, false, 0).is_some_and(|why| why.contains("RDB snapshots")));
    journal.open(true);
    assert_eq!(refused(&mut journal, false, 0), None);
}

/// Whatever happens in whatever order, no reply leaves before its need, and what is written is what was committed.
#[test]
fn the_stream_is_written_once_and_in_order_whatever_happens() {
    for seed in 1..2_000_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut journal = always();
        let (mut committed, mut file, mut durable, mut moved_at) = (Vec::new(), Vec::new(), 0, None);
        let mut syncing = None;
        for now_us in 0..60 {
            match below(8) {
                0 | 1 => {
                    let text = vec![b'a' + (committed.len() % 26) as u8; 1 + below(5) as usize];
                    committed.extend_from_slice(&text);
                    assert_eq!(journal.commit(&mut text.clone()), committed.len() as u64);
                }
                2 | 3 => {
                    if let Some(batch) = journal.begin_write(u64::MAX).or_else(|| journal.begin_first()) {
                        let fails = below(3) == 0;
                        let bytes = batch.bytes.clone();
                        let result = if fails { Err(Fault::Retry("full".to_owned())) } else { Ok(()) };
                        journal.wrote(batch, result, below(2_000), now_us);
                        file.extend(if fails { Vec::new() } else { bytes });
                    }
                }
                4 if syncing.is_none() && journal.begin_sync(now_us) => syncing = Some(file.len()),
                5 => {
                    if let Some(to) = syncing.take() {
                        durable = to;
                        journal.synced(now_us);
                    }
                }
                6 if moved_at.is_none() => moved_at = journal.cut(),
                7 if journal.is_at_cut() => {
                    moved_at = None;
                    journal.moved();
                }
                _ => {}
            }
            assert!(committed.starts_with(&file), "seed {seed}");
            assert!(journal.safe() <= durable as u64, "seed {seed}: a reply has left early");
            assert!(moved_at.is_none_or(|at| file.len() as u64 <= at), "seed {seed}: written behind the cut");
        }
    }
}

#[test]
fn a_client_that_chooses_a_sync_gets_it_and_nobody_else_waits_for_that() {
    let mut journal = everysec();
    let ticket = commit(&mut journal, "a");
    let wanted = Marks { synced: ticket, ..Marks::default() };
    journal.ask_for_sync(ticket);
    assert!(journal.writes_before_sync() && journal.wants_sync(0));
    write(&mut journal, 0);
    assert_eq!(journal.safe(), ticket, "who has chosen nothing goes on");
    assert!(!journal.marks().cover(&wanted));
    sync(&mut journal, 0);
    assert!(journal.marks().cover(&wanted) && !journal.wants_sync(0) && !journal.writes_before_sync());
}

#[test]
fn a_client_that_chooses_no_sync_waits_for_the_kernel_alone() {
    let mut journal = always();
    let ticket = commit(&mut journal, "a");
    let wanted = Marks { written: ticket, ..Marks::default() };
    assert!(!journal.marks().cover(&wanted), "it is not written");
    write(&mut journal, 0);
    assert!(journal.marks().cover(&wanted) && !journal.marks().cover(&Marks::agreed(ticket)));
}

#[test]
fn a_chosen_sync_gives_way_to_a_snapshot_as_any_other() {
    let mut journal = Journal::new(Policy { yields_to_snapshots: true, syncs: true, ..Policy::default() });
    journal.open(true);
    journal.set_snapshot_runs(true);
    let ticket = commit(&mut journal, "a");
    journal.ask_for_sync(ticket);
    write(&mut journal, 0);
    assert!(!journal.begin_sync(0), "it is put off");
    assert!(journal.marks().cover(&Marks { synced: ticket, ..Marks::default() }));
    assert!(!journal.wants_sync(0), "and not asked for again and again");
}

#[test]
fn a_reply_that_waits_for_replicas_leaves_when_they_have_acknowledged_and_the_log_has_it() {
    let mut journal = everysec();
    let ticket = commit(&mut journal, "a");
    let at = |position| Acked { history: 1, position };
    let wanted = Marks { acked: at(40), ..Marks::agreed(ticket) };
    journal.acknowledged(at(40));
    assert!(!journal.marks().cover(&wanted), "not before the log has it");
    write(&mut journal, 0);
    assert!(journal.marks().cover(&wanted));
    assert!(!journal.marks().cover(&Marks { acked: at(41), ..wanted }));
    assert!(!journal.marks().cover(&Marks { acked: at(Marks::NEVER), ..wanted }));
    journal.acknowledged(Acked { history: 2, position: 90 });
    assert!(!journal.marks().cover(&wanted), "another history has it not, wherever it is");
    assert!(journal.marks().acked.is_past(wanted.acked) && !at(90).is_past(wanted.acked));
    assert!(!journal.marks().acked.is_past(Acked::default()), "who waits for nothing");
}

#[test]
fn a_reply_waits_for_all_that_its_client_has_asked_for() {
    let mut wanted = Marks::default();
    assert!(!wanted.wait() && Marks::default().cover(&wanted));
    assert!(!Marks { acked: Acked { history: 4, position: 0 }, ..wanted }.wait(), "nothing of a history");
    let at = |history, position| Acked { history, position };
    wanted.join(Marks { written: 7, acked: at(2, 3), ..Marks::default() });
    wanted.join(Marks { written: 5, synced: 2, ..Marks::default() });
    assert_eq!(wanted, Marks { agreed: 0, written: 7, synced: 2, acked: at(2, 3) });
    assert!(wanted.wait() && !Marks { agreed: 9, written: 7, synced: 1, acked: at(2, 9) }.cover(&wanted));
    assert!(Marks { agreed: 0, written: 7, synced: 2, acked: at(2, 3) }.cover(&wanted));
    for (other, both) in [
        (at(2, 8), at(2, 8)),
        (at(3, 1), at(2, Marks::NEVER)),
        (at(1, 9), at(1, Marks::NEVER)),
        (at(7, 0), at(2, 3)),
    ] {
        let mut joined = at(2, 3);
        joined.join(other);
        assert_eq!(joined, both);
    }
}
