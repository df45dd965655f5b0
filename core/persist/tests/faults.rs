//! Calls that fail one after the other, each of which is survived: what was acknowledged is there once, whatever comes together.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod numbers;

use std::path::PathBuf;
use std::sync::Arc;

use numbers::{command, counted, place};
use tandem_persist::aof::{AppendError, Base, HistoryId, Log, State, recover};
use tandem_persist::disk::{Disk, Fault, Memory, write_all};

const ID: HistoryId = HistoryId(7);

/// A server as far as its log goes: it counts.
struct Server {
    disk: Memory,
    log: Log,
    executed: u64,
    acknowledged: u64,
    /// What could not be written yet.
    waiting: Vec<u8>,
}

impl Server {
    fn start(disk: &Memory) -> Server {
        let recovered = recover(disk, &place(), true, 1).unwrap();
        let executed = load(disk);
        let verified = recovered.load(|_| Ok::<(), std::convert::Infallible>(())).unwrap();
        let log = Log::open(Arc::new(disk.clone()), place(), verified, ID).unwrap();
        Server { disk: disk.clone(), log, executed, acknowledged: executed, waiting: Vec::new() }
    }

    fn write(&mut self) {
        if !self.waiting.is_empty() && self.log.append(&mut self.waiting, 5).is_ok() {
            self.waiting.clear();
            self.acknowledged = self.executed;
        }
    }

    /// Three commands in a batch, unless writes are refused.
    fn push(&mut self) {
        if *self.log.state() == State::Ready {
            let batch = self.executed..self.executed + 3;
            self.executed = batch.end;
            self.waiting.extend(batch.flat_map(command));
        }
        self.write();
    }

    fn base(&self) -> std::io::Result<PathBuf> {
        let path = PathBuf::from("/data/temp-base");
        let mut file = self.disk.create(&path)?;
        let text: Vec<u8> = (0..self.executed).flat_map(command).collect();
        write_all(&mut *file, &text).map_err(|(_, error)| error)?;
        file.sync()?;
        Ok(path)
    }

    fn rewrite(&mut self) {
        let Ok(plan) = self.log.plan_rewrite() else { return };
        let prepared = plan.run();
        self.write();
        if !self.waiting.is_empty() || self.log.begin_rewrite(prepared).is_err() {
            return;
        }
        let published = self.base().and_then(|temp| {
            self.push();
            self.log.plan_finish(Base::Commands)?.run(&temp)
        });
        match published {
            Ok(published) => drop(self.log.install(published)),
            Err(_) => self.log.abort_rewrite(),
        }
    }

    fn replace(&mut self) {
        let covered = self.executed;
        let replaced = self.base().and_then(|temp| self.log.plan_replacement(Base::Commands)?.run(&temp));
        if let Ok(published) = replaced {
            drop(self.log.install(published));
            self.waiting.clear();
            self.acknowledged = covered;
        }
    }

    /// A second of the server's life.
    fn second(&mut self) {
        self.write();
        let _failed: Result<(), AppendError> = self.log.sync();
        if *self.log.state() != State::Ready {
            self.replace();
        }
    }
}

/// What the log holds, which must be the numbers from 0 on, each once.
fn load(disk: &Memory) -> u64 {
    let recovered = recover(disk, &place(), true, 2).unwrap();
    recovered.files().iter().fold(0, |count, file| counted(disk, file, count))
}

/// Some seconds with two rewrites, in which calls fail; then the process is killed, and starts again.
fn live(fault: fn(u64) -> Fault, fails: &[u64]) -> u64 {
    let disk = Memory::new();
    drop(Log::create(Arc::new(disk.clone()), place(), b"", Base::Commands, ID).unwrap());
    let mut server = Server::start(&disk);
    let began = disk.calls();
    for &call in fails {
        disk.inject(fault(call));
    }
    for _ in 0..2 {
        server.push();
        server.rewrite();
        server.push();
        server.rewrite();
        server.push();
        server.second();
        server.push();
        server.second();
    }
    let calls = disk.calls() - began;
    for after in [disk.kill(), disk.crash(1)] {
        let _count = load(&after);
    }
    let count = load(&disk.kill());
    assert!(
        (server.acknowledged..=server.executed).contains(&count),
        "{fails:?}: {count} of {}",
        server.executed
    );
    calls
}

/// How far apart the failures of one life are, in calls.
const APART: u64 = 40;

/// One in so many of all triples is tried, spread evenly.
const ONE_IN: u64 = 61;

#[test]
fn whatever_fails_together_what_was_acknowledged_is_there_once() {
    let calls = live(Fault::FailAt, &[]);
    for first in 0..calls {
        for (apart, further) in (1..APART).flat_map(|apart| (1..APART).map(move |further| (apart, further))) {
            if !(first + apart * APART + further).is_multiple_of(ONE_IN) {
                continue;
            }
            for fault in [Fault::FailAt, Fault::UnclearAt] {
                live(fault, &[first, first + apart, first + apart + further]);
            }
        }
    }
}

/// A rewrite whose base is published but for its last word, then a sync that fails, and a replacement that fails at that call; what was
/// acknowledged is there once. Whether that was the chain: the manifest on the disk named the base, and the log did not know.
fn live_on_an_unclear_rewrite(unclear: u64, fails: u64) -> bool {
    let disk = Memory::new();
    drop(Log::create(Arc::new(disk.clone()), place(), b"", Base::Commands, ID).unwrap());
    let mut server = Server::start(&disk);
    server.push();
    server.log.begin_rewrite(server.log.plan_rewrite().unwrap().run()).unwrap();
    let temp = server.base().unwrap();
    server.push();
    disk.inject(Fault::FailAt(unclear));
    let has_failed = server.log.plan_finish(Base::Commands).unwrap().run(&temp).is_err();
    disk.heal();
    let standing = disk.bytes(&place().log_dir().join("appendonly.aof.manifest")).unwrap();
    if !has_failed || standing == server.log.manifest().to_text().into_bytes() {
        return false;
    }
    server.log.abort_rewrite();
    server.push();
    disk.inject(Fault::SyncError);
    assert!(server.log.sync().is_err());
    disk.inject(Fault::FailAt(fails));
    server.replace();
    let is_replaced = *server.log.state() == State::Ready;
    disk.heal();
    for after in [disk.kill(), disk.crash(1), disk.crash(2)] {
        let _count = load(&after);
    }
    let count = load(&disk.kill());
    assert!(count >= server.acknowledged, "{unclear}, {fails}: {count} of {}", server.acknowledged);
    !is_replaced
}

#[test]
fn an_unclear_rewrite_behind_which_all_else_fails_applies_nothing_twice() {
    let chains = (0..APART).flat_map(|unclear| (0..APART).map(move |fails| (unclear, fails)));
    let met = chains.filter(|&(unclear, fails)| live_on_an_unclear_rewrite(unclear, fails)).count();
    assert!(met > 5, "the chain was met {met} times");
}
