//! The way to the disk, on one in memory that fails when told to.

use std::path::Path;

use super::*;
use crate::shared::test::shared;
use journal::{BALLAST_BYTES, RESERVE_BYTES};
use persist::aof::{Base, HistoryId, Place};
use persist::disk::{Fault, Memory, write_all};

/// A server that logs with `appendfsync always` on this disk.
fn always_on(disk: &Memory) -> &'static Shared {
    let shared = shared(Arc::new(disk.clone()), &["--appendonly", "yes", "--appendfsync", "always"]);
    let place = Place::new(Path::new("/data"));
    let log = Log::create(shared.durable.disk.clone(), place, b"", Base::Commands, HistoryId(1));
    shared.durable.open_log(log.unwrap(), shared);
    shared
}

fn push(shared: &Shared) -> u64 {
    let mut bytes = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".to_vec();
    shared.durable.commit(&mut shared.durable.journal(), &mut bytes)
}

/// What CONFIG SET does before its reply.
fn set(shared: &Shared, name: &[u8], value: &[u8]) {
    let mut engine = shared.engine.lock();
    let proposed = engine.config.with(&[(name, value)], true).unwrap();
    crate::live::follow(shared, &engine.config, &proposed.config, &proposed.changed).unwrap();
    engine.config = proposed.config;
}

/// What the append thread does, or an I/O thread.
fn write(shared: &Shared) {
    shared.durable.write_waiting(&mut shared.durable.log(), shared);
}

/// Begins to replace the failed log; how the base is published.
fn replace(shared: &'static Shared, disk: &Memory) -> impl FnOnce() {
    assert!(shared.durable.tell(shared, Journal::begin_replacement).is_some());
    let base = base(disk);
    move || {
        let plan = |log: &Log| log.plan_replacement(Base::Commands);
        shared.durable.publish(shared, base, plan, Journal::replaced).unwrap();
    }
}

fn look_at_saves(shared: &Shared, is_good: bool) {
    shared.durable.tell(shared, |journal| journal.set_snapshot(is_good));
}

fn base(disk: &Memory) -> &'static Path {
    let path = Path::new("/data/temp-base");
    let mut file = disk.create(path).unwrap();
    write_all(&mut *file, b"*3\r\n$3\r\nSET\r\n$1\r\nn\r\n$1\r\n1\r\n").unwrap();
    file.sync().unwrap();
    path
}

#[test]
fn always_means_synced_also_behind_a_replacement() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let durable = &shared.durable;
    let lost = push(shared);
    disk.inject(Fault::SyncError);
    durable.sync(shared);
    assert!(durable.write_refusal(true, &|| 0).is_some() && !durable.is_safe(lost));
    let held = push(shared);
    let publish = replace(shared, &disk);
    let behind = push(shared);
    publish();
    assert_eq!(durable.write_refusal(true, &|| 0), None);
    assert!(durable.is_safe(lost) && durable.is_safe(held), "the base is durable and holds both");
    assert!(!durable.is_safe(behind), "written, but no sync has been for it");
    durable.sync(shared);
    assert!(durable.is_safe(behind));
}

#[test]
fn always_holds_from_the_moment_that_it_is_confirmed() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    set(shared, b"appendfsync", b"everysec");
    let written = push(shared);
    write(shared);
    assert!(shared.durable.is_safe(written), "the kernel has it");
    // A disk that hangs has the journal; nothing is waited for with the engine in hand.
    let log = shared.durable.log();
    set(shared, b"appendfsync", b"always");
    drop(log);
    let behind = push(shared);
    write(shared);
    assert!(!shared.durable.is_safe(behind), "no sync has been for it");
    shared.durable.sync(shared);
    assert!(shared.durable.is_safe(behind));
}

#[test]
fn what_waits_for_the_log_thread_is_written_by_the_append_thread_when_the_promise_is_taken_back() {
    let shared = always_on(&Memory::new());
    let config = shared.engine.lock().config.with(&[(b"appendfsync", b"everysec")], true).unwrap().config;
    push(shared);
    *shared.durable.write_wanted.rung.lock() = false;
    shared.durable.follow(&config, shared);
    assert!(*shared.durable.write_wanted.rung.lock());
}

#[test]
fn a_failed_log_that_is_switched_off_is_not_replaced() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let lost = push(shared);
    disk.inject(Fault::SyncError);
    shared.durable.sync(shared);
    assert!(shared.durable.write_refusal(true, &|| 0).is_some());
    set(shared, b"appendonly", b"no");
    crate::rewrite::switch_off(shared);
    assert_eq!(shared.durable.write_refusal(true, &|| 0), None);
    assert!(shared.durable.is_safe(lost), "nobody waits for a log that there is not");
    shared.loading.on.store(false, Ordering::Relaxed);
    shared.saver.second(shared);
    assert!(!shared.saver.is_rewriting());
}

#[test]
fn a_log_that_could_not_be_started_is_tried_again() {
    let shared = shared(Arc::new(Memory::new()), &["--appendonly", "yes"]);
    shared.saver.second(shared);
    assert!(!shared.saver.is_rewriting(), "what is loading has no log yet");
    shared.loading.on.store(false, Ordering::Relaxed);
    shared.saver.second(shared);
    assert!(shared.saver.is_rewriting());
}

#[test]
fn a_log_that_ends_holds_what_was_executed() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let ticket = push(shared);
    shared.durable.end_log(shared).unwrap();
    assert!(shared.durable.is_safe(ticket));
    let text = disk.crash(1).bytes(Path::new("/data/appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\r\n*2\r\n$4\r\nINCR\r\n"), "{text}");
    assert_eq!(push(shared), 0, "there is nothing to wait for any more");
}

#[test]
fn a_failed_snapshot_stops_nobody_while_a_log_keeps_what_is_written() {
    let shared = always_on(&Memory::new());
    let durable = &shared.durable;
    look_at_saves(shared, false);
    assert_eq!(durable.write_refusal(true, &|| 0), None);
    crate::rewrite::switch_off(shared);
    assert!(durable.write_refusal(false, &|| 0).is_some_and(|why| why.contains("RDB snapshots")));
    look_at_saves(shared, true);
    assert_eq!(durable.write_refusal(true, &|| 0), None);
}

/// What is found wrong, as the log then says.
fn after(tamper: impl FnOnce(&Memory, &Path)) -> (Memory, &'static Shared) {
    let disk = Memory::new();
    let shared = always_on(&disk);
    push(shared);
    shared.durable.sync(shared);
    shared.durable.look_at_files(shared);
    assert_eq!(shared.durable.write_refusal(true, &|| 0), None, "nothing is wrong yet");
    tamper(&disk, Path::new("/data/appendonlydir"));
    shared.durable.look_at_files(shared);
    (disk, shared)
}

#[test]
fn files_that_somebody_has_changed_are_noticed_and_the_log_is_written_anew() {
    type Tamper = fn(&Memory, &Path);
    let tampers: [(&str, Tamper); 8] = [
        ("removed", |disk, dir| disk.remove(&dir.join("appendonly.aof.1.incr.aof")).unwrap()),
        ("replaced", |disk, dir| {
            let path = dir.join("appendonly.aof.1.incr.aof");
            disk.put(&path, &disk.bytes(&path).unwrap());
        }),
        ("moved", |disk, dir| {
            disk.rename(&dir.join("appendonly.aof.1.incr.aof"), &dir.join("elsewhere")).unwrap();
        }),
        ("cut", |disk, dir| {
            disk.append(&dir.join("appendonly.aof.1.incr.aof")).unwrap().truncate(3).unwrap()
        }),
        ("written to", |disk, dir| {
            write_all(&mut *disk.append(&dir.join("appendonly.aof.1.incr.aof")).unwrap(), b"!").unwrap();
        }),
        ("manifest", |disk, dir| disk.remove(&dir.join("appendonly.aof.manifest")).unwrap()),
        ("manifest's lines", |disk, dir| {
            disk.put(&dir.join("appendonly.aof.manifest"), b"file appendonly.aof.1.base.aof seq 1 type b\n");
        }),
        ("base", |disk, dir| disk.put(&dir.join("appendonly.aof.1.base.aof"), b"x")),
    ];
    for (what, tamper) in tampers {
        let (disk, shared) = after(tamper);
        let durable = &shared.durable;
        assert!(durable.write_refusal(false, &|| 0).is_some(), "{what}: nothing more is acknowledged");
        shared.loading.on.store(false, Ordering::Relaxed);
        shared.saver.second(shared);
        assert!(shared.saver.is_rewriting(), "{what}: a new log is wanted");
        replace(shared, &disk)();
        assert_eq!(durable.write_refusal(true, &|| 0), None, "{what}");
        push(shared);
        durable.sync(shared);
        durable.look_at_files(shared);
        assert_eq!(durable.write_refusal(true, &|| 0), None, "{what}");
        for name in disk.list(Path::new("/data/appendonlydir")).unwrap() {
            if name == "elsewhere" {
                disk.remove(&Path::new("/data/appendonlydir").join(name)).unwrap();
            }
        }
        let found = persist::aof::recover(&disk.crash(1), &Place::new(Path::new("/data")), false, 1).unwrap();
        assert_eq!(
            found.files().iter().map(|file| file.commands).sum::<u64>(),
            2,
            "{what}: the base and one more"
        );
    }
}

#[test]
fn what_is_let_in_between_two_looks_is_counted_and_consumers_go_on_in_the_reserve() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let durable = &shared.durable;
    disk.inject(Fault::Space(RESERVE_BYTES + 1000));
    durable.look_at_room(shared);
    assert_eq!(durable.write_refusal(true, &|| 1000), None);
    assert!(durable.write_refusal(true, &|| 1001).is_some(), "it does not fit above the reserve");
    assert_eq!(durable.write_refusal(false, &|| 100_000), None, "a consumer may use it");
    let pushed =
        (0..1000).take_while(|_| durable.write_refusal(true, &|| 30).is_none() && push(shared) > 0).count();
    assert!((10..100).contains(&pushed), "{pushed} records of some 20 bytes are in a thousand");
    assert_eq!(durable.write_refusal(false, &|| 30), None);
    durable.sync(shared);
    assert_eq!(durable.journal().state().trouble(), None, "all of it was written");
    disk.heal();
    durable.look_at_room(shared);
    assert_eq!(durable.write_refusal(true, &|| 1001), None);
}

#[test]
fn the_ballast_makes_room_for_what_was_let_in_when_somebody_else_fills_the_disk() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let durable = &shared.durable;
    let ballast = Place::new(Path::new("/data")).ballast();
    disk.inject(Fault::Space(2 * RESERVE_BYTES + BALLAST_BYTES));
    durable.want_ballast();
    durable.look_at_room(shared);
    assert_eq!(disk.len(&ballast).unwrap(), BALLAST_BYTES);
    disk.inject(Fault::Space(10));
    let ticket = push(shared);
    durable.sync(shared);
    assert!(durable.is_safe(ticket) && disk.len(&ballast).is_err());
    assert!(durable.write_refusal(true, &|| 30).is_some(), "what would grow is refused");
    assert_eq!(durable.write_refusal(false, &|| 30), None, "what takes goes on");
    durable.look_at_room(shared);
    assert_eq!(durable.write_refusal(false, &|| 30), None);
    disk.inject(Fault::Space(2 * RESERVE_BYTES + BALLAST_BYTES));
    durable.look_at_room(shared);
    assert_eq!((disk.len(&ballast).unwrap(), durable.write_refusal(true, &|| 30)), (BALLAST_BYTES, None));
}

#[test]
fn what_fits_is_written_before_what_does_not() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let durable = &shared.durable;
    disk.inject(Fault::Space(400));
    let small = push(shared);
    let mut long = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500\r\n".to_vec();
    long.extend_from_slice(&[b'x'; 500]);
    long.extend_from_slice(b"\r\n");
    let large = durable.commit(&mut durable.journal(), &mut long);
    let behind = push(shared);
    durable.sync(shared);
    assert!(durable.write_refusal(false, &|| 0).is_some());
    durable.sync(shared);
    assert!(durable.is_safe(small) && !durable.is_safe(large) && !durable.is_safe(behind));
    disk.heal();
    durable.sync(shared);
    assert!(durable.is_safe(behind));
    assert_eq!(durable.write_refusal(true, &|| 0), None);
    let found = persist::aof::recover(&disk, &Place::new(Path::new("/data")), false, 1).unwrap();
    assert_eq!(found.files().iter().map(|file| file.commands).sum::<u64>(), 3);
}

#[test]
fn the_mark_follows_what_is_synced() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    push(shared);
    shared.durable.sync(shared);
    shared.durable.mark_synced();
    let path = Path::new("/data/appendonlydir/appendonly.aof.1.incr.aof");
    let bytes = disk.len(path).unwrap();
    disk.put(path, &vec![0; bytes as usize]);
    let error = persist::aof::recover(&disk, &Place::new(Path::new("/data")), true, 1).unwrap_err();
    assert!(error.what.contains("had been made durable"), "{error}");
}

#[test]
fn what_is_written_after_config_set_has_been_answered_is_written_so() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let from = shared.engine.lock().config.clone();
    let mut to = from.clone();
    to.assign("aof-timestamp-enabled", b"yes", config::Origin::Set).unwrap();
    to.assign("appendfsync", b"everysec", config::Origin::Set).unwrap();
    crate::live::follow(shared, &from, &to, &["appendfsync", "aof-timestamp-enabled"]).unwrap();
    assert_eq!(shared.durable.journal().policy().need, Need::Written);
    push(shared);
    write(shared);
    let text = disk.bytes(Path::new("/data/appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("#TDM-HEAD:") && text.contains("\n#TS:"), "{text}");
}
