//! What a server does on a disk that its log has filled.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persist::disk::{Disk, File, Real, Stat};
use support::server_on;
use tandem_server::OnDisk;

/// The machine's disk, of which only so many bytes are said to be there.
struct Small(u64);

impl Disk for Small {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Real.create(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Real.create_new(path)
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Real.append(path)
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
        Real.sync_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Real.list(path)
    }
    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        Real.fill(path, bytes)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let lens = self.list(path)?.into_iter().map(|name| self.len(&path.join(name)).unwrap_or(0));
        Ok(self.0.saturating_sub(lens.sum()))
    }
    fn total_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.0)
    }
}

#[test]
fn a_queue_whose_jobs_are_done_gets_its_disk_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-min-size", "1gb"];
    let server = server_on(OnDisk(Arc::new(Small(32 << 20))), dir.path(), &words);
    let mut client = server.client();
    let add = support::request(&[b"RPUSH", b"jobs", &vec![b'x'; 128 << 10]]);
    // More than the disk holds.
    for _ in 0..320 {
        let end = Instant::now() + support::PATIENCE;
        loop {
            client.send(&add);
            let told = client.line();
            if told == ":1" {
                break;
            }
            assert!(Instant::now() < end, "the log of jobs that are done goes on filling the disk: {told}");
            std::thread::sleep(Duration::from_millis(50));
        }
        client.ask("DEL jobs", ":1\r\n");
    }
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("Starting automatic rewriting of AOF: its "), "{log}");
}
