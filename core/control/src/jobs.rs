//! Work that may take milliseconds, on threads of its own: hashing, deletion, freeing.
//!
//! Three queues, because their work must not wait for each other: a flood of wrong passwords must not
//! keep memory from being freed. Each is bounded and each says no at its bound; the caller decides what
//! a no means (an error to the client, or doing the work itself). Nothing waits here for a free place.
//!
//! Completion callbacks run on the job's thread. They should hand the result to the I/O thread's mailbox
//! and return.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::password::{self, PasswordError, Record};

/// Threads that hash: two, or one on a machine with one core. Each holds 19 MiB while it works.
pub const HASH_THREADS_MAX: usize = 2;

/// Password jobs that may wait: at 30 ms and two threads, about a second of work. More is a flood.
pub const HASH_QUEUE_JOBS: usize = 64;

/// Records that one verification may try; an ACL user rarely has more than two passwords.
pub const RECORDS_MAX: usize = 8;

/// Files that may wait for their deletion.
pub const DELETE_QUEUE_JOBS: usize = 128;

/// Values that may wait to be freed. The queue takes its memory at once, whether anything waits or not.
pub const FREE_QUEUE_JOBS: usize = 4096;

/// Bytes cut from the end of a doomed file at a time: giving back gigabytes in one call stalls the
/// journal of common file systems, and with it the log's fsync.
const CUT_BYTES: u64 = 64 << 20;

/// Rest between two cuts.
const CUT_PAUSE: Duration = Duration::from_millis(5);

/// A queue is full; the work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many jobs are waiting already")
    }
}

impl std::error::Error for Overloaded {}

/// Something to run and forget, such as dropping a large value.
pub type Release = Box<dyn FnOnce() + Send>;

/// What happens once a password is judged.
pub type PasswordDone<T> = Box<dyn FnOnce(T) + Send>;

/// What happens once a file is gone, or is known to stay.
pub type DeletionDone = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The three queues. Cheap to clone; the threads end when the last clone is dropped and the queues are
/// empty.
#[derive(Clone)]
pub struct Jobs {
    hashing: SyncSender<Release>,
    deletion: SyncSender<(PathBuf, DeletionDone)>,
    freeing: SyncSender<Release>,
}

impl Jobs {
    /// Starts the threads. Each calls `after` when it is through with a job and has dropped it.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(after: fn()) -> io::Result<Jobs> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (hashing, hash_jobs) = sync_channel::<Release>(HASH_QUEUE_JOBS);
        spawn("hash", cores.min(HASH_THREADS_MAX), hash_jobs, |job| job(), after)?;
        let (deletion, files) = sync_channel::<(PathBuf, DeletionDone)>(DELETE_QUEUE_JOBS);
        spawn("delete", 1, files, |(path, done)| done(delete(&path)), after)?;
        let (freeing, values) = sync_channel::<Release>(FREE_QUEUE_JOBS);
        spawn("free", 1, values, |release| release(), after)?;
        Ok(Jobs { hashing, deletion, freeing })
    }

    /// Checks a password against up to [`RECORDS_MAX`] records; `done` hears the index of the record it
    /// fits, or `None`. About 30 ms a record.
    ///
    /// # Errors
    /// The queue is full; nothing was taken and `done` will not run.
    pub fn verify_password(
        &self,
        records: Vec<Record>,
        password: Vec<u8>,
        done: PasswordDone<Option<usize>>,
    ) -> Result<(), Overloaded> {
        self.hash_job(Box::new(move || {
            let fits = records.iter().take(RECORDS_MAX).position(|record| record.verify(&password));
            done(fits);
        }))
    }

    /// Makes a record of a password.
    ///
    /// # Errors
    /// The queue is full; nothing was taken and `done` will not run.
    pub fn hash_password(
        &self,
        password: Vec<u8>,
        done: PasswordDone<Result<Record, PasswordError>>,
    ) -> Result<(), Overloaded> {
        self.hash_job(Box::new(move || done(password::hash(&password))))
    }

    /// Deletes a regular file in small steps. One that does not exist is a success.
    ///
    /// # Errors
    /// The queue is full; the file stays and `done` will not run.
    pub fn delete_file(&self, path: PathBuf, done: DeletionDone) -> Result<(), Overloaded> {
        self.deletion.try_send((path, done)).map_err(|_| Overloaded)
    }

    /// Runs `release` on the freeing thread.
    ///
    /// # Errors
    /// The queue is full; the caller gets `release` back and runs it, which slows the producer down to
    /// what the machine can free.
    pub fn free(&self, release: Release) -> Result<(), Release> {
        self.freeing.try_send(release).map_err(|refused| match refused {
            TrySendError::Full(release) | TrySendError::Disconnected(release) => release,
        })
    }

    fn hash_job(&self, job: Release) -> Result<(), Overloaded> {
        self.hashing.try_send(job).map_err(|_| Overloaded)
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jobs")
    }
}

/// Starts `count` threads that share one queue.
fn spawn<J: Send + 'static>(
    name: &str,
    count: usize,
    jobs: Receiver<J>,
    run: fn(J),
    after: fn(),
) -> io::Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for index in 0..count.max(1) {
        let jobs = Arc::clone(&jobs);
        thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
            while let Some(job) = next(&jobs) {
                run(job);
                after();
            }
        })?;
    }
    Ok(())
}

/// Waits for a job; `None` once nobody can send one. The lock is held only while waiting, so threads take
/// turns in waiting and work side by side.
fn next<J>(jobs: &Mutex<Receiver<J>>) -> Option<J> {
    jobs.lock().ok()?.recv().ok()
}

/// Unlinks first, so that the name is free at once, then gives the blocks back bit by bit.
fn delete(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.file_type(),
    };
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // A file that may not be opened may still be unlinked; then it goes in one piece. The flag refuses a
    // symbolic link put in the file's place meanwhile.
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path).ok();
    std::fs::remove_file(path)?;
    match file {
        Some(file) => shrink(&file),
        None => Ok(()),
    }
}

/// Cuts an unlinked file down. A file that has another name is left alone: its bytes are still wanted.
fn shrink(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let mut length = if metadata.nlink() == 0 { metadata.len() } else { 0 };
    while length > CUT_BYTES {
        length -= CUT_BYTES;
        file.set_len(length)?;
        thread::sleep(CUT_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn passwords_are_hashed_and_verified_elsewhere() {
        let jobs = Jobs::start(|| {}).unwrap();
        let (tell, hear) = channel();
        jobs.hash_password(b"pw".to_vec(), Box::new(move |record| tell.send(record.unwrap()).unwrap()))
            .unwrap();
        let record = hear.recv_timeout(PATIENCE).unwrap();
        let other = password::hash(b"other").unwrap();
        for (plain, fits) in [(b"pw".to_vec(), Some(1)), (b"no".to_vec(), None)] {
            let (tell, hear) = channel();
            let records = vec![other.clone(), record.clone()];
            jobs.verify_password(records, plain, Box::new(move |fits| tell.send(fits).unwrap())).unwrap();
            assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), fits);
        }
    }

    #[test]
    fn a_flood_is_shed_and_what_was_taken_is_done() {
        let jobs = Jobs::start(|| {}).unwrap();
        let (gate, closed) = channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        let (tell, hear) = channel();
        let mut taken = 0;
        let mut shed = 0;
        for _ in 0..HASH_QUEUE_JOBS * 2 {
            let (closed, tell) = (Arc::clone(&closed), tell.clone());
            let job: Release = Box::new(move || {
                let _ = closed.lock().unwrap().recv();
                tell.send(()).unwrap();
            });
            match jobs.hash_job(job) {
                Ok(()) => taken += 1,
                Err(Overloaded) => shed += 1,
            }
        }
        let bound = HASH_QUEUE_JOBS..=HASH_QUEUE_JOBS + HASH_THREADS_MAX;
        assert!(bound.contains(&taken), "{taken}");
        assert!(shed > 0);
        // Freeing goes on meanwhile: the queues do not share a thread.
        let (freed, free) = channel();
        assert!(jobs.free(Box::new(move || freed.send(()).unwrap())).is_ok());
        free.recv_timeout(PATIENCE).unwrap();
        drop(gate);
        for _ in 0..taken {
            hear.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn files_are_deleted_and_directories_are_not() {
        let jobs = Jobs::start(|| {}).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old.aof");
        let file = File::create(&path).unwrap();
        file.set_len(3 * CUT_BYTES).unwrap();
        let delete = |path: &Path| {
            let (tell, hear) = channel();
            jobs.delete_file(path.to_owned(), Box::new(move |result| tell.send(result).unwrap())).unwrap();
            hear.recv_timeout(PATIENCE).unwrap()
        };
        delete(&path).unwrap();
        assert!(!path.exists());
        assert!(file.metadata().unwrap().len() <= CUT_BYTES, "the blocks were given back step by step");
        delete(&path).unwrap();
        assert_eq!(delete(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_with_a_second_name_keeps_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (path, twin) = (directory.path().join("a"), directory.path().join("b"));
        File::create(&path).unwrap().set_len(2 * CUT_BYTES).unwrap();
        std::fs::hard_link(&path, &twin).unwrap();
        delete(&path).unwrap();
        assert_eq!(std::fs::metadata(&twin).unwrap().len(), 2 * CUT_BYTES);
    }
}
