//! A disk that does not come back from a call holds up those who wait for it, and nobody else.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use persist::disk::{Disk, File, Real, Stat, Syncer};
use support::{Client, Server, server_on};
use tandem_server::OnDisk;

/// What does not come back while the gate is shut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Write,
    Sync,
}

#[derive(Default)]
struct Shut {
    call: Option<Call>,
    waiting: usize,
}

/// Where calls wait while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<Shut>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self, call: Call) {
        let mut shut = self.shut.lock().unwrap();
        while shut.call == Some(call) {
            shut.waiting += 1;
            self.changed.notify_all();
            shut = self.changed.wait(shut).unwrap();
            shut.waiting -= 1;
        }
    }

    /// Shuts it until the result is dropped.
    fn shut(&self, call: Call) -> Opens<'_> {
        self.shut.lock().unwrap().call = Some(call);
        Opens(self)
    }

    /// Until somebody waits at it.
    fn holds_somebody(&self) {
        let shut = self.shut.lock().unwrap();
        let (_shut, timeout) =
            self.changed.wait_timeout_while(shut, support::PATIENCE, |shut| shut.waiting == 0).unwrap();
        assert!(!timeout.timed_out(), "nobody has come to the disk");
    }
}

struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.shut.lock().unwrap().call = None;
        self.0.changed.notify_all();
    }
}

/// The machine's disk behind a gate.
struct Gated(Arc<Gate>);

struct GatedFile(Arc<Gate>, Box<dyn File>);

struct GatedSyncer(Arc<Gate>, Box<dyn Syncer>);

impl Gated {
    fn gate(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(GatedFile(Arc::clone(&self.0), file?)))
    }
}

impl Disk for Gated {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.gate(Real.create(path))
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.gate(Real.create_new(path))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.gate(Real.append(path))
    }
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Real.read(path, offset)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        Real.len(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Real.stat(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Real.remove(path)
    }
    fn set_rights_like(&self, path: &Path, model: &Path) -> io::Result<()> {
        Real.set_rights_like(path, model)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Real.create_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.pass(Call::Sync);
        Real.sync_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Real.list(path)
    }
    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        Real.fill(path, bytes)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        Real.free_bytes(path)
    }
}

impl File for GatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.pass(Call::Write);
        self.1.write(bytes)
    }
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.1.truncate(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.pass(Call::Sync);
        self.1.sync()
    }
    fn begin_sync(&mut self, offset: u64, bytes: u64) {
        self.1.begin_sync(offset, bytes);
    }
    fn stat(&self) -> io::Result<Stat> {
        self.1.stat()
    }
    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        Ok(Box::new(GatedSyncer(Arc::clone(&self.0), self.1.syncer()?)))
    }
}

impl Syncer for GatedSyncer {
    fn sync(&self) -> io::Result<()> {
        self.0.pass(Call::Sync);
        self.1.sync()
    }
}

fn gated(dir: &Path, words: &[&str]) -> (Arc<Gate>, Server) {
    let gate = Arc::new(Gate::default());
    let words = [&["--save", ""], words].concat();
    (Arc::clone(&gate), server_on(OnDisk(Arc::new(Gated(gate))), dir, &words))
}

/// They are served while the disk holds somebody; a thread that waited for it would not answer before it is let go.
fn is_served(client: &mut Client) {
    for _ in 0..20 {
        client.ask("PING", "+PONG\r\n");
        client.ask("GET nothing", "$-1\r\n");
    }
}

#[test]
fn a_write_that_does_not_come_back_holds_up_writers_alone() {
    for threads in ["1", "2", "4"] {
        let dir = tempfile::tempdir().unwrap();
        let (gate, server) = gated(dir.path(), &["--appendonly", "yes", "--io-threads", threads]);
        let mut others: Vec<Client> = (0..4).map(|_| server.client()).collect();
        let (mut writer, mut second) = (server.client(), server.client());
        for round in 0..20 {
            // The disk is quick as far as anybody knows, so whoever has the clients writes.
            for n in 0..50 {
                writer.ask(&format!("SET k {n}"), "+OK\r\n");
            }
            let opens = gate.shut(Call::Write);
            writer.send(b"SET k stalled\r\n");
            gate.holds_somebody();
            second.send(format!("SET behind {round}\r\n").as_bytes());
            others.iter_mut().for_each(is_served);
            writer.silent(Duration::from_millis(1));
            drop(opens);
            writer.expect("+OK\r\n");
            second.expect("+OK\r\n");
        }
        drop((writer, second, others));
        server.stop();
    }
}

#[test]
fn a_change_of_files_on_a_disk_that_stalls_holds_up_writers_alone() {
    for fsync in ["everysec", "always"] {
        for call in [Call::Write, Call::Sync] {
            let dir = tempfile::tempdir().unwrap();
            let (gate, server) = gated(dir.path(), &["--appendfsync", fsync, "--io-threads", "1"]);
            let (mut client, mut writer) = (server.client(), server.client());
            client.ask("SET k v", "+OK\r\n");
            for change in [
                "CONFIG SET appendonly yes",
                "BGREWRITEAOF",
                "CONFIG SET appendonly no",
                "CONFIG SET appendonly yes",
            ] {
                let opens = gate.shut(call);
                client.send(format!("{change}\r\n").as_bytes());
                assert!(client.line().starts_with('+'), "{change}");
                writer.send(b"SET k v\r\n");
                if !change.ends_with("no") {
                    gate.holds_somebody();
                }
                is_served(&mut client);
                drop(opens);
                writer.expect("+OK\r\n");
                client.until_info("aof_rewrite_in_progress", "0");
                client.until_info("aof_enabled", if change.ends_with("no") { "0" } else { "1" });
                assert_eq!(client.info("aof_last_bgrewrite_status"), "ok", "{change}");
            }
            drop((client, writer));
            server.stop();
        }
    }
}

#[test]
fn what_is_acknowledged_while_a_sync_does_not_come_back_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--appendonly", "yes", "--appendfsync-lag-max", "1", "--io-threads", "1"];
    let (gate, server) = gated(dir.path(), &words);
    let (mut client, mut writer) = (server.client(), server.client());
    writer.ask("SET k 0", "+OK\r\n");
    let opens = gate.shut(Call::Sync);
    writer.send(b"SET k 1\r\n");
    gate.holds_somebody();
    while client.info("aof_fsync_lag_ms").parse::<u64>().unwrap() < 2 {}
    let mut late = server.client();
    late.send(b"SET k 2\r\n");
    is_served(&mut client);
    late.silent(Duration::from_millis(50));
    drop(opens);
    writer.expect("+OK\r\n");
    late.expect("+OK\r\n");
    client.ask("CONFIG SET appendfsync-lag-max 0", "+OK\r\n");
    let opens = gate.shut(Call::Sync);
    late.ask("SET k 3", "+OK\r\n");
    gate.holds_somebody();
    while client.info("aof_fsync_lag_ms").parse::<u64>().unwrap() < 2 {}
    late.ask("SET k 4", "+OK\r\n");
    drop(opens);
    drop((client, writer, late));
    server.stop();
}

#[test]
fn a_replica_gets_nothing_of_what_was_held_for_it_before_the_log_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--appendonly", "yes", "--appendfsync", "always", "--io-threads", "1"];
    let (gate, server) = gated(dir.path(), &words);
    let (mut replica, mut writer, mut other) = (server.client(), server.client(), server.client());
    replica.ask("REPLCONF capa eof capa psync2", "+OK\r\n");
    replica.send(b"PSYNC ? -1\r\n");
    replica.snapshot();
    let opens = gate.shut(Call::Sync);
    writer.send(b"SET k v\r\n");
    gate.holds_somebody();
    // It has loaded: what was executed since its snapshot began is for it now, and no request of a later batch is logged.
    replica.send(b"REPLCONF ACK 0\r\n");
    let end = Instant::now() + support::PATIENCE;
    while !other.info("slave0").contains("state=online") {
        assert!(Instant::now() < end, "it is not online");
    }
    replica.silent(Duration::from_millis(100));
    drop(opens);
    writer.expect("+OK\r\n");
    replica.expect("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
}
