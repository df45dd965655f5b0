//! The way to the disk, on one in memory that fails when told to.

use super::*;
use crate::shared::test::shared;
use persist::aof::{Base, Place};
use persist::disk::{Fault, Memory, write_all};

/// A server that logs with `appendfsync always` on this disk.
fn always_on(disk: &Memory) -> &'static Shared {
    let shared = shared(Arc::new(disk.clone()), &["--appendonly", "yes", "--appendfsync", "always"]);
    let log = Log::create(shared.durable.disk.clone(), Place::new(Path::new("/data")), b"", Base::Commands);
    shared.durable.set_log(&mut shared.durable.lock(), Some(log.unwrap()), shared);
    shared
}

fn push(shared: &Shared) -> u64 {
    let mut bytes = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".to_vec();
    shared.durable.push(&mut shared.durable.queue(), &mut bytes)
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
    assert!(durable.write_refusal(true).is_some() && !durable.is_safe(lost));
    let held = push(shared);
    let covered = durable.covered(&mut durable.lock());
    let behind = push(shared);
    let also = |journal: &mut Journal| durable.replaced(journal, covered, shared);
    durable.publish(base(&disk), |log| log.plan_replacement(Base::Commands), also).unwrap();
    assert_eq!(durable.write_refusal(true), None);
    assert!(durable.is_safe(lost) && durable.is_safe(held), "the base is durable and holds both");
    assert!(!durable.is_safe(behind), "written, but no sync has been for it");
    durable.sync(shared);
    assert!(durable.is_safe(behind));
}

#[test]
fn a_failed_log_that_is_switched_off_is_not_replaced() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let lost = push(shared);
    disk.inject(Fault::SyncError);
    shared.durable.sync(shared);
    assert!(shared.durable.write_refusal(true).is_some());
    crate::rewrite::switch_off(shared);
    assert_eq!(shared.durable.write_refusal(true), None);
    assert!(shared.durable.is_safe(lost), "nobody waits for a log that there is not");
    shared.loading.on.store(false, Ordering::Relaxed);
    shared.saver.second(shared);
    assert!(!shared.saver.is_rewriting());
}

#[test]
fn a_log_that_ends_holds_what_was_executed() {
    let disk = Memory::new();
    let shared = always_on(&disk);
    let ticket = push(shared);
    shared.durable.end_log(shared).unwrap();
    assert!(shared.durable.is_safe(ticket));
    let text = disk.crash(1).bytes(Path::new("/data/appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    assert!(text.starts_with(b"*2\r\n$4\r\nINCR\r\n"), "{text:?}");
    assert_eq!(push(shared), 0, "there is nothing to wait for any more");
}
