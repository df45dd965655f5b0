//! What a server does on a disk, or in a file, that its log has filled.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persist::disk::{Disk, File, Real, Stat, Syncer};
use support::server_on;
use tandem_server::OnDisk;

/// The machine's disk, of which only so many bytes are said to be there.
struct Small {
    bytes: u64,
    /// No file takes more.
    file_bytes: u64,
}

struct SmallFile(Box<dyn File>, u64);

/// What the kernel says when a file takes no more.
const EFBIG: i32 = 27;

impl Small {
    fn bound(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(SmallFile(file?, self.file_bytes)))
    }
}

impl Disk for Small {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.bound(Real.create(path))
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.bound(Real.create_new(path))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.bound(Real.append(path))
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
        Ok(self.bytes.saturating_sub(lens.sum()))
    }
    fn total_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.bytes)
    }
}

impl File for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.stat()?.bytes + bytes.len() as u64 > self.1 {
            return Err(io::Error::from_raw_os_error(EFBIG));
        }
        self.0.write(bytes)
    }
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.truncate(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
    fn begin_sync(&mut self, offset: u64, bytes: u64) {
        self.0.begin_sync(offset, bytes);
    }
    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }
    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        self.0.syncer()
    }
}

/// Adds and removes 40 MiB of jobs in all, each as soon as it is let in; what the log then says.
fn work_on(disk: Small) -> String {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-min-size", "1gb"];
    let server = server_on(OnDisk(Arc::new(disk)), dir.path(), &words);
    let mut client = server.client();
    let add = support::request(&[b"RPUSH", b"jobs", &vec![b'x'; 128 << 10]]);
    for _ in 0..320 {
        let end = Instant::now() + support::PATIENCE;
        loop {
            client.send(&add);
            let told = client.line();
            if told == ":1" {
                break;
            }
            assert!(Instant::now() < end, "jobs that are done go on filling the log: {told}");
            std::thread::sleep(Duration::from_millis(50));
        }
        client.until("DEL jobs", ":1");
    }
    std::fs::read_to_string(dir.path().join("log")).unwrap()
}

#[test]
fn a_queue_whose_jobs_are_done_gets_its_disk_back_by_itself() {
    let log = work_on(Small { bytes: 32 << 20, file_bytes: u64::MAX });
    assert!(log.contains("Starting automatic rewriting of AOF: its "), "{log}");
}

#[test]
fn a_log_that_is_as_large_as_a_file_may_be_is_replaced() {
    let log = work_on(Small { bytes: u64::MAX, file_bytes: 24 << 20 });
    assert!(log.contains("Replacing the AOF by a new one written from memory"), "{log}");
}
